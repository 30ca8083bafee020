//! How to reach a server, in the words of all clients (`type`, `transport`).
//!
//! `entry` reads the other keys.

use super::error::Fault;
use super::json::Node;
use super::value::Value as _;
use super::word::Word;

/// How to reach a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// We start it and use its stdin and stdout.
    Stdio,
    /// Over streamable HTTP.
    Http,
    /// Over HTTP+SSE of 2024-11-05.
    Sse,
    /// Over HTTP; the URL decides which of the two.
    Remote,
}

impl Word for Kind {
    const WORDS: &'static [(&'static str, Kind)] = &[
        ("stdio", Kind::Stdio),
        ("http", Kind::Http),
        ("sse", Kind::Sse),
        ("streamable-http", Kind::Http),
    ];
}

impl Kind {
    /// Returns the kind that `word` means in any client, ignoring case, `-` and `_`.
    pub(super) fn named(word: &str) -> Option<Kind> {
        let word = word
            .trim()
            .to_ascii_lowercase()
            .replace(['-', '_', ' '], "");
        match word.as_str() {
            "stdio" | "local" => Some(Kind::Stdio),
            "http" | "streamablehttp" | "streamable" => Some(Kind::Http),
            "sse" => Some(Kind::Sse),
            "remote" | "url" => Some(Kind::Remote),
            _ => None,
        }
    }

    /// Reads the value of `type`. Returns `None` for an empty text.
    ///
    /// # Errors
    /// A word that no client uses.
    pub(super) fn of_type(node: &Node) -> Result<Option<Kind>, Fault> {
        if let Node::Text(text) = node {
            if text.trim().is_empty() {
                return Ok(None);
            }
            if let Some(kind) = Kind::named(text) {
                return Ok(Some(kind));
            }
        }
        Kind::from_node(node).map(Some)
    }
}
