//! What the inbox and the client answer about questions that earlier sessions left, and what follows.
//!
//! What is asked for it stands in `resume_lookups`. A question that is resumed is parked in this session, as if it had been
//! parked here; what becomes of it then is decided in `ask`.

use std::time::Duration;

use super::ask::{Ask, Event};
use super::held::{AskKey, Era, HeldKey};
use super::output::{Output, ParkedItem, Resume, Resumption, ToEngine};
use super::refusal::Refusal;
use super::resume_lookups::{ResumeLookup, Roots, Step, digest_of};
use super::state::{Gate, Now};
use super::verdict::Failed;
use crate::evidence::record::Outcome;
use crate::mcp::roots;

impl Gate {
    /// The inbox tells something of questions that earlier sessions left.
    pub(super) fn resumption(&mut self, told: Resumption, now: Now) {
        match told {
            Resumption::IsAny(is_any) => self.is_any_left(is_any, now),
            Resumption::Found { lookup, parked } => self.found_left(lookup, parked, now),
            Resumption::Unmarked { item } => self.unmarked(&item),
            Resumption::TakenUp { item, is_done } => self.taken_up(&item, is_done, now),
        }
    }

    fn is_any_left(&mut self, is_any: bool, now: Now) {
        if !is_any {
            self.resume_lookups.found_none(now.elapsed);
        }
        let is_it = |lookup: &ResumeLookup| matches!(lookup.step, Step::IsAny(_));
        self.continue_lookups(&self.resume_lookups.calls(is_it), is_any, now);
    }

    /// Looks for what was left about these calls, if there `may_be` something; else people are asked about them.
    fn continue_lookups(&mut self, calls: &[HeldKey], may_be: bool, now: Now) {
        for call in calls {
            let Some(lookup) = self.resume_lookups.take(*call) else {
                continue;
            };
            let (Step::IsAny(ask) | Step::Roots(ask)) = lookup.step else {
                self.resume_lookups.insert(*call, lookup);
                continue;
            };
            if !may_be || !self.find_left(*call, ask, lookup.until, now) {
                self.resume_lookups.take(*call);
                self.ask_as_before(*call, now);
            }
        }
    }

    /// A question was found, or none. INVARIANT 2: what it shows is what this session would show; it has only a verdict
    /// that comes for it from now on.
    fn found_left(&mut self, call: HeldKey, parked: Option<ParkedItem>, now: Now) {
        let lookup = self
            .resume_lookups
            .take(call)
            .map(|lookup| (lookup.until, lookup.step));
        let ask = match lookup {
            Some((_, Step::Item(ask))) => Some(ask),
            Some((until, step)) => {
                self.resume_lookups
                    .insert(call, ResumeLookup { until, step });
                None
            }
            None => None,
        };
        let engine = self.settings.inbox();
        match (ask, engine, parked) {
            (Some(mut ask), Some(engine), Some(parked)) => {
                let left = parked.until_ms.saturating_sub(now.unix_ms);
                let left = Duration::from_millis(u64::try_from(left).unwrap_or_default());
                // Others may write to the store, and a clock may go back.
                let left = left.min(self.settings.park_for);
                self.record_event(now, "resumed", &[("item", &parked.id)]);
                ask.resume(parked.id, engine, now.elapsed.saturating_add(left));
                let key = self.fresh_key();
                self.asks.insert(key, *ask);
                self.make_room_for_parked(key, now);
                self.ask_as_before(call, now);
            }
            // It comes too late: nobody waits for it here any more.
            (None, _, Some(parked)) | (Some(_), None, Some(parked)) => {
                let item = parked.id;
                self.put(Output::ToEngine(ToEngine::Resume(Resume::Leave { item })));
            }
            (Some(_), _, None) => self.ask_as_before(call, now),
            (None, _, None) => {}
        }
    }

    /// Nobody else can have the answer of a question that is parked here, or somebody has it.
    fn taken_up(&mut self, taken: &str, is_done: bool, now: Now) {
        let is_it = |ask: &Ask| ask.is_resumable() && ask.item() == Some(taken);
        let ask = self.asks.find(is_it);
        if let Some(ask) = ask {
            self.take_up_or_leave(ask, is_done, now);
        }
        let is_it = |lookup: &ResumeLookup| matches!(&lookup.step, Step::TakeUp { item, .. } if item == taken);
        let calls = self.resume_lookups.calls(is_it);
        for call in &calls {
            self.resume_lookups.take(*call);
            self.ask_as_before(*call, now);
        }
        if let Some(ask) = ask.filter(|_| calls.is_empty()) {
            // Its call was taken back meanwhile.
            self.mark_parked(ask, now);
        }
    }

    /// A question ends with this session after all, so nobody else can have its answer.
    fn unmarked(&mut self, item: &str) {
        if let Some(ask) = self.asks.find(|ask| ask.item() == Some(item)) {
            self.asks.set_resumable(ask, false);
        }
    }

    fn take_up_or_leave(&mut self, ask: AskKey, is_done: bool, now: Now) {
        if is_done {
            return self.asks.set_resumable(ask, false);
        }
        if self.asks.get(ask).is_some_and(Ask::is_resumable) {
            // INVARIANT 2: its answer may have let a call run elsewhere.
            let failed = Failed::new(Outcome::Error, Refusal::Cancelled);
            self.step(ask, Event::Ended(failed), now);
        }
    }

    /// The client has told its roots, or that it does not.
    pub(super) fn roots_answered(&mut self, result: Option<&str>, now: Now) {
        let uris = roots::read_list(result);
        self.roots = match uris {
            Some(uris) => Roots::Known(digest_of(uris.iter().map(String::as_bytes))),
            None => Roots::Withheld,
        };
        let is_it = |lookup: &ResumeLookup| matches!(lookup.step, Step::Roots(_));
        self.continue_lookups(&self.resume_lookups.calls(is_it), true, now);
        for key in self.asks.keys(Ask::is_parked) {
            self.mark_parked(key, now);
        }
    }

    /// Calls that have waited for too long wait no more.
    pub(super) fn tick_lookups(&mut self, now: Now) {
        let is_due = |lookup: &ResumeLookup| lookup.until <= now.elapsed;
        for call in self.resume_lookups.calls(is_due) {
            self.seek_no_more(call, now);
        }
    }

    /// The client has closed: nothing is sought for it.
    pub(super) fn end_lookups(&mut self, now: Now) {
        for call in self.resume_lookups.calls(|_| true) {
            self.seek_no_more(call, now);
        }
    }

    fn seek_no_more(&mut self, call: HeldKey, now: Now) {
        let Some(lookup) = self.resume_lookups.take(call) else {
            return;
        };
        if let Step::TakeUp { ask, .. } = lookup.step {
            self.take_up_or_leave(ask, false, now);
        }
        self.ask_as_before(call, now);
    }

    /// The client begins another session. INVARIANT 2: nothing that was sought for the old one lets anything run in it.
    pub(super) fn abandon_lookups(&mut self, failed: &Failed, now: Now) {
        self.forget_roots();
        for call in self.resume_lookups.calls(|_| true) {
            if self
                .held
                .get(&call)
                .is_some_and(|held| held.era == Era::Legacy)
            {
                self.resume_lookups.take(call);
                if let Some(held) = self.take_held(call) {
                    self.tell_refused(&held, failed, now);
                }
            }
        }
    }

    /// A call that was to be asked about, is.
    fn ask_as_before(&mut self, call: HeldKey, now: Now) {
        let subject = self.held.get(&call).and_then(|held| held.subject.as_ref());
        if let Some(decision) = subject.map(|subject| subject.decision.clone()) {
            self.ask_about_held(call, decision, now);
        }
    }
}
