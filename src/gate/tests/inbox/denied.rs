//! "`approvalDenyMemorySeconds` (default 0 = off): an identical call within that time after a denial is refused without
//! asking, and the text says so; a person can lift that in the inbox."

use serde_json::json;

use crate::approval::item::{Choice, Closed, Item};
use crate::gate::tests::inbox::chain;
use crate::gate::tests::scene::{Scene, secs};
use crate::gate::{Settings, ToEngine};

fn scene(change: impl FnOnce(&mut Settings)) -> Scene {
    let scene = Scene::set(|settings| {
        chain(settings);
        settings.deny_memory = secs(60);
        change(settings);
    });
    scene.handshake("2025-11-25", json!({"elicitation": {}}))
}

fn denied(scene: &mut Scene, id: u64) {
    scene.client_calls(id, "delete_user", json!({"id": 7}));
    let prompt = scene.expect_prompt();
    scene.person_reads();
    scene.deny(&prompt);
    scene.expect_refused(id, "denied by a person");
    scene.expect_logged("denied", false);
}

/// The call is made again and refused without asking. Returns the item that can lift that.
fn refused_again(scene: &mut Scene, id: u64) -> Item {
    scene.client_calls(id, "delete_user", json!({"id": 7}));
    let received = scene.inbox.pop_front();
    let Some(ToEngine::Ask {
        engine: _,
        item,
        replaces: None,
        opens_browser: false,
    }) = received
    else {
        panic!("{received:?}");
    };
    assert!(matches!(
        scene.inbox.pop_front(),
        Some(ToEngine::Park { .. })
    ));
    scene.expect_refused(id, &item.id);
    let line = scene.expect_logged("denied", false);
    assert_eq!(line["engine"], "cache");
    assert!(
        line["reason"]
            .as_str()
            .unwrap()
            .contains("an earlier denial")
    );
    scene.expect_nothing();
    *item
}

#[test]
fn by_default_a_denied_call_is_asked_about_again() {
    let mut scene = scene(|settings| settings.deny_memory = secs(0));
    denied(&mut scene, 1);
    denied(&mut scene, 2);
}

#[test]
fn an_identical_call_is_refused_without_asking_for_that_time() {
    let mut scene = scene(|_| {});
    denied(&mut scene, 1);
    scene.advance(secs(50));
    let item = refused_again(&mut scene, 2);
    assert!(item.question.contains("denied recently"), "{item:?}");
    // The same item stands for further ones.
    scene.client_calls(3, "delete_user", json!({"id": 7}));
    let text = scene.expect_refused(3, &item.id);
    assert!(text.contains("denied without asking"), "{text}");
    scene.expect_nothing();
    // Another call is asked about.
    scene.client_calls(4, "delete_user", json!({"id": 8}));
    let other = scene.expect_prompt();
    scene.person_reads();
    scene.deny(&other);
    scene.expect_refused(4, "denied by a person");
    // So is the same call, when the time is up.
    scene.advance(secs(10));
    let closed = ToEngine::Close {
        item: item.id,
        how: Closed::Expired,
    };
    assert_eq!(scene.inbox.pop_front(), Some(closed));
    scene.client_calls(5, "delete_user", json!({"id": 7}));
    scene.expect_prompt();
}

#[test]
fn a_person_can_lift_a_denial_in_the_inbox_for_one_run() {
    let mut scene = scene(|_| {});
    denied(&mut scene, 1);
    let item = refused_again(&mut scene, 2);
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_nothing();
    scene.client_calls(3, "delete_user", json!({"id": 7}));
    scene.expect_forwarded(3);
    assert_eq!(scene.expect_logged("approved", true)["engine"], "inbox");
    scene.client_calls(4, "delete_user", json!({"id": 7}));
    scene.expect_prompt();
}

#[test]
fn a_second_denial_in_the_inbox_counts_from_then_on() {
    let mut scene = scene(|_| {});
    denied(&mut scene, 1);
    let item = refused_again(&mut scene, 2);
    scene.advance(secs(40));
    scene.decide(&item, Choice::Deny, |_| {});
    scene.client_calls(3, "delete_user", json!({"id": 7}));
    scene.expect_refused(3, "denied by a person");
    scene.advance(secs(50));
    refused_again(&mut scene, 4);
}

#[test]
fn a_call_of_a_changed_tool_is_not_identical() {
    let mut scene = scene(|_| {});
    denied(&mut scene, 1);
    scene.tools_change(json!([{"name": "delete_user", "description": "Deletes everything."}]));
    scene.client_calls(2, "delete_user", json!({"id": 7}));
    scene.expect_prompt();
}

#[test]
fn without_an_inbox_the_refusal_does_not_mention_it() {
    let mut scene = scene(|settings| settings.channels.truncate(1));
    denied(&mut scene, 1);
    scene.client_calls(2, "delete_user", json!({"id": 7}));
    let text = scene.expect_refused(2, "denied without asking");
    assert!(!text.contains("inbox"), "{text}");
    assert!(scene.inbox.is_empty());
    scene.expect_nothing();
}

#[test]
fn a_client_does_not_escape_a_denial_with_a_new_session() {
    let mut scene = scene(|_| {});
    denied(&mut scene, 1);
    let mut scene = scene.handshake("2025-11-25", json!({"elicitation": {}}));
    refused_again(&mut scene, 2);
}

// Silence, an instant answer and a dismissed prompt are not a person's denial.
#[test]
fn only_a_persons_no_is_remembered() {
    let mut scene = scene(|settings| settings.instant_decline = secs(1));
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let prompt = scene.expect_prompt();
    scene.client_reads_all();
    scene.answer(&prompt, json!({"action": "decline"}));
    scene.expect_refused(1, "faster than a person can read");
    scene.inbox.clear();
    scene.client_calls(2, "delete_user", json!({"id": 8}));
    let prompt = scene.expect_prompt();
    scene.advance(secs(600));
    scene.expect_withdrawn(&prompt);
    scene.expect_refused(2, "nobody answered in time");
    scene.inbox.clear();
    scene.client_calls(3, "delete_user", json!({"id": 8}));
    scene.expect_prompt();
}
