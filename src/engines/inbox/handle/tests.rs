//! Parked items that outlive their session, from one process to the next. Each handle stands for a process.

mod received_elsewhere;

use std::collections::BTreeMap;

use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::*;
use crate::approval::digest::CallDigest;
use crate::approval::item::{Assurance, Choice, Closed, Item, Verdict};
use crate::approval::request::{ApprovalRequest, QuestionKind};
use crate::engines::inbox::identity::{Credentials, ServerIdentity};
use crate::engines::inbox::passphrase::{self, Signer};
use crate::engines::inbox::store::{ApprovalRequests, Decided, Entry, SignedVerdict, State};
use crate::gate::{EngineId, ParkedItem, ResumeKey};
use crate::mcp::tool::KeptCall;
use crate::policy::Risk;
use crate::sys::secret::Secret;
use crate::sys::state_dir::for_test;

const KEY: ResumeKey = ResumeKey([1; 32]);
/// Long enough for the slowest machine. A test that passes does not wait this long.
const LIMIT: Duration = Duration::from_secs(60);

/// The user's folder.
struct Scene {
    dir: TempDir,
    state: StateDir,
}

impl Scene {
    fn new() -> Scene {
        let (dir, state) = for_test();
        Scene { dir, state }
    }

    /// Starts a process.
    fn process(&self) -> InboxHandle {
        self.process_for(identity("srv"))
    }

    fn process_for(&self, identity: Option<Identity>) -> InboxHandle {
        InboxHandle::new(WorkerSettings {
            state_dir: Some(self.dir.path().to_owned()),
            key: load_key(Some(self.dir.path())),
            page: PageServerSettings {
                callbacks: Arc::default(),
                invites_to: None,
                remote: None,
                port: Some(0),
                opens_browser: false,
                approver: None,
                browser: None,
                has_display: false,
                open_folder: None,
            },
            stderr: Stderr::start().unwrap(),
            required: None,
            couriers: Vec::new(),
            redaction: Redaction::default(),
            identity,
        })
    }

    fn store(&self) -> Box<dyn ApprovalRequests> {
        store::open(&self.state, &Redaction::default())
            .unwrap()
            .requests
    }

    fn entry(&self, id: &str) -> Entry {
        self.store().find(id).unwrap().unwrap()
    }

    fn decide(&self, id: &str, verdict: &Verdict, signature: Option<Vec<u8>>) {
        let signed = SignedVerdict {
            verdict: verdict.clone(),
            signature,
            engine: None,
        };
        let decided = self.store().decide(id, &signed).unwrap();
        assert_eq!(decided, Decided::Recorded);
    }

    /// Signs as a person who was shown the item.
    fn sign(&self, signer: &Signer, id: &str, verdict: &Verdict) -> Vec<u8> {
        let shown = self.entry(id).item;
        signer.sign(id, &shown.fingerprint(), verdict, None)
    }

    /// Lets a session park and mark an item, and waits until that is done.
    async fn park(&self, handle: &InboxHandle, id: &str) -> Session {
        let mut session = Session::new();
        let item = request("x").item(id.to_owned(), now_ms(), Some(now_ms() + 60_000));
        session.send(handle, ask(item));
        session.send(handle, park(id));
        let key = KEY;
        let item = id.to_owned();
        session.send(handle, ToEngine::Resume(Resume::Mark { item, key }));
        // Nobody can resume an item that its session still has, so this changes nothing. Its answer comes after the
        // rest.
        assert_eq!(session.find(handle, KEY, "x").await, None);
        session
    }
}

/// A session's end of the connection to the inbox.
struct Session {
    answers: UnboundedSender<FromEngine>,
    from: UnboundedReceiver<FromEngine>,
    lookup: u64,
}

impl Session {
    fn new() -> Session {
        let (answers, from) = unbounded_channel();
        let lookup = 7;
        Session {
            answers,
            from,
            lookup,
        }
    }

    fn send(&self, handle: &InboxHandle, message: ToEngine) {
        handle.send(message, &self.answers).unwrap();
    }

    /// Returns the next answer that is not the URL of a page.
    async fn next(&mut self) -> FromEngine {
        loop {
            let answer = timeout(LIMIT, self.from.recv()).await;
            let answer = answer.expect("the inbox answers").unwrap();
            if !matches!(answer, FromEngine::Listed { .. }) {
                return answer;
            }
        }
    }

    async fn find(
        &mut self,
        handle: &InboxHandle,
        key: ResumeKey,
        argument: &str,
    ) -> Option<ParkedItem> {
        self.lookup += 1;
        let find = Resume::Find {
            lookup: self.lookup,
            key,
            request: Arc::new(request(argument)),
        };
        self.send(handle, ToEngine::Resume(find));
        let mut answer = self.next().await;
        if let FromEngine::Resume(Resumption::Unmarked { .. }) = answer {
            answer = self.next().await;
        }
        let FromEngine::Resume(Resumption::Found { lookup, parked }) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(lookup, self.lookup);
        parked
    }

    async fn take_up(&mut self, handle: &InboxHandle, id: &str) -> bool {
        let item = id.to_owned();
        self.send(handle, ToEngine::Resume(Resume::TakeUp { item }));
        let answer = self.next().await;
        let FromEngine::Resume(Resumption::TakenUp { item, is_done }) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(item, id);
        is_done
    }

    fn leave(&self, handle: &InboxHandle, id: &str) {
        let item = id.to_owned();
        self.send(handle, ToEngine::Resume(Resume::Leave { item }));
    }

    async fn verdict(&mut self, id: &str) -> Verdict {
        let answer = self.next().await;
        let FromEngine::Verdict { item, verdict, .. } = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(item, id);
        verdict
    }

    fn is_any(&mut self, handle: &InboxHandle) -> bool {
        self.send(handle, ToEngine::Resume(Resume::IsAny));
        match self.from.try_recv() {
            Ok(FromEngine::Resume(Resumption::IsAny(is_any))) => is_any,
            other => panic!("{other:?}"),
        }
    }
}

impl Scene {
    /// Runs SQL, as any process of the same user can.
    fn attack(&self, sql: &str) {
        let path = self.dir.path().join("inbox.db");
        let db = rusqlite::Connection::open(path).unwrap();
        db.execute_batch(sql).unwrap();
    }

    fn secret_calls(&self) -> i64 {
        let path = self.dir.path().join("inbox.db");
        let db = rusqlite::Connection::open(path).unwrap();
        let sql = "SELECT count(*) FROM items WHERE whole IS NOT NULL OR resume IS NOT NULL";
        db.query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

fn now_ms() -> i64 {
    Clock::start().now().unix_ms
}

fn identity(command: &str) -> Option<Identity> {
    Some(Identity {
        credentials: Credentials::Stdio,
        server: ServerIdentity::Command {
            command: command.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            cwd: None,
        },
    })
}

fn request(argument: &str) -> ApprovalRequest {
    let line = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"drop","arguments":{{"table":"{argument}"}}}}}}"#
    );
    let call = KeptCall::read(&line).unwrap();
    ApprovalRequest {
        form: None,
        server: "db".into(),
        tool: "drop".into(),
        is_listed: true,
        risk: Risk::High,
        why: "it destroys".into(),
        round: QuestionKind::First,
        title: None,
        description: None,
        hints: String::new(),
        digest: CallDigest::of("db", &call.params(), None),
        call,
        client: None,
        client_title: None,
        covers: Duration::ZERO,
    }
}

fn ask(item: Item) -> ToEngine {
    ToEngine::Ask {
        engine: EngineId::INBOX,
        item: Box::new(item),
        replaces: None,
        opens_browser: false,
    }
}

fn park(id: &str) -> ToEngine {
    ToEngine::Park {
        item: id.to_owned(),
        until_ms: now_ms() + 3_600_000,
    }
}

fn verdict(choice: Choice) -> Verdict {
    Verdict {
        fields: None,
        choice,
        reason: Some("only with token=hunter3".to_owned()),
        cover: Duration::ZERO,
        assurance: Assurance::InboxSession,
        approver: None,
        decided_ms: now_ms(),
    }
}

#[tokio::test]
async fn a_verdict_given_between_two_processes_reaches_the_second_and_is_used_once() {
    let scene = Scene::new();
    let first = scene.process();
    let session = scene.park(&first, "a").await;
    session.leave(&first, "a");
    first.finish(LIMIT);
    assert_eq!(scene.entry("a").state, State::Parked);
    let given = verdict(Choice::Approve);
    scene.decide("a", &given, None);

    let second = scene.process();
    let mut session = Session::new();
    assert!(session.is_any(&second));
    let parked = session.find(&second, KEY, "x").await.unwrap();
    assert_eq!(parked.id, "a");
    assert_eq!(Some(parked.until_ms), scene.entry("a").parked_until_ms);
    assert_eq!(session.verdict("a").await, given);
    // While that call waits, a third process finds and takes up nothing.
    let third = scene.process();
    let mut other = Session::new();
    assert_eq!(other.find(&third, KEY, "x").await, None);
    assert!(session.take_up(&second, "a").await);
    assert!(!session.take_up(&second, "a").await);
    second.finish(LIMIT);
    assert_eq!(other.find(&third, KEY, "x").await, None);
    third.finish(LIMIT);
    // Its text is history now.
    let kept = scene.entry("a").verdict.unwrap().reason.unwrap();
    assert_eq!(kept, "only with token=[redacted]");
}

#[tokio::test]
async fn an_item_that_is_still_open_is_decided_for_the_process_that_resumed_it() {
    let scene = Scene::new();
    let first = scene.process();
    drop(scene.park(&first, "a").await);
    first.finish(LIMIT);
    let second = scene.process();
    let mut session = Session::new();
    assert_eq!(session.find(&second, KEY, "x").await.unwrap().id, "a");
    assert!(session.take_up(&second, "a").await);
    let given = verdict(Choice::Deny);
    scene.decide("a", &given, None);
    assert_eq!(session.verdict("a").await, given);
    second.finish(LIMIT);
}

#[tokio::test]
async fn another_call_another_server_or_an_unknown_user_finds_nothing() {
    let scene = Scene::new();
    let first = scene.process();
    drop(scene.park(&first, "a").await);
    first.finish(LIMIT);
    let mut session = Session::new();
    let same = scene.process();
    let other_key = ResumeKey([2; 32]);
    assert_eq!(session.find(&same, other_key, "x").await, None);
    let other = scene.process_for(identity("other"));
    assert_eq!(session.find(&other, KEY, "x").await, None);
    let unknown = scene.process_for(None);
    assert!(!session.is_any(&unknown));
    assert_eq!(session.find(&unknown, KEY, "x").await, None);
    assert_eq!(session.find(&same, KEY, "x").await.unwrap().id, "a");
    for handle in [same, other, unknown] {
        handle.finish(LIMIT);
    }
}

#[tokio::test]
async fn without_an_identity_a_parked_item_ends_with_its_session() {
    let scene = Scene::new();
    let handle = scene.process_for(None);
    let mut session = scene.park(&handle, "a").await;
    assert!(!session.is_any(&handle));
    assert!(!session.take_up(&handle, "a").await);
    session.leave(&handle, "a");
    handle.finish(LIMIT);
    assert_eq!(scene.entry("a").state, State::Closed(Closed::Withdrawn));
    assert!(!store::may_resume(scene.dir.path()));
}

#[tokio::test]
async fn a_process_that_ends_leaves_what_is_marked_and_withdraws_the_rest() {
    let scene = Scene::new();
    let handle = scene.process();
    let session = scene.park(&handle, "marked").await;
    for id in ["waiting", "parked"] {
        session.send(
            &handle,
            ask(request("x").item(id.to_owned(), now_ms(), None)),
        );
    }
    session.send(&handle, park("parked"));
    handle.finish(LIMIT);
    assert_eq!(scene.entry("marked").state, State::Parked);
    for id in ["waiting", "parked"] {
        assert_eq!(scene.entry(id).state, State::Closed(Closed::Withdrawn));
    }
}

#[tokio::test]
async fn with_a_passphrase_a_verdict_counts_only_for_what_the_resuming_session_would_show() {
    let scene = Scene::new();
    let secret = Secret::new("correct horse".to_owned());
    passphrase::set(&scene.state, None, &secret).unwrap();
    let signer = passphrase::unlock(&scene.state, &secret).unwrap();
    let first = scene.process();
    drop(scene.park(&first, "a").await);
    first.finish(LIMIT);
    let given = Verdict {
        assurance: Assurance::InboxPassphrase,
        ..verdict(Choice::Approve)
    };

    // A person who does not know the passphrase decides.
    scene.decide("a", &given, None);
    let second = scene.process();
    let mut session = Session::new();
    assert_eq!(session.find(&second, KEY, "x").await.unwrap().id, "a");
    let answer = session.next().await;
    assert!(
        matches!(answer, FromEngine::Disregarded { .. }),
        "{answer:?}"
    );
    second.finish(LIMIT);
    let entry = scene.entry("a");
    assert_eq!((entry.state, entry.was_disregarded), (State::Parked, true));

    // The passphrase's owner decides, but the session that resumes the item would have shown something else.
    let signature = scene.sign(&signer, "a", &given);
    scene.decide("a", &given, Some(signature));
    let third = scene.process();
    assert_eq!(session.find(&third, KEY, "y").await.unwrap().id, "a");
    let answer = session.next().await;
    assert!(
        matches!(answer, FromEngine::Disregarded { .. }),
        "{answer:?}"
    );
    third.finish(LIMIT);

    // The same for a session that shows what was signed: the reason, which contains a secret, is unchanged.
    let signature = scene.sign(&signer, "a", &given);
    scene.decide("a", &given, Some(signature));
    let fourth = scene.process();
    assert_eq!(session.find(&fourth, KEY, "x").await.unwrap().id, "a");
    assert_eq!(session.verdict("a").await, given);
    assert!(session.take_up(&fourth, "a").await);
    fourth.finish(LIMIT);
}

#[tokio::test]
async fn another_session_of_the_same_process_resumes_what_one_has_left() {
    let scene = Scene::new();
    let handle = scene.process();
    let session = scene.park(&handle, "a").await;
    let mut other = Session::new();
    assert_eq!(other.find(&handle, KEY, "x").await, None);
    session.leave(&handle, "a");
    assert_eq!(other.find(&handle, KEY, "x").await.unwrap().id, "a");
    let given = verdict(Choice::Approve);
    scene.decide("a", &given, None);
    assert_eq!(other.verdict("a").await, given);
    handle.finish(LIMIT);
}

#[tokio::test]
async fn an_item_whose_session_ended_while_resuming_it_is_left_to_the_next() {
    let scene = Scene::new();
    let handle = scene.process();
    let session = scene.park(&handle, "a").await;
    session.leave(&handle, "a");
    scene.decide("a", &verdict(Choice::Approve), None);
    let gone = Session::new();
    let request = Arc::new(request("x"));
    let (lookup, key) = (1, KEY);
    gone.send(
        &handle,
        ToEngine::Resume(Resume::Find {
            lookup,
            key,
            request,
        }),
    );
    drop(gone);
    let mut next = Session::new();
    let found = async {
        loop {
            if let Some(parked) = next.find(&handle, KEY, "x").await {
                return parked;
            }
        }
    };
    assert_eq!(timeout(LIMIT, found).await.unwrap().id, "a");
    assert_eq!(next.verdict("a").await.choice, Choice::Approve);
    handle.finish(LIMIT);
}

#[tokio::test]
async fn checking_whether_anything_can_be_resumed_opens_and_starts_nothing() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("state");
    let scene = Scene::new();
    let mut handle = scene.process();
    handle.settings.state_dir = Some(folder.clone());
    let mut session = Session::new();
    assert!(!session.is_any(&handle));
    assert!(!folder.exists());
    assert!(matches!(*handle.running(), Running::NotYet));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("resumable"), "").unwrap();
    assert!(session.is_any(&handle));
    assert!(matches!(*handle.running(), Running::NotYet));
    handle.settings.state_dir = None;
    assert!(!session.is_any(&handle));
}

#[tokio::test]
async fn a_verdict_reaches_its_proxy_within_a_tenth_of_a_second_however_long_it_has_waited() {
    let scene = Scene::new();
    let handle = scene.process();
    let mut session = Session::new();
    let mut store = scene.store();
    let mut took = Vec::new();
    for id in ["a", "b", "c"] {
        let item = request("x").item(id.to_owned(), now_ms(), None);
        session.send(&handle, ask(item));
        // Its thread checks often for two seconds after a write.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        let (verdict, signature) = (verdict(Choice::Approve), None);
        let given = SignedVerdict {
            verdict,
            signature,
            engine: None,
        };
        assert_eq!(store.decide(id, &given).unwrap(), Decided::Recorded);
        let clock = Clock::start();
        session.verdict(id).await;
        took.push(clock.elapsed());
    }
    // One of them may be slow because the machine is busy.
    took.sort();
    assert!(took[1] < Duration::from_millis(100), "{took:?}");
    handle.finish(LIMIT);
}

#[tokio::test]
async fn a_process_that_finds_nothing_serves_no_page_and_holds_no_lease() {
    let scene = Scene::new();
    let handle = scene.process();
    let mut session = Session::new();
    assert_eq!(session.find(&handle, KEY, "x").await, None);
    let proxies = scene.dir.path().join("proxies");
    let leases = || std::fs::read_dir(&proxies).unwrap().count();
    // It cleans up a moment after it has answered.
    let tidied = async {
        while leases() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, tidied).await.unwrap();
    assert!(!scene.dir.path().join("page.port").exists());
    handle.finish(LIMIT);
}

#[test]
fn impossible_requests_fail_immediately() {
    let scene = Scene::new();
    let session = Session::new();
    let find = || {
        let request = Arc::new(request("x"));
        let (lookup, key) = (1, KEY);
        ToEngine::Resume(Resume::Find {
            lookup,
            key,
            request,
        })
    };
    let take_up = || {
        let item = "a".to_owned();
        ToEngine::Resume(Resume::TakeUp { item })
    };
    // No question was asked in this process, and its folder does not exist.
    let mut handle = scene.process();
    handle.settings.state_dir = None;
    assert!(handle.send(take_up(), &session.answers).is_err());
    assert!(handle.send(find(), &session.answers).is_err());
    // The queue is full: large messages are refused, small ones get through.
    let (jobs, queue) = queue().unwrap();
    let (_, done) = channel();
    *handle.running() = Running::Yes {
        jobs,
        queued: Arc::new(AtomicUsize::new(MAX_QUEUED)),
        unrecorded: Arc::default(),
        done,
    };
    assert!(handle.send(find(), &session.answers).is_err());
    handle.send(take_up(), &session.answers).unwrap();
    // Its thread has ended, and so has the process.
    drop(queue);
    assert!(handle.send(take_up(), &session.answers).is_err());
    handle.finish(LIMIT);
    for answer in [find(), take_up()] {
        assert!(handle.send(answer, &session.answers).is_err());
    }
}

#[tokio::test]
async fn a_session_learns_that_its_item_cannot_be_marked() {
    for is_known in [true, false] {
        let scene = Scene::new();
        let identity = identity("srv").filter(|_| is_known);
        let handle = scene.process_for(identity);
        let mut session = Session::new();
        session.send(
            &handle,
            ask(request("x").item("a".to_owned(), now_ms(), None)),
        );
        if !is_known {
            session.send(&handle, park("a"));
        }
        // It is not parked, or its user is unknown.
        let (item, key) = ("a".to_owned(), KEY);
        session.send(&handle, ToEngine::Resume(Resume::Mark { item, key }));
        let item = "a".to_owned();
        let answer = FromEngine::Resume(Resumption::Unmarked { item });
        assert_eq!(session.next().await, answer);
        handle.finish(LIMIT);
    }
}

// The original call and a person's reason may contain secrets.
#[tokio::test]
async fn what_nobody_resumed_in_time_is_forgotten_when_a_later_process_looks_for_something() {
    let scene = Scene::new();
    let first = scene.process();
    let session = scene.park(&first, "a").await;
    session.leave(&first, "a");
    first.finish(LIMIT);
    scene.decide("a", &verdict(Choice::Approve), None);
    scene.attack("UPDATE items SET parked_until_ms = 1");
    assert_eq!(scene.secret_calls(), 1);
    let second = scene.process();
    let mut session = Session::new();
    assert!(session.is_any(&second));
    assert_eq!(session.find(&second, KEY, "x").await, None);
    second.finish(LIMIT);
    assert_eq!(scene.secret_calls(), 0);
    assert!(!store::may_resume(scene.dir.path()));
}

// Only the store knows that an approval was used; the signature does not. But the signature covers when it was given.
#[tokio::test]
async fn a_used_yes_that_is_put_back_into_the_store_is_no_younger_for_that() {
    let scene = Scene::new();
    let secret = Secret::new("correct horse".to_owned());
    passphrase::set(&scene.state, None, &secret).unwrap();
    let signer = passphrase::unlock(&scene.state, &secret).unwrap();
    let first = scene.process();
    drop(scene.park(&first, "a").await);
    first.finish(LIMIT);
    let given = Verdict {
        assurance: Assurance::InboxPassphrase,
        decided_ms: now_ms() - 7_200_000,
        ..verdict(Choice::Approve)
    };
    let signature = scene.sign(&signer, "a", &given);
    scene.decide("a", &given, Some(signature));
    scene.attack("CREATE TABLE copy AS SELECT * FROM items");
    let put_back = "DELETE FROM items; INSERT INTO items SELECT * FROM copy";

    let second = scene.process();
    let mut session = Session::new();
    assert_eq!(session.find(&second, KEY, "x").await.unwrap().id, "a");
    assert_eq!(session.verdict("a").await, given);
    assert!(session.take_up(&second, "a").await);
    second.finish(LIMIT);

    scene.attack(put_back);
    let third = scene.process();
    assert_eq!(session.find(&third, KEY, "x").await.unwrap().id, "a");
    assert_eq!(session.verdict("a").await.decided_ms, given.decided_ms);
    third.finish(LIMIT);

    scene.attack(put_back);
    scene.attack("UPDATE items SET decided_ms = decided_ms + 7200000");
    let fourth = scene.process();
    assert_eq!(session.find(&fourth, KEY, "x").await.unwrap().id, "a");
    let answer = session.next().await;
    assert!(
        matches!(answer, FromEngine::Disregarded { .. }),
        "{answer:?}"
    );
    fourth.finish(LIMIT);
}
