//! The table of every key: its name, where it counts, and how it is read.
//!
//! It reads one value; whole objects are read by `section`, variables by `environment`.

use heck::ToShoutySnakeCase;

use super::error::Fault;
use super::host::HostName;
use super::layer::Layer;
use super::number::Whole;
use super::value::Input;
use crate::sys::secret::Secret;

/// One of the two strict objects of a config file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// `approvalRules`, in the entry of a server.
    Rules,
    /// `approvalProxy`, once in a file.
    Proxy,
}

/// In which objects a key counts. In the environment every key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Rules,
    Proxy,
    Both,
}

/// Whether this version does something with the value, or only checks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Now,
    Later,
}

/// One row of the table.
pub(super) struct Key {
    /// As the config file spells it.
    pub(super) name: &'static str,
    pub(super) place: Place,
    pub(super) effect: Effect,
    /// Whether the value is a secret, which must not be empty.
    pub(super) is_secret: bool,
    /// Checks the value and puts it into the layer.
    read: Read,
}

type Read = fn(&mut Layer, Input<'_>) -> Result<(), Fault>;

impl Key {
    /// Whether the key counts in `section`.
    pub(super) fn belongs_in(&self, section: Section) -> bool {
        match self.place {
            Place::Rules => section == Section::Rules,
            Place::Proxy => section == Section::Proxy,
            Place::Both => true,
        }
    }

    /// Where the key has to go if it was found outside the sections, as in "into
    /// `approvalProxy`".
    pub(super) fn home(&self) -> &'static str {
        match self.place {
            Place::Rules | Place::Both => Section::Rules.home(),
            Place::Proxy => Section::Proxy.home(),
        }
    }

    /// The environment variable of the same meaning.
    pub(super) fn variable(&self) -> String {
        format!("APPROVAL_{}", self.name.to_shouty_snake_case())
    }

    /// Reads a value into `layer`; `spelled` is what the key is called where it was found.
    pub(super) fn read(
        &self,
        layer: &mut Layer,
        spelled: &str,
        input: Input<'_>,
    ) -> Result<(), Fault> {
        (self.read)(layer, input)?;
        if self.effect == Effect::Later {
            layer.without_effect.push(spelled.to_owned());
        }
        Ok(())
    }
}

/// Every key, in the order of the documentation.
#[rustfmt::skip]
pub(super) static KEYS: [Key; 36] = [
    now("mode", Place::Rules, |to, from| from.set(&mut to.mode)),
    now("alwaysAllow", Place::Rules, |to, from| from.append(&mut to.allow)),
    now("alwaysDeny", Place::Rules, |to, from| from.append(&mut to.deny)),
    now("allowPatterns", Place::Rules, |to, from| from.append(&mut to.allow)),
    now("denyPatterns", Place::Rules, |to, from| from.append(&mut to.deny)),
    now("customAnnotations", Place::Rules, |to, from| from.set(&mut to.custom_annotations)),
    now("timeout", Place::Rules, |to, from| from.set(&mut to.timeout)),
    now("timeoutAction", Place::Rules, |to, from| from.set(&mut to.timeout_action)),

    now("dryRun", Place::Proxy, |to, from| from.set(&mut to.dry_run)),
    now("auditLog", Place::Proxy, |to, from| from.set(&mut to.audit_log)),
    now("defaultTimeout", Place::Proxy, |to, from| from.set(&mut to.default_timeout)),
    now("defaultTimeoutAction", Place::Proxy, |to, from| from.set(&mut to.default_timeout_action)),
    now("inboxKey", Place::Proxy, |to, from| from.set(&mut to.inbox_key)),
    now("clientIdMetadataUrl", Place::Proxy, |to, from| from.set(&mut to.client_id_metadata_url)),

    now("approvalTtlSeconds", Place::Both, |to, from| from.set(&mut to.approval_ttl)),
    now("explainDecisions", Place::Both, |to, from| from.set(&mut to.explain)),
    now("highRiskRequiresDoubleConfirmation", Place::Both, |to, from| from.set(&mut to.double_confirm)),
    now("approvalRetryAttempts", Place::Both, |to, from| from.set(&mut to.retry_attempts)),
    now("approvalRetryInitialBackoffSeconds", Place::Both, |to, from| from.set(&mut to.retry_initial_backoff)),
    now("approvalRetryMaxBackoffSeconds", Place::Both, |to, from| from.set(&mut to.retry_max_backoff)),
    now("approvalRetryBackoffMultiplier", Place::Both, |to, from| from.set(&mut to.retry_multiplier)),
    later("approvalRetryableStatusCodes", Place::Both, |_, from| from.check::<Vec<Whole<100, 599>>>()),
    now("engines", Place::Both, |to, from| from.set(&mut to.engines)),
    now("requireAssurance", Place::Both, |to, from| from.set(&mut to.require_assurance)),
    now("approvalOnTimeout", Place::Both, |to, from| from.set(&mut to.on_timeout)),
    now("approvalOnTransportError", Place::Both, |to, from| from.set(&mut to.on_transport_error)),
    now("approvalParkSeconds", Place::Both, |to, from| from.set(&mut to.park)),
    now("approvalInstantDeclineMs", Place::Both, |to, from| from.set(&mut to.instant_decline_ms)),
    now("approvalAlsoInboxAfter", Place::Both, |to, from| from.set(&mut to.also_inbox_after)),
    now("approvalDenyMemorySeconds", Place::Both, |to, from| from.set(&mut to.deny_memory)),
    later("approvalAllowInsecureHttp", Place::Both, |_, from| from.check::<bool>()),
    later("approvalAllowedHosts", Place::Both, |_, from| from.check::<Vec<HostName>>()),
    secret(later("approvalAuthToken", Place::Both, |_, from| from.check::<Secret>())),
    now("approvalDedupeKeyFields", Place::Both, |to, from| from.set(&mut to.dedupe_fields)),
    now("approvalDedupeArgKeys", Place::Both, |to, from| from.set(&mut to.dedupe_arg_keys)),
    now("auditRedact", Place::Both, |to, from| from.set(&mut to.audit_redact)),
];

const fn now(name: &'static str, place: Place, read: Read) -> Key {
    let effect = Effect::Now;
    Key {
        name,
        place,
        effect,
        is_secret: false,
        read,
    }
}

const fn later(name: &'static str, place: Place, read: Read) -> Key {
    let effect = Effect::Later;
    Key {
        name,
        place,
        effect,
        is_secret: false,
        read,
    }
}

const fn secret(key: Key) -> Key {
    Key {
        is_secret: true,
        ..key
    }
}

#[cfg(test)]
mod tests;
