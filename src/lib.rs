//! A transparent MCP proxy that asks a human before a tool call runs.

pub mod app;
pub mod approval;
pub mod cli;
pub mod config;
pub mod engines;
pub mod evidence;
pub mod gate;
pub mod http;
pub mod mcp;
pub mod policy;
pub mod relay;
pub mod sys;
pub mod transport;
