//! Gemini CLI: `httpUrl` is HTTP, `url` is HTTP+SSE unless `type` says otherwise.

use super::client::{COMMON, Client, Form, Limit, MCP_SERVERS, Remote, no_files};
use super::launch::Variables;

pub(super) static CLIENT: Client = Client {
    name: "gemini",
    title: "Gemini CLI",
    user_files: |folders| vec![folders.in_home(".gemini/settings.json")],
    kept_files: no_files,
    project_files: &[".gemini/settings.json"],
    places: MCP_SERVERS,
    form: &FORM,
    limit: Some(Limit {
        key: "timeout",
        enough: 600_000.0,
        advice: "Gemini CLI ends a tool call after the server's `timeout`, in milliseconds; set it to 600000, so that there is \
         time to ask",
    }),
};

const FORM: Form = Form {
    remote: Remote {
        url: "httpUrl",
        ..COMMON.remote
    },
    is_url_sse: true,
    variables: Variables::Braces,
    ..COMMON
};
