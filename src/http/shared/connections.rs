//! Accepts and serves connections of HTTP/1.1 clients, with limits on their number, size and time.
//!
//! `roster` chooses which connection to close for a new one.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::roster::{Reporter, Roster, Slot};

/// How many connections the system queues until we accept them. If more arrive, it drops their first
/// packet, and their clients try again a second later.
const BACKLOG: i32 = 1_024;
/// How long to wait after a failed `accept` if no connection can be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Limits on connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionLimits {
    /// How many there may be at once.
    pub(crate) count: usize,
    /// How long to wait for a request's complete head.
    pub(crate) head_time: Duration,
    /// The largest head, in bytes.
    pub(crate) head_bytes: usize,
    /// The most headers.
    pub(crate) headers: usize,
    /// How long a client may leave its answer unread before its connection may be closed to make
    /// room for another.
    pub(crate) unread_time: Duration,
}

/// Returns the number of descriptors that this process may have, divided by `share`, but at most `most`.
///
/// A client that uses up all connections must not take the descriptors that the log, the store and
/// the servers' pipes need. We do not raise the soft limit: children would inherit it, and a server
/// that uses `select` breaks with descriptors beyond 1,023.
pub(crate) fn within_descriptors(share: usize, most: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    limit.map_or(most, |limit| (limit / share).clamp(1, most))
}

/// The address that a request comes from. Every request has it as an extension.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerAddr(pub(crate) IpAddr);

/// A listener and its connections.
///
/// If there is no room, or no descriptor, a new connection replaces one that has not sent a complete
/// request, is idle, or does not read its answer. A connection whose request is being answered stays,
/// however long that takes. If every connection is busy like this, new ones wait: the wait is usually
/// short, and a 503 would fail a tool call that could be accepted a moment later.
#[derive(Debug)]
pub(crate) struct Connections {
    listener: TcpListener,
    roster: Arc<Roster>,
    limits: ConnectionLimits,
    graceful: GracefulShutdown,
    /// An accepted connection that has no slot yet.
    accepted: Option<(TcpStream, SocketAddr)>,
}

/// A new connection with its slot.
#[derive(Debug)]
pub(crate) struct Arrival {
    stream: TcpStream,
    peer: PeerAddr,
    slot: Slot,
}

impl Arrival {
    /// Returns the address of the client.
    pub(crate) fn peer(&self) -> IpAddr {
        self.peer.0
    }
}

impl Connections {
    pub(crate) fn new(listener: TcpListener, limits: ConnectionLimits) -> Connections {
        // Only enlarges the backlog: the listener listens already. It does no harm if this fails.
        let _ = rustix::net::listen(&listener, BACKLOG);
        Connections {
            listener,
            roster: Roster::new(limits.count, limits.unread_time),
            limits,
            graceful: GracefulShutdown::new(),
            accepted: None,
        }
    }

    /// Returns the next connection, once there is room for it. May be cancelled.
    pub(crate) async fn next(&mut self) -> Arrival {
        loop {
            if self.accepted.is_none() {
                match self.listener.accept().await {
                    Ok(accepted) => self.accepted = Some(accepted),
                    Err(error) => self.recover(&error).await,
                }
            }
            if self.accepted.is_none() {
                continue;
            }
            let slot = self.roster.acquire().await;
            if let Some((stream, address)) = self.accepted.take() {
                let peer = PeerAddr(address.ip());
                return Arrival { stream, peer, slot };
            }
        }
    }

    /// Recovers from a failed `accept`: closes a connection if descriptors are short, or pauses.
    async fn recover(&self, error: &io::Error) {
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
        ) {
            // That client is gone. It must not delay the next one.
            return;
        }
        let is_short = matches!(
            Errno::from_io_error(error),
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
        );
        if !(is_short && self.roster.close_one().await) {
            sleep(ACCEPT_PAUSE).await;
        }
    }

    /// Serves a connection on its own task.
    pub(crate) fn serve(&self, arrival: Arrival, router: Router) {
        self.spawn(arrival, router, async |stream| Some(stream));
    }

    /// Serves a connection over TLS on its own task. Clients have the time for a request's head for the handshake too.
    pub(crate) fn serve_tls(&self, arrival: Arrival, router: Router, tls: TlsAcceptor) {
        let time = self.limits.head_time;
        self.spawn(arrival, router, async move |stream| {
            let accepted = timeout(time, tls.accept(stream)).await;
            // An error concerns only this client.
            accepted.ok()?.ok()
        });
    }

    /// Serves a connection on its own task, over what `secure` makes of its socket.
    fn spawn<S, F>(&self, arrival: Arrival, router: Router, secure: impl FnOnce(Watched) -> F)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Option<S>> + Send + 'static,
    {
        let Arrival { stream, peer, slot } = arrival;
        // Sends small answers without delay. If this fails, they are merely slower.
        let _ = stream.set_nodelay(true);
        let reporter = slot.reporter();
        let stream = Watched {
            stream,
            reporter: reporter.clone(),
            is_stuck: false,
        };
        let router = TowerToHyperService::new(router);
        let service = {
            let reporter = reporter.clone();
            service_fn(move |request: Request<Incoming>| {
                let answered = answer(&router, request, peer, &reporter);
                let reporter = reporter.clone();
                async move {
                    let response = answered.await?;
                    Ok::<_, Infallible>(response.map(|body| AnswerBody { body, reporter }))
                }
            })
        };
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_time)
            .max_buf_size(self.limits.head_bytes)
            .max_headers(self.limits.headers);
        let (watcher, secured) = (self.graceful.watcher(), secure(stream));
        let task = tokio::spawn(async move {
            if let Some(stream) = secured.await {
                let connection = http.serve_connection(TokioIo::new(stream), service);
                // An error on a connection concerns only its client.
                let _ = watcher.watch(connection).await;
            }
            drop(slot);
        });
        reporter.set_task(task.abort_handle());
    }

    /// Stops listening. Waits until `last` is done and clients have read their answers, but for
    /// `patience` at most.
    pub(crate) async fn end(self, last: impl Future<Output = ()>, patience: Duration) {
        let Connections {
            listener, graceful, ..
        } = self;
        drop(listener);
        let shutdown = async {
            last.await;
            graceful.shutdown().await;
        };
        let _ = timeout(patience, shutdown).await;
    }
}

/// Passes a request to the router.
fn answer(
    router: &TowerToHyperService<Router>,
    mut request: Request<Incoming>,
    peer: PeerAddr,
    reporter: &Reporter,
) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<> {
    request.extensions_mut().insert(peer);
    reporter.head_arrived(!request.body().is_end_stream());
    router.call(request.map(|body| RequestBody {
        body,
        reporter: reporter.clone(),
    }))
}

/// A request's body, which reports when it has arrived.
struct RequestBody {
    body: Incoming,
    reporter: Reporter,
}

impl hyper::body::Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.reporter.body_arrived();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        // The handler does not need the rest.
        self.reporter.body_arrived();
    }
}

/// An answer's body, which reports when hyper has taken all of it.
struct AnswerBody {
    body: Body,
    reporter: Reporter,
}

impl hyper::body::Body for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.reporter.answered();
    }
}

/// A connection's socket, which reports whether the client reads.
struct Watched {
    stream: TcpStream,
    reporter: Reporter,
    is_stuck: bool,
}

impl Watched {
    fn report(&mut self, written: &Poll<io::Result<usize>>) {
        if written.is_pending() && !self.is_stuck {
            self.is_stuck = true;
            self.reporter.output_is_stuck();
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.report(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.report(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes only after it has written everything.
        if self.is_stuck {
            self.is_stuck = false;
            self.reporter.output_is_sent();
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
