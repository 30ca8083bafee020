//! The logs in the state folder: one for each server, and those of the inbox and of agents.

use std::path::Path;

use super::file::{LedgerError, LedgerFile};
use super::name::{LOGS, log_name};
use crate::sys::state_dir::{StateDir, StoreError};

/// The size at which a log is rotated, in bytes.
const ROTATE_AT: u64 = 64 * 1024 * 1024;

/// Why a log in the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateFolderLogError {
    /// The state folder, or the folder of the logs in it.
    #[error(transparent)]
    Folder(#[from] StoreError),
    /// The log itself.
    #[error(transparent)]
    Log(#[from] LedgerError),
}

/// Opens the log of this name in a state folder, and creates it if there is none. No other user has access to it.
///
/// # Errors
/// [`StateFolderLogError`].
pub fn open_in_state_folder(state: &Path, name: &str) -> Result<LedgerFile, StateFolderLogError> {
    // `StateDir` checks both folders.
    let logs = StateDir::open(StateDir::open(state)?.path().join(LOGS).as_path())?;
    Ok(LedgerFile::open_rotating(
        &logs.path().join(log_name(name)),
        ROTATE_AT,
    )?)
}
