//! invariants.md, 5: "Every other message, either way, known or unknown, is byte-identical and in
//! order".

use serde_json::{Value, json};

use super::support::ProxyTest;

/// Lines in many styles that are not tool calls, with their newlines.
const LINES: [&str; 20] = [
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{},\"clientInfo\":{\"name\":\"c\",\"version\":\"0\"}}}\n",
    "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n",
    "{ \"params\" : { \"b\":1 ,  \"a\" : [ 1.0, 1e5, -0, 1E+2 ] }, \"method\" : \"x/unknown\" , \"id\" : \"q-1\", \"jsonrpc\" : \"2.0\" }\n",
    "\t {\"id\":123456789012345678901234567890,\"jsonrpc\":\"2.0\",\"method\":\"big/id\"} \t\n",
    "{\"jsonrpc\":\"2.0\",\"id\":2.50,\"method\":\"fraction\",\"params\":{\"n\":100000000000000000000000000000000.000}}\n",
    "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"resources/r\\u0065ad\",\"params\":{\"uri\":\"caf\\u00e9 \\/ \u{e9}\"}}\n",
    "{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"crlf\"}\r\n",
    "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"surrogate\",\"params\":{\"half\":\"\\ud83d and \\ude00\"}}\n",
    "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"null/id\"}\n",
    "{\"jsonrpc\":\"2.0\",\"id\":6,\"method\":\"dup/inside\",\"params\":{\"a\":1,\"a\":2}}\n",
    "{\"jsonrpc\":\"2.0\",\"id\":77,\"result\":{\"to\":\"a request that nobody made\"}}\n",
    "{\"jsonrpc\":\"2.0\",\"id\":\"78\",\"error\":{\"code\":-1,\"message\":\"\",\"data\":[]}}\n",
    "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":\"of nobody\"}}\n",
    "{\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"\",\"params\":[1,[2,[3]]]}\n",
    "{\"jsonrpc\":\"1.0\",\"id\":9,\"method\":\"old\",\"extra\":{\"beside\":true}}\n",
    "{\"jsonrpc\":\"2.0\",\"id\":10,\"method\":\"\u{1f980} \u{202e}\",\"params\":{\"k\\u0000\":\"\\u0000\"}}\n",
    "{\"jsonrpc\":\"2.0\",\"id\":11,\"method\":\"tools/list\",\"params\":{}}\n",
    "{\"jsonrpc\":\"2.0\",\"id\":12,\"method\":\"tools/calls\",\"params\":{\"name\":\"wipe\"}}\n",
    "{\"jsonrpc\":\"2.0\",\"id\":13,\"method\":\"elicitation/create\"}\n",
    "{\"jsonrpc\":\"2.0\",\"id\":\"end\",\"method\":\"ping\"}\n",
];

#[test]
fn messages_of_the_client_reach_the_server_byte_for_byte() {
    for chunk in [1, 7, 4096] {
        let mut session = ProxyTest::new().start();
        let text = LINES.concat();
        for part in text.as_bytes().chunks(chunk) {
            session.send_bytes(part);
        }
        session.response("end");
        let recorded = session.recorded();
        assert_eq!(
            String::from_utf8(recorded).unwrap(),
            text,
            "in chunks of {chunk}"
        );
        session.finish();
    }
}

#[test]
fn messages_of_the_server_reach_the_client_byte_for_byte() {
    let mut session = ProxyTest::new().start();
    session.handshake();
    let text = LINES.concat();
    session.notify("script", json!({"do": "say", "text": text}));
    for line in LINES {
        let read = session.next_line().unwrap();
        assert_eq!(String::from_utf8(read).unwrap(), line);
    }
    session.finish();
}

#[test]
fn a_passed_call_and_its_result_are_byte_identical() {
    let mut session = ProxyTest::new().start();
    session.handshake();
    session.passes("read", json!({}));
    let before = session.recorded();
    let call = "{ \"method\":\"tools\\/call\", \"id\":\"a b\",\"params\" : {\"arguments\":{\"n\":1.0,\"big\":123456789012345678901234567890,\"e\":\"\\u00e9\"}, \"task\":{\"ttl\":60000}, \"name\":\"r\\u0065ad\",\"unknown\":[ ]},\"jsonrpc\":\"2.0\" }\r\n";
    session.send_bytes(call.as_bytes());
    session.response("a b");
    assert_eq!(session.recorded(), [&before[..], call.as_bytes()].concat());

    let result = "{\"jsonrpc\":\"2.0\",\"id\":\"odd\",\"result\":{ \"n\":1.00, \"isError\" :false,\"x\":\"\\ud800\" } }\n";
    session.send(
        json!({"jsonrpc": "2.0", "id": "odd", "method": "tools/call", "params": {"name": "hang"}}),
    );
    session.notify("script", json!({"do": "say", "text": result}));
    assert_eq!(
        String::from_utf8(session.next_line().unwrap()).unwrap(),
        result
    );
    session.finish();
}

// invariants.md, 2: "What was shown is what runs."
#[test]
fn an_approved_call_runs_as_it_was_sent() {
    let mut session = ProxyTest::new().start();
    session.handshake();
    let call = "{ \"id\" :\"w\",\"jsonrpc\":\"2.0\",\"method\":\"tools/call\",\"params\":{\"arguments\":{\"n\":10.0,\"big\":123456789012345678901234567890},\"name\":\"wipe\",\"task\":{\"ttl\":5}}}";
    session.send(call);
    let prompt = session.approve();
    let message = prompt["params"]["message"].as_str().unwrap();
    // contract.md, "Prompts": "Numbers appear as the client wrote them."
    for shown in ["10.0", "123456789012345678901234567890", "ttl"] {
        assert!(message.contains(shown), "{message}");
    }
    session.response("w");
    assert!(
        session.has_recorded(call),
        "{}",
        String::from_utf8_lossy(&session.recorded())
    );
    session.finish();
}

#[test]
fn order_is_kept_both_ways() {
    let mut session = ProxyTest::new().start();
    session.handshake();
    session.passes("read", json!({}));
    let ids: Vec<u64> = (0..200)
        .map(|n| match n % 2 {
            0 => session.call("read", json!({"n": n})),
            _ => session.request("ping", json!({"n": n})),
        })
        .collect();
    for id in ids {
        assert_eq!(session.next()["id"], id);
    }
    session.script(json!({"do": "flood", "count": 1000, "size": 2000}));
    let floods = session.take_skipped();
    let numbers: Vec<u64> = floods
        .iter()
        .map(|message| message["params"]["n"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (0..1000).collect::<Vec<u64>>());
    session.finish();
}

#[test]
fn the_servers_own_requests_and_their_answers_pass_through() {
    let mut session = ProxyTest::new().start();
    session.handshake();
    let request =
        r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"message":"Name?"}}"#;
    session.script(json!({"do": "say", "text": format!("{request}\n")}));
    let prompt = session.prompt();
    assert_eq!(prompt["params"]["message"], "Name?");
    let answer =
        r#"{"jsonrpc":"2.0", "id":1, "result":{"action":"accept","content":{"approved":true}}}"#;
    session.send(answer);
    session.sync();
    assert!(session.has_recorded(answer));
    session.finish();
}

// For example, a server that prints a banner, or lines that are not JSON-RPC.
#[test]
fn noise_on_the_servers_stdout_is_reported_and_not_relayed() {
    let mut session = ProxyTest::new()
        .upstream(["--first-say", "Listening on stdio \u{1b}[31m…\n\n"])
        .start();
    session.handshake();
    assert_eq!(session.take_skipped(), Vec::<Value>::new());
    session.stderr_says("Listening on stdio");
    assert!(!session.stderr().contains('\u{1b}'), "{}", session.stderr());
    let noise: Vec<&[u8]> = vec![
        b"\xff\xfe not UTF-8\n",
        b"{\"jsonrpc\":\"2.0\",\"id\":1\n",
        b"[]\n",
        b"true\n",
        b"\0\n",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}} trailing\n",
        b"\xef\xbb\xbf{\"jsonrpc\":\"2.0\",\"method\":\"bom\"}\n",
        b"{\"jsonrpc\":\"2.0\",\"method\":\"a\"}\r{\"jsonrpc\":\"2.0\",\"method\":\"b\"}\n",
    ];
    for bytes in noise {
        session.script(json!({"do": "say_bytes", "bytes": bytes}));
    }
    session.passes("read", json!({}));
    assert_eq!(session.take_skipped(), Vec::<Value>::new());
    session.finish();
}

// contract.md, "Processes": "The upstream's stderr goes to stderr."
#[test]
fn the_servers_stderr_goes_to_stderr() {
    let mut session = ProxyTest::new().start();
    session.handshake();
    session.script(json!({"do": "stderr", "text": "a word to the operator\n"}));
    session.stderr_says("a word to the operator\n");
    session.finish();
}
