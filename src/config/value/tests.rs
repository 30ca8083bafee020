//! Booleans, strings, paths, tokens, lists and maps, in JSON and in text.

use super::*;
use crate::config::number::Whole;
use crate::config::pattern::Pattern;

fn node(json: &str) -> Node {
    serde_json::from_str(json).unwrap()
}

fn strings(text: &str) -> Result<Vec<String>, String> {
    Vec::from_text(text).map_err(|fault| fault.to_string())
}

#[test]
fn a_boolean_in_text_has_eight_spellings_without_case() {
    for text in ["true", "TRUE", "1", "yes", "Yes", "on", "ON"] {
        assert!(bool::from_text(text).unwrap(), "{text}");
    }
    for text in ["false", "False", "0", "no", "NO", "off", "oFF"] {
        assert!(!bool::from_text(text).unwrap(), "{text}");
    }
    for text in ["", "2", "y", "enabled", "truee"] {
        assert_eq!(
            bool::from_text(text).unwrap_err().to_string(),
            format!("expected `true` or `false`, found `{text}`"),
        );
    }
}

#[test]
fn a_boolean_in_json_has_no_quotes() {
    assert!(bool::from_node(&Node::Bool(true)).unwrap());
    assert!(!bool::from_node(&Node::Bool(false)).unwrap());
    for json in ["\"true\"", "1", "null"] {
        let error = bool::from_node(&node(json)).unwrap_err().to_string();
        assert!(
            error.starts_with("expected `true` or `false`, found "),
            "{error}"
        );
    }
}

#[test]
fn a_path_is_not_empty_and_has_no_nul() {
    assert_eq!(
        PathBuf::from_node(&node("\"a/b\"")).unwrap(),
        PathBuf::from("a/b")
    );
    for (json, problem) in [
        ("\"\"", "expected the path of a file, found ``"),
        ("7", "expected the path of a file, found a number"),
        (
            "\"a\\u0000\"",
            "there is a NUL character in this text; remove it",
        ),
    ] {
        assert_eq!(
            PathBuf::from_node(&node(json)).unwrap_err().to_string(),
            problem
        );
    }
}

#[test]
fn a_token_is_never_quoted() {
    assert_eq!(
        Secret::from_node(&node("\"t0ken!\"")).unwrap().expose(),
        "t0ken!"
    );
    for json in [
        "\"two words\"",
        "\"line\\nbreak\"",
        "\"tökén\"",
        "\"\"",
        "12345",
    ] {
        let error = Secret::from_node(&node(json)).unwrap_err();
        let message = format!("{error} {error:?}");
        assert!(
            message.starts_with("expected a token of visible ASCII characters"),
            "{message}"
        );
        for part in ["two", "line", "kén", "12345"] {
            assert!(!message.contains(part), "{message}");
        }
    }
}

// contract.md, "Command line": "in the environment a list is JSON or comma-separated".
#[test]
fn a_list_in_text_is_json_or_comma_separated_and_trimmed() {
    for (text, items) in [
        ("a", vec!["a"]),
        ("a, b ,c", vec!["a", "b", "c"]),
        (",a,, b,", vec!["a", "b"]),
        ("", vec![]),
        (" , ", vec![]),
        ("[]", vec![]),
        ("[ ]", vec![]),
        (r#"["a", "b,c"]"#, vec!["a", "b,c"]),
        (r#"[ "a" ]"#, vec!["a"]),
        // These are globs, although they begin like JSON.
        ("[a-z]*", vec!["[a-z]*"]),
        ("[ab]*, x", vec!["[ab]*", "x"]),
    ] {
        assert_eq!(strings(text).unwrap(), items, "{text}");
    }
}

#[test]
fn a_list_that_begins_like_json_but_is_not_json_is_an_error() {
    for text in [r#"["a""#, r#"["a",]"#, r#"["a"], "b""#, "[]x"] {
        let error = strings(text).unwrap_err();
        assert!(error.starts_with("not JSON: "), "{text}: {error}");
    }
}

#[test]
fn a_list_of_numbers_in_text_may_be_json_too() {
    for text in ["[408, 409]", "408,409"] {
        let codes = Vec::<Whole<100, 599>>::from_text(text).unwrap();
        assert_eq!(
            codes.into_iter().map(Whole::get).collect::<Vec<_>>(),
            [408, 409]
        );
    }
    let error = Vec::<Whole<100, 599>>::from_text("[408, 99]")
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "/1: expected a whole number from 100 to 599, found `99`"
    );
}

#[test]
fn the_error_for_a_bad_element_of_a_list_has_its_place() {
    assert_eq!(
        Vec::<Pattern>::from_node(&node(r#"["a", 3]"#))
            .unwrap_err()
            .to_string(),
        "/1: expected a tool name or a glob of at most 1024 bytes, found a number",
    );
    assert_eq!(
        Vec::<String>::from_node(&node("\"a\""))
            .unwrap_err()
            .to_string(),
        "expected a list, each element a string, found a string",
    );
}

#[test]
fn a_map_in_text_is_json_and_the_error_for_a_bad_value_has_its_place() {
    let map = BTreeMap::<String, bool>::from_text(r#"{"a": true}"#).unwrap();
    assert_eq!(map, BTreeMap::from([("a".to_owned(), true)]));
    let error = |text| {
        BTreeMap::<String, bool>::from_text(text)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error(r#"{"a": 1}"#),
        "/a: expected `true` or `false`, found a number"
    );
    assert_eq!(
        error(r#"{"a": true, "a": true}"#),
        "/a: this key is written twice; keep one of the two"
    );
    assert_eq!(
        error("[]"),
        "expected an object, each value `true` or `false`, found an array"
    );
    assert!(error("a=true").starts_with("not JSON: "));
}

#[test]
fn text_is_trimmed_before_it_is_read() {
    let mut slot = None;
    Input::Text(" true\n").set(&mut slot).unwrap();
    assert_eq!(slot, Some(true));
    let mut list = vec!["a".to_owned()];
    Input::Text(" b ").append(&mut list).unwrap();
    assert_eq!(list, ["a", "b"]);
    assert!(Input::Text("x").read::<bool>().is_err());
    assert!(Input::Node(&Node::Null).read::<bool>().is_err());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_a_list_or_a_map_panic(text in r#"[\[\]{}",:a1 ]{0,20}|\PC{0,20}"#) {
        let _ = Vec::<Pattern>::from_text(&text);
        let _ = BTreeMap::<String, bool>::from_text(&text);
    }
}
