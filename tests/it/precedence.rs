//! contract.md, "Command line": "Precedence, strongest first: a flag that was given, the server's
//! `approvalRules`, `approvalProxy`, the environment, the default." One example for each step; unit
//! tests of `config` cover every key.

use serde_json::json;

use super::support::{ProxyTest, Session};

fn is_asked(session: &mut Session, tool: &str) -> bool {
    session.call(tool, json!({}));
    let message = session.find(|message| {
        message["method"] == "elicitation/create" || message.get("result").is_some()
    });
    message["method"] == "elicitation/create"
}

fn started(test: ProxyTest) -> Session {
    let mut session = test.start();
    session.handshake();
    session
}

/// Returns true if refusals are explained.
fn explains(test: ProxyTest) -> bool {
    let mut session = started(test.flags(["--deny", "read"]));
    session.is_refused("read", json!({})).contains("risk=")
}

#[test]
fn a_flag_beats_the_rules() {
    let rules = json!({"mode": "none", "timeout": 500});
    assert!(is_asked(
        &mut started(ProxyTest::new().rules(rules.clone()).flags(["-m", "all"])),
        "read"
    ));
    assert!(!is_asked(
        &mut started(ProxyTest::new().rules(rules)),
        "wipe"
    ));
    let not = json!({"explainDecisions": false});
    assert!(explains(ProxyTest::new().rules(not).flags(["--explain"])));
}

#[test]
fn the_rules_beat_the_proxy_section() {
    let section = json!({"explainDecisions": true});
    let rules = json!({"explainDecisions": false});
    assert!(!explains(
        ProxyTest::new().section(section.clone()).rules(rules)
    ));
    assert!(explains(ProxyTest::new().section(section)));
}

#[test]
fn the_proxy_section_beats_the_environment() {
    let variable = "APPROVAL_EXPLAIN_DECISIONS";
    let section = json!({"explainDecisions": false});
    assert!(!explains(
        ProxyTest::new().section(section).env(variable, "true")
    ));
    assert!(explains(ProxyTest::new().env(variable, "true")));
}

#[test]
fn the_environment_beats_the_default() {
    let mut session = started(ProxyTest::new().env("APPROVAL_DRY_RUN", "true"));
    session.passes("wipe", json!({}));
    assert_eq!(session.decision("wipe")["decision"], "dry_run");

    let test = ProxyTest::new().without_log();
    let log = test.log_path();
    let mut session = started(test.env("APPROVAL_AUDIT_LOG", log.to_str().unwrap()));
    session.passes("read", json!({}));
    assert_eq!(session.decision("read")["decision"], "passed");

    let mut session = ProxyTest::new()
        .env("APPROVAL_DEFAULT_TIMEOUT", "never")
        .start();
    assert_eq!(session.exit().0, 3);
    session.stderr_says("APPROVAL_DEFAULT_TIMEOUT");
}

// contract.md, "Command line": "Lists of allow and deny are united over all sources. […] in the
// environment a list is JSON or comma-separated."
#[test]
fn lists_of_allow_and_deny_are_united_over_all_sources() {
    let mut session = started(
        ProxyTest::new()
            .rules(json!({"alwaysAllow": ["wipe"], "denyPatterns": ["re*"]}))
            .env("APPROVAL_ALWAYS_ALLOW", "unheard_of, other")
            .env("APPROVAL_ALWAYS_DENY", r#"["plain"]"#)
            .flags(["--allow", "write_file", "--deny", "big"]),
    );
    for tool in ["wipe", "unheard_of", "write_file"] {
        session.passes(tool, json!({}));
    }
    for tool in ["read", "plain", "big"] {
        assert!(
            session.is_refused(tool, json!({})).contains("blocked"),
            "{tool}"
        );
    }
}
