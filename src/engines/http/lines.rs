//! The lines of an answer that goes on until somebody ends it, such as a subscription.
//!
//! Does not know what a line means, and does not connect again.

use std::time::Duration;

use reqwest::Response;
use tokio::time::timeout;

use crate::gate::Failure;
use crate::sys::with_causes;

/// The lines of one answer.
pub(in crate::engines) struct Lines {
    response: Response,
    /// How the service is called in errors.
    peer: String,
    splitter: Splitter,
}

impl Lines {
    pub(super) fn new(response: Response, peer: String, max_line: usize) -> Lines {
        Lines {
            response,
            peer,
            splitter: Splitter {
                max_line,
                pending: Vec::new(),
                is_skipping: false,
            },
        }
    }

    /// Returns the next line without its end. Skips lines that are too long, so that nobody who can write one can stop
    /// us from reading the others. May be cancelled: nothing is lost.
    ///
    /// # Errors
    /// If the answer ends or breaks off, or if nothing arrives for so long.
    pub(in crate::engines) async fn next(&mut self, silence: Duration) -> Result<Vec<u8>, Failure> {
        loop {
            if let Some(line) = self.splitter.next() {
                return Ok(line);
            }
            let peer = &self.peer;
            let ended = |why: String| Failure::unreachable(format!("the answer of {peer} {why}"));
            let chunk = timeout(silence, self.response.chunk()).await;
            let chunk =
                chunk.map_err(|_| ended(format!("was silent for {} s", silence.as_secs())))?;
            let chunk = chunk.map_err(|error| {
                ended(format!("broke off: {}", with_causes(&error.without_url())))
            })?;
            match chunk {
                Some(chunk) => self.splitter.push(&chunk),
                None => return Err(ended("ended".to_owned())),
            }
        }
    }
}

/// Cuts bytes into lines. Keeps no more than one line, beside what was pushed last.
struct Splitter {
    max_line: usize,
    pending: Vec<u8>,
    /// Whether the present line is too long, so that its end is awaited only.
    is_skipping: bool,
}

impl Splitter {
    fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Returns the next line that is complete.
    fn next(&mut self) -> Option<Vec<u8>> {
        while let Some(end) = memchr::memchr(b'\n', &self.pending) {
            let mut line: Vec<u8> = self.pending.drain(..=end).collect();
            line.pop();
            let is_skipped = std::mem::take(&mut self.is_skipping) || line.len() > self.max_line;
            if !is_skipped {
                return Some(line);
            }
        }
        if self.pending.len() > self.max_line {
            self.is_skipping = true;
            self.pending.clear();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(max_line: usize, chunks: &[&str]) -> (Vec<String>, Splitter) {
        let mut splitter = Splitter {
            max_line,
            pending: Vec::new(),
            is_skipping: false,
        };
        let mut lines = Vec::new();
        for chunk in chunks {
            splitter.push(chunk.as_bytes());
            while let Some(line) = splitter.next() {
                lines.push(String::from_utf8(line).unwrap());
            }
        }
        (lines, splitter)
    }

    #[test]
    fn lines_survive_every_split() {
        let text = "one\n\ntwo three\nfour\n";
        for at in 0..=text.len() {
            let (first, second) = text.split_at(at);
            let (lines, _) = lines(100, &[first, second]);
            assert_eq!(lines, ["one", "", "two three", "four"], "{at}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_not_kept() {
        let long = "x".repeat(50);
        let (found, _) = lines(10, &[&format!("a\n{long}\nb\n")]);
        assert_eq!(found, ["a", "b"]);
        let (found, splitter) = lines(10, &["a\n", &long, &long, &long]);
        assert_eq!((found.len(), splitter.pending.len()), (1, 0));
        let (found, _) = lines(10, &["a\n", &long, "y\nb", "\n"]);
        assert_eq!(found, ["a", "b"]);
    }
}
