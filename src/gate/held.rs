//! Calls that wait, for the tool list or for a human, and the questions they wait on.
//!
//! How one moves on is decided in `deciding` and `asking`.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::ToolAnnotations;

use super::catalogue::Definition;
use super::handshake::Offers;
use super::refusal::Refusal;
use crate::approval::cache::DedupeKey;
use crate::approval::digest::{CallDigest, DefinitionDigest};
use crate::approval::item::{self, Assurance, Choice};
use crate::approval::prompt::{Message, Round};
use crate::audit::record::Outcome;
use crate::mcp::message::RequestId;
use crate::mcp::tool::KeptCall;
use crate::policy::Decision;

/// Names a held call inside the gate; grows, so that order of arrival is order of keys.
pub(super) type HeldKey = u64;
/// Names a question inside the gate.
pub(super) type QuestionKey = u64;

/// Which way of the protocol a call is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Era {
    /// Sessions with `initialize`, up to 2025-11-25.
    Legacy,
    /// Stateless requests, from 2026-07-28 on.
    Stateless,
}

/// A `tools/call` that the upstream has not seen.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) id: RequestId,
    /// The tool's exact name.
    pub(super) tool: String,
    /// The message as the upstream shall get it: as the client wrote it, but for what a retry brought for us.
    pub(super) call: KeptCall,
    pub(super) era: Era,
    pub(super) arrived: Duration,
    pub(super) stage: Stage,
    pub(super) progress: Option<Progress>,
    /// What it was asked about as; `None` before the first decision.
    pub(super) asked_as: Option<AskedAs>,
    /// How often the definition changed under it.
    pub(super) changes: u32,
    /// How many questions of the upstream's about it have been answered; 0 for a call that has
    /// not run.
    pub(super) round: u32,
}

impl Held {
    /// What it takes, in bytes, with what it was asked about as.
    pub(super) fn bytes(&self) -> usize {
        ENTRY + self.call.bytes()
    }
}

/// What a call that waits, or is on its rounds, takes beside its text at the most: its tool's name, of
/// 1 KiB, title, of 200 characters, and description, of 4,096 characters, as they were when it was asked
/// about.
pub(super) const ENTRY: usize = 18 * 1024;

/// A call that a human let run, until the upstream is done with it.
#[derive(Debug)]
pub(super) struct Approved {
    /// The tool's exact name.
    pub(super) tool: String,
    pub(super) era: Era,
    pub(super) asked_as: AskedAs,
    /// The yes.
    pub(super) grant: Grant,
    /// As [`Held::round`].
    pub(super) round: u32,
}

/// What a held call waits for.
#[derive(Debug, Clone)]
pub(super) enum Stage {
    /// The tool list, to be decided at all.
    List,
    /// A human.
    Human(QuestionKey),
    /// The tool list, to see that what was approved is still what runs.
    Confirm(Grant),
}

/// What a question showed; a yes holds for exactly this.
#[derive(Debug, Clone)]
pub(super) struct AskedAs {
    pub(super) decision: Decision,
    /// What was said of the tool then; every channel shows that. `None` where it is unlisted.
    pub(super) definition: Option<Arc<Definition>>,
    /// Whether the list was known then. Otherwise nothing was said of the tool, and whatever it is
    /// said to be later contradicts nothing.
    pub(super) is_list_known: bool,
    pub(super) digest: CallDigest,
    pub(super) dedupe: Option<DedupeKey>,
}

impl AskedAs {
    /// The part of what was shown that the upstream may change.
    pub(super) fn of_tool(&self) -> Option<&DefinitionDigest> {
        self.definition
            .as_ref()
            .map(|definition| &definition.digest)
    }

    /// Whether a tool that is listed so now, or not at all, is still what was shown.
    pub(super) fn fits(&self, now: Option<&Arc<Definition>>) -> bool {
        !self.is_list_known || self.of_tool() == now.map(|definition| &definition.digest)
    }

    /// The upstream's hints, as far as they can be read.
    pub(super) fn annotations(&self) -> Option<&ToolAnnotations> {
        self.definition.as_ref()?.annotations.as_ref()
    }

    pub(super) fn title(&self) -> Option<&str> {
        self.definition.as_ref()?.title.as_deref()
    }

    pub(super) fn description(&self) -> Option<&str> {
        self.definition.as_ref()?.description.as_deref()
    }
}

/// Something that lets a call run.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    /// `Approved`, or `Timeout` where the operator chose that silence is a yes.
    pub(super) outcome: Outcome,
    pub(super) reason: String,
    pub(super) via: Via,
    /// Whether the inbox's history knows of it: a call may run in several parts, or come back.
    pub(super) is_in_history: bool,
}

/// What stands in for the reason of a person who approved and gave none.
pub(super) const APPROVED: &str = "approved";

impl Grant {
    /// The person's own words.
    pub(super) fn reason_given(&self) -> Option<&str> {
        Some(&*self.reason).filter(|reason| *reason != APPROVED)
    }
}

/// The channel that a verdict came through, or that a question was put to in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Via {
    /// Its name in the audit log.
    pub(super) engine: &'static str,
    /// How sure it is that a human decided; `None` where none did.
    pub(super) assurance: Option<Assurance>,
    /// For how long the human lets the same call run again; zero is not at all.
    pub(super) covers: Duration,
    /// How long after it got the question the client answered it, where it did.
    pub(super) answered: Option<Duration>,
}

impl Via {
    /// An earlier approval.
    pub(super) const CACHE: Via = Via {
        engine: "cache",
        assurance: None,
        covers: Duration::ZERO,
        answered: None,
    };

    /// A prompt in the client that no person answered.
    pub(super) const ELICITATION: Via = Via {
        engine: "elicitation",
        assurance: None,
        covers: Duration::ZERO,
        answered: None,
    };

    /// A person's answer to a prompt in the client, which took so long.
    pub(super) fn elicitation(took: Duration) -> Via {
        Via {
            assurance: Some(Assurance::CallerRelayed),
            answered: Some(took),
            ..Via::ELICITATION
        }
    }

    /// An item of the inbox that nobody decided about.
    pub(super) const INBOX: Via = Via {
        engine: "inbox",
        assurance: None,
        covers: Duration::ZERO,
        answered: None,
    };

    /// A verdict in the inbox.
    pub(super) fn verdict(verdict: &item::Verdict) -> Via {
        Via {
            assurance: Some(verdict.assurance),
            covers: match verdict.choice {
                Choice::Approve => verdict.cover,
                Choice::Deny => Duration::ZERO,
            },
            ..Via::INBOX
        }
    }
}

/// Notifications that keep a client patient.
#[derive(Debug)]
pub(super) struct Progress {
    /// The client's token, as JSON.
    pub(super) token: String,
    pub(super) sent: u32,
    pub(super) next: Duration,
}

/// How often a waiting client hears from us.
pub(super) const PROGRESS_EVERY: Duration = Duration::from_secs(10);

impl Progress {
    pub(super) fn new(token: String, now: Duration) -> Progress {
        Progress {
            token,
            sent: 0,
            next: now + PROGRESS_EVERY,
        }
    }

    /// The value of the next notification.
    ///
    /// SPEC: "The `progress` value MUST increase with each notification". Staying below
    /// 0.001 leaves room for the upstream's own values to increase after ours.
    pub(super) fn advance(&mut self, now: Duration) -> f64 {
        self.sent = self.sent.saturating_add(1);
        self.next = now + PROGRESS_EVERY;
        let sent = f64::from(self.sent);
        0.001 * sent / (sent + 1.0)
    }
}

/// One thing that a human is asked, for one call or for several identical ones.
#[derive(Debug)]
pub(super) struct Question {
    /// The calls that wait for the answer; never empty.
    pub(super) calls: Vec<HeldKey>,
    pub(super) shown: Shown,
    pub(super) message: Message,
    pub(super) round: Round,
    /// Which channel of the chain it has come to.
    pub(super) channel: usize,
    pub(super) prompt: Prompt,
    /// The item under which the inbox shows it as well, while the client's prompt is out.
    pub(super) also: Option<String>,
    /// When the human's time is over.
    pub(super) deadline: Option<Duration>,
    /// Until when its item may be parked, where the item was parked before.
    pub(super) parked_until: Option<Duration>,
    /// How many more yeses are needed, this prompt's included.
    pub(super) yeses_needed: u32,
    pub(super) retries_left: u32,
    pub(super) backoff: Duration,
}

/// Which calls a prompt shows: exactly those with this digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) digest: CallDigest,
    /// What an approval will cover beside them, where there is a TTL.
    pub(super) dedupe: Option<DedupeKey>,
    /// How a stateless request's client can ask, which counts for that request only; nothing in a
    /// session.
    pub(super) offers: Offers,
}

/// The state of the request that carries a question.
#[derive(Debug)]
pub(super) enum Prompt {
    /// It is out.
    Open { id: RequestId, delivery: Delivery },
    /// The client could not show it; it goes out again then.
    Backoff { until: Duration, error: String },
    /// It waits in the inbox.
    Inbox { item: String },
    /// It is answered, or on its way from one channel to the next.
    Nowhere,
}

/// How a call ends that does not run.
#[derive(Debug, Clone)]
pub(super) struct Failed {
    pub(super) outcome: Outcome,
    /// What the client is told, if it is told anything.
    pub(super) refusal: Refusal,
    /// The channel that said so, or that nobody answered on.
    pub(super) via: Option<Via>,
    /// What the log says, where the refusal's own words are not enough.
    pub(super) log: Option<String>,
}

impl Failed {
    /// An end that no channel has brought about.
    pub(super) fn new(outcome: Outcome, refusal: Refusal) -> Failed {
        Failed {
            outcome,
            refusal,
            via: None,
            log: None,
        }
    }

    /// A human said no; `how` says in which way, where there is no `reason`.
    pub(super) fn denied(reason: Option<String>, how: &str, via: Via) -> Failed {
        let log = reason.is_none().then(|| how.to_owned());
        Failed {
            via: Some(via),
            log,
            ..Failed::new(Outcome::Denied, Refusal::Denied { reason })
        }
    }

    /// The same end, brought about by a channel.
    pub(super) fn via(self, via: Option<Via>) -> Failed {
        Failed { via, ..self }
    }

    /// The same end, in other words for the log.
    pub(super) fn logged(self, log: &str) -> Failed {
        let log = Some(log.to_owned());
        Failed { log, ..self }
    }
}

/// Whether the client can have seen a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Some of it is still in our own queue, since this moment.
    Queued(Duration),
    /// All of it was handed to the client's pipe, at this moment.
    Delivered(Duration),
}

impl Delivery {
    /// Since when the client can have had the prompt, as far as we know.
    pub(super) fn since(self) -> Duration {
        let (Delivery::Queued(at) | Delivery::Delivered(at)) = self;
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_always_increases_and_stays_below_a_thousandth() {
        let mut progress = Progress::new("1".into(), Duration::ZERO);
        let mut last = 0.0;
        for _ in 0..100_000 {
            let value = progress.advance(Duration::ZERO);
            assert!(value > last && value < 0.001, "{value}");
            last = value;
        }
    }
}
