//! The approvals of one agent: asks people, keeps what they decide, and answers the agent.
//!
//! The gate's [`Question`] decides whom to ask and which verdict counts; the store keeps every approval across restarts.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ring::hmac;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

use super::driver::Driver;
use super::lead::{Lead, lease_of};
use super::log::{ApprovalLog, LogError};
use super::outcome::{Outcome, Status};
use super::request::{BadRequest, Request};
use crate::config::Resolved;
use crate::engines::inbox::store::{self, Added, Lease, Liveness, StoreError, StoredApproval};
use crate::evidence::redact::Redaction;
use crate::gate::{Engine, OnFailure, Patience, Question, ResumeKey, Settings};
use crate::relay::OutOfBandEngines;
use crate::sys::clock::{Clock, random_hex, random_seed};
use crate::sys::secret::Secret;
use crate::sys::state_dir::StateDir;
use crate::sys::with_causes;

/// Who asks.
#[derive(Debug, Clone)]
pub enum Owner {
    /// An agent by a name that it keeps across restarts.
    Agent(String),
    /// This process: nobody sees its approvals after it.
    Process,
    /// Whoever knows this token, across restarts. People see the name, if there is one.
    Token {
        /// The bearer token of HTTP clients.
        token: Secret,
        /// What people see.
        name: Option<String>,
    },
    /// Whoever knows the id of an approval, across restarts. Nobody can guess it.
    Holder,
}

/// The approvals of one agent.
pub struct Approvals {
    settings: Settings,
    pub(super) engines: Arc<dyn OutOfBandEngines>,
    store: Mutex<Box<dyn store::Approvals>>,
    log: ApprovalLog,
    pub(super) clock: Clock,
    owner: String,
    /// The beginning of the ids.
    prefix: &'static str,
    /// Which process asks, of those that serve the same agent. `None` if approvals belong to this process.
    lead: Option<Mutex<Lead>>,
    /// If approvals belong to this process: shows others that it is alive.
    _life: Option<Lease>,
    /// The approvals that were pending when we looked last.
    pending: watch::Sender<HashSet<String>>,
    /// True once this process ends.
    is_closing: watch::Sender<bool>,
    /// What people see of the agent.
    name: String,
    live: Mutex<HashMap<String, Live>>,
    /// Signs decisions that leave as data.
    decision_secret: Option<Secret>,
}

/// An approval that somebody may still decide about.
struct Live {
    outcome: watch::Sender<Outcome>,
    cancel: watch::Sender<bool>,
    task: Option<AbortHandle>,
}

/// Why approvals cannot be asked for.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalsError {
    /// The request is wrong.
    #[error(transparent)]
    Bad(#[from] BadRequest),
    /// The agent has no such approval.
    #[error("you have no approval with this `approval_id`")]
    Unknown,
    /// No engine can be asked.
    #[error("nobody can be asked: no engine outside of a client is configured")]
    NoEngine,
    /// The store cannot be used.
    #[error("the store of approvals cannot be used")]
    Store(#[from] StoreError),
    /// The request cannot be stored.
    #[error("the request cannot be stored, so nobody was asked")]
    NotStored(#[source] StoreError),
    /// The audit log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// There is no state folder.
    #[error("there is no state folder, because `HOME` is not set; name a folder with --state-dir")]
    NoFolder,
    /// The system has no random numbers.
    #[error("the system has no random numbers")]
    Random,
    /// The client is gone, or a signal has come.
    #[error("this process is ending; nobody was asked")]
    Ending,
}

impl std::fmt::Debug for Approvals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Approvals").finish_non_exhaustive()
    }
}

impl Approvals {
    /// Opens the approvals of an agent. Asks nobody yet.
    ///
    /// # Errors
    /// [`ApprovalsError`], of the store and the log.
    pub fn open(
        config: &Resolved,
        engines: Arc<dyn OutOfBandEngines>,
        owner: &Owner,
    ) -> Result<Arc<Approvals>, ApprovalsError> {
        let folder = config.inbox.state_dir.as_deref();
        let folder = folder.ok_or(ApprovalsError::NoFolder)?;
        let dir = StateDir::open(folder)?;
        let clock = Clock::start();
        let redaction = config.settings.redaction.clone();
        let log = ApprovalLog::open(folder, redaction, clock)?;
        let opened = store::open(&dir, &Redaction::default())?;
        let (mut store, mut liveness) = (opened.approvals, opened.liveness);
        store.forget_old(clock.now().unix_ms)?;
        end_orphans(&mut *store, &mut *liveness, &log)?;
        const UNNAMED: &str = "an agent";
        let mut prefix = "ap_";
        let (owner, is_lasting, name) = match owner {
            Owner::Agent(name) => (format!("agent:{name}"), true, name.clone()),
            Owner::Process => {
                let random = random_hex(16).map_err(|_| ApprovalsError::Random)?;
                (format!("{PROCESS}{random}"), false, UNNAMED.to_owned())
            }
            Owner::Token { token, name } => {
                let name = name.clone().unwrap_or_else(|| UNNAMED.to_owned());
                (owner_of_token(&dir.secret()?, token), true, name)
            }
            Owner::Holder => {
                prefix = "pse_";
                ("holder".to_owned(), true, UNNAMED.to_owned())
            }
        };
        let (lead, life) = match is_lasting {
            true => (Some(Mutex::new(Lead::new(liveness, &owner))), None),
            false => (None, liveness.try_lease(&lease_of(&owner))?),
        };
        Ok(Arc::new(Approvals {
            settings: config.settings.clone(),
            engines,
            store: Mutex::new(store),
            log,
            clock,
            owner,
            prefix,
            lead,
            _life: life,
            pending: watch::Sender::default(),
            is_closing: watch::Sender::default(),
            name,
            live: Mutex::default(),
            decision_secret: config.decision_secret.clone(),
        }))
    }

    /// Waits again for the approvals that an earlier process of this agent has left pending. Call this before the first
    /// request: only then does this process ask, if no other one of the agent does. Takes over what other processes
    /// of this agent leave from now on.
    ///
    /// # Errors
    /// [`ApprovalsError`], of the store.
    pub fn resume(self: &Arc<Self>) -> Result<(), ApprovalsError> {
        let Some(lead) = &self.lead else {
            return Ok(());
        };
        held(lead).take()?;
        self.look()?;
        tokio::spawn(Approvals::keep_looking(Arc::downgrade(self)));
        Ok(())
    }

    /// Looks at what other processes of this agent have done, from time to time.
    async fn keep_looking(approvals: Weak<Approvals>) {
        let mut looks = interval(LOOK_EVERY);
        let mut forgot = Instant::now();
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_warned = false;
        loop {
            looks.tick().await;
            let Some(approvals) = approvals.upgrade() else {
                return;
            };
            if *approvals.is_closing.borrow() {
                return;
            }
            if forgot.elapsed() >= FORGET_EVERY {
                forgot = Instant::now();
                approvals.forget_old();
            }
            let looked = approvals.take_lead().and_then(|is_new| match is_new {
                // The inbox must see first that the previous process is gone.
                true => Ok(()),
                false => approvals.look(),
            });
            match looked {
                Ok(()) => was_warned = false,
                Err(_) if was_warned => {}
                Err(error) => {
                    was_warned = true;
                    tracing::warn!("approvals cannot be followed: {}", with_causes(&error));
                }
            }
        }
    }

    fn forget_old(&self) {
        let now_ms = self.clock.now().unix_ms;
        if let Err(error) = self.patiently(|store| store.forget_old(now_ms)) {
            tracing::warn!("old approvals cannot be forgotten: {}", with_causes(&error));
        }
    }

    fn take_lead(&self) -> Result<bool, ApprovalsError> {
        match &self.lead {
            Some(lead) => Ok(held(lead).take()?),
            None => Ok(false),
        }
    }

    /// Returns true if this process asks the agent's questions.
    fn leads(&self) -> bool {
        self.lead.as_ref().is_none_or(|lead| held(lead).is_ours())
    }

    /// Asks about the approvals that nobody asks about, and ends those here that another process has ended.
    fn look(self: &Arc<Self>) -> Result<(), ApprovalsError> {
        // Before the store, so that what comes in between does not seem to have ended.
        let live: Vec<String> = held(&self.live).keys().cloned().collect();
        let stored = held(&self.store).pending(&self.owner)?;
        let pending: HashSet<String> = stored.iter().map(|stored| stored.id.clone()).collect();
        for id in live.iter().filter(|id| !pending.contains(*id)) {
            if let Some(live) = held(&self.live).get(id) {
                live.cancel.send_replace(true);
            }
        }
        if self.leads() {
            for stored in &stored {
                if !held(&self.live).contains_key(&stored.id) {
                    self.take_over(stored);
                }
            }
        }
        self.pending.send_replace(pending);
        Ok(())
    }

    /// Asks on about an approval that another process has left.
    fn take_over(self: &Arc<Self>, stored: &StoredApproval) {
        let unreadable = || BadRequest("what was asked can no longer be read".to_owned());
        let request = Request::from_body(&stored.body).ok_or_else(unreadable);
        let started = request.map_err(ApprovalsError::from).and_then(|request| {
            let members = [
                ("approval_id", &*stored.id),
                ("state", "resumed"),
                ("agent", &*self.owner),
                ("action", request.action()),
            ];
            self.log.record(&members)?;
            self.start(stored, &request, true)
        });
        // For example, its recipients are no longer configured.
        if let Err(error) = started {
            self.end(
                &stored.id,
                Outcome::of(Status::Error, Some(with_causes(&error))),
            );
        }
    }

    /// Asks people, and returns the approval's id. If the agent has used its idempotency key for the same request before,
    /// returns that one.
    ///
    /// # Errors
    /// [`ApprovalsError`]. Then nobody was asked.
    pub fn request(self: &Arc<Self>, request: &Request) -> Result<String, ApprovalsError> {
        // An agent's next process asks on. Nobody could ask about any other request.
        if self.lead.is_none() && *self.is_closing.borrow() {
            return Err(ApprovalsError::Ending);
        }
        self.channels_for(request)?;
        let now_ms = self.clock.now().unix_ms;
        let time = i64::try_from(request.timeout.as_millis()).unwrap_or(i64::MAX);
        let random = random_hex(16).map_err(|_| ApprovalsError::Random)?;
        let stored = StoredApproval {
            id: format!("{}{random}", self.prefix),
            owner: self.owner.clone(),
            idempotency_key: request.idempotency_key.clone(),
            body: request.body(),
            asked_ms: now_ms,
            expires_ms: now_ms.saturating_add(time),
            outcome: None,
        };
        request.approval_request(&self.name)?;
        let added = self.patiently(|store| store.add(&stored));
        match added.map_err(ApprovalsError::NotStored)? {
            Added::New => {}
            Added::Known(known) if known.body == stored.body => return Ok(known.id),
            Added::Known(_) => {
                let why = "this `idempotency_key` was used for another request; nobody was asked";
                return Err(BadRequest(why.to_owned()).into());
            }
            Added::TooMany => {
                let why = format!(
                    "{} of your requests are pending; cancel some, or wait for an answer",
                    store::MAX_PENDING
                );
                return Err(BadRequest(why).into());
            }
        }
        let members = [
            ("approval_id", &*stored.id),
            ("state", "asked"),
            ("agent", &*self.owner),
            ("action", request.action()),
            ("digest", &*request.digest()),
        ];
        if let Err(error) = self.log.record(&members) {
            let outcome = Outcome::of(Status::Error, Some(with_causes(&error)));
            if let Err(error) = self.keep(&stored.id, &outcome) {
                tracing::error!("an approval cannot be kept: {}", with_causes(&error));
            }
            return Err(error.into());
        }
        // Otherwise, the process that leads will see it.
        if self.leads()
            && let Err(error) = self.start(&stored, request, false)
        {
            self.end(
                &stored.id,
                Outcome::of(Status::Error, Some(with_causes(&error))),
            );
            return Err(error);
        }
        Ok(stored.id)
    }

    /// Returns how an approval stands, once it is no longer pending or `longest` is over.
    ///
    /// # Errors
    /// [`ApprovalsError::Unknown`], and those of the store.
    pub async fn wait(&self, id: &str, longest: Duration) -> Result<Outcome, ApprovalsError> {
        let until = Instant::now() + longest;
        let mut pending = self.pending.subscribe();
        let mut is_closing = self.is_closing.subscribe();
        loop {
            if let Some(outcome) = self.ended(id)? {
                return Ok(outcome);
            }
            let live = held(&self.live)
                .get(id)
                .map(|live| live.outcome.subscribe());
            let is_over = async {
                match live {
                    // An error means that it has ended, too.
                    Some(mut live) => {
                        let _ = live
                            .wait_for(|outcome| outcome.status != Status::Pending)
                            .await;
                        live.borrow().clone()
                    }
                    // Another process asks.
                    None => {
                        let _ = pending.changed().await;
                        let _ = pending.wait_for(|pending| !pending.contains(id)).await;
                        Outcome::of(Status::Pending, None)
                    }
                }
            };
            let ends = async {
                // Whoever owns the approval asks the next process.
                let _ = is_closing.wait_for(|is_closing| *is_closing).await;
                if self.lead.is_none() {
                    std::future::pending::<()>().await;
                }
            };
            let outcome = tokio::select! {
                outcome = timeout_at(until, is_over) => outcome.ok(),
                () = ends => None,
            };
            match outcome {
                Some(outcome) if outcome.status != Status::Pending => return Ok(outcome),
                Some(_) => {}
                None => {
                    let pending = Outcome::of(Status::Pending, None);
                    return Ok(self.ended(id)?.unwrap_or(pending));
                }
            }
        }
    }

    /// Returns an approval of this agent.
    pub(super) fn find(&self, id: &str) -> Result<StoredApproval, ApprovalsError> {
        let known = held(&self.store).find(id, &self.owner)?;
        known.ok_or(ApprovalsError::Unknown)
    }

    /// Returns how an approval of this agent ended; `None` if it is pending.
    fn ended(&self, id: &str) -> Result<Option<Outcome>, ApprovalsError> {
        let known = self.find(id)?;
        let unreadable = || Outcome::of(Status::Error, Some("it can no longer be read".to_owned()));
        Ok(known
            .outcome
            .map(|outcome| serde_json::from_str(&outcome).unwrap_or_else(|_| unreadable())))
    }

    /// Returns what the agent gets of an approval that stands so.
    ///
    /// # Errors
    /// As [`Approvals::wait`].
    pub fn as_json(
        &self,
        id: &str,
        outcome: &Outcome,
    ) -> Result<serde_json::Value, ApprovalsError> {
        let known = self.find(id)?;
        let digest = Request::from_body(&known.body).map(|request| request.digest());
        let secret = self.decision_secret.as_ref();
        Ok(outcome.to_json(id, &digest.unwrap_or_default(), secret))
    }

    /// Withdraws an approval, if it is pending, and returns how it stands.
    ///
    /// # Errors
    /// [`ApprovalsError::Unknown`], and those of the store.
    pub async fn cancel(&self, id: &str) -> Result<Outcome, ApprovalsError> {
        if let Some(outcome) = self.ended(id)? {
            return Ok(outcome);
        }
        self.withdraw(id);
        self.wait(id, CANCEL_TIME).await
    }

    /// Starts to withdraw an approval of this agent that is pending.
    pub(super) fn withdraw(&self, id: &str) {
        if let Some(live) = held(&self.live).get(id) {
            live.cancel.send_replace(true);
            return;
        }
        // The process that asks will see it.
        self.end(id, Outcome::of(Status::Cancelled, None));
    }

    /// Ends: asks nobody any more. Withdraws the approvals that belong to this process, because nobody can ask about them
    /// after it; those of an agent stay.
    pub async fn close(&self) {
        self.is_closing.send_replace(true);
        if self.lead.is_some() {
            return;
        }
        let mut left = Vec::new();
        for live in held(&self.live).values() {
            live.cancel.send_replace(true);
            left.push(live.outcome.subscribe());
        }
        let all = async {
            for mut live in left {
                // An error means that it has ended, too.
                let _ = live
                    .wait_for(|outcome| outcome.status != Status::Pending)
                    .await;
            }
        };
        // What takes longer is withdrawn by the next process that opens the inbox, without a record.
        let _ = timeout(CANCEL_TIME, all).await;
    }

    /// Returns the engines for a request.
    fn channels_for(&self, request: &Request) -> Result<Settings, ApprovalsError> {
        let mut settings = self.settings.clone();
        settings
            .channels
            .retain(|channel| channel.engine != Engine::Elicitation);
        if settings.channels.is_empty() {
            return Err(ApprovalsError::NoEngine);
        }
        let name = |engine: Engine| match engine {
            Engine::OutOfBand(engine) => engine.name(),
            Engine::Elicitation => "",
        };
        for wanted in &request.recipients {
            if !settings
                .channels
                .iter()
                .any(|channel| name(channel.engine) == wanted)
            {
                return Err(BadRequest(format!(
                    "`recipients` has {}, which is no engine of the configuration; nobody was asked",
                    crate::approval::display::in_backticks(wanted)
                ))
                .into());
            }
        }
        if !request.recipients.is_empty() {
            let is_wanted = |engine| {
                request
                    .recipients
                    .iter()
                    .any(|wanted| name(engine) == wanted)
            };
            settings
                .channels
                .retain(|channel| is_wanted(channel.engine));
        }
        Ok(settings)
    }

    /// Asks about an approval, or waits again for the answer.
    fn start(
        self: &Arc<Self>,
        stored: &StoredApproval,
        request: &Request,
        is_resumed: bool,
    ) -> Result<(), ApprovalsError> {
        let now = self.clock.now();
        let left = stored.expires_ms.saturating_sub(now.unix_ms);
        let left = Duration::from_millis(u64::try_from(left).unwrap_or_default());
        let mut settings = self.channels_for(request)?;
        for channel in &mut settings.channels {
            // The request's time is that of all engines together. One that the next replaces has its own.
            if channel.on_timeout == OnFailure::Fallback && channel.patience == Patience::Default {
                channel.patience = Patience::Own(settings.timeout);
            }
        }
        settings.timeout = Some(left);
        let shown = Arc::new(request.approval_request(&self.name)?);
        let key = Sha256::new()
            .chain_update(b"approval\0")
            .chain_update(&stored.id);
        let key = self
            .lead
            .is_some()
            .then(|| ResumeKey(key.finalize().into()));
        let seed = random_seed().map_err(|_| ApprovalsError::Random)?;
        let question = Question::new(shown, settings, key, seed, now);
        let (outcome, _) = watch::channel(Outcome::of(Status::Pending, None));
        let (cancel, cancelled) = watch::channel(false);
        let live = Live {
            outcome,
            cancel,
            task: None,
        };
        held(&self.live).insert(stored.id.clone(), live);
        let driving = Driver::new(self, stored.id.clone(), question).drive(cancelled, is_resumed);
        let task = tokio::spawn(driving).abort_handle();
        if let Some(live) = held(&self.live).get_mut(&stored.id) {
            live.task = Some(task);
        }
        Ok(())
    }

    /// Records how an approval ended, keeps it, and tells everybody who waits: in this order. Returns false if it cannot be kept.
    pub(super) fn end(&self, id: &str, outcome: Outcome) -> bool {
        let (outcome, is_kept) = match self.ended(id) {
            // Another process was first.
            Ok(Some(first)) => (first, true),
            Ok(None) | Err(_) => self.record_and_keep(id, outcome),
        };
        let mut live = held(&self.live);
        match is_kept {
            true => {
                if let Some(live) = live.remove(id) {
                    live.outcome.send_replace(outcome);
                }
            }
            // Then only this process knows.
            false => {
                if let Some(live) = live.get(id) {
                    live.outcome.send_replace(outcome);
                }
            }
        }
        is_kept
    }

    fn record_and_keep(&self, id: &str, mut outcome: Outcome) -> (Outcome, bool) {
        if self.decision_secret.is_some() && outcome.is_decided() {
            match random_hex(16) {
                Ok(nonce) => outcome.nonce = Some(nonce),
                // Without one, the decision could pass for another.
                Err(_) => {
                    outcome = Outcome::of(Status::Error, Some(ApprovalsError::Random.to_string()))
                }
            }
        }
        let outcome = match self.record(id, &outcome) {
            Ok(()) => outcome,
            // INVARIANT: a decision that is not in the log counts for nothing.
            Err(error) => {
                tracing::error!("{}", with_causes(&error));
                Outcome::of(Status::Error, Some(with_causes(&error)))
            }
        };
        match self.keep(id, &outcome) {
            Ok(true) => (outcome, true),
            Ok(false) => match self.ended(id) {
                // Another process was first, since we looked. The last record says what counts.
                Ok(Some(first)) => {
                    if let Err(error) = self.record(id, &first) {
                        tracing::error!("{}", with_causes(&error));
                    }
                    (first, true)
                }
                Ok(None) | Err(_) => (outcome, false),
            },
            Err(error) => {
                tracing::error!("an approval cannot be kept: {}", with_causes(&error));
                (outcome, false)
            }
        }
    }

    fn record(&self, id: &str, outcome: &Outcome) -> Result<(), LogError> {
        let mut members = vec![
            ("approval_id", id),
            ("state", outcome.status.as_str()),
            ("agent", &self.owner),
        ];
        for (member, value) in [
            ("engine", &outcome.engine),
            ("assurance", &outcome.assurance),
            ("approver", &outcome.approver),
            ("reason", &outcome.reason),
        ] {
            members.extend(value.as_deref().map(|value| (member, value)));
        }
        let fields = serde_json::to_string(&outcome.fields).unwrap_or_default();
        if !outcome.fields.is_empty() {
            members.push(("fields", &fields));
        }
        self.log.record(&members)
    }

    /// Changes the store. Tries again if others, such as our own inbox with many new items, keep it locked.
    fn patiently<T>(
        &self,
        change: impl Fn(&mut dyn store::Approvals) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut store = held(&self.store);
        for _ in 1..STORE_TRIES {
            match change(&mut **store) {
                Err(error) if error.kind == store::ErrorKind::Locked => {}
                done => return done,
            }
        }
        change(&mut **store)
    }

    pub(super) fn record_disregarded(&self, id: &str, why: &str) {
        let members = [
            ("approval_id", id),
            ("state", "disregarded"),
            ("agent", &*self.owner),
            ("reason", why),
        ];
        if let Err(error) = self.log.record(&members) {
            tracing::error!("{}", with_causes(&error));
        }
    }

    fn keep(&self, id: &str, outcome: &Outcome) -> Result<bool, StoreError> {
        let text = outcome.to_text();
        self.patiently(|store| store.end(id, &text))
    }
}

impl Drop for Approvals {
    fn drop(&mut self) {
        for live in held(&self.live).values() {
            if let Some(task) = &live.task {
                task.abort();
            }
        }
    }
}

/// Ends the approvals of processes that were killed: nobody can ask about them any more.
fn end_orphans(
    store: &mut dyn store::Approvals,
    liveness: &mut dyn Liveness,
    log: &ApprovalLog,
) -> Result<(), ApprovalsError> {
    for owner in store.owners_of_pending(PROCESS)? {
        // While we hold its lease, no process can be this one.
        let Some(_lease) = liveness.try_lease(&lease_of(&owner))? else {
            continue;
        };
        for stored in store.pending(&owner)? {
            let why = "the process that asked was killed";
            let outcome = Outcome::of(Status::Cancelled, Some(why.to_owned()));
            let members = [
                ("approval_id", &*stored.id),
                ("state", outcome.status.as_str()),
                ("agent", &*owner),
                ("reason", why),
            ];
            log.record(&members)?;
            store.end(&stored.id, &outcome.to_text())?;
        }
    }
    Ok(())
}

/// The beginning of the owner of approvals that belong to a process.
const PROCESS: &str = "process:";
/// How long withdrawing may take.
const CANCEL_TIME: Duration = Duration::from_secs(5);
/// How often a locked store is tried, for a second each.
const STORE_TRIES: usize = 3;
/// How often a process forgets old approvals.
const FORGET_EVERY: Duration = Duration::from_secs(60 * 60);
/// How often a process looks at what others of the same agent have done.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Returns the owner of what is asked with a token. Without the folder's secret, nobody can guess the token from it.
fn owner_of_token(secret: &[u8; 32], token: &Secret) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, token.expose().as_bytes());
    let digits = tag.as_ref().iter().take(16);
    let digits = digits.map(|byte| format!("{byte:02x}"));
    format!("token:{}", digits.collect::<String>())
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
