//! Questions that a client answers with a no before a person can have read them: the calls are
//! refused, and the question stays open in the inbox.

use serde_json::json;

use super::{MINUTE, chain};
use crate::approval::item::{Choice, Closed, Item};
use crate::gate::tests::instant::{Asked, ERAS, Era, cancel, decline, millis};
use crate::gate::tests::scene::{Scene, secs};
use crate::gate::tests::stateless::{expect_question, retry, says, stateless_with, yes};
use crate::gate::{FromEngine, OnFailure, Patience, Settings, TimeoutAction, ToEngine};

/// The client calls with this argument and answers the question like this after 10 ms. Returns the
/// item that stays open.
fn left_open(scene: &mut Scene, era: Era, id: u32, argument: u64) -> Item {
    let asked = era.asks(scene, id, argument);
    scene.advance(millis(10));
    let id = asked.answers(scene, cancel());
    let text = scene.expect_refused(id, "was not run yet");
    let item = scene.expect_item();
    expect_parked(scene, &item);
    let whole = format!(
        "The call to tool \"delete_user\" was not run yet: the client dismissed the question after 10 ms, \
         faster than a person can read. It is waiting for approval as item {} in the approval inbox. \
         Once a person has approved it, the same call will run when it is made again.",
        item.id
    );
    assert_eq!(text, whole);
    let line = scene.expect_logged("cancelled", false);
    assert_eq!(line["engine"], "elicitation", "{line}");
    assert_eq!(line["answered_ms"], 10.0, "{line}");
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.contains(&item.id), "{line}");
    scene.expect_nothing();
    item
}

#[track_caller]
fn expect_parked(scene: &mut Scene, item: &Item) {
    match scene.inbox.pop_front() {
        Some(ToEngine::Park { item: parked, .. }) => assert_eq!(parked, item.id),
        other => panic!("not parked, but {other:?}"),
    }
}

#[track_caller]
fn expect_closed(scene: &mut Scene, item: &Item, how: Closed) {
    let item = item.id.clone();
    assert_eq!(scene.inbox.pop_front(), Some(ToEngine::Close { item, how }));
}

// contract.md, "Clients that answer for themselves": "If `inbox` is among the engines, the question
// stays open there, and once approved the same call runs when it is made again."
#[test]
fn the_question_stays_open_and_a_yes_lets_the_same_call_run_once() {
    for era in ERAS {
        for action in [
            TimeoutAction::Deny,
            TimeoutAction::Approve,
            TimeoutAction::Park,
        ] {
            let mut scene = era.scene(|settings| {
                chain(settings);
                settings.timeout_action = action;
            });
            let item = left_open(&mut scene, era, 1, 7);
            scene.advance(30 * MINUTE);
            scene.decide(&item, Choice::Approve, |_| {});
            scene.expect_nothing();
            // A different call is asked about, and the same one runs.
            era.asks(&mut scene, 2, 8);
            era.calls(&mut scene, 3, 7);
            scene.expect_forwarded(3);
            let line = scene.expect_logged("approved", true);
            assert_eq!(
                (&line["engine"], &line["assurance"], &line["answered_ms"]),
                (&json!("inbox"), &json!("inbox-session"), &json!(null)),
                "{line}"
            );
            // Once.
            era.asks(&mut scene, 4, 7);
            scene.expect_nothing();
        }
    }
}

#[test]
fn a_no_to_the_open_question_refuses_the_same_call() {
    for era in ERAS {
        let mut scene = era.scene(chain);
        let item = left_open(&mut scene, era, 1, 7);
        scene.decide(&item, Choice::Deny, |verdict| {
            verdict.reason = Some("not on a Friday".into());
        });
        era.calls(&mut scene, 2, 7);
        scene.expect_refused(2, r#"denied by a person, who said: "not on a Friday""#);
    }
}

// The same call waits for the item. The client is not asked: it would say no again.
#[test]
fn the_question_stays_open_while_the_same_call_comes_and_goes() {
    for era in ERAS {
        let mut scene = era.scene(|settings| {
            chain(settings);
            settings.timeout = Some(MINUTE);
        });
        let item = left_open(&mut scene, era, 1, 7);
        // A call that nobody answers in time.
        era.calls(&mut scene, 2, 7);
        scene.expect_nothing();
        scene.advance(MINUTE);
        scene.expect_refused(2, &format!("waiting for approval as item {}", item.id));
        scene.expect_logged("timeout", false);
        expect_parked(&mut scene, &item);
        // One that its client cancels.
        era.calls(&mut scene, 3, 7);
        scene.client_cancels(3);
        scene.expect_nothing();
        expect_parked(&mut scene, &item);
        // And one that waits while somebody says yes.
        era.calls(&mut scene, 4, 7);
        scene.expect_nothing();
        scene.decide(&item, Choice::Approve, |_| {});
        scene.answer_lists();
        scene.expect_forwarded(4);
        assert!(scene.inbox.is_empty(), "{:?}", scene.inbox);
    }
}

#[test]
fn the_question_stays_open_only_as_long_as_questions_are_parked() {
    for era in ERAS {
        let mut scene = era.scene(|settings| {
            chain(settings);
            settings.timeout = Some(MINUTE);
            settings.park_for = 10 * MINUTE;
        });
        let item = left_open(&mut scene, era, 1, 7);
        scene.advance(9 * MINUTE);
        era.calls(&mut scene, 2, 7);
        scene.advance(MINUTE);
        scene.expect_refused(2, "nobody answered in time");
        expect_closed(&mut scene, &item, Closed::Expired);
        scene.decide(&item, Choice::Approve, |_| {});
        // The client is asked again.
        era.asks(&mut scene, 3, 7);
        scene.expect_nothing();
    }
}

#[test]
fn the_question_is_withdrawn_when_its_client_goes_or_begins_a_new_session() {
    let mut scene = Era::Legacy.scene(chain);
    let item = left_open(&mut scene, Era::Legacy, 1, 7);
    scene.decide(&item, Choice::Approve, |_| {});
    let mut scene = scene.handshake("2025-11-25", json!({"elicitation": {}}));
    expect_closed(&mut scene, &item, Closed::Withdrawn);
    Era::Legacy.asks(&mut scene, 2, 7);
    for era in ERAS {
        let mut scene = era.scene(chain);
        let item = left_open(&mut scene, era, 1, 7);
        scene.client_closes();
        expect_closed(&mut scene, &item, Closed::Withdrawn);
    }
}

#[test]
fn a_tool_that_has_changed_is_asked_about_again() {
    for era in ERAS {
        let mut scene = era.scene(chain);
        let item = left_open(&mut scene, era, 1, 7);
        scene.decide(&item, Choice::Approve, |_| {});
        scene.tools_change(json!([{"name": "delete_user", "description": "Deletes everything."}]));
        era.asks(&mut scene, 2, 7);
        scene.expect_nothing();
    }
}

#[test]
fn an_instant_no_to_the_second_question_leaves_that_one_open() {
    let mut scene = Era::Legacy.scene(|settings| {
        chain(settings);
        settings.double_confirm = true;
    });
    let first = Era::Legacy.asks(&mut scene, 1, 7);
    scene.person_reads();
    first.answers(&mut scene, yes()["approval-proxy"].clone());
    let second = scene.expect_prompt();
    scene.client_reads_all();
    scene.answer(&second, decline());
    let text = scene.expect_refused(1, "faster than a person can read");
    let item = scene.expect_item();
    assert!(item.question.starts_with("Second confirmation"));
    assert!(text.contains(&item.id), "{text}");
    scene.expect_logged("denied", false);
    scene.decide(&item, Choice::Approve, |_| {});
    Era::Legacy.calls(&mut scene, 2, 7);
    scene.expect_forwarded(2);
}

#[test]
fn two_yeses_in_the_inbox_are_two_questions() {
    for era in ERAS {
        let mut scene = era.scene(|settings| {
            chain(settings);
            settings.double_confirm = true;
            settings.timeout = Some(MINUTE);
        });
        let first = left_open(&mut scene, era, 1, 7);
        scene.decide(&first, Choice::Approve, |_| {});
        era.calls(&mut scene, 2, 7);
        scene.expect_nothing();
        let second = scene.expect_item();
        assert!(second.question.starts_with("Second confirmation"));
        // It can be left open, too, so it must not expire with its call.
        assert_eq!(
            second.expires_ms,
            Some(second.asked_ms + 60_000 + 3_600_000)
        );
        scene.advance(MINUTE + millis(500));
        scene.expect_refused(2, &second.id);
        expect_parked(&mut scene, &second);
        scene.decide(&second, Choice::Approve, |_| {});
        era.calls(&mut scene, 3, 7);
        scene.expect_forwarded(3);
    }
}

#[test]
fn calls_that_share_a_question_share_its_item() {
    let mut scene = Era::Legacy.scene(|settings| {
        chain(settings);
        settings.approval_ttl = secs(60);
    });
    Era::Legacy.calls(&mut scene, 1, 7);
    Era::Legacy.calls(&mut scene, 2, 7);
    let prompt = scene.expect_prompt();
    scene.client_reads_all();
    scene.answer(&prompt, decline());
    let item = scene.inbox.front().cloned();
    let Some(ToEngine::Ask { item, .. }) = item else {
        panic!("no item, but {item:?}");
    };
    for id in [1, 2] {
        scene.expect_refused(id, &item.id);
    }
    scene.expect_item();
    expect_parked(&mut scene, &item);
    assert!(scene.inbox.is_empty(), "{:?}", scene.inbox);
    scene.decide(&item, Choice::Approve, |_| {});
    // The operator's TTL counts from the yes.
    for id in [3, 4] {
        Era::Legacy.calls(&mut scene, id, 7);
        scene.expect_forwarded(id);
    }
}

#[test]
fn a_call_too_large_for_the_inbox_is_refused_and_not_left_open() {
    for era in ERAS {
        let mut scene = era.scene(chain);
        let large = json!({"id": "x".repeat(5 * 1024 * 1024)});
        let asked = match era {
            Era::Legacy => {
                scene.client_calls(1, "delete_user", large);
                Asked::Prompt(1, scene.expect_prompt())
            }
            Era::Stateless => {
                let call = crate::gate::tests::stateless::stateless(1, "delete_user", large);
                says(&mut scene, &call);
                let (state, _) = expect_question(&mut scene, 1);
                Asked::State(call, state)
            }
        };
        let id = asked.answers(&mut scene, decline());
        let text = scene.expect_refused(id, "faster than a person can read. It was not run");
        assert!(!text.contains("inbox"), "{text}");
        assert!(scene.inbox.is_empty());
    }
}

// The item is open already, and the user may find it without the client.
#[test]
fn an_instant_no_to_open_the_page_leaves_the_call_waiting() {
    let url = "http://127.0.0.1:8766/item/x".to_owned();
    let urls = json!({"elicitation": {"url": {}}});
    let mut scene = Scene::set(chain).handshake("2025-11-25", urls.clone());
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let item = scene.expect_item();
    scene.inbox_sends(FromEngine::Listed {
        item: item.id.clone(),
        url: url.clone(),
    });
    let invitation = scene.expect_prompt();
    scene.advance(millis(10));
    scene.answer(&invitation, decline());
    scene.expect_nothing();
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_forwarded(1);

    let mut scene = Scene::set(chain);
    let call = stateless_with(1, "delete_user", json!({"id": 7}), urls);
    says(&mut scene, &call);
    let item = scene.expect_item();
    scene.inbox_sends(FromEngine::Listed {
        item: item.id.clone(),
        url,
    });
    let state = scene.take_client()["result"]["requestState"].take();
    scene.advance(millis(10));
    let answers = json!({"approval-proxy": decline()});
    says(&mut scene, &retry(&call, 2, answers, &state));
    scene.expect_nothing();
    scene.decide(&item, Choice::Approve, |_| {});
    scene.answer_lists();
    scene.expect_forwarded(2);
}

// A client that opens URLs is sent to the open item when it makes its call again.
#[test]
fn the_same_call_is_sent_to_the_page_and_the_question_stays_open() {
    let both = json!({"elicitation": {"form": {}, "url": {}}});
    let mut scene = Scene::set(|settings: &mut Settings| {
        chain(settings);
        settings.timeout = Some(MINUTE);
    });
    let call = |id| stateless_with(id, "delete_user", json!({"id": 7}), both.clone());
    says(&mut scene, &call(1));
    let (state, _) = expect_question(&mut scene, 1);
    let answers = json!({"approval-proxy": cancel()});
    says(&mut scene, &retry(&call(1), 2, answers, &state));
    scene.expect_refused(2, "faster than a person can read");
    let item = scene.expect_item();
    expect_parked(&mut scene, &item);
    says(&mut scene, &call(3));
    scene.inbox_sends(FromEngine::Listed {
        item: item.id.clone(),
        url: "http://127.0.0.1:8766/item/x".to_owned(),
    });
    let sent = scene.take_client();
    assert_eq!(sent["result"]["resultType"], "input_required", "{sent}");
    // No retry arrives.
    scene.advance(2 * MINUTE);
    let line = scene.expect_logged("timeout", false);
    assert!(
        line["reason"].as_str().unwrap().contains("parked as"),
        "{line}"
    );
    expect_parked(&mut scene, &item);
    scene.decide(&item, Choice::Approve, |_| {});
    says(&mut scene, &call(4));
    scene.expect_forwarded(4);
}

// If a form expires before a person could have read it, a no to it comes too late to count.
#[test]
fn an_instant_no_to_a_form_whose_question_moved_to_the_inbox_is_ignored() {
    let mut scene = Era::Stateless.scene(|settings| {
        chain(settings);
        settings.channels[0].patience = Patience::Own(Some(millis(100)));
        settings.channels[0].on_timeout = OnFailure::Fallback;
    });
    let asked = Era::Stateless.asks(&mut scene, 1, 7);
    scene.advance(millis(100));
    let item = scene.expect_item();
    scene.advance(millis(50));
    let id = asked.answers(&mut scene, decline());
    scene.expect_nothing();
    scene.decide(&item, Choice::Approve, |_| {});
    scene.answer_lists();
    scene.expect_forwarded(id);
}
