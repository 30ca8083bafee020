//! How many calls there are still to be begun.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What all sessions take their calls from.
#[derive(Debug, Default)]
pub(crate) struct Work(Mutex<Left>);

#[derive(Debug, Default)]
struct Left {
    calls: u64,
    until: Option<Instant>,
}

impl Work {
    /// Calls are begun until there are so many, or until the time is over.
    pub(crate) fn give(&self, calls: u64, until: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Left { calls, until };
    }

    /// Whether another call is to be begun; it is counted then.
    pub(crate) fn take(&self) -> bool {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if left.calls == 0 || left.until.is_some_and(|until| Instant::now() >= until) {
            return false;
        }
        left.calls -= 1;
        true
    }
}
