//! The engines that reach people outside of the client.
//!
//! Each question is first stored as an item of the inbox; then the engine's courier carries it to people. A new engine
//! is one file here and one line in `registry`.

mod callback;
mod chat;
mod command;
mod courier;
mod disclosure;
#[cfg(test)]
mod for_test;
mod http;
pub mod inbox;
pub mod registry;
mod request;
mod rows;
mod slack;
mod standard_webhooks;
mod telegram;
mod webhook;

pub use callback::{BadCallback, Callback, CallbackAnswer, Callbacks, Delivery};
pub use courier::{
    Answer, CarriedVerdict, Courier, CourierContext, CourierSettings, Ending, PageLinks,
};
pub(crate) use http::names_secret;
pub use http::{HttpRuntime, TransportSettings};
pub use rows::{Recalled, Row, Rows};
