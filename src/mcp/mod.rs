//! The protocol's own words: framing, messages, revisions, tool calls, elicitation, roots.
//!
//! Nothing of ours is decided here.

mod annotations;
pub mod elicit;
pub mod error;
pub mod first_request;
pub mod frame;
pub mod json;
pub mod lenient;
pub mod message;
pub mod mrtr;
pub mod readings;
pub mod revision;
pub mod roots;
pub mod tool;

pub use annotations::ToolAnnotations;
pub use error::ErrorCode;
