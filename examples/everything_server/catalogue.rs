//! How a tool is listed, and helpers to build its answers. It runs no tool.

use rmcp::ErrorData;
use rmcp::model::{CallToolResult, ContentBlock, JsonObject, Tool};
use serde_json::{Value, json};

/// A tool as `tools/list` shows it.
#[derive(Clone, Copy)]
pub(crate) struct Listed {
    /// The name that the suite calls.
    pub(crate) name: &'static str,
    description: &'static str,
    /// A function, because JSON cannot be built at compile time.
    schema: fn() -> Value,
}

impl Listed {
    /// A tool without arguments.
    pub(crate) const fn plain(name: &'static str, description: &'static str) -> Self {
        Self::taking(name, description, no_arguments)
    }

    /// A tool whose arguments `schema` describes.
    pub(crate) const fn taking(
        name: &'static str,
        description: &'static str,
        schema: fn() -> Value,
    ) -> Self {
        Self {
            name,
            description,
            schema,
        }
    }

    /// Converts the tool to the protocol's type.
    pub(crate) fn to_tool(self) -> Tool {
        Tool::new(self.name, self.description, object((self.schema)()))
    }
}

/// Returns a result with a single text.
pub(crate) fn text(text: impl Into<String>) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

/// Returns a result that reports a failure of the tool.
pub(crate) fn failure(text: impl Into<String>) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(text)])
}

/// Returns the text at `pointer` in `value`, or `fallback`.
pub(crate) fn text_at<'a>(value: &'a Value, pointer: &str, fallback: &'a str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or(fallback)
}

/// Returns the arguments of a call as a value for [`text_at`].
pub(crate) fn arguments(arguments: Option<JsonObject>) -> Value {
    Value::Object(arguments.unwrap_or_default())
}

/// Converts an internal error. The client cannot do anything about it.
pub(crate) fn internal(error: impl std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

fn object(value: Value) -> JsonObject {
    value.as_object().cloned().unwrap_or_default()
}

fn no_arguments() -> Value {
    json!({ "type": "object", "properties": {} })
}
