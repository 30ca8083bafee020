//! Cline: in the data of VS Code or Cursor, or of its own command. HTTP is `streamableHttp`.

use super::client::{COMMON, Client, Form, Limit, MCP_SERVERS, Remote, no_files};

pub(super) static CLIENT: Client = Client {
    name: "cline",
    title: "Cline",
    user_files: |folders| {
        let hosts = ["Code", "Code - Insiders", "Cursor", "Windsurf", "VSCodium"];
        let inside = "User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json";
        let files = hosts.map(|host| folders.in_app_data(host).join(inside));
        let own = folders.in_home(".cline/data/settings/cline_mcp_settings.json");
        files.into_iter().chain([own]).collect()
    },
    kept_files: no_files,
    project_files: &[],
    places: MCP_SERVERS,
    form: &FORM,
    limit: Some(Limit {
        key: "timeout",
        enough: 600.0,
        advice: "Cline ends a tool call after the server's `timeout`, in seconds, 60 if there is none; set it to 600, so that \
         there is time to ask",
    }),
};

const FORM: Form = Form {
    remote: Remote {
        kind: Some("streamableHttp"),
        ..COMMON.remote
    },
    ..COMMON
};
