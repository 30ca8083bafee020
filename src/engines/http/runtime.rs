//! The thread and the HTTP clients that all couriers of a process share. Nothing starts before its first use.
//!
//! `exchange` decides what is sent and what an answer means.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Url};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::AbortHandle;

use crate::gate::{Failure, FailureKind};
use crate::sys::with_causes;

/// How many tasks of all couriers together may run at once. Each is one question that is being sent, or whose answer
/// is being asked for.
const MAX_TASKS: usize = 1_024;
/// How long connecting may take, with the TLS handshake.
pub(in crate::engines) const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long an unused connection stays open.
const IDLE_TIME: Duration = Duration::from_secs(30);
/// How many threads may look up host names at once. A lookup cannot be cancelled.
const MAX_LOOKUPS: usize = 8;

/// Runs the couriers' exchanges on one thread.
pub struct HttpRuntime {
    running: Mutex<Option<Running>>,
    tasks: Arc<Semaphore>,
    /// For `https:`. Trusts the system's roots, and `SSL_CERT_FILE`.
    secure: OnceLock<Result<Client, String>>,
    /// For `https:` connections that become WebSockets, which HTTP/2 cannot.
    upgrading: OnceLock<Result<Client, String>>,
    /// For plain `http:`. Ignores proxies: it is mostly for this machine, and no other should read the question.
    plain: OnceLock<Result<Client, String>>,
    connect_time: Duration,
    /// What engines with the same credential share, by a name that only they use.
    shared: Mutex<HashMap<String, Weak<dyn Any + Send + Sync>>>,
}

struct Running {
    handle: Handle,
    /// Dropped to end the thread.
    _stop: oneshot::Sender<()>,
}

/// A task that is cancelled when this is dropped.
#[derive(Debug)]
pub(in crate::engines) struct Task(Option<AbortHandle>);

impl Task {
    /// Starts a task beside the one that runs.
    pub(in crate::engines) fn beside(work: impl Future<Output = ()> + Send + 'static) -> Task {
        Task(Some(tokio::spawn(work).abort_handle()))
    }

    /// Lets the task run to its end.
    pub(in crate::engines) fn detach(mut self) {
        self.0 = None;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl Default for HttpRuntime {
    fn default() -> HttpRuntime {
        HttpRuntime {
            running: Mutex::default(),
            tasks: Arc::new(Semaphore::new(MAX_TASKS)),
            secure: OnceLock::new(),
            upgrading: OnceLock::new(),
            plain: OnceLock::new(),
            connect_time: CONNECT_TIME,
            shared: Mutex::default(),
        }
    }
}

impl HttpRuntime {
    /// Starts a task.
    ///
    /// # Errors
    /// If too many tasks are running, or the thread cannot be started.
    pub(in crate::engines) fn spawn(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Task, Failure> {
        let Ok(permit) = Arc::clone(&self.tasks).try_acquire_owned() else {
            return Err(Failure {
                kind: FailureKind::RateLimited,
                why: format!("{MAX_TASKS} questions are already being sent"),
            });
        };
        let handle = self.handle().map_err(|error| {
            Failure::unreachable(format!("the thread for HTTP cannot be started: {error}"))
        })?;
        let task = handle.spawn(async move {
            let _permit = permit;
            work.await;
        });
        Ok(Task(Some(task.abort_handle())))
    }

    /// Starts a task that ends by itself.
    ///
    /// # Errors
    /// As [`HttpRuntime::spawn`].
    pub(in crate::engines) fn spawn_detached(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Failure> {
        self.spawn(work).map(Task::detach)
    }

    /// Runs `work` and waits for its result, but not longer than `longest`. For threads that may block.
    ///
    /// # Errors
    /// As [`HttpRuntime::spawn`]. Also if there is no result in time.
    pub(in crate::engines) fn wait<T: Send + 'static>(
        &self,
        longest: Duration,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Failure> {
        let (sender, result) = std::sync::mpsc::sync_channel(1);
        let _task = self.spawn(async move {
            // Nobody waits any more if the time is up.
            let _ = sender.send(work.await);
        })?;
        result.recv_timeout(longest).map_err(|_| {
            Failure::unreachable(format!("no answer within {} s", longest.as_secs_f64()))
        })
    }

    /// Returns what all engines share under a name. Makes it if no engine has it.
    pub(in crate::engines) fn shared<T: Any + Send + Sync>(
        &self,
        name: &str,
        make: impl FnOnce() -> T,
    ) -> Arc<T> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|_, held| held.strong_count() > 0);
        let known = shared.get(name).and_then(Weak::upgrade);
        if let Some(known) = known.and_then(|known| known.downcast::<T>().ok()) {
            return known;
        }
        let made = Arc::new(make());
        let weak: Weak<dyn Any + Send + Sync> = Arc::downgrade(&made) as _;
        shared.insert(name.to_owned(), weak);
        made
    }

    fn handle(&self) -> io::Result<Handle> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &*running {
            return Ok(running.handle.clone());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(MAX_LOOKUPS)
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let named = thread::Builder::new().name("engines-http".to_owned());
        named.spawn(move || {
            runtime.block_on(async {
                // An error means that the sender is gone: also a reason to stop.
                let _ = stopped.await;
            });
            // A lookup of a host name may still block, and nobody waits for it.
            runtime.shutdown_background();
        })?;
        *running = Some(Running {
            handle: handle.clone(),
            _stop: stop,
        });
        Ok(handle)
    }

    /// Returns the client for a URL.
    ///
    /// # Errors
    /// If the system's certificates cannot be used.
    pub(super) fn client(&self, url: &Url) -> Result<Client, Failure> {
        self.client_for(url, Upgrades::No)
    }

    /// Returns the client for a URL whose connection becomes a WebSocket.
    ///
    /// # Errors
    /// As [`HttpRuntime::client`].
    pub(super) fn upgrading_client(&self, url: &Url) -> Result<Client, Failure> {
        self.client_for(url, Upgrades::Yes)
    }

    fn client_for(&self, url: &Url, upgrades: Upgrades) -> Result<Client, Failure> {
        let is_plain = url.scheme() == "http";
        let client = match (is_plain, upgrades) {
            (true, _) => &self.plain,
            (false, Upgrades::No) => &self.secure,
            (false, Upgrades::Yes) => &self.upgrading,
        };
        let built = client.get_or_init(|| {
            let mut builder = client_builder(self.connect_time);
            if is_plain {
                // Works without any roots on the system, and needs no time to read them.
                builder = builder.no_proxy().tls_certs_only([]);
            }
            if upgrades == Upgrades::Yes && !is_plain {
                builder = builder.http1_only();
            }
            builder.build().map_err(|error| with_causes(&error))
        });
        built.clone().map_err(|error| Failure {
            kind: FailureKind::Misconfigured,
            why: format!("cannot set up HTTPS; check the system's CA certificates: {error}"),
        })
    }

    /// Sets how long connecting may take.
    #[cfg(test)]
    pub(in crate::engines) fn with_connect_time(self, connect_time: Duration) -> HttpRuntime {
        HttpRuntime {
            connect_time,
            ..self
        }
    }

    /// Returns true if the thread runs.
    #[cfg(test)]
    pub(in crate::engines) fn is_running(&self) -> bool {
        let running = self.running.lock().unwrap();
        running.is_some()
    }
}

/// Begins a client with what all of ours have in common.
pub(in crate::engines) fn client_builder(connect_time: Duration) -> ClientBuilder {
    // Fails if a provider is installed already, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .connect_timeout(connect_time)
        // A redirect would send the question, and maybe a credential, to a URL that nobody chose.
        .redirect(Policy::none())
        .referer(false)
        .pool_idle_timeout(IDLE_TIME)
        .pool_max_idle_per_host(4)
        .tcp_nodelay(true)
}

/// Whether a connection becomes a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upgrades {
    Yes,
    No,
}

impl fmt::Debug for HttpRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRuntime").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
