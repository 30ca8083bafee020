//! The engines that reach people outside of the client.
//!
//! Each question is first stored as an item of the inbox; then the engine's courier carries it to people. A new engine
//! is one file here and one line in `registry`.

mod command;
mod courier;
pub mod inbox;
pub mod registry;
mod request;

pub use courier::{Answer, CarriedVerdict, Courier, CourierSettings};
