//! `approval-proxy approvals`: the inbox in the terminal.
//!
//! How items look there stands in `show`.

mod columns;
mod show;
mod watch;

use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

use self::columns::Paper;
use self::show::{NAME_LIMIT, Rows, as_text, harmless, table, told};
use super::inbox::{InboxError, open};
use super::options::StateDirOption;
use super::{exit_code, passphrase};
use crate::approval::display::{quoted_name, quoted_text};
use crate::approval::item::{Assurance, Choice, Verdict, read_approver};
use crate::config::{Environment, Fault, InboxSettings, Value as _, Whole, escaped};
use crate::engines::inbox::passphrase::{PublicKey, unlock};
use crate::engines::inbox::store::{
    self, ApprovalRequests, Decided, Entry, Filter, SignedVerdict, State,
};
use crate::evidence::redact::Redaction;
use crate::sys::clock::Clock;
use crate::sys::state_dir::{StateDir, suggested_command};

/// How many items are listed at most.
const MOST: usize = 1_000;
/// The shortest part of an id that may stand for it.
const LEAST: usize = 4;
/// How many items are named where an id could be any of them.
const NAMED: usize = 5;
/// How long a proxy that waits for a verdict takes at most to find that it does not count.
const HEARD: Duration = Duration::from_millis(300);
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// `approval-proxy approvals`.
#[derive(Debug, Clone, Args)]
pub struct ApprovalsCommand {
    #[command(flatten)]
    pub(super) state_dir: StateDirOption,

    #[command(subcommand)]
    what: Approvals,
}

/// What to do with items.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Approvals {
    /// What waits, newest first, in lines of at most 80 columns, or as wide as the terminal is
    List(ListCommand),
    /// Everything about one item
    Show {
        /// The item's id, or as much of it as no other item has
        id: String,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let the call run
    Approve {
        /// The item's id, or as much of it as no other item has
        id: String,

        /// Why; goes into the audit log
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,

        /// Let this very call run again for so many minutes, at most 1440
        #[arg(long = "for", value_name = "MINUTES", value_parser = minutes)]
        minutes: Option<Whole<1, 1440>>,

        /// Record NAME as the approver; or APPROVAL_APPROVER. Nobody checks the name
        #[arg(long = "as", value_name = "NAME", value_parser = read_approver)]
        approver: Option<String>,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Refuse the call
    Deny {
        /// The item's id, or as much of it as no other item has
        id: String,

        /// Why; the agent reads it
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,

        /// Record NAME as the approver; or APPROVAL_APPROVER. Nobody checks the name
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
    /// What was decided, or waits no more, instead: with the engine, who decided, and the reason
    #[arg(long)]
    history: bool,

    /// List at most so many, from 1 to 1000, the newest
    #[arg(long, value_name = "COUNT", value_parser = count)]
    limit: Option<Whole<1, 1000>>,

    /// Print JSON, everything of each item
    #[arg(long)]
    json: bool,

    /// Go on, and show what comes and goes, until Ctrl-C
    #[arg(long, conflicts_with_all = ["history", "json"])]
    watch: bool,
}

fn count(text: &str) -> Result<Whole<1, 1000>, Fault> {
    Whole::from_text(text.trim())
}

fn minutes(text: &str) -> Result<Whole<1, 1440>, Fault> {
    Whole::from_text(text.trim())
}

/// Why there is no item to do something with.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoItem {
    #[error(
        "no item is called {}; `{list}` shows what waits, with --history what waits no more",
        quoted_name(.id)
    )]
    Unknown { id: String, list: String },
    #[error("{} could be any item; type at least {LEAST} characters of its id", quoted_name(.0))]
    TooShort(String),
    #[error("{} begins the ids of more than one item: {}; type more of it", quoted_name(.id), .items.join(", "))]
    Several { id: String, items: Vec<String> },
    #[error("item {} waits no more: it is {}", .0, .1.as_str())]
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
    // What nobody waits for any more is not to be shown as if somebody did.
    store.sweep(now_ms)?;
    let paper = Paper::of_stdout();
    let mut out = io::stdout().lock();
    match command.what {
        Approvals::List(wanted) if wanted.watch => {
            let most = most(&wanted);
            watch::run(store, dir.path(), most, paper, &clock, &mut out)
        }
        Approvals::List(wanted) => list(store, dir.path(), &wanted, paper, now_ms, &mut out),
        Approvals::Show { id, json } => {
            let entry = find(&dir, store, &id)?;
            match json {
                true => print_json(&told(&entry), &mut out),
                false => say(&mut out, &as_text(&entry, now_ms)),
            }
        }
        Approvals::Approve {
            id,
            reason,
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
    let signer = match PublicKey::load(dir)? {
        Some(_) => {
            // What is signed is what stands here, whatever the store showed before.
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
    let signature = signer.map(|signer| signer.sign(item, &shown, &verdict));
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
    let entry = heard(store, &entry)?;
    if json {
        return print_json(&told(&entry), out);
    }
    let tool = quoted_text(&entry.item.tool, NAME_LIMIT);
    let server = quoted_text(&entry.item.server, NAME_LIMIT);
    say(
        out,
        &format!("{}: {tool} of {server}", entry.state.as_str()),
    )
}

/// The item of a verdict that was given, once its proxy has had the time to look at it.
fn heard(store: &mut dyn ApprovalRequests, before: &Entry) -> Result<Entry, InboxError> {
    let item = &before.item.id;
    let clock = Clock::start();
    loop {
        let entry = store.find(item)?.unwrap_or_else(|| before.clone());
        if entry.was_disregarded {
            return Err(InboxError::Disregarded(item.clone()));
        }
        if clock.now().elapsed >= HEARD {
            return Ok(entry);
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// The one item of this id, or whose id begins so: of those that wait, else of the others.
fn find(dir: &StateDir, store: &mut dyn ApprovalRequests, id: &str) -> Result<Entry, InboxError> {
    let wanted = id.trim().to_lowercase();
    if let Some(entry) = store.find(&wanted)? {
        return Ok(entry);
    }
    if wanted.len() < LEAST {
        return Err(NoItem::TooShort(id.to_owned()).into());
    }
    // What waits comes first; what has been decided counts where nothing does.
    let mut found = store.find_by_beginning(&wanted, NAMED)?;
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

/// How many items are listed at most.
fn most(wanted: &ListCommand) -> usize {
    wanted.limit.map_or(MOST, |limit| limit.get() as usize)
}

fn list(
    store: &mut dyn ApprovalRequests,
    folder: &Path,
    wanted: &ListCommand,
    paper: Paper,
    now_ms: i64,
    out: &mut impl Write,
) -> Result<u8, InboxError> {
    let most = most(wanted);
    let (entries, rows) = match wanted.history {
        true => (store.history(&Filter::default(), most)?, Rows::History),
        false => {
            let (entries, count) = store.waiting(most)?;
            (entries, Rows::Waiting { count })
        }
    };
    if wanted.json {
        let all: Vec<_> = entries.iter().map(told).collect();
        return print_json(&all, out);
    }
    match (entries.is_empty(), wanted.history) {
        (false, _) => say(out, &table(&entries, rows, now_ms, paper)),
        (true, true) => say(
            out,
            &format!("Nothing has been decided yet in {}.", shown(folder)),
        ),
        (true, false) => say(out, &nothing_waits(folder)),
    }
}

fn nothing_waits(folder: &Path) -> String {
    format!("Nothing waits for you in {}.", shown(folder))
}

fn shown(folder: &Path) -> String {
    escaped(&folder.to_string_lossy())
}

fn say(out: &mut impl Write, text: &str) -> Result<u8, InboxError> {
    writeln!(out, "{text}").map_err(InboxError::Terminal)?;
    Ok(exit_code::OK)
}

fn print_json(value: &impl Serialize, out: &mut impl Write) -> Result<u8, InboxError> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::other);
    say(out, &harmless(&text.map_err(InboxError::Terminal)?))
}
