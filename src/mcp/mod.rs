//! The MCP protocol itself: framing, messages, revisions, tool calls, elicitation, roots.
//!
//! It reads and writes messages; `policy` and `gate` decide what to do with them.

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
