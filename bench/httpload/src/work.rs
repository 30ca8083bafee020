//! The calls that are still to be made.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The calls that are left, shared by all sessions.
#[derive(Debug, Default)]
pub(crate) struct Work(Mutex<Left>);

#[derive(Debug, Default)]
struct Left {
    calls: u64,
    until: Option<Instant>,
}

impl Work {
    /// Allows this many calls, which must start before `until`.
    pub(crate) fn give(&self, calls: u64, until: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Left { calls, until };
    }

    /// Returns true if another call should start, and counts it.
    pub(crate) fn take(&self) -> bool {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if left.calls == 0 || left.until.is_some_and(|until| Instant::now() >= until) {
            return false;
        }
        left.calls -= 1;
        true
    }
}
