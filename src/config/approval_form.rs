//! A form that people fill in to approve: `approvalForm`.
//!
//! `approval::form` says what a form is.

use serde_json::{Value as Json, json};

use super::engines::plain_json;
use super::error::{Fault, Problem};
use super::json::Node;
use super::value::{Value, wrong_type};
use crate::approval::form::{Form, MAX_FIELDS};

/// A form, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalForm(Json);

impl ApprovalForm {
    /// Returns the schema.
    #[must_use]
    pub fn into_json(self) -> Json {
        self.0
    }
}

impl Value for ApprovalForm {
    fn expected() -> String {
        "a flat JSON Schema, as elicitation has it".to_owned()
    }

    fn schema() -> Json {
        json!({
            "type": "object",
            "properties": {
                "type": {"const": "object"},
                "properties": {
                    "type": "object",
                    "minProperties": 1,
                    "maxProperties": MAX_FIELDS,
                    "additionalProperties": {
                        "type": "object",
                        "properties": {"type": {"enum": ["string", "number", "integer", "boolean", "array"]}},
                        "required": ["type"],
                    },
                },
                "required": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["type", "properties"],
        })
    }

    fn from_node(node: &Node) -> Result<ApprovalForm, Fault> {
        let Node::Object(_) = node else {
            return Err(wrong_type::<ApprovalForm>(node));
        };
        let form = plain_json(node);
        match Form::read(&form) {
            Ok(_) => Ok(ApprovalForm(form)),
            Err(bad) => Err(Problem::Form(bad).into()),
        }
    }

    fn from_text(text: &str) -> Result<ApprovalForm, Fault> {
        let node = serde_json::from_str(text);
        let node = node.map_err(|error| Problem::NotJson(error.to_string()))?;
        ApprovalForm::from_node(&node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_checked_when_it_is_read() {
        let form = r#"{"type":"object","properties":{"po":{"type":"string","minLength":3}}}"#;
        let read = ApprovalForm::from_text(form).unwrap().into_json();
        assert_eq!(
            read,
            serde_json::from_str::<Json>(form)
                .map(|mut it| {
                    it["properties"]["po"]["minLength"] = 3.0.into();
                    it
                })
                .unwrap()
        );
        for (text, place) in [
            (
                r#"{"type":"object","properties":{"po":{"type":"object"}}}"#,
                "`/properties/po/type`",
            ),
            (r#"[]"#, "flat JSON Schema"),
            ("{", "JSON"),
        ] {
            let error = ApprovalForm::from_text(text).unwrap_err().to_string();
            assert!(error.contains(place), "{error}");
        }
    }
}
