//! The programs in examples/engines, which the engines' pages tell people to use.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::support::{OddServer, eventually, response};

fn has(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .output();
    found.is_ok_and(|output| output.status.success())
}

fn example(name: &str) -> String {
    format!("{}/examples/engines/{name}", env!("CARGO_MANIFEST_DIR"))
}

const ID: &str = "9f1cab00000000000000000000000000";

fn question(message: &str) -> String {
    json!({
        "mode": "form",
        "message": message,
        "request": {"id": ID, "server": "db", "tool": "drop_table", "risk": "high", "approvable": true},
    })
    .to_string()
}

/// Runs a program with a question on stdin. Returns its answer, if it exited with status 0.
fn answer_of(command: &mut Command, question: &str) -> Option<Value> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // A program may fail before it reads.
    let _ = child.stdin.take().unwrap().write_all(question.as_bytes());
    let output = child.wait_with_output().unwrap();
    let answer = output.status.success().then_some(output.stdout)?;
    Some(serde_json::from_slice(&answer).unwrap())
}

#[test]
fn a_desktop_notification_asks_with_two_buttons() {
    if !has("jq") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (fake, seen) = (dir.path().join("notify-send"), dir.path().join("seen"));
    let ask = |choice: &str, message: &str| {
        let script = format!(
            "#!/bin/sh\nprintf '%s\\n' \"$@\" > '{}'\necho {choice}\n",
            seen.display()
        );
        std::fs::write(&fake, script).unwrap();
        std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!(
            "{}:{}",
            dir.path().display(),
            std::env::var("PATH").unwrap()
        );
        let mut command = Command::new(example("desktop-notification.sh"));
        answer_of(command.env("PATH", path), &question(message))
    };
    let yes = json!({"action": "accept", "content": {"approved": true}});
    assert_eq!(ask("yes", "Drop <b>it</b>?"), Some(yes));
    let shown = std::fs::read_to_string(&seen).unwrap();
    assert!(shown.contains("Drop &lt;b&gt;it&lt;/b&gt;?"), "{shown}");
    let no = json!({"action": "accept", "content": {"approved": false}});
    assert_eq!(ask("no", "Drop it?"), Some(no));
    // Closed without a choice, and too long to be shown whole.
    assert_eq!(ask("", "Drop it?"), None);
    assert_eq!(ask("yes", &"x".repeat(1_001)), None);
}

#[test]
fn a_note_with_the_code_of_the_incident_answers_in_pagerduty() {
    if !has("python3") {
        return;
    }
    let keys = tempfile::NamedTempFile::new().unwrap();
    let content = json!({"routing_key": "routing-7", "token": "token-7"}).to_string();
    std::fs::write(keys.path(), content).unwrap();
    for (note, approved) in [
        ("approve 9f1cab", true),
        ("deny 9f1cab needs OPS-12", false),
    ] {
        let looks = Arc::new(Mutex::new(0));
        let service = OddServer::start(move |request| {
            let body = match &*request.path {
                "/v2/enqueue" => json!({"status": "success"}),
                path if path == format!("/incidents?incident_key={ID}") => {
                    json!({"incidents": [{"id": "P1"}]})
                }
                "/incidents/P1/notes" => {
                    let mut looks = looks.lock().unwrap();
                    *looks += 1;
                    // Nothing but the words with this incident's code counts.
                    let note = match *looks {
                        1 => "approve",
                        2 => "approve 000000",
                        3 => "I would not approve 9f1cab yet",
                        _ => note,
                    };
                    json!({"notes": [{"content": note, "user": {"summary": "Ann"}}]})
                }
                _ => return response(404, &[], ""),
            };
            response(200, &[], &body.to_string())
        });
        let url = format!("http://127.0.0.1:{}", service.port);
        let mut command = Command::new(example("pagerduty.py"));
        command.arg(keys.path()).envs([
            ("PAGERDUTY_EVENTS", url.as_str()),
            ("PAGERDUTY_API", &url),
            ("PAGERDUTY_PAUSE", "0.01"),
        ]);
        let answer = answer_of(&mut command, &question("Drop it?")).unwrap();
        assert_eq!(answer["content"]["approved"], approved, "{answer}");
        let reason = answer["content"]["reason"].as_str().unwrap();
        assert!(
            reason.contains(if approved { "Ann" } else { "OPS-12" }),
            "{reason}"
        );
        let seen = service.seen();
        let events: Vec<Value> = seen
            .iter()
            .filter(|request| request.path == "/v2/enqueue")
            .map(|request| serde_json::from_str(&request.text).unwrap())
            .collect();
        assert_eq!(
            (&events[0]["event_action"], &events[1]["event_action"]),
            (&json!("trigger"), &json!("resolve"))
        );
        assert!(events.iter().all(|event| event["dedup_key"] == ID));
        let details = &events[0]["payload"]["custom_details"];
        assert_eq!(details["question"], "Drop it?");
        let read = seen.iter().find(|request| request.method == "GET").unwrap();
        assert_eq!(read.header("authorization"), Some("Token token=token-7"));
    }
}

/// Ended when the test ends, whatever happens.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_example_receiver_asks_in_its_terminal() {
    if !has("python3") {
        return;
    }
    let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut command = Command::new(example("webhook_receiver.py"));
    let command = command.arg(port.to_string()).stdin(Stdio::piped());
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut receiver = Running(child.unwrap());
    eventually("it listens", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    let mut keyboard = receiver.0.stdin.take().unwrap();
    keyboard.write_all(b"y\nn\n").unwrap();
    for approved in [true, false] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let body = question("Drop it?");
        let head = format!(
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
        let answer = answer.split("\r\n\r\n").last().unwrap();
        let answer: Value = serde_json::from_str(answer).unwrap();
        assert_eq!(answer["action"], "accept");
        assert_eq!(answer["content"]["approved"], approved);
    }
}
