//! What a call may claim: a yes to a question about exactly it, a round, an earlier approval.

use std::time::Duration;

use serde_json::Value;

use super::{Approval, End, Era, Kind, MAX_ROUNDS, Meta, Oracle, Request, Told};
use crate::gate::tests::properties::oracle::{Answer, Answered};
use crate::gate::tests::properties::reading::{
    Round, Shown, is_surely_high, meaning, passes, shown_description,
};

impl Oracle {
    /// The client calls a tool. `alone`: in a line of its own, so that what stands now is what
    /// it meets.
    pub(in super::super) fn calls(&mut self, told: Told, alone: bool) {
        let found = self.state_of(&told);
        let brought = found.filter(|at| self.is_good(*at, &told));
        let expected = if alone && !self.client_gone && !self.upstream_gone {
            self.expected(&told, found, brought)
        } else {
            None
        };
        self.requests.push(Request {
            id: meaning(&told.id),
            end: End::Waits,
            step: self.step,
            brought: None,
            yeses: Vec::new(),
            unfit: told.brings.is_some(),
            answered: None,
            approved_as: None,
            is_ambiguous: false,
            expected,
            was_unrecorded: false,
            lines: 0,
            told,
        });
        self.claim(self.requests.len() - 1);
    }

    /// The state that a call brings, if it is one that was given out.
    fn state_of(&self, told: &Told) -> Option<usize> {
        let brought = told.brings.as_ref()?.state.as_ref()?;
        self.states.iter().position(|state| state.text == *brought)
    }

    /// DESIGN: "bound to the digest of the call, with its own expiry […], single-use, and
    /// useless for another call".
    fn is_good(&self, at: usize, told: &Told) -> bool {
        let state = &self.states[at];
        let is_same = self.requests[state.request].told.what == told.what;
        // SPEC 2026-07-28: "A request missing any required field is malformed; the server MUST
        // reject it".
        let is_malformed = matches!(told.meta, Meta::Bare | Meta::Unknown);
        let is_modern = told.era == Era::Modern && !is_malformed;
        is_same && is_modern && !state.used && self.now < state.until
    }

    /// Where the state that a call brings is for it, it is used by this call and by no other.
    fn claim(&mut self, call: usize) {
        let told = &self.requests[call].told;
        let found = self.state_of(told).filter(|at| self.is_good(*at, told));
        let Some(at) = found else {
            return;
        };
        let (request, state) = (&mut self.requests[call], &mut self.states[at]);
        (request.brought, request.unfit) = (Some(at), false);
        state.used = true;
        let Kind::Question {
            shown,
            yeses,
            clients,
        } = &state.kind
        else {
            return;
        };
        request.yeses.clone_from(yeses);
        let brings = request.told.brings.as_ref();
        let answer = brings.and_then(|brings| brings.answer);
        let took = self.now - state.sent;
        request.answered = answer.map(|answer| Answered { answer, took });
        match answer {
            None => {}
            Some(Answer::Declined | Answer::Dismissed | Answer::Invalid | Answer::Failed) => {
                request.unfit = true;
            }
            Some(Answer::Yes) => {
                request.yeses.push(shown.clone());
                if is_enough(self.setup.double_confirm, &request.yeses) {
                    self.approvals.push(Approval {
                        request: call,
                        yeses: request.yeses.clone(),
                        clients: clients.clone(),
                        at: self.now,
                    });
                }
            }
        }
    }

    /// The call was turned away before anything that it brings was looked at; so its state is
    /// still there for those that come behind it in the same line.
    pub(super) fn give_back(&mut self, at: usize) {
        let Some(state) = self.requests[at].brought.take() else {
            return;
        };
        self.states[state].used = false;
        self.requests[at].answered = None;
        self.approvals.retain(|approval| approval.request != at);
        for behind in at + 1..self.requests.len() {
            self.claim(behind);
        }
    }

    /// How the call must end at once, where that can be told from outside.
    fn expected(&self, told: &Told, found: Option<usize>, brought: Option<usize>) -> Option<End> {
        if self.is_in_use(&meaning(&told.id)) || self.owed.len() >= self.setup.max_pending {
            return Some(End::Refused);
        }
        // One that belongs to another call, or to another era, or is used up.
        if found.is_some() && brought.is_none() {
            return Some(End::Refused);
        }
        if told.era == Era::Legacy {
            return None;
        }
        let Some(brought) = brought else {
            return self.expected_without_state(told);
        };
        let state = &self.states[brought];
        let goes_on = |mut shown: Box<dyn Iterator<Item = &Option<String>> + '_>| {
            let lists = &self.lists;
            let is_as_shown = shown.all(|shown| lists.may_be(&told.what.tool, shown));
            (lists.settled && is_as_shown).then_some(End::Forwarded)
        };
        let asks = match told.meta {
            Meta::Usual => End::Asked,
            Meta::NoForms | Meta::Bare | Meta::Unknown => End::Refused,
        };
        match (&state.kind, told.brings.as_ref()?.answer) {
            (Kind::Round { description, .. }, _) => goes_on(Box::new(std::iter::once(description))),
            (Kind::Question { .. }, Some(answer)) if answer != Answer::Yes => Some(End::Refused),
            // Where an approval covers it, nobody need be asked again.
            (Kind::Question { .. }, None) => (self.setup.ttl_secs == 0).then_some(asks),
            (Kind::Question { shown, yeses, .. }, Some(_)) => {
                let mut all = yeses.clone();
                all.push(shown.clone());
                if !is_enough(self.setup.double_confirm, &all) {
                    return (self.setup.ttl_secs == 0).then_some(asks);
                }
                goes_on(Box::new(all.iter().map(|shown| &shown.description)))
            }
        }
    }

    fn expected_without_state(&self, told: &Told) -> Option<End> {
        if !self.lists.settled {
            return None;
        }
        let listing = self.lists.readings.first()?.as_ref();
        if passes(&self.rules, listing, &told.what.tool) {
            return Some(End::Forwarded);
        }
        if told.brings.is_some() || self.may_be_full() {
            // It may wait for room that is there.
            return told.brings.is_some().then_some(End::Refused);
        }
        if self.is_covered(told, shown_description(listing, &told.what.tool)) {
            return None;
        }
        match told.meta {
            Meta::Usual => Some(End::Asked),
            Meta::NoForms | Meta::Bare | Meta::Unknown => Some(End::Refused),
        }
    }

    /// A line says that the call goes on: whether it may. Returns what a human was shown of it.
    pub(super) fn may_run(&mut self, at: usize, line: &Value) {
        let request = &self.requests[at];
        let what = request.told.what.clone();
        match line["decision"].as_str().unwrap() {
            "passed" => {
                let mut by_list = self.lists.readings.iter();
                assert!(
                    by_list.any(|list| passes(&self.rules, list.as_ref(), &what.tool)),
                    "gated, and never asked about: {line}"
                );
                let is_ours = |state: &String| self.states.iter().any(|one| one.text == *state);
                let brings = request.told.brings.as_ref();
                let brought = brings.and_then(|brings| brings.state.as_ref());
                assert!(
                    !brought.is_some_and(is_ours),
                    "with a state of ours: {line}"
                );
                assert!(
                    request.brought.is_none() && request.yeses.is_empty(),
                    "{line}"
                );
                self.note("passed");
            }
            "approved" => {
                let description = self.spend(at, line);
                self.requests[at].approved_as = Some(description);
            }
            other => panic!("`{other}` lets no call run: {line}"),
        }
    }

    /// DESIGN: "One approval, one execution". Each request holds its own yeses, whose states no
    /// other request can use.
    fn spend(&mut self, at: usize, line: &Value) -> Option<String> {
        let request = &self.requests[at];
        let what = &request.told.what;
        assert!(!request.unfit, "a no, or a state of nothing: {line}");
        let round = request.brought.map(|state| &self.states[state].kind);
        if let Some(Kind::Round {
            count, description, ..
        }) = round
        {
            let (count, description) = (*count, description.clone());
            assert!(count <= MAX_ROUNDS, "round {count}: {line}");
            // Other rules than those that look at the list say nothing of it.
            let was_unknown = description.is_none()
                && line["policy_reason"] != "the server does not list this tool";
            assert!(
                was_unknown || self.lists.may_be(&what.tool, &description),
                "changed since it was approved: {line}"
            );
            self.note(if count > 2 { "many rounds" } else { "round" });
            return description;
        }
        if line["engine"] == "cache" {
            let description = self.covering(&request.told);
            let description = description.unwrap_or_else(|| {
                panic!(
                    "no approval covers {:?}: {:?}",
                    request.told, self.approvals
                )
            });
            self.note("cache");
            return description;
        }
        assert_eq!(line["engine"], "elicitation", "{line}");
        let yeses = &request.yeses;
        assert!(
            is_enough(self.setup.double_confirm, yeses),
            "too few yeses: {request:?}"
        );
        // What was shown is what runs, in each of two questions.
        for shown in yeses {
            assert_eq!(shown.what, *what, "{line}");
            assert!(
                shown.may_be_unknown || self.lists.may_be(&what.tool, &shown.description),
                "as something else than was shown: {shown:?}, {:?}",
                self.lists.readings
            );
        }
        let answered = request.answered;
        assert!(
            answered.is_some_and(|answered| answered.leads_to(line)),
            "{line} after {answered:?}"
        );
        let description = yeses[0].description.clone();
        let label = match (request.told.era, yeses.len()) {
            (Era::Legacy, _) => "legacy",
            (Era::Modern, 2) => "two yeses",
            (Era::Modern, _) if yeses[0].round == Round::Changed => "changed",
            (Era::Modern, _) => "approved",
        };
        self.note(label);
        description
    }

    fn is_covered(&self, told: &Told, description: Option<String>) -> bool {
        self.covering(told)
            .is_some_and(|shown| shown == description)
    }

    /// CONTRACT 4: "only approvals are cached, per client session"; without a session, per
    /// client. As what the tool was approved, of a call that is approved.
    fn covering(&self, told: &Told) -> Option<Option<String>> {
        let ttl = Duration::from_secs(self.setup.ttl_secs);
        let mut good = self.approvals.iter().filter(|approval| {
            let is_same = approval.yeses.iter().all(|shown| {
                shown.what == told.what && self.lists.may_be(&told.what.tool, &shown.description)
            });
            let is_theirs = match told.era {
                Era::Legacy => self.requests[approval.request].told.era == Era::Legacy,
                Era::Modern => approval.clients.contains(&told.client),
            };
            is_same && is_theirs && self.now < approval.at + ttl
        });
        good.next()
            .map(|approval| approval.yeses[0].description.clone())
    }
}

/// CONTRACT 1: "risk `high` needs two approvals".
pub(super) fn is_enough(double_confirm: bool, yeses: &[Shown]) -> bool {
    let Some((first, rest)) = yeses.split_first() else {
        return false;
    };
    let is_high = first.is_high || is_surely_high(&first.what.tool);
    match rest {
        [] => !(double_confirm && is_high),
        [second] => first.round != Round::Second && second.round == Round::Second,
        _ => false,
    }
}
