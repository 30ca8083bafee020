//! Tests each step of the precedence, for each setting that several sources can set.

use super::*;
use crate::config::section::Section;
use crate::config::setting::Setting;
use crate::config::settings::SETTINGS;
use crate::config::value::Form;

// contract.md, "Command line": "Precedence, strongest first: a flag that was given, the server's
// `approvalRules`, `approvalProxy`, the environment, the default."
#[test]
fn each_source_beats_all_weaker_ones() {
    for row in ROWS {
        for (strongest, expected) in row.expected.into_iter().enumerate() {
            let is_there = |source: usize| source >= strongest;
            let mut flags = flags();
            if is_there(0) {
                (row.flag)(&mut flags.layer);
            }
            let rules = if is_there(1) { row.rules } else { "" };
            let proxy = if is_there(2) { row.proxy } else { "" };
            let mut variables = vec![("HOME", "/home/me")];
            if is_there(3) {
                variables.push(row.variable);
            }
            let source_is_silent = match strongest {
                0 => flags.layer == Layer::default(),
                1 => row.rules.is_empty(),
                2 => row.proxy.is_empty(),
                _ => false,
            };
            if source_is_silent {
                continue;
            }
            let resolved = resolved(flags, &config(rules, proxy), &variables).unwrap();
            assert_eq!(
                (row.seen)(&resolved),
                expected,
                "{} {strongest}",
                row.variable.0
            );
            let is_unread = |warning: &&String| warning.contains("no effect");
            assert_eq!(resolved.warnings.iter().find(is_unread), None);
        }
    }
}

/// A setting, its value in each source, and the result of each.
struct Row {
    flag: fn(&mut Layer),
    /// A member of `approvalRules`; empty if the key has no effect there.
    rules: &'static str,
    /// A member of `approvalProxy`; empty if the key has no effect there.
    proxy: &'static str,
    variable: (&'static str, &'static str),
    seen: fn(&Resolved) -> String,
    /// From the flag, the rules, the proxy, the variable, and the default.
    expected: [&'static str; 5],
}

#[rustfmt::skip]
const ROWS: [Row; 15] = [
    Row {
        flag: |to| to.mode = Some(Mode::All), rules: r#""mode":"none""#, proxy: "",
        variable: ("APPROVAL_MODE", "annotated"),
        seen: |r| r.rules.mode.to_string(),
        expected: ["all", "none", "", "annotated", "destructive"],
    },
    Row {
        flag: |_| (), rules: r#""customAnnotations":{"a":{}}"#, proxy: "",
        variable: ("APPROVAL_CUSTOM_ANNOTATIONS", r#"{"b":{}}"#),
        seen: |r| r.rules.custom_annotations.keys().cloned().collect(),
        expected: ["", "ab", "", "b", ""],
    },
    Row {
        flag: |to| to.timeout = value("1"), rules: r#""timeout":2"#, proxy: r#""defaultTimeout":3"#,
        variable: ("APPROVAL_DEFAULT_TIMEOUT", "4"),
        seen: |r| format!("{:?}", r.settings.timeout),
        expected: ["Some(1s)", "Some(2s)", "Some(3s)", "Some(4s)", "Some(120s)"],
    },
    Row {
        flag: |to| to.timeout_action = Some(TimeoutAction::Approve), rules: r#""timeoutAction":"deny""#,
        proxy: r#""defaultTimeoutAction":"approve""#,
        variable: ("APPROVAL_DEFAULT_TIMEOUT_ACTION", "deny"),
        seen: |r| format!("{:?}", r.settings.timeout_action),
        expected: ["Approve", "Deny", "Approve", "Deny", "Deny"],
    },
    Row {
        flag: |_| (), rules: "", proxy: r#""defaultTimeoutAction":"deny""#,
        variable: ("APPROVAL_TIMEOUT_ACTION", "approve"),
        seen: |r| format!("{:?}", r.settings.timeout_action),
        expected: ["", "", "Deny", "Approve", "Deny"],
    },
    Row {
        flag: |to| to.dry_run = Some(true), rules: "", proxy: r#""dryRun":false"#,
        variable: ("APPROVAL_DRY_RUN", "yes"),
        seen: |r| r.settings.dry_run.to_string(),
        expected: ["true", "", "false", "true", "false"],
    },
    Row {
        flag: |to| to.audit_log = Some("flag".into()), rules: "", proxy: r#""auditLog":"proxy""#,
        variable: ("APPROVAL_AUDIT_LOG", "~/env"),
        seen: |r| format!("{:?}", r.audit_log),
        expected: [r#"File("flag")"#, "", r#"File("proxy")"#, r#"File("/home/me/env")"#, "StateFolder"],
    },
    Row {
        flag: |to| to.approval_ttl = value("1"), rules: r#""approvalTtlSeconds":2"#, proxy: r#""approvalTtlSeconds":3"#,
        variable: ("APPROVAL_APPROVAL_TTL_SECONDS", "4"),
        seen: |r| format!("{:?}", r.settings.approval_ttl),
        expected: ["1s", "2s", "3s", "4s", "0ns"],
    },
    Row {
        flag: |to| to.explain = Some(true), rules: r#""explainDecisions":false"#, proxy: r#""explainDecisions":true"#,
        variable: ("APPROVAL_EXPLAIN_DECISIONS", "on"),
        seen: |r| r.settings.explain.to_string(),
        expected: ["true", "false", "true", "true", "false"],
    },
    Row {
        flag: |to| to.double_confirm = Some(true), rules: r#""highRiskRequiresDoubleConfirmation":false"#,
        proxy: r#""highRiskRequiresDoubleConfirmation":true"#,
        variable: ("APPROVAL_HIGH_RISK_REQUIRES_DOUBLE_CONFIRMATION", "1"),
        seen: |r| r.settings.double_confirm.to_string(),
        expected: ["true", "false", "true", "true", "false"],
    },
    Row {
        flag: |to| to.retry_attempts = value("1"), rules: r#""approvalRetryAttempts":0"#, proxy: r#""approvalRetryAttempts":3"#,
        variable: ("APPROVAL_APPROVAL_RETRY_ATTEMPTS", "4"),
        seen: |r| r.settings.retry.attempts.to_string(),
        expected: ["1", "0", "3", "4", "2"],
    },
    Row {
        flag: |to| to.retry_initial_backoff = value("1"), rules: r#""approvalRetryInitialBackoffSeconds":2"#,
        proxy: r#""approvalRetryInitialBackoffSeconds":3"#,
        variable: ("APPROVAL_APPROVAL_RETRY_INITIAL_BACKOFF_SECONDS", "4"),
        seen: |r| format!("{:?}", r.settings.retry.initial_backoff),
        expected: ["1s", "2s", "3s", "4s", "500ms"],
    },
    Row {
        flag: |to| to.retry_max_backoff = value("1"), rules: r#""approvalRetryMaxBackoffSeconds":2"#,
        proxy: r#""approvalRetryMaxBackoffSeconds":3"#,
        variable: ("APPROVAL_APPROVAL_RETRY_MAX_BACKOFF_SECONDS", "4"),
        seen: |r| format!("{:?}", r.settings.retry.max_backoff),
        expected: ["1s", "2s", "3s", "4s", "5s"],
    },
    Row {
        flag: |to| to.retry_multiplier = value("1"), rules: r#""approvalRetryBackoffMultiplier":1.5"#,
        proxy: r#""approvalRetryBackoffMultiplier":3"#,
        variable: ("APPROVAL_APPROVAL_RETRY_BACKOFF_MULTIPLIER", "4"),
        seen: |r| r.settings.retry.multiplier.to_string(),
        expected: ["1", "1.5", "3", "4", "2"],
    },
    Row {
        flag: |to| (to.dedupe_fields, to.dedupe_arg_keys) = (value("server"), value("a")),
        rules: r#""approvalDedupeKeyFields":["tool"],"approvalDedupeArgKeys":["b"]"#,
        proxy: r#""approvalDedupeKeyFields":["args"],"approvalDedupeArgKeys":["c"]"#,
        variable: ("APPROVAL_APPROVAL_DEDUPE_KEY_FIELDS", "risk"),
        seen: |r| format!("{:?} {:?}", r.settings.dedupe_fields, r.settings.dedupe_arg_keys),
        expected: [r#"[Server] ["a"]"#, r#"[Tool] ["b"]"#, r#"[Args] ["c"]"#, "[Risk] []", "[Server, Tool, Args] []"],
    },
];

/// The sources of a key, from strongest to weakest, and how each holds a member `"key": value`.
const SOURCES: [Place; 7] = [
    Place::Flag,
    Place::Rules,
    Place::Proxy,
    Place::Variable,
    Place::ServersName,
    Place::ServersAny,
    Place::UserProxy,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Flag,
    Rules,
    Proxy,
    Variable,
    ServersName,
    ServersAny,
    UserProxy,
}

/// What some sources say about one setting, merged. `None` if one of them cannot hold it.
fn merged_from(setting: &Setting, values: &[(Place, &str)]) -> Option<Layer> {
    let key = setting.key()?;
    let (mut rules, mut proxy) = (String::new(), String::new());
    let (mut name, mut any, mut own) = (String::new(), String::new(), String::new());
    let (mut flags, mut variables) = (Layer::default(), Vec::new());
    let in_rules = Section::Rules.takes(setting);
    let in_proxy = Section::Proxy.takes(setting);
    for (place, json) in values {
        let member = format!("\"{key}\": {json}");
        let text = json.trim_matches('"').to_owned();
        let (fits, to) = match place {
            Place::Rules => (in_rules, &mut rules),
            Place::ServersName => (in_rules, &mut name),
            Place::ServersAny => (in_rules, &mut any),
            Place::Proxy => (in_proxy, &mut proxy),
            Place::UserProxy => (in_proxy, &mut own),
            Place::Flag => {
                setting.flag?;
                flags = match setting.form {
                    // A switch can only be turned on.
                    Form::Switch if *json == "false" => return None,
                    Form::Path => setting.read_path(Path::new(&text)).unwrap(),
                    Form::Text | Form::Number | Form::Switch if json.starts_with('[') => {
                        let list: Vec<String> = serde_json::from_str(json).unwrap();
                        setting.read_argument(&list.join(",")).unwrap()
                    }
                    Form::Text | Form::Number | Form::Switch => {
                        setting.read_argument(&text).unwrap()
                    }
                };
                continue;
            }
            Place::Variable => {
                variables.push((setting.variable()?, text));
                continue;
            }
        };
        fits.then_some(())?;
        *to = member;
    }
    let user = format!(
        r#"{{"servers": {{"db": {{{name}}}, "*": {{{any}}}}}, "approvalProxy": {{{own}}}}}"#
    );
    let user = UserConfigs {
        in_use: Some(UserConfig::parse(Path::new("config.json"), user.as_bytes()).unwrap()),
        ..UserConfigs::default()
    };
    let file = ConfigFile::parse(Path::new("cfg.json"), config(&rules, &proxy).as_bytes()).unwrap();
    let environment: Environment = variables.into_iter().collect();
    let guarded = Guarded::in_file(file, None, &environment).unwrap();
    let merged = merged(flags, &guarded, &user, &environment);
    Some(
        merged
            .unwrap_or_else(|error| panic!("{key} {values:?}: {error}"))
            .0,
    )
}

/// Two values of a key that differ, and from its default.
fn two_values(setting: &Setting) -> [String; 2] {
    let quoted = |word: &str| format!("\"{word}\"");
    let words: Vec<&str> = (setting.words)()
        .into_iter()
        .map(|(word, _)| word)
        .collect();
    if setting.form == Form::Switch {
        return ["true".into(), "false".into()];
    }
    match setting.name {
        "approvalRetryableStatusCodes" => ["[500]".into(), "[503]".into()],
        "engines" => [r#"["inbox"]"#.into(), r#"["elicitation"]"#.into()],
        "customAnnotations" => [
            r#"{"t":{"readOnlyHint":true}}"#.into(),
            r#"{"t":{"readOnlyHint":false}}"#.into(),
        ],
        "auditRedact" => [r#"{"names":["a1"]}"#.into(), r#"{"names":["b2"]}"#.into()],
        "approvalForm" => ["a", "b"].map(|name| {
            format!(r#"{{"type":"object","properties":{{"{name}":{{"type":"boolean"}}}}}}"#)
        }),
        "inbox" => ["1", "2"].map(|port| format!(r#"{{"pageUrl":"http://localhost:{port}"}}"#)),
        "clientIdMetadataUrl" => [
            quoted("https://a.example/x.json"),
            quoted("https://b.example/x.json"),
        ],
        "inboxKey" => ["1", "2"].map(|digit| quoted(&format!("sha256:{}", digit.repeat(64)))),
        "approvalDedupeKeyFields" => [r#"["tool"]"#.into(), r#"["server"]"#.into()],
        _ if !words.is_empty() => [quoted(words[0]), quoted(words[1])],
        _ if setting.form == Form::Number => ["7".into(), "9".into()],
        _ if setting.schema()["type"] == "array" => [r#"["aa"]"#.into(), r#"["bb"]"#.into()],
        _ => [quoted("aa"), quoted("bb")],
    }
}

// configuration.md, "Which source wins": all seven sources, in pairs, for every key of the table.
#[test]
fn of_two_sources_the_stronger_wins_for_every_key() {
    let mut pairs = 0;
    for setting in SETTINGS.iter().filter(|setting| setting.key().is_some()) {
        // It has only one value.
        if setting.name == "askDefault" {
            continue;
        }
        let [a, b] = two_values(setting);
        for (at, stronger) in SOURCES.into_iter().enumerate() {
            for weaker in SOURCES.into_iter().skip(at + 1) {
                for (high, low) in [(&a, &b), (&b, &a)] {
                    let both = merged_from(setting, &[(stronger, high), (weaker, low)]);
                    let (Some(both), Some(alone)) =
                        (both, merged_from(setting, &[(stronger, high)]))
                    else {
                        continue;
                    };
                    let weak = merged_from(setting, &[(weaker, low)]).unwrap();
                    let about = format!(
                        "{}: {stronger:?} {high} over {weaker:?} {low}",
                        setting.name
                    );
                    // Lists of all sources count together; of one hint about one tool, the stronger source's counts.
                    match setting.adds_up && setting.name != "customAnnotations" {
                        true => assert!(both != alone && both != weak, "{about}"),
                        false => assert_eq!(both, alone, "{about}"),
                    }
                    assert_ne!(alone, weak, "{about}");
                    pairs += 1;
                }
            }
        }
    }
    assert!(pairs > 600, "{pairs}");
}
