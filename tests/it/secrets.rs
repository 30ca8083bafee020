//! Searches for secrets of every kind in the log, stderr, the inbox's files and its history.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::support::{ProxyTest, Session, eventually};

/// Part of every secret here, and of nothing else.
const MARK: &str = "hunter2";

/// Arguments with a secret of each kind, in each place where a call can have one.
fn arguments() -> Value {
    json!({
        "password": "hunter2", "pwd": "hunter2", "pass": "hunter2", "auth": "hunter2", "bearer": "hunter2",
        "dsn": "hunter2", "connectionString": "hunter2", "jwt": "hunter2", "otp": "hunter2", "pin": "hunter2",
        "sessionId": "hunter2", "X-API-Key": ["hunter2"], "credentials": {"a": {"b": "hunter2"}},
        "headers": [
            {"name": "Authorization", "value": "hunter2"},
            {"value": "hunter2", "key": "Cookie"},
            ["X-Auth-Token", "hunter2"],
        ],
        "command": ["run", "--password", "hunter2", "--token=hunter2"],
        "env": ["API_KEY=hunter2", "export DB_PASS=hunter2; run"],
        "fields": [{"element": "Password", "text": "hunter2"}],
        "url": "https://me:hunter2@example.com/x?api_key=hunter2#access_token=hunter2",
        "text": "Authorization: Bearer hunter2",
        "more": "it is Bearer hunter2 or Basic bWU6aHVudGVyMg==",
        "curl": "curl -u me:hunter2 -H 'X-Api-Key: hunter2' https://example.com",
        "pem": "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----\n",
        "signed": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.hunter2",
        "github": "ghp_hunter2abcdefghijklmnopqrstuvwxyz01",
        "slack": "xoxb-123456789012-hunter2",
        "body": "{\"pin\": \"hunter2\", \"name\": \"x\"}",
        "form": "a=1&password=hunter2&b=2",
        "xml": "<Password>hunter2</Password>",
        "ghp_hunter2abcdefghijklmnopqrstuvwxyz02": 1,
        "case": "EMP-hunter2", "employee_id": "hunter2",
        "max_tokens": 512, "nextPageToken": "page-7", "secretary": "Bob",
    })
}

/// Texts that are not secret and must be kept.
const KEPT: [&str; 4] = ["512", "page-7", "Bob", "example.com"];

/// A reason or an error that contains secrets.
const WORDS: &str = "not with password=hunter2, nor https://me:hunter2@example.com, EMP-hunter2";

fn test() -> ProxyTest {
    ProxyTest::with_inbox().section(json!({
        "auditRedact": {"names": ["employeeId"], "patterns": ["EMP-\\w+"]}
    }))
}

fn log_text(session: &Session) -> String {
    fs::read_to_string(session.path("audit.jsonl")).unwrap()
}

fn is_in_store(session: &Session, text: &str) -> bool {
    let files = ["inbox.db", "inbox.db-wal"].map(|name| session.path("state").join(name));
    files.iter().any(|file| {
        let bytes = fs::read(file).unwrap_or_default();
        memchr::memmem::find(&bytes, text.as_bytes()).is_some()
    })
}

#[test]
fn no_secret_is_logged_whatever_is_decided_about_the_call() {
    let mut session = test().start();
    session.handshake();
    let passed = session.passes("read", arguments());
    // The server gets what the client sent.
    assert_eq!(passed["structuredContent"]["arguments"], arguments());
    let yes = json!({"action": "accept", "content": {"approved": true, "reason": WORDS}});
    let no = json!({"action": "accept", "content": {"approved": false, "reason": WORDS}});
    for answer in [yes, no] {
        let call = session.call("wipe", arguments());
        let prompt = session.prompt();
        session.answer(&prompt, answer);
        session.response(call);
    }
    // A message that cannot be read safely: the reason of its refusal quotes the message.
    session.send(r#"{"jsonrpc":"2.0","id":98,"method":"x","Params":{"password=hunter2":1}}"#);
    session.sync();
    let log = log_text(&session);
    assert!(!log.contains(MARK), "{log}");
    assert!(!session.stderr().contains(MARK), "{}", session.stderr());
    let decisions = session.decisions();
    let outcomes: Vec<&Value> = decisions.iter().map(|line| &line["decision"]).collect();
    assert_eq!(outcomes, ["passed", "approved", "denied"]);
    for line in decisions {
        let line = line.to_string();
        for kept in KEPT {
            assert!(line.contains(kept), "{kept}: {line}");
        }
    }
    session.finish();
}

#[test]
fn an_error_of_the_client_is_logged_without_its_secrets() {
    let mut session = test().flags(["--engine", "elicitation"]).start();
    session.handshake();
    let call = session.call("wipe", json!({}));
    for _ in 0..3 {
        let prompt = session.prompt();
        let error = json!({"code": -32000, "message": WORDS});
        session.send(json!({"jsonrpc": "2.0", "id": prompt["id"], "error": error}));
    }
    session.response(call);
    let line = session.decision("wipe").to_string();
    assert!(line.contains("not with password=[redacted]"), "{line}");
    assert!(!log_text(&session).contains(MARK));
    assert!(!session.stderr().contains(MARK), "{}", session.stderr());
    session.finish();
}

#[test]
fn no_secret_of_a_call_stays_in_the_inboxs_files_once_it_is_decided_or_withdrawn() {
    let mut session = test().start_without_elicitation();
    let terminal = session.terminal();
    // One call is approved, one denied, one cancelled.
    for how in ["approve", "deny", "cancel"] {
        let call = session.call("wipe", arguments());
        let id = terminal.wait_for_item("wipe");
        assert!(is_in_store(&session, MARK));
        assert!(terminal.approvals(&["show", &id]).out.contains(MARK));
        if how == "cancel" {
            session.notify("notifications/cancelled", json!({"requestId": call}));
        } else {
            let output = terminal.approvals(&[how, &id, "--reason", WORDS]);
            assert_eq!(output.code, Some(0), "{output:?}");
            session.response(call);
        }
        // They go while the proxy still runs and serves its page.
        eventually("the files are without it", || !is_in_store(&session, MARK));
        let output = terminal.approvals(&["show", &id]);
        assert!(!output.out.contains(MARK), "{output:?}");
        let is_told = output.out.contains("Secrets in the call were replaced");
        assert!(
            is_told && KEPT.iter().all(|kept| output.out.contains(kept)),
            "{output:?}"
        );
    }
    let history = Value::from(terminal.history()).to_string();
    assert!(!history.contains(MARK), "{history}");
    let log = log_text(&session);
    assert!(!log.contains(MARK), "{log}");
    session.finish();
}

#[test]
fn a_killed_proxys_calls_are_removed_when_the_inbox_is_next_used() {
    let mut session = test().start_without_elicitation();
    let terminal = session.terminal();
    session.call("wipe", arguments());
    terminal.wait_for_item("wipe");
    session.signal(Signal::KILL);
    session.exit();
    assert!(is_in_store(&session, MARK));
    let output = terminal.approvals(&["list", "--history"]);
    assert!(output.out.contains("expired"), "{output:?}");
    assert!(!is_in_store(&session, MARK));
}

#[test]
fn a_huge_refused_call_leaves_a_small_record_with_its_size() {
    let mut session = ProxyTest::new()
        .section(json!({}))
        .flags(["--deny", "wipe"])
        .start();
    session.handshake();
    let rows = vec![json!("12345678901234567890"); 200_000];
    let refused = session.is_refused("wipe", json!({"about": "users", "rows": rows}));
    assert!(refused.contains("blocked"), "{refused}");
    let log = log_text(&session);
    assert!(log.len() < 80 * 1024, "{}", log.len());
    let line = session.decision("wipe");
    assert_eq!(line["args"]["about"], "users");
    assert!(
        line["args_bytes"].as_u64().unwrap() > 4_000_000,
        "{line:.200}"
    );
    let digest = line["args_digest"].as_str().unwrap();
    assert!(
        digest.starts_with("sha256:") || digest.starts_with("blake3:"),
        "{digest}"
    );
    session.finish();
}
