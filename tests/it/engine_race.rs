//! Slack, Telegram and a webhook at once, each against its fake, with rmcp's client.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rmcp::ServiceExt as _;
use rmcp::model::{CallToolRequestParams, CallToolResult};
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::TokioChildProcess;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::slack::{APP_TOKEN, BOT_TOKEN, FakeSlack, Posted, buttons};
use super::support::telegram::{BotApi, Message};
use super::support::{OddServer, ProxyTest, response};

/// Within this time, the messages of those who lost must say so.
const SOON: Duration = Duration::from_secs(1);

/// A service that is polled, and has no answer before the test gives one.
struct Service {
    server: OddServer,
    answer: Arc<Mutex<Option<&'static str>>>,
    asked: Arc<AtomicUsize>,
}

impl Service {
    fn start() -> Service {
        let answer: Arc<Mutex<Option<&'static str>>> = Arc::default();
        let asked: Arc<AtomicUsize> = Arc::default();
        let (given, questions) = (Arc::clone(&answer), Arc::clone(&asked));
        let server = OddServer::start(move |request| {
            if request.method == "POST" {
                questions.fetch_add(1, Ordering::SeqCst);
                return response(202, &[("location", "/poll"), ("retry-after", "0")], "");
            }
            match given.lock().unwrap().take() {
                Some(answer) => response(200, &[("content-type", "application/json")], answer),
                None => response(202, &[("retry-after", "0")], ""),
            }
        });
        Service {
            server,
            answer,
            asked,
        }
    }
}

/// Who answers first, and how.
#[derive(Debug, Clone, Copy)]
enum First {
    Slack,
    Telegram,
    Webhook,
}

struct Race {
    slack: FakeSlack,
    telegram: Arc<BotApi>,
    service: Service,
    dir: TempDir,
    client: RunningService<RoleClient, ()>,
}

impl Race {
    async fn start() -> Race {
        let (slack, service) = (FakeSlack::start(), Service::start());
        let telegram = Arc::new(BotApi::start());
        let webhook =
            json!({"type": "webhook", "url": service.server.url("/ask"), "approver": "ops"});
        let test = ProxyTest::with_inbox()
            .env("SLACK_BOT", BOT_TOKEN)
            .env("SLACK_APP", APP_TOKEN)
            .env("TG_TOKEN", &BotApi::token())
            .section(json!({
                "engines": [slack.engine(&json!({})), telegram.engine(), webhook],
                "ask": "race",
            }));
        let (dir, command) = test.into_command();
        let process = TokioChildProcess::new(tokio::process::Command::from(command)).unwrap();
        Race {
            slack,
            telegram,
            service,
            dir,
            client: ().serve(process).await.unwrap(),
        }
    }

    /// Makes a call, and lets one engine answer.
    async fn run(&self, mark: &str, first: First, approves: bool) -> CallToolResult {
        let asked = self.service.asked.load(Ordering::SeqCst);
        let arguments = json!({"mark": mark}).as_object().unwrap().clone();
        let call = CallToolRequestParams::new("wipe").with_arguments(arguments);
        let answering = async {
            // The fakes are waited for on a thread of their own.
            let (slack, telegram) = (self.slack.clone(), Arc::clone(&self.telegram));
            let (questions, text) = (Arc::clone(&self.service.asked), mark.to_owned());
            let shown = tokio::task::spawn_blocking(move || {
                let shown = (slack.card(&text), telegram.message(&text));
                super::support::eventually("the service is asked", || {
                    questions.load(Ordering::SeqCst) > asked
                });
                shown
            });
            let (card, message) = shown.await.unwrap();
            self.answer(first, approves, &card, &message);
            (card, message)
        };
        let (result, (card, message)) = tokio::join!(self.client.call_tool(call), answering);
        let ended = Instant::now();
        let winner = match first {
            First::Slack => "slack",
            First::Telegram => "telegram",
            First::Webhook => "webhook",
        };
        self.settle(ended, winner, &card, &message).await;
        result.unwrap()
    }

    fn answer(&self, first: First, approves: bool, card: &Posted, message: &Message) {
        use super::support::{slack, telegram};
        match (first, approves) {
            (First::Slack, true) => drop(self.slack.click(card, "Approve", slack::OLGA)),
            (First::Slack, false) => self.slack.deny(card, "not now", slack::OLGA),
            (First::Telegram, true) => {
                drop(self.telegram.press(message, "Approve", telegram::OLGA));
            }
            (First::Telegram, false) => {
                self.telegram.reply(message, "not now", telegram::OLGA);
                self.telegram.press(message, "Deny", telegram::OLGA);
            }
            (First::Webhook, _) => {
                let answer = match approves {
                    true => r#"{"action":"accept","content":{"approved":true}}"#,
                    false => {
                        r#"{"action":"accept","content":{"approved":false,"reason":"not now"}}"#
                    }
                };
                *self.service.answer.lock().unwrap() = Some(answer);
            }
        }
    }

    /// Both messages say what became of the question, and have no buttons, soon after the client has the result.
    async fn settle(&self, ended: Instant, winner: &str, card: &Posted, message: &Message) {
        loop {
            let posted = self.slack.now(card);
            let messages = self.telegram.messages();
            let sent = messages.iter().find(|it| it.id == message.id).unwrap();
            let through = |text: &str| winner != "webhook" || text.contains("ops");
            if posted.edits > 0
                && buttons(&posted).is_empty()
                && through(&posted.body.to_string())
                && sent.is_edited
                && sent.buttons.is_empty()
                && through(&sent.text)
            {
                return;
            }
            assert!(ended.elapsed() < SOON, "{} / {sent:?}", posted.body);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn record(&self) -> Value {
        let log = std::fs::read_to_string(self.dir.path().join("audit.jsonl")).unwrap();
        let lines = log
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut decisions = lines.filter(|line| line.get("decision").is_some());
        decisions.next_back().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_first_decides_the_other_messages_say_so_and_the_record_names_the_person() {
    use super::support::{slack, telegram};
    let race = Race::start().await;
    let (olga_there, olga_here) = (
        format!("slack:{}", slack::OLGA),
        format!("telegram:{}", telegram::OLGA),
    );
    let mut runs = 0;
    for (n, (first, approver, assurance)) in [
        (First::Slack, &*olga_there, "channel-authenticated"),
        (First::Telegram, &*olga_here, "channel-authenticated"),
        (First::Webhook, "webhook:ops", "shared-secret"),
    ]
    .into_iter()
    .enumerate()
    {
        for approves in [true, false] {
            let mark = format!("mark-{n}-{approves}");
            let result = race.run(&mark, first, approves).await;
            let text = serde_json::to_string(&result.content).unwrap();
            assert_eq!(result.is_error == Some(true), !approves, "{first:?} {text}");
            assert_eq!(text.contains("not now"), !approves, "{first:?} {text}");
            runs += usize::from(approves);
            let line = race.record();
            let word = if approves { "approved" } else { "denied" };
            let found = ["decision", "approver", "assurance"].map(|key| line[key].clone());
            assert_eq!(
                found,
                [word, approver, assurance].map(Value::from),
                "{line}"
            );
            assert_eq!(
                line["approver_verified"],
                assurance == "channel-authenticated"
            );
            let recorded = std::fs::read_to_string(race.dir.path().join("record")).unwrap();
            assert_eq!(
                recorded.matches("\"tools/call\"").count(),
                runs,
                "{recorded}"
            );
        }
    }
    race.client.cancel().await.unwrap();
}
