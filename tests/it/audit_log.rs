//! contract.md, "Audit log": what is recorded, and how.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::ProxyTest;

// contract.md, "Audit log": "A decision line has: `ts` (RFC 3339, UTC, ms, `Z`), `server`, `tool`,
// `args` (redacted), `decision` […] `risk`, `reason`, `mode`, `dry_run`, `forwarded`, `duration_ms`".
#[test]
fn a_decision_record_has_every_key_of_the_contract() {
    let mut session = ProxyTest::new().start();
    session.handshake();
    session.passes("read", json!({"path": "/a"}));
    let id = session.call("wipe", json!({"disk": 7}));
    let prompt = session.prompt();
    let yes = json!({"action": "accept", "content": {"approved": true, "reason": "fine by me"}});
    session.answer(&prompt, yes);
    session.response(id);

    let line = session.decision("wipe");
    let ts = line["ts"].as_str().unwrap();
    assert_eq!(ts.len(), "2026-01-02T03:04:05.678Z".len(), "{ts}");
    assert!(ts.ends_with('Z') && ts.as_bytes()[19] == b'.', "{ts}");
    for (key, value) in [
        ("server", json!("box")),
        ("tool", json!("wipe")),
        ("args", json!({"disk": 7})),
        ("decision", json!("approved")),
        ("risk", json!("high")),
        ("reason", json!("fine by me")),
        ("mode", json!("destructive")),
        ("dry_run", json!(false)),
        ("forwarded", json!(true)),
    ] {
        assert_eq!(line[key], value, "{key}");
    }
    assert!(line["duration_ms"].as_f64().unwrap() > 0.0);
    let passed = session.decision("read");
    assert_eq!(passed["decision"], "passed");

    // contract.md, "Audit log": "Other lines carry `event` […] and never a `tool` key."
    let lines = session.log();
    assert_eq!(lines[0]["event"], "open");
    for line in &lines {
        assert!(
            line.get("event").is_some() != line.get("tool").is_some(),
            "{line}"
        );
    }
    session.finish();
}

// contract.md, "Audit log": "New files are created 0600."
#[test]
fn a_new_log_is_readable_by_its_owner_only() {
    let mut session = ProxyTest::new().in_shell("umask 0;").start();
    session.handshake();
    let mode = std::fs::metadata(session.path("audit.jsonl"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    session.finish();
}

// contract.md, "Audit log": "The line is written before the call is forwarded".
#[test]
fn a_calls_record_is_already_in_the_log_when_the_server_gets_the_call() {
    let test = ProxyTest::new();
    let log = test.log_path();
    let mut session = test.upstream(["--show", log.to_str().unwrap()]).start();
    session.handshake();
    for n in 0..20 {
        let marker = format!("passed-{n}-x");
        let result = session.passes("read", json!({"m": marker}));
        let shown = result["structuredContent"]["shown"].as_str().unwrap();
        assert!(shown.contains(&marker), "{shown}");
    }
    let id = session.call("wipe", json!({"m": "approved-x"}));
    session.approve();
    let response = session.response(id);
    let shown = response["result"]["structuredContent"]["shown"]
        .as_str()
        .unwrap();
    let last: Value = serde_json::from_str(shown.lines().last().unwrap()).unwrap();
    assert_eq!(last["args"]["m"], "approved-x");
    assert_eq!(last["decision"], "approved");
    session.finish();
}

// contract.md, "Audit log": "Values under keys that look like secrets […] are replaced, and strings
// over 500 characters are shortened with their length and a digest".
#[test]
fn secrets_and_long_strings_are_not_logged() {
    let mut session = ProxyTest::new().start();
    session.handshake();
    let long = "x".repeat(5_000);
    let arguments = json!({"apiKey": "s3cr3t-a", "deep": [{"PASSWORD": "s3cr3t-b"}], "text": long});
    let result = session.passes("read", arguments.clone());
    // The server gets what the client sent.
    assert_eq!(result["structuredContent"]["arguments"], arguments);
    let line = session.decision("read");
    let text = line.to_string();
    assert!(!text.contains("s3cr3t"), "{text}");
    assert!(!text.contains(&"x".repeat(501)), "{text}");
    assert!(text.contains("5000") && text.contains("blake3:"), "{text}");
    session.finish();
}

// contract.md, "Audit log": "Two processes may write to one log: one file, one sequence, many
// writers."
#[test]
fn two_proxies_share_one_log_and_one_sequence() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("shared.jsonl");
    let start = || {
        let test = ProxyTest::new().without_log();
        let mut session = test.flags(["--audit-log", log.to_str().unwrap()]).start();
        session.handshake();
        session
    };
    let sessions = [start(), start()];
    let clients = sessions.map(|mut session| {
        std::thread::spawn(move || {
            for n in 0..100 {
                session.passes("read", json!({"n": n}));
            }
            let id = session.call("wipe", json!({}));
            session.approve();
            session.response(id);
            session.finish();
        })
    });
    for client in clients {
        client.join().unwrap();
    }
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let numbers: Vec<u64> = lines
        .iter()
        .map(|line| line["seq"].as_u64().unwrap())
        .collect();
    let gapless: Vec<u64> = (1..=numbers.len() as u64).collect();
    assert_eq!(numbers, gapless);
    let calls = lines.iter().filter(|line| line.get("tool").is_some());
    assert_eq!(calls.count(), 202);
    let sessions: std::collections::HashSet<&str> = lines
        .iter()
        .map(|line| line["session"].as_str().unwrap())
        .collect();
    assert_eq!(sessions.len(), 2);
}

#[test]
fn an_existing_log_is_continued() {
    let test = ProxyTest::new();
    let old = "{\"v\":1,\"seq\":41,\"event\":\"open\"}\n";
    std::fs::write(test.log_path(), old).unwrap();
    let mut session = test.start();
    session.handshake();
    session.passes("read", json!({}));
    let lines = session.log();
    assert_eq!(lines[0]["seq"], 41);
    assert_eq!(lines[1]["seq"], 42);
    // Records do not go to stderr as well.
    assert_eq!(session.stderr(), "");
    session.finish();
}

// The numbers are one sequence even while logrotate moves the log away.
#[test]
fn two_proxies_use_no_number_twice_while_their_log_is_moved_away() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("shared.jsonl");
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let test = ProxyTest::new().without_log();
            let mut session = test.flags(["--audit-log", log.to_str().unwrap()]).start();
            std::thread::spawn(move || {
                session.handshake();
                for n in 0..400 {
                    session.passes("read", json!({"n": n}));
                }
                session.finish();
            })
        })
        .collect();
    let mut files = Vec::new();
    while clients.iter().any(|client| !client.is_finished()) {
        let moved = folder.path().join(format!("shared.jsonl.{}", files.len()));
        if std::fs::rename(&log, &moved).is_ok() {
            files.push(moved);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    for client in clients {
        client.join().unwrap();
    }
    assert!(files.len() > 5, "it was moved {} times only", files.len());
    files.extend(log.exists().then_some(log));
    let lines: Vec<Value> = files.iter().flat_map(|file| lines_of(file)).collect();
    let numbers = lines.iter().map(|line| line["seq"].as_u64().unwrap());
    assert!(numbers.eq(1..=lines.len() as u64));
    let calls = lines.iter().filter(|line| line.get("tool").is_some());
    assert_eq!(calls.count(), 800);
}

fn lines_of(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_held_call_is_recorded_as_cancelled_when_its_client_goes_away() {
    let mut session = ProxyTest::new().start();
    session.handshake();
    session.call("wipe", json!({"marker": 1}));
    let prompt = session.prompt();
    // The client goes away in the middle of its answer.
    session.send_bytes(json!({"id": prompt["id"]}).to_string().as_bytes());
    session.close_stdin();
    assert_eq!(session.exit().0, 0);
    let line = session.decision("wipe");
    assert_eq!(
        (&line["decision"], &line["forwarded"]),
        (&json!("cancelled"), &json!(false))
    );
    assert!(!session.has_recorded("marker"));
    assert_eq!(session.log().last().unwrap()["event"], "close");
}
