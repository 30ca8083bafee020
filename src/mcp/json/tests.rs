//! Tests the reader against RFC 8259, against readers that disagree, and against `serde_json`.

use proptest::prelude::*;

use super::*;

fn canonical(text: &str) -> String {
    let mut out = String::new();
    Value::parse(text).unwrap().write_canonical(&mut out);
    out
}

#[test]
fn numbers_are_kept_as_they_were_written() {
    let text = r#"[1.0,1e2,123456789012345678901234567890,-0,0.10]"#;
    assert_eq!(canonical(text), text);
}

#[test]
fn keys_are_sorted_and_escapes_are_resolved() {
    assert_eq!(
        canonical(r#"{ "b":1, "\u0061" : "\u0041\n\ud83d\ude00" }"#),
        "{\"a\":\"A\\n😀\",\"b\":1}"
    );
}

#[test]
fn equal_keys_are_found_at_any_depth_and_after_unescaping() {
    for text in [
        r#"{"a":1,"a":2}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"x":[{"a":1,"b":2,"a":3}]}"#,
        r#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"\u0061":1}"#,
    ] {
        assert_eq!(Value::parse(text), Err(JsonError::DuplicateKey), "{text}");
    }
}

#[test]
fn text_that_readers_disagree_about_is_refused() {
    for (text, error) in [
        (r#""\ud800""#, JsonError::LoneSurrogate),
        (r#""\udc00\ud800""#, JsonError::LoneSurrogate),
        (r#""\ud800\u0041""#, JsonError::LoneSurrogate),
        (r#"{"a\u0000":1}"#, JsonError::NulInKey),
        ("\"a\tb\"", JsonError::ControlCharacter),
        ("1 2", JsonError::TrailingText),
        ("{}{}", JsonError::TrailingText),
        ("01", JsonError::Syntax(1)),
        ("+1", JsonError::Syntax(0)),
        ("1.", JsonError::Syntax(2)),
        (".5", JsonError::Syntax(0)),
        ("1e", JsonError::Syntax(2)),
        ("0x1", JsonError::Syntax(1)),
        ("NaN", JsonError::Syntax(0)),
        ("-Infinity", JsonError::Syntax(1)),
        ("[1,]", JsonError::Syntax(3)),
        (r#"{"a":1,}"#, JsonError::Syntax(7)),
        (r#"{a:1}"#, JsonError::Syntax(1)),
        (r#"{'a':1}"#, JsonError::Syntax(1)),
        ("[1/**/]", JsonError::Syntax(2)),
        (r#""\x41""#, JsonError::Syntax(2)),
        (r#""\u00g0""#, JsonError::Syntax(3)),
        (r#""\u+041""#, JsonError::Syntax(3)),
        ("\"open", JsonError::Syntax(5)),
        ("", JsonError::Syntax(0)),
    ] {
        assert_eq!(Value::parse(text), Err(error), "{text}");
    }
}

#[test]
fn a_line_with_bytes_that_readers_split_at_or_choke_on_is_refused() {
    assert_eq!(line_text(b"{}\r"), Ok("{}"));
    assert_eq!(line_text(b"{\t}"), Ok("{\t}"));
    assert_eq!(line_text(b"{}\r{}"), Err(JsonError::ControlCharacter));
    assert_eq!(line_text(b"{}\r\r"), Err(JsonError::ControlCharacter));
    assert_eq!(line_text(b"{\0}"), Err(JsonError::ControlCharacter));
    assert_eq!(line_text(b"{\x0b}"), Err(JsonError::ControlCharacter));
    assert_eq!(line_text(b"\"\xff\""), Err(JsonError::NotUtf8));
    assert_eq!(line_text(b"\xef\xbb\xbf{}"), Err(JsonError::ByteOrderMark));
}

#[test]
fn half_a_surrogate_pair_is_accepted_when_skipped_and_replaced_in_lossy_trees() {
    let text = r#"{"a":"\ud83d!"}"#;
    assert_eq!(Reader::new(text).skip(), Ok(text));
    let value = Value::parse_lossy(text).unwrap();
    assert_eq!(value.get("a").unwrap().as_str().unwrap(), "\u{fffd}!");
    let value = Value::parse_lossy(r#""\ud83d\u0041""#).unwrap();
    assert_eq!(value.as_str().unwrap(), "\u{fffd}A");
}

#[test]
fn nesting_and_size_are_bounded() {
    let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
    assert!(Value::parse(&nested(MAX_TREE_DEPTH)).is_ok());
    assert_eq!(
        Value::parse(&nested(MAX_TREE_DEPTH + 2)),
        Err(JsonError::TooDeep)
    );
    assert!(Reader::new(&nested(MAX_SKIP_DEPTH)).skip().is_ok());
    assert_eq!(
        Reader::new(&nested(100_000)).skip(),
        Err(JsonError::TooDeep)
    );
    let many = format!("[{}0]", "0,".repeat(MAX_TREE_VALUES));
    assert_eq!(Value::parse(&many), Err(JsonError::TooManyValues));
}

#[test]
fn skipping_returns_the_exact_text_and_stops_after_it() {
    let text = r#" {"a":[1,{"b":"}]"}],"c":{}} ,2"#;
    let mut reader = Reader::new(text);
    assert_eq!(reader.skip(), Ok(r#"{"a":[1,{"b":"}]"}],"c":{}}"#));
    assert!(reader.eat(b','));
    assert_eq!(reader.skip(), Ok("2"));
    assert_eq!(reader.end(), Ok(()));
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn text_from_serde_json_is_read_with_the_same_meaning(value in any_json()) {
        let text = value.to_string();
        prop_assume!(!text.contains("\\u0000"));
        let ours: serde_json::Value = serde_json::from_str(&canonical(&text)).unwrap();
        prop_assert_eq!(ours, value);
        prop_assert_eq!(Reader::new(&text).skip(), Ok(text.as_str()));
    }

    #[test]
    fn serde_json_accepts_whatever_we_accept(text in r#"[ \[\]{}:,"\\u0d8c1ea.tn\-+]{0,24}"#) {
        if Value::parse(&text).is_ok() {
            let serde = serde_json::from_str::<serde_json::Value>(&text);
            // The one difference: a number too large for a double.
            prop_assert!(serde.is_ok() || serde.unwrap_err().to_string().contains("out of range"));
        }
        let mut skipper = Reader::new(&text);
        let skipped = skipper.skip().is_ok() && skipper.end().is_ok();
        // Skipping checks everything except equal keys, NUL in keys and the limits of trees.
        if Value::parse(&text).is_ok() {
            prop_assert!(skipped);
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>()) {
        let _ = Value::parse(&text);
        let _ = Reader::new(&text).skip();
    }

    #[test]
    fn any_string_survives_writing_and_reading(text in any::<String>()) {
        let mut written = String::new();
        write_string(&text, &mut written);
        prop_assert_eq!(Value::parse(&written).unwrap().as_str().unwrap(), text);
    }
}
