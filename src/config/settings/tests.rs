//! Compares the table with the contract and with what is generated from it.

pub(in crate::config) mod documents;

use std::collections::BTreeSet;

use super::*;
use crate::config::setting::Place;

// contract.md, "Configuration": "Each key belongs to `approvalRules` (per server), to
// `approvalProxy` (global), or to both".
#[test]
fn every_key_of_the_contract_has_its_place() {
    let of = |place| {
        let keys = SETTINGS
            .iter()
            .filter(move |setting| setting.place == place);
        keys.filter_map(Setting::key).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        of(Place::Rules),
        "mode alwaysAllow allowPatterns alwaysDeny denyPatterns customAnnotations timeout \
         timeoutAction",
    );
    assert_eq!(
        of(Place::Proxy),
        "dryRun defaultTimeout defaultTimeoutAction decisionSecret ask allowedRecipients approvalForm askDefault inbox inboxKey auditLog clientIdMetadataUrl"
    );
    assert_eq!(
        of(Place::Both),
        "explainDecisions engines requireAssurance approvalOnTimeout approvalOnTransportError \
         approvalParkSeconds approvalInstantDeclineMs approvalAlsoInboxAfter approvalDenyMemorySeconds \
         approvalTtlSeconds highRiskRequiresDoubleConfirmation approvalRetryAttempts \
         approvalRetryInitialBackoffSeconds approvalRetryMaxBackoffSeconds \
         approvalRetryBackoffMultiplier approvalDedupeKeyFields approvalDedupeArgKeys \
         approvalRetryableStatusCodes approvalAllowInsecureHttp approvalAllowedHosts \
         approvalAuthToken approvalAuthTokenFile auditRedact",
    );
}

// contract.md, "Command line": "A variable of the environment is `APPROVAL_` + the key in
// SCREAMING_SNAKE, such as `APPROVAL_DRY_RUN`".
#[test]
fn a_variable_is_approval_and_the_key_in_screaming_snake() {
    let variables: Vec<String> = SETTINGS.iter().filter_map(Setting::variable).collect();
    for name in [
        "APPROVAL_MODE",
        "APPROVAL_ALWAYS_ALLOW",
        "APPROVAL_DRY_RUN",
        "APPROVAL_DEFAULT_TIMEOUT",
        "APPROVAL_DEFAULT_TIMEOUT_ACTION",
        "APPROVAL_APPROVAL_TTL_SECONDS",
        "APPROVAL_EXPLAIN_DECISIONS",
        "APPROVAL_HIGH_RISK_REQUIRES_DOUBLE_CONFIRMATION",
        "APPROVAL_AUDIT_LOG",
        "APPROVAL_APPROVAL_AUTH_TOKEN",
        "APPROVAL_AUTH_TOKEN",
        "APPROVAL_STATE_DIR",
        "APPROVAL_APPROVER",
    ] {
        assert!(variables.iter().any(|variable| variable == name), "{name}");
    }
}

#[test]
fn every_key_has_a_variable_and_no_name_is_used_twice() {
    let mut names = BTreeSet::new();
    for setting in SETTINGS {
        assert!(names.insert(setting.name), "{} twice", setting.name);
        if let Some(key) = setting.key() {
            assert!(setting.variable().is_some(), "{key}");
        }
        let has_name = setting.variable().is_some() || setting.flag.is_some();
        assert!(has_name, "nothing can set {}", setting.name);
    }
    let flags = SETTINGS.iter().filter_map(|setting| setting.flag);
    let distinct: BTreeSet<&str> = flags.clone().map(|flag| flag.long).collect();
    assert_eq!(distinct.len(), flags.count());
}

// `Layer::defaults` skips defaults that cannot be read.
#[test]
fn every_default_can_be_read() {
    for setting in SETTINGS {
        if let Fallback::Value(text) = setting.fallback {
            let read = setting.read(Input::Text(text));
            assert_ne!(read.unwrap(), Layer::default(), "{}", setting.name);
        }
    }
}

#[test]
fn of_two_names_for_a_value_the_first_in_the_table_wins_within_a_source() {
    let read = |name: &str, text| {
        let setting = SETTINGS.iter().find(|setting| setting.name == name);
        setting.unwrap().read(Input::Text(text)).unwrap()
    };
    let timeout = read("timeout", "1");
    let both = timeout.clone().over(read("defaultTimeout", "2"));
    assert_eq!(both, timeout);
    let stronger = read("defaultTimeout", "2");
    assert_eq!(stronger.clone().over(timeout), stronger);
}

// Lists are joined, hints are joined tool by tool, and no source can remove a secret.
#[test]
fn only_lists_hints_and_redaction_add_up() {
    let adds_up = SETTINGS.iter().filter(|setting| setting.adds_up);
    let names: Vec<&str> = adds_up.map(|setting| setting.name).collect();
    assert_eq!(
        names.join(" "),
        "allow alwaysAllow allowPatterns deny alwaysDeny denyPatterns customAnnotations allowedHost auditRedact"
    );
}
