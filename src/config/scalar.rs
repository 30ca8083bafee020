//! Texts that may be written as numbers or booleans, as in `"PORT": 8080`.
//!
//! Reads one value; `entry` decides where such texts are allowed.

use super::error::{Fault, Problem};
use super::json::Node;
use super::value::{Value as _, wrong_type};

/// Returns the text of a string, a whole number or a boolean.
///
/// # Errors
/// Anything else. `1.10` is refused because it would lose its zero, and so is a number that a double
/// cannot represent exactly.
pub(super) fn text_of(node: &Node) -> Result<String, Fault> {
    match node {
        Node::Text(text) => Ok(text.clone()),
        Node::Bool(value) => Ok(value.to_string()),
        Node::Number(number) if number.fract() == 0.0 && number.abs() < EXACT => {
            Ok(format!("{number:.0}"))
        }
        Node::Number(_) => Err(Fault::from(Problem::Unexpected {
            expected: String::expected(),
            found: "a number that is not whole or very large; put it in quotes".to_owned(),
        })),
        Node::Null | Node::Array(_) | Node::Object(_) => Err(wrong_type::<String>(node)),
    }
}

/// Returns the texts of an array, or the one text of a string without white space.
///
/// # Errors
/// Anything else, with the place.
pub(super) fn texts_of(node: &Node) -> Result<Vec<String>, Fault> {
    let elements = match node {
        Node::Array(elements) => elements,
        Node::Text(text) if text.is_empty() => return Ok(Vec::new()),
        Node::Text(text) if !text.contains(char::is_whitespace) => return Ok(vec![text.clone()]),
        Node::Text(_) => {
            return Err(Fault::from(Problem::Unexpected {
                expected: "a list with each argument on its own, as in `[\"-y\", \"server\"]`"
                    .to_owned(),
                found: "a string with spaces".to_owned(),
            }));
        }
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::Object(_) => {
            return Err(wrong_type::<Vec<String>>(node));
        }
    };
    let read = |(index, element): (usize, &Node)| {
        text_of(element).map_err(|fault| fault.under(index.to_string()))
    };
    elements.iter().enumerate().map(read).collect()
}

/// 2^53: below it, doubles represent every whole number exactly.
const EXACT: f64 = 9_007_199_254_740_992.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(json: &str) -> Result<Vec<String>, String> {
        texts_of(&serde_json::from_str(json).unwrap()).map_err(|fault| fault.to_string())
    }

    #[test]
    fn whole_numbers_and_booleans_are_texts() {
        let found = texts(r#"["a", 8080, -1, 0, 2e3, true, false]"#).unwrap();
        assert_eq!(found, ["a", "8080", "-1", "0", "2000", "true", "false"]);
        for json in ["[1.10]", "[9007199254740993]", "[1e300]"] {
            let message = texts(json).unwrap_err();
            assert!(
                message.starts_with("/0: expected a string") && message.contains("quotes"),
                "{message}"
            );
        }
        for json in ["[null]", "[[]]", "[{}]", "7", "{}", "null"] {
            assert!(texts(json).is_err(), "{json}");
        }
    }

    #[test]
    fn one_argument_may_be_written_without_a_list() {
        assert_eq!(texts(r#""server.py""#).unwrap(), ["server.py"]);
        assert!(texts(r#""""#).unwrap().is_empty());
        let message = texts(r#""s3cret -y""#).unwrap_err();
        assert!(
            message.contains("each argument on its own") && !message.contains("s3cret"),
            "{message}"
        );
    }
}
