//! What a push service and a user agent see: tests with a fake of each.

mod encrypting;
mod identifying;
mod p256;
pub(in crate::engines::inbox) mod sending;
pub(in crate::engines::inbox) mod service;
mod subscribing;
pub(in crate::engines::inbox) mod user_agent;
