//! The engine `webhook` against fake services on loopback.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use approval_proxy::approval::item::{Choice, Closed, Item};
use approval_proxy::approval::render::Show;
use approval_proxy::engines::registry::{self, BadOptions};
use approval_proxy::engines::{
    Answer, CarriedVerdict, Courier, CourierContext, CourierSettings, Ending, HttpRuntime,
    PageLinks, Rows, TransportSettings,
};
use approval_proxy::evidence::redact::Redaction;
use approval_proxy::gate::{EngineId, Failure, FailureKind, Retry};
use approval_proxy::policy::Risk;
use approval_proxy::sys::secret::Secret;
use serde_json::{Value, json};

use super::support::{OddServer, ProxyTest, Request, Session, eventually, response};

/// Its call was cancelled.
const WITHDRAWN: Ending = Ending::Closed(Closed::Withdrawn);
/// Much longer than anything that a test waits for.
const DEADLINE: Duration = Duration::from_secs(20);
/// Long enough for a mistake to show.
const A_MOMENT: Duration = Duration::from_millis(300);

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const YES: &str = r#"{"action":"accept","content":{"approved":true,"reason":"fine"}}"#;

fn item(id: &str) -> Item {
    Item { form: None,
        id: format!("{id:0<32}"),
        server: "vault".to_owned(),
        tool: "drop_table".to_owned(),
        risk: Risk::High,
        why: "its name says `drop`".to_owned(),
        question: "Allow this tool call?".to_owned(),
        title: None,
        description: Some("Drops a table.".to_owned()),
        hints: String::new(),
        call: r#"{"name":"drop_table","arguments":{"table":"orders-7Q","n":12345678901234567890123,"f":1.0}}"#.to_owned(),
        digest: "5".repeat(64),
        client: Some("claude-code 2.1.0".to_owned()),
        client_title: None,
        asked_ms: 1_790_000_000_000,
        expires_ms: None,
    }
}

/// A webhook as the configuration sets it up.
struct Webhook {
    settings: Arc<dyn CourierSettings>,
    context: CourierContext,
    courier: Box<dyn Courier>,
}

type Results = Receiver<Result<CarriedVerdict, Failure>>;

fn transport() -> TransportSettings {
    TransportSettings {
        retry: Retry {
            attempts: 0,
            initial_backoff: Duration::from_millis(10),
            max_backoff: Duration::from_millis(20),
            multiplier: 2.0,
        },
        ..TransportSettings::default()
    }
}

fn read(
    options: &Value,
    transport: &TransportSettings,
) -> Result<Arc<dyn CourierSettings>, BadOptions> {
    let registered = registry::find("webhook").unwrap();
    let options = options.as_object().unwrap();
    let read = registered.read(EngineId::new("ops"), options, transport);
    read.map(Option::unwrap)
}

impl Webhook {
    fn new(options: &Value) -> Webhook {
        Webhook::with(options, transport(), |_| ())
    }

    fn with(
        options: &Value,
        transport: TransportSettings,
        change: impl FnOnce(&mut CourierContext),
    ) -> Webhook {
        let settings = read(options, &transport).unwrap();
        let mut context = CourierContext {
            name: EngineId::new("ops"),
            show: Show::Full,
            timeout: None,
            transport: Arc::new(transport),
            redaction: Redaction::default(),
            withheld: Arc::new([]),
            runtime: Arc::new(HttpRuntime::default()),
            page: PageLinks::default(),
            rows: Rows::default(),
        };
        change(&mut context);
        let courier = settings.courier(&context);
        Webhook {
            settings,
            context,
            courier,
        }
    }

    fn carry(&mut self, item: &Item) -> Results {
        let (sender, results) = channel();
        let answer = Answer::new(move |answer| {
            // The test may have ended already.
            let _ = sender.send(answer);
        });
        self.courier.carry(item, answer);
        results
    }

    fn result(&mut self, item: &Item) -> Result<CarriedVerdict, Failure> {
        self.carry(item).recv_timeout(DEADLINE).unwrap()
    }
}

fn at(service: &OddServer) -> Value {
    json!({"url": format!("http://127.0.0.1:{}/elicit", service.port)})
}

fn signed(service: &OddServer) -> Value {
    let mut options = at(service);
    options["secret"] = json!(SECRET);
    options
}

fn saying(status: u16, body: &'static str) -> OddServer {
    OddServer::start(move |_| response(status, &[], body))
}

fn failed(result: Result<CarriedVerdict, Failure>) -> (FailureKind, String) {
    let failure = result.unwrap_err();
    (failure.kind, failure.why)
}

#[test]
fn a_question_is_one_signed_post_and_an_answer_at_once_is_the_verdict() {
    let service = saying(200, YES);
    let mut options = signed(&service);
    options["headers"] = json!({"X-Team": "blue"});
    let mut webhook = Webhook::new(&options);
    let verdict = webhook.result(&item("a")).unwrap();
    assert_eq!(
        verdict,
        CarriedVerdict {
            fields: None,
            choice: Choice::Approve,
            reason: Some("fine".to_owned()),
            approver: Some("webhook:ops".to_owned()),
        }
    );
    let [request] = &service.seen()[..] else {
        panic!("{:?}", service.seen());
    };
    assert_eq!((&*request.method, &*request.path), ("POST", "/elicit"));
    assert_eq!(request.header("x-team"), Some("blue"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(
        request.header("webhook-id"),
        Some(&*format!("msg_{:0<32}", "a"))
    );
    assert!(
        request
            .header("webhook-signature")
            .unwrap()
            .starts_with("v1,")
    );
    assert!(request.header("authorization").is_none());

    let body: Value = serde_json::from_str(&request.text).unwrap();
    assert_eq!(body["mode"], "form");
    let schema = &body["requestedSchema"];
    assert_eq!(schema["properties"]["approved"]["type"], "boolean");
    assert_eq!(schema["properties"]["reason"]["type"], "string");
    assert_eq!(schema["required"], json!(["approved"]));
    let about = &body["request"];
    for (key, value) in [
        ("id", json!(item("a").id)),
        ("call", json!(format!("sha256:{}", "5".repeat(64)))),
        ("fingerprint", json!(item("a").fingerprint())),
        ("server", json!("vault")),
        ("tool", json!("drop_table")),
        ("risk", json!("high")),
        ("rule", json!("its name says `drop`")),
        ("approvable", json!(true)),
        ("expires", json!(null)),
        ("asked", json!("2026-09-21T14:13:20.000Z")),
    ] {
        assert_eq!(about[key], value, "{key}: {about}");
    }
    let arguments = r#""arguments":{"table":"orders-7Q","n":12345678901234567890123,"f":1.0}"#;
    assert!(request.text.contains(arguments), "{}", request.text);
    let message = body["message"].as_str().unwrap();
    for word in [
        "vault",
        "drop_table",
        "orders-7Q",
        "12345678901234567890123",
        "high",
    ] {
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn no_comes_in_three_forms_and_keeps_its_reason() {
    for (body, reason) in [
        (
            r#"{"action":"accept","content":{"approved":false,"reason":"needs OPS-12"}}"#,
            Some("needs OPS-12"),
        ),
        (r#"{"action":"decline"}"#, None),
        (r#"{"action":"cancel"}"#, None),
        (
            r#"{"action":"decline","content":{"approved":true,"reason":"no"}}"#,
            Some("no"),
        ),
    ] {
        let verdict = Webhook::new(&at(&saying(200, body))).result(&item("a"));
        let verdict = verdict.unwrap();
        assert_eq!(verdict.choice, Choice::Deny, "{body}");
        assert_eq!(verdict.reason.as_deref(), reason, "{body}");
    }
}

#[test]
fn anything_but_a_clear_answer_fails_and_is_no_verdict() {
    for body in [
        "",
        " ",
        "yes",
        "<html>approved</html>",
        r#"{"action":"accept","content":{"approved":"true"}}"#,
        r#"{"action":"accept","content":{"approved":1}}"#,
        r#"{"action":"accept","content":{"approved":[true]}}"#,
        r#"{"action":"accept","content":{}}"#,
        r#"{"action":"accept"}"#,
        r#"{"action":"approve","content":{"approved":true}}"#,
        r#"{"action":"Accept","content":{"approved":true}}"#,
        r#"{"content":{"approved":true}}"#,
        r#"{"approved":true}"#,
        r#"[{"action":"accept","content":{"approved":true}}]"#,
        r#"{"action":"accept","content":{"approved":false,"approved":true}}"#,
        r#"{"action":"decline","action":"accept","content":{"approved":true}}"#,
        r#"{"action":"accept","content":{"approved":true}}{}"#,
        r#"{"action":"accept","content":{"approved":true}"#,
        "\u{feff}{\"action\":\"accept\",\"content\":{\"approved\":true}}",
    ] {
        let (kind, why) = failed(Webhook::new(&at(&saying(200, body))).result(&item("a")));
        assert_eq!(kind, FailureKind::Rejected, "{body}: {why}");
    }
    let broken = OddServer::with_streams(|_, mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\xff\xfe{");
    });
    let (kind, _) = failed(Webhook::new(&at(&broken)).result(&item("a")));
    assert_eq!(kind, FailureKind::Rejected);
}

#[test]
fn a_status_that_is_no_success_is_never_a_yes_and_says_what_is_wrong() {
    for (status, kind) in [
        (400, FailureKind::Rejected),
        (401, FailureKind::Misconfigured),
        (403, FailureKind::Misconfigured),
        (404, FailureKind::Rejected),
        (410, FailureKind::Rejected),
        (429, FailureKind::RateLimited),
        (500, FailureKind::Unreachable),
        (503, FailureKind::Unreachable),
    ] {
        let service = OddServer::start(move |_| response(status, &[], YES));
        let (found, why) = failed(Webhook::new(&at(&service)).result(&item("a")));
        assert_eq!(found, kind, "{status}: {why}");
        assert!(why.contains(&status.to_string()), "{why}");
        assert!(
            why.contains("http://127.0.0.1") && !why.contains("/elicit"),
            "{why}"
        );
    }
}

#[test]
fn no_redirect_is_followed() {
    let other = saying(200, YES);
    for status in [301, 302, 303, 307, 308] {
        let target = format!("http://127.0.0.1:{}/elicit", other.port);
        let service =
            OddServer::start(move |_| response(status, &[("location", target.as_str())], ""));
        let (kind, why) = failed(Webhook::new(&at(&service)).result(&item("a")));
        assert_eq!(kind, FailureKind::Rejected, "{why}");
        assert!(why.contains("redirect"), "{why}");
    }
    assert!(other.seen().is_empty());
}

/// A service that answers each request with the next of these, and with a yes after that.
fn in_turn(answers: Vec<String>) -> OddServer {
    let next = AtomicUsize::new(0);
    OddServer::start(move |_| {
        let at = next.fetch_add(1, Ordering::Relaxed);
        answers
            .get(at)
            .cloned()
            .unwrap_or_else(|| response(200, &[], YES))
    })
}

fn retrying(attempts: u32) -> TransportSettings {
    let mut transport = transport();
    transport.retry.attempts = attempts;
    transport
}

#[test]
fn failures_that_may_pass_are_retried_as_often_as_configured() {
    let busy = || response(503, &[], "busy");
    let service = in_turn(vec![busy(), busy()]);
    let mut webhook = Webhook::with(&signed(&service), retrying(3), |_| ());
    assert!(webhook.result(&item("a")).is_ok());
    let seen = service.seen();
    assert_eq!(seen.len(), 3);
    // The same message, so that the service can tell.
    let ids: Vec<_> = seen
        .iter()
        .map(|request| request.header("webhook-id"))
        .collect();
    assert!(
        ids.iter().all(|id| *id == ids[0] && id.is_some()),
        "{ids:?}"
    );
    assert!(seen.iter().all(|request| request.text == seen[0].text));

    let service = in_turn(vec![busy(); 9]);
    let mut webhook = Webhook::with(&at(&service), retrying(3), |_| ());
    let (kind, why) = failed(webhook.result(&item("a")));
    assert_eq!((kind, service.seen().len()), (FailureKind::Unreachable, 4));
    assert!(why.contains("after 4 tries"), "{why}");

    let service = in_turn(vec![response(400, &[], ""); 9]);
    let mut webhook = Webhook::with(&at(&service), retrying(3), |_| ());
    failed(webhook.result(&item("a")));
    assert_eq!(service.seen().len(), 1);

    let transport = TransportSettings {
        retryable_statuses: vec![418],
        ..retrying(3)
    };
    let service = in_turn(vec![response(418, &[], ""); 2]);
    let mut webhook = Webhook::with(&at(&service), transport.clone(), |_| ());
    assert!(webhook.result(&item("a")).is_ok());
    let service = in_turn(vec![busy()]);
    let mut webhook = Webhook::with(&at(&service), transport, |_| ());
    failed(webhook.result(&item("a")));
    assert_eq!(service.seen().len(), 1, "503 is not in the list");
}

#[test]
fn retry_after_beats_the_longest_backoff() {
    let service = in_turn(vec![response(429, &[("retry-after", "1")], "")]);
    let mut webhook = Webhook::with(&at(&service), retrying(1), |_| ());
    let start = Instant::now();
    assert!(webhook.result(&item("a")).is_ok());
    assert!(start.elapsed() >= Duration::from_millis(950));
    assert_eq!(service.seen().len(), 2);
}

#[test]
fn no_try_begins_after_the_engines_time_is_up() {
    let service = in_turn(vec![response(503, &[("retry-after", "60")], ""); 9]);
    let mut webhook = Webhook::with(&at(&service), retrying(9), |context| {
        context.timeout = Some(Duration::from_secs(2));
    });
    let results = webhook.carry(&item("a"));
    // Nobody answers in time, and that is no failure: the gate has the same limit.
    assert_eq!(
        results.recv_timeout(Duration::from_millis(2_300)),
        Err(RecvTimeoutError::Timeout)
    );
    assert_eq!(service.seen().len(), 1);
}

#[test]
fn an_accepted_question_is_polled_at_its_location() {
    for is_absolute in [false, true] {
        let polls = AtomicUsize::new(0);
        let service = OddServer::start(move |request| {
            if request.method == "POST" {
                let host = request.header("host").unwrap();
                let location = match is_absolute {
                    true => format!("http://{host}/status/1"),
                    false => "/status/1".to_owned(),
                };
                return response(202, &[("location", &location), ("retry-after", "0")], "");
            }
            match polls.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => response(202, &[("retry-after", "0")], ""),
                _ => response(200, &[], YES),
            }
        });
        let mut webhook = Webhook::new(&signed(&service));
        assert!(webhook.result(&item("a")).is_ok());
        let seen = service.seen();
        let polls = &seen[1..];
        assert_eq!(polls.len(), 3);
        for poll in polls {
            assert_eq!((&*poll.method, &*poll.path), ("GET", "/status/1"));
            assert!(poll.header("webhook-signature").is_some());
            assert!(poll.text.is_empty());
        }
    }
}

#[test]
fn a_location_may_be_the_url_of_the_question_itself() {
    for (is_signed, location) in [(false, "/elicit"), (true, "/elicit"), (true, "")] {
        let polls = AtomicUsize::new(0);
        let service = OddServer::start(move |request| {
            let soon = ("retry-after", "0");
            match (&*request.method, polls.load(Ordering::Relaxed)) {
                ("POST", _) => response(202, &[("location", location), soon], ""),
                (_, 0 | 1) => {
                    polls.fetch_add(1, Ordering::Relaxed);
                    response(202, &[soon], "")
                }
                _ => response(200, &[], YES),
            }
        });
        let options = match is_signed {
            true => signed(&service),
            false => at(&service),
        };
        let verdict = Webhook::new(&options).result(&item("a"));
        assert!(verdict.is_ok(), "{is_signed} {location:?}: {verdict:?}");
        let seen = service.seen();
        let asked: Vec<(&str, &str)> = seen
            .iter()
            .map(|request| (&*request.method, &*request.path))
            .collect();
        let poll = ("GET", "/elicit");
        assert_eq!(asked, [("POST", "/elicit"), poll, poll, poll]);
    }
}

#[test]
fn a_location_at_another_origin_is_never_contacted() {
    let other = saying(200, YES);
    let port = other.port;
    for location in [
        format!("http://127.0.0.1:{port}/status"),
        format!("//127.0.0.1:{port}/status"),
        format!("http://localhost:{port}/"),
        "https://127.0.0.1/".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        let service =
            OddServer::start(move |_| response(202, &[("location", location.as_str())], ""));
        let (kind, why) = failed(Webhook::new(&at(&service)).result(&item("a")));
        assert_eq!(kind, FailureKind::Rejected);
        assert!(why.contains("another origin"), "{why}");
    }
    assert!(other.seen().is_empty());
}

#[test]
fn without_a_secret_an_accepted_question_needs_a_location() {
    let (kind, why) = failed(Webhook::new(&at(&saying(202, ""))).result(&item("a")));
    assert_eq!(kind, FailureKind::Rejected);
    assert!(why.contains("`secret`"), "{why}");
}

#[test]
fn an_endless_answer_is_cut_off() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let service = OddServer::with_streams(move |_, mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
        while stream.write_all(chunk.as_bytes()).is_ok() {
            counted.fetch_add(0x1000, Ordering::Relaxed);
        }
    });
    let (kind, why) = failed(Webhook::new(&at(&service)).result(&item("a")));
    assert_eq!(kind, FailureKind::Rejected);
    assert!(why.contains("longer than 65536 bytes"), "{why}");
    let so_far = sent.load(Ordering::Relaxed);
    thread::sleep(A_MOMENT);
    // The connection is closed. What the system had buffered does not count.
    assert!(sent.load(Ordering::Relaxed) < so_far + (8 << 20));
}

#[test]
fn resets_and_broken_answers_are_failures_that_may_pass() {
    type Break = fn(TcpStream);
    let breaks: [Break; 4] = [
        |stream| drop(stream),
        |mut stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"action\":");
        },
        |mut stream| {
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n");
        },
        |mut stream| {
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 900\r\n\r\n");
        },
    ];
    for break_it in breaks {
        let service = OddServer::with_streams(move |_, stream| break_it(stream));
        let mut webhook = Webhook::with(&at(&service), retrying(1), |_| ());
        let (kind, why) = failed(webhook.result(&item("a")));
        assert_eq!(kind, FailureKind::Unreachable, "{why}");
        assert!(why.contains("after 2 tries"), "{why}");
    }
    // Nobody listens.
    let unused = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = unused.local_addr().unwrap().port();
    drop(unused);
    let options = json!({"url": format!("http://127.0.0.1:{port}/")});
    let (kind, why) = failed(Webhook::new(&options).result(&item("a")));
    assert_eq!(kind, FailureKind::Unreachable);
    assert!(why.contains("cannot be reached"), "{why}");
}

#[test]
fn a_withdrawn_question_ends_its_exchange_and_sends_nothing() {
    let (closed, is_closed) = channel();
    let closed = Mutex::new(closed);
    // Holds every answer back.
    let service = OddServer::with_streams(move |_, mut stream| {
        let _ = stream.read(&mut [0; 16]);
        let _ = closed.lock().unwrap().send(());
    });
    for (sent, is_dropped) in [(1, false), (2, true)] {
        let mut webhook = Webhook::new(&at(&service));
        let results = webhook.carry(&item("a"));
        eventually("it is sent", || service.seen().len() == sent);
        if is_dropped {
            drop(webhook);
        } else {
            webhook.courier.withdraw("another", &WITHDRAWN);
            assert!(
                results.recv_timeout(Duration::from_millis(50)) == Err(RecvTimeoutError::Timeout)
            );
            webhook.courier.withdraw(&item("a").id, &WITHDRAWN);
        }
        assert_eq!(
            results.recv_timeout(DEADLINE),
            Err(RecvTimeoutError::Disconnected)
        );
        is_closed.recv_timeout(DEADLINE).unwrap();
    }
}

#[test]
fn the_number_of_open_questions_is_bounded() {
    let service = OddServer::start(|_| response(202, &[], ""));
    let mut webhook = Webhook::new(&signed(&service));
    let mut open = Vec::new();
    for n in 0..256 {
        open.push(webhook.carry(&item(&format!("{n}x"))));
    }
    let (kind, _) = failed(webhook.result(&item("more")));
    assert_eq!(kind, FailureKind::RateLimited);
    webhook.courier.withdraw(&item("0x").id, &WITHDRAWN);
    let results = webhook.carry(&item("more"));
    assert_eq!(
        results.recv_timeout(A_MOMENT),
        Err(RecvTimeoutError::Timeout)
    );
}

#[test]
fn what_a_service_repeats_never_shows_a_secret() {
    let service = OddServer::start(|request: &Request| {
        let echo = format!(
            "boom {:?} {:?} {SECRET} {}",
            request.header("authorization"),
            request.header("x-key"),
            request.path
        );
        response(500, &[], &echo)
    });
    let mut options = signed(&service);
    let url = options["url"].as_str().unwrap();
    options["url"] = json!(format!("{url}/T0KENINPATH-99/?key=QUERYSECRET"));
    options["headers"] = json!({"Authorization": "Bearer HEADERSECRET-9911", "x-key": "abcd/efgh"});
    let mut webhook = Webhook::new(&options);
    let (_, why) = failed(webhook.result(&item("a")));
    assert!(why.contains("boom"), "{why}");
    let shown = format!("{why} {:?} {:?}", webhook.settings, webhook.context);
    for secret in [
        "HEADERSECRET",
        "abcd/efgh",
        "MfKQ9r8G",
        "T0KENINPATH",
        "QUERYSECRET",
    ] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
    assert_eq!(
        service.seen()[0].header("authorization"),
        Some("Bearer HEADERSECRET-9911")
    );
}

#[test]
fn what_a_service_repeats_of_the_call_shows_no_secret_of_it() {
    let service = OddServer::start(|request: &Request| {
        let arguments = &request.text[request.text.find("\"arguments\"").unwrap()..];
        response(400, &[], &format!("bad: {{{arguments}"))
    });
    let item = Item {
        call: r#"{"name":"drop_table","arguments":{"password":"hunter2-XK"}}"#.to_owned(),
        ..item("a")
    };
    let (_, why) = failed(Webhook::new(&at(&service)).result(&item));
    assert!(why.contains("bad: "), "{why}");
    assert!(!why.contains("hunter2"), "{why}");
}

#[test]
fn the_common_token_is_sent_unless_the_engine_has_its_own() {
    let service = saying(200, YES);
    let transport = TransportSettings {
        auth_token: Some(Secret::new("common-token".to_owned())),
        ..transport()
    };
    let mut webhook = Webhook::with(&at(&service), transport.clone(), |_| ());
    assert!(webhook.result(&item("a")).is_ok());
    let mut options = at(&service);
    options["headers"] = json!({"authorization": "Basic eDp5"});
    let mut webhook = Webhook::with(&options, transport, |_| ());
    assert!(webhook.result(&item("b")).is_ok());
    let seen = service.seen();
    let sent: Vec<_> = seen
        .iter()
        .map(|request| request.header("authorization"))
        .collect();
    assert_eq!(sent, [Some("Bearer common-token"), Some("Basic eDp5")]);
}

#[test]
fn what_is_not_shown_whole_can_only_be_denied() {
    let secret = Item {
        call: r#"{"name":"drop_table","arguments":{"table":"t","password":"hunter2-XK"}}"#
            .to_owned(),
        ..item("a")
    };
    for show in [Show::Redacted, Show::Summary] {
        let service = saying(200, YES);
        let mut webhook = Webhook::with(&at(&service), transport(), |context| {
            context.show = show;
            context.page.set("http://127.0.0.1:8766/".to_owned());
        });
        let (kind, why) = failed(webhook.result(&secret));
        assert_eq!(kind, FailureKind::Rejected);
        assert!(why.contains("not shown whole"), "{why}");
        let text = service.seen()[0].text.clone();
        assert!(!text.contains("hunter2-XK"), "{text}");
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(body["request"]["approvable"], false);
        assert_eq!(
            body["requestedSchema"]["properties"]["approved"]["const"],
            false
        );
        let page = format!("http://127.0.0.1:8766/item/{}", secret.id);
        assert_eq!(body["request"]["page"], json!(page));
        assert_eq!(body["request"]["fingerprint"], json!(secret.fingerprint()));
        let message = body["message"].as_str().unwrap();
        assert!(message.contains("only in the approval inbox"), "{message}");
        assert_eq!(
            body["request"].get("arguments").is_some(),
            show == Show::Redacted
        );

        let service = saying(200, r#"{"action":"decline"}"#);
        let mut webhook = Webhook::with(&at(&service), transport(), |context| context.show = show);
        webhook
            .context
            .page
            .set("http://127.0.0.1:8766/".to_owned());
        assert_eq!(webhook.result(&secret).unwrap().choice, Choice::Deny);
    }
    // Nothing is hidden in this one.
    let service = saying(200, YES);
    let mut webhook = Webhook::with(&at(&service), transport(), |context| {
        context.show = Show::Redacted;
    });
    assert_eq!(webhook.result(&item("b")).unwrap().choice, Choice::Approve);
}

#[test]
fn a_test_contacts_the_service_but_asks_nobody() {
    let test = |service: &OddServer| {
        let webhook = Webhook::new(&signed(service));
        let tested = webhook.settings.test(&webhook.context, DEADLINE);
        let seen = service.seen();
        assert!(
            seen.iter()
                .all(|request| request.method == "HEAD" && request.text.is_empty())
        );
        tested
    };
    let found = test(&saying(405, "")).unwrap();
    assert!(found.contains("answers"), "{found}");
    assert_eq!(
        test(&saying(401, "")).unwrap_err().kind,
        FailureKind::Misconfigured
    );
    assert_eq!(
        test(&saying(502, "")).unwrap_err().kind,
        FailureKind::Unreachable
    );
    let silent = OddServer::with_streams(|_, mut stream| {
        let _ = stream.read(&mut [0; 16]);
    });
    let webhook = Webhook::new(&at(&silent));
    let start = Instant::now();
    let tested = webhook.settings.test(&webhook.context, A_MOMENT);
    assert_eq!(tested.unwrap_err().kind, FailureKind::Unreachable);
    assert!(start.elapsed() < DEADLINE);
}

#[test]
fn options_are_checked_when_they_are_read_and_errors_quote_no_secret() {
    let insecure = TransportSettings {
        allow_insecure_http: true,
        ..transport()
    };
    let limited = TransportSettings {
        allowed_hosts: vec!["hooks.example.com".to_owned()],
        ..transport()
    };
    let url = "https://hooks.example.com/x";
    let bad: [(Value, &TransportSettings, &str); 19] = [
        (json!({}), &transport(), "url"),
        (json!({"url": 5}), &transport(), "`url` must be a string"),
        (json!({"url": "hooks"}), &transport(), "not a URL"),
        (json!({"url": "ftp://a/"}), &transport(), "https://"),
        (json!({"url": "file:///x"}), &transport(), "https://"),
        (json!({"url": "https://bob@a/"}), &transport(), "user name"),
        (
            json!({"url": "https://:s3cr3t@a/"}),
            &transport(),
            "user name",
        ),
        (
            json!({"url": "http://192.0.2.7:9/s3cr3t"}),
            &transport(),
            "loopback",
        ),
        (
            json!({"url": "http://192.0.2.7:9/s3cr3t"}),
            &insecure,
            "`secret`",
        ),
        (
            json!({"url": "http://127.0.0.1.evil.example/"}),
            &transport(),
            "loopback",
        ),
        (
            json!({"url": "http://127.0.0.1/"}),
            &limited,
            "`approvalAllowedHosts`",
        ),
        (
            json!({"url": "https://hooks.example.com.evil.example/"}),
            &limited,
            "approvalAllowedHosts",
        ),
        (
            json!({"url": url, "secret": "s3cr3t"}),
            &transport(),
            "`secret`",
        ),
        (
            json!({"url": url, "secret": "whsec_czNjcjN0"}),
            &transport(),
            "24 to 64",
        ),
        (
            json!({"url": url, "headers": {"Host": "s3cr3t"}}),
            &transport(),
            "`Host`",
        ),
        (
            json!({"url": url, "headers": {"webhook-id": "s3cr3t"}}),
            &transport(),
            "webhook-id",
        ),
        (
            json!({"url": url, "headers": {"x": "s3cr3t\r\ny: z"}}),
            &transport(),
            "`x`",
        ),
        (
            json!({"url": url, "headers": ["s3cr3t"]}),
            &transport(),
            "an object",
        ),
        (
            json!({"url": url, "approver": "a\u{200b}b"}),
            &transport(),
            "`approver`",
        ),
    ];
    for (options, transport, words) in bad {
        let error = read(&options, transport).unwrap_err().to_string();
        assert!(error.contains(words), "{options}: {error}");
        assert!(
            !error.contains("s3cr3t") && !error.contains("czNj"),
            "{error}"
        );
    }
    let error = read(&json!({"url": url, "sekret": "x"}), &transport()).unwrap_err();
    assert!(error.to_string().contains("sekret"), "{error}");
    for (options, transport) in [
        (json!({"url": "https://hooks.example.com/x"}), &limited),
        (json!({"url": "https://HOOKS.example.com/x"}), &limited),
        (
            json!({"url": "http://host.docker.internal:9/x"}),
            &transport(),
        ),
        (json!({"url": "http://[::1]:9/x"}), &transport()),
        (json!({"url": "http://localhost/x"}), &transport()),
        (
            json!({"url": "http://192.0.2.7:9/x", "secret": SECRET}),
            &insecure,
        ),
    ] {
        assert!(read(&options, transport).is_ok(), "{options}");
    }
}

/// A proxy whose questions go to this webhook first, then to the inbox.
fn proxy_with(webhook: &Value) -> ProxyTest {
    let mut engine = webhook.clone();
    engine["type"] = json!("webhook");
    ProxyTest::with_inbox()
        .section(json!({"engines": [engine, "inbox"], "approvalRetryAttempts": 0}))
}

fn asking(options: &Value) -> Session {
    // Others may read the test's configuration, so its secrets come from variables.
    let mut webhook = options.clone();
    if webhook.get("secret").is_some() {
        webhook["secret"] = json!("${HOOK_SECRET}");
    }
    let key = &webhook["headers"]["x-key"];
    let key = key.as_str().unwrap_or_default().to_owned();
    if !key.is_empty() {
        webhook["headers"]["x-key"] = json!("${HOOK_KEY}");
    }
    webhook["type"] = json!("webhook");
    ProxyTest::with_inbox()
        .env("HOOK_SECRET", SECRET)
        .env("HOOK_KEY", &key)
        .section(json!({"engines": [webhook, "inbox"]}))
        .start_without_elicitation()
}

#[test]
fn the_record_names_the_webhook_and_the_agent_reads_the_reason() {
    let mut session = asking(&signed(&saying(200, YES)));
    let call = session.call("wipe", json!({"n": 1}));
    session.expect_ran(call);
    let line = session.decision("wipe");
    for (key, value) in [
        ("decision", json!("approved")),
        ("engine", json!("webhook")),
        ("assurance", json!("shared-secret")),
        ("approver", json!("webhook:webhook")),
        ("approver_verified", json!(false)),
        ("reason", json!("fine")),
    ] {
        assert_eq!(line[key], value, "{key}: {line}");
    }
    session.finish();

    let no = r#"{"action":"accept","content":{"approved":false,"reason":"needs OPS-12"}}"#;
    let mut session = asking(&at(&saying(200, no)));
    let call = session.call("wipe", json!({"n": 1}));
    assert!(session.refusal(call).contains("needs OPS-12"));
    assert_eq!(session.runs_of("wipe"), 0);
    session.finish();
}

#[test]
fn a_failing_webhook_is_for_the_operator_and_the_inbox_is_asked_next() {
    let service = OddServer::start(|request: &Request| {
        response(403, &[], &format!("not you: {:?}", request.header("x-key")))
    });
    let mut options = signed(&service);
    options["headers"] = json!({"x-key": "HEADERSECRET-9911"});
    let mut session = asking(&options);
    let call = session.call("wipe", json!({"n": 1}));
    eventually("it was asked", || !service.seen().is_empty());
    let terminal = session.terminal();
    let first = terminal.wait_for_item("wipe");
    // The inbox may list the webhook's own item for a moment.
    eventually("the inbox is asked", || {
        terminal
            .approvals(&["approve", &terminal.wait_for_item("wipe")])
            .code
            == Some(0)
    });
    session.expect_ran(call);
    assert_eq!(session.decision("wipe")["engine"], "inbox");
    let everything = format!(
        "{} {:?} {:?} {first}",
        session.stderr(),
        session.log(),
        terminal.history()
    );
    for secret in ["HEADERSECRET", "MfKQ9r8G"] {
        assert!(!everything.contains(secret), "{everything}");
    }
    session.finish();
}

fn can_run(program: &str, argument: &str) -> bool {
    let output = std::process::Command::new(program).arg(argument).output();
    output.is_ok_and(|output| output.status.success())
}

/// Ended when the test ends, whatever happens.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const TLS_SERVICE: &str = r#"
import http.server, ssl, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"action":"accept","content":{"approved":true}}'
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *a): pass
s = http.server.HTTPServer(("127.0.0.1", 0), H)
c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain(sys.argv[1], sys.argv[2])
s.socket = c.wrap_socket(s.socket, server_side=True)
print(s.server_port, flush=True); s.serve_forever()
"#;

#[test]
fn https_trusts_what_ssl_cert_file_names_and_nobody_else() {
    if !can_run("openssl", "version") || !can_run("python3", "--version") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let made = std::process::Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &path("key"), "-out", &path("cert")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let mut service = std::process::Command::new("python3");
    let service = service.args(["-c", TLS_SERVICE, &path("cert"), &path("key")]);
    let mut service = Running(
        service
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut port = String::new();
    let mut lines = std::io::BufReader::new(service.0.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut lines, &mut port).unwrap();
    let options =
        json!({"url": format!("https://localhost:{}/", port.trim()), "onTransportError": "deny"});

    let trusting = proxy_with(&options).env("SSL_CERT_FILE", &path("cert"));
    let mut session = trusting.start_without_elicitation();
    let call = session.call("wipe", json!({"n": 1}));
    session.expect_ran(call);
    session.finish();

    let mut session = asking(&options);
    let call = session.call("wipe", json!({"n": 1}));
    session.refusal(call);
    let reason = session.decision("wipe")["reason"].to_string();
    assert!(reason.to_lowercase().contains("certificate"), "{reason}");
    session.finish();
}
