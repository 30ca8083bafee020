//! Ids of the gate's own requests, and of the calls that it holds.
//!
//! Reads no randomness: the seed is passed in once.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use foldhash::fast::RandomState;

use super::held::HeldKey;
use crate::mcp::message::RequestId;
use crate::mcp::readings::Reading;

/// Makes ids that nobody can guess.
///
/// INVARIANT 6: each is 128 bits of a keyed BLAKE3 over a counter. One id reveals nothing about the
/// next, and they share no prefix. The upstream sees the ids of our `tools/list` and learns nothing
/// about our prompts.
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

    /// Returns an id for servers that understand only numbers: 52 random bits below a leading one,
    /// so readers that use doubles keep it exact. The caller makes sure that no other request has
    /// it.
    pub(super) fn next_number(&mut self) -> RequestId {
        self.count += 1;
        let hash = blake3::keyed_hash(&self.key, &self.count.to_le_bytes());
        let bytes = hash.as_bytes().first_chunk().copied().unwrap_or_default();
        let number = i64::from_le_bytes(bytes) & (SMALLEST_NUMBER - 1);
        RequestId::Integer(SMALLEST_NUMBER | number)
    }

    /// Returns a value that is as hard to guess as an id: 32 hex digits.
    pub(super) fn next_hex(&mut self) -> String {
        self.count += 1;
        let hash = blake3::keyed_hash(&self.key, &self.count.to_le_bytes());
        let hex = hash.to_hex();
        hex.get(..32).unwrap_or(&hex).to_owned()
    }
}

/// 2^52: our numbers are at least this large, and smaller than 2^53.
const SMALLEST_NUMBER: i64 = 1 << 52;

/// Ids of requests that no longer wait but may still be answered. Remembers the newest thousand.
#[derive(Debug, Default)]
pub(super) struct RetiredIds {
    known: HashSet<RequestId, RandomState>,
    order: VecDeque<RequestId>,
}

const REMEMBERED: usize = 1_000;

impl RetiredIds {
    pub(super) fn add(&mut self, id: RequestId) {
        // If an id were in `order` twice, its older entry would make us forget it too early.
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

    /// Returns true if it contains an id of ours. Those are text or large numbers.
    pub(super) fn contains(&self, id: &RequestId) -> bool {
        let can_be_ours = match id {
            RequestId::Text(_) => true,
            RequestId::Integer(number) => *number >= SMALLEST_NUMBER,
            RequestId::Number(_) => false,
        };
        can_be_ours && self.contains_any(id)
    }

    /// Returns true if it contains an id of a peer.
    pub(super) fn contains_any(&self, id: &RequestId) -> bool {
        self.known.contains(id)
    }
}

/// The ids of held calls, and everything that a client could take for one of them.
#[derive(Debug, Default)]
pub(super) struct HeldIds {
    keys: BTreeMap<RequestId, HeldKey>,
    /// How many of the ids have each reading. A server may send any number of unexpected answers,
    /// so each is looked up instead of compared with every call.
    readings: HashMap<Reading, usize, RandomState>,
}

impl HeldIds {
    /// Adds an id that is not there yet.
    pub(super) fn insert(&mut self, id: RequestId, key: HeldKey) {
        for reading in id.readings() {
            *self.readings.entry(reading).or_default() += 1;
        }
        self.keys.insert(id, key);
    }

    pub(super) fn remove(&mut self, id: &RequestId) {
        if self.keys.remove(id).is_none() {
            return;
        }
        for reading in id.readings() {
            if let Some(count) = self.readings.get_mut(&reading) {
                *count -= 1;
                if *count == 0 {
                    self.readings.remove(&reading);
                }
            }
        }
    }

    pub(super) fn get(&self, id: &RequestId) -> Option<&HeldKey> {
        self.keys.get(id)
    }

    pub(super) fn contains_key(&self, id: &RequestId) -> bool {
        self.keys.contains_key(id)
    }

    /// Returns true if some client could take this id for one of them.
    pub(super) fn may_be_confused_with(&self, id: &RequestId) -> bool {
        if self.keys.is_empty() {
            return false;
        }
        let known = |reading: &Reading| self.readings.contains_key(reading);
        let mut readings = id.readings().into_iter();
        known(&Reading::Anything) || readings.any(|reading| reading.is_among(known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_can_be_confused_with_a_held_one_only_while_it_is_held() {
        let text = |text: &str| RequestId::Text(text.into());
        let mut held = HeldIds::default();
        assert!(!held.may_be_confused_with(&text("5abc")));
        held.insert(RequestId::Integer(5), 1);
        held.insert(text("05"), 2);
        held.insert(text("abc"), 3);
        for alike in [
            RequestId::Integer(5),
            text("5abc"),
            text("ABC\0"),
            text("ä"),
        ] {
            assert!(held.may_be_confused_with(&alike), "{alike}");
        }
        assert!(
            !held.may_be_confused_with(&text("abd"))
                && !held.may_be_confused_with(&RequestId::Integer(6))
        );
        held.remove(&RequestId::Integer(5));
        held.remove(&RequestId::Integer(5));
        assert!(held.may_be_confused_with(&text("5abc")));
        held.remove(&text("05"));
        assert!(!held.may_be_confused_with(&text("5abc")));
        assert_eq!(held.get(&text("abc")), Some(&3));
        held.remove(&text("abc"));
        assert!(!held.may_be_confused_with(&text("ä")) && held.readings.is_empty());
    }

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
    fn numbers_are_random_and_exact_in_doubles() {
        let mut ids = RequestIds::new([7; 32]);
        let numbers: HashSet<i64> = (0..100)
            .map(|_| match ids.next_number() {
                RequestId::Integer(number) => number,
                id @ (RequestId::Number(_) | RequestId::Text(_)) => panic!("{id}"),
            })
            .collect();
        assert_eq!(numbers.len(), 100);
        assert!(
            numbers
                .iter()
                .all(|number| (1 << 52..1 << 53).contains(number))
        );
        for bit in 0..52 {
            let set = numbers
                .iter()
                .filter(|number| *number >> bit & 1 == 1)
                .count();
            assert!((20..80).contains(&set), "bit {bit}: {set} of 100");
        }
        let mut retired = RetiredIds::default();
        let number = ids.next_number();
        retired.add(number.clone());
        assert!(retired.contains(&number) && !retired.contains(&ids.next_number()));
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
    fn an_id_retired_again_is_remembered_as_the_newest() {
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
