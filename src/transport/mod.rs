//! Moves bytes in and out of the relay: stdio, stderr, the upstream's child process, and links to
//! the HTTP ends.
//!
//! Does not interpret the bytes.

mod child;
mod inspection;
mod link;
mod note;
mod server_stderr;
mod stderr_tail;
mod upstream;
mod watcher;
mod wire;

pub use child::{Child, ChildError, Exit, Program, is_behind_a_proxy, is_withheld};
pub use inspection::forbid_inspection;
pub use link::{LinkReader, LinkWriter, link_in, link_out};
pub use note::{Headers, Note, Reply};
pub use server_stderr::ServerStderr;
pub(crate) use stderr_tail::{hidden, secrets_of};
pub use upstream::{RESTART_HEARD, RemoteEvent, RemoteTask, Upstream, UpstreamEvent};
pub use watcher::{Watcher, is_watcher, run_watcher};
pub use wire::{Attempt, Wire};
