//! `http-relay URL`: forwards every request to the server at URL and returns its response, without reading either. The
//! time that a proxy over HTTP takes beyond this is its own.
//!
//! It uses axum on one side and a client with persistent connections on the other; bodies are streamed.

use std::error::Error;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use axum::serve::ListenerExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;

fn main() -> Result<(), Box<dyn Error>> {
    let url: Uri = match std::env::args().nth(1) {
        Some(url) => url.parse()?,
        None => return Err("usage: http-relay URL".into()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(url))
}

async fn serve(url: Uri) -> Result<(), Box<dyn Error>> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let app = Router::new()
        .fallback(relay)
        .with_state(Upstream { client, url });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    eprintln!(
        "http-relay: listening on http://{}/mcp",
        listener.local_addr()?
    );
    let listener = listener.tap_io(|stream| {
        // If this fails, small answers wait for more data.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, app).await?;
    Ok(())
}

#[derive(Clone)]
struct Upstream {
    client: Client<HttpConnector, Body>,
    url: Uri,
}

async fn relay(
    State(upstream): State<Upstream>,
    mut request: Request,
) -> Result<Response, StatusCode> {
    *request.uri_mut() = upstream.url.clone();
    for name in [HOST, CONNECTION] {
        request.headers_mut().remove(name);
    }
    let response = upstream.client.request(request).await;
    let mut response = response.map_err(|_| StatusCode::BAD_GATEWAY)?;
    for name in [CONNECTION, TRANSFER_ENCODING] {
        response.headers_mut().remove(name);
    }
    Ok(response.map(Body::new))
}
