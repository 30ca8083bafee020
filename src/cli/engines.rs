//! `approval-proxy engines`: the order in which people are asked, and whether each engine works.
//!
//! `config` reads the engines; `app` creates what reaches people.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;
use tokio::sync::mpsc::unbounded_channel;

use super::approvals::escape_json;
use super::doctor::is_signed;
use super::exit_code;
use super::options::AllSettings;
use crate::app::{assurance_of, engine_handle, engine_tests};
use crate::approval::display::in_backticks;
use crate::approval::item::{Choice, Closed, Item};
use crate::config::{
    ConfigError, ConfiguredEngine, Environment, Flags, Resolved, ServerChoice, escaped, load,
};
use crate::gate::{Channel, Engine, FromEngine, OnFailure, Patience, ToEngine};
use crate::policy::Risk;
use crate::relay::OutOfBandEngines as _;
use crate::sys::Stderr;
use crate::sys::clock::{Clock, random_hex};
use crate::sys::with_causes;

/// `approval-proxy engines`.
#[derive(Debug, Clone, Args)]
pub struct EnginesCommand {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Clone, Subcommand)]
enum Subcommands {
    /// Show in which order the engines would be asked, for each risk
    List(ListCommand),
    /// Check whether the engines can be reached, without asking anybody
    Test(TestCommand),
}

#[derive(Debug, Clone, Args)]
struct ListCommand {
    #[command(flatten)]
    source: SourceOptions,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Args)]
struct TestCommand {
    /// Test only this engine
    name: Option<String>,

    /// Ask a harmless question, and wait for the answer
    #[arg(long)]
    send: bool,

    #[command(flatten)]
    source: SourceOptions,
}

/// Where the engines are configured. Without a file, the user configuration applies to a server without rules of its
/// own.
#[derive(Debug, Clone, Args)]
struct SourceOptions {
    /// Use the engines of this config file's server
    #[arg(short, long, value_name = "FILE")]
    upstream: Option<PathBuf>,

    /// Use the engines of this server of the file [default: the first]
    #[arg(short, long, value_name = "NAME", requires = "upstream")]
    server: Option<String>,

    #[command(flatten)]
    settings: AllSettings,
}

/// Why a command about engines failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum EnginesError {
    #[error(transparent)]
    Config(Box<ConfigError>),
    #[error("no engine is called {name}; there are {known}")]
    Unknown { name: String, known: String },
    #[error("{}", match .0 { 1 => "1 engine does not work; see above".to_owned(), many => format!("{many} engines do not work; see above") })]
    Broken(usize),
    #[error("nobody decided in time")]
    NobodyDecided,
    #[error("the system refused something that every program needs")]
    System(#[source] io::Error),
    #[error("cannot write to stdout")]
    Stdout(#[source] io::Error),
}

impl EnginesError {
    /// Returns the exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            EnginesError::Unknown { .. } => exit_code::USAGE,
            EnginesError::Config(_) | EnginesError::Broken(_) => exit_code::CONFIG,
            EnginesError::NobodyDecided => exit_code::NOBODY_DECIDED,
            EnginesError::System(_) | EnginesError::Stdout(_) => exit_code::INTERNAL,
        }
    }
}

pub(super) fn run(
    command: EnginesCommand,
    environment: &Environment,
    stderr: &Stderr,
) -> Result<u8, EnginesError> {
    match command.command {
        Subcommands::List(ListCommand { source, json }) => {
            let config = configuration(source, environment)?;
            let text = match json {
                true => {
                    let text = serde_json::to_string_pretty(&as_json(&config));
                    let text = text.map_err(io::Error::other);
                    escape_json(&text.map_err(EnginesError::Stdout)?)
                }
                false => list(&config),
            };
            print(&text)?;
            Ok(exit_code::OK)
        }
        Subcommands::Test(TestCommand { name, send, source }) => {
            let config = configuration(source, environment)?;
            let wanted = chosen(&config, name.as_deref())?;
            match send {
                false => test(&config, &wanted),
                true => ask(&config, &wanted, stderr),
            }
        }
    }
}

/// Resolves the configuration of the server that the options name, or of one without rules of its own.
fn configuration(
    source: SourceOptions,
    environment: &Environment,
) -> Result<Resolved, EnginesError> {
    let server = match source.upstream {
        Some(upstream) => ServerChoice::File {
            upstream,
            server: source.server,
        },
        None => ServerChoice::None {
            name: "server".to_owned(),
        },
    };
    let flags = Flags {
        server,
        layer: *source.settings.0,
    };
    let config = load(flags, environment);
    let mut config = config.map_err(|error| EnginesError::Config(Box::new(error)))?;
    let is_signed = is_signed(&config.inbox);
    for engine in &mut config.engines.list {
        engine.channel.reach = assurance_of(&engine.channel, is_signed);
    }
    Ok(config)
}

fn print(text: &str) -> Result<(), EnginesError> {
    writeln!(io::stdout().lock(), "{text}").map_err(EnginesError::Stdout)
}

fn name_of(channel: &Channel) -> &'static str {
    match channel.engine {
        Engine::Elicitation => "elicitation",
        Engine::OutOfBand(engine) => engine.name(),
    }
}

fn chosen<'c>(
    config: &'c Resolved,
    name: Option<&str>,
) -> Result<Vec<&'c ConfiguredEngine>, EnginesError> {
    let engines = config.engines.list.iter();
    let Some(name) = name else {
        return Ok(engines.collect());
    };
    let wanted: Vec<&ConfiguredEngine> = engines
        .filter(|engine| name_of(&engine.channel) == name)
        .collect();
    match wanted.is_empty() {
        false => Ok(wanted),
        true => {
            let known = config.engines.list.iter();
            let known: Vec<String> = known
                .map(|engine| in_backticks(name_of(&engine.channel)))
                .collect();
            Err(EnginesError::Unknown {
                name: in_backticks(name),
                known: known.join(", "),
            })
        }
    }
}

/// The risks, as [`Channel::asks_about`] tells them apart.
const RISKS: [(&str, Risk); 3] = [
    ("high", Risk::High),
    ("medium", Risk::Medium),
    ("low", Risk::Low),
];

/// Returns the engines that would be asked about a call of this risk, each with when.
fn order_for(risk: Risk, config: &Resolved) -> Vec<(&ConfiguredEngine, String)> {
    let mut order: Vec<(&ConfiguredEngine, String)> = Vec::new();
    for engine in &config.engines.list {
        let channel = &engine.channel;
        if !channel.asks_about(risk) || !config.settings.counts(channel.reach) {
            continue;
        }
        let before = order.last().map(|(engine, _)| &engine.channel);
        let when = match (channel.after, before) {
            (_, None) => "at once".to_owned(),
            (Some(after), Some(_)) if after.is_zero() => "at once".to_owned(),
            (Some(after), Some(_)) => format!("after {} s", after.as_secs_f64()),
            (None, Some(before)) => {
                let fails = before.on_transport_error == OnFailure::Fallback;
                let times_out = before.on_timeout == OnFailure::Fallback;
                let name = name_of(before);
                match (fails, times_out) {
                    (true, true) => format!("if {name} fails or times out"),
                    (true, false) => format!("if {name} fails"),
                    (false, true) => format!("if {name} times out"),
                    (false, false) => format!("if {name} cannot be asked"),
                }
            }
        };
        order.push((engine, when));
    }
    order
}

/// Returns the list for people.
fn list(config: &Resolved) -> String {
    let mut text = String::new();
    for (word, risk) in RISKS {
        let risks = match risk {
            Risk::Medium => "medium or unknown",
            Risk::High | Risk::Low | Risk::Unknown => word,
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "Calls of risk {risks}:");
        let order = order_for(risk, config);
        if order.is_empty() {
            let _ = writeln!(text, "  nobody can be asked, so these calls are refused");
        }
        for (at, (engine, when)) in order.iter().enumerate() {
            let name = name_of(&engine.channel);
            let kind = match name == engine.kind {
                true => String::new(),
                false => format!(" ({})", engine.kind),
            };
            let _ = writeln!(text, "  {}. {}{kind}, {when}", at + 1, escaped(name));
        }
    }
    if let Some(required) = config.settings.require_assurance {
        let engines = config.engines.list.iter();
        let weak = engines.filter(|engine| !config.settings.counts(engine.channel.reach));
        for engine in weak {
            let name = escaped(name_of(&engine.channel));
            let _ = writeln!(
                text,
                "{name} is never asked: it cannot reach `requireAssurance` `{required}`"
            );
        }
    }
    text.truncate(text.trim_end().len());
    text
}

#[derive(Serialize)]
struct JsonList<'c> {
    engines: Vec<JsonEngine<'c>>,
    order: JsonOrder<'c>,
}

#[derive(Serialize)]
struct JsonEngine<'c> {
    name: &'c str,
    #[serde(rename = "type")]
    kind: &'c str,
    /// The assurance that its verdicts can reach.
    assurance: &'c str,
    /// In seconds; `null` if people have no time limit.
    timeout: Option<f64>,
    /// In seconds; `null` if it is asked only when the one before it fails or times out.
    after: Option<f64>,
    #[serde(rename = "minRisk")]
    min_risk: &'c str,
    show: &'c str,
}

#[derive(Serialize)]
struct JsonOrder<'c> {
    high: Vec<JsonTurn<'c>>,
    medium: Vec<JsonTurn<'c>>,
    low: Vec<JsonTurn<'c>>,
}

#[derive(Serialize)]
struct JsonTurn<'c> {
    name: &'c str,
    when: String,
}

fn as_json(config: &Resolved) -> JsonList<'_> {
    let turns = |risk| {
        let order = order_for(risk, config).into_iter();
        let turns = order.map(|(engine, when)| JsonTurn {
            name: name_of(&engine.channel),
            when,
        });
        turns.collect()
    };
    let engines = config.engines.list.iter().map(|engine| JsonEngine {
        name: name_of(&engine.channel),
        kind: engine.kind,
        assurance: engine.channel.reach.as_str(),
        timeout: timeout_of(&engine.channel, config).map(|time| time.as_secs_f64()),
        after: engine.channel.after.map(|after| after.as_secs_f64()),
        min_risk: engine.channel.min_risk.as_str(),
        show: engine.show_word(),
    });
    JsonList {
        engines: engines.collect(),
        order: JsonOrder {
            high: turns(Risk::High),
            medium: turns(Risk::Medium),
            low: turns(Risk::Low),
        },
    }
}

fn timeout_of(channel: &Channel, config: &Resolved) -> Option<Duration> {
    match channel.patience {
        Patience::Default => config.settings.timeout,
        Patience::Own(timeout) => timeout,
    }
}

/// How long one engine may take to be tested.
const TEST_TIME: Duration = Duration::from_secs(20);

/// Tests the engines without asking anybody.
fn test(config: &Resolved, wanted: &[&ConfiguredEngine]) -> Result<u8, EnginesError> {
    let mut broken = 0;
    for engine in wanted {
        let name = name_of(&engine.channel);
        let found = match engine.channel.engine {
            Engine::Elicitation => {
                Ok("asks in the client, which only the client can show".to_owned())
            }
            Engine::OutOfBand(id) => engine_tests(config, id, TEST_TIME),
        };
        match found {
            Ok(found) => print(&format!("{}: {}", escaped(name), escaped(&found)))?,
            Err(failure) => {
                broken += 1;
                let (kind, why) = (failure.kind.as_str(), escaped(&failure.why));
                print(&format!("{}: {kind}: {why}", escaped(name)))?;
            }
        }
    }
    match broken {
        0 => Ok(exit_code::OK),
        count => Err(EnginesError::Broken(count)),
    }
}

/// Asks a harmless question at each of the engines, one after another, and says who answered.
fn ask(
    config: &Resolved,
    wanted: &[&ConfiguredEngine],
    stderr: &Stderr,
) -> Result<u8, EnginesError> {
    let clock = Clock::start();
    let handle = engine_handle(config, stderr);
    let (mut broken, mut silent) = (0, false);
    for engine in wanted {
        let name = escaped(name_of(&engine.channel));
        let Engine::OutOfBand(id) = engine.channel.engine else {
            print(&format!(
                "{name}: asks in the client, which only the client can show"
            ))?;
            continue;
        };
        let time = timeout_of(&engine.channel, config).unwrap_or(NO_LIMIT);
        let item = question(config, &clock, time).map_err(EnginesError::System)?;
        let (answers, mut incoming) = unbounded_channel();
        let (asked, began) = (item.id.clone(), clock.now().elapsed);
        let sent = handle.send(
            ToEngine::Ask {
                engine: id,
                item: Box::new(item),
                replaces: None,
                opens_browser: true,
            },
            &answers,
        );
        let outcome = match sent {
            Err(why) => Err(why),
            Ok(()) => loop {
                match incoming.try_recv() {
                    Ok(FromEngine::Verdict {
                        engine, verdict, ..
                    }) => {
                        break Ok(Some((engine, verdict)));
                    }
                    Ok(FromEngine::Failed { failure, .. }) => {
                        break Err(format!("{}: {}", failure.kind.as_str(), failure.why));
                    }
                    Ok(
                        FromEngine::Disregarded { .. }
                        | FromEngine::Listed { .. }
                        | FromEngine::Resume(_),
                    ) => {}
                    Err(_) if clock.now().elapsed.saturating_sub(began) > time => break Ok(None),
                    Err(_) => std::thread::sleep(LOOK_EVERY),
                }
            },
        };
        let took = clock.now().elapsed.saturating_sub(began).as_secs_f64();
        let closed = ToEngine::Close {
            item: asked,
            how: Closed::Withdrawn,
        };
        // It may have been decided.
        let _ = handle.send(closed, &answers);
        match outcome {
            Ok(Some((engine, verdict))) => {
                let choice = match verdict.choice {
                    Choice::Approve => "approved",
                    Choice::Deny => "denied",
                };
                let approver = verdict
                    .approver
                    .as_deref()
                    .unwrap_or("somebody without a name");
                let reason = verdict.reason.map_or_else(String::new, |reason| {
                    format!(", who said: {}", escaped(&reason))
                });
                print(&format!(
                    "{name}: {choice} after {took:.1} s through {} by {} (assurance {}){reason}",
                    escaped(engine.name()),
                    escaped(approver),
                    verdict.assurance
                ))?;
            }
            Ok(None) => {
                silent = true;
                print(&format!("{name}: nobody answered within {took:.0} s"))?;
            }
            Err(why) => {
                broken += 1;
                print(&format!("{name}: {}", escaped(&why)))?;
            }
        }
    }
    handle.finish(FINISH);
    match (broken, silent) {
        (0, false) => Ok(exit_code::OK),
        (0, true) => Err(EnginesError::NobodyDecided),
        (count, _) => Err(EnginesError::Broken(count)),
    }
}

/// How long the question waits for an answer if people have no time limit.
const NO_LIMIT: Duration = Duration::from_secs(60 * 60);
/// How often we check for the answer.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long the store may take to close the questions.
const FINISH: Duration = Duration::from_secs(2);

/// Returns a question about a call that does not exist.
fn question(config: &Resolved, clock: &Clock, time: Duration) -> io::Result<Item> {
    let now_ms = clock.now().unix_ms;
    let time_ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let id = random_hex(16).map_err(|error| io::Error::other(with_causes(&error)))?;
    Ok(Item {
        form: None,
        server: config.server.name.clone(),
        tool: "approval_proxy_test".to_owned(),
        risk: Risk::Low,
        why: "a test of this engine; nothing runs, whatever you answer".to_owned(),
        question: "This is only a test. Does this question reach you?".to_owned(),
        title: None,
        description: None,
        hints: String::new(),
        call: r#"{"name":"approval_proxy_test","arguments":{}}"#.to_owned(),
        digest: TEST_DIGEST.to_owned(),
        client: None,
        client_title: None,
        asked_ms: now_ms,
        expires_ms: Some(now_ms.saturating_add(time_ms)),
        id,
    })
}

/// No call has this digest.
const TEST_DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";
