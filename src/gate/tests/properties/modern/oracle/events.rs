//! What the gate did, one event after the other, and whether it may have.

use std::time::Duration;

use serde_json::Value;

use super::{End, Era, ForClient, Kind, LONGEST, MAX_ROUNDS, Oracle, Owed, State};
use crate::gate::tests::properties::oracle::expect_no_claim;
use crate::gate::tests::properties::reading::{is_of_gate, meaning};
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

    /// Whether the line and what comes next are one.
    fn sees_line(&mut self, line: &Value, written: bool, next: Option<&Event>) -> bool {
        let answer = match next {
            Some(Event::Client(text)) => serde_json::from_str(text).unwrap_or_default(),
            _ => Value::Null,
        };
        if line["event"] == "first_approval" {
            assert!(self.setup.double_confirm, "{line}");
            self.first_yes = true;
            return false;
        }
        if line["event"] == "unasked_answer" {
            let unasked = self.unasked.pop_front();
            assert_eq!(unasked, Some(meaning(&line["request_id"])), "{line}");
            return false;
        }
        if line.get("tool").is_none() {
            self.sees_refusal_of_no_call(line, &answer);
            return true;
        }
        let id = meaning(&line["request_id"]);
        if line["forwarded"] == true {
            let at = self.waiting(&id);
            let at = at.unwrap_or_else(|| panic!("a line for no call that waits: {line}"));
            assert_eq!(line["tool"], *self.requests[at].told.what.tool, "{line}");
            self.may_run(at, line);
            let is_promised = self.setup.best_effort && line["decision"] == "passed";
            if !written && !is_promised {
                self.requests[at].end = End::Unrecorded;
                self.requests[at].was_unrecorded = true;
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
        match refused {
            Some(at) => {
                self.ends_unrun(at, End::Refused, line);
                self.expect_right_refusal(at, line, &answer);
                true
            }
            None if self.cancels.as_deref() == Some(&*id) => {
                assert_eq!(line["decision"], "cancelled", "{line}");
                self.cancels = None;
                let at = self.waiting(&id).unwrap();
                self.ends_unrun(at, End::Cancelled, line);
                false
            }
            None => {
                self.ends_unanswered(&id, line);
                false
            }
        }
    }

    /// Which call the refusal is about: of two under one id, the second has no chance.
    fn refused(&mut self, id: &str, line: &Value) -> Option<usize> {
        let reason = line["reason"].as_str().unwrap();
        let in_use = reason.contains("another request with this id");
        let mut open = (0..self.requests.len()).filter(|at| {
            let request = &self.requests[*at];
            request.id == id && matches!(request.end, End::Waits | End::Unrecorded)
        });
        let at = if in_use {
            open.next_back()
        } else {
            open.next()
        }?;
        if in_use || reason.contains("too many requests are waiting") {
            assert_eq!(line["decision"], "error", "{line}");
            assert_eq!(self.requests[at].step, self.step, "{line}");
            self.give_back(at);
        }
        Some(at)
    }

    fn ends_unrun(&mut self, at: usize, end: End, line: &Value) {
        let request = &mut self.requests[at];
        assert_eq!(line["tool"], *request.told.what.tool, "{line}");
        request.end = end;
        request.lines += 1;
    }

    fn expect_right_refusal(&self, at: usize, line: &Value, answer: &Value) {
        let answered = self.requests[at].answered;
        let answered = answered.filter(|answered| answered.leads_to(line));
        let is_by_client = !line["answered_ms"].is_null() || !line["assurance"].is_null();
        match answered {
            Some(answered) => answered.expect_told(answer),
            None => {
                assert!(!is_by_client, "nobody said so: {line}");
                expect_no_claim(answer);
                self.expect_no_refusing_answer(at, line);
            }
        }
        let result = &answer["result"];
        if result.is_object() {
            let kind = (self.requests[at].told.era == Era::Modern).then_some("complete");
            assert_eq!(result["resultType"].as_str(), kind, "{answer}");
            assert!(result.get("requestState").is_none(), "{answer}");
        }
    }

    /// What a call that was answered in this step is refused for is that answer.
    fn expect_no_refusing_answer(&self, at: usize, line: &Value) {
        let request = &self.requests[at];
        let is_retry = request.brought.is_some() && request.step == self.step;
        let answered = request.answered.filter(|_| is_retry);
        let refuses = answered.is_some_and(|answered| answered.answer.refuses());
        assert!(!refuses, "{line} after {answered:?}");
    }

    /// A question that no retry answers ends with one line, and nobody is told.
    fn ends_unanswered(&mut self, id: &str, line: &Value) {
        let (now, is_late) = (self.now, self.is_late);
        let ends_now = |state: &State| match line["decision"].as_str().unwrap() {
            "timeout" => state.until == now || (is_late && state.until < now),
            "cancelled" => self.client_gone,
            "error" => self.upstream_gone,
            _ => false,
        };
        let requests = &self.requests;
        let open = self.states.iter_mut().find(|state| {
            let told = &requests[state.request].told;
            let is_it = !state.used && meaning(&told.id) == id && line["tool"] == *told.what.tool;
            is_it && ends_now(state) && matches!(state.kind, Kind::Question { .. })
        });
        let open = open.unwrap_or_else(|| panic!("a line for nothing that ends: {line}"));
        open.used = true;
    }

    /// What cannot be read, or must not be passed on, is told to the client.
    fn sees_refusal_of_no_call(&mut self, line: &Value, answer: &Value) {
        assert_eq!(line["event"], "refused", "{line}");
        assert!(
            answer["error"].is_object(),
            "{line} is followed by {answer}"
        );
        let id = meaning(&answer["id"]);
        if let Some(ForClient::Wrapped { call, .. }) = self.to_client.front()
            && self.requests[*call].id == id
        {
            // DESIGN: "ten rounds at most".
            let is_last = self.rounds_of(*call) >= MAX_ROUNDS;
            assert!(is_last || self.may_be_full(), "{line}");
            self.note(if is_last { "no more rounds" } else { "no room" });
            self.to_client.pop_front();
            return;
        }
        let refused = self.refusals.pop_front();
        assert_eq!(refused.as_ref().map(meaning), Some(id), "{line}, {answer}");
    }

    fn rounds_of(&self, call: usize) -> u32 {
        match self.requests[call].brought {
            Some(state) => match self.states[state].kind {
                Kind::Round { count, .. } => count,
                Kind::Question { .. } => 0,
            },
            None => 0,
        }
    }

    /// The call is sent to the upstream, with its line before it.
    fn runs(&mut self, at: usize, line: &Value, text: &str) {
        let request = &self.requests[at];
        let sent: Value = serde_json::from_str(text).unwrap();
        let state = sent["params"]["requestState"].as_str().unwrap_or_default();
        let is_ours = self.states.iter().any(|one| one.text == state);
        assert!(!is_ours, "the upstream gets a state of ours: {text}");
        let is_retry = request.brought.is_some();
        if line["decision"] == "passed" || !is_retry {
            assert_eq!(text, request.told.text, "as it was written");
        } else {
            let mut expected: Value = serde_json::from_str(&request.told.text).unwrap();
            let params = expected["params"].as_object_mut().unwrap();
            params.remove("requestState");
            match &self.states[request.brought.unwrap()].kind {
                // "an approval retry forwards no `inputResponses`".
                Kind::Question { .. } => drop(params.remove("inputResponses")),
                Kind::Round { upstream, .. } => {
                    let upstream = upstream.clone().map(Value::from);
                    params.extend(upstream.map(|state| ("requestState".to_owned(), state)));
                }
            }
            assert_eq!(sent, expected, "only what is ours is left out");
            assert!(
                text.contains(&request.told.what.args),
                "numbers as written: {text}"
            );
        }
        let owed = Owed {
            id: request.told.id.clone(),
            call: Some(at),
        };
        let before = self.owed.insert(request.id.clone(), owed);
        assert!(before.is_none(), "two under one id: {text}");
        let request = &mut self.requests[at];
        request.is_ambiguous = self.ambiguous.contains(&request.id);
        request.end = End::Forwarded;
        request.lines += 1;
    }

    fn sees_upstream(&mut self, text: &str) {
        let message: Value = serde_json::from_str(text).unwrap();
        assert_ne!(message["method"], "tools/call", "without a line: {text}");
        let id = &message["id"];
        let is_fresh = is_of_gate(id);
        if message["method"] == "tools/list" && is_fresh && self.our_ids.insert(meaning(id)) {
            return self.sees_own_list(&message);
        }
        let expected = self.to_upstream.pop_front();
        assert_eq!(expected.as_deref(), Some(text), "relayed as it is");
    }

    fn sees_own_list(&mut self, request: &Value) {
        let meta = &request["params"]["_meta"];
        let era = match meta["io.modelcontextprotocol/protocolVersion"].as_str() {
            Some(_) => Era::Modern,
            None => Era::Legacy,
        };
        // SPEC 2026-07-28: "fields marked as required MUST be included on every request".
        assert!(self.setup.legacy || era == Era::Modern, "{request}");
        self.lists.asked(request["id"].clone(), era, self.now);
    }

    fn sees_client(&mut self, text: &str) {
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        let id = meaning(&message["id"]);
        match self.to_client.front() {
            Some(ForClient::Relayed(relayed)) => {
                assert_eq!(text, relayed, "relayed as it is");
                self.to_client.pop_front();
                return;
            }
            Some(ForClient::Wrapped { call, .. }) if self.requests[*call].id == id => {
                return self.sees_wrapped(&message);
            }
            Some(ForClient::Wrapped { .. }) | None => {}
        }
        match message["method"].as_str() {
            Some("elicitation/create") => return self.sees_prompt(&message),
            Some("notifications/cancelled") => return self.sees_withdrawal(&message),
            Some(other) => panic!("the client got {other} from nobody: {text}"),
            None => {}
        }
        if message["result"]["resultType"] == "input_required" {
            return self.sees_question(&message);
        }
        assert!(
            message["error"].is_object(),
            "the gate never answers so: {text}"
        );
        if self
            .refusals
            .front()
            .is_some_and(|refused| meaning(refused) == id)
        {
            self.refusals.pop_front();
            return;
        }
        let owed = self.owed.remove(&id);
        assert!(
            owed.is_some() && self.upstream_gone,
            "answered twice: {text}"
        );
    }

    /// An upstream's question arrives with another state, and is otherwise what it was.
    fn sees_wrapped(&mut self, message: &Value) {
        let Some(ForClient::Wrapped {
            call,
            result,
            state,
        }) = self.to_client.pop_front()
        else {
            panic!("nothing is wrapped: {message}");
        };
        let mut got = message["result"].clone();
        let ours = got.as_object_mut().unwrap().remove("requestState");
        assert_eq!(got, result, "only the state is another");
        let text = self.new_state(&ours.unwrap_or_default());
        assert_ne!(Some(&text), state.as_ref());
        let count = self.rounds_of(call) + 1;
        assert!(count <= MAX_ROUNDS, "round {count}: {message}");
        self.states.push(State {
            text,
            request: call,
            kind: Kind::Round {
                count,
                description: self.requests[call].approved_as.clone().unwrap(),
                upstream: state,
            },
            used: false,
            sent: self.now,
            until: self.now + LONGEST,
        });
    }

    fn sees_progress(&self, text: &str) {
        let message: Value = serde_json::from_str(text).unwrap();
        let token = message["params"]["progressToken"].as_u64();
        let mut requests = self.requests.iter();
        let waits = requests.any(|one| one.end == End::Waits && one.told.token == token);
        assert!(waits && token.is_some(), "for no call that waits: {text}");
    }
}
