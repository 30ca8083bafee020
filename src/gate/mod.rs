//! The gate: the sans-IO state machine that decides what each message may do.
//!
//! Takes lines and the time, and puts out what to do. Does no I/O and reads no clock.

mod ask;
mod asking;
mod asks;
mod calls;
mod catalogue;
mod deciding;
mod denials;
mod from_client;
mod from_engine;
mod from_upstream;
mod handshake;
mod held;
mod ids;
mod invitations;
mod items;
mod life;
mod list_meta;
mod listing;
mod output;
mod permit;
mod prompts;
mod recording;
mod refusal;
mod resume_lookups;
mod resumption;
mod retries;
mod returned;
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod unasked;
mod upstream_rounds;
mod verdict;

pub use ask::{Question, QuestionEnd, QuestionOutput};
pub use items::DecidedCall;
pub use output::{
    Failure, FailureKind, FromEngine, Output, ParkedItem, Payload, Resume, ResumeKey, Resumption,
    Ticket, ToEngine,
};
pub use permit::Permitted;
pub use settings::{
    Channel, Client, Engine, EngineId, OnFailure, Patience, Retry, Settings, TimeoutAction,
};
pub use state::{Gate, Now};

pub use crate::approval::cache::DedupeField;
