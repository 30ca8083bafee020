//! The engine `telegram` against a fake of the Bot API.

use std::path::{Path, PathBuf};
use std::time::Duration;

use approval_proxy::approval::item::{Assurance, Choice, Verdict};
use approval_proxy::engines::inbox::passphrase::set;
use approval_proxy::engines::inbox::store::{Decided, SignedVerdict, State};
use approval_proxy::sys::secret::Secret;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::support::telegram::{BERT, BotApi, CHAT, Message, OLGA, STRANGER};
use super::support::{InboxProcess, OddServer, ProxyTest, Session, Terminal, eventually, response};

/// What an engine answers if it must be asked.
const YES: &str = r#"{"action":"accept","content":{"approved":true}}"#;

/// A proxy with these engines. The token is in a variable, as others may read the test's configuration.
fn test(engines: Value) -> ProxyTest {
    let test = ProxyTest::with_inbox().env("TG_TOKEN", &BotApi::token());
    test.section(json!({
        "engines": engines,
        "approvalRetryAttempts": 2,
        "approvalRetryInitialBackoffSeconds": 0.05,
        "approvalRetryMaxBackoffSeconds": 0.1,
    }))
}

fn start(api: &BotApi) -> Session {
    test(json!([api.engine()])).start_without_elicitation()
}

/// Starts a proxy that shares its store with others.
fn start_in(state: &Path, api: &BotApi) -> Session {
    test(json!([api.engine()]))
        .state(state)
        .start_without_elicitation()
}

/// A folder for a store that several processes share.
fn store() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    (dir, state)
}

/// Makes a call that is asked about, and returns its id and its message.
fn ask(session: &mut Session, api: &BotApi, mark: &str) -> (u64, Message) {
    let id = session.call("wipe", json!({"mark": mark}));
    (id, api.message(mark))
}

/// Checks the decision about the last call.
fn expect_decision(session: &Session, decision: &str, approver: &str, assurance: &str) {
    let line = session.decisions().pop().unwrap();
    let found = ["decision", "engine", "approver", "assurance"].map(|key| line[key].clone());
    assert_eq!(
        found,
        [decision, "telegram", approver, assurance].map(Value::from),
        "{line}"
    );
}

fn olga() -> String {
    format!("telegram:{OLGA}")
}

#[test]
fn a_press_approves_exactly_its_own_call_and_the_message_says_who_decided() {
    let api = BotApi::start();
    let mut session = start(&api);
    session.passes("read", json!({}));
    assert!(api.seen().is_empty(), "nothing connects before a question");
    let (first, one) = ask(&mut session, &api, "mark-one");
    let (second, two) = ask(&mut session, &api, "mark-two");
    for word in ["wipe", "box", "risk high", "destructive"] {
        assert!(one.text.contains(word), "{}", one.text);
    }
    let told = api.told(&api.press(&two, "Approve", OLGA));
    assert_eq!(told, "Approved.");
    session.expect_ran(second);
    assert_eq!(session.runs_of("wipe"), 1);
    api.settles(&two, "Approved by Olga (@olga), telegram:77310045");
    expect_decision(&session, "approved", &olga(), "channel-authenticated");
    api.press(&one, "Approve", BERT);
    session.expect_ran(first);
    api.settles(&one, "Approved by Bert");
    assert_eq!(api.refused(), Vec::<String>::new());
    session.finish();
}

#[test]
fn a_denial_with_a_reply_gives_the_agent_the_reason() {
    let api = BotApi::start();
    let mut session = start(&api);
    let (id, message) = ask(&mut session, &api, "mark-before");
    api.reply(&message, "sabotage", STRANGER);
    api.reply(&message, "needs ticket OPS-12", OLGA);
    api.press(&message, "Deny", OLGA);
    let text = session.refusal(id);
    assert!(
        text.contains("needs ticket OPS-12") && !text.contains("sabotage"),
        "{text}"
    );
    api.settles(
        &message,
        "Denied by Olga (@olga), telegram:77310045\nReason: needs ticket OPS-12",
    );
    expect_decision(&session, "denied", &olga(), "channel-authenticated");

    let (id, message) = ask(&mut session, &api, "mark-after");
    let told = api.told(&api.press(&message, "Deny", OLGA));
    assert!(told.contains("Reply to the question"), "{told}");
    api.message("mark-after");
    api.reply(&message, "sabotage", STRANGER);
    api.reply(&message, "not on a Friday", OLGA);
    assert!(session.refusal(id).contains("not on a Friday"));

    let (id, message) = ask(&mut session, &api, "mark-without");
    api.press(&message, "Deny", OLGA);
    let mut now = message.clone();
    eventually("the button without a reason", || {
        now = api.message("mark-without");
        now.buttons.len() == 1
    });
    api.press(&now, "without a reason", OLGA);
    session.refusal(id);
    api.settles(&message, "Denied by Olga");
    assert_eq!(session.runs_of("wipe"), 0);
    session.finish();
}

#[test]
fn somebody_who_is_no_approver_is_told_so_and_decides_nothing() {
    let api = BotApi::start();
    let mut session = start(&api);
    let (id, message) = ask(&mut session, &api, "mark");
    for button in ["Approve", "Deny"] {
        let told = api.told(&api.press(&message, button, STRANGER));
        assert_eq!(told, "You are not an approver of this question.");
    }
    for forged in [
        "",
        "approve",
        &message.button("Approve")[1..],
        &"a".repeat(63),
    ] {
        let told = api.told(&api.press_data(&message, forged, OLGA));
        assert_eq!(told, "This question is not waiting here.", "{forged}");
    }
    assert_eq!(session.runs_of("wipe"), 0);
    api.press(&message, "Approve", OLGA);
    session.expect_ran(id);
    session.finish();
}

#[test]
fn two_people_at_once_give_one_decision_and_the_late_one_is_told() {
    let api = BotApi::start();
    let mut session = start(&api);
    for turn in 0..4 {
        let mark = format!("mark-{turn}");
        let (id, message) = ask(&mut session, &api, &mark);
        let yes = api.press(&message, "Approve", OLGA);
        let late = api.press(&message, "Deny", BERT);
        session.expect_ran(id);
        assert_eq!(api.told(&yes), "Approved.");
        assert_eq!(api.told(&late), "This question has been answered already.");
        expect_decision(&session, "approved", &olga(), "channel-authenticated");
    }
    assert_eq!((session.runs_of("wipe"), session.decisions().len()), (4, 4));
    session.finish();
}

#[test]
fn a_press_on_an_expired_question_runs_nothing_and_is_told() {
    let api = BotApi::start();
    let mut engine = api.engine();
    engine["timeout"] = json!(1);
    let mut session = test(json!([engine])).start_without_elicitation();
    let (id, old) = ask(&mut session, &api, "mark-old");
    session.refusal(id);
    api.settles(&old, "Nobody decided in time");
    let (_, new) = ask(&mut session, &api, "mark-new");
    let told = api.told(&api.press(&old, "Approve", OLGA));
    assert_eq!(told, "This question is not waiting any more.");
    assert_eq!(session.runs_of("wipe"), 0);
    api.settles(&new, "Nobody decided in time");
    session.finish();
}

#[test]
fn hostile_texts_are_shown_and_mean_nothing() {
    let api = BotApi::start();
    let name = "wipe_<b>_x</b>&amp;@all";
    let tools = json!([{"name": name, "description": "</code><a href=\"https://evil.example\">x</a> @channel /start",
        "inputSchema": {"type": "object"}, "annotations": {"destructiveHint": true}}]);
    let mut session = test(json!([api.engine()]))
        .tools(&tools)
        .start_without_elicitation();
    let evil = "</pre><tg-spoiler>&lt;b&gt; https://evil.example \u{202e}abc\u{200b}-END";
    let id = session.call(name, json!({"mark": evil, "<i>": [evil, 1.50]}));
    let message = api.message("-END");
    for shown in [
        name,
        "</pre><tg-spoiler>&lt;b&gt;",
        "\\u{202e}abc\\u{200b}-END",
        "<i>",
        "1.5",
    ] {
        assert!(message.text.contains(shown), "{shown}: {}", message.text);
    }
    assert!(!message.text.contains(['\u{202e}', '\u{200b}']));
    // The fake refuses every tag and entity that is not ours.
    assert_eq!(api.refused(), Vec::<String>::new());
    api.press(&message, "Approve", OLGA);
    session.expect_ran(id);
    session.finish();
}

#[test]
fn what_is_too_long_goes_along_as_a_document_or_is_decided_on_the_page() {
    let api = BotApi::start();
    let long = format!("{}TAIL", "z".repeat(9_000));
    let mut engine = api.engine();
    engine["show"] = json!("full");
    let mut session = test(json!([engine])).start_without_elicitation();
    let id = session.call("wipe", json!({"long": long}));
    let message = api.message("The document that it replies to");
    let document = api
        .messages()
        .into_iter()
        .find(|it| it.document.is_some())
        .unwrap();
    assert!(document.document.unwrap().contains(&long));
    assert_eq!(message.reply_to, Some(document.id));
    api.press(&message, "Approve", OLGA);
    session.expect_ran(id);
    session.finish();

    // By default, secrets are replaced, so nothing that is too long is sent elsewhere.
    let mut session = start(&api);
    let id = session.call("wipe", json!({"later": long}));
    let message = api.message("Not everything is shown in this message");
    assert!(message.buttons.is_empty(), "{message:?}");
    let item = session.terminal().wait_for_item("wipe");
    let link = format!("/item/{item}");
    assert!(
        message.text.contains("http://127.0.0.1:") && message.text.contains(&link),
        "{}",
        message.text
    );
    session.terminal().approve(&item);
    session.expect_ran(id);
    api.settles(&message, "Approved through inbox");
    session.finish();
}

#[test]
fn a_secret_stays_here_and_its_call_is_decided_on_the_page() {
    let api = BotApi::start();
    let mut session = start(&api);
    let id = session.call(
        "wipe",
        json!({"mark": "mark-secret", "password": "hunter2-XK"}),
    );
    let message = api.message("mark-secret");
    assert!(message.buttons.is_empty(), "{message:?}");
    assert!(
        message.text.contains("only in the approval inbox"),
        "{}",
        message.text
    );
    assert!(
        api.seen()
            .iter()
            .all(|request| !request.text.contains("hunter2"))
    );
    let terminal = session.terminal();
    terminal.approve(&terminal.wait_for_item("wipe"));
    session.expect_ran(id);
    api.settles(&message, "Approved through inbox");
    session.finish();
}

#[test]
fn a_message_that_a_person_deleted_is_no_failure() {
    let api = BotApi::start();
    let mut session = start(&api);
    let (id, message) = ask(&mut session, &api, "mark");
    api.delete(&message);
    api.press(&message, "Approve", OLGA);
    session.expect_ran(id);
    eventually("the edit", || api.calls("editMessageText") == 1);
    eventually("the refusal", || {
        api.refused() == ["message to edit not found"]
    });
    session.sync();
    assert!(
        !session.stderr().contains("telegram"),
        "{}",
        session.stderr()
    );
    assert!(
        session
            .log()
            .iter()
            .all(|line| line["event"] != "engine_failed")
    );
    session.finish();
}

#[test]
fn a_rate_limit_is_waited_for_and_one_message_is_sent() {
    let api = BotApi::start();
    // Without the header: the documentation has only the member.
    let limited = r#"{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 1","parameters":{"retry_after":1}}"#;
    api.fails("sendMessage", 429, limited);
    let mut session = start(&api);
    let began = std::time::Instant::now();
    let (id, message) = ask(&mut session, &api, "mark");
    assert!(began.elapsed().as_millis() >= 950, "{:?}", began.elapsed());
    api.press(&message, "Approve", OLGA);
    session.expect_ran(id);
    assert_eq!((api.messages().len(), api.calls("sendMessage")), (1, 2));
    session.finish();
}

#[test]
fn a_token_that_is_revoked_while_a_question_waits_asks_the_next_engine() {
    let api = BotApi::start();
    let service = OddServer::start(|_| response(200, &[], YES));
    let webhook = json!({"type": "webhook", "url": service.url("/ask")});
    let mut session = test(json!([api.engine(), webhook])).start_without_elicitation();
    let (id, _) = ask(&mut session, &api, "mark");
    assert!(service.seen().is_empty());
    api.revokes();
    session.expect_ran(id);
    let failed = session
        .log()
        .into_iter()
        .find(|line| line["event"] == "engine_failed");
    let failed = failed.unwrap();
    assert_eq!(
        (&failed["engine"], &failed["kind"]),
        (&json!("telegram"), &json!("misconfigured"))
    );
    session.stderr_says("botToken");
    let all = format!("{} {:?}", session.stderr(), session.log());
    assert!(!all.contains("FakeSecret"), "{all}");
    session.finish();
}

#[test]
fn a_webhook_that_somebody_set_for_the_bot_is_a_failure_that_says_so() {
    let api = BotApi::start();
    let webhook = r#"{"ok":false,"error_code":409,"description":"Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"}"#;
    api.fails("getUpdates", 409, webhook);
    let mut session = start(&api);
    let id = session.call("wipe", json!({}));
    session.refusal(id);
    session.stderr_says("another program has set a webhook for this bot");
    session.finish();
}

#[test]
fn another_program_that_polls_is_reported_once_and_answers_still_count() {
    let api = BotApi::start();
    let mut session = start(&api);
    let (id, message) = ask(&mut session, &api, "mark");
    api.is_polled();
    api.somebody_else_polls();
    session.stderr_says("another program polls this bot");
    api.press(&message, "Approve", OLGA);
    session.expect_ran(id);
    assert_eq!(session.stderr().matches("another program polls").count(), 1);
    session.finish();
}

#[test]
fn trouble_while_polling_is_survived_without_a_flood() {
    let api = BotApi::start();
    for (status, body) in [
        (500, "{}"),
        (502, "<html>"),
        (200, "[]"),
        (200, "{\"ok\":true}"),
    ] {
        api.fails("getUpdates", status, body);
    }
    let mut session = start(&api);
    let (id, message) = ask(&mut session, &api, "mark");
    api.press(&message, "Approve", OLGA);
    session.expect_ran(id);
    assert!(api.calls("getUpdates") < 10, "{}", api.calls("getUpdates"));
    assert_eq!(
        session.stderr().matches("cannot receive answers").count(),
        1
    );
    session.finish();
}

#[test]
fn the_token_is_in_nothing_that_leaves_the_proxy() {
    let api = BotApi::start();
    let echo = format!(
        r#"{{"ok":false,"description":"no such path: /bot{}/sendMessage"}}"#,
        BotApi::token()
    );
    for _ in 0..3 {
        api.fails("sendMessage", 500, &echo);
    }
    let mut session = test(json!([api.engine()])).start_without_elicitation();
    let id = session.call("wipe", json!({}));
    let refusal = session.refusal(id);
    session.stderr_says("no such path");
    let all = format!("{refusal} {} {:?}", session.stderr(), session.log());
    assert!(!all.contains("FakeSecret"), "{all}");
    session.finish();
}

#[test]
fn a_question_whose_proxy_ends_says_that_it_is_not_waiting() {
    let api = BotApi::start();
    let mut session = start(&api);
    let (_, message) = ask(&mut session, &api, "mark");
    session.finish();
    api.settles(&message, "not waiting any more");
}

/// Three proxies with one store and one bot. The first one polls.
fn three(state: &Path, api: &BotApi) -> [(Session, u64, Message); 3] {
    let mut polls = false;
    ["mark-a", "mark-b", "mark-c"].map(|mark| {
        let mut session = start_in(state, api);
        let (id, message) = ask(&mut session, api, mark);
        if !std::mem::replace(&mut polls, true) {
            api.is_polled();
        }
        (session, id, message)
    })
}

#[test]
fn three_proxies_with_one_bot_without_a_passphrase() {
    let (api, (_dir, state)) = (BotApi::start(), store());
    let mut three = three(&state, &api);
    for (turn, (session, id, message)) in three.iter_mut().enumerate().rev() {
        assert!(!api.told(&api.press(message, "Approve", OLGA)).is_empty());
        session.expect_ran(*id);
        api.settles(message, "Approved by");
        let worth = match turn {
            0 => "channel-authenticated",
            // Another process received it: any program of this user could have written that.
            _ => "inbox-terminal",
        };
        expect_decision(session, "approved", &olga(), worth);
        assert_eq!(session.runs_of("wipe"), 1);
    }
    assert_eq!(api.conflicts(), 0);
}

#[test]
fn a_denial_of_another_process_question_has_its_reason() {
    let (api, (_dir, state)) = (BotApi::start(), store());
    let [_first, (mut second, id, message), _third] = three(&state, &api);
    let told = api.told(&api.press(&message, "Deny", OLGA));
    assert!(told.contains("Reply to the question"), "{told}");
    eventually("the other button", || {
        api.message("mark-b").buttons.len() == 1
    });
    assert_eq!(
        api.told(&api.press(&message, "Approve", BERT)),
        "This has been denied already."
    );
    api.reply(&message, "needs ticket OPS-12", OLGA);
    assert!(second.refusal(id).contains("needs ticket OPS-12"));
    api.settles(&message, "Reason: needs ticket OPS-12");
}

#[test]
fn below_the_required_assurance_a_press_does_not_count_and_the_approver_is_told() {
    let (api, (_dir, state)) = (BotApi::start(), store());
    let mut first = start_in(&state, &api);
    let (own, own_message) = ask(&mut first, &api, "mark-own");
    api.is_polled();
    let strict =
        test(json!([api.engine()])).rules(json!({"requireAssurance": "channel-authenticated"}));
    let mut strict = strict.state(&state).start_without_elicitation();
    let (id, message) = ask(&mut strict, &api, "mark-strict");
    assert!(!api.told(&api.press(&message, "Approve", OLGA)).is_empty());
    let note = api.message("does not count");
    assert_eq!(note.reply_to, Some(message.id));
    assert_eq!(strict.runs_of("wipe"), 0);
    // Once it polls itself, a press counts there.
    api.press(&own_message, "Approve", OLGA);
    first.expect_ran(own);
    first.finish();
    api.is_polled();
    api.press(&message, "Approve", OLGA);
    strict.expect_ran(id);
    expect_decision(&strict, "approved", &olga(), "channel-authenticated");
}

#[test]
fn a_row_of_the_store_cannot_point_a_button_at_another_call() {
    let (api, (_dir, state)) = (BotApi::start(), store());
    let [_first, (mut second, id, message), (third, _, _)] = three(&state, &api);
    let terminal = Terminal::at(&state);
    let items = terminal.wait_for_items(3);
    let item = |at: usize| items[at]["id"].as_str().unwrap();
    // As any program of this user could: the button of the second question leads to the third one's item.
    let db = rusqlite::Connection::open(state.join("inbox.db")).unwrap();
    let token = &message.button("Approve")[1..31];
    let lead_to = |item: &str| {
        let sql = "UPDATE keys SET item = ?1 WHERE key LIKE '%' || ?2";
        assert_eq!(db.execute(sql, (item, token)).unwrap(), 1);
    };
    lead_to(item(2));
    let told = api.told(&api.press(&message, "Approve", OLGA));
    assert!(told.contains("not the one that was shown here"), "{told}");
    assert_eq!((second.runs_of("wipe"), third.runs_of("wipe")), (0, 0));
    lead_to(item(1));
    api.press(&message, "Approve", OLGA);
    second.expect_ran(id);
}

#[test]
fn a_process_killed_between_delivery_and_verdict_loses_no_press() {
    let (api, (_dir, state)) = (BotApi::start(), store());
    let mut first = start_in(&state, &api);
    ask(&mut first, &api, "mark-first");
    api.is_polled();
    let mut second = start_in(&state, &api);
    let (id, message) = ask(&mut second, &api, "mark-second");
    first.signal(Signal::STOP);
    let polls = api.calls("getUpdates");
    // The answer to the poll is on its way to the first process, which never reads it.
    api.press(&message, "Approve", OLGA);
    api.has_delivered();
    first.signal(Signal::KILL);
    second.expect_ran(id);
    assert!(api.calls("getUpdates") > polls);
    expect_decision(&second, "approved", &olga(), "channel-authenticated");
    assert_eq!(second.runs_of("wipe"), 1);
}

#[test]
fn an_update_is_confirmed_only_after_its_verdict_was_written() {
    let (api, (_dir, state)) = (BotApi::start(), store());
    // The first process receives its own answer, and one for another process.
    let [
        (mut first, own, own_message),
        (mut second, id, message),
        _third,
    ] = three(&state, &api);
    let items = Terminal::at(&state).wait_for_items(3);
    for (at, session, call, message) in [
        (0, &mut first, own, own_message),
        (1, &mut second, id, message),
    ] {
        let item = items[at]["id"].as_str().unwrap().to_owned();
        let (sender, seen) = std::sync::mpsc::channel();
        let terminal = Terminal::at(&state);
        api.when_confirmed(move || {
            let entry = terminal.store().find(&item).unwrap().unwrap();
            let _ = sender.send(entry.state);
        });
        api.press(&message, "Approve", OLGA);
        session.expect_ran(call);
        let state = seen.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(state, State::Decided(Choice::Approve), "{at}");
    }
}

#[test]
fn with_a_passphrase_the_inbox_receives_and_signs_for_every_proxy() {
    let (api, (dir, state)) = (BotApi::start(), store());
    let terminal = Terminal::at(&state);
    set(
        &terminal.state_dir(),
        None,
        &Secret::new("correct horse".to_owned()),
    )
    .unwrap();
    let config = dir.path().join("config.json");
    let section = json!({"approvalProxy": {"engines": [api.engine()]}});
    std::fs::write(&config, section.to_string()).unwrap();
    let passphrase = dir.path().join("passphrase");
    std::fs::write(&passphrase, "correct horse\n").unwrap();
    // It polls until the inbox comes.
    let mut early = start_in(&state, &api);
    let (early_id, early_message) = ask(&mut early, &api, "mark-early");
    api.is_polled();
    let mut command = terminal.command(&["inbox", "--no-browser", "--inbox-port", "0"]);
    command
        .env("APPROVAL_CONFIG", &config)
        .env("TG_TOKEN", BotApi::token());
    command.stdin(std::fs::File::open(&passphrase).unwrap());
    let inbox = InboxProcess::of(command);
    eventually("the inbox signs", || {
        inbox.stderr().contains("are signed and count")
    });
    api.is_polled();
    // As any program of this user could: a row that claims what Olga would have said.
    let forged = SignedVerdict {
        verdict: Verdict {
            fields: None,
            choice: Choice::Approve,
            reason: None,
            cover: Duration::ZERO,
            assurance: Assurance::ChannelAuthenticated,
            approver: Some(olga()),
            decided_ms: 1_790_000_000_000,
        },
        signature: None,
        engine: Some("telegram".to_owned()),
    };
    let item = terminal.wait_for_item("wipe");
    let decided = terminal.store().decide(&item, &forged).unwrap();
    assert_eq!(decided, Decided::Recorded);
    early.wait_for_event("disregarded_verdict");
    assert_eq!(
        api.message("does not count").reply_to,
        Some(early_message.id)
    );
    assert_eq!(early.runs_of("wipe"), 0);
    let mut sessions = vec![(early, early_id, early_message)];
    for mark in ["mark-a", "mark-b"] {
        let mut session = start_in(&state, &api);
        let (id, message) = ask(&mut session, &api, mark);
        sessions.push((session, id, message));
    }
    for (mut session, id, message) in sessions {
        api.press(&message, "Approve", OLGA);
        session.expect_ran(id);
        expect_decision(&session, "approved", &olga(), "channel-authenticated");
        api.settles(&message, "Approved by");
        session.finish();
    }
    assert_eq!(api.conflicts(), 0);
    drop(inbox);
}

fn engines_test(api: &BotApi, change: &Value) -> (Option<i32>, String) {
    let mut engine = api.engine();
    for (key, value) in change.as_object().unwrap() {
        engine[key] = value.clone();
    }
    let section = json!({"engines": [engine]});
    let env = [("TG_TOKEN", &*BotApi::token())];
    let (code, text) = super::support::engines_test(section, &env);
    assert!(!text.contains("FakeSecret"), "{text}");
    (code, text)
}

#[test]
fn engines_test_says_what_is_wrong_and_who_wrote_to_the_bot() {
    let api = BotApi::start();
    let (code, text) = engines_test(&api, &json!({}));
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("@approvals_bot can write to the supergroup \"Approvals\""),
        "{text}"
    );
    let nothing = Message::default();
    api.reply(&nothing, "hello", OLGA);
    let (code, text) = engines_test(&api, &json!({"chatId": 1}));
    assert_eq!(code, Some(3), "{text}");
    assert!(
        text.contains("chat not found") && text.contains("`chatId`"),
        "{text}"
    );
    let seen = format!("user {OLGA} (\"Olga (@olga)\") in chat {CHAT} (\"Approvals\")");
    assert!(text.contains(&seen), "{text}");
    for status in ["left", "kicked", "restricted"] {
        api.bot_is(status);
        let (code, text) = engines_test(&api, &json!({}));
        assert!(code == Some(3) && text.contains("may not write"), "{text}");
    }
    api.revokes();
    let (code, text) = engines_test(&api, &json!({}));
    assert!(
        code == Some(3) && text.contains("401") && text.contains("`botToken`"),
        "{text}"
    );
    assert_eq!(api.calls("sendMessage"), 0);
    // Nothing was confirmed: the message is still there for the next poll.
    assert!(
        api.seen()
            .iter()
            .all(|request| !request.text.contains("offset"))
    );
}
