//! JSON-RPC error responses and notifications that the proxy writes itself.
//!
//! Which of them a peer gets is decided elsewhere.

use rmcp::model::{ErrorCode, ErrorData};

use super::json::write_string;
use super::message::RequestId;

/// Writes an error response; without an id it answers a line whose id could not be read.
///
/// JSON-RPC 2.0, section 5: "If there was an error in detecting the id in the Request object
/// […], it MUST be Null."
#[must_use]
pub fn error_response(id: Option<&RequestId>, code: ErrorCode, message: String) -> String {
    error_response_with(id, code, message, None)
}

/// As [`error_response`], with the error's `data`.
#[must_use]
pub fn error_response_with(
    id: Option<&RequestId>,
    code: ErrorCode,
    message: String,
    data: Option<serde_json::Value>,
) -> String {
    let error = ErrorData::new(code, message, data);
    let mut out = String::from(r#"{"jsonrpc":"2.0","id":"#);
    match id {
        Some(id) => id.write(&mut out),
        None => out.push_str("null"),
    }
    out.push_str(r#","error":"#);
    out.push_str(&serde_json::to_string(&error).unwrap_or_default());
    out.push('}');
    out
}

/// Writes `notifications/cancelled` for a request of our own.
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

/// Writes `notifications/progress` for a client's token, which is given as JSON.
#[must_use]
pub fn progress_notification(token: &str, progress: f64, message: &str) -> String {
    let mut out = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{progress},"message":"#
    );
    write_string(message, &mut out);
    out.push_str("}}");
    out
}
