//! Reads lines from a link.

use std::ops::Range;

use crate::mcp::frame::{Frame, FrameBuffer};
use crate::transport::{LinkReader, Note};

/// Reads lines from a link.
#[derive(Debug)]
pub(in crate::http) struct Lines {
    link: LinkReader,
    frames: FrameBuffer,
}

impl Lines {
    /// Creates a reader for lines of at most `max_line` bytes.
    pub(in crate::http) fn new(link: LinkReader, max_line: usize) -> Lines {
        Lines {
            link,
            frames: FrameBuffer::new(max_line),
        }
    }

    /// Waits for the next line; `None` once the other end has closed. [`Lines::line`] returns its bytes
    /// until the next call. May be cancelled.
    pub(in crate::http) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.frames.next_frame() {
                return Some(frame);
            }
            self.frames.compact();
            if self.link.read(self.frames.space()).await == 0 {
                return None;
            }
        }
    }

    /// Takes the note of the line that [`Lines::next`] returned last.
    pub(in crate::http) fn take_note(&self) -> Option<Note> {
        self.link.take_note(self.frames.position())
    }

    /// Returns the bytes of a line, without its newline.
    pub(in crate::http) fn line(&self, range: &Range<usize>) -> &[u8] {
        self.frames.line(range)
    }
}
