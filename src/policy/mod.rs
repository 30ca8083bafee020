//! Decides by the operator's rules whether a tool call passes, needs approval, or is blocked.
//!
//! Plain data and pure functions; `gate` asks, logs and forwards.

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
