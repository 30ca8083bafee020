//! Which response stream a message of a session goes out on, and what is kept for a client whose
//! connection broke.
//!
//! It does no I/O: a stream is a queue that somebody else reads.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use foldhash::{HashMap, HashSet};
use tokio::sync::mpsc;

use crate::mcp::message::RequestId;
use crate::transport::Reply;

/// What is kept of one session's events for clients that come back, in bytes and in streams.
const MAX_REPLAY: usize = 1024 * 1024;
const MAX_STREAMS_KEPT: usize = 16;
/// How many streams of one session may be open at once.
const MAX_STREAMS: usize = 4_096;
/// What waits for a stream to listen on.
const MAX_BACKLOG: usize = 256;
const MAX_BACKLOG_BYTES: usize = 1024 * 1024;

/// Names a stream within its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct StreamKey(u64);

/// What a stream's reader gets.
#[derive(Debug)]
pub(super) enum Delivery {
    /// A message, with the id of its event where the stream can be taken up again.
    Message {
        /// The line, without its newline.
        data: Bytes,
        /// `stream-number`.
        event_id: Option<String>,
        /// Whether it is the last one.
        is_last: bool,
    },
    /// The server answered with an HTTP response that says more.
    Reply {
        /// The response.
        reply: Reply,
        /// The same in the words of JSON-RPC, where HTTP's come too late.
        data: Bytes,
    },
}

/// The reading end of a stream. It ends when everything has been said on it.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) key: StreamKey,
    receiver: mpsc::UnboundedReceiver<Delivery>,
    queued: Arc<AtomicUsize>,
}

impl Reader {
    /// The id of the event before the first one.
    pub(super) fn first_event_id(&self) -> String {
        format!("{}-0", self.key.0)
    }

    /// What comes next; `None` at the end. May be cancelled.
    pub(super) async fn next(&mut self) -> Option<Delivery> {
        let delivery = self.receiver.recv().await;
        self.count(delivery.as_ref());
        delivery
    }

    /// The same for those who poll.
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
    /// The requests that will be answered on it.
    waiting: HashSet<RequestId>,
    /// Their progress token, as JSON.
    token: Option<String>,
    /// What the client was asked on it.
    asked: Vec<RequestId>,
    /// Whether it does not end once all of them are answered.
    listens: bool,
    sender: Option<mpsc::UnboundedSender<Delivery>>,
    queued: Arc<AtomicUsize>,
    /// Events that a client may ask for again, with their numbers.
    sent: VecDeque<(u64, Bytes)>,
    /// The number of the newest event; those that were dropped from `sent` count too.
    newest: u64,
}

/// The streams of one session.
#[derive(Debug)]
pub(super) struct Streams {
    next: u64,
    open: HashMap<StreamKey, Stream>,
    /// Streams on which everything was said, the oldest first.
    ended: VecDeque<StreamKey>,
    by_request: HashMap<RequestId, StreamKey>,
    by_token: HashMap<String, StreamKey>,
    /// Requests to the client, and on which stream they went out.
    asked: HashMap<RequestId, StreamKey>,
    listening: Option<StreamKey>,
    backlog: VecDeque<Bytes>,
    backlog_bytes: usize,
    replay_bytes: usize,
    /// Whether events have ids and are kept.
    resumable: bool,
    /// What may wait for one reader, in bytes.
    max_queue: usize,
}

/// Why a stream cannot be opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// A request under this id waits already.
    IdInUse,
    /// There are too many.
    TooMany,
    /// What would have to be sent again is gone, or never was.
    Gone,
    /// The session is over.
    Over,
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
    ) -> Result<Reader, Refused> {
        let distinct: HashSet<RequestId> = requests.iter().cloned().collect();
        let in_use = distinct.len() < requests.len()
            || requests.iter().any(|id| self.by_request.contains_key(id));
        if in_use {
            return Err(Refused::IdInUse);
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

    /// Opens the stream for what belongs to no request, in place of the one before.
    pub(super) fn listen(&mut self) -> Result<Reader, Refused> {
        let reader = self.insert(HashSet::default(), None, true)?;
        self.listen_on(reader.key);
        self.send_backlog(reader.key);
        Ok(reader)
    }

    /// One stream listens; the one before has nothing more to say.
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
    ) -> Result<Reader, Refused> {
        if self.open.len() - self.ended.len() >= MAX_STREAMS {
            return Err(Refused::TooMany);
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

    /// Takes up a stream behind the event `last`, as a client names it. Returns the requests that
    /// are still to be answered on it, too.
    pub(super) fn resume(&mut self, last: &str) -> Result<(Reader, Vec<RequestId>), Refused> {
        let parsed = last.split_once('-').and_then(|(stream, number)| {
            Some((StreamKey(stream.parse().ok()?), number.parse::<u64>().ok()?))
        });
        let (key, number) = parsed.ok_or(Refused::Gone)?;
        let stream = self.open.get_mut(&key).ok_or(Refused::Gone)?;
        let oldest = stream.newest - stream.sent.len() as u64;
        if number < oldest || number > stream.newest {
            return Err(Refused::Gone);
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        stream.queued = Arc::new(AtomicUsize::new(0));
        let again = stream.sent.iter().filter(|(sent, _)| *sent > number);
        for (sent, data) in again {
            stream.queued.fetch_add(data.len(), Ordering::Relaxed);
            let event_id = Some(format!("{}-{sent}", key.0));
            let data = data.clone();
            // The receiver is right here.
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
            // First: the end of the listener before may push out what is kept longest.
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

    /// The stream on which a request is answered.
    pub(super) fn of_request(&self, id: &RequestId) -> Option<StreamKey> {
        self.by_request.get(id).copied()
    }

    /// The requests that are not answered yet.
    pub(super) fn waiting(&self) -> Vec<RequestId> {
        self.by_request.keys().cloned().collect()
    }

    /// The stream of a progress token.
    pub(super) fn of_token(&self, token: &str) -> Option<StreamKey> {
        self.by_token.get(token).copied()
    }

    /// The stream on which the client was asked this.
    pub(super) fn of_question(&mut self, id: &RequestId) -> Option<StreamKey> {
        self.asked.remove(id)
    }

    /// The only stream on which a request waits; `None` if there are several or none.
    pub(super) fn only_one(&self) -> Option<StreamKey> {
        let mut keys = self.by_request.values();
        let first = keys.next()?;
        keys.all(|key| key == first).then_some(*first)
    }

    /// The newest stream on which a request waits.
    pub(super) fn newest(&self) -> Option<StreamKey> {
        self.by_request.values().max().copied()
    }

    /// The stream for what belongs to no request.
    pub(super) fn listening(&self) -> Option<StreamKey> {
        self.listening
    }

    /// Whether nobody reads. Who waits without reading must come back before long.
    pub(super) fn is_idle(&self) -> bool {
        self.open.values().all(|stream| {
            let sender = stream.sender.as_ref();
            sender.is_none_or(mpsc::UnboundedSender::is_closed)
        })
    }

    /// Remembers on which stream the client is asked something.
    pub(super) fn remember_question(&mut self, id: RequestId, key: StreamKey) {
        if let Some(stream) = self.open.get_mut(&key)
            && stream.asked.len() < MAX_STREAMS
        {
            stream.asked.push(id.clone());
            self.asked.insert(id, key);
        }
    }

    /// Sends a message on a stream, or keeps it for a client that comes back.
    pub(super) fn deliver(&mut self, key: StreamKey, data: Bytes) {
        self.put(key, data, false);
    }

    /// The same with a response to one of the stream's requests.
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
                // A reader that does not keep up is as good as gone.
                stream.sender = None;
            }
        }
        self.forget_some(key);
    }

    /// Bounds what is kept: first what was sent on streams that have ended, then on this one.
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

    /// Keeps a message until somebody listens; the oldest gives way.
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

    /// A request is answered, or nobody waits for its answer any more. Where it was the last on
    /// its stream, the stream ends.
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

    /// Answers with an HTTP response; `data` says the same in the words of JSON-RPC.
    pub(super) fn reply(&mut self, key: StreamKey, reply: Reply, data: Bytes) {
        let stream = self.open.get_mut(&key);
        if let Some(sender) = stream.and_then(|stream| stream.sender.as_ref()) {
            // A reader that has gone needs none.
            let _ = sender.send(Delivery::Reply { reply, data });
        }
    }

    /// Ends the connection of a request's stream, if its client can take it up again.
    pub(super) fn disconnect(&mut self, id: &RequestId) {
        let key = self.by_request.get(id);
        if let Some(stream) = key.and_then(|key| self.open.get_mut(key))
            && self.resumable
        {
            stream.sender = None;
        }
    }

    /// The reader of a stream has gone. Returns the requests that nobody reads the answers of.
    pub(super) fn reader_gone(&mut self, reader: &Reader) -> Vec<RequestId> {
        let Some(stream) = self.open.get_mut(&reader.key) else {
            return Vec::new();
        };
        // Another connection may have taken it up in the meantime.
        if !Arc::ptr_eq(&stream.queued, &reader.queued) {
            return Vec::new();
        }
        stream.sender = None;
        let waiting = stream.waiting.iter().cloned().collect();
        if stream.listens && self.listening == Some(reader.key) {
            // Until the client comes back, others are the better place; what was sent is kept.
            self.listening = None;
            self.end(reader.key);
        }
        waiting
    }

    /// Everything has been said on a stream.
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

    /// Nobody can ask for what was sent on a stream, if everything has been.
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

    /// The session is over: every stream ends.
    pub(super) fn end_all(&mut self) {
        *self = Streams::new(self.resumable, self.max_queue);
    }
}

#[cfg(test)]
mod tests;
