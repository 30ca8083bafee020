//! The thread that writes a process's questions to the store and brings the verdicts back.
//!
//! The gate decides what a verdict lets run; `page_server` decides which process serves the page.

mod couriers;
mod resuming;
mod verdicts;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

pub use self::couriers::ConfiguredCourier;
pub(super) use self::couriers::Couriers;
use self::resuming::ResumedItem;
use super::handle::{Job, WorkerSettings, held};
use super::page_server::PageServer;
use super::passphrase::PublicKey;
use super::queue::Queue;
use super::store::{self, Closed, Elsewhere, Entry, ErrorKind, Lease, State, Store, StoreError};
use crate::approval::item::Item;
use crate::engines::Ending;
use crate::gate::{DecidedCall, EngineId, Failure, FromEngine, Now, ToEngine};
use crate::sys::clock::{Clock, random_hex};
use crate::sys::state_dir::{StateDir, io_error, suggested_command};
use crate::sys::with_causes;

/// How soon we retry scrubbing and reading a locked store, and how often we take the couriers' results.
const TRY_AGAIN: Duration = Duration::from_millis(50);
/// How often we check that some process serves the page.
const MAINTAIN_EVERY: Duration = Duration::from_secs(1);
/// How long the store may stay locked before all waiting questions fail.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a decision made elsewhere waits to be written, so that many decisions cost one write.
const RECORD_EVERY: Duration = Duration::from_secs(1);
/// How many such decisions may wait, and how many bytes. We drop the rest: the audit log has them.
const MAX_UNRECORDED: usize = 256;
const MAX_UNRECORDED_BYTES: usize = 16 * 1024 * 1024;

/// How many times we try to scrub the store before the process ends. If all fail, other processes do it.
const LAST_TRIES: usize = 4;

/// The worker thread.
pub(super) struct Worker {
    pub(super) folder: PathBuf,
    pub(super) settings: WorkerSettings,
    pub(super) key: Option<PublicKey>,
    pub(super) inbox: Option<OpenInbox>,
    /// The items that wait for a verdict.
    pub(super) waiting: HashMap<String, Waiting>,
    /// The items that were resumed and are not taken up yet.
    pub(super) resumed: HashMap<String, ResumedItem>,
    pub(super) queued: Arc<AtomicUsize>,
    pub(super) unrecorded: Arc<Mutex<Unrecorded>>,
    /// When the oldest unrecorded decision was noticed.
    pub(super) unrecorded_since: Option<Duration>,
    pub(super) couriers: Couriers,
    pub(super) clock: Clock,
}

/// Decisions made elsewhere that are not in the history yet. Sessions add to it directly: waking the
/// thread for each decision would delay the calls behind it by some microseconds.
#[derive(Debug, Default)]
pub(super) struct Unrecorded {
    calls: Vec<DecidedCall>,
    bytes: usize,
    /// Whether the thread knows that something is unrecorded.
    is_known: bool,
    /// Whether we warned of a failure. Once is enough: the history is only for people to look at.
    has_warned: bool,
}

impl Unrecorded {
    /// Keeps a decision until it is recorded. Returns true if the thread must be woken.
    pub(super) fn keep(&mut self, call: DecidedCall) -> bool {
        let bytes = self.bytes.saturating_add(call.bytes());
        if self.calls.len() < MAX_UNRECORDED && bytes <= MAX_UNRECORDED_BYTES {
            self.bytes = bytes;
            self.calls.push(call);
        } else if !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(
                "the inbox's history is incomplete: decisions came too fast or were too large"
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

/// What is open while any item waits.
pub(super) struct OpenInbox {
    store: Store,
    page_server: PageServer,
    proxy: String,
    /// Shows other processes that we are alive.
    _lease: Lease,
    /// Whether there may be verdicts to take.
    may_have_verdicts: bool,
    /// Whether others may have closed items.
    may_be_closed: bool,
    /// When we last checked that the page is served.
    maintained: Option<Duration>,
    /// When the store started to fail.
    failing: Option<Duration>,
    /// The last warning about the page or the store. We repeat it only after it has changed.
    warned: Option<String>,
    /// Whether the store's files may still hold the original call of an item that no longer waits.
    needs_scrub: bool,
}

pub(super) struct Waiting {
    /// The engines that show it to people.
    engines: Vec<EngineId>,
    /// What a signature must cover: the item as it was asked, whatever the store shows.
    fingerprint: String,
    /// The form that a yes must fill in, as it was asked.
    form: Option<String>,
    /// Whether its session knows the URL of its page.
    is_listed: bool,
    /// Whether we may open a browser for it.
    opens_browser: bool,
    answers: UnboundedSender<FromEngine>,
}

impl Waiting {
    /// Whether the inbox was asked to show it.
    fn is_in_inbox(&self) -> bool {
        self.engines.contains(&EngineId::INBOX)
    }
}

impl Worker {
    /// Runs until the other end of the queue is dropped.
    pub(super) fn work(mut self, queue: &Queue) {
        loop {
            let next = self.next(queue);
            match next {
                Ok(job) => {
                    self.take(job);
                    queue.try_iter().for_each(|job| self.take(job));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.take_courier_results();
            self.take_verdicts();
            self.scrub();
            self.maintain();
            self.send_page_urls();
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
            self.scrub();
            if !self.inbox.as_ref().is_some_and(|inbox| inbox.needs_scrub) {
                break;
            }
            std::thread::sleep(TRY_AGAIN);
        }
    }

    /// Waits for the next job. Returns `Timeout` when maintenance is due or, while an item waits for a verdict, when
    /// another process has changed the store.
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
            // `take_verdicts` meets the same error and handles it.
            Err(_) => queue.recv_timeout(pause.min(TRY_AGAIN)),
        }
    }

    /// Returns how long the thread may sleep if no job arrives; `None` means forever.
    fn pause(&self) -> Option<Duration> {
        let now = self.clock.now().elapsed;
        let is_needed = !self.waiting.is_empty() || !self.resumed.is_empty();
        let for_inbox = self.inbox.as_ref().and_then(|inbox| {
            let maintained = inbox.maintained.unwrap_or_default();
            let maintain_in = MAINTAIN_EVERY.saturating_sub(now.saturating_sub(maintained));
            match inbox.needs_scrub {
                true => Some(maintain_in.min(TRY_AGAIN)),
                false => (is_needed || inbox.page_server.is_serving()).then_some(maintain_in),
            }
        });
        // Couriers do not ring the queue's bell.
        let for_couriers = self.couriers.is_carrying().then_some(TRY_AGAIN);
        let pauses = for_inbox.into_iter().chain(for_couriers);
        pauses.chain(self.record_in()).min()
    }

    fn take(&mut self, job: Job) {
        self.queued.fetch_sub(job.bytes(), Ordering::Relaxed);
        let Job::Message { message, answers } = job else {
            return self.note_unrecorded();
        };
        match message {
            ToEngine::Ask {
                engine,
                item,
                replaces,
                opens_browser,
            } => {
                if replaces.is_none_or(|replaced| self.withdraw(&replaced)) {
                    self.ask(engine, &item, opens_browser, answers);
                }
            }
            ToEngine::Join { engine, item } => self.join(engine, &item, &answers),
            ToEngine::OpenBrowser { item } => {
                let is_first = !self.may_open_browser();
                if let Some(waiting) = self.waiting.get_mut(&item) {
                    waiting.opens_browser = true;
                    if is_first {
                        self.maintain_soon();
                    }
                }
            }
            ToEngine::Park { item, until_ms } => {
                if let Some(inbox) = &mut self.inbox
                    && let Err(error) = inbox.store.requests.park(&item, until_ms)
                {
                    tracing::warn!("cannot park an item of the inbox: {}", with_causes(&error));
                }
            }
            ToEngine::Close { item, how } => {
                self.couriers.withdraw(&item, &Ending::Closed(how));
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

    /// Returns how long until the unrecorded decisions are written; `None` if there are none.
    fn record_in(&self) -> Option<Duration> {
        let since = self.unrecorded_since?;
        let waited = self.clock.now().elapsed.saturating_sub(since);
        Some(RECORD_EVERY.saturating_sub(waited))
    }

    /// Writes the decisions made elsewhere to the history, all at once. Warns of the first failure
    /// only, and does not retry.
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
            // No item waits, so this needs no lease and no page.
            None => StateDir::open(&self.folder)
                .and_then(|dir| store::open(&dir, &self.settings.redaction))
                .and_then(|mut store| store.requests.record(&decided)),
        };
        if let Err(error) = written
            && !std::mem::replace(&mut held(&self.unrecorded).has_warned, true)
        {
            let why = with_causes(&error);
            tracing::warn!("the inbox's history is incomplete: {why}");
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
                    engines: vec![engine],
                    fingerprint: item.fingerprint(),
                    form: item.form.clone(),
                    is_listed: false,
                    opens_browser,
                    answers,
                };
                let is_first = opens_browser && !self.may_open_browser();
                self.waiting.insert(item.id.clone(), waiting);
                if is_first || self.couriers.need_page(engine) {
                    self.maintain_soon();
                }
                self.carry(engine, item);
            }
            Err(error) => {
                let why = with_causes(&error);
                tracing::error!("{why}");
                let item = item.id.clone();
                let failure = Failure::unreachable(why);
                // The session may have ended.
                let _ = answers.send(FromEngine::Failed {
                    engine: None,
                    item,
                    failure,
                });
                if !matches!(error.kind, ErrorKind::Locked | ErrorKind::Full) {
                    self.fail_all(&error);
                }
            }
        }
    }

    /// Withdraws an item because another one comes in its place. Returns false if somebody has decided about it: its
    /// verdict is delivered in a moment.
    fn withdraw(&mut self, item: &str) -> bool {
        let now_ms = self.clock.now().unix_ms;
        let Some(inbox) = &mut self.inbox else {
            return true;
        };
        inbox.needs_scrub = true;
        let withdrawn = inbox.store.requests.withdraw(item, now_ms);
        let is_decided = match withdrawn {
            Ok(true) => false,
            Ok(false) => {
                let found = inbox.store.requests.find(item);
                let state = found.ok().flatten().map(|entry| entry.state);
                matches!(state, Some(State::Decided(_))) && self.waiting.contains_key(item)
            }
            Err(error) => {
                // Nobody waits for it any more, and it expires by itself.
                tracing::warn!(
                    "cannot withdraw an item of the inbox: {}",
                    with_causes(&error)
                );
                false
            }
        };
        if is_decided {
            inbox.may_have_verdicts = true;
            return false;
        }
        let ending = Ending::Closed(Closed::Withdrawn);
        self.couriers.withdraw(item, &ending);
        self.waiting.remove(item);
        self.resumed.remove(item);
        true
    }

    /// Lets one more engine show an item that waits.
    fn join(&mut self, engine: EngineId, item: &str, answers: &UnboundedSender<FromEngine>) {
        let Some(inbox) = self.inbox.as_mut() else {
            return;
        };
        let Some(waiting) = self.waiting.get_mut(item) else {
            // It was decided or lost, which its session learns in a moment.
            return;
        };
        if !waiting.engines.contains(&engine) {
            waiting.engines.push(engine);
        }
        if engine == EngineId::INBOX {
            return self.maintain_soon();
        }
        if self.couriers.need_page(engine) {
            inbox.maintained = None;
        }
        let failure = match inbox.store.requests.find(item) {
            // What it shows is what was asked: the verdict is about this.
            Ok(Some(entry)) if entry.item.fingerprint() == waiting.fingerprint => {
                return self.carry(engine, &entry.item);
            }
            Ok(Some(_)) if inbox.may_have_verdicts => return,
            Ok(_) => Failure::unreachable("the item is no longer in the store"),
            Err(error) => Failure::unreachable(with_causes(&error)),
        };
        let (engine, item) = (Some(engine), item.to_owned());
        // The session may have ended.
        let _ = answers.send(FromEngine::Failed {
            engine,
            item,
            failure,
        });
    }

    fn close(&mut self, item: &str, how: Closed) {
        let now_ms = self.clock.now().unix_ms;
        let Some(inbox) = &mut self.inbox else {
            return;
        };
        inbox.needs_scrub = true;
        if let Err(error) = inbox.store.requests.close(item, how, now_ms) {
            // A verdict about it would not count, and the item expires by itself.
            tracing::warn!("cannot close an item of the inbox: {}", with_causes(&error));
        }
    }

    /// Returns the open inbox, and opens it first if necessary.
    fn open(&mut self) -> Result<&mut OpenInbox, StoreError> {
        if let Some(inbox) = &mut self.inbox
            && let Err(error) = inbox.store.requests.check()
        {
            self.fail_all(&error);
        }
        // Not `get_or_insert_with`, because opening may fail.
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
            warned: None,
            needs_scrub: false,
        })
    }

    /// Removes from the store's files the original calls of items that were decided or withdrawn. Does
    /// not wait while another process uses the store, but tries again later.
    fn scrub(&mut self) {
        let Some(inbox) = self.inbox.as_mut().filter(|inbox| inbox.needs_scrub) else {
            return;
        };
        let scrubbed = inbox
            .store
            .requests
            .settle(&inbox.proxy)
            .and_then(|()| inbox.store.requests.scrub());
        match scrubbed {
            Ok(is_scrubbed) => inbox.needs_scrub = !is_scrubbed,
            Err(error) if error.kind == ErrorKind::Locked => {}
            // The next use of the store meets the same error and handles it.
            Err(error) => {
                inbox.needs_scrub = false;
                let why = with_causes(&error);
                tracing::warn!("the inbox's files may still contain a decided call: {why}");
            }
        }
    }

    /// Tells sessions the URLs of their items' pages.
    fn send_page_urls(&mut self) {
        let Some(inbox) = &self.inbox else {
            return;
        };
        let unlisted = self
            .waiting
            .iter_mut()
            .filter(|(_, waiting)| !waiting.is_listed && waiting.is_in_inbox());
        for (item, waiting) in unlisted {
            let Some(url) = inbox.page_server.url_of(item) else {
                return;
            };
            waiting.is_listed = true;
            let item = item.clone();
            // The session may have ended.
            let _ = waiting.answers.send(FromEngine::Listed { item, url });
        }
    }

    /// Fails every waiting question, because the store cannot be used.
    fn fail_all(&mut self, error: &StoreError) {
        let why = with_causes(error);
        if !self.waiting.is_empty() {
            tracing::error!("{why}");
        }
        for (item, waiting) in self.waiting.drain() {
            let why = why.clone();
            let failure = Failure::unreachable(why);
            let ending = Ending::Closed(Closed::Withdrawn);
            self.couriers.withdraw(&item, &ending);
            let _ = waiting.answers.send(FromEngine::Failed {
                engine: None,
                item,
                failure,
            });
        }
        self.resumed.clear();
        // The next question opens it again.
        self.inbox = None;
    }

    /// Returns true if any waiting item may open a browser.
    fn may_open_browser(&self) -> bool {
        self.waiting.values().any(|it| it.opens_browser)
    }

    /// Makes maintenance due now.
    fn maintain_soon(&mut self) {
        if let Some(inbox) = &mut self.inbox {
            inbox.maintained = None;
        }
    }

    /// Makes sure that some process serves the page, and checks the store. Does so once per [`MAINTAIN_EVERY`].
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
        // Items of engines that do not link to the page need none.
        let couriers = &self.couriers;
        let is_on_page = |waiting: &Waiting| {
            let mut engines = waiting.engines.iter();
            engines.any(|engine| *engine == EngineId::INBOX || couriers.need_page(*engine))
        };
        let needs_page = inbox.page_server.is_serving() || self.waiting.values().any(is_on_page);
        let maintained = match needs_page {
            true => inbox
                .page_server
                .maintain(&mut *inbox.store.logins, opens_browser, unix_ms),
            false => Ok(None),
        };
        if !needs_page {
            // The page was not checked, so an old warning still holds.
            wrong.clone_from(&inbox.warned);
        }
        if let Some(address) = inbox.page_server.address() {
            self.couriers.set_page(&address);
        }
        match maintained {
            Ok(Some(address)) => {
                let list = suggested_command("approvals list", self.settings.state_dir.as_deref());
                let notice = format!(
                    "approval-proxy: a call waits for your approval at {address} (or run `{list}`)\n"
                );
                self.settings.stderr.send(notice.into_bytes());
            }
            Ok(None) => {}
            Err(error) => wrong = Some(with_causes(&error)),
        }
        // Afterwards: the page on this machine works and is announced without it.
        if needs_page
            && wrong.is_none()
            && let Err(error) = inbox.page_server.find_or_serve_remote()
        {
            wrong = Some(with_causes(&error));
        }
        if let Err(error) = inbox.store.requests.check() {
            return self.fail_all(&error);
        }
        if inbox.page_server.is_serving()
            && let Err(error) = inbox.store.requests.sweep(unix_ms)
        {
            if error.kind == ErrorKind::Damaged {
                return self.fail_all(&error);
            }
            let why = with_causes(&error);
            wrong = Some(format!("cannot clean up the inbox: {why}"));
        }
        if let Some(why) = wrong
            .as_ref()
            .filter(|why| inbox.warned.as_ref() != Some(why))
        {
            tracing::warn!("{why}");
        }
        inbox.warned = wrong;
        self.fail_closed(unix_ms);
    }

    /// Fails the questions whose items another process has closed.
    fn fail_closed(&mut self, now_ms: i64) {
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
                // The next use of the store handles it.
                Err(_) => false,
            };
            let waiting = self.waiting.get(&item).filter(|_| is_closed);
            if let Some(waiting) = waiting {
                let why = "another process closed its item".to_owned();
                let answer = FromEngine::Failed {
                    engine: None,
                    item: item.clone(),
                    failure: Failure::unreachable(why),
                };
                // The session may have ended.
                let _ = waiting.answers.send(answer);
                let ending = Ending::Closed(Closed::Withdrawn);
                self.couriers.withdraw(&item, &ending);
                self.waiting.remove(&item);
            }
        }
    }
}

/// Returns true if the store has closed or lost an item before its deadline. After the deadline it is
/// a timeout, which the gate notices by itself.
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
    fn an_item_that_expires_in_the_store_is_a_timeout_and_not_a_failure() {
        let entry = |state, expires_ms, parked_until_ms| Entry {
            item: Item {
                form: None,
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
