//! Tests the approvals of agents with engines that do what a test says, and time that a test moves.

use std::path::Path;

use serde_json::{Value, json};

use tokio::sync::mpsc::UnboundedSender;

use super::*;
use crate::approval::item::{Assurance, Choice, Closed, Verdict};
use crate::config::{Environment, Flags, Layer, ServerChoice, load};
use crate::gate::{EngineId, FromEngine, Resume, Resumption, ToEngine};

/// Engines that keep what they are told.
#[derive(Debug, Default)]
struct Fake {
    sent: Mutex<Vec<(ToEngine, UnboundedSender<FromEngine>)>>,
    is_broken: bool,
}

impl OutOfBandEngines for Fake {
    fn send(&self, message: ToEngine, answers: &UnboundedSender<FromEngine>) -> Result<(), String> {
        if self.is_broken {
            return Err("it is broken".to_owned());
        }
        if let ToEngine::Resume(Resume::Find { lookup, .. }) = &message {
            let found = Resumption::Found {
                lookup: *lookup,
                parked: None,
            };
            let _ = answers.send(FromEngine::Resume(found));
        }
        held(&self.sent).push((message, answers.clone()));
        Ok(())
    }
}

impl Fake {
    /// The items that were asked about, each with where its answer goes.
    fn asked(&self) -> Vec<(String, UnboundedSender<FromEngine>)> {
        let sent = held(&self.sent);
        let asked = sent.iter().filter_map(|(message, answers)| {
            let ToEngine::Ask { item, .. } = message else {
                return None;
            };
            Some((item.id.clone(), answers.clone()))
        });
        asked.collect()
    }

    fn closed(&self) -> Vec<Closed> {
        let sent = held(&self.sent);
        let closed = sent.iter().filter_map(|(message, _)| {
            let ToEngine::Close { how, .. } = message else {
                return None;
            };
            Some(*how)
        });
        closed.collect()
    }

    /// Returns true if the last message was that an item is taken up.
    fn settled(&self) -> bool {
        let sent = held(&self.sent);
        let last = sent.last().map(|(message, _)| message);
        matches!(last, Some(ToEngine::Resume(Resume::TakeUp { .. })))
    }

    /// Decides about the newest question.
    fn decide(&self, choice: Choice) {
        let (item, answers) = self.asked().pop().unwrap();
        let verdict = Verdict {
            fields: None,
            choice,
            reason: Some("fine".to_owned()),
            cover: Duration::ZERO,
            assurance: Assurance::InboxSession,
            approver: Some("ada".to_owned()),
            decided_ms: 1_790_000_000_000,
        };
        let engine = EngineId::INBOX;
        let sent = answers.send(FromEngine::Verdict {
            engine,
            item,
            verdict,
        });
        sent.unwrap();
    }
}

/// A user's folder.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn state(&self) -> std::path::PathBuf {
        self.0.path().join("state")
    }

    fn config(&self) -> Resolved {
        let state = self.state();
        let variables = [
            ("APPROVAL_STATE_DIR", state.to_str().unwrap()),
            ("APPROVAL_ENGINES", "inbox"),
        ];
        let variables = variables.map(|(name, value)| {
            (
                std::ffi::OsString::from(name),
                std::ffi::OsString::from(value),
            )
        });
        let environment: Environment = variables.into_iter().collect();
        let flags = Flags {
            server: ServerChoice::Command {
                program: "mcp".into(),
                args: Vec::new(),
                name: Some("mcp".to_owned()),
            },
            layer: Layer::default(),
        };
        load(flags, &environment).unwrap()
    }

    fn open(&self, owner: &Owner) -> (Arc<Approvals>, Arc<Fake>) {
        let fake = Arc::new(Fake::default());
        let port = Arc::clone(&fake) as Arc<dyn OutOfBandEngines>;
        let approvals = Approvals::open(&self.config(), port, owner).unwrap();
        approvals.resume().unwrap();
        (approvals, fake)
    }

    fn states(&self) -> Vec<String> {
        states(&self.state())
    }
}

fn states(state: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(state.join("audit/mcp.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines = lines.filter(|line: &Value| line["event"] == "approval");
    lines
        .map(|line| line["state"].as_str().unwrap().to_owned())
        .collect()
}

fn agent() -> Owner {
    Owner::Agent("books".to_owned())
}

fn request(arguments: Value) -> Request {
    Request::read(arguments.as_object().unwrap()).unwrap()
}

fn pay() -> Request {
    request(json!({"action": "Pay 40 EUR"}))
}

/// Lets the tasks do what they can without time passing.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

const LONG: Duration = Duration::from_secs(300);

#[tokio::test(start_paused = true)]
async fn a_verdict_is_recorded_kept_and_told_and_the_question_is_settled() {
    for (choice, status) in [
        (Choice::Approve, Status::Approved),
        (Choice::Deny, Status::Denied),
    ] {
        let folder = Folder::new();
        let (approvals, fake) = folder.open(&agent());
        let id = approvals.request(&pay()).unwrap();
        assert_eq!(folder.states(), ["asked"]);
        settle().await;
        fake.decide(choice);
        let outcome = approvals.wait(&id, LONG).await.unwrap();
        assert_eq!(outcome.status, status);
        assert_eq!(outcome.approver.as_deref(), Some("ada"));
        assert_eq!(folder.states(), ["asked", status.as_str()]);
        settle().await;
        assert!(fake.settled());
        // Whoever asks later gets the same.
        assert_eq!(approvals.wait(&id, Duration::ZERO).await.unwrap(), outcome);
        assert_eq!(approvals.cancel(&id).await.unwrap(), outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_takes_as_long_as_was_asked_for_and_a_request_as_long_as_it_has() {
    let folder = Folder::new();
    let (approvals, fake) = folder.open(&Owner::Process);
    let id = approvals
        .request(&request(json!({"action": "Pay", "timeout_seconds": 60})))
        .unwrap();
    let began = Instant::now();
    let outcome = approvals.wait(&id, Duration::from_secs(45)).await.unwrap();
    assert_eq!(outcome.status, Status::Pending);
    assert_eq!(began.elapsed().as_secs(), 45);
    let outcome = approvals.wait(&id, LONG).await.unwrap();
    assert_eq!(outcome.status, Status::Expired);
    assert_eq!(began.elapsed().as_secs(), 60);
    assert_eq!(folder.states(), ["asked", "expired"]);
    assert_eq!(fake.closed().len(), 1);
    // A verdict that comes too late changes nothing.
    let (item, answers) = fake.asked().pop().unwrap();
    assert!(answers.is_closed(), "somebody still waits for {item}");
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_request_is_withdrawn_everywhere() {
    let folder = Folder::new();
    let (approvals, fake) = folder.open(&agent());
    let id = approvals.request(&pay()).unwrap();
    settle().await;
    let outcome = approvals.cancel(&id).await.unwrap();
    assert_eq!(outcome.status, Status::Cancelled);
    assert_eq!(fake.closed(), [Closed::Withdrawn]);
    assert_eq!(folder.states(), ["asked", "cancelled"]);
}

#[tokio::test(start_paused = true)]
async fn if_no_engine_can_be_asked_the_agent_is_told_and_nothing_waits() {
    let folder = Folder::new();
    let broken = Fake {
        is_broken: true,
        ..Fake::default()
    };
    let approvals = Approvals::open(&folder.config(), Arc::new(broken), &agent()).unwrap();
    approvals.resume().unwrap();
    let id = approvals.request(&pay()).unwrap();
    let outcome = approvals.wait(&id, LONG).await.unwrap();
    assert_eq!(outcome.status, Status::Error);
    assert!(outcome.reason.unwrap().contains("it is broken"));
    assert_eq!(folder.states(), ["asked", "error"]);
}

#[tokio::test(start_paused = true)]
async fn the_thousand_and_first_pending_request_is_refused() {
    let folder = Folder::new();
    let (approvals, fake) = folder.open(&agent());
    let mut ids = Vec::new();
    for _ in 0..store::MAX_PENDING {
        ids.push(approvals.request(&pay()).unwrap());
    }
    let error = approvals.request(&pay()).unwrap_err().to_string();
    assert!(error.contains("1000"), "{error}");
    settle().await;
    assert_eq!(fake.asked().len(), store::MAX_PENDING);
    approvals.cancel(&ids[0]).await.unwrap();
    approvals.request(&pay()).unwrap();
    // Another agent is not concerned.
    let (other, _) = folder.open(&Owner::Process);
    other.request(&pay()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_process_that_ends_withdraws_its_own_requests_and_takes_no_more() {
    let folder = Folder::new();
    let (approvals, fake) = folder.open(&Owner::Process);
    let id = approvals.request(&pay()).unwrap();
    settle().await;
    let waiting = approvals.wait(&id, LONG);
    let (outcome, ()) = tokio::join!(waiting, approvals.close());
    assert_eq!(outcome.unwrap().status, Status::Cancelled);
    assert_eq!(fake.closed(), [Closed::Withdrawn]);
    assert!(matches!(
        approvals.request(&pay()),
        Err(ApprovalsError::Ending)
    ));
    assert_eq!(folder.states(), ["asked", "cancelled"]);
}

#[tokio::test(start_paused = true)]
async fn a_named_agent_that_ends_leaves_its_requests() {
    let folder = Folder::new();
    let (approvals, fake) = folder.open(&agent());
    let id = approvals.request(&pay()).unwrap();
    settle().await;
    let waiting = approvals.wait(&id, LONG);
    let (outcome, ()) = tokio::join!(waiting, approvals.close());
    assert_eq!(outcome.unwrap().status, Status::Pending);
    assert!(fake.closed().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_of_several_processes_asks_and_the_others_hear_of_it() {
    let folder = Folder::new();
    let (leads, asks) = folder.open(&agent());
    let (follows, idle) = folder.open(&agent());
    let id = follows.request(&pay()).unwrap();
    let waiting = follows.wait(&id, LONG);
    let deciding = async {
        while asks.asked().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        asks.decide(Choice::Approve);
    };
    let (outcome, ()) = tokio::join!(waiting, deciding);
    assert_eq!(outcome.unwrap().status, Status::Approved);
    assert!(idle.asked().is_empty(), "it is asked twice");
    assert_eq!(folder.states(), ["asked", "resumed", "approved"]);

    // What one withdraws, the other closes.
    let id = leads.request(&pay()).unwrap();
    settle().await;
    let outcome = follows.cancel(&id).await.unwrap();
    assert_eq!(outcome.status, Status::Cancelled);
    tokio::time::sleep(LOOK_EVERY * 2).await;
    assert_eq!(asks.closed(), [Closed::Withdrawn]);
    let outcome = leads.wait(&id, Duration::ZERO).await.unwrap();
    assert_eq!(outcome.status, Status::Cancelled);
    assert_eq!(folder.states()[3..], ["asked", "cancelled"]);
}

#[tokio::test(start_paused = true)]
async fn when_two_processes_end_an_approval_the_first_end_counts() {
    let folder = Folder::new();
    let (leads, asks) = folder.open(&agent());
    let (follows, _) = folder.open(&agent());
    let id = leads.request(&pay()).unwrap();
    settle().await;
    let cancelled = follows.cancel(&id).await.unwrap();
    assert_eq!(cancelled.status, Status::Cancelled);
    // A person was a little later.
    asks.decide(Choice::Approve);
    settle().await;
    let outcome = leads.wait(&id, LONG).await.unwrap();
    assert_eq!(outcome.status, Status::Cancelled);
    assert_eq!(folder.states(), ["asked", "cancelled"]);
}

#[tokio::test(start_paused = true)]
async fn another_process_takes_over_when_the_one_that_asks_has_gone() {
    let folder = Folder::new();
    let (leads, _) = folder.open(&agent());
    let (follows, asks) = folder.open(&agent());
    let id = leads.request(&pay()).unwrap();
    settle().await;
    leads.close().await;
    held(leads.lead.as_ref().unwrap()).leave();
    tokio::time::sleep(LOOK_EVERY * 3).await;
    asks.decide(Choice::Deny);
    let outcome = follows.wait(&id, LONG).await.unwrap();
    assert_eq!(outcome.status, Status::Denied);
}

#[test]
fn a_token_s_owner_does_not_give_the_token_away_and_differs_between_folders() {
    let token = Secret::new("hunter2".to_owned());
    let one = owner_of_token(&[1; 32], &token);
    assert_eq!(one, owner_of_token(&[1; 32], &token));
    assert_ne!(one, owner_of_token(&[2; 32], &token));
    assert!(one.starts_with("token:") && !one.contains("hunter2"));
}
