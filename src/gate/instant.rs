//! A client's no to a question: a person's, or one that came faster than a person can read.
//!
//! How a question stays open in the inbox is decided in `parking`, and in `rounds::inbox` for a call
//! that has been answered.

use std::time::Duration;

use super::held::{Failed, QuestionKey, Via};
use super::open_states::Asked;
use super::refusal::Refusal;
use super::state::{Gate, Now};
use crate::audit::record::Outcome;
use crate::mcp::elicit::No;

/// A client's no to a question.
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
    fn of_person(self) -> Failed {
        let via = Via::elicitation(self.took);
        match self.how {
            No::NotApproved | No::Declined => Failed::denied(self.reason, self.how.words(), via),
            No::Dismissed => Failed::new(Outcome::Denied, Refusal::Dismissed).via(Some(via)),
        }
    }

    /// How they end if no person can have answered it; the question may be open as `item`.
    fn of_nobody(self, item: Option<String>) -> Failed {
        let outcome = match self.how {
            No::NotApproved | No::Declined => Outcome::Denied,
            No::Dismissed => Outcome::Cancelled,
        };
        let via = Via {
            answered: Some(self.took),
            ..Via::ELICITATION
        };
        Failed::new(outcome, Refusal::TooFast { no: self, item }).via(Some(via))
    }
}

impl Gate {
    /// The client answered a prompt with a no. One that nobody can have given refuses the calls,
    /// too, but leaves the question open in the inbox, if there is one.
    pub(super) fn refused_by_client(&mut self, key: QuestionKey, no: ClientNo, now: Now) {
        let failed = if self.settings.is_instant(no.took) {
            no.of_nobody(self.leave_in_inbox(key, now))
        } else {
            no.of_person()
        };
        self.refuse_question(key, &failed, now);
    }

    /// The same for a question of 2026-07-28, whose answer a retry brings.
    pub(super) fn refused_by_retry(&mut self, asked: &Asked, no: ClientNo, now: Now) {
        let failed = if self.settings.is_instant(no.took) {
            no.of_nobody(self.leave_asked_in_inbox(asked, now))
        } else {
            no.of_person()
        };
        self.tell_refused(&asked.held, &failed, now);
    }
}
