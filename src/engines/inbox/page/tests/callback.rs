//! Callbacks as a service, a forger or a confused service sends them. The engine is a real webhook.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{TryRecvError, channel};
use std::thread;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use super::visitor::{Answer, HERE, NOW_MS, Visitor};
use crate::approval::item::{Assurance, Choice, Closed, Item};
use crate::approval::render::Show;
use crate::engines::for_test::{DEADLINE, Results, carry, context, item};
use crate::engines::inbox::store::{ApprovalRequests as _, State};
use crate::engines::registry;
use crate::engines::standard_webhooks::SigningKey;
use crate::engines::{
    Callbacks, Courier, CourierContext, CourierSettings, Ending, TransportSettings,
};
use crate::gate::EngineId;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NOW_S: i64 = NOW_MS / 1_000;

const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// A service that accepts every question.
fn accepting() -> String {
    answering(|| ACCEPTED.to_owned())
}

/// A service that reads each question and then sends this.
fn answering(answer: impl Fn() -> String + Send + 'static) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/ask", listener.local_addr().unwrap());
    // The thread ends with the test process.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut length = 0;
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                if let Some(given) = line.to_lowercase().strip_prefix("content-length:") {
                    length = given.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            let _ = reader.read_exact(&mut body);
            let _ = reader.get_mut().write_all(answer().as_bytes());
        }
    });
    url
}

/// A page, and a webhook `ops` with a secret in the same process.
struct Scene {
    visitor: Visitor,
    settings: Arc<dyn CourierSettings>,
    context: CourierContext,
    courier: Box<dyn Courier>,
}

impl Scene {
    fn new(show: Show, has_passphrase: bool) -> Scene {
        Scene::with_service(accepting(), show, has_passphrase)
    }

    fn with_service(url: String, show: Show, has_passphrase: bool) -> Scene {
        let context = CourierContext {
            show,
            ..context("ops")
        };
        let options = json!({"url": url, "secret": SECRET});
        let settings = registry::find("webhook").unwrap().read(
            EngineId::new("ops"),
            options.as_object().unwrap(),
            &TransportSettings::default(),
        );
        let settings = settings.unwrap().unwrap();
        let callback = settings.callback(&context).unwrap();
        let callbacks = Callbacks::from_iter([("ops".to_owned(), callback)]);
        Scene {
            visitor: Visitor::with_callbacks(callbacks, has_passphrase),
            courier: settings.courier(&context),
            settings,
            context,
        }
    }

    /// Stores an item, and lets the courier carry it.
    fn ask(&mut self, item: &Item) -> Results {
        self.visitor.ask(item);
        carry(&mut *self.courier, item)
    }

    async fn post(&self, path: &str, headers: [(&str, &str); 3], body: &str) -> Answer {
        let mut request = Request::post(path).header("host", "tunnel.example");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        self.visitor.send(request).await
    }

    /// Sends a body that is signed now.
    async fn signed(&self, id: &str, body: &Value) -> Answer {
        self.signed_at(id, NOW_S, body).await
    }

    async fn signed_at(&self, id: &str, sent_s: i64, body: &Value) -> Answer {
        let body = body.to_string();
        let signature = key().sign(id, sent_s, body.as_bytes());
        let sent = sent_s.to_string();
        self.post("/callback/ops", headers(id, &sent, &signature), &body)
            .await
    }

    fn state(&self, item: &Item) -> State {
        self.visitor.store.entry(&item.id).state
    }
}

fn key() -> SigningKey {
    SigningKey::read(SECRET).unwrap()
}

fn headers<'h>(id: &'h str, sent: &'h str, signature: &'h str) -> [(&'h str, &'h str); 3] {
    [
        ("webhook-id", id),
        ("webhook-timestamp", sent),
        ("webhook-signature", signature),
    ]
}

fn answer_about(item: &Item, is_approved: bool) -> Value {
    json!({
        "id": item.id,
        "fingerprint": item.fingerprint(),
        "action": "accept",
        "content": {"approved": is_approved, "reason": "by callback"},
    })
}

#[tokio::test]
async fn a_signed_callback_gives_its_verdict_to_the_courier_once() {
    let mut scene = Scene::new(Show::Full, false);
    let item = item("a");
    let results = scene.ask(&item);
    let answer = scene.signed("msg_1", &answer_about(&item, true)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let verdict = results.recv_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(verdict.choice, Choice::Approve);
    assert_eq!(verdict.reason.as_deref(), Some("by callback"));
    assert_eq!(verdict.approver.as_deref(), Some("webhook:ops"));
    // The worker records it in the store; nobody else does.
    assert_eq!(scene.state(&item), State::Waiting);
    let replayed = scene.signed("msg_1", &answer_about(&item, true)).await;
    assert_eq!(replayed.status, StatusCode::CONFLICT);
    // The contrary in a new message, before the worker has recorded the first.
    let second = scene.signed("msg_2", &answer_about(&item, false)).await;
    assert_eq!(second.status, StatusCode::CONFLICT);
    assert_eq!(scene.state(&item), State::Waiting);
}

#[tokio::test]
async fn a_callback_may_overtake_the_answer_to_the_question() {
    let yes = r#"{"action":"accept","content":{"approved":true}}"#;
    let yes = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{yes}",
        yes.len()
    );
    for late in [ACCEPTED.to_owned(), yes] {
        let (go, may_go) = channel::<()>();
        let (asked, is_asked) = channel();
        let url = answering(move || {
            let _ = asked.send(());
            let _ = may_go.recv_timeout(DEADLINE);
            late.clone()
        });
        let mut scene = Scene::with_service(url, Show::Full, false);
        let item = item("a");
        let results = scene.ask(&item);
        is_asked.recv_timeout(DEADLINE).unwrap();
        let answer = scene.signed("msg_1", &answer_about(&item, false)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        go.send(()).unwrap();
        let verdict = results.recv_timeout(DEADLINE).unwrap().unwrap();
        assert_eq!(verdict.choice, Choice::Deny);
        // The late answer reaches nobody.
        assert!(results.recv_timeout(DEADLINE).is_err());
    }
}

#[tokio::test]
async fn of_many_contrary_callbacks_one_counts() {
    let mut scene = Scene::new(Show::Full, false);
    let item = item("a");
    let results = scene.ask(&item);
    let mut counted = Vec::new();
    for n in 0..20 {
        let is_approved = n % 2 == 1;
        let body = answer_about(&item, is_approved);
        let answer = scene.signed(&format!("msg_{n}"), &body).await;
        match answer.status {
            StatusCode::OK => counted.push(is_approved),
            status => assert_eq!(status, StatusCode::CONFLICT),
        }
    }
    assert_eq!(counted, [false]);
    let verdict = results.recv_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(verdict.choice, Choice::Deny);
    assert!(results.recv_timeout(DEADLINE).is_err());
}

#[tokio::test]
async fn only_somebody_with_the_secret_is_heard() {
    let mut scene = Scene::new(Show::Full, false);
    let item = item("a");
    let results = scene.ask(&item);
    let body = answer_about(&item, true).to_string();
    let now = NOW_S.to_string();
    let right = key().sign("msg_1", NOW_S, body.as_bytes());
    let other = SigningKey::read(&format!("whsec_{}", "A".repeat(32))).unwrap();
    let forged = other.sign("msg_1", NOW_S, body.as_bytes());
    for (headers, body) in [
        (headers("msg_1", &now, &forged), body.as_str()),
        (headers("msg_1", &now, ""), &body),
        (headers("msg_2", &now, &right), &body),
        (headers("msg_1", "1790000001", &right), &body),
        (
            headers("msg_1", &now, &right),
            &body.replace("true", "false"),
        ),
        (
            [("x", "y"), ("content-type", "application/json"), ("z", "")],
            &body,
        ),
    ] {
        let answer = scene.post("/callback/ops", headers, body).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.text);
    }
    for (sent_s, status) in [
        (NOW_S - 301, StatusCode::UNAUTHORIZED),
        (NOW_S + 301, StatusCode::UNAUTHORIZED),
        (NOW_S - 300, StatusCode::OK),
    ] {
        assert_eq!(results.try_recv(), Err(TryRecvError::Empty));
        let id = format!("msg_{sent_s}");
        let answer = scene
            .signed_at(&id, sent_s, &answer_about(&item, true))
            .await;
        assert_eq!(answer.status, status, "{sent_s}");
    }
    assert!(results.recv_timeout(DEADLINE).unwrap().is_ok());
}

#[tokio::test]
async fn an_answer_about_something_else_is_a_conflict_and_one_that_is_none_is_malformed() {
    let mut scene = Scene::new(Show::Full, false);
    let item = item("a");
    let results = scene.ask(&item);
    let with = |key: &str, value: Value| {
        let mut answer = answer_about(&item, true);
        answer[key] = value;
        answer
    };
    let mut n = 0;
    for (body, status) in [
        (
            with("fingerprint", json!("0".repeat(64))),
            StatusCode::CONFLICT,
        ),
        (with("fingerprint", json!("")), StatusCode::CONFLICT),
        (with("id", json!("f".repeat(32))), StatusCode::CONFLICT),
        (with("id", json!("../x")), StatusCode::CONFLICT),
        (
            with("id", json!(item.id.to_uppercase())),
            StatusCode::CONFLICT,
        ),
        (with("id", json!(null)), StatusCode::BAD_REQUEST),
        (with("fingerprint", json!(7)), StatusCode::BAD_REQUEST),
        (with("action", json!("approve")), StatusCode::BAD_REQUEST),
        (with("content", json!({})), StatusCode::BAD_REQUEST),
        (
            with("content", json!({"approved": "true"})),
            StatusCode::BAD_REQUEST,
        ),
        (
            with("content", json!({"approved": 1})),
            StatusCode::BAD_REQUEST,
        ),
        (json!("yes"), StatusCode::BAD_REQUEST),
        (json!({}), StatusCode::BAD_REQUEST),
    ] {
        n += 1;
        let answer = scene.signed(&format!("msg_{n}"), &body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
        assert!(answer.text.contains("error"), "{}", answer.text);
    }
    for missing in ["id", "fingerprint"] {
        let mut body = answer_about(&item, true);
        body.as_object_mut().unwrap().remove(missing);
        let answer = scene.signed(&format!("msg_{missing}"), &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{missing}");
    }
    let twice = answer_about(&item, true)
        .to_string()
        .replacen('{', r#"{"id":"x","#, 1);
    let signature = key().sign("msg_t", NOW_S, twice.as_bytes());
    let now = NOW_S.to_string();
    let answer = scene
        .post("/callback/ops", headers("msg_t", &now, &signature), &twice)
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(results.try_recv(), Err(TryRecvError::Empty));
    // The service may correct itself.
    let answer = scene.signed("msg_1", &answer_about(&item, false)).await;
    assert_eq!(answer.status, StatusCode::OK);
    let verdict = results.recv_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(verdict.choice, Choice::Deny);
}

#[tokio::test]
async fn a_closed_or_withdrawn_question_cannot_be_answered() {
    let mut scene = Scene::new(Show::Full, false);
    let (expired, withdrawn) = (item("e"), item("d"));
    let _results = scene.ask(&expired);
    scene
        .visitor
        .store
        .with(|store| store.close(&expired.id, Closed::Expired, NOW_MS))
        .unwrap();
    let answer = scene.signed("msg_1", &answer_about(&expired, true)).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    let results = scene.ask(&withdrawn);
    scene
        .courier
        .withdraw(&withdrawn.id, &Ending::Closed(Closed::Withdrawn));
    let answer = scene.signed("msg_2", &answer_about(&withdrawn, true)).await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.text);
    assert_eq!(results.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(scene.state(&withdrawn), State::Waiting);
}

#[tokio::test]
async fn a_question_of_another_process_is_decided_in_the_store() {
    let scene = Scene::new(Show::Full, false);
    let item = item("a");
    scene.visitor.ask(&item);
    let answer = scene.signed("msg_1", &answer_about(&item, true)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let entry = scene.visitor.store.entry(&item.id);
    assert_eq!(entry.state, State::Decided(Choice::Approve));
    assert_eq!(entry.engine.as_deref(), Some("ops"));
    let verdict = entry.verdict.unwrap();
    assert_eq!(verdict.assurance, Assurance::SharedSecret);
    assert_eq!(verdict.approver.as_deref(), Some("webhook:ops"));
    let second = scene.signed("msg_2", &answer_about(&item, false)).await;
    assert_eq!(second.status, StatusCode::CONFLICT);
    assert_eq!(scene.state(&item), State::Decided(Choice::Approve));
}

#[tokio::test]
async fn with_a_passphrase_only_the_process_that_asked_takes_a_callback() {
    let mut scene = Scene::new(Show::Full, true);
    let (foreign, own) = (item("f"), item("a"));
    scene.visitor.ask(&foreign);
    let answer = scene.signed("msg_1", &answer_about(&foreign, true)).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert!(answer.text.contains("passphrase"), "{}", answer.text);
    assert_eq!(scene.state(&foreign), State::Waiting);
    let results = scene.ask(&own);
    let answer = scene.signed("msg_2", &answer_about(&own, true)).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(results.recv_timeout(DEADLINE).unwrap().is_ok());
}

#[tokio::test]
async fn what_was_not_sent_whole_can_be_denied_but_not_approved() {
    let mut scene = Scene::new(Show::Summary, false);
    let (first, foreign) = (item("a"), item("f"));
    let results = scene.ask(&first);
    scene.visitor.ask(&foreign);
    for item in [&first, &foreign] {
        let id = format!("msg_{}", item.id);
        let answer = scene.signed(&id, &answer_about(item, true)).await;
        assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.text);
        assert_eq!(scene.state(item), State::Waiting);
    }
    let answer = scene.signed("msg_n", &answer_about(&first, false)).await;
    assert_eq!(answer.status, StatusCode::OK);
    let verdict = results.recv_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(verdict.choice, Choice::Deny);
}

#[tokio::test]
async fn there_is_no_route_for_other_names_and_methods() {
    let scene = Scene::new(Show::Full, false);
    let none = headers("msg_1", "1", "v1,");
    for path in [
        "/callback/nobody",
        "/callback/OPS",
        "/callback/",
        "/callback/ops/x",
    ] {
        let answer = scene.post(path, none, "{}").await;
        assert!(
            [StatusCode::NOT_FOUND, StatusCode::FORBIDDEN].contains(&answer.status),
            "{path}: {}",
            answer.status
        );
    }
    let request = Request::get("/callback/ops").header("host", HERE);
    let answer = scene
        .visitor
        .send(request.body(Body::empty()).unwrap())
        .await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    // Without a secret, the engine has no callback.
    let options = json!({"url": "http://127.0.0.1:9/"});
    let settings = registry::find("webhook").unwrap().read(
        EngineId::new("open"),
        options.as_object().unwrap(),
        &TransportSettings::default(),
    );
    let settings = settings.unwrap().unwrap();
    assert!(settings.callback(&context("open")).is_none());
    assert!(!settings.needs_page(&context("open")));
    assert!(scene.settings.needs_page(&scene.context));
    // The rest of the page still refuses other hosts.
    let request = Request::get("/login").header("host", "tunnel.example");
    let answer = scene
        .visitor
        .send(request.body(Body::empty()).unwrap())
        .await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_large_body_is_refused() {
    let scene = Scene::new(Show::Full, false);
    let body = " ".repeat(64 * 1024 + 1);
    let signature = key().sign("msg_1", NOW_S, body.as_bytes());
    let now = NOW_S.to_string();
    let headers = headers("msg_1", &now, &signature);
    let answer = scene.post("/callback/ops", headers, &body).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}
