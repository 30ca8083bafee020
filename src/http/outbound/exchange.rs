//! One message to a server behind HTTP, and everything that comes back for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode};
use tokio::time::{sleep, timeout};

use super::http_server::ServerSession;
use super::server_error::{Head, Media, in_words};
use super::sse_server::{OldServer, Stream};
use crate::http::shared::body::one_line;
use crate::http::shared::facts::{LAST_EVENT, METHOD, SESSION};
use crate::http::shared::sse::Decoder;
use crate::mcp::error::error_response;
use crate::mcp::json::raw_member;
use crate::mcp::message::{CALL, Line, RequestId, peek_result_id, read_envelope, with_id};
use crate::sys::with_causes;
use crate::transport::{Note, Reply};

/// How long the server has to accept what it need not answer.
const NOTIFY_TIME: Duration = Duration::from_secs(30);
/// The largest body of a response that is an error.
const MAX_ERROR: usize = 64 * 1024;
/// How often a broken stream is taken up again without anything having come of it.
const MAX_RETRIES: u32 = 5;
/// How long is waited before that, unless the server says otherwise.
const RETRY: Duration = Duration::from_secs(1);
/// What the server may say, at least and at most.
const RETRY_BOUNDS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));
/// Headers without which a client cannot understand an error.
const TOLD: [&str; 3] = ["content-type", "www-authenticate", "retry-after"];

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) id: RequestId,
    pub(super) method: String,
    pub(super) is_stateless: bool,
    /// The session that was in use when the request was let through.
    pub(super) decided_in: u64,
}

impl Asked {
    fn begins(&self) -> bool {
        self.method == "initialize" && !self.is_stateless
    }

    fn is_call(&self) -> bool {
        self.method == CALL
    }
}

/// What came of a message.
pub(super) enum Outcome {
    /// It is done with; of a request, its id.
    Done(Option<RequestId>),
    /// It is an `initialize`, and is to be sent to a server of 2024-11-05.
    Old(Box<OldServer>),
}

/// What came of sending a request once.
enum Sent {
    /// It is done with.
    Done,
    /// The server has certainly not taken it, and may take it in another session. Why not.
    Lost(String),
    /// The server speaks HTTP+SSE.
    Old(Box<OldServer>),
}

/// Sends a request, as this `line` and with `headers` of its own, and hands everything that comes
/// back to the relay, its answer last. Returns its id once it is done with.
///
/// What the server has certainly not taken is sent again in a new session; a tool call goes back to
/// the gate instead. What the server may have taken is never sent again.
pub(super) async fn exchange(
    peer: Arc<ServerSession>,
    asked: Asked,
    line: String,
    headers: HeaderMap,
) -> Outcome {
    let line = Bytes::from(line);
    let mut is_again = false;
    loop {
        peer.wait_for_renewal().await;
        let number = peer.session_number();
        if asked.is_call() && asked.decided_in != number {
            // INVARIANT 1: what let it through holds for the tools of a session that is lost.
            let why = "the server restarted after the call was let through".to_owned();
            peer.hand_back(&asked.id, text_of(&line), why, true);
            break;
        }
        let why = match try_to_send(&peer, &asked, &line, &headers, number).await {
            Sent::Done => break,
            Sent::Lost(why) => why,
            Sent::Old(server) => return Outcome::Old(server),
        };
        let renewed = peer.renew(number, &why).await;
        if asked.is_call() {
            let is_back = renewed.is_ok();
            let why = renewed.err().unwrap_or(why);
            peer.hand_back(&asked.id, text_of(&line), why, is_back);
            break;
        }
        if let Err(why) = renewed {
            tracing::warn!("{why}");
            peer.fail(&asked.id, why).await;
            break;
        }
        if std::mem::replace(&mut is_again, true) {
            peer.fail(&asked.id, why).await;
            break;
        }
    }
    Outcome::Done(Some(asked.id))
}

/// Sends a request once.
async fn try_to_send(
    peer: &ServerSession,
    asked: &Asked,
    line: &Bytes,
    headers: &HeaderMap,
    number: u64,
) -> Sent {
    let request = peer.post(peer.url(), line.clone());
    let in_session = !asked.is_stateless && !asked.begins();
    let mut request = match in_session {
        true => peer.with_session(request),
        false => request,
    };
    request.headers_mut().extend(headers.clone());
    let had_session = in_session && peer.has_session();
    let response = match peer.send(request, None).await {
        Ok(response) => response,
        Err(error) => {
            let why = error.why(peer);
            if error.is_unconnected() && !asked.begins() {
                return Sent::Lost(why);
            }
            tracing::warn!("{why}");
            peer.fail(&asked.id, why).await;
            return Sent::Done;
        }
    };
    let status = response.status();
    if !status.is_success() {
        // SPEC 2025-11-25, "Session Management": "When a client receives HTTP 404 in response to a
        // request containing an `MCP-Session-Id`, it MUST start a new session".
        let refusal = Refusal::read(response).await;
        if had_session && status == StatusCode::NOT_FOUND && !is_about(&refusal.body, &asked.id) {
            return Sent::Lost(refusal.in_words(peer, None).await);
        }
        // Before the client is told: what it sends next belongs to the new session.
        if had_session
            && status == StatusCode::BAD_REQUEST
            && peer.is_session_lost(&refusal.body).await
        {
            let why = refusal.in_words(peer, None).await;
            if let Err(why) = peer.renew(number, &why).await {
                tracing::warn!("{why}");
            }
        }
        let mut tried = None;
        if asked.begins() && peer.may_be_old() && refusal.may_be_of_an_old_server(&asked.id) {
            match Stream::probe(peer).await {
                Ok(stream) => {
                    let line = text_of(line);
                    return Sent::Old(Box::new(OldServer { stream, line }));
                }
                Err(why) => tried = Some(why),
            }
        }
        refusal.tell(peer, asked, tried).await;
        return Sent::Done;
    }
    if in_session {
        peer.beginning(|beginning| {
            beginning.answered();
            beginning.taken(&asked.id);
        });
    }
    let session = response.headers().get(&SESSION).cloned();
    match Media::of(response.headers()) {
        Media::Json => match body(response, peer.max_message()).await {
            Ok(body) => told(peer, asked, &body, session.as_ref()).await,
            Err(why) => peer.fail(&asked.id, why).await,
        },
        Media::Events => events(peer, asked, response, session.as_ref()).await,
        Media::Other => {
            let why = peer.named(in_words(peer, response).await);
            peer.fail(&asked.id, why).await;
        }
    }
    Sent::Done
}

fn text_of(line: &Bytes) -> String {
    String::from_utf8_lossy(line).into_owned()
}

/// Sends what has no answer, and waits until the server has taken it. What it has certainly not
/// taken is sent again, once, in a new session.
pub(super) async fn notify(
    peer: &ServerSession,
    line: String,
    headers: HeaderMap,
    is_response: bool,
) {
    let is_stateless = headers.contains_key(&METHOD) && !is_response;
    let line = Bytes::from(line);
    for is_again in [false, true] {
        let number = peer.session_number();
        let request = peer.post(peer.url(), line.clone());
        let mut request = match is_stateless {
            true => request,
            false => peer.with_session(request),
        };
        request.headers_mut().extend(headers.clone());
        let why = match timeout(NOTIFY_TIME, peer.send(request, None)).await {
            Ok(Ok(response)) if response.status().is_success() => return,
            Ok(Ok(response)) => {
                let is_lost = response.status() == StatusCode::NOT_FOUND
                    && !is_stateless
                    && peer.has_session();
                let why = in_words(peer, response).await;
                if !is_lost {
                    return tracing::warn!("a message that needs no answer was not taken: {why}");
                }
                why
            }
            Ok(Err(error)) if error.is_unconnected() => error.why(peer),
            Ok(Err(error)) => return tracing::warn!("{}", error.why(peer)),
            Err(_) => return tracing::warn!("the server did not take a message in time"),
        };
        // What answers a request of the server's means nothing to another session of it.
        let is_over = is_again || is_response;
        match peer.renew(number, &why).await {
            Ok(()) if is_over => return,
            Ok(()) => {}
            Err(why) => return tracing::warn!("{why}"),
        }
    }
}

/// Reads what the server says of its own accord, session after session.
pub(super) async fn listen(peer: Arc<ServerSession>) {
    loop {
        let number = peer.session_number();
        listen_in(&peer, number).await;
        peer.next_session(number).await;
    }
}

/// Reads what the server says of its own accord in one session, for as long as it lets us.
async fn listen_in(peer: &ServerSession, number: u64) {
    let mut last = Last::default();
    let mut failures = 0;
    while failures < MAX_RETRIES && peer.session_number() == number {
        let mut request = peer.get(peer.url());
        if let Some(id) = &last.id {
            request.headers_mut().insert(&LAST_EVENT, id.clone());
        }
        let (response, token) = peer.send_once(request).await;
        match response {
            // Another page stands there; it will not become a stream.
            Ok(response)
                if response.status().is_success()
                    && Media::of(response.headers()) != Media::Events =>
            {
                return;
            }
            Ok(mut response) if response.status().is_success() => {
                let mut decoder = Decoder::new(peer.max_message());
                let mut found = Vec::new();
                while let Ok(Some(chunk)) = response.chunk().await {
                    if decoder.push(&chunk, &mut found).is_err() {
                        tracing::warn!(
                            "the server's message is larger than --max-message-size; it was dropped"
                        );
                        break;
                    }
                    for event in found.drain(..) {
                        failures = 0;
                        if let Some(line) = last.note(event) {
                            peer.tell(&line).await;
                        }
                    }
                }
            }
            Ok(response)
                if peer.has_session()
                    && matches!(
                        response.status(),
                        StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST
                    ) =>
            {
                let refusal = Refusal::read(response).await;
                let is_lost =
                    refusal.status == StatusCode::NOT_FOUND || mentions_session(&refusal.body);
                let why = refusal.in_words(peer, None).await;
                if is_lost && let Err(why) = peer.renew(number, &why).await {
                    tracing::warn!("{why}");
                }
                return;
            }
            Ok(response) if response.status().is_client_error() => {
                let is_login_due = response.status() == StatusCode::UNAUTHORIZED;
                match peer.login().filter(|_| is_login_due) {
                    // Nobody is asked to log in for what nobody has asked for.
                    Some(login) => login.replaced(token.as_ref()).await,
                    // SPEC: 405 says that there is no such stream; anything else will not get
                    // better.
                    None => return,
                }
            }
            Ok(_) | Err(_) => {}
        }
        failures += 1;
        sleep(last.retry).await;
    }
}

/// Where a stream of events is, should it break.
#[derive(Debug)]
struct Last {
    /// What it is to be taken up behind.
    id: Option<HeaderValue>,
    retry: Duration,
}

impl Default for Last {
    fn default() -> Last {
        Last {
            id: None,
            retry: RETRY,
        }
    }
}

impl Last {
    /// Remembers an event and returns its message, if it has one that can be relayed.
    fn note(&mut self, event: crate::http::shared::sse::Event) -> Option<String> {
        // SPEC, HTML, server-sent events: an empty id takes the last one back.
        if let Some(id) = event.id {
            self.id = HeaderValue::try_from(id).ok().filter(|id| !id.is_empty());
        }
        if let Some(retry) = event.retry {
            let (least, most) = RETRY_BOUNDS;
            self.retry = Duration::from_millis(retry).clamp(least, most);
        }
        if event.data.is_empty() || event.name != "message" {
            return None;
        }
        match one_line(&event.data) {
            Ok(line) => Some(line),
            Err(why) => {
                tracing::warn!("the server sent an event that is no message: {why}");
                None
            }
        }
    }
}

/// Hands over the events of a response, and takes the stream up again where it breaks and the
/// revision allows it.
async fn events(
    peer: &ServerSession,
    asked: &Asked,
    first: Response,
    session: Option<&HeaderValue>,
) {
    let mut last = Last::default();
    let mut response = Some(first);
    let mut failures = 0;
    loop {
        let mut decoder = Decoder::new(peer.max_message());
        let mut found = Vec::new();
        while let Some(open) = &mut response
            && let Ok(Some(chunk)) = open.chunk().await
        {
            if decoder.push(&chunk, &mut found).is_err() {
                let why = "the server's message is larger than --max-message-size";
                return peer.fail(&asked.id, why.to_owned()).await;
            }
            for event in found.drain(..) {
                failures = 0;
                let Some(line) = last.note(event) else {
                    continue;
                };
                let is_answer = answers(&line, &asked.id);
                let line = match is_answer {
                    true => as_asked(line, &asked.id),
                    false => line,
                };
                one_told(peer, asked, &line, is_answer, session).await;
                if is_answer {
                    return;
                }
            }
        }
        response = None;
        failures += 1;
        // SPEC 2026-07-28: "Resumable SSE streams via `Last-Event-ID` are not supported."
        let (Some(id), false) = (&last.id, asked.is_stateless) else {
            break;
        };
        if failures > MAX_RETRIES {
            break;
        }
        if let Some(sideband) = &peer.sideband {
            // The client knows as well as we when it wants to come back.
            sideband.leave_break(asked.id.clone());
            let _ = timeout(last.retry, sideband.resumed(&asked.id)).await;
        } else {
            sleep(last.retry).await;
        }
        let mut again = peer.get(peer.url());
        again.headers_mut().insert(&LAST_EVENT, id.clone());
        match peer.send(again, None).await {
            Ok(again) if again.status().is_success() => response = Some(again),
            Ok(again) if again.status().is_client_error() => break,
            Ok(_) | Err(_) => {}
        }
    }
    let why = "the server ended its response before the answer";
    peer.fail(&asked.id, why.to_owned()).await;
}

/// Hands over the body of a response: one message, or a batch of them.
async fn told(peer: &ServerSession, asked: &Asked, body: &[u8], session: Option<&HeaderValue>) {
    match one_line(body) {
        Ok(line) if answers(&line, &asked.id) => {
            let line = as_asked(line, &asked.id);
            one_told(peer, asked, &line, true, session).await;
        }
        Ok(line) => {
            // A batch holds the answer, or nothing does.
            let answer = answer_in_batch(&line, &asked.id);
            let is_answered = answer.is_some();
            if let Some(answer) = answer {
                peer.learn(asked, answer);
            }
            if !line.is_empty() {
                one_told(peer, asked, &line, false, session).await;
            }
            if !is_answered {
                let why = "the server's response holds no answer to the request";
                peer.fail(&asked.id, why.to_owned()).await;
            }
        }
        Err(why) => {
            let why = format!("the server's answer cannot be read: {why}");
            peer.fail(&asked.id, why).await;
        }
    }
}

async fn one_told(
    peer: &ServerSession,
    asked: &Asked,
    line: &str,
    is_answer: bool,
    session: Option<&HeaderValue>,
) {
    if is_answer {
        match asked.method.as_str() {
            "initialize" if !asked.is_stateless => peer.begun(session, line),
            _ => peer.learn(asked, line),
        }
        return peer.tell(line).await;
    }
    peer.tell_with(line, || Note::About(asked.id.clone())).await;
}

/// The one of a batch that is the response to a request.
fn answer_in_batch<'a>(line: &'a str, id: &RequestId) -> Option<&'a str> {
    match read_envelope(line) {
        Ok(Line::Batch(entries)) => entries.into_iter().find(|entry| answers(entry, id)),
        Ok(Line::Blank | Line::Message(_)) | Err(_) => None,
    }
}

/// The requests that a line answers.
pub(super) fn answered_ids(line: &str) -> Vec<RequestId> {
    let of = |entry: &str| {
        if let Some(id) = peek_result_id(entry.as_bytes()) {
            return Some(id);
        }
        match raw_member(entry, &["method"]) {
            Some(_) => None,
            None => raw_member(entry, &["id"]).and_then(RequestId::from_json),
        }
    };
    match read_envelope(line) {
        Ok(Line::Batch(entries)) => entries.into_iter().filter_map(of).collect(),
        Ok(Line::Blank | Line::Message(_)) | Err(_) => of(line).into_iter().collect(),
    }
}

/// Whether a message is the response to a request, under its id or as a server writes it that makes
/// text of numbers.
fn answers(line: &str, id: &RequestId) -> bool {
    let is_it = |found: &RequestId| *found == *id || found.twin().as_ref() == Some(id);
    if let Some(found) = peek_result_id(line.as_bytes()) {
        return is_it(&found);
    }
    let has = |key| raw_member(line, &[key]).is_some();
    let found = raw_member(line, &["id"]).and_then(RequestId::from_json);
    found.is_some_and(|found| is_it(&found)) && !has("method")
}

/// The answer to a request under the request's own id. It came in response to the request, so no
/// other can be meant.
fn as_asked(line: String, id: &RequestId) -> String {
    let found = peek_result_id(line.as_bytes());
    let found = found.or_else(|| RequestId::from_json(raw_member(&line, &["id"])?));
    match found.filter(|found| found != id) {
        Some(_) => with_id(&line, id).unwrap_or(line),
        None => line,
    }
}

/// An HTTP error in place of an answer.
struct Refusal {
    head: Head,
    status: StatusCode,
    /// What of its headers a client has to know.
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Refusal {
    async fn read(response: Response) -> Refusal {
        let headers = TOLD
            .iter()
            .flat_map(|name| {
                let values = response.headers().get_all(*name).into_iter();
                values.map(|value| ((*name).to_owned(), value.as_bytes().to_owned()))
            })
            .collect();
        Refusal {
            head: Head::of(&response),
            status: response.status(),
            headers,
            body: body(response, MAX_ERROR).await.unwrap_or_default(),
        }
    }

    /// Whether a server that knows no streamable HTTP would say this to an `initialize`. One that
    /// answers the request itself knows it.
    ///
    /// SPEC 2025-11-25, basic/transports, "Backwards Compatibility": "If it fails with the following
    /// HTTP status codes "400 Bad Request", "404 Not Found" or "405 Method Not Allowed": Issue a GET
    /// request to the server URL". Servers of the time also say 406, 415 and others.
    fn may_be_of_an_old_server(&self, id: &RequestId) -> bool {
        let speaks_of_us = matches!(
            self.status,
            StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::PROXY_AUTHENTICATION_REQUIRED
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
        );
        self.status.is_client_error() && !speaks_of_us && self.answer(id).is_none()
    }

    /// The answer in the body, if it is one.
    fn answer(&self, id: &RequestId) -> Option<String> {
        let line = one_line(&self.body).ok()?;
        answers(&line, id).then(|| as_asked(line, id))
    }

    /// The client gets the error as it is, or in the words of JSON-RPC. `tried` is what came of
    /// trying HTTP+SSE.
    async fn tell(self, peer: &ServerSession, asked: &Asked, tried: Option<String>) {
        let line = self.answer(&asked.id);
        let line = match line {
            Some(line) => line,
            None => {
                let why = self.in_words(peer, tried.as_deref()).await;
                let code = crate::mcp::ErrorCode::INTERNAL_ERROR;
                error_response(Some(&asked.id), code, why)
            }
        };
        // Any other status means something between two that speak HTTP, of which we are one. A
        // redirect would lead the client around the gate.
        let is_error = self.status.is_client_error() || self.status.is_server_error();
        if !is_error {
            return peer.tell(&line).await;
        }
        let reply = || {
            let mut reply = Reply {
                status: self.status.as_u16(),
                headers: self.headers,
                body: self.body,
            };
            if tried.is_some() {
                reply.set_json(line.as_bytes());
            }
            Note::Reply(Box::new(reply))
        };
        peer.tell_with(&line, reply).await;
    }

    async fn in_words(&self, peer: &ServerSession, tried: Option<&str>) -> String {
        let mut why = self.head.with_advice(peer, &self.body).await;
        if let Some(tried) = tried {
            why = format!(
                "the server cannot be spoken to: over streamable HTTP, {why}; over HTTP+SSE, {tried}"
            );
        }
        peer.named(why)
    }
}

/// Whether an error is about the request itself, which the server has then read.
fn is_about(body: &[u8], id: &RequestId) -> bool {
    !mentions_session(body) && one_line(body).is_ok_and(|line| answers(&line, id))
}

/// Whether an error is about the session.
pub(super) fn mentions_session(body: &[u8]) -> bool {
    String::from_utf8_lossy(body)
        .to_ascii_lowercase()
        .contains("session")
}

/// The answer to a request out of its response, whichever way it comes.
pub(super) async fn answer_of(
    mut response: Response,
    id: &RequestId,
    max: usize,
) -> Result<String, String> {
    const NO_ANSWER: &str = "the server's response holds no answer to the request";
    match Media::of(response.headers()) {
        Media::Json => {
            let line = one_line(&body(response, max).await?).map_err(|error| error.to_string())?;
            match answers(&line, id) {
                true => Ok(line),
                false => Err(NO_ANSWER.to_owned()),
            }
        }
        Media::Events => {
            let mut decoder = Decoder::new(max);
            let mut found = Vec::new();
            let mut last = Last::default();
            while let Ok(Some(chunk)) = response.chunk().await {
                if decoder.push(&chunk, &mut found).is_err() {
                    break;
                }
                let mut lines = found.drain(..).filter_map(|event| last.note(event));
                if let Some(line) = lines.find(|line| answers(line, id)) {
                    return Ok(line);
                }
            }
            Err(NO_ANSWER.to_owned())
        }
        Media::Other => Err(NO_ANSWER.to_owned()),
    }
}

async fn body(mut response: Response, max: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > max => {
                return Err("the server's message is larger than --max-message-size".to_owned());
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => return Err(with_cause("the server's response broke off", &error)),
        }
    }
}

/// Why the server could not be spoken to, which is called `server` with what is no secret of its URL.
pub(super) fn unreachable(server: &str, error: &reqwest::Error) -> String {
    with_cause(&format!("the server {server} cannot be reached"), error)
}

fn with_cause(what: &str, error: &reqwest::Error) -> String {
    let mut text = what.to_owned();
    let mut cause = std::error::Error::source(error);
    if let Some(first) = cause.take() {
        text.push_str(": ");
        text.push_str(&with_causes(first));
    }
    text
}
