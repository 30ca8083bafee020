//! Random interleavings of mostly stateless calls, retries, forgeries, expiries and upstream
//! rounds.
//!
//! invariants.md, 1: "No gated call is forwarded without its own fresh approval, and none twice."

mod forged;

use proptest::prelude::*;

use super::properties;
use super::steps::{Era, Setup, Theme, setup};

fn stateless(theme: Theme, setup: impl Strategy<Value = Setup>, seen: &[&str]) {
    properties(Era::Stateless, theme, setup, seen);
}

// contract.md, "Protocol revisions": "The state is untrusted input: sealed, bound to the digest of
// the call, with its own expiry (at most an hour), single-use, and useless for another call."
#[test]
fn no_stateless_call_runs_without_its_own_yes() {
    stateless(
        Theme::Asking,
        setup(Era::Stateless),
        &["approved", "two yeses", "passed"],
    );
}

// contract.md, "Protocol revisions": "every wrapping is single-use too, ten rounds at most, so one
// approval never buys unlimited forwards."
#[test]
fn one_approval_covers_few_rounds_and_each_once() {
    stateless(
        Theme::Rounds,
        setup(Era::Stateless),
        &["approved", "many rounds", "no more rounds"],
    );
}

// invariants.md, 2: "If the definition changes while a person thinks, ask again."
#[test]
fn what_was_shown_is_what_runs_in_every_round() {
    stateless(
        Theme::Lists,
        setup(Era::Stateless),
        &["approved", "changed", "passed"],
    );
}

// contract.md, "Prompts": "only approvals are cached, per client session".
#[test]
fn a_cached_yes_covers_the_same_calls_of_the_same_client() {
    let setup = setup(Era::Stateless).prop_map(|setup| Setup {
        ttl_secs: 60,
        ..setup
    });
    stateless(Theme::Repeats, setup, &["approved", "cache"]);
}

// contract.md, "Audit log": "The line is written before the call is forwarded; an ask that nobody
// answers gets its `timeout` line when it expires, legacy or stateless."
#[test]
fn every_question_has_one_end_and_one_record() {
    let life = (
        prop_oneof![Just(4096), 1usize..5],
        prop_oneof![Just(0), Just(60)],
    );
    let setup = (setup(Era::Stateless), life, prop::bool::weighted(0.7)).prop_map(
        |(setup, (max_pending, ttl_secs), shaken)| Setup {
            max_pending,
            ttl_secs,
            shaken,
            ..setup
        },
    );
    stateless(Theme::Ends, setup, &["approved", "legacy", "passed"]);
}
