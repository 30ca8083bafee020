//! The thread that carries a process's questions into the store and verdicts back: the only one that
//! does.
//!
//! What a verdict lets run is the gate's business; who serves the page, `host`'s.

mod couriers;
mod resuming;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

pub(super) use self::couriers::{Configured, Couriers};
use self::resuming::Held;
use super::handle::{Job, WorkerSettings, held};
use super::page_server::PageServer;
use super::passphrase::PublicKey;
use super::queue::Queue;
use super::store::{
    self, Closed, Elsewhere, Entry, ErrorKind, Lease, SignedVerdict, State, Store, StoreError,
};
use crate::approval::item::{Item, Verdict};
use crate::engines::registry::of_row;
use crate::gate::{DecidedCall, EngineId, Failure, FromEngine, Now, ToEngine};
use crate::sys::clock::{Clock, random_hex};
use crate::sys::state_dir::{StateDir, io_error, suggested_command};
use crate::sys::with_causes;

/// How soon it is tried again to tidy up, or to look for verdicts in a store that is locked; and how soon what a
/// courier brings is taken.
const TRY_AGAIN: Duration = Duration::from_millis(50);
/// How often it is seen to that somebody serves the page.
const MAINTAIN_EVERY: Duration = Duration::from_secs(1);
/// How long the store may fail before what waits is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long what was decided elsewhere waits to be written: many decisions then cost one write.
const RECORD_EVERY: Duration = Duration::from_secs(1);
/// How many such decisions may wait, and of how many bytes. More are dropped: the audit log has them.
const MAX_UNRECORDED: usize = 256;
const MAX_UNRECORDED_BYTES: usize = 16 * 1024 * 1024;

/// How often it is tried to tidy up before the process ends; then others do.
const LAST_TRIES: usize = 4;

/// The thread.
pub(super) struct Worker {
    pub(super) folder: PathBuf,
    pub(super) settings: WorkerSettings,
    pub(super) key: Option<PublicKey>,
    pub(super) inbox: Option<OpenInbox>,
    /// What waits for a verdict.
    pub(super) waiting: HashMap<String, Waiting>,
    /// What was resumed and is not taken up yet.
    pub(super) resumed: HashMap<String, Held>,
    pub(super) queued: Arc<AtomicUsize>,
    pub(super) unrecorded: Arc<Mutex<Unrecorded>>,
    /// Since when something is unrecorded.
    pub(super) unrecorded_since: Option<Duration>,
    pub(super) couriers: Couriers,
    pub(super) clock: Clock,
}

/// What was decided elsewhere and is not in the history yet. Sessions add to it directly: to wake the
/// thread for each decision would cost the calls behind it some microseconds.
#[derive(Debug, Default)]
pub(super) struct Unrecorded {
    calls: Vec<DecidedCall>,
    bytes: usize,
    /// Whether the thread knows that there is something.
    is_known: bool,
    /// Whether a failure was told: the history is only for people to look at.
    has_warned: bool,
}

impl Unrecorded {
    /// Keeps a decision until it is recorded. Returns whether the thread has to be told that there
    /// is something.
    pub(super) fn keep(&mut self, call: DecidedCall) -> bool {
        let bytes = self.bytes.saturating_add(call.bytes());
        if self.calls.len() < MAX_UNRECORDED && bytes <= MAX_UNRECORDED_BYTES {
            self.bytes = bytes;
            self.calls.push(call);
        } else if !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(
                "the inbox's history misses decisions that came too fast, or were too large"
            );
        }
        !std::mem::replace(&mut self.is_known, true)
    }

    fn take(&mut self) -> Vec<DecidedCall> {
        self.bytes = 0;
        self.is_known = false;
        std::mem::take(&mut self.calls)
    }
}

/// What is open while anything waits.
pub(super) struct OpenInbox {
    store: Store,
    page_server: PageServer,
    proxy: String,
    /// By it others know that we live.
    _lease: Lease,
    /// Whether there may be verdicts to take.
    may_have_verdicts: bool,
    /// Whether items may have been closed by others.
    may_be_closed: bool,
    /// When it was last seen to that the page is served.
    maintained: Option<Duration>,
    /// Since when the store fails.
    failing: Option<Duration>,
    /// What was wrong when it was last seen to: it is told once for as long as it lasts.
    told: Option<String>,
    /// Whether the store's files may hold a call that nobody waits for, as it was asked.
    is_untidy: bool,
}

pub(super) struct Waiting {
    /// The engine that shows it to people.
    engine: EngineId,
    /// What a verdict has to be signed for: the item as it was asked, whatever the store shows.
    fingerprint: String,
    /// Whether its session knows where its page is.
    is_posted: bool,
    /// Whether a browser may be opened for it.
    opens_browser: bool,
    answers: UnboundedSender<FromEngine>,
}

impl Worker {
    /// Works until nobody can hand over anything any more.
    pub(super) fn work(mut self, queue: &Queue) {
        loop {
            let next = self.next(queue);
            match next {
                Ok(job) => {
                    self.take(job);
                    // What came with it.
                    queue.try_iter().for_each(|job| self.take(job));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.take_brought();
            self.look();
            self.tidy();
            self.maintain();
            self.tell_pages();
            if self.record_in().is_some_and(|left| left.is_zero()) {
                self.record();
            }
        }
        self.record();
        let waiting = self.waiting.keys();
        let left: Vec<String> = waiting.chain(self.resumed.keys()).cloned().collect();
        for item in left {
            self.leave(&item);
        }
        for _ in 0..LAST_TRIES {
            self.tidy();
            if !self.inbox.as_ref().is_some_and(|inbox| inbox.is_untidy) {
                break;
            }
            std::thread::sleep(TRY_AGAIN);
        }
    }

    /// The next job, or that it is time to see to something. While something waits for a verdict, that is also when
    /// others have changed the store.
    fn next(&mut self, queue: &Queue) -> Result<Job, RecvTimeoutError> {
        let Some(pause) = self.pause() else {
            return queue.recv();
        };
        let Some(inbox) = self.inbox.as_mut().filter(|_| !self.waiting.is_empty()) else {
            return queue.recv_timeout(pause);
        };
        match queue.take() {
            Ok(job) => return Ok(job),
            Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
            Err(TryRecvError::Empty) => {}
        }
        match inbox.store.requests.changed(pause, Some(queue.bell())) {
            Ok(is_changed) => {
                inbox.may_have_verdicts |= is_changed;
                inbox.may_be_closed |= is_changed;
                queue.recv_timeout(Duration::ZERO)
            }
            // `look` finds it, too.
            Err(_) => queue.recv_timeout(pause.min(TRY_AGAIN)),
        }
    }

    /// How long there is nothing to do if nobody wants anything; `None` is for ever.
    fn pause(&self) -> Option<Duration> {
        let now = self.clock.now().elapsed;
        let is_needed = !self.waiting.is_empty() || !self.resumed.is_empty();
        let for_inbox = self.inbox.as_ref().and_then(|inbox| {
            let maintained = inbox.maintained.unwrap_or_default();
            let maintain_in = MAINTAIN_EVERY.saturating_sub(now.saturating_sub(maintained));
            match inbox.is_untidy {
                true => Some(maintain_in.min(TRY_AGAIN)),
                false => (is_needed || inbox.page_server.is_serving()).then_some(maintain_in),
            }
        });
        // Couriers ring no bell.
        let for_couriers = self.couriers.is_carrying().then_some(TRY_AGAIN);
        let pauses = for_inbox.into_iter().chain(for_couriers);
        pauses.chain(self.record_in()).min()
    }

    fn take(&mut self, job: Job) {
        self.queued.fetch_sub(job.bytes(), Ordering::Relaxed);
        let Job::Told { told, answers } = job else {
            return self.note_unrecorded();
        };
        match told {
            ToEngine::Ask {
                engine,
                item,
                opens_browser,
            } => self.ask(engine, &item, opens_browser, answers),
            ToEngine::OpenBrowser { item } => {
                let is_news = !self.may_open_browser();
                if let Some(waiting) = self.waiting.get_mut(&item) {
                    waiting.opens_browser = true;
                    if is_news {
                        self.tend_soon();
                    }
                }
            }
            ToEngine::Park { item, until_ms } => {
                if let Some(inbox) = &mut self.inbox
                    && let Err(error) = inbox.store.requests.park(&item, until_ms)
                {
                    tracing::warn!(
                        "an item of the inbox could not be parked: {}",
                        with_causes(&error)
                    );
                }
            }
            ToEngine::Close { item, how } => {
                self.couriers.withdraw(&item);
                self.waiting.remove(&item);
                self.resumed.remove(&item);
                self.close(&item, how);
            }
            ToEngine::Decided(call) => {
                held(&self.unrecorded).keep(*call);
                self.note_unrecorded();
            }
            ToEngine::Resume(resume) => self.handle(resume, answers),
        }
    }

    fn note_unrecorded(&mut self) {
        let now = self.clock.now().elapsed;
        self.unrecorded_since.get_or_insert(now);
    }

    /// How long until what was decided elsewhere is written; `None` if there is nothing.
    fn record_in(&self) -> Option<Duration> {
        let since = self.unrecorded_since?;
        let waited = self.clock.now().elapsed.saturating_sub(since);
        Some(RECORD_EVERY.saturating_sub(waited))
    }

    /// Writes what was decided elsewhere into the history, all at once. A failure is told once, and
    /// nobody tries again.
    fn record(&mut self) {
        self.unrecorded_since = None;
        let calls = held(&self.unrecorded).take();
        let calls = calls.into_iter().map(DecidedCall::into_parts);
        let decided: Vec<Elsewhere> = calls
            .map(|(item, verdict, engine)| Elsewhere {
                item,
                verdict,
                engine: engine.to_owned(),
            })
            .collect();
        if decided.is_empty() {
            return;
        }
        let written = match &mut self.inbox {
            Some(inbox) => inbox.store.requests.record(&decided),
            // Nothing waits for a verdict: no lease is needed, and no page is served for this.
            None => StateDir::open(&self.folder)
                .and_then(|dir| store::open(&dir, &self.settings.redaction))
                .and_then(|mut store| store.requests.record(&decided)),
        };
        if let Err(error) = written
            && !std::mem::replace(&mut held(&self.unrecorded).has_warned, true)
        {
            let why = with_causes(&error);
            tracing::warn!("the inbox's history misses decisions: {why}");
        }
    }

    fn ask(
        &mut self,
        engine: EngineId,
        item: &Item,
        opens_browser: bool,
        answers: UnboundedSender<FromEngine>,
    ) {
        let asked = self
            .open()
            .and_then(|inbox| inbox.store.requests.ask(item, &inbox.proxy));
        match asked {
            Ok(()) => {
                let waiting = Waiting {
                    engine,
                    fingerprint: item.fingerprint(),
                    is_posted: false,
                    opens_browser,
                    answers,
                };
                let is_news = opens_browser && !self.may_open_browser();
                self.waiting.insert(item.id.clone(), waiting);
                if is_news {
                    self.tend_soon();
                }
                self.carry(engine, item);
            }
            Err(error) => {
                let why = with_causes(&error);
                tracing::error!("{why}");
                let item = item.id.clone();
                // Whose session has ended waits no more.
                let failure = Failure::unreachable(why);
                let _ = answers.send(FromEngine::Failed { item, failure });
                if !matches!(error.kind, ErrorKind::Locked | ErrorKind::Full) {
                    self.give_up(&error);
                }
            }
        }
    }

    fn close(&mut self, item: &str, how: Closed) {
        let now_ms = self.clock.now().unix_ms;
        let Some(inbox) = &mut self.inbox else {
            return;
        };
        inbox.is_untidy = true;
        if let Err(error) = inbox.store.requests.close(item, how, now_ms) {
            // Its verdict would count for nothing, and it expires by its own time.
            tracing::warn!(
                "an item of the inbox could not be closed: {}",
                with_causes(&error)
            );
        }
    }

    /// What is needed to ask, opened where it is not yet.
    fn open(&mut self) -> Result<&mut OpenInbox, StoreError> {
        if let Some(inbox) = &mut self.inbox
            && let Err(error) = inbox.store.requests.check()
        {
            self.give_up(&error);
        }
        // Not `get_or_insert_with`: it may fail.
        let inbox = match self.inbox.take() {
            Some(inbox) => inbox,
            None => self.new_inbox()?,
        };
        Ok(self.inbox.insert(inbox))
    }

    fn new_inbox(&self) -> Result<OpenInbox, StoreError> {
        let dir = StateDir::open(&self.folder)?;
        let unusable = |error| io_error(&self.folder, io::Error::other(error));
        let proxy = random_hex(16).map_err(unusable)?;
        let mut store = store::open(&dir, &self.settings.redaction)?;
        let lease = store.liveness.lease(&proxy)?;
        let page_server = PageServer::new(dir, self.settings.page.clone())?;
        Ok(OpenInbox {
            store,
            page_server,
            proxy,
            _lease: lease,
            may_have_verdicts: true,
            may_be_closed: true,
            maintained: None,
            failing: None,
            told: None,
            is_untidy: false,
        })
    }

    /// Looks for verdicts.
    fn look(&mut self) {
        let now = self.clock.now().elapsed;
        let Some(inbox) = self.inbox.as_mut().filter(|_| !self.waiting.is_empty()) else {
            return;
        };
        let found = inbox.store.requests.changed(Duration::ZERO, None);
        let found = found.and_then(|is_changed| {
            inbox.may_be_closed |= is_changed;
            inbox.may_have_verdicts |= is_changed;
            if !inbox.may_have_verdicts {
                return Ok(Vec::new());
            }
            let verdicts = inbox.store.requests.take_verdicts(&inbox.proxy)?;
            inbox.may_have_verdicts = false;
            Ok(verdicts)
        });
        match found {
            Ok(verdicts) => {
                inbox.failing = None;
                inbox.is_untidy |= !verdicts.is_empty();
                for (item, signed) in verdicts {
                    self.tell(&item, signed);
                }
            }
            Err(error) => {
                let since = *inbox.failing.get_or_insert(now);
                // Locked is what it may be for a moment.
                if error.kind != ErrorKind::Locked || now.saturating_sub(since) >= PATIENCE {
                    self.give_up(&error);
                }
            }
        }
    }

    fn tell(&mut self, item: &str, signed: SignedVerdict) {
        let Some(waiting) = self.waiting.get(item) else {
            return;
        };
        let SignedVerdict {
            mut verdict,
            signature,
            engine: _,
        } = signed;
        let brought = self.couriers.has_brought(item, &verdict);
        match (&self.key, brought) {
            (_, Some(_)) => {}
            (Some(key), None) => {
                let signature = signature.unwrap_or_default();
                if !key.verify(item, &waiting.fingerprint, &verdict, &signature) {
                    tracing::warn!(
                        "a verdict about item {item} was not made with the passphrase that was set \
                         when approval-proxy started, and counts for nothing; if it was yours, start \
                         approval-proxy again"
                    );
                    return self.disregard(item, verdict);
                }
            }
            (None, None) => verdict.assurance = of_row(verdict.assurance, false),
        }
        self.couriers.withdraw(item);
        let engine = brought.unwrap_or(EngineId::INBOX);
        let item = item.to_owned();
        if let Some(waiting) = self.waiting.remove(&item) {
            // Whose session has ended waits no more.
            let told = FromEngine::Verdict {
                engine,
                item,
                verdict,
            };
            let _ = waiting.answers.send(told);
        }
    }

    /// Forgets the calls whose verdicts count by now, or that were taken back. What others do with the
    /// store at this moment is not waited for: it is tried again.
    fn tidy(&mut self) {
        let Some(inbox) = self.inbox.as_mut().filter(|inbox| inbox.is_untidy) else {
            return;
        };
        let tidied = inbox
            .store
            .requests
            .settle(&inbox.proxy)
            .and_then(|()| inbox.store.requests.scrub());
        match tidied {
            Ok(is_tidy) => inbox.is_untidy = !is_tidy,
            Err(error) if error.kind == ErrorKind::Locked => {}
            // It shows where the store is used next.
            Err(error) => {
                inbox.is_untidy = false;
                let why = with_causes(&error);
                tracing::warn!("the inbox still holds a call that was decided: {why}");
            }
        }
    }

    /// The item waits again, and the session's log says that somebody tried.
    fn disregard(&mut self, item: &str, verdict: Verdict) {
        if let Some(waiting) = self.waiting.get(item) {
            let item = item.to_owned();
            // Whose session has ended waits no more.
            let _ = waiting
                .answers
                .send(FromEngine::Disregarded { item, verdict });
        }
        if let Some(inbox) = &mut self.inbox
            && let Err(error) = inbox.store.requests.reopen(item)
        {
            tracing::warn!("item {item} does not wait again: {}", with_causes(&error));
        }
    }

    /// Tells sessions where the pages of their items are.
    fn tell_pages(&mut self) {
        let Some(inbox) = &self.inbox else {
            return;
        };
        let untold = self
            .waiting
            .iter_mut()
            .filter(|(_, waiting)| !waiting.is_posted && waiting.engine == EngineId::INBOX);
        for (item, waiting) in untold {
            let Some(url) = inbox.page_server.url_of(item) else {
                return;
            };
            waiting.is_posted = true;
            let item = item.clone();
            // Whose session has ended waits no more.
            let _ = waiting.answers.send(FromEngine::Listed { item, url });
        }
    }

    /// The store cannot be used: nobody could answer.
    fn give_up(&mut self, error: &StoreError) {
        let why = with_causes(error);
        if !self.waiting.is_empty() {
            tracing::error!("{why}");
        }
        for (item, waiting) in self.waiting.drain() {
            let why = why.clone();
            let failure = Failure::unreachable(why);
            self.couriers.withdraw(&item);
            let _ = waiting.answers.send(FromEngine::Failed { item, failure });
        }
        self.resumed.clear();
        // It is opened anew with the next question.
        self.inbox = None;
    }

    /// Whether anything waits for which a browser may be opened.
    fn may_open_browser(&self) -> bool {
        self.waiting.values().any(|it| it.opens_browser)
    }

    /// Something has changed for those who serve the page.
    fn tend_soon(&mut self) {
        if let Some(inbox) = &mut self.inbox {
            inbox.maintained = None;
        }
    }

    /// Sees to it that somebody serves the page.
    fn maintain(&mut self) {
        let Now { elapsed, unix_ms } = self.clock.now();
        let opens_browser = self.may_open_browser();
        let Some(inbox) = &mut self.inbox else {
            return;
        };
        let is_due = |maintained| elapsed.saturating_sub(maintained) >= MAINTAIN_EVERY;
        if !inbox.maintained.is_none_or(is_due) {
            return;
        }
        inbox.maintained = Some(elapsed);
        self.leave_abandoned();
        let Some(inbox) = &mut self.inbox else {
            return;
        };
        let mut wrong = None;
        // What another engine carries needs no page.
        let is_for_inbox = |waiting: &Waiting| waiting.engine == EngineId::INBOX;
        let needs_page = inbox.page_server.is_serving() || self.waiting.values().any(is_for_inbox);
        let maintained = match needs_page {
            true => inbox
                .page_server
                .maintain(&mut *inbox.store.logins, opens_browser, unix_ms),
            false => Ok(None),
        };
        if !needs_page {
            // It is as it was.
            wrong.clone_from(&inbox.told);
        }
        match maintained {
            Ok(Some(address)) => {
                let list = suggested_command("approvals list", self.settings.state_dir.as_deref());
                let told = format!(
                    "approval-proxy: a call waits for your approval at {address}; `{list}` shows it, too\n"
                );
                self.settings.stderr.send(told.into_bytes());
            }
            Ok(None) => {}
            Err(error) => wrong = Some(with_causes(&error)),
        }
        if let Err(error) = inbox.store.requests.check() {
            return self.give_up(&error);
        }
        if inbox.page_server.is_serving()
            && let Err(error) = inbox.store.requests.sweep(unix_ms)
        {
            if error.kind == ErrorKind::Damaged {
                return self.give_up(&error);
            }
            let why = with_causes(&error);
            wrong = Some(format!("the inbox could not be tidied: {why}"));
        }
        if let Some(why) = wrong
            .as_ref()
            .filter(|why| inbox.told.as_ref() != Some(why))
        {
            tracing::warn!("{why}");
        }
        inbox.told = wrong;
        self.give_up_closed(unix_ms);
    }

    /// Items that somebody has closed under us can have no verdict any more.
    fn give_up_closed(&mut self, now_ms: i64) {
        let Some(inbox) = &mut self.inbox else {
            return;
        };
        if !std::mem::take(&mut inbox.may_be_closed) {
            return;
        }
        let ids: Vec<String> = self.waiting.keys().cloned().collect();
        for item in ids {
            let is_closed = match inbox.store.requests.find(&item) {
                Ok(entry) => was_closed_early(entry.as_ref(), now_ms),
                // It shows elsewhere.
                Err(_) => false,
            };
            let waiting = self.waiting.get(&item).filter(|_| is_closed);
            if let Some(waiting) = waiting {
                let why = "its item was closed by somebody else".to_owned();
                let told = FromEngine::Failed {
                    item: item.clone(),
                    failure: Failure::unreachable(why),
                };
                // Whose session has ended waits no more.
                let _ = waiting.answers.send(told);
                self.couriers.withdraw(&item);
                self.waiting.remove(&item);
            }
        }
    }
}

/// Whether an item that waits here is closed in the store, or gone from it, although its time is not
/// over. Of one whose time is over, the gate knows by itself, a moment later: that is a timeout.
fn was_closed_early(entry: Option<&Entry>, now_ms: i64) -> bool {
    let Some(entry) = entry else {
        return true;
    };
    let due = entry.parked_until_ms.or(entry.item.expires_ms);
    matches!(entry.state, State::Closed(_)) && due.is_none_or(|due| now_ms < due)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Risk;

    #[test]
    fn what_expires_in_the_store_is_a_timeout_and_no_failure_of_the_inbox() {
        let entry = |state, expires_ms, parked_until_ms| Entry {
            item: Item {
                id: "1".into(),
                server: "s".into(),
                tool: "t".into(),
                risk: Risk::High,
                why: String::new(),
                question: String::new(),
                title: None,
                description: None,
                hints: String::new(),
                call: "{}".into(),
                digest: String::new(),
                client: None,
                client_title: None,
                asked_ms: 0,
                expires_ms,
            },
            state,
            verdict: None,
            engine: None,
            parked_until_ms,
            closed_ms: None,
            was_disregarded: false,
        };
        let expired = State::Closed(Closed::Expired);
        for (found, early) in [
            (entry(expired, Some(1_000), None), false),
            (entry(expired, Some(1_001), None), true),
            (entry(expired, Some(500), Some(1_001)), true),
            (entry(expired, Some(500), Some(1_000)), false),
            (entry(expired, None, None), true),
            (entry(State::Waiting, Some(1_001), None), false),
        ] {
            assert_eq!(was_closed_early(Some(&found), 1_000), early, "{found:?}");
        }
        assert!(was_closed_early(None, 1_000));
    }
}
