//! contract.md, "Prompts" and "Command line": how a person is asked, and what follows from the
//! answer.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::{ProxyTest, Session, approval};

fn session<const N: usize>(flags: [&str; N]) -> Session {
    let mut session = ProxyTest::new().flags(flags).start();
    session.handshake();
    session
}

fn runs(session: &mut Session, id: u64) {
    let response = session.response(id);
    assert_eq!(
        response["result"]["content"][0]["text"], "wipe ran",
        "{response}"
    );
}

// contract.md, "Prompts": "The request is `elicitation/create` in the words of the protocol revision
// in use (2025-06-18 has no `mode` key; 2025-11-25 has): `message` and `requestedSchema`, an object
// with a required boolean `approved` and an optional string `reason`. Nothing is pre-ticked."
#[test]
fn a_prompt_has_the_form_of_the_protocol_revision() {
    for (revision, mode) in [("2025-06-18", None), ("2025-11-25", Some("form"))] {
        let mut session = ProxyTest::new().start();
        session.handshake_as(revision, json!({"elicitation": {}}));
        let id = session.call("wipe", json!({"n": 7}));
        let prompt = session.prompt();
        let params = &prompt["params"];
        assert_eq!(params.get("mode").and_then(Value::as_str), mode);
        let schema = &params["requestedSchema"];
        assert_eq!(schema["type"], "object");
        assert_eq!(schema["required"], json!(["approved"]));
        assert_eq!(schema["properties"]["approved"]["type"], "boolean");
        assert_eq!(schema["properties"]["reason"]["type"], "string");
        assert!(!schema.to_string().contains("default"), "{schema}");
        // contract.md, "Prompts": "The message names server, tool, risk and why it is asked, the
        // arguments, the tool's description and hints."
        let message = params["message"].as_str().unwrap();
        for part in [
            "box",
            "wipe",
            "high",
            "The tool wipe.",
            "destructiveHint true",
            "{\"n\": 7}",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
        session.answer(&prompt, approval());
        runs(&mut session, id);
        session.finish();
    }
}

// contract.md, "Prompts": "Only a client that declared elicitation is asked." contract.md, "Protocol
// revisions": "2024-11-05 and 2025-03-26 have no elicitation."
#[test]
fn a_client_that_cannot_be_asked_is_refused() {
    for (revision, capabilities, part) in [
        ("2025-06-18", json!({}), "elicitation"),
        (
            "2025-11-25",
            json!({"elicitation": {"url": {}}}),
            "elicitation",
        ),
        ("2025-03-26", json!({"elicitation": {}}), "2025-03-26"),
        ("2024-11-05", json!({"elicitation": {}}), "2024-11-05"),
    ] {
        let mut session = ProxyTest::new().start();
        session.handshake_as(revision, capabilities);
        let text = session.is_refused("wipe", json!({"marker": 1}));
        assert!(text.contains(part), "{text}");
        session.passes("read", json!({}));
        assert!(!session.has_recorded("marker"));
        assert_eq!(session.decision("wipe")["decision"], "denied");
        session.finish();
    }
}

// contract.md, "Prompts": "Approved means: action `accept` and `approved` exactly `true`. Everything
// else, […] wrong types, unknown actions, […] is a refusal."
#[test]
fn only_accept_with_approved_true_is_a_yes() {
    let mut session = session([]);
    let (denied, dismissed) = ("denied by a person", "dismissed without an answer");
    let invalid = "the client's answer to the question cannot be used";
    for (answer, words) in [
        (
            r#""result":{"action":"accept","content":{"approved":false}}"#,
            denied,
        ),
        (
            r#""result":{"action":"accept","content":{"approved":"true"}}"#,
            invalid,
        ),
        (
            r#""result":{"action":"accept","content":{"approved":1}}"#,
            invalid,
        ),
        (
            r#""result":{"action":"accept","content":{"Approved":true}}"#,
            invalid,
        ),
        (
            r#""result":{"action":"accept","content":{"approved":true,"approved":true}}"#,
            invalid,
        ),
        (r#""result":{"action":"accept","content":null}"#, invalid),
        (r#""result":{"action":"accept","approved":true}"#, invalid),
        (
            r#""result":{"action":"decline","content":{"approved":true}}"#,
            denied,
        ),
        (r#""result":{"action":"cancel"}"#, dismissed),
        (
            r#""result":{"action":"certainly","content":{"approved":true}}"#,
            invalid,
        ),
        (r#""result":true"#, invalid),
        (r#""result":null"#, invalid),
        (
            r#""result":{"action":"accept","content":{"approved":true}},"error":{"code":1,"message":""}"#,
            invalid,
        ),
    ] {
        let id = session.call("wipe", json!({"marker": 1}));
        let prompt = session.prompt();
        session.send(format!(
            r#"{{"jsonrpc":"2.0","id":{},{answer}}}"#,
            prompt["id"]
        ));
        let text = session.refusal(id);
        assert!(text.contains(words), "{answer}: {text}");
    }
    session.sync();
    assert!(!session.has_recorded("marker"));
    session.finish();
}

// contract.md, "Command line": "`--timeout SECONDS`: how long a person has". contract.md, "Prompts": "A
// timed-out or cancelled prompt is withdrawn from the client." A late answer does not count.
#[test]
fn a_prompt_that_nobody_answers_is_withdrawn_and_its_call_is_refused() {
    let mut session = session(["--timeout", "0.2"]);
    let id = session.call("wipe", json!({"marker": 1}));
    let prompt = session.prompt();
    let text = session.refusal(id);
    assert!(text.contains("nobody answered in time"), "{text}");
    let withdrawn = session.message("notifications/cancelled");
    assert_eq!(withdrawn["params"]["requestId"], prompt["id"]);
    session.answer(&prompt, approval());
    session.sync();
    assert!(!session.has_recorded("marker"));
    assert!(
        !session.has_recorded("approved"),
        "the late answer was passed on"
    );
    let line = session.decision("wipe");
    assert_eq!(
        (&line["decision"], &line["forwarded"]),
        (&json!("timeout"), &json!(false))
    );
    assert!(line["duration_ms"].as_f64().unwrap() >= 200.0);
    session.finish();
}

// contract.md, "Command line": "`--timeout-action`: the final outcome of a delivered prompt that
// nobody answered".
#[test]
fn a_timeout_approves_if_the_operator_chose_that() {
    let mut session = session(["--timeout", "0.2", "--timeout-action", "approve"]);
    let id = session.call("wipe", json!({}));
    session.prompt();
    runs(&mut session, id);
    let line = session.decision("wipe");
    assert_eq!(
        (&line["decision"], &line["forwarded"]),
        (&json!("timeout"), &json!(true))
    );
    session.finish();
    // invariants.md, 3: "never for a lost client, a missing capability"
    let flags = ["--timeout", "0.2", "--timeout-action", "approve"];
    let mut session = ProxyTest::new().flags(flags).start();
    session.handshake_as("2025-06-18", json!({}));
    session.is_refused("wipe", json!({}));
    session.finish();
}

// contract.md, "Command line": "0 = no limit".
#[test]
fn a_timeout_of_zero_means_no_limit() {
    // The environment's timeout would end the wait at once.
    let test = ProxyTest::new().flags(["--timeout", "0"]);
    let mut session = test.env("APPROVAL_DEFAULT_TIMEOUT", "0.001").start();
    session.handshake();
    let id = session.call("wipe", json!({}));
    let prompt = session.prompt();
    // After this, a limit of 0 seconds would have run out.
    session.passes("slow", json!({"ms": 50}));
    session.answer(&prompt, approval());
    runs(&mut session, id);
    session.finish();
}

// contract.md, "Prompts": "only approvals are cached, per client session […]. Identical calls that
// wait at the same time share one prompt when a TTL is set and the prompt shows them in full."
#[test]
fn an_approval_covers_identical_calls_while_it_lasts() {
    let mut session = session(["--approve-ttl", "0.4"]);
    let first = session.call("wipe", json!({"a": 1, "b": 2}));
    let twin = session.call("wipe", json!({"b": 2, "a": 1}));
    let approved = Instant::now();
    session.approve();
    runs(&mut session, first);
    runs(&mut session, twin);
    let third = session.call("wipe", json!({"a": 1, "b": 2}));
    runs(&mut session, third);
    assert!(!session.was_prompted(), "an identical call was asked about");
    // Another call is not covered.
    let other = session.call("wipe", json!({"a": 1.0, "b": 2}));
    let prompt = session.prompt();
    session.answer(&prompt, json!({"action": "decline"}));
    session.refusal(other);
    // A refusal is not cached.
    let other = session.call("wipe", json!({"a": 1.0, "b": 2}));
    session.approve();
    runs(&mut session, other);
    while approved.elapsed() < Duration::from_millis(500) {
        session.sync();
    }
    let fourth = session.call("wipe", json!({"a": 1, "b": 2}));
    session.approve();
    runs(&mut session, fourth);
    session.finish();
}

#[test]
fn without_a_ttl_each_identical_call_is_asked_about() {
    let mut session = session([]);
    let first = session.call("wipe", json!({}));
    let twin = session.call("wipe", json!({}));
    session.approve();
    session.approve();
    runs(&mut session, first);
    runs(&mut session, twin);
    session.finish();
}

// contract.md, "Command line": "`--approval-dedupe-key-fields` and `--approval-dedupe-arg-keys`: what
// makes two calls identical."
#[test]
fn dedupe_flags_decide_which_calls_are_identical() {
    let mut by_tool = session([
        "--approve-ttl",
        "60",
        "--approval-dedupe-key-fields",
        "server,tool",
    ]);
    let id = by_tool.call("wipe", json!({"disk": 1}));
    by_tool.approve();
    runs(&mut by_tool, id);
    by_tool.passes("wipe", json!({"disk": 2}));
    by_tool.finish();

    let mut by_path = session([
        "--approve-ttl",
        "60",
        "--approval-dedupe-arg-keys",
        "path, mode",
    ]);
    let id = by_path.call("wipe", json!({"path": "/a", "note": "x"}));
    by_path.approve();
    runs(&mut by_path, id);
    by_path.passes("wipe", json!({"path": "/a", "note": "y"}));
    let id = by_path.call("wipe", json!({"path": "/b", "note": "x"}));
    by_path.approve();
    runs(&mut by_path, id);
    by_path.finish();
}

// contract.md, "Command line": "retries of an engine that could not decide. For elicitation that is
// only a JSON-RPC error to our prompt; an answer is an answer."
#[test]
fn a_prompt_that_the_client_could_not_show_is_tried_again() {
    let mut session = session([
        "--approval-retry-attempts",
        "3",
        "--approval-retry-backoff",
        "0.1",
        "--approval-retry-multiplier",
        "3",
        "--approval-retry-max-backoff",
        "0.15",
    ]);
    let error = |session: &mut Session| {
        let prompt = session.prompt();
        let error = json!({"code": -32603, "message": "no window \u{1b}[31m"});
        session.send(json!({"jsonrpc": "2.0", "id": prompt["id"], "error": error}));
        prompt["id"].clone()
    };
    let id = session.call("wipe", json!({"marker": 1}));
    let start = Instant::now();
    let mut ids = vec![error(&mut session)];
    for (least, most) in [(100, 290), (250, 440), (400, 1500)] {
        ids.push(error(&mut session));
        let waited = start.elapsed().as_millis();
        assert!(waited >= least, "{waited} ms");
        // The bounds are generous, but the last one would still catch a pause of 0.1 · 3 · 3 s.
        assert!(waited < most + 1000, "{waited} ms");
    }
    ids.dedup();
    assert_eq!(ids.len(), 4, "each prompt has its own id");
    let text = session.refusal(id);
    assert!(
        text.contains("could not ask") && text.contains("no window"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text}");
    session.sync();
    assert!(!session.has_recorded("marker"));
    assert_eq!(session.decision("wipe")["decision"], "error");
    session.finish();
}

#[test]
fn nothing_is_retried_with_zero_attempts_or_after_an_answer() {
    let mut session = session(["--approval-retry-attempts", "0"]);
    let id = session.call("wipe", json!({}));
    let prompt = session.prompt();
    session
        .send(json!({"jsonrpc": "2.0", "id": prompt["id"], "error": {"code": 1, "message": "x"}}));
    session.refusal(id);
    let id = session.call("wipe", json!({}));
    let prompt = session.prompt();
    session.answer(&prompt, json!({"action": "cancel"}));
    session.refusal(id);
    session.sync();
    assert!(!session.was_prompted());
    session.finish();
}

// contract.md, "Protocol revisions": "`notifications/cancelled` for a held call: withdraw the
// prompt, run nothing, forward nothing."
#[test]
fn cancelling_a_held_call_withdraws_its_prompt_and_forwards_nothing() {
    let mut session = session([]);
    session.passes("read", json!({}));
    let before = session.recorded();
    let id = session.call("wipe", json!({"marker": 1}));
    let prompt = session.prompt();
    session.notify(
        "notifications/cancelled",
        json!({"requestId": id, "reason": "changed my mind"}),
    );
    let withdrawn = session.message("notifications/cancelled");
    assert_eq!(withdrawn["params"]["requestId"], prompt["id"]);
    session.answer(&prompt, approval());
    let sentinel = json!({"jsonrpc": "2.0", "id": "sentinel", "method": "ping"}).to_string();
    session.send(&sentinel);
    session.response("sentinel");
    // The server has got no byte of the call, the cancellation or the late answer.
    let expected = [&before[..], sentinel.as_bytes(), b"\n"].concat();
    assert_eq!(session.recorded(), expected);
    let line = session.decision("wipe");
    assert_eq!(
        (&line["decision"], &line["forwarded"]),
        (&json!("cancelled"), &json!(false))
    );
    session.finish();
}

// invariants.md, 5: "a waiting approval delays nobody else"
#[test]
fn a_waiting_approval_delays_nobody_else() {
    let mut session = session([]);
    let held = session.call("wipe", json!({}));
    let prompt = session.prompt();
    for _ in 0..50 {
        session.passes("read", json!({}));
        session.sync();
    }
    let also_held = session.call("write_file", json!({}));
    let second = session.prompt();
    session.answer(&second, approval());
    let response = session.response(also_held);
    assert_eq!(response["result"]["content"][0]["text"], "write_file ran");
    session.answer(&prompt, approval());
    runs(&mut session, held);
    session.finish();
}

// contract.md, "Prompts": "While a call waits and carries a `progressToken`, the client gets a
// `notifications/progress` every 10 s, with values small enough (below 0.001) that the upstream's own
// still increase."
#[test]
fn a_client_that_asked_for_progress_gets_it_while_a_call_waits() {
    let mut session = session(["--timeout", "0"]);
    let start = Instant::now();
    let quiet = session.call("write_file", json!({}));
    session.prompt();
    let id = session.request(
        "tools/call",
        json!({"name": "wipe", "arguments": {}, "_meta": {"progressToken": "tok-1"}}),
    );
    let prompt = session.prompt();
    let progress = session.message("notifications/progress");
    assert!(
        (9..13).contains(&start.elapsed().as_secs()),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(progress["params"]["progressToken"], "tok-1");
    let value = progress["params"]["progress"].as_f64().unwrap();
    assert!(value > 0.0 && value < 0.001, "{value}");
    session.answer(&prompt, approval());
    runs(&mut session, id);
    let skipped = session.take_skipped();
    assert!(
        skipped.is_empty(),
        "call {quiet} asked for no progress: {skipped:?}"
    );
    session.finish();
}

#[test]
fn calls_beyond_max_pending_are_refused() {
    let mut session = session(["--max-pending", "2"]);
    let first = session.call("wipe", json!({}));
    let second = session.call("wipe", json!({}));
    let (a, b) = (session.prompt(), session.prompt());
    let third = session.call("wipe", json!({"marker": 1}));
    let response = session.response(third);
    assert!(
        response["error"]["message"]
            .as_str()
            .unwrap()
            .contains("--max-pending"),
        "{response}"
    );
    session.answer(&a, approval());
    session.answer(&b, approval());
    runs(&mut session, first);
    runs(&mut session, second);
    let fourth = session.call("wipe", json!({}));
    session.approve();
    runs(&mut session, fourth);
    assert!(!session.has_recorded("marker"));
    session.finish();
}

// contract.md, "Protocol revisions": "Answer the call with `resultType: "input_required"`, one
// `inputRequests` entry and a `requestState`; the client retries with `inputResponses`."
#[test]
fn a_gated_stateless_call_runs_when_its_retry_brings_a_yes() {
    let mut session = ProxyTest::new().start();
    let call = |mark: &str| {
        json!({"name": "wipe", "arguments": {"m": mark}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
        }})
    };
    let retry = |mark: &str, state: &Value, answer: Value| {
        let mut retry = call(mark);
        retry["requestState"] = state.clone();
        retry["inputResponses"] = json!({"approval-proxy": answer});
        retry
    };
    let yes = json!({"action": "accept", "content": {"approved": true}});
    let id = session.request("tools/call", call("one"));
    let asked = session.response(id);
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let state = asked["result"]["requestState"].clone();
    assert!(!session.has_recorded(r#""m":"one""#));
    // The state is not valid for another call.
    let id = session.request("tools/call", retry("two", &state, yes.clone()));
    assert!(session.refusal(id).contains("belong to no question"));
    assert!(!session.has_recorded(r#""m":"two""#));
    let id = session.request("tools/call", retry("one", &state, yes.clone()));
    assert_eq!(
        session.response(id)["result"]["content"][0]["text"],
        "wipe ran"
    );
    assert!(!session.has_recorded("requestState"));
    assert!(!session.has_recorded("approval-proxy"));
    // It is not valid twice.
    let id = session.request("tools/call", retry("one", &state, yes));
    assert!(session.refusal(id).contains("was already answered"));
    let id = session.request("tools/call", call("three"));
    let state = session.response(id)["result"]["requestState"].clone();
    let no = json!({"action": "decline"});
    let id = session.request("tools/call", retry("three", &state, no));
    assert!(session.refusal(id).contains("denied by a person"));
    assert!(!session.has_recorded(r#""m":"three""#));
    session.finish();
}
