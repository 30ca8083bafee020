//! `roots/list`: asks a client which folders it works in.
//!
//! SPEC 2025-11-25, client/roots. The gate decides whether to ask and what to do with the answer.

use std::collections::BTreeSet;

use super::json::Value;
use super::message::RequestId;

/// The method that asks the client.
pub const LIST: &str = "roots/list";
/// The client's notification that its roots have changed.
pub const LIST_CHANGED: &str = "notifications/roots/list_changed";

/// Returns true if a client with these capabilities can be asked.
///
/// SPEC: "Clients that support roots MUST declare the `roots` capability during initialization". A malformed
/// declaration counts, since such a client may still have roots.
#[must_use]
pub fn are_declared(capabilities: Option<&Value<'_>>) -> bool {
    capabilities.is_some_and(|capabilities| capabilities.get("roots").is_some())
}

/// Writes the request.
#[must_use]
pub fn list_request(id: &RequestId) -> String {
    let mut out = String::from(r#"{"jsonrpc":"2.0","id":"#);
    id.write(&mut out);
    out.push_str(r#","method":"roots/list"}"#);
    out
}

/// Returns the URIs in the result of [`LIST`], sorted by bytes and without duplicates; `None` if it cannot be read.
#[must_use]
pub fn read_list(result: Option<&str>) -> Option<Vec<String>> {
    let result = Value::parse(result?).ok()?;
    let Value::Array(roots) = result.get("roots")? else {
        return None;
    };
    let uris = roots
        .iter()
        .map(|root| Some(root.get("uri")?.as_str()?.to_string()));
    let uris: BTreeSet<String> = uris.collect::<Option<_>>()?;
    Some(uris.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_in_any_order_and_only_as_a_whole() {
        let read = |result| read_list(Some(result));
        let two = Some(vec!["file:///a".to_owned(), "file:///b".to_owned()]);
        assert_eq!(
            read(r#"{"roots":[{"uri":"file:///b","name":"B"},{"uri":"file:///a"}]}"#),
            two
        );
        assert_eq!(
            read(r#"{"roots":[{"uri":"file:///a"},{"uri":"file:///b"},{"uri":"file:///a"}]}"#),
            two
        );
        assert_eq!(read(r#"{"roots":[]}"#), Some(Vec::new()));
        for unreadable in [
            "{}",
            r#"{"roots":{}}"#,
            r#"{"roots":[{"uri":"file:///a"},{"name":"b"}]}"#,
            r#"{"roots":[{"uri":1}]}"#,
            r#"{"roots":["file:///a"]}"#,
            r#"{"roots":[],"roots":[]}"#,
            "[",
        ] {
            assert_eq!(read(unreadable), None, "{unreadable}");
        }
        assert_eq!(read_list(None), None);
    }

    #[test]
    fn any_mention_of_roots_declares_them() {
        let declared = |text: &str| are_declared(Some(&Value::parse(text).unwrap()));
        assert!(declared(r#"{"roots":{"listChanged":true}}"#));
        assert!(declared(r#"{"roots":null}"#));
        assert!(!declared(r#"{"elicitation":{}}"#));
        assert!(!are_declared(None));
    }
}
