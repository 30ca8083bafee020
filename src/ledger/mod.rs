//! Where audit lines go: a file that is evidence, or stderr for convenience.
//!
//! It is the only writer of audit lines.

mod file;

pub use file::{LedgerError, LedgerFile};
