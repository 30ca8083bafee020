//! An entry of an allow or deny list, checked when it is read.
//!
//! `policy` does the matching.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::error::{Fault, Problem};
use super::value::{Value, wrong_text};
use crate::policy::{Mode, Policy, Rules};

/// A tool name or a valid glob: trimmed, not empty, at most 1024 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Returns the name or the glob.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl Value for Pattern {
    fn expected() -> String {
        "a tool name or a glob of at most 1024 bytes".to_owned()
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "\\S"})
    }

    fn from_text(text: &str) -> Result<Pattern, Fault> {
        // White space around a name is a mistake. If it stayed, a deny rule would match nothing.
        let text = text.trim();
        if text.is_empty() || text.len() > LONGEST {
            return Err(wrong_text::<Pattern>(text));
        }
        // Compile each pattern alone, because only here the error can name its place.
        let alone = Rules {
            mode: Mode::None,
            allow: vec![text.to_owned()],
            deny: Vec::new(),
            custom_annotations: BTreeMap::new(),
        };
        match Policy::new(alone) {
            Ok(_) => Ok(Pattern(text.to_owned())),
            Err(error) => Err(Problem::Rule(error).into()),
        }
    }
}

const LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::json::Node;

    #[test]
    fn names_and_globs_are_trimmed_and_kept() {
        for text in ["delete_user", "read_*", "[a-z]?", "[!x]", "{a}", r"\", "ü"] {
            let pattern = Pattern::from_text(&format!(" {text}\t")).unwrap();
            assert_eq!(pattern.into_string(), text);
        }
    }

    // contract.md, "Configuration": "an unknown key is an error […]; so is a wrong type, a bad
    // enum, a negative number, a bad glob."
    #[test]
    fn a_bad_glob_is_an_error_that_quotes_it() {
        let error = Pattern::from_text("read_[a").unwrap_err().to_string();
        assert!(error.contains("`read_[a`"), "{error}");
        let error = Pattern::from_text("[z-a]\u{1b}").unwrap_err().to_string();
        assert!(error.contains(r"`[z-a]\u{1b}`"), "{error}");
    }

    #[test]
    fn an_empty_or_a_huge_pattern_is_an_error() {
        for text in ["", " ", &"x".repeat(1025)] {
            let error = Pattern::from_text(text).unwrap_err().to_string();
            assert!(
                error.starts_with("expected a tool name or a glob"),
                "{error}"
            );
        }
        assert!(Pattern::from_text(&"x".repeat(1024)).is_ok());
        let error = Pattern::from_node(&Node::Number(1.0))
            .unwrap_err()
            .to_string();
        assert!(error.ends_with("found a number"), "{error}");
    }
}
