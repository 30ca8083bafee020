//! What each HTTP request leads to: `/mcp`, the two endpoints of 2024-11-05, and `/healthz`.
//!
//! SPEC 2025-03-26 to 2025-11-25, "Streamable HTTP"; 2026-07-28, "Streamable HTTP"; 2024-11-05,
//! "HTTP with SSE".

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderMap, HeaderName,
    HeaderValue, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use rmcp::model::ErrorCode;
use tokio::time::timeout;

use super::answer::{OpenStream, respond, stream};
use super::body::one_line;
use super::conversation::{Conversation, Era};
use super::facts::{Facts, LAST_EVENT, PARAM_PREFIX, SESSION, VERSION};
use super::guard::{Guard, TurnedAway};
use super::hub::{Hub, NoSession};
use super::streams::Refused;
use crate::mcp::error::error_response;
use crate::mcp::json::raw_member;
use crate::mcp::message::{
    Id, Kind, Line, Message, MessageError, RequestId, Unreadable, read_line, read_message,
};
use crate::mcp::revision::STATELESS;
use crate::mcp::tool::{LIST, META_PROTOCOL_VERSION};

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(60);
/// The revisions that a session can be of.
const SESSION_REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
/// SPEC 2026-07-28, `HeaderMismatch`.
const HEADER_MISMATCH: ErrorCode = ErrorCode(-32_020);

/// Everything that a request needs.
#[derive(Debug)]
pub(super) struct App {
    pub(super) hub: Hub,
    pub(super) guard: Guard,
    /// The largest body, in bytes.
    pub(super) max_body: usize,
}

/// The routes.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/mcp", any(mcp))
        .route("/sse", get(open_sse))
        .route("/message", post(message))
        .route("/healthz", get(|| async { "ok\n" }))
        .layer(from_fn_with_state(Arc::clone(&app), guarded))
        .with_state(app)
}

/// Nothing of a request is looked at before it is known who sends it.
async fn guarded(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = text(headers, &HOST).or_else(|| request.uri().authority().map(|a| a.as_str()));
    let checked = app
        .guard
        .check(host, text(headers, &ORIGIN), text(headers, &AUTHORIZATION));
    match checked {
        Ok(()) => next.run(request).await,
        Err(why) => {
            let status = match why {
                TurnedAway::Token => StatusCode::UNAUTHORIZED,
                TurnedAway::Host | TurnedAway::Origin => StatusCode::FORBIDDEN,
            };
            let mut response = error(status, None, ErrorCode::INVALID_REQUEST, why.message());
            if why == TurnedAway::Token {
                let bearer = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
            }
            response
        }
    }
}

async fn mcp(State(app): State<Arc<App>>, request: Request) -> Response {
    let answered = match *request.method() {
        Method::POST => receive(&app, request).await,
        Method::GET => listen(&app, request.headers()),
        Method::DELETE => end(&app, request.headers()),
        _ => {
            let allowed = [(ALLOW, "GET, POST, DELETE")];
            Ok((StatusCode::METHOD_NOT_ALLOWED, allowed).into_response())
        }
    };
    answered.unwrap_or_else(|refused| refused)
}

/// A POST to `/mcp`.
async fn receive(app: &App, request: Request) -> Result<Response, Response> {
    let (parts, body) = request.into_parts();
    let headers = parts.headers;
    check_media_types(&headers)?;
    let line = read_body(app, body).await?;
    let read = match read_line(&line) {
        Ok(read) => read,
        Err(unreadable) => {
            // The gate writes down what it refuses.
            if let Ok(Some(session)) = session(app, &headers) {
                let _ = session.send(&line).await;
            }
            return Err(refuse_unreadable(&unreadable));
        }
    };
    match read {
        Line::Blank => Err(bad_request("the body is empty")),
        Line::Batch(entries) => receive_batch(app, &headers, &line, &entries).await,
        Line::Message(message) => {
            let facts = Facts::of(&message);
            let says_stateless = text(&headers, &VERSION) == Some(STATELESS);
            if facts.version.is_some() || (says_stateless && facts.method.is_some()) {
                receive_stateless(app, &headers, &line, &facts).await
            } else {
                receive_in_session(app, &headers, &line, &message, &facts).await
            }
        }
    }
}

/// A message of 2026-07-28 or later, which stands alone.
async fn receive_stateless(
    app: &App,
    headers: &HeaderMap,
    line: &str,
    facts: &Facts<'_>,
) -> Result<Response, Response> {
    let header = |name: &str| text(headers, name);
    let mismatch = |why: &str| {
        error(
            StatusCode::BAD_REQUEST,
            facts.id.as_ref(),
            HEADER_MISMATCH,
            why,
        )
    };
    if facts.version.is_none() {
        let why = format!("Invalid params: `_meta` lacks `{META_PROTOCOL_VERSION}`");
        let code = ErrorCode::INVALID_PARAMS;
        return Err(error(
            StatusCode::BAD_REQUEST,
            facts.id.as_ref(),
            code,
            &why,
        ));
    }
    facts.check_headers(header).map_err(|why| mismatch(&why))?;
    let credentials = forwarded_authorization(app, headers);
    let shared = app
        .hub
        .shared(credentials.map_or(b"", HeaderValue::as_bytes));
    let conversation = shared.map_err(|why| no_session(facts.id.as_ref(), &why))?;
    conversation.touch();
    if facts.id.is_none() {
        // Over HTTP a request is cancelled by closing its stream; under an id of the client's, this
        // could mean another client's request.
        if facts.method.as_deref() != Some("notifications/cancelled") {
            let sent = conversation.send(line).await;
            sent.map_err(|_| gone(None))?;
        }
        return Ok(StatusCode::ACCEPTED.into_response());
    }
    if let (Some(name), Some(params)) = (&facts.name, facts.params) {
        let checked = conversation.check_param_headers(name, params, header);
        checked.map_err(|why| mismatch(&why))?;
    }
    let is_list = facts.method.as_deref() == Some(LIST);
    let opened = conversation.open_stateless(line, is_list);
    let (reader, id, line) = opened.map_err(|why| refused(facts.id.as_ref(), &why))?;
    let open = OpenStream::new(Arc::clone(&conversation), reader);
    let open = open.incomplete(!facts.is_complete);
    let along = headers_along(app, headers);
    if !along.is_empty() {
        conversation.notes.leave_headers(id, along);
    }
    let sent = conversation.send(&line).await;
    sent.map_err(|_| gone(facts.id.as_ref()))?;
    Ok(respond(open, None).await)
}

/// A message of a session, or the one that begins it.
async fn receive_in_session(
    app: &App,
    headers: &HeaderMap,
    line: &str,
    message: &Message<'_>,
    facts: &Facts<'_>,
) -> Result<Response, Response> {
    check_revision(headers)?;
    let begins = facts.method.as_deref() == Some("initialize");
    let (name, conversation) = match session(app, headers)? {
        Some(conversation) => (None, conversation),
        None if begins => {
            let begun = app.hub.begin(Era::Session);
            let (name, conversation) = begun.map_err(|why| no_session(facts.id.as_ref(), &why))?;
            (Some(name), conversation)
        }
        None => return Err(bad_request("the header Mcp-Session-Id is missing")),
    };
    conversation.touch();
    let Some(id) = &facts.id else {
        if matches!(message.kind, Kind::Call { .. }) && message.id != Id::Absent {
            return Err(bad_request("the id is neither a string nor a number"));
        }
        let sent = conversation.send(line).await;
        sent.map_err(|_| gone(None))?;
        note_cancelled(&conversation, facts);
        return Ok(StatusCode::ACCEPTED.into_response());
    };
    let token = facts
        .params
        .and_then(|params| raw_member(params, &["_meta", "progressToken"]));
    let opened = conversation.open(std::slice::from_ref(id), token);
    let reader = opened.map_err(|why| refused(Some(id), &why))?;
    let open = OpenStream::new(Arc::clone(&conversation), reader);
    let along = headers_along(app, headers);
    if !along.is_empty() {
        conversation.notes.leave_headers(id.clone(), along);
    }
    let sent = conversation.send(line).await;
    sent.map_err(|_| gone(Some(id)))?;
    let open = open.primed(text(headers, &VERSION) == Some("2025-11-25"));
    let mut response = respond(open, name.is_some().then_some(is_error)).await;
    if let Some(name) = name {
        // What was refused has begun nothing.
        if response.extensions().get::<Failed>().is_some() || !response.status().is_success() {
            app.hub.end(&name);
        } else if let Ok(value) = HeaderValue::from_str(&name) {
            response.headers_mut().insert(SESSION, value);
        }
    }
    Ok(response)
}

/// Marks a response to `initialize` that is an error.
#[derive(Debug, Clone)]
pub(super) struct Failed;

fn is_error(line: &[u8]) -> bool {
    let text = std::str::from_utf8(line).unwrap_or_default();
    raw_member(text, &["error"]).is_some()
}

/// A batch: 2025-03-26 allows them, in a session. The gate takes it apart.
async fn receive_batch(
    app: &App,
    headers: &HeaderMap,
    line: &str,
    entries: &[&str],
) -> Result<Response, Response> {
    let no_batch = || bad_request("a batch belongs into a session of revision 2025-03-26");
    let conversation = session(app, headers)?.ok_or_else(no_batch)?;
    let mut ids: Vec<RequestId> = Vec::new();
    for entry in entries {
        let message = read_message(entry).map_err(|why| refuse_unreadable(&why))?;
        ids.extend(Facts::of(&message).id);
    }
    if ids.is_empty() {
        conversation.send(line).await.map_err(|_| gone(None))?;
        return Ok(StatusCode::ACCEPTED.into_response());
    }
    let opened = conversation.open(&ids, None);
    let reader = opened.map_err(|why| refused(None, &why))?;
    let open = OpenStream::new(Arc::clone(&conversation), reader);
    conversation.send(line).await.map_err(|_| gone(None))?;
    Ok(stream(open))
}

/// A GET of `/mcp`: the stream for what belongs to no request, or one taken up again.
fn listen(app: &App, headers: &HeaderMap) -> Result<Response, Response> {
    if !accepts(headers, "text/event-stream") {
        return Err(not_acceptable("text/event-stream"));
    }
    check_revision(headers)?;
    let missing = || bad_request("the header Mcp-Session-Id is missing");
    let conversation = session(app, headers)?.ok_or_else(missing)?;
    conversation.touch();
    let reader = match text(headers, &LAST_EVENT) {
        Some(last) => conversation.resume(last),
        None => conversation.listen(),
    };
    let reader = reader.map_err(|why| refused(None, &why))?;
    Ok(stream(OpenStream::new(conversation, reader)))
}

/// A DELETE of `/mcp`: the client needs its session no more.
fn end(app: &App, headers: &HeaderMap) -> Result<Response, Response> {
    let Some(name) = text(headers, &SESSION) else {
        return Err(bad_request("the header Mcp-Session-Id is missing"));
    };
    match app.hub.end(name) {
        true => Ok(StatusCode::NO_CONTENT.into_response()),
        false => Err(no_such_session()),
    }
}

/// A GET of `/sse`: a session of 2024-11-05, as long as its stream is open.
async fn open_sse(State(app): State<Arc<App>>) -> Response {
    let (name, conversation) = match app.hub.begin(Era::OneStream) {
        Ok(begun) => begun,
        Err(why) => return no_session(None, &why),
    };
    match conversation.listen() {
        Ok(reader) => {
            let endpoint = format!("/message?sessionId={name}");
            stream(OpenStream::new(conversation, reader).with_endpoint(endpoint))
        }
        Err(why) => refused(None, &why),
    }
}

/// A POST to `/message`: one message of such a session.
async fn message(State(app): State<Arc<App>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let name = pairs
        .find(|(key, _)| *key == "sessionId")
        .map(|(_, name)| name.to_owned());
    let found = name.and_then(|name| app.hub.find(&name));
    let Some(conversation) = found.filter(|found| found.era == Era::OneStream) else {
        return no_such_session();
    };
    let sent = match read_body(&app, request.into_body()).await {
        Ok(line) => conversation.send(&line).await,
        Err(refused) => return refused,
    };
    match sent {
        Ok(()) => (StatusCode::ACCEPTED, "Accepted").into_response(),
        Err(_) => gone(None),
    }
}

/// What the client has taken back is not answered any more.
fn note_cancelled(conversation: &Conversation, facts: &Facts<'_>) {
    if facts.method.as_deref() == Some("notifications/cancelled") {
        let id = facts
            .params
            .and_then(|params| raw_member(params, &["requestId"]));
        if let Some(id) = id.and_then(RequestId::from_json) {
            conversation.cancelled_by_client(&id);
        }
    }
}

/// The session that a request names. One of another kind is none of its.
fn session(app: &App, headers: &HeaderMap) -> Result<Option<Arc<Conversation>>, Response> {
    let Some(name) = text(headers, &SESSION) else {
        return Ok(None);
    };
    let found = app.hub.find(name).filter(|found| found.era == Era::Session);
    found.map(Some).ok_or_else(no_such_session)
}

async fn read_body(app: &App, body: Body) -> Result<String, Response> {
    let collected = timeout(BODY_TIME, Limited::new(body, app.max_body).collect()).await;
    let body = match collected {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(why)) if why.is::<LengthLimitError>() => {
            let why = "the body is larger than --max-message-size";
            let code = ErrorCode::INVALID_REQUEST;
            return Err(error(StatusCode::PAYLOAD_TOO_LARGE, None, code, why));
        }
        Ok(Err(_)) => return Err(bad_request("the body ended early")),
        Err(_) => {
            let why = "the body took too long";
            let code = ErrorCode::INVALID_REQUEST;
            return Err(error(StatusCode::REQUEST_TIMEOUT, None, code, why));
        }
    };
    one_line(&body).map_err(|why| {
        let why = format!("Parse error: {why}");
        error(StatusCode::BAD_REQUEST, None, ErrorCode::PARSE_ERROR, &why)
    })
}

/// SPEC: "The client MUST include an Accept header, listing both application/json and
/// text/event-stream".
fn check_media_types(headers: &HeaderMap) -> Result<(), Response> {
    let content = text(headers, &CONTENT_TYPE).unwrap_or_default();
    let content = content.split(';').next().unwrap_or_default().trim();
    if !content.eq_ignore_ascii_case("application/json") {
        let why = "the Content-Type is not application/json";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(error(status, None, ErrorCode::INVALID_REQUEST, why));
    }
    if !(accepts(headers, "application/json") && accepts(headers, "text/event-stream")) {
        return Err(not_acceptable("application/json and text/event-stream"));
    }
    Ok(())
}

fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let (kind, _) = wanted.split_once('/').unwrap_or((wanted, ""));
    let lists = headers.get_all(ACCEPT).into_iter();
    let mut ranges = lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(|range| range.split(';').next().unwrap_or_default().trim());
    ranges.any(|range| {
        let all_of_kind = range
            .strip_suffix("/*")
            .is_some_and(|k| k.eq_ignore_ascii_case(kind));
        range == "*/*" || all_of_kind || range.eq_ignore_ascii_case(wanted)
    })
}

/// SPEC: "If the server receives a request with an invalid or unsupported MCP-Protocol-Version, it
/// MUST respond with 400 Bad Request."
fn check_revision(headers: &HeaderMap) -> Result<(), Response> {
    match text(headers, &VERSION) {
        None => Ok(()),
        Some(version) if SESSION_REVISIONS.contains(&version) || version == STATELESS => Ok(()),
        Some(_) => Err(bad_request(
            "the header MCP-Protocol-Version names no revision that is known here",
        )),
    }
}

/// The client's credentials, where they are not for us.
fn forwarded_authorization<'h>(app: &App, headers: &'h HeaderMap) -> Option<&'h HeaderValue> {
    let found = headers.get(AUTHORIZATION);
    found.filter(|_| !app.guard.takes_authorization())
}

/// The headers that go on with a request to a server behind HTTP.
fn headers_along(app: &App, headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let credentials = forwarded_authorization(app, headers).map(|value| (&AUTHORIZATION, value));
    let params = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with(PARAM_PREFIX));
    let along = credentials.into_iter().chain(params);
    along
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_owned()))
        .collect()
}

/// A header's text: `None` where it is missing, empty where it stands there twice or is no text.
fn text<'h>(headers: &'h HeaderMap, name: impl AsHeader) -> Option<&'h str> {
    let mut values = headers.get_all(name.as_header()).into_iter();
    let first = values.next()?;
    match values.next() {
        Some(_) => Some(""),
        None => Some(first.to_str().unwrap_or_default()),
    }
}

/// What a header is looked up by.
trait AsHeader {
    fn as_header(&self) -> &str;
}

impl AsHeader for &HeaderName {
    fn as_header(&self) -> &str {
        self.as_str()
    }
}

impl AsHeader for &str {
    fn as_header(&self) -> &str {
        self
    }
}

impl AsHeader for &&str {
    fn as_header(&self) -> &str {
        self
    }
}

/// A JSON-RPC error as an HTTP response.
pub(super) fn error(
    status: StatusCode,
    id: Option<&RequestId>,
    code: ErrorCode,
    why: &str,
) -> Response {
    let body = error_response(id, code, why.to_owned());
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

fn bad_request(why: &str) -> Response {
    error(
        StatusCode::BAD_REQUEST,
        None,
        ErrorCode::INVALID_REQUEST,
        why,
    )
}

fn not_acceptable(wanted: &str) -> Response {
    let why = format!("Not Acceptable: the client must accept {wanted}");
    error(
        StatusCode::NOT_ACCEPTABLE,
        None,
        ErrorCode::INVALID_REQUEST,
        &why,
    )
}

fn refuse_unreadable(unreadable: &Unreadable) -> Response {
    let code = match unreadable.error {
        MessageError::Json(_) => ErrorCode::PARSE_ERROR,
        _ => ErrorCode::INVALID_REQUEST,
    };
    let why = unreadable.error.to_string();
    error(StatusCode::BAD_REQUEST, unreadable.id.as_ref(), code, &why)
}

/// SPEC: "it MUST respond to requests containing that session ID with HTTP 404 Not Found"; the
/// client then begins a new one.
fn no_such_session() -> Response {
    let why = "there is no such session; begin one with `initialize`";
    error(StatusCode::NOT_FOUND, None, ErrorCode(-32_001), why)
}

fn gone(id: Option<&RequestId>) -> Response {
    let why = "the session is over; begin one with `initialize`";
    error(StatusCode::NOT_FOUND, id, ErrorCode(-32_001), why)
}

fn refused(id: Option<&RequestId>, why: &Refused) -> Response {
    let (status, text) = match why {
        Refused::IdInUse => (
            StatusCode::BAD_REQUEST,
            "a request with this id waits already",
        ),
        Refused::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too many streams are open"),
        Refused::Gone => (
            StatusCode::BAD_REQUEST,
            "there is nothing behind this event",
        ),
    };
    error(status, id, ErrorCode::INVALID_REQUEST, text)
}

fn no_session(id: Option<&RequestId>, why: &NoSession) -> Response {
    let (status, text) = match why {
        NoSession::TooMany => (
            StatusCode::SERVICE_UNAVAILABLE,
            "too many sessions are open",
        ),
        NoSession::Ending => (
            StatusCode::SERVICE_UNAVAILABLE,
            "approval-proxy is about to end",
        ),
        NoSession::Upstream(why) => (StatusCode::BAD_GATEWAY, &**why),
    };
    let mut response = error(status, id, ErrorCode::INTERNAL_ERROR, text);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let later = HeaderValue::from_static("5");
        response.headers_mut().insert(RETRY_AFTER, later);
    }
    response
}

/// The headers of every event stream.
pub(super) const EVENT_STREAM: [(HeaderName, &str); 3] = [
    (CONTENT_TYPE, "text/event-stream"),
    (CACHE_CONTROL, "no-cache, no-transform"),
    (HeaderName::from_static("x-accel-buffering"), "no"),
];
