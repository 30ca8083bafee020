//! The audit log: what its lines say, what is kept of a call's arguments, and where the lines go.
//!
//! A line is final before its call is released. The core makes lines; the files are the proxy's.

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
pub use file::{LedgerError, LedgerFile};
#[cfg(feature = "proxy")]
pub use ledger::Ledger;
#[cfg(feature = "proxy")]
pub use name::log_name;
