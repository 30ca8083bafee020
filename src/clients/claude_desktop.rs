//! Claude Desktop: a file of the user, and no variables. It starts servers over stdio only.

use super::client::{COMMON, Client, Form, MCP_SERVERS, no_files};
use super::launch::Variables;

pub(super) static CLIENT: Client = Client {
    name: "claude-desktop",
    title: "Claude Desktop",
    user_files: |folders| {
        // One of the tables that we know writes the folder in lower case.
        ["Claude", "claude"]
            .map(|folder| {
                folders
                    .in_app_data(folder)
                    .join("claude_desktop_config.json")
            })
            .into()
    },
    kept_files: no_files,
    project_files: &[],
    places: MCP_SERVERS,
    form: &FORM,
    limit: None,
};

const FORM: Form = Form {
    variables: Variables::None,
    ..COMMON
};
