//! What a server says about a tool's behaviour: `ToolAnnotations`.
//!
//! The policy decides how far to trust each hint.

/// A tool's hints. Each may be missing.
///
/// SPEC 2025-11-25: "all properties in ToolAnnotations are **hints**. They are not guaranteed to provide a faithful
/// description of tool behavior".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolAnnotations {
    /// A display name for people.
    pub title: Option<String>,
    /// `readOnlyHint`: the tool changes nothing.
    pub read_only_hint: Option<bool>,
    /// `destructiveHint`: the tool may delete or overwrite something, not only add to it.
    pub destructive_hint: Option<bool>,
    /// `idempotentHint`: a second call with the same arguments has no further effect.
    pub idempotent_hint: Option<bool>,
    /// `openWorldHint`: the tool interacts with systems outside a closed domain, such as the web.
    pub open_world_hint: Option<bool>,
}

impl ToolAnnotations {
    /// Returns annotations without any hint.
    #[must_use]
    pub fn new() -> ToolAnnotations {
        ToolAnnotations::default()
    }

    /// Sets `readOnlyHint`.
    #[must_use]
    pub fn read_only(self, read_only: bool) -> ToolAnnotations {
        ToolAnnotations {
            read_only_hint: Some(read_only),
            ..self
        }
    }

    /// Sets `destructiveHint`.
    #[must_use]
    pub fn destructive(self, destructive: bool) -> ToolAnnotations {
        ToolAnnotations {
            destructive_hint: Some(destructive),
            ..self
        }
    }

    /// Sets `idempotentHint`.
    #[must_use]
    pub fn idempotent(self, idempotent: bool) -> ToolAnnotations {
        ToolAnnotations {
            idempotent_hint: Some(idempotent),
            ..self
        }
    }

    /// Sets `openWorldHint`.
    #[must_use]
    pub fn open_world(self, open_world: bool) -> ToolAnnotations {
        ToolAnnotations {
            open_world_hint: Some(open_world),
            ..self
        }
    }
}
