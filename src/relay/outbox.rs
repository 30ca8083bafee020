//! A queue of bytes that wait to be written to one side. It never blocks.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use crate::transport::{Attempt, Note, Wire};

/// Above this many queued bytes, nothing is read that would add to the queue.
pub(super) const HIGH_WATER: usize = 256 * 1024;
/// Above this many queued bytes, nothing is read even if a person's answer may be behind it.
const FLOOD_MARK: usize = 16 * 1024 * 1024;
/// Buffers within these bounds are worth reusing, and small enough to keep.
const SPARE_FROM: usize = 256 * 1024;
const SPARE_TO: usize = 4 * 1024 * 1024;
/// The largest number of slices in one system call.
const MAX_SLICES: usize = 32;

/// A queue of bytes for one wire.
///
/// Its users bound it: they stop reading from either side while it is above [`HIGH_WATER`], so it
/// exceeds that by the output of one batch at most.
#[derive(Debug)]
pub(super) struct Outbox {
    wire: Option<Wire>,
    queue: VecDeque<Chunk>,
    /// The number of bytes in `queue` that are not written yet.
    bytes: usize,
    /// The buffer of the last large chunk.
    spare: Option<Vec<u8>>,
}

/// Bytes, the first `written` of which are written already.
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

    /// Returns true if the other side has closed its end.
    pub(super) fn has_hung_up(&self) -> bool {
        self.wire.as_ref().is_none_or(Wire::has_hung_up)
    }

    /// Closes the wire and discards the queue.
    pub(super) fn close(&mut self) {
        self.wire = None;
        self.queue.clear();
        self.bytes = 0;
    }

    /// Attaches a note to a line that is about to be written: the one that ends `ahead` bytes from here.
    pub(super) fn add_note(&self, ahead: usize, note: Note) {
        if let Some(wire) = &self.wire {
            wire.add_note(self.bytes + ahead, note);
        }
    }

    /// Writes as much of `parts` as possible without blocking, or nothing if bytes are queued.
    /// Returns the number of bytes written; pass the rest to [`Outbox::keep`] or
    /// [`Outbox::keep_owned`].
    ///
    /// # Errors
    /// The system's error. The other side is gone then.
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

    /// Queues a line behind everything else.
    pub(super) fn push_line(&mut self, line: &str) {
        self.keep_owned(format!("{line}\n").into_bytes(), 0);
    }

    /// Queues a copy of `parts` from byte `written` on. Does nothing if the wire is closed.
    pub(super) fn keep(&mut self, parts: &[&[u8]], written: usize) {
        for part in rest_of(parts, written) {
            self.keep_owned(part.to_vec(), 0);
        }
    }

    /// Queues `bytes` from `written` on, without copying them.
    pub(super) fn keep_owned(&mut self, bytes: Vec<u8>, written: usize) {
        if self.wire.is_some() && written < bytes.len() {
            self.bytes += bytes.len() - written;
            self.queue.push_back(Chunk { bytes, written });
        }
    }

    /// Returns the buffer of a large chunk that has been written, for reuse.
    pub(super) fn take_spare(&mut self) -> Option<Vec<u8>> {
        self.spare.take()
    }

    /// Waits until queued bytes can be written; forever if the queue is empty. May be cancelled.
    pub(super) async fn writable(&self) -> io::Result<()> {
        match &self.wire {
            Some(wire) if !self.is_empty() => wire.writable().await,
            Some(_) | None => std::future::pending().await,
        }
    }

    /// Writes as much of the queue as possible without blocking.
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

/// Returns what is left of `parts` from byte `written` on.
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
