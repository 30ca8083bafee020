//! What differs between protocol revisions, and what the handshake allows.

use serde_json::{Value, json};

use super::scene::{Prompt, Scene, call, secs};
use crate::gate::{Settings, TimeoutAction};
use crate::policy::{Mode, Rules};

/// Returns the prompt for a call of `delete_user` in a session of this revision.
fn prompt_in(revision: &str, capabilities: Value) -> Prompt {
    let mut scene = Scene::new().handshake(revision, capabilities);
    scene.client_calls(7, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.expect_nothing();
    scene.approve(&prompt);
    scene.expect_forwarded(7);
    prompt
}

/// Returns the refusal of a call of `delete_user` that nobody was asked about.
fn refusal_in(revision: &str, capabilities: Value) -> String {
    let mut scene = Scene::set(|settings| settings.timeout_action = TimeoutAction::Approve)
        .handshake(revision, capabilities);
    scene.client_calls(7, "delete_user", json!({}));
    let text = scene.expect_refused(7, "it needs a person's approval");
    scene.client_reads_all();
    scene.advance(secs(300));
    // No `elicitation/create`, and no call.
    scene.expect_nothing();
    scene.expect_logged("denied", false);
    assert_eq!(scene.decisions().len(), 1);
    // Calls that need no person are not affected.
    scene.client_calls(8, "read_note", json!({}));
    scene.expect_forwarded(8);
    text
}

// contract.md, "Prompts": "The request is `elicitation/create` in the words of the protocol
// revision in use (2025-06-18 has no `mode` key; 2025-11-25 has)".
#[test]
fn a_prompt_is_written_in_the_format_of_the_revision_in_use() {
    let old = prompt_in("2025-06-18", json!({"elicitation": {}}));
    assert_eq!(old.params.get("mode"), None);
    let new = prompt_in("2025-11-25", json!({"elicitation": {}}));
    assert_eq!(new.params["mode"], "form");
    for prompt in [old, new] {
        let schema = &prompt.params["requestedSchema"];
        assert_eq!(schema["type"], "object");
        assert_eq!(schema["required"], json!(["approved"]));
        assert_eq!(schema["properties"]["approved"]["type"], "boolean");
        assert_eq!(schema["properties"]["reason"]["type"], "string");
        // "Nothing is pre-ticked."
        assert!(!schema.to_string().contains("default"), "{schema}");
        let id = prompt.id.as_str().unwrap();
        assert!(
            id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()),
            "{id}"
        );
    }
}

// contract.md, "Prompts": "Only a client that declared elicitation is asked."
#[test]
fn a_client_that_shows_forms_can_be_asked() {
    for capabilities in [
        json!({"elicitation": {}}),
        json!({"elicitation": {"form": {}}}),
        json!({"elicitation": {"form": {}, "url": {}}, "roots": {}}),
    ] {
        assert_eq!(prompt_in("2025-11-25", capabilities).params["mode"], "form");
    }
}

// contract.md, "Prompts": "A client whose capabilities lack elicitation […] is never sent one."
#[test]
fn a_client_that_shows_no_forms_is_never_asked() {
    for capabilities in [
        json!({}),
        json!({"sampling": {}, "roots": {}}),
        json!({"elicitation": {"url": {}}}),
        json!({"elicitation": true}),
        json!({"elicitation": null}),
        json!({"Elicitation": {}}),
        json!({"experimental": {"elicitation": {}}}),
        json!(null),
    ] {
        let text = refusal_in("2025-11-25", capabilities);
        assert!(
            text.contains("does not declare") && text.contains("`elicitation`"),
            "{text}"
        );
    }
}

// contract.md, "Protocol revisions": "2024-11-05 and 2025-03-26 have no elicitation."
#[test]
fn a_revision_without_elicitation_is_named_in_the_refusal() {
    for revision in ["2024-11-05", "2025-03-26", "2031-01-01", "1.0", ""] {
        let text = refusal_in(revision, json!({"elicitation": {}}));
        assert!(
            text.contains(&format!("protocol revision \"{revision}\"")),
            "{text}"
        );
        for able in ["2025-06-18", "2025-11-25", "2026-07-28"] {
            assert!(text.contains(able), "{text}");
        }
    }
}

// contract.md, "Protocol revisions": "the version in the server's answer counts."
#[test]
fn the_revision_that_the_upstream_chose_counts() {
    let mut scene = Scene::new();
    let mut hello = initialize("init", json!({"elicitation": {}}));
    hello["params"]["protocolVersion"] = json!("2025-11-25");
    scene.client_says(&hello);
    scene.upstream_says(&initialized_as("init", "2025-03-26"));
    scene.client_says(&initialized());
    scene.client.clear();
    scene.upstream.clear();
    scene.client_calls(7, "delete_user", json!({}));
    scene.expect_refused(7, "protocol revision \"2025-03-26\"");
    scene.expect_nothing();
}

fn initialize(id: &str, capabilities: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": capabilities,
        "clientInfo": {"name": "c", "version": "1"}}})
}

fn initialized_as(id: &str, revision: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": {"protocolVersion": revision,
        "capabilities": {"tools": {}}, "serverInfo": {"name": "u", "version": "1"}}})
}

fn initialized() -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/initialized"})
}

// contract.md, "Tool list": "A call before the handshake that would need a decision is refused."
#[test]
fn a_call_before_the_handshake_is_refused() {
    let refused = |scene: &mut Scene, id: i64| {
        for tool in ["read_note", "delete_user"] {
            scene.client_says(&call(id, tool, json!({})));
            scene.expect_refused(id, "before the client's `initialize`");
            scene.expect_nothing();
            scene.expect_logged("denied", false);
        }
    };
    let mut scene = Scene::new();
    refused(&mut scene, 1);
    // An unexpected `initialized` opens nothing.
    scene.client_says(&initialized());
    scene.take_upstream();
    refused(&mut scene, 2);
    // Neither does a failed `initialize`.
    scene.client_says(&initialize("init", json!({"elicitation": {}})));
    scene.take_upstream();
    scene.upstream_says(
        &json!({"jsonrpc": "2.0", "id": "init", "error": {"code": -1, "message": "no"}}),
    );
    scene.take_client();
    refused(&mut scene, 3);
}

// Some clients never send `notifications/initialized`. Servers accept their first request other
// than `initialize` and `ping` instead.
#[test]
fn a_client_that_never_sends_initialized_is_served_from_its_first_request() {
    let begun = || {
        let mut scene = Scene::new();
        scene.client_says(&initialize("init", json!({"elicitation": {}})));
        scene.upstream_says(&initialized_as("init", "2025-11-25"));
        scene.client_says(&json!({"jsonrpc": "2.0", "id": "p", "method": "ping"}));
        scene.upstream_says(&json!({"jsonrpc": "2.0", "id": "p", "result": {}}));
        scene.upstream.clear();
        scene.client.clear();
        scene
    };
    // The first request is a call.
    let mut scene = begun();
    scene.client_calls(1, "read_note", json!({}));
    scene.expect_forwarded(1);
    scene.client_calls(2, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    assert!(
        prompt.message.contains("Deletes a user."),
        "{}",
        prompt.message
    );
    scene.approve(&prompt);
    scene.expect_forwarded(2);
    scene.expect_nothing();
    // Or it is another request. The list is read when a call needs it, and not before.
    let mut scene = begun();
    scene.client_says(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}));
    assert_eq!(scene.take_upstream()["id"], 1);
    scene.expect_nothing();
    scene.client_calls(2, "read_note", json!({}));
    scene.expect_forwarded(2);
    // Calls that are sent early wait for the server's answer.
    let mut scene = Scene::new();
    scene.client_says(&initialize("init", json!({"elicitation": {}})));
    scene.client_says(&call(1, "read_note", json!({})));
    scene.take_upstream();
    scene.expect_nothing();
    scene.upstream_says(&initialized_as("init", "2025-11-25"));
    scene.take_client();
    scene.answer_lists();
    scene.expect_forwarded(1);
    scene.expect_nothing();
}

// contract.md, "Tool list": "It asks only after the client's `initialized`, or the first request
// that stands for it, and never before the upstream has answered `initialize`."
#[test]
fn early_calls_wait_for_the_upstreams_answer_and_are_decided_then() {
    let mut scene = Scene::new();
    scene.client_says(&initialize("init", json!({"elicitation": {}})));
    scene.client_says(&initialized());
    scene.client_says(&call(1, "read_note", json!({})));
    scene.client_says(&call(2, "delete_user", json!({})));
    assert_eq!(scene.take_upstream()["method"], "initialize");
    assert_eq!(scene.take_upstream()["method"], "notifications/initialized");
    scene.advance(secs(4));
    scene.expect_nothing();
    scene.upstream_says(&initialized_as("init", "2025-06-18"));
    assert_eq!(scene.take_client()["id"], "init");
    scene.answer_lists();
    scene.expect_forwarded(1);
    let prompt = scene.expect_prompt();
    assert_eq!(prompt.params.get("mode"), None);
    scene.approve(&prompt);
    scene.expect_forwarded(2);
    scene.expect_nothing();
}

// contract.md, "Refusals": "a client that declared elicitation is not told to declare it."
#[test]
fn the_refusal_of_an_early_call_says_that_the_server_has_not_answered() {
    let refused_as = |capabilities: Value, words: &str| {
        let mut scene = Scene::new();
        scene.client_says(&initialize("init", capabilities));
        scene.client_says(&initialized());
        scene.client_says(&call(1, "delete_user", json!({})));
        scene.upstream.clear();
        scene.advance(secs(6));
        let text = scene.expect_refused(1, words);
        scene.expect_nothing();
        scene.expect_logged("denied", false);
        text
    };
    let text = refused_as(
        json!({"elicitation": {}}),
        "the server has not answered `initialize` yet",
    );
    assert!(!text.contains("declare"), "{text}");
    assert!(
        text.contains("may be tried again once the server has answered"),
        "{text}"
    );
    refused_as(json!({}), "does not declare");
}

// The same if there was no `initialize` at all, or the server rejected it.
#[test]
fn the_refusal_of_a_call_without_an_agreed_revision_says_so() {
    let mut scene = Scene::new();
    // A stateless call causes the list to be read, so that a legacy one can be decided.
    scene.client_says(&stateless_call(1, "read_note"));
    scene.answer_lists();
    scene.expect_forwarded(1);
    scene.client_says(&call(2, "delete_user", json!({})));
    scene.expect_refused(2, "not agreed on a protocol revision by `initialize`");
    let mut scene = Scene::new();
    scene.client_says(&initialize("init", json!({"elicitation": {}})));
    scene.client_says(&initialized());
    scene.client_says(&call(3, "delete_user", json!({})));
    scene.upstream.clear();
    scene.upstream_says(
        &json!({"jsonrpc": "2.0", "id": "init", "error": {"code": -32602, "message": "no"}}),
    );
    scene.take_client();
    scene.advance(secs(6));
    scene.expect_refused(3, "not agreed on a protocol revision by `initialize`");
    scene.expect_nothing();
}

// contract.md, "Policy": deny, allow and mode `none` come before everything that depends on the
// list.
#[test]
fn a_decision_that_needs_no_list_needs_no_handshake() {
    let rules = Rules {
        allow: vec!["ping_*".into()],
        deny: vec!["drop_*".into()],
        ..Rules::default()
    };
    let mut scene = Scene::with(Settings::default(), rules);
    scene.client_says(&call(1, "ping_host", json!({})));
    scene.expect_forwarded(1);
    scene.client_says(&call(2, "drop_table", json!({})));
    scene.expect_refused(2, "blocked");
    scene.expect_nothing();
    let rules = Rules {
        mode: Mode::None,
        ..Rules::default()
    };
    let mut scene = Scene::with(Settings::default(), rules);
    scene.client_says(&call(1, "delete_user", json!({})));
    scene.expect_forwarded(1);
    scene.expect_nothing();
}

/// A stateless call by a client that can be asked.
pub(super) fn stateless_call(id: i64, tool: &str) -> Value {
    let mut call = call(id, tool, json!({}));
    call["params"]["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1.0"},
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
        "progressToken": 5,
        "com.example/trace": "t",
    });
    call
}

// SPEC 2026-07-28: the required fields "MUST be included on every request", so the proxy's own
// `tools/list` has them too.
#[test]
fn a_stateless_call_needs_no_handshake_and_its_meta_goes_with_the_list() {
    let mut scene = Scene::new();
    let read = stateless_call(1, "read_note").to_string();
    scene.client_sends(&read);
    let list = scene.take_upstream();
    assert_eq!(list["method"], "tools/list");
    assert_eq!(
        list["params"],
        json!({"_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1.0"},
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
        }})
    );
    // Every page is requested with it.
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": list["id"],
        "result": {"tools": [], "nextCursor": "p2"}}));
    let next = scene.take_upstream();
    assert_eq!(next["params"]["cursor"], "p2");
    assert_eq!(next["params"]["_meta"], list["params"]["_meta"]);
    assert_ne!(next["id"], list["id"]);
    scene.expect_nothing();
    let tools = scene.tools.clone();
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": next["id"], "result": {"tools": tools}}));
    assert_eq!(scene.upstream.pop_front().unwrap(), read);
    scene.expect_nothing();
    scene.expect_logged("passed", true);
}

// contract.md, "Refusals": "A refused call gets an ordinary result". Only 2026-07-28 has
// `resultType`.
#[test]
fn a_refusal_in_a_legacy_session_has_no_result_type() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.deny(&prompt);
    let answer = scene.take_client();
    assert_eq!(answer["result"]["isError"], true);
    assert_eq!(answer["result"].get("resultType"), None, "{answer}");
}

// contract.md, "Prompts": capabilities count "per session in legacy", and a session begins with
// `initialize`.
#[test]
fn a_second_initialize_starts_from_the_beginning() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_calls(1, "read_note", json!({}));
    scene.expect_forwarded(1);
    scene.client_says(&initialize("again", json!({})));
    scene.take_upstream();
    // Nothing from the first handshake holds any more, nor does the list.
    scene.client_says(&call(2, "read_note", json!({})));
    scene.expect_nothing();
    scene.upstream_says(&initialized_as("again", "2025-11-25"));
    scene.take_client();
    scene.answer_lists();
    scene.expect_forwarded(2);
    scene.client_says(
        &json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {}}),
    );
    scene.upstream.clear();
    scene.upstream_says(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
    scene.take_client();
    scene.client_says(&initialized());
    scene.take_upstream();
    scene.client_says(&call(3, "delete_user", json!({})));
    assert!(!scene.upstream.is_empty(), "the list is asked for again");
    scene.answer_lists();
    scene.expect_refused(3, "does not declare");
    scene.expect_nothing();
}

// contract.md, "Prompts": "only approvals are cached, per client session".
#[test]
fn an_approval_does_not_outlive_its_session() {
    let mut scene = Scene::set(|settings| settings.approval_ttl = secs(60)).legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.approve(&prompt);
    scene.expect_forwarded(1);
    let mut scene = scene.legacy("2025-11-25");
    scene.client_calls(2, "delete_user", json!({}));
    scene.expect_prompt();
    scene.expect_nothing();
}

/// The client was told that the call was refused because of the new session.
fn expect_abandoned(scene: &mut Scene, id: u64) {
    scene.expect_refused(id, "begun a new session");
    let line = scene.expect_logged("cancelled", false);
    assert_eq!(line["reason"], "the client has begun a new session");
}

// contract.md, "Prompts": "only approvals are cached, per client session"; invariants.md, 2: "One
// approval, one execution." What a session was asked ends with it.
#[test]
fn a_question_does_not_outlive_its_session() {
    let mut scene = Scene::set(|settings| settings.approval_ttl = secs(60)).legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    // An identical call shares the prompt.
    scene.client_calls(2, "delete_user", json!({}));
    scene.client_says(&initialize("again", json!({"elicitation": {}})));
    scene.expect_withdrawn(&prompt);
    expect_abandoned(&mut scene, 1);
    expect_abandoned(&mut scene, 2);
    assert_eq!(scene.take_upstream()["method"], "initialize");
    // A late yes is dropped, and covers nothing.
    scene.approve(&prompt);
    assert_eq!(scene.warnings.len(), 1);
    scene.expect_nothing();
    let mut scene = scene.legacy("2025-11-25");
    scene.approve(&prompt);
    scene.client_calls(3, "delete_user", json!({}));
    scene.expect_prompt();
    scene.expect_nothing();
}

// The same for the second of two prompts, and for one that the client could not show.
#[test]
fn a_half_approved_or_unshown_question_does_not_outlive_its_session() {
    let mut scene = Scene::set(|settings| settings.double_confirm = true).legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({}));
    let first = scene.expect_prompt();
    scene.approve(&first);
    let second = scene.expect_prompt();
    scene.client_calls(2, "delete_user", json!({"id": 2}));
    let unshown = scene.expect_prompt();
    scene.answer_with_error(&unshown);
    scene.client_says(&initialize("again", json!({"elicitation": {}})));
    scene.expect_withdrawn(&second);
    expect_abandoned(&mut scene, 1);
    expect_abandoned(&mut scene, 2);
    let mut scene = scene.legacy("2025-11-25");
    scene.approve(&second);
    scene.advance(secs(300));
    scene.expect_nothing();
}

// The same if the yes has arrived, and the call waits to be checked against the list.
#[test]
fn a_yes_does_not_outlive_its_session() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.tools_change(scene.tools.clone());
    let yes = json!({"action": "accept", "content": {"approved": true}});
    scene.client_says(&json!({"jsonrpc": "2.0", "id": prompt.id, "result": yes}));
    let list = scene.take_list_request().unwrap();
    scene.expect_nothing();
    scene.client_says(&initialize("again", json!({"elicitation": {}})));
    expect_abandoned(&mut scene, 1);
    assert_eq!(scene.take_upstream()["method"], "initialize");
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": list, "result": {"tools": scene.tools}}));
    scene.answer_lists();
    scene.expect_nothing();
    let mut scene = scene.legacy("2025-11-25");
    scene.advance(secs(300));
    scene.expect_nothing();
}

// Nobody was asked about a call that waits for the list, so it keeps waiting and is asked about in
// the new session.
#[test]
fn a_call_that_waits_for_the_list_keeps_waiting_in_the_next_session() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_says(&call(1, "ponder", json!({})));
    scene.client_says(&call(2, "delete_user", json!({})));
    let list = scene.take_list_request().unwrap();
    scene.client_says(&initialize("again", json!({"elicitation": {}})));
    assert_eq!(scene.take_upstream()["method"], "initialize");
    scene.expect_nothing();
    scene.upstream_says(&initialized_as("again", "2025-06-18"));
    scene.take_client();
    scene.client_says(&initialized());
    scene.take_upstream();
    // The old session's list decides nothing.
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": list, "result": {"tools": []}}));
    scene.answer_lists();
    scene.expect_forwarded(1);
    let prompt = scene.expect_prompt();
    assert_eq!(prompt.params.get("mode"), None);
    scene.approve(&prompt);
    scene.expect_forwarded(2);
    scene.expect_nothing();
}

// An `initialize` that is refused begins no session.
#[test]
fn an_initialize_under_the_id_of_a_held_call_leaves_its_question_alone() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_calls("again", "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.client_says(&initialize("again", json!({})));
    assert!(scene.expect_error("again").contains("id is still waiting"));
    scene.approve(&prompt);
    scene.expect_forwarded("again");
    scene.expect_nothing();
}

// contract.md, "Tool list": no list is asked for before the upstream has answered the handshake.
#[test]
fn early_calls_of_a_second_handshake_wait_for_the_second_answer() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_says(&initialize("again", json!({})));
    scene.client_says(&initialized());
    scene.client_says(&call(1, "delete_user", json!({})));
    assert_eq!(scene.take_upstream()["method"], "initialize");
    assert_eq!(scene.take_upstream()["method"], "notifications/initialized");
    scene.expect_nothing();
    scene.upstream_says(&initialized_as("again", "2025-11-25"));
    scene.take_client();
    scene.answer_lists();
    scene.expect_refused(1, "does not declare");
    scene.expect_nothing();
}
