//! Ids of stateless clients, told apart where they share one upstream.
//!
//! Each request gets an id that no other has; so does its progress token. What comes back carries
//! the client's own again. Nothing else of a message is touched.

use std::ops::Range;

use bytes::Bytes;

use crate::mcp::json::raw_member;

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
const TOKEN: &[&str] = &["params", "_meta", "progressToken"];

/// What a client calls its request, as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Own {
    id: String,
    token: Option<String>,
}

/// A request under another id, and what the client calls it. `None` for what has no id.
pub(super) fn request(line: &str, id: u64) -> Option<(String, Own)> {
    let own_id = raw_member(line, &["id"])?;
    let token = raw_member(line, TOKEN);
    let id = id.to_string();
    let mut edits = vec![(own_id, &*id)];
    edits.extend(token.map(|token| (token, &*id)));
    let own = Own {
        id: own_id.to_owned(),
        token: token.map(str::to_owned),
    };
    Some((spliced(line, &edits), own))
}

/// The response to a request, as its client knows it.
pub(super) fn response(line: &str, own: &Own) -> String {
    let mut edits = Vec::new();
    edits.extend(raw_member(line, &["id"]).map(|id| (id, &*own.id)));
    let subscription = raw_member(line, &["result", "_meta", SUBSCRIPTION]);
    edits.extend(subscription.map(|id| (id, &*own.id)));
    spliced(line, &edits)
}

/// The id of the request that a notification is about, as it stands there.
pub(super) fn subject(method: &str, line: &str) -> Option<u64> {
    let path: &[&str] = match method {
        "notifications/progress" => &["params", "progressToken"],
        "notifications/cancelled" => &["params", "requestId"],
        _ => &["params", "_meta", SUBSCRIPTION],
    };
    raw_member(line, path)?.parse().ok()
}

/// A notification about a request, as the request's client knows it; `None` where it names no
/// request. `number` is the id that the request was sent under.
pub(super) fn notification(line: &str, number: u64, own: &Own) -> Option<Bytes> {
    let is_it = |found: &&str| found.parse() == Ok(number);
    let mut edits = Vec::new();
    let token = raw_member(line, &["params", "progressToken"]).filter(is_it);
    if let (Some(found), Some(token)) = (token, &own.token) {
        edits.push((found, &**token));
    }
    for path in [
        &["params", "_meta", SUBSCRIPTION][..],
        &["params", "requestId"],
    ] {
        let found = raw_member(line, path).filter(is_it);
        edits.extend(found.map(|id| (id, &*own.id)));
    }
    (!edits.is_empty()).then(|| spliced(line, &edits).into())
}

/// `line` with parts of it replaced.
fn spliced(line: &str, edits: &[(&str, &str)]) -> String {
    let mut edits: Vec<(Range<usize>, &str)> = edits
        .iter()
        .map(|(part, new)| (place(line, part), *new))
        .collect();
    edits.sort_by_key(|(range, _)| range.start);
    let mut out = String::with_capacity(line.len() + 32);
    let mut done = 0;
    for (range, new) in edits {
        out.push_str(line.get(done..range.start).unwrap_or_default());
        out.push_str(new);
        done = range.end;
    }
    out.push_str(line.get(done..).unwrap_or_default());
    out
}

/// Where a part stands in the line that it is a slice of.
fn place(line: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - line.as_ptr().addr();
    start..start + part.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_goes_under_another_id_and_comes_back_under_its_own() {
        let line = r#"{"jsonrpc":"2.0","id":"é\"1", "method":"tools/call","params":{"id":9,"name":"a","_meta":{"progressToken":"t","x":1.0}}}"#;
        let (sent, own) = request(line, 42).unwrap();
        assert_eq!(
            sent,
            r#"{"jsonrpc":"2.0","id":42, "method":"tools/call","params":{"id":9,"name":"a","_meta":{"progressToken":42,"x":1.0}}}"#
        );
        assert_eq!(
            response(
                r#"{"result":{"id":42,"_meta":{"io.modelcontextprotocol/subscriptionId":42}},"id":42}"#,
                &own
            ),
            r#"{"result":{"id":42,"_meta":{"io.modelcontextprotocol/subscriptionId":"é\"1"}},"id":"é\"1"}"#
        );
        let progress =
            r#"{"method":"notifications/progress","params":{"progressToken":42,"progress":1}}"#;
        assert_eq!(subject("notifications/progress", progress), Some(42));
        assert_eq!(
            &*notification(progress, 42, &own).unwrap(),
            br#"{"method":"notifications/progress","params":{"progressToken":"t","progress":1}}"#
        );
        let updated = r#"{"method":"notifications/x","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":42}}}"#;
        assert_eq!(subject("notifications/x", updated), Some(42));
        let told = notification(updated, 42, &own).unwrap();
        assert!(
            std::str::from_utf8(&told)
                .unwrap()
                .contains(r#"subscriptionId":"é\"1""#)
        );
        // What names another request is not made to name this one.
        assert_eq!(notification(updated, 41, &own), None);
    }

    #[test]
    fn what_is_about_nothing_of_ours_is_left_alone() {
        for (method, line) in [
            (
                "notifications/message",
                r#"{"params":{"data":"x","requestId":1}}"#,
            ),
            (
                "notifications/progress",
                r#"{"params":{"progressToken":"42"}}"#,
            ),
            ("notifications/progress", "[]"),
        ] {
            assert_eq!(subject(method, line), None);
        }
    }
}
