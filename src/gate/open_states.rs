//! The states of 2026-07-28 that are out: each stands for a question that a retry may answer.
//!
//! Which retry may, and what follows, is decided in `rounds`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::held::{Approved, AskedAs, Held};

/// What an entry takes beside the text of a call, roughly.
pub(super) const ENTRY: usize = 1024;

/// What a state that is out stands for.
#[derive(Debug)]
pub(super) enum Outstanding {
    /// A human is asked about a call.
    Question {
        /// The call, whose request has been answered.
        held: Held,
        /// How many more yeses are needed, this question's included.
        yeses_needed: u32,
    },
    /// The upstream asked something of an approved call.
    Round(Approved),
}

impl Outstanding {
    pub(super) fn asked_as(&self) -> Option<&AskedAs> {
        match self {
            Outstanding::Question { held, .. } => held.asked_as.as_ref(),
            Outstanding::Round(approved) => Some(&approved.asked_as),
        }
    }

    fn bytes(&self) -> usize {
        ENTRY
            + match self {
                Outstanding::Question { held, .. } => held.text.len(),
                Outstanding::Round(_) => 0,
            }
    }
}

/// The states that are out, by nonce. A state is good while it stands here, and is taken out
/// by the first retry that brings it: INVARIANT 2, one approval, one execution.
///
/// Bounded by its user: see [`Gate::is_full`](super::state::Gate).
#[derive(Debug, Default)]
pub(super) struct OpenStates {
    open: BTreeMap<Arc<str>, (Duration, Outstanding)>,
    deadlines: BTreeSet<(Duration, Arc<str>)>,
    bytes: usize,
}

impl OpenStates {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// What the open calls take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the first of them runs out.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub(super) fn insert(&mut self, nonce: &str, deadline: Duration, outstanding: Outstanding) {
        let nonce: Arc<str> = nonce.into();
        self.bytes += outstanding.bytes();
        self.deadlines.insert((deadline, Arc::clone(&nonce)));
        self.open.insert(nonce, (deadline, outstanding));
    }

    pub(super) fn get(&self, nonce: &str) -> Option<&Outstanding> {
        self.open.get(nonce).map(|(_, outstanding)| outstanding)
    }

    pub(super) fn take(&mut self, nonce: &str) -> Option<(Duration, Outstanding)> {
        let (nonce, (deadline, outstanding)) = self.open.remove_entry(nonce)?;
        self.bytes -= outstanding.bytes();
        self.deadlines.remove(&(deadline, nonce));
        Some((deadline, outstanding))
    }

    /// Takes out the one that runs out first, if its time is over by `now`.
    pub(super) fn take_expired(&mut self, now: Duration) -> Option<Outstanding> {
        let (deadline, nonce) = self.deadlines.first()?;
        if now < *deadline {
            return None;
        }
        let nonce = Arc::clone(nonce);
        self.take(&nonce).map(|(_, outstanding)| outstanding)
    }
}
