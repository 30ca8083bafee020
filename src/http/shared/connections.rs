//! Connections of HTTP/1.1 clients, bounded in number, size and time.
//!
//! What is served on them is not known here; which of them give way to others is up to `roster`.

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

use super::roster::{Place, Roster, Seat};

/// How many connections the system keeps until they are accepted. When more arrive, it drops their
/// first packet, and their clients try again a second later.
const BACKLOG: i32 = 1_024;
/// How long to wait after a failed `accept` if no connection can give way.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What connections may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionLimits {
    /// How many there may be at once.
    pub(crate) count: usize,
    /// How long a request's head may take to be sent, the wait for it included.
    pub(crate) head_time: Duration,
    /// The largest head, in bytes.
    pub(crate) head_bytes: usize,
    /// The most headers.
    pub(crate) headers: usize,
    /// How long a client may leave its answer unread before its connection may be closed to make
    /// room for another.
    pub(crate) unread_time: Duration,
}

/// The descriptors that this process may have, divided by `share`, and at most `most`.
///
/// A process that takes up all connections must not take the descriptors that the log, the store and
/// the servers' pipes need. The soft limit stays as it is: children would inherit a higher one, and a
/// server that uses `select` breaks with descriptors beyond 1,023.
pub(crate) fn within_descriptors(share: usize, most: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    limit.map_or(most, |limit| (limit / share).clamp(1, most))
}

/// Where a request comes from; every request has it as an extension.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerAddr(pub(crate) IpAddr);

/// A listener and its connections.
///
/// When there is no room, or no descriptor, a newcomer takes the place of a connection that has not
/// sent a whole request, is idle, or does not read its answer. A connection whose request is being
/// answered stays, however long that takes. If every connection is busy like this, newcomers wait:
/// the wait is usually short, and a 503 would fail a tool call that could be taken a moment later.
#[derive(Debug)]
pub(crate) struct Connections {
    listener: TcpListener,
    roster: Arc<Roster>,
    limits: ConnectionLimits,
    graceful: GracefulShutdown,
    /// Accepted, and still without a place.
    newcomer: Option<(TcpStream, SocketAddr)>,
}

/// A connection that has come, and its place among those there may be.
#[derive(Debug)]
pub(crate) struct Arrival {
    stream: TcpStream,
    peer: PeerAddr,
    place: Place,
}

impl Connections {
    pub(crate) fn new(listener: TcpListener, limits: ConnectionLimits) -> Connections {
        // It listens already; where this fails, some may have to try again.
        let _ = rustix::net::listen(&listener, BACKLOG);
        Connections {
            listener,
            roster: Roster::new(limits.count, limits.unread_time),
            limits,
            graceful: GracefulShutdown::new(),
            newcomer: None,
        }
    }

    /// The next connection, once there is room for it. May be cancelled.
    pub(crate) async fn next(&mut self) -> Arrival {
        loop {
            if self.newcomer.is_none() {
                match self.listener.accept().await {
                    Ok(accepted) => self.newcomer = Some(accepted),
                    Err(error) => self.recover(&error).await,
                }
            }
            if self.newcomer.is_none() {
                continue;
            }
            let place = self.roster.enter().await;
            if let Some((stream, address)) = self.newcomer.take() {
                let peer = PeerAddr(address.ip());
                return Arrival {
                    stream,
                    peer,
                    place,
                };
            }
        }
    }

    /// Does what helps after a failed `accept`.
    async fn recover(&self, error: &io::Error) {
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
        ) {
            // That client has gone, which must not hold up the next one.
            return;
        }
        let is_short = matches!(
            Errno::from_io_error(error),
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
        );
        if !(is_short && self.roster.shrink().await) {
            sleep(ACCEPT_PAUSE).await;
        }
    }

    /// Serves a connection, on a task of its own.
    pub(crate) fn serve(&self, arrival: Arrival, router: Router) {
        let Arrival {
            stream,
            peer,
            place,
        } = arrival;
        // Without it small answers wait for more; where it cannot be had, they do.
        let _ = stream.set_nodelay(true);
        let seat = place.seat();
        let stream = Watched {
            stream,
            seat: seat.clone(),
            is_stuck: false,
        };
        let router = TowerToHyperService::new(router);
        let service = {
            let seat = seat.clone();
            service_fn(move |request: Request<Incoming>| {
                let answered = answer(&router, request, peer, &seat);
                let seat = seat.clone();
                async move {
                    let response = answered.await?;
                    Ok::<_, Infallible>(response.map(|body| AnswerBody { body, seat }))
                }
            })
        };
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_time)
            .max_buf_size(self.limits.head_bytes)
            .max_headers(self.limits.headers)
            .serve_connection(TokioIo::new(stream), service);
        let watched = self.graceful.watch(connection);
        let task = tokio::spawn(async move {
            // What goes wrong on a connection is its client's business.
            let _ = watched.await;
            drop(place);
        });
        seat.is_served_by(task.abort_handle());
    }

    /// Listens no more, and waits, at most so long, until `last` is done and answers are read. Who
    /// does not read by then gets none.
    pub(crate) async fn end(self, last: impl Future<Output = ()>, patience: Duration) {
        let Connections {
            listener, graceful, ..
        } = self;
        drop(listener);
        let farewell = async {
            last.await;
            graceful.shutdown().await;
        };
        let _ = timeout(patience, farewell).await;
    }
}

/// Lets the router answer.
fn answer(
    router: &TowerToHyperService<Router>,
    mut request: Request<Incoming>,
    peer: PeerAddr,
    seat: &Seat,
) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<> {
    request.extensions_mut().insert(peer);
    seat.head_arrived(!request.body().is_end_stream());
    router.call(request.map(|body| RequestBody {
        body,
        seat: seat.clone(),
    }))
}

/// A request's body; reports when it has arrived.
struct RequestBody {
    body: Incoming,
    seat: Seat,
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
            self.seat.body_arrived();
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
        // The handler does not want the rest.
        self.seat.body_arrived();
    }
}

/// An answer's body; reports when all of it has been handed over.
struct AnswerBody {
    body: Body,
    seat: Seat,
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
        self.seat.answered();
    }
}

/// A connection's socket; reports whether the client reads.
struct Watched {
    stream: TcpStream,
    seat: Seat,
    is_stuck: bool,
}

impl Watched {
    fn look_at(&mut self, written: &Poll<io::Result<usize>>) {
        if written.is_pending() && !self.is_stuck {
            self.is_stuck = true;
            self.seat.output_is_stuck();
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
        self.look_at(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.look_at(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes only after it has written everything.
        if self.is_stuck {
            self.is_stuck = false;
            self.seat.output_is_sent();
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
