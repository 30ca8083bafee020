//! HTTP for couriers: which URLs they may use, the exchanges with retries, and the thread that runs them.
//!
//! Knows nothing about approval requests. The engines build on this; servers are in `crate::http::outbound`.

pub(super) mod backoff;
mod exchange;
mod lines;
mod runtime;
mod scrub;
mod transport;
#[cfg(feature = "slack")]
mod websocket;

pub(super) use self::exchange::{
    BODY_TIME, Exchange, Patience, Reply, Undelivered, after_tries, body_of, jitter,
    join_same_origin, origin, retry_after_in, text,
};
pub use self::runtime::HttpRuntime;
pub(super) use self::runtime::{CONNECT_TIME, Task, client_builder};
pub(super) use self::scrub::Scrub;
pub(crate) use self::scrub::names_secret;
pub use self::transport::TransportSettings;
pub(super) use self::transport::{PlainHttp, check_host, check_url, read_headers};
#[cfg(feature = "slack")]
pub(super) use self::websocket::WebSocket;
