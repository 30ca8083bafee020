//! Fuzzes the message reader: `serde_json` reads whatever it accepts in the same way.
//!
//! `gate` fuzzes what happens to a message.

use approval_proxy::mcp::elicit::{Answer, read_answer};
use approval_proxy::mcp::json::{JsonError, Value, line_text};
use approval_proxy::mcp::message::{
    Id, Kind, Line, Message, MessageError, RequestId, Unreadable, id_at_the_ends, peek_result_id,
    read_line, read_message,
};
use approval_proxy::mcp::tool::{CallToolRequestParams, ListToolsPage};

use super::readers::{fold, has_equal_keys, is_json, items, members, only, string};

/// Reads the bytes as a line, as `params`, as a result and as a plain value.
pub(crate) fn check(line: &[u8]) {
    let peeked = peek_result_id(line);
    let (head, tail) = line.split_at(line.len() / 2);
    let _ = id_at_the_ends(head, tail);
    let Ok(text) = line_text(line) else {
        let is_clean = line
            .strip_suffix(b"\r")
            .unwrap_or(line)
            .iter()
            .all(|byte| *byte >= 0x20 || *byte == b'\t');
        let is_text = std::str::from_utf8(line).is_ok_and(|text| !text.starts_with('\u{feff}'));
        assert!(!is_clean || !is_text, "a clean text was refused");
        return;
    };
    assert!(!text.contains(['\r', '\n', '\0']) && !text.starts_with('\u{feff}'));
    match read_line(text) {
        Ok(Line::Blank) => assert!(text.bytes().all(|byte| byte == b' ' || byte == b'\t')),
        Ok(Line::Message(message)) => {
            same_message(&message, text);
            if let Some(id) = peeked {
                assert_eq!(message.id, Id::Some(id));
                assert!(matches!(message.kind, Kind::Response { .. }));
            }
        }
        Ok(Line::Batch(entries)) => {
            assert_eq!(items(text).as_ref(), Some(&entries));
            for entry in entries {
                message_or_not(entry);
            }
        }
        Err(unreadable) => was_to_be_refused(&unreadable, text),
    }
    params(text);
    value(text);
    answer(text);
}

fn message_or_not(text: &str) {
    match read_message(text) {
        Ok(message) => same_message(&message, text),
        Err(unreadable) => was_to_be_refused(&unreadable, text),
    }
}

/// `serde_json` agrees if the grammar is reported as broken.
fn was_to_be_refused(unreadable: &Unreadable, text: &str) {
    if let MessageError::Json(JsonError::Syntax(_) | JsonError::TrailingText) = unreadable.error {
        assert!(!is_json(text), "{unreadable:?}");
    }
    if let MessageError::Json(JsonError::DuplicateKey) = unreadable.error
        && let Some(members) = members(text)
    {
        assert!(
            has_equal_keys(&members) || only(&members, "id").is_some(),
            "{unreadable:?}"
        );
    }
}

fn same_message(message: &Message<'_>, text: &str) {
    let members = members(text).expect("serde_json reads what was accepted");
    assert!(!has_equal_keys(&members), "equal keys");
    let known = ["jsonrpc", "id", "method", "params", "result", "error"];
    let (ours, others): (Vec<_>, Vec<_>) = members
        .iter()
        .partition(|(key, _)| known.contains(&key.as_str()));
    for (key, _) in &others {
        assert!(!known.contains(&&*fold(key)), "`{key}` folds");
        assert!(!key.contains('\0'), "`{key}` has a NUL");
    }
    let get = |key: &str| {
        let found = ours.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| *value)
    };
    match (&message.id, get("id")) {
        (Id::Absent, None) => {}
        (Id::Unusable, Some(text)) => assert!(!text.starts_with(['"', '-']), "{text}"),
        (Id::Some(id), Some(text)) => same_id(id, text),
        (id, text) => panic!("{id:?} is {text:?}"),
    }
    match &message.kind {
        Kind::Call {
            method,
            params,
            tree,
        } => {
            // The tree parsed in the same pass equals a tree of `params`.
            if let Some(tree) = tree {
                assert_eq!(method, "tools/call");
                assert_eq!(params.map(Value::parse), Some(Ok(tree.clone())));
            }
            assert_eq!(get("method").and_then(string).as_deref(), Some(&**method));
            assert_eq!(get("params"), *params);
            assert_eq!((get("result"), get("error")), (None, None));
        }
        Kind::Response { result, error } => {
            assert_eq!((get("result"), get("error")), (*result, *error));
            assert!(result.is_some() || error.is_some());
            assert_eq!(get("method"), None);
        }
    }
    let is_plain = get("jsonrpc") == Some("\"2.0\"") && others.is_empty();
    assert_eq!(message.is_plain, is_plain);
}

fn same_id(id: &RequestId, text: &str) {
    match id {
        RequestId::Text(id) => assert_eq!(string(text).as_deref(), Some(&**id)),
        RequestId::Number(token) => assert_eq!(&**token, text),
        RequestId::Integer(number) => {
            let exact = text.parse() == Ok(*number);
            // Whole numbers in another notation, if doubles represent them exactly.
            #[expect(clippy::cast_precision_loss, reason = "within 2^53 where it counts")]
            let double = text.parse() == Ok(*number as f64) && number.unsigned_abs() < 1 << 53;
            assert!(exact || double, "{number} is {text}");
        }
    }
    let mut written = String::new();
    id.write(&mut written);
    let value = Value::parse(&written).expect("what is written can be read");
    assert_eq!(RequestId::read(&value).as_ref(), Some(id));
}

fn params(text: &str) {
    let Ok(params) = CallToolRequestParams::parse(text) else {
        return;
    };
    let theirs = members(text).expect("serde_json reads what was accepted");
    same_members(&params.members, &theirs);
    let known = [
        "name",
        "arguments",
        "_meta",
        "task",
        "inputresponses",
        "requeststate",
    ];
    let exact = ["inputResponses", "requestState"];
    for (key, _) in &theirs {
        let folds = known.contains(&&*fold(key));
        assert!(
            !folds || known[..4].contains(&&**key) || exact.contains(&&**key),
            "`{key}` folds"
        );
    }
    assert_eq!(
        only(&theirs, "name").and_then(string).as_deref(),
        Some(&*params.name)
    );
}

fn value(text: &str) {
    let _ = ListToolsPage::parse(text);
    if let Ok(lossy) = Value::parse_lossy(text) {
        let mut written = String::new();
        lossy.write_canonical(&mut written);
        // Two halves of surrogates may turn two keys into equal ones.
        if let Ok(again) = Value::parse(&written) {
            is_canonical(&again, &written);
        }
    }
    match Value::parse(text) {
        Ok(value) => {
            same_value(&value, text);
            let mut written = String::new();
            value.write_canonical(&mut written);
            let again = Value::parse(&written).expect("what is written can be read");
            is_canonical(&again, &written);
        }
        Err(JsonError::Syntax(_) | JsonError::TrailingText) => assert!(!is_json(text)),
        Err(_) => {}
    }
}

fn is_canonical(value: &Value<'_>, text: &str) {
    let mut written = String::new();
    value.write_canonical(&mut written);
    assert_eq!(written, text);
}

fn same_value(value: &Value<'_>, text: &str) {
    let text = text.trim_matches([' ', '\t']);
    match value {
        Value::Null => assert_eq!(text, "null"),
        Value::Bool(value) => assert_eq!(text, value.to_string()),
        Value::Number(token) => assert_eq!(text, *token),
        Value::String(value) => assert_eq!(string(text).as_deref(), Some(&*value.decode())),
        Value::Array(values) => {
            let theirs = items(text).expect("an array");
            assert_eq!(values.len(), theirs.len());
            for (value, text) in values.iter().zip(theirs) {
                same_value(value, text);
            }
        }
        Value::Object(ours) => same_members(ours, &members(text).expect("an object")),
    }
}

fn same_members<'a>(
    ours: &[(approval_proxy::mcp::json::Text<'a>, Value<'a>)],
    theirs: &[(String, &str)],
) {
    assert_eq!(ours.len(), theirs.len());
    assert!(!has_equal_keys(theirs), "equal keys");
    for ((key, value), (their_key, text)) in ours.iter().zip(theirs) {
        assert_eq!(key.decode(), *their_key);
        same_value(value, text);
    }
}

/// What counts as a yes is also one for a strict reader.
fn answer(text: &str) {
    if let Answer::Approved { .. } = read_answer(Some(text), None) {
        assert!(is_yes(text), "{text}");
    }
}

/// Returns true if a result says yes to a reader that rejects equal keys.
pub(crate) fn is_yes(result: &str) -> bool {
    let Some(members) = members(result) else {
        return false;
    };
    let content = only(&members, "content").and_then(self::members);
    let action = only(&members, "action").and_then(string);
    action.as_deref() == Some("accept")
        && content.is_some_and(|content| only(&content, "approved") == Some("true"))
}
