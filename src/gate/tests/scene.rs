//! A client, a gate, an upstream and a clock that is set by hand.
//!
//! Handles outputs like the relay, and keeps what each side received.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};

use crate::approval::item::{Assurance, Choice, Item, Verdict};
use crate::gate::{
    DecidedCall, EngineId, FromEngine, Gate, Now, Output, Payload, Settings, ToEngine,
};
use crate::policy::{Policy, Rules};

/// The log as a scene sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Log {
    Writable,
    Broken,
}

/// Something that the gate did, for tests that check the order of things.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    /// The client got this line.
    Client(String),
    /// The client got this progress notification.
    Progress(String),
    /// The upstream got this line.
    Upstream(String),
    /// This record was created, and whether it could be written.
    Line { line: Value, written: bool },
}

pub(super) struct Scene {
    pub(super) gate: Gate,
    pub(super) now: Now,
    /// Lines that the client received and no test has read yet.
    pub(super) client: VecDeque<String>,
    /// Lines that the upstream received and no test has read yet.
    pub(super) upstream: VecDeque<String>,
    /// What the peers sent, oldest first.
    pub(super) heard: Vec<String>,
    /// Audit lines, oldest first.
    pub(super) log: Vec<Value>,
    /// All that happened, oldest first, with the time of each.
    pub(super) journal: Vec<(Duration, Event)>,
    pub(super) warnings: Vec<String>,
    pub(super) close_upstream: u32,
    /// Messages to the inbox that no test has read yet.
    pub(super) inbox: VecDeque<ToEngine>,
    /// Decisions made elsewhere that went to the inbox's history.
    pub(super) history: Vec<DecidedCall>,
    pub(super) log_state: Log,
    best_effort: bool,
    /// The definitions that the upstream lists.
    pub(super) tools: Value,
}

/// A prompt that the client received.
#[derive(Debug, Clone)]
pub(super) struct Prompt {
    pub(super) id: Value,
    pub(super) params: Value,
    pub(super) message: String,
}

/// The tools of most scenes.
pub(super) fn usual_tools() -> Value {
    json!([
        {"name": "read_note", "annotations": {"readOnlyHint": true}},
        {"name": "delete_user", "description": "Deletes a user.", "annotations": {"destructiveHint": true}},
        {"name": "add_note"},
        {"name": "ponder"},
    ])
}

impl Scene {
    /// A gate with the usual settings, before anybody has sent anything.
    pub(super) fn new() -> Scene {
        Scene::with(Settings::default(), Rules::default())
    }

    pub(super) fn with(settings: Settings, rules: Rules) -> Scene {
        Scene::seeded(settings, rules, 7)
    }

    /// A scene whose ids differ from those of scenes with another seed.
    pub(super) fn seeded(settings: Settings, rules: Rules, seed: u8) -> Scene {
        let best_effort = settings.audit_best_effort;
        let settings = Settings {
            server: "db".into(),
            ..settings
        };
        Scene {
            gate: Gate::new(settings, Policy::new(rules).unwrap(), "s", [seed; 32]),
            now: Now {
                elapsed: Duration::from_secs(1000),
                unix_ms: 1_763_690_000_000,
            },
            client: VecDeque::new(),
            upstream: VecDeque::new(),
            heard: Vec::new(),
            log: Vec::new(),
            journal: Vec::new(),
            warnings: Vec::new(),
            close_upstream: 0,
            inbox: VecDeque::new(),
            history: Vec::new(),
            log_state: Log::Writable,
            best_effort,
            tools: usual_tools(),
        }
    }

    /// A scene with the operator's settings. By default a silent client changes nothing.
    pub(super) fn set(change: impl FnOnce(&mut Settings)) -> Scene {
        let mut settings = Settings {
            also_inbox_after: Duration::ZERO,
            ..Settings::default()
        };
        change(&mut settings);
        Scene::with(settings, Rules::default())
    }

    pub(super) fn with_tools(mut self, tools: Value) -> Scene {
        self.tools = tools;
        self
    }

    /// Goes through the handshake with a client that shows forms, in a legacy revision.
    pub(super) fn legacy(self, revision: &str) -> Scene {
        self.handshake(revision, json!({"elicitation": {}}))
    }

    pub(super) fn handshake(mut self, revision: &str, capabilities: Value) -> Scene {
        self.client_says(
            &json!({"jsonrpc": "2.0", "id": "init", "method": "initialize", "params": {
            "protocolVersion": revision, "capabilities": capabilities,
            "clientInfo": {"name": "c", "version": "1"}}}),
        );
        self.upstream_says(&json!({"jsonrpc": "2.0", "id": "init", "result": {
            "protocolVersion": revision, "capabilities": {"tools": {}},
            "serverInfo": {"name": "u", "version": "1"}}}));
        self.client_says(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        self.client.clear();
        self.upstream.clear();
        self
    }

    // ---- actions of the peers

    pub(super) fn client_sends(&mut self, line: &str) {
        self.gate.from_client(line.as_bytes(), self.now);
        self.carry_out(line.as_bytes());
    }

    pub(super) fn client_sends_bytes(&mut self, line: &[u8]) {
        self.gate.from_client(line, self.now);
        self.carry_out(line);
    }

    pub(super) fn client_says(&mut self, message: &Value) {
        self.client_sends(&message.to_string());
    }

    pub(super) fn upstream_sends(&mut self, line: &str) {
        self.gate.from_upstream(line.as_bytes(), self.now);
        self.carry_out(line.as_bytes());
    }

    /// The client sends a line over the size limit, of which only the ends are left.
    pub(super) fn client_sends_overlong(&mut self, head: &str, tail: &str) {
        let (head, tail) = (head.as_bytes(), tail.as_bytes());
        self.gate.overlong_from_client(head, tail, self.now);
        self.carry_out(b"");
    }

    /// The same as [`Scene::client_sends_overlong`], from the other side.
    pub(super) fn upstream_sends_overlong(&mut self, head: &str, tail: &str) {
        let (head, tail) = (head.as_bytes(), tail.as_bytes());
        self.gate.overlong_from_upstream(head, tail);
        self.carry_out(b"");
    }

    /// The upstream ends with an unfinished line.
    pub(super) fn upstream_leaves(&mut self, line: &str) {
        self.gate.rest_from_upstream(line.as_bytes(), self.now);
        self.carry_out(line.as_bytes());
    }

    pub(super) fn upstream_says(&mut self, message: &Value) {
        self.upstream_sends(&message.to_string());
    }

    /// The client calls a tool. If the gate requests the list, the upstream answers it.
    pub(super) fn client_calls(&mut self, id: impl Into<Value>, tool: &str, arguments: Value) {
        self.client_says(&call(id, tool, arguments));
        self.answer_lists();
    }

    /// The upstream answers every `tools/list` that it got from the gate.
    pub(super) fn answer_lists(&mut self) {
        while let Some(id) = self.take_list_request() {
            let tools = self.tools.clone();
            self.upstream_says(&json!({"jsonrpc": "2.0", "id": id, "result": {"tools": tools}}));
        }
    }

    /// Takes the gate's own `tools/list`, if it is the first line that the upstream received.
    pub(super) fn take_list_request(&mut self) -> Option<Value> {
        let first: Value = serde_json::from_str(self.upstream.front()?).unwrap();
        if first["method"] != "tools/list" {
            return None;
        }
        self.upstream.pop_front();
        Some(first["id"].clone())
    }

    pub(super) fn answer(&mut self, prompt: &Prompt, result: Value) {
        self.client_says(&json!({"jsonrpc": "2.0", "id": prompt.id, "result": result}));
        self.answer_lists();
    }

    pub(super) fn approve(&mut self, prompt: &Prompt) {
        self.answer(
            prompt,
            json!({"action": "accept", "content": {"approved": true}}),
        );
    }

    /// A person reads the prompt, which takes a second, and declines.
    pub(super) fn deny(&mut self, prompt: &Prompt) {
        self.person_reads();
        self.answer(prompt, json!({"action": "decline"}));
    }

    /// The least time that a person needs.
    pub(super) fn person_reads(&mut self) {
        self.advance(secs(1));
    }

    pub(super) fn answer_with_error(&mut self, prompt: &Prompt) {
        self.client_says(&json!({"jsonrpc": "2.0", "id": prompt.id,
            "error": {"code": -32603, "message": "no window"}}));
    }

    pub(super) fn client_cancels(&mut self, id: impl Into<Value>) {
        self.client_says(
            &json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
            "params": {"requestId": id.into()}}),
        );
    }

    pub(super) fn tools_change(&mut self, tools: Value) {
        self.tools = tools;
        self.upstream_says(
            &json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}),
        );
        let received = self.take_client();
        assert_eq!(received["method"], "notifications/tools/list_changed");
    }

    /// The first item that the inbox received.
    #[track_caller]
    pub(super) fn expect_item(&mut self) -> Item {
        match self.inbox.pop_front() {
            Some(ToEngine::Ask { item, .. }) => *item,
            other => panic!("no item, but {other:?}"),
        }
    }

    /// Somebody decides in the inbox.
    pub(super) fn decide(
        &mut self,
        item: &Item,
        choice: Choice,
        change: impl FnOnce(&mut Verdict),
    ) {
        let mut verdict = Verdict {
            fields: None,
            choice,
            reason: None,
            cover: Duration::ZERO,
            assurance: Assurance::InboxSession,
            approver: None,
            decided_ms: self.now.unix_ms,
        };
        change(&mut verdict);
        let item = item.id.clone();
        self.inbox_sends(FromEngine::Verdict {
            engine: EngineId::INBOX,
            item,
            verdict,
        });
    }

    pub(super) fn inbox_sends(&mut self, received: FromEngine) {
        self.gate.from_engine(received, self.now);
        self.carry_out(b"");
    }

    /// Everything for the client so far is in its pipe.
    pub(super) fn client_reads_all(&mut self) {
        self.gate.client_drained(self.now);
    }

    /// The server behind HTTP restarts, and then lists the scene's current tools.
    pub(super) fn upstream_restarts(&mut self) {
        self.gate
            .upstream_restarted("it knows no such session", self.now);
        self.carry_out(b"");
    }

    /// A call comes back: the server certainly did not take it.
    pub(super) fn call_comes_back(&mut self, line: &str, may_go_again: bool) {
        self.gate
            .call_returned(line, "it knows no such session", may_go_again, self.now);
        self.carry_out(b"");
    }

    pub(super) fn client_closes(&mut self) {
        self.gate.client_closed(self.now);
        self.carry_out(b"");
    }

    pub(super) fn upstream_closes(&mut self) {
        self.gate
            .upstream_closed("the server exited with status 1", self.now);
        self.carry_out(b"");
    }

    /// The upstream's stdin is closed; it may still answer.
    pub(super) fn upstream_takes_no_more(&mut self) {
        self.gate
            .upstream_closing("the server takes no more", self.now);
        self.carry_out(b"");
    }

    /// Time passes, and every timer fires when it is due.
    pub(super) fn advance(&mut self, by: Duration) {
        let end = self.now.elapsed + by;
        while let Some(due) = self.gate.poll_timeout().filter(|due| *due <= end) {
            self.set_clock(self.now.elapsed.max(due));
            self.gate.tick(self.now);
            self.carry_out(b"");
            // Otherwise the proxy would wake up again and again.
            let next = self.gate.poll_timeout();
            let now = self.now.elapsed;
            assert!(
                next.is_none_or(|next| next > now),
                "{next:?} is past, at {now:?}"
            );
        }
        self.set_clock(end);
    }

    /// Like [`Scene::advance`], but the proxy wakes up this much after a timer is due, as real ones do.
    pub(super) fn advance_late(&mut self, by: Duration, late: Duration) {
        let end = self.now.elapsed + by;
        while let Some(due) = self.gate.poll_timeout().filter(|due| *due <= end) {
            self.set_clock(self.now.elapsed.max(due + late));
            self.gate.tick(self.now);
            self.carry_out(b"");
        }
        self.set_clock(self.now.elapsed.max(end));
    }

    fn set_clock(&mut self, elapsed: Duration) {
        let passed = elapsed - self.now.elapsed;
        self.now.elapsed = elapsed;
        self.now.unix_ms += i64::try_from(passed.as_millis()).unwrap();
    }

    // ---- actions of the relay

    fn carry_out(&mut self, frame: &[u8]) {
        if !frame.is_empty() {
            self.heard.push(String::from_utf8_lossy(frame).into_owned());
        }
        while let Some(output) = self.gate.poll_output() {
            match output {
                Output::ToClient(payload) => {
                    let text = resolve(payload, frame);
                    self.note(Event::Client(text.clone()));
                    self.client.push_back(text);
                }
                Output::Progress(text) => {
                    self.note(Event::Progress(text.clone()));
                    self.client.push_back(text);
                }
                Output::ToUpstream(permitted) => {
                    let text = resolve(permitted.get().clone(), frame);
                    self.note(Event::Upstream(text.clone()));
                    self.upstream.push_back(text);
                }
                Output::Release {
                    line,
                    payload,
                    ticket,
                } => {
                    let recorded = self.log_state == Log::Writable;
                    self.append(&line);
                    if recorded || (self.best_effort && ticket.needed_no_approval()) {
                        let text = resolve(payload.get().clone(), frame);
                        self.note(Event::Upstream(text.clone()));
                        self.upstream.push_back(text);
                    } else {
                        self.gate.not_recorded(&ticket, self.now);
                    }
                }
                Output::Record(line) => self.append(&line),
                Output::Warn(text) => self.warnings.push(text),
                // Everything else has been carried out by then.
                Output::ToEngine(ToEngine::Decided(call)) => self.history.push(*call),
                Output::ToEngine(received) => self.inbox.push_back(received),
                Output::CloseUpstream => self.close_upstream += 1,
            }
        }
    }

    /// Appends a line, if the log can be written.
    fn append(&mut self, line: &crate::evidence::record::Line) {
        let mut text = String::new();
        line.write(self.log.len() as u64 + 1, &mut text);
        let line: Value = serde_json::from_str(&text).unwrap();
        let written = self.log_state == Log::Writable;
        if written {
            self.log.push(line.clone());
        }
        self.note(Event::Line { line, written });
    }

    fn note(&mut self, event: Event) {
        self.journal.push((self.now.elapsed, event));
    }

    // ---- what tests check

    pub(super) fn take_client(&mut self) -> Value {
        let text = self
            .client
            .pop_front()
            .expect("the client has got something");
        serde_json::from_str(&text).unwrap()
    }

    pub(super) fn take_upstream(&mut self) -> Value {
        let text = self
            .upstream
            .pop_front()
            .expect("the upstream has got something");
        serde_json::from_str(&text).unwrap()
    }

    pub(super) fn expect_prompt(&mut self) -> Prompt {
        let request = self.take_client();
        assert_eq!(request["method"], "elicitation/create", "{request}");
        Prompt {
            id: request["id"].clone(),
            params: request["params"].clone(),
            message: request["params"]["message"].as_str().unwrap().to_owned(),
        }
    }

    /// The next line that the upstream received is exactly this call.
    pub(super) fn expect_forwarded(&mut self, id: impl Into<Value>) -> Value {
        let call = self.take_upstream();
        assert_eq!(call["method"], "tools/call", "{call}");
        assert_eq!(call["id"], id.into());
        call
    }

    /// The next line that the client received is a refusal of this call. Returns its text.
    pub(super) fn expect_refused(&mut self, id: impl Into<Value>, words: &str) -> String {
        let answer = self.take_client();
        assert_eq!(answer["id"], id.into(), "{answer}");
        assert_eq!(answer["result"]["isError"], true, "{answer}");
        let content = answer["result"]["content"].as_array().unwrap();
        assert_eq!(content.len(), 1, "{answer}");
        let text = content[0]["text"].as_str().unwrap().to_owned();
        assert!(text.contains(words), "`{text}` does not contain `{words}`");
        text
    }

    /// The next line that the client received is a JSON-RPC error. Returns its message.
    pub(super) fn expect_error(&mut self, id: impl Into<Value>) -> String {
        let answer = self.take_client();
        assert_eq!(answer["id"], id.into(), "{answer}");
        answer["error"]["message"].as_str().unwrap().to_owned()
    }

    /// The client was told that this prompt is withdrawn.
    pub(super) fn expect_withdrawn(&mut self, prompt: &Prompt) {
        let notification = self.take_client();
        assert_eq!(
            notification["method"], "notifications/cancelled",
            "{notification}"
        );
        assert_eq!(notification["params"]["requestId"], prompt.id);
    }

    /// Neither side received anything that was not read.
    pub(super) fn expect_nothing(&self) {
        assert!(self.client.is_empty(), "the client got {:?}", self.client);
        assert!(
            self.upstream.is_empty(),
            "the upstream got {:?}",
            self.upstream
        );
    }

    /// The decisions in the log, oldest first.
    pub(super) fn decisions(&self) -> Vec<&Value> {
        self.log
            .iter()
            .filter(|line| line.get("tool").is_some())
            .collect()
    }

    /// The newest record has this decision, and says whether the call was forwarded.
    pub(super) fn expect_logged(&self, decision: &str, forwarded: bool) -> &Value {
        let decisions = self.decisions();
        let line = decisions.last().expect("there is a decision");
        assert_eq!(
            (&line["decision"], &line["forwarded"]),
            (&json!(decision), &json!(forwarded)),
            "{line}"
        );
        line
    }
}

fn resolve(payload: Payload, frame: &[u8]) -> String {
    match payload {
        Payload::Frame => String::from_utf8(frame.to_vec()).unwrap(),
        Payload::Text(text) => text,
    }
}

/// A `tools/call`.
pub(super) fn call(id: impl Into<Value>, tool: &str, arguments: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": "tools/call",
        "params": {"name": tool, "arguments": arguments}})
}

/// A `tools/call` with a progress token.
pub(super) fn call_with_token(id: impl Into<Value>, tool: &str, token: impl Into<Value>) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": "tools/call",
        "params": {"name": tool, "arguments": {}, "_meta": {"progressToken": token.into()}}})
}

pub(super) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
