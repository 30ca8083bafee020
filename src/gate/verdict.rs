//! What is decided about a call: an approval or a failure, and through which engine it came.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::refusal::Refusal;
use super::settings::EngineId;
use crate::approval::item::{self, Assurance, Choice};
use crate::evidence::record::Outcome;
use crate::mcp::elicit::No;

/// What lets a call run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Approval {
    /// `Approved`, or `Timeout` if the operator chose that silence is a yes.
    pub(super) outcome: Outcome,
    pub(super) reason: Cow<'static, str>,
    pub(super) via: Via,
    /// Whether the inbox's history already has it: a call may run in several parts, or come back.
    pub(super) is_in_history: bool,
}

/// The reason recorded when a person approved without giving one.
const APPROVED: &str = "approved";

impl Approval {
    /// Creates the approval of a person who said yes.
    pub(super) fn given(reason: Option<String>, via: Via) -> Approval {
        Approval {
            outcome: Outcome::Approved,
            reason: reason.map_or(Cow::Borrowed(APPROVED), Cow::Owned),
            via,
            is_in_history: false,
        }
    }

    /// Creates the approval by silence, which the operator chose.
    pub(super) fn silence() -> Approval {
        Approval {
            outcome: Outcome::Timeout,
            reason: "nobody answered in time; the operator chose to approve then".into(),
            via: Via::ELICITATION,
            is_in_history: false,
        }
    }

    /// Creates the approval of a call that an earlier one covers.
    pub(super) fn cached() -> Approval {
        Approval {
            outcome: Outcome::Approved,
            reason: "an earlier approval covers it".into(),
            via: Via::CACHE,
            is_in_history: false,
        }
    }

    /// Returns the reason that the person gave.
    pub(super) fn reason_given(&self) -> Option<&str> {
        Some(&*self.reason).filter(|reason| *reason != APPROVED)
    }
}

/// The engine that a verdict came through, or that nobody answered on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Via {
    /// Its name in the audit log.
    pub(super) engine: &'static str,
    /// How certain it is that a person decided; `None` if none did.
    pub(super) assurance: Option<Assurance>,
    /// Who decided, by the name they gave; nobody has verified it.
    pub(super) approver: Option<Arc<str>>,
    /// How long the person lets the same call run again; zero means not at all.
    pub(super) covers: Duration,
    /// How long the client took to answer, if it did.
    pub(super) answered: Option<Duration>,
}

impl Via {
    /// An earlier approval.
    pub(super) const CACHE: Via = Via::engine(EngineId::CACHE);
    /// A prompt in the client that no person answered.
    pub(super) const ELICITATION: Via = Via::engine("elicitation");
    /// An inbox item that nobody decided about.
    pub(super) const INBOX: Via = Via::engine("inbox");

    pub(super) const fn engine(engine: &'static str) -> Via {
        Via {
            engine,
            assurance: None,
            approver: None,
            covers: Duration::ZERO,
            answered: None,
        }
    }

    /// Returns the origin of a person's answer to a prompt in the client, which took this long.
    pub(super) fn elicitation(took: Duration) -> Via {
        Via {
            assurance: Some(Assurance::CallerRelayed),
            answered: Some(took),
            ..Via::ELICITATION
        }
    }

    /// Returns the origin of a verdict that came through an out-of-band engine.
    pub(super) fn verdict(engine: EngineId, verdict: &item::Verdict) -> Via {
        Via {
            assurance: Some(verdict.assurance),
            approver: verdict.approver.as_deref().map(Arc::from),
            covers: match verdict.choice {
                Choice::Approve => verdict.cover,
                Choice::Deny => Duration::ZERO,
            },
            ..Via::engine(engine.name())
        }
    }
}

/// How a call ends that does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) outcome: Outcome,
    /// What the client is told, if anything.
    pub(super) refusal: Refusal,
    /// The engine that said so, or that nobody answered on.
    pub(super) via: Option<Via>,
    /// What the log says, if it differs from the refusal's own text.
    pub(super) log: Option<String>,
}

impl Failed {
    /// Creates an end that no engine caused.
    pub(super) fn new(outcome: Outcome, refusal: Refusal) -> Failed {
        Failed {
            outcome,
            refusal,
            via: None,
            log: None,
        }
    }

    /// Creates the end of a call that a person denied. `how` describes the no if there is no `reason`.
    pub(super) fn denied(reason: Option<String>, how: &str, via: Via) -> Failed {
        let log = reason.is_none().then(|| how.to_owned());
        Failed {
            via: Some(via),
            log,
            ..Failed::new(Outcome::Denied, Refusal::Denied { reason })
        }
    }

    /// Creates the end of a call because a person denied the same call at `at`, which counts until `until`. The item
    /// can lift that.
    pub(super) fn denied_before(
        (at, until): (Duration, Duration),
        now: Duration,
        item: Option<String>,
    ) -> Failed {
        let refusal = Refusal::DeniedBefore {
            ago: now.saturating_sub(at).as_secs(),
            left: until.saturating_sub(now).as_secs(),
            item,
        };
        Failed::new(Outcome::Denied, refusal).via(Via::CACHE)
    }

    /// Returns the reason for the log.
    pub(super) fn log_text(&self) -> String {
        self.log
            .clone()
            .unwrap_or_else(|| self.refusal.log_reason())
    }

    /// Returns the same end, caused by an engine.
    pub(super) fn via(self, via: Via) -> Failed {
        Failed {
            via: Some(via),
            ..self
        }
    }

    /// Returns the same end with another reason for the log.
    pub(super) fn with_log_text(self, log: &str) -> Failed {
        let log = Some(log.to_owned());
        Failed { log, ..self }
    }
}

/// A client's no to a question: a person's, or one that came faster than a person can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientNo {
    /// The reason that came with it.
    pub(super) reason: Option<String>,
    pub(super) how: No,
    /// How long the client had the question.
    pub(super) took: Duration,
}

impl ClientNo {
    /// Returns how the question's calls end if a person answered it.
    pub(super) fn into_denial(self) -> Failed {
        let via = Via::elicitation(self.took);
        match self.how {
            No::NotApproved | No::Declined => Failed::denied(self.reason, self.how.as_str(), via),
            No::Dismissed => Failed::new(Outcome::Denied, Refusal::Dismissed).via(via),
        }
    }

    /// Returns how they end if no person can have answered it. The question may stay open as `item`.
    pub(super) fn into_too_fast(self, item: Option<String>) -> Failed {
        let outcome = match self.how {
            No::NotApproved | No::Declined => Outcome::Denied,
            No::Dismissed => Outcome::Cancelled,
        };
        let via = Via {
            answered: Some(self.took),
            ..Via::ELICITATION
        };
        Failed::new(outcome, Refusal::TooFast { no: self, item }).via(via)
    }
}
