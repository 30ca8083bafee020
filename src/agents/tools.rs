//! The approval tools, as an MCP server over rmcp.
//!
//! Specification 2025-11-25 and 2026-07-28, "Tools". rmcp speaks the protocol, in both of its eras.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Map, Value, json};

use super::approvals::{Approvals, ApprovalsError};
use super::caller::Caller;
use super::compat::{LoopPause, Sesame};
use super::request::{BadRequest, Request, TIMEOUT, WAIT, seconds};
use super::untold::Untold;
use crate::sys::with_causes;

/// The server. Clones serve the same approvals.
#[derive(Debug, Clone)]
pub struct Tools(Set);

/// A set of tools.
#[derive(Debug, Clone)]
enum Set {
    Native(Native),
    Sesame(Arc<Sesame>),
    LoopPause(Arc<LoopPause>),
}

impl Tools {
    /// Creates the server of an agent's approvals, with our own tools.
    #[must_use]
    pub fn new(approvals: Arc<Approvals>) -> Tools {
        Tools(Set::Native(Native(approvals)))
    }

    /// Creates a server with the tool of sesame-mcp.
    #[must_use]
    pub fn sesame(sesame: Sesame) -> Tools {
        Tools(Set::Sesame(Arc::new(sesame)))
    }

    /// Creates a server with the tools of @looppause/mcp.
    #[must_use]
    pub fn looppause(looppause: LoopPause) -> Tools {
        Tools(Set::LoopPause(Arc::new(looppause)))
    }

    fn all(&self) -> &'static [Tool] {
        match &self.0 {
            Set::Native(_) => tools(),
            Set::Sesame(_) => Sesame::tools(),
            Set::LoopPause(_) => LoopPause::tools(),
        }
    }

    async fn call(
        &self,
        name: &str,
        arguments: Map<String, Value>,
    ) -> Result<Value, ApprovalsError> {
        match &self.0 {
            Set::Native(native) => native.call(name, arguments).await,
            Set::Sesame(sesame) => sesame.call(&arguments).await,
            Set::LoopPause(looppause) => looppause.call(name, &arguments).await,
        }
    }
}

/// Our own tools.
#[derive(Debug, Clone)]
struct Native(Arc<Approvals>);

impl Native {
    async fn call(
        &self,
        name: &str,
        mut arguments: Map<String, Value>,
    ) -> Result<Value, ApprovalsError> {
        let (id, wait) = match name {
            "request_approval" => {
                let wait = wait(&mut arguments, WAIT.0)?;
                let request = Request::read(&arguments)?;
                let id = self.0.request(&request)?;
                let untold = Untold::of(&self.0, &id, &request);
                let outcome = self.0.wait(&id, wait).await?;
                untold.told();
                return self.0.as_json(&id, &outcome);
            }
            _ => {
                let wait = match name {
                    "check_approval" => wait(&mut arguments, 0)?,
                    _ => Duration::ZERO,
                };
                (approval_id(&arguments)?, wait)
            }
        };
        let outcome = match name {
            "cancel_approval" => self.0.cancel(&id).await?,
            _ => self.0.wait(&id, wait).await?,
        };
        self.0.as_json(&id, &outcome)
    }
}

/// Takes `wait_seconds` out of the arguments.
fn wait(arguments: &mut Map<String, Value>, usual: u64) -> Result<Duration, BadRequest> {
    const ARGUMENT: &str = "wait_seconds";
    match arguments.remove(ARGUMENT) {
        None | Some(Value::Null) => Ok(Duration::from_secs(usual)),
        Some(value) => seconds(ARGUMENT, &value, 0, WAIT.1),
    }
}

fn approval_id(arguments: &Map<String, Value>) -> Result<String, BadRequest> {
    let bad = |why: &str| Err(BadRequest(why.to_owned()));
    if let Some(other) = arguments.keys().find(|argument| *argument != "approval_id") {
        return Err(BadRequest(format!(
            "`{other}` is not an argument of this tool"
        )));
    }
    match arguments.get("approval_id").and_then(Value::as_str) {
        Some(id) if !id.is_empty() => Ok(id.to_owned()),
        Some(_) | None => bad("`approval_id` must be the id that `request_approval` returned"),
    }
}

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        let name = Implementation::new("approval-proxy", env!("CARGO_PKG_VERSION"));
        ServerConfig::new(capabilities)
            .with_server_info(name.with_title("Approvals"))
            .with_instructions(
                "Ask a person before you do anything that cannot be undone, costs money, or speaks for somebody. \
                 Go on only if `status` is `approved`.",
            )
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.all().iter().find(|tool| tool.name == name).cloned()
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.all().to_vec()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if self.get_tool(&request.name).is_none() {
            let why = format!("there is no tool `{}`", request.name.escape_debug());
            return Err(ErrorData::invalid_params(why, None));
        }
        let arguments = request.arguments.unwrap_or_default();
        let called = self.call(&request.name, arguments);
        let Some(called) = Caller::of(context).during(called).await else {
            // Nobody reads this answer.
            return Err(ErrorData::internal_error("the call was cancelled", None));
        };
        let result = match called {
            Ok(value) => CallToolResult::structured(value),
            // A result, so that the model can read it and do better.
            Err(error) => CallToolResult::error(vec![ContentBlock::text(with_causes(&error))]),
        };
        Ok(result.into())
    }
}

const REQUEST: &str = "Ask a person for approval before you act. People see `action`, `summary`, `details` and `reason`. \
    Proceed only if `status` is `approved`. If it is `pending`, call `check_approval` with the `approval_id` until it is \
    not; do not act meanwhile. On anything else, do not act, and say why.";
const CHECK: &str =
    "Look how an approval stands that you asked for. Proceed only if `status` is `approved`.";
const CANCEL: &str = "Withdraw an approval that you asked for and no longer need.";

/// Describes a tool with arguments of this schema. `reads` says that it changes nothing.
pub(super) fn tool(
    name: &'static str,
    title: &str,
    description: &'static str,
    schema: Value,
    reads: bool,
) -> Tool {
    let Value::Object(schema) = schema else {
        return Tool::new(name, description, Map::new());
    };
    let title = Some(title.to_owned());
    let hints =
        ToolAnnotations::from_raw(title, Some(reads), Some(false), Some(reads), Some(false));
    Tool::new(name, description, schema).with_annotations(hints)
}

fn tools() -> &'static [Tool] {
    static TOOLS: OnceLock<Vec<Tool>> = OnceLock::new();
    TOOLS.get_or_init(|| {
        let id = json!({"type": "string", "description": "What `request_approval` returned"});
        let wait = |usual| {
            json!({"type": "number", "minimum": 0, "maximum": WAIT.1, "default": usual, "description": "How long to wait for the person, in seconds"})
        };
        let request = json!({
            "type": "object",
            "properties": {
                "action": {"type": "string", "description": "What you want to do, in one sentence"},
                "summary": {"type": "string", "description": "What the person should know"},
                "details": {"type": "object", "description": "The exact data: amounts, names, files, commands"},
                "reason": {"type": "string", "description": "Why you want to do it"},
                "risk": {"type": "string", "enum": ["low", "medium", "high"], "default": "medium"},
                "recipients": {"type": "array", "items": {"type": "string"}, "description": "Engines of the configuration to ask; all of them if omitted"},
                "form": {"type": "object", "description": "What the person must fill in to approve: a flat JSON Schema, as elicitation has it, with texts, numbers, booleans and choices. The answers come back as `fields`"},
                "wait_seconds": wait(WAIT.0),
                "timeout_seconds": {"type": "number", "minimum": 1, "maximum": TIMEOUT.1, "default": TIMEOUT.0, "description": "How long the person has, in seconds"},
                "idempotency_key": {"type": "string", "description": "The same key and request ask only once"},
            },
            "required": ["action"],
            "additionalProperties": false,
        });
        let check = json!({
            "type": "object",
            "properties": {"approval_id": id, "wait_seconds": wait(0)},
            "required": ["approval_id"],
            "additionalProperties": false,
        });
        let cancel = json!({
            "type": "object",
            "properties": {"approval_id": id},
            "required": ["approval_id"],
            "additionalProperties": false,
        });
        vec![
            tool("request_approval", "Request an approval", REQUEST, request, false),
            tool("check_approval", "Check an approval", CHECK, check, true),
            tool("cancel_approval", "Cancel an approval", CANCEL, cancel, false),
        ]
    })
}
