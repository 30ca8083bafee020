//! A fake of Telegram's Bot API over HTTP on loopback, with one chat and people who press and reply.
//!
//! Written from <https://core.telegram.org/bots/api> (making requests, getUpdates, sendMessage, sendDocument, the
//! methods for editing, answerCallbackQuery, HTML style, ResponseParameters). It refuses what the documentation does not
//! allow. What is right for us is decided in the tests.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{OddServer, Request, eventually, response};

/// The chat of every fake.
pub(crate) const CHAT: i64 = -1_001_234_567_890;
/// A person whom the tests name as an approver.
pub(crate) const OLGA: i64 = 77_310_045;
/// Another one.
pub(crate) const BERT: i64 = 5_000_000_001;
/// A person whom they do not name.
pub(crate) const STRANGER: i64 = 99_999_999;

/// "1-4096 characters after entities parsing".
const MAX_TEXT: usize = 4_096;
/// "1-64 bytes".
const MAX_DATA: usize = 64;
/// "0-200 characters".
const MAX_ANSWER: usize = 200;

/// The service.
pub(crate) struct BotApi {
    server: OddServer,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    chat: Mutex<Conversation>,
    changed: Condvar,
    /// Called when a poll confirms an update.
    confirmed: Mutex<Option<Box<dyn Fn() + Send>>>,
}

#[derive(Default)]
struct Conversation {
    /// Empty if it was revoked.
    token: String,
    last_update: i64,
    last_message: i64,
    updates: VecDeque<(i64, Value)>,
    messages: BTreeMap<i64, Message>,
    answers: Vec<(String, String)>,
    /// What a method answers next, instead of doing anything.
    faults: HashMap<String, VecDeque<(u16, String)>>,
    polls: usize,
    /// How often a poll ended another one.
    conflicts: usize,
    /// The number of the poll that is held back.
    held: Option<usize>,
    /// What was wrong with requests.
    refused: Vec<String>,
    member: String,
}

/// A message of the bot.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    pub(crate) id: i64,
    /// As people read it.
    pub(crate) text: String,
    /// Its buttons: the text and the data.
    pub(crate) buttons: Vec<(String, String)>,
    /// The content of its file.
    pub(crate) document: Option<String>,
    pub(crate) is_edited: bool,
    /// The message that it replies to.
    pub(crate) reply_to: Option<i64>,
}

impl Message {
    /// Returns the data of the button whose text has this word.
    pub(crate) fn button(&self, word: &str) -> &str {
        let mut buttons = self.buttons.iter();
        let button = buttons.find(|(text, _)| text.contains(word));
        let (_, data) = button.unwrap_or_else(|| panic!("no button {word}: {self:?}"));
        data
    }
}

impl BotApi {
    pub(crate) fn start() -> BotApi {
        let state: Arc<State> = Arc::default();
        {
            let mut chat = state.chat.lock().unwrap();
            chat.token = BotApi::token();
            chat.last_update = 500_000;
            chat.last_message = 100;
            chat.member = "member".to_owned();
        }
        let serving = Arc::clone(&state);
        let server = OddServer::with_streams(move |request, stream| serving.serve(request, stream));
        BotApi { server, state }
    }

    /// The token of every fake's bot.
    pub(crate) fn token() -> String {
        "7000000001:AAFakeSecret-of_the_bot_0123456789abcd".to_owned()
    }

    /// The engine's entry in a configuration. The token is in the variable `TG_TOKEN`.
    pub(crate) fn engine(&self) -> Value {
        json!({"type": "telegram", "botToken": "${TG_TOKEN}", "chatId": CHAT, "approvers": [OLGA, BERT],
            "apiUrl": self.server.url("")})
    }

    /// Returns every request so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.server.seen()
    }

    /// Counts the requests of a method.
    pub(crate) fn calls(&self, method: &str) -> usize {
        let end = format!("/{method}");
        let seen = self.seen();
        seen.iter()
            .filter(|request| request.path.ends_with(&end))
            .count()
    }

    /// Lets the next call of a method fail.
    pub(crate) fn fails(&self, method: &str, status: u16, body: &str) {
        let mut chat = self.state.chat.lock().unwrap();
        let faults = chat.faults.entry(method.to_owned()).or_default();
        faults.push_back((status, body.to_owned()));
    }

    /// Refuses the token from now on.
    pub(crate) fn revokes(&self) {
        self.state.chat.lock().unwrap().token.clear();
        self.state.changed.notify_all();
    }

    /// Sets what the bot is in the chat.
    pub(crate) fn bot_is(&self, status: &str) {
        status.clone_into(&mut self.state.chat.lock().unwrap().member);
    }

    /// Another program polls with the same token.
    pub(crate) fn somebody_else_polls(&self) {
        let mut chat = self.state.chat.lock().unwrap();
        chat.polls += 1;
        chat.held = None;
        self.state.changed.notify_all();
    }

    /// Waits until a poll is held back.
    pub(crate) fn is_polled(&self) {
        eventually("a poll", || self.state.chat.lock().unwrap().held.is_some());
    }

    /// Calls `look` whenever a poll confirms an update.
    pub(crate) fn when_confirmed(&self, look: impl Fn() + Send + 'static) {
        *self.state.confirmed.lock().unwrap() = Some(Box::new(look));
    }

    /// Waits until the poll that was held back was answered.
    pub(crate) fn has_delivered(&self) {
        eventually("an answer to a poll", || {
            self.state.chat.lock().unwrap().held.is_none()
        });
    }

    pub(crate) fn conflicts(&self) -> usize {
        self.state.chat.lock().unwrap().conflicts
    }

    /// What the service found wrong.
    pub(crate) fn refused(&self) -> Vec<String> {
        self.state.chat.lock().unwrap().refused.clone()
    }

    pub(crate) fn messages(&self) -> Vec<Message> {
        let chat = self.state.chat.lock().unwrap();
        chat.messages.values().cloned().collect()
    }

    /// Waits for a message with this text that is no document, and returns it.
    pub(crate) fn message(&self, text: &str) -> Message {
        let mut found = None;
        eventually(text, || {
            let mut messages = self.messages().into_iter();
            found = messages.find(|it| it.document.is_none() && it.text.contains(text));
            found.is_some()
        });
        found.unwrap()
    }

    /// Waits until a message was edited so that it has this text and no buttons.
    pub(crate) fn settles(&self, message: &Message, text: &str) {
        eventually(text, || {
            let chat = self.state.chat.lock().unwrap();
            let now = &chat.messages[&message.id];
            now.is_edited && now.buttons.is_empty() && now.text.contains(text)
        });
    }

    /// A person deletes a message.
    pub(crate) fn delete(&self, message: &Message) {
        self.state.chat.lock().unwrap().messages.remove(&message.id);
    }

    /// A person presses a button. Returns the id of the press.
    pub(crate) fn press(&self, message: &Message, word: &str, user: i64) -> String {
        self.press_data(message, message.button(word), user)
    }

    pub(crate) fn press_data(&self, message: &Message, data: &str, user: i64) -> String {
        let mut chat = self.state.chat.lock().unwrap();
        let id = format!("query-{}", chat.last_update + 1);
        let query = json!({"id": id, "from": person(user), "message": public(message),
            "chat_instance": "4837462", "data": data});
        chat.push("callback_query", query);
        self.state.changed.notify_all();
        id
    }

    /// A person replies to a message.
    pub(crate) fn reply(&self, message: &Message, text: &str, user: i64) {
        let mut chat = self.state.chat.lock().unwrap();
        chat.last_message += 1;
        let reply = json!({"message_id": chat.last_message, "from": person(user), "chat": place(), "date": 0,
            "text": text, "reply_to_message": public(message)});
        chat.push("message", reply);
        self.state.changed.notify_all();
    }

    /// Waits until a press was answered, and returns what the person was told.
    pub(crate) fn told(&self, press: &str) -> String {
        let mut told = None;
        eventually("an answer to a press", || {
            let chat = self.state.chat.lock().unwrap();
            told = chat.answers.iter().find(|(id, _)| id == press).cloned();
            told.is_some()
        });
        told.unwrap().1
    }
}

impl Conversation {
    fn push(&mut self, kind: &str, update: Value) {
        self.last_update += 1;
        let update = json!({"update_id": self.last_update, kind: update});
        self.updates.push_back((self.last_update, update));
    }

    fn refuse(&mut self, why: &str) -> (u16, Value) {
        self.refused.push(why.to_owned());
        let description = format!("Bad Request: {why}");
        (
            400,
            json!({"ok": false, "error_code": 400, "description": description}),
        )
    }

    /// Calls a method other than getUpdates.
    fn call(&mut self, method: &str, body: &Value, file: Option<String>) -> (u16, Value) {
        let chat = &body["chat_id"];
        let is_here = *chat == json!(CHAT) || *chat == json!(CHAT.to_string());
        if !is_here && !matches!(method, "getMe" | "answerCallbackQuery") {
            return self.refuse("chat not found");
        }
        match method {
            "getMe" => result(
                &json!({"id": 7_000_000_001_i64, "is_bot": true, "first_name": "Approvals",
                "username": "approvals_bot"}),
            ),
            "getChat" => {
                let mut chat = place();
                chat["permissions"] = json!({"can_send_messages": true});
                result(&chat)
            }
            "getChatMember" => {
                result(&json!({"status": self.member, "user": person(7_000_000_001)}))
            }
            "answerCallbackQuery" => {
                let text = body["text"].as_str().unwrap_or_default().to_owned();
                if text.chars().count() > MAX_ANSWER {
                    return self.refuse("MESSAGE_TOO_LONG");
                }
                let id = body["callback_query_id"].as_str().unwrap().to_owned();
                self.answers.push((id, text));
                result(&json!(true))
            }
            "sendMessage" | "sendDocument" => {
                let text = body["text"].as_str().or(body["caption"].as_str());
                let mut message = match self.read(body, text) {
                    Ok(message) => message,
                    Err(why) => return self.refuse(&why),
                };
                self.last_message += 1;
                message.id = self.last_message;
                message.document = file;
                message.reply_to = body["reply_parameters"]["message_id"].as_i64();
                self.messages.insert(message.id, message.clone());
                result(&public(&message))
            }
            "editMessageText" | "editMessageReplyMarkup" => {
                let id = body["message_id"].as_i64().unwrap();
                let Some(old) = self.messages.get(&id).cloned() else {
                    return self.refuse("message to edit not found");
                };
                let text = body["text"].as_str();
                let mut message = match self.read(body, text.or(Some("-"))) {
                    Ok(message) => message,
                    Err(why) => return self.refuse(&why),
                };
                if text.is_none() {
                    message.text.clone_from(&old.text);
                }
                if message.text == old.text && message.buttons == old.buttons {
                    return self.refuse("message is not modified");
                }
                let edited = Message {
                    text: message.text,
                    buttons: message.buttons,
                    is_edited: true,
                    ..old
                };
                self.messages.insert(id, edited.clone());
                result(&public(&edited))
            }
            _ => (
                404,
                json!({"ok": false, "error_code": 404, "description": "Not Found"}),
            ),
        }
    }

    /// Reads the text and the buttons of a message.
    fn read(&self, body: &Value, text: Option<&str>) -> Result<Message, String> {
        let text = text.unwrap_or_default();
        let text = match body["parse_mode"].as_str() {
            Some("HTML") => parsed(text).map_err(|why| format!("can't parse entities: {why}"))?,
            None => text.to_owned(),
            Some(other) => return Err(format!("unsupported parse_mode {other}")),
        };
        if text.trim().is_empty() {
            return Err("message text is empty".to_owned());
        }
        if text.encode_utf16().count() > MAX_TEXT {
            return Err("message is too long".to_owned());
        }
        let rows = body["reply_markup"]["inline_keyboard"].as_array();
        let buttons = rows
            .into_iter()
            .flatten()
            .filter_map(Value::as_array)
            .flatten();
        let mut read = Vec::new();
        for button in buttons {
            let data = button["callback_data"].as_str().unwrap_or_default();
            if !(1..=MAX_DATA).contains(&data.len()) {
                return Err("BUTTON_DATA_INVALID".to_owned());
            }
            read.push((button["text"].as_str().unwrap().to_owned(), data.to_owned()));
        }
        Ok(Message {
            text,
            buttons: read,
            ..Message::default()
        })
    }
}

impl State {
    fn serve(&self, request: &Request, mut stream: TcpStream) {
        let (status, body) = self.answer(request, &stream);
        let body = match body {
            Value::String(text) => text,
            other @ (Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_)) => other.to_string(),
        };
        let kind = [("content-type", "application/json")];
        let _ = stream.write_all(response(status, &kind, &body).as_bytes());
    }

    fn answer(&self, request: &Request, stream: &TcpStream) -> (u16, Value) {
        let path = request.path.trim_start_matches("/bot");
        let (token, method) = path.split_once('/').unwrap();
        let mut chat = self.chat.lock().unwrap();
        if chat.token != token {
            return unauthorized();
        }
        let faults = chat.faults.get_mut(method);
        if let Some((status, body)) = faults.and_then(VecDeque::pop_front) {
            return (status, Value::String(body));
        }
        if method == "getUpdates" {
            drop(chat);
            return self.poll(&request.message(), token, stream);
        }
        let (body, file) = match request.header("content-type") {
            Some(kind) if kind.starts_with("multipart/form-data; boundary=") => {
                multipart(&request.text, kind.rsplit('=').next().unwrap())
            }
            _ => (request.message(), None),
        };
        let answer = chat.call(method, &body, file);
        drop(chat);
        self.changed.notify_all();
        answer
    }

    /// "offset … An update is considered confirmed as soon as getUpdates is called with an offset higher than its
    /// update_id." A second poll ends the first one.
    fn poll(&self, body: &Value, token: &str, stream: &TcpStream) -> (u16, Value) {
        let time = Duration::from_secs(body["timeout"].as_u64().unwrap_or(0));
        let (offset, end) = (body["offset"].as_i64().unwrap_or(0), Instant::now() + time);
        let mut chat = self.chat.lock().unwrap();
        // The other poll may have been closed just now, and is about to notice.
        let close = Instant::now() + Duration::from_millis(150);
        while chat.held.is_some() && Instant::now() < close {
            chat = self
                .changed
                .wait_timeout(chat, Duration::from_millis(10))
                .unwrap()
                .0;
        }
        if chat.held.take().is_some() {
            chat.conflicts += 1;
        }
        chat.polls += 1;
        let own = chat.polls;
        chat.held = Some(own);
        let waited = chat.updates.len();
        chat.updates.retain(|(id, _)| *id >= offset);
        if chat.updates.len() < waited
            && let Some(look) = &*self.confirmed.lock().unwrap()
        {
            look();
        }
        self.changed.notify_all();
        loop {
            if chat.token != token {
                return unauthorized();
            }
            if chat.polls != own {
                let why = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
                return (
                    409,
                    json!({"ok": false, "error_code": 409, "description": why}),
                );
            }
            let limit = usize::try_from(body["limit"].as_u64().unwrap_or(100)).unwrap();
            let updates: Vec<Value> = chat
                .updates
                .iter()
                .take(limit)
                .map(|(_, it)| it.clone())
                .collect();
            let left = end.saturating_duration_since(Instant::now());
            if !updates.is_empty() || left.is_zero() || is_gone(stream) {
                if chat.held == Some(own) {
                    chat.held = None;
                }
                return result(&json!(updates));
            }
            let wait = left.min(Duration::from_millis(50));
            chat = self.changed.wait_timeout(chat, wait).unwrap().0;
        }
    }
}

/// Returns true if the client has closed the connection.
fn is_gone(stream: &TcpStream) -> bool {
    let _ = stream.set_nonblocking(true);
    let mut byte = [0];
    let read = stream.peek(&mut byte);
    let _ = stream.set_nonblocking(false);
    matches!(read, Ok(0)) || read.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
}

fn unauthorized() -> (u16, Value) {
    (
        401,
        json!({"ok": false, "error_code": 401, "description": "Unauthorized"}),
    )
}

fn result(value: &Value) -> (u16, Value) {
    (200, json!({"ok": true, "result": value}))
}

fn place() -> Value {
    json!({"id": CHAT, "title": "Approvals", "type": "supergroup"})
}

fn person(id: i64) -> Value {
    let name = match id {
        OLGA => "Olga",
        BERT => "Bert",
        _ => "Somebody",
    };
    json!({"id": id, "is_bot": false, "first_name": name, "username": name.to_lowercase()})
}

/// Returns a message as updates have it.
fn public(message: &Message) -> Value {
    json!({"message_id": message.id, "date": 0, "chat": place(), "text": message.text})
}

/// Returns the text of a message in HTML style. Strict: only the tags and named entities that a card of ours needs.
fn parsed(html: &str) -> Result<String, String> {
    let (mut text, mut open, mut rest) = (String::new(), None, html);
    while let Some(at) = rest.find(['<', '>', '&']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let entities = [
            ("&lt;", '<'),
            ("&gt;", '>'),
            ("&amp;", '&'),
            ("&quot;", '"'),
            ("&#39;", '\''),
        ];
        if let Some((entity, c)) = entities
            .into_iter()
            .find(|(entity, _)| rest.starts_with(entity))
        {
            text.push(c);
            rest = &rest[entity.len()..];
            continue;
        }
        let tags = [("<code>", "</code>"), ("<pre>", "</pre>")];
        if let (None, Some((begin, end))) = (
            open,
            tags.into_iter().find(|(begin, _)| rest.starts_with(begin)),
        ) {
            open = Some(end);
            rest = &rest[begin.len()..];
            continue;
        }
        match open {
            Some(end) if rest.starts_with(end) => {
                open = None;
                rest = &rest[end.len()..];
            }
            _ => return Err(rest.chars().take(20).collect()),
        }
    }
    match open {
        None => Ok(text + rest),
        Some(end) => Err(format!("no {end}")),
    }
}

/// Returns the fields and the file of a form.
fn multipart(text: &str, boundary: &str) -> (Value, Option<String>) {
    let (mut fields, mut file) = (json!({}), None);
    let mark = format!("--{boundary}");
    for part in text.split(&*mark) {
        let Some((head, content)) = part.split_once("\r\n\r\n") else {
            continue;
        };
        let content = content.strip_suffix("\r\n").unwrap_or(content);
        let name = head
            .split("name=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        match head.contains("filename=") {
            true => file = Some(content.to_owned()),
            false => fields[name] = json!(content),
        }
    }
    (fields, file)
}
