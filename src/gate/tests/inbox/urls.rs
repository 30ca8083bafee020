//! Clients that are sent to an item's page.

use serde_json::json;

use super::{chain, scene};
use crate::approval::item::{Choice, Closed};
use crate::gate::tests::scene::Scene;
use crate::gate::{FromEngine, Settings, ToEngine};

/// A client that opens URLs and shows no forms.
fn with_urls(change: impl FnOnce(&mut Settings)) -> Scene {
    let scene = Scene::set(|settings| {
        chain(settings);
        change(settings);
    });
    scene.handshake("2025-11-25", json!({"elicitation": {"url": {}}}))
}

fn posted(scene: &mut Scene, item: &crate::approval::item::Item) -> serde_json::Value {
    let url = format!("http://127.0.0.1:8766/item/{}", item.id);
    scene.inbox_sends(FromEngine::Listed {
        item: item.id.clone(),
        url: url.clone(),
    });
    let request = scene.take_client();
    assert_eq!(request["method"], "elicitation/create");
    let params = &request["params"];
    assert_eq!(
        (&params["mode"], &params["url"], &params["elicitationId"]),
        (&json!("url"), &json!(url), &json!(item.id))
    );
    request["id"].clone()
}

#[test]
fn a_client_that_opens_urls_is_sent_to_the_item_and_its_consent_is_not_a_yes() {
    let mut scene = with_urls(|_| {});
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    let id = posted(&mut scene, &item);
    scene.client_says(&json!({"jsonrpc": "2.0", "id": id, "result": {
        "action": "accept", "content": {"approved": true}}}));
    scene.expect_nothing();
    scene.decide(&item, Choice::Approve, |_| {});
    let received = scene.take_client();
    assert_eq!(received["method"], "notifications/elicitation/complete");
    assert_eq!(received["params"]["elicitationId"], item.id);
    scene.expect_forwarded(1);
    let line = scene.expect_logged("approved", true);
    assert_eq!(line["engine"], "inbox");
}

#[test]
fn an_unanswered_invitation_is_withdrawn_and_a_declined_one_is_a_no() {
    let mut scene = with_urls(|_| {});
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    let id = posted(&mut scene, &item);
    scene.decide(&item, Choice::Approve, |_| {});
    let received = scene.take_client();
    assert_eq!(received["method"], "notifications/cancelled");
    assert_eq!(received["params"]["requestId"], id);
    scene.expect_forwarded(1);
    // A late answer is dropped.
    scene.client_says(&json!({"jsonrpc": "2.0", "id": id, "result": {"action": "decline"}}));
    scene.expect_nothing();

    scene.client_calls(2, "delete_user", json!({"id": 8}));
    let item = scene.expect_item();
    let id = posted(&mut scene, &item);
    scene.person_reads();
    scene.client_says(&json!({"jsonrpc": "2.0", "id": id, "result": {"action": "decline"}}));
    scene.expect_refused(2, "denied by a person");
    let how = Closed::Withdrawn;
    let closed = ToEngine::Close {
        item: item.id.clone(),
        how,
    };
    assert_eq!(scene.inbox.pop_front(), Some(closed));

    scene.client_calls(3, "delete_user", json!({"id": 9}));
    let item = scene.expect_item();
    let id = posted(&mut scene, &item);
    scene.client_says(&json!({"jsonrpc": "2.0", "id": id, "result": {"action": "cancel"}}));
    scene.expect_nothing();
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_forwarded(3);
}

#[test]
fn a_client_that_opens_no_urls_gets_no_invitation() {
    let mut scene = scene(|_| {});
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    let url = "http://127.0.0.1:8766/item/x".to_owned();
    let item = item.id;
    scene.inbox_sends(FromEngine::Listed { item, url });
    scene.expect_nothing();
}
