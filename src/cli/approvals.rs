//! `approval-proxy approvals`: the inbox in the terminal.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use super::commands::{Approvals, ApprovalsCommand};
use super::inbox::{InboxError, open};
use super::{exit_code, passphrase};
use crate::approval::display::{indented, is_unseen, quoted_name, quoted_text};
use crate::approval::item::{Assurance, Choice, Verdict};
use crate::audit::record::Timestamp;
use crate::clock::Clock;
use crate::config::{Environment, InboxFlags, Whole, escaped};
use crate::inbox::passphrase::{PublicKey, unlock};
use crate::inbox::sqlite::SqliteStore;
use crate::inbox::state_dir::StateDir;
use crate::inbox::store::{Decided, Entry, Filter, SignedVerdict, State, Store};
use crate::mcp::json::Value;

/// How many items are listed at most.
const MOST: usize = 1_000;
/// The shortest part of an id that may stand for it.
const LEAST: usize = 4;

pub(super) fn run(command: ApprovalsCommand, environment: &Environment) -> Result<u8, InboxError> {
    let flags = InboxFlags {
        state_dir: command.state_dir,
        ..InboxFlags::default()
    };
    let (_, dir) = open(flags, environment)?;
    let mut store = SqliteStore::open(&dir)?;
    let clock = Clock::start();
    let now_ms = clock.now().unix_ms;
    // What nobody waits for any more is not to be shown as if somebody did.
    store.sweep(now_ms)?;
    let mut out = io::stdout().lock();
    let code = match command.what {
        Approvals::List { history, json } => list(&mut store, history, json, now_ms, &mut out)?,
        Approvals::Show { id, json } => match find(&mut store, &id)? {
            Some(entry) if json => print_json(&told(&entry), &mut out)?,
            Some(entry) => say(&mut out, &as_text(&entry, now_ms))?,
            None => none(&id),
        },
        Approvals::Approve {
            id,
            reason,
            minutes,
            json,
        } => {
            let cover = minutes.map_or(Duration::ZERO, |minutes: Whole<1, 1440>| {
                Duration::from_secs(60 * u64::from(minutes.get()))
            });
            let wanted = Wanted {
                choice: Choice::Approve,
                reason,
                cover,
            };
            decide(&dir, &mut store, &id, wanted, json, &clock, &mut out)?
        }
        Approvals::Deny { id, reason, json } => {
            let wanted = Wanted {
                choice: Choice::Deny,
                reason,
                cover: Duration::ZERO,
            };
            decide(&dir, &mut store, &id, wanted, json, &clock, &mut out)?
        }
    };
    Ok(code)
}

struct Wanted {
    choice: Choice,
    reason: Option<String>,
    cover: Duration,
}

fn decide(
    dir: &StateDir,
    store: &mut SqliteStore,
    id: &str,
    wanted: Wanted,
    json: bool,
    clock: &Clock,
    out: &mut impl Write,
) -> Result<u8, InboxError> {
    let Some(entry) = find(store, id)? else {
        return Ok(none(id));
    };
    if !entry.state.is_open() {
        return Ok(too_late(&entry.item.id, entry.state));
    }
    let signer = match PublicKey::load(dir)? {
        Some(_) => {
            // What is signed is what stands here, whatever the store showed before.
            let shown = as_text(&entry, clock.now().unix_ms);
            let question = format!("{shown}\n\nPassphrase");
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
        decided_ms: clock.now().unix_ms,
    };
    let (item, shown) = (&entry.item.id, entry.item.fingerprint());
    let signature = signer.map(|signer| signer.sign(item, &shown, &verdict));
    let decided = store.decide(item, &SignedVerdict { verdict, signature })?;
    match decided {
        Decided::Recorded => {
            let entry = store.find(item)?.unwrap_or(entry);
            if json {
                return print_json(&told(&entry), out);
            }
            let tool = quoted_name(&entry.item.tool);
            let server = quoted_name(&entry.item.server);
            say(
                out,
                &format!("{}: {tool} of {server}", entry.state.as_str()),
            )
        }
        Decided::TooLate(state) => Ok(too_late(item, state)),
        Decided::Unknown => Ok(none(id)),
    }
}

fn too_late(item: &str, state: State) -> u8 {
    tracing::error!("item {item} waits no more: it is {}", state.as_str());
    exit_code::NO_ITEM
}

/// The one item of this id, or whose id begins so: of those that wait, else of the others.
fn find(store: &mut SqliteStore, id: &str) -> Result<Option<Entry>, InboxError> {
    if let Some(entry) = store.find(id)? {
        return Ok(Some(entry));
    }
    if id.len() < LEAST {
        return Ok(None);
    }
    // What waits comes first; what has been decided counts where nothing does.
    let mut found = store.find_by_beginning(id, 2)?.into_iter();
    let (first, second) = (found.next(), found.next());
    let is_open = |entry: &Option<Entry>| entry.as_ref().is_some_and(|it| it.state.is_open());
    let is_the_one = second.is_none() || (is_open(&first) && !is_open(&second));
    Ok(first.filter(|_| is_the_one))
}

fn none(id: &str) -> u8 {
    tracing::error!(
        "no item, or more than one, is called {}; `approval-proxy approvals list` shows what waits",
        quoted_name(id)
    );
    exit_code::NO_ITEM
}

fn list(
    store: &mut SqliteStore,
    history: bool,
    json: bool,
    now_ms: i64,
    out: &mut impl Write,
) -> Result<u8, InboxError> {
    let (entries, count) = match history {
        true => {
            let entries = store.history(&Filter::default(), MOST)?;
            let count = entries.len();
            (entries, count)
        }
        false => store.waiting(MOST)?,
    };
    if json {
        let told: Vec<Told<'_>> = entries.iter().map(told).collect();
        return print_json(&told, out);
    }
    if entries.is_empty() {
        let text = match history {
            true => "Nothing has been decided yet.",
            false => "Nothing waits for you.",
        };
        return say(out, text);
    }
    let mut text = String::from("ID        STATE      RISK     AGE     TOOL\n");
    for entry in &entries {
        let item = &entry.item;
        let id: String = item.id.chars().take(8).collect();
        text.push_str(&format!(
            "{id}  {:<9}  {:<7}  {:<6}  {} of {}\n",
            entry.state.as_str(),
            item.risk.as_str(),
            span(now_ms.saturating_sub(item.asked_ms)),
            quoted_name(&item.tool),
            quoted_name(&item.server),
        ));
    }
    if count > entries.len() {
        text.push_str(&format!("and {} more\n", count - entries.len()));
    }
    say(out, text.trim_end())
}

/// A span of milliseconds as people read it.
fn span(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn as_text(entry: &Entry, now_ms: i64) -> String {
    const LONG: usize = 100_000;
    let item = &entry.item;
    let mut text = format!(
        "{}\n\nItem:    {}\nState:   {}\nServer:  {}\nTool:    {}\nRisk:    {} ({})\n",
        escaped(&item.question),
        item.id,
        entry.state.as_str(),
        quoted_name(&item.server),
        quoted_name(&item.tool),
        item.risk.as_str(),
        escaped(&item.why),
    );
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:<8} {value}\n"));
    if let Some(client) = &item.client {
        line("Client:", quoted_name(client));
    }
    if let Some(description) = &item.description {
        line(
            "The server describes the tool as:",
            quoted_text(description, LONG),
        );
    }
    if !item.hints.is_empty() {
        line("Hints, not verified:", escaped(&item.hints));
    }
    line("Asked:", time(item.asked_ms));
    if let Some(until) = item.expires_ms.filter(|_| entry.state.is_open()) {
        line(
            "Time:",
            format!("{} left", span(until.saturating_sub(now_ms))),
        );
    }
    if let Some(verdict) = &entry.verdict {
        line(
            "Decided:",
            format!("{} ({})", time(verdict.decided_ms), verdict.assurance),
        );
        if let Some(reason) = &verdict.reason {
            line("Reason:", quoted_text(reason, LONG));
        }
    }
    line("SHA-256:", item.digest.clone());
    let call = match Value::parse(&item.call) {
        Ok(call) => indented(&call),
        // What was redacted may be no JSON any more.
        Err(_) => quoted_text(&item.call, LONG),
    };
    format!("{text}\n{call}")
}

fn time(unix_ms: i64) -> String {
    Timestamp::new(unix_ms).to_string()
}

fn say(out: &mut impl Write, text: &str) -> Result<u8, InboxError> {
    writeln!(out, "{text}").map_err(InboxError::Terminal)?;
    Ok(exit_code::OK)
}

fn print_json(value: &impl Serialize, out: &mut impl Write) -> Result<u8, InboxError> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::other);
    say(out, &harmless(&text.map_err(InboxError::Terminal)?))
}

/// The same JSON, with nothing in it that a terminal could be led by: what draws nothing or turns
/// text around can stand in strings only, where its escape means the same.
fn harmless(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n' || !(c.is_control() || is_unseen(c)) {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }
    out
}

/// An item as scripts read it.
#[derive(Serialize)]
struct Told<'a> {
    id: &'a str,
    state: &'a str,
    server: &'a str,
    tool: &'a str,
    risk: &'a str,
    why: &'a str,
    question: &'a str,
    description: Option<&'a str>,
    hints: &'a str,
    call: Box<RawValue>,
    digest: &'a str,
    client: Option<&'a str>,
    asked: String,
    expires: Option<String>,
    parked_until: Option<String>,
    closed: Option<String>,
    verdict: Option<ToldVerdict<'a>>,
}

#[derive(Serialize)]
struct ToldVerdict<'a> {
    choice: &'a str,
    reason: Option<&'a str>,
    cover_seconds: u64,
    assurance: &'a str,
    decided: String,
}

fn told(entry: &Entry) -> Told<'_> {
    let item = &entry.item;
    let call = RawValue::from_string(item.call.clone());
    Told {
        id: &item.id,
        state: entry.state.as_str(),
        server: &item.server,
        tool: &item.tool,
        risk: item.risk.as_str(),
        why: &item.why,
        question: &item.question,
        description: item.description.as_deref(),
        hints: &item.hints,
        call: call.unwrap_or_else(|_| RawValue::NULL.to_owned()),
        digest: &item.digest,
        client: item.client.as_deref(),
        asked: time(item.asked_ms),
        expires: item.expires_ms.map(time),
        parked_until: entry.parked_until_ms.map(time),
        closed: entry.closed_ms.map(time),
        verdict: entry.verdict.as_ref().map(|verdict| ToldVerdict {
            choice: verdict.choice.as_str(),
            reason: verdict.reason.as_deref(),
            cover_seconds: verdict.cover.as_secs(),
            assurance: verdict.assurance.as_str(),
            decided: time(verdict.decided_ms),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_for_a_terminal_means_the_same_and_leads_it_nowhere() {
        let text = "{\n  \"a\": \"x\u{202e}\u{9b}\u{e0001}y\u{7f} é\"\n}";
        let harmless = harmless(text);
        assert!(
            harmless.contains(r"x\u202e\u009b\udb40\udc01y\u007f é"),
            "{harmless}"
        );
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(parse(&harmless), parse(text));
    }
}
