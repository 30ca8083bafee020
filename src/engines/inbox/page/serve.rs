//! Runs the page's listener, with limits on its connections.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use super::App;
use super::routes::router;
use crate::http::shared::{ConnectionLimits, Connections, within_descriptors};

/// The most connections. Each may have a large head; all heads together take at most 96 MiB.
const MAX_CONNECTIONS: usize = 128;
/// The page's connections may use the process's descriptors divided by this. The rest is for the
/// process's other work.
const SHARE: usize = 4;
/// The largest head. A browser sends the cookies that any port of this machine has set, up to 180 of
/// 4 KiB each. With a lower limit, a server at another port could lock the user out.
const HEAD_BYTES: usize = 768 * 1024;
/// How long clients may take to read their answers when the page ends.
const DRAIN_TIME: Duration = Duration::from_secs(2);

pub(super) async fn serve(
    mut app: App,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    app.port = listener.local_addr()?.port();
    let app = Arc::new(app);
    let router = router(Arc::clone(&app));
    let mut connections = Connections::new(listener, limits());
    let mut stop = pin!(stop);
    let mut watching_store = pin!(app.watch_store());
    loop {
        tokio::select! {
            () = &mut stop => break,
            () = &mut watching_store => {}
            arrival = connections.next() => connections.serve(arrival, router.clone()),
        }
    }
    app.changes.end();
    connections.end(async {}, DRAIN_TIME).await;
    Ok(())
}

fn limits() -> ConnectionLimits {
    ConnectionLimits {
        count: within_descriptors(SHARE, MAX_CONNECTIONS),
        head_time: Duration::from_secs(30),
        head_bytes: HEAD_BYTES,
        headers: 64,
        // The browser is on this machine, so it reads immediately.
        unread_time: Duration::from_millis(500),
    }
}
