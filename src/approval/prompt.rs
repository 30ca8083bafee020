//! The text that a human reads before saying yes or no.
//!
//! It shows a call; whether to ask, and whom, is decided elsewhere.

use std::fmt::Write as _;
use std::time::Duration;

use rmcp::model::ToolAnnotations;

use super::digest::{CallDigest, other_params};
use super::display::{NAME_LIMIT, Renderer};
use crate::mcp::json::Value;
use crate::mcp::tool::CallToolRequestParams;
use crate::policy::Decision;

/// The longest message, in bytes.
pub const MAX_MESSAGE: usize = 16 * 1024;

/// Which of a call's questions this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// The only one.
    First,
    /// The first of two.
    FirstOfTwo,
    /// The second of two.
    Second,
    /// The tool's definition changed while a human was thinking.
    Changed,
}

impl Round {
    /// The question, in words.
    #[must_use]
    pub fn question(self) -> &'static str {
        match self {
            Round::First => "Allow this tool call?",
            Round::FirstOfTwo => "Allow this high-risk tool call? You will be asked twice.",
            Round::Second => "Second confirmation: allow this high-risk tool call?",
            Round::Changed => {
                "The server changed this tool while you were asked. Allow the call as it is now?"
            }
        }
    }
}

/// Everything that a message is made of.
#[derive(Debug)]
pub struct Prompt<'a> {
    /// The server's name in the configuration.
    pub server: &'a str,
    /// The call.
    pub call: &'a CallToolRequestParams<'a>,
    /// Why it is asked about.
    pub decision: &'a Decision,
    /// What the server says about the tool.
    pub description: Option<&'a str>,
    /// The hints that the policy went by.
    pub hints: &'a ToolAnnotations,
    /// The call's digest, which the message carries when it does not show everything.
    pub digest: CallDigest,
    /// Which question this is.
    pub round: Round,
    /// How long a yes covers identical calls too; zero is not at all.
    pub covers: Duration,
}

impl Prompt<'_> {
    /// Writes the message, at most [`MAX_MESSAGE`] bytes.
    ///
    /// INVARIANT 2: text from the client and the server stands in quotes on one line of its
    /// own, or inside a fence of indented JSON, with everything escaped that could end
    /// either; so no part of the message can be forged from inside another.
    #[must_use]
    pub fn message(&self) -> String {
        for (limit, items) in LIMITS {
            let message = self.message_with(limit, items, usize::MAX);
            if message.len() <= MAX_MESSAGE {
                return message;
            }
        }
        let (limit, items) = SHORTEST;
        self.message_with(limit, items, MAX_BODY)
    }

    fn message_with(&self, limit: usize, items: usize, max_body: usize) -> String {
        let mut renderer = Renderer::new(limit, items);
        let mut out = String::with_capacity(2 * 1024);
        let mut name = Renderer::new(NAME_LIMIT, 0);
        out.push_str(self.round.question());
        out.push_str("\n\nServer: ");
        name.quoted(self.server, &mut out);
        out.push_str("\nTool: ");
        name.quoted(&self.call.name, &mut out);
        let _ = write!(
            out,
            "\nRisk: {} ({})",
            self.decision.risk, self.decision.reason
        );
        if let Some(description) = self.description {
            out.push_str("\nThe server describes the tool as: ");
            let mut text = Renderer::new(limit.min(DESCRIPTION_LIMIT), 0);
            text.quoted(description, &mut out);
            name.shortened |= text.shortened;
        }
        let hints = hint_words(self.hints);
        if !hints.is_empty() {
            let _ = write!(out, "\nHints, not verified: {hints}");
        }
        let arguments = self.call.arguments().unwrap_or(&Value::Null);
        let others = other_params(self.call);
        let parts = 1 + usize::from(!others.is_empty());
        out.push_str("\n\nArguments:\n");
        fenced(arguments, max_body / parts, &mut renderer, &mut out);
        if !others.is_empty() {
            out.push_str("\n\nOther parameters:\n");
            fenced(
                &Value::Object(others),
                max_body / parts,
                &mut renderer,
                &mut out,
            );
        }
        if renderer.shortened || name.shortened {
            let _ = write!(
                out,
                "\n\nNot everything is shown. SHA-256 of the whole call: {}",
                self.digest
            );
        }
        if !self.covers.is_zero() {
            let seconds = self.covers.as_secs_f64();
            let _ = write!(
                out,
                "\n\nA yes also covers identical calls for the next {seconds} seconds."
            );
        }
        out.push_str("\n\nAsked by approval-proxy. The call has not run.");
        out
    }
}

/// How much of a string, in characters, and of an array or object, in items, may be shown;
/// tried from the most on until the message fits.
const LIMITS: [(usize, usize); 4] = [(2_000, 1_000), (500, 200), (120, 50), SHORTEST];
const SHORTEST: (usize, usize) = (40, 10);
const DESCRIPTION_LIMIT: usize = 1_000;
/// What arguments and other parameters may take when even short strings do not fit. Leaves
/// room for names and a description in which every character is escaped.
const MAX_BODY: usize = 7 * 1024;

/// Appends a value between fences that nothing inside can close.
fn fenced(value: &Value<'_>, max_body: usize, renderer: &mut Renderer, out: &mut String) {
    let mut body = String::with_capacity(512);
    renderer.value(value, 0, &mut body);
    if body.len() > max_body {
        renderer.shortened = true;
        body = without_middle(&body, max_body);
    }
    let fence = "`".repeat(3.max(longest_backtick_run(&body) + 1));
    let _ = write!(out, "{fence}json\n{body}\n{fence}");
}

/// Leaves out whole lines from the middle, and says how many on a line that no JSON can
/// look like.
fn without_middle(body: &str, max_bytes: usize) -> String {
    let lines: Vec<&str> = body.lines().collect();
    let (mut head, mut tail) = (0, 0);
    let mut room = max_bytes;
    // Takes lines from both ends in turn, as long as they fit.
    while head + tail < lines.len() {
        let from_head = head <= tail;
        let next = if from_head {
            lines.get(head)
        } else {
            lines.get(lines.len() - 1 - tail)
        };
        let Some(left) = next.and_then(|line| room.checked_sub(line.len() + 1)) else {
            break;
        };
        room = left;
        *(if from_head { &mut head } else { &mut tail }) += 1;
    }
    let mut out = String::with_capacity(max_bytes + 64);
    for line in lines.iter().take(head) {
        out.push_str(line);
        out.push('\n');
    }
    let _ = write!(
        out,
        "…({} of {} lines left out)…",
        lines.len() - head - tail,
        lines.len()
    );
    for line in lines.iter().skip(lines.len() - tail) {
        out.push('\n');
        out.push_str(line);
    }
    out
}

fn longest_backtick_run(text: &str) -> usize {
    let Some(first) = memchr::memchr(b'`', text.as_bytes()) else {
        return 0;
    };
    let rest = text.as_bytes().get(first..).unwrap_or_default();
    let runs = rest.split(|b| *b != b'`').map(<[u8]>::len);
    runs.max().unwrap_or(0)
}

/// The hints that are given, in words; empty if there are none.
#[must_use]
pub fn hint_words(hints: &ToolAnnotations) -> String {
    let words = [
        ("readOnlyHint", hints.read_only_hint),
        ("destructiveHint", hints.destructive_hint),
        ("idempotentHint", hints.idempotent_hint),
        ("openWorldHint", hints.open_world_hint),
    ];
    let given = words
        .iter()
        .filter_map(|(name, value)| value.map(|value| format!("{name} {value}")));
    given.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
