//! Both ends of the child's stdio: lines out and lines in, without blocking each other.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio};

use crate::Outcome;

/// The size of one read: the capacity of a Linux pipe.
const READ: usize = 64 * 1024;

pub(crate) struct Pipes {
    stdin: File,
    stdout: File,
    /// The output. Everything before `written` has been sent.
    out: Vec<u8>,
    written: usize,
    /// The received bytes are `input[start..filled]`. There is no newline before `scanned`.
    input: Vec<u8>,
    start: usize,
    scanned: usize,
    filled: usize,
    /// The longest wait for any one message.
    timeout: Timespec,
}

impl Pipes {
    pub(crate) fn new(stdin: OwnedFd, stdout: OwnedFd, timeout: Duration) -> Outcome<Pipes> {
        ioctl_fionbio(&stdin, true)?;
        ioctl_fionbio(&stdout, true)?;
        Ok(Pipes {
            stdin: stdin.into(),
            stdout: stdout.into(),
            out: Vec::new(),
            written: 0,
            input: vec![0; 2 * READ],
            start: 0,
            scanned: 0,
            filled: 0,
            timeout: timeout.try_into()?,
        })
    }

    /// Queues a message; [`Pipes::wait_line`] sends it.
    pub(crate) fn send(&mut self, message: &str) {
        self.out.extend_from_slice(message.as_bytes());
        self.out.push(b'\n');
    }

    /// Queues a call: its id, and everything after the id.
    pub(crate) fn send_call(&mut self, id: usize, tail: &str) {
        self.out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
        self.out.extend_from_slice(id.to_string().as_bytes());
        self.send(tail);
    }

    /// Waits for a whole line and returns it without its newline.
    pub(crate) fn wait_line(&mut self) -> Outcome<&[u8]> {
        loop {
            if let Some(ahead) = memchr::memchr(b'\n', &self.input[self.scanned..self.filled]) {
                let line = self.start..self.scanned + ahead;
                self.start = line.end + 1;
                self.scanned = self.start;
                return Ok(&self.input[line]);
            }
            self.scanned = self.filled;
            let is_flushed = self.flush()?;
            if self.wait(is_flushed)? {
                self.read()?;
            }
        }
    }

    /// Writes as much as possible now; returns true if nothing is left.
    fn flush(&mut self) -> Outcome<bool> {
        while self.written < self.out.len() {
            match self.stdin.write(&self.out[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(true)
    }

    /// Waits until reading or writing is possible; returns true if there is something to read.
    fn wait(&self, is_flushed: bool) -> Outcome<bool> {
        let mut ends = [
            PollFd::new(&self.stdout, PollFlags::IN),
            PollFd::new(&self.stdin, PollFlags::OUT),
        ];
        let wanted = if is_flushed { 1 } else { 2 };
        match poll(&mut ends[..wanted], Some(&self.timeout)) {
            Ok(0) => Err("no message within the timeout".into()),
            Ok(_) => Ok(!ends[0].revents().is_empty()),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&mut self) -> Outcome<()> {
        self.make_room();
        match self.stdout.read(&mut self.input[self.filled..]) {
            Ok(0) => Err("the child closed its stdout".into()),
            Ok(read) => {
                self.filled += read;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes room after `filled` for one more read.
    fn make_room(&mut self) {
        if self.input.len() - self.filled >= READ {
            return;
        }
        self.input.copy_within(self.start..self.filled, 0);
        self.filled -= self.start;
        self.scanned -= self.start;
        self.start = 0;
        if self.input.len() - self.filled < READ {
            self.input.resize(2 * self.input.len(), 0);
        }
    }
}
