//! Reads from a message what HTTP needs to know, and compares it with the HTTP headers.
//!
//! SPEC 2026-07-28, Streamable HTTP, "Request Metadata" and "Server Validation".

use std::borrow::Cow;

use axum::http::HeaderName;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::mcp::json::{Value, raw_members};
use crate::mcp::message::{Id, Kind, MAX_ID, Message, RequestId};
use crate::mcp::tool::{META_CLIENT_CAPABILITIES, META_PROTOCOL_VERSION};

/// Names of headers.
pub(in crate::http) static VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(in crate::http) static METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub(in crate::http) static NAME: HeaderName = HeaderName::from_static("mcp-name");
pub(in crate::http) static SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
pub(in crate::http) static LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
/// The prefix of headers that carry arguments, in lower case.
pub(in crate::http) const PARAM_PREFIX: &str = "mcp-param-";

/// What HTTP needs to know about a message.
#[derive(Debug)]
pub(in crate::http) struct Facts<'a> {
    /// The id of a request.
    pub(in crate::http) id: Option<RequestId>,
    /// The method of a request or a notification; `None` for a response.
    pub(in crate::http) method: Option<Cow<'a, str>>,
    /// The revision in its `_meta`. If there is one, the message is stateless.
    pub(in crate::http) version: Option<String>,
    /// Its subject: a tool, a prompt, a resource's URI, or a task.
    pub(in crate::http) name: Option<String>,
    /// The text of `params`.
    pub(in crate::http) params: Option<&'a str>,
    /// Its progress token, as raw JSON.
    pub(in crate::http) token: Option<&'a str>,
    /// True if `_meta` has the client's capabilities, which a stateless request must have.
    pub(in crate::http) is_complete: bool,
}

impl<'a> Facts<'a> {
    /// Reads the facts of a message.
    pub(in crate::http) fn of(message: &Message<'a>) -> Facts<'a> {
        let (method, params) = match &message.kind {
            Kind::Call { method, params, .. } => (Some(method.clone()), *params),
            Kind::Response { .. } => (None, None),
        };
        let key = match method.as_deref() {
            Some("tools/call" | "prompts/get") => Some("name"),
            Some("resources/read") => Some("uri"),
            Some("tasks/get" | "tasks/update" | "tasks/cancel") => Some("taskId"),
            _ => None,
        };
        let params_text = params.unwrap_or_default();
        let [meta, name] = raw_members(params_text, ["_meta", key.unwrap_or_default()]);
        let [version, capabilities, token] = raw_members(
            meta.unwrap_or_default(),
            [
                META_PROTOCOL_VERSION,
                META_CLIENT_CAPABILITIES,
                "progressToken",
            ],
        );
        let text = |found: Option<&str>| {
            let found = Value::parse(found?).ok()?;
            found.as_str().map(Cow::into_owned)
        };
        let id = match &message.id {
            Id::Some(id) if method.is_some() => Some(id.clone()),
            Id::Some(_) | Id::Absent | Id::Unusable => None,
        };
        Facts {
            id,
            is_complete: capabilities.is_some(),
            version: text(version),
            name: text(name.filter(|_| key.is_some())),
            method,
            params,
            token,
        }
    }

    /// Returns an error text if the id or the progress token is longer than 1,024 bytes. Both are
    /// kept in memory until the request ends.
    pub(in crate::http) fn too_long(&self) -> Option<&'static str> {
        let token = self.token.is_some_and(|token| token.len() > MAX_ID);
        match (self.id.as_ref().is_some_and(RequestId::is_too_long), token) {
            (true, _) => Some("the id of this request is longer than 1,024 bytes"),
            (false, true) => Some("the progress token of this request is longer than 1,024 bytes"),
            (false, false) => None,
        }
    }

    /// Checks that the headers of a stateless message match its body. `header` looks one up by name
    /// and returns an empty text for a header that occurs twice or is not text.
    ///
    /// INVARIANT 2: header and body never name two tools.
    ///
    /// # Errors
    /// What differs, in a sentence.
    pub(in crate::http) fn check_headers<'h>(
        &self,
        header: impl Fn(&HeaderName) -> Option<&'h str>,
    ) -> Result<(), String> {
        let Some(version) = &self.version else {
            return Ok(());
        };
        let differs = |name: &str, wanted: &str, found: Option<&str>| match found {
            None => format!("Header mismatch: the header {name} is missing"),
            Some(found) => format!(
                "Header mismatch: the header {name} is '{found}', but the body says '{wanted}'"
            ),
        };
        let found = header(&VERSION);
        if found != Some(version) {
            return Err(differs("MCP-Protocol-Version", version, found));
        }
        let method = self.method.as_deref().unwrap_or_default();
        let found = header(&METHOD);
        // Notifications need not have this header.
        if (found.is_some() || self.id.is_some()) && found != Some(method) {
            return Err(differs("Mcp-Method", method, found));
        }
        let found = header(&NAME);
        match (&self.name, found) {
            (Some(name), Some(found)) => match decode(found) {
                Some(decoded) if decoded == *name => Ok(()),
                _ => Err(differs("Mcp-Name", name, Some(found))),
            },
            (Some(_), None) if self.id.is_none() => Ok(()),
            (Some(name), None) => Err(differs("Mcp-Name", name, None)),
            // The body has no name to compare it with.
            (None, _) => Ok(()),
        }
    }
}

const SENTINEL: (&str, &str) = ("=?base64?", "?=");

/// Encodes a value for a header: unchanged if possible, otherwise as Base64 in the sentinel.
pub(in crate::http) fn encode(value: &str) -> Cow<'_, str> {
    let is_plain = value.bytes().all(|b| matches!(b, 0x20..=0x7E | b'\t'))
        && value.trim() == value
        && !(value.starts_with(SENTINEL.0) && value.ends_with(SENTINEL.1));
    if is_plain {
        return Cow::Borrowed(value);
    }
    let (before, after) = SENTINEL;
    Cow::Owned(format!("{before}{}{after}", STANDARD.encode(value)))
}

/// Decodes a header's value; `None` if it has the sentinel but cannot be decoded.
pub(in crate::http) fn decode(header: &str) -> Option<Cow<'_, str>> {
    let inner = header
        .strip_prefix(SENTINEL.0)
        .and_then(|rest| rest.strip_suffix(SENTINEL.1));
    let Some(inner) = inner else {
        return Some(Cow::Borrowed(header));
    };
    let bytes = STANDARD.decode(inner).ok()?;
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mcp::message::read_message;

    const CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"größe","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;

    fn check(body: &str, headers: &[(&HeaderName, &str)]) -> Result<(), String> {
        let message = read_message(body).unwrap();
        let found = |name: &HeaderName| headers.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        Facts::of(&message).check_headers(found)
    }

    #[test]
    fn header_and_body_never_name_two_tools() {
        let (version, method) = ((&VERSION, "2026-07-28"), (&METHOD, "tools/call"));
        let name = encode("größe");
        assert_eq!(check(CALL, &[version, method, (&NAME, &name)]), Ok(()));
        for headers in [
            &[method, (&NAME, &*name)][..],
            &[version, (&NAME, &name)],
            &[version, method],
            &[version, method, (&NAME, "other")],
            &[version, method, (&NAME, "=?base64?!?=")],
            &[version, (&METHOD, "tools/list"), (&NAME, &name)],
            &[(&VERSION, "2025-11-25"), method, (&NAME, &name)],
        ] {
            assert!(check(CALL, headers).is_err(), "{headers:?}");
        }
        // Messages in a session belong to revisions without these headers.
        let old = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a"}}"#;
        assert_eq!(check(old, &[]), Ok(()));
    }

    #[test]
    fn the_examples_of_the_specification_are_encoded_and_decoded() {
        for (value, header) in [
            ("us-west1", "us-west1"),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ] {
            assert_eq!(encode(value), header);
            assert_eq!(decode(header).unwrap(), value);
        }
    }

    proptest! {
        #[test]
        fn any_name_survives_its_header(name in any::<String>()) {
            let header = encode(&name);
            prop_assert!(header.bytes().all(|b| matches!(b, 0x20..=0x7E | b'\t')));
            prop_assert_eq!(&*decode(&header).unwrap(), &*name);
        }
    }
}
