//! An HTTP server that can restart: it forgets its sessions, may change its tools, and may be away for a
//! while. It speaks streamable HTTP at `/mcp` and HTTP+SSE at `/sse`.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

/// The server, on a port of the loopback address.
pub(crate) struct RestartingServer {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    /// Serves requests; `None` while the server is away.
    runtime: Mutex<Option<Runtime>>,
}

struct Shared {
    tools: Value,
    /// The known sessions; those of HTTP+SSE have their stream.
    sessions: Vec<(String, Option<mpsc::Sender<Bytes>>)>,
    /// Forgotten sessions whose streams stay open.
    forgotten: Vec<(String, Option<mpsc::Sender<Bytes>>)>,
    forgets: bool,
    refuses_calls: bool,
    begun: usize,
    /// The response to a request in an unknown session.
    unknown: (u16, &'static str),
    /// Breaks off the response to each call after running it.
    breaks_off: bool,
    /// The method and session of every request.
    requests: Vec<(String, String)>,
    ran: Vec<String>,
}

impl RestartingServer {
    pub(crate) fn start(tools: Value) -> RestartingServer {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let server = RestartingServer {
            address: listener.local_addr().unwrap(),
            shared: Arc::new(Mutex::new(Shared {
                tools,
                sessions: Vec::new(),
                forgotten: Vec::new(),
                forgets: false,
                refuses_calls: false,
                begun: 0,
                unknown: (404, r#"{"error":"no such session"}"#),
                breaks_off: false,
                requests: Vec::new(),
                ran: Vec::new(),
            })),
            runtime: Mutex::default(),
        };
        server.serve(listener);
        server
    }

    fn serve(&self, listener: TcpListener) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let router = Router::new()
            .route("/mcp", post(mcp).get(no_stream).delete(no_stream))
            .route("/sse", get(sse))
            .route("/message", post(message))
            .with_state(Arc::clone(&self.shared));
        listener.set_nonblocking(true).unwrap();
        runtime.spawn(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await
        });
        *self.runtime.lock().unwrap() = Some(runtime);
    }

    /// A configuration with this server's `/mcp` or `/sse`.
    pub(crate) fn config(&self, path: &str) -> Value {
        let kind = if path == "/sse" { "sse" } else { "http" };
        let url = format!("http://{}{path}", self.address);
        json!({"mcpServers": {"box": {"type": kind, "url": url}}})
    }

    /// Forgets its sessions and cuts its streams.
    pub(crate) fn restart(&self) {
        self.shared().sessions.clear();
    }

    /// Restarts with other tools.
    pub(crate) fn restart_with(&self, tools: Value) {
        let mut shared = self.shared();
        shared.sessions.clear();
        shared.tools = tools;
    }

    /// Sets the response to requests in unknown sessions.
    pub(crate) fn answers_unknown_sessions_with(&self, status: u16, body: &'static str) {
        self.shared().unknown = (status, body);
    }

    /// Forgets its sessions but leaves their streams open.
    pub(crate) fn forgets_but_keeps_streams(&self) {
        let mut shared = self.shared();
        let forgotten = std::mem::take(&mut shared.sessions);
        shared.forgotten.extend(forgotten);
    }

    /// Forgets each session as soon as it has started.
    pub(crate) fn forgets_each_session(&self) {
        let mut shared = self.shared();
        shared.sessions.clear();
        shared.forgets = true;
    }

    /// Answers every call with a 400 about the call itself.
    pub(crate) fn refuses_calls(&self) {
        self.shared().refuses_calls = true;
    }

    /// Breaks off the response to each call after running it.
    pub(crate) fn breaks_off(&self) {
        self.shared().breaks_off = true;
    }

    /// Stops accepting connections until [`RestartingServer::comes_back`].
    pub(crate) fn goes_away(&self) {
        self.restart();
        drop(self.runtime.lock().unwrap().take());
    }

    pub(crate) fn comes_back(&self) {
        self.serve(TcpListener::bind(self.address).unwrap());
    }

    /// The calls that have run, in order.
    pub(crate) fn ran(&self) -> Vec<String> {
        self.shared().ran.clone()
    }

    /// Counts the requests of a method.
    pub(crate) fn count(&self, method: &str) -> usize {
        let shared = self.shared();
        let requests = shared.requests.iter();
        requests.filter(|(name, _)| name == method).count()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }
}

type Server = State<Arc<Mutex<Shared>>>;

async fn no_stream() -> StatusCode {
    StatusCode::METHOD_NOT_ALLOWED
}

impl Shared {
    fn begin(&mut self, stream: Option<mpsc::Sender<Bytes>>) -> String {
        self.begun += 1;
        let name = format!("session-{}", self.begun);
        if !self.forgets {
            self.sessions.push((name.clone(), stream));
        }
        name
    }

    /// Answers a request; a notification has no answer.
    fn answer(&mut self, session: &str, body: &Value) -> Option<Value> {
        let method = body["method"].as_str().unwrap_or_default();
        self.requests.push((method.to_owned(), session.to_owned()));
        let id = body.get("id")?;
        let params = &body["params"];
        let result = match method {
            "initialize" => json!({"protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {"listChanged": true}},
                "serverInfo": {"name": "restarting", "version": "0"}}),
            "tools/list" => json!({"tools": self.tools}),
            "tools/call" => {
                let name = params["name"].as_str().unwrap_or("?");
                self.ran.push(name.to_owned());
                json!({"content": [{"type": "text", "text": format!("{name} ran")}]})
            }
            _ => json!({}),
        };
        Some(json!({"jsonrpc": "2.0", "id": id, "result": result}))
    }
}

async fn mcp(State(shared): Server, headers: HeaderMap, body: String) -> Response {
    let mut shared = shared.lock().unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    let given = headers.get("mcp-session-id");
    let given = given.map(|name| name.to_str().unwrap().to_owned());
    let session = match given {
        _ if body["method"] == "initialize" => shared.begin(None),
        Some(name) if shared.sessions.iter().any(|(known, _)| *known == name) => name,
        Some(_) | None => {
            let (status, body) = shared.unknown;
            return (StatusCode::from_u16(status).unwrap(), body).into_response();
        }
    };
    if shared.refuses_calls && body["method"] == "tools/call" {
        return (StatusCode::BAD_REQUEST, "the arguments are wrong").into_response();
    }
    let json = [
        (CONTENT_TYPE.as_str(), "application/json"),
        ("mcp-session-id", &session),
    ];
    let Some(answer) = shared.answer(&session, &body) else {
        return StatusCode::ACCEPTED.into_response();
    };
    if body["method"] == "tools/call" && shared.breaks_off {
        let events = [(CONTENT_TYPE, "text/event-stream")];
        return (events, ": no answer\n\n").into_response();
    }
    (json, answer.to_string()).into_response()
}

async fn sse(State(shared): Server) -> Response {
    let (stream, events) = mpsc::channel(64);
    let session = shared.lock().unwrap().begin(Some(stream.clone()));
    let endpoint = format!("event: endpoint\ndata: /message?session={session}\n\n");
    stream.try_send(endpoint.into()).unwrap();
    drop(stream);
    let events = Body::new(Events(events));
    ([(CONTENT_TYPE, "text/event-stream")], events).into_response()
}

/// A stream that ends when its session is forgotten.
struct Events(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.0.poll_recv(context);
        next.map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
    }
}

async fn message(State(shared): Server, RawQuery(query): RawQuery, body: String) -> Response {
    let mut shared = shared.lock().unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    let query = query.unwrap_or_default();
    let mut sessions = shared.sessions.iter();
    let found = sessions.find(|(name, _)| query == format!("session={name}"));
    let found = found.cloned();
    let Some((session, Some(stream))) = found else {
        let (status, body) = shared.unknown;
        return (StatusCode::from_u16(status).unwrap(), body).into_response();
    };
    let answer = shared.answer(&session, &body);
    if shared.breaks_off && body["method"] == "tools/call" {
        shared.sessions.clear();
    } else if let Some(answer) = answer {
        let event = format!("event: message\ndata: {answer}\n\n");
        let _ = stream.try_send(event.into());
    }
    StatusCode::ACCEPTED.into_response()
}
