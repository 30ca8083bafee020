//! The worker's part in parked items that outlive their session.
//!
//! The store and the key decide who may resume an item; the gate decides what a verdict lets run.

use tokio::sync::mpsc::UnboundedSender;

use super::{Waiting, Worker};
use crate::approval::request::ApprovalRequest;
use crate::engines::inbox::store::{Resumed, StoreError};
use crate::gate::{EngineId, FromEngine, ParkedItem, Resume, ResumeKey, Resumption};
use crate::sys::state_dir::StateDir;
use crate::sys::with_causes;

/// An item that a session of this process has resumed but not taken up yet.
pub(in crate::engines::inbox) struct ResumedItem {
    /// The end of its parked time.
    until_ms: i64,
    /// Closed if the session has ended. Then only we can leave the item to other proxies.
    answers: UnboundedSender<FromEngine>,
}

impl Worker {
    pub(super) fn handle(&mut self, resume: Resume, answers: UnboundedSender<FromEngine>) {
        match resume {
            // The handle has answered it already.
            Resume::IsAny => {}
            Resume::Mark { item, key } => self.mark(item, &key, &answers),
            Resume::Find {
                lookup,
                key,
                request,
            } => self.find(lookup, &key, &request, answers),
            Resume::TakeUp { item } => self.take_up(item, &answers),
            Resume::Leave { item } => self.leave(&item),
        }
    }

    fn mark(&mut self, item: String, key: &ResumeKey, answers: &UnboundedSender<FromEngine>) {
        let warn = |error: &StoreError| {
            let why = with_causes(error);
            tracing::warn!("a later session cannot resume item {item} of the inbox: {why}");
        };
        let key = self.stored_key(key).unwrap_or_else(|error| {
            warn(&error);
            None
        });
        let is_unmarked = match (key, &mut self.inbox) {
            (Some(key), Some(inbox)) => {
                match inbox.store.requests.mark(&item, &inbox.proxy, &key) {
                    Ok(is_marked) => !is_marked,
                    Err(error) => {
                        warn(&error);
                        // The mark may be on disk nevertheless.
                        false
                    }
                }
            }
            (None, _) | (_, None) => true,
        };
        if is_unmarked {
            // The session may have ended. Then it has left the item anyway.
            let _ = answers.send(FromEngine::Resume(Resumption::Unmarked { item }));
        }
    }

    fn find(
        &mut self,
        lookup: u64,
        key: &ResumeKey,
        request: &ApprovalRequest,
        answers: UnboundedSender<FromEngine>,
    ) {
        let was_open = self.inbox.is_some();
        let found = self.resume(key).unwrap_or_else(|error| {
            let why = with_causes(&error);
            tracing::warn!("cannot resume parked items of the inbox: {why}");
            None
        });
        let is_futile = found.is_none() && !was_open;
        let parked = found.map(|found| {
            let Resumed {
                id,
                asked_ms,
                expires_ms,
                parked_until_ms,
                is_decided,
            } = found;
            let waiting = Waiting {
                engines: vec![EngineId::INBOX],
                // INVARIANT 2: the fingerprint is of what this session would show. What the store says about the call
                // does not count.
                fingerprint: request.item(id.clone(), asked_ms, expires_ms).fingerprint(),
                form: request.form.as_deref().map(str::to_owned),
                is_listed: false,
                opens_browser: false,
                answers: answers.clone(),
            };
            self.waiting.insert(id.clone(), waiting);
            let held = ResumedItem {
                until_ms: parked_until_ms,
                answers: answers.clone(),
            };
            self.resumed.insert(id.clone(), held);
            ParkedItem {
                id,
                until_ms: parked_until_ms,
                is_decided,
            }
        });
        // If the session has ended, `leave_abandoned` leaves the item a moment later.
        let _ = answers.send(FromEngine::Resume(Resumption::Found { lookup, parked }));
        if is_futile {
            self.close_inbox();
        }
    }

    /// Closes the inbox because no item waits, so no page is needed. Sweeps first: if no process serves a page, nobody
    /// else sweeps, and the original calls of expired items would stay in the store.
    fn close_inbox(&mut self) {
        let now_ms = self.clock.now().unix_ms;
        let Some(mut inbox) = self.inbox.take() else {
            return;
        };
        if let Err(error) = inbox.store.requests.sweep(now_ms) {
            tracing::warn!("cannot clean up the inbox: {}", with_causes(&error));
        }
    }

    fn resume(&mut self, key: &ResumeKey) -> Result<Option<Resumed>, StoreError> {
        let Some(key) = self.stored_key(key)? else {
            return Ok(None);
        };
        let now_ms = self.clock.now().unix_ms;
        let inbox = self.open()?;
        let found = inbox.store.requests.resume(&key, &inbox.proxy, now_ms)?;
        if found.is_some() {
            // It may be decided already, and `changed` does not report older verdicts.
            inbox.may_have_verdicts = true;
        }
        Ok(found)
    }

    fn take_up(&mut self, item: String, answers: &UnboundedSender<FromEngine>) {
        let taken = self.inbox.as_mut().map(|inbox| {
            inbox.needs_scrub = true;
            inbox.store.requests.take_up(&item, &inbox.proxy)
        });
        let is_done = taken.unwrap_or(Ok(false)).unwrap_or_else(|error| {
            let why = with_causes(&error);
            tracing::warn!("cannot take up item {item} of the inbox: {why}");
            false
        });
        if is_done {
            self.resumed.remove(&item);
        }
        // The session may have ended. Then nothing runs.
        let _ = answers.send(FromEngine::Resume(Resumption::TakenUp { item, is_done }));
    }

    /// Leaves the item to other proxies, because nobody here waits for it any more.
    pub(super) fn leave(&mut self, item: &str) {
        self.waiting.remove(item);
        self.resumed.remove(item);
        let now_ms = self.clock.now().unix_ms;
        let Some(inbox) = &mut self.inbox else {
            return;
        };
        inbox.needs_scrub = true;
        if let Err(error) = inbox.store.requests.leave(item, &inbox.proxy, now_ms) {
            // Others can still resume it once this process has ended.
            let why = with_causes(&error);
            tracing::warn!("cannot release item {item} of the inbox: {why}");
        }
    }

    /// Leaves the items whose sessions ended before they learned that they had resumed one.
    pub(super) fn leave_abandoned(&mut self) {
        let now_ms = self.clock.now().unix_ms;
        // After that time the store lets nobody resume the item.
        self.resumed.retain(|_, held| now_ms < held.until_ms);
        let resumed = self.resumed.iter();
        let abandoned = resumed.filter(|(_, held)| held.answers.is_closed());
        let abandoned: Vec<String> = abandoned.map(|(item, _)| item.clone()).collect();
        for item in abandoned {
            self.leave(&item);
        }
    }

    /// Returns the key as the store keeps it; `None` if we cannot tell who the user is.
    fn stored_key(&self, key: &ResumeKey) -> Result<Option<String>, StoreError> {
        let Some(identity) = &self.settings.identity else {
            return Ok(None);
        };
        let dir = StateDir::open(&self.folder)?;
        identity.stored_key(&dir, key).map(Some)
    }
}
