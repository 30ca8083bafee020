//! The engine `whatsapp` against a fake bridge over HTTP on loopback.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{OddServer, ProxyTest, Request, Session, engines_test, eventually, response};

const TOKEN: &str = "bridge-token-0123456789";
/// What a webhook answers if it must be asked.
const YES: &str = r#"{"action":"accept","content":{"approved":true}}"#;
/// Much longer than anything that a test waits for.
const DEADLINE: Duration = Duration::from_secs(20);

/// A bridge, written from the endpoints that mcp-extras' users have: <https://github.com/vaddisrinivas/mcp-extras>.
struct Bridge {
    server: OddServer,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    asked: Mutex<Asked>,
    changed: Condvar,
}

#[derive(Default)]
struct Asked {
    /// What `/approvals` was asked, and its status now.
    approvals: Vec<(Value, Value)>,
    /// What `/whatsapp_poll` was asked.
    polls: Vec<Value>,
    /// What `/whatsapp_poll` answers, as soon as it is there.
    choice: Option<Value>,
}

/// What a bridge does with `POST /approvals`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Post {
    Serves,
    /// An older bridge, without that path.
    Unknown,
    /// Takes the request, and closes the connection without an answer.
    Silent,
    /// Closes the connection within the answer.
    Cut,
    /// Says that it did nothing, once.
    BusyOnce,
    /// May have done something.
    Fails,
}

impl Bridge {
    fn start(post: Post) -> Bridge {
        let state: Arc<State> = Arc::default();
        let serving = Arc::clone(&state);
        let server = OddServer::with_streams(move |request, mut stream| {
            if let Some(text) = serving.answer(post, request, &stream) {
                // The proxy may have gone.
                let _ = stream.write_all(text.as_bytes());
            }
        });
        Bridge { server, state }
    }

    /// The engine's entry in a configuration.
    fn engine(&self, mode: &str) -> Value {
        json!({"type": "whatsapp", "bridgeUrl": self.server.url("/bridge/"), "apiMode": mode, "pollInterval": 0.1})
    }

    /// Waits for question number `n`, from 0, and returns what the bridge got.
    fn question(&self, n: usize) -> Value {
        let asked = self.state.asked.lock().unwrap();
        let waited = self
            .state
            .changed
            .wait_timeout_while(asked, DEADLINE, |asked| asked.approvals.len() <= n);
        let (asked, _) = waited.unwrap();
        asked.approvals[n].0.clone()
    }

    /// Sets the status of question number `n`.
    fn says(&self, n: usize, status: Value) {
        self.state.asked.lock().unwrap().approvals[n].1 = status;
    }

    /// Answers every poll from now on.
    fn votes(&self, choice: Value) {
        self.state.asked.lock().unwrap().choice = Some(choice);
        self.state.changed.notify_all();
    }

    fn seen(&self, method: &str, path: &str) -> usize {
        let seen = self.server.seen();
        let all = seen.iter();
        all.filter(|request| request.method == method && request.path == path)
            .count()
    }
}

impl State {
    /// Returns the answer; `None` if there is none.
    fn answer(&self, post: Post, request: &Request, stream: &TcpStream) -> Option<String> {
        let json = |status, body: Value| {
            let kind = [("content-type", "application/json")];
            Some(response(status, &kind, &body.to_string()))
        };
        let bearer = format!("Bearer {TOKEN}");
        if request.header("authorization") != Some(&bearer) {
            let sent = request.header("authorization");
            return json(401, json!({"error": format!("not {sent:?}")}));
        }
        let body: Value = serde_json::from_str(&request.text).unwrap_or_default();
        let mut asked = self.asked.lock().unwrap();
        match (&*request.method, &*request.path) {
            ("POST", "/bridge/approvals") if post != Post::Unknown => {
                asked.approvals.push((body, json!("pending")));
                self.changed.notify_all();
                let id = json!({"id": format!("wa-{}", asked.approvals.len() - 1)});
                match post {
                    Post::Serves | Post::Unknown => json(201, id),
                    Post::BusyOnce if asked.approvals.len() > 1 => json(201, id),
                    Post::BusyOnce => json(429, json!({"error": "slow down"})),
                    Post::Fails => json(503, json!({"error": "WhatsApp is away"})),
                    Post::Silent => {
                        stream.shutdown(Shutdown::Both).unwrap();
                        None
                    }
                    Post::Cut => {
                        Some("HTTP/1.1 201 It\r\ncontent-length: 90\r\n\r\n{\"id\":".to_owned())
                    }
                }
            }
            ("POST", "/bridge/whatsapp_poll") => {
                asked.polls.push(body);
                let waited = self
                    .changed
                    .wait_timeout_while(asked, DEADLINE, |asked| asked.choice.is_none());
                let choice = waited.unwrap().0.choice.clone();
                json(200, json!({"choice": choice}))
            }
            ("GET", path) => {
                let n = path.strip_prefix("/bridge/approvals/wa-");
                let n = n.and_then(|n| n.parse::<usize>().ok());
                match n.and_then(|n| asked.approvals.get(n)) {
                    Some((_, status)) => json(200, json!({"status": status})),
                    None => json(404, json!({"error": "not found"})),
                }
            }
            _ => json(404, json!({"error": "not found"})),
        }
    }
}

/// A proxy with these engines. The token is in a variable, as others may read the test's configuration.
fn start(engines: Value) -> Session {
    let test = ProxyTest::with_inbox().env("WA_TOKEN", TOKEN);
    let test = test.section(json!({
        "engines": engines,
        "approvalAuthToken": "${WA_TOKEN}",
        "approvalRetryAttempts": 3,
        "approvalRetryInitialBackoffSeconds": 0.05,
        "approvalRetryMaxBackoffSeconds": 0.1,
    }));
    test.start_without_elicitation()
}

/// Checks the decision about the last call.
fn expect_decision(session: &Session, decision: &str, engine: &str) -> Value {
    let line = session.decisions().pop().unwrap();
    let found = ["decision", "engine"].map(|key| line[key].clone());
    assert_eq!(found, [decision, engine].map(Value::from), "{line}");
    line
}

#[test]
fn a_bridge_is_polled_until_somebody_decides_and_the_token_goes_with_every_request() {
    let bridge = Bridge::start(Post::Serves);
    let mut session = start(json!([bridge.engine("approvals")]));
    session.passes("read", json!({}));
    assert!(
        bridge.server.seen().is_empty(),
        "nothing connects before a question"
    );
    let id = session.call("wipe", json!({"mark": "mark-1"}));
    let question = bridge.question(0);
    let message = question["message"].as_str().unwrap();
    for word in ["wipe", "box", "risk high", "mark-1"] {
        assert!(message.contains(word), "{message}");
    }
    assert!(question["timeoutMs"].as_u64().unwrap() >= 1_000);
    eventually("two polls", || {
        bridge.seen("GET", "/bridge/approvals/wa-0") >= 2
    });
    assert_eq!(session.runs_of("wipe"), 0);
    bridge.says(0, json!("approved"));
    session.expect_ran(id);
    let line = expect_decision(&session, "approved", "whatsapp");
    assert_eq!(line["assurance"], "shared-secret");
    assert_eq!(line["approver"], "whatsapp:whatsapp");
    let id = session.call("wipe", json!({"mark": "mark-2"}));
    bridge.question(1);
    bridge.says(1, json!("denied"));
    session.refusal(id);
    expect_decision(&session, "denied", "whatsapp");
    assert_eq!(session.runs_of("wipe"), 1);
    let bearer = format!("Bearer {TOKEN}");
    let seen = bridge.server.seen();
    let all = seen
        .iter()
        .all(|request| request.header("authorization") == Some(&bearer));
    assert!(all, "{seen:?}");
    session.finish();
}

#[test]
fn what_is_neither_a_yes_nor_a_no_runs_nothing() {
    let bridge = Bridge::start(Post::Serves);
    let mut session = start(json!([bridge.engine("approvals")]));
    let unclear = [json!("Approved"), json!("yes"), json!(true), json!(null)];
    for (n, status) in unclear.into_iter().enumerate() {
        let id = session.call("wipe", json!({"n": n}));
        bridge.question(n);
        bridge.says(n, status);
        session.refusal(id);
    }
    assert_eq!(session.runs_of("wipe"), 0);
}

#[test]
fn a_post_that_may_have_arrived_is_not_repeated_and_the_next_engine_is_asked() {
    for post in [Post::Silent, Post::Cut, Post::Fails] {
        let bridge = Bridge::start(post);
        let hook = OddServer::start(|_| response(200, &[], YES));
        let webhook = json!({"type": "webhook", "url": hook.url("/ask")});
        let mut session = start(json!([bridge.engine("auto"), webhook]));
        let id = session.call("wipe", json!({}));
        session.expect_ran(id);
        expect_decision(&session, "approved", "webhook");
        assert_eq!(bridge.server.seen().len(), 1, "{post:?}");
    }
}

#[test]
fn a_post_that_the_bridge_has_certainly_not_acted_on_is_repeated() {
    let bridge = Bridge::start(Post::BusyOnce);
    let mut session = start(json!([bridge.engine("approvals")]));
    let id = session.call("wipe", json!({}));
    bridge.question(1);
    bridge.says(1, json!("approved"));
    session.expect_ran(id);
    assert_eq!(bridge.seen("POST", "/bridge/approvals"), 2);
}

#[test]
fn an_older_bridge_is_found_and_only_its_exact_option_approves() {
    for mode in ["whatsapp_poll", "auto"] {
        let bridge = Bridge::start(Post::Unknown);
        let mut session = start(json!([bridge.engine(mode)]));
        let id = session.call("wipe", json!({"mark": "mark-1"}));
        eventually("a poll", || {
            bridge.seen("POST", "/bridge/whatsapp_poll") == 1
        });
        bridge.votes(json!("✅ Approve"));
        session.expect_ran(id);
        let poll = bridge.state.asked.lock().unwrap().polls[0].clone();
        let question = poll["question"].as_str().unwrap();
        assert!(question.contains("mark-1"), "{question}");
        assert_eq!(poll["options"], json!(["✅ Approve", "❌ Deny"]));
        let tried = usize::from(mode == "auto");
        assert_eq!(bridge.seen("POST", "/bridge/approvals"), tried);
        for choice in [
            json!("❌ Deny"),
            json!("✅ Approve "),
            json!(null),
            json!(1),
        ] {
            // A null is a choice here, not "none yet".
            bridge.votes(choice);
            let id = session.call("wipe", json!({}));
            session.refusal(id);
        }
        assert_eq!(session.runs_of("wipe"), 1);
    }
}

#[test]
fn a_secret_of_the_call_stays_here_and_such_a_call_can_only_be_denied() {
    let bridge = Bridge::start(Post::Serves);
    let mut session = start(json!([bridge.engine("approvals")]));
    for (n, status) in ["denied", "approved"].into_iter().enumerate() {
        let id = session.call("wipe", json!({"password": "hunter2-XK"}));
        let question = bridge.question(n);
        let message = question["message"].as_str().unwrap();
        assert!(!message.contains("hunter2-XK"), "{message}");
        assert!(message.contains("/item/"), "{message}");
        bridge.says(n, json!(status));
        session.refusal(id);
    }
    assert_eq!(session.runs_of("wipe"), 0);
}

// A poll offered "Approve" for a call that was not shown whole, and that answer was then a failure.
#[test]
fn a_poll_about_a_call_with_a_secret_offers_the_inbox_in_place_of_a_yes() {
    let bridge = Bridge::start(Post::Unknown);
    let mut session = start(json!([bridge.engine("whatsapp_poll")]));
    bridge.votes(json!("Decide in the inbox"));
    let id = session.call("wipe", json!({"password": "hunter2-XK"}));
    let item = session.terminal().wait_for_item("wipe");
    eventually("a poll", || {
        bridge.state.asked.lock().unwrap().polls.len() == 1
    });
    let poll = bridge.state.asked.lock().unwrap().polls[0].clone();
    assert_eq!(poll["options"], json!(["Decide in the inbox", "❌ Deny"]));
    session.terminal().approve(&item);
    session.expect_ran(id);
    let mut log = session.log().into_iter();
    assert!(!log.any(|line| line["event"] == "engine_failed"));
    // A bridge that says what was not offered.
    bridge.votes(json!("✅ Approve"));
    let id = session.call("wipe", json!({"password": "hunter2-XK"}));
    session.refusal(id);
    assert_eq!(session.runs_of("wipe"), 1);
}

#[test]
fn a_question_that_is_over_is_not_polled_any_more() {
    let bridge = Bridge::start(Post::Serves);
    let mut engine = bridge.engine("approvals");
    engine["timeout"] = json!(1);
    let mut session = start(json!([engine]));
    let id = session.call("wipe", json!({}));
    bridge.question(0);
    session.refusal(id);
    // One poll may be on its way.
    std::thread::sleep(Duration::from_millis(200));
    let polls = bridge.server.seen().len();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(bridge.server.seen().len(), polls);
    bridge.says(0, json!("approved"));
    session.passes("read", json!({}));
    assert_eq!(session.runs_of("wipe"), 0);
}

#[test]
fn a_wrong_token_is_named_and_stays_out_of_every_text() {
    let bridge = Bridge::start(Post::Serves);
    let test = ProxyTest::with_inbox().env("WA_TOKEN", "wrong-token-4711");
    let test = test.section(json!({
        "engines": [bridge.engine("approvals")],
        "approvalAuthToken": "${WA_TOKEN}",
    }));
    let mut session = test.start_without_elicitation();
    let id = session.call("wipe", json!({}));
    let text = session.refusal(id);
    assert!(!text.contains("wrong-token"), "{text}");
    session.stderr_says("answered 401");
    session.stderr_says("check `approvalAuthToken`");
    let shown = session.stderr();
    assert!(!shown.contains("wrong-token"), "{shown}");
}

#[test]
fn engines_test_says_whether_the_bridge_accepts_the_token() {
    let bridge = Bridge::start(Post::Serves);
    let test = |token| {
        let engines = [bridge.engine("auto")];
        let section = json!({"engines": engines, "approvalAuthToken": "${WA_TOKEN}"});
        engines_test(section, &[("WA_TOKEN", token)])
    };
    let (code, text) = test(TOKEN);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("whatsapp: http://127.0.0.1"), "{text}");
    let (code, text) = test("wrong-token-4711");
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("401") && text.contains("check `approvalAuthToken`"));
    assert!(!text.contains("wrong-token"), "{text}");
    assert_eq!(bridge.seen("POST", "/bridge/approvals"), 0);
}
