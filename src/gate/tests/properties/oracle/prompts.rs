//! Questions that are requests from the gate, and the yeses that answer them.
//!
//! A prompt shows its call, but does not tell two identical calls apart. So a yes may be for
//! either, and some assignment must explain everything that runs.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::{Answer, Answered, End, Oracle};
use crate::gate::tests::properties::reading::{
    ByName, QuestionKind, Shown, What, by_name, is_surely_high, passes, read_prompt,
    shown_description,
};
use crate::gate::tests::properties::steps::Era;

/// A prompt that the client got.
#[derive(Debug)]
pub(in super::super) struct Prompt {
    pub(in super::super) id: Value,
    pub(in super::super) open: bool,
    delivered: bool,
    shown: Shown,
    message: String,
    /// When the person's time began, and whether that is certain.
    since: Duration,
    is_since_sure: bool,
    /// When the client received it, or when it was sent.
    got: Duration,
    answered_in_step: Option<u32>,
    /// The answer, given while it was open.
    answered: Option<Answered>,
    /// The client could not show it, so it may be repeated.
    failed: bool,
}

/// A yes that a person gave in this session.
#[derive(Debug)]
pub(super) struct Yes {
    shown: Shown,
    at: Duration,
    /// Nobody answered, and the operator lets silence count.
    silent: bool,
    /// What it was used for, if anything.
    spent_on: Option<usize>,
}

impl Oracle {
    pub(in super::super) fn delivers_prompts(&mut self) {
        for prompt in &mut self.prompts {
            if !std::mem::replace(&mut prompt.delivered, true) {
                prompt.got = self.now;
            }
        }
    }

    pub(super) fn sees_prompt(&mut self, request: &Value) {
        assert!(self.is_fresh(&request["id"]), "{request}");
        let message = request["params"]["message"].as_str().unwrap().to_owned();
        let shown = read_prompt(&message);
        let tool = &shown.what.tool;
        assert!(shown.is_high || !is_surely_high(tool), "{message}");
        assert!(!passes(&self.setup, None, tool), "{message}");
        let is_over = self.setup.dry_run || self.client_gone || self.upstream_gone;
        assert!(!is_over, "{message}");
        let mut since = self.now;
        let before = self.prompts.iter().filter(|_| self.setup.retries > 0);
        let failed = before.filter(|prompt| prompt.failed && prompt.message == message);
        let failed: Vec<Duration> = failed.map(|prompt| prompt.since).collect();
        if let Some(first) = failed.first().filter(|_| self.waited || self.is_late) {
            // It is shown again, without additional time for the person.
            since = *first;
        } else if shown.round != QuestionKind::First {
            self.expect_yes_before(&shown);
        }
        let prompt = Prompt {
            id: request["id"].clone(),
            open: true,
            delivered: false,
            shown,
            message,
            since,
            is_since_sure: failed.is_empty(),
            got: self.now,
            answered_in_step: None,
            answered: None,
            failed: false,
        };
        let is_about_one = self.is_about_one_that_waits(&prompt);
        assert!(is_about_one, "about no call that waits: {prompt:?}");
        self.prompts.push(prompt);
    }

    pub(super) fn is_about_one_that_waits(&self, prompt: &Prompt) -> bool {
        let mut calls = self.calls.iter();
        calls.any(|call| {
            let is_legacy = call.intended.era() == Era::Legacy;
            is_legacy && call.end == End::Waits && call.intended.what == prompt.shown.what
        })
    }

    /// The client answers a prompt. `alone`: in a line of its own, so nothing else can end the call
    /// first.
    pub(in super::super) fn answers(&mut self, at: usize, answer: Answer, alone: bool) {
        let timeout = self.setup.timeout_secs.map(Duration::from_secs);
        let prompt = &mut self.prompts[at];
        // It may have expired before this step, although no timer has fired yet.
        let is_late = timeout.is_some_and(|timeout| prompt.since + timeout <= self.now);
        if (is_late && prompt.is_since_sure) || !std::mem::replace(&mut prompt.open, false) {
            return;
        }
        prompt.answered_in_step = Some(self.step);
        let took = self.now - prompt.got;
        prompt.answered = Some(Answered { answer, took });
        self.must_refuse |= alone && !is_late && answer.refuses();
        match answer {
            Answer::Yes => self.yeses.push(Yes {
                shown: prompt.shown.clone(),
                at: self.now,
                silent: false,
                spent_on: None,
            }),
            Answer::Declined | Answer::Dismissed | Answer::Invalid => {}
            Answer::Failed => prompt.failed = true,
        }
    }

    pub(super) fn sees_withdrawal(&mut self, notification: &Value) {
        let id = &notification["params"]["requestId"];
        let found = self.prompts.iter_mut().find(|prompt| prompt.id == *id);
        let prompt = found.unwrap_or_else(|| panic!("not ours: {notification}"));
        let answered_now = prompt.answered_in_step == Some(self.step);
        assert!(
            prompt.open || answered_now,
            "{notification} after {prompt:?}"
        );
        let was_open = std::mem::replace(&mut prompt.open, false);
        let ran_out = self.setup.timeout_secs.is_some_and(|timeout| {
            // An answer that may have been late may not have counted.
            (was_open || !prompt.is_since_sure)
                && prompt.delivered
                && self.client_heard
                && self.now >= prompt.since + Duration::from_secs(timeout)
        });
        let takes_two = self.setup.double_confirm && prompt.shown.is_high;
        if ran_out && self.setup.approve_on_timeout && !takes_two {
            self.yeses.push(Yes {
                shown: prompt.shown.clone(),
                at: self.now,
                silent: true,
                spent_on: None,
            });
        }
    }

    /// The answer in this step that led to the record of a refusal, if one did.
    pub(super) fn answer_behind(&mut self, at: usize, line: &Value) -> Option<Answered> {
        let call = &self.calls[at];
        if call.intended.era() == Era::Stateless {
            return call.answered.filter(|answered| answered.leads_to(line));
        }
        let mut prompts = self.prompts.iter().filter(|prompt| {
            prompt.answered_in_step == Some(self.step) && prompt.shown.what == call.intended.what
        });
        let found = prompts.find_map(|prompt| prompt.answered.filter(|it| it.leads_to(line)));
        self.must_refuse &= found.is_none();
        found
    }

    /// A server that declares its tool harmless while a person is being asked is not believed.
    pub(super) fn expect_never_asked(&self, at: usize) {
        let call = &self.calls[at];
        let what = &call.intended.what;
        let twins = self.calls.iter().filter(|call| call.intended.what == *what);
        let asked = self.prompts.iter().any(|prompt| prompt.shown.what == *what);
        let is_legacy = call.intended.era() == Era::Legacy;
        assert!(
            !asked || !is_legacy || twins.count() > 1,
            "was asked about: {call:?}"
        );
    }

    /// A legacy call runs, so a yes to it is used up.
    pub(super) fn spend_yes(&mut self, at: usize, from_cache: bool, silent: bool) {
        let call = &self.calls[at];
        assert!(!from_cache || self.setup.ttl_secs > 0, "{call:?}");
        assert!(!silent || self.setup.approve_on_timeout);
        assert_ne!(
            by_name(&self.setup, &call.intended.what.tool),
            ByName::Block
        );
        // If an approval covers other calls, yeses are not used up. A second one implies a first
        // one.
        let may = self.yeses_to(&call.intended.what, |yes| {
            let is_good = yes.silent == silent && self.is_as_shown(&yes.shown);
            is_good && self.is_enough(&yes.shown) && self.is_recent(yes)
        });
        let what_for = format!("{call:?} as it is now");
        if self.setup.ttl_secs == 0 {
            self.spend(may, &what_for);
        } else {
            assert!(!may.is_empty(), "no yes for {what_for}: {:?}", self.yeses);
        }
    }

    /// A second question, or one about a changed tool, follows a yes, which then no longer counts.
    fn expect_yes_before(&mut self, shown: &Shown) {
        if shown.round == QuestionKind::Second {
            let first = std::mem::take(&mut self.first_yes);
            assert!(first, "the first yes is not in the log: {shown:?}");
        }
        if self.setup.ttl_secs > 0 {
            return;
        }
        let may = self.yeses_to(&shown.what, |yes| match shown.round {
            QuestionKind::Second => {
                !self.is_enough(&yes.shown) && yes.shown.description == shown.description
            }
            QuestionKind::First | QuestionKind::Changed => true,
        });
        self.spend(may, &format!("{shown:?}"));
    }

    /// The yeses to identical calls, including used ones.
    fn yeses_to(&self, what: &What, is_good: impl Fn(&Yes) -> bool) -> Vec<usize> {
        let all = self.yeses.iter().enumerate();
        let good = all.filter(|(_, yes)| yes.shown.what == *what && is_good(yes));
        good.map(|(at, _)| at).collect()
    }

    /// Returns true if a yes to what was shown is enough by itself.
    fn is_enough(&self, shown: &Shown) -> bool {
        shown.round == QuestionKind::Second || !self.setup.double_confirm || !shown.is_high
    }

    /// What was shown is what runs.
    pub(super) fn is_as_shown(&self, shown: &Shown) -> bool {
        let mut readings = self.lists.readings.iter();
        shown.may_be_unknown
            || readings
                .any(|list| shown_description(list.as_ref(), &shown.what.tool) == shown.description)
    }

    /// Allows five seconds for the list, and more if timers fire late.
    fn is_recent(&self, yes: &Yes) -> bool {
        let ttl = if yes.silent { 0 } else { self.setup.ttl_secs };
        self.setup.ttl_secs == 0
            || self.is_late
            || self.now <= yes.at + Duration::from_secs(ttl + 5)
    }

    /// Uses up one of these yeses. It is not visible which of two identical calls a yes was for, so
    /// some assignment must explain everything seen so far. Earlier assignments are changed if that
    /// helps.
    fn spend(&mut self, may: Vec<usize>, what_for: &str) {
        self.uses.push(may);
        let found = self.find_yes(self.uses.len() - 1, &mut BTreeSet::new());
        assert!(
            found,
            "no yes for {what_for}; yeses: {:?}; uses: {:?}; readings: {:?}",
            self.yeses, self.uses, self.lists.readings
        );
    }

    /// Finds a yes for a use. Reassigns other uses if necessary.
    fn find_yes(&mut self, of: usize, tried: &mut BTreeSet<usize>) -> bool {
        for yes in self.uses[of].clone() {
            if !tried.insert(yes) {
                continue;
            }
            let is_free = match self.yeses[yes].spent_on {
                Some(other) => self.find_yes(other, tried),
                None => true,
            };
            if is_free {
                self.yeses[yes].spent_on = Some(of);
                return true;
            }
        }
        false
    }
}
