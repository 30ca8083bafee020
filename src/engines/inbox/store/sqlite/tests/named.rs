//! Approvers' names, which are stored with verdicts and logins and which older versions do not know.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn named(name: Option<&str>, decided_ms: i64) -> SignedVerdict {
    let mut given = verdict(Choice::Approve, decided_ms);
    given.verdict.approver = name.map(str::to_owned);
    given
}

fn approver_of(store: &mut SqliteStore, id: &str) -> Option<String> {
    let entry = store.find(id).unwrap().unwrap();
    entry.verdict.unwrap().approver
}

#[test]
fn a_secret_in_place_of_a_name_leaves_the_store_like_one_in_a_reason() {
    let mut scene = Scene::new();
    let _lease = scene.lease("p");
    let pattern = regex::Regex::new("EMP-[0-9]+").unwrap();
    let redaction = Redaction::with(Vec::new(), vec![pattern]);
    let mut asking = scene.other().redacting(redaction);
    asking.ask(&item("a"), "p").unwrap();
    let name = "EMP-12 token=hunter2";
    let given = named(Some(name), 2_000);
    scene.store.decide("a", &given).unwrap();
    let shown = approver_of(&mut scene.store, "a");
    assert_eq!(shown.as_deref(), Some("EMP-12 token=[redacted]"));
    // The signature covers the name as it was typed.
    let taken = asking.take_verdicts("p").unwrap();
    assert_eq!(taken, [("a".to_owned(), given)]);
    asking.settle("p").unwrap();
    let mut decided = elsewhere("b", 2_000);
    decided.verdict.approver = Some(name.to_owned());
    asking.record(&[decided]).unwrap();
    let sql = "SELECT approver FROM items WHERE id = ?";
    for id in ["a", "b"] {
        let kept: String = scene
            .store
            .db
            .query_row(sql, [id], |row| row.get(0))
            .unwrap();
        assert_eq!(kept, "[redacted] token=[redacted]", "{id}");
    }
}

#[test]
fn a_name_that_did_not_count_is_no_longer_in_the_file() {
    let mut scene = Scene::new();
    let _lease = scene.lease("p");
    scene.store.ask(&asked("a", 1_000), "p").unwrap();
    scene.store.decide("a", &named(Some("Zoë"), 2_000)).unwrap();
    scene.store.take_verdicts("p").unwrap();
    scene.store.reopen("a").unwrap();
    let sql = "SELECT approver FROM items WHERE id = 'a'";
    let left: Option<String> = scene.store.db.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(left, None);
}

/// A database of version 3 with four questions, one decision of another engine, and a login.
const VERSION_3: &str = include_str!("version-3.sql");

/// A folder with a file of version 3.
fn version_3() -> (TempDir, StateDir) {
    let (dir, state) = for_test();
    let path = dir.path().join("inbox.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;")
        .unwrap();
    db.execute_batch(VERSION_3).unwrap();
    db.execute_batch("PRAGMA application_id = 1634759288; PRAGMA user_version = 3;")
        .unwrap();
    drop(db);
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    (dir, state)
}

#[test]
fn a_file_of_version_3_is_upgraded_with_all_its_content() {
    let (_dir, state) = version_3();
    let mut store = SqliteStore::open(&state).unwrap();
    let (waiting, count) = store.waiting(9).unwrap();
    assert_eq!((ids(&waiting), count), (vec!["waits"], 1));
    let history = store.history(&Filter::default(), 9).unwrap();
    assert_eq!(ids(&history), ["closed", "taken", "decided", "elsewhere"]);
    for entry in &history {
        let name = entry.verdict.as_ref().and_then(|it| it.approver.as_ref());
        assert_eq!(name, None, "{}", entry.item.id);
    }
    let mut logins = SqliteLogins::new(&state);
    assert!(logins.has_token(Token::Session, &[1; 32], 0).unwrap());
    // A verdict that was not delivered yet still arrives, with its signature.
    let taken = store.take_verdicts("p").unwrap();
    assert_eq!(taken, [("decided".to_owned(), named(None, 2_001))]);
    // From now on, names are stored.
    store.decide("waits", &named(Some("Ann"), 3_000)).unwrap();
    logins
        .set_approver(Token::Session, &[1; 32], "Ann")
        .unwrap();
    let mut again = SqliteStore::open(&state).unwrap();
    assert_eq!(approver_of(&mut again, "waits").as_deref(), Some("Ann"));
    let name = SqliteLogins::new(&state)
        .approver(Token::Session, &[1; 32])
        .unwrap();
    assert_eq!(name.as_deref(), Some("Ann"));
    let version = |db: &Connection| -> i64 {
        db.pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap()
    };
    assert_eq!(version(&again.db), schema::VERSION);
}

#[test]
fn a_process_of_version_3_with_the_file_open_can_continue() {
    let (dir, state) = version_3();
    let old = Connection::open(dir.path().join("inbox.db")).unwrap();
    let count = |sql: &str| -> i64 { old.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(count("SELECT count(*) FROM items"), 5);
    let mut store = SqliteStore::open(&state).unwrap();
    // It decides, logs in and takes verdicts with the columns that it knows.
    old.execute_batch(
        "UPDATE items SET state = 'denied', open = 0, due_ms = NULL, closed_ms = 5000, \
         decided_ms = 5000, reason = NULL, cover_ms = 0, assurance = 'inbox-session', \
         signature = NULL, whole = call, redacted = NULL, delivery = 1 WHERE id = 'waits'; \
         INSERT OR REPLACE INTO tokens (kind, hash, until_ms) VALUES ('session', x'02', 9);",
    )
    .unwrap();
    let entry = store.find("waits").unwrap().unwrap();
    assert_eq!(entry.state, State::Decided(Choice::Deny));
    assert_eq!(entry.verdict.unwrap().approver, None);
    store.ask(&item("new"), "p").unwrap();
    store.decide("new", &named(Some("Ann"), 2_000)).unwrap();
    let sql = "SELECT count(*) FROM items WHERE id = 'new' AND state = 'approved' AND delivery = 1";
    assert_eq!(count(sql), 1);
}
