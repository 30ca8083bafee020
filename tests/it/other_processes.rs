//! What another process of the same user can do to a running proxy and its server.
//!
//! Each attack comes with something that the attacker can do, so that it cannot fail for the
//! wrong reason.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::process::Command;

use serde_json::json;

use super::support::{ProxyTest, Session};

const SMUGGLED: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"smuggled"}}"#;

fn server_pid(session: &mut Session) -> u64 {
    let report = session.script(json!({"do": "report"}));
    report["pid"].as_u64().unwrap()
}

#[test]
fn nobody_can_write_a_call_to_the_servers_stdin_through_proc() {
    let mut session = ProxyTest::new().start();
    session.handshake();
    let server = server_pid(&mut session);
    let open = |fd| {
        let path = format!("/proc/{server}/fd/{fd}");
        OpenOptions::new().write(true).open(path)
    };
    let stdin = open(0);
    if let Ok(stdin) = &stdin {
        let mut stdin = stdin;
        stdin.write_all(format!("{SMUGGLED}\n").as_bytes()).unwrap();
        session.sync();
    }
    assert!(!session.has_recorded("smuggled"), "a call ran unseen");
    assert!(stdin.is_err(), "{stdin:?}");
    // Servers do open their stdout that way.
    assert!(open(1).is_ok());
    session.finish();
}

#[test]
fn a_server_may_write_to_its_stdout_by_name() {
    let test = ProxyTest::new();
    let script = test.path("server.sh");
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    let text = format!("while read -r line; do echo '{answer}' > /dev/stdout; done");
    fs::write(&script, text).unwrap();
    let test = test.entry("command", json!("sh"));
    let mut session = test.entry("args", json!([script])).start();
    let id = session.request("ping", json!({}));
    assert_eq!(session.response(id)["result"], json!({}));
    session.finish();
}

#[test]
fn a_server_that_writes_to_its_stdin_still_sees_a_plain_end_of_it() {
    // The first write fails. The loop then ends with the end of the input, not with an error.
    let script = r#"
        import os, signal
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        try: os.write(0, b"x" * 1000)
        except OSError: pass
        print('{"jsonrpc":"2.0","method":"notifications/wrote"}', flush=True)
        while os.read(0, 1000): pass
        open(os.environ["DONE"], "w").write("done")
    "#;
    let script: String = script
        .lines()
        .map(|line| line.trim().to_owned() + "\n")
        .collect();
    if !has("python3") {
        return;
    }
    let test = ProxyTest::new();
    let done = test.path("done");
    let mut session = test
        .entry("command", json!("python3"))
        .entry("args", json!(["-c", script]))
        .entry("env", json!({"DONE": done}))
        .start();
    session.message("notifications/wrote");
    session.close_stdin();
    session.exit();
    assert_eq!(fs::read_to_string(done).unwrap(), "done");
}

#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn has(program: &str) -> bool {
    let mut command = Command::new(program);
    let has = command.arg("--version").output().is_ok();
    if !has {
        println!("skipped: there is no {program} here");
    }
    has
}
