//! What agents ask by themselves: may I act? Approval tools over MCP, on the same engines as the proxy's questions.
//!
//! Such an approval is advisory: nothing stops the agent from acting without it. The gate, which holds calls, does not use
//! this.

mod addressed;
mod approvals;
mod caller;
mod compat;
mod driver;
mod lead;
mod log;
mod outcome;
mod request;
mod serve;
mod signature;
mod tools;
mod untold;

pub use addressed::Addressed;
pub use approvals::{Approvals, ApprovalsError, Owner};
pub use compat::{LoopPause, Sesame};
pub use outcome::{Outcome, Status};
pub use request::{BadRequest, Request};
pub use serve::{ServeError, serve};
pub use tools::Tools;
