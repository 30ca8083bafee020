//! Runs one session: reads from both sides, passes the lines to the gate, and carries out its outputs.
//!
//! The gate makes every decision.

mod effects;
mod engines;
mod outbox;
mod session;
mod sideband;
mod timer;

pub use engines::{EnginePort, OutOfBandEngines};
pub use session::{Ended, Ends, Session};
pub(crate) use session::{NEXT_REQUEST, first_request_time};
pub use sideband::Sideband;
