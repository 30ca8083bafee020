//! What the system gives: the clock, random bytes, the user's files, stderr, a browser.
//!
//! Nothing here knows what a proxy is.

mod browser;
pub mod clock;
mod error;
pub mod net;
pub mod permissions;
pub mod secret;
pub mod state_dir;
mod stderr;
pub mod time;

pub use browser::open_in_browser;
pub(crate) use error::with_causes;
pub use stderr::{NotTaken, Stderr};
