//! All clients that we know.

use std::path::Path;

use super::client::{COMMON, Client, Folders, Place, no_files};
use super::{
    amp, antigravity, claude_code, claude_desktop, cline, codex, copilot, cursor, devin, gemini,
    junie, kiro, lmstudio, opencode, vscode, vscode_insiders, warp, windsurf, zed,
};

/// The clients, in the order of the documentation.
pub const CLIENTS: [&Client; 19] = [
    &claude_desktop::CLIENT,
    &claude_code::CLIENT,
    &cursor::CLIENT,
    &vscode::CLIENT,
    &vscode_insiders::CLIENT,
    &codex::CLIENT,
    &zed::CLIENT,
    &gemini::CLIENT,
    &opencode::CLIENT,
    &copilot::CLIENT,
    &devin::CLIENT,
    &windsurf::CLIENT,
    &antigravity::CLIENT,
    &cline::CLIENT,
    &kiro::CLIENT,
    &junie::CLIENT,
    &lmstudio::CLIENT,
    &amp::CLIENT,
    &warp::CLIENT,
];

/// Stands for the client of a file that no known client reads: all places where clients list servers.
pub(super) static UNKNOWN: Client = Client {
    name: "unknown",
    title: "unknown client",
    user_files: |_| Vec::new(),
    kept_files: no_files,
    project_files: &[],
    places: ALL_PLACES,
    form: &COMMON,
    limit: None,
};

const ALL_PLACES: &[Place] = &[
    &["mcpServers"],
    &["servers"],
    &["context_servers"],
    &["mcp_servers"],
    &["amp.mcpServers"],
    &["mcp", "servers"],
    &["projects", "*", "mcpServers"],
];

/// Returns the client called `name`.
#[must_use]
pub fn client(name: &str) -> Option<&'static Client> {
    CLIENTS.into_iter().find(|client| client.name == name)
}

/// Whose a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The user's.
    User,
    /// A project's: committed and shared.
    Project,
    /// Nobody's whom we know.
    Other,
    /// Somebody else's, who would overwrite our changes or must not be overruled. Holds the reason.
    Kept(&'static str),
}

/// Returns the client that reads the file at an absolute path, and whose file it is.
pub(super) fn owner(path: &Path, folders: Option<&Folders<'_>>) -> (&'static Client, Scope) {
    let target = path.canonicalize();
    let is = |known: &Path| {
        known == path
            || target
                .as_ref()
                .is_ok_and(|target| known.canonicalize().is_ok_and(|known| known == *target))
    };
    if let Some(folders) = folders {
        for client in CLIENTS {
            let kept = (client.kept_files)(folders);
            if let Some((_, why)) = kept.iter().find(|(known, _)| is(known)) {
                return (client, Scope::Kept(why));
            }
            if (client.user_files)(folders).iter().any(|known| is(known)) {
                return (client, Scope::User);
            }
        }
    }
    // The longest ending first: `.warp/.mcp.json` is not Claude Code's `.mcp.json`.
    let mut endings: Vec<(&str, &'static Client)> = CLIENTS
        .into_iter()
        .flat_map(|client| client.project_files.iter().map(move |end| (*end, client)))
        .collect();
    endings.sort_by_key(|(end, _)| std::cmp::Reverse(end.split('/').count()));
    let ending = |path: &Path| endings.iter().find(|(end, _)| path.ends_with(end));
    // A link may have another name than the file of the project that it leads to.
    let ending = ending(path).or_else(|| ending(target.as_ref().ok()?));
    match ending {
        Some((_, client)) => (*client, Scope::Project),
        None => (&UNKNOWN, Scope::Other),
    }
}
