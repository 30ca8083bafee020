//! Runs the command: arguments in, exit code out, each error as one line on stderr.
//!
//! `app` runs the proxy.

use std::ffi::OsString;
use std::fmt;
use std::io::Write as _;
use std::time::Duration;

use tracing::{Event, Subscriber};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;

use super::args::{Args, Command, usage_line};
use super::ask::AskError;
use super::clients::ClientFilesError;
use super::engines::EnginesError;
use super::inbox::InboxError;
use super::mcp::McpError;
use super::proxy::{self, ProxyError};
use super::{approvals, ask, clients, doctor, engines, exit_code, inbox, mcp, start_error, wrap};
use crate::config::{Environment, Machine};
use crate::sys::Stderr;
use crate::sys::user::home_folder;
use crate::sys::with_causes;
use crate::transport::{Watcher, forbid_inspection, is_watcher, run_watcher};

/// The configuration for all users of this machine. Only its floor counts.
const MACHINE_CONFIG: &str = "/etc/approval-proxy/config.json";

/// How long an unread stderr may delay the exit.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// Runs the command line `arguments`, whose first item is the program's name, in the environment
/// `variables`. Returns the exit code, one of [`exit_code`].
///
/// First, it keeps other processes of the same user from inspecting this one, because calls, answers and
/// passphrases pass through it.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> u8 {
    run_watched(arguments, variables, None)
}

/// Does the same for a program that only runs this command line. Its executable may be started again as the
/// watcher, which ends the servers if the proxy is killed.
pub fn run_program(
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if is_watcher(&arguments) {
        return if run_watcher() {
            exit_code::OK
        } else {
            exit_code::USAGE
        };
    }
    run_watched(arguments, variables, Some(Watcher::of_this_program()))
}

fn run_watched(
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    watcher: Option<Watcher>,
) -> u8 {
    // This comes first: a process that opened one of our descriptors before it could keep it.
    let hidden = forbid_inspection();
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let Ok(stderr) = Stderr::start() else {
        // Without stderr, only the client can be told.
        if start_error::is_over_stdio(&arguments) {
            start_error::answer_first_request("the system refused to start a thread");
        }
        return exit_code::INTERNAL;
    };
    report_to(stderr.clone());
    if let Err(error) = hidden {
        tracing::warn!(
            "other processes of this user can inspect this one, because the system did not allow us to \
             prevent it: {error}"
        );
    }
    let environment: Environment = variables.into_iter().collect();
    let environment = environment.on(Machine {
        home: home_folder(),
        config: Some(MACHINE_CONFIG.into()),
    });
    let code = match run_reporting(&arguments, &environment, &stderr, watcher) {
        Ok(code) => code,
        Err(failed) => {
            tracing::error!("{}", failed.why);
            if failed.client == Client::Uninformed {
                start_error::answer_first_request(&failed.why);
            }
            failed.code
        }
    };
    stderr.flush(FLUSH_TIMEOUT);
    code
}

/// A run that ended with an error.
struct Failed {
    code: u8,
    why: String,
    client: Client,
}

/// Whether a client over stdio knows why there is no server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    Uninformed,
    /// It knows, or there is no client.
    Informed,
}

fn run_reporting(
    arguments: &[OsString],
    environment: &Environment,
    stderr: &Stderr,
    watcher: Option<Watcher>,
) -> Result<u8, Failed> {
    let client = match start_error::is_over_stdio(arguments) {
        true => Client::Uninformed,
        false => Client::Informed,
    };
    let failed = |code, why| Failed { code, why, client };
    let mut args = match Args::read(arguments) {
        Ok(args) => args,
        Err(text) if !text.use_stderr() => return Ok(show(&text)),
        Err(error) => return Err(failed(exit_code::USAGE, usage_line(&error))),
    };
    if let Some(command) = args.command.take() {
        let informed = |code, why| Failed {
            code,
            why,
            client: Client::Informed,
        };
        let of_inbox = |error: InboxError| informed(error.code(), with_causes(&error));
        let of_clients = |error: ClientFilesError| informed(error.code(), with_causes(&error));
        let of_engines = |error: EnginesError| informed(error.code(), with_causes(&error));
        let of_ask = |error: AskError| informed(error.code(), with_causes(&error));
        // An agent's client waits for an answer, as the proxy's does.
        let of_mcp = |error: McpError| match matches!(error, McpError::Client(_)) {
            true => informed(error.code(), with_causes(&error)),
            false => failed(error.code(), with_causes(&error)),
        };
        return match command {
            Command::Inbox(command) => inbox::run(command, environment, stderr).map_err(of_inbox),
            Command::Approvals(command) => approvals::run(command, environment).map_err(of_inbox),
            Command::Engines(command) => {
                engines::run(command, environment, stderr).map_err(of_engines)
            }
            Command::Mcp(command) => mcp::run(command, environment, stderr).map_err(of_mcp),
            Command::Ask(command) => ask::run(command, environment, stderr).map_err(of_ask),
            Command::Clients(command) => clients::run(command, environment).map_err(of_clients),
            Command::Wrap(command) => wrap::wrap(command, environment).map_err(of_clients),
            Command::Unwrap(command) => wrap::unwrap(command, environment).map_err(of_clients),
            Command::Doctor(command) => {
                doctor::run(command, environment, stderr, watcher).map_err(of_clients)
            }
        };
    }
    proxy::run(args.options, arguments, environment, stderr, watcher).map_err(|error| {
        let client = match error {
            ProxyError::Server { .. } => Client::Informed,
            ProxyError::Config(_) | ProxyError::App(_) => client,
        };
        Failed {
            code: error.code(),
            why: with_causes(&error),
            client,
        }
    })
}

/// Prints help or the version to stdout, which is not used for MCP in this case.
fn show(text: &clap::Error) -> u8 {
    // If the reader has closed the pipe, it has read enough.
    let _ = write!(std::io::stdout(), "{}", text.render());
    exit_code::OK
}

/// Sends our own warnings and errors to stderr, one line each. Messages of libraries are left out: they are
/// not written for our users, and may contain a server's answer.
fn report_to(stderr: Stderr) {
    let ours = Targets::new().with_target(env!("CARGO_CRATE_NAME"), tracing::Level::WARN);
    let lines = tracing_subscriber::fmt::layer()
        .event_format(Plain)
        .with_writer(move || stderr.clone())
        .with_filter(ours);
    // Fails only if a caller of this library has set a subscriber, which is used then.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(lines));
}

/// Formats events as `approval-proxy: error: …`, which is usual for a command and short in a client's log.
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => "error",
            tracing::Level::WARN => "warning",
            _ => "note",
        };
        write!(writer, "approval-proxy: {level}: ")?;
        context
            .field_format()
            .format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
