//! What people and clients say, and what a yes needs to let a call run.

use super::*;

impl Ask {
    /// The client has answered. INVARIANT 2: one answer; a second one finds no open prompt.
    pub(super) fn answered(&mut self, answer: Answer, world: &mut World<'_>) {
        let PromptState::Open { delivery, .. } = self.prompt else {
            return;
        };
        if !self.is_awaited() {
            return;
        }
        let took = world.now.saturating_sub(delivery.since());
        self.prompt = PromptState::Closed;
        self.silent_at = None;
        match answer {
            Answer::Approved { reason } => {
                self.close_item(Closed::Withdrawn, world);
                let via = Via::elicitation(took);
                self.said_yes(reason, Duration::ZERO, via, world);
            }
            Answer::Refused { reason, how } => {
                let no = ClientNo { reason, how, took };
                if !world.settings.is_instant(took) {
                    self.close_item(Closed::Withdrawn, world);
                }
                self.client_said_no(no, world);
            }
            // CONTRACT 1: no retry; "an answer is an answer".
            Answer::Invalid(fault) => {
                self.engine_failed(Refusal::InvalidAnswer(fault), world);
            }
            // A stateless client reports no errors: were this one, it would be no yes.
            Answer::Failed { message } if self.retries_left > 0 && self.era == Era::Legacy => {
                self.retries_left -= 1;
                self.prompt = PromptState::Pause {
                    until: world.now.saturating_add(self.pause),
                    error: message,
                };
                self.pause = next_pause(self.pause, &world.settings.retry);
            }
            Answer::Failed { message } => {
                self.engine_failed(Refusal::ClientError(message), world);
            }
        }
    }

    /// The client answered with a no. One that nobody can have given refuses the calls, too, but leaves the
    /// question open in the inbox, if there is one.
    fn client_said_no(&mut self, no: ClientNo, world: &mut World<'_>) {
        let is_instant = world.settings.is_instant(no.took);
        if !is_instant {
            return self.refuse(no.of_person(), world);
        }
        if !self.park(|item| no.clone().of_nobody(Some(item)), world) {
            self.refuse(no.of_nobody(None), world);
        }
    }

    /// A person said yes: it is one of two, or lets the calls run. `cover` is for how long the very same call is
    /// approved, too.
    fn said_yes(
        &mut self,
        reason: Option<String>,
        cover: Duration,
        via: Via,
        world: &mut World<'_>,
    ) {
        if self.yeses_needed > 1 {
            self.yeses_needed -= 1;
            self.round = QuestionKind::Second;
            if self.is_awaited() {
                world.out.push(Effect::FirstYes { reason, via });
                self.parked_until = None;
                self.ask_second(world);
            }
            return;
        }
        let (approval, at) = (Approval::given(reason, via), world.now);
        if self.is_awaited() {
            return self.approve_and_cover(approval, (at, cover), world);
        }
        self.answer = Some(Verdicted::Yes {
            approval,
            at,
            cover,
        });
    }

    /// A person's yes, given `at`, lets the calls run that wait, and covers later ones. INVARIANT 3: one that does not
    /// assure enough covers nothing.
    pub(super) fn approve_and_cover(
        &mut self,
        approval: Approval,
        (at, cover): (Duration, Duration),
        world: &mut World<'_>,
    ) {
        if is_sure_enough(&approval.via, world.settings) {
            world.out.push(Effect::Cover { at, cover });
        }
        self.approve(approval, world);
    }

    /// Something lets the calls run that wait.
    pub(super) fn approve(&mut self, approval: Approval, world: &mut World<'_>) {
        self.deadline = None;
        self.silent_at = None;
        self.answer = Some(Verdicted::Yes {
            approval,
            at: world.now,
            cover: Duration::ZERO,
        });
        self.release(world);
    }

    /// Asks for the second of two yeses, at the engine that brought the first. INVARIANT 2: it is one to what the
    /// first was one to.
    pub(super) fn ask_second(&mut self, world: &mut World<'_>) {
        if !self.subject.is_as_shown(world.definition) {
            return self.ask_anew(world);
        }
        let channel = world.channel(self.engine);
        let deadline = channel.and_then(|channel| world.time_at(channel));
        self.put(deadline, world);
    }

    /// Lets the calls run that wait for a question which was answered with a yes. INVARIANT 2: only if the tool is
    /// still what was shown; otherwise it is asked about again. INVARIANT 3: whatever said so must assure enough,
    /// and somebody must be there to get the result.
    pub(super) fn release(&mut self, world: &mut World<'_>) {
        let Some(Verdicted::Yes { approval, .. }) = &self.answer else {
            return;
        };
        if !is_sure_enough(&approval.via, world.settings) {
            let failed = Failed::new(Outcome::Denied, Refusal::TooWeak).via(approval.via.clone());
            return self.refuse(failed, world);
        }
        if !world.has_client {
            let failed = Failed::new(Outcome::Cancelled, Refusal::Cancelled);
            return self.refuse(failed, world);
        }
        if !world.list_is_settled {
            return world.out.push(Effect::WantList);
        }
        if !self.subject.is_as_shown(world.definition) {
            return self.ask_anew(world);
        }
        let approval = approval.clone();
        self.close(GONE, Closed::Withdrawn, world);
        if let Claim::Calls(calls) = std::mem::replace(&mut self.claim, Claim::Nobody) {
            world.out.push(Effect::Release { calls, approval });
        }
    }

    pub(super) fn ask_anew(&mut self, world: &mut World<'_>) {
        self.close("the server has changed the tool", Closed::Withdrawn, world);
        if let Claim::Calls(calls) = std::mem::replace(&mut self.claim, Claim::Nobody) {
            world.out.push(Effect::AskAnew { calls });
        }
    }

    /// A person denied the very same call a short while ago: it is refused without asking. The inbox shows it, so that
    /// a person can lift that.
    pub(super) fn denied_before(&mut self, at: Duration, until: Duration, world: &mut World<'_>) {
        if !self.is_new() {
            return;
        }
        let now = world.now;
        let failed = |item| Failed::denied_before((at, until), now, item);
        (self.round, self.lifts) = (QuestionKind::DeniedBefore, true);
        self.parked_until = Some(until);
        if !self.park(|item| failed(Some(item)), world) {
            self.refuse(failed(None), world);
        }
    }

    /// A person has decided about the item. INVARIANT 2: the first verdict counts, and no other; a late answer of the
    /// client's counts for nothing.
    pub(super) fn decided(&mut self, engine: EngineId, verdict: Verdict, world: &mut World<'_>) {
        let Some(item) = self.item.as_mut().filter(|item| item.is_open) else {
            return;
        };
        item.is_open = false;
        let id = item.id.clone();
        self.withdraw_prompt("a person has decided in the approval inbox", world);
        let via = Via::verdict(engine, &verdict);
        if !self.is_awaited() {
            let verdict = verdict.clone();
            world.out.push(Effect::Kept {
                engine,
                item: id,
                verdict,
            });
        }
        match verdict.choice {
            Choice::Approve => self.said_yes(verdict.reason, verdict.cover, via, world),
            Choice::Deny => {
                let failed = Failed::denied(verdict.reason, "denied", via);
                match self.is_awaited() {
                    true => self.refuse(failed, world),
                    false => self.answer = Some(Verdicted::No(failed)),
                }
            }
        }
    }

    /// The engine that has the item cannot bring a verdict. A prompt that is out in the client is enough; whoever brings the state is told;
    /// whoever makes a parked call again is asked again.
    pub(super) fn lost(&mut self, failure: Failure, world: &mut World<'_>) {
        if self.open_item().is_none() {
            return;
        }
        self.item = None;
        if self.prompt != PromptState::Closed {
            return;
        }
        match &self.claim {
            Claim::Calls(_) => self.engine_is_lost(failure, world),
            Claim::State(_) => self.answer = Some(Verdicted::Lost(failure)),
            Claim::Parked { .. } | Claim::Nobody => self.claim = Claim::Nobody,
        }
    }
}

/// Whether what lets a call run has the assurance that the operator requires. What an earlier approval covers has
/// the assurance of that one.
fn is_sure_enough(via: &Via, settings: &Settings) -> bool {
    *via == Via::CACHE
        || settings.require_assurance.is_none()
        || (via.assurance).is_some_and(|assurance| settings.counts(assurance))
}

/// INVARIANT 3: never a panic for an odd multiplier; the longest pause at most.
fn next_pause(pause: Duration, retry: &Retry) -> Duration {
    let seconds = pause.as_secs_f64() * retry.multiplier;
    Duration::try_from_secs_f64(seconds)
        .unwrap_or(retry.max_backoff)
        .min(retry.max_backoff)
}
