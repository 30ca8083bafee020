//! A server for MCP's official conformance suite. It has the tools, resources and prompts that the
//! suite's server scenarios use, and supports every revision that `rmcp` supports. It does not know
//! about approvals: `.ci/conformance.py` puts the proxy in front of it.
//!
//! ```text
//! cargo run --example everything_server -- --http 127.0.0.1:0   # prints its URL to stderr
//! cargo run --example everything_server -- --stdio
//! ```

#![allow(
    clippy::print_stderr,
    reason = "stdout is the wire; stderr is for messages to the operator"
)]
#![allow(
    deprecated,
    reason = "rmcp deprecates logging, sampling and roots, which legacy revisions have"
)]

mod asking;
mod catalogue;
mod content;
mod documents;
mod events;
mod jobs;
mod rounds;
mod server;
mod skills;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use rmcp::ServiceExt;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService, stdio};
use tokio::net::TcpListener;

use server::{Everything, Shared};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let served = match *arguments {
        ["--stdio"] => serve_stdio().await,
        ["--http", address] => serve_http(address).await,
        _ => Err("usage: everything_server --stdio | --http ADDRESS:PORT".into()),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("everything_server: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves one client until it closes our stdin.
async fn serve_stdio() -> Result<(), Box<dyn Error>> {
    let server = Everything::new(Arc::new(Shared::new()?));
    server.serve(stdio()).await?.waiting().await?;
    Ok(())
}

/// Serves any number of clients until killed: legacy ones with sessions, stateless ones without.
async fn serve_http(address: &str) -> Result<(), Box<dyn Error>> {
    let sessions = Arc::new(LocalSessionManager::default());
    let shared = Arc::new(Shared::new()?.with_sessions(sessions.clone()));
    let service = StreamableHttpService::new(
        move || Ok(Everything::new(shared.clone())),
        sessions,
        StreamableHttpServerConfig::default(),
    );
    let listener = TcpListener::bind(address).await?;
    eprintln!("listening on http://{}/mcp", listener.local_addr()?);
    axum::serve(listener, axum::Router::new().route_service("/mcp", service)).await?;
    Ok(())
}
