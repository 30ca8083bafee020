//! Writes an approval request as the text of a prompt in the client.
//!
//! Does not decide whether or whom to ask; see `gate`.

use std::fmt::{self, Write as _};

use super::digest::other_params;
use super::display::{Layout, Medium, NAME_LIMIT, Renderer, code_span, is_small};
use super::request::ApprovalRequest;
use crate::mcp::ToolAnnotations;
use crate::mcp::json::Value;
use crate::mcp::tool::CallToolRequestParams;

/// The longest message, in bytes.
pub const MAX_MESSAGE: usize = 16 * 1024;

/// The text of a prompt, and whether it shows the whole call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The text, at most [`MAX_MESSAGE`] bytes.
    pub text: String,
    /// True if a part of the call was left out.
    pub is_cut: bool,
}

impl ApprovalRequest {
    /// Writes the message. `inbox_shows_all`: if the message cannot show the whole call, the inbox will.
    ///
    /// Shows as much as fits. Strings are cut only if the message would be longer than [`MAX_MESSAGE`], the longest
    /// first. Items of arrays and objects are left out only if that is not enough.
    ///
    /// INVARIANT 2: text from the client and the server stands in a code span on a line of ours, or in a code block.
    /// Every character is escaped that could end the span or block, or that a Markdown or HTML renderer could take for
    /// markup. So no part of the message can be forged from inside another.
    #[must_use]
    pub fn message(&self, inbox_shows_all: bool) -> Message {
        let prompt = PromptText {
            request: self,
            call: &self.call.params(),
            inbox_shows_all,
        };
        prompt.message()
    }
}

/// A message while it is being written.
struct PromptText<'a> {
    request: &'a ApprovalRequest,
    call: &'a CallToolRequestParams<'a>,
    inbox_shows_all: bool,
}

impl PromptText<'_> {
    fn message(&self) -> Message {
        let whole = self.message_with(MAX_MESSAGE, MOST_ITEMS, usize::MAX);
        if whole.text.len() <= MAX_MESSAGE {
            return whole;
        }
        for items in [MOST_ITEMS, 200, 50, LEAST_ITEMS] {
            let fits = |limit| {
                let message = self.message_with(limit, items, usize::MAX);
                (message.text.len() <= MAX_MESSAGE).then_some(message)
            };
            let Some(mut best) = fits(SHORTEST_LIMIT) else {
                continue;
            };
            let limits: Vec<usize> = limits().collect();
            let (mut fitting, mut too_long) = (0, limits.len());
            while too_long - fitting > 1 {
                let middle = fitting.midpoint(too_long);
                match limits.get(middle).and_then(|limit| fits(*limit)) {
                    Some(message) => (fitting, best) = (middle, message),
                    None => too_long = middle,
                }
            }
            return best;
        }
        self.message_with(SHORTEST_LIMIT, LEAST_ITEMS, MAX_BODY)
    }

    fn message_with(&self, limit: usize, items: usize, max_body: usize) -> Message {
        let request = self.request;
        let mut is_cut = is_longer(&request.server, NAME_LIMIT);
        let name_limit = if request.is_listed {
            NAME_LIMIT
        } else {
            CLAIMED_LIMIT
        };
        is_cut |= is_longer(&request.tool, name_limit);
        let arguments = self.call.arguments().unwrap_or(&Value::Null);
        let others = other_params(self.call);
        let body = Body {
            limit,
            items,
            max_bytes: max_body / (1 + usize::from(!others.is_empty())),
        };
        let mut shown = String::with_capacity(512);
        is_cut |= body.add("Arguments", arguments, &mut shown);
        if !others.is_empty() {
            is_cut |= body.add("Other parameters", &Value::Object(others), &mut shown);
        }

        let mut lines = Lines(String::with_capacity(USUAL_MESSAGE.max(shown.len() + 512)));
        let question = request.round.question();
        lines.add(format_args!(
            "{question} Asked by approval-proxy; the call has not run."
        ));
        let server = code_span(&request.server, NAME_LIMIT);
        let (tool, risk) = (code_span(&request.tool, name_limit), request.risk);
        let the_tool = match request.is_listed {
            true => "tool",
            false => "a tool the client names",
        };
        lines.add(format_args!(
            "Server {server}, {the_tool} {tool}, risk {risk}"
        ));
        if is_cut {
            let digest = request.digest;
            lines.add(match self.inbox_shows_all {
                true => format_args!(
                    "Not everything is shown here; the approval inbox shows all of it."
                ),
                false => format_args!("Not everything is shown."),
            });
            lines.add(format_args!("SHA-256 of the whole call: {digest}"));
        }
        // The arguments come as early as possible: Claude Code 2.1.332 shows only the first three rows of a form's text.
        lines.0.push_str(&shown);
        let (reason, hints) = (&request.why, &request.hints);
        match hints.is_empty() {
            true => lines.add(format_args!("Why: {reason}")),
            false => lines.add(format_args!("Why: {reason} (hints, not verified: {hints})")),
        }
        if let Some(description) = &request.description {
            let text = code_span(description, description_limit(description));
            lines.add(format_args!("The server says: {text}"));
        }
        if let Some(covers) = request.covers() {
            lines.add(format_args!("{covers}"));
        }
        let mut text = lines.0;
        text.truncate(text.trim_end().len());
        Message { text, is_cut }
    }
}

/// Lines that Markdown does not join.
struct Lines(String);

impl Lines {
    fn add(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.0.write_fmt(line);
        self.0.push_str(LINE_BREAK);
    }
}

/// CommonMark, "Hard line breaks": two spaces at the end of a line. They are invisible in plain text.
const LINE_BREAK: &str = "  \n";

/// How many characters are shown of the name of a tool that the server does not list.
const CLAIMED_LIMIT: usize = 64;
/// The largest and the smallest number of items of one array or object that may be shown.
const MOST_ITEMS: usize = 1_000;
const LEAST_ITEMS: usize = 10;
/// The smallest limit on strings, in characters.
const SHORTEST_LIMIT: usize = 40;
/// The size limit for arguments and other parameters if even short strings do not fit. Leaves room for names and a
/// description in which every character is escaped.
const MAX_BODY: usize = 7 * 1024;
/// The initial capacity, enough for nearly every message, in bytes. Allocators are fast up to about 1 KiB.
const USUAL_MESSAGE: usize = 1_000;
/// The longest value that is shown on the line of its label, in bytes.
const INLINE: usize = 62;
/// A value with more lines than this has several items per line.
const MOST_LINES: usize = 6;

/// Returns the limits to try on strings, from the smallest up, each about a quarter larger than the one before.
fn limits() -> impl Iterator<Item = usize> {
    let next = |limit: &usize| Some(limit + limit.div_ceil(4));
    std::iter::successors(Some(SHORTEST_LIMIT), next).take_while(|limit| *limit <= MAX_MESSAGE)
}

/// Returns how much of a description is shown, in characters: with its label, two lines of a terminal.
fn description_limit(description: &str) -> usize {
    const WHOLE: usize = 140;
    const BEGINNING: usize = 105;
    match is_longer(description, WHOLE) {
        false => WHOLE,
        true => BEGINNING,
    }
}

/// Returns true if a text has more than `limit` characters.
fn is_longer(text: &str, limit: usize) -> bool {
    // Most texts are shorter than the limit even in bytes.
    text.len() > limit && text.chars().nth(limit).is_some()
}

/// How one message shows values.
struct Body {
    limit: usize,
    items: usize,
    max_bytes: usize,
}

impl Body {
    /// Appends a value: on the line of its label if it is short, otherwise as a code block that no content can close.
    /// Returns true if something was left out.
    fn add(&self, label: &str, value: &Value<'_>, out: &mut String) -> bool {
        let renderer =
            |medium, layout| Renderer::new(medium, self.limit, self.items).with_layout(layout);
        if is_small(value, INLINE) {
            let mut line = String::with_capacity(INLINE);
            let mut short = renderer(Medium::CodeSpan, Layout::OneLine);
            short.value(value, 0, &mut line);
            if line.len() <= INLINE && !short.shortened {
                let _ = write!(out, "{label}: `{line}`{LINE_BREAK}");
                return false;
            }
        }
        let mut block = String::with_capacity(512);
        let mut tall = renderer(Medium::CodeBlock, Layout::ItemPerLine);
        tall.value(value, 0, &mut block);
        let mut shortened = tall.shortened;
        if block.bytes().filter(|b| *b == b'\n').count() >= MOST_LINES {
            let mut filled = String::with_capacity(block.len());
            let mut wide = renderer(Medium::CodeBlock, Layout::Filled);
            wide.value(value, 0, &mut filled);
            (block, shortened) = (filled, wide.shortened);
        }
        if block.len() > self.max_bytes {
            shortened = true;
            block = without_middle(&block, self.max_bytes);
        }
        let _ = write!(out, "{label}:\n```json\n{block}\n```\n");
        shortened
    }
}

/// Leaves out whole lines from the middle, and states how many on a line that cannot be JSON.
fn without_middle(body: &str, max_bytes: usize) -> String {
    let lines: Vec<&str> = body.lines().collect();
    let (mut head, mut tail) = (0, 0);
    let mut room = max_bytes;
    // Takes lines from both ends alternately, while they fit.
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
