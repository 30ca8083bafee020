//! Calls that wait, and what is asked about them.
//!
//! `deciding` and `ask` decide how they move on.

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

/// Identifies a held call inside the gate. Keys grow, so their order is the order of arrival.
pub(super) type HeldKey = u64;
/// Identifies a question inside the gate.
pub(super) type AskKey = u64;

/// The protocol that a call uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Era {
    /// Sessions with `initialize`, up to 2025-11-25.
    Legacy,
    /// Stateless requests, from 2026-07-28 on.
    Stateless,
}

/// A `tools/call` that has not been sent to the upstream.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) id: RequestId,
    /// The tool's exact name.
    pub(super) tool: Arc<str>,
    /// The message to send to the upstream: as the client wrote it, without what a retry added for us.
    pub(super) call: KeptCall,
    pub(super) era: Era,
    pub(super) arrived: Duration,
    pub(super) waits_for: WaitsFor,
    pub(super) progress: Option<Progress>,
    /// What a person was asked about; `None` before the first decision.
    pub(super) subject: Option<Arc<Subject>>,
    /// How often the tool's definition changed while it waited.
    pub(super) changes: u32,
    /// How many of the upstream's questions about it have been answered; 0 for a call that has not run.
    pub(super) round: u32,
    /// Whether the inbox was asked for a question that an earlier session left about it.
    pub(super) has_looked_up: bool,
}

impl Held {
    /// Returns how much memory it takes, in bytes, with its subject.
    pub(super) fn bytes(&self) -> usize {
        ENTRY + self.call.bytes()
    }
}

/// The most memory that a waiting call, or one with further rounds, takes besides its text: its tool's name (1 KiB),
/// title (200 characters) and description (4,096 characters), as they were when it was asked about.
pub(super) const ENTRY: usize = 18 * 1024;

/// An approved call that was released, until the upstream has answered it.
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
pub(super) enum WaitsFor {
    /// The tool list: nothing has been decided yet.
    ToolList,
    /// The answer to a question.
    Ask(AskKey),
    /// The inbox's answer about a question that was parked before.
    Lookup,
}

/// What a question is about: the call, and the tool's definition at that time. A yes is bound to exactly this.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    /// The tool's exact name.
    pub(super) tool: Arc<str>,
    pub(super) decision: Decision,
    /// The definition at that time, which every engine shows. `None` if the tool is unlisted.
    pub(super) definition: Option<Arc<Definition>>,
    /// Whether the list was known then. If not, no definition was shown, so a later one cannot differ from what was
    /// shown.
    pub(super) is_list_known: bool,
    pub(super) digest: CallDigest,
    /// What an approval will also cover, if there is a TTL.
    pub(super) dedupe: Option<DedupeKey>,
}

impl Subject {
    /// Returns the part of it that the upstream may change.
    pub(super) fn of_tool(&self) -> Option<&DefinitionDigest> {
        self.definition
            .as_ref()
            .map(|definition| &definition.digest)
    }

    /// Returns true if the current definition, or its absence, is still what was shown (INVARIANT 2).
    pub(super) fn is_as_shown(&self, now: Option<&Arc<Definition>>) -> bool {
        !self.is_list_known || self.of_tool() == now.map(|definition| &definition.digest)
    }

    /// Returns the upstream's hints, as far as they can be read.
    pub(super) fn annotations(&self) -> Option<&ToolAnnotations> {
        self.definition.as_ref()?.annotations.as_ref()
    }

    /// Returns why the call is asked about, as text. Always says so if the server does not list the tool, or its list
    /// is not known: then only the client vouches for the tool's name.
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

/// Progress notifications for a waiting client.
#[derive(Debug)]
pub(super) struct Progress {
    /// The client's token, as JSON.
    pub(super) token: String,
    pub(super) sent: u32,
    pub(super) next: Duration,
}

/// How often a waiting client gets a progress notification.
pub(super) const PROGRESS_EVERY: Duration = Duration::from_secs(10);

impl Progress {
    pub(super) fn new(token: String, now: Duration) -> Progress {
        Progress {
            token,
            sent: 0,
            next: now + PROGRESS_EVERY,
        }
    }

    /// Returns the value of the next notification.
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
