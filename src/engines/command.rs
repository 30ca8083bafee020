//! `command`: a program that gets the approval request as JSON on stdin and answers as JSON on stdout.
//!
//! docs/engines/command.md has both forms. One process for each request; when nobody waits for its answer any more, it
//! is ended with everything that it has started.

use std::collections::HashMap;
use std::io::{self, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::courier::{Answer, CarriedVerdict, Courier, CourierSettings};
use super::registry::{BadOptions, EngineOption, Registration};
use super::request;
use crate::approval::item::{Assurance, Choice, Item};
use crate::gate::{EngineId, Failure, FailureKind};
use crate::transport::is_withheld;

/// The line of the registry. Any program of this user could answer, so the level is that of a shared secret.
pub(super) const REGISTRATION: Registration = Registration::new(
    EngineId::new("command"),
    Assurance::SharedSecret,
    &[
        EngineOption {
            key: "command",
            is_required: true,
            schema: || json!({"type": "string"}),
        },
        EngineOption {
            key: "args",
            is_required: false,
            schema: || json!({"type": "array", "items": {"type": "string"}}),
        },
    ],
    read,
);

/// How many programs may run at once.
const MAX_RUNNING: usize = 16;
/// How many copies of the count of threads there may be. A program takes four: one for each of its three threads, and
/// one that its first thread hands on to the others.
const MAX_THREADS: usize = 4 * MAX_RUNNING;
/// How much of an answer is read, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;
/// How much of the end of a program's stderr is quoted, in bytes.
const MAX_WORDS: usize = 500;

/// How often, and after how long each time, it is looked for the end of a program's stderr once the program has ended.
const LAST_LOOKS: usize = 50;
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What the configuration says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CommandSettings {
    /// The program; looked up in `PATH` if it has no slash.
    command: String,
    /// Its arguments.
    #[serde(default)]
    args: Vec<String>,
}

fn read(options: &Map<String, Value>) -> Result<Option<Arc<dyn CourierSettings>>, BadOptions> {
    let read = CommandSettings::deserialize(Value::Object(options.clone()));
    let settings = read.map_err(|error| BadOptions(error.to_string()))?;
    if settings.command.trim().is_empty() {
        return Err(BadOptions("`command` is empty".to_owned()));
    }
    Ok(Some(Arc::new(settings)))
}

impl CourierSettings for CommandSettings {
    fn courier(&self) -> Box<dyn Courier> {
        Box::new(CommandCourier {
            settings: self.clone(),
            running: HashMap::new(),
            threads: Arc::default(),
        })
    }
}

/// Runs the programs.
struct CommandCourier {
    settings: CommandSettings,
    /// By item.
    running: HashMap<String, Arc<Mutex<Program>>>,
    /// Every thread of ours has a copy. What a program leaves behind may hold its pipes, and so our threads, for ever.
    threads: Arc<()>,
}

/// One program.
#[derive(Debug)]
enum Program {
    /// It is about to be started.
    Starting,
    /// It leads this process group.
    Running(Pid),
    /// It has ended, or nobody wants its answer.
    Over,
}

impl Courier for CommandCourier {
    fn carry(&mut self, item: &Item, answer: Answer) {
        self.running
            .retain(|_, program| !matches!(*held(program), Program::Over));
        let threads = Arc::strong_count(&self.threads) - 1;
        if self.running.len() >= MAX_RUNNING || threads >= MAX_THREADS {
            let why = format!("{MAX_RUNNING} of its programs are running");
            return answer.bring(Err(failure(FailureKind::RateLimited, why)));
        }
        let request = match request::to_json(item) {
            Ok(request) => request,
            Err(error) => return answer.bring(Err(failure(FailureKind::Rejected, error))),
        };
        let program = Arc::new(Mutex::new(Program::Starting));
        self.running.insert(item.id.clone(), Arc::clone(&program));
        let settings = self.settings.clone();
        let threads = Arc::clone(&self.threads);
        // Shared, so that it can still be brought where no thread takes it.
        let answer = Arc::new(Mutex::new(Some(answer)));
        let answers = Arc::clone(&answer);
        let started = start_thread(&self.threads, move || {
            if let Some(ended) = run(&settings, request, &program, &threads)
                && let Some(answer) = held(&answers).take()
            {
                answer.bring(ended);
            }
        });
        if let Err(error) = started {
            self.running.remove(&item.id);
            if let Some(answer) = held(&answer).take() {
                answer.bring(Err(failure(FailureKind::Unreachable, error)));
            }
        }
    }

    fn withdraw(&mut self, item: &str) {
        if let Some(program) = self.running.remove(item) {
            end(&program);
        }
    }
}

impl Drop for CommandCourier {
    fn drop(&mut self) {
        self.running.values().for_each(|program| end(program));
    }
}

/// Ends a program, and what it has started in its process group.
fn end(program: &Mutex<Program>) {
    if let Program::Running(group) = std::mem::replace(&mut *held(program), Program::Over) {
        // It may have ended by itself; nobody has reaped it yet, so its number is nobody else's.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Runs the program to its end. `None` if nobody wants the answer any more.
fn run(
    settings: &CommandSettings,
    request: String,
    program: &Mutex<Program>,
    threads: &Arc<()>,
) -> Option<Result<CarriedVerdict, Failure>> {
    let cannot = |error: io::Error| {
        let why = format!("`{}` cannot be started: {error}", settings.command);
        failure(FailureKind::Misconfigured, why)
    };
    let mut child = {
        let mut state = held(program);
        if matches!(*state, Program::Over) {
            return None;
        }
        let started = start(settings).map_err(cannot);
        let group = started
            .as_ref()
            .ok()
            .and_then(|child| Pid::from_raw(child.id().cast_signed()));
        *state = group.map_or(Program::Over, Program::Running);
        match started {
            Ok(child) => child,
            Err(failure) => return Some(Err(failure)),
        }
    };
    let stdin = child.stdin.take();
    let writer = start_thread(threads, move || {
        if let Some(mut stdin) = stdin {
            // A program may answer without reading all of it.
            let _ = stdin
                .write_all(request.as_bytes())
                .and_then(|()| stdin.write_all(b"\n"));
        }
    });
    let stderr = child.stderr.take();
    let words = start_thread(threads, move || stderr.map(last_words).unwrap_or_default());
    let (writer, words) = match (writer, words) {
        (Ok(writer), Ok(words)) => (writer, words),
        (Err(error), _) | (_, Err(error)) => {
            end(program);
            let _ = child.wait();
            return Some(Err(failure(FailureKind::Unreachable, error)));
        }
    };
    let mut answer = Vec::new();
    let read = match child.stdout.take() {
        Some(stdout) => stdout.take(MAX_ANSWER + 1).read_to_end(&mut answer),
        None => Ok(0),
    };
    if answer.len() as u64 > MAX_ANSWER {
        // It may write for ever.
        end(program);
        let why = format!("its answer is longer than {MAX_ANSWER} bytes");
        let _ = child.wait();
        return Some(Err(failure(FailureKind::Rejected, why)));
    }
    // First it is known that it has ended, then it is reaped: until then its number is its own.
    if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
        let _ = waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        );
    }
    let was_ended = matches!(
        std::mem::replace(&mut *held(program), Program::Over),
        Program::Over
    );
    let status = child.wait();
    if was_ended {
        return None;
    }
    // Both end with the program, unless it has left somebody behind who holds its pipes: that is not waited for.
    drop(writer);
    for _ in 0..LAST_LOOKS {
        if words.is_finished() {
            break;
        }
        thread::sleep(LOOK_AGAIN);
    }
    let words = match words.is_finished() {
        true => words.join().unwrap_or_default(),
        false => String::new(),
    };
    Some(match (read, status) {
        (Ok(_), Ok(status)) if status.success() => verdict(&answer),
        (Ok(_), Ok(status)) => {
            let words = words.trim();
            let why = match words.is_empty() {
                true => format!("`{}` ended with {status}", settings.command),
                false => format!("`{}` ended with {status}: {words}", settings.command),
            };
            Err(failure(FailureKind::Rejected, why))
        }
        (Err(error), _) | (_, Err(error)) => Err(failure(FailureKind::Unreachable, error)),
    })
}

fn start(settings: &CommandSettings) -> io::Result<Child> {
    let mut command = Command::new(&settings.command);
    command
        .args(&settings.args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    for (name, _) in std::env::vars_os() {
        // The proxy's own settings and secrets are none of its business.
        if is_withheld(&name) {
            command.env_remove(name);
        }
    }
    command.spawn()
}

/// What a program answers.
#[derive(Deserialize)]
struct Verdict {
    decision: Decision,
    reason: Option<String>,
    approver: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Decision {
    Approve,
    Deny,
}

fn verdict(answer: &[u8]) -> Result<CarriedVerdict, Failure> {
    let read: Result<Verdict, _> = serde_json::from_slice(answer);
    let read = read.map_err(|error| {
        let why = match answer.trim_ascii().is_empty() {
            true => "it answered nothing".to_owned(),
            false => format!("its answer cannot be read: {error}"),
        };
        failure(FailureKind::Rejected, why)
    })?;
    Ok(CarriedVerdict {
        choice: match read.decision {
            Decision::Approve => Choice::Approve,
            Decision::Deny => Choice::Deny,
        },
        reason: read.reason,
        approver: read.approver,
    })
}

/// The end of what a program writes to stderr, on one line.
fn last_words(mut stderr: impl Read) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let surplus = kept.len().saturating_sub(MAX_WORDS);
        kept.drain(..surplus);
    }
    let text = String::from_utf8_lossy(&kept).into_owned();
    text.replace(|c: char| c.is_control(), " ")
}

fn failure(kind: FailureKind, why: impl ToString) -> Failure {
    Failure {
        kind,
        why: why.to_string(),
    }
}

/// Starts a thread that counts for [`MAX_THREADS`].
fn start_thread<T: Send + 'static>(
    threads: &Arc<()>,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let counted = Arc::clone(threads);
    let named = thread::Builder::new().name("engine-command".to_owned());
    named.spawn(move || {
        let _counted = counted;
        work()
    })
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
