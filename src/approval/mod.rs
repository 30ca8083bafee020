//! What a human is shown, and what a human's yes is bound to.
//!
//! Asking, waiting and timing belong to the gate.

pub mod assurance;
pub mod cache;
pub mod digest;
pub mod display;
mod exempt;
pub mod item;
pub mod prompt;
pub mod request;
pub mod request_state;
