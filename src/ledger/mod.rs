//! The audit log as a file: it is evidence.
//!
//! What its lines say is made in `audit`.

mod file;
mod name;
mod rotation;

pub use file::{LedgerError, LedgerFile};
pub use name::log_name;
