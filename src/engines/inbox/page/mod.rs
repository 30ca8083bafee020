//! The inbox's web page: shows the waiting calls of this machine and takes verdicts from its user.
//!
//! The *local page* is for browsers on this machine, which log in with a link. The *remote page* is for devices that were
//! paired once (`pairing`); it is the same in everything else.
//!
//! The pages work without their script, which only keeps them up to date. A `GET` never decides
//! anything, and text from outside never becomes markup (see `html`).
//!
//! A browser sends cookies to every port of a host. So a server that takes our port after us, or another
//! server on this machine whose page the user opens, can read the cookie of a session with the local page. Such a
//! session is therefore valid only for the process that created it, which stops the first attack. While that
//! process runs, only a passphrase stops the second. A device's session outlives processes: its cookie goes over TLS
//! only, to a host name of its own.

mod access;
mod answers;
mod approver;
mod bucket;
mod call;
mod callback;
mod card;
mod decide;
mod error;
mod events;
mod form;
mod history;
mod html;
mod layout;
mod login;
mod pairing;
mod passphrase_queue;
mod push;
mod routes;
mod serve;
mod several;
#[cfg(test)]
mod tests;
mod time;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;

use crate::approval::item::Verdict;
use crate::engines::Callbacks;
use crate::engines::inbox::certificate::Certificate;
use crate::engines::inbox::remote::Network;
use crate::engines::inbox::store::{ApprovalRequests, Logins, StoreError};
use crate::gate::Now;
use crate::sys::clock::Clock;

pub use pairing::{CODE_LIFE, PairingCode, Remote};
pub use push::Push;

use access::Site;
use approver::Names;
use bucket::Buckets;
use events::Changes;
use passphrase_queue::PassphraseQueue;

/// How many wrong logins an address may send before it must wait: a burst, then one per interval.
const WRONG_LOGINS: (u32, Duration) = (20, Duration::from_secs(3));
/// The same for a session's wrong passphrases.
const WRONG_PASSPHRASES: (u32, Duration) = (5, Duration::from_secs(20));

/// The inbox's page.
#[derive(Debug)]
pub struct Page(App);

/// The settings of a [`Page`].
pub struct PageSettings {
    /// The secret of the state folder, which all of the user's proxies know.
    pub secret: [u8; 32],
    /// 32 random bytes of this local page alone. Sessions are bound to them, so a cookie is worthless to a
    /// process that takes over the port. The remote page has none, because devices stay paired.
    pub instance: [u8; 32],
    /// Signs verdicts, if the user has set a passphrase.
    pub passphrase: Option<Box<dyn Passphrase>>,
    /// Checks the callbacks of the engines that take any.
    pub callbacks: Arc<Callbacks>,
    /// What makes this the remote page; `None` for the local one.
    pub remote: Option<Remote>,
}

impl fmt::Debug for PageSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageSettings").finish_non_exhaustive()
    }
}

/// Who may connect to a page, and how.
#[derive(Debug, Clone)]
pub enum Security {
    /// Over plain HTTP; the listener is on a loopback address.
    Loopback,
    /// Over TLS.
    Tls(Certificate),
    /// Over plain HTTP, from these addresses only.
    BehindProxy(Vec<Network>),
}

/// Signs verdicts with the passphrase.
pub trait Passphrase: Send + Sync {
    /// Signs the verdict about this item with this fingerprint. May take long.
    ///
    /// # Errors
    /// If the passphrase is wrong.
    fn sign(
        &self,
        passphrase: &str,
        item_id: &str,
        fingerprint: &str,
        verdict: &Verdict,
    ) -> Result<Vec<u8>, WrongPassphrase>;

    /// Signs one verdict about each of several items, given as their ids and fingerprints.
    ///
    /// # Errors
    /// If the passphrase is wrong.
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

/// The passphrase is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the passphrase is wrong")]
pub struct WrongPassphrase;

impl Page {
    /// Creates a page that shows the items of `requests` to the browsers in `logins`.
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

    /// Serves the page until `stop` completes, then ends the open connections.
    ///
    /// Calls to the store block, so run this in its own thread and runtime, with I/O and time.
    ///
    /// # Errors
    /// If the listener has no address.
    pub async fn serve(
        self,
        listener: TcpListener,
        security: &Security,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        serve::serve(self.0, listener, security, stop).await
    }
}

/// Returns the proof that a page knows the secret: the answer to `GET /prove?nonce=NONCE`. It is valid
/// for its port only, so a process at another port cannot relay it as its own.
///
/// The nonce is 32 to 128 hexadecimal digits, new each time.
#[must_use]
pub fn proof(secret: &[u8; 32], port: u16, nonce: &str) -> String {
    keyed(secret, "proof", format!("{port} {nonce}").as_bytes())
        .to_hex()
        .to_string()
}

/// Hashes a token for the store. A [`Token::Login`](super::store::Token) is the text after `#` in the
/// link to `/login`.
#[must_use]
pub fn token_hash(token: &str) -> [u8; 32] {
    *blake3::hash(token.as_bytes()).as_bytes()
}

/// Returns a keyed hash of a message, separate for each usage.
fn keyed(secret: &[u8; 32], usage: &'static str, message: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(secret);
    hasher.update(b"approval-proxy inbox page, version 1, ");
    hasher.update(usage.as_bytes());
    hasher.update(b"\0");
    hasher.update(message);
    hasher.finalize()
}

/// The state that all handlers share.
struct App {
    /// Where it is. The port of the local page is 0 before it is served.
    site: Site,
    /// `None` for the local page.
    remote: Option<Remote>,
    store: Mutex<Box<dyn ApprovalRequests>>,
    logins: Mutex<Box<dyn Logins>>,
    secret: [u8; 32],
    instance: [u8; 32],
    passphrase: Option<Arc<dyn Passphrase>>,
    callbacks: Arc<Callbacks>,
    passphrase_queue: PassphraseQueue,
    /// By the session's hash.
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
        let (site, instance) = match &settings.remote {
            None => (Site::Local(0), settings.instance),
            Some(remote) => (
                Site::Remote(remote.url().clone()),
                pairing::key(&settings.secret),
            ),
        };
        App {
            site,
            remote: settings.remote,
            store: Mutex::new(requests),
            logins: Mutex::new(logins),
            secret: settings.secret,
            instance,
            passphrase: settings.passphrase.map(Arc::from),
            callbacks: settings.callbacks,
            passphrase_queue: PassphraseQueue::default(),
            wrong_passphrases: Mutex::new(Buckets::new(WRONG_PASSPHRASES.0, WRONG_PASSPHRASES.1)),
            wrong_logins: Mutex::new(Buckets::new(WRONG_LOGINS.0, WRONG_LOGINS.1)),
            names: Mutex::default(),
            changes: Changes::new(),
            now,
        }
    }

    /// Hashes a session's token for the store.
    fn session_hash(&self, token: &str) -> [u8; 32] {
        *keyed(&self.instance, "session", token.as_bytes()).as_bytes()
    }

    /// Calls `work` with the approval requests.
    fn store<T>(
        &self,
        work: impl FnOnce(&mut dyn ApprovalRequests) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        work(&mut **held(&self.store))
    }

    /// Calls `work` with the logins.
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

/// Locks a mutex and ignores poisoning: no holder panics, and none would leave anything half done.
fn held<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
