//! A JSON document as a tree that keeps the order and the duplicates of keys.
//!
//! `file` and `section` interpret it.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::error::{Fault, Problem};

/// A JSON value. Numbers are doubles, because all our numbers are far below 2^53.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Any number.
    Number(f64),
    /// A string, unescaped.
    Text(String),
    /// An array.
    Array(Vec<Node>),
    /// An object.
    Object(Object),
}

impl Node {
    /// Returns the object, if it is one.
    pub(super) fn as_object(&self) -> Option<&Object> {
        match self {
            Node::Object(object) => Some(object),
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Array(_) => None,
        }
    }

    /// Names the value's type for an error. Never its content, which may be secret.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Node::Null => "null",
            Node::Bool(_) => "a boolean",
            Node::Number(_) => "a number",
            Node::Text(_) => "a string",
            Node::Array(_) => "an array",
            Node::Object(_) => "an object",
        }
    }
}

/// Returns `text` as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The members of a JSON object, as they were written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Object(Vec<(String, Node)>);

impl Object {
    /// Returns the members in the order of the file.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(key, node)| (key.as_str(), node))
    }

    /// Returns the members. A duplicate key is an error.
    pub(super) fn strict_members(&self) -> Result<impl Iterator<Item = (&str, &Node)>, Fault> {
        let mut seen = HashSet::new();
        match self.0.iter().find(|(key, _)| !seen.insert(key)) {
            Some((key, _)) => Err(duplicate(key)),
            None => Ok(self.members()),
        }
    }

    /// Returns the member `key`; `None` if it is missing or null.
    ///
    /// # Errors
    /// A duplicate key, because its value would be ambiguous.
    pub(super) fn get(&self, key: &str) -> Result<Option<&Node>, Fault> {
        let mut found = self.0.iter().filter(|(name, _)| name == key);
        let first = found.next().map(|(_, node)| node);
        match found.next() {
            Some(_) => Err(duplicate(key)),
            None => Ok(first.filter(|node| !matches!(node, Node::Null))),
        }
    }

    /// Returns the members that are not `omitted`.
    pub(super) fn without(&self, omitted: impl Fn(&Node) -> bool) -> Object {
        let members = self.0.iter().filter(|(_, node)| !omitted(node));
        Object(members.cloned().collect())
    }

    /// Returns true if there is a member `key`, even if it is null.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(name, _)| name == key)
    }
}

fn duplicate(key: &str) -> Fault {
    Fault::from(Problem::DuplicateKey).under(key)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            elements.push(element);
        }
        Ok(Node::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Node::Object(Object(members)))
    }
}

#[cfg(test)]
mod tests;
