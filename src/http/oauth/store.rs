//! The file that keeps a server's token between runs, for its owner's eyes only.
//!
//! It knows nothing of what the token is good for.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use oauth2::TokenResponse as _;
use reqwest::Url;
use rmcp::transport::auth::StoredCredentials;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};

use super::LoginError;
use crate::clock::random_seed;
use crate::secret::Secret;

/// The version of the file's format.
pub(super) const VERSION: u32 = 1;
/// A token that is good for no longer than this is due.
const MARGIN: Duration = Duration::from_secs(30);
/// How often a lock that another process holds is tried.
const TRY_AGAIN: Duration = Duration::from_millis(200);
/// No file of ours is nearly as large.
const MAX_FILE: u64 = 1024 * 1024;

/// What a login gave.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) version: u32,
    pub(super) credentials: StoredCredentials,
    /// Some authorization servers give one though none was asked for, and want it back.
    pub(super) client_secret: Option<String>,
    /// What the server said when it wanted the login: where it is to be found again.
    pub(super) challenge: Option<String>,
}

impl Stored {
    pub(super) fn token(&self) -> Secret {
        Secret::new(self.access_token().to_owned())
    }

    /// Whether it is this token. Both are ours, so how long a look takes tells nobody anything.
    pub(super) fn has_token(&self, token: Option<&Secret>) -> bool {
        token.is_some_and(|token| token.expose() == self.access_token())
    }

    pub(super) fn can_be_refreshed(&self) -> bool {
        let response = self.credentials.token_response.as_ref();
        response.is_some_and(|response| response.refresh_token().is_some())
    }

    /// Whether it has expired at `now`, in seconds since 1970, or is about to.
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

/// Where the token of one server is kept.
pub(super) struct Store {
    file: Option<PathBuf>,
}

/// Keeps other processes from renewing the same token; until it is dropped.
pub(super) struct Lock {
    _file: Option<File>,
}

impl Store {
    /// In `folder`, for the server at `url`, which a digest stands for: it may hold a secret.
    pub(super) fn new(folder: Option<PathBuf>, url: &Url) -> Store {
        let digest = Sha256::digest(url.as_str());
        let digest: String = digest
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect();
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
        let file = folder.map(|folder| folder.join(format!("login-{host}-{digest}.json")));
        Store { file }
    }

    /// The token, if there is one that can be read.
    pub(super) fn read(&self) -> Option<Stored> {
        let file = self.file.as_ref()?;
        let read = || {
            if fs::metadata(file)?.len() > MAX_FILE {
                return Err(io::Error::from(io::ErrorKind::FileTooLarge));
            }
            fs::read(file)
        };
        let bytes = match read() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!("the stored login cannot be read: {error}");
                return None;
            }
        };
        // What a later version wrote is as good as nothing.
        let stored: Stored = serde_json::from_slice(&bytes).ok()?;
        let is_ours = stored.version == VERSION && stored.credentials.token_response.is_some();
        is_ours.then_some(stored)
    }

    /// Replaces the token as a whole.
    ///
    /// # Errors
    /// Where there is no folder, or the system refuses.
    pub(super) fn write(&self, stored: &Stored) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Err(io::Error::other(
                "neither `XDG_STATE_HOME` nor `HOME` is set",
            ));
        };
        make_folder(file)?;
        let seed = random_seed().map_err(io::Error::other)?;
        let name: String = seed
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let new = file.with_extension(format!("{name}.new"));
        let written = write_new(&new, stored).and_then(|()| fs::rename(&new, file));
        if written.is_err() {
            // It holds a token that nobody will look for here.
            let _ = fs::remove_file(&new);
        }
        written
    }

    /// Waits for other processes that renew the token, for at most `limit`.
    pub(super) async fn lock(&self, limit: Duration) -> Result<Lock, LoginError> {
        // Without a file there is nothing to share.
        let Some(file) = self.file.as_ref().and_then(|file| lock_file(file).ok()) else {
            return Ok(Lock { _file: None });
        };
        let end = Instant::now() + limit;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: Some(file) }),
                Err(TryLockError::WouldBlock) if Instant::now() >= end => {
                    return Err(LoginError::Late);
                }
                Err(TryLockError::WouldBlock) => sleep(TRY_AGAIN).await,
                // Some file systems have no locks.
                Err(TryLockError::Error(_)) => return Ok(Lock { _file: None }),
            }
        }
    }
}

fn lock_file(file: &Path) -> io::Result<File> {
    make_folder(file)?;
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(false).mode(0o600);
    options.open(file.with_extension("lock"))
}

fn make_folder(file: &Path) -> io::Result<()> {
    let Some(folder) = file.parent() else {
        return Ok(());
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

fn write_new(path: &Path, stored: &Stored) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(&serde_json::to_vec(stored)?)?;
    file.sync_all()
}
