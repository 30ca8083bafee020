//! Shows how an entry changes, line by line.

use similar::{ChangeTag, TextDiff};

use crate::cli::columns::Layout;
use crate::config::escaped;

/// How many unchanged lines to show around a change.
const CONTEXT: usize = 2;

/// Returns the changed lines with `-` and `+`, and some lines around them.
pub(super) fn diff(before: &str, after: &str, layout: Layout) -> String {
    let diff = TextDiff::from_lines(before, after);
    let mut lines = Vec::new();
    for (number, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
        if number > 0 {
            lines.push("      …".to_owned());
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let (sign, colour) = match change.tag() {
                ChangeTag::Delete => ('-', Some("31")),
                ChangeTag::Insert => ('+', Some("32")),
                ChangeTag::Equal => (' ', None),
            };
            let text = change.value().trim_end_matches(['\r', '\n']);
            let line = format!("    {sign} {}", escaped(&text.replace('\t', "    ")));
            lines.push(match colour.filter(|_| layout.is_coloured) {
                Some(colour) => format!("\u{1b}[{colour}m{line}\u{1b}[0m"),
                None => line,
            });
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_lines_have_signs_and_control_characters_are_escaped() {
        let text = diff(
            "{\n\t\"a\": 1\n}",
            "{\n\t\"a\": \"\u{1b}[2J\"\n}",
            Layout::PLAIN,
        );
        assert_eq!(
            text,
            "      {\n    -     \"a\": 1\n    +     \"a\": \"\\u{1b}[2J\"\n      }"
        );
        let coloured = Layout {
            is_coloured: true,
            ..Layout::PLAIN
        };
        assert!(diff("a", "b", coloured).contains("\u{1b}[32m    + b\u{1b}[0m"));
    }
}
