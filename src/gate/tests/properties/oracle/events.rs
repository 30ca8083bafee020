//! Checks what the gate did, one event after the other.

use std::time::Duration;

use serde_json::Value;

use super::answers::expect_no_claim;
use super::states::{MAX_ROUNDS, State};
use super::{End, Expected, ForClient, Oracle, Passage, Refusal, Unanswered};
use crate::gate::tests::properties::reading::{is_of_gate, meaning};
use crate::gate::tests::properties::steps::Era;
use crate::gate::tests::scene::Event;

impl Oracle {
    pub(in super::super) fn sees(&mut self, events: &[(Duration, Event)]) {
        let mut events = events.iter().peekable();
        while let Some((at, event)) = events.next() {
            self.is_at(*at);
            let next = events.peek().map(|(_, event)| event);
            let took_next = match event {
                Event::Line { line, written } => self.sees_line(line, *written, next),
                Event::Client(text) => {
                    self.sees_client(text);
                    false
                }
                Event::Upstream(text) => {
                    self.sees_upstream(text);
                    false
                }
                Event::Progress(text) => {
                    self.sees_progress(text);
                    false
                }
            };
            if took_next {
                events.next();
            }
        }
    }

    /// Checks a record. Returns true if it belongs together with the next event.
    fn sees_line(&mut self, line: &Value, written: bool, next: Option<&Event>) -> bool {
        let answer = match next {
            Some(Event::Client(text)) => serde_json::from_str(text).unwrap_or_default(),
            _ => Value::Null,
        };
        if line["event"] == "unasked_answer" {
            self.sees_unasked(line);
            return false;
        }
        if line["event"] == "first_approval" {
            assert!(self.setup.double_confirm, "{line}");
            self.first_yes = true;
            return false;
        }
        let reason = line["reason"].as_str().unwrap_or_default();
        if line.get("tool").is_none() || reason.contains("envelope is not plain") {
            return self.sees_refusal_of_no_call(line, &answer);
        }
        let id = meaning(&line["request_id"]);
        if line["forwarded"] == true {
            let at = self.waiting(&id);
            let at = at.unwrap_or_else(|| panic!("a line for no call that waits: {line}"));
            assert_eq!(line["tool"], *self.calls[at].intended.what.tool, "{line}");
            self.may_run(at, line);
            let is_promised = self.setup.best_effort && line["decision"] == "passed";
            if !written && !is_promised {
                self.calls[at].end = End::Unrecorded;
                self.calls[at].was_unrecorded = true;
                self.unrecorded += 1;
                return false;
            }
            let Some(Event::Upstream(text)) = next else {
                panic!("{line} is followed by {next:?}");
            };
            self.runs(at, line, text);
            return true;
        }
        let is_refusal = answer["error"].is_object() || answer["result"]["isError"] == true;
        let refused = if is_refusal && meaning(&answer["id"]) == id {
            self.refused(&id, line)
        } else {
            None
        };
        if let Some(at) = refused {
            self.ends_unrun(at, End::Refused, line);
            self.expect_right_refusal(at, line, &answer);
            return true;
        }
        match self.waiting(&id) {
            Some(at) if reason == "cancelled by the client" => {
                self.ends_unrun(at, End::Cancelled, line);
                assert_eq!(line["decision"], "cancelled", "{line}");
                let front = self.next_mandatory();
                assert!(
                    matches!(&front, Some(Expected::Cancel { id: taken, .. }) if *taken == id),
                    "nobody took the call back: {line}, {front:?}"
                );
            }
            _ => self.ends_unanswered(&id, line),
        }
        false
    }

    fn sees_unasked(&mut self, line: &Value) {
        let id = meaning(&line["request_id"]);
        let at = self.unasked.iter().position(|(other, _)| *other == id);
        self.unasked
            .remove(at.unwrap_or_else(|| panic!("it was asked: {line}")));
    }

    /// Returns the call that a refusal is about. Of two with one id, it is the second.
    fn refused(&mut self, id: &str, line: &Value) -> Option<usize> {
        let reason = line["reason"].as_str().unwrap();
        let in_use = reason.contains("another request with this id");
        let mut open = (0..self.calls.len()).filter(|at| {
            let call = &self.calls[*at];
            call.id == id && matches!(call.end, End::Waits | End::Unrecorded)
        });
        let at = if in_use {
            open.next_back()
        } else {
            open.next()
        }?;
        if in_use || reason.contains("too many requests are waiting") {
            assert_eq!(line["decision"], "error", "{line}");
            assert_eq!(self.calls[at].step, self.step, "{line}");
            assert!(!in_use || self.is_in_use(id), "the id is free: {line}");
            self.give_back(at);
        }
        Some(at)
    }

    fn ends_unrun(&mut self, at: usize, end: End, line: &Value) {
        let call = &mut self.calls[at];
        assert_eq!(line["tool"], *call.intended.what.tool, "{line}");
        call.end = end;
        call.lines += 1;
    }

    fn expect_right_refusal(&mut self, at: usize, line: &Value, answer: &Value) {
        let is_by_client = !line["answered_ms"].is_null() || !line["assurance"].is_null();
        match self.answer_behind(at, line) {
            Some(answered) => answered.expect_honest_refusal(answer),
            None => {
                assert!(!is_by_client, "nobody said so: {line}");
                expect_no_claim(answer);
                self.expect_no_refusing_answer(at, line);
            }
        }
        let result = &answer["result"];
        if result.is_object() {
            let kind = (self.calls[at].intended.era() == Era::Stateless).then_some("complete");
            assert_eq!(result["resultType"].as_str(), kind, "{answer}");
            assert!(result.get("requestState").is_none(), "{answer}");
        }
    }

    /// Checks that a retry answered in this step is refused because of that answer.
    fn expect_no_refusing_answer(&self, at: usize, line: &Value) {
        let call = &self.calls[at];
        let is_retry = call.brought.is_some() && call.step == self.step;
        let answered = call.answered.filter(|_| is_retry);
        let refuses = answered.is_some_and(|answered| answered.answer.refuses());
        assert!(!refuses, "{line} after {answered:?}");
    }

    /// A question that no retry answers ends with one record, without a message to the client.
    fn ends_unanswered(&mut self, id: &str, line: &Value) {
        let (now, is_late) = (self.now, self.is_late);
        let ends_now = |state: &State| match line["decision"].as_str().unwrap() {
            "timeout" => [Some(state.until), state.perhaps_until]
                .into_iter()
                .flatten()
                .any(|until| until == now || (is_late && until < now)),
            "cancelled" => self.client_gone,
            "error" => self.upstream_gone,
            _ => false,
        };
        let calls = &self.calls;
        let open = self.states.iter_mut().find(|state| {
            let call = &calls[state.call];
            let is_it = call.id == id && line["tool"] == *call.intended.what.tool;
            is_it && state.is_open() && ends_now(state)
        });
        let open = open.unwrap_or_else(|| panic!("a line for nothing that ends: {line}"));
        open.used = true;
    }

    /// Checks the error for a message that cannot be read or must not be passed on. Returns true if
    /// there is one.
    fn sees_refusal_of_no_call(&mut self, line: &Value, answer: &Value) -> bool {
        if line.get("tool").is_none() {
            assert_eq!(line["event"], "refused", "{line}");
        }
        let id = meaning(&answer["id"]);
        if let Some(ForClient::Wrapped { call, .. }) = self.to_client.front()
            && self.calls[*call].id == id
        {
            assert!(answer["error"].is_object(), "{line}, then {answer}");
            // contract.md, "Protocol revisions": "ten rounds at most".
            let is_last = self.rounds_of(*call) >= MAX_ROUNDS;
            assert!(is_last || self.may_be_full(), "{line}");
            self.note(if is_last { "no more rounds" } else { "no room" });
            self.to_client.pop_front();
            return true;
        }
        match self.refusals.pop_front() {
            Some(Refusal::Unanswered) => false,
            Some(Refusal::Answered(refused)) if meaning(&refused) == id => {
                let is_refusal = answer["error"].is_object() || answer["result"]["isError"] == true;
                assert!(is_refusal, "{line}, then {answer}");
                true
            }
            other => panic!("refused for no reason: {line}, {answer}, {other:?}"),
        }
    }

    /// What must come next; calls before it have been held.
    fn next_mandatory(&mut self) -> Option<Expected> {
        loop {
            match self.to_upstream.pop_front() {
                Some(Expected::Call(_, Passage::NowOrLater)) => {}
                other => return other,
            }
        }
    }

    fn sees_upstream(&mut self, text: &str) {
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        assert_ne!(message["method"], "tools/call", "without a line: {text}");
        let id = &message["id"];
        if message["method"] == "tools/list" && self.is_fresh(id) {
            return self.lists.sees_request(&message);
        }
        let mut refused = self.refused_upstream.iter();
        if let Some(at) = refused.position(|refused| refused == id) {
            assert!(message["error"].is_object(), "{text}");
            self.refused_upstream.remove(at);
            return;
        }
        match self.next_mandatory() {
            Some(Expected::Relayed(expected)) => assert_eq!(text, expected, "relayed as it is"),
            Some(Expected::Request {
                id,
                method,
                text: expected,
            }) => {
                assert_eq!(text, expected, "relayed as it is");
                let key = meaning(&id);
                assert!(!self.is_held(&key), "under the id of a call: {text}");
                assert!(
                    self.unanswered.len() < self.setup.max_pending,
                    "no room: {text}"
                );
                if method == "initialize" {
                    self.session_begins();
                }
                let unanswered = Unanswered {
                    id,
                    method,
                    call: None,
                };
                if self.unanswered.insert(key.clone(), unanswered).is_some() {
                    self.ambiguous.insert(key);
                }
            }
            Some(Expected::Cancel { id, text: expected }) => {
                assert_eq!(text, expected, "relayed as it is");
                assert!(!self.is_held(&id), "it never heard of the call: {text}");
                if self.unanswered.remove(&id).is_some() {
                    self.ambiguous.insert(id);
                }
            }
            other => panic!("the upstream got {text} instead of {other:?}"),
        }
    }

    fn sees_client(&mut self, text: &str) {
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        let id = meaning(&message["id"]);
        match self.to_client.pop_front() {
            Some(ForClient::Relayed(relayed)) if relayed == text => return,
            Some(ForClient::Wrapped {
                call,
                result,
                state,
            }) if self.calls[call].id == id => {
                return self.sees_wrapped(&message, call, &result, state);
            }
            Some(other) => self.to_client.push_front(other),
            None => {}
        }
        match message["method"].as_str() {
            Some("elicitation/create") => return self.sees_prompt(&message),
            Some("notifications/cancelled") => return self.sees_withdrawal(&message),
            Some(_) => panic!(
                "the client got {text}, not what is relayed as it is: {:?}",
                self.to_client
            ),
            None => {}
        }
        if message["result"]["resultType"] == "input_required" {
            return self.sees_question(&message);
        }
        let is_error = message["error"].is_object();
        assert!(is_error, "the gate never answers so: {text}");
        if let Some(Refusal::Unlogged(refused)) = self.refusals.front() {
            assert_eq!(id, meaning(refused), "{text}");
            self.refusals.pop_front();
            return;
        }
        if self.upstream_gone {
            assert!(
                self.unanswered.remove(&id).is_some(),
                "answered twice: {text}"
            );
            return;
        }
        match self.next_mandatory() {
            Some(Expected::Request { id: refused, .. }) => {
                assert_eq!(id, meaning(&refused), "{text}");
                let is_full = self.unanswered.len() + self.unrecorded >= self.setup.max_pending;
                assert!(is_full || self.is_held(&id), "the id is free: {text}");
            }
            other => panic!("{text} answers nothing; {other:?}"),
        }
    }

    fn sees_progress(&self, text: &str) {
        let message: Value = serde_json::from_str(text).unwrap();
        assert_eq!(message["method"], "notifications/progress");
        let params = &message["params"];
        let token = params["progressToken"].to_string();
        let mut calls = self.calls.iter();
        let waits = calls
            .any(|call| call.end == End::Waits && call.intended.token.as_deref() == Some(&token));
        assert!(waits, "for no call that waits: {text}");
        assert!(params["progress"].as_f64().unwrap() < 0.001, "{text}");
    }

    /// Returns true if this can be a new id of the gate's own.
    pub(super) fn is_fresh(&mut self, id: &Value) -> bool {
        is_of_gate(id) && self.our_ids.insert(meaning(id))
    }
}
