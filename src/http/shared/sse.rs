//! Reads and writes server-sent events, as the HTML standard frames them, in bounded memory.
//!
//! We do not use `sse-stream`, as rmcp does: it does not limit the size of an event, so a server
//! could fill our memory with one.

use std::mem;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::http) struct Event {
    /// Its type; `message` if none is given.
    pub(in crate::http) name: String,
    /// Its data, lines joined by newlines.
    pub(in crate::http) data: Vec<u8>,
    /// The id that a reader sends back to resume after this event.
    pub(in crate::http) id: Option<String>,
    /// How long a reader should wait before it reconnects, in milliseconds.
    pub(in crate::http) retry: Option<u64>,
}

/// An event exceeds the limit.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::http) struct TooLarge;

/// Splits a stream of bytes into events.
#[derive(Debug)]
pub(in crate::http) struct Decoder {
    /// The start of an incomplete line.
    line: Vec<u8>,
    event: Event,
    /// True if the event has a data line.
    has_data: bool,
    /// True if the last byte was a carriage return, so that a newline may still belong to it.
    after_return: bool,
    /// True once the first line was read, which may begin with a byte order mark.
    has_begun: bool,
    max: usize,
}

impl Decoder {
    /// Creates a decoder for events with at most `max` bytes of data.
    pub(in crate::http) fn new(max: usize) -> Decoder {
        Decoder {
            line: Vec::new(),
            event: Event::default(),
            has_data: false,
            after_return: false,
            has_begun: false,
            max,
        }
    }

    /// Takes bytes and appends the events that they complete to `events`.
    ///
    /// # Errors
    /// `TooLarge`. The decoder cannot be used after that.
    pub(in crate::http) fn push(
        &mut self,
        mut bytes: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), TooLarge> {
        if mem::take(&mut self.after_return) {
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(at) = memchr::memchr2(b'\n', b'\r', bytes) {
            let (line, rest) = bytes.split_at(at);
            self.grow(line)?;
            bytes = match rest {
                [b'\r', b'\n', rest @ ..] => rest,
                [b'\r'] => {
                    self.after_return = true;
                    &[]
                }
                [_, rest @ ..] => rest,
                [] => rest,
            };
            self.end_line(events);
        }
        self.grow(bytes)
    }

    fn grow(&mut self, part: &[u8]) -> Result<(), TooLarge> {
        // Room for the field's name before its value.
        const NAME: usize = 64;
        if self.line.len() + self.event.data.len() + part.len() > self.max + NAME {
            return Err(TooLarge);
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn end_line(&mut self, events: &mut Vec<Event>) {
        let mut line = mem::take(&mut self.line);
        if !mem::replace(&mut self.has_begun, true) && line.starts_with(b"\xef\xbb\xbf") {
            line.drain(..3);
        }
        if line.is_empty() {
            let mut event = mem::take(&mut self.event);
            if mem::take(&mut self.has_data) || event.id.is_some() || event.retry.is_some() {
                if event.name.is_empty() {
                    "message".clone_into(&mut event.name);
                }
                events.push(event);
            }
            return;
        }
        let (name, value) = match memchr::memchr(b':', &line) {
            Some(at) => {
                let (name, value) = line.split_at(at);
                let value = value.get(1..).unwrap_or_default();
                (name, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (&line[..], &[][..]),
        };
        match name {
            b"data" => {
                if mem::replace(&mut self.has_data, true) {
                    self.event.data.push(b'\n');
                }
                self.event.data.extend_from_slice(value);
            }
            b"event" => self.event.name = String::from_utf8_lossy(value).into_owned(),
            b"id" if !value.contains(&0) => {
                self.event.id = Some(String::from_utf8_lossy(value).into_owned());
            }
            b"retry" => {
                let text = std::str::from_utf8(value).ok();
                self.event.retry = text.and_then(|text| text.parse().ok());
            }
            // A comment or an unknown field.
            _ => {}
        }
    }
}

/// Returns an event with its data on one line. A carriage return or newline in the data becomes a
/// space. Between tokens it means the same; within a string it is not valid JSON, and would begin a
/// new line of the event.
pub(in crate::http) fn encode(name: &str, id: Option<&str>, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 48);
    for part in ["event: ", name, "\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    if let Some(id) = id {
        for part in ["id: ", id, "\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    }
    out.extend_from_slice(b"data: ");
    let start = out.len();
    out.extend_from_slice(data);
    if memchr::memchr2(b'\r', b'\n', data).is_some() {
        let data = out.get_mut(start..).unwrap_or_default();
        data.iter_mut()
            .filter(|byte| matches!(**byte, b'\r' | b'\n'))
            .for_each(|byte| *byte = b' ');
    }
    out.extend_from_slice(b"\n\n");
    out
}

/// Keeps a silent stream open: a comment, which readers skip.
pub(in crate::http) const KEEP_ALIVE: &[u8] = b":\n\n";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(parts: &[&[u8]]) -> Vec<Event> {
        let mut decoder = Decoder::new(1_000);
        let mut events = Vec::new();
        for part in parts {
            decoder.push(part, &mut events).unwrap();
        }
        events
    }

    #[test]
    fn all_line_ends_comments_and_several_data_lines_are_understood() {
        let text = b"\xef\xbb\xbf: hello\r\nevent: message\r\nid: 1-2\rdata: {\ndata:  }\n\nretry: 10\nid: 3\ndata\n\n";
        let found = events(&[text]);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].data, b"{\n }");
        assert_eq!(found[0].id.as_deref(), Some("1-2"));
        assert_eq!((found[1].retry, &found[1].data[..]), (Some(10), &b""[..]));
        assert_eq!(found[1].name, "message");
    }

    #[test]
    fn an_endless_event_does_not_fill_the_memory() {
        let mut decoder = Decoder::new(1_000);
        let mut out = Vec::new();
        let mut push = |bytes: &[u8]| decoder.push(bytes, &mut out);
        assert_eq!(push(b"data: "), Ok(()));
        assert_eq!(push(&[b'x'; 1_000]), Ok(()));
        assert_eq!(push(&[b'x'; 100]), Err(TooLarge));
        let mut decoder = Decoder::new(1_000);
        let many = b"data: 0123456789\n".repeat(200);
        assert_eq!(decoder.push(&many, &mut out), Err(TooLarge));
    }

    #[test]
    fn no_data_becomes_two_events() {
        let data = b"{\"a\":\"\r\rdata: forged\n\nid: 9\r\"}";
        let found = events(&[&encode("message", None, data)]);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].id.as_deref(), found[0].data.len()),
            (None, data.len())
        );
    }

    proptest! {
        #[test]
        fn events_are_read_as_written_however_the_bytes_are_split(
            lines in prop::collection::vec("[ -~]{0,30}", 1..8),
            cut in 1usize..9,
        ) {
            let mut text = Vec::new();
            for line in &lines {
                text.extend(encode("message", Some("7"), line.as_bytes()));
                text.extend(KEEP_ALIVE);
            }
            let parts: Vec<&[u8]> = text.chunks(cut).collect();
            let found: Vec<String> = events(&parts)
                .into_iter()
                .map(|event| String::from_utf8(event.data).unwrap())
                .collect();
            prop_assert_eq!(found, lines);
        }
    }
}
