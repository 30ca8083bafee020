//! Talks to servers over HTTP: sends messages, reads the responses, and logs in.

mod cancelled;
mod exchange;
mod http_server;
mod oauth;
mod redirects;
mod renewal;
mod server_error;
mod sse_server;

pub use http_server::{HttpServer, HttpServerError};
pub use oauth::{Login, LoginEnvironment, LoginError, Registration};
