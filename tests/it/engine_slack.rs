//! The engine `slack` against a fake Slack on loopback, with the real binary.

use std::path::Path;
use std::time::{Duration, Instant};

use approval_proxy::engines::TransportSettings;
use approval_proxy::engines::inbox::passphrase;
use approval_proxy::engines::registry::{self, BadOptions};
use approval_proxy::gate::EngineId;
use approval_proxy::sys::secret::Secret;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::support::slack::{
    APP_TOKEN, BOT_TOKEN, CHANNEL, ERIK, FakeSlack, Fault, OLGA, STRANGER, buttons, envelope,
    links, mrkdwn,
};
use super::support::{Home, InboxProcess, Session, Terminal, eventually};

/// Long enough for a mistake to show.
const A_MOMENT: Duration = Duration::from_millis(400);

fn session(slack: &FakeSlack, changed: &Value) -> Session {
    slack.proxy(changed).start_without_elicitation()
}

/// Checks that nobody has decided and nothing has run.
fn still_waits(session: &mut Session) {
    std::thread::sleep(A_MOMENT);
    session.sync();
    assert_eq!(session.runs_of("wipe"), 0);
    assert!(session.decisions().is_empty(), "{:?}", session.decisions());
}

#[test]
fn a_named_persons_click_runs_the_call_and_the_message_says_who_it_was() {
    let slack = FakeSlack::start();
    let mut session = session(&slack, &json!({}));
    let call = session.call("wipe", json!({"table": "orders-7Q", "n": 1.5}));
    let card = slack.card("orders-7Q");
    let text = mrkdwn(&card.body);
    for word in ["box", "wipe", "1.5", "risk high", "destructive"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert_eq!(card.body["channel"], CHANNEL);
    let [approve, deny] = &buttons(&card)[..] else {
        panic!("{}", card.body);
    };
    assert_eq!(deny["text"]["text"], "Deny");
    // At high risk, Slack asks once more.
    let confirm = &approve["confirm"];
    assert!(
        confirm["text"]["text"].as_str().unwrap().contains("wipe"),
        "{confirm}"
    );
    assert!(confirm["deny"]["text"].is_string(), "{confirm}");
    still_waits(&mut session);

    let envelope = slack.click(&card, "Approve", OLGA);
    session.expect_ran(call);
    assert!(slack.is_acknowledged(&envelope));
    let settled = slack.settled(&card);
    for word in ["*Approved*", &format!("<@{OLGA}>"), "wipe"] {
        assert!(settled.contains(word), "{word}: {settled}");
    }
    let line = session.decision("wipe");
    for (key, value) in [
        ("decision", json!("approved")),
        ("engine", json!("slack")),
        ("approver", json!(format!("slack:{OLGA}"))),
        ("assurance", json!("channel-authenticated")),
    ] {
        assert_eq!(line[key], value, "{key}: {line}");
    }
    assert_eq!(session.runs_of("wipe"), 1);
    assert_eq!(slack.refused(), [""; 0]);
    session.finish();
}

#[test]
fn deny_asks_for_a_reason_that_the_agent_and_the_log_get() {
    let slack = FakeSlack::start();
    let mut session = session(&slack, &json!({}));
    let call = session.call("wipe", json!({"n": 1}));
    let card = slack.card("wipe");
    let before = slack.modals();
    slack.click(&card, "Deny", OLGA);
    let modal = slack.modal(before);
    // Whoever only opens the modal has not decided.
    still_waits(&mut session);
    slack.submit(&modal, "  needs OPS-12 <!channel> ", ERIK);
    let refusal = session.refusal(call);
    assert!(refusal.contains("needs OPS-12"), "{refusal}");
    let settled = slack.settled(&card);
    assert!(
        settled.contains("*Denied*") && settled.contains(&format!("<@{ERIK}>")),
        "{settled}"
    );
    assert!(
        settled.contains("needs OPS-12 &lt;!channel&gt;"),
        "{settled}"
    );
    let line = session.decision("wipe");
    assert_eq!(line["approver"], format!("slack:{ERIK}"));
    assert!(
        line["reason"].as_str().unwrap().contains("OPS-12"),
        "{line}"
    );
    assert_eq!(session.runs_of("wipe"), 0);
    session.finish();
}

#[test]
fn deny_counts_without_a_reason_if_the_modal_does_not_open() {
    for fault in [Fault::Error("expired_trigger_id"), Fault::Status(500, None)] {
        let slack = FakeSlack::start();
        let mut session = session(&slack, &json!({}));
        let call = session.call("wipe", json!({"n": 1}));
        slack.fault("views.open", 9, fault);
        slack.click(&slack.card("wipe"), "Deny", OLGA);
        session.refusal(call);
        assert_eq!(session.decision("wipe")["decision"], "denied");
        session.finish();
    }
}

#[test]
fn nobody_else_decides_and_they_are_told_so() {
    let slack = FakeSlack::start();
    let mut session = session(&slack, &json!({}));
    let call = session.call("wipe", json!({"n": 1}));
    let card = slack.card("wipe");
    slack.click(&card, "Approve", STRANGER);
    slack.told(STRANGER, "You are not an approver");
    slack.click(&card, "Deny", STRANGER);
    eventually("a second note", || slack.notes(STRANGER).len() == 2);
    assert_eq!(slack.modals(), 0);
    // An approver opens the modal, and somebody else sends it.
    slack.click(&card, "Deny", OLGA);
    slack.submit(&slack.modal(0), "sabotage", STRANGER);
    eventually("a third note", || slack.notes(STRANGER).len() == 3);
    still_waits(&mut session);
    slack.click(&card, "Approve", ERIK);
    session.expect_ran(call);
    assert_eq!(
        session.decision("wipe")["approver"],
        format!("slack:{ERIK}")
    );
    session.finish();
}

#[test]
fn of_two_people_one_decides_and_the_other_is_told() {
    let slack = FakeSlack::start();
    let mut session = session(&slack, &json!({}));
    let call = session.call("wipe", json!({"n": 1}));
    let card = slack.card("wipe");
    let before = slack.modals();
    slack.click(&card, "Deny", ERIK);
    let modal = slack.modal(before);
    let approve = slack.click_payload(&card, "Approve", OLGA);
    // The same envelope twice, the same click in another one, and a contrary answer.
    let id = slack.envelope_id();
    slack.send(&envelope(&id, &approve));
    slack.send(&envelope(&id, &approve));
    slack.deliver(&approve);
    slack.submit(&modal, "no", ERIK);
    session.expect_ran(call);
    slack.told(ERIK, "not waiting here any more");
    eventually("the doubled click is told once", || {
        slack.notes(OLGA).len() == 1
    });
    assert_eq!(
        session.decision("wipe")["approver"],
        format!("slack:{OLGA}")
    );
    assert_eq!(session.runs_of("wipe"), 1);
    session.finish();
}

#[test]
fn an_old_click_decides_no_later_question() {
    let slack = FakeSlack::start();
    let mut session = session(&slack, &json!({}));
    let call = session.call("wipe", json!({"n": 1}));
    let card = slack.card("wipe");
    let old = slack.click_payload(&card, "Approve", OLGA);
    slack.deliver(&old);
    session.expect_ran(call);
    slack.settled(&card);
    // The same call again is another question.
    let again = session.call("wipe", json!({"n": 1}));
    eventually("it is asked again", || slack.messages().len() == 2);
    slack.deliver(&old);
    slack.told(OLGA, "it was approved already");
    std::thread::sleep(A_MOMENT);
    assert_eq!(session.runs_of("wipe"), 1);
    let second = slack.messages().remove(1);
    slack.deny(&second, "once is enough", OLGA);
    assert!(session.refusal(again).contains("once is enough"));
    session.finish();
}

#[test]
fn a_click_after_the_time_is_told_so_and_the_message_says_it() {
    let slack = FakeSlack::start();
    let mut session = session(&slack, &json!({"timeout": 1}));
    let call = session.call("wipe", json!({"n": 1}));
    let card = slack.card("wipe");
    let late = slack.click_payload(&card, "Approve", OLGA);
    session.refusal(call);
    assert!(slack.settled(&card).contains("*Expired*"));
    slack.deliver(&late);
    slack.told(OLGA, "its time is up");
    assert_eq!(session.runs_of("wipe"), 0);
    assert_eq!(session.decision("wipe")["decision"], "timeout");
    session.finish();
}

#[test]
fn forged_and_malformed_clicks_are_acknowledged_and_count_for_nothing() {
    let slack = FakeSlack::start();
    let mut session = session(&slack, &json!({}));
    let call = session.call("wipe", json!({"n": 1}));
    let card = slack.card("wipe");
    let right = slack.click_payload(&card, "Approve", OLGA);
    let value = right["actions"][0]["value"].as_str().unwrap().to_owned();
    let parts: Vec<&str> = value.split(':').collect();
    let mut envelopes = Vec::new();
    let mut forge = |value: &str| {
        let mut forged = right.clone();
        forged["actions"][0]["value"] = json!(value);
        envelopes.push(slack.deliver(&forged));
    };
    // A call that nobody asked about, and this one as if it were another.
    forge(&value.replace(parts[1], &"0".repeat(32)));
    slack.told(OLGA, "not waiting here");
    forge(&value.replace(parts[2], &"0".repeat(64)));
    slack.told(OLGA, "not about the call that waits");
    for text in ["0", &parts[1][..31], "", &"x".repeat(5_000)] {
        forge(text);
    }
    type Change = fn(&mut Value);
    let changes: [Change; 7] = [
        |p| *p = json!({}),
        |p| *p = json!(["block_actions"]),
        |p| p["type"] = json!("message_action"),
        |p| p["actions"] = json!([]),
        |p| p["actions"][0]["value"] = json!(null),
        |p| p["user"] = json!({"id": [OLGA]}),
        |p| p["user"]["id"] = json!(null),
    ];
    for change in changes {
        let mut malformed = right.clone();
        change(&mut malformed);
        envelopes.push(slack.deliver(&malformed));
    }
    envelopes.push(slack.deliver(&json!({
        "type": "view_submission", "user": {"id": OLGA},
        "view": {"callback_id": "approve", "private_metadata": value, "state": {"values": {}}},
    })));
    let socket = slack.open_sockets()[0];
    for text in ["this is not json", "[]", "{\"type\":7}", "\u{0}"] {
        slack.send_text_to(socket, text);
    }
    eventually("all are acknowledged", || {
        envelopes.iter().all(|id| slack.is_acknowledged(id))
    });
    still_waits(&mut session);
    assert_eq!(slack.open_sockets(), [socket], "the connection survives");
    slack.deliver(&right);
    session.expect_ran(call);
    session.finish();
}

// SPEC https://docs.slack.dev/apis/events-api/using-socket-mode, "Disconnecting".
#[test]
fn a_new_connection_opens_before_the_old_one_closes() {
    let slack = FakeSlack::start();
    let mut session = session(&slack, &json!({}));
    for (reason, on_old) in [("warning", true), ("refresh_requested", false)] {
        let call = session.call("wipe", json!({"why": reason}));
        let card = slack.card(reason);
        eventually("a connection", || slack.live() == 1);
        let old = slack.open_sockets()[0];
        slack.send_to(
            old,
            &json!({"type": "disconnect", "reason": reason, "debug_info": {}}),
        );
        eventually("two connections", || slack.live() == 2);
        let click = slack.click_payload(&card, "Approve", OLGA);
        let id = slack.envelope_id();
        let new = *slack.open_sockets().last().unwrap();
        slack.send_to(if on_old { old } else { new }, &envelope(&id, &click));
        session.expect_ran(call);
        slack.cut(old);
        eventually("the old one is gone", || slack.live() == 1);
    }
    session.finish();
}

#[test]
fn a_connection_that_breaks_is_replaced_and_clicks_count_there() {
    let slack = FakeSlack::start();
    let mut session = session(&slack, &json!({}));
    let call = session.call("wipe", json!({"n": 1}));
    let card = slack.card("wipe");
    eventually("a connection", || slack.live() == 1);
    slack.cut(slack.open_sockets()[0]);
    eventually("another one", || slack.opened() == 2 && slack.live() == 1);
    slack.click(&card, "Approve", OLGA);
    session.expect_ran(call);
    session.finish();
}

#[test]
fn envelopes_are_acknowledged_while_the_web_api_is_slow() {
    let slack = FakeSlack::start();
    let mut session = session(&slack, &json!({}));
    let call = session.call("wipe", json!({"n": 1}));
    let card = slack.card("wipe");
    let slow = Fault::Slow(Duration::from_secs(4));
    for method in ["chat.update", "chat.postEphemeral"] {
        slack.fault(method, 9, slow.clone());
    }
    let start = Instant::now();
    let note = slack.click(&card, "Approve", STRANGER);
    let verdict = slack.click(&card, "Approve", OLGA);
    eventually("both are acknowledged", || {
        slack.is_acknowledged(&note) && slack.is_acknowledged(&verdict)
    });
    session.expect_ran(call);
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    session.finish();
}

/// Checks that the inbox is asked next, and approves there.
fn inbox_decides(session: &mut Session, call: u64) {
    let terminal = session.terminal();
    eventually("the inbox is asked", || {
        let items = terminal.open_items();
        items.first().is_some_and(|item| {
            let id = item["id"].as_str().unwrap().to_owned();
            terminal.approvals(&["approve", &id]).code == Some(0)
        })
    });
    session.expect_ran(call);
    assert_eq!(session.decision("wipe")["engine"], "inbox");
}

#[test]
fn a_token_that_is_revoked_while_a_question_waits_lets_the_next_engine_ask() {
    for is_disabled in [false, true] {
        let slack = FakeSlack::start();
        let changed = json!({"onTransportError": "fallback"});
        let mut session = session(&slack, &changed);
        let call = session.call("wipe", json!({"n": 1}));
        let card = slack.card("wipe");
        eventually("a connection", || slack.live() == 1);
        let socket = slack.open_sockets()[0];
        let why = match is_disabled {
            true => {
                let frame = json!({"type": "disconnect", "reason": "link_disabled"});
                slack.send_to(socket, &frame);
                "link_disabled"
            }
            false => {
                slack.fault("apps.connections.open", 99, Fault::Error("token_revoked"));
                slack.cut(socket);
                "token_revoked"
            }
        };
        session.stderr_says(why);
        session.wait_for_event("engine_failed");
        let text = slack.settled(&card);
        assert!(text.contains("Not waiting here any more"), "{text}");
        inbox_decides(&mut session, call);
        session.finish();
    }
}

#[test]
fn without_a_connection_nobody_can_answer_so_the_next_engine_asks() {
    for fault in [Fault::Status(403, None), Fault::Body("hello")] {
        let slack = FakeSlack::start();
        slack.fault("link", 99, fault);
        let mut session = session(&slack, &json!({"onTransportError": "fallback"}));
        let call = session.call("wipe", json!({"n": 1}));
        session.stderr_says("instead of accepting a WebSocket");
        inbox_decides(&mut session, call);
        assert!(!session.stderr().contains("TICKET"), "{}", session.stderr());
        // It did not hammer.
        assert!(slack.calls("apps.connections.open").len() <= 6);
        session.finish();
    }
}

#[test]
fn what_slack_refuses_is_said_once_and_not_tried_again() {
    for error in [
        "channel_not_found",
        "invalid_auth",
        "not_in_channel",
        "something_new",
    ] {
        let slack = FakeSlack::start();
        slack.fault("chat.postMessage", 99, Fault::Error(error));
        let mut session = session(&slack, &json!({"onTransportError": "fallback"}));
        let call = session.call("wipe", json!({"n": 1}));
        session.stderr_says(error);
        inbox_decides(&mut session, call);
        assert_eq!(slack.calls("chat.postMessage").len(), 1);
        let failed = session.log();
        let failed: Vec<_> = failed
            .iter()
            .filter(|it| it["event"] == "engine_failed")
            .collect();
        assert_eq!(failed.len(), 1, "{failed:?}");
        session.finish();
    }
}

#[test]
fn a_rate_limit_is_waited_for_and_one_message_is_sent() {
    let slack = FakeSlack::start();
    slack.fault("chat.postMessage", 1, Fault::Status(429, Some(1)));
    let section =
        json!({"engines": [slack.engine(&json!({})), "inbox"], "approvalRetryAttempts": 2});
    let mut session = slack
        .proxy(&json!({}))
        .section(section)
        .start_without_elicitation();
    let start = Instant::now();
    let call = session.call("wipe", json!({"n": 1}));
    let card = slack.card("wipe");
    assert!(
        start.elapsed() >= Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    slack.click(&card, "Approve", OLGA);
    session.expect_ran(call);
    assert_eq!(slack.messages().len(), 1);
    session.finish();
}

#[test]
fn an_answer_that_is_not_slacks_is_a_failure_and_no_verdict() {
    for fault in [
        Fault::Status(500, None),
        Fault::Status(403, None),
        Fault::Body("{\"ok\": tr"),
        Fault::Body("{\"ok\": true}"),
        Fault::Body("[]"),
    ] {
        let slack = FakeSlack::start();
        slack.fault("chat.postMessage", 99, fault);
        let mut session = session(&slack, &json!({"onTransportError": "deny"}));
        let call = session.call("wipe", json!({"n": 1}));
        let refusal = session.refusal(call);
        assert!(
            !refusal.contains("127.0.0.1") && !refusal.contains("chat."),
            "{refusal}"
        );
        session.stderr_says("slack");
        assert_eq!(session.runs_of("wipe"), 0);
        session.finish();
    }
}

#[test]
fn a_message_that_somebody_deleted_changes_nothing() {
    let slack = FakeSlack::start();
    let mut session = session(&slack, &json!({}));
    let call = session.call("wipe", json!({"n": 1}));
    let card = slack.card("wipe");
    let click = slack.click_payload(&card, "Approve", OLGA);
    slack.delete(&card);
    slack.deliver(&click);
    session.expect_ran(call);
    eventually("it tries to edit it", || {
        !slack.calls("chat.update").is_empty()
    });
    let failed = session.log();
    assert!(
        failed.iter().all(|it| it["event"] != "engine_failed"),
        "{failed:?}"
    );
    session.finish();
}

#[test]
fn a_verdict_elsewhere_settles_the_message_within_a_second() {
    let slack = FakeSlack::start();
    let section = json!({"engines": [slack.engine(&json!({})), "inbox"], "ask": "race"});
    let mut session = slack
        .proxy(&json!({}))
        .section(section)
        .start_without_elicitation();
    let call = session.call("wipe", json!({"n": 1}));
    let card = slack.card("wipe");
    let late = slack.click_payload(&card, "Approve", OLGA);
    let terminal = session.terminal();
    let id = terminal.wait_for_item("wipe");
    let output = terminal.approvals(&["deny", &id, "--reason", "*not* today"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let start = Instant::now();
    let text = slack.settled(&card);
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    assert!(text.contains("*Denied* through `inbox`"), "{text}");
    assert!(text.contains("`*not* today`"), "{text}");
    session.refusal(call);
    slack.deliver(&late);
    slack.told(OLGA, "it was denied already");
    session.finish();
}

#[test]
fn what_is_hidden_is_approved_on_the_page_and_nowhere_else() {
    for (show, is_shown) in [("redacted", false), ("summary", false), ("full", true)] {
        let slack = FakeSlack::start();
        let mut session = session(&slack, &json!({"show": show}));
        let call = session.call("wipe", json!({"table": "mark-1", "password": "hunter2-XK"}));
        let card = slack.card("wipe");
        let everything: String = slack.seen().iter().map(|it| it.text.clone()).collect();
        assert_eq!(everything.contains("hunter2-XK"), is_shown, "{show}");
        assert_eq!(everything.contains("mark-1"), show != "summary", "{show}");
        assert_eq!(buttons(&card).len(), if is_shown { 2 } else { 0 }, "{show}");
        let id = session.terminal().wait_for_item("wipe");
        if is_shown {
            slack.click(&card, "Approve", OLGA);
        } else {
            let [link] = &links(&card)[..] else {
                panic!("{}", card.body);
            };
            assert!(link.ends_with(&format!("/item/{id}")), "{link}");
            session.terminal().approve(&id);
        }
        session.expect_ran(call);
        slack.settled(&card);
        session.finish();
    }
}

#[test]
fn long_arguments_are_shown_whole_in_the_thread_before_anybody_can_approve() {
    let slack = FakeSlack::start();
    let mut session = session(&slack, &json!({"show": "full"}));
    let blob = format!("<{}>TAIL-3W", "y`&".repeat(3_000));
    let call = session.call("wipe", json!({"first": "mark-2", "blob": blob}));
    eventually("the buttons are there", || {
        slack
            .messages()
            .first()
            .is_some_and(|card| buttons(card).len() == 2)
    });
    let messages = slack.messages();
    let (card, replies) = messages.split_first().unwrap();
    assert!(!replies.is_empty());
    let mut shown = String::new();
    for reply in replies {
        assert_eq!(reply.body["thread_ts"], card.ts);
        let blocks = reply.body["blocks"].as_array().unwrap();
        let code = blocks.iter().filter(|block| block["type"] == "section");
        for block in code {
            let text = block["text"]["text"].as_str().unwrap();
            let text = text
                .strip_prefix("```\n")
                .and_then(|it| it.strip_suffix("\n```"));
            shown.push_str(text.unwrap());
        }
    }
    let shown = shown
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
        .replace("\\u{60}", "`");
    assert!(shown.contains(&blob), "{shown}");
    assert_eq!(slack.refused(), [""; 0]);
    // The first version of the message had no buttons.
    let first = slack.calls("chat.postMessage").remove(0);
    assert!(!first.to_string().contains("\"button\""), "{first}");
    slack.click(card, "Approve", OLGA);
    session.expect_ran(call);
    session.finish();
}

#[test]
fn what_is_too_long_even_for_a_thread_is_approved_on_the_page() {
    for (show, size) in [("redacted", 9_000), ("full", 200_000)] {
        let slack = FakeSlack::start();
        let mut session = session(&slack, &json!({"show": show}));
        let call = session.call("wipe", json!({"blob": "y".repeat(size)}));
        let card = slack.card("wipe");
        assert!(buttons(&card).is_empty(), "{}", card.body);
        assert_eq!(links(&card).len(), 1);
        assert_eq!(slack.messages().len(), 1);
        let id = session.terminal().wait_for_item("wipe");
        session.terminal().approve(&id);
        session.expect_ran(call);
        assert_eq!(slack.refused(), [""; 0]);
        session.finish();
    }
}

#[test]
fn foreign_text_makes_no_mention_link_format_or_emoji() {
    let slack = FakeSlack::start();
    let name = "wipe_<!here>_*x*";
    let tools = json!([{
        "name": name,
        "description": "*b* <!channel> :tada: <https://evil.example|x>",
        "inputSchema": {"type": "object"},
        "annotations": {"destructiveHint": true},
    }]);
    let mut session = slack
        .proxy(&json!({}))
        .tools(&tools)
        .start_without_elicitation();
    let evil = "<!channel> <@U0OLGA001> <https://evil.example/x|click> *b* _i_ ~s~ `c` A```B &lt;!here&gt; \
                :tada: \u{202e}dcba\u{200b}-END @here #general";
    let call = session.call(name, json!({"a": evil, "k<!everyone>": 1}));
    let card = slack.card("END");
    let raw = card.body.to_string();
    assert!(
        !raw.contains('\u{202e}') && !raw.contains('\u{200b}'),
        "{raw}"
    );
    let text = mrkdwn(&card.body);
    assert!(
        !text.contains('<'),
        "a mention, link or date begins so: {text}"
    );
    assert!(!text.contains("A```B"), "{text}");
    let mut outside = String::new();
    for (n, part) in text.split("```").enumerate() {
        if n % 2 == 0 {
            for (n, part) in part.split('`').enumerate() {
                if n % 2 == 0 {
                    outside.push_str(part);
                }
            }
        }
    }
    for live in ["*", "_", "~", ":tada:", "evil", "here"] {
        assert!(!outside.contains(live), "{live}: {outside}");
    }
    for visible in ["u{202e}", "u{200b}", "evil.example", "END"] {
        assert!(text.contains(visible), "{visible}: {text}");
    }
    // Nothing makes links or mentions out of what only looks like one.
    let sections = card.body["blocks"].as_array().unwrap().iter();
    for section in sections.filter(|it| it["type"] == "section") {
        assert_eq!(section["text"]["verbatim"], true);
    }
    for button in buttons(&card) {
        assert_eq!(button["text"]["emoji"], false);
    }
    slack.click(&card, "Approve", OLGA);
    session.expect_ran(call);
    session.finish();
}

/// Starts a proxy of the same user.
fn of_user(slack: &FakeSlack, changed: &Value, state: &Path, rules: Value) -> Session {
    slack
        .proxy(changed)
        .state(state)
        .rules(rules)
        .start_without_elicitation()
}

#[test]
fn one_process_connects_for_all_and_another_takes_over_when_it_is_killed() {
    let slack = FakeSlack::start();
    let home = tempfile::tempdir().unwrap();
    let mut first = of_user(&slack, &json!({}), &home.path().join("state"), json!({}));
    first.call("wipe", json!({"n": "mark-a"}));
    let first_card = slack.card("mark-a");
    eventually("the first connects", || slack.live() == 1);
    let mut second = of_user(&slack, &json!({}), &home.path().join("state"), json!({}));
    let call = second.call("wipe", json!({"n": "mark-b"}));
    let card = slack.card("mark-b");
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(slack.opened(), 1, "only one connects");

    // Between the delivery of a question and its verdict.
    first.signal(Signal::KILL);
    let start = Instant::now();
    eventually("the second takes over", || {
        slack.opened() == 2 && slack.live() == 1
    });
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    slack.click(&card, "Approve", OLGA);
    second.expect_ran(call);
    let line = second.decision("wipe");
    assert_eq!(line["assurance"], "channel-authenticated", "{line}");
    // Nobody waits for the question of the one that was killed.
    slack.click(&first_card, "Approve", OLGA);
    slack.told(OLGA, "not waiting here");
    second.finish();
}

#[test]
fn three_proxies_share_a_bot_and_each_verdict_counts_as_what_it_is() {
    let slack = FakeSlack::start();
    let home = tempfile::tempdir().unwrap();
    let mut first = of_user(&slack, &json!({}), &home.path().join("state"), json!({}));
    let a = first.call("wipe", json!({"n": "mark-a"}));
    let card_a = slack.card("mark-a");
    eventually("the first connects", || slack.live() == 1);
    let mut second = of_user(&slack, &json!({}), &home.path().join("state"), json!({}));
    let required = json!({"requireAssurance": "channel-authenticated"});
    let mut third = of_user(&slack, &json!({}), &home.path().join("state"), required);
    let b = second.call("wipe", json!({"n": "mark-b"}));
    let c = third.call("wipe", json!({"n": "mark-c"}));
    let (card_b, card_c) = (slack.card("mark-b"), slack.card("mark-c"));

    // Through the store: any program of this user could have written it.
    slack.deny(&card_b, "through the first", ERIK);
    assert!(second.refusal(b).contains("through the first"));
    let line = second.decision("wipe");
    assert_eq!(line["assurance"], "inbox-terminal", "{line}");
    assert_eq!(line["approver_verified"], false, "{line}");
    assert!(slack.settled(&card_b).contains("*Denied*"));

    slack.click(&card_c, "Approve", OLGA);
    slack.told(OLGA, "");
    still_waits(&mut third);

    slack.click(&card_a, "Approve", OLGA);
    first.expect_ran(a);
    assert_eq!(first.decision("wipe")["assurance"], "channel-authenticated");
    // The one that is left connects, so its own verdict counts.
    drop(first);
    drop(second);
    eventually("the third connects", || {
        slack.opened() >= 2 && slack.live() == 1
    });
    slack.click(&card_c, "Approve", OLGA);
    third.expect_ran(c);
    assert_eq!(third.decision("wipe")["assurance"], "channel-authenticated");
    third.finish();
}

/// Ends an `approval-proxy inbox` that was told the passphrase.
fn signing_inbox(slack: &FakeSlack, home: &Home, state: &Path) -> InboxProcess {
    let config = json!({"approvalProxy": {
        "engines": [slack.engine(&json!({}))], "approvalRetryAttempts": 0,
    }});
    home.write("config/approval-proxy/config.json", &config.to_string());
    let words = home.write("words", "a passphrase to remember\n");
    let terminal = Terminal::at(state);
    let mut command = terminal.command(&["inbox", "--no-browser", "--inbox-port", "0"]);
    command
        .env("XDG_CONFIG_HOME", home.path().join("config"))
        .env("SLACK_BOT", BOT_TOKEN)
        .env("SLACK_APP", APP_TOKEN)
        .stdin(std::fs::File::open(words).unwrap());
    InboxProcess::of(command)
}

#[test]
fn with_a_passphrase_the_inbox_signs_and_every_proxy_gets_the_full_assurance() {
    let slack = FakeSlack::start();
    let (home, state) = (Home::new(), tempfile::tempdir().unwrap());
    let state = state.path().join("state");
    let terminal = Terminal::at(&state);
    let words = Secret::new("a passphrase to remember".to_owned());
    passphrase::set(&terminal.state_dir(), None, &words).unwrap();
    let required = json!({"requireAssurance": "channel-authenticated"});
    let mut first = of_user(&slack, &json!({}), &state, required.clone());
    let a = first.call("wipe", json!({"n": "mark-a"}));
    let card_a = slack.card("mark-a");
    eventually("the first connects", || slack.live() == 1);

    let inbox = signing_inbox(&slack, &home, &state);
    eventually("the inbox takes the connection", || {
        assert!(!inbox.stderr().contains("cannot"), "{}", inbox.stderr());
        slack.opened() == 2 && slack.live() == 1
    });
    let mut second = of_user(&slack, &json!({}), &state, required);
    let b = second.call("wipe", json!({"n": "mark-b"}));
    let card_b = slack.card("mark-b");
    slack.click(&card_b, "Approve", OLGA);
    second.expect_ran(b);
    slack.click(&card_a, "Approve", ERIK);
    first.expect_ran(a);
    for (session, user, card) in [(&first, ERIK, &card_a), (&second, OLGA, &card_b)] {
        let line = session.decision("wipe");
        for (key, value) in [
            ("engine", "slack"),
            ("assurance", "channel-authenticated"),
            ("approver", &*format!("slack:{user}")),
        ] {
            assert_eq!(line[key], value, "{key}: {line}");
        }
        assert!(slack.settled(card).contains(&format!("<@{user}>")));
    }
    first.finish();
    second.finish();
}

#[test]
fn the_end_of_the_client_settles_its_questions() {
    let slack = FakeSlack::start();
    let mut session = session(&slack, &json!({}));
    session.call("wipe", json!({"n": 1}));
    let card = slack.card("wipe");
    session.finish();
    let text = slack.settled(&card);
    assert!(text.contains("*Withdrawn*"), "{text}");
}

#[test]
fn configured_and_unused_it_contacts_nobody() {
    let slack = FakeSlack::start();
    let mut session = session(&slack, &json!({}));
    session.passes("read", json!({}));
    session.finish();
    assert!(slack.seen().is_empty());
}

#[test]
fn no_token_leaves_but_in_its_own_header() {
    for (method, fault) in [
        ("chat.postMessage", Fault::Body(BOT_TOKEN)),
        ("chat.postMessage", Fault::Error(BOT_TOKEN)),
        ("apps.connections.open", Fault::Error(APP_TOKEN)),
    ] {
        let slack = FakeSlack::start();
        slack.fault(method, 99, fault);
        let mut session = session(&slack, &json!({"onTransportError": "fallback"}));
        let call = session.call("wipe", json!({"n": 1}));
        session.wait_for_event("engine_failed");
        inbox_decides(&mut session, call);
        let sent = slack.seen();
        let sent: Vec<_> = sent.iter().map(|it| (&it.path, &it.text)).collect();
        let history = session.terminal().history();
        let (stderr, log) = (session.stderr(), session.log());
        let everything = format!("{stderr} {log:?} {history:?} {sent:?}");
        for secret in ["FAKEBOTSECRET", "FAKEAPPSECRET"] {
            assert!(!everything.contains(secret), "{everything}");
        }
        assert!(!stderr.contains("TICKETSECRET"), "{stderr}");
        session.finish();
    }
}

fn read(options: &Value, transport: &TransportSettings) -> Result<(), BadOptions> {
    let registered = registry::find("slack").unwrap();
    let options = options.as_object().unwrap();
    let read = registered.read(EngineId::new("team"), options, transport);
    read.map(|_| ())
}

#[test]
fn options_are_checked_when_they_are_read_and_errors_quote_no_secret() {
    let right = FakeSlack::start().options();
    let usual = TransportSettings::default();
    assert!(read(&right, &usual).is_ok());
    type Change = fn(&mut Value);
    let changes: [(Change, &str); 11] = [
        (|o| o["approvers"] = json!([]), "`approvers` is empty"),
        (
            |o| o["approvers"] = json!("U0OLGA001"),
            "`approvers` must be a list",
        ),
        (
            |o| o["approvers"] = json!([7]),
            "`approvers` must be a list",
        ),
        (
            |o| o["approvers"] = json!(["@olga"]),
            "`approvers` must be ids",
        ),
        (
            |o| o["approvers"] = json!(["C024BE7LR"]),
            "`approvers` must be ids",
        ),
        (
            |o| o["channel"] = json!("#general"),
            "`channel` must be the id",
        ),
        (|o| o["botToken"] = json!(7), "`botToken` must be a string"),
        (
            |o| o["botToken"] = json!("xoxb-FAKE\nBOTSECRET"),
            "no token can have",
        ),
        (
            |o| (o["botToken"], o["appToken"]) = (o["appToken"].take(), o["botToken"].take()),
            "swapped",
        ),
        (
            |o| o["apiUrl"] = json!("http://192.0.2.7/api/"),
            "plain http:",
        ),
        (|o| o["chanel"] = json!("C024BE7LR"), "chanel"),
    ];
    for (change, why) in changes {
        let mut changed = right.clone();
        change(&mut changed);
        let error = read(&changed, &usual).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert!(!error.contains("SECRET"), "{error}");
    }
    let mut without_url = right.clone();
    without_url.as_object_mut().unwrap().remove("apiUrl");
    let elsewhere = TransportSettings {
        allowed_hosts: vec!["hooks.example.com".to_owned()],
        ..TransportSettings::default()
    };
    let error = read(&without_url, &elsewhere).unwrap_err().to_string();
    assert!(error.contains("slack.com"), "{error}");
}

/// Runs `engines test` with this engine in the user's configuration.
fn engines_test(slack: &FakeSlack) -> (Option<i32>, String) {
    let section = json!({"engines": [slack.engine(&json!({}))], "approvalRetryAttempts": 0});
    let env = [("SLACK_BOT", BOT_TOKEN), ("SLACK_APP", APP_TOKEN)];
    super::support::engines_test(section, &env)
}

#[test]
fn a_test_checks_both_tokens_the_scopes_and_the_channel_and_asks_nobody() {
    let slack = FakeSlack::start();
    let (code, text) = engines_test(&slack);
    assert_eq!(code, Some(0), "{text}");
    for word in ["approvals", "Fake", "Socket Mode"] {
        assert!(text.contains(word), "{text}");
    }
    assert!(slack.messages().is_empty());
    assert_eq!(slack.opened(), 0);

    type Change = fn(&FakeSlack);
    let changes: [(Change, &str); 6] = [
        (
            |s| s.fault("auth.test", 9, Fault::Error("invalid_auth")),
            "invalid_auth",
        ),
        (
            |s| {
                s.fault(
                    "apps.connections.open",
                    9,
                    Fault::Error("not_allowed_token_type"),
                )
            },
            "xapp-",
        ),
        (
            |s| s.fault("conversations.info", 9, Fault::Error("channel_not_found")),
            "check `channel`",
        ),
        (|s| s.leave_channel(), "/invite"),
        (|s| s.scopes("users:read"), "chat:write"),
        (|s| s.fault("auth.test", 9, Fault::Status(503, None)), "503"),
    ];
    for (change, why) in changes {
        let slack = FakeSlack::start();
        change(&slack);
        let (code, text) = engines_test(&slack);
        assert_ne!(code, Some(0), "{why}: {text}");
        assert!(text.contains(why), "{why}: {text}");
        assert!(!text.contains("FAKE"), "{text}");
    }
    // Reading channels needs a scope that nothing else needs.
    let slack = FakeSlack::start();
    slack.fault("conversations.info", 9, Fault::Error("missing_scope"));
    let (code, text) = engines_test(&slack);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("channels:read"), "{text}");
}
