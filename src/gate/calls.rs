//! Keeps the calls that wait, within limits, and takes them out.
//!
//! `deciding` and `ask` decide what they wait for.

use super::held::{Held, HeldKey, WaitsFor};
use super::recording::Call;
use super::state::Gate;

/// The memory limit for all held calls together, except that one call always fits. A limit on their
/// number alone would mean little, since each may be as large as a message.
pub(super) const MAX_HELD_BYTES: usize = 256 * 1024 * 1024;

pub(super) const TOO_MANY: &str =
    "too many requests are waiting; try again when some have been answered (--max-pending)";

impl Gate {
    /// Returns true if there is no room for one more call of this size among those that wait or
    /// were answered with a question.
    pub(super) fn is_full(&self, bytes: usize) -> bool {
        let waiting = self.held.len() + self.asks.answered_count() + self.upstream_rounds.len();
        let is_too_much = waiting > 0 && self.kept_bytes() + bytes > MAX_HELD_BYTES;
        waiting >= self.settings.max_pending || is_too_much
    }

    /// Returns the memory for all kept calls, in bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.held_bytes + self.asks.kept_bytes() + self.upstream_rounds.bytes()
    }

    /// Adds a call to those that wait.
    pub(super) fn keep(&mut self, held: Held) -> HeldKey {
        let key = self.fresh_key();
        self.held_by_id.insert(held.id.clone(), key);
        self.held_bytes += held.bytes();
        self.held.insert(key, held);
        key
    }

    pub(super) fn take_held(&mut self, key: HeldKey) -> Option<Held> {
        let held = self.held.remove(&key)?;
        self.held_by_id.remove(&held.id);
        self.held_bytes = self.held_bytes.saturating_sub(held.bytes());
        Some(held)
    }

    /// Takes a held call out and passes it on with its text.
    pub(super) fn with_taken(
        &mut self,
        key: HeldKey,
        then: impl FnOnce(&mut Gate, &Call<'_>, String),
    ) {
        let Some(held) = self.take_held(key) else {
            return;
        };
        let call = Call {
            id: &held.id,
            params: &held.call.params(),
            era: held.era,
            arrived: held.arrived,
        };
        then(self, &call, held.call.text().to_owned());
    }

    pub(super) fn set_waits_for(&mut self, key: HeldKey, waits_for: WaitsFor) {
        if let Some(held) = self.held.get_mut(&key) {
            held.waits_for = waits_for;
        }
    }
}
