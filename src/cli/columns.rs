//! The width and colours of a list, and how to cut text to a width.

use std::env::var_os;
use std::io::{self, IsTerminal as _};

use icu_properties::CodePointMapData;
use icu_properties::props::{EastAsianWidth, GeneralCategory};
use rustix::termios::tcgetwinsize;

use crate::policy::Risk;

/// The width if there is no terminal, or its width is unknown.
const DEFAULT_WIDTH: usize = 80;
/// The smallest width. Narrower terminals wrap the lines.
const MIN_WIDTH: usize = 60;

/// How to lay out a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// The largest number of columns in a line.
    pub(super) width: usize,
    /// Whether to colour the risk.
    pub(super) is_coloured: bool,
    /// Whether stdout is a terminal, where a list can be redrawn.
    pub(super) is_terminal: bool,
}

impl Layout {
    /// The layout without a terminal.
    pub(super) const PLAIN: Layout = Layout {
        width: DEFAULT_WIDTH,
        is_coloured: false,
        is_terminal: false,
    };

    /// Returns the layout for stdout. <https://no-color.org>: "when present and not an empty string".
    pub(super) fn of_stdout() -> Layout {
        let stdout = io::stdout();
        if !stdout.is_terminal() {
            return Layout::PLAIN;
        }
        let columns = tcgetwinsize(&stdout).map_or(0, |size| usize::from(size.ws_col));
        let has = |name| var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = var_os("TERM").is_some_and(|term| term == "dumb");
        Layout {
            width: match columns {
                0 => DEFAULT_WIDTH,
                columns => columns.max(MIN_WIDTH),
            },
            is_coloured: !has("NO_COLOR") && !is_dumb,
            is_terminal: true,
        }
    }

    /// Returns the risk, padded to `width` columns, in its colour.
    pub(super) fn risk(self, risk: Risk, width: usize) -> String {
        let colour = match risk {
            Risk::High => "1;31",
            Risk::Medium => "33",
            Risk::Low => "32",
            Risk::Unknown => "35",
        };
        self.coloured(&format!("{:<width$}", risk.as_str()), colour)
    }

    /// Returns a text in a colour, given as the number of an ANSI sequence.
    pub(super) fn coloured(self, text: &str, colour: &str) -> String {
        match self.is_coloured {
            true => format!("\u{1b}[{colour}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }

    /// Returns a heading.
    pub(super) fn heading(self, text: &str) -> String {
        self.coloured(text, "1")
    }
}

/// Cuts the text to `width` columns. A cut text ends with `…`.
pub(super) fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut left = width.saturating_sub(1);
    for c in text.chars() {
        let wide = columns_of(c);
        if wide > left {
            break;
        }
        left -= wide;
        out.push(c);
    }
    out.push('…');
    out
}

/// Returns how many columns the text takes in a terminal.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

fn columns_of(c: char) -> usize {
    if c.is_ascii() {
        return 1;
    }
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    if matches!(
        category,
        GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark
    ) {
        return 0;
    }
    let width = CodePointMapData::<EastAsianWidth>::new().get(c);
    match width == EastAsianWidth::Wide || width == EastAsianWidth::Fullwidth {
        true => 2,
        false => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_text_ends_with_an_ellipsis_and_fits() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("", 0), "");
        // Wide characters take two columns, combining marks none.
        assert_eq!(cut("日本語日本語", 6), "日本…");
        assert_eq!(columns("日本語"), 6);
        assert_eq!(columns("e\u{301}"), 1);
    }

    #[test]
    fn risk_is_coloured_if_the_layout_says_so() {
        let coloured = Layout {
            is_coloured: true,
            ..Layout::PLAIN
        };
        assert_eq!(Layout::PLAIN.risk(Risk::High, 7), "high   ");
        assert_eq!(coloured.risk(Risk::High, 7), "\u{1b}[1;31mhigh   \u{1b}[0m");
    }
}
