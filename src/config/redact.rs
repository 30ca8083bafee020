//! `auditRedact`: an operator's additions to the secrets that are kept out of the audit log.
//!
//! `evidence::redact` does the redaction.

use regex::{Regex, RegexBuilder};
use serde_json::{Value as Json, json};

use super::error::{Fault, Problem};
use super::json::Node;
use super::nearest::nearest;
use super::setting::Field;
use super::value::{Input, Value, wrong_text, wrong_type};
use crate::evidence::redact::Redaction;

/// Names and patterns of secrets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AuditRedact {
    names: Vec<SecretName>,
    patterns: Vec<SecretPattern>,
}

/// All sources add up, so that a stronger source cannot expose a weaker source's secrets.
impl Field for AuditRedact {
    type Value = AuditRedact;
    const ADDS_UP: bool = true;

    fn read(input: Input<'_>) -> Result<AuditRedact, Fault> {
        input.read()
    }

    fn over(mut self, weaker: AuditRedact) -> AuditRedact {
        self.names.extend(weaker.names);
        self.patterns.extend(weaker.patterns);
        self
    }
}

impl AuditRedact {
    /// Returns the redaction with these additions.
    #[must_use]
    pub fn into_redaction(self) -> Redaction {
        let names = self.names.into_iter().map(|name| name.0);
        let patterns = self.patterns.into_iter().map(|pattern| pattern.0);
        Redaction::with(names.collect(), patterns.collect())
    }
}

impl Value for AuditRedact {
    fn expected() -> String {
        "an object of `names` and `patterns`, each a list".to_owned()
    }

    fn schema() -> Json {
        let list =
            json!({"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": MOST});
        json!({
            "type": "object",
            "properties": {"names": list, "patterns": list},
            "additionalProperties": false,
        })
    }

    fn from_node(node: &Node) -> Result<AuditRedact, Fault> {
        let Node::Object(object) = node else {
            return Err(wrong_type::<AuditRedact>(node));
        };
        let mut redact = AuditRedact::default();
        for (key, node) in object.strict_members()? {
            let value = Input::Node(node);
            let read = match key {
                "names" => value.append(&mut redact.names),
                "patterns" => value.append(&mut redact.patterns),
                _ => Err(unknown(key)),
            };
            let count = redact.names.len().max(redact.patterns.len());
            let checked = read.and_then(|()| match count <= MOST {
                true => Ok(()),
                false => Err(too_many(count)),
            });
            checked.map_err(|fault| fault.under(key))?;
        }
        Ok(redact)
    }

    fn from_text(text: &str) -> Result<AuditRedact, Fault> {
        let node = serde_json::from_str(text);
        let node = node.map_err(|error| Problem::NotJson(error.to_string()))?;
        AuditRedact::from_node(&node)
    }
}

/// A name whose values are secret: at least one letter or digit, at most 64 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SecretName(String);

impl Value for SecretName {
    fn expected() -> String {
        format!("a name with letters or digits, at most {LONGEST_NAME} bytes")
    }

    fn from_text(text: &str) -> Result<SecretName, Fault> {
        let text = text.trim();
        let is_name = text.len() <= LONGEST_NAME && text.chars().any(char::is_alphanumeric);
        match is_name {
            true => Ok(SecretName(text.to_owned())),
            false => Err(wrong_text::<SecretName>(text)),
        }
    }
}

/// A regular expression of bounded size.
#[derive(Debug, Clone)]
struct SecretPattern(Regex);

impl Value for SecretPattern {
    fn expected() -> String {
        format!("a regular expression of 1 to {LONGEST_PATTERN} bytes")
    }

    fn from_text(text: &str) -> Result<SecretPattern, Fault> {
        if text.is_empty() || text.len() > LONGEST_PATTERN {
            return Err(wrong_text::<SecretPattern>(text));
        }
        let built = RegexBuilder::new(text)
            .size_limit(LARGEST)
            .dfa_size_limit(LARGEST)
            .build();
        built.map(SecretPattern).map_err(|error| {
            // Only the last line is a message; the others draw the place.
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default();
            let reason = reason.strip_prefix("error: ").unwrap_or(reason);
            Fault::from(Problem::NotARegex {
                pattern: text.to_owned(),
                reason: reason.to_owned(),
            })
        })
    }
}

impl PartialEq for SecretPattern {
    fn eq(&self, other: &SecretPattern) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

fn too_many(count: usize) -> Fault {
    Fault::from(Problem::Unexpected {
        expected: format!("a list of at most {MOST}"),
        found: format!("{count}"),
    })
}

fn unknown(key: &str) -> Fault {
    let nearest = nearest(key, ["names", "patterns"]).unwrap_or_default();
    Fault::from(Problem::UnknownKey { nearest })
}

/// The largest number of names, and of patterns. Each string of each call is compared with all of them.
const MOST: usize = 100;
const LONGEST_NAME: usize = 64;
const LONGEST_PATTERN: usize = 1024;
/// The memory limit in bytes of one compiled pattern, and of its cache.
const LARGEST: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        AuditRedact::from_text(text).unwrap_err().to_string()
    }

    #[test]
    fn names_and_patterns_make_a_redaction() {
        let text = r#"{"names":[" employeeId "],"patterns":["\\bEMP-\\d+\\b","(?i)orion"]}"#;
        let redaction = AuditRedact::from_text(text).unwrap().into_redaction();
        assert_eq!(
            redaction.text("EMP-12 of ORION, employee_id: 3"),
            "[redacted] of [redacted], employee_id: [redacted]"
        );
        assert_eq!(
            AuditRedact::from_text("{}").unwrap().into_redaction(),
            Redaction::default()
        );
    }

    #[test]
    fn an_error_names_the_place() {
        assert_eq!(
            error(r#"{"patterns":["a","(b"]}"#),
            "/patterns/1: `(b` is not a regular expression: unclosed group; the syntax is that of \
             the Rust crate `regex`"
        );
        assert!(error(r#"{"patterns":["(?=a)"]}"#).contains("look-around"));
        assert!(error(r#"{"patterns":["(\\w{1000}){1000}"]}"#).contains("size limit"));
        assert!(
            error(r#"{"patterns":[""]}"#).starts_with("/patterns/0: expected a regular expression")
        );
        assert!(error(r#"{"names":["--"]}"#).starts_with("/names/0: expected a name"));
        assert_eq!(
            error(r#"{"name":["a"]}"#),
            "/name: unknown key; did you mean `names`?"
        );
        assert!(error(r#"{"names":"a"}"#).starts_with("/names: expected a list"));
        assert!(error("[]").starts_with("expected an object of `names` and `patterns`"));
        let many = vec![r#""a""#; 101].join(",");
        assert_eq!(
            error(&format!(r#"{{"names":[{many}]}}"#)),
            "/names: expected a list of at most 100, found 101"
        );
    }
}
