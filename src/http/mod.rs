//! HTTP on both sides: sessions with clients, and connections to remote servers.
//!
//! Both ends exchange lines with the relay over links, as a client and a server over stdio do. So the
//! gate treats them the same. What a line cannot express travels with it as a
//! [`Note`](crate::transport::Note), or bypasses the relay through the
//! [`Sideband`](crate::relay::Sideband).

pub mod inbound;
pub mod outbound;
pub(crate) mod shared;
