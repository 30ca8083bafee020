//! The HTTP end of one session: passes requests to the relay as lines, and puts the relay's lines on
//! the response streams that they belong to.
//!
//! The gate, behind the relay, makes every decision.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use foldhash::{HashMap, HashSet};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::request::Share;
use super::rewrite::{self, ClientIds, Tokens};
use super::streams::{Reader, StreamError, StreamKey, Streams};
use crate::http::shared::facts::Facts;
use crate::http::shared::lines::Lines;
use crate::http::shared::param_headers::ParamHeaders;
use crate::mcp::ErrorCode;
use crate::mcp::error::{cancelled_notification, error_response};
use crate::mcp::frame::Frame;
use crate::mcp::json::raw_member;
use crate::mcp::message::{Id, Kind, Line, Message, RequestId, peek_result_id, read_envelope};
use crate::mcp::tool::LIST;
use crate::relay::Sideband;
use crate::transport::{Headers, LinkReader, LinkWriter, Note};

/// How many bytes a reader may lag behind, plus one message of any size.
const MAX_BEHIND: usize = 8 * 1024 * 1024;

/// The clients of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientKind {
    /// One legacy client, from its `initialize` on.
    Session,
    /// The same over the two endpoints of 2024-11-05: one stream carries everything.
    OneStream,
    /// Any number of stateless clients.
    Stateless,
}

/// The HTTP end of one session of the relay.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) kind: ClientKind,
    to_relay: Arc<LinkWriter>,
    pub(super) sideband: Arc<Sideband>,
    state: Mutex<State>,
    over: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    streams: Streams,
    /// The clients' own ids of pending stateless requests, by our id.
    client_ids: HashMap<u64, ClientIds>,
    tokens: Tokens,
    /// The pending stateless requests that ask for the tool list.
    lists: HashSet<u64>,
    /// The headers that the tool lists declare.
    param_headers: ParamHeaders,
    next_id: u64,
    last_used: Instant,
}

/// Why a line could not be sent to the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendError {
    /// The session has ended.
    SessionEnded,
    /// The server has not read for so long that the line's memory is needed elsewhere.
    Timeout,
}

/// How long a line that uses shared memory may wait for the relay to read it.
const SEND_TIME: Duration = Duration::from_secs(60);

impl Conversation {
    /// Starts a conversation over two links: the relay reads from `to` and writes to `from`. Lines
    /// have at most `max_line` bytes. `seed` is random.
    pub(super) fn begin(
        kind: ClientKind,
        to: LinkWriter,
        from: LinkReader,
        sideband: Arc<Sideband>,
        max_line: usize,
        seed: [u8; 32],
    ) -> Arc<Conversation> {
        let conversation = Arc::new(Conversation {
            kind,
            to_relay: Arc::new(to),
            sideband,
            state: Mutex::new(State {
                streams: Streams::new(kind == ClientKind::Session, MAX_BEHIND),
                client_ids: HashMap::default(),
                tokens: Tokens::new(seed),
                lists: HashSet::default(),
                param_headers: ParamHeaders::default(),
                next_id: 0,
                last_used: Instant::now(),
            }),
            over: watch::Sender::new(false),
        });
        tokio::spawn(Arc::clone(&conversation).read_lines(from, max_line));
        tokio::spawn(Arc::clone(&conversation).mirror_breaks());
        conversation
    }

    /// Sends a line to the relay. `share` is the memory that is reserved for it until then. May be
    /// cancelled: the line is sent whole or not at all.
    ///
    /// # Errors
    /// Why it could not be sent. `Timeout` only if there is a share.
    pub(super) async fn send(&self, line: &str, share: Share) -> Result<(), SendError> {
        self.send_with(line, None, share).await
    }

    async fn send_with(
        &self,
        line: &str,
        note: Option<Note>,
        share: Share,
    ) -> Result<(), SendError> {
        let sending = self.to_relay.send_line(line, note);
        let sent = match &share {
            // A session whose server hangs must not keep memory that all others need.
            Some(_) => timeout(SEND_TIME, sending)
                .await
                .map_err(|_| SendError::Timeout)?,
            None => sending.await,
        };
        sent.map_err(|_| SendError::SessionEnded)
    }

    /// Like [`Conversation::send`], for a request of [`Conversation::open_stateless`]. Remembers that
    /// the relay has the request. `headers` may be forwarded to the server with it.
    pub(super) async fn send_stateless(
        &self,
        id: &RequestId,
        line: &str,
        headers: Headers,
        share: Share,
    ) -> Result<(), SendError> {
        let note = (!headers.is_empty()).then(|| Note::Headers {
            call: id.clone(),
            headers,
        });
        self.send_with(line, note, share).await?;
        if let RequestId::Integer(number) = id
            && let Some(ids) = self.state().client_ids.get_mut(&(*number as u64))
        {
            ids.was_sent = true;
        }
        Ok(())
    }

    /// Opens a stream for the answers to some requests of one client.
    pub(super) fn open(
        &self,
        requests: &[RequestId],
        token: Option<&str>,
    ) -> Result<Reader, StreamError> {
        let mut state = self.state();
        self.check_open()?;
        state.streams.open(requests, token)
    }

    /// The same for a stateless request, which gets an id of ours. Returns that id and the line to send.
    /// `facts` must be those of `line`.
    pub(super) fn open_stateless(
        &self,
        line: &str,
        facts: &Facts<'_>,
    ) -> Result<(Reader, RequestId, String), StreamError> {
        let mut state = self.state();
        self.check_open()?;
        state.next_id += 1;
        let number = state.next_id;
        let Some((line, ids)) = rewrite::request(line, facts.token, number, &state.tokens) else {
            return Err(StreamError::Gone);
        };
        let id = RequestId::Integer(number as i64);
        let reader = state.streams.open(std::slice::from_ref(&id), None)?;
        state.client_ids.insert(number, ids);
        if facts.method.as_deref() == Some(LIST) {
            state.lists.insert(number);
        }
        Ok((reader, id, line))
    }

    /// Checks that a call's headers match its arguments, as far as the tool lists that clients have
    /// requested allow that. Returns the headers that may be forwarded to the server: all of them if
    /// no list had the tool, otherwise none.
    ///
    /// # Errors
    /// What differs, in a sentence.
    pub(super) fn check_param_headers(
        &self,
        tool: &str,
        params: &str,
        given: &[(&str, Option<&str>)],
    ) -> Result<Headers, String> {
        let state = self.state();
        state.param_headers.check(tool, params, given)?;
        if given.is_empty() || state.param_headers.knows(tool) {
            return Ok(Vec::new());
        }
        let forwarded = given.iter().filter_map(|(name, value)| {
            let value = value.as_ref()?.as_bytes().to_owned();
            Some(((*name).to_owned(), value))
        });
        Ok(forwarded.collect())
    }

    /// Opens the stream for messages that belong to no request.
    pub(super) fn listen(&self) -> Result<Reader, StreamError> {
        self.state().streams.listen()
    }

    /// Resumes a stream after an event.
    pub(super) fn resume(&self, last_event: &str) -> Result<Reader, StreamError> {
        let (reader, waiting) = self.state().streams.resume(last_event)?;
        for id in waiting {
            self.sideband.leave_resumed(id);
        }
        Ok(reader)
    }

    /// Stops waiting for the answer to a request that the client has cancelled.
    pub(super) fn cancelled_by_client(&self, id: &RequestId) {
        self.state().streams.answered(id);
    }

    /// Forgets a stream if it has ended. For clients that got no event and so cannot resume it.
    pub(super) fn forget_if_over(&self, key: StreamKey) {
        self.state().streams.forget_if_over(key);
    }

    /// Handles that a stream's reader has gone. That cancels a stateless request. A request of a
    /// session continues, because its client may come back for the answer.
    ///
    /// SPEC 2026-07-28: "Closing the SSE response stream MUST be treated by the server as
    /// cancellation of that request." 2025-11-25: "Disconnection SHOULD NOT be interpreted as the
    /// client cancelling its request."
    pub(super) fn reader_gone(&self, reader: &Reader) {
        let mut state = self.state();
        state.last_used = Instant::now();
        let waiting = state.streams.reader_gone(reader);
        if self.kind == ClientKind::Stateless {
            for id in waiting {
                state.streams.answered(&id);
                let RequestId::Integer(number) = id else {
                    continue;
                };
                let (ids, _) = state.forget(number as u64);
                // A request that the relay never got needs no cancellation. So there are never more
                // of these notifications than requests that the relay has read.
                if ids.is_some_and(|ids| ids.was_sent) {
                    let why = "the client closed the response stream";
                    self.send_soon(cancelled_notification(&id, why));
                }
            }
        }
    }

    /// Sends a line to the relay without waiting. Ignores errors: a relay that is gone needs nothing.
    fn send_soon(&self, line: String) {
        if let Ok(false) = self.to_relay.try_send_line(&line) {
            let to_relay = Arc::clone(&self.to_relay);
            tokio::spawn(async move { to_relay.send_line(&line, None).await });
        }
    }

    /// Marks the session as used now.
    pub(super) fn touch(&self) {
        self.state().last_used = Instant::now();
    }

    /// Returns since when the session is unused; `None` while somebody reads.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        state.streams.is_idle().then_some(state.last_used)
    }

    /// Ends the session from our side. To the relay it looks as if the client had closed.
    pub(super) fn close(&self) {
        self.to_relay.close();
        self.over.send_replace(true);
    }

    /// Fails if the session has ended. Must be called while the state is locked: the end of the session
    /// fails all pending requests, and no request may become pending after that.
    fn check_open(&self) -> Result<(), StreamError> {
        match self.is_over() {
            true => Err(StreamError::SessionEnded),
            false => Ok(()),
        }
    }

    /// Returns true if the session has ended.
    pub(super) fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    async fn read_lines(self: Arc<Self>, from: LinkReader, max_line: usize) {
        let mut lines = Lines::new(from, max_line);
        while let Some(frame) = lines.next().await {
            // Skips overlong lines, which the gate does not send: it passes on only what it may
            // receive, and its own messages are small.
            if let Frame::Line(range) = frame {
                let line = Bytes::copy_from_slice(lines.line(&range));
                self.dispatch(line, lines.take_note());
            }
        }
        self.over.send_replace(true);
        self.end();
    }

    /// Ends all streams after the relay has ended. Fails the requests that the relay did not read: no
    /// decision was made about them, and they did not run.
    fn end(&self) {
        let mut state = self.state();
        for id in state.streams.waiting() {
            let ids = match (self.kind, &id) {
                (ClientKind::Stateless, RequestId::Integer(number)) => {
                    state.forget(*number as u64).0
                }
                _ => None,
            };
            let why = "the session with the server has ended; the request was not sent".to_owned();
            let line = error_response(Some(&id), ErrorCode::INTERNAL_ERROR, why);
            let line = ids.map_or(line.clone(), |ids| rewrite::response(&line, &ids));
            if let Some(key) = state.streams.of_request(&id) {
                state.streams.deliver_answer(key, line.into());
            }
            state.streams.answered(&id);
        }
        state.streams.end_all();
    }

    /// Ends a client's response whenever the server has ended its own response before the answer. The
    /// client comes back for the answer later.
    async fn mirror_breaks(self: Arc<Self>) {
        let mut over = self.over.subscribe();
        loop {
            let id = tokio::select! {
                id = self.sideband.next_break() => id,
                _ = over.wait_for(|over| *over) => return,
            };
            self.state().streams.disconnect(&id);
        }
    }

    /// Puts a line on the stream that it belongs to.
    fn dispatch(&self, line: Bytes, note: Option<Note>) {
        if let Some(id) = peek_result_id(&line) {
            return self.deliver_response(&id, line, note);
        }
        let Ok(text) = std::str::from_utf8(&line) else {
            return;
        };
        let Ok(Line::Message(message)) = read_envelope(text) else {
            return;
        };
        match (&message.kind, &message.id) {
            (Kind::Response { .. }, Id::Some(id)) => self.deliver_response(id, line.clone(), note),
            // It answers an unreadable message, which HTTP has answered already.
            (Kind::Response { .. }, _) => {}
            (Kind::Call { .. }, _) => self.deliver_call(&message, text, line.clone(), note),
        }
    }

    /// Delivers a response to the client whose request it answers.
    fn deliver_response(&self, id: &RequestId, mut line: Bytes, note: Option<Note>) {
        let mut reply = match note {
            Some(Note::Reply(reply)) => Some(*reply),
            Some(Note::About(_) | Note::Headers { .. }) | None => None,
        };
        let mut state = self.state();
        let Some(key) = state.stream_for_answers(self.kind, id) else {
            return;
        };
        if let (ClientKind::Stateless, RequestId::Integer(number)) = (self.kind, id) {
            let (ids, is_list) = state.forget(*number as u64);
            if let (Some(ids), Ok(text)) = (ids, std::str::from_utf8(&line)) {
                if is_list {
                    state.param_headers.learn(text);
                }
                line = rewrite::response(text, &ids).into();
                if let Some(reply) = &mut reply
                    && let Ok(text) = std::str::from_utf8(&reply.body)
                {
                    reply.body = rewrite::response(text, &ids).into_bytes();
                }
            }
        }
        match reply {
            Some(mut reply) if self.kind != ClientKind::OneStream => {
                // The gate has read the line but not the body, which could contain any id.
                if self.sideband.is_holding() {
                    reply.set_json(&line);
                }
                state.streams.reply(key, reply, line);
            }
            _ => state.streams.deliver_answer(key, line),
        }
        state.streams.answered(id);
        state.last_used = Instant::now();
    }

    /// Delivers a request or a notification to the client.
    fn deliver_call(&self, message: &Message<'_>, text: &str, line: Bytes, note: Option<Note>) {
        let related = match note {
            Some(Note::About(request)) => Some(request),
            Some(Note::Reply(_) | Note::Headers { .. }) | None => None,
        };
        let mut state = self.state();
        let Kind::Call { method, .. } = &message.kind else {
            return;
        };
        let key = match self.kind {
            ClientKind::OneStream => state.streams.listening(),
            ClientKind::Stateless => {
                if let Id::Some(id) = &message.id {
                    drop(state);
                    return self.refuse_question(id);
                }
                return state.notify_stateless(method, text, line, related.as_ref());
            }
            ClientKind::Session => state.stream_of(method, text, related.as_ref()),
        };
        let Some(key) = key else {
            return state.streams.keep_for_listener(line);
        };
        if let Id::Some(id) = &message.id {
            state.streams.remember_question(id.clone(), key);
        }
        state.streams.deliver(key, line);
    }

    /// Refuses a request of the server to a stateless client. SPEC 2026-07-28: "The server MUST NOT send
    /// independent JSON-RPC requests". Nor could we tell which of several clients it is for.
    fn refuse_question(&self, id: &RequestId) {
        let why = "stateless clients do not accept requests from the server".to_owned();
        self.send_soon(error_response(Some(id), ErrorCode::METHOD_NOT_FOUND, why));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Forgets a stateless request. Returns its client's ids, and whether it asked for the tool list.
    fn forget(&mut self, number: u64) -> (Option<ClientIds>, bool) {
        (self.client_ids.remove(&number), self.lists.remove(&number))
    }

    fn stream_for_answers(&self, kind: ClientKind, id: &RequestId) -> Option<StreamKey> {
        match kind {
            ClientKind::OneStream => self.streams.listening(),
            ClientKind::Session | ClientKind::Stateless => self.streams.of_request(id),
        }
    }

    /// Returns the stream for a request or notification to a session's client: that of the request
    /// that it belongs to, if this is known or only one is pending; otherwise the best other one.
    fn stream_of(
        &mut self,
        method: &str,
        text: &str,
        related: Option<&RequestId>,
    ) -> Option<StreamKey> {
        let streams = &mut self.streams;
        let known = related.and_then(|id| streams.of_request(id));
        let named = match method {
            "notifications/progress" => raw_member(text, &["params", "progressToken"])
                .and_then(|token| streams.of_token(token)),
            "notifications/cancelled" => raw_member(text, &["params", "requestId"])
                .and_then(RequestId::from_json)
                .and_then(|id| streams.of_question(&id)),
            _ => None,
        };
        if let Some(key) = known.or(named) {
            return Some(key);
        }
        // A notification about a change belongs to no request.
        let is_change =
            method.ends_with("list_changed") || method == "notifications/resources/updated";
        let listening = streams.listening();
        match streams.only_one() {
            Some(only) if !is_change => Some(only),
            _ => listening.or_else(|| streams.newest()),
        }
    }

    /// Delivers a notification about a request to its stateless client. Drops a notification that is
    /// about no request, because it could be meant for another client.
    fn notify_stateless(
        &mut self,
        method: &str,
        text: &str,
        line: Bytes,
        related: Option<&RequestId>,
    ) {
        let number = match related {
            // The stream that it came on is more reliable than its content.
            Some(RequestId::Integer(number)) => Some(*number as u64),
            Some(_) => None,
            None => rewrite::subject(method, text, &self.tokens),
        };
        let Some(number) = number else {
            return;
        };
        let key = self.streams.of_request(&RequestId::Integer(number as i64));
        if let (Some(key), Some(ids)) = (key, self.client_ids.get(&number)) {
            let line = rewrite::notification(text, number, &self.tokens, ids).unwrap_or(line);
            self.streams.deliver(key, line);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;
    use crate::http::inbound::streams::Delivery;
    use crate::transport::{Reply, link_in, link_out};

    // Large messages of other sessions need the memory that is reserved for a hanging server's session.
    #[tokio::test(start_paused = true)]
    async fn a_line_with_a_share_waits_a_minute_for_a_hanging_server() {
        let (to_relay, _unread) = link_in();
        let (from_relay, _silent) = link_out();
        let sideband = Arc::new(Sideband::default());
        let conversation = Conversation::begin(
            ClientKind::Session,
            to_relay,
            from_relay,
            sideband,
            1024,
            [0; 32],
        );
        let memory = Arc::new(Semaphore::new(1));
        let share = || Arc::clone(&memory).try_acquire_owned().ok();
        // A link accepts one whole line as long as it has any room.
        let large = "x".repeat(16 * 1024 * 1024);
        assert_eq!(conversation.send(&large, share()).await, Ok(()));
        let start = Instant::now();
        let late = conversation.send("y", share()).await;
        assert_eq!(late, Err(SendError::Timeout));
        assert_eq!(start.elapsed(), SEND_TIME);
        assert_eq!(memory.available_permits(), 1);
        // A line without a share costs others nothing, so it may wait as long as its client does.
        let sending = conversation.send("z", None);
        assert!(timeout(60 * SEND_TIME, sending).await.is_err());
        conversation.close();
        let ended = conversation.send("z", None).await;
        assert_eq!(ended, Err(SendError::SessionEnded));
    }

    // The body of an HTTP error is passed on unchanged, and could be read as the answer to another request.
    #[tokio::test]
    async fn while_a_call_is_held_a_client_gets_nothing_that_the_gate_has_not_read() {
        for kind in [ClientKind::Session, ClientKind::Stateless] {
            for is_holding in [false, true] {
                let (to_relay, _relay) = link_in();
                let (from_relay, _silent) = link_out();
                let sideband = Arc::new(Sideband::default());
                let shared = Arc::clone(&sideband);
                let conversation =
                    Conversation::begin(kind, to_relay, from_relay, shared, 1024, [0; 32]);
                let id = RequestId::Integer(1);
                let text = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
                let Ok(Line::Message(message)) = read_envelope(text) else {
                    panic!("{text}");
                };
                let opened = match kind {
                    ClientKind::Stateless => {
                        let opened = conversation.open_stateless(text, &Facts::of(&message));
                        opened.map(|(reader, _, _)| reader)
                    }
                    ClientKind::Session | ClientKind::OneStream => {
                        conversation.open(std::slice::from_ref(&id), None)
                    }
                };
                let mut reader = opened.ok().unwrap();
                let forged = br#"{"jsonrpc":"2.0","id":1,"result":{"content":[]},"id":5}"#;
                let line = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"m"}}"#;
                let reply = Reply {
                    status: 400,
                    headers: vec![
                        ("content-type".into(), b"text/event-stream".to_vec()),
                        ("retry-after".into(), b"7".to_vec()),
                    ],
                    body: forged.to_vec(),
                };
                sideband.set_holding(is_holding);
                let note = Note::Reply(Box::new(reply));
                conversation.dispatch(Bytes::from(line), Some(note));
                let Some(Delivery::Reply { reply, .. }) = reader.next().await else {
                    panic!("no reply");
                };
                assert_eq!(reply.status, 400);
                assert!(reply.headers.iter().any(|(name, _)| name == "retry-after"));
                let kinds = reply.headers.iter();
                let kinds = kinds.filter(|(name, _)| name == "content-type");
                let kinds: Vec<&[u8]> = kinds.map(|(_, kind)| kind.as_slice()).collect();
                match is_holding {
                    true => assert_eq!(
                        (reply.body.as_slice(), &kinds[..]),
                        (line.as_bytes(), &[&b"application/json"[..]][..])
                    ),
                    false => assert_eq!(
                        (reply.body.as_slice(), &kinds[..]),
                        (&forged[..], &[&b"text/event-stream"[..]][..])
                    ),
                }
            }
        }
    }

    // Otherwise each request that a client cancels while the server hangs would leave a notification behind.
    #[tokio::test]
    async fn the_relay_learns_of_a_cancellation_only_if_it_has_the_request() {
        for is_sent in [false, true] {
            let (to_relay, relay) = link_in();
            let (from_relay, _silent) = link_out();
            let sideband = Arc::new(Sideband::default());
            let conversation = Conversation::begin(
                ClientKind::Stateless,
                to_relay,
                from_relay,
                sideband,
                1024,
                [0; 32],
            );
            let text = r#"{"jsonrpc":"2.0","id":"mine","method":"ping"}"#;
            let Ok(Line::Message(message)) = read_envelope(text) else {
                panic!("{text}");
            };
            let opened = conversation.open_stateless(text, &Facts::of(&message));
            let (reader, id, line) = opened.ok().unwrap();
            if is_sent {
                let sent = conversation
                    .send_stateless(&id, &line, Vec::new(), None)
                    .await;
                assert_eq!(sent, Ok(()));
            }
            conversation.reader_gone(&reader);
            let mut read = Vec::with_capacity(4096);
            let _ = relay.try_read(&mut read);
            let read = String::from_utf8(read).unwrap();
            assert_eq!(read.contains("notifications/cancelled"), is_sent, "{read}");
            assert_eq!(read.is_empty(), !is_sent, "{read}");
        }
    }
}
