//! Passes libFuzzer's input to `harness/callback.rs`.

#![no_main]

#[path = "../harness/mod.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::callback::check(data));
