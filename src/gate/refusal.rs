//! Writes the texts for a refused client. No other file does.
//!
//! `evidence::record` writes the log.

use std::fmt::Write as _;

use super::handshake::CannotAsk;
use super::held::Era;
use super::output::Failure;
use super::settings::EngineId;
use super::verdict::ClientNo;
use crate::approval::display::quoted_name;
use crate::mcp::elicit::{Fault, No};
use crate::mcp::json::write_string;
use crate::mcp::message::RequestId;
use crate::policy::{Mode, Risk, RuleCode};

/// Why a readable call is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A person said no.
    Denied {
        /// The person's reason.
        reason: Option<String>,
    },
    /// A person said no to the same call a short while ago.
    DeniedBefore {
        /// How long ago, in seconds.
        ago: u64,
        /// For how many more seconds that counts.
        left: u64,
        /// The inbox item that can lift it.
        item: Option<String>,
    },
    /// A person closed the question without an answer.
    Dismissed,
    /// The client said no faster than a person can read.
    TooFast {
        /// What it said.
        no: ClientNo,
        /// The inbox item of the question, if it stays open.
        item: Option<String>,
    },
    /// A rule of the operator blocks it.
    Blocked,
    /// Nobody answered in time.
    TimedOut,
    /// There is nobody to ask.
    CannotAsk(CannotAsk),
    /// The client went away, or cancelled the call.
    Cancelled,
    /// The client began another session before the call ran.
    NewSession,
    /// The call came before the handshake was complete.
    BeforeHandshake,
    /// The client reported an error instead of showing the question; holds its message.
    ClientError(String),
    /// The client's answer is invalid.
    InvalidAnswer(Fault),
    /// The tool kept changing while people were asked.
    KeepsChanging,
    /// The tool changed between two rounds of an approved call.
    ChangedBetweenRounds,
    /// A `requestState`, or answers without one, that belongs to no question of ours.
    UnknownState,
    /// A `requestState` of ours that was already used or has expired.
    SpentState,
    /// The audit log cannot be written.
    NotRecorded,
    /// An out-of-band engine failed. `failure` says why, for the operator; an agent should not try to fix it.
    EngineFailed { engine: EngineId, failure: Failure },
    /// The verdict has less assurance than the operator requires.
    TooWeak,
    /// The call is larger than the inbox shows.
    TooLargeToShow,
    /// Nobody has answered yet; the question stays in the inbox, under this id.
    Parked(String),
}

impl Refusal {
    /// Returns what happened to the call. It continues the sentence "The call to tool … was".
    fn outcome_text(&self) -> String {
        const NEEDS: &str = "denied: it needs a person's approval, and";
        match self {
            Refusal::Denied { reason: None } => "denied by a person".into(),
            Refusal::Denied {
                reason: Some(reason),
            } => format!("denied by a person, who said: {}", quoted_words(reason)),
            Refusal::DeniedBefore { ago, left, item } => {
                let mut text = format!(
                    "denied without asking: a person denied the same call {ago} s ago, and that denial applies for \
                     another {left} s"
                );
                if let Some(item) = item {
                    // Writing to a String cannot fail.
                    let _ = write!(
                        text,
                        ". A person can lift it by approving item {item} in the approval inbox"
                    );
                }
                text
            }
            Refusal::Dismissed => {
                format!("{NEEDS} the question was dismissed without an answer")
            }
            Refusal::TooFast { no, item: None } => format!("{NEEDS} {}", too_fast(no)),
            Refusal::TooFast {
                no,
                item: Some(item),
            } => format!(
                "not run yet: {}. It is waiting for approval as item {item} in the approval inbox",
                too_fast(no)
            ),
            Refusal::Blocked => "blocked by the operator of this server".into(),
            Refusal::TimedOut => format!("{NEEDS} nobody answered in time"),
            Refusal::CannotAsk(CannotAsk::NoCapability) => format!(
                "{NEEDS} this client cannot ask for it: it does not declare the MCP capability \
                 `elicitation`"
            ),
            Refusal::CannotAsk(CannotAsk::Unanswered) => format!(
                "{NEEDS} the handshake is not complete: the server has not answered `initialize` \
                 yet"
            ),
            Refusal::CannotAsk(CannotAsk::NoHandshake) => format!(
                "{NEEDS} client and server have not agreed on a protocol revision by `initialize`"
            ),
            Refusal::CannotAsk(CannotAsk::Revision(revision)) => format!(
                "{NEEDS} protocol revision {} has no elicitation to ask for it; a client that \
                 uses 2025-06-18, 2025-11-25 or 2026-07-28 could be asked",
                quoted_words(&revision.to_string())
            ),
            Refusal::CannotAsk(CannotAsk::ClientGone) | Refusal::Cancelled => {
                format!("{NEEDS} the client has gone")
            }
            Refusal::NewSession => format!(
                "{NEEDS} the client has begun a new session with `initialize`, so answers to \
                 questions of the old session no longer count"
            ),
            Refusal::BeforeHandshake => "denied: it came before the client's `initialize`".into(),
            Refusal::CannotAsk(CannotAsk::Anonymous) => {
                format!("{NEEDS} approval-proxy does not ask HTTP clients that present no token")
            }
            Refusal::ClientError(message) => {
                format!(
                    "{NEEDS} the client could not ask: {}",
                    quoted_words(message)
                )
            }
            Refusal::InvalidAnswer(fault) => format!(
                "{NEEDS} the client's answer to the question cannot be used: {}",
                fault.as_str()
            ),
            Refusal::CannotAsk(CannotAsk::NoChannel) => {
                format!("{NEEDS} the operator has configured no way to ask for it")
            }
            Refusal::EngineFailed { engine, .. } => format!(
                "{NEEDS} {} cannot be used; the operator can find the reason in the audit log of \
                 approval-proxy",
                match *engine {
                    EngineId::INBOX => "the approval inbox".to_owned(),
                    engine => format!("the approval engine `{}`", engine.name()),
                }
            ),
            Refusal::TooLargeToShow => {
                format!("{NEEDS} it is larger than the 4 MiB that the approval inbox can show")
            }
            Refusal::TooWeak => {
                format!("{NEEDS} the verdict has less assurance than the operator requires")
            }
            Refusal::Parked(item) => format!(
                "not run yet: it is waiting for approval as item {item} in the approval inbox"
            ),
            Refusal::KeepsChanging => {
                "denied: the server kept changing the tool while a person was being asked".into()
            }
            Refusal::ChangedBetweenRounds => {
                "denied: the server has changed the tool since a person approved the call".into()
            }
            Refusal::UnknownState => format!(
                "{NEEDS} its `requestState` or `inputResponses` belong to no question about this \
                 call"
            ),
            Refusal::SpentState => format!(
                "{NEEDS} the question that its `requestState` belongs to was already answered or \
                 has expired"
            ),
            Refusal::NotRecorded => "denied: its audit record could not be written".into(),
        }
    }

    /// Returns true if the question stays open in the inbox.
    fn is_open(&self) -> bool {
        matches!(
            self,
            Refusal::Parked(_) | Refusal::TooFast { item: Some(_), .. }
        )
    }

    /// Returns how much of the call has run.
    fn what_ran(&self) -> &'static str {
        if *self == Refusal::ChangedBetweenRounds {
            "This round was not run, though the call may have run in part"
        } else if *self == Refusal::SpentState {
            "This request was not run"
        } else {
            "It was not run"
        }
    }

    /// Returns whether it makes sense for an agent to try again.
    fn retry_advice(&self) -> &'static str {
        match self {
            Refusal::BeforeHandshake => "may be tried again after that",
            Refusal::CannotAsk(CannotAsk::Unanswered) => {
                "may be tried again once the server has answered"
            }
            Refusal::CannotAsk(CannotAsk::NoHandshake) => "may be tried again after a handshake",
            Refusal::NewSession => "may be tried again in the new session",
            Refusal::NotRecorded => "may be tried again once the operator has fixed the audit log",
            Refusal::EngineFailed { .. } => "may be tried again once that is fixed",
            Refusal::TooFast { item: None, .. } => {
                "trying again will not help unless the client shows the question to a person"
            }
            Refusal::Parked(_) | Refusal::TooFast { item: Some(_), .. } => {
                "Once a person has approved it, the same call will run when it is made again"
            }
            Refusal::ChangedBetweenRounds | Refusal::UnknownState | Refusal::SpentState => {
                "may be tried again from the beginning, without `requestState` and \
                 `inputResponses`"
            }
            Refusal::Denied { .. }
            | Refusal::DeniedBefore { .. }
            | Refusal::Dismissed
            | Refusal::InvalidAnswer(_)
            | Refusal::Blocked
            | Refusal::TimedOut
            | Refusal::CannotAsk(
                CannotAsk::NoCapability
                | CannotAsk::Revision(_)
                | CannotAsk::ClientGone
                | CannotAsk::Anonymous
                | CannotAsk::NoChannel,
            )
            | Refusal::Cancelled
            | Refusal::ClientError(_)
            | Refusal::TooLargeToShow
            | Refusal::TooWeak
            | Refusal::KeepsChanging => "trying again unchanged will not help",
        }
    }

    /// Returns who or what decided, for `--explain`.
    fn source(&self) -> &'static str {
        match self {
            Refusal::Denied { .. } | Refusal::DeniedBefore { .. } | Refusal::Dismissed => "human",
            Refusal::Blocked => "policy",
            Refusal::TimedOut | Refusal::Parked(_) => "timeout",
            Refusal::TooWeak => "operator",
            Refusal::CannotAsk(_)
            | Refusal::ClientError(_)
            | Refusal::InvalidAnswer(_)
            | Refusal::EngineFailed { .. }
            | Refusal::TooLargeToShow => "no way to ask",
            Refusal::Cancelled | Refusal::NewSession | Refusal::TooFast { .. } => "client",
            Refusal::BeforeHandshake | Refusal::UnknownState | Refusal::SpentState => "protocol",
            Refusal::KeepsChanging | Refusal::ChangedBetweenRounds => "server",
            Refusal::NotRecorded => "audit log",
        }
    }

    /// Returns the reason for the log, for when the person gave none.
    pub(super) fn log_reason(&self) -> String {
        match self {
            Refusal::CannotAsk(CannotAsk::NoCapability) => {
                "the client does not declare elicitation".into()
            }
            Refusal::CannotAsk(CannotAsk::Unanswered) => {
                "the server has not answered `initialize` yet".into()
            }
            Refusal::CannotAsk(CannotAsk::NoHandshake) => {
                "no handshake has agreed on a protocol revision".into()
            }
            Refusal::CannotAsk(CannotAsk::Revision(revision)) => {
                format!("protocol revision {revision} has no elicitation")
            }
            Refusal::CannotAsk(CannotAsk::ClientGone) => "the client has gone".into(),
            Refusal::CannotAsk(CannotAsk::Anonymous) => {
                "the HTTP client presents no token; see --auth-token-file".into()
            }
            Refusal::CannotAsk(CannotAsk::NoChannel) => "no engine can ask a person".into(),
            Refusal::ClientError(message) => format!("the client could not ask: {message}"),
            Refusal::InvalidAnswer(fault) => fault.as_str().into(),
            Refusal::DeniedBefore { item: None, .. } => "an earlier denial covers it".into(),
            Refusal::DeniedBefore {
                item: Some(item), ..
            } => format!("an earlier denial covers it; parked as {item}"),
            Refusal::Dismissed => No::Dismissed.as_str().into(),
            Refusal::TooFast { no, item } => {
                let mut reason = too_fast(no);
                if let Some(item) = item {
                    // Writing to a String cannot fail.
                    let _ = write!(reason, "; parked as {item}");
                }
                reason
            }
            Refusal::EngineFailed { engine, failure } => match *engine {
                EngineId::INBOX => format!("the inbox could not be used: {}", failure.why),
                engine => format!(
                    "the engine `{}` {}: {}",
                    engine.name(),
                    failure.kind.as_str(),
                    failure.why
                ),
            },
            Refusal::TooLargeToShow => {
                "the call is larger than the 4 MiB that the inbox can show".into()
            }
            Refusal::TooWeak => "the verdict's assurance is below `requireAssurance`".into(),
            Refusal::Parked(item) => format!("nobody answered in time; parked as {item}"),
            Refusal::Denied { reason } => reason.clone().unwrap_or_else(|| "denied".into()),
            Refusal::TimedOut => "nobody answered in time".into(),
            Refusal::Cancelled => "the client has gone".into(),
            Refusal::NewSession => "the client has begun a new session".into(),
            Refusal::BeforeHandshake => "it came before the client's `initialize`".into(),
            Refusal::KeepsChanging => {
                "the tool kept changing while a person was being asked".into()
            }
            Refusal::ChangedBetweenRounds => "the tool changed since the call was approved".into(),
            Refusal::UnknownState => "its `requestState` belongs to no question about it".into(),
            Refusal::SpentState => "its `requestState` was already used or has expired".into(),
            Refusal::NotRecorded => "the audit record could not be written".into(),
            Refusal::Blocked => "blocked".into(),
        }
    }
}

/// Describes an answer that came too fast, for the client and the log.
fn too_fast(no: &ClientNo) -> String {
    let answered = match no.how {
        No::NotApproved => "answered the question with a no",
        No::Declined => "declined the question",
        No::Dismissed => "dismissed the question",
    };
    let took = no.took.as_millis();
    let mut text = format!("the client {answered} after {took} ms, faster than a person can read");
    if let Some(reason) = &no.reason {
        // Writing to a String cannot fail.
        let _ = write!(text, ", and gave the reason {}", quoted_words(reason));
    }
    text
}

/// What `--explain` adds. Without it a refusal reveals nothing about the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Explanation {
    pub(super) risk: Risk,
    pub(super) mode: Mode,
    pub(super) rule: RuleCode,
    /// The policy's reason, as text.
    pub(super) why: String,
}

/// Writes the result of a refused call: an ordinary result with `isError: true` and one text.
pub(super) fn refused_result(
    id: &RequestId,
    tool: &str,
    era: Era,
    refusal: &Refusal,
    explanation: Option<&Explanation>,
) -> String {
    let mut text = format!(
        "The call to tool {} was {}. ",
        quoted_name(tool),
        refusal.outcome_text()
    );
    // The text of a parked call already begins with "not run yet". Writing to a String cannot fail.
    let _ = if refusal.is_open() {
        write!(text, "{}.", refusal.retry_advice())
    } else {
        write!(
            text,
            "{}, and {}.",
            refusal.what_ran(),
            refusal.retry_advice()
        )
    };
    if let Some(Explanation {
        risk,
        mode,
        rule,
        why,
    }) = explanation
    {
        let _ = write!(
            text,
            " [source={}, risk={risk}, mode={mode}, rule={rule}: {why}]",
            refusal.source(),
        );
    }
    let mut out = String::from(r#"{"jsonrpc":"2.0","id":"#);
    id.write(&mut out);
    out.push_str(r#","result":{"#);
    match era {
        // `resultType` belongs to 2026-07-28.
        Era::Legacy => {}
        Era::Stateless => out.push_str(r#""resultType":"complete","#),
    }
    out.push_str(r#""content":[{"type":"text","text":"#);
    write_string(&text, &mut out);
    out.push_str(r#"}],"isError":true}}"#);
    out
}

/// Returns a text in quotes on one line, limited in length.
fn quoted_words(text: &str) -> String {
    use crate::mcp::elicit::MAX_REASON;
    crate::approval::display::quoted_text(text, MAX_REASON)
}
