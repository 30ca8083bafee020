//! Clients that can open URLs are sent to the page of the call's item.

use serde_json::{Value, json};

use super::support::{Http, ProxyTest, Session, stateless, stateless_call};

/// A stateless call of a client that can open URLs but cannot show forms.
fn call(id: u64) -> Value {
    let mut call = stateless_call(id, "wipe");
    call["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] =
        json!({"elicitation": {"url": {}}});
    call
}

/// A retry of the call, with the user's answer and the state.
fn retry(id: u64, action: &str, state: &Value) -> Value {
    let mut retry = call(id);
    retry["params"]["inputResponses"] = json!({"approval-proxy": {"action": action}});
    retry["params"]["requestState"] = state.clone();
    retry
}

/// Returns the item of a page, after checking that the page exists and shows strangers nothing.
fn item_at(url: &Value) -> String {
    let url = url.as_str().unwrap();
    let (address, path) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .unwrap();
    let page = Http::at(address);
    let (_, body) = page.try_get(&format!("/{path}")).expect("a page");
    assert!(
        !body.contains("wipe"),
        "a stranger is shown the call: {body}"
    );
    let item = path.strip_prefix("item/").unwrap();
    item.to_owned()
}

/// Returns the item that a result sends the user to, and the state for the retry.
fn invitation(answer: &Value) -> (String, Value) {
    let result = &answer["result"];
    assert_eq!(result["resultType"], "input_required", "{answer}");
    let params = &result["inputRequests"]["approval-proxy"]["params"];
    assert_eq!(params["mode"], "url", "{answer}");
    assert!(params.get("elicitationId").is_none(), "{answer}");
    (item_at(&params["url"]), result["requestState"].clone())
}

fn text(message: &Value) -> &str {
    message["result"]["content"][0]["text"].as_str().unwrap()
}

// SPEC 2026-07-28: the response "indicates that the user has consented to the interaction. It does
// not mean that the interaction is complete".
#[test]
fn a_stateless_client_is_sent_to_the_page_and_its_retry_gets_the_verdict() {
    let mut session = ProxyTest::with_inbox().start();
    let terminal = session.terminal();
    session.send(call(1));
    let (item, state) = invitation(&session.response(1));
    assert_eq!(terminal.wait_for_item("wipe"), item);
    session.send(retry(2, "accept", &state));
    // invariants.md, 5: "a waiting approval delays nobody else".
    let mut other = stateless_call(3, "read");
    other["params"]["arguments"] = json!({});
    session.send(other);
    assert_eq!(text(&session.response(3)), "read ran");
    assert_eq!(session.runs_of("wipe"), 0);
    terminal.approve(&item);
    assert_eq!(text(&session.response(2)), "wipe ran");
    let line = session.decision("wipe");
    for (key, value) in [
        ("decision", json!("approved")),
        ("engine", json!("inbox")),
        ("assurance", json!("inbox-terminal")),
        ("request_id", json!(2)),
    ] {
        assert_eq!(line[key], value, "{line}");
    }
    assert!(!session.has_recorded("requestState"));
    assert!(!session.has_recorded("inputResponses"));

    // The verdict may come before the client's retry.
    session.send(call(4));
    let (item, state) = invitation(&session.response(4));
    let output = terminal.approvals(&["deny", &item, "--reason", "not on a Friday"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    session.wait_for_event("parked_verdict");
    session.send(retry(5, "accept", &state));
    assert!(session.refusal(5).contains("not on a Friday"));
    assert_eq!(session.runs_of("wipe"), 1);
    session.finish();
}

#[test]
fn a_stateless_client_over_http_is_sent_to_the_page_too() {
    let test = ProxyTest::with_inbox().flags(["--transport", "streamable-http", "--port", "0"]);
    let session: Session = test.start();
    let (http, terminal) = (session.http(), session.terminal());
    let headers = stateless("wipe");
    let mut first = http.post(&headers, call(1));
    let (item, state) = invitation(&first.message());
    // The response has ended, so the first request is over.
    assert_eq!(first.next(), None);
    let mut second = http.begin(&headers, retry(2, "accept", &state));
    assert_eq!(terminal.wait_for_item("wipe"), item);
    terminal.approve(&item);
    let ran = second.response().message();
    assert_eq!((&ran["id"], text(&ran)), (&json!(2), "wipe ran"));

    // A user who does not want to open the page says no.
    let (item, state) = invitation(&http.post(&headers, call(3)).message());
    let refused = http.post(&headers, retry(4, "decline", &state)).message();
    assert!(text(&refused).contains("denied by a person"), "{refused}");
    assert_eq!(terminal.state_of(&item), "withdrawn");

    // A client that closes the retry's response takes the call back.
    let (item, state) = invitation(&http.post(&headers, call(5)).message());
    let mut waiting = http.begin(&headers, retry(6, "accept", &state));
    // The response has started, so the retry is waiting.
    waiting.response().close();
    let is_withdrawn = || terminal.state_of(&item) == "withdrawn";
    super::support::eventually("the item is withdrawn", is_withdrawn);
    assert_eq!(session.runs_of("wipe"), 1);
}

// SPEC 2025-11-25, "URL Mode Elicitation Requests".
#[test]
fn a_client_of_2025_11_25_is_sent_to_the_page_by_a_request() {
    let mut session = ProxyTest::with_inbox().start();
    session.handshake_as("2025-11-25", json!({"elicitation": {"url": {}}}));
    let terminal = session.terminal();
    let call = session.call("wipe", json!({}));
    let request = session.prompt();
    let params = &request["params"];
    assert_eq!(params["mode"], "url", "{request}");
    let item = item_at(&params["url"]);
    assert_eq!(params["elicitationId"], *item);
    session.answer(&request, json!({"action": "accept"}));
    session.sync();
    assert_eq!(session.runs_of("wipe"), 0);
    terminal.approve(&item);
    let complete = session.message("notifications/elicitation/complete");
    assert_eq!(complete["params"]["elicitationId"], *item);
    session.expect_ran(call);
    session.finish();
}
