//! The markups in which approval requests are written. A new one is a variant here.

use std::borrow::Cow;

use crate::approval::display::{Ends, Medium, Quotes, code_span, quoted_text, show};

/// A markup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Markup {
    /// None.
    Plain,
    /// Markdown, which some readers take for plain text and others extend with HTML.
    Markdown,
    /// HTML, to stand in a body.
    Html,
    /// The few elements of HTML that Telegram knows. It shows spaces and line breaks as they are, and outside of code
    /// it makes links and mentions of what looks like them (<https://core.telegram.org/bots/api#html-style>).
    Telegram,
}

impl Markup {
    /// Ends a line so that the next one is not joined to it.
    pub(super) fn line_break(self) -> &'static str {
        match self {
            Markup::Plain | Markup::Telegram => "\n",
            // CommonMark, "Hard line breaks": two spaces at the end of a line. They are invisible in plain text.
            Markup::Markdown => "  \n",
            Markup::Html => "<br>\n",
        }
    }

    /// Returns our own words, or text that is visible and inert already except for the characters of this markup.
    #[must_use]
    pub fn words(self, text: &str) -> Cow<'_, str> {
        match self {
            // Our words have no markup, and `display` has escaped the rest.
            Markup::Plain | Markup::Markdown => Cow::Borrowed(text),
            Markup::Html => html(text, Spaces::Joined),
            Markup::Telegram => html(text, Spaces::Kept),
        }
    }

    /// Returns a visible and inert value for between the ends of [`Markup::block_value`].
    pub(super) fn block(self, text: &str) -> Cow<'_, str> {
        match self {
            Markup::Plain | Markup::Markdown => Cow::Borrowed(text),
            Markup::Html | Markup::Telegram => html(text, Spaces::Kept),
        }
    }

    /// Returns untrusted text on one line, shortened beyond `limit` characters.
    pub(super) fn span(self, text: &str, limit: usize) -> String {
        match self {
            Markup::Plain => quoted_text(text, limit),
            Markup::Markdown => code_span(text, limit),
            Markup::Html => html_span(text, limit, Spaces::Joined),
            Markup::Telegram => html_span(text, limit, Spaces::Kept),
        }
    }

    /// What stands around a value on the line of its label.
    pub(super) fn inline_value(self) -> (&'static str, &'static str) {
        match self {
            Markup::Plain => ("", ""),
            Markup::Markdown => ("`", "`"),
            Markup::Html | Markup::Telegram => ("<code>", "</code>"),
        }
    }

    /// What stands around a value with lines of its own, after a label with a colon.
    pub(super) fn block_value(self) -> (&'static str, &'static str) {
        match self {
            Markup::Plain => ("\n", "\n"),
            Markup::Markdown => ("\n```json\n", "\n```\n"),
            Markup::Html => ("<pre>", "</pre>\n"),
            Markup::Telegram => ("\n<pre>", "</pre>\n"),
        }
    }

    pub(super) fn span_medium(self) -> Medium {
        match self {
            Markup::Plain | Markup::Html | Markup::Telegram => Medium::Plain,
            Markup::Markdown => Medium::CodeSpan,
        }
    }

    pub(super) fn block_medium(self) -> Medium {
        match self {
            Markup::Plain | Markup::Html | Markup::Telegram => Medium::Plain,
            Markup::Markdown => Medium::CodeBlock,
        }
    }
}

/// What a reader does with several spaces in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spaces {
    /// Show all of them, as browsers do in `<pre>`.
    Kept,
    /// Show one. So the others become no-break spaces; those in the text itself are shown as escapes.
    Joined,
}

/// Escapes the characters that mean something in HTML.
fn html(text: &str, spaces: Spaces) -> Cow<'_, str> {
    if !text.contains(['<', '>', '&', '"', '\'', ' ']) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut is_after_space = true;
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            ' ' if is_after_space && spaces == Spaces::Joined => out.push_str("&nbsp;"),
            c => out.push(c),
        }
        is_after_space = matches!(c, ' ' | '\n');
    }
    Cow::Owned(out)
}

/// Returns untrusted text as code. The note about a left-out part stands outside of the code, where untrusted text
/// cannot stand.
fn html_span(text: &str, limit: usize, spaces: Spaces) -> String {
    let code = |text: &str| {
        let mut shown = String::new();
        show(text, Quotes::Plain, &mut shown);
        let mut shown = html(&shown, spaces).into_owned();
        if spaces == Spaces::Joined && shown.ends_with(' ') {
            shown.pop();
            shown.push_str("&nbsp;");
        }
        format!("<code>{shown}</code>")
    };
    match Ends::of(text, limit) {
        None if text.is_empty() => "(empty)".to_owned(),
        None => code(text),
        Some(ends) => format!("{} {ends} {}", code(ends.head), code(ends.tail)),
    }
}
