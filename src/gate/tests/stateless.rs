//! Approvals in 2026-07-28: questions as results, answers as retries.

use serde_json::{Value, json};

use super::scene::{Scene, call, secs};
use crate::gate::{Settings, TimeoutAction};
use crate::policy::{Mode, Rules};

const QUESTION: &str = "approval-proxy";

/// A stateless call.
pub(super) fn stateless(id: i64, tool: &str, arguments: Value) -> Value {
    stateless_with(id, tool, arguments, json!({"elicitation": {}}))
}

pub(super) fn stateless_with(id: i64, tool: &str, arguments: Value, capabilities: Value) -> Value {
    let mut call = call(id, tool, arguments);
    call["params"]["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1.0"},
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    });
    call
}

/// The same call again, with another id and the members of a retry.
pub(super) fn retry(call: &Value, id: i64, answers: Value, state: &Value) -> Value {
    let mut retry = call.clone();
    retry["id"] = json!(id);
    retry["params"]["inputResponses"] = answers;
    retry["params"]["requestState"] = state.clone();
    retry
}

pub(super) fn yes() -> Value {
    json!({QUESTION: {"action": "accept", "content": {"approved": true}}})
}

pub(super) fn no() -> Value {
    json!({QUESTION: {"action": "decline"}})
}

/// The next line that the client received is our question as the result of this request. Returns
/// the state and the message.
pub(super) fn expect_question(scene: &mut Scene, id: i64) -> (Value, String) {
    let answer = scene.take_client();
    assert_eq!(answer["id"], id, "{answer}");
    let result = &answer["result"];
    assert_eq!(result["resultType"], "input_required", "{answer}");
    let requests = result["inputRequests"].as_object().unwrap();
    assert_eq!(requests.keys().collect::<Vec<_>>(), [QUESTION]);
    let request = &requests[QUESTION];
    assert_eq!(request["method"], "elicitation/create");
    assert_eq!(request["params"]["mode"], "form");
    assert!(result["requestState"].is_string());
    let message = request["params"]["message"].as_str().unwrap().to_owned();
    (result["requestState"].clone(), message)
}

/// Calls a gated tool. Returns the call and the state of the question about it.
pub(super) fn ask(scene: &mut Scene, id: i64) -> (Value, Value) {
    let call = stateless(id, "delete_user", json!({"id": 1}));
    scene.client_says(&call);
    scene.answer_lists();
    let (state, _) = expect_question(scene, id);
    scene.expect_nothing();
    (call, state)
}

pub(super) fn says(scene: &mut Scene, message: &Value) {
    scene.client_says(message);
    scene.answer_lists();
}

pub(super) fn expect_spent(scene: &mut Scene, id: i64) {
    scene.expect_refused(id, "was already answered or has expired");
    scene.expect_nothing();
}

pub(super) fn expect_unknown(scene: &mut Scene, id: i64) {
    scene.expect_refused(id, "belong to no question");
    scene.expect_nothing();
}

#[test]
fn a_call_is_answered_with_a_question_and_its_retry_runs() {
    let mut scene = Scene::new();
    let call = stateless(1, "delete_user", json!({"id": 1}));
    scene.client_says(&call);
    scene.answer_lists();
    let (state, message) = expect_question(&mut scene, 1);
    assert!(message.contains("`delete_user`"), "{message}");
    assert!(scene.decisions().is_empty());
    scene.advance(secs(30));
    says(&mut scene, &retry(&call, 2, yes(), &state));
    let forwarded = scene.expect_forwarded(2);
    // What was shown is what runs, without our members.
    let mut expected = call.clone();
    expected["id"] = json!(2);
    assert_eq!(forwarded, expected);
    let line = scene.expect_logged("approved", true);
    assert_eq!(line["duration_ms"], 30_000.0);
    assert_eq!(line["engine"], "elicitation");
    assert_eq!(line["request_id"], 2);
    let result =
        json!({"jsonrpc": "2.0", "id": 2, "result": {"resultType": "complete", "content": []}});
    scene.upstream_says(&result);
    assert_eq!(scene.take_client(), result);
    scene.expect_nothing();
}

#[test]
fn a_no_is_a_refusal_with_its_reason() {
    let mut scene = Scene::new();
    let (call, state) = ask(&mut scene, 1);
    let answers = json!({QUESTION: {"action": "accept",
        "content": {"approved": false, "reason": "not today"}}});
    says(&mut scene, &retry(&call, 2, answers, &state));
    let answer: Value = serde_json::from_str(scene.client.front().unwrap()).unwrap();
    assert_eq!(answer["result"]["resultType"], "complete");
    scene.expect_refused(2, "not today");
    scene.expect_logged("denied", false);
    scene.expect_nothing();
}

// invariants.md, 3: "Doubt denies."
#[test]
fn everything_but_a_clear_yes_is_a_no() {
    let invalid = "the client's answer to the question cannot be used";
    for (answer, words, decision) in [
        (json!({"action": "decline"}), "denied by a person", "denied"),
        (
            json!({"action": "cancel"}),
            "dismissed without an answer",
            "denied",
        ),
        (json!({"action": "accept"}), invalid, "error"),
        (
            json!({"action": "accept", "content": {"approved": "true"}}),
            invalid,
            "error",
        ),
        (
            json!({"action": "accept", "content": {"Approved": true}}),
            invalid,
            "error",
        ),
        (
            json!({"action": "Accept", "content": {"approved": true}}),
            invalid,
            "error",
        ),
        (json!({"approved": true}), invalid, "error"),
        (json!(true), invalid, "error"),
        (json!(null), invalid, "error"),
    ] {
        let mut scene = Scene::new();
        let (call, state) = ask(&mut scene, 1);
        scene.person_reads();
        says(
            &mut scene,
            &retry(&call, 2, json!({QUESTION: answer}), &state),
        );
        scene.expect_refused(2, words);
        scene.expect_nothing();
        scene.expect_logged(decision, false);
        says(&mut scene, &retry(&call, 3, yes(), &state));
        expect_spent(&mut scene, 3);
    }
}

#[test]
fn a_state_is_accepted_once() {
    let mut scene = Scene::new();
    let (call, state) = ask(&mut scene, 1);
    says(&mut scene, &retry(&call, 2, yes(), &state));
    scene.expect_forwarded(2);
    for id in [3, 4] {
        says(&mut scene, &retry(&call, id, yes(), &state));
        expect_spent(&mut scene, id);
        scene.expect_logged("denied", false);
    }
}

#[test]
fn a_state_is_accepted_only_for_its_call() {
    let mut scene = Scene::new().with_tools(json!([
        {"name": "delete_user", "annotations": {"destructiveHint": true}},
        {"name": "delete_team", "annotations": {"destructiveHint": true}},
        {"name": "read_note", "annotations": {"readOnlyHint": true}},
    ]));
    let (call, state) = ask(&mut scene, 1);
    let with = |path: &str, value: Value| {
        let mut other = call.clone();
        *other.pointer_mut(path).unwrap() = value;
        other
    };
    let mut more = call.clone();
    more["params"]["task"] = json!({"ttl": 1});
    for other in [
        with("/params/arguments/id", json!(2)),
        with("/params/arguments/id", json!(1.0)),
        with("/params/arguments", json!({})),
        with("/params/name", json!("delete_team")),
        // Not even for a call that needs no approval.
        with("/params/name", json!("read_note")),
        with("/params/name", json!("Delete_user")),
        more,
    ] {
        says(&mut scene, &retry(&other, 2, yes(), &state));
        expect_unknown(&mut scene, 2);
    }
    // They do not harm the right call.
    says(&mut scene, &retry(&call, 3, yes(), &state));
    scene.expect_forwarded(3);
}

// A state of ours has no effect in a legacy request.
#[test]
fn a_state_is_accepted_only_in_a_stateless_call() {
    let mut scene = Scene::new().legacy("2025-11-25");
    let (call, state) = ask(&mut scene, 1);
    let mut legacy = retry(&call, 2, yes(), &state);
    legacy["params"].as_object_mut().unwrap().remove("_meta");
    says(&mut scene, &legacy);
    expect_unknown(&mut scene, 2);
}

#[test]
fn a_forged_state_has_no_effect() {
    let mut scene = Scene::new();
    let (call, state) = ask(&mut scene, 1);
    let state = state.as_str().unwrap().to_owned();
    let mut other = Scene::new();
    other.gate = crate::gate::Gate::new(
        Settings {
            server: "db".into(),
            ..Settings::default()
        },
        crate::policy::Policy::new(Rules::default()).unwrap(),
        "s",
        [8; 32],
    );
    let (_, foreign) = ask(&mut other, 1);
    for forged in [
        json!(""),
        json!("x"),
        json!(state[..state.len() - 1]),
        json!(format!("{state}A")),
        json!(format!(" {state}")),
        json!(state.to_uppercase()),
        json!(7),
        json!(null),
        json!({}),
        foreign,
    ] {
        says(&mut scene, &retry(&call, 2, yes(), &forged));
        expect_unknown(&mut scene, 2);
        scene.expect_logged("denied", false);
    }
    // Answers without a state count for nothing.
    let mut bare = call.clone();
    bare["params"]["inputResponses"] = yes();
    says(&mut scene, &bare);
    expect_unknown(&mut scene, 1);
}

#[test]
fn a_question_that_no_retry_answers_is_recorded_when_it_expires() {
    let mut scene = Scene::set(|settings| settings.timeout_action = TimeoutAction::Approve);
    let (call, state) = ask(&mut scene, 1);
    scene.client_reads_all();
    scene.advance(secs(119));
    assert!(scene.decisions().is_empty());
    scene.advance(secs(1));
    // `timeoutAction: approve` has no effect here.
    let line = scene.expect_logged("timeout", false);
    assert_eq!(line["request_id"], 1);
    assert_eq!(line["args"], json!({"id": 1}));
    scene.expect_nothing();
    says(&mut scene, &retry(&call, 2, yes(), &state));
    expect_spent(&mut scene, 2);
    scene.advance(secs(9999));
    assert_eq!(scene.decisions().len(), 2);
}

#[test]
fn an_answer_at_the_deadline_is_late() {
    let mut scene = Scene::new();
    let (call, state) = ask(&mut scene, 1);
    scene.now.elapsed += secs(120);
    says(&mut scene, &retry(&call, 2, yes(), &state));
    expect_spent(&mut scene, 2);
    assert_eq!(scene.decisions()[0]["decision"], "timeout");
}

#[test]
fn without_a_time_limit_a_question_stays_open_for_an_hour() {
    let mut scene = Scene::set(|settings| settings.timeout = None);
    let (call, state) = ask(&mut scene, 1);
    scene.advance(secs(3599));
    says(&mut scene, &retry(&call, 2, yes(), &state));
    scene.expect_forwarded(2);
    ask(&mut scene, 3);
    scene.advance(secs(3600));
    scene.expect_logged("timeout", false);
}

// SPEC 2026-07-28: "the server SHOULD respond with a new `InputRequiredResult` requesting the
// missing information again".
#[test]
fn a_retry_without_the_answer_asks_again_within_the_same_time() {
    let mut scene = Scene::new();
    let (call, mut state) = ask(&mut scene, 1);
    scene.advance(secs(100));
    for (id, answers) in [(2, json!({})), (3, json!({"other": {}})), (4, json!([]))] {
        says(&mut scene, &retry(&call, id, answers, &state));
        let (again, _) = expect_question(&mut scene, id);
        assert_ne!(again, state);
        // The first state is used up.
        says(&mut scene, &retry(&call, 9, yes(), &state));
        expect_spent(&mut scene, 9);
        state = again;
    }
    scene.advance(secs(20));
    assert_eq!(scene.decisions().last().unwrap()["decision"], "timeout");
}

#[test]
fn high_risk_calls_can_be_asked_about_twice() {
    let mut scene = Scene::set(|settings| settings.double_confirm = true);
    let call = stateless(1, "delete_user", json!({"id": 1}));
    says(&mut scene, &call);
    let (state, message) = expect_question(&mut scene, 1);
    assert!(message.contains("asked twice"), "{message}");
    // Missing: the same question again.
    says(&mut scene, &retry(&call, 2, json!({}), &state));
    let (state, message) = expect_question(&mut scene, 2);
    assert!(message.contains("asked twice"), "{message}");
    says(&mut scene, &retry(&call, 3, yes(), &state));
    let (second, message) = expect_question(&mut scene, 3);
    assert!(message.contains("Second confirmation"), "{message}");
    assert_eq!(scene.log.last().unwrap()["event"], "first_approval");
    // The first yes does not count as the second.
    says(&mut scene, &retry(&call, 4, yes(), &state));
    expect_spent(&mut scene, 4);
    says(&mut scene, &retry(&call, 5, json!({}), &second));
    let (second, message) = expect_question(&mut scene, 5);
    assert!(message.contains("Second confirmation"), "{message}");
    says(&mut scene, &retry(&call, 6, yes(), &second));
    scene.expect_forwarded(6);
    // A no to the second is a no.
    says(&mut scene, &stateless(7, "delete_user", json!({"id": 1})));
    let (state, _) = expect_question(&mut scene, 7);
    says(&mut scene, &retry(&call, 8, yes(), &state));
    let (second, _) = expect_question(&mut scene, 8);
    scene.person_reads();
    says(&mut scene, &retry(&call, 9, no(), &second));
    scene.expect_refused(9, "denied by a person");
    scene.expect_nothing();
}

#[test]
fn capabilities_count_per_request() {
    let mut scene = Scene::new().legacy("2025-11-25");
    for capabilities in [
        json!({}),
        json!({"elicitation": {"url": {}}}),
        json!({"elicitation": true}),
        json!({"sampling": {}}),
    ] {
        says(
            &mut scene,
            &stateless_with(1, "delete_user", json!({}), capabilities),
        );
        scene.expect_refused(1, "does not declare the MCP capability");
        scene.expect_nothing();
        scene.expect_logged("denied", false);
    }
    // The retry is a request of its own, so it must declare that it can be asked.
    scene = Scene::set(|settings| settings.double_confirm = true);
    let (call, state) = ask(&mut scene, 1);
    let mut retry = retry(&call, 2, yes(), &state);
    retry["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    says(&mut scene, &retry);
    scene.expect_refused(2, "does not declare the MCP capability");
    scene.expect_nothing();
}

// SPEC 2026-07-28: "A request missing any required field is malformed; the server MUST reject it
// with JSON-RPC error code `-32602`"; and of an unknown version -32022.
#[test]
fn a_malformed_call_that_needs_a_question_is_an_error() {
    let mut scene = Scene::new();
    let mut bare = stateless(1, "delete_user", json!({}));
    bare["params"]["_meta"]
        .as_object_mut()
        .unwrap()
        .remove("io.modelcontextprotocol/clientCapabilities");
    says(&mut scene, &bare);
    assert_eq!(scene.take_client()["error"]["code"], -32602);
    scene.expect_logged("error", false);
    for version in [json!("2027-01-01"), json!("2025-11-25")] {
        let mut other = stateless(1, "delete_user", json!({}));
        other["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = version.clone();
        says(&mut scene, &other);
        let answer = scene.take_client();
        assert_eq!(answer["error"]["code"], -32022, "{answer}");
        assert_eq!(answer["error"]["data"]["supported"], json!(["2026-07-28"]));
        let requested = answer["error"]["data"]["requested"].as_str().unwrap();
        assert_eq!(requested, version.as_str().unwrap_or_default());
        scene.expect_logged("error", false);
        // If no person is needed, the upstream judges the call.
        let mut read = other.clone();
        read["params"]["name"] = json!("read_note");
        says(&mut scene, &read);
        scene.expect_forwarded(1);
        scene.upstream_says(&json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
        scene.take_client();
    }
    scene.expect_nothing();
}

/// The upstream asks about the call that it received with this id. Returns what the client
/// received.
pub(super) fn upstream_asks(scene: &mut Scene, id: i64, state: Option<&str>) -> Value {
    let mut result = json!({"resultType": "input_required",
        "inputRequests": {"theirs": {"method": "roots/list", "params": {}}}});
    if let Some(state) = state {
        result["requestState"] = json!(state);
    }
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
    let answer = scene.take_client();
    assert_eq!(answer["id"], id);
    let mut rest = answer["result"].clone();
    let ours = rest
        .as_object_mut()
        .unwrap()
        .remove("requestState")
        .unwrap();
    result.as_object_mut().unwrap().remove("requestState");
    assert_eq!(rest, result, "only the state differs");
    assert_ne!(ours.as_str(), state);
    ours
}

#[test]
fn an_upstreams_questions_need_no_second_approval_and_do_not_escape() {
    let mut scene = Scene::new();
    let (call, state) = ask(&mut scene, 1);
    says(&mut scene, &retry(&call, 2, yes(), &state));
    scene.expect_forwarded(2);
    let wrapped = upstream_asks(&mut scene, 2, Some("their \"state\""));
    let answers = json!({"theirs": {"roots": []}});
    says(&mut scene, &retry(&call, 3, answers.clone(), &wrapped));
    let forwarded = scene.expect_forwarded(3);
    assert_eq!(forwarded["params"]["requestState"], "their \"state\"");
    assert_eq!(forwarded["params"]["inputResponses"], answers);
    assert_eq!(
        forwarded["params"]["arguments"],
        call["params"]["arguments"]
    );
    let line = scene.expect_logged("approved", true);
    assert!(
        line["reason"].as_str().unwrap().contains("round 2"),
        "{line}"
    );
    // Not with another call, and not twice.
    let second = upstream_asks(&mut scene, 3, None);
    let mut other = retry(&call, 4, answers.clone(), &second);
    other["params"]["arguments"] = json!({"id": 2});
    says(&mut scene, &other);
    expect_unknown(&mut scene, 4);
    says(&mut scene, &retry(&call, 5, answers.clone(), &wrapped));
    expect_spent(&mut scene, 5);
    says(&mut scene, &retry(&call, 6, answers.clone(), &second));
    let forwarded = scene.expect_forwarded(6);
    // It sent no state, so it gets none.
    assert_eq!(forwarded["params"].get("requestState"), None);
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": 6, "result": {"content": []}}));
    scene.take_client();
    says(&mut scene, &retry(&call, 7, answers, &second));
    expect_spent(&mut scene, 7);
    // The upstream's own text is not a state of ours.
    says(
        &mut scene,
        &retry(&call, 8, json!({}), &json!("their \"state\"")),
    );
    expect_unknown(&mut scene, 8);
}

#[test]
fn one_approval_covers_at_most_ten_rounds() {
    let mut scene = Scene::new();
    let (call, mut state) = ask(&mut scene, 1);
    says(&mut scene, &retry(&call, 2, yes(), &state));
    scene.expect_forwarded(2);
    for id in 3..=12 {
        state = upstream_asks(&mut scene, id - 1, Some("s"));
        says(&mut scene, &retry(&call, id, json!({}), &state));
        scene.expect_forwarded(id);
    }
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": 12, "result": {
        "resultType": "input_required", "requestState": "s"}}));
    assert!(scene.expect_error(12).contains("more than 10 times"));
    says(&mut scene, &retry(&call, 13, json!({}), &state));
    expect_spent(&mut scene, 13);
}

#[test]
fn a_round_expires_like_a_question() {
    let mut scene = Scene::new();
    let (call, state) = ask(&mut scene, 1);
    says(&mut scene, &retry(&call, 2, yes(), &state));
    scene.expect_forwarded(2);
    let wrapped = upstream_asks(&mut scene, 2, Some("s"));
    // The operator's time limit does not apply to somebody else's question; an hour is enough.
    scene.advance(secs(3600));
    let lines = scene.decisions().len();
    assert_eq!(lines, 1, "the call has run, and has its line");
    says(&mut scene, &retry(&call, 3, json!({}), &wrapped));
    expect_spent(&mut scene, 3);
}

#[test]
fn a_tool_that_changes_while_a_person_thinks_is_asked_about_again() {
    let changed = json!([{"name": "delete_user", "description": "Deletes all.",
        "annotations": {"destructiveHint": true}}]);
    let mut scene = Scene::new();
    let (call, state) = ask(&mut scene, 1);
    scene.tools_change(changed.clone());
    says(&mut scene, &retry(&call, 2, yes(), &state));
    let (state, message) = expect_question(&mut scene, 2);
    assert!(
        message.contains("changed") && message.contains("Deletes all."),
        "{message}"
    );
    says(&mut scene, &retry(&call, 3, yes(), &state));
    scene.expect_forwarded(3);
    // Between two rounds nobody can be shown what would run, so it is refused.
    let wrapped = upstream_asks(&mut scene, 3, Some("s"));
    scene.tools_change(super::scene::usual_tools());
    says(&mut scene, &retry(&call, 4, json!({}), &wrapped));
    scene.expect_refused(4, "changed the tool since a person approved");
    scene.expect_nothing();
}

#[test]
fn calls_that_need_no_approval_keep_their_own_states() {
    let mut scene = Scene::new();
    let read = stateless(1, "read_note", json!({}));
    says(&mut scene, &read);
    scene.expect_forwarded(1);
    let question = r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","requestState":"theirs"}}"#;
    scene.upstream_sends(question);
    assert_eq!(scene.client.pop_front().unwrap(), question);
    let again = retry(&read, 2, json!({"k": {}}), &json!("theirs"));
    says(&mut scene, &again);
    assert_eq!(scene.take_upstream(), again);
    // So does everything in a dry run.
    let mut scene = Scene::set(|settings| settings.dry_run = true);
    let call = stateless(1, "delete_user", json!({}));
    says(&mut scene, &call);
    assert_eq!(scene.take_upstream(), call);
    scene.upstream_sends(question);
    assert_eq!(scene.client.pop_front().unwrap(), question);
    let again = retry(&call, 2, json!({"k": {}}), &json!("theirs"));
    says(&mut scene, &again);
    assert_eq!(scene.take_upstream(), again);
    scene.expect_logged("dry_run", true);
}

#[test]
fn a_late_question_about_a_cancelled_call_opens_no_round() {
    let mut scene = Scene::new();
    let (call, state) = ask(&mut scene, 1);
    says(&mut scene, &retry(&call, 2, yes(), &state));
    scene.expect_forwarded(2);
    scene.client_cancels(2);
    scene.take_upstream();
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": 2, "result": {
        "resultType": "input_required", "requestState": "theirs"}}));
    let state = scene.take_client()["result"]["requestState"].clone();
    says(&mut scene, &retry(&call, 3, json!({}), &state));
    expect_unknown(&mut scene, 3);
}

// contract.md, "Prompts": "TTL cache: […] only approvals are cached, per client session".
#[test]
fn an_approval_covers_identical_calls_of_the_same_client() {
    let mut scene = Scene::set(|settings| settings.approval_ttl = secs(60));
    let (call, state) = ask(&mut scene, 1);
    says(&mut scene, &retry(&call, 2, yes(), &state));
    scene.expect_forwarded(2);
    let mut again = call.clone();
    again["id"] = json!(3);
    says(&mut scene, &again);
    scene.expect_forwarded(3);
    assert_eq!(scene.expect_logged("approved", true)["engine"], "cache");
    // Its rounds are bound like any other.
    let wrapped = upstream_asks(&mut scene, 3, Some("s"));
    says(&mut scene, &retry(&call, 4, json!({}), &wrapped));
    assert_eq!(scene.expect_forwarded(4)["params"]["requestState"], "s");
    // It covers no other client, and no legacy call.
    let mut other = call.clone();
    other["id"] = json!(5);
    other["params"]["_meta"]["io.modelcontextprotocol/clientInfo"]["name"] = json!("d");
    says(&mut scene, &other);
    expect_question(&mut scene, 5);
    scene.advance(secs(60));
    again["id"] = json!(6);
    says(&mut scene, &again);
    expect_question(&mut scene, 6);
}

#[test]
fn legacy_and_stateless_are_served_at_once() {
    let mut scene = Scene::new().legacy("2025-06-18");
    let (call_, state) = ask(&mut scene, 1);
    scene.client_calls(2, "delete_user", json!({"id": 2}));
    let prompt = scene.expect_prompt();
    assert_eq!(prompt.params.get("mode"), None);
    says(&mut scene, &retry(&call_, 3, yes(), &state));
    scene.expect_forwarded(3);
    scene.approve(&prompt);
    scene.expect_forwarded(2);
    scene.expect_nothing();
}

#[test]
fn questions_end_with_the_client_and_with_the_server() {
    let mut scene = Scene::new();
    let (_, _) = ask(&mut scene, 1);
    scene.client_closes();
    scene.expect_logged("cancelled", false);
    assert_eq!(scene.close_upstream, 1);
    let mut scene = Scene::new();
    let (call, state) = ask(&mut scene, 1);
    scene.upstream_closes();
    assert_eq!(scene.expect_logged("error", false)["request_id"], 1);
    scene.client_says(&retry(&call, 2, yes(), &state));
    scene.expect_refused(2, "was already answered or has expired");
}

#[test]
fn an_approval_that_cannot_be_recorded_runs_nothing_and_is_used_up() {
    let mut scene = Scene::new();
    let (call, state) = ask(&mut scene, 1);
    scene.log_state = super::scene::Log::Broken;
    says(&mut scene, &retry(&call, 2, yes(), &state));
    scene.expect_refused(2, "audit record");
    scene.log_state = super::scene::Log::Writable;
    says(&mut scene, &retry(&call, 3, yes(), &state));
    expect_spent(&mut scene, 3);
}

#[test]
fn the_number_of_open_questions_is_limited() {
    let mut scene = Scene::set(|settings| settings.max_pending = 2);
    ask(&mut scene, 1);
    let (call, state) = ask(&mut scene, 2);
    says(&mut scene, &stateless(3, "delete_user", json!({"id": 3})));
    assert!(scene.expect_error(3).contains("--max-pending"));
    // An answer makes room.
    says(&mut scene, &retry(&call, 4, yes(), &state));
    scene.expect_forwarded(4);
    // A question from the upstream takes room, too.
    ask(&mut scene, 5);
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": 4, "result": {
        "resultType": "input_required", "requestState": "s"}}));
    assert!(scene.expect_error(4).contains("--max-pending"));
}

#[test]
fn mode_all_asks_about_reads_as_well() {
    let rules = Rules {
        mode: Mode::All,
        ..Rules::default()
    };
    let mut scene = Scene::with(Settings::default(), rules);
    let read = stateless(1, "read_note", json!({}));
    says(&mut scene, &read);
    let (state, _) = expect_question(&mut scene, 1);
    says(&mut scene, &retry(&read, 2, yes(), &state));
    scene.expect_forwarded(2);
}

// SPEC 2026-07-28, caching: "If `ttlMs` is absent, clients SHOULD assume a default of `0`";
// contract.md, "Tool list": "it reads again by `ttlMs`, with a floor of 5 s".
#[test]
fn a_list_without_a_lifetime_is_read_again_after_a_while() {
    let mut scene = Scene::new();
    let free = stateless(1, "read_note", json!({}));
    let run = |scene: &mut Scene| {
        says(scene, &free);
        scene.expect_forwarded(1);
        scene.upstream_says(&json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
        scene.take_client();
    };
    run(&mut scene);
    scene.advance(secs(4));
    // The floor: not requested again yet.
    scene.client_says(&free);
    scene.expect_forwarded(1);
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
    scene.take_client();
    scene.advance(secs(1));
    scene.client_says(&free);
    assert!(scene.take_list_request().is_some());
    scene.expect_nothing();
}
