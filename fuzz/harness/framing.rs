//! Fuzzes the framing: every split gives the same lines, and memory stays bounded.
//!
//! The first bytes choose the split. In the rest, 0xFF and another byte stand for a long run.

use approval_proxy::mcp::frame::{Frame, FrameBuffer};

/// How many bytes of an overlong line are kept at each end.
const KEPT: usize = 4 * 1024;
/// The least space for one read.
const READ: usize = 64 * 1024;

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Line(Vec<u8>),
    Overlong { head: Vec<u8>, tail: Vec<u8> },
}

/// Splits the bytes as their first bytes say.
pub(crate) fn check(data: &[u8]) {
    let Some(([limit, cuts @ ..], text)) = data.split_first_chunk::<8>() else {
        return;
    };
    let max_line = match limit {
        0..64 => usize::from(*limit),
        64..128 => usize::from(*limit) * 16,
        128.. => usize::from(*limit) * 64,
    };
    let bytes = expanded(text);
    let expected = by_splitting(&bytes, max_line);
    assert_eq!(by_buffer(&bytes, max_line, cuts), expected);
    assert_eq!(by_buffer(&bytes, max_line, &[255]), expected);
}

fn expanded(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        match (byte, rest.as_slice().first()) {
            (0xff, Some(count)) => {
                rest.next();
                // Both ends of a run differ from its middle.
                let run = (0..usize::from(*count) * 16).map(|n| b'a' + (n % 23) as u8);
                bytes.extend(run);
            }
            _ => bytes.push(*byte),
        }
    }
    bytes
}

fn by_splitting(bytes: &[u8], max_line: usize) -> Vec<Found> {
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    // The text after the last newline is a line only if it is not empty.
    if lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    let found = |line: &[u8]| {
        if line.len() <= max_line {
            return Found::Line(line.to_vec());
        }
        let kept = line.len().min(KEPT);
        Found::Overlong {
            head: line[..kept].to_vec(),
            tail: line[line.len() - kept..].to_vec(),
        }
    };
    lines.into_iter().map(found).collect()
}

fn by_buffer(bytes: &[u8], max_line: usize, cuts: &[u8]) -> Vec<Found> {
    let mut buffer = FrameBuffer::new(max_line);
    let mut found = Vec::new();
    let mut rest = bytes;
    // The most that it contained, including lines that were not compacted yet.
    let mut largest = READ;
    for cut in cuts.iter().cycle() {
        // A read returns at least a byte; high values stand for whole pages.
        let size = match cut {
            0..200 => usize::from(*cut) + 1,
            200..255 => (usize::from(*cut) - 199) * 64,
            255 => READ,
        };
        let (part, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        buffer.space().extend_from_slice(part);
        largest = largest.max(buffer.bytes().len());
        take_frames(&mut buffer, &mut found);
        // The relay does not move the lines while it writes.
        if cut % 3 != 0 {
            buffer.compact();
            assert!(buffer.bytes().len() <= max_line, "more is kept than a line");
            // Space for as much again, in a vector that doubles.
            let most = 4 * largest;
            let has = buffer.space().capacity();
            assert!(has <= most, "{has} bytes for lines of {max_line}");
        }
        if rest.is_empty() {
            break;
        }
    }
    if let Some(frame) = buffer.take_rest() {
        found.push(owned(&buffer, frame));
    }
    assert_eq!(buffer.take_rest(), None);
    assert_eq!(buffer.next_frame(), None);
    found
}

fn take_frames(buffer: &mut FrameBuffer, found: &mut Vec<Found>) {
    let mut ranges = Vec::new();
    while let Some(frame) = buffer.next_frame() {
        if let Frame::Line(range) = &frame {
            ranges.push((found.len(), range.clone()));
        }
        found.push(owned(buffer, frame));
    }
    // A range is valid until the buffer is compacted.
    for (at, range) in ranges {
        assert_eq!(found[at], Found::Line(buffer.line(&range).to_vec()));
    }
}

fn owned(buffer: &FrameBuffer, frame: Frame) -> Found {
    match frame {
        Frame::Line(range) => Found::Line(buffer.line(&range).to_vec()),
        Frame::Overlong { head, tail } => Found::Overlong { head, tail },
    }
}
