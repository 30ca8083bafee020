//! `approval-proxy approvals list --watch`: what waits, as it comes and goes.
//!
//! In a terminal the list is redrawn; otherwise each change is printed as a line.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::interval;

use super::columns::Paper;
use super::nothing_waits;
use super::show::{Rows, heading, row, table};
use crate::cli::exit_code;
use crate::cli::inbox::InboxError;
use crate::engines::inbox::store::{ApprovalRequests, Entry, StoreError};
use crate::sys::clock::Clock;

/// How often the store is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often what waits for proxies that have died is closed, in looks.
const SWEEP_EVERY: u32 = 4;
/// Clears a terminal and what can be scrolled back to of this list.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// Shows at most `most` items until a signal.
pub(super) fn run(
    store: &mut dyn ApprovalRequests,
    folder: &Path,
    most: usize,
    paper: Paper,
    clock: &Clock,
    out: &mut impl Write,
) -> Result<u8, InboxError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(InboxError::System)?;
    let mut view = match paper.is_terminal {
        true => View::Drawn(String::new()),
        false => View::Appended(None),
    };
    runtime.block_on(async {
        let listen = |kind| signal(kind).map_err(InboxError::System);
        let mut terminate = listen(SignalKind::terminate())?;
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut hang_up = listen(SignalKind::hangup())?;
        let mut ticks = interval(LOOK_EVERY);
        let mut looks = 0_u32;
        loop {
            let kind = tokio::select! {
                _ = terminate.recv() => SignalKind::terminate(),
                _ = interrupt.recv() => SignalKind::interrupt(),
                _ = hang_up.recv() => SignalKind::hangup(),
                _ = ticks.tick() => {
                    let now_ms = clock.now().unix_ms;
                    looks = looks.wrapping_add(1);
                    if looks.is_multiple_of(SWEEP_EVERY) {
                        store.sweep(now_ms)?;
                    }
                    let (entries, count) = store.waiting(most)?;
                    let text = match &mut view {
                        View::Drawn(drawn) => {
                            // The terminal may have another size by now.
                            let paper = Paper::of_stdout();
                            draw(drawn, &entries, count, folder, now_ms, paper)
                        }
                        View::Appended(known) => {
                            let mut gone = |id: &str| store.find(id);
                            append(known, entries, &mut gone, folder, now_ms, paper)?
                        }
                    };
                    match show(out, &text) {
                        Ok(()) => continue,
                        // A reader that has gone has read enough.
                        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                            return Ok(exit_code::OK);
                        }
                        Err(error) => return Err(InboxError::Terminal(error)),
                    }
                }
            };
            return Ok(exit_code::for_signal(kind.as_raw_value()));
        }
    })
}

/// What is shown so far.
enum View {
    /// This text.
    Drawn(String),
    /// Lines about these items; `None` before the first look.
    Appended(Option<BTreeMap<String, Entry>>),
}

fn show(out: &mut impl Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The whole list, if it is another one than is drawn.
fn draw(
    drawn: &mut String,
    entries: &[Entry],
    count: usize,
    folder: &Path,
    now_ms: i64,
    paper: Paper,
) -> String {
    let list = match entries.is_empty() {
        true => nothing_waits(folder),
        false => table(entries, Rows::Waiting { count }, now_ms, paper),
    };
    if list == *drawn {
        return String::new();
    }
    let text = format!("{CLEAR}{list}\n\nWatching; end with Ctrl-C.\n");
    *drawn = list;
    text
}

/// A line for each item that is new, and for each that waits no more.
fn append(
    known: &mut Option<BTreeMap<String, Entry>>,
    entries: Vec<Entry>,
    find: &mut impl FnMut(&str) -> Result<Option<Entry>, StoreError>,
    folder: &Path,
    now_ms: i64,
    paper: Paper,
) -> Result<String, InboxError> {
    let mut text = String::new();
    let mut line = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    let before = match known.take() {
        Some(before) => before,
        None => {
            match entries.is_empty() {
                true => line(&nothing_waits(folder)),
                false => line(heading()),
            }
            BTreeMap::new()
        }
    };
    // The newest come first, and lines go down the page.
    for entry in entries.iter().rev() {
        let was = before.get(&entry.item.id);
        if was.is_none_or(|was| was.state != entry.state) {
            line(&row(entry, now_ms, paper));
        }
    }
    let now: BTreeMap<String, Entry> = entries
        .into_iter()
        .map(|entry| (entry.item.id.clone(), entry))
        .collect();
    for id in before.keys().filter(|id| !now.contains_key(*id)) {
        // What still waits and is only too old to be listed has not gone.
        if let Some(entry) = find(id)?.filter(|entry| !entry.state.is_open()) {
            line(&row(&entry, now_ms, paper));
        }
    }
    *known = Some(now);
    Ok(text)
}
