//! Tools that ask the client while they run, with a request from the server, as legacy revisions
//! do. For the stateless way, see `rounds`.

use rmcp::model::{
    CallToolResult, ClientCapabilities, CreateMessageRequestParams, ElicitRequestParams,
    SamplingMessage,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde_json::{Value, json};

use crate::catalogue::{Listed, failure, internal, text, text_at};

pub(crate) const TOOLS: &[Listed] = &[
    Listed::taking("test_sampling", "Asks the client's model.", || {
        json!({
            "type": "object",
            "properties": { "prompt": { "type": "string", "description": "What to ask" } },
            "required": ["prompt"]
        })
    }),
    Listed::taking("test_elicitation", "Asks the client's user.", || {
        json!({
            "type": "object",
            "properties": { "message": { "type": "string", "description": "What to ask" } },
            "required": ["message"]
        })
    }),
    Listed::plain(
        "test_elicitation_sep1034_defaults",
        "Asks the client's user, and proposes answers.",
    ),
    Listed::plain(
        "test_elicitation_sep1330_enums",
        "Asks the client's user to choose, in each way that there is.",
    ),
    Listed::plain(
        "test_missing_capability",
        "Runs only for clients that declare sampling.",
    ),
];

/// Runs one of [`TOOLS`].
pub(crate) async fn call(
    name: &str,
    arguments: &Value,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResult, ErrorData> {
    match name {
        "test_sampling" => sample(text_at(arguments, "/prompt", "Hello"), context).await,
        "test_elicitation" => {
            let message = text_at(arguments, "/message", "Who are you?");
            elicit("User response", message, person(), context).await
        }
        "test_elicitation_sep1034_defaults" => {
            let message = "Is this right?";
            elicit("Elicitation completed", message, defaults(), context).await
        }
        "test_elicitation_sep1330_enums" => {
            let message = "Which ones?";
            elicit("Elicitation completed", message, choices(), context).await
        }
        "test_missing_capability" => need_sampling(context),
        _ => Err(ErrorData::invalid_params("no such tool", None)),
    }
}

async fn sample(
    prompt: &str,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResult, ErrorData> {
    let messages = vec![SamplingMessage::user_text(prompt)];
    let request = CreateMessageRequestParams::new(messages, 100);
    Ok(match context.peer.create_message(request).await {
        Ok(answer) => {
            let answer = serde_json::to_value(answer).map_err(internal)?;
            let said = text_at(&answer, "/content/text", "nothing");
            text(format!("LLM response: {said}"))
        }
        Err(error) => failure(format!("cannot sample: {error}")),
    })
}

async fn elicit(
    label: &str,
    message: &str,
    schema: Value,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResult, ErrorData> {
    let request = ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: message.to_owned(),
        requested_schema: serde_json::from_value(schema).map_err(internal)?,
    };
    Ok(match context.peer.create_elicitation(request).await {
        Ok(answer) => {
            let answer = serde_json::to_value(answer).map_err(internal)?;
            let action = text_at(&answer, "/action", "none");
            let content = answer.get("content").unwrap_or(&Value::Null);
            text(format!("{label}: action={action}, content={content}"))
        }
        Err(error) => failure(format!("cannot elicit: {error}")),
    })
}

fn need_sampling(context: &RequestContext<RoleServer>) -> Result<CallToolResult, ErrorData> {
    let declared = context.client_capabilities().unwrap_or_default();
    if declared.sampling.is_some() {
        return Ok(text("The client declares sampling."));
    }
    Err(ErrorData::missing_required_client_capability(
        ClientCapabilities::builder().enable_sampling().build(),
    ))
}

fn person() -> Value {
    json!({
        "type": "object",
        "properties": {
            "username": { "type": "string", "description": "User's response" },
            "email": { "type": "string", "description": "User's email address" }
        },
        "required": ["username", "email"]
    })
}

fn defaults() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "default": "John Doe" },
            "age": { "type": "integer", "default": 30 },
            "score": { "type": "number", "default": 95.5 },
            "status": {
                "type": "string",
                "enum": ["active", "inactive", "pending"],
                "default": "active"
            },
            "verified": { "type": "boolean", "default": true }
        }
    })
}

fn choices() -> Value {
    let titled = |word: &str| {
        json!([
            { "const": "value1", "title": format!("First {word}") },
            { "const": "value2", "title": format!("Second {word}") },
            { "const": "value3", "title": format!("Third {word}") }
        ])
    };
    let options = json!(["option1", "option2", "option3"]);
    json!({
        "type": "object",
        "properties": {
            "untitledSingle": { "type": "string", "enum": options },
            "titledSingle": { "type": "string", "oneOf": titled("Option") },
            "legacyEnum": {
                "type": "string",
                "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"]
            },
            "untitledMulti": { "type": "array", "items": { "type": "string", "enum": options } },
            "titledMulti": { "type": "array", "items": { "anyOf": titled("Choice") } }
        }
    })
}
