//! Attacks on questions that an adversarial review found.

use serde_json::{Value, json};

use super::scene::{Scene, secs};
use super::stateless::{retry, says, stateless};
use crate::approval::item::Choice;
use crate::gate::ask::Ask;
use crate::gate::{Channel, Engine, FromEngine, OnFailure, Settings, TimeoutAction, ToEngine};

fn chain(settings: &mut Settings, engines: [Engine; 2]) {
    settings.channels = engines.map(Channel::new).into();
}

const CLIENT_FIRST: [Engine; 2] = [Engine::Elicitation, Engine::INBOX];
const INBOX_FIRST: [Engine; 2] = [Engine::INBOX, Engine::Elicitation];

// A client that reports an error shortly before the deadline is paused for a retry. When the deadline passes during
// that pause, the question moves to the inbox, and the pause must end with it.
#[test]
fn a_question_that_moves_to_the_inbox_during_a_retry_pause_is_listed_once() {
    let mut scene = Scene::set(|settings| chain(settings, CLIENT_FIRST)).legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.now.elapsed += secs(120) - std::time::Duration::from_millis(100);
    scene.answer_with_error(&prompt);
    for _ in 0..20 {
        let Some(due) = scene.gate.poll_timeout() else {
            break;
        };
        let end = secs(1000 + 120 + 2);
        if due > end {
            break;
        }
        scene.now.elapsed = scene.now.elapsed.max(due);
        scene.gate.tick(scene.now);
    }
    // Lets the scene carry out what the ticks put out.
    scene.inbox_sends(FromEngine::Listed {
        item: "0".into(),
        url: String::new(),
    });
    let received = &scene.inbox;
    assert!(matches!(received.front(), Some(ToEngine::Ask { .. })));
    assert_eq!(received.len(), 1, "{received:?}");
}

// Two calls share a question. When it moves to the client, the first is refused because it brings a foreign state.
// The second must not be left without a question and without an answer.
#[test]
fn every_call_that_shared_a_question_is_answered_when_the_first_brings_a_foreign_state() {
    let mut scene = Scene::set(|settings| {
        chain(settings, INBOX_FIRST);
        settings.approval_ttl = secs(60);
    });
    for id in [1, 2] {
        let call = retry(
            &stateless(id, "delete_user", json!({})),
            id,
            json!({}),
            &json!("foreign"),
        );
        says(&mut scene, &call);
    }
    let item = scene.expect_item();
    assert!(scene.inbox.is_empty());
    scene.inbox_sends(FromEngine::Failed {
        engine: None,
        item: item.id,
        failure: crate::gate::Failure::unreachable("the disk is full"),
    });
    scene.expect_refused(1, "");
    scene.expect_refused(2, "");
    scene.client_closes();
    assert_eq!(scene.close_upstream, 1);
}

// "risk `high` needs two approvals", also for a call that was denied before.
#[test]
fn lifting_a_denial_of_a_high_risk_call_takes_two_yeses() {
    let mut scene = Scene::set(|settings| {
        chain(settings, CLIENT_FIRST);
        settings.double_confirm = true;
        settings.deny_memory = secs(60);
    })
    .legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.deny(&prompt);
    scene.expect_refused(1, "denied");
    scene.client_calls(2, "delete_user", json!({}));
    let item = scene.expect_item();
    scene.expect_refused(2, "");
    scene.decide(&item, Choice::Approve, |_| {});
    scene.client_calls(3, "delete_user", json!({}));
    assert!(
        scene.upstream.is_empty(),
        "one yes of two let it run: {:?}",
        scene.upstream
    );
}

// The memory that parked questions keep for their calls must be counted and limited, like that of other calls.
#[test]
fn the_memory_of_parked_questions_is_counted() {
    let mut scene = Scene::set(|settings| chain(settings, CLIENT_FIRST)).legacy("2025-11-25");
    let numbers: Vec<u8> = vec![0; 100_000];
    scene.client_calls(1, "delete_user", json!({"numbers": numbers}));
    let prompt = scene.expect_prompt();
    // At once: nobody can have read it.
    scene.answer(&prompt, json!({"action": "decline"}));
    scene.expect_refused(1, "");
    let parked = scene.gate.asks.keys(Ask::is_parked);
    assert_eq!(parked.len(), 1);
    let asks = parked.iter().filter_map(|key| scene.gate.asks.get(*key));
    let kept: usize = asks
        .filter_map(|ask| Some(ask.request.as_ref()?.call.bytes()))
        .sum();
    let counted = scene.gate.kept_bytes();
    assert!(kept <= counted, "{kept} bytes kept, {counted} counted");
}

// "The browser opens only if the client showed no prompt": one that declines at once has shown none.
#[test]
fn a_browser_may_open_for_a_cut_question_that_the_client_declined_at_once() {
    let mut scene = Scene::set(|settings| chain(settings, CLIENT_FIRST)).legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({"text": "x".repeat(40_000)}));
    let prompt = scene.expect_prompt();
    scene.answer(&prompt, json!({"action": "decline"}));
    scene.expect_refused(1, "");
    let opens = scene.inbox.iter().any(|received| {
        matches!(
            received,
            ToEngine::OpenBrowser { .. }
                | ToEngine::Ask {
                    opens_browser: true,
                    ..
                }
        )
    });
    assert!(opens, "{:?}", scene.inbox);
}

// INVARIANT 2: the item names the client whose call can run by it.
#[test]
fn an_item_names_the_client_whose_retry_waits_for_it() {
    let mut scene = Scene::set(|settings| {
        chain(settings, CLIENT_FIRST);
        settings.timeout = Some(secs(60));
        settings.channels[0].on_timeout = OnFailure::Fallback;
    });
    let of = |name: &str| -> Value {
        let mut call = stateless(1, "delete_user", json!({}));
        call["params"]["_meta"]["io.modelcontextprotocol/clientInfo"]["name"] = json!(name);
        call
    };
    says(&mut scene, &of("trusted"));
    let state = scene.take_client()["result"]["requestState"].clone();
    says(&mut scene, &retry(&of("other"), 2, json!({}), &state));
    let state = scene.take_client()["result"]["requestState"].clone();
    scene.advance(secs(60));
    let item = scene.expect_item();
    says(&mut scene, &retry(&of("other"), 3, json!({}), &state));
    scene.decide(&item, Choice::Approve, |_| {});
    scene.answer_lists();
    scene.expect_forwarded(3);
    assert_eq!(item.client.as_deref(), Some("other 1.0"));
}

// "Whoever approves it there lifts that": one item stands for all repeats, even while another question, half approved
// when it was parked, is open.
#[test]
fn repeats_of_a_denied_call_share_one_item_beside_a_half_approved_one() {
    let mut scene = Scene::set(|settings| {
        chain(settings, CLIENT_FIRST);
        settings.double_confirm = true;
        settings.deny_memory = secs(60);
        settings.timeout_action = TimeoutAction::Park;
    })
    .handshake("2025-11-25", json!({}));
    scene.client_calls(1, "delete_user", json!({}));
    scene.client_calls(2, "delete_user", json!({}));
    let (first, second) = (scene.expect_item(), scene.expect_item());
    scene.advance(secs(200));
    scene.expect_refused(1, "");
    scene.expect_refused(2, "");
    scene.decide(&first, Choice::Deny, |_| {});
    scene.decide(&second, Choice::Approve, |_| {});
    scene.client_calls(3, "delete_user", json!({}));
    scene.expect_refused(3, "denied by a person");
    scene.inbox.clear();
    for id in 4..10 {
        scene.client_calls(id, "delete_user", json!({}));
        scene.expect_refused(id, "");
    }
    let asked = scene.inbox.iter();
    let asked = asked.filter(|received| matches!(received, ToEngine::Ask { .. }));
    assert_eq!(asked.count(), 1);
}

// INVARIANT 3: silence is not a yes while a verdict from the inbox may be on its way. The store accepts verdicts until
// the item's deadline, and they take a moment to arrive.
#[test]
fn a_denial_at_the_last_moment_in_the_inbox_beats_silence_that_is_a_yes() {
    let mut scene = Scene::set(|settings| {
        chain(settings, CLIENT_FIRST);
        settings.timeout_action = TimeoutAction::Approve;
        settings.also_inbox_after = secs(5);
    })
    .legacy("2025-11-25");
    scene.client_calls(1, "add_note", json!({}));
    let prompt = scene.expect_prompt();
    scene.client_reads_all();
    scene.advance(secs(5));
    let item = scene.expect_item();
    scene.advance(secs(115));
    // Decided 20 ms before the item's deadline.
    let decided_ms = item.expires_ms.unwrap() - 20;
    scene.decide(&item, Choice::Deny, |verdict| {
        verdict.decided_ms = decided_ms
    });
    assert!(scene.upstream.is_empty(), "{:?}", scene.upstream);
    scene.expect_withdrawn(&prompt);
    scene.expect_refused(1, "denied");
}

// "An identical call within that time after a denial is refused without asking", whatever the caller says of itself.
#[test]
fn a_stateless_client_does_not_escape_a_denial_with_another_name() {
    let mut scene = Scene::set(|settings| {
        chain(settings, CLIENT_FIRST);
        settings.deny_memory = secs(60);
    });
    let call = stateless(1, "delete_user", json!({}));
    says(&mut scene, &call);
    let state = scene.take_client()["result"]["requestState"].clone();
    scene.advance(secs(1));
    says(&mut scene, &retry(&call, 2, super::stateless::no(), &state));
    scene.expect_refused(2, "denied");
    let mut again = stateless(3, "delete_user", json!({}));
    again["params"]["_meta"]["io.modelcontextprotocol/clientInfo"]["version"] = json!("1.1");
    says(&mut scene, &again);
    scene.expect_refused(3, "denied without asking");
}

// "A client does not escape it by a new session", also where the denial waited for the call to come again.
#[test]
fn a_denial_that_waits_for_its_call_is_remembered_in_the_next_session() {
    let mut scene = Scene::set(|settings| {
        chain(settings, CLIENT_FIRST);
        settings.deny_memory = secs(600);
        settings.timeout_action = TimeoutAction::Park;
    })
    .handshake("2025-11-25", json!({}));
    scene.client_calls(1, "delete_user", json!({}));
    let item = scene.expect_item();
    scene.advance(secs(200));
    scene.expect_refused(1, "");
    scene.decide(&item, Choice::Deny, |_| {});
    let mut scene = scene.handshake("2025-11-25", json!({}));
    scene.inbox.clear();
    scene.client_calls(2, "delete_user", json!({}));
    scene.expect_refused(2, "denied without asking");
}

// One large question can take the room of several small ones; all of them are withdrawn.
#[test]
fn old_parked_questions_are_withdrawn_until_the_memory_suffices() {
    let mut scene = Scene::set(|settings| chain(settings, CLIENT_FIRST)).legacy("2025-11-25");
    let small = (0..21).map(|n| json!({"text": format!("{n}{}", "x".repeat(3 * 1024 * 1024))}));
    let large = json!({"numbers": vec![0; 900_000]});
    for (id, arguments) in small.chain([large]).enumerate() {
        scene.client_calls(id, "delete_user", arguments);
        let prompt = scene.expect_prompt();
        scene.answer(&prompt, json!({"action": "decline"}));
        scene.expect_refused(id, "");
        let kept = scene.gate.kept_bytes();
        assert!(kept <= 64 * 1024 * 1024, "{kept} after {id}");
    }
    let parked = scene.gate.asks.keys(Ask::is_parked).len();
    assert!((10..21).contains(&parked), "{parked}");
}

// The second of two yeses to lifting a denial is asked for like any other question: a call waits for it.
#[test]
fn a_browser_may_open_for_the_second_yes_to_a_denied_call() {
    let mut scene = Scene::set(|settings| {
        chain(settings, CLIENT_FIRST);
        settings.double_confirm = true;
        settings.deny_memory = secs(60);
    })
    .legacy("2025-11-25");
    scene.client_calls(1, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.deny(&prompt);
    scene.expect_refused(1, "denied");
    scene.client_calls(2, "delete_user", json!({}));
    let item = scene.expect_item();
    scene.expect_refused(2, "");
    scene.decide(&item, Choice::Approve, |_| {});
    scene.inbox.clear();
    scene.client_calls(3, "delete_user", json!({}));
    let received = scene.inbox.pop_front();
    let Some(ToEngine::Ask {
        engine: _,
        item,
        replaces: None,
        opens_browser: true,
    }) = received
    else {
        panic!("{received:?}");
    };
    scene.decide(&item, Choice::Approve, |_| {});
    scene.expect_forwarded(3);
}
