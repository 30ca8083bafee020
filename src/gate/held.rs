//! Calls that wait, and what they were asked about as.
//!
//! How one moves on is decided in `deciding` and `ask`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::catalogue::Definition;
use super::verdict::Approval;
use crate::approval::cache::DedupeKey;
use crate::approval::digest::{CallDigest, DefinitionDigest};
use crate::mcp::ToolAnnotations;
use crate::mcp::message::RequestId;
use crate::mcp::tool::KeptCall;
use crate::policy::{Decision, Reason};

/// Names a held call inside the gate; grows, so that order of arrival is order of keys.
pub(super) type HeldKey = u64;
/// Names a question inside the gate.
pub(super) type AskKey = u64;

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
    pub(super) tool: Arc<str>,
    /// The message as the upstream shall get it: as the client wrote it, but for what a retry brought for us.
    pub(super) call: KeptCall,
    pub(super) era: Era,
    pub(super) arrived: Duration,
    pub(super) stage: Stage,
    pub(super) progress: Option<Progress>,
    /// What it was asked about as; `None` before the first decision.
    pub(super) subject: Option<Arc<Subject>>,
    /// How often the definition changed under it.
    pub(super) changes: u32,
    /// How many questions of the upstream's about it have been answered; 0 for a call that has
    /// not run.
    pub(super) round: u32,
    /// Whether the inbox was asked for a question that an earlier session left about it.
    pub(super) has_looked_up: bool,
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

/// A call that was let run, until the upstream is done with it.
#[derive(Debug)]
pub(super) struct Approved {
    pub(super) era: Era,
    pub(super) subject: Arc<Subject>,
    pub(super) approval: Approval,
    /// As [`Held::round`].
    pub(super) round: u32,
}

/// What a held call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The tool list, to be decided at all.
    List,
    /// A question.
    Asked(AskKey),
    /// What the inbox knows of a question that was parked before.
    LookedUp,
}

/// What a question is about: the call, and the tool as it was then. A yes holds for exactly this.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    /// The tool's exact name.
    pub(super) tool: Arc<str>,
    pub(super) decision: Decision,
    /// What was said of the tool then; every engine shows that. `None` where it is unlisted.
    pub(super) definition: Option<Arc<Definition>>,
    /// Whether the list was known then. Otherwise nothing was said of the tool, and whatever it is
    /// said to be later contradicts nothing.
    pub(super) is_list_known: bool,
    pub(super) digest: CallDigest,
    /// What an approval will cover beside the call, where there is a TTL.
    pub(super) dedupe: Option<DedupeKey>,
}

impl Subject {
    /// The part of it that the upstream may change.
    pub(super) fn of_tool(&self) -> Option<&DefinitionDigest> {
        self.definition
            .as_ref()
            .map(|definition| &definition.digest)
    }

    /// INVARIANT 2: whether a tool that is listed so now, or not at all, is still what was shown.
    pub(super) fn is_as_shown(&self, now: Option<&Arc<Definition>>) -> bool {
        !self.is_list_known || self.of_tool() == now.map(|definition| &definition.digest)
    }

    /// The upstream's hints, as far as they can be read.
    pub(super) fn annotations(&self) -> Option<&ToolAnnotations> {
        self.definition.as_ref()?.annotations.as_ref()
    }

    /// Why it is asked about, in words. If the server does not list the tool, or its list is not known, that
    /// is always said: the tool's name is then only the client's word.
    pub(super) fn why(&self) -> Cow<'static, str> {
        let reason = &self.decision.reason;
        let mut why = reason.text();
        let is_said = matches!(reason, Reason::Unlisted | Reason::ListUnknown);
        if self.definition.is_none() && !is_said {
            let what_is_known = match self.is_list_known {
                true => Reason::Unlisted,
                false => Reason::ListUnknown,
            };
            let words = why.to_mut();
            words.push_str("; ");
            words.push_str(&what_is_known.text());
        }
        why
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
