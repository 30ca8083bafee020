//! Windsurf: the URL of a server is `serverUrl`.

use super::client::{COMMON, Client, Form, MCP_SERVERS, Remote, no_files};
use super::launch::Variables;

pub(super) static CLIENT: Client = Client {
    name: "windsurf",
    title: "Windsurf",
    user_files: |folders| vec![folders.in_home(".codeium/windsurf/mcp_config.json")],
    kept_files: no_files,
    project_files: &[],
    places: MCP_SERVERS,
    form: &FORM,
    limit: None,
};

pub(super) const FORM: Form = Form {
    remote: Remote {
        url: "serverUrl",
        ..COMMON.remote
    },
    variables: Variables::Env,
    ..COMMON
};
