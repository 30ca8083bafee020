//! The real binary around real and scripted servers, as its users run it.
//!
//! Each file is a feature. The sentence above a test is the one from docs/reference that the test
//! proves. What the parts do by themselves is tested beside them in `src`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and waits with a deadline by the clock"
)]

mod asking;
mod audit_log;
mod by_hand;
mod citations;
mod command_line;
mod config_files;
mod corpora;
mod crowded;
mod dead_ends;
mod default_log;
mod engine_command;
mod exposed_files;
mod hostile;
mod hostile_text;
mod http;
mod http_upstream;
mod http_who;
mod inbox;
mod inbox_approver;
mod inbox_faults;
mod inbox_http;
mod inbox_key;
mod inbox_passphrase;
mod inbox_serving;
mod inbox_urls;
mod instant;
mod killed;
mod life_cycle;
mod limits;
mod login;
mod notes;
mod odd_logins;
mod odd_servers;
mod other_processes;
mod policy_flags;
mod precedence;
mod restarts;
mod resumed;
mod secrets;
mod server_lists;
mod signals;
mod silent;
mod sizes;
mod start_errors;
mod stdio_kinds;
mod support;
mod transparency;
mod unwritable_log;
mod wrap;
