//! Makes sure that one process serves the inbox's page: the first proxy that needs it, and another one when that exits.
//! Likewise for the remote page, if it is configured.
//!
//! `page` decides what the page shows.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use super::certificate::{Certificate, CertificateError};
use super::log::InboxLog;
use super::login_file::LoginFile;
use super::page::{
    self, Page, PageSettings, Passphrase, Push, Remote, WrongPassphrase, proof, token_hash,
};
use super::passphrase::{self, PassphraseError, PublicKey};
use super::push::ApplicationServerKey;
use super::remote::{PageUrl, Protection, RemotePage};
use super::store::{self, Logins, Store, StoreError, Token};
use crate::approval::item::Verdict;
use crate::engines::Callbacks;
use crate::evidence::redact::Redaction;
use crate::sys::clock::{Clock, random_hex, random_seed};
use crate::sys::open_in_browser;
use crate::sys::secret::Secret;
use crate::sys::state_dir::{StateDir, suggested_command};
use crate::sys::with_causes;

/// How many ports after the wanted one we try before we take any free port.
const NEIGHBOURS: u16 = 9;
/// How long the process that serves the page may take to prove that it does.
const PROOF_TIME: Duration = Duration::from_secs(1);
/// How many times, and how often, we look for a page that another process is just starting: one second in all.
const TRIES: usize = 50;
const TRY_AGAIN: Duration = Duration::from_millis(20);
/// The longest answer that we read, in bytes. The page's own is much shorter.
const MAX_ANSWER: usize = 8 * 1024;
/// How long a login link is valid, in milliseconds.
const LOGIN_MS: i64 = 5 * 60 * 1000;
/// The default port of the page.
const USUAL_PORT: u16 = 8766;
/// The file with the page's port, and the file that the serving process locks.
const PORT_FILE: &str = "page.port";
const LOCK_FILE: &str = "page.lock";
/// The file that the process locks which serves the remote page.
const REMOTE_LOCK_FILE: &str = "remote-page.lock";

/// How the page is served.
#[derive(Debug, Clone)]
pub struct PageServerSettings {
    /// The port to try first; 0 takes any free port, `None` the default, 8766.
    pub port: Option<u16>,
    /// Whether we may open a browser.
    pub opens_browser: bool,
    /// The approver's name for verdicts from a browser that logs in with our link.
    pub approver: Option<String>,
    /// `$BROWSER`.
    pub browser: Option<OsString>,
    /// Whether there is a display that a browser could open on.
    pub has_display: bool,
    /// A folder where browsers can read a file, if they cannot in the inbox's folder.
    pub open_folder: Option<PathBuf>,
    /// Checks the callbacks of the engines that take any.
    pub callbacks: Arc<Callbacks>,
    /// Where clients are sent whose users are on other machines; `None` for the local page.
    pub invites_to: Option<PageUrl>,
    /// The page for paired devices, if there is one.
    pub remote: Option<RemotePage>,
}

/// One process's part in serving the page.
#[derive(Debug)]
pub struct PageServer {
    dir: StateDir,
    settings: PageServerSettings,
    secret: [u8; 32],
    /// The login file of the browser that we opened last. Declared before `serving`, because it must be removed before
    /// another process serves the page: that one may write a file with the same name.
    login_file: Option<LoginFile>,
    serving: Option<Serving>,
    remote: Option<Serving>,
    /// Whether we have opened a browser at the page that we serve.
    has_opened: bool,
    /// The port that we announced last.
    announced: Option<u16>,
    /// The port where another process last served the page.
    last_found: Option<u16>,
}

/// The page while we serve it.
#[derive(Debug)]
struct Serving {
    port: u16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    /// Keeps other processes from serving. The system unlocks it when we end, in whatever way.
    _lock: File,
}

/// Why no process that we trust serves the page.
#[derive(Debug, thiserror::Error)]
pub enum PageServerError {
    /// The folder or the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system.
    #[error("the inbox's page cannot be served")]
    System(#[from] io::Error),
    /// The address of the remote page cannot be used.
    #[error(
        "the inbox's page cannot listen on {address}; stop what listens there, or change `listen`"
    )]
    Listen {
        /// Where it should listen.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The certificate of the remote page cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Another process holds the lock and does not prove that it is the page.
    #[error(
        "the inbox's page at port {port} does not answer as it should; stop the approval-proxy that \
         serves it, or decide with `{approvals}`"
    )]
    Unproven {
        /// The port of the page.
        port: u16,
        /// The command for deciding without the page.
        approvals: String,
    },
}

impl PageServer {
    /// Creates the page server of the folder's inbox. Does not serve yet.
    ///
    /// # Errors
    /// If the folder's secret cannot be read or created.
    pub fn new(dir: StateDir, settings: PageServerSettings) -> Result<PageServer, StoreError> {
        let secret = dir.secret()?;
        Ok(PageServer {
            dir,
            settings,
            secret,
            login_file: None,
            serving: None,
            remote: None,
            has_opened: false,
            announced: None,
            last_found: None,
        })
    }

    /// The inbox's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Returns true if this process serves the local page.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.serving.as_ref().is_some_and(Serving::is_alive)
    }

    /// Returns true if this process serves the remote page.
    #[must_use]
    pub fn is_serving_remote(&self) -> bool {
        self.remote.as_ref().is_some_and(Serving::is_alive)
    }

    /// Makes sure that some process serves the page; serves it if no other does. Returns the page's
    /// address, without any secret, when it is new or has changed. If we serve the page and
    /// `opens_browser` is set, opens a browser, once.
    ///
    /// # Errors
    /// [`PageServerError`]. Try again later.
    pub fn maintain(
        &mut self,
        logins: &mut dyn Logins,
        opens_browser: bool,
        now_ms: i64,
    ) -> Result<Option<String>, PageServerError> {
        let was_serving = self.is_serving();
        let port = self.find_or_serve(now_ms)?;
        // A browser that was logged in to the previous page is not logged in to this one.
        self.has_opened &= was_serving;
        let opens_browser = opens_browser && self.settings.opens_browser;
        if self.is_serving() && opens_browser && !std::mem::replace(&mut self.has_opened, true) {
            self.open_browser(logins, port, now_ms)?;
        }
        self.tidy_login_file(logins, now_ms)?;
        let is_new = self.announced.replace(port) != Some(port);
        Ok(is_new.then(|| address(port)))
    }

    /// Returns the address of the page, which ends with `/`; `None` while its port is not known.
    #[must_use]
    pub fn address(&self) -> Option<String> {
        self.announced.map(address)
    }

    /// Returns the URL of an item's page for a client's user; `None` while no page is known.
    #[must_use]
    pub fn url_of(&self, item: &str) -> Option<String> {
        let local = self.address()?;
        let invites_to = self.settings.invites_to.as_ref();
        let address = invites_to.map_or(local, PageUrl::address);
        Some(format!("{address}item/{item}"))
    }

    /// Returns the port of the page. Serves the page if no other process does.
    ///
    /// # Errors
    /// [`PageServerError`].
    pub fn find_or_serve(&mut self, now_ms: i64) -> Result<u16, PageServerError> {
        if let Some(serving) = self.serving.as_ref().filter(|_| self.is_serving()) {
            return Ok(serving.port);
        }
        self.serving = None;
        let mut port = 0;
        for _ in 0..TRIES {
            if let Some(lock) = self.lock(LOCK_FILE)? {
                return self.serve(lock, now_ms);
            }
            port = known_port(&self.dir)?;
            // INVARIANT 3: we do not trust what another process serves at the port until it proves that it is the page.
            match is_proven(&self.secret, port) {
                Ok(true) => {
                    self.last_found = Some(port);
                    return Ok(port);
                }
                // The process with the lock is just starting or ending.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    thread::sleep(TRY_AGAIN);
                }
                Ok(false) | Err(_) => break,
            }
        }
        let approvals = suggested_command("approvals list", Some(self.dir.path()));
        Err(PageServerError::Unproven { port, approvals })
    }

    /// Serves the remote page if one is configured and no other process does. An error does not concern the local page.
    ///
    /// # Errors
    /// [`PageServerError`]. Try again later.
    pub fn find_or_serve_remote(&mut self) -> Result<(), PageServerError> {
        let Some(page) = &self.settings.remote else {
            return Ok(());
        };
        if self.is_serving_remote() {
            return Ok(());
        }
        // A page whose thread has ended keeps its lock until then, also from us.
        self.remote = None;
        let Some(lock) = self.lock(REMOTE_LOCK_FILE)? else {
            return Ok(());
        };
        let security = match &page.protection {
            Protection::Tls { cert, key } => page::Security::Tls(Certificate::load(cert, key)?),
            Protection::BehindProxy(networks) => page::Security::BehindProxy(networks.clone()),
        };
        let listener = listen(page.listen)?;
        let store = store::open(&self.dir, &Redaction::default())?;
        let mut remote = Remote::new(page.url.clone(), store.devices, InboxLog::new(&self.dir));
        if page.web_push {
            let key = ApplicationServerKey::load(&self.dir)?;
            remote = remote.with_push(Push::new(key, page.url.clone()));
        }
        let settings = self.page(Some(remote))?;
        let page = Page::new(store.requests, store.logins, settings);
        let serving = Serving::start("inbox-remote", lock, listener, page, security)?;
        self.remote = Some(serving);
        Ok(())
    }

    fn lock(&self, file: &str) -> io::Result<Option<File>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.dir.path().join(file))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn serve(&mut self, lock: File, now_ms: i64) -> Result<u16, PageServerError> {
        for folder in self.login_folders() {
            LoginFile::tidy(folder, now_ms - LOGIN_MS);
        }
        // We take the previous page's port, so that its open tabs find us.
        let before = match (self.last_found, self.settings.port) {
            (Some(found), _) => found,
            (None, Some(wanted @ 1..)) => wanted,
            (None, Some(0) | None) => known_port(&self.dir)?,
        };
        let listener = bind(before, self.settings.port.unwrap_or(USUAL_PORT))?;
        let port = listener.local_addr()?.port();
        let Store {
            requests, logins, ..
        } = store::open(&self.dir, &Redaction::default())?;
        let page = Page::new(requests, logins, self.page(None)?);
        let security = page::Security::Loopback;
        let serving = Serving::start("inbox-page", lock, listener, page, security)?;
        self.dir.replace(PORT_FILE, port.to_string().as_bytes())?;
        self.serving = Some(serving);
        Ok(port)
    }

    /// Returns the settings of a page.
    fn page(&self, remote: Option<Remote>) -> io::Result<PageSettings> {
        let has_passphrase = PublicKey::load(&self.dir).is_ok_and(|key| key.is_some());
        let signer = KeySigner(self.dir.clone());
        Ok(PageSettings {
            secret: self.secret,
            instance: random_seed().map_err(io::Error::other)?,
            passphrase: has_passphrase.then(|| Box::new(signer) as _),
            callbacks: Arc::clone(&self.settings.callbacks),
            remote,
        })
    }

    /// Creates a link that logs a browser in, once, within five minutes.
    ///
    /// # Errors
    /// If the store or the system fails.
    pub fn login_link(
        &self,
        logins: &mut dyn Logins,
        port: u16,
        now_ms: i64,
    ) -> Result<String, PageServerError> {
        self.login(logins, port, now_ms).map(|(link, _)| link)
    }

    /// Creates a link that logs a browser in, and returns the hash of its token too.
    fn login(
        &self,
        logins: &mut dyn Logins,
        port: u16,
        now_ms: i64,
    ) -> Result<(String, [u8; 32]), PageServerError> {
        let token =
            random_hex(32).map_err(|error| PageServerError::System(io::Error::other(error)))?;
        let hash = token_hash(&token);
        logins.add_token(Token::Login, &hash, now_ms + LOGIN_MS)?;
        if let Some(name) = &self.settings.approver {
            logins.set_approver(Token::Login, &hash, name)?;
        }
        Ok((format!("{}login#{token}", address(port)), hash))
    }

    /// Opens a browser at the page, which logs in through a file. Returns false if it opened none: if there is no
    /// display, or the file cannot be written.
    ///
    /// # Errors
    /// As [`PageServer::login_link`].
    pub fn open_browser(
        &mut self,
        logins: &mut dyn Logins,
        port: u16,
        now_ms: i64,
    ) -> Result<bool, PageServerError> {
        if self.settings.browser.is_none() && !self.settings.has_display {
            return Ok(false);
        }
        let (link, token) = self.login(logins, port, now_ms)?;
        // Remove the old file first: the new one may have the same name.
        self.login_file = None;
        let made = LoginFile::make(self.login_folders(), &link, token);
        let opened = made.and_then(|login_file| Ok((login_file.url()?, login_file)));
        let (url, login_file) = match opened {
            Ok(opened) => opened,
            // The page works nevertheless.
            Err(error) => {
                let dir = self.dir.path().display();
                tracing::warn!("cannot open a browser at the inbox: {dir}: {error}");
                return Ok(false);
            }
        };
        self.login_file = Some(login_file);
        Ok(open_in_browser(self.settings.browser.as_deref(), &url))
    }

    fn login_folders(&self) -> impl Iterator<Item = &Path> {
        let wanted = self.settings.open_folder.as_deref();
        wanted.into_iter().chain([self.dir.path()])
    }

    /// Removes the login file once its link has been used or has expired.
    ///
    /// # Errors
    /// If the store fails.
    pub fn tidy_login_file(
        &mut self,
        logins: &mut dyn Logins,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        if let Some(login_file) = &self.login_file
            && login_file.is_done(logins, now_ms)?
        {
            self.login_file = None;
        }
        Ok(())
    }
}

impl Serving {
    /// Serves a page on a thread of its own, as long as the returned value exists.
    fn start(
        name: &str,
        lock: File,
        listener: TcpListener,
        page: Page,
        security: page::Security,
    ) -> io::Result<Serving> {
        let port = listener.local_addr()?.port();
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let work = move || {
            let served = runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let stopped = async {
                    // An error means that the sender is gone: also a reason to stop.
                    let _ = stopped.await;
                };
                page.serve(listener, &security, stopped).await
            });
            if let Err(error) = served {
                tracing::error!("the inbox's page has stopped: {error}");
            }
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(Serving {
            port,
            stop: Some(stop),
            thread: Some(thread),
            _lock: lock,
        })
    }

    fn is_alive(&self) -> bool {
        let thread = self.thread.as_ref();
        thread.is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // If the thread ended by itself, it has logged why.
            let _ = thread.join();
        }
    }
}

/// Signs with the key that a passphrase unlocks. Keeps the key unlocked for one verdict only.
struct KeySigner(StateDir);

impl Passphrase for KeySigner {
    fn sign(
        &self,
        passphrase: &str,
        item_id: &str,
        fingerprint: &str,
        verdict: &Verdict,
    ) -> Result<Vec<u8>, WrongPassphrase> {
        let signer = self.unlock(passphrase)?;
        Ok(signer.sign(item_id, fingerprint, verdict, None))
    }

    // Unlocking is slow on purpose, so do it once for all items.
    fn sign_all(
        &self,
        passphrase: &str,
        items: &[(String, String)],
        verdict: &Verdict,
    ) -> Result<Vec<Vec<u8>>, WrongPassphrase> {
        let signer = self.unlock(passphrase)?;
        let each = items.iter();
        Ok(each
            .map(|(id, fingerprint)| signer.sign(id, fingerprint, verdict, None))
            .collect())
    }
}

impl KeySigner {
    fn unlock(&self, passphrase: &str) -> Result<passphrase::Signer, WrongPassphrase> {
        let passphrase = Secret::new(passphrase.to_owned());
        match passphrase::unlock(&self.0, &passphrase) {
            Ok(signer) => Ok(signer),
            Err(PassphraseError::Wrong) => Err(WrongPassphrase),
            Err(error) => {
                tracing::error!("{}", with_causes(&error));
                Err(WrongPassphrase)
            }
        }
    }
}

/// Who serves the page of a folder's inbox.
#[derive(Debug)]
pub enum PageState {
    /// Nobody. The next process that needs it would, at this port.
    Free(io::Result<u16>),
    /// A process that has proven that it is the page, at this port.
    Served(u16),
    /// A process that has not.
    Unproven(u16),
}

/// Finds out who serves the page of the inbox in a folder, and changes nothing. `wanted` is the port of the settings.
///
/// # Errors
/// Files in the folder that cannot be read.
pub fn page_state(dir: &StateDir, wanted: Option<u16>) -> Result<PageState, StoreError> {
    let known = known_port(dir)?;
    let lock = File::open(dir.path().join(LOCK_FILE));
    let is_locked =
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)));
    if !is_locked {
        let before = wanted.filter(|port| *port > 0).unwrap_or(known);
        return Ok(PageState::Free(free_port(before, wanted)));
    }
    let secret = dir.existing_secret()?;
    let is_proven = secret.is_some_and(|secret| is_proven(&secret, known).unwrap_or(false));
    Ok(match is_proven {
        true => PageState::Served(known),
        false => PageState::Unproven(known),
    })
}

/// Finds out whether the remote page is served, and changes nothing: true if a process serves it now.
///
/// # Errors
/// What would keep this process from serving it: its certificate or its address.
pub fn remote_state(dir: Option<&StateDir>, page: &RemotePage) -> Result<bool, PageServerError> {
    if let Protection::Tls { cert, key } = &page.protection {
        Certificate::load(cert, key)?;
    }
    let lock = dir.and_then(|dir| File::open(dir.path().join(REMOTE_LOCK_FILE)).ok());
    if lock.is_some_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))) {
        return Ok(true);
    }
    listen(page.listen).map(|_| false)
}

fn listen(address: SocketAddr) -> Result<TcpListener, PageServerError> {
    let failed = |source| PageServerError::Listen { address, source };
    TcpListener::bind(address).map_err(failed)
}

/// Returns the port at which the page would be served; `before` is the last one, or 0.
pub fn free_port(before: u16, wanted: Option<u16>) -> io::Result<u16> {
    let listener = bind(before, wanted.unwrap_or(USUAL_PORT))?;
    Ok(listener.local_addr()?.port())
}

fn known_port(dir: &StateDir) -> Result<u16, StoreError> {
    let bytes = dir.read(PORT_FILE, 16)?.unwrap_or_default();
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    Ok(text.trim().parse().unwrap_or_default())
}

/// Returns true if the page answers at a port: it must know the folder's secret.
fn is_proven(secret: &[u8; 32], port: u16) -> io::Result<bool> {
    if port == 0 {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    let nonce = random_hex(32).map_err(io::Error::other)?;
    let answer = ask(port, &nonce)?;
    let wanted = proof(secret, port, &nonce);
    let given = answer.rsplit("\r\n\r\n").next().unwrap_or_default().trim();
    // Comparing BLAKE3 hashes takes constant time.
    Ok(answer.starts_with("HTTP/1.1 200")
        && blake3::hash(given.as_bytes()) == blake3::hash(wanted.as_bytes()))
}

/// Returns the page's address, without any secret.
#[must_use]
pub fn address(port: u16) -> String {
    format!("http://127.0.0.1:{port}/")
}

/// Listens at the first free port: the page's previous or required port, the wanted one, one of the next, or any other.
fn bind(before: u16, wanted: u16) -> io::Result<TcpListener> {
    let near = (1..=NEIGHBOURS).filter_map(|step| wanted.checked_add(step));
    let ports = [before, wanted].into_iter().chain(near).chain([0]);
    // A `before` of 0 means that there was no port.
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for (at, port) in ports.enumerate() {
        if port == 0 && at == 0 {
            continue;
        }
        match TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Asks the process that listens at a port to prove that it is the page.
fn ask(port: u16, nonce: &str) -> io::Result<String> {
    let clock = Clock::start();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, PROOF_TIME)?;
    stream.set_write_timeout(Some(PROOF_TIME))?;
    let head = format!(
        "GET /prove?nonce={nonce} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    let (mut answer, mut chunk) = (Vec::new(), [0; 1024]);
    while answer.len() < MAX_ANSWER {
        // The limit is for the whole answer, not for each piece.
        let left = PROOF_TIME.saturating_sub(clock.now().elapsed);
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::state_dir::for_test;

    fn server(dir: StateDir, invites_to: Option<&str>) -> PageServer {
        let settings = PageServerSettings {
            port: Some(0),
            opens_browser: false,
            approver: None,
            browser: None,
            has_display: false,
            open_folder: None,
            callbacks: Arc::default(),
            invites_to: invites_to.map(|url| PageUrl::read(url).unwrap()),
            remote: None,
        };
        PageServer::new(dir, settings).unwrap()
    }

    #[test]
    fn users_on_other_machines_are_sent_to_the_page_that_they_can_reach() {
        let (_dir, state) = for_test();
        let item = "0".repeat(32);
        for (invites_to, begins) in [
            (
                Some("https://phone.example"),
                "https://phone.example/item/0",
            ),
            (None, "http://127.0.0.1:"),
        ] {
            let mut server = server(state.clone(), invites_to);
            assert_eq!(server.url_of(&item), None, "no page is served yet");
            let mut logins = store::open(&state, &Redaction::default()).unwrap().logins;
            server.maintain(&mut *logins, false, 0).unwrap();
            let url = server.url_of(&item).unwrap();
            assert!(url.starts_with(begins) && url.ends_with(&item), "{url}");
        }
    }
}
