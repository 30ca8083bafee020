//! `approval-proxy wrap` and `unwrap`: guard the servers in the files of MCP clients, and restore them.
//!
//! `clients` edits the files; this shows what changes and why something does not.

mod diff;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::clients::{ClientFilesError, list, print, state_folder};
use super::columns::Layout;
use super::exit_code;
use super::options::StateDirOption;
use crate::clients::{
    CLIENTS, Choice, ClientsError, Folders, Plan, Planner, Scope, Task, client, is_yaml,
    lines_to_paste, survey, user_files, with_ledger,
};
use crate::config::{Environment, Word as _, escaped};
use crate::policy::Mode;
use crate::sys::with_causes;

/// `approval-proxy wrap`.
#[derive(Debug, Clone, Args)]
pub struct WrapCommand {
    #[command(flatten)]
    pub(super) state_dir: StateDirOption,

    #[command(flatten)]
    targets: Targets,

    /// Write this mode into the entries
    #[arg(long, value_name = "MODE", value_parser = modes())]
    mode: Option<String>,
}

/// `approval-proxy unwrap`.
#[derive(Debug, Clone, Args)]
pub struct UnwrapCommand {
    #[command(flatten)]
    pub(super) state_dir: StateDirOption,

    #[command(flatten)]
    targets: Targets,
}

/// Which entries of which files to change.
#[derive(Debug, Clone, Args)]
struct Targets {
    /// Change the files of this client, or this file
    ///
    /// A file of a project, such as .mcp.json, changes only if you name it
    #[arg(value_name = "CLIENT|FILE")]
    named: Vec<OsString>,

    /// Change the files of all clients of this user
    #[arg(long, conflicts_with = "named")]
    all: bool,

    /// Change only the server NAME; repeatable
    #[arg(long, value_name = "NAME")]
    server: Vec<String>,

    /// Leave the server NAME alone; repeatable
    #[arg(long, value_name = "NAME")]
    except: Vec<String>,

    /// Write the files, instead of only showing what would change
    #[arg(long)]
    write: bool,
}

fn modes() -> PossibleValuesParser {
    PossibleValuesParser::new(Mode::WORDS.iter().map(|(word, _)| *word))
}

pub(super) fn wrap(
    command: WrapCommand,
    environment: &Environment,
) -> Result<u8, ClientFilesError> {
    let state_dir = state_folder(command.state_dir, environment)?;
    let task = Task::Wrap(command.mode.as_deref());
    run(command.targets, task, state_dir, environment)
}

pub(super) fn unwrap(
    command: UnwrapCommand,
    environment: &Environment,
) -> Result<u8, ClientFilesError> {
    let state_dir = state_folder(command.state_dir, environment)?;
    run(command.targets, Task::Unwrap, state_dir, environment)
}

fn run(
    targets: Targets,
    task: Task<'_>,
    state_dir: Option<PathBuf>,
    environment: &Environment,
) -> Result<u8, ClientFilesError> {
    let planner = Planner {
        folders: Folders::of(environment),
        state_dir: state_dir.ok_or(ClientFilesError::NoFolder)?,
        program: program()?,
    };
    let mut out = io::stdout().lock();
    if targets.named.is_empty() && !targets.all {
        return Err(show_what_is_there(&planner, task, &mut out)?);
    }
    let files = files(&targets, &planner, task)?;
    if files.is_empty() && matches!(task, Task::Wrap(_)) {
        return Err(nothing_found(&targets, &planner));
    }
    let mut run = Run {
        planner: &planner,
        task,
        choice: Choice {
            only: targets.server,
            except: targets.except,
        },
        is_write: targets.write,
        layout: Layout::of_stdout(),
        failed: 0,
        changed: 0,
        limits: BTreeSet::new(),
        logins: Vec::new(),
    };
    let plans = run.plans(&files, &mut out)?;
    run.check_names(&plans)?;
    for plan in plans {
        run.carry_out(plan, &mut out)?;
    }
    if let (Task::Wrap(_), Some(folders)) = (task, &planner.folders) {
        run.show_kept(&files, folders, &mut out)?;
    }
    run.finish(&mut out)
}

/// Returns the absolute path of this program: a desktop program has no `PATH` of a shell.
fn program() -> Result<String, ClientFilesError> {
    let path = std::env::current_exe().map_err(ClientFilesError::Program)?;
    let unusable = || ClientFilesError::Program(io::ErrorKind::InvalidFilename.into());
    path.into_os_string().into_string().map_err(|_| unusable())
}

/// A file to change.
#[derive(Debug)]
struct Target {
    path: PathBuf,
    /// Whether the user named this very file.
    is_named: bool,
}

fn files(
    targets: &Targets,
    planner: &Planner<'_>,
    task: Task<'_>,
) -> Result<Vec<Target>, ClientFilesError> {
    let mut files: Vec<Target> = Vec::new();
    let mut add = |path: PathBuf, is_named: bool| {
        let target = path.canonicalize().unwrap_or_else(|_| path.clone());
        let is_known = files.iter().any(|known| {
            known.path == path || known.path.canonicalize().is_ok_and(|known| known == target)
        });
        if !is_known {
            files.push(Target { path, is_named });
        }
    };
    let folders = planner.folders.as_ref();
    for word in &targets.named {
        if let Some(client) = word.to_str().and_then(client) {
            let folders = folders.ok_or(ClientFilesError::NoHome)?;
            user_files(client, folders)
                .into_iter()
                .for_each(|path| add(path, false));
            continue;
        }
        let path = PathBuf::from(word);
        let looks_like_path = path.components().count() > 1 || path.extension().is_some();
        if !path.exists() && !looks_like_path {
            let names: Vec<&str> = CLIENTS.iter().map(|client| client.name).collect();
            return Err(ClientFilesError::Usage(format!(
                "`{}` is neither a client nor a file; the clients are {}",
                escaped(&word.to_string_lossy()),
                names.join(", ")
            )));
        }
        add(path, true);
    }
    if targets.all {
        let folders = folders.ok_or(ClientFilesError::NoHome)?;
        for client in CLIENTS {
            user_files(client, folders)
                .into_iter()
                .for_each(|path| add(path, false));
        }
        if matches!(task, Task::Unwrap) {
            let others = with_ledger(&planner.state_dir, Some(folders));
            others.into_iter().for_each(|path| add(path, false));
        }
    }
    Ok(files)
}

fn nothing_found(targets: &Targets, planner: &Planner<'_>) -> ClientFilesError {
    let what = match targets.all {
        true => "no file of an MCP client was found in your home folder".to_owned(),
        false => {
            let names = targets
                .named
                .iter()
                .map(|name| escaped(&name.to_string_lossy()));
            let names: Vec<String> = names.collect();
            format!("no file of {} was found", names.join(", "))
        }
    };
    let home = planner
        .folders
        .as_ref()
        .map(|folders| folders.home().display().to_string());
    let home = home.map_or_else(String::new, |home| {
        format!(" (home folder: {})", escaped(&home))
    });
    ClientFilesError::NothingFound(format!("{what}{home}; name the file itself"))
}

fn show_what_is_there(
    planner: &Planner<'_>,
    task: Task<'_>,
    out: &mut impl Write,
) -> Result<ClientFilesError, ClientFilesError> {
    let folders = planner.folders.as_ref().ok_or(ClientFilesError::NoHome)?;
    let project = std::env::current_dir().ok();
    let found = survey(folders, project.as_deref(), Some(&planner.state_dir));
    let text = match found.is_empty() {
        true => "No MCP client was found.".to_owned(),
        false => list(&found, folders),
    };
    print(out, &text)?;
    let verb = match task {
        Task::Wrap(_) => "guard",
        Task::Unwrap => "restore",
    };
    Ok(ClientFilesError::Usage(format!(
        "nothing was changed; name the clients or files to {verb}, or use --all for all files of this user"
    )))
}

struct Run<'r, 'e> {
    planner: &'r Planner<'e>,
    task: Task<'r>,
    choice: Choice,
    is_write: bool,
    layout: Layout,
    /// How many files were left as they were because of an error.
    failed: usize,
    /// How many entries change.
    changed: usize,
    /// What to say about the limits of clients.
    limits: BTreeSet<&'static str>,
    /// The servers at which clients may have logged in themselves.
    logins: Vec<String>,
}

impl Run<'_, '_> {
    fn shown(&self, path: &Path) -> String {
        let shown = match &self.planner.folders {
            Some(folders) => folders.shown(path),
            None => path.display().to_string(),
        };
        escaped(&shown)
    }

    fn plans(
        &mut self,
        files: &[Target],
        out: &mut impl Write,
    ) -> Result<Vec<Plan>, ClientFilesError> {
        let mut plans = Vec::new();
        for file in files {
            if is_yaml(&file.path) {
                self.paste(&file.path, out)?;
                continue;
            }
            match self.planner.plan(&file.path, self.task, &self.choice) {
                Ok(plan) => plans.push(plan),
                // A client's settings need not list servers.
                Err(ClientsError::NoServers | ClientsError::Empty) if !file.is_named => {
                    print(out, &format!("{}: no servers", self.shown(&file.path)))?;
                }
                Err(error) => self.fail(&file.path, &error),
            }
        }
        Ok(plans)
    }

    fn fail(&mut self, path: &Path, error: &ClientsError) {
        self.failed += 1;
        tracing::error!("{}: {}", self.shown(path), escaped(&with_causes(error)));
    }

    /// Shows the lines for a file that we do not edit.
    fn paste(&mut self, path: &Path, out: &mut impl Write) -> Result<(), ClientFilesError> {
        let shown = self.shown(path);
        let Task::Wrap(mode) = self.task else {
            return print(
                out,
                &format!("{shown}: YAML files are not changed; edit it by hand"),
            );
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                self.failed += 1;
                tracing::error!("{shown}: it cannot be read; change that, then try again: {error}");
                return Ok(());
            }
        };
        let all = lines_to_paste(&text, &self.planner.program, mode);
        if all.is_empty() {
            return print(out, &format!("{shown}: no server with a command was found"));
        }
        print(
            out,
            &format!(
                "{shown}: YAML files are not changed; put these lines in place of the command, in front of its arguments"
            ),
        )?;
        for (name, lines) in all {
            print(
                out,
                &format!("\n# {}\n{}", escaped(&name), lines.trim_end()),
            )?;
        }
        print(out, "")
    }

    /// Refuses names that no file has: somebody who mistypes a name believes that the server is guarded.
    fn check_names(&self, plans: &[Plan]) -> Result<(), ClientFilesError> {
        let known: BTreeSet<&str> = plans
            .iter()
            .flat_map(|plan| plan.names.iter().map(String::as_str))
            .collect();
        let mut wanted = self.choice.only.iter().chain(&self.choice.except);
        let unknown = wanted.find(|name| !known.contains(name.as_str()));
        match unknown {
            Some(name) => {
                let known: Vec<String> = known.into_iter().map(escaped).collect();
                Err(ClientFilesError::Usage(format!(
                    "there is no server `{}` in these files; the servers are {}",
                    escaped(name),
                    known.join(", ")
                )))
            }
            None => Ok(()),
        }
    }

    fn carry_out(&mut self, mut plan: Plan, out: &mut impl Write) -> Result<(), ClientFilesError> {
        let mut path = self.shown(&plan.path);
        if let Some(target) = plan.target() {
            path = format!("{path} (a symbolic link to {})", self.shown(target));
        }
        print(out, &format!("{}: {path}", plan.client.title))?;
        for change in &plan.changes {
            let place = match plan.client.name {
                "claude-code" if change.path.len() > 2 => {
                    let project = change.path.get(1).map_or("", String::as_str);
                    format!(" (project {})", escaped(project))
                }
                _ => String::new(),
            };
            print(out, &format!("  {}{place}", escaped(&change.name)))?;
            print(out, &diff::diff(&change.before, &change.after, self.layout))?;
            if let Some(note) = change.note {
                print(out, &format!("  {}: {note}", escaped(&change.name)))?;
            }
        }
        for left in &plan.left {
            let (name, why) = (escaped(&left.name), escaped(&left.why));
            print(out, &format!("  {name}: left alone: {why}"))?;
        }
        if plan.changes.is_empty() && plan.left.is_empty() {
            print(out, "  nothing to change")?;
        }
        if self.is_write {
            let shown = plan.changes.len();
            if let Err(error) = self.planner.write(&mut plan, self.task, &self.choice) {
                self.fail(&plan.path, &error);
                return Ok(());
            }
            if plan.changes.len() < shown {
                print(out, "  another run of approval-proxy has done the rest")?;
            }
            if plan.is_change() {
                print(out, &format!("  written: {path}"))?;
            }
        }
        self.changed += plan.changes.len();
        if !plan.changes.is_empty() && matches!(self.task, Task::Wrap(_)) {
            self.limits
                .extend(plan.client.limit.as_ref().map(|limit| limit.advice));
            self.logins.append(&mut plan.logins);
            if plan.scope == Scope::Project {
                print(
                    out,
                    "  this file is shared: everybody who uses it needs `approval-proxy` in their PATH",
                )?;
            }
        }
        Ok(())
    }

    /// Says which files of the same clients are left alone.
    fn show_kept(
        &self,
        files: &[Target],
        folders: &Folders<'_>,
        out: &mut impl Write,
    ) -> Result<(), ClientFilesError> {
        if files.iter().all(|file| file.is_named) {
            return Ok(());
        }
        for file in survey(folders, None, None) {
            if let Scope::Kept(why) = file.scope {
                print(
                    out,
                    &format!("{}: left alone: {why}", self.shown(&file.path)),
                )?;
            }
        }
        Ok(())
    }

    fn finish(self, out: &mut impl Write) -> Result<u8, ClientFilesError> {
        let servers = match self.changed {
            1 => "1 server".to_owned(),
            many => format!("{many} servers"),
        };
        if let Task::Wrap(_) = self.task {
            for limit in &self.limits {
                print(out, &format!("\n{limit}."))?;
            }
            if !self.logins.is_empty() {
                let names: Vec<String> = self.logins.iter().map(|name| escaped(name)).collect();
                print(
                    out,
                    &format!(
                        "\nThe client's own OAuth login is not used any more for {}; if the server asks for a login, \
                         approval-proxy opens a browser.",
                        names.join(", ")
                    ),
                )?;
            }
        }
        match (self.changed, self.is_write, self.task) {
            (0, _, Task::Wrap(_)) => print(out, "\nThere is nothing to guard.")?,
            (0, _, Task::Unwrap) => print(out, "\nThere is nothing to restore.")?,
            (_, false, Task::Wrap(_)) => {
                print(
                    out,
                    &format!("\nThis would guard {servers}. Nothing is written yet; add --write."),
                )?;
            }
            (_, false, Task::Unwrap) => {
                print(
                    out,
                    &format!(
                        "\nThis would restore {servers}. Nothing is written yet; add --write."
                    ),
                )?;
            }
            (_, true, Task::Wrap(_)) => print(
                out,
                &format!(
                    "\n{servers} guarded. To check: restart the client; then `approval-proxy clients` shows which \
                     servers have connected since."
                ),
            )?,
            (_, true, Task::Unwrap) => {
                print(out, &format!("\n{servers} restored. Restart the client."))?;
            }
        }
        match self.failed {
            0 => Ok(exit_code::OK),
            failed => Err(ClientFilesError::Some(failed)),
        }
    }
}
