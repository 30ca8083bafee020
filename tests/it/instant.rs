//! Clients that declare elicitation and show nothing: they answer before anybody can have read the
//! question, or with an invalid answer.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::{Http, ProxyTest, Session, TOKEN, approval, call, eventually, in_session};

/// A proxy with the inbox, and a limit so high that an answer is instant even on a busy machine.
fn with_inbox() -> ProxyTest {
    ProxyTest::with_inbox().env(LIMIT, "10000")
}

/// Most tests turn this limit off.
const LIMIT: &str = "APPROVAL_APPROVAL_INSTANT_DECLINE_MS";

fn cancel() -> Value {
    json!({"action": "cancel"})
}

/// Calls a tool and answers the prompt at once, without a person.
fn answered(session: &mut Session, answer: Value) -> u64 {
    let id = session.call("wipe", json!({"n": 7}));
    let prompt = session.prompt();
    session.answer(&prompt, answer);
    id
}

fn last_decision(session: &Session) -> Value {
    session.decisions().pop().unwrap()
}

// contract.md, "Clients that answer for themselves": "they decline in milliseconds (headless Claude
// Code cancels after 10 ms) […] If `inbox` is among the engines, the question stays open there, and
// once approved the same call runs when it is made again."
#[test]
fn an_instant_cancel_is_refused_at_once_and_the_question_waits_in_the_inbox() {
    let mut session = with_inbox().start();
    session.handshake();
    let terminal = session.terminal();
    let id = answered(&mut session, cancel());
    let text = session.refusal(id);
    for words in ["was not run yet", "faster than a person can read"] {
        assert!(text.contains(words), "{text}");
    }
    assert!(!text.contains("denied"), "{text}");
    let item = terminal.wait_for_item("wipe");
    assert!(
        text.contains(&format!("as item {item} in the approval inbox")),
        "{text}"
    );
    let line = session.decision("wipe");
    assert_eq!(
        (
            &line["decision"],
            &line["engine"],
            &line["assurance"],
            &line["forwarded"]
        ),
        (
            &json!("cancelled"),
            &json!("elicitation"),
            &json!(null),
            &json!(false)
        ),
        "{line}"
    );
    assert!(line["answered_ms"].as_f64().unwrap() < 10_000.0, "{line}");
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.ends_with(&format!("; parked as {item}")), "{line}");
    assert_eq!(session.runs_of("wipe"), 0);

    terminal.approve(&item);
    session.wait_for_event("parked_verdict");
    let again = session.call("wipe", json!({"n": 7}));
    session.expect_ran(again);
    assert!(!session.was_prompted(), "it was approved already");
    let line = last_decision(&session);
    assert_eq!(
        (&line["decision"], &line["engine"], &line["assurance"]),
        (
            &json!("approved"),
            &json!("inbox"),
            &json!("inbox-terminal")
        ),
        "{line}"
    );
    // The approval was for one run.
    let third = answered(&mut session, cancel());
    session.refusal(third);
    assert_ne!(terminal.wait_for_item("wipe"), item);
    assert_eq!(session.runs_of("wipe"), 1);
    session.finish();
}

#[test]
fn the_same_call_made_again_waits_for_the_item_and_runs_when_it_is_approved() {
    let mut session = with_inbox().start();
    session.handshake();
    let terminal = session.terminal();
    let id = answered(&mut session, json!({"action": "decline"}));
    session.refusal(id);
    assert_eq!(session.decision("wipe")["decision"], "denied");
    let item = terminal.wait_for_item("wipe");
    let again = session.call("wipe", json!({"n": 7}));
    // Cancelling this call does not close the item.
    session.notify("notifications/cancelled", json!({"requestId": again}));
    session.sync();
    assert_eq!(terminal.wait_for_item("wipe"), item);
    let third = session.call("wipe", json!({"n": 7}));
    session.sync();
    terminal.approve(&item);
    session.expect_ran(third);
    assert!(!session.was_prompted());
    assert_eq!(session.runs_of("wipe"), 1);
    session.finish();
}

#[test]
fn without_the_inbox_an_instant_no_is_not_attributed_to_a_person() {
    let mut session = ProxyTest::new().env(LIMIT, "10000").start();
    session.handshake();
    for (answer, decision) in [
        (cancel(), "cancelled"),
        (json!({"action": "decline"}), "denied"),
        (
            json!({"action": "accept", "content": {"approved": false}}),
            "denied",
        ),
    ] {
        let id = answered(&mut session, answer);
        let text = session.refusal(id);
        assert!(text.contains("faster than a person can read"), "{text}");
        assert!(!text.contains("by a person"), "{text}");
        assert_eq!(last_decision(&session)["decision"], decision);
    }
    // An instant yes counts: such a client is its operator's choice.
    let id = answered(&mut session, approval());
    session.expect_ran(id);
    assert!(last_decision(&session)["answered_ms"].is_number());
    session.finish();
}

// The expected outcome depends on the time in the log, in case the machine is busy. Tests with slower
// answers are in `policy_flags` and `asking`, where the limit is off.
#[test]
fn the_default_limit_is_250_ms() {
    let mut session = ProxyTest::new().env(LIMIT, "").start();
    session.handshake();
    let mut seen = [false, false];
    for pause in [0, 0, 0, 0, 300] {
        let id = session.call("wipe", json!({}));
        let prompt = session.prompt();
        std::thread::sleep(Duration::from_millis(pause));
        session.answer(&prompt, cancel());
        let text = session.refusal(id);
        let line = last_decision(&session);
        let is_instant = line["answered_ms"].as_f64().unwrap() < 250.0;
        let decision = if is_instant { "cancelled" } else { "denied" };
        assert_eq!(line["decision"], decision, "{line}");
        assert_eq!(
            text.contains("faster than a person"),
            is_instant,
            "{line}: {text}"
        );
        assert!(!text.contains("denied by a person"), "{text}");
        seen[usize::from(is_instant)] = true;
    }
    assert_eq!(seen, [true, true]);
    session.finish();
}

// contract.md, "Clients that answer for themselves": "Invalid answer (accept without `approved`,
// wrong types): the engine failed; the next one is asked. If there is none, the call is refused
// with decision `error`".
#[test]
fn invalid_answers_go_on_to_the_inbox_or_are_errors() {
    let invalid = [
        json!({"action": "accept", "content": {}}),
        json!({"action": "accept", "content": {"approved": "true"}}),
        json!(null),
    ];
    // Invalid answers are never instant ones: the limit does not matter.
    for limit in ["0", "10000"] {
        let mut session = ProxyTest::with_inbox().env(LIMIT, limit).start();
        session.handshake();
        let terminal = session.terminal();
        for (n, answer) in invalid.iter().enumerate() {
            let id = answered(&mut session, answer.clone());
            let item = terminal.wait_for_item("wipe");
            terminal.approve(&item);
            session.expect_ran(id);
            assert_eq!(session.runs_of("wipe"), n + 1);
            let line = last_decision(&session);
            assert_eq!(
                (&line["decision"], &line["engine"]),
                (&json!("approved"), &json!("inbox")),
                "{line}"
            );
        }
        session.finish();

        let mut session = ProxyTest::new().env(LIMIT, limit).start();
        session.handshake();
        for answer in &invalid {
            let id = answered(&mut session, answer.clone());
            let text = session.refusal(id);
            assert!(
                text.contains("answer to the question cannot be used"),
                "{text}"
            );
            assert!(!text.contains("by a person"), "{text}");
            assert_eq!(last_decision(&session)["decision"], "error");
        }
        session.sync();
        assert_eq!(session.runs_of("wipe"), 0);
        session.finish();
    }
}

#[test]
fn an_instant_cancel_of_a_stateless_client_leaves_the_question_in_the_inbox() {
    let mut session = with_inbox().start();
    let terminal = session.terminal();
    let call = json!({"name": "wipe", "arguments": {"n": 7}, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
    }});
    let id = session.request("tools/call", call.clone());
    let state = session.response(id)["result"]["requestState"].clone();
    let mut retry = call.clone();
    retry["requestState"] = state;
    retry["inputResponses"] = json!({"approval-proxy": cancel()});
    let id = session.request("tools/call", retry);
    let text = session.refusal(id);
    let item = terminal.wait_for_item("wipe");
    assert!(text.contains(&item), "{text}");
    assert_eq!(session.decision("wipe")["decision"], "cancelled");
    terminal.approve(&item);
    session.wait_for_event("parked_verdict");
    let id = session.request("tools/call", call);
    session.expect_ran(id);
    assert_eq!(session.runs_of("wipe"), 1);
    session.finish();
}

#[test]
fn an_instant_cancel_over_http_leaves_the_question_in_the_inbox() {
    let test = with_inbox().env("APPROVAL_AUTH_TOKEN", TOKEN);
    let proxy = test
        .flags(["--transport", "streamable-http", "--port", "0"])
        .start();
    let http: Http = proxy.http().with_token();
    let terminal = proxy.terminal();
    let session = http.session();
    let mut refused = http.post(&in_session(&session), call(1, "wipe"));
    let prompt = refused.message();
    let body = json!({"jsonrpc": "2.0", "id": prompt["id"], "result": cancel()});
    assert_eq!(http.post(&in_session(&session), body).status, 202);
    let refused = refused.message();
    let text = refused["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("faster than a person can read"), "{refused}");
    let item = terminal.wait_for_item("wipe");
    assert!(text.contains(&item), "{refused}");
    assert_eq!(proxy.decision("wipe")["decision"], "cancelled");
    terminal.approve(&item);
    proxy.wait_for_event("parked_verdict");
    let ran = http.post(&in_session(&session), call(1, "wipe")).message();
    assert_eq!(ran["result"]["content"][0]["text"], "wipe ran");
    eventually("the call", || proxy.runs_of("wipe") == 1);
}
