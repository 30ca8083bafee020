//! How often something may be tried: a burst, then one at a time.

use std::time::Duration;

/// A number of tries that fills up again with time. It reads no clock.
#[derive(Debug)]
pub(super) struct Bucket {
    /// The time that is saved up; each try costs `each` of it.
    saved: Duration,
    each: Duration,
    burst: u32,
    last: Duration,
}

impl Bucket {
    /// Full: `burst` tries at once, and another for every `each` that passes.
    pub(super) fn new(burst: u32, each: Duration) -> Bucket {
        Bucket {
            saved: each.saturating_mul(burst),
            each,
            burst,
            last: Duration::ZERO,
        }
    }

    /// Whether there is a try left. `now` is since some fixed moment.
    pub(super) fn has_any(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.last);
        self.last = now.max(self.last);
        let most = self.each.saturating_mul(self.burst);
        self.saved = self.saved.saturating_add(passed).min(most);
        self.saved >= self.each
    }

    /// Uses up a try, if there is one.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        let has_any = self.has_any(now);
        if has_any {
            self.saved = self.saved.saturating_sub(self.each);
        }
        has_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_burst_there_is_one_try_for_each_stretch_of_time() {
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
    fn looking_uses_nothing_up() {
        let mut bucket = Bucket::new(1, Duration::from_secs(1));
        assert!(bucket.has_any(Duration::ZERO));
        assert!(bucket.take(Duration::ZERO));
        assert!(!bucket.has_any(Duration::ZERO));
    }
}
