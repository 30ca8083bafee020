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
            let members = members(text, table);
            let layout = match table.is_dotted() {
                true => Layout::Dotted(places_of_key(text, &members)),
                false => Layout::Table,
            };
            let value = Value::Map(members);
            (Node { value, at }, layout)
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

/// The places of the key above these members: each of their lines writes it in front of theirs.
fn places_of_key(text: &str, members: &[Member]) -> Vec<Range<usize>> {
    let mut places = Vec::new();
    for member in members {
        let own: &[Range<usize>] = match &member.layout {
            Layout::Dotted(own) => own,
            Layout::Braces | Layout::Line | Layout::Table => std::slice::from_ref(&member.key_at),
        };
        let above = own.iter().filter_map(|key| key_in_front(text, key.start));
        places.extend(above);
    }
    places.sort_by_key(|place| place.start);
    places
}

/// The place of the key in front of the dot that stands in front of the key at `at`.
fn key_in_front(text: &str, at: usize) -> Option<Range<usize>> {
    let blanks = [' ', '\t'];
    let before = text.get(..at)?.trim_end_matches(blanks);
    let before = before.strip_suffix('.')?.trim_end_matches(blanks);
    let end = before.len();
    let quote = before
        .chars()
        .next_back()
        .filter(|c| matches!(c, '"' | '\''));
    let start = match quote {
        Some(quote) => opening(before, quote)?,
        None => {
            let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            before.trim_end_matches(is_bare).len()
        }
    };
    (start < end).then_some(start..end)
}

/// The place of the quote that opens the key at the end of a text.
fn opening(text: &str, quote: char) -> Option<usize> {
    let mut rest = text.strip_suffix(quote)?;
    loop {
        let at = rest.rfind(quote)?;
        rest = rest.get(..at)?;
        let slashes = rest.len() - rest.trim_end_matches('\\').len();
        // `\"` does not end a key in double quotes.
        if quote == '\'' || slashes % 2 == 0 {
            return Some(at);
        }
    }
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

/// The members of an inline table. Dotted keys in it are not told apart: they are one value of an unknown kind.
fn inline_members(table: &InlineTable) -> Vec<Member> {
    let keys = table.iter().filter_map(|(name, value)| {
        let (key, _) = table.get_key_value(name)?;
        let key_at = key.span().unwrap_or_default();
        let mut node = of_value(value);
        if let toml_edit::Value::InlineTable(table) = value
            && table.is_dotted()
        {
            // It has no braces: it is where its members are.
            let ends = node.members().iter().map(|member| member.node.at.end);
            let end = ends.max().unwrap_or(key_at.end);
            node = Node {
                at: key_at.start..end,
                value: Value::Other,
            };
        }
        Some(Member {
            key: key.get().to_owned(),
            key_at,
            node,
            layout: Layout::Braces,
        })
    });
    in_order(keys.collect())
}

fn in_order(mut members: Vec<Member>) -> Vec<Member> {
    members.sort_by_key(|member| member.at().start);
    members
}

/// The comments in a part of the text, each without the blanks around it.
pub(super) fn comments(part: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = part;
    while let Some(at) = rest.find(['"', '\'', '#']) {
        rest = rest.get(at..).unwrap_or_default();
        let quotes = ["\"\"\"", "'''", "\"", "'"];
        let Some(quote) = quotes.into_iter().find(|quote| rest.starts_with(quote)) else {
            let line = rest.lines().next().unwrap_or_default();
            found.push(line.trim_end());
            rest = rest.get(line.len()..).unwrap_or_default();
            continue;
        };
        rest = rest.get(quote.len()..).unwrap_or_default();
        // Up to the quote that closes it.
        while !rest.is_empty() && !rest.starts_with(quote) {
            let escapes = quote.starts_with('"') && rest.starts_with('\\');
            let mut chars = rest.chars();
            chars.nth(usize::from(escapes));
            rest = chars.as_str();
        }
        rest = rest.get(quote.len()..).unwrap_or_default();
    }
    found
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
