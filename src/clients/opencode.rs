//! opencode: `command` is an array, the environment is `environment`, and unknown keys are refused.

use std::path::PathBuf;

use super::client::{COMMON, Client, Folders, Form, Limit, Remote, no_files};
use super::launch::Variables;

pub(super) static CLIENT: Client = Client {
    name: "opencode",
    title: "opencode",
    user_files,
    kept_files: no_files,
    project_files: &["opencode.jsonc", "opencode.json"],
    places: &[&["mcp"]],
    form: &FORM,
    limit: Some(Limit {
        key: "timeout",
        enough: 600_000.0,
        advice: "opencode ends a tool call after the server's `timeout`, in milliseconds; set it to 600000, so that there is \
         time to ask",
    }),
};

const FORM: Form = Form {
    is_array: true,
    env: "environment",
    stdio: "local",
    remote: Remote {
        kind: Some("remote"),
        ..COMMON.remote
    },
    variables: Variables::Opencode,
    ..COMMON
};

/// `opencode.jsonc` shadows `opencode.json`.
fn user_files(folders: &Folders<'_>) -> Vec<PathBuf> {
    let files = ["opencode.jsonc", "opencode.json"];
    let files = files.map(|name| folders.in_config("opencode").join(name));
    match files.iter().position(|file| file.exists()) {
        Some(at) => files.into_iter().skip(at).take(1).collect(),
        None => files.into(),
    }
}
