//! Puts a question to an engine, and handles engines that cannot be asked.

use super::*;

impl Ask {
    /// Puts the question to the first engine at or after `from` that can be asked and was not asked yet. If there is
    /// none and the question is open nowhere else, refuses the calls: because of `failed`, the failure of the engine
    /// before, or the first reason why an engine cannot be asked.
    pub(super) fn put_from(
        &mut self,
        from: usize,
        failed: Option<Failed>,
        context: &mut StepContext<'_>,
    ) {
        let mut failed = failed;
        for at in from..context.settings.channels.len() {
            if self.has_asked(at) {
                continue;
            }
            let Some(channel) = context.channel(at) else {
                break;
            };
            if let Err(cannot) = self.can_be_put_to(channel, context) {
                let is_excluded = cannot == CannotAsk::NoChannel;
                let cannot = Failed::new(cannot.outcome(), Refusal::CannotAsk(cannot));
                let failed = failed.get_or_insert(cannot);
                if is_excluded && failed.outcome == Outcome::Denied {
                    failed.outcome = Outcome::Error;
                }
                continue;
            }
            if channel.engine == Engine::Elicitation {
                self.retries_left = context.settings.retry.attempts;
                self.pause = context.settings.retry.initial_backoff;
            }
            return self.put(at, context.time_at(channel), context);
        }
        if self.has_time_somewhere() {
            return;
        }
        let none = || {
            let cannot = CannotAsk::NoChannel;
            Failed::new(cannot.outcome(), Refusal::CannotAsk(cannot))
        };
        self.close("the question cannot be asked", Closed::Withdrawn, context);
        self.refuse(failed.unwrap_or_else(none), context);
    }

    fn can_be_put_to(&self, channel: Channel, context: &StepContext<'_>) -> Result<(), CannotAsk> {
        match channel.engine {
            _ if !context.has_client => Err(CannotAsk::ClientGone),
            _ if !channel.asks_about(self.subject.decision.risk) => Err(CannotAsk::NoChannel),
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

    /// Puts the question to one engine. A person has time there until `until`.
    pub(super) fn put(
        &mut self,
        at: usize,
        until: Option<Duration>,
        context: &mut StepContext<'_>,
    ) {
        let Some(channel) = context.channel(at) else {
            return;
        };
        if let Err(cannot) = self.can_be_put_to(channel, context) {
            let failed = Failed::new(cannot.outcome(), Refusal::CannotAsk(cannot));
            return self.put_from(at + 1, Some(failed), context);
        }
        self.engine = at;
        self.asked.retain(|asked| asked.at != at);
        self.asked.push(AskedEngine {
            at,
            until,
            state: AskedState::Open,
        });
        match channel.engine {
            Engine::Elicitation => {
                self.set_deadline();
                self.put_to_client(context);
            }
            Engine::OutOfBand(engine) if self.fits_inbox => {
                self.ask_engine(engine, until, context);
                self.set_deadline();
            }
            Engine::OutOfBand(_) => self.engine_failed(at, Refusal::TooLargeToShow, context),
        }
    }

    /// Sets when the question's time is up: when it is up at every engine that was asked.
    pub(super) fn set_deadline(&mut self) {
        // A verdict given at the last moment needs time to arrive.
        let grace = match self.open_item() {
            Some(_) => GRACE,
            None => Duration::ZERO,
        };
        let open = self.asked.iter();
        let open = open.filter(|asked| asked.state == AskedState::Open);
        // If there is none, the last time is up already, or nearly.
        if let Some(latest) = open.map(|asked| asked.until).reduce(later) {
            self.deadline = latest.map(|latest| latest.saturating_add(grace));
        }
    }

    pub(super) fn has_asked(&self, at: usize) -> bool {
        self.asked.iter().any(|asked| asked.at == at)
    }

    /// Returns true if a person still has time to answer somewhere.
    pub(super) fn has_time_somewhere(&self) -> bool {
        let is_open = |asked: &AskedEngine| asked.state == AskedState::Open;
        self.prompt != PromptState::Closed
            || self.open_item().is_some() && self.asked.iter().any(is_open)
    }

    /// Lets the engines join whose `after` has passed.
    pub(super) fn join_due(&mut self, context: &mut StepContext<'_>) {
        let Some(began) = self.began else {
            return;
        };
        for at in 0..context.settings.channels.len() {
            let Some(channel) = context.channel(at).filter(|_| !self.has_asked(at)) else {
                continue;
            };
            let due = channel.after.map(|after| began.saturating_add(after));
            if let Some(due) = due.filter(|due| *due <= context.now)
                && !self.is_over()
                && self.can_join(channel, context)
            {
                self.put(at, context.time_since(due, channel), context);
            }
        }
    }

    /// Returns true if an engine can be asked while the question is open elsewhere.
    fn can_join(&self, channel: Channel, context: &StepContext<'_>) -> bool {
        let has_room = match channel.engine {
            // A stateless call can be answered with the question only while it is there.
            Engine::Elicitation => self.is_awaited() && self.prompt == PromptState::Closed,
            Engine::OutOfBand(_) => self.fits_inbox,
        };
        has_room && self.can_be_put_to(channel, context).is_ok()
    }

    /// Returns when the next engine joins, or the time at one of several is up.
    pub(super) fn next_engine_time(&self, context: &StepContext<'_>) -> Option<Duration> {
        // With one engine, its time is the question's.
        if context.settings.channels.len() < 2 || self.answer.is_some() {
            return None;
        }
        let channels = context.settings.channels.iter().enumerate();
        let joins = channels.filter_map(|(at, channel)| {
            let joins = self.began?.saturating_add(channel.after?);
            (!self.has_asked(at) && self.can_join(*channel, context)).then_some(joins)
        });
        let open = self.asked.iter();
        let open = open.filter(|asked| asked.state == AskedState::Open);
        let ends = open.filter_map(|asked| asked.until);
        let ends = ends.filter(|until| self.deadline.is_none_or(|deadline| *until < deadline));
        joins.chain(ends).min()
    }

    /// Handles the engines whose time is up, and lets others join.
    pub(super) fn engines_are_due(&mut self, context: &mut StepContext<'_>) {
        self.join_due(context);
        self.move_on(context);
    }

    /// Marks the engines whose time is up, and asks the next one if the operator chose that. Returns false if no engine
    /// was asked.
    pub(super) fn move_on(&mut self, context: &mut StepContext<'_>) -> bool {
        let mut falls_back = None;
        let mut is_over_in_client = false;
        for asked in &mut self.asked {
            let is_due = asked.until.is_some_and(|until| until <= context.now);
            if asked.state == AskedState::Open && is_due {
                asked.state = AskedState::TimedOut;
                let channel = context.settings.channels.get(asked.at);
                is_over_in_client |=
                    channel.is_some_and(|channel| channel.engine == Engine::Elicitation);
                let moves_on = |channel: &Channel| channel.on_timeout == OnFailure::Fallback;
                if channel.is_some_and(moves_on) {
                    falls_back = falls_back.max(asked.until.map(|until| (asked.at, until)));
                }
            }
        }
        let next = falls_back.and_then(|(at, until)| {
            let (at, channel) = self.next_unasked(at + 1, context)?;
            Some((at, context.time_since(until, channel)))
        });
        if is_over_in_client && (next.is_some() || self.has_time_out_of_band()) {
            self.withdraw_prompt(TIMED_OUT, context);
        }
        let Some((at, until)) = next else {
            return false;
        };
        self.put(at, until, context);
        true
    }

    /// Returns true if a person still has time to answer outside of the client.
    fn has_time_out_of_band(&self) -> bool {
        let is_open = |asked: &AskedEngine| asked.state == AskedState::Open;
        self.open_item().is_some() && self.asked.iter().any(is_open)
    }

    /// Returns the first engine at or after `from` that can be asked and was not asked yet.
    fn next_unasked(&self, from: usize, context: &StepContext<'_>) -> Option<(usize, Channel)> {
        let channels = context.settings.channels.iter().copied().enumerate();
        let mut unasked = channels.skip(from).filter(|(at, _)| !self.has_asked(*at));
        unasked.find(|(_, channel)| self.can_join(*channel, context))
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

    /// Puts the question to an out-of-band engine, where a person has time until `until`: hands it the item that others
    /// show already, or a new one if there is none that stays open for so long.
    pub(super) fn ask_engine(
        &mut self,
        engine: EngineId,
        until: Option<Duration>,
        context: &mut StepContext<'_>,
    ) {
        let is_inbox = engine == EngineId::INBOX;
        let may_open = is_inbox && self.prompt == PromptState::Closed && !self.lifts_denial;
        if let Some(item) = self.item.as_mut()
            && item.is_open
            && later(item.until, until) == item.until
        {
            item.is_in_inbox |= is_inbox;
            let item = item.id.clone();
            context.out.push(Effect::JoinEngine { engine, item });
            if may_open {
                self.open_browser(context);
            }
            return;
        }
        let until = self.item_until(self.open_until(until, context), context);
        let until = match &self.claim {
            Claim::State(state) => Some(until.unwrap_or(state.expires).min(state.expires)),
            Claim::Calls(_) | Claim::Parked { .. } | Claim::Nobody => until,
        };
        self.add_item(engine, until, context);
    }

    /// Puts the question to an out-of-band engine as a new item. Verdicts count until `until`.
    pub(super) fn add_item(
        &mut self,
        engine: EngineId,
        until: Option<Duration>,
        context: &mut StepContext<'_>,
    ) {
        let replaces = self.open_item().map(str::to_owned);
        let is_inbox = engine == EngineId::INBOX;
        let may_open = is_inbox && self.prompt == PromptState::Closed && !self.lifts_denial;
        let id = context.ids.next_hex();
        self.item = Some(Item {
            id: id.clone(),
            is_open: true,
            until,
            replaces: replaces.clone(),
            is_in_inbox: is_inbox,
            opens_browser: may_open,
            is_resumed: false,
        });
        context.out.push(Effect::AskEngine {
            engine,
            item: id.clone(),
            replaces,
            until,
            opens_browser: may_open,
        });
        // Whoever was asked by the item before gets the new one.
        for asked in &self.asked {
            let channel = context.settings.channels.get(asked.at);
            if asked.state != AskedState::Failed
                && let Some(Engine::OutOfBand(other)) = channel.map(|channel| channel.engine)
                && other != engine
            {
                context.out.push(Effect::JoinEngine {
                    engine: other,
                    item: id.clone(),
                });
            }
        }
    }

    /// Returns until when the question stays open out of band, if nothing fails and nobody answers: an engine has it
    /// until `until`, and others join.
    fn open_until(&self, until: Option<Duration>, context: &StepContext<'_>) -> Option<Duration> {
        let timeout = |channel: Channel| match channel.patience {
            Patience::Default => context.settings.timeout,
            Patience::Own(timeout) => timeout,
        };
        let after = |from: Option<Duration>, channel: Channel| {
            Some(from?.saturating_add(timeout(channel)?))
        };
        // What each engine's end is, in the order of the list, as far as it is known.
        let mut latest = until;
        let mut before: Option<(Channel, Option<Duration>)> = None;
        for (at, channel) in context.settings.channels.iter().copied().enumerate() {
            let asked = self.asked.iter().find(|asked| asked.at == at);
            let end = match (asked, self.began.zip(channel.after), before) {
                (Some(asked), ..) if asked.state == AskedState::Failed => continue,
                (Some(asked), ..) => asked.until,
                (None, ..) if self.can_be_put_to(channel, context).is_err() => continue,
                (None, Some((began, joins)), _) => {
                    after(Some(began.saturating_add(joins)), channel)
                }
                (None, None, Some((before, end))) if before.on_timeout == OnFailure::Fallback => {
                    after(end, channel)
                }
                (None, None, _) => continue,
            };
            latest = later(latest, end);
            before = Some((channel, end));
        }
        latest
    }

    /// Also lists the question in the inbox, because the client's prompt cannot show the whole call or the client is
    /// silent. The first answer counts.
    pub(super) fn list_in_inbox_too(&mut self, context: &mut StepContext<'_>) {
        let is_out = matches!(self.prompt, PromptState::Open { .. });
        let is_listed = |item: &Item| item.is_open && item.is_in_inbox;
        if is_out
            && !self.item.as_ref().is_some_and(is_listed)
            && self.can_list_in_inbox_too(context.settings)
        {
            let had_item = self.open_item().is_some();
            self.ask_engine(EngineId::INBOX, self.deadline, context);
            // INVARIANT 3: a verdict given there at the last moment must arrive before silence counts.
            if !had_item {
                self.deadline = self.deadline.map(|deadline| deadline.saturating_add(GRACE));
            }
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
    pub(super) fn engine_failed(
        &mut self,
        at: usize,
        refusal: Refusal,
        context: &mut StepContext<'_>,
    ) {
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.at == at) {
            asked.state = AskedState::Failed;
        }
        let channel = context.channel(at);
        let then = channel.map_or(OnFailure::Deny, |channel| channel.on_transport_error);
        let mut failed = Failed::new(Outcome::Error, refusal);
        failed.via = via_of(at, context);
        match then {
            OnFailure::Fallback => {
                self.put_from(at + 1, Some(failed), context);
                if self.is_awaited() && self.answer.is_none() {
                    self.set_deadline();
                }
            }
            OnFailure::Deny => {
                self.close("the question cannot be asked", Closed::Withdrawn, context);
                self.refuse(failed, context);
            }
        }
    }

    /// Returns the refusal because of an out-of-band engine's failure.
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
        via_of(self.engine, context)
    }

    /// Marks an out-of-band engine as failed, or all of them.
    pub(super) fn mark_failed(&mut self, engine: Option<EngineId>, context: &StepContext<'_>) {
        for asked in &mut self.asked {
            let channel = context.settings.channels.get(asked.at);
            if let Some(Engine::OutOfBand(other)) = channel.map(|channel| channel.engine)
                && engine.is_none_or(|engine| engine == other)
            {
                asked.state = AskedState::Failed;
            }
        }
    }

    /// Returns the last out-of-band engine of the list that was asked.
    pub(super) fn last_out_of_band(&self, context: &StepContext<'_>) -> Option<usize> {
        let is_out_of_band = |at: &usize| {
            let channel = context.channel(*at);
            channel.is_some_and(|channel| channel.engine != Engine::Elicitation)
        };
        let asked = self.asked.iter().map(|asked| asked.at);
        asked.filter(is_out_of_band).max()
    }

    /// Asks the client again, which could not show the prompt. The person's time does not start again.
    pub(super) fn ask_client_again(&mut self, context: &mut StepContext<'_>) {
        let Some(at) = context.position(Engine::Elicitation) else {
            return;
        };
        let asked = self.asked.iter().find(|asked| asked.at == at);
        let until = asked.map_or(self.deadline, |asked| asked.until);
        self.put(at, until, context);
    }
}

/// Returns the engine at this position, for a record.
fn via_of(at: usize, context: &StepContext<'_>) -> Option<Via> {
    Some(match context.channel(at)?.engine {
        Engine::Elicitation => Via::ELICITATION,
        Engine::OutOfBand(engine) => Via::engine(engine.name()),
    })
}

/// Returns the later of two times; `None` is never.
fn later(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    Some(one?.max(other?))
}

/// Why a prompt is withdrawn.
const TIMED_OUT: &str = "nobody answered in time";
