//! Items with a form: its fields are shown, and a yes counts only with answers that fit.

use axum::http::StatusCode;

use super::visitor::{Visitor, usual};
use crate::approval::item::{Choice, Item};
use crate::engines::inbox::store::State;
use crate::policy::Risk;

const FORM: &str = r#"{
    "type": "object",
    "properties": {
        "amount": {"type": "integer", "minimum": 1, "default": 3},
        "copies": {"type": "array", "items": {"type": "string", "enum": ["Ann", "Bob"]}},
        "limit": {"type": "boolean"},
        "po": {"type": "string", "title": "Passphrase", "description": "<script>alert(1)</script>", "minLength": 3},
        "speed": {"type": "string", "oneOf": [{"const": "s", "title": "slow"}, {"const": "f", "title": "fast \"now\""}]}
    },
    "required": ["po", "limit"]
}"#;

fn with_form() -> Item {
    Item {
        form: Some(FORM.to_owned()),
        risk: Risk::Medium,
        ..usual()
    }
}

#[tokio::test]
async fn what_the_person_fills_in_goes_to_the_proxy_as_values_of_the_fields_types() {
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&with_form());
    let page = visitor.get("/").await.text;
    for part in [
        "name=\"field-0\"",
        "type=\"number\" step=\"1\" min=\"1\"",
        "value=\"3\"",
        "name=\"field-1-1\"",
        "name=\"field-3\"",
        "minlength=\"3\"",
        "value=\"deny\" formnovalidate",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    // The agent's words: in quotes, and never markup.
    assert!(
        page.contains("<bdi class=\"name\">&quot;Passphrase&quot;</bdi>"),
        "{page}"
    );
    assert!(!page.contains("<script>alert"), "{page}");
    let rest = "choice=approve&field-0=7&field-1-0=on&field-2=1&field-3=PO-1+%C3%BC&field-4=1";
    let answer = visitor.decide(&with_form(), rest).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let verdict = visitor.store.entry(&usual().id).verdict.unwrap();
    assert_eq!(verdict.choice, Choice::Approve);
    assert_eq!(
        verdict.fields.as_deref(),
        Some(r#"{"amount":7,"copies":["Ann"],"limit":false,"po":"PO-1 ü","speed":"f"}"#)
    );
}

#[tokio::test]
async fn an_answer_that_does_not_fit_decides_nothing_and_is_shown_again_to_be_mended() {
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&with_form());
    for (rest, says) in [
        ("field-2=0", "the field &quot;po&quot; must be filled in"),
        (
            "field-2=0&field-3=ab",
            "the field &quot;po&quot; must be a text of at least 3 characters",
        ),
        (
            "field-3=PO-7",
            "the field &quot;limit&quot; must be filled in",
        ),
        (
            "field-2=0&field-3=PO-7&field-0=0.5",
            "the field &quot;amount&quot; must be a whole number, at least 1",
        ),
        (
            "field-2=0&field-3=PO-7&field-0=1e",
            "the field &quot;amount&quot;",
        ),
        ("field-2=7&field-3=PO-7", "the field &quot;limit&quot;"),
    ] {
        let rest = format!("choice=approve&reason=see+OPS-12&field-1-1=on&field-4=1&{rest}");
        let answer = visitor.decide(&with_form(), &rest).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{rest}");
        assert!(answer.text.contains(says), "{says}: {}", answer.text);
        assert!(
            answer.text.contains("value=\"see OPS-12\""),
            "nothing that was typed is lost"
        );
        assert!(
            answer.text.contains("name=\"field-1-1\" checked"),
            "{}",
            answer.text
        );
        assert!(
            answer.text.contains("<option value=\"1\" selected>"),
            "{}",
            answer.text
        );
        assert_eq!(
            visitor.store.entry(&usual().id).state,
            State::Waiting,
            "{rest}"
        );
    }
}

#[tokio::test]
async fn a_no_needs_no_answers_and_has_none() {
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&with_form());
    let answer = visitor
        .decide(&with_form(), "choice=deny&field-3=PO-7")
        .await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let verdict = visitor.store.entry(&usual().id).verdict.unwrap();
    assert_eq!((verdict.choice, verdict.fields), (Choice::Deny, None));
}

#[tokio::test]
async fn an_item_without_a_form_takes_no_answers() {
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&usual());
    visitor.decide(&usual(), "choice=approve&field-0=7").await;
    let verdict = visitor.store.entry(&usual().id).verdict.unwrap();
    assert_eq!((verdict.choice, verdict.fields), (Choice::Approve, None));
}

// Any program of this user can write to the store.
#[tokio::test]
async fn an_item_whose_form_cannot_be_read_can_only_be_denied() {
    let visitor = Visitor::logged_in(false).await;
    let odd = Item {
        form: Some("{\"type\":\"array\"}".to_owned()),
        ..usual()
    };
    visitor.ask(&odd);
    let page = visitor.get("/").await.text;
    assert!(page.contains("The form cannot be read"), "{page}");
    let answer = visitor.decide(&odd, "choice=approve").await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let answer = visitor.decide(&odd, "choice=deny").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn several_at_once_are_not_approved_with_a_form_among_them_but_denied() {
    let visitor = Visitor::logged_in(false).await;
    visitor.ask(&with_form());
    let csrf = visitor.csrf().await;
    let (id, shown) = (with_form().id, with_form().fingerprint());
    let form = |rest: &str| format!("csrf={csrf}&pick-{id}={shown}&confirm=yes&{rest}");
    let answer = visitor.post("/decide", &form("choice=approve")).await;
    assert!(
        answer.text.contains("must be approved by itself"),
        "{}",
        answer.text
    );
    assert_eq!(visitor.store.entry(&id).state, State::Waiting);
    visitor.post("/decide", &form("choice=deny")).await;
    assert_eq!(visitor.store.entry(&id).state, State::Decided(Choice::Deny));
}
