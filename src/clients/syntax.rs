//! The values of a client's file, each with its place in the text, so that an edit can replace exactly its bytes.
//!
//! It reads JSON (with comments and trailing commas) and TOML. `edits` changes the text.

mod json;
mod toml;

use std::ops::Range;

/// The language of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// JSON, with comments and trailing commas.
    Json,
    /// TOML.
    Toml,
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) value: Value,
    /// The bytes of the value. For a TOML table with a header: from the header to the end of its last line.
    pub(super) at: Range<usize>,
}

/// What we need to know about a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Member>),
    /// A number, or a date of TOML.
    Other,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Member {
    pub(super) key: String,
    /// The bytes of the key, with its quotes.
    pub(super) key_at: Range<usize>,
    pub(super) node: Node,
    pub(super) layout: Layout,
}

/// How a member is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layout {
    /// Between commas, in braces.
    Braces,
    /// On lines of its own, `key = value`.
    Line,
    /// As a table with a header of its own, `[key]`, or only as the beginning of other headers.
    Table,
    /// As the beginning of the keys of its members, `key.member = value`. Holds all places of the key.
    Dotted(Vec<Range<usize>>),
}

/// Why a text cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SyntaxError {
    #[error(
        "it is not {language}: {what}, line {line}, column {column}; correct it, then try again"
    )]
    Invalid {
        language: &'static str,
        what: String,
        line: usize,
        column: usize,
    },
    #[error("it is empty")]
    Empty,
    #[error(
        "the key `{key}` stands twice in one object, the second time in line {line}, column {column}; remove one of them, \
         then try again"
    )]
    Twice {
        key: String,
        line: usize,
        column: usize,
    },
}

impl Syntax {
    /// Reads a text, which must not begin with a byte order mark.
    ///
    /// # Errors
    /// A text that is not in this language, or that readers could understand in two ways.
    pub(super) fn parse(self, text: &str) -> Result<Node, SyntaxError> {
        match self {
            Syntax::Json => json::parse(text),
            Syntax::Toml => toml::parse(text),
        }
    }

    /// Writes a string.
    pub(super) fn literal(self, text: &str) -> String {
        match self {
            Syntax::Json => serde_json::Value::from(text).to_string(),
            Syntax::Toml => toml_edit::Value::from(text).to_string(),
        }
    }

    /// Writes a key.
    pub(super) fn key(self, key: &str) -> String {
        let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        match self {
            Syntax::Toml if !key.is_empty() && key.chars().all(is_bare) => key.to_owned(),
            Syntax::Json | Syntax::Toml => self.literal(key),
        }
    }

    /// Writes a value of a text, so that it can stand behind a key of another text.
    pub(super) fn in_one_line(self, text: &str, node: &Node) -> String {
        match (self, &node.value) {
            // A table is several lines.
            (Syntax::Toml, Value::Map(members)) => {
                let members = members.iter().map(|member| {
                    let value = self.in_one_line(text, &member.node);
                    format!("{}{}{value}", self.key(&member.key), self.assignment())
                });
                match members.len() {
                    0 => "{}".to_owned(),
                    _ => format!("{{ {} }}", members.collect::<Vec<_>>().join(", ")),
                }
            }
            _ => text.get(node.at.clone()).unwrap_or_default().to_owned(),
        }
    }

    /// The comments in a part of a text that begins outside of a string.
    pub(super) fn comments(self, part: &str) -> Vec<&str> {
        match self {
            Syntax::Json => json::comments(part),
            Syntax::Toml => toml::comments(part),
        }
    }

    /// What stands between a key and its value.
    pub(super) fn assignment(self) -> &'static str {
        match self {
            Syntax::Json => ": ",
            Syntax::Toml => " = ",
        }
    }
}

impl Node {
    /// Returns the member `key` of a map.
    pub(super) fn get(&self, key: &str) -> Option<&Member> {
        self.members().iter().find(|member| member.key == key)
    }

    /// Returns the members of a map, or none of another value.
    pub(super) fn members(&self) -> &[Member] {
        match &self.value {
            Value::Map(members) => members,
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Other => &[],
        }
    }

    /// Returns the elements of a list.
    pub(super) fn elements(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(elements) => Some(elements),
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::Map(_) | Value::Other => None,
        }
    }

    /// Returns the text of a string.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) | Value::Other => None,
        }
    }

    /// Returns true for a map.
    pub(super) fn is_map(&self) -> bool {
        matches!(self.value, Value::Map(_))
    }

    /// Returns the value at the end of a path of keys.
    pub(super) fn at_path(&self, path: &[String]) -> Option<&Node> {
        path.iter()
            .try_fold(self, |node, key| Some(&node.get(key)?.node))
    }
}

impl Member {
    /// The bytes from the key to the end of the value.
    pub(super) fn at(&self) -> Range<usize> {
        match self.layout {
            Layout::Braces | Layout::Line => self.key_at.start..self.node.at.end,
            Layout::Table | Layout::Dotted(_) => self.node.at.clone(),
        }
    }
}

/// Refuses a map with a key that stands twice: clients would read the one or the other.
fn require_unique(text: &str, members: &[Member]) -> Result<(), SyntaxError> {
    let mut sorted: Vec<&Member> = members.iter().collect();
    sorted.sort_by_key(|member| (&member.key, member.key_at.start));
    let same = |pair: &&[&Member]| match pair {
        [one, other] => one.key == other.key,
        _ => false,
    };
    let Some([_, second]) = sorted.windows(2).find(same) else {
        return Ok(());
    };
    let (line, column) = position(text, second.key_at.start);
    Err(SyntaxError::Twice {
        key: crate::config::shown(&second.key),
        line,
        column,
    })
}

/// Returns the start of the line that contains the byte `at`.
pub(super) fn line_start(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or_default();
    before.rfind('\n').map_or(0, |newline| newline + 1)
}

/// Returns the end of the line that contains the byte `at`, without its line break.
pub(super) fn line_end(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let end = at + rest.find('\n').unwrap_or(rest.len());
    match text.get(..end).is_some_and(|line| line.ends_with('\r')) && end > at {
        true => end - 1,
        false => end,
    }
}

/// Returns the number of the line that contains the byte `at`, and the column, both from 1.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |line| line.chars().count());
    (before.matches('\n').count() + 1, column + 1)
}

#[cfg(test)]
mod tests;
