//! Questions that outlive their calls: refused for now, still in the inbox, and good for the same
//! call once somebody has said yes.
//!
//! What a question is, and what a verdict leads to, is `asking`'s and `inbox`'s business.

use std::collections::BTreeMap;
use std::time::Duration;

use super::held::{Verdict, Via};
use crate::approval::cache::DedupeKey;
use crate::approval::digest::CallDigest;
use crate::approval::prompt::Round;

/// How many questions may be parked at once; the oldest give way.
const MAX_PARKED: usize = 1_024;

/// A question without a call.
#[derive(Debug)]
pub(super) struct Parked {
    /// The calls that it is about: exactly those with this digest, of the same client.
    pub(super) digest: CallDigest,
    pub(super) exact: DedupeKey,
    /// What a human said, once somebody has.
    pub(super) answer: Option<Answered>,
    pub(super) yeses_needed: u32,
    pub(super) round: Round,
    /// Which channel of the chain the inbox is.
    pub(super) channel: usize,
    /// Whether the item is in the inbox; the second of two questions is put there with its call.
    pub(super) is_posted: bool,
    pub(super) until: Duration,
}

/// What a human said about a parked question.
#[derive(Debug, Clone)]
pub(super) enum Answered {
    /// And until when that covers the same call, too.
    Yes(Verdict, Duration),
    /// With the human's own words.
    No { reason: Option<String>, via: Via },
}

/// The questions that are parked, by item.
#[derive(Debug, Default)]
pub(super) struct Parking {
    items: BTreeMap<String, Parked>,
}

impl Parking {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Parks a question; returns the item of the one that had to give way.
    pub(super) fn insert(&mut self, item: String, parked: Parked) -> Option<String> {
        let given_way = match self.items.len() < MAX_PARKED {
            true => None,
            false => {
                let oldest = self.items.iter().min_by_key(|(_, parked)| parked.until);
                oldest.map(|(item, _)| item.clone())
            }
        };
        if let Some(oldest) = &given_way {
            self.items.remove(oldest);
        }
        self.items.insert(item, parked);
        given_way
    }

    pub(super) fn get_mut(&mut self, item: &str) -> Option<&mut Parked> {
        self.items.get_mut(item)
    }

    pub(super) fn remove(&mut self, item: &str) -> Option<Parked> {
        self.items.remove(item)
    }

    /// Takes out the question about a call. INVARIANT 2: what was shown is that very call, and a yes
    /// is taken out with it, so that it lets one call run.
    pub(super) fn take(
        &mut self,
        digest: &CallDigest,
        exact: &DedupeKey,
    ) -> Option<(String, Parked)> {
        let all = self.items.iter();
        let same = all.filter(|(_, parked)| parked.digest == *digest && parked.exact == *exact);
        // Of several, the one that has been answered.
        let found = same.max_by_key(|(_, parked)| parked.answer.is_some());
        let item = found.map(|(item, _)| item.clone())?;
        let parked = self.items.remove(&item)?;
        Some((item, parked))
    }

    /// Takes out one whose time is over.
    pub(super) fn take_expired(&mut self, now: Duration) -> Option<String> {
        let mut items = self.items.iter();
        let item = items.find(|(_, parked)| parked.until <= now)?.0.clone();
        self.items.remove(&item);
        Some(item)
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.items.values().map(|parked| parked.until).min()
    }
}
