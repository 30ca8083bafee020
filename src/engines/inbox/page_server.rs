//! Who serves the inbox's page: the first proxy that needs it, until it ends; then the next.
//!
//! What the page shows is `page`'s business.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use super::login_file::LoginFile;
use super::page::{Page, PageSettings, Passphrase, WrongPassphrase, proof, token_hash};
use super::passphrase::{self, PassphraseError, PublicKey};
use super::store::{self, Logins, Store, StoreError, Token};
use crate::approval::item::Verdict;
use crate::evidence::redact::Redaction;
use crate::sys::clock::{Clock, random_hex, random_seed};
use crate::sys::open_in_browser;
use crate::sys::secret::Secret;
use crate::sys::state_dir::{StateDir, suggested_command};
use crate::sys::with_causes;

/// How many ports behind the wanted one are tried before any that is free.
const NEIGHBOURS: u16 = 9;
/// How long whoever serves the page may take to prove it.
const PROOF_TIME: Duration = Duration::from_secs(1);
/// How often, and after how long each time, it is looked for who is just starting: a second in all.
const TRIES: usize = 50;
const TRY_AGAIN: Duration = Duration::from_millis(20);
/// The longest answer that is read, in bytes; the page's own is much shorter.
const MAX_ANSWER: usize = 8 * 1024;
/// How long a link to log in is good, in milliseconds.
const LOGIN_MS: i64 = 5 * 60 * 1000;
/// Where the page is where nobody says anything else.
const USUAL_PORT: u16 = 8766;
/// The file with the port that the page is served at, and the one that whoever serves it locks.
const PORT_FILE: &str = "page.port";
const LOCK_FILE: &str = "page.lock";

/// How the page is served.
#[derive(Debug, Clone)]
pub struct PageServerSettings {
    /// The port that is tried first, 0 for any that is free; `None` is the usual one, 8766.
    pub port: Option<u16>,
    /// Whether a browser may be opened.
    pub opens_browser: bool,
    /// The name that verdicts are recorded with which come from a browser that logs in by us.
    pub approver: Option<String>,
    /// `$BROWSER`.
    pub browser: Option<OsString>,
    /// Whether there is a display that a browser could open on.
    pub has_display: bool,
    /// Where browsers can read a file, if they cannot in the inbox's folder.
    pub open_folder: Option<PathBuf>,
}

/// One process's part in serving the page.
#[derive(Debug)]
pub struct PageServer {
    dir: StateDir,
    settings: PageServerSettings,
    secret: [u8; 32],
    /// What the browser that was opened last comes in by. It goes before the page: whoever serves
    /// that next may make one of the same name.
    login_file: Option<LoginFile>,
    serving: Option<Serving>,
    /// Whether a browser was opened at the page that we serve.
    has_opened: bool,
    /// The port that was told last.
    told: Option<u16>,
    /// Where somebody else served the page when it was last looked for.
    found: Option<u16>,
}

/// The page is served by us.
#[derive(Debug)]
struct Serving {
    port: u16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    /// Nobody else serves while it is locked; the system unlocks it however we end.
    _lock: File,
}

/// Why the page is served by nobody whom we could rely on.
#[derive(Debug, thiserror::Error)]
pub enum PageServerError {
    /// The folder or the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system.
    #[error("the inbox's page cannot be served")]
    System(#[from] io::Error),
    /// Somebody holds the lock and does not prove that it is the page.
    #[error(
        "the inbox's page at port {port} does not answer as it should; end the approval-proxy that \
         serves it, or decide with `{approvals}`"
    )]
    Unproven {
        /// Where the page should be.
        port: u16,
        /// The command that decides without it.
        approvals: String,
    },
}

impl PageServer {
    /// Takes part in serving the page of the folder's inbox.
    ///
    /// # Errors
    /// Where the folder's secret cannot be read or made.
    pub fn new(dir: StateDir, settings: PageServerSettings) -> Result<PageServer, StoreError> {
        let secret = dir.secret()?;
        Ok(PageServer {
            dir,
            settings,
            secret,
            login_file: None,
            serving: None,
            has_opened: false,
            told: None,
            found: None,
        })
    }

    /// The inbox's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Whether we serve the page.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        let serving = self.serving.as_ref();
        serving.is_some_and(|serving| {
            let thread = serving.thread.as_ref();
            thread.is_some_and(|thread| !thread.is_finished())
        })
    }

    /// Sees to it that somebody serves the page, us if need be. Returns its address, without any
    /// secret, the first time it is known and whenever it changes. Opens a browser where the page is
    /// ours, once, as soon as something waits for which one may be opened.
    ///
    /// # Errors
    /// [`PageServerError`]; to be tried again.
    pub fn maintain(
        &mut self,
        logins: &mut dyn Logins,
        opens_browser: bool,
        now_ms: i64,
    ) -> Result<Option<String>, PageServerError> {
        let was_serving = self.is_serving();
        let port = self.find_or_serve(now_ms)?;
        // Who was logged in to the page before is not logged in to this one.
        self.has_opened &= was_serving;
        let opens_browser = opens_browser && self.settings.opens_browser;
        if self.is_serving() && opens_browser && !std::mem::replace(&mut self.has_opened, true) {
            self.open_browser(logins, port, now_ms)?;
        }
        self.tidy_login_file(logins, now_ms)?;
        let is_new = self.told.replace(port) != Some(port);
        Ok(is_new.then(|| address(port)))
    }

    /// The page of an item; `None` while nobody is known to serve it.
    #[must_use]
    pub fn url_of(&self, item: &str) -> Option<String> {
        self.told
            .map(|port| format!("{}item/{item}", address(port)))
    }

    /// The port of the page, served by us where nobody else does.
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
            if let Some(lock) = self.lock()? {
                return self.serve(lock, now_ms);
            }
            port = self.known_port()?;
            // INVARIANT 3: what somebody else listens at is nobody's page until it proves it.
            match self.proves(port) {
                Ok(true) => {
                    self.found = Some(port);
                    return Ok(port);
                }
                // Whoever has the lock is just starting, or ending.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    thread::sleep(TRY_AGAIN);
                }
                Ok(false) | Err(_) => break,
            }
        }
        let approvals = suggested_command("approvals list", Some(self.dir.path()));
        Err(PageServerError::Unproven { port, approvals })
    }

    fn lock(&self) -> io::Result<Option<File>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.dir.path().join(LOCK_FILE))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn known_port(&self) -> Result<u16, StoreError> {
        let bytes = self.dir.read(PORT_FILE, 16)?.unwrap_or_default();
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        Ok(text.trim().parse().unwrap_or_default())
    }

    fn serve(&mut self, lock: File, now_ms: i64) -> Result<u16, PageServerError> {
        for folder in self.login_folders() {
            LoginFile::tidy(folder, now_ms - LOGIN_MS);
        }
        // Whoever looks at a tab of the one that has just ended finds us where that one was.
        let before = match (self.found, self.settings.port) {
            (Some(found), _) => found,
            (None, Some(wanted @ 1..)) => wanted,
            (None, Some(0) | None) => self.known_port()?,
        };
        let listener = bind(before, self.settings.port.unwrap_or(USUAL_PORT))?;
        let port = listener.local_addr()?.port();
        listener.set_nonblocking(true)?;
        let Store {
            requests, logins, ..
        } = store::open(&self.dir, &Redaction::default())?;
        let has_passphrase = PublicKey::load(&self.dir).is_ok_and(|key| key.is_some());
        let signer = Signing(self.dir.clone());
        let page = Page::new(
            requests,
            logins,
            PageSettings {
                secret: self.secret,
                instance: random_seed().map_err(io::Error::other)?,
                passphrase: has_passphrase.then(|| Box::new(signer) as _),
            },
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let work = move || {
            let served = runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let stopped = async {
                    // Whoever could have said so is gone.
                    let _ = stopped.await;
                };
                page.serve(listener, stopped).await
            });
            if let Err(error) = served {
                tracing::error!("the inbox's page is served no more: {error}");
            }
        };
        let named = thread::Builder::new().name("inbox-page".to_owned());
        let thread = named.spawn(work)?;
        self.dir.replace(PORT_FILE, port.to_string().as_bytes())?;
        self.serving = Some(Serving {
            port,
            stop: Some(stop),
            thread: Some(thread),
            _lock: lock,
        });
        Ok(port)
    }

    /// Whether it is the page that answers at a port: it knows the folder's secret.
    fn proves(&self, port: u16) -> io::Result<bool> {
        if port == 0 {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let nonce = random_hex(32).map_err(io::Error::other)?;
        let answer = ask(port, &nonce)?;
        let wanted = proof(&self.secret, port, &nonce);
        let given = answer.rsplit("\r\n\r\n").next().unwrap_or_default().trim();
        // Equality of BLAKE3 hashes takes the same time wherever they differ.
        Ok(answer.starts_with("HTTP/1.1 200")
            && blake3::hash(given.as_bytes()) == blake3::hash(wanted.as_bytes()))
    }

    /// A link that logs a browser in, once, within five minutes.
    ///
    /// # Errors
    /// The store's, and the system's.
    pub fn login_link(
        &self,
        logins: &mut dyn Logins,
        port: u16,
        now_ms: i64,
    ) -> Result<String, PageServerError> {
        self.login(logins, port, now_ms).map(|(link, _)| link)
    }

    /// A link that logs a browser in, and the hash of its token.
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

    /// Opens a browser at the page, logged in by a file. Without a display, or where that file cannot
    /// be made, nothing happens: false.
    ///
    /// # Errors
    /// As [`Host::login_link`].
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
        // One at a time, even where both have the same name.
        self.login_file = None;
        let made = LoginFile::make(self.login_folders(), &link, token);
        let opened = made.and_then(|login_file| Ok((login_file.url()?, login_file)));
        let (url, login_file) = match opened {
            Ok(opened) => opened,
            // The page is there all the same.
            Err(error) => {
                let dir = self.dir.path().display();
                tracing::warn!("no browser can be opened at the inbox: {dir}: {error}");
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

    /// Removes the file that a browser was opened at, once it is good for nothing.
    ///
    /// # Errors
    /// The store's.
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

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has said why, if it has ended by itself.
            let _ = thread.join();
        }
    }
}

/// Signs with the key that a passphrase unlocks, for the time of one verdict.
struct Signing(StateDir);

impl Passphrase for Signing {
    fn sign(
        &self,
        passphrase: &str,
        item_id: &str,
        fingerprint: &str,
        verdict: &Verdict,
    ) -> Result<Vec<u8>, WrongPassphrase> {
        let signer = self.unlock(passphrase)?;
        Ok(signer.sign(item_id, fingerprint, verdict))
    }

    // To unlock takes long on purpose, and once is enough.
    fn sign_all(
        &self,
        passphrase: &str,
        items: &[(String, String)],
        verdict: &Verdict,
    ) -> Result<Vec<Vec<u8>>, WrongPassphrase> {
        let signer = self.unlock(passphrase)?;
        let each = items.iter();
        Ok(each
            .map(|(id, fingerprint)| signer.sign(id, fingerprint, verdict))
            .collect())
    }
}

impl Signing {
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

/// The page's address, without any secret.
#[must_use]
pub fn address(port: u16) -> String {
    format!("http://127.0.0.1:{port}/")
}

/// The first port that is free: where the page was or has to be, where it is wanted, near that,
/// anywhere.
fn bind(before: u16, wanted: u16) -> io::Result<TcpListener> {
    let near = (1..=NEIGHBOURS).filter_map(|step| wanted.checked_add(step));
    let ports = [before, wanted].into_iter().chain(near).chain([0]);
    // 0 stands for "none" before its turn, unless it is what is wanted.
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

/// Asks whoever listens at a port for a proof.
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
        // In all, not for each of many small pieces.
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
