//! An approval request as JSON, for engines that hand it to programs and services.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::approval::item::Item;

/// The version of the form: it changes when a reader could misread an older or newer one.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Request<'a> {
    version: u32,
    /// Names the item, in the inbox too.
    id: &'a str,
    server: &'a str,
    tool: &'a str,
    title: Option<&'a str>,
    description: Option<&'a str>,
    /// `high`, `medium`, `low` or `unknown`.
    risk: &'a str,
    /// Why the policy wants it asked about.
    why: &'a str,
    question: &'a str,
    hints: &'a str,
    /// The call: name, arguments as the client wrote them, other parameters.
    call: &'a RawValue,
    /// SHA-256 of the call, in hexadecimal.
    digest: &'a str,
    /// What the client calls itself; nobody has checked it.
    client: Option<&'a str>,
    client_title: Option<&'a str>,
    /// Milliseconds since 1970, UTC.
    asked_ms: i64,
    expires_ms: Option<i64>,
    /// SHA-256 of everything above that people are shown, in hexadecimal.
    fingerprint: String,
}

/// The item as one line of JSON, without the newline.
///
/// # Errors
/// Where its call is no JSON.
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
