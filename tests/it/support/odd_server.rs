//! An HTTP server whose responses a test writes byte by byte, to imitate odd real servers.
//!
//! It keeps every request, and can respond like an ordinary server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) text: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The JSON-RPC message in the body.
    pub(crate) fn message(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// Returns an ordinary server's answer, or `None` if the message needs none.
    pub(crate) fn answer(&self) -> Option<Value> {
        let message = self.message();
        message.get("id")?;
        let params = &message["params"];
        let result = match message["method"].as_str()? {
            "initialize" => json!({"protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}}, "serverInfo": {"name": "odd", "version": "0"}}),
            "tools/list" => json!({"tools": [
                {"name": "read", "inputSchema": {"type": "object"},
                 "annotations": {"readOnlyHint": true}},
                {"name": "wipe", "inputSchema": {"type": "object"},
                 "annotations": {"destructiveHint": true}}]}),
            "tools/call" => {
                let text = format!("{} ran", params["name"].as_str()?);
                json!({"content": [{"type": "text", "text": text}]})
            }
            _ => json!({}),
        };
        Some(json!({"jsonrpc": "2.0", "id": message["id"], "result": result}))
    }
}

/// A response after which the connection closes.
pub(crate) fn response(status: u16, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("HTTP/1.1 {status} It\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    format!("{text}content-length: {}\r\n\r\n{body}", body.len())
}

/// Responds to a request like an ordinary server.
pub(crate) fn plain_response(request: &Request) -> String {
    match (&*request.method, request.answer()) {
        ("POST", Some(answer)) => response(
            200,
            &[("content-type", "application/json")],
            &answer.to_string(),
        ),
        ("POST", None) => response(202, &[], ""),
        _ => response(405, &[], ""),
    }
}

/// The server, on a port of the loopback address.
pub(crate) struct OddServer {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl OddServer {
    /// Responds to each request with the bytes that `respond` makes.
    pub(crate) fn start(respond: impl Fn(&Request) -> String + Send + Sync + 'static) -> OddServer {
        OddServer::with_streams(move |request, mut stream| {
            let _ = stream.write_all(respond(request).as_bytes());
        })
    }

    /// Hands each request over with its connection.
    pub(crate) fn with_streams(
        respond: impl Fn(&Request, TcpStream) + Send + Sync + 'static,
    ) -> OddServer {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (respond, kept) = (Arc::new(respond), Arc::clone(&seen));
        // The threads end with the test process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (respond, kept) = (Arc::clone(&respond), Arc::clone(&kept));
                thread::spawn(move || {
                    let stream = stream.unwrap();
                    if let Some(request) = read(&stream) {
                        kept.lock().unwrap().push(request.clone());
                        respond(&request, stream);
                    }
                });
            }
        });
        OddServer { port, seen }
    }

    /// A server of 2024-11-05: its stream at `/sse` names the endpoint for messages. `line_end` ends
    /// the stream's lines, and `otherwise` responds to all other requests.
    pub(crate) fn of_2024(
        line_end: &'static str,
        otherwise: impl Fn(&Request) -> String + Send + Sync + 'static,
    ) -> OddServer {
        OddServer::of_2024_that_answers(line_end, |answer| answer, otherwise)
    }

    /// The same, but `change` edits each answer.
    pub(crate) fn of_2024_that_answers(
        line_end: &'static str,
        change: impl Fn(Value) -> Value + Send + Sync + 'static,
        otherwise: impl Fn(&Request) -> String + Send + Sync + 'static,
    ) -> OddServer {
        let open: Mutex<Option<TcpStream>> = Mutex::default();
        OddServer::with_streams(move |request, mut stream| {
            let path = request
                .path
                .split('?')
                .next()
                .unwrap()
                .trim_end_matches('/');
            match (&*request.method, path) {
                ("GET", "/sse") => {
                    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\
                                content-type: text/event-stream\r\n\r\n";
                    let event = format!("event: endpoint{line_end}data: /messages?s=1{line_end}");
                    // A client that has the endpoint posts at once.
                    let mut open = open.lock().unwrap();
                    let _ = write!(stream, "{head}{event}{line_end}");
                    *open = Some(stream);
                }
                ("POST", "/messages") => {
                    let _ = stream.write_all(response(202, &[], "Accepted").as_bytes());
                    if let (Some(answer), Some(open)) =
                        (request.answer(), &mut *open.lock().unwrap())
                    {
                        let answer = change(answer);
                        let event = format!("event: message{line_end}data: {answer}{line_end}");
                        let _ = write!(open, "{event}{line_end}");
                    }
                }
                _ => {
                    let _ = stream.write_all(otherwise(request).as_bytes());
                }
            }
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// Counts the calls of a tool.
    pub(crate) fn calls(&self, tool: &str) -> usize {
        let is_call = |request: &&Request| {
            let message = request.message();
            message["method"] == "tools/call" && message["params"]["name"] == tool
        };
        self.seen().iter().filter(is_call).count()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request {
        method,
        path,
        headers,
        text: String::new(),
    };
    let length = request.header("content-length");
    let length = length.map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.text = String::from_utf8(body).ok()?;
    Some(request)
}
