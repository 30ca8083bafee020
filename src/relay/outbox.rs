//! What waits to be written to one side.
//!
//! It does not decide what is written, and it never blocks.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use crate::transport::{Attempt, Wire};

/// Above this many waiting bytes nothing more is read that would add to them.
pub(super) const HIGH_WATER: usize = 256 * 1024;
/// The most slices of one system call; Linux allows 1,024.
const MAX_SLICES: usize = 512;

/// A queue of bytes for one wire.
///
/// Bounded by its users: nothing is read from either side while it is above
/// [`HIGH_WATER`], so it holds at most what one batch of input leads to.
#[derive(Debug)]
pub(super) struct Outbox {
    wire: Option<Wire>,
    queue: VecDeque<Vec<u8>>,
    /// How much of the queue's front is written already.
    written: usize,
    bytes: usize,
}

impl Outbox {
    pub(super) fn new(wire: Wire) -> Outbox {
        Outbox {
            wire: Some(wire),
            queue: VecDeque::new(),
            written: 0,
            bytes: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(super) fn is_above_high_water(&self) -> bool {
        self.bytes > HIGH_WATER
    }

    /// Whether nobody reads any more what is written here.
    pub(super) fn has_hung_up(&self) -> bool {
        self.wire.as_ref().is_none_or(Wire::has_hung_up)
    }

    /// Closes the wire; what waits is lost.
    pub(super) fn close(&mut self) {
        self.wire = None;
        self.queue.clear();
        self.written = 0;
        self.bytes = 0;
    }

    /// Writes `parts` behind what waits; keeps a copy of what cannot be written at once.
    ///
    /// # Errors
    /// What the system says; the other side then is gone. On a closed wire, nothing happens.
    pub(super) fn write(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let Some(wire) = &self.wire else {
            return Ok(());
        };
        let mut parts = parts.iter().copied().filter(|part| !part.is_empty());
        if self.is_empty() {
            let mut rest: Vec<&[u8]> = parts.by_ref().collect();
            let mut first = 0;
            while first < rest.len() {
                let slices: Vec<IoSlice<'_>> = rest
                    .iter()
                    .skip(first)
                    .take(MAX_SLICES)
                    .map(|part| IoSlice::new(part))
                    .collect();
                let mut done = match wire.try_write(&slices)? {
                    Attempt::Done(count) => count,
                    Attempt::NotReady => break,
                };
                while let Some(part) = rest.get_mut(first) {
                    let Some(left) = part.get(done..).filter(|left| !left.is_empty()) else {
                        done -= part.len();
                        first += 1;
                        continue;
                    };
                    *part = left;
                    break;
                }
            }
            for part in rest.iter().skip(first) {
                self.keep(part);
            }
        }
        for part in parts {
            self.keep(part);
        }
        Ok(())
    }

    fn keep(&mut self, part: &[u8]) {
        self.bytes += part.len();
        self.queue.push_back(part.to_vec());
    }

    /// Waits until what waits can be written. Never ends while nothing waits. May be
    /// cancelled.
    pub(super) async fn writable(&self) -> io::Result<()> {
        match &self.wire {
            Some(wire) if !self.is_empty() => wire.writable().await,
            Some(_) | None => std::future::pending().await,
        }
    }

    /// Writes what waits, as far as it goes.
    ///
    /// # Errors
    /// As [`Outbox::write`].
    pub(super) fn flush(&mut self) -> io::Result<Attempt> {
        let Some(wire) = &self.wire else {
            return Ok(Attempt::Done(0));
        };
        let mut total = 0;
        while !self.queue.is_empty() {
            let mut skip = self.written;
            let slices: Vec<IoSlice<'_>> = self
                .queue
                .iter()
                .take(MAX_SLICES)
                .map(|chunk| {
                    let from = std::mem::take(&mut skip);
                    IoSlice::new(chunk.get(from..).unwrap_or_default())
                })
                .collect();
            let count = match wire.try_write(&slices)? {
                Attempt::Done(count) => count,
                Attempt::NotReady => return Ok(Attempt::NotReady),
            };
            total += count;
            self.bytes -= count;
            self.written += count;
            while let Some(front) = self.queue.front()
                && self.written >= front.len()
            {
                self.written -= front.len();
                self.queue.pop_front();
            }
        }
        Ok(Attempt::Done(total))
    }
}
