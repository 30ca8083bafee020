//! A small but real MCP server over stdio: notes to list, read, add, rename and delete. It does not know about
//! approvals, because `approval-proxy` guards servers without changing them.
//!
//! ```text
//! cargo run --release --example notes_server              # the notes live in memory
//! cargo run --release --example notes_server -- my-notes  # … or as files in the directory my-notes
//! ```
//!
//! Its tools deliberately have different hints, because a proxy must handle each kind:
//!
//! | tool           | hints                                      |
//! |----------------|--------------------------------------------|
//! | `list_notes`   | `readOnlyHint: true`                       |
//! | `read_note`    | `readOnlyHint: true`                       |
//! | `add_note`     | none at all                                |
//! | `rename_note`  | `readOnlyHint` and `destructiveHint` false |
//! | `delete_note`  | `destructiveHint: true`                    |
//! | `count_slowly` | `readOnlyHint: true`; reports its progress |

#![allow(
    clippy::print_stderr,
    reason = "stdout is the wire; stderr is for messages to the operator"
)]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, fs};

use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    GetPromptResult, Implementation, ListResourcesResult, PaginatedRequestParams,
    ProgressNotificationParam, PromptMessage, ReadResourceRequestParams, ReadResourceResponse,
    ReadResourceResult, Resource, ResourceContents, Role, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::transport::stdio;
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt};
use rmcp::{prompt, prompt_handler, prompt_router, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("notes_server: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves one client until it closes our stdin.
async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    // An empty argument counts as none, so that a configuration can use `${NOTES_DIR:-}`.
    let directory = std::env::args_os()
        .nth(1)
        .filter(|argument| !argument.is_empty());
    let store = Store::open(directory.map(PathBuf::from))?;
    let service = NotesServer { store }.serve(stdio()).await?;
    service.waiting().await?;
    Ok(())
}

/// The server: what a client sees of the store.
struct NotesServer {
    store: Store,
}

/// Each tool returns `Err(StoreError)` if it fails. rmcp turns that, and arguments that do not fit the schema, into a
/// result with `isError: true`, which the model can read and learn from. A JSON-RPC error would not reach the model.
#[tool_router]
impl NotesServer {
    #[tool(
        description = "List the names of all notes.",
        annotations(title = "List notes", read_only_hint = true)
    )]
    async fn list_notes(&self) -> String {
        let names = self.store.names();
        let names: Vec<&str> = names.iter().map(NoteName::as_str).collect();
        if names.is_empty() {
            "There are no notes.".to_owned()
        } else {
            names.join("\n")
        }
    }

    #[tool(
        description = "Read one note.",
        annotations(title = "Read a note", read_only_hint = true)
    )]
    async fn read_note(
        &self,
        Parameters(OneNote { name }): Parameters<OneNote>,
    ) -> Result<String, StoreError> {
        self.store.read(&name)
    }

    // No annotations: many real servers give none, and a gate must still notice that this tool writes.
    #[tool(description = "Add a note. A note that exists already is left as it is.")]
    async fn add_note(
        &self,
        Parameters(AddNote { name, text }): Parameters<AddNote>,
    ) -> Result<String, StoreError> {
        let done = format!("Added the note `{name}`.");
        self.store.add(name, text)?;
        Ok(done)
    }

    #[tool(
        description = "Give a note another name. The name must be free.",
        annotations(
            title = "Rename a note",
            read_only_hint = false,
            destructive_hint = false
        )
    )]
    async fn rename_note(
        &self,
        Parameters(RenameNote { from, to }): Parameters<RenameNote>,
    ) -> Result<String, StoreError> {
        let done = format!("Renamed the note `{from}` to `{to}`.");
        self.store.rename(&from, to)?;
        Ok(done)
    }

    #[tool(
        description = "Delete a note for good.",
        annotations(title = "Delete a note", destructive_hint = true)
    )]
    async fn delete_note(
        &self,
        Parameters(OneNote { name }): Parameters<OneNote>,
    ) -> Result<String, StoreError> {
        self.store.delete(&name)?;
        Ok(format!("Deleted the note `{name}`."))
    }

    #[tool(
        description = "Count slowly, to try out progress reports and cancellation.",
        annotations(title = "Count slowly", read_only_hint = true)
    )]
    async fn count_slowly(
        &self,
        Parameters(CountSlowly { up_to, pause_ms }): Parameters<CountSlowly>,
        context: RequestContext<RoleServer>,
    ) -> Result<String, String> {
        let progress_token = context.meta.get_progress_token();
        for number in 1..=up_to {
            tokio::select! {
                () = context.ct.cancelled() => {
                    eprintln!("count_slowly: cancelled before {number} of {up_to}");
                    return Err(format!("Cancelled before {number}."));
                }
                () = tokio::time::sleep(Duration::from_millis(pause_ms.into())) => {}
            }
            // Only a client that sent a token wants progress.
            if let Some(token) = &progress_token {
                let progress = ProgressNotificationParam::new(token.clone(), number.into())
                    .with_total(up_to.into())
                    .with_message(format!("counted to {number}"));
                // A disconnected client receives no progress, and will cancel the call in a moment.
                let _ = context.peer.notify_progress(progress).await;
            }
        }
        Ok(format!("Counted to {up_to}."))
    }
}

#[prompt_router]
impl NotesServer {
    #[prompt(
        name = "summarise_notes",
        description = "Ask the model to summarise all notes."
    )]
    async fn summarise_notes(
        &self,
        Parameters(SummariseNotes { focus }): Parameters<SummariseNotes>,
    ) -> Result<GetPromptResult, ErrorData> {
        let mut text = "Summarise these notes in a few sentences.".to_owned();
        if let Some(focus) = focus {
            text.push_str(&format!(" Pay most attention to: {focus}."));
        }
        for name in self.store.names() {
            let note = self.store.read(&name)?;
            text.push_str(&format!("\n\n## {name}\n\n{note}"));
        }
        Ok(
            GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)])
                .with_description("A summary of all notes"),
        )
    }
}

#[tool_handler]
#[prompt_handler]
impl ServerHandler for NotesServer {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_prompts()
            .enable_resources()
            .enable_tools()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(
                Implementation::new("notes", env!("CARGO_PKG_VERSION")).with_title("Notes"),
            )
            .with_instructions("A handful of short notes. Names are letters, digits, `-` and `_`.")
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let names = self.store.names();
        let resources = names
            .iter()
            .map(|name| {
                Resource::new(format!("{URI_PREFIX}{name}"), name.as_str())
                    .with_mime_type("text/plain")
            })
            .collect();
        Ok(ListResourcesResult::with_all_items(resources))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri;
        let text = uri
            .strip_prefix(URI_PREFIX)
            .and_then(|name| NoteName::try_from(name.to_owned()).ok())
            .map(|name| self.store.read(&name));
        match text {
            Some(Ok(text)) => {
                let contents = ResourceContents::text(text, uri).with_mime_type("text/plain");
                Ok(ReadResourceResult::new(vec![contents]).into())
            }
            Some(Err(error @ StoreError::Io(_))) => Err(error.into()),
            Some(Err(StoreError::Missing(_) | StoreError::Taken(_))) | None => Err(
                ErrorData::resource_not_found(format!("there is no resource `{uri}`"), None),
            ),
        }
    }
}

/// The arguments of `read_note` and `delete_note`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OneNote {
    /// The name of the note.
    name: NoteName,
}

/// The arguments of `add_note`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AddNote {
    /// The name of the new note.
    name: NoteName,
    /// Its text.
    text: String,
}

/// The arguments of `rename_note`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RenameNote {
    /// The current name of the note.
    from: NoteName,
    /// The new name of the note.
    to: NoteName,
}

/// The arguments of `count_slowly`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CountSlowly {
    /// The last number.
    #[serde(default = "five")]
    up_to: u8,
    /// How long to wait before each number, in milliseconds.
    #[serde(default = "two_hundred")]
    pause_ms: u16,
}

/// The arguments of the prompt `summarise_notes`.
#[derive(Deserialize, JsonSchema)]
struct SummariseNotes {
    /// What to emphasize in the summary.
    focus: Option<String>,
}

/// The name of a note: 1 to 64 letters, digits, `-` and `_`.
///
/// It is safe to use as a file name and in a URI. There is no other way to create one, so `../../etc/passwd` is
/// rejected when the arguments are read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(inline, extend("pattern" = "^[A-Za-z0-9_-]{1,64}$"))]
struct NoteName(String);

impl NoteName {
    fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the note's name for the file `path`, or `None` for other files.
    fn from_file(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(".txt")?;
        Self::try_from(name.to_owned()).ok()
    }
}

impl TryFrom<String> for NoteName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if (1..=64).contains(&name.len()) && name.chars().all(fits) {
            Ok(Self(name))
        } else {
            Err("the name of a note is 1 to 64 letters, digits, hyphens and underscores".to_owned())
        }
    }
}

impl fmt::Display for NoteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The notes, in memory and, if there is a directory, also in files, so that others can see what a call did.
struct Store {
    /// Locked during a whole change, including the file, so that each change is atomic.
    notes: Mutex<BTreeMap<NoteName, String>>,
    /// Read once at the start, then only written.
    directory: Option<PathBuf>,
}

impl Store {
    /// Opens a store with the notes of `directory`, which is created if needed. Adds the first notes if there are none.
    fn open(directory: Option<PathBuf>) -> Result<Self, StoreError> {
        let mut notes = BTreeMap::new();
        if let Some(directory) = &directory {
            fs::create_dir_all(directory)?;
            for entry in fs::read_dir(directory)? {
                let path = entry?.path();
                if let Some(name) = NoteName::from_file(&path) {
                    notes.insert(name, fs::read_to_string(path)?);
                }
            }
        }
        let is_new = notes.is_empty();
        let store = Self {
            notes: Mutex::new(notes),
            directory,
        };
        if is_new {
            for (name, text) in FIRST_NOTES {
                store.add(NoteName(name.to_owned()), text.to_owned())?;
            }
        }
        Ok(store)
    }

    fn names(&self) -> Vec<NoteName> {
        self.lock().keys().cloned().collect()
    }

    fn read(&self, name: &NoteName) -> Result<String, StoreError> {
        let text = self.lock().get(name).cloned();
        text.ok_or_else(|| StoreError::Missing(name.clone()))
    }

    fn add(&self, name: NoteName, text: String) -> Result<(), StoreError> {
        let mut notes = self.lock();
        if notes.contains_key(&name) {
            return Err(StoreError::Taken(name));
        }
        if let Some(file) = self.file(&name) {
            fs::write(file, &text)?;
        }
        notes.insert(name, text);
        Ok(())
    }

    fn rename(&self, from: &NoteName, to: NoteName) -> Result<(), StoreError> {
        let mut notes = self.lock();
        if notes.contains_key(&to) {
            return Err(StoreError::Taken(to));
        }
        let Some(text) = notes.get(from).cloned() else {
            return Err(StoreError::Missing(from.clone()));
        };
        if let (Some(from), Some(to)) = (self.file(from), self.file(&to)) {
            fs::rename(from, to)?;
        }
        notes.remove(from);
        notes.insert(to, text);
        Ok(())
    }

    fn delete(&self, name: &NoteName) -> Result<(), StoreError> {
        let mut notes = self.lock();
        if !notes.contains_key(name) {
            return Err(StoreError::Missing(name.clone()));
        }
        if let Some(file) = self.file(name) {
            fs::remove_file(file)?;
        }
        notes.remove(name);
        Ok(())
    }

    fn file(&self, name: &NoteName) -> Option<PathBuf> {
        let directory = self.directory.as_ref()?;
        Some(directory.join(format!("{name}.txt")))
    }

    /// If a thread panicked with the lock held, the notes are as before its change or as after it.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NoteName, String>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the store failed.
#[derive(Debug, thiserror::Error)]
enum StoreError {
    #[error("There is no note `{0}`.")]
    Missing(NoteName),
    #[error("There is a note `{0}` already.")]
    Taken(NoteName),
    #[error("The notes cannot be reached: {0}")]
    Io(#[from] io::Error),
}

/// For tools: a result with `isError: true`.
impl rmcp::model::IntoContents for StoreError {
    fn into_contents(self) -> Vec<rmcp::model::ContentBlock> {
        self.to_string().into_contents()
    }
}

/// For prompts and resources, which have no such result.
impl From<StoreError> for ErrorData {
    fn from(error: StoreError) -> Self {
        Self::internal_error(error.to_string(), None)
    }
}

fn five() -> u8 {
    5
}

fn two_hundred() -> u16 {
    200
}

/// The beginning of each note's URI; the name follows.
const URI_PREFIX: &str = "notes:///";

/// The notes of a new store.
const FIRST_NOTES: [(&str, &str); 3] = [
    (
        "ideas",
        "A proxy that asks before it acts.\nA kettle that tells you when the tea is cold.",
    ),
    ("shopping", "Bread, olives, lemons, a new broom."),
    (
        "welcome",
        "Welcome. These notes are yours; add some, or delete these.",
    ),
];
