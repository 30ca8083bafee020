//! The inbox: a yes without a client that can ask for one.
//!
//! Proxies put their questions into a store that all of a user's proxies share, and a page on this
//! machine shows them. What a yes lets run is the gate's business.

mod clerk;
mod door;
pub mod host;
pub mod identity;
pub mod page;
pub mod passphrase;
pub mod post;
mod queue;
pub mod store;
