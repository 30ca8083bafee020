//! The differences between protocol revisions, as far as a proxy needs them.
//!
//! The peers negotiate the revision; the proxy only reads what they agreed on.

use std::fmt;

/// A revision of MCP that `initialize` negotiates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revision {
    /// 2024-11-05: no elicitation.
    V2024_11_05,
    /// 2025-03-26: no elicitation; the only one with JSON-RPC batches.
    V2025_03_26,
    /// 2025-06-18: elicitation by form.
    V2025_06_18,
    /// 2025-11-25: elicitation by form or URL, distinguished by `mode`.
    V2025_11_25,
    /// Any other name. Nothing is assumed about it.
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

    /// Returns the format of `elicitation/create` in this revision; `None` if it has none or is
    /// unknown.
    #[must_use]
    pub fn elicitation(&self) -> Option<ElicitationFormat> {
        match self {
            Revision::V2025_06_18 => Some(ElicitationFormat::V2025_06_18),
            Revision::V2025_11_25 => Some(ElicitationFormat::V2025_11_25),
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

/// The revision whose format an elicitation uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElicitationFormat {
    /// No `mode` key.
    V2025_06_18,
    /// `mode` is `form`.
    V2025_11_25,
    /// Like 2025-11-25, but part of a result instead of a request.
    V2026_07_28,
}

/// The stateless revision in which we can ask.
pub const STATELESS: &str = "2026-07-28";
