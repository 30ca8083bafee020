//! Ids that some client confuses, and ids that no client does.

mod ports;

use proptest::prelude::*;

use super::*;
use ports::{PORTS, Read};

fn text(text: &str) -> RequestId {
    RequestId::Text(text.into())
}

fn number(token: &str) -> RequestId {
    RequestId::from_json(token).unwrap()
}

#[track_caller]
fn assert_confused(one: &RequestId, other: &RequestId) {
    assert!(one.may_be_confused_with(other), "{one} for {other}");
    assert!(other.may_be_confused_with(one), "{other} for {one}");
}

#[track_caller]
fn assert_distinct(one: &RequestId, other: &RequestId) {
    assert!(!one.may_be_confused_with(other), "{one} for {other}");
    assert!(!other.may_be_confused_with(one), "{other} for {one}");
}

#[test]
fn a_text_that_some_reader_parses_as_a_number_is_confused_with_it() {
    for alike in [
        "7",
        "7.0",
        "70e-1",
        "\t7 ",
        "\u{b}7",
        "+7",
        "07",
        "0x7",
        "0X07",
        "0B111",
        "0o7",
        "0_7",
        "7.",
        "7n",
        "7L",
        "7x",
        "7.9xyz",
        "7,9",
        "6.5",
        " 7 apples",
        "7\0",
        "7\0 9",
        "7\n",
        "0x7zz",
        "0x.7p4",
        "0xEp-1",
        &format!("0x7{}p-1200", "0".repeat(300)),
        "#7",
        "$7",
        "&H7",
        "0d7",
        "\"7\"",
        "[7]",
        "7e",
        "7e0abc",
        "7_000",
        "4294967303",
        "18446744073709551623",
        "٧",
        "７",
        "७",
        "7\u{200b}",
        "\u{a0}7",
        "\u{feff}7",
    ] {
        assert_confused(&text(alike), &RequestId::Integer(7));
    }
    assert_confused(&text("1_0"), &RequestId::Integer(10));
    assert_confused(&text("1,000"), &RequestId::Integer(1_000));
    assert_confused(&text("- 5"), &RequestId::Integer(-5));
    assert_confused(&text("(5)"), &RequestId::Integer(-5));
    assert_confused(&text("010"), &RequestId::Integer(8));
    assert_confused(&text("true"), &RequestId::Integer(1));
    // Many read what they cannot parse as 0.
    for zero in ["", " ", "seven", "-", "0x", "null", "false", "x7", "--7"] {
        assert_confused(&text(zero), &RequestId::Integer(0));
    }
    // Numbers out of range stay at the limit.
    assert_confused(&text("99999999999999999999"), &RequestId::Integer(i64::MAX));
    assert_confused(
        &text("9007199254740993"),
        &RequestId::Integer(9_007_199_254_740_992),
    );
}

#[test]
fn a_number_that_some_reader_rounds_or_wraps_is_confused_with_the_result() {
    for alike in ["7.0", "70e-1", "7.5", "6.999", "0.7e1", "4294967303"] {
        assert_confused(&number(alike), &RequestId::Integer(7));
    }
    assert_confused(
        &RequestId::Integer(9_007_199_254_740_993),
        &RequestId::Integer(9_007_199_254_740_992),
    );
    assert_confused(&number("1e999"), &text("Infinity"));
}

#[test]
fn texts_that_some_reader_trims_cuts_or_folds_are_confused() {
    for (one, others) in [
        (
            "abc",
            &[
                "ABC",
                "abc ",
                "\tabc",
                "abc\0",
                "abc\0x",
                "ab\0c",
                "\"abc\"",
                "abc\u{200b}",
                "\u{ff41}bc",
                "abc\u{301}",
            ][..],
        ),
        (
            "0e1cf1b2-7d5a-4c53-a8b1-5b1f0f6f2d3c",
            &[
                "0E1CF1B2-7D5A-4C53-A8B1-5B1F0F6F2D3C",
                "{0e1cf1b2-7d5a-4c53-a8b1-5b1f0f6f2d3c}",
                "0e1cf1b27d5a4c53a8b15b1f0f6f2d3c",
                "urn:uuid:0e1cf1b2-7d5a-4c53-a8b1-5b1f0f6f2d3c",
            ],
        ),
        ("caf\u{e9}", &["cafe\u{301}", "cafe"]),
        ("07", &["7", "7.0", "7abc"]),
    ] {
        for other in others {
            assert_confused(&text(one), &text(other));
        }
    }
    // No reader needs to read to its end.
    assert_confused(&text(&"x".repeat(MAX_ID + 1)), &text("abc"));
}

// Ids that no reader confuses stay as the client chose them.
#[test]
fn ids_that_no_reader_confuses_are_distinct() {
    let seven = RequestId::Integer(7);
    for other in ["8", "77", "", "x", "seven", "-7", "0x17", "1e7", "call-7"] {
        assert_distinct(&text(other), &seven);
    }
    assert_distinct(&RequestId::Integer(8), &seven);
    assert_distinct(&RequestId::Integer(-7), &seven);
    assert_distinct(&number("8.5"), &seven);
    assert_distinct(&text("call-1"), &text("call-2"));
    assert_distinct(&text("abc"), &text("abd"));
    assert_distinct(&text("0"), &text("1"));
    assert_distinct(&text("abc"), &RequestId::Integer(7));
}

pub(crate) fn ids() -> impl Strategy<Value = RequestId> {
    prop_oneof![
        (-20i64..400).prop_map(RequestId::Integer),
        any::<i64>().prop_map(RequestId::Integer),
        (any::<i32>(), 0u32..40)
            .prop_map(|(value, shift)| RequestId::Integer(i64::from(value) << (shift % 32))),
        "[0-9]{1,25}".prop_map(|token| RequestId::from_json(&token)
            .unwrap_or_else(|| RequestId::Text(token.as_str().into()))),
        "-?[1-9][0-9]{0,3}(\\.[0-9]{1,3})?(e-?[0-9]{1,2})?".prop_map(|token| number(&token)),
        texts().prop_map(|found| text(&found)),
    ]
}

/// Texts as attackers and clients write them.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ \t\r\n\0]{0,2}[+-]?(0[xXoObB])?[0-9a-fA-F_]{0,6}([.,][0-9]{0,3})?([eEpP][+-]?[0-9]{0,3})?[a-zA-Z \0]{0,4}",
        "[abAB][bcBC\0 ]{0,3}",
        "[{\"]?[a-f0-9]{4}-?[A-F0-9]{4}[}\"]?",
        "[\u{661}\u{662}\u{ff11}\u{967}5]{1,3}",
        ".{0,8}",
        "(Infinity|inf|nan|NaN|true|TRUE|false|null|0x|-|)",
    ]
}

/// An id, and a second one written so that careless readers confuse the two.
pub(crate) fn lookalikes() -> impl Strategy<Value = (RequestId, RequestId)> {
    let before = prop_oneof![
        Just(""),
        Just(" "),
        Just("\t\n"),
        Just("\u{feff}"),
        Just("0"),
        Just("00"),
        Just("+"),
        Just(" +"),
        Just("\0"),
        Just("0x"),
    ];
    let behind = prop_oneof![
        Just(""),
        Just(" "),
        Just("\0"),
        Just("\0x"),
        Just(".0"),
        Just("."),
        Just(".9"),
        Just("e0"),
        Just("n"),
        Just("abc"),
        Just(" x"),
        Just("_"),
    ];
    (ids(), before, behind).prop_map(|(id, before, behind)| {
        let body = match &id {
            RequestId::Text(text) => text.to_string(),
            RequestId::Integer(_) | RequestId::Number(_) => id.to_string(),
        };
        let like = RequestId::Text(format!("{before}{body}{behind}").into());
        (id, like)
    })
}

/// Checks that every ported reader distinguishes the ids.
pub(crate) fn distinct_for_all(held: &RequestId, answer: &RequestId) -> Result<(), TestCaseError> {
    for (name, port) in PORTS {
        // A client can read its own ids.
        let own = port(held);
        if own == Read::Failed {
            continue;
        }
        let found = port(answer);
        let or_zero = match found {
            Read::Failed => Read::Number(0.0),
            Read::Number(_) | Read::Text(_) => found.clone(),
        };
        prop_assert!(
            own != found && own != or_zero,
            "{name} takes {answer} for {held}"
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn ids_that_any_ported_reader_confuses_are_found(held in ids(), answer in ids()) {
        if !answer.may_be_confused_with(&held) {
            distinct_for_all(&held, &answer)?;
        }
        prop_assert_eq!(answer.may_be_confused_with(&held), held.may_be_confused_with(&answer));
    }

    #[test]
    fn an_id_made_to_look_like_another_is_found((held, answer) in lookalikes()) {
        if !answer.may_be_confused_with(&held) {
            distinct_for_all(&held, &answer)?;
        }
    }
}

// The ports are useful only if they make the same mistakes as the real readers.
#[test]
fn the_readers_are_as_careless_as_the_real_ones() {
    let reads = |name: &str, found: &str, value: f64| {
        let (_, port) = PORTS.iter().find(|(other, _)| *other == name).unwrap();
        assert_eq!(port(&text(found)), Read::Number(value), "{name} {found:?}");
    };
    reads("JavaScript Number", " 0x5 ", 5.0);
    reads("JavaScript Number", "", 0.0);
    reads("JavaScript parseInt", " 0x5zz", 5.0);
    reads("JavaScript parseInt", "5.9xyz", 5.0);
    reads("JavaScript parseFloat", "5.5e1x", 55.0);
    reads("JavaScript | 0", "4294967301", 5.0);
    reads("C atoi", "\t+5abc", 5.0);
    reads("C strtol", "010", 8.0);
    reads("C strtod", "0x1.4p2", 5.0);
    reads("Python int", " 0_5 ", 5.0);
    reads("Python int", "\u{665}", 5.0);
    reads("Python float", "5e0", 5.0);
    reads("PHP (int)", "5e0abc", 5.0);
    reads("Ruby to_i", "0_5x", 5.0);
    reads("Ruby Integer", "0b101", 5.0);
    reads("Go Atoi", "+5", 5.0);
    reads("Java Integer.decode", "#5", 5.0);
}
