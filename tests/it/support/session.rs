//! A running proxy and the client that speaks with it, a line at a time, never without a deadline.
//!
//! It knows JSON-RPC and the words of MCP, and nothing of approvals but how to answer a prompt.

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

/// Nothing that a test waits for takes nearly as long.
const DEADLINE: Duration = Duration::from_secs(20);

/// A running proxy.
pub(crate) struct Session {
    /// Last to go: the proxy and its upstream may still write there.
    dir: TempDir,
    child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    /// Until something reads from it.
    pub(crate) stdout: Option<ChildStdout>,
    pub(crate) unread_stderr: Option<ChildStderr>,
    lines: Option<Receiver<Vec<u8>>>,
    /// Messages that came before the one that a test waited for.
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
        // In the order of members that most clients write.
        self.send(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#
        ));
        id
    }

    /// Sends a tool call and returns its id.
    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> u64 {
        self.request("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    /// The handshake of a client that can be asked, in 2025-06-18.
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

    /// The handshake is done, and whatever was sent before has been read by the upstream: the
    /// answer to a request that goes the same way is here.
    pub(crate) fn sync(&mut self) {
        let id = self.request("ping", json!({}));
        self.response(id);
    }

    /// Has the scripted upstream do something, and waits until it has.
    pub(crate) fn script(&mut self, params: Value) -> Value {
        let id = self.request("script", params);
        self.response(id)["result"].clone()
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    // What the client reads.

    /// The next line as it came, newline included; `None` at the end.
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

    /// The next line as a message; every line on stdout is one.
    pub(crate) fn next(&mut self) -> Value {
        let Some(line) = self.next_line() else {
            panic!("the proxy closed stdout; {}", self.context());
        };
        let message: Value = serde_json::from_slice(&line)
            .unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&line)));
        assert_eq!(message["jsonrpc"], "2.0", "{message}");
        message
    }

    /// The first message that `wanted` is true for; the others are kept.
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

    /// The response to a request of the client's.
    pub(crate) fn response(&mut self, id: impl Into<Value>) -> Value {
        let id = id.into();
        self.find(|message| message["id"] == id && message.get("method").is_none())
    }

    /// The next message with this method.
    pub(crate) fn message(&mut self, method: &str) -> Value {
        self.find(|message| message["method"] == method)
    }

    /// The next prompt.
    pub(crate) fn prompt(&mut self) -> Value {
        self.message("elicitation/create")
    }

    /// Whether a prompt is among what came before the last thing that was waited for.
    pub(crate) fn was_prompted(&self) -> bool {
        let mut skipped = self.skipped.iter();
        skipped.any(|message| message["method"] == "elicitation/create")
    }

    /// What came and was not waited for.
    pub(crate) fn take_skipped(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.skipped)
    }

    /// Everything up to the end of stdout.
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

    /// A call that passes without a question: its result.
    pub(crate) fn passes(&mut self, tool: &str, arguments: Value) -> Value {
        let id = self.call(tool, arguments);
        let response = self.response(id);
        assert!(!self.was_prompted(), "asked about {tool}");
        let text = &response["result"]["content"][0]["text"];
        assert_eq!(*text, format!("{tool} ran"), "{response}");
        response["result"].clone()
    }

    /// A call that is refused without a question: the text of the refusal.
    pub(crate) fn is_refused(&mut self, tool: &str, arguments: Value) -> String {
        let id = self.call(tool, arguments);
        let text = self.refusal(id);
        assert!(!self.was_prompted(), "asked about {tool}");
        text
    }

    /// The text of a refusal: an ordinary result with `isError` and one text.
    pub(crate) fn refusal(&mut self, id: u64) -> String {
        let response = self.response(id);
        let result = &response["result"];
        assert_eq!(result["isError"], true, "{response}");
        assert_eq!(result["content"].as_array().map(Vec::len), Some(1));
        assert_eq!(result["content"][0]["type"], "text");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    // What else is seen of it.

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Every byte that the scripted upstream has read.
    pub(crate) fn recorded(&self) -> Vec<u8> {
        std::fs::read(self.path("record")).unwrap_or_default()
    }

    pub(crate) fn has_recorded(&self, text: &str) -> bool {
        let recorded = self.recorded();
        memchr::memmem::find(&recorded, text.as_bytes()).is_some()
    }

    /// The lines of the audit log.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path("audit.jsonl")).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "a torn line");
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a line is JSON"))
            .collect()
    }

    /// The decisions among them.
    pub(crate) fn decisions(&self) -> Vec<Value> {
        let mut lines = self.log();
        lines.retain(|line| line.get("decision").is_some());
        lines
    }

    /// The one decision about a tool.
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

    /// Waits for the end: its exit code and how long it took.
    pub(crate) fn exit(&mut self) -> (i32, Duration) {
        let start = Instant::now();
        let code = wait_for_exit(&mut self.child).unwrap_or_else(|| {
            panic!("the proxy does not end; {}", self.context());
        });
        (code, start.elapsed())
    }

    /// Closes stdin and expects the ordinary end.
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
        // The upstream ends with its stdin, or by its own watchdog.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a human's yes looks like.
pub(crate) fn approval() -> Value {
    json!({"action": "accept", "content": {"approved": true}})
}

/// The exit code, negative for a signal; `None` past the deadline.
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

/// Polls until `is_so`, with a deadline.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < DEADLINE, "not in time: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Whether there is a process that has not ended.
pub(crate) fn is_running(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // "pid (name) state …"; what waits to be reaped has ended.
    let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    !state.is_empty() && !state.starts_with('Z') && !state.starts_with('X')
}
