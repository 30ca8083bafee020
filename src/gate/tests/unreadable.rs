//! Lines that two readers could read differently are refused; all other lines stay unchanged.

use serde_json::{Value, json};

use super::scene::{Scene, call};
use crate::gate::Settings;
use crate::policy::{Mode, Rules};

/// A session that already has its list, with a policy mode.
fn session(mode: Mode) -> Scene {
    let rules = Rules {
        mode,
        ..Rules::default()
    };
    let mut scene = Scene::with(Settings::default(), rules).legacy("2025-11-25");
    ordinary_call_works(&mut scene, "first");
    scene.log.clear();
    scene
}

fn ordinary_call_works(scene: &mut Scene, id: &str) {
    scene.client_calls(id, "read_note", json!({}));
    scene.expect_forwarded(id);
    scene.expect_nothing();
}

/// Expands a line of a table: `@H` is a head, `@P` the parameters of a gated call, `@C` a gated
/// call.
fn expanded(line: &str) -> String {
    line.replace("@C", r#"{@H,"method":"tools/call","params":@P}"#)
        .replace("@H", r#""jsonrpc":"2.0","id":1"#)
        .replace("@P", r#"{"name":"delete_user","arguments":{}}"#)
}

/// The line is refused, to this id, with a record, and harms nobody, even if every readable call
/// would pass.
fn is_refused(id: &str, line: &[u8]) {
    let shown = String::from_utf8_lossy(line);
    let shown = shown.chars().take(300).collect::<String>();
    for mode in [Mode::Destructive, Mode::None] {
        let mut scene = session(mode);
        scene.client_sends_bytes(line);
        assert!(scene.upstream.is_empty(), "passed on: {shown}");
        assert_eq!(scene.client.len(), 1, "answers to {shown}");
        let answer = scene.take_client();
        assert!(answer["error"]["message"].is_string(), "{shown}: {answer}");
        let id: Value = serde_json::from_str(id).unwrap();
        assert_eq!(answer.get("id"), Some(&id), "{shown}");
        assert_eq!(scene.log.len(), 1, "{shown}");
        let logged = &scene.log[0];
        let refused = logged["event"] == "refused" && logged.get("tool").is_none();
        let error = logged["decision"] == "error" && logged["forwarded"] == false;
        assert!(refused || error, "{shown}: {logged}");
        ordinary_call_works(&mut scene, "afterwards");
    }
}

fn are_refused(id: &str, lines: &[&str]) {
    for line in lines {
        is_refused(id, expanded(line).as_bytes());
    }
}

// invariants.md, 4: "A message is refused when its envelope, or anything at any depth of a call's
// `params`, holds the same key twice after unescaping, or when the envelope or a call's `params`
// hold a key that differs from a protocol key only by case, Unicode folding, white space,
// characters that draw nothing, or width."
#[test]
fn an_envelope_with_two_readings_is_refused() {
    are_refused(
        "null",
        &[
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/call","params":@P}"#,
            r#"{"method":"ping","method":"tools/call","params":@P,"jsonrpc":"2.0","id":1}"#,
        ],
    );
    are_refused(
        "1",
        &[
            r#"{@H,"method":"ping","method":"tools/call","params":@P}"#,
            r#"{@H,"method":"tools/call","method":"ping","params":@P}"#,
            r#"{@H,"method":"tools/call","m\u0065thod":"ping","params":@P}"#,
            r#"{@H,"method":"tools/call","params":{"name":"read_note"},"params":@P}"#,
            r#"{@H,"method":"tools/call","params":@P,"\u0070arams":{"name":"read_note"}}"#,
            r#"{@H,"jsonrpc":"2.0","method":"tools/call","params":@P}"#,
            r#"{@H,"x":1,"\u0078":2,"method":"tools/call","params":@P}"#,
            r#"{@H,"method":"ping","Method":"tools/call","params":@P}"#,
            r#"{@H,"METHOD":"tools/call","params":@P}"#,
            r#"{@H,"method":"tools/call","params":{"name":"read_note"},"Params":@P}"#,
            r#"{@H,"method":"tools/call","params":{"name":"read_note"},"paramſ":@P}"#,
            r#"{@H,"method":"tools/call","Id":2,"params":@P}"#,
            r#"{@H,"method":"tools/call","\u0131d":2,"params":@P}"#,
            r#"{@H,"method":"tools/call","İd":2,"params":@P}"#,
            r#"{@H,"method":"tools/call","JSONRPC":"2.0","params":@P}"#,
            r#"{@H,"method":"ping","method\u0000":"tools/call","params":@P}"#,
            r#"{@H,"method":"ping","method ":"tools/call","params":@P}"#,
            r#"{@H,"method ":"tools/call","params":@P}"#,
            r#"{@H,"method":"ping","\tmethod":"tools/call","params":@P}"#,
            r#"{@H,"method":"ping","me\u200bthod":"tools/call","params":@P}"#,
            r#"{@H,"method":"ping","\ufeffMethod":"tools/call","params":@P}"#,
            r#"{@H,"method":"ping","\uff4dethod":"tools/call","params":@P}"#,
            r#"{@H,"method":"tools/call","params":{"name":"read_note"},"params\u00a0":@P}"#,
            r#"{@H,"method":"tools/call","params":{"name":"read_note"},"ｐａｒａｍｓ":@P}"#,
            r#"{@H,"method":"ping","method\u00ad":"tools/call","params":@P}"#,
            r#"{@H,"method":"tools/call","\ud800":1,"params":@P}"#,
            r#"{@H,"method":"tools/call","params":@P,"result":null}"#,
            r#"{@H,"method":"tools/call","params":@P,"error":{}}"#,
            r#"{@H,"method":["tools/call"],"params":@P}"#,
            r#"{@H,"method":{"tools/call":1},"params":@P}"#,
            r#"{@H,"params":@P}"#,
            // Readable, but not plain JSON-RPC 2.0: a call could hide in members that we do not
            // know.
            r#"{@H,"method":"tools/call","params":@P,"extra":1}"#,
            r#"{@H,"method":"tools/call","params":@P,"meta":@C}"#,
            r#"{"id":1,"method":"tools/call","params":@P}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"tools/call","params":@P}"#,
            r#"{"jsonrpc":2.0,"id":1,"method":"tools/call","params":@P}"#,
        ],
    );
}

// invariants.md, 4: "The method is compared after unescaping."
#[test]
fn a_method_that_could_be_taken_for_a_call_is_refused() {
    for method in [
        "Tools/Call",
        "TOOLS/CALL",
        "tools/calL",
        r"tools\/Call",
        r"\u0054ools/call",
        "toolſ/call",
        r"tool\u017f/call",
        r"tools/call\u0000",
        r"tools/call\u0000/x",
        " tools/call",
        "tools/call ",
        r"tools/call\n",
        r"\ttools/call",
        "tools//call",
        "/tools/call",
        "tools/call/",
        r"tools/\u200bcall",
        r"\ufefftools/call",
        "ｔｏｏｌｓ/ｃａｌｌ",
        "ＴＯＯＬＳ／ＣＡＬＬ",
        r"tools\uff0fcall",
        "tools／／call",
    ] {
        let line = format!(r#"{{@H,"method":"{method}","params":@P}}"#);
        is_refused("1", expanded(&line).as_bytes());
    }
    is_refused(
        "1",
        expanded(r#"{@H,"method":"tools\ud800/call","params":@P}"#).as_bytes(),
    );
}

// invariants.md, 4: "anything at any depth of a call's `params`, holds the same key twice after
// unescaping, or […] a call's `params` hold a key that differs from a protocol key only by case".
#[test]
fn parameters_with_two_readings_are_refused() {
    let deep = |n: usize| {
        format!(
            r#"{{"name":"delete_user","arguments":{{"x":{}1{}}}}}"#,
            "[".repeat(n),
            "]".repeat(n)
        )
    };
    for params in [
        r#"{"name":"read_note","name":"delete_user"}"#,
        r#"{"name":"delete_user","n\u0061me":"read_note"}"#,
        r#"{"name":"delete_user","arguments":{"id":1,"id":2}}"#,
        r#"{"name":"delete_user","arguments":{"a":[{"b":{"id":1,"\u0069d":2}}]}}"#,
        r#"{"name":"delete_user","arguments":{},"arguments":{"all":true}}"#,
        r#"{"name":"delete_user","_meta":{"a":1,"a":2}}"#,
        r#"{"name":"delete_user","unknown":{"a":1,"a":2}}"#,
        r#"{"name":"read_note","Name":"delete_user"}"#,
        r#"{"name":"delete_user","arguments":{},"ARGUMENTS":{"all":true}}"#,
        r#"{"name":"delete_user","argument\u017f":{"all":true}}"#,
        r#"{"name":"delete_user","taſk":{}}"#,
        r#"{"name":"delete_user","_Meta":{}}"#,
        r#"{"name":"read_note","name ":"delete_user"}"#,
        r#"{"name":"read_note"," name":"delete_user"}"#,
        r#"{"name":"read_note","na\u200bme":"delete_user"}"#,
        r#"{"name":"read_note","name\n":"delete_user"}"#,
        r#"{"name":"read_note","ｎａｍｅ":"delete_user"}"#,
        r#"{"name":"delete_user","arguments":{},"arguments\ufeff":{"all":true}}"#,
        r#"{"name":"delete_user","_meta":{"progressToken\u2060":1}}"#,
        r#"{"name":"delete_user","requeststate":"s"}"#,
        r#"{"name":"delete_user","inputresponses":{}}"#,
        r#"{"name":"delete_user","_meta":{"progresstoken":1}}"#,
        r#"{"name":"delete_user","arguments":{"\u0000":1}}"#,
        r#"{"name":"delete_user","arguments":{"id\u0000":1}}"#,
        r#"{"name":"delete_user\udc00"}"#,
        r#"{"name":"delete_user","arguments":{"x":"\ud800"}}"#,
        r#"{"name":"delete_user","arguments":{"\ud800":1}}"#,
        r#"{"name":["delete_user"]}"#,
        r#"{"name":{"delete_user":1}}"#,
        r#"{"tool":"delete_user"}"#,
        r#"{"name":null,"tool":"delete_user"}"#,
        r#"{"name":"delete_user","arguments":["x"]}"#,
        r#"{"name":"delete_user","arguments":"{}"}"#,
        r#"{"name":"delete_user","_meta":[]}"#,
        r#"["delete_user",{}]"#,
        r#""{\"name\":\"delete_user\"}""#,
        "null",
        "7",
        &deep(200),
        &deep(100_000),
    ] {
        let line = format!(r#"{{@H,"method":"tools/call","params":{params}}}"#);
        is_refused("1", expanded(&line).as_bytes());
    }
    is_refused("1", expanded(r#"{@H,"method":"tools/call"}"#).as_bytes());
}

// invariants.md, 4: "A `tools/call` without a usable id, with `id: null`, or sent as a notification
// is refused."
#[test]
fn a_call_without_a_usable_id_is_refused() {
    for id in ["null", "true", "[1]", r#"{"a":1}"#, r#""\ud800""#] {
        let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":@P}}"#);
        is_refused("null", expanded(&line).as_bytes());
    }
    for id in ["1.5", "-0.1", "1e-3"] {
        let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":@P}}"#);
        is_refused(id, expanded(&line).as_bytes());
    }
    // JSON-RPC 2.0, section 4.1: "The Server MUST NOT reply to a Notification".
    let mut scene = session(Mode::None);
    scene.client_sends(&expanded(
        r#"{"jsonrpc":"2.0","method":"tools/call","params":@P}"#,
    ));
    scene.expect_nothing();
    assert_eq!(scene.log[0]["event"], "refused");
    assert_eq!(scene.warnings.len(), 1);
}

// invariants.md, 4: "A line with more than one JSON value, invalid UTF-8, a BOM or raw control
// characters is refused." "What fails to parse strictly as a call but could be one is refused".
#[test]
fn a_line_that_is_not_one_strict_json_value_is_refused() {
    are_refused(
        "null",
        &[
            "\u{feff}@C",
            "\u{a0}@C",
            "\u{c}@C",
            "\u{1e}@C",
            "@C\0",
            "{@H,\"method\":\"ping\"}\r@C",
            "@C\r\r",
            "data: @C",
            "Content-Length: 99 @C",
            "\"@C\"",
            r#""{\"method\":\"tools/call\",\"params\":{\"name\":\"delete_user\"}}""#,
            "(@C)",
            "7",
        ],
    );
    are_refused(
        "1",
        &[
            r#"{@H,"method":"ping"}@C"#,
            r#"{@H,"method":"ping"} ,@C"#,
            "@C;",
            "@C//",
            r#"{@H,"method":"tools/call","params":@P,}"#,
            r#"{@H,"method":"tools/call","params":@P"#,
            r#"{@H,"method":"tools/call","params":{"name":"delete_user","x":NaN}}"#,
            r#"{@H,"method":"tools/call","params":{"name":"delete_user","x":01}}"#,
            r#"{@H,"method":"tools/call","params":{"name":"delete_user","x":"\x41"}}"#,
            "{@H,\"method\":\"tools/call\",\"params\":{\"name\":\"delete_user\",\"x\":\"\t\"}}",
            r#"{@H,/**/"method":"tools/call","params":@P}"#,
            r#"{@H,'method':'tools/call','params':@P}"#,
            r#"{@H,method:"tools/call","params":@P}"#,
        ],
    );
    let call = expanded("@C");
    let utf16: Vec<u8> = call.encode_utf16().flat_map(u16::to_le_bytes).collect();
    is_refused("null", &utf16);
    // An overlong quote, half a surrogate pair, a byte that is never UTF-8, a truncated character.
    for bytes in [&b"\xc0\xa2"[..], b"\xed\xa0\x80", b"\xff", b"\xe2\x82"] {
        let (front, end) = call.split_once("user").unwrap();
        is_refused("null", &[front.as_bytes(), bytes, end.as_bytes()].concat());
    }
}

// invariants.md, 4: "Batches are split or refused in both directions".
#[test]
fn a_batch_that_cannot_be_read_is_refused_as_a_whole() {
    are_refused(
        "null",
        &[
            "[]",
            "[[@C]]",
            "[@C",
            "[@C,]",
            "[@C]]",
            "[@C][@C]",
            r#"["@P"]"#,
            "[7]",
        ],
    );
    let many = vec![expanded("@C"); 5_000].join(",");
    is_refused("null", format!("[{many}]").as_bytes());
}

// JSON-RPC 2.0, section 5.1: -32700 "Invalid JSON was received by the server", -32600 "The JSON
// sent is not a valid Request object"; section 7 has `[1]` answered with the second.
#[test]
fn json_that_is_not_a_message_is_an_invalid_request() {
    for (line, code) in [
        ("[1]", -32600),
        (r#"["x"]"#, -32600),
        ("[[]]", -32600),
        ("[null]", -32600),
        ("[]", -32600),
        ("1", -32600),
        ("[1,]", -32700),
        ("tru", -32700),
    ] {
        let mut scene = session(Mode::Destructive);
        scene.client_sends(line);
        let answer = scene.take_client();
        assert_eq!(answer["error"]["code"], code, "{line}: {answer}");
        scene.expect_nothing();
    }
}

#[test]
fn every_entry_of_a_batch_is_judged_on_its_own() {
    let mut scene = session(Mode::Destructive);
    let ping = r#"{ "method":"ping", "jsonrpc":"2.0", "id":4 }"#;
    let read = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params": {"name":"read_note"}}"#;
    let hostile = r#"{"jsonrpc":"2.0","id":3,"Method":"tools/call","params":@P}"#;
    scene.client_sends(&expanded(&format!("[@C, {ping},{hostile},\t{read},7,@C]")));
    assert_eq!(scene.upstream.pop_front().unwrap(), ping);
    assert_eq!(scene.upstream.pop_front().unwrap(), read);
    let prompt = scene.expect_prompt();
    scene.expect_error(3);
    scene.expect_error(Value::Null);
    // Two calls with one id: the second is refused, the first still waits.
    assert!(
        scene
            .expect_error(1)
            .contains("another request with this id")
    );
    scene.expect_nothing();
    // The answer to our prompt counts in a batch, too, and is not forwarded.
    scene.client_says(&json!([{"jsonrpc": "2.0", "id": prompt.id,
        "result": {"action": "accept", "content": {"approved": true}}}]));
    assert_eq!(scene.upstream.pop_front().unwrap(), expanded("@C"));
    scene.expect_nothing();
}

#[test]
fn a_batch_from_the_upstream_is_split() {
    let mut scene = session(Mode::Destructive);
    let entries = [
        r#"{"jsonrpc":"2.0","id":5, "result":{"n":1.0}}"#,
        r#"{"method":"notifications/progress","jsonrpc":"2.0"}"#,
        r#"{"jsonrpc":"2.0","id":6,"method":"roots/list"}"#,
    ];
    scene.upstream_sends(&format!("[{}, 7]", entries.join(" ,")));
    for entry in entries {
        assert_eq!(scene.client.pop_front().unwrap(), entry);
    }
    scene.expect_nothing();
    assert_eq!(scene.warnings.len(), 1);
}

// invariants.md, 4: "The method is compared after unescaping."
#[test]
fn an_escaped_method_or_name_is_a_call_like_any_other() {
    for line in [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools\/call","params":{"name":"delete_user"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"\u006dethod":"\u0074ools/call","params":{"name":"delete_user"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"d\u0065lete_user"}}"#,
        " { \"params\" : {\"arguments\":null,\"name\":\"delete_user\"} ,\t\"method\":\"tools/call\",\"id\":1.0,\"jsonrpc\":\"2.0\"} ",
    ] {
        let mut scene = session(Mode::Destructive);
        scene.client_sends(line);
        let prompt = scene.expect_prompt();
        assert!(prompt.message.contains("tool `delete_user`"));
        scene.expect_nothing();
        scene.approve(&prompt);
        assert_eq!(scene.upstream.pop_front().unwrap(), line);
        scene.expect_nothing();
    }
}

// invariants.md, 6: "A peer's request is refused if its id equals that of one of our open requests.
// Client ids are kept as they are".
#[test]
fn an_id_that_is_in_use_is_refused_and_nothing_is_confused() {
    let mut scene = session(Mode::Destructive);
    scene.client_says(&call(7, "delete_user", json!({})));
    let prompt = scene.expect_prompt();
    scene.client_says(&call(8, "read_note", json!({})));
    scene.expect_forwarded(8);
    for id in ["7", "7.0", "70e-1", "8"] {
        scene.client_sends(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"read_note"}}}}"#
        ));
        assert!(scene.take_client()["error"].is_object(), "{id}");
        scene.expect_nothing();
        scene.expect_logged("error", false);
    }
    // A different id.
    scene.client_says(&call("7", "read_note", json!({})));
    scene.expect_forwarded("7");
    // The upstream may not ask the client with the id of our prompt.
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": prompt.id, "method": "roots/list"}));
    assert!(scene.take_upstream()["error"].is_object());
    scene.expect_nothing();
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": 8, "result": {}}));
    scene.take_client();
    scene.client_says(&call(8, "read_note", json!({})));
    scene.expect_forwarded(8);
    scene.approve(&prompt);
    scene.expect_forwarded(7);
    scene.expect_nothing();
}

#[test]
fn a_request_under_the_id_of_our_list_request_is_refused() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_says(&call(1, "read_note", json!({})));
    let id = scene.take_list_request().unwrap();
    for method in ["ping", "tools/list", "tools/call"] {
        scene.client_says(&json!({"jsonrpc": "2.0", "id": id, "method": method,
            "params": {"name": "read_note"}}));
        scene.expect_error(id.clone());
        scene.expect_nothing();
    }
}

// contract.md, "Command line": "stdout carries MCP and nothing else".
#[test]
fn noise_from_the_upstream_is_shown_to_the_operator_and_dropped() {
    let mut scene = session(Mode::Destructive);
    for line in [
        "Server started on port 80",
        "\u{1b}[32mready\u{1b}[0m",
        "7",
        "{}",
        "\u{feff}{}",
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"roots/list"}"#,
        r#"{"jsonrpc":"2.0","id":1,"Method":"x","method":"roots/list"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"x","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}} {"jsonrpc":"2.0","id":2,"result":{}};"#,
        "{\"jsonrpc\":\"2.0\",\"method\":\"x\"}\r{\"jsonrpc\":\"2.0\",\"method\":\"x\"}",
        r#"{"jsonrpc":"2.0","#,
    ] {
        scene.upstream_sends(line);
        scene.expect_nothing();
        let warning = scene.warnings.pop().expect("a warning");
        assert!(warning.contains("not an MCP message"), "{line}: {warning}");
        assert!(!warning.contains(char::is_control), "{line}: {warning}");
        assert!(scene.warnings.is_empty());
    }
    for blank in ["", " ", "\t", "\r"] {
        scene.upstream_sends(blank);
        scene.client_sends(blank);
    }
    scene.expect_nothing();
    assert!(scene.warnings.is_empty() && scene.log.is_empty());
    ordinary_call_works(&mut scene, "afterwards");
}

// contract.md, "Command line": `--max-message-size` is a cap. Every request gets an answer if its
// id can be found.
#[test]
fn a_line_over_the_size_limit_is_answered_if_its_id_is_near_an_end() {
    let cut = format!(r#""x":"{}"#, "x".repeat(4_000));
    let gated = r#""method":"tools/call","params":{"name":"delete_user","#;
    let long_tail = format!(r#"{}"}}}}"#, "x".repeat(4_000));
    for (id, head, tail) in [
        (
            json!(1),
            format!(r#"{{"jsonrpc":"2.0","id":1,{gated}{cut}"#),
            long_tail.clone(),
        ),
        (
            json!("a-1"),
            format!(r#"{{"jsonrpc":"2.0","id":"a-1",{gated}{cut}"#),
            long_tail.clone(),
        ),
        (
            json!(null),
            format!(r#"{{"jsonrpc":"2.0",{gated}{cut}"#),
            long_tail.clone(),
        ),
        (
            json!(2),
            format!("{{{gated}{cut}"),
            r#"xx"}},"jsonrpc":"2.0","id":2}"#.to_owned(),
        ),
        (json!(null), "[[[[".to_owned(), "]]]]".to_owned()),
        (json!(null), String::new(), String::new()),
    ] {
        let mut scene = session(Mode::None);
        scene.client_sends_overlong(&head, &tail);
        assert!(scene.expect_error(id).contains("--max-message-size"));
        scene.expect_nothing();
        assert_eq!(scene.log[0]["event"], "refused");
        ordinary_call_works(&mut scene, "afterwards");
    }
    let result = format!(r#"{{"jsonrpc":"2.0","id":5,"result":{{{cut}"#);
    let result_first = format!(r#"{{"result":{{{cut}"#);
    for (head, tail) in [
        (&*result, &*long_tail),
        (&*result_first, r#"xx"},"jsonrpc":"2.0","id":5}"#),
    ] {
        let mut scene = session(Mode::None);
        scene.client_says(&call(5, "read_note", json!({})));
        scene.expect_forwarded(5);
        scene.upstream_sends_overlong(head, tail);
        assert!(scene.expect_error(5).contains("--max-message-size"));
        // A request that nobody waits for gets no second answer.
        scene.upstream_sends_overlong(head, tail);
        scene.expect_nothing();
        assert_eq!(scene.warnings.len(), 2);
    }
}

/// Odd but legal messages that are not calls; either side may send them.
const ODD: [&str; 26] = [
    r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#,
    " { \"method\" : \"x/y\" ,\t\"id\" : 12345678901234567890123 , \"jsonrpc\" : \"2.0\" }\t ",
    r#"{"params":{"n":1.0,"m":-0.0,"o":1E+2,"p":0.1e-400,"q":100000000000000000000.50},"method":"x"}"#,
    r#"{"jsonrpc":"2.0","method":"a\u002fb\/c","params":{"\u0061":"\u00e9é\ud83d\ude00😀\\\"\b"}}"#,
    r#"{"jsonrpc":"2.0","method":"x","params":{"lone":"\ud800","\udc00":"\udfff"}}"#,
    r#"{"jsonrpc":"2.0","method":"x","params":{"a":1,"a":2}}"#,
    r#"{"jsonrpc":"2.0","method":"x","params":[1,[2,[]],null]}"#,
    r#"{"jsonrpc":"2.0","method":"x","params":"tools/call"}"#,
    r#"{"jsonrpc":"2.0","method":"x","params":{"name":"delete_user","method":"tools/call"}}"#,
    r#"{"jsonrpc":"2.0","method":"tools/calls","params":{"name":"delete_user"}}"#,
    r#"{"jsonrpc":"2.0","method":"tools/list_call","unknown":{"x":1},"_meta":null}"#,
    r#"{"jsonrpc":"2.0","method":""}"#,
    r#"{"method":"x","id":null}"#,
    r#"{"jsonrpc":"1.0","method":"x","id":1.5}"#,
    r#"{"jsonrpc":"2.0","id":"r1","result":{}}"#,
    r#"{"jsonrpc":"2.0","id":"r2","result":{"a":1,"a":2,"s":"\ud800"},"extra":0}"#,
    r#"{"result":{"text":"\",\"jsonrpc\":\"2.0\",\"id\":9"},"jsonrpc":"2.0","id":"r3"}"#,
    r#"{"id":"r4","error":{"code":-32000,"message":"m","data":{"n":1.00}},"jsonrpc":"2.0"}"#,
    r#"{"jsonrpc":"2.0","id":"r5","result":null,"error":null}"#,
    r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}"#,
    "{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"params\":{\"s\":\"\u{2028}\u{2029}\u{85}\u{7f}\u{200b}\u{202e}\"}}",
    "{\"jsonrpc\":\"2.0\",\"method\":\"crlf\"}\r",
    "{\"jsonrpc\":\"2.0\",\"id\":\"r6\",\"result\":{}}\r",
    r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"nobody","reason":"x"}}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":[1]}}"#,
    r#"{"jsonrpc":"2.0","id":"d","method":"server/discover","params":{"_meta":{"x.y/z":[]}}}"#,
];

// invariants.md, 5: "Every other message, either way, known or unknown, is byte-identical and in
// order; a waiting approval delays nobody else."
#[test]
fn messages_that_are_not_calls_are_passed_on_unchanged_and_in_order() {
    let mut scene = session(Mode::Destructive);
    let deep = format!(
        r#"{{"method":"x","params":{}{}}}"#,
        "[".repeat(1000),
        "]".repeat(1000)
    );
    let long = format!(r#"{{"method":"x","params":["{}"]}}"#, "é".repeat(100_000));
    let lines: Vec<&str> = ODD.into_iter().chain([&*deep, &*long]).collect();
    for waiting in [false, true] {
        if waiting {
            scene.client_says(&call(7, "delete_user", json!({})));
            scene.expect_prompt();
        }
        for line in &lines {
            scene.client_sends(line);
            scene.upstream_sends(line);
        }
        assert_eq!(scene.upstream, lines);
        // An answer without a request could be taken for the call's.
        let received = lines
            .iter()
            .filter(|line| !waiting || !line.contains(r#""id":null,"error""#));
        assert_eq!(scene.client, received.copied().collect::<Vec<_>>());
        assert_eq!(scene.warnings.len(), usize::from(waiting));
        scene.upstream.clear();
        scene.client.clear();
    }
    // Nobody had asked for the six answers among them.
    let events: Vec<_> = scene.log.iter().map(|line| &line["event"]).collect();
    assert_eq!(events, ["unasked_answer"; 12]);
}

// invariants.md, 5: a transparent proxy relays the original bytes.
#[test]
fn a_passed_or_approved_call_is_forwarded_byte_for_byte() {
    for tool in ["read_note", "delete_user"] {
        let line = format!(
            r#" {{"params" :{{"_meta":{{"progressToken":1.0}},"task":{{"ttl":5.0}},"arguments":{{"n":100000000000000000000000000001,"m":1.50,"s":"\u00e9\/"}},"name":"{tool}"}}, "method":"tools/call","jsonrpc":"2.0","id":9 }}"#
        );
        let mut scene = session(Mode::Destructive);
        scene.client_sends(&line);
        if tool == "delete_user" {
            let prompt = scene.expect_prompt();
            scene.expect_nothing();
            scene.approve(&prompt);
        }
        assert_eq!(scene.upstream, [&*line]);
        assert!(scene.client.is_empty());
    }
}
