//! Attacks on stateless approvals from an adversarial review: those that worked and are fixed, and
//! those that failed.

use std::time::Duration;

use serde_json::{Value, json};

use super::scene::{Scene, secs};
use super::stateless::{
    ask, expect_question, expect_spent, expect_unknown, retry, says, stateless, upstream_asks, yes,
};

fn list_request(scene: &mut Scene) -> Value {
    let first = scene.take_upstream();
    assert_eq!(first["method"], "tools/list", "{first}");
    first
}

// Attack: After the floor of five seconds the list is read again, without `_meta`.
#[test]
fn the_list_is_requested_with_meta_when_an_answer_is_checked() {
    let mut scene = Scene::new();
    let (call, state) = ask(&mut scene, 1);
    scene.advance(secs(30));
    scene.client_says(&retry(&call, 2, yes(), &state));
    let request = list_request(&mut scene);
    assert!(request["params"]["_meta"].is_object(), "{request}");
}

// Attack: Rounds that take more than five seconds are refused by such a server.
#[test]
fn a_strict_servers_own_question_may_be_answered_slowly() {
    let mut scene = Scene::new();
    let (call, state) = ask(&mut scene, 1);
    says(&mut scene, &retry(&call, 2, yes(), &state));
    scene.expect_forwarded(2);
    let wrapped = upstream_asks(&mut scene, 2, Some("s"));
    scene.advance(secs(30));
    scene.client_says(&retry(&call, 3, json!({"theirs": {"roots": []}}), &wrapped));
    let request = list_request(&mut scene);
    if request["params"]["_meta"].is_object() {
        scene.upstream_says(
            &json!({"jsonrpc": "2.0", "id": request["id"], "result": {"tools": scene.tools}}),
        );
    } else {
        scene.upstream_says(&json!({"jsonrpc": "2.0", "id": request["id"],
            "error": {"code": -32602, "message": "no _meta"}}));
    }
    scene.expect_forwarded(3);
}

// Attack: A lenient server's list never expires after that.
#[test]
fn a_list_that_an_answer_was_checked_against_expires_too() {
    let mut scene = Scene::new();
    let (call, state) = ask(&mut scene, 1);
    scene.advance(secs(30));
    says(&mut scene, &retry(&call, 2, yes(), &state));
    scene.expect_forwarded(2);
    // The server turns its harmless tool into a dangerous one; nobody subscribed.
    scene.tools = json!([{"name": "read_note", "annotations": {"destructiveHint": true}}]);
    scene.advance(secs(24 * 3600));
    scene.client_says(&stateless(3, "read_note", json!({})));
    assert!(scene.take_list_request().is_some(), "{:?}", scene.upstream);
}

// Attack: The same by a client, with a `_meta` too large to repeat.
#[test]
fn a_large_client_info_does_not_make_the_list_eternal() {
    let mut scene = Scene::new();
    let mut call = stateless(1, "read_note", json!({}));
    call["params"]["_meta"]["io.modelcontextprotocol/clientInfo"]["title"] =
        json!("x".repeat(70_000));
    says(&mut scene, &call);
    scene.expect_forwarded(1);
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
    scene.take_client();
    scene.tools = json!([{"name": "read_note", "annotations": {"destructiveHint": true}}]);
    scene.advance(secs(24 * 3600));
    scene.client_says(&stateless(3, "read_note", json!({})));
    assert!(scene.take_list_request().is_some(), "{:?}", scene.upstream);
}

// Attack: Progress for a request that is over.
#[test]
fn an_answered_request_gets_no_progress() {
    let mut scene = Scene::new();
    let mut call = stateless(1, "delete_user", json!({"id": 1}));
    call["params"]["_meta"]["progressToken"] = json!("old");
    says(&mut scene, &call);
    let (state, _) = expect_question(&mut scene, 1);
    scene.advance(secs(30));
    let mut again = retry(&call, 2, yes(), &state);
    again["params"]["_meta"]["progressToken"] = json!("new");
    scene.client_says(&again);
    // The list is on its way.
    scene.advance(secs(1));
    for line in &scene.client {
        assert!(!line.contains("\"old\""), "{line}");
    }
}

fn described(text: &str) -> Value {
    json!([{"name": "delete_user", "description": text, "annotations": {"destructiveHint": true}},
           {"name": "read_note", "annotations": {"readOnlyHint": true}}])
}

// Attack: The second question shows another definition than the one that its yes is for.
#[test]
fn the_call_shown_by_the_second_question_is_what_runs() {
    let mut scene = Scene::set(|settings| settings.double_confirm = true)
        .with_tools(described("Deletes a user and all backups."));
    let call = stateless(1, "delete_user", json!({"id": 1}));
    says(&mut scene, &call);
    let (state, _) = expect_question(&mut scene, 1);
    scene.tools_change(described("Only marks a user."));
    says(&mut scene, &stateless(10, "read_note", json!({})));
    scene.expect_forwarded(10);
    says(&mut scene, &retry(&call, 2, yes(), &state));
    let (state, message) = expect_question(&mut scene, 2);
    let shown_other = message.contains("Only marks");
    scene.tools_change(described("Deletes a user and all backups."));
    says(&mut scene, &retry(&call, 3, yes(), &state));
    let ran = scene
        .upstream
        .iter()
        .any(|line| line.contains("tools/call"));
    assert!(!(shown_other && ran), "shown: {message}");
}

#[test]
fn the_same_after_a_retry_without_an_answer() {
    let mut scene = Scene::new().with_tools(described("Deletes a user and all backups."));
    let call = stateless(1, "delete_user", json!({"id": 1}));
    says(&mut scene, &call);
    let (state, _) = expect_question(&mut scene, 1);
    scene.tools_change(described("Only marks a user."));
    says(&mut scene, &stateless(10, "read_note", json!({})));
    scene.expect_forwarded(10);
    says(&mut scene, &retry(&call, 2, json!({}), &state));
    let (state, message) = expect_question(&mut scene, 2);
    let shown_other = message.contains("Only marks");
    scene.tools_change(described("Deletes a user and all backups."));
    says(&mut scene, &retry(&call, 3, yes(), &state));
    let ran = scene
        .upstream
        .iter()
        .any(|line| line.contains("tools/call"));
    assert!(!(shown_other && ran), "shown: {message}");
}

#[test]
fn the_same_in_a_legacy_session() {
    let mut scene = Scene::set(|settings| settings.double_confirm = true)
        .with_tools(described("Deletes a user and all backups."))
        .legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({"id": 1}));
    let first = scene.expect_prompt();
    scene.tools_change(described("Only marks a user."));
    scene.client_calls(10, "read_note", json!({}));
    scene.expect_forwarded(10);
    scene.approve(&first);
    let second = scene.expect_prompt();
    let shown_other = second.message.contains("Only marks");
    scene.tools_change(described("Deletes a user and all backups."));
    scene.approve(&second);
    let ran = scene
        .upstream
        .iter()
        .any(|line| line.contains("tools/call"));
    assert!(!(shown_other && ran), "shown: {}", second.message);
}

// Attack: When a changed call is asked about again, the person is no longer told of the change.
#[test]
fn a_question_that_is_asked_again_still_says_that_the_tool_changed() {
    let mut scene = Scene::new();
    let (call, state) = ask(&mut scene, 1);
    scene.tools_change(described("Deletes all."));
    says(&mut scene, &retry(&call, 2, yes(), &state));
    let (state, message) = expect_question(&mut scene, 2);
    assert!(message.contains("changed this tool"), "{message}");
    says(&mut scene, &retry(&call, 3, json!({}), &state));
    let (_, message) = expect_question(&mut scene, 3);
    assert!(message.contains("changed this tool"), "{message}");
}

// Attack: Retries are not counted against the limit on waiting calls.
#[test]
fn retries_count_against_the_limit_on_waiting_calls() {
    let mut scene = Scene::new();
    let mut open = Vec::new();
    for id in 1..=5 {
        open.push(ask(&mut scene, id));
    }
    for (i, (call, state)) in open.iter().enumerate() {
        let mut padded = retry(call, 10 + i as i64, json!({}), state);
        // Not part of what the call is compared by.
        padded["params"]["_meta"]["traceparent"] = json!("0".repeat(60 << 20));
        let padded = padded.to_string();
        scene.gate.from_client(padded.as_bytes(), scene.now);
        while scene.gate.poll_output().is_some() {}
    }
    let kept = scene.gate.kept_bytes();
    assert!(kept <= 256 << 20, "{kept}");
}

// Attack: A late answer to a cancelled request becomes a round of another call.
#[test]
fn a_question_about_a_cancelled_request_opens_no_round_of_another_call() {
    let mut scene = Scene::new();
    let read = stateless(9, "read_note", json!({}));
    says(&mut scene, &read);
    scene.expect_forwarded(9);
    let (call, state) = ask(&mut scene, 1);
    scene.client_cancels(9);
    scene.take_upstream();
    says(&mut scene, &retry(&call, 9, yes(), &state));
    scene.expect_forwarded(9);
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": 9, "result": {
        "resultType": "input_required", "requestState": "of read_note"}}));
    let state = scene.take_client()["result"]["requestState"].clone();
    says(
        &mut scene,
        &retry(&call, 10, json!({"never": "shown"}), &state),
    );
    assert!(scene.upstream.is_empty(), "{:?}", scene.upstream);
}

// Attack: The same without cancelling, with two requests under one id.
#[test]
fn a_question_about_another_request_opens_no_round_of_a_call() {
    let mut scene = Scene::new();
    let get = json!({"jsonrpc": "2.0", "id": 9, "method": "prompts/get",
        "params": {"name": "p", "_meta": stateless(0, "x", json!({}))["params"]["_meta"]}});
    scene.client_says(&get);
    scene.client_says(&get);
    scene.upstream.clear();
    let (call, state) = ask(&mut scene, 1);
    let question = json!({"jsonrpc": "2.0", "id": 9, "result": {
        "resultType": "input_required", "requestState": "of prompts/get"}});
    scene.upstream_says(&question);
    scene.take_client();
    says(&mut scene, &retry(&call, 9, yes(), &state));
    scene.expect_forwarded(9);
    scene.upstream_says(&question);
    let state = scene.take_client()["result"]["requestState"].clone();
    says(
        &mut scene,
        &retry(&call, 10, json!({"never": "shown"}), &state),
    );
    assert!(scene.upstream.is_empty(), "{:?}", scene.upstream);
}

// Attack: An approved call is never answered if a strict reader rejects its result.
#[test]
fn every_approved_call_gets_an_answer() {
    let line = |id: i64| {
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"content\":[{{\"type\":\"text\",\"text\":\"\u{1b}[0m\"}}]}}}}"
        )
    };
    let mut scene = Scene::new();
    says(&mut scene, &stateless(5, "read_note", json!({})));
    scene.expect_forwarded(5);
    scene.upstream_sends(&line(5));
    assert_eq!(scene.client.pop_front().unwrap(), line(5));
    let (call, state) = ask(&mut scene, 1);
    says(&mut scene, &retry(&call, 2, yes(), &state));
    scene.expect_forwarded(2);
    scene.upstream_sends(&line(2));
    assert!(!scene.client.is_empty(), "no answer: {:?}", scene.warnings);
}

#[test]
fn every_approved_legacy_call_gets_an_answer() {
    let line = |id: i64| {
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"content\":[{{\"type\":\"text\",\"text\":\"\u{1b}[0m\"}}]}}}}"
        )
    };
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_calls(2, "delete_user", json!({}));
    let p = scene.expect_prompt();
    scene.approve(&p);
    scene.expect_forwarded(2);
    scene.upstream_sends(&line(2));
    assert!(!scene.client.is_empty(), "no answer: {:?}", scene.warnings);
}

// Attack: A retry of another revision is let through.
#[test]
fn a_retry_of_an_unknown_revision_is_an_error_like_the_call() {
    for version in [
        json!("2027-01-01"),
        json!("2025-11-25"),
        json!(7),
        json!(null),
    ] {
        let mut scene = Scene::new();
        let (call, state) = ask(&mut scene, 1);
        let mut again = retry(&call, 2, yes(), &state);
        again["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = version.clone();
        says(&mut scene, &again);
        assert!(scene.upstream.is_empty(), "{version}: {:?}", scene.upstream);
    }
}

// Attack: The text about a call that has run in part.
#[test]
fn the_refusal_of_a_call_that_ran_in_part_does_not_say_it_was_not_run() {
    let mut scene = Scene::new();
    let (call, state) = ask(&mut scene, 1);
    says(&mut scene, &retry(&call, 2, yes(), &state));
    scene.expect_forwarded(2);
    let wrapped = upstream_asks(&mut scene, 2, Some("s"));
    scene.tools_change(described("x"));
    says(&mut scene, &retry(&call, 3, json!({}), &wrapped));
    let text = scene.expect_refused(3, "");
    assert!(!text.contains("It was not run"), "{text}");
}

// Attack: The last part of a millisecond.
#[test]
fn a_yes_in_the_last_millisecond_counts() {
    let mut scene = Scene::new();
    scene.now.elapsed += Duration::from_micros(500);
    let (call, state) = ask(&mut scene, 1);
    scene.now.elapsed += secs(120) - Duration::from_micros(300);
    assert!(scene.gate.poll_timeout().unwrap() > scene.now.elapsed);
    says(&mut scene, &retry(&call, 2, yes(), &state));
    scene.expect_forwarded(2);
}

fn answer_strictly(scene: &mut Scene) {
    while let Some(text) = scene.upstream.front().cloned() {
        let request: Value = serde_json::from_str(&text).unwrap();
        if request["method"] != "tools/list" {
            return;
        }
        scene.upstream.pop_front();
        let meta = &request["params"]["_meta"];
        let version = &meta["io.modelcontextprotocol/protocolVersion"];
        let good = meta["io.modelcontextprotocol/clientCapabilities"].is_object()
            && version == "2026-07-28";
        let answer = if good {
            json!({"jsonrpc": "2.0", "id": request["id"], "result": {"resultType": "complete", "tools": scene.tools, "ttlMs": 300000}})
        } else {
            json!({"jsonrpc": "2.0", "id": request["id"], "error": {"code": if version.is_string() {-32022} else {-32602}, "message": "no"}})
        };
        scene.upstream_says(&answer);
    }
}

// Attack: One client's malformed request must not spoil the list for others.
#[test]
fn a_malformed_request_does_not_spoil_the_list_for_others() {
    for spoil in [
        json!({"io.modelcontextprotocol/protocolVersion": "x", "io.modelcontextprotocol/clientCapabilities": {}}),
        json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"}),
    ] {
        let mut scene = Scene::new();
        let mut bad = stateless(1, "ponder", json!({}));
        bad["params"]["_meta"] = spoil;
        scene.client_says(&bad);
        answer_strictly(&mut scene);
        scene.client.clear();
        scene.upstream.clear();
        scene.client_says(&stateless(2, "read_note", json!({})));
        answer_strictly(&mut scene);
        scene.expect_forwarded(2);
    }
}

// Forwarded messages keep their bytes.
#[test]
fn rounds_keep_the_bytes_of_the_answers() {
    let meta = r#"{ "io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}, "progressToken" : "p" }"#;
    let arguments = r#"{ "\u0069d" : 1.50e+2, "s":"\/\u00e9é" }"#;
    let line = |id: &str, more: &str| {
        format!(
            r#" {{ "id" : {id} ,"method":"tools\/call", "params":{{ "name":"delete_\u0075ser","arguments":{arguments},"_meta":{meta}{more} }} , "jsonrpc":"2.0" }} "#
        )
    };
    let mut scene = Scene::new();
    scene.client_sends(&line("1", ""));
    scene.answer_lists();
    let (state, _) = expect_question(&mut scene, 1);
    let more = format!(
        r#", "inputResponses":{}, "\u0072equestState" : {state}"#,
        yes()
    );
    scene.client_sends(&line("2", &more));
    scene.answer_lists();
    let sent = scene.upstream.pop_front().unwrap();
    assert!(
        sent.contains(&format!(r#""arguments":{arguments}"#))
            && sent.contains(&format!(r#""_meta":{meta}"#)),
        "{sent}"
    );
    assert!(
        !sent.contains("equestState") && !sent.contains("inputResponses"),
        "{sent}"
    );
    let question = r#"{"jsonrpc":"2.0","id":2,"result":{"resultType":"input_required","inputRequests":{ "a\u0062":{"method":"roots/list" } },"requestState":"th\u0065irs\ud83d\ude00"}}"#;
    scene.upstream_sends(question);
    let got = scene.client.pop_front().unwrap();
    assert!(
        got.contains(r#""inputRequests":{ "a\u0062":{"method":"roots/list" } }"#),
        "{got}"
    );
    let got: Value = serde_json::from_str(&got).unwrap();
    let answers = r#"{ "a\u0062" : { "roots":[ ] , "n":12345678901234567890.10 } }"#;
    let more = format!(
        r#", "requestState" : {}, "inputResponses" : {answers} "#,
        got["result"]["requestState"]
    );
    scene.client_sends(&line("3", &more));
    scene.answer_lists();
    let sent = scene.upstream.pop_front().unwrap();
    assert!(
        sent.contains(&format!(r#""inputResponses":{answers}"#)),
        "{sent}"
    );
    let read: Value = serde_json::from_str(&sent).unwrap();
    assert_eq!(read["params"]["requestState"], "theirs😀");
}

#[test]
fn a_second_initialize_keeps_the_question_of_a_stateless_request() {
    let mut scene = Scene::new();
    let (call, state) = ask(&mut scene, 1);
    let mut scene = scene.legacy("2025-11-25");
    says(&mut scene, &retry(&call, 2, yes(), &state));
    scene.expect_forwarded(2);
}

/// A yes that waits for the list, which is on its way.
fn waiting_yes() -> (Scene, Value, Value, Value) {
    let mut scene = Scene::new();
    let (call, state) = ask(&mut scene, 1);
    scene.advance(secs(30));
    scene.client_says(&retry(&call, 2, yes(), &state));
    let list = scene.take_list_request().unwrap();
    scene.expect_nothing();
    (scene, call, state, list)
}

#[test]
fn a_waiting_yes_is_used_up_and_its_call_can_be_cancelled() {
    let (mut scene, call, state, list) = waiting_yes();
    scene.client_says(&retry(&call, 3, yes(), &state));
    expect_spent(&mut scene, 3);
    scene.client_says(&retry(&call, 2, yes(), &state));
    assert!(scene.expect_error(2).contains("still waiting"));
    // Forged by the server.
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": 2, "result": {"content": []}}));
    scene.expect_nothing();
    scene.client_cancels(2);
    scene.expect_logged("cancelled", false);
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": list, "result": {"tools": scene.tools}}));
    scene.expect_nothing();
    scene.client_says(&retry(&call, 4, yes(), &state));
    expect_spent(&mut scene, 4);
}

#[test]
fn a_waiting_yes_ends_with_either_side() {
    let (mut scene, _, _, _) = waiting_yes();
    scene.client_closes();
    scene.expect_logged("cancelled", false);
    assert_eq!((scene.upstream.len(), scene.close_upstream), (0, 1));
    let (mut scene, _, _, _) = waiting_yes();
    scene.upstream_takes_no_more();
    scene.expect_logged("error", false);
    assert!(scene.upstream.is_empty());
    assert!(scene.expect_error(2).contains("not run"));
    scene.expect_nothing();
}

#[test]
fn a_list_that_hangs_asks_again_and_runs_nothing() {
    let (mut scene, _, _, _) = waiting_yes();
    scene.advance(secs(5));
    expect_question(&mut scene, 2);
    scene.expect_nothing();
}

#[test]
fn an_initialize_does_not_refuse_a_stateless_yes() {
    let (mut scene, _, _, _) = waiting_yes();
    scene.client_says(&json!({"jsonrpc": "2.0", "id": "init", "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}}));
    assert!(scene.client.is_empty(), "{:?}", scene.client);
}

#[test]
fn a_cached_yes_does_not_cover_another_revision() {
    let mut scene = Scene::set(|s| s.approval_ttl = secs(60));
    let (call, state) = ask(&mut scene, 1);
    says(&mut scene, &retry(&call, 2, yes(), &state));
    scene.expect_forwarded(2);
    let mut other = call.clone();
    other["id"] = json!(3);
    other["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2027-01-01");
    says(&mut scene, &other);
    assert!(scene.upstream.is_empty(), "{:?}", scene.upstream);
}

#[test]
fn batches_and_duplicate_keys_do_not_bypass_the_gate() {
    let mut scene = Scene::new();
    let (call, state) = ask(&mut scene, 1);
    let s = state.as_str().unwrap();
    let params = |more: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{{"name":"delete_user","arguments":{{"id":1}},"_meta":{}{more}}}}}"#,
            call["params"]["_meta"]
        )
    };
    for more in [
        format!(
            r#","requestState":"{s}","requestState":"x","inputResponses":{}"#,
            yes()
        ),
        format!(
            r#","requestState":"x","request\u0053tate":"{s}","inputResponses":{}"#,
            yes()
        ),
        format!(
            r#","requestState":"{s}","inputResponses":{},"inputResponses":{{}}"#,
            yes()
        ),
        format!(
            r#","requestState":"{s}","RequestState":"x","inputResponses":{}"#,
            yes()
        ),
        format!(r#","requestState":"{s}","inputresponses":{}"#, yes()),
        format!(
            r#","requestState":"{s}","inputResponses":{{"approval-proxy":{{"action":"decline"}},"approval\u002dproxy":{{"action":"accept","content":{{"approved":true}}}}}}"#
        ),
        format!(
            r#","requestState":"{s}","inputResponses":{{"approval-proxy":{{"action":"accept","Action":"decline","content":{{"approved":true}}}}}},"x":1"#
        ),
    ] {
        scene.client_sends(&params(&more));
        scene.answer_lists();
        assert!(scene.upstream.is_empty(), "{more}");
        scene.client.clear();
    }
    let good = params(&format!(
        r#","requestState":"{s}","inputResponses":{}"#,
        yes()
    ));
    scene.client_sends(&format!(
        "[{good},{}]",
        good.replace("\"id\":2", "\"id\":3")
    ));
    scene.answer_lists();
    scene.expect_forwarded(2);
    expect_spent(&mut scene, 3);
    // A batch from the upstream.
    scene.upstream_sends(r#"[{"jsonrpc":"2.0","id":2,"result":{"resultType":"input_required","requestState":"t"}},{"jsonrpc":"2.0","id":2,"result":{"resultType":"input_required","requestState":"t"}}]"#);
    let wrapped = scene.take_client()["result"]["requestState"].clone();
    let raw = scene.take_client()["result"]["requestState"].clone();
    assert_eq!(raw, "t");
    says(&mut scene, &retry(&call, 4, json!({}), &raw));
    expect_unknown(&mut scene, 4);
    says(&mut scene, &retry(&call, 5, json!({}), &wrapped));
    scene.expect_forwarded(5);
}

#[test]
fn an_ambiguous_result_opens_no_round() {
    for result in [
        r#"{"resultType":"input_required","resultType":"complete","requestState":"t"}"#,
        r#"{"resultType":"input_required","requestState":"t","request\u0053tate":"u"}"#,
        r#"{"ResultType":"input_required","requestState":"t"}"#,
        r#"{"resultType":"input_required","requestState":"\ud800"}"#,
        r#"{"resultType":"input_required","requestState":["t"]}"#,
    ] {
        let mut scene = Scene::new();
        let (call, state) = ask(&mut scene, 1);
        says(&mut scene, &retry(&call, 2, yes(), &state));
        scene.expect_forwarded(2);
        let line = format!(r#"{{"jsonrpc":"2.0","id":2,"result":{result}}}"#);
        scene.upstream_sends(&line);
        assert_eq!(scene.client.pop_front().unwrap(), line);
        for raw in ["t", "u"] {
            says(&mut scene, &retry(&call, 3, json!({}), &json!(raw)));
            expect_unknown(&mut scene, 3);
        }
    }
}
