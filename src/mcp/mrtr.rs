//! Multi round-trip requests (MCP 2026-07-28): a question as the result of a call, and the retry
//! that answers it.
//!
//! The gate decides what to ask and whether a `requestState` is valid.

use super::elicit;
use super::json::{JsonError, Reader, Text, Value, write_string};
use super::message::{Kind, RequestId, read_message};
use super::revision::ElicitationFormat;

/// The parameter that carries the answers of a client's user.
pub const INPUT_RESPONSES: &str = "inputResponses";
/// The parameter, also a member of a result, that the client returns unchanged.
pub const REQUEST_STATE: &str = "requestState";
/// The key of our own question. A result is either ours or the upstream's, so our key never appears
/// next to the upstream's and the two cannot be confused.
pub const QUESTION: &str = "approval-proxy";

/// The `resultType` of a question.
const INPUT_REQUIRED: &str = "input_required";

/// Writes the result that asks the client's user `message` and has the client return `state`.
///
/// SPEC 2026-07-28, elicitation: "Form mode elicitation requests MUST either specify
/// `mode: "form"` or omit the `mode` field".
#[must_use]
pub fn question(id: &RequestId, message: &str, state: &str) -> String {
    input_required(id, state, message.len(), |out| {
        elicit::write_params(message, ElicitationFormat::V2026_07_28, out);
    })
}

/// Writes the result that sends the client's user to `url` and has the client return `state`.
///
/// SPEC 2026-07-28, elicitation: "URL mode elicitation requests MUST specify `mode: "url"`, a
/// `message`, and include these additional parameters: `url`".
#[must_use]
pub fn invitation(id: &RequestId, url: &str, message: &str, state: &str) -> String {
    input_required(id, state, url.len() + message.len(), |out| {
        elicit::write_url_params(url, message, None, out);
    })
}

/// `length` is roughly how many bytes `params` writes.
fn input_required(
    id: &RequestId,
    state: &str,
    length: usize,
    params: impl FnOnce(&mut String),
) -> String {
    let mut out = String::with_capacity(length + state.len() + 1024);
    out.push_str(r#"{"jsonrpc":"2.0","id":"#);
    id.write(&mut out);
    out.push_str(r#","result":{"resultType":"input_required","inputRequests":{"#);
    write_string(QUESTION, &mut out);
    out.push_str(r#":{"method":"#);
    write_string(elicit::CREATE, &mut out);
    out.push_str(r#","params":"#);
    params(&mut out);
    out.push_str(r#"}},"requestState":"#);
    write_string(state, &mut out);
    out.push_str("}}");
    out
}

/// What a proxy needs to know about an upstream's question to the client.
#[derive(Debug, PartialEq, Eq)]
pub struct InputRequired {
    /// The upstream's own state, if it has one.
    pub state: Option<String>,
}

/// Reads the text of a `result`; `None` if it is not a question.
///
/// Also `None` if readers could read the text differently. What the client then returns is not
/// ours, and is never forwarded.
#[must_use]
pub fn read_result(result: &str) -> Option<InputRequired> {
    let mut kinds = Vec::new();
    let mut states = Vec::new();
    let mut reader = Reader::new(result);
    let read = reader.object(|reader, key| match &*key.decode() {
        "resultType" => {
            kinds.push(reader.skip()?);
            Ok(())
        }
        REQUEST_STATE => {
            states.push(reader.skip()?);
            Ok(())
        }
        _ => reader.skip().map(drop),
    });
    read.and_then(|()| reader.end()).ok()?;
    let ([kind], [] | [_]) = (&kinds[..], &states[..]) else {
        return None;
    };
    if string(kind)? != INPUT_REQUIRED {
        return None;
    }
    match states.first() {
        None => Some(InputRequired { state: None }),
        Some(state) => Some(InputRequired {
            state: Some(string(state)?),
        }),
    }
}

/// Writes an upstream's question as the answer to `id`, with `state` in place of the upstream's.
/// `None` if `result` is not an object.
#[must_use]
pub fn with_state(id: &RequestId, result: &str, state: &str) -> Option<String> {
    let mut out = String::with_capacity(result.len() + state.len() + 128);
    out.push_str(r#"{"jsonrpc":"2.0","id":"#);
    id.write(&mut out);
    out.push_str(r#","result":"#);
    write_object(result, &[REQUEST_STATE], Some(state), &mut out).ok()?;
    out.push('}');
    Some(out)
}

/// What to do with a retry's `inputResponses` before it goes to the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Responses {
    /// They answer the upstream.
    Keep,
    /// They answered us.
    Strip,
}

/// Rewrites a `tools/call` for the upstream: with another `requestState`, or none. Every other
/// member of `params` and of the envelope stays as it was written.
///
/// `None` if [`read_message`] does not read it as a call.
#[must_use]
pub fn retry_for_upstream(text: &str, state: Option<&str>, responses: Responses) -> Option<String> {
    let message = read_message(text).ok()?;
    let Kind::Call {
        params: Some(params),
        ..
    } = message.kind
    else {
        return None;
    };
    // `params` is a slice of `text`.
    let start = params.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let (head, rest) = text.split_at_checked(start)?;
    let tail = rest.get(params.len()..)?;
    let strip: &[&str] = match responses {
        Responses::Keep => &[REQUEST_STATE],
        Responses::Strip => &[REQUEST_STATE, INPUT_RESPONSES],
    };
    let mut out = String::with_capacity(text.len() + state.map_or(0, str::len));
    out.push_str(head);
    write_object(params, strip, state, &mut out).ok()?;
    out.push_str(tail);
    Some(out)
}

/// Appends an object without the members in `strip`, and with a `requestState` if one is given.
fn write_object(
    object: &str,
    strip: &[&str],
    state: Option<&str>,
    out: &mut String,
) -> Result<(), JsonError> {
    let mut members: Vec<(Text<'_>, &str)> = Vec::new();
    let mut reader = Reader::new(object);
    reader.object(|reader, key| {
        let value = reader.skip()?;
        if !strip.contains(&&*key.decode()) {
            members.push((key, value));
        }
        Ok(())
    })?;
    reader.end()?;
    out.push('{');
    for (i, (key, value)) in members.iter().enumerate() {
        out.push_str(if i > 0 { ",\"" } else { "\"" });
        out.push_str(key.raw());
        out.push_str("\":");
        out.push_str(value);
    }
    if let Some(state) = state {
        out.push_str(if members.is_empty() { "" } else { "," });
        write_string(REQUEST_STATE, out);
        out.push(':');
        write_string(state, out);
    }
    out.push('}');
    Ok(())
}

/// Decodes a JSON string; `None` for other values, and for half a surrogate pair, which would not
/// be returned unchanged.
fn string(text: &str) -> Option<String> {
    Some(Value::parse(text).ok()?.as_str()?.into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_question_is_a_result_with_one_request_and_a_state() {
        let text = question(&RequestId::Integer(7), "Run \"it\"?", "s");
        let written: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(written["id"], 7);
        let result = &written["result"];
        assert_eq!(result["resultType"], "input_required");
        assert_eq!(result["requestState"], "s");
        let requests = result["inputRequests"].as_object().unwrap();
        assert_eq!(requests.len(), 1);
        let request = &requests[QUESTION];
        assert_eq!(request["method"], "elicitation/create");
        assert_eq!(request["params"]["mode"], "form");
        assert_eq!(request["params"]["message"], "Run \"it\"?");
        assert_eq!(request.get("id"), None);
        assert_eq!(request["params"].get("elicitationId"), None);
    }

    #[test]
    fn only_a_result_that_clearly_asks_is_a_question() {
        let state = |text| read_result(text).map(|found| found.state);
        assert_eq!(
            state(r#"{"resultType":"input_required","requestState":"a\u0062"}"#),
            Some(Some("ab".into()))
        );
        assert_eq!(
            state(r#"{"inputRequests":{},"resultType":"input_requ\u0069red"}"#),
            Some(None)
        );
        for text in [
            r#"{"content":[]}"#,
            r#"{"resultType":"complete","requestState":"a"}"#,
            r#"{"resultType":"input_required","requestState":7}"#,
            r#"{"resultType":"input_required","requestState":null}"#,
            r#"{"resultType":"complete","resultType":"input_required"}"#,
            r#"{"resultType":"input_required","requestState":"a","requestState":"b"}"#,
            r#"{"resultType":["input_required"]}"#,
            "7",
            "{",
        ] {
            assert_eq!(read_result(text), None, "{text}");
        }
    }

    #[test]
    fn a_wrapped_question_differs_in_its_state_only() {
        let result = r#"{"resultType":"input_required", "inputRequests":{"k":{"n":1.0}},"requestState":"theirs","x":null}"#;
        assert_eq!(
            with_state(&RequestId::Text("a".into()), result, "ours").unwrap(),
            r#"{"jsonrpc":"2.0","id":"a","result":{"resultType":"input_required","inputRequests":{"k":{"n":1.0}},"x":null,"requestState":"ours"}}"#
        );
        assert_eq!(
            with_state(&RequestId::Integer(1), "{}", "ours").unwrap(),
            r#"{"jsonrpc":"2.0","id":1,"result":{"requestState":"ours"}}"#
        );
    }

    #[test]
    fn a_retry_reaches_the_upstream_with_its_own_state_and_answers() {
        let text = r#"{"id":1.0,"method":"tools/call","params":{"name":"t","\u0061rguments":{"n": 10000000000000000000000},"inputResponses":{"k":1},"req\u0075estState":"ours"},"jsonrpc":"2.0"}"#;
        assert_eq!(
            retry_for_upstream(text, Some("their\"s"), Responses::Keep).unwrap(),
            r#"{"id":1.0,"method":"tools/call","params":{"name":"t","\u0061rguments":{"n": 10000000000000000000000},"inputResponses":{"k":1},"requestState":"their\"s"},"jsonrpc":"2.0"}"#
        );
        assert_eq!(
            retry_for_upstream(text, None, Responses::Strip).unwrap(),
            r#"{"id":1.0,"method":"tools/call","params":{"name":"t","\u0061rguments":{"n": 10000000000000000000000}},"jsonrpc":"2.0"}"#
        );
        let read: Value =
            serde_json::from_str(&retry_for_upstream(text, None, Responses::Keep).unwrap())
                .unwrap();
        assert_eq!(read["params"]["inputResponses"], json!({"k": 1}));
        assert_eq!(retry_for_upstream("{}", None, Responses::Keep), None);
    }
}
