//! Questions that are results, and the retries that answer them with a state.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Answer, Answered, End, IntendedCall, Oracle};
use crate::gate::tests::properties::reading::{
    ByName, QuestionKind, Shown, by_name, is_surely_high, meaning, passes, read_prompt,
    shown_description,
};
use crate::gate::tests::properties::steps::{Meta, Words};

/// contract.md, "Protocol revisions": "ten rounds at most".
pub(super) const MAX_ROUNDS: u32 = 10;
/// contract.md, "Protocol revisions": "its own expiry (at most an hour)".
pub(super) const LONGEST: Duration = Duration::from_secs(3600);
/// The key of a question of ours.
const QUESTION: &str = "approval-proxy";

/// The members that a retry adds to a call.
#[derive(Debug, Clone)]
pub(in super::super) struct Brings {
    /// Its `requestState`, if it is a text.
    pub(in super::super) state: Option<String>,
    /// Its answer to our question; `None` is nothing.
    pub(in super::super) answer: Option<Answer>,
}

/// A `requestState` that the client was given.
#[derive(Debug)]
pub(in super::super) struct State {
    pub(in super::super) text: String,
    /// The call that was answered with it.
    pub(in super::super) call: usize,
    pub(in super::super) kind: Kind,
    pub(in super::super) used: bool,
    pub(super) sent: Duration,
    pub(super) until: Duration,
    /// When it may have expired. A prompt does not show whether a tool without a visible
    /// description has changed again, which gives the person new time.
    pub(super) perhaps_until: Option<Duration>,
}

#[derive(Debug)]
pub(in super::super) enum Kind {
    /// A question of ours.
    Question {
        shown: Shown,
        /// The yeses before.
        yeses: Vec<Shown>,
        /// Who was asked.
        clients: Vec<u8>,
    },
    /// A question from the upstream, about a call that runs.
    Round {
        count: u32,
        description: Option<String>,
        upstream: Option<String>,
    },
}

impl State {
    /// Returns true if it belongs to an unanswered question.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.kind, Kind::Question { .. }) && !self.used
    }
}

/// A yes that covers identical calls for a while.
#[derive(Debug)]
pub(super) struct Approval {
    pub(super) call: usize,
    yeses: Vec<Shown>,
    clients: Vec<u8>,
    at: Duration,
}

impl Oracle {
    /// Returns the state that a call brings, if it was given to the client.
    fn state_of(&self, intended: &IntendedCall) -> Option<usize> {
        let brought = intended.brings.as_ref()?.state.as_ref()?;
        self.states.iter().position(|state| state.text == *brought)
    }

    /// contract.md, "Protocol revisions": "bound to the digest of the call, with its own expiry (at
    /// most an hour), single-use, and useless for another call."
    fn is_good(&self, at: usize, intended: &IntendedCall) -> bool {
        let state = &self.states[at];
        let is_same = self.calls[state.call].intended.what == intended.what;
        // SPEC 2026-07-28: "A request missing any required field is malformed; the server MUST
        // reject it".
        let is_well_formed = match intended.words {
            Words::Legacy => false,
            Words::Stateless { meta, .. } => !matches!(meta, Meta::Bare | Meta::Unknown),
        };
        is_same && is_well_formed && !state.used && self.now < state.until
    }

    /// If a call brings a state that belongs to it, it uses up the state.
    pub(super) fn claim(&mut self, at: usize) {
        let intended = &self.calls[at].intended;
        let found = self
            .state_of(intended)
            .filter(|state| self.is_good(*state, intended));
        let Some(found) = found else {
            return;
        };
        let (call, state) = (&mut self.calls[at], &mut self.states[found]);
        (call.brought, call.unfit) = (Some(found), false);
        state.used = true;
        let Kind::Question {
            shown,
            yeses,
            clients,
        } = &state.kind
        else {
            return;
        };
        call.yeses.clone_from(yeses);
        let answer = call
            .intended
            .brings
            .as_ref()
            .and_then(|brings| brings.answer);
        let took = self.now - state.sent;
        call.answered = answer.map(|answer| Answered { answer, took });
        match answer {
            None => {}
            Some(Answer::Declined | Answer::Dismissed | Answer::Invalid | Answer::Failed) => {
                call.unfit = true;
            }
            Some(Answer::Yes) => {
                call.yeses.push(shown.clone());
                if is_enough(self.setup.double_confirm, &call.yeses) {
                    self.approvals.push(Approval {
                        call: at,
                        yeses: call.yeses.clone(),
                        clients: clients.clone(),
                        at: self.now,
                    });
                }
            }
        }
    }

    /// The call was rejected before its state was looked at, so the state remains for later calls
    /// in the same line.
    pub(super) fn give_back(&mut self, at: usize) {
        let Some(state) = self.calls[at].brought.take() else {
            return;
        };
        self.states[state].used = false;
        self.calls[at].answered = None;
        self.approvals.retain(|approval| approval.call != at);
        for behind in at + 1..self.calls.len() {
            self.claim(behind);
        }
    }

    /// Returns how a call must end at once, if that is known.
    pub(super) fn expected(&self, intended: &IntendedCall) -> Option<End> {
        let found = self.state_of(intended);
        let meta = match intended.words {
            Words::Legacy if found.is_none() => return None,
            Words::Legacy => return Some(End::Refused),
            Words::Stateless { meta, .. } => meta,
        };
        if self.is_in_use(&meaning(&intended.id)) || self.unanswered.len() >= self.setup.max_pending
        {
            return Some(End::Refused);
        }
        let asks = match meta {
            Meta::Usual => End::Asked,
            Meta::NoForms | Meta::Bare | Meta::Unknown => End::Refused,
        };
        let Some(found) = found else {
            return self.expected_without_state(intended, asks);
        };
        // A state that belongs to another call or protocol, or is used up.
        if !self.is_good(found, intended) {
            return Some(End::Refused);
        }
        let goes_on = |mut shown: Box<dyn Iterator<Item = &Option<String>> + '_>| {
            let lists = &self.lists;
            // A tool that is listed twice has no visible description either.
            let is_as_shown =
                shown.all(|shown| shown.is_some() && lists.may_be(&intended.what.tool, shown));
            (lists.settled && is_as_shown).then_some(End::Forwarded)
        };
        // A tool that keeps changing is not asked about forever.
        let may_have_changed_often = match &self.states[found].kind {
            Kind::Question { shown, .. } => {
                let is_first = shown.round == QuestionKind::First;
                !is_first && !self.lists.may_be(&intended.what.tool, &shown.description)
            }
            Kind::Round { .. } => false,
        };
        // If an approval covers it, nobody needs to be asked again.
        let is_sure = self.setup.ttl_secs == 0 && !may_have_changed_often;
        let asks = is_sure.then_some(asks);
        match (&self.states[found].kind, intended.brings.as_ref()?.answer) {
            (Kind::Round { description, .. }, _) => goes_on(Box::new(std::iter::once(description))),
            (Kind::Question { .. }, Some(answer)) if answer != Answer::Yes => Some(End::Refused),
            (Kind::Question { .. }, None) => asks,
            (Kind::Question { shown, yeses, .. }, Some(_)) => {
                let mut all = yeses.clone();
                all.push(shown.clone());
                if !is_enough(self.setup.double_confirm, &all) {
                    return asks;
                }
                goes_on(Box::new(all.iter().map(|shown| &shown.description)))
            }
        }
    }

    fn expected_without_state(&self, intended: &IntendedCall, asks: End) -> Option<End> {
        let tool = &intended.what.tool;
        if !self.lists.settled || self.setup.dry_run {
            return None;
        }
        let listing = self.lists.newest();
        if passes(&self.setup, listing, tool) {
            return Some(End::Forwarded);
        }
        if intended.brings.is_some() || by_name(&self.setup, tool) == ByName::Block {
            return Some(End::Refused);
        }
        let is_covered = self
            .covering(intended)
            .is_some_and(|shown| shown == shown_description(listing, tool));
        // It may wait if there is room.
        (!is_covered && !self.may_be_full()).then_some(asks)
    }

    /// The client is asked in the answer to its call.
    pub(super) fn sees_question(&mut self, answer: &Value) {
        let at = self.waiting(&meaning(&answer["id"]));
        let at = at.unwrap_or_else(|| panic!("a question about no call that waits: {answer}"));
        let result = answer["result"].as_object().unwrap();
        assert_eq!(result.len(), 3, "{answer}");
        let requests = result["inputRequests"].as_object().unwrap();
        assert_eq!(requests.len(), 1, "{answer}");
        let question = &requests[QUESTION];
        let params = &question["params"];
        assert_eq!(question["method"], "elicitation/create", "{answer}");
        assert_eq!(params["mode"], "form", "{answer}");
        assert_eq!(params["requestedSchema"]["required"], json!(["approved"]));
        let shown = read_prompt(params["message"].as_str().unwrap());
        self.expect_right_question(at, &shown);
        let call = &self.calls[at];
        let is_answered = call.answered.is_some();
        if shown.round == QuestionKind::Second && is_answered {
            let first = std::mem::take(&mut self.first_yes);
            assert!(first, "the first yes is not in the log: {answer}");
        }
        assert!(!call.unfit, "a no, or a state of nothing: {call:?}");
        // contract.md, "Prompts": "A client whose capabilities lack elicitation (per session in
        // legacy, per request in stateless) is never sent one."
        let Words::Stateless {
            client,
            meta: Meta::Usual,
        } = call.intended.words
        else {
            panic!("{call:?} is answered by {answer}");
        };
        let timeout = self.setup.timeout_secs.map(Duration::from_secs);
        let mut until = self.now + timeout.unwrap_or(LONGEST).min(LONGEST);
        let mut perhaps_until = None;
        let mut clients = vec![client];
        let yeses = match shown.round {
            QuestionKind::Second => call.yeses.clone(),
            QuestionKind::First | QuestionKind::Changed => Vec::new(),
        };
        if let Some(before) = call.brought.map(|state| &self.states[state])
            && let Kind::Question {
                clients: asked,
                shown: was_shown,
                ..
            } = &before.kind
            && was_shown.description == shown.description
        {
            clients.extend(asked);
            let is_known = shown.description.is_some();
            match (shown.round, was_shown.round) {
                _ if is_answered => {}
                (QuestionKind::Changed, QuestionKind::First | QuestionKind::Second)
                    if !is_known => {}
                (QuestionKind::Changed, QuestionKind::Changed) if !is_known => {
                    perhaps_until = Some(before.perhaps_until.unwrap_or(before.until));
                }
                // The same question again, without additional time for the person.
                _ => (until, perhaps_until) = (before.until, before.perhaps_until),
            }
        }
        let text = self.new_state(&result["requestState"]);
        self.calls[at].end = End::Asked;
        self.states.push(State {
            text,
            call: at,
            kind: Kind::Question {
                shown,
                yeses,
                clients,
            },
            used: false,
            sent: self.now,
            until,
            perhaps_until,
        });
    }

    fn expect_right_question(&mut self, at: usize, shown: &Shown) {
        let call = &self.calls[at];
        let what = &call.intended.what;
        assert_eq!(shown.what, *what, "what was shown is what runs");
        assert!(shown.is_high || !is_surely_high(&what.tool), "{shown:?}");
        match shown.round {
            QuestionKind::First => assert!(call.yeses.len() <= 1, "{call:?}"),
            QuestionKind::Second => {
                assert!(self.setup.double_confirm && shown.is_high, "{shown:?}");
                assert_eq!(call.yeses.len(), 1, "{call:?}");
            }
            // This call was asked about before, or was to run.
            QuestionKind::Changed => {
                let was_asked = call.brought.is_some() || !call.yeses.is_empty();
                assert!(was_asked, "{call:?}");
            }
        }
        if shown.round == QuestionKind::First && call.brought.is_none() {
            let mut readings = self.lists.readings.iter();
            let gated = |list| !passes(&self.setup, list, &what.tool);
            assert!(
                readings.any(|list| gated(list.as_ref())),
                "not gated: {shown:?}"
            );
            assert!(
                self.lists.may_be(&what.tool, &shown.description),
                "{shown:?}"
            );
        }
        assert!(!self.setup.dry_run && !self.client_gone && !self.upstream_gone);
    }

    /// A new state for the client is unique, and contains nobody else's.
    pub(super) fn new_state(&mut self, state: &Value) -> String {
        let text = state.as_str().expect("a state is a text").to_owned();
        assert!(self.our_ids.insert(text.clone()), "given twice: {text}");
        text
    }

    /// contract.md, "Prompts": "only approvals are cached, per client session (stateless: per
    /// `clientInfo`)." As what the tool was approved, of a call that is approved.
    pub(super) fn covering(&self, intended: &IntendedCall) -> Option<Option<String>> {
        let Words::Stateless { client, .. } = intended.words else {
            return None;
        };
        let ttl = Duration::from_secs(self.setup.ttl_secs);
        let mut good = self.approvals.iter().filter(|approval| {
            let is_same = approval.yeses.iter().all(|shown| {
                shown.what == intended.what
                    && self.lists.may_be(&intended.what.tool, &shown.description)
            });
            is_same && approval.clients.contains(&client) && self.now < approval.at + ttl
        });
        good.next()
            .map(|approval| approval.yeses[0].description.clone())
    }

    pub(super) fn rounds_of(&self, call: usize) -> u32 {
        match self.calls[call]
            .brought
            .map(|state| &self.states[state].kind)
        {
            Some(Kind::Round { count, .. }) => *count,
            Some(Kind::Question { .. }) | None => 0,
        }
    }

    /// An upstream's question arrives with another state, and is otherwise unchanged.
    pub(super) fn sees_wrapped(
        &mut self,
        message: &Value,
        call: usize,
        result: &Value,
        upstream: Option<String>,
    ) {
        let mut got = message["result"].clone();
        let ours = got.as_object_mut().unwrap().remove("requestState");
        assert_eq!(got, *result, "only the state is another");
        let text = self.new_state(&ours.unwrap_or_default());
        assert_ne!(Some(&text), upstream.as_ref());
        let count = self.rounds_of(call) + 1;
        assert!(count <= MAX_ROUNDS, "round {count}: {message}");
        self.states.push(State {
            text,
            call,
            kind: Kind::Round {
                count,
                description: self.calls[call].approved_as.clone().unwrap(),
                upstream,
            },
            used: false,
            sent: self.now,
            until: self.now + LONGEST,
            perhaps_until: None,
        });
    }
}

/// contract.md, "Command line": "risk `high` needs two approvals".
pub(super) fn is_enough(double_confirm: bool, yeses: &[Shown]) -> bool {
    let Some((first, rest)) = yeses.split_first() else {
        return false;
    };
    let is_high = first.is_high || is_surely_high(&first.what.tool);
    match rest {
        [] => !(double_confirm && is_high),
        [second] => first.round != QuestionKind::Second && second.round == QuestionKind::Second,
        _ => false,
    }
}
