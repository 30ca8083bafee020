//! The listener: connections in, bounded in number, size and time.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::App;
use super::routes::router;

/// How many connections there may be at once.
const MAX_CONNECTIONS: usize = 256;
/// How long a connection may take to send a request's head, the wait for it included.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// The largest head of a request, in bytes; and the most headers.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// How long answers may take to be read at the end.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long after a failed `accept` the next one is tried: descriptors may be short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn serve(
    app: App,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let port = listener.local_addr()?.port();
    let app = Arc::new(app);
    let router = router(Arc::clone(&app), port);
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut stop = pin!(stop);
    let mut looking_after = pin!(app.look_after());
    loop {
        tokio::select! {
            () = &mut stop => break,
            () = &mut looking_after => {}
            (permit, stream) = accept(&listener, &permits) => {
                connect(stream, permit, router.clone(), &graceful);
            }
        }
    }
    drop(listener);
    app.changes.end();
    // Who does not read its answer by then gets none.
    let _ = timeout(FAREWELL, graceful.shutdown()).await;
    Ok(())
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

fn connect(
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
