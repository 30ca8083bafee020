//! Junie, the agent of JetBrains.

use super::client::{COMMON, Client, MCP_SERVERS, no_files};

pub(super) static CLIENT: Client = Client {
    name: "junie",
    title: "Junie",
    user_files: |folders| vec![folders.in_home(".junie/mcp/mcp.json")],
    kept_files: no_files,
    project_files: &[".junie/mcp/mcp.json"],
    places: MCP_SERVERS,
    form: &COMMON,
    limit: None,
};
