//! The operator's rules as plain data, after every source has been merged.
//!
//! It neither reads nor checks them: `config` fills them in, `Policy::new` checks them.

use std::collections::BTreeMap;

use super::Mode;
use crate::mcp::ToolAnnotations;

/// What an operator has decided about the tools of one server.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    /// What happens to tools that neither list names.
    pub mode: Mode,
    /// Exact names and globs of tools that pass; `alwaysAllow` and `allowPatterns` united.
    pub allow: Vec<String>,
    /// Exact names and globs of tools that are blocked; `alwaysDeny` and `denyPatterns` united.
    pub deny: Vec<String>,
    /// The operator's own hints by exact tool name; unlike the upstream's they are trusted.
    pub custom_annotations: BTreeMap<String, ToolAnnotations>,
}
