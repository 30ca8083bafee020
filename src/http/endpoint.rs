//! What each HTTP request leads to: `/mcp`, the two endpoints of 2024-11-05, and `/healthz`.
//!
//! SPEC 2025-03-26 to 2025-11-25, "Streamable HTTP"; 2026-07-28, "Streamable HTTP"; 2024-11-05,
//! "HTTP with SSE".

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    ORIGIN,
};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use rmcp::model::ErrorCode;

use super::answer::{OpenStream, respond, stream};
use super::conversation::{Conversation, Era};
use super::facts::{Facts, LAST_EVENT, PARAM_PREFIX, SESSION, VERSION};
use super::guard::Guard;
use super::hub::Hub;
use super::refusal::Refusal;
use super::request::{Budget, Share, accepts, check_media_types, check_revision, text};
use crate::mcp::json::raw_member;
use crate::mcp::message::{Id, Kind, Line, Message, RequestId, read_line, read_message};
use crate::mcp::revision::STATELESS;
use crate::mcp::tool::{LIST, META_PROTOCOL_VERSION};

/// Everything that a request needs.
#[derive(Debug)]
pub(super) struct App {
    pub(super) hub: Hub,
    pub(super) guard: Guard,
    /// What bodies may take.
    pub(super) budget: Budget,
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
    let host =
        text(headers, HOST.as_str()).or_else(|| request.uri().authority().map(|a| a.as_str()));
    let checked = app.guard.check(
        host,
        text(headers, ORIGIN.as_str()),
        text(headers, AUTHORIZATION.as_str()),
    );
    match checked {
        Ok(()) => next.run(request).await,
        Err(why) => Refusal::from(why).into_response(),
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
    answered.unwrap_or_else(Refusal::into_response)
}

/// A POST to `/mcp`.
async fn receive(app: &App, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let headers = parts.headers;
    check_media_types(&headers)?;
    let (line, share) = app.budget.read(body).await?;
    let read = match read_line(&line) {
        Ok(read) => read,
        Err(unreadable) => {
            // The gate writes down what it refuses.
            if let Ok(Some(session)) = session(app, &headers) {
                let _ = session.send(&line, share).await;
            }
            return Err(unreadable.into());
        }
    };
    match read {
        Line::Blank => Err(Refusal::bad_request("the body is empty")),
        Line::Batch(entries) => receive_batch(app, &headers, &line, share, &entries).await,
        Line::Message(message) => {
            let facts = Facts::of(&message);
            let says_stateless = text(&headers, VERSION) == Some(STATELESS);
            if facts.version.is_some() || (says_stateless && facts.method.is_some()) {
                receive_stateless(app, &headers, &line, share, &facts).await
            } else {
                receive_in_session(app, &headers, &line, share, &message, &facts).await
            }
        }
    }
}

/// A message of 2026-07-28 or later, which stands alone.
async fn receive_stateless(
    app: &App,
    headers: &HeaderMap,
    line: &str,
    share: Share,
    facts: &Facts<'_>,
) -> Result<Response, Refusal> {
    let header = |name: &str| text(headers, name);
    let id = facts.id.as_ref();
    let mismatch = |why: String| Refusal::mismatch(why).of(id);
    if facts.version.is_none() {
        let why = format!("Invalid params: `_meta` lacks `{META_PROTOCOL_VERSION}`");
        let refusal = Refusal::new(StatusCode::BAD_REQUEST, ErrorCode::INVALID_PARAMS, why);
        return Err(refusal.of(id));
    }
    facts.check_headers(header).map_err(mismatch)?;
    let credentials = forwarded_authorization(app, headers);
    let shared = app
        .hub
        .shared(credentials.map_or(b"", HeaderValue::as_bytes));
    let conversation = shared.map_err(|why| Refusal::from(why).of(id))?;
    conversation.touch();
    if facts.id.is_none() {
        // Over HTTP a request is cancelled by closing its stream; under an id of the client's, this
        // could mean another client's request.
        if facts.method.as_deref() != Some("notifications/cancelled") {
            let sent = conversation.send(line, share).await;
            sent.map_err(|_| Refusal::over())?;
        }
        return Ok(StatusCode::ACCEPTED.into_response());
    }
    if let (Some(name), Some(params)) = (&facts.name, facts.params) {
        let checked = conversation.check_param_headers(name, params, header);
        checked.map_err(mismatch)?;
    }
    let is_list = facts.method.as_deref() == Some(LIST);
    let opened = conversation.open_stateless(line, is_list);
    let (reader, our_id, line) = opened.map_err(|why| Refusal::from(why).of(id))?;
    let open = OpenStream::new(Arc::clone(&conversation), reader);
    let open = open.incomplete(!facts.is_complete);
    let along = headers_along(app, headers);
    if !along.is_empty() {
        conversation.notes.leave_headers(our_id, along);
    }
    let sent = conversation.send(&line, share).await;
    sent.map_err(|_| Refusal::over().of(id))?;
    Ok(respond(open, None).await)
}

/// A message of a session, or the one that begins it.
async fn receive_in_session(
    app: &App,
    headers: &HeaderMap,
    line: &str,
    share: Share,
    message: &Message<'_>,
    facts: &Facts<'_>,
) -> Result<Response, Refusal> {
    check_revision(headers)?;
    let begins = facts.method.as_deref() == Some("initialize");
    let (name, conversation) = match session(app, headers)? {
        Some(conversation) => (None, conversation),
        None if begins => {
            let begun = app.hub.begin(Era::Session);
            let (name, conversation) =
                begun.map_err(|why| Refusal::from(why).of(facts.id.as_ref()))?;
            (Some(name), conversation)
        }
        None => return Err(Refusal::bad_request("the header Mcp-Session-Id is missing")),
    };
    conversation.touch();
    let Some(id) = &facts.id else {
        if matches!(message.kind, Kind::Call { .. }) && message.id != Id::Absent {
            return Err(Refusal::bad_request(
                "the id is neither a string nor a number",
            ));
        }
        let sent = conversation.send(line, share).await;
        sent.map_err(|_| Refusal::over())?;
        note_cancelled(&conversation, facts);
        return Ok(StatusCode::ACCEPTED.into_response());
    };
    let token = facts
        .params
        .and_then(|params| raw_member(params, &["_meta", "progressToken"]));
    let opened = conversation.open(std::slice::from_ref(id), token);
    let reader = opened.map_err(|why| Refusal::from(why).of(Some(id)))?;
    let open = OpenStream::new(Arc::clone(&conversation), reader);
    let along = headers_along(app, headers);
    if !along.is_empty() {
        conversation.notes.leave_headers(id.clone(), along);
    }
    let sent = conversation.send(line, share).await;
    sent.map_err(|_| Refusal::over().of(Some(id)))?;
    let open = open.primed(text(headers, VERSION) == Some("2025-11-25"));
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
    share: Share,
    entries: &[&str],
) -> Result<Response, Refusal> {
    let no_batch = || Refusal::bad_request("a batch belongs into a session of revision 2025-03-26");
    let conversation = session(app, headers)?.ok_or_else(no_batch)?;
    let mut ids: Vec<RequestId> = Vec::new();
    for entry in entries {
        let message = read_message(entry)?;
        ids.extend(Facts::of(&message).id);
    }
    if ids.is_empty() {
        conversation
            .send(line, share)
            .await
            .map_err(|_| Refusal::over())?;
        return Ok(StatusCode::ACCEPTED.into_response());
    }
    let opened = conversation.open(&ids, None);
    let reader = opened?;
    let open = OpenStream::new(Arc::clone(&conversation), reader);
    conversation
        .send(line, share)
        .await
        .map_err(|_| Refusal::over())?;
    Ok(stream(open))
}

/// A GET of `/mcp`: the stream for what belongs to no request, or one taken up again.
fn listen(app: &App, headers: &HeaderMap) -> Result<Response, Refusal> {
    if !accepts(headers, "text/event-stream") {
        return Err(Refusal::not_acceptable("text/event-stream"));
    }
    check_revision(headers)?;
    let missing = || Refusal::bad_request("the header Mcp-Session-Id is missing");
    let conversation = session(app, headers)?.ok_or_else(missing)?;
    conversation.touch();
    let reader = match text(headers, LAST_EVENT) {
        Some(last) => conversation.resume(last),
        None => conversation.listen(),
    };
    Ok(stream(OpenStream::new(conversation, reader?)))
}

/// A DELETE of `/mcp`: the client needs its session no more.
fn end(app: &App, headers: &HeaderMap) -> Result<Response, Refusal> {
    let Some(name) = text(headers, SESSION) else {
        return Err(Refusal::bad_request("the header Mcp-Session-Id is missing"));
    };
    match app.hub.end(name) {
        true => Ok(StatusCode::NO_CONTENT.into_response()),
        false => Err(Refusal::no_such_session()),
    }
}

/// A GET of `/sse`: a session of 2024-11-05, as long as its stream is open.
async fn open_sse(State(app): State<Arc<App>>) -> Response {
    let (name, conversation) = match app.hub.begin(Era::OneStream) {
        Ok(begun) => begun,
        Err(why) => return Refusal::from(why).into_response(),
    };
    match conversation.listen() {
        Ok(reader) => {
            let endpoint = format!("/message?sessionId={name}");
            stream(OpenStream::new(conversation, reader).with_endpoint(endpoint))
        }
        Err(why) => Refusal::from(why).into_response(),
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
        return Refusal::no_such_session().into_response();
    };
    let sent = match app.budget.read(request.into_body()).await {
        Ok((line, share)) => conversation.send(&line, share).await,
        Err(refusal) => return refusal.into_response(),
    };
    match sent {
        Ok(()) => (StatusCode::ACCEPTED, "Accepted").into_response(),
        Err(_) => Refusal::over().into_response(),
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
fn session(app: &App, headers: &HeaderMap) -> Result<Option<Arc<Conversation>>, Refusal> {
    let Some(name) = text(headers, SESSION) else {
        return Ok(None);
    };
    let found = app.hub.find(name).filter(|found| found.era == Era::Session);
    found.map(Some).ok_or_else(Refusal::no_such_session)
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

/// The headers of every event stream.
pub(super) const EVENT_STREAM: [(HeaderName, &str); 3] = [
    (CONTENT_TYPE, "text/event-stream"),
    (CACHE_CONTROL, "no-cache, no-transform"),
    (HeaderName::from_static("x-accel-buffering"), "no"),
];
