//! Each hint, and hints that cannot be right.

use super::*;

fn error(text: &str) -> String {
    Annotations::from_text(text).unwrap_err().to_string()
}

#[test]
fn each_hint_lands_in_its_own_field() {
    for (index, (key, value)) in HINTS
        .into_iter()
        .zip(["true", "true", "true", "true", "\"T\""])
        .enumerate()
    {
        let text = format!(r#"{{"tool":{{"{key}":{value}}}}}"#);
        let map = Annotations::from_text(&text).unwrap().into_map();
        let hints = &map["tool"];
        let set = [
            hints.read_only_hint.is_some(),
            hints.destructive_hint.is_some(),
            hints.idempotent_hint.is_some(),
            hints.open_world_hint.is_some(),
            hints.title.is_some(),
        ];
        assert_eq!(set, std::array::from_fn(|field| field == index), "{key}");
    }
}

#[test]
fn a_false_hint_is_not_a_missing_one() {
    let text = r#"{"tool":{"readOnlyHint":false}}"#;
    let map = Annotations::from_text(text).unwrap().into_map();
    assert_eq!(map["tool"].read_only_hint, Some(false));
}

#[test]
fn an_unknown_hint_is_an_error_with_the_nearest_one() {
    assert_eq!(
        error(r#"{"a/b":{"readonly":true}}"#),
        "/a~1b/readonly: unknown key; did you mean `readOnlyHint`?",
    );
}

#[test]
fn a_hint_of_the_wrong_type_or_written_twice_is_an_error() {
    assert_eq!(
        error(r#"{"t":{"destructiveHint":"yes"}}"#),
        "/t/destructiveHint: expected `true` or `false`, found a string",
    );
    assert_eq!(
        error(r#"{"t":{"title":1}}"#),
        "/t/title: expected a string, found a number"
    );
    assert!(error(r#"{"t":{"title":"a","title":"b"}}"#).starts_with("/t/title: this key"));
    assert!(error(r#"{"t":{},"t":{}}"#).starts_with("/t: this key is written twice"));
    assert!(error(r#"{"t":true}"#).starts_with("/t: expected an object of `readOnlyHint`"));
    assert!(error("[]").starts_with("expected an object, each value an object of"));
    assert!(error("{").starts_with("not JSON"));
}

#[test]
fn two_tools_that_differ_only_in_case_are_an_error_with_its_place() {
    assert!(error(r#"{"Tool":{},"tool":{}}"#).contains("differ only in case"));
}
