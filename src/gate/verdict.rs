//! What is said about a call: what lets it run, what ends it, and through which engine that came.

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
    /// `Approved`, or `Timeout` where the operator chose that silence is a yes.
    pub(super) outcome: Outcome,
    pub(super) reason: Cow<'static, str>,
    pub(super) via: Via,
    /// Whether the inbox's history knows of it: a call may run in several parts, or come back.
    pub(super) is_in_history: bool,
}

/// What stands in for the reason of a person who approved and gave none.
const APPROVED: &str = "approved";

impl Approval {
    /// A person said yes.
    pub(super) fn given(reason: Option<String>, via: Via) -> Approval {
        Approval {
            outcome: Outcome::Approved,
            reason: reason.map_or(Cow::Borrowed(APPROVED), Cow::Owned),
            via,
            is_in_history: false,
        }
    }

    /// Nobody answered, and the operator chose that silence is a yes.
    pub(super) fn silence() -> Approval {
        Approval {
            outcome: Outcome::Timeout,
            reason: "nobody answered in time; the operator chose to approve then".into(),
            via: Via::ELICITATION,
            is_in_history: false,
        }
    }

    /// An earlier approval covers the call.
    pub(super) fn cached() -> Approval {
        Approval {
            outcome: Outcome::Approved,
            reason: "an earlier approval covers it".into(),
            via: Via::CACHE,
            is_in_history: false,
        }
    }

    /// The person's own words.
    pub(super) fn reason_given(&self) -> Option<&str> {
        Some(&*self.reason).filter(|reason| *reason != APPROVED)
    }
}

/// The engine that a verdict came through, or that a question was put to in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Via {
    /// Its name in the audit log.
    pub(super) engine: &'static str,
    /// How sure it is that a person decided; `None` where none did.
    pub(super) assurance: Option<Assurance>,
    /// Who decided, as they call themselves; nobody has checked it.
    pub(super) approver: Option<Arc<str>>,
    /// For how long the person lets the same call run again; zero is not at all.
    pub(super) covers: Duration,
    /// How long after it got the question the client answered it, where it did.
    pub(super) answered: Option<Duration>,
}

impl Via {
    /// An earlier approval.
    pub(super) const CACHE: Via = Via::nobody("cache");
    /// A prompt in the client that no person answered.
    pub(super) const ELICITATION: Via = Via::nobody("elicitation");
    /// An item of the inbox that nobody decided about.
    pub(super) const INBOX: Via = Via::nobody("inbox");

    pub(super) const fn nobody(engine: &'static str) -> Via {
        Via {
            engine,
            assurance: None,
            approver: None,
            covers: Duration::ZERO,
            answered: None,
        }
    }

    /// A person's answer to a prompt in the client, which took so long.
    pub(super) fn elicitation(took: Duration) -> Via {
        Via {
            assurance: Some(Assurance::CallerRelayed),
            answered: Some(took),
            ..Via::ELICITATION
        }
    }

    /// A verdict that came through an engine outside of the client.
    pub(super) fn verdict(engine: EngineId, verdict: &item::Verdict) -> Via {
        Via {
            assurance: Some(verdict.assurance),
            approver: verdict.approver.as_deref().map(Arc::from),
            covers: match verdict.choice {
                Choice::Approve => verdict.cover,
                Choice::Deny => Duration::ZERO,
            },
            ..Via::nobody(engine.name())
        }
    }
}

/// How a call ends that does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) outcome: Outcome,
    /// What the client is told, if it is told anything.
    pub(super) refusal: Refusal,
    /// The engine that said so, or that nobody answered on.
    pub(super) via: Option<Via>,
    /// What the log says, where the refusal's own words are not enough.
    pub(super) log: Option<String>,
}

impl Failed {
    /// An end that no engine has brought about.
    pub(super) fn new(outcome: Outcome, refusal: Refusal) -> Failed {
        Failed {
            outcome,
            refusal,
            via: None,
            log: None,
        }
    }

    /// A person said no; `how` says in which way, where there is no `reason`.
    pub(super) fn denied(reason: Option<String>, how: &str, via: Via) -> Failed {
        let log = reason.is_none().then(|| how.to_owned());
        Failed {
            via: Some(via),
            log,
            ..Failed::new(Outcome::Denied, Refusal::Denied { reason })
        }
    }

    /// A person denied the very same call at `at`, which counts until `until`. A person can lift that by the item.
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

    /// What the log says.
    pub(super) fn words(&self) -> String {
        self.log
            .clone()
            .unwrap_or_else(|| self.refusal.log_reason())
    }

    /// The same end, brought about by an engine.
    pub(super) fn via(self, via: Via) -> Failed {
        Failed {
            via: Some(via),
            ..self
        }
    }

    /// The same end, in other words for the log.
    pub(super) fn logged(self, log: &str) -> Failed {
        let log = Some(log.to_owned());
        Failed { log, ..self }
    }
}

/// A client's no to a question: a person's, or one that came faster than a person can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientNo {
    /// The words that came with it.
    pub(super) reason: Option<String>,
    pub(super) how: No,
    /// How long the client had the question.
    pub(super) took: Duration,
}

impl ClientNo {
    /// How the calls of the question end if a person answered it.
    pub(super) fn of_person(self) -> Failed {
        let via = Via::elicitation(self.took);
        match self.how {
            No::NotApproved | No::Declined => Failed::denied(self.reason, self.how.as_str(), via),
            No::Dismissed => Failed::new(Outcome::Denied, Refusal::Dismissed).via(via),
        }
    }

    /// How they end if no person can have answered it; the question may be open as `item`.
    pub(super) fn of_nobody(self, item: Option<String>) -> Failed {
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
