//! The phases of a session.

use std::time::Duration;

use tokio::time::Instant;

use super::{DRAIN_TIME, Ended};

/// A session goes through these from top to bottom. It may skip some, and never goes back.
#[derive(Debug)]
pub(super) enum Phase {
    /// Lines go both ways.
    Relaying,
    /// The client has gone and no call waits for a decision. The upstream has until `until` to read what is queued for
    /// it; we still read what it sends.
    Closing {
        /// When this phase ends, even if the upstream has not read everything.
        until: Instant,
    },
    /// We close the other side, fail pending requests, and reap the upstream.
    Ending(End),
    /// The upstream ended before it sent a message. If the client sends a request within `patience`, the answer says why.
    Explaining {
        /// How the session has ended.
        ended: Ended,
        /// What the answer says.
        why: String,
        /// How long to wait for the first request.
        patience: Duration,
    },
    /// Only the `close` record is missing.
    Over(Ended),
}

/// What ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client has closed.
    Client,
    /// The upstream has closed, or cannot be written to any more.
    Upstream,
    /// A signal with this number arrived.
    Signal(i32),
}

/// Since when the upstream has read nothing.
///
/// Meanwhile we do not read from the client either. So we check now and again whether it has closed.
#[derive(Debug, Default)]
pub(super) struct Stall(Option<Stalled>);

#[derive(Debug, Clone, Copy)]
struct Stalled {
    since: Instant,
    next_check: Instant,
}

impl Stall {
    /// Starts the clock, if it does not run yet: the upstream reads nothing.
    pub(super) fn begin(&mut self) {
        self.0.get_or_insert_with(|| {
            let now = Instant::now();
            Stalled {
                since: now,
                next_check: now + DRAIN_TIME,
            }
        });
    }

    /// Stops the clock: the upstream reads again.
    pub(super) fn end(&mut self) {
        self.0 = None;
    }

    /// Returns when to check the client next.
    pub(super) fn next_check(&self) -> Option<Instant> {
        self.0.map(|stalled| stalled.next_check)
    }

    /// Schedules the next check. Returns for how long we have not read from the client.
    pub(super) fn check(&mut self) -> Duration {
        let now = Instant::now();
        let Some(stalled) = &mut self.0 else {
            return Duration::ZERO;
        };
        stalled.next_check = now + DRAIN_TIME;
        now - stalled.since
    }
}
