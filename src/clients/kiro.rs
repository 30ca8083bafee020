//! Kiro: JSON with `disabled`, `autoApprove` and `disabledTools`.

use super::client::{COMMON, Client, Form, MCP_SERVERS, no_files};
use super::launch::Variables;

pub(super) static CLIENT: Client = Client {
    name: "kiro",
    title: "Kiro",
    user_files: |folders| vec![folders.in_home(".kiro/settings/mcp.json")],
    kept_files: no_files,
    project_files: &[".kiro/settings/mcp.json"],
    places: MCP_SERVERS,
    form: &FORM,
    limit: None,
};

const FORM: Form = Form {
    variables: Variables::Braces,
    ..COMMON
};
