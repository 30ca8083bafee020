//! The requests: bodies and headers, legacy and stateless.

use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::Outcome;
use crate::options::Options;

pub(crate) const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
pub(crate) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LEGACY: &str = "2025-06-18";
const STATELESS: &str = "2026-07-28";

pub(crate) type Headers = Vec<(HeaderName, HeaderValue)>;

pub(crate) fn initialize() -> String {
    let params = json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client()});
    format!(r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{params}}}"#)
}

/// Returns the headers of every request.
pub(crate) fn headers() -> Headers {
    let accept = HeaderValue::from_static("application/json, text/event-stream");
    vec![
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (ACCEPT, accept),
    ]
}

/// Returns the headers of a request in a session.
pub(crate) fn headers_in(session: Option<&HeaderValue>) -> Headers {
    let mut headers = headers();
    headers.push((VERSION, HeaderValue::from_static(LEGACY)));
    headers.extend(session.map(|name| (SESSION, name.clone())));
    headers
}

/// Returns the headers of a stateless call.
pub(crate) fn headers_alone(tool: &str) -> Outcome<Headers> {
    let mut headers = headers();
    let call = HeaderValue::from_static("tools/call");
    headers.extend([
        (VERSION, HeaderValue::from_static(STATELESS)),
        (HeaderName::from_static("mcp-method"), call),
        (
            HeaderName::from_static("mcp-name"),
            HeaderValue::from_str(tool)?,
        ),
    ]);
    Ok(headers)
}

/// Calls that differ only in id and tag.
#[derive(Debug)]
pub(crate) struct Calls {
    middle: String,
}

impl Calls {
    pub(crate) fn new(options: &Options) -> Calls {
        let pad = "p".repeat(options.arg_bytes);
        let mut params = json!({
            "name": options.tool,
            "arguments": {"size": options.result_bytes, "pad": pad, "tag": TAG},
        });
        if options.stateless {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": STATELESS,
                "io.modelcontextprotocol/clientInfo": client(),
                "io.modelcontextprotocol/clientCapabilities": {},
            });
        }
        Calls {
            middle: format!(r#","method":"tools/call","params":{params}}}"#),
        }
    }

    pub(crate) fn body(&self, id: u64, tag: &str) -> String {
        let (before, after) = self
            .middle
            .split_once(TAG)
            .unwrap_or((self.middle.as_str(), ""));
        format!(r#"{{"jsonrpc":"2.0","id":{id}{before}{tag}{after}"#)
    }
}

/// The placeholder for a call's own tag.
const TAG: &str = "THE-TAG";

fn client() -> Value {
    json!({"name": "httpload", "version": env!("CARGO_PKG_VERSION")})
}
