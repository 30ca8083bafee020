//! Codex: TOML, and variables only by their names (`env_vars`, `bearer_token_env_var`). It refuses an entry over stdio with a key of remote entries.

use super::client::{COMMON, Client, Form, Limit, Remote, no_files};
use super::launch::Variables;

pub(super) static CLIENT: Client = Client {
    name: "codex",
    title: "Codex",
    user_files: |folders| {
        let own = folders.variable("CODEX_HOME");
        vec![
            own.unwrap_or_else(|| folders.in_home(".codex"))
                .join("config.toml"),
        ]
    },
    kept_files: no_files,
    project_files: &[".codex/config.toml"],
    places: &[&["mcp_servers"]],
    form: &FORM,
    limit: Some(Limit {
        key: "tool_timeout_sec",
        enough: 600.0,
        advice: "Codex ends a tool call after 60 seconds unless `tool_timeout_sec` of the server is larger; set it to 600, so \
         that there is time to ask",
    }),
};

const FORM: Form = Form {
    remote_only: &["oauth", "oauth_resource", "scopes"],
    // `auth` reuses the login of Codex itself.
    inimitable: &["auth", "bearer_token", "client_id"],
    remote: Remote {
        headers: "http_headers",
        ..COMMON.remote
    },
    variables: Variables::None,
    ..COMMON
};
