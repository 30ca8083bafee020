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
mod kind;
mod load;
mod nearest;
mod number;
mod others;
mod pattern;
mod pointer;
mod redact;
mod resolve;
mod scalar;
mod schema;
mod section;
mod setting;
mod settings;
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
pub use load::load;
pub use number::{Multiplier, Seconds, Whole, WholeSeconds};
pub use pattern::Pattern;
pub use pointer::{Pointer, escaped, shown};
pub use redact::AuditRedact;
pub use resolve::{Flags, InboxSettings, Resolved, Transport};
pub use schema::schema;
pub(crate) use setting::{Fallback, Place, Setting};
pub use settings::Layer;
pub(crate) use settings::SETTINGS;
pub use size::ByteSize;
pub use value::{ApproverName, Form, Value};
pub use word::{DedupeFields, Word};
