//! Zed: the key is `context_servers`. Older files have `source`, the oldest a `command` with `path` in it.

use super::client::{COMMON, Client, no_files};

pub(super) static CLIENT: Client = Client {
    name: "zed",
    title: "Zed",
    user_files: |folders| vec![folders.in_config("zed/settings.json")],
    kept_files: no_files,
    project_files: &[".zed/settings.json"],
    places: &[&["context_servers"]],
    form: &COMMON,
    limit: None,
};
