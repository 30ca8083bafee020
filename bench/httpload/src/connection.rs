//! A persistent connection, with one request at a time.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{Outcome, PATIENCE};

/// A connection to the server.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    path: Uri,
}

/// A complete response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Response {
    pub(crate) fn is_events(&self) -> bool {
        let kind = self.headers.get(CONTENT_TYPE);
        kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
    }
}

impl Connection {
    pub(crate) async fn open(url: &Uri) -> Outcome<Connection> {
        let authority = url.authority().ok_or("the URL names no server")?.as_str();
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        let (sender, driver) = handshake(TokioIo::new(stream)).await?;
        // The next request notices if the connection fails.
        tokio::spawn(driver);
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        Ok(Connection {
            sender,
            host: HeaderValue::from_str(authority)?,
            path: path.parse()?,
        })
    }

    /// Sends one request and reads its whole response.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        headers: &[(HeaderName, HeaderValue)],
        body: impl Into<Bytes>,
    ) -> Outcome<Response> {
        let mut request = Request::new(Full::new(body.into()));
        *request.method_mut() = method;
        *request.uri_mut() = self.path.clone();
        let into = request.headers_mut();
        into.insert(hyper::header::HOST, self.host.clone());
        for (name, value) in headers {
            into.insert(name, value.clone());
        }
        let answered = async {
            self.sender.ready().await?;
            let (parts, body) = self.sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, hyper::Error>(Response {
                status: parts.status,
                headers: parts.headers,
                body,
            })
        };
        let answered = timeout(PATIENCE, answered).await;
        Ok(answered.map_err(|_| "no answer in time")??)
    }
}
