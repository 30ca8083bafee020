//! `approval-proxy doctor`: what works on this machine, what does not, and what to do about it.
//!
//! Each check is a file of its own. `doctor` starts the servers of clients' entries, and changes nothing: no tool is
//! called, nobody is asked or logged in, and nothing counts as a connection of a client.

mod audit;
mod browser;
mod configuration;
mod engines;
mod entries;
mod inbox;
mod lookup;
mod report;
mod servers;
mod state;

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::clients::{ClientFilesError, print};
use super::columns::Layout;
use super::exit_code;
use super::options::StateDirOption;
use crate::app::page_settings;
use crate::clients::{Folders, survey};
use crate::config::{
    AuditLog, ConfigError, Environment, Flags, InboxSettings, Layer, Resolved, ServerChoice, load,
    load_inbox,
};
use crate::sys::Stderr;
use crate::sys::with_causes;
use crate::transport::Watcher;

pub(super) use engines::is_signed;
use entries::{Context, Job};
use report::{Check, Finding, Place, Report, ServerReport, Status};

/// How long a server may take to list its tools, in seconds.
const START_TIMEOUT: &str = "20";
/// How long the watcher may take to end.
const WATCHER_FINISH: Duration = Duration::from_millis(200);

/// `approval-proxy doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorCommand {
    #[command(flatten)]
    state_dir: StateDirOption,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Start the servers of the project in this folder, too
    ///
    /// Its files may come from somebody else, and name any command
    #[arg(long)]
    project: bool,

    /// Give each server this many seconds to list its tools
    #[arg(long, value_name = "SECONDS", default_value = START_TIMEOUT, value_parser = clap::value_parser!(u32).range(1..=3600))]
    start_timeout: u32,
}

pub(super) fn run(
    command: DoctorCommand,
    environment: &Environment,
    stderr: &Stderr,
    watcher: Option<Watcher>,
) -> Result<u8, ClientFilesError> {
    let mut report = Report::default();
    let config = usual_config(environment);
    let config_findings = configuration::check(&config, environment);
    let mut state_dir = None;
    // What is wrong with the user configuration is said about the configuration.
    let resolved = load_inbox(&command.state_dir.0, environment)
        .or_else(|_| InboxSettings::resolve(&command.state_dir.0, environment));
    match resolved {
        Err(error) => {
            report.add(Finding::of_error(Check::State, &with_causes(&error)));
            report.findings.extend(config_findings);
        }
        Ok(inbox) => {
            let folder = inbox.state_dir.as_deref();
            report.findings.extend(state::check(folder));
            report.findings.extend(config_findings);
            report.findings.extend(inbox::check(&inbox));
            report.findings.extend(engines::check(config.as_ref().ok()));
            let log = config.as_ref().map(|config| &config.audit_log);
            let log = log.unwrap_or(&AuditLog::StateFolder);
            report.findings.extend(audit::check(log, folder));
            let page = page_settings(&inbox);
            report.add(browser::check(&page, &inbox, environment));
            state_dir = inbox.state_dir;
        }
    }
    let jobs = check_clients(&command, environment, state_dir.as_deref(), &mut report)?;
    let limit = Duration::from_secs(command.start_timeout.into());
    if let Some(signal) = run_jobs(jobs, limit, &mut report, stderr, watcher)? {
        return Ok(exit_code::for_signal(signal));
    }
    let text = match command.json {
        true => {
            (report.as_json()).map_err(|error| ClientFilesError::Stdout(io::Error::other(error)))?
        }
        false => report.as_text(Layout::of_stdout()),
    };
    print(&mut io::stdout().lock(), &text)?;
    Ok(match report.is_sound() {
        true => exit_code::OK,
        false => exit_code::CONFIG,
    })
}

/// Checks the files of all clients and their entries. Returns the servers to start.
fn check_clients(
    command: &DoctorCommand,
    environment: &Environment,
    state_dir: Option<&Path>,
    report: &mut Report,
) -> Result<Vec<Job>, ClientFilesError> {
    let Some(folders) = Folders::of(environment) else {
        let what =
            "the files of clients cannot be found, because nothing says where your home folder is";
        report.add(Finding::problem(Check::Clients, what, "set `HOME`"));
        return Ok(Vec::new());
    };
    let program = std::env::current_exe().and_then(|path| path.canonicalize());
    let context = Context {
        environment,
        program: program.map_err(ClientFilesError::Program)?,
        starts_projects: command.project,
    };
    let project = std::env::current_dir().ok();
    let found = survey(&folders, project.as_deref(), state_dir);
    if found.is_empty() {
        let what = "no MCP client was found";
        let fix =
            "install one; docs/clients.md lists those that are known, and where their files are";
        report.add(Finding::advice(Check::Clients, what, fix));
    }
    let mut jobs = Vec::new();
    let mut names = Vec::new();
    for (number, file) in found.iter().enumerate() {
        let place = Place::file(file.client, file, &folders.shown(&file.path), number);
        report.findings.extend(entries::check_file(file, &place));
        for server in file.servers.as_deref().unwrap_or_default() {
            let index = report.servers.len();
            let place = place.server(server, index + 1);
            let mut about = ServerReport::new(file, server);
            let prepared = entries::prepare(file, server, &place, index, &context);
            if prepared.fails() {
                about.status = Status::Fails;
            }
            report.servers.push(about);
            report.findings.extend(prepared.findings);
            jobs.extend(prepared.job);
            names.extend(prepared.behind.map(|behind| (place, behind)));
        }
    }
    report.findings.extend(entries::check_names(&names));
    Ok(jobs)
}

/// Starts the servers, and reports what came of each. Returns the signal that ended it, if one did.
fn run_jobs(
    jobs: Vec<Job>,
    limit: Duration,
    report: &mut Report,
    stderr: &Stderr,
    watcher: Option<Watcher>,
) -> Result<Option<i32>, ClientFilesError> {
    if jobs.is_empty() {
        report.add_results(Vec::new());
        return Ok(None);
    }
    if io::stderr().is_terminal() {
        let servers = match jobs.len() {
            1 => "1 server".to_owned(),
            many => format!("{many} servers"),
        };
        let limit = limit.as_secs();
        stderr.send(
            format!("approval-proxy: starting {servers}, for at most {limit} s each\n")
                .into_bytes(),
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ClientFilesError::System)?;
    let ended: Result<Result<_, i32>, ClientFilesError> = runtime.block_on(async {
        let listen = |kind| signal(kind).map_err(ClientFilesError::System);
        let mut terminate = listen(SignalKind::terminate())?;
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut hang_up = listen(SignalKind::hangup())?;
        let kind = tokio::select! {
            done = servers::run_all(jobs, limit, watcher.as_ref()) => return Ok(Ok(done)),
            _ = terminate.recv() => SignalKind::terminate(),
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = hang_up.recv() => SignalKind::hangup(),
        };
        Ok(Err(kind.as_raw_value()))
    });
    runtime.shutdown_background();
    // Ends the servers that a signal has left.
    if let Some(watcher) = watcher {
        watcher.finish(WATCHER_FINISH);
    }
    let done = match ended? {
        Ok(done) => done,
        Err(signal) => return Ok(Some(signal)),
    };
    let mut results = Vec::new();
    for (job, outcome) in done {
        if let Some(about) = report.servers.get_mut(job.report) {
            results.extend(servers::conclude(&job, outcome, about));
        }
    }
    report.add_results(results);
    Ok(None)
}

/// Returns the configuration of a server without settings of its own.
fn usual_config(environment: &Environment) -> Result<Resolved, ConfigError> {
    // In the user configuration, `*` stands for every server.
    named_config("*", environment)
}

/// Returns the configuration of a server that only has a name.
fn named_config(name: &str, environment: &Environment) -> Result<Resolved, ConfigError> {
    let name = name.to_owned();
    let server = ServerChoice::None { name };
    let flags = Flags {
        server,
        layer: Layer::default(),
    };
    load(flags, environment)
}
