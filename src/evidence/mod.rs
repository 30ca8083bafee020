//! The audit log: its records, what it keeps of a call's arguments, and where it is written.
//!
//! A record is complete before its call is released. The core builds records; the `proxy` feature
//! adds the files.

pub mod record;
pub mod redact;

#[cfg(feature = "proxy")]
mod file;
#[cfg(feature = "proxy")]
mod ledger;
#[cfg(feature = "proxy")]
mod name;
#[cfg(feature = "proxy")]
mod rotation;
#[cfg(feature = "proxy")]
mod state_folder;

#[cfg(feature = "proxy")]
pub use file::{LedgerError, LedgerFile};
#[cfg(feature = "proxy")]
pub use ledger::Ledger;
#[cfg(feature = "proxy")]
pub use name::{LOGS, log_name};
#[cfg(feature = "proxy")]
pub use state_folder::{StateFolderLogError, open_in_state_folder};
