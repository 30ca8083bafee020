//! `approval-proxy mcp`: an MCP server with approval tools, for agents that ask by themselves.
//!
//! `agents` asks people; rmcp speaks the protocol.

mod compat;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use self::compat::Served;
use super::exit_code;
use super::options::AllSettings;
use crate::agents::{Approvals, ApprovalsError, Owner, ServeError};
use crate::app::{AppError, WrongKey, agent_handle, serve_agents};
use crate::config::{ApproverName, ConfigError, Environment, Flags, ServerChoice, load};
use crate::relay::{Ended, OutOfBandEngines};
use crate::sys::Stderr;

/// `approval-proxy mcp`.
#[derive(Debug, Clone, Args)]
pub struct McpCommand {
    /// Keep approvals across restarts, under this agent's name
    ///
    /// Without it, approvals belong to this process. People see the name
    #[arg(long, value_name = "NAME", value_parser = ApproverName::read)]
    agent: Option<ApproverName>,

    /// Serve the tools of another product, for agents that were written for it
    #[arg(long, value_name = "PRODUCT")]
    compat: Option<Compat>,

    #[command(flatten)]
    settings: AllSettings,
}

/// A product whose tools can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compat {
    /// sesame-mcp: one tool that waits for the decision
    Sesame,
    /// @looppause/mcp: one tool that asks, one that looks
    Looppause,
}

/// Why the approval tools cannot be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum McpError {
    #[error(transparent)]
    Config(Box<ConfigError>),
    #[error(transparent)]
    Approvals(#[from] ApprovalsError),
    #[error("{0}")]
    Compat(String),
    #[error(transparent)]
    Key(#[from] WrongKey),
    #[error(transparent)]
    App(#[from] AppError),
    #[error(transparent)]
    Client(#[from] ServeError),
    #[error("the system refused something that every program needs")]
    System(#[source] io::Error),
}

impl McpError {
    /// Returns the exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            McpError::Config(_)
            | McpError::Compat(_)
            | McpError::Key(_)
            | McpError::App(AppError::Listen(_)) => exit_code::CONFIG,
            McpError::Approvals(ApprovalsError::Log(_)) => exit_code::AUDIT_LOG,
            McpError::Approvals(_) => exit_code::CONFIG,
            McpError::App(_) | McpError::Client(_) | McpError::System(_) => exit_code::INTERNAL,
        }
    }
}

/// How long the store may take to close what nobody waits for any more.
const FINISH: Duration = Duration::from_secs(2);

pub(super) fn run(
    command: McpCommand,
    environment: &Environment,
    stderr: &Stderr,
) -> Result<u8, McpError> {
    let flags = Flags {
        server: ServerChoice::None {
            name: "mcp".to_owned(),
        },
        layer: *command.settings.0,
    };
    let mut config = load(flags, environment).map_err(|error| McpError::Config(Box::new(error)))?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if command.agent.is_some() && command.compat == Some(Compat::Looppause) {
        let why = "--agent has no effect with --compat looppause: whoever knows a `pause_id` may ask about it";
        return Err(McpError::Compat(why.to_owned()));
    }
    let served = Served::new(command.compat, &mut config, environment, stderr)?;
    let http = config.http.take();
    let token = http.as_ref().and_then(|http| http.token.clone());
    let name = command.agent.map(ApproverName::into_string);
    let owner = match (command.compat, token, name) {
        (Some(Compat::Looppause), _, _) => Owner::Holder,
        (_, Some(token), name) => Owner::Token { token, name },
        (_, None, Some(name)) => Owner::Agent(name),
        (_, None, None) => Owner::Process,
    };
    let engines = Arc::new(agent_handle(&mut config, stderr)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(McpError::System)?;
    let port = Arc::clone(&engines) as Arc<dyn OutOfBandEngines>;
    let (tools, approvals) = served.tools(|| Approvals::open(&config, port, &owner))?;
    let served = runtime.block_on(async {
        if let Some(approvals) = &approvals {
            approvals.resume()?;
        }
        let served = serve_agents(tools, approvals.clone(), http, stderr).await;
        // Also if it could not listen.
        if let Some(approvals) = &approvals {
            approvals.close().await;
        }
        match served?? {
            Ended::Signal(number) => Ok(exit_code::for_signal(number)),
            Ended::ClientClosed | Ended::UpstreamNeverSpoke(_) | Ended::UpstreamDied(_) => {
                Ok(exit_code::OK)
            }
        }
    });
    runtime.shutdown_background();
    engines.finish(FINISH);
    // Only now may another process of the agent ask on: the engines have left its questions.
    drop(approvals);
    served
}
