//! Serves one client over two wires: rmcp speaks the protocol, and the wires are those of the proxy.
//!
//! It knows neither tools nor HTTP.

use std::io::{self, IoSlice};

use rmcp::{ServerHandler, ServiceExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, duplex, split};

use crate::sys::with_causes;
use crate::transport::{Attempt, Wire};

/// How many bytes may be on their way in each direction.
const PIPE: usize = 64 * 1024;

/// The client cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("the MCP client cannot be served: {0}")]
pub struct ServeError(String);

/// Serves a client until it closes its end, or `stop` is ready. Then waits for `at_end`, and for the answers to the calls
/// that are still running, for a few seconds.
///
/// # Errors
/// [`ServeError`] if the client does not speak MCP.
pub async fn serve<H: ServerHandler>(
    handler: H,
    from_client: Wire,
    to_client: Wire,
    stop: impl Future<Output = ()>,
    at_end: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let (ours, theirs) = duplex(PIPE);
    let (output, mut input) = split(ours);
    let mut has_closed = false;
    let inward = async {
        tokio::select! {
            () = bring(&from_client, &mut input) => {}
            () = stop => {}
        }
        has_closed = true;
        at_end.await;
        // Fails only if the server has ended.
        let _ = input.shutdown().await;
        std::future::pending::<()>().await;
    };
    let serving = async {
        let failed = |error: &dyn std::error::Error| Some(ServeError(with_causes(error)));
        let service = handler.serve(theirs).await;
        let service = service.map_err(|error| failed(&error))?;
        service.waiting().await.map_err(|error| failed(&error))?;
        Ok(())
    };
    let outward = async {
        // A client that no longer reads is gone.
        take(output, &to_client).await.map_err(|_| None)
    };
    let served = tokio::select! {
        served = async { tokio::try_join!(serving, outward) } => served.map(drop),
        () = inward => Ok(()),
    };
    match served {
        // A client may go whenever it likes, even before it has said anything.
        Err(Some(error)) if !has_closed => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Brings what the client sends, until it closes.
async fn bring(from: &Wire, to: &mut (impl AsyncWrite + Unpin)) {
    let mut buffer = Vec::with_capacity(PIPE);
    while from.readable().await.is_ok() {
        match from.try_read(&mut buffer) {
            Ok(Attempt::Done(0)) | Err(_) => return,
            Ok(Attempt::NotReady) => {}
            Ok(Attempt::Done(_)) => {
                if to.write_all(&buffer).await.is_err() {
                    return;
                }
                buffer.clear();
            }
        }
    }
}

/// Takes what the server sends to the client, until the server ends.
async fn take(mut from: impl AsyncRead + Unpin, to: &Wire) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(PIPE);
    loop {
        buffer.clear();
        if from.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let mut left = &*buffer;
        while !left.is_empty() {
            to.writable().await?;
            if let Attempt::Done(count) = to.try_write(&[IoSlice::new(left)])? {
                left = left.get(count..).unwrap_or_default();
            }
        }
    }
}
