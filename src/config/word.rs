//! Values that are one of a few words.
//!
//! The code that uses a word decides what it does.

use serde_json::{Value as Json, json};

use super::error::{Fault, Problem, names};
use super::json::Node;
use super::value::{Value, wrong_text};
use crate::approval::assurance::RequiredAssurance;
use crate::gate::{DedupeField, OnFailure, TimeoutAction};
use crate::policy::Mode;

/// An enum that is written as one of a few words. Case matters.
pub trait Word: Copy + 'static {
    /// Every word and its value, in the order of help and errors.
    const WORDS: &'static [(&'static str, Self)];
    /// Accepted synonyms, each with its word. Help and errors do not list them.
    const ALIASES: &'static [(&'static str, &'static str)] = &[];
}

impl Word for Mode {
    const WORDS: &'static [(&'static str, Mode)] = &[
        ("destructive", Mode::Destructive),
        ("cautious", Mode::Cautious),
        ("all", Mode::All),
        ("annotated", Mode::Annotated),
        ("none", Mode::None),
    ];
}

impl Word for TimeoutAction {
    const WORDS: &'static [(&'static str, TimeoutAction)] = &[
        ("approve", TimeoutAction::Approve),
        ("deny", TimeoutAction::Deny),
        ("park", TimeoutAction::Park),
    ];
}

impl Word for DedupeField {
    const WORDS: &'static [(&'static str, DedupeField)] = &[
        ("server", DedupeField::Server),
        ("tool", DedupeField::Tool),
        ("args", DedupeField::Args),
        ("risk", DedupeField::Risk),
    ];
}

impl Word for OnFailure {
    const WORDS: &'static [(&'static str, OnFailure)] =
        &[("deny", OnFailure::Deny), ("fallback", OnFailure::Fallback)];
}

impl Word for RequiredAssurance {
    const WORDS: &'static [(&'static str, RequiredAssurance)] = &RequiredAssurance::WORDS;
}

impl<T: Word> Value for T {
    fn expected() -> String {
        let words: Vec<&str> = T::WORDS.iter().map(|(word, _)| *word).collect();
        format!("one of {}", names(&words))
    }

    fn words() -> Vec<(&'static str, Vec<&'static str>)> {
        let aliases_of = |word: &str| {
            let aliases = T::ALIASES.iter().filter(|(_, meant)| *meant == word);
            aliases.map(|(alias, _)| *alias).collect()
        };
        let words = T::WORDS.iter().map(|(word, _)| *word);
        words.map(|word| (word, aliases_of(word))).collect()
    }

    fn schema() -> Json {
        let words: Vec<&str> = T::WORDS.iter().map(|(word, _)| *word).collect();
        json!({"enum": words})
    }

    fn from_text(text: &str) -> Result<T, Fault> {
        let alias = T::ALIASES.iter().find(|(alias, _)| *alias == text);
        let wanted = alias.map_or(text, |(_, word)| word);
        let known = T::WORDS.iter().find(|(word, _)| *word == wanted);
        known
            .map(|(_, value)| *value)
            .ok_or_else(|| wrong_text::<T>(text))
    }
}

/// The fields that make two calls identical: at least one, without repetition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DedupeFields(Vec<DedupeField>);

impl DedupeFields {
    /// Returns the fields in the order they were written in.
    #[must_use]
    pub fn into_vec(self) -> Vec<DedupeField> {
        self.0
    }

    fn checked(fields: Vec<DedupeField>) -> Result<DedupeFields, Fault> {
        let mut once = Vec::new();
        for field in fields {
            if !once.contains(&field) {
                once.push(field);
            }
        }
        // Without a field, all calls would be identical, and one approval would cover every tool.
        if once.is_empty() {
            return Err(Fault::from(Problem::Unexpected {
                expected: format!("at least {}", DedupeField::expected()),
                found: "an empty list".to_owned(),
            }));
        }
        Ok(DedupeFields(once))
    }
}

impl Value for DedupeFields {
    fn expected() -> String {
        Vec::<DedupeField>::expected()
    }

    fn schema() -> Json {
        json!({"type": "array", "items": DedupeField::schema(), "minItems": 1})
    }

    fn from_node(node: &Node) -> Result<DedupeFields, Fault> {
        DedupeFields::checked(Vec::from_node(node)?)
    }

    fn from_text(text: &str) -> Result<DedupeFields, Fault> {
        DedupeFields::checked(Vec::from_text(text)?)
    }
}

#[cfg(test)]
mod tests;
