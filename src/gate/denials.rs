//! Denials that cover identical calls for a while, where the operator says so.
//!
//! What is refused by one is decided in `asking`.

use std::collections::HashMap;
use std::time::Duration;

use crate::approval::cache::DedupeKey;

/// Beyond this many, the oldest denial is forgotten.
const MAX_DENIALS: usize = 4_096;

/// The calls that people denied, and when.
#[derive(Debug, Default)]
pub(super) struct Denials {
    at: HashMap<DedupeKey, Duration>,
}

impl Denials {
    pub(super) fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// A person denied a call at `now`.
    pub(super) fn insert(&mut self, key: DedupeKey, now: Duration, memory: Duration) {
        self.at.retain(|_, at| now < at.saturating_add(memory));
        if self.at.len() >= MAX_DENIALS {
            let oldest = self.at.iter().min_by_key(|(_, at)| **at);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.at.remove(&oldest);
            }
        }
        self.at.insert(key, now);
    }

    /// When the call was denied, if that still counts.
    pub(super) fn find(
        &self,
        key: &DedupeKey,
        now: Duration,
        memory: Duration,
    ) -> Option<Duration> {
        let at = *self.at.get(key)?;
        (now < at.saturating_add(memory)).then_some(at)
    }

    /// The denial counts no more.
    pub(super) fn lift(&mut self, key: &DedupeKey) {
        self.at.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::tool::CallToolRequestParams;

    #[test]
    fn memory_is_bounded_and_forgets_the_oldest() {
        let mut denials = Denials::default();
        let key = |n: usize| {
            let params = format!(r#"{{"name":"wipe","arguments":{{"n":{n}}}}}"#);
            DedupeKey::exact("db", &CallToolRequestParams::parse(&params).unwrap(), None)
        };
        let (memory, at) = (Duration::from_secs(100), Duration::from_millis);
        for n in 0..=MAX_DENIALS {
            denials.insert(key(n), at(n as u64), memory);
        }
        let find = |denials: &Denials, n, now| denials.find(&key(n), now, memory);
        assert_eq!(find(&denials, 0, at(5_000)), None);
        assert_eq!(find(&denials, 1, at(5_000)), Some(at(1)));
        assert_eq!(find(&denials, 1, at(100_001)), None);
        denials.insert(key(0), at(200_000), memory);
        assert_eq!(denials.at.len(), 1);
    }
}
