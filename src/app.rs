//! The composition root: turns a checked configuration into a running proxy.
//!
//! Only this module depends on all the others.

mod addressed;
mod agents;
mod engines;
pub mod probe;
mod user;

use std::collections::BTreeMap;
use std::env::var_os;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::approval::display::in_backticks;
use crate::config::{AuditLog, InboxSettings, Resolved, Target, UrlTarget};
use crate::engines::inbox::handle::{InboxHandle, WorkerSettings, load_key};
use crate::engines::inbox::identity::{Credentials, Identity, ServerIdentity};
use crate::engines::inbox::page_server::PageServerSettings;
use crate::engines::inbox::passphrase::Signer;
use crate::engines::inbox::store;
use crate::evidence::Ledger;
use crate::evidence::record::Origin;
use crate::evidence::{LedgerError, LedgerFile, open_in_state_folder};
use crate::gate::{Engine, EngineId, Failure, Gate};
use crate::http::inbound::{ClientEnds, ListenError, Record, Relay, Server, Serving};
use crate::http::outbound::{HttpServer, HttpServerError, Login, LoginEnvironment};
use crate::relay::{Ended, Ends, EnginePort, OutOfBandEngines, Session, Sideband};
use crate::sys::Stderr;
use crate::sys::clock::{Clock, random_hex, random_seed};
use crate::sys::net::is_loopback;
use crate::sys::with_causes;
use crate::transport::{Child, ChildError, Program, ServerStderr, Upstream, Watcher, Wire};

pub use addressed::address;
pub use agents::serve_agents;
use engines::InboxKey;
pub use engines::{WrongKey, assurance_of};
use user::identity;

/// How long the inbox may take to store the last messages.
const INBOX_FINISH: Duration = Duration::from_secs(2);
/// How long the watcher may take to end.
const WATCHER_FINISH: Duration = Duration::from_millis(200);

/// Why a run could not start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The server could not be started.
    #[error("server `{server}`")]
    Upstream {
        /// Its name in the configuration.
        server: String,
        /// The cause.
        #[source]
        source: ChildError,
    },
    /// The audit log could not be opened.
    #[error(transparent)]
    AuditLog(#[from] LedgerError),
    /// The HTTP client for a server with a `url` could not be set up.
    #[error(transparent)]
    HttpServer(#[from] HttpServerError),
    /// The address for HTTP clients cannot be used.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The key of the inbox is not the pinned one.
    #[error(transparent)]
    InboxKey(#[from] WrongKey),
    /// Our own stdin or stdout cannot be used.
    #[error("stdin and stdout must be open: an MCP client starts approval-proxy with both")]
    Stdio(#[source] io::Error),
    /// The system refused something that every program needs.
    #[error("the system refused a resource that approval-proxy needs")]
    System(#[source] io::Error),
}

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To serve a client.
    Serve,
    /// To list the tools; see [`probe`].
    Probe,
}

/// Runs one session over stdio, or all sessions of HTTP clients, until they end. If this process is killed,
/// `watcher` ends the servers that it has started.
///
/// # Errors
/// [`AppError`], before any message was relayed.
pub fn run(
    mut config: Resolved,
    purpose: Purpose,
    stderr: &Stderr,
    watcher: Option<Watcher>,
) -> Result<Ended, AppError> {
    let key = load_key(config.inbox.state_dir.as_deref());
    engines::apply_key(&mut config, &key)?;
    if purpose == Purpose::Probe {
        let impossible = |error| AppError::System(io::Error::other(error));
        probe::as_probe(&mut config).map_err(impossible)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(AppError::System)?;
    let identity = identity(&config);
    config.settings.resumes_parked = identity.is_some();
    let inbox = inbox(&config, key, identity, stderr);
    let sessions = run_sessions(config, purpose, inbox.clone(), stderr, watcher.clone());
    let ended = runtime.block_on(sessions);
    // A child that survives even SIGKILL must not delay the exit.
    runtime.shutdown_background();
    if let Some(watcher) = watcher {
        watcher.finish(WATCHER_FINISH);
    }
    if let Some(inbox) = inbox {
        inbox.finish(INBOX_FINISH);
    }
    ended
}

/// Opens the inbox, if an engine needs it.
fn inbox(
    config: &Resolved,
    key: InboxKey,
    identity: Option<Identity>,
    stderr: &Stderr,
) -> Option<Arc<InboxHandle>> {
    let mut channels = config.settings.channels.iter();
    channels.find(|channel| channel.engine != Engine::Elicitation)?;
    let inbox = handle(config, key, identity, stderr);
    if let Some(why) = inbox.unusable_reason() {
        tracing::warn!("calls that need the approval inbox will be refused: {why}");
    }
    Some(Arc::new(inbox))
}

fn handle(
    config: &Resolved,
    key: InboxKey,
    identity: Option<Identity>,
    stderr: &Stderr,
) -> InboxHandle {
    let couriers = engines::couriers(config, None);
    let has_far_clients = (config.http.as_ref()).is_some_and(|http| !is_loopback(&http.host));
    InboxHandle::new(WorkerSettings {
        key,
        state_dir: config.inbox.state_dir.clone(),
        page: PageServerSettings {
            callbacks: Arc::new(engines::callbacks(&couriers)),
            invites_to: config.inbox.page_url.clone().filter(|_| has_far_clients),
            ..page_settings(&config.inbox)
        },
        required: config.settings.require_assurance,
        couriers,
        stderr: stderr.clone(),
        redaction: config.settings.redaction.clone(),
        identity,
    })
}

/// Returns what reaches people through the engines of `config`. It starts nothing before the first question.
#[must_use]
pub fn engine_handle(config: &Resolved, stderr: &Stderr) -> InboxHandle {
    handle(
        config,
        load_key(config.inbox.state_dir.as_deref()),
        None,
        stderr,
    )
}

/// Like [`engine_handle`], for approvals that agents ask for by themselves, which outlive this process. Leaves only those
/// engines in `config` that ask outside of the client, with the assurance that they can reach.
///
/// # Errors
/// If the configuration pins another key of the inbox.
pub fn agent_handle(config: &mut Resolved, stderr: &Stderr) -> Result<InboxHandle, WrongKey> {
    let identity = Identity {
        credentials: Credentials::Stdio,
        server: ServerIdentity::Agents,
    };
    let channels = &mut config.settings.channels;
    channels.retain(|channel| channel.engine != Engine::Elicitation);
    let key = load_key(config.inbox.state_dir.as_deref());
    engines::apply_key(config, &key)?;
    Ok(handle(config, key, Some(identity), stderr))
}

/// Tests whether an engine outside of the client can be asked, without asking anybody. Takes at most about `time`.
/// Returns what it found as a sentence.
///
/// # Errors
/// If a question would fail now.
pub fn engine_tests(
    config: &Resolved,
    engine: EngineId,
    time: Duration,
) -> Result<String, Failure> {
    let folder = store_folder(config).map_err(|why| {
        Failure::unreachable(format!(
            "questions cannot be kept, so nobody is asked: {why}"
        ))
    })?;
    let couriers = engines::couriers(config, None);
    let mut couriers = couriers.iter();
    match couriers.find(|courier| courier.context.name == engine) {
        Some(courier) => courier.settings.test(&courier.context, time),
        None => Ok(format!("can keep questions in `{}`", folder.display())),
    }
}

/// Returns the folder of the store that keeps every question outside of the client. Creates nothing.
///
/// # Errors
/// If the store cannot be used.
fn store_folder(config: &Resolved) -> Result<&Path, String> {
    let folder = config.inbox.state_dir.as_deref();
    let folder = folder.ok_or("no state folder is known; set one with `--state-dir`")?;
    load_key(Some(folder))?;
    store::check(folder).map_err(|error| with_causes(&error))?;
    Ok(folder)
}

/// Returns the engines whose service allows one connection per credential, so that another process may receive the
/// verdicts about a process's questions.
#[must_use]
pub fn shared_connections(config: &Resolved) -> Vec<&'static str> {
    let couriers = engines::couriers(config, None).into_iter();
    let shared = couriers.filter(|courier| courier.settings.shares_connection());
    shared.map(|courier| courier.context.name.name()).collect()
}

/// Receives verdicts about the questions of other processes through these engines, and signs them, until the returned
/// value is dropped.
#[must_use]
pub fn receive_verdicts(config: &Resolved, signer: Signer) -> Box<dyn Send> {
    let couriers = engines::couriers(config, Some(signer));
    let receivers = couriers.iter();
    let receivers = receivers.filter_map(|courier| courier.settings.receive(&courier.context));
    let receivers: Vec<Box<dyn Send>> = receivers.collect();
    // They run on its thread.
    Box::new((receivers, couriers))
}

/// Returns how to serve the inbox's page in this environment.
#[must_use]
pub fn page_settings(inbox: &InboxSettings) -> PageServerSettings {
    let is_set = |name| var_os(name).is_some_and(|value| !value.is_empty());
    PageServerSettings {
        port: inbox.port,
        opens_browser: inbox.opens_browser,
        approver: inbox.approver.clone(),
        browser: var_os("BROWSER").filter(|browser| !browser.is_empty()),
        has_display: cfg!(target_os = "macos") || is_set("DISPLAY") || is_set("WAYLAND_DISPLAY"),
        // A browser from a snap cannot read hidden folders, and the state folder usually is in one.
        open_folder: var_os("HOME")
            .map(PathBuf::from)
            .filter(|home| home.is_absolute() && Path::new(SNAPS).is_dir()),
        callbacks: Arc::default(),
        invites_to: None,
        remote: inbox.remote.clone(),
    }
}

/// Exists if snaps are installed.
const SNAPS: &str = "/snap/bin";

async fn run_sessions(
    mut config: Resolved,
    purpose: Purpose,
    inbox: Option<Arc<InboxHandle>>,
    stderr: &Stderr,
    watcher: Option<Watcher>,
) -> Result<Ended, AppError> {
    let signals = Signals::listen().map_err(AppError::System)?;
    let http = config.http.take();
    let mut starter = Starter::new(config, purpose, inbox, stderr, watcher)?;
    match http {
        None => {
            // Only over stdio: HTTP clients log in themselves.
            starter.enable_login(stderr);
            starter.run_over_stdio(signals).await
        }
        Some(serving) => serve(starter, serving, signals, stderr).await,
    }
}

/// Serves HTTP clients until a signal.
async fn serve(
    starter: Starter,
    serving: Serving,
    signals: Signals,
    stderr: &Stderr,
) -> Result<Ended, AppError> {
    let server = listen(serving, stderr).await?;
    let received = signals.watched();
    let record = starter.recorder();
    let server_name = in_backticks(&starter.config.server.name);
    let relay: Relay = Box::new(move |client: ClientEnds| {
        let mut signal = client.signal;
        let session = starter.start(client.from_client, client.to_client, Some(client.sideband));
        let session = session.map_err(|error| {
            let error = with_causes(&error);
            tracing::error!("{error}");
            error
        })?;
        let server = server_name.clone();
        Ok(Box::pin(async move {
            let signal = async move { number_of(&mut signal).await };
            match session.run(signal).await {
                Ended::ClientClosed | Ended::Signal(_) => {}
                Ended::UpstreamNeverSpoke(exit) | Ended::UpstreamDied(exit) => {
                    tracing::error!(
                        "the server {server} {exit} while a client was still connected"
                    );
                }
            }
        }))
    });
    Ok(Ended::Signal(server.run(relay, record, received).await))
}

/// Binds the address, and says on stderr where clients connect and how.
async fn listen(serving: Serving, stderr: &Stderr) -> Result<Server, AppError> {
    let token = serving.stored_token.clone();
    let server = Server::listen(serving).await?;
    let address = server.address();
    stderr.send(format!("approval-proxy: listening on http://{address}/mcp\n").into_bytes());
    if let Some(token) = token {
        stderr.send(how_to_use(&token, address).into_bytes());
    }
    Ok(server)
}

/// Waits until a signal has come. Returns its number.
async fn number_of(signal: &mut watch::Receiver<i32>) -> i32 {
    let number = signal.wait_for(|number| *number != 0).await;
    match number.map(|number| *number) {
        Ok(number) => number,
        Err(_) => std::future::pending().await,
    }
}

/// Returns how a client must send the token in this file. Never the token itself: clients keep stderr.
fn how_to_use(token: &Path, address: SocketAddr) -> String {
    let token = token.display();
    format!(
        "approval-proxy: clients must send the token in `{token}` in the header `Authorization: Bearer \
         TOKEN`; for example: claude mcp add --transport http NAME http://{address}/mcp --header \
         \"Authorization: Bearer $(cat '{token}')\"\n"
    )
}

fn http_server(target: &UrlTarget, max_message: usize) -> Result<HttpServer, AppError> {
    // Cannot fail: `config` has checked the URL and the headers.
    let bad = |_| AppError::System(io::Error::from(io::ErrorKind::InvalidInput));
    let url = Url::parse(target.url.expose()).map_err(bad)?;
    let headers = target.headers.iter().filter_map(|(name, value)| {
        let name = HeaderName::try_from(name).ok()?;
        let mut value = HeaderValue::try_from(value.expose()).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    });
    Ok(HttpServer::new(url, headers, target.is_sse, max_message)?)
}

/// Returns the user agent that the operator has set in the `headers` of a server.
fn user_agent(target: &Target) -> Option<HeaderValue> {
    let Target::Url(target) = target else {
        return None;
    };
    let mut headers = target.headers.iter();
    let (_, value) = headers.find(|(name, _)| name.eq_ignore_ascii_case("user-agent"))?;
    HeaderValue::try_from(value.expose()).ok()
}

/// Opens the audit log.
///
/// A file that the operator names must be usable. The one in the state folder need not be: in a container
/// without a writable folder, records go to stderr only.
fn audit_log(config: &Resolved, stderr: &Stderr) -> Result<Ledger, LedgerError> {
    match &config.audit_log {
        AuditLog::Stderr => Ok(Ledger::stderr(stderr.clone())),
        AuditLog::File(path) => {
            let file = LedgerFile::open(path)?;
            if let Some(exposure) = file.writable_by_others() {
                tracing::warn!(
                    "other users may write to the audit log `{}` ({exposure}) and change it; `chmod \
                     go-w` it, or name a file that you own with --audit-log",
                    path.display()
                );
            }
            Ok(Ledger::file(file))
        }
        AuditLog::StateFolder => match state_folder_log(config) {
            Ok(file) => Ok(Ledger::copied(file, stderr.clone())),
            Err(why) => {
                tracing::warn!(
                    "no audit log can be kept in the state folder: {why}; records go to stderr only, \
                     and calls are refused while stderr cannot be written; name a file with \
                     --audit-log FILE, or accept this with --audit-log stderr"
                );
                Ok(Ledger::stderr(stderr.clone()))
            }
        },
    }
}

/// Opens the log in the state folder. The error says why there is none.
fn state_folder_log(config: &Resolved) -> Result<LedgerFile, String> {
    let Some(state_dir) = config.inbox.state_dir.as_deref() else {
        return Err("neither HOME nor --state-dir is set".to_owned());
    };
    open_in_state_folder(state_dir, &config.server.name).map_err(|error| with_causes(&error))
}

/// Starts sessions, which share the log and the clock.
struct Starter {
    config: Resolved,
    purpose: Purpose,
    ledger: Ledger,
    clock: Clock,
    http_server: Option<HttpServer>,
    inbox: Option<Arc<InboxHandle>>,
    watcher: Option<Watcher>,
    stderr: Stderr,
}

impl Starter {
    /// Opens the log before any server starts: without it, nothing may run.
    fn new(
        config: Resolved,
        purpose: Purpose,
        inbox: Option<Arc<InboxHandle>>,
        stderr: &Stderr,
        watcher: Option<Watcher>,
    ) -> Result<Starter, AppError> {
        let ledger = match purpose {
            Purpose::Serve => audit_log(&config, stderr)?,
            Purpose::Probe => Ledger::Nowhere,
        };
        let http_server = match &config.server.target {
            Target::Command(_) => None,
            Target::Url(target) => {
                let http_server = http_server(target, config.max_message_size)?;
                let http_server = http_server.named(&config.server.name);
                Some(match purpose {
                    Purpose::Serve => http_server,
                    Purpose::Probe => http_server.without_patience(),
                })
            }
        };
        Ok(Starter {
            config,
            purpose,
            ledger,
            clock: Clock::start(),
            http_server,
            inbox,
            watcher,
            stderr: stderr.clone(),
        })
    }

    /// Lets the HTTP client log in if the server requires it.
    fn enable_login(&mut self, stderr: &Stderr) {
        let login = |url| {
            let environment = LoginEnvironment {
                folder: self.config.inbox.state_dir.clone(),
                browser: var_os("BROWSER"),
                may_ask: self.purpose == Purpose::Serve,
                stderr: stderr.clone(),
                user_agent: user_agent(&self.config.server.target),
                document: (self.config.client_id_metadata_url.as_ref())
                    .map(|url| url.as_str().to_owned()),
            };
            Login::new(url, environment)
        };
        self.http_server = self
            .http_server
            .take()
            .map(|http_server| http_server.with_login(login));
    }

    async fn run_over_stdio(self, signals: Signals) -> Result<Ended, AppError> {
        let from_client = Wire::stdin().map_err(AppError::Stdio)?;
        let to_client = Wire::stdout().map_err(AppError::Stdio)?;
        let session = self.start(from_client, to_client, None)?;
        // In its own task: the session polls it far more often than signals come, and polling a task is
        // cheap.
        let signal = tokio::spawn(signals.next());
        Ok(session
            .run(async { signal.await.unwrap_or_default() })
            .await)
    }

    /// Returns a function that records requests that were refused before they reached a session.
    fn recorder(&self) -> Record {
        let (ledger, clock) = (self.ledger.clone(), self.clock);
        let redaction = self.config.settings.redaction.clone();
        let origin = Origin::new("", &self.config.server.name).redacting(redaction);
        Box::new(move |why| {
            if let Err(error) = ledger.record_refusal(&origin, why, &clock) {
                tracing::error!("{}", with_causes(&error));
            }
        })
    }

    /// Starts the upstream, and creates a session with it.
    fn start(
        &self,
        from_client: Wire,
        to_client: Wire,
        sideband: Option<Arc<Sideband>>,
    ) -> Result<Session, AppError> {
        let system = |error: getrandom::Error| AppError::System(io::Error::other(error));
        let seed = random_seed().map_err(system)?;
        let session = random_hex(8).map_err(system)?;
        let (process, to_upstream, from_upstream) = self.start_upstream(sideband.as_ref())?;
        let config = &self.config;
        let mut gate = Gate::new(
            config.settings.clone(),
            config.policy.clone(),
            &session,
            seed,
        );
        let mut about = vec![
            ("version", env!("CARGO_PKG_VERSION")),
            ("mode", config.rules.mode.as_str()),
        ];
        // So that a reader of the log sees when the key has changed.
        about.extend((config.settings.inbox_key.as_deref()).map(|key| ("inbox_key", key)));
        if self.purpose == Purpose::Serve {
            gate.record_open(self.clock.now(), &about);
        }
        let ends = Ends {
            from_client,
            to_client,
            from_upstream,
            to_upstream,
            process,
            engines: self
                .inbox
                .clone()
                .map(|inbox| EnginePort::new(inbox as Arc<dyn OutOfBandEngines>)),
        };
        Ok(Session::new(
            gate,
            self.clock,
            self.ledger.clone(),
            config.settings.audit_best_effort,
            ends,
            config.max_message_size,
            sideband,
        ))
    }

    fn start_upstream(
        &self,
        sideband: Option<&Arc<Sideband>>,
    ) -> Result<(Upstream, Wire, Wire), AppError> {
        let target = match (&self.config.server.target, &self.http_server) {
            (Target::Command(target), _) => target,
            (Target::Url(_), Some(http_server)) => {
                return Ok(http_server.start(sideband.cloned()));
            }
            (Target::Url(_), None) => {
                return Err(AppError::System(io::Error::other("no HTTP client")));
            }
        };
        let mut env: BTreeMap<String, String> = target
            .env
            .iter()
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect();
        if self.purpose == Purpose::Probe {
            // In case the server is another proxy.
            env.insert(probe::VARIABLE.to_owned(), "1".to_owned());
        }
        let program = Program {
            command: &target.command,
            args: &target.args,
            env: &env,
            withheld: &self.config.engines.withheld,
            cwd: target.cwd.as_deref(),
        };
        // Lines that the server writes to stderr must not look like records.
        let is_named = self.ledger.uses_stderr();
        let stderr = ServerStderr {
            to: Some(self.stderr.clone()),
            name: is_named.then(|| self.config.server.name.clone()),
            redaction: self.config.settings.redaction.clone(),
        };
        let started = Child::start(&program, &stderr, self.watcher.as_ref());
        let started = started.map_err(|source| AppError::Upstream {
            server: self.config.server.name.clone(),
            source,
        });
        started.map(|(child, to, from)| (Upstream::Child(child), to, from))
    }
}

/// The signals that ask the proxy to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Signals> {
        // By default, SIGXFSZ ends the process when a file, such as the log, reaches its size limit. With a
        // listener, the write fails instead, and we can refuse the calls that need it.
        let file_limit = rustix::process::Signal::XFSZ.as_raw();
        drop(signal(SignalKind::from_raw(file_limit))?);
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns what has the number of the first signal once it has come, and 0 before.
    fn watched(self) -> watch::Receiver<i32> {
        let (sender, received) = watch::channel(0);
        tokio::spawn(async move {
            // Fails only if nobody waits for signals any more.
            let _ = sender.send(self.next().await);
            sender.closed().await;
        });
        received
    }

    /// Waits for the first signal. Returns its number.
    async fn next(mut self) -> i32 {
        let kind = tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.hangup.recv() => SignalKind::hangup(),
        };
        kind.as_raw_value()
    }
}
