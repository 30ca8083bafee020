//! The inbox: calls of clients that cannot be asked wait for a person at the terminal.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use approval_proxy::approval::item::Item;
use approval_proxy::engines::inbox::store::Closed;
use approval_proxy::policy::Risk;
use serde_json::{Value, json};

use super::support::{ProxyTest, announced_page, eventually};

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

/// An open item without a deadline.
fn item(id: &str, tool: &str) -> Item {
    Item {
        form: None,
        id: id.to_owned(),
        server: "box".to_owned(),
        tool: tool.to_owned(),
        risk: Risk::High,
        why: "why".to_owned(),
        question: "Allow this tool call?".to_owned(),
        title: None,
        description: None,
        hints: String::new(),
        call: r#"{"name":"x","arguments":{}}"#.to_owned(),
        digest: "0".repeat(64),
        client: None,
        client_title: None,
        asked_ms: now_ms(),
        expires_ms: None,
    }
}

#[test]
fn a_call_of_a_client_that_cannot_be_asked_waits_and_runs_once_when_it_is_approved() {
    let mut session = ProxyTest::with_inbox().start_without_elicitation();
    let terminal = session.terminal();
    session.send(
        r#"{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{"name":"wipe","arguments":{"n":1.50,"b":1e2, "a":"\u0041"}}}"#,
    );
    let id = terminal.wait_for_item("wipe");
    let output = terminal.approvals(&["list", "--json"]).out;
    assert!(
        output.contains(r#"{"name":"wipe","arguments":{"n":1.50,"b":1e2, "a":"\u0041"}}"#),
        "not as the client wrote it: {output}"
    );
    let item = terminal.open_items().remove(0);
    assert_eq!(item["state"], "waiting");
    assert_eq!(item["server"], "box");
    assert_eq!(item["client"], "test 0");
    assert_eq!(item["risk"], "high");
    assert_eq!(item["description"], "The tool wipe.");
    let list = terminal.approvals(&["list"]).out;
    assert!(list.contains(&id[..8]) && list.contains("wipe"), "{list}");
    let shown = terminal.approvals(&["show", &id]).out;
    assert!(
        shown.contains("\"n\": 1.50") && shown.contains("\"b\": 1e2"),
        "{shown}"
    );
    // A waiting approval delays nobody else.
    session.passes("read", json!({}));
    assert_eq!(session.runs_of("wipe"), 0);

    let output = terminal.approvals(&["approve", &id, "--reason", "it is mine"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.out.starts_with("approved: "), "{output:?}");
    session.expect_ran(77);
    let line = session.decision("wipe");
    for (key, value) in [
        ("decision", json!("approved")),
        ("forwarded", json!(true)),
        ("engine", json!("inbox")),
        ("assurance", json!("inbox-terminal")),
        ("reason", json!("it is mine")),
        (
            "call",
            json!(format!("sha256:{}", item["digest"].as_str().unwrap())),
        ),
    ] {
        assert_eq!(line[key], value, "{line}");
    }
    let output = terminal.approvals(&["approve", &id]);
    assert_eq!(output.code, Some(7), "{output:?}");
    assert!(output.err.contains("approved"), "{output:?}");
    let output = terminal.approvals(&["deny", &id]);
    assert_eq!(output.code, Some(7), "{output:?}");
    assert!(output.err.contains("it is approved"), "{output:?}");
    session.sync();
    assert_eq!(session.runs_of("wipe"), 1);
    // The same call made again gets an item of its own.
    let again = session.call("wipe", json!({"n": 1.5}));
    let fresh = terminal.wait_for_item("wipe");
    assert_ne!(fresh, id);
    terminal.approve(&fresh);
    session.expect_ran(again);
    session.finish();
}

#[test]
fn a_denied_call_does_not_run_and_the_agent_is_told_why() {
    let mut session = ProxyTest::with_inbox().start_without_elicitation();
    let terminal = session.terminal();
    let call = session.call("wipe", json!({"marker": 1}));
    let id = terminal.wait_for_item("wipe");
    let output = terminal.approvals(&["deny", &id[..8], "--reason", "use the \"archive\" tool"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let refusal = session.refusal(call);
    assert!(refusal.contains(r#"use the \"archive\" tool"#), "{refusal}");
    session.sync();
    assert!(!session.has_recorded("marker"));
    let line = session.decision("wipe");
    assert_eq!(
        (&line["decision"], &line["reason"], &line["engine"]),
        (
            &json!("denied"),
            &json!("use the \"archive\" tool"),
            &json!("inbox")
        )
    );
    assert_eq!(terminal.state_of(&id), "denied");
    session.finish();
}

#[test]
fn an_id_that_names_no_item_or_more_than_one_ends_with_7() {
    let mut session = ProxyTest::with_inbox().start_without_elicitation();
    let terminal = session.terminal();
    let call = session.call("wipe", json!({}));
    let id = terminal.wait_for_item("wipe");
    let other = match &id[..8] {
        "00000000" => "11111111",
        _ => "00000000",
    };
    let unknown = "there is no item";
    let too_short = "type at least 4 characters";
    for (wrong, why) in [
        (&id[..3], too_short),
        (other, unknown),
        ("../../etc", unknown),
        ("%", too_short),
        ("", too_short),
        ("\u{1b}[31m", unknown),
        (&*format!("{id}0"), unknown),
    ] {
        for what in ["approve", "deny", "show"] {
            let output = terminal.approvals(&[what, wrong]);
            assert_eq!(output.code, Some(7), "{wrong}: {output:?}");
            assert!(output.err.contains(why), "{output:?}");
            assert!(
                output.out.is_empty() && !output.err.contains('\u{1b}'),
                "{output:?}"
            );
        }
    }
    // Ids pasted from a mail or a chat may have blanks around them and upper case.
    let pasted = format!(" {} ", id[..8].to_uppercase());
    assert_eq!(terminal.approvals(&["show", &pasted]).code, Some(0));
    terminal.approve(&id[..4]);
    session.expect_ran(call);
    session.finish();
}

#[test]
fn an_ambiguous_id_lists_the_items_it_could_mean() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = super::support::Terminal::at(&dir.path().join("state"));
    let _lease = terminal.lease("many");
    let mut store = terminal.store();
    for id in ["abcd11", "abcd12", "abcd2"] {
        store.ask(&item(id, "wipe"), "many").unwrap();
    }
    let output = terminal.approvals(&["deny", "abcd1"]);
    assert_eq!(output.code, Some(7), "{output:?}");
    for part in [
        r#""abcd1" is the beginning of several ids"#,
        "abcd11",
        "abcd12",
    ] {
        assert!(output.err.contains(part), "{output:?}");
    }
    assert!(!output.err.contains("abcd2"), "{output:?}");
    assert_eq!(terminal.open_items().len(), 3);
    // An open item wins over closed ones.
    store.close("abcd12", Closed::Withdrawn, now_ms()).unwrap();
    assert_eq!(terminal.approvals(&["deny", "abcd1"]).code, Some(0));
    assert_eq!(terminal.state_of("abcd11"), "denied");
}

#[test]
fn the_list_shows_what_a_call_is_about_and_how_much_time_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = super::support::Terminal::at(&dir.path().join("state"));
    let _lease = terminal.lease("many");
    let mut store = terminal.store();
    let long = "m".repeat(100);
    for (id, arguments, expires_ms) in [
        ("aaaa", json!({"n": [1, 2], "path": "/a\nb"}), None),
        ("bbbb", json!({"text": long}), Some(now_ms() + 90_000)),
        (
            "cccc",
            json!({"text": long.repeat(300)}),
            Some(now_ms() + 7_190_000),
        ),
    ] {
        let call = json!({"name": "wipe", "arguments": arguments}).to_string();
        let item = Item {
            call,
            expires_ms,
            ..item(id, "wipe")
        };
        store.ask(&item, "many").unwrap();
    }
    let output = terminal.approvals(&["list"]).out;
    let line = |id: &str| output.lines().find(|line| line.starts_with(id)).unwrap();
    let short = r#"  -       "wipe" of "box"  { "n": [1, 2], "…"#;
    assert!(line("aaaa").ends_with(short), "{output}");
    assert!(line("bbbb").ends_with('…'), "{output}");
    let widths = output.lines().map(|line| line.chars().count());
    assert!(widths.max() <= Some(80), "{output}");
    assert!(line("cccc").contains("  119 min "), "{output}");
    assert!(line("cccc").ends_with("  (30 kB)"), "{output}");
}

#[test]
fn the_history_shows_who_decided_why_and_through_which_engine() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = super::support::Terminal::at(&dir.path().join("state"));
    let _lease = terminal.lease("many");
    let mut store = terminal.store();
    for (n, id) in ["aaaa1", "bbbb2", "cccc3"].into_iter().enumerate() {
        let asked_ms = now_ms() + i64::try_from(n).unwrap();
        store
            .ask(
                &Item {
                    asked_ms,
                    ..item(id, "wipe")
                },
                "many",
            )
            .unwrap();
    }
    let output = terminal.approvals(&["deny", "aaaa1", "--reason", "not on\na Friday"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    store.close("bbbb2", Closed::Withdrawn, now_ms()).unwrap();
    terminal.approve("cccc3");
    let output = terminal.approvals(&["list", "--history"]).out;
    let below = |id: &str| {
        let mut lines = output.lines().skip_while(|line| !line.starts_with(id));
        lines.nth(1).unwrap().trim()
    };
    let told_of = r#"engine: inbox; approver: somebody in a terminal; reason: "not on\na F…"#;
    assert!(below("aaaa").starts_with(&told_of[..60]), "{output}");
    assert_eq!(below("bbbb"), "nobody decided");
    assert!(below("cccc").ends_with("reason: none given"), "{output}");
    assert!(
        output.lines().all(|line| line.chars().count() <= 80),
        "{output}"
    );
    // `--limit` keeps the newest.
    let output = terminal
        .approvals(&["list", "--history", "--limit", "2"])
        .out;
    assert!(
        output.contains("cccc") && output.contains("bbbb") && !output.contains("aaaa"),
        "{output}"
    );
    let output = terminal
        .approvals(&["list", "--history", "--limit", "1", "--json"])
        .out;
    assert_eq!(
        serde_json::from_str::<Vec<Value>>(&output).unwrap().len(),
        1,
        "{output}"
    );
    assert_eq!(terminal.approvals(&["list", "--limit", "0"]).code, Some(2));
}

#[test]
fn risk_is_coloured_only_in_a_terminal_and_not_with_no_color() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = super::support::Terminal::at(&dir.path().join("state"));
    let _lease = terminal.lease("many");
    terminal.store().ask(&item("abcd", "wipe"), "many").unwrap();
    let mut shown = terminal.in_terminal(&["approvals", "list"]);
    assert_eq!(shown.exit(), Some(0));
    shown.shows("wipe");
    assert!(
        shown.shown().contains("\u{1b}[1;31mhigh"),
        "{:?}",
        shown.shown()
    );
    let mut command = std::process::Command::new(super::support::proxy());
    command.args(["approvals", "list"]).env("NO_COLOR", "1");
    command.env("APPROVAL_STATE_DIR", dir.path().join("state"));
    let mut shown = super::support::Pty::start(&command);
    assert_eq!(shown.exit(), Some(0));
    shown.shows("wipe");
    assert!(!shown.shown().contains('\u{1b}'), "{:?}", shown.shown());
    let output = terminal.approvals(&["list"]).out;
    assert!(
        output.contains("high") && !output.contains('\u{1b}'),
        "{output:?}"
    );
}

#[test]
fn a_watched_list_shows_items_as_they_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = super::support::Terminal::at(&dir.path().join("state"));
    let _lease = terminal.lease("many");
    let mut store = terminal.store();
    let mut shown = terminal.in_terminal(&["approvals", "list", "--watch"]);
    shown.shows("Nothing is waiting for you in ");
    shown.shows("stop with Ctrl-C");
    // Without a terminal, each change is a line.
    let out = dir.path().join("out");
    let file = std::fs::File::create(&out).unwrap();
    let mut command = terminal.command(&["approvals", "list", "--watch"]);
    let mut piped = command.stdout(file).spawn().unwrap();
    let lines = || std::fs::read_to_string(&out).unwrap();
    super::support::eventually("the first line", || lines().contains("Nothing is waiting"));
    store.ask(&item("abcd", "wipe"), "many").unwrap();
    shown.shows("\"wipe\" of \"box\"");
    super::support::eventually("the item is listed", || {
        lines().contains("abcd      waiting")
    });
    let before = shown.shown().matches("Nothing is waiting").count();
    terminal.approve("abcd");
    super::support::eventually("the item is gone", || {
        shown.shown().matches("Nothing is waiting").count() > before
    });
    super::support::eventually("the item is listed as approved", || {
        lines().contains("abcd      approved")
    });
    assert_eq!(lines().lines().count(), 3, "{}", lines());
    shown.types("\u{3}");
    assert_eq!(shown.exit(), Some(130), "{}", shown.shown());
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&piped),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    assert_eq!(piped.wait().unwrap().code(), Some(143));
}

#[test]
fn a_missing_state_folder_is_reported_and_not_created() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("typo");
    let terminal = super::support::Terminal::at(&dir.path().join("state"));
    let typo = ["--state-dir", path.to_str().unwrap()];
    for what in [&["list"][..], &["list", "--json"], &["approve", "abcd"]] {
        let output = terminal.approvals(&[what, &typo].concat());
        assert_eq!(output.code, Some(3), "{output:?}");
        let why = format!("no folder `{}`", path.display());
        assert!(output.err.contains(&why), "{output:?}");
        assert!(output.out.is_empty(), "{output:?}");
    }
    assert!(!path.exists());
}

// The list shows eight digits of an id, and people type those.
#[test]
fn a_second_verdict_by_the_short_id_says_what_was_decided() {
    let mut session = ProxyTest::with_inbox().start_without_elicitation();
    let terminal = session.terminal();
    let call = session.call("wipe", json!({}));
    let id = terminal.wait_for_item("wipe");
    terminal.approve(&id[..8]);
    session.expect_ran(call);
    let output = terminal.approvals(&["deny", &id[..8]]);
    assert_eq!(output.code, Some(7), "{output:?}");
    assert!(output.err.contains("it is approved"), "{output:?}");
    session.finish();
}

#[test]
fn the_pages_address_is_printed_once_and_shows_no_arguments_to_strangers() {
    let mut session = ProxyTest::with_inbox().start_without_elicitation();
    let terminal = session.terminal();
    let call = session.call("wipe", json!({"password_of": "marker-of-a-call"}));
    let id = terminal.wait_for_item("wipe");
    let page = announced_page(|| session.stderr());
    assert!(terminal.page_answers_at(&page));
    for path in [
        "/",
        "/history",
        "/fragment",
        &format!("/item/{id}"),
        "/events",
    ] {
        let (status, body) = page.try_get(path).unwrap();
        assert!((400..500).contains(&status), "{path}: {status}");
        for hidden in ["marker-of-a-call", &id, "wipe", "approve"] {
            assert!(!body.contains(hidden), "{path} shows {hidden}: {body}");
        }
    }
    // A malformed nonce gets no proof.
    let (status, _) = page.try_get("/prove?nonce=1").unwrap();
    assert_eq!(status, 400);
    let second = session.call("wipe", json!({"n": 2}));
    for item in terminal.wait_for_items(2) {
        terminal.approve(item["id"].as_str().unwrap());
    }
    session.expect_ran(call);
    session.expect_ran(second);
    let stderr = session.stderr();
    let line = format!(" at http://{}/ ", page.address);
    assert_eq!(stderr.matches(&line).count(), 1, "{stderr}");
    assert_eq!(stderr.matches("http://").count(), 1, "{stderr}");
    assert!(!stderr.contains('#') && !stderr.contains(&id), "{stderr}");
    session.finish();
}

#[test]
fn a_parked_call_runs_once_when_it_is_made_again_and_no_other_call_does() {
    let test = ProxyTest::with_inbox().flags(["--timeout", "1", "--timeout-action", "park"]);
    let mut session = test.start_without_elicitation();
    let terminal = session.terminal();
    let first = session.call("wipe", json!({"n": 1}));
    let id = terminal.wait_for_item("wipe");
    let refusal = session.refusal(first);
    assert!(
        refusal.contains("waiting for approval") && refusal.contains(&id),
        "{refusal}"
    );
    eventually("it is parked", || terminal.state_of(&id) == "parked");
    assert_eq!(terminal.open_items().len(), 1);
    terminal.approve(&id);
    assert_eq!(terminal.state_of(&id), "approved");
    session.wait_for_event("parked_verdict");
    let other = session.call("wipe", json!({"n": 2}));
    let fresh = terminal.wait_for_item("wipe");
    let same = session.call("wipe", json!({"n": 1}));
    session.expect_ran(same);
    assert_eq!(session.runs_of("wipe"), 1);
    let refusal = session.refusal(other);
    assert!(refusal.contains(&fresh), "{refusal}");
    let again = session.call("wipe", json!({"n": 1}));
    let refusal = session.refusal(again);
    assert!(refusal.contains("waiting for approval"), "{refusal}");
    session.sync();
    assert_eq!(session.runs_of("wipe"), 1);
    let lines = session.decisions();
    let outcomes: Vec<(&Value, &Value)> = lines
        .iter()
        .filter(|line| line["tool"] == "wipe")
        .map(|line| (&line["decision"], &line["assurance"]))
        .collect();
    let (approved, timeout) = (json!("approved"), json!("timeout"));
    let by = json!("inbox-terminal");
    let want = [
        (&timeout, &Value::Null),
        (&approved, &by),
        (&timeout, &Value::Null),
        (&timeout, &Value::Null),
    ];
    assert_eq!(outcomes, want);
    session.finish();
}

#[test]
fn an_approval_for_some_minutes_covers_the_same_call_and_no_other() {
    let mut session = ProxyTest::with_inbox().start_without_elicitation();
    let terminal = session.terminal();
    let first = session.call("wipe", json!({"a": 1, "b": 2}));
    let id = terminal.wait_for_item("wipe");
    let output = terminal.approvals(&["approve", &id, "--for", "5", "--json"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let item: Value = serde_json::from_str(&output.out).unwrap();
    assert_eq!(item["verdict"]["cover_seconds"], 300, "{item}");
    session.expect_ran(first);
    session.passes("wipe", json!({"b": 2, "a": 1}));
    for arguments in [
        json!({"a": 1}),
        json!({"a": 1, "b": 3}),
        json!({"a": 1.0, "b": 2}),
    ] {
        let other = session.call("wipe", arguments);
        let id = terminal.wait_for_item("wipe");
        let output = terminal.approvals(&["deny", &id]);
        assert_eq!(output.code, Some(0), "{output:?}");
        session.refusal(other);
    }
    let other = session.call("write_file", json!({"a": 1, "b": 2}));
    terminal.approve(&terminal.wait_for_item("write_file"));
    session.expect_ran(other);
    session.passes("wipe", json!({"a": 1, "b": 2}));
    for wrong in ["0", "1441", "-1", "1.5", "x"] {
        let output = terminal.approvals(&["approve", &id, "--for", wrong]);
        assert_eq!(output.code, Some(2), "{output:?}");
    }
    session.finish();
}

#[test]
fn text_of_a_call_cannot_control_the_terminal() {
    let evil = "\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\u{202e}txt\u{2066}\r\nState:   approved\u{0}\u{200b}";
    let tools = json!([{"name": "wi\u{202e}pe\u{1b}[31m", "description": evil,
                        "inputSchema": {"type": "object"}}]);
    let mut session = ProxyTest::with_inbox().tools(&tools).start();
    session.send(
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": evil, "version": evil}}}),
    );
    session.response(1);
    session.send(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let terminal = session.terminal();
    let call = session.request(
        "tools/call",
        json!({"name": "wi\u{202e}pe\u{1b}[31m", "arguments": {"a": evil, evil.replace('\0', ""): [evil]}, "x\u{9b}": evil}),
    );
    let id = terminal.wait_for_items(1)[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let is_plain = |output: &str| {
        let bad = |c: char| {
            (c.is_control() && c != '\n')
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}')
        };
        assert!(!output.contains(bad), "{output:?}");
        let states = output.lines().filter(|line| line.starts_with("State:"));
        assert!(states.count() <= 1, "{output}");
    };
    is_plain(&terminal.approvals(&["list"]).out);
    let shown = terminal.approvals(&["show", &id]).out;
    is_plain(&shown);
    assert!(shown.contains("State:   waiting"), "{shown}");
    let output = terminal.approvals(&["deny", &id, "--reason", "\u{1b}[31m\u{202e}no\nmore"]);
    is_plain(&output.out);
    let refusal = session.refusal(call);
    assert!(refusal.contains("no"), "{refusal}");
    is_plain(&refusal);
    is_plain(&terminal.approvals(&["show", &id]).out);
    is_plain(&terminal.approvals(&["list", "--history"]).out);
    is_plain(&session.stderr());
    session.finish();
}

#[test]
fn a_call_of_one_mebibyte_can_wait_and_one_over_four_is_refused() {
    let mut session = ProxyTest::with_inbox().start_without_elicitation();
    let terminal = session.terminal();
    let text = "m".repeat(1 << 20);
    let call = session.call("wipe", json!({"text": text}));
    let id = terminal.wait_for_item("wipe");
    let item = terminal.open_items().remove(0);
    assert_eq!(item["call"]["arguments"]["text"], *text);
    let shown = terminal.approvals(&["show", &id]);
    assert_eq!(shown.code, Some(0));
    terminal.approve(&id);
    session.expect_ran(call);
    let text = "m".repeat(4 << 20);
    let call = session.call("wipe", json!({"text": text}));
    let refusal = session.refusal(call);
    assert!(refusal.contains("4 MiB"), "{refusal}");
    assert_eq!(session.runs_of("wipe"), 1);
    session.finish();
}

#[test]
fn more_than_a_thousand_items_are_listed_quickly_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = super::support::Terminal::at(&dir.path().join("state"));
    let _lease = terminal.lease("many");
    let mut store = terminal.store();
    let item = |n: i64| Item {
        asked_ms: now_ms() + n,
        ..item(&format!("{n:032x}"), &format!("tool_{n}"))
    };
    (0..1_000).for_each(|n| store.ask(&item(n), "many").unwrap());
    let start = Instant::now();
    let output = terminal.approvals(&["list"]);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(output.code, Some(0), "{}", output.err);
    assert!(
        output.out.contains("\"tool_999\"") && output.out.contains("\"tool_0\""),
        "{}",
        output.out
    );
    // The list may leave items out, but they can still be named.
    (1_000..1_050).for_each(|n| store.ask(&item(n), "many").unwrap());
    let output = terminal.approvals(&["list"]);
    assert!(output.out.contains("and 50 more"), "{}", output.out);
    let output = terminal.approvals(&["show", &format!("{:032x}", 3)[..]]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let output = terminal.approvals(&["show", &format!("{:032x}", 3)[..30]]);
    assert_eq!(output.code, Some(7), "many ids start like this: {output:?}");
    // A part of the id is enough for them, too.
    store
        .ask(
            &Item {
                id: "feedbeef".repeat(4),
                asked_ms: now_ms() - 1,
                ..item(0)
            },
            "many",
        )
        .unwrap();
    let output = terminal.approvals(&["show", "feedbee"]);
    assert_eq!(output.code, Some(0), "{output:?}");
}

/// Makes a call that a person approves in the client.
fn approved_in_the_client(session: &mut crate::support::Session, n: u32) {
    let id = session.call("wipe", json!({"n": n, "password": "hunter2"}));
    session.approve();
    session.expect_ran(id);
}

#[test]
fn a_verdict_given_in_the_client_is_in_the_history_without_secrets() {
    let mut session = ProxyTest::with_inbox().start();
    session.handshake();
    approved_in_the_client(&mut session, 1);
    let terminal = session.terminal();
    eventually("the history knows of it", || {
        terminal.state_dir().path().join("inbox.db").exists() && terminal.history().len() == 1
    });
    let mut store = terminal.store();
    let kept = store.history(
        &approval_proxy::engines::inbox::store::Filter::default(),
        10,
    );
    let entry = kept.unwrap().remove(0);
    assert_eq!(entry.engine.as_deref(), Some("elicitation"));
    assert_eq!((&*entry.item.server, &*entry.item.tool), ("box", "wipe"));
    assert!(entry.item.call.contains("\"n\":1"), "{}", entry.item.call);
    assert!(!entry.item.call.contains("hunter2"));
    let verdict = entry.verdict.unwrap();
    assert_eq!(verdict.assurance.as_str(), "caller-relayed");
    // Nothing waits in the inbox, and nobody is told that something does.
    assert!(terminal.open_items().is_empty());
    assert!(!session.stderr().contains("waits for your approval"));
}

#[test]
fn an_unusable_state_folder_does_not_stop_calls_approved_in_the_client() {
    let mut session = ProxyTest::with_inbox().start();
    session.handshake();
    std::fs::write(session.path("state"), "no folder").unwrap();
    for n in 0..3 {
        approved_in_the_client(&mut session, n);
    }
    eventually("the operator is warned", || {
        session
            .stderr()
            .contains("the inbox's history is incomplete")
    });
    assert_eq!(session.runs_of("wipe"), 3);
}
