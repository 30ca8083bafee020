//! The command line: its flags, its exit codes, and what they come to.
//!
//! How a session runs is `app`'s business.

mod approvals;
pub mod args;
pub mod exit_code;
mod inbox;
mod options;
mod passphrase;
mod proxy;
#[cfg(test)]
mod reference;
mod run;
mod start_error;

pub use run::{run, run_program};
