//! What the clerk does about parked items that outlive their session.
//!
//! Who may resume an item is decided by the store and the key; what a verdict lets run, by the gate.

use tokio::sync::mpsc::UnboundedSender;

use super::{Waiting, Worker};
use crate::approval::request::ApprovalRequest;
use crate::engines::inbox::store::{Resumed, StoreError};
use crate::gate::{EngineId, FromEngine, ParkedItem, Resume, ResumeKey, Resumption};
use crate::sys::state_dir::StateDir;
use crate::sys::with_causes;

/// An item that a session of this process has resumed and not taken up yet.
pub(in crate::engines::inbox) struct Held {
    /// Until when it is parked.
    until_ms: i64,
    /// The session may end before it learns what it has: then nobody else leaves the item to others.
    answers: UnboundedSender<FromEngine>,
}

impl Worker {
    pub(super) fn handle(&mut self, resume: Resume, answers: UnboundedSender<FromEngine>) {
        match resume {
            // Answered before it gets here.
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
            tracing::warn!("item {item} of the inbox will end with its session: {why}");
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
                        // It may be on disk all the same.
                        false
                    }
                }
            }
            (None, _) | (_, None) => true,
        };
        if is_unmarked {
            // A session that has ended leaves the item in any case.
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
            tracing::warn!("no parked item of the inbox can be resumed: {why}");
            None
        });
        let is_futile = found.is_none() && !was_open;
        let parked = found.map(|found| {
            let Resumed {
                id,
                asked_ms,
                expires_ms,
                parked_until_ms,
            } = found;
            let waiting = Waiting {
                engine: EngineId::INBOX,
                // INVARIANT 2: of what this session would show. What the store says of the call counts for nothing.
                fingerprint: request.item(id.clone(), asked_ms, expires_ms).fingerprint(),
                is_posted: false,
                opens_browser: false,
                answers: answers.clone(),
            };
            self.waiting.insert(id.clone(), waiting);
            let held = Held {
                until_ms: parked_until_ms,
                answers: answers.clone(),
            };
            self.resumed.insert(id.clone(), held);
            ParkedItem {
                id,
                until_ms: parked_until_ms,
            }
        });
        // A session that has ended gives up what it has resumed, a moment later.
        let _ = answers.send(FromEngine::Resume(Resumption::Found { lookup, parked }));
        if is_futile {
            self.close_inbox();
        }
    }

    /// Nothing waits, so no page has to be served. What made us look may be over: where nobody serves a page, nobody else
    /// sweeps, and the calls that it kept would stay as they were asked.
    fn close_inbox(&mut self) {
        let now_ms = self.clock.now().unix_ms;
        let Some(mut inbox) = self.inbox.take() else {
            return;
        };
        if let Err(error) = inbox.store.requests.sweep(now_ms) {
            tracing::warn!("the inbox could not be tidied: {}", with_causes(&error));
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
            // It may be decided already, and no change by others would tell.
            inbox.may_have_verdicts = true;
        }
        Ok(found)
    }

    fn take_up(&mut self, item: String, answers: &UnboundedSender<FromEngine>) {
        let taken = self.inbox.as_mut().map(|inbox| {
            inbox.is_untidy = true;
            inbox.store.requests.take_up(&item, &inbox.proxy)
        });
        let is_done = taken.unwrap_or(Ok(false)).unwrap_or_else(|error| {
            let why = with_causes(&error);
            tracing::warn!("item {item} of the inbox cannot be taken up: {why}");
            false
        });
        if is_done {
            self.resumed.remove(&item);
        }
        // A session that has ended lets nothing run.
        let _ = answers.send(FromEngine::Resume(Resumption::TakenUp { item, is_done }));
    }

    /// Nobody here waits for the item any more.
    pub(super) fn leave(&mut self, item: &str) {
        self.waiting.remove(item);
        self.resumed.remove(item);
        let now_ms = self.clock.now().unix_ms;
        let Some(inbox) = &mut self.inbox else {
            return;
        };
        inbox.is_untidy = true;
        if let Err(error) = inbox.store.requests.leave(item, &inbox.proxy, now_ms) {
            // It can be resumed once this process has ended.
            let why = with_causes(&error);
            tracing::warn!("item {item} of the inbox could not be left to others: {why}");
        }
    }

    /// Leaves what sessions have resumed that ended before they knew of it.
    pub(super) fn leave_abandoned(&mut self) {
        let now_ms = self.clock.now().unix_ms;
        // Its time is over: the store lets nobody resume it any more.
        self.resumed.retain(|_, held| now_ms < held.until_ms);
        let resumed = self.resumed.iter();
        let abandoned = resumed.filter(|(_, held)| held.answers.is_closed());
        let abandoned: Vec<String> = abandoned.map(|(item, _)| item.clone()).collect();
        for item in abandoned {
            self.leave(&item);
        }
    }

    /// The key as the store has it; `None` where nobody can tell who the user is.
    fn stored_key(&self, key: &ResumeKey) -> Result<Option<String>, StoreError> {
        let Some(identity) = &self.settings.identity else {
            return Ok(None);
        };
        let dir = StateDir::open(&self.folder)?;
        identity.stored_key(&dir, key).map(Some)
    }
}
