//! A fake of an ntfy server over HTTP on loopback, where everyone may write and one topic is read with a token only.
//!
//! Written from <https://docs.ntfy.sh/publish/> ("Publish as JSON", "Limitations"), <https://docs.ntfy.sh/subscribe/api/>
//! and <https://docs.ntfy.sh/config/#access-control>. It refuses what the documentation does not allow. What is right
//! for us is decided in the tests.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Http, OddServer, Request, eventually, response};

/// The topic that people read.
pub(crate) const TOPIC: &str = "alerts-4711-probe";
/// The topic that only the token reads.
pub(crate) const REPLIES: &str = "replies-4711-probe";
/// The token of every fake.
pub(crate) const TOKEN: &str = "tk_FakeSecret0123456789abcdefgh";

/// "Messages can be up to 4,096 bytes long."
const MAX_MESSAGE: usize = 4_096;
/// A JSON document may have twice that.
const MAX_DOCUMENT: usize = 2 * MAX_MESSAGE;
/// "You can add up to three user actions to your notifications."
const MAX_ACTIONS: usize = 3;
/// The clock of the fake begins here. It goes on by a second with each message.
const EPOCH: usize = 1_790_000_000;

/// The service.
pub(crate) struct Ntfy {
    server: OddServer,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    topics: Mutex<Topics>,
    changed: Condvar,
}

#[derive(Default)]
struct Topics {
    /// All messages, and lines that a broken server would send.
    lines: Vec<Line>,
    /// Subscriptions that are older end.
    generation: usize,
    /// What the next attempts to publish are answered with.
    faults: Vec<u16>,
    /// Whether the token may not read the topic for replies.
    is_refusing: bool,
    /// Whether everyone may read the topic for replies.
    is_open: bool,
    /// How many subscriptions are open.
    readers: usize,
    /// What was wrong with requests.
    refused: Vec<String>,
}

struct Line {
    topic: String,
    text: String,
}

impl Ntfy {
    pub(crate) fn start() -> Ntfy {
        let state: Arc<State> = Arc::default();
        let serving = Arc::clone(&state);
        let server = OddServer::with_streams(move |request, stream| serving.serve(request, stream));
        Ntfy { server, state }
    }

    /// The engine's entry in a configuration, without buttons.
    pub(crate) fn engine(&self) -> Value {
        json!({"type": "ntfy", "url": self.server.url(&format!("/{TOPIC}"))})
    }

    /// The same with buttons. The token is in the variable `NTFY_TOKEN`.
    pub(crate) fn engine_with_buttons(&self) -> Value {
        let mut engine = self.engine();
        engine["token"] = json!("${NTFY_TOKEN}");
        engine["replyTopic"] = json!(REPLIES);
        engine
    }

    /// Returns every request so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.server.seen()
    }

    /// Returns what people got.
    pub(crate) fn messages(&self) -> Vec<Value> {
        let topics = self.state.topics.lock().unwrap();
        let lines = topics.lines.iter().filter(|line| line.topic == TOPIC);
        lines
            .map(|line| serde_json::from_str(&line.text).unwrap())
            .collect()
    }

    /// Waits for the message about a call with this mark.
    pub(crate) fn message(&self, mark: &str) -> Value {
        let mut found = None;
        eventually(mark, || {
            let mut all = self.messages().into_iter();
            found = all.find(|message| message["message"].as_str().unwrap().contains(mark));
            found.is_some()
        });
        found.unwrap()
    }

    /// What a phone does when somebody taps a button.
    pub(crate) fn tap(&self, message: &Value, label: &str) {
        let actions = message["actions"].as_array().unwrap();
        let action = actions.iter().find(|action| action["label"] == label);
        let action = action.unwrap();
        assert_eq!(
            (&action["action"], &action["method"]),
            (&json!("http"), &json!("POST"))
        );
        let url = action["url"].as_str().unwrap();
        let topic = url.strip_prefix(&self.server.url("/")).unwrap();
        self.write(topic, action["body"].as_str().unwrap());
    }

    /// Writes to a topic, as everyone may.
    pub(crate) fn write(&self, topic: &str, text: &str) {
        let http = Http::at(&format!("127.0.0.1:{}", self.server.port));
        let sent = http.send("POST", &format!("/{topic}"), &[], text);
        assert_eq!(sent.status, 200);
    }

    /// Sends a line to those who read the topic for replies, as no correct server does.
    pub(crate) fn send_line(&self, text: &str) {
        self.state.change(|topics| {
            topics.lines.push(Line {
                topic: REPLIES.to_owned(),
                text: text.to_owned(),
            });
        });
    }

    /// Ends all subscriptions.
    pub(crate) fn cuts(&self) {
        self.state.change(|topics| topics.generation += 1);
    }

    /// Lets the next attempt to publish fail.
    pub(crate) fn fails(&self, status: u16) {
        self.state.change(|topics| topics.faults.push(status));
    }

    /// Forbids the token to read the topic for replies.
    pub(crate) fn refuses_readers(&self, is_refusing: bool) {
        self.state.change(|topics| topics.is_refusing = is_refusing);
    }

    /// Lets everyone read the topic for replies.
    pub(crate) fn opens(&self) {
        self.state.change(|topics| topics.is_open = true);
    }

    /// Returns how many subscriptions are open.
    pub(crate) fn readers(&self) -> usize {
        self.state.topics.lock().unwrap().readers
    }

    /// Returns what was wrong with requests.
    pub(crate) fn refused(&self) -> Vec<String> {
        self.state.topics.lock().unwrap().refused.clone()
    }
}

/// Returns the code of a button.
pub(crate) fn code(message: &Value, label: &str) -> String {
    let actions = message["actions"].as_array().unwrap();
    let action = actions.iter().find(|action| action["label"] == label);
    action.unwrap()["body"].as_str().unwrap().to_owned()
}

impl State {
    fn change(&self, change: impl FnOnce(&mut Topics)) {
        change(&mut self.topics.lock().unwrap());
        self.changed.notify_all();
    }

    fn serve(&self, request: &Request, mut stream: TcpStream) {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let authorization = request.header("authorization");
        let is_ours = authorization == Some(&format!("Bearer {TOKEN}"));
        let answer = match (&*request.method, path) {
            // "401 unauthorized", whatever is asked for.
            _ if authorization.is_some() && !is_ours => error(401, 40_101, "unauthorized"),
            ("GET", "/v1/health") => response(200, &[], r#"{"healthy":true}"#),
            ("POST", "/") => self.publish_json(&request.text),
            ("POST", path) => self.publish(path.trim_start_matches('/'), &request.text),
            ("GET", path) if path == format!("/{REPLIES}/json") => {
                let topics = self.topics.lock().unwrap();
                let may_read = topics.is_open || (is_ours && !topics.is_refusing);
                drop(topics);
                if may_read {
                    return self.subscription(query, &mut stream);
                }
                error(403, 40_301, "forbidden")
            }
            _ => error(404, 40_401, "page not found"),
        };
        // The client may have gone.
        let _ = stream.write_all(answer.as_bytes());
    }

    fn publish_json(&self, text: &str) -> String {
        let fault = self.topics.lock().unwrap().faults.pop();
        if let Some(status) = fault {
            return error(status, u32::from(status) * 100, "the fault that was wanted");
        }
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        let topic = message["topic"].as_str().unwrap_or_default();
        let actions = message["actions"].as_array().map_or(0, Vec::len);
        let priority = message["priority"].as_u64();
        let is_right = text.len() <= MAX_DOCUMENT
            && is_topic(topic)
            && message["message"]
                .as_str()
                .is_some_and(|it| it.len() <= MAX_MESSAGE)
            && actions <= MAX_ACTIONS
            && priority.is_none_or(|priority| (1..=5).contains(&priority));
        if !is_right {
            self.change(|topics| topics.refused.push(text.to_owned()));
            return error(400, 40_024, "request body must be message JSON");
        }
        self.add(topic, message.clone())
    }

    fn publish(&self, topic: &str, text: &str) -> String {
        match is_topic(topic) {
            true => self.add(topic, json!({"message": text})),
            false => error(404, 40_401, "page not found"),
        }
    }

    fn add(&self, topic: &str, mut message: Value) -> String {
        self.change(|topics| {
            let count = topics.lines.len();
            message["id"] = json!(format!("id{count:08}"));
            message["time"] = json!(EPOCH + count);
            message["event"] = json!("message");
            message["topic"] = json!(topic);
            topics.lines.push(Line {
                topic: topic.to_owned(),
                text: message.to_string(),
            });
        });
        response(
            200,
            &[("content-type", "application/json")],
            &message.to_string(),
        )
    }

    fn subscription(&self, query: &str, stream: &mut TcpStream) {
        let mut topics = self.topics.lock().unwrap();
        let mine = topics.generation;
        let parameter = |name: &str| {
            let mut all = query.split('&').filter_map(|part| part.split_once('='));
            all.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        // Inclusive, as a server's own query is.
        let since = parameter("since").map(|time| time.parse::<usize>().unwrap());
        let mut next = since.map_or(topics.lines.len(), |time| time.saturating_sub(EPOCH));
        let open = json!({"id": "open", "time": EPOCH + topics.lines.len(), "event": "open", "topic": REPLIES});
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/x-ndjson; charset=utf-8\r\n\r\n";
        let is_poll = parameter("poll") == Some("1");
        let mut is_alive = stream.write_all(head.as_bytes()).is_ok();
        if !is_poll {
            is_alive &= stream.write_all(format!("{open}\n").as_bytes()).is_ok();
        }
        topics.readers += 1;
        while is_alive && topics.generation == mine {
            for line in topics.lines.get(next..).unwrap_or_default() {
                if line.topic == REPLIES {
                    is_alive &= stream
                        .write_all(format!("{}\n", line.text).as_bytes())
                        .is_ok();
                }
            }
            next = next.max(topics.lines.len());
            if is_poll {
                break;
            }
            // A sign of life, as a server sends it. It shows whether the client is there.
            let sign = json!({"id": "alive", "time": EPOCH + next, "event": "keepalive", "topic": REPLIES});
            is_alive &= stream.write_all(format!("{sign}\n").as_bytes()).is_ok();
            let waited = self.changed.wait_timeout(topics, Duration::from_millis(50));
            topics = waited.unwrap().0;
        }
        topics.readers -= 1;
    }
}

fn is_topic(text: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=64).contains(&text.len()) && text.bytes().all(is_part)
}

fn error(status: u16, code: u32, text: &str) -> String {
    let body = json!({"code": code, "http": status, "error": text});
    response(
        status,
        &[("content-type", "application/json")],
        &body.to_string(),
    )
}
