//! Real programs.

use std::sync::mpsc::RecvTimeoutError;

use serde_json::json;

use super::*;
use crate::approval::item::{Choice, Closed};
use crate::engines::for_test::{DEADLINE, Results, carry, context, eventually, item};

/// Its call was cancelled.
const WITHDRAWN: Ending = Ending::Closed(Closed::Withdrawn);

fn courier(program: &str) -> Box<dyn Courier> {
    let options = json!({"command": "sh", "args": ["-c", program]});
    courier_with(&options, &context("command"))
}

fn courier_with(options: &Value, context: &CourierContext) -> Box<dyn Courier> {
    settings(options).unwrap().courier(context)
}

fn settings(options: &Value) -> Result<Arc<dyn CourierSettings>, BadOptions> {
    let options = options.as_object().unwrap();
    let read = read(
        EngineId::new("command"),
        options,
        &TransportSettings::default(),
    );
    read.map(Option::unwrap)
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
        r#"cat > '{}'; echo '{{"action":"accept","content":{{"approved":true,"reason":"it is mine"}}}}'"#,
        file.display()
    );
    let verdict = result(&program).unwrap();
    assert_eq!(
        verdict,
        CarriedVerdict {
            fields: None,
            choice: Choice::Approve,
            reason: Some("it is mine".to_owned()),
            approver: Some("command:command".to_owned()),
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
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["mode"], "form");
    let request = &document["request"];
    assert_eq!(request["id"], json!(item("1").id));
    assert_eq!(
        (&request["tool"], &request["risk"]),
        (&json!("drop_table"), &json!("high"))
    );
    assert_eq!(request["fingerprint"], json!(item("1").fingerprint()));

    let verdict = result(r#"echo '{"action":"decline"}'"#).unwrap();
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
        r#"{"decision":"approve"}"#,
        r#"{"action":"accept"}"#,
        r#"{"action":"accept","approved":true}"#,
        r#"{"action":"accept","content":{"approved":"true"}}"#,
        r#"{"action":"accept","content":{"approved":1}}"#,
        r#"{"action":"approve","content":{"approved":true}}"#,
        r#"{"action":"decline","action":"accept","content":{"approved":true}}"#,
        r#"{"action":"accept","content":{"approved":false,"approved":true}}"#,
        r#"{"action":"accept","content":{"approved":true}} {"action":"decline"}"#,
        r#"{"action":"accept","content":{"approved":true}}{"action":"accept","content":{"approved":true}}"#,
        r#"{"action":"accept","content":{"approved":true}"#,
    ] {
        let (kind, _) = kind(&format!("printf '%s' '{answer}'"));
        assert_eq!(kind, FailureKind::Rejected, "{answer}");
    }
    // A program that fails has not approved anything, whatever it wrote before.
    let (failed, why) = kind(
        r#"echo '{"action":"accept","content":{"approved":true}}'; echo 'no route' >&2; exit 3"#,
    );
    assert_eq!(failed, FailureKind::Rejected);
    assert!(why.contains("exit status: 3: no route"), "{why}");
    let (failed, _) = kind(r#"echo '{"action":"accept","content":{"approved":true}}'; kill -9 $$"#);
    assert_eq!(failed, FailureKind::Rejected);
    let (failed, why) = kind("yes");
    assert_eq!(failed, FailureKind::Rejected);
    assert!(why.contains("longer than 65536 bytes"), "{why}");
}

#[test]
fn a_missing_program_is_a_configuration_error() {
    let options = json!({"command": "/no/such/program"});
    let mut courier = courier_with(&options, &context("command"));
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
    let mut courier = courier(r#"echo '{"action":"decline"}'"#);
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
            courier.withdraw("another", &WITHDRAWN);
            courier.withdraw(&item("1").id, &WITHDRAWN);
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
        .map(|n| carry(&mut *courier, &item(&format!("{n}x"))))
        .collect();
    let results = carry(&mut *courier, &item("more"));
    let failure = results.recv_timeout(DEADLINE).unwrap().unwrap_err();
    assert_eq!(failure.kind, FailureKind::RateLimited);
    courier.withdraw(&item("0x").id, &WITHDRAWN);
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
        let item = item(&format!("{n}x"));
        let results = carry(&mut *courier, &item);
        if let Ok(answer) = results.recv_timeout(Duration::ZERO) {
            return answer.unwrap_err().kind == FailureKind::RateLimited;
        }
        eventually(|| file.exists());
        std::fs::remove_file(&file).unwrap();
        courier.withdraw(&item.id, &WITHDRAWN);
        false
    });
    assert!(is_refused);
}

#[test]
fn a_process_that_is_left_behind_and_holds_the_pipes_delays_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    // In the program's group, and in one of its own.
    for beginning in ["", "setsid "] {
        let orphan = format!("{beginning}sleep 1000 & echo $! > '{}'", file.display());
        let answer = r#"echo '{"action":"decline","content":{"reason":"no"}}'"#;
        let verdict = result(&format!("{orphan}; {answer}")).unwrap();
        let left: i32 = std::fs::read_to_string(&file)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let left = Pid::from_raw(left).unwrap();
        assert_eq!(verdict.reason.as_deref(), Some("no"));
        // All of what the program itself wrote counts, in both places.
        let twice = format!("{orphan}; {answer}; sleep 0.3; {answer}");
        assert_eq!(kind(&twice).0, FailureKind::Rejected);
        let (_, why) = kind(&format!("{orphan}; {answer}; exit 4"));
        assert!(why.contains("exit status: 4"), "{why}");
        rustix::process::kill_process(left, Signal::KILL).unwrap();
    }
}

#[test]
fn options_are_checked_when_they_are_read() {
    let bad = |options: Value| settings(&options).unwrap_err().to_string();
    assert!(bad(json!({})).contains("missing field `command`"));
    assert!(bad(json!({"command": " "})).contains("empty"));
    assert!(bad(json!({"command": "x", "arg": []})).contains("unknown field `arg`"));
    for value in [
        json!({"A": 5371}),
        json!(["5371", 5371]),
        json!("5371"),
        json!(5371),
        json!([["5371"]]),
        json!({"A": {"B": "5371"}}),
    ] {
        for key in ["command", "args", "env"] {
            if key == "command" && value.is_string() {
                continue;
            }
            let mut options = json!({"command": "x"});
            options[key] = value.clone();
            let error = bad(options);
            let is_named = error.starts_with(&format!("`{key}` must be "));
            assert!(is_named && !error.contains("5371"), "{error}");
        }
    }
    assert!(bad(json!({"command": "x", "env": {"A=B": "s"}})).contains("A=B"));
    assert!(bad(json!({"command": "x", "args": ["a\0b"]})).contains("NUL"));
}

#[test]
fn a_program_gets_its_own_variables_and_none_that_hold_secrets() {
    // PATH is there in every test.
    let withheld = CourierContext {
        withheld: Arc::new(["CARGO_MANIFEST_DIR".into()]),
        ..context("command")
    };
    let script = r#"printf '{"action":"decline","content":{"reason":"%s %s %s"}}' "$TEAM" "${CARGO_MANIFEST_DIR-gone}" "${APPROVAL_X-gone}""#;
    let options = json!({"command": "sh", "args": ["-c", script], "env": {"TEAM": "blue"}});
    let reason = |context| {
        let mut courier = courier_with(&options, &context);
        let results = carry(&mut *courier, &item("1"));
        let verdict = results.recv_timeout(DEADLINE).unwrap().unwrap();
        verdict.reason.unwrap()
    };
    assert_eq!(reason(withheld), "blue gone gone");
    assert!(!reason(context("command")).contains("blue gone"));
}

#[test]
fn the_end_of_stderr_shows_no_value_of_env() {
    let options = json!({
        "command": "sh",
        "args": ["-c", r#"echo "curl: bad token $TOKEN" >&2; exit 1"#],
        "env": {"TOKEN": "PAGERSECRET-77"},
    });
    let read = settings(&options).unwrap();
    let mut courier = read.courier(&context("command"));
    let results = carry(&mut *courier, &item("1"));
    let failure = results.recv_timeout(DEADLINE).unwrap().unwrap_err();
    assert!(failure.why.contains("curl: bad token"), "{}", failure.why);
    let shown = format!("{} {read:?}", failure.why);
    assert!(!shown.contains("PAGERSECRET"), "{shown}");
}

#[test]
fn a_reason_shows_no_secret_of_env() {
    let script =
        r#"printf '{"action":"decline","content":{"reason":"%s asked with %s"}}' "$TEAM" "$TOKEN""#;
    let options = json!({
        "command": "sh",
        "args": ["-c", script],
        "env": {"TOKEN": "k3y+1", "TEAM": "blue"},
    });
    let mut courier = courier_with(&options, &context("command"));
    let results = carry(&mut *courier, &item("1"));
    let verdict = results.recv_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(verdict.reason.unwrap(), "blue asked with [hidden]");
}

#[test]
fn the_end_of_stderr_shows_no_secret_of_the_call() {
    let item = Item {
        call: r#"{"name":"x","arguments":{"password":"hunter2-XK"}}"#.to_owned(),
        ..item("1")
    };
    // All of it, or from the middle of the secret on.
    for after in [0, 485] {
        let script =
            r#"grep -o '"password":"[^"]*"' >&2; head -c "$1" /dev/zero | tr '\0' z >&2; exit 1"#;
        let options = json!({"command": "sh", "args": ["-c", script, "sh", after.to_string()]});
        let mut courier = courier_with(&options, &context("command"));
        let results = carry(&mut *courier, &item);
        let failure = results.recv_timeout(DEADLINE).unwrap().unwrap_err();
        assert!(failure.why.contains("status: 1: "), "{}", failure.why);
        assert!(
            !failure.why.contains("hunter") && !failure.why.contains("XK"),
            "{}",
            failure.why
        );
    }
}

#[test]
fn a_secret_at_the_edge_of_the_end_of_stderr_is_hidden_whole() {
    const SECRET: &str = "PAGER\"SECRET-77-0123456789\nabcdefghijk";
    const SCRIPT: &str = r#"many() { head -c "$1" /dev/zero | tr '\0' "$2"; }
        { many 900 y; printf %s "$1"; many "$2" z; } >&2; exit 1"#;
    let json = json!(SECRET).to_string();
    for written in [SECRET, json.trim_matches('"')] {
        for after in [470_usize, 499, 500, 501, 5000] {
            let options = json!({
                "command": "sh",
                "args": ["-c", SCRIPT, "sh", written, after.to_string()],
                "env": {"TOKEN": SECRET},
            });
            let mut courier = courier_with(&options, &context("command"));
            let results = carry(&mut *courier, &item("1"));
            let failure = results.recv_timeout(DEADLINE).unwrap().unwrap_err();
            let (_, shown) = failure.why.split_once("status: 1: ").unwrap();
            let visible = "z".repeat(after.min(500));
            let shown = shown.trim_start_matches(|c| "y[hidden]".contains(c));
            assert_eq!(shown, visible, "{after}: {written}");
        }
    }
}

#[test]
fn what_is_not_shown_whole_can_only_be_denied() {
    let item = Item {
        call: r#"{"name":"x","arguments":{"password":"hunter2-XK"}}"#.to_owned(),
        ..item("1")
    };
    let redacted = CourierContext {
        show: Show::Redacted,
        ..context("command")
    };
    let script = |answer: &str| {
        let script = format!("grep -q hunter2 && exit 9; echo '{answer}'");
        json!({"command": "sh", "args": ["-c", script]})
    };
    let yes = script(r#"{"action":"accept","content":{"approved":true}}"#);
    let mut courier = courier_with(&yes, &redacted);
    let results = carry(&mut *courier, &item);
    let failure = results.recv_timeout(DEADLINE).unwrap().unwrap_err();
    assert!(failure.why.contains("not shown whole"), "{}", failure.why);
    let mut courier = courier_with(&script(r#"{"action":"decline"}"#), &redacted);
    let results = carry(&mut *courier, &item);
    let verdict = results.recv_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(verdict.choice, Choice::Deny);
}

#[test]
fn a_test_finds_the_program_and_does_not_run_it() {
    let dir = tempfile::tempdir().unwrap();
    let (program, ran) = (dir.path().join("ask"), dir.path().join("ran"));
    std::fs::write(&program, format!("#!/bin/sh\ntouch '{}'\n", ran.display())).unwrap();
    let test = || {
        let settings = settings(&json!({"command": program.to_str()})).unwrap();
        settings.test(&context("command"), DEADLINE)
    };
    assert_eq!(test().unwrap_err().kind, FailureKind::Misconfigured);
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(test().unwrap().contains("is there"));
    assert!(!ran.exists());
    let on_path = settings(&json!({"command": "sh"})).unwrap();
    assert!(on_path.test(&context("command"), DEADLINE).is_ok());
}
