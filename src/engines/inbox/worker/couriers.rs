//! Couriers: which one carries an item, and what it brings.
//!
//! The store takes one verdict about an item, whoever brings it.

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

/// Every engine with a courier that the configuration names.
pub(in crate::engines::inbox) type Configured = Vec<(EngineId, Arc<dyn CourierSettings>)>;

/// What a courier brings.
type Brought = (String, EngineId, Result<CarriedVerdict, Failure>);

/// The couriers of this process, which are made as they are needed.
pub(in crate::engines::inbox) struct Couriers {
    configured: Configured,
    running: HashMap<EngineId, Box<dyn Courier>>,
    /// Who carries an item.
    carried: HashMap<String, EngineId>,
    /// The verdicts that the store has taken from our couriers: they come back from it in a moment.
    decided: HashMap<String, (EngineId, Verdict)>,
    bring: Sender<Brought>,
    brought: Receiver<Brought>,
}

impl Couriers {
    pub(in crate::engines::inbox) fn new(configured: Configured) -> Couriers {
        let (bring, brought) = channel();
        Couriers {
            configured,
            running: HashMap::new(),
            carried: HashMap::new(),
            decided: HashMap::new(),
            bring,
            brought,
        }
    }

    /// Whether one of ours has brought this very verdict, and which engine it is of. It went through our memory, so
    /// nobody else can have written it.
    pub(super) fn has_brought(&mut self, item: &str, verdict: &Verdict) -> Option<EngineId> {
        let (engine, brought) = self.decided.remove(item)?;
        (brought == *verdict).then_some(engine)
    }

    /// Nobody waits for a verdict about the item any more.
    pub(super) fn withdraw(&mut self, item: &str) {
        self.decided.remove(item);
        if let Some(engine) = self.carried.remove(item)
            && let Some(courier) = self.running.get_mut(&engine)
        {
            courier.withdraw(item);
        }
    }

    /// Whether a courier may bring something.
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
        let (bring, id) = (self.bring.clone(), item.id.clone());
        let answer = Answer::new(move |answer| {
            // When the process ends, nobody wants it.
            let _ = bring.send((id, engine, answer));
        });
        match settings.next() {
            Some((_, settings)) => {
                self.carried.insert(item.id.clone(), engine);
                let courier = running.entry(engine).or_insert_with(|| settings.courier());
                courier.carry(item, answer);
            }
            None => {
                let kind = FailureKind::Misconfigured;
                let why = "it is not configured".to_owned();
                answer.bring(Err(Failure { kind, why }));
            }
        }
    }
}

impl Worker {
    /// Has the engine's courier carry an item; those of the inbox need none.
    pub(super) fn carry(&mut self, engine: EngineId, item: &Item) {
        if engine != EngineId::INBOX {
            self.couriers.carry(engine, item);
        }
    }

    /// Takes what couriers have brought.
    pub(super) fn take_brought(&mut self) {
        let brought: Vec<Brought> = self.couriers.brought.try_iter().collect();
        for (item, engine, answer) in brought {
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
                // It was our own change.
                inbox.may_have_verdicts = true;
                self.couriers.decided.insert(item, (engine, signed.verdict));
            }
            // The one who was first is heard of in a moment.
            Ok(Decided::TooLate(_) | Decided::Unknown) => {}
            Err(error) => {
                self.has_failed(item, Failure::unreachable(with_causes(&error)));
            }
        }
    }

    /// The engine brings no verdict. If somebody has decided elsewhere by then, that verdict counts, and is heard of in a
    /// moment.
    fn has_failed(&mut self, item: String, failure: Failure) {
        let now_ms = self.clock.now().unix_ms;
        if let Some(inbox) = &mut self.inbox {
            inbox.is_untidy = true;
            match inbox.store.requests.withdraw(&item, now_ms) {
                Ok(true) => {}
                Ok(false) => {
                    inbox.may_have_verdicts = true;
                    return;
                }
                // Nobody here waits for it any more, and it expires by its own time.
                Err(error) => {
                    let why = with_causes(&error);
                    tracing::warn!("an item of the inbox could not be withdrawn: {why}");
                }
            }
        }
        if let Some(waiting) = self.waiting.remove(&item) {
            // Whose session has ended waits no more.
            let _ = waiting.answers.send(FromEngine::Failed { item, failure });
        }
    }
}
