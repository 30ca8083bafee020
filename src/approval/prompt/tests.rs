//! What a human reads, and what nobody can make a human read.

use proptest::prelude::*;

use super::*;
use crate::mcp::json::write_string;
use crate::policy::{Action, Reason, Risk};

fn message_for(params: &str, description: Option<&str>) -> String {
    let call = CallToolRequestParams::parse(params).unwrap();
    let decision = Decision {
        action: Action::Ask,
        risk: Risk::High,
        reason: Reason::DestructiveHint,
    };
    let prompt = Prompt {
        server: "db",
        call: &call,
        decision: &decision,
        description,
        hints: &ToolAnnotations::new().destructive(true),
        digest: CallDigest::of("db", &call, None),
        round: Round::First,
        covers: Duration::ZERO,
    };
    prompt.message()
}

#[test]
fn the_message_names_server_tool_risk_reason_description_hints_and_arguments() {
    assert_eq!(
        message_for(
            r#"{"name":"drop_table","arguments":{"table":"users","n":1.0,"deep":[{}]},"task":{"ttl":9}}"#,
            Some("Drops a table."),
        ),
        r#"Allow this tool call?

Server: "db"
Tool: "drop_table"
Risk: high (the tool is marked destructive)
The server describes the tool as: "Drops a table."
Hints, not verified: destructiveHint true

Arguments:
```json
{
  "table": "users",
  "n": 1.0,
  "deep": [
    {}
  ]
}
```

Other parameters:
```json
{
  "task": {
    "ttl": 9
  }
}
```

Asked by approval-proxy. The call has not run."#
    );
}

#[test]
fn a_description_cannot_forge_the_rest_of_the_message() {
    let message = message_for(
        r#"{"name":"a"}"#,
        Some("x\n\nArguments:\n```json\n{}\n```\n\nAsked by approval-proxy."),
    );
    let lines = message.lines().filter(|line| *line == "Arguments:");
    assert_eq!(lines.count(), 1);
}

#[test]
fn a_code_fence_cannot_be_closed_from_inside() {
    let message = message_for(r#"{"name":"a","arguments":{"x":"````` ```"}}"#, None);
    let closing = message.lines().filter(|line| *line == "``````");
    assert_eq!(closing.count(), 1);
}

#[test]
fn a_long_value_is_shortened_and_the_text_then_carries_the_digest() {
    let params = format!(
        r#"{{"name":"a","arguments":{{"x":"{}"}}}}"#,
        "y".repeat(5000)
    );
    let call = CallToolRequestParams::parse(&params).unwrap();
    let digest = CallDigest::of("db", &call, None).to_string();
    let message = message_for(&params, None);
    assert!(
        message.contains("(3000 of 5000 characters left out)"),
        "{message}"
    );
    assert!(message.contains(&digest));
    assert!(
        digest
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    );
    assert!(!message_for(r#"{"name":"a","arguments":{"x":"y"}}"#, None).contains("SHA-256"));
}

#[test]
fn a_shortened_name_or_description_brings_the_digest_too() {
    let long_name = format!(r#"{{"name":"{}"}}"#, "n".repeat(300));
    assert!(message_for(&long_name, None).contains("SHA-256"));
    assert!(message_for(r#"{"name":"a"}"#, Some(&"d".repeat(3000))).contains("SHA-256"));
}

#[test]
fn many_arguments_lose_their_middle_but_never_their_count() {
    let members: Vec<String> = (0..5000).map(|i| format!(r#""key{i}":{i}"#)).collect();
    let params = format!(r#"{{"name":"a","arguments":{{{}}}}}"#, members.join(","));
    let message = message_for(&params, None);
    assert!(message.len() <= MAX_MESSAGE);
    assert!(message.contains("\"key0\": 0"));
    assert!(message.contains("\"key4999\": 4999"));
    assert!(message.contains("of 5000 left out)…"), "{message}");
    assert!(message.contains("SHA-256"));
}

proptest! {
    // Rendering hundreds of long strings takes a while in a debug build.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_message_is_never_longer_than_its_limit(
        name in any::<String>(),
        text in prop::collection::vec(any::<char>(), 0..3000),
        keys in prop::collection::btree_set(any::<String>(), 0..60),
        description in prop::option::of("\\PC{0,3000}|[\u{202e}\u{e0041}]{0,3000}"),
    ) {
        let text: String = text.into_iter().collect();
        let mut params = String::from(r#"{"name":"#);
        write_string(&name, &mut params);
        params.push_str(r#","arguments":{"x":"#);
        write_string(&text, &mut params);
        for key in keys.iter().filter(|key| !key.contains('\0') && *key != "x") {
            params.push(',');
            write_string(key, &mut params);
            params.push_str(":[");
            write_string(&text, &mut params);
            params.push(']');
        }
        params.push_str("}}");
        let message = message_for(&params, description.as_deref());
        prop_assert!(message.len() <= MAX_MESSAGE, "{}", message.len());
        prop_assert!(message.starts_with("Allow this tool call?\n\nServer: \"db\"\nTool: \""));
        prop_assert!(message.ends_with("\n\nAsked by approval-proxy. The call has not run."));
    }
}
