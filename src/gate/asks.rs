//! The questions in progress, and what leads to them: ids of prompts, items of the inbox, nonces of states, the time.
//!
//! What becomes of one is decided in `ask`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::ask::Ask;
use super::held::AskKey;
use crate::approval::request::ApprovalRequest;
use crate::mcp::message::RequestId;

/// How many questions may be parked at once; the oldest give way.
const MAX_PARKED: usize = 1_024;
/// The same for what is kept of their calls, in bytes.
const MAX_PARKED_BYTES: usize = 64 * 1024 * 1024;

/// The questions in progress. One is taken out for each step, and put back.
///
/// Bounded by its user, as are the calls that wait (`Gate::is_full`); those without a call by themselves.
#[derive(Debug, Default)]
pub(super) struct Asks {
    asks: BTreeMap<AskKey, Ask>,
    by_prompt: BTreeMap<RequestId, AskKey>,
    by_item: BTreeMap<String, AskKey>,
    by_nonce: BTreeMap<Arc<str>, AskKey>,
    times: BTreeSet<(Duration, AskKey)>,
    /// Those that are parked, and until when.
    parked: BTreeSet<(Duration, AskKey)>,
    /// What is kept of calls that wait no more, in bytes.
    kept_bytes: usize,
    /// The same of those whose questions are parked.
    parked_bytes: usize,
}

impl Asks {
    pub(super) fn get(&self, key: AskKey) -> Option<&Ask> {
        self.asks.get(&key)
    }

    pub(super) fn insert(&mut self, key: AskKey, ask: Ask) {
        if let Some(id) = ask.prompt_id() {
            self.by_prompt.insert(id.clone(), key);
        }
        if let Some(item) = ask.open_item() {
            self.by_item.insert(item.to_owned(), key);
        }
        if let Some((nonce, _)) = ask.answered_call() {
            self.by_nonce.insert(Arc::clone(nonce), key);
        }
        self.kept_bytes += ask.kept_bytes();
        if let Some(time) = ask.next_time() {
            self.times.insert((time, key));
            if ask.is_parked() {
                self.parked.insert((time, key));
                self.parked_bytes += ask.kept_bytes();
            }
        }
        self.asks.insert(key, ask);
    }

    pub(super) fn take(&mut self, key: AskKey) -> Option<Ask> {
        let ask = self.asks.remove(&key)?;
        if let Some(id) = ask.prompt_id() {
            self.by_prompt.remove(id);
        }
        if let Some(item) = ask.open_item() {
            self.by_item.remove(item);
        }
        if let Some((nonce, _)) = ask.answered_call() {
            self.by_nonce.remove(nonce);
        }
        self.kept_bytes = self.kept_bytes.saturating_sub(ask.kept_bytes());
        if let Some(time) = ask.next_time() {
            self.times.remove(&(time, key));
            if self.parked.remove(&(time, key)) {
                self.parked_bytes = self.parked_bytes.saturating_sub(ask.kept_bytes());
            }
        }
        Some(ask)
    }

    /// Keeps what people are shown of a question. It is found as before.
    pub(super) fn set_request(&mut self, key: AskKey, request: Arc<ApprovalRequest>) {
        let Some(ask) = self.asks.get_mut(&key) else {
            return;
        };
        let before = ask.kept_bytes();
        ask.request = Some(request);
        let after = ask.kept_bytes();
        let is_parked = ask.is_parked();
        let counts = [
            Some(&mut self.kept_bytes),
            is_parked.then_some(&mut self.parked_bytes),
        ];
        for count in counts.into_iter().flatten() {
            *count = count.saturating_sub(before).saturating_add(after);
        }
    }

    /// Another session may resume a parked question, should this one end. It is found as before.
    pub(super) fn set_resumable(&mut self, key: AskKey) {
        if let Some(ask) = self.asks.get_mut(&key) {
            ask.set_resumable(true);
        }
    }

    /// No other session may resume it.
    pub(super) fn set_taken_up(&mut self, key: AskKey) {
        if let Some(ask) = self.asks.get_mut(&key) {
            ask.set_resumable(false);
        }
    }

    /// The client has been handed everything that was put out for it. Questions are found as before.
    pub(super) fn delivered(&mut self, now: Duration) {
        for ask in self.asks.values_mut() {
            ask.delivered(now);
        }
    }

    /// The question that a request of ours carries.
    pub(super) fn of_prompt(&self, id: &RequestId) -> Option<AskKey> {
        self.by_prompt.get(id).copied()
    }

    /// The question about whose item in the inbox a verdict counts.
    pub(super) fn of_item(&self, item: &str) -> Option<AskKey> {
        self.by_item.get(item).copied()
    }

    /// The question that a call was answered with, under this nonce.
    pub(super) fn of_nonce(&self, nonce: &str) -> Option<(AskKey, &Ask)> {
        let key = *self.by_nonce.get(nonce)?;
        Some((key, self.asks.get(&key)?))
    }

    /// The first question of which this holds, in the order in which they were asked.
    pub(super) fn find(&self, is_it: impl Fn(&Ask) -> bool) -> Option<AskKey> {
        let found = self.asks.iter().find(|(_, ask)| is_it(ask));
        found.map(|(key, _)| *key)
    }

    /// The parked question of which this holds, if its time is not over; of several, one that has been answered, or
    /// else one that people can lift a denial by.
    pub(super) fn find_parked(
        &self,
        now: Duration,
        is_it: impl Fn(&Ask) -> bool,
    ) -> Option<AskKey> {
        let parked = self.parked.iter().filter(|(until, _)| *until > now);
        let parked = parked.filter_map(|(_, key)| {
            let ask = self.asks.get(key)?;
            is_it(ask).then_some((*key, (ask.has_answer(), ask.may_lift())))
        });
        let found = parked.max_by_key(|(_, rank)| *rank);
        found.map(|(key, _)| key)
    }

    /// The parked question that has to give way to the one that was parked last.
    pub(super) fn one_too_many(&self, last: AskKey) -> Option<AskKey> {
        let is_full = self.parked.len() > MAX_PARKED || self.parked_bytes > MAX_PARKED_BYTES;
        let mut others = self.parked.iter().map(|(_, key)| *key);
        others.find(|key| is_full && *key != last)
    }

    /// The questions of which this holds, in the order in which they were asked.
    pub(super) fn keys(&self, is_it: impl Fn(&Ask) -> bool) -> Vec<AskKey> {
        let all = self.asks.iter().filter(|(_, ask)| is_it(ask));
        all.map(|(key, _)| *key).collect()
    }

    /// Whether this holds for any.
    pub(super) fn any(&self, is_it: impl Fn(&Ask) -> bool) -> bool {
        self.asks.values().any(is_it)
    }

    /// When the first has something to do.
    pub(super) fn next_time(&self) -> Option<Duration> {
        self.times.first().map(|(time, _)| *time)
    }

    /// Those that have something to do by now, in the order in which they were asked.
    pub(super) fn due(&self, now: Duration) -> Vec<AskKey> {
        let due = self.times.iter().take_while(|(time, _)| *time <= now);
        let mut due: Vec<AskKey> = due.map(|(_, key)| *key).collect();
        due.sort_unstable();
        due
    }

    /// How many calls were answered with a question.
    pub(super) fn answered_count(&self) -> usize {
        self.by_nonce.len()
    }

    /// What is kept of calls that wait no more, in bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }
}
