//! A transparent MCP proxy that asks a person before a tool call runs.
//!
//! Without the feature `proxy`, which is on by default, the crate contains only the core: plain data in, plain data
//! out, with no I/O, clock or randomness. [`gate`] is its centre.

pub mod approval;
pub mod evidence;
pub mod gate;
pub mod mcp;
pub mod policy;
pub mod sys;

#[cfg(feature = "proxy")]
pub mod agents;
#[cfg(feature = "proxy")]
pub mod app;
#[cfg(feature = "proxy")]
pub mod cli;
#[cfg(feature = "proxy")]
pub mod clients;
#[cfg(feature = "proxy")]
pub mod config;
#[cfg(feature = "proxy")]
pub mod engines;
#[cfg(feature = "proxy")]
pub mod http;
#[cfg(feature = "proxy")]
pub mod relay;
#[cfg(feature = "proxy")]
pub mod transport;
