//! A transparent MCP proxy that asks a human before a tool call runs.

pub mod app;
pub mod approval;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod gate;
pub mod http;
pub mod inbox;
pub mod ledger;
pub mod mcp;
pub mod permissions;
pub mod policy;
pub mod relay;
pub mod secret;
pub mod state_dir;
pub mod transport;
