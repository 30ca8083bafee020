//! One session from its first byte to its last: reads, hands to the gate, does what it says.
//!
//! Nothing is decided here.

mod alarm;
mod effects;
mod inbox;
mod notes;
mod outbox;
mod session;

pub use effects::Ledger;
pub use inbox::{Inbox, InboxPort};
pub use notes::{Notes, Reply};
pub use session::{Ended, Ends, Session};

/// An error with its causes, on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
