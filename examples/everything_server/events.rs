//! Tools with side effects for the client: log messages, progress, changed lists, a stream that ends early.

use std::time::Duration;

use rmcp::model::{
    CallToolResult, LoggingLevel, LoggingMessageNotificationParam, ProgressNotificationParam,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde_json::json;
use tokio::time::sleep;

use crate::catalogue::{Listed, text};
use crate::server::Everything;

pub(crate) const TOOLS: &[Listed] = &[
    Listed::plain("test_tool_with_logging", "Logs three messages."),
    Listed::plain(
        "test_logging_tool",
        "Logs a message, if the request asks for messages.",
    ),
    Listed::plain("test_tool_with_progress", "Tells how far it has come."),
    Listed::plain("test_trigger_tool_change", "Says that the tools changed."),
    Listed::plain(
        "test_trigger_prompt_change",
        "Says that the prompts changed.",
    ),
    Listed::plain(
        "test_reconnection",
        "Ends the stream of its call before it answers.",
    ),
];

/// Long enough for a client to see one message before the next.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs one of [`TOOLS`].
pub(crate) async fn call(
    server: &Everything,
    name: &str,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResult, ErrorData> {
    match name {
        "test_tool_with_logging" => {
            for message in [
                "Tool execution started",
                "Tool processing data",
                "Tool execution completed",
            ] {
                log(server, LoggingLevel::Info, message, context).await;
                sleep(PAUSE).await;
            }
            Ok(text("Logged three messages."))
        }
        "test_logging_tool" => {
            // Since 2026-07-28, each request says whether it wants log messages and from which level.
            if let Some(level) = context.meta.log_level() {
                log(server, level, "asked for", context).await;
            }
            Ok(text("Logged what was asked for."))
        }
        "test_tool_with_progress" => {
            progress(context).await;
            Ok(text("Progress reached its end."))
        }
        "test_trigger_tool_change" => {
            for subscription in server.subscriptions() {
                let _gone = subscription.notify_tool_list_changed().await;
            }
            Ok(text("Told of changed tools."))
        }
        "test_trigger_prompt_change" => {
            for subscription in server.subscriptions() {
                let _gone = subscription.notify_prompt_list_changed().await;
            }
            Ok(text("Told of changed prompts."))
        }
        "test_reconnection" => {
            server.end_streams(context).await;
            sleep(2 * PAUSE).await;
            Ok(text("Answered after the stream had ended."))
        }
        _ => Err(ErrorData::invalid_params("no such tool", None)),
    }
}

/// A client that is gone cannot be notified; that is not a failure of the tool.
async fn log(
    server: &Everything,
    level: LoggingLevel,
    message: &str,
    context: &RequestContext<RoleServer>,
) {
    if server.wants(level) {
        let notification = LoggingMessageNotificationParam::new(level, json!(message));
        let _gone = context.peer.notify_logging_message(notification).await;
    }
}

async fn progress(context: &RequestContext<RoleServer>) {
    for done in [0.0, 50.0, 100.0] {
        if let Some(token) = context.meta.get_progress_token() {
            let notification = ProgressNotificationParam::new(token, done).with_total(100.0);
            let _gone = context.peer.notify_progress(notification).await;
        }
        sleep(PAUSE).await;
    }
}
