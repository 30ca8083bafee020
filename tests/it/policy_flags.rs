//! contract.md, "Policy" and "Command line": the flags that decide which calls are asked about.

use serde_json::{Value, json};

use super::support::{ProxyTest, Session};

/// Starts a session with these flags and does the handshake.
fn session<const N: usize>(flags: [&str; N]) -> Session {
    let mut session = ProxyTest::new().flags(flags).start();
    session.handshake();
    session
}

/// Calls each tool and returns the decisions: `pass`, `ask` or `block`.
fn decisions_for<const N: usize>(session: &mut Session, tools: [&str; N]) -> [&'static str; N] {
    tools.map(|tool| {
        let id = session.call(tool, json!({}));
        let message = session
            .find(|message| message["id"] == id || message["method"] == "elicitation/create");
        if message["method"] == "elicitation/create" {
            session.answer(&message, json!({"action": "decline"}));
            assert!(session.refusal(id).contains("denied by a person"));
            "ask"
        } else if message["result"]["isError"] == true {
            assert!(message.to_string().contains("was blocked"), "{message}");
            "block"
        } else {
            "pass"
        }
    })
}

const TOOLS: [&str; 5] = ["read", "plain", "write_file", "wipe", "unheard_of"];

#[test]
fn each_mode_asks_about_the_right_tools() {
    for (flags, expected) in [
        (&[][..], ["pass", "pass", "ask", "ask", "ask"]),
        (
            &["--mode", "destructive"],
            ["pass", "pass", "ask", "ask", "ask"],
        ),
        (&["-m", "annotated"], ["pass", "pass", "pass", "ask", "ask"]),
        (
            &["--mode", "cautious"],
            ["pass", "ask", "ask", "ask", "ask"],
        ),
        (&["--mode=all"], ["ask", "ask", "ask", "ask", "ask"]),
        (
            &["--mode", "none"],
            ["pass", "pass", "pass", "pass", "pass"],
        ),
    ] {
        let mut test = ProxyTest::new();
        for flag in flags {
            test = test.flags([flag]);
        }
        let mut session = test.start();
        session.handshake();
        assert_eq!(decisions_for(&mut session, TOOLS), expected, "{flags:?}");
        for (tool, wanted) in TOOLS.into_iter().zip(expected) {
            let line = session.decision(tool);
            let decision = if wanted == "pass" { "passed" } else { "denied" };
            assert_eq!(line["decision"], decision, "{line}");
            assert_eq!(line["forwarded"], wanted == "pass", "{line}");
        }
        session.finish();
    }
}

#[test]
fn every_decision_record_names_its_rule() {
    let custom = json!({"write_file": {"readOnlyHint": true}});
    for (mode, expected) in [
        (
            "destructive",
            [
                "allow-rule",
                "default",
                "operator-hint",
                "deny-rule",
                "unlisted-tool",
            ],
        ),
        (
            "cautious",
            [
                "allow-rule",
                "unknown-verb",
                "operator-hint",
                "deny-rule",
                "unlisted-tool",
            ],
        ),
        (
            "all",
            [
                "allow-rule",
                "mode-all",
                "mode-all",
                "deny-rule",
                "mode-all",
            ],
        ),
        (
            "none",
            [
                "allow-rule",
                "mode-none",
                "mode-none",
                "deny-rule",
                "mode-none",
            ],
        ),
    ] {
        let mut session = ProxyTest::new()
            .rules(json!({"customAnnotations": custom}))
            .flags([
                "--mode",
                mode,
                "--allow",
                "read",
                "--deny",
                "wipe",
                "--explain",
            ])
            .start();
        session.handshake();
        let decisions = decisions_for(&mut session, TOOLS);
        assert_eq!(decisions[3], "block");
        for (tool, rule) in TOOLS.into_iter().zip(expected) {
            let line = session.decision(tool);
            assert_eq!(line["rule"], rule, "{mode}: {line}");
        }
        let refusal = session.is_refused("wipe", json!({}));
        let explained = format!("mode={mode}, rule=deny-rule: the deny rule `wipe` matches]");
        assert!(refusal.contains(&explained), "{refusal}");
        session.finish();
    }
}

// contract.md, "Policy": "1. deny → block. 2. allow → pass." contract.md, "Command line": "`--allow
// PATTERN` and `--deny PATTERN` are repeatable and take comma lists; white space is trimmed."
#[test]
fn allow_and_deny_beat_the_mode_and_deny_beats_allow() {
    let mut session = session([
        "--allow",
        " WIPE , write_*",
        "--allow",
        "plain",
        "--deny",
        "unheard?of",
        "--deny=Read,plain",
    ]);
    assert_eq!(
        decisions_for(&mut session, TOOLS),
        ["block", "block", "pass", "pass", "block"]
    );
    assert!(!session.has_recorded("unheard_of"));
    let line = session.decision("plain");
    assert_eq!(
        (&line["decision"], &line["forwarded"]),
        (&json!("blocked"), &json!(false))
    );
    session.finish();
}

// contract.md, "Command line": "`--dry-run`: log what would happen, block nothing."
#[test]
fn a_dry_run_blocks_nothing_and_logs_what_would_happen() {
    let mut session = session(["--dry-run", "--deny", "plain"]);
    session.passes("wipe", json!({"disk": 1}));
    session.passes("plain", json!({}));
    session.passes("read", json!({}));
    let wipe = session.decision("wipe");
    assert_eq!(wipe["decision"], "dry_run");
    assert_eq!(wipe["dry_run"], true);
    assert_eq!(wipe["forwarded"], true);
    assert!(
        wipe["reason"].as_str().unwrap().contains("would be asked"),
        "{wipe}"
    );
    let plain = session.decision("plain");
    assert!(
        plain["reason"]
            .as_str()
            .unwrap()
            .contains("would be blocked"),
        "{plain}"
    );
    assert_eq!(session.decision("read")["decision"], "passed");
    session.finish();
}

// contract.md, "Refusals": "`--explain` adds decision source, risk, mode and rule (`risk=high,
// mode=destructive`). Without it, no policy detail leaks."
#[test]
fn only_explain_puts_policy_into_a_refusal() {
    for explain in [true, false] {
        let mut test = ProxyTest::new().flags(["--deny", "plain", "--approve-ttl", "60"]);
        if explain {
            test = test.flags(["--explain"]);
        }
        let mut session = test.start();
        session.handshake();
        let id = session.call("wipe", json!({}));
        let prompt = session.prompt();
        let no = json!({"action": "accept", "content": {"approved": false, "reason": "not today"}});
        session.answer(&prompt, no);
        let denied = session.refusal(id);
        // contract.md, "Refusals": "which tool, what became of the call, what the person gave as
        // `reason`, whether it ran, and whether trying again unchanged can help."
        for part in [
            "wipe",
            "denied",
            "not today",
            "trying again unchanged will not help",
        ] {
            assert!(denied.contains(part), "{denied}");
        }
        let blocked = session.is_refused("plain", json!({}));
        assert!(blocked.contains("blocked"), "{blocked}");
        for text in [&denied, &blocked] {
            for detail in ["risk=", "mode=destructive", "source="] {
                assert_eq!(text.contains(detail), explain, "{text}");
            }
            if !explain {
                for detail in ["risk", "mode", "rule", "destructive", "pattern"] {
                    assert!(!text.contains(detail), "{text}");
                }
            }
        }
        assert_eq!(
            denied.contains("risk=high, mode=destructive"),
            explain,
            "{denied}"
        );
        session.finish();
    }
}

// contract.md, "Command line": "`--high-risk-double-confirm`: risk `high` needs two approvals."
#[test]
fn high_risk_needs_two_approvals_with_double_confirm() {
    let mut session = session(["--high-risk-double-confirm"]);
    let id = session.call("wipe", json!({"disk": 1}));
    let first = session.approve();
    let second = session.prompt();
    assert_ne!(first["id"], second["id"]);
    assert!(
        !session.has_recorded(r#""disk""#),
        "one approval is not two"
    );
    session.answer(
        &second,
        json!({"action": "accept", "content": {"approved": true}}),
    );
    assert_eq!(
        session.response(id)["result"]["content"][0]["text"],
        "wipe ran"
    );

    let id = session.call("wipe", json!({"floppy": 1}));
    session.approve();
    let second = session.prompt();
    session.answer(&second, json!({"action": "decline"}));
    assert!(session.refusal(id).contains("denied by a person"));
    assert!(!session.has_recorded("floppy"));

    // Medium risk needs one approval.
    let id = session.call("write_file", json!({}));
    session.approve();
    assert_eq!(
        session.response(id)["result"]["content"][0]["text"],
        "write_file ran"
    );
    session.finish();
}

// contract.md, "Tool list": "the proxy reads all pages itself, before the first decision that depends
// on it, and again after `list_changed`."
#[test]
fn hints_come_from_all_pages_of_the_current_list() {
    let tool = |name: &str, annotations: Value| json!({"name": name, "inputSchema": {}, "annotations": annotations});
    let harmless = json!({"readOnlyHint": true});
    let first = json!([
        tool("alpha", harmless.clone()),
        tool("beta", harmless.clone())
    ]);
    let test = ProxyTest::new().tools(&first).upstream(["--pages"]);
    let mut session = test.start();
    session.handshake();
    assert_eq!(
        decisions_for(&mut session, ["beta", "alpha", "gamma"]),
        ["pass", "pass", "ask"]
    );

    let second = json!([
        tool("alpha", harmless.clone()),
        tool("beta", json!({"destructiveHint": true})),
        tool("gamma", harmless),
    ]);
    std::fs::write(session.path("tools.json"), second.to_string()).unwrap();
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    session.script(json!({"do": "say", "text": format!("{changed}\n")}));
    session.message("notifications/tools/list_changed");
    assert_eq!(
        decisions_for(&mut session, ["beta", "alpha", "gamma"]),
        ["ask", "pass", "pass"]
    );
    // The client sees neither the proxy's own requests nor their answers.
    assert_eq!(session.take_skipped(), Vec::<Value>::new());
    session.finish();
}

// contract.md, "Tool list": "A call that needs the list waits for it five seconds at most. After
// that every call that depends on the list is asked about, risk high".
#[test]
fn if_the_list_fails_or_hangs_every_tool_is_asked_about() {
    for how in ["error", "hang"] {
        let mut session = ProxyTest::new().upstream(["--list", how]).start();
        session.handshake();
        let start = std::time::Instant::now();
        assert_eq!(decisions_for(&mut session, ["read"]), ["ask"], "{how}");
        assert!(start.elapsed().as_secs() < 8);
        let line = session.decision("read");
        assert_eq!(line["risk"], "high");
        assert_eq!(line["rule"], "list-unknown");
        session.finish();
    }
}

// contract.md, "Policy": "An operator's `customAnnotations` lie over the upstream's hints and win".
#[test]
fn the_operators_annotations_win() {
    let annotations = json!({"wipe": {"readOnlyHint": true}, "read": {"destructiveHint": true}});
    let mut session = ProxyTest::new()
        .rules(json!({"customAnnotations": annotations}))
        .start();
    session.handshake();
    assert_eq!(
        decisions_for(&mut session, ["wipe", "read"]),
        ["pass", "ask"]
    );
    session.finish();
}
