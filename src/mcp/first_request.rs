//! Reads what a client asks when no server is there to answer.
//!
//! It only reads; `relay` and `cli` write the answer.

use super::frame::{Frame, FrameBuffer};
use super::json::line_text;
use super::message::{
    Id, Kind, Line, Message, RequestId, id_at_the_ends, read_envelope, read_message,
};

/// A request that nothing will carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstRequest {
    /// Its id.
    pub id: RequestId,
    /// Its method; empty if it could not be read.
    pub method: String,
}

impl FirstRequest {
    /// Returns the first request in a frame of `frames`; `None` if it holds none, for example only
    /// a notification.
    #[must_use]
    pub fn read(frames: &FrameBuffer, frame: &Frame) -> Option<FirstRequest> {
        let range = match frame {
            Frame::Line(range) => range,
            Frame::Overlong { head, tail } => {
                return id_at_the_ends(head, tail).map(FirstRequest::unread);
            }
        };
        let text = line_text(frames.line(range)).ok()?;
        match read_envelope(text) {
            Ok(Line::Blank) => None,
            Ok(Line::Message(message)) => FirstRequest::of(&message),
            Ok(Line::Batch(entries)) => entries.into_iter().find_map(|entry| {
                let message = read_message(entry).ok()?;
                FirstRequest::of(&message)
            }),
            Err(unreadable) => unreadable.id.map(FirstRequest::unread),
        }
    }

    /// Returns true if an error to this request ends the client's start. After an error to
    /// `server/discover`, a client still sends `initialize`, and shows people only the error to that.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.method != "server/discover"
    }

    fn of(message: &Message<'_>) -> Option<FirstRequest> {
        match (&message.kind, &message.id) {
            (Kind::Call { method, .. }, Id::Some(id)) => Some(FirstRequest {
                id: id.clone(),
                method: method.to_string(),
            }),
            (Kind::Call { .. }, Id::Absent | Id::Unusable) | (Kind::Response { .. }, _) => None,
        }
    }

    fn unread(id: RequestId) -> FirstRequest {
        FirstRequest {
            id,
            method: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<(String, String)> {
        let mut frames = FrameBuffer::new(200);
        frames.space().extend_from_slice(line.as_bytes());
        frames.space().push(b'\n');
        let frame = frames.next_frame()?;
        let request = FirstRequest::read(&frames, &frame)?;
        Some((request.id.to_string(), request.method))
    }

    #[test]
    fn a_request_is_found_in_every_form() {
        let long = format!(
            r#"{{"jsonrpc":"2.0","id":9,"method":"x","params":"{}"}}"#,
            "y".repeat(300)
        );
        for (line, id, method) in [
            (
                r#"{"jsonrpc":"2.0","id":0,"method":"initialize"}"#,
                "0",
                "initialize",
            ),
            (
                r#"{"id":"a","method":"tools/list","params":{}}"#,
                "\"a\"",
                "tools/list",
            ),
            (
                r#"[{"method":"n"},{"id":2,"method":"m"},{"id":3,"method":"o"}]"#,
                "2",
                "m",
            ),
            (r#"{"id":4,"method":7}"#, "4", ""),
            (&long, "9", ""),
        ] {
            assert_eq!(
                read(line),
                Some((id.to_owned(), method.to_owned())),
                "{line}"
            );
        }
    }

    #[test]
    fn a_message_that_needs_no_answer_is_not_a_request() {
        for line in [
            "",
            "hello",
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{}}"#,
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
