//! contract.md, "Processes": when each side ends, and which errors the others get.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::{ProxyTest, Session, eventually, is_running};

fn upstream_pid(session: &mut Session) -> u64 {
    session.script(json!({"do": "report"}))["pid"]
        .as_u64()
        .unwrap()
}

fn session<const N: usize>(upstream: [&str; N]) -> Session {
    let mut session = ProxyTest::new().upstream(upstream).start();
    session.handshake();
    session
}

/// Starts a session with a server that ignores SIGTERM.
fn session_ignoring_sigterm<const N: usize>(upstream: [&str; N]) -> Session {
    let test = ProxyTest::new().upstream(upstream);
    let entry = test.built_entry();
    let mut args = vec![
        json!("-c"),
        json!("trap '' TERM; exec \"$0\" \"$@\""),
        entry["command"].clone(),
    ];
    args.extend(entry["args"].as_array().unwrap().iter().cloned());
    let mut session = test
        .entry("command", json!("sh"))
        .entry("args", json!(args))
        .start();
    session.handshake();
    session
}

fn gone(pid: u64) {
    eventually("the process is gone", || !is_running(pid));
}

// contract.md, "Command line": "Exit: 0 when the client closes"; contract.md, "Processes": "The
// death of either side ends the other promptly".
#[test]
fn when_the_client_closes_the_server_ends_and_the_code_is_0() {
    let mut session = session([]);
    let server = upstream_pid(&mut session);
    assert!(is_running(server));
    session.close_stdin();
    let (code, took) = session.exit();
    assert_eq!(code, 0);
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(!is_running(server), "reaped before the proxy ends");
    assert_eq!(session.rest(), Vec::<Value>::new());
}

#[test]
fn a_client_that_closes_without_a_word_ends_the_proxy_normally() {
    let mut session = ProxyTest::new().start();
    session.close_stdin();
    assert_eq!(session.exit().0, 0);
    assert_eq!(session.stderr(), "");
}

// contract.md, "Processes": "every pending request gets an answer".
#[test]
fn when_the_server_dies_every_pending_request_gets_an_error_and_the_code_is_6() {
    let mut session = session([]);
    session.passes("read", json!({}));
    let held = session.call("wipe", json!({"marker": 1}));
    let prompt = session.prompt();
    let hanging = session.call("hang", json!({}));
    session.notify("script", json!({"do": "exit", "code": 3}));
    for (id, part) in [(held, "the server"), (hanging, "status 3")] {
        let response = session.response(id);
        assert!(
            response["error"]["message"]
                .as_str()
                .unwrap()
                .contains(part),
            "{response}"
        );
    }
    let withdrawn = session.message("notifications/cancelled");
    assert_eq!(withdrawn["params"]["requestId"], prompt["id"]);
    assert_eq!(session.exit().0, 6);
    assert!(!session.has_recorded("marker"));
    let line = session.decision("wipe");
    assert_eq!(
        (&line["decision"], &line["forwarded"]),
        (&json!("error"), &json!(false))
    );
}

#[test]
fn what_the_server_wrote_before_it_died_still_arrives() {
    let mut session = session([]);
    let id = session.request("ping", json!({}));
    session.notify("script", json!({"do": "flood", "count": 500, "size": 1000}));
    let last = r#"{"jsonrpc":"2.0","method":"notifications/last"}"#;
    // Some servers end without a newline.
    session.notify("script", json!({"do": "say", "text": last}));
    session.notify("script", json!({"do": "exit"}));
    session.response(id);
    let rest = session.rest();
    assert_eq!(rest.len(), 501);
    assert_eq!(rest[500]["method"], "notifications/last");
    assert_eq!(session.exit().0, 6);
}

#[test]
fn half_a_message_of_a_dying_server_is_not_relayed() {
    let mut session = session([]);
    session.notify(
        "script",
        json!({"do": "say", "text": r#"{"jsonrpc":"2.0","id":1,"resu"#}),
    );
    session.notify("script", json!({"do": "exit"}));
    assert_eq!(session.rest(), Vec::<Value>::new());
    assert_eq!(session.exit().0, 6);
}

#[test]
fn a_server_that_closes_its_stdout_counts_as_dead() {
    let mut session = session(["--stay"]);
    let server = upstream_pid(&mut session);
    let hanging = session.call("hang", json!({}));
    session.notify("script", json!({"do": "close_stdout"}));
    assert!(session.response(hanging).get("error").is_some());
    let (code, took) = session.exit();
    assert_eq!(code, 6);
    assert!(took < Duration::from_secs(6), "{took:?}");
    gone(server);
}

#[test]
fn a_server_that_closes_its_stdin_counts_as_dead_at_the_next_write() {
    let mut session = session([]);
    let server = upstream_pid(&mut session);
    session.notify("script", json!({"do": "close_stdin"}));
    session.message("notifications/closed");
    let id = session.request("ping", json!({}));
    assert!(session.response(id).get("error").is_some());
    let (code, took) = session.exit();
    assert_eq!(code, 6);
    assert!(took < Duration::from_secs(7), "{took:?}");
    gone(server);
}

// contract.md, "Processes": "end of input, 2 s, SIGTERM, 2 s, SIGKILL."
#[test]
fn a_server_that_ignores_the_end_of_stdin_is_terminated() {
    let mut session = session(["--stay"]);
    let server = upstream_pid(&mut session);
    session.close_stdin();
    let (code, took) = session.exit();
    assert_eq!(code, 0);
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert!(!is_running(server));
}

#[test]
fn a_server_that_ignores_sigterm_too_is_killed_within_five_seconds() {
    let mut session = session_ignoring_sigterm(["--stay"]);
    let server = upstream_pid(&mut session);
    session.close_stdin();
    let (code, took) = session.exit();
    assert_eq!(code, 0);
    assert!(took < Duration::from_millis(5_500), "{took:?}");
    assert!(!is_running(server));
}

// contract.md, "Processes": "A server's process group ends with its session".
#[test]
fn children_of_the_server_end_with_it() {
    let mut session = session([]);
    let server = upstream_pid(&mut session);
    let grandchild = session.script(json!({"do": "grandchild"}))["pid"]
        .as_u64()
        .unwrap();
    assert!(is_running(grandchild));
    session.close_stdin();
    let (code, took) = session.exit();
    assert_eq!(code, 0);
    assert!(took < Duration::from_secs(6), "{took:?}");
    gone(server);
    gone(grandchild);
}

#[test]
fn children_of_a_dead_server_do_not_keep_the_proxy_running() {
    let mut session = session([]);
    let grandchild = session.script(json!({"do": "grandchild"}))["pid"]
        .as_u64()
        .unwrap();
    let hanging = session.call("hang", json!({}));
    let server = upstream_pid(&mut session);
    session.notify("script", json!({"do": "exit", "code": 4}));
    assert!(session.response(hanging).get("error").is_some());
    let (code, took) = session.exit();
    assert_eq!(code, 6);
    assert!(took < Duration::from_secs(6), "{took:?}");
    gone(server);
    gone(grandchild);
}

// Scripts write their requests and close stdin; they still get the results.
#[test]
fn a_client_that_closed_its_stdin_still_gets_results() {
    let mut session = session([]);
    session.passes("read", json!({}));
    let slow = session.call("slow", json!({"ms": 300}));
    let ping = session.request("ping", json!({}));
    // Some clients end without a newline.
    session.send_bytes(br#"{"jsonrpc":"2.0","id":"last","method":"ping"}"#);
    session.close_stdin();
    assert!(session.response(slow).get("result").is_some());
    assert!(session.response(ping).get("result").is_some());
    assert!(session.response("last").get("result").is_some());
    assert_eq!(session.exit().0, 0);
}

#[test]
fn a_client_that_closed_its_stdin_gets_the_result_of_a_call_that_waits_for_the_list() {
    let mut session = session([]);
    let id = session.call("read", json!({}));
    let gated = session.call("wipe", json!({"marker": 1}));
    session.close_stdin();
    assert_eq!(
        session.response(id)["result"]["content"][0]["text"],
        "read ran"
    );
    assert!(session.refusal(gated).contains("the client has gone"));
    assert_eq!(session.exit().0, 0);
    assert!(!session.has_recorded("marker"));
}

#[test]
fn a_client_that_closes_its_stdout_counts_as_gone() {
    let mut session = ProxyTest::new().start();
    drop(session.stdout.take());
    // The proxy notices when it has something to write.
    session.request("ping", json!({}));
    let (code, took) = session.exit();
    assert_eq!(code, 0);
    assert!(took < Duration::from_secs(5), "{took:?}");
}
