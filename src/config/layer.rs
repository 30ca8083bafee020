//! What one source says: the flags, `approvalRules`, `approvalProxy`, or the environment.
//!
//! It holds no default, and does not know which source it is.

use std::path::PathBuf;

use super::annotations::Annotations;
use super::document::DocumentUrl;
use super::engines::Engines;
use super::number::{Multiplier, Seconds, Whole, WholeSeconds};
use super::pattern::Pattern;
use super::redact::AuditRedact;
use super::word::DedupeFields;
use crate::approval::assurance::RequiredAssurance;
use crate::engines::inbox::passphrase::KeyFingerprint;
use crate::gate::{OnFailure, TimeoutAction};
use crate::policy::Mode;

/// Every setting that more than one source can give; `None` is "says nothing about it".
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layer {
    /// Which calls are asked about.
    pub mode: Option<Mode>,
    /// `alwaysAllow` and `allowPatterns`.
    pub allow: Vec<Pattern>,
    /// `alwaysDeny` and `denyPatterns`.
    pub deny: Vec<Pattern>,
    /// The operator's own hints.
    pub custom_annotations: Option<Annotations>,
    /// How long a human has.
    pub timeout: Option<Seconds>,
    /// The same for every server; counts where the layer has no `timeout`.
    pub default_timeout: Option<Seconds>,
    /// What an unanswered prompt comes to.
    pub timeout_action: Option<TimeoutAction>,
    /// The same for every server; counts where the layer has no `timeout_action`.
    pub default_timeout_action: Option<TimeoutAction>,
    /// Record only.
    pub dry_run: Option<bool>,
    /// Where decisions are written.
    pub audit_log: Option<PathBuf>,
    /// The key that the inbox's verdicts must be signed with.
    pub inbox_key: Option<KeyFingerprint>,
    /// The URL of a document about us, for logins.
    pub client_id_metadata_url: Option<DocumentUrl>,
    /// What asks, in this order.
    pub engines: Option<Engines>,
    /// How much assurance a verdict must have to count.
    pub require_assurance: Option<RequiredAssurance>,
    /// What follows where nobody answers a channel in time.
    pub on_timeout: Option<OnFailure>,
    /// What follows where a channel fails.
    pub on_transport_error: Option<OnFailure>,
    /// How long a parked question stays open.
    pub park: Option<WholeSeconds>,
    /// Up to when the client's no is nobody's decision, in milliseconds.
    pub instant_decline_ms: Option<Whole<0, 10_000>>,
    /// After how much silence of the client the inbox shows a question, too; 0 is never.
    pub also_inbox_after: Option<Seconds>,
    /// For how long identical calls are refused without asking after a denial; 0 is not at all.
    pub deny_memory: Option<Seconds>,
    /// How long an approval covers identical calls.
    pub approval_ttl: Option<Seconds>,
    /// Policy and risk in refusals.
    pub explain: Option<bool>,
    /// Two approvals for high risk.
    pub double_confirm: Option<bool>,
    /// Further tries of a channel that could not decide.
    pub retry_attempts: Option<Whole<0, 1000>>,
    /// The pause before the first further try.
    pub retry_initial_backoff: Option<Seconds>,
    /// The longest pause; it wins over a longer first one.
    pub retry_max_backoff: Option<Seconds>,
    /// By how much each pause is longer.
    pub retry_multiplier: Option<Multiplier>,
    /// What makes two calls identical.
    pub dedupe_fields: Option<DedupeFields>,
    /// The arguments that count for `args`; empty means all.
    pub dedupe_arg_keys: Option<Vec<String>>,
    /// What the audit log does not keep, beside what it never does.
    pub audit_redact: Option<AuditRedact>,
    /// The keys, variables and flags that were given and that nothing reads yet.
    pub without_effect: Vec<String>,
}

impl Layer {
    /// What this layer and a `weaker` one say together: the lists of allow and deny are united,
    /// and so is what the log does not keep; elsewhere this layer wins where it says something.
    #[must_use]
    pub fn over(self, weaker: Layer) -> Layer {
        Layer {
            mode: self.mode.or(weaker.mode),
            allow: united(self.allow, weaker.allow),
            deny: united(self.deny, weaker.deny),
            custom_annotations: self.custom_annotations.or(weaker.custom_annotations),
            // A default of a stronger source beats the rule of a weaker one, so the pair is
            // settled layer by layer.
            timeout: (self.timeout.or(self.default_timeout))
                .or(weaker.timeout)
                .or(weaker.default_timeout),
            default_timeout: None,
            timeout_action: (self.timeout_action.or(self.default_timeout_action))
                .or(weaker.timeout_action)
                .or(weaker.default_timeout_action),
            default_timeout_action: None,
            dry_run: self.dry_run.or(weaker.dry_run),
            audit_log: self.audit_log.or(weaker.audit_log),
            inbox_key: self.inbox_key.or(weaker.inbox_key),
            client_id_metadata_url: self
                .client_id_metadata_url
                .or(weaker.client_id_metadata_url),
            engines: self.engines.or(weaker.engines),
            require_assurance: self.require_assurance.or(weaker.require_assurance),
            on_timeout: self.on_timeout.or(weaker.on_timeout),
            on_transport_error: self.on_transport_error.or(weaker.on_transport_error),
            park: self.park.or(weaker.park),
            instant_decline_ms: self.instant_decline_ms.or(weaker.instant_decline_ms),
            also_inbox_after: self.also_inbox_after.or(weaker.also_inbox_after),
            deny_memory: self.deny_memory.or(weaker.deny_memory),
            approval_ttl: self.approval_ttl.or(weaker.approval_ttl),
            explain: self.explain.or(weaker.explain),
            double_confirm: self.double_confirm.or(weaker.double_confirm),
            retry_attempts: self.retry_attempts.or(weaker.retry_attempts),
            retry_initial_backoff: self.retry_initial_backoff.or(weaker.retry_initial_backoff),
            retry_max_backoff: self.retry_max_backoff.or(weaker.retry_max_backoff),
            retry_multiplier: self.retry_multiplier.or(weaker.retry_multiplier),
            dedupe_fields: self.dedupe_fields.or(weaker.dedupe_fields),
            dedupe_arg_keys: self.dedupe_arg_keys.or(weaker.dedupe_arg_keys),
            audit_redact: match (self.audit_redact, weaker.audit_redact) {
                // A weaker source's secrets are secrets, too.
                (Some(redact), Some(weaker)) => Some(redact.and(weaker)),
                (redact, weaker) => redact.or(weaker),
            },
            without_effect: united(self.without_effect, weaker.without_effect),
        }
    }
}

fn united<T>(mut first: Vec<T>, second: Vec<T>) -> Vec<T> {
    first.extend(second);
    first
}
