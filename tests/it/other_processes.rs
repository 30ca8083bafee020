//! Attacks by another process of the same user on a running proxy and its server.
//!
//! Each test also does something that the attacker may do, to prove that the attack does not fail for
//! another reason.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::support::{ProxyTest, Session, eventually, proxy, scripted_upstream};

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
    // Opening stdout this way must work: servers do it.
    assert!(open(1).is_ok());
    session.finish();
}

// Other processes of the user can write to the server's stdout. The true answer reveals a forged one.
#[test]
fn an_answer_forged_through_proc_leaves_a_record() {
    let mut session = ProxyTest::new().start();
    session.handshake();
    session.passes("read", json!({}));
    let server = server_pid(&mut session);
    let call = session.call("slow", json!({"ms": 500}));
    eventually("the server has the call", || session.has_recorded("slow"));
    let stdout = OpenOptions::new()
        .write(true)
        .open(format!("/proc/{server}/fd/1"));
    let forged = json!({"jsonrpc": "2.0", "id": call, "result": {"forged": true}});
    stdout
        .unwrap()
        .write_all(format!("{forged}\n").as_bytes())
        .unwrap();
    assert_eq!(session.response(call), forged);
    assert!(session.response(call)["result"]["content"].is_array());
    session.wait_for_event("unasked_answer");
    let log = session.log();
    let line = log.iter().find(|line| line["event"] == "unasked_answer");
    assert_eq!(line.unwrap()["request_id"], call);
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
fn a_server_that_writes_to_its_stdin_still_reads_a_normal_end_of_input() {
    // The write fails. The loop must then end at the end of the input, not with an error.
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

/// An unprivileged user. Root may do anything, so if the tests run as root, the proxy and its attacker
/// both become another user.
struct User {
    becomes: Vec<&'static str>,
    dir: tempfile::TempDir,
}

impl User {
    /// Returns `None`, with a notice, if root cannot become another user.
    fn new() -> Option<User> {
        let is_root = rustix::process::geteuid().is_root();
        if is_root && !has("setpriv") {
            return None;
        }
        let becomes = vec![
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--",
        ];
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        Some(User {
            becomes: if is_root { becomes } else { Vec::new() },
            dir,
        })
    }

    /// Copies a program so that this user can run it.
    fn program(&self, original: &Path) -> PathBuf {
        let copy = self.dir.path().join(original.file_name().unwrap());
        fs::copy(original, &copy).unwrap();
        fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
        copy
    }

    fn command(&self, program: &Path) -> Command {
        let mut words = self.becomes.iter().map(Path::new).chain([program]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        // Not that of root, which another user cannot read.
        command.env("HOME", self.dir.path());
        command
    }

    /// Returns true if this user's shell succeeds with a script whose `$1` is a process id.
    fn can(&self, script: &str, pid: u64) -> bool {
        let mut command = self.command(Path::new("sh"));
        command.args(["-c", script, "sh"]).arg(pid.to_string());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().unwrap().success()
    }

    fn cannot_look_into(&self, pid: u64) {
        assert!(self.can("kill -0 $1", pid), "the attacker is another user");
        for attack in [
            "cat /proc/$1/environ",
            "ls /proc/$1/fd/",
            "exec 3< /proc/$1/mem",
            "exec 3< /proc/$1/fd/0",
            "exec 3> /proc/$1/fd/0",
            "exec 3> /proc/$1/fd/1",
        ] {
            assert!(!self.can(attack, pid), "{attack}");
        }
    }
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

#[cfg(target_os = "linux")]
#[test]
fn the_same_user_cannot_look_into_the_proxy_or_write_to_it() {
    let Some(user) = User::new() else { return };
    let (proxy, server) = (user.program(&proxy()), user.program(scripted_upstream()));
    let become_user = user.becomes.join(" ");
    let test = ProxyTest::new();
    // The configuration's folder must belong to the user, and nobody else may write to it.
    if !user.becomes.is_empty() {
        std::os::unix::fs::chown(test.path(""), Some(65534), Some(65534)).unwrap();
    }
    let mut session = test
        .entry("command", json!(server))
        .in_shell(&format!("exec {become_user} {} \"$@\";", proxy.display()))
        .start();
    session.handshake();
    let proxy = session.pid().as_raw_nonzero().get() as u64;
    user.cannot_look_into(proxy);
    // The attacker can look into the server, so it is the same user.
    let server = server_pid(&mut session);
    assert!(user.can("cat /proc/$1/environ && exec 3> /proc/$1/fd/1", server));
    assert!(!user.can("exec 3> /proc/$1/fd/0", server));
    let id = session.call("wipe", json!({}));
    session.approve();
    assert_eq!(
        session.response(id)["result"]["content"][0]["text"],
        "wipe ran"
    );
    session.finish();
}

#[cfg(target_os = "linux")]
#[test]
fn the_same_user_cannot_look_into_the_commands_that_ask_for_a_passphrase() {
    let Some(user) = User::new() else { return };
    let proxy = user.program(&proxy());
    let state = user.dir.path().join("state");
    let mut command = user.command(&proxy);
    command
        .args(["inbox", "--no-browser", "--inbox-port", "0", "--state-dir"])
        .arg(&state);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let inbox = Running(command.spawn().unwrap());
    eventually("the page is served", || state.join("page.lock").exists());
    user.cannot_look_into(inbox.0.id().into());
}

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
