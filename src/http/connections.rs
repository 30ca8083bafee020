//! Connections of HTTP/1.1 clients, bounded in number, size and time.
//!
//! What is served on them is not known here.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

/// How long after a failed `accept` the next one is tried: descriptors may be short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a connection may take.
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
}

/// A listener and its connections.
#[derive(Debug)]
pub(crate) struct Connections {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    limits: ConnectionLimits,
    graceful: GracefulShutdown,
}

/// A connection that has come, and its place among those there may be.
#[derive(Debug)]
pub(crate) struct Arrival {
    stream: TcpStream,
    permit: Option<OwnedSemaphorePermit>,
}

impl Connections {
    pub(crate) fn new(listener: TcpListener, limits: ConnectionLimits) -> Connections {
        Connections {
            listener,
            permits: Arc::new(Semaphore::new(limits.count)),
            limits,
            graceful: GracefulShutdown::new(),
        }
    }

    /// The next connection, once there is room for it. May be cancelled.
    pub(crate) async fn next(&self) -> Arrival {
        // It fails only if it is closed, which nobody does.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return Arrival { stream, permit },
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    /// Serves a connection, on a task of its own.
    pub(crate) fn serve(&self, arrival: Arrival, router: Router) {
        let Arrival { stream, permit } = arrival;
        // Without it small answers wait for more; where it cannot be had, they do.
        let _ = stream.set_nodelay(true);
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_time)
            .max_buf_size(self.limits.head_bytes)
            .max_headers(self.limits.headers)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        let watched = self.graceful.watch(connection);
        tokio::spawn(async move {
            // What goes wrong on a connection is its client's business.
            let _ = watched.await;
            drop(permit);
        });
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
