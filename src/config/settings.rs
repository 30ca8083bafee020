//! The table of settings. A new one is a row here, and the place that uses it.
//!
//! `setting` says what a row means; `resolve` uses what the layers come to.

use std::path::PathBuf;

use super::annotations::Annotations;
use super::approver::ApproverName;
use super::document::DocumentUrl;
use super::engines::Engines;
use super::host_name::HostName;
use super::number::{Multiplier, Seconds, Whole, WholeSeconds};
use super::pattern::Pattern;
use super::redact::AuditRedact;
use super::resolve::Transport;
use super::schema;
use super::setting::{Checked, Fallback, Field, Setting, both, inbox, process, proxy, rules};
use super::size::ByteSize;
use super::token::BearerToken;
use super::value::Input;
use super::word::DedupeFields;
use crate::approval::assurance::RequiredAssurance;
use crate::engines::inbox::passphrase::KeyFingerprint;
use crate::gate::{OnFailure, TimeoutAction};
use crate::policy::Mode;
use crate::sys::secret::Secret;

/// Makes [`Layer`] and [`SETTINGS`] of the rows below.
///
/// Each entry is a field of `Layer`. Its type says how the values of several sources go together: of an `Option`, the
/// strongest source's counts; everything else adds up. In the braces are the names that the value goes by, a row each.
/// Within one source, the first of these rows that says something wins.
macro_rules! settings {
    ($( $field:ident: $type:ty { $(
        $(#[doc = $doc:literal])+
        $place:ident($name:literal)$(.$say:ident($($what:expr),*))*;
    )+ } )+) => {
        /// What one source says: the flags, `approvalRules`, `approvalProxy`, or the environment.
        ///
        /// It does not know which source it is.
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct Layer {
            $( $( $(#[doc = $doc])+ #[doc = ""] )+ pub $field: $type, )+
            /// The keys, variables and flags that were given and that nothing reads yet.
            pub without_effect: Vec<String>,
        }

        impl Layer {
            /// What this layer and a `weaker` one say together.
            #[must_use]
            pub fn over(self, weaker: Layer) -> Layer {
                Layer {
                    $( $field: self.$field.over(weaker.$field), )+
                    without_effect: self.without_effect.over(weaker.without_effect),
                }
            }
        }

        /// Every setting, in the order in which help and documentation list them.
        pub(crate) static SETTINGS: &[Setting] = &[ $( $(
            $place($name)$(.$say($($what),*))*.of::<$type>(&[$($doc),+], |input| {
                Ok(Layer { $field: Field::read(input)?, ..Layer::default() })
            }),
        )+ )+ ];
    };
}

settings! {
    mode: Option<Mode> {
        /// Which calls are asked about when no rule names the tool
        rules("mode").flag(POLICY, "mode", "MODE").short('m').default("destructive");
    }
    allow: Vec<Pattern> {
        /// Tools that run without asking: names or globs, comma-separated; repeatable
        process("allow").flag(POLICY, "allow", "PATTERN");
        /// Tools that run without asking
        rules("alwaysAllow");
        /// Patterns of tools that run without asking; the same list as `alwaysAllow`
        rules("allowPatterns");
    }
    deny: Vec<Pattern> {
        /// Tools that never run: names or globs, comma-separated; repeatable; beats --allow
        process("deny").flag(POLICY, "deny", "PATTERN");
        /// Tools that never run
        rules("alwaysDeny");
        /// Patterns of tools that never run; the same list as `alwaysDeny`
        rules("denyPatterns");
    }
    custom_annotations: Option<Annotations> {
        /// Your own hints about tools, by name; they win over the server's
        rules("customAnnotations");
    }
    dry_run: Option<bool> {
        /// Record what would happen; hold and refuse nothing
        proxy("dryRun").switch(POLICY, "dry-run");
    }
    explain: Option<bool> {
        /// Put decision source, risk, mode and rule into refusals
        both("explainDecisions").switch(POLICY, "explain").rare();
    }
    timeout: Option<Seconds> {
        /// How long a human has, in seconds; 0 is no limit
        rules("timeout").flag(ASKING, "timeout", "SECONDS").default("120");
        /// How long a human has, in seconds, where a server has no `timeout`
        proxy("defaultTimeout").default("120");
    }
    timeout_action: Option<TimeoutAction> {
        /// What a prompt that nobody answered in time comes to; approve holds not where two approvals
        /// are needed
        rules("timeoutAction").flag(ASKING, "timeout-action", "ACTION").rare().default("deny");
        /// What a prompt that nobody answered in time comes to, where a server has no `timeoutAction`
        proxy("defaultTimeoutAction").default("deny");
    }
    engines: Option<Engines> {
        /// Who asks, in this order: elicitation (a prompt in the client), inbox (a page on this machine)
        both("engines").flag(ASKING, "engine", "ENGINES").default("elicitation,inbox")
            .described_by(schema::engines);
    }
    require_assurance: Option<RequiredAssurance> {
        /// The least assurance that a verdict must have to count
        both("requireAssurance");
    }
    on_timeout: Option<OnFailure> {
        /// What follows if nobody answers an engine in time
        both("approvalOnTimeout").default("deny");
    }
    on_transport_error: Option<OnFailure> {
        /// What follows if an engine fails
        both("approvalOnTransportError").default("fallback");
    }
    park: Option<WholeSeconds> {
        /// How long a parked question stays open, in seconds, from 1
        both("approvalParkSeconds").flag(ASKING, "approval-park-seconds", "SECONDS").rare().default("3600");
    }
    instant_decline_ms: Option<Whole<0, 10_000>> {
        /// A client's no that comes sooner, in milliseconds, is nobody's decision; 0 is off
        both("approvalInstantDeclineMs").default("250");
    }
    also_inbox_after: Option<Seconds> {
        /// After how many seconds of silence the inbox shows a client's question, too; 0 is off
        both("approvalAlsoInboxAfter").default("5");
    }
    deny_memory: Option<Seconds> {
        /// For how many seconds identical calls are refused without asking after a denial
        both("approvalDenyMemorySeconds").default("0");
    }
    approval_ttl: Option<Seconds> {
        /// How long an approval covers identical calls, in seconds; 0 is not at all
        both("approvalTtlSeconds").flag(ASKING, "approve-ttl", "SECONDS").rare().default("0");
    }
    double_confirm: Option<bool> {
        /// Ask twice about calls of high risk
        both("highRiskRequiresDoubleConfirmation").switch(ASKING, "high-risk-double-confirm").rare();
    }
    retry_attempts: Option<Whole<0, 1000>> {
        /// Further tries when the client could not show a prompt, at most 1000
        both("approvalRetryAttempts").flag(ASKING, "approval-retry-attempts", "COUNT").rare().default("2");
    }
    retry_initial_backoff: Option<Seconds> {
        /// Pause before the first further try, in seconds
        both("approvalRetryInitialBackoffSeconds").flag(ASKING, "approval-retry-backoff", "SECONDS").rare()
            .default("0.5");
    }
    retry_max_backoff: Option<Seconds> {
        /// Longest pause between tries, in seconds
        both("approvalRetryMaxBackoffSeconds").flag(ASKING, "approval-retry-max-backoff", "SECONDS").rare()
            .default("5");
    }
    retry_multiplier: Option<Multiplier> {
        /// By how much each pause is longer than the one before, from 1 to 1000
        both("approvalRetryBackoffMultiplier").flag(ASKING, "approval-retry-multiplier", "FACTOR").rare()
            .default("2");
    }
    dedupe_fields: Option<DedupeFields> {
        /// What makes two calls identical, of server, tool, args, risk
        both("approvalDedupeKeyFields").flag(ASKING, "approval-dedupe-key-fields", "FIELDS").rare()
            .default("server,tool,args");
    }
    dedupe_arg_keys: Option<Vec<String>> {
        /// The argument keys that count for `args`, comma-separated
        both("approvalDedupeArgKeys").flag(ASKING, "approval-dedupe-arg-keys", "KEYS").rare().otherwise("all");
    }
    retryable_status_codes: Checked<Vec<Whole<100, 599>>> {
        /// HTTP statuses after which a question is sent again
        both("approvalRetryableStatusCodes").later();
    }
    allow_insecure_http: Checked<bool> {
        /// Send questions over plain HTTP
        both("approvalAllowInsecureHttp").later();
    }
    question_hosts: Checked<Vec<HostName>> {
        /// Hosts that questions may be sent to
        both("approvalAllowedHosts").later();
    }
    question_token: Checked<Secret> {
        /// The token that questions are sent with
        both("approvalAuthToken").later().secret();
    }
    state_dir: Option<PathBuf> {
        /// Folder that all your proxies share; or APPROVAL_STATE_DIR
        inbox("stateDir").flag(INBOX, "state-dir", "DIR").variable_too()
            .otherwise("approval-proxy in $XDG_STATE_HOME, else in ~/.local/state");
    }
    inbox_port: Option<Whole<0, 65_535>> {
        /// Port of the inbox's page; 0 is any that is free
        inbox("inboxPort").flag(INBOX, "inbox-port", "PORT").otherwise("8766");
    }
    no_browser: Option<bool> {
        /// Never open a browser
        inbox("noBrowser").switch(INBOX, "no-browser");
    }
    approver: Option<ApproverName> {
        /// The name that your verdicts are recorded with; nobody checks it
        inbox("approver").variable_too();
    }
    inbox_key: Option<KeyFingerprint> {
        /// The key that the inbox's verdicts must be signed with; with another one, or none, the proxy does not start
        proxy("inboxKey");
    }
    audit_log: Option<PathBuf> {
        /// Append one JSON line per decision to this file; `stderr` is stderr alone
        ///
        /// By default it is `audit/SERVER.jsonl` in the state folder, rotated at 64 MiB, with a copy on
        /// stderr
        proxy("auditLog").flag(AUDIT, "audit-log", "FILE");
    }
    audit_best_effort: Option<bool> {
        /// Let calls that need no approval run when the log cannot be written
        process("auditBestEffort").switch(AUDIT, "audit-best-effort").rare();
    }
    max_message_size: Option<ByteSize> {
        /// Largest message either way: bytes, or with KiB, MiB, GiB
        process("maxMessageSize").flag(LIMITS, "max-message-size", "SIZE").rare().default("64MiB");
    }
    max_pending: Option<Whole<1, 1_048_576>> {
        /// How many requests may wait at once, from 1 to 1048576
        process("maxPending").flag(LIMITS, "max-pending", "COUNT").rare().default("4096");
    }
    transport: Option<Transport> {
        /// How clients reach the proxy; `http` is `streamable-http`
        process("transport").flag(TRANSPORT, "transport", "TRANSPORT").default("stdio");
    }
    host: Option<HostName> {
        /// Address that the HTTP transports bind
        process("host").flag(TRANSPORT, "host", "HOST").rare().default("127.0.0.1");
    }
    port: Option<Whole<0, 65_535>> {
        /// Port that the HTTP transports bind; 0 is any that is free
        process("port").flag(TRANSPORT, "port", "PORT").default("8765");
    }
    auth_token_file: Option<PathBuf> {
        /// Require HTTP clients to send the bearer token in this file; `auto` creates one in the state
        /// folder; or set APPROVAL_AUTH_TOKEN
        process("authTokenFile").flag(TRANSPORT, "auth-token-file", "FILE").rare();
    }
    // `Environment::auth_token` keeps it.
    auth_token: Checked<BearerToken> {
        /// The bearer token that HTTP clients must send
        process("authToken").variable_too().secret();
    }
    insecure_no_auth: Option<bool> {
        /// Without a token, let any client that can connect answer its own prompts, and allow other
        /// machines to connect
        process("insecureNoAuth").switch(TRANSPORT, "insecure-no-auth").rare();
    }
    allowed_hosts: Vec<HostName> {
        /// Accept requests for this host name, beside localhost and IP addresses; repeatable
        process("allowedHost").flag(TRANSPORT, "allowed-host", "NAME").rare().one_at_a_time();
    }
    client_id_metadata_url: Option<DocumentUrl> {
        /// The URL of a document about this proxy, which is its id when it logs in to a server
        proxy("clientIdMetadataUrl");
    }
    audit_redact: AuditRedact {
        /// More secrets that the audit log does not keep: `names` of values, and `patterns` of texts
        both("auditRedact");
    }
}

impl Layer {
    /// What holds where no source says anything: the defaults of the table.
    pub(super) fn defaults() -> Layer {
        let mut layer = Layer::default();
        for setting in SETTINGS {
            if let Fallback::Value(text) = setting.fallback {
                // A test reads every one of them.
                let default = setting.read(setting.name, Input::Text(text));
                layer = layer.over(default.unwrap_or_default());
            }
        }
        layer
    }
}

// The headings of the help.
const POLICY: &str = "Policy";
const ASKING: &str = "Asking";
const INBOX: &str = "Inbox";
const AUDIT: &str = "Audit";
const LIMITS: &str = "Limits";
const TRANSPORT: &str = "Transport";

#[cfg(test)]
pub(super) mod tests;
