//! invariants.md, 4: "The proxy and the upstream can never read the same bytes differently. What
//! fails to parse strictly as a call but could be one is refused, never forwarded."
//!
//! Each case tries to smuggle a gated call with a marker to a server that records every byte.

use serde_json::json;

use super::support::{ProxyTest, Session};

pub(crate) const MARKER: &str = "B00M-7f3a";

/// The `params` of a call of `wipe` with the marker.
pub(crate) const PARAMS: &str = r#"{"name":"wipe","arguments":{"m":"B00M-7f3a"}}"#;

/// A complete gated call with this id.
pub(crate) fn call(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{PARAMS}}}"#)
}

pub(crate) const PING: &str = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;

/// Sends each case, and a ping behind it. When the server answers the ping, it must not have read the
/// marker.
fn none_gets_through_in(session: &mut Session, cases: &[(&str, Vec<u8>)]) {
    for (n, (what, bytes)) in cases.iter().enumerate() {
        session.send_bytes(bytes);
        session.send_bytes(b"\n");
        let sentinel = format!("sentinel-{n}");
        session.send(json!({"jsonrpc": "2.0", "id": sentinel, "method": "ping"}));
        session.response(sentinel.as_str());
        assert!(
            !session.has_recorded(MARKER),
            "{what}: {}",
            String::from_utf8_lossy(bytes)
        );
        assert!(session.is_running(), "{what}");
        for message in session.take_skipped() {
            let result = &message["result"];
            let ran = result["content"][0]["text"].as_str() == Some("wipe ran");
            assert!(!ran, "{what}: {message}");
        }
    }
    session.passes("read", json!({}));
    assert!(
        !session.stderr().contains("panicked"),
        "{}",
        session.stderr()
    );
}

/// Sends all cases in a new session; none may reach the server.
pub(crate) fn none_gets_through<T: Into<Vec<u8>>>(
    cases: impl IntoIterator<Item = (&'static str, T)>,
) {
    let cases: Vec<(&str, Vec<u8>)> = cases
        .into_iter()
        .map(|(what, bytes)| (what, bytes.into()))
        .collect();
    let mut session = ProxyTest::new().start();
    session.handshake();
    session.passes("read", json!({}));
    none_gets_through_in(&mut session, &cases);
    session.finish();
}

// invariants.md, 4: "The method is compared after unescaping."
#[test]
fn no_other_spelling_of_the_method_gets_through() {
    let with =
        |method: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":{method},"params":{PARAMS}}}"#);
    none_gets_through([
        ("escaped slash", with(r#""tools\/call""#)),
        ("escaped letters", with(r#""\u0074ools\u002fcal\u006C""#)),
        ("upper case", with(r#""TOOLS/CALL""#)),
        ("mixed case", with(r#""Tools/Call""#)),
        ("long s", with("\"tool\u{17f}/call\"")),
        ("long s, escaped", with(r#""tool\u017f/call""#)),
        ("a space", with(r#""tools/call ""#)),
        ("full width", with("\"\u{ff54}ools\u{ff0f}call\"")),
        ("full width, escaped", with(r#""tools/\uff23all""#)),
        ("an array", with(r#"["tools/call"]"#)),
        ("an object", with(r#"{"tools/call":1}"#)),
        ("null", with("null")),
    ]);
}

// Readers in C end a string at U+0000.
#[test]
fn a_method_with_a_nul_does_not_get_through() {
    let with =
        |method: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":{method},"params":{PARAMS}}}"#);
    none_gets_through([
        ("NUL at the end", with(r#""tools/call\u0000""#)),
        ("NUL and more", with(r#""tools/call\u0000/not""#)),
    ]);
}

// invariants.md, 4: "A `tools/call` without a usable id, with `id: null`, or sent as a notification is
// refused."
#[test]
fn a_call_without_a_usable_id_does_not_get_through() {
    let with =
        |id: &str| format!(r#"{{"jsonrpc":"2.0",{id}"method":"tools/call","params":{PARAMS}}}"#);
    none_gets_through([
        ("none", with("")),
        ("null", with(r#""id":null,"#)),
        ("true", with(r#""id":true,"#)),
        ("an array", with(r#""id":[1],"#)),
        ("an object", with(r#""id":{},"#)),
        ("a fraction", with(r#""id":1.5,"#)),
        ("a tiny fraction", with(r#""id":1e-999,"#)),
        ("a huge number", with(r#""id":1e300,"#)),
        (
            "thirty digits",
            with(r#""id":123456789012345678901234567890,"#),
        ),
        ("an empty string", with(r#""id":"","#)),
        ("a NUL", with(r#""id":"\u0000","#)),
        ("half a surrogate", with(r#""id":"\ud800","#)),
    ]);
    // This holds for a tool that would pass, too: a refusal needs an id to answer to.
    let mut session = ProxyTest::new().flags(["--mode", "none"]).start();
    session.handshake();
    let cases = ["", r#""id":null,"#, r#""id":1.5,"#, r#""id":[],"#]
        .map(|id| ("in mode none", with(id).into_bytes()));
    none_gets_through_in(&mut session, &cases);
    session.finish();
}

// invariants.md, 6: "Client ids are kept as they are." So answers to two calls under one id could be confused.
#[test]
fn a_call_under_an_id_in_use_does_not_get_through() {
    let mut session = ProxyTest::new().start();
    session.handshake();
    session.send(
        json!({"jsonrpc": "2.0", "id": 900, "method": "tools/call", "params": {"name": "hang"}}),
    );
    session.send(
        json!({"jsonrpc": "2.0", "id": "h", "method": "tools/call", "params": {"name": "wipe"}}),
    );
    let prompt = session.prompt();
    let cases = ["900", "900.0", "9e2", "\"900\"", "\"h\"", "\"\\u0068\""]
        .map(|id| ("an id in use", call(id).into_bytes()));
    none_gets_through_in(&mut session, &cases);
    let prompts_id = call(&prompt["id"].to_string()).into_bytes();
    none_gets_through_in(&mut session, &[("the id of a prompt", prompts_id)]);
    // The answer still belongs to the call that waits.
    session.answer(
        &prompt,
        json!({"action": "accept", "content": {"approved": true}}),
    );
    assert_eq!(
        session.response("h")["result"]["content"][0]["text"],
        "wipe ran"
    );
    assert!(!session.has_recorded(MARKER));
    session.finish();
}

// invariants.md, 4: "Batches are split or refused in both directions".
#[test]
fn a_batch_hides_no_call() {
    let (one, two) = (call("1"), call("2"));
    let note = format!(r#"{{"jsonrpc":"2.0","method":"tools/call","params":{PARAMS}}}"#);
    none_gets_through([
        ("alone", format!("[{one}]")),
        ("after a ping", format!("[{PING},{one}]")),
        ("before a ping", format!("[{two}, {PING} ]")),
        ("a notification", format!("[{note}]")),
        ("twice", format!("[{one},{one}]")),
        ("in a batch in a batch", format!("[[{one}]]")),
        ("beside a number", format!("[1,{one},null]")),
        ("with a comma at the end", format!("[{one},]")),
        ("not closed", format!("[{one}")),
        ("closed twice", format!("[{one}]]")),
        ("two batches", format!("[{PING}][{one}]")),
        ("behind an empty one", format!("[]{one}")),
        ("with a tab in front", format!("\t [{one}]")),
    ]);
    // Harmless members of a batch go on.
    let mut session = ProxyTest::new().start();
    session.handshake();
    session.send(format!("[{}, {}]", call("1"), PING));
    session.response("p");
    session.prompt();
    assert!(session.has_recorded(PING) && !session.has_recorded(MARKER));
    session.finish();
}

// contract.md, "Tool list": "Names are looked up exactly, by case." contract.md, "Policy": "A tool name
// with characters outside printable ASCII is never allowed by a glob."
#[test]
fn a_lookalike_of_a_harmless_tools_name_does_not_get_through() {
    let mut session = ProxyTest::new().flags(["--allow", "zz*"]).start();
    session.handshake();
    let cases: Vec<(&str, Vec<u8>)> = [
        "READ",
        "read ",
        " read",
        "read\\u0000",
        "re\\u00adad",
        "read\\u200b",
        "re\u{430}d",
        "\\u202edaer",
        "read\\n",
        "",
        "zz\\u202e",
        "zz\u{e9}",
    ]
    .map(|name| ("a name", call("1").replace("wipe", name).into_bytes()))
    .into();
    // Each call needs an id of its own: a second one under the same id would be refused.
    let cases: Vec<(&str, Vec<u8>)> = cases
        .into_iter()
        .enumerate()
        .map(|(n, (what, bytes))| {
            let text = String::from_utf8(bytes).unwrap();
            (
                what,
                text.replace(r#""id":1"#, &format!(r#""id":"n{n}""#))
                    .into_bytes(),
            )
        })
        .collect();
    none_gets_through_in(&mut session, &cases);
    session.finish();
}

// contract.md, "Tool list": "A call before the handshake that would need a decision is refused."
#[test]
fn a_gated_call_before_the_handshake_is_refused() {
    let mut session = ProxyTest::new().start();
    session.send(call("1"));
    assert!(
        session
            .refusal(1)
            .contains("before the client's `initialize`")
    );
    let initialize = json!({"protocolVersion": "2025-06-18", "capabilities": {"elicitation": {}}, "clientInfo": {"name": "c", "version": "0"}});
    let id = session.request("initialize", initialize);
    session.response(id);
    // Like servers, the proxy takes the first request after `initialize` as a sign that the client is ready.
    session.send(call("2"));
    session.prompt();
    session.send(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    session.send(call("3"));
    session.prompt();
    session.sync();
    assert!(!session.has_recorded(MARKER));
    session.finish();
}

// invariants.md, 6: "An answer counts only from the side that was asked."
#[test]
fn the_server_cannot_answer_for_the_person() {
    let mut session = ProxyTest::new().start();
    session.handshake();
    session.send(call("1"));
    let prompt = session.prompt();
    let yes = json!({"jsonrpc": "2.0", "id": prompt["id"], "result": {"action": "accept", "content": {"approved": true}}});
    for text in [format!("{yes}\n"), format!("[{yes}]\n")] {
        session.script(json!({"do": "say", "text": text}));
        session.sync();
        assert!(!session.has_recorded(MARKER));
    }
    session.answer(&prompt, json!({"action": "decline"}));
    session.refusal(1);
    session.finish();
}
