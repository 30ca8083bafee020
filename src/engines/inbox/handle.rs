//! The way of a process's questions into the inbox, and of the verdicts back: one thread, started
//! with the first question.
//!
//! What the thread does stands in `worker`; what a verdict lets run is the gate's business.

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
use super::worker::{Configured, Couriers, Unrecorded, Worker};
use crate::evidence::redact::Redaction;
use crate::gate::{FromEngine, Resume, Resumption, ToEngine};
use crate::relay::OutOfBandEngines;
use crate::sys::Stderr;
use crate::sys::clock::Clock;
use crate::sys::state_dir::StateDir;
use crate::sys::with_causes;

/// From how many bytes of questions on their way to the thread no more are taken.
const MAX_QUEUED: usize = 64 * 1024 * 1024;

/// What the inbox has to know of its surroundings.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// The folder that all of the user's proxies share; `None` where nobody knows where it is.
    pub state_dir: Option<PathBuf>,
    /// The key that verdicts must be signed with, as [`load_key`] found it when the process started.
    pub key: Result<Option<PublicKey>, String>,
    /// How the page is served.
    pub page: PageServerSettings,
    /// Where the page's address is told.
    pub stderr: Stderr,
    /// The couriers of engines other than the inbox.
    pub couriers: Configured,
    /// What counts as a secret that the history does not keep.
    pub redaction: Redaction,
    /// Who the user and the server are; `None` where nobody can tell, so that no parked item outlives its session.
    pub identity: Option<Identity>,
}

/// Hands questions to the inbox, and decisions to its history. Nothing is opened or started before the
/// first one.
pub struct InboxHandle {
    settings: WorkerSettings,
    running: Mutex<Running>,
}

enum Running {
    NotYet,
    Yes {
        jobs: Jobs,
        /// How many bytes of questions are on their way to the thread.
        queued: Arc<AtomicUsize>,
        unrecorded: Arc<Mutex<Unrecorded>>,
        done: Receiver<()>,
    },
    /// It is over.
    NoMore,
}

/// Something to do.
pub(super) enum Job {
    Told {
        told: ToEngine,
        /// Where to tell what comes of it.
        answers: UnboundedSender<FromEngine>,
    },
    /// Something is unrecorded.
    Record,
}

impl Job {
    /// What a question takes, roughly; nothing for what ends one.
    pub(super) fn bytes(&self) -> usize {
        const ENTRY: usize = 1024;
        let Job::Told { told, .. } = self else {
            return 0;
        };
        match told {
            ToEngine::Ask { item, .. } => {
                ENTRY + item.call.len() + item.description.as_ref().map_or(0, String::len)
            }
            ToEngine::Decided(call) => ENTRY + call.bytes(),
            ToEngine::Resume(Resume::Find { request, .. }) => {
                let description = request.description.as_ref();
                ENTRY + request.call.bytes() + description.map_or(0, String::len)
            }
            ToEngine::OpenBrowser { .. }
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
    /// Nothing happens yet.
    #[must_use]
    pub fn new(settings: WorkerSettings) -> InboxHandle {
        InboxHandle {
            settings,
            running: Mutex::new(Running::NotYet),
        }
    }

    /// Why no question can be taken, if that is known already.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.usable().err()
    }

    /// Where the user's files are, and the key that verdicts must be signed with.
    fn usable(&self) -> Result<(&Path, Option<PublicKey>), String> {
        let then = |why| format!("{why}; then start approval-proxy again");
        let key = self.settings.key.clone().map_err(then)?;
        let folder = self.settings.state_dir.as_deref();
        let folder = folder.ok_or("nothing says where your files are; name a --state-dir")?;
        Ok((folder, key))
    }

    /// Whether there may be an item that a session of ours can resume. It looks at one file's name.
    fn may_resume(&self) -> bool {
        let folder = self.settings.state_dir.as_deref();
        self.settings.identity.is_some() && folder.is_some_and(store::may_resume)
    }

    /// Waits until everything that was handed over is in the store, at most `limit`.
    pub fn finish(&self, limit: Duration) {
        let running = std::mem::replace(&mut *self.running(), Running::NoMore);
        if let Running::Yes { jobs, done, .. } = running {
            drop(jobs);
            // Who takes longer is ended with the process, and what waits then is expired by others.
            let _ = done.recv_timeout(limit);
        }
    }

    fn start(&self) -> Result<Running, String> {
        let (folder, key) = self.usable()?;
        let settings = self.settings.clone();
        let couriers = settings.couriers.clone();
        let folder = folder.to_owned();
        // Bounded by `queued`; what ends a question must get through in any case.
        let queue = queue();
        let (jobs, queue) = queue.map_err(|error| format!("no thread can be reached: {error}"))?;
        let (tell, done) = channel();
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
            let _ = tell.send(());
        };
        let named = thread::Builder::new().name("inbox".to_owned());
        let started = named.spawn(work);
        started.map_err(|error| format!("no thread can be started: {error}"))?;
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

/// The key of the passphrase that is set in the user's folder; `None` if none is. To be read as the
/// process starts, before an agent could replace it.
///
/// # Errors
/// Why nobody can tell, in words.
pub fn load_key(folder: Option<&Path>) -> Result<Option<PublicKey>, String> {
    let Some(folder) = folder.filter(|path| path.exists()) else {
        return Ok(None);
    };
    let opened = StateDir::open(folder).map_err(|error| with_causes(&error))?;
    PublicKey::load(&opened).map_err(|error| with_causes(&error))
}

impl OutOfBandEngines for InboxHandle {
    fn tell(&self, told: ToEngine, answers: &UnboundedSender<FromEngine>) -> Result<(), String> {
        if matches!(told, ToEngine::Resume(Resume::IsAny)) {
            let answer = Resumption::IsAny(self.may_resume());
            // Whose session has ended asks nobody any more.
            let _ = answers.send(FromEngine::Resume(answer));
            return Ok(());
        }
        let mut running = self.running();
        if matches!(*running, Running::NotYet) {
            match &told {
                ToEngine::Ask { .. } | ToEngine::Resume(Resume::Find { .. }) => {
                    *running = self.start()?;
                }
                ToEngine::Resume(Resume::TakeUp { .. }) => {
                    return Err("nothing was asked in it".to_owned());
                }
                // Where there is no inbox, there is no history, and nobody misses it.
                ToEngine::Decided(_) => match self.start() {
                    Ok(started) => *running = started,
                    Err(_) => return Ok(()),
                },
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
            return Err("the proxy is ending".to_owned());
        };
        let job = match told {
            ToEngine::Decided(call) => match held(unrecorded).keep(*call) {
                true => Job::Record,
                false => return Ok(()),
            },
            told @ (ToEngine::Ask { .. }
            | ToEngine::OpenBrowser { .. }
            | ToEngine::Park { .. }
            | ToEngine::Close { .. }
            | ToEngine::Resume(_)) => Job::Told {
                told,
                answers: answers.clone(),
            },
        };
        let bytes = job.bytes();
        if bytes > 0 && queued.load(Ordering::Relaxed) >= MAX_QUEUED {
            return Err("too many questions are on their way to it".to_owned());
        }
        queued.fetch_add(bytes, Ordering::Relaxed);
        let sent = jobs.send(job);
        sent.map_err(|_| "its thread has ended".to_owned())
    }
}

#[cfg(test)]
mod tests;
