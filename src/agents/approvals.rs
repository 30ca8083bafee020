//! The approvals of one agent: asks people, keeps what they decide, and answers the agent.
//!
//! The gate's [`Question`] decides whom to ask and which verdict counts; the store keeps every approval across restarts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::log::{ApprovalLog, LogError};
use super::outcome::{Outcome, Status};
use super::request::{BadRequest, Request};
use crate::config::Resolved;
use crate::engines::inbox::store::{self, Added, StoreError, StoredApproval};
use crate::evidence::redact::Redaction;
use crate::gate::{
    Engine, Failure, FromEngine, Now, Question, QuestionOutput, ResumeKey, Settings, ToEngine,
};
use crate::relay::OutOfBandEngines;
use crate::sys::clock::{Clock, random_hex, random_seed};
use crate::sys::secret::Secret;
use crate::sys::state_dir::StateDir;
use crate::sys::with_causes;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// An agent by a name that it keeps across restarts.
    Agent(String),
    /// This process: nobody sees its approvals after it.
    Process,
}

/// The approvals of one agent.
pub struct Approvals {
    settings: Settings,
    engines: Arc<dyn OutOfBandEngines>,
    store: Mutex<Box<dyn store::Approvals>>,
    log: ApprovalLog,
    clock: Clock,
    owner: String,
    is_lasting: bool,
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
    #[error("approvals cannot be kept, so nobody was asked")]
    Store(#[from] StoreError),
    /// The audit log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// There is no state folder.
    #[error("there is no state folder, because `HOME` is not set; name a folder with --state-dir")]
    NoFolder,
    /// The system has no random numbers.
    #[error("the system has no random numbers")]
    Random,
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
        let mut store = store::open(&dir, &Redaction::default())?.approvals;
        store.forget_old(clock.now().unix_ms)?;
        let (owner, is_lasting, name) = match owner {
            Owner::Agent(name) => (format!("agent:{name}"), true, name.clone()),
            Owner::Process => {
                let random = random_hex(16).map_err(|_| ApprovalsError::Random)?;
                (format!("process:{random}"), false, "an agent".to_owned())
            }
        };
        Ok(Arc::new(Approvals {
            settings: config.settings.clone(),
            engines,
            store: Mutex::new(store),
            log,
            clock,
            owner,
            is_lasting,
            name,
            live: Mutex::default(),
            decision_secret: config.decision_secret.clone(),
        }))
    }

    /// Waits again for the approvals that an earlier process of this agent has left pending.
    ///
    /// # Errors
    /// [`ApprovalsError`], of the store.
    pub fn resume(self: &Arc<Self>) -> Result<(), ApprovalsError> {
        for stored in held(&self.store).pending(&self.owner)? {
            match Request::from_body(&stored.body) {
                Some(request) => self.start(&stored, &request, true)?,
                None => {
                    let why = "what was asked can no longer be read".to_owned();
                    self.end(&stored.id, Outcome::of(Status::Error, Some(why)));
                }
            }
        }
        Ok(())
    }

    /// Asks people, and returns the approval's id. If the agent has used its idempotency key for the same request before,
    /// returns that one.
    ///
    /// # Errors
    /// [`ApprovalsError`]. Then nobody was asked.
    pub fn request(self: &Arc<Self>, request: &Request) -> Result<String, ApprovalsError> {
        self.channels_for(request)?;
        let now_ms = self.clock.now().unix_ms;
        let time = i64::try_from(request.timeout.as_millis()).unwrap_or(i64::MAX);
        let random = random_hex(16).map_err(|_| ApprovalsError::Random)?;
        let stored = StoredApproval {
            id: format!("ap_{random}"),
            owner: self.owner.clone(),
            idempotency_key: request.idempotency_key.clone(),
            body: request.body(),
            asked_ms: now_ms,
            expires_ms: now_ms.saturating_add(time),
            outcome: None,
        };
        request.approval_request(&self.name)?;
        match held(&self.store).add(&stored)? {
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
        ];
        if let Err(error) = self.log.record(&members) {
            let outcome = Outcome::of(Status::Error, Some(with_causes(&error)));
            self.keep(&stored.id, &outcome);
            return Err(error.into());
        }
        self.start(&stored, request, false)?;
        Ok(stored.id)
    }

    /// Returns how an approval stands, once it is no longer pending or `longest` is over.
    ///
    /// # Errors
    /// [`ApprovalsError::Unknown`], and those of the store.
    pub async fn wait(&self, id: &str, longest: Duration) -> Result<Outcome, ApprovalsError> {
        let known = held(&self.store).find(id, &self.owner)?;
        let known = known.ok_or(ApprovalsError::Unknown)?;
        if let Some(outcome) = &known.outcome {
            let unreadable =
                || Outcome::of(Status::Error, Some("it can no longer be read".to_owned()));
            return Ok(serde_json::from_str(outcome).unwrap_or_else(|_| unreadable()));
        }
        let live = held(&self.live)
            .get(id)
            .map(|live| live.outcome.subscribe());
        let Some(mut live) = live else {
            return Ok(Outcome::of(Status::Pending, None));
        };
        // If time is over, or the sender is gone, the last value holds.
        let _ = timeout(
            longest,
            live.wait_for(|outcome| outcome.status != Status::Pending),
        )
        .await;
        Ok(live.borrow().clone())
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
        let known = held(&self.store).find(id, &self.owner)?;
        let known = known.ok_or(ApprovalsError::Unknown)?;
        let digest = Request::from_body(&known.body).map(|request| request.digest());
        let secret = self.decision_secret.as_ref();
        Ok(outcome.to_json(id, &digest.unwrap_or_default(), secret))
    }

    /// Withdraws an approval, if it is pending, and returns how it stands.
    ///
    /// # Errors
    /// [`ApprovalsError::Unknown`], and those of the store.
    pub async fn cancel(&self, id: &str) -> Result<Outcome, ApprovalsError> {
        let known = held(&self.store).find(id, &self.owner)?;
        known.ok_or(ApprovalsError::Unknown)?;
        if let Some(live) = held(&self.live).get(id) {
            live.cancel.send_replace(true);
        }
        self.wait(id, CANCEL_TIME).await
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
        settings.timeout = Some(left);
        let shown = Arc::new(request.approval_request(&self.name)?);
        let key = Sha256::new()
            .chain_update(b"approval\0")
            .chain_update(&stored.id);
        let key = self.is_lasting.then(|| ResumeKey(key.finalize().into()));
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

    /// Keeps how an approval ended, records it, and tells whoever waits: in this order.
    fn end(&self, id: &str, mut outcome: Outcome) {
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
        self.keep(id, &outcome);
        if let Some(live) = held(&self.live).remove(id) {
            live.outcome.send_replace(outcome);
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
        self.log.record(&members)
    }

    fn keep(&self, id: &str, outcome: &Outcome) {
        let text = serde_json::to_string(outcome).unwrap_or_default();
        if let Err(error) = held(&self.store).end(id, &text) {
            tracing::error!("an approval cannot be kept: {}", with_causes(&error));
        }
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

/// How long withdrawing may take.
const CANCEL_TIME: Duration = Duration::from_secs(5);

/// Drives one question until it ends.
struct Driver {
    approvals: Arc<Approvals>,
    id: String,
    question: Question,
    to_us: UnboundedSender<FromEngine>,
    from_engines: UnboundedReceiver<FromEngine>,
}

impl Driver {
    fn new(approvals: &Arc<Approvals>, id: String, question: Question) -> Driver {
        let (to_us, from_engines) = unbounded_channel();
        Driver {
            approvals: Arc::clone(approvals),
            id,
            question,
            to_us,
            from_engines,
        }
    }

    async fn drive(mut self, mut cancelled: watch::Receiver<bool>, is_resumed: bool) {
        let now = self.now();
        let mut outputs = match is_resumed {
            true => self.question.find(now),
            false => self.question.begin(now),
        };
        loop {
            if self.carry_out(outputs) {
                return;
            }
            let due = self.question.next_time();
            let left = due.map(|due| due.saturating_sub(self.now().elapsed));
            let tick = async {
                match left {
                    Some(left) => sleep_until(Instant::now() + left).await,
                    None => std::future::pending().await,
                }
            };
            outputs = tokio::select! {
                message = self.from_engines.recv() => match message {
                    Some(message) => {
                        let now = self.now();
                        self.question.from_engine(message, now)
                    }
                    None => return,
                },
                is_cancelled = cancelled.wait_for(|is_cancelled| *is_cancelled) => {
                    // An error means that nobody can cancel any more.
                    if is_cancelled.is_err() {
                        return;
                    }
                    drop(is_cancelled);
                    let now = self.now();
                    let outputs = self.question.cancel(now);
                    self.carry_out(outputs);
                    return self.approvals.end(&self.id, Outcome::of(Status::Cancelled, None));
                }
                () = tick => {
                    let now = self.now();
                    self.question.tick(now)
                }
            };
        }
    }

    fn now(&self) -> Now {
        self.approvals.clock.now()
    }

    /// Carries outputs out. Returns true if the question is over.
    fn carry_out(&mut self, outputs: Vec<QuestionOutput>) -> bool {
        let mut is_over = false;
        let mut outputs: std::collections::VecDeque<QuestionOutput> = outputs.into();
        while let Some(output) = outputs.pop_front() {
            match output {
                QuestionOutput::ToEngine(message) => {
                    let asked = match &message {
                        ToEngine::Ask { engine, item, .. } => Some((*engine, item.id.clone())),
                        ToEngine::Join { engine, item } => Some((*engine, item.clone())),
                        ToEngine::OpenBrowser { .. }
                        | ToEngine::Park { .. }
                        | ToEngine::Close { .. }
                        | ToEngine::Decided(_)
                        | ToEngine::Resume(_) => None,
                    };
                    let sent = self.approvals.engines.send(message, &self.to_us);
                    if let (Err(why), Some((engine, item))) = (sent, asked) {
                        let failed = FromEngine::Failed {
                            engine: Some(engine),
                            item,
                            failure: Failure::unreachable(why),
                        };
                        let now = self.now();
                        outputs.extend(self.question.from_engine(failed, now));
                    }
                }
                QuestionOutput::Disregarded(why) => {
                    tracing::warn!("a verdict about approval {} does not count: {why}", self.id);
                }
                QuestionOutput::Ended(end) => {
                    self.approvals.end(&self.id, end.into());
                    is_over = true;
                    outputs.extend(self.question.settle());
                }
            }
        }
        is_over
    }
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
