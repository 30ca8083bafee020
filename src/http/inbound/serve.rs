//! Listens for HTTP clients, serves their connections within limits, and answers pending requests
//! before it ends.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, lookup_host};
use tokio::sync::watch;
use tokio::time::interval;

use super::endpoint::{App, router};
use super::guard::{Guard, Hosts};
use super::request::Budget;
use super::sessions::{LOOK_EVERY, Record, Relay, Sessions};
use crate::http::shared::{ConnectionLimits, Connections, within_descriptors};
use crate::sys::net::is_loopback_address;
use crate::sys::secret::Secret;

/// The largest number of connections: an HTTP/1.1 client needs one for each pending call.
const MAX_CONNECTIONS: usize = 16_384;
/// Client connections may use the process's descriptors divided by this. Each session's server needs
/// three, and the inbox's page has its own share.
const SHARE: usize = 2;
/// How long pending requests may take to be answered at the end.
const DRAIN_TIME: Duration = Duration::from_secs(8);

/// How to serve HTTP clients.
#[derive(Debug, Clone)]
pub struct Serving {
    /// The name or address to bind, without a port.
    pub host: String,
    /// The port; 0 means any free port.
    pub port: u16,
    /// The bearer token that clients must send.
    pub token: Option<Secret>,
    /// The file that the token was read from, if we have created it.
    pub stored_token: Option<PathBuf>,
    /// Names that a request's `Host` may have besides this machine's own, in lower case.
    pub allowed_hosts: Vec<String>,
    /// The largest message, in bytes.
    pub max_message: usize,
}

/// Why the address cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on `{host}:{port}`; choose another address with --host and --port")]
pub struct ListenError {
    host: String,
    port: u16,
    #[source]
    source: io::Error,
}

/// A server that listens but does not serve clients yet.
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
    /// If the name is unknown, or the address is in use or does not belong to this machine.
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

    /// Returns the bound address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `signal` has a number other than 0, and returns it. `relay` relays each session;
    /// `record` records messages that are refused before they reach a session.
    pub async fn run(self, relay: Relay, record: Record, mut signal: watch::Receiver<i32>) -> i32 {
        let hosts = Hosts {
            is_local: is_loopback_address(self.address.ip()),
            allowed: self.serving.allowed_hosts,
        };
        let app = Arc::new(App {
            sessions: Sessions::new(relay, self.serving.max_message, signal.clone()),
            guard: Guard::new(self.serving.token.as_ref(), hosts),
            budget: Budget::new(self.serving.max_message),
            record,
        });
        let router = router(Arc::clone(&app));
        let mut connections = Connections::new(self.listener, limits());
        let mut cleanup = interval(LOOK_EVERY);
        let number = loop {
            tokio::select! {
                number = ended(&mut signal) => break number,
                _ = cleanup.tick() => app.sessions.end_unused(),
                arrival = connections.next() => connections.serve(arrival, router.clone()),
            }
        };
        connections.end(app.sessions.ended(), DRAIN_TIME).await;
        number
    }
}

fn limits() -> ConnectionLimits {
    ConnectionLimits {
        count: within_descriptors(SHARE, MAX_CONNECTIONS),
        head_time: Duration::from_secs(60),
        head_bytes: 64 * 1024,
        headers: 100,
        // Clients may be on slow links, and results may be large.
        unread_time: Duration::from_secs(10),
    }
}

async fn ended(signal: &mut watch::Receiver<i32>) -> i32 {
    match signal.wait_for(|number| *number != 0).await {
        Ok(number) => *number,
        // The sender is gone, so no signal can come.
        Err(_) => std::future::pending().await,
    }
}
