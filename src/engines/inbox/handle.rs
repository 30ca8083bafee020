//! The process's handle to the inbox. Sends questions to the worker thread, which starts with the first
//! one.
//!
//! `worker` does the work; the gate decides what a verdict lets run.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::identity::Identity;
use super::page_server::PageServerSettings;
use super::passphrase::PublicKey;
use super::queue::{Jobs, queue};
use super::store;
pub use super::worker::ConfiguredCourier;
use super::worker::{Couriers, Unrecorded, Worker};
use crate::approval::assurance::RequiredAssurance;
use crate::evidence::redact::Redaction;
use crate::gate::{FromEngine, Resume, Resumption, ToEngine};
use crate::relay::OutOfBandEngines;
use crate::sys::Stderr;
use crate::sys::clock::Clock;
use crate::sys::state_dir::StateDir;
use crate::sys::with_causes;

/// How many bytes of questions may be on their way to the worker. Further questions fail.
const MAX_QUEUED: usize = 64 * 1024 * 1024;

/// What the inbox needs to know about the process.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// The folder that all of the user's proxies share; `None` if unknown.
    pub state_dir: Option<PathBuf>,
    /// The key that verdicts must be signed with, as [`load_key`] read it when the process started.
    pub key: Result<Option<PublicKey>, String>,
    /// How the page is served.
    pub page: PageServerSettings,
    /// Where to print the page's address.
    pub stderr: Stderr,
    /// The least assurance of a verdict that counts.
    pub required: Option<RequiredAssurance>,
    /// The couriers of engines other than the inbox.
    pub couriers: Vec<ConfiguredCourier>,
    /// Says which values are secret, so that the history does not keep them.
    pub redaction: Redaction,
    /// The user and the server. If `None`, we cannot identify them, so no parked item outlives its session.
    pub identity: Option<Identity>,
}

/// Sends questions to the inbox, and decisions to its history. Opens and starts nothing before the
/// first one.
pub struct InboxHandle {
    settings: WorkerSettings,
    running: Mutex<Running>,
}

enum Running {
    NotYet,
    Yes {
        jobs: Jobs,
        /// How many bytes of questions are on their way to the worker.
        queued: Arc<AtomicUsize>,
        unrecorded: Arc<Mutex<Unrecorded>>,
        done: Receiver<()>,
    },
    /// The process is ending.
    NoMore,
}

/// A job for the worker.
pub(super) enum Job {
    Message {
        message: ToEngine,
        /// Where the results go.
        answers: UnboundedSender<FromEngine>,
    },
    /// A decision is unrecorded.
    Record,
}

impl Job {
    /// Returns roughly the memory that a question takes, and 0 for messages that end one.
    pub(super) fn bytes(&self) -> usize {
        const ENTRY: usize = 1024;
        let Job::Message { message, .. } = self else {
            return 0;
        };
        match message {
            ToEngine::Ask { item, .. } => {
                ENTRY + item.call.len() + item.description.as_ref().map_or(0, String::len)
            }
            ToEngine::Decided(call) => ENTRY + call.bytes(),
            ToEngine::Resume(Resume::Find { request, .. }) => {
                let description = request.description.as_ref();
                ENTRY + request.call.bytes() + description.map_or(0, String::len)
            }
            ToEngine::Join { .. }
            | ToEngine::OpenBrowser { .. }
            | ToEngine::Park { .. }
            | ToEngine::Close { .. }
            | ToEngine::Resume(
                Resume::IsAny | Resume::Mark { .. } | Resume::TakeUp { .. } | Resume::Leave { .. },
            ) => 0,
        }
    }
}

impl fmt::Debug for InboxHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxHandle").finish_non_exhaustive()
    }
}

impl InboxHandle {
    /// Creates a handle. Does not start anything yet.
    #[must_use]
    pub fn new(settings: WorkerSettings) -> InboxHandle {
        InboxHandle {
            settings,
            running: Mutex::new(Running::NotYet),
        }
    }

    /// Returns why the inbox cannot take questions, if we know that already.
    #[must_use]
    pub fn unusable_reason(&self) -> Option<String> {
        self.usable().err()
    }

    /// Returns the state folder and the key that verdicts must be signed with.
    fn usable(&self) -> Result<(&Path, Option<PublicKey>), String> {
        let restart = |why| format!("{why}; then start approval-proxy again");
        let key = self.settings.key.clone().map_err(restart)?;
        let folder = self.settings.state_dir.as_deref();
        let folder = folder.ok_or("no state folder is known; set one with `--state-dir`")?;
        Ok((folder, key))
    }

    /// Returns true if there may be an item that a session of ours can resume. Checks only whether one file exists.
    fn may_resume(&self) -> bool {
        let folder = self.settings.state_dir.as_deref();
        self.settings.identity.is_some() && folder.is_some_and(store::may_resume)
    }

    /// Waits until the worker has done every job, at most `limit`.
    pub fn finish(&self, limit: Duration) {
        let running = std::mem::replace(&mut *self.running(), Running::NoMore);
        if let Running::Yes { jobs, done, .. } = running {
            drop(jobs);
            // If it takes longer, it ends with the process, and other processes close what still waits.
            let _ = done.recv_timeout(limit);
        }
    }

    fn start(&self) -> Result<Running, String> {
        let (folder, key) = self.usable()?;
        let settings = self.settings.clone();
        let couriers = settings.couriers.clone();
        let folder = folder.to_owned();
        // `queued` bounds it, except for messages that end a question: those must always get through.
        let queue = queue();
        let (jobs, queue) = queue.map_err(|error| format!("cannot create its queue: {error}"))?;
        let (sender, done) = channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let in_worker = Arc::clone(&queued);
        let unrecorded: Arc<Mutex<Unrecorded>> = Arc::default();
        let for_worker = Arc::clone(&unrecorded);
        let work = move || {
            Worker {
                folder,
                settings,
                key,
                inbox: None,
                waiting: HashMap::new(),
                resumed: HashMap::new(),
                queued: in_worker,
                unrecorded: for_worker,
                unrecorded_since: None,
                couriers: Couriers::new(couriers),
                clock: Clock::start(),
            }
            .work(&queue);
            let _ = sender.send(());
        };
        let named = thread::Builder::new().name("inbox".to_owned());
        let started = named.spawn(work);
        started.map_err(|error| format!("cannot start its thread: {error}"))?;
        Ok(Running::Yes {
            jobs,
            queued,
            unrecorded,
            done,
        })
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        held(&self.running)
    }
}

pub(super) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the public key of the passphrase in the user's folder; `None` if no passphrase is set. Call this
/// when the process starts, before an agent could replace the key.
///
/// # Errors
/// Says why the key cannot be read.
pub fn load_key(folder: Option<&Path>) -> Result<Option<PublicKey>, String> {
    let Some(folder) = folder.filter(|path| path.exists()) else {
        return Ok(None);
    };
    let opened = StateDir::open(folder).map_err(|error| with_causes(&error))?;
    PublicKey::load(&opened).map_err(|error| with_causes(&error))
}

impl OutOfBandEngines for InboxHandle {
    fn send(&self, message: ToEngine, answers: &UnboundedSender<FromEngine>) -> Result<(), String> {
        if matches!(message, ToEngine::Resume(Resume::IsAny)) {
            let answer = Resumption::IsAny(self.may_resume());
            // The session may have ended.
            let _ = answers.send(FromEngine::Resume(answer));
            return Ok(());
        }
        let mut running = self.running();
        if matches!(*running, Running::NotYet) {
            match &message {
                ToEngine::Ask { .. } | ToEngine::Resume(Resume::Find { .. }) => {
                    *running = self.start()?;
                }
                ToEngine::Resume(Resume::TakeUp { .. }) => {
                    return Err("no question was asked in it".to_owned());
                }
                // Without an inbox there is no history either.
                ToEngine::Decided(_) => match self.start() {
                    Ok(started) => *running = started,
                    Err(_) => return Ok(()),
                },
                // The items of a process that has none are lost.
                ToEngine::Join { .. } => return Err("no question was asked in it".to_owned()),
                ToEngine::OpenBrowser { .. }
                | ToEngine::Park { .. }
                | ToEngine::Close { .. }
                | ToEngine::Resume(Resume::IsAny | Resume::Mark { .. } | Resume::Leave { .. }) => {
                    return Ok(());
                }
            }
        }
        let Running::Yes {
            jobs,
            queued,
            unrecorded,
            ..
        } = &*running
        else {
            return Err("the proxy is shutting down".to_owned());
        };
        let job = match message {
            ToEngine::Decided(call) => match held(unrecorded).keep(*call) {
                true => Job::Record,
                false => return Ok(()),
            },
            message @ (ToEngine::Ask { .. }
            | ToEngine::Join { .. }
            | ToEngine::OpenBrowser { .. }
            | ToEngine::Park { .. }
            | ToEngine::Close { .. }
            | ToEngine::Resume(_)) => Job::Message {
                message,
                answers: answers.clone(),
            },
        };
        let bytes = job.bytes();
        if bytes > 0 && queued.load(Ordering::Relaxed) >= MAX_QUEUED {
            return Err("too many questions are queued for it".to_owned());
        }
        queued.fetch_add(bytes, Ordering::Relaxed);
        let sent = jobs.send(job);
        sent.map_err(|_| "its thread has ended".to_owned())
    }
}

#[cfg(test)]
mod tests;
