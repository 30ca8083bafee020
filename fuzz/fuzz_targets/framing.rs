//! Passes libFuzzer's input to `harness/framing.rs`.

#![no_main]

#[path = "../harness/mod.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::framing::check(data));
