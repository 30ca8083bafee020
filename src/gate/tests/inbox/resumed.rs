//! Parked questions that outlive their session.

mod attacked;
mod properties;
mod shared_inbox;

use std::time::Duration;

use serde_json::{Value, json};

use self::shared_inbox::SharedInbox;
use super::{MINUTE, chain};
use crate::approval::item::Choice;
use crate::gate::tests::scene::{Scene, secs};
use crate::gate::{FromEngine, Resume, Resumption, Settings, TimeoutAction, ToEngine};
use crate::policy::Rules;

/// A client, by what it declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Client {
    name: &'static str,
    /// Its answer to `roots/list`; `None` if it does not declare roots.
    roots: Option<&'static str>,
}

const PLAIN: Client = Client {
    name: "c",
    roots: None,
};
const ROOTED: Client = Client {
    name: "c",
    roots: Some("file:///a"),
};

fn settings() -> Settings {
    let mut settings = Settings {
        also_inbox_after: Duration::ZERO,
        timeout_action: TimeoutAction::Park,
        timeout: Some(MINUTE),
        park_for: 60 * MINUTE,
        resumes_parked: true,
        ..Settings::default()
    };
    chain(&mut settings);
    settings
}

/// The `number`th session of a client without elicitation.
fn session(number: u8, client: Client, settings: Settings) -> Scene {
    let scene = Scene::seeded(settings, Rules::default(), number);
    begin(scene, client)
}

/// The client goes through the handshake.
fn begin(mut scene: Scene, client: Client) -> Scene {
    let capabilities = match client.roots {
        Some(_) => json!({"roots": {"listChanged": true}}),
        None => json!({}),
    };
    scene.client_says(
        &json!({"jsonrpc": "2.0", "id": "init", "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": capabilities,
        "clientInfo": {"name": client.name, "version": "1"}}}),
    );
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": "init", "result": {
        "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
        "serverInfo": {"name": "u", "version": "1"}}}));
    scene.client_says(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    scene.client.clear();
    scene.upstream.clear();
    scene
}

/// The client sends its roots, if it was asked for them.
fn send_roots(scene: &mut Scene, uri: &str) -> bool {
    let asked =
        |text: &String| serde_json::from_str::<Value>(text).unwrap()["method"] == "roots/list";
    let Some(at) = scene.client.iter().position(asked) else {
        return false;
    };
    let request: Value = serde_json::from_str(&scene.client.remove(at).unwrap()).unwrap();
    scene.client_says(
        &json!({"jsonrpc": "2.0", "id": request["id"], "result": {"roots": [{"uri": uri}]}}),
    );
    true
}

/// Delivers messages in both directions until there are none.
fn settle(shared: &mut SharedInbox, number: u8, scene: &mut Scene, client: Client) {
    loop {
        let mut is_news = shared.serve(number, scene);
        scene.answer_lists();
        if let Some(uri) = client.roots {
            is_news |= send_roots(scene, uri);
        }
        if !is_news && scene.inbox.is_empty() {
            break;
        }
    }
}

/// A session in which the call of user 7 is parked, and then the client leaves. Returns the item.
fn leaves_a_call(shared: &mut SharedInbox, number: u8, client: Client) -> String {
    let mut scene = session(number, client, settings());
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    settle(shared, number, &mut scene, client);
    scene.advance(MINUTE + secs(1));
    settle(shared, number, &mut scene, client);
    scene.expect_refused(1, "waiting for approval");
    scene.client_closes();
    settle(shared, number, &mut scene, client);
    shared.newest().to_owned()
}

#[test]
fn a_yes_given_between_two_sessions_lets_the_same_call_run_once() {
    for client in [PLAIN, ROOTED] {
        let mut shared = SharedInbox::default();
        let item = leaves_a_call(&mut shared, 1, client);
        shared.decide(&item, Choice::Approve);
        let mut scene = session(2, client, settings());
        scene.client_calls(1, "delete_user", json!({"id": 7}));
        settle(&mut shared, 2, &mut scene, client);
        scene.expect_forwarded(1);
        let line = scene.expect_logged("approved", true);
        assert_eq!(
            (&line["engine"], &line["assurance"]),
            (&json!("inbox"), &json!("inbox-session"))
        );
        let resumed = scene.log.iter().find(|line| line["event"] == "resumed");
        assert_eq!(resumed.unwrap()["item"], json!(item));
        // Once, here and in a third session.
        scene.client_calls(2, "delete_user", json!({"id": 7}));
        settle(&mut shared, 2, &mut scene, client);
        scene.expect_nothing();
        assert_ne!(shared.newest(), item);
        scene.client_closes();
        settle(&mut shared, 2, &mut scene, client);
        let mut scene = session(3, client, settings());
        scene.client_calls(1, "delete_user", json!({"id": 7}));
        settle(&mut shared, 3, &mut scene, client);
        scene.expect_nothing();
    }
}

#[test]
fn a_call_waits_for_the_open_item_and_creates_no_second_one() {
    let mut shared = SharedInbox::default();
    let item = leaves_a_call(&mut shared, 1, PLAIN);
    let mut scene = session(2, PLAIN, settings());
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    settle(&mut shared, 2, &mut scene, PLAIN);
    scene.expect_nothing();
    assert_eq!(shared.newest(), item);
    shared.decide(&item, Choice::Approve);
    settle(&mut shared, 2, &mut scene, PLAIN);
    scene.expect_forwarded(1);
}

#[test]
fn a_no_given_between_two_sessions_refuses_the_call_once() {
    let mut shared = SharedInbox::default();
    let item = leaves_a_call(&mut shared, 1, PLAIN);
    shared.decide(&item, Choice::Deny);
    let mut scene = session(2, PLAIN, settings());
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    settle(&mut shared, 2, &mut scene, PLAIN);
    scene.expect_refused(1, "denied");
    scene.client_calls(2, "delete_user", json!({"id": 7}));
    settle(&mut shared, 2, &mut scene, PLAIN);
    scene.expect_nothing();
    assert_ne!(shared.newest(), item);
}

#[test]
fn a_call_that_waits_again_in_a_later_session_is_parked_again() {
    let mut shared = SharedInbox::default();
    let item = leaves_a_call(&mut shared, 1, PLAIN);
    assert_eq!(leaves_a_call(&mut shared, 2, PLAIN), item);
    shared.decide(&item, Choice::Approve);
    let mut scene = session(3, PLAIN, settings());
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    settle(&mut shared, 3, &mut scene, PLAIN);
    scene.expect_forwarded(1);
}

#[test]
fn a_yes_received_by_a_session_outlives_it_even_if_it_is_killed() {
    for is_killed in [false, true] {
        let mut shared = SharedInbox::default();
        let mut scene = session(1, PLAIN, settings());
        scene.client_calls(1, "delete_user", json!({"id": 7}));
        settle(&mut shared, 1, &mut scene, PLAIN);
        scene.advance(MINUTE + secs(1));
        settle(&mut shared, 1, &mut scene, PLAIN);
        let item = shared.newest().to_owned();
        shared.decide(&item, Choice::Approve);
        settle(&mut shared, 1, &mut scene, PLAIN);
        let kept = scene.log.iter().any(|line| line["item"] == json!(item));
        assert!(kept, "the yes is in the log: {:?}", scene.log);
        if is_killed {
            shared.dies(1);
        } else {
            scene.client_closes();
            settle(&mut shared, 1, &mut scene, PLAIN);
        }
        let mut scene = session(2, PLAIN, settings());
        scene.client_calls(1, "delete_user", json!({"id": 7}));
        settle(&mut shared, 2, &mut scene, PLAIN);
        scene.expect_forwarded(1);
    }
}

#[test]
fn a_yes_used_by_a_killed_session_is_used_up() {
    let mut shared = SharedInbox::default();
    let mut scene = session(1, PLAIN, settings());
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    settle(&mut shared, 1, &mut scene, PLAIN);
    scene.advance(MINUTE + secs(1));
    settle(&mut shared, 1, &mut scene, PLAIN);
    let item = shared.newest().to_owned();
    shared.decide(&item, Choice::Approve);
    settle(&mut shared, 1, &mut scene, PLAIN);
    scene.client.clear();
    // Nothing runs until nobody else can have the answer.
    scene.client_calls(2, "delete_user", json!({"id": 7}));
    scene.expect_nothing();
    settle(&mut shared, 1, &mut scene, PLAIN);
    scene.expect_forwarded(2);
    shared.dies(1);
    let mut scene = session(2, PLAIN, settings());
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    settle(&mut shared, 2, &mut scene, PLAIN);
    scene.expect_nothing();
    assert_ne!(shared.newest(), item);
}

#[test]
fn nothing_is_resumed_if_anything_differs_or_is_unknown() {
    let usual = json!({"id": 7});
    let another = Client { name: "d", ..PLAIN };
    let elsewhere = Client {
        roots: Some("file:///b"),
        ..ROOTED
    };
    let changed = || {
        let mut tools = crate::gate::tests::scene::usual_tools();
        tools[1]["description"] = json!("Deletes a user for good.");
        tools
    };
    let same = crate::gate::tests::scene::usual_tools;
    for (first, second, arguments, tools) in [
        (PLAIN, another, usual.clone(), same()),
        (ROOTED, elsewhere, usual.clone(), same()),
        (ROOTED, PLAIN, usual.clone(), same()),
        (PLAIN, ROOTED, usual.clone(), same()),
        (PLAIN, PLAIN, json!({"id": 8}), same()),
        (PLAIN, PLAIN, usual.clone(), changed()),
    ] {
        let mut shared = SharedInbox::default();
        let item = leaves_a_call(&mut shared, 1, first);
        shared.decide(&item, Choice::Approve);
        let mut scene = session(2, second, settings()).with_tools(tools);
        scene.client_calls(1, "delete_user", arguments.clone());
        settle(&mut shared, 2, &mut scene, second);
        scene.expect_nothing();
        assert_ne!(shared.newest(), item, "{second:?} {arguments}");
    }
}

#[test]
fn a_client_that_withholds_its_roots_leaves_and_resumes_nothing() {
    let refuse = |scene: &mut Scene| {
        let request: Value = serde_json::from_str(&scene.client.pop_front().unwrap()).unwrap();
        assert_eq!(request["method"], "roots/list");
        scene.client_says(&json!({"jsonrpc": "2.0", "id": request["id"],
            "error": {"code": -32601, "message": "no"}}));
    };
    let mut shared = SharedInbox::default();
    let mut scene = session(1, ROOTED, settings());
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    shared.serve(1, &mut scene);
    refuse(&mut scene);
    scene.advance(MINUTE + secs(1));
    shared.serve(1, &mut scene);
    let item = shared.newest().to_owned();
    assert!(!shared.is_marked(&item));
    scene.client_closes();
    shared.serve(1, &mut scene);
    assert!(
        !shared.is_open(&item),
        "it is withdrawn, as nobody can resume it"
    );

    let item = leaves_a_call(&mut shared, 2, ROOTED);
    shared.decide(&item, Choice::Approve);
    let mut scene = session(3, ROOTED, settings());
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    shared.serve(3, &mut scene);
    refuse(&mut scene);
    shared.serve(3, &mut scene);
    scene.expect_nothing();
    assert_ne!(shared.newest(), item);
}

#[test]
fn changed_roots_are_requested_again() {
    let mut shared = SharedInbox::default();
    let mut scene = session(1, ROOTED, settings());
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    settle(&mut shared, 1, &mut scene, ROOTED);
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"});
    scene.client_says(&changed);
    assert_eq!(
        scene.take_upstream(),
        changed,
        "the server hears of it, too"
    );
    scene.advance(MINUTE + secs(1));
    shared.serve(1, &mut scene);
    scene.expect_refused(1, "waiting for approval");
    assert!(send_roots(&mut scene, "file:///b"));
    shared.serve(1, &mut scene);
    scene.client_closes();
    shared.serve(1, &mut scene);
    let item = shared.newest().to_owned();
    shared.decide(&item, Choice::Approve);
    let moved = Client {
        roots: Some("file:///b"),
        ..ROOTED
    };
    let mut scene = session(2, moved, settings());
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    settle(&mut shared, 2, &mut scene, moved);
    scene.expect_forwarded(1);
}

#[test]
fn no_client_is_asked_for_its_roots_if_no_session_left_anything() {
    let mut scene = session(
        1,
        ROOTED,
        Settings {
            timeout_action: TimeoutAction::Deny,
            ..settings()
        },
    );
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    assert_eq!(
        scene.inbox.pop_front(),
        Some(ToEngine::Resume(Resume::IsAny))
    );
    scene.inbox_sends(FromEngine::Resume(Resumption::IsAny(false)));
    scene.expect_nothing();
    scene.expect_item();
    // The answer counts for a second.
    scene.client_calls(2, "delete_user", json!({"id": 8}));
    scene.expect_item();
    scene.advance(secs(1));
    scene.client_calls(3, "delete_user", json!({"id": 9}));
    assert_eq!(
        scene.inbox.pop_front(),
        Some(ToEngine::Resume(Resume::IsAny))
    );
}

#[test]
fn an_inbox_that_does_not_answer_delays_no_call() {
    let mut shared = SharedInbox::default();
    let item = leaves_a_call(&mut shared, 1, PLAIN);
    shared.decide(&item, Choice::Approve);
    let mut scene = session(2, PLAIN, settings());
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    scene.inbox_sends(FromEngine::Resume(Resumption::IsAny(true)));
    let found = scene.inbox.split_off(1);
    scene.inbox.clear();
    scene.advance(secs(2));
    scene.expect_item();
    // A late result goes back, and waits for the next session.
    scene.inbox = found;
    shared.serve(2, &mut scene);
    shared.serve(2, &mut scene);
    scene.expect_nothing();
    let mut scene = session(3, PLAIN, settings());
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    settle(&mut shared, 3, &mut scene, PLAIN);
    scene.expect_forwarded(1);
}

#[test]
fn a_yes_that_another_session_could_also_use_lets_nothing_run() {
    for is_silent in [false, true] {
        let mut shared = SharedInbox::default();
        let item = leaves_a_call(&mut shared, 1, PLAIN);
        shared.decide(&item, Choice::Approve);
        let mut scene = session(2, PLAIN, settings());
        scene.client_calls(1, "delete_user", json!({"id": 7}));
        // Whether there is any, and which.
        shared.serve_one(2, &mut scene);
        shared.serve_one(2, &mut scene);
        assert_eq!(
            scene.inbox.pop_front(),
            Some(ToEngine::Resume(Resume::TakeUp { item: item.clone() }))
        );
        if is_silent {
            scene.advance(secs(2));
        } else {
            let is_done = false;
            scene.inbox_sends(FromEngine::Resume(Resumption::TakenUp {
                item: item.clone(),
                is_done,
            }));
        }
        scene.expect_nothing();
        assert_eq!(
            scene.inbox.pop_front(),
            Some(ToEngine::Resume(Resume::Leave { item }))
        );
        scene.expect_item();
    }
}

#[test]
fn a_lookup_for_one_session_lets_nothing_run_in_the_next_one() {
    let mut shared = SharedInbox::default();
    let item = leaves_a_call(&mut shared, 1, PLAIN);
    shared.decide(&item, Choice::Approve);
    let mut scene = session(2, PLAIN, settings());
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    scene.inbox_sends(FromEngine::Resume(Resumption::IsAny(true)));
    let found = scene.inbox.split_off(1);
    scene.client_says(
        &json!({"jsonrpc": "2.0", "id": "again", "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "d", "version": "1"}}}),
    );
    scene.expect_refused(1, "new session");
    scene.take_upstream();
    scene.inbox = found;
    shared.serve_one(2, &mut scene);
    scene.expect_nothing();
    assert_eq!(
        scene.inbox.pop_front(),
        Some(ToEngine::Resume(Resume::Leave { item }))
    );
}

#[test]
fn a_client_that_leaves_while_the_inbox_is_asked_is_refused_and_the_item_stays() {
    let mut shared = SharedInbox::default();
    let item = leaves_a_call(&mut shared, 1, PLAIN);
    shared.decide(&item, Choice::Approve);
    let mut scene = session(2, PLAIN, settings());
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    scene.client_closes();
    scene.expect_logged("denied", false);
    settle(&mut shared, 2, &mut scene, PLAIN);
    let mut scene = session(3, PLAIN, settings());
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    settle(&mut shared, 3, &mut scene, PLAIN);
    scene.expect_forwarded(1);
}

#[test]
fn a_question_of_a_client_without_a_name_is_withdrawn_with_its_session() {
    let mut shared = SharedInbox::default();
    let mut scene = Scene::seeded(settings(), Rules::default(), 1);
    scene.client_says(
        &json!({"jsonrpc": "2.0", "id": "init", "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}}}),
    );
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": "init", "result": {
        "protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}}));
    scene.client_says(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    shared.serve(1, &mut scene);
    scene.advance(MINUTE + secs(1));
    shared.serve(1, &mut scene);
    let item = shared.newest().to_owned();
    scene.client_closes();
    shared.serve(1, &mut scene);
    assert!(!shared.is_open(&item));
}
