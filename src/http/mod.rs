//! HTTP on both sides: sessions with clients, and the way to servers elsewhere.
//!
//! Both ends speak lines with the relay, over links, as a client and a server over stdio do; so
//! everything that is decided and proven behind the links holds here. What lines cannot say goes
//! with them as a [`Note`](crate::transport::Note), or past the relay, by the
//! [`Sideband`](crate::relay::Sideband).

pub mod inbound;
pub mod outbound;
pub(crate) mod shared;
