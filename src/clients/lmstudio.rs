//! LM Studio: entries as in Cursor, in one of two folders.

use super::client::{COMMON, Client, MCP_SERVERS, no_files};

pub(super) static CLIENT: Client = Client {
    name: "lmstudio",
    title: "LM Studio",
    user_files: |folders| {
        [".lmstudio/mcp.json", ".cache/lm-studio/mcp.json"]
            .map(|file| folders.in_home(file))
            .into()
    },
    kept_files: no_files,
    project_files: &[],
    places: MCP_SERVERS,
    form: &COMMON,
    limit: None,
};
