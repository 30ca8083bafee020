//! The list that the gate can have read when it decides.

use std::time::Duration;

use serde_json::Value;

use super::Era;
use crate::gate::tests::properties::reading::{Listing, shown_description};

/// DESIGN: "Five seconds at most: a list that fails, hangs or keeps changing makes every tool
/// unlisted".
const PATIENCE: Duration = Duration::from_secs(5);
/// A reading is given up after two minutes.
const LONGEST: Duration = Duration::from_secs(120);
/// DESIGN: "modern: by `ttlMs`, with a floor".
const FLOOR: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(in super::super) struct Lists {
    /// The gate's newest request, until it is answered.
    open: Option<Asked>,
    /// It is too old, so no answer to it counts.
    is_given_up: bool,
    /// Nothing can have made the gate give up on it.
    surely_live: bool,
    /// Since when calls wait for the list.
    wanted: Option<Duration>,
    /// The answer came too late for what it told: the gate asks again.
    restarts: bool,
    changes: u32,
    /// The server has answered one of the gate's own requests in this session; until then a
    /// request may go out once more, under a number.
    is_proven: bool,
    /// Whatever the gate can take for the list since it last changed; `None` is a failed one.
    pub(super) readings: Vec<Option<Listing>>,
    /// The only reading is one that the gate has surely taken.
    pub(super) settled: bool,
    until: Option<Duration>,
}

struct Asked {
    id: Value,
    era: Era,
    since: Duration,
    /// How often the list had changed then.
    changes: u32,
}

impl Lists {
    pub(super) fn is_at(&mut self, now: Duration) {
        if self.until.is_some_and(|until| until <= now) {
            self.forget();
        }
        if (self.open.as_ref()).is_some_and(|open| open.since + LONGEST <= now) {
            // It is tried again later, or when it is needed.
            self.is_given_up = true;
            self.surely_live = false;
        }
        if self.wanted.is_some_and(|wanted| wanted + PATIENCE <= now) {
            self.surely_live = false;
            if !self.readings.contains(&None) {
                self.readings.push(None);
            }
        }
    }

    pub(in super::super) fn changed(&mut self) {
        self.changes += 1;
        // A reading that no call waits for is given up.
        self.surely_live = false;
        self.forget();
    }

    /// The client begins a session.
    pub(super) fn session_begins(&mut self) {
        self.changed();
        self.is_proven = false;
    }

    fn forget(&mut self) {
        self.readings.clear();
        self.settled = false;
        self.until = None;
    }

    /// The gate asks for it.
    pub(super) fn asked(&mut self, id: Value, era: Era, now: Duration) {
        if let Some(open) = self
            .open
            .as_mut()
            .filter(|it| id.is_i64() && (it.id.is_string() || !self.is_proven))
        {
            // The same once more, under a number; whichever is answered counts.
            open.id = id;
            return;
        }
        let waits = self.open.is_some() && self.surely_live;
        assert!(!waits, "asked twice: {id}");
        if !std::mem::take(&mut self.restarts) {
            self.wanted = Some(now);
            self.surely_live = true;
        }
        self.is_given_up = false;
        self.open = Some(Asked {
            id,
            era,
            since: now,
            changes: self.changes,
        });
    }

    /// The id of the gate's newest request, while it is open.
    pub(in super::super) fn open(&self) -> Option<&Value> {
        let open = self.open.as_ref().filter(|_| !self.is_given_up);
        open.map(|asked| &asked.id)
    }

    /// The upstream answers; `None` is an error.
    pub(in super::super) fn answered(
        &mut self,
        listing: Option<Listing>,
        now: Duration,
        ttl_ms: Option<u64>,
    ) {
        let Some(asked) = self.open.take() else {
            return;
        };
        self.is_proven = true;
        if listing.is_some() && asked.changes != self.changes {
            self.restarts = true;
            return;
        }
        if self.surely_live {
            self.readings.clear();
        }
        self.settled = self.surely_live && listing.is_some();
        self.until = None;
        if listing.is_some() {
            // SPEC 2026-07-28: "If `ttlMs` is absent, clients SHOULD assume a default of `0`".
            let ttl_ms = ttl_ms.or((asked.era == Era::Modern).then_some(0));
            let ttl = ttl_ms.map(Duration::from_millis);
            self.until = ttl.map(|ttl| now + ttl.max(FLOOR));
        }
        self.readings.push(listing);
        if self.surely_live {
            self.wanted = None;
        }
    }

    /// Whether a tool can be what was shown.
    pub(super) fn may_be(&self, tool: &str, description: &Option<String>) -> bool {
        let mut readings = self.readings.iter();
        readings.any(|list| shown_description(list.as_ref(), tool) == *description)
    }
}
