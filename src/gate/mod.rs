//! The gate: the sans-IO engine that decides what each message may do.
//!
//! Lines and the time go in, outputs come out; it does no I/O and reads no clock.

mod also;
mod asking;
mod catalogue;
mod channels;
mod confirming;
mod deciding;
mod from_client;
mod from_upstream;
mod handshake;
mod held;
mod ids;
mod inbox;
mod instant;
mod invitations;
mod list_meta;
mod listing;
mod open_states;
mod output;
mod parking;
mod permit;
mod recording;
mod refusal;
mod returned;
mod rounds;
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod unasked;
mod unattended;

pub use inbox::DecidedCall;
pub use output::{FromInbox, Output, Payload, Ticket, ToInbox};
pub use permit::Permitted;
pub use settings::{Channel, Client, Engine, OnFailure, Patience, Retry, Settings, TimeoutAction};
pub use state::{Gate, Now};

pub use crate::approval::cache::DedupeField;
