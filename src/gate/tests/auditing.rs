//! What the log says about each decision, what refusals say, and how sessions end.

use serde_json::{Value, json};

use super::scene::{Log, Scene, call, secs};
use crate::gate::{Settings, TimeoutAction};
use crate::policy::Rules;

fn denying(change: impl FnOnce(&mut Settings)) -> Scene {
    let mut settings = Settings::default();
    change(&mut settings);
    let rules = Rules {
        deny: vec!["drop_*".into()],
        ..Rules::default()
    };
    Scene::with(settings, rules).legacy("2025-11-25")
}

/// One call for each way a call can end, with its decision and the rest of its record.
fn every_end() -> Vec<(Scene, &'static str, bool, &'static str)> {
    let mut ends = Vec::new();
    let asked = |tool: &str| {
        let mut scene = denying(|_| {});
        scene.client_calls(1, tool, json!({"id": 1}));
        scene
    };
    ends.push((asked("read_note"), "passed", true, "unknown"));
    ends.push((asked("drop_table"), "blocked", false, "high"));
    let mut scene = asked("add_note");
    let prompt = scene.expect_prompt();
    scene.approve(&prompt);
    ends.push((scene, "approved", true, "medium"));
    let mut scene = asked("delete_user");
    let prompt = scene.expect_prompt();
    scene.deny(&prompt);
    ends.push((scene, "denied", false, "high"));
    let mut scene = asked("add_note");
    scene.advance(secs(120));
    ends.push((scene, "timeout", false, "medium"));
    let mut scene = asked("not_listed");
    scene.client_cancels(1);
    ends.push((scene, "cancelled", false, "high"));
    let mut scene = asked("delete_user");
    scene.upstream_closes();
    ends.push((scene, "error", false, "high"));
    let mut scene = denying(|settings| settings.dry_run = true);
    scene.client_calls(1, "delete_user", json!({"id": 1}));
    ends.push((scene, "dry_run", true, "high"));
    ends
}

// contract.md, "Audit log": "A decision line has: `ts` (RFC 3339, UTC, ms, `Z`), `server`, `tool`,
// `args` (redacted), `decision` […], `risk`, `reason`, `mode`, `dry_run`, `forwarded`,
// `duration_ms`".
#[test]
fn every_decision_has_one_record_with_every_key() {
    for (scene, decision, forwarded, risk) in every_end() {
        assert_eq!(scene.decisions().len(), 1, "{:?}", scene.log);
        let line = scene.expect_logged(decision, forwarded);
        assert_eq!(line["server"], "db");
        assert!(line["tool"].is_string());
        assert_eq!(line["args"], json!({"id": 1}), "{line}");
        assert_eq!(line["risk"], risk, "{line}");
        assert!(!line["reason"].as_str().unwrap().is_empty(), "{line}");
        assert_eq!(line["mode"], "destructive");
        assert_eq!(line["dry_run"], decision == "dry_run");
        assert!(line["duration_ms"].as_f64().unwrap() >= 0.0, "{line}");
        let expected = match decision {
            "timeout" => "2025-11-21T01:55:20.000Z",
            // A person takes a second.
            "denied" => "2025-11-21T01:53:21.000Z",
            _ => "2025-11-21T01:53:20.000Z",
        };
        assert_eq!(line["ts"], expected, "{line}");
    }
}

// contract.md, "Audit log": "The line is written before the call is forwarded".
#[test]
fn a_call_is_forwarded_only_with_its_record() {
    for (scene, decision, forwarded, _) in every_end() {
        let went_on = scene
            .upstream
            .iter()
            .any(|text| text.contains("tools/call"));
        assert_eq!(went_on, forwarded, "{decision}");
    }
}

// contract.md, "Audit log": "Values under keys that look like secrets (password, token, […] at any
// depth and in any case style) are replaced, and strings over 500 characters are shortened with
// their length and a digest (`blake3:` or `sha256:`; the fast one serves passed calls".
#[test]
fn secrets_and_long_strings_do_not_reach_the_log() {
    let arguments = json!({
        "user": {"apiKey": "k-1", "Session-Token": ["k-2"], "name": "ann"},
        "PASSWORD": {"old": "k-3"},
        "text": "x".repeat(501),
        "fits": "y".repeat(500),
    });
    let mut scene = Scene::new().legacy("2025-11-25");
    for (id, tool, digest) in [(1, "read_note", "blake3:"), (2, "delete_user", "sha256:")] {
        scene.client_calls(id, tool, arguments.clone());
        if tool == "delete_user" {
            let prompt = scene.expect_prompt();
            scene.approve(&prompt);
        }
        // What runs is untouched.
        assert_eq!(scene.expect_forwarded(id)["params"]["arguments"], arguments);
        let line = scene.decisions().last().unwrap().to_string();
        for secret in ["k-1", "k-2", "k-3", &*"x".repeat(500)] {
            assert!(!line.contains(secret), "{line}");
        }
        assert!(
            line.contains("501 characters") && line.contains(digest),
            "{line}"
        );
        assert!(
            line.contains("ann") && line.contains(&"y".repeat(500)),
            "{line}"
        );
    }
}

// contract.md, "Audit log": "If a line cannot be written, the call is refused".
#[test]
fn a_call_whose_record_cannot_be_written_is_refused() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.log_state = Log::Broken;
    scene.client_calls(1, "read_note", json!({}));
    scene.expect_refused(1, "its audit record could not be written");
    scene.client_calls(2, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.approve(&prompt);
    scene.expect_refused(2, "its audit record could not be written");
    scene.expect_nothing();
    assert!(scene.log.is_empty());
    // Silence that counts as a yes is no exception.
    let mut scene = Scene::set(|settings| settings.timeout_action = TimeoutAction::Approve)
        .legacy("2025-11-25");
    scene.client_calls(3, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.client_reads_all();
    scene.log_state = Log::Broken;
    scene.advance(secs(120));
    scene.expect_withdrawn(&prompt);
    scene.expect_refused(3, "its audit record could not be written");
    scene.expect_nothing();
    // The ids are free again, and calls run again once the log can be written.
    scene.log_state = Log::Writable;
    scene.client_calls(3, "read_note", json!({}));
    scene.expect_forwarded(3);
}

// contract.md, "Audit log": "(`--audit-best-effort` relaxes this for passed calls only)".
#[test]
fn best_effort_lets_only_passed_calls_run_without_a_record() {
    let mut scene = Scene::set(|settings| {
        settings.audit_best_effort = true;
        settings.approval_ttl = secs(60);
    });
    scene.log_state = Log::Broken;
    let mut scene = scene.legacy("2025-11-25");
    scene.client_calls(1, "read_note", json!({}));
    scene.expect_forwarded(1);
    scene.client_calls(2, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.approve(&prompt);
    scene.expect_refused(2, "its audit record could not be written");
    // A cached yes does not let it run either.
    scene.client_calls(3, "delete_user", json!({}));
    scene.expect_refused(3, "its audit record could not be written");
    scene.expect_nothing();
}

// contract.md, "Command line": "`--dry-run`: log what would happen, block nothing".
#[test]
fn a_dry_run_asks_nobody_and_refuses_nothing() {
    let mut scene = denying(|settings| {
        settings.dry_run = true;
        settings.double_confirm = true;
        settings.explain = true;
    });
    for (id, tool, would) in [
        (1, "delete_user", "would be asked about"),
        (2, "drop_table", "would be blocked"),
        (3, "not_listed", "would be asked about"),
    ] {
        scene.client_calls(id, tool, json!({}));
        scene.expect_forwarded(id);
        let line = scene.expect_logged("dry_run", true);
        assert!(
            line["reason"].as_str().unwrap().starts_with(would),
            "{line}"
        );
        assert_eq!(line["dry_run"], true);
    }
    scene.client_calls(4, "read_note", json!({}));
    scene.expect_forwarded(4);
    assert_eq!(scene.expect_logged("passed", true)["dry_run"], true);
    scene.advance(secs(300));
    scene.expect_nothing();
    // Also if nobody could be asked.
    let mut scene = Scene::set(|settings| settings.dry_run = true).legacy("2024-11-05");
    scene.client_calls(1, "delete_user", json!({}));
    scene.expect_forwarded(1);
    scene.expect_logged("dry_run", true);
}

/// The text of every refusal that a client can get, with its source as shown by `--explain`.
fn every_refusal(explain: bool) -> Vec<(String, &'static str)> {
    let with = |change: fn(&mut Settings)| {
        denying(|settings| {
            change(settings);
            settings.explain = explain;
        })
    };
    let mut texts = Vec::new();
    let mut scene = with(|_| {});
    scene.client_calls(1, "drop_table", json!({}));
    texts.push((scene.expect_refused(1, "blocked"), "policy"));
    scene.client_calls(2, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.deny(&prompt);
    texts.push((scene.expect_refused(2, "denied"), "human"));
    scene.client_calls(3, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.advance(secs(120));
    scene.expect_withdrawn(&prompt);
    texts.push((scene.expect_refused(3, "in time"), "timeout"));
    let mut scene = with(|settings| settings.retry.attempts = 0);
    scene.client_calls(4, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.answer_with_error(&prompt);
    texts.push((scene.expect_refused(4, "could not ask"), "no way to ask"));
    let mut scene = with(|_| {}).handshake("2025-11-25", json!({}));
    scene.client_calls(5, "delete_user", json!({}));
    texts.push((scene.expect_refused(5, "elicitation"), "no way to ask"));
    texts
}

// contract.md, "Refusals": "`--explain` adds decision source, risk, mode and rule (`risk=high,
// mode=destructive`)."
#[test]
fn an_explained_refusal_says_who_decided_how_risky_it_looked_and_why() {
    for (text, source) in every_refusal(true) {
        assert!(text.contains("risk=high, mode=destructive"), "{text}");
        assert!(text.contains(&format!("source={source}")), "{text}");
        // Issue 14, point 9.
        assert!(
            text.contains("rule=deny-rule: ")
                || text.contains("rule=destructive-hint: ")
                || text.contains("rule=high-risk-word: "),
            "{text}"
        );
    }
}

// contract.md, "Refusals": "Without it, no policy detail leaks."
#[test]
fn a_refusal_without_explain_reveals_nothing_about_the_policy() {
    for (text, _) in every_refusal(false) {
        for word in [
            "risk",
            "mode",
            "rule",
            "drop_*",
            "destructive",
            "hint",
            "source",
        ] {
            assert!(!text.contains(word), "`{word}` in {text}");
        }
        assert!(
            text.contains("trying again unchanged will not help"),
            "{text}"
        );
    }
}

// contract.md, "Command line": "`--max-pending` (4,096) are caps." invariants.md, 5: "a waiting
// approval delays nobody else".
#[test]
fn the_number_of_calls_that_wait_for_a_person_is_limited() {
    let mut scene = denying(|settings| settings.max_pending = 2);
    scene.client_calls(1, "delete_user", json!({}));
    let first = scene.expect_prompt();
    scene.client_calls(2, "delete_user", json!({}));
    scene.expect_prompt();
    scene.client_calls(3, "delete_user", json!({}));
    assert!(scene.expect_error(3).contains("--max-pending"));
    scene.expect_logged("error", false);
    // Calls that need no person are not delayed, and rules still apply.
    scene.client_calls(4, "read_note", json!({}));
    scene.expect_forwarded(4);
    scene.client_calls(5, "drop_table", json!({}));
    scene.expect_refused(5, "blocked");
    scene.deny(&first);
    scene.expect_refused(1, "denied");
    scene.client_calls(3, "delete_user", json!({}));
    scene.expect_prompt();
    scene.expect_nothing();
}

#[test]
fn the_number_of_requests_that_wait_for_the_upstream_is_limited() {
    let ping = |id: i64| json!({"jsonrpc": "2.0", "id": id, "method": "ping"});
    let mut scene = denying(|settings| settings.max_pending = 2);
    scene.client_calls(1, "read_note", json!({}));
    scene.expect_forwarded(1);
    scene.client_says(&ping(2));
    assert_eq!(scene.take_upstream(), ping(2));
    scene.client_says(&ping(3));
    assert!(scene.expect_error(3).contains("--max-pending"));
    scene.client_calls(4, "read_note", json!({}));
    assert!(scene.expect_error(4).contains("--max-pending"));
    scene.expect_nothing();
    scene.upstream_says(&json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
    scene.take_client();
    scene.client_says(&ping(3));
    assert_eq!(scene.take_upstream(), ping(3));
}

// contract.md, "Processes": "The death of either side ends the other promptly; every pending
// request gets an answer."
#[test]
fn when_the_upstream_goes_every_request_is_answered_once() {
    let mut scene = denying(|_| {});
    scene.client_says(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}));
    scene.take_upstream();
    scene.client_calls(2, "read_note", json!({}));
    scene.expect_forwarded(2);
    scene.client_calls(3, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    let tools = scene.tools.clone();
    scene.tools_change(tools);
    scene.client_says(&call(4, "read_note", json!({})));
    assert!(scene.take_list_request().is_some());
    scene.upstream_closes();
    let got: Vec<Value> = std::iter::from_fn(|| scene.client.pop_front())
        .map(|text| serde_json::from_str(&text).unwrap())
        .collect();
    for id in 1..=4 {
        let answers: Vec<&Value> = got.iter().filter(|message| message["id"] == id).collect();
        assert_eq!(answers.len(), 1, "{got:?}");
        let message = answers[0]["error"]["message"].as_str().unwrap();
        assert!(message.contains("exited with status 1"), "{message}");
    }
    // Besides, only the prompt is withdrawn.
    assert_eq!(got.len(), 5, "{got:?}");
    assert!(
        got.iter()
            .any(|message| message["params"]["requestId"] == prompt.id)
    );
    let ends: Vec<_> = scene
        .decisions()
        .iter()
        .map(|line| (line["request_id"].clone(), line["decision"].clone()))
        .collect();
    let expected = [(2, "passed"), (3, "error"), (4, "error")];
    assert_eq!(ends, expected.map(|(id, word)| (json!(id), json!(word))));
    scene.approve(&prompt);
    scene.advance(secs(300));
    assert!(scene.client.is_empty(), "{:?}", scene.client);
    assert!(
        !scene
            .upstream
            .iter()
            .any(|text| text.contains("tools/call"))
    );
}

// invariants.md, 3: "Doubt denies. A lost client, […]"
#[test]
fn open_questions_are_cancelled_when_the_client_goes() {
    let mut scene = denying(|settings| settings.timeout_action = TimeoutAction::Approve);
    scene.client_calls(1, "delete_user", json!({}));
    scene.expect_prompt();
    scene.client_reads_all();
    scene.client_calls(2, "add_note", json!({}));
    scene.expect_prompt();
    assert_eq!(scene.close_upstream, 0);
    scene.client_closes();
    let words: Vec<_> = scene
        .decisions()
        .iter()
        .map(|line| line["decision"].clone())
        .collect();
    assert_eq!(words, ["cancelled", "cancelled"]);
    assert_eq!(scene.close_upstream, 1);
    scene.advance(secs(300));
    assert!(scene.upstream.is_empty());
    assert_eq!(scene.close_upstream, 1);
}

// invariants.md, 5: what is not gated goes on. If a client writes its calls and closes, they run.
#[test]
fn when_the_client_goes_calls_that_wait_for_the_list_are_still_decided() {
    let mut scene = denying(|_| {});
    scene.client_says(&call(1, "read_note", json!({})));
    scene.client_says(&call(2, "delete_user", json!({})));
    scene.client_closes();
    assert_eq!(scene.close_upstream, 0);
    scene.answer_lists();
    scene.expect_forwarded(1);
    assert!(scene.upstream.is_empty());
    scene.expect_logged("denied", false);
    assert_eq!(scene.close_upstream, 1);
    // A list that never comes does not keep the upstream open forever.
    let mut scene = denying(|_| {});
    scene.client_says(&call(1, "read_note", json!({})));
    scene.client_closes();
    scene.advance(secs(4));
    assert_eq!(scene.close_upstream, 0);
    scene.advance(secs(1));
    assert_eq!(scene.close_upstream, 1);
    scene.client_closes();
    assert_eq!(scene.close_upstream, 1);
}

// contract.md, "Audit log": "Other lines carry `event` (`open`, `refused`, …) and never a `tool`
// key."
#[test]
fn records_that_are_not_decisions_have_an_event_and_never_a_tool() {
    let mut scene = denying(|_| {});
    scene.gate.record_open(scene.now, &[("version", "1")]);
    scene.client_sends(r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"drop_table"}}"#);
    scene.client_sends(r#"{"jsonrpc":"2.0","id":1,"method":"TOOLS/CALL","params":{"name":"x"}}"#);
    scene.client_sends("{\"jsonrpc\":");
    scene.client_sends("[]");
    scene.gate.record_close(scene.now, "the client closed");
    scene.client_closes();
    let events: Vec<_> = scene
        .log
        .iter()
        .map(|line| line["event"].as_str().unwrap())
        .collect();
    assert_eq!(
        events,
        ["open", "refused", "refused", "refused", "refused", "close"]
    );
    for line in &scene.log {
        assert_eq!(line.get("tool"), None, "{line}");
        assert_eq!(line["server"], "db");
        assert!(line["ts"].as_str().unwrap().ends_with('Z'), "{line}");
    }
    assert!(scene.upstream.is_empty());
}

// "Every pending request gets an answer", including one that reuses the id of an earlier call of the batch that was
// released and then could not be recorded.
#[test]
fn a_call_that_could_not_be_recorded_harms_no_other_request() {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_calls(2, "delete_user", json!({}));
    let prompt = scene.expect_prompt();
    scene.person_reads();
    scene.log_state = Log::Broken;
    let answer = json!({"jsonrpc": "2.0", "id": prompt.id,
        "result": {"action": "accept", "content": {"approved": true}}});
    let initialize = json!({"jsonrpc": "2.0", "id": 2, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}});
    scene.client_sends(&format!("[{answer},{initialize}]"));
    scene.expect_refused(2, "could not be written");
    scene.upstream_closes();
    let received = scene.take_client();
    assert_eq!(
        (&received["id"], received["error"].is_object()),
        (&json!(2), true),
        "{received}"
    );
}
