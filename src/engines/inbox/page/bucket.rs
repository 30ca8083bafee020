//! Limits how often each source may try something: a burst, then one try per interval.
//!
//! `decide` limits wrong passphrases with it, `login` wrong login links. `mod.rs` has the numbers.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// The most sources that we remember.
const MAX_SOURCES: usize = 256;

/// The tries left of each source. No source can use up another's tries.
#[derive(Debug)]
pub(super) struct Buckets<K> {
    burst: u32,
    each: Duration,
    of: HashMap<K, Bucket>,
}

impl<K: Copy + Eq + Hash> Buckets<K> {
    /// Gives each source `burst` tries at once, and one more per `each`.
    pub(super) fn new(burst: u32, each: Duration) -> Buckets<K> {
        Buckets {
            burst,
            each,
            of: HashMap::new(),
        }
    }

    /// Uses one of the source's tries. Returns false if none is left. `now` is the time since some fixed moment.
    pub(super) fn take(&mut self, source: K, now: Duration) -> bool {
        if !self.of.contains_key(&source) {
            self.make_room();
        }
        let (burst, each) = (self.burst, self.each);
        let bucket = self.of.entry(source);
        let bucket = bucket.or_insert_with(|| Bucket::new(burst, each));
        bucket.take(now)
    }

    /// Returns a try that turned out not to count.
    pub(super) fn give_back(&mut self, source: K) {
        if let Some(bucket) = self.of.get_mut(&source) {
            bucket.give_back();
        }
    }

    /// Forgets the source that tried least recently, if there are too many.
    fn make_room(&mut self) {
        if self.of.len() >= MAX_SOURCES {
            let oldest = self.of.iter().min_by_key(|(_, bucket)| bucket.last);
            if let Some(source) = oldest.map(|(source, _)| *source) {
                self.of.remove(&source);
            }
        }
    }
}

/// A token bucket: a number of tries that refills over time. It reads no clock.
#[derive(Debug)]
struct Bucket {
    /// The saved time; each try costs `each` of it.
    saved: Duration,
    each: Duration,
    burst: u32,
    last: Duration,
}

impl Bucket {
    /// Creates a full bucket.
    fn new(burst: u32, each: Duration) -> Bucket {
        Bucket {
            saved: each.saturating_mul(burst),
            each,
            burst,
            last: Duration::ZERO,
        }
    }

    /// Uses a try. Returns false if none is left. `now` is the time since some fixed moment.
    fn take(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.last);
        self.last = now.max(self.last);
        self.save(passed);
        let has_any = self.saved >= self.each;
        if has_any {
            self.saved = self.saved.saturating_sub(self.each);
        }
        has_any
    }

    fn give_back(&mut self) {
        self.save(self.each);
    }

    fn save(&mut self, time: Duration) {
        let most = self.each.saturating_mul(self.burst);
        self.saved = self.saved.saturating_add(time).min(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_burst_there_is_one_try_per_interval() {
        let second = Duration::from_secs(1);
        let mut bucket = Bucket::new(3, second * 10);
        let tries =
            |bucket: &mut Bucket, at: u32| (0..5).filter(|_| bucket.take(second * at)).count();
        assert_eq!(tries(&mut bucket, 0), 3);
        assert_eq!(tries(&mut bucket, 9), 0);
        assert_eq!(tries(&mut bucket, 10), 1);
        assert_eq!(tries(&mut bucket, 35), 2);
        assert_eq!(tries(&mut bucket, 30), 0, "time does not go back");
        assert_eq!(tries(&mut bucket, 1_000), 3);
    }

    #[test]
    fn one_source_does_not_use_up_the_tries_of_another() {
        let mut buckets = Buckets::new(2, Duration::from_secs(10));
        let tries = |buckets: &mut Buckets<u8>, source| {
            (0..5)
                .filter(|_| buckets.take(source, Duration::ZERO))
                .count()
        };
        assert_eq!(tries(&mut buckets, 1), 2);
        assert_eq!(tries(&mut buckets, 2), 2);
        buckets.give_back(1);
        assert_eq!((tries(&mut buckets, 1), tries(&mut buckets, 2)), (1, 0));
        buckets.give_back(3);
        assert_eq!(tries(&mut buckets, 3), 2);
    }

    #[test]
    fn of_too_many_sources_the_one_that_tried_least_recently_is_forgotten() {
        let mut buckets = Buckets::new(1, Duration::from_secs(1_000_000));
        for source in 0..MAX_SOURCES {
            assert!(buckets.take(source, Duration::from_secs(source as u64)));
        }
        let now = Duration::from_secs(1_000);
        assert!(!buckets.take(0, now), "it is remembered, and new again");
        assert!(buckets.take(MAX_SOURCES, now));
        assert_eq!(buckets.of.len(), MAX_SOURCES);
        assert!(!buckets.take(0, now));
        assert!(buckets.take(1, now), "it was forgotten");
    }
}
