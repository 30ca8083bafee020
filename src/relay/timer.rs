//! The one timer of a session.

use std::pin::Pin;

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is kept, and reset only to an earlier time.
///
/// Registering a timer that is due before all others wakes the reactor with a system call. With a
/// new timer for every question, that would be one system call per question.
pub(super) struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// True if `sleep` has not fired since it was set.
    is_set: bool,
}

impl Timer {
    pub(super) fn new() -> Timer {
        Timer {
            sleep: Box::pin(sleep_until(Instant::now())),
            is_set: false,
        }
    }

    /// Waits until `at`, or forever if there is no such time. May be cancelled.
    pub(super) async fn fires(&mut self, at: Option<Instant>) {
        let Some(at) = at else {
            // A timer that is still set may cause one spurious wakeup.
            return std::future::pending().await;
        };
        if !self.is_set || at < self.sleep.deadline() {
            self.sleep.as_mut().reset(at);
            self.is_set = true;
        }
        self.sleep.as_mut().await;
        self.is_set = false;
    }
}
