//! Tells open pages that something has changed; what, they ask for themselves.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::Frame;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::trouble::Trouble;
use super::{App, held};

/// How often the store is asked while somebody listens.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often the store is swept.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// How often a stream says that it is still there.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
/// How many streams there may be at once.
const MAX_LISTENERS: usize = 64;
/// How many of them may be of one session. A browser has six connections to one server at most.
const MAX_OF_A_SESSION: usize = 8;

const CHANGED: &[u8] = b"event: changed\ndata:\n\n";
const ALIVE: &[u8] = b":\n\n";

/// Who listens, and what they are told.
#[derive(Debug)]
pub(super) struct Changes {
    /// Counts up; `None` at the end.
    told: watch::Sender<Option<u64>>,
    listeners: Listeners,
    /// Somebody has begun to listen.
    came: Notify,
}

impl Changes {
    /// Nobody listens yet.
    pub(super) fn new() -> Changes {
        Changes {
            told: watch::Sender::new(Some(0)),
            listeners: Listeners::default(),
            came: Notify::new(),
        }
    }

    /// Something has changed.
    pub(super) fn tell(&self) {
        self.told
            .send_modify(|told| *told = told.map(|count| count.wrapping_add(1)));
    }

    /// Ends every stream.
    pub(super) fn end(&self) {
        self.told.send_replace(None);
    }
}

/// How many streams each session has.
#[derive(Debug, Clone, Default)]
struct Listeners(Arc<Mutex<HashMap<[u8; 32], usize>>>);

impl Listeners {
    /// `None` if there are too many.
    fn enter(&self, session: [u8; 32]) -> Option<Place> {
        let mut counts = held(&self.0);
        let all: usize = counts.values().sum();
        let own = counts.get(&session).copied().unwrap_or_default();
        if all >= MAX_LISTENERS || own >= MAX_OF_A_SESSION {
            return None;
        }
        counts.insert(session, own + 1);
        Some(Place {
            listeners: self.clone(),
            session,
        })
    }
}

/// A stream's place; it is free again when this is dropped.
#[derive(Debug)]
struct Place {
    listeners: Listeners,
    session: [u8; 32],
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = held(&self.listeners.0);
        match counts.get_mut(&self.session) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => {
                counts.remove(&self.session);
            }
        }
    }
}

impl App {
    /// Looks after the store, and tells who listens what others have changed. Never ends.
    pub(super) async fn look_after(&self) {
        let mut look = interval(LOOK_EVERY);
        let mut sweep = interval(SWEEP_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_failing = false;
        loop {
            tokio::select! {
                _ = sweep.tick() => self.sweep(),
                // Only for the condition below to be looked at again.
                () = self.changes.came.notified() => {}
                _ = look.tick(), if self.changes.told.receiver_count() > 0 => {
                    let changed = self.store(|store| store.changed(Duration::ZERO, None));
                    let is_failing = changed.is_err();
                    if changed.unwrap_or_default() || is_failing != was_failing {
                        self.changes.tell();
                    }
                    was_failing = is_failing;
                }
            }
        }
    }

    fn sweep(&self) {
        let now_ms = self.now().unix_ms;
        let counts = self.store(|store| {
            let (_, before) = store.waiting(0)?;
            store.sweep(now_ms)?;
            Ok((before, store.waiting(0)?.1))
        });
        let forgotten = self.logins(|logins| logins.forget_old(now_ms));
        let counts = counts.and_then(|counts| forgotten.map(|()| counts));
        match counts {
            Ok((before, after)) if before != after => self.changes.tell(),
            Ok(_) => {}
            Err(error) => tracing::warn!("the inbox cannot be swept: {error}"),
        }
    }
}

/// `GET /events`
pub(super) async fn listen(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Response, Trouble> {
    let session = app.session(&headers, None)?;
    let Some(place) = app.changes.listeners.enter(session.hash) else {
        let mut response = Response::new(Body::from("too many pages listen"));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert(RETRY_AFTER, 30.into());
        return Ok(response);
    };
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(feed(app.changes.told.subscribe(), sender));
    app.changes.came.notify_one();
    let mut response = Response::new(Body::new(Stream {
        receiver,
        _place: place,
    }));
    let stream = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(CONTENT_TYPE, stream);
    Ok(response)
}

/// Until the page is closed, or we are. A page that does not read on is told later, once.
async fn feed(mut told: watch::Receiver<Option<u64>>, sender: mpsc::Sender<&'static [u8]>) {
    let mut alive = interval(ALIVE_EVERY);
    // One of its own: waiting for the end counts every change as seen.
    let mut end = told.clone();
    loop {
        let next = tokio::select! {
            () = sender.closed() => return,
            _ = alive.tick() => ALIVE,
            changed = told.changed() => match changed {
                Ok(()) if told.borrow_and_update().is_some() => CHANGED,
                Ok(()) | Err(_) => return,
            },
        };
        tokio::select! {
            () = sender.closed() => return,
            sent = sender.send(next) => match sent {
                Ok(()) => {}
                Err(_) => return,
            },
            _ = end.wait_for(Option::is_none) => return,
        }
    }
}

/// The body of an answer that goes on.
struct Stream {
    receiver: mpsc::Receiver<&'static [u8]>,
    _place: Place,
}

impl hyper::body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.receiver.poll_recv(context);
        next.map(|next| next.map(|bytes| Ok(Frame::data(Bytes::from_static(bytes)))))
    }
}
