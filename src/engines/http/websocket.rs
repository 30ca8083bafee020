//! A WebSocket over the HTTP client that all couriers share, so that TLS, roots and proxies are the same everywhere.
//!
//! Knows no service. Messages are text; their size, and the silence of a peer, are bounded.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::header::{CONNECTION, HeaderValue, UPGRADE};
use reqwest::{Method, Request, StatusCode, Upgraded, Url};
use tokio::io::{AsyncRead, AsyncWrite};
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
pub(in crate::engines) struct WebSocket<S = Upgraded> {
    stream: WebSocketStream<S>,
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
            Ok(Ok(upgraded)) => Ok(WebSocket::over(upgraded, peer).await),
            Ok(Err(why)) => Err(Failure::unreachable(format!("{peer} {why}"))),
            Err(_) => Err(Failure::unreachable(format!(
                "{peer} did not accept a WebSocket within {} s",
                HANDSHAKE_TIME.as_secs()
            ))),
        }
    }

    async fn shake_hands(runtime: &HttpRuntime, url: &Url) -> Result<Upgraded, String> {
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
        response.upgrade().await.map_err(|error| {
            format!(
                "did not open the WebSocket: {}",
                with_causes(&error.without_url())
            )
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Speaks WebSocket over what the handshake has opened.
    async fn over(stream: S, peer: String) -> WebSocket<S> {
        let limits = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(BUFFER)
            .max_write_buffer_size(MAX_UNWRITTEN)
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        WebSocket {
            stream: WebSocketStream::from_raw_socket(stream, Role::Client, Some(limits)).await,
            peer,
            is_pinged: false,
        }
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::{Instant, timeout_at};

    use super::*;

    async fn connected() -> (WebSocket<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(4 * MAX_MESSAGE);
        let socket = WebSocket::over(ours, "wss://fake.example".to_owned()).await;
        (socket, theirs)
    }

    async fn served(stream: DuplexStream) -> WebSocketStream<DuplexStream> {
        WebSocketStream::from_raw_socket(stream, Role::Server, None).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_is_silent_is_pinged_and_then_given_up() {
        let (mut socket, mut peer) = connected().await;
        let start = Instant::now();
        let failure = socket.next().await.unwrap_err();
        assert!(failure.why.contains("does not answer pings"), "{failure:?}");
        assert_eq!(start.elapsed(), 2 * QUIET_TIME);
        let mut head = [0; 2];
        peer.read_exact(&mut head).await.unwrap();
        // RFC 6455, section 5.2: a final ping frame, masked, without a payload.
        assert_eq!(head, [0x89, 0x80]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_answers_pings_may_have_nothing_to_say_for_long() {
        let (mut socket, peer) = connected().await;
        let mut peer = served(peer).await;
        let answering = async {
            // Reading answers pings.
            let end = Instant::now() + 50 * QUIET_TIME;
            while let Ok(ping) = timeout_at(end, peer.next()).await {
                assert!(matches!(ping, Some(Ok(Message::Ping(_)))), "{ping:?}");
            }
            peer.send(Message::text("at last")).await.unwrap();
            peer
        };
        let (_peer, heard) = tokio::join!(answering, socket.next());
        assert_eq!(heard.unwrap().as_deref(), Some("at last"));
    }

    #[tokio::test]
    async fn texts_arrive_pings_are_answered_and_a_close_ends_it() {
        let (mut socket, peer) = connected().await;
        let mut peer = served(peer).await;
        peer.send(Message::Ping("p".into())).await.unwrap();
        peer.send(Message::Binary("b".into())).await.unwrap();
        peer.send(Message::text("{}")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().as_deref(), Some("{}"));
        socket.send("ours".to_owned()).await.unwrap();
        let pong = peer.next().await.unwrap().unwrap();
        assert_eq!(pong, Message::Pong("p".into()));
        assert_eq!(peer.next().await.unwrap().unwrap(), Message::text("ours"));
        peer.send(Message::Close(None)).await.unwrap();
        drop(peer);
        assert!(matches!(socket.next().await, Ok(None) | Err(_)));
    }

    #[tokio::test]
    async fn what_is_too_long_or_no_websocket_ends_the_connection() {
        let (mut socket, peer) = connected().await;
        let mut peer = served(peer).await;
        peer.send(Message::text("x".repeat(MAX_MESSAGE)))
            .await
            .unwrap();
        assert!(socket.next().await.unwrap().is_some());
        peer.send(Message::text("x".repeat(MAX_MESSAGE + 1)))
            .await
            .unwrap();
        socket.next().await.unwrap_err();

        let (mut socket, mut peer) = connected().await;
        peer.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        socket.next().await.unwrap_err();
    }
}
