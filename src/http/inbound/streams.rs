//! The response streams of one session: routes messages to them, and keeps events for clients that
//! reconnect.
//!
//! Does no I/O: a stream is a queue that `answer` reads.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use foldhash::{HashMap, HashSet};
use tokio::sync::mpsc;

use crate::mcp::message::RequestId;
use crate::transport::Reply;

/// How many bytes of a session's events are kept for clients that reconnect.
const MAX_REPLAY: usize = 1024 * 1024;
/// How many ended streams of a session are kept.
const MAX_STREAMS_KEPT: usize = 16;
/// How many streams of a session may be open at once.
const MAX_STREAMS: usize = 4_096;
/// How many messages wait for a client to open the stream for messages that belong to no request.
const MAX_BACKLOG: usize = 256;
/// How many bytes these messages may take.
const MAX_BACKLOG_BYTES: usize = 1024 * 1024;

/// Identifies a stream within its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct StreamKey(u64);

/// What a stream's reader gets.
#[derive(Debug)]
pub(super) enum Delivery {
    /// A message.
    Message {
        /// The line, without its newline.
        data: Bytes,
        /// The event's id, `STREAM-NUMBER`, if the stream can be resumed.
        event_id: Option<String>,
        /// True if it is the last one.
        is_last: bool,
    },
    /// An HTTP response of the server, whose status says more than a JSON-RPC error.
    Reply {
        /// The response.
        reply: Reply,
        /// The same as JSON-RPC, for a response that has already begun as a stream.
        data: Bytes,
    },
}

/// The reading end of a stream. It ends when the stream has no more messages to come.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) key: StreamKey,
    receiver: mpsc::UnboundedReceiver<Delivery>,
    queued: Arc<AtomicUsize>,
}

impl Reader {
    /// Returns the id of the event before the first one.
    pub(super) fn first_event_id(&self) -> String {
        format!("{}-0", self.key.0)
    }

    /// Waits for the next delivery; `None` at the end. May be cancelled.
    pub(super) async fn next(&mut self) -> Option<Delivery> {
        let delivery = self.receiver.recv().await;
        self.count(delivery.as_ref());
        delivery
    }

    /// Polls for the next delivery.
    pub(super) fn poll_next(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Delivery>> {
        let polled = self.receiver.poll_recv(context);
        if let std::task::Poll::Ready(delivery) = &polled {
            self.count(delivery.as_ref());
        }
        polled
    }

    fn count(&self, delivery: Option<&Delivery>) {
        if let Some(Delivery::Message { data, .. }) = delivery {
            self.queued.fetch_sub(data.len(), Ordering::Relaxed);
        }
    }
}

#[derive(Debug)]
struct Stream {
    /// The pending requests that will be answered on it.
    waiting: HashSet<RequestId>,
    /// Their progress token, as JSON.
    token: Option<String>,
    /// The server's requests to the client that were sent on it.
    asked: Vec<RequestId>,
    /// True for the stream for messages that belong to no request. It stays open without requests.
    listens: bool,
    sender: Option<mpsc::UnboundedSender<Delivery>>,
    /// How many bytes the reader has not taken yet. A new connection gets a new counter.
    queued: Arc<AtomicUsize>,
    /// Events that the client may ask for again, with their numbers.
    sent: VecDeque<(u64, Bytes)>,
    /// The number of the newest event, counting those that were dropped from `sent`.
    newest: u64,
}

/// The streams of one session.
#[derive(Debug)]
pub(super) struct Streams {
    next: u64,
    open: HashMap<StreamKey, Stream>,
    /// Streams that have ended, the oldest first.
    ended: VecDeque<StreamKey>,
    by_request: HashMap<RequestId, StreamKey>,
    by_token: HashMap<String, StreamKey>,
    /// The server's requests to the client, each with its stream.
    asked: HashMap<RequestId, StreamKey>,
    listening: Option<StreamKey>,
    backlog: VecDeque<Bytes>,
    backlog_bytes: usize,
    replay_bytes: usize,
    /// True if events have ids and are kept.
    resumable: bool,
    /// How many bytes may be queued for one reader.
    max_queue: usize,
}

/// Why a stream cannot be opened or resumed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StreamError {
    /// A request with this id is pending.
    IdInUse,
    /// There are too many streams.
    TooMany,
    /// The events to send again are no longer kept, or never existed.
    Gone,
    /// The session has ended.
    SessionEnded,
}

impl Streams {
    pub(super) fn new(resumable: bool, max_queue: usize) -> Streams {
        Streams {
            next: 0,
            open: HashMap::default(),
            ended: VecDeque::new(),
            by_request: HashMap::default(),
            by_token: HashMap::default(),
            asked: HashMap::default(),
            listening: None,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            replay_bytes: 0,
            resumable,
            max_queue,
        }
    }

    /// Opens a stream for the answers to `requests`. `token` is a progress token as JSON.
    pub(super) fn open(
        &mut self,
        requests: &[RequestId],
        token: Option<&str>,
    ) -> Result<Reader, StreamError> {
        let distinct: HashSet<RequestId> = requests.iter().cloned().collect();
        let in_use = distinct.len() < requests.len()
            || requests.iter().any(|id| self.by_request.contains_key(id));
        if in_use {
            return Err(StreamError::IdInUse);
        }
        let reader = self.insert(distinct, token, false)?;
        for id in requests {
            self.by_request.insert(id.clone(), reader.key);
        }
        if let Some(token) = token {
            self.by_token.insert(token.to_owned(), reader.key);
        }
        Ok(reader)
    }

    /// Opens the stream for messages that belong to no request. Replaces the previous one.
    pub(super) fn listen(&mut self) -> Result<Reader, StreamError> {
        let reader = self.insert(HashSet::default(), None, true)?;
        self.listen_on(reader.key);
        self.send_backlog(reader.key);
        Ok(reader)
    }

    /// Makes this the stream for messages that belong to no request, and ends the previous one.
    fn listen_on(&mut self, key: StreamKey) {
        let before = self.listening.replace(key);
        if let Some(before) = before.filter(|before| *before != key) {
            self.end(before);
        }
    }

    fn send_backlog(&mut self, key: StreamKey) {
        self.backlog_bytes = 0;
        for data in std::mem::take(&mut self.backlog) {
            self.deliver(key, data);
        }
    }

    fn insert(
        &mut self,
        waiting: HashSet<RequestId>,
        token: Option<&str>,
        listens: bool,
    ) -> Result<Reader, StreamError> {
        if self.open.len() - self.ended.len() >= MAX_STREAMS {
            return Err(StreamError::TooMany);
        }
        self.next += 1;
        let key = StreamKey(self.next);
        let (sender, receiver) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let stream = Stream {
            waiting,
            token: token.map(str::to_owned),
            asked: Vec::new(),
            listens,
            sender: Some(sender),
            queued: Arc::clone(&queued),
            sent: VecDeque::new(),
            newest: 0,
        };
        self.open.insert(key, stream);
        Ok(Reader {
            key,
            receiver,
            queued,
        })
    }

    /// Resumes a stream after the event with the id `last`. Also returns the stream's pending
    /// requests.
    pub(super) fn resume(&mut self, last: &str) -> Result<(Reader, Vec<RequestId>), StreamError> {
        let parsed = last.split_once('-').and_then(|(stream, number)| {
            Some((StreamKey(stream.parse().ok()?), number.parse::<u64>().ok()?))
        });
        let (key, number) = parsed.ok_or(StreamError::Gone)?;
        let stream = self.open.get_mut(&key).ok_or(StreamError::Gone)?;
        let oldest = stream.newest - stream.sent.len() as u64;
        if number < oldest || number > stream.newest {
            return Err(StreamError::Gone);
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        stream.queued = Arc::new(AtomicUsize::new(0));
        let again = stream.sent.iter().filter(|(sent, _)| *sent > number);
        for (sent, data) in again {
            stream.queued.fetch_add(data.len(), Ordering::Relaxed);
            let event_id = Some(format!("{}-{sent}", key.0));
            let data = data.clone();
            // Cannot fail: we hold the receiver.
            let _ = sender.send(Delivery::Message {
                data,
                event_id,
                is_last: false,
            });
        }
        let queued = Arc::clone(&stream.queued);
        let waiting: Vec<RequestId> = stream.waiting.iter().cloned().collect();
        let is_over = waiting.is_empty() && !stream.listens;
        stream.sender = (!is_over).then_some(sender);
        if stream.listens {
            // Done first, because ending the previous listener may push out the oldest ended stream.
            self.ended.retain(|ended| *ended != key);
            self.listen_on(key);
            self.send_backlog(key);
        }
        let reader = Reader {
            key,
            receiver,
            queued,
        };
        Ok((reader, waiting))
    }

    /// Returns the stream on which a request is answered.
    pub(super) fn of_request(&self, id: &RequestId) -> Option<StreamKey> {
        self.by_request.get(id).copied()
    }

    /// Returns the pending requests.
    pub(super) fn waiting(&self) -> Vec<RequestId> {
        self.by_request.keys().cloned().collect()
    }

    /// Returns the stream of a progress token.
    pub(super) fn of_token(&self, token: &str) -> Option<StreamKey> {
        self.by_token.get(token).copied()
    }

    /// Takes the stream on which a request was sent to the client.
    pub(super) fn of_question(&mut self, id: &RequestId) -> Option<StreamKey> {
        self.asked.remove(id)
    }

    /// Returns the only stream with pending requests; `None` if there are several or none.
    pub(super) fn only_one(&self) -> Option<StreamKey> {
        let mut keys = self.by_request.values();
        let first = keys.next()?;
        keys.all(|key| key == first).then_some(*first)
    }

    /// Returns the newest stream with pending requests.
    pub(super) fn newest(&self) -> Option<StreamKey> {
        self.by_request.values().max().copied()
    }

    /// Returns the stream for messages that belong to no request.
    pub(super) fn listening(&self) -> Option<StreamKey> {
        self.listening
    }

    /// Returns true if nobody reads. A client that waits for an answer without reading must come back in time.
    pub(super) fn is_idle(&self) -> bool {
        self.open.values().all(|stream| {
            let sender = stream.sender.as_ref();
            sender.is_none_or(mpsc::UnboundedSender::is_closed)
        })
    }

    /// Remembers on which stream a request was sent to the client.
    pub(super) fn remember_question(&mut self, id: RequestId, key: StreamKey) {
        if let Some(stream) = self.open.get_mut(&key)
            && stream.asked.len() < MAX_STREAMS
        {
            stream.asked.push(id.clone());
            self.asked.insert(id, key);
        }
    }

    /// Sends a message on a stream, or keeps it for a client that reconnects.
    pub(super) fn deliver(&mut self, key: StreamKey, data: Bytes) {
        self.put(key, data, false);
    }

    /// Like [`Streams::deliver`], for the response to one of the stream's requests.
    pub(super) fn deliver_answer(&mut self, key: StreamKey, data: Bytes) {
        self.put(key, data, true);
    }

    fn put(&mut self, key: StreamKey, data: Bytes, is_answer: bool) {
        let Some(stream) = self.open.get_mut(&key) else {
            return;
        };
        stream.newest += 1;
        let number = stream.newest;
        let event_id = self.resumable.then(|| format!("{}-{number}", key.0));
        if self.resumable {
            self.replay_bytes += data.len();
            stream.sent.push_back((number, data.clone()));
        }
        let is_last = is_answer && stream.waiting.len() == 1;
        if let Some(sender) = &stream.sender {
            let queued = stream.queued.fetch_add(data.len(), Ordering::Relaxed);
            let message = Delivery::Message {
                data,
                event_id,
                is_last,
            };
            let reads = queued < self.max_queue && sender.send(message).is_ok();
            if !reads {
                // A reader that does not keep up counts as gone.
                stream.sender = None;
            }
        }
        self.forget_some(key);
    }

    /// Drops kept events while they exceed the limit: first those of ended streams, then those of this one.
    fn forget_some(&mut self, key: StreamKey) {
        while self.replay_bytes > MAX_REPLAY
            && let Some(oldest) = self.ended.pop_front()
        {
            self.remove(oldest);
        }
        if let Some(stream) = self.open.get_mut(&key) {
            while self.replay_bytes > MAX_REPLAY
                && let Some((_, data)) = stream.sent.pop_front()
            {
                self.replay_bytes -= data.len();
            }
        }
    }

    /// Keeps a message until the client listens. Drops the oldest ones beyond the limit.
    pub(super) fn keep_for_listener(&mut self, data: Bytes) {
        self.backlog_bytes += data.len();
        self.backlog.push_back(data);
        while self.backlog.len() > MAX_BACKLOG || self.backlog_bytes > MAX_BACKLOG_BYTES {
            let Some(oldest) = self.backlog.pop_front() else {
                break;
            };
            self.backlog_bytes -= oldest.len();
        }
    }

    /// Removes a pending request that was answered or cancelled. Ends its stream if it was the last one.
    pub(super) fn answered(&mut self, id: &RequestId) {
        let Some(key) = self.by_request.remove(id) else {
            return;
        };
        if let Some(stream) = self.open.get_mut(&key) {
            stream.waiting.remove(id);
            if stream.waiting.is_empty() {
                self.end(key);
            }
        }
    }

    /// Answers with an HTTP response. `data` is the same as JSON-RPC.
    pub(super) fn reply(&mut self, key: StreamKey, reply: Reply, data: Bytes) {
        let stream = self.open.get_mut(&key);
        if let Some(sender) = stream.and_then(|stream| stream.sender.as_ref()) {
            // Fails only if the reader has gone.
            let _ = sender.send(Delivery::Reply { reply, data });
        }
    }

    /// Ends the connection of a request's stream, if the client can resume the stream.
    pub(super) fn disconnect(&mut self, id: &RequestId) {
        let key = self.by_request.get(id);
        if let Some(stream) = key.and_then(|key| self.open.get_mut(key))
            && self.resumable
        {
            stream.sender = None;
        }
    }

    /// Handles that the reader of a stream has gone. Returns the stream's pending requests.
    pub(super) fn reader_gone(&mut self, reader: &Reader) -> Vec<RequestId> {
        let Some(stream) = self.open.get_mut(&reader.key) else {
            return Vec::new();
        };
        // Another connection may have resumed it in the meantime.
        if !Arc::ptr_eq(&stream.queued, &reader.queued) {
            return Vec::new();
        }
        stream.sender = None;
        let waiting = stream.waiting.iter().cloned().collect();
        if stream.listens && self.listening == Some(reader.key) {
            // Until the client reconnects, other streams are a better choice. The sent events are kept.
            self.listening = None;
            self.end(reader.key);
        }
        waiting
    }

    /// Ends a stream. Keeps its events for a client that reconnects.
    fn end(&mut self, key: StreamKey) {
        let Some(stream) = self.open.get_mut(&key) else {
            return;
        };
        stream.sender = None;
        if let Some(token) = stream.token.take()
            && self.by_token.get(&token) == Some(&key)
        {
            self.by_token.remove(&token);
        }
        for question in std::mem::take(&mut stream.asked) {
            self.asked.remove(&question);
        }
        if !self.resumable || stream.sent.is_empty() {
            return self.remove(key);
        }
        self.ended.push_back(key);
        while self.ended.len() > MAX_STREAMS_KEPT
            && let Some(oldest) = self.ended.pop_front()
        {
            self.remove(oldest);
        }
    }

    /// Forgets a stream if it has ended.
    pub(super) fn forget_if_over(&mut self, key: StreamKey) {
        if let Some(at) = self.ended.iter().position(|ended| *ended == key) {
            self.ended.remove(at);
            self.remove(key);
        }
    }

    fn remove(&mut self, key: StreamKey) {
        if let Some(stream) = self.open.remove(&key) {
            let bytes: usize = stream.sent.iter().map(|(_, data)| data.len()).sum();
            self.replay_bytes -= bytes;
        }
    }

    /// Ends every stream, because the session has ended.
    pub(super) fn end_all(&mut self) {
        *self = Streams::new(self.resumable, self.max_queue);
    }
}

#[cfg(test)]
mod tests;
