//! Runs the real binary around real and scripted servers, as its users do.
//!
//! Each file tests one feature. A quote above a test is the sentence from docs/reference that it
//! proves. Unit tests are next to the code in `src`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    reason = "tests fail by panicking and use the clock for deadlines"
)]

mod agents;
mod agents_compat;
mod agents_http;
mod agents_restarts;
mod ask;
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
mod doctor;
mod engine_command;
mod engine_email;
mod engine_examples;
mod engine_ntfy;
mod engine_race;
mod engine_slack;
mod engine_telegram;
mod engine_waha;
mod engine_webhook;
mod engine_whatsapp;
mod engines;
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
mod phone;
mod policy_flags;
mod precedence;
mod prefix;
mod remote_page;
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
mod user_config;
mod wrap;
