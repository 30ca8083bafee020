//! Micro-benchmarks of the parts that a call passes through: `cargo bench`.
//!
//! They tell where time goes. What a user feels is measured end to end, in `bench/`.
//!
//! A sample is many runs, so that the clock and cold caches do not count.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark that does not do what it says fails by panicking"
)]

mod audit;
mod decision;
mod envelope;
mod lines;

fn main() {
    divan::main();
}
