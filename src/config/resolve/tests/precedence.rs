//! Tests each step of the precedence, for each setting that several sources can set.

use super::*;

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
        expected: ["", "a", "", "b", ""],
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
