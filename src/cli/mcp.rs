//! `approval-proxy mcp`: an MCP server with approval tools, for agents that ask by themselves.
//!
//! `agents` asks people; rmcp speaks the protocol.

mod compat;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rmcp::ServiceExt as _;
use rmcp::transport::stdio;
use tokio::signal::unix::{SignalKind, signal};

use self::compat::Served;
use super::exit_code;
use super::options::AllSettings;
use crate::agents::{Approvals, ApprovalsError, Owner};
use crate::app::agent_handle;
use crate::config::{ApproverName, ConfigError, Environment, Flags, ServerChoice, load};
use crate::relay::OutOfBandEngines;
use crate::sys::Stderr;
use crate::sys::with_causes;

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
    #[error("the MCP client cannot be served: {0}")]
    Client(String),
    #[error("the system refused something that every program needs")]
    System(#[source] io::Error),
}

impl McpError {
    /// Returns the exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            McpError::Config(_) | McpError::Compat(_) => exit_code::CONFIG,
            McpError::Approvals(ApprovalsError::Log(_)) => exit_code::AUDIT_LOG,
            McpError::Approvals(_) => exit_code::CONFIG,
            McpError::Client(_) | McpError::System(_) => exit_code::INTERNAL,
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
        // It is never started.
        server: ServerChoice::Command {
            program: "mcp".into(),
            args: Vec::new(),
            name: Some("mcp".to_owned()),
        },
        layer: *command.settings.0,
    };
    let mut config = load(flags, environment).map_err(|error| McpError::Config(Box::new(error)))?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let owner = match (command.agent, command.compat) {
        (Some(_), Some(Compat::Looppause)) => {
            let why = "--agent has no effect with --compat looppause: whoever knows a `pause_id` may ask about it";
            return Err(McpError::Compat(why.to_owned()));
        }
        (None, Some(Compat::Looppause)) => Owner::Holder,
        (Some(name), _) => Owner::Agent(name.into_string()),
        (None, _) => Owner::Process,
    };
    let served = Served::new(command.compat, &mut config, environment, stderr)?;
    let engines = Arc::new(agent_handle(&config, stderr));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(McpError::System)?;
    let served = runtime.block_on(async {
        let tools = served.tools(|| {
            let port = Arc::clone(&engines) as Arc<dyn OutOfBandEngines>;
            let approvals = Approvals::open(&config, port, &owner)?;
            approvals.resume()?;
            Ok(approvals)
        })?;
        let mut terminate = signal(SignalKind::terminate()).map_err(McpError::System)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(McpError::System)?;
        let serving = async {
            let client = |error: &dyn std::error::Error| McpError::Client(with_causes(error));
            let service = tools.serve(stdio()).await;
            let service = service.map_err(|error| client(&error))?;
            service.waiting().await.map_err(|error| client(&error))?;
            Ok(exit_code::OK)
        };
        let ended = |kind: SignalKind| Ok(exit_code::for_signal(kind.as_raw_value()));
        tokio::select! {
            served = serving => served,
            _ = terminate.recv() => ended(SignalKind::terminate()),
            _ = interrupt.recv() => ended(SignalKind::interrupt()),
        }
    });
    runtime.shutdown_background();
    engines.finish(FINISH);
    served
}
