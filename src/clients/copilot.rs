//! Copilot CLI: `type` is `local` for a server over stdio. VS Code reads its file too.

use super::client::{COMMON, Client, Form, MCP_SERVERS, Remote, no_files};
use super::launch::Variables;

pub(super) static CLIENT: Client = Client {
    name: "copilot",
    title: "Copilot CLI",
    user_files: |folders| {
        let own = folders.variable("COPILOT_HOME");
        vec![
            own.unwrap_or_else(|| folders.in_home(".copilot"))
                .join("mcp-config.json"),
        ]
    },
    kept_files: no_files,
    project_files: &[".github/mcp.json"],
    places: MCP_SERVERS,
    form: &FORM,
    limit: None,
};

const FORM: Form = Form {
    stdio: "local",
    remote: Remote {
        kind: Some("http"),
        ..COMMON.remote
    },
    variables: Variables::Braces,
    ..COMMON
};
