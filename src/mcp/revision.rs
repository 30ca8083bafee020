//! What differs between the protocol's revisions, as far as a proxy must know.
//!
//! Negotiating a revision is the peers' business; the proxy only reads what they agreed on.

use std::fmt;

/// A revision of MCP that is negotiated by `initialize`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revision {
    /// 2024-11-05: no elicitation.
    V2024_11_05,
    /// 2025-03-26: no elicitation; the only one with JSON-RPC batches.
    V2025_03_26,
    /// 2025-06-18: elicitation by form.
    V2025_06_18,
    /// 2025-11-25: elicitation by form or URL, told apart by `mode`.
    V2025_11_25,
    /// Any other word; nothing is assumed about it.
    Other(String),
}

impl Revision {
    /// Reads a `protocolVersion`.
    #[must_use]
    pub fn from_name(name: &str) -> Revision {
        match name {
            "2024-11-05" => Revision::V2024_11_05,
            "2025-03-26" => Revision::V2025_03_26,
            "2025-06-18" => Revision::V2025_06_18,
            "2025-11-25" => Revision::V2025_11_25,
            other => Revision::Other(other.chars().take(64).collect()),
        }
    }

    /// The words of `elicitation/create` in this revision; `None` where it has none, or
    /// where we do not know it.
    #[must_use]
    pub fn elicitation(&self) -> Option<ElicitationWords> {
        match self {
            Revision::V2025_06_18 => Some(ElicitationWords::V2025_06_18),
            Revision::V2025_11_25 => Some(ElicitationWords::V2025_11_25),
            Revision::V2024_11_05 | Revision::V2025_03_26 | Revision::Other(_) => None,
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Revision::V2024_11_05 => "2024-11-05",
            Revision::V2025_03_26 => "2025-03-26",
            Revision::V2025_06_18 => "2025-06-18",
            Revision::V2025_11_25 => "2025-11-25",
            Revision::Other(name) => name,
        })
    }
}

/// In which revision's words a form is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElicitationWords {
    /// There is no `mode` key yet.
    V2025_06_18,
    /// `mode` is `form`.
    V2025_11_25,
    /// The same, as a part of a result instead of a request.
    V2026_07_28,
}

/// The revision whose requests are stateless, and in whose words we can ask.
pub const STATELESS: &str = "2026-07-28";
