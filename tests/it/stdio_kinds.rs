//! Kinds of stdin and stdout that clients use: sockets, files, devices. All other tests use pipes.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::ProxyTest;

const TRANSCRIPT: &str = concat!(
    r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{"elicitation":{}},"clientInfo":{"name":"c","version":"0"}}}"#,
    "\n",
    r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    "\n",
    r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"read","arguments":{}}}"#,
    "\n",
    r#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"wipe","arguments":{"marker":1}}}"#,
    "\n",
    r#"{"jsonrpc":"2.0","id":4,"method":"ping"}"#,
    "\n",
);

fn responses(text: &str) -> Vec<(u64, Value)> {
    let messages = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut responses: Vec<(u64, Value)> = messages
        .filter(|message| message.get("method").is_none())
        .map(|message| (message["id"].as_u64().unwrap(), message["result"].clone()))
        .collect();
    responses.sort_by_key(|(id, _)| *id);
    responses
}

#[test]
fn plain_files_work_as_stdin_and_stdout() {
    let test = ProxyTest::new();
    std::fs::write(test.path("transcript"), TRANSCRIPT).unwrap();
    let transcript = File::open(test.path("transcript")).unwrap();
    let out = File::create(test.path("out")).unwrap();
    let mut session = test.stdin(transcript).stdout(out).start();
    assert_eq!(session.exit().0, 0);
    let out = std::fs::read_to_string(session.path("out")).unwrap();
    let responses = responses(&out);
    assert_eq!(
        responses.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        [1, 2, 3, 4],
        "{out}"
    );
    assert_eq!(responses[1].1["content"][0]["text"], "read ran");
    // Nobody can answer the prompt.
    assert_eq!(responses[2].1["isError"], true);
    assert!(!session.has_recorded("marker"));
}

#[test]
fn a_socket_works_as_stdin_and_stdout() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let test = ProxyTest::new();
    // Some clients use one socket for both.
    let stdin = OwnedFd::from(theirs.try_clone().unwrap());
    let mut session = test.stdin(stdin).stdout(OwnedFd::from(theirs)).start();
    (&ours).write_all(TRANSCRIPT.as_bytes()).unwrap();
    let mut lines = BufReader::new(&ours).lines();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let message: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        if message["method"] == "elicitation/create" {
            let yes = json!({"jsonrpc": "2.0", "id": message["id"],
                             "result": {"action": "accept", "content": {"approved": true}}});
            (&ours).write_all(format!("{yes}\n").as_bytes()).unwrap();
        } else {
            seen.push(message["id"].clone());
        }
    }
    // An answer that does not fit into the socket's buffer.
    let big = json!({"jsonrpc": "2.0", "id": "big", "method": "tools/call",
                     "params": {"name": "big", "arguments": {"bytes": 3_000_000}}});
    (&ours).write_all(format!("{big}\n").as_bytes()).unwrap();
    let answer = loop {
        let line = lines.next().unwrap().unwrap();
        if line.len() > 10_000 {
            break line;
        }
    };
    assert!(answer.len() > 3_000_000 && answer.ends_with('}'));
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(session.exit().0, 0);
}

#[test]
fn dev_null_works_as_stdin_or_stdout() {
    let mut session = ProxyTest::new().stdin(Stdio::null()).start();
    let (code, took) = session.exit();
    assert_eq!(code, 0);
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(session.rest(), Vec::<Value>::new());

    let mut session = ProxyTest::new().stdout(Stdio::null()).start();
    session.send_bytes(TRANSCRIPT.as_bytes());
    session.close_stdin();
    assert_eq!(session.exit().0, 0);
    assert!(session.has_recorded(r#""name":"read""#) && !session.has_recorded("marker"));
}

// A process that shares the pipe with us must not get a non-blocking pipe.
#[test]
fn a_shared_pipe_stays_blocking() {
    use rustix::fs::{OFlags, fcntl_getfl};
    let (input, to_proxy) = std::io::pipe().unwrap();
    let (from_proxy, output) = std::io::pipe().unwrap();
    let kept = (input.try_clone().unwrap(), output.try_clone().unwrap());
    let mut session = ProxyTest::new().stdin(input).stdout(output).start();
    (&to_proxy).write_all(TRANSCRIPT.as_bytes()).unwrap();
    let mut lines = BufReader::new(from_proxy).lines();
    assert!(lines.next().unwrap().unwrap().contains("protocolVersion"));
    for flags in [fcntl_getfl(&kept.0).unwrap(), fcntl_getfl(&kept.1).unwrap()] {
        assert!(!flags.contains(OFlags::NONBLOCK), "{flags:?}");
    }
    drop(to_proxy);
    assert_eq!(session.exit().0, 0);
}
