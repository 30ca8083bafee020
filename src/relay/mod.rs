//! One session from its first byte to its last: reads, hands to the gate, does what it says.
//!
//! Nothing is decided here.

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
