//! The composition root: a checked configuration in, a running proxy out.
//!
//! It is the only file that knows every part; each part's work is done elsewhere.

use std::collections::BTreeMap;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clock::{Clock, random_seed};
use crate::config::Resolved;
use crate::gate::Gate;
use crate::ledger::{LedgerError, LedgerFile};
use crate::relay::{Ended, Ends, Ledger, Session};
use crate::transport::{Child, ChildError, Program, Stderr, Wire};

/// Why a run could not begin.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The upstream.
    #[error("server `{server}`")]
    Upstream {
        /// Its name in the configuration.
        server: String,
        /// What is wrong with it.
        #[source]
        source: ChildError,
    },
    /// The audit log.
    #[error(transparent)]
    AuditLog(#[from] LedgerError),
    /// Our own stdin or stdout.
    #[error("stdin and stdout must be open: an MCP client starts approval-proxy with both")]
    Stdio(#[source] io::Error),
    /// The system refuses something that every program needs.
    #[error("the system refuses what approval-proxy needs to run")]
    System(#[source] io::Error),
}

/// Runs one session from its first byte to its last.
///
/// # Errors
/// `AppError`, before anything was relayed.
pub fn run(config: Resolved, stderr: &Stderr) -> Result<Ended, AppError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(AppError::System)?;
    let ended = runtime.block_on(run_session(config, stderr));
    // A child that even SIGKILL did not end must not keep us.
    runtime.shutdown_background();
    ended
}

async fn run_session(config: Resolved, stderr: &Stderr) -> Result<Ended, AppError> {
    let system = |error: getrandom::Error| AppError::System(io::Error::other(error));
    let clock = Clock::start();
    let seed = random_seed().map_err(system)?;
    let name = random_seed().map_err(system)?;
    let session: String = name
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();

    let signals = Signals::listen().map_err(AppError::System)?;
    // The log comes before the server: without it nothing may run.
    let ledger = match &config.audit_log {
        Some(path) => Ledger::File(LedgerFile::open(path)?),
        None => Ledger::Stderr {
            stderr: stderr.clone(),
            seq: 0,
        },
    };
    let from_client = Wire::stdin().map_err(AppError::Stdio)?;
    let to_client = Wire::stdout().map_err(AppError::Stdio)?;

    let env: BTreeMap<String, String> = config
        .server
        .env
        .iter()
        .map(|(name, value)| (name.clone(), value.expose().to_owned()))
        .collect();
    let program = Program {
        command: &config.server.command,
        args: &config.server.args,
        env: &env,
        cwd: config.server.cwd.as_deref(),
    };
    let (child, to_upstream, from_upstream) =
        Child::start(&program).map_err(|source| AppError::Upstream {
            server: config.server.name.clone(),
            source,
        })?;

    let best_effort = config.settings.audit_best_effort;
    let mut gate = Gate::new(config.settings, config.policy, &session, seed);
    gate.record_open(
        clock.now(),
        &[
            ("version", env!("CARGO_PKG_VERSION")),
            ("mode", config.rules.mode.as_str()),
        ],
    );
    let ends = Ends {
        from_client,
        to_client,
        from_upstream,
        to_upstream,
        child,
    };
    let session = Session::new(
        gate,
        clock,
        ledger,
        best_effort,
        ends,
        config.max_message_size,
    );
    // A task of its own: the session looks at it far more often than a signal comes, and a look
    // at a task costs next to nothing.
    let signal = tokio::spawn(signals.next());
    Ok(session
        .run(async { signal.await.unwrap_or_default() })
        .await)
}

/// The signals that ask for an end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Signals> {
        // Its default would end us where a file, such as the log, may grow no more; once it is
        // listened for, the write fails instead, which the calls that need it can be told.
        let file_limit = rustix::process::Signal::XFSZ.as_raw();
        drop(signal(SignalKind::from_raw(file_limit))?);
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The number of the first that comes.
    async fn next(mut self) -> i32 {
        let kind = tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.hangup.recv() => SignalKind::hangup(),
        };
        kind.as_raw_value()
    }
}
