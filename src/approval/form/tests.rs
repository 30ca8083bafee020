use proptest::prelude::*;
use serde_json::json;

use super::*;

fn form(properties: Value) -> Result<Form, String> {
    let required: Vec<String> = Vec::new();
    let schema = json!({"type": "object", "properties": properties, "required": required});
    Form::read(&schema).map_err(|error| error.to_string())
}

fn field(schema: Value) -> Field {
    form(json!({"x": schema})).unwrap().fields()[0].clone()
}

/// Each with values that fit and values that do not.
fn table() -> Vec<(Value, Vec<Value>, Vec<Value>)> {
    vec![
        (
            json!({"type": "string", "minLength": 2, "maxLength": 3}),
            vec![json!("ab"), json!("äöü")],
            vec![
                json!("a"),
                json!("abcd"),
                json!(12),
                json!(null),
                json!(["ab"]),
            ],
        ),
        (
            json!({"type": "string"}),
            vec![json!(""), json!("a".repeat(MAX_ANSWER))],
            vec![json!("a".repeat(MAX_ANSWER + 1))],
        ),
        (
            json!({"type": "string", "format": "email"}),
            vec![json!("a@b.example")],
            vec![json!("a"), json!("@b"), json!("a@"), json!("a b@c")],
        ),
        (
            json!({"type": "string", "format": "uri"}),
            vec![json!("https://a.example/x"), json!("mailto:a@b")],
            vec![
                json!("a.example"),
                json!(":x"),
                json!("a:"),
                json!("1a:x"),
                json!("a: b"),
            ],
        ),
        (
            json!({"type": "string", "format": "date"}),
            vec![json!("2028-02-29")],
            vec![
                json!("2026-02-29"),
                json!("2026-2-1"),
                json!("1.2.2026"),
                json!("2026-02-01T00:00:00Z"),
            ],
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            vec![
                json!("2026-02-01T10:00:00Z"),
                json!("2026-02-01T10:00:00.5+02:00"),
            ],
            vec![json!("2026-02-01"), json!("2026-02-01 10:00")],
        ),
        (
            json!({"type": "integer", "minimum": 1, "maximum": 5}),
            vec![json!(1), json!(5), json!(2.0)],
            vec![json!(0), json!(6), json!(1.5), json!("1"), json!(true)],
        ),
        (
            json!({"type": "number", "minimum": -0.5}),
            vec![json!(-0.5), json!(1e21)],
            vec![json!(-0.6), json!("7")],
        ),
        (
            json!({"type": "boolean"}),
            vec![json!(true), json!(false)],
            vec![json!("true"), json!(1), json!(null)],
        ),
        (
            json!({"type": "string", "enum": ["a", "b"], "enumNames": ["A", "B"]}),
            vec![json!("a")],
            vec![json!("A"), json!("c"), json!(["a"])],
        ),
        (
            json!({"type": "string", "oneOf": [{"const": "r", "title": "Red"}]}),
            vec![json!("r")],
            vec![json!("Red")],
        ),
        (
            json!({"type": "array", "items": {"type": "string", "enum": ["a", "b", "c"]}, "minItems": 1, "maxItems": 2}),
            vec![json!(["a"]), json!(["c", "a"])],
            vec![
                json!([]),
                json!(["a", "b", "c"]),
                json!(["a", "a"]),
                json!(["x"]),
                json!("a"),
            ],
        ),
        (
            json!({"type": "array", "items": {"anyOf": [{"const": "a", "title": "A"}]}}),
            vec![json!([]), json!(["a"])],
            vec![json!(["A"])],
        ),
    ]
}

#[test]
fn an_answer_fits_exactly_what_the_schema_says() {
    for (schema, right, wrong) in table() {
        let form = form(json!({"x": schema})).unwrap();
        for value in right {
            let answers = json!({"x": value}).as_object().cloned().unwrap();
            assert_eq!(form.check(&answers), Ok(()), "{schema}: {value}");
            assert!(form.accepts(Some(&json!({"x": value}).to_string())));
        }
        for value in wrong {
            let answers = json!({"x": value}).as_object().cloned().unwrap();
            let error = form.check(&answers).unwrap_err();
            assert!(
                error.to_string().starts_with("the field \"x\" must be "),
                "{error}"
            );
            assert!(!form.accepts(Some(&json!({"x": value}).to_string())));
        }
    }
}

#[test]
fn what_is_required_must_be_there_and_nothing_else_may() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "boolean"}, "b": {"type": "string"}}, "required": ["a"]});
    let form = Form::read(&schema).unwrap();
    for (answers, fits) in [
        (r#"{"a":true}"#, true),
        (r#"{"a":false,"b":"x"}"#, true),
        (r#"{"b":"x"}"#, false),
        (r#"{"a":true,"c":1}"#, false),
        (r#"{"a":null}"#, false),
        ("[]", false),
        ("true", false),
        ("{", false),
    ] {
        assert_eq!(form.accepts(Some(answers)), fits, "{answers}");
    }
    assert!(!form.accepts(None), "somebody who was shown no form");
}

#[test]
fn a_yes_without_a_form_has_no_answers_and_an_unreadable_form_takes_none() {
    assert!(accepts(None, None));
    assert!(!accepts(None, Some("{}")));
    assert!(!accepts(Some("{"), Some("{}")));
    assert!(!accepts(Some("{}"), Some("{}")));
}

#[test]
fn a_schema_that_is_no_flat_form_is_refused_and_the_place_is_named() {
    let many: Map<String, Value> = (0..=MAX_FIELDS)
        .map(|n| (format!("f{n}"), json!({"type": "boolean"})))
        .collect();
    let choices: Vec<String> = (0..=MAX_CHOICES).map(|n| n.to_string()).collect();
    for (properties, place) in [
        (json!({}), "`/properties`"),
        (json!(many), "`/properties`"),
        (json!({"o": {"type": "object"}}), "`/properties/o/type`"),
        (
            json!({"o": {"type": "array", "items": {"type": "object"}}}),
            "`/properties/o/items/type`",
        ),
        (
            json!({"o": {"type": "array", "items": {"type": "number"}}}),
            "`/properties/o/items/type`",
        ),
        (
            json!({"o": {"type": ["string", "null"]}}),
            "`/properties/o/type`",
        ),
        (
            json!({"o": {"type": "string", "pattern": "a*"}}),
            "`/properties/o/pattern`",
        ),
        (json!({"o": {"$ref": "#/x"}}), "`/properties/o/type`"),
        (json!({"o": true}), "`/properties/o`"),
        (json!({"a/b~": 1}), "`/properties/a~1b~0`"),
        (
            json!({"approved": {"type": "string"}}),
            "`/properties/approved`",
        ),
        (
            json!({"reason": {"type": "string"}}),
            "`/properties/reason`",
        ),
        (json!({"": {"type": "string"}}), "`/properties/`"),
        (json!({"a\u{202e}": {"type": "string"}}), "`/properties/a"),
        (
            json!({"a": {"type": "string", "title": 7}}),
            "`/properties/a/title`",
        ),
        (
            json!({"a": {"type": "string", "title": "x".repeat(1_001)}}),
            "`/properties/a/title`",
        ),
        (
            json!({"a": {"type": "string", "format": "regex"}}),
            "`/properties/a/format`",
        ),
        (
            json!({"a": {"type": "string", "minLength": 3, "maxLength": 2}}),
            "`/properties/a/minLength`",
        ),
        (
            json!({"a": {"type": "string", "minLength": -1}}),
            "`/properties/a/minLength`",
        ),
        (
            json!({"a": {"type": "string", "minLength": 5_000}}),
            "`/properties/a/minLength`",
        ),
        (
            json!({"a": {"type": "number", "minimum": 3, "maximum": 2}}),
            "`/properties/a/minimum`",
        ),
        (
            json!({"a": {"type": "number", "minimum": "3"}}),
            "`/properties/a/minimum`",
        ),
        (
            json!({"a": {"type": "string", "enum": []}}),
            "`/properties/a/enum`",
        ),
        (
            json!({"a": {"type": "string", "enum": ["x", "x"]}}),
            "`/properties/a/enum`",
        ),
        (
            json!({"a": {"type": "string", "enum": [1]}}),
            "`/properties/a/enum`",
        ),
        (
            json!({"a": {"type": "string", "enum": ["x"], "enumNames": []}}),
            "`/properties/a/enumNames`",
        ),
        (
            json!({"a": {"type": "string", "oneOf": [{"const": "x"}]}}),
            "`/properties/a/oneOf`",
        ),
        (
            json!({"a": {"type": "array", "items": {"type": "string", "enum": ["x"]}, "minItems": 2}}),
            "`/properties/a/minItems`",
        ),
        (
            json!({"a": {"type": "string", "enum": choices}}),
            "`/properties`",
        ),
        (
            json!({"a": {"type": "boolean", "default": "yes"}}),
            "`/properties/a/default`",
        ),
    ] {
        let error = form(properties).unwrap_err();
        assert!(error.starts_with(place), "{place}: {error}");
    }
    for (schema, place) in [
        (json!([]), "`/`"),
        (json!({"type": "array"}), "`/type`"),
        (json!({"type": "object"}), "`/properties`"),
        (
            json!({"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["b"]}),
            "`/required`",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "boolean"}}, "oneOf": []}),
            "`/oneOf`",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "boolean"}}, "additionalProperties": true}),
            "`/additionalProperties`",
        ),
    ] {
        let error = Form::read(&schema).unwrap_err().to_string();
        assert!(error.starts_with(place), "{place}: {error}");
    }
}

#[test]
fn what_people_type_becomes_a_value_of_the_fields_type() {
    let text = field(json!({"type": "string"}));
    assert_eq!(text.value_of(&["7"]), Some(json!("7")));
    assert_eq!(text.value_of(&[""]), None);
    assert_eq!(text.value_of(&[]), None);
    let number = field(json!({"type": "number"}));
    assert_eq!(number.value_of(&[" 1.50 "]), Some(json!(1.5)));
    // No number, so it does not fit.
    for odd in ["0x10", "1,5", "NaN", "1 2", "+1"] {
        assert_eq!(number.value_of(&[odd]), Some(json!(odd)));
    }
    let boolean = field(json!({"type": "boolean"}));
    assert_eq!(boolean.value_of(&["false"]), Some(json!(false)));
    assert_eq!(boolean.value_of(&["yes"]), Some(json!("yes")));
    let several = field(json!({"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}));
    assert_eq!(several.value_of(&["b", "a"]), Some(json!(["b", "a"])));
    assert_eq!(several.value_of(&[]), None);
}

proptest! {
    #[test]
    fn no_schema_and_no_answer_makes_it_panic(schema in arbitrary(), answers in arbitrary()) {
        let properties = json!({"x": schema});
        if let Ok(form) = form(properties) {
            let text = answers.to_string();
            let _ = form.accepts(Some(&text));
            for field in form.fields() {
                let _ = (field.expected(), field.value_of(&[&text]), field.label());
            }
        }
        let _ = Form::read(&answers);
    }
}

/// Values made of the words of schemas.
fn arbitrary() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "type",
        "string",
        "number",
        "integer",
        "boolean",
        "array",
        "enum",
        "items",
        "anyOf",
        "const",
        "title",
        "minLength",
        "maxLength",
        "default",
        "x",
        "format",
        "date",
        "",
    ]);
    let leaf = prop_oneof![
        word.clone().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((word.clone().prop_map(str::to_owned), inner), 0..6)
                .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}
