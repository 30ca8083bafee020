//! `mcp --compat`: the tools of sesame-mcp and @looppause/mcp, exactly, over our own engines or a broker.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::support::slack::{ERIK, FakeSlack, Fault, OLGA, mrkdwn};
use super::support::smtp::Smtp;
use super::support::{Agent, OddServer, Terminal, eventually, response, state_folder};

const SESAME: [&str; 2] = ["--compat", "sesame"];
const LOOPPAUSE: [&str; 2] = ["--compat", "looppause"];
const KEY: &str = "sk_live_KEY-OF-THE-BROKER";
const SECRET: &str = "looppause-signing-secret";
/// Long enough for a mistake to show.
const A_MOMENT: Duration = Duration::from_millis(400);

fn sesame(state: &std::path::Path, env: &[(&str, &str)]) -> Agent {
    Agent::with_config(state, &json!({"engines": ["inbox"]}), env, &SESAME)
}

fn begin(agent: &mut Agent, action: &str, seconds: u64) -> u64 {
    let arguments = json!({"action": action, "summary": "s", "timeout_seconds": seconds});
    agent.session.call("request_approval", arguments)
}

/// The tools' names, each with its arguments and those that are required.
fn tools(agent: &mut Agent) -> Vec<(String, Vec<String>, Value)> {
    let id = agent.session.request("tools/list", json!({}));
    let listed = agent.session.response(id);
    let tools = listed["result"]["tools"].as_array().unwrap();
    let tools = tools.iter().map(|tool| {
        let schema = &tool["inputSchema"];
        let arguments = schema["properties"].as_object().unwrap().keys().cloned();
        let mut arguments: Vec<String> = arguments.collect();
        arguments.sort();
        let name = tool["name"].as_str().unwrap().to_owned();
        (name, arguments, schema["required"].clone())
    });
    tools.collect()
}

// ── sesame-mcp ──

#[test]
fn sesame_is_one_tool_that_waits_and_answers_in_exactly_its_shape() {
    let dir = state_folder();
    let mut agent = sesame(dir.path(), &[]);
    let arguments = ["action", "reason", "summary", "timeout_seconds"].map(str::to_owned);
    assert_eq!(
        tools(&mut agent),
        [(
            "request_approval".to_owned(),
            arguments.to_vec(),
            json!(["action", "summary"])
        )]
    );
    for (verdict, status) in [("approve", "approved"), ("deny", "denied")] {
        let call = begin(&mut agent, "drop table orders", 60);
        let item = agent.person().wait_for_item("request_approval");
        let decided = agent.person().approvals(&[verdict, &item]);
        assert_eq!(decided.code, Some(0), "{decided:?}");
        let result = agent.result(call);
        let id = result["approval_id"].as_str().unwrap().to_owned();
        assert!(id.starts_with("ap_"), "{id}");
        assert_eq!(
            result,
            json!({"approval_id": id, "status": status, "decided": true})
        );
        assert_eq!(agent.records(&id), ["asked", status]);
    }
}

#[test]
fn sesame_says_timeout_while_the_request_still_waits() {
    let dir = state_folder();
    let mut agent = sesame(dir.path(), &[]);
    let arguments = json!({
        "name": "request_approval",
        "arguments": {"action": "x", "summary": "s", "timeout_seconds": 6},
        "_meta": {"progressToken": "t1"},
    });
    let call = agent.session.request("tools/call", arguments);
    let progress = agent.session.message("notifications/progress");
    assert_eq!(progress["params"]["progressToken"], "t1");
    let result = agent.result(call);
    assert_eq!(
        (&result["status"], &result["decided"]),
        (&json!("timeout"), &json!(false))
    );
    assert_eq!(agent.person().open_items().len(), 1);
    // It belongs to the process, so it ends with it.
    agent.session.close_stdin();
    agent.session.exit();
    assert_eq!(Terminal::at(dir.path()).open_items().len(), 0);
}

#[test]
fn a_cancelled_call_of_sesame_withdraws_its_request() {
    let dir = state_folder();
    let mut agent = sesame(dir.path(), &[]);
    let call = begin(&mut agent, "x", 60);
    agent.person().wait_for_item("request_approval");
    let cancelled = json!({"requestId": call});
    agent.session.notify("notifications/cancelled", cancelled);
    eventually("the item is withdrawn", || {
        agent.person().open_items().is_empty()
    });
}

#[test]
fn sesame_names_the_argument_that_is_wrong_and_asks_nobody() {
    let dir = state_folder();
    let mut agent = sesame(dir.path(), &[]);
    let huge = "z".repeat(300_000);
    for (arguments, named) in [
        (json!({"action": "x"}), "summary"),
        (json!({"action": ["x"], "summary": "s"}), "action"),
        (
            json!({"action": "x", "summary": "s", "recipients": ["me"]}),
            "recipients",
        ),
        (
            json!({"action": "x", "summary": "s", "decided": true}),
            "decided",
        ),
        (
            json!({"action": "x", "summary": "s", "timeout_seconds": -1}),
            "timeout_seconds",
        ),
        (json!({"action": "x", "summary": huge}), "bytes"),
    ] {
        let error = agent.fails("request_approval", arguments);
        assert!(error.contains(named), "{named}: {error}");
    }
    let error = agent.fails("check_approval", json!({"approval_id": "ap_1"}));
    assert!(error.contains("no tool"), "{error}");
    assert_eq!(agent.person().open_items().len(), 0);
}

#[test]
fn without_a_broker_the_key_is_not_used_and_reaches_no_program() {
    let dir = state_folder();
    let seen = dir.path().join("env");
    let script = format!(
        r#"env > {}; echo '{{"action":"accept","content":{{"approved":true}}}}'"#,
        seen.display()
    );
    let engine = json!({"type": "command", "command": "sh", "args": ["-c", script]});
    let secrets = [
        ("SESAME_API_KEY", KEY),
        ("LOOPPAUSE_SIGNING_SECRET", SECRET),
        ("LOOPPAUSE_API_KEY", "lp_key_of_the_service"),
        ("HARMLESS", "seen"),
    ];
    let config = json!({"engines": [engine]});
    let mut agent = Agent::with_config(dir.path(), &config, &secrets, &SESAME);
    let call = begin(&mut agent, "x", 60);
    assert_eq!(agent.result(call)["status"], "approved");
    let seen = std::fs::read_to_string(seen).unwrap();
    assert!(seen.contains("HARMLESS=seen"), "{seen}");
    for (_, secret) in &secrets[..3] {
        assert!(!seen.contains(secret), "a program got {secret}");
    }
    let said = agent.session.stderr();
    assert!(
        said.contains("SESAME_API_KEY") && !said.contains(KEY),
        "{said}"
    );
}

/// A broker whose approvals end so, and what it was asked.
fn broker(status: &'static str) -> (OddServer, Arc<Mutex<usize>>) {
    let looked: Arc<Mutex<usize>> = Arc::default();
    let count = Arc::clone(&looked);
    let server = OddServer::start(move |request| {
        let json = [("content-type", "application/json")];
        if request.header("authorization") != Some(&format!("Bearer {KEY}")) {
            let body = format!(r#"{{"detail":"unauthorized {KEY}"}}"#);
            return response(401, &json, &body);
        }
        match (&*request.method, &*request.path) {
            ("POST", "/base/v1/approvals") => {
                response(201, &json, r#"{"id":"ap_b1","status":"pending"}"#)
            }
            ("GET", "/base/v1/approvals/ap_b1?wait=true") => {
                let mut looked = count.lock().unwrap();
                *looked += 1;
                let status = if *looked == 1 { "pending" } else { status };
                response(
                    200,
                    &json,
                    &json!({"id": "ap_b1", "status": status}).to_string(),
                )
            }
            _ => response(404, &json, "{}"),
        }
    });
    (server, looked)
}

fn of_broker(state: &std::path::Path, url: &str, key: &str) -> Agent {
    let env = [("SESAME_BROKER_URL", url), ("SESAME_API_KEY", key)];
    let config = json!({"approvalRetryAttempts": 0});
    Agent::with_config(state, &config, &env, &SESAME)
}

#[test]
fn a_broker_decides_in_place_of_our_engines() {
    for (said, status, decided) in [
        ("approved", "approved", true),
        ("denied", "denied", true),
        ("expired", "expired", false),
        // Nothing else is a yes.
        ("APPROVED", "error", false),
        ("pending", "timeout", false),
    ] {
        let dir = state_folder();
        let (server, looked) = broker(said);
        let mut agent = of_broker(dir.path(), &server.url("/base/"), KEY);
        let arguments = json!({"action": "a", "summary": "s", "reason": "r", "timeout_seconds": 4});
        let result = agent.uses("request_approval", arguments);
        assert_eq!(
            result,
            json!({"approval_id": "ap_b1", "status": status, "decided": decided})
        );
        let asked = server.seen().into_iter().next().unwrap();
        assert_eq!(
            asked.message(),
            json!({"action": "a", "summary": "s", "reason": "r"})
        );
        assert!(*looked.lock().unwrap() <= 6, "it is asked too often");
        assert_eq!(agent.person().open_items().len(), 0);
        assert!(!agent.session.stderr().contains(KEY));
    }
}

#[test]
fn a_broker_that_refuses_is_away_or_talks_nonsense_is_an_error_and_no_yes() {
    let (server, _) = broker("approved");
    let odd = |body: &'static str| {
        OddServer::start(move |_| response(201, &[("content-type", "application/json")], body))
    };
    let other = broker("approved").0;
    let to = other.url("/base/v1/approvals");
    let redirecting = OddServer::start(move |_| response(307, &[("location", &to)], ""));
    let bodies = [
        odd("nonsense"),
        odd("{}"),
        odd(r#"{"id":"../../admin","status":"approved"}"#),
        odd(r#"{"id":7,"status":"approved"}"#),
        odd(r#"["approved"]"#),
    ];
    let mut urls: Vec<(String, &str)> = bodies.iter().map(|odd| (odd.url(""), KEY)).collect();
    urls.push((server.url("/base"), "another-key"));
    urls.push(("http://127.0.0.1:9".to_owned(), KEY));
    urls.push((redirecting.url(""), KEY));
    for (url, key) in &urls {
        let dir = state_folder();
        let mut agent = of_broker(dir.path(), url, key);
        let arguments = json!({"action": "a", "summary": "s", "timeout_seconds": 3});
        let result = agent.uses("request_approval", arguments);
        assert_eq!(
            (&result["status"], &result["decided"]),
            (&json!("error"), &json!(false)),
            "{url}"
        );
        agent.session.stderr_says("error:");
        let said = agent.session.stderr();
        assert!(!said.contains(key), "{said}");
    }
    assert_eq!(other.seen().len(), 0, "the key followed a redirect");
}

#[test]
fn a_broker_without_a_usable_key_or_url_fails_at_the_start() {
    let url = "https://broker.example";
    for (env, named) in [
        (vec![("SESAME_BROKER_URL", url)], "SESAME_API_KEY"),
        (
            vec![("SESAME_BROKER_URL", url), ("SESAME_API_KEY", " ")],
            "SESAME_API_KEY",
        ),
        (
            vec![
                ("SESAME_BROKER_URL", "http://broker.example"),
                ("SESAME_API_KEY", KEY),
            ],
            "SESAME_BROKER_URL",
        ),
        (
            vec![("SESAME_BROKER_URL", "broker"), ("SESAME_API_KEY", KEY)],
            "SESAME_BROKER_URL",
        ),
    ] {
        let dir = state_folder();
        let mut session = Agent::unmet(dir.path(), &json!({}), &env, &SESAME);
        assert_eq!(session.exit().0, 3);
        let said = session.stderr();
        assert!(said.contains(named) && !said.contains(KEY), "{said}");
    }
}

// ── @looppause/mcp ──

fn looppause(state: &std::path::Path, slack: &FakeSlack, more: Value) -> Agent {
    let mut config = json!({
        "engines": [slack.engine(&json!({}))],
        "allowedRecipients": ["#finance", OLGA, "sarah@company.example"],
        "approvalRetryAttempts": 0,
    });
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    let env = [
        ("SLACK_BOT", super::support::slack::BOT_TOKEN),
        ("SLACK_APP", super::support::slack::APP_TOKEN),
        ("LOOPPAUSE_SIGNING_SECRET", SECRET),
        ("LOOPPAUSE_API_KEY", "lp_key_of_the_service"),
    ];
    Agent::with_config(state, &config, &env, &LOOPPAUSE)
}

fn asks(agent: &mut Agent, action: &str, recipients: Value) -> String {
    let mut arguments =
        json!({"action_description": action, "action_details": {"vendor": "Globex"}});
    for (key, value) in recipients.as_object().unwrap() {
        arguments[key] = value.clone();
    }
    let asked = agent.uses("request_approval", arguments);
    assert_eq!(asked["status"], "pending", "{asked}");
    asked["pause_id"].as_str().unwrap().to_owned()
}

fn looks(agent: &mut Agent, id: &str) -> Value {
    agent.uses("check_approval", json!({"pause_id": id}))
}

#[track_caller]
fn responds(agent: &mut Agent, id: &str) -> Value {
    let mut found = Value::Null;
    eventually("there is a decision", || {
        found = looks(agent, id);
        found["status"] != "pending"
    });
    found
}

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

/// What the published verifier computes.
fn verifies(response: &Value) -> bool {
    let mut unsigned = response.as_object().unwrap().clone();
    let signature = unsigned.remove("signature").unwrap();
    let mut members: Vec<_> = unsigned.into_iter().collect();
    members.sort_by(|a, b| a.0.cmp(&b.0));
    let members: serde_json::Map<String, Value> = members.into_iter().collect();
    signature == hmac(&Value::from(members).to_string())
}

/// HMAC-SHA256 as RFC 2104 defines it, by hand: the tests must not share the code that they check.
fn hmac(text: &str) -> String {
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        for (at, key) in SECRET.bytes().enumerate() {
            block[at] ^= key;
        }
        block
    };
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(text)
        .finalize();
    let outer = Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize();
    let digits: String = outer.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={digits}")
}

#[test]
fn looppause_is_two_tools_in_exactly_their_shapes() {
    let (dir, slack) = (state_folder(), FakeSlack::start());
    let mut agent = looppause(dir.path(), &slack, json!({}));
    let named = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        tools(&mut agent),
        [
            (
                "request_approval".to_owned(),
                named(&[
                    "action_description",
                    "action_details",
                    "recipient_email",
                    "recipient_slack",
                    "timeout_hours"
                ]),
                json!(["action_description", "action_details"])
            ),
            (
                "check_approval".to_owned(),
                named(&["pause_id"]),
                json!(["pause_id"])
            ),
        ]
    );
    let said = agent.session.stderr();
    assert!(
        said.contains("nothing goes to the hosted service"),
        "{said}"
    );
    assert!(said.contains("`LOOPPAUSE_API_KEY` not used"), "{said}");
    for (button, decision) in [("Approve", "approved"), ("Deny", "rejected")] {
        let asked = agent.uses(
            "request_approval",
            json!({"action_description": format!("Transfer £12 {decision}"), "action_details": {"vendor": "Globex <b>\u{202e}"}, "recipient_slack": "#finance"}),
        );
        assert_eq!(
            keys(&asked),
            ["MANDATORY_NEXT_STEP", "expires_at", "pause_id", "status"]
        );
        let id = asked["pause_id"].as_str().unwrap().to_owned();
        assert!(id.starts_with("pse_") && id.len() == 36, "{id}");
        let next = asked["MANDATORY_NEXT_STEP"].as_str().unwrap();
        assert!(next.contains(&id) && next.contains("check_approval") && next.contains("approved"));
        assert_eq!(looks(&mut agent, &id), json!({"status": "pending"}));

        let card = slack.card(decision);
        assert_eq!(card.body["channel"], "#finance");
        let text = mrkdwn(&card.body);
        assert!(
            text.contains("Globex") && !text.contains('\u{202e}') && !text.contains("<b>"),
            "{text}"
        );
        match button {
            "Deny" => slack.deny(&card, "no PO — näher", OLGA),
            _ => drop(slack.click(&card, button, OLGA)),
        }
        let responded = responds(&mut agent, &id);
        assert_eq!(
            keys(&responded),
            [
                "agent_id",
                "created_at",
                "expires_at",
                "pause_id",
                "request_signature",
                "response",
                "status"
            ]
        );
        assert_eq!(responded["agent_id"], "mcp-agent");
        let response = &responded["response"];
        assert_eq!(
            keys(response),
            [
                "channel",
                "comment",
                "decision",
                "fields",
                "nonce",
                "responded_at",
                "responder",
                "signature"
            ]
        );
        assert_eq!(response["decision"], decision);
        if button == "Deny" {
            assert_eq!(response["comment"], "no PO — näher");
        }
        assert_eq!(response["channel"], "slack");
        assert_eq!(response["responder"], format!("slack:{OLGA}"));
        assert_eq!(response["fields"], json!({}));
        for time in [
            &responded["created_at"],
            &responded["expires_at"],
            &response["responded_at"],
        ] {
            let time = time.as_str().unwrap();
            assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
        }
        assert!(verifies(response), "{response}");
        let mut altered = response.clone();
        altered["decision"] = json!("other");
        assert!(!verifies(&altered));
        // Our own signature covers id, action and details, too.
        let mut whole = responded.clone();
        let signature = whole
            .as_object_mut()
            .unwrap()
            .remove("request_signature")
            .unwrap();
        whole["action_description"] = json!(format!("Transfer £12 {decision}"));
        whole["action_details"] = json!({"vendor": "Globex <b>\u{202e}"});
        assert_eq!(signature, hmac(&whole.to_string()));
        whole["action_details"]["vendor"] = json!("Initech");
        assert_ne!(signature, hmac(&whole.to_string()));
        assert_eq!(looks(&mut agent, &id), responded, "a second look differs");
    }
    assert!(!agent.session.stderr().contains(SECRET));
}

#[test]
fn an_agent_picks_no_recipient_that_the_configuration_does_not_hold() {
    let (dir, slack) = (state_folder(), FakeSlack::start());
    let mut agent = looppause(dir.path(), &slack, json!({}));
    for recipients in [
        json!({}),
        json!({"recipient_slack": null}),
        json!({"recipient_slack": "#general"}),
        json!({"recipient_slack": "finance"}),
        json!({"recipient_slack": "#finance "}),
        json!({"recipient_slack": "slack to #finance"}),
        json!({"recipient_slack": ERIK}),
        json!({"recipient_slack": ["#finance"]}),
        json!({"recipient_slack": "sarah@company.example"}),
        json!({"recipient_email": "agent@evil.example"}),
        json!({"recipient_email": "#finance"}),
        // No engine of the configuration sends mail.
        json!({"recipient_email": "sarah@company.example"}),
        json!({"recipient_slack": "#finance", "recipient_email": "agent@evil.example"}),
        json!({"recipient_slack": "#finance", "recipients": ["inbox"]}),
        json!({"recipient_slack": "#finance", "timeout_hours": 169}),
        json!({"recipient_slack": "#finance", "timeout_hours": 0}),
        json!({"recipient_slack": "#finance", "action_details": {"a": 7}}),
        json!({"recipient_slack": "#finance", "action_details": {"a": {"b": "c"}}}),
        json!({"recipient_slack": "#finance", "action_details": "text"}),
        json!({"recipient_slack": "#finance", "action_details": {"a": "z".repeat(300_000)}}),
        json!({"recipient_slack": "#finance", "action_description": ""}),
        json!({"recipient_slack": "#finance", "action_description": 7}),
    ] {
        let mut arguments = json!({"action_description": "x", "action_details": {"a": "b"}});
        for (key, value) in recipients.as_object().unwrap() {
            arguments[key] = value.clone();
        }
        let error = agent.fails("request_approval", arguments);
        // An agent learns nothing of the others.
        assert!(!error.contains(OLGA), "{error}");
    }
    std::thread::sleep(A_MOMENT);
    assert_eq!(slack.messages().len(), 0);
    assert_eq!(agent.person().open_items().len(), 0);
}

#[test]
fn where_the_recipient_is_a_person_only_that_persons_click_counts() {
    let (dir, slack) = (state_folder(), FakeSlack::start());
    let mut agent = looppause(dir.path(), &slack, json!({}));
    let id = asks(&mut agent, "mark-1", json!({"recipient_slack": OLGA}));
    let card = slack.card("mark-1");
    assert_eq!(card.body["channel"], OLGA);
    // An approver of the engine, but not the recipient.
    slack.click(&card, "Approve", ERIK);
    eventually("Erik is told", || !slack.notes(ERIK).is_empty());
    assert_eq!(looks(&mut agent, &id), json!({"status": "pending"}));
    slack.click(&card, "Approve", OLGA);
    assert_eq!(
        responds(&mut agent, &id)["response"]["decision"],
        "approved"
    );
}

#[test]
fn a_person_who_is_no_approver_of_the_engine_cannot_be_asked() {
    let (dir, slack) = (state_folder(), FakeSlack::start());
    let stranger = super::support::slack::STRANGER;
    let more = json!({"allowedRecipients": [stranger]});
    let mut agent = looppause(dir.path(), &slack, more);
    let arguments =
        json!({"action_description": "x", "action_details": {}, "recipient_slack": stranger});
    agent.fails("request_approval", arguments);
    assert_eq!(slack.messages().len(), 0);
    let said = agent.session.stderr();
    assert!(said.contains("no recipient can be asked"), "{said}");
}

#[test]
fn mail_is_the_fallback_of_slack() {
    let (dir, slack, smtp) = (state_folder(), FakeSlack::start(), Smtp::start());
    let mail = json!({"type": "email", "smtp": smtp.url("smtp", "", ""), "from": "a@b.example", "to": "ops@company.example"});
    let more = json!({
        "engines": [slack.engine(&json!({})), mail],
        "inbox": {"pageUrl": "http://127.0.0.1:1"},
    });
    let mut agent = looppause(dir.path(), &slack, more);
    let both = json!({"recipient_slack": "#finance", "recipient_email": "sarah@company.example"});
    asks(&mut agent, "mark-1", both.clone());
    slack.card("mark-1");
    std::thread::sleep(A_MOMENT);
    assert_eq!(smtp.mails().len(), 0, "mailed although Slack works");
    slack.fault("chat.postMessage", 99, Fault::Error("channel_not_found"));
    asks(&mut agent, "mark-2", both);
    let mail = smtp.mail(1);
    assert!(mail.raw().contains("mark-2"), "{}", mail.raw());
    assert!(mail.header("To").unwrap().contains("sarah@company.example"));
    assert!(
        !mail.raw().contains("ops@company.example"),
        "nobody else is asked"
    );
}

#[test]
fn time_over_is_timed_out_and_the_message_no_longer_asks() {
    let (dir, slack) = (state_folder(), FakeSlack::start());
    let mut agent = looppause(dir.path(), &slack, json!({}));
    let soon = json!({"recipient_slack": "#finance", "timeout_hours": 0.0003});
    let id = asks(&mut agent, "mark-1", soon);
    assert_eq!(responds(&mut agent, &id), json!({"status": "timed_out"}));
    slack.settled(&slack.card("mark-1"));
}

#[test]
fn a_pause_id_suffices_in_any_process_and_after_kill_9() {
    let (dir, slack) = (state_folder(), FakeSlack::start());
    let mut first = looppause(dir.path(), &slack, json!({}));
    let waits = asks(&mut first, "mark-1", json!({"recipient_slack": "#finance"}));
    let decided = asks(&mut first, "mark-2", json!({"recipient_slack": "#finance"}));
    slack.click(&slack.card("mark-2"), "Approve", OLGA);
    let answer = responds(&mut first, &decided);
    let mut second = looppause(dir.path(), &slack, json!({}));
    assert_eq!(looks(&mut second, &waits), json!({"status": "pending"}));
    assert_eq!(looks(&mut second, &decided), answer);
    first.session.signal(Signal::KILL);
    first.session.exit();
    let items = second.person().wait_for_items(1);
    second.person().approve(items[0]["id"].as_str().unwrap());
    assert_eq!(
        responds(&mut second, &waits)["response"]["decision"],
        "approved"
    );
    assert_eq!(looks(&mut second, &decided), answer);
    let asked = slack.messages();
    let asked = asked
        .iter()
        .filter(|message| message.body.to_string().contains("mark-1"));
    assert_eq!(asked.count(), 1, "people were asked twice");
}

#[test]
fn an_id_of_another_kind_is_unknown() {
    let (dir, slack) = (state_folder(), FakeSlack::start());
    let mut agent = looppause(dir.path(), &slack, json!({}));
    let id = asks(&mut agent, "mark-1", json!({"recipient_slack": "#finance"}));
    let mut native = Agent::start(dir.path(), &[]);
    let theirs = native.asks("Pay 40 EUR");
    native.fails("check_approval", json!({"approval_id": id}));
    native.fails("cancel_approval", json!({"approval_id": id}));
    for odd in [
        json!({"pause_id": theirs}),
        json!({"pause_id": "pse_00000000000000000000000000000000"}),
        json!({"pause_id": ""}),
        json!({"pause_id": "*"}),
        json!({"pause_id": [id]}),
        json!({"pause_id": id, "decision": "approved"}),
        json!({}),
    ] {
        agent.fails("check_approval", odd);
    }
    assert_eq!(looks(&mut agent, &id), json!({"status": "pending"}));
}

#[test]
fn a_name_has_no_effect_with_looppause() {
    let dir = state_folder();
    let flags = ["--compat", "looppause", "--agent", "books"];
    let mut session = Agent::unmet(dir.path(), &json!({}), &[], &flags);
    assert_eq!(session.exit().0, 3);
    session.stderr_says("--agent");
}
