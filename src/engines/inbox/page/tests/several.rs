//! Deciding several calls at once: each gets its own verdict, and only some may be approved together.

use axum::http::StatusCode;

use super::visitor::{Answer, NOW_MS, Visitor, item};
use crate::approval::item::{Assurance, Choice, Item};
use crate::engines::inbox::store::{Closed, State};
use crate::policy::Risk;

/// Returns an item without high risk.
fn harmless(number: u32) -> Item {
    let call = format!(r#"{{"name":"delete_user","arguments":{{"id":{number}}}}}"#);
    Item {
        risk: Risk::Medium,
        ..item(number, &call)
    }
}

async fn decide(visitor: &Visitor, items: &[&Item], rest: &str) -> Answer {
    let csrf = visitor.csrf().await;
    let picks = items.iter();
    let picks = picks.map(|item| format!("&pick-{}={}", item.id, item.fingerprint()));
    let form = format!("csrf={csrf}{}&{rest}", picks.collect::<String>());
    visitor.post("/decide", &form).await
}

fn state(visitor: &Visitor, item: &Item) -> State {
    visitor.store.entry(&item.id).state
}

#[tokio::test]
async fn selected_calls_are_listed_in_full_and_decided_only_after_confirmation() {
    let visitor = Visitor::logged_in(false).await;
    let long = format!("begin {} end", "line\n".repeat(400));
    let call = serde_json::json!({"name": "delete_user", "arguments": {"text": long}});
    let (one, two) = (
        harmless(1),
        Item {
            call: call.to_string(),
            ..harmless(2)
        },
    );
    for item in [&one, &two] {
        visitor.ask(item);
    }
    let page = decide(&visitor, &[&one, &two], "choice=approve").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("Approve 2 calls?"), "{}", page.text);
    assert!(page.text.contains("data-n=\"401\"> end</span>"));
    assert!(!page.text.contains("data-fold"), "all of it is in sight");
    for item in [&one, &two] {
        assert_eq!(state(&visitor, item), State::Waiting);
        assert!(page.text.contains(&item.fingerprint()));
    }
    let rest = "choice=approve&confirm=yes&reason=fine&minutes=60";
    let answer = decide(&visitor, &[&one, &two], rest).await;
    let expected = "/?said=several&choice=approve&done=2&late=0";
    assert_eq!(answer.header("location"), expected);
    for item in [&one, &two] {
        let verdict = visitor.store.entry(&item.id).verdict.unwrap();
        assert_eq!(verdict.choice, Choice::Approve);
        assert_eq!(verdict.reason.as_deref(), Some("fine"));
        assert!(verdict.cover.is_zero(), "it covers nothing further");
    }
    let page = visitor.get(expected).await.text;
    assert!(page.contains("2 calls approved."), "{page}");
}

#[tokio::test]
async fn a_risky_call_is_never_approved_with_others_but_may_be_denied() {
    let visitor = Visitor::logged_in(false).await;
    let (one, risky) = (harmless(1), item(2, r#"{"name":"delete_user"}"#));
    visitor.ask(&one);
    visitor.ask(&risky);
    for rest in ["choice=approve", "choice=approve&confirm=yes"] {
        let answer = decide(&visitor, &[&one, &risky], rest).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.text.contains("approved one by one"));
        assert_eq!(state(&visitor, &one), State::Waiting);
    }
    let answer = decide(&visitor, &[&one, &risky], "choice=deny&confirm=yes").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    for item in [&one, &risky] {
        assert_eq!(state(&visitor, item), State::Decided(Choice::Deny));
    }
}

#[tokio::test]
async fn what_the_list_does_not_show_whole_is_not_approved_with_others() {
    let visitor = Visitor::logged_in(false).await;
    let call = serde_json::json!({"name": "delete_user", "arguments": {"t": "x".repeat(20_000)}});
    let large = Item {
        call: call.to_string(),
        ..harmless(1)
    };
    visitor.ask(&large);
    let answer = decide(&visitor, &[&large], "choice=approve&confirm=yes").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(state(&visitor, &large), State::Waiting);
}

#[tokio::test]
async fn one_that_is_not_what_was_shown_keeps_all_from_being_decided() {
    let visitor = Visitor::logged_in(false).await;
    let (one, two) = (harmless(1), harmless(2));
    visitor.ask(&one);
    visitor.ask(&two);
    let other = Item {
        why: "another".to_owned(),
        ..two.clone()
    };
    for choice in ["approve", "deny"] {
        let rest = format!("choice={choice}&confirm=yes");
        let answer = decide(&visitor, &[&one, &other], &rest).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(
            answer.text.contains("not what was shown"),
            "{}",
            answer.text
        );
    }
    assert_eq!(state(&visitor, &one), State::Waiting);
}

#[tokio::test]
async fn calls_that_no_longer_wait_are_counted_as_too_late() {
    let visitor = Visitor::logged_in(false).await;
    let (one, gone) = (harmless(1), harmless(2));
    visitor.ask(&one);
    visitor.ask(&gone);
    let close = |memory: &mut super::memory::Memory| {
        use crate::engines::inbox::store::ApprovalRequests as _;
        memory.close(&gone.id, Closed::Withdrawn, NOW_MS).unwrap();
    };
    visitor.store.with(close);
    let page = decide(&visitor, &[&one, &gone], "choice=approve").await;
    assert!(page.text.contains("Approve 1 call?") && page.text.contains("no longer wait"));
    let answer = decide(&visitor, &[&one, &gone], "choice=approve&confirm=yes").await;
    let location = answer.header("location").to_owned();
    assert_eq!(location, "/?said=several&choice=approve&done=1&late=1");
    assert!(visitor.get(&location).await.text.contains("came too late"));
}

#[tokio::test]
async fn one_passphrase_signs_each_of_them_and_a_wrong_one_signs_none() {
    let visitor = Visitor::logged_in(true).await;
    let items = [harmless(1), harmless(2), harmless(3)];
    items.iter().for_each(|item| visitor.ask(item));
    let all: Vec<&Item> = items.iter().collect();
    let form = "choice=approve&confirm=yes&reason=so&passphrase=";
    let answer = decide(&visitor, &all, &format!("{form}wrong")).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.text.contains("Wrong passphrase."));
    assert!(answer.text.contains("value=\"so\"") && !answer.text.contains("wrong\""));
    let answer = decide(&visitor, &all, &format!("{form}open+sesame")).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    for item in &items {
        let verdict = visitor.store.entry(&item.id).verdict.unwrap();
        assert_eq!(verdict.assurance, Assurance::InboxPassphrase);
    }
    let last = format!("{} {} approve", items[2].id, items[2].fingerprint());
    let signature = visitor.store.with(|memory| memory.signature.clone());
    assert_eq!(signature, Some(last.into_bytes()), "each has its own");
}

#[tokio::test]
async fn a_form_with_no_items_too_many_or_another_sessions_token_decides_nothing() {
    let visitor = Visitor::logged_in(false).await;
    let items: Vec<Item> = (0..101).map(harmless).collect();
    items.iter().for_each(|item| visitor.ask(item));
    let all: Vec<&Item> = items.iter().collect();
    for (some, rest) in [
        (&all[..0], "choice=deny&confirm=yes"),
        (&all[..], "choice=deny&confirm=yes"),
        (&all[..1], "confirm=yes"),
        (&all[..1], "choice=deny&confirm=yes&pick-x=y"),
    ] {
        let answer = decide(&visitor, some, rest).await;
        assert!(answer.status.is_client_error(), "{rest}");
    }
    let item = &items[0];
    let form = format!(
        "csrf=other&choice=deny&confirm=yes&pick-{}={}",
        item.id,
        item.fingerprint()
    );
    assert_eq!(
        visitor.post("/decide", &form).await.status,
        StatusCode::FORBIDDEN
    );
    let stranger = Visitor::stranger(false);
    assert_eq!(
        stranger.post("/decide", &form).await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(state(&visitor, item), State::Waiting);
    let answer = decide(&visitor, &all[..100], "choice=deny&confirm=yes").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
}
