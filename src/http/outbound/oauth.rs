//! Logging in to a server that answers 401: who needs a token waits here, and one of them gets it.
//!
//! The protocol itself is rmcp's; a browser is opened by `transport`, and heard back from by
//! [`redirect`].

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

/// How long somebody may take to log in.
const LIMIT: Duration = Duration::from_secs(5 * 60);

/// Why there is no token. What servers said stands in the texts as a short quotation, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The server has no login that it tells of.
    #[error("the server names no login of OAuth")]
    NoOAuth,
    /// What the server or its host says of the login cannot be used, or not be reached.
    #[error("where to log in cannot be found out: {0}")]
    NotFound(String),
    /// A token would cross the network in the clear, or the browser be led astray.
    #[error("its login is not on HTTPS, or at an address that it may not lead to")]
    Insecure,
    /// Its authorization server does not know us.
    #[error("{0}")]
    Unregistered(Registration),
    /// Nobody came back from the browser.
    #[error("nobody has logged in within five minutes")]
    Late,
    /// The login's own no.
    #[error("the login was refused: {0}")]
    Refused(String),
    /// There was a login, and nothing came of it.
    #[error("the login gave no token: {0}")]
    NoToken(String),
    /// The stored token can be used no more, and nobody was to be asked.
    #[error("its token has expired")]
    Expired,
    /// The loopback address cannot be listened at, or the work ended early.
    #[error("the system refuses what a login needs")]
    System,
}

/// Why an authorization server does not know us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Registration {
    /// It reads documents about clients, and registers none.
    #[error(
        "its login knows clients only by the URL of a document about them; publish one and name it as \
         `clientIdMetadataUrl` in `approvalProxy`"
    )]
    NeedsDocument,
    /// Clients must be known there beforehand.
    #[error("its login does not let approval-proxy register")]
    None,
    /// It has said no.
    #[error("its login does not let approval-proxy register: {0}")]
    Refused(String),
}

/// What a renewal came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewed {
    /// Another process, or another request, had a token already.
    Found,
    /// The authorization server gave a new one without asking anybody.
    Refreshed,
    /// Somebody has logged in just now.
    LoggedIn,
}

/// How a renewal may come to a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Nobody is bothered.
    Refresh,
    /// Where that fails, somebody may be asked to log in.
    Browser,
    /// Somebody may be asked to log in, since a refreshed token was refused too.
    BrowserOnly,
}

/// What a login needs from the environment.
#[derive(Debug)]
pub struct Surroundings {
    /// Where tokens are kept between runs; `None` keeps them for this run only.
    pub folder: Option<PathBuf>,
    /// `$BROWSER`.
    pub browser: Option<OsString>,
    /// Where people read the URL if no browser opens.
    pub stderr: Stderr,
    /// What the operator calls us, if not by our name; the server itself hears it.
    pub user_agent: Option<HeaderValue>,
    /// The URL of a document about us, for authorization servers that read such documents.
    pub document: Option<String>,
}

/// The token for one server, and the way to a new one. Clones share it.
#[derive(Clone)]
pub struct Login {
    shared: Arc<Shared>,
}

/// A login's insides are secret.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}

struct Shared {
    url: Url,
    clock: Clock,
    browser: Option<OsString>,
    stderr: Stderr,
    identity: Identity,
    store: Store,
    limit: Duration,
    held: watch::Sender<Option<Arc<Stored>>>,
    /// Taken by who renews; in it, what the last renewal came to.
    turn: Mutex<Option<Result<Renewed, LoginError>>>,
    /// How many renewals have ended.
    turns: AtomicU64,
}

impl Login {
    /// For the server at `url`, with the token of an earlier run if there is one.
    #[must_use]
    pub fn new(url: Url, surroundings: Surroundings) -> Login {
        let store = Store::new(surroundings.folder, &url);
        let held = store.read().map(Arc::new);
        let shared = Arc::new(Shared {
            url,
            clock: Clock::start(),
            browser: surroundings.browser,
            stderr: surroundings.stderr,
            identity: Identity {
                user_agent: surroundings.user_agent,
                document: surroundings.document,
            },
            store,
            limit: LIMIT,
            held: watch::Sender::new(held),
            turn: Mutex::new(None),
            turns: AtomicU64::new(0),
        });
        Login { shared }
    }

    /// The token to send, refreshed first where it is about to expire. `None` before a login.
    pub(super) async fn token(&self) -> Option<Secret> {
        let shared = &self.shared;
        let held = shared.held()?;
        if held.is_due(shared.now()) && held.can_be_refreshed() {
            let shared = Arc::clone(shared);
            // A task of its own: a request that is cancelled must not lose a token on its way.
            let refreshed = tokio::spawn(async move {
                let _turn = shared.turn.lock().await;
                let held = shared.held();
                if held.is_none_or(|held| held.is_due(shared.now())) {
                    // Where it fails, the server will say 401 to the old one.
                    let _ = shared.renew(None, None, Reach::Refresh).await;
                }
            });
            let _ = refreshed.await;
        }
        Some(shared.held()?.token())
    }

    /// Gets another token than `refused`, as `reach` says. `challenge` is what the server
    /// said in `WWW-Authenticate`.
    ///
    /// Whoever comes while a renewal is under way waits for it and shares what it comes to.
    pub(super) async fn renew(
        &self,
        refused: Option<Secret>,
        challenge: Option<String>,
        reach: Reach,
    ) -> Result<Renewed, LoginError> {
        let shared = Arc::clone(&self.shared);
        let turns = shared.turns.load(Ordering::Relaxed);
        // A task of its own: others wait for it too, when the request that began it is cancelled.
        let renewed = tokio::spawn(async move {
            let mut turn = shared.turn.lock().await;
            if let Some(last) = &*turn
                && shared.turns.load(Ordering::Relaxed) != turns
            {
                return last.clone();
            }
            if let Some(held) = shared.held()
                && !held.has_token(refused.as_ref())
            {
                return Ok(Renewed::Found);
            }
            let renewed = shared
                .renew(refused.as_ref(), challenge.as_deref(), reach)
                .await;
            *turn = Some(renewed.clone());
            shared.turns.fetch_add(1, Ordering::Relaxed);
            renewed
        });
        renewed.await.unwrap_or(Err(LoginError::System))
    }

    /// Waits until there is another token than `refused`.
    pub(super) async fn replaced(&self, refused: Option<&Secret>) {
        let mut held = self.shared.held.subscribe();
        let is_new = |held: &Option<Arc<Stored>>| {
            let held = held.as_ref();
            held.is_some_and(|held| !held.has_token(refused))
        };
        // Fails only where the login itself is gone, and the session with it.
        let _ = held.wait_for(is_new).await;
    }
}

impl Shared {
    fn held(&self) -> Option<Arc<Stored>> {
        self.held.borrow().clone()
    }

    /// Seconds since 1970.
    fn now(&self) -> u64 {
        u64::try_from(self.clock.now().unix_ms / 1000).unwrap_or_default()
    }

    async fn renew(
        &self,
        refused: Option<&Secret>,
        challenge: Option<&str>,
        reach: Reach,
    ) -> Result<Renewed, LoginError> {
        // Until the end: refresh tokens are good once, and one browser is enough.
        let _lock = self.store.lock(self.limit).await?;
        let stored = self.store.read();
        if let Some(found) = &stored
            && !found.has_token(refused)
            && !found.is_due(self.now())
        {
            self.hold(found.clone());
            return Ok(Renewed::Found);
        }
        let old = stored.or_else(|| self.held().as_deref().cloned());
        if reach != Reach::BrowserOnly
            && let Some(old) = old.filter(Stored::can_be_refreshed)
            && let Some(new) = flow::refresh(&self.url, &self.identity, &old).await
        {
            self.keep(new);
            return Ok(Renewed::Refreshed);
        }
        match reach {
            Reach::Refresh => Err(LoginError::Expired),
            Reach::Browser | Reach::BrowserOnly => {
                let ask = |url: &Url| {
                    let line = format!("approval-proxy: the server wants a login; open {url}\n");
                    self.stderr.send(line.into_bytes());
                    let _ = open_in_browser(self.browser.as_deref(), url.as_str());
                };
                let new =
                    flow::log_in(&self.url, &self.identity, challenge, self.limit, ask).await?;
                self.keep(new);
                Ok(Renewed::LoggedIn)
            }
        }
    }

    /// Holds on to a new token, for later runs too.
    fn keep(&self, new: Stored) {
        if let Err(error) = self.store.write(&new) {
            tracing::warn!("the login holds for this run only, its token cannot be kept: {error}");
        }
        self.hold(new);
    }

    fn hold(&self, token: Stored) {
        self.held.send_replace(Some(Arc::new(token)));
    }
}

#[cfg(test)]
mod tests;
