//! Gives items to the couriers of their engines, and takes the couriers' results.
//!
//! The store accepts one verdict per item, from whichever engine.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::Worker;
use crate::approval::item::{Assurance, Item, Verdict, read_approver};
use crate::engines::inbox::store::{Decided, SignedVerdict, cut_reason};
use crate::engines::{Answer, CarriedVerdict, Courier, CourierContext, CourierSettings, Ending};
use crate::gate::{EngineId, Failure, FailureKind, FromEngine};
use crate::sys::with_causes;

/// An engine that has a courier.
#[derive(Debug, Clone)]
pub struct ConfiguredCourier {
    /// What the courier gets from this process, with the engine's name.
    pub context: CourierContext,
    /// The assurance of its verdicts.
    pub reach: Assurance,
    /// Its configuration.
    pub settings: Arc<dyn CourierSettings>,
}

/// The result of a courier for one item.
type CourierResult = (String, EngineId, Result<CarriedVerdict, Failure>);

/// The couriers of this process. Each is created when it is first needed.
pub(in crate::engines::inbox) struct Couriers {
    configured: Vec<ConfiguredCourier>,
    running: HashMap<EngineId, Box<dyn Courier>>,
    /// The engines that carry each item.
    carried: HashMap<String, Vec<EngineId>>,
    /// The verdicts of our couriers that the store has accepted. We read them back from it in a moment.
    decided: HashMap<String, (EngineId, Verdict)>,
    sender: Sender<CourierResult>,
    results: Receiver<CourierResult>,
}

impl Couriers {
    pub(in crate::engines::inbox) fn new(configured: Vec<ConfiguredCourier>) -> Couriers {
        let (sender, results) = channel();
        Couriers {
            configured,
            running: HashMap::new(),
            carried: HashMap::new(),
            decided: HashMap::new(),
            sender,
            results,
        }
    }

    /// Returns the engine of this verdict if it is from one of our couriers. We compare it with our own memory, so no
    /// other process can have forged it.
    pub(super) fn take_decided(&mut self, item: &str, verdict: &Verdict) -> Option<EngineId> {
        let (engine, decided) = self.decided.remove(item)?;
        (decided == *verdict).then_some(engine)
    }

    /// Withdraws the item from its couriers, because nobody waits for its verdict any more.
    pub(super) fn withdraw(&mut self, item: &str, ending: &Ending) {
        self.decided.remove(item);
        for engine in self.carried.remove(item).unwrap_or_default() {
            if let Some(courier) = self.running.get_mut(&engine) {
                courier.withdraw(item, ending);
            }
        }
    }

    /// Tells the item's couriers that a verdict did not count.
    pub(super) fn disregarded(&mut self, item: &str, approver: Option<&str>, why: &str) {
        for engine in self.carried.get(item).into_iter().flatten() {
            if let Some(courier) = self.running.get_mut(engine) {
                courier.disregarded(item, approver, why);
            }
        }
    }

    /// Returns the engine with this name.
    pub(super) fn named(&self, name: &str) -> Option<EngineId> {
        let mut names = self.configured.iter().map(|courier| courier.context.name);
        names.find(|engine| engine.name() == name)
    }

    /// Returns true if this person may decide through the engine.
    pub(super) fn recognize(&self, engine: EngineId, approver: Option<&str>) -> bool {
        let configured = find(&self.configured, engine);
        configured
            .is_some_and(|engine| approver.is_some_and(|name| engine.settings.recognizes(name)))
    }

    /// Returns true if the engine's messages link to the page, or its answers come there.
    pub(super) fn need_page(&self, engine: EngineId) -> bool {
        let configured = find(&self.configured, engine);
        configured.is_some_and(|engine| engine.settings.needs_page(&engine.context))
    }

    /// Tells the couriers the address of the page.
    pub(super) fn set_page(&self, address: &str) {
        // They share it.
        if let Some(courier) = self.configured.first() {
            courier.context.page.set(address.to_owned());
        }
    }

    /// Returns the assurance of an engine's verdicts.
    pub(super) fn reach(&self, engine: EngineId) -> Assurance {
        let configured = find(&self.configured, engine);
        configured.map_or(Assurance::CallerRelayed, |engine| engine.reach)
    }

    /// Returns true if a courier may still send a result.
    pub(super) fn is_carrying(&self) -> bool {
        !self.carried.is_empty()
    }

    fn is_carried_by(&self, item: &str, engine: EngineId) -> bool {
        let carriers = self.carried.get(item);
        carriers.is_some_and(|carriers| carriers.contains(&engine))
    }

    /// Forgets that an engine carries an item, because it has failed.
    fn drop_carrier(&mut self, item: &str, engine: EngineId) {
        if let Some(carriers) = self.carried.get_mut(item) {
            carriers.retain(|carrier| *carrier != engine);
            if carriers.is_empty() {
                self.carried.remove(item);
            }
        }
    }

    fn carry(&mut self, engine: EngineId, item: &Item) {
        let Couriers {
            configured,
            running,
            ..
        } = self;
        let (sender, id) = (self.sender.clone(), item.id.clone());
        let answer = Answer::new(move |answer| {
            // The process may be ending.
            let _ = sender.send((id, engine, answer));
        });
        match find(configured, engine) {
            Some(configured) => {
                let carriers = self.carried.entry(item.id.clone()).or_default();
                if !carriers.contains(&engine) {
                    carriers.push(engine);
                }
                let courier = running
                    .entry(engine)
                    .or_insert_with(|| configured.settings.courier(&configured.context));
                courier.carry(item, answer);
            }
            None => {
                let kind = FailureKind::Misconfigured;
                let why = "the engine is not configured".to_owned();
                answer.send(Err(Failure { kind, why }));
            }
        }
    }
}

fn find(configured: &[ConfiguredCourier], engine: EngineId) -> Option<&ConfiguredCourier> {
    let mut configured = configured.iter();
    configured.find(|courier| courier.context.name == engine)
}

impl Worker {
    /// Gives the item to the engine's courier. The inbox itself needs none.
    pub(super) fn carry(&mut self, engine: EngineId, item: &Item) {
        if engine != EngineId::INBOX {
            self.couriers.carry(engine, item);
        }
    }

    /// Takes the results of the couriers.
    pub(super) fn take_courier_results(&mut self) {
        let results: Vec<CourierResult> = self.couriers.results.try_iter().collect();
        for (item, engine, answer) in results {
            // Somebody else may have decided.
            if !self.couriers.is_carried_by(&item, engine) || !self.waiting.contains_key(&item) {
                continue;
            }
            match answer {
                Ok(carried) => self.decide(item, engine, carried),
                Err(failure) => {
                    self.couriers.drop_carrier(&item, engine);
                    self.has_failed(item, engine, failure);
                }
            }
        }
    }

    fn decide(&mut self, item: String, engine: EngineId, carried: CarriedVerdict) {
        let verdict = Verdict {
            choice: carried.choice,
            fields: carried.fields,
            reason: carried.reason.map(|reason| cut_reason(&reason).to_owned()),
            cover: Duration::ZERO,
            assurance: self.couriers.reach(engine),
            approver: carried.approver.and_then(|name| read_approver(&name).ok()),
            decided_ms: self.clock.now().unix_ms,
        };
        let Some(inbox) = &mut self.inbox else {
            return;
        };
        let signed = SignedVerdict {
            verdict,
            signature: None,
            engine: Some(engine.name().to_owned()),
        };
        match inbox.store.requests.decide(&item, &signed) {
            Ok(Decided::Recorded) => {
                // `changed` does not report our own writes.
                inbox.may_have_verdicts = true;
                self.couriers.decided.insert(item, (engine, signed.verdict));
            }
            // We read the earlier verdict from the store in a moment.
            Ok(Decided::TooLate(_) | Decided::Unknown) => {}
            Err(error) => {
                self.has_failed(item, engine, Failure::unreachable(with_causes(&error)));
            }
        }
    }

    /// Reports that an engine failed. If somebody has decided elsewhere in the meantime, that verdict counts instead: we
    /// read it first.
    fn has_failed(&mut self, item: String, engine: EngineId, failure: Failure) {
        self.take_verdicts();
        if let Some(waiting) = self.waiting.get(&item) {
            let engine = Some(engine);
            // The session may have ended.
            let _ = waiting.answers.send(FromEngine::Failed {
                engine,
                item,
                failure,
            });
        }
    }
}
