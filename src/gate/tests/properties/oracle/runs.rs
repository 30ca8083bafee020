//! Checks whether a call may run, and whether it runs unchanged.

use serde_json::Value;

use super::states::{MAX_ROUNDS, is_enough};
use super::{End, Expected, Kind, Oracle, Passage, Unanswered};
use crate::gate::tests::properties::reading::{QuestionKind, passes};
use crate::gate::tests::properties::steps::Era;

impl Oracle {
    /// A record says that the call is forwarded: checks that it may be.
    pub(super) fn may_run(&mut self, at: usize, line: &Value) {
        self.take_from_queue(at);
        let call = &self.calls[at];
        let era = call.intended.era();
        let label = match (line["decision"].as_str().unwrap(), era) {
            ("dry_run", _) => {
                assert!(self.setup.dry_run, "{line}");
                "dry_run"
            }
            ("passed", _) => {
                self.may_pass(at, line);
                "passed"
            }
            ("approved", Era::Legacy) => {
                self.spend_yes(at, line["engine"] == "cache", false);
                "legacy"
            }
            ("timeout", Era::Legacy) => {
                self.spend_yes(at, false, true);
                "timeout"
            }
            ("approved", Era::Stateless) => {
                let (label, description) = self.spend_state(at, line);
                self.calls[at].approved_as = Some(description);
                label
            }
            (other, _) => panic!("`{other}` does not let a call run: {line}"),
        };
        self.note(label);
    }

    fn may_pass(&mut self, at: usize, line: &Value) {
        let call = &self.calls[at];
        let tool = &call.intended.what.tool;
        let by_list = self.lists.readings.iter();
        let mut by_list = by_list.map(|list| passes(&self.setup, list.as_ref(), tool));
        assert!(
            passes(&self.setup, None, tool) || by_list.any(|passes| passes),
            "gated, and never asked about: {line}"
        );
        let brings = call.intended.brings.as_ref();
        let brought = brings.and_then(|brings| brings.state.as_ref());
        assert!(
            !brought.is_some_and(|state| self.is_our_state(state)),
            "with a state of ours: {line}"
        );
        assert!(call.brought.is_none() && call.yeses.is_empty(), "{line}");
        self.expect_never_asked(at);
        if self.calls[at].step < self.step {
            assert!(self.passed_in_step < Some(at), "overtaken: {line}");
            self.passed_in_step = Some(at);
        }
    }

    fn is_our_state(&self, text: &str) -> bool {
        self.states.iter().any(|state| state.text == text)
    }

    /// A call forwarded in the step in which it arrived must not overtake earlier ones.
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

    /// invariants.md, 2: "One approval, one execution." Each call of 2026-07-28 holds its own
    /// yeses, whose states no other call can use. Returns what a person was shown of it.
    fn spend_state(&mut self, at: usize, line: &Value) -> (&'static str, Option<String>) {
        let call = &self.calls[at];
        let what = &call.intended.what;
        assert!(!call.unfit, "a no, or a state of nothing: {line}");
        let round = call.brought.map(|state| &self.states[state].kind);
        if let Some(Kind::Round {
            count, description, ..
        }) = round
        {
            assert!(*count <= MAX_ROUNDS, "round {count}: {line}");
            // Rules that do not use the list do not tell whether it is known.
            let was_unknown = description.is_none()
                && line["policy_reason"] != "the server does not list this tool";
            assert!(
                was_unknown || self.lists.may_be(&what.tool, description),
                "changed since it was approved: {line}"
            );
            let label = if *count > 2 { "many rounds" } else { "round" };
            return (label, description.clone());
        }
        if line["engine"] == "cache" {
            let description = self.covering(&call.intended);
            let description = description
                .unwrap_or_else(|| panic!("no approval covers {call:?}: {:?}", self.approvals));
            return ("cache", description);
        }
        assert_eq!(line["engine"], "elicitation", "{line}");
        let yeses = &call.yeses;
        assert!(
            is_enough(self.setup.double_confirm, yeses),
            "too few yeses: {call:?}"
        );
        for shown in yeses {
            assert_eq!(shown.what, *what, "{line}");
            assert!(
                self.is_as_shown(shown),
                "as something else than was shown: {shown:?}, {:?}",
                self.lists.readings
            );
        }
        let answered = call.answered;
        assert!(
            answered.is_some_and(|answered| answered.leads_to(line)),
            "{line} after {answered:?}"
        );
        let label = match yeses.as_slice() {
            [_, _] => "two yeses",
            [first] if first.round == QuestionKind::Changed => "changed",
            _ => "approved",
        };
        (label, yeses[0].description.clone())
    }

    /// The call is sent to the upstream, after its record.
    pub(super) fn runs(&mut self, at: usize, line: &Value, text: &str) {
        let call = &self.calls[at];
        let sent: Value = serde_json::from_str(text.trim()).unwrap();
        let state = sent["params"]["requestState"].as_str().unwrap_or_default();
        let is_ours = self.is_our_state(state);
        assert!(!is_ours, "the upstream gets a state of ours: {text}");
        let kind = call.brought.map(|state| &self.states[state].kind);
        if let Some(kind) = kind.filter(|_| line["decision"] != "passed") {
            let mut expected: Value = serde_json::from_str(&call.intended.text).unwrap();
            let params = expected["params"].as_object_mut().unwrap();
            params.remove("requestState");
            match kind {
                // "an approval retry forwards no `inputResponses`".
                Kind::Question { .. } => drop(params.remove("inputResponses")),
                Kind::Round { upstream, .. } => {
                    let upstream = upstream.clone().map(Value::from);
                    params.extend(upstream.map(|state| ("requestState".to_owned(), state)));
                }
            }
            assert_eq!(sent, expected, "only what is ours is left out");
            let args = &call.intended.what.args;
            let is_as_written = args == "null" || text.contains(args);
            assert!(is_as_written, "numbers as written: {text}");
        } else {
            let bare = |text: &str| text.trim_end_matches('\r').to_owned();
            let written = bare(&call.intended.text);
            assert_eq!(bare(text), written, "the call of its line: {line}");
        }
        let unanswered = Unanswered {
            id: call.intended.id.clone(),
            method: "tools/call".to_owned(),
            call: Some(at),
        };
        let before = self.unanswered.insert(call.id.clone(), unanswered);
        assert!(before.is_none(), "two under one id: {text}");
        let call = &mut self.calls[at];
        call.is_ambiguous = self.ambiguous.contains(&call.id);
        call.end = End::Forwarded;
        call.lines += 1;
    }
}
