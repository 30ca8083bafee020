//! HTTP servers that restart: the proxy starts a new session and goes on. No call runs twice, and an
//! approved call runs only as it was approved.

use serde_json::{Value, json};

use super::support::{ProxyTest, RestartingServer, Session, eventually};

const PATHS: [&str; 2] = ["/mcp", "/sse"];

fn tools(read_only: bool) -> Value {
    json!([
        {"name": "get_item", "annotations": {"readOnlyHint": read_only, "destructiveHint": !read_only},
         "inputSchema": {"type": "object"}},
        {"name": "wipe", "annotations": {"destructiveHint": true}, "inputSchema": {"type": "object"}},
    ])
}

fn started(server: &RestartingServer, path: &str) -> Session {
    let mut session = ProxyTest::new().config(server.config(path)).start();
    session.handshake();
    session.passes("get_item", json!({}));
    session
}

fn events(session: &Session, name: &str) -> Vec<Value> {
    let mut lines = session.log();
    lines.retain(|line| line["event"] == name);
    lines
}

#[test]
fn after_a_restart_calls_go_on_and_none_runs_twice() {
    for path in PATHS {
        let server = RestartingServer::start(tools(true));
        let mut session = started(&server, path);
        for round in 1..=3 {
            server.restart();
            session.passes("get_item", json!({}));
            assert_eq!(server.ran().len(), 1 + round, "{path}");
        }
        assert_eq!(server.count("initialize"), 4, "{path}");
        assert_eq!(server.count("notifications/initialized"), 4, "{path}");
        assert_eq!(events(&session, "restarted").len(), 3, "{path}");
        // The client must read its list again.
        session.message("notifications/tools/list_changed");
        session.finish();
    }
}

#[test]
fn a_call_that_the_server_did_not_take_is_recorded_as_returned_and_again_when_it_is_resent() {
    let server = RestartingServer::start(tools(true));
    let mut session = started(&server, "/mcp");
    server.restart();
    let id = session.call("get_item", json!({"n": 2}));
    session.response(id);
    let log = session.log();
    let of_call: Vec<&Value> = log.iter().filter(|line| line["args"]["n"] == 2).collect();
    assert_eq!(of_call.len(), 2, "{log:?}");
    assert!(of_call.iter().all(|line| line["forwarded"] == true));
    let returned = events(&session, "returned");
    assert_eq!(returned.len(), 1, "{log:?}");
    assert_eq!(returned[0]["request_id"], id.to_string());
    let reason = returned[0]["reason"].as_str().unwrap();
    assert!(
        reason.contains("404") && reason.contains("no such session"),
        "{reason}"
    );
    session.finish();
}

#[test]
fn an_approval_counts_after_a_restart_if_the_tool_has_not_changed() {
    for path in PATHS {
        let server = RestartingServer::start(tools(true));
        let mut session = started(&server, path);
        let id = session.call("wipe", json!({"all": true}));
        let prompt = session.prompt();
        server.restart();
        session.answer(&prompt, super::support::approval());
        let response = session.response(id);
        assert_eq!(
            response["result"]["content"][0]["text"], "wipe ran",
            "{path}: {response}"
        );
        assert!(!session.was_prompted(), "{path}: asked twice");
        assert_eq!(server.ran(), ["get_item", "wipe"], "{path}");
        session.finish();
    }
}

#[test]
fn a_tool_that_changed_in_a_restart_is_asked_about_again() {
    for path in PATHS {
        let server = RestartingServer::start(tools(true));
        let mut session = started(&server, path);
        let id = session.call("wipe", json!({}));
        let prompt = session.prompt();
        let others = json!([{"name": "wipe", "description": "Wipes the moon.",
            "annotations": {"destructiveHint": true}, "inputSchema": {"type": "object"}}]);
        server.restart_with(others);
        session.answer(&prompt, super::support::approval());
        let again = session.prompt();
        let message = again["params"]["message"].as_str().unwrap();
        assert!(message.contains("Wipes the moon."), "{message}");
        assert_eq!(server.ran(), ["get_item"], "{path}");
        session.answer(&again, json!({"action": "decline"}));
        session.refusal(id);
        assert_eq!(server.ran(), ["get_item"], "{path}");
        session.finish();
    }
}

#[test]
fn a_harmless_tool_that_a_restart_made_dangerous_does_not_pass() {
    for path in PATHS {
        let server = RestartingServer::start(tools(true));
        let mut session = started(&server, path);
        server.restart_with(tools(false));
        let id = session.call("get_item", json!({}));
        session.approve();
        session.response(id);
        assert_eq!(server.ran(), ["get_item", "get_item"], "{path}");
        assert_eq!(
            session.decisions().last().unwrap()["decision"],
            "approved",
            "{path}"
        );
        session.finish();
    }
}

#[test]
fn a_400_for_a_lost_session_starts_a_new_one_and_the_request_is_not_resent() {
    for (body, path) in [
        (
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"No valid session ID"}}"#,
            "/mcp",
        ),
        ("Bad Request", "/mcp"),
        ("Invalid session", "/sse"),
    ] {
        let server = RestartingServer::start(tools(true));
        server.answers_unknown_sessions_with(400, body);
        let mut session = started(&server, path);
        if path == "/sse" {
            // The stream stays open, as behind a load balancer that has moved the session.
            server.forgets_but_keeps_streams();
        } else {
            server.restart();
        }
        let id = session.call("get_item", json!({}));
        let response = session.response(id);
        let message = response["error"]["message"]
            .as_str()
            .unwrap_or_else(|| panic!("{response}"));
        assert!(
            body.contains("Bad") || message.contains("session"),
            "{message}"
        );
        assert_eq!(server.ran(), ["get_item"], "{path}");
        eventually("a new session", || server.count("initialize") == 2);
        session.passes("get_item", json!({}));
        assert_eq!(server.ran(), ["get_item", "get_item"], "{path}");
        session.finish();
    }
}

#[test]
fn any_other_400_starts_no_session() {
    let server = RestartingServer::start(tools(true));
    let mut session = started(&server, "/mcp");
    server.refuses_calls();
    for _ in 0..2 {
        let id = session.call("get_item", json!({}));
        assert!(session.response(id)["error"].is_object());
    }
    assert_eq!(server.count("initialize"), 1);
    session.finish();
}

#[test]
fn a_request_waits_for_a_server_that_is_briefly_away() {
    for path in PATHS {
        let server = RestartingServer::start(tools(true));
        let mut session = started(&server, path);
        server.goes_away();
        let call = session.call("get_item", json!({}));
        let list = session.request("tools/list", json!({}));
        std::thread::sleep(std::time::Duration::from_millis(400));
        server.comes_back();
        let response = session.response(call);
        assert_eq!(
            response["result"]["content"][0]["text"], "get_item ran",
            "{path}: {response}"
        );
        assert!(
            session.response(list)["result"]["tools"].is_array(),
            "{path}"
        );
        assert_eq!(server.ran().len(), 2, "{path}");
        session.finish();
    }
}

#[test]
fn a_call_that_may_have_run_is_never_resent() {
    for path in PATHS {
        let server = RestartingServer::start(tools(true));
        let mut session = started(&server, path);
        server.breaks_off();
        let id = session.call("wipe", json!({}));
        session.approve();
        let response = session.response(id);
        assert!(
            response["error"]["message"].is_string(),
            "{path}: {response}"
        );
        assert_eq!(server.ran(), ["get_item", "wipe"], "{path}");
        assert!(session.is_running(), "{path}");
        let list = session.request("tools/list", json!({}));
        assert!(
            session.response(list)["result"]["tools"].is_array(),
            "{path}"
        );
        assert_eq!(server.ran(), ["get_item", "wipe"], "{path}");
        session.finish();
    }
}

#[test]
fn a_server_that_forgets_every_new_session_is_not_retried_forever() {
    let server = RestartingServer::start(tools(true));
    let mut session = started(&server, "/mcp");
    server.forgets_each_session();
    let id = session.call("get_item", json!({}));
    // The tool list is unknown, so the call is asked about.
    session.approve();
    let response = session.response(id);
    let message = response["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("the call was not run: "), "{message}");
    assert!(
        server.count("initialize") <= 8,
        "{}",
        server.count("initialize")
    );
    assert_eq!(server.ran(), ["get_item"]);
    assert!(session.is_running());
    session.finish();
}
