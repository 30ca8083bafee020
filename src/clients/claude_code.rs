//! Claude Code: the servers of the user and those of each project in `~/.claude.json`, and a `.mcp.json` in a project.

use std::fs;
use std::path::{Path, PathBuf};

use super::client::{COMMON, Client, Folders, Form, Remote};
use super::launch::Variables;

pub(super) static CLIENT: Client = Client {
    name: "claude-code",
    title: "Claude Code",
    user_files,
    kept_files,
    project_files: &[".mcp.json"],
    places: &[&["mcpServers"], &["projects", "*", "mcpServers"]],
    form: &FORM,
    limit: None,
};

const FORM: Form = Form {
    remote: Remote {
        kind: Some("http"),
        ..COMMON.remote
    },
    variables: Variables::Braces,
    ..COMMON
};

const PLUGIN: &str = "a plugin's cached copy, which its next update overwrites";
const MANAGED: &str = "managed by the administrator of this machine";

fn user_files(folders: &Folders<'_>) -> Vec<PathBuf> {
    let own = folders.variable("CLAUDE_CONFIG_DIR");
    vec![
        own.unwrap_or_else(|| folders.in_home(""))
            .join(".claude.json"),
    ]
}

/// The files of plugins, which stand a few folders down, and those of the administrator.
fn kept_files(folders: &Folders<'_>) -> Vec<(PathBuf, &'static str)> {
    let own = folders.variable("CLAUDE_CONFIG_DIR");
    let own = own.unwrap_or_else(|| folders.in_home(".claude"));
    let mut files = Vec::new();
    find_plugins(&own.join("plugins"), DEPTH, &mut files);
    files.sort();
    let plugins = files.into_iter().map(|file| (file, PLUGIN));
    let managed = [
        "/etc/claude-code/managed-mcp.json",
        "/Library/Application Support/ClaudeCode/managed-mcp.json",
    ];
    plugins
        .chain(managed.map(|file| (PathBuf::from(file), MANAGED)))
        .collect()
}

/// How many folders lie between `plugins` and the files of a plugin, at most.
const DEPTH: usize = 6;
/// Plugins may bring whole repositories.
const MOST: usize = 200;

fn find_plugins(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if files.len() >= MOST {
            return;
        }
        if is_folder && depth > 0 && name != "node_modules" && name != ".git" {
            find_plugins(&entry.path(), depth - 1, files);
        } else if !is_folder && (name == ".mcp.json" || name == "plugin.json") {
            files.push(entry.path());
        }
    }
}
