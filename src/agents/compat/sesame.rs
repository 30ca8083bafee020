//! The tool of sesame-mcp: one call that waits for the person's decision.
//!
//! Our own engines ask, or a broker. Nothing of the decision but its status reaches the agent.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rmcp::model::Tool;
use serde_json::{Map, Value, json};

use crate::agents::approvals::{Approvals, ApprovalsError};
use crate::agents::outcome::Status;
use crate::agents::request::{BadRequest, Request, TIMEOUT, seconds};
use crate::agents::tools::tool;
use crate::agents::untold::Untold;
use crate::engines::broker_client::{BrokerClient, BrokerStatus};
use crate::gate::Failure;
use crate::sys::with_causes;

/// The tool.
#[derive(Debug)]
pub struct Sesame(Asks);

/// Who asks people.
#[derive(Debug)]
enum Asks {
    Engines(Arc<Approvals>),
    Broker(BrokerClient),
}

/// A call's arguments, checked.
struct Call {
    request: Request,
    /// What a broker gets.
    body: Value,
    /// How long the call waits.
    time: Duration,
}

/// How long a call waits by default, in seconds. At most as long as people have.
const WAIT: u64 = 300;
const TIME: &str = "timeout_seconds";

const DESCRIPTION: &str = "Ask a person for approval before you act, and wait for the decision. Proceed only if `status` \
    is `approved`. On anything else, do not act, and say why: `timeout` means that nobody has decided yet.";

impl Sesame {
    /// Creates the tool. Our own engines ask.
    #[must_use]
    pub fn new(approvals: Arc<Approvals>) -> Sesame {
        Sesame(Asks::Engines(approvals))
    }

    /// Creates the tool. A broker asks.
    #[must_use]
    pub fn of_broker(broker: BrokerClient) -> Sesame {
        Sesame(Asks::Broker(broker))
    }

    pub(in crate::agents) fn tools() -> &'static [Tool] {
        static TOOLS: OnceLock<[Tool; 1]> = OnceLock::new();
        TOOLS.get_or_init(|| {
            let schema = json!({
                "type": "object",
                "properties": {
                    "action": {"type": "string", "description": "What you want to do, in one sentence"},
                    "summary": {"type": "string", "description": "What the person should know"},
                    "reason": {"type": "string", "description": "Why you want to do it"},
                    TIME: {"type": "number", "minimum": 0, "maximum": TIMEOUT.0, "default": WAIT, "description": "How long to wait for the person, in seconds"},
                },
                "required": ["action", "summary"],
                "additionalProperties": false,
            });
            let title = "Request an approval";
            [tool("request_approval", title, DESCRIPTION, schema, false)]
        })
    }

    pub(in crate::agents) async fn call(
        &self,
        arguments: &Map<String, Value>,
    ) -> Result<Value, ApprovalsError> {
        let call = Call::read(arguments)?;
        match &self.0 {
            Asks::Engines(approvals) => ask(approvals, &call).await,
            Asks::Broker(broker) => Ok(ask_broker(broker, &call).await),
        }
    }
}

impl Call {
    fn read(arguments: &Map<String, Value>) -> Result<Call, BadRequest> {
        let mut body = Map::new();
        let mut time = Duration::from_secs(WAIT);
        for (argument, value) in arguments {
            match argument.as_str() {
                _ if value.is_null() => {}
                "action" | "summary" | "reason" => {
                    body.insert(argument.clone(), value.clone());
                }
                TIME => time = seconds(TIME, value, 0, TIMEOUT.0)?,
                _ => {
                    return Err(BadRequest(format!(
                        "`{}` is not an argument of this tool; nobody was asked",
                        argument.escape_debug()
                    )));
                }
            }
        }
        let request = Request::read(&body)?;
        let summary = body.get("summary").and_then(Value::as_str);
        if summary.is_none_or(|summary| summary.trim().is_empty()) {
            let why =
                "`summary` must be a text that says what the person should know; nobody was asked";
            return Err(BadRequest(why.to_owned()));
        }
        Ok(Call {
            request,
            body: Value::Object(body),
            time,
        })
    }
}

async fn ask(approvals: &Arc<Approvals>, call: &Call) -> Result<Value, ApprovalsError> {
    let id = match approvals.request(&call.request) {
        Ok(id) => id,
        Err(error @ ApprovalsError::Bad(_)) => return Err(error),
        Err(error) => return Ok(failed(&with_causes(&error))),
    };
    // If the client cancels the call, nobody hears of the decision any more.
    let untold = Untold::of(approvals, &id, &call.request);
    let outcome = approvals.wait(&id, call.time).await;
    untold.told();
    let status = match outcome {
        Ok(outcome) => match outcome.status {
            Status::Approved => "approved",
            Status::Denied => "denied",
            Status::Pending => "timeout",
            Status::Expired => "expired",
            Status::Cancelled | Status::Error => "error",
        },
        Err(error) => {
            tracing::error!("{}", with_causes(&error));
            "error"
        }
    };
    Ok(result(&id, status))
}

async fn ask_broker(broker: &BrokerClient, call: &Call) -> Value {
    let began = tokio::time::Instant::now();
    let broken = |failure: Failure| failed(&failure.why);
    let id = match broker.ask(&call.body, call.time).await {
        Ok(id) => id,
        Err(failure) => return broken(failure),
    };
    let left = call.time.saturating_sub(began.elapsed());
    match broker.wait(&id, left).await {
        Ok(BrokerStatus::Approved) => result(&id, "approved"),
        Ok(BrokerStatus::Denied) => result(&id, "denied"),
        Ok(BrokerStatus::Expired) => result(&id, "expired"),
        Ok(BrokerStatus::Pending) => result(&id, "timeout"),
        Err(failure) => {
            tracing::error!("{}", failure.why);
            result(&id, "error")
        }
    }
}

/// Says on stderr why nobody could be asked: the result has no place for it.
fn failed(why: &str) -> Value {
    tracing::error!("nobody was asked: {why}");
    result("", "error")
}

fn result(id: &str, status: &str) -> Value {
    json!({
        "approval_id": id,
        "status": status,
        "decided": matches!(status, "approved" | "denied"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: Value) -> Result<Call, String> {
        let Value::Object(arguments) = arguments else {
            panic!("not an object");
        };
        Call::read(&arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn only_the_arguments_of_sesame_are_taken() {
        let call = read(json!({"action": "x", "summary": "s", "reason": null})).unwrap();
        assert_eq!(call.time, Duration::from_secs(300));
        assert_eq!(call.body, json!({"action": "x", "summary": "s"}));
        for (arguments, named) in [
            (json!({"summary": "s"}), "action"),
            (json!({"action": "x"}), "summary"),
            (json!({"action": "x", "summary": " "}), "summary"),
            (json!({"action": "x", "summary": 7}), "summary"),
            (
                json!({"action": "x", "summary": "s", "reason": {}}),
                "reason",
            ),
            (json!({"action": "x", "summary": "s", TIME: -1}), TIME),
            (json!({"action": "x", "summary": "s", TIME: "9"}), TIME),
            (json!({"action": "x", "summary": "s", TIME: 86_401}), TIME),
            (
                json!({"action": "x", "summary": "s", "recipients": ["a"]}),
                "recipients",
            ),
            (
                json!({"action": "x", "summary": "s", "status": "approved"}),
                "status",
            ),
        ] {
            let error = read(arguments).err().unwrap();
            assert!(error.contains(&format!("`{named}`")), "{error}");
        }
    }

    #[test]
    fn only_a_persons_word_counts_as_decided() {
        for (status, decided) in [
            ("approved", true),
            ("denied", true),
            ("expired", false),
            ("timeout", false),
            ("error", false),
        ] {
            let wanted = json!({"approval_id": "ap_1", "status": status, "decided": decided});
            assert_eq!(result("ap_1", status), wanted);
        }
    }
}
