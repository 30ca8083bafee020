//! The positions of a tree's values in its text, to rebuild the tree without parsing it again.

use super::{Text, Value};

/// A tree without its text. It takes 12 bytes per value and per key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// Each value comes before the values inside it, and each key before its value.
    nodes: Box<[Node]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Null,
    Bool(bool),
    Number(Span),
    String(Span, Escapes),
    /// The number of items.
    Array(u32),
    /// The number of members.
    Object(u32),
}

/// The bytes of the text from `start` to `end` (exclusive).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

/// What a [`Text`] knows about its escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escapes {
    None,
    Some,
    LoneSurrogate,
}

impl Outline {
    /// Makes the outline of an object that was read from `text`.
    ///
    /// `None` if one of its strings or numbers is not a slice of `text`, or if `text` is longer than 4 GiB.
    #[must_use]
    pub fn of_members(members: &[(Text<'_>, Value<'_>)], text: &str) -> Option<Outline> {
        let mut nodes = Vec::with_capacity(1 + count_members(members));
        add_members(members, text, &mut nodes)?;
        Some(Outline {
            nodes: nodes.into_boxed_slice(),
        })
    }

    /// Rebuilds the object. `text` must be the text that it was read from, or an equal one.
    #[must_use]
    pub fn members<'a>(&self, text: &'a str) -> Vec<(Text<'a>, Value<'a>)> {
        match value(&mut self.nodes.iter(), text) {
            Value::Object(members) => members,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Vec::new(),
        }
    }

    /// Returns its size in memory, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.nodes)
    }
}

/// Counts the nodes that the members of an object take.
fn count_members(members: &[(Text<'_>, Value<'_>)]) -> usize {
    let counts = members.iter().map(|(_, value)| 1 + count(value));
    counts.sum()
}

fn count(value: &Value<'_>) -> usize {
    1 + match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => count_members(members),
    }
}

fn add_members(members: &[(Text<'_>, Value<'_>)], text: &str, nodes: &mut Vec<Node>) -> Option<()> {
    nodes.push(Node::Object(u32::try_from(members.len()).ok()?));
    for (key, value) in members {
        nodes.push(string(*key, text)?);
        add(value, text, nodes)?;
    }
    Some(())
}

fn add(value: &Value<'_>, text: &str, nodes: &mut Vec<Node>) -> Option<()> {
    match value {
        Value::Null => nodes.push(Node::Null),
        Value::Bool(value) => nodes.push(Node::Bool(*value)),
        Value::Number(token) => nodes.push(Node::Number(span(token, text)?)),
        Value::String(string_text) => nodes.push(string(*string_text, text)?),
        Value::Array(items) => {
            nodes.push(Node::Array(u32::try_from(items.len()).ok()?));
            for item in items {
                add(item, text, nodes)?;
            }
        }
        Value::Object(members) => add_members(members, text, nodes)?,
    }
    Some(())
}

fn string(string: Text<'_>, text: &str) -> Option<Node> {
    let escapes = match (string.escaped, string.lone_surrogate) {
        (_, true) => Escapes::LoneSurrogate,
        (true, false) => Escapes::Some,
        (false, false) => Escapes::None,
    };
    Some(Node::String(span(string.raw, text)?, escapes))
}

/// Finds the position of `part`, a slice of `text`.
fn span(part: &str, text: &str) -> Option<Span> {
    let start = part.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    let is_inside = text
        .get(start..end)
        .is_some_and(|found| std::ptr::eq(found, part));
    is_inside.then_some(Span {
        start: u32::try_from(start).ok()?,
        end: u32::try_from(end).ok()?,
    })
}

/// Rebuilds the next value. The nodes of one outline always make a complete tree, since they come from one.
fn value<'a>(nodes: &mut std::slice::Iter<'_, Node>, text: &'a str) -> Value<'a> {
    match nodes.next().copied().unwrap_or(Node::Null) {
        Node::Null => Value::Null,
        Node::Bool(value) => Value::Bool(value),
        Node::Number(span) => Value::Number(span.of(text)),
        Node::String(span, escapes) => Value::String(text_of(span, escapes, text)),
        Node::Array(count) => Value::Array((0..count).map(|_| value(nodes, text)).collect()),
        Node::Object(count) => {
            let member = |_| {
                let key = match nodes.next() {
                    Some(Node::String(span, escapes)) => text_of(*span, *escapes, text),
                    _ => text_of(Span { start: 0, end: 0 }, Escapes::None, text),
                };
                (key, value(nodes, text))
            };
            Value::Object((0..count).map(member).collect())
        }
    }
}

fn text_of(span: Span, escapes: Escapes, text: &str) -> Text<'_> {
    Text {
        raw: span.of(text),
        escaped: escapes != Escapes::None,
        lone_surrogate: escapes == Escapes::LoneSurrogate,
    }
}

impl Span {
    fn of(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(text: &str) -> Vec<(Text<'_>, Value<'_>)> {
        let Value::Object(members) = Value::parse(text).unwrap() else {
            panic!("no object: {text}")
        };
        members
    }

    fn json(depth: u32) -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            Just("-0.10e+2".to_owned()),
            "[a-z\u{e9}\u{1f600} ]{0,6}".prop_map(|text| format!("\"{text}\"")),
            Just(r#""a\n\u00e9\ud83d\ude00""#.to_owned()),
        ];
        leaf.prop_recursive(depth, 64, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5)
                    .prop_map(|items| format!("[ {} ]", items.join(" , "))),
                prop::collection::vec(inner, 0..5).prop_map(|items| object(&items)),
            ]
        })
    }

    fn object(items: &[String]) -> String {
        let members = items.iter().enumerate();
        let members = members.map(|(at, item)| format!("\"k\\u00e9{at}\" :{item}"));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    }

    proptest! {
        #[test]
        fn a_tree_comes_back_as_it_was(items in prop::collection::vec(json(4), 0..6)) {
            let text = format!(r#"{{"params":{},"id":1}}"#, object(&items));
            let whole = Value::parse(&text).unwrap();
            let Some(Value::Object(params)) = whole.get("params") else {
                panic!("{text}")
            };
            let outline = Outline::of_members(params, &text).unwrap();
            // The tree does not depend on the memory that it was read from.
            let copy = text.clone();
            prop_assert_eq!(&outline.members(&copy), params);
        }
    }

    #[test]
    fn a_tree_of_another_text_has_no_outline() {
        let text = r#"{"a":["b",1]}"#.to_owned();
        let other = text.clone();
        assert!(Outline::of_members(&members(&text), &other).is_none());
        assert!(Outline::of_members(&members(&text), &text).is_some());
    }

    #[test]
    fn an_outline_on_a_text_that_is_not_its_own_is_no_panic() {
        let text = r#"{"ключ":["значение",1,{"x":null}]}"#;
        let outline = Outline::of_members(&members(text), text).unwrap();
        for other in ["", "{}", "ééééééééééééééééé"] {
            let _ = outline.members(other);
        }
    }
}
