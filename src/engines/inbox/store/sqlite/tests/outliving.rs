//! Parked items that outlive their session: who gets one, with which verdict, and what is left of it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use super::*;

const CHILD: &str = "APPROVAL_TEST_RESUME_DIR";
/// Until when items here are parked.
const UNTIL: i64 = 100_000;

impl Scene {
    /// A proxy asks, and its session parks and marks the item.
    fn park(&mut self, id: &str, proxy: &str) {
        self.store.ask(&asked(id, 1_000), proxy).unwrap();
        self.store.park(id, UNTIL).unwrap();
        assert!(self.store.mark(id, proxy, "key").unwrap());
    }

    fn decide(&mut self, id: &str, choice: Choice) -> SignedVerdict {
        let given = verdict(choice, 2_000);
        let decided = self.store.decide(id, &given).unwrap();
        assert_eq!(decided, Decided::Recorded);
        given
    }

    /// The id of the item that the proxy resumes, if there is one.
    fn resume(&mut self, proxy: &str, now_ms: i64) -> Option<String> {
        let resumed = self.store.resume("key", proxy, now_ms).unwrap();
        resumed.map(|resumed| resumed.id)
    }

    pub(super) fn is_flagged(&self) -> bool {
        is_flagged(self.dir.path())
    }
}

#[test]
fn a_session_that_was_left_an_item_gets_it_as_it_was_asked_and_nobody_else_does() {
    let mut scene = Scene::new();
    let _leases = ["p", "q", "r"].map(|proxy| scene.lease(proxy));
    scene.store.ask(&item("a"), "p").unwrap();
    scene.store.park("a", UNTIL).unwrap();
    scene.store.mark("a", "p", "key").unwrap();
    // Its owner is still there.
    assert_eq!(scene.resume("q", 2_000), None);
    scene.store.leave("a", "p", 2_000).unwrap();
    assert_eq!(scene.state_of("a"), State::Parked);
    assert_eq!(scene.store.resume("other", "q", 3_000).unwrap(), None);
    let resumed = scene.store.resume("key", "q", 3_000).unwrap();
    let expected = Resumed {
        id: "a".to_owned(),
        asked_ms: 1_000,
        expires_ms: Some(5_000),
        parked_until_ms: UNTIL,
    };
    assert_eq!(resumed, Some(expected));
    // From here on it is the new owner's, as if that had asked.
    assert_eq!(scene.resume("r", 3_000), None);
    let given = scene.decide("a", Choice::Approve);
    assert_eq!(scene.store.take_verdicts("p").unwrap(), []);
    assert_eq!(
        scene.store.take_verdicts("q").unwrap(),
        [("a".to_owned(), given)]
    );
}

#[test]
fn only_its_owner_marks_an_item_and_only_where_it_is_parked() {
    let mut scene = Scene::new();
    let _leases = ["p", "q"].map(|proxy| scene.lease(proxy));
    for id in ["waiting", "parked", "closed", "decided", "settled", "early"] {
        scene.store.ask(&asked(id, 1_000), "p").unwrap();
        if !["waiting", "early"].contains(&id) {
            scene.store.park(id, UNTIL).unwrap();
        }
    }
    scene
        .store
        .close("closed", Closed::Withdrawn, 2_000)
        .unwrap();
    for id in ["settled", "early"] {
        scene.decide(id, Choice::Approve);
    }
    scene.store.take_verdicts("p").unwrap();
    scene.store.settle("p").unwrap();
    // Somebody was faster than the mark.
    scene.decide("decided", Choice::Approve);
    for id in ["parked", "decided", "unknown"] {
        assert!(!scene.store.mark(id, "q", "key").unwrap(), "{id}");
    }
    for id in ["waiting", "closed", "settled", "early", "unknown"] {
        assert!(!scene.store.mark(id, "p", "key").unwrap(), "{id}");
    }
    assert!(!scene.is_flagged());
    for id in ["parked", "decided"] {
        assert!(scene.store.mark(id, "p", "key").unwrap(), "{id}");
    }
    assert!(scene.is_flagged());
}

#[test]
fn the_items_of_a_dead_proxy_are_resumed_before_a_sweep_and_after_it() {
    for is_swept in [false, true] {
        let mut scene = Scene::new();
        let dead = scene.lease("dead");
        let _lease = scene.lease("q");
        scene.park("open", "dead");
        scene.store.ask(&asked("unmarked", 1_000), "dead").unwrap();
        scene.store.park("unmarked", UNTIL).unwrap();
        scene.store.sweep(2_000).unwrap();
        assert_eq!(scene.resume("q", 2_000), None);
        drop(dead);
        if is_swept {
            scene.store.sweep(3_000).unwrap();
            let expired = State::Closed(Closed::Expired);
            assert_eq!(scene.state_of("unmarked"), expired);
        }
        assert_eq!(scene.state_of("open"), State::Parked);
        assert_eq!(
            scene.store.find("open").unwrap().unwrap().item,
            asked("open", 1_000)
        );
        assert_eq!(scene.resume("q", 4_000).as_deref(), Some("open"));
        // The sweep takes nothing from its new owner.
        scene.store.sweep(5_000).unwrap();
        let given = scene.decide("open", Choice::Deny);
        let told = scene.store.take_verdicts("q").unwrap();
        assert_eq!(told, [("open".to_owned(), given)]);
    }
}

#[test]
fn a_verdict_is_handed_to_the_next_owner_whenever_it_was_given() {
    for is_swept in [false, true] {
        for when in ["before", "taken", "after"] {
            let mut scene = Scene::new();
            let dead = scene.lease("dead");
            let _lease = scene.lease("q");
            scene.park("a", "dead");
            let mut given = None;
            if when != "after" {
                given = Some(scene.decide("a", Choice::Approve));
            }
            if when == "taken" {
                assert_eq!(scene.store.take_verdicts("dead").unwrap().len(), 1);
                // It counts, but no call has come for it.
                scene.store.settle("dead").unwrap();
            }
            drop(dead);
            if is_swept {
                scene.store.sweep(3_000).unwrap();
            }
            let given = given.unwrap_or_else(|| scene.decide("a", Choice::Approve));
            assert_eq!(scene.resume("q", 4_000).as_deref(), Some("a"), "{when}");
            let told = [("a".to_owned(), given)];
            assert_eq!(scene.store.take_verdicts("q").unwrap(), told, "{when}");
            assert_eq!(scene.store.take_verdicts("q").unwrap(), []);
            assert!(scene.store.take_up("a", "q").unwrap());
        }
    }
}

#[test]
fn of_many_who_resume_at_once_one_gets_the_item() {
    for is_dead in [false, true] {
        for round in 0..8 {
            let mut scene = Scene::new();
            let lease = scene.lease("p");
            scene.park("a", "p");
            if round % 2 == 0 {
                scene.decide("a", Choice::Approve);
            }
            match is_dead {
                true => drop(lease),
                false => scene.store.leave("a", "p", 2_000).unwrap(),
            }
            let names = ["q0", "q1", "q2", "q3"];
            let leases = names.map(|name| scene.lease(name));
            let got: Vec<&str> = std::thread::scope(|scope| {
                let asking = names.map(|name| {
                    let mut store = scene.other();
                    scope.spawn(move || (store.resume("key", name, 3_000).unwrap(), name))
                });
                let answers = asking.into_iter().map(|one| one.join().unwrap());
                let some = answers.filter(|(resumed, _)| resumed.is_some());
                some.map(|(_, name)| name).collect()
            });
            assert_eq!(got.len(), 1, "{got:?}");
            let can_take_up = names.map(|name| scene.store.take_up("a", name).unwrap());
            assert_eq!(can_take_up, names.map(|name| name == got[0]));
            drop(leases);
        }
    }
}

#[test]
fn what_was_taken_up_is_nobodys_to_resume_even_if_its_owner_dies_then() {
    let mut scene = Scene::new();
    let lease = scene.lease("p");
    let _other = scene.lease("q");
    for id in ["open", "decided"] {
        scene.park(id, "p");
    }
    scene.decide("decided", Choice::Approve);
    for id in ["open", "decided"] {
        assert!(!scene.store.take_up(id, "q").unwrap());
        assert!(scene.store.take_up(id, "p").unwrap());
        assert!(!scene.store.take_up(id, "p").unwrap());
    }
    assert!(!scene.store.take_up("unknown", "p").unwrap());
    // Its call waits on, and may be parked again.
    assert_eq!(scene.state_of("open"), State::Parked);
    drop(lease);
    assert_eq!(scene.resume("q", 3_000), None);
    scene.store.sweep(3_000).unwrap();
    assert_eq!(scene.resume("q", 4_000), None);
    assert_eq!(scene.state_of("open"), State::Closed(Closed::Expired));
    assert_eq!(
        scene.store.find("decided").unwrap().unwrap().item.call,
        REDACTED
    );
}

#[test]
fn who_resumed_an_item_and_dies_before_taking_it_up_leaves_it_to_the_next() {
    let mut scene = Scene::new();
    let first = scene.lease("p");
    scene.park("a", "p");
    let given = scene.decide("a", Choice::Approve);
    drop(first);
    let second = scene.lease("q");
    assert_eq!(scene.resume("q", 3_000).as_deref(), Some("a"));
    assert_eq!(scene.store.take_verdicts("q").unwrap().len(), 1);
    drop(second);
    let _third = scene.lease("r");
    assert_eq!(scene.resume("r", 4_000).as_deref(), Some("a"));
    assert!(!scene.store.take_up("a", "q").unwrap());
    let told = scene.store.take_verdicts("r").unwrap();
    assert_eq!(told, [("a".to_owned(), given)]);
    assert!(scene.store.take_up("a", "r").unwrap());
}

#[test]
fn what_is_left_without_a_mark_is_withdrawn_and_another_proxys_item_stays() {
    let mut scene = Scene::new();
    let _leases = ["p", "q"].map(|proxy| scene.lease(proxy));
    for id in ["waiting", "parked", "decided", "others"] {
        scene.store.ask(&asked(id, 1_000), "p").unwrap();
    }
    scene.store.park("parked", UNTIL).unwrap();
    scene.decide("decided", Choice::Approve);
    scene.store.leave("others", "q", 2_000).unwrap();
    scene.store.leave("unknown", "p", 2_000).unwrap();
    assert_eq!(scene.state_of("others"), State::Waiting);
    for id in ["waiting", "parked", "decided"] {
        scene.store.leave(id, "p", 2_000).unwrap();
        assert_eq!(scene.store.find(id).unwrap().unwrap().item.call, REDACTED);
    }
    let withdrawn = State::Closed(Closed::Withdrawn);
    assert_eq!(scene.state_of("waiting"), withdrawn);
    assert_eq!(scene.state_of("parked"), withdrawn);
    // Nobody wants its verdict any more.
    assert_eq!(scene.store.take_verdicts("p").unwrap(), []);

    // Whoever has lost an item to another cannot withdraw it.
    scene.park("a", "p");
    scene.store.leave("a", "p", 2_000).unwrap();
    assert_eq!(scene.resume("q", 3_000).as_deref(), Some("a"));
    scene.store.take_up("a", "q").unwrap();
    scene.store.leave("a", "p", 4_000).unwrap();
    assert_eq!(scene.state_of("a"), State::Parked);
}

#[test]
fn nobody_resumes_an_item_whose_time_is_over_and_a_sweep_forgets_its_verdict() {
    let mut scene = Scene::new();
    let alive = scene.lease("p");
    let _other = scene.lease("q");
    for id in ["open", "decided", "taken", "owned"] {
        scene.park(id, "p");
    }
    for id in ["taken", "decided", "owned"] {
        scene.decide(id, Choice::Approve);
        if id == "taken" {
            scene.store.take_verdicts("p").unwrap();
        }
    }
    for id in ["open", "decided", "taken"] {
        scene.store.leave(id, "p", 3_000).unwrap();
    }
    assert_eq!(scene.resume("q", UNTIL), None);
    // Long after a verdict usually counts for good, and before the time is over: nothing is lost.
    scene.store.sweep(UNTIL - 1).unwrap();
    assert!(scene.is_flagged());
    let kept = |scene: &Scene| -> i64 {
        let sql = "SELECT count(*) FROM items WHERE whole IS NOT NULL OR resume IS NOT NULL";
        scene.store.db.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(kept(&scene), 4);
    scene.store.sweep(UNTIL).unwrap();
    assert_eq!(kept(&scene), 0);
    assert!(!scene.is_flagged());
    assert_eq!(scene.state_of("open"), State::Closed(Closed::Expired));
    for id in ["decided", "taken", "owned"] {
        assert_eq!(scene.state_of(id), State::Decided(Choice::Approve));
        assert!(!scene.store.take_up(id, "p").unwrap());
    }
    assert_eq!(scene.store.take_verdicts("p").unwrap(), []);
    drop(alive);
}

#[test]
fn a_verdict_of_a_marked_item_does_not_count_for_good_by_the_passing_of_time() {
    let mut scene = Scene::new();
    let lease = scene.lease("p");
    scene.store.ask(&asked("a", 1_000), "p").unwrap();
    scene.store.park("a", i64::MAX).unwrap();
    scene.store.mark("a", "p", "key").unwrap();
    let given = scene.decide("a", Choice::Approve);
    scene.store.take_verdicts("p").unwrap();
    scene.store.settle("p").unwrap();
    // Where no page is served, those who ask tidy up.
    let hours_later = 24 * 3_600_000;
    scene.store.ask(&asked("b", hours_later), "p").unwrap();
    scene.store.sweep(hours_later).unwrap();
    drop(lease);
    let _other = scene.lease("q");
    assert_eq!(scene.resume("q", hours_later).as_deref(), Some("a"));
    let told = scene.store.take_verdicts("q").unwrap();
    assert_eq!(told, [("a".to_owned(), given)]);
}

#[test]
fn an_item_that_is_decided_comes_before_one_that_is_not_and_a_newer_before_an_older() {
    let mut scene = Scene::new();
    let lease = scene.lease("p");
    for (id, asked_ms) in [("d1", 10), ("d2", 20), ("o1", 30), ("o2", 40)] {
        scene.store.ask(&asked(id, asked_ms), "p").unwrap();
        scene.store.park(id, UNTIL).unwrap();
        scene.store.mark(id, "p", "key").unwrap();
    }
    scene.decide("d1", Choice::Deny);
    scene.decide("d2", Choice::Approve);
    drop(lease);
    let _other = scene.lease("q");
    let got = [(); 5].map(|()| scene.resume("q", 3_000));
    let got = got.map(|id| id.unwrap_or_default());
    assert_eq!(got, ["d2", "d1", "o2", "o1", ""]);
}

#[test]
fn a_verdict_that_did_not_count_leaves_an_item_to_be_decided_and_resumed_without_an_owner() {
    let mut scene = Scene::new();
    let lease = scene.lease("p");
    scene.park("a", "p");
    scene.decide("a", Choice::Approve);
    scene.store.take_verdicts("p").unwrap();
    scene.store.reopen("a").unwrap();
    drop(lease);
    scene.store.sweep(3_000).unwrap();
    let entry = scene.store.find("a").unwrap().unwrap();
    assert_eq!((entry.state, entry.was_disregarded), (State::Parked, true));
    // The same while nobody has it.
    scene.decide("a", Choice::Approve);
    scene.store.reopen("a").unwrap();
    assert_eq!(scene.state_of("a"), State::Parked);
    let given = scene.decide("a", Choice::Deny);
    let _other = scene.lease("q");
    assert_eq!(scene.resume("q", 4_000).as_deref(), Some("a"));
    let told = scene.store.take_verdicts("q").unwrap();
    assert_eq!(told, [("a".to_owned(), given)]);
}

#[test]
fn what_is_closed_is_not_resumed() {
    let mut scene = Scene::new();
    let _leases = ["p", "q"].map(|proxy| scene.lease(proxy));
    for id in ["open", "decided", "parted"] {
        scene.park(id, "p");
    }
    scene.decide("decided", Choice::Approve);
    scene.store.leave("parted", "p", 2_000).unwrap();
    for id in ["open", "decided", "parted"] {
        scene.store.close(id, Closed::Withdrawn, 3_000).unwrap();
        assert!(!scene.store.take_up(id, "p").unwrap());
    }
    assert_eq!(scene.resume("q", 4_000), None);
    scene.store.sweep(4_000).unwrap();
    assert!(!scene.is_flagged());
}

#[test]
fn what_a_proxy_of_an_older_version_made_of_a_marked_item_is_not_resumed() {
    let mut scene = Scene::new();
    let _leases = ["p", "q"].map(|proxy| scene.lease(proxy));
    for id in ["expired", "settled", "reopened"] {
        scene.park(id, "p");
    }
    scene.decide("settled", Choice::Approve);
    scene.decide("reopened", Choice::Approve);
    // It names the columns that it knows.
    let old = "UPDATE items SET state = 'expired', open = 0, due_ms = NULL, closed_ms = 2000, \
         redacted = NULL WHERE id = 'expired'; \
         UPDATE items SET whole = NULL, delivery = NULL, reason = 'shortened' \
         WHERE id IN ('settled', 'reopened')";
    scene.store.db.execute_batch(old).unwrap();
    scene.store.reopen("reopened").unwrap();
    assert!(!scene.store.take_up("reopened", "p").unwrap());
    let left = "UPDATE items SET proxy = ''";
    scene.store.db.execute_batch(left).unwrap();
    assert_eq!(scene.resume("q", 3_000), None);
    scene.store.sweep(UNTIL).unwrap();
    assert!(!scene.is_flagged());
}

#[test]
fn the_flag_is_there_while_anything_is_marked_and_for_nobody_else_to_read() {
    use std::os::unix::fs::MetadataExt as _;

    let mut scene = Scene::new();
    let _lease = scene.lease("p");
    let file = scene.dir.path().join("resumable");
    scene.store.sweep(1_000).unwrap();
    assert!(!scene.is_flagged());
    scene.park("a", "p");
    scene.park("b", "p");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    assert!(scene.store.take_up("a", "p").unwrap());
    scene.store.sweep(2_000).unwrap();
    assert!(scene.is_flagged());
    assert!(scene.store.take_up("b", "p").unwrap());
    assert!(scene.is_flagged());
    scene.store.sweep(3_000).unwrap();
    assert!(!scene.is_flagged());
}

#[test]
fn a_mark_without_its_flag_is_none() {
    let mut scene = Scene::new();
    let _lease = scene.lease("p");
    scene.store.ask(&asked("a", 1_000), "p").unwrap();
    scene.store.park("a", UNTIL).unwrap();
    // Nobody could make the flag here.
    scene.store.dir = StateDir::open(&scene.dir.path().join("gone")).unwrap();
    fs::remove_dir(scene.dir.path().join("gone")).unwrap();
    assert!(scene.store.mark("a", "p", "key").is_err());
    assert!(!scene.store.take_up("a", "p").unwrap());
}

#[test]
fn no_mark_is_lost_to_sweeps_at_the_same_time() {
    let mut scene = Scene::new();
    let _lease = scene.lease("p");
    for i in 0..40 {
        let id = i.to_string();
        scene.store.ask(&asked(&id, 1_000), "p").unwrap();
        scene.store.park(&id, UNTIL).unwrap();
    }
    let mut sweeping = scene.other();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..100).for_each(|_| sweeping.sweep(2_000).unwrap()));
        for i in 0..40 {
            let id = i.to_string();
            assert!(scene.store.mark(&id, "p", "key").unwrap());
            assert!(scene.is_flagged());
            assert!(scene.store.take_up(&id, "p").unwrap());
        }
    });
}

#[test]
fn a_verdicts_words_stay_as_they_were_signed_until_it_is_taken_up_and_lose_their_secrets_then() {
    let mut scene = Scene::new();
    let lease = scene.lease("p");
    scene.park("a", "p");
    let mut given = verdict(Choice::Deny, 2_000);
    given.verdict.reason = Some("not with token=hunter3 please".to_owned());
    scene.store.decide("a", &given).unwrap();
    scene.store.take_verdicts("p").unwrap();
    scene.store.settle("p").unwrap();
    drop(lease);
    scene.store.sweep(3_000).unwrap();
    let _other = scene.lease("q");
    assert_eq!(scene.resume("q", 4_000).as_deref(), Some("a"));
    let told = scene.store.take_verdicts("q").unwrap();
    assert_eq!(told, [("a".to_owned(), given)]);
    let shown = |scene: &mut Scene| {
        let entry = scene.store.find("a").unwrap().unwrap();
        entry.verdict.unwrap().reason.unwrap()
    };
    let kept = |scene: &Scene| -> String {
        let sql = "SELECT reason FROM items";
        scene.store.db.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    // Nobody who looks sees the secret, although the words are kept.
    assert_eq!(shown(&mut scene), "not with token=[redacted] please");
    assert_eq!(kept(&scene), "not with token=hunter3 please");
    assert!(scene.store.take_up("a", "q").unwrap());
    scene.store.settle("q").unwrap();
    assert_eq!(kept(&scene), "not with token=[redacted] please");
    assert_eq!(shown(&mut scene), "not with token=[redacted] please");
    assert!(scene.store.scrub().unwrap());
    for name in ["inbox.db", "inbox.db-wal"] {
        let bytes = fs::read(scene.dir.path().join(name)).unwrap_or_default();
        for secret in [&b"hunter3"[..], b"hunter2"] {
            assert!(!bytes.windows(secret.len()).any(|w| w == secret), "{name}");
        }
    }
}

/// Not a test but what the next one starts: a proxy that parks and then waits to be killed.
#[test]
fn a_child_parks_and_hangs() {
    let Some(dir) = std::env::var_os(CHILD) else {
        return;
    };
    let state = StateDir::open(Path::new(&dir)).unwrap();
    let _lease = Leases::new(&state).lease("child").unwrap();
    let mut store = SqliteStore::open(&state).unwrap();
    for id in ["decided", "taken", "up", "open"] {
        store.ask(&asked(id, 1_000), "child").unwrap();
        store.park(id, UNTIL).unwrap();
        assert!(store.mark(id, "child", id).unwrap());
    }
    for id in ["taken", "up"] {
        store.decide(id, &verdict(Choice::Approve, 2_000)).unwrap();
    }
    assert_eq!(store.take_verdicts("child").unwrap().len(), 2);
    assert!(store.take_up("up", "child").unwrap());
    store
        .decide("decided", &verdict(Choice::Deny, 2_000))
        .unwrap();
    println!("\nready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

#[test]
fn what_a_killed_process_had_parked_is_resumed_and_what_it_had_taken_up_is_not() {
    let mut scene = Scene::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("engines::inbox::store::sqlite::tests::outliving::a_child_parks_and_hangs")
        .env(CHILD, scene.state.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "ready"));
    let _lease = scene.lease("q");
    let resume = |scene: &mut Scene, key: &str| {
        let resumed = scene.store.resume(key, "q", 3_000).unwrap();
        resumed.map(|resumed| resumed.id)
    };
    for id in ["decided", "taken", "up", "open"] {
        assert_eq!(resume(&mut scene, id), None);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for id in ["decided", "taken", "open"] {
        assert_eq!(resume(&mut scene, id).as_deref(), Some(id));
    }
    assert_eq!(resume(&mut scene, "up"), None);
    let told = scene.store.take_verdicts("q").unwrap();
    let mut told: Vec<(&str, Choice)> = told
        .iter()
        .map(|(id, given)| (id.as_str(), given.verdict.choice))
        .collect();
    told.sort_by_key(|(id, _)| *id);
    assert_eq!(
        told,
        [("decided", Choice::Deny), ("taken", Choice::Approve)]
    );
}
