//! Exchanges with a server that the client has given up.
//!
//! How a server is told is `http_server`'s business.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

/// How long a request that was given up may still be answered.
const LATE_ANSWER: Duration = Duration::from_secs(5);
/// How many wait so at once; of more, the oldest are ended.
const MAX: usize = 64;

/// Exchanges of a session, whose server has heard that nobody waits, and may answer late. No
/// connection waits for that for ever.
#[derive(Debug, Default)]
pub(super) struct CancelledExchanges(VecDeque<(Instant, AbortHandle)>);

impl CancelledExchanges {
    /// One more.
    pub(super) fn add(&mut self, exchange: AbortHandle) {
        if self.0.len() >= MAX
            && let Some((_, oldest)) = self.0.pop_front()
        {
            oldest.abort();
        }
        self.0.push_back((Instant::now() + LATE_ANSWER, exchange));
    }

    /// Ends the next one whose time is over; waits for ever where there is none. May be cancelled.
    pub(super) async fn next(&mut self) {
        let Some((until, _)) = self.0.front() else {
            return std::future::pending().await;
        };
        sleep_until(*until).await;
        if let Some((_, exchange)) = self.0.pop_front() {
            exchange.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_exchange_has_five_seconds_and_few_have_them_at_once() {
        let mut exchanges = JoinSet::new();
        let mut cancelled = CancelledExchanges::default();
        let forever = Duration::from_secs(u32::MAX.into());
        assert!(timeout(forever, cancelled.next()).await.is_err());
        for _ in 0..MAX + 10 {
            cancelled.add(exchanges.spawn(std::future::pending::<()>()));
        }
        for _ in 0..10 {
            assert!(
                exchanges
                    .join_next()
                    .await
                    .unwrap()
                    .unwrap_err()
                    .is_cancelled()
            );
        }
        let start = Instant::now();
        for _ in 0..MAX {
            cancelled.next().await;
            assert!(
                exchanges
                    .join_next()
                    .await
                    .unwrap()
                    .unwrap_err()
                    .is_cancelled()
            );
            assert_eq!(start.elapsed().as_secs(), LATE_ANSWER.as_secs());
        }
        assert!(exchanges.is_empty());
        assert!(timeout(forever, cancelled.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_ended_by_itself_is_not_missed() {
        let mut exchanges = JoinSet::new();
        let mut cancelled = CancelledExchanges::default();
        cancelled.add(exchanges.spawn(async {}));
        assert!(exchanges.join_next().await.unwrap().is_ok());
        cancelled.next().await;
        assert!(cancelled.0.is_empty());
    }
}
