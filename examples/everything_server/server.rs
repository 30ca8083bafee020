//! The server as `rmcp` sees it: routes requests to the modules, and holds what they share.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::request::Parts;
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CancelTaskParams, CompleteRequestParams,
    CompleteResult, GetPromptRequestParams, GetPromptResponse, GetSkillRequestParams,
    GetSkillResult, GetTaskParams, GetTaskResult, Implementation, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListSkillsResult, ListToolsResult,
    LoggingLevel, PaginatedRequestParams, ReadResourceDirectoryRequestParams,
    ReadResourceDirectoryResult, ReadResourceRequestParams, ReadResourceResponse,
    RequestStateCodec, ServerCapabilities, ServerConfig, SetLevelRequestParams,
    SubscribeRequestParams, SubscriptionFilter, Tool, UnsubscribeRequestParams, UpdateTaskParams,
};
use rmcp::service::{RequestContext, SubscriptionContext, SubscriptionSink};
use rmcp::task_manager::TaskManager;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::{ErrorData, RoleServer, ServerHandler};

use crate::catalogue::{Listed, arguments};
use crate::rounds::Round;
use crate::{asking, content, documents, events, jobs, rounds, skills};

/// What all clients share.
pub(crate) struct Shared {
    /// Seals the state that `rounds` leaves with the client.
    codec: RequestStateCodec,
    tasks: TaskManager,
    /// The open `subscriptions/listen` streams.
    subscriptions: Mutex<Vec<SubscriptionSink>>,
    /// Only over HTTP, where a session's streams can be ended.
    sessions: Option<Arc<LocalSessionManager>>,
}

impl Shared {
    /// Creates the shared state of a server over stdio.
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            // Not a secret: it only seals the steps of a test.
            codec: RequestStateCodec::try_new(*b"everything_server seals its state")?,
            tasks: TaskManager::new(),
            subscriptions: Mutex::default(),
            sessions: None,
        })
    }

    /// Creates the shared state of a server over HTTP.
    pub(crate) fn with_sessions(self, sessions: Arc<LocalSessionManager>) -> Self {
        Self {
            sessions: Some(sessions),
            ..self
        }
    }
}

/// The server of one legacy client, or of one stateless request.
pub(crate) struct Everything {
    shared: Arc<Shared>,
    /// The level from `logging/setLevel`; all messages until then.
    level: Mutex<LoggingLevel>,
    /// The URIs from `resources/subscribe`. No resource ever changes, so nobody is notified.
    watched: Mutex<BTreeSet<String>>,
}

impl Everything {
    /// Creates the server of another client.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            level: Mutex::new(LoggingLevel::Debug),
            watched: Mutex::default(),
        }
    }

    /// Returns true if the client wants messages of this level.
    pub(crate) fn wants(&self, level: LoggingLevel) -> bool {
        level as u8 >= *lock(&self.level) as u8
    }

    /// Returns the streams to notify of changes.
    pub(crate) fn subscriptions(&self) -> Vec<SubscriptionSink> {
        lock(&self.shared.subscriptions).clone()
    }

    /// Ends every stream on which this client waits for an answer. The client can reconnect and get
    /// what it missed. `rmcp` does not say which stream carries which call, so all are ended.
    pub(crate) async fn end_streams(&self, context: &RequestContext<RoleServer>) {
        let session = context
            .extensions
            .get::<Parts>()
            .and_then(|parts| parts.headers.get("mcp-session-id")?.to_str().ok());
        let (Some(sessions), Some(session)) = (&self.shared.sessions, session) else {
            return;
        };
        let handle = sessions.sessions.read().await.get(session).cloned();
        if let Some(handle) = handle {
            for stream in 0..STREAMS {
                let _unused = handle.close_sse_stream(stream, None).await;
            }
        }
    }
}

impl ServerHandler for Everything {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_completions()
            .enable_logging()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_tasks()
            .enable_skills_with_directory_read()
            .build();
        ServerConfig::new(capabilities).with_server_info(Implementation::new(
            "everything_server",
            env!("CARGO_PKG_VERSION"),
        ))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        let listed = tools().find(|tool| tool.name == name)?;
        Some(listed.to_tool())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = tools().map(|tool| tool.to_tool()).collect();
        Ok(ListToolsResult::with_all_items(tools)
            .with_ttl_ms(FRESH_FOR)
            .with_cache_scope(CacheScope::Public))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = request.name.clone();
        let has = |tools: &[Listed]| tools.iter().any(|tool| tool.name == name);
        let capabilities = context.client_capabilities().unwrap_or_default();
        if has(rounds::TOOLS) {
            let codec = &self.shared.codec;
            let round = Round {
                request: &request,
                capabilities,
                codec,
            };
            return round.call();
        }
        if has(jobs::TOOLS) {
            return jobs::call(&request, &capabilities, &self.shared.tasks).await;
        }
        let given = arguments(request.arguments);
        let result = if has(asking::TOOLS) {
            asking::call(&name, &given, &context).await
        } else if has(events::TOOLS) {
            events::call(self, &name, &context).await
        } else {
            content::call(&name, &given)
        };
        result.map(Into::into)
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(documents::resources())
            .with_ttl_ms(FRESH_FOR)
            .with_cache_scope(CacheScope::Public))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(
            ListResourceTemplatesResult::with_all_items(documents::templates())
                .with_ttl_ms(FRESH_FOR)
                .with_cache_scope(CacheScope::Public),
        )
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let result = documents::read(&request.uri)?;
        Ok(result
            .with_ttl_ms(FRESH_FOR)
            .with_cache_scope(CacheScope::Private)
            .into())
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        lock(&self.watched).insert(request.uri);
        Ok(())
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        lock(&self.watched).remove(&request.uri);
        Ok(())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(documents::prompts())
            .with_ttl_ms(FRESH_FOR)
            .with_cache_scope(CacheScope::Public))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        documents::prompt(request)
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        documents::complete(&request)
    }

    async fn set_level(
        &self,
        request: SetLevelRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        *lock(&self.level) = request.level;
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let sink = context.sink().clone();
        lock(&self.shared.subscriptions).push(sink);
        context.cancelled().await;
        // A sink has no identity, and ids of different clients may be equal, so a disconnected
        // client is noticed at the next notification.
        Ok(())
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        let task = self.shared.tasks.get_task(&request.task_id)?;
        Ok(GetTaskResult::new(task))
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let tasks = &self.shared.tasks;
        tasks.update_task(&request.task_id, request.input_responses)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.shared.tasks.cancel_task(&request.task_id)
    }

    async fn list_skills(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListSkillsResult, ErrorData> {
        Ok(ListSkillsResult::with_all_items(skills::all())
            .with_ttl_ms(FRESH_FOR)
            .with_cache_scope(CacheScope::Public))
    }

    async fn get_skill(
        &self,
        request: GetSkillRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetSkillResult, ErrorData> {
        Ok(GetSkillResult::new(skills::get(&request.uri)?)
            .with_ttl_ms(FRESH_FOR)
            .with_cache_scope(CacheScope::Public))
    }

    async fn read_resource_directory(
        &self,
        request: ReadResourceDirectoryRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceDirectoryResult, ErrorData> {
        let files = skills::folder(&request.uri)?;
        Ok(ListResourcesResult::with_all_items(files)
            .with_ttl_ms(FRESH_FOR)
            .with_cache_scope(CacheScope::Public))
    }
}

fn tools() -> impl Iterator<Item = Listed> {
    [
        content::TOOLS,
        events::TOOLS,
        asking::TOOLS,
        rounds::TOOLS,
        jobs::TOOLS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// Our code never panics with a lock held, so the content is consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a client may cache a list or a resource, in milliseconds.
const FRESH_FOR: u64 = 60_000;
/// More streams than any session of the suite opens.
const STREAMS: u64 = 64;
