//! Values in records: what is replaced, what is shortened, and how much remains.

use proptest::prelude::*;

use super::*;

fn written(text: &str, digest: StringDigest) -> (String, Written) {
    let mut out = String::new();
    let written = Redaction::default().write(&Value::parse(text).unwrap(), digest, &mut out);
    (out, written)
}

fn redacted(text: &str, digest: StringDigest) -> String {
    let (out, written) = written(text, digest);
    assert_eq!(written, Written::Whole);
    out
}

/// Returns what is written for a value, given as JSON in `text`.
fn check(text: &str, expected: &str) {
    assert_eq!(redacted(text, StringDigest::Sha256), expected, "{text}");
}

#[test]
fn the_words_in_the_documentation_are_the_same() {
    let text = include_str!("../../../docs/audit-log.md");
    let (_, text) = text.split_once("## What is redacted").unwrap();
    let (text, _) = text.split_once("\n## ").unwrap_or((text, ""));
    let listed = |before: &str| {
        let (_, rest) = text
            .split_once(before)
            .unwrap_or_else(|| panic!("{before}"));
        let (words, _) = rest.split_once(".\n").unwrap();
        let mut words: Vec<&str> = words.split('`').skip(1).step_by(2).collect();
        words.sort_unstable();
        words
    };
    let sorted = |words: &mut dyn Iterator<Item = &'static str>| {
        let mut words: Vec<&str> = words.collect();
        words.sort_unstable();
        words
    };
    let mut ours = names::WORDS
        .iter()
        .filter(|(_, kind)| *kind != names::Kind::End);
    assert_eq!(
        listed("one of these words:\n"),
        sorted(&mut ours.by_ref().map(|(word, _)| *word))
    );
    for (ends, heads) in names::PAIRS {
        let (end, _) = ends.split_first().unwrap();
        let listed = listed(&format!("- `{end}`"));
        assert_eq!(
            listed,
            sorted(&mut ends.iter().skip(1).chain(*heads).copied()),
            "{end}"
        );
    }
    assert_eq!(
        listed("measures or describes something:\n"),
        sorted(&mut names::MEASURES.iter().copied())
    );
    assert_eq!(
        listed("place in a list:\n"),
        sorted(&mut names::PLACES.iter().copied())
    );
    assert_eq!(
        listed("counts them:\n"),
        sorted(&mut names::COUNTED.iter().copied())
    );
}

#[test]
fn values_under_secret_keys_are_replaced_at_any_depth_and_in_any_case_style() {
    for key in [
        "password",
        "dbPassword",
        "PASSWD",
        "client_secret",
        "access-token",
        "apiKey",
        "API_KEY",
        "api key",
        "Authorization",
        "credentials",
        "privateKey",
        "PRIVATE-KEY",
        "Set-Cookie",
        "passphrase",
        "tok\\u0065n",
        "pwd",
        "pass",
        "auth",
        "bearer",
        "dsn",
        "connectionString",
        "jwt",
        "otp",
        "pin",
        "sessionId",
    ] {
        let text = format!(r#"{{"a":[{{"{key}":{{"deep":["hunter2"]}}}}]}}"#);
        let out = redacted(&text, StringDigest::Sha256);
        assert!(!out.contains("hunter2"), "{out}");
        assert!(out.contains(r#""[redacted]""#), "{out}");
    }
    check(r#"{"path":"/a","n":1.0}"#, r#"{"path":"/a","n":1.0}"#);
    check(
        r#"{"max_tokens":512,"nextPageToken":"abc","secretary":"Bob","tokens":7}"#,
        r#"{"max_tokens":512,"nextPageToken":"abc","secretary":"Bob","tokens":7}"#,
    );
    check(
        r#"{"tokens":["a"],"pin":1234}"#,
        r#"{"tokens":"[redacted]","pin":"[redacted]"}"#,
    );
    check(
        r#"{"pin":true,"password":null}"#,
        r#"{"pin":true,"password":null}"#,
    );
}

#[test]
fn a_value_next_to_a_secrets_name_is_replaced_in_any_order_of_members() {
    for (text, expected) in [
        (
            r#"{"name":"Authorization","value":"hunter2"}"#,
            r#"{"name":"Authorization","value":"[redacted]"}"#,
        ),
        (
            r#"{"value":"hunter2","key":"x-api-key"}"#,
            r#"{"value":"[redacted]","key":"x-api-key"}"#,
        ),
        (
            r#"[{"k":"PASSWORD","v":{"a":"hunter2"}},{"k":"HOME","v":"/"}]"#,
            r#"[{"k":"PASSWORD","v":"[redacted]"},{"k":"HOME","v":"/"}]"#,
        ),
        (
            r#"{"headerName":"Cookie","headerValue":"hunter2"}"#,
            r#"{"headerName":"Cookie","headerValue":"[redacted]"}"#,
        ),
        (
            r#"{"Header":"X-Auth","Content":"hunter2"}"#,
            r#"{"Header":"X-Auth","Content":"[redacted]"}"#,
        ),
        (
            r##"{"element":"Password field","ref":"e12","text":"hunter2"}"##,
            r##"{"element":"Password field","ref":"e12","text":"[redacted]"}"##,
        ),
        (
            r#"{"name":"max_tokens","value":"512"}"#,
            r#"{"name":"max_tokens","value":"512"}"#,
        ),
        (
            r#"{"name":"notes.md","content":"text"}"#,
            r#"{"name":"notes.md","content":"text"}"#,
        ),
        (
            r#"["Authorization","hunter2"]"#,
            r#"["Authorization","[redacted]"]"#,
        ),
        (
            r#"["run","--password","hunter2","-v","--token","abc"]"#,
            r#"["run","--password","[redacted]","-v","--token","[redacted]"]"#,
        ),
        (
            r#"["API_KEY=hunter2","A=b"]"#,
            r#"["API_KEY=[redacted]","A=b"]"#,
        ),
        (
            r#"["password","name","age"]"#,
            r#"["password","name","age"]"#,
        ),
    ] {
        check(text, expected);
    }
}

#[test]
fn json_in_a_string_is_redacted_as_json_and_otherwise_unchanged() {
    check(
        r#"{"body":"{\"name\": \"Authorization\", \"value\": \"hunter2\"}"}"#,
        r#"{"body":"{\"name\":\"Authorization\",\"value\":\"[redacted]\"}"}"#,
    );
    check(
        r#"{"body":"[{\"a\": \"{\\\"pin\\\": 1234}\"}]"}"#,
        r#"{"body":"[{\"a\":\"{\\\"pin\\\":\\\"[redacted]\\\"}\"}]"}"#,
    );
    let plain = r#"{"body":"{ \"a\":  1.0 }"}"#;
    check(plain, plain);
}

#[test]
fn keys_that_contain_secrets_are_replaced_and_stay_distinct() {
    let token = |c: &str| format!("ghp_{}", c.repeat(36));
    let text = format!(
        r#"{{"{}":1,"{}":2,"[redacted] (member 0)":3,"plain":4}}"#,
        token("a"),
        token("b")
    );
    let out = redacted(&text, StringDigest::Sha256);
    assert_eq!(
        out,
        r#"{"[redacted] (member 0)":1,"[redacted] (member 1)":2,"[redacted] (member 0) (member 2)":3,"plain":4}"#
    );
    Value::parse(&out).unwrap();
}

#[test]
fn an_operators_names_and_patterns_are_replaced_too() {
    let pattern = |text: &str| Regex::new(text).unwrap();
    let redaction = Redaction::with(
        vec!["employeeId".to_owned(), "case number".to_owned()],
        vec![pattern(r"\bEMP-\d+\b"), pattern("(?i)project orion")],
    );
    let text = r#"{"employee_id":"x1","caseNumber":2,"employee":"EMP-123 of Project ORION","password":"x",
        "note":"employee-id: x1","list":[{"name":"EmployeeId","value":"x1"}],"n":123}"#;
    let mut out = String::new();
    let _ = redaction.write(&Value::parse(text).unwrap(), StringDigest::Sha256, &mut out);
    assert_eq!(
        out,
        r#"{"employee_id":"[redacted]","caseNumber":"[redacted]","employee":"[redacted] of [redacted]","password":"[redacted]","note":"employee-id: [redacted]","list":[{"name":"EmployeeId","value":"[redacted]"}],"n":123}"#
    );
    assert_eq!(
        Redaction::with(Vec::new(), Vec::new()),
        Redaction::default()
    );
    assert_ne!(redaction, Redaction::default());
    let shown = format!("{redaction:?}");
    assert!(
        shown.contains("employeeId") && shown.contains("EMP-"),
        "{shown}"
    );
}

#[test]
fn a_line_looks_the_same_to_every_reader_and_cannot_be_disguised() {
    let text = "a\u{2028}b\u{85}c\u{202e}d\u{9b}e\u{e0041}é😀";
    let mut json = String::new();
    write_string(text, &mut json);
    let out = redacted(&json, StringDigest::Sha256);
    assert_eq!(out, r#""a\u2028b\u0085c\u202ed\u009be\udb40\udc41é😀""#);
    assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
}

#[test]
fn strings_over_500_characters_are_shortened_with_length_and_digest() {
    let text = "é".repeat(501);
    let out = redacted(&format!("\"{text}\""), StringDigest::Sha256);
    let digest = hex(&Sha256::digest(text.as_bytes()));
    assert_eq!(
        out,
        format!("\"{}… (501 characters, sha256:{digest})\"", "é".repeat(100))
    );
    let fast = redacted(&format!("\"{text}\""), StringDigest::Blake3);
    assert!(
        fast.contains(&format!("blake3:{}", blake3::hash(text.as_bytes()))),
        "{fast}"
    );
    let kept = format!("\"{}\"", "é".repeat(500));
    assert_eq!(redacted(&kept, StringDigest::Sha256), kept);
    let number = "1".repeat(501);
    let out = redacted(&number, StringDigest::Sha256);
    assert!(
        out.starts_with("\"111") && out.contains("501 characters"),
        "{out}"
    );
}

#[test]
fn a_secret_at_the_beginning_of_a_long_string_is_replaced_even_if_its_end_is_cut_off() {
    let long = "x".repeat(10_000);
    for (begins, secret) in [
        (
            "-----BEGIN PRIVATE KEY-----\nMIIEvAIBADANBgk".to_owned(),
            "MIIEvA",
        ),
        (format!("https://alice:hunter2{long}"), "hunter2"),
        (
            format!("https://alice:hunter2{long}@example.com"),
            "hunter2",
        ),
        (
            format!("{}ghp_abcdefghijklmnopqrst", " ".repeat(90)),
            "ghp_abcdef",
        ),
        (format!("eyJhbGciOiJIUzI1NiJ9{long}"), "eyJhbGci"),
        (format!("Authorization: Bearer abc{long}"), "abc"),
        (format!("Basic hunter2{long}"), "hunter2"),
        (format!("{{\"password\": \"hunter2{long}"), "hunter2"),
        (format!("<password>hunter2{long}"), "hunter2"),
    ] {
        let mut json = String::new();
        write_string(&format!("{begins}{long}"), &mut json);
        let out = redacted(&json, StringDigest::Sha256);
        assert!(!out.contains(secret), "{out}");
        assert!(
            out.contains("[redacted]") || out.contains("[reda…"),
            "{out}"
        );
    }
}

#[test]
fn arguments_are_at_most_64_kib_and_note_what_is_missing() {
    let elements = vec!["12345678"; 1_000_000 - 10].join(",");
    let text = format!(r#"{{"table":"users","rows":[{elements}],"last":true}}"#);
    let (out, written) = written(&text, StringDigest::Sha256);
    assert_eq!(written, Written::Part);
    assert!(out.len() <= MAX_ARGS, "{}", out.len());
    assert!(out.len() > MAX_ARGS - ENDS - 100, "{}", out.len());
    assert!(
        out.starts_with(r#"{"table":"users","rows":[12345678,"#),
        "{out:.100}"
    );
    assert!(out.ends_with(r#" more]"],"…":"[shortened: 1 more]"}"#));
    Value::parse(&out).unwrap();
}

#[test]
fn a_text_is_cut_after_4_kib_and_has_no_secrets() {
    let shown = |text: &str| {
        let mut out = String::new();
        Redaction::default().write_text(text, &mut out);
        serde_json::from_str::<String>(&out).unwrap()
    };
    let whole = "é".repeat(2048);
    assert_eq!(shown(&whole), whole);
    let long = format!("{} password: hunter2", "é".repeat(2047));
    assert_eq!(
        shown(&long),
        format!("{} p… ({} bytes)", "é".repeat(2047), long.len())
    );
    assert_eq!(shown("password=hunter2 x"), "password=[redacted] x");
}

/// A secret in a context, in which `0` stands for it.
fn planted() -> impl Strategy<Value = String> {
    let secret = "hunter2xyzzy";
    prop::sample::select(vec![
        r#"{"password":"0"}"#,
        r#"{"dbPassword":["0",{"a":"0"}]}"#,
        r#"{"name":"Authorization","value":"0"}"#,
        r#"{"value":"0","name":"api_key"}"#,
        r#"["--token","0"]"#,
        r#"["Cookie","0"]"#,
        r#""https://me:0@example.com/x""#,
        r#""https://example.com/x?a=b&access_token=0&c=d""#,
        r#""Authorization: Bearer 0""#,
        r#""a Bearer 0 of it""#,
        r#""-----BEGIN PRIVATE KEY-----\n0\n-----END PRIVATE KEY-----""#,
        r#""eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.0""#,
        r#""ghp_abcdefghijklm0""#,
        r#""export SECRET_KEY=0; run""#,
        r#""{\"pin\": \"0\"}""#,
        r#""a=1&pwd=0""#,
        r#""tool --password 0 x""#,
        r#""<Secret>0</Secret>""#,
    ])
    .prop_map(move |text| text.replace('0', secret))
}

/// Any value with a secret somewhere in it.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        2 => planted(),
        1 => "[1-9][0-9]{0,3}",
        2 => any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        1 => prop::sample::select(vec![":", "=", "--", "\"", "\\", "-----BEGIN ", "eyJ", "@", "'", "://", "é"])
            .prop_flat_map(|piece| prop::collection::vec(
                prop_oneof![Just(piece.to_owned()), "[a-z:=@ .-]{0,8}"], 0..200))
            .prop_map(|pieces| serde_json::to_string(&pieces.concat()).unwrap()),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8)
                .prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::btree_map("[a-z]{1,8}", inner, 0..8).prop_map(|members| {
                let members: Vec<String> = members
                    .iter()
                    .map(|(k, v)| format!("\"{k}\":{v}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_value_is_written_as_json_without_its_secret(text in value(), repeat in 1..2_000_usize) {
        let many = format!("[{}]", vec![text.as_str(); repeat.min(1 + 80_000 / text.len())].join(","));
        for text in [&text, &many] {
            let mut out = String::new();
            let _ = Redaction::default().write(&Value::parse(text).unwrap(), StringDigest::Blake3, &mut out);
            prop_assert!(Value::parse(&out).is_ok(), "{}", out);
            prop_assert!(!out.contains("hunter2"), "{}", out);
            prop_assert!(out.len() <= MAX_ARGS);
        }
    }

    #[test]
    fn any_text_is_written_as_json(text in "[ -~\u{e9}\n]{0,600}", odd in any::<String>()) {
        for text in [&text, &odd] {
            let mut out = String::new();
            Redaction::default().write_text(text, &mut out);
            prop_assert!(serde_json::from_str::<String>(&out).is_ok());
        }
    }
}
