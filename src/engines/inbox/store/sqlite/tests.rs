//! What the store does when all is well. `trouble` is about when it is not, `model` about all
//! orders in which things can happen, `secrets` about what is left of calls, `named` about approvers'
//! names, `outliving` about items that outlive their session.

mod model;
mod named;
mod outliving;
mod secrets;
mod trouble;

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::approval::item::{Assurance, Verdict};
use crate::engines::inbox::store::{
    HISTORY_MS, Lease, Liveness as _, Logins as _, MAX_REASON, MAX_TOKENS, Token,
};
use crate::policy::Risk;
use crate::sys::state_dir::for_test;

/// A folder of its own, and a store in it.
struct Scene {
    dir: TempDir,
    state: StateDir,
    store: SqliteStore,
    logins: SqliteLogins,
}

impl Scene {
    fn new() -> Scene {
        let (dir, state) = for_test();
        let store = SqliteStore::open(&state).unwrap();
        let logins = SqliteLogins::new(&state);
        Scene {
            dir,
            state,
            store,
            logins,
        }
    }

    fn lease(&self, proxy: &str) -> Lease {
        Leases::new(&self.state).lease(proxy).unwrap()
    }

    fn other(&self) -> SqliteStore {
        SqliteStore::open(&self.state).unwrap()
    }

    fn state_of(&mut self, id: &str) -> State {
        self.store.find(id).unwrap().unwrap().state
    }
}

fn item(id: &str) -> Item {
    Item {
        id: id.to_owned(),
        server: "files".to_owned(),
        tool: "delete_User".to_owned(),
        risk: Risk::High,
        why: "it deletes".to_owned(),
        question: "Allow this tool call?".to_owned(),
        title: None,
        description: Some("Deletes a user.\0".to_owned()),
        hints: "destructive".to_owned(),
        call: r#"{"name":"delete_User","arguments":{"n":1.0,"password":"hunter2"}}"#.to_owned(),
        digest: "ab".repeat(32),
        client: None,
        client_title: None,
        asked_ms: 1_000,
        expires_ms: Some(5_000),
    }
}

fn asked(id: &str, asked_ms: i64) -> Item {
    Item {
        asked_ms,
        expires_ms: None,
        ..item(id)
    }
}

fn verdict(choice: Choice, decided_ms: i64) -> SignedVerdict {
    SignedVerdict {
        verdict: Verdict {
            choice,
            reason: Some("because".to_owned()),
            cover: Duration::from_millis(1_500),
            assurance: Assurance::InboxPassphrase,
            approver: Some("Ann".to_owned()),
            decided_ms,
        },
        signature: Some(vec![1, 2, 3]),
    }
}

fn ids(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.item.id.as_str()).collect()
}

/// Whether others have changed something since this was last called.
fn is_changed(store: &mut SqliteStore) -> bool {
    store.changed(Duration::ZERO, None).unwrap()
}

const REDACTED: &str = r#"{"name":"delete_User","arguments":{"n":1.0,"password":"[redacted]"}}"#;

#[test]
fn what_one_opener_asks_another_sees_and_decides_and_the_first_is_told_once() {
    let mut scene = Scene::new();
    let mut page = scene.other();
    assert!(!is_changed(&mut page));
    scene.store.ask(&item("a"), "p").unwrap();
    assert!(is_changed(&mut page));
    assert!(!is_changed(&mut page));
    let (waiting, count) = page.waiting(10).unwrap();
    assert_eq!((waiting.len(), count), (1, 1));
    assert_eq!(waiting[0].item, item("a"));
    assert_eq!(waiting[0].state, State::Waiting);

    assert!(!is_changed(&mut scene.store));
    let given = verdict(Choice::Approve, 2_000);
    assert_eq!(page.decide("a", &given).unwrap(), Decided::Recorded);
    assert!(is_changed(&mut scene.store));
    assert_eq!(scene.store.take_verdicts("other").unwrap(), []);
    let told = scene.store.take_verdicts("p").unwrap();
    assert_eq!(told, [("a".to_owned(), given.clone())]);
    assert_eq!(scene.store.take_verdicts("p").unwrap(), []);
    assert_eq!(page.waiting(10).unwrap(), (Vec::new(), 0));
    let entry = page.find("a").unwrap().unwrap();
    assert_eq!(entry.state, State::Decided(Choice::Approve));
    assert_eq!(entry.verdict, Some(given.verdict));
    assert_eq!(entry.closed_ms, Some(2_000));
    assert_eq!(page.history(&Filter::default(), 10).unwrap(), [entry]);
}

#[test]
fn who_waits_for_a_change_is_told_of_it_and_kept_no_longer_than_wanted() {
    let mut scene = Scene::new();
    let mut page = scene.other();
    let hour = Duration::from_secs(3_600);
    // Its own changes are none.
    scene.store.ask(&item("a"), "p").unwrap();
    let short = Duration::from_millis(20);
    assert!(!scene.store.changed(short, None).unwrap());
    // One before, and one meanwhile.
    page.park("a", 9_000).unwrap();
    assert!(scene.store.changed(hour, None).unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(100));
            page.decide("a", &verdict(Choice::Approve, 2_000)).unwrap();
        });
        assert!(scene.store.changed(hour, None).unwrap());
    });
    assert!(!scene.store.changed(Duration::ZERO, None).unwrap());
    let (ours, bell) = UnixStream::pair().unwrap();
    drop(ours);
    assert!(!scene.store.changed(hour, Some(bell.as_fd())).unwrap());
}

#[test]
fn of_many_verdicts_at_once_exactly_one_counts() {
    let mut scene = Scene::new();
    scene.store.ask(&item("a"), "p").unwrap();
    let results: Vec<Decided> = std::thread::scope(|scope| {
        let deciding: Vec<_> = (0..8)
            .map(|i| {
                let mut store = scene.other();
                let choice = [Choice::Approve, Choice::Deny][i % 2];
                scope.spawn(move || store.decide("a", &verdict(choice, 2_000)).unwrap())
            })
            .collect();
        deciding
            .into_iter()
            .map(|one| one.join().unwrap())
            .collect()
    });
    let recorded = results.iter().filter(|one| **one == Decided::Recorded);
    assert_eq!(recorded.count(), 1);
    let state = scene.state_of("a");
    assert!(matches!(state, State::Decided(_)));
    let late = results
        .iter()
        .filter(|one| **one == Decided::TooLate(state));
    assert_eq!(late.count(), 7);
    assert_eq!(scene.store.take_verdicts("p").unwrap().len(), 1);
}

#[test]
fn many_who_open_a_new_store_at_once_open_the_same() {
    let (_dir, state) = for_test();
    std::thread::scope(|scope| {
        for i in 0..8 {
            let state = &state;
            scope.spawn(move || {
                let mut store = SqliteStore::open(state).unwrap();
                store.ask(&item(&i.to_string()), "p").unwrap();
            });
        }
    });
    let mut store = SqliteStore::open(&state).unwrap();
    assert_eq!(store.waiting(0).unwrap(), (Vec::new(), 8));
}

#[test]
fn a_verdict_after_the_items_time_is_too_late_and_a_sweep_closes_it() {
    let mut scene = Scene::new();
    let _lease = scene.lease("p");
    scene.store.ask(&item("a"), "p").unwrap();
    let expired = Decided::TooLate(State::Closed(Closed::Expired));
    let late = verdict(Choice::Approve, 5_000);
    assert_eq!(scene.store.decide("a", &late).unwrap(), expired);
    scene.store.sweep(4_999).unwrap();
    assert_eq!(scene.state_of("a"), State::Waiting);
    scene.store.sweep(5_000).unwrap();
    let entry = scene.store.find("a").unwrap().unwrap();
    assert_eq!(entry.state, State::Closed(Closed::Expired));
    assert_eq!((entry.closed_ms, entry.verdict), (Some(5_000), None));
    assert_eq!(entry.item.call, REDACTED);
    let early = verdict(Choice::Approve, 4_000);
    assert_eq!(scene.store.decide("a", &early).unwrap(), expired);
    assert_eq!(scene.store.decide("b", &early).unwrap(), Decided::Unknown);
}

#[test]
fn a_parked_item_waits_past_its_first_time_and_its_yes_stays_to_be_taken() {
    let mut scene = Scene::new();
    let _lease = scene.lease("p");
    for id in ["a", "b"] {
        scene.store.ask(&item(id), "p").unwrap();
        scene.store.park(id, 100_000).unwrap();
    }
    scene.store.sweep(50_000).unwrap();
    let entry = scene.store.find("a").unwrap().unwrap();
    assert_eq!(
        (entry.state, entry.parked_until_ms),
        (State::Parked, Some(100_000))
    );
    assert_eq!(entry.item.call, item("a").call);
    assert_eq!(scene.store.waiting(10).unwrap().1, 2);
    let yes = verdict(Choice::Approve, 60_000);
    assert_eq!(scene.store.decide("a", &yes).unwrap(), Decided::Recorded);
    let late = verdict(Choice::Approve, 100_000);
    let expired = Decided::TooLate(State::Closed(Closed::Expired));
    assert_eq!(scene.store.decide("b", &late).unwrap(), expired);
    // Long after, since its proxy lives.
    scene.store.sweep(100 * HISTORY_MS).unwrap();
    assert_eq!(
        scene.store.take_verdicts("p").unwrap(),
        [("a".to_owned(), yes)]
    );
}

#[test]
fn who_parks_or_closes_what_is_decided_changes_nothing() {
    let mut scene = Scene::new();
    scene.store.ask(&item("a"), "p").unwrap();
    scene
        .store
        .decide("a", &verdict(Choice::Deny, 2_000))
        .unwrap();
    let before = scene.store.find("a").unwrap();
    scene.store.park("a", 9_000).unwrap();
    scene.store.close("a", Closed::Withdrawn, 3_000).unwrap();
    assert_eq!(scene.store.find("a").unwrap(), before);
    scene.store.park("unknown", 9_000).unwrap();
    scene
        .store
        .close("unknown", Closed::Withdrawn, 3_000)
        .unwrap();
    scene.store.reopen("unknown").unwrap();
}

#[test]
fn a_verdict_that_did_not_count_leaves_the_item_as_it_was() {
    let mut scene = Scene::new();
    let _lease = scene.lease("p");
    for id in ["a", "parked", "settled"] {
        scene.store.ask(&asked(id, 1_000), "p").unwrap();
    }
    scene.store.park("parked", i64::MAX).unwrap();
    let before = ["a", "parked"].map(|id| scene.store.find(id).unwrap().unwrap());
    for id in ["a", "parked"] {
        scene.store.reopen(id).unwrap();
        scene
            .store
            .decide(id, &verdict(Choice::Approve, 2_000))
            .unwrap();
    }
    assert_eq!(scene.store.take_verdicts("p").unwrap().len(), 2);
    for old in before {
        scene.store.reopen(&old.item.id).unwrap();
        let told = Entry {
            was_disregarded: true,
            ..old
        };
        assert_eq!(scene.store.find(&told.item.id).unwrap(), Some(told));
    }
    let no = verdict(Choice::Deny, 3_000);
    assert_eq!(scene.store.decide("a", &no).unwrap(), Decided::Recorded);
    assert!(!scene.store.find("a").unwrap().unwrap().was_disregarded);
    assert_eq!(
        scene.store.take_verdicts("p").unwrap(),
        [("a".to_owned(), no)]
    );

    // Whose call is not kept any more is not shown with a part of it.
    scene
        .store
        .decide("settled", &verdict(Choice::Approve, 2_000))
        .unwrap();
    scene.store.take_verdicts("p").unwrap();
    scene.store.sweep(2_000_000).unwrap();
    scene.store.reopen("settled").unwrap();
    assert_eq!(scene.state_of("settled"), State::Closed(Closed::Expired));
}

#[test]
fn a_long_reason_is_cut_between_characters() {
    let mut scene = Scene::new();
    scene.store.ask(&item("a"), "p").unwrap();
    let mut long = verdict(Choice::Deny, 2_000);
    long.verdict.reason = Some(format!("a{}", "é".repeat(MAX_REASON)));
    scene.store.decide("a", &long).unwrap();
    let kept = scene
        .store
        .find("a")
        .unwrap()
        .unwrap()
        .verdict
        .unwrap()
        .reason
        .unwrap();
    assert_eq!(kept.len(), MAX_REASON - 1);
    assert!(kept.ends_with('é'));
}

#[test]
fn the_items_of_a_dropped_lease_expire_and_those_of_a_live_one_here_do_not() {
    let mut scene = Scene::new();
    let dead = scene.lease("dead");
    let _alive = scene.lease("alive");
    for (id, proxy) in [
        ("d1", "dead"),
        ("d2", "dead"),
        ("d3", "dead"),
        ("a1", "alive"),
    ] {
        scene.store.ask(&asked(id, 1_000), proxy).unwrap();
    }
    scene.store.park("d2", i64::MAX).unwrap();
    scene
        .store
        .decide("d3", &verdict(Choice::Approve, 2_000))
        .unwrap();
    scene.store.sweep(3_000).unwrap();
    assert_eq!(scene.store.waiting(10).unwrap().1, 3);
    drop(dead);
    let mut others = [scene.other(), scene.other()];
    std::thread::scope(|scope| {
        for other in &mut others {
            scope.spawn(|| other.sweep(4_000).unwrap());
        }
    });
    let waiting = scene.store.waiting(10).unwrap();
    assert_eq!((ids(&waiting.0), waiting.1), (vec!["a1"], 1));
    for id in ["d1", "d2"] {
        let entry = scene.store.find(id).unwrap().unwrap();
        assert_eq!(entry.state, State::Closed(Closed::Expired));
        assert_eq!(entry.item.call, REDACTED);
    }
    // Nobody of that name shall take another's yes.
    assert_eq!(scene.store.take_verdicts("dead").unwrap(), []);
}

#[test]
fn what_waits_is_listed_oldest_first_and_history_newest_first() {
    let mut scene = Scene::new();
    let _lease = scene.lease("p");
    let mut texts = vec![("a", 3_000), ("b", 1_000), ("c", 2_000), ("d", 2_000)];
    for (id, asked_ms) in &texts {
        scene.store.ask(&asked(id, *asked_ms), "p").unwrap();
    }
    let (two, all) = scene.store.waiting(2).unwrap();
    assert_eq!((ids(&two), all), (vec!["b", "c"], 4));
    texts.reverse();
    for (id, _) in texts {
        scene
            .store
            .decide(id, &verdict(Choice::Deny, 4_000))
            .unwrap();
    }
    let all = scene.store.history(&Filter::default(), 3).unwrap();
    assert_eq!(ids(&all), ["a", "d", "c"]);
    let filter = Filter {
        before_ms: Some(2_000),
        ..Filter::default()
    };
    assert_eq!(ids(&scene.store.history(&filter, 3).unwrap()), ["b"]);
}

#[test]
fn history_is_filtered_by_state_server_and_part_of_the_tools_name() {
    let mut scene = Scene::new();
    let ask = |store: &mut SqliteStore, id: &str, server: &str, tool: &str| {
        let (server, tool) = (server.to_owned(), tool.to_owned());
        let item = Item {
            server,
            tool,
            ..item(id)
        };
        store.ask(&item, "p").unwrap();
    };
    ask(&mut scene.store, "a", "files", "delete_User");
    ask(&mut scene.store, "b", "mail", "LÖSCHEN%");
    ask(&mut scene.store, "c", "mail", "send");
    ask(&mut scene.store, "open", "mail", "send");
    scene
        .store
        .decide("a", &verdict(Choice::Approve, 2_000))
        .unwrap();
    scene
        .store
        .decide("b", &verdict(Choice::Deny, 2_000))
        .unwrap();
    scene.store.close("c", Closed::Withdrawn, 2_000).unwrap();
    for (state, server, tool, expected) in [
        (Some("approved"), None, None, vec!["a"]),
        (Some("withdrawn"), None, None, vec!["c"]),
        (Some("waiting"), None, None, vec![]),
        (Some("x' OR 1"), None, None, vec![]),
        (None, Some("mail"), None, vec!["c", "b"]),
        (None, Some("mai"), None, vec![]),
        (None, None, Some("TE_u"), vec!["a"]),
        (None, None, Some("lösch"), vec!["b"]),
        (None, None, Some("%"), vec!["b"]),
        (Some("denied"), Some("mail"), Some("en"), vec!["b"]),
        (None, None, None, vec!["c", "b", "a"]),
    ] {
        let [state, server, tool] = [state, server, tool].map(|text| text.map(str::to_owned));
        let filter = Filter {
            state,
            server,
            tool,
            before_ms: None,
        };
        let found = scene.store.history(&filter, 10).unwrap();
        assert_eq!(ids(&found), expected, "{filter:?}");
    }
}

#[test]
fn a_token_is_good_until_its_time_is_over_and_taken_once() {
    let mut scene = Scene::new();
    let (hash, other) = ([1; 32], [2; 32]);
    scene.logins.add_token(Token::Login, &hash, 1_000).unwrap();
    let store = &mut scene.logins;
    assert!(store.has_token(Token::Login, &hash, 999).unwrap());
    assert!(!store.has_token(Token::Login, &hash, 1_000).unwrap());
    assert!(!store.has_token(Token::Session, &hash, 0).unwrap());
    assert!(!store.has_token(Token::Login, &other, 0).unwrap());
    assert!(!store.take_token(Token::Login, &hash, 1_000).unwrap());
    store.forget_old(999).unwrap();
    let taken: usize = std::thread::scope(|scope| {
        let taking: Vec<_> = (0..8)
            .map(|_| {
                let mut store = SqliteLogins::new(&scene.state);
                scope.spawn(move || store.take_token(Token::Login, &hash, 0).unwrap())
            })
            .collect();
        taking
            .into_iter()
            .map(|one| usize::from(one.join().unwrap()))
            .sum()
    });
    assert_eq!(taken, 1);
    assert!(!scene.logins.has_token(Token::Login, &hash, 0).unwrap());
}

#[test]
fn of_too_many_tokens_those_that_end_first_are_forgotten() {
    let mut scene = Scene::new();
    let hash = |i: usize| {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&i.to_be_bytes());
        hash
    };
    for i in 0..=MAX_TOKENS {
        let until = i64::try_from(i).unwrap() + 10;
        scene
            .logins
            .add_token(Token::Session, &hash(i), until)
            .unwrap();
    }
    assert!(!scene.logins.has_token(Token::Session, &hash(0), 0).unwrap());
    assert!(scene.logins.has_token(Token::Session, &hash(1), 0).unwrap());
    scene.logins.forget_old(i64::MAX).unwrap();
    assert!(
        !scene
            .logins
            .has_token(Token::Session, &hash(MAX_TOKENS), 0)
            .unwrap()
    );
}

#[test]
fn items_are_found_by_how_their_ids_begin() {
    let mut scene = Scene::new();
    let _lease = scene.lease("p");
    for id in ["ab01", "ab02", "ab", "ac", "b%", "bx", "b_", "\u{10fffe}"] {
        scene.store.ask(&item(id), "p").unwrap();
    }
    scene.store.close("ab02", Closed::Expired, 2_000).unwrap();
    let mut found = |beginning: &str, limit| -> Vec<String> {
        let found = scene.store.find_by_beginning(beginning, limit).unwrap();
        found.into_iter().map(|entry| entry.item.id).collect()
    };
    // The newest first, and what waits no more last.
    assert_eq!(found("ab", 9), ["ab", "ab01", "ab02"]);
    assert_eq!(found("ab0", 9), ["ab01", "ab02"]);
    assert_eq!(found("ab", 2), ["ab", "ab01"]);
    assert_eq!(found("b%", 9), ["b%"]);
    assert_eq!(found("b_", 9), ["b_"]);
    assert_eq!(found("\u{10fffe}", 9), ["\u{10fffe}"]);
    assert_eq!(found("c", 9), [""; 0]);
    assert_eq!(found("", 9).len(), 8);
}

#[test]
fn looking_after_a_store_in_which_nothing_happens_tells_nobody_of_a_change() {
    let mut scene = Scene::new();
    let mut page = scene.other();
    let _lease = scene.lease("p");
    scene.store.ask(&asked("a", 1_000), "p").unwrap();
    scene.store.sweep(2_000).unwrap();
    assert!(is_changed(&mut page));
    for now_ms in 3_000..3_005 {
        scene.store.sweep(now_ms).unwrap();
        assert!(!is_changed(&mut page));
        assert_eq!(page.waiting(10).unwrap().1, 1);
        assert_eq!(scene.store.take_verdicts("p").unwrap(), []);
        scene.store.settle("p").unwrap();
        assert!(!is_changed(&mut page));
    }
}

fn elsewhere(id: &str, decided_ms: i64) -> Elsewhere {
    let SignedVerdict { mut verdict, .. } = verdict(Choice::Approve, decided_ms);
    verdict.assurance = Assurance::CallerRelayed;
    Elsewhere {
        item: item(id),
        verdict,
        engine: "elicitation".to_owned(),
    }
}

#[test]
fn what_was_decided_elsewhere_is_history_without_its_secrets_and_never_waits() {
    let mut scene = Scene::new();
    let told = [elsewhere("a", 2_000), elsewhere("b", 2_001)];
    scene.store.record(&told).unwrap();
    assert_eq!(scene.store.waiting(10).unwrap(), (Vec::new(), 0));
    let kept = scene.store.history(&Filter::default(), 10).unwrap();
    assert_eq!(ids(&kept), ["b", "a"]);
    for entry in &kept {
        assert_eq!(entry.state, State::Decided(Choice::Approve));
        assert_eq!(entry.engine.as_deref(), Some("elicitation"));
        assert_eq!(entry.item.call, REDACTED);
        let verdict = entry.verdict.as_ref().unwrap();
        assert_eq!(verdict.assurance, Assurance::CallerRelayed);
    }
    // Nobody takes it for a verdict of theirs, and it can be decided no more.
    assert_eq!(scene.store.take_verdicts("").unwrap(), []);
    let again = scene.store.decide("a", &verdict(Choice::Deny, 3_000));
    let standing = State::Decided(Choice::Approve);
    assert_eq!(again.unwrap(), Decided::TooLate(standing));
}

#[test]
fn what_is_recorded_cannot_replace_an_item() {
    let mut scene = Scene::new();
    let _lease = scene.lease("p");
    scene.store.ask(&item("a"), "p").unwrap();
    scene.store.record(&[elsewhere("a", 2_000)]).unwrap();
    assert_eq!(scene.state_of("a"), State::Waiting);
    assert_eq!(scene.store.find("a").unwrap().unwrap().item, item("a"));
}

#[test]
fn an_item_that_was_withdrawn_for_a_decision_elsewhere_becomes_its_row() {
    let mut scene = Scene::new();
    let _lease = scene.lease("p");
    scene.store.ask(&item("a"), "p").unwrap();
    scene.store.close("a", Closed::Withdrawn, 1_500).unwrap();
    scene.store.record(&[elsewhere("a", 2_000)]).unwrap();
    let history = scene.store.history(&Filter::default(), 10).unwrap();
    let [entry] = &history[..] else {
        panic!("{history:?}");
    };
    assert_eq!(entry.state, State::Decided(Choice::Approve));
    assert_eq!(entry.engine.as_deref(), Some("elicitation"));
    assert_eq!(entry.closed_ms, Some(2_000));
    // Nobody takes it for a verdict of theirs.
    assert_eq!(scene.store.take_verdicts("p").unwrap(), []);
    // What has expired, or was decided, stays as it is.
    scene.store.ask(&item("b"), "p").unwrap();
    scene.store.close("b", Closed::Expired, 1_500).unwrap();
    scene.store.record(&[elsewhere("b", 2_000)]).unwrap();
    assert_eq!(scene.state_of("b"), State::Closed(Closed::Expired));
}

#[test]
fn titles_are_kept_with_an_item() {
    let mut scene = Scene::new();
    let _lease = scene.lease("p");
    let titled = Item {
        title: Some("Delete\u{202e} it".to_owned()),
        client_title: Some("C".to_owned()),
        ..item("a")
    };
    scene.store.ask(&titled, "p").unwrap();
    assert_eq!(scene.other().find("a").unwrap().unwrap().item, titled);
}
