//! Issue 19: `approval-proxy [options] -- COMMAND [ARG…]` and `approval-proxy [options] --url URL`, a server without a
//! config file.
//!
//! Which name follows from which command is tested in `config::server_name`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use super::support::{
    HttpUpstream, ProxyTest, Session, call, eventually, in_session, proxy, scripted_upstream,
};

fn tools() -> Value {
    let tool = |name: &str, hints: Value| json!({"name": name, "inputSchema": {"type": "object"}, "annotations": hints});
    json!([
        tool("read", json!({"readOnlyHint": true})),
        tool("wipe", json!({"destructiveHint": true}))
    ])
}

/// A program that becomes the scripted upstream.
fn program(file: &Path, before: &str) {
    let script = format!("#!/bin/sh\n{before}\nexec \"$SERVER\" \"$RECORD\"\n");
    fs::write(file, script).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A test whose environment tells such programs what to become.
fn around_programs() -> ProxyTest {
    let test = ProxyTest::new();
    let record = test.path("record");
    test.env("SERVER", scripted_upstream().to_str().unwrap())
        .env("RECORD", record.to_str().unwrap())
}

/// What the client is told instead of an answer to `initialize`, with the exit code. The same is on stderr, on one line.
fn told(mut session: Session) -> (i32, String) {
    let id = session.request(
        "initialize",
        json!({"protocolVersion": "2025-06-18", "capabilities": {}}),
    );
    let answer = session.response(id);
    let text = answer["error"]["message"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"))
        .to_owned();
    let (code, _) = session.exit();
    let why = text.strip_prefix("approval-proxy: ").unwrap();
    session.stderr_says(&format!("approval-proxy: error: {why}\n"));
    assert!(!session.path("record").exists(), "the server was started");
    (code, text)
}

/// The arguments that every user of the machine can read.
fn command_line(session: &Session) -> String {
    let pid = session.pid().as_raw_nonzero();
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap()).into_owned()
}

// "guards that command. `--name NAME` names the server; the default is derived".
#[test]
fn a_server_behind_dashes_is_relayed_and_asked_about_by_its_name() {
    for (flags, name) in [
        (&[][..], "scripted_upstream"),
        (&["--name", "my files"], "my files"),
    ] {
        let mut test = ProxyTest::new().tools(&tools()).prefixed();
        for flag in flags {
            test = test.flags([flag]);
        }
        let mut session = test.start();
        session.handshake();
        let list = session.request("tools/list", json!({}));
        assert_eq!(session.response(list)["result"], json!({"tools": tools()}));
        session.passes("read", json!({"n": 1}));
        let call = session.call("wipe", json!({}));
        let prompt = session.approve();
        let question = prompt["params"]["message"].as_str().unwrap();
        assert!(question.contains(name), "{question}");
        assert_eq!(
            session.response(call)["result"]["content"][0]["text"],
            "wipe ran"
        );
        let call = session.call("wipe", json!({"second": true}));
        let prompt = session.prompt();
        session.answer(&prompt, json!({"action": "decline"}));
        session.refusal(call);
        assert!(!session.has_recorded("second"));
        assert!(
            session
                .decisions()
                .iter()
                .all(|line| line["server"] == name)
        );
        assert_eq!(session.stderr(), "");
        session.finish();
    }
}

#[test]
fn a_server_behind_dashes_is_served_over_http_too() {
    let test = ProxyTest::new().tools(&tools()).prefixed();
    let flags = ["--transport", "http", "--port", "0", "--insecure-no-auth"];
    let proxy = test.flags(flags).start();
    let http = proxy.http();
    let session = http.session();
    let mut response = http.post(&in_session(&session), call(1, "read"));
    let answer = response.message();
    assert_eq!(answer["result"]["content"][0]["text"], "read ran");
    assert_eq!(proxy.decision("read")["server"], "scripted_upstream");
}

// "Everything after `--` is passed on untouched, without expanding `$`".
#[test]
fn arguments_behind_dashes_arrive_byte_for_byte() {
    let arguments: Vec<OsString> = [
        &b"$HOME"[..],
        b"${HOME}",
        b"${NOPE}",
        b"${NOPE:-d}",
        b"$$",
        b"${",
        b"$",
        b"%PATH%",
        b"",
        b" ",
        b"a b",
        b"~/x",
        b"*",
        b"'\"\\",
        "é\u{202e}\u{1f388}".as_bytes(),
        b"\xff\xfe\x80",
        b"line\nline\t\r",
        b"\x1b[31m",
        b"--",
        b"--mode",
        b"none",
        b"-mnone",
        b"--allow=*",
        b"--upstream",
        b"/x",
        b"--url",
        b"http://x/?k=v",
        b"--config",
        b"/x",
        b"--name",
        b"x",
        b"-V",
        b"--help",
        b"inbox",
        b"approvals",
        b"help",
        b"--transport",
        b"http",
        b"-",
    ]
    .iter()
    .map(|bytes| OsStr::from_bytes(bytes).to_owned())
    .collect();
    let test = around_programs();
    let (server, seen) = (test.path("server"), test.path("seen"));
    program(
        &server,
        r#"for each; do printf '%s\0' "$each"; done > "$SEEN""#,
    );
    let command = std::iter::once(server.into_os_string()).chain(arguments.clone());
    let mut session = test
        .env("SEEN", seen.to_str().unwrap())
        .guarding(command)
        .start();
    session.handshake();
    let mut expected = Vec::new();
    for argument in &arguments {
        expected.extend(argument.as_bytes());
        expected.push(0);
    }
    let seen = fs::read(seen).unwrap();
    assert_eq!(seen, expected, "{}", String::from_utf8_lossy(&seen));
    // None of them was read as one of ours.
    session.call("wipe", json!({}));
    session.prompt();
    assert_eq!(session.log()[0]["server"], "server");
}

// "also when the program is called like a subcommand of ours".
#[test]
fn a_program_called_like_a_subcommand_is_a_program() {
    for name in ["inbox", "approvals", "help", "approval-proxy", "--help"] {
        let test = around_programs();
        program(&test.path(name), "");
        let path = format!(
            "{}:{}",
            test.path("").display(),
            std::env::var("PATH").unwrap()
        );
        let mut session = test.env("PATH", &path).guarding([name, "list"]).start();
        session.handshake();
        session.passes("read", json!({}));
        assert_eq!(session.decision("read")["server"], name);
        session.finish();
    }
}

// "Environment and working directory are the client's; no `APPROVAL_*` variable except the depth marker reaches the
// child."
#[test]
fn the_server_has_the_clients_environment_and_folder() {
    let test = ProxyTest::new();
    let (folder, state) = (test.path("a folder"), test.path("state"));
    fs::create_dir(&folder).unwrap();
    let given = [
        ("PATH", "/bin"),
        ("TOKEN", "t-1$HOME ${X}"),
        ("EMPTY", ""),
        ("approval_mode", "none"),
        ("HOME", "/nowhere"),
    ];
    let mut test = test.prefixed().with_only_this_env().cwd(folder.clone());
    for (name, value) in given {
        test = test.env(name, value);
    }
    let mut session = test
        .env("APPROVAL_STATE_DIR", state.to_str().unwrap())
        .env("APPROVAL_AUTH_TOKEN", "tok-12345678")
        .env("APPROVAL_NOT_OURS", "1")
        .start();
    session.handshake();
    let report = session.script(json!({"do": "report"}));
    let mut expected = BTreeMap::from(given);
    expected.insert("APPROVAL_PROXY_DEPTH", "1");
    assert_eq!(report["env"], json!(expected));
    assert_eq!(report["cwd"], json!(folder.canonicalize().unwrap()));
    // Variables have names with their letters in one case.
    session.call("wipe", json!({}));
    session.prompt();
}

// "Some clients pass almost no environment".
#[test]
fn a_server_starts_with_almost_no_environment() {
    for path in [None, Some(""), Some("/nonexistent")] {
        let test = ProxyTest::new();
        let state = test.path("state");
        let mut test = test
            .prefixed()
            .with_only_this_env()
            .flags(["--state-dir", state.to_str().unwrap()]);
        if let Some(path) = path {
            test = test.env("PATH", path);
        }
        let mut session = test.start();
        session.handshake();
        session.passes("read", json!({}));
        let call = session.call("wipe", json!({}));
        session.prompt();
        session.notify("notifications/cancelled", json!({"requestId": call}));
        let report = session.script(json!({"do": "report"}));
        let names: Vec<&String> = report["env"].as_object().unwrap().keys().collect();
        assert!(!names.iter().any(|name| *name == "HOME"), "{names:?}");
        session.finish();
    }
}

const SECRET: &str = "hunter2";

/// Nothing that others could read holds the secret.
fn tells_nothing(mut session: Session) {
    assert!(!command_line(&session).contains(SECRET));
    session.close_stdin();
    session.exit();
    let log = fs::read_to_string(session.path("audit.jsonl")).unwrap_or_default();
    let answers = Value::from(session.rest()).to_string();
    for text in [session.stderr(), log, answers] {
        assert!(!text.contains(SECRET), "{text}");
    }
}

// "`--url URL [--header-env 'Header-Name=VARIABLE']… [--bearer-env VARIABLE]` guards a remote server."
#[test]
fn a_server_at_a_url_gets_its_headers_from_variables() {
    for (flags, value, expected) in [
        (["--bearer-env", "FAR_TOKEN"], "hunter2", "Bearer hunter2"),
        (["--bearer-env", "farToken"], " hunter2\n", "Bearer hunter2"),
        (
            ["--header-env", "Authorization=FAR_TOKEN"],
            "Basic hunter2",
            "Basic hunter2",
        ),
        (
            ["--header-env", "authorization = FAR_TOKEN"],
            "$HOME hunter2",
            "$HOME hunter2",
        ),
    ] {
        let upstream = HttpUpstream::start(&tools());
        let mut session = ProxyTest::new()
            .without_config()
            .flags(["--url", &upstream.url, "--header-env", "X-Team=FAR_TEAM"])
            .flags(flags)
            .env("FAR_TOKEN", value)
            .env("farToken", value)
            .env("FAR_TEAM", "hunter2 = a b")
            .start();
        session.handshake();
        session.passes("read", json!({}));
        let call = session.call("wipe", json!({}));
        session.approve();
        assert_eq!(
            session.response(call)["result"]["content"][0]["text"],
            "wipe ran"
        );
        for method in ["initialize", "tools/call"] {
            let requests = upstream.requests(method);
            assert!(!requests.is_empty());
            for request in requests {
                assert_eq!(
                    request.headers_starting_with("authorization"),
                    [("authorization", expected)]
                );
                assert_eq!(
                    request.headers_starting_with("x-team"),
                    [("x-team", "hunter2 = a b")]
                );
            }
        }
        assert!(
            session
                .decisions()
                .iter()
                .all(|line| line["server"] == "127.0.0.1")
        );
        tells_nothing(session);
    }
}

// "a URL with a query or userinfo is given as `--url-env VARIABLE`".
#[test]
fn a_url_with_a_secret_comes_from_a_variable_and_arrives_whole() {
    let upstream = HttpUpstream::start(&tools());
    let mut session = ProxyTest::new()
        .without_config()
        .flags(["--url-env", "FAR_URL", "--name", "far"])
        .env(
            "FAR_URL",
            &format!(" {}?api_key=hunter2&b=%20$HOME\n", upstream.url),
        )
        .start();
    session.handshake();
    session.passes("read", json!({}));
    let calls = upstream.calls("read");
    assert_eq!(calls[0].path, "/mcp?api_key=hunter2&b=%20$HOME");
    assert_eq!(session.decision("read")["server"], "far");
    tells_nothing(session);

    let url = upstream.url.replace("http://", "http://me:hunter2@");
    let mut session = ProxyTest::new()
        .without_config()
        .flags(["--url-env", "FAR_URL"])
        .env("FAR_URL", &url)
        .start();
    session.handshake();
    session.passes("read", json!({}));
    let request = &upstream.requests("initialize")[1];
    assert_eq!(
        request.headers_starting_with("authorization"),
        [("authorization", "Basic bWU6aHVudGVyMg==")]
    );
    tells_nothing(session);
}

#[test]
fn a_server_at_a_url_that_fails_is_told_without_the_secrets() {
    // Nobody listens at the second.
    let upstream = HttpUpstream::start(&tools());
    upstream.answers_with(
        "initialize",
        401,
        "application/json",
        r#"{"error": "bad token"}"#,
    );
    for url in [upstream.url.as_str(), "http://127.0.0.1:1/mcp"] {
        let mut session = ProxyTest::new()
            .without_config()
            .flags([
                "--url-env",
                "FAR_URL",
                "--bearer-env",
                "FAR_TOKEN",
                "--header-env",
                "X-Key=FAR_TOKEN",
            ])
            .env("FAR_URL", &format!("{url}?k=hunter2"))
            .env("FAR_TOKEN", SECRET)
            .start();
        let id = session.request(
            "initialize",
            json!({"protocolVersion": "2025-06-18", "capabilities": {}}),
        );
        let answer = session.response(id).to_string();
        assert!(
            answer.contains("127.0.0.1") && !answer.contains(SECRET),
            "{answer}"
        );
        tells_nothing(session);
    }
}

// "A variable that is unset or empty is an error that names it (exit 3)."
#[test]
fn a_bad_variable_or_url_is_an_error_that_tells_no_value() {
    const URL: [&str; 2] = ["--url", "http://127.0.0.1:1/mcp"];
    let with = |flags: [&str; 2]| ProxyTest::new().without_config().flags(URL).flags(flags);
    let alone = |flags: [&str; 2]| ProxyTest::new().without_config().flags(flags);
    let cases: [(ProxyTest, &[&str]); 24] = [
        (
            with(["--header-env", "X-Key=FAR_KEY"]),
            &["`FAR_KEY`", "not set"],
        ),
        (with(["--bearer-env", "FAR_KEY"]), &["`FAR_KEY`", "not set"]),
        (alone(["--url-env", "FAR_KEY"]), &["`FAR_KEY`", "not set"]),
        (alone(["--url-env", "far_key"]), &["`far_key`", "not set"]),
        (
            with(["--header-env", "X-Key=FAR_KEY"]).env("FAR_KEY", ""),
            &["`FAR_KEY`", "empty"],
        ),
        (
            with(["--bearer-env", "FAR_KEY"]).env("FAR_KEY", " \n"),
            &["`FAR_KEY`", "empty"],
        ),
        (
            alone(["--url-env", "FAR_KEY"]).env("FAR_KEY", "\t"),
            &["`FAR_KEY`", "empty"],
        ),
        // Values that cannot be sent.
        (
            with(["--header-env", "X-Key=FAR_KEY"]).env("FAR_KEY", "hunter2\nX: y"),
            &["`FAR_KEY`", "X-Key"],
        ),
        (
            with(["--bearer-env", "FAR_KEY"]).env("FAR_KEY", "hunter2\r\n\r\nGET /"),
            &["`FAR_KEY`"],
        ),
        (
            with(["--header-env", "bad name=FAR_KEY"]).env("FAR_KEY", SECRET),
            &["bad name"],
        ),
        (
            with(["--header-env", "Authorization=FAR_KEY"]).env("FAR_KEY", "Bearer "),
            &["`FAR_KEY`", "empty"],
        ),
        (
            alone(["--url-env", "FAR_KEY"]).env("FAR_KEY", "ftp://hunter2/"),
            &["`FAR_KEY`", "http"],
        ),
        (
            alone(["--url-env", "FAR_KEY"]).env("FAR_KEY", "hunter2"),
            &["`FAR_KEY`", "http"],
        ),
        (
            alone(["--url-env", "FAR_KEY"]).env("FAR_KEY", "https://?hunter2"),
            &["`FAR_KEY`", "http"],
        ),
        // Secrets on the command line.
        (
            alone(["--url", "http://127.0.0.1:1/mcp?k=hunter2"]),
            &["`--url`", "--url-env"],
        ),
        (
            alone(["--url", "http://hunter2@127.0.0.1:1/mcp"]),
            &["`--url`", "--url-env"],
        ),
        (
            alone(["--url", "http://:hunter2@127.0.0.1:1/mcp"]),
            &["`--url`", "--url-env"],
        ),
        (
            alone(["--url", "http://127.0.0.1:1/mcp#hunter2"]),
            &["`--url`", "--url-env"],
        ),
        (
            alone(["--url", "ftp://hunter2@127.0.0.1/"]),
            &["`--url`", "http"],
        ),
        // The secret in the place of the variable's name, as by `--bearer-env "$TOKEN"`.
        (
            with(["--bearer-env", "hunter2-abc"]),
            &["`--bearer-env`", "the name of an environment variable"],
        ),
        (
            with(["--bearer-env", "ghp_hunter2abcdefghijklmnop"]),
            &["`--bearer-env`", "the name"],
        ),
        (
            with(["--header-env", "X-Key=Bearer hunter2"]),
            &["`--header-env`", "the name"],
        ),
        (
            alone(["--url-env", "http://127.0.0.1:1/?k=hunter2"]),
            &["`--url-env`", "the name"],
        ),
        // Twice.
        (
            with(["--bearer-env", "FAR_KEY"])
                .flags(["--header-env", "authorization=FAR_KEY"])
                .env("FAR_KEY", SECRET),
            &["`FAR_KEY`", "twice"],
        ),
    ];
    for (test, says) in cases {
        let (code, text) = told(test.start());
        assert_eq!(code, 3, "{text}");
        for words in says {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[test]
fn a_command_line_without_exactly_one_server_is_a_usage_error() {
    let cases: [(&[&str], &str); 18] = [
        (&[], "no server is given"),
        (&["--"], "no server is given"),
        (&["--name", "x"], "no server is given"),
        (&["--name", "x", "--"], "no server is given"),
        (
            &["--upstream", "x.json", "--", "true"],
            "a proxy guards one server",
        ),
        (
            &["--url", "http://x/", "--", "true"],
            "a proxy guards one server",
        ),
        (
            &["--url-env", "X", "--", "true"],
            "a proxy guards one server",
        ),
        (
            &["--url", "http://x/", "--url-env", "X"],
            "a proxy guards one server",
        ),
        (
            &["--upstream", "x.json", "--url", "http://x/"],
            "a proxy guards one server",
        ),
        (&["--server", "x", "--", "true"], "`--name`"),
        (&["--upstream", "x.json", "--name", "x"], "`--name`"),
        (&["--name", " ", "--", "true"], "expected a name"),
        (
            &["--header-env", "X-Key=HOME", "--", "true"],
            "need `--url`",
        ),
        (&["--url-type", "sse", "--", "true"], "needs `--url`"),
        (
            &["--url", "http://x/", "--url-type", "ws"],
            "[possible values: http, sse]",
        ),
        (
            &["--url", "http://x/", "--header-env", "X-Key: hunter2"],
            "`--header-env` takes",
        ),
        (
            &["--url", "http://x/", "--header-env", "=hunter2"],
            "`--header-env` takes",
        ),
        (&["inbox", "--", "true"], "unexpected argument"),
    ];
    for (arguments, says) in cases {
        let mut session = ProxyTest::new().start_with(arguments);
        session.close_stdin();
        assert_eq!(session.exit().0, 2, "{arguments:?}");
        session.stderr_says(says);
        assert!(!session.stderr().contains(SECRET), "{}", session.stderr());
    }
}

// Most clients show only what answers their first request.
#[test]
fn a_failed_start_is_told_to_the_client() {
    let missing = "/nonexistent/server";
    let too_many = || ProxyTest::new().flags(["--url", "http://127.0.0.1:1/"]);
    let cases: [(ProxyTest, i32, &str); 8] = [
        (ProxyTest::new().guarding([missing]), 4, missing),
        // What stands behind `--` says nothing about our own transport.
        (
            ProxyTest::new().guarding([missing, "--transport", "http"]),
            4,
            missing,
        ),
        (
            ProxyTest::new().guarding([missing, "--transport=sse"]),
            4,
            missing,
        ),
        (
            ProxyTest::new()
                .flags(["--nope"])
                .guarding(["true", "--transport", "http"]),
            2,
            "--nope",
        ),
        (
            too_many().guarding(["inbox", "--transport", "http"]),
            2,
            "a proxy guards one server",
        ),
        (
            ProxyTest::new().flags(["-m", "some"]).guarding(["help"]),
            2,
            "some",
        ),
        (
            ProxyTest::new()
                .flags(["--config", "/nonexistent/c.json"])
                .guarding(["true"]),
            3,
            "/nonexistent/c.json",
        ),
        (
            ProxyTest::new().guarding([proxy(), "--".into(), "true".into()]),
            4,
            "approval-proxy itself",
        ),
    ];
    for (test, expected, says) in cases {
        let (code, text) = told(test.start());
        assert_eq!(code, expected, "{text}");
        assert!(text.contains(says), "{text}");
    }
    // A server that dies at once is told with its last words.
    let mut session = ProxyTest::new()
        .guarding([
            "sh",
            "-c",
            "echo 'no licence' >&2; exit 7",
            "--transport",
            "http",
        ])
        .start();
    let id = session.request("initialize", json!({}));
    let text = session.response(id)["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        text.contains("no licence") && text.contains("status 7"),
        "{text}"
    );
    assert_eq!(session.exit().0, 4);
}

#[test]
fn a_servers_arguments_are_in_no_message_and_no_record() {
    let test = around_programs();
    let server = test.path("server");
    program(&server, "");
    let mut session = test
        .guarding([server.to_str().unwrap(), "--token", SECRET])
        .start();
    session.handshake();
    session.passes("read", json!({}));
    session.close_stdin();
    session.exit();
    let log = fs::read_to_string(session.path("audit.jsonl")).unwrap();
    assert!(!log.contains(SECRET) && !session.stderr().contains(SECRET));
    let (code, text) = told(
        ProxyTest::new()
            .guarding(["/nonexistent", "--token", SECRET])
            .start(),
    );
    assert!(code == 4 && !text.contains(SECRET), "{text}");
}

// A name is text for people, never a path or a terminal's command.
#[test]
fn a_name_cannot_lead_out_of_the_state_folder_or_forge_a_line() {
    let forged = "../../x\n\u{1b}[31mapproval-proxy: error: \u{202e}forged";
    let mut session = ProxyTest::new()
        .prefixed()
        .without_log()
        .flags(["--name", forged])
        .start();
    session.handshake();
    session.call("wipe", json!({}));
    let prompt = session.prompt();
    let question = prompt["params"]["message"].as_str().unwrap().to_owned();
    assert!(!question.contains(['\u{1b}', '\u{202e}']), "{question}");
    let folder = session.path("state/audit");
    eventually("the log is in its folder", || {
        fs::read_dir(&folder).is_ok_and(|files| files.count() == 1)
    });
    for line in session.stderr().lines() {
        assert!(line.starts_with('{') && !line.contains('\u{1b}'), "{line}");
    }
    assert!(!session.path("x").exists() && !session.path("state/x").exists());
    session.finish();
}
