//! Compares names as the most lenient reader would: ignoring case, white space and invisible
//! characters.
//!
//! The readers of those names decide what to refuse. For ids, see `readings`.

/// Returns true if `key` is not in `known`, but a lenient reader could take it for one of them. The
/// names in `known` are plain ASCII.
#[must_use]
pub fn folds_to_one_of(key: &str, known: &[&str]) -> bool {
    if known.contains(&key) {
        return false;
    }
    // The usual case: nothing to drop, and no letter that folds to ASCII.
    if key.bytes().all(|b| b.is_ascii_graphic()) {
        return known.iter().any(|name| name.eq_ignore_ascii_case(key));
    }
    let folded = fold(key);
    known.iter().any(|name| name.eq_ignore_ascii_case(&folded))
}

/// Reduces a name as the most lenient reader would. It ends at a NUL and loses white space and
/// invisible characters. Width and case are folded as widely as any reader does: to upper case
/// (`ſ`, `ı`), then to lower case.
#[must_use]
pub fn fold(name: &str) -> String {
    let name = name.split('\0').next().unwrap_or_default();
    name.chars()
        .filter(|c| !c.is_whitespace() && !is_invisible(*c))
        .map(narrow)
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        // `İ` in lower case is `i` and a combining dot above.
        .filter(|c| *c != '\u{307}')
        .collect()
}

/// Returns the ASCII character that a full-width one stands for.
fn narrow(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xFEE0).unwrap_or(c),
        _ => c,
    }
}

/// Returns the start of a key for an error text, with invisible characters escaped.
#[must_use]
pub fn shown_key(key: &str) -> String {
    let mut shown = String::new();
    for c in key.chars().take(MAX_SHOWN_KEY) {
        if is_invisible(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// How many characters of a key an error shows.
const MAX_SHOWN_KEY: usize = 64;

/// Returns true for a character that is invisible, moves other characters, or has no defined glyph:
/// controls, format characters (bidirectional, zero-width, tags), separators, fillers, variation
/// selectors, private use, noncharacters.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    matches!(u32::from(c),
        0x00..=0x1F
        | 0x7F..=0x9F
        | 0xAD
        | 0x34F
        | 0x600..=0x605
        | 0x61C
        | 0x6DD
        | 0x70F
        | 0x890..=0x891
        | 0x8E2
        | 0x115F..=0x1160
        | 0x17B4..=0x17B5
        | 0x180B..=0x180F
        | 0x200B..=0x200F
        | 0x2028..=0x202E
        | 0x2060..=0x206F
        | 0x2800
        | 0x3164
        | 0xE000..=0xF8FF
        | 0xFDD0..=0xFDEF
        | 0xFE00..=0xFE0F
        | 0xFEFF
        | 0xFFA0
        | 0xFFF0..=0xFFFB
        | 0xFFFE..=0xFFFF
        | 0x110BD
        | 0x110CD
        | 0x13430..=0x1345F
        | 0x1BCA0..=0x1BCA3
        | 0x1D173..=0x1D17A
        | 0xE0000..=0x10FFFF)
        || u32::from(c) & 0xFFFE == 0xFFFE
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 3] = ["method", "inputResponses", "a.b/c"];

    #[test]
    fn a_key_that_some_reader_takes_for_a_known_one_is_found() {
        for key in [
            "Method",
            "INPUTRESPONSES",
            "method ",
            " method",
            "met hod",
            "\tmethod",
            "method\n",
            "method\u{85}",
            "method\u{a0}",
            "\u{3000}method",
            "me\u{200b}thod",
            "me\u{ad}thod",
            "\u{feff}method",
            "method\u{2060}",
            "method\u{e0020}",
            "method\u{fe0f}",
            "method\0",
            "method\0x",
            "input Re\u{17f}ponses",
            "\u{ff4d}ethod",
            "\u{ff2d}\u{ff25}\u{ff34}\u{ff28}\u{ff2f}\u{ff24}",
            "a.b\u{ff0f}C",
        ] {
            assert!(folds_to_one_of(key, &KNOWN), "{key:?}");
        }
    }

    #[test]
    fn known_keys_and_unrelated_keys_are_left_alone() {
        for key in [
            "method",
            "inputResponses",
            "a.b/c",
            "",
            " ",
            "methods",
            "metho",
            "x method",
            "\0method",
            "m\u{e9}thod",
            "m\u{435}thod",
            "\u{ff4d}ethods",
        ] {
            assert!(!folds_to_one_of(key, &KNOWN), "{key:?}");
        }
    }

    #[test]
    fn every_full_width_form_is_its_ascii_character() {
        for (wide, plain) in ('\u{ff01}'..='\u{ff5e}').zip('!'..='~') {
            assert_eq!(fold(&wide.to_string()), fold(&plain.to_string()));
        }
    }

    #[test]
    fn an_error_shows_invisible_characters() {
        assert_eq!(shown_key("me\u{200b}thod "), "me\\u{200b}thod ");
        assert_eq!(shown_key(&"x".repeat(1_000)).len(), MAX_SHOWN_KEY);
    }
}
