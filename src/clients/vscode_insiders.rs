//! VS Code Insiders: as VS Code, in a folder of its own.

use super::client::{Client, no_files};
use super::vscode::{FORM, SERVERS};

pub(super) static CLIENT: Client = Client {
    name: "vscode-insiders",
    title: "VS Code Insiders",
    user_files: |folders| {
        vec![
            folders.in_app_data("Code - Insiders/User/mcp.json"),
            folders.in_home(".vscode-server-insiders/data/User/mcp.json"),
        ]
    },
    kept_files: no_files,
    project_files: &[],
    places: SERVERS,
    form: &FORM,
    limit: None,
};
