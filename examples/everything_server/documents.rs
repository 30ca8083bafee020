//! Resources, resource templates, prompts, and completions for their arguments.

use rmcp::ErrorData;
use rmcp::model::{
    CompleteRequestParams, CompleteResult, CompletionInfo, ContentBlock, GetPromptRequestParams,
    GetPromptResponse, GetPromptResult, Prompt, PromptArgument, PromptMessage, ReadResourceResult,
    Resource, ResourceContents, ResourceTemplate, Role,
};
use serde_json::json;

use crate::catalogue::{arguments, internal, text_at};
use crate::content::PNG;
use crate::{rounds, skills};

/// Answers `resources/list`.
pub(crate) fn resources() -> Vec<Resource> {
    vec![
        Resource::new("test://static-text", "static-text")
            .with_description("A text that never changes.")
            .with_mime_type("text/plain"),
        Resource::new("test://static-binary", "static-binary")
            .with_description("An image that never changes.")
            .with_mime_type("image/png"),
        skills::main_file(),
    ]
}

/// Answers `resources/templates/list`.
pub(crate) fn templates() -> Vec<ResourceTemplate> {
    vec![
        ResourceTemplate::new("test://template/{id}/data", "template")
            .with_description("A text that tells its own id.")
            .with_mime_type("application/json"),
    ]
}

/// Reads a resource, including those of templates.
pub(crate) fn read(uri: &str) -> Result<ReadResourceResult, ErrorData> {
    if let Some(file) = skills::read(uri) {
        return Ok(ReadResourceResult::new(vec![file]));
    }
    let contents = match uri {
        "test://static-text" => {
            ResourceContents::text("This is the content of the static text resource.", uri)
        }
        "test://static-binary" => ResourceContents::blob(PNG, uri).with_mime_type("image/png"),
        _ => {
            let id = template_id(uri).ok_or_else(|| {
                ErrorData::resource_not_found("no such resource", Some(json!({ "uri": uri })))
            })?;
            let text = json!({
                "id": id,
                "templateTest": true,
                "data": format!("Data for ID: {id}")
            });
            ResourceContents::text(text.to_string(), uri).with_mime_type("application/json")
        }
    };
    Ok(ReadResourceResult::new(vec![contents]))
}

/// Answers `prompts/list`.
pub(crate) fn prompts() -> Vec<Prompt> {
    let required = |name: &str| PromptArgument::new(name).with_required(true);
    vec![
        Prompt::new("test_simple_prompt", Some("A text."), None),
        Prompt::new(
            "test_prompt_with_arguments",
            Some("A text with two arguments in it."),
            Some(vec![required("arg1"), required("arg2")]),
        ),
        Prompt::new(
            "test_prompt_with_embedded_resource",
            Some("A resource, and a text about it."),
            Some(vec![required("resourceUri")]),
        ),
        Prompt::new(
            "test_prompt_with_image",
            Some("An image, and a text about it."),
            None,
        ),
        Prompt::new(
            rounds::PROMPT,
            Some("A text that the user must complete first."),
            None,
        ),
    ]
}

/// Answers `prompts/get`.
pub(crate) fn prompt(request: GetPromptRequestParams) -> Result<GetPromptResponse, ErrorData> {
    if request.name == rounds::PROMPT {
        return rounds::prompt(request.input_responses.as_ref());
    }
    let given = arguments(request.arguments);
    let messages = match request.name.as_str() {
        "test_simple_prompt" => vec![says("This is a simple prompt for testing.")],
        "test_prompt_with_arguments" => {
            let first = text_at(&given, "/arg1", "");
            let second = text_at(&given, "/arg2", "");
            vec![says(&format!(
                "Prompt with arguments: arg1='{first}', arg2='{second}'"
            ))]
        }
        "test_prompt_with_embedded_resource" => {
            let uri = text_at(&given, "/resourceUri", "test://example-resource");
            let resource = ResourceContents::text("Embedded resource content for testing.", uri);
            vec![
                PromptMessage::new(Role::User, ContentBlock::resource(resource)),
                says("Please process the embedded resource above."),
            ]
        }
        "test_prompt_with_image" => vec![
            PromptMessage::new(Role::User, ContentBlock::image(PNG, "image/png")),
            says("Please analyze the image above."),
        ],
        _ => return Err(ErrorData::invalid_params("no such prompt", None)),
    };
    Ok(GetPromptResult::new(messages).into())
}

/// Answers `completion/complete` with the words that begin like the argument.
pub(crate) fn complete(request: &CompleteRequestParams) -> Result<CompleteResult, ErrorData> {
    let words = ["paris", "park", "party", "pear"];
    let fitting = words
        .into_iter()
        .filter(|word| word.starts_with(&request.argument.value))
        .map(str::to_owned)
        .collect();
    let completion = CompletionInfo::with_all_values(fitting).map_err(internal)?;
    Ok(CompleteResult::new(completion))
}

fn says(text: &str) -> PromptMessage {
    PromptMessage::new_text(Role::User, text)
}

fn template_id(uri: &str) -> Option<&str> {
    uri.strip_prefix("test://template/")?.strip_suffix("/data")
}
