//! Attacks and mishaps with questions that outlive their session.

use std::time::Duration;

use serde_json::json;

use super::shared_inbox::SharedInbox;
use super::{MINUTE, PLAIN, leaves_a_call, session, settings, settle};
use crate::approval::assurance::RequiredAssurance;
use crate::approval::item::{Assurance, Choice, Verdict};
use crate::gate::tests::scene::{Scene, secs};
use crate::gate::{FromEngine, Resume, Resumption, Settings, ToEngine};

const TEN_MINUTES: Duration = Duration::from_secs(600);

fn calls(shared: &mut SharedInbox, number: u8, scene: &mut Scene, id: u64) {
    scene.client_calls(id, "delete_user", json!({"id": 7}));
    settle(shared, number, scene, PLAIN);
}

// A person who approves identical calls for ten minutes means the ten minutes after that.
#[test]
fn a_resumed_yes_covers_further_calls_from_when_it_was_given() {
    for (later, is_covered) in [(5 * MINUTE, true), (50 * MINUTE, false)] {
        let mut shared = SharedInbox::default();
        let item = leaves_a_call(&mut shared, 1, PLAIN);
        shared.decide_for(&item, Choice::Approve, TEN_MINUTES);
        let mut scene = session(2, PLAIN, settings());
        scene.advance(later);
        calls(&mut shared, 2, &mut scene, 1);
        scene.expect_forwarded(1);
        calls(&mut shared, 2, &mut scene, 2);
        match is_covered {
            true => drop(scene.expect_forwarded(2)),
            false => scene.expect_nothing(),
        }
    }
}

#[test]
fn so_does_one_that_covers_calls_by_the_operators_ttl() {
    for (later, is_covered) in [(5 * MINUTE, true), (50 * MINUTE, false)] {
        let settings = || Settings {
            approval_ttl: TEN_MINUTES,
            ..settings()
        };
        let mut shared = SharedInbox::default();
        let mut scene = session(1, PLAIN, settings());
        calls(&mut shared, 1, &mut scene, 1);
        scene.advance(MINUTE + secs(1));
        settle(&mut shared, 1, &mut scene, PLAIN);
        scene.client_closes();
        settle(&mut shared, 1, &mut scene, PLAIN);
        let item = shared.newest().to_owned();
        shared.decide(&item, Choice::Approve);
        let mut scene = session(2, PLAIN, settings());
        scene.advance(later);
        calls(&mut shared, 2, &mut scene, 1);
        scene.expect_forwarded(1);
        calls(&mut shared, 2, &mut scene, 2);
        match is_covered {
            true => drop(scene.expect_forwarded(2)),
            false => scene.expect_nothing(),
        }
    }
}

// Attack: anyone who can write to the store can restore a row from before its call ran, with the signature of the yes.
#[test]
fn an_old_yes_lets_nothing_run_whatever_the_store_says() {
    for (hours, runs) in [(1, true), (3, false), (24, false)] {
        let mut shared = SharedInbox::default();
        let item = leaves_a_call(&mut shared, 1, PLAIN);
        shared.decide(&item, Choice::Approve);
        shared.park_for_ever(&item);
        let mut scene = session(2, PLAIN, settings());
        scene.advance(hours * 60 * MINUTE);
        calls(&mut shared, 2, &mut scene, 1);
        if runs {
            scene.expect_forwarded(1);
            continue;
        }
        scene.expect_nothing();
        let is_logged = |scene: &Scene| {
            let mut lines = scene.log.iter();
            lines.any(|line| line["event"] == "disregarded_verdict" && line["item"] == json!(item))
        };
        assert!(is_logged(&scene), "{:?}", scene.log);
        // It is asked about again.
        let newest = shared.newest().to_owned();
        assert_ne!(newest, item);
        assert!(!shared.is_open(&item));
        shared.decide(&newest, Choice::Approve);
        settle(&mut shared, 2, &mut scene, PLAIN);
        scene.expect_forwarded(1);
    }
}

#[test]
fn a_resumed_question_stays_only_as_long_as_the_operator_allows() {
    let mut shared = SharedInbox::default();
    let item = leaves_a_call(&mut shared, 1, PLAIN);
    shared.park_for_ever(&item);
    let mut scene = session(2, PLAIN, settings());
    calls(&mut shared, 2, &mut scene, 1);
    scene.client_cancels(1);
    settle(&mut shared, 2, &mut scene, PLAIN);
    scene.advance(61 * MINUTE);
    settle(&mut shared, 2, &mut scene, PLAIN);
    assert!(!shared.is_open(&item));
}

#[test]
fn a_yes_counts_in_its_own_session_if_its_question_could_not_be_marked() {
    let mut scene = session(1, PLAIN, settings());
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    scene.inbox_sends(FromEngine::Resume(Resumption::IsAny(false)));
    scene.inbox.clear();
    scene.advance(MINUTE + secs(1));
    scene.client.clear();
    let received: Vec<ToEngine> = scene.inbox.drain(..).collect();
    let Some(ToEngine::Resume(Resume::Mark { item, .. })) = received.last().cloned() else {
        panic!("{received:?}");
    };
    scene.inbox_sends(FromEngine::Resume(Resumption::Unmarked {
        item: item.clone(),
    }));
    let verdict = Verdict {
        fields: None,
        choice: Choice::Approve,
        reason: None,
        cover: Duration::ZERO,
        assurance: Assurance::InboxSession,
        approver: None,
        decided_ms: scene.now.unix_ms,
    };
    scene.inbox_sends(FromEngine::Verdict {
        engine: crate::gate::EngineId::INBOX,
        item,
        verdict,
    });
    scene.client_calls(2, "delete_user", json!({"id": 7}));
    scene.expect_forwarded(2);
}

#[test]
fn one_session_leaves_at_most_as_many_questions_as_it_may_park() {
    let mut shared = SharedInbox::default();
    let mut scene = session(1, PLAIN, settings());
    for id in 0..1_100_u64 {
        scene.client_calls(id, "delete_user", json!({"id": id}));
        settle(&mut shared, 1, &mut scene, PLAIN);
        scene.client_cancels(id);
        settle(&mut shared, 1, &mut scene, PLAIN);
    }
    scene.client_closes();
    settle(&mut shared, 1, &mut scene, PLAIN);
    let ids: Vec<String> = shared.items().map(|item| item.id.clone()).collect();
    assert_eq!(ids.len(), 1_100);
    let open = ids.iter().filter(|id| shared.is_open(id)).count();
    assert_eq!(open, 1_024);
}

// A later session would ask for the first yes, with another text, so it would never find this one.
#[test]
fn a_question_that_no_later_session_would_ask_ends_with_its_session() {
    let settings = || Settings {
        double_confirm: true,
        ..settings()
    };
    let mut shared = SharedInbox::default();
    let mut scene = session(1, PLAIN, settings());
    calls(&mut shared, 1, &mut scene, 1);
    let first = shared.newest().to_owned();
    shared.decide(&first, Choice::Approve);
    settle(&mut shared, 1, &mut scene, PLAIN);
    let second = shared.newest().to_owned();
    assert_ne!(first, second);
    scene.advance(MINUTE + secs(1));
    settle(&mut shared, 1, &mut scene, PLAIN);
    scene.expect_refused(1, "waiting for approval");
    assert!(shared.is_open(&second));
    scene.client_closes();
    settle(&mut shared, 1, &mut scene, PLAIN);
    assert!(!shared.is_open(&second));
}

#[test]
fn calls_cancelled_while_the_inbox_is_asked_are_not_kept() {
    let mut scene = session(1, PLAIN, settings());
    for id in 0..500_u64 {
        scene.client_calls(id, "delete_user", json!({"id": id}));
        scene.inbox_sends(FromEngine::Resume(Resumption::IsAny(true)));
        scene.client_cancels(id);
    }
    assert_eq!(scene.gate.resume_lookups.calls(|_| true).len(), 0);
}

#[test]
fn a_call_cancelled_while_taking_up_a_question_leaves_it_for_later() {
    let mut shared = SharedInbox::default();
    let item = leaves_a_call(&mut shared, 1, PLAIN);
    let mut scene = session(2, PLAIN, settings());
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    // Whether there is any, and which.
    shared.serve_one(2, &mut scene);
    shared.serve_one(2, &mut scene);
    scene.client_cancels(1);
    settle(&mut shared, 2, &mut scene, PLAIN);
    scene.client_closes();
    settle(&mut shared, 2, &mut scene, PLAIN);
    shared.decide(&item, Choice::Approve);
    let mut scene = session(3, PLAIN, settings());
    calls(&mut shared, 3, &mut scene, 1);
    scene.expect_forwarded(1);
}

#[test]
fn a_question_is_taken_up_once_however_many_calls_wait_for_it() {
    let mut shared = SharedInbox::default();
    let item = leaves_a_call(&mut shared, 1, PLAIN);
    shared.decide(&item, Choice::Approve);
    let mut scene = session(2, PLAIN, settings());
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    shared.serve_one(2, &mut scene);
    shared.serve_one(2, &mut scene);
    scene.client_calls(2, "delete_user", json!({"id": 7}));
    let take_up = ToEngine::Resume(Resume::TakeUp { item });
    let asked = scene
        .inbox
        .iter()
        .filter(|received| **received == take_up)
        .count();
    assert_eq!(asked, 1);
    settle(&mut shared, 2, &mut scene, PLAIN);
    scene.expect_forwarded(1);
    scene.expect_nothing();
}

// The user may no longer look at the page that an earlier session opened.
#[test]
fn a_browser_may_open_when_a_later_session_waits_for_an_item() {
    let mut shared = SharedInbox::default();
    let item = leaves_a_call(&mut shared, 1, PLAIN);
    let mut scene = session(2, PLAIN, settings());
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let mut received = Vec::new();
    while let Some(next) = scene.inbox.front().cloned() {
        received.push(next);
        shared.serve_one(2, &mut scene);
    }
    assert!(
        received.contains(&ToEngine::OpenBrowser { item }),
        "{received:?}"
    );
}

// Somebody who can use the terminal, but does not know the passphrase, decides.
#[test]
fn a_verdict_below_the_required_assurance_blocks_no_later_session() {
    let required = || {
        let mut words = RequiredAssurance::WORDS.into_iter();
        let mut settings = settings();
        settings.require_assurance = words
            .find(|(word, _)| *word == "inbox-passphrase")
            .map(|it| it.1);
        for channel in &mut settings.channels {
            channel.reach = Assurance::InboxPassphrase;
        }
        settings
    };
    let mut shared = SharedInbox::default();
    let item = leaves_a_call(&mut shared, 1, PLAIN);
    shared.decide(&item, Choice::Approve);
    let mut scene = session(2, PLAIN, required());
    calls(&mut shared, 2, &mut scene, 1);
    scene.expect_nothing();
    assert_ne!(shared.newest(), item, "it is asked about anew");
}
