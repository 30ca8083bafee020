//! `http-echo`: the answers of `mcp-echo` over streamable HTTP, on a free loopback port.
//!
//! It answers each POST with one JSON object. The answer to `initialize` also names a session,
//! which later requests need not name. It accepts legacy and stateless requests and checks no
//! header.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use mcp_echo::Server;
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};

fn main() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, serve())
}

async fn serve() -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    eprintln!(
        "http-echo: listening on http://{}/mcp",
        listener.local_addr()?
    );
    let server = Rc::new(RefCell::new(Server::default()));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let server = Rc::clone(&server);
        let service = service_fn(move |request| answer(request, Rc::clone(&server)));
        // The client notices if its connection fails.
        spawn_local(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    request: Request<Incoming>,
    server: Rc<RefCell<Server>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::default());
    match *request.method() {
        Method::POST => {}
        // The end of a session.
        Method::DELETE => return Ok(response),
        _ => {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            return Ok(response);
        }
    }
    let Ok(body) = request.into_body().collect().await else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(response);
    };
    let mut out = Vec::new();
    // Writing to memory does not fail.
    let _ = server.borrow_mut().answer(&body.to_bytes(), &mut out);
    if out.is_empty() {
        *response.status_mut() = StatusCode::ACCEPTED;
        return Ok(response);
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if begins_session(&out) {
        headers.insert("mcp-session-id", HeaderValue::from_static("the-session"));
    }
    *response.body_mut() = Full::from(out);
    Ok(response)
}

/// Returns true for the answer to `initialize`.
fn begins_session(answer: &[u8]) -> bool {
    let words = b"\"protocolVersion\"";
    answer.len() < 512 && answer.windows(words.len()).any(|found| found == words)
}
