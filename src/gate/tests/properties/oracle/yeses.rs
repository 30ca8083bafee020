//! What a human was shown, what the human said, and which call that is for.

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

    pub(super) fn spend_yes(&mut self, at: usize, from_cache: bool, silent: bool) {
        let call = &self.calls[at];
        assert!(!from_cache || self.setup.ttl_secs > 0, "{call:?}");
        assert!(!silent || self.setup.approve_on_timeout);
        assert_ne!(by_name(&self.setup, &call.what.tool), ByName::Block);
        let good = self.yeses.iter().enumerate();
        let good = good.filter(|(_, yes)| yes.shown.what == call.what && yes.silent == silent);
        let (seconds, firsts): (Vec<_>, Vec<_>) =
            good.partition(|(_, yes)| yes.shown.round == Round::Second);
        let second = seconds.iter().find(|(_, yes)| self.is_recent(yes));
        let second = second.map(|(at, _)| *at);
        // What was shown is what runs.
        let is_as_shown = |yes: &Yes| {
            let mut readings = self.readings.iter();
            yes.shown.may_be_unknown
                || readings.any(|list| {
                    shown_description(list.as_ref(), &call.what.tool) == yes.shown.description
                })
        };
        let firsts = firsts.into_iter().filter(|(_, yes)| is_as_shown(yes));
        let mut enough = firsts.filter_map(|(first, yes)| {
            if self.setup.double_confirm && yes.shown.is_high {
                second.map(|second| vec![first, second])
            } else {
                self.is_recent(yes).then(|| vec![first])
            }
        });
        let mut spent = enough.next().unwrap_or_else(|| {
            panic!(
                "no yes for {call:?} as it is now; yeses: {:?}; readings: {:?}",
                self.yeses, self.readings
            )
        });
        if self.setup.ttl_secs > 0 {
            return;
        }
        spent.sort_unstable();
        for yes in spent.into_iter().rev() {
            self.yeses.remove(yes);
        }
    }

    /// Five seconds are for the list.
    fn is_recent(&self, yes: &Yes) -> bool {
        let ttl = if yes.silent { 0 } else { self.setup.ttl_secs };
        self.setup.ttl_secs == 0 || self.now <= yes.at + Duration::from_secs(ttl + 5)
    }

    /// The second yes did not come, or the first was for what the tool was before.
    pub(super) fn forget_first_yes(&mut self, shown: &Shown) {
        if shown.round != Round::Second || self.setup.ttl_secs > 0 {
            return;
        }
        let first = self.yeses.iter().position(|yes| {
            yes.shown.what == shown.what && yes.shown.round != Round::Second && !yes.silent
        });
        first.map(|first| self.yeses.remove(first));
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
        } else if shown.round == Round::Changed && self.setup.ttl_secs == 0 {
            // The yes was for what the tool was before.
            self.void_yes(&shown.what);
        } else if shown.round == Round::Second {
            let first = std::mem::take(&mut self.first_yes);
            assert!(first, "the first yes is not in the log: {message}");
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

    fn void_yes(&mut self, what: &What) {
        let rounds = [false, true];
        for second in rounds
            .into_iter()
            .take(1 + usize::from(self.setup.double_confirm))
        {
            // What was shown while the list was not known, no list contradicts.
            let is_current = |yes: &Yes| {
                let mut readings = self.readings.iter();
                let is_listed_so = readings.any(|list| {
                    shown_description(list.as_ref(), &what.tool) == yes.shown.description
                });
                (yes.shown.may_be_unknown, is_listed_so)
            };
            let mut found: Vec<usize> = (0..self.yeses.len())
                .filter(|yes| {
                    let shown = &self.yeses[*yes].shown;
                    shown.what == *what && (shown.round == Round::Second) == second
                })
                .collect();
            found.sort_by_key(|yes| is_current(&self.yeses[*yes]));
            if let Some(found) = found.first() {
                self.yeses.remove(*found);
            }
        }
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
            });
        } else {
            self.forget_first_yes(&shown);
        }
    }
}
