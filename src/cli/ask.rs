//! `approval-proxy ask`: asks people once, for scripts, and exits with what they decided.
//!
//! `agents` asks people. Nothing stops a script from ignoring the exit code.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};
use tokio::signal::unix::{SignalKind, signal};

use super::approvals::escape_json;
use super::exit_code;
use super::options::AllSettings;
use crate::agents::{Approvals, ApprovalsError, BadRequest, Outcome, Owner, Request, Status};
use crate::app::{WrongKey, agent_handle};
use crate::config::{ConfigError, Environment, Flags, ServerChoice, escaped, load};
use crate::relay::OutOfBandEngines;
use crate::sys::Stderr;

/// `approval-proxy ask`.
#[derive(Debug, Clone, Args)]
pub struct AskCommand {
    /// Say what is to be done, in one sentence
    action: String,

    /// Show people this text, too
    #[arg(long, value_name = "TEXT")]
    summary: Option<String>,

    /// Show people this JSON object: the exact data
    #[arg(long, value_name = "JSON", value_parser = object)]
    details: Option<Map<String, Value>>,

    /// Say why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    /// Say how much harm it could do
    #[arg(long, value_name = "RISK", default_value = "medium")]
    risk: RiskWord,

    /// Wait this many seconds for an answer, from 1 to 604800
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=604_800))]
    wait: u32,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    settings: AllSettings,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RiskWord {
    Low,
    Medium,
    High,
}

/// Why nobody could be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error(transparent)]
    Config(Box<ConfigError>),
    #[error(transparent)]
    Approvals(#[from] ApprovalsError),
    #[error(transparent)]
    Key(#[from] WrongKey),
    #[error("the system refused something that every program needs")]
    System(#[source] io::Error),
    #[error("cannot write to stdout")]
    Stdout(#[source] io::Error),
}

impl AskError {
    /// Returns the exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            AskError::Approvals(ApprovalsError::Bad(_)) => exit_code::USAGE,
            AskError::Approvals(ApprovalsError::Log(_)) => exit_code::AUDIT_LOG,
            AskError::Config(_) | AskError::Key(_) | AskError::Approvals(_) => exit_code::CONFIG,
            AskError::System(_) | AskError::Stdout(_) => exit_code::INTERNAL,
        }
    }
}

/// How long after its end a question may still take to say so.
const GRACE: Duration = Duration::from_secs(5);
/// How long the store may take to close what nobody waits for any more.
const FINISH: Duration = Duration::from_secs(2);

fn object(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("it is JSON, but not an object such as `{\"version\": \"1.4\"}`".to_owned()),
        Err(error) => Err(format!("it is not JSON: {error}")),
    }
}

/// How the command ended.
enum Ended {
    Outcome(Box<Outcome>, Value),
    Signal(SignalKind),
}

pub(super) fn run(
    command: AskCommand,
    environment: &Environment,
    stderr: &Stderr,
) -> Result<u8, AskError> {
    let request = request(&command).map_err(ApprovalsError::from)?;
    let flags = Flags {
        server: ServerChoice::None {
            name: "ask".to_owned(),
        },
        layer: *command.settings.0,
    };
    let mut config = load(flags, environment).map_err(|error| AskError::Config(Box::new(error)))?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let engines = Arc::new(agent_handle(&mut config, stderr)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(AskError::System)?;
    let longest = Duration::from_secs(command.wait.into()).saturating_add(GRACE);
    let ended = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(AskError::System)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(AskError::System)?;
        let port = Arc::clone(&engines) as Arc<dyn OutOfBandEngines>;
        let approvals = Approvals::open(&config, port, &Owner::Process)?;
        let id = approvals.request(&request)?;
        let signal = tokio::select! {
            outcome = approvals.wait(&id, longest) => {
                let outcome = outcome?;
                let json = approvals.as_json(&id, &outcome)?;
                return Ok(Ended::Outcome(Box::new(outcome), json));
            }
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
        };
        // Nobody waits for the answer any more, so nobody should be asked.
        approvals.close().await;
        Ok::<_, AskError>(Ended::Signal(signal))
    });
    runtime.shutdown_background();
    engines.finish(FINISH);
    match ended? {
        Ended::Signal(kind) => Ok(exit_code::for_signal(kind.as_raw_value())),
        Ended::Outcome(outcome, json) => {
            print(&outcome, command.json.then_some(&json)).map_err(AskError::Stdout)?;
            Ok(match outcome.status {
                Status::Approved => exit_code::OK,
                Status::Denied => exit_code::REFUSED,
                Status::Pending | Status::Expired | Status::Cancelled | Status::Error => {
                    exit_code::NOBODY_DECIDED
                }
            })
        }
    }
}

fn request(command: &AskCommand) -> Result<Request, BadRequest> {
    let texts = [
        ("action", Some(&command.action)),
        ("summary", command.summary.as_ref()),
        ("reason", command.reason.as_ref()),
    ];
    let texts = texts.into_iter();
    let mut arguments: Map<String, Value> = texts
        .filter_map(|(name, text)| Some((name.to_owned(), text?.as_str().into())))
        .collect();
    let details = command.details.clone();
    arguments.extend(details.map(|details| ("details".to_owned(), details.into())));
    let risk = match command.risk {
        RiskWord::Low => "low",
        RiskWord::Medium => "medium",
        RiskWord::High => "high",
    };
    arguments.insert("risk".to_owned(), risk.into());
    arguments.insert("timeout_seconds".to_owned(), command.wait.into());
    Request::read(&arguments)
}

/// Prints who decided what. What people and services wrote is escaped.
fn print(outcome: &Outcome, json: Option<&Value>) -> io::Result<()> {
    let text = match json {
        Some(json) => {
            let text = serde_json::to_string_pretty(json);
            escape_json(&text.map_err(io::Error::other)?)
        }
        None => in_words(outcome),
    };
    writeln!(io::stdout(), "{}", text.trim_end())
}

fn in_words(outcome: &Outcome) -> String {
    let reason = outcome.reason.as_deref().map(escaped);
    if !outcome.is_decided() {
        return match (outcome.status, reason) {
            (_, Some(why)) => format!("nobody decided: {why}"),
            (_, None) => "nobody decided in time".to_owned(),
        };
    }
    let or_unknown = |text: &Option<String>, unknown: &str| {
        text.as_deref().map_or_else(|| unknown.to_owned(), escaped)
    };
    let mut text = format!(
        "{} by {} through {} (assurance {})",
        outcome.status.as_str(),
        or_unknown(&outcome.approver, "somebody without a name"),
        or_unknown(&outcome.engine, "an unknown engine"),
        or_unknown(&outcome.assurance, "unknown"),
    );
    if let Some(reason) = reason {
        text.push_str(", who said: ");
        text.push_str(&reason);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: &str, reason: Option<&str>) -> Outcome {
        let json = serde_json::json!({
            "status": status, "reason": reason, "fields": {}, "approver": "slack:U1", "engine": "slack",
            "assurance": "channel-authenticated", "decided_at": "2026-01-01T00:00:00.000Z",
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_script_reads_who_decided_and_why() {
        assert_eq!(
            in_words(&outcome("denied", Some("no\u{1b}[2J, OPS-12"))),
            r"denied by slack:U1 through slack (assurance channel-authenticated), who said: no\u{1b}[2J, OPS-12"
        );
        assert_eq!(
            in_words(&outcome("expired", None)),
            "nobody decided in time"
        );
        assert_eq!(in_words(&outcome("error", Some("x"))), "nobody decided: x");
    }

    #[test]
    fn details_are_an_object() {
        assert!(object(r#"{"env": "prod"}"#).is_ok());
        for text in ["{", "[]", "7", "\"a\"", ""] {
            object(text).unwrap_err();
        }
    }
}
