//! What the gate did, one event after the other, and whether it may have.

use std::time::Duration;

use serde_json::Value;

use super::{
    Answered, Call, End, Expected, LastLine, Oracle, OwnList, Passage, Refusal, expect_no_claim,
};
use crate::gate::tests::properties::reading::{Listing, is_of_gate, meaning, passes};
use crate::gate::tests::scene::Event;

impl Oracle {
    pub(in super::super) fn sees(&mut self, at: Duration, event: &Event) {
        self.now = at;
        match event {
            Event::Line { line, written } => self.sees_line(line, *written),
            Event::Upstream(text) => self.sees_upstream(text),
            Event::Client(text) => self.sees_client(text),
            Event::Progress(text) => self.sees_progress(text),
        }
    }

    fn sees_line(&mut self, line: &Value, written: bool) {
        self.expect_no_line("another line comes");
        let reason = line["reason"].as_str().unwrap_or_default();
        if line["event"] == "unasked_answer" {
            return self.sees_unasked(line);
        }
        if line["event"] == "first_approval" {
            assert!(self.setup.double_confirm, "{line}");
            self.first_yes = true;
            return;
        }
        let Some(tool) = line.get("tool") else {
            assert_eq!(line["event"], "refused", "{line}");
            match self.refusals.front() {
                Some(Refusal::Unanswered) => drop(self.refusals.pop_front()),
                Some(Refusal::Answered(_)) => self.last_line = LastLine::Unreadable,
                _ => panic!("refused for no reason: {line}"),
            }
            return;
        };
        if reason.contains("envelope is not plain") {
            self.last_line = LastLine::Unreadable;
            return;
        }
        let id = meaning(&line["request_id"]);
        let in_use = reason.contains("another request with this id");
        let unrecorded = reason.contains("record could not be written");
        let at = self.calls.iter().position(|call| {
            call.id == id
                && match call.end {
                    End::Waits => !in_use || call.step == self.step,
                    End::Unrecorded => unrecorded,
                    End::Forwarded | End::Refused | End::Cancelled => false,
                }
        });
        let at = at.unwrap_or_else(|| panic!("a line for no call that waits: {line}"));
        if in_use {
            assert!(self.is_in_use(&id), "the id is free: {line}");
        }
        let call = &mut self.calls[at];
        assert_eq!(*tool, *call.what.tool, "{line}");
        let forwards = line["forwarded"].as_bool().unwrap();
        let best_effort =
            self.setup.best_effort && matches!(line["decision"].as_str(), Some("passed"));
        if forwards && !written && !best_effort {
            call.end = End::Unrecorded;
            return self.may_run(at, line);
        }
        call.lines += 1;
        if forwards {
            self.last_line = LastLine::Forwards(at, line.clone(), written);
        } else if line["decision"] == "cancelled" && reason == "cancelled by the client" {
            call.end = End::Cancelled;
            let front = self.next_mandatory();
            assert!(
                matches!(&front, Some(Expected::Cancel { id: taken, .. }) if *taken == id),
                "nobody took the call back: {line}, {front:?}"
            );
        } else {
            let answered = self.answer_behind(at, line);
            self.last_line = LastLine::Refuses(at, answered);
        }
    }

    /// The answer in this step that has led to the line that refuses a call, if one has.
    fn answer_behind(&mut self, at: usize, line: &Value) -> Option<Answered> {
        let mut prompts = self.prompts.iter().filter(|prompt| {
            prompt.answered_in_step == Some(self.step) && prompt.shown.what == self.calls[at].what
        });
        let found = prompts.find_map(|prompt| prompt.answered.filter(|it| it.leads_to(line)));
        let is_by_client = !line["answered_ms"].is_null() || !line["assurance"].is_null();
        assert!(found.is_some() || !is_by_client, "nobody said so: {line}");
        self.must_refuse &= found.is_none();
        found
    }

    fn sees_upstream(&mut self, text: &str) {
        match std::mem::replace(&mut self.last_line, LastLine::None) {
            LastLine::Forwards(at, line, written) => {
                return self.released(at, &line, written, text);
            }
            LastLine::None => {}
            other => panic!("{other:?} is followed by {text}"),
        }
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        if message["method"] == "tools/list" && self.is_fresh(&message["id"]) {
            return self.sees_own_list(&message);
        }
        if let Some(at) = self
            .refused_upstream
            .iter()
            .position(|id| *id == message["id"])
        {
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
                assert!(
                    !self.is_held(&meaning(&id)),
                    "under the id of a call: {text}"
                );
                if method == "initialize" {
                    self.list_changes();
                    self.session_begins();
                }
                self.owed.insert(meaning(&id), (id, method));
            }
            Some(Expected::Cancel { id, text: expected }) => {
                assert_eq!(text, expected, "relayed as it is");
                assert!(!self.is_held(&id), "it never heard of the call: {text}");
                self.owed.remove(&id);
            }
            other => panic!("the upstream got {text} instead of {other:?}"),
        }
    }

    fn released(&mut self, at: usize, line: &Value, written: bool, text: &str) {
        let call = &self.calls[at];
        let bare = |text: &str| text.trim_end_matches('\r').to_owned();
        assert_eq!(bare(text), bare(&call.text), "the call of its line: {line}");
        let decision = line["decision"].as_str().unwrap();
        assert!(
            written || (self.setup.best_effort && decision == "passed"),
            "{text} went on without {line}"
        );
        self.may_run(at, line);
        *self.forwarded.entry(decision.to_owned()).or_default() += 1;
        let call = &mut self.calls[at];
        call.end = End::Forwarded;
        let message: Value = serde_json::from_str(call.text.trim()).unwrap();
        let owed = (message["id"].clone(), "tools/call".to_owned());
        self.owed.insert(call.id.clone(), owed);
    }

    /// The line says that the call goes on: whether it may.
    fn may_run(&mut self, at: usize, line: &Value) {
        self.take_from_queue(at);
        let call = &self.calls[at];
        let (tool, step) = (call.what.tool.clone(), call.step);
        match line["decision"].as_str().unwrap() {
            "dry_run" => assert!(self.setup.dry_run, "{line}"),
            "passed" => {
                let by_list = self.readings.iter();
                let mut by_list = by_list.map(|list| passes(&self.setup, list.as_ref(), &tool));
                assert!(
                    passes(&self.setup, None, &tool) || by_list.any(|passes| passes),
                    "gated, and never asked about: {line}"
                );
                self.expect_never_asked(at);
                if step < self.step {
                    assert!(self.passed_in_step < Some(at), "overtaken: {line}");
                    self.passed_in_step = Some(at);
                }
            }
            "approved" => self.spend_yes(at, line["engine"] == "cache", false),
            "timeout" => self.spend_yes(at, false, true),
            other => panic!("`{other}` does not let a call run: {line}"),
        }
    }

    /// A call that goes on in the step in which it came must not overtake what came before.
    fn take_from_queue(&mut self, at: usize) {
        let queued =
            |expected: &Expected| matches!(expected, Expected::Call(call, _) if *call == at);
        if !self.to_upstream.iter().any(queued) {
            return;
        }
        while let Some(before) = self.to_upstream.pop_front() {
            if queued(&before) {
                return;
            }
            assert!(
                matches!(before, Expected::Call(_, Passage::NowOrLater)),
                "{:?} has overtaken {before:?}",
                self.calls[at]
            );
        }
    }

    /// What must come next; calls before it have been held back.
    fn next_mandatory(&mut self) -> Option<Expected> {
        loop {
            match self.to_upstream.pop_front() {
                Some(Expected::Call(_, Passage::NowOrLater)) => {}
                other => return other,
            }
        }
    }

    fn sees_client(&mut self, text: &str) {
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        if let LastLine::None = self.last_line
            && self.to_client.front().is_some_and(|front| front == text)
        {
            self.to_client.pop_front();
            return;
        }
        match message["method"].as_str() {
            Some("elicitation/create") => self.sees_prompt(&message),
            Some("notifications/cancelled") => self.sees_withdrawal(&message),
            Some(other) => panic!("the client got {other} from nobody: {text}"),
            None => self.sees_answer(&message, text),
        }
    }

    fn sees_answer(&mut self, message: &Value, text: &str) {
        let id = meaning(&message["id"]);
        let is_error = message["error"].is_object();
        let is_refusal = message["result"]["isError"] == true;
        assert!(is_error || is_refusal, "the gate never answers so: {text}");
        match std::mem::replace(&mut self.last_line, LastLine::None) {
            LastLine::Refuses(at, answered) => {
                assert_eq!(id, self.calls[at].id, "{text}");
                match answered {
                    Some(answered) => answered.expect_told(message),
                    None => expect_no_claim(message),
                }
                self.calls[at].end = End::Refused;
            }
            LastLine::Unreadable => match self.refusals.pop_front() {
                Some(Refusal::Answered(expected)) => assert_eq!(id, meaning(&expected), "{text}"),
                other => panic!("{other:?} was answered by {text}"),
            },
            LastLine::None if self.upstream_gone && is_error => {
                assert!(self.owed.remove(&id).is_some(), "answered twice: {text}");
            }
            LastLine::None => {
                if let Some(Refusal::Unlogged(expected)) = self.refusals.front() {
                    assert_eq!(id, meaning(expected), "{text}");
                    self.refusals.pop_front();
                    return;
                }
                match self.next_mandatory() {
                    Some(Expected::Request { id: refused, .. }) => {
                        assert_eq!(id, meaning(&refused), "{text}");
                        assert!(is_error && self.is_held(&id), "the id is free: {text}");
                    }
                    other => panic!("{text} answers nothing; {other:?}"),
                }
            }
            LastLine::Forwards(_, line, _) => panic!("{line} is followed by {text}"),
        }
    }

    fn sees_progress(&mut self, text: &str) {
        let message: Value = serde_json::from_str(text).unwrap();
        assert_eq!(message["method"], "notifications/progress");
        let params = &message["params"];
        let token = params["progressToken"].to_string();
        let waits = |call: &Call| call.end == End::Waits && call.token.as_deref() == Some(&token);
        assert!(
            self.calls.iter().any(waits),
            "for no call that waits: {text}"
        );
        assert!(params["progress"].as_f64().unwrap() < 0.001, "{text}");
    }

    fn sees_own_list(&mut self, request: &Value) {
        let cursor = request["params"]["cursor"].as_str();
        let (pages, changes, live) = match (cursor, self.lists.last()) {
            (Some(_), Some(before)) => (before.pages.clone(), before.changes, before.surely_live),
            (Some(_), None) => panic!("a page of nothing: {request}"),
            (None, _) => (Listing::new(), self.changes, true),
        };
        // The same page once more, under a number. Where the page was answered in the very line
        // that leads to this, only its text says so.
        let is_early = request["id"].is_i64() && !self.is_proven;
        let is_twin = request["id"].is_i64()
            && self.lists.last().is_some_and(|last| {
                last.twin.is_none() && (last.id.is_string() || (is_early && last.open))
            });
        if cursor.is_none() && !is_twin {
            // It was not known after all, or the client was listed something else.
            self.settled = false;
        }
        for list in &mut self.lists {
            let given_up = !list.surely_live || self.waited || self.changed_in_step || is_twin;
            assert!(!list.open || given_up, "asked twice: {request}");
        }
        // In the line that has led to a twin, the page itself may be answered.
        let is_late = is_twin && self.lists.last().is_some_and(|last| !last.open);
        let list = OwnList {
            id: request["id"].clone(),
            open: !is_late,
            surely_live: live && !self.changed_in_step && (is_twin || !is_early),
            pages,
            changes,
            twin: None,
        };
        let at = self.lists.len() - usize::from(is_late);
        self.lists.insert(at, list);
        if is_twin && !is_late {
            (self.lists[at].twin, self.lists[at - 1].twin) = (Some(at - 1), Some(at));
        }
    }

    /// Whether this can be an id of the gate's own that was never seen before.
    pub(super) fn is_fresh(&mut self, id: &Value) -> bool {
        is_of_gate(id) && self.our_ids.insert(meaning(id))
    }

    pub(super) fn expect_no_line(&self, then: &str) {
        assert!(
            matches!(self.last_line, LastLine::None),
            "{then}, and {:?} has led to nothing",
            self.last_line
        );
    }
}
