//! Micro-benchmarks of the code that a call passes through: `cargo bench`.
//!
//! They show where time goes. `bench/` measures end to end what a user notices.
//!
//! A sample consists of many runs, so that the clock and cold caches do not matter.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a broken benchmark fails by panicking"
)]

mod audit;
mod decision;
mod envelope;
mod lines;

fn main() {
    divan::main();
}
