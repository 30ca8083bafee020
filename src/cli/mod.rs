//! The command line: flags, subcommands, exit codes.
//!
//! `app` runs the sessions.

mod approvals;
pub mod args;
mod ask;
mod clients;
mod columns;
mod doctor;
mod engines;
pub mod exit_code;
mod inbox;
mod mcp;
mod options;
mod passphrase;
mod proxy;
#[cfg(test)]
mod reference;
mod run;
mod start_error;
mod wrap;

pub use run::{run, run_program};
