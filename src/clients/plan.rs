//! What to change in one file, worked out before anything is written.
//!
//! `guard` edits the entries, `file` and `ledger` write. `cli` shows the plan.

use std::path::{Path, PathBuf};

use super::client::{Client, Folders};
use super::edits::Edits;
use super::file::{ClientFile, FileError};
use super::guard::{Edited, Guard, Original, unwrap, uses_login_of_client};
use super::ledger::{Ledger, Ledgers, Record, TRIES};
use super::mask::masked;
use super::registry::{Scope, owner};
use super::server::{Kind, Server, has_a_list, is_guarded_at, servers, syntax_of};
use super::syntax::{Node, Syntax, SyntaxError};
use crate::sys::state_dir::StoreError;

/// Works out plans.
#[derive(Debug)]
pub struct Planner<'e> {
    /// Where the user's files are.
    pub folders: Option<Folders<'e>>,
    /// The state folder, which may not exist yet.
    pub state_dir: PathBuf,
    /// Our own program, as a desktop program can start it.
    pub program: String,
}

/// What to do with a file.
#[derive(Debug, Clone, Copy)]
pub enum Task<'m> {
    /// Guard its servers, with this mode.
    Wrap(Option<&'m str>),
    /// Take the guards away.
    Unwrap,
}

/// Which servers to change.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Only these, or all if empty.
    pub only: Vec<String>,
    /// All but these.
    pub except: Vec<String>,
}

impl Choice {
    fn has(&self, name: &str) -> bool {
        let is_in = |names: &[String]| names.iter().any(|one| one == name);
        (self.only.is_empty() || is_in(&self.only)) && !is_in(&self.except)
    }
}

/// Why a file cannot be changed. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its text.
    #[error("{0}")]
    Syntax(String),
    /// There is nothing in it, as in a file that a client has just created.
    #[error("it is empty; add servers to it in the client first")]
    Empty,
    /// It lists no servers.
    #[error(
        "it lists no MCP servers under `mcpServers`, `servers` or the key of a known client; add them first, or name \
         another file"
    )]
    NoServers,
    /// We must not change it.
    #[error("it is {0}; change its servers where they come from")]
    Kept(&'static str),
    /// Our own folder.
    #[error("it was not changed, because no copy of it can be kept")]
    State(#[from] StoreError),
    /// Another run keeps the lock.
    #[error(
        "another run of approval-proxy has been changing files of clients for 10 s; end it, then try again"
    )]
    Busy,
    /// A bug, or a form of file that we did not think of.
    #[error("the entry of `{0}` cannot be edited without changing something else; edit it by hand")]
    NotEditable(String),
}

/// What is to change in one file.
#[derive(Debug)]
pub struct Plan {
    /// The client that reads it.
    pub client: &'static Client,
    /// Whose it is.
    pub scope: Scope,
    /// The path as it was named.
    pub path: PathBuf,
    /// The names of all its servers.
    pub names: Vec<String>,
    /// The entries that change.
    pub changes: Vec<Change>,
    /// The entries that stay as they are.
    pub left: Vec<Left>,
    /// The names of the servers at which the client may have logged in itself.
    pub logins: Vec<String>,
    file: ClientFile,
    text: Option<String>,
    before: Ledger,
    after: Ledger,
    is_unwrap: bool,
}

/// An entry that changes.
#[derive(Debug)]
pub struct Change {
    /// The name of the server.
    pub name: String,
    /// The keys that lead to it.
    pub path: Vec<String>,
    /// Its text before, without secrets.
    pub before: String,
    /// Its text afterwards, without secrets.
    pub after: String,
    /// Why it does not become byte for byte what it was, if it does not.
    pub note: Option<&'static str>,
}

/// An entry that stays as it is.
#[derive(Debug)]
pub struct Left {
    /// The name of the server.
    pub name: String,
    /// Why.
    pub why: String,
}

impl Planner<'_> {
    /// Works out what to change in the file at `path`.
    ///
    /// # Errors
    /// A file that cannot be read or has no servers.
    pub fn plan(&self, path: &Path, task: Task<'_>, choice: &Choice) -> Result<Plan, ClientsError> {
        let ledgers = Ledgers::find(&self.state_dir)?;
        // A run writes the ledger, then the file: between the two they do not belong together.
        let lock = ledgers
            .as_ref()
            .map(|ledgers| ledgers.lock_for_reading(TRIES));
        let _lock = match lock.transpose()? {
            Some(lock) => Some(lock.ok_or(ClientsError::Busy)?),
            None => None,
        };
        self.plan_locked(path, task, choice, ledgers.as_ref())
    }

    /// Works out what to change in the file at `path`. The caller holds the lock of the ledgers, if there are any.
    fn plan_locked(
        &self,
        path: &Path,
        task: Task<'_>,
        choice: &Choice,
        ledgers: Option<&Ledgers>,
    ) -> Result<Plan, ClientsError> {
        let path = std::path::absolute(path).map_err(FileError::Read)?;
        let (client, scope) = owner(&path, self.folders.as_ref());
        let file = ClientFile::read(&path)?;
        if let Scope::Kept(why) = scope {
            return Err(ClientsError::Kept(why));
        }
        let syntax = syntax_of(&path).unwrap_or(Syntax::Json);
        let text = file.text()?;
        let root = parse(syntax, text)?;
        let found = servers(&root, client);
        if found.is_empty() && !has_a_list(&root, client) {
            return Err(ClientsError::NoServers);
        }
        let before = match ledgers {
            Some(ledgers) => ledgers.read(&file.target)?,
            None => Ledger::new(&file.target),
        };
        let mut after = before.clone();
        after.named = path.to_string_lossy().into_owned();
        let names = found
            .iter()
            .map(|server| server.name().to_owned())
            .collect();
        let mut plan = Plan {
            client,
            scope,
            path,
            names,
            changes: Vec::new(),
            left: Vec::new(),
            logins: Vec::new(),
            text: None,
            after,
            before,
            is_unwrap: matches!(task, Task::Unwrap),
            file,
        };
        let chosen: Vec<_> = found
            .iter()
            .filter(|server| choice.has(server.name()))
            .collect();
        plan.work_out(syntax, &root, &chosen, task, self)?;
        Ok(plan)
    }

    /// Writes a plan of this task and choice. If another run has changed the same file since, works the plan out again,
    /// and writes it if it changes nothing that was not shown.
    ///
    /// # Errors
    /// The file has changed, or cannot be written. It is as it was.
    pub fn write(
        &self,
        plan: &mut Plan,
        task: Task<'_>,
        choice: &Choice,
    ) -> Result<(), ClientsError> {
        if !plan.is_change() && !plan.may_forget() {
            return Ok(());
        }
        if plan.is_change() {
            plan.file.check_writable()?;
        }
        let ledgers = Ledgers::open(&self.state_dir)?;
        let _lock = ledgers.lock(TRIES)?.ok_or(ClientsError::Busy)?;
        // INVARIANT: the ledger that is replaced is the one that was read, so no run forgets what another one kept.
        if ledgers.read(&plan.file.target)? != plan.before {
            let again = self.plan_locked(&plan.path, task, choice, Some(&ledgers))?;
            if !again.is_part_of(plan) {
                return Err(FileError::Changed.into());
            }
            *plan = again;
        }
        plan.write(&ledgers)
    }
}

impl Plan {
    /// Returns the file that changes if the path is a symbolic link.
    #[must_use]
    pub fn target(&self) -> Option<&Path> {
        self.path.is_symlink().then_some(&self.file.target)
    }

    /// Returns true if there is something to write.
    #[must_use]
    pub fn is_change(&self) -> bool {
        self.text.is_some()
    }

    fn work_out(
        &mut self,
        syntax: Syntax,
        root: &Node,
        chosen: &[&Server<'_>],
        task: Task<'_>,
        planner: &Planner<'_>,
    ) -> Result<(), ClientsError> {
        let form = self.client.form;
        let text = self.file.text()?.to_owned();
        let mut edits = Edits::new(&text, syntax);
        let mut edited: Vec<(&Server<'_>, Option<&'static str>)> = Vec::new();
        for server in chosen {
            if !is_in_one_place(root, server) {
                let why = "its keys are spread over the file";
                self.leave(server, why.to_owned());
                continue;
            }
            edits.enter(&server.member.node.at);
            let (done, note) = match task {
                Task::Wrap(mode) => {
                    let program = match self.scope {
                        // Others share it, and have us somewhere else.
                        Scope::Project => "approval-proxy",
                        Scope::User | Scope::Other | Scope::Kept(_) => &planner.program,
                    };
                    if uses_login_of_client(server) {
                        self.logins.push(server.name().to_owned());
                    }
                    let guard = Guard { program, mode };
                    (guard.wrap(server, form, &mut edits), None)
                }
                Task::Unwrap => self.unwrap(&text, syntax, server, &mut edits),
            };
            match done {
                Edited::Yes => edited.push((server, note)),
                Edited::No(why) => self.leave(server, why),
            }
        }
        if !edited.is_empty() {
            let new = edits.apply();
            self.compare(&edits, &text, &new, &edited)?;
            self.text = Some(new);
        }
        Ok(())
    }

    fn leave(&mut self, server: &Server<'_>, why: String) {
        // That an entry is not guarded is no news when guards are taken away.
        if self.is_unwrap && !matches!(server.kind, Kind::Guarded(_)) {
            return;
        }
        let name = server.name().to_owned();
        self.left.push(Left { name, why });
    }

    /// Restores an entry from the ledger, or by its structure.
    fn unwrap(
        &self,
        text: &str,
        syntax: Syntax,
        server: &Server<'_>,
        edits: &mut Edits<'_>,
    ) -> (Edited, Option<&'static str>) {
        let entry = &server.member.node;
        let record = self.before.entry(&server.path);
        if !matches!(server.kind, Kind::Guarded(_)) {
            return (unwrap(server, self.client.form, None, edits), None);
        }
        // In TOML, blank lines and comments that stood in the entry may stand in front of it or behind it now.
        let place = |wrapped: &String| {
            let is_around =
                |at: &usize| *at <= entry.at.start && *at + wrapped.len() >= entry.at.end;
            let mut found = text.match_indices(wrapped.as_str()).map(|(at, _)| at);
            let at = found.find(is_around)?;
            Some(at..at + wrapped.len())
        };
        if let Some(record) = record
            && let Some(place) = record.wrapped.iter().find_map(place)
        {
            edits.replace(place, record.original.as_str());
            return (Edited::Yes, None);
        }
        let note = match record {
            Some(_) => {
                "it was edited since it was guarded, or its client wrote it anew: unwrapped by its structure, the edits stay"
            }
            None => "the ledger does not know its original text: unwrapped by its structure",
        };
        let original = record.and_then(|record| original(record, syntax));
        let done = unwrap(server, self.client.form, original.as_ref(), edits);
        (done, Some(note))
    }

    /// Checks the new text, and notes what changes.
    fn compare(
        &mut self,
        edits: &Edits<'_>,
        old: &str,
        new: &str,
        edited: &[(&Server<'_>, Option<&'static str>)],
    ) -> Result<(), ClientsError> {
        let syntax = edits.syntax();
        let first = edited.first().map_or("", |(server, _)| server.name());
        let broken = |name: &str| ClientsError::NotEditable(name.to_owned());
        let root = syntax.parse(new).map_err(|_| broken(first))?;
        let found = servers(&root, self.client);
        let names: Vec<&str> = found.iter().map(Server::name).collect();
        if names != self.names {
            return Err(broken(first));
        }
        // All edits are inside entries, so what is between them is as long as before.
        let (mut done, mut done_now) = (0, 0);
        for (server, note) in edited {
            let name = server.name();
            let now = found.iter().find(|now| now.path == server.path);
            let now = now.ok_or_else(|| broken(name))?;
            if matches!(now.kind, Kind::Guarded(_)) == self.is_unwrap {
                return Err(broken(name));
            }
            if self.is_unwrap {
                self.after.forget(&server.path);
            } else {
                let was = &server.member.node.at;
                let start = done_now + was.start.saturating_sub(done);
                let end = start + edits.new_length(was);
                (done, done_now) = (was.end, end);
                let was = old.get(was.clone()).ok_or_else(|| broken(name))?;
                let is = new.get(start..end).ok_or_else(|| broken(name))?;
                self.remember(server, was.to_owned(), is.to_owned());
            }
            self.changes.push(Change {
                name: name.to_owned(),
                path: server.path.clone(),
                before: indented(old, server, syntax),
                after: indented(new, now, syntax),
                note: *note,
            });
        }
        Ok(())
    }

    fn remember(&mut self, server: &Server<'_>, was: String, is: String) {
        let known = self.before.entry(&server.path).cloned();
        let record = match (known, &server.kind) {
            // Somebody else wrote this guard; there is no original.
            (None, Kind::Guarded(_)) => return,
            (Some(mut known), Kind::Guarded(_)) => {
                known.wrapped.push(is);
                known
            }
            (_, Kind::Stdio(_) | Kind::Url(_) | Kind::Kept(_)) => Record {
                path: server.path.clone(),
                original: was,
                wrapped: vec![is],
            },
        };
        self.after.put(record);
    }

    /// Returns true if each change is one of another plan.
    fn is_part_of(&self, shown: &Plan) -> bool {
        let was_shown = |change: &Change| {
            let mut all = shown.changes.iter();
            let same = all.find(|one| one.path == change.path);
            same.is_some_and(|one| (&one.before, &one.after) == (&change.before, &change.after))
        };
        self.file.target == shown.file.target && self.changes.iter().all(was_shown)
    }

    /// Returns true if the ledger may know entries that are not guarded any more.
    fn may_forget(&self) -> bool {
        self.is_unwrap && !self.before.entries.is_empty()
    }

    /// Writes the plan: first the ledger and the copy, then the file. The caller holds the lock.
    fn write(&mut self, ledgers: &Ledgers) -> Result<(), ClientsError> {
        let target = &self.file.target.clone();
        if self.is_unwrap {
            if let Some(text) = &self.text {
                self.file.replace(text)?;
            }
            self.drop_stale();
            return Ok(ledgers.write(target, &self.after, None)?);
        }
        let Some(text) = &self.text else {
            return Ok(());
        };
        let is_first = self.before.entries.is_empty();
        let backup = is_first.then(|| self.file.bytes());
        ledgers.write(target, &self.after, backup)?;
        if let Err(error) = self.file.replace(text) {
            // What was kept is of no use; if this fails too, the next run replaces it.
            let _ = ledgers.write(target, &self.before, None);
            return Err(error.into());
        }
        Ok(())
    }

    /// Forgets entries that are not guarded any more: the client has removed or replaced them.
    fn drop_stale(&mut self) {
        let text = match &self.text {
            Some(text) => text.as_str(),
            None => self.file.text().unwrap_or_default(),
        };
        let syntax = syntax_of(&self.path).unwrap_or(Syntax::Json);
        let Ok(root) = syntax.parse(text) else { return };
        // Another client may list servers of its own in the same file.
        let is_guarded = |record: &Record| is_guarded_at(&root, &record.path);
        self.after.entries.retain(is_guarded);
    }
}

pub(super) fn parse(syntax: Syntax, text: &str) -> Result<Node, ClientsError> {
    syntax.parse(text).map_err(|error| match error {
        SyntaxError::Empty => ClientsError::Empty,
        SyntaxError::Invalid { .. } | SyntaxError::Twice { .. } => {
            ClientsError::Syntax(error.to_string())
        }
    })
}

/// Returns the entry from before, if its text can be read without the file around it.
fn original(record: &Record, syntax: Syntax) -> Option<Original<'_>> {
    let text = record.original.as_str();
    match syntax {
        Syntax::Json => {
            let entry = syntax.parse(text).ok()?;
            Some(Original {
                text: text.into(),
                entry,
            })
        }
        Syntax::Toml => {
            // In the lines of a table all keys that lead to it may be written, or the last ones. An inline table has none.
            let root = syntax.parse(text).ok();
            let written = (0..record.path.len())
                .filter_map(|from| record.path.get(from..))
                .find_map(|path| root.as_ref()?.at_path(path).cloned());
            if let Some(entry) = written {
                return Some(Original {
                    text: text.into(),
                    entry,
                });
            }
            let text = format!("entry = {text}");
            let root = syntax.parse(&text).ok()?;
            let entry = root.get("entry")?.node.clone();
            Some(Original {
                text: text.into(),
                entry,
            })
        }
    }
}

/// Returns true if nothing else stands between the lines of an entry, as it may in TOML.
fn is_in_one_place(root: &Node, server: &Server<'_>) -> bool {
    fn starts(node: &Node, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, usize)>) {
        for member in node.members() {
            path.push(member.key.clone());
            found.push((path.clone(), member.at().start));
            starts(&member.node, path, found);
            path.pop();
        }
    }
    let at = &server.member.node.at;
    let mut all = Vec::new();
    starts(root, &mut Vec::new(), &mut all);
    all.into_iter().all(|(path, start)| {
        let is_inside = at.contains(&start);
        let is_own = path.starts_with(&server.path) || server.path.starts_with(&path);
        !is_inside || is_own
    })
}

/// Returns the entry with its name and the blanks in front of it, without secrets.
fn indented(text: &str, server: &Server<'_>, syntax: Syntax) -> String {
    let start = server.member.at().start;
    let before = text.get(..start).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    let blanks = match line.trim().is_empty() {
        true => line,
        false => "",
    };
    format!("{blanks}{}", masked(text, server.member, syntax))
}
