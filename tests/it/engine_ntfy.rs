//! The engine `ntfy` against a fake server of ntfy.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::ntfy::{Ntfy, REPLIES, TOKEN, TOPIC, code};
use super::support::{OddServer, ProxyTest, Session, eventually, response};

/// Long enough for a mistake to show.
const A_MOMENT: Duration = Duration::from_millis(400);
/// A tool of risk medium, and one of risk high.
const MEDIUM: &str = "write_file";
const HIGH: &str = "wipe";

/// A proxy with these engines. The token is in a variable, as others may read the test's configuration.
fn start(section: Value) -> Session {
    let mut all = json!({
        "approvalRetryAttempts": 1,
        "approvalRetryInitialBackoffSeconds": 0.05,
        "approvalRetryMaxBackoffSeconds": 0.1,
    });
    let members = section.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(members);
    let test = ProxyTest::with_inbox().env("NTFY_TOKEN", TOKEN);
    test.section(all).start_without_elicitation()
}

fn with_buttons(ntfy: &Ntfy) -> Session {
    start(json!({"engines": [ntfy.engine_with_buttons()]}))
}

/// Makes a call that is asked about, and returns its id and its message.
fn ask(session: &mut Session, ntfy: &Ntfy, tool: &str, mark: &str) -> (u64, Value) {
    let id = session.call(tool, json!({"mark": mark}));
    (id, ntfy.message(mark))
}

/// Checks that nobody has decided anything more. `decisions` is how many calls were decided before.
fn still_waits(session: &mut Session, decisions: usize) {
    std::thread::sleep(A_MOMENT);
    session.sync();
    let mut all = session.decisions();
    all.retain(|line| line["decision"] != "passed");
    assert_eq!(all.len(), decisions, "{all:?}");
}

/// Checks the decision about the last call.
fn expect_decision(session: &Session, decision: &str, engine: &str) {
    let line = session.decisions().pop().unwrap();
    assert_eq!(
        (&line["decision"], &line["engine"]),
        (&json!(decision), &json!(engine)),
        "{line}"
    );
    if engine == "ntfy" {
        assert_eq!(line["approver"], "ntfy:ntfy", "{line}");
        assert_eq!(line["assurance"], "shared-secret", "{line}");
    }
}

fn buttons(message: &Value) -> usize {
    message
        .get("actions")
        .map_or(0, |actions| actions.as_array().unwrap().len())
}

#[test]
fn by_default_a_message_only_notifies_and_the_inbox_decides() {
    let ntfy = Ntfy::start();
    let mut session = start(json!({"engines": [ntfy.engine()]}));
    session.passes("read", json!({}));
    assert!(ntfy.seen().is_empty(), "nothing connects before a question");
    let (id, message) = ask(&mut session, &ntfy, HIGH, "mark-one");
    for word in ["wipe", "box", "risk high", "destructive"] {
        let text = message["message"].as_str().unwrap();
        assert!(text.contains(word), "{word}: {text}");
    }
    let title = message["title"].as_str().unwrap();
    assert!(title.contains("wipe") && title.contains("high"), "{title}");
    assert_eq!(message["priority"], 5);
    assert_eq!(message["tags"], json!(["rotating_light", "risk-high"]));
    assert_eq!(buttons(&message), 0);
    let item = session.terminal().wait_for_item(HIGH);
    let click = message["click"].as_str().unwrap();
    assert!(
        click.starts_with("http://127.0.0.1:") && click.ends_with(&item),
        "{click}"
    );
    // Everyone may write to the topic, and it means nothing.
    for text in ["approve", "yes", &item] {
        ntfy.write(TOPIC, text);
    }
    still_waits(&mut session, 0);
    session.terminal().approve(&item);
    session.expect_ran(id);
    expect_decision(&session, "approved", "inbox");
    let (_, medium) = ask(&mut session, &ntfy, MEDIUM, "mark-two");
    assert_eq!(medium["priority"], 4);
    assert!(
        ntfy.seen()
            .iter()
            .all(|request| request.header("authorization").is_none())
    );
    assert!(
        ntfy.seen().iter().all(|request| request.method == "POST"),
        "nothing is read"
    );
    session.finish();
}

#[test]
fn a_notification_neither_ends_the_chain_nor_keeps_it_from_going_on() {
    let ntfy = Ntfy::start();
    let service = OddServer::start(|_| response(202, &[("location", "/later")], ""));
    let mut first = ntfy.engine();
    first["timeout"] = json!(1);
    first["onTimeout"] = json!("fallback");
    let webhook = json!({"type": "webhook", "url": service.url("/ask")});
    let mut session = start(json!({"engines": [first, webhook]}));
    let (id, _) = ask(&mut session, &ntfy, MEDIUM, "mark");
    assert!(service.seen().is_empty());
    eventually("the next engine", || !service.seen().is_empty());
    // The question that ntfy announced is still open.
    let item = session.terminal().wait_for_item(MEDIUM);
    session.terminal().approve(&item);
    session.expect_ran(id);
    let log = session.log();
    assert!(
        log.iter().all(|line| line["event"] != "engine_failed"),
        "{log:?}"
    );
    session.finish();
}

#[test]
fn nobody_who_answers_in_time_is_a_no() {
    let ntfy = Ntfy::start();
    let mut engine = ntfy.engine_with_buttons();
    engine["timeout"] = json!(1);
    let mut session = start(json!({"engines": [engine]}));
    let (id, message) = ask(&mut session, &ntfy, MEDIUM, "mark");
    session.refusal(id);
    ntfy.tap(&message, "Approve");
    still_waits(&mut session, 1);
    assert_eq!(session.runs_of(MEDIUM), 0);
    session.finish();
}

#[test]
fn a_tap_approves_or_denies_exactly_its_own_call_once() {
    let ntfy = Ntfy::start();
    let mut session = with_buttons(&ntfy);
    let (first, one) = ask(&mut session, &ntfy, MEDIUM, "mark-one");
    let (second, two) = ask(&mut session, &ntfy, MEDIUM, "mark-two");
    assert_eq!((buttons(&one), buttons(&two)), (2, 2));
    let codes = [&one, &two].map(|it| [code(it, "Approve"), code(it, "Deny")]);
    let mut all: Vec<&String> = codes.iter().flatten().collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 4, "each code is another");
    assert!(all.iter().all(|code| code.len() == 32));

    ntfy.tap(&two, "Approve");
    session.expect_ran(second);
    expect_decision(&session, "approved", "ntfy");
    // Neither code of a question that is over does anything.
    ntfy.tap(&two, "Approve");
    ntfy.tap(&two, "Deny");
    still_waits(&mut session, 1);
    assert_eq!(session.runs_of(MEDIUM), 1);
    ntfy.tap(&one, "Deny");
    session.refusal(first);
    expect_decision(&session, "denied", "ntfy");

    // The same call is another question.
    let before = ntfy.messages().len();
    let third = session.call(MEDIUM, json!({"mark": "mark-two"}));
    eventually("the third question", || ntfy.messages().len() > before);
    let three = ntfy.messages().pop().unwrap();
    ntfy.tap(&two, "Approve");
    still_waits(&mut session, 2);
    ntfy.tap(&three, "Approve");
    session.expect_ran(third);
    assert_eq!(ntfy.refused(), Vec::<String>::new());
    eventually("nobody reads any more", || ntfy.readers() == 0);
    session.finish();
}

#[test]
fn what_a_stranger_writes_to_the_topic_for_replies_decides_nothing() {
    let ntfy = Ntfy::start();
    let mut session = with_buttons(&ntfy);
    let (id, message) = ask(&mut session, &ntfy, MEDIUM, "mark");
    let item = session.terminal().wait_for_item(MEDIUM);
    let approve = code(&message, "Approve");
    for text in [
        "approve",
        "Approve",
        "yes",
        &item,
        &approve[1..],
        &approve.to_uppercase(),
    ] {
        ntfy.write(REPLIES, text);
    }
    // Not even a line that no correct server sends stops us from reading the next one.
    for line in [
        "",
        "{",
        "[]",
        &json!({"event": "message", "topic": TOPIC, "message": approve}).to_string(),
        &json!({"event": "keepalive", "topic": REPLIES, "message": approve}).to_string(),
        &json!({"event": "message", "topic": REPLIES, "message": [approve]}).to_string(),
        &json!({"event": "message", "topic": REPLIES, "title": approve}).to_string(),
        &"x".repeat(300_000),
    ] {
        ntfy.send_line(line);
    }
    still_waits(&mut session, 0);
    ntfy.tap(&message, "Deny");
    session.refusal(id);
    expect_decision(&session, "denied", "ntfy");
    session.finish();
}

#[test]
fn at_high_risk_there_are_no_buttons() {
    let ntfy = Ntfy::start();
    let mut session = with_buttons(&ntfy);
    let (id, message) = ask(&mut session, &ntfy, HIGH, "mark");
    assert_eq!(buttons(&message), 0);
    let item = session.terminal().wait_for_item(HIGH);
    session.terminal().approve(&item);
    session.expect_ran(id);
    expect_decision(&session, "approved", "inbox");
    session.finish();
}

#[test]
fn what_is_not_shown_whole_is_decided_in_the_inbox() {
    let ntfy = Ntfy::start();
    let mut session = with_buttons(&ntfy);
    session.call(
        MEDIUM,
        json!({"mark": "with-secret", "password": "hunter2-XK"}),
    );
    let message = ntfy.message("with-secret");
    assert!(!message.to_string().contains("hunter2"), "{message}");
    assert_eq!(buttons(&message), 0);
    session.call(
        MEDIUM,
        json!({"mark": "long-one", "text": "\"\\\n".repeat(5_000)}),
    );
    let message = ntfy.message("long-one");
    assert_eq!(buttons(&message), 0);
    let text = message["message"].as_str().unwrap();
    assert!(text.contains("Not everything is shown"), "{text}");
    assert!(
        text.ends_with("Tap this message to decide in the approval inbox."),
        "{text}"
    );
    assert_eq!(ntfy.refused(), Vec::<String>::new());
    assert_eq!(ntfy.readers(), 0);
}

#[test]
fn a_tap_while_the_subscription_is_down_still_counts() {
    let ntfy = Ntfy::start();
    let mut session = with_buttons(&ntfy);
    let (id, message) = ask(&mut session, &ntfy, MEDIUM, "mark");
    ntfy.refuses_readers(true);
    ntfy.cuts();
    eventually("nobody reads", || ntfy.readers() == 0);
    ntfy.tap(&message, "Approve");
    still_waits(&mut session, 0);
    ntfy.refuses_readers(false);
    session.expect_ran(id);
    expect_decision(&session, "approved", "ntfy");
    let warned = session.stderr().matches("cannot read replies").count();
    assert_eq!(warned, 1, "{}", session.stderr());
    session.finish();
}

#[test]
fn replies_that_cannot_be_read_cost_the_buttons_and_not_the_question() {
    let ntfy = Ntfy::start();
    ntfy.refuses_readers(true);
    let mut session = with_buttons(&ntfy);
    let (id, message) = ask(&mut session, &ntfy, MEDIUM, "mark");
    assert_eq!(buttons(&message), 0);
    session.stderr_says("asks without buttons");
    let item = session.terminal().wait_for_item(MEDIUM);
    session.terminal().approve(&item);
    session.expect_ran(id);
    session.finish();
}

#[test]
fn a_message_that_cannot_be_published_is_a_failure_and_the_next_engine_is_asked() {
    for (status, kind) in [
        (403, "misconfigured"),
        (429, "rate-limited"),
        (500, "unreachable"),
        (413, "rejected"),
    ] {
        let ntfy = Ntfy::start();
        for _ in 0..2 {
            ntfy.fails(status);
        }
        let yes = r#"{"action":"accept","content":{"approved":true}}"#;
        let service = OddServer::start(move |_| response(200, &[], yes));
        let webhook = json!({"type": "webhook", "url": service.url("/ask")});
        let engines = json!([ntfy.engine_with_buttons(), webhook]);
        let mut session = start(json!({"engines": engines}));
        let id = session.call(MEDIUM, json!({}));
        session.expect_ran(id);
        let log = session.log();
        let failed = log.iter().find(|line| line["event"] == "engine_failed");
        assert_eq!(failed.unwrap()["kind"], kind, "{status}");
        let all = format!("{} {log:?}", session.stderr());
        for secret in [TOKEN, TOPIC, REPLIES] {
            assert!(!all.contains(secret), "{secret}: {all}");
        }
        session.finish();
    }
}

#[test]
fn a_failure_that_passes_is_retried_and_its_codes_still_count() {
    let ntfy = Ntfy::start();
    ntfy.fails(503);
    let mut session = with_buttons(&ntfy);
    let (id, message) = ask(&mut session, &ntfy, MEDIUM, "mark");
    ntfy.tap(&message, "Approve");
    session.expect_ran(id);
    assert_eq!(ntfy.messages().len(), 1);
    session.finish();
}

#[test]
fn the_token_is_in_no_message_and_in_nothing_else_that_leaves_the_proxy() {
    let ntfy = Ntfy::start();
    let mut session = with_buttons(&ntfy);
    let (id, message) = ask(&mut session, &ntfy, MEDIUM, "mark");
    ntfy.tap(&message, "Deny");
    let refusal = session.refusal(id);
    let seen = ntfy.seen();
    assert!(seen.iter().all(|request| !request.text.contains(TOKEN)));
    assert!(seen.iter().all(|request| !request.path.contains(TOKEN)));
    let all = format!(
        "{refusal} {message} {} {:?}",
        session.stderr(),
        session.log()
    );
    assert!(!all.contains("FakeSecret"), "{all}");
    // Only the proxy presents it: phones need none.
    let taps = seen
        .iter()
        .filter(|request| request.path == format!("/{REPLIES}"));
    assert!(
        taps.clone().count() == 1
            && taps
                .clone()
                .all(|tap| tap.header("authorization").is_none())
    );
    session.finish();
}

#[test]
fn in_a_race_a_verdict_elsewhere_voids_the_codes() {
    let ntfy = Ntfy::start();
    let engines = json!([ntfy.engine_with_buttons(), "inbox"]);
    let mut session = start(json!({"ask": "race", "engines": engines}));
    let (id, message) = ask(&mut session, &ntfy, MEDIUM, "mark-one");
    let item = session.terminal().wait_for_item(MEDIUM);
    session.terminal().approve(&item);
    session.expect_ran(id);
    ntfy.tap(&message, "Deny");
    still_waits(&mut session, 1);
    let (id, message) = ask(&mut session, &ntfy, MEDIUM, "mark-two");
    ntfy.tap(&message, "Deny");
    session.refusal(id);
    expect_decision(&session, "denied", "ntfy");
    session.finish();
}

fn engines_test(engine: &Value, token: &str) -> (Option<i32>, String) {
    let section = json!({"engines": [engine]});
    let (code, text) = super::support::engines_test(section, &[("NTFY_TOKEN", token)]);
    assert!(
        !text.contains("FakeSecret") && !text.contains(REPLIES),
        "{text}"
    );
    (code, text)
}

#[test]
fn engines_test_says_what_is_wrong_and_publishes_nothing() {
    let ntfy = Ntfy::start();
    let (code, text) = engines_test(&ntfy.engine(), TOKEN);
    assert!(code == Some(0) && text.contains("answers"), "{text}");
    let engine = ntfy.engine_with_buttons();
    let (code, text) = engines_test(&engine, TOKEN);
    assert!(
        code == Some(0) && text.contains("only `token` can read"),
        "{text}"
    );
    let (code, text) = engines_test(&engine, "tk_FakeSecretWrong");
    assert!(
        code == Some(3) && text.contains("401") && text.contains("`token`"),
        "{text}"
    );
    ntfy.refuses_readers(true);
    let (code, text) = engines_test(&engine, TOKEN);
    assert!(
        code == Some(3) && text.contains("403") && text.contains("`replyTopic`"),
        "{text}"
    );
    ntfy.opens();
    let (code, text) = engines_test(&engine, TOKEN);
    assert!(code == Some(3) && text.contains("write-only"), "{text}");
    assert!(ntfy.seen().iter().all(|request| request.method == "GET"));
}
