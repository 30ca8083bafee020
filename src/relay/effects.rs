//! Carries out the gate's outputs in order: records to the audit log, bytes to both sides.
//!
//! A batch is everything that one read led to. Its records are one write under one lock, and its
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

/// Bytes of a batch: a part of the read buffer, or our own.
#[derive(Debug)]
enum Bytes {
    /// A range of the read buffer, newline included.
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

/// One line to write to a side, with its note.
#[derive(Debug)]
enum Item {
    ToClient(Bytes, Option<Box<Note>>),
    ToUpstream(Permitted<Bytes>),
    /// Goes to the upstream once the batch's records are written.
    Release {
        bytes: Permitted<Bytes>,
        note: Option<Box<Note>>,
        ticket: Ticket,
        /// The index of the call's record among the batch's records.
        line: usize,
    },
}

/// Collects everything that one read leads to, then carries it out.
#[derive(Debug)]
pub(super) struct Effects {
    ledger: Ledger,
    best_effort: bool,
    /// Present if the client connects over HTTP: shared with its HTTP end, outside the links.
    sideband: Option<Arc<Sideband>>,
    /// The last value passed to `Sideband::set_holding`.
    is_holding: bool,
    /// The headers that came with calls that the gate holds. At most one entry per held call.
    headers: BTreeMap<RequestId, Box<Note>>,
    /// True if any of `items` has a note.
    has_notes: bool,
    /// Records that could not be written yet. They are written before all others as soon as the
    /// log is writable again. If there are any, the operator has been told.
    backlog: Vec<Line>,
    backlog_bytes: usize,
    /// The number of records that did not fit into the backlog.
    lost: u64,
    items: Vec<Item>,
    /// The batch's records.
    lines: Vec<Line>,
    /// Messages for the out-of-band engines.
    pub(super) to_engines: Vec<ToEngine>,
    /// True if the gate wants the upstream closed.
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
            to_engines: Vec::new(),
            close_upstream: false,
        }
    }

    /// Syncs the log to disk at the end of a session, and reports records that are lost.
    pub(super) fn finish(&mut self) {
        if self.is_log_broken() {
            tracing::error!(
                "{} audit records could not be written and are lost",
                self.backlog.len() as u64 + self.lost
            );
        }
        if let Err(error) = self.ledger.sync() {
            tracing::error!("{}", crate::sys::with_causes(&error));
        }
    }

    /// Collects the gate's outputs for the line at `frame` (without its newline), which came with `note`.
    pub(super) fn collect(
        &mut self,
        gate: &mut Gate,
        frame: Option<&Range<usize>>,
        note: Option<Note>,
        keeps_up: bool,
    ) {
        let mut note = note.map(Box::new);
        let bytes = |payload| match payload {
            // INVARIANT 5: exactly the bytes that were read, newline included.
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
                    let headers = self.headers_of(ticket.call(), &mut note);
                    // INVARIANT 2: the person was not shown the headers that came with the call.
                    let note = headers.filter(|_| !ticket.is_of_shown_call());
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
                Output::ToEngine(message) => self.to_engines.push(message),
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

    /// Returns the headers that came with a call: from `note`, or from those kept earlier.
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

    /// Carries out everything that was collected; frames are ranges of `read`.
    ///
    /// INVARIANT 1: the records are written first, and a call whose record could not be written is
    /// not sent.
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

    /// Writes the batch's records to the log. Returns false if that failed; they are still in
    /// `lines` then.
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
        // The backlog goes first, so that the log keeps the order of events.
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

    /// Returns true if the client connects over HTTP.
    pub(super) fn is_over_http(&self) -> bool {
        self.sideband.is_some()
    }

    fn is_log_broken(&self) -> bool {
        !self.backlog.is_empty() || self.lost > 0
    }

    /// Refuses the batch's calls, because its records are not in the log. Moves the records that
    /// are still true to the backlog.
    fn refuse_unrecorded(&mut self, gate: &mut Gate, now: Now) {
        let lines = std::mem::take(&mut self.lines);
        let mut still_true = vec![true; lines.len()];
        let mut kept = Vec::with_capacity(self.items.len());
        for item in std::mem::take(&mut self.items) {
            match item {
                Item::Release { line, ticket, .. }
                    if !(self.best_effort && ticket.needed_no_approval()) =>
                {
                    // The record says `forwarded`, which is no longer true.
                    if let Some(is_true) = still_true.get_mut(line) {
                        *is_true = false;
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
        let true_lines = lines.into_iter().zip(still_true);
        let true_lines = true_lines.filter_map(|(line, is_true)| is_true.then_some(line));
        let corrections = std::mem::take(&mut self.lines);
        for line in true_lines.chain(corrections) {
            if self.backlog_bytes + line.len() > MAX_BACKLOG {
                self.lost += 1;
            } else {
                self.backlog_bytes += line.len();
                self.backlog.push(line);
            }
        }
    }
}

/// Returns a note that says which call one of our own questions is about.
fn about_call(gate: &Gate, text: &str) -> Option<Box<Note>> {
    let id = raw_member(text, &["id"]).and_then(RequestId::from_json)?;
    let call = gate.asked_about(&id)?;
    Some(Box::new(Note::About(call.clone())))
}

/// Passes the notes of the lines that are about to be sent to the outboxes.
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

/// The largest size of the backlog, in bytes.
const MAX_BACKLOG: usize = 4 * 1024 * 1024;

/// The bytes that go to one side. Adjacent ranges of the read buffer are merged.
#[derive(Default)]
struct Parts<'a> {
    /// There is nearly always only one part; kept here, it needs no allocation.
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

/// From this size on, handing over the buffer is cheaper than copying what could not be written.
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

    /// Writes as much as possible without blocking, and queues the rest in the outbox.
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
        // If one large message is all there is, hand its buffer over instead of copying it.
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
