//! What an operator's rules say about a tool call: pass, ask, or block.
//!
//! Plain data and pure functions; asking, logging and forwarding are done elsewhere.

mod code;
mod decide;
mod decision;
mod error;
#[cfg(test)]
mod field;
mod matcher;
mod rule;
mod verb;

pub use code::RuleCode;
pub use decide::{Listing, Policy};
pub use decision::{Action, Decision, Hint, Mode, Reason, Risk};
pub use error::PolicyError;
pub use rule::Rules;
