//! `approval-proxy approvals`: the inbox in the terminal.
//!
//! `show` formats the items.

mod show;
mod watch;

use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

pub(super) use self::show::escape_json;
use self::show::{NAME_LIMIT, Rows, as_json, as_text, table};
use super::columns::Layout;
use super::inbox::{InboxError, open};
use super::options::StateDirOption;
use super::{exit_code, passphrase};
use crate::approval::display::{quoted_name, quoted_text};
use crate::approval::form::{BadAnswer, Form};
use crate::approval::item::{Assurance, Choice, Item, Verdict, read_approver};
use crate::config::{Environment, Fault, InboxSettings, Value as _, Whole, escaped};
use crate::engines::inbox::passphrase::{PublicKey, unlock};
use crate::engines::inbox::store::{
    self, ApprovalRequests, Decided, Entry, Filter, SignedVerdict, State,
};
use crate::evidence::redact::Redaction;
use crate::sys::clock::Clock;
use crate::sys::state_dir::{StateDir, suggested_command};

/// The default and largest number of listed items.
const MAX_LISTED: usize = 1_000;
/// The shortest accepted beginning of an id, in characters.
const MIN_PREFIX: usize = 4;
/// The largest number of items named in an error about an ambiguous id.
const MAX_NAMED: usize = 5;
/// The longest time that a waiting proxy takes to disregard a verdict that does not count.
const DISREGARD_TIME: Duration = Duration::from_millis(300);
/// How often to check whether it has.
const POLL_EVERY: Duration = Duration::from_millis(20);

/// `approval-proxy approvals`.
#[derive(Debug, Clone, Args)]
pub struct ApprovalsCommand {
    #[command(flatten)]
    pub(super) state_dir: StateDirOption,

    #[command(subcommand)]
    action: Approvals,
}

/// What to do with items.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Approvals {
    /// List the waiting items, newest first
    ///
    /// Lines are as wide as the terminal, or at most 80 columns without one
    List(ListCommand),
    /// Show one item in full
    Show {
        /// The item's id, or a beginning of it that no other item has
        id: String,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let the call run
    Approve {
        /// The item's id, or a beginning of it that no other item has
        id: String,

        /// Give a reason, for the audit log
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,

        /// Answer a question of the form; repeat it for each, and for each of several choices
        #[arg(long = "field", value_name = "NAME=VALUE", value_parser = field)]
        fields: Vec<(String, String)>,

        /// Let this very call run again for this many minutes, at most 1440
        #[arg(long = "for", value_name = "MINUTES", value_parser = minutes)]
        minutes: Option<Whole<1, 1440>>,

        /// Record NAME as the approver; nobody checks it
        ///
        /// Or set APPROVAL_APPROVER
        #[arg(long = "as", value_name = "NAME", value_parser = read_approver)]
        approver: Option<String>,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Refuse the call
    Deny {
        /// The item's id, or a beginning of it that no other item has
        id: String,

        /// Give a reason, which the agent can read
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,

        /// Record NAME as the approver; nobody checks it
        ///
        /// Or set APPROVAL_APPROVER
        #[arg(long = "as", value_name = "NAME", value_parser = read_approver)]
        approver: Option<String>,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// `approval-proxy approvals list`.
#[derive(Debug, Clone, Args)]
pub(super) struct ListCommand {
    /// List closed items instead, with engine, approver and reason
    #[arg(long)]
    history: bool,

    /// List only the newest COUNT items, from 1 to 1000
    #[arg(long, value_name = "COUNT", value_parser = count)]
    limit: Option<Whole<1, 1000>>,

    /// Print JSON, with everything about each item
    #[arg(long)]
    json: bool,

    /// Keep the list up to date until Ctrl-C
    #[arg(long, conflicts_with_all = ["history", "json"])]
    watch: bool,
}

fn count(text: &str) -> Result<Whole<1, 1000>, Fault> {
    Whole::from_text(text.trim())
}

fn field(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn minutes(text: &str) -> Result<Whole<1, 1440>, Fault> {
    Whole::from_text(text.trim())
}

/// Why there is no item to show or decide.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoItem {
    #[error(
        "there is no item {}; `{list}` lists the waiting items, and --history the closed ones",
        quoted_name(.id)
    )]
    Unknown { id: String, list: String },
    #[error("{} is too short; type at least {MIN_PREFIX} characters of the item's id", quoted_name(.0))]
    TooShort(String),
    #[error("{} is the beginning of several ids: {}; type more of it", quoted_name(.id), .items.join(", "))]
    Several { id: String, items: Vec<String> },
    #[error("item {} is no longer waiting: it is {}", .0, .1.as_str())]
    TooLate(String, State),
}

pub(super) fn run(command: ApprovalsCommand, environment: &Environment) -> Result<u8, InboxError> {
    let flags = *command.state_dir.0;
    let is_named = flags.state_dir.is_some();
    let folder = InboxSettings::resolve(&flags, environment)?.state_dir;
    if let Some(dir) = folder.filter(|dir| is_named && !dir.exists()) {
        return Err(InboxError::NothingThere(dir));
    }
    let (settings, dir) = open(&flags, environment)?;
    let mut store = store::open(&dir, &Redaction::default())?.requests;
    let store = &mut *store;
    let clock = Clock::start();
    let now_ms = clock.now().unix_ms;
    // Close items that nobody waits for any more, so that they are not shown as waiting.
    store.sweep(now_ms)?;
    let layout = Layout::of_stdout();
    let mut out = io::stdout().lock();
    match command.action {
        Approvals::List(wanted) if wanted.watch => {
            let limit = limit(&wanted);
            watch::run(store, dir.path(), limit, layout, &clock, &mut out)
        }
        Approvals::List(wanted) => list(store, dir.path(), &wanted, layout, now_ms, &mut out),
        Approvals::Show { id, json } => {
            let entry = find(&dir, store, &id)?;
            match json {
                true => print_json(&as_json(&entry), &mut out),
                false => print(&mut out, &as_text(&entry, now_ms)),
            }
        }
        Approvals::Approve {
            id,
            reason,
            fields,
            minutes,
            approver,
            json,
        } => {
            let cover = minutes.map_or(Duration::ZERO, |minutes: Whole<1, 1440>| {
                Duration::from_secs(60 * u64::from(minutes.get()))
            });
            let wanted = Wanted {
                choice: Choice::Approve,
                reason,
                fields,
                cover,
                approver: approver.or(settings.approver),
            };
            decide(&dir, store, &id, wanted, json, &clock, &mut out)
        }
        Approvals::Deny {
            id,
            reason,
            approver,
            json,
        } => {
            let wanted = Wanted {
                choice: Choice::Deny,
                reason,
                fields: Vec::new(),
                cover: Duration::ZERO,
                approver: approver.or(settings.approver),
            };
            decide(&dir, store, &id, wanted, json, &clock, &mut out)
        }
    }
}

struct Wanted {
    choice: Choice,
    reason: Option<String>,
    /// The answers to the form, as they were typed.
    fields: Vec<(String, String)>,
    cover: Duration,
    approver: Option<String>,
}

fn decide(
    dir: &StateDir,
    store: &mut dyn ApprovalRequests,
    id: &str,
    wanted: Wanted,
    json: bool,
    clock: &Clock,
    out: &mut impl Write,
) -> Result<u8, InboxError> {
    let entry = find(dir, store, id)?;
    let item = &entry.item.id;
    let too_late = |state| NoItem::TooLate(item.clone(), state);
    if !entry.state.is_open() {
        return Err(too_late(entry.state).into());
    }
    let fields = match wanted.choice {
        Choice::Approve => answers(&entry.item, &wanted.fields)?,
        Choice::Deny => None,
    };
    let signer = match PublicKey::load(dir)? {
        Some(_) => {
            // Show what is signed: the item may differ from what the person saw before.
            let shown = as_text(&entry, clock.now().unix_ms);
            let name = wanted.approver.as_deref().map_or_else(String::new, |name| {
                format!("You sign as {}.\n", quoted_text(name, NAME_LIMIT))
            });
            let question = format!("{shown}\n\n{name}Passphrase");
            let [passphrase] = passphrase::ask([&question])?;
            Some(unlock(dir, &passphrase)?)
        }
        None => None,
    };
    let verdict = Verdict {
        choice: wanted.choice,
        fields,
        reason: wanted.reason.filter(|reason| !reason.trim().is_empty()),
        cover: wanted.cover,
        assurance: match &signer {
            Some(_) => Assurance::InboxPassphrase,
            None => Assurance::InboxTerminal,
        },
        approver: wanted.approver,
        decided_ms: clock.now().unix_ms,
    };
    let shown = entry.item.fingerprint();
    let signature = signer.map(|signer| signer.sign(item, &shown, &verdict, None));
    match store.decide(
        item,
        &SignedVerdict {
            verdict,
            signature,
            engine: None,
        },
    )? {
        Decided::Recorded => {}
        Decided::TooLate(state) => return Err(too_late(state).into()),
        Decided::Unknown => return Err(unknown(dir, id).into()),
    }
    let entry = wait_for_proxy(store, &entry)?;
    if json {
        return print_json(&as_json(&entry), out);
    }
    let tool = quoted_text(&entry.item.tool, NAME_LIMIT);
    let server = quoted_text(&entry.item.server, NAME_LIMIT);
    print(
        out,
        &format!("{}: {tool} of {server}", entry.state.as_str()),
    )
}

/// Returns what was typed as the answers to the item's form, a JSON object; `None` if it has no form.
fn answers(item: &Item, typed: &[(String, String)]) -> Result<Option<String>, InboxError> {
    let unknown = |(name, _): &(String, String)| BadAnswer {
        name: name.clone(),
        problem: "is not part of a form of this item".to_owned(),
    };
    let Some(form) = &item.form else {
        return match typed.first() {
            Some(first) => Err(unknown(first).into()),
            None => Ok(None),
        };
    };
    let form = Form::parse(form).ok_or_else(|| BadAnswer {
        name: "form".to_owned(),
        problem: "cannot be read, so this can only be denied".to_owned(),
    })?;
    let is_known = |name: &str| form.fields().iter().any(|field| field.name == name);
    if let Some(other) = typed.iter().find(|(name, _)| !is_known(name)) {
        return Err(unknown(other).into());
    }
    let values = form.fields().iter().filter_map(|field| {
        let mine = typed.iter().filter(|(name, _)| *name == field.name);
        let mine: Vec<&str> = mine.map(|(_, value)| &**value).collect();
        Some((field.name.clone(), field.value_of(&mine)?))
    });
    let values = values.collect();
    form.check(&values)?;
    let text = serde_json::to_string(&values).map_err(io::Error::other);
    Ok(Some(text.map_err(InboxError::Terminal)?))
}

/// Gives the item's proxy time to disregard the verdict. Returns the item if it does not.
fn wait_for_proxy(store: &mut dyn ApprovalRequests, before: &Entry) -> Result<Entry, InboxError> {
    let item = &before.item.id;
    let clock = Clock::start();
    loop {
        let entry = store.find(item)?.unwrap_or_else(|| before.clone());
        if entry.was_disregarded {
            return Err(InboxError::Disregarded(item.clone()));
        }
        if clock.now().elapsed >= DISREGARD_TIME {
            return Ok(entry);
        }
        thread::sleep(POLL_EVERY);
    }
}

/// Finds the item with this id or beginning of an id, first among the waiting items, then among the others.
fn find(dir: &StateDir, store: &mut dyn ApprovalRequests, id: &str) -> Result<Entry, InboxError> {
    let wanted = id.trim().to_lowercase();
    if let Some(entry) = store.find(&wanted)? {
        return Ok(entry);
    }
    if wanted.len() < MIN_PREFIX {
        return Err(NoItem::TooShort(id.to_owned()).into());
    }
    let mut found = store.find_by_beginning(&wanted, MAX_NAMED)?;
    if found.iter().any(|entry| entry.state.is_open()) {
        found.retain(|entry| entry.state.is_open());
    }
    match <[Entry; 1]>::try_from(found) {
        Ok([entry]) => Ok(entry),
        Err(none) if none.is_empty() => Err(unknown(dir, id).into()),
        Err(several) => Err(NoItem::Several {
            id: id.to_owned(),
            items: several.into_iter().map(|entry| entry.item.id).collect(),
        }
        .into()),
    }
}

fn unknown(dir: &StateDir, id: &str) -> NoItem {
    NoItem::Unknown {
        id: id.to_owned(),
        list: suggested_command("approvals list", Some(dir.path())),
    }
}

fn limit(wanted: &ListCommand) -> usize {
    wanted
        .limit
        .map_or(MAX_LISTED, |limit| limit.get() as usize)
}

fn list(
    store: &mut dyn ApprovalRequests,
    folder: &Path,
    wanted: &ListCommand,
    layout: Layout,
    now_ms: i64,
    out: &mut impl Write,
) -> Result<u8, InboxError> {
    let limit = limit(wanted);
    let (entries, rows) = match wanted.history {
        true => (store.history(&Filter::default(), limit)?, Rows::History),
        false => {
            let (entries, count) = store.waiting(limit)?;
            (entries, Rows::Waiting { count })
        }
    };
    if wanted.json {
        let all: Vec<_> = entries.iter().map(as_json).collect();
        return print_json(&all, out);
    }
    match (entries.is_empty(), wanted.history) {
        (false, _) => print(out, &table(&entries, rows, now_ms, layout)),
        (true, true) => print(out, &format!("No closed items in {}.", shown(folder))),
        (true, false) => print(out, &nothing_waiting(folder)),
    }
}

fn nothing_waiting(folder: &Path) -> String {
    format!("Nothing is waiting for you in {}.", shown(folder))
}

fn shown(folder: &Path) -> String {
    escaped(&folder.to_string_lossy())
}

fn print(out: &mut impl Write, text: &str) -> Result<u8, InboxError> {
    writeln!(out, "{text}").map_err(InboxError::Terminal)?;
    Ok(exit_code::OK)
}

fn print_json(value: &impl Serialize, out: &mut impl Write) -> Result<u8, InboxError> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::other);
    print(out, &escape_json(&text.map_err(InboxError::Terminal)?))
}
