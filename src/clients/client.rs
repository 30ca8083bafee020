//! What we know about one MCP client: its files, where the servers stand in them, and how it writes an entry.
//!
//! Each client has a module of its own; `registry` lists them.

use std::path::{Path, PathBuf};

use super::launch::Variables;
use crate::config::Environment;

/// One MCP client.
#[derive(Debug)]
pub struct Client {
    /// The name on our command line.
    pub name: &'static str,
    /// The name that people know.
    pub title: &'static str,
    /// The user's files, whether they exist or not.
    pub(super) user_files: fn(&Folders<'_>) -> Vec<PathBuf>,
    /// Files that we never change, whether they exist or not, each with the reason.
    pub(super) kept_files: fn(&Folders<'_>) -> Vec<(PathBuf, &'static str)>,
    /// The ends of the paths of files that stand in projects.
    pub(super) project_files: &'static [&'static str],
    /// Where the servers stand in a file.
    pub(super) places: &'static [Place],
    /// How it writes an entry.
    pub(super) form: &'static Form,
    /// Its own limit on the time of a tool call, if it has one.
    pub limit: Option<Limit>,
}

/// A client's own limit on the time of a tool call.
#[derive(Debug)]
pub struct Limit {
    /// The key of an entry that sets it.
    pub(super) key: &'static str,
    /// The value that gives a person time to answer, in the client's unit.
    pub(super) enough: f64,
    /// What to do about it.
    pub advice: &'static str,
}

/// A path of keys to an object of servers. `*` stands for every key.
pub(super) type Place = &'static [&'static str];

/// How a client writes an entry.
#[derive(Debug)]
pub(super) struct Form {
    /// Whether `command` is an array with the arguments.
    pub(super) is_array: bool,
    /// The key of the environment.
    pub(super) env: &'static str,
    /// The word for stdio of the keys `type` and `transport`.
    pub(super) stdio: &'static str,
    /// Keys of remote entries that an entry over stdio must not have.
    pub(super) remote_only: &'static [&'static str],
    /// Keys of remote entries whose meaning we cannot keep: a login or headers that the client makes itself.
    pub(super) inimitable: &'static [&'static str],
    /// What to write for a remote entry that the ledger does not know.
    pub(super) remote: Remote,
    /// Whether `url` without `type` means HTTP+SSE.
    pub(super) is_url_sse: bool,
    /// How it writes variables in an entry.
    pub(super) variables: Variables,
}

/// The keys of a remote entry.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) url: &'static str,
    pub(super) headers: &'static str,
    /// The word of `type` if an entry needs one.
    pub(super) kind: Option<&'static str>,
}

/// The form of most clients.
pub(super) const COMMON: Form = Form {
    is_array: false,
    env: "env",
    stdio: "stdio",
    remote_only: &["oauth"],
    inimitable: &["headersHelper", "authProviderType"],
    remote: Remote {
        url: "url",
        headers: "headers",
        kind: None,
    },
    is_url_sse: false,
    variables: Variables::Unknown,
};

/// The place of most clients.
pub(super) const MCP_SERVERS: &[Place] = &[&["mcpServers"]];

/// Says that a client has no files that we keep.
pub(super) fn no_files(_: &Folders<'_>) -> Vec<(PathBuf, &'static str)> {
    Vec::new()
}

/// Where a user's files are.
#[derive(Debug, Clone)]
pub struct Folders<'e> {
    environment: &'e Environment,
    home: PathBuf,
}

impl<'e> Folders<'e> {
    /// Returns the folders of the user; `None` if nothing says where the home folder is.
    #[must_use]
    pub fn of(environment: &'e Environment) -> Option<Folders<'e>> {
        let home = environment.home_folder()?;
        Some(Folders { environment, home })
    }

    /// The home folder.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Returns a path in the home folder.
    pub(super) fn in_home(&self, path: &str) -> PathBuf {
        self.home.join(path)
    }

    /// Returns a path in the folder for configurations: `XDG_CONFIG_HOME`, else `~/.config`.
    pub(super) fn in_config(&self, path: &str) -> PathBuf {
        let folder = self.variable("XDG_CONFIG_HOME");
        // "All paths set in these environment variables must be absolute."
        let folder = folder.filter(|folder| folder.is_absolute());
        folder.unwrap_or_else(|| self.in_home(".config")).join(path)
    }

    /// Returns a path in the folder where desktop programs keep their data.
    pub(super) fn in_app_data(&self, path: &str) -> PathBuf {
        match cfg!(target_os = "macos") {
            true => self.in_home("Library/Application Support").join(path),
            false => self.in_config(path),
        }
    }

    /// Returns the folder that a variable of the client names.
    pub(super) fn variable(&self, name: &str) -> Option<PathBuf> {
        self.environment.of_another_program(name).map(PathBuf::from)
    }

    /// Writes a path with `~` for the home folder.
    #[must_use]
    pub fn shown(&self, path: &Path) -> String {
        match path.strip_prefix(&self.home) {
            Ok(rest) => format!("~/{}", rest.display()),
            Err(_) => path.display().to_string(),
        }
    }
}
