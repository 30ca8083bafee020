//! The life of a question: its time, retries and end, and the client's progress notifications.

use std::time::Duration;

use serde_json::{Value, json};

use super::scene::{Prompt, Scene, call, call_with_token, secs};
use crate::gate::{Retry, TimeoutAction};

/// A session in which `delete_user` was called as 7, and its prompt.
fn asked(scene: Scene) -> (Scene, Prompt) {
    let mut scene = scene.legacy("2025-11-25");
    scene.client_calls(7, "delete_user", json!({"id": 1}));
    let prompt = scene.expect_prompt();
    scene.expect_nothing();
    (scene, prompt)
}

// contract.md, "Prompts": "A timed-out or cancelled prompt is withdrawn from the client."
// contract.md, "Audit log": "an ask that nobody answers gets its `timeout` line when it expires".
#[test]
fn a_prompt_that_nobody_answers_is_withdrawn_and_its_call_refused() {
    let (mut scene, prompt) = asked(Scene::new());
    scene.client_reads_all();
    scene.advance(secs(119));
    scene.expect_nothing();
    assert!(scene.decisions().is_empty());
    scene.advance(secs(1));
    scene.expect_withdrawn(&prompt);
    let text = scene.expect_refused(7, "nobody answered in time");
    assert!(text.contains("\"delete_user\""), "{text}");
    scene.expect_nothing();
    let line = scene.expect_logged("timeout", false);
    assert_eq!(line["duration_ms"], 120_000.0);
    assert_eq!(scene.decisions().len(), 1);
}

// contract.md, "Command line": "`--timeout-action`: the final outcome of a delivered prompt that
// nobody answered".
#[test]
fn silence_after_a_delivered_prompt_is_a_yes_if_the_operator_chose_that() {
    let scene = Scene::set(|settings| settings.timeout_action = TimeoutAction::Approve);
    let (mut scene, prompt) = asked(scene);
    scene.client_reads_all();
    scene.advance(secs(120));
    scene.expect_withdrawn(&prompt);
    scene.expect_forwarded(7);
    scene.expect_nothing();
    scene.expect_logged("timeout", true);
    assert_eq!(scene.decisions().len(), 1);
}

// invariants.md, 3: "it holds only for a legacy prompt that was delivered and ran out of time;
// never for a lost client, a missing capability, an error".
#[test]
fn silence_is_a_yes_only_after_a_delivered_prompt() {
    let approving = || Scene::set(|settings| settings.timeout_action = TimeoutAction::Approve);
    // Never written to the client.
    let (mut scene, prompt) = asked(approving());
    scene.advance(secs(120));
    scene.expect_withdrawn(&prompt);
    scene.expect_refused(7, "nobody answered in time");
    scene.expect_logged("timeout", false);
    // The client is lost.
    let (mut scene, _) = asked(approving());
    scene.client_reads_all();
    scene.client_closes();
    scene.advance(secs(300));
    assert!(scene.upstream.is_empty());
    scene.expect_logged("cancelled", false);
    // No capability.
    let mut scene = approving().handshake("2025-11-25", json!({}));
    scene.client_calls(7, "delete_user", json!({}));
    scene.expect_refused(7, "`elicitation`");
    scene.client_reads_all();
    scene.advance(secs(300));
    scene.expect_nothing();
    // Errors only.
    let (mut scene, prompt) = asked(approving());
    scene.client_reads_all();
    scene.answer_with_error(&prompt);
    for _ in 0..2 {
        scene.advance(secs(5));
        let again = scene.expect_prompt();
        scene.client_reads_all();
        scene.answer_with_error(&again);
    }
    scene.expect_refused(7, "no window");
    scene.advance(secs(300));
    scene.expect_nothing();
    scene.expect_logged("error", false);
}

// contract.md, "Command line": "`--timeout SECONDS`: how long a person has; 0 = no limit".
#[test]
fn without_a_limit_a_person_has_unlimited_time() {
    let (mut scene, prompt) = asked(Scene::set(|settings| settings.timeout = None));
    scene.client_reads_all();
    assert_eq!(scene.gate.poll_timeout(), None);
    scene.advance(secs(30 * 24 * 3600));
    scene.expect_nothing();
    scene.approve(&prompt);
    scene.expect_forwarded(7);
    scene.expect_logged("approved", true);
}

// contract.md, "Prompts": "Everything else, late answers, […] is a refusal."
#[test]
fn a_late_answer_counts_for_nothing_and_goes_nowhere() {
    let (mut scene, prompt) = asked(Scene::new());
    scene.advance(secs(120));
    scene.expect_withdrawn(&prompt);
    scene.expect_refused(7, "nobody answered in time");
    scene.approve(&prompt);
    scene.answer_with_error(&prompt);
    scene.expect_nothing();
    assert_eq!(scene.decisions().len(), 1);
    assert!(
        scene
            .warnings
            .iter()
            .all(|warning| warning.contains("too late"))
    );
    assert_eq!(scene.warnings.len(), 2);
}

// invariants.md, 2: "One approval, one execution".
#[test]
fn only_the_first_answer_counts() {
    let (mut scene, prompt) = asked(Scene::new());
    scene.deny(&prompt);
    scene.expect_refused(7, "denied by a person");
    scene.approve(&prompt);
    scene.expect_nothing();
    // The old answer does not count for the next identical call either.
    scene.client_calls(8, "delete_user", json!({"id": 1}));
    let next = scene.expect_prompt();
    assert_ne!(next.id, prompt.id);
    scene.approve(&prompt);
    scene.expect_nothing();
    scene.deny(&next);
    scene.expect_refused(8, "denied by a person");
}

// invariants.md, 6: "A peer's request is refused if its id equals that of one of our open requests."
#[test]
fn no_peer_gets_a_request_through_under_a_live_id_of_ours() {
    let request = |id: &Value| json!({"jsonrpc": "2.0", "id": id, "method": "ping"});
    // With a prompt's id, from either side.
    let (mut scene, prompt) = asked(Scene::new());
    scene.upstream_says(&request(&prompt.id));
    let answer = scene.take_upstream();
    assert_eq!(answer["id"], prompt.id);
    assert!(answer["error"]["message"].is_string(), "{answer}");
    scene.client_says(&request(&prompt.id));
    scene.expect_error(prompt.id.clone());
    scene.client_says(&call(prompt.id.clone(), "read_note", json!({})));
    scene.expect_error(prompt.id.clone());
    scene.expect_nothing();
    scene.approve(&prompt);
    scene.expect_forwarded(7);
    // With the id of our own `tools/list`, from either side.
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_says(&call(7, "delete_user", json!({})));
    let list = scene.take_list_request().unwrap();
    scene.client_says(&request(&list));
    scene.expect_error(list.clone());
    scene.client_says(&call(list.clone(), "read_note", json!({})));
    scene.expect_error(list.clone());
    scene.upstream_says(&request(&list));
    let answer = scene.take_upstream();
    assert_eq!(answer["id"], list);
    assert!(answer["error"]["message"].is_string(), "{answer}");
    scene.expect_nothing();
}

// contract.md, "Command line": "retries of an engine that could not decide. For elicitation that is
// only a JSON-RPC error to our prompt; an answer is an answer."
#[test]
fn only_a_json_rpc_error_is_retried_each_time_with_a_fresh_id() {
    let (mut scene, first) = asked(Scene::new());
    scene.answer_with_error(&first);
    scene.expect_nothing();
    scene.advance(Duration::from_millis(499));
    scene.expect_nothing();
    scene.advance(Duration::from_millis(1));
    let second = scene.expect_prompt();
    assert_ne!(second.id, first.id);
    assert_eq!(second.params, first.params);
    // The first prompt is over, whatever answer arrives now.
    scene.approve(&first);
    scene.expect_nothing();
    scene.answer_with_error(&second);
    scene.advance(secs(1));
    let third = scene.expect_prompt();
    assert!(third.id != first.id && third.id != second.id);
    scene.approve(&third);
    scene.expect_forwarded(7);
    scene.expect_logged("approved", true);
    // An unreadable answer is an answer.
    let (mut scene, prompt) = asked(Scene::new());
    scene.answer(&prompt, json!("no window"));
    scene.expect_refused(7, "the answer cannot be read");
    scene.advance(secs(300));
    scene.expect_nothing();
}

// contract.md, "Command line": `--approval-retry-attempts` allows two further tries, then the call
// is refused.
#[test]
fn a_client_that_always_fails_is_asked_three_times() {
    for attempts in [0, 1, 2, 5] {
        let (mut scene, mut prompt) = asked(Scene::set(|settings| {
            settings.retry.attempts = attempts;
        }));
        for _ in 0..attempts {
            scene.answer_with_error(&prompt);
            scene.expect_nothing();
            scene.advance(secs(5));
            prompt = scene.expect_prompt();
        }
        scene.answer_with_error(&prompt);
        scene.expect_refused(7, "the client could not ask: \"no window\"");
        scene.advance(secs(300));
        scene.expect_nothing();
        let line = scene.expect_logged("error", false);
        let reason = line["reason"].as_str().unwrap();
        assert!(reason.contains("no window"), "{line}");
    }
}

// contract.md, "Command line": "`-backoff`, `-max-backoff` and `-multiplier`".
#[test]
fn pauses_between_tries_grow_to_the_maximum() {
    let (mut scene, mut prompt) = asked(Scene::set(|settings| {
        settings.retry = Retry {
            attempts: 6,
            initial_backoff: Duration::from_millis(500),
            max_backoff: secs(5),
            multiplier: 3.0,
        };
    }));
    for pause in [500, 1500, 4500, 5000, 5000, 5000] {
        scene.answer_with_error(&prompt);
        scene.advance(Duration::from_millis(pause - 1));
        scene.expect_nothing();
        scene.advance(Duration::from_millis(1));
        prompt = scene.expect_prompt();
    }
}

// invariants.md, 3: "Doubt denies." A person's time also runs while the client fails.
#[test]
fn a_deadline_during_a_pause_is_an_error_and_never_a_yes() {
    for action in [TimeoutAction::Deny, TimeoutAction::Approve] {
        let (mut scene, prompt) = asked(Scene::set(|settings| {
            settings.timeout = Some(secs(3));
            settings.timeout_action = action;
            settings.retry.initial_backoff = secs(5);
        }));
        scene.client_reads_all();
        scene.advance(secs(1));
        scene.answer_with_error(&prompt);
        scene.advance(secs(2));
        // No prompt is open that could be withdrawn.
        scene.expect_refused(7, "no window");
        scene.advance(secs(300));
        scene.expect_nothing();
        scene.expect_logged("error", false);
        assert_eq!(scene.decisions().len(), 1);
    }
}

// contract.md, "Protocol revisions": "`notifications/cancelled` for a held call: withdraw the
// prompt, run nothing, forward nothing."
#[test]
fn a_cancelled_call_withdraws_its_prompt_and_gets_no_answer() {
    let (mut scene, prompt) = asked(Scene::new());
    scene.client_cancels(7);
    scene.expect_withdrawn(&prompt);
    scene.expect_nothing();
    scene.expect_logged("cancelled", false);
    scene.approve(&prompt);
    scene.advance(secs(300));
    scene.expect_nothing();
    assert_eq!(scene.decisions().len(), 1);
    // During a pause between tries there is nothing to withdraw.
    let (mut scene, prompt) = asked(Scene::new());
    scene.answer_with_error(&prompt);
    scene.client_cancels(7);
    scene.advance(secs(300));
    scene.expect_nothing();
    scene.expect_logged("cancelled", false);
}

// contract.md, "Tool list": "Cancelling reaches calls that wait for the list."
#[test]
fn a_call_that_waits_for_the_list_can_be_cancelled() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_says(&call(7, "read_note", json!({})));
    scene.client_says(&call("7", "read_note", json!({})));
    scene.client_cancels(7);
    assert_eq!(scene.client.len(), 0);
    scene.expect_logged("cancelled", false);
    scene.answer_lists();
    // 7 and "7" are two ids.
    scene.expect_forwarded("7");
    scene.expect_nothing();
    // An approved call that waits for a list that changed in the meantime.
    let (mut scene, prompt) = asked(Scene::new());
    let tools = scene.tools.clone();
    scene.tools_change(tools);
    scene.client_says(&json!({"jsonrpc": "2.0", "id": prompt.id,
        "result": {"action": "accept", "content": {"approved": true}}}));
    scene.client_cancels(7);
    scene.answer_lists();
    scene.expect_nothing();
    scene.expect_logged("cancelled", false);
}

// invariants.md, 5: "Every other message, either way, known or unknown, is byte-identical".
#[test]
fn the_cancellation_of_a_forwarded_call_is_forwarded() {
    let (mut scene, prompt) = asked(Scene::new());
    scene.approve(&prompt);
    scene.expect_forwarded(7);
    let cancel = r#"{ "method":"notifications/cancelled","jsonrpc":"2.0", "params":{"requestId":7.0,"x":1.50}}"#;
    scene.client_sends(cancel);
    assert_eq!(scene.upstream.pop_front().unwrap(), cancel);
    scene.expect_nothing();
    scene.expect_logged("approved", true);
}

// contract.md, "Prompts": "While a call waits and carries a `progressToken`, the client gets a
// `notifications/progress` every 10 s, with values small enough (below 0.001)".
#[test]
fn a_waiting_client_gets_progress_every_ten_seconds() {
    for token in [json!("t-1"), json!(42), json!(-1)] {
        let mut scene = Scene::new().legacy("2025-11-25");
        scene.client_says(&call_with_token(7, "delete_user", token.clone()));
        scene.answer_lists();
        let prompt = scene.expect_prompt();
        let mut last = 0.0;
        for _ in 0..11 {
            scene.advance(Duration::from_millis(9_999));
            scene.expect_nothing();
            scene.advance(Duration::from_millis(1));
            let received = scene.take_client();
            assert_eq!(received["method"], "notifications/progress");
            assert_eq!(received["params"]["progressToken"], token);
            let value = received["params"]["progress"].as_f64().unwrap();
            assert!(last < value && value < 0.001, "{received}");
            last = value;
            scene.expect_nothing();
        }
        scene.approve(&prompt);
        scene.expect_forwarded(7);
        scene.advance(secs(300));
        scene.expect_nothing();
    }
}

#[test]
fn progress_ends_with_the_call_and_needs_a_token() {
    let (mut scene, _) = asked(Scene::new());
    scene.advance(secs(119));
    scene.expect_nothing();
    for end in [Scene::deny, |scene: &mut Scene, _: &Prompt| {
        scene.client_cancels(7);
    }] {
        let mut scene = Scene::new().legacy("2025-11-25");
        scene.client_says(&call_with_token(7, "delete_user", "t"));
        scene.answer_lists();
        let prompt = scene.expect_prompt();
        scene.advance(secs(25));
        assert_eq!(scene.client.len(), 2);
        end(&mut scene, &prompt);
        scene.client.clear();
        scene.advance(secs(300));
        scene.expect_nothing();
    }
    // Also at the deadline: the refusal is the last message to the client.
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_says(&call_with_token(7, "delete_user", "t"));
    scene.answer_lists();
    scene.expect_prompt();
    scene.advance(secs(300));
    let last: Value = serde_json::from_str(scene.client.back().unwrap()).unwrap();
    assert_eq!(last["id"], 7);
}

// contract.md, "Prompts": "Double confirmation asks twice".
#[test]
fn a_high_risk_call_needs_two_yeses_each_with_its_own_time() {
    let (mut scene, first) = asked(Scene::set(|settings| settings.double_confirm = true));
    scene.advance(secs(100));
    scene.approve(&first);
    let second = scene.expect_prompt();
    assert_ne!(second.id, first.id);
    assert!(second.message.starts_with("Second confirmation"));
    scene.expect_nothing();
    assert!(scene.decisions().is_empty());
    // This may be the only yes, and the log has it.
    let first_yes = scene.log.last().unwrap().clone();
    assert_eq!(
        (
            &first_yes["event"],
            &first_yes["engine"],
            &first_yes["assurance"]
        ),
        (
            &json!("first_approval"),
            &json!("elicitation"),
            &json!("caller-relayed")
        )
    );
    // The first yes does not count twice.
    scene.approve(&first);
    scene.expect_nothing();
    scene.advance(secs(119));
    scene.expect_nothing();
    scene.approve(&second);
    scene.expect_forwarded(7);
    scene.expect_nothing();
    let line = scene.expect_logged("approved", true);
    assert_eq!(line["duration_ms"], 219_000.0);
    assert_eq!(line["call"], first_yes["call"]);
    assert_eq!(scene.decisions().len(), 1);
}

#[test]
fn a_second_confirmation_that_is_denied_or_not_answered_is_a_refusal() {
    let confirmed = || {
        let (mut scene, first) = asked(Scene::set(|settings| settings.double_confirm = true));
        scene.approve(&first);
        let second = scene.expect_prompt();
        (scene, second)
    };
    let (mut scene, second) = confirmed();
    scene.deny(&second);
    scene.expect_refused(7, "denied by a person");
    scene.expect_nothing();
    scene.expect_logged("denied", false);
    let (mut scene, second) = confirmed();
    scene.advance(secs(120));
    scene.expect_withdrawn(&second);
    scene.expect_refused(7, "nobody answered in time");
    scene.expect_nothing();
    scene.expect_logged("timeout", false);
}

// contract.md, "Command line": "`--high-risk-double-confirm`: risk `high` needs two approvals."
#[test]
fn one_yes_is_enough_below_high_risk() {
    let mut scene = Scene::set(|settings| settings.double_confirm = true).legacy("2025-11-25");
    scene.client_calls(7, "add_note", json!({}));
    let prompt = scene.expect_prompt();
    scene.approve(&prompt);
    scene.expect_forwarded(7);
    scene.expect_nothing();
    assert_eq!(scene.expect_logged("approved", true)["risk"], "medium");
}

// invariants.md, 3: silence never lets "a call that needs two approvals" run, whichever of the two
// prompts nobody answers.
#[test]
fn silence_is_never_a_yes_if_two_are_needed() {
    let approving = || {
        Scene::set(|settings| {
            settings.double_confirm = true;
            settings.timeout_action = TimeoutAction::Approve;
        })
    };
    let times_out = |mut scene: Scene, prompt: &Prompt| {
        scene.client_reads_all();
        scene.advance(secs(120));
        scene.expect_withdrawn(prompt);
        scene.expect_refused(7, "nobody answered in time");
        scene.expect_nothing();
        scene.expect_logged("timeout", false);
        // A late yes does not count.
        scene.approve(prompt);
        scene.advance(secs(300));
        scene.expect_nothing();
    };
    let (scene, first) = asked(approving());
    times_out(scene, &first);
    let (mut scene, first) = asked(approving());
    scene.approve(&first);
    let second = scene.expect_prompt();
    times_out(scene, &second);
    // Below high risk one approval is enough, even if it is silence.
    let mut scene = approving().legacy("2025-11-25");
    scene.client_calls(7, "add_note", json!({}));
    let prompt = scene.expect_prompt();
    scene.client_reads_all();
    scene.advance(secs(120));
    scene.expect_withdrawn(&prompt);
    scene.expect_forwarded(7);
    scene.expect_nothing();
}

// invariants.md, 3: "it holds only for a legacy prompt that was delivered and ran out of time".
#[test]
fn silence_is_never_a_yes_while_the_client_is_not_read() {
    let mut scene = Scene::set(|settings| {
        settings.timeout = Some(secs(2));
        settings.timeout_action = crate::gate::TimeoutAction::Approve;
    })
    .legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.client_reads_all();
    scene.gate.set_client_heard(false);
    scene.advance(secs(2));
    scene.expect_withdrawn(&prompt);
    scene.expect_refused(1, "nobody answered in time");
    scene.expect_logged("timeout", false);
}
