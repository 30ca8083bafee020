//! Limits how long exchanges with a server go on after the client has cancelled the request.
//!
//! `http_server` tells the server about the cancellation.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

/// How long the server may take to answer a cancelled request.
const LATE_ANSWER: Duration = Duration::from_secs(5);
/// How many cancelled exchanges may wait at once. Beyond that, the oldest are aborted.
const MAX: usize = 64;

/// The cancelled exchanges of a session. Their server knows that nobody waits, but may still answer.
/// Without this limit, their connections could stay open forever.
#[derive(Debug, Default)]
pub(super) struct CancelledExchanges(VecDeque<(Instant, AbortHandle)>);

impl CancelledExchanges {
    /// Adds an exchange.
    pub(super) fn add(&mut self, exchange: AbortHandle) {
        if self.0.len() >= MAX
            && let Some((_, oldest)) = self.0.pop_front()
        {
            oldest.abort();
        }
        self.0.push_back((Instant::now() + LATE_ANSWER, exchange));
    }

    /// Waits until the time of the oldest exchange is over, and aborts it. Waits forever if there is
    /// none. May be cancelled.
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
    async fn a_cancelled_exchange_has_five_seconds_and_their_number_is_bounded() {
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
    async fn an_exchange_that_has_already_ended_is_removed_in_time() {
        let mut exchanges = JoinSet::new();
        let mut cancelled = CancelledExchanges::default();
        cancelled.add(exchanges.spawn(async {}));
        assert!(exchanges.join_next().await.unwrap().is_ok());
        cancelled.next().await;
        assert!(cancelled.0.is_empty());
    }
}
