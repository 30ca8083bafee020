//! Text from untrusted parties, made safe to look at.
//!
//! It renders; what is shown, and in which order, is `prompt`'s business.

use std::fmt::{self, Write as _};

use icu_properties::CodePointMapData;
use icu_properties::props::GeneralCategory;

use crate::mcp::json::Value;
pub use crate::mcp::lenient::is_unseen;

/// Where text is shown, and so what could take a part of it for more than text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    /// A terminal, or a page that escapes what it shows.
    Plain,
    /// A Markdown code span in a client's prompt. The client may also be one that reads HTML.
    CodeSpan,
    /// A fenced Markdown code block in such a prompt.
    CodeBlock,
}

/// Renders names, descriptions and arguments, and remembers whether anything was left out.
#[derive(Debug)]
pub(super) struct Renderer {
    medium: Medium,
    /// The longest string that is shown whole, in characters.
    limit: usize,
    /// The most items of one array or object that are shown.
    items: usize,
    /// How arrays and objects are broken into lines.
    layout: Layout,
    /// Where rendering a value stops going deeper: nobody reads on, and a hostile value must
    /// not cost more than a prompt is worth.
    max_bytes: usize,
    /// Whether anything was shortened.
    pub(super) shortened: bool,
}

/// How arrays and objects are broken into lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// All on one line.
    OneLine,
    /// A line for each item, but for what fits on one line as a whole.
    ItemPerLine,
    /// As many items on a line as fit.
    Filled,
}

/// The longest line that several items share, in bytes.
const WIDTH: usize = 76;
const USUAL_NAME: usize = 16;

impl Renderer {
    /// Shows strings of up to `limit` characters and objects and arrays of up to `items`.
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

    /// The same with lines broken in another way.
    pub(super) fn laid_out(self, layout: Layout) -> Renderer {
        Renderer { layout, ..self }
    }

    /// Appends `text` in quotes. What is left out is said outside of the quotes, where no
    /// text from outside can stand.
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

    /// Appends a value as JSON, numbers as they were written.
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
                self.some_of(items, ('[', ']'), indent, out, |renderer, item, out| {
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
                self.some_of(members, ('{', '}'), indent, out, show);
            }
        }
    }

    /// Appends an array or object on the line that has been begun, if it fits there.
    fn fits_on_line(&mut self, value: &Value<'_>, indent: usize, out: &mut String) -> bool {
        if self.layout == Layout::OneLine || indent == 0 || !is_small(value, WIDTH) {
            return false;
        }
        let mut line = String::new();
        let mut renderer = Renderer::new(self.medium, self.limit, self.items);
        renderer = renderer.laid_out(Layout::OneLine);
        renderer.value(value, indent, &mut line);
        let begun = match self.layout {
            // It can still be moved to a line of its own, where a name of usual length stands before it.
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

    /// Appends the items of an array or object between its brackets. Of many, the first and the last
    /// are shown, and how many are missing is said in a way that no JSON can look like.
    fn some_of<T>(
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

    /// Separates an item from what stands before it. Returns where the separator stands.
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

    /// Moves an item to a line of its own where it does not fit behind the one before.
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
        // A number is digits, signs, a dot and an exponent: ASCII, so bytes are characters.
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

/// The two ends of a text that is too long to be shown. As text it says how much is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends<'t> {
    /// The beginning, twice as long as the end.
    pub head: &'t str,
    /// The end.
    pub tail: &'t str,
    /// How many characters are left out between them.
    pub left_out: usize,
    /// Of how many.
    pub count: usize,
}

impl<'t> Ends<'t> {
    /// `None` if the text has at most `limit` characters.
    #[must_use]
    pub fn of(text: &'t str, limit: usize) -> Option<Ends<'t>> {
        // Bytes bound characters from above, so most strings need no counting.
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

/// Takes text that was made safe to look at.
pub trait Sink {
    /// Text that is shown as it is.
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

/// Writes text from outside by the rule that prompts, the terminal and the inbox's page share.
pub fn show(text: &str, quotes: Quotes, sink: &mut impl Sink) {
    escape_into(text, Medium::Plain, quotes, sink);
}

/// A name from outside in quotes on one line, for sentences that people and agents read.
#[must_use]
pub fn quoted_name(name: &str) -> String {
    quoted_text(name, NAME_LIMIT)
}

/// A name from the configuration in backticks on one line, as our messages to people write names.
#[must_use]
pub fn in_backticks(name: &str) -> String {
    let quoted = quoted_text(name, 64);
    let inner = quoted.strip_prefix('"').unwrap_or(&quoted);
    format!("`{}`", inner.strip_suffix('"').unwrap_or(inner))
}

/// A value from outside as indented JSON, all of it: whoever shows it bounds what it is made of.
#[must_use]
pub fn indented(value: &Value<'_>) -> String {
    let mut out = String::new();
    let mut renderer = Renderer::new(Medium::Plain, usize::MAX, usize::MAX);
    renderer.max_bytes = usize::MAX;
    renderer.value(value, 0, &mut out);
    out
}

/// Text from outside in quotes on one line, shortened beyond `limit` characters.
#[must_use]
pub fn quoted_text(text: &str, limit: usize) -> String {
    let mut out = String::new();
    Renderer::new(Medium::Plain, limit, 0).quoted(text, &mut out);
    out
}

/// Text from outside as a Markdown code span, for prompts, which clients render as plain text, as
/// Markdown or as HTML: nothing in it means anything to any of them. Beyond `limit` characters only the
/// beginning is shown, and how much is missing.
#[must_use]
pub fn code_span(text: &str, limit: usize) -> String {
    if text.is_empty() {
        return "(empty)".to_owned();
    }
    // Most texts have fewer bytes than they may have characters.
    let cut = (text.len() > limit)
        .then(|| text.char_indices().nth(limit))
        .flatten()
        .map(|(at, _)| at);
    let shown = cut.and_then(|at| text.get(..at)).map(str::trim_end);
    let cut = shown.map(str::len);
    let shown = shown.unwrap_or(text);
    let mut out = String::with_capacity(shown.len() + 2);
    out.push('`');
    // A renderer drops a space at either end of a span.
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

/// Names are shown up to here; far longer than any honest one.
pub(super) const NAME_LIMIT: usize = 200;

/// Numbers up to this length are always shown whole.
const NUMBER_LIMIT: usize = 100;

/// Deeper levels are not shown further to the right.
const MAX_INDENT: usize = 20;

/// How many equal blanks or line breaks in a row are shown one by one.
const MAX_RUN: usize = 2;

/// How many marks may stand on one character. More grow into what stands around it.
const MAX_MARKS: usize = 2;

/// Whether a value could be shorter than so many bytes, looked at for no longer than that takes.
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

/// Whether a quote inside of a text is escaped: not where something else marks its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quotes {
    /// It is, since the text stands in quotes.
    Escaped,
    /// It is not.
    Plain,
}

/// Appends text so that no part of it can hide, look like a blank that it is not, grow into what stands
/// around it, break out of its quotes, or mean anything to what renders it.
///
/// A backslash begins an escape, and stands for itself only in `\\\\`: `\\n`, `\\r`, `\\t`; `\\u{…}` for a
/// character by its number; `\\s{7}` for seven spaces, and so on for runs of the others.
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
    // How many marks may still stand on the character before; none on what is not the text's own.
    let mut marks_left = 0;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        // Only where it matters: counting again at each letter of a long run takes quadratic time.
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
                written_out(format_args!("\\s{{{run}}}"), c, out)
            }
            '\n' | '\r' | '\t' => {
                let name = match c {
                    '\n' => 'n',
                    '\r' => 'r',
                    _ => 't',
                };
                if run > MAX_RUN {
                    rest = behind;
                    written_out(format_args!("\\{name}{{{run}}}"), c, out)
                } else {
                    written_out(format_args!("\\{name}"), c, out)
                }
            }
            '\\' => written_out(format_args!("\\\\"), c, out),
            '"' if quotes == Quotes::Escaped => written_out(format_args!("\\\""), c, out),
            '`' if is_fence(medium, run) => by_number(c, out),
            '<' | '&' if medium != Medium::Plain && begins_markup(c, after) => by_number(c, out),
            c if c.is_ascii() && !c.is_ascii_control() => {
                as_it_is(c, out);
                MAX_MARKS
            }
            c if is_unseen(c) || is_blank(c) => by_number(c, out),
            c if is_mark(c) => {
                if marks_left == 0 {
                    by_number(c, out)
                } else {
                    as_it_is(c, out);
                    marks_left - 1
                }
            }
            c => {
                as_it_is(c, out);
                MAX_MARKS
            }
        };
    }
}

/// Appends an escape, which no mark of the text may stand on.
fn written_out(escape: fmt::Arguments<'_>, of: char, out: &mut impl Sink) -> usize {
    out.escape(escape, of);
    0
}

fn by_number(c: char, out: &mut impl Sink) -> usize {
    written_out(format_args!("\\u{{{:x}}}", u32::from(c)), c, out)
}

fn as_it_is(c: char, out: &mut impl Sink) {
    out.text(c.encode_utf8(&mut [0; 4]));
}

/// Whether so many backticks in a row could end a code span or block.
fn is_fence(medium: Medium, run: usize) -> bool {
    match medium {
        Medium::Plain => false,
        Medium::CodeSpan => true,
        // Once the first of a run is escaped, the next is looked at as one of a shorter run.
        Medium::CodeBlock => run >= 3,
    }
}

/// Whether `<` or `&` would begin a tag, a comment or a character reference for a reader of HTML.
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

/// Whether a character draws nothing but takes room, and is not a plain space.
fn is_blank(c: char) -> bool {
    // Two that Unicode does not call white space: a musical null note, and a filler.
    c.is_whitespace() || matches!(c, '\u{1d159}' | '\u{16fe4}')
}

/// Whether a character is drawn onto the one before.
fn is_mark(c: char) -> bool {
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    matches!(
        category,
        GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark
    )
}

#[cfg(test)]
mod tests;
