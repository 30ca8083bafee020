//! The operator's rules as plain data, merged from all sources.
//!
//! `config` fills them in, and `Policy::new` checks them.

use std::collections::BTreeMap;

use super::Mode;
use crate::mcp::ToolAnnotations;

/// An operator's rules for the tools of one server.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    /// How to treat tools that are in neither list.
    pub mode: Mode,
    /// Exact names and globs of tools that pass: `alwaysAllow` and `allowPatterns` together.
    pub allow: Vec<String>,
    /// Exact names and globs of tools that are blocked: `alwaysDeny` and `denyPatterns` together.
    pub deny: Vec<String>,
    /// The operator's own hints by exact tool name. Unlike the upstream's hints, they are trusted.
    pub custom_annotations: BTreeMap<String, ToolAnnotations>,
}
