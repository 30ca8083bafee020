//! Where a session is between its first byte and its last.

use std::time::Duration;

use tokio::time::Instant;

use super::{Ended, FAREWELL};

/// A session goes through these from the top to the bottom. It may leave some out, and never goes back.
#[derive(Debug)]
pub(super) enum Phase {
    /// Lines go both ways.
    Relaying,
    /// The client has gone and no call waits for a decision. The upstream has until then to take what it is owed;
    /// what it says meanwhile is still heard.
    Closing {
        /// When it ends, whether the upstream has taken everything or not.
        until: Instant,
    },
    /// The other side is closed, what waits is answered, and the upstream is reaped.
    Ending(End),
    /// The upstream ended before the client asked anything. A client that asks within `patience` is told why.
    Explaining {
        /// How the session has ended.
        ended: Ended,
        /// What the client is told.
        why: String,
        /// How long the first request may take.
        patience: Duration,
    },
    /// Only the record of it is missing.
    Over(Ended),
}

/// What ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client has closed.
    Client,
    /// The upstream has closed, or can be told nothing more.
    Upstream,
    /// A signal; holds its number.
    Signal(i32),
}

/// Since when the upstream takes nothing.
///
/// Nothing is then read from the client, so a client that closes does not show by reading: it is looked at now and
/// again.
#[derive(Debug, Default)]
pub(super) struct Stall(Option<Stalled>);

#[derive(Debug, Clone, Copy)]
struct Stalled {
    since: Instant,
    look_at: Instant,
}

impl Stall {
    /// The upstream takes nothing.
    pub(super) fn begin(&mut self) {
        self.0.get_or_insert_with(|| {
            let now = Instant::now();
            Stalled {
                since: now,
                look_at: now + FAREWELL,
            }
        });
    }

    /// The upstream takes something.
    pub(super) fn end(&mut self) {
        self.0 = None;
    }

    /// When to look at the client next.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.0.map(|stalled| stalled.look_at)
    }

    /// The client is looked at now: for how long nothing was read from it.
    pub(super) fn look(&mut self) -> Duration {
        let now = Instant::now();
        let Some(stalled) = &mut self.0 else {
            return Duration::ZERO;
        };
        stalled.look_at = now + FAREWELL;
        now - stalled.since
    }
}
