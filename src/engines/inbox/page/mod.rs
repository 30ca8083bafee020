//! The inbox's web page: shows what waits on this machine, and takes verdicts from its user.
//!
//! Pages are made here and work without their script; the script keeps them fresh. `GET` decides
//! nothing, and nothing from outside ever becomes markup (`html`). What a verdict lets run is the
//! gate's business, where items are kept the store's, and how a passphrase signs [`Passphrase`]'s.
//!
//! A browser sends cookies to every port of a host, so whoever serves another page on this machine
//! that the user opens, or takes our port after us, can read the session's cookie. So a session is good
//! for one page's process only; against the former while that lives, only a passphrase holds.

mod access;
mod approver;
mod bucket;
mod call;
mod card;
mod decide;
mod events;
mod form;
mod history;
mod html;
mod layout;
mod login;
mod routes;
mod serve;
mod several;
#[cfg(test)]
mod tests;
mod time;
mod trouble;
mod turns;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;

use crate::approval::item::Verdict;
use crate::engines::inbox::store::{ApprovalRequests, Logins, StoreError};
use crate::gate::Now;
use crate::sys::clock::Clock;

use approver::Names;
use bucket::Buckets;
use events::Changes;
use turns::Turns;

/// How often an address may fail to log in before it is told to wait: a burst, then one for each
/// stretch of time.
const WRONG_LOGINS: (u32, Duration) = (20, Duration::from_secs(3));
/// How often a session's passphrase may be wrong.
const WRONG_PASSPHRASES: (u32, Duration) = (5, Duration::from_secs(20));

/// The inbox's page.
#[derive(Debug)]
pub struct Page(App);

/// What a [`Page`] must be told.
pub struct PageSettings {
    /// The secret of the state folder, which all of the user's proxies know.
    pub secret: [u8; 32],
    /// 32 random bytes of this page alone, which is what sessions are good for: whoever has taken
    /// the port of another page, and so a cookie, has nothing.
    pub instance: [u8; 32],
    /// What signs verdicts, where the user has set a passphrase.
    pub passphrase: Option<Box<dyn Passphrase>>,
}

impl fmt::Debug for PageSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageSettings").finish_non_exhaustive()
    }
}

/// Signs verdicts for whoever knows the passphrase.
pub trait Passphrase: Send + Sync {
    /// A signature of the verdict about this item with this fingerprint. May take long.
    ///
    /// # Errors
    /// Where the passphrase is another one.
    fn sign(
        &self,
        passphrase: &str,
        item_id: &str,
        fingerprint: &str,
        verdict: &Verdict,
    ) -> Result<Vec<u8>, WrongPassphrase>;

    /// Signatures of one verdict about each of several items, given as their ids and fingerprints.
    ///
    /// # Errors
    /// Where the passphrase is another one.
    fn sign_all(
        &self,
        passphrase: &str,
        items: &[(String, String)],
        verdict: &Verdict,
    ) -> Result<Vec<Vec<u8>>, WrongPassphrase> {
        let each = items.iter();
        each.map(|(id, fingerprint)| self.sign(passphrase, id, fingerprint, verdict))
            .collect()
    }
}

/// The passphrase is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the passphrase is another one")]
pub struct WrongPassphrase;

impl Page {
    /// A page that shows what is in `requests` to those who are in `logins`.
    #[must_use]
    pub fn new(
        requests: Box<dyn ApprovalRequests>,
        logins: Box<dyn Logins>,
        settings: PageSettings,
    ) -> Page {
        let clock = Clock::start();
        let now = Box::new(move || clock.now());
        Page(App::new(requests, logins, settings, now))
    }

    /// Serves the page until `stop` is over, then sees off who is still there.
    ///
    /// Calls of the store block, so this wants a thread and a runtime of its own, with I/O and time.
    ///
    /// # Errors
    /// Where the listener has no address.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        serve::serve(self.0, listener, stop).await
    }
}

/// By what a page shows that it knows the secret: the answer to `GET /prove?nonce=NONCE`. It holds
/// for its port only: whoever listens at another one cannot pass it on as its own.
///
/// The nonce is 32 to 128 hexadecimal digits, fresh each time.
#[must_use]
pub fn proof(secret: &[u8; 32], port: u16, nonce: &str) -> String {
    keyed(secret, "proof", format!("{port} {nonce}").as_bytes())
        .to_hex()
        .to_string()
}

/// By what the store knows a token: of [`Token::Login`](super::store::Token) the hash of the text
/// behind `#` in the link to `/login`.
#[must_use]
pub fn token_hash(token: &str) -> [u8; 32] {
    *blake3::hash(token.as_bytes()).as_bytes()
}

/// A keyed hash of a message, which holds for one use only.
fn keyed(secret: &[u8; 32], usage: &'static str, message: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(secret);
    hasher.update(b"approval-proxy inbox page, version 1, ");
    hasher.update(usage.as_bytes());
    hasher.update(b"\0");
    hasher.update(message);
    hasher.finalize()
}

/// What the handlers share.
struct App {
    /// Where the page is served; 0 until it is.
    port: u16,
    store: Mutex<Box<dyn ApprovalRequests>>,
    logins: Mutex<Box<dyn Logins>>,
    secret: [u8; 32],
    instance: [u8; 32],
    passphrase: Option<Arc<dyn Passphrase>>,
    /// Whose passphrase is tried.
    turns: Turns,
    /// Counted by the session's hash.
    wrong_passphrases: Mutex<Buckets<[u8; 32]>>,
    wrong_logins: Mutex<Buckets<IpAddr>>,
    names: Mutex<Names>,
    changes: Changes,
    now: Box<dyn Fn() -> Now + Send + Sync>,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").finish_non_exhaustive()
    }
}

impl App {
    fn new(
        requests: Box<dyn ApprovalRequests>,
        logins: Box<dyn Logins>,
        settings: PageSettings,
        now: Box<dyn Fn() -> Now + Send + Sync>,
    ) -> App {
        App {
            port: 0,
            store: Mutex::new(requests),
            logins: Mutex::new(logins),
            secret: settings.secret,
            instance: settings.instance,
            passphrase: settings.passphrase.map(Arc::from),
            turns: Turns::default(),
            wrong_passphrases: Mutex::new(Buckets::new(WRONG_PASSPHRASES.0, WRONG_PASSPHRASES.1)),
            wrong_logins: Mutex::new(Buckets::new(WRONG_LOGINS.0, WRONG_LOGINS.1)),
            names: Mutex::default(),
            changes: Changes::new(),
            now,
        }
    }

    /// By what the store knows a session of this page.
    fn session_hash(&self, token: &str) -> [u8; 32] {
        *keyed(&self.instance, "session", token.as_bytes()).as_bytes()
    }

    /// Does something with the approval requests.
    fn store<T>(
        &self,
        work: impl FnOnce(&mut dyn ApprovalRequests) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        work(&mut **held(&self.store))
    }

    /// Does something with the logins.
    fn logins<T>(
        &self,
        work: impl FnOnce(&mut dyn Logins) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        work(&mut **held(&self.logins))
    }

    fn now(&self) -> Now {
        (self.now)()
    }
}

/// What is behind a lock. No holder panics; and if one did, nothing is half done.
fn held<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
