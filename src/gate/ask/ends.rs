//! Ends a question, or keeps it open without a call: deadlines, calls that leave, and sides that go away.

use super::*;

impl Ask {
    /// Removes a call that no longer waits. The last one ends the question, unless it can stay open without a call.
    pub(super) fn call_left(
        &mut self,
        call: HeldKey,
        may_park: bool,
        context: &mut StepContext<'_>,
    ) {
        let Claim::Calls(calls) = &mut self.claim else {
            return;
        };
        calls.retain(|other| *other != call);
        if !calls.is_empty() {
            return;
        }
        self.claim = Claim::Nobody;
        let may_stay = may_park && self.prompt == PromptState::Closed && self.stays_open(context);
        if may_stay && self.open_item().is_some() {
            let until = self.may_be_parked_until(context);
            return self.set_parked(until, context);
        }
        self.close(GONE, Closed::Withdrawn, context);
    }

    pub(super) fn tick(&mut self, context: &mut StepContext<'_>) {
        let now = context.now;
        let is_due = |at: Option<Duration>| at.is_some_and(|at| at <= now);
        match &self.claim {
            Claim::Calls(_) if self.is_approved() => self.release(context),
            Claim::Calls(_) | Claim::State(_) => {
                if is_due(self.engines_at) {
                    self.engines_are_due(context);
                }
                if is_due(self.deadline) {
                    return self.time_is_up(context);
                }
                if self.is_asked_by_prompt() && is_due(self.silent_at) {
                    self.client_is_silent(context);
                }
                if let PromptState::Pause { until, .. } = &self.prompt
                    && *until <= now
                {
                    self.prompt = PromptState::Closed;
                    self.ask_client_again(context);
                }
            }
            // It was not answered, or its call was not made again.
            Claim::Parked { until } if *until <= context.now => {
                self.unpark(Closed::Expired, context)
            }
            Claim::Parked { .. } | Claim::Nobody => {}
        }
    }

    /// Handles the deadline.
    fn time_is_up(&mut self, context: &mut StepContext<'_>) {
        let mut timed_out = Failed::new(Outcome::Timeout, Refusal::TimedOut);
        timed_out.via = self.engine_via(context);
        match &self.claim {
            Claim::Calls(_) => self.calls_timed_out(timed_out, context),
            Claim::State(state) => {
                let expires = state.expires;
                self.state_timed_out(timed_out, expires, context);
            }
            Claim::Parked { .. } | Claim::Nobody => {}
        }
    }

    fn calls_timed_out(&mut self, timed_out: Failed, context: &mut StepContext<'_>) {
        const WHY: &str = "nobody answered in time";
        if let PromptState::Pause { error, .. } = &self.prompt {
            let refusal = Refusal::ClientError(error.clone());
            self.prompt = PromptState::Closed;
            let client = context.position(Engine::Elicitation);
            let client = client.unwrap_or(self.engine);
            return self.engine_failed(client, refusal, context);
        }
        if self.move_on(context) {
            return;
        }
        match &self.prompt {
            // INVARIANT 3: silence is a yes only for a prompt that the client can have seen, and only if the operator
            // chose that.
            PromptState::Open {
                delivery: Delivery::Delivered(_),
                ..
            } if self.silence_is_approval(context) => {
                self.close(WHY, Closed::Expired, context);
                self.approve(Approval::silence(), context);
            }
            PromptState::Open { .. } | PromptState::Pause { .. } | PromptState::Closed => {
                let parked =
                    |item| Failed::new(Outcome::Timeout, Refusal::Parked(item)).via(Via::INBOX);
                if self.stays_open(context) && self.park(parked, context) {
                    return;
                }
                self.close(WHY, Closed::Expired, context);
                self.refuse(timed_out, context);
            }
        }
    }

    /// Returns true if the operator chose that silence approves this question.
    ///
    /// Never if two yeses are needed, whether the first or the second is missing: an operator who wants two yeses wants
    /// a person who pays attention. Never if an assurance is required, since silence gives none. Never while an answer
    /// may be on its way unread.
    fn silence_is_approval(&self, context: &StepContext<'_>) -> bool {
        context.settings.timeout_action == TimeoutAction::Approve
            && context.client_is_heard
            && context.settings.require_assurance.is_none()
            && !context.needs_two(self.subject.decision.risk)
    }

    /// Handles a missing retry. The request was answered long ago, so only the log shows this.
    fn state_timed_out(
        &mut self,
        timed_out: Failed,
        expires: Duration,
        context: &mut StepContext<'_>,
    ) {
        if let PromptState::Open { .. } = self.prompt {
            self.prompt = PromptState::Closed;
            if self.moves_to_inbox(expires, context) {
                return;
            }
            let parked =
                |item| Failed::new(Outcome::Timeout, Refusal::Parked(item)).via(Via::INBOX);
            if self.stays_open(context) && self.park(parked, context) {
                return;
            }
            self.close_item(Closed::Expired, context);
            let failed = Failed {
                via: None,
                ..timed_out
            };
            return self.refuse(failed, context);
        }
        let has_time = self.parked_until.is_none_or(|until| context.now < until);
        let failed = match &self.answer {
            Some(Resolution::No(denied)) => denied.clone(),
            Some(Resolution::EngineFailed(failure)) => {
                let refusal = self.out_of_band_refusal(failure.clone(), context);
                Failed {
                    via: timed_out.via,
                    ..Failed::new(Outcome::Error, refusal)
                }
            }
            Some(Resolution::Yes { .. }) | None if self.stays_open(context) && has_time => {
                return self.park_answered(context);
            }
            Some(Resolution::Yes { approval, .. }) => {
                Failed::new(Outcome::Timeout, Refusal::TimedOut)
                    .via(approval.via.clone())
                    .with_log_text(
                        "a person approved it, but the client did not make the call again in time",
                    )
            }
            None => timed_out,
        };
        self.close_item(Closed::Expired, context);
        self.refuse(failed, context);
    }

    /// Moves the question on to the inbox when nobody answered the client's form in time. Does so only if the operator
    /// chose that, and if the state has not expired, so that a retry can still come.
    fn moves_to_inbox(&mut self, expires: Duration, context: &mut StepContext<'_>) -> bool {
        if context.now >= expires || !self.fits_inbox || !self.move_on(context) {
            return false;
        }
        self.deadline = Some(self.deadline.unwrap_or(expires).min(expires));
        true
    }

    /// Refuses the calls for now and leaves the question open in the inbox. Returns false and changes nothing if there
    /// is no inbox, the question does not fit there, or it was parked long enough.
    pub(super) fn park(
        &mut self,
        failed: impl FnOnce(String) -> Failed,
        context: &mut StepContext<'_>,
    ) -> bool {
        let Some(engine) = context.settings.inbox().filter(|_| self.fits_inbox) else {
            return false;
        };
        let until = self.may_be_parked_until(context);
        if until <= context.now {
            return false;
        }
        self.withdraw_prompt("nobody answered in time", context);
        self.engine = engine;
        if self.open_item().is_none() {
            self.add_item(EngineId::INBOX, Some(until), context);
        }
        let Some(item) = self.open_item().map(str::to_owned) else {
            return false;
        };
        self.refuse_calls(failed(item), context);
        if !self.lifts_denial {
            self.open_browser(context);
        }
        self.set_parked(until, context);
        true
    }

    /// Parks a question about a call that was answered with it. Only the log shows this.
    fn park_answered(&mut self, context: &mut StepContext<'_>) {
        let until = self.may_be_parked_until(context);
        let item = self.item().unwrap_or_default().to_owned();
        let decided = format!(
            "a person decided, but the client did not make the call again in time; parked as {item}"
        );
        let parked = Failed::new(Outcome::Timeout, Refusal::Parked(item)).via(Via::INBOX);
        let parked = match self.open_item() {
            Some(_) => parked,
            None => parked.with_log_text(&decided),
        };
        self.refuse_calls(parked, context);
        self.set_parked(until, context);
    }

    /// Keeps the question without a call, and its item if that is open.
    fn set_parked(&mut self, until: Duration, context: &mut StepContext<'_>) {
        self.deadline = None;
        self.silent_at = None;
        self.claim = Claim::Parked { until };
        let item = self.open_item().map(str::to_owned);
        context.out.push(Effect::Park { item, until });
    }

    /// Returns until when the question may stay parked: for the operator's `park_for`, counted from when it was first
    /// parked.
    fn may_be_parked_until(&self, context: &StepContext<'_>) -> Duration {
        let until = context.now.saturating_add(context.settings.park_for);
        self.parked_until.unwrap_or(until)
    }

    /// Ends a parked question, answered or not. The inbox no longer shows it as one that may still run.
    fn unpark(&mut self, how: Closed, context: &mut StepContext<'_>) {
        self.claim = Claim::Nobody;
        if let Some(item) = self.item.take() {
            context.out.push(Effect::Close { item: item.id, how });
        }
    }

    /// Ends the question because nobody can answer any more, or be answered.
    pub(super) fn ended(&mut self, failed: Failed, context: &mut StepContext<'_>) {
        if self.is_resumable() {
            self.claim = Claim::Nobody;
            let item = self.item.take().map(|item| item.id);
            return context
                .out
                .extend(item.map(|item| Effect::LeaveForLater { item }));
        }
        if self.is_parked() {
            return self.unpark(Closed::Withdrawn, context);
        }
        self.close(&failed.refusal.log_reason(), Closed::Withdrawn, context);
        let failed = match self.answer.take() {
            // A person's no counts, even if the client did not come back for it.
            Some(Resolution::No(denied)) => denied,
            Some(Resolution::Yes { .. } | Resolution::EngineFailed(_)) | None => failed,
        };
        self.refuse(failed, context);
        self.claim = Claim::Nobody;
    }

    /// Withdraws the question wherever it is open. A late answer counts for nothing.
    pub(super) fn close(&mut self, why: &str, how: Closed, context: &mut StepContext<'_>) {
        self.close_item(how, context);
        self.withdraw_prompt(why, context);
    }

    pub(super) fn close_item(&mut self, how: Closed, context: &mut StepContext<'_>) {
        if let Some(item) = self.item.as_mut().filter(|item| item.is_open) {
            item.is_open = false;
            let item = item.id.clone();
            context.out.push(Effect::Close { item, how });
        }
    }

    pub(super) fn withdraw_prompt(&mut self, why: &str, context: &mut StepContext<'_>) {
        if let PromptState::Open { id: Some(id), .. } =
            std::mem::replace(&mut self.prompt, PromptState::Closed)
        {
            let why = why.to_owned();
            context.out.push(Effect::Withdraw { id, why });
        }
    }

    /// Refuses the waiting calls. This ends the question wherever it is still open.
    pub(super) fn refuse(&mut self, failed: Failed, context: &mut StepContext<'_>) {
        self.close(GONE, Closed::Withdrawn, context);
        self.refuse_calls(failed, context);
    }

    fn refuse_calls(&mut self, failed: Failed, context: &mut StepContext<'_>) {
        match std::mem::replace(&mut self.claim, Claim::Nobody) {
            Claim::Calls(calls) => context.out.push(Effect::Refuse { calls, failed }),
            Claim::State(State { call, .. }) => {
                context.out.push(Effect::RecordRefused { call, failed });
            }
            Claim::Parked { .. } | Claim::Nobody => {}
        }
    }
}
