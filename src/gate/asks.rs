//! The questions in progress, and what leads to them: ids of prompts, items of the inbox, nonces of states, the time.
//!
//! What becomes of one is decided in `ask`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;

use super::ask::Ask;
use super::held::AskKey;
use crate::approval::request::ApprovalRequest;
use crate::mcp::message::RequestId;

/// How many questions may be parked at once; the oldest give way.
const MAX_PARKED: usize = 1_024;
/// The same for what is kept of their calls, in bytes.
const MAX_PARKED_BYTES: usize = 64 * 1024 * 1024;

/// The questions in progress.
///
/// Bounded by its user, as are the calls that wait (`Gate::is_full`); those without a call by themselves.
#[derive(Debug, Default)]
pub(super) struct Asks {
    asks: BTreeMap<AskKey, Box<Entry>>,
    index: Index,
}

/// By what questions are found.
#[derive(Debug, Default)]
struct Index {
    by_prompt: HashMap<RequestId, AskKey, RandomState>,
    by_item: HashMap<String, AskKey, RandomState>,
    by_nonce: HashMap<Arc<str>, AskKey, RandomState>,
    /// In order.
    times: Vec<(Duration, AskKey)>,
    /// Those that are parked, and until when.
    parked: BTreeSet<(Duration, AskKey)>,
    /// What is kept of calls that wait no more, in bytes.
    kept_bytes: usize,
    /// The same of those whose questions are parked.
    parked_bytes: usize,
}

/// A question, and what it is found by.
#[derive(Debug)]
struct Entry {
    ask: Ask,
    found_by: FoundBy,
}

/// What a question is found by, as the maps have it.
#[derive(Debug, Default)]
struct FoundBy {
    prompt: Option<RequestId>,
    item: Option<String>,
    nonce: Option<Arc<str>>,
    time: Option<Duration>,
    parked: Option<Duration>,
    bytes: usize,
}

impl Asks {
    pub(super) fn get(&self, key: AskKey) -> Option<&Ask> {
        self.asks.get(&key).map(|entry| &entry.ask)
    }

    /// The question, to let something happen to it. [`Asks::stepped`] has to be called then.
    pub(super) fn get_mut(&mut self, key: AskKey) -> Option<&mut Ask> {
        self.asks.get_mut(&key).map(|entry| &mut entry.ask)
    }

    pub(super) fn insert(&mut self, key: AskKey, ask: Ask) {
        let found_by = FoundBy::default();
        self.asks.insert(key, Box::new(Entry { ask, found_by }));
        self.stepped(key);
    }

    pub(super) fn remove(&mut self, key: AskKey) {
        if let Some(entry) = self.asks.remove(&key) {
            (self.index).replace(key, &entry.found_by, &FoundBy::default());
        }
    }

    /// Something has happened to a question: it is found by what it has now, or is gone if it is over.
    pub(super) fn stepped(&mut self, key: AskKey) {
        let Some(entry) = self.asks.get_mut(&key) else {
            return;
        };
        if entry.ask.is_over() {
            return self.remove(key);
        }
        if !entry.found_by.is_of(&entry.ask) {
            let before = std::mem::replace(&mut entry.found_by, FoundBy::of(&entry.ask));
            self.index.replace(key, &before, &entry.found_by);
        }
    }

    /// Keeps what people are shown of a question.
    pub(super) fn set_request(&mut self, key: AskKey, request: Arc<ApprovalRequest>) {
        if let Some(ask) = self.get_mut(key) {
            ask.request = Some(request);
            self.stepped(key);
        }
    }

    /// Whether another session may resume a parked question, should this one end.
    pub(super) fn set_resumable(&mut self, key: AskKey, is_resumable: bool) {
        if let Some(ask) = self.get_mut(key) {
            ask.set_resumable(is_resumable);
        }
    }

    /// How old the newest verdict about a question was when it came.
    pub(super) fn set_verdict_age(&mut self, key: AskKey, age: Duration) {
        if let Some(ask) = self.get_mut(key) {
            ask.set_verdict_age(age);
        }
    }

    /// The client has been handed everything that was put out for it. Questions are found as before.
    pub(super) fn delivered(&mut self, now: Duration) {
        for entry in self.asks.values_mut() {
            entry.ask.delivered(now);
        }
    }

    /// The question that a request of ours carries.
    pub(super) fn of_prompt(&self, id: &RequestId) -> Option<AskKey> {
        self.index.by_prompt.get(id).copied()
    }

    /// The question about whose item in the inbox a verdict counts.
    pub(super) fn of_item(&self, item: &str) -> Option<AskKey> {
        self.index.by_item.get(item).copied()
    }

    /// The question that a call was answered with, under this nonce.
    pub(super) fn of_nonce(&self, nonce: &str) -> Option<(AskKey, &Ask)> {
        let key = *self.index.by_nonce.get(nonce)?;
        Some((key, self.get(key)?))
    }

    /// The first question of which this holds, in the order in which they were asked.
    pub(super) fn find(&self, is_it: impl Fn(&Ask) -> bool) -> Option<AskKey> {
        let found = self.asks.iter().find(|(_, entry)| is_it(&entry.ask));
        found.map(|(key, _)| *key)
    }

    /// The parked question of which this holds, if its time is not over; of several, one that has been answered, or
    /// else one that people can lift a denial by.
    pub(super) fn find_parked(
        &self,
        now: Duration,
        is_it: impl Fn(&Ask) -> bool,
    ) -> Option<AskKey> {
        let parked = self.index.parked.iter().filter(|(until, _)| *until > now);
        let parked = parked.filter_map(|(_, key)| {
            let ask = self.get(*key)?;
            is_it(ask).then_some((*key, (ask.has_answer(), ask.may_lift())))
        });
        let found = parked.max_by_key(|(_, rank)| *rank);
        found.map(|(key, _)| key)
    }

    /// The parked question that has to give way to the one that was parked last.
    pub(super) fn one_too_many(&self, last: AskKey) -> Option<AskKey> {
        let is_full =
            self.index.parked.len() > MAX_PARKED || self.index.parked_bytes > MAX_PARKED_BYTES;
        let mut others = self.index.parked.iter().map(|(_, key)| *key);
        others.find(|key| is_full && *key != last)
    }

    /// The questions of which this holds, in the order in which they were asked.
    pub(super) fn keys(&self, is_it: impl Fn(&Ask) -> bool) -> Vec<AskKey> {
        let all = self.asks.iter().filter(|(_, entry)| is_it(&entry.ask));
        all.map(|(key, _)| *key).collect()
    }

    /// Whether this holds for any.
    pub(super) fn any(&self, is_it: impl Fn(&Ask) -> bool) -> bool {
        self.asks.values().any(|entry| is_it(&entry.ask))
    }

    /// When the first has something to do.
    pub(super) fn next_time(&self) -> Option<Duration> {
        self.index.times.first().map(|(time, _)| *time)
    }

    /// Those that have something to do by now, in the order in which they were asked.
    pub(super) fn due(&self, now: Duration) -> Vec<AskKey> {
        let due = self.index.times.iter().take_while(|(time, _)| *time <= now);
        let mut due: Vec<AskKey> = due.map(|(_, key)| *key).collect();
        due.sort_unstable();
        due
    }

    /// How many calls were answered with a question.
    pub(super) fn answered_count(&self) -> usize {
        self.index.by_nonce.len()
    }

    /// What is kept of calls that wait no more, in bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.index.kept_bytes
    }
}

impl Index {
    /// A question is found by `now` in place of `before`.
    fn replace(&mut self, key: AskKey, before: &FoundBy, now: &FoundBy) {
        replace(&mut self.by_prompt, &before.prompt, &now.prompt, key);
        replace(&mut self.by_item, &before.item, &now.item, key);
        replace(&mut self.by_nonce, &before.nonce, &now.nonce, key);
        if before.time != now.time {
            let place = |times: &[_], time| times.binary_search(&(time, key));
            if let Some(Ok(at)) = before.time.map(|time| place(&self.times, time)) {
                self.times.remove(at);
            }
            if let Some(time) = now.time
                && let Err(at) = place(&self.times, time)
            {
                self.times.insert(at, (time, key));
            }
        }
        self.kept_bytes = (self.kept_bytes + now.bytes).saturating_sub(before.bytes);
        if let Some(until) = before.parked {
            self.parked.remove(&(until, key));
            self.parked_bytes = self.parked_bytes.saturating_sub(before.bytes);
        }
        if let Some(until) = now.parked {
            self.parked.insert((until, key));
            self.parked_bytes += now.bytes;
        }
    }
}

impl FoundBy {
    fn of(ask: &Ask) -> FoundBy {
        FoundBy {
            prompt: ask.prompt_id().cloned(),
            item: ask.open_item().map(str::to_owned),
            nonce: ask.answered_call().map(|(nonce, _)| Arc::clone(nonce)),
            time: ask.next_time(),
            parked: ask.next_time().filter(|_| ask.is_parked()),
            bytes: ask.kept_bytes(),
        }
    }

    fn is_of(&self, ask: &Ask) -> bool {
        self.prompt.as_ref() == ask.prompt_id()
            && self.item.as_deref() == ask.open_item()
            && self.nonce.as_ref() == ask.answered_call().map(|(nonce, _)| nonce)
            && self.time == ask.next_time()
            && self.parked == ask.next_time().filter(|_| ask.is_parked())
            && self.bytes == ask.kept_bytes()
    }
}

/// A question is found by `now` in place of `before`.
fn replace<T: Clone + Eq + Hash>(
    by: &mut HashMap<T, AskKey, RandomState>,
    before: &Option<T>,
    now: &Option<T>,
    key: AskKey,
) {
    if before == now {
        return;
    }
    if let Some(before) = before {
        by.remove(before);
    }
    if let Some(now) = now {
        by.insert(now.clone(), key);
    }
}
