//! Denials that also cover identical calls for a while, if the operator chose that.
//!
//! `asking` refuses the calls.

use std::collections::HashMap;
use std::time::Duration;

use crate::approval::digest::CallDigest;

/// Beyond this many, the oldest denial is forgotten.
const MAX_DENIALS: usize = 4_096;

/// The calls that people denied, and when. The same call is refused whoever makes it, whatever client it claims to be.
#[derive(Debug, Default)]
pub(super) struct Denials {
    at: HashMap<CallDigest, Duration>,
}

impl Denials {
    /// Adds a denial given at `now`.
    pub(super) fn insert(&mut self, key: CallDigest, now: Duration, memory: Duration) {
        self.at.retain(|_, at| now < at.saturating_add(memory));
        if self.at.len() >= MAX_DENIALS {
            let oldest = self.at.iter().min_by_key(|(_, at)| **at);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.at.remove(&oldest);
            }
        }
        self.at.insert(key, now);
    }

    /// Adds a denial that may be known already. A known one keeps its time.
    pub(super) fn insert_new(&mut self, key: CallDigest, now: Duration, memory: Duration) {
        if self.find(&key, now, memory).is_none() {
            self.insert(key, now, memory);
        }
    }

    /// Returns when the call was denied, if that still counts.
    pub(super) fn find(
        &self,
        key: &CallDigest,
        now: Duration,
        memory: Duration,
    ) -> Option<Duration> {
        let at = *self.at.get(key)?;
        (now < at.saturating_add(memory)).then_some(at)
    }

    /// Removes a denial.
    pub(super) fn lift(&mut self, key: &CallDigest) {
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
            CallDigest::of("db", &CallToolRequestParams::parse(&params).unwrap(), None)
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
