//! "When a prompt had to cut arguments, offer the inbox as well."

use serde_json::{Value, json};

use crate::approval::item::{Choice, Closed};
use crate::gate::tests::inbox::chain;
use crate::gate::tests::scene::{Prompt, Scene, secs};
use crate::gate::{FromEngine, Settings, ToEngine};

fn scene(change: impl FnOnce(&mut Settings)) -> Scene {
    let scene = Scene::set(|settings| {
        chain(settings);
        change(settings);
    });
    scene.handshake(
        "2025-11-25",
        json!({"elicitation": {"form": {}, "url": {}}}),
    )
}

fn large() -> Value {
    json!({"text": "x".repeat(40_000)})
}

/// A call that no prompt can show in full. Returns the prompt and the item.
fn asked(scene: &mut Scene) -> (Prompt, crate::approval::item::Item) {
    scene.client_calls(1, "delete_user", large());
    let prompt = scene.expect_prompt();
    let item = scene.expect_item();
    assert!(
        prompt
            .message
            .contains("the approval inbox shows all of it"),
        "{}",
        prompt.message
    );
    assert!(item.call.len() > 40_000);
    (prompt, item)
}

fn closed(scene: &mut Scene) -> Vec<(String, Closed)> {
    let received = std::mem::take(&mut scene.inbox).into_iter();
    received
        .filter_map(|received| match received {
            ToEngine::Close { item, how } => Some((item, how)),
            ToEngine::Ask { .. }
            | ToEngine::Join { .. }
            | ToEngine::OpenBrowser { .. }
            | ToEngine::Park { .. }
            | ToEngine::Decided(_)
            | ToEngine::Resume(_) => None,
        })
        .collect()
}

#[test]
fn a_yes_in_the_inbox_withdraws_the_prompt_and_a_late_answer_counts_for_nothing() {
    let mut scene = scene(|_| {});
    let (prompt, item) = asked(&mut scene);
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_withdrawn(&prompt);
    scene.expect_forwarded(1);
    assert_eq!(scene.expect_logged("approved", true)["engine"], "inbox");
    scene.deny(&prompt);
    scene.approve(&prompt);
    scene.expect_nothing();
}

#[test]
fn an_answer_in_the_client_closes_the_item_and_a_late_verdict_counts_for_nothing() {
    for approves in [true, false] {
        let mut scene = scene(|_| {});
        let (prompt, item) = asked(&mut scene);
        scene.advance(secs(3));
        match approves {
            true => scene.approve(&prompt),
            false => scene.deny(&prompt),
        }
        assert_eq!(closed(&mut scene), [(item.id.clone(), Closed::Withdrawn)]);
        match approves {
            true => drop(scene.expect_forwarded(1)),
            false => drop(scene.expect_refused(1, "denied")),
        }
        scene.decide(&item, Choice::Approve, |_| {});
        scene.expect_nothing();
    }
}

#[test]
fn a_no_in_the_inbox_refuses_the_call() {
    let mut scene = scene(|_| {});
    let (prompt, item) = asked(&mut scene);
    scene.decide(&item, Choice::Deny, |_| {});
    scene.expect_withdrawn(&prompt);
    scene.expect_refused(1, "denied by a person");
    scene.expect_nothing();
}

#[test]
fn both_end_with_the_deadline_and_with_the_call() {
    let mut timed_out = scene(|_| {});
    let (prompt, item) = asked(&mut timed_out);
    timed_out.advance(secs(121));
    timed_out.expect_withdrawn(&prompt);
    timed_out.expect_refused(1, "nobody answered in time");
    assert_eq!(closed(&mut timed_out), [(item.id, Closed::Expired)]);

    let mut taken_back = scene(|_| {});
    let (prompt, item) = asked(&mut taken_back);
    taken_back.client_cancels(1);
    taken_back.expect_withdrawn(&prompt);
    assert_eq!(closed(&mut taken_back), [(item.id, Closed::Withdrawn)]);
}

#[test]
fn when_the_inbox_fails_the_prompt_stays_and_nobody_is_sent_to_the_item() {
    let mut scene = scene(|_| {});
    let (prompt, item) = asked(&mut scene);
    scene.inbox_sends(FromEngine::Listed {
        item: item.id.clone(),
        url: "http://127.0.0.1:1/".to_owned(),
    });
    scene.expect_nothing();
    scene.inbox_sends(FromEngine::Failed {
        engine: None,
        item: item.id,
        failure: crate::gate::Failure::unreachable("full"),
    });
    scene.expect_nothing();
    scene.approve(&prompt);
    scene.expect_forwarded(1);
}

#[test]
fn two_yeses_are_two_questions_in_both_places() {
    let mut scene = scene(|settings| settings.double_confirm = true);
    let (prompt, item) = asked(&mut scene);
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_withdrawn(&prompt);
    let second = scene.expect_prompt();
    let item = scene.expect_item();
    assert!(second.message.starts_with("Second confirmation"));
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_withdrawn(&second);
    scene.expect_forwarded(1);
}

#[test]
fn a_call_shown_in_full_or_without_an_inbox_is_asked_about_only_in_the_client() {
    let mut whole = scene(|_| {});
    whole.client_calls(1, "delete_user", json!({"id": 7}));
    whole.expect_prompt();
    assert!(whole.inbox.is_empty());
    let mut alone = scene(|settings| settings.channels.truncate(1));
    alone.client_calls(1, "delete_user", large());
    let prompt = alone.expect_prompt();
    assert!(
        prompt.message.contains("Not everything is shown.  \n"),
        "{}",
        prompt.message
    );
    assert!(alone.inbox.is_empty());
}

/// What the inbox receives without a person's doing.
fn received(scene: &mut Scene) -> Vec<&'static str> {
    let received = std::mem::take(&mut scene.inbox).into_iter();
    received
        .map(|received| match received {
            ToEngine::Ask {
                opens_browser: true,
                ..
            } => "ask and open",
            ToEngine::Ask { .. } => "ask",
            ToEngine::Join { .. } => "join",
            ToEngine::OpenBrowser { .. } => "open",
            ToEngine::Park { .. } => "park",
            ToEngine::Close { .. } => "close",
            ToEngine::Decided(_) => "decided",
            ToEngine::Resume(_) => "resume",
        })
        .collect()
}

// contract.md, "Clients that answer for themselves": "Silence for 5 s (`approvalAlsoInboxAfter`, 0
// = off): the question is also listed in the inbox […]; no browser opens. […] The browser opens
// only if the client showed no prompt, or has been silent for 30 s."
#[test]
fn a_silent_clients_question_is_listed_in_the_inbox_and_later_a_browser_opens() {
    let mut scene = scene(|settings| {
        settings.timeout = None;
        settings.also_inbox_after = secs(5);
    });
    scene.client_calls(1, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.client_reads_all();
    scene.advance(secs(4));
    assert!(received(&mut scene).is_empty());
    scene.advance(secs(1));
    let Some(ToEngine::Ask { item: listed, .. }) = scene.inbox.front().cloned() else {
        panic!("{:?}", scene.inbox);
    };
    assert_eq!(received(&mut scene), ["ask"]);
    scene.advance(secs(24));
    assert!(received(&mut scene).is_empty());
    scene.advance(secs(1));
    assert_eq!(received(&mut scene), ["open"]);
    scene.advance(secs(1_000));
    assert!(received(&mut scene).is_empty());
    scene.approve(&prompt);
    scene.expect_forwarded(1);
    assert_eq!(received(&mut scene), ["close"]);
    // The history has one row for both.
    let (row, _, engine) = scene.history.remove(0).into_parts();
    assert_eq!((row.id, engine), (listed.id, "elicitation"));
}

#[test]
fn of_two_answers_to_a_silent_clients_question_the_first_counts() {
    let mut scene = scene(|settings| settings.also_inbox_after = secs(5));
    scene.client_calls(1, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.advance(secs(5));
    let item = scene.expect_item();
    scene.decide(&item, Choice::Deny, |_| {});
    scene.expect_withdrawn(&prompt);
    scene.expect_refused(1, "denied by a person");
    scene.approve(&prompt);
    scene.expect_nothing();
}

#[test]
fn silence_lists_nothing_if_turned_off_or_without_an_inbox() {
    let off = |settings: &mut Settings| settings.also_inbox_after = secs(0);
    let none = |settings: &mut Settings| {
        settings.channels.truncate(1);
    };
    for change in [&off as &dyn Fn(&mut Settings), &none] {
        let mut scene = scene(|settings| {
            settings.timeout = None;
            change(settings);
        });
        scene.client_calls(1, "delete_user", json!({}));
        scene.expect_prompt();
        scene.advance(secs(1_000));
        assert!(received(&mut scene).is_empty());
    }
}

// The page and the terminal show what a prompt shows: a yes there covers as much.
#[test]
fn an_item_says_what_else_a_yes_covers() {
    let mut scene = Scene::set(|settings| {
        chain(settings);
        settings.approval_ttl = secs(60);
    })
    .handshake("2025-11-25", json!({}));
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    let covers = "A yes also covers identical calls for the next 60 seconds.";
    assert_eq!(item.question, format!("Allow this tool call? {covers}"));
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_forwarded(1);
    scene.client_calls(2, "delete_user", json!({"id": 7}));
    scene.expect_forwarded(2);
}
