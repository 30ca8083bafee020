//! Runs the proxy, from its options to its exit code.
//!
//! `app` runs the sessions.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal as _;

use super::exit_code;
use super::options::ProxyOptions;
use crate::app::{self, AppError, Purpose};
use crate::approval::display::in_backticks;
use crate::config::{ConfigError, Environment, Resolved, escaped, load};
use crate::relay::Ended;
use crate::sys::Stderr;
use crate::transport::Watcher;

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    /// There is no usable configuration.
    #[error(transparent)]
    Config(Box<ConfigError>),
    /// It could not start.
    #[error(transparent)]
    App(#[from] AppError),
    /// The server has ended. A client over stdio already knows.
    #[error("{why}")]
    Server { code: u8, why: String },
}

impl ProxyError {
    /// Returns the exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            ProxyError::Config(_) => exit_code::CONFIG,
            ProxyError::App(AppError::Upstream { .. }) => exit_code::UPSTREAM_START,
            ProxyError::App(
                AppError::HttpServer(_) | AppError::Listen(_) | AppError::InboxKey(_),
            ) => exit_code::CONFIG,
            ProxyError::App(AppError::AuditLog(_)) => exit_code::AUDIT_LOG,
            ProxyError::App(AppError::Stdio(_) | AppError::System(_)) => exit_code::INTERNAL,
            ProxyError::Server { code, .. } => *code,
        }
    }
}

/// Runs the proxy with `options`, which were read from `arguments`.
pub(super) fn run(
    options: ProxyOptions,
    arguments: &[OsString],
    environment: &Environment,
    stderr: &Stderr,
    watcher: Option<Watcher>,
) -> Result<u8, ProxyError> {
    let config = load(options.into_flags(), environment);
    let config = config.map_err(|error| ProxyError::Config(Box::new(error)))?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let server = in_backticks(&config.server.name);
    if config.http.is_none() && std::io::stdin().is_terminal() {
        stderr.send(by_hand(arguments, &config).into_bytes());
    }
    let purpose = match environment.is_probe() {
        true => Purpose::Probe,
        false => Purpose::Serve,
    };
    code_of(app::run(config, purpose, stderr, watcher)?, &server)
}

/// Returns the message for a person who starts the proxy in a terminal, without a client.
fn by_hand(arguments: &[OsString], config: &Resolved) -> String {
    let program = std::env::current_exe().ok();
    let program = program.map_or_else(
        || "approval-proxy".to_owned(),
        |path| lossy(path.as_os_str()),
    );
    let mut entry = Vec::new();
    // Paths are made absolute, because a client starts the proxy in another folder.
    let mut is_path = false;
    // What stands behind `--` is the server's own.
    let mut is_servers = false;
    for argument in arguments.iter().skip(1) {
        let text = lossy(argument);
        is_servers |= text == "--";
        if is_servers {
            entry.push(text);
            continue;
        }
        let (flag, path) = match text.split_once('=') {
            Some((flag, path)) if is_path_flag(flag) => (format!("{flag}="), Some(path.to_owned())),
            Some(_) | None => (String::new(), is_path.then(|| text.clone())),
        };
        // The keyword of `--audit-log` is not a file.
        let path = path.filter(|path| path != "stderr");
        is_path = is_path_flag(&text);
        let path = path
            .map(|path| std::path::absolute(&path).map_or(path, |path| lossy(path.as_os_str())));
        entry.push(match path {
            Some(path) => format!("{flag}{path}"),
            None => text,
        });
    }
    let entry = serde_json::json!({"command": program, "args": entry});
    let name = serde_json::Value::from(config.server.name.as_str());
    format!(
        "approval-proxy: waiting for an MCP client on stdin, but stdin is a terminal; clients start \
         approval-proxy themselves\n\
         approval-proxy: in your client's configuration, replace the server's entry with this one: \
         {}\n\
         approval-proxy: stop with Ctrl-C\n",
        escaped(&format!("{name}: {entry}"))
    )
}

/// Returns true for flags whose value is a path.
fn is_path_flag(flag: &str) -> bool {
    matches!(
        flag,
        "-u" | "--upstream" | "--state-dir" | "--audit-log" | "--config"
    )
}

fn lossy(text: &OsStr) -> String {
    text.to_string_lossy().into_owned()
}

/// Returns the exit code of a session. Its client already knows how it ended. For a server with a URL, an
/// earlier message contains the URL.
fn code_of(ended: Ended, server: &str) -> Result<u8, ProxyError> {
    match ended {
        Ended::ClientClosed => Ok(exit_code::OK),
        Ended::UpstreamNeverSpoke(exit) if exit.is_of_remote() => Err(gone(
            exit_code::UPSTREAM_START,
            format!(
                "the server {server} {exit}; check its URL and headers, and that this \
                 machine can reach the server"
            ),
        )),
        Ended::UpstreamNeverSpoke(exit) => Err(gone(
            exit_code::UPSTREAM_START,
            format!(
                "the server {server} {exit} before it sent a message; see its stderr above, and check \
                 its command and arguments"
            ),
        )),
        Ended::UpstreamDied(exit) => Err(gone(
            exit_code::UPSTREAM_DIED,
            format!("the server {server} {exit} while the client was still connected"),
        )),
        Ended::Signal(number) => Ok(exit_code::for_signal(number)),
    }
}

fn gone(code: u8, why: String) -> ProxyError {
    ProxyError::Server { code, why }
}
