//! Checks that the validation can fail: messages from the gate with one thing changed.
//!
//! Does not test the gate itself.

use serde_json::{Value, json};

use super::official::Revision::{
    self, V2024_11_05, V2025_03_26, V2025_06_18, V2025_11_25, V2026_07_28,
};
use super::official::{Official, To};
use super::stateless::stateless;
use super::{
    INTERNAL_ERROR, LIST, PARSE_ERROR, PROGRESS, PROMPT, QUESTION, REFUSAL, UNSUPPORTED_VERSION,
    WITHDRAWN, kind, made_in,
};
use crate::gate::Settings;
use crate::gate::tests::scene::{Scene, call_with_token, secs};
use crate::policy::Rules;

/// A message of this kind as the gate writes it in this revision.
fn specimen(revision: Revision, wanted: &str) -> (To, Value) {
    let blocking = Rules {
        deny: vec!["drop".into()],
        ..Rules::default()
    };
    let mut scene = Scene::with(Settings::default(), blocking);
    if revision < V2026_07_28 {
        scene = scene.legacy(revision.name());
        scene.client_says(&call_with_token(1, "delete_user", 5));
        scene.client_says(&call_with_token(2, "drop", 5));
    } else {
        scene.client_says(&stateless(1, "read_note"));
        scene.client_says(&stateless(2, "drop"));
        scene.answer_lists();
        scene.client_says(&stateless(4, "delete_user"));
        let mut later = stateless(5, "delete_user");
        later["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2027-01-01");
        scene.client_says(&later);
    }
    scene.answer_lists();
    scene.client_sends("{");
    scene.advance(secs(200));
    scene.client_says(&json!({"jsonrpc": "2.0", "id": 3, "method": "ping"}));
    scene.upstream_closes();
    let mut made = made_in(&scene).into_iter();
    made.find(|(_, message)| kind(message) == wanted)
        .expect(wanted)
}

/// One change: the value at a pointer is replaced or removed.
fn changed(message: &Value, pointer: &str, value: Option<Value>) -> Value {
    let mut message = message.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = message.pointer_mut(parent).expect(pointer);
    let key = key.replace("~1", "/");
    match (parent, value) {
        (Value::Object(members), Some(value)) => drop(members.insert(key, value)),
        (Value::Object(members), None) => drop(members.remove(&key).expect(pointer)),
        (Value::Array(entries), Some(value)) => entries[key.parse::<usize>().unwrap()] = value,
        (parent, value) => panic!("{pointer} in {parent}: {value:?}"),
    }
    message
}

/// Validation rejects each change of this message, and accepts the message itself.
fn faults(revision: Revision, kind: &str, changes: &[(&str, Option<Value>)]) {
    let Some(official) = Official::of(revision) else {
        return;
    };
    let (to, message) = specimen(revision, kind);
    official
        .check(to, &message)
        .unwrap_or_else(|fault| panic!("{fault}"));
    let other = match to {
        To::Client => To::Upstream,
        To::Upstream => To::Client,
    };
    if message.get("error").is_none() {
        assert!(official.check(other, &message).is_err(), "{message}");
    }
    let everywhere = [
        ("/jsonrpc", None),
        ("/jsonrpc", Some(json!("1.0"))),
        ("/unknown", Some(json!(1))),
        ("/id", Some(json!([1]))),
    ];
    for (pointer, value) in everywhere.iter().chain(changes) {
        let message = changed(&message, pointer, value.clone());
        assert!(official.check(to, &message).is_err(), "{message}");
    }
}

#[test]
fn a_prompt() {
    let changes = [
        ("/id", None),
        ("/method", Some(json!("elicitation/Create"))),
        ("/params", None),
        ("/params/message", None),
        ("/params/message", Some(json!(7))),
        ("/params/requestedSchema", None),
        ("/params/requestedSchema/type", Some(json!("array"))),
        ("/params/requestedSchema/required", Some(json!("approved"))),
        (
            "/params/requestedSchema/additionalProperties",
            Some(json!(false)),
        ),
        // "restricted to flat objects with primitive properties only"
        (
            "/params/requestedSchema/properties/approved",
            Some(json!({"type": "object", "properties": {"x": {"type": "boolean"}}})),
        ),
        (
            "/params/requestedSchema/properties/approved/type",
            Some(json!("null")),
        ),
        (
            "/params/requestedSchema/properties/approved/const",
            Some(json!(true)),
        ),
        (
            "/params/requestedSchema/properties/reason/maxLength",
            Some(json!("long")),
        ),
        (
            "/params/requestedSchema/properties/reason/pattern",
            Some(json!("^a")),
        ),
        ("/params/mode", Some(json!("url"))),
        ("/params/unknown", Some(json!(1))),
    ];
    faults(V2025_06_18, PROMPT, &changes);
    faults(
        V2025_06_18,
        PROMPT,
        &[("/params/mode", Some(json!("form")))],
    );
    faults(V2025_11_25, PROMPT, &changes);
    faults(V2025_11_25, PROMPT, &[("/params/mode", None)]);
}

// Revisions without elicitation have no such request at all.
#[test]
fn a_prompt_in_a_revision_without_prompts() {
    let (to, prompt) = specimen(V2025_06_18, PROMPT);
    for revision in [V2024_11_05, V2025_03_26, V2026_07_28] {
        if let Some(official) = Official::of(revision) {
            let fault = official.check(to, &prompt).unwrap_err();
            assert!(fault.contains("`ServerRequest`"), "{fault}");
        }
    }
}

#[test]
fn a_notification() {
    for revision in [V2025_06_18, V2025_11_25] {
        faults(
            revision,
            PROGRESS,
            &[
                ("/params/progressToken", None),
                ("/params/progressToken", Some(json!(null))),
                ("/params/progressToken", Some(json!(1.5))),
                ("/params/progress", None),
                ("/params/progress", Some(json!("0.1"))),
                ("/params/message", Some(json!(1))),
                ("/params/unknown", Some(json!(1))),
                ("/method", Some(json!("notifications/message"))),
            ],
        );
        faults(
            revision,
            WITHDRAWN,
            &[
                ("/params/requestId", None),
                ("/params/requestId", Some(json!(null))),
                ("/params/reason", Some(json!(1))),
                ("/params/unknown", Some(json!(1))),
                ("/params", None),
            ],
        );
    }
    // SPEC 2024-11-05: progress has no `message` yet. SPEC 2026-07-28: servers cancel nothing.
    for (found, revision) in [(PROGRESS, V2024_11_05), (WITHDRAWN, V2026_07_28)] {
        let (to, message) = specimen(V2025_06_18, found);
        if let Some(official) = Official::of(revision) {
            official.check(to, &message).unwrap_err();
        }
    }
}

#[test]
fn a_list_request() {
    for revision in [
        V2024_11_05,
        V2025_03_26,
        V2025_06_18,
        V2025_11_25,
        V2026_07_28,
    ] {
        faults(
            revision,
            LIST,
            &[
                ("/id", Some(json!(null))),
                ("/id", Some(json!(1.5))),
                ("/params", Some(json!(null))),
                ("/params", Some(json!({"cursor": null}))),
                ("/params", Some(json!({"Cursor": "2"}))),
            ],
        );
    }
    faults(
        V2026_07_28,
        LIST,
        &[
            ("/params", None),
            ("/params/_meta", None),
            (
                "/params/_meta/io.modelcontextprotocol~1protocolVersion",
                None,
            ),
            (
                "/params/_meta/io.modelcontextprotocol~1protocolVersion",
                Some(json!(2026)),
            ),
            (
                "/params/_meta/io.modelcontextprotocol~1clientCapabilities",
                None,
            ),
            ("/params/_meta/com.example~1trace", Some(json!("t"))),
        ],
    );
}

#[test]
fn a_refusal() {
    for revision in [
        V2024_11_05,
        V2025_03_26,
        V2025_06_18,
        V2025_11_25,
        V2026_07_28,
    ] {
        faults(
            revision,
            REFUSAL,
            &[
                ("/id", None),
                ("/id", Some(json!(null))),
                ("/result", Some(json!(null))),
                ("/result/content", None),
                ("/result/content", Some(json!("denied"))),
                ("/result/content", Some(json!([]))),
                ("/result/content/0", Some(json!("denied"))),
                ("/result/content/0/type", Some(json!("words"))),
                ("/result/content/0/text", None),
                ("/result/content/0/unknown", Some(json!(1))),
                ("/result/isError", None),
                ("/result/isError", Some(json!(false))),
                ("/result/isError", Some(json!("true"))),
                ("/result/unknown", Some(json!(1))),
                ("/result/resultType", Some(json!("input_required"))),
                ("/result/resultType", Some(json!("done"))),
            ],
        );
        let other = if revision < V2026_07_28 {
            Some(json!("complete"))
        } else {
            None
        };
        faults(revision, REFUSAL, &[("/result/resultType", other)]);
    }
}

#[test]
fn an_error() {
    for revision in [
        V2024_11_05,
        V2025_03_26,
        V2025_06_18,
        V2025_11_25,
        V2026_07_28,
    ] {
        for found in [PARSE_ERROR, INTERNAL_ERROR] {
            let mut changes = vec![
                ("/error/code", None),
                ("/error/code", Some(json!("-32600"))),
                ("/error/code", Some(json!(-32600.5))),
                ("/error/message", None),
                ("/error/message", Some(json!(null))),
                ("/error/unknown", Some(json!(1))),
                ("/result", Some(json!({}))),
            ];
            for code in [-32000, -32002, -32021, -32022, -32042, 1] {
                changes.push(("/error/code", Some(json!(code))));
            }
            faults(revision, found, &changes);
        }
    }
}

#[test]
fn an_error_of_the_latest_revision() {
    let changes = [
        ("/error/code", Some(json!(-32021))),
        ("/error/code", Some(json!(-32602.5))),
        ("/error/data", None),
        ("/error/data/supported", None),
        ("/error/data/supported", Some(json!("2026-07-28"))),
        ("/error/data/requested", None),
        ("/error/data/requested", Some(json!(7))),
        ("/error/data/unknown", Some(json!(1))),
    ];
    faults(V2026_07_28, UNSUPPORTED_VERSION, &changes);
}

#[test]
fn a_question() {
    let ours = "/result/inputRequests/approval-proxy";
    let changes = [
        ("", "/id", None),
        ("", "/id", Some(json!(null))),
        ("", "/result/resultType", None),
        ("", "/result/resultType", Some(json!("complete"))),
        ("", "/result/requestState", None),
        ("", "/result/requestState", Some(json!(""))),
        ("", "/result/requestState", Some(json!({}))),
        ("", "/result/inputRequests", None),
        ("", "/result/inputRequests", Some(json!({}))),
        ("", "/result/inputRequests", Some(json!([]))),
        ("", "/result/content", Some(json!([]))),
        (ours, "/id", Some(json!(1))),
        (ours, "/jsonrpc", Some(json!("2.0"))),
        (ours, "/method", None),
        (ours, "/method", Some(json!("roots/list"))),
        (ours, "/params", None),
        (ours, "/params/mode", None),
        (ours, "/params/mode", Some(json!("url"))),
        (ours, "/params/message", None),
        (ours, "/params/requestedSchema/type", Some(json!("array"))),
        (
            ours,
            "/params/requestedSchema/properties/approved",
            Some(json!({"type": "object"})),
        ),
        (
            ours,
            "/params/requestedSchema/properties/approved/const",
            Some(json!(true)),
        ),
    ]
    .map(|(place, pointer, value)| (format!("{place}{pointer}"), value));
    let changes: Vec<_> = changes
        .iter()
        .map(|(pointer, value)| (&**pointer, value.clone()))
        .collect();
    faults(V2026_07_28, QUESTION, &changes);
    // No earlier revision has such a result.
    let (to, question) = specimen(V2026_07_28, QUESTION);
    if let Some(official) = Official::of(V2025_11_25) {
        official.check(to, &question).unwrap_err();
    }
}
