//! The upstream's tool list: when it is asked for, learned, trusted, and no longer trusted.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::scene::{Prompt, Scene, call, secs, usual_tools};
use crate::gate::Settings;
use crate::policy::{Mode, Rules};

/// A session past its handshake, in which nobody has asked for the list yet.
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

/// The gate's request for the list, which the upstream has got next.
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
    message.contains("a tool that the client calls `")
        && message.contains(", risk high")
        && message.contains("Why: the server does not list this tool")
}

// DESIGN, Tool catalogue: "The proxy reads `tools/list` itself (all pages) before the first
// decision that depends on it".
#[test]
fn the_list_is_asked_for_once_and_not_before_a_decision_needs_it() {
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

// CONTRACT 3: "1. deny → block. 2. allow → pass. 3. mode `none` → pass".
#[test]
fn no_list_is_asked_for_where_the_decision_does_not_depend_on_it() {
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

// CONTRACT 3: "the proxy reads all pages itself".
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
    // Some servers write an empty cursor where there is no next page.
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": request["id"],
        "result": {"tools": usual_tools(), "nextCursor": ""}}));
    scene.expect_forwarded(1);
    scene.expect_nothing();
}

// CONTRACT 3: "Hints are those of the tool list as it stands now: […] again after
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

// As above: the change is heard of while the answer is on its way.
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

// DESIGN 2: "If the definition changes while a human thinks, ask again."
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
    // Key order and spacing are no change of meaning.
    let id = &request["id"];
    scene.upstream_sends(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[{{"annotations": {{"destructiveHint":true}}, "description":"Deletes \u0061 user.", "name":"delete_user"}}]}}}}"#
    ));
    scene.expect_forwarded(7);
    scene.expect_nothing();
    scene.expect_logged("approved", true);
}

// DESIGN 2, as above.
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
        "The server changed this tool while you were asked. Allow the call as it is now?"
    ));
    assert!(again.message.contains("Deletes all users."));
    assert_ne!(prompt.id, again.id);
    // The yes to what was shown first is spent.
    scene.approve(&prompt);
    scene.expect_nothing();
    scene.approve(&again);
    scene.expect_forwarded(7);
    scene.expect_nothing();
    assert_eq!(scene.decisions().len(), 1);
}

// DESIGN 2 and 3: it ends, and it ends with a refusal.
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

// CONTRACT 3: "hints come from a party that is not trusted."
#[test]
fn a_tool_that_calls_itself_harmless_while_a_human_thinks_is_still_asked_about() {
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
    // Nor is its risk talked down.
    assert!(again.message.contains("risk medium"), "{}", again.message);
    scene.deny(&again);
    scene.expect_refused(7, "denied by a human");
    scene.expect_nothing();
}

// DESIGN 2; CONTRACT 3: "a tool that the upstream does not list → ask".
#[test]
fn a_tool_that_is_gone_when_the_human_says_yes_is_asked_about_as_unlisted() {
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

// DESIGN, Tool catalogue: "Names are looked up exactly, by case."
#[test]
fn a_call_in_another_case_is_one_of_an_unlisted_tool() {
    let tools = json!([{"name": "Read_Note", "annotations": {"readOnlyHint": true}}]);
    let mut scene = session().with_tools(tools);
    scene.client_calls(1, "read_note", json!({}));
    assert!(is_shown_as_unlisted(&scene.expect_prompt()));
    scene.client_calls(2, "Read_Note", json!({}));
    scene.expect_forwarded(2);
    scene.expect_nothing();
}

// DESIGN, Tool catalogue: "Of two tools with one name the stricter reading counts. Names are
// looked up exactly, by case."
#[test]
fn doubtful_listings_are_read_to_the_stricter_side() {
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

// DESIGN, Tool catalogue: "Five seconds at most: a list that fails, hangs or keeps changing
// makes every tool unlisted (ask, high)."
#[test]
fn a_list_that_hangs_for_five_seconds_makes_every_tool_unlisted() {
    let mut scene = session();
    scene.client_says(&call(1, "read_note", json!({})));
    let request = expect_list_request(&mut scene);
    scene.advance(secs(5) - Duration::from_millis(1));
    scene.expect_nothing();
    scene.advance(Duration::from_millis(1));
    let prompt = scene.expect_prompt();
    assert!(is_shown_as_unlisted(&prompt), "{}", prompt.message);
    // The late answer is nobody's: the client has never asked.
    scene.upstream_says(&list(&request["id"], usual_tools()));
    scene.upstream_says(&list(&request["id"], usual_tools()));
    scene.expect_nothing();
    scene.approve(&prompt);
    scene.expect_forwarded(1);
    assert_eq!(scene.expect_logged("approved", true)["risk"], "high");
    scene.expect_nothing();
}

#[test]
fn a_list_that_keeps_changing_for_five_seconds_makes_every_tool_unlisted() {
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
    assert!(is_shown_as_unlisted(&scene.expect_prompt()));
    scene.expect_nothing();
}

#[test]
fn a_list_that_cannot_be_read_makes_every_tool_unlisted_at_once() {
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
        assert!(is_shown_as_unlisted(&prompt), "{answer}");
        scene.expect_nothing();
    }
}

// As it says; a server without a list must not be asked with every call.
#[test]
fn a_list_that_failed_is_left_alone_for_thirty_seconds_unless_it_changes() {
    let mut scene = session();
    scene.client_says(&call(1, "read_note", json!({})));
    expect_list_request(&mut scene);
    scene.advance(secs(5));
    scene.expect_prompt();
    scene.advance(secs(29));
    scene.client_says(&call(2, "read_note", json!({})));
    scene.expect_prompt();
    scene.expect_nothing();
    scene.advance(secs(1));
    scene.client_calls(3, "read_note", json!({}));
    scene.expect_forwarded(3);

    let mut scene = session();
    scene.client_says(&call(1, "read_note", json!({})));
    expect_list_request(&mut scene);
    scene.advance(secs(5));
    scene.expect_prompt();
    says_list_changed(&mut scene);
    scene.client_calls(2, "read_note", json!({}));
    scene.expect_forwarded(2);
    scene.expect_nothing();
}

/// The client lists tools itself, as `id`; both sides see it.
fn client_lists(scene: &mut Scene, id: u32, params: &str) {
    scene.client_sends(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list"{params}}}"#
    ));
    assert_eq!(scene.take_upstream()["id"], id);
}

/// The upstream answers `id` with a listing, which the client gets as it is.
fn upstream_lists(scene: &mut Scene, id: u32, more: &str) {
    let tools = usual_tools();
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":{tools}{more}}}}}"#);
    scene.upstream_sends(&answer);
    assert_eq!(scene.client.pop_front().unwrap(), answer);
}

// ARCHITECTURE, Decisions: the gate goes by nothing but the answers to its own `tools/list`.
// A client that can shape the answer to some other request could otherwise teach it a list.
#[test]
fn no_listing_that_the_client_asks_for_teaches_the_gate() {
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

// DESIGN 5: what is not gated goes on in order.
#[test]
fn calls_that_wait_for_the_list_are_decided_in_the_order_of_their_arrival() {
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

// DESIGN 4: "one from the upstream could carry the answer to a request of ours".
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

// DESIGN 6: "Every request of our own has a fresh 128-bit random id and no shared prefix".
#[test]
fn ids_of_our_requests_say_nothing_about_one_another() {
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
