//! The gate's messages to clients that are sent to an item's page.
//!
//! The scenes of the inbox test that they are the right ones.

use serde_json::{Value, json};

use super::official::Revision::{V2025_11_25, V2026_07_28};
use super::{CALL, COMPLETE, LIST, PROMPT, QUESTION, REFUSAL, WITHDRAWN, story};
use crate::approval::item::{Choice, Item};
use crate::gate::tests::scene::Scene;
use crate::gate::tests::stateless::{retry, stateless_with};
use crate::gate::{Channel, Engine, FromEngine};

/// An inbox, and an odd name.
fn scene() -> Scene {
    let tool = "delete \"a\"\n\u{202e}b";
    Scene::set(|settings| settings.channels = vec![Channel::new(Engine::INBOX)])
        .with_tools(json!([{"name": tool, "annotations": {"destructiveHint": true}}]))
}

/// The item has a page.
fn posted(scene: &mut Scene) -> Item {
    let item = scene.expect_item();
    let url = format!("http://127.0.0.1:8766/item/{}", item.id);
    scene.inbox_sends(FromEngine::Listed {
        item: item.id.clone(),
        url,
    });
    item
}

fn tool(scene: &Scene) -> String {
    scene.tools[0]["name"].as_str().unwrap().to_owned()
}

#[test]
fn a_client_of_2025_11_25_that_opens_urls() {
    let urls = || json!({"elicitation": {"url": {}}});
    let called = |name: &str| {
        let mut scene = scene().handshake(name, urls());
        let tool = tool(&scene);
        scene.client_calls(1, &tool, json!({}));
        let item = posted(&mut scene);
        let request = scene.take_client();
        (scene, item, request["id"].clone())
    };
    story(&[V2025_11_25], &[LIST, PROMPT, COMPLETE], |revision| {
        let (mut scene, item, id) = called(revision.name());
        scene.client_says(&json!({"jsonrpc": "2.0", "id": id, "result": {"action": "accept"}}));
        scene.decide(&item, Choice::Approve, |_| {});
        scene
    });
    story(&[V2025_11_25], &[LIST, PROMPT, WITHDRAWN], |revision| {
        let (mut scene, item, _) = called(revision.name());
        scene.decide(&item, Choice::Approve, |_| {});
        scene
    });
}

#[test]
fn a_client_of_2026_07_28_that_opens_urls() {
    let played = |choice: Option<Choice>| {
        let mut scene = scene();
        let urls = json!({"elicitation": {"url": {}}});
        let call = stateless_with(1, &tool(&scene), json!({}), urls);
        scene.client_says(&call);
        scene.answer_lists();
        let item = posted(&mut scene);
        let state: Value = scene.take_client()["result"]["requestState"].take();
        let action = if choice.is_some() {
            "accept"
        } else {
            "decline"
        };
        let answers = json!({"approval-proxy": {"action": action}});
        scene.person_reads();
        scene.client_says(&retry(&call, 2, answers, &state));
        if let Some(choice) = choice {
            scene.decide(&item, choice, |_| {});
        }
        scene
    };
    story(&[V2026_07_28], &[LIST, QUESTION, CALL], |_| {
        played(Some(Choice::Approve))
    });
    for choice in [Some(Choice::Deny), None] {
        story(&[V2026_07_28], &[LIST, QUESTION, REFUSAL], |_| {
            played(choice)
        });
    }
}
