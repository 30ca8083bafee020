//! A fake of Slack over real HTTP and WebSocket on loopback: the Web API's methods that the proxy calls, and Socket Mode.
//!
//! Written from Slack's public documentation: <https://docs.slack.dev/apis/web-api/>,
//! <https://docs.slack.dev/apis/events-api/using-socket-mode>, <https://docs.slack.dev/reference/block-kit/> and
//! <https://docs.slack.dev/reference/interaction-payloads/>. It refuses what Slack refuses, such as texts that are too
//! long, and remembers that it did.

use std::collections::{HashMap, VecDeque};
use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocket};

use super::{OddServer, ProxyTest, Request, eventually, response};

pub(crate) const BOT_TOKEN: &str = "xoxb-1-FAKEBOTSECRET-7531";
pub(crate) const APP_TOKEN: &str = "xapp-1-A1-FAKEAPPSECRET-8642";
/// Another channel, by its name.
pub(crate) const NAMED_CHANNEL: &str = "#finance";
pub(crate) const CHANNEL: &str = "C024BE7LR";
pub(crate) const OLGA: &str = "U0OLGA001";
pub(crate) const ERIK: &str = "U0ERIK002";
pub(crate) const STRANGER: &str = "U0STRANGE";

/// How Slack answers the next calls of a method.
#[derive(Clone)]
pub(crate) enum Fault {
    /// With `ok: false` and this error.
    Error(&'static str),
    /// With this status, and these seconds in `Retry-After`.
    Status(u16, Option<u32>),
    /// After this long, as usual.
    Slow(Duration),
    /// With this body.
    Body(&'static str),
}

/// A message as it stands in the channel.
#[derive(Debug, Clone)]
pub(crate) struct Posted {
    pub(crate) ts: String,
    /// What was sent, with the last edit.
    pub(crate) body: Value,
    pub(crate) edits: usize,
}

#[derive(Default)]
struct State {
    calls: Vec<(String, Value)>,
    messages: Vec<Posted>,
    notes: Vec<(String, String)>,
    views: Vec<Value>,
    triggers: Vec<(String, Instant)>,
    sockets: Vec<Socket>,
    tickets: Vec<String>,
    acknowledged: Vec<String>,
    faults: HashMap<String, VecDeque<(usize, Fault)>>,
    refused: Vec<String>,
    scopes: Option<&'static str>,
    is_stranger_to_channel: bool,
    next: u64,
}

struct Socket {
    number: u64,
    stream: TcpStream,
    is_open: bool,
}

/// The fake.
#[derive(Clone)]
pub(crate) struct FakeSlack {
    server: Arc<OddServer>,
    state: Arc<Mutex<State>>,
}

impl FakeSlack {
    pub(crate) fn start() -> FakeSlack {
        let state: Arc<Mutex<State>> = Arc::default();
        let kept = Arc::clone(&state);
        let server = OddServer::with_streams(move |request, stream| {
            serve(&kept, request, stream);
        });
        FakeSlack {
            server: Arc::new(server),
            state,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The engine's options, as they stand in a configuration.
    pub(crate) fn options(&self) -> Value {
        json!({
            "botToken": BOT_TOKEN,
            "appToken": APP_TOKEN,
            "channel": CHANNEL,
            "approvers": [OLGA, ERIK],
            "apiUrl": self.server.url("/api"),
        })
    }

    /// The engine for a configuration file that others may read, with some options changed.
    pub(crate) fn engine(&self, changed: &Value) -> Value {
        let mut engine = self.options();
        engine["type"] = json!("slack");
        engine["botToken"] = json!("${SLACK_BOT}");
        engine["appToken"] = json!("${SLACK_APP}");
        for (key, value) in changed.as_object().unwrap() {
            engine[key] = value.clone();
        }
        engine
    }

    /// A proxy with this engine, some options of which are changed, and then the inbox.
    pub(crate) fn proxy(&self, changed: &Value) -> ProxyTest {
        let section =
            json!({"engines": [self.engine(changed), "inbox"], "approvalRetryAttempts": 0});
        ProxyTest::with_inbox()
            .env("SLACK_BOT", BOT_TOKEN)
            .env("SLACK_APP", APP_TOKEN)
            .section(section)
    }

    // What the test decides.

    /// Answers the next `times` calls of a method so.
    pub(crate) fn fault(&self, method: &str, times: usize, fault: Fault) {
        let mut state = self.state();
        let faults = state.faults.entry(method.to_owned()).or_default();
        faults.push_back((times, fault));
    }

    pub(crate) fn scopes(&self, scopes: &'static str) {
        self.state().scopes = Some(scopes);
    }

    /// Nobody has invited the app to the channel.
    pub(crate) fn leave_channel(&self) {
        self.state().is_stranger_to_channel = true;
    }

    /// A person deletes a message.
    pub(crate) fn delete(&self, card: &Posted) {
        self.state()
            .messages
            .retain(|message| message.ts != card.ts);
    }

    // What the proxy did.

    /// The bodies of all calls of a method.
    pub(crate) fn calls(&self, method: &str) -> Vec<Value> {
        let state = self.state();
        let calls = state.calls.iter().filter(|(name, _)| name == method);
        calls.map(|(_, body)| body.clone()).collect()
    }

    /// Everything that ever left the proxy.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.server.seen()
    }

    /// What Slack would have refused.
    pub(crate) fn refused(&self) -> Vec<String> {
        self.state().refused.clone()
    }

    pub(crate) fn messages(&self) -> Vec<Posted> {
        self.state().messages.clone()
    }

    /// Waits for the question with this text.
    pub(crate) fn card(&self, mark: &str) -> Posted {
        let mut found = None;
        eventually("the question is in the channel", || {
            let mut messages = self.messages();
            messages.retain(|it| it.body.get("thread_ts").is_none());
            let with_mark = |it: &Posted| it.body.to_string().contains(mark);
            found = messages.into_iter().find(with_mark);
            found.is_some()
        });
        found.unwrap()
    }

    /// The message as it stands now.
    pub(crate) fn now(&self, card: &Posted) -> Posted {
        let messages = self.messages();
        let message = messages.into_iter().find(|it| it.ts == card.ts);
        message.expect("the message is still there")
    }

    /// Waits until a message has no buttons that decide, and returns its text.
    pub(crate) fn settled(&self, card: &Posted) -> String {
        eventually("the message is settled", || {
            let now = self.now(card);
            now.edits > 0
                && buttons(&now).is_empty()
                && !now.body.to_string().contains("buttons appear")
        });
        self.now(card).body.to_string()
    }

    /// Waits until somebody is told something with this text.
    pub(crate) fn told(&self, user: &str, text: &str) {
        eventually(text, || {
            self.notes(user).iter().any(|note| note.contains(text))
        });
    }

    pub(crate) fn notes(&self, user: &str) -> Vec<String> {
        let state = self.state();
        let notes = state.notes.iter().filter(|(to, _)| to == user);
        notes.map(|(_, text)| text.clone()).collect()
    }

    pub(crate) fn live(&self) -> usize {
        self.state().sockets.iter().filter(|it| it.is_open).count()
    }

    /// How many connections there were in all.
    pub(crate) fn opened(&self) -> usize {
        self.state().sockets.len()
    }

    pub(crate) fn is_acknowledged(&self, envelope: &str) -> bool {
        self.state().acknowledged.iter().any(|it| it == envelope)
    }

    // What people do.

    /// Waits for a connection, and sends something to the newest, as Slack does to any one.
    pub(crate) fn send(&self, frame: &Value) {
        eventually("a connection", || self.live() > 0);
        let numbers = self.open_sockets();
        self.send_to(*numbers.last().unwrap(), frame);
    }

    /// The numbers of the open connections, oldest first.
    pub(crate) fn open_sockets(&self) -> Vec<u64> {
        let state = self.state();
        let open = state.sockets.iter().filter(|it| it.is_open);
        open.map(|it| it.number).collect()
    }

    pub(crate) fn send_to(&self, number: u64, frame: &Value) {
        self.send_text_to(number, &frame.to_string());
    }

    pub(crate) fn send_text_to(&self, number: u64, text: &str) {
        let state = self.state();
        let socket = state.sockets.iter().find(|it| it.number == number);
        let stream = socket.unwrap().stream.try_clone().unwrap();
        // It keeps no state between messages.
        let mut writer = WebSocket::from_raw_socket(stream, Role::Server, None);
        let _ = writer.send(Message::text(text));
    }

    /// Closes a connection without a word.
    pub(crate) fn cut(&self, number: u64) {
        let state = self.state();
        let socket = state.sockets.iter().find(|it| it.number == number);
        let _ = socket.unwrap().stream.shutdown(Shutdown::Both);
    }

    /// Sends a payload, and returns the envelope's id.
    pub(crate) fn deliver(&self, payload: &Value) -> String {
        let id = self.envelope_id();
        self.send(&envelope(&id, payload));
        id
    }

    pub(crate) fn envelope_id(&self) -> String {
        let mut state = self.state();
        state.next += 1;
        format!("envelope-{}", state.next)
    }

    /// What Slack sends when somebody clicks the button with this text.
    pub(crate) fn click_payload(&self, card: &Posted, button: &str, user: &str) -> Value {
        let found = buttons(card)
            .into_iter()
            .find(|it| it["text"]["text"] == button);
        let found = found.unwrap_or_else(|| panic!("no {button}: {}", card.body));
        let mut state = self.state();
        state.next += 1;
        let trigger = format!("trigger.{}", state.next);
        state.triggers.push((trigger.clone(), Instant::now()));
        json!({
            "type": "block_actions",
            "user": {"id": user, "username": "someone", "name": "someone", "team_id": "T1"},
            "api_app_id": "A1",
            "token": "verification",
            "container": {"type": "message", "message_ts": card.ts, "channel_id": CHANNEL},
            "trigger_id": trigger,
            "team": {"id": "T1", "domain": "fake"},
            "channel": {"id": CHANNEL, "name": "approvals"},
            "message": {"type": "message", "ts": card.ts, "blocks": card.body["blocks"]},
            "state": {"values": {}},
            "response_url": self.server.url("/actions/1"),
            "actions": [{
                "action_id": found["action_id"], "block_id": "b1", "type": "button",
                "text": found["text"], "value": found["value"], "action_ts": "1.2",
            }],
        })
    }

    pub(crate) fn click(&self, card: &Posted, button: &str, user: &str) -> String {
        let payload = self.click_payload(card, button, user);
        self.deliver(&payload)
    }

    /// Waits for the modal that a click opens, and returns it.
    pub(crate) fn modal(&self, after: usize) -> Value {
        eventually("the modal", || self.state().views.len() > after);
        self.state().views[after].clone()
    }

    pub(crate) fn modals(&self) -> usize {
        self.state().views.len()
    }

    /// Clicks Deny and gives a reason.
    pub(crate) fn deny(&self, card: &Posted, reason: &str, user: &str) {
        let before = self.modals();
        self.click(card, "Deny", user);
        let view = self.modal(before);
        self.submit(&view, reason, user);
    }

    pub(crate) fn submit(&self, view: &Value, reason: &str, user: &str) -> String {
        let input = view["blocks"].as_array().unwrap();
        let input = input.iter().find(|block| block["type"] == "input").unwrap();
        let (block, action) = (&input["block_id"], &input["element"]["action_id"]);
        let mut view = view.clone();
        view["state"] = json!({"values": {block.as_str().unwrap(): {action.as_str().unwrap():
            {"type": "plain_text_input", "value": reason}}}});
        self.deliver(&json!({
            "type": "view_submission",
            "team": {"id": "T1", "domain": "fake"},
            "user": {"id": user, "username": "someone", "name": "someone", "team_id": "T1"},
            "api_app_id": "A1",
            "view": view,
            "response_urls": [],
        }))
    }
}

pub(crate) fn envelope(id: &str, payload: &Value) -> Value {
    json!({"envelope_id": id, "type": "interactive", "accepts_response_payload": false, "payload": payload})
}

/// The buttons of a message that decide.
pub(crate) fn buttons(message: &Posted) -> Vec<Value> {
    let blocks = message.body["blocks"].as_array().unwrap();
    let actions = blocks.iter().filter(|block| block["type"] == "actions");
    let all = actions.flat_map(|block| block["elements"].as_array().unwrap().clone());
    all.filter(|button| button.get("url").is_none()).collect()
}

/// The links of a message, from its buttons.
pub(crate) fn links(message: &Posted) -> Vec<String> {
    let blocks = message.body["blocks"].as_array().unwrap();
    let actions = blocks.iter().filter(|block| block["type"] == "actions");
    let all = actions.flat_map(|block| block["elements"].as_array().unwrap().clone());
    all.filter_map(|button| Some(button.get("url")?.as_str()?.to_owned()))
        .collect()
}

/// All texts of a message that Slack reads as mrkdwn.
pub(crate) fn mrkdwn(body: &Value) -> String {
    fn collect(value: &Value, all: &mut String) {
        match value {
            Value::Object(object) if object.get("type") == Some(&json!("mrkdwn")) => {
                all.push_str(object["text"].as_str().unwrap());
                all.push('\n');
            }
            Value::Object(object) => object.values().for_each(|value| collect(value, all)),
            Value::Array(items) => items.iter().for_each(|value| collect(value, all)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut all = body["text"].as_str().unwrap_or_default().to_owned() + "\n";
    collect(&body["blocks"], &mut all);
    all
}

fn serve(state: &Mutex<State>, request: &Request, mut stream: TcpStream) {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let method = match path {
        "/link/" => "link",
        path => path.trim_start_matches("/api/"),
    };
    let body: Value = match &*request.method {
        "POST" => serde_json::from_str(&request.text).unwrap_or(Value::Null),
        _ => json!(query),
    };
    let fault = {
        let mut state = state.lock().unwrap();
        state.calls.push((method.to_owned(), body.clone()));
        let faults = state.faults.entry(method.to_owned()).or_default();
        let fault = faults.front_mut().map(|(times, fault)| {
            *times -= 1;
            (*times == 0, fault.clone())
        });
        if fault.as_ref().is_some_and(|(is_last, _)| *is_last) {
            faults.pop_front();
        }
        fault.map(|(_, fault)| fault)
    };
    if method == "link" && fault.is_none() {
        return serve_socket(state, request, query, stream);
    }
    let json = [("content-type", "application/json; charset=utf-8")];
    let error = |error: &str| {
        response(
            200,
            &json,
            &json!({"ok": false, "error": error}).to_string(),
        )
    };
    let text = match fault {
        Some(Fault::Error(name)) => error(name),
        Some(Fault::Status(status, wait)) => {
            let wait = wait.map(|wait| wait.to_string());
            let wait = wait.as_deref().map(|wait| ("retry-after", wait));
            let headers: Vec<_> = wait.into_iter().collect();
            response(status, &headers, "{}")
        }
        Some(Fault::Body(body)) => response(200, &json, body),
        slow => {
            if let Some(Fault::Slow(pause)) = slow {
                std::thread::sleep(pause);
            }
            let port = stream.local_addr().unwrap().port();
            let mut state = state.lock().unwrap();
            match answer(&mut state, method, request, &body, port) {
                Ok(mut answer) => {
                    answer["ok"] = json!(true);
                    let scopes = state.scopes.unwrap_or("chat:write,channels:read");
                    let headers = [json[0], ("x-oauth-scopes", scopes)];
                    response(200, &headers, &answer.to_string())
                }
                Err(name) => {
                    state.refused.push(format!("{method}: {name}: {body}"));
                    error(name)
                }
            }
        }
    };
    let _ = stream.write_all(text.as_bytes());
}

fn answer(
    state: &mut State,
    method: &str,
    request: &Request,
    body: &Value,
    port: u16,
) -> Result<Value, &'static str> {
    let token = match method {
        "apps.connections.open" => APP_TOKEN,
        _ => BOT_TOKEN,
    };
    if request.header("authorization") != Some(&format!("Bearer {token}")) {
        return Err("invalid_auth");
    }
    state.next += 1;
    let ts = format!("1790000000.{:06}", state.next);
    match method {
        "auth.test" => Ok(json!({"team": "Fake", "user": "approvals", "user_id": "U0BOT"})),
        "conversations.info" => Ok(json!({"channel": {
            "id": CHANNEL, "name": "approvals", "is_member": !state.is_stranger_to_channel,
        }})),
        "apps.connections.open" => {
            let ticket = format!("TICKETSECRET{}", state.next);
            state.tickets.push(ticket.clone());
            Ok(json!({"url": format!("ws://127.0.0.1:{port}/link/?ticket={ticket}&app_id=A1")}))
        }
        "chat.postMessage" => {
            check(body)?;
            // By id or by name; a person's id stands for the direct messages with them.
            let id = match body["channel"].as_str() {
                Some(CHANNEL) => CHANNEL,
                Some(NAMED_CHANNEL) => "C0FINANCE",
                Some(OLGA) => "D0OLGA",
                _ => return Err("channel_not_found"),
            };
            state.messages.push(Posted {
                ts: ts.clone(),
                body: body.clone(),
                edits: 0,
            });
            Ok(json!({"channel": id, "ts": ts, "message": body}))
        }
        "chat.update" => {
            check(body)?;
            // Here, only an id will do.
            if [json!(NAMED_CHANNEL), json!(OLGA)].contains(&body["channel"]) {
                return Err("channel_not_found");
            }
            let message = state.messages.iter_mut().find(|it| body["ts"] == it.ts);
            let message = message.ok_or("message_not_found")?;
            message.body["text"] = body["text"].clone();
            message.body["blocks"] = body["blocks"].clone();
            message.edits += 1;
            Ok(json!({"channel": CHANNEL, "ts": message.ts}))
        }
        "chat.postEphemeral" => {
            check(body)?;
            let user = body["user"].as_str().ok_or("user_not_in_channel")?;
            let text = body["text"].as_str().ok_or("no_text")?;
            state.notes.push((user.to_owned(), text.to_owned()));
            Ok(json!({"message_ts": ts}))
        }
        "views.open" => {
            let trigger = body["trigger_id"].as_str().ok_or("invalid_arguments")?;
            let at = state
                .triggers
                .iter()
                .position(|(known, _)| known == trigger);
            let (_, opened) = state.triggers.remove(at.ok_or("invalid_trigger_id")?);
            if opened.elapsed() > Duration::from_secs(3) {
                return Err("expired_trigger_id");
            }
            let view = &body["view"];
            let fits = |key: &str| {
                view[key]["text"]
                    .as_str()
                    .is_some_and(|text| text.len() <= 24)
            };
            let metadata = view["private_metadata"].as_str().unwrap_or_default();
            if view["type"] != "modal"
                || !fits("title")
                || !fits("submit")
                || metadata.len() > 3_000
            {
                return Err("invalid_arguments");
            }
            state.views.push(view.clone());
            Ok(json!({"view": view}))
        }
        _ => Err("unknown_method"),
    }
}

/// The limits of Block Kit, as its reference gives them.
fn check(body: &Value) -> Result<(), &'static str> {
    let length = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
    let blocks = body["blocks"].as_array().ok_or("invalid_blocks_format")?;
    if blocks.len() > 50 {
        return Err("invalid_blocks");
    }
    let mut total = 0;
    for block in blocks {
        let is_right = match block["type"].as_str() {
            Some("section") => (1..=3_000).contains(&length(&block["text"]["text"])),
            Some("context") => {
                let elements = block["elements"].as_array().map_or(0, Vec::len);
                (1..=10).contains(&elements)
            }
            Some("actions") => block["elements"].as_array().is_some_and(|elements| {
                elements.iter().all(|button| {
                    let confirm = &button["confirm"];
                    (1..=75).contains(&length(&button["text"]["text"]))
                        && button["text"]["type"] == "plain_text"
                        && length(&button["value"]) <= 2_000
                        && length(&confirm["title"]["text"]) <= 100
                        && length(&confirm["text"]["text"]) <= 300
                        && length(&confirm["confirm"]["text"]) <= 30
                        && length(&confirm["deny"]["text"]) <= 30
                })
            }),
            _ => false,
        };
        if !is_right {
            return Err("invalid_blocks");
        }
        total += block.to_string().chars().count();
    }
    // Not documented, but known from its error.
    match total > 13_200 {
        true => Err("msg_blocks_too_long"),
        false => Ok(()),
    }
}

fn serve_socket(state: &Mutex<State>, request: &Request, query: &str, mut stream: TcpStream) {
    let number = {
        let mut state = state.lock().unwrap();
        let ticket = query
            .split('&')
            .find_map(|part| part.strip_prefix("ticket="));
        let known = state
            .tickets
            .iter()
            .position(|known| Some(known.as_str()) == ticket);
        let Some(known) = known else {
            let _ = stream.write_all(response(403, &[], "").as_bytes());
            return;
        };
        // It works once.
        state.tickets.remove(known);
        state.next += 1;
        state.next
    };
    let key = request.header("sec-websocket-key").unwrap_or_default();
    let accepted = derive_accept_key(key.as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accepted}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let kept = stream.try_clone().unwrap();
    // Refuses frames that are not masked.
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    let hello = json!({"type": "hello", "num_connections": 1, "connection_info": {"app_id": "A1"}});
    let _ = socket.send(Message::text(hello.to_string()));
    state.lock().unwrap().sockets.push(Socket {
        number,
        stream: kept,
        is_open: true,
    });
    while let Ok(message) = socket.read() {
        let Message::Text(text) = message else {
            continue;
        };
        let frame: Value = serde_json::from_str(text.as_str()).unwrap_or_default();
        if let Some(envelope) = frame["envelope_id"].as_str() {
            let mut state = state.lock().unwrap();
            state.acknowledged.push(envelope.to_owned());
        }
    }
    let mut state = state.lock().unwrap();
    let socket = state.sockets.iter_mut().find(|it| it.number == number);
    socket.unwrap().is_open = false;
}
