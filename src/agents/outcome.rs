//! How an approval stands, as agents get it.

use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::approval::item::Choice;
use crate::gate::QuestionEnd;

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
        }
    }

    /// Returns true if a person decided.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        matches!(self.status, Status::Approved | Status::Denied)
    }

    /// Returns what an agent gets.
    #[must_use]
    pub fn to_json(&self, approval_id: &str) -> Value {
        serde_json::json!({
            "approval_id": approval_id,
            "status": self.status.as_str(),
            "decided": self.is_decided(),
            "reason": self.reason,
            "fields": self.fields,
            "approver": self.approver,
            "engine": self.engine,
            "assurance": self.assurance,
            "decided_at": self.decided_at,
        })
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
            } => Outcome {
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
