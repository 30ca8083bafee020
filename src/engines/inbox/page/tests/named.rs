//! The approver's name: entered once, recorded with every verdict, and always shown as self-declared.

use std::sync::{Arc, Mutex};

use axum::http::StatusCode;

use super::visitor::{Answer, NOW_MS, Visitor, item, usual};
use crate::approval::item::{Assurance, Choice, Item, Verdict};
use crate::engines::inbox::page::{Passphrase, WrongPassphrase, token_hash};
use crate::engines::inbox::store::{
    ApprovalRequests as _, Elsewhere, Logins as _, SignedVerdict, Token,
};
use crate::policy::Risk;

/// Sends the name form. `name` is encoded as browsers do.
async fn call_me(visitor: &Visitor, name: &str) -> Answer {
    let csrf = visitor.csrf().await;
    visitor
        .post("/name", &format!("csrf={csrf}&back=%2F&name={name}"))
        .await
}

fn approver_of(visitor: &Visitor, item: &Item) -> Option<String> {
    visitor.store.entry(&item.id).verdict.unwrap().approver
}

/// Returns the value of the page's field.
async fn field(visitor: &Visitor) -> String {
    let page = visitor.get("/").await.text;
    let (_, field) = page.split_once("name=\"name\"").unwrap();
    let (_, value) = field.split_once("value=\"").unwrap();
    value.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_name_is_entered_once_and_recorded_with_every_verdict_of_its_login() {
    let visitor = Visitor::logged_in(false).await;
    let harmless: Vec<Item> = (1..7)
        .map(|number| Item {
            risk: Risk::Medium,
            ..item(number, "{\"name\":\"delete_user\"}")
        })
        .collect();
    for item in &harmless {
        visitor.ask(item);
    }
    let [before, one, two, three, by_other, after] = &harmless[..] else {
        panic!("six");
    };
    visitor.decide(before, "choice=approve").await;
    assert_eq!(approver_of(&visitor, before), None);

    let answer = call_me(&visitor, "+Zo%C3%AB+").await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (StatusCode::SEE_OTHER, "/")
    );
    assert_eq!(field(&visitor).await, "Zoë");
    visitor.decide(one, "choice=deny").await;
    let csrf = visitor.csrf().await;
    let picks = [two, three].map(|item| format!("&pick-{}={}", item.id, item.fingerprint()));
    let form = format!("csrf={csrf}&choice=approve&confirm=yes{}", picks.concat());
    visitor.post("/decide", &form).await;
    for item in [one, two, three] {
        let name = approver_of(&visitor, item);
        assert_eq!(name.as_deref(), Some("Zoë"), "{}", item.id);
    }
    // Another login at the same page is another approver.
    let other = visitor.and_another().await;
    assert_eq!(field(&other).await, "");
    other.decide(by_other, "choice=approve").await;
    assert_eq!(approver_of(&visitor, by_other), None);
    // An empty field removes the name.
    call_me(&visitor, "+").await;
    visitor.decide(after, "choice=approve").await;
    assert_eq!(approver_of(&visitor, after), None);
}

#[tokio::test]
async fn a_decision_form_cannot_name_another_approver() {
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&usual());
    call_me(&visitor, "Ann").await;
    visitor
        .decide(&usual(), "choice=approve&approver=Bob&name=Bob&as=Bob")
        .await;
    assert_eq!(approver_of(&visitor, &usual()).as_deref(), Some("Ann"));
}

/// Accepts any passphrase, and records the approvers' names that it signed.
struct Noting(Arc<Mutex<Vec<Option<String>>>>);

impl Passphrase for Noting {
    fn sign(
        &self,
        _passphrase: &str,
        _item_id: &str,
        _fingerprint: &str,
        verdict: &Verdict,
    ) -> Result<Vec<u8>, WrongPassphrase> {
        self.0.lock().unwrap().push(verdict.approver.clone());
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn with_a_passphrase_the_name_is_signed() {
    let signed = Arc::default();
    let mut visitor = Visitor::with_passphrase(Noting(Arc::clone(&signed)));
    visitor.log_in().await;
    visitor.ask(&usual());
    call_me(&visitor, "Ann").await;
    visitor
        .decide(&usual(), "choice=approve&passphrase=x")
        .await;
    let verdict = visitor.store.entry(&usual().id).verdict.unwrap();
    assert_eq!(verdict.assurance, Assurance::InboxPassphrase);
    assert_eq!(verdict.approver.as_deref(), Some("Ann"));
    assert_eq!(*signed.lock().unwrap(), [verdict.approver]);
}

#[tokio::test]
async fn only_the_page_s_own_form_changes_a_name() {
    let visitor = Visitor::logged_in(false).await;
    call_me(&visitor, "Ann").await;
    // A program that can write to the store, which has the login, cannot change the name.
    let cookie = visitor.cookie.split_once('=').unwrap().1;
    let hash = visitor.app.session_hash(cookie.get(..64).unwrap());
    let mut store = visitor.store.clone();
    assert!(store.has_token(Token::Session, &hash, NOW_MS).unwrap());
    store.set_approver(Token::Session, &hash, "Bob").unwrap();
    assert_eq!(field(&visitor).await, "Ann");
    let other = visitor.and_another().await.csrf().await;
    for csrf in ["", "00", &other] {
        let form = format!("csrf={csrf}&name=Bob");
        let answer = visitor.post("/name", &form).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{csrf}");
    }
    let csrf = visitor.csrf().await;
    let form = format!("csrf={csrf}&name=Bob");
    let mut foreign = visitor.request("POST", "/name", &form);
    let origin = "http://evil.example".parse().unwrap();
    foreign.headers_mut().insert("origin", origin);
    assert_eq!(visitor.send(foreign).await.status, StatusCode::FORBIDDEN);
    let followed = visitor.get("/name?name=Bob").await;
    assert_eq!(followed.status, StatusCode::METHOD_NOT_ALLOWED);
    let stranger = Visitor::stranger(false);
    let answer = stranger.post("/name", &form).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(field(&visitor).await, "Ann");
}

#[tokio::test]
async fn an_invalid_name_changes_nothing_and_the_page_says_why() {
    let visitor = Visitor::logged_in(false).await;
    call_me(&visitor, "Ann").await;
    let long = "x".repeat(65);
    for (name, why) in [
        (&*long, "at most 64 characters"),
        ("An%E2%80%AEn", "invisible characters"),
        ("An%0An", "invisible characters"),
        ("An%00n", "invisible characters"),
    ] {
        let answer = call_me(&visitor, name).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{name}");
        assert!(answer.text.contains(why), "{}", answer.text);
    }
    assert_eq!(field(&visitor).await, "Ann");
}

#[tokio::test]
async fn a_name_is_never_markup_and_never_a_fact() {
    let visitor = Visitor::logged_in(false).await;
    let evil = "\"><script>x</script>'&";
    let encoded = "%22%3E%3Cscript%3Ex%3C%2Fscript%3E%27%26";
    visitor.ask(&usual());
    visitor.ask(&item(2, "{}"));
    call_me(&visitor, encoded).await;
    visitor.decide(&usual(), "choice=approve").await;
    assert_eq!(approver_of(&visitor, &usual()).as_deref(), Some(evil));
    let path = format!("/item/{}", usual().id);
    for path in ["/", "/fragment", "/history", &path] {
        let page = visitor.get(path).await.text;
        let known = "<script type=\"module\" src=\"/assets/app.js\"></script>";
        let page = page.replace(known, "");
        for part in ["<script", "\"><sc", "script>'"] {
            assert!(!page.contains(part), "{part} in {path}: {page}");
        }
        assert!(page.contains("&lt;script&gt;"), "{path}: {page}");
    }
    let row = visitor.get("/history").await.text;
    assert!(row.contains(" (self-declared), logged in here"), "{row}");
    assert!(!row.contains("you, logged in here"), "{row}");
    let page = visitor.get(&path).await.text;
    assert!(page.contains("The approver gave the name "), "{page}");
    assert!(page.contains("(self-declared, not verified)"), "{page}");
}

#[tokio::test]
async fn every_verdict_shows_its_name_as_self_declared() {
    let visitor = Visitor::logged_in(false).await;
    let mut store = visitor.store.clone();
    let places = [
        (Assurance::InboxTerminal, "in a terminal"),
        (Assurance::InboxPassphrase, "with the passphrase"),
        (Assurance::CallerRelayed, "at the client"),
    ];
    for (number, (assurance, _)) in (1..).zip(places) {
        let verdict = Verdict {
            fields: None,
            choice: Choice::Deny,
            reason: None,
            cover: std::time::Duration::ZERO,
            assurance,
            approver: Some("Ann".to_owned()),
            decided_ms: NOW_MS,
        };
        let item = item(number, "{}");
        if assurance == Assurance::CallerRelayed {
            let engine = "elicitation".to_owned();
            let decided = Elsewhere {
                item,
                verdict,
                engine,
            };
            store.record(&[decided]).unwrap();
            continue;
        }
        visitor.ask(&item);
        let signed = SignedVerdict {
            verdict,
            signature: None,
            engine: None,
        };
        store.decide(&item.id, &signed).unwrap();
    }
    let page = visitor.get("/history").await.text;
    for (_, place) in places {
        let said = format!("&quot;Ann&quot;</bdi> (self-declared), {place}");
        assert!(page.contains(&said), "{said} in {page}");
    }
}

#[tokio::test]
async fn the_name_form_returns_to_the_page_it_was_on_and_to_no_foreign_one() {
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&usual());
    let own = format!("/item/{}", usual().id);
    for (path, back) in [("/", "/"), ("/history", "/history"), (&own, &own)] {
        let page = visitor.get(path).await.text;
        let field = format!("name=\"back\" value=\"{back}\"");
        assert!(page.contains(&field), "{path}: {page}");
    }
    let csrf = visitor.csrf().await;
    for (back, to) in [
        ("/history", "/history"),
        (&*own, &own),
        ("", "/"),
        ("//evil.example", "/"),
        ("https://evil.example/", "/"),
        ("/item/../logout", "/"),
        ("/history%0D%0Ax:y", "/"),
    ] {
        let form = format!("csrf={csrf}&name=Ann&back={back}");
        let answer = visitor.post("/name", &form).await;
        assert_eq!(answer.header("location"), to, "{back}");
    }
}

#[tokio::test]
async fn a_link_may_set_a_name_and_a_new_login_keeps_the_browsers_name() {
    let mut visitor = Visitor::stranger(false);
    visitor.add_login("one time");
    let mut store = visitor.store.clone();
    let hash = token_hash("one time");
    store.set_approver(Token::Login, &hash, "Ann").unwrap();
    visitor.log_in().await;
    assert_eq!(field(&visitor).await, "Ann");
    // The same browser, with a link without a name.
    visitor.log_in().await;
    assert_eq!(field(&visitor).await, "Ann");
    // A link's name replaces the browser's.
    store.set_approver(Token::Login, &hash, "Bob").unwrap();
    visitor.log_in().await;
    assert_eq!(field(&visitor).await, "Bob");
    // An invalid name that another program wrote is ignored.
    let old = visitor.cookie.clone();
    store
        .set_approver(Token::Login, &hash, "An\u{202e}n")
        .unwrap();
    visitor.cookie.clear();
    visitor.log_in().await;
    assert_eq!(field(&visitor).await, "");
    // The name ends with the login.
    visitor.cookie = old;
    let csrf = visitor.csrf().await;
    visitor.post("/logout", &format!("csrf={csrf}")).await;
    visitor.log_in().await;
    assert_eq!(field(&visitor).await, "");
}
