//! Does what the gate puts out: lines to the log, bytes to both sides, in order.
//!
//! One batch is what one read led to: its audit lines are one write under one lock, and its
//! bytes are one write to each side.

use std::ops::Range;

use crate::audit::record::Line;
use crate::gate::{Gate, Output, Payload, Permitted, Ticket};
use crate::ledger::{LedgerError, LedgerFile};
use crate::transport::Stderr;

use super::outbox::Outbox;

/// Where audit lines go.
#[derive(Debug)]
pub enum Ledger {
    /// A file: evidence.
    File(LedgerFile),
    /// stderr: convenience. Never fails, never blocks; numbers the lines of this run.
    Stderr {
        /// The writer.
        stderr: Stderr,
        /// The last number given.
        seq: u64,
    },
}

impl Ledger {
    fn append(&mut self, lines: &[Line]) -> Result<(), LedgerError> {
        match self {
            Ledger::File(file) => file.append(lines),
            Ledger::Stderr { stderr, seq } => {
                let mut text = String::new();
                for line in lines {
                    *seq += 1;
                    line.write(*seq, &mut text);
                }
                stderr.send(text.into_bytes());
                Ok(())
            }
        }
    }

    /// Asks for everything to reach the disk, at the end of a session.
    pub(super) fn sync(&self) -> Result<(), LedgerError> {
        match self {
            Ledger::File(file) => file.sync(),
            Ledger::Stderr { .. } => Ok(()),
        }
    }
}

/// Bytes of a batch: of the buffer that was read into, or of our own.
#[derive(Debug)]
enum Bytes {
    /// A range of the buffer, newline included.
    Read(Range<usize>),
    Own(String),
}

#[derive(Debug)]
enum Item {
    ToClient(Bytes),
    ToUpstream(Permitted<Bytes>),
    /// Goes to the upstream once the batch's lines are written.
    Release(Permitted<Bytes>, Ticket),
}

/// Collects what one read leads to, then does it.
#[derive(Debug)]
pub(super) struct Effects {
    ledger: Ledger,
    best_effort: bool,
    /// Whether the last append failed, so that the operator is told once and not per call.
    log_is_broken: bool,
    items: Vec<Item>,
    lines: Vec<Line>,
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
    pub(super) fn new(ledger: Ledger, best_effort: bool) -> Effects {
        Effects {
            ledger,
            best_effort,
            log_is_broken: false,
            items: Vec::new(),
            lines: Vec::new(),
            close_upstream: false,
        }
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Takes over what the gate put out for the line at `frame`, its newline not included.
    pub(super) fn collect(
        &mut self,
        gate: &mut Gate,
        frame: Option<&Range<usize>>,
        keeps_up: bool,
    ) {
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
                Output::ToClient(payload) => self.items.push(Item::ToClient(bytes(payload))),
                Output::Progress(text) => {
                    // A client that does not read must not fill our memory.
                    if keeps_up {
                        let payload = Payload::Text(text);
                        self.items.push(Item::ToClient(bytes(payload)));
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
                    self.lines.push(line);
                    self.items.push(Item::Release(payload.map(bytes), ticket));
                }
                Output::Record(line) => self.lines.push(line),
                Output::Warn(text) => tracing::warn!("{text}"),
                Output::CloseUpstream => self.close_upstream = true,
            }
        }
    }

    /// Does everything that was collected; `read` is the buffer that frames are ranges of.
    ///
    /// INVARIANT 1: the lines come first, and a call whose line could not be written is not
    /// sent.
    pub(super) fn carry_out(
        &mut self,
        gate: &mut Gate,
        read: &[u8],
        client: &mut Outbox,
        upstream: &mut Outbox,
    ) -> Lost {
        if self.items.is_empty() && self.lines.is_empty() {
            return Lost::default();
        }
        let recorded = self.append_lines();
        let mut items = std::mem::take(&mut self.items);
        if !recorded {
            items = self.without_unrecorded(gate, items);
        }
        let mut to_client = Parts::new(read);
        let mut to_upstream = Parts::new(read);
        for item in &items {
            match item {
                Item::ToClient(bytes) => to_client.push(bytes),
                Item::ToUpstream(bytes) | Item::Release(bytes, _) => {
                    to_upstream.push(bytes.get());
                }
            }
        }
        let lost = Lost {
            upstream: upstream.write(&to_upstream.finish()).is_err(),
            client: client.write(&to_client.finish()).is_err(),
        };
        items.clear();
        self.items = items;
        lost
    }

    fn append_lines(&mut self) -> bool {
        if self.lines.is_empty() {
            return true;
        }
        let result = self.ledger.append(&self.lines);
        self.lines.clear();
        match result {
            Ok(()) => {
                if std::mem::take(&mut self.log_is_broken) {
                    tracing::warn!("the audit log can be written again");
                }
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut self.log_is_broken, true) {
                    let error = crate::relay::with_causes(&error);
                    tracing::error!("{error}; tool calls are refused until then");
                }
                false
            }
        }
    }

    fn without_unrecorded(&mut self, gate: &mut Gate, items: Vec<Item>) -> Vec<Item> {
        let mut kept = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Item::Release(_, ticket) if !(self.best_effort && ticket.needed_no_approval()) => {
                    gate.not_recorded(&ticket);
                    self.collect(gate, None, true);
                    kept.append(&mut self.items);
                }
                item @ (Item::ToClient(_) | Item::ToUpstream(_) | Item::Release(..)) => {
                    kept.push(item)
                }
            }
        }
        kept
    }
}

/// Slices to write, neighbours in the read buffer merged into one.
struct Parts<'a> {
    read: &'a [u8],
    done: Vec<&'a [u8]>,
    open: Option<Range<usize>>,
}

impl<'a> Parts<'a> {
    fn new(read: &'a [u8]) -> Parts<'a> {
        Parts {
            read,
            done: Vec::new(),
            open: None,
        }
    }

    fn push(&mut self, bytes: &'a Bytes) {
        match bytes {
            Bytes::Read(range) => match &mut self.open {
                Some(open) if open.end == range.start => open.end = range.end,
                _ => {
                    self.close();
                    self.open = Some(range.clone());
                }
            },
            Bytes::Own(text) => {
                self.close();
                self.done.push(text.as_bytes());
            }
        }
    }

    fn close(&mut self) {
        if let Some(range) = self.open.take() {
            self.done.push(self.read.get(range).unwrap_or_default());
        }
    }

    fn finish(mut self) -> Vec<&'a [u8]> {
        self.close();
        self.done
    }
}
