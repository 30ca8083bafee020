//! Where a list is shown: how wide a line may be, and whether in colour.

use std::env::var_os;
use std::io::{self, IsTerminal as _};

use icu_properties::CodePointMapData;
use icu_properties::props::{EastAsianWidth, GeneralCategory};
use rustix::termios::tcgetwinsize;

use crate::policy::Risk;

/// How wide lines are where nobody knows how wide the terminal is, or where there is none.
const USUAL: usize = 80;
/// Narrower terminals break lines.
const LEAST: usize = 60;

/// What a list is shown on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paper {
    /// How many columns a line may have.
    pub(super) width: usize,
    /// Whether risk is coloured.
    pub(super) is_coloured: bool,
    /// Whether it is a terminal, in which what was shown can be replaced.
    pub(super) is_terminal: bool,
}

impl Paper {
    /// Without a terminal, 80 columns and no colour.
    pub(super) const PLAIN: Paper = Paper {
        width: USUAL,
        is_coloured: false,
        is_terminal: false,
    };

    /// What stdout is. <https://no-color.org>: "when present and not an empty string".
    pub(super) fn of_stdout() -> Paper {
        let stdout = io::stdout();
        if !stdout.is_terminal() {
            return Paper::PLAIN;
        }
        let columns = tcgetwinsize(&stdout).map_or(0, |size| usize::from(size.ws_col));
        let has = |name| var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = var_os("TERM").is_some_and(|term| term == "dumb");
        Paper {
            width: match columns {
                0 => USUAL,
                columns => columns.max(LEAST),
            },
            is_coloured: !has("NO_COLOR") && !is_dumb,
            is_terminal: true,
        }
    }

    /// The risk, padded to `width` columns, in its colour.
    pub(super) fn risk(self, risk: Risk, width: usize) -> String {
        let colour = match risk {
            Risk::High => "1;31",
            Risk::Medium => "33",
            Risk::Low => "32",
            Risk::Unknown => "35",
        };
        let padded = format!("{:<width$}", risk.as_str());
        match self.is_coloured {
            true => format!("\u{1b}[{colour}m{padded}\u{1b}[0m"),
            false => padded,
        }
    }
}

/// The text in at most `width` columns; `…` ends what is cut.
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

/// How many columns a terminal needs for the text.
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
    fn what_is_cut_ends_in_an_ellipsis_and_fits() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("", 0), "");
        // Wide characters take two columns, marks none.
        assert_eq!(cut("日本語日本語", 6), "日本…");
        assert_eq!(columns("日本語"), 6);
        assert_eq!(columns("e\u{301}"), 1);
    }

    #[test]
    fn risk_is_coloured_where_that_is_wanted() {
        let coloured = Paper {
            is_coloured: true,
            ..Paper::PLAIN
        };
        assert_eq!(Paper::PLAIN.risk(Risk::High, 7), "high   ");
        assert_eq!(coloured.risk(Risk::High, 7), "\u{1b}[1;31mhigh   \u{1b}[0m");
    }
}
