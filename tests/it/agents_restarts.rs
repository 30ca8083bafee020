//! Several processes of one agent, at once and one after the other: no decision is lost, and nobody is asked twice.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use approval_proxy::engines::inbox::store::{self, StoredApproval};
use approval_proxy::evidence::redact::Redaction;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::support::{Agent, ProxyTest, eventually, state_folder};

const NAMED: [&str; 2] = ["--agent", "books"];

/// Kills a server in whatever it is doing.
fn kill(mut agent: Agent) {
    agent.session.signal(Signal::KILL);
    agent.session.exit();
}

fn start(state: &std::path::Path) -> Agent {
    Agent::start(state, &NAMED)
}

#[test]
fn a_request_survives_kill_9_and_nobody_is_asked_again() {
    let dir = state_folder();
    let mut agent = start(dir.path());
    let id = agent.asks("Pay 40 EUR");
    let item = agent.person().wait_for_item("request_approval");
    kill(agent);
    let mut agent = start(dir.path());
    assert_eq!(agent.checks(&id)["status"], "pending");
    let after = agent.person().open_items();
    assert_eq!(after.len(), 1);
    assert_eq!(after[0]["id"], *item);
    agent.person().approve(&item);
    assert_eq!(agent.waits(&id)["status"], "approved");
    assert_eq!(agent.records(&id), ["asked", "resumed", "approved"]);
}

#[test]
fn what_a_person_decides_while_no_process_runs_is_found_later() {
    let dir = state_folder();
    let mut agent = start(dir.path());
    let (yes, no) = (agent.asks("Pay 40 EUR"), agent.asks("Pay 50 EUR"));
    let items = agent.person().wait_for_items(2);
    kill(agent);
    let person = super::support::Terminal::at(dir.path());
    for item in items {
        let verdict = match item.to_string().contains("40 EUR") {
            true => "approve",
            false => "deny",
        };
        let id = item["id"].as_str().unwrap();
        let decided = person.approvals(&[verdict, id]);
        assert_eq!(decided.code, Some(0), "{decided:?}");
    }
    let mut agent = start(dir.path());
    assert_eq!(agent.waits(&yes)["status"], "approved");
    assert_eq!(agent.waits(&no)["status"], "denied");
    assert_eq!(agent.records(&yes), ["asked", "resumed", "approved"]);
    kill(agent);
    // And a decision that an agent has had stays.
    let mut agent = start(dir.path());
    assert_eq!(agent.checks(&yes)["status"], "approved");
    assert_eq!(agent.records(&yes), ["asked", "resumed", "approved"]);
}

fn asks_for(agent: &mut Agent, seconds: u64) -> String {
    let request = json!({"action": "Pay 40 EUR", "wait_seconds": 0, "timeout_seconds": seconds});
    let asked = agent.uses("request_approval", request);
    asked["approval_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_request_that_expired_while_no_process_ran_has_expired() {
    let dir = state_folder();
    let mut agent = start(dir.path());
    let id = asks_for(&mut agent, 1);
    agent.person().wait_for_items(1);
    kill(agent);
    std::thread::sleep(Duration::from_millis(1_100));
    let mut agent = start(dir.path());
    let result = agent.waits(&id);
    assert_eq!(result["status"], "expired");
    assert_eq!(result["decided"], false);
    assert!(agent.person().open_items().is_empty());
    assert_eq!(
        agent.person().history().len(),
        1,
        "somebody was asked again"
    );
    assert_eq!(agent.records(&id), ["asked", "resumed", "expired"]);
}

#[test]
fn a_verdict_in_time_counts_although_no_process_ran_until_the_time_was_over() {
    let dir = state_folder();
    let mut agent = start(dir.path());
    let id = asks_for(&mut agent, 2);
    let item = agent.person().wait_for_item("request_approval");
    kill(agent);
    super::support::Terminal::at(dir.path()).approve(&item);
    std::thread::sleep(Duration::from_millis(2_100));
    let mut agent = start(dir.path());
    assert_eq!(agent.waits(&id)["status"], "approved");
    assert_eq!(agent.records(&id), ["asked", "resumed", "approved"]);
    kill(agent);
    // It has been taken up once. What the agent gets now is what it got.
    let mut agent = start(dir.path());
    assert_eq!(agent.checks(&id)["status"], "approved");
    assert_eq!(
        agent.person().history().len(),
        1,
        "somebody was asked again"
    );
}

/// What the store has if a process dies before it has asked anybody.
#[test]
fn a_request_that_was_kept_but_not_asked_is_asked_by_the_next_process() {
    let dir = state_folder();
    let mut agent = start(dir.path());
    let like = agent.asks("Pay 40 EUR");
    agent.person().wait_for_items(1);
    kill(agent);
    let state = approval_proxy::sys::state_dir::StateDir::open(dir.path()).unwrap();
    let mut kept = store::open(&state, &Redaction::default())
        .unwrap()
        .approvals;
    let like = kept.find(&like, "agent:books").unwrap().unwrap();
    let id = format!("ap_{}", "7".repeat(32));
    let body = like.body.replace("40 EUR", "50 EUR");
    let more = StoredApproval {
        id: id.clone(),
        body,
        ..like.clone()
    };
    kept.add(&more).unwrap();
    // And one that nobody can read, as an older version could have left it.
    let broken = format!("ap_{}", "8".repeat(32));
    let more = StoredApproval {
        id: broken.clone(),
        body: "{}".to_owned(),
        ..like
    };
    kept.add(&more).unwrap();
    let mut agent = start(dir.path());
    let items = agent.person().wait_for_items(2);
    let item = items
        .iter()
        .find(|item| item.to_string().contains("50 EUR"));
    agent
        .person()
        .approve(item.unwrap()["id"].as_str().unwrap());
    assert_eq!(agent.waits(&id)["status"], "approved");
    assert_eq!(agent.records(&id), ["resumed", "approved"]);
    assert_eq!(agent.checks(&broken)["status"], "error");
}

#[test]
fn a_request_whose_recipient_is_no_longer_configured_does_not_stop_the_agent() {
    let dir = state_folder();
    let mut agent = start(dir.path());
    let request = json!({"action": "Pay 40 EUR", "wait_seconds": 0, "recipients": ["inbox"]});
    let asked = agent.uses("request_approval", request);
    agent.person().wait_for_items(1);
    kill(agent);
    let test = ProxyTest::new();
    let section = json!({"approvalProxy": {"engines": [{
        "type": "webhook", "name": "ops", "url": "http://127.0.0.1:9/"}]}});
    let config = test.path("user.json");
    std::fs::write(&config, section.to_string()).unwrap();
    let test = test.env("APPROVAL_CONFIG", config.to_str().unwrap());
    let test = test.env("APPROVAL_ENGINES", "").state(dir.path());
    let mut session = test.start_with(&["mcp", "--agent", "books"]);
    session.handshake_as("2025-11-25", json!({}));
    let id = session.call(
        "check_approval",
        json!({"approval_id": asked["approval_id"]}),
    );
    let result = session.response(id)["result"]["structuredContent"].clone();
    assert_eq!(result["status"], "error", "{result}; {}", session.stderr());
    assert!(
        result["reason"].as_str().unwrap().contains("inbox"),
        "{result}"
    );
}

#[test]
fn two_processes_of_an_agent_share_its_requests_and_ask_once() {
    let dir = state_folder();
    let (mut first, mut second) = (start(dir.path()), start(dir.path()));
    let of_first = first.asks("Pay 40 EUR");
    let of_second = second.asks("Pay 50 EUR");
    let items = first.person().wait_for_items(2);
    // Each waits for what the other has asked.
    let wait = |id: &str| json!({"approval_id": id, "wait_seconds": 15});
    let waits = [
        first.session.call("check_approval", wait(&of_second)),
        second.session.call("check_approval", wait(&of_first)),
    ];
    for item in &items {
        first.person().approve(item["id"].as_str().unwrap());
    }
    assert_eq!(first.result(waits[0])["status"], "approved");
    assert_eq!(second.result(waits[1])["status"], "approved");
    for id in [&of_first, &of_second] {
        let mut records = first.records(id);
        records.retain(|state| state != "resumed");
        assert_eq!(records, ["asked", "approved"]);
    }
    assert_eq!(
        first.person().history().len(),
        2,
        "somebody was asked twice"
    );
}

#[test]
fn each_process_of_an_agent_can_withdraw_what_the_other_has_asked() {
    let dir = state_folder();
    let (mut first, mut second) = (start(dir.path()), start(dir.path()));
    for first_asks in [true, false] {
        let (asks, cancels) = match first_asks {
            true => (&mut first, &mut second),
            false => (&mut second, &mut first),
        };
        let id = asks.asks("Pay 40 EUR");
        asks.person().wait_for_items(1);
        let cancelled = cancels.uses("cancel_approval", json!({"approval_id": id}));
        assert_eq!(cancelled["status"], "cancelled");
        assert_eq!(asks.checks(&id)["status"], "cancelled");
        asks.person().wait_for_items(0);
        let mut records = asks.records(&id);
        records.retain(|state| state != "resumed");
        assert_eq!(records, ["asked", "cancelled"]);
    }
}

#[test]
fn when_the_process_that_asks_is_killed_another_one_of_the_agent_takes_over() {
    let dir = state_folder();
    let mut first = start(dir.path());
    let id = first.asks("Pay 40 EUR");
    let item = first.person().wait_for_item("request_approval");
    let mut second = start(dir.path());
    kill(first);
    let wait = json!({"approval_id": id, "wait_seconds": 20});
    let waiting = second.session.call("check_approval", wait);
    eventually("it takes over", || {
        second.records(&id).contains(&"resumed".to_owned())
    });
    second.person().approve(&item);
    assert_eq!(second.result(waiting)["status"], "approved");
    assert_eq!(second.records(&id), ["asked", "resumed", "approved"]);
    assert_eq!(second.person().history().len(), 1);
}

#[test]
fn a_request_of_an_unnamed_process_ends_with_it() {
    let dir = state_folder();
    let mut agent = Agent::start(dir.path(), &[]);
    let id = agent.asks("Pay 40 EUR");
    let item = agent.person().wait_for_item("request_approval");
    kill(agent);
    let mut agent = Agent::start(dir.path(), &[]);
    let error = agent.fails("check_approval", json!({"approval_id": id}));
    assert!(error.contains("approval_id"), "{error}");
    let late = agent.person().approvals(&["approve", &item]);
    assert_ne!(late.code, Some(0), "{late:?}");
    assert_eq!(agent.records(&id), ["asked", "cancelled"]);
    // A process that still runs keeps its own.
    let kept = agent.asks("Pay 50 EUR");
    let other = Agent::start(dir.path(), &[]);
    assert_eq!(agent.checks(&kept)["status"], "pending");
    assert_eq!(other.records(&kept), ["asked"]);
}

#[test]
fn what_ended_a_month_ago_is_forgotten() {
    let dir = state_folder();
    let mut agent = start(dir.path());
    let kept = agent.asks("Pay 40 EUR");
    let state = approval_proxy::sys::state_dir::StateDir::open(dir.path()).unwrap();
    let mut approvals = store::open(&state, &Redaction::default())
        .unwrap()
        .approvals;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_millis()).unwrap();
    let like = approvals.find(&kept, "agent:books").unwrap().unwrap();
    let old = StoredApproval {
        id: "ap_old".to_owned(),
        asked_ms: now - store::KEPT_MS - 2_000,
        expires_ms: now - store::KEPT_MS - 1_000,
        outcome: Some("{}".to_owned()),
        ..like
    };
    approvals.add(&old).unwrap();
    kill(agent);
    let mut agent = start(dir.path());
    agent.fails("check_approval", json!({"approval_id": "ap_old"}));
    assert_eq!(agent.checks(&kept)["status"], Value::from("pending"));
}
