//! Antigravity: entries like Windsurf's, in one of three folders.

use super::client::{Client, MCP_SERVERS, no_files};
use super::windsurf::FORM;

pub(super) static CLIENT: Client = Client {
    name: "antigravity",
    title: "Antigravity",
    user_files: |folders| {
        ["config", "antigravity-cli", "antigravity"]
            .map(|folder| {
                folders
                    .in_home(".gemini")
                    .join(folder)
                    .join("mcp_config.json")
            })
            .into()
    },
    kept_files: no_files,
    project_files: &[".agents/mcp_config.json"],
    places: MCP_SERVERS,
    form: &FORM,
    limit: None,
};
