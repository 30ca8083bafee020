//! Several engines with the real binary: chains, races, secrets, signed callbacks, `engines list` and `engines test`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use approval_proxy::engines::inbox::passphrase::set;
use approval_proxy::sys::secret::Secret;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use serde_json::{Value, json};

use super::support::{
    Http, OddServer, ProxyTest, Session, Terminal, announced_page, eventually, response,
};

const YES: &str = r#"{"action":"accept","content":{"approved":true}}"#;

fn no(reason: &str) -> String {
    json!({"action": "accept", "content": {"approved": false, "reason": reason}}).to_string()
}

fn hook(name: &str, service: &OddServer) -> Value {
    let url = format!("http://127.0.0.1:{}/ask", service.port);
    json!({"type": "webhook", "name": name, "url": url})
}

fn with(mut engine: Value, members: Value) -> Value {
    let members = members.as_object().unwrap().clone();
    engine.as_object_mut().unwrap().extend(members);
    engine
}

/// A proxy with these engines, whose client cannot prompt.
fn asking(section: Value) -> Session {
    ProxyTest::with_inbox()
        .env("HOOK_SECRET", SECRET)
        .section(section)
        .start_without_elicitation()
}

#[test]
fn in_a_race_all_are_asked_at_once_and_the_first_answer_counts() {
    let slow = OddServer::start(|request| match &*request.method {
        "POST" => response(202, &[("location", "/later")], ""),
        _ => response(202, &[("retry-after", "1")], ""),
    });
    let opens = Arc::new(AtomicBool::new(false));
    let may_open = Arc::clone(&opens);
    let quick = OddServer::start(move |_| match may_open.load(Ordering::SeqCst) {
        true => response(200, &[], YES),
        false => response(202, &[("location", "/soon"), ("retry-after", "0")], ""),
    });
    let mut session = asking(json!({
        "ask": "race",
        "engines": [hook("slow", &slow), hook("quick", &quick), "inbox"],
    }));
    let call = session.call("wipe", json!({"n": 1}));
    eventually("both services are asked", || {
        !slow.seen().is_empty() && !quick.seen().is_empty()
    });
    let terminal = session.terminal();
    let item = terminal.wait_for_item("wipe");
    let asked: Value = serde_json::from_str(&slow.seen()[0].text).unwrap();
    assert_eq!(asked["request"]["id"], json!(item), "all show one row");
    opens.store(true, Ordering::SeqCst);
    session.expect_ran(call);
    let line = session.decision("wipe");
    assert_eq!(
        (&line["engine"], &line["approver"], &line["assurance"]),
        (
            &json!("quick"),
            &json!("webhook:quick"),
            &json!("shared-secret")
        )
    );
    let polls = slow.seen().len();
    let late = terminal.approvals(&["approve", &item]);
    assert_eq!(late.code, Some(7), "{late:?}");
    assert_eq!(session.runs_of("wipe"), 1);
    assert!(slow.seen().len() <= polls + 1, "nobody polls any more");
    session.finish();
}

#[test]
fn in_a_chain_the_next_is_asked_after_a_failure_and_the_agent_learns_nothing_of_it() {
    let broken = OddServer::start(|_| response(400, &[], "no such room: 7F"));
    let working = OddServer::start(|_| response(200, &[], &no("ticket OPS-12 first")));
    let mut session =
        asking(json!({"engines": [hook("first", &broken), hook("second", &working)]}));
    let call = session.call("wipe", json!({"n": 1}));
    let refusal = session.refusal(call);
    assert!(refusal.contains("ticket OPS-12 first"), "{refusal}");
    assert!(
        !refusal.contains("7F") && !refusal.contains("first`"),
        "{refusal}"
    );
    session.wait_for_event("engine_failed");
    let events = session.log().into_iter();
    let failed: Vec<Value> = events
        .filter(|line| line["event"] == "engine_failed")
        .collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(
        (&failed[0]["engine"], &failed[0]["kind"]),
        (&json!("first"), &json!("rejected"))
    );
    session.stderr_says("the engine `first`");
    // Once is enough.
    let call = session.call("wipe", json!({"n": 2}));
    session.refusal(call);
    assert_eq!(session.stderr().matches("the engine `first`").count(), 1);
    assert_eq!(session.runs_of("wipe"), 0);
    session.finish();
}

#[test]
fn an_engine_that_is_only_for_high_risks_is_not_asked_about_others() {
    let high = OddServer::start(|_| response(200, &[], YES));
    let any = OddServer::start(|_| response(200, &[], YES));
    let high_only = with(hook("high", &high), json!({"minRisk": "high"}));
    let mut session = ProxyTest::with_inbox()
        .rules(json!({"mode": "all"}))
        .section(json!({"engines": [high_only.clone(), hook("any", &any)]}))
        .start_without_elicitation();
    let call = session.call("read", json!({}));
    session.expect_ran(call);
    assert_eq!(session.decision("read")["engine"], "any");
    assert!(high.seen().is_empty());
    let call = session.call("wipe", json!({}));
    session.expect_ran(call);
    assert_eq!(session.decision("wipe")["engine"], "high");
    session.finish();

    let mut alone = ProxyTest::with_inbox()
        .rules(json!({"mode": "all"}))
        .section(json!({"engines": [high_only]}))
        .start_without_elicitation();
    let call = alone.call("read", json!({}));
    alone.refusal(call);
    assert_eq!(alone.decision("read")["decision"], "error");
    alone.finish();
}

const SECRET: &str = "whsec_c2VjcmV0LW9mLXRlc3QtMTIzNDU2Nzg5MGFi";

/// The headers of Standard Webhooks.
fn signed(id: &str, body: &str) -> Vec<(&'static str, String)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let time = now.as_secs().to_string();
    let key = BASE64_STANDARD.decode(&SECRET["whsec_".len()..]).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let tag = hmac::sign(&key, format!("{id}.{time}.{body}").as_bytes());
    let signature = format!("v1,{}", BASE64_STANDARD.encode(tag));
    vec![
        ("content-type", "application/json".to_owned()),
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", time),
        ("webhook-signature", signature),
    ]
}

fn post(page: &Http, path: &str, id: &str, body: &str) -> u16 {
    let headers = signed(id, body);
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    page.send("POST", path, &headers, body).status
}

#[test]
fn a_signed_callback_decides_once_and_only_about_its_own_question() {
    let service = OddServer::start(|_| response(202, &[], ""));
    let engine = with(hook("ops", &service), json!({"secret": "${HOOK_SECRET}"}));
    let mut session = asking(json!({"engines": [engine]}));
    let call = session.call("wipe", json!({"n": 1}));
    eventually("the service is asked", || !service.seen().is_empty());
    // The page is served although the inbox is not listed.
    let state = session.path("state");
    let terminal = Terminal::at(&state);
    let item = terminal.wait_for_item("wipe");
    let page = announced_page(|| session.stderr());
    let asked: Value = serde_json::from_str(&service.seen()[0].text).unwrap();
    let fingerprint = asked["request"]["fingerprint"].as_str().unwrap();
    let answer = |id: &str, fingerprint: &str| {
        json!({"id": id, "fingerprint": fingerprint, "action": "accept", "content": {"approved": true}})
            .to_string()
    };
    let right = answer(&item, fingerprint);
    assert_eq!(
        post(
            &page,
            "/callback/ops",
            "m1",
            &answer(&item, &"0".repeat(64))
        ),
        409
    );
    assert_eq!(
        post(
            &page,
            "/callback/ops",
            "m2",
            &answer(&"f".repeat(32), fingerprint)
        ),
        409
    );
    assert_eq!(post(&page, "/callback/nobody", "m3", &right), 404);
    let unsigned = page.send(
        "POST",
        "/callback/ops",
        &[("content-type", "application/json")],
        &right,
    );
    assert_eq!(unsigned.status, 401);
    assert_eq!(session.runs_of("wipe"), 0);
    let accepted = post(&page, "/callback/ops", "m4", &right);
    assert!((200..300).contains(&accepted), "{accepted}");
    session.expect_ran(call);
    assert_eq!(session.decision("wipe")["approver"], "webhook:ops");
    assert_eq!(post(&page, "/callback/ops", "m4", &right), 409);
    assert_eq!(session.runs_of("wipe"), 1);
    session.finish();
}

/// Part of every secret here, and of nothing else.
const MARK: &str = "Xq7Secret";

#[test]
fn no_secret_of_an_engine_leaves_it() {
    // A service that echoes what it gets.
    let echo = OddServer::start(|request| {
        let headers = ["authorization", "x-key", "webhook-signature"];
        let headers: Vec<_> = headers.iter().map(|name| request.header(name)).collect();
        response(400, &[], &format!("{headers:?} {}", request.path))
    });
    let key = BASE64_STANDARD.encode(format!("{MARK}-0123456789abcdef"));
    let dump = |session: &Session| session.path("command-env");
    let test = ProxyTest::with_inbox();
    let env = test.path("command-env");
    let url = format!("http://127.0.0.1:{}/${{PATH_TOKEN}}", echo.port);
    let mut session = test
        .env("HOOK_SECRET", &format!("whsec_{key}"))
        .env("HOOK_TOKEN", &format!("{MARK}-token"))
        .env("HOOK_KEY", &format!("{MARK}-key"))
        .env("PATH_TOKEN", &format!("{MARK}-path"))
        .section(json!({"engines": [
            {"type": "webhook", "url": url, "secret": "${HOOK_SECRET}",
             "headers": {"Authorization": "Bearer ${HOOK_TOKEN}", "X-Key": "${HOOK_KEY}"}},
            {"type": "command", "command": "sh",
             "args": ["-c", "env > \"$1\"; echo '{\"action\":\"decline\"}'", "sh", env]},
        ]}))
        .start_without_elicitation();
    let call = session.call("wipe", json!({"n": 1}));
    let refusal = session.refusal(call);
    session.wait_for_event("engine_failed");
    let report = session.script(json!({"do": "report"}));
    let pid = session.pid().as_raw_nonzero();
    let store = fs::read_dir(session.path("state")).unwrap();
    let store: Vec<u8> = store
        .flat_map(|file| fs::read(file.unwrap().path()).unwrap_or_default())
        .collect();
    let mut places = vec![
        ("the refusal", refusal),
        ("stderr", session.stderr()),
        (
            "the log",
            fs::read_to_string(session.path("audit.jsonl")).unwrap(),
        ),
        ("the server's environment", report.to_string()),
        (
            "the program's environment",
            fs::read_to_string(dump(&session)).unwrap(),
        ),
        ("the store", String::from_utf8_lossy(&store).into_owned()),
        ("the history", format!("{:?}", session.terminal().history())),
        (
            "the process list",
            fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap(),
        ),
        (
            "what the server got",
            String::from_utf8_lossy(&session.recorded()).into_owned(),
        ),
    ];
    assert!(
        !echo.seen().is_empty() && echo.seen()[0].path.contains(MARK),
        "it was sent"
    );
    places.extend(
        session
            .take_skipped()
            .iter()
            .map(|line| ("stdout", line.to_string())),
    );
    for (place, text) in places {
        assert!(
            !text.is_empty() || place == "what the server got",
            "{place} is empty"
        );
        for secret in [MARK, &key, "HOOK_SECRET="] {
            assert!(!text.contains(secret), "{place}: {text}");
        }
    }
    session.finish();
}

#[test]
fn the_secret_of_another_servers_engine_reaches_neither_the_server_nor_a_program() {
    let test = ProxyTest::with_inbox();
    let env = test.path("command-env");
    let other =
        json!({"type": "webhook", "url": "https://ops.example/", "secret": "${HOOK_SECRET}"});
    let program = json!({"type": "command", "command": "sh", "env": {"PATH": "/opt/q7:${PATH}"},
        "args": ["-c", "env > \"$1\"; echo '{\"action\":\"decline\"}'", "sh", env]});
    let config = json!({
        "mcpServers": {
            "files": test.built_entry(),
            "other": {"command": "none", "approvalRules": {"engines": [other]}},
        },
        "approvalProxy": {"engines": [program]},
    });
    let mut session = test
        .env("HOOK_SECRET", SECRET)
        .config(config)
        .start_without_elicitation();
    let call = session.call("wipe", json!({}));
    session.refusal(call);
    let report = session.script(json!({"do": "report"})).to_string();
    let program = fs::read_to_string(session.path("command-env")).unwrap();
    assert!(program.contains("PATH=/opt/q7:/"), "{program}");
    assert!(report.contains("PATH"), "{report}");
    for text in [report, program] {
        assert!(!text.contains(SECRET), "{text}");
    }
    session.finish();
}

// A proxy of the service may append what it got to the answer.
#[test]
fn a_reason_that_the_agent_reads_shows_no_secret_of_its_engine() {
    let says = |request: &str| no(&format!("not today {MARK} {request}"));
    let token = format!("{MARK}/token");
    let (at_once, later) = (says(&token), says(&token.replace('/', "%2F")));
    let service = OddServer::start(move |_| response(200, &[], &at_once));
    let called = OddServer::start(|_| response(202, &[], ""));
    let headers =
        json!({"headers": {"Authorization": "Bearer ${HOOK_TOKEN}", "x-key": "${HOOK_KEY}"}});
    let deny = |engine: Value, service: &OddServer| {
        let mut session = ProxyTest::with_inbox()
            .env("HOOK_SECRET", SECRET)
            .env("HOOK_TOKEN", &token)
            .env("HOOK_KEY", MARK)
            .section(json!({"engines": [engine]}))
            .start_without_elicitation();
        let call = session.call("wipe", json!({"n": 1}));
        if engine_awaits_callback(&engine) {
            eventually("the service is asked", || !service.seen().is_empty());
            let asked: Value = serde_json::from_str(&service.seen()[0].text).unwrap();
            let page = announced_page(|| session.stderr());
            let mut answer: Value = serde_json::from_str(&later).unwrap();
            answer["id"] = asked["request"]["id"].clone();
            answer["fingerprint"] = asked["request"]["fingerprint"].clone();
            let status = post(&page, "/callback/ops", "m1", &answer.to_string());
            assert_eq!(status, 200);
        }
        let refusal = session.refusal(call);
        let history = format!("{:?}", session.terminal().history());
        let log = fs::read_to_string(session.path("audit.jsonl")).unwrap();
        for text in [refusal, history, log, session.stderr()] {
            assert!(!text.contains(MARK), "{text}");
        }
        let line = session.decision("wipe");
        assert_eq!(line["reason"], "not today [hidden] [hidden]", "{line}");
        session.finish();
    };
    deny(with(hook("ops", &service), headers.clone()), &service);
    let signed = json!({"secret": "${HOOK_SECRET}"});
    deny(with(with(hook("ops", &called), headers), signed), &called);
}

fn engine_awaits_callback(engine: &Value) -> bool {
    engine.get("secret").is_some()
}

#[test]
fn what_no_engine_can_work_with_stops_the_start_and_says_why() {
    for (section, says) in [
        (json!({"askDefault": "approve"}), "nobody has approved"),
        (json!({"engines": ["ops"]}), "`ops` is not defined"),
        (
            json!({"engines": [{"type": "webhook"}]}),
            "named without its options",
        ),
        (
            json!({"engines": [{"type": "webhook", "name": "a", "secret": "x"}]}),
            "needs `url`",
        ),
        (
            json!({"engines": [{"type": "webhook", "url": "http://192.0.2.7/x"}]}),
            "plain http",
        ),
        (
            json!({"approvalAllowInsecureHttp": true, "engines": [{"type": "webhook", "url": "http://192.0.2.7/x"}]}),
            "secret",
        ),
        (
            json!({"approvalAllowedHosts": ["a.example"], "engines": [{"type": "webhook", "url": "https://b.example/x"}]}),
            "approvalAllowedHosts",
        ),
        (
            json!({"engines": [{"type": "webhook", "url": "https://a.example/x", "secret": "${NOT_SET_77}"}]}),
            "NOT_SET_77",
        ),
    ] {
        let mut session = ProxyTest::with_inbox().section(section.clone()).start();
        let (code, _) = session.exit();
        assert_eq!(code, 3, "{section}");
        session.stderr_says(says);
    }
}

#[test]
fn engines_that_are_not_asked_cost_no_thread_and_no_file() {
    let count = |session: &Session| {
        let pid = session.pid().as_raw_nonzero();
        let entries = |folder: &str| {
            fs::read_dir(format!("/proc/{pid}/{folder}"))
                .unwrap()
                .count()
        };
        (entries("task"), entries("fd"))
    };
    let run = |section: Value| {
        let mut session = asking(section);
        for n in 0..3 {
            let call = session.call("read", json!({"n": n}));
            session.expect_ran(call);
        }
        let found = count(&session);
        session.finish();
        found
    };
    let service = OddServer::start(|_| response(200, &[], YES));
    let hook = with(hook("ops", &service), json!({"secret": "${HOOK_SECRET}"}));
    let command = json!({"type": "command", "command": "true"});
    let with_all = run(json!({"ask": "race", "engines": [hook, command, "inbox"]}));
    assert_eq!(with_all, run(json!({"engines": ["inbox"]})));
    assert!(service.seen().is_empty());
}

/// A home folder whose user configuration has these engines.
fn home(engines: &Value) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".config/approval-proxy");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("config.json");
    fs::write(
        &file,
        json!({"approvalProxy": {"engines": engines}}).to_string(),
    )
    .unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    home
}

fn engines(home: &Path, arguments: &[&str]) -> (i32, String, String) {
    let terminal = Terminal::at(&home.join("state"));
    let mut command = terminal.command(&[&["engines"], arguments].concat());
    command.env("HOME", home).env_remove("XDG_CONFIG_HOME");
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn the_list_shows_the_order_for_each_risk_and_no_secret() {
    let home = home(&json!([
        {"type": "webhook", "name": "ops", "url": "https://ops.example/x", "secret": SECRET,
         "minRisk": "high", "onTimeout": "fallback"},
        {"type": "command", "command": "ask-ann", "after": 30},
        "inbox",
    ]));
    let (code, out, err) = engines(home.path(), &["list"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(
        out,
        "Calls of risk high:\n  1. ops (webhook), at once\n  2. command, after 30 s\n  3. inbox, if command fails\n\
         Calls of risk medium or unknown:\n  1. command, at once\n  2. inbox, if command fails\n\
         Calls of risk low:\n  1. command, at once\n  2. inbox, if command fails\n"
    );
    let (code, out, _) = engines(home.path(), &["list", "--json"]);
    assert_eq!(code, 0);
    assert!(!out.contains("whsec_") && !out.contains("c2Vj"), "{out}");
    let list: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(list["engines"][0]["type"], "webhook");
    assert_eq!(list["engines"][0]["minRisk"], "high");
    assert_eq!(list["order"]["low"][0]["name"], "command");
}

#[test]
fn a_test_asks_nobody_and_says_which_engine_does_not_work() {
    let service = OddServer::start(|_| response(200, &[], YES));
    let home = home(&json!([
        hook("up", &service),
        {"type": "webhook", "name": "down", "url": "http://127.0.0.1:9/x"},
        {"type": "command", "command": "no-such-program-q7"},
        "inbox",
        "elicitation",
    ]));
    let (code, out, err) = engines(home.path(), &["test"]);
    assert_eq!(code, 3, "{out}{err}");
    assert!(
        out.lines().count() == 5 && err.contains("2 engines do not work"),
        "{out}{err}"
    );
    assert!(
        out.contains("down: cannot be reached") && out.contains("no-such-program-q7"),
        "{out}"
    );
    let seen = service.seen();
    assert!(
        seen.iter().all(|request| request.method == "HEAD"),
        "{seen:?}"
    );
    assert_eq!(engines(home.path(), &["test", "up"]).0, 0);
    let (code, _, err) = engines(home.path(), &["test", "u"]);
    assert!(code == 2 && err.contains("`up`, `down`"), "{err}");
}

#[test]
fn a_test_finds_a_store_that_cannot_keep_questions() {
    let service = OddServer::start(|_| response(200, &[], YES));
    let home = home(&json!([hook("ops", &service), "inbox"]));
    assert_eq!(engines(home.path(), &["test"]).0, 0);
    let state = home.path().join("state");
    assert!(!state.exists(), "a test creates nothing");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    let store = state.join("inbox.db");
    fs::write(&store, "no database").unwrap();
    fs::set_permissions(&store, fs::Permissions::from_mode(0o600)).unwrap();
    // Without the store, no question reaches the service either.
    for arguments in [&["test"][..], &["test", "--send"]] {
        let (code, out, err) = engines(home.path(), arguments);
        assert_eq!(code, 3, "{arguments:?}: {out}{err}");
        assert_eq!(out.matches("inbox.db").count(), 2, "{out}");
        assert!(err.contains("2 engines do not work"), "{err}");
    }
    let seen = service.seen();
    assert!(seen.iter().all(|request| request.method == "HEAD"));
}

#[test]
fn the_list_counts_a_passphrase() {
    let home = home(&json!(["inbox"]));
    let state = home.path().join("state");
    let file = home.path().join(".config/approval-proxy/config.json");
    let config =
        json!({"approvalProxy": {"engines": ["inbox"], "requireAssurance": "inbox-passphrase"}});
    fs::write(&file, config.to_string()).unwrap();
    let (_, out, _) = engines(home.path(), &["list"]);
    assert!(out.contains("inbox is never asked"), "{out}");
    let passphrase = Secret::new("correct horse".to_owned());
    set(&Terminal::at(&state).state_dir(), None, &passphrase).unwrap();
    let (code, out, err) = engines(home.path(), &["list"]);
    assert!(
        code == 0 && out.contains("1. inbox, at once") && !out.contains("never"),
        "{out}{err}"
    );
    let (_, out, _) = engines(home.path(), &["list", "--json"]);
    let list: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(list["engines"][0]["assurance"], "inbox-passphrase");
}

#[test]
fn a_test_question_says_who_answered_after_how_long() {
    let service = OddServer::start(|_| response(200, &[], &no("it reached me")));
    let home = home(&json!([hook("ops", &service)]));
    let (code, out, err) = engines(home.path(), &["test", "ops", "--send"]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("ops: denied after 0.")
            && out.contains("by webhook:ops")
            && out.contains("it reached me"),
        "{out}"
    );
    let asked: Value = serde_json::from_str(&service.seen()[0].text).unwrap();
    assert!(
        asked["message"].as_str().unwrap().contains("only a test"),
        "{asked}"
    );
    // Nothing stays open.
    assert!(
        Terminal::at(&home.path().join("state"))
            .open_items()
            .is_empty()
    );
}
