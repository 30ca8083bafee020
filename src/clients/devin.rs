//! Devin Desktop, which was Windsurf until June 2026: entries may name a `transport`.

use super::client::{COMMON, Client, MCP_SERVERS, no_files};

pub(super) static CLIENT: Client = Client {
    name: "devin",
    title: "Devin Desktop",
    user_files: |folders| vec![folders.in_config("devin/mcp_config.json")],
    kept_files: no_files,
    project_files: &[".devin/mcp_config.json"],
    places: MCP_SERVERS,
    form: &COMMON,
    limit: None,
};
