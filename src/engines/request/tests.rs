//! What programs and services read, and which of their answers count.

use serde_json::{Value as Json, json};

use super::*;
use crate::approval::item::Item;
use crate::approval::render::Show;
use crate::engines::for_test::item;
use crate::evidence::redact::Redaction;

fn written(item: &Item, show: Show) -> (String, Json) {
    let disclosure = Disclosure::new(item, show, &Redaction::default()).unwrap();
    let text = to_json(&disclosure, None).unwrap();
    let json = serde_json::from_str(&text).unwrap();
    (text, json)
}

#[test]
fn a_request_is_one_line_with_the_arguments_as_the_client_wrote_them() {
    let item = Item {
        call: r#"{"name":"drop_table","arguments":{"n":1.50,"t":"a\nb","big":12345678901234567890123},"_meta":{"x":"\u202e"}}"#.to_owned(),
        expires_ms: Some(1_790_000_000_000),
        ..item("1")
    };
    let (text, json) = written(&item, Show::Full);
    assert!(!text.contains('\n'), "{text}");
    let arguments = r#""arguments":{"n":1.50,"t":"a\nb","big":12345678901234567890123}"#;
    assert!(text.contains(arguments), "{text}");
    let request = &json["request"];
    assert_eq!(request["parameters"], json!({"_meta": {"x": "\u{202e}"}}));
    assert_eq!(request["expires"], "2026-09-21T14:13:20.000Z");
    assert_eq!(request["fingerprint"], json!(item.fingerprint()));
    assert_eq!(
        (&request["version"], &request["shown"]),
        (&json!(1), &json!("full"))
    );
    // People see the character that turns text around.
    let message = json["message"].as_str().unwrap();
    assert!(
        message.contains("\\u{202e}") && !message.contains('\u{202e}'),
        "{message}"
    );
}

#[test]
fn a_call_without_arguments_has_none_in_the_request() {
    let item = Item {
        call: r#"{"name":"drop_table"}"#.to_owned(),
        ..item("1")
    };
    let (_, json) = written(&item, Show::Full);
    assert_eq!(json["request"].get("arguments"), None);
    assert_eq!(json["request"].get("parameters"), None);
    assert_eq!(json["request"]["approvable"], true);
}

#[test]
fn a_summary_contains_nothing_of_the_arguments_or_other_parameters() {
    let item = Item {
        call: r#"{"name":"drop_table","arguments":{"table":"mark-1"},"extra":"mark-2"}"#.to_owned(),
        ..item("1")
    };
    let (text, json) = written(&item, Show::Summary);
    assert!(!text.contains("mark-"), "{text}");
    assert_eq!(json["request"]["approvable"], false);
    assert_eq!(json["request"]["tool"], "drop_table");
}

#[test]
fn both_schemas_ask_for_the_same_answer() {
    let full: Json = serde_json::from_str(SCHEMA).unwrap();
    let denial: Json = serde_json::from_str(DENIAL_SCHEMA).unwrap();
    for schema in [&full, &denial] {
        assert_eq!(schema["required"], json!(["approved"]));
        assert_eq!(schema["properties"]["approved"]["type"], "boolean");
        assert_eq!(schema["properties"]["reason"]["type"], "string");
    }
    assert_eq!(denial["properties"]["approved"]["const"], false);
}

#[test]
fn an_answer_may_be_written_on_several_lines() {
    let text = b"{\n  \"action\": \"accept\",\r\n\t\"content\": {\"approved\": true}\n}\n";
    let verdict = read_answer(text, "command:x", &Scrub::default()).unwrap();
    assert_eq!(verdict.choice, Choice::Approve);
    assert_eq!(verdict.approver.as_deref(), Some("command:x"));
}

#[test]
fn a_yes_counts_only_if_it_was_possible() {
    let yes = br#"{"action":"accept","content":{"approved":true}}"#;
    let no = br#"{"action":"accept","content":{"approved":false}}"#;
    let verdict = |text, is_approvable| {
        let form = None;
        let possible = Possible {
            is_approvable,
            form,
        };
        verdict(text, "a", &possible, &Scrub::default())
    };
    assert_eq!(verdict(yes, true).unwrap().choice, Choice::Approve);
    assert_eq!(verdict(no, false).unwrap().choice, Choice::Deny);
    assert_eq!(verdict(yes, false).unwrap_err().kind, FailureKind::Rejected);
}

const FORM: &str = r#"{"type":"object","properties":{"po":{"type":"string","minLength":3},"n":{"type":"integer"}},"required":["po"]}"#;

#[test]
fn a_form_is_part_of_the_schema_and_its_answers_come_back() {
    let item = Item {
        form: Some(FORM.to_owned()),
        ..item("1")
    };
    let disclosure = Disclosure::new(&item, Show::Full, &Redaction::default()).unwrap();
    let document: serde_json::Value =
        serde_json::from_str(&to_json(&disclosure.with_forms(), None).unwrap()).unwrap();
    let schema = &document["requestedSchema"];
    assert_eq!(schema["properties"]["po"]["minLength"], 3);
    assert_eq!(schema["properties"]["approved"]["type"], "boolean");
    assert_eq!(schema["required"], serde_json::json!(["approved", "po"]));
    let answer = |content: &str| {
        let text = format!(r#"{{"action":"accept","content":{content}}}"#);
        let possible = Possible {
            is_approvable: true,
            form: Some(FORM.to_owned()),
        };
        let mut scrub = Scrub::default();
        scrub.add("the-engines-secret");
        verdict(text.as_bytes(), "a", &possible, &scrub)
    };
    let yes = answer(r#"{"approved":true,"po":"PO-7","n":7,"reason":"ok"}"#).unwrap();
    assert_eq!(yes.fields.as_deref(), Some(r#"{"n":7,"po":"PO-7"}"#));
    assert_eq!(yes.reason.as_deref(), Some("ok"));
    // INVARIANT 9: the agent reads the answers.
    let yes = answer(r#"{"approved":true,"po":"PO the-engines-secret"}"#).unwrap();
    assert!(!yes.fields.unwrap().contains("the-engines-secret"));
    for broken in [
        r#"{"approved":true}"#,
        r#"{"approved":true,"po":"x"}"#,
        r#"{"approved":true,"po":"PO-7","n":"many"}"#,
        r#"{"approved":true,"po":"PO-7","more":1}"#,
        r#"{"approved":true,"po":{"a":1}}"#,
    ] {
        let failure = answer(broken).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Rejected);
        assert!(failure.why.contains("form"), "{}", failure.why);
    }
    let no = answer(r#"{"approved":false,"po":"x"}"#).unwrap();
    assert_eq!((no.choice, no.fields), (Choice::Deny, None));
}

#[test]
fn answers_that_nobody_asked_for_are_dropped() {
    let text = br#"{"action":"accept","content":{"approved":true,"po":"PO-7"}}"#;
    let possible = Possible {
        is_approvable: true,
        form: None,
    };
    let yes = verdict(text, "a", &possible, &Scrub::default()).unwrap();
    assert_eq!((yes.choice, yes.fields), (Choice::Approve, None));
}
