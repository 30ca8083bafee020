//! One session from its first byte to its last: reads, hands to the gate, does what it says.
//!
//! Nothing is decided here.

mod alarm;
mod effects;
mod inbox;
mod outbox;
mod session;
mod sideband;

pub use inbox::{Inbox, InboxPort};
pub use session::{Ended, Ends, Session};
pub(crate) use session::{NEXT_REQUEST, first_request_time};
pub use sideband::Sideband;
