//! A line of bytes within this process that looks like a pipe to whoever holds its wire.
//!
//! By it the relay speaks to what is no process: to HTTP clients, and to servers behind HTTP. It
//! need not know, and what is proven of it over pipes holds there too. The bytes stay in memory:
//! a pair of sockets would cost some five microseconds a message.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::task::coop::cooperative;

use super::wire::{Attempt, Wire};

/// How many bytes may wait in a link; as many as in a pair of sockets.
const CAPACITY: usize = 208 * 1024;
/// What an empty link keeps of its memory, in bytes.
const KEPT: usize = 16 * 1024;

/// A way into the relay: what is written to the end is read from the wire.
#[must_use]
pub fn link_in() -> (LinkWriter, Wire) {
    let (writer, reader) = link();
    (writer, Wire::from_link(reader))
}

/// A way out of the relay: what is written to the wire is read from the end.
#[must_use]
pub fn link_out() -> (LinkReader, Wire) {
    let (writer, reader) = link();
    (reader, Wire::to_link(writer))
}

fn link() -> (LinkWriter, LinkReader) {
    let shared = Arc::new(Shared::default());
    (LinkWriter(Arc::clone(&shared)), LinkReader(shared))
}

/// The end of a link that is read. Dropping it closes the link.
#[derive(Debug)]
pub struct LinkReader(Arc<Shared>);

/// The end of a link that is written to. Dropping it closes the link; what waits in it can still be
/// read.
#[derive(Debug)]
pub struct LinkWriter(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    is_closed: bool,
    /// Who waits for bytes, and who for room. An end is one task's, so there is one of each.
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl LinkReader {
    /// Waits until there is something to read, or the end of it. May be cancelled.
    pub async fn readable(&self) {
        cooperative(poll_fn(|context| self.0.poll(context, State::poll_bytes))).await;
    }

    /// Appends what is there to `buf`, at most its spare capacity; `Done(0)` is the end.
    pub fn try_read(&self, buf: &mut Vec<u8>) -> Attempt {
        let mut state = self.0.state();
        if state.bytes.is_empty() {
            return match state.is_closed {
                true => Attempt::Done(0),
                false => Attempt::NotReady,
            };
        }
        let mut read = 0;
        let count = state.bytes.len().min(buf.capacity() - buf.len());
        let (front, back) = state.bytes.as_slices();
        for part in [front, back] {
            let room = count.saturating_sub(read);
            let part = part.get(..room).unwrap_or(part);
            buf.extend_from_slice(part);
            read += part.len();
        }
        state.bytes.drain(..count);
        if state.bytes.is_empty() && state.bytes.capacity() > KEPT {
            state.bytes = VecDeque::new();
        }
        let writer = state.writer.take();
        drop(state);
        wake(writer);
        Attempt::Done(count)
    }

    /// Waits for bytes and appends them to `buf`, at most its spare capacity, which is not to be
    /// none; returns how many, 0 at the end. May be cancelled: nothing is lost then.
    pub async fn read(&mut self, buf: &mut Vec<u8>) -> usize {
        loop {
            match self.try_read(buf) {
                Attempt::Done(count) => return count,
                Attempt::NotReady => self.readable().await,
            }
        }
    }

    /// Whether nothing more will be written.
    #[must_use]
    pub fn has_hung_up(&self) -> bool {
        self.0.state().is_closed
    }
}

impl LinkWriter {
    /// Waits until there is room, or nobody reads any more. May be cancelled.
    pub async fn writable(&self) {
        cooperative(poll_fn(|context| self.0.poll(context, State::poll_room))).await;
    }

    /// Writes what there is room for of `parts`, in order.
    ///
    /// # Errors
    /// `BrokenPipe` where nobody reads any more.
    pub fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<Attempt> {
        let mut state = self.0.state();
        if state.is_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut written = 0;
        for part in parts {
            let room = CAPACITY - state.bytes.len();
            let part = part.get(..room).unwrap_or(part);
            state.bytes.extend(part);
            written += part.len();
        }
        if written == 0 && parts.iter().any(|part| !part.is_empty()) {
            return Ok(Attempt::NotReady);
        }
        let reader = state.reader.take();
        drop(state);
        wake(reader);
        Ok(Attempt::Done(written))
    }

    /// Writes all of `bytes`. Where it is cancelled, only part of them may have been written.
    ///
    /// # Errors
    /// `BrokenPipe` where nobody reads any more.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_write(&[IoSlice::new(bytes)])? {
                Attempt::Done(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Attempt::NotReady => self.writable().await,
            }
        }
        Ok(())
    }

    /// Whether nobody reads any more.
    #[must_use]
    pub fn has_hung_up(&self) -> bool {
        self.0.state().is_closed
    }
}

impl Drop for LinkReader {
    fn drop(&mut self) {
        let mut state = self.0.state();
        // Nobody will read it.
        state.bytes = VecDeque::new();
        drop(state);
        self.0.close();
    }
}

impl Drop for LinkWriter {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Shared {
    fn poll(
        &self,
        context: &mut Context<'_>,
        poll: impl FnOnce(&mut State, &mut Context<'_>) -> Poll<()>,
    ) -> Poll<()> {
        poll(&mut self.state(), context)
    }

    fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        let waiting = [state.reader.take(), state.writer.take()];
        drop(state);
        waiting.into_iter().for_each(wake);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.bytes.is_empty() || self.is_closed {
            return Poll::Ready(());
        }
        remember(&mut self.reader, context);
        Poll::Pending
    }

    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.bytes.len() < CAPACITY || self.is_closed {
            return Poll::Ready(());
        }
        remember(&mut self.writer, context);
        Poll::Pending
    }
}

fn remember(waiting: &mut Option<Waker>, context: &mut Context<'_>) {
    match waiting {
        Some(waker) => waker.clone_from(context.waker()),
        None => *waiting = Some(context.waker().clone()),
    }
}

fn wake(waiting: Option<Waker>) {
    if let Some(waker) = waiting {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[tokio::test]
    async fn what_is_written_is_read_and_then_the_end() {
        let (mut writer, mut reader) = link();
        writer.write_all(b"one\ntwo\n").await.unwrap();
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
    async fn a_link_that_nobody_reads_is_broken_even_for_who_waits() {
        let (mut writer, reader) = link();
        let waiting = tokio::spawn(async move { writer.write_all(&[0; CAPACITY + 1]).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(reader);
        let error = waiting.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_link_holds_so_much_and_no_more() {
        let (writer, mut reader) = link();
        let much = vec![7; CAPACITY + 5];
        let attempt = writer.try_write(&[IoSlice::new(&much)]).unwrap();
        assert_eq!(attempt, Attempt::Done(CAPACITY));
        let attempt = writer.try_write(&[IoSlice::new(b"x")]).unwrap();
        assert_eq!(attempt, Attempt::NotReady);
        assert_eq!(reader.read(&mut Vec::with_capacity(10)).await, 10);
        writer.writable().await;
        let attempt = writer.try_write(&[IoSlice::new(&much)]).unwrap();
        assert_eq!(attempt, Attempt::Done(10));
    }

    proptest! {
        /// Whatever the pieces, the bytes come out as they went in.
        #[test]
        fn bytes_keep_their_order(
            pieces in prop::collection::vec(0usize..9000, 0..60),
            room in 1usize..7000,
        ) {
            let mut all = (0u32..).map(|number| (number % 251) as u8);
            let pieces: Vec<Vec<u8>> = pieces.iter().map(|n| all.by_ref().take(*n).collect()).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let sent = pieces.concat();
            let received = runtime.block_on(async {
                let (mut writer, mut reader) = link();
                tokio::spawn(async move {
                    for piece in pieces {
                        writer.write_all(&piece).await.unwrap();
                    }
                });
                let mut received = Vec::new();
                loop {
                    let mut buf = Vec::with_capacity(room);
                    if reader.read(&mut buf).await == 0 {
                        return received;
                    }
                    received.extend(buf);
                }
            });
            prop_assert_eq!(received, sent);
        }
    }
}
