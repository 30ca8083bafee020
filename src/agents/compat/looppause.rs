//! The two tools of @looppause/mcp: one asks and returns at once, the other says how it stands.
//!
//! Nothing goes to the hosted service. Recipients come from the configuration alone, and who may decide from the engines:
//! an agent chooses among destinations, and never an approver.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rmcp::model::Tool;
use serde_json::{Map, Value, json};

use crate::agents::addressed::Addressed;
use crate::agents::approvals::{Approvals, ApprovalsError};
use crate::agents::outcome::{Outcome, Status, moment};
use crate::agents::request::{BadRequest, Request};
use crate::agents::signature::{SIGNATURE, digest, sign};
use crate::agents::tools::tool;
use crate::approval::display::in_backticks;
use crate::engines::inbox::store::StoredApproval;
use crate::sys::secret::Secret;

/// The tools.
pub struct LoopPause {
    approvals: Arc<Approvals>,
    recipients: Vec<Addressed>,
    /// What a yes fills in.
    form: Option<Value>,
    /// Signs decisions.
    secret: Option<Secret>,
}

/// How long people have by default and at most, in hours.
const HOURS: (f64, f64) = (24.0, 168.0);
/// What decisions call the agent, which has no name there.
const AGENT: &str = "mcp-agent";

const REQUEST: &str = "Ask a person for approval before you act. Returns a `pause_id` at once; then call `check_approval` \
    with it until `status` is no longer `pending`. Proceed only if `response.decision` is `approved`.";
const CHECK: &str = "Look whether a person has decided. While `status` is `pending`, wait and call it again. Proceed only \
    if `status` is `responded` and `response.decision` is `approved`; on anything else, do not act, and say why.";

impl fmt::Debug for LoopPause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopPause")
            .field("recipients", &self.recipients)
            .finish_non_exhaustive()
    }
}

impl LoopPause {
    /// Creates the tools. `approvals` ask through the engines of these `recipients`; a yes fills in the `form`, and the
    /// secret signs decisions.
    #[must_use]
    pub fn new(
        approvals: Arc<Approvals>,
        recipients: Vec<Addressed>,
        form: Option<Value>,
        secret: Option<Secret>,
    ) -> LoopPause {
        LoopPause {
            approvals,
            recipients,
            form,
            secret,
        }
    }

    pub(in crate::agents) fn tools() -> &'static [Tool] {
        static TOOLS: OnceLock<[Tool; 2]> = OnceLock::new();
        TOOLS.get_or_init(|| {
            let request = json!({
                "type": "object",
                "properties": {
                    "action_description": {"type": "string", "description": "What you want to do, in one sentence"},
                    "action_details": {"type": "object", "additionalProperties": {"type": "string"}, "description": "The exact data: amounts, names, files, commands"},
                    "recipient_email": {"type": "string", "description": "The mail address to ask; only those that the configuration allows"},
                    "recipient_slack": {"type": "string", "description": "The channel or the person in Slack to ask; only those that the configuration allows"},
                    "timeout_hours": {"type": "number", "exclusiveMinimum": 0, "maximum": HOURS.1, "default": HOURS.0, "description": "How long the person has, in hours"},
                },
                "required": ["action_description", "action_details"],
                "additionalProperties": false,
            });
            let check = json!({
                "type": "object",
                "properties": {"pause_id": {"type": "string", "description": "What `request_approval` returned"}},
                "required": ["pause_id"],
                "additionalProperties": false,
            });
            [
                tool("request_approval", "Request an approval", REQUEST, request, false),
                tool("check_approval", "Check an approval", CHECK, check, true),
            ]
        })
    }

    pub(in crate::agents) async fn call(
        &self,
        name: &str,
        arguments: &Map<String, Value>,
    ) -> Result<Value, ApprovalsError> {
        match name {
            "request_approval" => self.request(arguments),
            _ => self.check(arguments).await,
        }
    }

    fn request(&self, arguments: &Map<String, Value>) -> Result<Value, ApprovalsError> {
        let request = self.read(arguments)?;
        let id = self.approvals.request(&request)?;
        let stored = self.approvals.find(&id)?;
        Ok(json!({
            "pause_id": id,
            "status": "pending",
            "expires_at": moment(stored.expires_ms),
            "MANDATORY_NEXT_STEP": format!(
                "Do not act yet: a person is being asked. Call check_approval with pause_id \"{id}\" until its status is no \
                 longer pending, and act only if the decision is approved."
            ),
        }))
    }

    fn read(&self, arguments: &Map<String, Value>) -> Result<Request, BadRequest> {
        let mut wanted = Map::new();
        let mut engines = Vec::new();
        let mut hours = HOURS.0;
        let (mut slack, mut mail) = (None, None);
        for (argument, value) in arguments {
            match argument.as_str() {
                _ if value.is_null() => {}
                "action_description" => {
                    wanted.insert("action".to_owned(), value.clone());
                }
                "action_details" => {
                    wanted.insert("details".to_owned(), texts(value)?);
                }
                "recipient_slack" => slack = Some(self.recipient(argument, "slack", value)?),
                "recipient_email" => mail = Some(self.recipient(argument, "email", value)?),
                "timeout_hours" => hours = time(value)?,
                _ => {
                    return Err(BadRequest(format!(
                        "{} is not an argument of this tool; nobody was asked",
                        in_backticks(argument)
                    )));
                }
            }
        }
        if !wanted.contains_key("details") {
            return Err(bad("action_details", "an object of texts"));
        }
        // In this order they are asked.
        engines.extend(slack.into_iter().chain(mail).map(Value::from));
        if engines.is_empty() {
            let why =
                "`recipient_slack` or `recipient_email` must say whom to ask; nobody was asked";
            return Err(BadRequest(why.to_owned()));
        }
        wanted.insert("recipients".to_owned(), engines.into());
        let form = self.form.clone();
        wanted.extend(form.map(|form| ("form".to_owned(), form)));
        // Our own requests have at least one second.
        let seconds = (hours * 3_600.0).max(1.0);
        wanted.insert("timeout_seconds".to_owned(), seconds.into());
        let read = Request::read(&wanted);
        read.map_err(|BadRequest(why)| BadRequest(why.replace("`action`", "`action_description`")))
    }

    /// Returns the name of the engine that asks a recipient of the configuration.
    fn recipient(&self, argument: &str, kind: &str, value: &Value) -> Result<&str, BadRequest> {
        let Some(wanted) = value.as_str() else {
            return Err(bad(argument, "a text"));
        };
        let mut known = self.recipients.iter();
        let found = known.find(|known| known.kind == kind && known.recipient == wanted);
        // Does not list the others: the agent need not know them.
        found.map(|found| found.engine.name()).ok_or_else(|| {
            BadRequest(format!(
                "`{argument}` is {}, which `allowedRecipients` of the configuration does not hold, or no engine reaches; \
                 nobody was asked",
                in_backticks(wanted)
            ))
        })
    }

    async fn check(&self, arguments: &Map<String, Value>) -> Result<Value, ApprovalsError> {
        let id = match (
            arguments.len(),
            arguments.get("pause_id").and_then(Value::as_str),
        ) {
            (1, Some(id)) if !id.is_empty() => id,
            _ => {
                let why = "`pause_id` must be the id that `request_approval` returned, and nothing else is taken";
                return Err(BadRequest(why.to_owned()).into());
            }
        };
        let known = match self.approvals.find(id) {
            Err(ApprovalsError::Unknown) => {
                let why = "there is no approval with this `pause_id`";
                return Err(BadRequest(why.to_owned()).into());
            }
            known => known?,
        };
        let outcome = self.approvals.wait(id, Duration::ZERO).await?;
        match outcome.status {
            Status::Pending => Ok(json!({"status": "pending"})),
            Status::Expired => Ok(json!({"status": "timed_out"})),
            Status::Cancelled => Ok(json!({"status": "expired"})),
            Status::Error => {
                let why = outcome.reason.unwrap_or_default();
                let why = format!("nobody can decide any more, so do not act: {why}");
                Err(BadRequest(why).into())
            }
            Status::Approved | Status::Denied => Ok(self.responded(&known, &outcome)),
        }
    }

    fn responded(&self, known: &StoredApproval, outcome: &Outcome) -> Value {
        let channel = outcome.engine.as_deref().unwrap_or_default();
        let mut addressed = self.recipients.iter();
        let addressed = addressed.find(|known| known.engine.name() == channel);
        let mut response = members([
            (
                "decision",
                match outcome.status {
                    Status::Approved => "approved",
                    Status::Denied
                    | Status::Pending
                    | Status::Expired
                    | Status::Cancelled
                    | Status::Error => "rejected",
                }
                .into(),
            ),
            (
                "comment",
                outcome.reason.as_deref().unwrap_or_default().into(),
            ),
            ("fields", outcome.fields.clone().into()),
            (
                "responder",
                outcome
                    .approver
                    .as_deref()
                    .unwrap_or("somebody without a name")
                    .into(),
            ),
            ("responded_at", outcome.decided_at.clone().into()),
            (
                "channel",
                addressed.map_or(channel, |known| known.kind).into(),
            ),
            (
                "nonce",
                outcome.nonce.clone().unwrap_or_else(|| nonce(known)).into(),
            ),
            (SIGNATURE, Value::Null),
        ]);
        if let Some(secret) = &self.secret {
            sign(&mut response, secret);
        }
        let mut responded = members([
            ("status", "responded".into()),
            ("pause_id", known.id.clone().into()),
            ("agent_id", AGENT.into()),
            ("created_at", moment(known.asked_ms).into()),
            ("expires_at", moment(known.expires_ms).into()),
            ("response", response.into()),
        ]);
        if let Some(secret) = &self.secret {
            let bound = bound(known, &responded, secret);
            responded.insert("request_signature".to_owned(), bound);
        }
        responded.into()
    }
}

fn members<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    let members = members.into_iter();
    members
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Returns what tells a decision from all others. The same each time that the agent looks.
fn nonce(known: &StoredApproval) -> String {
    let text = format!("nonce of {}", known.id);
    digest(&text.into())
        .chars()
        .skip("sha256:".len())
        .take(32)
        .collect()
}

/// Returns our own signature of a decision. It covers everything that the agent gets, and what people were shown, so that
/// the decision cannot be moved to another action. Members are sorted at every level.
fn bound(known: &StoredApproval, responded: &Map<String, Value>, secret: &Secret) -> Value {
    let body: Value = serde_json::from_str(&known.body).unwrap_or_default();
    let mut whole = responded.clone();
    for (member, shown) in [
        ("action_description", "/shown/action"),
        ("action_details", "/shown/details"),
    ] {
        let shown = body.pointer(shown).cloned().unwrap_or_default();
        whole.insert(member.to_owned(), shown);
    }
    sign(&mut whole, secret);
    whole.remove(SIGNATURE).unwrap_or_default()
}

fn bad(argument: &str, expected: &str) -> BadRequest {
    BadRequest(format!("`{argument}` must be {expected}; nobody was asked"))
}

/// Returns an object of texts.
fn texts(value: &Value) -> Result<Value, BadRequest> {
    let members = value.as_object();
    match members.is_some_and(|members| members.values().all(Value::is_string)) {
        true => Ok(value.clone()),
        false => Err(bad("action_details", "an object of texts")),
    }
}

/// Reads a number of hours.
fn time(value: &Value) -> Result<f64, BadRequest> {
    let hours = value.as_f64();
    let hours = hours.filter(|hours| *hours > 0.0 && *hours <= HOURS.1);
    hours.ok_or_else(|| {
        let most = HOURS.1;
        bad(
            "timeout_hours",
            &format!("a number of hours, more than 0 and at most {most}"),
        )
    })
}

#[cfg(test)]
mod tests;
