//! Random interleavings, checked against a small oracle.
//!
//! Every property checks everything that the oracle knows. The properties differ in which steps are frequent, in
//! whether most calls are legacy or stateless, and in how the gate is configured. The only stories here are those that
//! a property found; the others are in the neighbouring files.

#![allow(
    clippy::string_slice,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets the unexpected has failed"
)]

mod bytes;
mod lines;
mod oracle;
mod reading;
mod stateless;
mod steps;
mod world;

use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use super::scene::Scene;
use steps::{Era, Setup, Theme};

/// Plays random cases, and checks that each of these was seen often enough: a property about calls that never run would
/// hold for a gate that does nothing.
fn holds<S: Strategy, K: Ord + Borrow<str> + Debug>(
    cases: &S,
    play: impl Fn(&S::Value) -> BTreeMap<K, u32>,
    seen: &[&str],
) {
    let found = RefCell::new(BTreeMap::<K, u32>::new());
    // 256 cases, or as many as PROPTEST_CASES says.
    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    let enough = config.cases / 128;
    let played = TestRunner::new(config).run(cases, |case| {
        for (what, count) in play(&case) {
            *found.borrow_mut().entry(what).or_default() += count;
        }
        Ok(())
    });
    if let Err(failure) = played {
        panic!("{failure}");
    }
    let found = found.into_inner();
    for what in seen {
        assert!(found.get(*what) > Some(&enough), "{what} of {found:?}");
    }
}

/// Sessions with mostly legacy or mostly stateless calls.
fn properties(era: Era, theme: Theme, setup: impl Strategy<Value = Setup>, seen: &[&str]) {
    let play = |(setup, steps): &(Setup, Vec<steps::Step>)| world::play(setup, steps);
    holds(&(setup, steps::steps(era, theme)), play, seen);
}

fn legacy(theme: Theme, setup: impl Strategy<Value = Setup>, seen: &[&str]) {
    properties(Era::Legacy, theme, setup, seen);
}

// invariants.md, 1: "No byte of a gated `tools/call` reaches the upstream before an affirmative
// verdict for exactly that call"; invariants.md, 6: "An answer counts only from the side that was
// asked."
#[test]
fn no_gated_call_runs_without_its_own_yes() {
    // "legacy" counts approved calls of the legacy revisions, "approved" those of 2026-07-28.
    let seen = &["legacy", "approved", "passed"];
    legacy(Theme::Asking, steps::setup(Era::Legacy), seen);
}

// invariants.md, 2: "If the definition changes while a person thinks, ask again."
#[test]
fn what_was_shown_is_what_runs_while_the_list_changes() {
    legacy(
        Theme::Lists,
        steps::setup(Era::Legacy),
        &["legacy", "passed"],
    );
}

// invariants.md, 5: "Every other message, either way, known or unknown, is byte-identical and in
// order; a waiting approval delays nobody else."
#[test]
fn ungated_messages_arrive_once_in_order_and_unchanged() {
    legacy(Theme::Traffic, steps::setup(Era::Legacy), &["passed"]);
}

// contract.md, "Prompts": "only approvals are cached, per client session".
#[test]
fn a_cached_yes_covers_only_identical_calls_until_it_expires() {
    let setup = (steps::setup(Era::Legacy), prop_oneof![Just(2u64), Just(30)]);
    let setup = setup.prop_map(|(setup, ttl_secs)| Setup { ttl_secs, ..setup });
    legacy(Theme::Repeats, setup, &["legacy"]);
}

// invariants.md, 3: "it holds only for a legacy prompt that was delivered and ran out of time".
#[test]
fn silence_lets_a_call_run_only_after_a_delivered_prompt() {
    let setup = (steps::setup(Era::Legacy), 3u64..30).prop_map(|(setup, timeout)| Setup {
        approve_on_timeout: true,
        timeout_secs: Some(timeout),
        ..setup
    });
    legacy(Theme::Ends, setup, &["legacy", "timeout"]);
}

// contract.md, "Audit log": "The line is written before the call is forwarded"; contract.md,
// "Processes": "every pending request gets an answer".
#[test]
fn every_call_has_one_end_and_one_record_whatever_breaks() {
    let setup = (steps::setup(Era::Legacy), any::<bool>()).prop_map(|(setup, best_effort)| Setup {
        best_effort,
        ..setup
    });
    legacy(Theme::Ends, setup, &["legacy", "passed"]);
}

// contract.md, "Command line": "log what would happen, block nothing".
#[test]
fn a_dry_run_asks_nothing_and_lets_every_readable_call_through() {
    let setup = (steps::setup(Era::Legacy), any::<bool>()).prop_map(|(setup, best_effort)| Setup {
        dry_run: true,
        best_effort,
        ..setup
    });
    legacy(Theme::Ends, setup, &["dry_run", "passed"]);
}

// Found by the properties: a second answer to the gate's own `tools/list` went to the client, which does not know its
// id.
#[test]
fn a_second_answer_to_our_list_request_is_dropped() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_says(&super::scene::call(7, "read_note", json!({})));
    let id = scene.take_list_request().unwrap();
    let answer = json!({"jsonrpc": "2.0", "id": id, "result": {"tools": scene.tools}});
    scene.upstream_says(&answer);
    scene.expect_forwarded(7);
    scene.upstream_says(&answer);
    scene.expect_nothing();
}

// Found by the properties: a request with the id of a held call was forwarded, but its answer was dropped, or it was
// forgotten when the call's record could not be written.
#[test]
fn a_request_under_the_id_of_a_held_call_is_refused() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_calls(7, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.client_says(&json!({"jsonrpc": "2.0", "id": 7.0, "method": "ping"}));
    assert!(scene.expect_error(7).contains("id is still waiting"));
    scene.expect_nothing();
    scene.approve(&prompt);
    scene.expect_forwarded(7);
    scene.expect_nothing();
}
