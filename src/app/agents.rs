//! Serves approval tools to agents, over stdio or HTTP, until the client has gone or a signal comes.
//!
//! `agents` has the tools; the HTTP server is that of the proxy, with the same checks.

use std::sync::Arc;

use rmcp::ServerHandler;

use super::{AppError, Signals, listen, number_of};
use crate::agents::{Approvals, ServeError, serve};
use crate::http::inbound::{ClientEnds, Relay, Serving};
use crate::relay::Ended;
use crate::sys::{Stderr, with_causes};
use crate::transport::Wire;

/// Serves `tools`, which ask `approvals`, or a broker if there are none, to HTTP clients, or to the client over stdio.
///
/// # Errors
/// [`AppError`], before any client was served; inside, [`ServeError`] if the client over stdio does not speak MCP.
pub async fn serve_agents<H: ServerHandler + Clone>(
    tools: H,
    approvals: Option<Arc<Approvals>>,
    http: Option<Serving>,
    stderr: &Stderr,
) -> Result<Result<Ended, ServeError>, AppError> {
    let signals = Signals::listen().map_err(AppError::System)?;
    match http {
        Some(serving) => {
            let ended = serve_http(tools, approvals, serving, signals, stderr).await?;
            Ok(Ok(ended))
        }
        None => serve_stdio(tools, approvals, signals).await,
    }
}

async fn serve_stdio<H: ServerHandler>(
    tools: H,
    approvals: Option<Arc<Approvals>>,
    signals: Signals,
) -> Result<Result<Ended, ServeError>, AppError> {
    let from_client = Wire::stdin().map_err(AppError::Stdio)?;
    let to_client = Wire::stdout().map_err(AppError::Stdio)?;
    let mut signal = signals.watched();
    let mut stop = signal.clone();
    let stop = async move {
        number_of(&mut stop).await;
    };
    // The process ends with its client.
    let at_end = close(approvals.as_ref());
    let served = serve(tools, from_client, to_client, stop, at_end).await;
    // Again, for a client that has gone without closing its end.
    close(approvals.as_ref()).await;
    let number = *signal.borrow_and_update();
    Ok(match number {
        0 => served.map(|()| Ended::ClientClosed),
        number => Ok(Ended::Signal(number)),
    })
}

async fn serve_http<H: ServerHandler + Clone>(
    tools: H,
    approvals: Option<Arc<Approvals>>,
    serving: Serving,
    signals: Signals,
    stderr: &Stderr,
) -> Result<Ended, AppError> {
    let server = listen(serving, stderr).await?;
    let signal = signals.watched();
    let relay: Relay = Box::new(move |client: ClientEnds| {
        let (tools, approvals) = (tools.clone(), approvals.clone());
        let mut signal = client.signal;
        Ok(Box::pin(async move {
            let stop = async {
                number_of(&mut signal).await;
                // So that calls that wait are answered.
                close(approvals.as_ref()).await;
            };
            // Clients come and go; the approvals stay until the server ends.
            let at_end = std::future::ready(());
            let (from_client, to_client) = (client.from_client, client.to_client);
            let served = serve(tools, from_client, to_client, stop, at_end).await;
            if let Err(error) = served {
                tracing::warn!("{}", with_causes(&error));
            }
        }))
    });
    // What is refused before it reaches a session asks nobody.
    let record = Box::new(|_: &str| {});
    Ok(Ended::Signal(server.run(relay, record, signal).await))
}

async fn close(approvals: Option<&Arc<Approvals>>) {
    if let Some(approvals) = approvals {
        approvals.close().await;
    }
}
