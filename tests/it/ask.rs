//! `approval-proxy ask`: exit codes, what people see, and what a script reads.

use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::support::{Terminal, approval_records, eventually, state_folder};

struct Asking {
    terminal: Terminal,
    child: Child,
}

fn asking(state: &std::path::Path, arguments: &[&str]) -> Asking {
    let terminal = Terminal::at(state);
    let words = [
        &["ask", "--engine", "inbox", "--inbox-port", "0"],
        arguments,
    ]
    .concat();
    // Not through `setsid`, which would get the signals.
    let mut command = std::process::Command::new(super::support::proxy());
    let child = command
        .args(words)
        .env("APPROVAL_STATE_DIR", state)
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .env("BROWSER", "")
        .env("DISPLAY", "")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Asking { terminal, child }
}

impl Asking {
    /// The exit code and what it printed.
    fn ends(self) -> (Option<i32>, String) {
        let ended = self.child.wait_with_output().unwrap();
        (
            ended.status.code(),
            String::from_utf8(ended.stdout).unwrap(),
        )
    }
}

#[test]
fn a_yes_is_0_and_a_no_is_10_and_both_say_who() {
    for (verdict, code, word) in [("approve", 0, "approved"), ("deny", 10, "denied")] {
        let dir = state_folder();
        let details = r#"{"env": "prod-7"}"#;
        let asking = asking(
            dir.path(),
            &[
                "Deploy 1.4",
                "--details",
                details,
                "--risk",
                "high",
                "--reason",
                "why-7",
                "--wait",
                "60",
            ],
        );
        let item = asking.terminal.wait_for_item("request_approval");
        let shown = asking.terminal.approvals(&["show", &item]).out;
        for part in ["Deploy 1.4", "prod-7", "why-7", "high", "advisory"] {
            assert!(
                shown.to_lowercase().contains(&part.to_lowercase()),
                "{part}: {shown}"
            );
        }
        let decided =
            asking
                .terminal
                .approvals(&[verdict, &item, "--reason", "OPS-12 \u{202e}\u{9b}2J"]);
        assert_eq!(decided.code, Some(0), "{decided:?}");
        let (ended, out) = asking.ends();
        assert_eq!(ended, Some(code), "{out}");
        assert!(
            out.starts_with(word) && out.contains("inbox-terminal") && out.contains("OPS-12"),
            "{out}"
        );
        assert!(
            !out.contains('\u{202e}') && !out.contains('\u{9b}'),
            "{out:?}"
        );
        let states: Vec<Value> = approval_records(dir.path())
            .iter()
            .map(|record| record["state"].clone())
            .collect();
        assert_eq!(states, ["asked", word]);
    }
}

#[test]
fn nobody_in_time_is_12() {
    let dir = state_folder();
    let (code, out) = asking(dir.path(), &["x", "--wait", "1"]).ends();
    assert_eq!((code, &*out), (Some(12), "nobody decided in time\n"));
    assert_eq!(Terminal::at(dir.path()).open_items().len(), 0);
}

#[test]
fn json_has_what_an_agent_gets() {
    let dir = state_folder();
    let (code, out) = asking(dir.path(), &["x", "--wait", "1", "--json"]).ends();
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["status"]), (Some(12), &"expired".into()));
    assert_eq!(json["decided"], false);
}

#[test]
fn a_signal_withdraws_the_question() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let dir = state_folder();
        let asking = asking(dir.path(), &["x"]);
        let item = asking.terminal.wait_for_item("request_approval");
        let pid = Pid::from_child(&asking.child);
        kill_process(pid, signal).unwrap();
        assert_eq!(asking.ends().0, Some(code));
        let terminal = Terminal::at(dir.path());
        eventually("it is withdrawn", || terminal.open_items().is_empty());
        assert_ne!(terminal.approvals(&["approve", &item]).code, Some(0));
        let last = approval_records(dir.path()).pop().unwrap();
        assert_eq!(last["state"], "cancelled", "{last}");
    }
}

#[test]
fn what_cannot_be_asked_is_bad_usage_and_asks_nobody() {
    let dir = state_folder();
    let long = "x".repeat(2_001);
    for arguments in [
        &[][..],
        &[""],
        &[&*long],
        &["x", "--details", "{"],
        &["x", "--details", "[]"],
        &["x", "--risk", "huge"],
        &["x", "--wait", "0"],
        &["x", "--wait", "604801"],
        &["x", "--wait", "soon"],
    ] {
        let (code, out) = asking(dir.path(), arguments).ends();
        assert_eq!((code, &*out), (Some(2), ""), "{arguments:?}");
    }
    assert_eq!(Terminal::at(dir.path()).open_items().len(), 0);
}
