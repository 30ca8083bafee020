//! Approvals that cover identical calls for a while.
//!
//! Only approvals are kept, never refusals; whether a call may use one is the gate's business.

use std::collections::HashMap;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::digest::{DefinitionDigest, other_params, write_definition};
use crate::mcp::json::{Value, write_canonical_members, write_string};
use crate::mcp::lenient::fold;
use crate::mcp::tool::CallToolRequestParams;
use crate::policy::Risk;

/// One part of what makes two calls identical for the TTL cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DedupeField {
    /// The server's name.
    Server,
    /// The tool's exact name.
    Tool,
    /// The call's arguments.
    Args,
    /// The risk that the policy saw.
    Risk,
}

/// SHA-256 over the canonical JSON of the fields that make two calls identical.
///
/// Whatever the fields are, the tool's definition and the parameters beside the arguments
/// count too: an approval must not outlive what was shown with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DedupeKey([u8; 32]);

impl DedupeKey {
    /// The key of a call that no other call has.
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

    /// The key of a call. `arg_keys` are the argument keys that count; empty means all.
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
        // Without a session, what a request says of its client is all that tells one client
        // from another.
        if call.protocol_version().is_some() {
            text.push_str(r#","client":"#);
            match call.client_info() {
                Some(info) => info.write_canonical(&mut text),
                None => text.push_str("null"),
            }
        }
        // A fixed order, whatever order the operator lists them in.
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
                    // Some servers fold case or trim: what could be read as a counted key counts.
                    let counted = members.iter().filter(|(key, _)| {
                        let key = fold(&key.decode());
                        arg_keys.iter().any(|counted| fold(counted) == key)
                    });
                    write_canonical_members(counted.map(|(key, value)| (*key, value)), &mut text);
                }
                Some(arguments) => arguments.write_canonical(&mut text),
                // None at all is another call than `null`.
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

/// The approvals that are still good, of one client session.
#[derive(Debug)]
pub struct ApprovalCache {
    ttl: Duration,
    until: HashMap<DedupeKey, Duration>,
}

/// Beyond this many a further approval is good for its own call only.
const MAX_ENTRIES: usize = 4_096;

impl ApprovalCache {
    /// A cache whose entries live for `ttl`; zero turns it off.
    #[must_use]
    pub fn new(ttl: Duration) -> ApprovalCache {
        ApprovalCache {
            ttl,
            until: HashMap::new(),
        }
    }

    /// Whether approvals are kept at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.ttl.is_zero()
    }

    /// Keeps an approval given at `now`.
    pub fn insert(&mut self, key: DedupeKey, now: Duration) {
        if self.is_on() {
            self.insert_until(key, now.saturating_add(self.ttl), now);
        }
    }

    /// Keeps an approval until `until`, whatever the cache's own time is; for calls that are the same
    /// in everything.
    pub fn insert_until(&mut self, key: DedupeKey, until: Duration, now: Duration) {
        if self.until.len() >= MAX_ENTRIES {
            self.until.retain(|_, until| now < *until);
        }
        if self.until.len() < MAX_ENTRIES {
            let kept = self.until.entry(key).or_default();
            *kept = until.max(*kept);
        }
    }

    /// Whether nothing at all is covered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.until.is_empty()
    }

    /// Whether an approval covers the call at `now`.
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
    fn the_dedupe_fields_say_what_makes_two_calls_identical() {
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
    fn no_arguments_and_null_are_two_calls() {
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
    fn an_approval_is_good_until_its_time_is_over() {
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
