//! The calls that wait: kept, bounded, and taken out.
//!
//! What they wait for is decided in `deciding` and `ask`.

use super::held::{Held, HeldKey, Stage};
use super::recording::Call;
use super::state::Gate;

/// What all held calls together may take, beside the first: the number alone bounds little
/// where each may be as large as a message.
pub(super) const MAX_HELD_BYTES: usize = 256 * 1024 * 1024;

pub(super) const TOO_MANY: &str =
    "too many requests are waiting; try again when some have been answered (--max-pending)";

impl Gate {
    /// Whether there is no room to keep one more call back, of so many bytes: among those that
    /// wait, or whose question is out.
    pub(super) fn is_full(&self, bytes: usize) -> bool {
        let waiting = self.held.len() + self.asks.answered_count() + self.upstream_rounds.len();
        let is_too_much = waiting > 0 && self.kept_bytes() + bytes > MAX_HELD_BYTES;
        waiting >= self.settings.max_pending || is_too_much
    }

    /// What calls take that are kept, in bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.held_bytes + self.asks.kept_bytes() + self.upstream_rounds.bytes()
    }

    /// Puts a call among those that wait.
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

    /// Takes a held call out and hands it on with its text.
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

    pub(super) fn set_stage(&mut self, key: HeldKey, stage: Stage) {
        if let Some(held) = self.held.get_mut(&key) {
            held.stage = stage;
        }
    }
}
