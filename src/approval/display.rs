//! Renders untrusted text so that it is safe to show.
//!
//! `prompt` decides what is shown, and in which order.

use std::fmt::{self, Write as _};

use icu_properties::CodePointMapData;
use icu_properties::props::GeneralCategory;

use crate::mcp::json::Value;
pub use crate::mcp::lenient::is_invisible;

/// Where text is shown. This decides which parts of it could be taken for markup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    /// A terminal, or a page that escapes its text.
    Plain,
    /// A Markdown code span in a client's prompt. Some clients render HTML as well.
    CodeSpan,
    /// A fenced Markdown code block in a client's prompt.
    CodeBlock,
}

/// Renders names, descriptions and arguments, and remembers whether it left anything out.
#[derive(Debug)]
pub(super) struct Renderer {
    medium: Medium,
    /// The longest string that is shown in full, in characters.
    limit: usize,
    /// The most items of one array or object that are shown.
    items: usize,
    /// How arrays and objects are broken into lines.
    layout: Layout,
    /// Beyond this many bytes, rendering does not descend further: nobody reads that much, and a hostile value must
    /// cost little.
    max_bytes: usize,
    /// Whether anything was shortened.
    pub(super) shortened: bool,
}

/// How arrays and objects are broken into lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// All on one line.
    OneLine,
    /// One line per item, except that a nested array or object shares a line if it fits.
    ItemPerLine,
    /// As many items per line as fit.
    Filled,
}

/// The longest line that several items share, in bytes.
const WIDTH: usize = 76;
const USUAL_NAME: usize = 16;

impl Renderer {
    /// Creates a renderer that shows strings of up to `limit` characters, and objects and arrays of up to `items` items
    /// in full.
    pub(super) fn new(medium: Medium, limit: usize, items: usize) -> Renderer {
        Renderer {
            medium,
            limit,
            items: items.max(2),
            layout: Layout::ItemPerLine,
            max_bytes: 64 * 1024,
            shortened: false,
        }
    }

    /// Returns the same renderer with another layout.
    pub(super) fn with_layout(self, layout: Layout) -> Renderer {
        Renderer { layout, ..self }
    }

    /// Appends `text` in quotes. The note about a left-out part stands outside of the quotes, where untrusted text
    /// cannot stand.
    pub(super) fn quoted(&mut self, text: &str, out: &mut String) {
        out.push('"');
        if let Some(ends) = Ends::of(text, self.limit) {
            self.shortened = true;
            self.escaped(ends.head, out);
            let _ = write!(out, "\" {ends} \"");
            self.escaped(ends.tail, out);
        } else {
            self.escaped(text, out);
        }
        out.push('"');
    }

    fn escaped(&self, text: &str, out: &mut String) {
        escape_into(text, self.medium, Quotes::Escaped, out);
    }

    /// Appends a value as JSON, with numbers as they were written.
    pub(super) fn value(&mut self, value: &Value<'_>, indent: usize, out: &mut String) {
        match value {
            Value::Null => out.push_str("null"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Number(token) => self.number(token, out),
            Value::String(text) => self.quoted(&text.decode(), out),
            Value::Array(items) if items.is_empty() => out.push_str("[]"),
            Value::Object(members) if members.is_empty() => out.push_str("{}"),
            Value::Array(_) | Value::Object(_) if self.fits_on_line(value, indent, out) => {}
            Value::Array(items) => {
                self.items_of(items, ('[', ']'), indent, out, |renderer, item, out| {
                    renderer.value(item, indent + 1, out);
                });
            }
            Value::Object(members) => {
                let show = |renderer: &mut Renderer, (key, value): &(_, _), out: &mut String| {
                    let key: &crate::mcp::json::Text<'_> = key;
                    renderer.quoted(&key.decode(), out);
                    out.push_str(": ");
                    renderer.value(value, indent + 1, out);
                };
                self.items_of(members, ('{', '}'), indent, out, show);
            }
        }
    }

    /// Appends an array or object to the current line, if it fits.
    fn fits_on_line(&mut self, value: &Value<'_>, indent: usize, out: &mut String) -> bool {
        if self.layout == Layout::OneLine || indent == 0 || !is_small(value, WIDTH) {
            return false;
        }
        let mut line = String::new();
        let mut renderer = Renderer::new(self.medium, self.limit, self.items);
        renderer = renderer.with_layout(Layout::OneLine);
        renderer.value(value, indent, &mut line);
        let begun = match self.layout {
            // The item can still move to a line of its own, after a name of usual length.
            Layout::Filled => 2 * indent + USUAL_NAME,
            Layout::OneLine | Layout::ItemPerLine => {
                out.len() - out.rfind('\n').map_or(0, |at| at + 1)
            }
        };
        let fits = begun + line.len() <= WIDTH && !renderer.shortened;
        if fits {
            out.push_str(&line);
        }
        fits
    }

    /// Appends the items of an array or object with its brackets. If there are too many, shows the first and the last
    /// ones, and states how many are missing in a form that JSON cannot have.
    fn items_of<T>(
        &mut self,
        all: &[T],
        brackets: (char, char),
        indent: usize,
        out: &mut String,
        mut show: impl FnMut(&mut Renderer, &T, &mut String),
    ) {
        let most = if out.len() < self.max_bytes {
            self.items
        } else {
            0
        };
        let tail = if all.len() > most { most / 2 } else { 0 };
        let head = most.min(all.len()) - tail;
        let left_out = all.len() - head - tail;
        out.push(brackets.0);
        let (first, last) = (all.iter().take(head), all.iter().skip(head + left_out));
        for (i, item) in first.enumerate() {
            let begun = self.begin_item(i > 0, indent, out);
            show(self, item, out);
            self.end_item(begun, indent, out);
        }
        if left_out > 0 {
            self.shortened = true;
            let begun = self.begin_item(head > 0, indent, out);
            let _ = write!(out, "…({left_out} of {} left out)…", all.len());
            self.end_item(begun, indent, out);
        }
        for item in last {
            let begun = self.begin_item(true, indent, out);
            show(self, item, out);
            self.end_item(begun, indent, out);
        }
        if self.layout == Layout::ItemPerLine {
            new_line(indent, out);
        }
        out.push(brackets.1);
    }

    /// Writes the separator before an item. Returns the separator's position.
    fn begin_item(&self, comma: bool, indent: usize, out: &mut String) -> usize {
        if comma {
            out.push(',');
        }
        let at = out.len();
        match self.layout {
            Layout::OneLine | Layout::Filled if comma => out.push(' '),
            Layout::OneLine | Layout::Filled => {}
            Layout::ItemPerLine => new_line(indent + 1, out),
        }
        at
    }

    /// Moves an item to a line of its own if it does not fit on the line of the one before.
    fn end_item(&self, begun: usize, indent: usize, out: &mut String) {
        let item = out.get(begun..).unwrap_or_default();
        if self.layout != Layout::Filled || !item.starts_with(' ') {
            return;
        }
        let line = out.get(..begun).and_then(|before| before.rfind('\n'));
        let line = line.map_or(0, |at| at + 1);
        if out.len() - line >= WIDTH || item.contains('\n') {
            let mut separator = String::new();
            new_line(indent + 1, &mut separator);
            out.replace_range(begun..=begun, &separator);
        }
    }

    fn number(&mut self, token: &str, out: &mut String) {
        // Numbers are ASCII, so bytes are characters.
        let count = token.len();
        if count <= self.limit.max(NUMBER_LIMIT) {
            out.push_str(token);
            return;
        }
        self.shortened = true;
        let half = self.limit.max(NUMBER_LIMIT) / 2;
        let (head, rest) = token.split_at_checked(half).unwrap_or((token, ""));
        let tail = rest.get(rest.len().saturating_sub(half)..).unwrap_or("");
        let left_out = count - head.len() - tail.len();
        let _ = write!(
            out,
            "{head} …({left_out} of {count} digits left out)… {tail}"
        );
    }
}

/// The two ends of a text that is too long to show. Its `Display` states how much is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends<'t> {
    /// The beginning, twice as long as the end.
    pub head: &'t str,
    /// The end.
    pub tail: &'t str,
    /// How many characters between them are left out.
    pub left_out: usize,
    /// How many characters the whole text has.
    pub count: usize,
}

impl<'t> Ends<'t> {
    /// Returns the two ends, or `None` if the text has at most `limit` characters.
    #[must_use]
    pub fn of(text: &'t str, limit: usize) -> Option<Ends<'t>> {
        // A text never has more characters than bytes, so most strings need no counting.
        if text.len() <= limit {
            return None;
        }
        let count = text.chars().count();
        if count <= limit {
            return None;
        }
        let tail = limit / 3;
        let head = limit - tail;
        let start = text.char_indices().nth(head).map_or(0, |(at, _)| at);
        let back = text.char_indices().rev().nth(tail.saturating_sub(1));
        let end = back.filter(|_| tail > 0).map_or(text.len(), |(at, _)| at);
        Some(Ends {
            head: text.get(..start).unwrap_or_default(),
            tail: text.get(end..).unwrap_or_default(),
            left_out: count - limit,
            count,
        })
    }
}

impl fmt::Display for Ends<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (left_out, count) = (self.left_out, self.count);
        write!(f, "…({left_out} of {count} characters left out)…")
    }
}

/// Receives text that is safe to show.
pub trait Sink {
    /// Text that is shown unchanged.
    fn text(&mut self, text: &str);
    /// An escape that stands for one or more of the character `of`.
    fn escape(&mut self, escape: fmt::Arguments<'_>, of: char);
}

impl Sink for String {
    fn text(&mut self, text: &str) {
        self.push_str(text);
    }

    fn escape(&mut self, escape: fmt::Arguments<'_>, _: char) {
        // Writing to a String cannot fail.
        let _ = self.write_fmt(escape);
    }
}

/// Writes untrusted text by the rules that prompts, the terminal and the inbox's page share.
pub fn show(text: &str, quotes: Quotes, sink: &mut impl Sink) {
    escape_into(text, Medium::Plain, quotes, sink);
}

/// Returns an untrusted name in quotes on one line, for sentences that people and agents read.
#[must_use]
pub fn quoted_name(name: &str) -> String {
    quoted_text(name, NAME_LIMIT)
}

/// Returns a name from the configuration in backticks on one line, as in our messages.
#[must_use]
pub fn in_backticks(name: &str) -> String {
    let quoted = quoted_text(name, 64);
    let inner = quoted.strip_prefix('"').unwrap_or(&quoted);
    format!("`{}`", inner.strip_suffix('"').unwrap_or(inner))
}

/// Returns an untrusted value as indented JSON, in full. The caller limits its size.
#[must_use]
pub fn indented(value: &Value<'_>) -> String {
    let mut out = String::new();
    let mut renderer = Renderer::new(Medium::Plain, usize::MAX, usize::MAX);
    renderer.max_bytes = usize::MAX;
    renderer.value(value, 0, &mut out);
    out
}

/// Returns untrusted text in quotes on one line, shortened beyond `limit` characters.
#[must_use]
pub fn quoted_text(text: &str, limit: usize) -> String {
    let mut out = String::new();
    Renderer::new(Medium::Plain, limit, 0).quoted(text, &mut out);
    out
}

/// Returns untrusted text as a Markdown code span, for prompts. Clients render prompts as plain text, Markdown or HTML;
/// no part of the text is markup in any of them. Beyond `limit` characters only the beginning is shown, with the number
/// of missing characters.
#[must_use]
pub fn code_span(text: &str, limit: usize) -> String {
    if text.is_empty() {
        return "(empty)".to_owned();
    }
    // Most texts are shorter than the limit even in bytes.
    let cut = (text.len() > limit)
        .then(|| text.char_indices().nth(limit))
        .flatten()
        .map(|(at, _)| at);
    let shown = cut.and_then(|at| text.get(..at)).map(str::trim_end);
    let cut = shown.map(str::len);
    let shown = shown.unwrap_or(text);
    let mut out = String::with_capacity(shown.len() + 2);
    out.push('`');
    // Markdown renderers drop a space at either end of a span.
    let inner = shown.trim_matches(' ');
    for _ in 0..shown.len() - shown.trim_start_matches(' ').len() {
        out.push_str("\\s");
    }
    escape_into(inner, Medium::CodeSpan, Quotes::Plain, &mut out);
    if !inner.is_empty() {
        for _ in 0..shown.len() - shown.trim_end_matches(' ').len() {
            out.push_str("\\s");
        }
    }
    out.push('`');
    if let Some(at) = cut {
        let left_out = text.get(at..).unwrap_or_default().chars().count();
        let _ = write!(out, " …({left_out} more characters)…");
    }
    out
}

/// Longer names are shortened. Honest names are far shorter.
pub(super) const NAME_LIMIT: usize = 200;

/// Numbers up to this length are always shown in full.
const NUMBER_LIMIT: usize = 100;

/// Deeper levels are not indented further.
const MAX_INDENT: usize = 20;

/// How many equal spaces or line breaks in a row are shown one by one.
const MAX_RUN: usize = 2;

/// How many combining marks one character may have. More would be drawn over the text around it.
const MAX_MARKS: usize = 2;

/// Returns true if a value could be shorter than `max` bytes. Stops counting there, so a large value costs little.
pub(super) fn is_small(value: &Value<'_>, max: usize) -> bool {
    fn spend(value: &Value<'_>, left: &mut usize) -> bool {
        let own = match value {
            Value::Null | Value::Bool(_) => 4,
            Value::Number(token) => token.len(),
            Value::String(text) => text.decode().len() + 2,
            Value::Array(items) => 2 * items.len(),
            Value::Object(members) => 6 * members.len(),
        };
        let Some(rest) = left.checked_sub(own) else {
            return false;
        };
        *left = rest;
        match value {
            Value::Array(items) => items.iter().all(|item| spend(item, left)),
            Value::Object(members) => members.iter().all(|(_, value)| spend(value, left)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        }
    }
    let mut left = max;
    spend(value, &mut left)
}

fn new_line(indent: usize, out: &mut String) {
    out.push('\n');
    for _ in 0..indent.min(MAX_INDENT) {
        out.push_str("  ");
    }
}

/// Whether a quote inside a text is escaped. It need not be if something else marks the end of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quotes {
    /// Escaped: the text stands in quotes.
    Escaped,
    /// Not escaped.
    Plain,
}

/// Appends text so that no part of it can hide, look like a space, run into the text around it, end its quotes, or mean
/// anything to a renderer.
///
/// A backslash begins an escape; a literal backslash is `\\\\`. Escapes are `\\n`, `\\r` and `\\t`; `\\u{…}` for a
/// character by its number; `\\s{7}` for seven spaces, and `\\n{7}` and so on for runs of the others.
fn escape_into(text: &str, medium: Medium, quotes: Quotes, out: &mut impl Sink) {
    let plain = |b: u8| matches!(b, 0x21..=0x7E) && !matches!(b, b'"' | b'\\' | b'`' | b'<' | b'&');
    let is_plain = |bytes: &[u8]| {
        let mut spaces = 0;
        bytes.iter().all(|b| {
            spaces = if *b == b' ' { spaces + 1 } else { 0 };
            plain(*b) || (*b == b' ' && spaces <= MAX_RUN)
        })
    };
    if is_plain(text.as_bytes()) {
        return out.text(text);
    }
    // How many more marks the previous character may have; none if it is not from the text itself.
    let mut marks_left = 0;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        // Runs are counted only where they matter. Counting at every character would take quadratic time.
        let behind = match c {
            ' ' | '\n' | '\r' | '\t' => after.trim_start_matches(c),
            '`' => after.strip_prefix("``").unwrap_or(after),
            _ => after,
        };
        let run = 1 + after.len() - behind.len();
        rest = after;
        marks_left = match c {
            ' ' if run > MAX_RUN => {
                rest = behind;
                push_escape(format_args!("\\s{{{run}}}"), c, out)
            }
            '\n' | '\r' | '\t' => {
                let name = match c {
                    '\n' => 'n',
                    '\r' => 'r',
                    _ => 't',
                };
                if run > MAX_RUN {
                    rest = behind;
                    push_escape(format_args!("\\{name}{{{run}}}"), c, out)
                } else {
                    push_escape(format_args!("\\{name}"), c, out)
                }
            }
            '\\' => push_escape(format_args!("\\\\"), c, out),
            '"' if quotes == Quotes::Escaped => push_escape(format_args!("\\\""), c, out),
            '`' if is_fence(medium, run) => push_numeric_escape(c, out),
            '<' | '&' if medium != Medium::Plain && begins_markup(c, after) => {
                push_numeric_escape(c, out)
            }
            c if c.is_ascii() && !c.is_ascii_control() => {
                push_literal(c, out);
                MAX_MARKS
            }
            c if is_invisible(c) || is_blank(c) => push_numeric_escape(c, out),
            c if is_mark(c) => {
                if marks_left == 0 {
                    push_numeric_escape(c, out)
                } else {
                    push_literal(c, out);
                    marks_left - 1
                }
            }
            c => {
                push_literal(c, out);
                MAX_MARKS
            }
        };
    }
}

/// Appends an escape. No mark of the text may follow it.
fn push_escape(escape: fmt::Arguments<'_>, of: char, out: &mut impl Sink) -> usize {
    out.escape(escape, of);
    0
}

fn push_numeric_escape(c: char, out: &mut impl Sink) -> usize {
    push_escape(format_args!("\\u{{{:x}}}", u32::from(c)), c, out)
}

fn push_literal(c: char, out: &mut impl Sink) {
    out.text(c.encode_utf8(&mut [0; 4]));
}

/// Returns true if this many backticks in a row could end a code span or block.
fn is_fence(medium: Medium, run: usize) -> bool {
    match medium {
        Medium::Plain => false,
        Medium::CodeSpan => true,
        // Once the first backtick of a run is escaped, the rest count as a shorter run.
        Medium::CodeBlock => run >= 3,
    }
}

/// Returns true if an HTML parser would take `<` or `&` for the start of a tag, a comment or a character reference.
fn begins_markup(c: char, after: &str) -> bool {
    let next = after.chars().next();
    if c == '<' {
        return next.is_some_and(|next| next.is_ascii_alphabetic() || "/!?".contains(next));
    }
    let name_end = after.find(|c: char| !c.is_ascii_alphanumeric());
    let (name, then) = after
        .split_at_checked(name_end.unwrap_or(after.len()))
        .unwrap_or_default();
    let by_old_name = [
        "lt", "gt", "amp", "quot", "nbsp", "shy", "LT", "GT", "AMP", "QUOT",
    ];
    let is_named = !name.is_empty() && then.starts_with(';');
    next == Some('#') || is_named || by_old_name.iter().any(|old| name.starts_with(old))
}

/// Returns true if a character draws nothing but takes up space, and is not a plain space.
fn is_blank(c: char) -> bool {
    // Unicode does not class these two as white space: a musical null note and a filler.
    c.is_whitespace() || matches!(c, '\u{1d159}' | '\u{16fe4}')
}

/// Returns true if a character is drawn over the one before it.
fn is_mark(c: char) -> bool {
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    matches!(
        category,
        GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark
    )
}

#[cfg(test)]
mod tests;
