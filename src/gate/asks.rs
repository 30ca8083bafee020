//! The questions in progress, with an index by prompt id, inbox item, state nonce and time.
//!
//! `ask` decides what happens to them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;

use super::ask::Ask;
use super::held::AskKey;
use crate::approval::request::ApprovalRequest;
use crate::mcp::message::RequestId;

/// How many questions may be parked at once. The oldest are withdrawn first.
const MAX_PARKED: usize = 1_024;
/// How much memory their calls may take, in bytes.
const MAX_PARKED_BYTES: usize = 64 * 1024 * 1024;

/// The questions in progress.
///
/// `Gate::is_full` limits the questions that calls wait for. The limits above hold for parked ones.
#[derive(Debug, Default)]
pub(super) struct Asks {
    asks: BTreeMap<AskKey, Box<Entry>>,
    index: Index,
}

/// The index of the questions.
#[derive(Debug, Default)]
struct Index {
    by_prompt: HashMap<RequestId, AskKey, RandomState>,
    by_item: HashMap<String, AskKey, RandomState>,
    by_nonce: HashMap<Arc<str>, AskKey, RandomState>,
    /// Sorted.
    times: Vec<(Duration, AskKey)>,
    /// The parked questions, with when they expire.
    parked: BTreeSet<(Duration, AskKey)>,
    /// Memory for calls that no longer wait, in bytes.
    kept_bytes: usize,
    /// The part of that for parked questions.
    parked_bytes: usize,
}

/// A question, and its index keys.
#[derive(Debug)]
struct Entry {
    ask: Ask,
    found_by: FoundBy,
}

/// A question's keys, as they are in the index.
#[derive(Debug, Default)]
struct FoundBy {
    prompt: Option<RequestId>,
    item: Option<String>,
    replaced: Option<String>,
    nonce: Option<Arc<str>>,
    time: Option<Duration>,
    parked: Option<Duration>,
    bytes: usize,
}

impl Asks {
    pub(super) fn get(&self, key: AskKey) -> Option<&Ask> {
        self.asks.get(&key).map(|entry| &entry.ask)
    }

    /// Returns the question for a change. The caller must call [`Asks::stepped`] afterwards.
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

    /// Updates the index after a change, and removes the question if it is over.
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

    /// Sets what people are shown of a question.
    pub(super) fn set_request(&mut self, key: AskKey, request: Arc<ApprovalRequest>) {
        if let Some(ask) = self.get_mut(key) {
            ask.request = Some(request);
            self.stepped(key);
        }
    }

    /// Sets whether a later session may resume a parked question.
    pub(super) fn set_resumable(&mut self, key: AskKey, is_resumable: bool) {
        if let Some(ask) = self.get_mut(key) {
            ask.set_resumable(is_resumable);
        }
    }

    /// Sets how old the newest verdict about a question was when it arrived.
    pub(super) fn set_verdict_age(&mut self, key: AskKey, age: Duration) {
        if let Some(ask) = self.get_mut(key) {
            ask.set_verdict_age(age);
        }
    }

    /// Notes that everything put out for the client has been written to its pipe. The index does not change.
    pub(super) fn delivered(&mut self, now: Duration) {
        for entry in self.asks.values_mut() {
            entry.ask.delivered(now);
        }
    }

    /// Returns the question that our request with this id carries.
    pub(super) fn of_prompt(&self, id: &RequestId) -> Option<AskKey> {
        self.index.by_prompt.get(id).copied()
    }

    /// Returns the question whose open item this is, or in whose place that came.
    pub(super) fn of_item(&self, item: &str) -> Option<AskKey> {
        self.index.by_item.get(item).copied()
    }

    /// Returns the question that a call was answered with, under this nonce.
    pub(super) fn of_nonce(&self, nonce: &str) -> Option<(AskKey, &Ask)> {
        let key = *self.index.by_nonce.get(nonce)?;
        Some((key, self.get(key)?))
    }

    /// Returns the first matching question, in the order in which they were asked.
    pub(super) fn find(&self, is_it: impl Fn(&Ask) -> bool) -> Option<AskKey> {
        let found = self.asks.iter().find(|(_, entry)| is_it(&entry.ask));
        found.map(|(key, _)| *key)
    }

    /// Returns the matching parked question that has not expired. Prefers an answered one, then one that can lift a
    /// denial.
    pub(super) fn find_parked(
        &self,
        now: Duration,
        is_it: impl Fn(&Ask) -> bool,
    ) -> Option<AskKey> {
        let parked = self.index.parked.iter().filter(|(until, _)| *until > now);
        let parked = parked.filter_map(|(_, key)| {
            let ask = self.get(*key)?;
            is_it(ask).then_some((*key, (ask.has_answer(), ask.can_lift_denial())))
        });
        let found = parked.max_by_key(|(_, rank)| *rank);
        found.map(|(key, _)| key)
    }

    /// Returns the parked question to withdraw to make room for `last`, if there are too many.
    pub(super) fn one_too_many(&self, last: AskKey) -> Option<AskKey> {
        let is_full =
            self.index.parked.len() > MAX_PARKED || self.index.parked_bytes > MAX_PARKED_BYTES;
        let mut others = self.index.parked.iter().map(|(_, key)| *key);
        others.find(|key| is_full && *key != last)
    }

    /// Returns the matching questions, in the order in which they were asked.
    pub(super) fn keys(&self, is_it: impl Fn(&Ask) -> bool) -> Vec<AskKey> {
        let all = self.asks.iter().filter(|(_, entry)| is_it(&entry.ask));
        all.map(|(key, _)| *key).collect()
    }

    /// Returns true if any question matches.
    pub(super) fn any(&self, is_it: impl Fn(&Ask) -> bool) -> bool {
        self.asks.values().any(|entry| is_it(&entry.ask))
    }

    /// Returns when the next question needs a tick.
    pub(super) fn next_time(&self) -> Option<Duration> {
        self.index.times.first().map(|(time, _)| *time)
    }

    /// Returns the questions that need a tick by now, in the order in which they were asked.
    pub(super) fn due(&self, now: Duration) -> Vec<AskKey> {
        let due = self.index.times.iter().take_while(|(time, _)| *time <= now);
        let mut due: Vec<AskKey> = due.map(|(_, key)| *key).collect();
        due.sort_unstable();
        due
    }

    /// Returns how many calls were answered with a question.
    pub(super) fn answered_count(&self) -> usize {
        self.index.by_nonce.len()
    }

    /// Returns the memory for calls that no longer wait, in bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.index.kept_bytes
    }
}

impl Index {
    /// Replaces a question's keys.
    fn replace(&mut self, key: AskKey, before: &FoundBy, now: &FoundBy) {
        replace(&mut self.by_prompt, &before.prompt, &now.prompt, key);
        replace(&mut self.by_item, &before.item, &now.item, key);
        replace(&mut self.by_item, &before.replaced, &now.replaced, key);
        // One item may have become the replaced one.
        if let Some(item) = &now.replaced {
            self.by_item.insert(item.clone(), key);
        }
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
            replaced: ask.replaced_item().map(str::to_owned),
            nonce: ask.answered_call().map(|(nonce, _)| Arc::clone(nonce)),
            time: ask.next_time(),
            parked: ask.next_time().filter(|_| ask.is_parked()),
            bytes: ask.kept_bytes(),
        }
    }

    fn is_of(&self, ask: &Ask) -> bool {
        self.prompt.as_ref() == ask.prompt_id()
            && self.item.as_deref() == ask.open_item()
            && self.replaced.as_deref() == ask.replaced_item()
            && self.nonce.as_ref() == ask.answered_call().map(|(nonce, _)| nonce)
            && self.time == ask.next_time()
            && self.parked == ask.next_time().filter(|_| ask.is_parked())
            && self.bytes == ask.kept_bytes()
    }
}

/// Replaces one key of a question.
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
