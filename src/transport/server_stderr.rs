//! Passes a server's stderr on to ours, unchanged or with the server's name before each line.
//!
//! The name matters if the audit log goes to stderr: a server could otherwise write lines there that
//! look like records. The server never has to wait for the reader of our stderr.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::sleep;

use super::stderr_tail::StderrTail;
use super::wire::{Attempt, Wire};
use crate::evidence::redact::Redaction;
use crate::sys::Stderr;

/// The size of one read.
const READ: usize = 16 * 1024;
/// The longest piece of a line after one prefix.
const LONGEST_PIECE: usize = 8 * 1024;
/// How long to wait for the rest of an incomplete line.
const PARTIAL: Duration = Duration::from_millis(250);
/// How many bytes that an exited server left in its pipe are passed on. No pipe holds more, but a
/// process that the server started may keep writing.
const LEFT_BEHIND: usize = 1024 * 1024;
/// How many characters of the server's name go before each line.
const LONGEST_NAME: usize = 64;

/// Where a server's stderr goes.
#[derive(Debug, Clone)]
pub struct ServerStderr {
    /// Our own stderr; `None` keeps only the end, for quoting.
    pub to: Option<Stderr>,
    /// The name to put before each line. If `None`, the bytes are passed on unchanged.
    pub name: Option<String>,
    /// What to hide when the last lines are quoted.
    pub redaction: Redaction,
}

/// A server's stderr that is being read.
#[derive(Debug)]
pub(super) struct Reading {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Reading {
    /// Reads from a pipe until it is closed, or until [`Reading::finish`]. `tail` gets a copy.
    pub(super) fn start(
        pipe: OwnedFd,
        stderr: &ServerStderr,
        tail: Arc<Mutex<StderrTail>>,
    ) -> io::Result<Reading> {
        let pipe = Wire::from_child(pipe)?;
        let (stop, stopped) = oneshot::channel();
        let lines = match &stderr.name {
            Some(name) => Lines::Prefixed(Prefixer::new(name)),
            None => Lines::Unchanged,
        };
        let to = stderr.to.clone();
        let task = tokio::spawn(pass_on(pipe, lines, to, tail, stopped));
        Ok(Reading { stop, task })
    }

    /// Passes on what the server has written before it exited, and stops. Does not wait for
    /// processes that the server left behind, which may hold the pipe open.
    pub(super) async fn finish(self) {
        // The task may have ended already.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

async fn pass_on(
    pipe: Wire,
    mut lines: Lines,
    to: Option<Stderr>,
    tail: Arc<Mutex<StderrTail>>,
    mut stopped: oneshot::Receiver<()>,
) {
    let send = |bytes| {
        if let Some(to) = &to {
            to.send_from_server(bytes);
        }
    };
    let mut buffer = Vec::with_capacity(READ);
    loop {
        let is_stopped = tokio::select! {
            ready = pipe.readable() => {
                if ready.is_err() {
                    return;
                }
                false
            }
            // Also completes if `Reading` is dropped without `finish`.
            _ = &mut stopped => true,
            () = sleep(PARTIAL), if lines.is_partial() => {
                send(lines.end());
                continue;
            }
        };
        let mut left = LEFT_BEHIND;
        loop {
            buffer.clear();
            match pipe.try_read(&mut buffer) {
                Ok(Attempt::Done(count)) if count > 0 => {
                    tail.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(&buffer);
                    let whole = lines.push(&buffer);
                    if !whole.is_empty() {
                        send(whole);
                    }
                    left = left.saturating_sub(count);
                    if !is_stopped || left == 0 {
                        break;
                    }
                }
                Ok(Attempt::NotReady) => break,
                Ok(Attempt::Done(_)) | Err(_) => {
                    send(lines.end());
                    return;
                }
            }
        }
        if is_stopped {
            send(lines.end());
            return;
        }
        // A server that never stops writing must not starve the relay.
        yield_now().await;
    }
}

/// How to pass the lines on.
#[derive(Debug)]
enum Lines {
    Unchanged,
    Prefixed(Prefixer),
}

impl Lines {
    fn is_partial(&self) -> bool {
        match self {
            Lines::Unchanged => false,
            Lines::Prefixed(prefixer) => prefixer.is_partial(),
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Lines::Unchanged => bytes.to_vec(),
            Lines::Prefixed(prefixer) => prefixer.push(bytes),
        }
    }

    fn end(&mut self) -> Vec<u8> {
        match self {
            Lines::Unchanged => Vec::new(),
            Lines::Prefixed(prefixer) => prefixer.end(),
        }
    }
}

/// Puts a prefix before each line.
#[derive(Debug)]
struct Prefixer {
    prefix: Vec<u8>,
    /// The beginning of an incomplete line.
    partial: Vec<u8>,
}

impl Prefixer {
    fn new(name: &str) -> Prefixer {
        let name: String = name
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .take(LONGEST_NAME)
            .collect();
        Prefixer {
            prefix: format!("[{name}] ").into_bytes(),
            partial: Vec::new(),
        }
    }

    fn is_partial(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Takes input, and returns the lines that are complete or too long to wait for their end.
    fn push(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 4);
        while !bytes.is_empty() {
            let room = LONGEST_PIECE - self.partial.len();
            let next = bytes.get(..room).unwrap_or(bytes);
            let line = memchr::memchr(b'\n', next);
            let (piece, rest) = bytes.split_at(line.unwrap_or(next.len()));
            self.partial.extend_from_slice(piece);
            bytes = rest;
            if line.is_some() {
                bytes = bytes.get(1..).unwrap_or_default();
            }
            if line.is_some() || self.partial.len() == LONGEST_PIECE {
                self.write_line(&mut out);
            }
        }
        out
    }

    /// Returns an incomplete line as if it were complete.
    fn end(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.is_partial() {
            self.write_line(&mut out);
        }
        out
    }

    /// Writes the line, and repeats the prefix after everything in it that some reader takes for the
    /// end of a line.
    fn write_line(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix);
        let mut rest = self.partial.as_slice();
        while let Some(at) = rest.iter().position(|byte| is_break_or_begins_one(*byte)) {
            let length = at + break_length(rest.get(at..).unwrap_or_default()).max(1);
            let is_break = break_length(rest.get(at..).unwrap_or_default()) > 0;
            let (through, after) = rest.split_at(length.min(rest.len()));
            out.extend_from_slice(through);
            rest = after;
            // `\r\n` ends only one line.
            if is_break && !rest.is_empty() {
                out.extend_from_slice(&self.prefix);
            }
        }
        out.extend_from_slice(rest);
        out.push(b'\n');
        self.partial.clear();
    }
}

fn is_break_or_begins_one(byte: u8) -> bool {
    matches!(byte, b'\r' | 0x0b | 0x0c | 0x1c..=0x1e | 0xc2 | 0xe2)
}

/// Returns the length of the line break at the start of `bytes`, or 0. Recognizes the breaks of
/// Python's `str.splitlines`; text files know `\r` alone.
fn break_length(bytes: &[u8]) -> usize {
    match bytes {
        [b'\r' | 0x0b | 0x0c | 0x1c..=0x1e, ..] => 1,
        // U+0085, NEXT LINE.
        [0xc2, 0x85, ..] => 2,
        // U+2028 and U+2029, LINE SEPARATOR and PARAGRAPH SEPARATOR.
        [0xe2, 0x80, 0xa8 | 0xa9, ..] => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefixed(chunks: &[&[u8]]) -> String {
        let mut lines = Prefixer::new("box");
        let mut out: Vec<u8> = chunks.iter().flat_map(|chunk| lines.push(chunk)).collect();
        out.extend(lines.end());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_line_has_the_servers_name_before_it_however_it_arrives() {
        for chunks in [
            &[&b"one\n\ntwo\nthree"[..]][..],
            &[b"o", b"ne\n", b"\ntw", b"o\nth", b"ree"],
        ] {
            assert_eq!(
                prefixed(chunks),
                "[box] one\n[box] \n[box] two\n[box] three\n"
            );
        }
        assert_eq!(prefixed(&[b""]), "");
        assert_eq!(
            prefixed(&[b"\x1b[31mred\x1b[0m\r\n"]),
            "[box] \x1b[31mred\x1b[0m\r\n"
        );
    }

    #[test]
    fn a_name_cannot_break_its_line() {
        let mut lines = Prefixer::new(&format!("a\n\u{1b}\u{85}{}", "b".repeat(500)));
        let line = String::from_utf8(lines.push(b"x\n")).unwrap();
        assert!(line.starts_with("[a???bbb") && line.len() < 80, "{line}");
    }

    #[test]
    fn long_lines_are_split_and_each_piece_has_the_prefix() {
        let text = prefixed(&["x".repeat(20_000).as_bytes()]);
        let lengths: Vec<usize> = text
            .lines()
            .map(|line| line.len() - "[box] ".len())
            .collect();
        assert_eq!(
            lengths,
            [LONGEST_PIECE, LONGEST_PIECE, 20_000 - 2 * LONGEST_PIECE]
        );
    }

    #[test]
    fn the_prefix_follows_everything_that_a_reader_takes_for_the_end_of_a_line() {
        let forged = r#"{"v":1,"seq":2,"tool":"wipe","decision":"approved"}"#;
        for end in [
            "\n", "\r", "\r\n", "\u{b}", "\u{c}", "\u{1c}", "\u{1d}", "\u{1e}", "\u{85}",
            "\u{2028}", "\u{2029}",
        ] {
            let sent = format!("a{end}{forged}{end}{end}{forged}");
            let text = prefixed(&[sent.as_bytes()]);
            assert_eq!(
                text.matches(&format!("{end}{forged}")).count(),
                0,
                "{text:?}"
            );
            assert_eq!(
                text.matches(&format!("[box] {forged}")).count(),
                2,
                "{text:?}"
            );
        }
        // Bytes that only look like the beginning of a break stay unchanged.
        assert_eq!(
            prefixed(&["\u{e9}\u{2020}\n".as_bytes()]),
            "[box] \u{e9}\u{2020}\n"
        );
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_every_line_has_the_prefix(chunks: Vec<Vec<u8>>) {
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let mut lines = Prefixer::new("box");
            let mut out: Vec<u8> = chunks.iter().flat_map(|chunk| lines.push(chunk)).collect();
            out.extend(lines.end());
            let mut sent = chunks.concat();
            if sent.last().is_some_and(|byte| *byte != b'\n') {
                sent.push(b'\n');
            }
            let lines = out.split_inclusive(|byte| *byte == b'\n');
            prop_assert!(lines.clone().all(|line| line.starts_with(b"[box] ")));
            // None of these bytes is drawn by the strategy often enough to meet `[box] ` itself.
            let finder = memchr::memmem::Finder::new(b"[box] ");
            let mut rest = out.as_slice();
            let mut without = Vec::new();
            while let Some(at) = finder.find(rest) {
                without.extend_from_slice(&rest[..at]);
                rest = &rest[at + 6..];
            }
            without.extend_from_slice(rest);
            prop_assert_eq!(without, sent);
        }
    }
}
