//! A running proxy and its client, which exchange lines. Every wait has a deadline.
//!
//! It knows JSON-RPC and MCP; all it knows about approvals is how to answer a prompt.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Much longer than anything that a test waits for.
const DEADLINE: Duration = Duration::from_secs(20);

/// A running proxy.
pub(crate) struct Session {
    /// The configuration, the log and what the upstream records.
    dir: TempDir,
    child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    /// `None` once a thread reads from it.
    pub(crate) stdout: Option<ChildStdout>,
    pub(crate) unread_stderr: Option<ChildStderr>,
    lines: Option<Receiver<Vec<u8>>>,
    /// Messages that arrived while the test waited for another one.
    skipped: Vec<Value>,
    stderr: Arc<Mutex<Vec<u8>>>,
    next_id: u64,
}

impl Session {
    pub(super) fn new(dir: TempDir, mut child: Child, reads_stderr: bool) -> Session {
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let mut unread_stderr = child.stderr.take();
        if reads_stderr {
            let mut pipe = unread_stderr.take().unwrap();
            let seen = Arc::clone(&stderr);
            thread::spawn(move || {
                let mut chunk = [0; 4096];
                while let Ok(count @ 1..) = pipe.read(&mut chunk) {
                    seen.lock().unwrap().extend_from_slice(&chunk[..count]);
                }
            });
        }
        Session {
            dir,
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            unread_stderr,
            child,
            lines: None,
            skipped: Vec::new(),
            stderr,
            next_id: 0,
        }
    }

    // What the client writes.

    /// Sends bytes as they are.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        stdin.write_all(bytes).expect("the proxy reads");
    }

    /// Sends a line.
    pub(crate) fn send(&mut self, message: impl ToString) {
        self.send_bytes(format!("{}\n", message.to_string()).as_bytes());
    }

    pub(crate) fn notify(&mut self, method: &str, params: Value) {
        self.send(json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    /// Sends a request and returns its id.
    pub(crate) fn request(&mut self, method: &str, params: Value) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        // Most clients write the members in this order.
        self.send(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#
        ));
        id
    }

    /// Sends a tool call and returns its id.
    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> u64 {
        self.request("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    /// Does the handshake of 2025-06-18 as a client that can be asked.
    pub(crate) fn handshake(&mut self) {
        self.handshake_as("2025-06-18", json!({"elicitation": {}}));
    }

    pub(crate) fn handshake_as(&mut self, revision: &str, capabilities: Value) {
        let client = json!({"name": "test", "version": "0"});
        let id = self.request(
            "initialize",
            json!({"protocolVersion": revision, "capabilities": capabilities, "clientInfo": client}),
        );
        let answer = self.response(id);
        assert_eq!(answer["result"]["protocolVersion"], revision, "{answer}");
        self.send(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    }

    /// Sends a ping and waits for its answer. By then the upstream has read everything that was sent
    /// before.
    pub(crate) fn sync(&mut self) {
        let id = self.request("ping", json!({}));
        self.response(id);
    }

    /// Makes the scripted upstream do something, and waits until it is done.
    pub(crate) fn script(&mut self, params: Value) -> Value {
        let id = self.request("script", params);
        self.response(id)["result"].clone()
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    // What the client reads.

    /// Returns the next line with its newline, or `None` at the end.
    pub(crate) fn next_line(&mut self) -> Option<Vec<u8>> {
        if let Some(stdout) = self.stdout.take() {
            let (sender, lines) = channel();
            thread::spawn(move || {
                let mut stdout = BufReader::new(stdout);
                let mut line = Vec::new();
                while let Ok(1..) = stdout.read_until(b'\n', &mut line) {
                    if sender.send(std::mem::take(&mut line)).is_err() {
                        return;
                    }
                }
            });
            self.lines = Some(lines);
        }
        match self.lines.as_ref().unwrap().recv_timeout(DEADLINE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line in time; {}", self.context()),
        }
    }

    /// Returns the next line as a message. Every line on stdout must be one.
    pub(crate) fn next(&mut self) -> Value {
        let Some(line) = self.next_line() else {
            panic!("the proxy closed stdout; {}", self.context());
        };
        let message: Value = serde_json::from_slice(&line)
            .unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&line)));
        assert_eq!(message["jsonrpc"], "2.0", "{message}");
        message
    }

    /// Returns the first message that `wanted` accepts, and keeps the others.
    pub(crate) fn find(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.skipped.iter().position(&wanted) {
            return self.skipped.remove(at);
        }
        loop {
            let message = self.next();
            if wanted(&message) {
                return message;
            }
            self.skipped.push(message);
        }
    }

    /// Waits for the response to a request of the client.
    pub(crate) fn response(&mut self, id: impl Into<Value>) -> Value {
        let id = id.into();
        self.find(|message| message["id"] == id && message.get("method").is_none())
    }

    /// Waits for the next message with this method.
    pub(crate) fn message(&mut self, method: &str) -> Value {
        self.find(|message| message["method"] == method)
    }

    /// Waits for the next prompt.
    pub(crate) fn prompt(&mut self) -> Value {
        self.message("elicitation/create")
    }

    /// Returns true if a prompt is among the skipped messages.
    pub(crate) fn was_prompted(&self) -> bool {
        let mut skipped = self.skipped.iter();
        skipped.any(|message| message["method"] == "elicitation/create")
    }

    /// Takes the messages that no test has waited for.
    pub(crate) fn take_skipped(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.skipped)
    }

    /// Reads all messages up to the end of stdout.
    pub(crate) fn rest(&mut self) -> Vec<Value> {
        let mut messages = self.take_skipped();
        while let Some(line) = self.next_line() {
            messages.push(serde_json::from_slice(&line).expect("stdout carries JSON only"));
        }
        messages
    }

    /// Answers a prompt with this result.
    pub(crate) fn answer(&mut self, prompt: &Value, result: Value) {
        self.send(json!({"jsonrpc": "2.0", "id": prompt["id"], "result": result}));
    }

    /// Waits for the next prompt and says yes.
    pub(crate) fn approve(&mut self) -> Value {
        let prompt = self.prompt();
        self.answer(&prompt, approval());
        prompt
    }

    /// Makes a call that must pass without a question, and returns its result.
    pub(crate) fn passes(&mut self, tool: &str, arguments: Value) -> Value {
        let id = self.call(tool, arguments);
        let response = self.response(id);
        assert!(!self.was_prompted(), "asked about {tool}");
        let text = &response["result"]["content"][0]["text"];
        assert_eq!(*text, format!("{tool} ran"), "{response}");
        response["result"].clone()
    }

    /// Makes a call that must be refused without a question, and returns the text of the refusal.
    pub(crate) fn is_refused(&mut self, tool: &str, arguments: Value) -> String {
        let id = self.call(tool, arguments);
        let text = self.refusal(id);
        assert!(!self.was_prompted(), "asked about {tool}");
        text
    }

    /// Waits for a refusal, an ordinary result with `isError` and one text block, and returns the text.
    pub(crate) fn refusal(&mut self, id: u64) -> String {
        let response = self.response(id);
        let result = &response["result"];
        assert_eq!(result["isError"], true, "{response}");
        assert_eq!(result["content"].as_array().map(Vec::len), Some(1));
        assert_eq!(result["content"][0]["type"], "text");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    // What else a test can see.

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns every byte that the scripted upstream has read.
    pub(crate) fn recorded(&self) -> Vec<u8> {
        std::fs::read(self.path("record")).unwrap_or_default()
    }

    pub(crate) fn has_recorded(&self, text: &str) -> bool {
        let recorded = self.recorded();
        memchr::memmem::find(&recorded, text.as_bytes()).is_some()
    }

    /// Returns the records of the audit log.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path("audit.jsonl")).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "a torn line");
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a line is JSON"))
            .collect()
    }

    /// Returns the records of decisions.
    pub(crate) fn decisions(&self) -> Vec<Value> {
        let mut lines = self.log();
        lines.retain(|line| line.get("decision").is_some());
        lines
    }

    /// Returns the only decision about a tool.
    pub(crate) fn decision(&self, tool: &str) -> Value {
        let mut lines = self.decisions();
        lines.retain(|line| line["tool"] == tool);
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0)
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap()).into_owned()
    }

    pub(crate) fn stderr_says(&self, text: &str) {
        eventually(text, || self.stderr().contains(text));
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end, and returns the exit code and how long that took.
    pub(crate) fn exit(&mut self) -> (i32, Duration) {
        let start = Instant::now();
        let code = wait_for_exit(&mut self.child).unwrap_or_else(|| {
            panic!("the proxy does not end; {}", self.context());
        });
        (code, start.elapsed())
    }

    /// Closes stdin and expects exit code 0.
    pub(crate) fn finish(mut self) {
        self.close_stdin();
        let (code, _) = self.exit();
        assert_eq!(code, 0, "{}", self.context());
        let stderr = self.stderr();
        assert!(!stderr.contains("panicked"), "{stderr}");
    }

    fn context(&self) -> String {
        format!("skipped: {:?}; its stderr: {}", self.skipped, self.stderr())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The upstream ends when its stdin closes, or by its own watchdog.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A person's yes.
pub(crate) fn approval() -> Value {
    json!({"action": "accept", "content": {"approved": true}})
}

/// Returns the exit code, negative for a signal, or `None` after the deadline.
fn wait_for_exit(child: &mut Child) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt;
    let start = Instant::now();
    while start.elapsed() < DEADLINE {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().or(status.signal().map(|signal| -signal));
        }
        thread::sleep(Duration::from_millis(2));
    }
    None
}

/// Polls until `is_so` returns true, with a deadline.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < DEADLINE, "not in time: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Returns true if the process exists and is not a zombie.
pub(crate) fn is_running(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The file has "pid (name) state …"; a process that waits to be reaped has ended.
    let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    !state.is_empty() && !state.starts_with('Z') && !state.starts_with('X')
}
