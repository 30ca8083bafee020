//! What a push service and a user agent see: tests with a fake of each.

mod encrypting;
mod identifying;
mod p256;
mod sending;
mod service;
mod subscribing;
pub(super) mod user_agent;
