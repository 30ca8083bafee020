//! How unexpected answers from the upstream are recorded.

use serde_json::{Value, json};

use super::scene::Scene;

fn result(id: impl Into<Value>, text: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "result": {"content": [{"type": "text", "text": text}]}})
}

fn error(id: impl Into<Value>) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "error": {"code": -32603, "message": "no"}})
}

/// The records about such answers.
fn unasked(scene: &Scene) -> Vec<&Value> {
    let lines = scene.log.iter();
    lines
        .filter(|line| line["event"] == "unasked_answer")
        .collect()
}

// Attack: an agent that writes to the server's stdout answers first; the server's own answer comes
// second.
#[test]
fn a_forged_answer_is_revealed_by_the_real_one() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_calls(7, "read_note", json!({}));
    scene.expect_forwarded(7);
    scene.upstream_says(&result(7, "forged"));
    assert!(unasked(&scene).is_empty());
    scene.upstream_says(&result(7, "true"));
    // The client gets both, as it would without us.
    assert_eq!(scene.take_client(), result(7, "forged"));
    assert_eq!(scene.take_client(), result(7, "true"));
    let lines = unasked(&scene);
    assert_eq!(lines.len(), 1, "{:?}", scene.log);
    assert_eq!(lines[0]["request_id"], 7);
    assert_eq!(lines[0]["session"], "s");
    let reason = lines[0]["reason"].as_str().unwrap();
    assert!(reason.contains("answered request 7"), "{reason}");
}

#[test]
fn an_answer_to_a_request_that_was_never_sent_is_recorded() {
    let answers = [
        result(1, "x"),
        error("one"),
        json!([result("two", "x")]),
        json!({"result": {}, "jsonrpc": "2.0", "id": 3}),
    ];
    for answer in answers {
        let mut scene = Scene::new().legacy("2025-11-25");
        scene.upstream_says(&answer);
        assert_eq!(scene.client.len(), 1, "it is relayed: {answer}");
        assert_eq!(unasked(&scene).len(), 1, "{answer}");
    }
}

#[test]
fn an_answer_to_a_held_call_is_dropped_and_recorded() {
    for id in [json!(7), json!("7")] {
        let mut scene = Scene::new().legacy("2025-11-25");
        scene.client_calls(7, "delete_user", json!({}));
        scene.expect_prompt();
        scene.upstream_says(&result(id.clone(), "deleted"));
        scene.expect_nothing();
        assert_eq!(unasked(&scene).len(), 1);
        assert_eq!(unasked(&scene)[0]["request_id"], id);
    }
}

#[test]
fn honest_answers_are_not_recorded() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_calls(1, "read_note", json!({}));
    scene.upstream_says(&result(1, "x"));
    scene.client_calls(2, "read_note", json!({}));
    scene.upstream_says(&error(2));
    // Cancelled, and answered all the same.
    for answer in [result(3, "late"), error(3)] {
        scene.client_calls(3, "read_note", json!({}));
        scene.client_cancels(3);
        scene.upstream_says(&answer);
    }
    // Two requests with one id have two answers.
    for _ in 0..2 {
        scene.client_says(&json!({"jsonrpc": "2.0", "id": 4, "method": "resources/list"}));
    }
    scene.upstream_says(&result(4, "x"));
    scene.upstream_says(&result(4, "y"));
    // An approved call, while another one waits.
    scene.client_calls(5, "delete_user", json!({"id": 5}));
    scene.client_calls(6, "delete_user", json!({"id": 6}));
    scene.client.retain(|line| line.contains("elicitation"));
    let prompt = scene.expect_prompt();
    scene.approve(&prompt);
    scene.upstream_says(&result(5, "x"));
    // Messages that answer nothing.
    scene.upstream_says(&error(Value::Null));
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": 8, "method": "ping"}));
    assert!(unasked(&scene).is_empty(), "{:?}", scene.log);
}

#[test]
fn a_late_tool_list_is_not_recorded() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_says(&super::scene::call(1, "read_note", json!({})));
    let list = scene.take_list_request().unwrap();
    scene.advance(super::scene::secs(6));
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": list, "result": {"tools": []}}));
    assert!(unasked(&scene).is_empty(), "{:?}", scene.log);
}

#[test]
fn a_session_records_a_hundred_and_the_last_one_says_so() {
    let mut scene = Scene::new().legacy("2025-11-25");
    for id in 0..150 {
        scene.upstream_says(&result(id, "x"));
    }
    let lines = unasked(&scene);
    assert_eq!(lines.len(), 100);
    let says_so = |line: &Value| line["reason"].as_str().unwrap().contains("not recorded");
    assert!(says_so(lines[99]), "{}", lines[99]);
    assert!(!lines[..99].iter().any(|line| says_so(line)));
}

#[test]
fn a_giant_id_does_not_fill_the_log() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.upstream_says(&result("x".repeat(1_000_000), "x"));
    scene.upstream_sends(&format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#,
        "1".repeat(1_000_000)
    ));
    let lines = unasked(&scene);
    assert_eq!(lines.len(), 2);
    for line in lines {
        assert!(line.to_string().len() < 1_000, "{}", line.to_string().len());
    }
}
