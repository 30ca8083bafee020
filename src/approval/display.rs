//! Text from untrusted parties, made safe to look at.
//!
//! It renders; what is shown, and in which order, is `prompt`'s business.

use std::fmt::Write as _;

use crate::mcp::json::Value;
pub use crate::mcp::lenient::is_unseen;

/// Renders names, descriptions and arguments, and remembers whether anything was left out.
#[derive(Debug)]
pub(super) struct Renderer {
    /// The longest string that is shown whole, in characters.
    limit: usize,
    /// The most items of one array or object that are shown.
    items: usize,
    /// Where rendering a value stops going deeper: nobody reads on, and a hostile value must
    /// not cost more than a prompt is worth.
    max_bytes: usize,
    /// Whether anything was shortened.
    pub(super) shortened: bool,
}

impl Renderer {
    /// Shows strings of up to `limit` characters and objects and arrays of up to `items`.
    pub(super) fn new(limit: usize, items: usize) -> Renderer {
        Renderer {
            limit,
            items: items.max(2),
            max_bytes: 64 * 1024,
            shortened: false,
        }
    }

    /// Appends `text` in quotes. What is left out is said outside of the quotes, where no
    /// text from outside can stand.
    pub(super) fn quoted(&mut self, text: &str, out: &mut String) {
        let plain = |b: u8| matches!(b, 0x20..=0x7E) && b != b'"' && b != b'\\';
        if text.len() <= self.limit && text.bytes().all(plain) {
            out.push('"');
            out.push_str(text);
            out.push('"');
            return;
        }
        let count = text.chars().count();
        if count <= self.limit {
            out.push('"');
            escape_into(text.chars(), out);
            out.push('"');
            return;
        }
        self.shortened = true;
        let tail = self.limit / 3;
        let head = self.limit - tail;
        out.push('"');
        escape_into(text.chars().take(head), out);
        let _ = write!(
            out,
            "\" …({} of {count} characters left out)… \"",
            count - head - tail
        );
        escape_into(text.chars().skip(count - tail), out);
        out.push('"');
    }

    /// Appends a value as indented JSON, numbers as they were written.
    pub(super) fn value(&mut self, value: &Value<'_>, indent: usize, out: &mut String) {
        match value {
            Value::Null => out.push_str("null"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Number(token) => self.number(token, out),
            Value::String(text) => self.quoted(&text.decode(), out),
            Value::Array(items) if items.is_empty() => out.push_str("[]"),
            Value::Array(items) => {
                out.push('[');
                self.some_of(items, indent, out, |renderer, item, out| {
                    renderer.value(item, indent + 1, out);
                });
                out.push(']');
            }
            Value::Object(members) if members.is_empty() => out.push_str("{}"),
            Value::Object(members) => {
                out.push('{');
                self.some_of(members, indent, out, |renderer, (key, value), out| {
                    renderer.quoted(&key.decode(), out);
                    out.push_str(": ");
                    renderer.value(value, indent + 1, out);
                });
                out.push('}');
            }
        }
    }

    /// Appends the items of an array or object, a line each. Of many, the first and the last
    /// are shown, and how many are missing is said on a line that no JSON can look like.
    fn some_of<T>(
        &mut self,
        all: &[T],
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
        for (i, item) in all.iter().take(head).enumerate() {
            new_line(i > 0, indent + 1, out);
            show(self, item, out);
        }
        if left_out > 0 {
            self.shortened = true;
            new_line(head > 0, indent + 1, out);
            let _ = write!(out, "…({left_out} of {} left out)…", all.len());
        }
        for item in all.iter().skip(head + left_out) {
            new_line(true, indent + 1, out);
            show(self, item, out);
        }
        new_line(false, indent, out);
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

/// A name from outside in quotes on one line, for sentences that people and agents read.
#[must_use]
pub fn quoted_name(name: &str) -> String {
    quoted_text(name, NAME_LIMIT)
}

/// A value from outside as indented JSON, all of it: whoever shows it bounds what it is made of.
#[must_use]
pub fn indented(value: &Value<'_>) -> String {
    let mut out = String::new();
    let mut renderer = Renderer::new(usize::MAX, usize::MAX);
    renderer.max_bytes = usize::MAX;
    renderer.value(value, 0, &mut out);
    out
}

/// Text from outside in quotes on one line, shortened beyond `limit` characters.
#[must_use]
pub fn quoted_text(text: &str, limit: usize) -> String {
    let mut out = String::new();
    Renderer::new(limit, 0).quoted(text, &mut out);
    out
}

/// Names are shown up to here; far longer than any honest one.
pub(super) const NAME_LIMIT: usize = 200;

/// Numbers up to this length are always shown whole.
const NUMBER_LIMIT: usize = 100;

/// Deeper levels are not shown further to the right.
const MAX_INDENT: usize = 20;

fn new_line(comma: bool, indent: usize, out: &mut String) {
    out.push_str(if comma { ",\n" } else { "\n" });
    for _ in 0..indent.min(MAX_INDENT) {
        out.push_str("  ");
    }
}

/// Appends characters so that none of them can hide, reorder, or break out of quotes.
fn escape_into(chars: impl Iterator<Item = char>, out: &mut String) {
    for c in chars {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_unseen(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quoted(text: &str) -> String {
        let mut out = String::new();
        Renderer::new(100, 100).quoted(text, &mut out);
        out
    }

    #[test]
    fn what_cannot_be_seen_is_written_out() {
        assert_eq!(quoted("a\u{1b}[2Jb"), "\"a\\u{1b}[2Jb\"");
        assert_eq!(quoted("abc\u{202e}fdp.exe"), "\"abc\\u{202e}fdp.exe\"");
        assert_eq!(
            quoted("pass\u{200b}word\u{e0041}"),
            "\"pass\\u{200b}word\\u{e0041}\""
        );
        assert_eq!(quoted("line\nbreak\u{2028}"), "\"line\\nbreak\\u{2028}\"");
        assert_eq!(quoted("\u{9b}31m"), "\"\\u{9b}31m\"");
        assert_eq!(quoted("\\u{202e}"), "\"\\\\u{202e}\"");
    }

    #[test]
    fn printable_text_stays_verbatim() {
        for text in [
            "plain ASCII ~!",
            "naïve Grüße",
            "日本語",
            "😀👍🏽",
            "עברית",
            "नमस्ते",
        ] {
            assert_eq!(quoted(text), format!("\"{text}\""));
        }
    }

    #[test]
    fn a_long_string_says_how_much_is_missing_outside_of_its_quotes() {
        let mut renderer = Renderer::new(9, 100);
        let mut out = String::new();
        renderer.quoted("abcdefghijklmnopqrstuvwxyz", &mut out);
        assert_eq!(out, r#""abcdef" …(17 of 26 characters left out)… "xyz""#);
        assert!(renderer.shortened);
    }

    #[test]
    fn numbers_are_shown_as_written_and_giants_are_shortened() {
        let mut out = String::new();
        let mut renderer = Renderer::new(50, 100);
        renderer.value(&Value::Number("1.0e+2"), 0, &mut out);
        assert_eq!(out, "1.0e+2");
        assert!(!renderer.shortened);
        let giant = "7".repeat(1000);
        out.clear();
        renderer.value(&Value::Number(&giant), 0, &mut out);
        assert!(out.contains("(900 of 1000 digits left out)"), "{out}");
        assert!(renderer.shortened);
    }

    #[test]
    fn of_many_items_the_first_and_the_last_are_shown() {
        let value = Value::parse("[1,2,3,4,5,6,7]").unwrap();
        let mut out = String::new();
        let mut renderer = Renderer::new(50, 4);
        renderer.value(&value, 0, &mut out);
        assert_eq!(out, "[\n  1,\n  2,\n  …(3 of 7 left out)…,\n  6,\n  7\n]");
        assert!(renderer.shortened);
    }

    #[test]
    fn a_hostile_value_costs_little() {
        // 100 levels deep, and wide at each of them.
        let wide = vec!["7"; 5_000].join(",");
        let text = format!(
            "{}{wide}{}",
            format!("[{wide},").repeat(100),
            "]".repeat(100)
        );
        let value = Value::parse(&text).unwrap();
        let mut out = String::new();
        Renderer::new(2_000, 1_000).value(&value, 0, &mut out);
        assert!(out.len() < 1024 * 1024, "{}", out.len());
    }

    proptest! {
        #[test]
        fn no_text_leaves_its_line_its_quotes_or_hides(text in any::<String>()) {
            let shown = quoted(&text);
            prop_assert!(!shown.chars().any(is_unseen));
            let inner = shown.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
            if text.chars().count() <= 100 {
                // Every quote inside has an odd number of backslashes before it.
                let mut escaped = false;
                for c in inner.chars() {
                    prop_assert!(c != '"' || escaped);
                    escaped = c == '\\' && !escaped;
                }
            }
        }
    }
}
