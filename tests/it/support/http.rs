//! An HTTP client for a running proxy, with control over each byte if a test needs that.
//!
//! It handles sessions and event streams, and does not know about approvals.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use super::Session;

/// Much longer than anything that a test waits for.
const DEADLINE: Duration = Duration::from_secs(20);

/// Where a proxy listens.
#[derive(Clone)]
pub(crate) struct Http {
    pub(crate) address: String,
    /// Sent with every request that has no `authorization` header of its own.
    authorization: Option<String>,
}

/// The proxy's bearer token. Clients that present it are asked for approvals.
pub(crate) const TOKEN: &str = "s3cret-token";

/// A request whose response has not been read.
pub(crate) struct PendingResponse(Option<TcpStream>);

impl PendingResponse {
    pub(crate) fn response(&mut self) -> Response {
        Response::read(self.0.take().expect("a response is read once"))
    }
}

/// A response whose head has been read.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    body: BufReader<TcpStream>,
    /// Bytes left in the current chunk.
    chunk: usize,
    length: Option<usize>,
    pending: Vec<u8>,
    /// The id of the newest event.
    pub(crate) last_event: Option<String>,
}

impl Session {
    /// Waits until the proxy prints its address, and returns a client for it.
    pub(crate) fn http(&self) -> Http {
        self.stderr_says("listening on http://");
        let stderr = self.stderr();
        let (_, rest) = stderr.split_once("listening on http://").unwrap();
        let (address, _) = rest.split_once("/mcp").unwrap();
        Http::at(address)
    }
}

impl Http {
    /// Returns a client without credentials for this address.
    pub(crate) fn at(address: &str) -> Http {
        Http {
            address: address.to_owned(),
            authorization: None,
        }
    }

    /// Makes the client present [`TOKEN`].
    pub(crate) fn with_token(self) -> Http {
        self.with_authorization(&format!("Bearer {TOKEN}"))
    }

    /// Makes the client send this `Authorization`.
    pub(crate) fn with_authorization(self, authorization: &str) -> Http {
        Http {
            authorization: Some(authorization.to_owned()),
            ..self
        }
    }

    fn usual_headers(&self) -> Vec<(&str, &str)> {
        let mut usual = vec![
            ("host", &*self.address),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        usual.extend(self.authorization.iter().map(|it| ("authorization", &**it)));
        usual
    }

    /// Sends bytes on a new connection and reads the head of the response.
    pub(crate) fn raw(&self, request: &[u8]) -> Response {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(request).unwrap();
        Response::read(stream)
    }

    /// Sends a plain GET and returns the status and the body, or `None` if nobody answers.
    pub(crate) fn try_get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8(answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    /// Sends a request with these headers and those that every client sends.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        let mut text = format!(
            "{method} {path} HTTP/1.1\r\ncontent-length: {}\r\n",
            body.len()
        );
        let usual = self.usual_headers();
        let replaced = |name: &str| headers.iter().any(|(other, _)| *other == name);
        let usual = usual.iter().filter(|(name, _)| !replaced(name));
        for (name, value) in usual.chain(headers) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        self.raw(format!("{text}\r\n{body}").as_bytes())
    }

    /// Sends a POST whose response is read later.
    pub(crate) fn begin(&self, headers: &[(&str, &str)], body: impl ToString) -> PendingResponse {
        let body = body.to_string();
        let mut text = "POST /mcp HTTP/1.1\r\n".to_owned();
        let usual = self.usual_headers();
        for (name, value) in usual.iter().chain(headers) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let text = format!("{text}content-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(text.as_bytes()).unwrap();
        PendingResponse(Some(stream))
    }

    pub(crate) fn post(&self, headers: &[(&str, &str)], body: impl ToString) -> Response {
        self.send("POST", "/mcp", headers, &body.to_string())
    }

    /// Opens a session of 2025-11-25 with a client that can be asked, and returns its id.
    pub(crate) fn session(&self) -> String {
        let mut response = self.post(&[], initialize());
        assert_eq!(response.status, 200);
        response.message();
        let session = response.header("mcp-session-id").unwrap().to_owned();
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let accepted = self.post(&in_session(&session), initialized);
        assert_eq!(accepted.status, 202);
        session
    }
}

pub(crate) fn initialize() -> Value {
    json!({"jsonrpc": "2.0", "id": "init", "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "test", "version": "0"}}})
}

/// The headers of a session's requests.
pub(crate) fn in_session(session: &str) -> [(&str, &str); 2] {
    [
        ("mcp-session-id", session),
        ("mcp-protocol-version", "2025-11-25"),
    ]
}

/// A legacy call.
pub(crate) fn call(id: u64, tool: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
           "params": {"name": tool, "arguments": {"n": id}}})
}

/// A stateless call.
pub(crate) fn stateless_call(id: impl Into<Value>, tool: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": "tools/call", "params": {
        "name": tool, "arguments": {}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "0"},
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}}})
}

/// The headers of a stateless call.
pub(crate) fn stateless(tool: &str) -> [(&str, &str); 3] {
    [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", tool),
    ]
}

impl Response {
    fn read(stream: TcpStream) -> Response {
        let mut body = BufReader::new(stream);
        let mut line = String::new();
        body.read_line(&mut line).unwrap();
        let status = line
            .split(' ')
            .nth(1)
            .expect("a status line")
            .parse()
            .unwrap();
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            body.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut response = Response {
            status,
            headers,
            body,
            chunk: 0,
            length: None,
            pending: Vec::new(),
            last_event: None,
        };
        let length = response
            .header("content-length")
            .map(|text| text.parse().unwrap());
        response.length = length;
        response
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Reads a part of the body; empty at the end.
    fn read_some(&mut self) -> Vec<u8> {
        if let Some(length) = &mut self.length {
            let mut bytes = vec![0; *length];
            self.body.read_exact(&mut bytes).unwrap();
            *length = 0;
            return bytes;
        }
        if self.chunk == 0 {
            let mut size = String::new();
            if self.body.read_line(&mut size).unwrap_or(0) == 0 {
                return Vec::new();
            }
            self.chunk = usize::from_str_radix(size.trim(), 16).unwrap();
        }
        let mut bytes = vec![0; self.chunk + 2];
        self.body.read_exact(&mut bytes).unwrap();
        bytes.truncate(self.chunk);
        self.chunk = 0;
        bytes
    }

    /// Reads the whole body of a response that is not a stream.
    pub(crate) fn body_text(&mut self) -> String {
        let mut body = Vec::new();
        loop {
            let more = self.read_some();
            if more.is_empty() {
                break;
            }
            body.extend(more);
        }
        String::from_utf8(body).unwrap()
    }

    /// Reads the whole body as JSON.
    pub(crate) fn json(&mut self) -> Value {
        serde_json::from_str(&self.body_text()).unwrap()
    }

    /// Returns the next message of an event stream, or the body of any other response. `None` at the
    /// end.
    pub(crate) fn next(&mut self) -> Option<Value> {
        if self.header("content-type") == Some("application/json") {
            return Some(self.json());
        }
        loop {
            while let Some(end) = memchr::memmem::find(&self.pending, b"\n\n") {
                let event: Vec<u8> = self.pending.drain(..end + 2).collect();
                let event = String::from_utf8(event).unwrap();
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                if let Some(id) = field("id: ") {
                    self.last_event = Some(id.to_owned());
                }
                if let Some(data) = field("data: ").filter(|data| !data.is_empty()) {
                    return Some(match serde_json::from_str(data) {
                        Ok(message) => message,
                        Err(_) => json!(data),
                    });
                }
            }
            let more = self.read_some();
            if more.is_empty() {
                return None;
            }
            self.pending.extend(more);
        }
    }

    pub(crate) fn message(&mut self) -> Value {
        self.next().expect("a message")
    }

    /// Closes the connection before the end of the response.
    pub(crate) fn close(self) {
        self.body.get_ref().shutdown(Shutdown::Both).unwrap();
    }
}
