//! Dead processes, full disks, locks, damage, and access by other users.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Command, Stdio};

use super::*;
use crate::engines::inbox::store::MAX_HISTORY;

const CHILD: &str = "APPROVAL_TEST_STATE_DIR";

/// Not a test: the next test starts it as a proxy that asks and then waits to be killed.
#[test]
fn a_child_asks_and_decides_and_hangs() {
    let Some(dir) = std::env::var_os(CHILD) else {
        return;
    };
    let state = StateDir::open(Path::new(&dir)).unwrap();
    let _lease = Leases::new(&state).lease("child").unwrap();
    let mut store = SqliteStore::open(&state).unwrap();
    store.ask(&asked("waits", 1_000), "child").unwrap();
    store.ask(&asked("decided", 1_000), "child").unwrap();
    let yes = verdict(Choice::Approve, 2_000);
    store.decide("decided", &yes).unwrap();
    println!("\nready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

#[test]
fn verdicts_of_a_killed_process_stay_and_its_waiting_items_expire() {
    let mut scene = Scene::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("engines::inbox::store::sqlite::tests::failures::a_child_asks_and_decides_and_hangs")
        .env(CHILD, scene.state.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "ready"));
    scene.store.sweep(3_000).unwrap();
    assert_eq!(scene.state_of("waits"), State::Waiting);
    child.kill().unwrap();
    child.wait().unwrap();
    let lock = scene.dir.path().join("proxies/child.lock");
    assert!(lock.exists());
    let idle = scene.dir.path().join("proxies/idle.lock");
    fs::write(&idle, "").unwrap();
    scene.store.sweep(4_000).unwrap();
    assert_eq!(scene.state_of("waits"), State::Closed(Closed::Expired));
    assert_eq!(scene.state_of("decided"), State::Decided(Choice::Approve));
    assert!(!lock.exists() && !idle.exists());
}

#[test]
fn a_change_is_on_disk_before_others_see_it() {
    let scene = Scene::new();
    let setting = |name: &str| {
        let sql = format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}");
        let value = scene.store.db.query_row(&sql, [], |row| row.get(0));
        value.unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let settings: [String; 2] = ["synchronous", "journal_mode"].map(setting);
    assert_eq!(settings, ["2", "wal"]);
}

#[test]
fn a_thousand_items_can_wait_and_one_beyond_the_limit_is_refused() {
    let mut scene = Scene::new();
    let lease = scene.lease("p");
    let fill = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) \
         INSERT INTO items (id, proxy, state, server, tool, tool_key, risk, why, question, hints, \
         digest, asked_ms, call, closed_ms, decided_ms, cover_ms, assurance, open) \
         SELECT ?2 || i, 'p', ?3, 's', 't', 't', 'high', '', '', '', '', i, '{}', ?4, ?4, 0, 'inbox-session', \
         ?4 IS NULL FROM n";
    let rows = |state: &str, count: usize, closed: Option<i64>| {
        let values = (to_limit(count), state, state, closed);
        scene.store.db.execute(fill, values).unwrap();
    };
    rows("waiting", MAX_WAITING - 1, None);
    rows("denied", MAX_HISTORY + 1, Some(1_000));
    let start = crate::sys::clock::Clock::start();
    scene.store.ask(&asked("last", 20_000), "p").unwrap();
    let error = scene.store.ask(&asked("more", 20_000), "p").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Full);
    let (some, all) = scene.store.waiting(100).unwrap();
    assert_eq!(
        (some.len(), all, some[0].item.id.as_str()),
        (100, MAX_WAITING, "waiting1")
    );
    let filter = Filter {
        state: Some("denied".to_owned()),
        tool: Some("T".to_owned()),
        ..Filter::default()
    };
    assert_eq!(scene.store.history(&filter, 100).unwrap().len(), 100);
    println!("took {:?}", start.now().elapsed);
    scene.store.sweep(HISTORY_MS).unwrap();
    let history = |scene: &mut Scene| scene.store.history(&Filter::default(), 20_000).unwrap();
    assert_eq!(history(&mut scene).len(), MAX_HISTORY);
    scene.store.sweep(HISTORY_MS + 1_000).unwrap();
    assert_eq!(history(&mut scene), []);
    assert_eq!(scene.store.waiting(0).unwrap().1, MAX_WAITING);
    drop(lease);
    scene.store.sweep(HISTORY_MS + 1_000).unwrap();
    assert_eq!(scene.store.waiting(0).unwrap().1, 0);
}

#[test]
fn frequent_queries_use_an_index_without_sorting() {
    let scene = Scene::new();
    for sql in [
        COUNT_OPEN,
        HAS_VERDICTS,
        OPEN,
        CLOSED,
        sweeping::LATE,
        sweeping::ITS_OWN,
        sweeping::PROXIES,
        sweeping::OLD,
        resuming::CANDIDATES,
        resuming::LEFT_BEHIND,
        resuming::LAPSED,
        resuming::IS_ANY,
    ] {
        let mut plan = scene
            .store
            .db
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        let mut rows = plan.raw_query();
        let mut steps = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            steps.push(row.get::<_, String>("detail").unwrap());
        }
        // The index must also provide the list's order.
        let is_sorted = |step: &str| sql.contains("ORDER BY") && step.contains("FOR ORDER BY");
        let reads_rows = |step: &str| step.contains(" items ") && !step.contains(" COVERING ");
        let is_fast = |step: &String| !is_sorted(step) && !reads_rows(step);
        assert!(steps.iter().all(is_fast), "{sql}: {steps:?}");
    }
}

#[test]
fn a_foreign_or_truncated_database_is_damaged() {
    let scene = Scene::new();
    let path = scene.dir.path().join("inbox.db");
    let state = scene.state.clone();
    let dir = scene.dir;
    let mut store = scene.store;
    for i in 0..100 {
        store.ask(&item(&i.to_string()), "p").unwrap();
    }
    drop(store);
    let good = fs::read(&path).unwrap();
    let mut scrambled = good.clone();
    for byte in scrambled.iter_mut().skip(200) {
        *byte = byte.wrapping_mul(31).wrapping_add(7);
    }
    for bad in [
        &b""[..],
        b"garbage",
        &[0xA5; 10_000],
        &good[..good.len() / 2],
        &scrambled,
    ] {
        fs::write(&path, bad).unwrap();
        let used = SqliteStore::open(&state).and_then(|mut store| store.waiting(10));
        assert_eq!(used.unwrap_err().kind, ErrorKind::Damaged, "{}", bad.len());
    }
    // As the message says: after it is moved away, a new database is created, whatever logs remain.
    fs::rename(&path, dir.path().join("old.db")).unwrap();
    fs::write(dir.path().join("inbox.db-wal"), &good).unwrap();
    let mut store = SqliteStore::open(&state).unwrap();
    assert_eq!(store.waiting(10).unwrap().1, 0);
}

#[test]
fn an_invalid_row_is_damage() {
    let mut scene = Scene::new();
    scene.store.ask(&item("a"), "p").unwrap();
    scene
        .store
        .db
        .execute("UPDATE items SET risk = 'none'", [])
        .unwrap();
    assert_eq!(scene.store.find("a").unwrap_err().kind, ErrorKind::Damaged);
}

#[test]
fn a_database_of_a_newer_version_or_another_program_is_not_touched() {
    let scene = Scene::new();
    let set = |name: &str, value: i64| scene.store.db.pragma_update(None, name, value).unwrap();
    let kind = || SqliteStore::open(&scene.state).unwrap_err().kind;
    set("user_version", schema::VERSION + 1);
    assert_eq!(kind(), ErrorKind::Newer);
    set("application_id", 1);
    assert_eq!(kind(), ErrorKind::Damaged);
}

#[test]
fn a_locked_database_fails_after_a_second_and_can_still_be_read() {
    let mut scene = Scene::new();
    scene.store.ask(&item("a"), "p").unwrap();
    let other = scene.other();
    other.db.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let clock = crate::sys::clock::Clock::start();
    let given = verdict(Choice::Approve, 2_000);
    let error = scene.store.decide("a", &given).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Locked);
    assert!(clock.now().elapsed < Duration::from_secs(3));
    assert_eq!(scene.state_of("a"), State::Waiting);
    assert_eq!(scene.store.take_verdicts("p").unwrap(), []);
    SqliteStore::open(&scene.state).unwrap();
    other.db.execute_batch("ROLLBACK").unwrap();
    assert_eq!(scene.store.decide("a", &given).unwrap(), Decided::Recorded);
}

#[test]
fn on_a_full_disk_no_change_is_partial_and_decisions_free_space() {
    let mut scene = Scene::new();
    let limit = |store: &SqliteStore, pages: i64| {
        let sql = format!("PRAGMA max_page_count = {pages}");
        store.db.query_row(&sql, [], |_| Ok(())).unwrap();
    };
    let large = |id: &str| Item {
        call: format!("{:?}", "x".repeat(100_000)),
        ..item(id)
    };
    scene.store.ask(&large("a"), "p").unwrap();
    limit(&scene.store, 1);
    let error = scene.store.ask(&large("b"), "p").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Full);
    assert_eq!(scene.store.waiting(10).unwrap().1, 1);
    assert_eq!(scene.store.find("b").unwrap(), None);
    scene.store.close("a", Closed::Withdrawn, 2_000).unwrap();
    scene.store.ask(&large("b"), "p").unwrap();
    assert_eq!(scene.state_of("b"), State::Waiting);
}

#[test]
fn files_are_for_their_owner_only_and_refused_if_they_are_not() {
    let mut scene = Scene::new();
    let _lease = scene.lease("p");
    scene.store.ask(&item("a"), "p").unwrap();
    let names = [
        "inbox.db",
        "inbox.db-wal",
        "inbox.db-shm",
        "inbox.lock",
        "proxies/p.lock",
    ];
    for name in names {
        let mode = fs::metadata(scene.dir.path().join(name)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    for name in ["inbox.db", "inbox.db-wal", "inbox.db-shm"] {
        let path = scene.dir.path().join(name);
        for mode in [0o640, 0o604, 0o620, 0o602] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = SqliteStore::open(&scene.state).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Exposed, "{name} {mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    SqliteStore::open(&scene.state).unwrap();
}

#[test]
fn a_symbolic_link_in_place_of_the_database_is_not_followed() {
    let scene = Scene::new();
    let path = scene.dir.path().join("inbox.db");
    let moved = scene.dir.path().join("moved.db");
    fs::rename(&path, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &path).unwrap();
    let error = SqliteStore::open(&scene.state).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unusable);
}
