//! Which connections are open, and which one gives way when there is no room for another.
//!
//! It knows neither sockets nor HTTP; `connections` reports what happens.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

/// A connection that has waited this long for its client gives way before one that has just come.
/// Without this, a process that connects over and over could push out clients that are about to ask.
const STALE: Duration = Duration::from_secs(2);
/// How often to warn that every connection is busy.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// All open connections of a listener.
#[derive(Debug)]
pub(super) struct Roster {
    capacity: usize,
    /// How long a client may leave an answer unread before its connection may be closed for another.
    unread_time: Duration,
    inner: Mutex<Inner>,
    /// Notified whenever a connection has closed.
    left: Notify,
}

#[derive(Debug)]
struct Inner {
    seats: HashMap<u64, State>,
    /// The connections that may give way, ordered by kind and time.
    yielding: BTreeSet<(Kind, Instant, u64)>,
    /// How many have been told to close and have not closed yet.
    closing: usize,
    next_id: u64,
    /// Earlier than every other moment in here.
    begun: Instant,
    warned: Option<Instant>,
}

/// Why a connection may give way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// It has not sent a whole request yet.
    New,
    /// It has been answered before, and its next request is not whole.
    Idle,
    /// Its client does not read the answer.
    Unread,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// When it began to wait for its client: to ask, or to send a body.
    since: Instant,
    has_asked: bool,
    /// Since when bytes have been waiting for the client to read them.
    unread_since: Option<Instant>,
    is_closing: bool,
    task: Option<AbortHandle>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No whole head has arrived.
    Head,
    /// The head has arrived, and the body has not.
    Body,
    /// The request has arrived, and the answer has not been given.
    Answer,
}

impl State {
    /// Why and since when it may give way. `None` while a request is being answered.
    fn yields(&self) -> Option<(Kind, Instant)> {
        if self.is_closing {
            return None;
        }
        if let Some(since) = self.unread_since {
            return Some((Kind::Unread, since));
        }
        match (self.phase, self.has_asked) {
            (Phase::Answer, _) => None,
            (Phase::Head | Phase::Body, false) => Some((Kind::New, self.since)),
            (Phase::Head | Phase::Body, true) => Some((Kind::Idle, self.since)),
        }
    }
}

/// What a newcomer has to wait for.
#[derive(Debug, PartialEq, Eq)]
enum Wait {
    /// A connection is closing.
    Closing,
    /// Every connection is busy, but one may be closed then if its client still does not read.
    Until(Instant),
    /// Every connection is busy.
    Busy,
}

impl Roster {
    /// For this many connections. Their clients may leave answers unread for `unread_time`.
    pub(super) fn new(capacity: usize, unread_time: Duration) -> Arc<Roster> {
        Arc::new(Roster {
            capacity,
            unread_time,
            inner: Mutex::new(Inner {
                seats: HashMap::new(),
                yielding: BTreeSet::new(),
                closing: 0,
                next_id: 0,
                begun: Instant::now(),
                warned: None,
            }),
            left: Notify::new(),
        })
    }

    /// Takes a seat, and closes another connection for it if need be. Waits while all are busy. May
    /// be cancelled.
    pub(super) async fn enter(self: &Arc<Self>) -> Place {
        loop {
            match self.try_enter() {
                Ok(place) => return place,
                Err(Wait::Until(moment)) => {
                    // Either way, look again.
                    let _ = timeout_at(moment, self.left.notified()).await;
                }
                Err(Wait::Closing | Wait::Busy) => self.left.notified().await,
            }
        }
    }

    /// Closes one connection even if there are seats left. False if all are busy. May be cancelled.
    pub(super) async fn shrink(&self) -> bool {
        let wait = self.inner().make_room(Instant::now(), self.unread_time);
        while self.inner().closing > 0 {
            self.left.notified().await;
        }
        wait == Wait::Closing
    }

    fn try_enter(self: &Arc<Self>) -> Result<Place, Wait> {
        let now = Instant::now();
        let mut inner = self.inner();
        if inner.seats.len() < self.capacity {
            let id = inner.sit_down(now);
            let roster = Arc::clone(self);
            return Ok(Place(Seat { roster, id }));
        }
        let wait = inner.make_room(now, self.unread_time);
        let warns = wait == Wait::Busy && inner.warned.is_none_or(|at| at + WARN_EVERY <= now);
        if warns {
            inner.warned = Some(now);
        }
        drop(inner);
        if warns {
            let count = self.capacity;
            tracing::warn!("all {count} connections are busy; new ones wait until one is free");
        }
        Err(wait)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn sit_down(&mut self, now: Instant) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let state = State {
            phase: Phase::Head,
            since: now,
            has_asked: false,
            unread_since: None,
            is_closing: false,
            task: None,
        };
        self.seats.insert(id, state);
        self.yielding.insert((Kind::New, now, id));
        id
    }

    fn get_up(&mut self, id: u64) {
        if let Some(state) = self.seats.remove(&id) {
            self.closing -= usize::from(state.is_closing);
            if let Some((kind, since)) = state.yields() {
                self.yielding.remove(&(kind, since, id));
            }
        }
    }

    /// Changes what is known of a connection, and so when it gives way.
    fn change(&mut self, id: u64, change: impl FnOnce(&mut State)) {
        let Some(state) = self.seats.get_mut(&id) else {
            return;
        };
        let before = state.yields();
        change(state);
        let after = state.yields();
        if before != after {
            if let Some((kind, since)) = before {
                self.yielding.remove(&(kind, since, id));
            }
            if let Some((kind, since)) = after {
                self.yielding.insert((kind, since, id));
            }
        }
    }

    /// Tells the connection that gives way first to close, unless another is closing already.
    fn make_room(&mut self, now: Instant, unread_time: Duration) -> Wait {
        if self.closing > 0 {
            return Wait::Closing;
        }
        if let Some(id) = self.first_to_yield(now, unread_time) {
            self.change(id, |state| {
                state.is_closing = true;
                if let Some(task) = &state.task {
                    task.abort();
                }
            });
            self.closing += 1;
            return Wait::Closing;
        }
        let unread = self.first(Kind::Unread);
        unread.map_or(Wait::Busy, |(since, _)| Wait::Until(since + unread_time))
    }

    fn first_to_yield(&self, now: Instant, unread_time: Duration) -> Option<u64> {
        let since_long = |kind, time| {
            let first = self.first(kind);
            first.filter(|(since, _)| *since + time <= now)
        };
        // First the ones that nobody is likely to miss. If all of them have just come, the oldest
        // goes, because its client has had the most time.
        let found = since_long(Kind::New, STALE)
            .or_else(|| since_long(Kind::Idle, STALE))
            .or_else(|| since_long(Kind::Unread, unread_time))
            .or_else(|| {
                let fresh = [self.first(Kind::New), self.first(Kind::Idle)];
                fresh.into_iter().flatten().min()
            });
        found.map(|(_, id)| id)
    }

    /// The connection that has been of this kind for longest.
    fn first(&self, kind: Kind) -> Option<(Instant, u64)> {
        let mut found = self.yielding.range((kind, self.begun, 0)..);
        let first = found.next().filter(|(found, _, _)| *found == kind);
        first.map(|(_, since, id)| (*since, *id))
    }
}

/// A connection's seat; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place(Seat);

impl Place {
    pub(super) fn seat(&self) -> Seat {
        self.0.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.roster.inner().get_up(self.0.id);
        self.0.roster.left.notify_one();
    }
}

/// Takes reports of what happens on a connection.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    roster: Arc<Roster>,
    id: u64,
}

impl Seat {
    /// Aborting this task closes the connection.
    pub(super) fn is_served_by(&self, task: AbortHandle) {
        self.change(|state| {
            if state.is_closing {
                task.abort();
            }
            state.task = Some(task);
        });
    }

    /// The head of a request has arrived.
    pub(super) fn head_arrived(&self, has_body: bool) {
        let now = Instant::now();
        self.change(|state| {
            state.since = now;
            state.phase = if has_body { Phase::Body } else { Phase::Answer };
        });
    }

    /// The request's body has arrived, or the rest of it is not needed.
    pub(super) fn body_arrived(&self) {
        self.change(|state| {
            if state.phase == Phase::Body {
                state.phase = Phase::Answer;
            }
        });
    }

    /// The answer is complete. Some of it may still wait to be sent.
    pub(super) fn answered(&self) {
        let now = Instant::now();
        self.change(|state| {
            state.phase = Phase::Head;
            state.since = now;
            state.has_asked = true;
        });
    }

    /// Bytes wait for the client, which does not read.
    pub(super) fn output_is_stuck(&self) {
        let now = Instant::now();
        self.change(|state| state.unread_since = Some(now));
    }

    /// Nothing waits for the client any more.
    pub(super) fn output_is_sent(&self) {
        self.change(|state| state.unread_since = None);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.roster.inner().change(self.id, change);
    }
}

#[cfg(test)]
mod tests;
