//! The demo: an agent works on notes, and a person decides what it may change.
//!
//! ```text
//! cargo run --release --example guarded_notes            # you answer at the terminal
//! cargo run --release --example guarded_notes -- --yes   # every question is answered yes
//! cargo run --release --example guarded_notes -- --no    # every question is answered no
//! ```
//!
//! It starts `approval-proxy` with `proxy.example.json`, which in turn starts the example server `notes_server`, and
//! plays the agent: an ordinary MCP client built with rmcp. After every call it checks the notes on disk, and fails if
//! they do not match the answers, so it is a test too. It does not show how to write a proxy; for that, see `src/`.

#[path = "guarded_notes/build.rs"]
mod build;
#[path = "guarded_notes/person.rs"]
mod person;
#[path = "guarded_notes/screen.rs"]
mod screen;

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};

use clap::Parser;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, ElicitRequestParams,
    ElicitResult, ElicitationAction, Implementation, JsonObject, ProtocolVersion, ToolAnnotations,
};
use rmcp::service::{RequestContext, RunningService};
use rmcp::transport::TokioChildProcess;
use rmcp::{ClientHandler, ErrorData, RoleClient, ServiceExt, object};
use serde::Deserialize;

use build::Build;
use person::Person;
use screen::{quoted, say};

/// Let an agent work on notes, and decide what it may change
#[derive(Parser)]
struct Args {
    /// Answer every question with yes
    #[arg(long, conflicts_with = "no")]
    yes: bool,
    /// Answer every question with no
    #[arg(long)]
    no: bool,
}

/// A step's error: to be shown, never handled.
type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = demonstrate(Person::from_args(&Args::parse())).await;
    match outcome {
        Ok(surprises) if surprises.is_empty() => {
            say("\nEverything that happened was allowed.");
            ExitCode::SUCCESS
        }
        Ok(surprises) => {
            say("\nThis was NOT allowed by the answers and proxy.example.json:");
            for surprise in surprises {
                say(format!("  - {surprise}"));
            }
            ExitCode::FAILURE
        }
        Err(failure) => {
            say(format!("\nThe demo failed: {failure}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs the demo. Returns what happened although it was not allowed.
async fn demonstrate(person: Person) -> Result<Vec<String>, Failure> {
    let build = Build::of_this_program()?;
    say("Building the proxy and the notes server (unless they are up to date) …");
    build.proxy_and_server()?;

    let place = tempfile::tempdir()?;
    let notes = place.path().join("notes");
    let audit_log = place.path().join("audit.jsonl");
    let client = connect(&build, &notes, &audit_log, person).await?;
    if let Some(server) = client.peer_info() {
        let name = server.server_info.as_ref().map_or("?", |info| &info.name);
        let version = &server.protocol_version;
        say(format!(
            "Connected through the proxy to `{name}`, MCP {version}."
        ));
    }
    say("\nThe agent lists the tools, with the server's hints:\n");
    for tool in client.list_all_tools().await? {
        say(format!("  {:<14}{}", tool.name, hints(&tool.annotations)));
    }

    let mut surprises = Vec::new();
    let mut expected_lines = Vec::new();
    for (number, step) in (1..).zip(steps()) {
        say(format!("\n{number}. {}\n", step.story));
        expected_lines.push(take(&client, step, &notes, &mut surprises).await?);
    }

    // Closing the connection stops the proxy and the server. The log is complete then.
    client.cancel().await?;
    say("\nThe audit log:\n");
    let lines = decisions(&fs::read_to_string(&audit_log)?)?;
    for line in &lines {
        say(line);
    }
    if lines.iter().map(AuditLine::essence).ne(expected_lines) {
        surprises.push("the audit log does not match the calls".to_owned());
    }
    Ok(surprises)
}

/// Starts the proxy as any client would, with a copy of `proxy.example.json`, and initializes the session.
async fn connect(
    build: &Build,
    notes: &Path,
    audit_log: &Path,
    person: Person,
) -> Result<RunningService<RoleClient, Client>, Failure> {
    // The proxy refuses a configuration that other users can write to, which is the case in a shared checkout. Only we
    // can write to the copy.
    let config = audit_log.with_file_name("proxy.json");
    fs::write(
        &config,
        fs::read(Path::new(REPOSITORY).join("proxy.example.json"))?,
    )?;
    let mut proxy = tokio::process::Command::new(build.proxy());
    build::forget_this_package(proxy.as_std_mut());
    proxy
        .current_dir(REPOSITORY)
        .arg("--upstream")
        .arg(config)
        .arg("--audit-log")
        .arg(audit_log)
        // Both are for `cargo run … -- ${NOTES_DIR:-}` in the configuration.
        .env("NOTES_DIR", notes)
        .env("CARGO_TARGET_DIR", &build.target_dir)
        // An answer given in advance comes at once, and still counts as a person's.
        .env("APPROVAL_APPROVAL_INSTANT_DECLINE_MS", "0");
    let client = Client {
        person: tokio::sync::Mutex::new(person),
        answers: Mutex::new(Vec::new()),
    };
    let process = TokioChildProcess::new(proxy)
        .map_err(|error| format!("`{}` cannot be started: {error}", build.proxy().display()))?;
    let session = client.serve(process).await;
    Ok(session.map_err(|error| format!("the proxy exited (its messages are above): {error}"))?)
}

/// One call of the agent, and how the gate should treat it.
struct Step {
    story: &'static str,
    tool: &'static str,
    arguments: JsonObject,
    gate: Gate,
    /// The note that this call creates or removes, if it runs.
    touches: Option<&'static str>,
}

/// What `proxy.example.json` says about a call.
#[derive(Clone, Copy)]
enum Gate {
    Passes,
    Asks,
    Blocks,
}

fn steps() -> [Step; 5] {
    [
        Step {
            story: "The agent reads a note. The server marks the tool read-only, so nobody is asked.",
            tool: "read_note",
            arguments: object!({ "name": "shopping" }),
            gate: Gate::Passes,
            touches: None,
        },
        Step {
            story: "The agent adds a note. The tool has no hints, but its name suggests a change.",
            tool: "add_note",
            arguments: object!({ "name": "meeting", "text": "Tuesday at ten.\nBring the numbers." }),
            gate: Gate::Asks,
            touches: Some("meeting"),
        },
        Step {
            story: "The agent deletes a note. The server marks the tool destructive.",
            tool: "delete_note",
            arguments: object!({ "name": "shopping" }),
            gate: Gate::Asks,
            touches: Some("shopping"),
        },
        Step {
            story: "The agent deletes another note. An approval covers one call, so the proxy asks again.",
            tool: "delete_note",
            arguments: object!({ "name": "ideas" }),
            gate: Gate::Asks,
            touches: Some("ideas"),
        },
        Step {
            story: "The agent renames a note. proxy.example.json denies the tool, so nobody is asked.",
            tool: "rename_note",
            arguments: object!({ "from": "welcome", "to": "hello" }),
            gate: Gate::Blocks,
            touches: Some("hello"),
        },
    ]
}

/// Makes the call, notes surprises, and returns the record that the audit log must contain.
async fn take(
    client: &RunningService<RoleClient, Client>,
    step: Step,
    notes: &Path,
    surprises: &mut Vec<String>,
) -> Result<Essence, Failure> {
    let tool = step.tool;
    let arguments = serde_json::to_string(&step.arguments)?;
    say(format!("   call: {tool} {arguments}"));
    let before = exists(notes, step.touches)?;
    let call = CallToolRequestParams::new(tool).with_arguments(step.arguments);
    let result = client.call_tool(call).await?;
    say(quoted("   result: ", &text(&result)));

    let answers = client.service().take_answers().await;
    let (decision, may_run) = match (step.gate, answers.as_slice()) {
        (Gate::Passes, []) => ("passed", true),
        (Gate::Asks, [decision]) => (*decision, *decision == "approved"),
        (Gate::Blocks, []) => ("blocked", false),
        (Gate::Passes | Gate::Blocks, _) => {
            surprises.push(format!("{tool} {arguments} asked for approval"));
            ("unknown", false)
        }
        (Gate::Asks, _) => {
            let times = answers.len();
            surprises.push(format!(
                "{tool} {arguments} asked for approval {times} times"
            ));
            ("unknown", false)
        }
    };
    let changed = exists(notes, step.touches)? != before;
    if changed != (may_run && step.touches.is_some()) {
        let what = if changed { "changed" } else { "did not change" };
        surprises.push(format!(
            "{tool} {arguments} {what} the notes, but it was {decision}"
        ));
    }
    if result.is_error.unwrap_or(false) == may_run {
        surprises.push(format!(
            "the result of {tool} {arguments} does not say that it was {decision}"
        ));
    }
    Ok((tool.to_owned(), decision.to_owned(), may_run))
}

/// The MCP client: it calls tools, and passes the proxy's questions to its person.
struct Client {
    /// Asked one question at a time, in order of arrival.
    person: tokio::sync::Mutex<Person>,
    /// The decisions on the questions since the last check, as the audit log names them.
    answers: Mutex<Vec<&'static str>>,
}

impl Client {
    async fn take_answers(&self) -> Vec<&'static str> {
        // Wait until the person is free: a question may still be open when the result arrives.
        let _person = self.person.lock().await;
        std::mem::take(&mut *self.lock_answers())
    }

    fn lock_answers(&self) -> MutexGuard<'_, Vec<&'static str>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientHandler for Client {
    fn get_info(&self) -> ClientConfig {
        // Without this capability the proxy cannot ask, and refuses calls that need approval.
        let capabilities = ClientCapabilities::builder().enable_elicitation().build();
        let name = Implementation::new("guarded-notes", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(capabilities, name).with_protocol_version(ProtocolVersion::V_2025_11_25)
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let ElicitRequestParams::FormElicitationParams { message, .. } = request else {
            return Ok(ElicitResult::new(ElicitationAction::Decline));
        };
        let mut person = self.person.lock().await;
        let answer = tokio::select! {
            answer = person.ask(&message) => answer,
            () = context.ct.cancelled() => {
                say("\n\n   Time is up; the proxy has withdrawn the question.\n");
                self.lock_answers().push("timeout");
                return Ok(ElicitResult::new(ElicitationAction::Cancel));
            }
        };
        let decision = if answer.approved {
            "approved"
        } else {
            "denied"
        };
        self.lock_answers().push(decision);
        Ok(answer.into())
    }
}

/// The part of a record to check: the tool, the decision, and whether the call was forwarded.
type Essence = (String, String, bool);

/// The part of a record that the demo shows.
#[derive(Deserialize)]
struct AuditLine {
    ts: String,
    tool: String,
    decision: String,
    risk: String,
    reason: String,
    forwarded: bool,
}

impl AuditLine {
    fn essence(&self) -> Essence {
        (self.tool.clone(), self.decision.clone(), self.forwarded)
    }
}

impl std::fmt::Display for AuditLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            ts,
            tool,
            decision,
            risk,
            reason,
            forwarded,
        } = self;
        let went = if *forwarded {
            "forwarded"
        } else {
            "not forwarded"
        };
        write!(
            f,
            "  {ts}  {tool:<12}  {decision:<8}  {went:<13}  risk {risk:<7}  {reason}"
        )
    }
}

/// Returns the decisions in an audit log. Other records have no `tool`.
fn decisions(log: &str) -> Result<Vec<AuditLine>, Failure> {
    let mut lines = Vec::new();
    for line in log.lines() {
        let value: serde_json::Value = serde_json::from_str(line)?;
        if value.get("tool").is_some() {
            lines.push(serde_json::from_value(value)?);
        }
    }
    Ok(lines)
}

fn hints(annotations: &Option<ToolAnnotations>) -> String {
    let Some(annotations) = annotations else {
        return "no hints".to_owned();
    };
    let hints = [
        ("readOnlyHint", annotations.read_only_hint),
        ("destructiveHint", annotations.destructive_hint),
    ];
    let given = hints
        .iter()
        .filter_map(|(name, hint)| hint.map(|hint| format!("{name}: {hint}")));
    given.collect::<Vec<_>>().join(", ")
}

fn exists(notes: &Path, note: Option<&str>) -> io::Result<bool> {
    note.map_or(Ok(false), |name| {
        notes.join(format!("{name}.txt")).try_exists()
    })
}

fn text(result: &CallToolResult) -> String {
    let texts = result.content.iter().filter_map(|block| block.as_text());
    texts
        .map(|block| block.text.as_str())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The folder that contains `proxy.example.json`.
const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");
