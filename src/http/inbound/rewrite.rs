//! Gives the requests of stateless clients that share one upstream unique ids and progress tokens.
//!
//! Restores the client's own id and token in everything that comes back. Changes nothing else in a
//! message.

use std::ops::Range;
use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem;

use crate::mcp::json::raw_member;
use crate::mcp::message::peek_result;

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
/// Built once, because every result is searched.
static NAMES_SUBSCRIPTION: LazyLock<memmem::Finder<'static>> =
    LazyLock::new(|| memmem::Finder::new(SUBSCRIPTION));

/// A client's own id and progress token of a request, as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientIds {
    id: String,
    token: Option<String>,
    /// True once the relay has the request.
    pub(super) was_sent: bool,
}

/// Creates progress tokens for the requests of clients that share a server.
///
/// They cannot be guessed. Otherwise a client could put another client's token where only the server
/// finds it, and make the server send progress to that client.
#[derive(Debug)]
pub(super) struct Tokens {
    key: [u8; 32],
}

impl Tokens {
    /// `key` must be random and not be used elsewhere.
    pub(super) fn new(key: [u8; 32]) -> Tokens {
        Tokens { key }
    }

    /// Returns the token of a request, as JSON.
    fn of(&self, number: u64) -> String {
        let seal = blake3::keyed_hash(&self.key, &number.to_be_bytes()).to_hex();
        format!("\"{number}-{}\"", seal.get(..32).unwrap_or_default())
    }

    /// Returns the request of a token, if we have created the token.
    fn number(&self, token: &str) -> Option<u64> {
        let number = token.strip_prefix('"')?.split('-').next()?.parse().ok()?;
        (self.of(number) == token).then_some(number)
    }
}

/// Replaces a request's id and progress token with ours, and returns the client's own ones. `token` is
/// the progress token, as a part of `line`. Returns `None` if there is no id.
pub(super) fn request(
    line: &str,
    token: Option<&str>,
    number: u64,
    tokens: &Tokens,
) -> Option<(String, ClientIds)> {
    let client_id = raw_member(line, &["id"])?;
    let (id, our_token);
    id = number.to_string();
    let mut edits = vec![(client_id, &*id)];
    if let Some(token) = token {
        our_token = tokens.of(number);
        edits.push((token, &our_token));
    }
    let ids = ClientIds {
        id: client_id.to_owned(),
        token: token.map(str::to_owned),
        was_sent: false,
    };
    Some((apply(line, &edits), ids))
}

/// Restores the client's own id in a response.
pub(super) fn response(line: &str, ids: &ClientIds) -> String {
    let mut edits = Vec::new();
    let id = peek_result(line.as_bytes()).and_then(|(_, place)| line.get(place));
    let id = id.or_else(|| raw_member(line, &["id"]));
    edits.extend(id.map(|id| (id, &*ids.id)));
    // Few results have a subscription id, and many are large, so this searches before it parses. No
    // normal server escapes the name.
    if NAMES_SUBSCRIPTION.find(line.as_bytes()).is_some() {
        let subscription = raw_member(line, &["result", "_meta", SUBSCRIPTION]);
        edits.extend(subscription.map(|id| (id, &*ids.id)));
    }
    apply(line, &edits)
}

/// Returns our id of the request that a notification is about, if the notification names one.
pub(super) fn subject(method: &str, line: &str, tokens: &Tokens) -> Option<u64> {
    let path: &[&str] = match method {
        "notifications/progress" => {
            return tokens.number(raw_member(line, &["params", "progressToken"])?);
        }
        "notifications/cancelled" => &["params", "requestId"],
        _ => &["params", "_meta", SUBSCRIPTION],
    };
    raw_member(line, path)?.parse().ok()
}

/// Restores the client's own ids in a notification about its request. `number` is our id of the request.
/// Returns `None` if the notification does not name the request.
pub(super) fn notification(
    line: &str,
    number: u64,
    tokens: &Tokens,
    ids: &ClientIds,
) -> Option<Bytes> {
    let is_our_id = |found: &&str| found.parse() == Ok(number);
    let mut edits = Vec::new();
    let token = raw_member(line, &["params", "progressToken"]);
    let token = token.filter(|token| tokens.number(token) == Some(number));
    if let (Some(found), Some(token)) = (token, &ids.token) {
        edits.push((found, &**token));
    }
    for path in [
        &["params", "_meta", SUBSCRIPTION][..],
        &["params", "requestId"],
    ] {
        let found = raw_member(line, path).filter(is_our_id);
        edits.extend(found.map(|id| (id, &*ids.id)));
    }
    (!edits.is_empty()).then(|| apply(line, &edits).into())
}

/// Replaces parts of `line`. Each edit is a slice of `line` and its replacement.
fn apply(line: &str, edits: &[(&str, &str)]) -> String {
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

/// Returns the position of a slice in its line.
fn place(line: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - line.as_ptr().addr();
    start..start + part.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_sent_with_our_id_and_answered_with_the_clients_own() {
        let line = r#"{"jsonrpc":"2.0","id":"é\"1", "method":"tools/call","params":{"id":9,"name":"a","_meta":{"progressToken":"t","x":1.0}}}"#;
        let tokens = Tokens::new([7; 32]);
        let path = &["params", "_meta", "progressToken"];
        let (sent, ids) = request(line, raw_member(line, path), 42, &tokens).unwrap();
        let token = raw_member(&sent, path).unwrap();
        assert!(token.len() > 32, "{token}");
        assert_eq!(
            sent.replace(token, "OURS"),
            r#"{"jsonrpc":"2.0","id":42, "method":"tools/call","params":{"id":9,"name":"a","_meta":{"progressToken":OURS,"x":1.0}}}"#
        );
        assert_eq!(
            response(
                r#"{"result":{"id":42,"_meta":{"io.modelcontextprotocol/subscriptionId":42}},"id":42}"#,
                &ids
            ),
            r#"{"result":{"id":42,"_meta":{"io.modelcontextprotocol/subscriptionId":"é\"1"}},"id":"é\"1"}"#
        );
        for line in [
            r#"{"jsonrpc":"2.0","id":42,"result":{"id":42}}"#,
            r#"{"result":{"id":42},"jsonrpc":"2.0","id":42}"#,
        ] {
            let restored = response(line, &ids);
            assert_eq!(raw_member(&restored, &["id"]), Some(r#""é\"1""#));
            assert_eq!(raw_member(&restored, &["result", "id"]), Some("42"));
        }
        let progress = format!(
            r#"{{"method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        );
        assert_eq!(
            subject("notifications/progress", &progress, &tokens),
            Some(42)
        );
        assert_eq!(
            &*notification(&progress, 42, &tokens, &ids).unwrap(),
            br#"{"method":"notifications/progress","params":{"progressToken":"t","progress":1}}"#
        );
        let updated = r#"{"method":"notifications/x","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":42}}}"#;
        assert_eq!(subject("notifications/x", updated, &tokens), Some(42));
        let restored = notification(updated, 42, &tokens, &ids).unwrap();
        assert!(
            std::str::from_utf8(&restored)
                .unwrap()
                .contains(r#"subscriptionId":"é\"1""#)
        );
        // A notification that names another request is not rewritten for this one.
        assert_eq!(notification(updated, 41, &tokens, &ids), None);
    }

    #[test]
    fn a_notification_that_names_none_of_our_requests_has_no_subject() {
        let tokens = Tokens::new([7; 32]);
        let of_another_key = Tokens::new([8; 32]).of(42);
        let forged = format!(r#"{{"params":{{"progressToken":{of_another_key}}}}}"#);
        for (method, line) in [
            (
                "notifications/message",
                r#"{"params":{"data":"x","requestId":1}}"#,
            ),
            (
                "notifications/progress",
                r#"{"params":{"progressToken":"42"}}"#,
            ),
            (
                "notifications/progress",
                r#"{"params":{"progressToken":42}}"#,
            ),
            ("notifications/progress", &forged),
            ("notifications/progress", "[]"),
        ] {
            assert_eq!(subject(method, line, &tokens), None);
        }
    }
}
