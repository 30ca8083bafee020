//! What an attacker, or bad luck, makes of questions that outlive their session.

use std::time::Duration;

use serde_json::json;

use super::shelf::Shelf;
use super::{MINUTE, PLAIN, leaves_a_call, session, settings, settle};
use crate::approval::assurance::RequiredAssurance;
use crate::approval::item::{Assurance, Choice, Verdict};
use crate::gate::tests::scene::{Scene, secs};
use crate::gate::{FromEngine, Resume, Resumption, Settings, ToEngine};

const TEN_MINUTES: Duration = Duration::from_secs(600);

fn calls(shelf: &mut Shelf, number: u8, scene: &mut Scene, id: u64) {
    scene.client_calls(id, "delete_user", json!({"id": 7}));
    settle(shelf, number, scene, PLAIN);
}

// A person who covers identical calls for ten minutes means the ten minutes after that.
#[test]
fn a_resumed_yes_covers_further_calls_from_when_it_was_given() {
    for (later, is_covered) in [(5 * MINUTE, true), (50 * MINUTE, false)] {
        let mut shelf = Shelf::default();
        let item = leaves_a_call(&mut shelf, 1, PLAIN);
        shelf.decide_for(&item, Choice::Approve, TEN_MINUTES);
        let mut scene = session(2, PLAIN, settings());
        scene.advance(later);
        calls(&mut shelf, 2, &mut scene, 1);
        scene.expect_forwarded(1);
        calls(&mut shelf, 2, &mut scene, 2);
        match is_covered {
            true => drop(scene.expect_forwarded(2)),
            false => scene.expect_nothing(),
        }
    }
}

#[test]
fn so_does_one_that_covers_calls_because_the_operator_says_so() {
    for (later, is_covered) in [(5 * MINUTE, true), (50 * MINUTE, false)] {
        let settings = || Settings {
            approval_ttl: TEN_MINUTES,
            ..settings()
        };
        let mut shelf = Shelf::default();
        let mut scene = session(1, PLAIN, settings());
        calls(&mut shelf, 1, &mut scene, 1);
        scene.advance(MINUTE + secs(1));
        settle(&mut shelf, 1, &mut scene, PLAIN);
        scene.client_closes();
        settle(&mut shelf, 1, &mut scene, PLAIN);
        let item = shelf.newest().to_owned();
        shelf.decide(&item, Choice::Approve);
        let mut scene = session(2, PLAIN, settings());
        scene.advance(later);
        calls(&mut shelf, 2, &mut scene, 1);
        scene.expect_forwarded(1);
        calls(&mut shelf, 2, &mut scene, 2);
        match is_covered {
            true => drop(scene.expect_forwarded(2)),
            false => scene.expect_nothing(),
        }
    }
}

// Whoever may write to the store can put a row back as it was before its call ran, with the signature of the yes.
#[test]
fn an_old_yes_lets_nothing_run_whatever_the_store_says_of_its_time() {
    for (hours, runs) in [(1, true), (3, false), (24, false)] {
        let mut shelf = Shelf::default();
        let item = leaves_a_call(&mut shelf, 1, PLAIN);
        shelf.decide(&item, Choice::Approve);
        shelf.park_for_ever(&item);
        let mut scene = session(2, PLAIN, settings());
        scene.advance(hours * 60 * MINUTE);
        calls(&mut shelf, 2, &mut scene, 1);
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
        // It is asked about anew.
        let newest = shelf.newest().to_owned();
        assert_ne!(newest, item);
        assert!(!shelf.is_open(&item));
        shelf.decide(&newest, Choice::Approve);
        settle(&mut shelf, 2, &mut scene, PLAIN);
        scene.expect_forwarded(1);
    }
}

#[test]
fn a_resumed_question_stays_no_longer_than_the_operator_allows_whatever_the_store_says() {
    let mut shelf = Shelf::default();
    let item = leaves_a_call(&mut shelf, 1, PLAIN);
    shelf.park_for_ever(&item);
    let mut scene = session(2, PLAIN, settings());
    calls(&mut shelf, 2, &mut scene, 1);
    scene.client_cancels(1);
    settle(&mut shelf, 2, &mut scene, PLAIN);
    scene.advance(61 * MINUTE);
    settle(&mut shelf, 2, &mut scene, PLAIN);
    assert!(!shelf.is_open(&item));
}

#[test]
fn a_yes_runs_in_its_own_session_where_its_question_could_not_be_marked() {
    let mut scene = session(1, PLAIN, settings());
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    scene.inbox_tells(FromEngine::Resume(Resumption::IsAny(false)));
    scene.inbox.clear();
    scene.advance(MINUTE + secs(1));
    scene.client.clear();
    let told: Vec<ToEngine> = scene.inbox.drain(..).collect();
    let Some(ToEngine::Resume(Resume::Mark { item, .. })) = told.last().cloned() else {
        panic!("{told:?}");
    };
    scene.inbox_tells(FromEngine::Resume(Resumption::Unmarked {
        item: item.clone(),
    }));
    let verdict = Verdict {
        choice: Choice::Approve,
        reason: None,
        cover: Duration::ZERO,
        assurance: Assurance::InboxSession,
        approver: None,
        decided_ms: scene.now.unix_ms,
    };
    scene.inbox_tells(FromEngine::Verdict {
        engine: crate::gate::EngineId::INBOX,
        item,
        verdict,
    });
    scene.client_calls(2, "delete_user", json!({"id": 7}));
    scene.expect_forwarded(2);
}

#[test]
fn one_session_leaves_no_more_than_it_may_park() {
    let mut shelf = Shelf::default();
    let mut scene = session(1, PLAIN, settings());
    for id in 0..1_100_u64 {
        scene.client_calls(id, "delete_user", json!({"id": id}));
        settle(&mut shelf, 1, &mut scene, PLAIN);
        scene.client_cancels(id);
        settle(&mut shelf, 1, &mut scene, PLAIN);
    }
    scene.client_closes();
    settle(&mut shelf, 1, &mut scene, PLAIN);
    let ids: Vec<String> = shelf.items().map(|item| item.id.clone()).collect();
    assert_eq!(ids.len(), 1_100);
    let open = ids.iter().filter(|id| shelf.is_open(id)).count();
    assert_eq!(open, 1_024);
}

// A later session would ask for the first yes, in other words, and so would never find it.
#[test]
fn what_no_later_session_would_ask_in_these_words_ends_with_its_session() {
    let settings = || Settings {
        double_confirm: true,
        ..settings()
    };
    let mut shelf = Shelf::default();
    let mut scene = session(1, PLAIN, settings());
    calls(&mut shelf, 1, &mut scene, 1);
    let first = shelf.newest().to_owned();
    shelf.decide(&first, Choice::Approve);
    settle(&mut shelf, 1, &mut scene, PLAIN);
    let second = shelf.newest().to_owned();
    assert_ne!(first, second);
    scene.advance(MINUTE + secs(1));
    settle(&mut shelf, 1, &mut scene, PLAIN);
    scene.expect_refused(1, "waiting for approval");
    assert!(shelf.is_open(&second));
    scene.client_closes();
    settle(&mut shelf, 1, &mut scene, PLAIN);
    assert!(!shelf.is_open(&second));
}

#[test]
fn calls_that_are_taken_back_while_the_inbox_is_asked_are_not_kept() {
    let mut scene = session(1, PLAIN, settings());
    for id in 0..500_u64 {
        scene.client_calls(id, "delete_user", json!({"id": id}));
        scene.inbox_tells(FromEngine::Resume(Resumption::IsAny(true)));
        scene.client_cancels(id);
    }
    assert_eq!(scene.gate.resume_lookups.calls(|_| true).len(), 0);
}

#[test]
fn a_call_that_is_taken_back_while_it_takes_a_question_up_leaves_it_for_a_later_session() {
    let mut shelf = Shelf::default();
    let item = leaves_a_call(&mut shelf, 1, PLAIN);
    let mut scene = session(2, PLAIN, settings());
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    // Whether there is any, and which.
    shelf.serve_one(2, &mut scene);
    shelf.serve_one(2, &mut scene);
    scene.client_cancels(1);
    settle(&mut shelf, 2, &mut scene, PLAIN);
    scene.client_closes();
    settle(&mut shelf, 2, &mut scene, PLAIN);
    shelf.decide(&item, Choice::Approve);
    let mut scene = session(3, PLAIN, settings());
    calls(&mut shelf, 3, &mut scene, 1);
    scene.expect_forwarded(1);
}

#[test]
fn a_question_is_taken_up_once_however_many_calls_come_for_it() {
    let mut shelf = Shelf::default();
    let item = leaves_a_call(&mut shelf, 1, PLAIN);
    shelf.decide(&item, Choice::Approve);
    let mut scene = session(2, PLAIN, settings());
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    shelf.serve_one(2, &mut scene);
    shelf.serve_one(2, &mut scene);
    scene.client_calls(2, "delete_user", json!({"id": 7}));
    let take_up = ToEngine::Resume(Resume::TakeUp { item });
    let asked = scene.inbox.iter().filter(|told| **told == take_up).count();
    assert_eq!(asked, 1);
    settle(&mut shelf, 2, &mut scene, PLAIN);
    scene.expect_forwarded(1);
    scene.expect_nothing();
}

// The user may not look at the page any more since the session that opened a browser for it.
#[test]
fn a_browser_may_be_opened_for_an_item_that_a_call_of_a_later_session_waits_for() {
    let mut shelf = Shelf::default();
    let item = leaves_a_call(&mut shelf, 1, PLAIN);
    let mut scene = session(2, PLAIN, settings());
    scene.client_calls(1, "delete_user", json!({"id": 7}));
    let mut told = Vec::new();
    while let Some(next) = scene.inbox.front().cloned() {
        told.push(next);
        shelf.serve_one(2, &mut scene);
    }
    assert!(told.contains(&ToEngine::OpenBrowser { item }), "{told:?}");
}

// Somebody who may use the terminal, but does not know the passphrase, decides.
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
    let mut shelf = Shelf::default();
    let item = leaves_a_call(&mut shelf, 1, PLAIN);
    shelf.decide(&item, Choice::Approve);
    let mut scene = session(2, PLAIN, required());
    calls(&mut shelf, 2, &mut scene, 1);
    scene.expect_nothing();
    assert_ne!(shelf.newest(), item, "it is asked about anew");
}
