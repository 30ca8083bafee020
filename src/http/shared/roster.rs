//! Tracks the open connections, and chooses which one to close if there is no room for another.
//!
//! Does no I/O: `connections` reports what happens on the sockets.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

/// A connection whose client has kept us waiting this long is closed before a new one is. Without
/// this, a process that connects over and over could push out clients that are about to send a request.
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
    closed: Notify,
}

#[derive(Debug)]
struct Inner {
    connections: HashMap<u64, State>,
    /// The connections that may be closed for a new one, ordered by kind and time.
    closable: BTreeSet<(Kind, Instant, u64)>,
    /// How many connections have been aborted and have not closed yet.
    closing: usize,
    next_id: u64,
    /// Earlier than every other time in here.
    created: Instant,
    /// When we last warned that all connections are busy.
    warned: Option<Instant>,
}

/// Why a connection may be closed for a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Its first request has not arrived completely.
    New,
    /// A request was answered, and the next one has not arrived completely.
    Idle,
    /// Its client does not read the answer.
    Unread,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Since when we have waited for the client to send a request, or the rest of a body.
    since: Instant,
    /// True if it has had a request before.
    has_asked: bool,
    /// Since when the client has left bytes unread.
    unread_since: Option<Instant>,
    is_closing: bool,
    task: Option<AbortHandle>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The head has not arrived completely.
    Head,
    /// The head has arrived, but not the body.
    Body,
    /// The request has arrived, but is not answered yet.
    Answer,
}

impl State {
    /// Returns why and since when it may be closed; `None` while a request is being answered.
    fn closable(&self) -> Option<(Kind, Instant)> {
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

/// What a new connection has to wait for.
#[derive(Debug, PartialEq, Eq)]
enum Wait {
    /// A connection is closing.
    Closing,
    /// Every connection is busy, but one may be closed at this time if its client still does not read.
    Until(Instant),
    /// Every connection is busy.
    Busy,
}

impl Roster {
    /// Creates a roster for `capacity` connections, whose clients may leave answers unread for `unread_time`.
    pub(super) fn new(capacity: usize, unread_time: Duration) -> Arc<Roster> {
        Arc::new(Roster {
            capacity,
            unread_time,
            inner: Mutex::new(Inner {
                connections: HashMap::new(),
                closable: BTreeSet::new(),
                closing: 0,
                next_id: 0,
                created: Instant::now(),
                warned: None,
            }),
            closed: Notify::new(),
        })
    }

    /// Acquires a slot, and closes another connection for it if necessary. Waits while all are busy.
    /// May be cancelled.
    pub(super) async fn acquire(self: &Arc<Self>) -> Slot {
        loop {
            match self.try_acquire() {
                Ok(slot) => return slot,
                Err(Wait::Until(moment)) => {
                    // Tries again in either case.
                    let _ = timeout_at(moment, self.closed.notified()).await;
                }
                Err(Wait::Closing | Wait::Busy) => self.closed.notified().await,
            }
        }
    }

    /// Closes one connection even if there are free slots. Returns false if all are busy. May be cancelled.
    pub(super) async fn close_one(&self) -> bool {
        let wait = self.inner().make_room(Instant::now(), self.unread_time);
        while self.inner().closing > 0 {
            self.closed.notified().await;
        }
        wait == Wait::Closing
    }

    fn try_acquire(self: &Arc<Self>) -> Result<Slot, Wait> {
        let now = Instant::now();
        let mut inner = self.inner();
        if inner.connections.len() < self.capacity {
            let id = inner.insert(now);
            let roster = Arc::clone(self);
            return Ok(Slot(Reporter { roster, id }));
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
    fn insert(&mut self, now: Instant) -> u64 {
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
        self.connections.insert(id, state);
        self.closable.insert((Kind::New, now, id));
        id
    }

    fn remove(&mut self, id: u64) {
        if let Some(state) = self.connections.remove(&id) {
            self.closing -= usize::from(state.is_closing);
            if let Some((kind, since)) = state.closable() {
                self.closable.remove(&(kind, since, id));
            }
        }
    }

    /// Changes the state of a connection, and updates when it may be closed.
    fn change(&mut self, id: u64, change: impl FnOnce(&mut State)) {
        let Some(state) = self.connections.get_mut(&id) else {
            return;
        };
        let before = state.closable();
        change(state);
        let after = state.closable();
        if before != after {
            if let Some((kind, since)) = before {
                self.closable.remove(&(kind, since, id));
            }
            if let Some((kind, since)) = after {
                self.closable.insert((kind, since, id));
            }
        }
    }

    /// Closes the best connection to close, unless another one is closing already.
    fn make_room(&mut self, now: Instant, unread_time: Duration) -> Wait {
        if self.closing > 0 {
            return Wait::Closing;
        }
        if let Some(id) = self.best_to_close(now, unread_time) {
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

    fn best_to_close(&self, now: Instant, unread_time: Duration) -> Option<u64> {
        let longer_than = |kind, time| {
            let first = self.first(kind);
            first.filter(|(since, _)| *since + time <= now)
        };
        // Starts with connections that nobody is likely to miss. If there are only fresh ones, the
        // oldest is closed, because its client has had the most time.
        let found = longer_than(Kind::New, STALE)
            .or_else(|| longer_than(Kind::Idle, STALE))
            .or_else(|| longer_than(Kind::Unread, unread_time))
            .or_else(|| {
                let fresh = [self.first(Kind::New), self.first(Kind::Idle)];
                fresh.into_iter().flatten().min()
            });
        found.map(|(_, id)| id)
    }

    /// Returns the connection that has been of this kind the longest.
    fn first(&self, kind: Kind) -> Option<(Instant, u64)> {
        let mut found = self.closable.range((kind, self.created, 0)..);
        let first = found.next().filter(|(found, _, _)| *found == kind);
        first.map(|(_, since, id)| (*since, *id))
    }
}

/// One of the roster's slots for connections. Dropping it frees the slot.
#[derive(Debug)]
pub(super) struct Slot(Reporter);

impl Slot {
    pub(super) fn reporter(&self) -> Reporter {
        self.0.clone()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.roster.inner().remove(self.0.id);
        self.0.roster.closed.notify_one();
    }
}

/// Reports to the roster what happens on a connection.
#[derive(Debug, Clone)]
pub(super) struct Reporter {
    roster: Arc<Roster>,
    id: u64,
}

impl Reporter {
    /// Sets the task that serves the connection. Aborting it closes the connection.
    pub(super) fn set_task(&self, task: AbortHandle) {
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

    /// The answer is complete, but some of it may not be sent yet.
    pub(super) fn answered(&self) {
        let now = Instant::now();
        self.change(|state| {
            state.phase = Phase::Head;
            state.since = now;
            state.has_asked = true;
        });
    }

    /// The client does not read the bytes that we have for it.
    pub(super) fn output_is_stuck(&self) {
        let now = Instant::now();
        self.change(|state| state.unread_since = Some(now));
    }

    /// Everything has been sent to the client.
    pub(super) fn output_is_sent(&self) {
        self.change(|state| state.unread_since = None);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.roster.inner().change(self.id, change);
    }
}

#[cfg(test)]
mod tests;
