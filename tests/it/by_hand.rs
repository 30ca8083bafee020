//! The proxy as newcomers run it: by hand, in a terminal, with few flags.

use std::process::{Command, Stdio};

use serde_json::json;

use super::support::{ProxyTest, Pty, Terminal, eventually, proxy};

/// A server that says when it is running, and reads its input to the end.
const READY: &str = "echo ready >&2; exec cat";

/// A folder with a configuration for such a server.
fn config() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("servers.json");
    let config = json!({"mcpServers": {"my files": {"command": "sh", "args": ["-c", READY]}}});
    std::fs::write(&path, config.to_string()).unwrap();
    (dir, path.to_str().unwrap().to_owned())
}

#[test]
fn in_a_terminal_the_proxy_shows_a_config_entry_and_how_to_stop() {
    let (dir, path) = config();
    let terminal = Terminal::at(&dir.path().join("state"));
    let mut shown = terminal.in_terminal(&["--upstream", &path]);
    shown.shows("waiting for an MCP client on stdin");
    shown.shows("Ctrl-C");
    let program = proxy().display().to_string();
    let entry = json!({"command": program, "args": ["--upstream", path]});
    shown.shows(&format!("\"my files\": {entry}"));
    // The server runs by now, in a process group of its own.
    shown.shows("[my files] ready");
    shown.types("\u{3}");
    assert_eq!(shown.exit(), Some(130), "{}", shown.shown());
    // Nothing is written that a client would read.
    assert!(!shown.shown().contains("jsonrpc"), "{}", shown.shown());
}

#[test]
fn the_proxy_shows_no_such_help_when_a_client_starts_it() {
    let mut session = ProxyTest::new().start();
    session.handshake();
    assert_eq!(session.stderr(), "");
    session.finish();
}

#[test]
fn an_error_in_a_terminal_ends_the_proxy_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = Terminal::at(&dir.path().join("state"));
    let mut shown = terminal.in_terminal(&["--upstream", "/nonexistent/config.json"]);
    let start = std::time::Instant::now();
    assert_eq!(shown.exit(), Some(3));
    assert!(start.elapsed() < std::time::Duration::from_millis(2_500));
    assert!(!shown.shown().contains("jsonrpc"), "{}", shown.shown());
}

fn out(arguments: &[&str]) -> String {
    let mut command = Command::new(proxy());
    let output = command
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn help_is_a_command_and_the_short_help_is_shorter() {
    let long = out(&["--help"]);
    assert_eq!(out(&["help"]), long);
    let short = out(&["-h"]);
    assert!(
        short.lines().count() * 3 < long.lines().count() * 2,
        "{short}"
    );
    for flag in [
        "--upstream",
        "--server",
        "--mode",
        "--allow",
        "--timeout",
        "--transport",
    ] {
        assert!(short.contains(flag), "{flag}: {short}");
    }
    assert!(short.contains("--help"), "{short}");
    for (arguments, part) in [
        (&["help", "inbox"][..], "--set-passphrase"),
        (&["help", "approvals"], "deny"),
        (&["help", "approvals", "list"], "--watch"),
        (&["approvals", "--help"], "list"),
    ] {
        assert!(out(arguments).contains(part), "{arguments:?}");
    }
}

#[test]
fn the_transport_http_means_streamable_http() {
    let mut session = ProxyTest::new()
        .flags(["--transport", "http", "--port", "0"])
        .start();
    session.stderr_says("listening on http://127.0.0.1:");
    session.signal(rustix::process::Signal::TERM);
    assert_eq!(session.exit().0, 143);
}

#[test]
fn a_slow_server_is_mentioned_once_on_stderr() {
    let entry = json!({"command": "sleep", "args": ["60"]});
    let mut session = ProxyTest::new()
        .config(json!({"mcpServers": {"box": entry}}))
        .start();
    session.request("initialize", json!({}));
    session.stderr_says("the server `box` has not answered `initialize` after 5 s");
    session.signal(rustix::process::Signal::TERM);
    session.exit();
    assert_eq!(session.stderr().matches("has not answered").count(), 1);
}

#[test]
fn suggested_commands_name_the_state_folder() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("it's mine");
    let terminal = Terminal::at(&state);
    let quoted = format!(
        "--state-dir '{}'",
        state.display().to_string().replace('\'', r"'\''")
    );
    // This command creates the folder.
    let output = terminal.run_with_stdin(&["inbox", "--show-key"], "");
    assert_eq!(output.code, Some(2), "{output:?}");
    let output = terminal.approvals(&["approve", "abcdef"]);
    assert!(
        output
            .err
            .contains(&format!("`approval-proxy approvals list {quoted}`")),
        "{output:?}"
    );
    let output = terminal.approvals(&["list"]);
    assert_eq!(
        output.out,
        format!("Nothing is waiting for you in {}.\n", state.display())
    );
    let output = terminal.approvals(&["list", "--history"]);
    assert!(output.out.contains(state.to_str().unwrap()), "{output:?}");
    let test = ProxyTest::new().section(json!({"inboxKey": format!("sha256:{}", "0".repeat(64))}));
    let mut session = test.state(&state).start();
    session.stderr_says(&format!("`approval-proxy inbox --show-key {quoted}`"));
    session.close_stdin();
    session.exit();
}

#[test]
fn an_inbox_without_a_terminal_or_browser_says_what_to_do_instead() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = Terminal::at(&dir.path().join("state"));
    let mut standing = terminal.inbox("0");
    eventually("it says how to end it", || {
        standing.stderr().contains("stop with `kill ")
    });
    let output = standing.stderr();
    assert!(!output.contains("run `approval-proxy inbox`"), "{output}");
    assert!(
        output.contains("no browser was opened because of `--no-browser`"),
        "{output}"
    );
    assert!(
        output.contains("`approval-proxy approvals list --state-dir "),
        "{output}"
    );
    standing.end(rustix::process::Signal::TERM);
    // In a terminal, the inbox shows a link.
    let mut shown = terminal.in_terminal(&["inbox", "--inbox-port", "0"]);
    shown.shows("no browser could be opened here; stop with Ctrl-C");
    shown.shows("Open this link within five minutes; it works once:");
    shown.types("\u{3}");
    assert_eq!(shown.exit(), Some(130));
}

#[test]
fn the_minimum_length_is_shown_before_a_passphrase_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = Terminal::at(&dir.path().join("state"));
    let mut shown: Pty = terminal.in_terminal(&["inbox", "--set-passphrase"]);
    shown.shows("New passphrase: ");
    assert!(
        shown
            .shown()
            .contains("A passphrase has at least 8 characters.")
    );
    shown.types("\u{3}");
    shown.exit();
}
