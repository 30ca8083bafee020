//! Framing of the stdio transport: turns bytes into lines and limits their size.
//!
//! It does no I/O and does not parse the lines.

use std::ops::Range;

/// How many bytes of an overlong line are kept at each end, to find its id.
const KEPT_OF_OVERLONG: usize = 4 * 1024;
/// The least space to offer for one read: the capacity of a Linux pipe.
const READ_SIZE: usize = 64 * 1024;
/// An empty buffer larger than this is shrunk.
const KEPT_CAPACITY: usize = 4 * 1024 * 1024;

/// The next thing in the buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// A whole line. Without its newline, it is this range of [`FrameBuffer::bytes`] until [`FrameBuffer::compact`].
    Line(Range<usize>),
    /// The end of a line longer than the limit. Only its first and last bytes were kept.
    Overlong {
        /// The line's first bytes.
        head: Vec<u8>,
        /// The line's last bytes.
        tail: Vec<u8>,
    },
}

/// Collects bytes and cuts them into lines. A line is at most `max_line` bytes.
#[derive(Debug)]
pub struct FrameBuffer {
    buf: Vec<u8>,
    /// Start of the first line not yet returned.
    start: usize,
    /// No newline comes before this position, so no byte is searched twice.
    scanned: usize,
    /// How many bytes were discarded before the start of `buf`.
    discarded: u64,
    max_line: usize,
    /// Head and tail of an overlong line whose end has not arrived.
    overlong: Option<(Vec<u8>, Vec<u8>)>,
}

impl FrameBuffer {
    /// Creates a buffer for lines of at most `max_line` bytes, not counting the newline.
    #[must_use]
    pub fn new(max_line: usize) -> FrameBuffer {
        FrameBuffer {
            buf: Vec::new(),
            start: 0,
            scanned: 0,
            discarded: 0,
            max_line,
            overlong: None,
        }
    }

    /// Returns the vector to append input to, with room for at least one read. The longer the pending line, the more
    /// room it reserves.
    pub fn space(&mut self) -> &mut Vec<u8> {
        self.buf.reserve(self.buf.len().max(READ_SIZE));
        &mut self.buf
    }

    /// Returns all bytes in the buffer; [`Frame::Line`] is a range of them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buf
    }

    /// Returns the bytes of a line.
    #[must_use]
    pub fn line(&self, range: &Range<usize>) -> &[u8] {
        self.buf.get(range.clone()).unwrap_or_default()
    }

    /// Returns the next frame, or `None` if more bytes are needed.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let unscanned = self.buf.get(self.scanned..).unwrap_or_default();
        let Some(ahead) = memchr::memchr(b'\n', unscanned) else {
            self.scanned = self.buf.len();
            if self.buf.len() - self.start > self.max_line || self.overlong.is_some() {
                self.drop_overlong_part();
            }
            return None;
        };
        let line = self.start..self.scanned + ahead;
        self.start = line.end + 1;
        self.scanned = self.start;
        if self.overlong.is_none() && line.len() <= self.max_line {
            return Some(Frame::Line(line));
        }
        let part = self.buf.get(line).unwrap_or_default();
        let (head, tail) = add_overlong_part(self.overlong.take(), part);
        Some(Frame::Overlong { head, tail })
    }

    /// Returns the bytes after the last newline as a line, once the peer has closed: some peers omit the final newline.
    pub fn take_rest(&mut self) -> Option<Frame> {
        if self.start == self.buf.len() && self.overlong.is_none() {
            return None;
        }
        self.buf.push(b'\n');
        self.next_frame()
    }

    /// Returns true if every byte belongs to a line that was already returned.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.start == self.buf.len()
    }

    /// Returns how many bytes of input end with the last returned frame, including its newline.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.discarded + self.start as u64
    }

    /// Returns the whole buffer, including bytes that were not returned as lines yet, so call it only if
    /// [`FrameBuffer::is_used_up`]. Ranges of lines stay valid in the returned vector.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        self.discarded += self.buf.len() as u64;
        (self.start, self.scanned) = (0, 0);
        std::mem::take(&mut self.buf)
    }

    /// Reuses a vector as the buffer instead of allocating a new one.
    pub fn give_memory(&mut self, mut memory: Vec<u8>) {
        if self.buf.capacity() < memory.capacity() && self.buf.is_empty() {
            memory.clear();
            self.buf = memory;
        }
    }

    /// Discards the returned lines. Their ranges become invalid.
    pub fn compact(&mut self) {
        self.discarded += self.start as u64;
        if self.start == self.buf.len() {
            self.buf.clear();
            if self.buf.capacity() > KEPT_CAPACITY {
                self.buf.shrink_to(READ_SIZE);
            }
        } else if self.start > 0 {
            self.buf.drain(..self.start);
        }
        self.scanned -= self.start;
        self.start = 0;
    }

    fn drop_overlong_part(&mut self) {
        let part = self.buf.get(self.start..).unwrap_or_default();
        self.discarded += part.len() as u64;
        self.overlong = Some(add_overlong_part(self.overlong.take(), part));
        self.buf.truncate(self.start);
        self.scanned = self.start;
    }
}

fn add_overlong_part(ends: Option<(Vec<u8>, Vec<u8>)>, part: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut head, mut tail) = ends.unwrap_or_default();
    let room = KEPT_OF_OVERLONG.saturating_sub(head.len());
    head.extend_from_slice(part.get(..room.min(part.len())).unwrap_or_default());
    let newest = part.len().saturating_sub(KEPT_OF_OVERLONG);
    tail.extend_from_slice(part.get(newest..).unwrap_or_default());
    let excess = tail.len().saturating_sub(KEPT_OF_OVERLONG);
    tail.drain(..excess);
    (head, tail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `parts` one read at a time and returns the frames as text.
    fn frames(max_line: usize, parts: &[&[u8]]) -> Vec<String> {
        let mut buffer = FrameBuffer::new(max_line);
        let mut out = Vec::new();
        for part in parts {
            buffer.space().extend_from_slice(part);
            while let Some(frame) = buffer.next_frame() {
                out.push(match frame {
                    Frame::Line(range) => String::from_utf8_lossy(buffer.line(&range)).into_owned(),
                    Frame::Overlong { head, tail } => format!(
                        "overlong {}…{}",
                        String::from_utf8_lossy(&head),
                        String::from_utf8_lossy(&tail)
                    ),
                });
            }
            buffer.compact();
        }
        out
    }

    #[test]
    fn the_position_counts_every_byte_up_to_the_end_of_the_last_frame() {
        let mut buffer = FrameBuffer::new(8);
        let mut ends = Vec::new();
        for part in [&b"ab\ncd\ne"[..], b"", b"\n0123456789", b"0123", b"\nf\n"] {
            buffer.space().extend_from_slice(part);
            while buffer.next_frame().is_some() {
                ends.push(buffer.position());
            }
            buffer.compact();
        }
        assert_eq!(ends, [3, 6, 8, 23, 25]);
        // Bytes still count after the buffer was taken.
        buffer.space().extend_from_slice(b"gh\n");
        buffer.next_frame();
        buffer.take_bytes();
        assert_eq!(buffer.position(), 28);
        buffer.space().extend_from_slice(b"i\n");
        buffer.next_frame();
        assert_eq!(buffer.position(), 30);
    }

    #[test]
    fn lines_come_out_whole_however_they_arrive() {
        assert_eq!(
            frames(99, &[b"a", b"b\nc", b"\n\nd\n"]),
            ["ab", "c", "", "d"]
        );
    }

    #[test]
    fn an_overlong_line_is_dropped_and_the_next_one_survives() {
        assert_eq!(
            frames(3, &[b"abcdef\nok\n", b"abc", b"def", b"gh\nfine"]),
            ["overlong abcdef…abcdef", "ok", "overlong abcdefgh…abcdefgh"]
        );
    }

    #[test]
    fn an_overlong_line_costs_no_memory() {
        let mut buffer = FrameBuffer::new(1024);
        for _ in 0..1000 {
            buffer.space().extend_from_slice(&[b'x'; 8192]);
            assert_eq!(buffer.next_frame(), None);
            buffer.compact();
        }
        assert!(buffer.buf.capacity() <= KEPT_CAPACITY);
        buffer.space().push(b'\n');
        assert!(matches!(
            buffer.next_frame(),
            Some(Frame::Overlong { head, tail }) if head.len() == KEPT_OF_OVERLONG && tail.len() == KEPT_OF_OVERLONG
        ));
    }

    #[test]
    fn the_rest_without_a_newline_is_a_line_when_the_peer_closes() {
        let mut buffer = FrameBuffer::new(99);
        assert_eq!(buffer.take_rest(), None);
        buffer.space().extend_from_slice(b"a\nb");
        assert_eq!(buffer.next_frame(), Some(Frame::Line(0..1)));
        assert_eq!(buffer.next_frame(), None);
        assert_eq!(buffer.take_rest(), Some(Frame::Line(2..3)));
        assert_eq!(buffer.take_rest(), None);
    }

    #[test]
    fn the_buffer_is_taken_only_if_no_line_is_left_in_it() {
        let mut buffer = FrameBuffer::new(99);
        buffer.space().extend_from_slice(b"ab\ncd");
        assert_eq!(buffer.next_frame(), Some(Frame::Line(0..2)));
        assert!(!buffer.is_used_up());
        buffer.space().extend_from_slice(b"\n");
        assert_eq!(buffer.next_frame(), Some(Frame::Line(3..5)));
        assert!(buffer.is_used_up());
        assert_eq!(buffer.take_bytes(), b"ab\ncd\n");
        buffer.compact();
        buffer.give_memory(vec![1; 5000]);
        buffer.space().extend_from_slice(b"ef\n");
        assert_eq!(buffer.next_frame(), Some(Frame::Line(0..2)));
        assert_eq!(buffer.line(&(0..2)), b"ef");
    }

    proptest! {
        #[test]
        fn frames_survive_any_split(
            lines in prop::collection::vec("[a-z]{0,40}", 0..20),
            cuts in prop::collection::vec(1usize..17, 1..40),
        ) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let mut rest = text.as_bytes();
            let mut parts = Vec::new();
            for cut in cuts.iter().cycle().take(text.len() + 1) {
                let (part, after) = rest.split_at(rest.len().min(*cut));
                parts.push(part);
                rest = after;
            }
            prop_assert_eq!(frames(99, &parts), lines);
        }
    }
}
