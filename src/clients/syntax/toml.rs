//! Reads TOML.

use std::ops::Range;

use toml_edit::{Document, InlineTable, Item, Key, Table};

use super::{Layout, Member, Node, SyntaxError, Value, line_end, line_start, position};

/// Reads a text.
///
/// # Errors
/// A text that is not TOML.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let document = Document::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let (line, column) = position(text, at);
        let what = error.message().lines().collect::<Vec<_>>().join(", ");
        SyntaxError::Invalid {
            language: "TOML",
            what,
            line,
            column,
        }
    })?;
    Ok(Node {
        value: Value::Map(members(text, document.as_table())),
        at: 0..text.len(),
    })
}

/// The members of a table, in the order of the text.
fn members(text: &str, table: &Table) -> Vec<Member> {
    let keys = table.iter().filter_map(|(name, item)| {
        let (key, _) = table.get_key_value(name)?;
        member(text, key, item)
    });
    in_order(keys.collect())
}

fn member(text: &str, key: &Key, item: &Item) -> Option<Member> {
    let key_at = key.span().unwrap_or_default();
    let (node, layout) = match item {
        Item::None => return None,
        Item::Value(value) => (of_value(value), Layout::Line),
        Item::Table(table) => {
            let at = extent(text, table);
            let value = Value::Map(members(text, table));
            (Node { value, at }, Layout::Table)
        }
        // No client lists servers in an array of tables.
        Item::ArrayOfTables(_) => {
            let at = item.span().unwrap_or_default();
            let value = Value::Other;
            (Node { value, at }, Layout::Table)
        }
    };
    Some(Member {
        key: key.get().to_owned(),
        key_at,
        node,
        layout,
    })
}

fn of_value(value: &toml_edit::Value) -> Node {
    let at = value.span().unwrap_or_default();
    let value = match value {
        toml_edit::Value::String(text) => Value::Text(text.value().clone()),
        toml_edit::Value::Boolean(value) => Value::Bool(*value.value()),
        toml_edit::Value::Array(array) => Value::List(array.iter().map(of_value).collect()),
        toml_edit::Value::InlineTable(table) => Value::Map(inline_members(table)),
        toml_edit::Value::Integer(_)
        | toml_edit::Value::Float(_)
        | toml_edit::Value::Datetime(_) => Value::Other,
    };
    Node { value, at }
}

fn inline_members(table: &InlineTable) -> Vec<Member> {
    let keys = table.iter().filter_map(|(name, value)| {
        let (key, _) = table.get_key_value(name)?;
        Some(Member {
            key: key.get().to_owned(),
            key_at: key.span().unwrap_or_default(),
            node: of_value(value),
            layout: Layout::Braces,
        })
    });
    in_order(keys.collect())
}

fn in_order(mut members: Vec<Member>) -> Vec<Member> {
    members.sort_by_key(|member| member.at().start);
    members
}

/// The lines of a table and of the tables in it: from the first header or key to the end of the last line.
fn extent(text: &str, table: &Table) -> Range<usize> {
    let mut places = Vec::new();
    collect(table, &mut places);
    let start = places.iter().map(|place| place.start).min();
    let end = places.iter().map(|place| place.end).max();
    let start = line_start(text, start.unwrap_or_default());
    start..line_end(text, end.unwrap_or_default())
}

fn collect(table: &Table, places: &mut Vec<Range<usize>>) {
    // The root and tables without a header of their own have an empty place.
    places.extend(table.span().filter(|span| !span.is_empty()));
    for (name, item) in table {
        match item {
            Item::None => {}
            Item::Value(value) => {
                places.extend(table.key(name).and_then(Key::span));
                places.extend(value.span());
            }
            Item::Table(inner) => collect(inner, places),
            Item::ArrayOfTables(tables) => tables.iter().for_each(|inner| collect(inner, places)),
        }
    }
}
