//! Ways to reach people outside of the client.
//!
//! A question that is put to one of them becomes an item of the inbox's store, and the courier of the engine carries it
//! to people. A new engine is one file here and one line in `registry`.

mod command;
mod courier;
pub mod inbox;
pub mod registry;
mod request;

pub use courier::{Answer, CarriedVerdict, Courier, CourierSettings};
