//! Real programs.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use serde_json::json;

use super::*;
use crate::policy::Risk;

/// Much longer than anything that a test waits for.
const DEADLINE: Duration = Duration::from_secs(20);

fn item(id: &str) -> Item {
    Item {
        id: id.to_owned(),
        server: "db".to_owned(),
        tool: "drop_table".to_owned(),
        risk: Risk::High,
        why: "it destroys".to_owned(),
        question: "Allow this tool call?".to_owned(),
        title: Some("Drop".to_owned()),
        description: None,
        hints: String::new(),
        call: r#"{"name":"drop_table","arguments":{"n":1.50,"t":"a\nb"}}"#.to_owned(),
        digest: "0".repeat(64),
        client: Some("c 1".to_owned()),
        client_title: None,
        asked_ms: 5,
        expires_ms: Some(9),
    }
}

fn courier(program: &str) -> Box<dyn Courier> {
    let options = json!({"command": "sh", "args": ["-c", program]});
    let settings = read(options.as_object().unwrap()).unwrap().unwrap();
    settings.courier()
}

type Results = Receiver<Result<CarriedVerdict, Failure>>;

fn carry(courier: &mut dyn Courier, item: &Item) -> Results {
    let (sender, results) = channel();
    let answer = Answer::new(move |answer| {
        // The test may have ended already.
        let _ = sender.send(answer);
    });
    courier.carry(item, answer);
    results
}

fn result(program: &str) -> Result<CarriedVerdict, Failure> {
    let mut courier = courier(program);
    let results = carry(&mut *courier, &item("1"));
    results.recv_timeout(DEADLINE).unwrap()
}

fn kind(program: &str) -> (FailureKind, String) {
    let failure = result(program).unwrap_err();
    (failure.kind, failure.why)
}

#[test]
fn a_program_gets_the_request_and_its_answer_is_the_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("request");
    let program = format!(
        r#"cat > '{}'; echo '{{"decision":"approve","reason":"it is mine","approver":"Ann"}}'"#,
        file.display()
    );
    let verdict = result(&program).unwrap();
    assert_eq!(
        verdict,
        CarriedVerdict {
            choice: Choice::Approve,
            reason: Some("it is mine".to_owned()),
            approver: Some("Ann".to_owned()),
        }
    );
    let text = std::fs::read_to_string(file).unwrap();
    assert!(
        text.ends_with("}\n") && text.matches('\n').count() == 1,
        "{text}"
    );
    // Numbers are as the client wrote them.
    assert!(
        text.contains(r#""arguments":{"n":1.50,"t":"a\nb"}"#),
        "{text}"
    );
    let request: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&request["version"], &request["id"]),
        (&json!(1), &json!("1"))
    );
    assert_eq!(
        (&request["tool"], &request["risk"]),
        (&json!("drop_table"), &json!("high"))
    );
    assert_eq!(request["fingerprint"], json!(item("1").fingerprint()));

    let verdict = result(r#"echo '{"decision":"deny"}'"#).unwrap();
    assert_eq!((verdict.choice, verdict.reason), (Choice::Deny, None));
}

#[test]
fn an_invalid_answer_is_not_an_approval() {
    for answer in [
        "",
        " ",
        "yes",
        "true",
        "null",
        "[]",
        "{}",
        r#"{"decision":true}"#,
        r#"{"decision":"Approve"}"#,
        r#"{"decision":"approved"}"#,
        r#"{"decision":["approve"]}"#,
        r#"{"decision":"deny","decision":"approve"}"#,
        r#"{"decision":"approve"} {"decision":"deny"}"#,
        r#"{"decision":"approve","reason":5}"#,
        r#"{"decision":"approve""#,
    ] {
        let (kind, _) = kind(&format!("printf '%s' '{answer}'"));
        assert_eq!(kind, FailureKind::Rejected, "{answer}");
    }
    // A program that fails has not approved anything, whatever it wrote before.
    let (failed, why) = kind(r#"echo '{"decision":"approve"}'; echo 'no route' >&2; exit 3"#);
    assert_eq!(failed, FailureKind::Rejected);
    assert!(why.contains("exit status: 3: no route"), "{why}");
    let (failed, _) = kind(r#"echo '{"decision":"approve"}'; kill -9 $$"#);
    assert_eq!(failed, FailureKind::Rejected);
    let (failed, why) = kind("yes");
    assert_eq!(failed, FailureKind::Rejected);
    assert!(why.contains("longer than 65536 bytes"), "{why}");
}

#[test]
fn a_missing_program_is_a_configuration_error() {
    let options = json!({"command": "/no/such/program"});
    let settings = read(options.as_object().unwrap()).unwrap().unwrap();
    let mut courier = settings.courier();
    let results = carry(&mut *courier, &item("1"));
    let failure = results.recv_timeout(DEADLINE).unwrap().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Misconfigured);
    assert!(
        failure.why.contains("`/no/such/program` cannot be started"),
        "{}",
        failure.why
    );
}

#[test]
fn a_program_may_answer_without_reading() {
    let large = Item {
        call: format!(
            r#"{{"name":"x","arguments":"{}"}}"#,
            "x".repeat(1024 * 1024)
        ),
        ..item("1")
    };
    let mut courier = courier(r#"echo '{"decision":"deny"}'"#);
    let results = carry(&mut *courier, &large);
    assert!(results.recv_timeout(DEADLINE).unwrap().is_ok());
}

/// Returns a program that writes its child's process id to a file and then waits, and that file.
fn waiting(dir: &tempfile::TempDir) -> (String, std::path::PathBuf) {
    let file = dir.path().join("pid");
    let program = format!(
        "sleep 1000 & echo $! > '{0}.new'; mv '{0}.new' '{0}'; wait",
        file.display()
    );
    (program, file)
}

fn eventually(mut is_so: impl FnMut() -> bool) {
    const CHECK_EVERY: Duration = Duration::from_millis(5);
    let checks = DEADLINE.as_millis() / CHECK_EVERY.as_millis();
    let is_so = (0..checks).any(|_| {
        thread::sleep(CHECK_EVERY);
        is_so()
    });
    assert!(is_so);
}

#[test]
fn a_withdrawn_program_is_killed_with_its_children() {
    for is_dropped in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (program, file) = waiting(&dir);
        let mut courier = courier(&program);
        let results = carry(&mut *courier, &item("1"));
        eventually(|| file.exists());
        let pid: i32 = std::fs::read_to_string(&file)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        if is_dropped {
            drop(courier);
        } else {
            courier.withdraw("another");
            courier.withdraw("1");
        }
        // It sends no answer, not even a failure.
        assert_eq!(
            results.recv_timeout(DEADLINE),
            Err(RecvTimeoutError::Disconnected)
        );
        let pid = Pid::from_raw(pid).unwrap();
        eventually(|| rustix::process::test_kill_process(pid).is_err());
    }
}

#[test]
fn the_number_of_running_programs_is_bounded() {
    let mut courier = courier("sleep 1000");
    let running: Vec<Results> = (0..MAX_RUNNING)
        .map(|n| carry(&mut *courier, &item(&n.to_string())))
        .collect();
    let results = carry(&mut *courier, &item("more"));
    let failure = results.recv_timeout(DEADLINE).unwrap().unwrap_err();
    assert_eq!(failure.kind, FailureKind::RateLimited);
    courier.withdraw("0");
    let ended = running[0].recv_timeout(DEADLINE);
    assert_eq!(ended, Err(RecvTimeoutError::Disconnected));
    let results = carry(&mut *courier, &item("more"));
    assert_eq!(
        results.recv_timeout(Duration::from_millis(50)),
        Err(RecvTimeoutError::Timeout)
    );
}

#[test]
fn processes_left_behind_cannot_use_up_threads() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("started");
    // The child leaves the process group and keeps the pipes open.
    let program = format!("setsid sleep 20 & touch '{}'; wait", file.display());
    let mut courier = courier(&program);
    let is_refused = (0..10 * MAX_RUNNING).any(|n| {
        let id = n.to_string();
        let results = carry(&mut *courier, &item(&id));
        if let Ok(answer) = results.recv_timeout(Duration::ZERO) {
            return answer.unwrap_err().kind == FailureKind::RateLimited;
        }
        eventually(|| file.exists());
        std::fs::remove_file(&file).unwrap();
        courier.withdraw(&id);
        false
    });
    assert!(is_refused);
}

#[test]
fn options_are_checked_when_they_are_read() {
    let bad = |options: Value| read(options.as_object().unwrap()).unwrap_err().to_string();
    assert!(bad(json!({})).contains("missing field `command`"));
    assert!(bad(json!({"command": " "})).contains("empty"));
    assert!(bad(json!({"command": "x", "arg": []})).contains("unknown field `arg`"));
    assert!(bad(json!({"command": 5})).contains("string"));
}
