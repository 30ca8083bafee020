//! Takes verdicts from the store, and says what each is worth here.
//!
//! The gate decides what a verdict that counts lets run.

use std::time::Duration;

use super::{PATIENCE, Waiting, Worker};
use crate::approval::form::accepts;
use crate::approval::item::{Assurance, Choice, Verdict};
use crate::engines::Ending;
use crate::engines::inbox::store::{ErrorKind, SignedVerdict};
use crate::engines::registry::stored_assurance;
use crate::gate::{EngineId, FromEngine};
use crate::sys::with_causes;

/// Why a verdict does not count.
const NOT_SIGNED: &str = "it was not made with the passphrase";
const BELOW_REQUIRED: &str = "its assurance is below `requireAssurance`";
const NOT_FILLED_IN: &str = "its answers do not fit the form";

impl Worker {
    /// Takes new verdicts from the store and delivers them.
    pub(super) fn take_verdicts(&mut self) {
        let now = self.clock.now().elapsed;
        let Some(inbox) = self.inbox.as_mut().filter(|_| !self.waiting.is_empty()) else {
            return;
        };
        let found = inbox.store.requests.changed(Duration::ZERO, None);
        let found = found.and_then(|is_changed| {
            inbox.may_be_closed |= is_changed;
            inbox.may_have_verdicts |= is_changed;
            if !inbox.may_have_verdicts {
                return Ok(Vec::new());
            }
            let verdicts = inbox.store.requests.take_verdicts(&inbox.proxy)?;
            inbox.may_have_verdicts = false;
            Ok(verdicts)
        });
        match found {
            Ok(verdicts) => {
                inbox.failing = None;
                inbox.needs_scrub |= !verdicts.is_empty();
                for (item, signed) in verdicts {
                    self.deliver(&item, signed);
                }
            }
            Err(error) => {
                let since = *inbox.failing.get_or_insert(now);
                // A store may be locked for a moment.
                if error.kind != ErrorKind::Locked || now.saturating_sub(since) >= PATIENCE {
                    self.fail_all(&error);
                }
            }
        }
    }

    /// Sends a verdict to its session, or disregards it if it does not count.
    fn deliver(&mut self, item: &str, signed: SignedVerdict) {
        let Some(waiting) = self.waiting.get(item) else {
            return;
        };
        let by_courier = self.couriers.take_decided(item, &signed.verdict);
        let checked = match by_courier {
            Some(engine) => Ok((engine, signed.verdict.assurance)),
            None => self.check(item, waiting, &signed),
        };
        let mut verdict = signed.verdict;
        let is_filled_in = accepts(waiting.form.as_deref(), verdict.fields.as_deref());
        if verdict.choice == Choice::Approve && !is_filled_in {
            return self.disregard(item, verdict, NOT_FILLED_IN);
        }
        let is_enough = |assurance| {
            let mut required = self.settings.required.iter();
            required.all(|required| required.is_met_by(assurance))
        };
        let engine = match checked {
            Ok((engine, assurance)) if is_enough(assurance) => {
                verdict.assurance = assurance;
                engine
            }
            Ok(_) => return self.disregard(item, verdict, BELOW_REQUIRED),
            Err(why) => return self.disregard(item, verdict, why),
        };
        let ending = Ending::Decided {
            choice: verdict.choice,
            reason: verdict.reason.clone(),
            approver: verdict.approver.clone(),
            engine,
        };
        self.couriers.withdraw(item, &ending);
        let item = item.to_owned();
        if let Some(waiting) = self.waiting.remove(&item) {
            let answer = FromEngine::Verdict {
                engine,
                item,
                verdict,
            };
            // The session may have ended.
            let _ = waiting.answers.send(answer);
        }
    }

    /// Checks a verdict that this process only knows from the store. Returns the engine that it came through, and its
    /// assurance here; or why it does not count.
    ///
    /// What a row claims counts only if it is signed: any program of the user can write rows.
    fn check(
        &self,
        item: &str,
        waiting: &Waiting,
        signed: &SignedVerdict,
    ) -> Result<(EngineId, Assurance), &'static str> {
        let SignedVerdict {
            verdict,
            signature,
            engine: claimed,
        } = signed;
        let claimed = claimed.as_deref();
        if let Some(key) = &self.key {
            let signature = signature.as_deref().unwrap_or_default();
            if !key.verify(item, &waiting.fingerprint, verdict, claimed, signature) {
                tracing::warn!(
                    "ignored a verdict about item {item}: it was not made with the passphrase \
                     that was set when approval-proxy started; if it was yours, restart \
                     approval-proxy"
                );
                return Err(NOT_SIGNED);
            }
        }
        let is_signed = self.key.is_some();
        let Some(claimed) = claimed else {
            let assurance = stored_assurance(verdict.assurance, is_signed);
            return Ok((EngineId::INBOX, assurance));
        };
        let engine = self.couriers.named(claimed);
        let engine = engine.ok_or("it came through an engine that is not configured here")?;
        // Another process received it, and may have another configuration.
        let approver = verdict.approver.as_deref();
        if !self.couriers.recognize(engine, approver) {
            return Err("it came from somebody who is not one of the engine's approvers");
        }
        Ok(match is_signed {
            true => (engine, self.couriers.reach(engine)),
            false => (engine, Assurance::InboxTerminal),
        })
    }

    /// Lets the item wait again, and tells its session and its approvers that a verdict did not count.
    fn disregard(&mut self, item: &str, verdict: Verdict, why: &'static str) {
        if let Some(inbox) = &mut self.inbox
            && let Err(error) = inbox.store.requests.reopen(item)
        {
            tracing::warn!("cannot reopen item {item}: {}", with_causes(&error));
        }
        self.couriers
            .disregarded(item, verdict.approver.as_deref(), why);
        if let Some(waiting) = self.waiting.get(item) {
            let item = item.to_owned();
            // The session may have ended.
            let _ = waiting
                .answers
                .send(FromEngine::Disregarded { item, verdict, why });
        }
    }
}
