//! A WebSocket over the HTTP client that all couriers share, so that TLS, roots and proxies are the same everywhere.
//!
//! Knows no service. Messages are text; their size, and the silence of a peer, are bounded.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::header::{CONNECTION, HeaderValue, UPGRADE};
use reqwest::{Method, Request, StatusCode, Upgraded, Url};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error};

use super::exchange::origin;
use super::runtime::HttpRuntime;
use crate::gate::Failure;
use crate::sys::with_causes;

/// The longest message that is read, in bytes.
const MAX_MESSAGE: usize = 1024 * 1024;
/// How many bytes may wait to be written.
const MAX_UNWRITTEN: usize = 256 * 1024;
const BUFFER: usize = 16 * 1024;
/// How long the handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(15);
/// After this long without a sign of life, we send a ping. If that is not answered as soon, the connection is dead.
const QUIET_TIME: Duration = Duration::from_secs(20);
/// How long writing a message may take.
const SEND_TIME: Duration = Duration::from_secs(10);
/// How long closing may take. Nothing depends on it.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// An open connection.
pub(in crate::engines) struct WebSocket {
    stream: WebSocketStream<Upgraded>,
    /// How errors refer to the peer.
    peer: String,
    /// Whether we wait for the answer to a ping.
    is_pinged: bool,
}

impl WebSocket {
    /// Connects to a URL with the scheme `http` or `https`, in place of `ws` and `wss`. Errors do not quote the URL: it
    /// may hold a token.
    ///
    /// RFC 6455, section 4.1.
    ///
    /// # Errors
    /// If the peer cannot be reached or does not speak WebSocket.
    pub(in crate::engines) async fn open(
        runtime: &HttpRuntime,
        url: &Url,
    ) -> Result<WebSocket, Failure> {
        let peer = origin(url);
        match timeout(HANDSHAKE_TIME, WebSocket::shake_hands(runtime, url)).await {
            Ok(Ok(stream)) => Ok(WebSocket {
                stream,
                peer,
                is_pinged: false,
            }),
            Ok(Err(why)) => Err(Failure::unreachable(format!("{peer} {why}"))),
            Err(_) => Err(Failure::unreachable(format!(
                "{peer} did not accept a WebSocket within {} s",
                HANDSHAKE_TIME.as_secs()
            ))),
        }
    }

    async fn shake_hands(
        runtime: &HttpRuntime,
        url: &Url,
    ) -> Result<WebSocketStream<Upgraded>, String> {
        let client = runtime
            .upgrading_client(url)
            .map_err(|failure| failure.why)?;
        let key = generate_key();
        let mut request = Request::new(Method::GET, url.clone());
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
        let sent_key = HeaderValue::try_from(&key).map_err(|error| error.to_string())?;
        headers.insert("sec-websocket-key", sent_key);

        let response = client.execute(request).await;
        let response = response
            .map_err(|error| format!("cannot be reached: {}", with_causes(&error.without_url())))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(format!(
                "answered {} instead of accepting a WebSocket",
                response.status()
            ));
        }
        let accepted = response.headers().get("sec-websocket-accept");
        if accepted.is_none_or(|accepted| accepted != derive_accept_key(key.as_bytes()).as_str()) {
            return Err("does not speak WebSocket".to_owned());
        }
        let upgraded = response.upgrade().await.map_err(|error| {
            format!(
                "did not open the WebSocket: {}",
                with_causes(&error.without_url())
            )
        })?;
        let limits = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(BUFFER)
            .max_write_buffer_size(MAX_UNWRITTEN)
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(limits)).await)
    }

    /// Returns the next text message; `None` if the peer has closed the connection. Answers pings. May be cancelled
    /// without losing a message.
    ///
    /// # Errors
    /// If the connection breaks, or the peer is silent for too long.
    pub(in crate::engines) async fn next(&mut self) -> Result<Option<String>, Failure> {
        loop {
            let message = match timeout(QUIET_TIME, self.stream.next()).await {
                Ok(None) => return Ok(None),
                Ok(Some(message)) => message.map_err(|error| self.broken(&error))?,
                Err(_) if self.is_pinged => {
                    return Err(Failure::unreachable(format!(
                        "{} does not answer pings",
                        self.peer
                    )));
                }
                Err(_) => {
                    self.is_pinged = true;
                    self.send_message(Message::Ping(Bytes::new())).await?;
                    continue;
                }
            };
            self.is_pinged = false;
            match message {
                Message::Text(text) => return Ok(Some(text.as_str().to_owned())),
                // The answers to pings and to a close are sent by the library.
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {}
                // Nobody here expects these.
                Message::Binary(_) | Message::Frame(_) => {}
            }
        }
    }

    /// Sends a text message.
    ///
    /// # Errors
    /// If the connection breaks, or the peer does not read.
    pub(in crate::engines) async fn send(&mut self, text: String) -> Result<(), Failure> {
        self.send_message(Message::text(text)).await
    }

    /// Closes the connection, and does not insist on the peer's answer.
    pub(in crate::engines) async fn close(mut self) {
        // It is dropped now in any case.
        let _ = timeout(CLOSE_TIME, self.stream.close(None)).await;
    }

    async fn send_message(&mut self, message: Message) -> Result<(), Failure> {
        match timeout(SEND_TIME, self.stream.send(message)).await {
            Ok(sent) => sent.map_err(|error| self.broken(&error)),
            Err(_) => Err(Failure::unreachable(format!("{} does not read", self.peer))),
        }
    }

    fn broken(&self, error: &Error) -> Failure {
        Failure::unreachable(format!(
            "the connection to {} broke: {}",
            self.peer,
            with_causes(error)
        ))
    }
}
