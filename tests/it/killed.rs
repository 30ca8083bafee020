//! A killed proxy leaves no server and no watcher behind.
//!
//! `life_cycle` and `signals` test how a proxy ends its servers itself.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};

use super::support::{ProxyTest, Session, eventually, in_session, is_running, proxy};

/// A proxy around a server that ignores the end of its input and SIGTERM.
fn stubborn() -> ProxyTest {
    let test = ProxyTest::new().upstream(["--stay"]);
    let entry = test.built_entry();
    let mut args = vec![
        json!("-c"),
        json!("trap '' TERM; exec \"$0\" \"$@\""),
        entry["command"].clone(),
    ];
    args.extend(entry["args"].as_array().unwrap().iter().cloned());
    let test = test.entry("command", json!("sh"));
    test.entry("args", json!(args))
}

/// A proxy around a shell script.
fn scripted(script: &str) -> ProxyTest {
    let test = ProxyTest::new();
    let file = test.path("server.sh");
    fs::write(&file, script).unwrap();
    let test = test.entry("command", json!("sh"));
    test.entry("args", json!([file]))
}

fn pid_in(result: &Value) -> u64 {
    result["pid"].as_u64().unwrap()
}

fn started(test: ProxyTest) -> (Session, u64) {
    let mut session = test.start();
    session.handshake();
    let server = pid_in(&session.script(json!({"do": "report"})));
    (session, server)
}

fn raw(session: &Session) -> u64 {
    session.pid().as_raw_nonzero().get() as u64
}

/// Returns the watchers of a process, zombies included.
fn watchers_of(parent: u64) -> Vec<u64> {
    let processes = fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let is_watcher = |pid: &u64| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent_of = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1));
        parent_of == Some(&*parent.to_string()) && stat.contains("(approval-watch)")
    };
    pids.filter(is_watcher).collect()
}

/// Waits for the proxy's only watcher to set its name, and returns its process id.
fn watcher_of(session: &Session) -> u64 {
    let proxy = raw(session);
    let mut watchers = Vec::new();
    eventually("there is a watcher", || {
        watchers = watchers_of(proxy);
        !watchers.is_empty()
    });
    assert_eq!(watchers.len(), 1);
    watchers[0]
}

fn gone(what: &str, pid: u64) {
    eventually(what, || !is_running(pid));
}

#[test]
fn a_server_that_ignores_everything_ends_with_all_its_children() {
    let (mut session, server) = started(stubborn());
    let grandchild = pid_in(&session.script(json!({"do": "grandchild"})));
    let watcher = watcher_of(&session);
    let killed = Instant::now();
    session.signal(Signal::KILL);
    assert_eq!(session.exit().0, -9);
    // The watcher keeps no file of the client open, so the client sees the end at once.
    assert_eq!(session.rest(), Vec::<Value>::new());
    assert!(
        is_running(watcher) && is_running(server),
        "{:?}",
        killed.elapsed()
    );
    gone("the server", server);
    gone("the grandchild", grandchild);
    assert!(
        killed.elapsed() < Duration::from_secs(8),
        "{:?}",
        killed.elapsed()
    );
    gone("the watcher", watcher);
}

#[test]
fn a_server_that_ends_with_its_input_may_finish_its_work() {
    let test = scripted(
        "trap 'echo terminated >> \"$DONE\"' TERM; cat > /dev/null; sleep 1; echo done >> \"$DONE\"",
    );
    let done = test.path("done");
    let mut session = test.entry("env", json!({"DONE": done})).start();
    let watcher = watcher_of(&session);
    session.signal(Signal::KILL);
    session.exit();
    gone("the watcher", watcher);
    assert_eq!(fs::read_to_string(done).unwrap(), "done\n");
}

#[test]
fn a_proxy_that_ends_by_itself_leaves_no_watcher() {
    let (mut session, server) = started(ProxyTest::new());
    let watcher = watcher_of(&session);
    session.close_stdin();
    assert_eq!(session.exit().0, 0);
    assert!(!is_running(watcher) && !is_running(server));
}

#[test]
fn the_watcher_survives_a_kill_of_the_proxys_process_group() {
    let (mut session, server) = started(stubborn().in_shell("exec setsid \"$0\" \"$@\";"));
    let watcher = watcher_of(&session);
    kill_process_group(session.pid(), Signal::KILL).unwrap();
    assert_eq!(session.exit().0, -9);
    gone("the server", server);
    gone("the watcher", watcher);
}

#[test]
fn signals_that_would_end_the_proxy_do_not_end_the_watcher() {
    let (mut session, server) = started(stubborn());
    let watcher = watcher_of(&session);
    let pid = Pid::from_raw(watcher as i32).unwrap();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        kill_process(pid, signal).unwrap();
    }
    session.signal(Signal::KILL);
    session.exit();
    gone("the server", server);
    gone("the watcher", watcher);
}

/// Starts a proxy that serves HTTP, with two sessions and so two servers.
fn two_sessions(test: ProxyTest) -> (Session, [u64; 2]) {
    let test = test.flags(["--transport", "streamable-http", "--port", "0"]);
    let proxy = test.start();
    let servers = [(); 2].map(|()| server_of_new_session(&proxy));
    (proxy, servers)
}

fn server_of_new_session(proxy: &Session) -> u64 {
    let http = proxy.http();
    let session = http.session();
    let report = json!({"jsonrpc": "2.0", "id": 1, "method": "script", "params": {"do": "report"}});
    pid_in(&http.post(&in_session(&session), report).message()["result"])
}

#[test]
fn all_sessions_of_a_proxy_share_one_watcher() {
    let (mut proxy, servers) = two_sessions(stubborn());
    let watcher = watcher_of(&proxy);
    proxy.signal(Signal::KILL);
    proxy.exit();
    for server in servers {
        gone("a server", server);
    }
    gone("the watcher", watcher);
}

#[test]
fn a_watcher_that_was_killed_is_restarted_and_knows_the_earlier_servers() {
    let (mut proxy, [first, second]) = two_sessions(stubborn());
    let watcher = watcher_of(&proxy);
    kill_process(Pid::from_raw(watcher as i32).unwrap(), Signal::KILL).unwrap();
    gone("the watcher", watcher);
    let third = server_of_new_session(&proxy);
    assert!(is_running(first) && is_running(second));
    assert_ne!(watcher_of(&proxy), watcher);
    proxy.signal(Signal::KILL);
    proxy.exit();
    for server in [first, second, third] {
        gone("a server", server);
    }
}

#[test]
fn a_proxy_that_lost_its_watcher_ends_its_servers_itself() {
    let (mut proxy, servers) = two_sessions(ProxyTest::new());
    let watcher = watcher_of(&proxy);
    kill_process(Pid::from_raw(watcher as i32).unwrap(), Signal::KILL).unwrap();
    gone("the watcher", watcher);
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.exit().0, 143);
    assert!(!servers.into_iter().any(is_running));
}

#[test]
fn only_the_proxy_can_start_a_watcher() {
    let output = Command::new(proxy())
        .arg("__watcher")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("do not run the watcher yourself"),
        "{stderr}"
    );
}
