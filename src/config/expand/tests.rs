//! The two forms, and what is neither.

use super::*;

fn environment() -> Environment {
    [
        ("NAME", "value"),
        ("_a1", "low"),
        ("EMPTY", ""),
        ("LOOP", "${NAME}"),
    ]
    .into_iter()
    .collect()
}

fn expanded(text: &str) -> Result<String, String> {
    expand(text, &environment()).map_err(|problem| problem.to_string())
}

// Issue 15: "Expand `${NAME}` and `${NAME:-default}` only."
#[test]
fn the_two_forms_expand() {
    for (text, value) in [
        ("${NAME}", "value"),
        ("${NAME:-default}", "value"),
        ("${OTHER:-default}", "default"),
        ("${OTHER:-}", ""),
        ("a-${NAME}/${_a1}${NAME}.", "a-value/lowvalue."),
        ("${NAME}NAME", "valueNAME"),
        ("ü${NAME}ü", "üvalueü"),
    ] {
        assert_eq!(expanded(text).unwrap(), value, "{text}");
    }
}

#[test]
fn an_empty_variable_takes_the_default_as_in_a_shell() {
    assert_eq!(expanded("${EMPTY:-default}").unwrap(), "default");
    assert_eq!(expanded("[${EMPTY}]").unwrap(), "[]");
}

// Issue 15: "`$NAME` is text (passwords and shell scripts contain it)".
#[test]
fn a_dollar_without_a_brace_is_text() {
    for text in [
        "$",
        "$$",
        "$5",
        "a$",
        "$ NAME",
        "$-",
        "^x$",
        "100%$",
        "",
        "$NAME",
        "pa$NAME",
        "$$NAME",
        "a$$b",
        "$(cat x)",
        "$env:NAME",
        "$_a1-$OTHER",
    ] {
        assert_eq!(expanded(text).unwrap(), text);
    }
}

// Issue 15: "`$${` writes `${`".
#[test]
fn a_second_dollar_makes_a_variable_text() {
    for (text, value) in [
        ("$${NAME}", "${NAME}"),
        ("$${X%%.*}", "${X%%.*}"),
        ("$${", "${"),
        ("$$${NAME}", "$${NAME}"),
        ("$${NAME}${NAME}", "${NAME}value"),
        ("$${env:NAME}", "${env:NAME}"),
        ("${DOLLAR:-$}${NAME}", "$value"),
    ] {
        assert_eq!(expanded(text).unwrap(), value, "{text}");
    }
}

#[test]
fn a_default_ends_at_the_brace_that_closes_it() {
    for (text, value) in [
        ("${OTHER:-{}}", "{}"),
        ("${NAME:-{}}", "value"),
        (r#"${OTHER:-{"a":{"b":1}}}!"#, r#"{"a":{"b":1}}!"#),
        ("${OTHER:-{}", "{"),
        ("${OTHER:-{}x${NAME}", "{xvalue"),
        ("${OTHER:-a}}", "a}"),
    ] {
        assert_eq!(expanded(text).unwrap(), value, "{text}");
    }
}

#[test]
fn a_value_is_not_expanded_again() {
    assert_eq!(expanded("${LOOP} ${LOOP}").unwrap(), "${NAME} ${NAME}");
    assert_eq!(expanded("${OTHER:-$NAME}").unwrap(), "$NAME");
}

// contract.md, "Configuration": "an unset variable without a default is an error that names it".
#[test]
fn an_unset_variable_is_an_error_that_names_it() {
    for text in ["${OTHER}", "x${OTHER}-y"] {
        assert_eq!(
            expanded(text).unwrap_err(),
            "the variable `OTHER` is not set; set it or write `${OTHER:-default}`, or `$${OTHER}` for \
             plain text",
        );
    }
}

#[test]
fn a_form_that_is_neither_is_an_error() {
    for text in [
        "${",
        "${NAME",
        "${}",
        "${1}",
        "${:-x}",
        "${NAME:x}",
        "${NAME-x}",
        "${NAME:?x}",
        "${NAME%%.*}",
    ] {
        assert_eq!(
            expanded(text).unwrap_err(),
            "`${` begins a variable; write `${NAME}` or `${NAME:-default}`, or `$${` for the text `${`",
            "{text}",
        );
    }
    for text in ["${A:-${B}}", "${NAME:-{${B}}}"] {
        assert!(
            expanded(text)
                .unwrap_err()
                .starts_with("the default of a variable"),
            "{text}"
        );
    }
}

// Issue 15: "For `${env:X}`, `${input:x}` and `${workspaceFolder}` say whose syntax it is and what to
// write."
#[test]
fn a_variable_of_another_program_is_an_error_that_says_so() {
    for (text, whose) in [
        ("${env:NAME}", "Cursor"),
        ("${input:key}", "VS Code"),
        ("${workspaceFolder}/x", "VS Code"),
        ("{env:NAME}", "opencode"),
        ("x {env:NAME} ${NAME}", "opencode"),
    ] {
        let message = expanded(text).unwrap_err();
        assert!(
            message.contains(whose) && message.contains("; write "),
            "{message}"
        );
    }
    // Text inside a default is nobody's variable.
    assert_eq!(expanded("${OTHER:-{env:NAME}}").unwrap(), "{env:NAME}");
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
    for text in ["${RAW}", "${RAW:-x}"] {
        let error = expand(text, &environment).unwrap_err().to_string();
        assert!(
            error.starts_with("the value of the variable `RAW` is not UTF-8"),
            "{error}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn a_text_without_a_brace_stays_as_it_is(text in r"[^{]{0,20}") {
        proptest::prop_assert_eq!(expanded(&text.replace('\0', "")).unwrap(), text.replace('\0', ""));
    }

    #[test]
    fn no_text_makes_an_expansion_panic(text in r"([${}:\-A-Z]|NAME|\PC){0,20}") {
        let _ = expand(&text, &environment());
    }
}
