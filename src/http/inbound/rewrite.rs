//! Ids of stateless clients, told apart where they share one upstream.
//!
//! Each request gets an id that no other has; so does its progress token. What comes back carries
//! the client's own again. Nothing else of a message is touched.

use std::ops::Range;
use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem;

use crate::mcp::json::raw_member;
use crate::mcp::message::peek_result;

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
/// Made once: every result is looked through.
static NAMES_SUBSCRIPTION: LazyLock<memmem::Finder<'static>> =
    LazyLock::new(|| memmem::Finder::new(SUBSCRIPTION));

/// What a client calls its request, as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Own {
    id: String,
    token: Option<String>,
    /// Whether the relay has the request.
    pub(super) was_sent: bool,
}

/// Makes progress tokens for the requests of clients that share a server.
///
/// One that another client could guess would let it have progress told to that client: a server may
/// find a token where we find none.
#[derive(Debug)]
pub(super) struct Tokens {
    key: [u8; 32],
}

impl Tokens {
    /// `key` is random and nobody else's.
    pub(super) fn new(key: [u8; 32]) -> Tokens {
        Tokens { key }
    }

    /// The token of a request, as JSON.
    fn of(&self, number: u64) -> String {
        let seal = blake3::keyed_hash(&self.key, &number.to_be_bytes()).to_hex();
        format!("\"{number}-{}\"", seal.get(..32).unwrap_or_default())
    }

    /// The request of a token, if we have made it.
    fn number(&self, token: &str) -> Option<u64> {
        let number = token.strip_prefix('"')?.split('-').next()?.parse().ok()?;
        (self.of(number) == token).then_some(number)
    }
}

/// A request under another id, and what the client calls it. `token` is its progress token, a part
/// of `line`. `None` for what has no id.
pub(super) fn request(
    line: &str,
    token: Option<&str>,
    number: u64,
    tokens: &Tokens,
) -> Option<(String, Own)> {
    let own_id = raw_member(line, &["id"])?;
    let (id, our_token);
    id = number.to_string();
    let mut edits = vec![(own_id, &*id)];
    if let Some(token) = token {
        our_token = tokens.of(number);
        edits.push((token, &our_token));
    }
    let own = Own {
        id: own_id.to_owned(),
        token: token.map(str::to_owned),
        was_sent: false,
    };
    Some((spliced(line, &edits), own))
}

/// The response to a request, as its client knows it.
pub(super) fn response(line: &str, own: &Own) -> String {
    let mut edits = Vec::new();
    let id = peek_result(line.as_bytes()).and_then(|(_, place)| line.get(place));
    let id = id.or_else(|| raw_member(line, &["id"]));
    edits.extend(id.map(|id| (id, &*own.id)));
    // Few results have one, and many are large. An escaped name would be an odd server's.
    if NAMES_SUBSCRIPTION.find(line.as_bytes()).is_some() {
        let subscription = raw_member(line, &["result", "_meta", SUBSCRIPTION]);
        edits.extend(subscription.map(|id| (id, &*own.id)));
    }
    spliced(line, &edits)
}

/// The id of the request that a notification is about, as it stands there.
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

/// A notification about a request, as the request's client knows it; `None` where it names no
/// request. `number` is the id that the request was sent under.
pub(super) fn notification(line: &str, number: u64, tokens: &Tokens, own: &Own) -> Option<Bytes> {
    let is_it = |found: &&str| found.parse() == Ok(number);
    let mut edits = Vec::new();
    let token = raw_member(line, &["params", "progressToken"]);
    let token = token.filter(|token| tokens.number(token) == Some(number));
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
        let tokens = Tokens::new([7; 32]);
        let path = &["params", "_meta", "progressToken"];
        let (sent, own) = request(line, raw_member(line, path), 42, &tokens).unwrap();
        let token = raw_member(&sent, path).unwrap();
        assert!(token.len() > 32, "{token}");
        assert_eq!(
            sent.replace(token, "OURS"),
            r#"{"jsonrpc":"2.0","id":42, "method":"tools/call","params":{"id":9,"name":"a","_meta":{"progressToken":OURS,"x":1.0}}}"#
        );
        assert_eq!(
            response(
                r#"{"result":{"id":42,"_meta":{"io.modelcontextprotocol/subscriptionId":42}},"id":42}"#,
                &own
            ),
            r#"{"result":{"id":42,"_meta":{"io.modelcontextprotocol/subscriptionId":"é\"1"}},"id":"é\"1"}"#
        );
        for line in [
            r#"{"jsonrpc":"2.0","id":42,"result":{"id":42}}"#,
            r#"{"result":{"id":42},"jsonrpc":"2.0","id":42}"#,
        ] {
            let told = response(line, &own);
            assert_eq!(raw_member(&told, &["id"]), Some(r#""é\"1""#));
            assert_eq!(raw_member(&told, &["result", "id"]), Some("42"));
        }
        let progress = format!(
            r#"{{"method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        );
        assert_eq!(
            subject("notifications/progress", &progress, &tokens),
            Some(42)
        );
        assert_eq!(
            &*notification(&progress, 42, &tokens, &own).unwrap(),
            br#"{"method":"notifications/progress","params":{"progressToken":"t","progress":1}}"#
        );
        let updated = r#"{"method":"notifications/x","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":42}}}"#;
        assert_eq!(subject("notifications/x", updated, &tokens), Some(42));
        let told = notification(updated, 42, &tokens, &own).unwrap();
        assert!(
            std::str::from_utf8(&told)
                .unwrap()
                .contains(r#"subscriptionId":"é\"1""#)
        );
        // What names another request is not made to name this one.
        assert_eq!(notification(updated, 41, &tokens, &own), None);
    }

    #[test]
    fn what_is_about_nothing_of_ours_is_left_alone() {
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
