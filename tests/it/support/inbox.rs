//! Runs the inbox's commands as its user does, and asks for its page as a stranger would.
//!
//! Who may decide is left to the tests.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use approval_proxy::engines::inbox::page::proof;
use approval_proxy::engines::inbox::store::{
    self, ApprovalRequests, Devices, Lease, Logins, Store,
};
use approval_proxy::evidence::redact::Redaction;
use approval_proxy::sys::state_dir::StateDir;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{Http, ProxyTest, Pty, Session, eventually, proxy};

/// Runs commands for a user whose proxies share this state folder.
pub(crate) struct Terminal {
    state: PathBuf,
}

/// The exit code and the output of a command.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl ProxyTest {
    /// A proxy with the default engines and a free port for its page.
    pub(crate) fn with_inbox() -> ProxyTest {
        let test = ProxyTest::new().env("APPROVAL_ENGINES", "");
        test.flags(["--inbox-port", "0"])
    }

    /// Uses this state folder, as all proxies of one user do.
    pub(crate) fn state(self, state: &Path) -> ProxyTest {
        self.env("APPROVAL_STATE_DIR", state.to_str().unwrap())
    }

    /// Starts the proxy with a client that does not declare elicitation.
    pub(crate) fn start_without_elicitation(self) -> Session {
        let mut session = self.start();
        session.handshake_as("2025-06-18", serde_json::json!({}));
        session
    }
}

/// Runs `engines test` with this user configuration and these variables. Returns its exit code and all that it wrote.
pub(crate) fn engines_test(section: Value, env: &[(&str, &str)]) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.json");
    std::fs::write(&config, json!({"approvalProxy": section}).to_string()).unwrap();
    let terminal = Terminal::at(&dir.path().join("state"));
    let mut command = terminal.command(&["engines", "test"]);
    command
        .env("APPROVAL_CONFIG", &config)
        .envs(env.iter().copied());
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code(), text.concat())
}

impl Session {
    /// The terminal for this proxy's own state folder.
    pub(crate) fn terminal(&self) -> Terminal {
        Terminal::at(&self.path("state"))
    }

    /// Waits for a call's response, which must say that it ran.
    pub(crate) fn expect_ran(&mut self, id: u64) {
        let response = self.response(id);
        let text = response["result"]["content"][0]["text"].as_str();
        let ran = text.is_some_and(|text| text.ends_with(" ran"));
        assert!(ran, "{response}; its stderr: {}", self.stderr());
    }

    /// Waits until the log has this event.
    pub(crate) fn wait_for_event(&self, event: &str) {
        let member = format!(r#""event":"{event}""#);
        let log = || std::fs::read_to_string(self.path("audit.jsonl")).unwrap_or_default();
        eventually(event, || log().contains(&member));
    }

    /// Counts the calls of a tool that the scripted upstream has read.
    pub(crate) fn runs_of(&self, tool: &str) -> usize {
        let recorded = String::from_utf8_lossy(&self.recorded()).into_owned();
        let lines = recorded.lines().map(serde_json::from_str::<Value>);
        let calls = lines.filter_map(Result::ok);
        let calls = calls.filter(|line| line["method"] == "tools/call");
        calls.filter(|line| line["params"]["name"] == tool).count()
    }
}

impl Terminal {
    pub(crate) fn at(state: &Path) -> Terminal {
        let state = state.to_owned();
        Terminal { state }
    }

    /// A command with the user's state folder and without a terminal.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        // The tests may be run in a terminal.
        let mut command = Command::new("setsid");
        command.arg(proxy()).args(args);
        self.set_environment(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(Stdio::piped());
        command
    }

    /// Starts a command in a terminal of its own.
    pub(crate) fn in_terminal(&self, args: &[&str]) -> Pty {
        let mut command = Command::new(proxy());
        command.args(args);
        self.set_environment(&mut command);
        Pty::start(&command)
    }

    fn set_environment(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("APPROVAL_") {
                command.env_remove(name);
            }
        }
        command.env("APPROVAL_STATE_DIR", &self.state);
        command.env("BROWSER", "").env("DISPLAY", "");
    }

    /// Runs `approval-proxy approvals …`.
    pub(crate) fn approvals(&self, args: &[&str]) -> CommandOutput {
        self.approvals_with_stdin(args, "")
    }

    /// Runs `approval-proxy approvals …` with this text on its stdin.
    pub(crate) fn approvals_with_stdin(&self, args: &[&str], stdin: &str) -> CommandOutput {
        self.run_with_stdin(&[&["approvals"], args].concat(), stdin)
    }

    /// Runs any command with this text on its stdin.
    pub(crate) fn run_with_stdin(&self, args: &[&str], stdin: &str) -> CommandOutput {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let stdin = stdin.to_owned();
        // A command that does not read its stdin closes the pipe: not an error.
        let writer = thread::spawn(move || pipe.write_all(stdin.as_bytes()));
        let ended = child.wait_with_output().unwrap();
        let _ = writer.join().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        CommandOutput {
            code: ended.status.code(),
            out: text(&ended.stdout),
            err: text(&ended.stderr),
        }
    }

    fn json(&self, args: &[&str]) -> Vec<Value> {
        let output = self.approvals(args);
        assert_eq!(output.code, Some(0), "{output:?}");
        serde_json::from_str(&output.out).expect("an array")
    }

    /// Lists the open items, oldest first.
    pub(crate) fn open_items(&self) -> Vec<Value> {
        self.json(&["list", "--json"])
    }

    pub(crate) fn history(&self) -> Vec<Value> {
        self.json(&["list", "--history", "--json"])
    }

    /// Waits until there are this many open items, and returns them.
    pub(crate) fn wait_for_items(&self, count: usize) -> Vec<Value> {
        let mut found = Vec::new();
        eventually("the number of open items", || {
            found = self.open_items();
            found.len() == count
        });
        found
    }

    /// Waits until exactly one item is open, for this tool, and returns its id.
    pub(crate) fn wait_for_item(&self, tool: &str) -> String {
        let mut found = self.wait_for_items(1);
        let item = found.remove(0);
        assert_eq!(item["tool"], tool, "{item}");
        item["id"].as_str().unwrap().to_owned()
    }

    /// Returns the state of an item.
    pub(crate) fn state_of(&self, id: &str) -> String {
        let output = self.approvals(&["show", id, "--json"]);
        assert_eq!(output.code, Some(0), "{output:?}");
        let item: Value = serde_json::from_str(&output.out).unwrap();
        item["state"].as_str().unwrap().to_owned()
    }

    /// Approves an item.
    pub(crate) fn approve(&self, id: &str) {
        let output = self.approvals(&["approve", id]);
        assert_eq!(output.code, Some(0), "{output:?}");
    }

    /// Opens the state folder, as any program of this user could.
    pub(crate) fn state_dir(&self) -> StateDir {
        StateDir::open(&self.state).unwrap()
    }

    fn open(&self) -> Store {
        store::open(&self.state_dir(), &Redaction::default()).unwrap()
    }

    pub(crate) fn store(&self) -> Box<dyn ApprovalRequests> {
        self.open().requests
    }

    pub(crate) fn logins(&self) -> Box<dyn Logins> {
        self.open().logins
    }

    pub(crate) fn devices(&self) -> Box<dyn Devices> {
        self.open().devices
    }

    /// Takes the lease that a running proxy of this name would hold.
    pub(crate) fn lease(&self, proxy: &str) -> Lease {
        self.open().liveness.lease(proxy).unwrap()
    }

    /// Returns true if this inbox's page answers at that address.
    pub(crate) fn page_answers_at(&self, page: &Http) -> bool {
        let nonce = "0123456789abcdef0123456789abcdef";
        let path = format!("/prove?nonce={nonce}");
        let answer = page.try_get(&path);
        let port = page.address.rsplit(':').next().unwrap().parse().unwrap();
        let proof = proof(&self.state_dir().secret().unwrap(), port, nonce);
        answer.is_some_and(|(status, body)| status == 200 && body == proof)
    }
}

/// A running `approval-proxy inbox`.
pub(crate) struct InboxProcess {
    pub(crate) child: Child,
    stderr: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts `approval-proxy inbox` without a browser.
    pub(crate) fn inbox(&self, port: &str) -> InboxProcess {
        let args = ["inbox", "--no-browser", "--inbox-port", port];
        InboxProcess::of(self.command(&args))
    }

    /// Starts `approval-proxy inbox` with this browser.
    pub(crate) fn inbox_opening(&self, browser: &Path) -> InboxProcess {
        let mut command = self.command(&["inbox", "--inbox-port", "0"]);
        command.env("BROWSER", browser);
        InboxProcess::of(command)
    }
}

impl InboxProcess {
    pub(crate) fn of(mut command: Command) -> InboxProcess {
        let mut child = command.spawn().unwrap();
        let mut pipe = child.stderr.take().unwrap();
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&stderr);
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut chunk) {
                seen.lock().unwrap().extend_from_slice(&chunk[..count]);
            }
        });
        InboxProcess { child, stderr }
    }
}

impl InboxProcess {
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap()).into_owned()
    }

    /// Sends a signal, waits for the end, and returns the exit code and stdout.
    pub(crate) fn end(&mut self, signal: Signal) -> (Option<i32>, String) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let mut code = None;
        eventually("the inbox ends", || {
            let status = self.child.try_wait().unwrap();
            code = status.and_then(|status| status.code());
            status.is_some()
        });
        let mut out = String::new();
        let mut pipe = self.child.stdout.take().unwrap();
        pipe.read_to_string(&mut out).unwrap();
        (code, out)
    }
}

impl Drop for InboxProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until stderr names the page's address, and returns a client for it.
pub(crate) fn announced_page(stderr: impl Fn() -> String) -> Http {
    const BEFORE: &str = " at http://";
    eventually("the page's address", || stderr().contains(BEFORE));
    let mut address = String::new();
    eventually("a whole line", || {
        let stderr = stderr();
        let (_, rest) = stderr.split_once(BEFORE).unwrap();
        let line = rest.split_once('\n').map(|(line, _)| line);
        address = line.unwrap_or_default().to_owned();
        !address.is_empty()
    });
    let (address, _) = address.split_once('/').unwrap();
    Http::at(address)
}
