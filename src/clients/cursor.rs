//! Cursor: JSON with comments, `envFile`, variables such as `${env:NAME}`.

use super::client::{COMMON, Client, Form, MCP_SERVERS, no_files};
use super::launch::Variables;

pub(super) static CLIENT: Client = Client {
    name: "cursor",
    title: "Cursor",
    user_files: |folders| vec![folders.in_home(".cursor/mcp.json")],
    kept_files: no_files,
    project_files: &[".cursor/mcp.json"],
    places: MCP_SERVERS,
    form: &FORM,
    limit: None,
};

const FORM: Form = Form {
    variables: Variables::Env,
    ..COMMON
};
