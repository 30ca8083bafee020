//! Errors that stop a start, as the client sees them: the answer to its first request.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{ProxyTest, Session, proxy};

/// Longer than any start takes, and shorter than the wait for a silent client's first request.
const SOON: Duration = Duration::from_millis(2_500);

fn initialize(session: &mut Session) -> u64 {
    let client = json!({"name": "test", "version": "0"});
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
    session.request("initialize", params)
}

/// Returns the exit code and the error. The client must get nothing but this error, under its request's id.
fn start_error(session: &mut Session, id: u64) -> (i32, String) {
    let answer = session.next();
    assert_eq!(answer["id"], id, "{answer}");
    assert_eq!(answer["error"]["code"], -32603, "{answer}");
    let (code, _) = session.exit();
    assert_eq!(session.rest(), Vec::<Value>::new());
    let text = answer["error"]["message"].as_str().unwrap();
    assert!(!text.contains(['\u{1b}', '\n']), "{text}");
    (code, text.to_owned())
}

/// Starts the proxy with exactly these arguments.
fn with_arguments(arguments: &[&str]) -> Session {
    ProxyTest::new().start_with(arguments)
}

/// Starts a proxy.
type Start = Box<dyn FnOnce() -> Session>;

/// Every error of a start: a name, how to cause it, the exit code, and words of the error.
fn failures() -> Vec<(&'static str, Start, i32, &'static [&'static str])> {
    let rules = json!({"command": "true", "approvalRules": {"mode": "careful"}});
    let missing = tempfile::tempdir().unwrap().path().join("no/audit.jsonl");
    let key = format!("sha256:{}", "0".repeat(64));
    let url = "http://user:pa55word@127.0.0.1:1/mcp?key=s3cret-value";
    let config = |entry: Value| ProxyTest::new().config(json!({"mcpServers": {"box": entry}}));
    vec![
        (
            "no file named",
            Box::new(move || with_arguments(&[])),
            2,
            &["--upstream"],
        ),
        (
            "an unknown flag",
            Box::new(move || with_arguments(&["-u", "x", "--nope"])),
            2,
            &["--nope"],
        ),
        (
            "a bad value",
            Box::new(move || with_arguments(&["-u", "x", "-m", "some"])),
            2,
            &["some"],
        ),
        (
            "no such file",
            Box::new(move || with_arguments(&["--upstream", "/nonexistent/config.json"])),
            3,
            &["/nonexistent/config.json", "cannot read"],
        ),
        (
            "not JSON",
            Box::new(move || ProxyTest::new().config("{\n  \"mcpServers\": {,\n").start()),
            3,
            &["config.json:2"],
        ),
        (
            "no servers",
            Box::new(move || ProxyTest::new().config("{}").start()),
            3,
            &["mcpServers"],
        ),
        (
            "a bad value in the file",
            Box::new(move || config(rules).start()),
            3,
            &["approvalRules/mode"],
        ),
        (
            "an unknown server",
            Box::new(move || {
                config(json!({"command": "true"}))
                    .flags(["--server", "omega"])
                    .start()
            }),
            3,
            &["omega", "`box`"],
        ),
        (
            "a bad variable of ours",
            Box::new(move || {
                config(json!({"command": "true"}))
                    .env("APPROVAL_TIMEOUT", "soon")
                    .start()
            }),
            3,
            &["APPROVAL_TIMEOUT"],
        ),
        (
            "another key of the inbox",
            Box::new(move || ProxyTest::new().section(json!({"inboxKey": key})).start()),
            3,
            &["inboxKey", "no passphrase is set"],
        ),
        (
            "no such program",
            Box::new(move || config(json!({"command": "no-such-program"})).start()),
            4,
            &["`box`", "no-such-program"],
        ),
        (
            "no such folder",
            Box::new(move || {
                config(json!({"command": "true", "cwd": "/nonexistent/folder"})).start()
            }),
            4,
            &["`box`", "/nonexistent/folder"],
        ),
        (
            "the proxy itself",
            Box::new(move || config(json!({"command": proxy()})).start()),
            4,
            &["`box`", "approval-proxy itself"],
        ),
        (
            "an audit log that cannot be opened",
            Box::new(move || {
                ProxyTest::new()
                    .without_log()
                    .flags(["--audit-log", missing.to_str().unwrap()])
                    .start()
            }),
            5,
            &["no/audit.jsonl"],
        ),
        (
            "a server that ends at once",
            Box::new(move || ProxyTest::new().upstream(["--exit", "3"]).start()),
            4,
            &["`box`", "status 3", "scripted_upstream: exits at once"],
        ),
        (
            "the same, with audit lines on stderr",
            Box::new(move || {
                ProxyTest::new()
                    .without_log()
                    .upstream(["--exit", "3"])
                    .start()
            }),
            4,
            &["`box`", "status 3", "scripted_upstream: exits at once"],
        ),
        (
            "an unreachable server that speaks HTTP+SSE",
            Box::new(move || config(json!({"url": url, "type": "sse"})).start()),
            4,
            &["`box`", "http://127.0.0.1:1/mcp?…", "cannot be reached"],
        ),
        (
            "too few files",
            Box::new(move || {
                ProxyTest::new()
                    .without_log()
                    .in_shell("exec 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-; ulimit -n 4;")
                    .start()
            }),
            1,
            &["the system refused"],
        ),
    ]
}

#[test]
fn every_startup_error_is_the_answer_to_initialize() {
    for (name, start, expected, words) in failures() {
        let mut session = start();
        let id = initialize(&mut session);
        let (code, text) = start_error(&mut session, id);
        assert_eq!(code, expected, "{name}: {text}");
        for word in words {
            assert!(text.contains(word), "{name}: {text}");
            // stderr must say the same.
            session.stderr_says(word);
        }
        assert!(
            !text.contains("pa55word") && !text.contains("s3cret"),
            "{name}: {text}"
        );
        assert!(
            !session.stderr().contains("pa55word"),
            "{name}: {}",
            session.stderr()
        );
    }
}

#[test]
fn a_stateless_client_gets_the_startup_error_too() {
    let requests = [
        (
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
            json!(1),
        ),
        (
            json!({"jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": {}}),
            json!("a"),
        ),
    ];
    for (request, id) in requests {
        for mut session in [
            with_arguments(&["--upstream", "/nonexistent/config.json"]),
            ProxyTest::new().upstream(["--exit", "3"]).start(),
        ] {
            session.send(&request);
            let answer = session.next();
            assert_eq!(answer["id"], id, "{answer}");
            assert!(answer["error"]["message"].as_str().is_some(), "{answer}");
            session.exit();
            assert_eq!(session.rest(), Vec::<Value>::new());
        }
    }
}

// The SDKs' `Client` takes an error to `server/discover` as a sign of a legacy server, and shows people
// only the error to `initialize`.
#[test]
fn a_client_that_sends_discover_first_gets_the_error_twice() {
    for mut session in [
        with_arguments(&["--upstream", "/nonexistent/config.json"]),
        ProxyTest::new().upstream(["--exit", "3"]).start(),
    ] {
        let id = session.request("server/discover", json!({}));
        let answer = session.response(id);
        assert!(answer["error"]["message"].is_string(), "{answer}");
        let id = initialize(&mut session);
        start_error(&mut session, id);
    }
}

#[test]
fn a_client_that_sends_nothing_or_leaves_does_not_keep_the_process_running() {
    let mut silent = with_arguments(&["--upstream", "/nonexistent/config.json"]);
    let (code, took) = silent.exit();
    assert_eq!(code, 3);
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert_eq!(silent.rest(), Vec::<Value>::new());
    for mut gone in [
        with_arguments(&["--upstream", "/nonexistent/config.json"]),
        ProxyTest::new().upstream(["--exit", "3"]).start(),
    ] {
        gone.close_stdin();
        let (_, took) = gone.exit();
        assert!(took < SOON, "{took:?}");
        assert_eq!(gone.rest(), Vec::<Value>::new());
    }
}

#[test]
fn a_signal_ends_a_process_that_waits_for_the_first_request() {
    let mut session = with_arguments(&["--upstream", "/nonexistent/config.json"]);
    session.stderr_says("cannot read this config file");
    session.signal(rustix::process::Signal::TERM);
    let (code, took) = session.exit();
    assert_eq!(code, -15);
    assert!(took < SOON, "{took:?}");
}

#[test]
fn a_signal_ends_a_process_whose_server_has_exited() {
    let mut session = ProxyTest::new().upstream(["--exit", "3"]).start();
    session.stderr_says("exits at once");
    session.signal(rustix::process::Signal::TERM);
    let (_, took) = session.exit();
    assert!(took < SOON, "{took:?}");
}

#[test]
fn commands_that_do_not_speak_mcp_answer_nothing() {
    for arguments in [
        &[
            "--upstream",
            "/nonexistent/config.json",
            "--transport",
            "sse",
        ][..],
        &["--transport", "http", "--nope"],
        &["inbox", "--nope"],
        &["approvals", "list", "--state-dir", "/nonexistent/state"],
        &["approvals"],
    ] {
        let mut session = with_arguments(arguments);
        let (code, took) = session.exit();
        assert!(code == 2 || code == 3, "{arguments:?}: {code}");
        assert!(took < SOON, "{arguments:?}: {took:?}");
        assert_eq!(session.rest(), Vec::<Value>::new());
    }
}

#[test]
fn the_error_quotes_the_end_of_the_servers_stderr_without_secrets() {
    let script = "printf '\\033[31mbad key %s\\033[0m\\n' `printenv API_KEY` >&2; echo 'second line' >&2; exit 1";
    let entry = json!({
        "command": "sh", "args": ["-c", script], "env": {"API_KEY": "very-s3cret-value"},
    });
    let mut session = ProxyTest::new()
        .config(json!({"mcpServers": {"box": entry}}))
        .start();
    let id = initialize(&mut session);
    let (code, text) = start_error(&mut session, id);
    assert_eq!(code, 4);
    assert!(text.contains("bad key [hidden] | second line"), "{text}");
}

// A banner or a log message is not an answer to `initialize`.
#[test]
fn the_error_says_why_a_server_died_before_it_answered_initialize() {
    let script = "read -r line; echo '{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\
                  \"params\":{\"level\":\"info\",\"data\":\"hello\"}}'; echo 'no licence found' >&2; exit 7";
    let entry = json!({"command": "sh", "args": ["-c", script]});
    let mut session = ProxyTest::new()
        .config(json!({"mcpServers": {"box": entry}}))
        .start();
    let id = initialize(&mut session);
    let answer = session.response(id);
    let text = answer["error"]["message"].as_str().unwrap();
    assert!(
        text.contains("status 7") && text.contains("no licence found"),
        "{text}"
    );
    assert_eq!(session.exit().0, 6);
}

#[test]
fn the_error_names_the_url_of_an_unreachable_server() {
    let url = "http://user:pa55word@127.0.0.1:1/mcp?key=s3cret-value";
    let config = json!({"mcpServers": {"box": {"url": url}}});
    let mut session = ProxyTest::new().config(config).start();
    let id = initialize(&mut session);
    let answer = session.response(id);
    let text = answer["error"]["message"].as_str().unwrap();
    assert!(
        text.contains("the server `box` at `http://127.0.0.1:1/mcp?…` cannot be reached"),
        "{text}"
    );
    assert_eq!(text.matches("127.0.0.1:1").count(), 1, "{text}");
    session.stderr_says("`box` at `http://127.0.0.1:1/mcp?…`");
    for secret in ["pa55word", "s3cret"] {
        assert!(
            !text.contains(secret) && !session.stderr().contains(secret),
            "{text}"
        );
    }
    // The proxy keeps running: the server may be reachable next time.
    assert!(session.is_running());
    session.finish();
}

// With `--audit-log FILE`, the server's stderr passes without a prefix.
#[test]
fn a_servers_stderr_passes_unchanged_if_the_log_is_a_file() {
    let script = "printf 'no newline' >&2; printf '\\033[31m red\\r\\n' >&2; cat > /dev/null";
    let entry = json!({"command": "sh", "args": ["-c", script]});
    let mut session = ProxyTest::new()
        .config(json!({"mcpServers": {"box": entry}}))
        .start();
    session.stderr_says("no newline\u{1b}[31m red\r\n");
    session.close_stdin();
    session.exit();
}

#[test]
fn the_answer_goes_to_stdout_alone_and_errors_to_stderr_alone() {
    let mut child = Command::new(proxy())
        .args(["--upstream", "/nonexistent/config.json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let request = b"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"initialize\",\"params\":{}}\n";
    std::io::Write::write_all(&mut stdin, request).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let why = stderr
        .strip_prefix("approval-proxy: error: ")
        .unwrap()
        .trim_end();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["error"]["message"], format!("approval-proxy: {why}"));
}
