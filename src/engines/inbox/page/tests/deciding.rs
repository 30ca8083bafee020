//! Deciding: only what was shown is decided, once, and with the passphrase if there is one.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::mpsc;

use super::super::{Passphrase, WrongPassphrase};
use super::visitor::{Answer, Visitor, decide_path, item, usual};
use crate::approval::item::{Assurance, Choice, Item, Verdict};
use crate::engines::inbox::store::{ApprovalRequests as _, Closed, ErrorKind, MAX_REASON, State};

#[tokio::test]
async fn an_approval_is_recorded_with_what_it_covers() {
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&usual());
    let answer = visitor
        .decide(&usual(), "choice=approve&minutes=15&reason=+fine+")
        .await;
    let id = usual().id;
    let expected = format!("/?said=approved&item={id}");
    assert_eq!(
        (answer.status, answer.header("location")),
        (StatusCode::SEE_OTHER, &*expected)
    );
    let entry = visitor.store.entry(&id);
    assert_eq!(entry.state, State::Decided(Choice::Approve));
    let verdict = entry.verdict.unwrap();
    assert_eq!(verdict.cover, Duration::from_secs(900));
    assert_eq!(verdict.reason.as_deref(), Some("fine"));
    assert_eq!(verdict.assurance, Assurance::InboxSession);
    assert!(
        visitor
            .get(&expected)
            .await
            .text
            .contains("Approved. The call may run now.")
    );
}

#[tokio::test]
async fn a_denial_covers_nothing_and_keeps_its_reason() {
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&usual());
    let reason = "ä".repeat(MAX_REASON);
    let answer = visitor
        .decide(
            &usual(),
            &format!("choice=deny&minutes=60&from=item&reason={reason}"),
        )
        .await;
    assert_eq!(
        answer.header("location"),
        format!("/item/{}?said=denied", usual().id)
    );
    let verdict = visitor.store.entry(&usual().id).verdict.unwrap();
    assert_eq!(
        (verdict.choice, verdict.cover),
        (Choice::Deny, Duration::ZERO)
    );
    assert_eq!(verdict.reason.unwrap(), "ä".repeat(MAX_REASON / 2));
}

#[tokio::test]
async fn of_two_verdicts_the_first_counts_and_the_other_tab_is_told() {
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&usual());
    visitor.decide(&usual(), "choice=deny").await;
    for (from, expected) in [
        ("item", format!("/item/{}?said=late", usual().id)),
        (
            "list",
            format!("/?said=late&state=denied&item={}", usual().id),
        ),
    ] {
        let answer = visitor
            .decide(&usual(), &format!("choice=approve&from={from}"))
            .await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (StatusCode::SEE_OTHER, &*expected)
        );
        let page = visitor.get(&expected).await.text;
        assert!(page.contains("Too late: already denied."), "{page}");
    }
    assert_eq!(
        visitor.store.entry(&usual().id).state,
        State::Decided(Choice::Deny)
    );
}

#[tokio::test]
async fn a_verdict_after_the_deadline_is_refused_and_the_page_says_that_the_call_did_not_run() {
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&usual());
    visitor
        .store
        .with(|memory| memory.close(&usual().id, Closed::Expired, 5))
        .unwrap();
    let answer = visitor.decide(&usual(), "choice=approve").await;
    let page = visitor.get(answer.header("location")).await.text;
    assert!(page.contains("Too late: the call expired"), "{page}");
}

#[tokio::test]
async fn a_form_that_showed_another_call_decides_nothing() {
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&usual());
    let csrf = visitor.csrf().await;
    let other = item(9, "{}").fingerprint();
    for digest in ["", &other] {
        let form = format!("csrf={csrf}&shown={digest}&choice=approve&reason=because");
        let answer = visitor.post(&decide_path(&usual()), &form).await;
        assert_eq!(answer.status, StatusCode::CONFLICT);
        assert!(
            answer.text.contains("Nothing was decided")
                && answer.text.contains("value=\"because\"")
        );
    }
    assert_eq!(visitor.store.entry(&usual().id).state, State::Waiting);
}

#[tokio::test]
async fn a_form_with_the_same_digest_but_another_text_decides_nothing() {
    let visitor = Visitor::logged_in(true).await;
    visitor.ask(&usual());
    // Attack: a program that can write to the store showed something harmless, and then restored the item.
    let harmless = Item {
        call: r#"{"name":"list_users"}"#.to_owned(),
        ..usual()
    };
    let answer = visitor.decide(&harmless, "choice=approve&passphrase=open+sesame");
    assert_eq!(answer.await.status, StatusCode::CONFLICT);
    assert_eq!(visitor.store.entry(&usual().id).state, State::Waiting);
}

#[tokio::test]
async fn an_invalid_form_decides_nothing() {
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&usual());
    for form in [
        "",
        "choice=",
        "choice=yes",
        "choice=approve&choice=deny",
        "choice=approve&minutes=1",
        "choice=approve&minutes=-5",
        "choice=approve&minutes=999999999999999999999",
        "choice=approve&reason=%ff",
    ] {
        let answer = visitor.decide(&usual(), form).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{form}");
    }
    assert_eq!(visitor.store.entry(&usual().id).state, State::Waiting);
    let unknown = visitor.decide(&item(77, "{}"), "choice=approve").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_parked_call_can_still_be_approved() {
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&usual());
    visitor
        .store
        .with(|memory| memory.park(&usual().id, i64::MAX))
        .unwrap();
    assert!(visitor.get("/").await.text.contains("was refused for now"));
    visitor.decide(&usual(), "choice=approve").await;
    assert_eq!(
        visitor.store.entry(&usual().id).state,
        State::Decided(Choice::Approve)
    );
}

async fn try_passphrase(visitor: &Visitor, passphrase: &str) -> Answer {
    let form = format!("choice=approve&minutes=5&reason=so+be+it&passphrase={passphrase}");
    visitor.decide(&usual(), &form).await
}

#[tokio::test]
async fn with_a_passphrase_only_a_person_who_knows_it_decides() {
    let visitor = Visitor::logged_in(true).await;
    visitor.ask(&usual());
    let shown = visitor.get("/").await.text;
    assert!(shown.contains("type=\"password\" name=\"passphrase\" autocomplete=\"off\""));
    for wrong in ["", "open", "open+sesame+"] {
        let answer = try_passphrase(&visitor, wrong).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{wrong}");
        assert!(answer.text.contains("Wrong passphrase."));
        assert!(
            answer.text.contains("value=\"so be it\"")
                && answer.text.contains("value=\"5\" selected")
        );
        assert!(
            !answer.text.contains("value=\"open"),
            "a passphrase is not sent back"
        );
    }
    assert_eq!(visitor.store.entry(&usual().id).state, State::Waiting);
    let answer = try_passphrase(&visitor, "open+sesame").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let verdict = visitor.store.entry(&usual().id).verdict.unwrap();
    assert_eq!(verdict.assurance, Assurance::InboxPassphrase);
    let expected = format!("{} {} approve", usual().id, usual().fingerprint());
    let signature = visitor.store.with(|memory| memory.signature.clone());
    assert_eq!(signature, Some(expected.into_bytes()));
}

#[tokio::test]
async fn wrong_passphrases_are_limited() {
    let visitor = Visitor::logged_in(true).await;
    visitor.ask(&usual());
    for _ in 0..5 {
        assert_eq!(
            try_passphrase(&visitor, "x").await.status,
            StatusCode::FORBIDDEN
        );
    }
    let answer = try_passphrase(&visitor, "open+sesame").await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(
        answer.text.contains("Too many wrong passphrases")
            && answer.text.contains("value=\"so be it\"")
    );
    assert_eq!(visitor.store.entry(&usual().id).state, State::Waiting);
    visitor.advance(Duration::from_secs(20));
    assert_eq!(
        try_passphrase(&visitor, "open+sesame").await.status,
        StatusCode::SEE_OTHER
    );
}

#[tokio::test]
async fn wrong_passphrases_of_one_session_cost_no_other_its_tries() {
    let visitor = Visitor::logged_in(true).await;
    visitor.ask(&usual());
    let other = visitor.and_another().await;
    for _ in 0..10 {
        try_passphrase(&other, "x").await;
    }
    let answer = try_passphrase(&other, "open+sesame").await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    let answer = try_passphrase(&visitor, "open+sesame").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn correct_passphrases_use_up_no_tries() {
    let visitor = Visitor::logged_in(true).await;
    for number in 0..20 {
        let item = item(number, "{}");
        visitor.ask(&item);
        let form = "choice=approve&passphrase=open+sesame";
        assert_eq!(
            visitor.decide(&item, form).await.status,
            StatusCode::SEE_OTHER
        );
    }
}

/// A passphrase check that waits until the test lets it go on.
struct Slow {
    begun: mpsc::UnboundedSender<()>,
    go_on: Mutex<std::sync::mpsc::Receiver<()>>,
    running: AtomicUsize,
}

impl Passphrase for Slow {
    fn sign(
        &self,
        _passphrase: &str,
        _item_id: &str,
        _fingerprint: &str,
        _verdict: &Verdict,
    ) -> Result<Vec<u8>, WrongPassphrase> {
        let others = self.running.fetch_add(1, Ordering::SeqCst);
        assert_eq!(others, 0, "only one is tried at a time");
        self.begun.send(()).unwrap();
        self.go_on.lock().unwrap().recv().unwrap();
        self.running.fetch_sub(1, Ordering::SeqCst);
        Err(WrongPassphrase)
    }
}

/// Each attempt takes 64 MiB.
#[tokio::test]
async fn whoever_hangs_up_while_a_passphrase_is_tried_has_still_tried_it() {
    let (begun, mut begins) = mpsc::unbounded_channel();
    let (go_on, waits) = std::sync::mpsc::channel();
    let mut visitor = Visitor::with_passphrase(Slow {
        begun,
        go_on: Mutex::new(waits),
        running: AtomicUsize::new(0),
    });
    visitor.log_in().await;
    visitor.ask(&usual());
    for _ in 0..5 {
        let (visitor, mut trying) = (&visitor, Box::pin(try_passphrase(&visitor, "x")));
        tokio::select! {
            _ = &mut trying => panic!("it was not tried"),
            _ = begins.recv() => drop(trying),
        }
        // Another session's attempt must not run at the same time.
        let other = visitor.and_another().await;
        let mut trying = Box::pin(try_passphrase(&other, "x"));
        tokio::select! {
            _ = &mut trying => panic!("it was not tried"),
            _ = begins.recv() => panic!("both at once"),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        go_on.send(()).unwrap();
        go_on.send(()).unwrap();
        assert_eq!(trying.await.status, StatusCode::FORBIDDEN);
        begins.recv().await.unwrap();
    }
    let answer = try_passphrase(&visitor, "x").await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn if_the_store_fails_the_page_says_so_and_nothing_is_decided() {
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&usual());
    let csrf = visitor.csrf().await;
    visitor
        .store
        .with(|memory| memory.broken = Some(ErrorKind::Full));
    let form = format!("csrf={csrf}&shown={}&choice=approve", usual().fingerprint());
    let mut answers = vec![visitor.post(&decide_path(&usual()), &form).await];
    for path in [
        "/",
        "/fragment",
        "/history",
        &format!("/item/{}", usual().id),
    ] {
        answers.push(visitor.get(path).await);
    }
    for answer in answers {
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(
            answer
                .text
                .contains("db.example:5432: there is no space left; free")
        );
    }
    visitor.store.with(|memory| memory.broken = None);
    assert_eq!(visitor.store.entry(&usual().id).state, State::Waiting);
}
