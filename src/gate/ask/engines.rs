//! Where a question is put, and what follows where it cannot be asked.

use super::*;

impl Ask {
    /// Puts the question to the first engine from `from` on that can have it. Where there is none, its calls are
    /// refused for what the engine before has `failed` with, or for the first thing that is missing.
    pub(super) fn put_from(&mut self, from: usize, failed: Option<Failed>, world: &mut World<'_>) {
        let mut failed = failed;
        for at in from..world.settings.channels.len() {
            let Some(channel) = world.channel(at) else {
                break;
            };
            if let Err(cannot) = self.can_be_put_to(channel.engine, world) {
                let refusal = Refusal::CannotAsk(cannot);
                failed.get_or_insert(Failed::new(Outcome::Denied, refusal));
                continue;
            }
            self.engine = at;
            self.retries_left = world.settings.retry.attempts;
            self.pause = world.settings.retry.initial_backoff;
            return self.put(world.time_at(channel), world);
        }
        let none = || Failed::new(Outcome::Denied, Refusal::CannotAsk(CannotAsk::NoChannel));
        self.close("it cannot be asked", Closed::Withdrawn, world);
        self.refuse(failed.unwrap_or_else(none), world);
    }

    fn can_be_put_to(&self, engine: Engine, world: &World<'_>) -> Result<(), CannotAsk> {
        match engine {
            _ if !world.has_client => Err(CannotAsk::ClientGone),
            Engine::OutOfBand(_) => Ok(()),
            Engine::Elicitation if world.is_anonymous => Err(CannotAsk::Anonymous),
            Engine::Elicitation => match self.era {
                Era::Legacy => world.can_prompt.clone(),
                // SPEC 2026-07-28: "Servers MUST NOT send an `inputRequests` that the client has not declared
                // support for in its capabilities", and those count for their request only.
                Era::Stateless if self.offers.forms => Ok(()),
                Era::Stateless => Err(CannotAsk::NoCapability),
            },
        }
    }

    /// Puts the question to the engine that it has come to; a person has time there until `deadline`.
    pub(super) fn put(&mut self, deadline: Option<Duration>, world: &mut World<'_>) {
        self.deadline = deadline;
        let Some(channel) = world.channel(self.engine) else {
            return;
        };
        if let Err(cannot) = self.can_be_put_to(channel.engine, world) {
            let failed = Failed::new(Outcome::Denied, Refusal::CannotAsk(cannot));
            return self.put_from(self.engine + 1, Some(failed), world);
        }
        match channel.engine {
            Engine::Elicitation => self.put_to_client(world),
            Engine::OutOfBand(engine) if self.fits_inbox => {
                let until = self.item_until(deadline, world);
                self.post(engine, until, world);
                // What is decided at the last moment has to get here.
                self.deadline = deadline.map(|deadline| deadline.saturating_add(GRACE));
            }
            Engine::OutOfBand(_) => self.engine_failed(Refusal::TooLargeToShow, world),
        }
    }

    pub(super) fn put_to_client(&mut self, world: &mut World<'_>) {
        let id = match self.era {
            Era::Legacy => Some(world.ids.next()),
            Era::Stateless => None,
        };
        self.prompt = PromptState::Open {
            id: id.clone(),
            delivery: Delivery::Queued(world.now),
        };
        let after = world.settings.also_inbox_after;
        let is_listed = !after.is_zero() && self.may_be_beside(world.settings);
        let silent_at = || is_listed.then(|| world.now.saturating_add(after));
        self.silent_at = self.silent_at.or_else(silent_at);
        let is_result = id.is_none();
        world.out.push(Effect::Prompt { id });
        if is_result {
            let longest = world.now.saturating_add(LONGEST);
            self.deadline = Some(self.deadline.unwrap_or(longest).min(longest));
            // Each call is answered by itself.
            if let Claim::Calls(calls) = &mut self.claim {
                let others: Vec<HeldKey> = calls.drain(1.min(calls.len())..).collect();
                if !others.is_empty() {
                    let asks = others.into_iter().map(|call| self.apart(call)).collect();
                    world.out.push(Effect::Apart { asks });
                }
            }
        }
    }

    /// Puts the question where the engine finds it, as a new item. Verdicts count until then.
    pub(super) fn post(
        &mut self,
        engine: EngineId,
        until: Option<Duration>,
        world: &mut World<'_>,
    ) {
        self.close_item(Closed::Withdrawn, world);
        let item = world.ids.next_hex();
        let is_inbox = engine == EngineId::INBOX;
        let opens_browser = is_inbox && self.prompt == PromptState::Closed && !self.lifts;
        self.item = Some(Item {
            id: item.clone(),
            is_open: true,
            opens_browser,
            is_resumed: false,
        });
        world.out.push(Effect::AskEngine {
            engine,
            item,
            until,
            opens_browser,
        });
    }

    /// Shows the question in the inbox beside the client's prompt, which cannot show all of the call, or shows it to
    /// nobody. Whichever is answered first counts.
    pub(super) fn post_beside(&mut self, world: &mut World<'_>) {
        let is_out = matches!(self.prompt, PromptState::Open { .. });
        if is_out && self.open_item().is_none() && self.may_be_beside(world.settings) {
            let until = self.item_until(self.deadline, world);
            self.post(EngineId::INBOX, until, world);
            // INVARIANT 3: what is decided there at the last moment has to get here before silence counts.
            self.deadline = self.deadline.map(|deadline| deadline.saturating_add(GRACE));
        }
    }

    /// Whether the inbox can show the question as well while the client's prompt is out.
    pub(in crate::gate) fn may_be_beside(&self, settings: &Settings) -> bool {
        self.fits_inbox && settings.inbox().is_some()
    }

    /// The client has been silent for a while: the inbox lists the question, and later a browser is opened for it.
    pub(super) fn client_is_silent(&mut self, world: &mut World<'_>) {
        self.silent_at = None;
        let PromptState::Open { delivery, .. } = self.prompt else {
            return;
        };
        let urgent_at = delivery.since().saturating_add(URGENT);
        if self.open_item().is_none() {
            self.post_beside(world);
        }
        match self.open_item() {
            Some(_) if world.now < urgent_at => self.silent_at = Some(urgent_at),
            Some(_) => self.open_browser(world),
            None => {}
        }
    }

    /// A browser may be opened for the item from now on.
    pub(super) fn open_browser(&mut self, world: &mut World<'_>) {
        if let Some(item) = self.item.as_mut().filter(|item| !item.opens_browser) {
            item.opens_browser = true;
            let item = item.id.clone();
            world.out.push(Effect::OpenBrowser { item });
        }
    }

    /// Until when the inbox takes a verdict, where a person has time until `deadline`. What may be parked then
    /// must not have expired; what is not, is closed.
    pub(super) fn item_until(
        &self,
        deadline: Option<Duration>,
        world: &World<'_>,
    ) -> Option<Duration> {
        let more = match self.stays_open(world) {
            true => world.settings.park_for,
            false => Duration::ZERO,
        };
        deadline.map(|deadline| deadline.saturating_add(more))
    }

    /// Whether the question stays open in the inbox when its time is over: because the operator chose that, or
    /// because it was left there before.
    pub(super) fn stays_open(&self, world: &World<'_>) -> bool {
        world.settings.timeout_action == TimeoutAction::Park || self.parked_until.is_some()
    }

    /// The engine is broken: the next one is asked, if the operator says so.
    pub(super) fn engine_failed(&mut self, refusal: Refusal, world: &mut World<'_>) {
        let channel = world.channel(self.engine);
        let then = channel.map_or(OnFailure::Deny, |channel| channel.on_transport_error);
        let mut failed = Failed::new(Outcome::Error, refusal);
        failed.via = self.nobody(world);
        match then {
            OnFailure::Fallback => self.put_from(self.engine + 1, Some(failed), world),
            OnFailure::Deny => {
                self.close("the question cannot be asked", Closed::Withdrawn, world);
                self.refuse(failed, world);
            }
        }
    }

    /// The engine outside of the client is broken.
    pub(super) fn engine_is_lost(&mut self, failure: Failure, world: &mut World<'_>) {
        let refusal = self.lost_engine(failure, world);
        self.engine_failed(refusal, world);
    }

    pub(super) fn lost_engine(&self, failure: Failure, world: &World<'_>) -> Refusal {
        let engine = match world.channel(self.engine).map(|channel| channel.engine) {
            Some(Engine::OutOfBand(engine)) => engine,
            Some(Engine::Elicitation) | None => EngineId::INBOX,
        };
        Refusal::EngineFailed { engine, failure }
    }

    /// How the engine is called where nobody has answered.
    pub(super) fn nobody(&self, world: &World<'_>) -> Option<Via> {
        Some(match world.channel(self.engine)?.engine {
            Engine::Elicitation => Via::ELICITATION,
            Engine::OutOfBand(engine) => Via::nobody(engine.name()),
        })
    }

    /// The first engine outside of the client that comes after the one where the question is.
    pub(super) fn out_of_band_behind(
        &self,
        settings: &Settings,
    ) -> Option<(usize, Channel, EngineId)> {
        let channels = settings.channels.iter().copied().enumerate();
        let mut behind = channels.skip(self.engine.saturating_add(1));
        behind.find_map(|(at, channel)| match channel.engine {
            Engine::OutOfBand(engine) => Some((at, channel, engine)),
            Engine::Elicitation => None,
        })
    }
}
