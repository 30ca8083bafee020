//! State that the two HTTP ends of a session share outside the relay.
//!
//! Information about a single line travels with it instead, as a [`Note`](crate::transport::Note).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;
use tokio::sync::Notify;

use crate::mcp::message::RequestId;
use crate::sys::secret::Secret;

/// How many requests of each kind are remembered.
const KEPT: usize = 8_192;

/// The state that the two ends of one session share.
#[derive(Debug, Default)]
pub struct Sideband {
    inner: Mutex<Inner>,
    /// True while a call waits that the server has not seen.
    holding: AtomicBool,
    broken: Notify,
    resumed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// The client's credentials for the server, if it sent any.
    credentials: Option<Secret>,
    /// Requests whose response the server ended before it sent the answer.
    breaks: VecDeque<RequestId>,
    /// Requests whose client has come back for the answer.
    resumed: Newest,
}

impl Sideband {
    /// Sets the client's credentials for the server. The newest ones count.
    pub fn set_credentials(&self, credentials: Option<Secret>) {
        self.inner().credentials = credentials;
    }

    /// Returns the client's credentials for the server, as the value of `Authorization`.
    pub fn credentials(&self) -> Option<Secret> {
        self.inner().credentials.clone()
    }

    /// Sets whether a call waits that the server has not seen.
    pub fn set_holding(&self, is_holding: bool) {
        self.holding.store(is_holding, Ordering::Release);
    }

    /// Returns true if a call waits that the server has not seen. Nothing that bypasses the gate may
    /// reach the client then, because it could look like the call's answer.
    pub fn is_holding(&self) -> bool {
        self.holding.load(Ordering::Acquire)
    }

    /// Reports that the server has ended its response to a request, and will send the answer on
    /// another response.
    pub fn leave_break(&self, id: RequestId) {
        let breaks = &mut self.inner().breaks;
        if breaks.len() < KEPT {
            breaks.push_back(id);
            self.broken.notify_one();
        }
    }

    /// Waits for the next request that [`Sideband::leave_break`] reports. May be cancelled.
    pub async fn next_break(&self) -> RequestId {
        loop {
            let next = self.inner().breaks.pop_front();
            match next {
                Some(id) => return id,
                None => self.broken.notified().await,
            }
        }
    }

    /// Reports that a client has come back for the answer to a request.
    pub fn leave_resumed(&self, id: RequestId) {
        self.inner().resumed.insert(id);
        self.resumed.notify_waiters();
    }

    /// Waits until [`Sideband::leave_resumed`] has reported this request. May be cancelled.
    pub async fn resumed(&self, id: &RequestId) {
        loop {
            // Created before the check, so that no notification in between is missed.
            let notified = self.resumed.notified();
            if self.inner().resumed.remove(id) {
                return;
            }
            notified.await;
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The newest [`KEPT`] requests; older ones are forgotten.
#[derive(Debug, Default)]
struct Newest {
    /// Each with the number of its latest insertion.
    requests: HashMap<RequestId, u64>,
    /// In order of insertion. Some are removed already, or were inserted again later.
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
    fn a_request_inserted_twice_is_not_forgotten_with_its_first_insertion() {
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
    async fn a_client_that_comes_back_before_anyone_waits_for_it_is_not_missed() {
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
