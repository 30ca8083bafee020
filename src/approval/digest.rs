//! Digests that bind an approval to exactly one call.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::exempt::is_exempt;
use crate::mcp::json::{Text, Value, write_canonical_members, write_string};
use crate::mcp::tool::CallToolRequestParams;

/// SHA-256 of a tool's whole definition as the server lists it, in canonical JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DefinitionDigest([u8; 32]);

impl DefinitionDigest {
    /// Computes the digest of a definition.
    #[must_use]
    pub fn of(definition: &Value<'_>) -> DefinitionDigest {
        let mut text = String::new();
        definition.write_canonical(&mut text);
        DefinitionDigest(Sha256::digest(text).into())
    }

    /// Returns one digest for two definitions that share a name.
    #[must_use]
    pub fn and(&self, other: &DefinitionDigest) -> DefinitionDigest {
        DefinitionDigest(
            Sha256::new()
                .chain_update(self.0)
                .chain_update(other.0)
                .finalize()
                .into(),
        )
    }
}

/// SHA-256 of the server, the exact tool name, the definition and the parameters of one call.
///
/// INVARIANT 2: the parameters are all members of `params`, except those that a client changes
/// between tries of the same call (see `exempt`). Numbers count as written: as doubles, n and n + 1
/// could have the same digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallDigest([u8; 32]);

impl CallDigest {
    /// Computes the digest of a call. `definition` is `None` for a tool that the server does not
    /// list.
    #[must_use]
    pub fn of(
        server: &str,
        call: &CallToolRequestParams<'_>,
        definition: Option<&DefinitionDigest>,
    ) -> CallDigest {
        let mut text = String::with_capacity(512);
        text.push_str(r#"{"definition":"#);
        write_definition(definition, &mut text);
        text.push_str(r#","params":"#);
        let meta = bound_meta(call);
        write_canonical_members(bound_params(call, meta.as_ref()), &mut text);
        text.push_str(r#","server":"#);
        write_string(server, &mut text);
        text.push('}');
        CallDigest(Sha256::digest(text).into())
    }
}

impl fmt::Display for CallDigest {
    /// Writes 64 lower-case hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Display for DefinitionDigest {
    /// 64 lower-case hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

fn write_hex(bytes: &[u8; 32], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    // blake3's hex writer avoids the cost of formatting byte by byte.
    f.write_str(&blake3::Hash::from_bytes(*bytes).to_hex())
}

/// Appends the digest as JSON: a string, or `null` for an unlisted tool.
pub(super) fn write_definition(definition: Option<&DefinitionDigest>, out: &mut String) {
    match definition {
        Some(digest) => write_string(&digest.to_string(), out),
        None => out.push_str("null"),
    }
}

/// Returns the members of `params` that an approval is bound to. `meta` is the bound part of
/// `_meta`.
fn bound_params<'c, 'a>(
    call: &'c CallToolRequestParams<'a>,
    meta: Option<&'c Value<'a>>,
) -> impl Iterator<Item = (Text<'a>, &'c Value<'a>)> {
    call.members
        .iter()
        .filter_map(move |(key, value)| match key.is("_meta") {
            true => meta.map(|meta| (*key, meta)),
            false => Some((*key, value)),
        })
}

/// Returns the parameters other than name and arguments that a person must see.
#[must_use]
pub fn other_params<'a>(call: &CallToolRequestParams<'a>) -> Vec<(Text<'a>, Value<'a>)> {
    let meta = bound_meta(call);
    bound_params(call, meta.as_ref())
        .filter(|(key, _)| !key.is("name") && !key.is("arguments"))
        .map(|(key, value)| (key, value.clone()))
        .collect()
}

/// Returns the part of `_meta` that an approval is bound to, or `None` if it has none.
fn bound_meta<'a>(call: &CallToolRequestParams<'a>) -> Option<Value<'a>> {
    let (_, meta) = call.members.iter().find(|(key, _)| key.is("_meta"))?;
    let bound = meta.members().iter();
    let bound = bound.filter(|(key, value)| !is_exempt(&key.decode(), value));
    let bound: Vec<_> = bound.cloned().collect();
    (!bound.is_empty()).then_some(Value::Object(bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(params: &str) -> CallDigest {
        let call = CallToolRequestParams::parse(params).unwrap();
        CallDigest::of("db", &call, None)
    }

    #[test]
    fn the_same_call_written_differently_has_the_same_digest() {
        assert_eq!(
            digest(r#"{"name":"drop","arguments":{"a":1,"b":"x"}}"#),
            digest(
                r#"{ "arguments" : {"b":"\u0078","a":1}, "name":"dro\u0070", "_meta":{"progressToken":7,"io.modelcontextprotocol/logLevel":"debug","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}}"#
            ),
        );
    }

    #[test]
    fn every_other_call_has_another_digest() {
        let base = digest(r#"{"name":"drop","arguments":{"n":9007199254740992}}"#);
        for other in [
            r#"{"name":"drop","arguments":{"n":9007199254740993}}"#,
            r#"{"name":"drop","arguments":{"n":9007199254740992.0}}"#,
            r#"{"name":"drop","arguments":{"n":"9007199254740992"}}"#,
            r#"{"name":"Drop","arguments":{"n":9007199254740992}}"#,
            r#"{"name":"drop","arguments":{"n":9007199254740992},"task":{}}"#,
            r#"{"name":"drop","arguments":{"n":9007199254740992},"_meta":{"com.example/as":"root"}}"#,
            r#"{"name":"drop","arguments":{"n":9007199254740992},"_meta":{"x.mcp/as":"root"}}"#,
            r#"{"name":"drop","arguments":{"n":9007199254740992},"_meta":{"baggage":"user=root"}}"#,
            r#"{"name":"drop"}"#,
        ] {
            assert_ne!(base, digest(other), "{other}");
        }
        let call =
            CallToolRequestParams::parse(r#"{"name":"drop","arguments":{"n":9007199254740992}}"#)
                .unwrap();
        assert_ne!(base, CallDigest::of("other", &call, None));
        let definition = DefinitionDigest::of(&Value::parse(r#"{"name":"drop"}"#).unwrap());
        assert_ne!(base, CallDigest::of("db", &call, Some(&definition)));
    }

    #[test]
    fn parameters_other_than_name_and_arguments_are_shown() {
        let call = CallToolRequestParams::parse(
            r#"{"name":"a","arguments":{},"task":{"ttl":1},"_meta":{"progressToken":1,"io.modelcontextprotocol/y":2},"odd":true}"#,
        )
        .unwrap();
        let others = other_params(&call);
        let keys: Vec<_> = others.iter().map(|(key, _)| key.decode()).collect();
        assert_eq!(keys, ["task", "_meta", "odd"]);
    }
}
