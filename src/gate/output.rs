//! What the gate puts out, and what it exchanges with engines. Plain data.
//!
//! The relay carries it out.

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
    /// Exactly the bytes of the line that was passed in last.
    Frame,
    /// The gate's own text, or a line that was passed in earlier.
    Text(String),
}

/// Identifies a released call until its record is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    pub(super) id: RequestId,
    pub(super) tool: String,
    pub(super) era: Era,
    pub(super) approval: NeededApproval,
    /// What `--explain` would add to a refusal.
    pub(super) explanation: Option<Box<Explanation>>,
}

/// Whether a person had to decide about a released call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NeededApproval {
    Yes,
    No,
    /// A person would have, or it would have been blocked, but this is a dry run.
    DryRun,
}

impl Ticket {
    /// Returns true if the call needed no approval, so `--audit-best-effort` lets it run even if its record cannot be
    /// written.
    #[must_use]
    pub fn needed_no_approval(&self) -> bool {
        self.approval == NeededApproval::No
    }

    /// Returns the call's id.
    #[must_use]
    pub fn call(&self) -> &RequestId {
        &self.id
    }

    /// Returns true if the call runs because somebody was shown what its message says, and nothing else.
    #[must_use]
    pub fn is_of_shown_call(&self) -> bool {
        self.approval == NeededApproval::Yes
    }
}

/// A message to the out-of-band engines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToEngine {
    /// Ask a question.
    Ask {
        /// The engine that has to show it to people.
        engine: EngineId,
        /// What is shown of it.
        item: Box<Item>,
        /// The open item in whose place it comes. Either that one is withdrawn, or somebody has decided about it: then
        /// its verdict follows, and nothing is asked.
        replaces: Option<String>,
        /// Whether a browser may open for it. It may not while the client also shows a prompt.
        opens_browser: bool,
    },
    /// Also let this engine show an item that others show already.
    Join {
        /// The engine.
        engine: EngineId,
        /// The item's id.
        item: String,
    },
    /// A browser may now open for this item: the client that also shows a prompt has been silent for long.
    OpenBrowser {
        /// The item's id.
        item: String,
    },
    /// Keep the item open: its call was refused for now.
    Park {
        /// The item's id.
        item: String,
        /// Until when, in milliseconds since 1970.
        until_ms: i64,
    },
    /// Close the item: nobody waits for it any more.
    Close {
        /// The item's id.
        item: String,
        /// Why.
        how: Closed,
    },
    /// A person decided about a call through another engine. For the history; no call waits for this.
    Decided(Box<DecidedCall>),
    /// About parked items that outlive their session.
    Resume(Resume),
}

/// A message to the inbox about parked items that outlive their session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// Asks whether any session has left an item; answered by [`Resumption::IsAny`]. The gate asks this before every
    /// question to a person, so the answer must come at once.
    IsAny,
    /// Lets the parked item outlive its session: a session with this key may resume it, now or after a restart, once
    /// its owner has left it or died.
    Mark {
        /// The item's id.
        item: String,
        /// What the session must have in common with this one.
        key: ResumeKey,
    },
    /// Looks for an item that the session may resume, and makes it the session's own; answered by
    /// [`Resumption::Found`]. From then on it is as if the session had parked and marked the item itself. Its verdict
    /// follows, if there is one.
    Find {
        /// Identifies the lookup; the answer repeats it.
        lookup: u64,
        /// The session's key for this call.
        key: ResumeKey,
        /// What a person would be shown of the call now. A verdict counts only for exactly that.
        request: Arc<ApprovalRequest>,
    },
    /// Takes the marked item up: a call waits for it from now on, so no other session may resume it (one yes, one run).
    /// Answered by [`Resumption::TakenUp`] once that is on disk.
    TakeUp {
        /// The item's id.
        item: String,
    },
    /// Leaves the item: the session is over, or gives it up. A marked item waits for another session until it expires,
    /// with its verdict, if there is one. Any other item is withdrawn.
    Leave {
        /// The item's id.
        item: String,
    },
}

/// A message from the inbox about parked items that outlive their session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resumption {
    /// Whether any session has left an item that some session may resume.
    IsAny(bool),
    /// The result of a lookup.
    Found {
        /// As in [`Resume::Find`].
        lookup: u64,
        /// The item, which is now the session's own.
        parked: Option<ParkedItem>,
    },
    /// The item could not be marked. It ends with its session, and nobody else can have it.
    Unmarked {
        /// The item's id.
        item: String,
    },
    /// Whether the item was taken up. If not, its verdict lets nothing run.
    TakenUp {
        /// The item's id.
        item: String,
        /// True if it was.
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
    /// Whether somebody has decided already. The verdict follows, unless it does not count.
    pub is_decided: bool,
}

/// A SHA-256 digest of what a session must have in common with the one that parked an item, in order to resume it: the
/// client's name and roots, the call, the tool's definition, and everything that people were shown. The inbox adds the
/// user's and the server's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResumeKey(pub [u8; 32]);

/// Why an engine failed to bring a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What can be done about it.
    pub kind: FailureKind,
    /// The reason, for the operator.
    pub why: String,
}

/// The kinds of failures, by what can be done about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Does not respond; a later try may work.
    Unreachable,
    /// Responds, but rejects the question.
    Rejected,
    /// Cannot work as configured.
    Misconfigured,
    /// Must be asked less often.
    RateLimited,
}

impl Failure {
    /// Creates a failure of an engine that does not respond.
    #[must_use]
    pub fn unreachable(why: impl Into<String>) -> Failure {
        Failure {
            kind: FailureKind::Unreachable,
            why: why.into(),
        }
    }
}

impl FailureKind {
    /// Returns the word for the audit log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FailureKind::Unreachable => "unreachable",
            FailureKind::Rejected => "rejected",
            FailureKind::Misconfigured => "misconfigured",
            FailureKind::RateLimited => "rate-limited",
        }
    }

    /// Returns the text for the log, to follow the engine's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FailureKind::Unreachable => "cannot be reached",
            FailureKind::Rejected => "rejected the question",
            FailureKind::Misconfigured => "is misconfigured",
            FailureKind::RateLimited => "is rate-limited",
        }
    }
}

/// A message from an out-of-band engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromEngine {
    /// A person decided about an item.
    Verdict {
        /// The engine that the verdict came through. It may differ from the engine that was asked, since the inbox
        /// shows every item.
        engine: EngineId,
        /// The item's id.
        item: String,
        /// The verdict.
        verdict: approval::item::Verdict,
    },
    /// Somebody decided about an item in a way that does not count. The item stays open.
    Disregarded {
        /// The item's id.
        item: String,
        /// What was decided. Its own assurance is not to be believed.
        verdict: approval::item::Verdict,
        /// Why it does not count.
        why: &'static str,
    },
    /// An item has a page of its own.
    Listed {
        /// The item's id.
        item: String,
        /// The page's URL. Opening it requires a login.
        url: String,
    },
    /// There will be no verdict about an item from an engine.
    Failed {
        /// The engine that failed; `None` if the item itself is lost, for all engines.
        engine: Option<EngineId>,
        /// The item's id.
        item: String,
        /// Why.
        failure: Failure,
    },
    /// About parked items that outlive their session.
    Resume(Resumption),
}

/// One thing for the relay to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send to the client.
    ToClient(Payload),
    /// Send a progress notification to the client. May be dropped if the client does not keep up.
    Progress(String),
    /// Send to the upstream: anything but a tool call.
    ToUpstream(Permitted<Payload>),
    /// INVARIANT 1: append the record; only once that is done, send the tool call to the upstream. If the record cannot
    /// be appended, call [`Gate::not_recorded`](super::Gate::not_recorded) instead.
    Release {
        /// The record.
        line: Line,
        /// The call.
        payload: Permitted<Payload>,
        /// Identifies the call.
        ticket: Ticket,
    },
    /// Append a record that releases nothing.
    Record(Line),
    /// Send a message to the out-of-band engines.
    ToEngine(ToEngine),
    /// Warn the operator, on stderr.
    Warn(String),
    /// Close the upstream's stdin: the client has gone, and nothing waits any more.
    CloseUpstream,
}
