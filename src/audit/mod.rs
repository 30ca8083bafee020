//! The audit log's lines: what is recorded, and what is kept of a call's arguments.
//!
//! Writing them to a file is `ledger`'s business.

pub mod record;
pub mod redact;
