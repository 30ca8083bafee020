//! Verdicts that another process received, because it has the engine's only connection.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::approval::assurance::RequiredAssurance;
use crate::engines::{
    Answer, CarriedVerdict, Courier, CourierContext, CourierSettings, Ending, Rows,
};
use crate::gate::Failure;

const CHAT: EngineId = EngineId::new("chat");
/// What the engine's own verdicts are worth.
const REACH: Assurance = Assurance::InboxPassphrase;

/// What the engine is told about an item.
#[derive(Debug, PartialEq)]
enum Told {
    Ended(Ending),
    Disregarded(String),
}

#[derive(Debug, Clone)]
struct Chat(Arc<Mutex<Sender<Told>>>);

impl CourierSettings for Chat {
    fn courier(&self, _: &CourierContext) -> Box<dyn Courier> {
        Box::new(self.clone())
    }

    fn recognizes(&self, approver: &str) -> bool {
        approver == "chat:ann"
    }

    fn test(&self, _: &CourierContext, _: Duration) -> Result<String, Failure> {
        Ok(String::new())
    }
}

impl Courier for Chat {
    fn carry(&mut self, _: &Item, _: Answer) {}

    fn withdraw(&mut self, _: &str, ending: &Ending) {
        self.tell(Told::Ended(ending.clone()));
    }

    fn disregarded(&mut self, _: &str, approver: Option<&str>, why: &str) {
        let who = approver.unwrap_or_default();
        self.tell(Told::Disregarded(format!("{who}: {why}")));
    }
}

impl Chat {
    fn tell(&self, told: Told) {
        // The test may be over.
        let _ = held(&self.0).send(told);
    }
}

impl Scene {
    /// Starts a process that asks through the chat.
    fn chatting(&self, required: Option<RequiredAssurance>) -> (InboxHandle, Receiver<Told>) {
        let (sender, told) = channel();
        let courier = ConfiguredCourier {
            context: CourierContext {
                name: CHAT,
                ..crate::engines::for_test::context("chat")
            },
            reach: REACH,
            settings: Arc::new(Chat(Arc::new(Mutex::new(sender)))),
        };
        let mut handle = self.process();
        handle.settings.couriers = vec![courier];
        handle.settings.required = required;
        (handle, told)
    }

    /// The rows as another process sees them.
    fn rows(&self, signer: Option<Signer>) -> Rows {
        let folder = Some(self.dir.path().to_owned());
        Rows::new(folder, Redaction::default(), signer).with_reach(REACH)
    }

    fn with_passphrase(&self) -> impl Fn() -> Signer {
        let secret = Secret::new("correct horse".to_owned());
        passphrase::set(&self.state, None, &secret).unwrap();
        let state = self.state.clone();
        move || passphrase::unlock(&state, &secret).unwrap()
    }

    /// Waits until the item is in the store.
    async fn asked(&self, handle: &InboxHandle, id: &str) -> (Session, Item) {
        let mut session = Session::new();
        let item = request("x").item(id.to_owned(), now_ms(), Some(now_ms() + 60_000));
        let ask = ToEngine::Ask {
            engine: CHAT,
            item: Box::new(item.clone()),
            replaces: None,
            opens_browser: false,
        };
        session.send(handle, ask);
        // Its answer comes after the question is stored.
        assert_eq!(session.find(handle, KEY, "another").await, None);
        (session, item)
    }
}

fn carried(approver: &str, choice: Choice) -> CarriedVerdict {
    CarriedVerdict {
        fields: None,
        choice,
        reason: Some("seen".to_owned()),
        approver: Some(approver.to_owned()),
    }
}

async fn disregarded(session: &mut Session) -> &'static str {
    let answer = session.next().await;
    let FromEngine::Disregarded { why, .. } = answer else {
        panic!("{answer:?}");
    };
    why
}

async fn decided(session: &mut Session) -> (EngineId, Verdict) {
    let answer = session.next().await;
    let FromEngine::Verdict {
        engine, verdict, ..
    } = answer
    else {
        panic!("{answer:?}");
    };
    (engine, verdict)
}

#[tokio::test]
async fn without_a_passphrase_it_is_worth_a_row_that_anybody_could_write() {
    let scene = Scene::new();
    let (process, told) = scene.chatting(None);
    let (mut session, _) = scene.asked(&process, "a").await;
    let rows = scene.rows(None);
    let row = rows.find("a").await.unwrap().unwrap();
    assert_eq!(row.state, State::Waiting);
    let given = carried("chat:ann", Choice::Deny);
    let result = rows.decide(&row.item, "chat", given).await.unwrap();
    assert_eq!(result, Decided::Recorded);
    let (engine, verdict) = decided(&mut session).await;
    assert_eq!(engine, CHAT);
    assert_eq!(verdict.assurance, Assurance::InboxTerminal);
    assert_eq!(verdict.approver.as_deref(), Some("chat:ann"));
    process.finish(LIMIT);
    let expected = Ending::Decided {
        choice: Choice::Deny,
        reason: Some("seen".to_owned()),
        approver: Some("chat:ann".to_owned()),
        engine: CHAT,
    };
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [Told::Ended(expected)]);
}

#[tokio::test]
async fn below_the_required_assurance_it_does_not_count_and_the_item_waits_again() {
    let scene = Scene::new();
    let required = RequiredAssurance::WORDS[4].1;
    let (process, told) = scene.chatting(Some(required));
    let (mut session, item) = scene.asked(&process, "a").await;
    let rows = scene.rows(None);
    for choice in [Choice::Approve, Choice::Deny] {
        let given = carried("chat:ann", choice);
        rows.decide(&item, "chat", given).await.unwrap();
        assert!(disregarded(&mut session).await.contains("below"));
        let row = rows.find("a").await.unwrap().unwrap();
        assert_eq!(row.state, State::Waiting);
        assert!(scene.entry("a").was_disregarded);
    }
    let twice: Vec<Told> = told.try_iter().collect();
    let why = "chat:ann: its assurance is below `requireAssurance`".to_owned();
    assert_eq!(
        twice,
        [Told::Disregarded(why.clone()), Told::Disregarded(why)]
    );
    process.finish(LIMIT);
}

#[tokio::test]
async fn somebody_whom_this_process_does_not_know_does_not_count() {
    let scene = Scene::new();
    let (process, _told) = scene.chatting(None);
    let (mut session, item) = scene.asked(&process, "a").await;
    let rows = scene.rows(None);
    let stranger = carried("chat:eve", Choice::Approve);
    rows.decide(&item, "chat", stranger).await.unwrap();
    assert!(disregarded(&mut session).await.contains("approvers"));
    let ann = || carried("chat:ann", Choice::Approve);
    rows.decide(&item, "telegram", ann()).await.unwrap();
    assert!(disregarded(&mut session).await.contains("not configured"));
    let nobody = CarriedVerdict {
        approver: None,
        ..ann()
    };
    rows.decide(&item, "chat", nobody).await.unwrap();
    assert!(disregarded(&mut session).await.contains("approvers"));
    rows.decide(&item, "chat", ann()).await.unwrap();
    assert_eq!(decided(&mut session).await.0, CHAT);
    process.finish(LIMIT);
}

#[tokio::test]
async fn with_a_passphrase_only_what_its_owner_signs_counts_and_in_full() {
    let scene = Scene::new();
    let signer = scene.with_passphrase();
    let required = RequiredAssurance::WORDS[5].1;
    let (process, _told) = scene.chatting(Some(required));
    let (mut session, item) = scene.asked(&process, "a").await;
    let (forger, owner) = (scene.rows(None), scene.rows(Some(signer())));
    assert!(owner.signs() && !forger.signs());
    let ann = || carried("chat:ann", Choice::Approve);
    forger.decide(&item, "chat", ann()).await.unwrap();
    assert!(disregarded(&mut session).await.contains("passphrase"));
    // A stranger's signed click, and one about another call.
    let eve = carried("chat:eve", Choice::Approve);
    owner.decide(&item, "chat", eve).await.unwrap();
    assert!(disregarded(&mut session).await.contains("approvers"));
    let other = Item {
        tool: "read".to_owned(),
        ..item.clone()
    };
    owner.decide(&other, "chat", ann()).await.unwrap();
    assert!(disregarded(&mut session).await.contains("passphrase"));
    owner.decide(&item, "chat", ann()).await.unwrap();
    let (engine, verdict) = decided(&mut session).await;
    assert_eq!((engine, verdict.assurance), (CHAT, REACH));
    process.finish(LIMIT);
}
