//! Runs the fuzzers' corpora with every test run; see docs/architecture/testing.md.
//!
//! `fuzz/harness` has the checks, and `fuzz/Cargo.toml` explains how to fuzz.

use std::panic::catch_unwind;
use std::path::Path;

#[path = "../../fuzz/harness/mod.rs"]
mod harness;

/// Checks every file of a corpus and names those that fail.
fn runs(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = folder
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 10, "{} has lost its files", folder.display());
    files.retain(|file| {
        let bytes = std::fs::read(file).unwrap();
        catch_unwind(|| check(&bytes)).is_err()
    });
    assert!(files.is_empty(), "these fail: {files:?}");
}

#[test]
fn the_corpus_of_envelopes_is_read_as_other_readers_read_it() {
    runs("envelope", harness::envelope::check);
}

#[test]
fn the_corpus_of_framings_gives_the_same_lines_however_it_is_split() {
    runs("framing", harness::framing::check);
}

#[test]
fn no_session_of_the_corpus_lets_a_call_through() {
    runs("gate", harness::gate::check);
}

#[test]
fn the_corpus_of_configs_loads_sanely_or_not_at_all() {
    runs("config", harness::config::check);
}

#[test]
fn no_callback_of_the_corpus_counts_without_the_secret_or_is_read_in_two_ways() {
    runs("callback", harness::callback::check);
}
