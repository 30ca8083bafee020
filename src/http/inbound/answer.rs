//! Builds the response to an HTTP request that opened a stream: one JSON object, or events.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use hyper::body::Frame;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::conversation::{ClientKind, Conversation};
use super::endpoint::{Failed, event_stream};
use super::streams::{Delivery, Reader};
use crate::http::shared::sse::{KEEP_ALIVE, encode};
use crate::mcp::json::raw_member;
use crate::mcp::message::peek_result_id;
use crate::transport::Reply;

/// How long to wait for the answer before the response begins as an event stream.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a client should wait before it reconnects, in milliseconds.
const RETRY_MS: u32 = 1_000;
/// How often a silent stream sends a keep-alive comment.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);

/// A stream that is being read. Dropping it means that the reader has gone.
#[derive(Debug)]
pub(super) struct OpenStream {
    conversation: Arc<Conversation>,
    reader: Reader,
    /// What to send before anything else if the response is an event stream.
    first: Vec<u8>,
    /// True if events were sent, which the client may ask for again.
    as_events: bool,
    /// True if the request's `_meta` lacks a required member.
    is_incomplete: bool,
}

impl OpenStream {
    pub(super) fn new(conversation: Arc<Conversation>, reader: Reader) -> OpenStream {
        OpenStream {
            conversation,
            reader,
            first: Vec::new(),
            as_events: false,
            is_incomplete: false,
        }
    }

    /// SPEC 2026-07-28: -32602 has status 400 if `_meta` lacks something.
    pub(super) fn incomplete(mut self, is_incomplete: bool) -> OpenStream {
        self.is_incomplete = is_incomplete;
        self
    }

    /// SPEC 2025-11-25: "an SSE event consisting of an event ID and an empty `data` field in order
    /// to prime the client to reconnect". Clients of older revisions would take it for a message.
    pub(super) fn primed(mut self, is_wanted: bool) -> OpenStream {
        if is_wanted {
            let id = self.reader.first_event_id();
            self.first = format!("id: {id}\nretry: {RETRY_MS}\ndata: \n\n").into_bytes();
        }
        self
    }

    /// SPEC 2024-11-05: "the server MUST send an `endpoint` event".
    pub(super) fn with_endpoint(mut self, endpoint: String) -> OpenStream {
        self.first = encode("endpoint", None, endpoint.as_bytes());
        self
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.conversation.reader_gone(&self.reader);
        if self.conversation.kind == ClientKind::OneStream {
            self.conversation.close();
        } else if !self.as_events {
            self.conversation.forget_if_over(self.reader.key);
        }
    }
}

/// Answers with events, or with one JSON object if the status is not 200. Marks the response as
/// [`Failed`] if `is_failure` returns true for the first answer.
pub(super) async fn respond(
    mut open: OpenStream,
    is_failure: Option<fn(&[u8]) -> bool>,
) -> Response {
    match timeout(PATIENCE, open.reader.next()).await {
        Ok(Some(Delivery::Message {
            data,
            event_id,
            is_last: true,
        })) => {
            let status = match open.conversation.kind {
                ClientKind::Stateless => status_of(&data, open.is_incomplete),
                ClientKind::Session | ClientKind::OneStream => StatusCode::OK,
            };
            if status != StatusCode::OK {
                let json = [(CONTENT_TYPE, "application/json")];
                return (status, json, Body::from(data)).into_response();
            }
            let failed = is_failure.is_some_and(|is_failure| is_failure(&data));
            open.first
                .extend(encode("message", event_id.as_deref(), &data));
            let mut response = stream(open);
            if failed {
                response.extensions_mut().insert(Failed);
            }
            response
        }
        Ok(Some(Delivery::Reply { reply, .. })) => mirrored(reply),
        Ok(Some(Delivery::Message { data, event_id, .. })) => {
            open.first
                .extend(encode("message", event_id.as_deref(), &data));
            stream(open)
        }
        // No answer will come: the request was cancelled, or the session has ended.
        Ok(None) => stream(open),
        Err(_) => stream(open),
    }
}

/// Answers with events until the stream ends.
pub(super) fn stream(mut open: OpenStream) -> Response {
    open.as_events = true;
    let body = Events {
        open,
        keep_alive: Box::pin(sleep(KEEP_ALIVE_EVERY)),
        is_over: false,
    };
    event_stream(Body::new(body))
}

/// Returns the status for an answer. SPEC 2026-07-28: which status goes with which error.
fn status_of(line: &[u8], is_incomplete: bool) -> StatusCode {
    // Results are large, and most can be recognized by their beginning or end.
    if peek_result_id(line).is_some() {
        return StatusCode::OK;
    }
    let text = std::str::from_utf8(line).unwrap_or_default();
    let code = raw_member(text, &["error", "code"]);
    match code.and_then(|code| code.parse::<i64>().ok()) {
        Some(-32_601) => StatusCode::NOT_FOUND,
        Some(-32_602) if is_incomplete => StatusCode::BAD_REQUEST,
        Some(-32_700 | -32_600 | -32_020 | -32_021 | -32_022) => StatusCode::BAD_REQUEST,
        Some(_) | None => StatusCode::OK,
    }
}

/// Returns the same response as the server gave.
fn mirrored(reply: Reply) -> Response {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = (status, Body::from(reply.body)).into_response();
    let headers = response.headers_mut();
    headers.remove(CONTENT_TYPE);
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(&value))
        {
            headers.append(name, value);
        }
    }
    response
}

/// A response body of events.
struct Events {
    open: OpenStream,
    keep_alive: Pin<Box<Sleep>>,
    is_over: bool,
}

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let mut bytes = std::mem::take(&mut this.open.first);
        // Sends everything that is available in one piece.
        while !this.is_over && bytes.len() < MAX_PIECE {
            match this.open.reader.poll_next(context) {
                Poll::Ready(Some(Delivery::Message { data, event_id, .. })) => {
                    bytes.extend(encode("message", event_id.as_deref(), &data));
                }
                // The response has begun, so it is too late for another status.
                Poll::Ready(Some(Delivery::Reply { data, .. })) => {
                    bytes.extend(encode("message", None, &data));
                }
                Poll::Ready(None) => this.is_over = true,
                Poll::Pending => break,
            }
        }
        if bytes.is_empty() && !this.is_over && this.keep_alive.as_mut().poll(context).is_ready() {
            bytes.extend_from_slice(KEEP_ALIVE);
        }
        if !bytes.is_empty() {
            this.keep_alive
                .as_mut()
                .reset(Instant::now() + KEEP_ALIVE_EVERY);
            return Poll::Ready(Some(Ok(Frame::data(bytes.into()))));
        }
        match this.is_over {
            true => Poll::Ready(None),
            false => Poll::Pending,
        }
    }
}

/// The size from which no more events are added to one piece.
const MAX_PIECE: usize = 64 * 1024;
