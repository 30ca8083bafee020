//! A client's answers to a question, and what the log and the client must get then.
//!
//! contract.md, "Clients that answer for themselves".

use std::time::Duration;

use serde_json::{Value, json};

/// What a client answers to a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Answer {
    Yes,
    /// Action `decline`, or a form that says no.
    Declined,
    /// Action `cancel`.
    Dismissed,
    /// An invalid result.
    Invalid,
    /// A JSON-RPC error.
    Failed,
}

impl Answer {
    /// Returns true if the answer ends the call, if nobody else is asked.
    pub(in super::super) fn refuses(self) -> bool {
        match self {
            Answer::Declined | Answer::Dismissed | Answer::Invalid => true,
            Answer::Yes | Answer::Failed => false,
        }
    }
}

/// An answer, and how long the client had the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Answered {
    pub(in super::super) answer: Answer,
    pub(in super::super) took: Duration,
}

/// Nobody can have read the question faster than this.
const INSTANT: Duration = Duration::from_millis(250);

impl Answered {
    /// Whether a person said no.
    fn is_denial(self) -> bool {
        self.answer == Answer::Declined && self.took >= INSTANT
    }

    /// Returns true if a decision record is the one that this answer leads to.
    pub(in super::super) fn leads_to(self, line: &Value) -> bool {
        let is_instant = self.took < INSTANT;
        let (decision, is_by_person) = match self.answer {
            Answer::Yes => ("approved", true),
            Answer::Declined => ("denied", !is_instant),
            Answer::Dismissed if is_instant => ("cancelled", false),
            Answer::Dismissed => ("denied", true),
            Answer::Invalid => ("error", false),
            Answer::Failed => return false,
        };
        let took = match self.answer {
            Answer::Invalid => Value::Null,
            _ => json!(self.took.as_micros() as f64 / 1000.0),
        };
        let assurance = is_by_person.then_some("caller-relayed");
        line["decision"] == decision
            && line["engine"] == "elicitation"
            && line["assurance"].as_str() == assurance
            && line["answered_ms"] == took
    }

    /// Checks that the refusal claims no more than is true.
    pub(in super::super) fn expect_honest_refusal(self, refusal: &Value) {
        let text = refusal["result"]["content"][0]["text"].as_str();
        let text = text.unwrap_or_else(|| panic!("{self:?} gets {refusal}"));
        assert_eq!(text.contains("by a person"), self.is_denial(), "{text}");
        let is_no = matches!(self.answer, Answer::Declined | Answer::Dismissed);
        let is_too_fast = is_no && self.took < INSTANT;
        let says_so = text.contains("faster than a person can read");
        assert_eq!(says_so, is_too_fast, "{text}");
    }
}

/// Checks that a refusal that no answer caused does not claim that somebody answered.
pub(in super::super) fn expect_no_claim(refusal: &Value) {
    let text = refusal["result"]["content"][0]["text"].as_str();
    let claims = ["denied by a person", "dismissed", "faster than a person"];
    let claims = claims
        .iter()
        .any(|claim| text.is_some_and(|text| text.contains(claim)));
    assert!(!claims, "nobody said so: {refusal}");
}
