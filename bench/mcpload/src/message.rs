//! The messages that are sent, and the parts of answers that are read.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

pub(crate) const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

pub(crate) fn initialize(protocol: &str) -> String {
    let params = json!({
        "protocolVersion": protocol,
        "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "mcpload", "version": env!("CARGO_PKG_VERSION")},
    });
    format!(r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{params}}}"#)
}

/// The part of every call after the id.
pub(crate) fn call_tail(tool: &str, arg_bytes: usize, result_bytes: usize) -> String {
    let arguments = json!({"size": result_bytes, "pad": "p".repeat(arg_bytes)});
    let params = json!({"name": tool, "arguments": arguments});
    format!(r#","method":"tools/call","params":{params}}}"#)
}

/// Any message, parsed only as far as this program needs.
#[derive(Deserialize)]
pub(crate) struct Message<'a> {
    #[serde(borrow)]
    pub(crate) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) params: Option<&'a RawValue>,
    pub(crate) result: Option<CallResult>,
    #[serde(borrow)]
    pub(crate) error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(crate) struct CallResult {
    #[serde(default, rename = "isError")]
    pub(crate) is_error: bool,
}

impl Message<'_> {
    pub(crate) fn numeric_id(&self) -> Option<usize> {
        self.id?.get().parse().ok()
    }

    /// Returns the answer to a request from the server, or `None` if this is not one. Counts
    /// elicitations.
    pub(crate) fn reply(&self, elicitations: &mut u64) -> Option<String> {
        let (id, method) = (self.id?.get(), self.method.as_deref()?);
        let (member, value) = match method {
            "elicitation/create" => {
                *elicitations += 1;
                ("result", self.acceptance())
            }
            "ping" => ("result", json!({})),
            _ => (
                "error",
                json!({"code": -32601, "message": "method not found"}),
            ),
        };
        Some(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"{member}":{value}}}"#
        ))
    }

    /// Returns a yes to an elicitation, with every field of the form filled in.
    fn acceptance(&self) -> Value {
        let params: Value = self
            .params
            .and_then(|params| serde_json::from_str(params.get()).ok())
            .unwrap_or_default();
        let fields = params["requestedSchema"]["properties"].as_object();
        let content: Value = fields
            .into_iter()
            .flatten()
            .map(|(name, field)| (name.clone(), filled_in(field)))
            .collect();
        json!({"action": "accept", "content": content})
    }
}

/// Returns true for a boolean, the first choice of an enum, and a word for anything else. Approval
/// forms need no more.
fn filled_in(field: &Value) -> Value {
    match (field["type"].as_str(), &field["enum"][0]) {
        (Some("boolean"), _) => true.into(),
        (_, Value::String(choice)) => choice.clone().into(),
        _ => "yes".into(),
    }
}
