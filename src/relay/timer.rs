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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn elapsed(timer: &mut Timer, after: u64) -> Duration {
        let start = Instant::now();
        timer.fires(Some(start + Duration::from_secs(after))).await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn it_fires_at_its_time_and_again_at_the_next() {
        let mut timer = Timer::new();
        for seconds in [5, 1, 60, 0] {
            assert_eq!(elapsed(&mut timer, seconds).await.as_secs(), seconds);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_time_it_never_fires() {
        let forever = Duration::from_secs(1 << 30);
        assert!(timeout(forever, Timer::new().fires(None)).await.is_err());
    }

    // A wait is cancelled whenever anything else happens in the session.
    #[tokio::test(start_paused = true)]
    async fn a_cancelled_wait_goes_on_and_takes_an_earlier_time_but_may_fire_early_for_a_later_one()
    {
        let mut timer = Timer::new();
        let start = Instant::now();
        let at = |seconds| Some(start + Duration::from_secs(seconds));
        let one = Duration::from_secs(1);
        assert!(timeout(one, timer.fires(at(10))).await.is_err());
        assert!(timeout(one, timer.fires(at(5))).await.is_err());
        timer.fires(at(5)).await;
        assert_eq!(start.elapsed().as_secs(), 5);
        assert!(timeout(one, timer.fires(at(10))).await.is_err());
        timer.fires(at(20)).await;
        assert_eq!(start.elapsed().as_secs(), 10);
        timer.fires(at(20)).await;
        assert_eq!(start.elapsed().as_secs(), 20);
    }
}
