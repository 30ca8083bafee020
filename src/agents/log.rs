//! Records of approvals, in a log of their own: `audit/mcp.jsonl` in the state folder.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::evidence::record::{Line, Origin, Timestamp};
use crate::evidence::redact::Redaction;
use crate::evidence::{LOGS, LedgerError, LedgerFile, ROTATE_AT, log_name};
use crate::sys::clock::Clock;
use crate::sys::state_dir::{StateDir, StoreError};

/// The log. Clones share it.
#[derive(Clone)]
pub(super) struct ApprovalLog {
    file: Arc<Mutex<LedgerFile>>,
    redaction: Redaction,
    clock: Clock,
}

/// What these records have in place of a server's name. The file is called like it.
const NAME: &str = "mcp";

/// A record cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The folder of the logs cannot be used.
    #[error("the audit log of approvals cannot be opened")]
    Folder(#[source] StoreError),
    /// The log cannot be written.
    #[error("the audit log of approvals cannot be written")]
    Log(#[source] LedgerError),
}

impl fmt::Debug for ApprovalLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApprovalLog").finish_non_exhaustive()
    }
}

impl ApprovalLog {
    /// Opens the log in a state folder.
    ///
    /// # Errors
    /// [`LogError`].
    pub(super) fn open(
        state: &Path,
        redaction: Redaction,
        clock: Clock,
    ) -> Result<ApprovalLog, LogError> {
        let logs = StateDir::open(state).and_then(|dir| StateDir::open(&dir.path().join(LOGS)));
        let logs = logs.map_err(LogError::Folder)?;
        let file = LedgerFile::open_rotating(&logs.path().join(log_name(NAME)), ROTATE_AT);
        Ok(ApprovalLog {
            file: Arc::new(Mutex::new(file.map_err(LogError::Log)?)),
            redaction,
            clock,
        })
    }

    /// Records something about an approval. When this returns, the record survives the end of this process.
    ///
    /// # Errors
    /// [`LogError`].
    pub(super) fn record(&self, members: &[(&str, &str)]) -> Result<(), LogError> {
        let time = Timestamp::new(self.clock.now().unix_ms);
        let origin = Origin::new("", NAME).redacting(self.redaction.clone());
        let line = Line::event(&time, &origin, "approval", members);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.append(&[line], || self.clock.now().elapsed)
            .map_err(LogError::Log)
    }
}
