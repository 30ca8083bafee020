//! Stores a server's token between runs, in a file that only its owner may read.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use oauth2::TokenResponse as _;
use reqwest::Url;
use rmcp::transport::auth::StoredCredentials;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};

use super::LoginError;
use crate::evidence::redact::hex;
use crate::sys::secret::Secret;
use crate::sys::state_dir::StateDir;
use crate::sys::with_causes;

/// The version of the file's format.
pub(super) const VERSION: u32 = 1;
/// A token is refreshed if it is valid for no longer than this.
const MARGIN: Duration = Duration::from_secs(30);
/// How often to try a lock that another process holds.
const LOCK_RETRY: Duration = Duration::from_millis(200);
/// The largest file that is read. Our own files are much smaller.
const MAX_FILE: usize = 1024 * 1024;

/// The result of a login.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) version: u32,
    pub(super) credentials: StoredCredentials,
    /// Some authorization servers issue one unasked, and require it later.
    pub(super) client_secret: Option<String>,
    /// How to send it, if the registration says so.
    #[serde(default)]
    pub(super) auth_method: Option<String>,
    /// The server's challenge, with which the login can be found again.
    pub(super) challenge: Option<String>,
}

impl Stored {
    pub(super) fn token(&self) -> Secret {
        Secret::new(self.access_token().to_owned())
    }

    /// Returns true if it is this token. Both are ours, so timing reveals nothing.
    pub(super) fn has_token(&self, token: Option<&Secret>) -> bool {
        token.is_some_and(|token| token.expose() == self.access_token())
    }

    pub(super) fn can_be_refreshed(&self) -> bool {
        let response = self.credentials.token_response.as_ref();
        response.is_some_and(|response| response.refresh_token().is_some())
    }

    /// Returns true if it has expired or is about to. `now` is in seconds since 1970.
    pub(super) fn is_due(&self, now: u64) -> bool {
        let response = self.credentials.token_response.as_ref();
        let life = response.and_then(|response| response.expires_in());
        let (Some(life), Some(received)) = (life, self.credentials.token_received_at) else {
            return false;
        };
        let usable = life.saturating_sub(MARGIN.min(life / 4));
        now.saturating_sub(received) >= usable.as_secs()
    }

    fn access_token(&self) -> &str {
        let response = self.credentials.token_response.as_ref();
        response.map_or("", |response| response.access_token().secret())
    }
}

/// The stored token of one server: a file in the user's folder, if there is one.
pub(super) struct Store {
    folder: Option<PathBuf>,
    name: String,
}

/// Prevents other processes from renewing the same token until it is dropped.
pub(super) struct Lock {
    _file: Option<File>,
}

impl Store {
    /// Creates a store in `folder` for the server at `url`. The file's name has a digest of the URL, which
    /// may contain a secret.
    pub(super) fn new(folder: Option<PathBuf>, url: &Url) -> Store {
        let mut digest = hex(&Sha256::digest(url.as_str()));
        digest.truncate(32);
        let host = url.host_str().unwrap_or_default();
        let host: String = host
            .chars()
            .map(|char| {
                if char.is_ascii_alphanumeric() || char == '.' {
                    char
                } else {
                    '-'
                }
            })
            .take(100)
            .collect();
        let name = format!("login-{host}-{digest}");
        Store { folder, name }
    }

    /// Returns the token, if there is one that can be read.
    pub(super) fn read(&self) -> Option<Stored> {
        // Reading must not create the folder.
        let folder = self.folder.as_ref().filter(|folder| folder.exists())?;
        let read = StateDir::open(folder).and_then(|dir| dir.read(&self.file(), MAX_FILE));
        let bytes = match read {
            Ok(bytes) => bytes?,
            Err(error) => {
                let why = with_causes(&error);
                tracing::warn!("the stored login cannot be read: {why}");
                return None;
            }
        };
        // Ignores a file that is incomplete or was written by a later version.
        let stored: Stored = serde_json::from_slice(&bytes).ok()?;
        let is_ours = stored.version == VERSION && stored.credentials.token_response.is_some();
        is_ours.then_some(stored)
    }

    /// Replaces the token.
    ///
    /// # Errors
    /// If there is no folder, others have access to it, or the system refuses; in words.
    pub(super) fn write(&self, stored: &Stored) -> Result<(), String> {
        let Some(folder) = &self.folder else {
            return Err("there is no folder for it; name one with --state-dir".into());
        };
        let bytes = serde_json::to_vec(stored).map_err(|error| error.to_string())?;
        StateDir::open(folder)
            .and_then(|dir| dir.replace(&self.file(), &bytes))
            .map_err(|error| with_causes(&error))
    }

    fn file(&self) -> String {
        format!("{}.json", self.name)
    }

    /// Waits up to `limit` for other processes that are renewing the token, and locks it.
    pub(super) async fn lock(&self, limit: Duration) -> Result<Lock, LoginError> {
        // Without a file, other processes cannot share the token.
        let Some(file) = self.lock_file() else {
            return Ok(Lock { _file: None });
        };
        let end = Instant::now() + limit;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: Some(file) }),
                Err(TryLockError::WouldBlock) if Instant::now() >= end => {
                    return Err(LoginError::Late);
                }
                Err(TryLockError::WouldBlock) => sleep(LOCK_RETRY).await,
                // Some file systems do not support locks.
                Err(TryLockError::Error(_)) => return Ok(Lock { _file: None }),
            }
        }
    }

    fn lock_file(&self) -> Option<File> {
        let dir = StateDir::open(self.folder.as_ref()?).ok()?;
        let mut options = OpenOptions::new();
        let options = options.create(true).write(true).truncate(false).mode(0o600);
        let path = dir.path().join(format!("{}.lock", self.name));
        options.open(path).ok()
    }
}
