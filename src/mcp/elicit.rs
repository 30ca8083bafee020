//! Writes `elicitation/create` requests for a yes or no, and reads their answers.
//!
//! The gate decides what to ask and what an answer means for the call.

use super::json::{Value, write_string};
use super::lenient::folds_to_one_of;
use super::message::RequestId;
use super::revision::ElicitationFormat;

/// The method that asks the client's user.
pub const CREATE: &str = "elicitation/create";
/// The longest reason that is kept from a person, in characters.
pub const MAX_REASON: usize = 1_000;

/// The answer to a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Action `accept` and `approved` exactly `true`.
    Approved {
        /// What the person wrote.
        reason: Option<String>,
    },
    /// The person answered no, or dismissed the form.
    Refused {
        /// What the person wrote.
        reason: Option<String>,
        /// How the client expressed it.
        how: No,
    },
    /// A result that is no answer: the client failed to ask.
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
    /// Returns true for an explicit no.
    #[must_use]
    pub fn is_explicit(self) -> bool {
        matches!(self, No::NotApproved | No::Declined)
    }

    /// Returns the text for the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            No::NotApproved => "not approved",
            No::Declined => "declined",
            No::Dismissed => "dismissed",
        }
    }
}

/// Why a result is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `approved` is not a boolean.
    NotABoolean,
    /// `approved` is missing.
    Missing,
    /// The result does not answer the question.
    Unreadable,
}

impl Fault {
    /// Returns the text for the client and the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::NotABoolean => "`approved` is not a boolean",
            Fault::Missing => "`approved` is missing",
            Fault::Unreadable => "the answer cannot be read",
        }
    }
}

/// Writes the request that asks for `approved`, in the format of a revision.
///
/// SPEC 2025-06-18, 2025-11-25: "the schema is restricted to flat objects with primitive
/// properties only". Nothing is pre-ticked: there is no default.
#[must_use]
pub fn create_request(id: &RequestId, message: &str, format: ElicitationFormat) -> String {
    // Line breaks and quotes in it take two bytes each.
    let escaped = message.len() + message.len() / 16;
    let mut out = String::with_capacity(escaped + SCHEMA.len() + 160);
    out.push_str(r#"{"jsonrpc":"2.0","id":"#);
    id.write(&mut out);
    out.push_str(r#","method":"elicitation/create","params":"#);
    write_params(message, format, &mut out);
    out.push('}');
    out
}

/// Appends the `params` of a form-mode `elicitation/create`.
pub(super) fn write_params(message: &str, format: ElicitationFormat, out: &mut String) {
    out.push_str(r#"{"message":"#);
    write_string(message, out);
    out.push_str(r#","requestedSchema":"#);
    out.push_str(SCHEMA);
    match format {
        // SPEC 2025-06-18 has no `mode` key.
        ElicitationFormat::V2025_06_18 => {}
        ElicitationFormat::V2025_11_25 | ElicitationFormat::V2026_07_28 => {
            out.push_str(r#","mode":"form""#);
        }
    }
    out.push('}');
}

/// Writes the request that sends the client's user to a URL.
///
/// SPEC 2025-11-25, "URL Mode Elicitation Requests". [`complete_notification`] refers to the
/// request by `elicitation`.
#[must_use]
pub fn url_request(id: &RequestId, elicitation: &str, url: &str, message: &str) -> String {
    let mut out = String::from(r#"{"jsonrpc":"2.0","id":"#);
    id.write(&mut out);
    out.push_str(r#","method":"elicitation/create","params":"#);
    write_url_params(url, message, Some(elicitation), &mut out);
    out.push('}');
    out
}

/// Appends the `params` of a URL-mode `elicitation/create`. Only SPEC 2025-11-25 has an
/// `elicitationId`.
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

/// Writes the notification that the interaction at a URL is complete.
#[must_use]
pub fn complete_notification(elicitation: &str) -> String {
    let mut out = String::from(
        r#"{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"#,
    );
    write_string(elicitation, &mut out);
    out.push_str("}}");
    out
}

/// How a client's user responded to a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// The user agreed to open the URL.
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

/// The JSON schema of the form; the same for every prompt.
pub const SCHEMA: &str = concat!(
    r#"{"type":"object","properties":{"approved":{"type":"boolean","title":"Approve","#,
    r#""description":"Yes: run the call as shown. No: refuse it."},"#,
    r#""reason":{"type":"string","title":"Reason","#,
    r#""description":"Optional. Sent with your answer and kept in the audit log. "#,
    r#"Not sent if you choose Decline."}},"required":["approved"]}"#,
);

/// Reads the members `result` and `error` of a response to [`create_request`].
///
/// INVARIANT 3: anything but a clear yes is a no.
#[must_use]
pub fn read_answer(result: Option<&str>, error: Option<&str>) -> Answer {
    match (result, error) {
        (Some(result), None) => read_result(result),
        (None, Some(error)) => Answer::Failed {
            message: Value::parse(error)
                .ok()
                .and_then(|error| error.get("message")?.as_str().map(|m| shorten(&m)))
                .unwrap_or_else(|| "the error has no message".to_owned()),
        },
        (Some(_), Some(_)) | (None, None) => Answer::Invalid(Fault::Unreadable),
    }
}

fn read_result(text: &str) -> Answer {
    let unreadable = Answer::Invalid(Fault::Unreadable);
    // Our own reader, because rmcp's model would keep one of two equal keys.
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
    fn a_refusal_keeps_the_persons_reason() {
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
        let request = |format| -> serde_json::Value {
            serde_json::from_str(&create_request(&id, "m", format)).unwrap()
        };
        let old = request(ElicitationFormat::V2025_06_18);
        assert_eq!(old["params"].get("mode"), None);
        let new = request(ElicitationFormat::V2025_11_25);
        // rmcp's model, which follows the specification, reads both.
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
