//! Sends questions, their ends, and decisions made elsewhere to the out-of-band engines.
//!
//! Does not know where items are stored or who may decide; `ask` decides what a verdict means.

use std::sync::Arc;
use std::time::Duration;

use super::held::{AskKey, Held};
use super::output::{Output, ToEngine};
use super::settings::EngineId;
use super::state::{Gate, Now, unix_ms};
use super::verdict::Via;
use crate::approval::item::{Choice, Closed, Item, Verdict};
use crate::approval::request::ApprovalRequest;

impl Gate {
    /// Hands a question to an engine as `item`, in the place of another one if there was one. Verdicts count until
    /// `until`.
    pub(super) fn put_item(
        &mut self,
        key: AskKey,
        (engine, item): (EngineId, String),
        replaces: Option<String>,
        (until, opens_browser): (Option<Duration>, bool),
        now: Now,
    ) {
        let answered = self.asks.get(key).and_then(|ask| ask.answered_call());
        let call = answered.map(|(_, held)| held.call.clone());
        if let Some(request) = self.request_of(key, call.as_ref()) {
            let expires_ms = until.map(|until| unix_ms(until, now));
            let item = Box::new(request.item(item, now.unix_ms, expires_ms));
            self.put(Output::ToEngine(ToEngine::Ask {
                engine,
                item,
                replaces,
                opens_browser,
            }));
        }
    }

    /// Closes an item that nobody waits for any more.
    pub(super) fn close_item(&mut self, item: String, how: Closed) {
        self.end_invitation(&item);
        self.put(Output::ToEngine(ToEngine::Close { item, how }));
    }

    /// Keeps an item open without a call until `until`.
    pub(super) fn park_item(&mut self, item: String, until: Duration, now: Now) {
        self.end_invitation(&item);
        let until_ms = unix_ms(until, now);
        self.put(Output::ToEngine(ToEngine::Park { item, until_ms }));
    }

    /// Adds a decision made outside the inbox to its history. By then the call has been released or refused, and
    /// nothing waits for this.
    pub(super) fn add_to_history(
        &mut self,
        held: &Held,
        (request, item): (&Arc<ApprovalRequest>, Option<&str>),
        (choice, reason): (Choice, Option<&str>),
        via: &Via,
        now: Now,
    ) {
        let has_inbox = self.settings.inbox().is_some();
        let Some(assurance) = via.assurance.filter(|_| has_inbox) else {
            return;
        };
        // The inbox knows its own verdicts.
        if via.engine == Via::INBOX.engine {
            return;
        }
        match self.history.room(now.elapsed) {
            Room::Some => {}
            Room::None => return,
            Room::NoMore => {
                return self.warn(
                    "the inbox's history misses decisions that came faster than people can decide; \
                     the audit log has them all"
                        .into(),
                );
            }
        }
        let waited = now.elapsed.saturating_sub(held.arrived);
        let waited = i64::try_from(waited.as_millis()).unwrap_or(i64::MAX);
        let told = DecidedCall {
            // If the inbox also listed the question, that item is the row.
            id: item.map_or_else(|| self.ids.next_hex(), str::to_owned),
            request: Arc::clone(request),
            asked_ms: now.unix_ms.saturating_sub(waited),
            verdict: Verdict {
                fields: None,
                choice,
                reason: reason.map(str::to_owned),
                cover: via.covers,
                assurance,
                approver: via.approver.as_deref().map(str::to_owned),
                decided_ms: now.unix_ms,
            },
            engine: via.engine,
        };
        self.put(Output::ToEngine(ToEngine::Decided(Box::new(told))));
    }
}

/// A call that a person decided about through another engine than the inbox.
///
/// The inbox's own thread builds its texts: a call must not wait for its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecidedCall {
    id: String,
    request: Arc<ApprovalRequest>,
    asked_ms: i64,
    verdict: Verdict,
    engine: &'static str,
}

impl DecidedCall {
    /// Returns roughly how much memory it takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let description = self.request.description.as_ref();
        self.request.call.bytes() + description.map_or(0, String::len)
    }

    /// Returns what the history keeps: the call, the verdict, and the engine's name.
    #[must_use]
    pub fn into_parts(self) -> (Item, Verdict, &'static str) {
        let item = self.request.item(self.id, self.asked_ms, None);
        (item, self.verdict, self.engine)
    }
}

/// How many decisions may go to the inbox's history per second. Its queue has no room for more.
const HISTORY_A_SECOND: u32 = 200;

/// Counts what goes to the inbox's history, so that a flood of decisions does no other harm.
#[derive(Debug, Default)]
pub(super) struct HistoryRate {
    began: Duration,
    count: u32,
    has_warned: bool,
}

/// Whether a decision may go to the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Some,
    None,
    /// None, for the first time.
    NoMore,
}

impl HistoryRate {
    fn room(&mut self, now: Duration) -> Room {
        if self.count == 0 || now.saturating_sub(self.began) >= Duration::from_secs(1) {
            (self.began, self.count) = (now, 0);
        }
        if self.count < HISTORY_A_SECOND {
            self.count += 1;
            return Room::Some;
        }
        match std::mem::replace(&mut self.has_warned, true) {
            true => Room::None,
            false => Room::NoMore,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_decisions_warns_once_and_the_next_second_has_room_again() {
        let mut rate = HistoryRate::default();
        let at = Duration::from_millis;
        for _ in 0..HISTORY_A_SECOND {
            assert_eq!(rate.room(at(5_000)), Room::Some);
        }
        assert_eq!(rate.room(at(5_500)), Room::NoMore);
        assert_eq!(rate.room(at(5_999)), Room::None);
        assert_eq!(rate.room(at(6_000)), Room::Some);
    }
}
