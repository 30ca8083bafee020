//! What remains of a call that no longer waits, in the rows and in the bytes of the files.

use std::fs;

use super::*;

/// Returns true if a text is in one of the store's files at this moment.
fn is_in_files(scene: &Scene, text: &str) -> bool {
    let files = ["inbox.db", "inbox.db-wal"].map(|name| scene.dir.path().join(name));
    files.iter().any(|file| {
        let bytes = fs::read(file).unwrap_or_default();
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    })
}

/// Returns an item with a secret in a call that fills several pages, and the secret.
fn secret_item(id: &str, length: usize) -> (Item, String) {
    let secret = format!("hunter2-{id}");
    let rows = r#""long enough to take a page or two","#.repeat(length);
    let item = Item {
        call: format!(
            r#"{{"name":"t","arguments":{{"rows":[{rows}"end"],"password":"{secret}","pad":"{}"}}}}"#,
            "p".repeat(length % 400),
        ),
        ..asked(id, 1_000)
    };
    (item, secret)
}

#[test]
fn a_call_leaves_the_files_when_its_verdict_is_taken_or_it_is_withdrawn() {
    let mut scene = Scene::new();
    let _lease = scene.lease("p");
    // Another process with the database open, so that the log is not emptied automatically.
    let mut page = scene.other();
    let lengths = [0, 1, 40, 130, 400, 3, 1_000, 77];
    let items: Vec<(Item, String)> = (0..lengths.len())
        .map(|i| secret_item(&format!("i{i}"), lengths[i]))
        .collect();
    for (item, _) in &items {
        scene.store.ask(item, "p").unwrap();
    }
    assert!(items.iter().all(|(_, secret)| is_in_files(&scene, secret)));
    for (i, (item, _)) in items.iter().enumerate() {
        match i % 4 {
            0 => scene
                .store
                .close(&item.id, Closed::Withdrawn, 2_000)
                .unwrap(),
            1 => scene.store.close(&item.id, Closed::Expired, 2_000).unwrap(),
            2 => {
                page.decide(&item.id, &verdict(Choice::Deny, 2_000))
                    .unwrap();
                // Withdrawn before its verdict was taken.
                scene
                    .store
                    .close(&item.id, Closed::Withdrawn, 2_000)
                    .unwrap();
            }
            _ => {
                page.decide(&item.id, &verdict(Choice::Approve, 2_000))
                    .unwrap();
            }
        }
    }
    assert_eq!(scene.store.take_verdicts("p").unwrap().len(), 2);
    scene.store.settle("p").unwrap();
    assert!(scene.store.scrub().unwrap());
    for (item, secret) in &items {
        assert!(!is_in_files(&scene, secret), "{}", item.id);
        let entry = page.find(&item.id).unwrap().unwrap();
        assert!(entry.item.call.contains(r#""password":"[redacted]""#));
    }
    assert!(is_in_files(&scene, "[redacted]"));
}

#[test]
fn the_calls_of_a_process_that_died_leave_the_files_with_the_next_sweep() {
    let mut scene = Scene::new();
    let lease = scene.lease("dead");
    for id in ["waits", "parked", "decided", "taken"] {
        let (item, _) = secret_item(id, 10);
        scene.store.ask(&item, "dead").unwrap();
    }
    scene.store.park("parked", i64::MAX).unwrap();
    let mut page = scene.other();
    for id in ["taken", "decided"] {
        let mut given = verdict(Choice::Deny, 2_000);
        given.verdict.reason = Some(format!("password: hunter2-{id}"));
        page.decide(id, &given).unwrap();
        if id == "taken" {
            assert_eq!(scene.store.take_verdicts("dead").unwrap().len(), 1);
        }
    }
    // Keep its connection, as if others had the database open.
    drop(lease);
    page.sweep(3_000).unwrap();
    assert!(!is_in_files(&scene, "hunter2"));
    let reason = page.find("taken").unwrap().unwrap().verdict.unwrap().reason;
    assert_eq!(reason.as_deref(), Some("password: [redacted]"));
}

#[test]
fn a_verdict_is_taken_as_signed_and_kept_without_secrets() {
    let mut scene = Scene::new();
    let _lease = scene.lease("p");
    scene.store.ask(&item("a"), "p").unwrap();
    let mut given = verdict(Choice::Deny, 2_000);
    given.verdict.reason = Some("not with token=hunter3 please".to_owned());
    given.verdict.fields = Some(r#"{"card":"4711-0815"}"#.to_owned());
    scene.store.decide("a", &given).unwrap();
    let kept = |scene: &mut Scene| {
        scene
            .store
            .find("a")
            .unwrap()
            .unwrap()
            .verdict
            .unwrap()
            .reason
    };
    assert_eq!(
        kept(&mut scene).as_deref(),
        Some("not with token=[redacted] please")
    );
    let taken = scene.store.take_verdicts("p").unwrap();
    assert_eq!(taken, [("a".to_owned(), given)]);
    scene.store.settle("p").unwrap();
    assert!(scene.store.scrub().unwrap());
    assert_eq!(
        kept(&mut scene).as_deref(),
        Some("not with token=[redacted] please")
    );
    assert!(!is_in_files(&scene, "hunter3"));
    assert!(
        !is_in_files(&scene, "4711-0815"),
        "only the proxy keeps answers"
    );
}

#[test]
fn emptying_the_log_waits_for_nobody() {
    let mut scene = Scene::new();
    let (item, secret) = secret_item("a", 10);
    scene.store.ask(&item, "p").unwrap();
    let mut reader = scene.other();
    let tx = reader.db.transaction().unwrap();
    let count: i64 = tx
        .query_row("SELECT count(*) FROM items", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 1);
    scene.store.close("a", Closed::Withdrawn, 2_000).unwrap();
    assert!(!scene.store.scrub().unwrap());
    assert!(is_in_files(&scene, &secret));
    drop(tx);
    assert!(scene.store.scrub().unwrap());
    assert!(!is_in_files(&scene, &secret));
}

#[test]
fn a_store_of_an_older_version_is_upgraded_with_its_waiting_items() {
    for (version, old) in [(1, "ALTER TABLE items DROP COLUMN redacted; "), (2, "")] {
        is_upgraded(version, old);
    }
}

fn is_upgraded(version: i64, old: &str) {
    let mut scene = Scene::new();
    let _lease = scene.lease("p");
    scene.store.ask(&item("a"), "p").unwrap();
    let newer = [
        "items DROP COLUMN title",
        "items DROP COLUMN client_title",
        "items DROP COLUMN engine",
        "items DROP COLUMN approver",
        "items DROP COLUMN resume",
        "items DROP COLUMN form",
        "items DROP COLUMN fields",
        "tokens DROP COLUMN approver",
    ];
    let newer = newer.map(|change| format!("ALTER TABLE {change}; "));
    let old = format!(
        "DROP TABLE keys; DROP INDEX resumes; DROP INDEX resume_ends; {old}{}PRAGMA user_version = {version}",
        newer.concat()
    );
    scene.store.db.execute_batch(&old).unwrap();
    let mut new = scene.other();
    assert_eq!(new.find("a").unwrap().unwrap().item, item("a"));
    new.ask(&item("b"), "p").unwrap();
    for id in ["a", "b"] {
        new.decide(id, &verdict(Choice::Deny, 2_000)).unwrap();
        assert_eq!(new.find(id).unwrap().unwrap().item.call, REDACTED, "{id}");
    }
    // A proxy of the new version can write to it.
    new.ask(&item("d"), "p").unwrap();
    new.park("d", 9_000).unwrap();
    assert!(new.mark("d", "p", "key").unwrap());
    new.leave("d", "p", 2_000).unwrap();
    assert_eq!(new.resume("key", "q", 3_000).unwrap().unwrap().id, "d");
    // Another one finds it upgraded.
    scene.other().ask(&item("c"), "p").unwrap();
}
