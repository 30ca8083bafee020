//! The gate's messages in 2026-07-28.
//!
//! The other scenes test that they are the right ones.

use serde_json::{Value, json};

use super::official::Revision::V2026_07_28;
use super::{
    CALL, INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, LIST, PARSE_ERROR, QUESTION, REFUSAL,
    UNSUPPORTED_VERSION,
};
use crate::gate::Settings;
use crate::gate::tests::scene::{Log, Scene, call, secs};
use crate::policy::Rules;

/// Does the same as [`super::story`], in the one revision without sessions.
fn story(made: &[&str], play: impl Fn() -> Scene) {
    super::story(&[V2026_07_28], made, |_| play());
}

/// A call by a client that could be asked.
pub(super) fn stateless(id: impl Into<Value>, tool: &str) -> Value {
    let mut call = call(id, tool, json!({}));
    call["params"]["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1.0"},
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
        "progressToken": 5,
        "com.example/trace": "t",
    });
    call
}

/// The same call again, with another id and the members of a retry.
fn retry(call: &Value, id: i64, answers: Value, state: &Value) -> Value {
    let mut retry = call.clone();
    retry["id"] = json!(id);
    retry["params"]["inputResponses"] = answers;
    retry["params"]["requestState"] = state.clone();
    retry
}

fn yes() -> Value {
    json!({OURS: {"action": "accept", "content": {"approved": true}}})
}

fn no() -> Value {
    json!({OURS: {"action": "decline"}})
}

/// The key of the gate's own question.
const OURS: &str = "approval-proxy";

/// The next line that the client received is a question. Returns its state.
fn take_state(scene: &mut Scene) -> Value {
    scene.take_client()["result"]["requestState"].take()
}

/// Calls a gated tool, and answers the question about it.
fn asked(scene: &mut Scene, answers: Value) -> Value {
    let call = stateless(1, "delete_user");
    scene.client_says(&call);
    scene.answer_lists();
    let state = take_state(scene);
    scene.person_reads();
    scene.client_says(&retry(&call, 2, answers, &state));
    scene.answer_lists();
    call
}

// ---- questions and their outcomes

#[test]
fn an_approved_call() {
    story(&[LIST, QUESTION, CALL], || {
        let mut scene = Scene::new();
        asked(&mut scene, yes());
        scene.expect_forwarded(2);
        scene
    });
}

#[test]
fn a_question_about_odd_and_large_arguments() {
    story(&[LIST, QUESTION], || {
        let mut scene = Scene::set(|settings| settings.server = "a \"b\"\n\u{202e}c".into());
        let odd = "\"\\\u{1}\u{7f}\u{85}\u{2028}\u{202e}😀\r\n";
        let mut call = stateless(odd, "delete_user");
        call["params"]["arguments"] = json!({"large": "é".repeat(100_000), odd: [odd, 1e300]});
        scene.client_says(&call);
        scene.answer_lists();
        scene
    });
}

#[test]
fn a_denied_call() {
    for explain in [false, true] {
        story(&[LIST, QUESTION, REFUSAL], || {
            let mut scene = Scene::set(|settings| settings.explain = explain);
            asked(&mut scene, no());
            scene.expect_refused(2, "denied by a person");
            scene
        });
    }
}

#[test]
fn a_call_that_needs_two_yeses() {
    story(&[LIST, QUESTION, QUESTION, REFUSAL], || {
        let mut scene = Scene::set(|settings| settings.double_confirm = true);
        let call = asked(&mut scene, yes());
        let state = take_state(&mut scene);
        scene.person_reads();
        scene.client_says(&retry(&call, 3, no(), &state));
        scene.expect_refused(3, "denied by a person");
        scene
    });
}

#[test]
fn a_retry_without_an_answer() {
    story(&[LIST, QUESTION, QUESTION], || {
        let mut scene = Scene::new();
        asked(&mut scene, json!({}));
        scene
    });
}

#[test]
fn a_state_that_is_not_accepted() {
    story(&[LIST, QUESTION, REFUSAL, REFUSAL, REFUSAL], || {
        let mut scene = Scene::new();
        let call = stateless(1, "delete_user");
        scene.client_says(&call);
        scene.answer_lists();
        let state = take_state(&mut scene);
        let other = stateless(1, "add_note");
        scene.client_says(&retry(&other, 2, yes(), &state));
        scene.expect_refused(2, "belong to no question");
        scene.client_says(&retry(&call, 3, yes(), &json!("of another server")));
        scene.expect_refused(3, "belong to no question");
        scene.advance(secs(300));
        scene.client_says(&retry(&call, 4, yes(), &state));
        scene.expect_refused(4, "has expired");
        scene
    });
}

#[test]
fn a_tool_that_changes_while_a_person_is_asked() {
    let round = [LIST, QUESTION];
    let made = [&round[..], &round, &round, &round, &[LIST, REFUSAL]].concat();
    story(&made, || {
        let mut scene = Scene::new();
        let call = stateless(0, "delete_user");
        scene.client_says(&call);
        scene.answer_lists();
        for n in 1..5 {
            let state = take_state(&mut scene);
            scene.tools_change(json!([{"name": "delete_user", "description": n.to_string()}]));
            scene.client_says(&retry(&call, n, yes(), &state));
            scene.answer_lists();
        }
        scene.expect_refused(4, "kept changing");
        scene
    });
}

#[test]
fn an_approved_call_that_cannot_be_recorded() {
    story(&[LIST, QUESTION, REFUSAL], || {
        let mut scene = Scene::new();
        scene.log_state = Log::Broken;
        asked(&mut scene, yes());
        scene.expect_refused(2, "audit record");
        scene
    });
}

// ---- questions from the upstream

/// The upstream answers an approved call with a question of its own.
fn upstream_asks(scene: &mut Scene, id: i64, state: Option<&str>) {
    let mut result = json!({"resultType": "input_required", "inputRequests": {"name": {
        "method": "elicitation/create",
        "params": {"mode": "form", "message": "Which?", "requestedSchema": {"type": "object",
            "properties": {"name": {"type": "string"}}}}}}});
    if let Some(state) = state {
        result["requestState"] = json!(state);
    }
    scene.expect_forwarded(id);
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
}

fn answer() -> Value {
    json!({"name": {"action": "accept", "content": {"name": "n"}}})
}

#[test]
fn an_approved_call_that_the_upstream_asks_about() {
    for state in [None, Some("theirs")] {
        story(&[LIST, QUESTION, CALL, QUESTION, CALL], || {
            let mut scene = Scene::new();
            let call = asked(&mut scene, yes());
            upstream_asks(&mut scene, 2, state);
            let ours = take_state(&mut scene);
            scene.client_says(&retry(&call, 3, answer(), &ours));
            let forwarded = scene.expect_forwarded(3);
            assert_eq!(
                forwarded["params"].get("requestState"),
                state.map(Value::from).as_ref()
            );
            scene
        });
    }
}

#[test]
fn a_tool_that_changes_between_two_rounds() {
    story(&[LIST, QUESTION, CALL, QUESTION, LIST, REFUSAL], || {
        let mut scene = Scene::new();
        let call = asked(&mut scene, yes());
        upstream_asks(&mut scene, 2, None);
        let state = take_state(&mut scene);
        scene.tools_change(json!([]));
        scene.client_says(&retry(&call, 3, answer(), &state));
        scene.answer_lists();
        scene.expect_refused(3, "changed the tool since");
        scene
    });
}

#[test]
fn an_upstream_that_asks_too_much() {
    story(&[LIST, QUESTION, CALL, INTERNAL_ERROR], || {
        let mut scene = Scene::new();
        asked(&mut scene, yes());
        upstream_asks(&mut scene, 2, Some(&"x".repeat(2 * 1024 * 1024)));
        scene
    });
    let rounds = [QUESTION, CALL].repeat(11);
    story(&[&[LIST][..], &rounds, &[INTERNAL_ERROR]].concat(), || {
        let mut scene = Scene::new();
        let call = asked(&mut scene, yes());
        for id in 2..12 {
            upstream_asks(&mut scene, id, Some("theirs"));
            let state = take_state(&mut scene);
            scene.client_says(&retry(&call, id + 1, answer(), &state));
        }
        upstream_asks(&mut scene, 12, Some("theirs"));
        scene
    });
}

// ---- refused without a question

#[test]
fn a_call_that_a_rule_blocks() {
    for explain in [false, true] {
        story(&[REFUSAL], || {
            let settings = Settings {
                explain,
                ..Settings::default()
            };
            let rules = Rules {
                deny: vec!["*".into()],
                ..Rules::default()
            };
            let mut scene = Scene::with(settings, rules);
            scene.client_says(&stateless("x", "t"));
            scene.expect_refused("x", "blocked");
            scene
        });
    }
}

#[test]
fn a_call_that_cannot_be_recorded() {
    story(&[LIST, REFUSAL], || {
        let mut scene = Scene::new();
        scene.log_state = Log::Broken;
        scene.client_says(&stateless(1, "read_note"));
        scene.answer_lists();
        scene.expect_refused(1, "audit record");
        scene
    });
}

#[test]
fn a_client_that_cannot_be_asked() {
    story(&[LIST, REFUSAL], || {
        let mut scene = Scene::new();
        let mut call = stateless(1, "delete_user");
        call["params"]["_meta"][CAPABILITIES] = json!({"elicitation": {"url": {}}});
        scene.client_says(&call);
        scene.answer_lists();
        scene.expect_refused(1, "does not declare");
        scene
    });
}

const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// A scene in which the list is known.
fn listed() -> Scene {
    let mut scene = Scene::new();
    scene.client_says(&stateless("listed", "read_note"));
    scene.answer_lists();
    scene.expect_forwarded("listed");
    scene
}

#[test]
fn a_call_without_client_capabilities() {
    for capabilities in [None, Some(json!(null)), Some(json!([]))] {
        story(&[LIST, INVALID_PARAMS], || {
            let mut scene = listed();
            let mut call = stateless(1, "delete_user");
            let meta = call["params"]["_meta"].as_object_mut().unwrap();
            meta.remove(CAPABILITIES);
            meta.extend(
                capabilities
                    .clone()
                    .map(|value| (CAPABILITIES.into(), value)),
            );
            scene.client_says(&call);
            scene
        });
    }
}

#[test]
fn a_call_whose_version_is_not_a_string() {
    for version in [json!(7), json!(null)] {
        story(&[LIST, INVALID_PARAMS], || {
            let mut scene = listed();
            let mut call = stateless(1, "delete_user");
            call["params"]["_meta"][VERSION] = version.clone();
            scene.client_says(&call);
            scene
        });
    }
}

#[test]
fn a_call_of_another_version() {
    for version in [json!("2027-01-01"), json!("2025-11-25"), json!("\"\n")] {
        story(&[LIST, UNSUPPORTED_VERSION], || {
            let mut scene = listed();
            let mut call = stateless(1, "delete_user");
            call["params"]["_meta"][VERSION] = version.clone();
            scene.client_says(&call);
            scene
        });
    }
}

#[test]
fn a_client_that_goes() {
    story(&[LIST, REFUSAL], || {
        let mut scene = Scene::new();
        scene.client_says(&stateless(1, "delete_user"));
        scene.client_closes();
        scene.answer_lists();
        scene.expect_refused(1, "the client has gone");
        scene
    });
    // Everything that was asked has been answered.
    story(&[LIST, QUESTION], || {
        let mut scene = Scene::new();
        scene.client_says(&stateless(1, "delete_user"));
        scene.answer_lists();
        scene.client_closes();
        scene.expect_logged("cancelled", false);
        scene
    });
}

// ---- lists

#[test]
fn a_list_of_many_pages() {
    story(&[LIST, LIST], || {
        let mut scene = Scene::new();
        scene.client_says(&stateless(1, "read_note"));
        let id = scene.take_list_request().unwrap();
        scene.upstream_says(&json!({"jsonrpc": "2.0", "id": id,
            "result": {"resultType": "complete", "tools": scene.tools, "nextCursor": "\"\n"}}));
        scene.answer_lists();
        scene.expect_forwarded(1);
        scene
    });
}

/// A call that needs the list, with an invalid member of `_meta`.
fn list_for_a_malformed(key: &str, value: Option<Value>) {
    story(&[LIST], || {
        let mut scene = Scene::new();
        let mut call = stateless(1, "delete_user");
        let meta = call["params"]["_meta"].as_object_mut().unwrap();
        meta.remove(key);
        meta.extend(value.clone().map(|value| (key.into(), value)));
        scene.client_says(&call);
        scene
    });
}

#[test]
fn a_list_that_a_malformed_call_needs() {
    list_for_a_malformed(CAPABILITIES, None);
    list_for_a_malformed(CAPABILITIES, Some(json!(7)));
    list_for_a_malformed(CAPABILITIES, Some(json!({"elicitation": 7})));
    list_for_a_malformed(VERSION, Some(json!(7)));
    list_for_a_malformed("io.modelcontextprotocol/clientInfo", Some(json!({})));
    // Longer than what is repeated.
    let large = json!({"name": "x".repeat(100_000), "version": "1"});
    list_for_a_malformed("io.modelcontextprotocol/clientInfo", Some(large));
}

// ---- messages that cannot be read, or may not be sent

#[test]
fn lines_that_cannot_be_read_safely() {
    for (line, code) in [
        ("{", PARSE_ERROR),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"x","method":"x"}"#,
            PARSE_ERROR,
        ),
        ("[]", INVALID_REQUEST),
        (
            r#"{"jsonrpc":"2.0","id":1.5,"method":"tools/call","params":{"name":"t"}}"#,
            INVALID_REQUEST,
        ),
    ] {
        story(&[code], || {
            let mut scene = Scene::new();
            scene.client_sends(line);
            scene
        });
    }
}

#[test]
fn messages_that_may_not_be_sent() {
    story(
        &[
            LIST,
            INVALID_REQUEST,
            INVALID_REQUEST,
            INVALID_REQUEST,
            INTERNAL_ERROR,
        ],
        || {
            let mut scene = Scene::set(|settings| settings.max_pending = 1);
            scene.client_says(&stateless(1, "read_note"));
            let list = scene.take_list_request().unwrap();
            // The id is in use; too many wait; the upstream uses the id of the list.
            scene.client_says(&stateless(1, "read_note"));
            scene.client_says(&stateless(2, "read_note"));
            scene.upstream_says(&json!({"jsonrpc": "2.0", "id": list, "method": "ping"}));
            scene.upstream_closes();
            scene
        },
    );
}
