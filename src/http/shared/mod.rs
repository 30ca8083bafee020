//! Code that both sides of HTTP need: connections, bodies, events, and the parsing of messages.

pub(in crate::http) mod body;
mod connections;
pub(in crate::http) mod facts;
pub(in crate::http) mod lines;
pub(in crate::http) mod param_headers;
mod roster;
pub(in crate::http) mod sse;

pub(crate) use connections::{ConnectionLimits, Connections, PeerAddr, within_descriptors};
