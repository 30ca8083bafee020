//! An in-memory pipe that connects the relay to HTTP clients and HTTP servers.
//!
//! To the holder of its [`Wire`] it looks like any other pipe, so the relay works the same over HTTP
//! and stdio. A pair of sockets would cost some five microseconds a message.
//!
//! A line may carry a [`Note`]. The reader gets it with that line, and with no other.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::coop::cooperative;

use super::note::Note;
use super::wire::{Attempt, Wire};

/// How many bytes a link may hold; as many as a pair of sockets.
const CAPACITY: usize = 208 * 1024;
/// How many bytes of memory an empty link keeps.
const KEPT: usize = 16 * 1024;
/// How many bytes the notes in a link may take. Beyond that, lines lose their notes. A lost note costs a hint, never a
/// decision.
const MAX_NOTES: usize = 8 * 1024 * 1024;

/// Creates a link into the relay: the wire reads what is written to the writer.
#[must_use]
pub fn link_in() -> (LinkWriter, Wire) {
    let (writer, reader) = link();
    (writer, Wire::from_link(reader))
}

/// Creates a link out of the relay: the reader reads what is written to the wire.
#[must_use]
pub fn link_out() -> (LinkReader, Wire) {
    let (writer, reader) = link();
    (reader, Wire::to_link(writer))
}

fn link() -> (LinkWriter, LinkReader) {
    let shared = Arc::new(Shared::default());
    (LinkWriter(Arc::clone(&shared)), LinkReader(shared))
}

/// The reading end of a link, for one task. Dropping it closes the link.
#[derive(Debug)]
pub struct LinkReader(Arc<Shared>);

/// The writing end of a link. Dropping it closes the link; the bytes in it can still be read.
#[derive(Debug)]
pub struct LinkWriter(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Signals that there may be bytes, or the end.
    filled: Notify,
    /// Signals one waiting writer that there may be room. A writer that leaves some room signals the next.
    drained: Notify,
}

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    /// The number of bytes written since the link was created.
    written: u64,
    /// Each note with the position at which its line ends, newline included, counted as `written` is. The line itself
    /// may not have been written yet.
    notes: VecDeque<(u64, Note)>,
    /// The size of the notes.
    note_bytes: usize,
    is_closed: bool,
}

impl LinkReader {
    /// Waits until there is something to read, or the link is closed. May be cancelled.
    pub async fn readable(&self) {
        while !self.0.state().is_readable() {
            self.0.filled.notified().await;
        }
    }

    /// Appends the available bytes to `buf`, at most its spare capacity. `Done(0)` is the end.
    pub fn try_read(&self, buf: &mut Vec<u8>) -> Attempt {
        let mut state = self.0.state();
        if !state.is_readable() {
            return Attempt::NotReady;
        }
        let count = state.bytes.len().min(buf.capacity() - buf.len());
        let mut read = 0;
        let (front, back) = state.bytes.as_slices();
        for part in [front, back] {
            let part = part.get(..count - read).unwrap_or(part);
            buf.extend_from_slice(part);
            read += part.len();
        }
        let was_full = !state.has_room();
        state.bytes.drain(..count);
        if state.bytes.is_empty() && state.bytes.capacity() > KEPT {
            state.bytes = VecDeque::new();
        }
        if was_full && state.has_room() {
            self.0.drained.notify_one();
        }
        Attempt::Done(count)
    }

    /// Waits for bytes and appends them to `buf`, at most its spare capacity, which must not be zero.
    /// Returns their number, 0 at the end. May be cancelled without losing bytes.
    pub async fn read(&mut self, buf: &mut Vec<u8>) -> usize {
        // A task whose link never empties must not starve other tasks.
        cooperative(async {
            loop {
                match self.try_read(buf) {
                    Attempt::Done(count) => return count,
                    Attempt::NotReady => self.readable().await,
                }
            }
        })
        .await
    }

    /// Takes the note of the line that ends at byte `end`, counted from the first byte that was ever read. Must be
    /// called for lines in order.
    pub fn take_note(&self, end: u64) -> Option<Note> {
        let mut state = self.0.state();
        while state.notes.front().is_some_and(|(at, _)| *at <= end) {
            let (at, note) = state.notes.pop_front()?;
            state.note_bytes -= note.bytes();
            // A note with a smaller position belongs to a line that nobody asked about.
            if at == end {
                return Some(note);
            }
        }
        None
    }

    /// Returns true if the writer has closed the link.
    #[must_use]
    pub fn has_hung_up(&self) -> bool {
        self.0.state().is_closed
    }
}

impl LinkWriter {
    /// Waits until there is room, or the reader is gone. May be cancelled.
    pub async fn writable(&self) {
        while !self.0.state().is_writable() {
            self.0.drained.notified().await;
        }
    }

    /// Writes as much of `parts` as there is room for, in order.
    ///
    /// # Errors
    /// `BrokenPipe` if the link is closed.
    pub fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<Attempt> {
        let mut state = self.0.state();
        if state.is_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut written = 0;
        for part in parts {
            let room = CAPACITY.saturating_sub(state.bytes.len());
            let part = part.get(..room).unwrap_or(part);
            state.bytes.extend(part);
            written += part.len();
        }
        state.written += written as u64;
        if written == 0 && parts.iter().any(|part| !part.is_empty()) {
            return Ok(Attempt::NotReady);
        }
        self.0.filled.notify_one();
        Ok(Attempt::Done(written))
    }

    /// Attaches a note to a line that is about to be written: the one that ends `ahead` bytes from here.
    pub fn add_note(&self, ahead: usize, note: Note) {
        let mut state = self.0.state();
        let end = state.written + ahead as u64;
        state.add_note(end, note);
    }

    /// Writes a whole line with its newline and its note as soon as there is any room. Several tasks may call this at
    /// the same time. May be cancelled: nothing is written then.
    ///
    /// # Errors
    /// `BrokenPipe` if the link is closed.
    pub async fn send_line(&self, line: &str, note: Option<Note>) -> io::Result<()> {
        let mut note = note;
        while !self.try_send(line, &mut note)? {
            self.0.drained.notified().await;
        }
        Ok(())
    }

    /// Writes a whole line with its newline. Returns false if there is no room.
    ///
    /// # Errors
    /// As [`LinkWriter::send_line`].
    pub fn try_send_line(&self, line: &str) -> io::Result<bool> {
        self.try_send(line, &mut None)
    }

    fn try_send(&self, line: &str, note: &mut Option<Note>) -> io::Result<bool> {
        let mut state = self.0.state();
        if state.is_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !state.has_room() {
            return Ok(false);
        }
        state.bytes.reserve(line.len() + 1);
        state.bytes.extend(line.as_bytes());
        state.bytes.push_back(b'\n');
        state.written += line.len() as u64 + 1;
        if let Some(note) = note.take() {
            let end = state.written;
            state.add_note(end, note);
        }
        self.0.filled.notify_one();
        if state.has_room() {
            self.0.drained.notify_one();
        }
        Ok(true)
    }

    /// Closes the link; the bytes in it can still be read.
    pub fn close(&self) {
        self.0.close();
    }

    /// Returns true if the link is closed.
    #[must_use]
    pub fn has_hung_up(&self) -> bool {
        self.0.state().is_closed
    }
}

impl Drop for LinkReader {
    fn drop(&mut self) {
        self.0.close();
        // Nobody will read the rest, so its memory is freed.
        let mut state = self.0.state();
        (state.bytes, state.notes) = (VecDeque::new(), VecDeque::new());
    }
}

impl Drop for LinkWriter {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Shared {
    fn close(&self) {
        self.state().is_closed = true;
        for notify in [&self.filled, &self.drained] {
            notify.notify_waiters();
            // For a task that is about to wait.
            notify.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_readable(&self) -> bool {
        !self.bytes.is_empty() || self.is_closed
    }

    fn is_writable(&self) -> bool {
        self.has_room() || self.is_closed
    }

    fn has_room(&self) -> bool {
        self.bytes.len() < CAPACITY
    }

    fn add_note(&mut self, end: u64, note: Note) {
        let bytes = note.bytes();
        if !self.is_closed && self.note_bytes + bytes <= MAX_NOTES {
            self.note_bytes += bytes;
            self.notes.push_back((end, note));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mcp::frame::{Frame, FrameBuffer};
    use crate::mcp::message::RequestId;
    use crate::transport::Reply;

    fn about(number: i64) -> Option<Note> {
        Some(Note::About(RequestId::Integer(number)))
    }

    /// Reads all lines with their notes, `room` bytes at a time. A line of more than `max_line` bytes is `None`.
    async fn lines(
        reader: &mut LinkReader,
        max_line: usize,
        room: usize,
    ) -> Vec<(Option<String>, Option<Note>)> {
        let mut frames = FrameBuffer::new(max_line);
        let mut found = Vec::new();
        loop {
            let mut part = Vec::with_capacity(room);
            if reader.read(&mut part).await == 0 {
                return found;
            }
            frames.space().extend(part);
            while let Some(frame) = frames.next_frame() {
                let note = reader.take_note(frames.position());
                let line = match frame {
                    Frame::Line(range) => Some(String::from_utf8(frames.line(&range).to_vec())),
                    Frame::Overlong { .. } => None,
                };
                found.push((line.map(Result::unwrap), note));
            }
            frames.compact();
        }
    }

    #[tokio::test]
    async fn equal_lines_each_carry_their_own_note() {
        let (writer, mut reader) = link();
        for note in [about(1), None, about(2), None] {
            writer.send_line("same", note).await.unwrap();
        }
        drop(writer);
        let found = lines(&mut reader, 99, 7).await;
        let notes: Vec<Option<Note>> = found.into_iter().map(|(_, note)| note).collect();
        assert_eq!(notes, [about(1), None, about(2), None]);
    }

    #[tokio::test]
    async fn the_note_of_an_overlong_line_does_not_go_to_another_line() {
        let (writer, mut reader) = link();
        for length in [20_000, 3] {
            let line = "x".repeat(length);
            writer.send_line(&line, about(length as i64)).await.unwrap();
            writer.send_line("y", None).await.unwrap();
        }
        drop(writer);
        let found = lines(&mut reader, 10, 4_096).await;
        let expected = [
            (None, about(20_000)),
            (Some("y".to_owned()), None),
            (Some("xxx".to_owned()), about(3)),
            (Some("y".to_owned()), None),
        ];
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn a_note_that_nobody_takes_is_dropped_with_its_line() {
        let (writer, reader) = link();
        writer.send_line("a", about(1)).await.unwrap();
        writer.send_line("b", about(2)).await.unwrap();
        assert_eq!(reader.take_note(4), about(2));
        assert_eq!(reader.take_note(2), None);
        assert_eq!(reader.0.state().note_bytes, 0);
    }

    #[tokio::test]
    async fn the_memory_for_notes_is_bounded() {
        let (writer, reader) = link();
        let reply = || {
            Some(Note::Reply(Box::new(Reply {
                status: 500,
                headers: Vec::new(),
                body: vec![7; 64 * 1024],
            })))
        };
        for _ in 0..1_000 {
            writer.send_line("x", reply()).await.unwrap();
        }
        assert!(reader.0.state().note_bytes <= MAX_NOTES);
        assert!(reader.0.state().notes.len() > 100);
        // Lines still arrive, and once there is room again, so do notes.
        assert_eq!(reader.take_note(2_000), None);
        assert_eq!(reader.0.state().notes.len(), 0);
        writer.send_line("y", reply()).await.unwrap();
        assert_eq!(reader.take_note(2_002), reply());
    }

    #[tokio::test]
    async fn everything_written_is_read_and_then_comes_the_end() {
        let (writer, mut reader) = link();
        writer.send_line("one", None).await.unwrap();
        writer
            .try_write(&[IoSlice::new(b"tw"), IoSlice::new(b"o\n")])
            .unwrap();
        drop(writer);
        let mut read = Vec::with_capacity(4);
        assert_eq!(reader.read(&mut read).await, 4);
        let mut rest = Vec::with_capacity(64);
        assert_eq!(reader.read(&mut rest).await, 4);
        assert_eq!((&read[..], &rest[..]), (&b"one\n"[..], &b"two\n"[..]));
        assert_eq!(reader.read(&mut rest).await, 0);
        assert!(reader.has_hung_up());
    }

    #[tokio::test]
    async fn writers_that_wait_for_room_learn_that_the_reader_is_gone() {
        let (writer, reader) = link();
        let writer = Arc::new(writer);
        writer.send_line(&"x".repeat(CAPACITY), None).await.unwrap();
        let mut waiting = Vec::new();
        for _ in 0..3 {
            let writer = Arc::clone(&writer);
            waiting.push(tokio::spawn(
                async move { writer.send_line("y", None).await },
            ));
        }
        tokio::task::yield_now().await;
        assert!(waiting.iter().all(|task| !task.is_finished()));
        drop(reader);
        for task in waiting {
            let error = task.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
    }

    #[tokio::test]
    async fn a_link_holds_its_capacity_and_one_more_line() {
        let (writer, mut reader) = link();
        let much = vec![7; CAPACITY + 5];
        let attempt = writer.try_write(&[IoSlice::new(&much)]).unwrap();
        assert_eq!(attempt, Attempt::Done(CAPACITY));
        let attempt = writer.try_write(&[IoSlice::new(b"x")]).unwrap();
        assert_eq!(attempt, Attempt::NotReady);
        assert!(!writer.try_send_line("x").unwrap());
        assert_eq!(reader.read(&mut Vec::with_capacity(10)).await, 10);
        writer.writable().await;
        assert!(writer.try_send_line("a whole line").unwrap());
        assert!(!writer.try_send_line("and no other").unwrap());
    }

    #[tokio::test]
    async fn a_line_whose_sender_was_cancelled_is_not_written_in_part() {
        let (writer, mut reader) = link();
        let first = "x".repeat(CAPACITY);
        writer.send_line(&first, None).await.unwrap();
        let sending = writer.send_line("cancelled", None);
        let cancelled = tokio::time::timeout(std::time::Duration::ZERO, sending);
        assert!(cancelled.await.is_err());
        let mut read = Vec::with_capacity(2 * CAPACITY);
        reader.read(&mut read).await;
        writer.send_line("last", None).await.unwrap();
        drop(writer);
        while reader.read(&mut read).await > 0 {}
        assert_eq!(read, format!("{first}\nlast\n").into_bytes());
    }

    proptest! {
        /// However a line is split in writing and reading, its note arrives with it.
        #[test]
        fn notes_stay_with_their_lines(
            batches in prop::collection::vec(prop::collection::vec((0usize..40_000, any::<bool>()), 1..5), 1..8),
            room in 1usize..90_000,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut expected = Vec::new();
            let mut number = 0;
            for (length, is_noted) in batches.iter().flatten() {
                number += 1;
                let note = if *is_noted { about(number) } else { None };
                expected.push((Some("x".repeat(*length)), note));
            }
            let found = runtime.block_on(async {
                let (writer, mut reader) = link();
                let mut left = expected.clone().into_iter();
                tokio::spawn(async move {
                    for batch in batches {
                        // As the relay does: first the notes of a batch, then its bytes as they fit.
                        let mut bytes = Vec::new();
                        for (line, note) in left.by_ref().take(batch.len()) {
                            bytes.extend(line.unwrap().bytes());
                            bytes.push(b'\n');
                            if let Some(note) = note {
                                writer.add_note(bytes.len(), note);
                            }
                        }
                        let mut written = 0;
                        while written < bytes.len() {
                            match writer.try_write(&[IoSlice::new(&bytes[written..])]).unwrap() {
                                Attempt::Done(count) => written += count,
                                Attempt::NotReady => writer.writable().await,
                            }
                        }
                    }
                });
                lines(&mut reader, 1_000_000, room).await
            });
            prop_assert_eq!(found, expected);
        }

        /// However the bytes are split, they come out as they went in. Lines of several senders stay
        /// whole, and each sender's lines stay in order.
        #[test]
        fn lines_stay_whole_and_in_order(
            lengths in prop::collection::vec(prop::collection::vec(0usize..60_000, 0..12), 1..4),
            room in 1usize..90_000,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let line = |sender: usize, number: usize, length: usize| {
                format!("{sender} {number} {}", "x".repeat(length))
            };
            let received = runtime.block_on(async {
                let (writer, mut reader) = link();
                let writer = Arc::new(writer);
                for (sender, lengths) in lengths.clone().into_iter().enumerate() {
                    let writer = Arc::clone(&writer);
                    tokio::spawn(async move {
                        for (number, length) in lengths.into_iter().enumerate() {
                            writer.send_line(&line(sender, number, length), None).await.unwrap();
                        }
                    });
                }
                drop(writer);
                let mut received = Vec::new();
                loop {
                    let mut buf = Vec::with_capacity(room);
                    if reader.read(&mut buf).await == 0 {
                        return received;
                    }
                    received.extend(buf);
                }
            });
            let received = String::from_utf8(received).unwrap();
            for (sender, lengths) in lengths.iter().enumerate() {
                let prefix = format!("{sender} ");
                let found: Vec<&str> = received.lines().filter(|line| line.starts_with(&prefix)).collect();
                let sent = lengths.iter().enumerate().map(|(number, length)| line(sender, number, *length));
                prop_assert_eq!(found, sent.collect::<Vec<_>>());
            }
        }
    }
}
