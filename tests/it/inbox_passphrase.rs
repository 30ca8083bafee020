//! The passphrase: a program that can write to the user's files but does not know it decides nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use approval_proxy::approval::item::{Assurance, Choice, Item, Verdict};
use approval_proxy::engines::inbox::passphrase::{Signer, set, unlock};
use approval_proxy::engines::inbox::store::{Decided, SignedVerdict};
use approval_proxy::sys::secret::Secret;
use serde_json::{Value, json};

use super::support::{ProxyTest, Session, Terminal, eventually};

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

/// A yes as somebody who knows the passphrase would give it now.
fn yes() -> Verdict {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Verdict {
        fields: None,
        choice: Choice::Approve,
        reason: None,
        cover: Duration::ZERO,
        assurance: Assurance::InboxPassphrase,
        approver: None,
        decided_ms: i64::try_from(now.as_millis()).unwrap(),
    }
}

/// Writes a verdict into the store, as any program of this user can.
fn write(terminal: &Terminal, item: &Value, verdict: Verdict, signature: Option<Vec<u8>>) {
    let signed = SignedVerdict {
        verdict,
        signature,
        engine: None,
    };
    let id = item["id"].as_str().unwrap();
    let decided = terminal.store().decide(id, &signed).unwrap();
    assert_eq!(decided, Decided::Recorded);
}

/// Returns the item from the store.
fn shown(terminal: &Terminal, item: &Value) -> Item {
    let found = terminal.store().find(item["id"].as_str().unwrap());
    found.unwrap().unwrap().item
}

fn signature(signer: &Signer, shown: &Item, verdict: &Verdict) -> Option<Vec<u8>> {
    Some(signer.sign(&shown.id, &shown.fingerprint(), verdict, None))
}

/// Checks that nothing has run, the operator was warned, and the item is open as before.
fn counts_for_nothing(session: &mut Session, terminal: &Terminal, item: &Value, times: usize) {
    let warning = format!(
        "about item {}: it was not made with the passphrase",
        item["id"].as_str().unwrap()
    );
    eventually("the operator is warned", || {
        session.stderr().matches(&warning).count() == times
    });
    let mut again = terminal.wait_for_items(1).remove(0);
    assert_eq!(again["disregarded"], json!(true));
    again["disregarded"] = json!(false);
    assert_eq!(again, *item);
    let mut tried = session.log();
    tried.retain(|line| line["event"] == "disregarded_verdict");
    assert_eq!(tried.len(), times);
    let about = tried.iter().map(|line| (&line["item"], &line["choice"]));
    assert!(about.eq(vec![(&item["id"], &json!("approve")); times]));
    session.sync();
    assert_eq!(session.runs_of("wipe"), 0);
}

#[test]
fn only_verdicts_signed_with_the_passphrase_count() {
    let test = ProxyTest::with_inbox().flags(["--timeout", "0"]);
    let terminal = Terminal::at(&test.path("state"));
    let dir = terminal.state_dir();
    set(&dir, None, &secret("correct horse")).unwrap();
    let mut session = test.start_without_elicitation();
    let call = session.call("wipe", json!({"n": 1}));
    let item = terminal.wait_for_items(1).remove(0);

    write(&terminal, &item, yes(), None);
    counts_for_nothing(&mut session, &terminal, &item, 1);
    let modest = Verdict {
        assurance: Assurance::InboxTerminal,
        ..yes()
    };
    write(&terminal, &item, modest, None);
    counts_for_nothing(&mut session, &terminal, &item, 2);
    write(&terminal, &item, yes(), Some(vec![0; 64]));
    counts_for_nothing(&mut session, &terminal, &item, 3);

    let signer = unlock(&dir, &secret("correct horse")).unwrap();
    // A verdict signed for another call, and one that was changed after it was signed.
    let asked = shown(&terminal, &item);
    let other = Item {
        digest: "0".repeat(64),
        ..asked.clone()
    };
    let verdict = yes();
    let signed = signature(&signer, &other, &verdict);
    write(&terminal, &item, verdict, signed);
    counts_for_nothing(&mut session, &terminal, &item, 4);
    let verdict = yes();
    let signed = signature(&signer, &asked, &verdict);
    let longer = Verdict {
        cover: Duration::from_secs(600),
        ..verdict
    };
    write(&terminal, &item, longer, signed);
    counts_for_nothing(&mut session, &terminal, &item, 5);
    // A signature with another passphrase than the one that the proxy knows.
    let known = secret("correct horse");
    set(&dir, Some(&known), &secret("mine now")).unwrap();
    let thief = unlock(&dir, &secret("mine now")).unwrap();
    let verdict = yes();
    let signed = signature(&thief, &asked, &verdict);
    write(&terminal, &item, verdict, signed);
    counts_for_nothing(&mut session, &terminal, &item, 6);
    // The passphrase file is gone.
    std::fs::remove_file(dir.path().join("passphrase.json")).unwrap();
    let output = terminal.approvals(&["approve", item["id"].as_str().unwrap()]);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.out.is_empty(), "{output:?}");
    assert!(output.err.contains("does not count"), "{output:?}");
    let shown = terminal.approvals(&["show", item["id"].as_str().unwrap()]);
    assert!(shown.out.contains("somebody else has tried"), "{shown:?}");
    counts_for_nothing(&mut session, &terminal, &item, 7);

    let verdict = yes();
    let signed = signature(&signer, &asked, &verdict);
    write(&terminal, &item, verdict, signed);
    session.expect_ran(call);
    let line = session.decision("wipe");
    assert_eq!(
        (&line["decision"], &line["assurance"]),
        (&json!("approved"), &json!("inbox-passphrase"))
    );
    assert_eq!(session.runs_of("wipe"), 1);
    session.finish();
}

#[test]
fn approving_a_tampered_item_does_not_let_its_call_run() {
    let test = ProxyTest::with_inbox().flags(["--timeout", "0"]);
    let terminal = Terminal::at(&test.path("state"));
    let dir = terminal.state_dir();
    set(&dir, None, &secret("correct horse")).unwrap();
    let mut session = test.start_without_elicitation();
    session.call("wipe", json!({"n": 1}));
    let item = terminal.wait_for_items(1).remove(0);
    // Attack: a program that can write to the store shows something harmless with the same digest.
    let store = rusqlite::Connection::open(dir.path().join("inbox.db")).unwrap();
    let sql = "UPDATE items SET tool = 'read', call = ?";
    store.execute(sql, [r#"{"name":"read"}"#]).unwrap();
    let harmless = terminal.wait_for_items(1).remove(0);
    assert_eq!(
        (&harmless["tool"], &harmless["digest"]),
        (&json!("read"), &item["digest"])
    );
    let signer = unlock(&dir, &secret("correct horse")).unwrap();
    let verdict = yes();
    let signed = signature(&signer, &shown(&terminal, &item), &verdict);
    write(&terminal, &item, verdict, signed);
    counts_for_nothing(&mut session, &terminal, &harmless, 1);
    session.finish();
}

#[test]
fn the_terminal_asks_for_the_passphrase_and_a_wrong_one_decides_nothing() {
    let test = ProxyTest::with_inbox().flags(["--timeout", "0"]);
    let terminal = Terminal::at(&test.path("state"));
    let mut setting = terminal.command(&["inbox", "--set-passphrase"]);
    let path = test.path("both");
    std::fs::write(&path, "correct horse\ncorrect horse\n").unwrap();
    let ended = setting.stdin(std::fs::File::open(path).unwrap()).output();
    let ended = ended.unwrap();
    let output = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{output}");
    assert!(!output.contains("correct horse"), "{output}");
    let mut session = test.start_without_elicitation();
    let call = session.call("wipe", json!({"n": 1}));
    let id = terminal.wait_for_item("wipe");
    for (passphrase, why) in [
        ("wrong\n", "the passphrase is wrong"),
        ("\n", "no passphrase was given"),
        ("", "no passphrase was given"),
    ] {
        let output = terminal.approvals_with_stdin(&["approve", &id], passphrase);
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.err.contains(why), "{output:?}");
        assert!(output.out.is_empty(), "{output:?}");
    }
    // Listing needs no passphrase.
    assert_eq!(terminal.wait_for_item("wipe"), id);
    assert_eq!(session.runs_of("wipe"), 0);
    let output = terminal.approvals_with_stdin(
        &["approve", &id, "--reason", "fine", "--for", "1"],
        "correct horse\n",
    );
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        !format!("{output:?}").contains("correct horse"),
        "{output:?}"
    );
    session.expect_ran(call);
    let line = session.decision("wipe");
    assert_eq!(
        (&line["assurance"], &line["reason"]),
        (&json!("inbox-passphrase"), &json!("fine"))
    );
    session.finish();
}

#[test]
fn without_a_passphrase_nobody_can_claim_its_assurance() {
    let mut session = ProxyTest::with_inbox().start_without_elicitation();
    let terminal = session.terminal();
    let call = session.call("wipe", json!({}));
    let item = terminal.wait_for_items(1).remove(0);
    write(&terminal, &item, yes(), Some(vec![0; 64]));
    session.expect_ran(call);
    assert_ne!(session.decision("wipe")["assurance"], "inbox-passphrase");
    session.finish();
}

#[test]
fn only_the_passphrase_is_hidden_while_it_is_typed() {
    let test = ProxyTest::with_inbox();
    let terminal = Terminal::at(&test.path("state"));
    // Ctrl-C gives up: nothing has changed.
    for keys in ["\u{3}", "half of it\u{3}"] {
        let mut given_up = terminal.in_terminal(&["inbox", "--set-passphrase"]);
        given_up.shows("New passphrase: ");
        eventually("no echo", || !given_up.echoes());
        given_up.types(keys);
        assert_eq!(given_up.exit(), Some(128 + 2), "{}", given_up.shown());
        assert!(given_up.echoes());
        given_up.shows("nothing has changed");
        let shown = given_up.shown();
        assert!(!shown.contains("half"), "{shown}");
    }
    let mut set = terminal.in_terminal(&["inbox", "--set-passphrase"]);
    for question in ["New passphrase: ", "Repeat the new passphrase: "] {
        set.shows(question);
        eventually("no echo", || !set.echoes());
        set.types("correct horse\n");
    }
    assert_eq!(set.exit(), Some(0), "{}", set.shown());
    assert!(set.echoes());
    assert!(!set.shown().contains("horse"), "{}", set.shown());

    let mut session = test.start_without_elicitation();
    let call = session.call("wipe", json!({"n": 1}));
    let id = terminal.wait_for_item("wipe");
    let mut approve = terminal.in_terminal(&["approvals", "approve", &id]);
    // The call that is signed is shown above the question.
    approve.shows("\"n\": 1");
    approve.shows("Passphrase: ");
    eventually("no echo", || !approve.echoes());
    approve.types("correct horse\n");
    assert_eq!(approve.exit(), Some(0), "{}", approve.shown());
    assert!(approve.echoes());
    session.expect_ran(call);
    assert_eq!(session.decision("wipe")["assurance"], "inbox-passphrase");
    session.finish();
}

// invariants.md, 3: doubt denies, even while the passphrase is being checked.
#[test]
fn ctrl_c_after_the_passphrase_approves_nothing() {
    let test = ProxyTest::with_inbox().flags(["--timeout", "0"]);
    let terminal = Terminal::at(&test.path("state"));
    let dir = terminal.state_dir();
    set(&dir, None, &secret("correct horse")).unwrap();
    let mut session = test.start_without_elicitation();
    session.call("wipe", json!({"n": 1}));
    let id = terminal.wait_for_item("wipe");
    // The most work that the file may demand, to have time for Ctrl-C. No passphrase matches this file.
    let path = dir.path().join("passphrase.json");
    let mut file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    file["argon2id"] = json!({"memory_kib": 512 * 1024, "passes": 16, "lanes": 1});
    std::fs::write(&path, file.to_string()).unwrap();
    let mut approve = terminal.in_terminal(&["approvals", "approve", &id]);
    approve.shows("Passphrase: ");
    approve.types("correct horse\n");
    eventually("echo", || approve.echoes());
    approve.types("\u{3}");
    assert_ne!(approve.exit(), Some(0), "{}", approve.shown());
    // The check had not finished.
    let shown = approve.shown();
    assert!(
        !shown.contains("wrong") && !shown.contains("approved:"),
        "{shown}"
    );
    assert_eq!(terminal.wait_for_item("wipe"), id);
    session.sync();
    assert_eq!(session.runs_of("wipe"), 0);
    session.finish();
}

#[test]
fn a_verdict_given_between_two_sessions_must_be_signed_too() {
    let home = tempfile::tempdir().unwrap();
    let (state, record) = (home.path().join("state"), home.path().join("record"));
    let proxy = |seconds| {
        let test = ProxyTest::with_inbox().state(&state);
        let test = test.flags(["--timeout-action", "park", "--timeout", seconds]);
        test.entry("args", json!([record]))
    };
    let runs = || {
        let recorded = std::fs::read_to_string(&record).unwrap_or_default();
        recorded.matches(r#""name":"wipe""#).count()
    };
    let terminal = Terminal::at(&state);
    let dir = terminal.state_dir();
    set(&dir, None, &secret("correct horse")).unwrap();
    let mut session = proxy("1").start_without_elicitation();
    let call = session.call("wipe", json!({"n": 1}));
    let item = terminal.wait_for_items(1).remove(0);
    session.refusal(call);
    eventually("it may be resumed", || state.join("resumable").exists());
    session.finish();

    // No proxy is running that would report this.
    write(&terminal, &item, yes(), None);
    let mut session = proxy("60").start_without_elicitation();
    let call = session.call("wipe", json!({"n": 1}));
    session.wait_for_event("disregarded_verdict");
    session.sync();
    assert_eq!(runs(), 0);
    let signer = unlock(&dir, &secret("correct horse")).unwrap();
    let signed = yes();
    let signature = signature(&signer, &shown(&terminal, &item), &signed);
    write(&terminal, &item, signed, signature);
    session.expect_ran(call);
    assert_eq!(runs(), 1);
    assert_eq!(session.decision("wipe")["assurance"], "inbox-passphrase");
    session.finish();
}
