//! Builds the `_meta` of our own `tools/list` to a stateless upstream.
//!
//! `listing` decides when to ask for the list.

use crate::mcp::json::{Value, write_string};
use crate::mcp::revision::STATELESS;
use crate::mcp::tool::{
    CallToolRequestParams, META_CLIENT_CAPABILITIES, META_CLIENT_INFO, META_PROTOCOL_VERSION,
};

/// Returns the `_meta` that a stateless upstream requires with `tools/list`: the call's own
/// protocol fields, as JSON. `None` for a legacy call.
///
/// SPEC 2026-07-28: "Client requests carry the following `io.modelcontextprotocol/*` fields
/// in `_meta`; fields marked as required MUST be included on every request". Fields
/// that the call lacks or has wrong are filled in: one malformed call must not spoil the list.
pub(super) fn stateless_meta(params: &CallToolRequestParams<'_>) -> Option<String> {
    params.protocol_version()?;
    let write = |fields: &[(&str, &Value<'_>)]| {
        let mut out = String::new();
        for (key, value) in fields {
            out.push_str(if out.is_empty() { "{" } else { "," });
            write_string(key, &mut out);
            out.push(':');
            value.write_canonical(&mut out);
        }
        out.push('}');
        out
    };
    // People can be asked in no other version, and a wrong one would spoil the list for everybody.
    let version = Value::string(STATELESS);
    let none = Value::Object(Vec::new());
    let capabilities = params.client_capabilities();
    let capabilities = capabilities.filter(|value| is_capabilities(value));
    let mut fields = vec![
        (META_PROTOCOL_VERSION, &version),
        (META_CLIENT_CAPABILITIES, capabilities.unwrap_or(&none)),
    ];
    let info = params.client_info().filter(|info| is_implementation(info));
    fields.extend(info.map(|info| (META_CLIENT_INFO, info)));
    let out = write(&fields);
    // It is sent with every page.
    if out.len() <= MAX_LIST_META {
        return Some(out);
    }
    Some(write(&[
        (META_PROTOCOL_VERSION, &version),
        (META_CLIENT_CAPABILITIES, &none),
    ]))
}

/// Returns true if this is a valid `ClientCapabilities` by the schema.
fn is_capabilities(value: &Value<'_>) -> bool {
    value.is_object() && value.members().iter().all(|(_, value)| value.is_object())
}

/// Returns true if this is a valid `Implementation` by the schema.
fn is_implementation(info: &Value<'_>) -> bool {
    let is_text = |key| matches!(info.get(key), Some(Value::String(_)));
    is_text("name") && is_text("version")
}

/// The largest `_meta` that is sent with `tools/list`.
const MAX_LIST_META: usize = 64 * 1024;
