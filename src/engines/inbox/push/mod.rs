//! Web Push: tells the user agents of paired devices that a call waits.
//!
//! We are the application server of RFC 8030; the browser's vendor runs the push service. A push message carries the
//! tool's name, the risk, and the item's id, encrypted for the user agent. It carries no arguments, and nothing that
//! decides.

mod addresses;
mod encrypt;
mod notice;
mod queue;
mod sender;
mod subscription;
#[cfg(test)]
pub(in crate::engines::inbox) mod tests;
mod vapid;

pub use encrypt::{CONTENT_ENCODING, EncryptError, encrypt};
pub use notice::{Notice, Urgency};
pub use sender::{Forget, Sender};
pub use subscription::{BadSubscription, Subscription};
pub use vapid::{ApplicationServerKey, SignError};
