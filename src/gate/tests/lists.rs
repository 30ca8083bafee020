//! The upstream's tool list: when it is requested, known, trusted, and no longer trusted.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::scene::{Prompt, Scene, call, secs, usual_tools};
use crate::gate::Settings;
use crate::policy::{Mode, Rules};

/// A session after its handshake, in which the list was not requested yet.
fn session() -> Scene {
    Scene::new().legacy("2025-11-25")
}

fn session_with(rules: Rules) -> Scene {
    Scene::with(Settings::default(), rules).legacy("2025-11-25")
}

/// A session in which `delete_user` was called as 7, and its prompt.
fn asked() -> (Scene, Prompt) {
    let mut scene = session();
    scene.client_calls(7, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.expect_nothing();
    (scene, prompt)
}

/// Takes the gate's request for the list, which the upstream received next.
fn expect_list_request(scene: &mut Scene) -> Value {
    let request = scene.take_upstream();
    assert_eq!(request["method"], "tools/list", "{request}");
    request
}

fn list(id: &Value, tools: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": {"tools": tools}})
}

fn says_list_changed(scene: &mut Scene) {
    let tools = scene.tools.clone();
    scene.tools_change(tools);
}

fn is_shown_as_unlisted(prompt: &Prompt) -> bool {
    let message = &prompt.message;
    message.contains("a tool the client names `")
        && message.contains(", risk high")
        && message.contains("Why: the server does not list this tool")
}

fn is_shown_as_unknown(prompt: &Prompt) -> bool {
    let message = &prompt.message;
    message.contains("a tool the client names `")
        && message.contains(", risk high")
        && message.contains("Why: the server's tool list is not known yet")
}

/// The gate has warned the operator exactly so many times, with texts that contain these.
fn expect_warnings(scene: &mut Scene, words: &[&str]) {
    let received = std::mem::take(&mut scene.warnings);
    assert_eq!(received.len(), words.len(), "{received:?}");
    for (received, words) in received.iter().zip(words) {
        assert!(
            received.contains(words),
            "`{received}` does not contain `{words}`"
        );
    }
}

// contract.md, "Tool list": "the proxy reads all pages itself, before the first decision that
// depends on it".
#[test]
fn the_list_is_requested_once_and_only_when_a_decision_needs_it() {
    let mut scene = session();
    scene.expect_nothing();
    scene.client_says(&call(1, "read_note", json!({})));
    let request = expect_list_request(&mut scene);
    assert_eq!(request.get("params"), None);
    scene.expect_nothing();
    // A second call waits for the same list.
    scene.client_says(&call(2, "ponder", json!({})));
    scene.expect_nothing();
    scene.upstream_says(&list(&request["id"], usual_tools()));
    scene.expect_forwarded(1);
    scene.expect_forwarded(2);
    scene.client_says(&call(3, "read_note", json!({})));
    scene.expect_forwarded(3);
    scene.expect_nothing();
}

// contract.md, "Policy": "deny → block. 2. allow → pass. 3. mode `none` → pass."
#[test]
fn the_list_is_not_requested_if_the_decision_does_not_depend_on_it() {
    let rules = Rules {
        allow: vec!["delete_*".into()],
        deny: vec!["drop_table".into()],
        ..Rules::default()
    };
    let mut scene = session_with(rules);
    scene.client_says(&call(1, "delete_user", json!({})));
    scene.expect_forwarded(1);
    scene.client_says(&call(2, "drop_table", json!({})));
    scene.expect_refused(2, "blocked");
    scene.expect_nothing();

    let mut scene = session_with(Rules {
        mode: Mode::None,
        ..Rules::default()
    });
    scene.client_says(&call(1, "delete_user", json!({})));
    scene.expect_forwarded(1);
    scene.expect_nothing();
}

// contract.md, "Tool list": "the proxy reads all pages itself".
#[test]
fn a_tool_on_the_last_page_is_as_good_as_one_on_the_first() {
    let mut scene = session();
    scene.client_says(&call(1, "read_note", json!({})));
    let mut request = expect_list_request(&mut scene);
    for cursor in [" ", "2 \"\\\u{e9}", "3"] {
        scene.upstream_says(&json!({"jsonrpc": "2.0", "id": request["id"],
            "result": {"tools": [{"name": "ponder"}], "nextCursor": cursor}}));
        request = expect_list_request(&mut scene);
        assert_eq!(request["params"], json!({"cursor": cursor}));
        scene.expect_nothing();
    }
    // Some servers write an empty cursor if there is no next page.
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": request["id"],
        "result": {"tools": usual_tools(), "nextCursor": ""}}));
    scene.expect_forwarded(1);
    scene.expect_nothing();
}

// contract.md, "Tool list": "Hints are those of the tool list as it stands now: […] again after
// `list_changed`."
#[test]
fn a_changed_list_is_read_again_before_the_next_decision_and_not_sooner() {
    let mut scene = session();
    scene.client_calls(1, "read_note", json!({}));
    scene.expect_forwarded(1);
    scene.tools_change(json!([{"name": "read_note", "annotations": {"destructiveHint": true}}]));
    scene.expect_nothing();
    scene.client_says(&call(2, "read_note", json!({})));
    let request = expect_list_request(&mut scene);
    scene.expect_nothing();
    scene.upstream_says(&list(&request["id"], scene.tools.clone()));
    scene.expect_prompt();
    scene.expect_nothing();
}

// As above: the change is announced while the answer is on its way.
#[test]
fn a_list_that_changes_while_it_is_read_is_read_again() {
    let mut scene = session();
    scene.client_says(&call(1, "read_note", json!({})));
    let first = expect_list_request(&mut scene);
    says_list_changed(&mut scene);
    scene.upstream_says(&list(&first["id"], usual_tools()));
    let second = expect_list_request(&mut scene);
    assert_ne!(first["id"], second["id"]);
    scene.expect_nothing();
    scene.upstream_says(&list(&second["id"], json!([{"name": "ponder"}])));
    assert!(is_shown_as_unlisted(&scene.expect_prompt()));
}

// invariants.md, 2: "If the definition changes while a person thinks, ask again."
#[test]
fn an_approved_call_runs_when_the_list_changed_but_not_its_tool() {
    let (mut scene, prompt) = asked();
    let mut tools = usual_tools();
    tools.as_array_mut().unwrap().push(json!({"name": "new"}));
    scene.tools_change(tools);
    let yes = json!({"action": "accept", "content": {"approved": true}});
    scene.client_says(&json!({"jsonrpc": "2.0", "id": prompt.id, "result": yes}));
    let request = expect_list_request(&mut scene);
    scene.expect_nothing();
    assert!(scene.decisions().is_empty());
    // Key order and spacing do not change the meaning.
    let id = &request["id"];
    scene.upstream_sends(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[{{"annotations": {{"destructiveHint":true}}, "description":"Deletes \u0061 user.", "name":"delete_user"}}]}}}}"#
    ));
    scene.expect_forwarded(7);
    scene.expect_nothing();
    scene.expect_logged("approved", true);
}

// invariants.md, 2, as above.
#[test]
fn an_approved_call_is_asked_about_again_when_its_tool_changed() {
    let (mut scene, prompt) = asked();
    scene.tools_change(
        json!([{"name": "delete_user", "description": "Deletes all users.",
        "annotations": {"destructiveHint": true}}]),
    );
    scene.approve(&prompt);
    let again = scene.expect_prompt();
    scene.expect_nothing();
    assert!(again.message.starts_with(
        "The server changed this tool while you were being asked. Allow the call as it is now?"
    ));
    assert!(again.message.contains("Deletes all users."));
    assert_ne!(prompt.id, again.id);
    // The yes to what was shown first is used up.
    scene.approve(&prompt);
    scene.expect_nothing();
    scene.approve(&again);
    scene.expect_forwarded(7);
    scene.expect_nothing();
    assert_eq!(scene.decisions().len(), 1);
}

// invariants.md, 2 and 3: it ends, and it ends with a refusal.
#[test]
fn a_tool_that_keeps_changing_is_refused_after_three_changes() {
    let (mut scene, mut prompt) = asked();
    for n in 1..=3 {
        scene.tools_change(json!([{"name": "delete_user", "description": n.to_string()}]));
        scene.approve(&prompt);
        prompt = scene.expect_prompt();
        scene.expect_nothing();
    }
    scene.tools_change(json!([{"name": "delete_user", "description": "4"}]));
    scene.approve(&prompt);
    scene.expect_refused(7, "kept changing the tool");
    scene.expect_nothing();
    scene.expect_logged("error", false);
}

// contract.md, "Policy": "hints come from a party that is not trusted."
#[test]
fn a_tool_that_calls_itself_harmless_while_a_person_thinks_is_still_asked_about() {
    let mut scene = session();
    scene.client_calls(7, "add_note", json!({}));
    let prompt = scene.expect_prompt();
    scene.tools_change(json!([{"name": "add_note", "annotations": {"readOnlyHint": true}}]));
    scene.approve(&prompt);
    let again = scene.expect_prompt();
    scene.expect_nothing();
    assert!(
        again.message.contains("readOnlyHint true"),
        "{}",
        again.message
    );
    // Its risk is not lowered either.
    assert!(again.message.contains("risk medium"), "{}", again.message);
    scene.deny(&again);
    scene.expect_refused(7, "denied by a person");
    scene.expect_nothing();
}

// invariants.md, 2; contract.md, "Policy": "a tool that the upstream does not list → ask".
#[test]
fn a_tool_that_is_gone_when_the_person_says_yes_is_asked_about_as_unlisted() {
    let (mut scene, prompt) = asked();
    scene.tools_change(json!([]));
    scene.approve(&prompt);
    let again = scene.expect_prompt();
    assert!(is_shown_as_unlisted(&again), "{}", again.message);
    assert!(!again.message.contains("Deletes a user."));
    scene.approve(&again);
    scene.expect_forwarded(7);
    scene.expect_nothing();
}

// contract.md, "Tool list": "Names are looked up exactly, by case."
#[test]
fn a_name_in_another_case_is_an_unlisted_tool() {
    let tools = json!([{"name": "Read_Note", "annotations": {"readOnlyHint": true}}]);
    let mut scene = session().with_tools(tools);
    scene.client_calls(1, "read_note", json!({}));
    assert!(is_shown_as_unlisted(&scene.expect_prompt()));
    scene.client_calls(2, "Read_Note", json!({}));
    scene.expect_forwarded(2);
    scene.expect_nothing();
}

// contract.md, "Tool list": "Of two tools with one name the stricter reading counts. Names are
// looked up exactly, by case."
#[test]
fn of_two_tools_with_one_name_the_stricter_reading_decides() {
    const SAFE: &str = r#"{"name":"add_note","annotations":{"readOnlyHint":true}}"#;
    for (passes, tools) in [
        (true, "SAFE"),
        (true, "SAFE,SAFE"),
        (true, r#"7,null,{"name":null},SAFE"#),
        (
            false,
            r#"{"name":"Add_Note","annotations":{"readOnlyHint":true}}"#,
        ),
        (
            false,
            r#"{"name":"add_note ","annotations":{"readOnlyHint":true}}"#,
        ),
        (
            false,
            r#"{"name":["add_note"],"annotations":{"readOnlyHint":true}}"#,
        ),
        (
            false,
            r#"{"name":"add_note","annotations":{"readOnlyHint":"true"}}"#,
        ),
        (
            false,
            r#"{"name":"add_note","annotations":{"ReadOnlyHint":true}}"#,
        ),
        (
            false,
            r#"{"name":"add_note","annotations":[{"readOnlyHint":true}]}"#,
        ),
        (false, r#"{"name":"add_note","annotations":true}"#),
        (false, r#"{"name":"add_note"},SAFE"#),
        (false, r#"SAFE,{"name":"add_note"}"#),
        (
            false,
            r#"SAFE,{"name":"add_note","annotations":{"readOnlyHint":1}}"#,
        ),
        (
            false,
            r#"SAFE,{"name":"add\u005fnote","annotations":{"destructiveHint":true}}"#,
        ),
    ] {
        let mut scene = session();
        scene.client_says(&call(1, "add_note", json!({})));
        let id = &expect_list_request(&mut scene)["id"];
        let tools = tools.replace("SAFE", SAFE);
        scene.upstream_sends(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[{tools}]}}}}"#
        ));
        let passed = (scene.upstream.len(), scene.client.len()) == (1, 0);
        let asked = (scene.upstream.len(), scene.client.len()) == (0, 1);
        assert_eq!((passed, asked), (passes, !passes), "{tools}");
    }
}

// contract.md, "Tool list": "After that every call that depends on the list is asked about, risk
// high, and people are told that the list is not known."
#[test]
fn a_list_that_hangs_delays_calls_for_at_most_five_seconds_and_is_used_when_it_comes() {
    let mut scene = session();
    scene.client_says(&call(1, "read_note", json!({})));
    let request = expect_list_request(&mut scene);
    scene.advance(secs(5) - Duration::from_millis(1));
    // The server may not understand the id, so it is also asked with a number.
    let in_numbers = expect_list_request(&mut scene);
    scene.expect_nothing();
    scene.advance(Duration::from_millis(1));
    let prompt = scene.expect_prompt();
    assert!(is_shown_as_unknown(&prompt), "{}", prompt.message);
    expect_warnings(&mut scene, &["not known yet: no answer within 5 seconds"]);
    // Nobody waits any more, and the operator is not warned again.
    scene.client_says(&call(2, "read_note", json!({})));
    assert!(is_shown_as_unknown(&scene.expect_prompt()));
    scene.advance(secs(100));
    scene.client_says(&call(3, "read_note", json!({})));
    assert!(is_shown_as_unknown(&scene.expect_prompt()));
    scene.expect_nothing();
    scene.upstream_says(&list(&request["id"], usual_tools()));
    expect_warnings(
        &mut scene,
        &["the server's tool list is now known; tools: 4"],
    );
    scene.client_says(&call(4, "read_note", json!({})));
    scene.expect_forwarded(4);
    // Other answers to it are dropped: the client did not send this request.
    scene.upstream_says(&list(&request["id"], usual_tools()));
    scene.upstream_says(&list(&in_numbers["id"], usual_tools()));
    scene.expect_nothing();
    // People who were asked without knowing the tool are not asked again now that it is known.
    scene.approve(&prompt);
    scene.expect_forwarded(1);
    let line = scene.expect_logged("approved", true);
    assert_eq!(line["risk"], "high");
    assert_eq!(
        line["policy_reason"],
        "the server's tool list is not known yet"
    );
    scene.expect_nothing();
}

#[test]
fn a_list_that_never_comes_is_given_up_and_tried_four_times() {
    let mut scene = session();
    scene.client_says(&call(1, "read_note", json!({})));
    let mut sent = Vec::new();
    for _ in 0..1200 {
        scene.advance(secs(1));
        while let Some(id) = scene.take_list_request() {
            sent.push(id);
        }
        assert!(scene.upstream.is_empty());
    }
    // Four readings, each with a text id and a number, two minutes each.
    assert_eq!(sent.len(), 8, "{sent:?}");
    assert_eq!(
        scene
            .gate
            .poll_timeout()
            .filter(|at| *at < scene.now.elapsed + secs(60)),
        None
    );
    // The last of them is too late.
    scene.upstream_says(&list(&sent[7], usual_tools()));
    scene.client.clear();
    scene.client_says(&call(2, "read_note", json!({})));
    expect_list_request(&mut scene);
    scene.expect_nothing();
}

#[test]
fn a_list_that_keeps_changing_for_five_seconds_is_not_known() {
    let mut scene = session();
    scene.client_says(&call(1, "read_note", json!({})));
    for _ in 0..5 {
        let request = expect_list_request(&mut scene);
        scene.advance(Duration::from_millis(990));
        says_list_changed(&mut scene);
        scene.upstream_says(&list(&request["id"], usual_tools()));
        assert!(scene.client.is_empty());
    }
    expect_list_request(&mut scene);
    scene.advance(Duration::from_millis(50));
    assert!(is_shown_as_unknown(&scene.expect_prompt()));
    scene.expect_nothing();
}

#[test]
fn calls_are_asked_about_at_once_while_the_list_cannot_be_read() {
    for answer in [
        r#""error":{"code":-32601,"message":"no such method"}"#,
        r#""result":null"#,
        r#""result":{}"#,
        r#""result":{"tools":{}}"#,
        r#""result":{"Tools":[{"name":"read_note","annotations":{"readOnlyHint":true}}]}"#,
        r#""result":{"tools":[{"name":"read_note","annotations":{"readOnlyHint":true}}],"tools":[]}"#,
        r#""result":{"tools":[{"name":"read_note","name":"x","annotations":{"readOnlyHint":true}}]}"#,
        r#""result":[{"name":"read_note","annotations":{"readOnlyHint":true}}]"#,
    ] {
        let mut scene = session();
        scene.client_says(&call(1, "read_note", json!({})));
        let id = &expect_list_request(&mut scene)["id"];
        scene.upstream_sends(&format!(r#"{{"jsonrpc":"2.0","id":{id},{answer}}}"#));
        let prompt = scene.expect_prompt();
        assert!(is_shown_as_unknown(&prompt), "{answer}");
        scene.expect_nothing();
    }
}

// Servers that are still starting: the first answer is an error, or an empty list.
#[test]
fn a_first_list_that_is_empty_or_fails_is_read_again_by_itself_after_1_5_and_30_seconds() {
    for (answer, why) in [
        (
            r#""error":{"code":-32603,"message":"fetch failed"}"#,
            "fetch failed",
        ),
        (r#""result":{"tools":[]}"#, "it is empty so far"),
        (r#""result":{"tools":null}"#, "it is empty so far"),
    ] {
        for succeeds_at in 1..=3 {
            let mut scene = session();
            scene.client_says(&call(1, "read_note", json!({})));
            let mut id = expect_list_request(&mut scene)["id"].clone();
            for after in [secs(1), secs(5), secs(30)].into_iter().take(succeeds_at) {
                scene.upstream_sends(&format!(r#"{{"jsonrpc":"2.0","id":{id},{answer}}}"#));
                scene.client.clear();
                scene.advance(after - Duration::from_millis(1));
                scene.client_says(&call(2, "read_note", json!({})));
                assert!(is_shown_as_unknown(&scene.expect_prompt()));
                scene.client_cancels(2);
                scene.client.clear();
                scene.expect_nothing();
                scene.advance(Duration::from_millis(1));
                let next = expect_list_request(&mut scene)["id"].clone();
                assert_ne!(id, next);
                id = next;
            }
            scene.upstream_says(&list(&id, usual_tools()));
            expect_warnings(&mut scene, &[why, "is now known"]);
            scene.client_calls(3, "read_note", json!({}));
            scene.expect_forwarded(3);
            scene.client.clear();
            scene.advance(secs(60));
            scene.expect_nothing();
        }
    }
}

#[test]
fn a_list_that_stays_empty_is_an_empty_list() {
    let mut scene = session().with_tools(json!([]));
    scene.client_calls(1, "read_note", json!({}));
    assert!(is_shown_as_unknown(&scene.expect_prompt()));
    for after in [1, 5, 30] {
        scene.advance(secs(after));
        scene.answer_lists();
        scene.expect_nothing();
    }
    scene.client_calls(2, "read_note", json!({}));
    assert!(is_shown_as_unlisted(&scene.expect_prompt()));
    scene.advance(secs(100));
    assert!(scene.upstream.is_empty());
}

// A server without a list must not be asked for it with every call.
#[test]
fn a_list_that_failed_four_times_is_left_alone_for_thirty_seconds_unless_it_changes() {
    let failed = || {
        let mut scene = session();
        scene.client_says(&call(1, "read_note", json!({})));
        for after in [1, 5, 30, 0] {
            let id = expect_list_request(&mut scene)["id"].clone();
            scene.upstream_says(
                &json!({"jsonrpc": "2.0", "id": id, "error": {"code": -1, "message": "no"}}),
            );
            scene.advance(secs(after));
        }
        scene.client.clear();
        scene.expect_nothing();
        scene
    };
    let mut scene = failed();
    scene.advance(secs(29));
    scene.client_says(&call(2, "read_note", json!({})));
    scene.expect_prompt();
    scene.expect_nothing();
    scene.advance(secs(1));
    scene.client_calls(3, "read_note", json!({}));
    scene.expect_forwarded(3);

    let mut scene = failed();
    says_list_changed(&mut scene);
    scene.client_calls(2, "read_note", json!({}));
    scene.expect_forwarded(2);
    scene.expect_nothing();
}

#[test]
fn a_changed_list_is_requested_again_even_while_the_old_one_hangs() {
    let mut scene = session();
    scene.client_says(&call(1, "read_note", json!({})));
    let old = expect_list_request(&mut scene);
    scene.advance(secs(5));
    expect_list_request(&mut scene);
    scene.expect_prompt();
    says_list_changed(&mut scene);
    scene.client_says(&call(2, "read_note", json!({})));
    let new = expect_list_request(&mut scene);
    scene.upstream_says(&list(&old["id"], json!([{"name": "x"}])));
    scene.expect_nothing();
    scene.upstream_says(&list(&new["id"], usual_tools()));
    scene.expect_forwarded(2);
}

// Nobody could use it any more.
#[test]
fn nothing_is_read_automatically_when_either_side_has_gone() {
    for close in [Scene::client_closes, Scene::upstream_takes_no_more] {
        let mut scene = session().with_tools(json!([]));
        scene.client_calls(1, "read_note", json!({}));
        let prompt = scene.expect_prompt();
        scene.deny(&prompt);
        scene.upstream.clear();
        close(&mut scene);
        scene.client.clear();
        scene.advance(secs(600));
        assert!(scene.upstream.is_empty());
    }
}

/// What servers send that understand only numbers: errors without a matching request, or answers under an id that they
/// made from ours.
const NUMBERS_ONLY: [&str; 5] = [
    r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"bad id"}}"#,
    r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"bad id"}}"#,
    r#"{"jsonrpc":"2.0","id":null,"result":{"tools":[{"name":"read_note"}]}}"#,
    r#"{"jsonrpc":"2.0","id":0,"result":{"tools":[{"name":"read_note"}]}}"#,
    r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32600,"message":"bad id"}}"#,
];

#[test]
fn a_server_that_understands_only_number_ids_is_asked_with_one() {
    let mut numbers = HashSet::new();
    for answer in NUMBERS_ONLY.map(Some).into_iter().chain([None]) {
        let mut scene = session();
        scene.client_says(&call(1, "read_note", json!({})));
        assert!(expect_list_request(&mut scene)["id"].is_string());
        match answer {
            Some(answer) => scene.upstream_sends(answer),
            None => scene.advance(secs(2)),
        }
        let request = expect_list_request(&mut scene);
        let number = request["id"].as_i64().unwrap();
        assert!(
            (1 << 52..1 << 53).contains(&number),
            "exact in doubles: {number}"
        );
        // Only once, whatever else it sends.
        if let Some(answer) = answer {
            scene.upstream_sends(answer);
        }
        scene.advance(secs(2));
        assert!(scene.upstream.is_empty());
        // INVARIANT 6: nobody else may use this id.
        scene.client_says(&json!({"jsonrpc": "2.0", "id": number, "method": "tools/list"}));
        scene.upstream_says(&json!({"jsonrpc": "2.0", "id": number, "method": "ping"}));
        assert!(scene.take_upstream()["error"].is_object());
        assert!(scene.upstream.is_empty());
        // The next page is requested with a number at once.
        scene.upstream_says(&json!({"jsonrpc": "2.0", "id": number,
            "result": {"tools": [], "nextCursor": "2"}}));
        let second = expect_list_request(&mut scene);
        assert_eq!(second["params"]["cursor"], "2");
        assert!(numbers.insert(number) || answer != NUMBERS_ONLY.first().copied());
        assert_ne!(second["id"].as_i64().unwrap(), number);
        scene.upstream_says(&list(&second["id"], usual_tools()));
        scene.expect_forwarded(1);
        scene.client.clear();
        // So is the next list.
        says_list_changed(&mut scene);
        scene.client_says(&call(2, "read_note", json!({})));
        let third = expect_list_request(&mut scene);
        assert!(third["id"].is_i64());
        scene.upstream_says(&list(&third["id"], usual_tools()));
        scene.expect_forwarded(2);
        // A second answer is dropped.
        scene.upstream_says(&list(&json!(number), usual_tools()));
        scene.upstream_says(&list(&third["id"], usual_tools()));
        scene.expect_nothing();
    }
}

#[test]
fn a_server_that_has_answered_a_text_id_is_never_asked_with_a_number() {
    let mut scene = session();
    scene.client_calls(1, "read_note", json!({}));
    scene.expect_forwarded(1);
    says_list_changed(&mut scene);
    scene.client_says(&call(2, "read_note", json!({})));
    expect_list_request(&mut scene);
    for answer in NUMBERS_ONLY {
        scene.upstream_sends(answer);
    }
    scene.advance(secs(60));
    assert!(scene.upstream.is_empty());
}

// A client cannot learn the number by sending what servers answer under it.
#[test]
fn our_number_id_is_not_one_that_the_client_uses() {
    let mut scene = session();
    // The next number, which is known because the scene's gate is seeded.
    let next = {
        let mut other = session();
        other.client_says(&call(1, "read_note", json!({})));
        other.take_upstream();
        other.advance(secs(2));
        expect_list_request(&mut other)["id"].clone()
    };
    scene.client_says(&json!({"jsonrpc": "2.0", "id": next, "method": "ping"}));
    scene.take_upstream();
    scene.client_says(&call(1, "read_note", json!({})));
    scene.take_upstream();
    scene.advance(secs(2));
    let request = expect_list_request(&mut scene);
    assert!(request["id"].is_i64());
    assert_ne!(request["id"], next);
}

// The tool stays in the list; a part that cannot be read counts as absent.
#[test]
fn a_hint_of_a_wrong_type_is_ignored_and_the_operator_is_warned_once() {
    let tools = json!([
        {"name": "read_note", "annotations": {"readOnlyHint": "true"}},
        {"name": "get_item", "annotations": []},
        {"name": "delete_user", "annotations": {"readOnlyHint": true, "destructiveHint": "yes"}},
        {"name": "wipe", "description": 7, "annotations": {"destructiveHint": true, "title": 1}},
        {"name": 5, "annotations": {"readOnlyHint": true}},
    ]);
    let mut scene = session().with_tools(tools);
    scene.client_calls(1, "read_note", json!({}));
    scene.expect_forwarded(1);
    scene.client_calls(2, "get_item", json!({}));
    scene.expect_forwarded(2);
    for (id, tool, why) in [
        (3, "delete_user", "its name says `delete`"),
        (4, "wipe", "the tool is marked destructive"),
    ] {
        scene.client_calls(id, tool, json!({}));
        let prompt = scene.expect_prompt();
        assert!(prompt.message.contains(why), "{}", prompt.message);
        assert!(!is_shown_as_unlisted(&prompt));
    }
    says_list_changed(&mut scene);
    scene.client_calls(5, "read_note", json!({}));
    scene.expect_forwarded(5);
    expect_warnings(
        &mut scene,
        &[
            "\"read_note\"",
            "\"get_item\"",
            "\"delete_user\"",
            "\"wipe\"",
        ],
    );
    scene.expect_nothing();
}

/// The client lists tools and gets these.
fn client_is_listed(scene: &mut Scene, id: u32, tools: &Value) {
    client_lists(scene, id, "");
    let answer = list(&json!(id), tools.clone()).to_string();
    scene.upstream_sends(&answer);
    assert_eq!(
        scene.client.pop_front().unwrap(),
        answer,
        "it passes as it is"
    );
}

// A server that turns a tool from harmless to harmful and never announces it.
#[test]
fn our_list_is_read_again_if_the_client_gets_a_different_one() {
    let turned = json!([{"name": "read_note", "annotations": {"destructiveHint": true}}]);
    let mut scene = session();
    scene.client_calls(1, "read_note", json!({}));
    scene.expect_forwarded(1);
    client_is_listed(&mut scene, 2, &usual_tools());
    scene.client_says(&call(3, "read_note", json!({})));
    scene.expect_forwarded(3);
    client_is_listed(&mut scene, 4, &turned);
    // Not before it is needed.
    scene.expect_nothing();
    scene.client_says(&call(5, "read_note", json!({})));
    let request = expect_list_request(&mut scene);
    scene.expect_nothing();
    scene.upstream_says(&list(&request["id"], turned.clone()));
    let prompt = scene.expect_prompt();
    assert!(prompt.message.contains("the tool is marked destructive"));
    // It matches now, so nothing more happens.
    client_is_listed(&mut scene, 6, &turned);
    scene.client_says(&call(7, "read_note", json!({})));
    scene.expect_prompt();
    expect_warnings(&mut scene, &["changed its tool list without announcing it"]);
    scene.expect_nothing();
}

// A listing is only a trigger: a client that can shape it cannot make a tool look harmless.
#[test]
fn a_listing_that_calls_a_tool_harmless_only_causes_another_reading() {
    let (mut scene, prompt) = asked();
    client_is_listed(
        &mut scene,
        8,
        &json!([{"name": "delete_user", "annotations": {"readOnlyHint": true}}]),
    );
    scene.client_calls(9, "delete_user", json!({}));
    scene.expect_prompt();
    scene.expect_nothing();
    // Our list says the same as before, so the yes still counts.
    scene.approve(&prompt);
    scene.expect_forwarded(7);
}

#[test]
fn an_open_question_is_checked_against_a_list_read_after_the_clients() {
    let (mut scene, prompt) = asked();
    let worse = json!([{"name": "delete_user", "description": "Deletes all users.",
        "annotations": {"destructiveHint": true}}]);
    client_is_listed(&mut scene, 8, &worse);
    scene.tools = worse;
    scene.approve(&prompt);
    let again = scene.expect_prompt();
    assert!(again.message.contains("Deletes all users."));
    scene.expect_nothing();
}

// Whatever the client sends under ids of its choice, and whatever the answers are: it costs at most one reading per
// listing, and delays nobody longer than that reading takes.
#[test]
fn a_server_whose_list_always_changes_is_read_once_per_listing() {
    let mut scene = session();
    scene.client_calls(1, "read_note", json!({}));
    scene.expect_forwarded(1);
    let mut readings = 0;
    for n in 0..20u32 {
        let tools = json!([{"name": "read_note", "description": n.to_string(),
            "annotations": {"readOnlyHint": true}}]);
        for _ in 0..3 {
            client_is_listed(&mut scene, 100 + n, &tools);
        }
        for id in [200 + n, 300 + n] {
            scene.client_says(&call(id, "read_note", json!({})));
            if let Some(request) = scene.take_list_request() {
                readings += 1;
                // Meanwhile the client gets another list: there is no third reading.
                for other in 0..3u32 {
                    client_is_listed(
                        &mut scene,
                        400 + other,
                        &json!([{"name": format!("{n}-{other}")}]),
                    );
                }
                let ours = json!([{"name": "read_note", "description": format!("ours {n}"),
                    "annotations": {"readOnlyHint": true}}]);
                scene.upstream_says(&list(&request, ours.clone()));
                let again = scene.take_list_request().expect("read again, once");
                client_is_listed(&mut scene, 500, &json!([{"name": "x"}]));
                scene.upstream_says(&list(&again, ours));
            }
            scene.expect_forwarded(id);
            scene.expect_nothing();
        }
    }
    assert_eq!(readings, 20);
}

// If our list cannot be read, the client's listings must not make each call wait for it.
#[test]
fn a_listing_to_the_client_makes_no_call_wait_for_ours() {
    let mut scene = session();
    scene.client_says(&call(1, "read_note", json!({})));
    scene.advance(secs(5));
    scene.expect_prompt();
    scene.upstream.clear();
    for n in 0..5 {
        client_is_listed(&mut scene, 50 + n, &usual_tools());
        scene.client_says(&call(60 + n, "read_note", json!({})));
        assert!(is_shown_as_unknown(&scene.expect_prompt()));
        scene.expect_nothing();
    }
}

// Our list is empty, and the client got more: reading again is worthwhile before the scheduled time.
#[test]
fn a_listing_to_the_client_brings_the_next_try_forward() {
    let mut scene = session().with_tools(json!([]));
    scene.client_calls(1, "read_note", json!({}));
    scene.expect_prompt();
    scene.advance(secs(1));
    scene.answer_lists();
    client_is_listed(&mut scene, 2, &usual_tools());
    scene.tools = usual_tools();
    scene.advance(secs(1));
    scene.answer_lists();
    scene.client_says(&call(3, "read_note", json!({})));
    scene.expect_forwarded(3);
    scene.expect_nothing();
}

// Other readers may accept a strange listing as a list. It makes our list doubtful all the same.
#[test]
fn an_unreadable_listing_passes_and_ours_is_read_again() {
    for result in [
        r#"{"tools":[{"name":"read_note","name":"x"}]}"#,
        r#"{"tools":7}"#,
        "[]",
        r#"{"tools":[],"x":"\ud800"}"#,
    ] {
        let mut scene = session();
        scene.client_calls(1, "read_note", json!({}));
        scene.expect_forwarded(1);
        client_lists(&mut scene, 2, "");
        let answer = format!(r#"{{"jsonrpc":"2.0","id":2,"result":{result}}}"#);
        scene.upstream_sends(&answer);
        assert_eq!(scene.client.pop_front().unwrap(), answer);
        scene.client_says(&call(3, "read_note", json!({})));
        assert!(scene.take_list_request().is_some(), "{result}");
    }
}

/// The client lists tools itself, as `id`; both sides see it.
fn client_lists(scene: &mut Scene, id: u32, params: &str) {
    scene.client_sends(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list"{params}}}"#
    ));
    assert_eq!(scene.take_upstream()["id"], id);
}

/// The upstream answers `id` with a listing, which the client gets unchanged.
fn upstream_lists(scene: &mut Scene, id: u32, more: &str) {
    let tools = usual_tools();
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":{tools}{more}}}}}"#);
    scene.upstream_sends(&answer);
    assert_eq!(scene.client.pop_front().unwrap(), answer);
}

// docs/decisions/03-own-tool-list.md: the gate goes by nothing but the answers to its own `tools/list`.
// A client that can shape the answer to some other request could otherwise teach it a list.
#[test]
fn the_gate_learns_nothing_from_listings_that_the_client_asks_for() {
    type Story = fn(&mut Scene);
    let stories: [(&str, Story); 9] = [
        ("a complete listing", |scene| {
            client_lists(scene, 1, "");
            upstream_lists(scene, 1, "");
        }),
        ("a first page", |scene| {
            client_lists(scene, 1, "");
            upstream_lists(scene, 1, r#","nextCursor":"n""#);
        }),
        ("a last page", |scene| {
            client_lists(scene, 1, r#","params":{"cursor":"n"}"#);
            upstream_lists(scene, 1, "");
        }),
        ("a filtered listing", |scene| {
            client_lists(scene, 1, r#","params":{"tag":"safe"}"#);
            upstream_lists(scene, 1, "");
        }),
        ("an id of two requests", |scene| {
            client_lists(scene, 1, "");
            client_lists(scene, 1, "");
            upstream_lists(scene, 1, "");
            upstream_lists(scene, 1, "");
        }),
        ("an id that a cancelled request had", |scene| {
            client_lists(scene, 1, r#","params":{"cursor":"n"}"#);
            scene.client_cancels(1);
            scene.take_upstream();
            client_lists(scene, 1, "");
            upstream_lists(scene, 1, "");
        }),
        ("what may be the late answer to an approved call", |scene| {
            scene.client_calls(1, "delete_user", json!({}));
            let prompt = scene.expect_prompt();
            scene.approve(&prompt);
            scene.expect_forwarded(1);
            client_lists(scene, 1, "");
            upstream_lists(scene, 1, "");
            says_list_changed(scene);
            client_lists(scene, 1, "");
            upstream_lists(scene, 1, "");
        }),
        ("a listing from before a change", |scene| {
            client_lists(scene, 1, "");
            says_list_changed(scene);
            upstream_lists(scene, 1, "");
        }),
        ("an answer to nothing", |scene| {
            upstream_lists(scene, 1, "");
        }),
    ];
    for (what, story) in stories {
        let mut scene = session();
        story(&mut scene);
        scene.client_says(&call(2, "read_note", json!({})));
        assert!(scene.take_list_request().is_some(), "learned from {what}");
        scene.expect_nothing();
    }
}

// invariants.md, 5: what is not gated goes on "in order".
#[test]
fn calls_that_wait_for_the_list_are_decided_in_order_of_arrival() {
    let mut scene = session();
    for (id, tool) in [
        (9, "ponder"),
        (3, "add_note"),
        (5, "read_note"),
        (1, "delete_user"),
    ] {
        scene.client_says(&call(id, tool, json!({})));
    }
    let request = expect_list_request(&mut scene);
    scene.expect_nothing();
    scene.upstream_says(&list(&request["id"], usual_tools()));
    scene.expect_forwarded(9);
    scene.expect_forwarded(5);
    let prompts = [scene.expect_prompt(), scene.expect_prompt()];
    assert!(prompts[0].message.contains("`add_note`"));
    assert!(prompts[1].message.contains("`delete_user`"));
    scene.expect_nothing();
}

// invariants.md, 4: "one from the upstream could carry the answer to one of our requests".
#[test]
fn an_answer_in_a_batch_settles_the_list_and_stays_here() {
    let mut scene = session();
    scene.client_says(&call(1, "read_note", json!({})));
    let request = expect_list_request(&mut scene);
    let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {}});
    scene.upstream_says(&json!([log, list(&request["id"], usual_tools())]));
    scene.expect_forwarded(1);
    assert_eq!(scene.take_client(), log);
    scene.expect_nothing();
}

// invariants.md, 6: "Every request of our own has a fresh 128-bit random id and no shared prefix".
#[test]
fn our_request_ids_reveal_nothing_about_each_other() {
    let mut scene = session();
    let mut ids = Vec::new();
    for n in 0..40 {
        says_list_changed(&mut scene);
        scene.client_says(&call(n, "delete_user", json!({})));
        let request = expect_list_request(&mut scene);
        scene.upstream_says(&list(&request["id"], usual_tools()));
        ids.push(request["id"].as_str().unwrap().to_owned());
        ids.push(scene.expect_prompt().id.as_str().unwrap().to_owned());
    }
    let hex = |id: &String| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
    assert!(ids.iter().all(hex), "{ids:?}");
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 80);
    for n in 0..32 {
        let digits: HashSet<u8> = ids.iter().map(|id| id.as_bytes()[n]).collect();
        assert!(digits.len() > 8, "digit {n} hardly changes");
    }
}
