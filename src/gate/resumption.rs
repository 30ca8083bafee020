//! Handles the answers of the inbox and the client about questions that earlier sessions left.
//!
//! `resume_lookups` asks for them. A resumed question is parked in this session as if it had been parked here; from
//! then on `ask` handles it.

use std::time::Duration;

use super::ask::{Ask, Event};
use super::held::{AskKey, Era, HeldKey};
use super::output::{Output, ParkedItem, Resume, Resumption, ToEngine};
use super::refusal::Refusal;
use super::resume_lookups::{LookupStep, ResumeLookup, Roots, digest_of};
use super::state::{Gate, Now};
use super::verdict::Failed;
use crate::evidence::record::Outcome;
use crate::mcp::roots;

impl Gate {
    /// Handles a message from the inbox about questions that earlier sessions left.
    pub(super) fn resumption(&mut self, reply: Resumption, now: Now) {
        match reply {
            Resumption::IsAny(is_any) => self.any_parked(is_any, now),
            Resumption::Found { lookup, parked } => self.lookup_found(lookup, parked, now),
            Resumption::Unmarked { item } => self.unmarked(&item),
            Resumption::TakenUp { item, is_done } => self.taken_up(&item, is_done, now),
        }
    }

    fn any_parked(&mut self, is_any: bool, now: Now) {
        if !is_any {
            self.resume_lookups.found_none(now.elapsed);
        }
        let is_it = |lookup: &ResumeLookup| matches!(lookup.step, LookupStep::IsAny(_));
        self.continue_lookups(&self.resume_lookups.calls(is_it), is_any, now);
    }

    /// Looks for questions left about these calls, if there may be any; otherwise asks people about the calls.
    fn continue_lookups(&mut self, calls: &[HeldKey], may_be: bool, now: Now) {
        for call in calls {
            let Some(lookup) = self.resume_lookups.take(*call) else {
                continue;
            };
            let (LookupStep::IsAny(ask) | LookupStep::Roots(ask)) = lookup.step else {
                self.resume_lookups.insert(*call, lookup);
                continue;
            };
            if !may_be || !self.look_for_parked(*call, ask, lookup.until, now) {
                self.resume_lookups.take(*call);
                self.resume_asking(*call, now);
            }
        }
    }

    /// Handles the result of a lookup. INVARIANT 2: the question shows what this session would show, and only a verdict
    /// that arrives from now on counts.
    fn lookup_found(&mut self, call: HeldKey, parked: Option<ParkedItem>, now: Now) {
        let lookup = self
            .resume_lookups
            .take(call)
            .map(|lookup| (lookup.until, lookup.step));
        let ask = match lookup {
            Some((_, LookupStep::Item(ask))) => Some(ask),
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
                // Others may write to the store, and clocks may go backwards.
                let left = left.min(self.settings.park_for);
                self.record_event(now, "resumed", &[("item", &parked.id)]);
                ask.resume(parked.id, engine, now.elapsed.saturating_add(left));
                let key = self.fresh_key();
                self.asks.insert(key, *ask);
                self.make_room_for_parked(key, now);
                self.resume_asking(call, now);
            }
            // Too late: nobody waits for it here any more.
            (None, _, Some(parked)) | (Some(_), None, Some(parked)) => {
                let item = parked.id;
                self.put(Output::ToEngine(ToEngine::Resume(Resume::Leave { item })));
            }
            (Some(_), _, None) => self.resume_asking(call, now),
            (None, _, None) => {}
        }
    }

    /// Handles the inbox's reply to taking up a parked question: either nobody else can have its answer, or somebody
    /// has it.
    fn taken_up(&mut self, taken: &str, is_done: bool, now: Now) {
        let is_it = |ask: &Ask| ask.is_resumable() && ask.item() == Some(taken);
        let ask = self.asks.find(is_it);
        if let Some(ask) = ask {
            self.take_up_or_leave(ask, is_done, now);
        }
        let is_it = |lookup: &ResumeLookup| matches!(&lookup.step, LookupStep::TakeUp { item, .. } if item == taken);
        let calls = self.resume_lookups.calls(is_it);
        for call in &calls {
            self.resume_lookups.take(*call);
            self.resume_asking(*call, now);
        }
        if let Some(ask) = ask.filter(|_| calls.is_empty()) {
            // Its call was cancelled in the meantime.
            self.mark_parked(ask, now);
        }
    }

    /// Handles a question that could not be marked: it ends with this session, so nobody else can have its answer.
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
            // INVARIANT 2: its answer may have let a call run in another session.
            let failed = Failed::new(Outcome::Error, Refusal::Cancelled);
            self.step(ask, Event::Ended(failed), now);
        }
    }

    /// Handles the client's roots, or its refusal to give them.
    pub(super) fn roots_answered(&mut self, result: Option<&str>, now: Now) {
        let uris = roots::read_list(result);
        self.roots = match uris {
            Some(uris) => Roots::Known(digest_of(uris.iter().map(String::as_bytes))),
            None => Roots::Withheld,
        };
        let is_it = |lookup: &ResumeLookup| matches!(lookup.step, LookupStep::Roots(_));
        self.continue_lookups(&self.resume_lookups.calls(is_it), true, now);
        for key in self.asks.keys(Ask::is_parked) {
            self.mark_parked(key, now);
        }
    }

    /// Ends the lookups of calls that have waited too long.
    pub(super) fn tick_lookups(&mut self, now: Now) {
        let is_due = |lookup: &ResumeLookup| lookup.until <= now.elapsed;
        for call in self.resume_lookups.calls(is_due) {
            self.stop_lookup(call, now);
        }
    }

    /// Ends all lookups: the client has closed.
    pub(super) fn end_lookups(&mut self, now: Now) {
        for call in self.resume_lookups.calls(|_| true) {
            self.stop_lookup(call, now);
        }
    }

    fn stop_lookup(&mut self, call: HeldKey, now: Now) {
        let Some(lookup) = self.resume_lookups.take(call) else {
            return;
        };
        if let LookupStep::TakeUp { ask, .. } = lookup.step {
            self.take_up_or_leave(ask, false, now);
        }
        self.resume_asking(call, now);
    }

    /// Ends the lookups of the client's old session. INVARIANT 2: they let nothing run in the new one.
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
                    self.refuse_held(&held, failed, now);
                }
            }
        }
    }

    /// Asks about a call, now that its lookup is over.
    fn resume_asking(&mut self, call: HeldKey, now: Now) {
        let subject = self.held.get(&call).and_then(|held| held.subject.as_ref());
        if let Some(decision) = subject.map(|subject| subject.decision.clone()) {
            self.ask_about_held(call, decision, now);
        }
    }
}
