//! Tests of order, duplicates, and the names of types.

use super::{Node, Object};

fn object(text: &str) -> Object {
    let Node::Object(object) = serde_json::from_str(text).unwrap() else {
        panic!("{text}");
    };
    object
}

#[test]
fn members_keep_the_order_of_the_file() {
    let object = object(r#"{"z":1,"a":2,"m":3}"#);
    let keys: Vec<_> = object.members().map(|(key, _)| key).collect();
    assert_eq!(keys, ["z", "a", "m"]);
}

#[test]
fn every_kind_of_value_is_read_and_named() {
    let cases = [
        ("null", Node::Null, "null"),
        ("true", Node::Bool(true), "a boolean"),
        ("-3", Node::Number(-3.0), "a number"),
        ("3", Node::Number(3.0), "a number"),
        ("3.5", Node::Number(3.5), "a number"),
        (r#""\u0041""#, Node::Text("A".to_owned()), "a string"),
        ("[1]", Node::Array(vec![Node::Number(1.0)]), "an array"),
        ("{}", Node::Object(Object::default()), "an object"),
    ];
    for (text, node, kind) in cases {
        assert_eq!(serde_json::from_str::<Node>(text).unwrap(), node);
        assert_eq!(node.kind(), kind);
    }
}

#[test]
fn keys_that_are_equal_after_unescaping_are_duplicates() {
    let object = object(r#"{"a":1,"b":2,"\u0061":3}"#);
    let error = object.strict_members().err().unwrap();
    assert!(
        error
            .to_string()
            .starts_with("/a: this key is written twice")
    );
    assert!(object.get("a").is_err());
    assert_eq!(object.get("b").unwrap(), Some(&Node::Number(2.0)));
}

#[test]
fn a_null_member_counts_as_missing() {
    let object = object(r#"{"a":null}"#);
    assert_eq!(object.get("a").unwrap(), None);
    assert!(object.has("a"));
    assert!(!object.has("b"));
    assert_eq!(object.strict_members().unwrap().count(), 1);
}

#[test]
fn a_deeply_nested_document_is_an_error_not_an_overflow() {
    let text = "[".repeat(100_000);
    assert!(serde_json::from_str::<Node>(&text).is_err());
}
