//! Which clients are on this machine, with their files and servers.

use std::io;
use std::path::{Path, PathBuf};

use super::client::{Client, Folders};
use super::connected::last_connected;
use super::file::ClientFile;
use super::launch::{Launch, holds_values, project_of};
use super::ledger::Ledgers;
use super::plan::{ClientsError, parse};
use super::registry::{CLIENTS, Scope, owner};
use super::server::{Kind, Server, URL_KEYS, servers, syntax_of};
use super::syntax::{Node, Syntax};

/// A file of a client.
#[derive(Debug)]
pub struct FoundFile {
    /// The client.
    pub client: &'static Client,
    /// Whose it is.
    pub scope: Scope,
    /// Its path.
    pub path: PathBuf,
    /// Its servers, or why they cannot be read.
    pub servers: Result<Vec<FoundServer>, ClientsError>,
}

/// A server in a file.
#[derive(Debug)]
pub struct FoundServer {
    /// Its name.
    pub name: String,
    /// How the client reaches it.
    pub kind: Option<ServerKind>,
    /// Whether we guard it.
    pub is_guarded: bool,
    /// Whether the client does not use it.
    pub is_disabled: bool,
    /// When a client was last connected to it through us.
    pub connected: Option<String>,
    /// The folder of the project that it is for, if its file is for several.
    pub project: Option<String>,
    /// Why `wrap` leaves it alone.
    pub kept: Option<String>,
    /// How the client reaches it.
    pub launch: Launch,
    /// What to do about a limit of the client that ends a call before a person can answer.
    pub short_limit: Option<&'static str>,
    /// Whether the entry holds values that may be secrets.
    pub holds_values: bool,
}

/// How a client reaches a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerKind {
    /// It starts it.
    Stdio,
    /// Over HTTP.
    Url,
}

impl ServerKind {
    /// Returns the word for JSON and lists.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ServerKind::Stdio => "stdio",
            ServerKind::Url => "url",
        }
    }
}

/// Returns the user's files of a client that exist, even if they cannot be read.
#[must_use]
pub fn user_files(client: &Client, folders: &Folders<'_>) -> Vec<PathBuf> {
    let files = (client.user_files)(folders);
    let mut found: Vec<PathBuf> = Vec::new();
    let mut targets = Vec::new();
    for file in files {
        let is_missing = file.symlink_metadata().is_err_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            )
        });
        if is_missing {
            continue;
        }
        // Two names of one file count once.
        let target = file.canonicalize().unwrap_or_else(|_| file.clone());
        if !targets.contains(&target) {
            targets.push(target);
            found.push(file);
        }
    }
    found
}

/// Returns the files that have guarded entries according to the ledgers, except those of projects.
#[must_use]
pub fn with_ledger(state_dir: &Path, folders: Option<&Folders<'_>>) -> Vec<PathBuf> {
    let ledgers = Ledgers::find(state_dir).ok().flatten();
    let files = ledgers.map(|ledgers| ledgers.files()).unwrap_or_default();
    let is_wanted = |path: &PathBuf| {
        path.exists() && !matches!(owner(path, folders).1, Scope::Project | Scope::Kept(_))
    };
    files.into_iter().filter(is_wanted).collect()
}

/// Looks at the files of all clients: the user's, those that we never change, and those of the project in `folder`.
#[must_use]
pub fn survey(
    folders: &Folders<'_>,
    folder: Option<&Path>,
    state_dir: Option<&Path>,
) -> Vec<FoundFile> {
    let mut found = Vec::new();
    for client in CLIENTS {
        let own = user_files(client, folders)
            .into_iter()
            .map(|path| (path, Scope::User));
        let kept = (client.kept_files)(folders).into_iter();
        let kept = kept.map(|(path, why)| (path, Scope::Kept(why)));
        let projects = client
            .project_files
            .iter()
            .filter_map(|file| Some(folder?.join(file)));
        let projects = projects.map(|path| (path, Scope::Project));
        let mut all: Vec<(PathBuf, Scope)> = own.chain(kept).collect();
        for (path, scope) in projects {
            // In the home folder, these are the user's.
            if !all.iter().any(|(known, _)| *known == path)
                && owner(&path, Some(folders)).1 == scope
            {
                all.push((path, scope));
            }
        }
        let exists = |path: &Path| path.symlink_metadata().is_ok();
        let is_found = |(path, scope): &(PathBuf, Scope)| *scope == Scope::User || exists(path);
        for (path, scope) in all.into_iter().filter(is_found) {
            let servers = look(&path, client, scope, folders, state_dir);
            // Most plugins have no servers.
            let is_empty = servers.as_ref().map_or(true, Vec::is_empty);
            if !(matches!(scope, Scope::Kept(_)) && is_empty) {
                found.push(FoundFile {
                    client,
                    scope,
                    path,
                    servers,
                });
            }
        }
    }
    found
}

fn look(
    path: &Path,
    client: &Client,
    scope: Scope,
    folders: &Folders<'_>,
    state_dir: Option<&Path>,
) -> Result<Vec<FoundServer>, ClientsError> {
    let file = ClientFile::read(path)?;
    let syntax = syntax_of(path).unwrap_or(Syntax::Json);
    let text = file.text()?;
    let root = match parse(syntax, text) {
        Err(ClientsError::Empty) => return Ok(Vec::new()),
        parsed => parsed?,
    };
    let listed = listed(&root, client, scope);
    let describe = |server| {
        let launch = Launch::of(server, client, folders);
        describe(server, launch, short_limit(server, client, text), state_dir)
    };
    Ok(listed.iter().map(describe).collect())
}

fn listed<'n>(root: &'n Node, client: &Client, scope: Scope) -> Vec<Server<'n>> {
    let listed = servers(root, client);
    match (scope, listed.is_empty()) {
        // A plugin may write its servers without a key around them.
        (Scope::Kept(_), true) => servers(root, &super::registry::UNKNOWN),
        _ => listed,
    }
}

fn describe(
    server: &Server<'_>,
    launch: Launch,
    short_limit: Option<&'static str>,
    state_dir: Option<&Path>,
) -> FoundServer {
    let (kind, is_guarded) = match &server.kind {
        Kind::Stdio(_) => (Some(ServerKind::Stdio), false),
        Kind::Url(_) => (Some(ServerKind::Url), false),
        Kind::Guarded(words) => {
            let texts = words.texts();
            let ours = texts.iter().take_while(|word| **word != "--");
            let is_url = ours.into_iter().any(|word| word.starts_with("--url"));
            let kind = match is_url {
                true => ServerKind::Url,
                false => ServerKind::Stdio,
            };
            (Some(kind), true)
        }
        Kind::Kept(_) => {
            let has = |keys: &[&str]| keys.iter().any(|key| server.member.node.get(key).is_some());
            let kind = match (has(&URL_KEYS), has(&["command"])) {
                (true, _) => Some(ServerKind::Url),
                (false, true) => Some(ServerKind::Stdio),
                (false, false) => None,
            };
            (kind, false)
        }
    };
    let connected = || last_connected(state_dir?, &name_in_log(server));
    FoundServer {
        name: server.name().to_owned(),
        kind,
        is_guarded,
        is_disabled: server.is_disabled(),
        connected: is_guarded.then(connected).flatten(),
        project: project_of(server).map(str::to_owned),
        kept: match &server.kind {
            Kind::Kept(why) => Some(why.clone()),
            Kind::Stdio(_) | Kind::Url(_) | Kind::Guarded(_) => None,
        },
        launch,
        short_limit,
        holds_values: holds_values(&server.member.node),
    }
}

/// Returns what to do about a client's limit, unless the entry raises it. `text` is that of the file.
fn short_limit(server: &Server<'_>, client: &Client, text: &str) -> Option<&'static str> {
    let limit = client.limit.as_ref()?;
    let own = server.member.node.get(limit.key);
    let own = own.and_then(|member| text.get(member.node.at.clone()));
    let own = own.and_then(|text| text.trim().parse::<f64>().ok());
    own.is_none_or(|own| own < limit.enough)
        .then_some(limit.advice)
}

/// Returns the name by which we log the calls of a guarded server.
fn name_in_log(server: &Server<'_>) -> String {
    let Kind::Guarded(words) = &server.kind else {
        return server.name().to_owned();
    };
    let texts = words.texts();
    let ours: Vec<&str> = texts.into_iter().take_while(|word| *word != "--").collect();
    let value = |flag: &str| {
        let pairs = ours.iter().zip(ours.iter().skip(1));
        let behind = pairs.into_iter().find(|(word, _)| **word == flag);
        let inside = ours
            .iter()
            .find_map(|word| word.strip_prefix(flag)?.strip_prefix('='));
        behind.map(|(_, value)| *value).or(inside)
    };
    let name = value("--name")
        .or_else(|| value("--server"))
        .or_else(|| value("-s"));
    name.unwrap_or(server.name()).to_owned()
}
