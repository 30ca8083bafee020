//! Sessions over links, with tokio's time paused. The relay works the same over pipes.

mod ends;
mod log;
mod notes;
mod pressure;

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::{Ended, Ends, Session};
use crate::evidence::{Ledger, LedgerFile};
use crate::gate::{Gate, Settings};
use crate::mcp::frame::{Frame, FrameBuffer};
use crate::policy::{Mode, Policy, Rules};
use crate::relay::Sideband;
use crate::sys::clock::Clock;
use crate::transport::{
    Attempt, LinkReader, LinkWriter, Note, RemoteEvent, RemoteTask, Upstream, link_in, link_out,
};

const MAX_LINE: usize = 1024 * 1024;

/// A client and a server, and a session between them.
struct World {
    /// What the client sends. `None` once it has closed.
    client: Option<Arc<LinkWriter>>,
    /// What the client reads.
    at_client: Reader,
    /// What the server sends.
    server: Arc<LinkWriter>,
    /// What the server reads.
    at_server: Reader,
    /// Ends the server.
    end_server: Option<oneshot::Sender<&'static str>>,
    /// The server's events that are not messages.
    events: mpsc::UnboundedSender<RemoteEvent>,
    signal: Option<oneshot::Sender<i32>>,
    session: JoinHandle<Ended>,
    sideband: Arc<Sideband>,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

/// How a world is set up.
struct Setup {
    mode: Mode,
    best_effort: bool,
    over_http: bool,
    settings: Settings,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            mode: Mode::None,
            best_effort: false,
            over_http: false,
            settings: Settings::default(),
        }
    }
}

impl World {
    /// A session in which every call passes.
    fn passing() -> World {
        World::of(Setup::default())
    }

    /// A session in which a person is asked about every call.
    fn asking() -> World {
        World::of(Setup {
            mode: Mode::All,
            ..Setup::default()
        })
    }

    fn of(setup: Setup) -> World {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("audit.jsonl");
        let ledger = Ledger::file(LedgerFile::open(&log).unwrap());
        let rules = Rules {
            mode: setup.mode,
            ..Rules::default()
        };
        let settings = Settings {
            audit_best_effort: setup.best_effort,
            ..setup.settings
        };
        let gate = Gate::new(settings, Policy::new(rules).unwrap(), "s", [7; 32]);
        let (client, from_client) = link_in();
        let (at_client, to_client) = link_out();
        let (server, from_upstream) = link_in();
        let (at_server, to_upstream) = link_out();
        let (end_server, server_ends) = oneshot::channel();
        let task = tokio::spawn(async {
            match server_ends.await {
                Ok(why) => why,
                Err(_) => std::future::pending().await,
            }
        });
        let (events, remote_events) = mpsc::unbounded_channel();
        let sideband = Arc::new(Sideband::default());
        let session = Session::new(
            gate,
            Clock::start(),
            ledger,
            setup.best_effort,
            Ends {
                from_client,
                to_client,
                from_upstream,
                to_upstream,
                process: Upstream::Remote(RemoteTask::new(
                    task,
                    remote_events,
                    Arc::new(OnceLock::new()),
                )),
                engines: None,
            },
            MAX_LINE,
            setup.over_http.then(|| Arc::clone(&sideband)),
        );
        let (signal, signalled) = oneshot::channel();
        let session = tokio::spawn(session.run(async {
            match signalled.await {
                Ok(number) => number,
                Err(_) => std::future::pending().await,
            }
        }));
        World {
            client: Some(Arc::new(client)),
            at_client: Reader::new(at_client),
            server: Arc::new(server),
            at_server: Reader::new(at_server),
            end_server: Some(end_server),
            events,
            signal: Some(signal),
            session,
            sideband,
            log,
            _folder: folder,
        }
    }

    async fn client_says(&self, message: Value) {
        self.client_sends(&message.to_string(), None).await;
    }

    async fn client_sends(&self, line: &str, note: Option<Note>) {
        let client = self.client.as_ref().unwrap();
        client.send_line(line, note).await.unwrap();
    }

    async fn server_says(&self, message: Value) {
        self.server_sends(&message.to_string(), None).await;
    }

    async fn server_sends(&self, line: &str, note: Option<Note>) {
        self.server.send_line(line, note).await.unwrap();
    }

    /// The handshake of a client that shows forms.
    async fn begins(&mut self) {
        self.client_says(
            json!({"jsonrpc": "2.0", "id": "init", "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}},
            "clientInfo": {"name": "c", "version": "1"}}}),
        )
        .await;
        self.at_server.expect("initialize").await;
        self.server_says(json!({"jsonrpc": "2.0", "id": "init", "result": {
            "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
            "serverInfo": {"name": "u", "version": "1"}}}))
            .await;
        self.at_client.expect_answer("init").await;
        self.client_says(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
        self.at_server.expect("notifications/initialized").await;
    }

    /// Answers the gate's own `tools/list`.
    async fn server_lists_tools(&mut self) {
        let list = self.at_server.expect("tools/list").await;
        self.server_says(json!({"jsonrpc": "2.0", "id": list["id"], "result": {
            "tools": [{"name": "wipe", "inputSchema": {"type": "object"}}]}}))
            .await;
    }

    /// The client calls a tool that a person is asked about. Returns the prompt.
    async fn is_asked(&mut self, id: u64) -> Value {
        self.client_says(call(id)).await;
        self.server_lists_tools().await;
        self.at_client.expect("elicitation/create").await
    }

    fn client_closes(&mut self) {
        self.client.take().unwrap().close();
    }

    fn server_ends(&mut self) {
        let why = "closed the connection";
        self.end_server.take().unwrap().send(why).unwrap();
    }

    fn is_signalled(&mut self) {
        self.signal.take().unwrap().send(15).unwrap();
    }

    /// Waits until the session ends. Returns how it ended, and how long that took.
    async fn ends(&mut self) -> (Ended, Duration) {
        let start = Instant::now();
        let ended = timeout(Duration::from_secs(3_600), &mut self.session).await;
        let ended = ended.expect("the session ends").unwrap();
        (ended, start.elapsed())
    }

    /// The lines of the log.
    fn logged(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.log).unwrap();
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().unwrap()
    }

    /// The decisions in the log: each with the request's id, the decision, and whether the call was forwarded.
    fn decisions(&self) -> Vec<(Value, String, bool)> {
        let lines = self.logged().into_iter();
        let lines = lines.filter(|line| line.get("tool").is_some());
        let decision_of = |line: Value| {
            let decision = line["decision"].as_str().unwrap().to_owned();
            let forwarded = line["forwarded"].as_bool().unwrap();
            (line["request_id"].clone(), decision, forwarded)
        };
        lines.map(decision_of).collect()
    }

    /// Makes the log unwritable until the returned file is dropped.
    fn locks_log(&self) -> File {
        let file = File::open(&self.log).unwrap();
        file.lock().unwrap();
        file
    }
}

/// Reads lines.
struct Reader {
    link: LinkReader,
    frames: FrameBuffer,
}

impl Reader {
    fn new(link: LinkReader) -> Reader {
        Reader {
            link,
            frames: FrameBuffer::new(MAX_LINE),
        }
    }

    /// The next line and its note; `None` at the end.
    async fn next(&mut self) -> Option<(String, Option<Note>)> {
        loop {
            if let Some(frame) = self.frames.next_frame() {
                let Frame::Line(range) = frame else {
                    panic!("an overlong line");
                };
                let note = self.link.take_note(self.frames.position());
                let line = String::from_utf8(self.frames.line(&range).to_vec());
                return Some((line.unwrap(), note));
            }
            self.frames.compact();
            if self.link.read(self.frames.space()).await == 0 {
                return None;
            }
        }
    }

    /// The next line, which comes within a minute.
    async fn line(&mut self) -> (String, Option<Note>) {
        let next = timeout(Duration::from_secs(60), self.next()).await;
        next.expect("a line comes").expect("it is not the end")
    }

    async fn message(&mut self) -> Value {
        serde_json::from_str(&self.line().await.0).unwrap()
    }

    /// The next line is a message with this method.
    async fn expect(&mut self, method: &str) -> Value {
        let message = self.message().await;
        assert_eq!(message["method"], method, "{message}");
        message
    }

    /// The next line answers this request.
    async fn expect_answer(&mut self, id: impl Into<Value>) -> Value {
        let message = self.message().await;
        assert_eq!(message["id"], id.into(), "{message}");
        assert!(message.get("method").is_none(), "{message}");
        message
    }

    /// Nothing comes for a while.
    async fn expect_nothing(&mut self) {
        let next = timeout(Duration::from_millis(100), self.next()).await;
        assert!(next.is_err(), "{next:?}");
    }

    /// All lines up to the end.
    async fn rest(&mut self) -> Vec<Value> {
        let mut rest = Vec::new();
        while let Some((line, _)) = self.next().await {
            rest.push(serde_json::from_str(&line).unwrap());
        }
        rest
    }
}

/// A call that a client of a legacy revision makes.
fn call(id: u64) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": {"name": "wipe", "arguments": {"n": id}}})
}

fn result(id: u64) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}})
}

fn yes(prompt: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": prompt["id"],
        "result": {"action": "accept", "content": {"approved": true}}})
}

/// A meaningless notification of at least `length` bytes.
fn chatter(number: usize, length: usize) -> String {
    let padding = "x".repeat(length);
    format!(r#"{{"jsonrpc":"2.0","method":"m","params":{{"n":{number},"p":"{padding}"}}}}"#)
}

/// Writes up to `most` such notifications, until one is not taken within a minute. Returns how many were taken.
async fn floods(writer: &LinkWriter, length: usize, most: usize) -> usize {
    for number in 0..most {
        let line = chatter(number, length);
        let sending = writer.send_line(&line, None);
        if timeout(Duration::from_secs(60), sending).await.is_err() {
            return number;
        }
    }
    most
}
