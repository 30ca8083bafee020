//! What goes with the lines of a session and does not stand in them, where HTTP is spoken.
//!
//! Lines are all that a session relays. Over HTTP there is more to a message: on which response
//! stream it belongs, which headers came with a request, with which status it was answered. The
//! two sides leave that here for each other; what is not fetched is forgotten.

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;
use tokio::sync::Notify;

use crate::mcp::message::RequestId;
use crate::sys::secret::Secret;

/// How many notes of one kind are kept.
const KEPT: usize = 8_192;
/// The same of whole responses, which are larger.
const KEPT_REPLIES: usize = 128;

/// An HTTP response in place of a JSON-RPC one: a status that says more than an error code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers that a client needs to understand it, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// Replaces the body by this line of JSON.
    pub fn say(&mut self, line: &[u8]) {
        self.body = line.to_owned();
        self.headers.retain(|(name, _)| name != "content-type");
        let json = b"application/json".to_vec();
        self.headers.push(("content-type".to_owned(), json));
    }
}

/// The notes of one session.
#[derive(Debug, Default)]
pub struct Notes {
    inner: Mutex<Inner>,
    /// Whether a call waits that the server has not seen.
    holding: AtomicBool,
    broken: Notify,
    resumed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// By a line's digest: the requests of the client's that equal lines belong to, in order.
    related: Bounded<[u8; 32], VecDeque<RequestId>>,
    headers: Bounded<RequestId, Vec<(String, Vec<u8>)>>,
    /// With the digest of the line that each stands for.
    replies: Bounded<RequestId, ([u8; 32], Reply), KEPT_REPLIES>,
    /// What the client shows the server, if it is for the server.
    credentials: Option<Secret>,
    breaks: VecDeque<RequestId>,
    /// Requests whose clients have come back for the answer.
    resumed: Bounded<RequestId, ()>,
}

impl Notes {
    /// Says that a line to the client, given without its newline, belongs to a request of its.
    pub fn relate(&self, line: &[u8], about: RequestId) {
        let key = *blake3::hash(line).as_bytes();
        let related = &mut self.inner().related;
        match related.get_mut(&key) {
            Some(queue) if queue.len() < KEPT => queue.push_back(about),
            Some(_) => {}
            None => related.insert(key, VecDeque::from([about])),
        }
    }

    /// Which request a line belongs to, if that was said; each is told once.
    pub fn related(&self, line: &[u8]) -> Option<RequestId> {
        let mut inner = self.inner();
        if inner.related.map.is_empty() {
            return None;
        }
        let key = *blake3::hash(line).as_bytes();
        let queue = inner.related.get_mut(&key)?;
        let about = queue.pop_front();
        if queue.is_empty() {
            inner.related.remove(&key);
        }
        about
    }

    /// Says what the client shows the server; the newest counts.
    pub fn set_credentials(&self, credentials: Option<Secret>) {
        self.inner().credentials = credentials;
    }

    /// What the client shows the server, as the value of `Authorization`.
    pub fn credentials(&self) -> Option<Secret> {
        self.inner().credentials.clone()
    }

    /// Leaves the headers that a request came with.
    pub fn leave_headers(&self, id: RequestId, headers: Vec<(String, Vec<u8>)>) {
        self.inner().headers.insert(id, headers);
    }

    /// Fetches them.
    pub fn fetch_headers(&self, id: &RequestId) -> Option<Vec<(String, Vec<u8>)>> {
        self.inner().headers.remove(id)
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

    /// Leaves the response that a request got in place of a JSON-RPC one, which is this `line`.
    pub fn leave_reply(&self, id: RequestId, line: &[u8], reply: Reply) {
        let line = *blake3::hash(line).as_bytes();
        self.inner().replies.insert(id, (line, reply));
    }

    /// Fetches it, for the answer that the request now gets: `None` if that is another `line`. An id
    /// may be used again, and what was said about the request before is then not about this one.
    pub fn fetch_reply(&self, id: &RequestId, line: &[u8]) -> Option<Reply> {
        let (of, reply) = self.inner().replies.remove(id)?;
        (of == *blake3::hash(line).as_bytes()).then_some(reply)
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
        self.inner().resumed.insert(id, ());
        self.resumed.notify_waiters();
    }

    /// Waits until that was said. May be cancelled.
    pub async fn resumed(&self, id: &RequestId) {
        loop {
            // Made before the look, so that nothing said in between is missed.
            let told = self.resumed.notified();
            if self.inner().resumed.remove(id).is_some() {
                return;
            }
            told.await;
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A map that forgets its oldest entries, beyond `MAX`.
#[derive(Debug)]
struct Bounded<K, V, const MAX: usize = KEPT> {
    /// With the number of the insertion.
    map: HashMap<K, (u64, V)>,
    /// Keys in the order in which they came; some are fetched already, or came again.
    order: VecDeque<(u64, K)>,
    count: u64,
}

impl<K, V, const MAX: usize> Default for Bounded<K, V, MAX> {
    fn default() -> Bounded<K, V, MAX> {
        Bounded {
            map: HashMap::default(),
            order: VecDeque::new(),
            count: 0,
        }
    }
}

impl<K: Hash + Eq + Clone, V, const MAX: usize> Bounded<K, V, MAX> {
    fn insert(&mut self, key: K, value: V) {
        while self.order.len() >= MAX
            && let Some((number, oldest)) = self.order.pop_front()
        {
            if self.map.get(&oldest).is_some_and(|(n, _)| *n == number) {
                self.map.remove(&oldest);
            }
        }
        self.count += 1;
        self.order.push_back((self.count, key.clone()));
        self.map.insert(key, (self.count, value));
    }

    fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.map.get_mut(key).map(|(_, value)| value)
    }

    fn remove(&mut self, key: &K) -> Option<V> {
        self.map.remove(key).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: i64) -> RequestId {
        RequestId::Integer(n)
    }

    #[test]
    fn equal_lines_belong_to_their_requests_in_order() {
        let notes = Notes::default();
        notes.relate(b"same", id(1));
        notes.relate(b"same", id(2));
        notes.relate(b"other", id(3));
        assert_eq!(notes.related(b"same"), Some(id(1)));
        assert_eq!(notes.related(b"other"), Some(id(3)));
        assert_eq!(notes.related(b"same"), Some(id(2)));
        assert_eq!(notes.related(b"same"), None);
    }

    #[test]
    fn a_reply_is_for_the_line_that_it_stands_for_and_for_no_later_one() {
        let notes = Notes::default();
        let reply = Reply {
            status: 404,
            headers: Vec::new(),
            body: b"gone".to_vec(),
        };
        notes.leave_reply(id(1), b"error", reply.clone());
        assert_eq!(notes.fetch_reply(&id(1), b"error"), Some(reply.clone()));
        assert_eq!(notes.fetch_reply(&id(1), b"error"), None);
        notes.leave_reply(id(1), b"error", reply);
        assert_eq!(notes.fetch_reply(&id(1), b"refused by a human"), None);
        assert_eq!(notes.fetch_reply(&id(1), b"error"), None);
    }

    #[test]
    fn what_came_again_is_not_forgotten_with_what_came_before() {
        let notes = Notes::default();
        notes.leave_headers(id(-1), Vec::new());
        for n in 0..KEPT as i64 - 1 {
            notes.leave_headers(id(n), Vec::new());
        }
        notes.fetch_headers(&id(-1));
        notes.leave_headers(id(-1), Vec::new());
        assert!(notes.fetch_headers(&id(-1)).is_some());
    }

    #[test]
    fn what_nobody_fetches_is_forgotten() {
        let notes = Notes::default();
        for n in 0..2 * KEPT as i64 {
            notes.leave_headers(id(n), Vec::new());
            notes.relate(n.to_string().as_bytes(), id(n));
        }
        assert_eq!(notes.fetch_headers(&id(0)), None);
        assert!(notes.fetch_headers(&id(2 * KEPT as i64 - 1)).is_some());
        assert_eq!(notes.inner().related.map.len(), KEPT);
    }
}
