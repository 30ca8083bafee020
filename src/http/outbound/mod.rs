//! Servers behind HTTP: what is sent to them, what comes back, and how the proxy logs in.

mod cancelled;
mod exchange;
mod http_server;
mod oauth;
mod redirects;
mod renewal;
mod server_error;
mod sse_server;

pub use http_server::{HttpServer, HttpServerError};
pub use oauth::{Login, LoginError, Registration, Surroundings};
