//! The audit log: what its lines say, what is kept of a call's arguments, and where the lines go.
//!
//! A line is final before its call is released.

mod file;
mod ledger;
mod name;
pub mod record;
pub mod redact;
mod rotation;

pub use file::{LedgerError, LedgerFile};
pub use ledger::Ledger;
pub use name::log_name;
