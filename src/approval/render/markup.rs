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
    /// Slack's mrkdwn.
    Mrkdwn,
}

impl Markup {
    /// Ends a line so that the next one is not joined to it.
    pub(super) fn line_break(self) -> &'static str {
        match self {
            Markup::Plain | Markup::Telegram | Markup::Mrkdwn => "\n",
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
            Markup::Telegram => telegram_words(text),
            Markup::Mrkdwn => mrkdwn_words(text),
        }
    }

    /// Returns a visible and inert value for between the ends of [`Markup::inline_value`].
    pub(super) fn inline(self, text: &str) -> Cow<'_, str> {
        match self {
            Markup::Plain | Markup::Markdown | Markup::Html | Markup::Telegram => self.words(text),
            Markup::Mrkdwn => Cow::Owned(mrkdwn_code(text, Fence::Span)),
        }
    }

    /// Returns a visible and inert value for between the ends of [`Markup::block_value`].
    pub(super) fn block(self, text: &str) -> Cow<'_, str> {
        match self {
            Markup::Plain | Markup::Markdown => Cow::Borrowed(text),
            Markup::Html | Markup::Telegram => html(text, Spaces::Kept),
            Markup::Mrkdwn => Cow::Owned(mrkdwn_code(text, Fence::Block)),
        }
    }

    /// Returns untrusted text on one line, shortened beyond `limit` characters.
    pub(super) fn span(self, text: &str, limit: usize) -> String {
        match self {
            Markup::Plain => quoted_text(text, limit),
            Markup::Markdown => code_span(text, limit),
            Markup::Html => html_span(text, limit, Spaces::Joined),
            Markup::Telegram => html_span(text, limit, Spaces::Kept),
            Markup::Mrkdwn => mrkdwn_span(text, limit),
        }
    }

    /// What stands around a value on the line of its label.
    pub(super) fn inline_value(self) -> (&'static str, &'static str) {
        match self {
            Markup::Plain => ("", ""),
            Markup::Markdown => ("`", "`"),
            Markup::Html | Markup::Telegram => ("<code>", "</code>"),
            Markup::Mrkdwn => ("`", "`"),
        }
    }

    /// What stands around a value with lines of its own, after a label with a colon.
    pub(super) fn block_value(self) -> (&'static str, &'static str) {
        match self {
            Markup::Plain => ("\n", "\n"),
            Markup::Markdown => ("\n```json\n", "\n```\n"),
            Markup::Html => ("<pre>", "</pre>\n"),
            Markup::Telegram => ("\n<pre>", "</pre>\n"),
            Markup::Mrkdwn => ("\n```\n", "\n```\n"),
        }
    }

    pub(super) fn span_medium(self) -> Medium {
        match self {
            Markup::Plain | Markup::Html | Markup::Telegram | Markup::Mrkdwn => Medium::Plain,
            Markup::Markdown => Medium::CodeSpan,
        }
    }

    pub(super) fn block_medium(self) -> Medium {
        match self {
            Markup::Plain | Markup::Html | Markup::Telegram | Markup::Mrkdwn => Medium::Plain,
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

/// What ends code in mrkdwn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fence {
    /// One backtick.
    Span,
    /// Three backticks.
    Block,
}

/// Returns visible text for inside of code. Slack's mrkdwn has no escape for a backtick, so it becomes one of ours. They
/// are unambiguous, because a backslash of the text itself is doubled already.
///
/// Slack's docs, "Formatting message text": `&`, `<` and `>` become entities, and nothing else. No mention, link or date
/// begins without `<`. In code, there is no emphasis and no emoji.
fn mrkdwn_code(text: &str, fence: Fence) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // So no two are neighbours in a block.
            '`' if fence == Fence::Span || chars.peek() == Some(&'`') => out.push_str("\\u{60}"),
            c => out.push(c),
        }
    }
    out
}

/// Returns our own words, which may quote names in backticks. If a character could mean anything else in mrkdwn, all of
/// the words become code.
fn mrkdwn_words(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '*', '_', '~', '`', ':']) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(match has_only_code(text) {
        // Nothing but the three characters that Slack wants escaped.
        true => mrkdwn_code(text, Fence::Block),
        false => format!("`{}`", mrkdwn_code(text, Fence::Span)),
    })
}

/// Returns our own words, in which names between backticks become code.
fn telegram_words(text: &str) -> Cow<'_, str> {
    if !text.contains('`') || !has_only_code(text) {
        return html(text, Spaces::Kept);
    }
    let mut words = String::with_capacity(text.len() * 2);
    for (n, part) in text.split('`').enumerate() {
        let part = html(part, Spaces::Kept);
        match n % 2 {
            0 => words.push_str(&part),
            _ => {
                words.push_str("<code>");
                words.push_str(&part);
                words.push_str("</code>");
            }
        }
    }
    Cow::Owned(words)
}

/// Returns true if all that mrkdwn finds in a text is code between two backticks.
fn has_only_code(text: &str) -> bool {
    let mut parts = text.split('`').peekable();
    let mut is_code = false;
    let mut before = "";
    while let Some(part) = parts.next() {
        let after = parts.peek();
        let is_well = match is_code {
            // Slack takes it for code only between these.
            true => {
                let after = after.copied();
                let begins = before.is_empty() || before.ends_with([' ', '(']);
                let ends = after.is_some_and(|after| {
                    after.is_empty() || after.starts_with([' ', ',', '.', ';', ')'])
                });
                begins && ends && !part.is_empty() && part.trim() == part
            }
            false => {
                let emoji = |word: &str| word.matches(':').nth(1).is_some();
                !part.contains(['*', '_', '~']) && !part.split(' ').any(emoji)
            }
        };
        if !is_well {
            return false;
        }
        is_code = !is_code;
        before = part;
    }
    true
}

/// Returns untrusted text as code, like [`html_span`].
fn mrkdwn_span(text: &str, limit: usize) -> String {
    let code = |text: &str| {
        let mut shown = String::new();
        show(text, Quotes::Plain, &mut shown);
        let shown = mrkdwn_code(&shown, Fence::Span);
        // A space next to a backtick keeps it from being code.
        let inner = shown.trim_matches(' ');
        let (before, after) = (
            shown.len() - shown.trim_start_matches(' ').len(),
            shown.len() - shown.trim_end_matches(' ').len(),
        );
        let after = if inner.is_empty() { 0 } else { after };
        let spaces = |count: usize| "\\s".repeat(count);
        format!("`{}{inner}{}`", spaces(before), spaces(after))
    };
    match Ends::of(text, limit) {
        None if text.is_empty() => "(empty)".to_owned(),
        None => code(text),
        Some(ends) => format!("{} {ends} {}", code(ends.head), code(ends.tail)),
    }
}
