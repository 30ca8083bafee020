//! The states of 2026-07-28 that are out: each stands for a question that a retry may answer.
//!
//! Which retry may, and what follows, is decided in `rounds`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::held::{Approved, AskedAs, ENTRY, Held};
use super::unattended::Unattended;
use crate::approval::digest::CallDigest;
use crate::approval::prompt::Round;

/// What a state that is out stands for.
#[derive(Debug)]
pub(super) enum Outstanding {
    /// The client's user is asked about a call.
    Asked(Asked),
    /// The question about a call is in the inbox.
    Posted(Box<Posted>),
    /// The upstream asked something of an approved call.
    Round(Approved),
}

/// A call whose request has been answered with a question to the client's user.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) held: Held,
    pub(super) round: Round,
    /// How many more yeses are needed, this question's included.
    pub(super) yeses_needed: u32,
    /// Which channel of the chain asks by the client.
    pub(super) channel: usize,
    /// When the client was sent the question.
    pub(super) sent: Duration,
    /// From when on the state is good for nothing, wherever the question has got to by then.
    pub(super) expires: Duration,
}

/// A call whose request has been answered, and whose question is in the inbox.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) held: Held,
    pub(super) item: String,
    /// Where the item's page is, as far as that is known.
    pub(super) url: Option<String>,
    /// What the client's user was asked.
    pub(super) asked_by: AskedBy,
    /// When the client was sent that.
    pub(super) sent: Duration,
    pub(super) left: Unattended,
    /// When the human's time is over.
    pub(super) deadline: Option<Duration>,
    /// Until when its item may be parked, where it was parked before.
    pub(super) parked_until: Option<Duration>,
}

/// What a client's user was asked while a question came to be in the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AskedBy {
    /// Whether the call may run. The answer comes too late to be a yes.
    Form,
    /// To open the item's page.
    Url,
}

impl Outstanding {
    pub(super) fn asked_as(&self) -> Option<&AskedAs> {
        match self {
            Outstanding::Asked(asked) => asked.held.asked_as.as_ref(),
            Outstanding::Posted(posted) => posted.held.asked_as.as_ref(),
            Outstanding::Round(approved) => Some(&approved.asked_as),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Outstanding::Asked(asked) => asked.held.bytes(),
            Outstanding::Posted(posted) => posted.held.bytes(),
            Outstanding::Round(_) => ENTRY,
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

    /// Takes out the one that runs out first, if its time is over by `now`, with its nonce.
    pub(super) fn take_expired(&mut self, now: Duration) -> Option<(Arc<str>, Outstanding)> {
        let (deadline, nonce) = self.deadlines.first()?;
        if now < *deadline {
            return None;
        }
        let nonce = Arc::clone(nonce);
        let (_, outstanding) = self.take(&nonce)?;
        Some((nonce, outstanding))
    }

    /// The call whose question is in the inbox as `item`.
    fn posted(&mut self, item: &str) -> Option<&mut Posted> {
        let mut posted = self.open.values_mut().filter_map(|(_, it)| match it {
            Outstanding::Posted(posted) => Some(&mut **posted),
            Outstanding::Asked(_) | Outstanding::Round(_) => None,
        });
        posted.find(|posted| posted.item == item)
    }

    /// The same as a question without a call, and the digest of its call.
    pub(super) fn unattended(&mut self, item: &str) -> Option<(CallDigest, &mut Unattended)> {
        let posted = self.posted(item)?;
        let digest = posted.held.asked_as.as_ref()?.digest;
        Some((digest, &mut posted.left))
    }

    /// An item has a page.
    pub(super) fn set_url(&mut self, item: &str, url: String) {
        if let Some(posted) = self.posted(item) {
            posted.url = Some(url);
        }
    }
}
