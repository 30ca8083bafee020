//! Questions that outlive their calls: refused for now, still in the inbox, and good for the same
//! call once somebody has said yes.
//!
//! What a question is, is `asking`'s business; what a verdict about one without a call leads to,
//! `unattended`'s.

use std::collections::BTreeMap;
use std::time::Duration;

use super::held::{AskedAs, Era, Failed, Held, HeldKey, Prompt, Question, QuestionKey, Stage, Via};
use super::output::{Output, ToInbox};
use super::refusal::Refusal;
use super::settings::{Engine, TimeoutAction};
use super::state::{Gate, Now, unix_ms};
use super::unattended::{Unattended, Until};
use crate::approval::cache::DedupeKey;
use crate::approval::digest::CallDigest;
use crate::approval::item::Closed;
use crate::audit::record::Outcome;
use crate::mcp::tool::CallToolRequestParams;

/// How many questions may be parked at once; the oldest give way.
const MAX_PARKED: usize = 1_024;

/// A question without a call.
#[derive(Debug)]
pub(super) struct Parked {
    /// Whether it belongs to a session.
    pub(super) era: Era,
    /// The calls that it is about: exactly those with this digest, of the same client.
    pub(super) digest: CallDigest,
    pub(super) exact: DedupeKey,
    pub(super) left: Unattended,
    pub(super) until: Duration,
}

/// The questions that are parked, by item.
#[derive(Debug, Default)]
pub(super) struct Parking {
    items: BTreeMap<String, Parked>,
}

impl Parking {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Parks a question; returns the item of the one that had to give way.
    pub(super) fn insert(&mut self, item: String, parked: Parked) -> Option<String> {
        let given_way = match self.items.len() < MAX_PARKED {
            true => None,
            false => {
                let oldest = self.items.iter().min_by_key(|(_, parked)| parked.until);
                oldest.map(|(item, _)| item.clone())
            }
        };
        if let Some(oldest) = &given_way {
            self.items.remove(oldest);
        }
        self.items.insert(item, parked);
        given_way
    }

    pub(super) fn remove(&mut self, item: &str) -> Option<Parked> {
        self.items.remove(item)
    }

    pub(super) fn get_mut(&mut self, item: &str) -> Option<&mut Parked> {
        self.items.get_mut(item)
    }

    /// Takes out the question about a call. INVARIANT 2: what was shown is that very call, and a yes
    /// is taken out with it, so that it lets one call run.
    pub(super) fn take(
        &mut self,
        digest: &CallDigest,
        exact: &DedupeKey,
    ) -> Option<(String, Parked)> {
        let all = self.items.iter();
        let same = all.filter(|(_, parked)| parked.digest == *digest && parked.exact == *exact);
        // Of several, the one that has been answered.
        let found = same.max_by_key(|(_, parked)| parked.left.answer.is_some());
        let item = found.map(|(item, _)| item.clone())?;
        let parked = self.items.remove(&item)?;
        Some((item, parked))
    }

    /// Removes those of which this holds; returns their items.
    fn remove_all(&mut self, is_over: impl Fn(&Parked) -> bool) -> Vec<String> {
        let over = self.items.iter().filter(|(_, parked)| is_over(parked));
        let over: Vec<String> = over.map(|(item, _)| item.clone()).collect();
        self.items.retain(|item, _| !over.contains(item));
        over
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.items.values().map(|parked| parked.until).min()
    }
}

impl Gate {
    /// Whether a question whose time is over stays open in the inbox: because the operator chose
    /// that, or because it was left there before.
    pub(super) fn stays_open(&self, parked_until: Option<Duration>) -> bool {
        self.settings.timeout_action == TimeoutAction::Park || parked_until.is_some()
    }

    pub(super) fn inbox_channel(&self) -> Option<usize> {
        let mut channels = self.settings.channels.iter();
        channels.position(|channel| channel.engine == Engine::Inbox)
    }

    /// The human's time is over, and the question stays open: its calls are refused for now. False
    /// where there is no inbox to leave it in, or it does not fit.
    pub(super) fn park(&mut self, key: QuestionKey, outcome: Outcome, now: Now) -> bool {
        let Some(item) = self.leave_in_inbox(key, now) else {
            return false;
        };
        let failed = Failed::new(outcome, Refusal::Parked(item)).via(Some(Via::INBOX));
        self.refuse_question(key, &failed, now);
        true
    }

    /// Leaves a question open in the inbox, whose calls are to be refused for now; returns its
    /// item. `None` where there is no inbox, or the question does not fit or was there long enough.
    pub(super) fn leave_in_inbox(&mut self, key: QuestionKey, now: Now) -> Option<String> {
        let channel = self.inbox_channel()?;
        let until = self
            .questions
            .get(&key)
            .and_then(|question| question.parked_until);
        if until.is_some_and(|until| until <= now.elapsed) {
            // It has been parked for as long as it may be.
            return None;
        }
        let is_posted = |question: &Question| matches!(question.prompt, Prompt::Inbox { .. });
        if !self.questions.get(&key).is_some_and(is_posted) {
            self.withdraw(key, "nobody answered in time", Closed::Expired);
            if let Some(question) = self.questions.get_mut(&key) {
                question.channel = channel;
                question.deadline = None;
            }
            if !self.try_to_post(key, now) {
                return None;
            }
        }
        let first = self.first_call(key)?;
        let of_call = (first.era, self.exact_key_of(first)?);
        self.park_question(key, of_call, now)
    }

    /// The client takes back a call whose question can stay open without it. The call is not among
    /// the held ones any more. False where the question has to be left.
    pub(super) fn park_cancelled(&mut self, held: &Held, call: HeldKey, now: Now) -> bool {
        let Stage::Human(key) = held.stage else {
            return false;
        };
        let is_last = |question: &Question| {
            question.calls == [call] && matches!(question.prompt, Prompt::Inbox { .. })
        };
        let question = self.questions.get(&key).filter(|it| is_last(it));
        if !question.is_some_and(|question| self.stays_open(question.parked_until)) {
            return false;
        }
        let of_call = self.exact_key_of(held).map(|exact| (held.era, exact));
        let item = of_call.and_then(|of_call| self.park_question(key, of_call, now));
        self.questions.remove(&key);
        item.is_some()
    }

    /// Leaves a posted question in the inbox without its calls; returns its item.
    fn park_question(
        &mut self,
        key: QuestionKey,
        (era, exact): (Era, DedupeKey),
        now: Now,
    ) -> Option<String> {
        let question = self.questions.get(&key)?;
        let (digest, until) = (question.shown.digest, question.parked_until);
        let (item, left) = self.leave_unattended(key)?;
        let parked = Parked {
            era,
            digest,
            exact,
            left,
            until: self.parked_until(until, now),
        };
        self.park_unattended(item.clone(), parked, now);
        Some(item)
    }

    /// Until when a question may be parked: as long as the operator says, counted from when it first
    /// was.
    pub(super) fn parked_until(&self, before: Option<Duration>, now: Now) -> Duration {
        before.unwrap_or(now.elapsed.saturating_add(self.settings.park_for))
    }

    /// Keeps a question without a call for the same client's same call.
    pub(super) fn park_unattended(&mut self, item: String, parked: Parked, now: Now) {
        let until_ms = unix_ms(parked.until, now);
        let is_posted = parked.left.is_posted;
        let given_way = self.parking.insert(item.clone(), parked);
        if let Some(item) = given_way {
            self.close_item(item, Closed::Expired);
        }
        if is_posted {
            self.put(Output::ToInbox(ToInbox::Park { item, until_ms }));
        }
    }

    /// The question about a held call that was parked, if there is one.
    pub(super) fn take_parked(
        &mut self,
        asked_as: &AskedAs,
        params: &CallToolRequestParams<'_>,
    ) -> Option<(String, Parked)> {
        if self.parking.is_empty() {
            return None;
        }
        let exact = DedupeKey::exact(&self.settings.server, params, asked_as.of_tool());
        self.parking.take(&asked_as.digest, &exact)
    }

    /// A call comes again whose question was parked.
    pub(super) fn attend_parked(
        &mut self,
        key: HeldKey,
        params: &CallToolRequestParams<'_>,
        (item, parked): (String, Parked),
        now: Now,
    ) {
        let channel = self.settings.channels.get(parked.left.channel).copied();
        let deadline = channel.and_then(|channel| self.human_deadline(channel, now));
        // Nobody can answer a parked item once its time is over.
        let until = Until {
            deadline: Some(deadline.map_or(parked.until, |deadline| deadline.min(parked.until))),
            parked_until: Some(parked.until),
        };
        self.attend(key, params, item, parked.left, until, now);
    }

    /// Time has passed: parked questions that nobody answered, or whose call has not come again.
    pub(super) fn tick_parked(&mut self, now: Now) {
        for item in self
            .parking
            .remove_all(|parked| parked.until <= now.elapsed)
        {
            self.close_item(item, Closed::Expired);
        }
    }

    /// Nobody can make the calls again: those of a session that is over, or all.
    pub(super) fn abandon_parked(&mut self, is_over: impl Fn(Era) -> bool) {
        for item in self.parking.remove_all(|parked| is_over(parked.era)) {
            self.close_item(item, Closed::Withdrawn);
        }
    }
}
