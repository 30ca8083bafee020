//! The inbox: a yes without a client that can ask for one.
//!
//! Proxies put their questions into a store that all of a user's proxies share, and a page on this
//! machine shows them. What a yes lets run is the gate's business.

pub mod handle;
pub mod identity;
mod login_file;
pub mod page;
pub mod page_server;
pub mod passphrase;
mod queue;
pub mod store;
mod worker;
