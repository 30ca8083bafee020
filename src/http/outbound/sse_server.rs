//! A server that speaks HTTP+SSE of 2024-11-05: one stream for all that it says, one URL for all
//! that it is told.
//!
//! SPEC 2024-11-05, "HTTP with SSE".

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Response, StatusCode, Url};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::exchange::{answered_ids, mentions_session};
use super::http_server::{ServerSession, Unsent};
use super::renewal::{FIRST_PAUSE, LONGEST_PAUSE, PATIENCE};
use super::server_error::{Media, in_words, shown_url};
use crate::http::shared::body::one_line;
use crate::http::shared::facts::Facts;
use crate::http::shared::lines::Lines;
use crate::http::shared::sse::{Decoder, Event};
use crate::mcp::frame::Frame;
use crate::mcp::json::raw_member;
use crate::mcp::message::{CALL, Line, RequestId, read_envelope};
use crate::transport::RESTART_HEARD;

/// How long the server has to name its other URL, to answer `initialize` once more, and to take a
/// message.
const TIME: Duration = Duration::from_secs(30);

/// How long what is on its way may take once the stream has broken.
const LAST_WORD: Duration = Duration::from_secs(5);

/// How long a server that may be an old one has to open its stream and say where messages go.
const PROBE_TIME: Duration = Duration::from_secs(10);

/// A server that turned out to speak HTTP+SSE.
pub(super) struct OldServer {
    /// What it says.
    pub(super) stream: Stream,
    /// The client's `initialize`, which it has not seen.
    pub(super) line: String,
}

/// Relays until the relay closes. A stream that breaks is followed by another one, in which a new
/// session begins. `found` is a server whose stream is open already.
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
        Err(NotOpen { why, words }) => {
            tracing::error!("{words}");
            // Set here only.
            let _ = peer.end_reason.set(words);
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
        let left = match &mut stream {
            Some(stream) => session.relay(stream, &mut lines).await,
            // It could not be opened again; somebody wants it now.
            None => match session.next_line(&mut lines).await {
                Some(line) => {
                    session.unsent.push_back(line);
                    Left::Lost("the server cannot be reached".to_owned())
                }
                None => Left::Closed,
            },
        };
        let why = match left {
            Left::Closed => return "closed",
            Left::ForGood(why) => return why,
            Left::Lost(why) => why,
        };
        session.fail_what_was_sent(&why).await;
        stream = match session.open_again(&why).await {
            Ok(again) => Some(again),
            Err(why) => {
                tracing::warn!("{why}");
                session.refuse_unsent(&why).await;
                None
            }
        };
    }
}

/// Why a stream is read no more.
enum Left {
    /// The relay has closed.
    Closed,
    /// It broke, or the server has lost the session.
    Lost(String),
    /// No other stream would be better.
    ForGood(&'static str),
}

/// What came of a message that was brought to the server.
enum PostOutcome {
    Taken,
    /// The server has certainly not taken it, and knows the session no more, or is not there.
    Lost {
        line: String,
        why: String,
    },
    /// It was not taken, or nobody knows. `is_lost` if the session is.
    Failed {
        line: String,
        why: String,
        is_lost: bool,
    },
}

/// The relay's session, however many there have been on the server.
struct Session {
    peer: Arc<ServerSession>,
    /// Requests that the server may have taken, and has not answered.
    sent: BTreeSet<RequestId>,
    /// How many restarts the relay has heard of.
    decided_in: u64,
    /// The client's `initialize`, until it is answered.
    initialize: Option<RequestId>,
    /// Lines that the server has certainly not taken, two at most: one that came back, and the next.
    unsent: VecDeque<String>,
}

impl Session {
    /// Relays both ways until the stream ends.
    async fn relay(&mut self, stream: &mut Stream, lines: &mut Lines) -> Left {
        let mut posts = JoinSet::new();
        loop {
            // One after the other: the server may rely on their order.
            while posts.is_empty()
                && let Some(url) = &stream.endpoint
                && let Some(line) = self.unsent.pop_front()
            {
                // A call that goes back makes room for the next line.
                if let Some(line) = self.note(line) {
                    posts.spawn(post(Arc::clone(&self.peer), url.clone(), line));
                }
            }
            let has_room = self.unsent.is_empty();
            tokio::select! {
                event = stream.next() => match event {
                    Ok(event) => if let Err(why) = self.hear(stream, &event).await {
                        return Left::ForGood(why);
                    },
                    Err(why) => {
                        // Whether the server has taken what is on its way decides what becomes of it.
                        let posted = timeout(LAST_WORD, posts.join_next()).await;
                        if let Ok(Some(Ok(posted))) = posted {
                            self.posted(posted).await;
                        }
                        return Left::Lost(why);
                    }
                },
                line = self.next_line(lines), if has_room => match line {
                    Some(line) => self.unsent.push_back(line),
                    None => return Left::Closed,
                },
                // While a message is on its way the stream is read on: the server may want an answer
                // before it takes the next one.
                Some(posted) = posts.join_next(), if !posts.is_empty() => {
                    if let Ok(posted) = posted
                        && let Some(lost) = self.posted(posted).await
                    {
                        return Left::Lost(lost);
                    }
                }
            }
        }
    }

    /// What came of a message. Returns why the session is lost, if it is.
    async fn posted(&mut self, posted: PostOutcome) -> Option<String> {
        match posted {
            PostOutcome::Taken => None,
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

    /// The next line of the relay's; `None` once it has closed. May be cancelled.
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

    /// Remembers what is about to be sent. A call that was let through in a session that is lost goes
    /// back instead.
    fn note(&mut self, line: String) -> Option<String> {
        let Ok(Line::Message(message)) = read_envelope(&line) else {
            return Some(line);
        };
        let facts = Facts::of(&message);
        let method = facts.method.as_deref().unwrap_or_default();
        if let Some(id) = facts.id.clone() {
            if method == CALL && self.decided_in != self.peer.session_number() {
                let why = "the server restarted after the call was let through".to_owned();
                self.peer.hand_back(&id, line, why, true);
                return None;
            }
            if method == "initialize" {
                self.peer.beginning(|beginning| beginning.initialize(&line));
                self.initialize = Some(id.clone());
            }
            self.sent.insert(id);
        } else if method == "notifications/initialized" {
            self.peer
                .beginning(|beginning| beginning.initialized(&line));
        }
        Some(line)
    }

    /// A line was not taken after all: returns its id, if it is a request that waits for an answer.
    fn forget(&mut self, line: &str) -> Option<RequestId> {
        let id = raw_member(line, &["id"]).and_then(RequestId::from_json)?;
        self.sent.take(&id)
    }

    /// The request that an answer is for: some servers make text of numbers, or numbers of text.
    fn meant_by(&self, id: RequestId) -> RequestId {
        match id.twin() {
            Some(twin) if !self.sent.contains(&id) && self.sent.contains(&twin) => twin,
            Some(_) | None => id,
        }
    }

    /// Hands over an event; an error is why the session cannot go on.
    async fn hear(&mut self, stream: &mut Stream, event: &Event) -> Result<(), &'static str> {
        match &*event.name {
            "endpoint" if stream.endpoint.is_none() => {
                stream.endpoint = resolve(&self.peer.url(), event);
                match stream.endpoint {
                    Some(_) => Ok(()),
                    None => {
                        tracing::error!("{}", elsewhere(&self.peer.url(), event));
                        Err(ELSEWHERE)
                    }
                }
            }
            "message" => {
                if let Some(line) = message_of(event) {
                    for id in answered_ids(&line) {
                        let id = self.meant_by(id);
                        self.sent.remove(&id);
                        if self.initialize.as_ref() == Some(&id) {
                            self.initialize = None;
                            self.peer.begun(None, &line);
                        }
                        self.peer.beginning(|beginning| {
                            beginning.answered();
                            beginning.taken(&id);
                        });
                    }
                    self.peer.tell(&line).await;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What the server was sent in the session that is lost may have been done, and is never sent
    /// again.
    async fn fail_what_was_sent(&mut self, why: &str) {
        for id in std::mem::take(&mut self.sent) {
            let why = format!("{why}; the request may have been processed, and is not sent again");
            self.peer.fail(&id, why).await;
        }
    }

    /// The server cannot be reached for what waits to be sent.
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
                Some(CALL) => self.peer.hand_back(&id, line, why.to_owned(), false),
                Some(_) => self.peer.fail(&id, why.to_owned()).await,
                None => {}
            }
        }
    }

    /// Opens another stream, in which a session like the one before begins. Waits for the server to
    /// come back, for 15 seconds at most.
    async fn open_again(&mut self, why: &str) -> Result<Stream, String> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        sleep(self.peer.beginning(|beginning| beginning.rest_due())).await;
        loop {
            let failed = match timeout(TIME, self.begin_again(why)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(failed)) => failed,
                Err(_) => "the server did not answer in time".to_owned(),
            };
            if Instant::now() + pause >= deadline {
                return Err(format!("{why}, and no new session could begin: {failed}"));
            }
            sleep(pause).await;
            pause = LONGEST_PAUSE.min(2 * pause);
        }
    }

    async fn begin_again(&mut self, why: &str) -> Result<Stream, String> {
        let peer = Arc::clone(&self.peer);
        let mut stream = Stream::open(&peer).await.map_err(|error| error.words)?;
        while stream.endpoint.is_none() {
            let event = stream.next().await?;
            self.hear(&mut stream, &event).await?;
        }
        let Some(url) = stream.endpoint.clone() else {
            return Err(ELSEWHERE.to_owned());
        };
        let (initialize, initialized) = peer.beginning(|beginning| beginning.lines());
        let Some(initialize) = initialize else {
            peer.restarted(why, None);
            return Ok(stream);
        };
        let id = raw_member(&initialize, &["id"]).and_then(RequestId::from_json);
        taken(post(Arc::clone(&peer), url.clone(), initialize).await)?;
        let answer = loop {
            let event = stream.next().await?;
            match message_of(&event) {
                Some(line) if answers_one(&line, id.as_ref()) => break line,
                Some(line) => peer.tell(&line).await,
                None => {}
            }
        };
        if !peer.is_version(raw_member(&answer, &["result", "protocolVersion"])) {
            return Err(
                "the server speaks another revision of MCP now; start approval-proxy again"
                    .to_owned(),
            );
        }
        if let Some(initialized) = initialized {
            taken(post(Arc::clone(&peer), url, initialized).await)?;
        }
        peer.restarted(why, Some((None, &answer)));
        peer.announce().await;
        Ok(stream)
    }
}

const ELSEWHERE: &str = "names a URL of another origin for its messages";

fn taken(posted: PostOutcome) -> Result<(), String> {
    match posted {
        PostOutcome::Taken => Ok(()),
        PostOutcome::Lost { why, .. } | PostOutcome::Failed { why, .. } => Err(why),
    }
}

/// Whether a line answers this request, under its id or the same as text.
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
            tracing::warn!("the server sent an event that is no message: {why}");
            None
        }
    }
}

/// What the server says.
pub(super) struct Stream {
    response: Response,
    decoder: Decoder,
    events: std::vec::IntoIter<Event>,
    /// Where it wants its messages.
    endpoint: Option<Url>,
}

/// Why there is no stream.
struct NotOpen {
    /// As the session's end.
    why: &'static str,
    /// In the server's words.
    words: String,
}

impl Stream {
    async fn open(peer: &ServerSession) -> Result<Stream, NotOpen> {
        let response = match peer.send(peer.get(peer.url()), Some(TIME)).await {
            Ok(response) if is_stream(&response) => response,
            Ok(response) => {
                return Err(NotOpen {
                    why: "did not open its stream",
                    words: peer.named(in_words(peer, response).await),
                });
            }
            Err(error) => {
                return Err(NotOpen {
                    why: match error {
                        Unsent::Unreachable(_) => "cannot be reached",
                        Unsent::Late => "did not open its stream in time",
                        Unsent::NoToken(_) => "wants a login",
                    },
                    words: error.why(peer),
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

    /// Opens the stream of a server that takes no message at its URL, if it has one there that says
    /// where messages go. An error says what came instead.
    ///
    /// SPEC 2025-11-25, basic/transports, "Backwards Compatibility": "Issue a GET request to the server
    /// URL, expecting that this will open an SSE stream and return an `endpoint` event as the first
    /// event."
    pub(super) async fn probe(peer: &ServerSession) -> Result<Stream, String> {
        let looked = async {
            let mut stream = Stream::open(peer).await.map_err(|error| error.words)?;
            let event = stream.next().await?;
            if event.name != "endpoint" {
                return Err(
                    "the server's stream does not begin with an `endpoint` event".to_owned(),
                );
            }
            stream.endpoint = resolve(&peer.url(), &event);
            match stream.endpoint {
                Some(_) => Ok(stream),
                None => Err(elsewhere(&peer.url(), &event)),
            }
        };
        match timeout(PROBE_TIME, looked).await {
            Ok(looked) => looked,
            Err(_) => Err("the server opened no stream in time".to_owned()),
        }
    }

    /// The next event; an error says why there is none any more. May be cancelled.
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

/// Brings a message to the server.
async fn post(peer: Arc<ServerSession>, url: Url, line: String) -> PostOutcome {
    let request = peer.post(url, line.clone());
    let response = match peer.send(request, Some(TIME)).await {
        Ok(response) if response.status().is_success() => return PostOutcome::Taken,
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
    let why = in_words(&peer, response).await;
    // The URL, which is no word of the server's, is added afterwards.
    let is_lost = status == StatusCode::BAD_REQUEST && mentions_session(why.as_bytes());
    let why = peer.named(why);
    match status {
        StatusCode::NOT_FOUND => PostOutcome::Lost { line, why },
        _ => PostOutcome::Failed { is_lost, line, why },
    }
}

/// Whether the response is a stream of events.
fn is_stream(response: &Response) -> bool {
    response.status().is_success() && Media::of(response.headers()) == Media::Events
}

/// Says that messages would go to another server.
fn elsewhere(base: &Url, event: &Event) -> String {
    let text = String::from_utf8_lossy(&event.data);
    let named = match base.join(text.trim()) {
        Ok(url) => shown_url(&url, &[]),
        Err(_) => "what is no URL".to_owned(),
    };
    format!(
        "the server wants its messages at {named}, which is of another origin than the `url` in the \
         config, and gets none there; if it is the same server, write the `url` with that host"
    )
}

/// The URL for messages: on the server itself, nowhere else.
fn resolve(base: &Url, event: &Event) -> Option<Url> {
    let text = std::str::from_utf8(&event.data).ok()?;
    let mut url = base.join(text.trim()).ok()?;
    if url.origin() != base.origin() {
        return None;
    }
    // The credentials are the operator's, and go as a header.
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_go_to_the_server_itself_and_nowhere_else() {
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
