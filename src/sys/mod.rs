//! Access to the system: clock, random bytes, the user's files, stderr, a browser.
//!
//! It does not know about the proxy. The core uses only the modules without I/O.

pub mod net;
pub mod secret;
pub mod time;

#[cfg(feature = "proxy")]
mod browser;
#[cfg(feature = "proxy")]
pub mod clock;
#[cfg(feature = "proxy")]
mod error;
#[cfg(feature = "proxy")]
pub mod permissions;
#[cfg(feature = "proxy")]
pub mod state_dir;
#[cfg(feature = "proxy")]
mod stderr;
#[cfg(feature = "proxy")]
pub mod user;

#[cfg(feature = "proxy")]
pub use browser::{commands as browser_commands, open_in_browser};
#[cfg(feature = "proxy")]
pub(crate) use error::with_causes;
#[cfg(feature = "proxy")]
pub use stderr::{Rejected, Stderr};
