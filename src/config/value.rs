//! The types of settings, read from JSON or from the text of a variable or a flag.
//!
//! Does not know which setting a value is for; `settings` does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::error::{Fault, Problem};
use super::json::Node;
use super::pointer::shown;
use crate::engines::inbox::passphrase::KeyFingerprint;
use crate::sys::secret::Secret;

/// A value that a person writes in JSON, in a variable or after a flag.
pub trait Value: Sized {
    /// Its form on a command line.
    const FORM: Form = Form::Text;

    /// Says what to write; completes "expected …".
    fn expected() -> String;

    /// Returns the words that the value can be, each with its aliases; empty if it is not a word.
    #[must_use]
    fn words() -> Vec<(&'static str, Vec<&'static str>)> {
        Vec::new()
    }

    /// Returns a JSON Schema of what [`Value::from_node`] accepts, as far as a schema can express it.
    #[must_use]
    fn schema() -> Json {
        Json::Bool(true)
    }

    /// Reads a JSON value. By default it must be a string with the same text as a variable.
    ///
    /// # Errors
    /// A [`Fault`] with the place inside `node` and what is expected there.
    fn from_node(node: &Node) -> Result<Self, Fault> {
        let Node::Text(text) = node else {
            return Err(wrong_type::<Self>(node));
        };
        Self::from_text(text)
    }

    /// Reads the trimmed text of a variable or a flag.
    ///
    /// # Errors
    /// As [`Value::from_node`].
    fn from_text(text: &str) -> Result<Self, Fault>;

    /// Reads a path from a flag.
    ///
    /// # Errors
    /// As [`Value::from_node`].
    fn from_path(path: &Path) -> Result<Self, Fault> {
        Self::from_text(&path.to_string_lossy())
    }
}

/// The form of a value on a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A text.
    Text,
    /// A text that may begin with a minus.
    Number,
    /// A path, which need not be UTF-8.
    Path,
    /// No value: the flag alone means `true`.
    Switch,
}

/// The unparsed value of a setting, and the kind of place it came from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Input<'a> {
    /// From a config file.
    Node(&'a Node),
    /// From a variable, or a default of the table.
    Text(&'a str),
    /// From a flag.
    Argument(&'a str),
    /// From a flag that takes one element of a list at a time.
    Element(&'a str),
    /// From a flag that takes a path.
    Path(&'a Path),
}

impl Input<'_> {
    /// Reads the value into `slot`.
    pub(super) fn set<T: Value>(self, slot: &mut Option<T>) -> Result<(), Fault> {
        *slot = Some(self.read()?);
        Ok(())
    }

    /// Reads a list and appends it to `list`.
    pub(super) fn append<T: Value>(self, list: &mut Vec<T>) -> Result<(), Fault> {
        list.append(&mut self.read()?);
        Ok(())
    }

    pub(super) fn read<T: Value>(self) -> Result<T, Fault> {
        match self {
            Input::Node(node) => T::from_node(node),
            Input::Text(text) | Input::Argument(text) | Input::Element(text) => {
                T::from_text(text.trim())
            }
            Input::Path(path) => T::from_path(path),
        }
    }
}

/// Returns the error for a `node` of the wrong type for a `T`, without its content.
pub(super) fn wrong_type<T: Value>(node: &Node) -> Fault {
    Fault::from(Problem::Unexpected {
        expected: T::expected(),
        found: node.kind().to_owned(),
    })
}

/// Returns the error for a `text` that is not a `T`. Quotes it, so it must not be used for secrets.
pub(super) fn wrong_text<T: Value>(text: &str) -> Fault {
    Fault::from(Problem::Unexpected {
        expected: T::expected(),
        found: format!("`{}`", shown(text)),
    })
}

impl Value for bool {
    const FORM: Form = Form::Switch;

    fn expected() -> String {
        "`true` or `false`".to_owned()
    }

    fn schema() -> Json {
        json!({"type": "boolean"})
    }

    fn from_node(node: &Node) -> Result<bool, Fault> {
        let Node::Bool(value) = node else {
            return Err(wrong_type::<bool>(node));
        };
        Ok(*value)
    }

    fn from_text(text: &str) -> Result<bool, Fault> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(wrong_text::<bool>(text)),
        }
    }
}

impl Value for String {
    fn expected() -> String {
        "a string".to_owned()
    }

    fn schema() -> Json {
        json!({"type": "string"})
    }

    fn from_text(text: &str) -> Result<String, Fault> {
        Ok(text.to_owned())
    }
}

impl Value for PathBuf {
    const FORM: Form = Form::Path;

    fn expected() -> String {
        "the path of a file".to_owned()
    }

    fn schema() -> Json {
        json!({"type": "string", "minLength": 1})
    }

    fn from_path(path: &Path) -> Result<PathBuf, Fault> {
        Ok(path.to_owned())
    }

    fn from_text(text: &str) -> Result<PathBuf, Fault> {
        match text {
            "" => Err(wrong_text::<PathBuf>(text)),
            _ if text.contains('\0') => Err(Problem::Nul.into()),
            _ => Ok(PathBuf::from(text)),
        }
    }
}

impl Value for Secret {
    fn expected() -> String {
        "a token of visible ASCII characters".to_owned()
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^[!-~]+$"})
    }

    fn from_text(text: &str) -> Result<Secret, Fault> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Secret::new(text.to_owned()));
        }
        Err(Fault::from(Problem::Unexpected {
            expected: Secret::expected(),
            found: "something else".to_owned(),
        }))
    }
}

impl Value for KeyFingerprint {
    fn expected() -> String {
        "the fingerprint of a key, `sha256:` and 64 hexadecimal digits".to_owned()
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^sha256:[0-9A-Fa-f]{64}$"})
    }

    fn from_text(text: &str) -> Result<KeyFingerprint, Fault> {
        KeyFingerprint::parse(text).ok_or_else(|| wrong_text::<KeyFingerprint>(text))
    }
}

/// As text, a list is JSON or comma-separated; see `is_json_list`. Empty items are ignored.
impl<T: Value> Value for Vec<T> {
    fn expected() -> String {
        format!("a list, each element {}", T::expected())
    }

    fn schema() -> Json {
        json!({"type": "array", "items": T::schema()})
    }

    fn from_node(node: &Node) -> Result<Vec<T>, Fault> {
        let Node::Array(elements) = node else {
            return Err(wrong_type::<Vec<T>>(node));
        };
        let read = |(index, element): (usize, &Node)| {
            T::from_node(element).map_err(|fault| fault.under(index.to_string()))
        };
        elements.iter().enumerate().map(read).collect()
    }

    fn from_text(text: &str) -> Result<Vec<T>, Fault> {
        if is_json_list(text) {
            return Vec::from_node(&json(text)?);
        }
        let items = text.split(',').map(str::trim);
        items
            .filter(|item| !item.is_empty())
            .map(T::from_text)
            .collect()
    }
}

impl<T: Value> Value for BTreeMap<String, T> {
    fn expected() -> String {
        format!("an object, each value {}", T::expected())
    }

    fn schema() -> Json {
        json!({"type": "object", "additionalProperties": T::schema()})
    }

    fn from_node(node: &Node) -> Result<BTreeMap<String, T>, Fault> {
        let Node::Object(object) = node else {
            return Err(wrong_type::<BTreeMap<String, T>>(node));
        };
        let read = |(key, node): (&str, &Node)| match T::from_node(node) {
            Ok(value) => Ok((key.to_owned(), value)),
            Err(fault) => Err(fault.under(key)),
        };
        object.strict_members()?.map(read).collect()
    }

    fn from_text(text: &str) -> Result<BTreeMap<String, T>, Fault> {
        BTreeMap::from_node(&json(text)?)
    }
}

/// Returns true if `text` is meant as a JSON list, not as a comma-separated one.
///
/// A comma list of globs may begin with `[` too (`[a-z]*`). So text that does not parse as JSON counts
/// as JSON only if a string or the end of the list follows the bracket.
fn is_json_list(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('[') else {
        return false;
    };
    rest.trim_start().starts_with(['"', ']']) || json(text).is_ok()
}

fn json(text: &str) -> Result<Node, Fault> {
    serde_json::from_str(text).map_err(|error| Problem::NotJson(error.to_string()).into())
}

#[cfg(test)]
mod tests;
