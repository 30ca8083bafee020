//! The inbox: asks people when the client cannot.
//!
//! All proxies of a user share one store for their questions, and a web page on this machine shows them. The gate
//! decides what a verdict lets run.

pub mod certificate;
pub mod handle;
pub mod identity;
pub mod log;
mod login_file;
pub mod page;
pub mod page_server;
pub mod passphrase;
pub mod push;
mod queue;
pub mod remote;
pub mod store;
mod worker;
