//! Renders an approval request for people, in the markup of each medium. One layout serves them all.
//!
//! `display` makes untrusted text visible and harmless. The gate and the engines decide who is asked.

mod card;
mod markup;

use std::fmt::{self, Write as _};

use super::display::{Layout, NAME_LIMIT, Renderer, is_small};
use crate::mcp::json::{Text, Value};
use crate::policy::Risk;

pub use self::card::{Card, Show, ShownCall, card};
pub use self::markup::Markup;

/// The text of a prompt or a card, and whether it shows the whole call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The text.
    pub text: String,
    /// True if a part of the call was left out.
    pub is_cut: bool,
}

/// Returns untrusted text on one line, inert in this markup, shortened beyond `limit` characters.
#[must_use]
pub fn in_span(markup: Markup, text: &str, limit: usize) -> String {
    markup.span(text, limit)
}

/// Returns text that is visible already, inert inside of this markup's block of code.
#[must_use]
pub fn in_block(markup: Markup, text: &str) -> String {
    markup.block(text).into_owned()
}

/// Returns a message about a question that is over: without its first line, which asks and says that the call has not
/// run.
#[must_use]
pub fn after_question(text: &str) -> &str {
    text.split_once('\n').map_or(text, |(_, rest)| rest)
}

/// What a message says.
pub(super) struct Facts<'a> {
    /// Which of the call's questions this is, as text.
    pub(super) question: &'a str,
    pub(super) server: &'a str,
    pub(super) tool: &'a str,
    /// Whether the server lists the tool. If not, only the client vouches for the name.
    pub(super) is_listed: bool,
    pub(super) risk: Risk,
    /// `None` if the arguments are not shown at all.
    pub(super) arguments: Option<&'a Value<'a>>,
    /// The call's other parameters.
    pub(super) others: Vec<(Text<'a>, Value<'a>)>,
    pub(super) why: &'a str,
    pub(super) hints: &'a str,
    pub(super) description: Option<&'a str>,
    /// What an approval covers besides the call, as a sentence.
    pub(super) covers: Option<String>,
    /// The client's name for itself.
    pub(super) client: Option<&'a str>,
    pub(super) digest: &'a dyn fmt::Display,
    /// Whether the digest is shown even if the whole call is.
    pub(super) always_shows_digest: bool,
    /// What is said about the arguments before they are shown.
    pub(super) notice: Option<&'a str>,
    /// What is said if the message does not show the whole call.
    pub(super) cut_notice: &'a str,
}

impl Facts<'_> {
    /// Writes the message, at most `max` bytes long.
    ///
    /// Shows as much as fits. Strings are cut only if the message would be longer than `max`, the longest first. Items
    /// of arrays and objects are left out only if that is not enough.
    ///
    /// INVARIANT 2: text from the client and the server stands in a span on a line of ours, or in a block. Every
    /// character is escaped that could end the span or block, or that a reader of the markup could take for markup. So
    /// no part of the message can be forged from inside another.
    pub(super) fn message(&self, markup: Markup, max: usize) -> Message {
        let text = MessageText {
            facts: self,
            markup,
            max,
        };
        text.message()
    }
}

/// A message while it is being written.
struct MessageText<'a> {
    facts: &'a Facts<'a>,
    markup: Markup,
    max: usize,
}

impl MessageText<'_> {
    fn message(&self) -> Message {
        let whole = self.message_with(self.max, MOST_ITEMS, usize::MAX, &USUAL);
        if whole.text.len() <= self.max {
            return whole;
        }
        for items in [MOST_ITEMS, 200, 50, LEAST_ITEMS] {
            let fits = |limit| {
                let message = self.message_with(limit, items, usize::MAX, &USUAL);
                (message.text.len() <= self.max).then_some(message)
            };
            let Some(mut best) = fits(SHORTEST_LIMIT) else {
                continue;
            };
            let limits: Vec<usize> = limits(self.max).collect();
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
        // Leaves room for names and a description in which every character is escaped.
        let half = self.max / 16 * 7;
        let bodies =
            || std::iter::successors(Some(half), |bytes| (*bytes > 0).then_some(bytes / 2));
        let room = bodies().map(|bytes| (bytes, &USUAL));
        let mut smaller = room.chain(bodies().map(|bytes| (bytes, &SPARSE)));
        let fits = smaller.find_map(|(bytes, texts)| {
            let message = self.message_with(SHORTEST_LIMIT, LEAST_ITEMS, bytes, texts);
            (message.text.len() <= self.max).then_some(message)
        });
        // Only a medium that takes no more than our own words gets here.
        fits.unwrap_or_else(|| self.message_with(SHORTEST_LIMIT, LEAST_ITEMS, 0, &SPARSE))
    }

    fn message_with(
        &self,
        limit: usize,
        items: usize,
        max_body: usize,
        texts: &TextLimits,
    ) -> Message {
        let (facts, markup) = (self.facts, self.markup);
        let mut is_cut = is_longer(facts.server, texts.name);
        let name_limit = if facts.is_listed {
            texts.name
        } else {
            CLAIMED_LIMIT.min(texts.name)
        };
        is_cut |= is_longer(facts.tool, name_limit);
        let body = Body {
            markup,
            limit,
            items,
            max_bytes: max_body / (1 + usize::from(!facts.others.is_empty())),
        };
        let mut shown = String::with_capacity(512);
        match facts.arguments {
            Some(arguments) => is_cut |= body.add("Arguments", arguments, &mut shown),
            None => {
                shown.push_str("Arguments: not shown here");
                shown.push_str(markup.line_break());
            }
        }
        if !facts.others.is_empty() {
            let others = Value::Object(facts.others.clone());
            is_cut |= body.add("Other parameters", &others, &mut shown);
        }

        let mut lines = Lines {
            text: String::with_capacity(USUAL_MESSAGE.max(shown.len() + 512)),
            line_break: markup.line_break(),
        };
        let words = |text| markup.words(text);
        lines.add(format_args!(
            "{} Asked by approval-proxy; the call has not run.",
            words(facts.question)
        ));
        let server = markup.span(facts.server, texts.name);
        let (tool, risk) = (markup.span(facts.tool, name_limit), facts.risk);
        let the_tool = match facts.is_listed {
            true => "tool",
            false => "a tool the client names",
        };
        lines.add(format_args!(
            "Server {server}, {the_tool} {tool}, risk {risk}"
        ));
        if let Some(notice) = facts.notice {
            lines.add(format_args!("{}", words(notice)));
        }
        let digest = facts.digest;
        if is_cut {
            lines.add(format_args!("{}", words(facts.cut_notice)));
            lines.add(format_args!("SHA-256 of the whole call: {digest}"));
        }
        // The arguments come as early as possible: Claude Code 2.1.332 shows only the first three rows of a form's text.
        lines.text.push_str(&shown);
        let (reason, hints) = (words(facts.why), facts.hints);
        match hints.is_empty() {
            true => lines.add(format_args!("Why: {reason}")),
            false => lines.add(format_args!(
                "Why: {reason} (hints, not verified: {})",
                words(hints)
            )),
        }
        if let Some(description) = facts.description.filter(|_| texts.shows_all) {
            let text = markup.span(description, description_limit(description));
            lines.add(format_args!("The server says: {text}"));
        }
        if let Some(covers) = &facts.covers {
            lines.add(format_args!("{}", words(covers)));
        }
        if let Some(client) = facts.client.filter(|_| texts.shows_all) {
            let client = markup.span(client, texts.name);
            lines.add(format_args!("Client, by its own account: {client}"));
        }
        if facts.always_shows_digest && !is_cut {
            lines.add(format_args!("SHA-256 of the whole call: {digest}"));
        }
        let mut text = lines.text;
        text.truncate(text.trim_end().len());
        Message { text, is_cut }
    }
}

/// How much of the texts beside the call is shown.
struct TextLimits {
    /// The longest name that is shown in full, in characters.
    name: usize,
    /// Whether the description and the client's name are shown.
    shows_all: bool,
}

const USUAL: TextLimits = TextLimits {
    name: NAME_LIMIT,
    shows_all: true,
};
/// For media that take little, if every character of a name is escaped.
const SPARSE: TextLimits = TextLimits {
    name: 40,
    shows_all: false,
};

/// Lines that the markup does not join.
struct Lines {
    text: String,
    line_break: &'static str,
}

impl Lines {
    fn add(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.text.write_fmt(line);
        self.text.push_str(self.line_break);
    }
}

/// How many characters are shown of the name of a tool that the server does not list.
const CLAIMED_LIMIT: usize = 64;
/// The largest and the smallest number of items of one array or object that may be shown.
const MOST_ITEMS: usize = 1_000;
const LEAST_ITEMS: usize = 10;
/// The smallest limit on strings, in characters.
const SHORTEST_LIMIT: usize = 40;
/// The initial capacity, enough for nearly every message, in bytes. Allocators are fast up to about 1 KiB.
const USUAL_MESSAGE: usize = 1_000;
/// The longest value that is shown on the line of its label, in bytes.
const INLINE: usize = 62;
/// A value with more lines than this has several items per line.
const MOST_LINES: usize = 6;

/// Returns the limits to try on strings, from the smallest up, each about a quarter larger than the one before.
fn limits(max: usize) -> impl Iterator<Item = usize> {
    let next = |limit: &usize| Some(limit + limit.div_ceil(4));
    std::iter::successors(Some(SHORTEST_LIMIT), next).take_while(move |limit| *limit <= max)
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
    markup: Markup,
    limit: usize,
    items: usize,
    max_bytes: usize,
}

impl Body {
    /// Appends a value: on the line of its label if it is short, otherwise as a block that no content can close.
    /// Returns true if something was left out.
    fn add(&self, label: &str, value: &Value<'_>, out: &mut String) -> bool {
        let markup = self.markup;
        let renderer =
            |medium, layout| Renderer::new(medium, self.limit, self.items).with_layout(layout);
        if is_small(value, INLINE) {
            let mut line = String::with_capacity(INLINE);
            let mut short = renderer(markup.span_medium(), Layout::OneLine);
            short.value(value, 0, &mut line);
            if line.len() <= INLINE && !short.shortened {
                let (begin, end) = markup.inline_value();
                let line = markup.inline(&line);
                let _ = write!(out, "{label}: {begin}{line}{end}{}", markup.line_break());
                return false;
            }
        }
        let mut block = String::with_capacity(512);
        let mut tall = renderer(markup.block_medium(), Layout::ItemPerLine);
        tall.value(value, 0, &mut block);
        let mut shortened = tall.shortened;
        if block.bytes().filter(|b| *b == b'\n').count() >= MOST_LINES {
            let mut filled = String::with_capacity(block.len());
            let mut wide = renderer(markup.block_medium(), Layout::Filled);
            wide.value(value, 0, &mut filled);
            (block, shortened) = (filled, wide.shortened);
        }
        if block.len() > self.max_bytes {
            shortened = true;
            block = without_middle(&block, self.max_bytes);
        }
        let (begin, end) = markup.block_value();
        let block = markup.block(&block);
        let _ = write!(out, "{label}:{begin}{block}{end}");
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

#[cfg(test)]
mod tests;
