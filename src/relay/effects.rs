//! Does what the gate puts out: lines to the log, bytes to both sides, in order.
//!
//! One batch is what one read led to: its audit lines are one write under one lock, and its
//! bytes are one write to each side.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::evidence::Ledger;
use crate::evidence::record::Line;
use crate::gate::{Gate, Now, Output, Payload, Permitted, Ticket, ToEngine};
use crate::mcp::frame::FrameBuffer;
use crate::mcp::json::raw_member;
use crate::mcp::message::RequestId;
use crate::sys::clock::Clock;
use crate::transport::Note;

use super::outbox::Outbox;
use super::sideband::Sideband;

/// Bytes of a batch: of the buffer that was read into, or of our own.
#[derive(Debug)]
enum Bytes {
    /// A range of the buffer, newline included.
    Read(Range<usize>),
    Own(String),
}

impl Bytes {
    fn len(&self) -> usize {
        match self {
            Bytes::Read(range) => range.len(),
            Bytes::Own(text) => text.len(),
        }
    }
}

/// One line to a side, and what goes with it.
#[derive(Debug)]
enum Item {
    ToClient(Bytes, Option<Box<Note>>),
    ToUpstream(Permitted<Bytes>),
    /// Goes to the upstream once the batch's lines are written.
    Release {
        bytes: Permitted<Bytes>,
        note: Option<Box<Note>>,
        ticket: Ticket,
        /// Which of the batch's lines is the call's.
        line: usize,
    },
}

/// Collects what one read leads to, then does it.
#[derive(Debug)]
pub(super) struct Effects {
    ledger: Ledger,
    best_effort: bool,
    /// Where the client comes by HTTP: what its end is told past the links.
    sideband: Option<Arc<Sideband>>,
    /// What that says of whether a call is held.
    is_holding: bool,
    /// The headers that came with calls which the gate holds. At most one entry for each of them.
    headers: BTreeMap<RequestId, Box<Note>>,
    /// Whether any of `items` has a note.
    has_notes: bool,
    /// Lines that could not be written yet. They go before all others as soon as the log can
    /// be written again; while any wait, the operator has been told.
    backlog: Vec<Line>,
    backlog_bytes: usize,
    /// Lines that did not even fit there.
    lost: u64,
    items: Vec<Item>,
    lines: Vec<Line>,
    /// What is to be told the inbox.
    pub(super) to_inbox: Vec<ToEngine>,
    /// Whether the gate wants the upstream closed.
    pub(super) close_upstream: bool,
}

/// Which sides could not be written to.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Lost {
    pub(super) client: bool,
    pub(super) upstream: bool,
}

impl Effects {
    pub(super) fn new(
        ledger: Ledger,
        best_effort: bool,
        sideband: Option<Arc<Sideband>>,
    ) -> Effects {
        Effects {
            ledger,
            best_effort,
            sideband,
            is_holding: false,
            headers: BTreeMap::new(),
            has_notes: false,
            backlog: Vec::new(),
            backlog_bytes: 0,
            lost: 0,
            items: Vec::new(),
            lines: Vec::new(),
            to_inbox: Vec::new(),
            close_upstream: false,
        }
    }

    /// Brings what can be brought to the disk, at the end of a session.
    pub(super) fn finish(&mut self) {
        if self.is_log_broken() {
            tracing::error!(
                "{} audit lines could not be written and are lost",
                self.backlog.len() as u64 + self.lost
            );
        }
        if let Err(error) = self.ledger.sync() {
            tracing::error!("{}", crate::sys::with_causes(&error));
        }
    }

    /// Takes over what the gate put out for the line at `frame`, its newline not included, which came with `note`.
    pub(super) fn collect(
        &mut self,
        gate: &mut Gate,
        frame: Option<&Range<usize>>,
        note: Option<Note>,
        keeps_up: bool,
    ) {
        let mut note = note.map(Box::new);
        let bytes = |payload| match payload {
            // INVARIANT 5: the very bytes that were read, newline included.
            Payload::Frame => {
                let frame = frame.cloned().unwrap_or_default();
                Bytes::Read(frame.start..frame.end + 1)
            }
            Payload::Text(mut text) => {
                text.push('\n');
                Bytes::Own(text)
            }
        };
        while let Some(output) = gate.poll_output() {
            match output {
                Output::ToClient(payload) => {
                    let note = match &payload {
                        Payload::Frame => note.take(),
                        Payload::Text(text) if self.is_over_http() => about_call(gate, text),
                        Payload::Text(_) => None,
                    };
                    self.has_notes |= note.is_some();
                    self.items.push(Item::ToClient(bytes(payload), note));
                }
                Output::Progress(text) => {
                    // A client that does not read must not fill our memory.
                    if keeps_up {
                        let payload = Payload::Text(text);
                        self.items.push(Item::ToClient(bytes(payload), None));
                    }
                }
                Output::ToUpstream(permitted) => {
                    self.items.push(Item::ToUpstream(permitted.map(bytes)));
                }
                Output::Release {
                    line,
                    payload,
                    ticket,
                } => {
                    let came_with_it = self.headers_of(ticket.call(), &mut note);
                    // INVARIANT 2: nobody was shown the headers that the client has sent beside it.
                    let note = came_with_it.filter(|_| !ticket.is_of_shown_call());
                    self.has_notes |= note.is_some();
                    self.items.push(Item::Release {
                        bytes: payload.map(bytes),
                        note,
                        ticket,
                        line: self.lines.len(),
                    });
                    self.lines.push(line);
                }
                Output::Record(line) => self.lines.push(line),
                Output::ToEngine(told) => self.to_inbox.push(told),
                Output::Warn(text) => tracing::warn!("{text}"),
                Output::CloseUpstream => self.close_upstream = true,
            }
        }
        if let Some(note) = note {
            self.keep_headers(gate, note);
        }
        if let Some(sideband) = &self.sideband
            && self.is_holding != gate.is_holding()
        {
            self.is_holding = gate.is_holding();
            sideband.set_holding(self.is_holding);
        }
    }

    /// The headers that a call came with, now in `note` or before.
    fn headers_of(&mut self, call: &RequestId, note: &mut Option<Box<Note>>) -> Option<Box<Note>> {
        let is_for_it =
            |note: &mut Box<Note>| matches!(&**note, Note::Headers { call: of, .. } if of == call);
        note.take_if(is_for_it)
            .or_else(|| self.headers.remove(call))
    }

    /// Keeps the headers of a call until the gate has decided about it.
    fn keep_headers(&mut self, gate: &Gate, note: Box<Note>) {
        self.headers.retain(|call, _| gate.is_held(call));
        if let Note::Headers { call, .. } = &*note
            && gate.is_held(call)
        {
            self.headers.insert(call.clone(), note);
        }
    }

    /// Does everything that was collected; frames are ranges of `read`.
    ///
    /// INVARIANT 1: the lines come first, and a call whose line could not be written is not
    /// sent.
    pub(super) fn carry_out(
        &mut self,
        gate: &mut Gate,
        clock: &Clock,
        mut read: Option<&mut FrameBuffer>,
        client: &mut Outbox,
        upstream: &mut Outbox,
    ) -> Lost {
        if self.items.is_empty() && self.lines.is_empty() {
            return Lost::default();
        }
        let recorded = self.append_lines(gate, clock);
        if !recorded {
            self.refuse_unrecorded(gate, clock.now());
        }
        let mut items = std::mem::take(&mut self.items);
        if std::mem::take(&mut self.has_notes) {
            add_notes(&mut items, client, upstream);
        }
        let mut to_client = Parts::default();
        let mut to_upstream = Parts::default();
        for item in &items {
            match item {
                Item::ToClient(bytes, _) => to_client.push(bytes),
                Item::ToUpstream(bytes) | Item::Release { bytes, .. } => {
                    to_upstream.push(bytes.get());
                }
            }
        }
        let lost = Lost {
            upstream: to_upstream.send(read.as_deref_mut(), upstream).is_err(),
            client: to_client.send(read, client).is_err(),
        };
        self.items = items;
        self.items.clear();
        lost
    }

    /// Whether the batch's lines are in the log. If not, they are still in `lines`.
    fn append_lines(&mut self, gate: &mut Gate, clock: &Clock) -> bool {
        if self.lines.is_empty() {
            return true;
        }
        if !self.is_log_broken() {
            return match self.ledger.append(&self.lines, clock) {
                Ok(()) => {
                    for line in self.lines.drain(..) {
                        gate.reuse(line);
                    }
                    true
                }
                Err(error) => {
                    let error = crate::sys::with_causes(&error);
                    let scope = if self.best_effort {
                        "tool calls that need an approval"
                    } else {
                        "tool calls"
                    };
                    tracing::error!("{error}; {scope} are refused until it can be written");
                    false
                }
            };
        }
        // What waits goes first, so that the log keeps the order of things.
        let mut all = std::mem::take(&mut self.backlog);
        let waiting = all.len();
        all.append(&mut self.lines);
        if self.lost > 0 {
            let lost = self.lost.to_string();
            all.insert(waiting, gate.lost_line(clock.now(), &lost));
        }
        if self.ledger.append(&all, clock).is_ok() {
            (self.backlog_bytes, self.lost) = (0, 0);
            tracing::warn!("the audit log can be written again");
            return true;
        }
        if self.lost > 0 {
            all.remove(waiting);
        }
        self.lines = all.split_off(waiting);
        self.backlog = all;
        false
    }

    /// Whether the client comes by HTTP.
    pub(super) fn is_over_http(&self) -> bool {
        self.sideband.is_some()
    }

    fn is_log_broken(&self) -> bool {
        !self.backlog.is_empty() || self.lost > 0
    }

    /// The batch's lines are not in the log: its calls are refused, and what is true in spite
    /// of that is kept for later.
    fn refuse_unrecorded(&mut self, gate: &mut Gate, now: Now) {
        let lines = std::mem::take(&mut self.lines);
        let mut sent_or_not = vec![Kept::Yes; lines.len()];
        let mut kept = Vec::with_capacity(self.items.len());
        for item in std::mem::take(&mut self.items) {
            match item {
                Item::Release { line, ticket, .. }
                    if !(self.best_effort && ticket.needed_no_approval()) =>
                {
                    // The line says `forwarded`, which is now not true.
                    if let Some(kept) = sent_or_not.get_mut(line) {
                        *kept = Kept::No;
                    }
                    gate.not_recorded(&ticket, now);
                    self.collect(gate, None, None, true);
                    kept.append(&mut self.items);
                }
                item @ (Item::ToClient(..) | Item::ToUpstream(_) | Item::Release { .. }) => {
                    kept.push(item);
                }
            }
        }
        self.items = kept;
        let true_ones = lines.into_iter().zip(sent_or_not);
        let true_ones = true_ones.filter(|(_, kept)| *kept == Kept::Yes);
        let corrections = std::mem::take(&mut self.lines);
        for line in true_ones.map(|(line, _)| line).chain(corrections) {
            if self.backlog_bytes + line.len() > MAX_BACKLOG {
                self.lost += 1;
            } else {
                self.backlog_bytes += line.len();
                self.backlog.push(line);
            }
        }
    }
}

/// Which call a question of ours is about.
fn about_call(gate: &Gate, text: &str) -> Option<Box<Note>> {
    let id = raw_member(text, &["id"]).and_then(RequestId::from_json)?;
    let call = gate.asked_about(&id)?;
    Some(Box::new(Note::About(call.clone())))
}

/// Hands over the notes of lines that are about to be sent.
fn add_notes(items: &mut [Item], client: &Outbox, upstream: &Outbox) {
    let (mut to_client, mut to_upstream) = (0, 0);
    for item in items {
        let (ahead, outbox, bytes, note) = match item {
            Item::ToClient(bytes, note) => (&mut to_client, client, &*bytes, note.take()),
            Item::ToUpstream(bytes) => (&mut to_upstream, upstream, bytes.get(), None),
            Item::Release { bytes, note, .. } => {
                (&mut to_upstream, upstream, bytes.get(), note.take())
            }
        };
        *ahead += bytes.len();
        if let Some(note) = note {
            outbox.add_note(*ahead, *note);
        }
    }
}

/// What the lines of a log that cannot be written may take until it can.
const MAX_BACKLOG: usize = 4 * 1024 * 1024;

/// Whether a line that was not written is still true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Yes,
    No,
}

/// What goes to one side, neighbours in the read buffer merged into one.
#[derive(Default)]
struct Parts<'a> {
    /// Nearly always there is only one, which then takes no memory of its own.
    first: Option<Part<'a>>,
    others: Vec<Part<'a>>,
}

enum Part<'a> {
    Read(Range<usize>),
    Own(&'a [u8]),
}

impl<'a> Part<'a> {
    fn bytes(&self, read: &'a [u8]) -> &'a [u8] {
        match self {
            Part::Read(range) => read.get(range.clone()).unwrap_or_default(),
            Part::Own(own) => own,
        }
    }
}

/// From here on, handing over memory is cheaper than copying what cannot be written at once.
const LARGE: usize = 256 * 1024;

impl<'a> Parts<'a> {
    fn push(&mut self, bytes: &'a Bytes) {
        let last = self.others.last_mut().or(self.first.as_mut());
        let part = match (bytes, last) {
            (Bytes::Read(range), Some(Part::Read(last))) if last.end == range.start => {
                last.end = range.end;
                return;
            }
            (Bytes::Read(range), _) => Part::Read(range.clone()),
            (Bytes::Own(text), _) => Part::Own(text.as_bytes()),
        };
        match &self.first {
            None => self.first = Some(part),
            Some(_) => self.others.push(part),
        }
    }

    /// Writes what can be written at once and leaves the rest in the outbox.
    fn send(self, read: Option<&mut FrameBuffer>, outbox: &mut Outbox) -> io::Result<()> {
        let Some(first) = &self.first else {
            return Ok(());
        };
        let bytes = read.as_ref().map_or(&[][..], |read| read.bytes());
        let one = [first.bytes(bytes)];
        let all: Vec<&[u8]>;
        let slices = match self.others.is_empty() {
            true => &one[..],
            false => {
                let others = self.others.iter().map(|part| part.bytes(bytes));
                all = one.into_iter().chain(others).collect();
                &all[..]
            }
        };
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        let written = outbox.write(slices)?;
        if written == total {
            return Ok(());
        }
        // One large message that is all there is: its memory goes along.
        let whole =
            self.others.is_empty() && matches!(first, Part::Read(all) if *all == (0..bytes.len()));
        let may_take = read.as_ref().is_some_and(|read| read.is_used_up());
        if !(whole && may_take && total >= LARGE) {
            outbox.keep(slices, written);
        } else if let Some(read) = read {
            outbox.keep_owned(read.take_bytes(), written);
        }
        Ok(())
    }
}
