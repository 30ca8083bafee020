//! When one yes covers more than one call, and when it does not.

use serde_json::{Value, json};

use super::scene::{Prompt, Scene, call, secs, usual_tools};
use crate::gate::{DedupeField, Settings, TimeoutAction};

/// A session in which approvals cover identical calls for a minute.
fn caching(change: impl FnOnce(&mut Settings)) -> Scene {
    let scene = Scene::set(|settings| {
        settings.approval_ttl = secs(60);
        change(settings);
    });
    scene.legacy("2025-11-25")
}

/// The call is asked about and approved.
fn approved(scene: &mut Scene, id: i64, tool: &str, arguments: Value) {
    scene.client_calls(id, tool, arguments);
    let prompt = scene.expect_prompt();
    scene.approve(&prompt);
    scene.expect_forwarded(id);
    scene.expect_nothing();
    assert_eq!(
        scene.expect_logged("approved", true)["engine"],
        "elicitation"
    );
}

/// The call runs at once, by an earlier approval.
fn covered(scene: &mut Scene, id: i64, tool: &str, arguments: Value) {
    scene.client_calls(id, tool, arguments);
    scene.expect_forwarded(id);
    scene.expect_nothing();
    let line = scene.expect_logged("approved", true);
    assert_eq!(
        (&line["engine"], &line["request_id"]),
        (&json!("cache"), &json!(id))
    );
}

/// The call is asked about, and denied.
fn asked_about(scene: &mut Scene, id: i64, tool: &str, arguments: Value) {
    scene.client_calls(id, tool, arguments);
    let prompt = scene.expect_prompt();
    scene.deny(&prompt);
    scene.expect_refused(id, "denied by a person");
    scene.expect_nothing();
}

// contract.md, "Command line": "`--approve-ttl SECONDS`: an approval covers identical calls for so
// long".
#[test]
fn an_approval_covers_identical_calls_until_it_expires() {
    let mut scene = caching(|_| {});
    approved(&mut scene, 1, "delete_user", json!({"id": 1, "why": "x"}));
    scene.advance(secs(59));
    covered(&mut scene, 2, "delete_user", json!({"why": "x", "id": 1}));
    // Using it does not extend it.
    scene.advance(secs(1));
    asked_about(&mut scene, 3, "delete_user", json!({"id": 1, "why": "x"}));
}

// contract.md, "Command line": the default of `--approve-ttl` is 0. invariants.md, 2: "One
// approval, one execution."
#[test]
fn without_a_ttl_every_call_is_asked_about() {
    let mut scene = Scene::new().legacy("2025-11-25");
    approved(&mut scene, 1, "delete_user", json!({"id": 1}));
    asked_about(&mut scene, 2, "delete_user", json!({"id": 1}));
}

// contract.md, "Prompts": "key = SHA-256 over the canonical JSON of the dedupe fields".
#[test]
fn an_approval_covers_no_other_call() {
    let mut scene = caching(|_| {});
    approved(
        &mut scene,
        1,
        "delete_user",
        json!({"id": 9_007_199_254_740_992_u64}),
    );
    let others = [
        json!({"id": 9_007_199_254_740_993_u64}),
        json!({"id": 9_007_199_254_740_992.0}),
        json!({"id": "9007199254740992"}),
        json!({}),
    ];
    for (id, arguments) in (2..).zip(others) {
        asked_about(&mut scene, id, "delete_user", arguments);
    }
    // Nor another tool, nor one that differs only in case.
    asked_about(
        &mut scene,
        10,
        "add_note",
        json!({"id": 9_007_199_254_740_992_u64}),
    );
    asked_about(
        &mut scene,
        11,
        "Delete_User",
        json!({"id": 9_007_199_254_740_992_u64}),
    );
    // Nor the same call with a parameter that the person has not seen.
    let mut with_task = call(12, "delete_user", json!({"id": 9_007_199_254_740_992_u64}));
    with_task["params"]["task"] = json!({"ttl": 1});
    scene.client_says(&with_task);
    scene.expect_prompt();
}

// contract.md, "Prompts": "only approvals are cached".
#[test]
fn refusals_of_any_kind_cover_nothing() {
    let mut scene = caching(|settings| settings.timeout = Some(secs(10)));
    asked_about(&mut scene, 1, "delete_user", json!({}));
    asked_about(&mut scene, 2, "delete_user", json!({}));
    // Nobody answered.
    scene.client_calls(3, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.advance(secs(10));
    scene.expect_withdrawn(&prompt);
    scene.expect_refused(3, "nobody answered in time");
    approved(&mut scene, 4, "delete_user", json!({}));
}

// contract.md, "Prompts": "only approvals are cached": silence that the operator lets pass is none.
#[test]
fn a_timeout_that_lets_a_call_run_covers_no_other_call() {
    let mut scene = caching(|settings| settings.timeout_action = TimeoutAction::Approve);
    scene.client_calls(1, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.client_reads_all();
    scene.advance(secs(120));
    scene.expect_withdrawn(&prompt);
    scene.expect_forwarded(1);
    scene.expect_logged("timeout", true);
    asked_about(&mut scene, 2, "delete_user", json!({}));
}

/// Two identical calls, 1 and 2, that wait on one prompt.
fn two_on_one_prompt() -> (Scene, Prompt) {
    let mut scene = caching(|_| {});
    scene.client_calls(1, "delete_user", json!({"id": 1}));
    let prompt = scene.expect_prompt();
    scene.client_calls(2, "delete_user", json!({"id": 1}));
    scene.expect_nothing();
    (scene, prompt)
}

// contract.md, "Prompts": "Identical calls that wait at the same time share one prompt when a TTL
// is set".
#[test]
fn identical_waiting_calls_share_one_prompt_if_a_ttl_is_set() {
    let (mut scene, prompt) = two_on_one_prompt();
    // A different call has a prompt of its own.
    scene.client_calls(3, "delete_user", json!({"id": 2}));
    let other = scene.expect_prompt();
    scene.approve(&prompt);
    scene.expect_forwarded(1);
    scene.expect_forwarded(2);
    scene.expect_nothing();
    let words: Vec<_> = scene
        .decisions()
        .iter()
        .map(|line| &line["decision"])
        .collect();
    assert_eq!(words, ["approved", "approved"]);
    scene.deny(&other);
    scene.expect_refused(3, "denied");
    // A no holds for all that waited.
    let (mut scene, prompt) = two_on_one_prompt();
    scene.deny(&prompt);
    scene.expect_refused(1, "denied");
    scene.expect_refused(2, "denied");
    scene.expect_nothing();
    assert_eq!(scene.decisions().len(), 2);
}

#[test]
fn identical_calls_are_asked_about_one_by_one_without_a_ttl() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({"id": 1}));
    let first = scene.expect_prompt();
    scene.client_calls(2, "delete_user", json!({"id": 1}));
    let second = scene.expect_prompt();
    scene.approve(&second);
    scene.expect_forwarded(2);
    scene.expect_nothing();
    scene.deny(&first);
    scene.expect_refused(1, "denied");
}

// contract.md, "Prompts": "A timed-out or cancelled prompt is withdrawn from the client." A prompt
// that another call still waits for is not cancelled.
#[test]
fn a_call_whose_arguments_the_prompt_does_not_show_gets_a_prompt_of_its_own() {
    let mut scene = caching(|settings| settings.dedupe_arg_keys = vec!["id".into()]);
    scene.client_calls(1, "delete_user", json!({"id": 1, "note": "nice"}));
    let first = scene.expect_prompt();
    scene.client_calls(2, "delete_user", json!({"id": 1, "note": "EVIL"}));
    let second = scene.expect_prompt();
    assert!(second.message.contains("EVIL") && !first.message.contains("EVIL"));
    scene.approve(&first);
    scene.expect_forwarded(1);
    scene.expect_nothing();
    scene.deny(&second);
    scene.expect_refused(2, "denied");
}

// contract.md, "Prompts": the message says what else a yes covers.
#[test]
fn the_prompt_says_what_else_a_yes_covers() {
    let mut scene = caching(|_| {});
    scene.client_calls(1, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    assert!(
        prompt
            .message
            .contains("A yes also covers identical calls for the next")
    );
    let mut scene = Scene::set(|settings| settings.double_confirm = true).legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    assert!(
        prompt.message.contains("You will be asked twice."),
        "{}",
        prompt.message
    );
}

// contract.md, "Prompts": "Identical calls that wait at the same time share one prompt when a TTL
// is set".
#[test]
fn a_shared_prompt_stays_until_the_last_of_its_calls_is_cancelled() {
    let (mut scene, prompt) = two_on_one_prompt();
    scene.client_cancels(1);
    scene.expect_nothing();
    scene.expect_logged("cancelled", false);
    scene.approve(&prompt);
    scene.expect_forwarded(2);
    scene.expect_nothing();
    let (mut scene, prompt) = two_on_one_prompt();
    scene.client_cancels(2);
    scene.client_cancels(1);
    scene.expect_withdrawn(&prompt);
    scene.approve(&prompt);
    scene.expect_nothing();
    assert_eq!(scene.decisions().len(), 2);
    // The late yes did not reach the cache either.
    asked_about(&mut scene, 3, "delete_user", json!({"id": 1}));
}

// contract.md, "Command line": `--approval-dedupe-key-fields` says "what makes two calls
// identical".
#[test]
fn the_operator_chooses_which_fields_make_two_calls_identical() {
    let mut scene = caching(|settings| settings.dedupe_fields = vec![DedupeField::Tool]);
    approved(&mut scene, 1, "delete_user", json!({"id": 1}));
    covered(&mut scene, 2, "delete_user", json!({"id": 2}));
    asked_about(&mut scene, 3, "add_note", json!({"id": 1}));
}

// contract.md, "Command line": `--approval-dedupe-arg-keys` says "what makes two calls identical".
#[test]
fn the_operator_chooses_which_arguments_count() {
    let mut scene = caching(|settings| settings.dedupe_arg_keys = vec!["id".into()]);
    approved(&mut scene, 1, "delete_user", json!({"id": 1, "note": "a"}));
    covered(&mut scene, 2, "delete_user", json!({"note": "b", "id": 1}));
    covered(&mut scene, 3, "delete_user", json!({"id": 1}));
    asked_about(&mut scene, 4, "delete_user", json!({"id": 2, "note": "a"}));
    asked_about(&mut scene, 5, "delete_user", json!({"note": "a"}));
}

// contract.md, "Command line": `--approval-dedupe-key-fields` says "what makes two calls
// identical".
#[test]
fn if_the_risk_counts_a_yes_for_one_risk_covers_no_other() {
    let mut scene = caching(|settings| {
        settings.dedupe_fields = vec![DedupeField::Tool, DedupeField::Args, DedupeField::Risk];
    });
    approved(&mut scene, 1, "add_note", json!({}));
    covered(&mut scene, 2, "add_note", json!({}));
    // Calls to the tool look the same; only its hints, and so the risk, changed.
    let mut tools = usual_tools();
    tools[2]["annotations"] = json!({"destructiveHint": true});
    scene.tools_change(tools);
    asked_about(&mut scene, 3, "add_note", json!({}));
}

// contract.md, "Prompts": "Double confirmation asks twice; a cache hit skips both."
#[test]
fn a_covered_call_skips_both_confirmations() {
    let mut scene = caching(|settings| settings.double_confirm = true);
    scene.client_calls(1, "delete_user", json!({}));
    let first = scene.expect_prompt();
    scene.approve(&first);
    let second = scene.expect_prompt();
    // The first yes alone covers nothing.
    scene.client_calls(2, "delete_user", json!({}));
    scene.expect_nothing();
    scene.approve(&second);
    scene.expect_forwarded(1);
    scene.expect_forwarded(2);
    covered(&mut scene, 3, "delete_user", json!({}));
}

// invariants.md, 2: "A verdict is bound to […] the digest of the tool's definition".
#[test]
fn an_approval_ends_with_the_definition_that_it_was_given_for() {
    let mut scene = caching(|_| {});
    approved(&mut scene, 1, "delete_user", json!({"id": 1}));
    let mut tools = usual_tools();
    tools[1]["description"] = json!("Deletes a user and all that the user ever wrote.");
    scene.tools_change(tools);
    asked_about(&mut scene, 2, "delete_user", json!({"id": 1}));
    // The old definition is back: what was approved is what runs.
    scene.tools_change(usual_tools());
    covered(&mut scene, 3, "delete_user", json!({"id": 1}));
    // A missing list also counts as another definition.
    scene.tools_change(usual_tools());
    scene.client_says(&call(4, "delete_user", json!({"id": 1})));
    assert!(scene.take_list_request().is_some());
    scene.advance(secs(5));
    scene.expect_prompt();
}

// contract.md, "Policy": the policy comes before the cache. A tool that has become harmless passes,
// and a denied one is blocked, whatever was approved.
#[test]
fn the_policy_comes_before_the_cache() {
    let mut scene = caching(|_| {});
    approved(&mut scene, 1, "add_note", json!({}));
    let mut tools = usual_tools();
    tools[2]["annotations"] = json!({"readOnlyHint": true});
    scene.tools_change(tools);
    scene.client_calls(2, "add_note", json!({}));
    scene.expect_forwarded(2);
    let line = scene.expect_logged("passed", true);
    assert_eq!(line.get("engine"), None);
}

// invariants.md, 2: the record of a call has the call's own digest, even if an earlier yes covers
// the call.
#[test]
fn the_record_of_a_covered_call_says_what_covers_it() {
    let mut scene = caching(|settings| settings.dedupe_fields = vec![DedupeField::Tool]);
    approved(&mut scene, 1, "delete_user", json!({"id": 1}));
    covered(&mut scene, 2, "delete_user", json!({"id": 2}));
    let lines = scene.decisions();
    assert_ne!(lines[0]["call"], lines[1]["call"]);
    assert_eq!(lines[1]["reason"], "an earlier approval covers it");
    assert_eq!(lines[1]["args"], json!({"id": 2}));
}
