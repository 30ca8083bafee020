//! Markup, and text from outside made fit to stand in it.
//!
//! Only literals of this program become markup; every other text goes through [`escape`].

use crate::mcp::lenient::is_unseen;

/// A piece of a page.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Nothing yet.
    pub(super) fn new() -> Html {
        Html::default()
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Appends markup of our own.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Html {
        self.0.push_str(markup);
        self
    }

    /// Appends text to be read. What could not be seen in it is written out and marked.
    pub(super) fn text(&mut self, text: &str) -> &mut Html {
        let mut in_mark = false;
        for c in text.chars() {
            let is_hidden = is_hidden(c);
            if is_hidden != in_mark {
                self.raw(if is_hidden { MARK } else { "</span>" });
                in_mark = is_hidden;
            }
            if is_hidden {
                self.0.extend(written_out(c));
            } else {
                escape(c, &mut self.0);
            }
        }
        if in_mark {
            self.raw("</span>");
        }
        self
    }

    /// Appends text as it is, for the value of an attribute in double quotes.
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

    /// The text so far.
    #[cfg(test)]
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The finished text.
    pub(super) fn into_string(self) -> String {
        self.0
    }
}

const MARK: &str = "<span class=\"unseen\">";

/// Whether a reader would not see this character for what it is: it draws nothing, moves others
/// about, or looks like a space and is none.
pub(super) fn is_hidden(c: char) -> bool {
    c != ' ' && (c.is_whitespace() || is_unseen(c))
}

/// How such a character is shown.
fn written_out(c: char) -> impl Iterator<Item = char> {
    let short = match c {
        '\n' => Some('n'),
        '\r' => Some('r'),
        '\t' => Some('t'),
        _ => None,
    };
    let long = short.is_none().then(|| c.escape_unicode());
    let short = short.into_iter().flat_map(|letter| ['\\', letter]);
    short.chain(long.into_iter().flatten())
}

/// The one way of a character from outside into a page, into text and attribute values alike.
fn escape(c: char, out: &mut String) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\'' => out.push_str("&#39;"),
        '`' => out.push_str("&#96;"),
        // A browser reads neither of them as it was written.
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

    /// What a reader of HTML makes of character references and our marks.
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
    fn what_cannot_be_seen_is_written_out_and_marked() {
        assert_eq!(
            text("a\u{202e}\u{200b}b"),
            "a<span class=\"unseen\">\\u{202e}\\u{200b}</span>b"
        );
        assert_eq!(text("a\n"), "a<span class=\"unseen\">\\n</span>");
        assert_eq!(text("\u{a0}"), "<span class=\"unseen\">\\u{a0}</span>");
        assert_eq!(text("grüße, 你好 🙂"), "grüße, 你好 🙂");
    }

    proptest! {
        #[test]
        fn no_text_is_markup_and_all_of_it_is_shown(given in any::<String>()) {
            let shown = read_back(&text(&given));
            prop_assert!(!shown.chars().any(is_hidden));
            let expected: String = given
                .chars()
                .flat_map(|c| match is_hidden(c) {
                    true => written_out(c).collect::<Vec<_>>(),
                    false => vec![c],
                })
                .collect();
            prop_assert_eq!(shown, expected);
        }

        #[test]
        fn a_value_comes_back_as_it_was(given in any::<String>()) {
            let mut html = Html::new();
            html.value(&given);
            prop_assert_eq!(read_back(html.as_str()), given.replace('\0', "\u{fffd}"));
        }
    }
}
