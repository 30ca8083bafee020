//! Starts the servers of clients' entries, a few at a time, and says what came of each.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::entries::{Job, JobKind};
use super::report::{Check, Finding, ServerReport, Status};
use crate::app::probe::{ProbeError, Start, ToolList, decide, list_tools};
use crate::http::outbound::LoginError;
use crate::policy::Action;
use crate::transport::Watcher;

/// How many servers run at once.
const AT_ONCE: usize = 4;
/// How long another approval-proxy may take to say its version.
const VERSION_TIME: Duration = Duration::from_secs(5);
/// The longest such answer.
const VERSION_LENGTH: u64 = 1024;
/// How many tools are named; the report for programs has all.
const NAMED: usize = 12;

/// What came of a job.
#[derive(Debug)]
pub(super) struct Outcome {
    listed: Result<ToolList, ProbeError>,
    /// What another approval-proxy says its version is.
    version: Option<Option<String>>,
}

/// Starts all servers. Returns what came of each, in their order.
pub(super) async fn run_all(
    jobs: Vec<Job>,
    limit: Duration,
    watcher: Option<&Watcher>,
) -> Vec<(Job, Outcome)> {
    let set = LocalSet::new();
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let running: Vec<_> = jobs
        .into_iter()
        .map(|job| {
            let (permits, watcher) = (Arc::clone(&permits), watcher.cloned());
            set.spawn_local(async move {
                let _permit = permits.acquire().await;
                let outcome = run(&job, limit, watcher.as_ref()).await;
                (job, outcome)
            })
        })
        .collect();
    let finish = async {
        let mut all = Vec::new();
        for job in running {
            // A task ends with an error only if it panics, which the lints forbid.
            all.extend(job.await.ok());
        }
        all
    };
    set.run_until(finish).await
}

async fn run(job: &Job, limit: Duration, watcher: Option<&Watcher>) -> Outcome {
    let start = Start {
        command: &job.program,
        args: &job.args,
        env: &job.env,
        cwd: job.cwd.as_deref(),
    };
    let version = match &job.kind {
        JobKind::Guarded(Some(other)) => Some(version_of(other.as_ref()).await),
        JobKind::Guarded(None) | JobKind::Server | JobKind::Url => None,
    };
    Outcome {
        listed: list_tools(&start, limit, watcher).await,
        version,
    }
}

/// Asks another approval-proxy for its version; `None` if it is something else.
async fn version_of(program: &std::ffi::OsStr) -> Option<String> {
    let mut child = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    let stdout = child.stdout.take()?;
    let mut text = String::new();
    let mut limited = stdout.take(VERSION_LENGTH);
    let read = timeout(VERSION_TIME, limited.read_to_string(&mut text)).await;
    read.ok()?.ok()?;
    let version = text.trim().strip_prefix("approval-proxy ")?;
    Some(version.to_owned())
}

/// Returns the findings about a server, and completes its report.
pub(super) fn conclude(job: &Job, outcome: Outcome, report: &mut ServerReport) -> Vec<Finding> {
    let mut findings = Vec::new();
    let ours = env!("CARGO_PKG_VERSION");
    match &outcome.version {
        Some(Some(version)) if version == ours => {}
        Some(Some(version)) => findings.push(Finding::advice(
            Check::Clients,
            format!("it is guarded by approval-proxy {version}, and this is {ours}"),
            format!("update `{}`", job.program.to_string_lossy()),
        )),
        Some(None) => findings.push(Finding::advice(
            Check::Clients,
            format!(
                "`{}` does not say that it is approval-proxy",
                job.program.to_string_lossy()
            ),
            "name the real program in `command`",
        )),
        None => {}
    }
    match outcome.listed {
        Ok(list) => {
            report.status = Status::Works;
            report.seconds = Some(list.took.as_millis() as f64 / 1000.0);
            report.tools = Some(list.tools.iter().map(|tool| tool.name.clone()).collect());
            findings.insert(0, listed(job, &list, report));
            findings.extend(list.noise.map(|line| {
                Finding::advice(
                    Check::Clients,
                    format!("it writes to stdout what is no MCP message, and some clients end then: `{line}`"),
                    "make the server write that to stderr",
                )
            }));
        }
        Err(error) => {
            let text = error.to_string();
            let wants_login = text.contains(&LoginError::NotAsked.to_string());
            match (&job.kind, wants_login) {
                (JobKind::Url, true) => findings.push(Finding::ok(
                    Check::Clients,
                    "it answers, and requires a login, which its client makes; so its tools were not listed",
                )),
                (JobKind::Guarded(_), true) => findings.push(Finding::advice(
                    Check::Clients,
                    "its server answers, and requires a login, so its tools were not listed",
                    "connect to it in the client; approval-proxy opens a browser to log in",
                )),
                _ => {
                    report.status = Status::Fails;
                    findings.push(failed(job, &error, &text));
                }
            }
        }
    }
    let findings = findings.into_iter();
    findings.map(|finding| finding.at(&job.place)).collect()
}

fn listed(job: &Job, list: &ToolList, report: &mut ServerReport) -> Finding {
    let tools = match list.tools.len() {
        1 => "1 tool".to_owned(),
        many => format!("{many} tools"),
    };
    let guarded = match job.kind {
        JobKind::Guarded(_) => "guarded; ",
        JobKind::Server | JobKind::Url => "",
    };
    let mut what = format!("{guarded}{tools} in {:.1} s", list.took.as_secs_f64());
    if let Some(policy) = &job.policy {
        let decisions = decide(policy, &list.tools);
        let named = |action: Action| -> Vec<String> {
            let decisions = decisions
                .iter()
                .filter(|(_, decision)| decision.action == action);
            decisions.map(|(name, _)| (*name).to_owned()).collect()
        };
        let (asked, blocked) = (named(Action::Ask), named(Action::Block));
        let would = match job.kind {
            JobKind::Guarded(_) => "you are asked about",
            JobKind::Server | JobKind::Url => "if it were guarded, you would be asked about",
        };
        what.push_str(&format!("; {would} {}", names(&asked)));
        if !blocked.is_empty() {
            what.push_str(&format!("; blocked: {}", names(&blocked)));
        }
        report.asked = Some(asked);
        report.blocked = Some(blocked);
    }
    Finding::ok(Check::Clients, what)
}

fn names(names: &[String]) -> String {
    let shown = names.iter().take(NAMED);
    let shown: Vec<String> = shown.map(|name| crate::config::shown(name)).collect();
    match names.len() {
        0 => "none".to_owned(),
        count if count > NAMED => {
            format!("{count}: {} and {} more", shown.join(", "), count - NAMED)
        }
        count => format!("{count}: {}", shown.join(", ")),
    }
}

fn failed(job: &Job, error: &ProbeError, text: &str) -> Finding {
    let what = match error {
        ProbeError::Start(error) => crate::sys::with_causes(error),
        ProbeError::NoList { .. } => format!("it {text}"),
    };
    let fix = match job.kind {
        JobKind::Url => "check its URL and headers, and that this machine can reach it".to_owned(),
        JobKind::Guarded(_) | JobKind::Server => format!(
            "run its command in a terminal to see the whole error; then correct the entry in `{}`",
            job.place.file
        ),
    };
    Finding::problem(Check::Clients, what, fix)
}
