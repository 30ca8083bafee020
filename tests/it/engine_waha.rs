//! The engine `waha` against a fake of WAHA's API over HTTP on loopback.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{OddServer, ProxyTest, Request, Session, engines_test, eventually, response};

const KEY: &str = "waha-key-0123456789";
const ANN: &str = "15552220000@c.us";
const STRANGER: &str = "15553330000@c.us";
const GROUP: &str = "120363000000000001@g.us";
/// Her hidden id, and that of a stranger.
const ANN_HIDDEN: &str = "999000111222333@lid";
const STRANGER_HIDDEN: &str = "999000111222444@lid";
/// Long enough for several polls, so that a mistake shows.
const SOME_POLLS: Duration = Duration::from_millis(500);
/// What a webhook answers if it must be asked.
const YES: &str = r#"{"action":"accept","content":{"approved":true}}"#;

/// WAHA with one chat. Written from <https://waha.devlike.pro/docs/how-to/send-messages/> and
/// <https://waha.devlike.pro/docs/how-to/chats/>.
struct Waha {
    server: OddServer,
    chat: &'static str,
    messages: Arc<Mutex<Vec<Value>>>,
}

impl Waha {
    fn start(chat: &'static str) -> Waha {
        Waha::start_odd(chat, |_| None)
    }

    /// Starts one that answers some requests in another way.
    fn start_odd(
        chat: &'static str,
        odd: impl Fn(&Request) -> Option<String> + Send + Sync + 'static,
    ) -> Waha {
        let messages: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = Arc::clone(&messages);
        let server = OddServer::start(move |request| {
            odd(request).unwrap_or_else(|| serve(chat, &kept, request))
        });
        Waha {
            server,
            chat,
            messages,
        }
    }

    /// The engine's entry in a configuration. The key is in the variable `WAHA_KEY`.
    fn engine(&self) -> Value {
        json!({"type": "waha", "url": self.server.url(""), "chatId": self.chat, "apiKey": "${WAHA_KEY}",
            "approvers": [ANN], "pollInterval": 0.1})
    }

    /// Waits for our message with this text.
    fn message(&self, mark: &str) -> Value {
        let find = || {
            let messages = self.messages.lock().unwrap();
            let mut ours = messages.iter().filter(|message| message["fromMe"] == true);
            ours.find(|message| message["body"].as_str().unwrap().contains(mark))
                .cloned()
        };
        eventually(mark, || find().is_some());
        find().unwrap()
    }

    /// Somebody writes.
    fn say(&self, who: &str, text: &str, quoted: Option<&Value>) {
        add(&self.messages, self.chat, Some(who), text, quoted);
    }
}

/// Adds a message of somebody, or of ours, and returns it.
fn add(
    messages: &Mutex<Vec<Value>>,
    chat: &str,
    who: Option<&str>,
    text: &str,
    quoted: Option<&Value>,
) -> Value {
    let mut messages = messages.lock().unwrap();
    let n = messages.len();
    let quoted = quoted.map(|quoted| {
        let id = quoted["id"].as_str().unwrap().split('_').nth(2);
        json!({"id": id, "body": quoted["body"]})
    });
    let message = json!({
        "id": format!("{}_{chat}_3EB0{n}", who.is_none()),
        "timestamp": 1_790_000_000 + n,
        "from": if chat == GROUP { chat } else { who.unwrap_or(chat) },
        "fromMe": who.is_none(),
        "participant": (chat == GROUP).then_some(who.unwrap_or("15550001111@c.us")),
        "body": text,
        "hasMedia": false,
        "replyTo": quoted,
        "_data": {},
    });
    messages.push(message.clone());
    message
}

fn serve(chat: &str, messages: &Mutex<Vec<Value>>, request: &Request) -> String {
    let json = |status, body: Value| {
        let kind = [("content-type", "application/json")];
        response(status, &kind, &body.to_string())
    };
    if request.header("x-api-key") != Some(KEY) {
        return json(401, json!({"statusCode": 401, "message": "Unauthorized"}));
    }
    let path = request.path.split('?').next().unwrap();
    let of_chat = format!("/api/default/chats/{chat}/messages");
    match (&*request.method, path) {
        ("POST", "/api/sendText") => {
            let body: Value = serde_json::from_str(&request.text).unwrap();
            assert_eq!(body["chatId"], chat);
            assert_eq!(body["session"], "default");
            let text = body["text"].as_str().unwrap();
            json(201, add(messages, chat, None, text, None))
        }
        ("GET", path) if path == of_chat => {
            let mut all = messages.lock().unwrap().clone();
            all.reverse();
            json(200, all.into())
        }
        // <https://waha.devlike.pro/docs/how-to/contacts/#api---lids>
        ("GET", "/api/default/lids/pn/15552220000") => {
            json(200, json!({"lid": ANN_HIDDEN, "pn": ANN}))
        }
        ("GET", "/api/sessions/default") => json(200, json!({"status": "WORKING"})),
        ("GET", "/api/sessions/new") => json(200, json!({"status": "SCAN_QR_CODE"})),
        _ => json(404, json!({"statusCode": 404})),
    }
}

fn start(engines: Value) -> Session {
    let test = ProxyTest::with_inbox().env("WAHA_KEY", KEY);
    let test = test.section(json!({"engines": engines, "approvalRetryAttempts": 0}));
    test.start_without_elicitation()
}

fn code_of(message: &Value) -> String {
    let body = message["body"].as_str().unwrap();
    body.rsplit(' ').next().unwrap().to_owned()
}

/// Waits for some polls, and checks that nothing ran.
fn nothing_counts(session: &Session, runs: usize) {
    std::thread::sleep(SOME_POLLS);
    assert_eq!(session.runs_of("wipe"), runs);
    assert_eq!(session.decisions().len(), runs);
}

#[test]
fn only_an_approvers_reply_to_this_very_question_approves_it() {
    let waha = Waha::start(ANN);
    let earlier = add(&waha.messages, ANN, None, "an earlier question", None);
    waha.say(ANN, "yes", Some(&earlier));
    let mut session = start(json!([waha.engine()]));
    assert!(waha.server.seen().is_empty());
    let first = session.call("wipe", json!({"mark": "mark-one"}));
    let one = waha.message("mark-one");
    let second = session.call("wipe", json!({"mark": "mark-two"}));
    let two = waha.message("mark-two");
    for word in ["wipe", "box", "risk high"] {
        assert!(one["body"].as_str().unwrap().contains(word), "{one}");
    }
    add(&waha.messages, ANN, None, "yes", Some(&one));
    waha.say(ANN, "yes", None);
    waha.say(ANN, "yes", Some(&earlier));
    waha.say(ANN, "yes please do not", Some(&one));
    waha.say(STRANGER, "yes", Some(&one));
    waha.say(STRANGER, &format!("yes {}", code_of(&one)), None);
    nothing_counts(&session, 0);
    waha.say(ANN, "Yes", Some(&two));
    session.expect_ran(second);
    let line = session.decisions().pop().unwrap();
    for (key, value) in [
        ("decision", "approved"),
        ("engine", "waha"),
        ("approver", "waha:15552220000@c.us"),
        ("assurance", "shared-secret"),
    ] {
        assert_eq!(line[key], value, "{line}");
    }
    waha.message("Approved by \"waha:15552220000@c.us\" through waha.");
    nothing_counts(&session, 1);
    waha.say(ANN, "❌", Some(&one));
    session.refusal(first);
    assert_eq!(session.runs_of("wipe"), 1);
    let seen = waha.server.seen();
    let has_key = |request: &Request| request.header("x-api-key") == Some(KEY);
    assert!(seen.iter().all(has_key), "{seen:?}");
}

#[test]
fn in_a_group_a_strangers_answer_counts_for_nothing_and_the_code_stands_for_a_quote() {
    let waha = Waha::start(GROUP);
    let mut session = start(json!([waha.engine()]));
    let id = session.call("wipe", json!({"mark": "mark-one"}));
    let one = waha.message("mark-one");
    let code = code_of(&one);
    waha.say(STRANGER, "yes", Some(&one));
    waha.say(STRANGER, &format!("{code} yes"), None);
    waha.say(ANN, &format!("yes {}x", &code[..5]), None);
    nothing_counts(&session, 0);
    waha.say(ANN, &format!("{} 👍", code.to_uppercase()), None);
    session.expect_ran(id);
    session.call("wipe", json!({"mark": "mark-two"}));
    waha.message("mark-two");
    // The code of the first question.
    waha.say(ANN, &format!("yes {code}"), None);
    nothing_counts(&session, 1);
}

#[test]
fn an_approver_counts_by_her_hidden_id_and_a_strangers_hidden_id_does_not() {
    let waha = Waha::start(GROUP);
    let mut session = start(json!([waha.engine()]));
    let id = session.call("wipe", json!({"mark": "mark-one"}));
    let one = waha.message("mark-one");
    waha.say(STRANGER_HIDDEN, "yes", Some(&one));
    nothing_counts(&session, 0);
    let lookups = || {
        let seen = waha.server.seen();
        let lookups = seen.iter().filter(|seen| seen.path.contains("/lids/"));
        lookups.count()
    };
    assert_eq!(lookups(), 1, "she is looked up once, whoever writes");
    assert!(session.stderr().contains(STRANGER_HIDDEN));
    waha.say(ANN_HIDDEN, "yes", Some(&one));
    session.expect_ran(id);
    let line = session.decisions().pop().unwrap();
    assert_eq!(line["approver"], "waha:15552220000@c.us", "{line}");
    assert_eq!(lookups(), 1);
}

#[test]
fn a_session_that_starts_again_does_not_end_a_question() {
    let polls = AtomicUsize::new(0);
    let waha = Waha::start_odd(ANN, move |request| {
        let is_lost = request.path.contains("/messages") && {
            let n = polls.fetch_add(1, Ordering::SeqCst);
            n < 3
        };
        is_lost.then(|| {
            let error =
                json!({"error": "Session status is not as expected.", "status": "STARTING"});
            response(422, &[], &error.to_string())
        })
    });
    let mut session = start(json!([waha.engine()]));
    let id = session.call("wipe", json!({"mark": "mark-one"}));
    let one = waha.message("mark-one");
    waha.say(ANN, "yes", Some(&one));
    session.expect_ran(id);
}

#[test]
fn how_a_question_ended_is_said_even_if_waha_cannot_reply_to_it() {
    let waha = Waha::start_odd(ANN, |request| {
        let is_reply = request.text.contains("\"reply_to\"");
        is_reply.then(|| response(500, &[], "Could not get the quoted message."))
    });
    let mut session = start(json!([waha.engine()]));
    let id = session.call("wipe", json!({"mark": "mark-one"}));
    let one = waha.message("mark-one");
    waha.say(ANN, "no", Some(&one));
    session.refusal(id);
    let end = waha.message("Denied by");
    let code = code_of(&one);
    assert!(end["body"].as_str().unwrap().contains(&code), "{end}");
}

#[test]
fn what_is_not_shown_whole_can_only_be_denied_there() {
    let waha = Waha::start(ANN);
    let mut session = start(json!([waha.engine()]));
    let id = session.call(
        "wipe",
        json!({"mark": "mark-one", "password": "hunter2-XK"}),
    );
    let one = waha.message("mark-one");
    let body = one["body"].as_str().unwrap();
    assert!(
        !body.contains("hunter2-XK") && body.contains("/item/"),
        "{body}"
    );
    waha.say(ANN, "yes", Some(&one));
    waha.message("Not all of this call was shown here");
    nothing_counts(&session, 0);
    waha.say(ANN, "no", Some(&one));
    session.refusal(id);
    waha.message("Denied by");
    let notes = waha.messages.lock().unwrap();
    let notes = notes.iter().filter(|message| {
        let body = message["body"].as_str().unwrap();
        body.contains("Not all of this call")
    });
    assert_eq!(notes.count(), 1);
}

#[test]
fn a_message_that_may_have_been_sent_is_not_sent_again_and_the_next_engine_is_asked() {
    let waha = OddServer::start(|_| response(500, &[], "no"));
    let hook = OddServer::start(|_| response(200, &[], YES));
    let engine = json!({"type": "waha", "url": waha.url(""), "chatId": ANN, "apiKey": "${WAHA_KEY}",
        "approvers": [ANN]});
    let webhook = json!({"type": "webhook", "url": hook.url("/ask")});
    let test = ProxyTest::with_inbox().env("WAHA_KEY", KEY);
    let test = test.section(
        json!({"engines": [engine, webhook], "approvalRetryAttempts": 3,
        "approvalRetryInitialBackoffSeconds": 0.05}),
    );
    let mut session = test.start_without_elicitation();
    let id = session.call("wipe", json!({}));
    session.expect_ran(id);
    assert_eq!(waha.seen().len(), 1);
    assert_eq!(session.decisions().pop().unwrap()["engine"], "webhook");
    assert!(!session.stderr().contains(KEY));
}

#[test]
fn a_question_that_is_over_says_so_and_a_late_yes_counts_for_nothing() {
    let waha = Waha::start(ANN);
    let mut engine = waha.engine();
    engine["timeout"] = json!(1);
    let mut session = start(json!([engine]));
    let id = session.call("wipe", json!({"mark": "mark-one"}));
    let one = waha.message("mark-one");
    session.refusal(id);
    waha.message("Nobody decided in time.");
    waha.say(ANN, "yes", Some(&one));
    std::thread::sleep(SOME_POLLS);
    assert_eq!(session.runs_of("wipe"), 0);
}

#[test]
fn engines_test_says_whether_the_session_is_signed_in() {
    let waha = Waha::start(ANN);
    let test = |session: &str, key| {
        let mut engine = waha.engine();
        engine["session"] = json!(session);
        engines_test(json!({"engines": [engine]}), &[("WAHA_KEY", key)])
    };
    let (code, text) = test("default", KEY);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("`default` is signed in"), "{text}");
    let (code, text) = test("new", KEY);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("is not signed in"), "{text}");
    let (code, text) = test("default", "wrong-key-4711");
    assert_eq!(code, Some(3), "{text}");
    assert!(
        text.contains("401") && text.contains("check `apiKey`"),
        "{text}"
    );
    assert!(!text.contains("wrong-key"), "{text}");
    assert!(waha.messages.lock().unwrap().is_empty());
}

#[test]
fn engines_test_finds_a_noweb_session_without_its_store() {
    let waha = Waha::start_odd(ANN, |request| {
        let is_list = request.path.contains("/messages");
        is_list.then(|| response(400, &[], r#"{"message":"Enable NOWEB store"}"#))
    });
    let (code, text) = engines_test(json!({"engines": [waha.engine()]}), &[("WAHA_KEY", KEY)]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("turn its store on"), "{text}");
    assert!(!text.contains("apiKey"), "{text}");
}
