//! The listener: connections in, bounded in number, size and time; and an end that answers what
//! waits.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{interval, sleep, timeout};

use super::endpoint::{App, router};
use super::guard::Guard;
use super::hub::{Hub, LOOK_EVERY, Record, Relay};
use super::request::Budget;
use crate::secret::Secret;

/// How many connections there may be at once. A client of HTTP/1.1 has one for each call that
/// waits.
const MAX_CONNECTIONS: usize = 16_384;
/// How long a connection may take to send a request's head, the wait for it included.
const HEAD_TIME: Duration = Duration::from_secs(60);
/// The largest head of a request, in bytes; and the most headers.
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;
/// How long everything that waits may take to be answered at the end.
const FAREWELL: Duration = Duration::from_secs(8);
/// How long after a failed `accept` the next one is tried: descriptors may be short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How HTTP clients are served.
#[derive(Debug, Clone)]
pub struct Serving {
    /// The address to bind: a name or an address, without port.
    pub host: String,
    /// The port; 0 is any that is free.
    pub port: u16,
    /// The bearer token that clients must send.
    pub token: Option<Secret>,
    /// The largest message, in bytes.
    pub max_message: usize,
}

/// Why nobody can be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {host}:{port}; name another with --host and --port")]
pub struct ListenError {
    host: String,
    port: u16,
    #[source]
    source: io::Error,
}

/// A server that listens, and serves nobody yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    serving: Serving,
}

impl Server {
    /// Binds the address.
    ///
    /// # Errors
    /// Where the name is unknown, or the address taken or not ours.
    pub async fn listen(serving: Serving) -> Result<Server, ListenError> {
        let (host, port) = (serving.host.clone(), serving.port);
        let bound = async {
            let addresses: Vec<SocketAddr> = lookup_host((&*host, port)).await?.collect();
            let listener = TcpListener::bind(&addresses[..]).await?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        match bound.await {
            Ok((listener, address)) => Ok(Server {
                listener,
                address,
                serving,
            }),
            Err(source) => Err(ListenError { host, port, source }),
        }
    }

    /// The address that is bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `signal` turns to a number other than 0, which it returns. `relay` relays each
    /// session; `record` hears of messages that belong to none.
    pub async fn run(self, relay: Relay, record: Record, mut signal: watch::Receiver<i32>) -> i32 {
        let is_local = self.address.ip().is_loopback();
        let app = Arc::new(App {
            hub: Hub::new(relay, self.serving.max_message, signal.clone()),
            guard: Guard::new(self.serving.token.as_ref(), is_local),
            budget: Budget::new(self.serving.max_message),
            record,
        });
        let router = router(Arc::clone(&app));
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let graceful = GracefulShutdown::new();
        let mut look = interval(LOOK_EVERY);
        let number = loop {
            tokio::select! {
                number = ended(&mut signal) => break number,
                _ = look.tick() => app.hub.end_unused(),
                (permit, stream) = accept(&self.listener, &permits) => {
                    serve(stream, permit, router.clone(), &graceful);
                }
            }
        };
        drop(self.listener);
        let farewell = async {
            app.hub.ended().await;
            graceful.shutdown().await;
        };
        // Who does not read its answers by then gets none.
        let _ = timeout(FAREWELL, farewell).await;
        number
    }
}

async fn ended(signal: &mut watch::Receiver<i32>) -> i32 {
    match signal.wait_for(|number| *number != 0).await {
        Ok(number) => *number,
        // Whoever could have said so is gone.
        Err(_) => std::future::pending().await,
    }
}

/// The next connection, once there is room for it. May be cancelled.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> (Option<OwnedSemaphorePermit>, TcpStream) {
    // It fails only if it is closed, which nobody does.
    let permit = Arc::clone(permits).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (permit, stream),
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

fn serve(
    stream: TcpStream,
    permit: Option<OwnedSemaphorePermit>,
    router: Router,
    graceful: &GracefulShutdown,
) {
    // Without it small answers wait for more; where it cannot be had, they do.
    let _ = stream.set_nodelay(true);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let watched = graceful.watch(connection);
    tokio::spawn(async move {
        // What goes wrong on a connection is its client's business.
        let _ = watched.await;
        drop(permit);
    });
}
