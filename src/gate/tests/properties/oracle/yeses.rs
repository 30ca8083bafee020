//! What a human was shown, what the human said, and which call that is for.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::{Call, End, Oracle, Prompt, Yes};
use crate::gate::tests::properties::reading::{
    ByName, Round, Shown, What, by_name, is_surely_high, passes, read_prompt, shown_description,
};

impl Oracle {
    /// A server that calls its tool harmless while a human is asked is not believed.
    pub(super) fn expect_never_asked(&self, at: usize) {
        let what = &self.calls[at].what;
        let twins = self.calls.iter().filter(|call| call.what == *what).count();
        let asked = self.prompts.iter().any(|prompt| prompt.shown.what == *what);
        assert!(twins > 1 || !asked, "was asked about: {:?}", self.calls[at]);
    }

    /// A call runs, so a yes to it is spent.
    pub(super) fn spend_yes(&mut self, at: usize, from_cache: bool, silent: bool) {
        let call = &self.calls[at];
        assert!(!from_cache || self.setup.ttl_secs > 0, "{call:?}");
        assert!(!silent || self.setup.approve_on_timeout);
        assert_ne!(by_name(&self.setup, &call.what.tool), ByName::Block);
        let what = call.what.clone();
        let good = |yes: &Yes| yes.silent == silent && self.is_as_shown(yes);
        if self.setup.ttl_secs == 0 {
            let may = self.yeses_to(&what, |yes| good(yes) && self.is_enough(&yes.shown));
            self.spend(may, &format!("{:?} as it is now", self.calls[at]));
            return;
        }
        // Yeses are not used up. A second one says that there was a first one.
        let is_enough = |yes: &Yes| good(yes) && self.is_enough(&yes.shown) && self.is_recent(yes);
        let may = self.yeses_to(&what, is_enough);
        assert!(
            !may.is_empty(),
            "no yes for {:?} as it is now; yeses: {:?}; readings: {:?}",
            self.calls[at],
            self.yeses,
            self.readings
        );
    }

    /// The yeses to calls that are exactly this, also those that are spent.
    fn yeses_to(&self, what: &What, is_good: impl Fn(&Yes) -> bool) -> Vec<usize> {
        let all = self.yeses.iter().enumerate();
        let good = all.filter(|(_, yes)| yes.shown.what == *what && is_good(yes));
        good.map(|(at, _)| at).collect()
    }

    /// Whether a yes to what was shown needs none behind it.
    fn is_enough(&self, shown: &Shown) -> bool {
        shown.round == Round::Second || !self.setup.double_confirm || !shown.is_high
    }

    /// What was shown is what runs.
    fn is_as_shown(&self, yes: &Yes) -> bool {
        let mut readings = self.readings.iter();
        yes.shown.may_be_unknown
            || readings.any(|list| {
                shown_description(list.as_ref(), &yes.shown.what.tool) == yes.shown.description
            })
    }

    /// Something uses up one of these yeses. Nobody can see which of two identical calls a yes
    /// was for, so some choice must explain all that was seen so far: one that was made before
    /// is made anew where that helps.
    fn spend(&mut self, may: Vec<usize>, what_for: &str) {
        self.uses.push(may);
        let found = self.find_yes(self.uses.len() - 1, &mut BTreeSet::new());
        assert!(
            found,
            "no yes for {what_for}; yeses: {:?}; uses: {:?}; readings: {:?}",
            self.yeses, self.uses, self.readings
        );
    }

    /// Finds a yes for a use. Others make room if they can.
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

    /// Five seconds are for the list.
    fn is_recent(&self, yes: &Yes) -> bool {
        let ttl = if yes.silent { 0 } else { self.setup.ttl_secs };
        self.setup.ttl_secs == 0 || self.now <= yes.at + Duration::from_secs(ttl + 5)
    }

    pub(super) fn sees_prompt(&mut self, request: &Value) {
        self.expect_no_line("a prompt comes");
        assert!(self.is_fresh(&request["id"]), "{request}");
        let message = request["params"]["message"].as_str().unwrap().to_owned();
        let shown = read_prompt(&message);
        let waits = |call: &Call| call.end == End::Waits && call.what == shown.what;
        assert!(
            self.calls.iter().any(waits),
            "a prompt for no call that waits: {message}"
        );
        assert!(
            shown.is_high || !is_surely_high(&shown.what.tool),
            "{message}"
        );
        assert!(!passes(&self.setup, None, &shown.what.tool), "{message}");
        assert!(!self.setup.dry_run && !self.upstream_gone, "{message}");
        let mut since = self.now;
        let mut before = self.prompts.iter();
        let failed = before.find(|prompt| prompt.failed && prompt.message == message);
        if let Some(failed) = failed.filter(|_| self.waited) {
            // It is shown again, and the human has no more time for that.
            since = failed.since;
        } else if shown.round != Round::First {
            self.expect_yes_before(&shown);
        }
        self.prompts.push(Prompt {
            id: request["id"].clone(),
            open: true,
            delivered: false,
            shown,
            message,
            since,
            got: self.now,
            answered_in_step: None,
            answered: None,
            failed: false,
        });
    }

    /// A second question and one about a changed tool follow a yes, which then counts no more.
    fn expect_yes_before(&mut self, shown: &Shown) {
        if shown.round == Round::Second {
            let first = std::mem::take(&mut self.first_yes);
            assert!(first, "the first yes is not in the log: {shown:?}");
        }
        if self.setup.ttl_secs > 0 {
            return;
        }
        let may = self.yeses_to(&shown.what, |yes| match shown.round {
            Round::Second => {
                !self.is_enough(&yes.shown) && yes.shown.description == shown.description
            }
            Round::First | Round::Changed => true,
        });
        self.spend(may, &format!("{shown:?}"));
    }

    pub(super) fn sees_withdrawal(&mut self, notification: &Value) {
        self.expect_no_line("a prompt is withdrawn");
        let id = &notification["params"]["requestId"];
        let found = self.prompts.iter_mut().find(|prompt| prompt.id == *id);
        let prompt = found.unwrap_or_else(|| panic!("not ours: {notification}"));
        let answered_now = prompt.answered_in_step == Some(self.step);
        assert!(
            prompt.open || answered_now,
            "{notification} after {prompt:?}"
        );
        let was_open = std::mem::replace(&mut prompt.open, false);
        let shown = prompt.shown.clone();
        let ran_out = self.setup.timeout_secs.is_some_and(|timeout| {
            was_open
                && prompt.delivered
                && self.client_heard
                && self.now >= prompt.since + Duration::from_secs(timeout)
        });
        let takes_two = self.setup.double_confirm && shown.is_high;
        if ran_out && self.setup.approve_on_timeout && !takes_two {
            self.yeses.push(Yes {
                shown,
                at: self.now,
                silent: true,
                spent_on: None,
            });
        }
    }
}
