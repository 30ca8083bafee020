//! HTTP on both sides: sessions with clients, and the way to servers elsewhere.
//!
//! Both ends speak lines with the relay, over links, as a client and a server over stdio do; so
//! everything that is decided and proven behind the links holds here. What lines cannot say goes
//! along in [`Notes`](crate::relay::Notes).

mod answer;
mod body;
mod connections;
mod conversation;
mod endpoint;
mod exchange;
mod facts;
mod given_up;
mod guard;
mod hub;
mod lines;
mod oauth;
mod param_headers;
mod redirects;
mod refusal;
mod remote;
mod renewal;
mod request;
mod rewrite;
mod roster;
mod said;
mod serve;
mod sse;
mod sse_server;
mod streams;

pub(crate) use connections::{ConnectionLimits, Connections, Peer, within_descriptors};
pub use hub::{ClientEnds, Record, Relay};
pub use oauth::{Login, LoginError, Registration, Surroundings};
pub use remote::{Remote, RemoteError};
pub use serve::{ListenError, Server, Serving};
