//! `customAnnotations`: an operator's own hints about tools.
//!
//! `policy` combines them with the hints of the server.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::error::{Fault, Problem, names};
use super::json::Node;
use super::nearest::nearest;
use super::value::{Input, Value, wrong_type};
use crate::mcp::ToolAnnotations;
use crate::policy::{Mode, Policy, Rules};

/// Hints by tool name, checked by `policy`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Annotations(BTreeMap<String, ToolAnnotations>);

impl Annotations {
    /// Returns the hints by tool name.
    #[must_use]
    pub fn into_map(self) -> BTreeMap<String, ToolAnnotations> {
        self.0
    }

    fn checked(map: BTreeMap<String, ToolAnnotations>) -> Result<Annotations, Fault> {
        let alone = Rules {
            mode: Mode::None,
            allow: Vec::new(),
            deny: Vec::new(),
            custom_annotations: map.clone(),
        };
        match Policy::new(alone) {
            Ok(_) => Ok(Annotations(map)),
            Err(error) => Err(Problem::Rule(error).into()),
        }
    }
}

impl Value for Annotations {
    fn expected() -> String {
        BTreeMap::<String, ToolAnnotations>::expected()
    }

    fn schema() -> Json {
        BTreeMap::<String, ToolAnnotations>::schema()
    }

    fn from_node(node: &Node) -> Result<Annotations, Fault> {
        Annotations::checked(BTreeMap::from_node(node)?)
    }

    fn from_text(text: &str) -> Result<Annotations, Fault> {
        Annotations::checked(BTreeMap::from_text(text)?)
    }
}

impl Value for ToolAnnotations {
    fn expected() -> String {
        format!("an object of {}", names(&HINTS))
    }

    fn schema() -> Json {
        let schema_of = |hint| match hint {
            "title" => String::schema(),
            _ => bool::schema(),
        };
        let hints: BTreeMap<&str, Json> = HINTS.map(|hint| (hint, schema_of(hint))).into();
        json!({"type": "object", "properties": hints, "additionalProperties": false})
    }

    fn from_node(node: &Node) -> Result<ToolAnnotations, Fault> {
        let Node::Object(object) = node else {
            return Err(wrong_type::<ToolAnnotations>(node));
        };
        let mut hints = ToolAnnotations::new();
        for (key, node) in object.strict_members()? {
            let value = Input::Node(node);
            let read = match key {
                "readOnlyHint" => value.set(&mut hints.read_only_hint),
                "destructiveHint" => value.set(&mut hints.destructive_hint),
                "idempotentHint" => value.set(&mut hints.idempotent_hint),
                "openWorldHint" => value.set(&mut hints.open_world_hint),
                "title" => value.set(&mut hints.title),
                _ => Err(unknown(key)),
            };
            read.map_err(|fault| fault.under(key))?;
        }
        Ok(hints)
    }

    fn from_text(text: &str) -> Result<ToolAnnotations, Fault> {
        let node = serde_json::from_str(text);
        let node = node.map_err(|error| Problem::NotJson(error.to_string()))?;
        ToolAnnotations::from_node(&node)
    }
}

fn unknown(key: &str) -> Fault {
    let nearest = nearest(key, HINTS).unwrap_or_default();
    Fault::from(Problem::UnknownKey { nearest })
}

const HINTS: [&str; 5] = [
    "readOnlyHint",
    "destructiveHint",
    "idempotentHint",
    "openWorldHint",
    "title",
];

#[cfg(test)]
mod tests;
