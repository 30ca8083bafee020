//! What the two HTTP ends of a session tell each other past the relay, and what belongs to no line.
//!
//! What belongs to a line goes with it, as a [`Note`](crate::transport::Note).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;
use tokio::sync::Notify;

use crate::mcp::message::RequestId;
use crate::sys::secret::Secret;

/// How many requests are kept of each kind.
const KEPT: usize = 8_192;

/// What the ends of one session share.
#[derive(Debug, Default)]
pub struct Sideband {
    inner: Mutex<Inner>,
    /// Whether a call waits that the server has not seen.
    holding: AtomicBool,
    broken: Notify,
    resumed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// What the client shows the server, if it is for the server.
    credentials: Option<Secret>,
    breaks: VecDeque<RequestId>,
    /// Requests whose clients have come back for the answer.
    resumed: Newest,
}

impl Sideband {
    /// Says what the client shows the server; the newest counts.
    pub fn set_credentials(&self, credentials: Option<Secret>) {
        self.inner().credentials = credentials;
    }

    /// What the client shows the server, as the value of `Authorization`.
    pub fn credentials(&self) -> Option<Secret> {
        self.inner().credentials.clone()
    }

    /// Says whether a call waits that the server has not seen.
    pub fn set_holding(&self, is_holding: bool) {
        self.holding.store(is_holding, Ordering::Release);
    }

    /// Whether a call waits that the server has not seen. Nothing that the gate has not read may reach
    /// the client then: it could look like the call's answer.
    pub fn is_holding(&self) -> bool {
        self.holding.load(Ordering::Acquire)
    }

    /// Says that the server has ended its response to a request, and that the answer will come on
    /// another one.
    pub fn leave_break(&self, id: RequestId) {
        let breaks = &mut self.inner().breaks;
        if breaks.len() < KEPT {
            breaks.push_back(id);
            self.broken.notify_one();
        }
    }

    /// The next request of which that was said. May be cancelled.
    pub async fn next_break(&self) -> RequestId {
        loop {
            let next = self.inner().breaks.pop_front();
            match next {
                Some(id) => return id,
                None => self.broken.notified().await,
            }
        }
    }

    /// Says that a client has come back for the answer to a request.
    pub fn leave_resumed(&self, id: RequestId) {
        self.inner().resumed.insert(id);
        self.resumed.notify_waiters();
    }

    /// Waits until that was said. May be cancelled.
    pub async fn resumed(&self, id: &RequestId) {
        loop {
            // Made before the look, so that nothing said in between is missed.
            let told = self.resumed.notified();
            if self.inner().resumed.remove(id) {
                return;
            }
            told.await;
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The newest [`KEPT`] requests; older ones are forgotten.
#[derive(Debug, Default)]
struct Newest {
    /// With the number of the insertion.
    requests: HashMap<RequestId, u64>,
    /// In the order in which they came; some are removed already, or came again.
    order: VecDeque<(u64, RequestId)>,
    count: u64,
}

impl Newest {
    fn insert(&mut self, id: RequestId) {
        while self.order.len() >= KEPT
            && let Some((number, oldest)) = self.order.pop_front()
        {
            if self.requests.get(&oldest) == Some(&number) {
                self.requests.remove(&oldest);
            }
        }
        self.count += 1;
        self.order.push_back((self.count, id.clone()));
        self.requests.insert(id, self.count);
    }

    fn remove(&mut self, id: &RequestId) -> bool {
        self.requests.remove(id).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: i64) -> RequestId {
        RequestId::Integer(n)
    }

    #[test]
    fn a_request_that_came_again_is_not_forgotten_with_its_first_time() {
        let mut newest = Newest::default();
        newest.insert(id(-1));
        for n in 0..KEPT as i64 - 1 {
            newest.insert(id(n));
        }
        assert!(newest.remove(&id(-1)));
        newest.insert(id(-1));
        newest.insert(id(-2));
        assert!(newest.remove(&id(-1)));
    }

    #[test]
    fn the_oldest_requests_are_forgotten() {
        let mut newest = Newest::default();
        for n in 0..2 * KEPT as i64 {
            newest.insert(id(n));
        }
        assert!(!newest.remove(&id(0)));
        assert!(newest.remove(&id(2 * KEPT as i64 - 1)));
        assert!(newest.order.len() <= KEPT && newest.requests.len() < KEPT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_came_back_before_it_was_waited_for_is_not_missed() {
        let sideband = Sideband::default();
        sideband.leave_resumed(id(1));
        let (other, own) = (id(2), id(1));
        let soon = std::time::Duration::from_secs(1);
        let waited = tokio::time::timeout(soon, sideband.resumed(&other)).await;
        assert!(waited.is_err(), "another request's client came back");
        sideband.resumed(&own).await;
        // Each return counts once.
        let waited = tokio::time::timeout(soon, sideband.resumed(&own)).await;
        assert!(waited.is_err());
    }
}
