//! Warp: a file of the user or of a project.

use super::client::{COMMON, Client, MCP_SERVERS, no_files};

pub(super) static CLIENT: Client = Client {
    name: "warp",
    title: "Warp",
    user_files: |folders| vec![folders.in_home(".warp/.mcp.json")],
    kept_files: no_files,
    project_files: &[".warp/.mcp.json"],
    places: MCP_SERVERS,
    form: &COMMON,
    limit: None,
};
