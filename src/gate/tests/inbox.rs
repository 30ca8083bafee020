//! The inbox as a channel: for clients that cannot ask, after those that fail, and for questions
//! that outlive their calls.

use std::time::Duration;

use serde_json::json;

use super::scene::{Scene, call};
use crate::approval::item::{Assurance, Choice, Closed};
use crate::gate::{
    Channel, Engine, FromInbox, OnFailure, Patience, Settings, TimeoutAction, ToInbox,
};

fn chain(settings: &mut Settings) {
    settings.channels = vec![
        Channel::new(Engine::Elicitation),
        Channel::new(Engine::Inbox),
    ];
}

/// A client without elicitation, and an inbox.
fn scene(change: impl FnOnce(&mut Settings)) -> Scene {
    let scene = Scene::set(|settings| {
        chain(settings);
        change(settings);
    });
    scene.handshake("2025-11-25", json!({}))
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_call_of_a_client_that_cannot_ask_waits_in_the_inbox_and_runs_after_a_yes() {
    let mut scene = scene(|_| {});
    scene.client_sends(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_user","arguments":{"z":1.50,"a":"x"}}}"#,
    );
    scene.answer_lists();
    scene.expect_nothing();
    let item = scene.expect_item();
    assert_eq!((&*item.server, &*item.tool), ("db", "delete_user"));
    assert_eq!(item.question, "Allow this tool call?");
    assert_eq!(item.description.as_deref(), Some("Deletes a user."));
    assert_eq!(item.hints, "destructiveHint true");
    assert_eq!(item.client.as_deref(), Some("c 1"));
    // In the client's order, and its numbers as it wrote them.
    assert_eq!(
        item.call,
        r#"{"name":"delete_user","arguments":{"z":1.50,"a":"x"}}"#
    );
    assert_eq!(item.asked_ms + 120_000, item.expires_ms.unwrap());
    scene.decide(&item, Choice::Approve, |verdict| {
        verdict.reason = Some("fine".into());
    });
    scene.expect_forwarded(1);
    let line = scene.expect_logged("approved", true);
    assert_eq!(line["engine"], "inbox");
    assert_eq!(line["assurance"], "inbox-session");
    assert_eq!(line["reason"], "fine");
    assert_eq!(line["call"], format!("sha256:{}", item.digest));
}

#[test]
fn a_no_in_the_inbox_is_told_with_its_reason() {
    let mut scene = scene(|_| {});
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    scene.decide(&item, Choice::Deny, |verdict| {
        verdict.reason = Some("not on a Friday".into());
        verdict.assurance = Assurance::InboxPassphrase;
    });
    scene.expect_refused(1, "not on a Friday");
    let line = scene.expect_logged("denied", false);
    assert_eq!(line["assurance"], "inbox-passphrase");
}

#[test]
fn one_verdict_lets_one_call_run() {
    let mut scene = scene(|_| {});
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_forwarded(1);
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_nothing();
    scene.client_calls(2, "delete_user", json!({"id": 7}));
    scene.expect_nothing();
    let second = scene.expect_item();
    assert_ne!(second.id, item.id);
    // The old item's verdict is none about the new one.
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_nothing();
}

#[test]
fn a_client_that_can_ask_is_asked_and_the_inbox_is_not() {
    let mut scene = Scene::set(chain).legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let prompt = scene.expect_prompt();
    assert!(scene.inbox.is_empty());
    scene.approve(&prompt);
    scene.expect_forwarded(1);
    let line = scene.expect_logged("approved", true);
    assert_eq!(line["assurance"], "caller-relayed");
}

#[test]
fn the_inbox_takes_over_where_the_client_fails_or_does_not_answer_as_the_chain_says() {
    // A client that cannot show its prompt, after all retries.
    let mut scene = Scene::set(|settings| {
        chain(settings);
        settings.retry.attempts = 0;
    })
    .legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let prompt = scene.expect_prompt();
    scene.answer_with_error(&prompt);
    let item = scene.expect_item();
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_forwarded(1);

    // One that does not answer in the time of its channel.
    let mut scene = Scene::set(|settings| {
        chain(settings);
        settings.channels[0].patience = Patience::Own(Some(MINUTE));
        settings.channels[0].on_timeout = OnFailure::Fallback;
    })
    .legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let prompt = scene.expect_prompt();
    scene.advance(MINUTE);
    scene.expect_withdrawn(&prompt);
    let item = scene.expect_item();
    // A late answer to the prompt counts for nothing.
    scene.approve(&prompt);
    scene.expect_nothing();
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_forwarded(1);

    // Where the chain says no more, a timeout is a no.
    let mut scene = Scene::set(chain).legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let prompt = scene.expect_prompt();
    scene.advance(2 * MINUTE);
    scene.expect_withdrawn(&prompt);
    scene.expect_refused(1, "nobody answered in time");
    assert!(scene.inbox.is_empty());
}

#[test]
fn an_inbox_that_fails_refuses_or_hands_on() {
    let mut scene = scene(|_| {});
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    let why = "the disk is full".to_owned();
    let failed = |item: &str| FromInbox::Failed {
        item: item.to_owned(),
        why: why.clone(),
    };
    scene.inbox_tells(failed(&item.id));
    scene.expect_refused(1, "the disk is full");
    scene.expect_logged("error", false);

    let mut scene = Scene::set(|settings| {
        settings.channels = vec![
            Channel::new(Engine::Inbox),
            Channel::new(Engine::Elicitation),
        ];
    })
    .legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    scene.inbox_tells(failed(&item.id));
    let prompt = scene.expect_prompt();
    assert!(prompt.message.contains("delete_user"), "{}", prompt.message);
    scene.approve(&prompt);
    scene.expect_forwarded(1);
}

#[test]
fn silence_in_the_inbox_is_a_no_even_under_approve() {
    let mut scene = scene(|settings| settings.timeout_action = TimeoutAction::Approve);
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    scene.client_reads_all();
    // A verdict at the last moment has half a second to arrive.
    scene.advance(2 * MINUTE);
    scene.expect_nothing();
    scene.advance(Duration::from_millis(500));
    scene.expect_refused(1, "nobody answered in time");
    let how = Closed::Expired;
    assert_eq!(
        scene.inbox.pop_front(),
        Some(ToInbox::Close {
            item: item.id.clone(),
            how
        })
    );
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_nothing();
}

#[test]
fn an_item_is_taken_back_when_its_call_is() {
    for end in [
        |scene: &mut Scene| scene.client_cancels(1),
        |scene: &mut Scene| scene.client_closes(),
        |scene: &mut Scene| scene.upstream_closes(),
    ] {
        let mut scene = scene(|_| {});
        scene.client_calls(1, "delete_user", json!({"id": 7}));
        let item = scene.expect_item();
        end(&mut scene);
        let how = Closed::Withdrawn;
        let closed = ToInbox::Close {
            item: item.id.clone(),
            how,
        };
        assert_eq!(scene.inbox.pop_front(), Some(closed));
        scene.decide(&item, Choice::Approve, |_| {});
        assert!(scene.upstream.is_empty());
    }
}

#[test]
fn a_tool_that_changes_while_the_item_waits_is_asked_about_again() {
    let mut scene = scene(|_| {});
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    scene.tools_change(json!([{"name": "delete_user", "description": "Deletes everything."}]));
    scene.decide(&item, Choice::Approve, |_| {});
    scene.answer_lists();
    scene.expect_nothing();
    let again = scene.expect_item();
    assert_eq!(again.description.as_deref(), Some("Deletes everything."));
    assert!(again.question.starts_with("The server changed this tool"));
    assert_ne!(again.digest, item.digest);
}

#[test]
fn a_yes_for_some_minutes_covers_that_very_call_and_no_other() {
    let mut scene = scene(|_| {});
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    scene.decide(&item, Choice::Approve, |verdict| verdict.cover = 5 * MINUTE);
    scene.expect_forwarded(1);
    scene.client_calls(2, "delete_user", json!({"id": 7}));
    scene.expect_forwarded(2);
    scene.client_calls(3, "delete_user", json!({"id": 8}));
    scene.expect_item();
    scene.advance(5 * MINUTE);
    scene.client.clear();
    scene.inbox.clear();
    scene.client_calls(4, "delete_user", json!({"id": 7}));
    scene.expect_item();
    scene.expect_nothing();
}

#[test]
fn two_yeses_are_two_items() {
    let mut scene = scene(|settings| settings.double_confirm = true);
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let first = scene.expect_item();
    assert!(first.question.contains("asked twice"));
    scene.decide(&first, Choice::Approve, |_| {});
    scene.expect_nothing();
    let second = scene.expect_item();
    assert!(second.question.starts_with("Second confirmation"));
    scene.decide(&first, Choice::Approve, |_| {});
    scene.expect_nothing();
    scene.decide(&second, Choice::Approve, |_| {});
    scene.expect_forwarded(1);
}

fn parking(settings: &mut Settings) {
    settings.timeout_action = TimeoutAction::Park;
    settings.timeout = Some(MINUTE);
}

/// Waits until the call's time is over; returns what the client is told.
fn until_parked(scene: &mut Scene, id: u32) -> String {
    scene.advance(MINUTE + Duration::from_millis(500));
    scene.expect_refused(id, "waiting for approval")
}

#[test]
fn a_parked_question_lets_the_same_call_run_once() {
    let mut scene = scene(parking);
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    // Whoever tidies the inbox must not take it for expired before it is parked.
    assert_eq!(item.expires_ms, Some(item.asked_ms + 60_000 + 3_600_000));
    let told = until_parked(&mut scene, 1);
    assert!(told.contains(&item.id), "{told}");
    scene.expect_logged("timeout", false);
    let parked = scene.inbox.pop_front();
    assert!(
        matches!(&parked, Some(ToInbox::Park { item: parked, .. }) if *parked == item.id),
        "{parked:?}"
    );
    // Much later.
    scene.advance(30 * MINUTE);
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_nothing();
    // Another call, and then the very same one.
    scene.client_calls(2, "delete_user", json!({"id": 8}));
    let other = scene.expect_item();
    scene.client_calls(3, "delete_user", json!({"id": 7}));
    scene.expect_forwarded(3);
    let line = scene.decisions().into_iter().last().unwrap();
    assert_eq!(
        (&line["decision"], &line["engine"], &line["assurance"]),
        (&json!("approved"), &json!("inbox"), &json!("inbox-session"))
    );
    // Once.
    scene.client_calls(4, "delete_user", json!({"id": 7}));
    scene.expect_nothing();
    let again = scene.expect_item();
    assert!(again.id != item.id && again.id != other.id);
}

#[test]
fn the_same_call_waits_for_the_parked_item_and_for_no_second_one() {
    let mut scene = scene(parking);
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    until_parked(&mut scene, 1);
    scene.inbox.clear();
    scene.client_calls(2, "delete_user", json!({"id": 7}));
    assert!(scene.inbox.is_empty(), "{:?}", scene.inbox);
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_forwarded(2);
}

#[test]
fn a_client_that_loses_patience_parks_the_question_too() {
    let mut scene = scene(parking);
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    scene.client_cancels(1);
    scene.expect_nothing();
    assert!(matches!(
        scene.inbox.pop_front(),
        Some(ToInbox::Park { .. })
    ));
    scene.decide(&item, Choice::Approve, |_| {});
    scene.client_calls(2, "delete_user", json!({"id": 7}));
    scene.expect_forwarded(2);
}

#[test]
fn a_parked_question_is_over_when_its_time_is_or_when_its_client_goes() {
    let mut scene = scene(|settings| {
        parking(settings);
        settings.park_for = 10 * MINUTE;
    });
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    until_parked(&mut scene, 1);
    scene.inbox.clear();
    scene.advance(10 * MINUTE);
    let how = Closed::Expired;
    let closed = ToInbox::Close {
        item: item.id.clone(),
        how,
    };
    assert_eq!(scene.inbox.pop_front(), Some(closed));
    scene.decide(&item, Choice::Approve, |_| {});
    scene.client_calls(2, "delete_user", json!({"id": 7}));
    scene.expect_nothing();

    // A new session of the client's is another client.
    let again = scene.expect_item();
    until_parked(&mut scene, 2);
    scene.decide(&again, Choice::Approve, |_| {});
    let mut scene = scene.handshake("2025-11-25", json!({}));
    scene.inbox.clear();
    scene.client_calls(3, "delete_user", json!({"id": 7}));
    scene.expect_item();
    scene.expect_nothing();
}

#[test]
fn a_call_does_not_wait_longer_for_a_parked_item_than_the_item_can_be_decided() {
    // However long a human has.
    let mut scene = scene(|settings| {
        parking(settings);
        settings.timeout = None;
        settings.park_for = 10 * MINUTE;
    });
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    scene.client_cancels(1);
    scene.inbox.clear();
    scene.advance(9 * MINUTE);
    scene.client_calls(2, "delete_user", json!({"id": 7}));
    scene.expect_nothing();
    // The store lets nobody decide from here on.
    scene.advance(MINUTE);
    scene.expect_refused(2, "nobody answered in time");
    let how = Closed::Expired;
    let closed = ToInbox::Close { item: item.id, how };
    assert_eq!(scene.inbox.pop_front(), Some(closed));
}

#[test]
fn a_parked_yes_for_some_minutes_covers_the_same_call_for_so_long_and_no_longer() {
    let mut scene = scene(parking);
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    until_parked(&mut scene, 1);
    scene.inbox.clear();
    scene.decide(&item, Choice::Approve, |verdict| verdict.cover = 5 * MINUTE);
    for id in [2, 3] {
        scene.client_calls(id, "delete_user", json!({"id": 7}));
        scene.expect_forwarded(id);
    }
    scene.advance(5 * MINUTE);
    scene.client_calls(4, "delete_user", json!({"id": 7}));
    scene.expect_nothing();
    scene.expect_item();
}

#[test]
fn of_two_parked_items_about_one_call_the_one_that_was_approved_counts() {
    // Whichever of their ids comes first.
    for yes in [0, 1] {
        let mut scene = scene(parking);
        scene.client_calls(1, "delete_user", json!({"id": 7}));
        scene.client_calls(2, "delete_user", json!({"id": 7}));
        let items = [scene.expect_item(), scene.expect_item()];
        scene.advance(MINUTE + Duration::from_millis(500));
        scene.expect_refused(1, "waiting for approval");
        scene.expect_refused(2, "waiting for approval");
        scene.inbox.clear();
        scene.decide(&items[yes], Choice::Approve, |_| {});
        scene.client_calls(3, "delete_user", json!({"id": 7}));
        scene.expect_forwarded(3);
        scene.client_calls(4, "delete_user", json!({"id": 7}));
        scene.expect_nothing();
    }
}

#[test]
fn a_no_to_a_parked_question_is_told_to_the_same_call_once() {
    let mut scene = scene(parking);
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    until_parked(&mut scene, 1);
    scene.inbox.clear();
    scene.decide(&item, Choice::Deny, |verdict| {
        verdict.reason = Some("not on a Friday".into());
    });
    let line = scene.log.last().unwrap();
    assert_eq!(line["event"], "parked_verdict");
    assert_eq!(line["call"], format!("sha256:{}", item.digest));
    scene.client_calls(2, "delete_user", json!({"id": 7}));
    scene.expect_refused(2, "not on a Friday");
    assert!(scene.inbox.is_empty());
    scene.client_calls(3, "delete_user", json!({"id": 7}));
    scene.expect_nothing();
    assert_ne!(scene.expect_item().id, item.id);
}

#[test]
fn a_parked_yes_is_none_for_a_tool_that_has_changed() {
    let mut scene = scene(parking);
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    until_parked(&mut scene, 1);
    scene.inbox.clear();
    scene.decide(&item, Choice::Approve, |_| {});
    scene.tools_change(json!([{"name": "delete_user", "description": "Deletes everything."}]));
    scene.client_calls(2, "delete_user", json!({"id": 7}));
    scene.expect_nothing();
    scene.expect_item();
}

#[test]
fn a_prompt_that_runs_out_is_parked_in_the_inbox() {
    let mut scene = Scene::set(|settings| {
        chain(settings);
        parking(settings);
    })
    .legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let prompt = scene.expect_prompt();
    scene.advance(MINUTE);
    scene.expect_withdrawn(&prompt);
    scene.expect_refused(1, "waiting for approval");
    let item = scene.expect_item();
    assert!(matches!(
        scene.inbox.pop_front(),
        Some(ToInbox::Park { .. })
    ));
    scene.decide(&item, Choice::Approve, |_| {});
    scene.client_calls(2, "delete_user", json!({"id": 7}));
    scene.expect_forwarded(2);
}

#[test]
fn a_second_yes_is_asked_for_with_the_call_that_comes_again() {
    let mut scene = scene(|settings| {
        parking(settings);
        settings.double_confirm = true;
    });
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let first = scene.expect_item();
    until_parked(&mut scene, 1);
    scene.inbox.clear();
    scene.decide(&first, Choice::Approve, |_| {});
    scene.client_calls(2, "delete_user", json!({"id": 7}));
    scene.expect_nothing();
    let second = scene.expect_item();
    assert!(second.question.starts_with("Second confirmation"));
    scene.decide(&second, Choice::Approve, |_| {});
    scene.expect_forwarded(2);
}

#[test]
fn a_stateless_call_without_elicitation_waits_in_the_inbox() {
    let mut scene = Scene::set(chain);
    let mut message = call(1, "delete_user", json!({"id": 7}));
    message["params"]["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "m", "version": "2"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    scene.client_says(&message);
    scene.answer_lists();
    scene.expect_nothing();
    let item = scene.expect_item();
    assert_eq!(item.client.as_deref(), Some("m 2"));
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_forwarded(1);
}

#[test]
fn what_nobody_could_read_is_not_put_into_the_inbox() {
    let mut scene = scene(|_| {});
    let large = "x".repeat(5 * 1024 * 1024);
    scene.client_calls(1, "delete_user", json!({"id": large}));
    scene.expect_refused(1, "larger than 4 MiB");
    assert!(scene.inbox.is_empty());
}

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
    scene.inbox_tells(FromInbox::Posted {
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
fn a_client_that_opens_urls_is_sent_to_the_item_and_its_consent_is_no_yes() {
    let mut scene = with_urls(|_| {});
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    let id = posted(&mut scene, &item);
    scene.client_says(&json!({"jsonrpc": "2.0", "id": id, "result": {
        "action": "accept", "content": {"approved": true}}}));
    scene.expect_nothing();
    scene.decide(&item, Choice::Approve, |_| {});
    let told = scene.take_client();
    assert_eq!(told["method"], "notifications/elicitation/complete");
    assert_eq!(told["params"]["elicitationId"], item.id);
    scene.expect_forwarded(1);
    let line = scene.expect_logged("approved", true);
    assert_eq!(line["engine"], "inbox");
}

#[test]
fn an_invitation_that_is_not_answered_is_taken_back_and_one_that_is_declined_is_a_no() {
    let mut scene = with_urls(|_| {});
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    let id = posted(&mut scene, &item);
    scene.decide(&item, Choice::Approve, |_| {});
    let told = scene.take_client();
    assert_eq!(told["method"], "notifications/cancelled");
    assert_eq!(told["params"]["requestId"], id);
    scene.expect_forwarded(1);
    // A late answer goes nowhere.
    scene.client_says(&json!({"jsonrpc": "2.0", "id": id, "result": {"action": "decline"}}));
    scene.expect_nothing();

    scene.client_calls(2, "delete_user", json!({"id": 8}));
    let item = scene.expect_item();
    let id = posted(&mut scene, &item);
    scene.client_says(&json!({"jsonrpc": "2.0", "id": id, "result": {"action": "decline"}}));
    scene.expect_refused(2, "denied by a human");
    let how = Closed::Withdrawn;
    let closed = ToInbox::Close {
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
fn a_client_that_opens_no_urls_is_sent_nowhere() {
    let mut scene = scene(|_| {});
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    let url = "http://127.0.0.1:8766/item/x".to_owned();
    let item = item.id;
    scene.inbox_tells(FromInbox::Posted { item, url });
    scene.expect_nothing();
}
