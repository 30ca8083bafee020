//! An HTTP server that keeps every request with its headers and returns what a test wants.
//!
//! It has no sessions and no streams.

use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// The server, on a port of the loopback address.
pub(crate) struct HttpUpstream {
    pub(crate) url: String,
    shared: Arc<Mutex<Shared>>,
    _runtime: Runtime,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Names in lower case, in the order of arrival.
    pub(crate) headers: Vec<(String, String)>,
    /// The path with its query.
    pub(crate) path: String,
    pub(crate) body: Value,
}

impl Seen {
    /// Returns the headers whose names start with this.
    pub(crate) fn headers_starting_with(&self, start: &str) -> Vec<(&str, &str)> {
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| (name.as_str(), value.as_str()));
        headers
            .filter(|(name, _)| name.starts_with(start))
            .collect()
    }
}

#[derive(Default)]
struct Shared {
    tools: Vec<Value>,
    /// Each tool is on a page of its own.
    pages: bool,
    /// Method, status, content type and body of responses that replace results.
    replies: Vec<(String, u16, String, String)>,
    seen: Vec<Seen>,
}

impl HttpUpstream {
    pub(crate) fn start(tools: &Value) -> HttpUpstream {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listen = tokio::net::TcpListener::bind(("127.0.0.1", 0));
        let listener = runtime.block_on(listen).unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let shared: Arc<Mutex<Shared>> = Arc::default();
        let no_stream = async || StatusCode::METHOD_NOT_ALLOWED;
        let router = Router::new()
            .route("/mcp", post(mcp).get(no_stream).delete(no_stream))
            .with_state(Arc::clone(&shared));
        runtime.spawn(async { axum::serve(listener, router).await });
        let upstream = HttpUpstream {
            url,
            shared,
            _runtime: runtime,
        };
        upstream.set_tools(tools);
        upstream
    }

    /// A configuration with this server.
    pub(crate) fn config(&self) -> Value {
        json!({"mcpServers": {"box": {"url": self.url}}})
    }

    /// Changes the tool list.
    pub(crate) fn set_tools(&self, tools: &Value) {
        self.shared().tools = tools.as_array().unwrap().clone();
    }

    /// Lists one tool per page.
    pub(crate) fn in_pages(self) -> HttpUpstream {
        self.shared().pages = true;
        self
    }

    /// Answers each request of a method with this response.
    pub(crate) fn answers_with(&self, method: &str, status: u16, kind: &str, body: &str) {
        let reply = (method.into(), status, kind.into(), body.into());
        self.shared().replies.insert(0, reply);
    }

    /// The calls of a tool that have arrived.
    pub(crate) fn calls(&self, tool: &str) -> Vec<Seen> {
        let mut seen = self.shared().seen.clone();
        seen.retain(|seen| {
            seen.body["method"] == "tools/call" && seen.body["params"]["name"] == tool
        });
        seen
    }

    /// The requests of a method that have arrived.
    pub(crate) fn requests(&self, method: &str) -> Vec<Seen> {
        let mut seen = self.shared().seen.clone();
        seen.retain(|seen| seen.body["method"] == method);
        seen
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }
}

async fn mcp(
    State(shared): State<Arc<Mutex<Shared>>>,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Response {
    let mut shared = shared.lock().unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    let headers = headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        (name.as_str().to_owned(), value.into_owned())
    });
    shared.seen.push(Seen {
        headers: headers.collect(),
        path: uri.to_string(),
        body: body.clone(),
    });
    let method = body["method"].as_str().unwrap_or_default();
    if body.get("id").is_none() {
        return StatusCode::ACCEPTED.into_response();
    }
    let mut replies = shared.replies.iter();
    if let Some((_, status, kind, body)) = replies.find(|(name, ..)| name == method) {
        let status = StatusCode::from_u16(*status).unwrap();
        return (status, [(CONTENT_TYPE, kind.clone())], body.clone()).into_response();
    }
    let params = &body["params"];
    let result = match method {
        "initialize" => json!({"protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}}, "serverInfo": {"name": "remote", "version": "0"}}),
        "tools/list" => shared.page(params["cursor"].as_str()),
        "tools/call" => {
            let text = format!("{} ran", params["name"].as_str().unwrap_or("?"));
            json!({"content": [{"type": "text", "text": text}]})
        }
        _ => json!({}),
    };
    let answer = json!({"jsonrpc": "2.0", "id": body["id"], "result": result});
    ([(CONTENT_TYPE, "application/json")], answer.to_string()).into_response()
}

impl Shared {
    fn page(&self, cursor: Option<&str>) -> Value {
        if !self.pages {
            return json!({"tools": self.tools});
        }
        let page: usize = cursor.map_or(0, |cursor| cursor.parse().unwrap());
        let mut result = json!({"tools": self.tools.get(page..page + 1)});
        if page + 1 < self.tools.len() {
            result["nextCursor"] = json!((page + 1).to_string());
        }
        result
    }
}
