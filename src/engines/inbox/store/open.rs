//! Opens the store that the configuration names: today, SQLite in the user's folder.
//!
//! The only place that knows which implementation there is.

use std::fmt;
use std::path::Path;

use super::sqlite::{self, Leases, SqliteLogins, SqliteStore};
use super::{ApprovalRequests, Liveness, Logins, StoreError};
use crate::evidence::redact::Redaction;
use crate::sys::state_dir::StateDir;

/// An open store. Each part is one thread's at a time.
pub struct Store {
    /// Questions and verdicts.
    pub requests: Box<dyn ApprovalRequests>,
    /// Who lives.
    pub liveness: Box<dyn Liveness>,
    /// Who may use the page of this machine. Opened when it is first used.
    pub logins: Box<dyn Logins>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// Opens the store of the user's folder; it is made if there is none. `redaction` says what counts as a secret in the
/// calls that are asked here: whoever decides keeps those out of the history, too, without knowing them.
///
/// # Errors
/// Every [`ErrorKind`](super::ErrorKind); `Locked` after about a second.
pub fn open(dir: &StateDir, redaction: &Redaction) -> Result<Store, StoreError> {
    let requests = SqliteStore::open(dir)?.redacting(redaction.clone());
    Ok(Store {
        requests: Box::new(requests),
        liveness: Box::new(Leases::new(dir)),
        logins: Box::new(SqliteLogins::new(dir)),
    })
}

/// Whether the store of the folder may hold an item that a proxy can [resume](ApprovalRequests::resume). It opens
/// nothing and looks at one name: if the answer is no, there is no such item.
#[must_use]
pub fn may_resume(folder: &Path) -> bool {
    sqlite::is_flagged(folder)
}
