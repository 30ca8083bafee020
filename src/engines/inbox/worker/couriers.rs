//! Gives items to the couriers of their engines, and takes the couriers' results.
//!
//! The store accepts one verdict per item, from whichever engine.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::Worker;
use crate::approval::item::{Item, Verdict, read_approver};
use crate::engines::inbox::store::{Decided, SignedVerdict, cut_reason};
use crate::engines::registry::reach;
use crate::engines::{Answer, CarriedVerdict, Courier, CourierSettings};
use crate::gate::{EngineId, Failure, FailureKind, FromEngine};
use crate::sys::with_causes;

/// The configured engines that have a courier.
pub(in crate::engines::inbox) type ConfiguredCouriers = Vec<(EngineId, Arc<dyn CourierSettings>)>;

/// The result of a courier for one item.
type CourierResult = (String, EngineId, Result<CarriedVerdict, Failure>);

/// The couriers of this process. Each is created when it is first needed.
pub(in crate::engines::inbox) struct Couriers {
    configured: ConfiguredCouriers,
    running: HashMap<EngineId, Box<dyn Courier>>,
    /// The engine that carries each item.
    carried: HashMap<String, EngineId>,
    /// The verdicts of our couriers that the store has accepted. We read them back from it in a moment.
    decided: HashMap<String, (EngineId, Verdict)>,
    sender: Sender<CourierResult>,
    results: Receiver<CourierResult>,
}

impl Couriers {
    pub(in crate::engines::inbox) fn new(configured: ConfiguredCouriers) -> Couriers {
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

    /// Withdraws the item from its courier, because nobody waits for its verdict any more.
    pub(super) fn withdraw(&mut self, item: &str) {
        self.decided.remove(item);
        if let Some(engine) = self.carried.remove(item)
            && let Some(courier) = self.running.get_mut(&engine)
        {
            courier.withdraw(item);
        }
    }

    /// Returns true if a courier may still send a result.
    pub(super) fn is_carrying(&self) -> bool {
        !self.carried.is_empty()
    }

    fn carry(&mut self, engine: EngineId, item: &Item) {
        let Couriers {
            configured,
            running,
            ..
        } = self;
        let mut settings = configured.iter().filter(|(id, _)| *id == engine);
        let (sender, id) = (self.sender.clone(), item.id.clone());
        let answer = Answer::new(move |answer| {
            // The process may be ending.
            let _ = sender.send((id, engine, answer));
        });
        match settings.next() {
            Some((_, settings)) => {
                self.carried.insert(item.id.clone(), engine);
                let courier = running
                    .entry(engine)
                    .or_insert_with(|| settings.courier(&context(engine)));
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

/// Until the configuration brings one for each engine.
fn context(name: EngineId) -> crate::engines::CourierContext {
    crate::engines::CourierContext {
        name,
        show: crate::approval::render::Show::Full,
        timeout: None,
        transport: Arc::default(),
        redaction: crate::evidence::redact::Redaction::default(),
        withheld: Arc::new([]),
        runtime: Arc::default(),
        page: crate::engines::PageLinks::default(),
    }
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
            if self.couriers.carried.remove(&item) != Some(engine)
                || !self.waiting.contains_key(&item)
            {
                continue;
            }
            match answer {
                Ok(carried) => self.decide(item, engine, carried),
                Err(failure) => self.has_failed(item, failure),
            }
        }
    }

    fn decide(&mut self, item: String, engine: EngineId, carried: CarriedVerdict) {
        let verdict = Verdict {
            choice: carried.choice,
            reason: carried.reason.map(|reason| cut_reason(&reason).to_owned()),
            cover: Duration::ZERO,
            assurance: reach(engine, false),
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
                self.has_failed(item, Failure::unreachable(with_causes(&error)));
            }
        }
    }

    /// Reports that the engine failed. If somebody has decided elsewhere in the meantime, that verdict counts instead,
    /// and we read it in a moment.
    fn has_failed(&mut self, item: String, failure: Failure) {
        let now_ms = self.clock.now().unix_ms;
        if let Some(inbox) = &mut self.inbox {
            inbox.needs_scrub = true;
            match inbox.store.requests.withdraw(&item, now_ms) {
                Ok(true) => {}
                Ok(false) => {
                    inbox.may_have_verdicts = true;
                    return;
                }
                // Nobody waits for it here any more, and it expires by itself.
                Err(error) => {
                    let why = with_causes(&error);
                    tracing::warn!("cannot withdraw an item of the inbox: {why}");
                }
            }
        }
        if let Some(waiting) = self.waiting.remove(&item) {
            // The session may have ended.
            let _ = waiting.answers.send(FromEngine::Failed { item, failure });
        }
    }
}
