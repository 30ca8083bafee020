//! Tools that run as tasks (tasks extension, SEP-2663): the call returns a task, and the client
//! requests its result later.

use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, CreateTaskResult,
};
use rmcp::task_manager::{TaskContext, TaskExit, TaskManager, TaskOptions};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::catalogue::{Listed, arguments, failure, text, text_at};
use crate::rounds::{answer, ask_user, asking};

pub(crate) const TOOLS: &[Listed] = &[
    Listed::taking("greet", "Greets at once, never as a task.", || {
        json!({
            "type": "object",
            "properties": { "name": { "type": "string" } },
            "required": ["name"]
        })
    }),
    Listed::taking("slow_compute", "Takes its time.", || {
        json!({
            "type": "object",
            "properties": { "seconds": { "type": "number" }, "label": { "type": "string" } }
        })
    }),
    Listed::plain("failing_job", "Fails as a tool does."),
    Listed::plain("protocol_error_job", "Fails as a server does."),
    Listed::taking(
        "confirm_delete",
        "Asks before it ends.",
        || json!({ "type": "object", "properties": { "filename": { "type": "string" } } }),
    ),
    Listed::plain("multi_input", "Asks for two things before it ends."),
    Listed::plain("test_tool_with_task", "Asks first, and then is a task."),
];

/// These tools need a task: without one, they would hold their call for too long.
const TASK_ONLY: &[&str] = &[
    "failing_job",
    "confirm_delete",
    "multi_input",
    "test_tool_with_task",
];

/// Runs one of [`TOOLS`]. Only a client that declared the extension gets a task.
pub(crate) async fn call(
    request: &CallToolRequestParams,
    capabilities: &ClientCapabilities,
    tasks: &TaskManager,
) -> Result<CallToolResponse, ErrorData> {
    let given = arguments(request.arguments.clone());
    let name = &*request.name;
    if name == "greet" {
        let who = text_at(&given, "/name", "nobody");
        return Ok(text(format!("Hello, {who}!")).into());
    }
    if !capabilities.supports_tasks() {
        if TASK_ONLY.contains(&name) {
            return Err(ErrorData::missing_required_client_capability(
                ClientCapabilities::builder().enable_tasks().build(),
            ));
        }
        return work(name, &given).await.map(Into::into);
    }
    if name == "test_tool_with_task" {
        let Some(answer) = answer(request.input_responses.as_ref(), "user_name") else {
            let question = ask_user("What is your name?", "name", "string")?;
            return Ok(asking([("user_name", question)], None).into());
        };
        let greeting = format!("Hello, {}!", text_at(answer, "/content/name", "nobody"));
        return Ok(start(tasks, move |_| async move { Ok(text(greeting)) }));
    }
    let name = name.to_owned();
    Ok(start(tasks, move |task| async move {
        match name.as_str() {
            "confirm_delete" => confirm(&task, text_at(&given, "/filename", "a file")).await,
            "multi_input" => two_answers(&task).await,
            _ => tokio::select! {
                () = task.cancelled() => Err(TaskExit::Cancelled),
                result = work(&name, &given) => result.map_err(TaskExit::Error),
            },
        }
    }))
}

fn start<W, F>(tasks: &TaskManager, work: W) -> CallToolResponse
where
    W: FnOnce(TaskContext) -> F,
    F: Future<Output = Result<CallToolResult, TaskExit>> + Send + 'static,
{
    let task = tasks.spawn(TaskOptions::default(), |context| Box::pin(work(context)));
    CreateTaskResult::new(task).into()
}

/// The work that is the same with a task and without.
async fn work(name: &str, given: &Value) -> Result<CallToolResult, ErrorData> {
    match name {
        "slow_compute" => {
            let seconds = given.get("seconds").and_then(Value::as_f64).unwrap_or(1.0);
            let time = Duration::try_from_secs_f64(seconds)
                .map_err(|error| ErrorData::invalid_params(error.to_string(), None))?;
            sleep(time).await;
            let label = text_at(given, "/label", "compute");
            Ok(text(format!("{label} took {seconds} seconds")))
        }
        "failing_job" => {
            sleep(Duration::from_secs(1)).await;
            Ok(failure("failed, as it always does"))
        }
        "protocol_error_job" => Err(ErrorData::internal_error("failed, as it always does", None)),
        _ => Err(ErrorData::invalid_params("no such tool", None)),
    }
}

async fn confirm(task: &TaskContext, filename: &str) -> Result<CallToolResult, TaskExit> {
    let question = ask_user(&format!("Delete {filename}?"), "confirm", "boolean")?;
    let answer = task.request_input("confirm", question).await?;
    let confirmed = answer.pointer("/content/confirm").unwrap_or(&Value::Null);
    Ok(text(format!("confirmed: {confirmed}")))
}

async fn two_answers(task: &TaskContext) -> Result<CallToolResult, TaskExit> {
    let first = task.request_input("first", ask_user("The first?", "value", "string")?);
    let second = task.request_input("second", ask_user("The second?", "value", "string")?);
    let (first, second) = tokio::try_join!(first, second)?;
    let first = text_at(&first, "/content/value", "none");
    let second = text_at(&second, "/content/value", "none");
    Ok(text(format!("first: {first}, second: {second}")))
}
