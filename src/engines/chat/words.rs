//! The words for what became of a question, and for clicks that do not count.
//!
//! Plain words of ours, without markup. Engines write names and reasons, which are not ours, in their own markup.

use crate::approval::item::{Choice, Closed};
use crate::engines::Ending;
use crate::engines::inbox::store::State;

/// Told to people whom the operator has not named.
pub(in crate::engines) const NOT_APPROVER: &str =
    "You are not an approver of this question, so your click does not count.";
/// Told about a question that no process knows.
pub(in crate::engines) const ELSEWHERE: &str = "This question is not waiting here. It was settled some time ago, or \
    it belongs to a machine that does not share its inbox with this one.";
/// Told if the message is not about what is stored.
pub(in crate::engines) const NOT_THIS: &str =
    "This message is not about the call that waits, so your click does not count.";
/// Told if somebody approves what was not shown.
pub(in crate::engines) const NOT_SHOWN: &str =
    "Not all of this call was shown here, so it can only be approved in the approval inbox.";

/// Told if a verdict did not count. `why` is a part of a sentence.
pub(in crate::engines) fn disregarded(why: &str) -> String {
    format!("An answer to this question does not count: {why}. The question is still waiting.")
}

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engines) struct Outcome<'a> {
    /// Such as "Approved".
    pub(in crate::engines) what: &'static str,
    /// A sentence that explains it.
    pub(in crate::engines) note: Option<&'static str>,
    /// Who decided, as in the records. Not ours.
    pub(in crate::engines) approver: Option<&'a str>,
    /// The engine that the verdict came through.
    pub(in crate::engines) engine: Option<&'a str>,
    /// The person's reason. Not ours.
    pub(in crate::engines) reason: Option<&'a str>,
}

/// Says what became of a question.
pub(in crate::engines) fn outcome(ending: &Ending) -> Outcome<'_> {
    let closed = |what, note| Outcome {
        what,
        note: Some(note),
        approver: None,
        engine: None,
        reason: None,
    };
    match ending {
        Ending::Decided {
            choice,
            reason,
            approver,
            engine,
        } => Outcome {
            what: match choice {
                Choice::Approve => "Approved",
                Choice::Deny => "Denied",
            },
            note: None,
            approver: approver.as_deref(),
            engine: Some(engine.name()),
            reason: reason.as_deref().filter(|reason| !reason.is_empty()),
        },
        Ending::Closed(Closed::Expired) => closed("Expired", "Nobody decided in time."),
        Ending::Closed(Closed::Withdrawn) => {
            closed("Withdrawn", "Nobody waits for an answer any more.")
        }
    }
}

/// Says what became of a question that the engine could not bring to an end.
pub(in crate::engines) fn has_failed() -> Outcome<'static> {
    Outcome {
        what: "Not waiting here any more",
        note: Some("approval-proxy lost its connection, so an answer here would not arrive."),
        approver: None,
        engine: None,
        reason: None,
    }
}

/// Tells who clicked too late. `None` if it is not known yet how the question ended.
pub(in crate::engines) fn too_late(ending: Option<&Ending>) -> &'static str {
    match ending {
        None => "This question is not waiting here any more: somebody has just answered it.",
        Some(Ending::Decided { choice, .. }) => decided(*choice),
        Some(Ending::Closed(how)) => closed(*how),
    }
}

/// Like [`too_late`], for a row of the store. Returns `None` if the item is still open.
pub(in crate::engines) fn was_in_state(state: State) -> Option<&'static str> {
    match state {
        State::Waiting | State::Parked => None,
        State::Decided(choice) => Some(decided(choice)),
        State::Closed(how) => Some(closed(how)),
    }
}

fn decided(choice: Choice) -> &'static str {
    match choice {
        Choice::Approve => "This question is not waiting here any more: it was approved already.",
        Choice::Deny => "This question is not waiting here any more: it was denied already.",
    }
}

fn closed(how: Closed) -> &'static str {
    match how {
        Closed::Expired => "This question is not waiting here any more: its time is up.",
        Closed::Withdrawn => "This question is not waiting here any more: it was withdrawn.",
    }
}
