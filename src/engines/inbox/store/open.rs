//! Opens the configured store: today, SQLite in the user's folder.
//!
//! Only this file knows the implementation.

use std::fmt;
use std::path::Path;

use super::sqlite::{self, Leases, SqliteLogins, SqliteStore};
use super::{ApprovalRequests, Devices, Liveness, Logins, StoreError};
use crate::evidence::redact::Redaction;
use crate::sys::state_dir::StateDir;

/// An open store. One thread at a time uses each part.
pub struct Store {
    /// The questions and verdicts.
    pub requests: Box<dyn ApprovalRequests>,
    /// Which proxies are alive.
    pub liveness: Box<dyn Liveness>,
    /// The logins to the page of this machine. Opened when first used.
    pub logins: Box<dyn Logins>,
    /// The devices that are paired with the page of this machine. Opened when first used.
    pub devices: Box<dyn Devices>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// Opens the store of the user's folder, and creates it if there is none. `redaction` says what is secret in the calls
/// that are asked here; a process that decides keeps those secrets out of the history too, without knowing them.
///
/// # Errors
/// Every [`ErrorKind`](super::ErrorKind); `Locked` after about a second.
pub fn open(dir: &StateDir, redaction: &Redaction) -> Result<Store, StoreError> {
    let requests = SqliteStore::open(dir)?.redacting(redaction.clone());
    Ok(Store {
        requests: Box::new(requests),
        liveness: Box::new(Leases::new(dir)),
        logins: Box::new(SqliteLogins::new(dir)),
        devices: Box::new(SqliteLogins::new(dir)),
    })
}

/// Checks whether the store of a folder can be used. Creates nothing: a folder or a store that is missing is no fault.
///
/// # Errors
/// As [`open()`].
pub fn check(folder: &Path) -> Result<(), StoreError> {
    if folder.symlink_metadata().is_err() {
        return Ok(());
    }
    let dir = StateDir::open(folder)?;
    match sqlite::has_database(folder) {
        true => open(&dir, &Redaction::default())?.requests.check(),
        false => Ok(()),
    }
}

/// Returns false if no proxy can [resume](ApprovalRequests::resume) any item of the folder's store. Opens nothing:
/// checks only whether one file exists.
#[must_use]
pub fn may_resume(folder: &Path) -> bool {
    sqlite::is_flagged(folder)
}
