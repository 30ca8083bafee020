//! Tests of the gate as client and upstream see it, without sockets or sleeps.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that meets the unexpected has failed"
)]

mod approving;
mod asking;
mod assurance;
mod auditing;
mod caching;
mod eras;
mod inbox;
mod instant;
mod lists;
mod properties;
mod returned;
mod review;
mod scene;
mod schemas;
mod several;
mod slow;
mod stateless;
mod stateless_attacked;
mod transcripts;
mod unasked;
mod unreadable;
