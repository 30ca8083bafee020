//! Serves clients over HTTP: `/mcp`, and the two endpoints of 2024-11-05.

mod answer;
mod conversation;
mod endpoint;
mod guard;
mod refusal;
mod request;
mod rewrite;
mod serve;
mod sessions;
mod streams;

pub use serve::{ListenError, Server, Serving};
pub use sessions::{ClientEnds, Record, Relay};
