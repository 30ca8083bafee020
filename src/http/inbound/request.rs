//! Reads a request's headers, each in only one way, and its body as a line.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::refusal::Refusal;
use crate::http::shared::body::one_line;
use crate::http::shared::facts::VERSION;
use crate::mcp::ErrorCode;
use crate::mcp::revision::STATELESS;

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(60);
/// The revisions with sessions.
const SESSION_REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// The memory for all large bodies together, until the relay has read them.
#[derive(Debug)]
pub(super) struct Budget {
    /// One permit for each KiB.
    free: Arc<Semaphore>,
    /// The largest body, in bytes.
    max_body: usize,
}

/// The part of a [`Budget`] that is reserved for a body. Dropping it returns the memory.
pub(super) type Share = Option<OwnedSemaphorePermit>;

const BUDGET_KIB: usize = 256 * 1024;
/// Bodies of at most this size are not counted: the number of connections bounds them.
const SMALL: usize = 64 * 1024;
/// If a body's length is unknown, the reserved memory is this many times what has arrived.
const GROWTH: usize = 8;

impl Budget {
    /// Creates a budget for bodies of at most `max_body` bytes.
    pub(super) fn new(max_body: usize) -> Budget {
        Budget {
            free: Arc::new(Semaphore::new(BUDGET_KIB)),
            max_body,
        }
    }

    /// Reads a body as one line. Reserves memory as the body arrives, so a client that announces a large
    /// body and sends nothing takes none.
    pub(super) async fn read(&self, body: Body) -> Result<(String, Share), Refusal> {
        let late = Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            ErrorCode::INVALID_REQUEST,
            "the body took too long to arrive",
        );
        let read = timeout(BODY_TIME, self.read_bytes(body)).await;
        let (bytes, share) = read.unwrap_or(Err(late))?;
        let line = one_line(&bytes).map_err(|why| {
            let why = format!("Parse error: {why}");
            Refusal::new(StatusCode::BAD_REQUEST, ErrorCode::PARSE_ERROR, why)
        })?;
        Ok((line, share))
    }

    async fn read_bytes(&self, body: Body) -> Result<(Vec<u8>, Share), Refusal> {
        let refused =
            |status, why: &'static str| Refusal::new(status, ErrorCode::INVALID_REQUEST, why);
        let too_large = || {
            let why = "the body is larger than --max-message-size";
            refused(StatusCode::PAYLOAD_TOO_LARGE, why)
        };
        let length = body.size_hint().exact();
        let length = length.and_then(|length| usize::try_from(length).ok());
        if length.is_some_and(|length| length > self.max_body) {
            return Err(too_large());
        }
        let mut body = Limited::new(body, self.max_body);
        let (mut bytes, mut share, mut room) = (Vec::new(), None, SMALL);
        while let Some(frame) = body.frame().await {
            let frame = match frame {
                Ok(frame) => frame,
                Err(why) if why.is::<LengthLimitError>() => return Err(too_large()),
                Err(_) => return Err(refused(StatusCode::BAD_REQUEST, "the body ended early")),
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let needed = bytes.len() + data.len();
            if needed > room {
                // Without a length, reserves room for more, but not for the largest possible body.
                let wanted = length.unwrap_or(needed.saturating_mul(GROWTH));
                room = wanted.clamp(needed, self.max_body.max(needed));
                self.widen(&mut share, room).await;
                if length.is_some() {
                    bytes.reserve_exact(room - bytes.len());
                }
            }
            bytes.extend_from_slice(&data);
        }
        narrow(&mut share, bytes.len());
        Ok((bytes, share))
    }

    /// Waits until `share` covers this many bytes. May be cancelled.
    async fn widen(&self, share: &mut Share, bytes: usize) {
        let has = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = u32::try_from(kib(bytes).saturating_sub(has)).unwrap_or(u32::MAX);
        // Fails only if the semaphore is closed, which never happens.
        let Ok(more) = Arc::clone(&self.free).acquire_many_owned(more).await else {
            return;
        };
        match share {
            Some(share) => share.merge(more),
            None => *share = Some(more),
        }
    }
}

/// Returns the memory that a body of this many bytes does not need.
fn narrow(share: &mut Share, bytes: usize) {
    if bytes <= SMALL {
        *share = None;
    } else if let Some(held) = share {
        let more = held.num_permits().saturating_sub(kib(bytes));
        drop(held.split(more));
    }
}

fn kib(bytes: usize) -> usize {
    bytes.div_ceil(1024).min(BUDGET_KIB)
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

/// Returns true if a client accepts this media type.
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
            "the header MCP-Protocol-Version names an unknown revision",
        )),
    }
}

/// Returns a header's text: `None` if it is missing, empty if it occurs twice or is not text.
pub(super) fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).into_iter();
    let first = values.next()?;
    match values.next() {
        Some(_) => Some(""),
        None => Some(first.to_str().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use axum::body::Bytes;
    use hyper::body::{Frame, SizeHint};
    use tokio::time::Instant;

    use super::*;

    const MAX: usize = 64 * 1024 * 1024;

    /// A body that yields `parts`, and then ends or waits forever.
    struct Slow {
        parts: Vec<Bytes>,
        announced: Option<u64>,
        ends: bool,
    }

    impl hyper::body::Body for Slow {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            match self.parts.pop() {
                Some(part) => Poll::Ready(Some(Ok(Frame::data(part)))),
                None if self.ends => Poll::Ready(None),
                None => Poll::Pending,
            }
        }

        fn size_hint(&self) -> SizeHint {
            self.announced
                .map_or_else(SizeHint::default, SizeHint::with_exact)
        }
    }

    fn whole(bytes: usize, part: usize, is_announced: bool) -> Body {
        let parts = (0..bytes.div_ceil(part)).map(|i| part.min(bytes - i * part));
        Body::new(Slow {
            parts: parts.map(|size| vec![b'x'; size].into()).collect(),
            announced: is_announced.then_some(bytes as u64),
            ends: true,
        })
    }

    fn idle(bytes: usize, announced: Option<u64>) -> Body {
        Body::new(Slow {
            parts: vec![vec![b'x'; bytes].into()],
            announced,
            ends: false,
        })
    }

    fn permits(share: &Share) -> usize {
        share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_body_reserves_its_size_and_a_small_one_reserves_nothing() {
        let budget = Budget::new(MAX);
        for (bytes, taken) in [
            (0, 0),
            (100, 0),
            (SMALL, 0),
            (SMALL + 1, 65),
            (1024 * 1024, 1024),
            (MAX, 64 * 1024),
        ] {
            for is_announced in [true, false] {
                for part in [10 * 1024, 8 * 1024 * 1024] {
                    let body = whole(bytes, part, is_announced);
                    let (line, share) = budget.read(body).await.ok().unwrap();
                    assert_eq!((line.len(), permits(&share)), (bytes, taken));
                    assert_eq!(budget.free.available_permits(), BUDGET_KIB - taken);
                }
            }
        }
        assert_eq!(budget.free.available_permits(), BUDGET_KIB);
        for is_announced in [true, false] {
            let body = whole(MAX + 1, 8 * 1024 * 1024, is_announced);
            assert!(budget.read(body).await.is_err());
            assert_eq!(budget.free.available_permits(), BUDGET_KIB);
        }
    }

    // "delays nobody else": others do not wait for one client's bodies that never arrive.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_announces_much_and_sends_little_delays_nobody_else() {
        let budget = Arc::new(Budget::new(MAX));
        let mut waiting = Vec::new();
        for announced in [None, Some(MAX as u64)] {
            for _ in 0..100 {
                let budget = Arc::clone(&budget);
                let body = idle(SMALL, announced);
                waiting.push(tokio::spawn(
                    async move { budget.read(body).await.is_err() },
                ));
            }
        }
        tokio::task::yield_now().await;
        let start = Instant::now();
        let (_, share) = budget.read(whole(MAX, MAX, false)).await.ok().unwrap();
        assert_eq!(permits(&share), 64 * 1024);
        assert_eq!(start.elapsed(), Duration::ZERO);
        for late in waiting {
            assert!(late.await.unwrap());
        }
        assert!(start.elapsed() <= BODY_TIME);
    }
}
