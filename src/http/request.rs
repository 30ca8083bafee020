//! What a request brings: its headers, each read in one way only, and its body as a line.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;
use rmcp::model::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::body::one_line;
use super::facts::VERSION;
use super::refusal::Refusal;
use crate::mcp::revision::STATELESS;

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(60);
/// The revisions that a session can be of.
const SESSION_REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// What all large bodies may take together, until the relay has read them.
#[derive(Debug)]
pub(super) struct Budget {
    /// One permit for each KiB.
    free: Arc<Semaphore>,
    /// The largest body, in bytes.
    max_body: usize,
}

/// The part of a [`Budget`] that a body takes while this is kept.
pub(super) type Share = Option<OwnedSemaphorePermit>;

const BUDGET_KIB: usize = 256 * 1024;
/// Bodies up to here are not counted; connections are.
const SMALL: usize = 64 * 1024;

impl Budget {
    /// For bodies of at most `max_body` bytes.
    pub(super) fn new(max_body: usize) -> Budget {
        Budget {
            free: Arc::new(Semaphore::new(BUDGET_KIB)),
            max_body,
        }
    }

    /// Waits until there is room for a body of so many bytes. May be cancelled.
    async fn take(&self, bytes: usize) -> Share {
        if bytes <= SMALL {
            return None;
        }
        let kib = u32::try_from(bytes.div_ceil(1024).min(BUDGET_KIB)).ok()?;
        // It fails only if it is closed, which nobody does.
        Arc::clone(&self.free).acquire_many_owned(kib).await.ok()
    }

    /// Reads a body as one line.
    pub(super) async fn read(&self, body: Body) -> Result<(String, Share), Refusal> {
        // Without a length it may turn out to be of any.
        let length = body.size_hint().exact();
        let length = length.and_then(|length| usize::try_from(length).ok());
        let length = length.unwrap_or(self.max_body).min(self.max_body);
        let read = async {
            let share = self.take(length).await;
            read_body(body, self.max_body)
                .await
                .map(|line| (line, share))
        };
        let late = Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            ErrorCode::INVALID_REQUEST,
            "the body took too long",
        );
        timeout(BODY_TIME, read).await.unwrap_or(Err(late))
    }
}

async fn read_body(body: Body, max: usize) -> Result<String, Refusal> {
    let refused = |status, why: &'static str| Refusal::new(status, ErrorCode::INVALID_REQUEST, why);
    let body = match Limited::new(body, max).collect().await {
        Ok(body) => body.to_bytes(),
        Err(why) if why.is::<LengthLimitError>() => {
            let why = "the body is larger than --max-message-size";
            return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, why));
        }
        Err(_) => return Err(refused(StatusCode::BAD_REQUEST, "the body ended early")),
    };
    one_line(&body).map_err(|why| {
        let why = format!("Parse error: {why}");
        Refusal::new(StatusCode::BAD_REQUEST, ErrorCode::PARSE_ERROR, why)
    })
}

/// SPEC: "The client MUST include an Accept header, listing both application/json and
/// text/event-stream".
pub(super) fn check_media_types(headers: &HeaderMap) -> Result<(), Refusal> {
    let content = text(headers, &CONTENT_TYPE).unwrap_or_default();
    let content = content.split(';').next().unwrap_or_default().trim();
    if !content.eq_ignore_ascii_case("application/json") {
        let why = "the Content-Type is not application/json";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Refusal::new(status, ErrorCode::INVALID_REQUEST, why));
    }
    if !(accepts(headers, "application/json") && accepts(headers, "text/event-stream")) {
        return Err(Refusal::not_acceptable(
            "application/json and text/event-stream",
        ));
    }
    Ok(())
}

/// Whether a client takes such an answer.
pub(super) fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
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
pub(super) fn check_revision(headers: &HeaderMap) -> Result<(), Refusal> {
    match text(headers, &VERSION) {
        None => Ok(()),
        Some(version) if SESSION_REVISIONS.contains(&version) || version == STATELESS => Ok(()),
        Some(_) => Err(Refusal::bad_request(
            "the header MCP-Protocol-Version names no revision that is known here",
        )),
    }
}

/// A header's text: `None` where it is missing, empty where it stands there twice or is no text.
pub(super) fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).into_iter();
    let first = values.next()?;
    match values.next() {
        Some(_) => Some(""),
        None => Some(first.to_str().unwrap_or_default()),
    }
}
