//! The one timer of a session.

use std::pin::Pin;

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is kept and set again only for an earlier time.
///
/// A new timer that is due before all others wakes the reactor with a system call; where each
/// call is asked about, and answered, there would be one for each.
pub(super) struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// Whether `sleep` has not rung since it was set.
    is_set: bool,
}

impl Timer {
    pub(super) fn new() -> Timer {
        Timer {
            sleep: Box::pin(sleep_until(Instant::now())),
            is_set: false,
        }
    }

    /// Waits until `timer`, for ever if there is none. May be cancelled.
    pub(super) async fn rings(&mut self, timer: Option<Instant>) {
        let Some(timer) = timer else {
            // One that is still set rings for nothing, once, should it stay the first.
            return std::future::pending().await;
        };
        if !self.is_set || timer < self.sleep.deadline() {
            self.sleep.as_mut().reset(timer);
            self.is_set = true;
        }
        self.sleep.as_mut().await;
        self.is_set = false;
    }
}
