//! Runs the page's listener, with limits on its connections.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, HeaderName};
use tokio::net::TcpListener;

use super::access::Site;
use super::routes::router;
use super::{App, Security};
use crate::http::shared::{ConnectionLimits, Connections, within_descriptors};

/// The most connections. Each may have a large head; all heads together take at most 96 MiB.
const MAX_CONNECTIONS: usize = 128;
/// The page's connections may use the process's descriptors divided by this. The rest is for the
/// process's other work.
const SHARE: usize = 4;
/// The largest head. A browser sends the cookies that any port of this machine has set, up to 180 of
/// 4 KiB each. With a lower limit, a server at another port could lock the user out.
const HEAD_BYTES: usize = 768 * 1024;
/// The same for the remote page, which has a host of its own and is open to strangers: more than browsers send.
const REMOTE_HEAD_BYTES: usize = 64 * 1024;
/// How long clients may take to read their answers when the page ends.
const DRAIN_TIME: Duration = Duration::from_secs(2);

pub(super) async fn serve(
    mut app: App,
    listener: TcpListener,
    security: &Security,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    if let Site::Local(port) = &mut app.site {
        *port = listener.local_addr()?.port();
    }
    let app = Arc::new(app);
    let router = router(Arc::clone(&app));
    let refusing = Router::new().fallback(refuse);
    let mut connections = Connections::new(listener, limits(security));
    let mut stop = pin!(stop);
    let mut watching_store = pin!(app.watch_store());
    loop {
        tokio::select! {
            () = &mut stop => break,
            () = &mut watching_store => {}
            arrival = connections.next() => match security {
                Security::Loopback => connections.serve(arrival, router.clone()),
                Security::Tls(certificate) => {
                    connections.serve_tls(arrival, router.clone(), certificate.acceptor());
                }
                Security::BehindProxy(networks) => {
                    // INVARIANT 9: what others send over plain HTTP can be read on the way, so no page reads it.
                    let is_proxy = networks.iter().any(|network| network.contains(arrival.peer()));
                    let router = if is_proxy { &router } else { &refusing };
                    connections.serve(arrival, router.clone());
                }
            },
        }
    }
    app.changes.end();
    connections.end(async {}, DRAIN_TIME).await;
    Ok(())
}

/// Answers a client that is not the reverse proxy. It does not keep a connection that the reverse proxy may need.
async fn refuse() -> (StatusCode, [(HeaderName, &'static str); 1], &'static str) {
    let why =
        "This page is behind a reverse proxy, and your address is not in its `behindProxy`.\n";
    (StatusCode::FORBIDDEN, [(CONNECTION, "close")], why)
}

fn limits(security: &Security) -> ConnectionLimits {
    let (head_bytes, unread_time) = match security {
        // The browser is on this machine, so it reads immediately.
        Security::Loopback => (HEAD_BYTES, Duration::from_millis(500)),
        Security::Tls(_) | Security::BehindProxy(_) => (REMOTE_HEAD_BYTES, Duration::from_secs(10)),
    };
    ConnectionLimits {
        count: within_descriptors(SHARE, MAX_CONNECTIONS),
        head_time: Duration::from_secs(30),
        head_bytes,
        headers: 64,
        unread_time,
    }
}
