//! Envelopes as peers write them, and as attackers do.

use proptest::prelude::*;

use super::*;

fn error_of(text: &str) -> MessageError {
    read_line(text).unwrap_err().error
}

fn message(text: &str) -> Message<'_> {
    match read_line(text).unwrap() {
        Line::Message(message) => message,
        other @ (Line::Blank | Line::Batch(_)) => panic!("{other:?}"),
    }
}

#[test]
fn the_kind_of_a_message_follows_from_its_members() {
    let request = message(r#"{"params":{"a":1},"id":"x","method":"m","jsonrpc":"2.0"}"#);
    assert_eq!(request.id, Id::Some(RequestId::Text("x".into())));
    assert!(request.is_plain);
    assert_eq!(
        request.kind,
        Kind::Call {
            method: "m".into(),
            params: Some(r#"{"a":1}"#),
            tree: None
        }
    );
    assert_eq!(
        message(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).kind,
        Kind::Response {
            result: Some("{}"),
            error: None
        }
    );
    assert_eq!(message(r#"{"method":"n"}"#).id, Id::Absent);
    assert_eq!(message(r#"{"method":"n","id":null}"#).id, Id::Unusable);
    assert_eq!(read_line(" \t "), Ok(Line::Blank));
    assert_eq!(read_line("[1, {}]"), Ok(Line::Batch(vec!["1", "{}"])));
}

#[test]
fn a_method_is_compared_after_unescaping() {
    let Kind::Call { method, .. } = message(r#"{"method":"tools\/c\u0061ll"}"#).kind else {
        panic!("not a call")
    };
    assert_eq!(method, "tools/call");
}

#[test]
fn an_envelope_that_readers_could_read_differently_is_unreadable() {
    use JsonError::{DuplicateKey, NulInKey, TrailingText};
    use MessageError::{FoldedKey, Json, MethodNotAString, NoKind, NotAnObject, TwoKinds};
    for (text, error) in [
        (r#"{"method":"a","method":"b"}"#, Json(DuplicateKey)),
        (r#"{"method":"a","\u006dethod":"b"}"#, Json(DuplicateKey)),
        (
            r#"{"method":"a","params":{},"params":{}}"#,
            Json(DuplicateKey),
        ),
        (
            r#"{"jsonrpc":"2.0","jsonrpc":"2.0","method":"a"}"#,
            Json(DuplicateKey),
        ),
        (r#"{"method":"a","x":1,"x":2}"#, Json(DuplicateKey)),
        (r#"{"method":"a","method\u0000":"b"}"#, Json(NulInKey)),
        (r#"{"method":"a"}{"method":"b"}"#, Json(TrailingText)),
        (r#"{"method":"a","Method":"b"}"#, FoldedKey("Method".into())),
        (r#"{"method":"a","PARAMS":{}}"#, FoldedKey("PARAMS".into())),
        (
            "{\"method\":\"a\",\"param\u{17f}\":{}}",
            FoldedKey("param\u{17f}".into()),
        ),
        (
            "{\"method\":\"a\",\"\u{131}d\":1}",
            FoldedKey("\u{131}d".into()),
        ),
        (
            "{\"method\":\"a\",\"\u{130}d\":1}",
            FoldedKey("\u{130}d".into()),
        ),
        (
            r#"{"method":"a","method ":"b"}"#,
            FoldedKey("method ".into()),
        ),
        (
            r#"{"method":"a","me\u200bthod":"b"}"#,
            FoldedKey(r"me\u{200b}thod".into()),
        ),
        (
            "{\"method\":\"a\",\"\u{ff29}d\":1}",
            FoldedKey("\u{ff29}d".into()),
        ),
        (r#"{"method":"a","result":{}}"#, TwoKinds),
        (r#"{"method":"a","error":{}}"#, TwoKinds),
        (r#"{"method":["tools/call"]}"#, MethodNotAString),
        (r#"{"id":1}"#, NoKind),
        (r#""tools/call""#, NotAnObject),
    ] {
        assert_eq!(error_of(text), error, "{text}");
    }
}

// JSON-RPC 2.0, section 7: "rpc call with an invalid Batch (but not empty)".
#[test]
fn a_batch_entry_that_is_not_an_object_is_not_a_message() {
    for text in ["1", "-0.5", r#""x""#, "true", "null", "[]", r#"[{"id":1}]"#] {
        let error = read_message(text).unwrap_err();
        assert_eq!(error.error, MessageError::NotAnObject, "{text}");
        assert_eq!(error.id, None, "{text}");
    }
    for text in ["", "tru", "1 1", "[1,]"] {
        let error = read_message(text).unwrap_err().error;
        assert!(matches!(error, MessageError::Json(_)), "{text}: {error:?}");
    }
}

#[test]
fn an_unreadable_request_keeps_its_id_unless_that_is_doubtful() {
    let id_of = |text| read_line(text).unwrap_err().id;
    assert_eq!(
        id_of(r#"{"id":7,"method":"a","method":"b"}"#),
        Some(RequestId::Integer(7))
    );
    assert_eq!(id_of(r#"{"id":7,"id":8,"method":"a"}"#), None);
    assert_eq!(id_of(r#"{"id":{},"method":1}"#), None);
}

#[test]
fn ids_are_compared_by_meaning() {
    let id = |text: &str| message(text).id;
    assert_eq!(
        id(r#"{"method":"a","id":1}"#),
        id(r#"{"method":"a","id":1.0}"#)
    );
    assert_eq!(
        id(r#"{"method":"a","id":"a"}"#),
        id(r#"{"method":"a","id":"\u0061"}"#)
    );
    assert_ne!(
        id(r#"{"method":"a","id":1}"#),
        id(r#"{"method":"a","id":"1"}"#)
    );
    let long = "123456789012345678901234567890";
    let text = format!(r#"{{"method":"a","id":{long}}}"#);
    let Id::Some(id) = message(&text).id else {
        panic!("no id")
    };
    assert_eq!(id.to_string(), long);
    assert!(id.is_usable());
    assert!(!RequestId::from_number("1.5").is_usable());
}

#[test]
fn members_that_the_protocol_does_not_define_are_noticed() {
    assert!(!message(r#"{"jsonrpc":"2.0","method":"a","extra":1}"#).is_plain);
    assert!(!message(r#"{"jsonrpc":"1.0","method":"a"}"#).is_plain);
    assert!(!message(r#"{"method":"a"}"#).is_plain);
}

#[test]
fn a_results_id_is_read_from_either_end_without_reading_the_result() {
    let id = |line: &str| peek_result_id(line.as_bytes());
    assert_eq!(
        id(r#"{"jsonrpc":"2.0","id":7,"result":{"x":1}}"#),
        Some(RequestId::Integer(7))
    );
    assert_eq!(
        id(r#"{"result":{"x":1},"jsonrpc":"2.0","id":"a-b"}"#),
        Some(RequestId::Text("a-b".into()))
    );
    for line in [
        r#"{"jsonrpc":"2.0","id":7,"method":"elicitation/create"}"#,
        r#"{"jsonrpc":"2.0","id":7,"error":{}}"#,
        r#"{"jsonrpc":"2.0","id":"a,b","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"\u0061","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1.0,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":null,"result":{}}"#,
        r#"{"result":{},"id":7}"#,
        r#"[{"jsonrpc":"2.0","id":7,"result":{}}]"#,
        r#"{"result":{"jsonrpc":"2.0","id":7}}"#,
        "",
    ] {
        assert_eq!(id(line), None, "{line}");
    }
}

#[test]
fn too_many_members_or_entries_are_refused_quickly() {
    let members: Vec<String> = (0..100_000).map(|i| format!(r#""k{i}":1"#)).collect();
    let text = format!(r#"{{"id":7,"method":"m",{}}}"#, members.join(","));
    assert_eq!(error_of(&text), MessageError::TooManyMembers);
    let text = format!("[{}1]", "1,".repeat(1_000_000));
    assert_eq!(error_of(&text), MessageError::TooManyEntries);
}

#[test]
fn an_overlong_messages_id_is_found_at_either_end() {
    let seven = Some(RequestId::Integer(7));
    let found = |head: &str, tail: &str| id_at_the_ends(head.as_bytes(), tail.as_bytes());
    assert_eq!(
        found(r#"{"jsonrpc":"2.0","id":7,"result":{"a":"xxx"#, "xxx\"}}"),
        seven
    );
    assert_eq!(
        found(r#"{"id": 7,"jsonrpc":"2.0","params":{"x"#, "xxx\"}}"),
        seven
    );
    assert_eq!(
        found(r#"{"result":{"a":"xxx"#, r#"xx"},"jsonrpc":"2.0","id":7}"#),
        seven
    );
    assert_eq!(
        found(r#"{"error":{"a":"xxx"#, r#"xx"},"id":7,"jsonrpc":"2.0"}"#),
        seven
    );
    assert_eq!(
        found(
            r#"{"method":"m","params":{"id":8,"a":"xxx"#,
            r#"xx","id":8}}"#
        ),
        None
    );
    assert_eq!(found(r#"[{"id":7"#, "xxx"), None);
    assert_eq!(found("", ""), None);
}

#[test]
fn a_calls_parameters_are_read_in_one_pass_if_possible() {
    let tree = |text| match message(text).kind {
        Kind::Call { params, tree, .. } => (params, tree),
        Kind::Response { .. } => panic!("not a call"),
    };
    let text = r#"{"method":"tools/call","params":{"name":"a"},"id":1}"#;
    let (params, read) = tree(text);
    assert_eq!(params, Some(r#"{"name":"a"}"#));
    assert_eq!(read, Some(Value::parse(r#"{"name":"a"}"#).unwrap()));
    // An error inside the parameters does not keep the id from being read.
    let text = r#"{"method":"tools/call","params":{"a":1,"a":1},"id":1}"#;
    assert_eq!(tree(text), (Some(r#"{"a":1,"a":1}"#), None));
    assert_eq!(message(text).id, Id::Some(RequestId::Integer(1)));
    let text = r#"{"params":{"name":"a"},"method":"tools/call","id":1}"#;
    assert_eq!(tree(text), (Some(r#"{"name":"a"}"#), None));
}

proptest! {
    // The HTTP side reads the same lines as the gate, with the same errors.
    #[test]
    fn read_envelope_equals_read_line_without_the_tree(
        parts in proptest::collection::vec(prop_oneof![
            Just("{"), Just("}"), Just("["), Just("]"), Just(","), Just(":"), Just(" "),
            Just(r#""jsonrpc":"2.0""#), Just(r#""id":1"#), Just(r#""id":"a""#), Just(r#""id":1,"#),
            Just(r#""method":"tools/call""#), Just(r#""method":"tools/call","#), Just(r#""method":"x""#),
            Just(r#""params":{"name":"t","arguments":{"a":1,"b":[{}]}}"#),
            Just(r#""params":{"a":1,"a":2}"#), Just(r#""params":{"s":"\ud800"}"#), Just(r#""params":["#),
            Just(r#""params":7"#), Just(r#""result":{}"#), Just(r#""error":null"#), Just(r#""x":"y""#),
            Just(r#""Method":1"#), Just("1e9"), Just("\"open"),
        ], 0..12),
        is_wrapped in any::<bool>(),
    ) {
        let mut text = parts.join("");
        if is_wrapped {
            text = format!(r#"{{"jsonrpc":"2.0","method":"tools/call",{text}}}"#);
        }
        let mut whole = read_line(&text);
        if let Ok(Line::Message(Message { kind: Kind::Call { tree, .. }, .. })) = &mut whole {
            *tree = None;
        }
        prop_assert_eq!(whole, read_envelope(&text));
    }
}
