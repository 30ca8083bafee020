//! Handles what people and clients answer, and checks what a yes needs before it lets a call run.

use super::*;

impl Ask {
    /// Handles the client's answer to its prompt. INVARIANT 2: one answer; a second one finds no open prompt.
    pub(super) fn answered(&mut self, answer: Answer, context: &mut StepContext<'_>) {
        let PromptState::Open { delivery, .. } = self.prompt else {
            return;
        };
        if !self.is_awaited() {
            return;
        }
        let took = context.now.saturating_sub(delivery.since());
        self.prompt = PromptState::Closed;
        self.silent_at = None;
        let client = context.position(Engine::Elicitation);
        let client = client.unwrap_or(self.engine);
        match answer {
            Answer::Approved { reason } => {
                self.close_item(Closed::Withdrawn, context);
                self.engine = client;
                let via = Via::elicitation(took);
                self.said_yes(reason, Duration::ZERO, via, context);
            }
            Answer::Refused { reason, how } => {
                let no = ClientNo { reason, how, took };
                if !context.settings.is_instant(took) {
                    self.close_item(Closed::Withdrawn, context);
                }
                self.client_said_no(no, context);
            }
            // contract.md, "Command line": no retry; "an answer is an answer".
            Answer::Invalid(fault) => {
                self.engine_failed(client, Refusal::InvalidAnswer(fault), context);
            }
            // A stateless client cannot report an error here. If it did, that would not be a yes either.
            Answer::Failed { message } if self.retries_left > 0 && self.era == Era::Legacy => {
                self.retries_left -= 1;
                self.prompt = PromptState::Pause {
                    until: context.now.saturating_add(self.pause),
                    error: message,
                };
                self.pause = next_pause(self.pause, &context.settings.retry);
            }
            Answer::Failed { message } => {
                self.engine_failed(client, Refusal::ClientError(message), context);
            }
        }
    }

    /// Handles a no from the client. A no that came faster than a person can read also refuses the calls, but leaves
    /// the question open in the inbox, if there is one.
    fn client_said_no(&mut self, no: ClientNo, context: &mut StepContext<'_>) {
        let is_instant = context.settings.is_instant(no.took);
        if !is_instant {
            return self.refuse(no.into_denial(), context);
        }
        if !self.park(|item| no.clone().into_too_fast(Some(item)), context) {
            self.refuse(no.into_too_fast(None), context);
        }
    }

    /// Handles a person's yes: the first of two, or one that lets the calls run. `cover` is how long it also covers the
    /// same call.
    fn said_yes(
        &mut self,
        reason: Option<String>,
        cover: Duration,
        via: Via,
        context: &mut StepContext<'_>,
    ) {
        if self.yeses_needed > 1 {
            self.yeses_needed -= 1;
            self.round = QuestionKind::Second;
            if self.is_awaited() {
                context.out.push(Effect::FirstYes { reason, via });
                self.parked_until = None;
                self.ask_second(context);
            }
            return;
        }
        let (approval, at) = (Approval::given(reason, via), context.now);
        if self.is_awaited() {
            return self.approve_and_cover(approval, (at, cover), context);
        }
        self.answer = Some(Resolution::Yes {
            approval,
            at,
            cover,
        });
    }

    /// Lets the waiting calls run by a yes given `at`, and lets it cover later ones. INVARIANT 3: a yes with too little
    /// assurance covers nothing.
    pub(super) fn approve_and_cover(
        &mut self,
        approval: Approval,
        (at, cover): (Duration, Duration),
        context: &mut StepContext<'_>,
    ) {
        if is_assured_enough(&approval.via, context.settings) {
            context.out.push(Effect::Cover { at, cover });
        }
        self.approve(approval, context);
    }

    /// Lets the waiting calls run.
    pub(super) fn approve(&mut self, approval: Approval, context: &mut StepContext<'_>) {
        self.deadline = None;
        self.silent_at = None;
        self.answer = Some(Resolution::Yes {
            approval,
            at: context.now,
            cover: Duration::ZERO,
        });
        self.release(context);
    }

    /// Asks for the second of two yeses, at the engine that brought the first. INVARIANT 2: it is about the same thing
    /// as the first.
    pub(super) fn ask_second(&mut self, context: &mut StepContext<'_>) {
        if !self.subject.is_as_shown(context.definition) {
            return self.reask(context);
        }
        self.asked.clear();
        self.began = None;
        let channel = context.channel(self.engine);
        let until = channel.and_then(|channel| context.time_at(channel));
        self.put(self.engine, until, context);
    }

    /// Lets the calls run that wait for an approved question. INVARIANT 2: only if the tool is still what was shown;
    /// otherwise it asks again. INVARIANT 3: the approval must have enough assurance, and the client must be there to
    /// get the result.
    pub(super) fn release(&mut self, context: &mut StepContext<'_>) {
        let Some(Resolution::Yes { approval, .. }) = &self.answer else {
            return;
        };
        if !is_assured_enough(&approval.via, context.settings) {
            let failed = Failed::new(Outcome::Denied, Refusal::TooWeak).via(approval.via.clone());
            return self.refuse(failed, context);
        }
        if !context.has_client {
            let failed = Failed::new(Outcome::Cancelled, Refusal::Cancelled);
            return self.refuse(failed, context);
        }
        if !context.list_is_settled {
            return context.out.push(Effect::WantList);
        }
        if !self.subject.is_as_shown(context.definition) {
            return self.reask(context);
        }
        let approval = approval.clone();
        self.close(GONE, Closed::Withdrawn, context);
        if let Claim::Calls(calls) = std::mem::replace(&mut self.claim, Claim::Nobody) {
            context.out.push(Effect::Release { calls, approval });
        }
    }

    pub(super) fn reask(&mut self, context: &mut StepContext<'_>) {
        self.close("the server changed the tool", Closed::Withdrawn, context);
        if let Claim::Calls(calls) = std::mem::replace(&mut self.claim, Claim::Nobody) {
            context.out.push(Effect::Reask { calls });
        }
    }

    /// Refuses the call without asking, because a person denied the same call recently. The inbox shows it, so that a
    /// person can lift the denial.
    pub(super) fn denied_before(
        &mut self,
        at: Duration,
        until: Duration,
        context: &mut StepContext<'_>,
    ) {
        if !self.is_new() {
            return;
        }
        let now = context.now;
        let failed = |item| Failed::denied_before((at, until), now, item);
        (self.round, self.lifts_denial) = (QuestionKind::DeniedBefore, true);
        self.parked_until = Some(until);
        if !self.park(|item| failed(Some(item)), context) {
            self.refuse(failed(None), context);
        }
    }

    /// Handles a verdict about the item. INVARIANT 2: only the first verdict counts; a late answer from the client
    /// counts for nothing.
    pub(super) fn decided(
        &mut self,
        engine: EngineId,
        verdict: Verdict,
        context: &mut StepContext<'_>,
    ) {
        let Some(item) = self.item.as_mut().filter(|item| item.is_open) else {
            return;
        };
        item.is_open = false;
        let id = item.id.clone();
        let at = context.position(Engine::OutOfBand(engine));
        self.engine = at.filter(|at| self.has_asked(*at)).unwrap_or(self.engine);
        self.withdraw_prompt("a person decided elsewhere", context);
        let via = Via::verdict(engine, &verdict);
        if !self.is_awaited() {
            let verdict = verdict.clone();
            context.out.push(Effect::RecordVerdict {
                engine,
                item: id,
                verdict,
            });
        }
        match verdict.choice {
            Choice::Approve => self.said_yes(verdict.reason, verdict.cover, via, context),
            Choice::Deny => {
                let failed = Failed::denied(verdict.reason, "denied", via);
                match self.is_awaited() {
                    true => self.refuse(failed, context),
                    false => self.answer = Some(Resolution::No(failed)),
                }
            }
        }
    }

    /// Handles the failure of an engine that has the item, or the loss of the item. While a prompt is open in the client
    /// or another engine has the item, that can still bring a verdict. A call that was answered with the question gets
    /// the failure when its retry arrives. A parked question ends, so people are asked again if the call is made again.
    pub(super) fn item_failed(
        &mut self,
        engine: Option<EngineId>,
        failure: Failure,
        context: &mut StepContext<'_>,
    ) {
        if self.open_item().is_none() {
            return;
        }
        let failed_at = match engine {
            Some(engine) => context.position(Engine::OutOfBand(engine)),
            None => {
                self.item = None;
                self.last_out_of_band(context)
            }
        };
        self.mark_failed(engine, context);
        match &self.claim {
            Claim::Calls(_) => match failed_at {
                Some(at) if self.has_asked(at) => {
                    self.engine = at;
                    let refusal = self.out_of_band_refusal(failure, context);
                    self.engine_failed(at, refusal, context);
                }
                // The inbox listed it beside the client's prompt.
                Some(_) | None => {}
            },
            Claim::State(_) if !self.has_time_somewhere() => {
                self.item = None;
                self.engine = failed_at.unwrap_or(self.engine);
                self.answer = Some(Resolution::EngineFailed(failure));
            }
            Claim::State(_) => {}
            // The people who can still decide have the item, whoever was asked first.
            Claim::Parked { .. } if self.item.is_some() => {}
            Claim::Parked { .. } | Claim::Nobody => self.claim = Claim::Nobody,
        }
    }
}

/// Returns true if an approval has the assurance that the operator requires. A call covered by an earlier approval has
/// that approval's assurance.
fn is_assured_enough(via: &Via, settings: &Settings) -> bool {
    *via == Via::CACHE
        || settings.require_assurance.is_none()
        || (via.assurance).is_some_and(|assurance| settings.counts(assurance))
}

/// INVARIANT 3: an odd multiplier never causes a panic; the pause is at most the longest one.
fn next_pause(pause: Duration, retry: &Retry) -> Duration {
    let seconds = pause.as_secs_f64() * retry.multiplier;
    Duration::try_from_secs_f64(seconds)
        .unwrap_or(retry.max_backoff)
        .min(retry.max_backoff)
}
