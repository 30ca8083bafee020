//! Tests every key of the table with good and bad values, and what strict objects refuse.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;
use crate::config::annotations::Annotations;
use crate::config::pattern::Pattern;
use crate::config::value::Value;
use crate::gate::{OnFailure, TimeoutAction};
use crate::policy::Mode;

/// A key with a valid value, the resulting layer, and invalid values.
pub(in crate::config) struct Sample {
    pub(in crate::config) key: &'static str,
    pub(in crate::config) json: &'static str,
    pub(in crate::config) layer: fn() -> Layer,
    pub(in crate::config) bad: &'static [&'static str],
}

fn value<T: Value>(text: &str) -> Option<T> {
    Some(T::from_text(text).unwrap())
}

fn patterns() -> Vec<Pattern> {
    Vec::from_text("get_user, read_*").unwrap()
}

const BAD_LISTS: &[&str] = &[r#""a""#, "1", "null", "[1]", r#"[""]"#, r#"["[a"]"#];
const BAD_SECONDS: &[&str] = &["-1", "1e300", r#""5""#, "null", "true", "[]"];
const BAD_WORDS: &[&str] = &[r#""ask""#, "true", "null", "1"];
const BAD_SWITCHES: &[&str] = &[r#""true""#, "1", "null", "{}"];
const BAD_TEXT_LISTS: &[&str] = &[r#""a""#, "{}", "[1]"];

/// One sample for each key of the table.
#[rustfmt::skip]
pub(in crate::config) const SAMPLES: [Sample; 43] = [
    Sample { key: "mode", json: r#""all""#, layer: || Layer { mode: Some(Mode::All), ..Layer::default() }, bad: BAD_WORDS },
    Sample { key: "alwaysAllow", json: r#"["get_user","read_*"]"#, layer: || Layer { allow: patterns(), ..Layer::default() }, bad: BAD_LISTS },
    Sample { key: "alwaysDeny", json: r#"["get_user","read_*"]"#, layer: || Layer { deny: patterns(), ..Layer::default() }, bad: BAD_LISTS },
    Sample { key: "allowPatterns", json: r#"["get_user","read_*"]"#, layer: || Layer { allow: patterns(), ..Layer::default() }, bad: BAD_LISTS },
    Sample { key: "denyPatterns", json: r#"["get_user","read_*"]"#, layer: || Layer { deny: patterns(), ..Layer::default() }, bad: BAD_LISTS },
    Sample { key: "customAnnotations", json: r#"{"t":{"readOnlyHint":true}}"#, layer: || Layer { custom_annotations: value::<Annotations>(r#"{"t":{"readOnlyHint":true}}"#).unwrap(), ..Layer::default() }, bad: &["[]", r#"{"t":1}"#, r#"{"t":{"x":true}}"#] },
    Sample { key: "timeout", json: "1.5", layer: || Layer { timeout: value("1.5"), ..Layer::default() }, bad: BAD_SECONDS },
    Sample { key: "timeoutAction", json: r#""approve""#, layer: || Layer { timeout_action: Some(TimeoutAction::Approve), ..Layer::default() }, bad: BAD_WORDS },
    Sample { key: "dryRun", json: "true", layer: || Layer { dry_run: Some(true), ..Layer::default() }, bad: BAD_SWITCHES },
    Sample { key: "auditLog", json: r#""a.jsonl""#, layer: || Layer { audit_log: Some(PathBuf::from("a.jsonl")), ..Layer::default() }, bad: &["1", "null", r#""""#] },
    Sample { key: "defaultTimeout", json: "0", layer: || Layer { timeout: value("0"), ..Layer::default() }, bad: BAD_SECONDS },
    Sample { key: "defaultTimeoutAction", json: r#""approve""#, layer: || Layer { timeout_action: Some(TimeoutAction::Approve), ..Layer::default() }, bad: BAD_WORDS },
    Sample { key: "inboxKey", json: r#""sha256:4bb06f8e4e3a7715d201d573d0aa423762e55dabd61a2c02278fa56cc6d294e0""#, layer: || Layer { inbox_key: value("sha256:4bb06f8e4e3a7715d201d573d0aa423762e55dabd61a2c02278fa56cc6d294e0"), ..Layer::default() }, bad: &["1", "null", r#""""#, r#""sha256:4bb0""#, r#""4bb06f8e4e3a7715d201d573d0aa423762e55dabd61a2c02278fa56cc6d294e0""#] },
    Sample { key: "clientIdMetadataUrl", json: r#""https://a.example/client.json""#, layer: || Layer { client_id_metadata_url: value("https://a.example/client.json"), ..Layer::default() }, bad: &["1", "null", r#""""#, r#""http://a.example/client.json""#, r#""https://a.example/""#, r#""https://a.example/x#y""#, r#""https://me@a.example/x""#] },
    Sample { key: "approvalTtlSeconds", json: "60", layer: || Layer { approval_ttl: value("60"), ..Layer::default() }, bad: BAD_SECONDS },
    Sample { key: "explainDecisions", json: "true", layer: || Layer { explain: Some(true), ..Layer::default() }, bad: BAD_SWITCHES },
    Sample { key: "highRiskRequiresDoubleConfirmation", json: "true", layer: || Layer { double_confirm: Some(true), ..Layer::default() }, bad: BAD_SWITCHES },
    Sample { key: "approvalRetryAttempts", json: "3", layer: || Layer { retry_attempts: value("3"), ..Layer::default() }, bad: &["-1", "1.5", "1001", r#""3""#] },
    Sample { key: "approvalRetryInitialBackoffSeconds", json: "0.1", layer: || Layer { retry_initial_backoff: value("0.1"), ..Layer::default() }, bad: BAD_SECONDS },
    Sample { key: "approvalRetryMaxBackoffSeconds", json: "9", layer: || Layer { retry_max_backoff: value("9"), ..Layer::default() }, bad: BAD_SECONDS },
    Sample { key: "approvalRetryBackoffMultiplier", json: "1.5", layer: || Layer { retry_multiplier: value("1.5"), ..Layer::default() }, bad: &["0.5", "-2", "1e300", r#""2""#] },
    Sample { key: "approvalRetryableStatusCodes", json: "[408,503]", layer: || Layer { retryable_status_codes: value("408,503"), ..Layer::default() }, bad: &["408", "[99]", "[600]", "[408.5]", r#"["408"]"#] },
    Sample { key: "engines", json: r#"["inbox"]"#, layer: || Layer { engines: value("inbox"), ..Layer::default() }, bad: &["[]", r#""inbox""#, r#"[{"type":"inbox","x":1}]"#] },
    Sample { key: "requireAssurance", json: r#""inbox-session""#, layer: || Layer { require_assurance: value("inbox-session"), ..Layer::default() }, bad: BAD_WORDS },
    Sample { key: "approvalOnTimeout", json: r#""fallback""#, layer: || Layer { on_timeout: Some(OnFailure::Fallback), ..Layer::default() }, bad: &[r#""approve""#, "true"] },
    Sample { key: "approvalOnTransportError", json: r#""deny""#, layer: || Layer { on_transport_error: Some(OnFailure::Deny), ..Layer::default() }, bad: &[r#""approve""#, "true"] },
    Sample { key: "approvalParkSeconds", json: "600", layer: || Layer { park: value("600"), ..Layer::default() }, bad: &["0", "0.5", "-1", "1e300", r#""5""#, "null", "true", "[]"] },
    Sample { key: "approvalInstantDeclineMs", json: "0", layer: || Layer { instant_decline_ms: value("0"), ..Layer::default() }, bad: &["-1", "0.5", "10001", r#""5""#, "null", "true", "[]"] },
    Sample { key: "approvalAlsoInboxAfter", json: "2.5", layer: || Layer { also_inbox_after: value("2.5"), ..Layer::default() }, bad: BAD_SECONDS },
    Sample { key: "approvalDenyMemorySeconds", json: "60", layer: || Layer { deny_memory: value("60"), ..Layer::default() }, bad: BAD_SECONDS },
    Sample { key: "approvalAllowInsecureHttp", json: "false", layer: || Layer { allow_insecure_http: Some(false), ..Layer::default() }, bad: BAD_SWITCHES },
    Sample { key: "approvalAllowedHosts", json: r#"["example.com"]"#, layer: || Layer { question_hosts: value("example.com"), ..Layer::default() }, bad: &[r#""a""#, r#"["http://a"]"#] },
    Sample { key: "approvalAuthToken", json: r#""abc""#, layer: || Layer { question_token: value("abc"), ..Layer::default() }, bad: &["1", r#""""#, r#""a b""#] },
    Sample { key: "decisionSecret", json: r#""abc""#, layer: || Layer { decision_secret: value("abc"), ..Layer::default() }, bad: &["1", r#""""#] },
    Sample { key: "approvalAuthTokenFile", json: r#""/run/token""#, layer: || Layer { question_token_file: Some(PathBuf::from("/run/token")), ..Layer::default() }, bad: &["1", r#""""#] },
    Sample { key: "ask", json: r#""race""#, layer: || Layer { ask: value("race"), ..Layer::default() }, bad: BAD_WORDS },
    Sample { key: "askDefault", json: r#""deny""#, layer: || Layer { ask_default: value("deny"), ..Layer::default() }, bad: &[r#""approve""#, "true", r#""ask""#] },
    Sample { key: "allowedRecipients", json: r##"["#ops","U1A"]"##, layer: || Layer { allowed_recipients: value("#ops,U1A"), ..Layer::default() }, bad: &[r#""a@b""#, r#"[""]"#, r#"["a b"]"#, "[1]", "null"] },
    Sample { key: "approvalForm", json: r#"{"type":"object","properties":{"po":{"type":"string"}}}"#, layer: || Layer { approval_form: value(r#"{"type":"object","properties":{"po":{"type":"string"}}}"#), ..Layer::default() }, bad: &["[]", r#""a""#, "{}", r#"{"type":"object","properties":{"po":{"type":"object"}}}"#] },
    Sample { key: "approvalDedupeKeyFields", json: r#"["tool","risk"]"#, layer: || Layer { dedupe_fields: value("tool,risk"), ..Layer::default() }, bad: &["[]", r#"["tools"]"#, r#""tool""#] },
    Sample { key: "approvalDedupeArgKeys", json: r#"["id"]"#, layer: || Layer { dedupe_arg_keys: Some(vec!["id".to_owned()]), ..Layer::default() }, bad: BAD_TEXT_LISTS },
    Sample { key: "inbox", json: r#"{"pageUrl":"http://localhost:1"}"#, layer: || Layer { inbox: value(r#"{"pageUrl":"http://localhost:1"}"#), ..Layer::default() }, bad: &["[]", r#""a""#, "{}", r#"{"pageUrl":1}"#, r#"{"pageUrl":"http://a.example"}"#, r#"{"pageUrl":"http://localhost:1","x":1}"#] },
    Sample { key: "auditRedact", json: r#"{"names":["id"],"patterns":["a+"]}"#, layer: || Layer { audit_redact: value(r#"{"names":["id"],"patterns":["a+"]}"#).unwrap(), ..Layer::default() }, bad: &["[]", r#""a""#, r#"{"names":"a"}"#, r#"{"patterns":["("]}"#, r#"{"name":[]}"#] },
];

const BOTH: [Section; 2] = [Section::Rules, Section::Proxy];

fn setting(key: &str) -> &'static Setting {
    let mut settings = SETTINGS.iter();
    settings.find(|row| row.key() == Some(key)).unwrap()
}

fn read(section: Section, members: &str) -> Result<Layer, String> {
    let text = format!(r#"{{"{}":{members}}}"#, section.name());
    let Node::Object(object) = serde_json::from_str(&text).unwrap() else {
        panic!("{text}");
    };
    section
        .read_from(&object)
        .map_err(|fault| fault.to_string())
}

#[test]
fn every_key_of_the_table_has_a_sample() {
    let samples: BTreeSet<&str> = SAMPLES.iter().map(|sample| sample.key).collect();
    let keys: BTreeSet<&str> = SETTINGS.iter().filter_map(Setting::key).collect();
    assert_eq!(samples, keys);
}

#[test]
fn every_key_is_read_into_its_field_where_it_belongs() {
    for Sample {
        key: name,
        json,
        layer,
        ..
    } in SAMPLES
    {
        for section in BOTH {
            let read = read(section, &format!(r#"{{"{name}":{json}}}"#));
            if section.takes(setting(name)) {
                assert_eq!(read.unwrap(), layer(), "{name}");
            } else {
                assert!(
                    read.unwrap_err()
                        .contains("this key has no effect here; move it")
                );
            }
        }
    }
}

// contract.md, "Configuration": "Inside `approvalRules` and `approvalProxy` an unknown key is an
// error with the nearest known key; so is a wrong type, a bad enum, a negative number, a bad glob."
#[test]
fn every_key_refuses_bad_values_and_names_its_place() {
    for Sample { key: name, bad, .. } in SAMPLES {
        let section = BOTH
            .into_iter()
            .find(|section| section.takes(setting(name)))
            .unwrap();
        for json in bad {
            let error = read(section, &format!(r#"{{"{name}":{json}}}"#)).unwrap_err();
            let place = format!("/{}/{name}", section.name());
            assert!(error.starts_with(&place), "{json}: {error}");
        }
    }
}

#[test]
fn a_bad_word_lists_the_allowed_ones() {
    assert_eq!(
        read(Section::Rules, r#"{"mode":"ask"}"#).unwrap_err(),
        "/approvalRules/mode: expected one of `destructive`, `cautious`, `all`, `annotated`, \
         `none`, found `ask`",
    );
}

#[test]
fn an_unknown_key_is_an_error_with_the_nearest_known_key_of_its_section() {
    for (section, name, nearest) in [
        (Section::Rules, "Mode", "mode"),
        (Section::Rules, "deny", "denyPatterns"),
        (Section::Rules, "timeout_action", "timeoutAction"),
        (Section::Proxy, "dry_run", "dryRun"),
        (Section::Proxy, "timeout", "timeout"),
        (Section::Proxy, "defaultTimout", "defaultTimeout"),
        (Section::Proxy, "auditFile", "auditLog"),
    ] {
        let error = read(section, &format!(r#"{{"{name}":1}}"#)).unwrap_err();
        let place = format!("/{}/{name}: ", section.name());
        let message = match name == nearest {
            true => "this key has no effect here; move it into `approvalRules` of a server".into(),
            false => format!("unknown key; did you mean `{nearest}`?"),
        };
        assert_eq!(error, place + &message);
    }
}

#[test]
fn a_misplaced_key_is_an_error_that_says_where_to_move_it() {
    assert_eq!(
        read(Section::Rules, r#"{"dryRun":true}"#).unwrap_err(),
        "/approvalRules/dryRun: this key has no effect here; move it into `approvalProxy`",
    );
}

#[test]
fn a_repeated_key_is_an_error() {
    assert_eq!(
        read(Section::Rules, r#"{"mode":"all","\u006dode":"none"}"#).unwrap_err(),
        "/approvalRules/mode: this key is written twice; keep one of the two",
    );
    let text = r#"{"approvalRules":{},"approvalRules":{"mode":"none"}}"#;
    let Node::Object(object) = serde_json::from_str(text).unwrap() else {
        panic!()
    };
    assert!(Section::Rules.read_from(&object).is_err());
    assert!(Section::Proxy.read_from(&object).is_ok());
}

#[test]
fn a_section_that_is_not_an_object_is_an_error_and_a_missing_one_is_empty() {
    for json in ["[]", "true", r#""mode""#, "1"] {
        let error = read(Section::Proxy, json).unwrap_err();
        assert!(
            error.starts_with("/approvalProxy: expected an object, found "),
            "{error}"
        );
    }
    assert_eq!(read(Section::Proxy, "null").unwrap(), Layer::default());
    assert_eq!(read(Section::Proxy, "{}").unwrap(), Layer::default());
    assert_eq!(
        Section::Rules.read_from(&Object::default()).unwrap(),
        Layer::default()
    );
}

#[test]
fn exact_names_and_patterns_are_one_list() {
    let layer = read(
        Section::Rules,
        r#"{"alwaysAllow":["a"],"allowPatterns":["b*"],"denyPatterns":["c*"],"alwaysDeny":["d"]}"#,
    );
    let layer = layer.unwrap();
    assert_eq!(layer.allow, Vec::<Pattern>::from_text("a,b*").unwrap());
    assert_eq!(layer.deny, Vec::<Pattern>::from_text("c*,d").unwrap());
}
