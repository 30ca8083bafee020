//! Ids of the gate's own requests.
//!
//! No randomness is read here: a seed comes in once.

use std::collections::{HashSet, VecDeque};

use foldhash::fast::RandomState;

use crate::mcp::message::RequestId;

/// Makes ids that nobody can guess.
///
/// INVARIANT 6: each is 128 bits of a keyed BLAKE3 over a counter, so one says nothing about
/// the next, and there is no shared prefix. The upstream sees the ids of our `tools/list`
/// and learns nothing about our prompts.
#[derive(Debug)]
pub(super) struct RequestIds {
    key: [u8; 32],
    count: u64,
}

impl RequestIds {
    pub(super) fn new(seed: [u8; 32]) -> RequestIds {
        RequestIds {
            key: seed,
            count: 0,
        }
    }

    pub(super) fn next(&mut self) -> RequestId {
        RequestId::Text(self.next_hex().into())
    }

    /// The same for what is no id but as hard to guess: 32 hex digits.
    pub(super) fn next_hex(&mut self) -> String {
        self.count += 1;
        let hash = blake3::keyed_hash(&self.key, &self.count.to_le_bytes());
        let hex = hash.to_hex();
        hex.get(..32).unwrap_or(&hex).to_owned()
    }
}

/// Ids of requests that no longer wait, and may still be answered. Remembers the newest thousand.
#[derive(Debug, Default)]
pub(super) struct RetiredIds {
    known: HashSet<RequestId, RandomState>,
    order: VecDeque<RequestId>,
}

const REMEMBERED: usize = 1_000;

impl RetiredIds {
    pub(super) fn add(&mut self, id: RequestId) {
        // Twice in the order, it would be forgotten with the first of both.
        if self.known.contains(&id) {
            self.order.retain(|known| *known != id);
        }
        if self.order.len() >= REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(id.clone());
        self.known.insert(id);
    }

    /// Whether it is among them; for ids of ours, which are all text.
    pub(super) fn contains(&self, id: &RequestId) -> bool {
        matches!(id, RequestId::Text(_)) && self.contains_any(id)
    }

    /// The same for ids of a peer's.
    pub(super) fn contains_any(&self, id: &RequestId) -> bool {
        self.known.contains(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_long_distinct_and_share_no_prefix() {
        let mut ids = RequestIds::new([7; 32]);
        let texts: Vec<String> = (0..100).map(|_| ids.next().to_string()).collect();
        let distinct: HashSet<&String> = texts.iter().collect();
        assert_eq!(distinct.len(), 100);
        assert!(texts.iter().all(|text| text.len() == 34));
        // 100 random first characters of 16 are not all one.
        let first = |text: &String| text.chars().nth(1);
        assert!(texts.iter().any(|text| first(text) != first(&texts[0])));
        let other = RequestIds::new([8; 32]).next();
        assert!(!texts.contains(&other.to_string()));
    }

    #[test]
    fn the_newest_thousand_are_remembered() {
        let mut ids = RequestIds::new([7; 32]);
        let mut retired = RetiredIds::default();
        let first = ids.next();
        retired.add(first.clone());
        for _ in 0..REMEMBERED - 1 {
            retired.add(ids.next());
        }
        assert!(retired.contains(&first));
        retired.add(ids.next());
        assert!(!retired.contains(&first));
        assert_eq!(retired.known.len(), REMEMBERED);
    }

    #[test]
    fn what_is_retired_again_is_remembered_as_the_newest() {
        let mut ids = RequestIds::new([7; 32]);
        let mut retired = RetiredIds::default();
        let again = ids.next();
        retired.add(again.clone());
        for _ in 0..REMEMBERED - 2 {
            retired.add(ids.next());
        }
        retired.add(again.clone());
        for _ in 0..REMEMBERED - 1 {
            retired.add(ids.next());
            assert!(retired.contains(&again));
        }
        retired.add(ids.next());
        assert!(!retired.contains(&again));
        assert_eq!(retired.known.len(), retired.order.len());
    }
}
