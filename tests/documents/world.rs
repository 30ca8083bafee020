//! A temporary home folder for one document, with the proxy and a stand-in for the example server.
//!
//! It also replaces what differs on this machine from what a document shows, such as paths, ids and times.

use std::env::split_paths;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use trycmd::TestCases;

use crate::agent::Agent;
use crate::eventually;
use crate::page::{Block, Page};
use crate::pty::Pty;

/// The programs that the documents may start.
pub(crate) const PROGRAMS: [&str; 3] = ["approval-proxy", "mkdir", "grep"];

/// The home folder and the program in the documents.
const HOME: &str = "/home/me";
const PROGRAM: &str = "/home/me/.cargo/bin/approval-proxy";

/// The path of the program under test, and what trycmd shows in its place.
const BUILT: &str = env!("CARGO_BIN_EXE_approval-proxy");
const SHORT: &str = "[PROGRAM]";
/// The ids of the two waiting calls in the documents.
const IDS: [&str; 2] = ["3f2a91c0", "c04d5e17"];
/// The columns AGE and LEFT of a list lie between these two.
const BEFORE_TIMES: usize = 30;
const AFTER_TIMES: usize = 46;

/// What `clients` writes in front of a time.
const CONNECTED: &str = "last connected ";
/// Claude Code's file in the home folder.
pub(crate) const CLAUDE_CODE: &str = ".claude.json";

/// Returns what `claude mcp add --scope user` writes.
pub(crate) fn claude_code() -> Value {
    let words = [
        "-y",
        "@modelcontextprotocol/server-filesystem",
        "/home/me/work",
    ];
    let entry = json!({"type": "stdio", "command": "npx", "args": words, "env": {}});
    json!({"mcpServers": {"filesystem": entry}})
}

/// The machine of a document's reader.
pub(crate) struct World {
    dir: TempDir,
    ids: Vec<String>,
}

impl World {
    pub(crate) fn new() -> World {
        let world = World {
            dir: tempfile::tempdir().unwrap(),
            ids: Vec::new(),
        };
        for folder in [world.home(), world.programs()] {
            fs::create_dir(folder).unwrap();
        }
        // Uses no variables, files or browser of the user who runs the tests.
        let clean = format!(
            "exec env -i HOME='{}' PATH='{}:/usr/bin:/bin' BROWSER=true '{}' \"$@\"",
            world.home().display(),
            world.programs().display(),
            BUILT,
        );
        world.add_program("approval-proxy", &clean);
        // With the real server's hints.
        let destroys = json!({"readOnlyHint": false, "destructiveHint": true});
        let adds = json!({"readOnlyHint": false, "destructiveHint": false});
        let tools = json!([
            {"name": "write_file", "description": "Create a new file.", "inputSchema": {"type": "object"}, "annotations": destroys},
            {"name": "move_file", "description": "Move a file.", "inputSchema": {"type": "object"}, "annotations": destroys},
            {"name": "create_directory", "description": "Create a directory.", "inputSchema": {"type": "object"}, "annotations": adds},
        ]);
        // The real server would have to be downloaded.
        world.server("npx", &tools);
        world
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn programs(&self) -> PathBuf {
        self.dir.path().join("bin")
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs().join(name)
    }

    fn add_program(&self, name: &str, script: &str) -> PathBuf {
        let path = self.program(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Creates an MCP server that lists these tools and answers every call with `done`.
    pub(crate) fn server(&self, name: &str, tools: &Value) -> PathBuf {
        self.add_program(name, &SERVER.replace("TOOLS", &tools.to_string()))
    }

    /// Writes a configuration file to the home folder.
    pub(crate) fn write(&self, file: &str, configuration: &Value) {
        self.write_text(file, &serde_json::to_string_pretty(configuration).unwrap());
    }

    /// Writes a text of a document to the home folder. Returns it as it is on this machine.
    pub(crate) fn write_text(&self, file: &str, text: &str) -> String {
        let text = text.replace(HOME, self.home().to_str().unwrap());
        let path = self.home().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &text).unwrap();
        text
    }

    /// Returns a file of the home folder.
    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.home().join(file)).unwrap()
    }

    /// Writes Claude Code's file as `claude mcp add` does, and guards its server.
    pub(crate) fn guards_claude_code(&self) {
        self.write(CLAUDE_CODE, &claude_code());
        let wrap = ["wrap", "claude-code", "--write"];
        let mut wrapped = Command::new(self.program("approval-proxy"));
        assert!(wrapped.args(wrap).output().unwrap().status.success());
    }

    /// Returns the arguments of the call that the documents show.
    pub(crate) fn write_file(&self) -> String {
        let home = self.home();
        let home = home.display();
        format!(r#"{{"path":"{home}/work/plan.md","content":"Ask Ada about the budget."}}"#)
    }

    /// Starts the proxy as the guarded entry of Claude Code says, for an agent without elicitation.
    pub(crate) fn agent(&self) -> Agent {
        let file: Value = serde_json::from_str(&self.read(CLAUDE_CODE)).unwrap();
        let entry = &file["mcpServers"]["filesystem"];
        assert_eq!(entry["command"], BUILT);
        let arguments = entry["args"].as_array().unwrap().iter();
        let arguments: Vec<&str> = arguments.map(|it| it.as_str().unwrap()).collect();
        Agent::start(self, &arguments, &json!({}))
    }

    /// Starts the proxy likewise, and makes two calls that wait in the inbox.
    pub(crate) fn two_calls_wait(&mut self) -> Agent {
        let mut agent = self.agent();
        let draft = r#"{"source":"draft.md","destination":"old.md"}"#.to_owned();
        for (id, tool, arguments) in [
            (1, "write_file", self.write_file()),
            (2, "move_file", draft),
        ] {
            agent.calls(id, tool, &arguments);
            self.ids.push(self.waits(tool));
        }
        agent
    }

    /// Waits for a tool's item in the inbox and returns its id.
    fn waits(&self, tool: &str) -> String {
        let mut id = None;
        eventually(tool, || {
            let list = ["approvals", "list", "--json"];
            let listed = Command::new(self.program("approval-proxy"))
                .args(list)
                .output()
                .unwrap();
            let items: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap();
            id = items
                .iter()
                .find(|it| it["tool"] == tool)
                .map(|it| it["id"].as_str().unwrap().to_owned());
            thread::sleep(Duration::from_millis(20));
            id.is_some()
        });
        id.unwrap()
    }

    /// Runs a block with trycmd.
    pub(crate) fn runs(&self, page: &Page, block: &Block) {
        let file = self.dir.path().join(format!("{}.md", page.name));
        let mut text = String::new();
        for line in block.text.lines() {
            // trycmd expects a blank line where output ends with a newline.
            if line.starts_with("$ ") && !text.is_empty() {
                text.push('\n');
            }
            text += &(self.here(line).replace(BUILT, SHORT) + "\n");
        }
        if block.text.lines().count() > block.commands().len() {
            text.push('\n');
        }
        // Keeps the line numbers of the document in trycmd's messages.
        let above = "\n".repeat(block.line - 1);
        fs::write(&file, format!("{above}```console\n{text}```\n")).unwrap();
        let cases = TestCases::new();
        // Before trycmd writes `[CWD]` for a part of this path.
        cases.insert_var(SHORT, BUILT).unwrap();
        for name in PROGRAMS {
            let own = self.program(name);
            let path = if own.exists() { own } else { found(name) };
            cases.register_bin(name, &*path);
        }
        cases.timeout(crate::DEADLINE).case(&file).run();
    }

    /// Runs the block's command in a terminal, answers its questions, and waits for all that the block shows. If `code`
    /// is 130, ends the command with Ctrl-C.
    pub(crate) fn in_terminal(&self, block: &Block, typed: &[(&str, &str)], code: Option<i32>) {
        let command = self.here(&format!("$ {}", block.command()));
        let mut words = command.split_whitespace().skip(1);
        let mut terminal =
            Pty::start(Command::new(self.program(words.next().unwrap())).args(words));
        for (asked, answer) in typed {
            terminal.shows(asked);
            eventually("the terminal hides input", || !terminal.echoes());
            terminal.types(&format!("{answer}\n"));
        }
        for line in block.text.lines().skip(1) {
            // Matches any port, and any text where the document has an ellipsis.
            let line = self.here(line).replace("8766", "…").replace("[..]", "…");
            let parts: Vec<&str> = line.split('…').collect();
            eventually(&line, || {
                let shown = terminal.shown();
                let mut rest = Some(&*shown);
                for part in &parts {
                    rest = rest
                        .and_then(|rest| rest.split_once(part))
                        .map(|(_, rest)| rest);
                }
                rest.is_some()
            });
        }
        if code == Some(130) {
            // Before its program runs, a server would get the signal itself.
            if block.mentions(" -- ") {
                terminal.shows(RUNS);
            }
            terminal.types("\u{3}");
        }
        assert_eq!(terminal.exit(), code, "{}", terminal.shown());
    }

    /// Returns a document's line as it looks on this machine.
    fn here(&self, line: &str) -> String {
        let home = self.home();
        let home = home.to_str().unwrap();
        let mut line = match line.starts_with("$ ") {
            // As the reader's shell expands it.
            true => line.replace(" ~/", &format!(" {home}/")),
            false => line.replace("sha256:…", "sha256:[..]"),
        };
        if let Some((before, _)) = line.split_once(CONNECTED) {
            line = format!("{before}{CONNECTED}[..]");
        }
        let is_row = IDS.iter().any(|id| line.starts_with(id));
        if is_row {
            line = format!("{}[..]{}", &line[..BEFORE_TIMES], &line[AFTER_TIMES..]);
        }
        for (written, id) in IDS.iter().zip(&self.ids) {
            line = line
                .replace(written, &id[..8])
                .replace(&written[..4], &id[..4]);
        }
        line.replace(PROGRAM, BUILT).replace(HOME, home).replace(
            "approval-proxy 0.1.0",
            concat!("approval-proxy ", env!("CARGO_PKG_VERSION")),
        )
    }
}

/// Finds a program in `PATH`.
fn found(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let candidates = split_paths(&path).map(|folder| folder.join(name));
    candidates
        .into_iter()
        .find(|path| Path::is_file(path))
        .expect(name)
}

/// What the server writes to stderr when it runs.
const RUNS: &str = "the server runs";
/// A server that needs only a shell. It answers every request.
const SERVER: &str = r#"
echo "the server runs" >&2
while IFS= read -r line; do
  case $line in *'"id":'*) ;; *) continue ;; esac
  id=${line#*'"id":'}
  id=${id%%[,\}]*}
  case $line in
  *'"method":"initialize"'*)
    result='{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"files","version":"1"}}' ;;
  *'"method":"tools/list"'*)
    result='{"tools":TOOLS}' ;;
  *)
    result='{"content":[{"type":"text","text":"done"}]}' ;;
  esac
  printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$result"
done"#;
