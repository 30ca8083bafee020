//! The table of all settings. To add one, add a row here and the code that uses it.
//!
//! `setting` defines what a row can say; `resolve` merges the layers and uses the result.

use std::path::PathBuf;

use super::annotations::Annotations;
use super::approval_form::ApprovalForm;
use super::approver::ApproverName;
use super::document::DocumentUrl;
use super::engines::{AskDefault, Engines, Order};
use super::host_name::HostName;
use super::inbox_page::InboxPage;
use super::number::{Multiplier, Seconds, Whole, WholeSeconds};
use super::pattern::Pattern;
use super::recipient::Recipient;
use super::redact::AuditRedact;
use super::resolve::Transport;
use super::schema;
use super::secret_text::SecretText;
use super::setting::{
    Checked, Fallback, Field, Given, Setting, both, inbox, process, proxy, rules,
};
use super::size::ByteSize;
use super::token::BearerToken;
use super::value::Input;
use super::word::DedupeFields;
use crate::approval::assurance::RequiredAssurance;
use crate::engines::inbox::passphrase::KeyFingerprint;
use crate::gate::{OnFailure, TimeoutAction};
use crate::policy::Mode;

/// Defines [`Layer`] and [`SETTINGS`] from the rows below.
///
/// Each entry is a field of `Layer`. Its type decides how the values of several sources combine: an `Option` takes the
/// strongest source's value; everything else adds up. The braces hold one row for each name of the value. Within one
/// source, the first row that is set wins.
///
/// The first paragraph of a row is its help text; `--help` and the schema add the second.
macro_rules! settings {
    ($( $field:ident: $type:ty { $(
        $(#[doc = $doc:literal])+
        $place:ident($name:literal)$(.$say:ident($($what:expr),*))*;
    )+ } )+) => {
        /// The settings of one source: the flags, `approvalRules`, `approvalProxy`, or the environment.
        ///
        /// Does not know which source it is.
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct Layer {
            $( $( $(#[doc = $doc])+ #[doc = ""] )+ pub $field: $type, )+
            /// Which settings it says something about.
            pub given: Given,
        }

        impl Layer {
            /// Combines this layer with a `weaker` one.
            #[must_use]
            pub fn over(self, weaker: Layer) -> Layer {
                Layer {
                    $( $field: self.$field.over(weaker.$field), )+
                    given: self.given.over(weaker.given),
                }
            }
        }

        /// Every setting, in the order of the help and the documentation.
        pub(crate) static SETTINGS: &[Setting] = &[ $( $(
            $place($name)$(.$say($($what),*))*.of::<$type>(&[$($doc),+], |input| {
                Ok(Layer { $field: Field::read(input)?, ..Layer::default() })
            }),
        )+ )+ ];
    };
}

settings! {
    mode: Option<Mode> {
        /// Choose which calls to ask about when no rule names the tool
        rules("mode").flag(POLICY, "mode", "MODE").short('m').default("destructive");
    }
    allow: Vec<Pattern> {
        /// Run these tools without asking: names or globs
        ///
        /// Takes a comma-separated list; repeatable
        process("allow").flag(POLICY, "allow", "PATTERN");
        /// Run these tools without asking
        rules("alwaysAllow");
        /// Run tools that match these patterns without asking; the same list as `alwaysAllow`
        rules("allowPatterns");
    }
    deny: Vec<Pattern> {
        /// Never run these tools: names or globs; beats --allow
        ///
        /// Takes a comma-separated list; repeatable
        process("deny").flag(POLICY, "deny", "PATTERN");
        /// Never run these tools
        rules("alwaysDeny");
        /// Never run tools that match these patterns; the same list as `alwaysDeny`
        rules("denyPatterns");
    }
    custom_annotations: Annotations {
        /// Override the server's hints about tools, by tool name
        rules("customAnnotations");
    }
    dry_run: Option<bool> {
        /// Record what would happen, but let calls run
        proxy("dryRun").switch(POLICY, "dry-run");
    }
    explain: Option<bool> {
        /// Add decision source, risk, mode and rule to refusals
        both("explainDecisions").switch(POLICY, "explain").rare();
    }
    timeout: Option<Seconds> {
        /// Wait this many seconds for an answer
        ///
        /// 0 = no limit
        rules("timeout").flag(ASKING, "timeout", "SECONDS").default("120");
        /// Set the `timeout` of servers that have none, in seconds
        proxy("defaultTimeout").default("120");
    }
    timeout_action: Option<TimeoutAction> {
        /// Choose what to do when a prompt is not answered in time
        ///
        /// `approve` is ignored for calls that need two approvals
        rules("timeoutAction").flag(ASKING, "timeout-action", "ACTION").rare().default("deny");
        /// Set the `timeoutAction` of servers that have none
        proxy("defaultTimeoutAction").default("deny");
    }
    engines: Option<Engines> {
        /// Ask through these engines, in order
        ///
        /// `elicitation` is a prompt in the client, `inbox` a page on this machine
        both("engines").flag(ASKING, "engine", "ENGINES").default("elicitation,inbox")
            .described_by(schema::engines);
    }
    require_assurance: Option<RequiredAssurance> {
        /// Ignore verdicts with less assurance than this
        both("requireAssurance");
    }
    on_timeout: Option<OnFailure> {
        /// Choose what to do when an engine gets no answer in time
        both("approvalOnTimeout").default("deny");
    }
    on_transport_error: Option<OnFailure> {
        /// Choose what to do when an engine fails
        both("approvalOnTransportError").default("fallback");
    }
    park: Option<WholeSeconds> {
        /// Keep a parked question open for this many seconds, from 1
        both("approvalParkSeconds").flag(ASKING, "approval-park-seconds", "SECONDS").rare().default("3600");
    }
    instant_decline_ms: Option<Whole<0, 10_000>> {
        /// Do not count a client's no within this many milliseconds as a person's decision; 0 = off
        both("approvalInstantDeclineMs").default("250");
    }
    also_inbox_after: Option<Seconds> {
        /// Also list a client's question in the inbox after this many seconds of silence; 0 = off
        both("approvalAlsoInboxAfter").default("5");
    }
    deny_memory: Option<Seconds> {
        /// Refuse identical calls without asking for this many seconds after a denial; 0 = off
        both("approvalDenyMemorySeconds").default("0");
    }
    approval_ttl: Option<Seconds> {
        /// Let an approval cover identical calls for this many seconds; 0 = off
        both("approvalTtlSeconds").flag(ASKING, "approve-ttl", "SECONDS").rare().default("0");
    }
    double_confirm: Option<bool> {
        /// Ask twice about high-risk calls
        both("highRiskRequiresDoubleConfirmation").switch(ASKING, "high-risk-double-confirm").rare();
    }
    retry_attempts: Option<Whole<0, 1000>> {
        /// Retry this many times if the client could not show a prompt, at most 1000
        both("approvalRetryAttempts").flag(ASKING, "approval-retry-attempts", "COUNT").rare().default("2");
    }
    retry_initial_backoff: Option<Seconds> {
        /// Wait this many seconds before the first retry
        both("approvalRetryInitialBackoffSeconds").flag(ASKING, "approval-retry-backoff", "SECONDS").rare()
            .default("0.5");
    }
    retry_max_backoff: Option<Seconds> {
        /// Wait at most this many seconds between retries
        both("approvalRetryMaxBackoffSeconds").flag(ASKING, "approval-retry-max-backoff", "SECONDS").rare()
            .default("5");
    }
    retry_multiplier: Option<Multiplier> {
        /// Multiply the pause by this after each retry, from 1 to 1000
        both("approvalRetryBackoffMultiplier").flag(ASKING, "approval-retry-multiplier", "FACTOR").rare()
            .default("2");
    }
    dedupe_fields: Option<DedupeFields> {
        /// Treat calls as identical if these match: any of server, tool, args, risk
        both("approvalDedupeKeyFields").flag(ASKING, "approval-dedupe-key-fields", "FIELDS").rare()
            .default("server,tool,args");
    }
    dedupe_arg_keys: Option<Vec<String>> {
        /// Compare only these argument keys for `args`, comma-separated
        both("approvalDedupeArgKeys").flag(ASKING, "approval-dedupe-arg-keys", "KEYS").rare().otherwise("all");
    }
    retryable_status_codes: Option<Vec<Whole<100, 599>>> {
        /// Send a question again after these HTTP statuses
        both("approvalRetryableStatusCodes").default("408,409,425,429,500,502,503,504");
    }
    allow_insecure_http: Option<bool> {
        /// Allow questions over plain HTTP beyond this machine
        both("approvalAllowInsecureHttp");
    }
    question_hosts: Option<Vec<HostName>> {
        /// Send questions only to these hosts, comma-separated
        both("approvalAllowedHosts").otherwise("any");
    }
    question_token: Option<SecretText> {
        /// Send this bearer token with questions
        both("approvalAuthToken").secret();
    }
    question_token_file: Option<PathBuf> {
        /// Send the bearer token in this file with questions
        both("approvalAuthTokenFile");
    }
    decision_secret: Option<SecretText> {
        /// Sign decisions about approvals that agents ask for with this secret
        proxy("decisionSecret").secret();
    }
    ask: Option<Order> {
        /// Ask the engines one after another (chain) or all at once (race)
        proxy("ask").default("chain");
    }
    allowed_recipients: Option<Vec<Recipient>> {
        /// Let agents name these recipients with `mcp --compat looppause`: channels, ids of people, mail addresses
        proxy("allowedRecipients").otherwise("none");
    }
    approval_form: Option<ApprovalForm> {
        /// Let people fill in this form when they approve what `mcp --compat looppause` asks
        proxy("approvalForm").otherwise("none");
    }
    ask_default: Option<AskDefault> {
        /// Choose what to do if no engine can be asked: only `deny`
        proxy("askDefault").default("deny");
    }
    config: Option<PathBuf> {
        /// Read your settings for all servers from this user configuration
        ///
        /// Or set APPROVAL_CONFIG. If $XDG_CONFIG_HOME is set, the default is approval-proxy/config.json in it
        process("config").flag(UPSTREAM, "config", "FILE").variable_too()
            .otherwise("~/.config/approval-proxy/config.json");
    }
    state_dir: Option<PathBuf> {
        /// Use this state folder
        ///
        /// All your proxies share it. Or set APPROVAL_STATE_DIR. If $XDG_STATE_HOME is set, the default is
        /// approval-proxy in it
        inbox("stateDir").flag(INBOX, "state-dir", "DIR").variable_too()
            .otherwise("~/.local/state/approval-proxy");
    }
    inbox_port: Option<Whole<0, 65_535>> {
        /// Serve the inbox page on this port
        ///
        /// 0 = any free port
        inbox("inboxPort").flag(INBOX, "inbox-port", "PORT").otherwise("8766");
    }
    no_browser: Option<bool> {
        /// Never open a browser
        inbox("noBrowser").switch(INBOX, "no-browser");
    }
    approver: Option<ApproverName> {
        /// Record this name with your verdicts; nobody checks it
        inbox("approver").variable_too();
    }
    inbox: Option<InboxPage> {
        /// Serve the inbox's page to paired devices: `pageUrl`, `listen`, `tlsCert`, `tlsKey`, `behindProxy`, `webPush`
        proxy("inbox");
    }
    inbox_key: Option<KeyFingerprint> {
        /// Require verdicts of the inbox to be signed with this key; with another one, or none, the proxy does not start
        proxy("inboxKey");
    }
    audit_log: Option<PathBuf> {
        /// Append one JSON line per decision to this file
        ///
        /// `stderr` writes to stderr only. By default, the file is `audit/SERVER.jsonl` in the state folder,
        /// rotated at 64 MiB, with a copy on stderr
        proxy("auditLog").flag(AUDIT, "audit-log", "FILE");
    }
    audit_best_effort: Option<bool> {
        /// Run calls that need no approval even if the log cannot be written
        process("auditBestEffort").switch(AUDIT, "audit-best-effort").rare();
    }
    max_message_size: Option<ByteSize> {
        /// Limit each message to this size: bytes, or with KiB, MiB, GiB
        process("maxMessageSize").flag(LIMITS, "max-message-size", "SIZE").rare().default("64MiB");
    }
    max_pending: Option<Whole<1, 1_048_576>> {
        /// Let this many requests wait at once, from 1 to 1048576
        process("maxPending").flag(LIMITS, "max-pending", "COUNT").rare().default("4096");
    }
    transport: Option<Transport> {
        /// Talk to clients over this transport
        ///
        /// `http` is the same as `streamable-http`
        process("transport").flag(TRANSPORT, "transport", "TRANSPORT").default("stdio");
    }
    host: Option<HostName> {
        /// Listen for HTTP clients on this address
        process("host").flag(TRANSPORT, "host", "HOST").rare().default("127.0.0.1");
    }
    port: Option<Whole<0, 65_535>> {
        /// Listen for HTTP clients on this port
        ///
        /// 0 = any free port
        process("port").flag(TRANSPORT, "port", "PORT").default("8765");
    }
    auth_token_file: Option<PathBuf> {
        /// Require HTTP clients to send the bearer token in this file
        ///
        /// `auto` creates a token in the state folder. Or set APPROVAL_AUTH_TOKEN
        process("authTokenFile").flag(TRANSPORT, "auth-token-file", "FILE").rare();
    }
    // Only checked here; `Environment::auth_token` keeps the value.
    auth_token: Checked<BearerToken> {
        /// Require HTTP clients to send this bearer token
        process("authToken").variable_too().secret();
    }
    insecure_no_auth: Option<bool> {
        /// Let HTTP clients answer prompts without a token, and let other machines connect
        process("insecureNoAuth").switch(TRANSPORT, "insecure-no-auth").rare();
    }
    allowed_hosts: Vec<HostName> {
        /// Accept requests for this host name, as well as localhost and IP addresses; repeatable
        process("allowedHost").flag(TRANSPORT, "allowed-host", "NAME").rare().one_at_a_time();
    }
    client_id_metadata_url: Option<DocumentUrl> {
        /// Log in to servers with this client id, the URL of a document about this proxy
        proxy("clientIdMetadataUrl");
    }
    audit_redact: AuditRedact {
        /// Keep more secrets out of the audit log: values with these `names`, texts that match these `patterns`
        both("auditRedact");
    }
}

impl Layer {
    /// Returns the defaults of the table, which apply if no source sets a value.
    pub(super) fn defaults() -> Layer {
        let mut layer = Layer::default();
        for setting in SETTINGS {
            if let Fallback::Value(text) = setting.fallback {
                // Cannot fail: a test reads every default.
                let default = setting.read(Input::Text(text));
                layer = layer.over(default.unwrap_or_default());
            }
        }
        layer
    }
}

// The headings of the help.
pub(crate) const UPSTREAM: &str = "Upstream";
const POLICY: &str = "Policy";
const ASKING: &str = "Asking";
const INBOX: &str = "Inbox";
const AUDIT: &str = "Audit";
const LIMITS: &str = "Limits";
const TRANSPORT: &str = "Transport";

#[cfg(test)]
pub(super) mod tests;
