//! What goes with a line on a link and does not stand in it.
//!
//! Lines are all that a session relays. Over HTTP there is more to a message: on which response stream it belongs,
//! which headers came with it, with which status it was answered. The link that carries the line carries that, too;
//! it does not look into it.

use crate::mcp::message::RequestId;

/// The names and values of some HTTP headers, names in lower case.
pub type Headers = Vec<(String, Vec<u8>)>;

/// What goes with one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A line to the client belongs to this request of the client's.
    About(RequestId),
    /// The HTTP response that stands for an answer to the client.
    Reply(Box<Reply>),
    /// Headers that the client sent with a call, and that may go to the server with it.
    Headers {
        /// The call.
        call: RequestId,
        /// The headers.
        headers: Headers,
    },
}

impl Note {
    /// What it takes, in bytes. Its id is the request's own.
    pub(super) fn bytes(&self) -> usize {
        let of_headers = |headers: &Headers| {
            let sizes = headers.iter().map(|(name, value)| name.len() + value.len());
            sizes.sum::<usize>() + size_of_val(headers.as_slice())
        };
        let more = match self {
            Note::About(_) => 0,
            Note::Reply(reply) => {
                size_of::<Reply>() + of_headers(&reply.headers) + reply.body.len()
            }
            Note::Headers { headers, .. } => of_headers(headers),
        };
        size_of::<Note>() + more
    }
}

/// An HTTP response in place of a JSON-RPC one: a status that says more than an error code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers that a client needs to understand it.
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// Replaces the body by this line of JSON.
    pub fn say(&mut self, line: &[u8]) {
        self.body = line.to_owned();
        self.headers.retain(|(name, _)| name != "content-type");
        let json = b"application/json".to_vec();
        self.headers.push(("content-type".to_owned(), json));
    }
}
