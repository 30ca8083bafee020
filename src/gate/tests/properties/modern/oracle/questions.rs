//! What a human was shown, in either era, and what the human said to a prompt.

use serde_json::{Value, json};

use super::claims::is_enough;
use super::{Approval, End, Era, Kind, Meta, Oracle, Prompt, State};
use crate::gate::tests::properties::oracle::{Answer, Answered};
use crate::gate::tests::properties::reading::{
    Round, Shown, is_surely_high, meaning, passes, read_prompt,
};

/// The key of a question of ours.
const QUESTION: &str = "approval-proxy";

impl Oracle {
    /// The client is asked by the answer to its call.
    pub(super) fn sees_question(&mut self, answer: &Value) {
        let at = self.waiting(&meaning(&answer["id"]));
        let at = at.unwrap_or_else(|| panic!("a question about no call that waits: {answer}"));
        let result = answer["result"].as_object().unwrap();
        assert_eq!(result.len(), 3, "{answer}");
        let requests = result["inputRequests"].as_object().unwrap();
        assert_eq!(requests.len(), 1, "{answer}");
        let params = &requests[QUESTION]["params"];
        assert_eq!(
            requests[QUESTION]["method"], "elicitation/create",
            "{answer}"
        );
        assert_eq!(params["mode"], "form", "{answer}");
        assert_eq!(params["requestedSchema"]["required"], json!(["approved"]));
        let shown = read_prompt(params["message"].as_str().unwrap());
        self.expect_right_question(at, &shown);
        let brings = self.requests[at].told.brings.as_ref();
        if shown.round == Round::Second && brings.is_some_and(|brings| brings.answer.is_some()) {
            let first = std::mem::take(&mut self.first_yes);
            assert!(first, "the first yes is not in the log: {answer}");
        }
        let request = &self.requests[at];
        assert_eq!(request.told.era, Era::Modern, "{answer}");
        assert!(!request.unfit, "a no, or a state of nothing: {request:?}");
        // DESIGN: "A client whose capabilities lack elicitation (per session in legacy, per
        // request in modern) is never sent one."
        assert_eq!(request.told.meta, Meta::Usual, "{answer}");
        let mut until = self.limit();
        let mut clients = vec![request.told.client];
        let before = request.brought.map(|state| &self.states[state]);
        let yeses = if shown.round == Round::Second {
            request.yeses.clone()
        } else {
            Vec::new()
        };
        if let Some(before) = before
            && let Kind::Question {
                clients: asked,
                shown: was_shown,
                ..
            } = &before.kind
            && was_shown.description == shown.description
        {
            clients.extend(asked);
            if request.told.brings.as_ref().unwrap().answer.is_none() {
                // The same again, and the human's time does not begin anew.
                until = before.until;
            }
        }
        let text = self.new_state(&result["requestState"]);
        self.requests[at].end = End::Asked;
        self.states.push(State {
            text,
            request: at,
            kind: Kind::Question {
                shown,
                yeses,
                clients,
            },
            used: false,
            sent: self.now,
            until,
        });
    }

    fn expect_right_question(&mut self, at: usize, shown: &Shown) {
        let request = &self.requests[at];
        let what = &request.told.what;
        assert_eq!(shown.what, *what, "what was shown is what runs");
        assert!(shown.is_high || !is_surely_high(&what.tool), "{shown:?}");
        match shown.round {
            Round::First => assert!(request.yeses.len() <= 1, "{request:?}"),
            Round::Second => {
                assert!(self.setup.double_confirm && shown.is_high, "{shown:?}");
                assert_eq!(request.yeses.len(), 1, "{request:?}");
            }
            // Something was asked about this call before, or was to run.
            Round::Changed => {
                let was_asked = request.brought.is_some() || !request.yeses.is_empty();
                assert!(was_asked, "{request:?}");
            }
        }
        if shown.round == Round::First && request.brought.is_none() {
            let mut readings = self.lists.readings.iter();
            let gated = |list| !passes(&self.rules, list, &what.tool);
            assert!(
                readings.any(|list| gated(list.as_ref())),
                "not gated: {shown:?}"
            );
            assert!(
                self.lists.may_be(&what.tool, &shown.description),
                "{shown:?}"
            );
        }
        assert!(!self.client_gone && !self.upstream_gone);
    }

    /// A state that the client is given is one of its own, and shows nobody else's.
    pub(super) fn new_state(&mut self, state: &Value) -> String {
        let text = state.as_str().expect("a state is a text").to_owned();
        assert!(self.our_ids.insert(text.clone()), "given twice: {text}");
        text
    }

    pub(super) fn sees_prompt(&mut self, request: &Value) {
        let id = request["id"].clone();
        assert!(self.our_ids.insert(meaning(&id)), "{request}");
        let shown = read_prompt(request["params"]["message"].as_str().unwrap());
        let mut waits = self.requests.iter().rev();
        let at = waits.position(|one| {
            let is_it = one.told.era == Era::Legacy && one.told.what == shown.what;
            is_it && one.end == End::Waits
        });
        let at = at.unwrap_or_else(|| panic!("a prompt for no call that waits: {request}"));
        let at = self.requests.len() - 1 - at;
        self.expect_right_question(at, &shown);
        if shown.round != Round::Second {
            self.requests[at].yeses.clear();
        }
        let timeout = self.setup.timeout_secs.map(std::time::Duration::from_secs);
        self.prompts.push(Prompt {
            id,
            request: at,
            shown,
            open: true,
            sent: self.now,
            until: timeout.map(|timeout| self.now + timeout),
        });
    }

    /// The client answers a prompt about a legacy call.
    pub(in super::super) fn answers(&mut self, at: usize, answer: Answer) {
        let prompt = &mut self.prompts[at];
        let was_open = std::mem::replace(&mut prompt.open, false);
        if !was_open || prompt.until.is_some_and(|until| until <= self.now) {
            return;
        }
        let request = &mut self.requests[prompt.request];
        let took = self.now - prompt.sent;
        request.answered = Some(Answered { answer, took });
        match answer {
            Answer::Yes => {
                request.yeses.push(prompt.shown.clone());
                if is_enough(self.setup.double_confirm, &request.yeses) {
                    // It covers its own call too, which may be asked about again.
                    self.approvals.push(Approval {
                        request: prompt.request,
                        yeses: request.yeses.clone(),
                        clients: Vec::new(),
                        at: self.now,
                    });
                }
            }
            Answer::Declined | Answer::Dismissed | Answer::Invalid | Answer::Failed => {
                request.unfit = true;
            }
        }
    }

    pub(super) fn sees_withdrawal(&mut self, notification: &Value) {
        let id = &notification["params"]["requestId"];
        let found = self.prompts.iter_mut().find(|prompt| prompt.id == *id);
        found
            .unwrap_or_else(|| panic!("not ours: {notification}"))
            .open = false;
    }
}
