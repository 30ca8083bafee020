//! One session from its first byte to its last: reads, hands to the gate, does what it says.
//!
//! Nothing is decided here.

mod alarm;
mod effects;
mod inbox;
mod notes;
mod outbox;
mod session;

pub use inbox::{Inbox, InboxPort};
pub use notes::{Notes, Reply};
pub use session::{Ended, Ends, Session};
pub(crate) use session::{NEXT_REQUEST, first_request_time};
