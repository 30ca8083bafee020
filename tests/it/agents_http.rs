//! The approval tools of `approval-proxy mcp` over HTTP: who may connect, and whose requests are whose.
//!
//! `http` and `http_who` test the checks themselves, which are those of the proxy.

use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::support::{
    Http, ProxyTest, Session, TOKEN, Terminal, approval_records, eventually, in_session,
    initialize, state_folder, stateless,
};

/// Starts the server for a user with this state folder.
fn start(state: &Path, token: Option<&str>, flags: &[&str]) -> Session {
    let mut test = ProxyTest::new()
        .env("APPROVAL_ENGINES", "inbox")
        .state(state);
    if let Some(token) = token {
        test = test.env("APPROVAL_AUTH_TOKEN", token);
    }
    let common = [
        "mcp",
        "--inbox-port",
        "0",
        "--transport",
        "streamable-http",
        "--port",
        "0",
    ];
    test.start_with(&[&common[..], flags].concat())
}

fn call(tool: &str, arguments: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call",
           "params": {"name": tool, "arguments": arguments}})
}

fn uses(http: &Http, session: &str, tool: &str, arguments: Value) -> Value {
    let response = http
        .post(&in_session(session), call(tool, arguments))
        .message();
    response["result"].clone()
}

fn asks(http: &Http, session: &str) -> String {
    let request = json!({"action": "Pay 40 EUR", "wait_seconds": 0});
    let result = uses(http, session, "request_approval", request);
    let id = &result["structuredContent"]["approval_id"];
    id.as_str().unwrap_or_else(|| panic!("{result}")).to_owned()
}

fn status(http: &Http, session: &str, id: &str) -> Value {
    let result = uses(http, session, "check_approval", json!({"approval_id": id}));
    match result["isError"] == true {
        true => json!("unknown"),
        false => result["structuredContent"]["status"].clone(),
    }
}

#[test]
fn foreign_hosts_and_pages_and_wrong_tokens_ask_nobody() {
    let dir = state_folder();
    let server = start(dir.path(), Some(TOKEN), &[]);
    let http = server.http();
    let good = http.clone().with_token();
    for (headers, expected) in [
        (&[("host", "evil.example")][..], 403),
        (&[("origin", "http://evil.example")], 403),
        (&[("sec-fetch-site", "cross-site")], 403),
    ] {
        assert_eq!(good.post(headers, initialize()).status, expected);
    }
    assert_eq!(http.post(&[], initialize()).status, 401);
    let wrong = http.with_authorization("Bearer s3cret-tokem");
    assert_eq!(wrong.post(&[], initialize()).status, 401);
    let session = good.session();
    // A session belongs to whoever opened it.
    let taken = wrong.post(
        &in_session(&session),
        call("request_approval", json!({"action": "x"})),
    );
    assert_eq!(taken.status, 401);
    assert!(approval_records(dir.path()).is_empty());
}

#[test]
fn requests_belong_to_the_token_across_restarts() {
    let dir = state_folder();
    let server = start(dir.path(), Some(TOKEN), &[]);
    let http = server.http().with_token();
    let id = asks(&http, &http.session());
    // Another session with the same token is the same agent.
    assert_eq!(status(&http, &http.session(), &id), "pending");
    let terminal = Terminal::at(dir.path());
    let item = terminal.wait_for_item("request_approval");
    let stderr = server.stderr();
    drop(server);

    let other = start(dir.path(), Some("another-token"), &[]);
    let others = other.http().with_authorization("Bearer another-token");
    assert_eq!(status(&others, &others.session(), &id), "unknown");
    let same = start(dir.path(), Some(TOKEN), &[]);
    let http = same.http().with_token();
    let session = http.session();
    assert_eq!(status(&http, &session, &id), "pending");
    terminal.approve(&item);
    let wait = json!({"approval_id": id, "wait_seconds": 15});
    let result = uses(&http, &session, "check_approval", wait);
    assert_eq!(result["structuredContent"]["status"], "approved");

    let records = approval_records(dir.path());
    assert!(records[0]["agent"].as_str().unwrap().starts_with("token:"));
    for text in [json!(records).to_string(), stderr, same.stderr()] {
        assert!(!text.contains(TOKEN), "{text}");
    }
}

#[test]
fn without_a_token_requests_belong_to_the_server_process_and_end_with_it() {
    let dir = state_folder();
    let mut server = start(dir.path(), None, &[]);
    let http = server.http();
    let first = http.session();
    let id = asks(&http, &first);
    // Whoever knows the id may ask: it cannot be guessed. What it sends as credentials is not checked, so it does not count.
    let other = http.clone().with_authorization("Bearer made-up");
    assert_eq!(status(&other, &other.session(), &id), "pending");
    // A client that ends its session may come back.
    assert_eq!(
        http.send("DELETE", "/mcp", &in_session(&first), "").status,
        204
    );
    assert_eq!(status(&http, &http.session(), &id), "pending");
    server.signal(Signal::TERM);
    assert_eq!(server.exit().0, 128 + 15);
    let states: Vec<_> = approval_records(dir.path())
        .into_iter()
        .map(|it| it["state"].clone())
        .collect();
    assert_eq!(states, ["asked", "cancelled"]);
    assert!(Terminal::at(dir.path()).open_items().is_empty());
}

#[test]
fn a_call_that_waits_is_answered_when_the_server_ends() {
    for (token, expected) in [(None, "cancelled"), (Some(TOKEN), "pending")] {
        let dir = state_folder();
        let mut server = start(dir.path(), token, &[]);
        let http = match token {
            Some(_) => server.http().with_token(),
            None => server.http(),
        };
        let session = http.session();
        let request = json!({"action": "Pay 40 EUR", "wait_seconds": 300});
        let mut waiting = http.begin(&in_session(&session), call("request_approval", request));
        let terminal = Terminal::at(dir.path());
        terminal.wait_for_items(1);
        server.signal(Signal::TERM);
        let result = waiting.response().message()["result"].clone();
        assert_eq!(result["structuredContent"]["status"], expected, "{result}");
        assert_eq!(server.exit().0, 128 + 15);
    }
}

/// SPEC 2026-07-28: "Closing the SSE response stream MUST be treated by the server as cancellation of that request."
#[test]
fn a_stateless_client_that_closes_its_stream_withdraws_its_request() {
    let dir = state_folder();
    let server = start(dir.path(), Some(TOKEN), &[]);
    let http = server.http().with_token();
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "0"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let request = |wait: u64| {
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
            "name": "request_approval", "_meta": meta,
            "arguments": {"action": "Pay 40 EUR", "wait_seconds": wait}}})
    };
    let headers = stateless("request_approval");
    let terminal = Terminal::at(dir.path());
    let mut waiting = http.begin(&headers, request(300));
    terminal.wait_for_items(1);
    // The head comes after two seconds.
    waiting.response().close();
    terminal.wait_for_items(0);
    eventually("the record", || approval_records(dir.path()).len() == 2);
    // One that returns is not withdrawn, although its stream ends.
    let result = http.post(&headers, request(0)).message();
    assert_eq!(
        result["result"]["structuredContent"]["status"], "pending",
        "{result}"
    );
    terminal.wait_for_items(1);
}

#[test]
fn beyond_loopback_a_token_is_needed() {
    let dir = state_folder();
    let mut server = start(dir.path(), None, &["--host", "0.0.0.0"]);
    assert_eq!(server.exit().0, 3);
    assert!(server.stderr().contains("token"), "{}", server.stderr());
    let server = start(
        dir.path(),
        None,
        &["--host", "0.0.0.0", "--auth-token-file", "auto"],
    );
    let port = server.http().address.rsplit(':').next().unwrap().to_owned();
    let http = Http::at(&format!("127.0.0.1:{port}"));
    assert_eq!(http.post(&[], initialize()).status, 401);
    let token = std::fs::read_to_string(dir.path().join("auth-token")).unwrap();
    assert!(!server.stderr().contains(token.trim()));
    let http = http.with_authorization(&format!("Bearer {}", token.trim()));
    asks(&http, &http.session());
}
