//! Connects a session to a server over HTTP+SSE of 2024-11-05: one stream carries all messages from the
//! server, and one URL accepts all messages to it.
//!
//! SPEC 2024-11-05, "HTTP with SSE".

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Response, StatusCode, Url};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::exchange::{answered_ids, mentions_session};
use super::http_server::{SendError, ServerSession};
use super::renewal::{FIRST_PAUSE, LONGEST_PAUSE, OTHER_REVISION};
use super::server_error::{Media, describe, shown_url};
use crate::http::shared::body::one_line;
use crate::http::shared::facts::Facts;
use crate::http::shared::lines::Lines;
use crate::http::shared::sse::{Decoder, Event};
use crate::mcp::frame::Frame;
use crate::mcp::json::raw_member;
use crate::mcp::message::{CALL, Line, RequestId, read_envelope};
use crate::transport::RESTART_HEARD;

/// How long the server has to open its stream, to start a new session, and to accept a message.
const TIME: Duration = Duration::from_secs(30);

/// How long to wait for the outcome of a message in flight once the stream has broken.
const OUTCOME_TIME: Duration = Duration::from_secs(5);

/// How long a probed server has to open its stream and announce its message URL.
const PROBE_TIME: Duration = Duration::from_secs(10);

/// A server that turned out to speak HTTP+SSE.
pub(super) struct OldServer {
    /// Its open stream.
    pub(super) stream: Stream,
    /// The client's `initialize`, which it has not seen.
    pub(super) line: String,
}

/// Passes messages both ways until the relay closes. If the stream breaks, opens another one and starts
/// a new session in it. `found` is a server whose stream is open already.
pub(super) async fn run(
    peer: Arc<ServerSession>,
    mut lines: Lines,
    found: Option<Box<OldServer>>,
) -> &'static str {
    let (opened, first) = match found.map(|found| *found) {
        Some(OldServer { stream, line }) => (Ok(stream), Some(line)),
        None => (Stream::open(&peer).await, None),
    };
    let mut stream = match opened {
        Ok(stream) => Some(stream),
        Err(OpenError { why, details }) => {
            tracing::error!("{details}");
            // Cannot fail: it is set only here.
            let _ = peer.end_reason.set(details);
            return why;
        }
    };
    let mut session = Session {
        peer,
        sent: BTreeSet::new(),
        decided_in: 0,
        initialize: None,
        unsent: first.into_iter().collect(),
    };
    loop {
        let end = match &mut stream {
            Some(stream) => session.relay(stream, &mut lines).await,
            // The stream could not be reopened. Tries again when there is a line to send.
            None => match session.next_line(&mut lines).await {
                Some(line) => {
                    session.unsent.push_back(line);
                    RelayEnd::Lost("the server cannot be reached".to_owned())
                }
                None => RelayEnd::Closed,
            },
        };
        let why = match end {
            RelayEnd::Closed => return "closed",
            RelayEnd::Permanent(why) => return why,
            RelayEnd::Lost(why) => why,
        };
        session.fail_sent_requests(&why).await;
        stream = match session.reopen(&why).await {
            Ok(again) => Some(again),
            Err(why) => {
                tracing::warn!("{why}");
                session.refuse_unsent(&why).await;
                None
            }
        };
    }
}

/// Why a stream is no longer read.
enum RelayEnd {
    /// The relay has closed.
    Closed,
    /// The stream broke, or the server has lost the session.
    Lost(String),
    /// Another stream would fail, too.
    Permanent(&'static str),
}

/// The outcome of sending a message to the server.
enum PostOutcome {
    Accepted,
    /// The server has certainly not accepted it. It no longer knows the session, or is not there.
    Lost {
        line: String,
        why: String,
    },
    /// The server refused it, or may have accepted it. It is not sent again in either case. `is_lost`
    /// says whether the session is lost.
    Failed {
        line: String,
        why: String,
        is_lost: bool,
    },
}

/// The relay's session, which may span several sessions on the server.
struct Session {
    peer: Arc<ServerSession>,
    /// Requests that the server may have accepted and has not answered.
    sent: BTreeSet<RequestId>,
    /// How many restarts the relay knows about.
    decided_in: u64,
    /// The client's `initialize`, until it is answered.
    initialize: Option<RequestId>,
    /// Lines that the server has certainly not accepted. At most two: one that was lost, and the next.
    unsent: VecDeque<String>,
}

impl Session {
    /// Passes messages both ways until the stream ends.
    async fn relay(&mut self, stream: &mut Stream, lines: &mut Lines) -> RelayEnd {
        let mut posts = JoinSet::new();
        loop {
            // Sends one message after the other, because the server may rely on their order.
            while posts.is_empty()
                && let Some(url) = &stream.endpoint
                && let Some(line) = self.unsent.pop_front()
            {
                // `None` if the call was returned to the gate. Then the next line is sent.
                if let Some(line) = self.prepare(line) {
                    posts.spawn(post(Arc::clone(&self.peer), url.clone(), line));
                }
            }
            let has_room = self.unsent.is_empty();
            tokio::select! {
                event = stream.next() => match event {
                    Ok(event) => if let Err(why) = self.handle_event(stream, &event).await {
                        return RelayEnd::Permanent(why);
                    },
                    Err(why) => {
                        // Waits for the outcome, because a message that was accepted is not sent again.
                        let outcome = timeout(OUTCOME_TIME, posts.join_next()).await;
                        if let Ok(Some(Ok(outcome))) = outcome {
                            self.handle_outcome(outcome).await;
                        }
                        return RelayEnd::Lost(why);
                    }
                },
                line = self.next_line(lines), if has_room => match line {
                    Some(line) => self.unsent.push_back(line),
                    None => return RelayEnd::Closed,
                },
                // Keeps reading the stream while a message is in flight, because the server may want
                // an answer before it accepts the message.
                Some(outcome) = posts.join_next(), if !posts.is_empty() => {
                    if let Ok(outcome) = outcome
                        && let Some(lost) = self.handle_outcome(outcome).await
                    {
                        return RelayEnd::Lost(lost);
                    }
                }
            }
        }
    }

    /// Handles the outcome of a message. Returns why the session is lost, if it is.
    async fn handle_outcome(&mut self, outcome: PostOutcome) -> Option<String> {
        match outcome {
            PostOutcome::Accepted => None,
            PostOutcome::Lost { line, why } => {
                self.forget(&line);
                self.unsent.push_front(line);
                Some(why)
            }
            PostOutcome::Failed { line, why, is_lost } => {
                tracing::warn!("{why}");
                if let Some(id) = self.forget(&line) {
                    self.peer.fail(&id, why.clone()).await;
                }
                is_lost.then_some(why)
            }
        }
    }

    /// Returns the relay's next line; `None` once the relay has closed. May be cancelled.
    async fn next_line(&mut self, lines: &mut Lines) -> Option<String> {
        loop {
            let frame = lines.next().await?;
            if let Frame::Line(range) = frame
                && let Ok(line) = std::str::from_utf8(lines.line(&range))
            {
                if line != RESTART_HEARD {
                    return Some(line.to_owned());
                }
                self.decided_in += 1;
            }
        }
    }

    /// Prepares a line for sending, and remembers its request. Returns a call to the gate instead if it
    /// was allowed in a session that is lost.
    fn prepare(&mut self, line: String) -> Option<String> {
        let Ok(Line::Message(message)) = read_envelope(&line) else {
            return Some(line);
        };
        let facts = Facts::of(&message);
        let method = facts.method.as_deref().unwrap_or_default();
        if let Some(id) = facts.id.clone() {
            if method == CALL && self.decided_in != self.peer.session_number() {
                let why = "the server restarted after the call was allowed".to_owned();
                self.peer.return_call(&id, line, why, true);
                return None;
            }
            if method == "initialize" {
                self.peer.handshake(|handshake| handshake.initialize(&line));
                self.initialize = Some(id.clone());
            }
            self.sent.insert(id);
        } else if method == "notifications/initialized" {
            self.peer
                .handshake(|handshake| handshake.initialized(&line));
        }
        Some(line)
    }

    /// Forgets the request of a line that was not accepted. Returns its id, if it waits for an answer.
    fn forget(&mut self, line: &str) -> Option<RequestId> {
        let id = raw_member(line, &["id"]).and_then(RequestId::from_json)?;
        self.sent.take(&id)
    }

    /// Returns the id of the request that an answer is for. Some servers turn a number into text, or the
    /// other way round.
    fn request_of(&self, id: RequestId) -> RequestId {
        match id.twin() {
            Some(twin) if !self.sent.contains(&id) && self.sent.contains(&twin) => twin,
            Some(_) | None => id,
        }
    }

    /// Handles an event of the stream.
    ///
    /// # Errors
    /// Why the session cannot continue.
    async fn handle_event(
        &mut self,
        stream: &mut Stream,
        event: &Event,
    ) -> Result<(), &'static str> {
        match &*event.name {
            "endpoint" if stream.endpoint.is_none() => {
                stream.endpoint = resolve(&self.peer.url(), event);
                match stream.endpoint {
                    Some(_) => Ok(()),
                    None => {
                        tracing::error!("{}", other_origin(&self.peer.url(), event));
                        Err(OTHER_ORIGIN)
                    }
                }
            }
            "message" => {
                if let Some(line) = message_of(event) {
                    for id in answered_ids(&line) {
                        let id = self.request_of(id);
                        self.sent.remove(&id);
                        if self.initialize.as_ref() == Some(&id) {
                            self.initialize = None;
                            self.peer.session_started(None, &line);
                        }
                        self.peer.handshake(|handshake| {
                            handshake.answered();
                            handshake.accepted(&id);
                        });
                    }
                    self.peer.deliver(&line).await;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Fails the requests that were sent in the lost session. The server may have processed them, so
    /// they are never sent again.
    async fn fail_sent_requests(&mut self, why: &str) {
        for id in std::mem::take(&mut self.sent) {
            let why =
                format!("{why}; the request may have been processed, so it is not sent again");
            self.peer.fail(&id, why).await;
        }
    }

    /// Fails the unsent requests, or returns them to the gate if they are calls, because the server cannot
    /// be reached.
    async fn refuse_unsent(&mut self, why: &str) {
        while let Some(line) = self.unsent.pop_front() {
            let Ok(Line::Message(message)) = read_envelope(&line) else {
                continue;
            };
            let facts = Facts::of(&message);
            let Some(id) = facts.id.clone() else {
                continue;
            };
            match facts.method.as_deref() {
                Some(CALL) => self.peer.return_call(&id, line, why.to_owned(), false),
                Some(_) => self.peer.fail(&id, why.to_owned()).await,
                None => {}
            }
        }
    }

    /// Opens another stream, and repeats the client's handshake in it. Waits for the server to come back,
    /// for 15 seconds at most.
    async fn reopen(&mut self, why: &str) -> Result<Stream, String> {
        let deadline = Instant::now() + self.peer.patience();
        let mut pause = FIRST_PAUSE;
        sleep(self.peer.handshake(|handshake| handshake.pause_due())).await;
        loop {
            let failed = match timeout(TIME, self.start_session(why)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(failed)) => failed,
                Err(_) => "the server did not answer in time".to_owned(),
            };
            if Instant::now() + pause >= deadline {
                return Err(format!(
                    "{why}, and no new session could be started: {failed}"
                ));
            }
            sleep(pause).await;
            pause = LONGEST_PAUSE.min(2 * pause);
        }
    }

    async fn start_session(&mut self, why: &str) -> Result<Stream, String> {
        let peer = Arc::clone(&self.peer);
        let mut stream = Stream::open(&peer).await.map_err(|error| error.details)?;
        while stream.endpoint.is_none() {
            let event = stream.next().await?;
            self.handle_event(&mut stream, &event).await?;
        }
        let Some(url) = stream.endpoint.clone() else {
            return Err(OTHER_ORIGIN.to_owned());
        };
        let (initialize, initialized) = peer.handshake(|handshake| handshake.lines());
        let Some(initialize) = initialize else {
            peer.restarted(why, None);
            return Ok(stream);
        };
        let id = raw_member(&initialize, &["id"]).and_then(RequestId::from_json);
        accepted(post(Arc::clone(&peer), url.clone(), initialize).await)?;
        let answer = loop {
            let event = stream.next().await?;
            match message_of(&event) {
                Some(line) if answers_one(&line, id.as_ref()) => break line,
                Some(line) => peer.deliver(&line).await,
                None => {}
            }
        };
        if !peer.is_version(raw_member(&answer, &["result", "protocolVersion"])) {
            return Err(OTHER_REVISION.to_owned());
        }
        if let Some(initialized) = initialized {
            accepted(post(Arc::clone(&peer), url, initialized).await)?;
        }
        peer.restarted(why, Some((None, &answer)));
        peer.announce_changes().await;
        Ok(stream)
    }
}

/// Completes a sentence that begins with "the server".
const OTHER_ORIGIN: &str = "wants its messages at a URL of another origin";

fn accepted(outcome: PostOutcome) -> Result<(), String> {
    match outcome {
        PostOutcome::Accepted => Ok(()),
        PostOutcome::Lost { why, .. } | PostOutcome::Failed { why, .. } => Err(why),
    }
}

/// Returns true if a line answers this request. The id may be text instead of a number.
fn answers_one(line: &str, id: Option<&RequestId>) -> bool {
    let mut found = answered_ids(line).into_iter();
    found.any(|found| Some(&found) == id || found.twin().as_ref() == id && id.is_some())
}

fn message_of(event: &Event) -> Option<String> {
    if event.name != "message" {
        return None;
    }
    match one_line(&event.data) {
        Ok(line) => Some(line).filter(|line| !line.is_empty()),
        Err(why) => {
            tracing::warn!("the server sent an event that is not a message: {why}");
            None
        }
    }
}

/// The server's event stream.
pub(super) struct Stream {
    response: Response,
    decoder: Decoder,
    events: std::vec::IntoIter<Event>,
    /// The URL for messages to the server, once it is known.
    endpoint: Option<Url>,
}

/// Why there is no stream.
struct OpenError {
    /// Completes a sentence that begins with "the server".
    why: &'static str,
    /// A whole sentence, with what the server answered.
    details: String,
}

impl Stream {
    async fn open(peer: &ServerSession) -> Result<Stream, OpenError> {
        let response = match peer.send(peer.get(peer.url()), Some(TIME)).await {
            Ok(response) if is_stream(&response) => response,
            Ok(response) => {
                return Err(OpenError {
                    why: "did not open its stream",
                    details: peer.named(describe(peer, response).await),
                });
            }
            Err(error) => {
                return Err(OpenError {
                    why: match error {
                        SendError::Unreachable(_) => "cannot be reached",
                        SendError::Timeout => "did not open its stream in time",
                        SendError::NoToken(_) => "requires a login",
                    },
                    details: error.why(peer),
                });
            }
        };
        Ok(Stream {
            response,
            decoder: Decoder::new(peer.max_message()),
            events: Vec::new().into_iter(),
            endpoint: None,
        })
    }

    /// Tries to open the stream of a server that accepts no messages at its URL. The stream must begin
    /// with the URL for messages.
    ///
    /// # Errors
    /// What the server did instead.
    ///
    /// SPEC 2025-11-25, basic/transports, "Backwards Compatibility": "Issue a GET request to the server
    /// URL, expecting that this will open an SSE stream and return an `endpoint` event as the first
    /// event."
    pub(super) async fn probe(peer: &ServerSession) -> Result<Stream, String> {
        let probe = async {
            let mut stream = Stream::open(peer).await.map_err(|error| error.details)?;
            let event = stream.next().await?;
            if event.name != "endpoint" {
                return Err(
                    "the server's stream does not begin with an `endpoint` event".to_owned(),
                );
            }
            stream.endpoint = resolve(&peer.url(), &event);
            match stream.endpoint {
                Some(_) => Ok(stream),
                None => Err(other_origin(&peer.url(), &event)),
            }
        };
        match timeout(PROBE_TIME, probe).await {
            Ok(probed) => probed,
            Err(_) => Err("the server did not open a stream in time".to_owned()),
        }
    }

    /// Returns the next event. An error says why the stream has ended. May be cancelled.
    async fn next(&mut self) -> Result<Event, String> {
        loop {
            if let Some(event) = self.events.next() {
                return Ok(event);
            }
            let Ok(Some(chunk)) = self.response.chunk().await else {
                return Err("the server closed its stream".to_owned());
            };
            let mut found = Vec::new();
            if self.decoder.push(&chunk, &mut found).is_err() {
                return Err("the server's message is larger than --max-message-size".to_owned());
            }
            self.events = found.into_iter();
        }
    }
}

/// Sends a message to the server.
async fn post(peer: Arc<ServerSession>, url: Url, line: String) -> PostOutcome {
    let request = peer.post(url, line.clone());
    let response = match peer.send(request, Some(TIME)).await {
        Ok(response) if response.status().is_success() => return PostOutcome::Accepted,
        Ok(response) => response,
        Err(error) if error.is_unconnected() => {
            let why = error.why(&peer);
            return PostOutcome::Lost { line, why };
        }
        Err(error) => {
            return PostOutcome::Failed {
                why: error.why(&peer),
                line,
                is_lost: false,
            };
        }
    };
    let status = response.status();
    let why = describe(&peer, response).await;
    // Checked before the URL is added, which may contain the word "session", too.
    let is_lost = status == StatusCode::BAD_REQUEST && mentions_session(why.as_bytes());
    let why = peer.named(why);
    match status {
        StatusCode::NOT_FOUND => PostOutcome::Lost { line, why },
        _ => PostOutcome::Failed { is_lost, line, why },
    }
}

/// Returns true if the response is an event stream.
fn is_stream(response: &Response) -> bool {
    response.status().is_success() && Media::of(response.headers()) == Media::Events
}

/// Returns the error for a message URL that is not on the server itself.
fn other_origin(base: &Url, event: &Event) -> String {
    let text = String::from_utf8_lossy(&event.data);
    let named = match base.join(text.trim()) {
        Ok(url) => shown_url(&url, &[]),
        Err(_) => "an invalid URL".to_owned(),
    };
    format!(
        "the server wants its messages at {named}, which has another origin than the `url` in the \
         config, so none are sent there; if it is the same server, use that host in `url`"
    )
}

/// Returns the URL for messages, if it is on the server itself.
fn resolve(base: &Url, event: &Event) -> Option<Url> {
    let text = std::str::from_utf8(&event.data).ok()?;
    let mut url = base.join(text.trim()).ok()?;
    if url.origin() != base.origin() {
        return None;
    }
    // The operator's credentials are sent as a header.
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_sent_only_to_the_server_itself() {
        let base = Url::parse("https://a.example/x/sse").unwrap();
        let resolved = |text: &str| {
            let event = Event {
                data: text.into(),
                ..Event::default()
            };
            resolve(&base, &event).map(|url| url.to_string())
        };
        assert_eq!(resolved("/m?s=1").unwrap(), "https://a.example/m?s=1");
        assert_eq!(resolved("m").unwrap(), "https://a.example/x/m");
        assert_eq!(
            resolved("https://mallory:x@a.example/m").unwrap(),
            "https://a.example/m"
        );
        for text in [
            "https://b.example/m",
            "//b.example/m",
            "http://a.example/m",
            "file:///m",
        ] {
            assert_eq!(resolved(text), None, "{text}");
        }
    }
}
