//! "Every decision that a person made through any engine" is in the inbox's history.

use serde_json::json;

use crate::approval::item::{Assurance, Choice};
use crate::gate::Settings;
use crate::gate::tests::inbox::chain;
use crate::gate::tests::scene::{Scene, call};

fn scene(change: impl FnOnce(&mut Settings)) -> Scene {
    let scene = Scene::set(|settings| {
        chain(settings);
        change(settings);
    });
    scene.legacy("2025-11-25")
}

#[test]
fn a_yes_in_the_client_goes_to_the_history_after_its_call_was_released() {
    let mut scene = scene(|_| {});
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let prompt = scene.expect_prompt();
    assert!(scene.history.is_empty(), "nothing is decided yet");
    let content = json!({"approved": true, "reason": "fine"});
    scene.answer(&prompt, json!({"action": "accept", "content": content}));
    scene.expect_forwarded(1);
    let (item, verdict, engine) = scene.history.remove(0).into_parts();
    assert_eq!((&*item.server, &*item.tool), ("db", "delete_user"));
    assert_eq!(item.call, r#"{"name":"delete_user","arguments":{"id":7}}"#);
    assert_eq!(item.client.as_deref(), Some("c 1"));
    assert_eq!(engine, "elicitation");
    assert_eq!(verdict.choice, Choice::Approve);
    assert_eq!(verdict.reason.as_deref(), Some("fine"));
    assert_eq!(verdict.assurance, Assurance::CallerRelayed);
    // It does not wait for the inbox.
    assert!(scene.inbox.is_empty() && scene.history.is_empty());
}

#[test]
fn a_persons_no_in_the_client_goes_to_the_history_and_no_other() {
    let mut scene = scene(|_| {});
    scene.client_calls(1, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.person_reads();
    let content = json!({"approved": false, "reason": "not today"});
    scene.answer(&prompt, json!({"action": "accept", "content": content}));
    scene.expect_refused(1, "not today");
    let (_, verdict, _) = scene.history.remove(0).into_parts();
    assert_eq!(verdict.choice, Choice::Deny);
    assert_eq!(verdict.reason.as_deref(), Some("not today"));

    // Faster than anybody can read.
    scene.client_calls(2, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.answer(&prompt, json!({"action": "decline"}));
    scene.client.clear();
    // Silence.
    scene.client_calls(3, "delete_user", json!({"n": 1}));
    scene.expect_prompt();
    scene.advance(std::time::Duration::from_secs(600));
    // A call that nobody is asked about.
    scene.client_calls(4, "read_note", json!({}));
    assert!(scene.history.is_empty(), "{:?}", scene.history);
}

#[test]
fn the_inboxs_own_verdicts_are_not_sent_to_its_history() {
    let mut with_inbox = Scene::set(chain).handshake("2025-11-25", json!({}));
    with_inbox.client_calls(1, "delete_user", json!({}));
    let item = with_inbox.expect_item();
    with_inbox.decide(&item, Choice::Approve, |_| {});
    with_inbox.expect_forwarded(1);
    assert!(with_inbox.history.is_empty());

    let mut without = Scene::new().legacy("2025-11-25");
    without.client_calls(1, "delete_user", json!({}));
    let prompt = without.expect_prompt();
    without.approve(&prompt);
    without.expect_forwarded(1);
    assert!(without.history.is_empty());
}

#[test]
fn a_call_that_comes_back_and_runs_again_goes_to_the_history_once() {
    let mut scene = scene(|_| {});
    scene.gate.expect_returned_calls();
    scene.client_calls(1, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.approve(&prompt);
    scene.expect_forwarded(1);
    let line = call(1, "delete_user", json!({})).to_string();
    scene.call_comes_back(&line, true);
    scene.expect_forwarded(1);
    assert_eq!(scene.history.len(), 1);
}

#[test]
fn an_item_has_the_titles_of_the_tool_and_the_client() {
    let long = "T".repeat(5_000);
    let tools = json!([
        {"name": "delete_user", "title": "Delete a user", "annotations": {"title": "not this"}},
        {"name": "wipe", "annotations": {"title": long}},
    ]);
    let mut scene = Scene::set(chain).with_tools(tools);
    scene.client_says(
        &json!({"jsonrpc": "2.0", "id": "init", "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "c", "title": "The Client", "version": "1"}}}),
    );
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": "init", "result": {
        "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
        "serverInfo": {"name": "u", "version": "1"}}}));
    scene.client_says(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    scene.client.clear();
    scene.upstream.clear();
    scene.client_calls(1, "delete_user", json!({}));
    let item = scene.expect_item();
    assert_eq!(item.title.as_deref(), Some("Delete a user"));
    assert_eq!(item.client_title.as_deref(), Some("The Client"));
    scene.client_calls(2, "wipe", json!({}));
    assert_eq!(scene.expect_item().title.unwrap(), "T".repeat(200));
}
