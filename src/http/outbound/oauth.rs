//! Logs in to a server that answers 401. All requests that need a token wait here while one of them gets it.
//!
//! rmcp implements the protocol. [`redirect`] receives the browser's answer.

mod addresses;
mod client;
mod flow;
mod redirect;
mod store;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderValue;
use tokio::sync::{Mutex, watch};

use crate::sys::clock::Clock;
use crate::sys::secret::Secret;
use crate::sys::{Stderr, open_in_browser};

use flow::Identity;
use store::{Store, Stored};

/// How long a person may take to log in.
const LIMIT: Duration = Duration::from_secs(5 * 60);

/// Why there is no token. The texts quote servers briefly and without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The server does not name an OAuth login.
    #[error("the server does not offer an OAuth login")]
    NoOAuth,
    /// The description of the login is unusable or cannot be reached.
    #[error("the login cannot be found: {0}")]
    NotFound(String),
    /// A token would be sent unencrypted, or the browser would be sent to a forbidden address.
    #[error("its login does not use HTTPS, or is at an address that is not allowed for it")]
    Insecure,
    /// Its authorization server does not know us.
    #[error("{0}")]
    Unregistered(Registration),
    /// Nobody came back from the browser in time.
    #[error("nobody logged in within five minutes")]
    Late,
    /// The authorization server refused the login.
    #[error("the login was refused: {0}")]
    Refused(String),
    /// The login succeeded, but there is no usable token.
    #[error("the login gave no token: {0}")]
    NoToken(String),
    /// Nobody may be asked to log in.
    #[error("it requires a login, and nobody is asked to log in now")]
    NotAsked,
    /// The stored token has expired, and nobody may be asked to log in.
    #[error("its token has expired")]
    Expired,
    /// We cannot listen on the loopback address, or a task ended early.
    #[error("the system refused a resource that the login needs")]
    System,
}

/// Why an authorization server does not know us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Registration {
    /// It reads metadata documents of clients, and registers no clients.
    #[error(
        "its login accepts only clients with a metadata document; publish one and set its URL as \
         `clientIdMetadataUrl` in `approvalProxy`"
    )]
    NeedsDocument,
    /// It neither registers clients nor reads metadata documents.
    #[error("its login does not let approval-proxy register")]
    None,
    /// It refused our registration.
    #[error("its login does not let approval-proxy register: {0}")]
    Refused(String),
}

/// How a renewal got a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewed {
    /// Another process or request had already got one.
    Found,
    /// The authorization server refreshed it without a person.
    Refreshed,
    /// A person has just logged in.
    LoggedIn,
}

/// How a renewal may get a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RenewalMode {
    /// Only refresh it, without a person.
    Refresh,
    /// Refresh it, or have a person log in if that fails.
    Browser,
    /// Have a person log in, because the server refused a refreshed token, too.
    BrowserOnly,
}

/// What a login needs from its environment.
#[derive(Debug)]
pub struct LoginEnvironment {
    /// The folder for tokens. If `None`, they are kept for this run only.
    pub folder: Option<PathBuf>,
    /// `$BROWSER`.
    pub browser: Option<OsString>,
    /// Whether a person may be asked to log in. If not, only tokens of earlier logins are used.
    pub may_ask: bool,
    /// Where a person reads the URL if no browser opens.
    pub stderr: Stderr,
    /// The operator's `User-Agent`, if it is not the default. Sent only to the server itself.
    pub user_agent: Option<HeaderValue>,
    /// The URL of our metadata document, for authorization servers that read such documents.
    pub document: Option<String>,
}

/// The token for one server, and the means to get a new one. Clones share it.
#[derive(Clone)]
pub struct Login {
    shared: Arc<Shared>,
}

/// Shows nothing, because a login contains secrets.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}

struct Shared {
    url: Url,
    clock: Clock,
    browser: Option<OsString>,
    may_ask: bool,
    stderr: Stderr,
    identity: Identity,
    store: Store,
    limit: Duration,
    current: watch::Sender<Option<Arc<Stored>>>,
    /// Locked during a renewal. Holds the result of the last one.
    last_renewal: Mutex<Option<Result<Renewed, LoginError>>>,
    /// How many renewals have ended.
    renewals: AtomicU64,
}

impl Login {
    /// Creates a login for the server at `url`, with the token of an earlier run if there is one.
    #[must_use]
    pub fn new(url: Url, environment: LoginEnvironment) -> Login {
        let store = Store::new(environment.folder, &url);
        let current = store.read().map(Arc::new);
        let shared = Arc::new(Shared {
            url,
            clock: Clock::start(),
            browser: environment.browser,
            may_ask: environment.may_ask,
            stderr: environment.stderr,
            identity: Identity {
                user_agent: environment.user_agent,
                document: environment.document,
            },
            store,
            limit: LIMIT,
            current: watch::Sender::new(current),
            last_renewal: Mutex::new(None),
            renewals: AtomicU64::new(0),
        });
        Login { shared }
    }

    /// Returns the token to send; `None` before a login. Refreshes it first if it is about to expire.
    pub(super) async fn token(&self) -> Option<Secret> {
        let shared = &self.shared;
        let current = shared.current()?;
        if current.is_due(shared.now()) && current.can_be_refreshed() {
            let shared = Arc::clone(shared);
            // In its own task, so that a cancelled request does not lose a token in transit.
            let refreshed = tokio::spawn(async move {
                let _lock = shared.last_renewal.lock().await;
                let current = shared.current();
                if current.is_none_or(|current| current.is_due(shared.now())) {
                    // If this fails, the server will answer 401 to the old token.
                    let _ = shared.renew(None, None, RenewalMode::Refresh).await;
                }
            });
            let _ = refreshed.await;
        }
        Some(shared.current()?.token())
    }

    /// Gets a token other than `refused`, by the means that `mode` allows. `challenge` is the server's
    /// `WWW-Authenticate`.
    ///
    /// During a renewal, further callers wait for it and share its result.
    pub(super) async fn renew(
        &self,
        refused: Option<Secret>,
        challenge: Option<String>,
        mode: RenewalMode,
    ) -> Result<Renewed, LoginError> {
        let shared = Arc::clone(&self.shared);
        let renewals = shared.renewals.load(Ordering::Relaxed);
        // In its own task, because others still wait for it if the request that started it is cancelled.
        let renewed = tokio::spawn(async move {
            let mut last_renewal = shared.last_renewal.lock().await;
            if let Some(last) = &*last_renewal
                && shared.renewals.load(Ordering::Relaxed) != renewals
            {
                return last.clone();
            }
            if let Some(current) = shared.current()
                && !current.has_token(refused.as_ref())
            {
                return Ok(Renewed::Found);
            }
            let renewed = shared
                .renew(refused.as_ref(), challenge.as_deref(), mode)
                .await;
            *last_renewal = Some(renewed.clone());
            shared.renewals.fetch_add(1, Ordering::Relaxed);
            renewed
        });
        renewed.await.unwrap_or(Err(LoginError::System))
    }

    /// Waits until there is a token other than `refused`.
    pub(super) async fn replaced(&self, refused: Option<&Secret>) {
        let mut current = self.shared.current.subscribe();
        let is_new = |current: &Option<Arc<Stored>>| {
            let current = current.as_ref();
            current.is_some_and(|current| !current.has_token(refused))
        };
        // Cannot fail: `self` holds the sender.
        let _ = current.wait_for(is_new).await;
    }
}

impl Shared {
    fn current(&self) -> Option<Arc<Stored>> {
        self.current.borrow().clone()
    }

    /// Returns the time in seconds since 1970.
    fn now(&self) -> u64 {
        u64::try_from(self.clock.now().unix_ms / 1000).unwrap_or_default()
    }

    async fn renew(
        &self,
        refused: Option<&Secret>,
        challenge: Option<&str>,
        mode: RenewalMode,
    ) -> Result<Renewed, LoginError> {
        // Before the lock, which creates a file.
        if !self.may_ask && self.current().is_none() {
            return Err(LoginError::NotAsked);
        }
        // Held until the end: a refresh token works only once, and one browser is enough.
        let _lock = self.store.lock(self.limit).await?;
        let stored = self.store.read();
        if let Some(found) = &stored
            && !found.has_token(refused)
            && !found.is_due(self.now())
        {
            self.set_current(found.clone());
            return Ok(Renewed::Found);
        }
        let old = stored.or_else(|| self.current().as_deref().cloned());
        if mode != RenewalMode::BrowserOnly
            && let Some(old) = old.filter(Stored::can_be_refreshed)
            && let Some(new) = flow::refresh(&self.url, &self.identity, &old).await
        {
            self.store(new);
            return Ok(Renewed::Refreshed);
        }
        match mode {
            RenewalMode::Refresh => Err(LoginError::Expired),
            RenewalMode::Browser | RenewalMode::BrowserOnly if !self.may_ask => {
                Err(LoginError::NotAsked)
            }
            RenewalMode::Browser | RenewalMode::BrowserOnly => {
                let open = |url: &Url| {
                    let line = format!("approval-proxy: the server requires a login; open {url}\n");
                    self.stderr.send(line.into_bytes());
                    let _ = open_in_browser(self.browser.as_deref(), url.as_str());
                };
                let new =
                    flow::log_in(&self.url, &self.identity, challenge, self.limit, open).await?;
                self.store(new);
                Ok(Renewed::LoggedIn)
            }
        }
    }

    /// Uses a new token, and stores it for later runs.
    fn store(&self, new: Stored) {
        if let Err(error) = self.store.write(&new) {
            tracing::warn!(
                "the login is valid for this run only, because its token cannot be stored: {error}"
            );
        }
        self.set_current(new);
    }

    fn set_current(&self, token: Stored) {
        self.current.send_replace(Some(Arc::new(token)));
    }
}

#[cfg(test)]
mod tests;
