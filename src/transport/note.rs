//! Information that travels with a line on a link but is not part of it.
//!
//! A session relays only lines. Over HTTP a message has more: the response stream it belongs to, the headers that
//! came with it, the status of the answer. The link carries this along and does not interpret it.

use crate::mcp::message::RequestId;

/// The names and values of some HTTP headers, names in lower case.
pub type Headers = Vec<(String, Vec<u8>)>;

/// Information that travels with one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The client's request that a line to the client belongs to.
    About(RequestId),
    /// The HTTP response to send to the client in place of a plain answer.
    Reply(Box<Reply>),
    /// Headers that the client sent with a call, and that may be forwarded to the server with it.
    Headers {
        /// The call.
        call: RequestId,
        /// The headers.
        headers: Headers,
    },
}

impl Note {
    /// Returns its size in bytes, without the request's id.
    pub(super) fn bytes(&self) -> usize {
        let headers_size = |headers: &Headers| {
            let sizes = headers.iter().map(|(name, value)| name.len() + value.len());
            sizes.sum::<usize>() + size_of_val(headers.as_slice())
        };
        let more = match self {
            Note::About(_) => 0,
            Note::Reply(reply) => {
                size_of::<Reply>() + headers_size(&reply.headers) + reply.body.len()
            }
            Note::Headers { headers, .. } => headers_size(headers),
        };
        size_of::<Note>() + more
    }
}

/// An HTTP response whose status says more than a JSON-RPC error code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers that a client needs to interpret it.
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// Replaces the body with this line of JSON.
    pub fn set_json(&mut self, line: &[u8]) {
        self.body = line.to_owned();
        self.headers.retain(|(name, _)| name != "content-type");
        let json = b"application/json".to_vec();
        self.headers.push(("content-type".to_owned(), json));
    }
}
