//! Parked approval requests that outlive their session, with real processes: a client restarts, or a proxy is killed.

use std::path::{Path, PathBuf};

use approval_proxy::engines::inbox::identity::SESSION_VARIABLES;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::{
    Http, ProxyTest, Session, TOKEN, Terminal, call, eventually, in_session, initialize,
};

/// One user's state folder and server.
struct Machine {
    home: TempDir,
}

impl Machine {
    fn new() -> Machine {
        let home = tempfile::tempdir().unwrap();
        Machine { home }
    }

    /// A proxy around the user's server. It parks a question after a second of silence.
    fn proxy(&self) -> ProxyTest {
        self.proxy_with_timeout("1")
    }

    /// A proxy that parks a question after so many seconds.
    fn proxy_with_timeout(&self, seconds: &str) -> ProxyTest {
        ProxyTest::with_inbox()
            .flags(["--timeout", seconds, "--timeout-action", "park"])
            .state(&self.state())
            .entry("args", json!([self.record()]))
    }

    fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    fn record(&self) -> PathBuf {
        self.home.path().join("record")
    }

    fn terminal(&self) -> Terminal {
        Terminal::at(&self.state())
    }

    /// Counts the calls of `wipe` that the server has read, in all sessions.
    fn runs(&self) -> usize {
        let recorded = std::fs::read_to_string(self.record()).unwrap_or_default();
        let lines = recorded
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter(|line| line["params"]["name"] == "wipe")
            .count()
    }

    /// Parks a call in this session and returns the item's id.
    fn park_a_call(&self, session: &mut Session) -> String {
        let call = session.call("wipe", json!({"n": 1}));
        let terminal = self.terminal();
        let item = terminal.wait_for_item("wipe");
        let refusal = session.refusal(call);
        assert!(refusal.contains(&item), "{refusal}");
        eventually("it is parked", || terminal.state_of(&item) == "parked");
        eventually("it may be resumed", || {
            self.state().join("resumable").exists()
        });
        item
    }
}

/// Checks that the approved call runs in a second session, once.
fn runs_in_second_session(machine: &Machine, second: ProxyTest, item: &str) {
    let mut session = second.start_without_elicitation();
    let call = session.call("wipe", json!({"n": 1}));
    session.expect_ran(call);
    assert_eq!(machine.runs(), 1);
    let line = session.decision("wipe");
    assert_eq!(
        (&line["decision"], &line["assurance"]),
        (&json!("approved"), &json!("inbox-terminal"))
    );
    let resumed = session
        .log()
        .into_iter()
        .find(|line| line["event"] == "resumed");
    assert_eq!(resumed.unwrap()["item"], json!(item));
    // The approval was for one run.
    let again = session.call("wipe", json!({"n": 1}));
    let refusal = session.refusal(again);
    assert!(
        refusal.contains("waiting for approval") && !refusal.contains(item),
        "{refusal}"
    );
    assert_eq!(machine.runs(), 1);
    session.finish();
}

#[test]
fn an_approval_given_between_two_sessions_lets_the_call_run_once_in_the_second() {
    let machine = Machine::new();
    let mut session = machine.proxy().start_without_elicitation();
    let item = machine.park_a_call(&mut session);
    session.finish();
    machine.terminal().approve(&item);
    runs_in_second_session(&machine, machine.proxy(), &item);
}

#[test]
fn an_approval_that_the_first_session_knew_lets_the_call_run_once_in_the_second() {
    let machine = Machine::new();
    let mut session = machine.proxy().start_without_elicitation();
    let item = machine.park_a_call(&mut session);
    machine.terminal().approve(&item);
    session.wait_for_event("parked_verdict");
    session.finish();
    runs_in_second_session(&machine, machine.proxy(), &item);
}

#[test]
fn parked_questions_survive_a_killed_proxy() {
    for hears_it in [false, true] {
        let machine = Machine::new();
        let mut session = machine.proxy().start_without_elicitation();
        let item = machine.park_a_call(&mut session);
        if hears_it {
            machine.terminal().approve(&item);
            session.wait_for_event("parked_verdict");
        }
        session.signal(Signal::KILL);
        session.exit();
        if !hears_it {
            machine.terminal().approve(&item);
        }
        runs_in_second_session(&machine, machine.proxy(), &item);
    }
}

#[test]
fn a_call_made_again_waits_for_the_item_that_is_still_open() {
    let machine = Machine::new();
    let mut session = machine.proxy().start_without_elicitation();
    let item = machine.park_a_call(&mut session);
    session.finish();
    let mut session = machine.proxy_with_timeout("60").start_without_elicitation();
    let call = session.call("wipe", json!({"n": 1}));
    session.wait_for_event("resumed");
    assert_eq!(machine.terminal().open_items().len(), 1);
    machine.terminal().approve(&item);
    session.expect_ran(call);
    session.finish();
}

#[test]
fn another_server_client_or_call_does_not_get_the_verdict() {
    type Change = fn(ProxyTest, &Path) -> ProxyTest;
    let changes: [(&str, Change); 4] = [
        ("another argument of the server", |test, home| {
            test.entry("args", json!([home.join("record"), "--pages"]))
        }),
        ("another variable of the server", |test, _| {
            test.entry("env", json!({"DATABASE": "production"}))
        }),
        ("another inherited variable", |test, _| {
            test.env("DATABASE", "production")
        }),
        ("another folder", |test, home| {
            test.entry("cwd", json!(home))
        }),
    ];
    let machine = Machine::new();
    let mut session = machine.proxy().start_without_elicitation();
    let item = machine.park_a_call(&mut session);
    session.finish();
    machine.terminal().approve(&item);
    for (what, change) in changes {
        let mut session = change(machine.proxy(), machine.home.path()).start_without_elicitation();
        let call = session.call("wipe", json!({"n": 1}));
        let refusal = session.refusal(call);
        assert!(!refusal.contains(&item), "{what}: {refusal}");
        session.finish();
    }
    let mut session = machine.proxy().start_without_elicitation();
    let call = session.call("wipe", json!({"n": 2}));
    assert!(!session.refusal(call).contains(&item));
    session.finish();
    // Variables of the terminal session do not count.
    let same = machine
        .proxy()
        .env("TERM", "vt100")
        .env("SSH_TTY", "/dev/pts/9");
    runs_in_second_session(&machine, same, &item);
}

#[test]
fn a_client_that_declares_roots_is_asked_for_them_and_resumes_only_with_the_same_ones() {
    let rooted = |machine: &Machine| {
        let mut session = machine.proxy().start();
        session.handshake_as("2025-06-18", json!({"roots": {"listChanged": true}}));
        session
    };
    let answer_roots = |session: &mut Session, uri: &str| {
        let asked = session.message("roots/list");
        session.answer(&asked, json!({"roots": [{"uri": uri, "name": "here"}]}));
    };
    let machine = Machine::new();
    let mut session = rooted(&machine);
    let call = session.call("wipe", json!({"n": 1}));
    answer_roots(&mut session, "file:///here");
    let item = machine.terminal().wait_for_item("wipe");
    session.refusal(call);
    eventually("it may be resumed", || {
        machine.state().join("resumable").exists()
    });
    session.finish();
    machine.terminal().approve(&item);

    let mut session = rooted(&machine);
    let call = session.call("wipe", json!({"n": 1}));
    answer_roots(&mut session, "file:///there");
    assert!(!session.refusal(call).contains(&item));
    session.finish();

    let mut session = rooted(&machine);
    let call = session.call("wipe", json!({"n": 1}));
    answer_roots(&mut session, "file:///here");
    session.expect_ran(call);
    session.finish();
}

/// Opens a session over HTTP and makes the call; returns the session and the response.
fn call_over_http(http: &Http, token: Option<&str>) -> (String, Value) {
    let http = match token {
        Some(token) => http.clone().with_authorization(&format!("Bearer {token}")),
        None => http.clone(),
    };
    let mut hello = initialize();
    hello["params"]["capabilities"] = json!({});
    let mut response = http.post(&[], hello);
    assert_eq!(response.status, 200);
    response.message();
    let session = response.header("mcp-session-id").unwrap().to_owned();
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    http.post(&in_session(&session), initialized);
    let mut answer = http.post(&in_session(&session), call(1, "wipe"));
    (session, answer.message())
}

fn text(message: &Value) -> &str {
    message["result"]["content"][0]["text"].as_str().unwrap()
}

#[test]
fn over_http_only_a_client_with_the_same_token_gets_the_verdict() {
    let over_http = |machine: &Machine, token: Option<&str>| {
        let mut test = machine.proxy();
        test = test.flags(["--transport", "streamable-http", "--port", "0"]);
        if let Some(token) = token {
            test = test.env("APPROVAL_AUTH_TOKEN", token);
        }
        test.start()
    };
    let machine = Machine::new();
    let proxy = over_http(&machine, Some(TOKEN));
    let http = proxy.http();
    let (session, answer) = call_over_http(&http, Some(TOKEN));
    let item = machine.terminal().open_items().remove(0)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(text(&answer).contains(&item), "{answer}");
    machine.terminal().approve(&item);
    proxy.wait_for_event("parked_verdict");
    // While the first session lasts, no other session gets the verdict.
    let (_, answer) = call_over_http(&http, Some(TOKEN));
    assert!(!text(&answer).contains(&item), "{answer}");
    let ended = http
        .clone()
        .with_token()
        .send("DELETE", "/mcp", &in_session(&session), "");
    assert!(ended.status < 300, "{}", ended.status);
    proxy.signal(Signal::TERM);
    drop(proxy);
    for other in [None, Some("another-token")] {
        let proxy = over_http(&machine, other);
        let (_, answer) = call_over_http(&proxy.http(), other);
        assert!(!text(&answer).contains(&item), "{other:?}: {answer}");
        proxy.signal(Signal::TERM);
    }
    let proxy = over_http(&machine, Some(TOKEN));
    let (_, answer) = call_over_http(&proxy.http(), Some(TOKEN));
    assert!(text(&answer).ends_with(" ran"), "{answer}");
    assert_eq!(machine.runs(), 1);
}

#[test]
fn every_session_variable_is_documented() {
    let page = include_str!("../../docs/configuration.md");
    let (_, list) = page.split_once("## Parked questions").unwrap();
    for name in SESSION_VARIABLES {
        assert!(list.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn questions_of_http_clients_without_a_token_end_with_their_session() {
    let machine = Machine::new();
    let test = machine.proxy();
    let proxy = test
        .flags(["--transport", "streamable-http", "--port", "0"])
        .start();
    let http = proxy.http();
    let (session, _) = call_over_http(&http, None);
    let terminal = machine.terminal();
    let item = terminal.open_items().remove(0)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    eventually("it is parked", || terminal.state_of(&item) == "parked");
    http.send("DELETE", "/mcp", &in_session(&session), "");
    eventually("it is withdrawn", || {
        terminal.state_of(&item) == "withdrawn"
    });
    assert!(!machine.state().join("resumable").exists());
}
