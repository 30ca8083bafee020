//! Writes the JSON-RPC errors and notifications that the proxy sends in its own name.
//!
//! The gate and the HTTP side decide which one to send.

use std::fmt::Write as _;

use super::json::write_string;
use super::message::RequestId;

/// The code of a JSON-RPC error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode(pub i32);

impl ErrorCode {
    /// JSON-RPC 2.0: the text is not JSON.
    pub const PARSE_ERROR: ErrorCode = ErrorCode(-32_700);
    /// JSON-RPC 2.0: the message is not a valid request.
    pub const INVALID_REQUEST: ErrorCode = ErrorCode(-32_600);
    /// JSON-RPC 2.0: the method does not exist.
    pub const METHOD_NOT_FOUND: ErrorCode = ErrorCode(-32_601);
    /// JSON-RPC 2.0: the parameters do not fit the method.
    pub const INVALID_PARAMS: ErrorCode = ErrorCode(-32_602);
    /// JSON-RPC 2.0: the receiver failed.
    pub const INTERNAL_ERROR: ErrorCode = ErrorCode(-32_603);
    /// SPEC 2026-07-28: the server does not support this revision.
    pub const UNSUPPORTED_PROTOCOL_VERSION: ErrorCode = ErrorCode(-32_022);
}

/// Writes an error response. Without an id, it answers a line whose id could not be read.
///
/// JSON-RPC 2.0, section 5: "If there was an error in detecting the id in the Request object
/// […], it MUST be Null."
#[must_use]
pub fn error_response(id: Option<&RequestId>, code: ErrorCode, message: String) -> String {
    error_response_with(id, code, message, None)
}

/// Like [`error_response`], with the error's `data`.
#[must_use]
pub fn error_response_with(
    id: Option<&RequestId>,
    code: ErrorCode,
    message: String,
    data: Option<serde_json::Value>,
) -> String {
    let mut out = String::from(r#"{"jsonrpc":"2.0","id":"#);
    match id {
        Some(id) => id.write(&mut out),
        None => out.push_str("null"),
    }
    let ErrorCode(code) = code;
    // Writing to a String cannot fail.
    let _ = write!(out, r#","error":{{"code":{code},"message":"#);
    write_string(&message, &mut out);
    if let Some(data) = data {
        let _ = write!(out, r#","data":{data}"#);
    }
    out.push_str("}}");
    out
}

/// Writes `notifications/cancelled` for one of our own requests.
#[must_use]
pub fn cancelled_notification(id: &RequestId, reason: &str) -> String {
    let mut out = String::from(
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"#,
    );
    id.write(&mut out);
    out.push_str(r#","reason":"#);
    write_string(reason, &mut out);
    out.push_str("}}");
    out
}

/// Writes `notifications/progress`. `token` is the client's progress token as JSON.
#[must_use]
pub fn progress_notification(token: &str, progress: f64, message: &str) -> String {
    let mut out = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{progress},"message":"#
    );
    write_string(message, &mut out);
    out.push_str("}}");
    out
}

#[cfg(test)]
mod tests {
    use rmcp::model::{ErrorCode as Theirs, ErrorData};

    use super::*;

    #[test]
    fn the_codes_are_rmcps() {
        for (ours, theirs) in [
            (ErrorCode::PARSE_ERROR, Theirs::PARSE_ERROR),
            (ErrorCode::INVALID_REQUEST, Theirs::INVALID_REQUEST),
            (ErrorCode::METHOD_NOT_FOUND, Theirs::METHOD_NOT_FOUND),
            (ErrorCode::INVALID_PARAMS, Theirs::INVALID_PARAMS),
            (ErrorCode::INTERNAL_ERROR, Theirs::INTERNAL_ERROR),
            (
                ErrorCode::UNSUPPORTED_PROTOCOL_VERSION,
                Theirs::UNSUPPORTED_PROTOCOL_VERSION,
            ),
        ] {
            assert_eq!(ours.0, theirs.0);
        }
    }

    #[test]
    fn an_error_is_what_rmcp_would_write() {
        let message = "line\nbreak, \"quotes\" and é";
        for data in [None, Some(serde_json::json!({"supported": ["2026-07-28"]}))] {
            let theirs = ErrorData::new(Theirs::INVALID_PARAMS, message, data.clone());
            let ours = error_response_with(
                Some(&RequestId::Text("q".into())),
                ErrorCode::INVALID_PARAMS,
                message.to_owned(),
                data,
            );
            let theirs = serde_json::to_string(&theirs).unwrap();
            assert_eq!(
                ours,
                format!(r#"{{"jsonrpc":"2.0","id":"q","error":{theirs}}}"#)
            );
        }
    }
}
