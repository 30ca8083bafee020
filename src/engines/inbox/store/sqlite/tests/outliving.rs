//! Parked items that outlive their session: which proxy resumes one, with which verdict, and what remains in the files.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use super::*;

const CHILD: &str = "APPROVAL_TEST_RESUME_DIR";

impl Scene {
    fn park(&mut self, id: &str, proxy: &str) {
        conformance::park(&mut self.store, id, proxy);
    }

    fn decide(&mut self, id: &str, choice: Choice) -> SignedVerdict {
        conformance::decide(&mut self.store, id, choice)
    }

    fn resume(&mut self, proxy: &str, now_ms: i64) -> Option<String> {
        conformance::resume(&mut self.store, proxy, now_ms)
    }

    fn is_flagged(&self) -> bool {
        is_flagged(self.dir.path())
    }
}

#[test]
fn nobody_resumes_an_expired_item_and_a_sweep_forgets_its_verdict() {
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
    // Long after a verdict is usually settled, but before the item expires: nothing is lost.
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
fn a_verdict_about_an_approval_is_kept_for_weeks_after_its_time() {
    let mut scene = Scene::new();
    let alive = scene.lease("p");
    let _other = scene.lease("q");
    for id in ["open", "decided", "fetched", "taken"] {
        scene.store.ask(&asked(id, 1_000), "p").unwrap();
        scene.store.park(id, UNTIL).unwrap();
        let key = format!("{LASTING}{id}");
        assert!(scene.store.mark(id, "p", &key).unwrap());
    }
    for id in ["decided", "fetched"] {
        scene.decide(id, Choice::Approve);
    }
    drop(alive);
    let given = scene.decide("taken", Choice::Deny);
    let late = UNTIL + KEPT_MS - 1;
    scene.store.sweep(late).unwrap();
    let mut resume = |id: &str, now_ms| {
        let found = scene.store.resume(&format!("{LASTING}{id}"), "q", now_ms);
        found.unwrap().map(|found| found.is_decided)
    };
    // Nobody decided in time.
    assert_eq!(resume("open", late), None);
    for id in ["fetched", "taken"] {
        assert_eq!(resume(id, late), Some(true), "{id}");
    }
    let verdicts = scene.store.take_verdicts("q").unwrap();
    assert_eq!(verdicts.len(), 2);
    assert!(verdicts.contains(&("taken".to_owned(), given)));
    assert!(scene.store.take_up("taken", "q").unwrap());
    scene.store.sweep(UNTIL + KEPT_MS).unwrap();
    let found = scene.store.resume(&format!("{LASTING}decided"), "q", 0);
    assert_eq!(found.unwrap(), None);
    assert!(!scene.is_flagged());
}

#[test]
fn a_marked_item_changed_by_an_older_version_is_not_resumed() {
    let mut scene = Scene::new();
    let _leases = ["p", "q"].map(|proxy| scene.lease(proxy));
    for id in ["expired", "settled", "reopened"] {
        scene.park(id, "p");
    }
    scene.decide("settled", Choice::Approve);
    scene.decide("reopened", Choice::Approve);
    // The older version names only the columns that it knows.
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
fn the_flag_exists_while_an_item_is_marked_and_only_its_owner_can_read_it() {
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
fn an_item_is_not_marked_if_the_flag_cannot_be_created() {
    let mut scene = Scene::new();
    let _lease = scene.lease("p");
    scene.store.ask(&asked("a", 1_000), "p").unwrap();
    scene.store.park("a", UNTIL).unwrap();
    // The flag cannot be created here.
    scene.store.dir = StateDir::open(&scene.dir.path().join("gone")).unwrap();
    fs::remove_dir(scene.dir.path().join("gone")).unwrap();
    assert!(scene.store.mark("a", "p", "key").is_err());
    assert!(!scene.store.take_up("a", "p").unwrap());
}

#[test]
fn a_verdict_stays_as_signed_until_its_item_is_taken_up_and_is_redacted_then() {
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
    let taken = scene.store.take_verdicts("q").unwrap();
    assert_eq!(taken, [("a".to_owned(), given)]);
    let shown = |scene: &mut Scene| {
        let entry = scene.store.find("a").unwrap().unwrap();
        entry.verdict.unwrap().reason.unwrap()
    };
    let kept = |scene: &Scene| -> String {
        let sql = "SELECT reason FROM items";
        scene.store.db.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    // The secret is not shown, although the text is still stored.
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

/// Not a test: the next test starts it as a proxy that parks and then waits to be killed.
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
fn parked_items_of_a_killed_process_are_resumed_and_taken_up_ones_are_not() {
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
    let taken = scene.store.take_verdicts("q").unwrap();
    let mut taken: Vec<(&str, Choice)> = taken
        .iter()
        .map(|(id, given)| (id.as_str(), given.verdict.choice))
        .collect();
    taken.sort_by_key(|(id, _)| *id);
    assert_eq!(
        taken,
        [("decided", Choice::Deny), ("taken", Choice::Approve)]
    );
}
