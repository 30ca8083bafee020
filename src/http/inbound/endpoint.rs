//! Handles the HTTP requests of clients: `/mcp`, the two endpoints of 2024-11-05, and `/healthz`.
//!
//! SPEC 2025-03-26 to 2025-11-25, "Streamable HTTP"; 2026-07-28, "Streamable HTTP"; 2024-11-05,
//! "HTTP with SSE".

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    ORIGIN,
};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};

use super::answer::{OpenStream, respond, stream};
use super::conversation::{ClientKind, Conversation};
use super::guard::{AccessError, Guard};
use super::refusal::Refusal;
use super::request::{Budget, Share, accepts, check_media_types, check_revision, text};
use super::sessions::{Owner, Record, Sessions};
use crate::http::shared::facts::{Facts, LAST_EVENT, PARAM_PREFIX, SESSION, VERSION};
use crate::mcp::ErrorCode;
use crate::mcp::json::raw_member;
use crate::mcp::message::{CALL, Id, Kind, Line, Message, RequestId, read_envelope, read_message};
use crate::mcp::revision::STATELESS;
use crate::mcp::tool::META_PROTOCOL_VERSION;
use crate::sys::secret::Secret;

/// State that all requests share.
pub(super) struct App {
    pub(super) sessions: Sessions,
    pub(super) guard: Guard,
    /// The memory for bodies.
    pub(super) budget: Budget,
    /// Records refusals.
    pub(super) record: Record,
}

/// Health check path.
const HEALTH: &str = "/healthz";

/// Returns the routes.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/mcp", any(mcp))
        .route("/mcp/", any(mcp))
        .route("/sse", get(open_sse))
        .route("/sse/", get(open_sse))
        .route("/message", post(message))
        .route(HEALTH, get(|| async { "ok\n" }))
        .layer(from_fn_with_state(Arc::clone(&app), check_access))
        .with_state(app)
}

/// Checks who sends a request before anything else looks at it.
async fn check_access(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = text(headers, &HOST).or_else(|| request.uri().authority().map(|a| a.as_str()));
    let checked = app.guard.check(
        host,
        text(headers, &ORIGIN),
        text(headers, &FETCH_SITE),
        text(headers, &AUTHORIZATION),
    );
    match checked {
        Ok(()) => next.run(request).await,
        // A health check needs no token: it reveals nothing.
        Err(AccessError::Token) if request.uri().path() == HEALTH => next.run(request).await,
        Err(why) => Refusal::from(why).into_response(),
    }
}

async fn mcp(State(app): State<Arc<App>>, request: Request) -> Response {
    let answered = match *request.method() {
        Method::POST => {
            let received = receive(&app, request).await;
            // The gate never sees a message that is refused here, so it is recorded here.
            received.inspect_err(|refusal| (app.record)(refusal.why()))
        }
        Method::GET => listen(&app, request.headers()),
        Method::DELETE => end_session(&app, request.headers()),
        _ => {
            let allowed = [(ALLOW, "GET, POST, DELETE")];
            Ok((StatusCode::METHOD_NOT_ALLOWED, allowed).into_response())
        }
    };
    answered.unwrap_or_else(Refusal::into_response)
}

/// Handles a POST to `/mcp`.
async fn receive(app: &App, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let headers = parts.headers;
    check_media_types(&headers)?;
    let (line, share) = app.budget.read(body).await?;
    match read_envelope(&line)? {
        Line::Blank => Err(Refusal::bad_request("the body is empty")),
        Line::Batch(entries) => receive_batch(app, &headers, &line, share, &entries).await,
        Line::Message(message) => {
            let facts = Facts::of(&message);
            if let Some(why) = facts.too_long() {
                return Err(Refusal::bad_request(why).of(facts.id.as_ref()));
            }
            let says_stateless = text(&headers, &VERSION) == Some(STATELESS);
            if facts.version.is_some() || (says_stateless && facts.method.is_some()) {
                receive_stateless(app, &headers, &line, share, &message, &facts).await
            } else {
                receive_in_session(app, &headers, &line, share, &message, &facts).await
            }
        }
    }
}

/// Handles a stateless message.
async fn receive_stateless(
    app: &App,
    headers: &HeaderMap,
    line: &str,
    share: Share,
    message: &Message<'_>,
    facts: &Facts<'_>,
) -> Result<Response, Refusal> {
    let header = |name: &HeaderName| text(headers, name);
    let id = facts.id.as_ref();
    let mismatch = |why: String| Refusal::mismatch(why).of(id);
    if facts.version.is_none() {
        let why = format!("Invalid params: `_meta` lacks `{META_PROTOCOL_VERSION}`");
        let refusal = Refusal::new(StatusCode::BAD_REQUEST, ErrorCode::INVALID_PARAMS, why);
        return Err(refusal.of(id));
    }
    facts.check_headers(header).map_err(mismatch)?;
    let credentials = forwarded_authorization(app, headers);
    let owner = owner(app, headers);
    let method = facts.method.as_deref().unwrap_or_default();
    if matches!(method, "initialize" | "notifications/initialized") {
        // The server would start a session with it, for all clients that share this conversation.
        let why = format!("Method not found: `{method}` exists only in revisions with sessions");
        let refusal = Refusal::new(StatusCode::NOT_FOUND, ErrorCode::METHOD_NOT_FOUND, why);
        return Err(refusal.of(id));
    }
    if id.is_none() && message.id != Id::Absent {
        return Err(Refusal::bad_request(
            "the id is neither a string nor a number",
        ));
    }
    if id.is_none() {
        // Stateless clients cancel a request by closing its stream. This notification names the
        // client's own id, which could mean another client's request.
        if let Some(conversation) = app.sessions.find_shared(owner)
            && method != "notifications/cancelled"
        {
            conversation.send(line, share).await?;
        }
        return Ok(StatusCode::ACCEPTED.into_response());
    }
    let shared = app.sessions.shared(owner);
    let conversation = shared.map_err(|why| Refusal::from(why).of(id))?;
    conversation.touch();
    conversation
        .sideband
        .set_credentials(credentials.and_then(secret));
    let mut forwarded = Vec::new();
    if let (CALL, Some(name), Some(params)) = (method, &facts.name, facts.params) {
        let given = param_headers(headers);
        let checked = conversation.check_param_headers(name, params, &given);
        forwarded = checked.map_err(mismatch)?;
    }
    let opened = conversation.open_stateless(line, facts);
    let (reader, our_id, line) = opened.map_err(|why| Refusal::from(why).of(id))?;
    let open = OpenStream::new(Arc::clone(&conversation), reader);
    let open = open.incomplete(!facts.is_complete);
    let sent = conversation.send_stateless(&our_id, &line, forwarded, share);
    let sent = sent.await;
    sent.map_err(|why| Refusal::from(why).of(id))?;
    Ok(respond(open, None).await)
}

/// Handles a message of a session, or the `initialize` that starts one.
async fn receive_in_session(
    app: &App,
    headers: &HeaderMap,
    line: &str,
    share: Share,
    message: &Message<'_>,
    facts: &Facts<'_>,
) -> Result<Response, Refusal> {
    check_revision(headers)?;
    let is_initialize = facts.method.as_deref() == Some("initialize");
    let (name, conversation) = match session(app, headers)? {
        Some(conversation) => (None, conversation),
        // Without an id there is no response in which we could send the session's id.
        None if is_initialize && facts.id.is_some() => {
            let begun = app.sessions.begin(ClientKind::Session, owner(app, headers));
            let (name, conversation) =
                begun.map_err(|why| Refusal::from(why).of(facts.id.as_ref()))?;
            let credentials = forwarded_authorization(app, headers);
            conversation
                .sideband
                .set_credentials(credentials.and_then(secret));
            (Some(name), conversation)
        }
        None => return Err(Refusal::bad_request("the header Mcp-Session-Id is missing")),
    };
    conversation.touch();
    // Ends the session unless its client gets the session's id, because nobody else could end it.
    let new_session = name.map(|name| NewSession {
        app,
        name: Some(name),
        owner: owner(app, headers),
    });
    let Some(id) = &facts.id else {
        if matches!(message.kind, Kind::Call { .. }) && message.id != Id::Absent {
            return Err(Refusal::bad_request(
                "the id is neither a string nor a number",
            ));
        }
        conversation.send(line, share).await?;
        note_cancelled(&conversation, cancelled_by(facts).as_slice());
        return Ok(StatusCode::ACCEPTED.into_response());
    };
    let opened = conversation.open(std::slice::from_ref(id), facts.token);
    let reader = opened.map_err(|why| Refusal::from(why).of(Some(id)))?;
    let open = OpenStream::new(Arc::clone(&conversation), reader);
    let sent = conversation.send(line, share).await;
    sent.map_err(|why| Refusal::from(why).of(Some(id)))?;
    let open = open.primed(text(headers, &VERSION) == Some("2025-11-25"));
    let mut response = respond(open, new_session.is_some().then_some(is_error)).await;
    let is_good = response.extensions().get::<Failed>().is_none() && response.status().is_success();
    // A refused `initialize` starts no session.
    if let Some(mut new_session) = new_session.filter(|_| is_good)
        && let Some(name) = new_session.name.take()
        && let Ok(value) = HeaderValue::try_from(name)
    {
        response.headers_mut().insert(&SESSION, value);
    }
    Ok(response)
}

/// A new session. Dropping this ends the session unless `name` was taken out.
struct NewSession<'a> {
    app: &'a App,
    name: Option<String>,
    owner: Owner,
}

impl Drop for NewSession<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            self.app.sessions.end(name, self.owner);
        }
    }
}

/// Marks a response to `initialize` that is an error.
#[derive(Debug, Clone)]
pub(super) struct Failed;

fn is_error(line: &[u8]) -> bool {
    let text = std::str::from_utf8(line).unwrap_or_default();
    raw_member(text, &["error"]).is_some()
}

/// Handles a batch, which 2025-03-26 allows in a session. The gate splits it.
async fn receive_batch(
    app: &App,
    headers: &HeaderMap,
    line: &str,
    share: Share,
    entries: &[&str],
) -> Result<Response, Refusal> {
    let no_batch =
        || Refusal::bad_request("batches are allowed only in a session of revision 2025-03-26");
    let conversation = session(app, headers)?.ok_or_else(no_batch)?;
    let mut ids: Vec<RequestId> = Vec::new();
    let mut cancelled: Vec<RequestId> = Vec::new();
    for entry in entries {
        let message = read_message(entry)?;
        let facts = Facts::of(&message);
        if let Some(why) = facts.too_long() {
            return Err(Refusal::bad_request(why));
        }
        cancelled.extend(cancelled_by(&facts));
        ids.extend(facts.id);
    }
    if ids.is_empty() {
        conversation.send(line, share).await?;
        note_cancelled(&conversation, &cancelled);
        return Ok(StatusCode::ACCEPTED.into_response());
    }
    let opened = conversation.open(&ids, None);
    let reader = opened?;
    let open = OpenStream::new(Arc::clone(&conversation), reader);
    conversation.send(line, share).await?;
    note_cancelled(&conversation, &cancelled);
    Ok(stream(open))
}

/// Handles a GET of `/mcp`: opens the stream for messages that belong to no request, or resumes a stream.
fn listen(app: &App, headers: &HeaderMap) -> Result<Response, Refusal> {
    if !accepts(headers, "text/event-stream") {
        return Err(Refusal::not_acceptable("text/event-stream"));
    }
    check_revision(headers)?;
    let missing = || Refusal::bad_request("the header Mcp-Session-Id is missing");
    let conversation = session(app, headers)?.ok_or_else(missing)?;
    conversation.touch();
    let reader = match text(headers, &LAST_EVENT) {
        Some(last) => conversation.resume(last),
        None => conversation.listen(),
    };
    Ok(stream(OpenStream::new(conversation, reader?)))
}

/// Handles a DELETE of `/mcp`: the client ends its session.
fn end_session(app: &App, headers: &HeaderMap) -> Result<Response, Refusal> {
    let Some(name) = text(headers, &SESSION) else {
        return Err(Refusal::bad_request("the header Mcp-Session-Id is missing"));
    };
    match app.sessions.end(name, owner(app, headers)) {
        true => Ok(StatusCode::NO_CONTENT.into_response()),
        false => Err(Refusal::no_such_session()),
    }
}

/// Handles a GET of `/sse`: starts a session of 2024-11-05, which lives while its stream is open.
async fn open_sse(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let owner = owner(&app, &headers);
    let (name, conversation) = match app.sessions.begin(ClientKind::OneStream, owner) {
        Ok(begun) => begun,
        Err(why) => return Refusal::from(why).into_response(),
    };
    let credentials = forwarded_authorization(&app, &headers);
    conversation
        .sideband
        .set_credentials(credentials.and_then(secret));
    match conversation.listen() {
        Ok(reader) => {
            let endpoint = format!("/message?sessionId={name}");
            stream(OpenStream::new(conversation, reader).with_endpoint(endpoint))
        }
        Err(why) => Refusal::from(why).into_response(),
    }
}

async fn message(State(app): State<Arc<App>>, request: Request) -> Response {
    let received = receive_message(&app, request).await;
    let received = received.inspect_err(|refusal| (app.record)(refusal.why()));
    received.unwrap_or_else(Refusal::into_response)
}

/// Handles a POST to `/message`: one message of a session of 2024-11-05.
async fn receive_message(app: &App, request: Request) -> Result<Response, Refusal> {
    let query = request.uri().query().unwrap_or_default();
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let name = pairs.find(|(key, _)| *key == "sessionId");
    let owner = owner(app, request.headers());
    let found = name.and_then(|(_, name)| app.sessions.find(name, owner));
    let found = found.filter(|found| found.kind == ClientKind::OneStream);
    let conversation = found.ok_or_else(Refusal::no_such_session)?;
    let (line, share) = app.budget.read(request.into_body()).await?;
    let sent = conversation.send(&line, share).await;
    sent.map_err(|_| Refusal::session_ended())?;
    Ok((StatusCode::ACCEPTED, "Accepted").into_response())
}

/// Returns the request that a message cancels, if it is `notifications/cancelled`.
fn cancelled_by(facts: &Facts<'_>) -> Option<RequestId> {
    let is_cancelled = facts.method.as_deref() == Some("notifications/cancelled");
    let params = facts.params.filter(|_| is_cancelled)?;
    raw_member(params, &["requestId"]).and_then(RequestId::from_json)
}

/// Stops waiting for the answers to requests that the client has cancelled.
fn note_cancelled(conversation: &Conversation, ids: &[RequestId]) {
    for id in ids {
        conversation.cancelled_by_client(id);
    }
}

/// Returns the session that a request names. A session of the two endpoints of 2024-11-05 does not count.
fn session(app: &App, headers: &HeaderMap) -> Result<Option<Arc<Conversation>>, Refusal> {
    let Some(name) = text(headers, &SESSION) else {
        return Ok(None);
    };
    let found = app.sessions.find(name, owner(app, headers));
    let found = found.filter(|found| found.kind == ClientKind::Session);
    found.map(Some).ok_or_else(Refusal::no_such_session)
}

/// Returns the owner whose sessions a request may use. If we require a token, all clients are one
/// owner, because they all send the same token.
fn owner(app: &App, headers: &HeaderMap) -> Owner {
    Owner::of(forwarded_authorization(app, headers).map(HeaderValue::as_bytes))
}

/// Returns the client's credentials, if they are for the server and not for us.
fn forwarded_authorization<'h>(app: &App, headers: &'h HeaderMap) -> Option<&'h HeaderValue> {
    let found = headers.get(AUTHORIZATION);
    found.filter(|_| !app.guard.takes_authorization())
}

/// Returns the `Mcp-Param` headers. A value that is not text is `None`.
fn param_headers(headers: &HeaderMap) -> Vec<(&str, Option<&str>)> {
    let params = headers.iter();
    let params = params.filter(|(name, _)| name.as_str().starts_with(PARAM_PREFIX));
    params
        .map(|(name, value)| (name.as_str(), value.to_str().ok()))
        .collect()
}

/// Returns credentials as a secret; `None` if they are not UTF-8.
fn secret(value: &HeaderValue) -> Option<Secret> {
    let text = std::str::from_utf8(value.as_bytes()).ok()?;
    Some(Secret::new(text.to_owned()))
}

/// Says whether a page of the same site made a browser send the request.
static FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Returns a response whose body is an event stream.
pub(super) fn event_stream(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-cache, no-transform"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
