//! Access over HTTP: who is asked, who owns a session, and which host names are accepted.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::support::{
    Http, ProxyTest, TOKEN, approval, call, in_session, stateless, stateless_call,
};

const SERVE: [&str; 4] = ["--transport", "streamable-http", "--port", "0"];

/// Makes a gated call and returns the first message about it.
fn outcome(http: &Http, session: &str) -> Value {
    http.post(&in_session(session), call(1, "wipe")).message()
}

fn says(message: &Value, words: &str) -> bool {
    let text = message["result"]["content"][0]["text"].as_str();
    text.is_some_and(|text| text.contains(words))
}

// Attack: a process of another user opened a session, declared elicitation and answered its own prompt,
// and the call ran.
#[test]
fn without_a_token_nobody_who_connects_can_approve_a_call() {
    let proxy = ProxyTest::new().flags(SERVE).start();
    let http = proxy.http();
    let session = http.session();
    let answer = outcome(&http, &session);
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    assert!(
        says(&answer, "does not ask HTTP clients that present no token"),
        "{answer}"
    );
    let stateless_answer = http
        .post(&stateless("wipe"), stateless_call(1, "wipe"))
        .message();
    assert_eq!(
        stateless_answer["result"]["isError"], true,
        "{stateless_answer}"
    );
    assert_eq!(stateless_answer["result"]["resultType"], "complete");
    // The endpoints of 2024-11-05 do not help either.
    let mut stream = http.send("GET", "/sse", &[], "");
    let endpoint = stream.message().as_str().unwrap().to_owned();
    for message in [
        super::support::initialize(),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        call(1, "wipe"),
    ] {
        http.send("POST", &endpoint, &[], &message.to_string());
    }
    assert_eq!(stream.message()["id"], "init");
    assert_eq!(stream.message()["result"]["isError"], true);
    assert_eq!(proxy.runs_of("wipe"), 0);
    let stderr = proxy.stderr();
    assert_eq!(stderr.matches("HTTP clients are not asked").count(), 1);
    assert!(
        stderr.contains("calls that need an approval are refused"),
        "{stderr}"
    );
    let decisions = proxy.decisions();
    assert_eq!(decisions.len(), 3);
    assert!(
        decisions
            .iter()
            .all(|line| line["decision"] == "denied" && line.get("engine").is_none())
    );
}

#[test]
fn without_a_token_questions_go_to_the_inbox_instead() {
    let proxy = ProxyTest::with_inbox().flags(SERVE).start();
    let (http, terminal) = (proxy.http(), proxy.terminal());
    let session = http.session();
    let mut waits = http.begin(&in_session(&session), call(1, "wipe"));
    terminal.approve(&terminal.wait_for_item("wipe"));
    let answer = waits.response().message();
    assert!(says(&answer, "wipe ran"), "{answer}");
    assert_eq!(proxy.decision("wipe")["engine"], "inbox");
    assert!(proxy.stderr().contains("questions go to the inbox instead"));
}

#[test]
fn a_client_is_asked_if_it_has_the_token_or_the_operator_requires_none() {
    let with_token = ProxyTest::new().env("APPROVAL_AUTH_TOKEN", TOKEN);
    let open = ProxyTest::new().flags(["--insecure-no-auth"]);
    for (test, has_token) in [(with_token, true), (open, false)] {
        let proxy = test.flags(SERVE).start();
        let http = match has_token {
            true => proxy.http().with_token(),
            false => proxy.http(),
        };
        let session = http.session();
        let mut stream = http.post(&in_session(&session), call(1, "wipe"));
        let prompt = stream.message();
        assert_eq!(prompt["method"], "elicitation/create", "{prompt}");
        let yes = json!({"jsonrpc": "2.0", "id": prompt["id"], "result": approval()});
        assert_eq!(http.post(&in_session(&session), yes).status, 202);
        assert!(says(&stream.message(), "wipe ran"));
        assert!(!proxy.stderr().contains("are not asked"));
    }
}

#[test]
fn an_automatic_token_is_created_kept_and_required() {
    let test = ProxyTest::new().flags(["--auth-token-file", "auto"]);
    let file = test.path("state/auth-token");
    let mut proxy = test.flags(SERVE).start();
    let http = proxy.http();
    assert_eq!(http.post(&[], super::support::initialize()).status, 401);
    let token = fs::read_to_string(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    let bearer = format!("Bearer {}", token.trim());
    let mut let_in = http.post(&[("authorization", &bearer)], super::support::initialize());
    assert_eq!(let_in.status, 200);
    let_in.message();
    let stderr = proxy.stderr();
    assert!(stderr.contains(file.to_str().unwrap()), "{stderr}");
    assert!(stderr.contains("Authorization: Bearer"), "{stderr}");
    // Clients keep what a server writes to stderr, so the token must not be there.
    assert!(!stderr.contains(token.trim()), "{stderr}");
    proxy.signal(Signal::TERM);
    proxy.exit();
    assert_eq!(fs::read_to_string(&file).unwrap(), token);
}

#[test]
fn a_token_file_that_others_may_read_stops_the_start() {
    let test = ProxyTest::new().flags(["--auth-token-file", "auto"]);
    let folder = test.path("state");
    fs::create_dir(&folder).unwrap();
    let mode = |path: &std::path::Path, mode| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&folder, 0o700);
    let file = folder.join("auth-token");
    fs::write(&file, "0123456789abcdef").unwrap();
    mode(&file, 0o644);
    let mut proxy = test.flags(SERVE).start();
    assert_eq!(proxy.exit().0, 3);
    proxy.stderr_says("auth-token: it belongs to another user, or others can read it");
}

// A blank variable once turned authentication off silently.
#[test]
fn a_token_that_is_set_but_empty_stops_the_start() {
    for (name, value) in [
        ("APPROVAL_AUTH_TOKEN", ""),
        ("APPROVAL_AUTH_TOKEN", "  "),
        ("APPROVAL_APPROVAL_AUTH_TOKEN", ""),
    ] {
        for flags in [&SERVE[..], &[]] {
            let test = ProxyTest::new().env(name, value);
            let mut proxy = flags
                .iter()
                .fold(test, |test, flag| test.flags([flag]))
                .start();
            assert_eq!(proxy.exit().0, 3, "{name}={value:?} {flags:?}");
            proxy.stderr_says(name);
            proxy.stderr_says("set but empty");
        }
    }
    let test = ProxyTest::new();
    let file = test.path("token");
    fs::write(&file, " \n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let flags = ["--auth-token-file", file.to_str().unwrap()];
    let mut proxy = test.flags(flags).flags(SERVE).start();
    assert_eq!(proxy.exit().0, 3);
    proxy.stderr_says("must hold one line");
}

// Attack: with `--host 0.0.0.0 --insecure-no-auth`, the proxy accepted any host name.
#[test]
fn beyond_loopback_without_a_token_dns_rebinding_is_refused() {
    let test = ProxyTest::new().flags(["--host", "0.0.0.0", "--insecure-no-auth"]);
    let test = test.flags([
        "--allowed-host",
        "proxy.example",
        "--allowed-host",
        "Build-7",
    ]);
    let proxy = test.flags(SERVE).start();
    let port = proxy.http().address.rsplit_once(':').unwrap().1.to_owned();
    let http = Http::at(&format!("127.0.0.1:{port}"));
    let status = |host: &str| {
        let mut response = http.post(&[("host", host)], super::support::initialize());
        if response.status == 200 {
            response.message();
        }
        response.status
    };
    for host in [
        format!("127.0.0.1:{port}"),
        "10.1.2.3:80".into(),
        "[2001:db8::1]".into(),
        "localhost".into(),
        "proxy.example:443".into(),
        "build-7".into(),
    ] {
        assert_eq!(status(&host), 200, "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:8765",
        "proxy.example.evil.example",
        "127.0.0.1.nip.io",
    ] {
        assert_eq!(status(host), 403, "{host}");
        assert_eq!(
            http.send("GET", "/sse", &[("host", host)], "").status,
            403,
            "{host}"
        );
    }
}

// Attack: a call that was asked about under one `Authorization` ran under another.
#[test]
fn a_session_belongs_to_the_credentials_that_opened_it() {
    let proxy = ProxyTest::new()
        .flags(SERVE)
        .flags(["--insecure-no-auth"])
        .start();
    let alice = proxy.http().with_authorization("Bearer alice");
    let session = alice.session();
    let mut stream = alice.post(&in_session(&session), call(1, "wipe"));
    let prompt = stream.message();
    let yes = json!({"jsonrpc": "2.0", "id": prompt["id"], "result": approval()});
    for other in [
        proxy.http(),
        proxy.http().with_authorization("Bearer mallory"),
        proxy.http().with_authorization("bearer alice"),
        proxy.http().with_authorization("Basic alice"),
    ] {
        let other_status = |method: &str, body: &Value| {
            let body = match method {
                "POST" => body.to_string(),
                _ => String::new(),
            };
            other
                .send(method, "/mcp", &in_session(&session), &body)
                .status
        };
        assert_eq!(other_status("POST", &yes), 404);
        assert_eq!(other_status("POST", &call(2, "read")), 404);
        assert_eq!(other_status("POST", &json!([call(2, "read")])), 404);
        assert_eq!(other_status("GET", &Value::Null), 404);
        assert_eq!(other_status("DELETE", &Value::Null), 404);
    }
    assert_eq!(proxy.runs_of("wipe"), 0);
    assert_eq!(alice.post(&in_session(&session), yes).status, 202);
    assert!(says(&stream.message(), "wipe ran"));
    let deleted = alice.send("DELETE", "/mcp", &in_session(&session), "");
    assert_eq!(deleted.status, 204);
}

#[test]
fn a_session_of_2024_11_05_belongs_to_its_credentials_too() {
    let proxy = ProxyTest::new()
        .flags(SERVE)
        .flags(["--insecure-no-auth"])
        .start();
    let alice = proxy.http().with_authorization("Bearer alice");
    let mut stream = alice.send("GET", "/sse", &[], "");
    let endpoint = stream.message().as_str().unwrap().to_owned();
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    for other in [
        proxy.http(),
        proxy.http().with_authorization("Bearer mallory"),
    ] {
        assert_eq!(other.send("POST", &endpoint, &[], &ping).status, 404);
    }
    assert_eq!(alice.send("POST", &endpoint, &[], &ping).status, 202);
}
