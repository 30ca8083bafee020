//! Reads JSON with comments and trailing commas.

use jsonc_parser::ast;
use jsonc_parser::common::Ranged as _;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::{Layout, Member, Node, SyntaxError, Value, position, require_unique};

/// Reads a text.
///
/// # Errors
/// A text that is not JSON, or has a key twice in one object of servers.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let parsed = parse_to_ast(text, &CollectOptions::default(), &DIALECT).map_err(|error| {
        let (line, column) = position(text, error.range().start);
        SyntaxError::Invalid {
            language: "JSON",
            what: error.kind().to_string().to_lowercase(),
            line,
            column,
        }
    })?;
    node(text, parsed.value.ok_or(SyntaxError::Empty)?)
}

/// The comments in a part of a text that begins outside of a string.
pub(super) fn comments(part: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = part;
    while let Some(at) = rest.find(['"', '/']) {
        rest = rest.get(at..).unwrap_or_default();
        let length = match rest.get(..2) {
            Some("//") => rest.lines().next().unwrap_or_default().len(),
            Some("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            _ if rest.starts_with('"') => {
                rest = behind_string(rest);
                continue;
            }
            _ => 1,
        };
        let comment = rest.get(..length).unwrap_or_default();
        found.extend((length > 1).then(|| comment.trim_end()));
        rest = rest.get(length..).unwrap_or_default();
    }
    found
}

/// Returns what follows the string that a text begins with.
fn behind_string(text: &str) -> &str {
    let mut chars = text.chars();
    chars.next();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '"' => break,
            _ => {}
        }
    }
    chars.as_str()
}

/// What clients read: comments and trailing commas, and nothing else beyond JSON.
const DIALECT: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_loose_object_property_names: false,
    allow_trailing_commas: true,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

fn node(text: &str, value: ast::Value<'_>) -> Result<Node, SyntaxError> {
    let range = value.range();
    let value = match value {
        ast::Value::StringLit(literal) => Value::Text(literal.value.into_owned()),
        ast::Value::NumberLit(_) => Value::Other,
        ast::Value::BooleanLit(literal) => Value::Bool(literal.value),
        ast::Value::NullKeyword(_) => Value::Null,
        ast::Value::Array(array) => {
            let elements = array.elements.into_iter().map(|value| node(text, value));
            Value::List(elements.collect::<Result<_, _>>()?)
        }
        ast::Value::Object(object) => {
            let members = object
                .properties
                .into_iter()
                .map(|property| member(text, property));
            let members = members.collect::<Result<Vec<_>, _>>()?;
            require_unique(text, &members)?;
            Value::Map(members)
        }
    };
    Ok(Node {
        value,
        at: range.start..range.end,
    })
}

fn member(text: &str, property: ast::ObjectProp<'_>) -> Result<Member, SyntaxError> {
    let key_at = property.name.range();
    Ok(Member {
        key: property.name.into_string(),
        key_at: key_at.start..key_at.end,
        node: node(text, property.value)?,
        layout: Layout::Braces,
    })
}
