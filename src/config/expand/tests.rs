//! The three forms, and what is none of them.

use super::*;

fn environment() -> Environment {
    [
        ("NAME", "value"),
        ("_a1", "low"),
        ("EMPTY", ""),
        ("LOOP", "$NAME"),
    ]
    .into_iter()
    .collect()
}

fn expanded(text: &str) -> Result<String, String> {
    expand(text, &environment()).map_err(|problem| problem.to_string())
}

// CONTRACT: "`$VAR`, `${VAR}` and `${VAR:-default}` expand".
#[test]
fn the_three_forms_expand() {
    for (text, value) in [
        ("$NAME", "value"),
        ("${NAME}", "value"),
        ("${NAME:-default}", "value"),
        ("${OTHER:-default}", "default"),
        ("${OTHER:-}", ""),
        ("a-$NAME/${_a1}$NAME.", "a-value/lowvalue."),
        ("$NAME-$_a1", "value-low"),
        ("${NAME}NAME", "valueNAME"),
        ("ü$NAMEü", "üvalueü"),
    ] {
        assert_eq!(expanded(text).unwrap(), value, "{text}");
    }
}

#[test]
fn an_empty_variable_takes_the_default_as_in_a_shell() {
    assert_eq!(expanded("${EMPTY:-default}").unwrap(), "default");
    assert_eq!(expanded("[$EMPTY${EMPTY}]").unwrap(), "[]");
}

#[test]
fn a_dollar_without_a_name_stays() {
    for text in ["$", "$$", "$5", "a$", "$ NAME", "$-", "^x$", "100%$", ""] {
        assert_eq!(expanded(text).unwrap(), text);
    }
    assert_eq!(expanded("$$NAME").unwrap(), "$value");
    assert_eq!(expanded("${DOLLAR:-$}NAME").unwrap(), "$NAME");
}

#[test]
fn a_value_is_not_expanded_again() {
    assert_eq!(expanded("$LOOP ${LOOP}").unwrap(), "$NAME $NAME");
    assert_eq!(expanded("${OTHER:-$NAME}").unwrap(), "$NAME");
}

// CONTRACT: "an unset variable without a default is an error that names it".
#[test]
fn an_unset_variable_is_an_error_that_names_it() {
    for text in ["$OTHER", "${OTHER}", "x$OTHER-y"] {
        assert_eq!(
            expanded(text).unwrap_err(),
            "the variable `OTHER` is not set; set it or write `${OTHER:-default}`",
        );
    }
}

#[test]
fn a_form_that_is_none_of_the_three_is_an_error() {
    for text in [
        "${",
        "${NAME",
        "${}",
        "${1}",
        "${:-x}",
        "${NAME:x}",
        "${NAME-x}",
        "${NAME:?x}",
        "${env:NAME}",
        "${input:key}",
        "${ NAME}",
        "${A:-${B}}",
    ] {
        assert_eq!(
            expanded(text).unwrap_err(),
            "`${` begins a variable; write `${NAME}` or `${NAME:-default}`",
            "{text}",
        );
    }
}

#[test]
fn a_nul_is_an_error() {
    assert!(expanded("a\0b").unwrap_err().starts_with("there is a NUL"));
}

#[cfg(unix)]
#[test]
fn a_value_that_is_not_utf_8_is_an_error_that_names_the_variable() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let environment: Environment = [("RAW", OsString::from_vec(vec![0xff]))]
        .into_iter()
        .collect();
    for text in ["$RAW", "${RAW:-x}"] {
        let error = expand(text, &environment).unwrap_err().to_string();
        assert!(
            error.starts_with("the value of the variable `RAW` is not UTF-8"),
            "{error}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_an_expansion_panic(text in r"([${}:\-A-Z]|NAME|\PC){0,20}") {
        let _ = expand(&text, &environment());
    }
}
