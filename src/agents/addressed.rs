//! An engine for one recipient alone, whom an agent may name. Plain data; `app` creates the engine.

use crate::gate::EngineId;

/// An engine that asks one recipient alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressed {
    /// The recipient, as in the configuration.
    pub recipient: String,
    /// The word for the type of the engine.
    pub kind: &'static str,
    /// The engine's own name.
    pub engine: EngineId,
}
