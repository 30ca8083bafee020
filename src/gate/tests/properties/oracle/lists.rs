//! The lists that the gate can have read when it decides.

use std::time::Duration;

use serde_json::Value;

use crate::gate::tests::properties::reading::{Listing, shown_description};
use crate::gate::tests::properties::steps::Era;

/// contract.md, "Tool list": "it reads again by `ttlMs`, with a floor of 5 s".
const FLOOR: Duration = Duration::from_secs(5);

/// A `tools/list` of the gate's own.
#[derive(Debug)]
pub(in super::super) struct OwnList {
    pub(in super::super) id: Value,
    pub(in super::super) open: bool,
    era: Era,
    /// Nothing can have made the gate give it up.
    surely_live: bool,
    pages: Listing,
    /// How often the list had changed by then.
    changes: u32,
    ttl_ms: Option<u64>,
    /// The same page with another id. The first answer to either counts.
    twin: Option<usize>,
}

#[derive(Default)]
pub(in super::super) struct Lists {
    pub(in super::super) asked: Vec<OwnList>,
    /// Everything that the gate can accept as the list since it last changed; `None` is a failed
    /// one.
    pub(super) readings: Vec<Option<Listing>>,
    /// The newest reading is one that the gate certainly has.
    pub(super) settled: bool,
    /// Until when that holds.
    until: Option<Duration>,
    changes: u32,
    /// How many of the readings end with this step. Decisions made earlier in the step remain
    /// right.
    outdated: usize,
    changed_in_step: bool,
    /// Time passes in this step.
    waits: bool,
    /// The server has answered one of the gate's own requests in this session. Until then a request
    /// may be repeated once, with a number.
    is_proven: bool,
    /// It has done so in this step.
    is_answered: bool,
}

impl Lists {
    pub(super) fn is_at(&mut self, now: Duration) {
        if self.until.is_some_and(|until| until <= now) {
            (self.settled, self.until, self.outdated) = (false, None, 0);
            self.readings.clear();
            self.may_fail();
        }
    }

    /// A list that has not arrived when time passes counts as failed.
    fn may_fail(&mut self) {
        if self.waits && !self.settled {
            self.readings.push(None);
        }
    }

    pub(in super::super) fn changed(&mut self) {
        self.changes += 1;
        self.settled = false;
        self.until = None;
        self.outdated = self.readings.len();
        self.changed_in_step = true;
        // A reading that no call waits for is given up.
        self.are_doubtful();
    }

    pub(super) fn session_begins(&mut self) {
        self.changed();
        self.is_proven = false;
    }

    /// The client gets a list: ours is read again if it differs.
    pub(in super::super) fn client_is_listed(&mut self) {
        self.settled = false;
        self.are_doubtful();
    }

    fn are_doubtful(&mut self) {
        for list in &mut self.asked {
            list.surely_live = false;
        }
    }

    pub(super) fn waits(&mut self) {
        self.waits = true;
        self.may_fail();
    }

    pub(super) fn ends_step(&mut self) {
        self.readings.drain(..std::mem::take(&mut self.outdated));
        self.changed_in_step = false;
        self.is_proven |= std::mem::take(&mut self.is_answered);
        if std::mem::take(&mut self.waits) {
            self.are_doubtful();
        }
    }

    /// The gate asks for it.
    pub(super) fn sees_request(&mut self, request: &Value) {
        let cursor = request["params"]["cursor"].as_str();
        let era = match request["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] {
            Value::String(_) => Era::Stateless,
            _ => Era::Legacy,
        };
        let (pages, changes, ttl_ms, live) = match (cursor, self.asked.last()) {
            (Some(_), Some(before)) => (
                before.pages.clone(),
                before.changes,
                before.ttl_ms,
                before.surely_live,
            ),
            (Some(_), None) => panic!("a page of nothing: {request}"),
            (None, _) => (Listing::new(), self.changes, None, true),
        };
        // The same page again, with a number. If the page was answered in the line that leads to
        // this, only its text shows that.
        let is_early = request["id"].is_i64() && !self.is_proven;
        let is_twin = request["id"].is_i64()
            && self.asked.last().is_some_and(|last| {
                last.twin.is_none() && (last.id.is_string() || (is_early && last.open))
            });
        if cursor.is_none() && !is_twin {
            // It was not known after all, or the client got another list.
            self.settled = false;
        }
        for list in &self.asked {
            let given_up = !list.surely_live || self.waits || self.changed_in_step || is_twin;
            assert!(!list.open || given_up, "asked twice: {request}");
        }
        let is_late = is_twin && self.asked.last().is_some_and(|last| !last.open);
        let at = self.asked.len() - usize::from(is_late);
        let list = OwnList {
            id: request["id"].clone(),
            open: !is_late,
            era,
            surely_live: live && !self.changed_in_step && (is_twin || !is_early),
            pages,
            changes,
            ttl_ms,
            twin: None,
        };
        self.asked.insert(at, list);
        if is_twin && !is_late {
            self.asked[at].changes = self.asked[at - 1].changes;
            (self.asked[at].twin, self.asked[at - 1].twin) = (Some(at - 1), Some(at));
        }
    }

    /// The upstream answers with a page; `None` is an error. `last`: no page follows.
    pub(in super::super) fn answered(
        &mut self,
        at: usize,
        page: Option<Listing>,
        last: bool,
        ttl_ms: Option<u64>,
        now: Duration,
    ) {
        let list = &mut self.asked[at];
        if !std::mem::replace(&mut list.open, false) {
            return;
        }
        self.is_answered = true;
        let (twin, era) = (list.twin, list.era);
        if let Some(twin) = twin {
            self.asked[twin].open = false;
        }
        let list = &mut self.asked[at];
        let Some(page) = page else {
            self.readings.push(None);
            self.settled = false;
            return;
        };
        for (name, definitions) in page {
            let all = list.pages.entry(name).or_default();
            for definition in definitions {
                if !all.contains(&definition) {
                    all.push(definition);
                }
            }
        }
        // SPEC 2026-07-28: "If `ttlMs` is absent, clients SHOULD assume a default of `0`".
        let ttl_ms = ttl_ms.or((era == Era::Stateless).then_some(0));
        list.ttl_ms = list.ttl_ms.into_iter().chain(ttl_ms).min();
        if let Some(twin) = twin {
            self.asked[twin].pages = self.asked[at].pages.clone();
            self.asked[twin].ttl_ms = self.asked[at].ttl_ms;
        }
        let list = &self.asked[at];
        if last && list.changes == self.changes {
            if list.surely_live {
                self.outdated = self.readings.len();
            }
            // An empty list may come from a server that is still starting, so it is requested
            // again.
            self.settled = list.surely_live && !list.pages.is_empty();
            // If it is not certain that this list counts, its lifetime is not known either.
            let ttl = list.ttl_ms.filter(|_| list.surely_live);
            self.until = ttl.map(|ttl| now + Duration::from_millis(ttl).max(FLOOR));
            self.readings.push(Some(list.pages.clone()));
        }
    }

    pub(super) fn live_ids(&self) -> impl Iterator<Item = &Value> {
        let live = self.asked.iter();
        let live = live.filter(|list| list.open && list.surely_live);
        live.map(|list| &list.id)
    }

    pub(super) fn newest(&self) -> Option<&Listing> {
        self.readings.last()?.as_ref()
    }

    /// Returns true if a tool can be what was shown.
    pub(super) fn may_be(&self, tool: &str, description: &Option<String>) -> bool {
        let mut readings = self.readings.iter();
        readings.any(|list| shown_description(list.as_ref(), tool) == *description)
    }
}
