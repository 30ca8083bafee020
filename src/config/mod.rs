//! From flags, the upstream config and the environment to one checked [`Resolved`].
//!
//! It starts no process and opens no log; `app` does that with what it finds here.

mod annotations;
mod audit_log;
mod document;
mod engines;
mod entry;
mod env_file;
mod environment;
mod error;
mod expand;
mod file;
mod foreign;
mod headers;
mod host;
mod json;
mod jsonc;
mod keys;
mod kind;
mod layer;
mod load;
mod nearest;
mod number;
mod others;
mod pattern;
mod pointer;
mod redact;
mod resolve;
mod scalar;
mod section;
mod size;
mod strays;
mod value;
mod word;

pub use annotations::Annotations;
pub use audit_log::AuditLog;
pub use document::DocumentUrl;
pub use engines::Engines;
pub use entry::{CommandTarget, Target, Upstream, UrlTarget};
pub use environment::Environment;
pub use error::{ConfigError, Fault, Problem};
pub use host::HostName;
pub use layer::Layer;
pub use load::load;
pub use number::{Multiplier, Seconds, Whole, WholeSeconds};
pub use pattern::Pattern;
pub use pointer::{Pointer, escaped, shown};
pub use redact::AuditRedact;
pub use resolve::{Flags, InboxFlags, InboxSettings, Resolved, Transport};
pub use size::ByteSize;
pub use value::Value;
pub use word::{DedupeFields, Word};
