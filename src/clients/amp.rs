//! Amp: the key is literally `amp.mcpServers`.

use super::client::{COMMON, Client, no_files};

pub(super) static CLIENT: Client = Client {
    name: "amp",
    title: "Amp",
    user_files: |folders| vec![folders.in_config("amp/settings.json")],
    kept_files: no_files,
    project_files: &[".amp/settings.json"],
    places: &[&["amp.mcpServers"], &["mcpServers"]],
    form: &COMMON,
    limit: None,
};
