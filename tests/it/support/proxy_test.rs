//! Sets up one proxy: a configuration in its own folder, flags, environment variables.
//!
//! `session` talks to the running proxy.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::session::Session;
use super::{notes_server, proxy, scripted_upstream};

/// Builder for a run of the proxy, by default around the scripted upstream.
pub(crate) struct ProxyTest {
    dir: TempDir,
    entry: Value,
    proxy_section: Value,
    config: Option<String>,
    /// What stands behind `--`, in place of a config.
    command: Option<Vec<OsString>>,
    flags: Vec<String>,
    env: Vec<(String, String)>,
    has_own_env: bool,
    cwd: Option<PathBuf>,
    log: bool,
    shell: Option<String>,
    stdin: Option<Stdio>,
    stdout: Option<Stdio>,
    reads_stderr: bool,
}

impl ProxyTest {
    pub(crate) fn new() -> ProxyTest {
        let dir = tempfile::tempdir().unwrap();
        let record = dir.path().join("record");
        ProxyTest {
            entry: json!({"command": scripted_upstream(), "args": [record]}),
            dir,
            proxy_section: json!({}),
            config: None,
            command: None,
            flags: Vec::new(),
            env: Vec::new(),
            has_own_env: false,
            cwd: None,
            log: true,
            shell: None,
            stdin: None,
            stdout: None,
            reads_stderr: true,
        }
    }

    /// A proxy around the notes server, with its notes in the test's folder `notes`.
    pub(crate) fn around_notes() -> ProxyTest {
        let mut test = ProxyTest::new();
        test.entry = json!({"command": notes_server(), "args": [test.path("notes")]});
        test
    }

    /// A file in the test's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.path("audit.jsonl")
    }

    pub(crate) fn flags<const N: usize>(mut self, flags: [&str; N]) -> ProxyTest {
        self.flags.extend(flags.map(str::to_owned));
        self
    }

    /// Adds options for the scripted upstream.
    pub(crate) fn upstream<const N: usize>(mut self, options: [&str; N]) -> ProxyTest {
        let args = self.entry["args"].as_array_mut().unwrap();
        args.extend(options.map(|option| json!(option)));
        self
    }

    /// Sets the scripted upstream's tools. A test can change them later in `tools.json`.
    pub(crate) fn tools(self, tools: &Value) -> ProxyTest {
        let file = self.path("tools.json");
        std::fs::write(&file, tools.to_string()).unwrap();
        self.upstream(["--tools", file.to_str().unwrap()])
    }

    /// Sets a member of the server's entry.
    pub(crate) fn entry(mut self, key: &str, value: Value) -> ProxyTest {
        self.entry[key] = value;
        self
    }

    pub(crate) fn rules(self, rules: Value) -> ProxyTest {
        self.entry("approvalRules", rules)
    }

    /// Sets `approvalProxy`.
    pub(crate) fn section(mut self, section: Value) -> ProxyTest {
        self.proxy_section = section;
        self
    }

    /// Sets the whole text of the configuration file.
    pub(crate) fn config(mut self, text: impl ToString) -> ProxyTest {
        self.config = Some(text.to_string());
        self
    }

    /// Guards what this command starts, without a config.
    pub(crate) fn guarding<T: Into<OsString>>(
        mut self,
        command: impl IntoIterator<Item = T>,
    ) -> ProxyTest {
        self.command = Some(command.into_iter().map(Into::into).collect());
        self
    }

    /// Guards the scripted upstream without a config, with more arguments for it.
    pub(crate) fn prefixed(self) -> ProxyTest {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut command = vec![text(&self.entry["command"])];
        command.extend(self.entry["args"].as_array().unwrap().iter().map(text));
        self.guarding(command)
    }

    /// Guards no server but that of the flags.
    pub(crate) fn without_config(self) -> ProxyTest {
        self.guarding(Vec::<OsString>::new())
    }

    /// Returns the server's entry, for configurations in other forms.
    pub(crate) fn built_entry(&self) -> Value {
        self.entry.clone()
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> ProxyTest {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The proxy gets the variables of this test and no other.
    pub(crate) fn with_only_this_env(mut self) -> ProxyTest {
        self.has_own_env = true;
        self
    }

    pub(crate) fn cwd(mut self, folder: PathBuf) -> ProxyTest {
        self.cwd = Some(folder);
        self
    }

    /// Starts the proxy without `--audit-log`.
    pub(crate) fn without_log(mut self) -> ProxyTest {
        self.log = false;
        self
    }

    /// Starts a shell that runs `before` and then becomes the proxy.
    pub(crate) fn in_shell(mut self, before: &str) -> ProxyTest {
        self.shell = Some(format!("{before} exec \"$0\" \"$@\""));
        self
    }

    pub(crate) fn stdin(mut self, stdin: impl Into<Stdio>) -> ProxyTest {
        self.stdin = Some(stdin.into());
        self
    }

    pub(crate) fn stdout(mut self, stdout: impl Into<Stdio>) -> ProxyTest {
        self.stdout = Some(stdout.into());
        self
    }

    /// A client that never reads what the proxy writes to stderr.
    pub(crate) fn unread_stderr(mut self) -> ProxyTest {
        self.reads_stderr = false;
        self
    }

    /// Starts the proxy with this command line and nothing else.
    pub(crate) fn start_with(self, arguments: &[&str]) -> Session {
        let mut command = self.program();
        command.args(arguments);
        self.spawn(command)
    }

    pub(crate) fn start(self) -> Session {
        let command = self.ready();
        self.spawn(command)
    }

    /// Returns the command that a client of the test's own starts, and the folder that it needs.
    pub(crate) fn into_command(self) -> (TempDir, Command) {
        let mut command = self.ready();
        self.set_env(&mut command);
        (self.dir, command)
    }

    /// The proxy without arguments, or the shell that becomes it.
    fn program(&self) -> Command {
        match &self.shell {
            None => Command::new(proxy()),
            Some(script) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", script]).arg(proxy());
                shell
            }
        }
    }

    fn ready(&self) -> Command {
        let config = self.path("config.json");
        let text = self.config.clone().unwrap_or_else(|| {
            json!({"mcpServers": {"box": self.entry}, "approvalProxy": self.proxy_section})
                .to_string()
        });
        std::fs::write(&config, text).unwrap();
        let mut command = self.program();
        if self.command.is_none() {
            command.arg("--upstream").arg(config);
        }
        if self.log {
            command.arg("--audit-log").arg(self.log_path());
        }
        command.args(&self.flags);
        if let Some(server) = self.command.as_ref().filter(|server| !server.is_empty()) {
            command.arg("--").args(server);
        }
        command
    }

    fn spawn(mut self, mut command: Command) -> Session {
        command
            .stdin(self.stdin.take().unwrap_or_else(Stdio::piped))
            .stdout(self.stdout.take().unwrap_or_else(Stdio::piped))
            .stderr(Stdio::piped());
        self.set_env(&mut command);
        let child = command.spawn().unwrap();
        Session::new(self.dir, child, self.reads_stderr)
    }

    fn set_env(&self, command: &mut Command) {
        if let Some(folder) = &self.cwd {
            command.current_dir(folder);
        }
        if self.has_own_env {
            command.env_clear();
        } else {
            self.usual_env(command);
        }
        command.envs(self.env.iter().cloned());
    }

    fn usual_env(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("APPROVAL_") {
                command.env_remove(name);
            }
        }
        // Most tests are about prompts in the client, and no test may touch the inbox of the person who
        // runs them
        // or depend on that person's configuration.
        command.env("APPROVAL_ENGINES", "elicitation");
        command.env("APPROVAL_STATE_DIR", self.path("state"));
        // The same for every session, since a parked question is resumed only in the same environment.
        command.env("XDG_CONFIG_HOME", "/nonexistent");
        // A test's client answers at once but stands for a person. `instant` tests clients that do not.
        command.env("APPROVAL_APPROVAL_INSTANT_DECLINE_MS", "0");
        command.env("BROWSER", "").env("DISPLAY", "");
    }
}
