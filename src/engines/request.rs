//! Writes an item as JSON for programs and services, and reads their answers. Both are those of an MCP elicitation.
//!
//! docs/engines/webhook.md and docs/engines/command.md describe the format.

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value as JsonValue};

use super::courier::CarriedVerdict;
use super::disclosure::Disclosure;
use super::http::Scrub;
use crate::approval::form::accepts;
use crate::approval::item::Choice;
use crate::approval::prompt::MAX_MESSAGE;
use crate::approval::render::{Card, Markup, ShownCall, card};
use crate::gate::{Failure, FailureKind};
use crate::mcp::elicit::{self, Fault, SCHEMA};
use crate::mcp::json::{Value, raw_member, write_string};

/// The version of `request`. It changes when a reader could misread another version.
const VERSION: u32 = 1;

/// The schema if the answer cannot be a yes.
const DENIAL_SCHEMA: &str = concat!(
    r#"{"type":"object","properties":{"approved":{"type":"boolean","const":false,"title":"Approve","#,
    r#""description":"Not all of the call is shown here, so only the approval inbox can approve it."},"#,
    r#""reason":{"type":"string","title":"Reason","#,
    r#""description":"Optional. Sent with your answer and kept in the audit log."}},"#,
    r#""required":["approved"]}"#,
);

/// What is said if the message is too long for the whole call.
const CUT: &str = "Not everything is shown in this text.";

#[derive(Serialize)]
struct Document<'a> {
    mode: &'a str,
    message: &'a str,
    #[serde(rename = "requestedSchema")]
    requested_schema: &'a RawValue,
    request: Request<'a>,
}

#[derive(Serialize)]
struct Request<'a> {
    version: u32,
    /// The id of the item, also in the inbox.
    id: &'a str,
    /// The digest of the call, as in the audit log.
    call: String,
    /// SHA-256 of everything that a person is shown, in hexadecimal.
    fingerprint: String,
    server: &'a str,
    tool: &'a str,
    title: Option<&'a str>,
    description: Option<&'a str>,
    /// `high`, `medium`, `low` or `unknown`.
    risk: &'a str,
    /// Why the policy asks about this call.
    rule: &'a str,
    question: &'a str,
    hints: &'a str,
    /// How much of the call is here: `full`, `redacted` or `summary`.
    shown: &'a str,
    /// Whether the answer can be a yes.
    approvable: bool,
    /// As the client wrote them, including numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a RawValue>,
    /// The call's other parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a RawValue>,
    /// The client's name for itself. Not verified.
    client: Option<&'a str>,
    client_title: Option<&'a str>,
    /// The item's page.
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<&'a str>,
    asked: String,
    expires: Option<String>,
}

/// Returns the item as one line of JSON, without the newline. `page` is the URL of its page.
///
/// # Errors
/// If its call is not JSON.
pub(super) fn to_json(
    disclosure: &Disclosure<'_>,
    page: Option<&str>,
) -> Result<String, serde_json::Error> {
    let (item, call) = (disclosure.item(), disclosure.call());
    let invalid = <serde_json::Error as serde::de::Error>::custom::<&str>;
    let look = Card {
        markup: Markup::Plain,
        can_deny: true,
        max: MAX_MESSAGE,
        call,
        cut_notice: CUT,
    };
    let message = card(item, &look).map_err(|_| invalid("the call is not JSON"))?;
    let (text, shown) = match call {
        ShownCall::Whole | ShownCall::WithForm => (item.call.as_str(), "full"),
        ShownCall::Redacted(text) => (text, "redacted"),
        ShownCall::Hidden => ("{}", "summary"),
    };
    let parameters = parameters(text).map(RawValue::from_string).transpose()?;
    serde_json::to_string(&Document {
        mode: "form",
        message: &message.text,
        requested_schema: &match (disclosure.is_approvable(), &item.form) {
            (true, Some(form)) => with_form(form)?,
            (true, None) => RawValue::from_string(SCHEMA.to_owned())?,
            (false, _) => RawValue::from_string(DENIAL_SCHEMA.to_owned())?,
        },
        request: Request {
            version: VERSION,
            id: &item.id,
            call: format!("sha256:{}", item.digest),
            fingerprint: disclosure.fingerprint(),
            server: &item.server,
            tool: &item.tool,
            title: item.title.as_deref(),
            description: item.description.as_deref(),
            risk: item.risk.as_str(),
            rule: &item.why,
            question: &item.question,
            hints: &item.hints,
            shown,
            approvable: disclosure.is_approvable(),
            arguments: raw_member(text, &["arguments"])
                .map(serde_json::from_str)
                .transpose()?,
            parameters: parameters.as_deref(),
            client: item.client.as_deref(),
            client_title: item.client_title.as_deref(),
            page,
            asked: moment(item.asked_ms),
            expires: item.expires_ms.map(moment),
        },
    })
}

/// Returns the parameters of a call besides its name and arguments, as a JSON object; `None` if there are none.
fn parameters(call: &str) -> Option<String> {
    let call = Value::parse(call).ok()?;
    let mut out = String::new();
    for (key, value) in call.members() {
        if key.is("name") || key.is("arguments") {
            continue;
        }
        out.push(if out.is_empty() { '{' } else { ',' });
        write_string(&key.decode(), &mut out);
        out.push(':');
        value.write_canonical(&mut out);
    }
    (!out.is_empty()).then(|| out + "}")
}

/// Returns a time as in RFC 3339, UTC.
fn moment(unix_ms: i64) -> String {
    let time = DateTime::from_timestamp_millis(unix_ms).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Why a text is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadAnswer {
    /// There is nothing in it.
    Empty,
    /// Not JSON, or with something after it.
    NotJson,
    /// JSON, but neither yes nor no.
    Unclear(Fault),
}

impl BadAnswer {
    /// Returns the text for people.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            BadAnswer::Empty => "the answer is empty",
            BadAnswer::NotJson => "the answer is not one JSON object",
            BadAnswer::Unclear(fault) => fault.as_str(),
        }
    }
}

/// Reads an answer: `{"action": …, "content": {"approved": …, "reason": …}}`.
///
/// INVARIANT 3: only `accept` with `approved` exactly `true` is a yes.
/// INVARIANT 9: the agent reads the reason, so `scrub` removes the engine's secrets from it.
pub(super) fn read_answer(
    text: &[u8],
    approver: &str,
    scrub: &Scrub,
) -> Result<CarriedVerdict, BadAnswer> {
    let text = std::str::from_utf8(text).map_err(|_| BadAnswer::NotJson)?;
    if text.trim().is_empty() {
        return Err(BadAnswer::Empty);
    }
    // Checks the whole grammar, also of what we do not read.
    serde_json::from_str::<&RawValue>(text).map_err(|_| BadAnswer::NotJson)?;
    let (choice, reason) = match elicit::read_answer(Some(text), None) {
        elicit::Answer::Approved { reason } => (Choice::Approve, reason),
        elicit::Answer::Refused { reason, .. } => (Choice::Deny, reason),
        elicit::Answer::Invalid(fault) => return Err(BadAnswer::Unclear(fault)),
        elicit::Answer::Failed { .. } => return Err(BadAnswer::Unclear(Fault::Unreadable)),
    };
    Ok(CarriedVerdict {
        choice,
        fields: others(text, scrub),
        reason: reason.map(|reason| scrub.clean(&reason)),
        approver: Some(approver.to_owned()),
    })
}

/// Returns the members of an answer's content that are neither `approved` nor `reason`.
fn others(text: &str, scrub: &Scrub) -> Option<String> {
    let mut answer: Map<String, JsonValue> = serde_json::from_str(text).ok()?;
    let content = answer.get_mut("content")?.as_object_mut()?;
    content.retain(|member, _| !["approved", "reason"].contains(&&**member));
    for text in content.values_mut().flat_map(texts) {
        *text = scrub.clean(text);
    }
    serde_json::to_string(content).ok()
}

/// Returns the texts of a flat value.
fn texts(value: &mut JsonValue) -> Vec<&mut String> {
    match value {
        JsonValue::String(text) => vec![text],
        JsonValue::Array(values) => values.iter_mut().flat_map(texts).collect(),
        JsonValue::Null | JsonValue::Bool(_) | JsonValue::Number(_) | JsonValue::Object(_) => {
            Vec::new()
        }
    }
}

/// Makes the verdict fit the item's form: a no has no answers, and those that nobody asked for are dropped.
///
/// # Errors
/// [`NOT_FILLED_IN`].
pub(super) fn fitting(
    verdict: CarriedVerdict,
    form: Option<&str>,
) -> Result<CarriedVerdict, &'static str> {
    let is_yes = verdict.choice == Choice::Approve;
    let fields = verdict.fields.filter(|_| is_yes && form.is_some());
    match is_yes && !accepts(form, fields.as_deref()) {
        true => Err(NOT_FILLED_IN),
        false => Ok(CarriedVerdict { fields, ..verdict }),
    }
}

/// Returns the schema with the properties of a form.
fn with_form(form: &str) -> Result<Box<RawValue>, serde_json::Error> {
    let mut schema: JsonValue = serde_json::from_str(SCHEMA)?;
    let mut form: JsonValue = serde_json::from_str(form)?;
    for (all, own) in [("/properties", "properties"), ("/required", "required")] {
        match (schema.pointer_mut(all), form.get_mut(own)) {
            (Some(JsonValue::Object(all)), Some(JsonValue::Object(own))) => all.append(own),
            (Some(JsonValue::Array(all)), Some(JsonValue::Array(own))) => all.append(own),
            _ => {}
        }
    }
    serde_json::value::to_raw_value(&schema)
}

/// Why a yes does not count.
const NOT_FILLED_IN: &str =
    "its answers do not fit the form: see the properties of `requestedSchema`";
pub(super) const NOT_SHOWN: &str =
    "it approved a call that it was not shown whole; only the approval inbox can approve that";

/// What an answer can be.
#[derive(Debug)]
pub(super) struct Possible {
    /// Whether it can be a yes.
    pub(super) is_approvable: bool,
    /// The form that a yes must fill in.
    pub(super) form: Option<String>,
}

/// Reads an answer to a request that said what is possible.
///
/// # Errors
/// [`FailureKind::Rejected`] if it is no answer, or a yes although that was not possible.
pub(super) fn verdict(
    text: &[u8],
    approver: &str,
    possible: &Possible,
    scrub: &Scrub,
) -> Result<CarriedVerdict, Failure> {
    let rejected = |why: &str| Failure {
        kind: FailureKind::Rejected,
        why: why.to_owned(),
    };
    let verdict = read_answer(text, approver, scrub).map_err(|bad| rejected(bad.as_str()))?;
    match verdict.choice == Choice::Approve && !possible.is_approvable {
        true => Err(rejected(NOT_SHOWN)),
        false => fitting(verdict, possible.form.as_deref()).map_err(rejected),
    }
}

#[cfg(test)]
mod tests;
