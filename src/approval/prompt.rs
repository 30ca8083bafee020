//! Writes an approval request as the text of a prompt in the client.
//!
//! Does not decide whether or whom to ask; see `gate`.

use std::fmt::Write as _;

use super::digest::other_params;
use super::render::{Facts, Markup};
use super::request::ApprovalRequest;
use crate::mcp::ToolAnnotations;
use crate::mcp::json::Value;

pub use super::render::Message;

/// The longest message, in bytes.
pub const MAX_MESSAGE: usize = 16 * 1024;

impl ApprovalRequest {
    /// Writes the message, at most [`MAX_MESSAGE`] bytes. `inbox_shows_all`: if the message cannot show the whole call,
    /// the inbox will.
    ///
    /// Clients render prompts as plain text, Markdown or HTML, so this is Markdown that is safe in all of them.
    #[must_use]
    pub fn message(&self, inbox_shows_all: bool) -> Message {
        let call = self.call.params();
        let facts = Facts {
            question: self.round.question(),
            server: &self.server,
            tool: &self.tool,
            is_listed: self.is_listed,
            risk: self.risk,
            arguments: Some(call.arguments().unwrap_or(&Value::Null)),
            others: other_params(&call),
            why: &self.why,
            hints: &self.hints,
            description: self.description.as_deref(),
            covers: self.covers(),
            client: None,
            digest: &self.digest,
            always_shows_digest: false,
            notice: None,
            cut_notice: match inbox_shows_all {
                true => "Not everything is shown here; the approval inbox shows all of it.",
                false => "Not everything is shown.",
            },
        };
        facts.message(Markup::Markdown, MAX_MESSAGE)
    }
}

/// Returns the given hints as text; empty if there are none.
#[must_use]
pub fn hints_text(hints: &ToolAnnotations) -> String {
    let words = [
        ("readOnlyHint", hints.read_only_hint),
        ("destructiveHint", hints.destructive_hint),
        ("idempotentHint", hints.idempotent_hint),
        ("openWorldHint", hints.open_world_hint),
    ];
    let mut given = String::new();
    for (name, value) in words {
        if let Some(value) = value {
            let comma = if given.is_empty() { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(given, "{comma}{name} {value}");
        }
    }
    given
}

#[cfg(test)]
mod tests;
