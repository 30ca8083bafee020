//! Writes an approval request as JSON, for engines that pass it to programs and services.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::approval::item::Item;

/// The version of the format. It changes when a reader could misread another version.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Request<'a> {
    version: u32,
    /// The id of the item, also in the inbox.
    id: &'a str,
    server: &'a str,
    tool: &'a str,
    title: Option<&'a str>,
    description: Option<&'a str>,
    /// `high`, `medium`, `low` or `unknown`.
    risk: &'a str,
    /// Why the policy asks about this call.
    why: &'a str,
    question: &'a str,
    hints: &'a str,
    /// The call's name, its arguments as the client wrote them, and its other parameters.
    call: &'a RawValue,
    /// SHA-256 of the call, in hexadecimal.
    digest: &'a str,
    /// The client's name for itself. Not verified.
    client: Option<&'a str>,
    client_title: Option<&'a str>,
    /// Milliseconds since 1970, UTC.
    asked_ms: i64,
    expires_ms: Option<i64>,
    /// SHA-256 of everything above that a person is shown, in hexadecimal.
    fingerprint: String,
}

/// Returns the item as one line of JSON, without the newline.
///
/// # Errors
/// If its call is not JSON.
pub(super) fn to_json(item: &Item) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Request {
        version: VERSION,
        id: &item.id,
        server: &item.server,
        tool: &item.tool,
        title: item.title.as_deref(),
        description: item.description.as_deref(),
        risk: item.risk.as_str(),
        why: &item.why,
        question: &item.question,
        hints: &item.hints,
        call: serde_json::from_str(&item.call)?,
        digest: &item.digest,
        client: item.client.as_deref(),
        client_title: item.client_title.as_deref(),
        asked_ms: item.asked_ms,
        expires_ms: item.expires_ms,
        fingerprint: item.fingerprint(),
    })
}
