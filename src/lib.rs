//! A transparent MCP proxy that asks a human before a tool call runs.

pub mod approval;
pub mod audit;
pub mod gate;
pub mod mcp;
pub mod policy;
