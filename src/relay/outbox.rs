//! What waits to be written to one side.
//!
//! It does not decide what is written, and it never blocks.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use crate::transport::{Attempt, Note, Wire};

/// Above this many waiting bytes nothing more is read that would add to them.
pub(super) const HIGH_WATER: usize = 256 * 1024;
/// Above this nothing more is read even for the sake of an answer.
const FLOOD_MARK: usize = 16 * 1024 * 1024;
/// Memory in these bounds is worth using again, and not too much to hold on to.
const SPARE_FROM: usize = 256 * 1024;
const SPARE_TO: usize = 4 * 1024 * 1024;
/// The most slices of one system call.
const MAX_SLICES: usize = 32;

/// A queue of bytes for one wire.
///
/// Bounded by its users: nothing is read from either side while it is above
/// [`HIGH_WATER`], so it holds at most what one batch of input leads to.
#[derive(Debug)]
pub(super) struct Outbox {
    wire: Option<Wire>,
    queue: VecDeque<Chunk>,
    /// What waits in all.
    bytes: usize,
    /// The memory of the last large chunk.
    spare: Option<Vec<u8>>,
}

/// Bytes of which some may be written already.
#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    written: usize,
}

impl Outbox {
    pub(super) fn new(wire: Wire) -> Outbox {
        Outbox {
            wire: Some(wire),
            queue: VecDeque::new(),
            bytes: 0,
            spare: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(super) fn is_above_high_water(&self) -> bool {
        self.bytes > HIGH_WATER
    }

    pub(super) fn is_above_flood_mark(&self) -> bool {
        self.bytes > FLOOD_MARK
    }

    /// Whether nobody reads any more what is written here.
    pub(super) fn has_hung_up(&self) -> bool {
        self.wire.as_ref().is_none_or(Wire::has_hung_up)
    }

    /// Closes the wire; what waits is lost.
    pub(super) fn close(&mut self) {
        self.wire = None;
        self.queue.clear();
        self.bytes = 0;
    }

    /// Gives a note to a line of what is handed over next: the one that ends `ahead` bytes from here.
    pub(super) fn add_note(&self, ahead: usize, note: Note) {
        if let Some(wire) = &self.wire {
            wire.add_note(self.bytes + ahead, note);
        }
    }

    /// Writes what can be written of `parts` at once, unless something waits already. Returns
    /// how many bytes that was; the rest is for [`Outbox::keep`] or [`Outbox::keep_owned`].
    ///
    /// # Errors
    /// What the system says; the other side then is gone.
    pub(super) fn write(&mut self, parts: &[&[u8]]) -> io::Result<usize> {
        let mut total = 0;
        let Some(wire) = self.wire.as_ref().filter(|_| self.queue.is_empty()) else {
            return Ok(0);
        };
        let whole: usize = parts.iter().map(|part| part.len()).sum();
        if let [one] = parts {
            match wire.try_write(&[IoSlice::new(one)])? {
                Attempt::Done(count) => total = count,
                Attempt::NotReady => return Ok(0),
            }
        }
        while total < whole {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let mut used = 0;
            for (slice, part) in slices.iter_mut().zip(rest_of(parts, total)) {
                *slice = IoSlice::new(part);
                used += 1;
            }
            match wire.try_write(slices.get(..used).unwrap_or_default())? {
                Attempt::Done(count) => total += count,
                Attempt::NotReady => break,
            }
        }
        Ok(total)
    }

    /// Writes a line behind all that waits.
    pub(super) fn say(&mut self, line: &str) {
        self.keep_owned(format!("{line}\n").into_bytes(), 0);
    }

    /// Keeps a copy of `parts` from byte `written` on. On a closed wire, nothing is kept.
    pub(super) fn keep(&mut self, parts: &[&[u8]], written: usize) {
        for part in rest_of(parts, written) {
            self.keep_owned(part.to_vec(), 0);
        }
    }

    /// Keeps `bytes` from `written` on, without a copy.
    pub(super) fn keep_owned(&mut self, bytes: Vec<u8>, written: usize) {
        if self.wire.is_some() && written < bytes.len() {
            self.bytes += bytes.len() - written;
            self.queue.push_back(Chunk { bytes, written });
        }
    }

    /// Memory of a large chunk that has been written, to be used again.
    pub(super) fn take_spare(&mut self) -> Option<Vec<u8>> {
        self.spare.take()
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
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while let Some(wire) = self.wire.as_ref().filter(|_| !self.queue.is_empty()) {
            let chunks = self.queue.iter().take(MAX_SLICES);
            let slices: Vec<IoSlice<'_>> = chunks
                .map(|chunk| IoSlice::new(chunk.bytes.get(chunk.written..).unwrap_or_default()))
                .collect();
            let Attempt::Done(mut count) = wire.try_write(&slices)? else {
                return Ok(());
            };
            self.bytes -= count;
            while let Some(front) = self.queue.front_mut() {
                let left = front.bytes.len() - front.written;
                if count < left {
                    front.written += count;
                    break;
                }
                count -= left;
                let done = self.queue.pop_front();
                self.spare = done
                    .map(|chunk| chunk.bytes)
                    .filter(|bytes| (SPARE_FROM..=SPARE_TO).contains(&bytes.capacity()));
            }
        }
        Ok(())
    }
}

/// What is left of `parts` from byte `written` on.
fn rest_of<'p>(parts: &'p [&'p [u8]], written: usize) -> impl Iterator<Item = &'p [u8]> {
    let mut skip = written;
    parts.iter().filter_map(move |part| {
        let here = skip.min(part.len());
        skip -= here;
        part.get(here..).filter(|rest| !rest.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_some_parts_starts_where_writing_stopped() {
        let parts: [&[u8]; 4] = [b"ab", b"", b"cde", b"f"];
        let rest = |written| rest_of(&parts, written).collect::<Vec<_>>().concat();
        for written in 0..=6 {
            assert_eq!(rest(written), b"abcdef"[written..].to_vec());
        }
    }
}
