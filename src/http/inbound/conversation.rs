//! One session as HTTP sees it: requests that come in become lines for the relay, lines that the
//! relay sends find the response stream that they belong on.
//!
//! What a line may do is decided behind the link, by the gate.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use foldhash::{HashMap, HashSet};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::request::Share;
use super::rewrite::{self, Own, Tokens};
use super::streams::{Reader, Refused, StreamKey, Streams};
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

/// How far a reader may be behind, in bytes; one message of any size may come on top.
const MAX_BEHIND: usize = 8 * 1024 * 1024;

/// Who speaks in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientKind {
    /// One client, from its `initialize` on: revisions up to 2025-11-25.
    Session,
    /// The same over the two endpoints of 2024-11-05: one stream carries everything.
    OneStream,
    /// Any number of clients whose requests stand alone: 2026-07-28.
    Stateless,
}

/// One session with the relay.
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
    /// What stateless clients call the requests that wait, by our id.
    own: HashMap<u64, Own>,
    tokens: Tokens,
    /// Which of them ask for the tool list.
    lists: HashSet<u64>,
    /// What the lists say of headers.
    param_headers: ParamHeaders,
    next_id: u64,
    last_used: Instant,
}

/// Why a line was not handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsent {
    /// The session is over; nothing more can be said in it.
    Over,
    /// The server has read nothing for so long that the line's memory is needed elsewhere.
    Late,
}

/// How long a line that takes a share of the memory of all may wait for the relay to read.
const HANDING_OVER: Duration = Duration::from_secs(60);

impl Conversation {
    /// Begins a conversation over a link: what is written to `to` the relay reads, what it says is
    /// read from `from`. Lines are at most `max_line` bytes; `seed` is random.
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
                own: HashMap::default(),
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

    /// Hands a line to the relay, for which `share` of the memory is set aside until then. May be
    /// cancelled; the line then is handed over whole or not at all.
    ///
    /// # Errors
    /// `Late` only where there is a share.
    pub(super) async fn send(&self, line: &str, share: Share) -> Result<(), Unsent> {
        self.send_with(line, None, share).await
    }

    async fn send_with(&self, line: &str, note: Option<Note>, share: Share) -> Result<(), Unsent> {
        let sending = self.to_relay.send_line(line, note);
        let sent = match &share {
            // One session whose server hangs must not keep what all others need.
            Some(_) => timeout(HANDING_OVER, sending)
                .await
                .map_err(|_| Unsent::Late)?,
            None => sending.await,
        };
        sent.map_err(|_| Unsent::Over)
    }

    /// The same for the request of [`Conversation::open_stateless`], so that it is known to be the
    /// server's. `along` are headers that may go to the server with it.
    pub(super) async fn send_stateless(
        &self,
        id: &RequestId,
        line: &str,
        along: Headers,
        share: Share,
    ) -> Result<(), Unsent> {
        let note = (!along.is_empty()).then(|| Note::Headers {
            call: id.clone(),
            headers: along,
        });
        self.send_with(line, note, share).await?;
        if let RequestId::Integer(number) = id
            && let Some(own) = self.state().own.get_mut(&(*number as u64))
        {
            own.was_sent = true;
        }
        Ok(())
    }

    /// Opens a stream for the answers to some requests of one client.
    pub(super) fn open(
        &self,
        requests: &[RequestId],
        token: Option<&str>,
    ) -> Result<Reader, Refused> {
        let mut state = self.state();
        self.is_open()?;
        state.streams.open(requests, token)
    }

    /// The same for a stateless request, which gets an id of ours: returns the line to send.
    /// `facts` are of this very `line`.
    pub(super) fn open_stateless(
        &self,
        line: &str,
        facts: &Facts<'_>,
    ) -> Result<(Reader, RequestId, String), Refused> {
        let mut state = self.state();
        self.is_open()?;
        state.next_id += 1;
        let number = state.next_id;
        let Some((line, own)) = rewrite::request(line, facts.token, number, &state.tokens) else {
            return Err(Refused::Gone);
        };
        let id = RequestId::Integer(number as i64);
        let reader = state.streams.open(std::slice::from_ref(&id), None)?;
        state.own.insert(number, own);
        if facts.method.as_deref() == Some(LIST) {
            state.lists.insert(number);
        }
        Ok((reader, id, line))
    }

    /// Looks whether the headers of a call say the same as its arguments, as far as the tool lists that
    /// clients have asked for tell. Returns the headers that may go on to a server that nothing better
    /// is known of: those of a tool that no list has told of.
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
        let along = given.iter().filter_map(|(name, value)| {
            let value = value.as_ref()?.as_bytes().to_owned();
            Some(((*name).to_owned(), value))
        });
        Ok(along.collect())
    }

    /// Opens the stream for what belongs to no request.
    pub(super) fn listen(&self) -> Result<Reader, Refused> {
        self.state().streams.listen()
    }

    /// Takes up a stream behind an event.
    pub(super) fn resume(&self, last_event: &str) -> Result<Reader, Refused> {
        let (reader, waiting) = self.state().streams.resume(last_event)?;
        for id in waiting {
            self.sideband.leave_resumed(id);
        }
        Ok(reader)
    }

    /// The client has taken back a request: its stream has nothing more to say.
    pub(super) fn cancelled_by_client(&self, id: &RequestId) {
        self.state().streams.answered(id);
    }

    /// Nobody can ask again for what was sent on a stream, if everything has been.
    pub(super) fn forget_if_over(&self, key: StreamKey) {
        self.state().streams.forget_if_over(key);
    }

    /// A stream's reader has gone. A stateless request is cancelled by that; a session's goes on,
    /// since its client may come back for the answer.
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
                let (own, _) = state.forget(number as u64);
                // Of what the relay never had it need not be told; and so there are no more such
                // notifications than it has taken requests.
                if own.is_some_and(|own| own.was_sent) {
                    let why = "the client closed the response stream";
                    self.send_soon(cancelled_notification(&id, why));
                }
            }
        }
    }

    /// A relay that is gone needs nothing more.
    fn send_soon(&self, line: String) {
        if let Ok(false) = self.to_relay.try_send_line(&line) {
            let to_relay = Arc::clone(&self.to_relay);
            tokio::spawn(async move { to_relay.send_line(&line, None).await });
        }
    }

    /// Somebody uses the session now.
    pub(super) fn touch(&self) {
        self.state().last_used = Instant::now();
    }

    /// Since when nobody has used it; `None` while somebody reads or waits.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        state.streams.is_idle().then_some(state.last_used)
    }

    /// Ends it from our side: for the relay the client has closed.
    pub(super) fn close(&self) {
        self.to_relay.close();
        self.over.send_replace(true);
    }

    /// To be asked while the state is locked: what waits when it ends is answered then, and nothing
    /// may begin to wait later.
    fn is_open(&self) -> Result<(), Refused> {
        match self.is_over() {
            true => Err(Refused::Over),
            false => Ok(()),
        }
    }

    /// Whether nothing more can be said in it.
    pub(super) fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    async fn read_lines(self: Arc<Self>, from: LinkReader, max_line: usize) {
        let mut lines = Lines::new(from, max_line);
        while let Some(frame) = lines.next().await {
            // The gate sends nothing that is larger than what it may receive, but for what it says
            // itself, which is small.
            if let Frame::Line(range) = frame {
                let line = Bytes::copy_from_slice(lines.line(&range));
                self.dispatch(line, lines.take_note());
            }
        }
        self.over.send_replace(true);
        self.end();
    }

    /// The relay has said all that it will say. What it has not read any more is answered here: it
    /// was not decided about, and has not run.
    fn end(&self) {
        let mut state = self.state();
        for id in state.streams.waiting() {
            let own = match (self.kind, &id) {
                (ClientKind::Stateless, RequestId::Integer(number)) => {
                    state.forget(*number as u64).0
                }
                _ => None,
            };
            let why = "the session with the server has ended; the request was not sent".to_owned();
            let line = error_response(Some(&id), ErrorCode::INTERNAL_ERROR, why);
            let line = own.map_or(line.clone(), |own| rewrite::response(&line, &own));
            if let Some(key) = state.streams.of_request(&id) {
                state.streams.deliver_answer(key, line.into());
            }
            state.streams.answered(&id);
        }
        state.streams.end_all();
    }

    /// Where the server has ended a response before its answer, so that the client comes back for
    /// it later, the client's response ends too.
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

    /// Finds a line's stream.
    fn dispatch(&self, line: Bytes, note: Option<Note>) {
        if let Some(id) = peek_result_id(&line) {
            return self.answer(&id, line, note);
        }
        let Ok(text) = std::str::from_utf8(&line) else {
            return;
        };
        let Ok(Line::Message(message)) = read_envelope(text) else {
            return;
        };
        match (&message.kind, &message.id) {
            (Kind::Response { .. }, Id::Some(id)) => self.answer(id, line.clone(), note),
            // It answers what could not be read, and was answered by HTTP already.
            (Kind::Response { .. }, _) => {}
            (Kind::Call { .. }, _) => self.tell(&message, text, line.clone(), note),
        }
    }

    /// Brings a response to whoever waits for it.
    fn answer(&self, id: &RequestId, mut line: Bytes, note: Option<Note>) {
        let mut reply = match note {
            Some(Note::Reply(reply)) => Some(*reply),
            Some(Note::About(_) | Note::Headers { .. }) | None => None,
        };
        let mut state = self.state();
        let Some(key) = state.stream_for_answers(self.kind, id) else {
            return;
        };
        if let (ClientKind::Stateless, RequestId::Integer(number)) = (self.kind, id) {
            let (own, is_list) = state.forget(*number as u64);
            if let (Some(own), Ok(text)) = (own, std::str::from_utf8(&line)) {
                if is_list {
                    state.param_headers.learn(text);
                }
                line = rewrite::response(text, &own).into();
                if let Some(reply) = &mut reply
                    && let Ok(text) = std::str::from_utf8(&reply.body)
                {
                    reply.body = rewrite::response(text, &own).into_bytes();
                }
            }
        }
        match reply {
            Some(mut reply) if self.kind != ClientKind::OneStream => {
                // The gate has read the line and not the body, which could hold any id.
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

    /// Brings a request or a notification to the client.
    fn tell(&self, message: &Message<'_>, text: &str, line: Bytes, note: Option<Note>) {
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
                return state.tell_stateless(method, text, line, related.as_ref());
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

    /// SPEC 2026-07-28: "The server MUST NOT send independent JSON-RPC requests"; and whom would it
    /// ask, of several?
    fn refuse_question(&self, id: &RequestId) {
        let why = "stateless clients cannot be asked".to_owned();
        self.send_soon(error_response(Some(id), ErrorCode::METHOD_NOT_FOUND, why));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A stateless request waits no more: what its client calls it, and whether it asked for the
    /// tool list.
    fn forget(&mut self, number: u64) -> (Option<Own>, bool) {
        (self.own.remove(&number), self.lists.remove(&number))
    }

    fn stream_for_answers(&self, kind: ClientKind, id: &RequestId) -> Option<StreamKey> {
        match kind {
            ClientKind::OneStream => self.streams.listening(),
            ClientKind::Session | ClientKind::Stateless => self.streams.of_request(id),
        }
    }

    /// On which stream a session's client is told something: that of the request which it belongs
    /// to, as far as that is known or can be the only one.
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
        // What tells of a change belongs to no request.
        let is_change =
            method.ends_with("list_changed") || method == "notifications/resources/updated";
        let listening = streams.listening();
        match streams.only_one() {
            Some(only) if !is_change => Some(only),
            _ => listening.or_else(|| streams.newest()),
        }
    }

    /// Tells a stateless client something about its request. What is about none is told to nobody:
    /// it could be another client's.
    fn tell_stateless(
        &mut self,
        method: &str,
        text: &str,
        line: Bytes,
        related: Option<&RequestId>,
    ) {
        let number = match related {
            // The stream that it came on says more than it does itself.
            Some(RequestId::Integer(number)) => Some(*number as u64),
            Some(_) => None,
            None => rewrite::subject(method, text, &self.tokens),
        };
        let Some(number) = number else {
            return;
        };
        let key = self.streams.of_request(&RequestId::Integer(number as i64));
        if let (Some(key), Some(own)) = (key, self.own.get(&number)) {
            let line = rewrite::notification(text, number, &self.tokens, own).unwrap_or(line);
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

    // What is held for a session whose server hangs is what the others' large messages wait for.
    #[tokio::test(start_paused = true)]
    async fn a_line_with_a_share_waits_a_minute_for_a_server_that_hangs() {
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
        // A link takes so much, and then a line.
        let large = "x".repeat(16 * 1024 * 1024);
        assert_eq!(conversation.send(&large, share()).await, Ok(()));
        let start = Instant::now();
        assert_eq!(conversation.send("y", share()).await, Err(Unsent::Late));
        assert_eq!(start.elapsed(), HANDING_OVER);
        assert_eq!(memory.available_permits(), 1);
        // What takes nothing from others waits for as long as its client does.
        let sending = conversation.send("z", None);
        assert!(timeout(60 * HANDING_OVER, sending).await.is_err());
        conversation.close();
        assert_eq!(conversation.send("z", None).await, Err(Unsent::Over));
    }

    // What a server says with an HTTP error goes on as it is, and could be read as another answer.
    #[tokio::test]
    async fn while_a_call_is_held_a_client_reads_nothing_that_the_gate_has_not() {
        for kind in [ClientKind::Session, ClientKind::Stateless] {
            for is_holding in [false, true] {
                let (to_relay, _relay) = link_in();
                let (from_relay, _silent) = link_out();
                let sideband = Arc::new(Sideband::default());
                let given = Arc::clone(&sideband);
                let conversation =
                    Conversation::begin(kind, to_relay, from_relay, given, 1024, [0; 32]);
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

    // Else each request that a client gives up while the server hangs would leave something behind.
    #[tokio::test]
    async fn only_of_a_request_that_it_has_is_the_relay_told_that_it_is_given_up() {
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
            let mut told = Vec::with_capacity(4096);
            let _ = relay.try_read(&mut told);
            let told = String::from_utf8(told).unwrap();
            assert_eq!(told.contains("notifications/cancelled"), is_sent, "{told}");
            assert_eq!(told.is_empty(), !is_sent, "{told}");
        }
    }
}
