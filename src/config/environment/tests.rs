//! All our variables, and unknown ones.

use super::*;
use crate::config::section::tests::SAMPLES;

fn environment<const N: usize>(variables: [(&str, &str); N]) -> Environment {
    variables.into_iter().collect()
}

fn error(name: &str, value: &str) -> String {
    environment([(name, value)])
        .layer()
        .unwrap_err()
        .to_string()
}

// contract.md, "Command line": "A variable of the environment is `APPROVAL_` + the key in
// SCREAMING_SNAKE".
#[test]
fn every_key_can_be_given_as_a_variable() {
    for sample in SAMPLES {
        let mut settings = SETTINGS.iter();
        let setting = settings.find(|setting| setting.key() == Some(sample.key));
        let variable = setting.unwrap().variable().unwrap();
        // Words and paths have no quotes in a variable; everything else is as in the file.
        let text = sample.json.trim_matches('"');
        let layer = environment([(variable.as_str(), text)]).layer().unwrap();
        assert_eq!(layer, (sample.layer)(), "{variable}={text}");
    }
}

#[test]
fn a_list_may_be_comma_separated() {
    let layer = environment([("APPROVAL_ALWAYS_DENY", " rm , delete_* ")])
        .layer()
        .unwrap();
    assert_eq!(layer.deny, Vec::from_text("rm,delete_*").unwrap());
}

#[test]
fn a_bad_value_names_the_variable() {
    assert_eq!(
        error("APPROVAL_DRY_RUN", "maybe"),
        "environment variable `APPROVAL_DRY_RUN`: expected `true` or `false`, found `maybe`",
    );
    assert_eq!(
        error("APPROVAL_CUSTOM_ANNOTATIONS", r#"{"t":{"title":1}}"#),
        "environment variable `APPROVAL_CUSTOM_ANNOTATIONS`: /t/title: expected a string, found \
         a number",
    );
    for (name, value) in [
        ("APPROVAL_MODE", "ask"),
        ("APPROVAL_DEFAULT_TIMEOUT", "-1"),
        ("APPROVAL_TIMEOUT", "NaN"),
        ("APPROVAL_ALWAYS_ALLOW", "[a"),
    ] {
        let start = format!("environment variable `{name}`: ");
        assert!(error(name, value).starts_with(&start), "{name}");
    }
}

#[test]
fn the_variable_of_the_approvers_name_is_checked_and_known() {
    let here = |name: &str| environment([("APPROVAL_APPROVER", name)]);
    let read = here(" Ann ").approver().unwrap();
    assert_eq!(read.unwrap().into_string(), "Ann");
    assert_eq!(here(" ").approver().unwrap(), None);
    assert_eq!(environment([]).approver().unwrap(), None);
    assert_eq!(
        here("An\u{202e}n").approver().unwrap_err().to_string(),
        "environment variable `APPROVAL_APPROVER`: expected a name of at most 64 visible characters, \
         found another value: a name cannot contain the invisible character U+202E"
    );
    assert_eq!(here("Ann").warnings(), [""; 0]);
}

#[test]
fn a_blank_variable_counts_as_not_set() {
    for value in ["", " \t"] {
        for setting in SETTINGS.iter().filter(|setting| !setting.is_secret) {
            let Some(variable) = setting.variable() else {
                continue;
            };
            let layer = environment([(variable.as_str(), value)]).layer_of(|_| true);
            assert_eq!(layer.unwrap(), Layer::default());
        }
    }
}

// A blank `APPROVAL_AUTH_TOKEN` used to turn authentication off silently.
#[test]
fn a_secret_that_is_set_but_empty_is_an_error() {
    for blank in ["", " \t\n"] {
        let token = environment([("APPROVAL_AUTH_TOKEN", blank)]).auth_token();
        assert_eq!(
            token.unwrap_err().to_string(),
            "environment variable `APPROVAL_AUTH_TOKEN`: this secret is set but empty; give it a \
             value, or remove it"
        );
        for setting in SETTINGS.iter().filter(|setting| setting.is_secret) {
            let variable = setting.variable().unwrap();
            let blank = environment([(variable.as_str(), blank)]).layer_of(|_| true);
            let message = blank.unwrap_err().to_string();
            assert!(message.contains("set but empty"), "{message}");
        }
    }
}

#[test]
fn a_token_is_checked_and_never_quoted() {
    let token = |text| environment([("APPROVAL_AUTH_TOKEN", text)]).auth_token();
    let long = "x".repeat(4097);
    for bad in ["two words", "seven77", "pässword", &long] {
        let message = token(bad).unwrap_err().to_string();
        assert!(
            message.contains("APPROVAL_AUTH_TOKEN") && !message.contains(bad),
            "{message}"
        );
    }
    for good in ["eight888", " eight888\n", &"x".repeat(4096)] {
        assert_eq!(token(good).unwrap().unwrap().expose(), good.trim());
    }
    let name = "APPROVAL_APPROVAL_AUTH_TOKEN";
    let message = error(name, "two words");
    assert!(
        message.contains(name) && !message.contains("two"),
        "{message}"
    );
    let layer = environment([(name, "token")]).layer().unwrap();
    assert!(layer.question_token.is_some());
}

#[test]
fn an_unknown_variable_of_ours_is_a_warning_with_the_nearest_name() {
    let environment = environment([
        ("APPROVAL_DRYRUN", "1"),
        ("APPROVAL_TTL_SECONDS", "1"),
        ("APPROVAL_DRY_RUN", "1"),
        ("APPROVAL_PROXY_DEPTH", "1"),
        ("APPROVAL_PROXY_PROBE", "1"),
        ("APPROVAL_AUTH_TOKEN", "x"),
        ("APPROVAL_WORKFLOW_QUEUE", "1"),
        ("APPROVALS", "1"),
        ("PATH", "/bin"),
    ]);
    assert_eq!(
        environment.warnings(),
        [
            "environment variable `APPROVAL_DRYRUN` is unknown and has no effect; did you mean \
         `APPROVAL_DRY_RUN`?",
            "environment variable `APPROVAL_TTL_SECONDS` is unknown and has no effect; did you mean \
         `APPROVAL_APPROVAL_TTL_SECONDS`?",
            "environment variable `APPROVAL_WORKFLOW_QUEUE` is unknown and has no effect; ignore this if \
         another program reads it",
        ]
    );
}

#[test]
fn a_tilde_at_the_start_of_a_path_is_home() {
    let here = environment([("HOME", "/home/me")]);
    for (path, full) in [
        ("~/a.jsonl", "/home/me/a.jsonl"),
        ("~", "/home/me"),
        ("~you/a", "~you/a"),
        ("a/~/b", "a/~/b"),
        ("/a", "/a"),
    ] {
        assert_eq!(
            here.in_home(path.into()).unwrap(),
            Path::new(full),
            "{path}"
        );
    }
    for nowhere in [environment([]), environment([("HOME", "")])] {
        let error = nowhere.in_home("~/a".into()).unwrap_err().to_string();
        assert_eq!(
            error,
            "`~/a` needs the variable `HOME`; set it or write the path in full"
        );
        assert!(nowhere.in_home("a".into()).is_ok());
    }
}

#[test]
fn values_are_not_printed_by_debug() {
    let message = format!("{:?}", environment([("TOKEN", "hunter2")]));
    assert!(
        message.contains("TOKEN") && !message.contains("hunter2"),
        "{message}"
    );
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf_8_is_an_error_only_where_it_is_read() {
    use std::os::unix::ffi::OsStringExt;
    let raw = || OsString::from_vec(vec![0xff]);
    let foreign: Environment = [("LS_COLORS", raw())].into_iter().collect();
    assert_eq!(foreign.layer().unwrap(), Layer::default());
    let ours: Environment = [("APPROVAL_MODE", raw())].into_iter().collect();
    let error = ours.layer().unwrap_err().to_string();
    assert!(error.contains("`APPROVAL_MODE` is not UTF-8"), "{error}");
    let name: Environment = [(raw(), "x")].into_iter().collect();
    assert!(name.warnings().is_empty());
}
