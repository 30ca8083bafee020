//! The listener: connections in, bounded in number, size and time; and an end that answers what
//! waits.

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

/// The most connections: a client of HTTP/1.1 has one for each call that waits.
const MAX_CONNECTIONS: usize = 16_384;
/// Client connections may take the process's descriptors divided by this. Each session's server takes
/// three, and the inbox's page has a share of its own.
const SHARE: usize = 2;
/// How long everything that waits may take to be answered at the end.
const FAREWELL: Duration = Duration::from_secs(8);
/// How HTTP clients are served.
#[derive(Debug, Clone)]
pub struct Serving {
    /// The address to bind: a name or an address, without port.
    pub host: String,
    /// The port; 0 is any that is free.
    pub port: u16,
    /// The bearer token that clients must send.
    pub token: Option<Secret>,
    /// The file that the token was read from, where it is one of ours.
    pub stored_token: Option<PathBuf>,
    /// Names beside this machine's own that a request's `Host` may have, in lower case.
    pub allowed_hosts: Vec<String>,
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
        let mut look = interval(LOOK_EVERY);
        let number = loop {
            tokio::select! {
                number = ended(&mut signal) => break number,
                _ = look.tick() => app.sessions.end_unused(),
                arrival = connections.next() => connections.serve(arrival, router.clone()),
            }
        };
        connections.end(app.sessions.ended(), FAREWELL).await;
        number
    }
}

fn limits() -> ConnectionLimits {
    ConnectionLimits {
        count: within_descriptors(SHARE, MAX_CONNECTIONS),
        head_time: Duration::from_secs(60),
        head_bytes: 64 * 1024,
        headers: 100,
        // Clients may be on slow links, and results large.
        unread_time: Duration::from_secs(10),
    }
}

async fn ended(signal: &mut watch::Receiver<i32>) -> i32 {
    match signal.wait_for(|number| *number != 0).await {
        Ok(number) => *number,
        // Whoever could have said so is gone.
        Err(_) => std::future::pending().await,
    }
}
