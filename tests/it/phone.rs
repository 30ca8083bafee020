//! docs/phone.md and examples/docker: what they tell people to write and to run is what the proxy takes.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::support::{ProxyTest, proxy};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const TOKEN: &str = "a-token-of-the-bridge-0123456789";

/// Writes a file that only we can read.
fn write_secret(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn every_configuration_of_the_page_about_phones_is_accepted() {
    let page = std::fs::read_to_string(format!("{ROOT}/docs/phone.md")).unwrap();
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".config/approval-proxy");
    std::fs::create_dir_all(&folder).unwrap();
    for (file, token) in [
        (
            "telegram.token",
            "7000000001:AAEabcdefghijklmnopqrstuvwxyz0123456",
        ),
        ("slack-bot.token", "xoxb-1-2-abc"),
        ("slack-app.token", "xapp-1-A1-2-abc"),
    ] {
        write_secret(&folder.join(file), token);
    }
    let blocks = page.split("```json\n").skip(1);
    let blocks: Vec<_> = blocks
        .filter_map(|block| block.split("```").next())
        .collect();
    assert!(blocks.len() >= 6, "{blocks:?}");
    for block in blocks {
        write_secret(&folder.join("config.json"), block);
        let mut list = Command::new(proxy());
        list.args(["engines", "list"]).env_clear();
        let listed = list.env("HOME", home.path()).output().unwrap();
        let text = [listed.stdout, listed.stderr].map(|text| String::from_utf8(text).unwrap());
        assert!(listed.status.success(), "{block}: {}", text.concat());
        // All of them ask on the phone at once.
        assert!(text.concat().contains("2. "), "{block}: {}", text.concat());
        assert!(!text.concat().contains("if elicitation fails"), "{block}");
    }
}

/// examples/docker/bridge.py on a free port.
struct Bridge {
    child: Child,
    lines: BufReader<ChildStdout>,
    address: String,
    token: tempfile::NamedTempFile,
}

impl Bridge {
    /// Returns `None` without Python.
    fn start() -> Option<Bridge> {
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(token.path(), TOKEN).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let mut command = Bridge::command(&address, token.path());
        let bridge = format!("{ROOT}/examples/docker/bridge.py");
        let mut child = command
            .args(["-u", &bridge])
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let lines = BufReader::new(child.stdout.take().unwrap());
        Some(Bridge {
            child,
            lines,
            address,
            token,
        })
    }

    fn command(address: &str, token: &Path) -> Command {
        let mut command = Command::new("python3");
        command
            .env("BRIDGE_ADDRESS", address)
            .env("BRIDGE_TOKEN_FILE", token);
        command
    }

    /// Waits for a question. Returns its id, and what is shown of it.
    fn question(&mut self) -> (String, String) {
        let mut shown = String::new();
        loop {
            let before = shown.len();
            assert!(self.lines.read_line(&mut shown).unwrap() > 0, "{shown}");
            if let Some((_, end)) = shown[before..].split_once("answer: bridge.py yes ") {
                return (end.split(',').next().unwrap().to_owned(), shown);
            }
        }
    }

    /// Runs it as README.md says.
    fn run(&self, arguments: &[&str]) -> bool {
        let mut command = Bridge::command(&self.address, self.token.path());
        let bridge = format!("{ROOT}/examples/docker/bridge.py");
        let ran = command.arg(bridge).args(arguments).status().unwrap();
        ran.success()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn the_example_with_docker_asks_through_its_bridge() {
    let Some(mut bridge) = Bridge::start() else {
        return;
    };
    let text = std::fs::read_to_string(format!("{ROOT}/examples/docker/config.json")).unwrap();
    let example: Value = serde_json::from_str(&text).unwrap();
    let mut section = example["approvalProxy"].clone();
    let token = bridge.token.path().to_str().unwrap();
    section["approvalAuthTokenFile"] = json!(token);
    section["approvalAllowedHosts"] = json!(["127.0.0.1"]);
    let url = format!("http://{}", bridge.address);
    let test = ProxyTest::with_inbox().env("NANOCLAW_APPROVALS_URL", &url);
    let mut session = test.section(section).start_without_elicitation();
    let id = session.call("wipe", json!({"mark": "mark-one"}));
    let (question, shown) = bridge.question();
    assert!(shown.contains("mark-one"), "{shown}");
    assert!(!bridge.run(&["yes", "00000000"]));
    assert!(bridge.run(&["yes", &question]));
    session.expect_ran(id);
    assert_eq!(session.decisions().pop().unwrap()["engine"], "whatsapp");
    // It counts once.
    assert!(!bridge.run(&["yes", &question]));
    let id = session.call("wipe", json!({"mark": "mark-two"}));
    let (question, _) = bridge.question();
    assert!(bridge.run(&["no", &question]));
    session.refusal(id);
    assert_eq!(session.runs_of("wipe"), 1);
}

#[test]
fn the_example_with_docker_starts_the_proxy_with_flags_that_it_has() {
    let compose = std::fs::read_to_string(format!("{ROOT}/examples/docker/compose.yaml")).unwrap();
    let flags = compose
        .lines()
        .filter_map(|line| line.strip_prefix("      - --"));
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("client.token");
    write_secret(&token, TOKEN);
    let arguments: Vec<String> = flags
        .map(|flag| match flag.split_once('=') {
            Some(("host", "0.0.0.0")) => "--host=127.0.0.1".to_owned(),
            Some(("port", "8765")) => "--port=0".to_owned(),
            Some(("auth-token-file", "/run/secrets/client_token")) => {
                format!("--auth-token-file={}", token.display())
            }
            _ => format!("--{flag}"),
        })
        .collect();
    assert!(arguments.len() >= 7, "{arguments:?}");
    let mut command = Command::new(proxy());
    command.args(&arguments).env_clear().stderr(Stdio::piped());
    command.env("APPROVAL_STATE_DIR", folder.path().join("state"));
    command.env("APPROVAL_DEFAULT_TIMEOUT", "300");
    command.env("APPROVAL_DRY_RUN", "false");
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    lines.read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.contains("listening on http://127.0.0.1:"), "{line}");
}
