//! The command line: its flags, its exit codes, and what they come to.
//!
//! How a session runs is `app`'s business.

pub mod args;
pub mod exit_code;
mod run;

pub use run::run;
