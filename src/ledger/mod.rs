//! The audit log as a file: it is evidence.
//!
//! What its lines say is made in `audit`.

mod file;
mod rotation;

pub use file::{LedgerError, LedgerFile};
