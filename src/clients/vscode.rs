//! VS Code: the key is `servers`; questions to the user (`inputs`) stand beside it.

use super::client::{COMMON, Client, Form, Place, Remote, no_files};
use super::launch::Variables;

pub(super) static CLIENT: Client = Client {
    name: "vscode",
    title: "VS Code",
    user_files: |folders| {
        vec![
            folders.in_app_data("Code/User/mcp.json"),
            folders.in_home(".vscode-server/data/User/mcp.json"),
        ]
    },
    kept_files: no_files,
    project_files: &[".vscode/mcp.json"],
    places: SERVERS,
    form: &FORM,
    limit: None,
};

pub(super) const SERVERS: &[Place] = &[&["servers"]];

pub(super) const FORM: Form = Form {
    remote: Remote {
        kind: Some("http"),
        ..COMMON.remote
    },
    variables: Variables::Env,
    ..COMMON
};
