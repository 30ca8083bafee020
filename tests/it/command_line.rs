//! contract.md, "Command line": what works without a session, and the exit codes.

use std::process::{Command, Output, Stdio};

use serde_json::json;

use super::support::{ProxyTest, Session, proxy};

/// Runs the proxy with these arguments and no stdin.
fn run<const N: usize>(arguments: [&str; N]) -> Output {
    let mut command = Command::new(proxy());
    command.args(arguments).stdin(Stdio::null());
    command.output().unwrap()
}

/// Returns the exit code and the error of a run that fails before it relays anything.
fn fails(mut session: Session) -> (i32, String) {
    // `start_errors` tests the error that a client gets if it does not close.
    session.close_stdin();
    let (code, _) = session.exit();
    assert_eq!(session.rest(), Vec::<serde_json::Value>::new());
    session.stderr_says("\n");
    (code, one_readable_line(&session.stderr()))
}

fn one_readable_line(stderr: &str) -> String {
    let line = stderr.strip_suffix('\n').expect("a whole line");
    assert!(!line.contains(['\n', '\r', '\u{1b}']), "{stderr}");
    assert!(line.starts_with("approval-proxy: error: "), "{stderr}");
    for trace in ["panicked", "backtrace", "src/", "Error {", "Some("] {
        assert!(!line.contains(trace), "{stderr}");
    }
    line.to_owned()
}

// contract.md, "Command line": "`--version` and `--help` work without a config."
#[test]
fn version_and_help_work_without_a_config() {
    let version = run(["--version"]);
    assert_eq!(version.status.code(), Some(0));
    let expected = format!("approval-proxy {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(version.stdout).unwrap(), expected);
    assert_eq!(run(["-V"]).status.code(), Some(0));

    let help = run(["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(help.stderr.is_empty());
    let text = String::from_utf8(help.stdout).unwrap();
    for flag in [
        "-u, --upstream",
        "-s, --server",
        "-m, --mode",
        "--allow",
        "--deny",
        "--timeout",
        "--timeout-action",
        "--approve-ttl",
        "--explain",
        "--high-risk-double-confirm",
        "--dry-run",
        "--audit-log",
        "--audit-best-effort",
        "--max-message-size",
        "--max-pending",
        "--transport",
        "--host",
        "--port",
        "--auth-token-file",
        "--insecure-no-auth",
        "--approval-retry-attempts",
        "--approval-retry-backoff",
        "--approval-retry-max-backoff",
        "--approval-retry-multiplier",
        "--approval-dedupe-key-fields",
        "--approval-dedupe-arg-keys",
        "--version",
        "--help",
    ] {
        assert!(text.contains(flag), "{flag}");
    }
    for code in ["0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "6 ", "128+N"] {
        assert!(text.contains(&format!("\n  {code}")), "exit code {code}");
    }
}

// contract.md, "Command line": "a documented non-zero code per kind of failure (bad usage, […]
// Errors are one readable line on stderr, never a panic or a trace."
#[test]
fn bad_usage_ends_with_2() {
    let cases: [(&[&str], &str); 12] = [
        (&[], "--upstream"),
        (&["--upstream"], "--upstream"),
        (&["--upstream", "x", "--no-such-flag"], "--no-such-flag"),
        (&["--upstream", "x", "stray"], "stray"),
        (&["--upstream", "x", "--mode", "some"], "destructive"),
        (&["--upstream", "x", "--timeout", "-1"], "--timeout"),
        (&["--upstream", "x", "--timeout", "soon"], "--timeout"),
        (&["--upstream", "x", "--timeout-action", "maybe"], "approve"),
        (&["--upstream", "x", "--max-pending", "0"], "--max-pending"),
        (
            &["--upstream", "x", "--max-message-size", "1 banana"],
            "--max-message-size",
        ),
        (&["--upstream", "x", "--allow", "a[b"], "a[b"),
        (
            &[
                "--upstream",
                "x",
                "--server",
                "\u{1b}[2J\n",
                "--mode",
                "\u{1b}[2J\n",
            ],
            "--mode",
        ),
    ];
    for (arguments, part) in cases {
        let output = Command::new(proxy())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        let line = one_readable_line(&String::from_utf8(output.stderr).unwrap());
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn a_bad_config_ends_with_3() {
    let missing = run(["--upstream", "/nonexistent/config.json"]);
    assert_eq!(missing.status.code(), Some(3));
    let line = one_readable_line(&String::from_utf8(missing.stderr).unwrap());
    assert!(line.contains("/nonexistent/config.json"), "{line}");

    let server = json!({"command": "true"});
    let rules = |rules: serde_json::Value| {
        json!({"mcpServers": {"a": {"command": "true", "approvalRules": rules}}}).to_string()
    };
    for (config, part) in [
        // contract.md, "Configuration": "A file that is not JSON: error with line and column."
        (
            "{\n  \"mcpServers\": {,\n".to_owned(),
            "config.json:2:18: not JSON",
        ),
        (String::new(), ":1:"),
        ("{}".to_owned(), "mcpServers"),
        (json!({"mcpServers": {}}).to_string(), "no server"),
        // contract.md, "Configuration": "an unknown key is an error with the nearest known key".
        (rules(json!({"alwaysAlow": []})), "alwaysAllow"),
        (
            json!({"mcpServers": {"a": server}, "approvalProxy": {"dryrun": true}}).to_string(),
            "dryRun",
        ),
        // contract.md, "Configuration": "so is a wrong type, a bad enum, a negative number, a bad glob".
        (
            rules(json!({"alwaysAllow": 7})),
            "/mcpServers/a/approvalRules/alwaysAllow",
        ),
        (
            rules(json!({"mode": "careful"})),
            "/mcpServers/a/approvalRules/mode",
        ),
        (
            rules(json!({"timeout": -1})),
            "/mcpServers/a/approvalRules/timeout",
        ),
        (
            rules(json!({"denyPatterns": ["a[z"]})),
            "/mcpServers/a/approvalRules/denyPatterns/0",
        ),
        // contract.md, "Configuration": "an unset variable without a default is an error that names it".
        (
            json!({"command": "${NO_SUCH_VARIABLE_HERE}"}).to_string(),
            "NO_SUCH_VARIABLE_HERE",
        ),
        (
            json!({"mcpServers": {"a": {"url": "example.com/mcp"}}}).to_string(),
            "/mcpServers/a/url",
        ),
    ] {
        let (code, line) = fails(ProxyTest::new().config(&config).start());
        assert_eq!(code, 3, "{config}: {line}");
        assert!(line.contains(part), "{config}: {line}");
    }
}

#[test]
fn an_unknown_transport_is_bad_usage() {
    let mut session = ProxyTest::new().flags(["--transport", "stdio"]).start();
    session.handshake();
    session.finish();
    let pigeon = ProxyTest::new().flags(["--transport", "carrier-pigeon"]);
    let (code, _) = fails(pigeon.start());
    assert_eq!(code, 2);
}

// contract.md, "Command line": "other machines can connect only with `--auth-token-file`,
// `APPROVAL_AUTH_TOKEN` or `--insecure-no-auth`."
#[test]
fn other_machines_are_not_let_in_by_accident() {
    let flags = ["--transport", "streamable-http", "--host", "0.0.0.0"];
    let (code, line) = fails(ProxyTest::new().flags(flags).start());
    assert_eq!(code, 3);
    assert!(line.contains("--auth-token-file"), "{line}");
}

#[test]
fn flags_without_effect_are_warned_about() {
    let mut session = ProxyTest::new()
        .flags(["--port", "9000", "--host", "127.0.0.1"])
        .start();
    session.handshake();
    for part in ["--port", "--host"] {
        session.stderr_says(part);
    }
    session.finish();
}

#[test]
fn an_upstream_that_cannot_start_ends_with_4() {
    for command in [
        "no-such-program-anywhere",
        "/nonexistent/program",
        "/etc/passwd",
        "/",
    ] {
        let (code, line) = fails(ProxyTest::new().entry("command", json!(command)).start());
        assert_eq!(code, 4, "{line}");
        assert!(line.contains(command) && line.contains("box"), "{line}");
    }
    let url = json!({"mcpServers": {"box": {"url": "http://127.0.0.1:1/sse"}}});
    let mut session = ProxyTest::new().config(url).start();
    assert_eq!(session.exit().0, 4);
    session.stderr_says("cannot be reached; check its URL");
    let test = ProxyTest::new().entry("cwd", json!("/nonexistent/folder"));
    let (code, line) = fails(test.start());
    assert_eq!(code, 4, "{line}");
    assert!(line.contains("`cwd`"), "{line}");
}

#[test]
fn an_upstream_that_exits_before_it_sends_anything_ends_with_4() {
    let mut session = ProxyTest::new().upstream(["--exit", "3"]).start();
    let (code, _) = session.exit();
    assert_eq!(code, 4);
    session.stderr_says("status 3");
    // contract.md, "Processes": "The upstream's stderr goes to stderr."
    session.stderr_says("scripted_upstream: exits at once\n");
}

#[test]
fn an_audit_log_that_cannot_be_opened_ends_with_5() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("no/such/folder/audit.jsonl");
    for path in [
        missing.to_str().unwrap(),
        folder.path().to_str().unwrap(),
        "/dev/null",
        "/dev/full",
    ] {
        let test = ProxyTest::new().without_log().flags(["--audit-log", path]);
        let session = test.start();
        let record = session.path("record");
        let (code, line) = fails(session);
        assert_eq!(code, 5, "{line}");
        assert!(line.contains(path), "{line}");
        assert!(!record.exists(), "the server was started");
    }
}

#[test]
fn an_upstream_that_dies_ends_with_6() {
    let mut session = ProxyTest::new().start();
    session.handshake();
    session.notify("script", json!({"do": "exit", "code": 9}));
    let (code, _) = session.exit();
    assert_eq!(code, 6);
    session.stderr_says("status 9");
    assert_eq!(session.stderr().matches("error:").count(), 1);
}

#[test]
fn a_system_without_resources_ends_with_1_and_one_line() {
    let few_files = "exec 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-; ulimit -n 4;";
    let (code, line) = fails(ProxyTest::new().without_log().in_shell(few_files).start());
    assert_eq!(code, 1, "{line}");
}

// contract.md, "Command line": "If there are several and none is named, the first that is not disabled
// is used, and a warning on stderr names the choice."
#[test]
fn of_several_servers_the_first_is_used_and_named() {
    let test = ProxyTest::new();
    let entry = test.built_entry();
    let other = json!({"command": "no-such-program-anywhere"});
    let config = format!(r#"{{"mcpServers": {{"zeta": {entry}, "alpha": {other}}}}}"#);
    let mut session = test.config(config).start();
    session.handshake();
    session.passes("read", json!({}));
    assert_eq!(session.decision("read")["server"], "zeta");
    session.stderr_says("warning");
    assert!(
        session.stderr().contains("using `zeta`"),
        "{}",
        session.stderr()
    );
    session.finish();
}

// contract.md, "Command line": "An unknown name is an error that lists the names."
#[test]
fn a_server_is_chosen_by_name_and_an_unknown_one_is_an_error_that_lists_the_names() {
    let start = |flag: &str, name: &str| {
        let test = ProxyTest::new();
        let entry = test.built_entry();
        let other = json!({"command": "no-such-program-anywhere"});
        let config = json!({"mcpServers": {"alpha": other, "zeta": entry}});
        test.config(config).flags([flag, name]).start()
    };
    for flag in ["--server", "-s"] {
        let mut session = start(flag, "zeta");
        session.handshake();
        assert_eq!(session.stderr(), "");
        session.finish();
    }
    let (code, line) = fails(start("--server", "omega"));
    assert_eq!(code, 3);
    for name in ["`omega`", "`alpha`", "`zeta`"] {
        assert!(line.contains(name), "{line}");
    }
}

#[test]
fn help_does_not_panic_when_its_reader_has_gone() {
    for flag in ["--help", "--version"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_approval-proxy"))
            .arg(flag)
            .stdout(writer)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

// A program that prints a banner and exits was not a server, so it "could not start".
#[test]
fn a_program_that_is_not_a_server_ends_with_4() {
    let mut session = ProxyTest::new()
        .config(json!({"mcpServers": {"u": {"command": "echo", "args": ["hello"]}}}))
        .start();
    assert_eq!(session.exit().0, 4);
}
