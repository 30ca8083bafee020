//! The engine `command` with real programs: verdicts, records, and what happens if the program fails.

use serde_json::{Value, json};

use super::support::{ProxyTest, Session, eventually, is_running};

/// A proxy whose questions go to this shell script first, then to the inbox.
fn asking(script: &str, change: impl FnOnce(&mut Value)) -> Session {
    let mut command = json!({"type": "command", "command": "sh", "args": ["-c", script]});
    change(&mut command);
    let test = ProxyTest::with_inbox().section(json!({"engines": [command, "inbox"]}));
    test.start_without_elicitation()
}

#[test]
fn a_program_approves_and_the_record_has_its_assurance() {
    let script = r#"echo '{"action":"accept","content":{"approved":true,"reason":"change 12"}}'"#;
    let mut session = asking(script, |_| ());
    let call = session.call("wipe", json!({"n": 1}));
    session.expect_ran(call);
    let line = session.decision("wipe");
    for (key, value) in [
        ("decision", json!("approved")),
        ("engine", json!("command")),
        ("assurance", json!("shared-secret")),
        ("reason", json!("change 12")),
        ("approver", json!("command:command")),
        ("approver_verified", json!(false)),
    ] {
        assert_eq!(line[key], value, "{key}: {line}");
    }
    // The history names the engine too.
    let terminal = session.terminal();
    let item = terminal.history().remove(0);
    assert_eq!(
        (&item["state"], &item["verdict"]["engine"]),
        (&json!("approved"), &json!("command"))
    );
    assert_eq!(session.runs_of("wipe"), 1);
    session.finish();
}

#[test]
fn a_program_can_deny() {
    let mut session = asking(
        r#"echo '{"action":"accept","content":{"approved":false,"reason":"not today"}}'"#,
        |_| (),
    );
    let call = session.call("wipe", json!({"n": 1}));
    assert!(session.refusal(call).contains("not today"));
    assert_eq!(session.decision("wipe")["decision"], "denied");
    assert_eq!(session.runs_of("wipe"), 0);
    session.finish();
}

#[test]
fn if_the_program_fails_the_next_engine_is_asked() {
    let mut session = asking("sleep 2; echo 'no route to Ann' >&2; exit 1", |_| ());
    let call = session.call("wipe", json!({"n": 1}));
    let terminal = session.terminal();
    let first = terminal.wait_for_item("wipe");
    // The program's item is withdrawn, and the inbox gets an item of its own.
    eventually("it is withdrawn", || {
        terminal.state_of(&first) == "withdrawn"
    });
    let item = terminal.wait_for_item("wipe");
    assert_ne!(item, first);
    terminal.approve(&item);
    session.expect_ran(call);
    assert_eq!(session.decision("wipe")["engine"], "inbox");
    session.finish();
}

// The yes was once lost with the program's item.
#[test]
fn an_approval_given_while_the_program_fails_is_not_lost() {
    for _ in 0..10 {
        let mut session = asking("exit 1", |_| ());
        let call = session.call("wipe", json!({"n": 1}));
        let terminal = session.terminal();
        eventually("it is approved", || {
            let item = terminal.wait_for_item("wipe");
            terminal.approvals(&["approve", &item]).code == Some(0)
        });
        session.expect_ran(call);
        session.finish();
    }
}

#[test]
fn if_errors_deny_the_call_is_refused_and_the_log_says_why() {
    let mut session = asking("echo 'no route to Ann' >&2; exit 1", |command| {
        command["onTransportError"] = json!("deny");
    });
    let call = session.call("wipe", json!({"n": 1}));
    let refusal = session.refusal(call);
    assert!(
        refusal.contains("the approval engine `command` cannot be used"),
        "{refusal}"
    );
    assert!(
        !refusal.contains("Ann"),
        "the reason is for the operator: {refusal}"
    );
    let line = session.decision("wipe");
    assert_eq!(line["decision"], "error");
    assert!(
        line["reason"].as_str().unwrap().contains("no route to Ann"),
        "{line}"
    );
    session.finish();
}

#[test]
fn the_first_verdict_counts_and_the_program_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let script = format!(
        "echo $$ > '{0}.new'; mv '{0}.new' '{0}'; sleep 1000",
        pid.display()
    );
    let mut session = asking(&script, |_| ());
    let call = session.call("wipe", json!({"n": 1}));
    let terminal = session.terminal();
    let item = terminal.wait_for_item("wipe");
    eventually("it runs", || pid.exists());
    terminal.approve(&item);
    session.expect_ran(call);
    let line = session.decision("wipe");
    assert_eq!(
        (&line["engine"], &line["assurance"]),
        (&json!("inbox"), &json!("inbox-terminal"))
    );
    let pid = std::fs::read_to_string(pid)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    eventually("it has ended", || !is_running(pid));
    session.finish();
}

#[test]
fn a_call_that_needs_more_assurance_is_not_put_to_a_program() {
    let test = ProxyTest::with_inbox().section(json!({
        "engines": [{"type": "command", "command": "sh", "args": ["-c", "echo '{\"action\":\"accept\",\"content\":{\"approved\":true}}'"]}],
        "requireAssurance": "inbox-session",
    }));
    let mut session = test.start_without_elicitation();
    session.stderr_says("which no engine of `engines` can reach");
    let call = session.call("wipe", json!({"n": 1}));
    session.refusal(call);
    assert_eq!(session.runs_of("wipe"), 0);
    session.finish();
}

#[test]
fn an_invalid_config_of_the_engine_stops_the_start() {
    const PLACE: &str = "/approvalProxy/engines/0";
    for (engine, place, words) in [
        // It may be defined in another file.
        (
            json!("command"),
            "",
            "the engine `command` is named without its options",
        ),
        (
            json!({"type": "command", "command": "sh", "shell": true}),
            "/approvalProxy/engines/0/shell",
            "unknown key",
        ),
        (
            json!({"type": "inbox", "command": "sh"}),
            PLACE,
            "unknown key",
        ),
    ] {
        let test = ProxyTest::with_inbox().section(json!({"engines": [engine]}));
        let mut session = test.start();
        session.close_stdin();
        let (code, _) = session.exit();
        assert_eq!(code, 3);
        session.stderr_says(words);
        session.stderr_says(place);
    }
}
