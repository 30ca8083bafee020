//! The engines that reach people outside of the client.
//!
//! Each question is first stored as an item of the inbox; then the engine's courier carries it to people. A new engine
//! is one file here and one line in `registry`.

mod bridge;
pub mod broker_client;
mod callback;
#[cfg_attr(
    not(all(feature = "email", feature = "slack", feature = "telegram")),
    allow(
        dead_code,
        unused_imports,
        reason = "some of it is only for one of these engines"
    )
)]
mod chat;
mod command;
mod courier;
mod disclosure;
#[cfg(feature = "email")]
mod email;
#[cfg(test)]
mod for_test;
#[cfg_attr(
    not(all(feature = "email", feature = "slack", feature = "telegram")),
    allow(
        dead_code,
        unused_imports,
        reason = "some of it is only for one of these engines"
    )
)]
mod http;
pub mod inbox;
mod ntfy;
pub mod registry;
mod request;
mod rows;
#[cfg(feature = "slack")]
mod slack;
mod standard_webhooks;
#[cfg(feature = "telegram")]
mod telegram;
mod waha;
mod webhook;
mod whatsapp;

pub use callback::{BadCallback, Callback, CallbackAnswer, Callbacks, Delivery};
pub use courier::{
    Answer, CarriedVerdict, Courier, CourierContext, CourierSettings, Ending, PageLinks,
};
pub(crate) use http::names_secret;
pub use http::{HttpRuntime, TransportSettings};
pub use rows::{Recalled, Row, Rows};
