//! Random interleavings of calls, retries, forgeries, expiries and upstream rounds in the words
//! of 2026-07-28, held against an oracle of their own.
//!
//! DESIGN: "no gated call is forwarded without its own fresh approval, and none twice".

mod forged;
mod oracle;
mod steps;
mod world;

use proptest::prelude::*;

use super::holds;
use steps::{Setup, Theme};

fn properties(theme: Theme, setup: impl Strategy<Value = Setup>, seen: &[&str]) {
    let play = |(setup, steps): &(Setup, Vec<steps::Step>)| world::play(setup, steps);
    holds(&(setup, steps::steps(theme)), play, seen);
}

// DESIGN 1, "Two protocol eras": "The state is untrusted input: […] bound to the digest of the
// call, with its own expiry […], single-use, and useless for another call."
#[test]
fn no_modern_call_runs_without_a_yes_of_its_own() {
    properties(
        Theme::Asking,
        steps::setup(),
        &["approved", "two yeses", "passed"],
    );
}

// DESIGN: "every wrapping is single-use too, ten rounds at most, so one approval never buys
// unlimited forwards."
#[test]
fn one_approval_buys_few_rounds_and_each_once() {
    properties(
        Theme::Rounds,
        steps::setup(),
        &["approved", "many rounds", "no more rounds"],
    );
}

// DESIGN 2: "If the definition changes while a human thinks, ask again."
#[test]
fn what_was_shown_is_what_runs_in_every_round() {
    properties(
        Theme::Lists,
        steps::setup(),
        &["approved", "changed", "passed"],
    );
}

// CONTRACT 4: "only approvals are cached, per client session".
#[test]
fn a_cached_yes_covers_the_same_calls_of_the_same_client() {
    let setup = steps::setup().prop_map(|setup| Setup {
        ttl_secs: 60,
        ..setup
    });
    properties(Theme::Repeats, setup, &["approved", "cache"]);
}

// CONTRACT 6: "The line is written before the call is forwarded; an ask that nobody answers
// gets its `timeout` line when it expires, in both eras."
#[test]
fn every_ask_has_one_end_and_one_line_in_both_eras() {
    let life = (
        prop_oneof![Just(4096), 1usize..5],
        prop_oneof![Just(0), Just(60)],
    );
    let setup = (steps::setup(), life, prop::bool::weighted(0.7)).prop_map(
        |(setup, (max_pending, ttl_secs), legacy)| Setup {
            max_pending,
            ttl_secs,
            legacy,
            ..setup
        },
    );
    properties(Theme::Ends, setup, &["approved", "legacy", "passed"]);
}
