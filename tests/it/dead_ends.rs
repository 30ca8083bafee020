//! Peers that stop reading or never stop writing: memory stays bounded, nothing is lost, and the
//! proxy can always be stopped.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::support::{ProxyTest, Session, eventually};

fn session() -> Session {
    let mut session = ProxyTest::new().start();
    session.handshake();
    session
}

/// Returns the resident memory of the proxy, in KiB.
fn resident(session: &Session) -> u64 {
    let pid = session.pid().as_raw_nonzero();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Starts a thread that writes up to 20 MB, as far as the proxy reads it. Returns the thread and its
/// count of lines.
fn fill(session: &mut Session) -> (thread::JoinHandle<()>, Arc<AtomicUsize>) {
    let mut stdin = session.stdin.take().unwrap();
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let writer = thread::spawn(move || {
        let line = filler_line();
        while count.load(Ordering::Relaxed) < 5_000 && stdin.write_all(line.as_bytes()).is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    (writer, written)
}

fn filler_line() -> String {
    let params = ["x".repeat(4_000)];
    let line = json!({"jsonrpc": "2.0", "method": "notifications/filler", "params": params});
    format!("{line}\n")
}

#[test]
fn a_client_that_does_not_read_costs_no_memory_and_loses_nothing() {
    let mut session = ProxyTest::new().start();
    session.notify(
        "script",
        json!({"do": "flood", "count": 10_000, "size": 2_000}),
    );
    // Nobody reads the 20 MB, so the server must wait and our memory must not grow.
    eventually("something is written", || {
        let pipe = session.stdout.as_ref().unwrap();
        rustix::io::ioctl_fionread(pipe).unwrap() > 32 * 1024
    });
    let mut most = 0;
    for _ in 0..50 {
        most = most.max(resident(&session));
        thread::sleep(Duration::from_millis(2));
    }
    assert!(most < 40 * 1024, "{most} KiB");
    for n in 0..10_000 {
        assert_eq!(session.next()["params"]["n"], n);
    }
    session.finish();
}

#[test]
fn a_client_that_does_not_read_can_close() {
    let mut session = ProxyTest::new().start();
    session.notify(
        "script",
        json!({"do": "flood", "count": 10_000, "size": 2_000}),
    );
    eventually("the pipe is full", || {
        let pipe = session.stdout.as_ref().unwrap();
        rustix::io::ioctl_fionread(pipe).unwrap() > 32 * 1024
    });
    session.close_stdin();
    drop(session.stdout.take());
    let (code, took) = session.exit();
    assert_eq!(code, 0);
    assert!(took < Duration::from_secs(7), "{took:?}");
}

#[test]
fn if_the_server_does_not_read_memory_stays_bounded_and_a_signal_ends_the_proxy() {
    let mut session = session();
    session.notify("script", json!({"do": "stop_reading"}));
    session.message("notifications/stopped");
    let (writer, written) = fill(&mut session);
    let mut last = (0, 0);
    eventually("nothing more is taken", || {
        let now = written.load(Ordering::Relaxed);
        last = if now == last.0 {
            (now, last.1 + 1)
        } else {
            (now, 0)
        };
        now > 0 && last.1 > 50
    });
    assert!(!writer.is_finished());
    let kept = resident(&session);
    assert!(kept < 40 * 1024, "{kept} KiB");
    session.signal(Signal::TERM);
    let (code, took) = session.exit();
    assert_eq!(code, 143);
    assert!(took < Duration::from_secs(7), "{took:?}");
    writer.join().unwrap();
}

// contract.md, "Processes": "The death of either side ends the other promptly"
#[test]
fn if_the_server_does_not_read_the_death_of_the_client_still_ends_the_proxy() {
    let mut session = ProxyTest::new().start();
    session.notify("script", json!({"do": "stop_reading"}));
    eventually("it has read its last", || {
        session.has_recorded("stop_reading")
    });
    // Fill the pipe to the server, the proxy's buffers and the pipe from the client. Then the client
    // closes, as it does when it dies.
    let mut stdin = session.stdin.take().unwrap();
    let flags = rustix::fs::fcntl_getfl(&stdin).unwrap();
    rustix::fs::fcntl_setfl(&stdin, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    let line = filler_line();
    let mut refused = 0;
    eventually("the pipe is full", || {
        match stdin.write(line.as_bytes()) {
            Ok(_) => refused = 0,
            Err(_) => refused += 1,
        }
        refused > 50
    });
    drop(stdin);
    drop(session.stdout.take().expect("nothing else has taken it"));
    let (code, took) = session.exit();
    assert_eq!(code, 0);
    assert!(took < Duration::from_secs(10), "{took:?}");
}

// A server that handles one request at a time does not read while its output is not read. The proxy and
// the server must not wait for each other.
#[test]
fn a_server_with_large_answers_never_deadlocks_with_the_proxy() {
    let mut session = session();
    session.passes("read", json!({}));
    let count = 300;
    let mut stdin = session.stdin.take().unwrap();
    let writer = thread::spawn(move || {
        let call = |id: &str, tool: &str| {
            let arguments = json!({"bytes": 30_000, "ms": 200, "filler": "x".repeat(4_000)});
            let params = json!({"name": tool, "arguments": arguments});
            let call =
                json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
            format!("{call}\n")
        };
        // While the server is busy with the first call, send more than the proxy buffers.
        let mut all = call("first", "slow");
        all.extend((0..count).map(|n| call(&format!("c{n}"), "big")));
        // If the test fails, the proxy may be gone.
        let _ = stdin.write_all(all.as_bytes());
        stdin
    });
    session.response("first");
    for n in 0..count {
        let response: Value = session.response(format!("c{n}"));
        let text = response["result"]["content"][0]["text"].as_str().unwrap();
        assert_eq!(text.len(), 30_000);
    }
    drop(writer.join().unwrap());
    assert_eq!(session.exit().0, 0);
}
