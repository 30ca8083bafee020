//! The question about a held call: how it is put, and what an answer leads to.
//!
//! What a call is asked about as, and whether at all, is decided in `deciding`; which channel it is
//! put to, in `channels`; what is special to the inbox stands in `inbox`.

use std::time::Duration;

use super::handshake::Offers;
use super::held::{
    APPROVED, AskedAs, Delivery, Era, Failed, Grant, Held, HeldKey, Prompt, Question, QuestionKey,
    Shown, Stage, Via,
};
use super::instant::ClientNo;
use super::output::{Output, Payload};
use super::refusal::Refusal;
use super::settings::{OnFailure, Retry, TimeoutAction};
use super::state::{Gate, Now, Peer};
use crate::approval::item::Closed;
use crate::approval::prompt::{Message, Prompt as PromptText, Round};
use crate::audit::record::Outcome;
use crate::mcp::elicit::{Answer, create_request};
use crate::mcp::error::cancelled_notification;
use crate::mcp::tool::CallToolRequestParams;
use crate::policy::Risk;

impl Gate {
    /// Asks about a held call, or lets it join an identical one that is being asked about.
    pub(super) fn put_question(
        &mut self,
        key: HeldKey,
        params: &CallToolRequestParams<'_>,
        now: Now,
    ) {
        let held = self.held.get(&key);
        let Some(asked_as) = held.and_then(|held| held.asked_as.clone()) else {
            return;
        };
        if let Some(parked) = self.take_parked(&asked_as, params) {
            return self.attend_parked(key, params, parked, now);
        }
        // INVARIANT 2: only a call that is shown in full by a prompt may share it, however
        // little the operator's dedupe fields look at.
        let shown = shown(params, &asked_as);
        let shared = asked_as.dedupe.and_then(|_| {
            let mut questions = self.questions.iter_mut();
            questions.find(|(_, question)| question.shown == shown)
        });
        if let Some((question_key, question)) = shared {
            question.calls.push(key);
            let question_key = *question_key;
            return self.set_stage(key, Stage::Human(question_key));
        }
        let Some(held) = self.held.get(&key) else {
            return;
        };
        let (round, yeses_needed) = self.first_round(held);
        if let Some(question_key) = self.new_question(key, params, round, yeses_needed) {
            self.put_to_channel(question_key, 0, None, now);
        }
    }

    /// Makes a question about a held call, which is put nowhere yet.
    pub(super) fn new_question(
        &mut self,
        key: HeldKey,
        params: &CallToolRequestParams<'_>,
        round: Round,
        yeses_needed: u32,
    ) -> Option<QuestionKey> {
        let held = self.held.get(&key)?;
        let asked_as = held.asked_as.as_ref()?;
        let question = Question {
            calls: vec![key],
            shown: shown(params, asked_as),
            message: self.message(held, params, asked_as, round),
            round,
            channel: 0,
            prompt: Prompt::Nowhere,
            also: None,
            deadline: None,
            parked_until: None,
            yeses_needed,
            retries_left: 0,
            backoff: Duration::ZERO,
        };
        let question_key = self.fresh_key();
        self.questions.insert(question_key, question);
        self.set_stage(key, Stage::Human(question_key));
        Some(question_key)
    }

    /// The client answered a prompt.
    pub(super) fn answer_question(&mut self, key: QuestionKey, answer: Answer, now: Now) {
        let Some(question) = self.questions.get_mut(&key) else {
            return;
        };
        let mut took = Duration::ZERO;
        if let Prompt::Open { id, delivery } = &question.prompt {
            took = now.elapsed.saturating_sub(delivery.since());
            // INVARIANT 2: one answer; a second one under the same id counts for nothing.
            let id = id.clone();
            self.question_by_prompt.remove(&id);
            self.retired_prompts.add(id);
        }
        question.prompt = Prompt::Nowhere;
        self.close_also(key, Closed::Withdrawn);
        let Some(question) = self.questions.get_mut(&key) else {
            return;
        };
        match answer {
            Answer::Approved { reason } => {
                let via = Via::elicitation(took);
                self.approved(key, reason, Duration::ZERO, via, now);
            }
            Answer::Refused { reason, how } => {
                self.refused_by_client(key, ClientNo { reason, how, took }, now);
            }
            // CONTRACT 1: no retry; "an answer is an answer".
            Answer::Invalid(fault) => self.channel_broke(key, Refusal::InvalidAnswer(fault), now),
            Answer::Failed { message } if question.retries_left > 0 => {
                question.retries_left -= 1;
                question.prompt = Prompt::Backoff {
                    until: now.elapsed.saturating_add(question.backoff),
                    error: message,
                };
                question.backoff = next_backoff(question.backoff, &self.settings.retry);
            }
            Answer::Failed { message } => {
                self.channel_broke(key, Refusal::ClientError(message), now);
            }
        }
    }

    /// A human said yes. `cover` is for how long the very same call is approved too.
    pub(super) fn approved(
        &mut self,
        key: QuestionKey,
        reason: Option<String>,
        cover: Duration,
        via: Via,
        now: Now,
    ) {
        let has_changed = self.has_changed(key);
        let question = self.questions.get(&key);
        if let Some(question) = question.filter(|question| question.yeses_needed > 1) {
            let digest = question.shown.digest;
            self.record_first_yes(Some(digest), reason.as_deref(), via, now);
        }
        let Some(question) = self.questions.get_mut(&key) else {
            return;
        };
        if question.yeses_needed > 1 {
            if has_changed {
                return self.ask_all_anew(key, now);
            }
            question.yeses_needed -= 1;
            return self.ask_second(key, now);
        }
        if let Some(call) = question.calls.first().copied() {
            self.cover(call, now.elapsed, cover, now);
        }
        let grant = Grant {
            outcome: Outcome::Approved,
            reason: reason.unwrap_or_else(|| APPROVED.to_owned()),
            via,
            is_in_history: false,
        };
        self.grant(key, &grant, now);
    }

    /// Asks for the second of two yeses, at the channel that brought the first.
    fn ask_second(&mut self, key: QuestionKey, now: Now) {
        let question = self.questions.get(&key);
        let first = question.and_then(|question| question.calls.first().copied());
        let message = first.and_then(|call| self.second_message(call));
        let channel = self.channel_of(key);
        let deadline = channel.and_then(|channel| self.human_deadline(channel, now));
        if let (Some(message), Some(question)) = (message, self.questions.get_mut(&key)) {
            question.message = message;
            question.round = Round::Second;
            question.deadline = deadline;
            question.parked_until = None;
        }
        self.ask_at_channel(key, now);
    }

    /// Time has passed: prompts that nobody answered, and ones to be shown again.
    pub(super) fn tick_questions(&mut self, now: Now) {
        let keys: Vec<QuestionKey> = self.questions.keys().copied().collect();
        for key in keys {
            let Some(question) = self.questions.get(&key) else {
                continue;
            };
            if question
                .deadline
                .is_some_and(|deadline| deadline <= now.elapsed)
            {
                self.expire_question(key, now);
            } else if let Prompt::Backoff { until, .. } = question.prompt
                && until <= now.elapsed
            {
                self.send_prompt(key, now);
            }
        }
    }

    fn expire_question(&mut self, key: QuestionKey, now: Now) {
        let Some(question) = self.questions.get(&key) else {
            return;
        };
        let timed_out = Failed::new(Outcome::Timeout, Refusal::TimedOut).via(self.via(key));
        let goes_on = self.goes_on_after(key);
        match &question.prompt {
            Prompt::Open { .. } | Prompt::Inbox { .. } if goes_on => {
                self.withdraw(key, "nobody answered in time", Closed::Expired);
                self.channel_failed(key, timed_out, OnFailure::Fallback, now);
            }
            // INVARIANT 3: only a prompt that the client can have seen may run out into a
            // yes, and only where the operator chose that.
            Prompt::Open {
                delivery: Delivery::Delivered(_),
                ..
            } if self.takes_silence_for_a_yes(question) => {
                self.withdraw(key, "nobody answered in time", Closed::Expired);
                let grant = Grant {
                    outcome: Outcome::Timeout,
                    reason: "nobody answered in time; the operator chose to approve then".into(),
                    via: Via::ELICITATION,
                    is_in_history: false,
                };
                self.grant(key, &grant, now);
            }
            Prompt::Open { .. } | Prompt::Inbox { .. } | Prompt::Nowhere => {
                if self.stays_open(question.parked_until) && self.park(key, Outcome::Timeout, now) {
                    return;
                }
                self.withdraw(key, "nobody answered in time", Closed::Expired);
                self.refuse_question(key, &timed_out, now);
            }
            Prompt::Backoff { error, .. } => {
                let refusal = Refusal::ClientError(error.clone());
                self.channel_broke(key, refusal, now);
            }
        }
    }

    /// Whether another channel is asked where nobody answers on a question's own.
    pub(super) fn goes_on_after(&self, key: QuestionKey) -> bool {
        let channel = self.channel_of(key);
        let question = self.questions.get(&key);
        channel.is_some_and(|channel| channel.on_timeout == OnFailure::Fallback)
            && question.is_some_and(|it| it.channel + 1 < self.settings.channels.len())
    }

    /// Whether the operator chose that silence is a yes to this question.
    ///
    /// Not so where two yeses are asked for, be it the first or the second that does not come:
    /// an operator who wants them from a human who pays attention gets none from one who does
    /// not. Nor while an answer may be on its way unread.
    fn takes_silence_for_a_yes(&self, question: &Question) -> bool {
        let held = question.calls.iter().filter_map(|call| self.held.get(call));
        let mut asked_as = held.filter_map(|held| held.asked_as.as_ref());
        let needs_two = asked_as.any(|asked_as| self.needs_two(asked_as.decision.risk));
        // Silence assures nothing.
        let needs_no_assurance = self.settings.require_assurance.is_none();
        self.settings.timeout_action == TimeoutAction::Approve
            && self.client_heard
            && needs_no_assurance
            && !needs_two
    }

    /// Whether a question is about a tool that is no longer what was shown.
    fn has_changed(&self, key: QuestionKey) -> bool {
        let question = self.questions.get(&key);
        let first = question.and_then(|question| self.held.get(question.calls.first()?));
        first.is_some_and(|held| !self.is_as_shown(held))
    }

    /// INVARIANT 2: a second yes is one to what the first was one to. Asks about all calls of a
    /// question as they are now.
    fn ask_all_anew(&mut self, key: QuestionKey, now: Now) {
        let Some(question) = self.questions.remove(&key) else {
            return;
        };
        for call in question.calls {
            self.ask_anew(call, now);
        }
    }

    /// Lets all calls of a question run.
    fn grant(&mut self, key: QuestionKey, grant: &Grant, now: Now) {
        let Some(question) = self.questions.remove(&key) else {
            return;
        };
        for call in question.calls {
            self.confirm(call, grant, now);
        }
    }

    /// Refuses all calls of a question whose prompt is answered or withdrawn.
    pub(super) fn refuse_question(&mut self, key: QuestionKey, failed: &Failed, now: Now) {
        let Some(question) = self.questions.remove(&key) else {
            return;
        };
        for call in question.calls {
            if let Some(held) = self.take_held(call) {
                self.tell_refused(&held, failed, now);
            }
        }
    }

    /// Whom the question was put to is there no more: it can have no answer.
    pub(super) fn abandon_question(&mut self, key: QuestionKey, refusal: Refusal, now: Now) {
        self.withdraw(key, &refusal.log_reason(), Closed::Withdrawn);
        let failed = Failed::new(Outcome::Cancelled, refusal);
        self.refuse_question(key, &failed, now);
    }

    /// The client begins another session.
    ///
    /// INVARIANT 2: a yes that the old one gives, or has given to a call that still waits to be
    /// compared with the list, lets nothing run in the new one. A call that waits for the list
    /// to be decided at all waits on: nobody was asked about it, and it goes by the new
    /// session's list and is asked about in the new session's words.
    pub(super) fn abandon_approvals(&mut self, now: Now) {
        // Requests of 2026-07-28 belong to no session.
        let is_legacy = |held: &Held| held.era == Era::Legacy;
        let asked = self.questions.keys().copied();
        let asked = asked.filter(|key| self.first_call(*key).is_some_and(is_legacy));
        let asked: Vec<QuestionKey> = asked.collect();
        for key in asked {
            self.abandon_question(key, Refusal::NewSession, now);
        }
        let legacy = self.held.iter().filter(|(_, held)| is_legacy(held));
        let approved = legacy.filter(|(_, held)| match held.stage {
            Stage::Confirm(_) => true,
            Stage::List | Stage::Human(_) => false,
        });
        let approved: Vec<HeldKey> = approved.map(|(key, _)| *key).collect();
        for key in approved {
            if let Some(held) = self.take_held(key) {
                let failed = Failed::new(Outcome::Cancelled, Refusal::NewSession);
                self.tell_refused(&held, &failed, now);
            }
        }
    }

    /// A call that was taken out no longer waits for a human; the last one takes the prompt
    /// with it.
    pub(super) fn leave_question(&mut self, held: &Held, key: HeldKey) {
        let Stage::Human(question_key) = held.stage else {
            return;
        };
        let Some(question) = self.questions.get_mut(&question_key) else {
            return;
        };
        question.calls.retain(|call| *call != key);
        if question.calls.is_empty() {
            let why = "the call does not wait any more";
            self.withdraw(question_key, why, Closed::Withdrawn);
            self.questions.remove(&question_key);
        }
    }

    /// Takes an open prompt back. A late answer counts for nothing.
    pub(super) fn withdraw(&mut self, key: QuestionKey, reason: &str, how: Closed) {
        self.close_also(key, how);
        let Some(question) = self.questions.get_mut(&key) else {
            return;
        };
        match std::mem::replace(&mut question.prompt, Prompt::Nowhere) {
            Prompt::Open { id, .. } => {
                self.question_by_prompt.remove(&id);
                if self.client == Peer::Open {
                    self.send_to_client(cancelled_notification(&id, reason));
                }
                self.retired_prompts.add(id);
            }
            Prompt::Inbox { item } => {
                self.question_by_item.remove(&item);
                self.end_invitation(&item);
                self.close_item(item, how);
            }
            Prompt::Backoff { .. } | Prompt::Nowhere => {}
        }
    }

    /// Sends a question's message under a fresh id.
    pub(super) fn send_prompt(&mut self, key: QuestionKey, now: Now) {
        let words = match self.handshake.words() {
            Ok(words) => words,
            Err(cannot) => {
                let failed = Failed::new(Outcome::Denied, Refusal::CannotAsk(cannot));
                return self.channel_failed(key, failed, OnFailure::Fallback, now);
            }
        };
        let id = self.ids.next();
        let Some(question) = self.questions.get_mut(&key) else {
            return;
        };
        question.prompt = Prompt::Open {
            id: id.clone(),
            delivery: Delivery::Queued(now.elapsed),
        };
        let request = create_request(&id, &question.message.text, words);
        let is_cut = question.message.is_cut;
        self.question_by_prompt.insert(id, key);
        self.put(Output::ToClient(Payload::Text(request)));
        if is_cut {
            self.post_also(key, now);
        }
    }

    /// Which question comes first about a call, and how many yeses it needs.
    pub(super) fn first_round(&self, held: &Held) -> (Round, u32) {
        let asked_as = held.asked_as.as_ref();
        let twice = asked_as.is_some_and(|asked_as| self.needs_two(asked_as.decision.risk));
        let round = match twice {
            _ if held.changes > 0 => Round::Changed,
            true => Round::FirstOfTwo,
            false => Round::First,
        };
        (round, if twice { 2 } else { 1 })
    }

    fn second_message(&self, key: HeldKey) -> Option<Message> {
        let held = self.held.get(&key)?;
        let asked_as = held.asked_as.as_ref()?;
        Some(self.message(held, &held.call.params(), asked_as, Round::Second))
    }

    /// What a human reads. INVARIANT 2: of the tool, what the call is asked about as, whatever the
    /// upstream says of it by now.
    pub(super) fn message(
        &self,
        held: &Held,
        params: &CallToolRequestParams<'_>,
        asked_as: &AskedAs,
        round: Round,
    ) -> Message {
        PromptText {
            server: &self.settings.server,
            call: params,
            is_listed: asked_as.definition.is_some(),
            decision: &asked_as.decision,
            description: asked_as.description(),
            hints: &self.policy.hints(&params.name, asked_as.annotations()),
            digest: asked_as.digest,
            round,
            covers: self.settings.approval_ttl,
            inbox_shows_all: self.is_shown_also(held),
        }
        .message()
    }

    pub(super) fn needs_two(&self, risk: Risk) -> bool {
        self.settings.double_confirm && risk == Risk::High
    }

    pub(super) fn set_stage(&mut self, key: HeldKey, stage: Stage) {
        if let Some(held) = self.held.get_mut(&key) {
            held.stage = stage;
        }
    }
}

/// What a question about a call shows, and to whom it can be put.
fn shown(params: &CallToolRequestParams<'_>, asked_as: &AskedAs) -> Shown {
    Shown {
        digest: asked_as.digest,
        dedupe: asked_as.dedupe,
        offers: Offers::of(params.client_capabilities()),
    }
}

/// INVARIANT 3: never a panic for an odd multiplier; the longest pause at most.
fn next_backoff(backoff: Duration, retry: &Retry) -> Duration {
    let seconds = backoff.as_secs_f64() * retry.multiplier;
    Duration::try_from_secs_f64(seconds)
        .unwrap_or(retry.max_backoff)
        .min(retry.max_backoff)
}
