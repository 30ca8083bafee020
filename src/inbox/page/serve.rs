//! The listener: what the page allows its visitors.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use super::App;
use super::routes::router;
use crate::http::{ConnectionLimits, Connections, within_descriptors};

/// The most connections.
const MAX_CONNECTIONS: usize = 256;
/// The page's connections may take the process's descriptors divided by this. The process has other
/// work to do.
const SHARE: usize = 4;
/// How long answers may take to be read at the end.
const FAREWELL: Duration = Duration::from_secs(2);

pub(super) async fn serve(
    app: App,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let port = listener.local_addr()?.port();
    let app = Arc::new(app);
    let router = router(Arc::clone(&app), port);
    let mut connections = Connections::new(listener, limits());
    let mut stop = pin!(stop);
    let mut looking_after = pin!(app.look_after());
    loop {
        tokio::select! {
            () = &mut stop => break,
            () = &mut looking_after => {}
            arrival = connections.next() => connections.serve(arrival, router.clone()),
        }
    }
    app.changes.end();
    connections.end(async {}, FAREWELL).await;
    Ok(())
}

fn limits() -> ConnectionLimits {
    ConnectionLimits {
        count: within_descriptors(SHARE, MAX_CONNECTIONS),
        head_time: Duration::from_secs(30),
        head_bytes: 16 * 1024,
        headers: 64,
        // The browser is on this machine, and reads at once.
        unread_time: Duration::from_millis(500),
    }
}
