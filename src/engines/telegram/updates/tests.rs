//! Who may decide what with which button, and how long a denial waits for its reason.

use std::sync::mpsc::{Receiver, TryRecvError, channel};

use serde_json::json;
use tokio::sync::watch;

use super::*;
use crate::approval::item::Item;
use crate::engines::for_test::{context, item};
use crate::engines::telegram::carried::Wanted;
use crate::engines::telegram::settings;
use crate::engines::{Answer, TransportSettings};

const OLGA: i64 = 77_310_045;
const BERT: i64 = 5;
const STRANGER: i64 = 99_999_999;
const CHAT: i64 = -1_001_234_567_890;

type Verdicts = Receiver<Result<CarriedVerdict, Failure>>;

/// A bot whose answers to presses go nowhere.
struct Scene {
    shared: Arc<Shared>,
}

/// A question that is open.
struct Asked {
    verdicts: Verdicts,
    buttons: Buttons,
    wanted: watch::Receiver<Wanted>,
}

impl Scene {
    fn new() -> Scene {
        let options = json!({
            "botToken": "7000000001:AAtoken", "chatId": CHAT, "approvers": [OLGA, BERT],
            // Nothing listens there.
            "apiUrl": "http://127.0.0.1:9",
        });
        let transport = TransportSettings::default();
        let settings = settings(options.as_object().unwrap(), &transport);
        Scene {
            shared: settings.unwrap().shared(&context("telegram")),
        }
    }

    fn ask(&self, item: &Item, until: Option<Duration>) -> Asked {
        let (sender, verdicts) = channel();
        let answer = Answer::new(move |answer| sender.send(answer).unwrap());
        let until = until.map(|until| Instant::now() + until);
        let carried = &self.shared.carried;
        let inserted = carried
            .insert(item, answer, until)
            .map_err(|(_, failure)| failure);
        let (buttons, wanted) = inserted.unwrap();
        carried.shows(&item.id, true);
        Asked {
            verdicts,
            buttons,
            wanted,
        }
    }

    async fn handle(&self, update: serde_json::Value) {
        let update = serde_json::from_value(update).unwrap();
        let mut answers = Answers::new(&self.shared);
        // Without a store, what is not ours cannot be looked up.
        let _ = handle(&self.shared, update, &mut answers).await;
        answers.sending.abort_all();
    }

    async fn press(&self, data: &str, user: i64) {
        let message =
            json!({"message_id": 10, "date": 0, "chat": {"id": CHAT, "type": "supergroup"}});
        self.handle(
            json!({"callback_query": {"id": "1", "from": {"id": user, "first_name": "X"},
            "message": message, "data": data}}),
        )
        .await;
    }

    async fn reply(&self, text: &str, user: i64) {
        let chat = json!({"id": CHAT, "type": "supergroup"});
        self.handle(json!({"message": {"message_id": 11, "chat": chat, "from": {"id": user, "first_name": "X"},
            "text": text, "reply_to_message": {"message_id": 10, "chat": chat}}}))
            .await;
    }
}

impl Asked {
    fn data(&self, action: Action) -> String {
        self.buttons.data(action)
    }

    fn is_waiting(&self) -> bool {
        matches!(self.verdicts.try_recv(), Err(TryRecvError::Empty))
    }

    /// Returns the verdict, who gave it, and why.
    fn verdict(&self) -> (Choice, String, Option<String>) {
        let verdict = self.verdicts.try_recv().unwrap().unwrap();
        (verdict.choice, verdict.approver.unwrap(), verdict.reason)
    }
}

fn olga() -> String {
    format!("telegram:{OLGA}")
}

#[tokio::test(start_paused = true)]
async fn only_an_approver_with_the_questions_own_button_decides() {
    let scene = Scene::new();
    let (one, two) = (scene.ask(&item("1"), None), scene.ask(&item("2"), None));
    let (own, other) = (one.data(Action::Approve), two.data(Action::Approve));
    scene.press(&own, STRANGER).await;
    // The token of one question, and what was shown of another.
    let crossed = format!("{}{}", own.split_at(31).0, other.split_at(31).1);
    for forged in ["", "approve", own.split_at(1).1, &crossed, &"a".repeat(63)] {
        scene.press(forged, OLGA).await;
    }
    assert!(one.is_waiting() && two.is_waiting());
    scene.press(&own, OLGA).await;
    assert_eq!(one.verdict(), (Choice::Approve, olga(), None));
    assert!(two.is_waiting());
}

#[tokio::test(start_paused = true)]
async fn the_first_press_counts_and_no_other() {
    let scene = Scene::new();
    let asked = scene.ask(&item("1"), None);
    scene.press(&asked.data(Action::Approve), BERT).await;
    for action in [Action::Approve, Action::Deny, Action::DenyNow] {
        scene.press(&asked.data(action), OLGA).await;
    }
    let approver = format!("telegram:{BERT}");
    assert_eq!(asked.verdict(), (Choice::Approve, approver, None));
    assert_eq!(
        asked.verdicts.try_recv().err(),
        Some(TryRecvError::Disconnected)
    );
}

#[tokio::test(start_paused = true)]
async fn a_question_that_was_sent_without_buttons_cannot_be_decided() {
    let scene = Scene::new();
    let asked = scene.ask(&item("1"), None);
    scene.shared.carried.shows(&item("1").id, false);
    for action in [Action::Approve, Action::Deny, Action::DenyNow] {
        scene.press(&asked.data(action), OLGA).await;
    }
    assert!(asked.is_waiting());
}

#[tokio::test(start_paused = true)]
async fn a_denial_waits_a_minute_for_its_reason() {
    let scene = Scene::new();
    let asked = scene.ask(&item("1"), None);
    scene.press(&asked.data(Action::Deny), OLGA).await;
    assert_eq!(asked.wanted.borrow().face, Face::AskingReason);
    sleep(REASON_TIME - Duration::from_millis(10)).await;
    // Neither another approver nor the same one can turn it into a yes.
    scene.press(&asked.data(Action::Approve), OLGA).await;
    scene.press(&asked.data(Action::Approve), BERT).await;
    scene.press(&asked.data(Action::Deny), BERT).await;
    assert!(asked.is_waiting());
    sleep(Duration::from_millis(20)).await;
    assert_eq!(asked.verdict(), (Choice::Deny, olga(), None));
}

#[tokio::test(start_paused = true)]
async fn a_reply_before_or_after_a_denial_is_its_reason() {
    let scene = Scene::new();
    let asked = scene.ask(&item("1"), None);
    scene.reply("not me", STRANGER).await;
    scene.reply("a first thought", OLGA).await;
    scene.reply("  needs ticket OPS-12 ", OLGA).await;
    scene.reply("my own opinion", BERT).await;
    assert!(asked.is_waiting());
    scene.press(&asked.data(Action::Deny), OLGA).await;
    let reason = Some("needs ticket OPS-12".to_owned());
    assert_eq!(asked.verdict(), (Choice::Deny, olga(), reason));
    scene.shared.carried.end(&item("1").id, |_| String::new());

    let asked = scene.ask(&item("2"), None);
    scene.press(&asked.data(Action::Deny), OLGA).await;
    scene.reply("not me", STRANGER).await;
    scene.reply("not mine", BERT).await;
    scene.reply(" ", OLGA).await;
    assert!(asked.is_waiting());
    scene.reply("too late today", OLGA).await;
    let reason = Some("too late today".to_owned());
    assert_eq!(asked.verdict(), (Choice::Deny, olga(), reason));
}

#[tokio::test(start_paused = true)]
async fn a_denial_need_not_wait_and_never_waits_beyond_the_question() {
    let scene = Scene::new();
    let asked = scene.ask(&item("1"), None);
    scene.press(&asked.data(Action::Deny), OLGA).await;
    scene.press(&asked.data(Action::DenyNow), BERT).await;
    assert_eq!(
        asked.verdict(),
        (Choice::Deny, olga(), None),
        "Olga denied it"
    );
    scene.shared.carried.end(&item("1").id, |_| String::new());

    let asked = scene.ask(&item("2"), Some(Duration::from_secs(10)));
    scene.press(&asked.data(Action::Deny), OLGA).await;
    assert!(asked.is_waiting());
    sleep(Duration::from_millis(9_100)).await;
    assert_eq!(asked.verdict(), (Choice::Deny, olga(), None));
}

#[tokio::test(start_paused = true)]
async fn a_denial_ends_with_its_question() {
    let scene = Scene::new();
    let asked = scene.ask(&item("1"), None);
    scene.press(&asked.data(Action::Deny), OLGA).await;
    scene
        .shared
        .carried
        .end(&item("1").id, |_| "over".to_owned());
    sleep(REASON_TIME * 2).await;
    assert_eq!(
        asked.verdicts.try_recv().err(),
        Some(TryRecvError::Disconnected)
    );
    assert_eq!(asked.wanted.borrow().face, Face::Over("over".to_owned()));
}
