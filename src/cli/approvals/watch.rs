//! `approval-proxy approvals list --watch`: keeps the list of waiting items up to date.
//!
//! In a terminal the list is redrawn; otherwise each change is printed as a line.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::interval;

use super::nothing_waiting;
use super::show::{Rows, heading, row, table};
use crate::cli::columns::Layout;
use crate::cli::exit_code;
use crate::cli::inbox::InboxError;
use crate::engines::inbox::store::{ApprovalRequests, Entry, StoreError};
use crate::sys::clock::Clock;

/// How often to read the store.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// How often to close the items of proxies that have died, in polls.
const SWEEP_EVERY: u32 = 4;
/// Moves the cursor to the top and clears the terminal.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// Shows at most `limit` items until a signal.
pub(super) fn run(
    store: &mut dyn ApprovalRequests,
    folder: &Path,
    limit: usize,
    layout: Layout,
    clock: &Clock,
    out: &mut impl Write,
) -> Result<u8, InboxError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(InboxError::System)?;
    let mut view = match layout.is_terminal {
        true => View::Drawn(String::new()),
        false => View::Appended(None),
    };
    runtime.block_on(async {
        let listen = |kind| signal(kind).map_err(InboxError::System);
        let mut terminate = listen(SignalKind::terminate())?;
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut hang_up = listen(SignalKind::hangup())?;
        let mut ticks = interval(POLL_EVERY);
        let mut polls = 0_u32;
        loop {
            let kind = tokio::select! {
                _ = terminate.recv() => SignalKind::terminate(),
                _ = interrupt.recv() => SignalKind::interrupt(),
                _ = hang_up.recv() => SignalKind::hangup(),
                _ = ticks.tick() => {
                    let now_ms = clock.now().unix_ms;
                    polls = polls.wrapping_add(1);
                    if polls.is_multiple_of(SWEEP_EVERY) {
                        store.sweep(now_ms)?;
                    }
                    let (entries, count) = store.waiting(limit)?;
                    let text = match &mut view {
                        View::Drawn(drawn) => {
                            // The terminal may have been resized.
                            let layout = Layout::of_stdout();
                            draw(drawn, &entries, count, folder, now_ms, layout)
                        }
                        View::Appended(known) => {
                            let mut find = |id: &str| store.find(id);
                            append(known, entries, &mut find, folder, now_ms, layout)?
                        }
                    };
                    match show(out, &text) {
                        Ok(()) => continue,
                        // The reader has closed the pipe: it has read enough.
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

/// What has been shown so far.
enum View {
    /// In a terminal: this text.
    Drawn(String),
    /// Otherwise: lines about these items; `None` before the first poll.
    Appended(Option<BTreeMap<String, Entry>>),
}

fn show(out: &mut impl Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Returns the text that redraws the list; empty if the list has not changed.
fn draw(
    drawn: &mut String,
    entries: &[Entry],
    count: usize,
    folder: &Path,
    now_ms: i64,
    layout: Layout,
) -> String {
    let list = match entries.is_empty() {
        true => nothing_waiting(folder),
        false => table(entries, Rows::Waiting { count }, now_ms, layout),
    };
    if list == *drawn {
        return String::new();
    }
    let text = format!("{CLEAR}{list}\n\nWatching; stop with Ctrl-C.\n");
    *drawn = list;
    text
}

/// Returns a line for each item that is new or changed, and for each that is no longer waiting.
fn append(
    known: &mut Option<BTreeMap<String, Entry>>,
    entries: Vec<Entry>,
    find: &mut impl FnMut(&str) -> Result<Option<Entry>, StoreError>,
    folder: &Path,
    now_ms: i64,
    layout: Layout,
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
                true => line(&nothing_waiting(folder)),
                false => line(heading()),
            }
            BTreeMap::new()
        }
    };
    // Oldest first, because new lines appear at the bottom.
    for entry in entries.iter().rev() {
        let known = before.get(&entry.item.id);
        if known.is_none_or(|known| known.state != entry.state) {
            line(&row(entry, now_ms, layout));
        }
    }
    let now: BTreeMap<String, Entry> = entries
        .into_iter()
        .map(|entry| (entry.item.id.clone(), entry))
        .collect();
    for id in before.keys().filter(|id| !now.contains_key(*id)) {
        // An item that is still waiting is only too old for the list.
        if let Some(entry) = find(id)?.filter(|entry| !entry.state.is_open()) {
            line(&row(&entry, now_ms, layout));
        }
    }
    *known = Some(now);
    Ok(text)
}
