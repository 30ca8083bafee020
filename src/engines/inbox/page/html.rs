//! Builds HTML, and escapes text from outside.
//!
//! Only this program's literals become markup; every other text goes through [`escape`].

use std::fmt;

use crate::approval::display::{Ends, Quotes, Sink, show};

/// A piece of a page.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Creates an empty piece.
    pub(super) fn new() -> Html {
        Html::default()
    }

    /// Returns the length in bytes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Appends markup of our own.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Html {
        self.0.push_str(markup);
        self
    }

    /// Appends visible text on one line. Invisible and misleading characters are escaped and marked.
    pub(super) fn text(&mut self, text: &str) -> &mut Html {
        self.shown(text, Quotes::Plain, Lines::One)
    }

    /// Appends visible text with its line breaks, each of which is marked.
    pub(super) fn lines(&mut self, text: &str) -> &mut Html {
        self.shown(text, Quotes::Plain, Lines::Many)
    }

    /// Appends text line by line, with numbers. A wrapped line has no number, so no text can pass for the
    /// next line. Keeps indentation, and colors the lines of a diff.
    pub(super) fn block(&mut self, text: &str) -> &mut Html {
        // Each numbered line adds markup.
        if text.bytes().filter(|b| *b == b'\n').count() > MAX_NUMBERED {
            return self.lines(text);
        }
        let mut block = Block {
            lines: text.split('\n'),
            number: 0,
            is_diff: is_diff(text),
        };
        block.open(1, self);
        let mut shown = Shown {
            html: self,
            lines: Lines::Block(block),
            at_start: true,
            in_mark: false,
        };
        show(text, Quotes::Plain, &mut shown);
        shown.mark(false);
        self.raw("</span>")
    }

    /// Appends text in quotes. If it is longer than `limit` characters, shows both ends and, between
    /// them and outside the quotes, how many characters are `missing`.
    pub(super) fn quoted(&mut self, text: &str, limit: usize, missing: &'static str) -> &mut Html {
        let Some(ends) = Ends::of(text, limit) else {
            self.raw("&quot;").shown(text, Quotes::Escaped, Lines::One);
            return self.raw("&quot;");
        };
        self.raw("&quot;")
            .shown(ends.head, Quotes::Escaped, Lines::One)
            .raw("&quot; <span class=\"between\">…(");
        self.raw_number(ends.left_out)
            .raw(" of ")
            .raw_number(ends.count);
        self.raw(" characters ")
            .raw(missing)
            .raw(")…</span> &quot;");
        self.shown(ends.tail, Quotes::Escaped, Lines::One)
            .raw("&quot;")
    }

    fn shown(&mut self, text: &str, quotes: Quotes, lines: Lines<'_>) -> &mut Html {
        let mut shown = Shown {
            html: self,
            lines,
            at_start: false,
            in_mark: false,
        };
        show(text, quotes, &mut shown);
        shown.mark(false);
        self
    }

    fn raw_number(&mut self, number: usize) -> &mut Html {
        self.0.push_str(&number.to_string());
        self
    }

    /// Appends text unchanged except for HTML escapes, for an attribute value in double quotes.
    pub(super) fn value(&mut self, text: &str) -> &mut Html {
        for c in text.chars() {
            escape(c, &mut self.0);
        }
        self
    }

    /// Appends a number.
    pub(super) fn number(&mut self, number: impl Into<i128>) -> &mut Html {
        self.0.push_str(&number.into().to_string());
        self
    }

    /// Appends another piece.
    pub(super) fn add(&mut self, piece: &Html) -> &mut Html {
        self.0.push_str(&piece.0);
        self
    }

    /// Returns the text so far.
    #[cfg(test)]
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the finished text.
    pub(super) fn into_string(self) -> String {
        self.0
    }
}

const MARK: &str = "<span class=\"unseen\">";

/// A text with more lines than this gets no line numbers.
const MAX_NUMBERED: usize = 2_000;
/// The widest indentation that is shown unescaped. Wider ones are unusual, and could push text out of
/// sight.
const MAX_INDENT: usize = 40;

/// How line breaks in a text appear on the page.
#[derive(Debug)]
enum Lines<'t> {
    /// Escaped, on one line.
    One,
    /// As line breaks.
    Many,
    /// As line breaks, with line numbers.
    Block(Block<'t>),
}

/// The remaining lines of a numbered text.
#[derive(Debug)]
struct Block<'t> {
    lines: std::str::Split<'t, char>,
    number: usize,
    is_diff: bool,
}

impl Block<'_> {
    /// Skips to the line that is `by` lines ahead, and opens it.
    fn open(&mut self, by: usize, html: &mut Html) {
        self.number += by;
        let line = self.lines.nth(by.saturating_sub(1)).unwrap_or_default();
        html.raw(match line.as_bytes().first() {
            Some(b'+') if self.is_diff => "<span class=\"line added\" data-n=\"",
            Some(b'-') if self.is_diff => "<span class=\"line removed\" data-n=\"",
            Some(b'@') if self.is_diff => "<span class=\"line hunk\" data-n=\"",
            _ => "<span class=\"line\" data-n=\"",
        });
        html.raw_number(self.number).raw("\">");
    }
}

/// Returns true if a text looks like a diff. Affects only its colors.
fn is_diff(text: &str) -> bool {
    let has = |begin: &str| text.lines().any(|line| line.starts_with(begin));
    has("@@ ") || has("diff --git ") || (has("--- ") && has("+++ "))
}

/// Returns how many characters an escape such as `\s{7}` stands for.
fn escaped_count(escape: &str) -> usize {
    let count = escape
        .split_once('{')
        .and_then(|(_, rest)| rest.strip_suffix('}'));
    count.and_then(|count| count.parse().ok()).unwrap_or(1)
}

/// Writes displayable text into a page, and marks the escapes in it.
struct Shown<'h, 't> {
    html: &'h mut Html,
    lines: Lines<'t>,
    /// True while the current numbered line has only blanks.
    at_start: bool,
    in_mark: bool,
}

impl Shown<'_, '_> {
    /// Writes an escape as numbered lines need it. Returns false if it has no special form there.
    fn escape_in_block(&mut self, escape: &str, of: char) -> bool {
        let count = escaped_count(escape);
        let Lines::Block(block) = &mut self.lines else {
            return false;
        };
        match of {
            '\n' => {
                if escape != "\\n" {
                    self.html.raw(MARK).value(escape).raw("</span>");
                }
                self.html.raw("</span>");
                block.open(count, self.html);
                self.at_start = true;
                true
            }
            ' ' if self.at_start && count <= MAX_INDENT => {
                self.html.value(&" ".repeat(count));
                true
            }
            '\t' if self.at_start && count <= MAX_INDENT => {
                let tabs = "\t".repeat(count);
                self.html.raw("<span class=\"nl\">").value(escape);
                self.html.raw("</span>").value(&tabs);
                true
            }
            _ => {
                self.at_start = false;
                false
            }
        }
    }

    fn mark(&mut self, wanted: bool) {
        if wanted != self.in_mark {
            self.html.raw(if wanted { MARK } else { "</span>" });
            self.in_mark = wanted;
        }
    }
}

impl Sink for Shown<'_, '_> {
    fn text(&mut self, text: &str) {
        self.mark(false);
        // The first column of a diff is a marker, not text.
        let is_diff = matches!(&self.lines, Lines::Block(block) if block.is_diff);
        self.at_start &= text.bytes().all(|b| b == b' ') || (is_diff && matches!(text, "+" | "-"));
        self.html.value(text);
    }

    fn escape(&mut self, escape: fmt::Arguments<'_>, of: char) {
        let escape = escape.to_string();
        if matches!(self.lines, Lines::Block(_)) {
            self.mark(false);
            if self.escape_in_block(&escape, of) {
                return;
            }
        }
        let is_break = of == '\n' && matches!(self.lines, Lines::Many);
        // Escaped quotes and backslashes need no mark, nor do single line breaks that are shown as such.
        let is_usual = matches!(of, '\\' | '"') || (is_break && escape == "\\n");
        self.mark(!is_usual);
        if is_break && is_usual {
            self.html.raw("<span class=\"nl\">\\n</span>");
        } else {
            self.html.value(&escape);
        }
        if is_break {
            self.mark(false);
            self.html.raw("\n");
        }
    }
}

/// Escapes a character from outside for text and attribute values. The only way for such characters into a
/// page.
fn escape(c: char, out: &mut String) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\'' => out.push_str("&#39;"),
        '`' => out.push_str("&#96;"),
        // Browsers do not keep these two as written.
        '\0' => out.push('\u{fffd}'),
        '\r' => out.push_str("&#13;"),
        _ => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> String {
        let mut html = Html::new();
        html.text(text);
        html.into_string()
    }

    /// Decodes character references and removes our marks, as a browser's reader would see it.
    fn read_back(html: &str) -> String {
        let plain = html.replace(MARK, "").replace("</span>", "");
        assert!(!plain.contains(['<', '>', '"', '\'', '`']), "{plain}");
        [
            ("&lt;", "<"),
            ("&gt;", ">"),
            ("&quot;", "\""),
            ("&#39;", "'"),
            ("&#96;", "`"),
            ("&#13;", "\r"),
            ("&amp;", "&"),
        ]
        .iter()
        .fold(plain, |plain, (from, to)| plain.replace(from, to))
    }

    #[test]
    fn invisible_characters_are_escaped_and_marked() {
        assert_eq!(
            text("a\u{202e}\u{200b}b"),
            "a<span class=\"unseen\">\\u{202e}\\u{200b}</span>b"
        );
        assert_eq!(text("a\n"), "a<span class=\"unseen\">\\n</span>");
        assert_eq!(text("\u{a0}"), "<span class=\"unseen\">\\u{a0}</span>");
        assert_eq!(text("grüße, 你好 🙂"), "grüße, 你好 🙂");
    }

    #[test]
    fn runs_of_blanks_and_stacks_of_marks_are_shown_as_what_they_are() {
        assert_eq!(
            text("rm -rf /       tmp"),
            "rm -rf /<span class=\"unseen\">\\s{7}</span>tmp"
        );
        assert_eq!(
            text("e\u{301}\u{323}\u{302}"),
            "e\u{301}\u{323}<span class=\"unseen\">\\u{302}</span>"
        );
        let mut html = Html::new();
        html.lines("a\nb\n\n\n\nc");
        assert_eq!(
            html.as_str(),
            "a<span class=\"nl\">\\n</span>\nb<span class=\"unseen\">\\n{4}</span>\nc"
        );
    }

    #[test]
    fn a_long_name_is_shown_with_both_ends_and_what_is_missing_is_said_outside_its_quotes() {
        let mut html = Html::new();
        html.quoted("say \"hi\"", 100, "left out");
        assert_eq!(html.as_str(), "&quot;say \\&quot;hi\\&quot;&quot;");
        let mut html = Html::new();
        html.quoted("abcdefghijklmnopqrstuvwxyz", 9, "left out");
        assert_eq!(
            html.as_str(),
            "&quot;abcdef&quot; <span class=\"between\">…(17 of 26 characters left out)…</span> &quot;xyz&quot;"
        );
    }

    proptest! {
        #[test]
        fn no_text_is_markup_and_all_of_it_is_shown_as_everywhere_else(given in any::<String>()) {
            let mut expected = String::new();
            show(&given, Quotes::Plain, &mut expected);
            prop_assert!(!expected.contains('\n'));
            prop_assert_eq!(read_back(&text(&given)), expected);
        }

        #[test]
        fn a_value_comes_back_as_it_was(given in any::<String>()) {
            let mut html = Html::new();
            html.value(&given);
            prop_assert_eq!(read_back(html.as_str()), given.replace('\0', "\u{fffd}"));
        }
    }
}
