//! Damaged and disguised calls, checked with readers that are less strict than ours.
//!
//! Each case is one line, not a session; no call may get through.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::Value;

use crate::gate::tests::scene::Scene;

#[path = "../../../../fuzz/harness/readers.rs"]
#[expect(dead_code, reason = "the fuzz targets use the rest")]
mod readers;

/// What is put into a call, or over a part of it.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&'static [u8]> = vec![
        br#","method":"ping""#,
        br#""method":"tools/call","#,
        br#""Method":"tools/call","#,
        br#","params":{"name":"read_note"}"#,
        br#","name":"read_note""#,
        br#","result":{}"#,
        br#","id":1"#,
        br#"{"jsonrpc":"2.0","#,
        b"}{",
        b"} {",
        b"]",
        b"[",
        b",",
        b"\"",
        b"\\u0000",
        b"\\",
        b"/",
        b"//",
        b"\n",
        b"\r",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b" ",
        b"null",
        "\u{17f}".as_bytes(),
        "\u{200b}".as_bytes(),
    ];
    prop_oneof![
        4 => prop::sample::select(known).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..3),
    ]
}

/// The position, how much is cut out there, and what is put in.
fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, usize, Vec<u8>)>> {
    let cut = prop_oneof![3 => Just(0usize), 1 => 1usize..4];
    prop::collection::vec((any::<prop::sample::Index>(), cut, fragment()), 0..4)
}

fn disguised_call() -> impl Strategy<Value = Vec<u8>> {
    let method = prop::sample::select(vec![
        "tools/call",
        "Tools/Call",
        "TOOLS/CALL",
        r"tools\/call",
        r"\u0074ools/call",
        "tools/call ",
        "tools/ca\u{200b}ll",
        "tool\u{17f}/call",
    ]);
    let shape = prop::sample::select(vec![
        r#"{"jsonrpc":"2.0","id":7,"method":"M","params":{"name":"delete_user","arguments":{}}}"#,
        r#"{"method":"M","params":{"name":"delete_user"},"id":"x","jsonrpc":"2.0"}"#,
        r#"[{"jsonrpc":"2.0","id":7,"method":"M","params":{"name":"delete_user"}},{"jsonrpc":"2.0","id":8,"method":"ping"}]"#,
        r#"{"jsonrpc":"2.0","method":"M","params":{"name":"delete_user"}}"#,
    ]);
    (method, shape, damage()).prop_map(|(method, shape, damage)| {
        let mut line = shape.replace('M', method).into_bytes();
        for (at, cut, fragment) in damage {
            let at = at.index(line.len() + 1);
            let end = (at + cut).min(line.len());
            line.splice(at..end, fragment);
        }
        line
    })
}

/// Returns true if a lax reader finds a call: one that ignores case, splits lines at any control
/// character, reads several values in a row, and looks into batches.
fn has_a_call(line: &str) -> bool {
    let lines = line.split([
        '\n', '\r', '\0', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}',
    ]);
    lines.chain([line]).any(|line| {
        let line = line.trim_start_matches('\u{feff}');
        let values = serde_json::Deserializer::from_str(line).into_iter::<Value>();
        values.map_while(Result::ok).any(|value| is_call(&value))
    })
}

fn is_call(value: &Value) -> bool {
    if let Value::Array(entries) = value {
        return entries.iter().any(is_call);
    }
    let members = value.as_object().into_iter().flatten();
    let mut methods = members.filter(|(key, _)| key.to_lowercase() == "method");
    methods.any(|(_, method)| {
        let method = method.as_str().unwrap_or_default();
        let method = method.split('\0').next().unwrap_or_default();
        // Readers that fold through upper case read the long s as an s.
        let method = method.to_uppercase().to_lowercase();
        method.trim().replace('\u{200b}', "") == "tools/call"
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    // invariants.md, 4: "What fails to parse strictly as a call but could be one is refused, never
    // forwarded."
    #[test]
    fn no_line_that_some_reader_takes_for_a_call_gets_through(line in disguised_call()) {
        nothing_slips_through(&line)?;
    }
}

fn nothing_slips_through(line: &[u8]) -> Result<(), TestCaseError> {
    let mut scene = Scene::new().legacy("2025-11-25");
    scene.client_sends_bytes(line);
    scene.answer_lists();
    for sent in &scene.upstream {
        prop_assert!(
            !has_a_call(sent) || is_harmless(sent),
            "{sent} went on without approval"
        );
    }
    let asked = |line: &String| line.contains("elicitation/create");
    let stays = |line: &&Value| line["forwarded"] == false || line["tool"] == "read_note";
    prop_assert!(scene.client.iter().any(asked) || scene.decisions().iter().all(stays));
    Ok(())
}

/// Returns true if the damage turned it into a call of a harmless tool, for every reader.
fn is_harmless(line: &str) -> bool {
    let calls = readers::calls(line.as_bytes());
    !calls.is_empty()
        && calls
            .iter()
            .all(|call| call.is_plain && call.names.iter().eq(["read_note"]))
}

// Found by the property, very rarely: it took this for a call that had slipped through.
#[test]
fn a_call_that_damage_made_harmless_may_pass() {
    let line = r#"{"method":"tools/call","params":{"}{name":"delete_user","name":"read_note"},"id":"x","jsonrpc":"2.0"}"#;
    nothing_slips_through(line.as_bytes()).unwrap();
    for key in ["name", "Name", r"n\u0061me", r"name\u200b", "name "] {
        assert!(!is_harmless(&line.replace("}{name", key)), "{key}");
    }
}
