//! Clients that come by HTTP: `/mcp`, and the two endpoints of 2024-11-05.

mod answer;
mod conversation;
mod endpoint;
mod guard;
mod hub;
mod refusal;
mod request;
mod rewrite;
mod serve;
mod streams;

pub use hub::{ClientEnds, Record, Relay};
pub use serve::{ListenError, Server, Serving};
