//! What an operator's rules say about a tool call: pass, ask, or block.
//!
//! Plain data and pure functions; asking, logging and forwarding are done elsewhere.

mod decision;

pub use decision::{Action, Decision, Mode, Reason, Risk};
