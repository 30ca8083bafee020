//! Kiro: JSON with `disabled`, `autoApprove` and `disabledTools`.

use super::client::{COMMON, Client, MCP_SERVERS, no_files};

pub(super) static CLIENT: Client = Client {
    name: "kiro",
    title: "Kiro",
    user_files: |folders| vec![folders.in_home(".kiro/settings/mcp.json")],
    kept_files: no_files,
    project_files: &[".kiro/settings/mcp.json"],
    places: MCP_SERVERS,
    form: &COMMON,
    limit: None,
};
