//! Puts a question to an engine, and handles engines that cannot be asked.

use super::*;

impl Ask {
    /// Puts the question to the first usable engine at or after `from`. If there is none, refuses the calls: because of
    /// `failed`, the failure of the engine before, or the first reason why an engine cannot be asked.
    pub(super) fn put_from(
        &mut self,
        from: usize,
        failed: Option<Failed>,
        context: &mut StepContext<'_>,
    ) {
        let mut failed = failed;
        for at in from..context.settings.channels.len() {
            let Some(channel) = context.channel(at) else {
                break;
            };
            if let Err(cannot) = self.can_be_put_to(channel.engine, context) {
                let refusal = Refusal::CannotAsk(cannot);
                failed.get_or_insert(Failed::new(Outcome::Denied, refusal));
                continue;
            }
            self.engine = at;
            self.retries_left = context.settings.retry.attempts;
            self.pause = context.settings.retry.initial_backoff;
            return self.put(context.time_at(channel), context);
        }
        let none = || Failed::new(Outcome::Denied, Refusal::CannotAsk(CannotAsk::NoChannel));
        self.close("the question cannot be asked", Closed::Withdrawn, context);
        self.refuse(failed.unwrap_or_else(none), context);
    }

    fn can_be_put_to(&self, engine: Engine, context: &StepContext<'_>) -> Result<(), CannotAsk> {
        match engine {
            _ if !context.has_client => Err(CannotAsk::ClientGone),
            Engine::OutOfBand(_) => Ok(()),
            Engine::Elicitation if context.is_anonymous => Err(CannotAsk::Anonymous),
            Engine::Elicitation => match self.era {
                Era::Legacy => context.can_prompt.clone(),
                // SPEC 2026-07-28: "Servers MUST NOT send an `inputRequests` that the client has not declared
                // support for in its capabilities", and those count for their request only.
                Era::Stateless if self.offers.forms => Ok(()),
                Era::Stateless => Err(CannotAsk::NoCapability),
            },
        }
    }

    /// Puts the question to the current engine. A person has time until `deadline`.
    pub(super) fn put(&mut self, deadline: Option<Duration>, context: &mut StepContext<'_>) {
        self.deadline = deadline;
        let Some(channel) = context.channel(self.engine) else {
            return;
        };
        if let Err(cannot) = self.can_be_put_to(channel.engine, context) {
            let failed = Failed::new(Outcome::Denied, Refusal::CannotAsk(cannot));
            return self.put_from(self.engine + 1, Some(failed), context);
        }
        match channel.engine {
            Engine::Elicitation => self.put_to_client(context),
            Engine::OutOfBand(engine) if self.fits_inbox => {
                let until = self.item_until(deadline, context);
                self.ask_engine(engine, until, context);
                // A verdict given at the last moment needs time to arrive.
                self.deadline = deadline.map(|deadline| deadline.saturating_add(GRACE));
            }
            Engine::OutOfBand(_) => self.engine_failed(Refusal::TooLargeToShow, context),
        }
    }

    pub(super) fn put_to_client(&mut self, context: &mut StepContext<'_>) {
        let id = match self.era {
            Era::Legacy => Some(context.ids.next()),
            Era::Stateless => None,
        };
        self.prompt = PromptState::Open {
            id: id.clone(),
            delivery: Delivery::Queued(context.now),
        };
        let after = context.settings.also_inbox_after;
        let is_listed = !after.is_zero() && self.can_list_in_inbox_too(context.settings);
        let silent_at = || is_listed.then(|| context.now.saturating_add(after));
        self.silent_at = self.silent_at.or_else(silent_at);
        let is_result = id.is_none();
        context.out.push(Effect::Prompt { id });
        if is_result {
            let longest = context.now.saturating_add(LONGEST);
            self.deadline = Some(self.deadline.unwrap_or(longest).min(longest));
            // Each call needs an answer of its own.
            if let Claim::Calls(calls) = &mut self.claim {
                let others: Vec<HeldKey> = calls.drain(1.min(calls.len())..).collect();
                if !others.is_empty() {
                    let asks = others
                        .into_iter()
                        .map(|call| self.split_off(call))
                        .collect();
                    context.out.push(Effect::Split { asks });
                }
            }
        }
    }

    /// Puts the question to an out-of-band engine as a new item. Verdicts count until `until`.
    pub(super) fn ask_engine(
        &mut self,
        engine: EngineId,
        until: Option<Duration>,
        context: &mut StepContext<'_>,
    ) {
        self.close_item(Closed::Withdrawn, context);
        let item = context.ids.next_hex();
        let is_inbox = engine == EngineId::INBOX;
        let opens_browser = is_inbox && self.prompt == PromptState::Closed && !self.lifts_denial;
        self.item = Some(Item {
            id: item.clone(),
            is_open: true,
            opens_browser,
            is_resumed: false,
        });
        context.out.push(Effect::AskEngine {
            engine,
            item,
            until,
            opens_browser,
        });
    }

    /// Also lists the question in the inbox, because the client's prompt cannot show the whole call or the client is
    /// silent. The first answer counts.
    pub(super) fn list_in_inbox_too(&mut self, context: &mut StepContext<'_>) {
        let is_out = matches!(self.prompt, PromptState::Open { .. });
        if is_out && self.open_item().is_none() && self.can_list_in_inbox_too(context.settings) {
            let until = self.item_until(self.deadline, context);
            self.ask_engine(EngineId::INBOX, until, context);
            // INVARIANT 3: a verdict given there at the last moment must arrive before silence counts.
            self.deadline = self.deadline.map(|deadline| deadline.saturating_add(GRACE));
        }
    }

    /// Returns true if the inbox can list the question while the client's prompt is open.
    pub(in crate::gate) fn can_list_in_inbox_too(&self, settings: &Settings) -> bool {
        self.fits_inbox && settings.inbox().is_some()
    }

    /// Handles a silent client: first lists the question in the inbox, later opens a browser for it.
    pub(super) fn client_is_silent(&mut self, context: &mut StepContext<'_>) {
        self.silent_at = None;
        let PromptState::Open { delivery, .. } = self.prompt else {
            return;
        };
        let urgent_at = delivery.since().saturating_add(URGENT);
        if self.open_item().is_none() {
            self.list_in_inbox_too(context);
        }
        match self.open_item() {
            Some(_) if context.now < urgent_at => self.silent_at = Some(urgent_at),
            Some(_) => self.open_browser(context),
            None => {}
        }
    }

    /// Opens a browser for the item, unless that was done before.
    pub(super) fn open_browser(&mut self, context: &mut StepContext<'_>) {
        if let Some(item) = self.item.as_mut().filter(|item| !item.opens_browser) {
            item.opens_browser = true;
            let item = item.id.clone();
            context.out.push(Effect::OpenBrowser { item });
        }
    }

    /// Returns until when the inbox accepts a verdict, if a person has time until `deadline`. An item that may be
    /// parked must outlast its deadline; otherwise it is closed then.
    pub(super) fn item_until(
        &self,
        deadline: Option<Duration>,
        context: &StepContext<'_>,
    ) -> Option<Duration> {
        let more = match self.stays_open(context) {
            true => context.settings.park_for,
            false => Duration::ZERO,
        };
        deadline.map(|deadline| deadline.saturating_add(more))
    }

    /// Returns true if the question stays open in the inbox after its deadline: because the operator chose that, or
    /// because it was parked before.
    pub(super) fn stays_open(&self, context: &StepContext<'_>) -> bool {
        context.settings.timeout_action == TimeoutAction::Park || self.parked_until.is_some()
    }

    /// Handles a failed engine: asks the next one, if the operator chose that.
    pub(super) fn engine_failed(&mut self, refusal: Refusal, context: &mut StepContext<'_>) {
        let channel = context.channel(self.engine);
        let then = channel.map_or(OnFailure::Deny, |channel| channel.on_transport_error);
        let mut failed = Failed::new(Outcome::Error, refusal);
        failed.via = self.engine_via(context);
        match then {
            OnFailure::Fallback => self.put_from(self.engine + 1, Some(failed), context),
            OnFailure::Deny => {
                self.close("the question cannot be asked", Closed::Withdrawn, context);
                self.refuse(failed, context);
            }
        }
    }

    /// Handles a failed out-of-band engine.
    pub(super) fn out_of_band_failed(&mut self, failure: Failure, context: &mut StepContext<'_>) {
        let refusal = self.out_of_band_refusal(failure, context);
        self.engine_failed(refusal, context);
    }

    pub(super) fn out_of_band_refusal(
        &self,
        failure: Failure,
        context: &StepContext<'_>,
    ) -> Refusal {
        let engine = match context.channel(self.engine).map(|channel| channel.engine) {
            Some(Engine::OutOfBand(engine)) => engine,
            Some(Engine::Elicitation) | None => EngineId::INBOX,
        };
        Refusal::EngineFailed { engine, failure }
    }

    /// Returns the current engine for the record of an unanswered question.
    pub(super) fn engine_via(&self, context: &StepContext<'_>) -> Option<Via> {
        Some(match context.channel(self.engine)?.engine {
            Engine::Elicitation => Via::ELICITATION,
            Engine::OutOfBand(engine) => Via::engine(engine.name()),
        })
    }

    /// Returns the first out-of-band engine after the current one.
    pub(super) fn next_out_of_band(
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
