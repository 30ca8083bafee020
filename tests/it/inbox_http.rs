//! The inbox for HTTP clients that cannot be asked.

use serde_json::{Value, json};

use super::support::{
    Http, ProxyTest, Session, Terminal, call, in_session, initialize, stateless, stateless_call,
};

fn served() -> (Session, Http) {
    let test = ProxyTest::with_inbox().flags(["--transport", "streamable-http", "--port", "0"]);
    let session = test.start();
    let http = session.http();
    (session, http)
}

/// Opens a session of a client that cannot be asked, and returns its id.
fn session_without_elicitation(http: &Http) -> String {
    let mut hello = initialize();
    hello["params"]["capabilities"] = json!({});
    let mut response = http.post(&[], hello);
    assert_eq!(response.status, 200);
    response.message();
    let session = response.header("mcp-session-id").unwrap().to_owned();
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let accepted = http.post(&in_session(&session), initialized);
    assert_eq!(accepted.status, 202);
    session
}

/// Waits for `count` open items, and returns the id of the one whose argument `n` is this.
fn item(terminal: &Terminal, count: usize, n: u64) -> String {
    let items = terminal.wait_for_items(count);
    let mut items = items.iter();
    let item = items.find(|item| item["call"]["arguments"]["n"] == n);
    item.unwrap()["id"].as_str().unwrap().to_owned()
}

fn text(message: &Value) -> &str {
    message["result"]["content"][0]["text"].as_str().unwrap()
}

#[test]
fn each_session_gets_the_verdict_about_its_own_call() {
    let (proxy, http) = served();
    let terminal = proxy.terminal();
    let (mine, yours) = (
        session_without_elicitation(&http),
        session_without_elicitation(&http),
    );
    // Both sessions use the same request id, and the second one another id as well.
    let mut first = http.begin(&in_session(&mine), call(1, "wipe"));
    let of_first = item(&terminal, 1, 1);
    let mut second = http.begin(&in_session(&yours), call(1, "wipe"));
    let newest = terminal.wait_for_items(2).remove(1);
    let of_second = newest["id"].as_str().unwrap().to_owned();
    assert_ne!(of_first, of_second);
    let mut third = http.begin(&in_session(&yours), call(3, "wipe"));
    let of_third = item(&terminal, 3, 3);
    let output = terminal.approvals(&["deny", &of_second, "--reason", "not yours"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let refused = second.response().message();
    assert!(text(&refused).contains("not yours"), "{refused}");
    assert_eq!(proxy.runs_of("wipe"), 0);
    terminal.approve(&of_first);
    let ran = first.response().message();
    assert_eq!((&ran["id"], text(&ran)), (&json!(1), "wipe ran"));
    assert_eq!(proxy.runs_of("wipe"), 1);
    terminal.approve(&of_third);
    let ran = third.response().message();
    assert_eq!((&ran["id"], text(&ran)), (&json!(3), "wipe ran"));
    let decisions = proxy.decisions();
    let sessions: Vec<&Value> = decisions.iter().map(|line| &line["session"]).collect();
    assert_ne!(sessions[0], sessions[1]);
    assert_eq!(sessions[0], sessions[2]);
    assert!(decisions.iter().all(|line| line["engine"] == "inbox"));
}

#[test]
fn items_of_a_deleted_session_are_withdrawn() {
    let (proxy, http) = served();
    let terminal = proxy.terminal();
    let (mine, yours) = (
        session_without_elicitation(&http),
        session_without_elicitation(&http),
    );
    let _first = http.begin(&in_session(&mine), call(1, "wipe"));
    let of_first = item(&terminal, 1, 1);
    let mut second = http.begin(&in_session(&yours), call(2, "wipe"));
    let of_second = item(&terminal, 2, 2);
    let deleted = http.send("DELETE", "/mcp", &in_session(&mine), "");
    assert!((200..300).contains(&deleted.status), "{}", deleted.status);
    assert_eq!(item(&terminal, 1, 2), of_second);
    assert_eq!(terminal.state_of(&of_first), "withdrawn");
    terminal.approve(&of_second);
    assert_eq!(text(&second.response().message()), "wipe ran");
    assert_eq!(proxy.runs_of("wipe"), 1);
}

#[test]
fn a_stateless_client_that_cannot_be_asked_waits_too() {
    let (proxy, http) = served();
    let terminal = proxy.terminal();
    let call_without_elicitation = |id: u64| {
        let mut call = stateless_call(id, "wipe");
        call["params"]["arguments"]["n"] = json!(id);
        call["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        call
    };
    let mut first = http.begin(&stateless("wipe"), call_without_elicitation(1));
    let of_first = item(&terminal, 1, 1);
    let mut second = http.begin(&stateless("wipe"), call_without_elicitation(2));
    let of_second = item(&terminal, 2, 2);
    terminal.approve(&of_second);
    let ran = second.response().message();
    assert_eq!((&ran["id"], text(&ran)), (&json!(2), "wipe ran"));
    let output = terminal.approvals(&["deny", &of_first]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let refused = first.response().message();
    assert_eq!(refused["id"], 1);
    assert_eq!(refused["result"]["isError"], true, "{refused}");
    assert_eq!(proxy.runs_of("wipe"), 1);
    assert_eq!(proxy.decisions().len(), 2);
}
