//! The notices that wait to be sent to one device.
//!
//! Pure: the caller brings the time, as that since a fixed moment, and sends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::notice::Notice;

/// The most notices that wait for one device.
const MAX_QUEUED: usize = 10;

/// What waits, the oldest first. The first may be on its way.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    /// The number of the next notice.
    next: u64,
}

/// A notice that waits.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    /// Tells it from a newer notice about the same item.
    pub(super) number: u64,
    pub(super) notice: Arc<Notice>,
    /// When it is of no more use.
    pub(super) until: Duration,
    /// How often sending it has failed.
    failures: u32,
}

impl Queue {
    /// Adds a notice. It replaces one about the same item, and the oldest if too many wait.
    pub(super) fn push(&mut self, notice: Arc<Notice>, now: Duration) {
        self.withdraw(notice.item());
        while self.waiting.len() >= MAX_QUEUED {
            self.waiting.pop_front();
        }
        let until = now.saturating_add(notice.left());
        self.waiting.push_back(Waiting {
            number: self.next,
            notice,
            until,
            failures: 0,
        });
        self.next += 1;
    }

    /// Returns the notice to send next. Drops those that are of no more use.
    pub(super) fn first(&mut self, now: Duration) -> Option<Waiting> {
        self.waiting.retain(|waiting| now < waiting.until);
        self.waiting.front().cloned()
    }

    /// Drops the notice with this number.
    pub(super) fn done(&mut self, number: u64) {
        self.waiting.retain(|waiting| waiting.number != number);
    }

    /// Counts that sending this one has failed, and returns how often that was. `None` if it no longer waits.
    pub(super) fn failed(&mut self, number: u64) -> Option<u32> {
        let mut all = self.waiting.iter_mut();
        let waiting = all.find(|waiting| waiting.number == number)?;
        waiting.failures = waiting.failures.saturating_add(1);
        Some(waiting.failures)
    }

    /// Drops what waits about this item.
    pub(super) fn withdraw(&mut self, item: &str) {
        self.waiting.retain(|waiting| waiting.notice.item() != item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::for_test::item;

    const START: Duration = Duration::from_secs(100);

    fn notice(id: &str, seconds: i64) -> Arc<Notice> {
        let mut item = item(id);
        item.expires_ms = Some(seconds * 1_000);
        Arc::new(Notice::about(&item, 0))
    }

    fn drained(queue: &mut Queue, now: Duration) -> Vec<String> {
        let next = || {
            let first = queue.first(now)?;
            queue.done(first.number);
            Some(first.notice.item().trim_end_matches('0').to_owned())
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn the_oldest_gives_way_when_too_many_wait() {
        let mut queue = Queue::default();
        for n in 1..=12 {
            queue.push(notice(&format!("{n}f"), 60), START);
        }
        let left: Vec<String> = (3..=12).map(|n| format!("{n}f")).collect();
        assert_eq!(drained(&mut queue, START), left);
    }

    #[test]
    fn a_newer_notice_replaces_one_about_the_same_item() {
        let mut queue = Queue::default();
        queue.push(notice("a", 60), START);
        let old = queue.first(START).unwrap().number;
        queue.push(notice("b", 60), START);
        queue.push(notice("a", 60), START);
        // The old one was on its way.
        assert_eq!(queue.failed(old), None);
        queue.done(old);
        assert_eq!(drained(&mut queue, START), ["b", "a"]);
    }

    #[test]
    fn what_is_withdrawn_or_too_late_is_not_sent() {
        let mut queue = Queue::default();
        for (id, seconds) in [("a", 60), ("b", 5), ("c", 60), ("d", 0)] {
            queue.push(notice(id, seconds), START);
        }
        queue.withdraw(notice("a", 60).item());
        assert_eq!(drained(&mut queue, START + Duration::from_secs(5)), ["c"]);
    }

    #[test]
    fn failures_are_counted_for_each_notice() {
        let mut queue = Queue::default();
        queue.push(notice("a", 60), START);
        let number = queue.first(START).unwrap().number;
        assert_eq!(
            [queue.failed(number), queue.failed(number)],
            [Some(1), Some(2)]
        );
        queue.done(number);
        queue.push(notice("b", 60), START);
        let number = queue.first(START).unwrap().number;
        assert_eq!(queue.failed(number), Some(1));
    }
}
