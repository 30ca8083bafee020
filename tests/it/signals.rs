//! contract.md, "Command line": "128+N ended by signal N". How servers end then: contract.md, "Processes".

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::support::{ProxyTest, is_running};

// contract.md, "Processes": "every pending request gets an answer".
#[test]
fn a_signal_answers_pending_requests_stops_the_server_and_ends_with_128_plus_its_number() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let mut session = ProxyTest::new().start();
        session.handshake();
        let server = session.script(json!({"do": "report"}))["pid"]
            .as_u64()
            .unwrap();
        let held = session.call("wipe", json!({"marker": 1}));
        session.prompt();
        let hanging = session.call("hang", json!({}));
        session.sync();
        session.signal(signal);
        let held = session.response(held);
        let why = held["error"]["message"].as_str().unwrap();
        assert!(why.contains("ended by signal"), "{held}");
        let hanging = session.response(hanging);
        assert!(
            hanging["error"]["message"]
                .as_str()
                .unwrap()
                .contains("signal"),
            "{hanging}"
        );
        let (ended_with, took) = session.exit();
        assert_eq!(ended_with, code);
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert!(!is_running(server));
        assert!(!session.has_recorded("marker"));
        assert_eq!(session.decision("wipe")["forwarded"], false);
        assert_eq!(session.log().last().unwrap()["event"], "close");
        let rest: Vec<Value> = session.rest();
        // contract.md, "Prompts": "A timed-out or cancelled prompt is withdrawn from the client."
        assert!(
            rest.iter()
                .any(|message| message["method"] == "notifications/cancelled"),
            "{rest:?}"
        );
        assert!(
            rest.iter().all(|message| message.get("id").is_none()),
            "{rest:?}"
        );
    }
}

// contract.md, "Processes": "A server's process group ends with its session".
#[test]
fn a_server_that_ignores_the_end_of_stdin_ends_after_a_signal_too() {
    let mut session = ProxyTest::new().upstream(["--stay"]).start();
    session.handshake();
    let server = session.script(json!({"do": "report"}))["pid"]
        .as_u64()
        .unwrap();
    session.signal(Signal::TERM);
    let (code, took) = session.exit();
    assert_eq!(code, 143);
    assert!(took < Duration::from_millis(5_500), "{took:?}");
    assert!(!is_running(server));
}

#[test]
fn a_proxy_that_is_killed_leaves_no_server() {
    let mut session = ProxyTest::new().start();
    session.handshake();
    let server = session.script(json!({"do": "report"}))["pid"]
        .as_u64()
        .unwrap();
    session.signal(Signal::KILL);
    assert_eq!(session.exit().0, -9);
    super::support::eventually("the server is gone", || !is_running(server));
}
