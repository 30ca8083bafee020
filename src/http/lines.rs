//! Lines out of a link.

use std::ops::Range;

use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;

use crate::mcp::frame::{Frame, FrameBuffer};

/// Reads lines from a stream.
#[derive(Debug)]
pub(super) struct Lines {
    stream: UnixStream,
    frames: FrameBuffer,
}

impl Lines {
    /// Lines of at most `max_line` bytes.
    pub(super) fn new(stream: UnixStream, max_line: usize) -> Lines {
        Lines {
            stream,
            frames: FrameBuffer::new(max_line),
        }
    }

    /// The next line; `None` once the other end has closed. Its bytes stand in [`Lines::line`]
    /// until the next call. May be cancelled.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.frames.next_frame() {
                return Some(frame);
            }
            self.frames.compact();
            let read = self.stream.read_buf(self.frames.space()).await;
            if !read.is_ok_and(|count| count > 0) {
                return None;
            }
        }
    }

    /// The bytes of a line, without its newline.
    pub(super) fn line(&self, range: &Range<usize>) -> &[u8] {
        self.frames.line(range)
    }
}
