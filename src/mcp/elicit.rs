//! `elicitation/create` for a yes or no, and the reading of its answer.
//!
//! What is asked, and what follows from the answer, is decided elsewhere.

use super::json::{Value, write_string};
use super::lenient::folds_to_one_of;
use super::message::RequestId;
use super::revision::ElicitationWords;

/// The method that asks the client's user.
pub const CREATE: &str = "elicitation/create";
/// The longest reason that is taken from a human, in characters.
pub const MAX_REASON: usize = 1_000;

/// What came back for a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Action `accept` and `approved` exactly `true`.
    Approved {
        /// What the human wrote.
        reason: Option<String>,
    },
    /// A form filled in with a no, or not filled in.
    Refused {
        /// What the human wrote.
        reason: Option<String>,
        /// How the client put it.
        how: No,
    },
    /// A result that answers nothing: the client failed to ask.
    Invalid(Fault),
    /// A JSON-RPC error: the client could not ask.
    Failed {
        /// The error's message.
        message: String,
    },
}

/// The ways to answer without a yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum No {
    /// `approved` is false.
    NotApproved,
    /// Action `decline`.
    Declined,
    /// Action `cancel`: neither yes nor no.
    Dismissed,
}

impl No {
    /// Whether somebody said no.
    #[must_use]
    pub fn is_said(self) -> bool {
        matches!(self, No::NotApproved | No::Declined)
    }

    /// For the log.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            No::NotApproved => "not approved",
            No::Declined => "declined",
            No::Dismissed => "dismissed",
        }
    }
}

/// Why a result answers nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `approved` is no boolean.
    NotABoolean,
    /// There is no `approved`.
    Missing,
    /// It is no answer to what was asked.
    Unreadable,
}

impl Fault {
    /// For the client and the log.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Fault::NotABoolean => "`approved` is not a boolean",
            Fault::Missing => "`approved` is missing",
            Fault::Unreadable => "the answer cannot be read",
        }
    }
}

/// Writes the request that asks for `approved`, in the words of a revision.
///
/// SPEC 2025-06-18, 2025-11-25: "the schema is restricted to flat objects with primitive
/// properties only". Nothing is pre-ticked: there is no default.
#[must_use]
pub fn create_request(id: &RequestId, message: &str, words: ElicitationWords) -> String {
    // Its line breaks and quotes take two bytes each.
    let escaped = message.len() + message.len() / 16;
    let mut out = String::with_capacity(escaped + SCHEMA.len() + 160);
    out.push_str(r#"{"jsonrpc":"2.0","id":"#);
    id.write(&mut out);
    out.push_str(r#","method":"elicitation/create","params":"#);
    write_params(message, words, &mut out);
    out.push('}');
    out
}

/// Appends the `params` of `elicitation/create`.
pub(super) fn write_params(message: &str, words: ElicitationWords, out: &mut String) {
    out.push_str(r#"{"message":"#);
    write_string(message, out);
    out.push_str(r#","requestedSchema":"#);
    out.push_str(SCHEMA);
    match words {
        // SPEC 2025-06-18 has no `mode` key.
        ElicitationWords::V2025_06_18 => {}
        ElicitationWords::V2025_11_25 | ElicitationWords::V2026_07_28 => {
            out.push_str(r#","mode":"form""#);
        }
    }
    out.push('}');
}

/// Writes the request that sends the client's user to a URL.
///
/// SPEC 2025-11-25, "URL Mode Elicitation Requests". `elicitation` names it for
/// [`complete_notification`].
#[must_use]
pub fn url_request(id: &RequestId, elicitation: &str, url: &str, message: &str) -> String {
    let mut out = String::from(r#"{"jsonrpc":"2.0","id":"#);
    id.write(&mut out);
    out.push_str(r#","method":"elicitation/create","params":"#);
    write_url_params(url, message, Some(elicitation), &mut out);
    out.push('}');
    out
}

/// Appends the `params` of `elicitation/create` that send the client's user to a URL. Only
/// SPEC 2025-11-25 has an `elicitationId`.
pub(super) fn write_url_params(
    url: &str,
    message: &str,
    elicitation: Option<&str>,
    out: &mut String,
) {
    out.push_str(r#"{"mode":"url","#);
    if let Some(elicitation) = elicitation {
        out.push_str(r#""elicitationId":"#);
        write_string(elicitation, out);
        out.push(',');
    }
    out.push_str(r#""url":"#);
    write_string(url, out);
    out.push_str(r#","message":"#);
    write_string(message, out);
    out.push('}');
}

/// Writes the notification that what a URL was opened for is done.
#[must_use]
pub fn complete_notification(elicitation: &str) -> String {
    let mut out = String::from(
        r#"{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"#,
    );
    write_string(elicitation, &mut out);
    out.push_str("}}");
    out
}

/// What a client's user makes of being sent to a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// The URL is opened.
    Accepted,
    /// The user said no.
    Declined,
    /// Neither.
    None,
}

/// Reads the `result` of a response to [`url_request`].
#[must_use]
pub fn read_consent(result: Option<&str>) -> Consent {
    let value = result.and_then(|text| Value::parse(text).ok());
    let action = value
        .as_ref()
        .and_then(|value| value.get("action")?.as_str());
    match action.as_deref() {
        Some("accept") => Consent::Accepted,
        Some("decline") => Consent::Declined,
        Some(_) | None => Consent::None,
    }
}

/// The schema of the form, as JSON; the same for every prompt.
const SCHEMA: &str = concat!(
    r#"{"type":"object","properties":{"approved":{"type":"boolean","title":"Approve","#,
    r#""description":"Yes: the call as shown may run. No: it is refused."},"#,
    r#""reason":{"type":"string","title":"Reason","#,
    r#""description":"Optional, sent with the box above and kept in the audit log. "#,
    r#"Clients send nothing with Decline."}},"required":["approved"]}"#,
);

/// Reads the members `result` and `error` of a response to [`create_request`].
///
/// INVARIANT 3: what is not clearly a yes is a no.
#[must_use]
pub fn read_answer(result: Option<&str>, error: Option<&str>) -> Answer {
    match (result, error) {
        (Some(result), None) => read_result(result),
        (None, Some(error)) => Answer::Failed {
            message: Value::parse(error)
                .ok()
                .and_then(|error| error.get("message")?.as_str().map(|m| shorten(&m)))
                .unwrap_or_else(|| "an error without a message".to_owned()),
        },
        (Some(_), Some(_)) | (None, None) => Answer::Invalid(Fault::Unreadable),
    }
}

fn read_result(text: &str) -> Answer {
    let unreadable = Answer::Invalid(Fault::Unreadable);
    // Our own reader, not rmcp's model, which would keep one of two equal keys.
    let Ok(value) = Value::parse(text) else {
        return unreadable;
    };
    let content = value.get("content").map_or(&[][..], Value::members);
    let folded = |members: &[(super::json::Text<'_>, Value<'_>)], known: &[&str]| {
        members
            .iter()
            .any(|(key, _)| folds_to_one_of(&key.decode(), known))
    };
    if folded(value.members(), &["action", "content"]) || folded(content, &["approved", "reason"]) {
        return unreadable;
    }
    let member = |key| content.iter().find(|(name, _)| name.is(key));
    let member = |key| member(key).map(|(_, value)| value);
    let reason = member("reason").and_then(Value::as_str);
    let reason = reason
        .as_deref()
        .map(str::trim)
        .filter(|reason| !reason.is_empty())
        .map(shorten);
    let how = match value.get("action").and_then(Value::as_str).as_deref() {
        Some("accept") => match member("approved") {
            Some(Value::Bool(true)) => return Answer::Approved { reason },
            Some(Value::Bool(false)) => No::NotApproved,
            Some(_) => return Answer::Invalid(Fault::NotABoolean),
            None => return Answer::Invalid(Fault::Missing),
        },
        Some("decline") => No::Declined,
        Some("cancel") => No::Dismissed,
        _ => return unreadable,
    };
    Answer::Refused { reason, how }
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(text: &str) -> Answer {
        read_answer(Some(text), None)
    }

    #[test]
    fn approved_means_accept_and_exactly_true() {
        assert_eq!(
            result(r#"{"action":"accept","content":{"approved":true,"reason":" fine "}}"#),
            Answer::Approved {
                reason: Some("fine".into())
            }
        );
        for (text, how) in [
            (
                r#"{"action":"accept","content":{"approved":false}}"#,
                No::NotApproved,
            ),
            (
                r#"{"action":"decline","content":{"approved":true}}"#,
                No::Declined,
            ),
            (
                r#"{"action":"cancel","content":{"approved":true}}"#,
                No::Dismissed,
            ),
        ] {
            let reason = None;
            assert_eq!(result(text), Answer::Refused { reason, how }, "{text}");
        }
    }

    #[test]
    fn an_answer_that_is_neither_yes_nor_no_is_invalid() {
        for (text, fault) in [
            (
                r#"{"action":"accept","content":{"approved":"true"}}"#,
                Fault::NotABoolean,
            ),
            (
                r#"{"action":"accept","content":{"approved":1}}"#,
                Fault::NotABoolean,
            ),
            (
                r#"{"action":"accept","content":{"approved":null}}"#,
                Fault::NotABoolean,
            ),
            (
                r#"{"action":"accept","content":{"Approved":true}}"#,
                Fault::Unreadable,
            ),
            (
                r#"{"action":"accept","content":{"approved":true,"Approved":false}}"#,
                Fault::Unreadable,
            ),
            (
                r#"{"action":"accept","content":{"approved":true,"approved":true}}"#,
                Fault::Unreadable,
            ),
            (r#"{"action":"accept","content":{}}"#, Fault::Missing),
            (r#"{"action":"accept","content":null}"#, Fault::Missing),
            (r#"{"action":"accept","content":[true]}"#, Fault::Missing),
            (r#"{"action":"accept","content":true}"#, Fault::Missing),
            (r#"{"action":"accept"}"#, Fault::Missing),
            (r#"{"action":"accept","approved":true}"#, Fault::Missing),
            (
                r#"{"action":"ACCEPT","content":{"approved":true}}"#,
                Fault::Unreadable,
            ),
            (
                r#"{"action":"accept","Action":"decline","content":{"approved":true}}"#,
                Fault::Unreadable,
            ),
            (
                r#"{"action":"accepted","content":{"approved":true}}"#,
                Fault::Unreadable,
            ),
            (
                r#"{"action":["accept"],"content":{"approved":true}}"#,
                Fault::Unreadable,
            ),
            (r#"{"content":{"approved":true}}"#, Fault::Unreadable),
            (r#"{}"#, Fault::Unreadable),
            (r#"null"#, Fault::Unreadable),
            (r#"true"#, Fault::Unreadable),
        ] {
            assert_eq!(result(text), Answer::Invalid(fault), "{text}");
        }
        let yes = r#"{"action":"accept","content":{"approved":true}}"#;
        let unreadable = Answer::Invalid(Fault::Unreadable);
        assert_eq!(read_answer(Some(yes), Some("{}")), unreadable);
        assert_eq!(read_answer(None, None), unreadable);
    }

    #[test]
    fn a_refusal_keeps_the_humans_reason() {
        assert_eq!(
            result(r#"{"action":"accept","content":{"approved":false,"reason":"wrong table"}}"#),
            Answer::Refused {
                reason: Some("wrong table".into()),
                how: No::NotApproved
            }
        );
    }

    #[test]
    fn an_error_means_that_the_client_could_not_ask() {
        assert_eq!(
            read_answer(None, Some(r#"{"code":-32603,"message":"no window"}"#)),
            Answer::Failed {
                message: "no window".into()
            }
        );
        assert!(matches!(
            read_answer(None, Some("7")),
            Answer::Failed { .. }
        ));
    }

    #[test]
    fn the_form_is_what_rmcp_reads_and_would_write() {
        let schema: rmcp::model::ElicitationSchema = serde_json::from_str(SCHEMA).unwrap();
        assert_eq!(serde_json::to_string(&schema).unwrap(), SCHEMA);
    }

    #[test]
    fn the_mode_key_is_absent_in_2025_06_18_and_form_in_2025_11_25() {
        let id = RequestId::Text("q".into());
        let request = |words| -> serde_json::Value {
            serde_json::from_str(&create_request(&id, "m", words)).unwrap()
        };
        let old = request(ElicitationWords::V2025_06_18);
        assert_eq!(old["params"].get("mode"), None);
        let new = request(ElicitationWords::V2025_11_25);
        // rmcp's model, which knows what the specification allows, reads both.
        for request in [&old, &new] {
            let params: rmcp::model::ElicitRequestParams =
                serde_json::from_value(request["params"].clone()).unwrap();
            assert!(matches!(
                params,
                rmcp::model::ElicitRequestParams::FormElicitationParams { message, .. } if message == "m"
            ));
        }
        assert_eq!(new["params"]["mode"], "form");
        for request in [old, new] {
            let schema = &request["params"]["requestedSchema"];
            assert_eq!(schema["type"], "object");
            assert_eq!(schema["required"], serde_json::json!(["approved"]));
            assert_eq!(schema["properties"]["approved"]["type"], "boolean");
            assert_eq!(schema["properties"]["reason"]["type"], "string");
            assert_eq!(schema["properties"]["approved"].get("default"), None);
        }
    }
}
