//! `command`: a program that gets the approval request as JSON on stdin and answers as JSON on stdout.
//!
//! docs/engines/command.md describes both formats. Each request gets one process. When nobody waits for its answer any
//! more, its whole process group is killed.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::courier::{Answer, CarriedVerdict, Courier, CourierContext, CourierSettings, Ending};
use super::disclosure::Disclosure;
use super::http::{Scrub, TransportSettings};
use super::registry::{BadOptions, EngineOption, Registration};
use super::request::{self, Possible};
use super::webhook::approver_of;
use crate::approval::item::{Assurance, Item};
use crate::approval::render::Show;
use crate::gate::{EngineId, Failure, FailureKind};
use crate::transport::is_withheld;

/// The entry in the registry. Any program of this user could answer, so the level is that of a shared secret.
pub(super) const REGISTRATION: Registration = Registration::new(
    EngineId::new("command"),
    Assurance::SharedSecret,
    &[
        EngineOption::required("command"),
        EngineOption::optional("args")
            .with_schema(|| json!({"type": "array", "items": {"type": "string"}})),
        EngineOption::optional("env")
            .with_schema(|| json!({"type": "object", "additionalProperties": {"type": "string"}})),
    ],
    read,
);

/// How many programs may run at once.
const MAX_RUNNING: usize = 16;
/// How many references to the thread counter may exist. A program uses four: one for each of its three threads, and one
/// that its first thread passes on to the other two.
const MAX_THREADS: usize = 4 * MAX_RUNNING;
/// The longest accepted answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// How much of the end of a program's stderr is quoted, in bytes.
const MAX_WORDS: usize = 500;
/// How much before that is searched for secrets of the call, which may begin there, in bytes.
const SEARCHED: usize = 2_000;

/// How often we check whether a program has ended that has not closed its stdout.
const END_CHECK_EVERY: Duration = Duration::from_millis(200);

/// How many times, and how often, we check whether a program's stderr has ended after the program has exited.
const STDERR_CHECKS: usize = 50;
const STDERR_CHECK_EVERY: Duration = Duration::from_millis(10);

/// The options from the configuration.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Options {
    /// The program. Without a slash, it is looked up in `PATH`.
    command: String,
    /// Its arguments.
    #[serde(default)]
    args: Vec<String>,
    /// Variables that it gets in addition to ours. May contain secrets.
    #[serde(default)]
    env: BTreeMap<String, String>,
}

/// The options, checked.
#[derive(Clone)]
struct CommandSettings {
    command: String,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    /// The name that records carry: `command:NAME`.
    approver: String,
    /// Knows the values of `env`.
    scrub: Arc<Scrub>,
}

fn read(
    name: EngineId,
    options: &Map<String, Value>,
    _: &TransportSettings,
) -> Result<Option<Arc<dyn CourierSettings>>, BadOptions> {
    let Options { command, args, env } = read_options(options)?;
    if command.trim().is_empty() {
        return Err(BadOptions("`command` is empty".to_owned()));
    }
    let is_name = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
    if let Some(bad) = env.keys().find(|name| !is_name(name)) {
        return Err(BadOptions(format!(
            "`env`: no variable can be named {bad:?}"
        )));
    }
    let texts = [&command].into_iter().chain(&args).chain(env.values());
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(BadOptions(
            "`command`, `args` and `env` cannot contain NUL characters".to_owned(),
        ));
    }
    let mut scrub = Scrub::default();
    for (name, value) in &env {
        scrub.add_named(name, value);
    }
    Ok(Some(Arc::new(CommandSettings {
        command,
        args,
        env,
        approver: approver_of("command", name, None)?,
        scrub: Arc::new(scrub),
    })))
}

fn read_options(options: &Map<String, Value>) -> Result<Options, BadOptions> {
    for (key, value) in options {
        let wanted = match &**key {
            "command" if !value.is_string() => "a string",
            "args" if !holds_strings(value.as_array()) => "a list of strings",
            "env" if !holds_strings(value.as_object().map(Map::values)) => "an object of strings",
            _ => continue,
        };
        // Serde's message would quote the value.
        return Err(BadOptions(format!("`{key}` must be {wanted}")));
    }
    Options::deserialize(Value::Object(options.clone()))
        .map_err(|error| BadOptions(error.to_string()))
}

fn holds_strings<'v>(values: Option<impl IntoIterator<Item = &'v Value>>) -> bool {
    values.is_some_and(|values| values.into_iter().all(Value::is_string))
}

impl fmt::Debug for CommandSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandSettings")
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

impl CourierSettings for CommandSettings {
    fn courier(&self, context: &CourierContext) -> Box<dyn Courier> {
        Box::new(CommandCourier {
            settings: Arc::new(Settings {
                own: self.clone(),
                context: context.clone(),
            }),
            running: HashMap::new(),
            threads: Arc::default(),
        })
    }

    fn needs_page(&self, context: &CourierContext) -> bool {
        context.show != Show::Full
    }

    fn test(&self, _: &CourierContext, _: Duration) -> Result<String, Failure> {
        let found = find_program(&self.command, std::env::var_os("PATH"));
        let found = found.ok_or_else(|| {
            let why = format!("`{}` is not there, or not executable", self.command);
            failure(FailureKind::Misconfigured, why)
        })?;
        Ok(format!(
            "{} is there; only a question can show what it answers",
            found.display()
        ))
    }
}

/// Returns the executable file that a command stands for.
fn find_program(command: &str, path: Option<OsString>) -> Option<PathBuf> {
    let is_program = |file: &PathBuf| {
        let mode = file.metadata().ok().filter(|file| file.is_file());
        mode.is_some_and(|file| file.permissions().mode() & 0o111 != 0)
    };
    if command.contains('/') {
        return Some(PathBuf::from(command)).filter(is_program);
    }
    let path = path?;
    let mut files = std::env::split_paths(&path).map(|folder| folder.join(command));
    files.find(is_program)
}

/// What every program of a courier needs.
struct Settings {
    own: CommandSettings,
    context: CourierContext,
}

/// Runs the programs.
struct CommandCourier {
    settings: Arc<Settings>,
    /// By item id.
    running: HashMap<String, Arc<Mutex<Program>>>,
    /// Counts our threads: each holds a clone. A process that a program leaves behind may keep the program's pipes
    /// open, and so block our threads forever.
    threads: Arc<()>,
}

/// The state of one program.
#[derive(Debug)]
enum Program {
    /// It is about to start.
    Starting,
    /// It runs and leads this process group.
    Running(Pid),
    /// It has ended, or nobody waits for its answer.
    Over,
}

impl Courier for CommandCourier {
    fn carry(&mut self, item: &Item, answer: Answer) {
        self.running
            .retain(|_, program| !matches!(*held(program), Program::Over));
        let threads = Arc::strong_count(&self.threads) - 1;
        if self.running.len() >= MAX_RUNNING || threads >= MAX_THREADS {
            let why = format!("{MAX_RUNNING} of its programs are already running");
            return answer.send(Err(failure(FailureKind::RateLimited, why)));
        }
        let program = Arc::new(Mutex::new(Program::Starting));
        self.running.insert(item.id.clone(), Arc::clone(&program));
        let settings = Arc::clone(&self.settings);
        let shown = item.clone();
        let threads = Arc::clone(&self.threads);
        // Shared, so that we can still send it if no thread starts.
        let answer = Arc::new(Mutex::new(Some(answer)));
        let answers = Arc::clone(&answer);
        let started = start_thread(&self.threads, move || {
            if let Some(ended) = run(&settings, &shown, &program, &threads)
                && let Some(answer) = held(&answers).take()
            {
                answer.send(ended);
            }
        });
        if let Err(error) = started {
            self.running.remove(&item.id);
            if let Some(answer) = held(&answer).take() {
                answer.send(Err(failure(FailureKind::Unreachable, error)));
            }
        }
    }

    fn withdraw(&mut self, item: &str, _: &Ending) {
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

/// Kills a program and its process group.
fn end(program: &Mutex<Program>) {
    if let Program::Running(group) = std::mem::replace(&mut *held(program), Program::Over) {
        // It may have ended by itself, but it is not reaped yet, so no other process has its id.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Runs the program to its end. Returns `None` if nobody waits for the answer any more.
fn run(
    settings: &Settings,
    item: &Item,
    program: &Mutex<Program>,
    threads: &Arc<()>,
) -> Option<Result<CarriedVerdict, Failure>> {
    let (request, possible) = match request_of(item, &settings.context) {
        Ok(request) => request,
        Err(failure) => return Some(Err(failure)),
    };
    let command = &settings.own.command;
    let cannot = |error: io::Error| {
        let why = format!("`{command}` cannot be started: {error}");
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
            // A program may answer without reading all of its input.
            let _ = stdin
                .write_all(request.as_bytes())
                .and_then(|()| stdin.write_all(b"\n"));
        }
    });
    let stderr = child.stderr.take();
    let kept = MAX_WORDS + SEARCHED + settings.own.scrub.margin();
    let stderr = start_thread(threads, move || {
        stderr
            .map(|stderr| end_of(stderr, kept))
            .unwrap_or_default()
    });
    let (writer, stderr) = match (writer, stderr) {
        (Ok(writer), Ok(stderr)) => (writer, stderr),
        (Err(error), _) | (_, Err(error)) => {
            end(program);
            let _ = child.wait();
            return Some(Err(failure(FailureKind::Unreachable, error)));
        }
    };
    let answer = match answer_of(&mut child) {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => {
            // It may never stop writing.
            end(program);
            let why = format!("the program's answer is longer than {MAX_ANSWER} bytes");
            let _ = child.wait();
            return Some(Err(failure(FailureKind::Rejected, why)));
        }
        Err(error) => Err(error),
    };
    // Wait for its end, mark it as over, and only then reap it: until it is reaped, no other process has its id.
    is_over(&child, WaitIdOptions::empty());
    let was_ended = matches!(
        std::mem::replace(&mut *held(program), Program::Over),
        Program::Over
    );
    let status = child.wait();
    if was_ended {
        return None;
    }
    drop(writer);
    Some(match (answer, status) {
        (Ok(answer), Ok(status)) if status.success() => {
            let CommandSettings {
                approver, scrub, ..
            } = &settings.own;
            request::verdict(&answer, approver, &possible, scrub)
        }
        (Ok(_), Ok(status)) => {
            let stderr = last_words(&joined(stderr), settings);
            let why = match stderr.is_empty() {
                true => format!("`{command}` ended with {status}"),
                false => format!("`{command}` ended with {status}: {stderr}"),
            };
            Err(failure(FailureKind::Rejected, why))
        }
        (Err(error), _) | (_, Err(error)) => Err(failure(FailureKind::Unreachable, error)),
    })
}

/// Returns what a program has written to stdout; `None` if it is too long.
///
/// The program need not close its stdout: a process that it left behind may hold it open. What it wrote before its end
/// is in the pipe then.
fn answer_of(child: &mut Child) -> io::Result<Option<Vec<u8>>> {
    let mut answer = Vec::new();
    let Some(mut stdout) = child.stdout.take() else {
        return Ok(Some(answer));
    };
    let mut buffer = [0; 4096];
    let mut has_ended = false;
    loop {
        let limit = match has_ended {
            true => Duration::ZERO,
            false => END_CHECK_EVERY,
        };
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&limit)) {
            Ok(0) if has_ended => return Ok(Some(answer)),
            Ok(0) => has_ended = is_over(child, WaitIdOptions::NOHANG),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => match stdout.read(&mut buffer) {
                Ok(0) => return Ok(Some(answer)),
                Ok(count) => {
                    answer.extend_from_slice(buffer.get(..count).unwrap_or_default());
                    if answer.len() > MAX_ANSWER {
                        return Ok(None);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            },
        }
    }
}

/// Returns true if the program has ended. Does not reap it. Without `NOHANG`, waits for its end.
fn is_over(child: &Child, how: WaitIdOptions) -> bool {
    let Some(pid) = Pid::from_raw(child.id().cast_signed()) else {
        return true;
    };
    let how = how | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(pid), how).is_ok_and(|ended| ended.is_some())
}

/// Returns the end of what a program wrote to stderr, on one line, without secrets: its own, and those of the call.
fn last_words(stderr: &str, settings: &Settings) -> String {
    let clean = (settings.own.scrub).clean_end(stderr, MAX_WORDS + SEARCHED);
    let clean = settings.context.redaction.text(&clean);
    let mut from = clean.len().saturating_sub(MAX_WORDS);
    while !clean.is_char_boundary(from) {
        from += 1;
    }
    let words = clean.get(from..).unwrap_or_default();
    words.replace(char::is_control, " ").trim().to_owned()
}

/// Returns what the thread has read. It ends with the program, unless that left a process behind that holds its pipe. We
/// do not wait for that.
fn joined(reader: JoinHandle<String>) -> String {
    for _ in 0..STDERR_CHECKS {
        if reader.is_finished() {
            return reader.join().unwrap_or_default();
        }
        thread::sleep(STDERR_CHECK_EVERY);
    }
    String::new()
}

fn start(settings: &Settings) -> io::Result<Child> {
    let mut command = Command::new(&settings.own.command);
    command
        .args(&settings.own.args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    for (name, _) in std::env::vars_os() {
        // The proxy's own settings and secrets, and those of other engines, are not for the program.
        if is_withheld(&name) || settings.context.withheld.contains(&name) {
            command.env_remove(name);
        }
    }
    command.envs(&settings.own.env).spawn()
}

/// Writes the item. Returns it, and what the answer can be.
fn request_of(item: &Item, context: &CourierContext) -> Result<(String, Possible), Failure> {
    let rejected = |error: &dyn fmt::Display| failure(FailureKind::Rejected, error.to_string());
    let disclosure = Disclosure::new(item, context.show, &context.redaction);
    let disclosure = disclosure.map_err(|error| rejected(&error))?.with_forms();
    let page = context.page.of(&item.id);
    let json = request::to_json(&disclosure, page.as_deref()).map_err(|error| rejected(&error))?;
    let possible = Possible {
        is_approvable: disclosure.is_approvable(),
        form: item.form.clone(),
    };
    Ok((json, possible))
}

/// Returns the end of what a program writes to stderr: this many bytes.
fn end_of(mut stderr: impl Read, kept: usize) -> String {
    let mut end = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        end.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let surplus = end.len().saturating_sub(kept);
        end.drain(..surplus);
    }
    String::from_utf8_lossy(&end).into_owned()
}

fn failure(kind: FailureKind, why: impl ToString) -> Failure {
    Failure {
        kind,
        why: why.to_string(),
    }
}

/// Starts a thread that counts towards [`MAX_THREADS`].
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
