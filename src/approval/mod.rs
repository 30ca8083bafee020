//! What a person is shown about a call, and the digests that bind an approval to that call.
//!
//! Decides nothing about when to ask or how long to wait; see `gate`.

pub mod assurance;
pub mod cache;
pub mod digest;
pub mod display;
mod exempt;
pub mod form;
pub mod item;
pub mod prompt;
pub mod render;
pub mod request;
pub mod request_state;
