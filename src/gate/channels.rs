//! The chain of channels that a question goes along until one of them decides.
//!
//! What is asked, and what an answer leads to, is `asking`'s business.

use std::time::Duration;

use super::handshake::CannotAsk;
use super::held::{Era, Failed, Held, QuestionKey, Via};
use super::refusal::Refusal;
use super::settings::{Channel, Client, Engine, OnFailure, Patience};
use super::state::{Gate, Now, Peer};
use crate::audit::record::Outcome;

impl Gate {
    /// Puts a question to the first channel from `from` on that exists for it. Where there is none,
    /// its calls are refused for what the channel before has `failed` with, or for the first thing
    /// that is missing.
    pub(super) fn put_to_channel(
        &mut self,
        key: QuestionKey,
        from: usize,
        failed: Option<Failed>,
        now: Now,
    ) {
        let mut failed = failed;
        for at in from..self.settings.channels.len() {
            let Some(channel) = self.settings.channels.get(at).copied() else {
                break;
            };
            let missing = match channel.engine {
                Engine::Elicitation => self.can_prompt(key),
                Engine::Inbox => self.can_post(),
            };
            if let Err(cannot) = missing {
                let refusal = Refusal::CannotAsk(cannot);
                failed.get_or_insert(Failed::new(Outcome::Denied, refusal));
                continue;
            }
            let deadline = self.human_deadline(channel, now);
            if let Some(question) = self.questions.get_mut(&key) {
                question.channel = at;
                question.deadline = deadline;
                question.retries_left = self.settings.retry.attempts;
                question.backoff = self.settings.retry.initial_backoff;
            }
            return self.ask_at_channel(key, now);
        }
        let no_channel = Refusal::CannotAsk(CannotAsk::NoChannel);
        let failed = failed.unwrap_or(Failed::new(Outcome::Denied, no_channel));
        self.refuse_question(key, &failed, now);
    }

    /// Asks at the channel that the question has come to.
    pub(super) fn ask_at_channel(&mut self, key: QuestionKey, now: Now) {
        let engine = self.channel_of(key).map(|channel| channel.engine);
        match (engine, self.first_call(key).map(|held| held.era)) {
            (Some(Engine::Elicitation), Some(Era::Legacy)) => self.send_prompt(key, now),
            (Some(Engine::Elicitation), Some(Era::Stateless)) => self.ask_by_result(key, now),
            (Some(Engine::Inbox), Some(_)) => self.post_item(key, now),
            (_, None) | (None, _) => {}
        }
    }

    /// The first of a question's calls, which differ in nothing that is shown, nor in whom it can be
    /// put to.
    pub(super) fn first_call(&self, key: QuestionKey) -> Option<&Held> {
        let question = self.questions.get(&key)?;
        self.held.get(question.calls.first()?)
    }

    pub(super) fn channel_of(&self, key: QuestionKey) -> Option<Channel> {
        let question = self.questions.get(&key)?;
        self.settings.channels.get(question.channel).copied()
    }

    /// Whether the client can show a prompt for a question.
    fn can_prompt(&self, key: QuestionKey) -> Result<(), CannotAsk> {
        let era = self.first_call(key).map(|held| held.era);
        let offers = self.questions.get(&key).map(|it| it.shown.offers);
        match era {
            _ if self.client == Peer::Gone => Err(CannotAsk::ClientGone),
            _ if self.settings.client == Client::Anonymous => Err(CannotAsk::Anonymous),
            // SPEC 2026-07-28: "Servers MUST NOT send an `inputRequests` that the client has not
            // declared support for in its capabilities", and those count for their request only.
            Some(Era::Stateless) if offers.is_some_and(|offers| offers.forms) => Ok(()),
            Some(Era::Stateless) => Err(CannotAsk::NoCapability),
            Some(Era::Legacy) | None => self.handshake.words().map(drop),
        }
    }

    /// The channel of an engine, if the chain has it behind `from`.
    pub(super) fn channel_behind(&self, from: usize, engine: Engine) -> Option<(usize, Channel)> {
        let channels = self.settings.channels.iter().copied().enumerate();
        let mut behind = channels.skip(from.saturating_add(1));
        behind.find(|(_, channel)| channel.engine == engine)
    }

    /// The channel could not decide: the next one is asked, or the calls are refused.
    pub(super) fn channel_failed(
        &mut self,
        key: QuestionKey,
        failed: Failed,
        then: OnFailure,
        now: Now,
    ) {
        let Some(question) = self.questions.get(&key) else {
            return;
        };
        match then {
            OnFailure::Fallback => {
                let next = question.channel + 1;
                self.put_to_channel(key, next, Some(failed), now);
            }
            OnFailure::Deny => self.refuse_question(key, &failed, now),
        }
    }

    /// The channel is broken.
    pub(super) fn channel_broke(&mut self, key: QuestionKey, refusal: Refusal, now: Now) {
        let channel = self.channel_of(key);
        let then = channel.map_or(OnFailure::Deny, |channel| channel.on_transport_error);
        let failed = Failed::new(Outcome::Error, refusal).via(self.via(key));
        self.channel_failed(key, failed, then, now);
    }

    /// How a question's channel is called where nobody has answered.
    pub(super) fn via(&self, key: QuestionKey) -> Option<Via> {
        self.channel_of(key).map(|channel| match channel.engine {
            Engine::Elicitation => Via::ELICITATION,
            Engine::Inbox => Via::INBOX,
        })
    }

    pub(super) fn human_deadline(&self, channel: Channel, now: Now) -> Option<Duration> {
        let timeout = match channel.patience {
            Patience::AsForAll => self.settings.timeout,
            Patience::Own(timeout) => timeout,
        };
        Some(now.elapsed.saturating_add(timeout?))
    }
}
