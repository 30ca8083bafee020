//! The table against the contract.

use super::*;

// CONTRACT, the table of section 2: "key | where | meaning (default)"; `engines` and
// `approvalParkSeconds` have come with the inbox, `inboxKey` and `requireAssurance` with its key,
// `approvalInstantDeclineMs` from DESIGN, "Clients that declare elicitation and show nothing",
// `auditRedact` with redaction by looks, `clientIdMetadataUrl` with logins that read such documents.
#[test]
fn every_key_of_the_contract_counts_where_the_contract_says() {
    let of = |place| {
        let keys = KEYS.iter().filter(move |key| key.place == place);
        keys.map(|key| key.name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        of(Place::Rules),
        "mode alwaysAllow alwaysDeny allowPatterns denyPatterns customAnnotations timeout \
         timeoutAction",
    );
    assert_eq!(
        of(Place::Proxy),
        "dryRun auditLog defaultTimeout defaultTimeoutAction inboxKey clientIdMetadataUrl"
    );
    assert_eq!(
        of(Place::Both),
        "approvalTtlSeconds explainDecisions highRiskRequiresDoubleConfirmation \
         approvalRetryAttempts approvalRetryInitialBackoffSeconds \
         approvalRetryMaxBackoffSeconds approvalRetryBackoffMultiplier \
         approvalRetryableStatusCodes engines requireAssurance approvalOnTimeout approvalOnTransportError \
         approvalParkSeconds approvalInstantDeclineMs approvalAlsoInboxAfter approvalDenyMemorySeconds approvalAllowInsecureHttp approvalAllowedHosts approvalAuthToken \
         approvalDedupeKeyFields approvalDedupeArgKeys auditRedact",
    );
}

// CONTRACT: "environment (`APPROVAL_` + the key in SCREAMING_SNAKE: `APPROVAL_DRY_RUN`, …)".
#[test]
fn a_variable_is_the_key_in_screaming_snake_behind_approval() {
    let variables: Vec<String> = KEYS.iter().map(Key::variable).collect();
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
    ] {
        assert!(variables.iter().any(|variable| variable == name), "{name}");
    }
}
