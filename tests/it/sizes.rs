//! Large messages, and messages over `--max-message-size`.

use serde_json::{Value, json};

use super::support::{ProxyTest, Session};

const TEN_MIB: usize = 10 * 1024 * 1024;

fn session<const N: usize>(flags: [&str; N]) -> Session {
    let mut session = ProxyTest::new().flags(flags).start();
    session.handshake();
    session
}

#[test]
fn a_result_of_ten_mib_arrives_intact() {
    let mut session = session([]);
    let id = session.call("big", json!({"bytes": TEN_MIB}));
    let response = session.response(id);
    let text = response["result"]["content"][0]["text"].as_str().unwrap();
    assert_eq!(text.len(), TEN_MIB);
    assert!(text.bytes().all(|byte| byte == b'b'));
    session.finish();
}

#[test]
fn an_argument_of_ten_mib_arrives_intact() {
    let mut session = session([]);
    session.passes("read", json!({}));
    let before = session.recorded();
    let text: String = ('a'..='z').cycle().take(TEN_MIB).collect();
    let call = json!({"jsonrpc": "2.0", "id": "large", "method": "tools/call",
                      "params": {"name": "read", "arguments": {"text": text}}});
    let call = format!("{call}\n");
    session.send_bytes(call.as_bytes());
    session.response("large");
    // `assert_eq` would print both.
    assert!(session.recorded() == [&before[..], call.as_bytes()].concat());
    session.finish();
}

// contract.md, "Prompts": "A message is at most 16 KiB. A call that does not fit is shortened, the
// longest strings first, with their size; the message says so first and carries the SHA-256 of the
// whole call."
#[test]
fn a_gated_call_with_a_large_argument_is_shown_in_part_and_runs_whole() {
    let mut session = session([]);
    let text = "z".repeat(1024 * 1024);
    let id = session.call("wipe", json!({"text": text}));
    let prompt = session.approve();
    let message = prompt["params"]["message"].as_str().unwrap();
    assert!(message.len() <= 16 * 1024);
    let digest = message.split("SHA-256").nth(1).unwrap();
    let digest: String = digest
        .chars()
        .skip_while(|c| *c != ':')
        .skip(2)
        .take(64)
        .collect();
    assert!(
        digest.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')),
        "{message}"
    );
    session.response(id);
    assert!(session.has_recorded(&text));
    let line = session.decision("wipe");
    assert_eq!(line["call"], format!("sha256:{digest}"));
    session.finish();
}

#[test]
fn a_client_message_that_is_too_large_is_refused_and_the_session_goes_on() {
    let mut session = session(["--max-message-size", "64KiB"]);
    session.passes("read", json!({}));
    let large = "x".repeat(70_000);
    let before = session.recorded();
    let id = session.request("ping", json!({"marker": large}));
    let response = session.response(id);
    assert!(
        response["error"]["message"]
            .as_str()
            .unwrap()
            .contains("--max-message-size"),
        "{response}"
    );
    // The part beyond the limit is not read as a line of its own.
    let call =
        json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "wipe"}});
    session.send(format!("{}{call}", " ".repeat(300_000)));
    let error = session.response(Value::Null);
    assert!(error.get("error").is_some());
    let sentinel = json!({"jsonrpc": "2.0", "id": "s", "method": "ping"}).to_string();
    session.send(&sentinel);
    session.response("s");
    assert_eq!(
        session.recorded(),
        [&before[..], sentinel.as_bytes(), b"\n"].concat()
    );
    // A message of exactly the limit passes.
    let shell = json!({"jsonrpc": "2.0", "id": "e", "method": "ping", "params": ""}).to_string();
    let exact = shell.replace(
        "\"params\":\"\"",
        &format!("\"params\":\"{}\"", "x".repeat(65_536 - shell.len())),
    );
    assert_eq!(exact.len(), 65_536);
    session.send(exact);
    assert!(session.response("e").get("result").is_some());
    session.finish();
}

#[test]
fn a_server_message_that_is_too_large_becomes_an_error_and_the_session_goes_on() {
    let mut session = session(["--max-message-size", "64KiB"]);
    for bytes in [70_000, 1_000_000] {
        let id = session.call("big", json!({"bytes": bytes}));
        let response = session.response(id);
        let message = response["error"]["message"].as_str().unwrap();
        assert!(message.contains("--max-message-size"), "{message}");
    }
    session.passes("read", json!({}));
    session.stderr_says("it was dropped");
    session.finish();
}

// contract.md, "Processes": "every pending request gets an answer", in whatever order a message has its
// members. The maps of serde_json, Go and Swift are sorted, so the id comes first.
#[test]
fn the_id_of_a_message_that_is_too_large_is_found_if_its_members_are_sorted() {
    let mut session = session(["--max-message-size", "64KiB"]);
    let filler = "x".repeat(70_000);
    let request = json!({"jsonrpc": "2.0", "id": "sorted", "method": "ping", "params": [filler]});
    session.send(request);
    assert!(session.response("sorted")["error"]["message"].is_string());
    let next = session.call("read", json!({})) + 1;
    let id = session.call("big", json!({"bytes": 70_000, "sorted_for": next}));
    assert_eq!(id, next);
    let message = session.response(id)["error"]["message"].clone();
    assert!(
        message.as_str().unwrap().contains("--max-message-size"),
        "{message}"
    );
    session.finish();
}
