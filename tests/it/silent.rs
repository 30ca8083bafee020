//! Clients that declare elicitation, show nothing and wait; and agents that repeat a denied call.

use serde_json::{Value, json};

use super::support::{ProxyTest, Session, approval};

const SILENCE: &str = "APPROVAL_APPROVAL_ALSO_INBOX_AFTER";
const MEMORY: &str = "APPROVAL_APPROVAL_DENY_MEMORY_SECONDS";

fn listed_after(seconds: &str) -> ProxyTest {
    ProxyTest::with_inbox().env(SILENCE, seconds)
}

fn last_decision(session: &Session) -> Value {
    session.decisions().pop().unwrap()
}

/// Makes a call whose prompt stays unanswered. Returns its id, the prompt, and the item in the inbox.
fn listed(session: &mut Session) -> (u64, Value, String) {
    session.handshake();
    let call = session.call("wipe", json!({"n": 7}));
    let prompt = session.prompt();
    let item = session.terminal().wait_for_item("wipe");
    (call, prompt, item)
}

// contract.md, "Clients that answer for themselves": "Silence for 5 s (`approvalAlsoInboxAfter`, 0
// = off): the question is also listed in the inbox […]. Whichever answer comes first counts."
#[test]
fn a_silent_clients_question_can_be_answered_in_the_inbox_and_the_record_says_by_whom() {
    let mut session = listed_after("0.2").start();
    let (call, prompt, item) = listed(&mut session);
    let terminal = session.terminal();
    let output = terminal.approvals(&["approve", &item, "--as", "Ann"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let withdrawn = session.message("notifications/cancelled");
    assert_eq!(withdrawn["params"]["requestId"], prompt["id"]);
    session.expect_ran(call);
    let line = last_decision(&session);
    assert_eq!(
        [&line["decision"], &line["engine"], &line["approver"]],
        [&json!("approved"), &json!("inbox"), &json!("Ann")],
        "{line}"
    );
    assert_eq!(line["approver_verified"], false, "{line}");
    // A late answer does not count.
    session.answer(&prompt, approval());
    session.sync();
    assert_eq!(session.runs_of("wipe"), 1);
    session.finish();
}

#[test]
fn an_answer_in_the_client_closes_the_item_and_leaves_one_history_entry() {
    let mut session = listed_after("0.2").start();
    let (call, prompt, item) = listed(&mut session);
    let terminal = session.terminal();
    session.answer(&prompt, approval());
    session.expect_ran(call);
    terminal.wait_for_items(0);
    super::support::eventually("the history has it", || {
        terminal
            .history()
            .iter()
            .any(|row| row["state"] == "approved")
    });
    let history = terminal.history();
    assert_eq!(history.len(), 1, "{history:?}");
    assert_eq!(history[0]["id"], json!(item));
    assert_eq!(history[0]["verdict"]["engine"], "elicitation");
    assert_eq!(last_decision(&session)["engine"], "elicitation");
    session.finish();
}

#[test]
fn silence_lists_nothing_if_that_is_turned_off() {
    let mut session = listed_after("0").flags(["--timeout", "1"]).start();
    session.handshake();
    let call = session.call("wipe", json!({}));
    session.prompt();
    assert!(session.refusal(call).contains("nobody answered in time"));
    assert!(!session.path("state").join("inbox.db").exists());
    session.finish();
}

#[test]
fn a_denied_call_is_refused_without_asking_until_somebody_approves_its_item() {
    let mut session = ProxyTest::with_inbox().env(MEMORY, "600").start();
    session.handshake();
    let terminal = session.terminal();
    let first = session.call("wipe", json!({"n": 7}));
    let prompt = session.prompt();
    session.answer(&prompt, json!({"action": "decline"}));
    assert!(session.refusal(first).contains("denied by a person"));
    let mut again = || {
        let call = session.call("wipe", json!({"n": 7}));
        let text = session.refusal(call);
        assert!(text.contains("denied without asking"), "{text}");
        assert!(!session.was_prompted(), "{text}");
        text
    };
    let (text, item) = (again(), terminal.wait_for_item("wipe"));
    assert!(
        text.contains(&format!("by approving item {item}")),
        "{text}"
    );
    assert_eq!(again().matches(&item).count(), 1);
    assert_eq!(terminal.open_items().len(), 1);
    terminal.approve(&item);
    session.wait_for_event("parked_verdict");
    let lifted = session.call("wipe", json!({"n": 7}));
    session.expect_ran(lifted);
    // The approval was for one run.
    session.call("wipe", json!({"n": 7}));
    session.prompt();
    assert_eq!(session.runs_of("wipe"), 1);
    session.finish();
}
