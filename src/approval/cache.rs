//! Approvals that also cover identical calls for a while.
//!
//! Keeps approvals only, never refusals. The gate decides which calls may use them.

use std::collections::HashMap;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::digest::{DefinitionDigest, other_params, write_definition};
use crate::mcp::json::{Value, write_canonical_members, write_string};
use crate::mcp::lenient::fold;
use crate::mcp::tool::CallToolRequestParams;
use crate::policy::Risk;

/// A field that two calls must share to count as identical for the TTL cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DedupeField {
    /// The server's name.
    Server,
    /// The tool's exact name.
    Tool,
    /// The call's arguments.
    Args,
    /// The risk that the policy assigned.
    Risk,
}

/// SHA-256 of the canonical JSON of the fields that make two calls identical.
///
/// The tool's definition and the parameters other than the arguments always count: an approval must not outlive what
/// was shown with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DedupeKey([u8; 32]);

impl DedupeKey {
    /// Returns a key that no other call shares.
    #[must_use]
    pub fn exact(
        server: &str,
        call: &CallToolRequestParams<'_>,
        definition: Option<&DefinitionDigest>,
    ) -> DedupeKey {
        let all = [DedupeField::Server, DedupeField::Tool, DedupeField::Args];
        // The risk does not count.
        DedupeKey::of(&all, &[], server, call, Risk::Unknown, definition)
    }

    /// Returns the key of a call. `arg_keys` are the argument keys that count; empty means all.
    #[must_use]
    pub fn of(
        fields: &[DedupeField],
        arg_keys: &[String],
        server: &str,
        call: &CallToolRequestParams<'_>,
        risk: Risk,
        definition: Option<&DefinitionDigest>,
    ) -> DedupeKey {
        let mut text = String::from(r#"{"definition":"#);
        write_definition(definition, &mut text);
        text.push_str(r#","other":"#);
        let others = other_params(call);
        write_canonical_members(others.iter().map(|(key, value)| (*key, value)), &mut text);
        // Without a session, only a request's own `clientInfo` tells one client from another.
        if call.protocol_version().is_some() {
            text.push_str(r#","client":"#);
            match call.client_info() {
                Some(info) => info.write_canonical(&mut text),
                None => text.push_str("null"),
            }
        }
        // The order is fixed, whatever order the operator lists the fields in.
        if fields.contains(&DedupeField::Server) {
            text.push_str(r#","server":"#);
            write_string(server, &mut text);
        }
        if fields.contains(&DedupeField::Tool) {
            text.push_str(r#","tool":"#);
            write_string(&call.name, &mut text);
        }
        if fields.contains(&DedupeField::Args) {
            text.push_str(r#","args":"#);
            match call.arguments() {
                Some(Value::Object(members)) if !arg_keys.is_empty() => {
                    // Some servers ignore case or trim keys, so every key that could be read as a counted key counts.
                    let counted = members.iter().filter(|(key, _)| {
                        let key = fold(&key.decode());
                        arg_keys.iter().any(|counted| fold(counted) == key)
                    });
                    write_canonical_members(counted.map(|(key, value)| (*key, value)), &mut text);
                }
                Some(arguments) => arguments.write_canonical(&mut text),
                // Missing arguments are not the same call as `null`.
                None => text.push_str("none"),
            }
        }
        if fields.contains(&DedupeField::Risk) {
            text.push_str(r#","risk":"#);
            write_string(risk.as_str(), &mut text);
        }
        text.push('}');
        DedupeKey(Sha256::digest(text).into())
    }
}

/// The approvals of one client session that have not expired.
#[derive(Debug)]
pub struct ApprovalCache {
    ttl: Duration,
    until: HashMap<DedupeKey, Duration>,
}

/// Beyond this many, a further approval covers only its own call.
const MAX_ENTRIES: usize = 4_096;

impl ApprovalCache {
    /// Creates a cache whose entries live for `ttl`; zero turns it off.
    #[must_use]
    pub fn new(ttl: Duration) -> ApprovalCache {
        ApprovalCache {
            ttl,
            until: HashMap::new(),
        }
    }

    /// Returns true if approvals are kept at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.ttl.is_zero()
    }

    /// Keeps an approval that was given at `now`.
    pub fn insert(&mut self, key: DedupeKey, now: Duration) {
        if self.is_on() {
            self.insert_until(key, now.saturating_add(self.ttl), now);
        }
    }

    /// Keeps an approval until `until`, regardless of the cache's TTL.
    pub fn insert_until(&mut self, key: DedupeKey, until: Duration, now: Duration) {
        if self.until.len() >= MAX_ENTRIES {
            self.until.retain(|_, until| now < *until);
        }
        if self.until.len() < MAX_ENTRIES {
            let kept = self.until.entry(key).or_default();
            *kept = until.max(*kept);
        }
    }

    /// Returns true if no approval is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.until.is_empty()
    }

    /// Returns true if an approval covers the call at `now`.
    #[must_use]
    pub fn covers(&self, key: &DedupeKey, now: Duration) -> bool {
        self.until.get(key).is_some_and(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [DedupeField; 3] = [DedupeField::Server, DedupeField::Tool, DedupeField::Args];

    fn key(fields: &[DedupeField], arg_keys: &[&str], params: &str) -> DedupeKey {
        let call = CallToolRequestParams::parse(params).unwrap();
        let arg_keys: Vec<String> = arg_keys.iter().map(|key| (*key).to_owned()).collect();
        DedupeKey::of(fields, &arg_keys, "db", &call, Risk::High, None)
    }

    #[test]
    fn the_dedupe_fields_decide_which_calls_are_identical() {
        let a = r#"{"name":"t","arguments":{"id":1,"note":"x"}}"#;
        let b = r#"{"name":"t","arguments":{"note":"y","id":1}}"#;
        let c = r#"{"name":"u","arguments":{"id":1,"note":"x"}}"#;
        assert_eq!(key(&ALL, &[], a), key(&ALL, &[], a));
        assert_ne!(key(&ALL, &[], a), key(&ALL, &[], b));
        assert_eq!(key(&ALL, &["id"], a), key(&ALL, &["id"], b));
        let folded = r#"{"name":"t","arguments":{"id":1,"Id":2}}"#;
        assert_ne!(key(&ALL, &["id"], a), key(&ALL, &["id"], folded));
        let trimmed = r#"{"name":"t","arguments":{"id":1,"id ":2}}"#;
        assert_ne!(key(&ALL, &["id"], a), key(&ALL, &["id"], trimmed));
        assert_eq!(
            key(&[DedupeField::Tool], &[], a),
            key(&[DedupeField::Tool], &[], b)
        );
        assert_ne!(key(&ALL, &[], a), key(&ALL, &[], c));
        assert_eq!(
            key(&[DedupeField::Args], &[], a),
            key(&[DedupeField::Args], &[], c)
        );
        assert_ne!(
            key(&ALL, &[], a),
            key(
                &[
                    DedupeField::Server,
                    DedupeField::Tool,
                    DedupeField::Args,
                    DedupeField::Risk
                ],
                &[],
                a
            )
        );
    }

    #[test]
    fn missing_arguments_and_null_are_different_calls() {
        let without = r#"{"name":"t"}"#;
        let null = r#"{"name":"t","arguments":null}"#;
        assert_ne!(key(&ALL, &[], without), key(&ALL, &[], null));
    }

    #[test]
    fn another_parameter_or_definition_is_another_call_whatever_the_fields() {
        let plain = r#"{"name":"t","arguments":{}}"#;
        let task = r#"{"name":"t","arguments":{},"task":{}}"#;
        assert_ne!(
            key(&[DedupeField::Tool], &[], plain),
            key(&[DedupeField::Tool], &[], task)
        );
        let call = CallToolRequestParams::parse(plain).unwrap();
        let definition = DefinitionDigest::of(&Value::Null);
        assert_ne!(
            DedupeKey::of(&ALL, &[], "db", &call, Risk::High, None),
            DedupeKey::of(&ALL, &[], "db", &call, Risk::High, Some(&definition))
        );
    }

    #[test]
    fn an_approval_covers_calls_until_it_expires() {
        let key = key(&ALL, &[], r#"{"name":"t"}"#);
        let mut cache = ApprovalCache::new(Duration::from_secs(10));
        let now = Duration::from_secs(5);
        assert!(!cache.covers(&key, now));
        cache.insert(key, now);
        assert!(cache.covers(&key, Duration::from_millis(14_999)));
        assert!(!cache.covers(&key, Duration::from_secs(15)));
        let mut off = ApprovalCache::new(Duration::ZERO);
        off.insert(key, now);
        assert!(!off.covers(&key, now));
    }

    #[test]
    fn the_cache_does_not_grow_without_bound() {
        let mut cache = ApprovalCache::new(Duration::from_secs(10));
        for i in 0..MAX_ENTRIES + 10 {
            let params = format!(r#"{{"name":"t{i}"}}"#);
            cache.insert(key(&ALL, &[], &params), Duration::ZERO);
        }
        assert_eq!(cache.until.len(), MAX_ENTRIES);
        cache.insert(key(&ALL, &[], r#"{"name":"new"}"#), Duration::from_secs(11));
        assert_eq!(cache.until.len(), 1);
    }
}
