//! What a key or a flag can hold: read from JSON, and from the text of a variable or a flag.
//!
//! It does not know which setting it reads for; `settings` does.

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
    /// How it looks on a command line.
    const FORM: Form = Form::Text;

    /// What to write; it completes "expected …".
    fn expected() -> String;

    /// The words that it is one of, each with its aliases; none if it is something else.
    #[must_use]
    fn words() -> Vec<(&'static str, Vec<&'static str>)> {
        Vec::new()
    }

    /// A JSON Schema of what [`Value::from_node`] takes, as far as a schema can say it.
    #[must_use]
    fn schema() -> Json {
        Json::Bool(true)
    }

    /// Reads a JSON value; most are strings and hold there what they hold as text.
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

    /// Reads a path behind a flag.
    ///
    /// # Errors
    /// As [`Value::from_node`].
    fn from_path(path: &Path) -> Result<Self, Fault> {
        Self::from_text(&path.to_string_lossy())
    }
}

/// How a value looks on a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A text.
    Text,
    /// A text that may begin with a minus.
    Number,
    /// The name of a file, in the system's own characters.
    Path,
    /// Nothing: the flag alone says it.
    Switch,
}

/// The value of a setting, wherever it was written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Input<'a> {
    /// In a config file.
    Node(&'a Node),
    /// In a variable, or in the table.
    Text(&'a str),
    /// Behind a flag.
    Argument(&'a str),
    /// Behind a flag that takes one element of a list at a time.
    Element(&'a str),
    /// Behind a flag, if it is a path.
    Path(&'a Path),
}

impl Input<'_> {
    /// Reads the value into `slot`.
    pub(super) fn set<T: Value>(self, slot: &mut Option<T>) -> Result<(), Fault> {
        *slot = Some(self.read()?);
        Ok(())
    }

    /// Reads the list and puts it behind `list`.
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

/// `node` is of the wrong type for a `T`; its content is not told.
pub(super) fn wrong_type<T: Value>(node: &Node) -> Fault {
    Fault::from(Problem::Unexpected {
        expected: T::expected(),
        found: node.kind().to_owned(),
    })
}

/// `text` is of the right type and no `T`; not for what may be secret.
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

/// In text a list is JSON or comma-separated; see `is_json_list`. Empty items do not count.
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

/// Whether `text` is meant as a JSON list rather than as a comma-separated one.
///
/// A comma list of globs may begin with `[` too (`[a-z]*`), so text that is no JSON counts as
/// JSON only where a string or the end of the list follows the bracket.
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
