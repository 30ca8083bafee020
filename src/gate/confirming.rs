//! What lies between a yes and the call: the tool must still be what was shown.
//!
//! Where yeses come from is `asking`'s and `rounds`' business.

use super::held::{Approved, AskedAs, Era, Failed, Grant, Held, HeldKey, Stage, Via};
use super::list_meta::stateless_meta;
use super::output::{NeededApproval, Payload};
use super::recording::Finding;
use super::refusal::Refusal;
use super::state::{Gate, InFlight, Now, Peer};
use crate::approval::item::Choice;
use crate::audit::record::{Forwarded, Outcome};
use crate::policy::Action;

/// How often a tool may change under one call before nobody is asked again.
const MAX_CHANGES: u32 = 3;

impl Gate {
    /// Something lets a held call run. INVARIANT 2: it runs only if the tool is still what
    /// was shown; otherwise it is asked about again.
    pub(super) fn confirm(&mut self, key: HeldKey, grant: &Grant, now: Now) {
        let is_sure_enough = self.is_sure_enough(grant.via);
        let Some(held) = self.held.get_mut(&key) else {
            return;
        };
        let Some(asked_as) = held.asked_as.clone() else {
            return self.fail_held(key, "the call was never asked about", now);
        };
        held.stage = Stage::Confirm(grant.clone());
        let era = held.era;
        if !is_sure_enough {
            // INVARIANT 3: whatever asked, what does not assure enough is a refusal.
            let Some(held) = self.take_held(key) else {
                return;
            };
            let failed = Failed::new(Outcome::Denied, Refusal::TooWeak).via(Some(grant.via));
            return self.tell_refused(&held, &failed, now);
        }
        if self.client == Peer::Gone {
            // INVARIANT 3: a client that is lost before its call runs is a refusal.
            let Some(held) = self.take_held(key) else {
                return;
            };
            let failed = Failed::new(Outcome::Cancelled, Refusal::Cancelled);
            return self.tell_refused(&held, &failed, now);
        }
        if !self.catalogue.is_settled(now.elapsed) {
            let meta = stateless_meta(&held.call.params());
            return self.want_list(era, meta, now);
        }
        let name = held.tool.clone();
        if asked_as.fits(self.definition_of(&name)) {
            let approved = self.take_held(key).map(|held| (held, asked_as));
            if let Some((held, asked_as)) = approved {
                self.release_approved(&held, asked_as, grant, now);
            }
            return;
        }
        self.ask_anew(key, now);
    }

    /// Whether what lets a call run has the assurance that the operator requires. What an earlier
    /// approval covers has the assurance of that one.
    fn is_sure_enough(&self, via: Via) -> bool {
        via == Via::CACHE
            || self.settings.require_assurance.is_none()
            || (via.assurance).is_some_and(|assurance| self.settings.counts(assurance))
    }

    /// Releases a call, already taken out, that a human let run.
    fn release_approved(&mut self, held: &Held, asked_as: AskedAs, grant: &Grant, now: Now) {
        let risk = asked_as.decision.risk;
        let rule = asked_as.decision.reason.code();
        let is_news = !grant.is_in_history && grant.via.assurance.is_some();
        let for_history = is_news.then(|| asked_as.clone());
        let policy_reason = asked_as.decision.reason.text();
        let digest = Some(asked_as.digest);
        let expected = match held.era {
            // It need not be known any more, unless the call may come back.
            Era::Legacy if !self.may_return_calls => InFlight::Any,
            // INVARIANT 2: what comes may be about another request, and no round of this call.
            Era::Stateless if self.ambiguous.contains_any(&held.id) => InFlight::Any,
            // Its answer may be a question of the upstream's.
            Era::Legacy | Era::Stateless => InFlight::Approved(Box::new(Approved {
                tool: held.tool.clone(),
                era: held.era,
                asked_as,
                grant: Grant {
                    is_in_history: true,
                    ..grant.clone()
                },
                round: held.round,
            })),
        };
        let finding = Finding {
            outcome: grant.outcome,
            risk,
            rule,
            reason: &grant.reason,
            policy_reason: Some(&policy_reason),
            forwarded: Forwarded::Yes,
            digest,
            via: Some(grant.via),
        };
        self.with_held(held, |gate, call, text| {
            let payload = Payload::Text(text);
            gate.release(call, &finding, payload, NeededApproval::Yes, expected, now);
        });
        if let Some(asked_as) = for_history {
            let verdict = (Choice::Approve, grant.reason_given());
            self.tell_history(held, &asked_as, verdict, grant.via, now);
        }
    }

    /// Whether a call's tool is still what the call was asked about as, as far as is known.
    pub(super) fn is_as_shown(&self, held: &Held) -> bool {
        let asked_as = held.asked_as.as_ref();
        asked_as.is_some_and(|asked_as| asked_as.fits(self.definition_of(&held.tool)))
    }

    /// The tool is no longer what a call was asked about as.
    pub(super) fn ask_anew(&mut self, key: HeldKey, now: Now) {
        let Some(held) = self.held.get_mut(&key) else {
            return;
        };
        held.changes += 1;
        let refusal = match held.changes {
            // It has run in part, with what the upstream knows of it; nobody was shown that.
            _ if held.round > 0 => Some(Refusal::ChangedBetweenRounds),
            changes if changes > MAX_CHANGES => Some(Refusal::KeepsChanging),
            _ => None,
        };
        let name = held.tool.clone();
        let before = held.asked_as.clone().map(|asked_as| asked_as.decision);
        if let Some(refusal) = refusal {
            let Some(held) = self.take_held(key) else {
                return;
            };
            return self.tell_refused(&held, &Failed::new(Outcome::Error, refusal), now);
        }
        // A server that calls its tool harmless while a human is asked is not believed.
        let decision = self.decide(&name, now);
        let decision = decision.filter(|decision| decision.action == Action::Ask);
        match decision.or(before) {
            Some(decision) => self.ask_about_held(key, &decision, now),
            None => self.fail_held(key, "the call was never asked about", now),
        }
    }
}
