//! Sends one message to a server over streamable HTTP, and delivers everything that comes back for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode};
use tokio::time::{sleep, timeout};

use super::http_server::ServerSession;
use super::server_error::{Head, Media, describe};
use super::sse_server::{OldServer, Stream};
use crate::http::shared::body::one_line;
use crate::http::shared::facts::{LAST_EVENT, METHOD, SESSION};
use crate::http::shared::sse::Decoder;
use crate::mcp::error::error_response;
use crate::mcp::json::raw_member;
use crate::mcp::message::{CALL, Line, RequestId, peek_result_id, read_envelope, with_id};
use crate::sys::with_causes;
use crate::transport::{Note, Reply};

/// How long the server has to accept a notification or response.
const NOTIFY_TIME: Duration = Duration::from_secs(30);
/// The largest body of an error response.
const MAX_ERROR: usize = 64 * 1024;
/// How many times in a row a stream is resumed without getting an event.
const MAX_RETRIES: u32 = 5;
/// How long to wait before each retry, unless the server says otherwise.
const RETRY: Duration = Duration::from_secs(1);
/// The shortest and the longest wait that the server may set.
const RETRY_BOUNDS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));
/// The headers that a client needs to interpret an error.
const ERROR_HEADERS: [&str; 3] = ["content-type", "www-authenticate", "retry-after"];

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct PendingRequest {
    pub(super) id: RequestId,
    pub(super) method: String,
    pub(super) is_stateless: bool,
    /// The number of the session in which the gate decided about the request.
    pub(super) decided_in: u64,
}

impl PendingRequest {
    fn is_initialize(&self) -> bool {
        self.method == "initialize" && !self.is_stateless
    }

    fn is_call(&self) -> bool {
        self.method == CALL
    }
}

/// The outcome of a message.
pub(super) enum Outcome {
    /// It is finished. Has the id if it was a request.
    Done(Option<RequestId>),
    /// It is an `initialize` for a server of 2024-11-05.
    Old(Box<OldServer>),
}

/// The outcome of sending a request once.
enum Sent {
    /// It is finished.
    Done,
    /// The server has certainly not accepted it, for this reason. Another session may accept it.
    Lost(String),
    /// The server speaks HTTP+SSE.
    Old(Box<OldServer>),
}

/// Sends a request with its own `headers`, and delivers everything that comes back to the relay, the
/// answer last. Returns the request's id when it is finished.
///
/// If the server has certainly not accepted the request, sends it again in a new session, or returns it
/// to the gate if it is a tool call. Never sends a request again that the server may have accepted.
pub(super) async fn exchange(
    peer: Arc<ServerSession>,
    pending: PendingRequest,
    line: String,
    headers: HeaderMap,
) -> Outcome {
    let line = Bytes::from(line);
    let mut is_again = false;
    loop {
        peer.wait_for_renewal().await;
        let number = peer.session_number();
        if pending.is_call() && pending.decided_in != number {
            // INVARIANT 1: the decision was made for the tools of a session that is lost.
            let why = "the server restarted after the call was allowed".to_owned();
            peer.return_call(&pending.id, text_of(&line), why, true);
            break;
        }
        let why = match try_to_send(&peer, &pending, &line, &headers, number).await {
            Sent::Done => break,
            Sent::Lost(why) => why,
            Sent::Old(server) => return Outcome::Old(server),
        };
        let renewed = peer.renew(number, &why).await;
        if pending.is_call() {
            let is_reachable = renewed.is_ok();
            let why = renewed.err().unwrap_or(why);
            peer.return_call(&pending.id, text_of(&line), why, is_reachable);
            break;
        }
        if let Err(why) = renewed {
            tracing::warn!("{why}");
            peer.fail(&pending.id, why).await;
            break;
        }
        if std::mem::replace(&mut is_again, true) {
            peer.fail(&pending.id, why).await;
            break;
        }
    }
    Outcome::Done(Some(pending.id))
}

/// Sends a request once.
async fn try_to_send(
    peer: &ServerSession,
    pending: &PendingRequest,
    line: &Bytes,
    headers: &HeaderMap,
    number: u64,
) -> Sent {
    let request = peer.post(peer.url(), line.clone());
    let in_session = !pending.is_stateless && !pending.is_initialize();
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
            if error.is_unconnected() && !pending.is_initialize() {
                return Sent::Lost(why);
            }
            tracing::warn!("{why}");
            peer.fail(&pending.id, why).await;
            return Sent::Done;
        }
    };
    let status = response.status();
    if !status.is_success() {
        // SPEC 2025-11-25, "Session Management": "When a client receives HTTP 404 in response to a
        // request containing an `MCP-Session-Id`, it MUST start a new session".
        let refusal = Refusal::read(response).await;
        if had_session && status == StatusCode::NOT_FOUND && !is_about(&refusal.body, &pending.id) {
            return Sent::Lost(refusal.describe(peer, None).await);
        }
        // Renewed before the client is answered, because its next message belongs to the new session.
        if had_session
            && status == StatusCode::BAD_REQUEST
            && peer.is_session_lost(&refusal.body).await
        {
            let why = refusal.describe(peer, None).await;
            if let Err(why) = peer.renew(number, &why).await {
                tracing::warn!("{why}");
            }
        }
        let mut sse_error = None;
        if pending.is_initialize()
            && peer.may_be_old()
            && refusal.may_be_of_an_old_server(&pending.id)
        {
            match Stream::probe(peer).await {
                Ok(stream) => {
                    let line = text_of(line);
                    return Sent::Old(Box::new(OldServer { stream, line }));
                }
                Err(why) => sse_error = Some(why),
            }
        }
        refusal.deliver(peer, pending, sse_error).await;
        return Sent::Done;
    }
    if in_session {
        peer.handshake(|handshake| {
            handshake.answered();
            handshake.accepted(&pending.id);
        });
    }
    let session = response.headers().get(&SESSION).cloned();
    match Media::of(response.headers()) {
        Media::Json => match body(response, peer.max_message()).await {
            Ok(body) => deliver_body(peer, pending, &body, session.as_ref()).await,
            Err(why) => peer.fail(&pending.id, why).await,
        },
        Media::Events => deliver_events(peer, pending, response, session.as_ref()).await,
        Media::Other => {
            let why = peer.named(describe(peer, response).await);
            peer.fail(&pending.id, why).await;
        }
    }
    Sent::Done
}

fn text_of(line: &Bytes) -> String {
    String::from_utf8_lossy(line).into_owned()
}

/// Sends a notification or response, and waits until the server has accepted it. If the server has
/// certainly not accepted it, sends it once more in a new session.
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
                let why = describe(peer, response).await;
                if !is_lost {
                    return tracing::warn!(
                        "the server did not accept a notification or response: {why}"
                    );
                }
                why
            }
            Ok(Err(error)) if error.is_unconnected() => error.why(peer),
            Ok(Err(error)) => return tracing::warn!("{}", error.why(peer)),
            Err(_) => return tracing::warn!("the server did not accept a message in time"),
        };
        // A response to a request of the server means nothing in another session.
        let is_last_try = is_again || is_response;
        match peer.renew(number, &why).await {
            Ok(()) if is_last_try => return,
            Ok(()) => {}
            Err(why) => return tracing::warn!("{why}"),
        }
    }
}

/// Reads the messages that the server sends unasked, in one session after another.
pub(super) async fn listen(peer: Arc<ServerSession>) {
    loop {
        let number = peer.session_number();
        listen_in(&peer, number).await;
        peer.next_session(number).await;
    }
}

/// Reads the messages that the server sends unasked in one session, until the server ends that.
async fn listen_in(peer: &ServerSession, number: u64) {
    let mut last = Position::default();
    let mut failures = 0;
    while failures < MAX_RETRIES && peer.session_number() == number {
        let mut request = peer.get(peer.url());
        if let Some(id) = &last.id {
            request.headers_mut().insert(&LAST_EVENT, id.clone());
        }
        let (response, token) = peer.send_once(request).await;
        match response {
            // Something other than a stream is at this URL, and that will not change.
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
                        if let Some(line) = last.advance(event) {
                            peer.deliver(&line).await;
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
                let why = refusal.describe(peer, None).await;
                if is_lost && let Err(why) = peer.renew(number, &why).await {
                    tracing::warn!("{why}");
                }
                return;
            }
            Ok(response) if response.status().is_client_error() => {
                let needs_login = response.status() == StatusCode::UNAUTHORIZED;
                match peer.login().filter(|_| needs_login) {
                    // Waits for a token that a request gets. Nobody is asked to log in just for this
                    // stream.
                    Some(login) => login.replaced(token.as_ref()).await,
                    // SPEC: 405 says that there is no such stream. Other errors will not go away
                    // either.
                    None => return,
                }
            }
            Ok(_) | Err(_) => {}
        }
        failures += 1;
        sleep(last.retry).await;
    }
}

/// The position in an event stream, for resuming it.
#[derive(Debug)]
struct Position {
    /// The id of the last event.
    id: Option<HeaderValue>,
    /// How long to wait before resuming.
    retry: Duration,
}

impl Default for Position {
    fn default() -> Position {
        Position {
            id: None,
            retry: RETRY,
        }
    }
}

impl Position {
    /// Moves past an event. Returns its message, if it has one that can be relayed.
    fn advance(&mut self, event: crate::http::shared::sse::Event) -> Option<String> {
        // SPEC, HTML, server-sent events: an empty id resets the last one.
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
                tracing::warn!("the server sent an event that is not a message: {why}");
                None
            }
        }
    }
}

/// Delivers the events of a response. Resumes a broken stream if the revision allows it.
async fn deliver_events(
    peer: &ServerSession,
    pending: &PendingRequest,
    first: Response,
    session: Option<&HeaderValue>,
) {
    let mut last = Position::default();
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
                return peer.fail(&pending.id, why.to_owned()).await;
            }
            for event in found.drain(..) {
                failures = 0;
                let Some(line) = last.advance(event) else {
                    continue;
                };
                let is_answer = answers(&line, &pending.id);
                let line = match is_answer {
                    true => with_own_id(line, &pending.id),
                    false => line,
                };
                deliver_line(peer, pending, &line, is_answer, session).await;
                if is_answer {
                    return;
                }
            }
        }
        response = None;
        failures += 1;
        // SPEC 2026-07-28: "Resumable SSE streams via `Last-Event-ID` are not supported."
        let (Some(id), false) = (&last.id, pending.is_stateless) else {
            break;
        };
        if failures > MAX_RETRIES {
            break;
        }
        if let Some(sideband) = &peer.sideband {
            // The client also reconnects. Resumes as soon as it does.
            sideband.leave_break(pending.id.clone());
            let _ = timeout(last.retry, sideband.resumed(&pending.id)).await;
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
    peer.fail(&pending.id, why.to_owned()).await;
}

/// Delivers the body of a response: one message, or a batch.
async fn deliver_body(
    peer: &ServerSession,
    pending: &PendingRequest,
    body: &[u8],
    session: Option<&HeaderValue>,
) {
    match one_line(body) {
        Ok(line) if answers(&line, &pending.id) => {
            let line = with_own_id(line, &pending.id);
            deliver_line(peer, pending, &line, true, session).await;
        }
        Ok(line) => {
            // If this is a batch, it may have the answer.
            let answer = answer_in_batch(&line, &pending.id);
            let is_answered = answer.is_some();
            if let Some(answer) = answer {
                peer.learn(pending, answer);
            }
            if !line.is_empty() {
                deliver_line(peer, pending, &line, false, session).await;
            }
            if !is_answered {
                let why = NO_ANSWER;
                peer.fail(&pending.id, why.to_owned()).await;
            }
        }
        Err(why) => {
            let why = format!("the server's answer cannot be read: {why}");
            peer.fail(&pending.id, why).await;
        }
    }
}

async fn deliver_line(
    peer: &ServerSession,
    pending: &PendingRequest,
    line: &str,
    is_answer: bool,
    session: Option<&HeaderValue>,
) {
    if is_answer {
        match pending.method.as_str() {
            "initialize" if !pending.is_stateless => peer.session_started(session, line),
            _ => peer.learn(pending, line),
        }
        return peer.deliver(line).await;
    }
    peer.deliver_with(line, || Note::About(pending.id.clone()))
        .await;
}

/// Returns the response to a request from a batch.
fn answer_in_batch<'a>(line: &'a str, id: &RequestId) -> Option<&'a str> {
    match read_envelope(line) {
        Ok(Line::Batch(entries)) => entries.into_iter().find(|entry| answers(entry, id)),
        Ok(Line::Blank | Line::Message(_)) | Err(_) => None,
    }
}

/// Returns the ids of the requests that a line answers.
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

/// Returns true if a message is the response to a request. Some servers return a number as text, so
/// such an id matches, too.
fn answers(line: &str, id: &RequestId) -> bool {
    let matches = |found: &RequestId| *found == *id || found.twin().as_ref() == Some(id);
    if let Some(found) = peek_result_id(line.as_bytes()) {
        return matches(&found);
    }
    let has = |key| raw_member(line, &[key]).is_some();
    let found = raw_member(line, &["id"]).and_then(RequestId::from_json);
    found.is_some_and(|found| matches(&found)) && !has("method")
}

/// Gives an answer the id of its request. The answer came in response to this request, so it cannot
/// be meant for another one.
fn with_own_id(line: String, id: &RequestId) -> String {
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
    /// Those of its headers that a client needs.
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Refusal {
    async fn read(response: Response) -> Refusal {
        let headers = ERROR_HEADERS
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

    /// Returns true if a server without streamable HTTP may answer `initialize` like this. A server that
    /// answers with a JSON-RPC message has streamable HTTP.
    ///
    /// SPEC 2025-11-25, basic/transports, "Backwards Compatibility": "If it fails with the following
    /// HTTP status codes "400 Bad Request", "404 Not Found" or "405 Method Not Allowed": Issue a GET
    /// request to the server URL". Servers of that time also answer 406, 415 and others.
    fn may_be_of_an_old_server(&self, id: &RequestId) -> bool {
        let is_about_client = matches!(
            self.status,
            StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::PROXY_AUTHENTICATION_REQUIRED
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
        );
        self.status.is_client_error() && !is_about_client && self.answer(id).is_none()
    }

    /// Returns the body, if it is the answer to the request.
    fn answer(&self, id: &RequestId) -> Option<String> {
        let line = one_line(&self.body).ok()?;
        answers(&line, id).then(|| with_own_id(line, id))
    }

    /// Delivers the error to the client, unchanged or as a JSON-RPC error. `sse_error` is the result of
    /// trying HTTP+SSE.
    async fn deliver(
        self,
        peer: &ServerSession,
        pending: &PendingRequest,
        sse_error: Option<String>,
    ) {
        let line = self.answer(&pending.id);
        let line = match line {
            Some(line) => line,
            None => {
                let why = self.describe(peer, sse_error.as_deref()).await;
                let code = crate::mcp::ErrorCode::INTERNAL_ERROR;
                error_response(Some(&pending.id), code, why)
            }
        };
        // Any other status concerns only the server and us. A redirect would lead the client around
        // the gate.
        let is_error = self.status.is_client_error() || self.status.is_server_error();
        if !is_error {
            return peer.deliver(&line).await;
        }
        let reply = || {
            let mut reply = Reply {
                status: self.status.as_u16(),
                headers: self.headers,
                body: self.body,
            };
            if sse_error.is_some() {
                reply.set_json(line.as_bytes());
            }
            Note::Reply(Box::new(reply))
        };
        peer.deliver_with(&line, reply).await;
    }

    async fn describe(&self, peer: &ServerSession, sse_error: Option<&str>) -> String {
        let mut why = self.head.with_advice(peer, &self.body).await;
        if let Some(sse_error) = sse_error {
            why = format!(
                "cannot talk to the server: over streamable HTTP, {why}; over HTTP+SSE, {sse_error}"
            );
        }
        peer.named(why)
    }
}

/// Returns true if an error is about the request itself. The server has read the request then.
fn is_about(body: &[u8], id: &RequestId) -> bool {
    !mentions_session(body) && one_line(body).is_ok_and(|line| answers(&line, id))
}

/// Returns true if an error is about the session.
pub(super) fn mentions_session(body: &[u8]) -> bool {
    String::from_utf8_lossy(body)
        .to_ascii_lowercase()
        .contains("session")
}

/// Reads the answer to a request from its response, which may be JSON or events.
pub(super) async fn answer_of(
    mut response: Response,
    id: &RequestId,
    max: usize,
) -> Result<String, String> {
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
            let mut last = Position::default();
            while let Ok(Some(chunk)) = response.chunk().await {
                if decoder.push(&chunk, &mut found).is_err() {
                    break;
                }
                let mut lines = found.drain(..).filter_map(|event| last.advance(event));
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
            Err(error) => return Err(with_cause("the server's response was cut off", &error)),
        }
    }
}

const NO_ANSWER: &str = "the server's response does not contain an answer to the request";

/// Returns why the server cannot be reached. `server` is its name, and its URL without secrets.
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
