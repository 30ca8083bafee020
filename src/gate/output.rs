//! What the gate wants done, in order.
//!
//! Doing it is the relay's business.

use std::sync::Arc;

use super::held::Era;
use super::items::DecidedCall;
use super::permit::Permitted;
use super::refusal::Explanation;
use super::settings::EngineId;
use crate::approval;
use crate::approval::item::{Closed, Item};
use crate::approval::request::ApprovalRequest;
use crate::evidence::record::Line;
use crate::mcp::message::RequestId;

/// Bytes to send, without the newline that ends them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// The very bytes of the line that was handed in last.
    Frame,
    /// Text of the gate's own, or of a line that was handed in before.
    Text(String),
}

/// Names a released call until its line is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    pub(super) id: RequestId,
    pub(super) tool: String,
    pub(super) era: Era,
    pub(super) approval: NeededApproval,
    /// What `--explain` would add to a refusal.
    pub(super) explanation: Option<Box<Explanation>>,
}

/// Whether a released call was one that a human had to decide about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NeededApproval {
    Yes,
    No,
    /// It would have been, or would have been blocked, but for the dry run.
    DryRun,
}

impl Ticket {
    /// Whether the call needed no approval, so that `--audit-best-effort` lets it run when
    /// its line cannot be written.
    #[must_use]
    pub fn needed_no_approval(&self) -> bool {
        self.approval == NeededApproval::No
    }

    /// The call's id.
    #[must_use]
    pub fn call(&self) -> &RequestId {
        &self.id
    }

    /// Whether the call runs because somebody was shown what its message says, and nothing else.
    #[must_use]
    pub fn is_of_shown_call(&self) -> bool {
        self.approval == NeededApproval::Yes
    }
}

/// What engines outside of the client are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToEngine {
    /// A question.
    Ask {
        /// The engine that has to show it to people.
        engine: EngineId,
        /// What is shown of it.
        item: Box<Item>,
        /// Whether a browser may be opened for it. Not so while the client shows a prompt, too.
        opens_browser: bool,
    },
    /// The client that shows a prompt beside this item has been silent for long: a browser may be opened.
    OpenBrowser {
        /// The item's id.
        item: String,
    },
    /// Its call has been refused for now; it stays open.
    Park {
        /// The item's id.
        item: String,
        /// Until when, in milliseconds since 1970.
        until_ms: i64,
    },
    /// Nobody waits for it any more.
    Close {
        /// The item's id.
        item: String,
        /// Why.
        how: Closed,
    },
    /// A person decided about a call through another channel: for the history. Nobody waits for it.
    Decided(Box<DecidedCall>),
    /// About parked items that outlive their session.
    Resume(Resume),
}

/// What the inbox is told, or asked, about parked items that outlive their session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// Asks whether any session has left an item; answered by [`Resumption::IsAny`]. It is asked before a person is
    /// asked about a call, so the answer must come at once.
    IsAny,
    /// From now on, the parked item outlives its session: a session with this key may resume it, now or after a
    /// restart, once its owner has left it or has died.
    Mark {
        /// The item's id.
        item: String,
        /// What the session must have in common with this one.
        key: ResumeKey,
    },
    /// Looks for an item that the session may resume, and makes it the session's own; answered by
    /// [`Resumption::Found`]. From then on the item is as if the session had parked and marked it itself, and its
    /// verdict follows, if there is one.
    Find {
        /// Names the question; the answer names it, too.
        lookup: u64,
        /// The session's key for this call.
        key: ResumeKey,
        /// What a person would be shown of the call now. A verdict counts only for exactly that.
        request: Arc<ApprovalRequest>,
    },
    /// A call waits for the marked item from now on, so no other session may resume it any more: one yes, one run.
    /// Answered by [`Resumption::TakenUp`], once that is on disk.
    TakeUp {
        /// The item's id.
        item: String,
    },
    /// The session is over, or gives the item up. A marked item waits for another session until its time is over,
    /// with the verdict, if there is one; any other is withdrawn.
    Leave {
        /// The item's id.
        item: String,
    },
}

/// What the inbox tells about parked items that outlive their session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resumption {
    /// Whether any session has left an item that some session may resume.
    IsAny(bool),
    /// What was found.
    Found {
        /// As in [`Resume::Find`].
        lookup: u64,
        /// The item, which is the session's own now.
        parked: Option<ParkedItem>,
    },
    /// The item could not be marked, so it ends with its session, and nobody else can have it.
    Unmarked {
        /// The item's id.
        item: String,
    },
    /// Whether the item was taken up. If not, its verdict lets nothing run.
    TakenUp {
        /// The item's id.
        item: String,
        /// Whether it is so.
        is_done: bool,
    },
}

/// A parked item that a session has resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedItem {
    /// Its id.
    pub id: String,
    /// Until when it is parked, in milliseconds since 1970.
    pub until_ms: i64,
}

/// A SHA-256 digest of what a session must have in common with the one that parked an item in order to resume it, as
/// far as the session knows: the client's name and roots, the call, the tool's definition, and everything that people
/// were shown. The inbox adds who the user and the server are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResumeKey(pub [u8; 32]);

/// Why an engine cannot bring a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What can be done about it.
    pub kind: FailureKind,
    /// The reason, for the operator.
    pub why: String,
}

/// Kinds of failures: what can be done about one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Nobody answers; it may be better in a moment.
    Unreachable,
    /// It answers, but not to this.
    Rejected,
    /// It cannot work as it is configured.
    Misconfigured,
    /// It has to be asked less often.
    RateLimited,
}

impl Failure {
    /// Nobody answers.
    #[must_use]
    pub fn unreachable(why: impl Into<String>) -> Failure {
        Failure {
            kind: FailureKind::Unreachable,
            why: why.into(),
        }
    }
}

impl FailureKind {
    /// For the log, after the engine's name.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            FailureKind::Unreachable => "cannot be reached",
            FailureKind::Rejected => "did not take the question",
            FailureKind::Misconfigured => "is not set up",
            FailureKind::RateLimited => "is asked too often",
        }
    }
}

/// What engines outside of the client tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromEngine {
    /// What a human decided about an item.
    Verdict {
        /// The engine that it came through: not always the one that the item was for, since the inbox shows every
        /// item.
        engine: EngineId,
        /// The item's id.
        item: String,
        /// The decision.
        verdict: approval::item::Verdict,
    },
    /// Somebody decided about an item in a way that does not count, and it waits on: the verdict was
    /// not made with the passphrase.
    Disregarded {
        /// The item's id.
        item: String,
        /// What was decided.
        verdict: approval::item::Verdict,
    },
    /// An item has a page of its own.
    Listed {
        /// The item's id.
        item: String,
        /// Where its page is. Whoever opens it has to be logged in.
        url: String,
    },
    /// The engine cannot bring a verdict about an item.
    Failed {
        /// The item's id.
        item: String,
        /// Why.
        failure: Failure,
    },
    /// About parked items that outlive their session.
    Resume(Resumption),
}

/// One thing to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send to the client.
    ToClient(Payload),
    /// Send to the client, unless it does not keep up: a progress notification.
    Progress(String),
    /// Send to the upstream: anything but a tool call.
    ToUpstream(Permitted<Payload>),
    /// INVARIANT 1: append the line; once that is done, and only then, send the tool call
    /// to the upstream. Where it cannot be done, tell the gate with
    /// [`Gate::not_recorded`](super::Gate::not_recorded) instead.
    Release {
        /// The audit line.
        line: Line,
        /// The call.
        payload: Permitted<Payload>,
        /// Names the call.
        ticket: Ticket,
    },
    /// Append a line for which nothing is released.
    Record(Line),
    /// Put a question into the inbox, or say what became of one.
    ToEngine(ToEngine),
    /// Tell the operator, on stderr.
    Warn(String),
    /// The client has gone and nothing waits any more: close the upstream's stdin.
    CloseUpstream,
}
