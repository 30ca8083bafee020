//! How an approval stands, as agents get it.

use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::signature;
use crate::approval::item::Choice;
use crate::gate::QuestionEnd;
use crate::sys::secret::Secret;

/// The state of an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// A person said yes.
    Approved,
    /// A person said no.
    Denied,
    /// Nobody has decided yet.
    Pending,
    /// Nobody decided in time.
    Expired,
    /// The agent withdrew it.
    Cancelled,
    /// Nobody could be asked, or could answer any more.
    Error,
}

impl Status {
    /// Returns the word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Approved => "approved",
            Status::Denied => "denied",
            Status::Pending => "pending",
            Status::Expired => "expired",
            Status::Cancelled => "cancelled",
            Status::Error => "error",
        }
    }
}

/// How an approval stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The state.
    pub status: Status,
    /// The person's reason, or why nobody could decide.
    pub reason: Option<String>,
    /// What the person filled in.
    pub fields: Map<String, Value>,
    /// Who decided, as in the records.
    pub approver: Option<String>,
    /// The engine that the verdict came through.
    pub engine: Option<String>,
    /// How certain it is that a person decided.
    pub assurance: Option<String>,
    /// When, in RFC 3339, UTC, with milliseconds.
    pub decided_at: Option<String>,
    /// Tells this decision from all others, if it is signed.
    #[serde(default)]
    pub nonce: Option<String>,
}

impl Outcome {
    /// Creates an outcome without a verdict.
    pub(super) fn of(status: Status, reason: Option<String>) -> Outcome {
        Outcome {
            status,
            reason,
            fields: Map::new(),
            approver: None,
            engine: None,
            assurance: None,
            decided_at: None,
            nonce: None,
        }
    }

    /// Returns true if a person decided.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        matches!(self.status, Status::Approved | Status::Denied)
    }

    /// Returns it as the store keeps it.
    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns what an agent gets. `digest` is that of the request. A decision is signed with the secret, if there is one.
    #[must_use]
    pub fn to_json(&self, approval_id: &str, digest: &str, secret: Option<&Secret>) -> Value {
        let mut members = Map::new();
        let decided = Value::from(self.is_decided());
        let texts = [
            ("reason", &self.reason),
            ("approver", &self.approver),
            ("engine", &self.engine),
            ("assurance", &self.assurance),
            ("decided_at", &self.decided_at),
        ];
        members.insert("approval_id".to_owned(), approval_id.into());
        members.insert("status".to_owned(), self.status.as_str().into());
        members.insert("decided".to_owned(), decided);
        for (member, text) in texts {
            members.insert(member.to_owned(), text.clone().into());
        }
        members.insert("fields".to_owned(), self.fields.clone().into());
        members.insert("digest".to_owned(), digest.into());
        if let (Some(secret), Some(nonce), true) = (secret, &self.nonce, self.is_decided()) {
            members.insert("nonce".to_owned(), nonce.clone().into());
            signature::sign(&mut members, secret);
        }
        members.into()
    }
}

impl From<QuestionEnd> for Outcome {
    fn from(end: QuestionEnd) -> Outcome {
        match end {
            QuestionEnd::Decided {
                choice,
                reason,
                approver,
                engine,
                assurance,
                decided_ms,
                fields,
            } => Outcome {
                fields: (fields.and_then(|fields| serde_json::from_str(&fields).ok()))
                    .unwrap_or_default(),
                approver,
                engine: Some(engine.to_owned()),
                assurance: Some(assurance.as_str().to_owned()),
                decided_at: Some(moment(decided_ms)),
                ..Outcome::of(
                    match choice {
                        Choice::Approve => Status::Approved,
                        Choice::Deny => Status::Denied,
                    },
                    reason,
                )
            },
            QuestionEnd::Expired => Outcome::of(Status::Expired, None),
            QuestionEnd::Failed(why) => Outcome::of(Status::Error, Some(why)),
        }
    }
}

/// Returns a time as in RFC 3339, UTC, with milliseconds.
pub(super) fn moment(unix_ms: i64) -> String {
    let time = DateTime::from_timestamp_millis(unix_ms).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
