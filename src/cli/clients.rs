//! `approval-proxy clients`: the MCP clients of this machine, and which of their servers are guarded.
//!
//! `clients` finds them; `wrap` changes them.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::approvals::escape_json;
use super::exit_code;
use super::options::StateDirOption;
use crate::clients::{Folders, FoundFile, FoundServer, Scope, survey};
use crate::config::{ConfigError, Environment, InboxSettings, escaped};
use crate::sys::with_causes;

/// `approval-proxy clients`.
#[derive(Debug, Clone, Args)]
pub struct ClientsCommand {
    #[command(flatten)]
    pub(super) state_dir: StateDirOption,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Why a command about the files of clients failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientFilesError {
    #[error(transparent)]
    Config(Box<ConfigError>),
    #[error("nothing says where your home folder is; set `HOME`")]
    NoHome,
    #[error("there is no state folder, because `HOME` is not set; name a folder with --state-dir")]
    NoFolder,
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    NothingFound(String),
    #[error("{}; see the messages above", match .0 { 1 => "1 file was left as it was".to_owned(), many => format!("{many} files were left as they were") })]
    Some(usize),
    #[error("the path of this program cannot be used in the file of a client")]
    Program(#[source] io::Error),
    #[error("the system refused a resource that approval-proxy needs")]
    System(#[source] io::Error),
    #[error("cannot write to stdout")]
    Stdout(#[source] io::Error),
}

impl From<ConfigError> for ClientFilesError {
    fn from(error: ConfigError) -> ClientFilesError {
        ClientFilesError::Config(Box::new(error))
    }
}

impl ClientFilesError {
    /// Returns the exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            ClientFilesError::Usage(_) => exit_code::USAGE,
            ClientFilesError::Config(_)
            | ClientFilesError::NoHome
            | ClientFilesError::NoFolder
            | ClientFilesError::NothingFound(_)
            | ClientFilesError::Some(_) => exit_code::CONFIG,
            ClientFilesError::Program(_)
            | ClientFilesError::System(_)
            | ClientFilesError::Stdout(_) => exit_code::INTERNAL,
        }
    }
}

/// Returns the state folder, which need not exist.
pub(super) fn state_folder(
    option: StateDirOption,
    environment: &Environment,
) -> Result<Option<PathBuf>, ClientFilesError> {
    Ok(InboxSettings::resolve(&option.0, environment)?.state_dir)
}

pub(super) fn run(
    command: ClientsCommand,
    environment: &Environment,
) -> Result<u8, ClientFilesError> {
    let state_dir = state_folder(command.state_dir, environment)?;
    let folders = Folders::of(environment).ok_or(ClientFilesError::NoHome)?;
    let project = std::env::current_dir().ok();
    let found = survey(&folders, project.as_deref(), state_dir.as_deref());
    let text = match command.json {
        true => {
            let all: Vec<_> = found.iter().map(as_json).collect();
            let text = serde_json::to_string_pretty(&all).map_err(io::Error::other);
            escape_json(&text.map_err(ClientFilesError::Stdout)?)
        }
        false if found.is_empty() => "No MCP client was found.".to_owned(),
        false => list(&found, &folders),
    };
    print(&mut io::stdout().lock(), &text)?;
    Ok(exit_code::OK)
}

pub(super) fn print(out: &mut impl Write, text: &str) -> Result<(), ClientFilesError> {
    writeln!(out, "{text}").map_err(ClientFilesError::Stdout)
}

#[derive(Serialize)]
struct JsonFile<'f> {
    client: &'static str,
    file: String,
    scope: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    servers: Vec<JsonServer<'f>>,
}

#[derive(Serialize)]
struct JsonServer<'f> {
    name: &'f str,
    kind: Option<&'static str>,
    guarded: bool,
    disabled: bool,
    connected: Option<&'f str>,
}

fn as_json(file: &FoundFile) -> JsonFile<'_> {
    let servers = file.servers.as_deref().unwrap_or_default().iter();
    JsonFile {
        client: file.client.name,
        file: file.path.display().to_string(),
        scope: match file.scope {
            Scope::User => "user",
            Scope::Project => "project",
            Scope::Other => "other",
            Scope::Kept(_) => "kept",
        },
        note: note(file),
        servers: servers
            .map(|server| JsonServer {
                name: &server.name,
                kind: server.kind.map(|kind| kind.as_str()),
                guarded: server.is_guarded,
                disabled: server.is_disabled,
                connected: server.connected.as_deref(),
            })
            .collect(),
    }
}

/// Why a file is not read, or not changed.
fn note(file: &FoundFile) -> Option<String> {
    match (&file.servers, file.scope) {
        (Err(error), _) => Some(with_causes(error)),
        (Ok(_), Scope::Kept(why)) => Some(format!("{why}; it is left alone")),
        (Ok(_), Scope::Project) => {
            Some("of this project; wrap changes it only if you name it".into())
        }
        (Ok(_), Scope::User | Scope::Other) => None,
    }
}

/// Returns the list for people.
pub(super) fn list(found: &[FoundFile], folders: &Folders<'_>) -> String {
    let widest = |width: fn(&FoundServer) -> usize| {
        let servers = found
            .iter()
            .flat_map(|file| file.servers.as_deref().unwrap_or_default());
        servers.map(width).max().unwrap_or_default()
    };
    let width = widest(|server| escaped(&server.name).chars().count()).min(40);
    let mut lines = Vec::new();
    for file in found {
        let path = escaped(&folders.shown(&file.path));
        let note = note(file).map_or_else(String::new, |note| format!("  ({})", escaped(&note)));
        lines.push(format!(
            "{} ({})  {path}{note}",
            file.client.title, file.client.name
        ));
        let servers = file.servers.as_deref().unwrap_or_default();
        if servers.is_empty() && file.servers.is_ok() {
            lines.push("  no servers".to_owned());
        }
        for server in servers {
            let kind = server.kind.map_or("unknown", |kind| kind.as_str());
            let guarded = match server.is_guarded {
                true => "guarded",
                false => "not guarded",
            };
            let disabled = match server.is_disabled {
                true => ", disabled",
                false => "",
            };
            let connected = match (&server.connected, server.is_guarded) {
                (Some(time), _) => format!(", last connected {}", escaped(time)),
                (None, true) => ", never connected".to_owned(),
                (None, false) => String::new(),
            };
            let name = escaped(&server.name);
            lines.push(format!(
                "  {name:width$}  {kind:7}  {guarded}{disabled}{connected}"
            ));
        }
    }
    lines.join("\n")
}
