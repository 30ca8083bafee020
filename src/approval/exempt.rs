//! Which members of `_meta` are neither shown to a person nor bound by an approval.
//!
//! Clients add these members by themselves, and their values change from call to call. Each is exempt by its exact
//! name, type and size. Anything else, even under one of these names, may mean something to the server, so it is shown
//! and bound.

use crate::mcp::json::{Text, Value};
use crate::mcp::tool::{META_CLIENT_CAPABILITIES, META_CLIENT_INFO, META_PROTOCOL_VERSION};

/// Returns true if clients send this member of `_meta` by themselves.
pub(super) fn is_exempt(key: &str, value: &Value<'_>) -> bool {
    match key {
        // SPEC: "progressToken: string | number"; ours over HTTP are 32 digits and a number.
        "progressToken" => is_number(value) || is_id(value),
        // Claude Code, Codex, VS Code.
        "claudecode/toolUseId" | "threadId" | "vscode.conversationId" | "vscode.requestId" => {
            is_id(value)
        }
        META_PROTOCOL_VERSION => is_text(value, 10, |b| b.is_ascii_digit() || b == b'-'),
        META_CLIENT_INFO => has_only(value, &IMPLEMENTATION),
        META_CLIENT_CAPABILITIES => has_only(value, &CAPABILITIES),
        "io.modelcontextprotocol/logLevel" => {
            let level = value.as_str();
            level.is_some_and(|level| LEVELS.contains(&&*level))
        }
        // W3C Trace Context, sections 3.2 and 3.3.
        "traceparent" => is_text(value, 55, |b| b.is_ascii_hexdigit() || b == b'-'),
        "tracestate" => is_text(value, 512, |b| b.is_ascii_graphic() || b == b' '),
        _ => false,
    }
}

/// SPEC 2025-11-25 and 2026-07-28, "Implementation".
const IMPLEMENTATION: [&str; 6] = [
    "name",
    "title",
    "version",
    "description",
    "websiteUrl",
    "icons",
];
/// SPEC 2025-11-25 and 2026-07-28, "ClientCapabilities".
const CAPABILITIES: [&str; 6] = [
    "elicitation",
    "experimental",
    "extensions",
    "roots",
    "sampling",
    "tasks",
];
/// SPEC 2025-11-25 and 2026-07-28, "LoggingLevel".
const LEVELS: [&str; 8] = [
    "alert",
    "critical",
    "debug",
    "emergency",
    "error",
    "info",
    "notice",
    "warning",
];
/// The longest id, in bytes. A UUID with a prefix is shorter.
const MAX_ID: usize = 64;
/// The largest exempt object, in bytes of canonical JSON.
const MAX_OBJECT: usize = 2 * 1024;

fn is_number(value: &Value<'_>) -> bool {
    matches!(value, Value::Number(token) if token.len() <= 20)
}

/// Returns true for ids as programs make them: no spaces and no structure.
fn is_id(value: &Value<'_>) -> bool {
    is_text(value, MAX_ID, |b| {
        b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/' | b'+' | b'=')
    })
}

fn is_text(value: &Value<'_>, max: usize, allowed: impl Fn(u8) -> bool) -> bool {
    let text = value.as_str();
    text.is_some_and(|text| text.len() <= max && text.bytes().all(allowed))
}

/// Returns true for a small object that has no keys but these.
fn has_only(value: &Value<'_>, keys: &[&str]) -> bool {
    let Value::Object(members) = value else {
        return false;
    };
    let is_known = |(key, _): &(Text<'_>, _)| keys.iter().any(|known| key.is(known));
    if !members.iter().all(is_known) {
        return false;
    }
    let mut text = String::new();
    value.write_canonical(&mut text);
    text.len() <= MAX_OBJECT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exempt(key: &str, json: &str) -> bool {
        is_exempt(key, &Value::parse(json).unwrap())
    }

    #[test]
    fn members_that_clients_send_by_themselves_are_exempt() {
        for (key, json) in [
            ("progressToken", "7"),
            ("progressToken", r#""1106ae9e-bd94-46ef-a2c5-d26891770c41""#),
            ("claudecode/toolUseId", r#""toolu_01A09q90qw90lq917835lq9""#),
            ("threadId", r#""0199a213-81c0-7800-8aa1-bbab2a035a53""#),
            (
                "vscode.requestId",
                r#""bf766dd8-b330-4d1d-bac5-8bfa3f71b8dc""#,
            ),
            (META_PROTOCOL_VERSION, r#""2026-07-28""#),
            (
                META_CLIENT_INFO,
                r#"{"name":"claude-code","title":"Claude Code","version":"2.1.7"}"#,
            ),
            (
                META_CLIENT_CAPABILITIES,
                r#"{"elicitation":{"form":{}},"roots":{}}"#,
            ),
            ("io.modelcontextprotocol/logLevel", r#""emergency""#),
            (
                "traceparent",
                r#""00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01""#,
            ),
            ("tracestate", r#""congo=t61rcWkgMzE,rojo=00f067aa0ba902b7""#),
        ] {
            assert!(exempt(key, json), "{key}: {json}");
        }
    }

    // Attack: `progressToken: {"as":"root"}` reached the server, and nobody was shown it.
    #[test]
    fn another_name_type_or_size_is_not_exempt() {
        let long = |length: usize| format!("\"{}\"", "x".repeat(length));
        let large = format!(r#"{{"name":{}}}"#, long(MAX_OBJECT));
        for (key, json) in [
            ("progressToken", r#"{"as":"root"}"#),
            ("progressToken", r#"["root"]"#),
            ("progressToken", "true"),
            ("progressToken", "null"),
            ("progressToken", &long(MAX_ID + 1)),
            ("progressToken", r#""as root, please""#),
            ("progressToken", "123456789012345678901"),
            ("ProgressToken", "7"),
            ("threadId", r#"{"id":1}"#),
            ("threadid", r#""a""#),
            ("claudecode/toolUseId", &long(1_000)),
            (META_PROTOCOL_VERSION, r#""2026-07-28; as=root""#),
            (META_PROTOCOL_VERSION, r#"{"as":"root"}"#),
            (META_CLIENT_INFO, r#"{"name":"c","as":"root"}"#),
            (META_CLIENT_INFO, r#""c""#),
            (META_CLIENT_INFO, &large),
            (META_CLIENT_CAPABILITIES, r#"{"root":{}}"#),
            ("io.modelcontextprotocol/logLevel", r#""asroot""#),
            ("traceparent", r#""as root""#),
            ("traceparent", &long(56)),
            ("tracestate", &long(513)),
            ("x.mcp/as", r#""root""#),
        ] {
            assert!(!exempt(key, json), "{key}: {json}");
        }
    }
}
