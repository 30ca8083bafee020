//! Tools that answer at once, always with the same content.

use rmcp::ErrorData;
use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use serde_json::{Value, json};

use crate::catalogue::{Listed, failure, text, text_at};

/// The first tool takes no arguments, because the suite calls the first tool of the list without
/// any.
pub(crate) const TOOLS: &[Listed] = &[
    Listed::plain("test_simple_text", "Answers with a text."),
    Listed::plain("test_image_content", "Answers with an image."),
    Listed::plain("test_audio_content", "Answers with a sound."),
    Listed::plain("test_embedded_resource", "Answers with a resource."),
    Listed::plain(
        "test_multiple_content_types",
        "Answers with a text, an image and a resource.",
    ),
    Listed::plain("test_error_handling", "Fails, always."),
    Listed::taking(
        "json_schema_2020_12_tool",
        "Has a schema with what JSON Schema 2020-12 offers.",
        rich_schema,
    ),
    Listed::taking(
        "test_custom_header",
        "Takes an argument that clients repeat in an HTTP header.",
        header_schema,
    ),
];

/// An image of one pixel.
pub(crate) const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mNQSFgAAAHEASFcollRAAAAAElFTkSuQmCC";
/// A millisecond of silence.
const WAV: &str = "UklGRiwAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQgAAACAgICAgICAgA==";

/// Runs one of [`TOOLS`].
pub(crate) fn call(name: &str, arguments: &Value) -> Result<CallToolResult, ErrorData> {
    Ok(match name {
        "test_simple_text" => text("This is a simple text response for testing."),
        "test_image_content" => {
            CallToolResult::success(vec![ContentBlock::image(PNG, "image/png")])
        }
        "test_audio_content" => {
            CallToolResult::success(vec![ContentBlock::audio(WAV, "audio/wav")])
        }
        "test_embedded_resource" => {
            CallToolResult::success(vec![ContentBlock::resource(ResourceContents::text(
                "This is an embedded resource content.",
                "test://embedded-resource",
            ))])
        }
        "test_multiple_content_types" => mixed(),
        "test_error_handling" => failure("This tool intentionally returns an error for testing"),
        "json_schema_2020_12_tool" => text(format!("Read: {arguments}")),
        "test_custom_header" => text(text_at(arguments, "/value", "no value")),
        _ => return Err(ErrorData::invalid_params("no such tool", None)),
    })
}

fn mixed() -> CallToolResult {
    let resource = ResourceContents::text(
        json!({ "test": "data", "value": 123 }).to_string(),
        "test://mixed-content-resource",
    );
    CallToolResult::success(vec![
        ContentBlock::text("Multiple content types test:"),
        ContentBlock::image(PNG, "image/png"),
        ContentBlock::resource(resource.with_mime_type("application/json")),
    ])
}

/// The suite looks for each of these keywords in the list, so none may get lost.
fn rich_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": { "street": { "type": "string" }, "city": { "type": "string" } }
            }
        },
        "properties": {
            "name": { "type": "string" },
            "address": { "$ref": "#/$defs/address" },
            "contactMethod": { "type": "string", "enum": ["phone", "email"] },
            "phone": { "type": "string" },
            "email": { "type": "string" }
        },
        "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
        "if": {
            "properties": { "contactMethod": { "const": "phone" } },
            "required": ["contactMethod"]
        },
        "then": { "required": ["phone"] },
        "else": { "required": ["email"] },
        "additionalProperties": false
    })
}

/// `x-mcp-header` makes clients repeat the argument in the header `Mcp-Param-Value`.
fn header_schema() -> Value {
    json!({
        "type": "object",
        "properties": { "value": { "type": "string", "x-mcp-header": "Value" } },
        "required": ["value"]
    })
}
