//! What an agent asks: read from a tool's arguments, checked, and turned into what people are shown.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::signature;
use crate::approval::digest::CallDigest;
use crate::approval::form::Form;
use crate::approval::request::{ApprovalRequest, QuestionKind};
use crate::mcp::tool::KeptCall;
use crate::policy::Risk;

/// The largest request, in bytes of JSON.
const MAX_BYTES: usize = 256 * 1024;
/// The longest action, in characters.
const MAX_ACTION: usize = 2_000;
/// The longest idempotency key, in bytes.
const MAX_KEY: usize = 256;
/// The most recipients.
const MAX_RECIPIENTS: usize = 32;
/// How long people have by default and at most, in seconds.
pub(super) const TIMEOUT: (u64, u64) = (86_400, 604_800);
/// How long a tool call waits by default and at most, in seconds.
pub(super) const WAIT: (u64, u64) = (45, 300);
/// The name that people see in the place of a tool's.
const TOOL: &str = "request_approval";

/// A checked request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What people are shown: `action`, `summary`, `details` and `reason`, as the agent wrote them.
    shown: Map<String, Value>,
    risk: Risk,
    /// What a yes must fill in, as the agent wrote it.
    form: Option<Value>,
    /// The engines to ask; all if empty.
    pub(super) recipients: Vec<String>,
    pub(super) timeout: Duration,
    pub(super) idempotency_key: Option<String>,
}

/// Why a request cannot be asked. Names the argument.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRequest(pub(super) String);

fn bad(argument: &str, expected: impl std::fmt::Display) -> BadRequest {
    BadRequest(format!("`{argument}` must be {expected}; nobody was asked"))
}

impl Request {
    /// Reads the arguments of `request_approval`, without `wait_seconds`.
    ///
    /// # Errors
    /// [`BadRequest`]: an argument that is missing, wrong or unknown.
    pub fn read(arguments: &Map<String, Value>) -> Result<Request, BadRequest> {
        let bytes = serde_json::to_string(arguments).map_or(usize::MAX, |text| text.len());
        if bytes > MAX_BYTES {
            return Err(BadRequest(format!(
                "the request has {bytes} bytes, and at most {MAX_BYTES} are possible; shorten `details`"
            )));
        }
        let mut request = Request {
            shown: Map::new(),
            risk: Risk::Medium,
            form: None,
            recipients: Vec::new(),
            timeout: Duration::from_secs(TIMEOUT.0),
            idempotency_key: None,
        };
        for (argument, value) in arguments {
            // As if it were missing: many agents write it so.
            if value.is_null() {
                continue;
            }
            request.read_one(argument, value)?;
        }
        let action = request.shown.get("action").and_then(Value::as_str);
        match action.is_some_and(|action| !action.trim().is_empty()) {
            true => Ok(request),
            false => Err(bad("action", "a text that says what you want to do")),
        }
    }

    fn read_one(&mut self, argument: &str, value: &Value) -> Result<(), BadRequest> {
        match argument {
            "action" => {
                let text = value
                    .as_str()
                    .filter(|text| text.chars().count() <= MAX_ACTION);
                let text = text.ok_or_else(|| {
                    bad(
                        argument,
                        format!("a text of at most {MAX_ACTION} characters"),
                    )
                })?;
                self.shown.insert(argument.to_owned(), text.into());
            }
            "summary" | "reason" => {
                let text = value.as_str().ok_or_else(|| bad(argument, "a text"))?;
                self.shown.insert(argument.to_owned(), text.into());
            }
            "details" => {
                let details = value
                    .as_object()
                    .ok_or_else(|| bad(argument, "an object"))?;
                self.shown
                    .insert(argument.to_owned(), details.clone().into());
            }
            "risk" => {
                self.risk = match value.as_str() {
                    Some("low") => Risk::Low,
                    Some("medium") => Risk::Medium,
                    Some("high") => Risk::High,
                    _ => return Err(bad(argument, "`low`, `medium` or `high`")),
                };
            }
            "recipients" => {
                let list = value.as_array().filter(|list| list.len() <= MAX_RECIPIENTS);
                let names = list.and_then(|list| {
                    let names = list.iter().map(|name| name.as_str().map(str::to_owned));
                    names.collect::<Option<Vec<String>>>()
                });
                self.recipients = names.ok_or_else(|| {
                    bad(
                        argument,
                        format!("a list of at most {MAX_RECIPIENTS} names"),
                    )
                })?;
            }
            "form" => {
                Form::read(value)
                    .map_err(|error| BadRequest(format!("{error}; nobody was asked")))?;
                self.form = Some(value.clone());
            }
            "timeout_seconds" => self.timeout = seconds(argument, value, 1, TIMEOUT.1)?,
            "idempotency_key" => {
                let key = value.as_str();
                let key = key.filter(|key| !key.is_empty() && key.len() <= MAX_KEY);
                let key =
                    key.ok_or_else(|| bad(argument, format!("a text of 1 to {MAX_KEY} bytes")))?;
                self.idempotency_key = Some(key.to_owned());
            }
            _ => {
                return Err(BadRequest(format!(
                    "`{argument}` is not an argument of this tool; nobody was asked"
                )));
            }
        }
        Ok(())
    }

    /// Returns what makes this request the same as another one: all of it but its key.
    pub(super) fn body(&self) -> String {
        let mut body = json!({
            "shown": self.shown,
            "risk": self.risk.as_str(),
            "recipients": self.recipients,
            "timeout_seconds": self.timeout.as_secs(),
        });
        if let (Some(form), Some(members)) = (&self.form, body.as_object_mut()) {
            members.insert("form".to_owned(), form.clone());
        }
        body.to_string()
    }

    /// Reads what [`Request::body`] returned.
    pub(super) fn from_body(body: &str) -> Option<Request> {
        let body: Value = serde_json::from_str(body).ok()?;
        let mut arguments = body.get("shown")?.as_object()?.clone();
        for member in ["risk", "recipients", "timeout_seconds"] {
            arguments.insert(member.to_owned(), body.get(member)?.clone());
        }
        let form = body.get("form").cloned();
        arguments.extend(form.map(|form| ("form".to_owned(), form)));
        Request::read(&arguments).ok()
    }

    /// Returns the action.
    pub(super) fn action(&self) -> &str {
        self.shown
            .get("action")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Returns the digest of the action and the details, as signatures cover it.
    pub(super) fn digest(&self) -> String {
        let member = |name: &str| self.shown.get(name).cloned().unwrap_or_default();
        signature::digest(&json!({"action": member("action"), "details": member("details")}))
    }

    /// Returns what people are shown, by the name of the agent.
    ///
    /// # Errors
    /// [`BadRequest`] if it cannot be shown.
    pub(super) fn approval_request(&self, agent: &str) -> Result<ApprovalRequest, BadRequest> {
        let call = json!({
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": TOOL, "arguments": self.shown},
        });
        let call = KeptCall::read(&call.to_string());
        let call = call.ok_or_else(|| BadRequest("the request cannot be shown".to_owned()))?;
        let digest = CallDigest::of(agent, &call.params(), None);
        Ok(ApprovalRequest {
            server: agent.into(),
            tool: TOOL.into(),
            is_listed: true,
            risk: self.risk,
            why: Cow::Borrowed("the agent says so"),
            round: QuestionKind::Advisory,
            title: None,
            description: None,
            hints: String::new(),
            call,
            digest,
            client: Some(Arc::from(agent)),
            client_title: None,
            covers: Duration::ZERO,
            form: self.form.as_ref().map(|form| form.to_string().into()),
        })
    }
}

/// Reads a number of seconds.
pub(super) fn seconds(
    argument: &str,
    value: &Value,
    least: u64,
    most: u64,
) -> Result<Duration, BadRequest> {
    let span = value
        .as_f64()
        .filter(|span| (least as f64..=most as f64).contains(span));
    match span.and_then(|span| Duration::try_from_secs_f64(span).ok()) {
        Some(span) => Ok(span),
        None => Err(bad(
            argument,
            format!("a number of seconds from {least} to {most}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: Value) -> Result<Request, String> {
        let Value::Object(arguments) = json else {
            panic!("not an object");
        };
        Request::read(&arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn a_request_survives_the_store() {
        let request = read(json!({
            "action": "Pay 40 €", "summary": "hosting", "details": {"n": 1e21, "a": ["ü"]},
            "reason": null, "risk": "high", "recipients": ["ops"], "timeout_seconds": 60,
            "form": {"type": "object", "properties": {"po": {"type": "string"}}, "required": ["po"]},
        }))
        .unwrap();
        assert_eq!(Request::from_body(&request.body()), Some(request));
    }

    #[test]
    fn each_bad_argument_is_named_and_nobody_is_asked() {
        for (arguments, argument) in [
            (json!({}), "action"),
            (json!({"action": ""}), "action"),
            (json!({"action": "  "}), "action"),
            (json!({"action": 7}), "action"),
            (json!({"action": "x".repeat(MAX_ACTION + 1)}), "action"),
            (json!({"action": "x", "summary": 1}), "summary"),
            (json!({"action": "x", "details": "text"}), "details"),
            (json!({"action": "x", "risk": "huge"}), "risk"),
            (json!({"action": "x", "recipients": "ops"}), "recipients"),
            (json!({"action": "x", "recipients": [1]}), "recipients"),
            (
                json!({"action": "x", "timeout_seconds": 604_801}),
                "timeout_seconds",
            ),
            (
                json!({"action": "x", "timeout_seconds": -1}),
                "timeout_seconds",
            ),
            (
                json!({"action": "x", "timeout_seconds": "1"}),
                "timeout_seconds",
            ),
            (
                json!({"action": "x", "idempotency_key": ""}),
                "idempotency_key",
            ),
            (json!({"action": "x", "approved": true}), "approved"),
            (
                json!({"action": "x", "form": {"type": "object", "properties": {"o": {"type": "object"}}}}),
                "/properties/o/type",
            ),
            (
                json!({"action": "x", "details": {"a": "x".repeat(MAX_BYTES)}}),
                "details",
            ),
        ] {
            let error = read(arguments).unwrap_err();
            assert!(error.contains(&format!("`{argument}`")), "{error}");
        }
    }
}
