//! Records of approvals, in a log of their own: `audit/mcp.jsonl` in the state folder.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::evidence::record::{Line, Origin, Timestamp};
use crate::evidence::redact::Redaction;
use crate::evidence::{LedgerFile, StateFolderLogError, open_in_state_folder};
use crate::sys::clock::Clock;

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
#[error("the audit log of approvals cannot be written")]
pub struct LogError(#[from] StateFolderLogError);

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
        let file = open_in_state_folder(state, NAME)?;
        Ok(ApprovalLog {
            file: Arc::new(Mutex::new(file)),
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
        let written = file.append(&[line], || self.clock.now().elapsed);
        Ok(written.map_err(StateFolderLogError::from)?)
    }
}
