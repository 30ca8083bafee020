//! Questions that outlive their calls.

use std::time::Duration;

use serde_json::json;

use super::{MINUTE, chain, scene};
use crate::approval::item::{Choice, Closed};
use crate::gate::tests::scene::Scene;
use crate::gate::{Settings, TimeoutAction, ToEngine};

fn parking(settings: &mut Settings) {
    settings.timeout_action = TimeoutAction::Park;
    settings.timeout = Some(MINUTE);
}

/// Waits until the call's deadline. Returns what the client is told.
fn until_parked(scene: &mut Scene, id: u32) -> String {
    scene.advance(MINUTE + Duration::from_millis(500));
    scene.expect_refused(id, "waiting for approval")
}

#[test]
fn a_parked_question_lets_the_same_call_run_once() {
    let mut scene = scene(parking);
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    // Cleaning up the inbox must not treat it as expired before it is parked.
    assert_eq!(item.expires_ms, Some(item.asked_ms + 60_000 + 3_600_000));
    let received = until_parked(&mut scene, 1);
    let whole = format!(
        "The call to tool \"delete_user\" was not run yet: it is waiting for approval as item {} in the \
         approval inbox. Once a person has approved it, the same call will run when it is made again.",
        item.id
    );
    assert_eq!(received, whole);
    scene.expect_logged("timeout", false);
    let parked = scene.inbox.pop_front();
    assert!(
        matches!(&parked, Some(ToEngine::Park { item: parked, .. }) if *parked == item.id),
        "{parked:?}"
    );
    // Much later.
    scene.advance(30 * MINUTE);
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_nothing();
    // A different call, and then the same one.
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
fn the_same_call_waits_for_the_parked_item_and_creates_no_second_one() {
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
fn a_client_that_cancels_parks_the_question_too() {
    let mut scene = scene(parking);
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    scene.client_cancels(1);
    scene.expect_nothing();
    assert!(matches!(
        scene.inbox.pop_front(),
        Some(ToEngine::Park { .. })
    ));
    scene.decide(&item, Choice::Approve, |_| {});
    scene.client_calls(2, "delete_user", json!({"id": 7}));
    scene.expect_forwarded(2);
}

#[test]
fn a_parked_question_ends_when_it_expires_or_its_client_goes() {
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
    let closed = ToEngine::Close {
        item: item.id.clone(),
        how,
    };
    assert_eq!(scene.inbox.pop_front(), Some(closed));
    scene.decide(&item, Choice::Approve, |_| {});
    scene.client_calls(2, "delete_user", json!({"id": 7}));
    scene.expect_nothing();

    // A new session counts as another client.
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
fn a_call_waits_for_a_parked_item_only_while_it_can_be_decided() {
    // However long a person has.
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
    // From here on the store accepts no verdict.
    scene.advance(MINUTE);
    scene.expect_refused(2, "nobody answered in time");
    let how = Closed::Expired;
    let closed = ToEngine::Close { item: item.id, how };
    assert_eq!(scene.inbox.pop_front(), Some(closed));
}

#[test]
fn a_parked_yes_for_some_minutes_covers_the_same_call_for_that_time() {
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
    let covers = scene.decisions().into_iter().rev().take(2);
    let covers: Vec<_> = covers.map(|line| line["covers_seconds"].clone()).collect();
    assert_eq!(covers, [json!(null), json!(300)]);
    scene.advance(5 * MINUTE);
    scene.client_calls(4, "delete_user", json!({"id": 7}));
    scene.expect_nothing();
    scene.expect_item();
}

#[test]
fn of_two_parked_items_about_one_call_the_approved_one_counts() {
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
fn a_no_to_a_parked_question_refuses_the_same_call_once() {
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
fn a_parked_yes_does_not_count_for_a_changed_tool() {
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
fn a_prompt_that_times_out_is_parked_in_the_inbox() {
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
        Some(ToEngine::Park { .. })
    ));
    scene.decide(&item, Choice::Approve, |_| {});
    scene.client_calls(2, "delete_user", json!({"id": 7}));
    scene.expect_forwarded(2);
}

#[test]
fn the_second_yes_is_asked_for_when_the_call_is_made_again() {
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

// Found by the random sessions: the last verdict counted, so a no could be followed by a yes.
#[test]
fn of_two_verdicts_about_a_parked_item_the_first_counts() {
    for (choices, runs) in [
        ([Choice::Deny, Choice::Approve], false),
        ([Choice::Approve, Choice::Deny], true),
    ] {
        let mut scene = scene(parking);
        scene.client_calls(1, "delete_user", json!({"id": 7}));
        let item = scene.expect_item();
        until_parked(&mut scene, 1);
        scene.inbox.clear();
        for choice in choices {
            scene.decide(&item, choice, |_| {});
        }
        scene.client_calls(2, "delete_user", json!({"id": 7}));
        if runs {
            scene.expect_forwarded(2);
        } else {
            scene.expect_refused(2, "denied by a person");
        }
        scene.expect_nothing();
    }
}
