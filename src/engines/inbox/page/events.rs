//! Notifies open pages of changes. The pages then fetch what has changed.

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

use super::error::PageError;
use super::{App, held};

/// How often we check the store for changes while a page listens.
const CHECK_EVERY: Duration = Duration::from_millis(250);
/// How often we sweep the store.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// How often a stream sends a keep-alive.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
/// How many streams may be open at once.
const MAX_LISTENERS: usize = 64;
/// How many of them one session may have. A browser opens at most six connections to one server.
const MAX_OF_A_SESSION: usize = 8;

const CHANGED: &[u8] = b"event: changed\ndata:\n\n";
const ALIVE: &[u8] = b":\n\n";

/// The listeners, and the notifications to them.
#[derive(Debug)]
pub(super) struct Changes {
    /// Counts the changes; `None` when the page ends.
    counter: watch::Sender<Option<u64>>,
    listeners: Listeners,
    /// Signals that a page has started to listen.
    new_listener: Notify,
}

impl Changes {
    /// Creates it without listeners.
    pub(super) fn new() -> Changes {
        Changes {
            counter: watch::Sender::new(Some(0)),
            listeners: Listeners::default(),
            new_listener: Notify::new(),
        }
    }

    /// Notifies the listeners of a change.
    pub(super) fn notify(&self) {
        self.counter
            .send_modify(|counter| *counter = counter.map(|count| count.wrapping_add(1)));
    }

    /// Ends every stream.
    pub(super) fn end(&self) {
        self.counter.send_replace(None);
    }
}

/// The number of streams of each session.
#[derive(Debug, Clone, Default)]
struct Listeners(Arc<Mutex<HashMap<[u8; 32], usize>>>);

impl Listeners {
    /// Reserves a slot for a stream. Returns `None` if there are too many.
    fn enter(&self, session: [u8; 32]) -> Option<Slot> {
        let mut counts = held(&self.0);
        let all: usize = counts.values().sum();
        let own = counts.get(&session).copied().unwrap_or_default();
        if all >= MAX_LISTENERS || own >= MAX_OF_A_SESSION {
            return None;
        }
        counts.insert(session, own + 1);
        Some(Slot {
            listeners: self.clone(),
            session,
        })
    }
}

/// A stream's slot, which is freed when this is dropped.
#[derive(Debug)]
struct Slot {
    listeners: Listeners,
    session: [u8; 32],
}

impl Drop for Slot {
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
    /// Sweeps the store regularly, and notifies the listeners when another process changes it. Never returns.
    pub(super) async fn watch_store(&self) {
        let mut check = interval(CHECK_EVERY);
        let mut sweep = interval(SWEEP_EVERY);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_failing = false;
        self.tell_devices();
        loop {
            tokio::select! {
                _ = sweep.tick() => self.sweep(),
                // Only to evaluate the condition below again.
                () = self.changes.new_listener.notified() => {}
                _ = check.tick(), if self.changes.counter.receiver_count() > 0 || self.pushes() => {
                    let changed = self.store(|store| store.changed(Duration::ZERO, None));
                    let is_failing = changed.is_err();
                    if changed.unwrap_or_default() || is_failing != was_failing {
                        self.changes.notify();
                        self.tell_devices();
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
            Ok((before, after)) if before != after => self.changes.notify(),
            Ok(_) => {}
            Err(error) => tracing::warn!("cannot clean up the inbox: {error}"),
        }
    }
}

/// `GET /events`
pub(super) async fn listen(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let session = app.session(&headers, None)?;
    let Some(slot) = app.changes.listeners.enter(session.hash) else {
        let mut response = Response::new(Body::from("too many open pages"));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert(RETRY_AFTER, 30.into());
        return Ok(response);
    };
    let (sender, receiver) = mpsc::channel(1);
    let counter = app.changes.counter.subscribe();
    tokio::spawn(feed(Arc::clone(&app), session.hash, counter, sender));
    app.changes.new_listener.notify_one();
    let mut response = Response::new(Body::new(Stream {
        receiver,
        _slot: slot,
    }));
    let stream = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(CONTENT_TYPE, stream);
    Ok(response)
}

/// Feeds a stream until the page is closed, its session is over, or we end. A page that reads slowly gets one event for
/// several changes.
async fn feed(
    app: Arc<App>,
    session: [u8; 32],
    mut counter: watch::Receiver<Option<u64>>,
    sender: mpsc::Sender<&'static [u8]>,
) {
    let mut alive = interval(ALIVE_EVERY);
    // A separate receiver, because waiting for the end marks every change as seen.
    let mut end = counter.clone();
    loop {
        let next = tokio::select! {
            () = sender.closed() => return,
            _ = alive.tick() => ALIVE,
            changed = counter.changed() => match changed {
                Ok(()) if counter.borrow_and_update().is_some() => CHANGED,
                Ok(()) | Err(_) => return,
            },
        };
        // Attack: a stolen phone keeps its stream open. Revoking it must end that too. The last event makes an honest
        // page ask for the list, and so say that it is not logged in any more.
        let is_over = app.is_over(&session);
        let next = if is_over { CHANGED } else { next };
        tokio::select! {
            () = sender.closed() => return,
            sent = sender.send(next) => match sent {
                Ok(()) if !is_over => {}
                Ok(()) | Err(_) => return,
            },
            _ = end.wait_for(Option::is_none) => return,
        }
    }
}

/// The body of a stream.
struct Stream {
    receiver: mpsc::Receiver<&'static [u8]>,
    _slot: Slot,
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
