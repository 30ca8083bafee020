//! What a client says to a server to learn its tools: `initialize`, then `tools/list` with all pages.
//!
//! Reads with limits, and answers what the server asks meanwhile.

use std::io::{self, IoSlice};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Tool;
use crate::config::shown;
use crate::mcp::frame::{Frame, FrameBuffer};
use crate::mcp::tool::{
    LIST, ListToolsPage, META_CLIENT_CAPABILITIES, META_CLIENT_INFO, META_PROTOCOL_VERSION,
};
use crate::transport::{Attempt, Wire};

/// Why a server has not listed its tools. Begins with a verb: the subject is the server.
#[derive(Debug, thiserror::Error)]
pub enum ConversationError {
    /// It has ended, or closed its stdout. Holds how it ended.
    #[error("{} before it listed its tools", .0.as_deref().unwrap_or("closed its stdout"))]
    Ended(Option<String>),
    /// Time is up.
    #[error("did not list its tools within {} s{}", .limit.as_secs_f64(), .noise.as_ref().map_or_else(String::new, |line| format!("; its stdout is no MCP: `{line}`")))]
    Silent {
        /// The time that it had.
        limit: Duration,
        /// The first line that was no MCP message.
        noise: Option<String>,
    },
    /// It answered with an error.
    #[error("answered `{method}` with an error: {message}")]
    Refused {
        /// The method.
        method: &'static str,
        /// Its message, in one line.
        message: String,
    },
    /// It answered with something else than a list.
    #[error("answered `tools/list` with something that is not a list of tools")]
    NotAList,
    /// It writes more than a list of tools can need.
    #[error("wrote more than {} MiB, or listed more than {MAX_TOOLS} tools", MAX_BYTES >> 20)]
    TooMuch,
    /// The system.
    #[error("cannot be talked to: {0}")]
    System(io::Error),
}

/// The longest line, and all bytes together.
const MAX_LINE: usize = 16 << 20;
const MAX_BYTES: usize = 64 << 20;
/// The limits of a list, as for the gate.
const MAX_PAGES: usize = 1_000;
const MAX_TOOLS: usize = 10_000;
/// The longest part of a server's error that is quoted, in characters.
const LONGEST_ERROR: usize = 1_000;

/// One session with a server.
#[derive(Debug)]
pub(super) struct Conversation {
    to: Wire,
    from: Wire,
    frames: FrameBuffer,
    /// How many bytes have come.
    bytes: usize,
    /// The id of the last request.
    id: u64,
    noise: Option<String>,
}

/// A message from the server, as far as it matters.
#[derive(Deserialize)]
struct Message<'m> {
    #[serde(borrow, default)]
    id: Option<&'m RawValue>,
    #[serde(default)]
    method: Option<String>,
    #[serde(borrow, default)]
    result: Option<&'m RawValue>,
    #[serde(default)]
    error: Option<Value>,
}

impl Conversation {
    pub(super) fn new(to: Wire, from: Wire) -> Conversation {
        Conversation {
            to,
            from,
            frames: FrameBuffer::new(MAX_LINE),
            bytes: 0,
            id: 0,
            noise: None,
        }
    }

    /// Returns the first line that was no MCP message.
    pub(super) fn take_noise(&mut self) -> Option<String> {
        self.noise.take()
    }

    /// Asks for all tools.
    pub(super) async fn tools(&mut self) -> Result<Vec<Tool>, ConversationError> {
        let client = json!({"name": "approval-proxy doctor", "version": env!("CARGO_PKG_VERSION")});
        let hello = json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client});
        match self.request("initialize", hello).await {
            Ok(_) => {
                let done = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
                self.send(&done).await?;
                self.list(&json!({})).await
            }
            // A server of a later revision need not know `initialize`. If it is another kind of failure, that
            // request fails too, and the first error says more.
            Err(error @ ConversationError::Refused { .. }) => {
                let meta = json!({
                    META_PROTOCOL_VERSION: STATELESS, META_CLIENT_CAPABILITIES: {}, META_CLIENT_INFO: client,
                });
                let tools = self.list(&json!({"_meta": meta})).await;
                tools.map_err(|_| error)
            }
            Err(error) => Err(error),
        }
    }

    async fn list(&mut self, params: &Value) -> Result<Vec<Tool>, ConversationError> {
        let mut tools = Vec::new();
        let mut params = params.clone();
        for _ in 0..MAX_PAGES {
            let result = self.request(LIST, params.clone()).await?;
            let page = ListToolsPage::parse(&result).map_err(|_| ConversationError::NotAList)?;
            tools.extend(page.tools.into_iter().map(|tool| Tool {
                name: tool.name.into_owned(),
                annotations: tool.annotations,
            }));
            if tools.len() > MAX_TOOLS {
                break;
            }
            match page.next_cursor {
                None => return Ok(tools),
                Some(cursor) => {
                    if let Some(params) = params.as_object_mut() {
                        params.insert("cursor".to_owned(), cursor.into());
                    }
                }
            }
        }
        Err(ConversationError::TooMuch)
    }

    /// Sends a request. Returns the text of its result.
    async fn request(
        &mut self,
        method: &'static str,
        params: Value,
    ) -> Result<String, ConversationError> {
        self.id += 1;
        let id = self.id;
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        // A server that has ended may have answered before.
        let sent = self.send(&request).await;
        loop {
            let line = match self.line().await {
                Ok(line) => line,
                Err(ConversationError::Ended(how)) => {
                    sent?;
                    return Err(ConversationError::Ended(how));
                }
                Err(error) => return Err(error),
            };
            let Ok(message) = serde_json::from_str::<Message<'_>>(&line) else {
                if !line.trim().is_empty() {
                    self.noise.get_or_insert_with(|| shown(line.trim()));
                }
                continue;
            };
            let is_ours = message.id.is_some_and(|own| own.get() == id.to_string());
            match (message.method, message.id) {
                (Some(method), Some(own)) => {
                    let own = own.get();
                    let answer = match method.as_str() {
                        "ping" => format!(r#"{{"jsonrpc":"2.0","id":{own},"result":{{}}}}"#),
                        _ => format!(
                            r#"{{"jsonrpc":"2.0","id":{own},"error":{{"code":-32601,"message":"only a check"}}}}"#
                        ),
                    };
                    self.send_text(answer).await?;
                }
                (None, Some(_)) if is_ours => match (message.result, message.error) {
                    (Some(result), None) => return Ok(result.get().to_owned()),
                    (_, error) => {
                        let message = error.as_ref().and_then(|error| error.get("message"));
                        let message = message.and_then(Value::as_str).unwrap_or("no message");
                        let message: String = message.chars().take(LONGEST_ERROR).collect();
                        let message = crate::config::escaped(&message);
                        return Err(ConversationError::Refused { method, message });
                    }
                },
                (Some(_), None) | (None, Some(_)) => {}
                (None, None) => {
                    self.noise.get_or_insert_with(|| shown(line.trim()));
                }
            }
        }
    }

    /// Returns the next line.
    async fn line(&mut self) -> Result<String, ConversationError> {
        loop {
            match self.frames.next_frame() {
                Some(Frame::Line(range)) => {
                    let line = String::from_utf8_lossy(self.frames.line(&range)).into_owned();
                    return Ok(line);
                }
                Some(Frame::Overlong { .. }) => return Err(ConversationError::TooMuch),
                None => {}
            }
            self.frames.compact();
            let ready = self.from.readable().await;
            ready.map_err(ConversationError::System)?;
            match self.from.try_read(self.frames.space()) {
                Ok(Attempt::NotReady) => {}
                Ok(Attempt::Done(0)) | Err(_) => return Err(ConversationError::Ended(None)),
                Ok(Attempt::Done(count)) => {
                    self.bytes = self.bytes.saturating_add(count);
                    if self.bytes > MAX_BYTES {
                        return Err(ConversationError::TooMuch);
                    }
                }
            }
        }
    }

    async fn send(&mut self, message: &Value) -> Result<(), ConversationError> {
        self.send_text(message.to_string()).await
    }

    async fn send_text(&mut self, text: String) -> Result<(), ConversationError> {
        let line = text + "\n";
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            let ready = self.to.writable().await;
            ready.map_err(ConversationError::System)?;
            match self.to.try_write(&[IoSlice::new(rest)]) {
                Ok(Attempt::NotReady) => {}
                Ok(Attempt::Done(count)) => rest = rest.get(count..).unwrap_or_default(),
                Err(_) => return Err(ConversationError::Ended(None)),
            }
        }
        Ok(())
    }
}

/// The revision that most servers know, and the first without `initialize`.
const LEGACY: &str = "2025-06-18";
const STATELESS: &str = "2026-07-28";
