//! How a question ends, or stays open without a call: time, calls that leave, and sides that go away.

use super::*;

impl Ask {
    /// A call waits no more. The last one takes the question with it, unless that can stay open without it.
    pub(super) fn call_left(&mut self, call: HeldKey, may_park: bool, world: &mut World<'_>) {
        let Claim::Calls(calls) = &mut self.claim else {
            return;
        };
        calls.retain(|other| *other != call);
        if !calls.is_empty() {
            return;
        }
        self.claim = Claim::Nobody;
        let may_stay = may_park && self.prompt == PromptState::Closed && self.stays_open(world);
        if may_stay && self.open_item().is_some() {
            let until = self.may_be_parked_until(world);
            return self.leave(until, world);
        }
        self.close(GONE, Closed::Withdrawn, world);
    }

    pub(super) fn later(&mut self, world: &mut World<'_>) {
        let is_due = |at: Option<Duration>| at.is_some_and(|at| at <= world.now);
        match &self.claim {
            Claim::Calls(_) if self.is_approved() => self.release(world),
            Claim::Calls(_) | Claim::State(_) if is_due(self.deadline) => {
                self.time_is_up(world);
            }
            Claim::Calls(_) | Claim::State(_)
                if self.is_asked_by_prompt() && is_due(self.silent_at) =>
            {
                self.client_is_silent(world);
            }
            Claim::Calls(_) => {
                if let PromptState::Pause { until, .. } = &self.prompt
                    && *until <= world.now
                {
                    self.prompt = PromptState::Closed;
                    self.put(self.deadline, world);
                }
            }
            // It was not answered, or its call has not come again.
            Claim::Parked { until } if *until <= world.now => self.unpark(Closed::Expired, world),
            Claim::State(_) | Claim::Parked { .. } | Claim::Nobody => {}
        }
    }

    /// The person's time is over.
    fn time_is_up(&mut self, world: &mut World<'_>) {
        let mut timed_out = Failed::new(Outcome::Timeout, Refusal::TimedOut);
        timed_out.via = self.nobody(world);
        match &self.claim {
            Claim::Calls(_) => self.time_of_calls_is_up(timed_out, world),
            Claim::State(state) => {
                let expires = state.expires;
                self.time_of_state_is_up(timed_out, expires, world);
            }
            Claim::Parked { .. } | Claim::Nobody => {}
        }
    }

    fn time_of_calls_is_up(&mut self, timed_out: Failed, world: &mut World<'_>) {
        const WHY: &str = "nobody answered in time";
        let channel = world.channel(self.engine);
        let goes_on = channel.is_some_and(|channel| channel.on_timeout == OnFailure::Fallback)
            && self.engine + 1 < world.settings.channels.len();
        match &self.prompt {
            PromptState::Pause { error, .. } => {
                let refusal = Refusal::ClientError(error.clone());
                self.prompt = PromptState::Closed;
                self.engine_failed(refusal, world);
            }
            PromptState::Open { .. } | PromptState::Closed if goes_on => {
                self.close(WHY, Closed::Expired, world);
                self.put_from(self.engine + 1, Some(timed_out), world);
            }
            // INVARIANT 3: only a prompt that the client can have seen may run out into a yes, and only where the
            // operator chose that.
            PromptState::Open {
                delivery: Delivery::Delivered(_),
                ..
            } if self.takes_silence_for_a_yes(world) => {
                self.close(WHY, Closed::Expired, world);
                self.approve(Approval::silence(), world);
            }
            PromptState::Open { .. } | PromptState::Closed => {
                let parked =
                    |item| Failed::new(Outcome::Timeout, Refusal::Parked(item)).via(Via::INBOX);
                if self.stays_open(world) && self.park(parked, world) {
                    return;
                }
                self.close(WHY, Closed::Expired, world);
                self.refuse(timed_out, world);
            }
        }
    }

    /// Whether the operator chose that silence is a yes to this question.
    ///
    /// Not so where two yeses are asked for, be it the first or the second that does not come: an operator who
    /// wants them from a person who pays attention gets none from one who does not. Nor where assurance is
    /// required, since silence assures nothing; nor while an answer may be on its way unread.
    fn takes_silence_for_a_yes(&self, world: &World<'_>) -> bool {
        world.settings.timeout_action == TimeoutAction::Approve
            && world.client_is_heard
            && world.settings.require_assurance.is_none()
            && !world.needs_two(self.subject.decision.risk)
    }

    /// No retry has come in time. The request has been answered long ago, so that only the log hears of it.
    fn time_of_state_is_up(&mut self, timed_out: Failed, expires: Duration, world: &mut World<'_>) {
        if let PromptState::Open { .. } = self.prompt {
            self.prompt = PromptState::Closed;
            if self.moves_to_inbox(expires, world) {
                return;
            }
            let parked =
                |item| Failed::new(Outcome::Timeout, Refusal::Parked(item)).via(Via::INBOX);
            if self.stays_open(world) && self.park(parked, world) {
                return;
            }
            self.close_item(Closed::Expired, world);
            let failed = Failed {
                via: None,
                ..timed_out
            };
            return self.refuse(failed, world);
        }
        let has_time = self.parked_until.is_none_or(|until| world.now < until);
        let failed = match &self.answer {
            Some(Verdicted::No(denied)) => denied.clone(),
            Some(Verdicted::Lost(failure)) => {
                let refusal = self.lost_engine(failure.clone(), world);
                Failed {
                    via: timed_out.via,
                    ..Failed::new(Outcome::Error, refusal)
                }
            }
            Some(Verdicted::Yes { .. }) | None if self.stays_open(world) && has_time => {
                return self.park_answered(world);
            }
            Some(Verdicted::Yes { approval, .. }) => {
                Failed::new(Outcome::Timeout, Refusal::TimedOut)
                    .via(approval.via.clone())
                    .logged(
                        "a human approved it, but the client did not make the call again in time",
                    )
            }
            None => timed_out,
        };
        self.close_item(Closed::Expired, world);
        self.refuse(failed, world);
    }

    /// Nobody has answered the client's form in time: the question goes on to the inbox, if the operator says so
    /// and its state is good for long enough to bring somebody back.
    fn moves_to_inbox(&mut self, expires: Duration, world: &mut World<'_>) -> bool {
        let channel = world.channel(self.engine);
        let goes_on = channel.is_some_and(|channel| channel.on_timeout == OnFailure::Fallback);
        let next = self.out_of_band_behind(world.settings);
        let next = next.filter(|_| goes_on && world.now < expires);
        let Some((at, channel, engine)) = next else {
            return false;
        };
        if !self.fits_inbox {
            return false;
        }
        let deadline = world.time_at(channel).unwrap_or(expires).min(expires);
        self.engine = at;
        let until = self.item_until(Some(deadline), world);
        self.post(engine, until, world);
        self.deadline = Some(deadline.saturating_add(GRACE).min(expires));
        true
    }

    /// Refuses the calls for now and leaves the question open in the inbox. False, and nothing has changed but that
    /// the client is not asked any more, where there is no inbox, or the question does not fit or was there long
    /// enough.
    pub(super) fn park(
        &mut self,
        failed: impl FnOnce(String) -> Failed,
        world: &mut World<'_>,
    ) -> bool {
        let Some(engine) = world.settings.inbox().filter(|_| self.fits_inbox) else {
            return false;
        };
        let until = self.may_be_parked_until(world);
        if until <= world.now {
            return false;
        }
        self.withdraw_prompt("nobody answered in time", world);
        self.engine = engine;
        if self.open_item().is_none() {
            self.post(EngineId::INBOX, Some(until), world);
        }
        let Some(item) = self.open_item().map(str::to_owned) else {
            return false;
        };
        self.refuse_calls(failed(item), world);
        if !self.lifts {
            self.open_browser(world);
        }
        self.leave(until, world);
        true
    }

    /// Parks a question about a call that has been answered with it: only the log hears of it.
    fn park_answered(&mut self, world: &mut World<'_>) {
        let until = self.may_be_parked_until(world);
        let item = self.item().unwrap_or_default().to_owned();
        let decided = format!(
            "a human decided, but the client did not make the call again in time; parked as {item}"
        );
        let parked = Failed::new(Outcome::Timeout, Refusal::Parked(item)).via(Via::INBOX);
        let parked = match self.open_item() {
            Some(_) => parked,
            None => parked.logged(&decided),
        };
        self.refuse_calls(parked, world);
        self.leave(until, world);
    }

    /// Leaves the question, and its item, if that is open, without a call.
    fn leave(&mut self, until: Duration, world: &mut World<'_>) {
        self.deadline = None;
        self.silent_at = None;
        self.claim = Claim::Parked { until };
        let item = self.open_item().map(str::to_owned);
        world.out.push(Effect::Park { item, until });
    }

    /// Until when the question may be parked: as long as the operator says, counted from when it first was.
    fn may_be_parked_until(&self, world: &World<'_>) -> Duration {
        let until = world.now.saturating_add(world.settings.park_for);
        self.parked_until.unwrap_or(until)
    }

    /// A parked question is over, answered or not: the inbox shows it no more as one that may still run.
    fn unpark(&mut self, how: Closed, world: &mut World<'_>) {
        self.claim = Claim::Nobody;
        if let Some(item) = self.item.take() {
            world.out.push(Effect::Close { item: item.id, how });
        }
    }

    /// Nobody can answer, or be answered, any more.
    pub(super) fn ended(&mut self, failed: Failed, world: &mut World<'_>) {
        if self.is_resumable() {
            self.claim = Claim::Nobody;
            let item = self.item.take().map(|item| item.id);
            return world
                .out
                .extend(item.map(|item| Effect::LeaveForLater { item }));
        }
        if self.is_parked() {
            return self.unpark(Closed::Withdrawn, world);
        }
        self.close(&failed.refusal.log_reason(), Closed::Withdrawn, world);
        let failed = match self.answer.take() {
            // What a person said of a call counts, although the client did not fetch it.
            Some(Verdicted::No(denied)) => denied,
            Some(Verdicted::Yes { .. } | Verdicted::Lost(_)) | None => failed,
        };
        self.refuse(failed, world);
        self.claim = Claim::Nobody;
    }

    /// Takes the question back wherever it is open. A late answer counts for nothing.
    pub(super) fn close(&mut self, why: &str, how: Closed, world: &mut World<'_>) {
        self.close_item(how, world);
        self.withdraw_prompt(why, world);
    }

    pub(super) fn close_item(&mut self, how: Closed, world: &mut World<'_>) {
        if let Some(item) = self.item.as_mut().filter(|item| item.is_open) {
            item.is_open = false;
            let item = item.id.clone();
            world.out.push(Effect::Close { item, how });
        }
    }

    pub(super) fn withdraw_prompt(&mut self, why: &str, world: &mut World<'_>) {
        if let PromptState::Open { id: Some(id), .. } =
            std::mem::replace(&mut self.prompt, PromptState::Closed)
        {
            let why = why.to_owned();
            world.out.push(Effect::Withdraw { id, why });
        }
    }

    /// Refuses the calls that wait; the question is over, wherever it is still open.
    pub(super) fn refuse(&mut self, failed: Failed, world: &mut World<'_>) {
        self.close(GONE, Closed::Withdrawn, world);
        self.refuse_calls(failed, world);
    }

    fn refuse_calls(&mut self, failed: Failed, world: &mut World<'_>) {
        match std::mem::replace(&mut self.claim, Claim::Nobody) {
            Claim::Calls(calls) => world.out.push(Effect::Refuse { calls, failed }),
            Claim::State(State { call, .. }) => {
                world.out.push(Effect::RecordRefused { call, failed });
            }
            Claim::Parked { .. } | Claim::Nobody => {}
        }
    }
}
