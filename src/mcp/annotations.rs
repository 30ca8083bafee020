//! What a server says about a tool's behaviour: `ToolAnnotations`.
//!
//! How much each hint is worth is the policy's business.

/// A tool's hints, each of which may be missing.
///
/// SPEC 2025-11-25: "all properties in ToolAnnotations are **hints**. They are not guaranteed to provide a faithful
/// description of tool behavior".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolAnnotations {
    /// A name for people.
    pub title: Option<String>,
    /// `readOnlyHint`: the tool changes nothing.
    pub read_only_hint: Option<bool>,
    /// `destructiveHint`: the tool may destroy something, and not only add to it.
    pub destructive_hint: Option<bool>,
    /// `idempotentHint`: a second call with the same arguments has no further effect.
    pub idempotent_hint: Option<bool>,
    /// `openWorldHint`: the tool reaches things outside of a closed domain, such as the web.
    pub open_world_hint: Option<bool>,
}

impl ToolAnnotations {
    /// No hints.
    #[must_use]
    pub fn new() -> ToolAnnotations {
        ToolAnnotations::default()
    }

    /// The same with this `readOnlyHint`.
    #[must_use]
    pub fn read_only(self, read_only: bool) -> ToolAnnotations {
        ToolAnnotations {
            read_only_hint: Some(read_only),
            ..self
        }
    }

    /// The same with this `destructiveHint`.
    #[must_use]
    pub fn destructive(self, destructive: bool) -> ToolAnnotations {
        ToolAnnotations {
            destructive_hint: Some(destructive),
            ..self
        }
    }

    /// The same with this `idempotentHint`.
    #[must_use]
    pub fn idempotent(self, idempotent: bool) -> ToolAnnotations {
        ToolAnnotations {
            idempotent_hint: Some(idempotent),
            ..self
        }
    }

    /// The same with this `openWorldHint`.
    #[must_use]
    pub fn open_world(self, open_world: bool) -> ToolAnnotations {
        ToolAnnotations {
            open_world_hint: Some(open_world),
            ..self
        }
    }
}
