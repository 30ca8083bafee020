//! The configuration files of MCP clients: finds their servers, and edits their entries in place.
//!
//! `cli` shows and asks; nothing here prints.

mod client;
mod connected;
mod edits;
mod file;
mod guard;
mod launch;
mod ledger;
mod mask;
mod plan;
mod registry;
mod server;
mod survey;
mod syntax;
mod yaml;

mod amp;
mod antigravity;
mod claude_code;
mod claude_desktop;
mod cline;
mod codex;
mod copilot;
mod cursor;
mod devin;
mod gemini;
mod junie;
mod kiro;
mod lmstudio;
mod opencode;
mod vscode;
mod vscode_insiders;
mod warp;
mod windsurf;
mod zed;

pub use client::{Client, Folders, Limit};
pub use file::FileError;
pub use launch::{CommandLaunch, Launch, UrlLaunch};
pub use plan::{Change, Choice, ClientsError, Left, Plan, Planner, Task};
pub use registry::{CLIENTS, Scope, client};
pub use survey::{FoundFile, FoundServer, ServerKind, survey, user_files, with_ledger};
pub use yaml::{is_yaml, lines_to_paste};

#[cfg(test)]
mod tests;
