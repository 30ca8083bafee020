//! contract.md, "Audit log": "If a line cannot be written, the call is refused and the operator is
//! told (`--audit-best-effort` relaxes this for passed calls only)".

use serde_json::{Value, json};

use super::support::{ProxyTest, Session, approval};

/// Starts a session whose log is almost full: files must not grow beyond 8 KiB.
fn on_a_full_disk(test: ProxyTest) -> Session {
    let line =
        |text: &str| format!("{{\"v\":1,\"seq\":7,\"event\":\"filler\",\"text\":\"{text}\"}}\n");
    let room = 8 * 1024 - 20 - line("").len();
    std::fs::write(test.log_path(), line(&"z".repeat(room))).unwrap();
    // The unit of `ulimit -f` is 512 bytes in POSIX, 1,024 in some shells.
    let mut session = test
        .in_shell("ulimit -c 0; ulimit -f 16; [ \"$(ulimit -f)\" = 16 ] || exit 77;")
        .start();
    session.handshake();
    session
}

#[test]
fn a_call_whose_record_cannot_be_written_is_refused_and_the_session_goes_on() {
    let mut session = on_a_full_disk(ProxyTest::new());
    // Messages that need no record go on.
    session.sync();
    for n in 0..3 {
        let text = session.is_refused("read", json!({"marker": n}));
        assert!(text.contains("audit record could not be written"), "{text}");
    }
    let id = session.call("wipe", json!({"marker": 9}));
    session.approve();
    let text = session.refusal(id);
    assert!(text.contains("audit record could not be written"), "{text}");
    session.sync();
    assert!(!session.has_recorded("marker"));
    session.stderr_says("cannot write the audit log");
    // One warning, not one for each call, and no torn line stays in the file.
    assert_eq!(
        session
            .stderr()
            .matches("cannot write the audit log")
            .count(),
        1
    );
    assert_eq!(session.log().len(), 1);

    // The operator makes room.
    std::fs::write(session.path("audit.jsonl"), "").unwrap();
    session.passes("read", json!({"marker": "now"}));
    session.stderr_says("can be written again");
    assert!(session.has_recorded(r#""marker":"now""#));
    assert!(
        session.log()[0]["seq"].as_u64().unwrap() > 7,
        "the sequence never goes back"
    );
    session.finish();
}

#[test]
fn best_effort_lets_passed_calls_run_and_no_others() {
    let mut session = on_a_full_disk(ProxyTest::new().flags(["--audit-best-effort"]));
    session.passes("read", json!({"marker": "passed"}));
    let id = session.call("wipe", json!({"marker": "approved"}));
    let prompt = session.prompt();
    session.answer(&prompt, approval());
    let text = session.refusal(id);
    assert!(text.contains("audit record could not be written"), "{text}");
    session.sync();
    assert!(session.has_recorded(r#""marker":"passed""#));
    assert!(!session.has_recorded(r#""marker":"approved""#));
    session.finish();
}

#[test]
fn no_call_runs_while_another_process_locks_the_log() {
    let test = ProxyTest::new();
    let log = test.log_path();
    let mut session = test.start();
    session.handshake();
    session.passes("read", json!({}));
    let holder = std::fs::File::open(&log).unwrap();
    holder.lock().unwrap();
    let text = session.is_refused("read", json!({"marker": 1}));
    assert!(text.contains("audit record could not be written"), "{text}");
    session.stderr_says("locked by another process");
    drop(holder);
    session.passes("read", json!({}));
    assert!(!session.has_recorded("marker"));
    let lines: Vec<Value> = session.log();
    assert!(!lines.is_empty());
    session.finish();
}
