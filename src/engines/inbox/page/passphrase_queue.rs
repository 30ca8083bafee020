//! The queue of passphrase attempts. Only one runs at a time, because each takes 64 MiB and a processor.
//!
//! `decide` limits how often a session may try.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::{Mutex as FairMutex, OwnedMutexGuard};

use super::held;

/// Lets sessions take turns. The requests of one session first wait for each other, so each session has
/// one place in the queue, however many requests it sends.
#[derive(Debug, Default)]
pub(super) struct PassphraseQueue {
    queue: Arc<FairMutex<()>>,
    /// The queues within the waiting sessions. There are at most as many as requests.
    sessions: Mutex<HashMap<[u8; 32], Weak<FairMutex<()>>>>,
}

/// A session's turn, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _in_queue: OwnedMutexGuard<()>,
    _in_session: OwnedMutexGuard<()>,
}

impl PassphraseQueue {
    /// Waits for the turn of a session. May be cancelled.
    pub(super) async fn wait(&self, session: [u8; 32]) -> Turn {
        let own = self.of(session).lock_owned().await;
        let turn = Arc::clone(&self.queue).lock_owned().await;
        Turn {
            _in_queue: turn,
            _in_session: own,
        }
    }

    fn of(&self, session: [u8; 32]) -> Arc<FairMutex<()>> {
        let mut sessions = held(&self.sessions);
        if let Some(own) = sessions.get(&session).and_then(Weak::upgrade) {
            return own;
        }
        sessions.retain(|_, own| own.strong_count() > 0);
        let own = Arc::default();
        sessions.insert(session, Arc::downgrade(&own));
        own
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    /// Returns the turn if it has come.
    async fn is_ready(turn: &mut (impl Future<Output = Turn> + Unpin)) -> Option<Turn> {
        std::future::poll_fn(
            |context| match std::pin::Pin::new(&mut *turn).poll(context) {
                Poll::Ready(turn) => Poll::Ready(Some(turn)),
                Poll::Pending => Poll::Ready(None),
            },
        )
        .await
    }

    #[tokio::test]
    async fn a_session_with_many_requests_has_one_place_in_the_queue() {
        let queue = PassphraseQueue::default();
        let first = queue.wait([1; 32]).await;
        let mut greedy = [pin!(queue.wait([1; 32])), pin!(queue.wait([1; 32]))];
        let mut other = pin!(queue.wait([2; 32]));
        for waiting in &mut greedy {
            assert!(is_ready(waiting).await.is_none());
        }
        assert!(is_ready(&mut other).await.is_none(), "one at a time");
        drop(first);
        assert!(is_ready(&mut greedy[0]).await.is_none());
        let of_other = is_ready(&mut other).await.expect("it came before that");
        drop(of_other);
        let second = is_ready(&mut greedy[0]).await.expect("nobody else waits");
        assert!(is_ready(&mut greedy[1]).await.is_none());
        drop(second);
        assert!(is_ready(&mut greedy[1]).await.is_some());
    }

    #[tokio::test]
    async fn sessions_that_no_longer_wait_are_forgotten() {
        let queue = PassphraseQueue::default();
        for session in 0..100 {
            queue.wait([session; 32]).await;
        }
        assert_eq!(held(&queue.sessions).len(), 1);
    }
}
