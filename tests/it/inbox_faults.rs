//! An unusable inbox: gated calls are refused with advice for the operator, and all others go on.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Value, json};

use super::support::{ProxyTest, Session, Terminal, eventually};

/// Longer than anybody should wait for the error.
const LONGEST: Duration = Duration::from_secs(8);

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A gated call is refused soon, and other calls run. The reason contains these words in the log and on
/// stderr, but not in the refusal: an agent must not try to fix the inbox.
fn refuses(session: &mut Session, words: &[&str]) {
    let start = Instant::now();
    let refusal = session.is_refused("wipe", json!({"marker": 1}));
    assert!(start.elapsed() < LONGEST, "{:?}", start.elapsed());
    let output = "the approval inbox cannot be used";
    assert!(refusal.contains(output), "{refusal}");
    let lines = session.decisions();
    let line = lines.iter().rev().find(|line| line["tool"] == "wipe");
    let line = line.unwrap();
    for word in words {
        assert!(!refusal.contains(word), "{word}: {refusal}");
        let reason = line["reason"].as_str().unwrap();
        assert!(reason.contains(word), "{word}: {reason}");
        session.stderr_says(word);
    }
    session.passes("read", json!({}));
    assert_eq!(session.runs_of("wipe"), 0);
    assert!(
        !session.stderr().contains("panicked"),
        "{}",
        session.stderr()
    );
}

/// A gated call waits and runs when it is approved.
fn waits(session: &mut Session) {
    let before = session.runs_of("wipe");
    let call = session.call("wipe", json!({}));
    let terminal = session.terminal();
    terminal.approve(&terminal.wait_for_item("wipe"));
    session.expect_ran(call);
    assert_eq!(session.runs_of("wipe"), before + 1);
}

#[test]
fn with_a_corrupt_store_gated_calls_are_refused_until_the_file_is_moved_away() {
    let test = ProxyTest::with_inbox();
    let state = test.path("state");
    fs::create_dir(&state).unwrap();
    set_mode(&state, 0o700);
    let file = state.join("inbox.db");
    fs::write(&file, "this is no database\n".repeat(1_000)).unwrap();
    set_mode(&file, 0o600);
    let mut session = test.start_without_elicitation();
    for _ in 0..2 {
        refuses(&mut session, &[file.to_str().unwrap(), "move it away"]);
    }
    let line = session.decisions().remove(0);
    assert_eq!(
        (&line["decision"], &line["forwarded"]),
        (&json!("error"), &json!(false))
    );
    session.stderr_says("inbox.db");
    let output = session.terminal().approvals(&["list"]);
    assert_eq!(output.code, Some(3), "{output:?}");
    assert!(output.err.contains("move it away"), "{output:?}");
    fs::rename(&file, state.join("moved.db")).unwrap();
    waits(&mut session);
    session.finish();
}

// Somebody may follow the advice "move it away" between two questions, while the proxy runs.
#[test]
fn a_store_that_was_moved_away_between_two_questions_is_recreated() {
    let mut session = ProxyTest::with_inbox().start_without_elicitation();
    waits(&mut session);
    let state = session.path("state");
    fs::rename(state.join("inbox.db"), state.join("moved.db")).unwrap();
    waits(&mut session);
    fs::remove_dir_all(&state).unwrap();
    waits(&mut session);
    session.finish();
}

#[test]
fn if_the_store_is_corrupted_while_a_call_waits_the_call_is_refused_and_moving_the_store_away_helps()
 {
    let mut session = ProxyTest::with_inbox().start_without_elicitation();
    waits(&mut session);
    let state = session.path("state");
    let call = session.call("wipe", json!({"marker": 1}));
    session.terminal().wait_for_items(1);
    for name in ["inbox.db", "inbox.db-wal"] {
        fs::write(state.join(name), "this is no database\n".repeat(10_000)).unwrap();
    }
    // Another process uses the corrupt store, too.
    let output = session.terminal().approvals(&["list"]);
    assert_ne!(output.code, Some(0), "{output:?}");
    let next = session.call("wipe", json!({"marker": 2}));
    for call in [next, call] {
        let refusal = session.refusal(call);
        assert!(refusal.contains("inbox cannot be used"), "{refusal}");
    }
    session.stderr_says("inbox.db");
    let lines = session.decisions();
    let refused = lines.iter().filter(|line| line["decision"] == "error");
    let is_told = |line: &Value| line["reason"].as_str().unwrap().contains("inbox.db");
    assert_eq!(refused.filter(|line| is_told(line)).count(), 2, "{lines:?}");
    session.passes("read", json!({}));
    assert!(!session.has_recorded("marker"));
    for name in ["inbox.db", "inbox.db-wal", "inbox.db-shm"] {
        let _ = fs::remove_file(state.join(name));
    }
    waits(&mut session);
    session.finish();
}

#[test]
fn gated_calls_are_refused_if_the_store_stays_locked_but_not_if_it_is_locked_briefly() {
    let mut session = ProxyTest::with_inbox().start_without_elicitation();
    // Creates the database.
    session.terminal().open_items();
    let other = Connection::open(session.path("state").join("inbox.db")).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    refuses(&mut session, &["inbox.db", "locked"]);
    let call = session.call("wipe", json!({}));
    session.passes("read", json!({}));
    other.execute_batch("COMMIT").unwrap();
    let terminal = session.terminal();
    terminal.approve(&terminal.wait_for_item("wipe"));
    session.expect_ran(call);
    // If the store is locked while a call waits, the call keeps waiting.
    let call = session.call("wipe", json!({}));
    let id = terminal.wait_for_item("wipe");
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let output = terminal.approvals(&["approve", &id]);
    assert_eq!(output.code, Some(3), "{output:?}");
    assert!(output.err.contains("locked"), "{output:?}");
    other.execute_batch("COMMIT").unwrap();
    terminal.approve(&id);
    session.expect_ran(call);
    session.finish();
}

#[test]
fn a_standalone_inbox_reports_at_once_what_is_wrong_with_its_store() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let terminal = Terminal::at(&state);
    // Creates the database.
    terminal.open_items();
    let other = Connection::open(state.join("inbox.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let inbox = terminal.inbox("0");
    eventually("the inbox says what is wrong", || {
        inbox.stderr().contains("another process has locked it")
    });
    other.execute_batch("COMMIT").unwrap();
}

#[test]
fn gated_calls_are_refused_with_advice_if_others_may_write_to_the_folder() {
    let test = ProxyTest::with_inbox();
    let state = test.path("state");
    fs::create_dir(&state).unwrap();
    set_mode(&state, 0o770);
    let mut session = test.start_without_elicitation();
    // The warning comes before the first refusal.
    session.stderr_says("calls that need the approval inbox will be refused");
    refuses(&mut session, &[state.to_str().unwrap(), "chmod go-rwx"]);
    let output = session.terminal().approvals(&["list"]);
    assert_eq!(output.code, Some(3), "{output:?}");
    assert!(output.err.contains("chmod go-rwx"), "{output:?}");
    // Others may have removed the passphrase meanwhile. The proxy cannot know, so it says that it
    // must be restarted.
    set_mode(&state, 0o700);
    refuses(&mut session, &["start approval-proxy again"]);
    session.finish();
}

#[test]
fn gated_calls_are_refused_while_others_may_write_to_the_store() {
    let mut session = ProxyTest::with_inbox().start_without_elicitation();
    let state = session.path("state");
    let file = state.join("inbox.db");
    session.terminal().open_items();
    set_mode(&file, 0o666);
    refuses(&mut session, &[file.to_str().unwrap(), "chmod go-rwx"]);
    set_mode(&file, 0o600);
    waits(&mut session);
    session.finish();
}

#[test]
fn gated_calls_are_refused_with_advice_if_there_is_no_usable_folder() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let inside = file.path().join("state");
    for folder in [
        inside.to_str().unwrap(),
        file.path().to_str().unwrap(),
        "/proc/no/state",
    ] {
        let mut session = ProxyTest::with_inbox()
            .env("APPROVAL_STATE_DIR", folder)
            .start_without_elicitation();
        refuses(&mut session, &[folder, "--state-dir"]);
        session.finish();
    }
    let test = ["APPROVAL_STATE_DIR", "XDG_STATE_HOME", "HOME"]
        .iter()
        .fold(ProxyTest::with_inbox(), |test, name| test.env(name, ""));
    let mut session = test.start_without_elicitation();
    refuses(&mut session, &["--state-dir"]);
    session.finish();
}

#[test]
fn gated_calls_are_refused_if_the_passphrase_file_is_invalid() {
    let test = ProxyTest::with_inbox();
    let state = test.path("state");
    fs::create_dir(&state).unwrap();
    set_mode(&state, 0o700);
    let file = state.join("passphrase.json");
    fs::write(&file, "{}").unwrap();
    set_mode(&file, 0o600);
    let mut session = test.start_without_elicitation();
    refuses(&mut session, &[file.to_str().unwrap()]);
    session.finish();
}
