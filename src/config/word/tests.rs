//! The words, and the list of dedupe fields.

use super::*;

#[test]
fn the_modes_are_spelled_as_the_policy_spells_them() {
    assert_eq!(Mode::WORDS.len(), Mode::ALL.len());
    for (word, mode) in Mode::WORDS {
        assert_eq!(mode.as_str(), *word);
    }
}

#[test]
fn a_word_is_read_exactly_and_an_unknown_one_lists_the_words() {
    assert_eq!(
        TimeoutAction::from_text("approve").unwrap(),
        TimeoutAction::Approve
    );
    assert_eq!(
        TimeoutAction::from_text("deny").unwrap(),
        TimeoutAction::Deny
    );
    assert_eq!(
        OnFailure::from_text("fallback").unwrap(),
        OnFailure::Fallback
    );
    for text in ["Deny", "", "deny "] {
        assert_eq!(
            TimeoutAction::from_text(text).unwrap_err().to_string(),
            format!("expected one of `approve`, `deny`, `park`, found `{text}`"),
        );
    }
    assert_eq!(
        DedupeField::from_node(&Node::Number(1.0))
            .unwrap_err()
            .to_string(),
        "expected one of `server`, `tool`, `args`, `risk`, found a number",
    );
}

#[test]
fn dedupe_fields_have_no_repetition_and_at_least_one_is_required() {
    use DedupeField::{Args, Risk, Tool};
    let fields = DedupeFields::from_text("tool, args, risk, tool").unwrap();
    assert_eq!(fields.into_vec(), [Tool, Args, Risk]);
    let fields = DedupeFields::from_text(r#"["risk"]"#).unwrap();
    assert_eq!(fields.into_vec(), [Risk]);
    for text in ["", ",", "[]"] {
        let error = DedupeFields::from_text(text).unwrap_err().to_string();
        assert!(
            error.starts_with("expected at least one of `server`"),
            "{error}"
        );
    }
    let error = DedupeFields::from_node(&Node::Bool(true))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("expected a list, each element one of `server`"),
        "{error}"
    );
}
