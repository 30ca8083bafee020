//! Servers behind HTTP: what is sent to them, what comes back, and how the proxy logs in.

mod exchange;
mod given_up;
mod oauth;
mod redirects;
mod remote;
mod renewal;
mod said;
mod sse_server;

pub use oauth::{Login, LoginError, Registration, Surroundings};
pub use remote::{Remote, RemoteError};
