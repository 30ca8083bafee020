//! The whole gate: no gated call reaches the upstream without a yes to the prompt that shows it.
//!
//! The bytes are a script: options on the first line, then a step a line, a letter and its
//! details; see [`World::step`]. In raw lines `$P` is the newest prompt's id, `$O` that of the
//! one before, and `$L` that of our newest `tools/list`.

use std::collections::HashMap;
use std::time::Duration;

use approval_proxy::gate::{Gate, Now, Output, Payload, Settings, TimeoutAction};
use approval_proxy::policy::{Mode, Policy, Rules};

use super::envelope::is_yes;
use super::readers::{Call, calls, has_equal_keys, items, members, only, string};

const MAX_STEPS: usize = 200;
const TOOLS: [&str; 6] = [
    "free",
    "delete_user",
    "add_note",
    "never",
    "read_note",
    "ponder",
];
const REVISIONS: [&str; 5] = [
    "2025-06-18",
    "2025-11-25",
    "2025-03-26",
    "2024-11-05",
    "2026-07-28",
];
const TIMEOUT: Duration = Duration::from_secs(120);
const TTL: Duration = Duration::from_secs(60);

/// Plays the script.
pub(crate) fn check(script: &[u8]) {
    let mut lines = script.split(|byte| *byte == b'\n');
    let mut world = World::new(lines.next().unwrap_or_default());
    for line in lines.take(MAX_STEPS) {
        world.step(line);
    }
    world.end();
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Said at this time.
    Yes(Duration),
    /// Ran out, and the operator takes silence for a yes.
    Silence,
    /// Answered otherwise, withdrawn, or its yes has been used.
    Over,
}

struct Prompt {
    id: String,
    message: String,
    sent: Duration,
    delivered: bool,
    state: State,
    /// Whether its yes has let a call run.
    used: bool,
}

/// The line that the gate is looking at.
enum Input {
    Client(Vec<u8>),
    Upstream(Vec<u8>),
    None,
}

struct World {
    gate: Gate,
    settings: Settings,
    mode: Mode,
    now: Now,
    input: Input,
    prompts: Vec<Prompt>,
    /// The ids of our `tools/list`, oldest first.
    lists: Vec<String>,
    /// All that the client has sent, and when.
    sent: Vec<(Vec<u8>, Duration)>,
    /// The calls that the upstream got, and how often each.
    ran: HashMap<Vec<u8>, usize>,
    /// The ids of what the upstream got last, as JSON.
    open: Vec<String>,
    log_is_broken: bool,
    count: usize,
    client_is_gone: bool,
}

impl World {
    fn new(options: &[u8]) -> World {
        let has = |option| options.contains(&option);
        let mut settings = Settings {
            server: "db".to_owned(),
            double_confirm: has(b'D'),
            explain: has(b'E'),
            audit_best_effort: has(b'B'),
            timeout: Some(TIMEOUT).filter(|_| !has(b'U')),
            ..Settings::default()
        };
        if has(b'T') {
            settings.approval_ttl = TTL;
        }
        if has(b'A') {
            settings.timeout_action = TimeoutAction::Approve;
        }
        if has(b'P') {
            settings.max_pending = 3;
        }
        if has(b'R') {
            settings.retry.attempts = 0;
        }
        let mode = match has(b'M') {
            true => Mode::Destructive,
            false => Mode::All,
        };
        let rules = Rules {
            mode,
            allow: vec!["free".to_owned()],
            deny: vec!["never".to_owned()],
            ..Rules::default()
        };
        let policy = Policy::new(rules).expect("the rules are good");
        World {
            gate: Gate::new(settings.clone(), policy, "s", [7; 32]),
            settings,
            mode,
            now: Now {
                elapsed: Duration::from_secs(1000),
                unix_ms: 1_763_690_000_000,
            },
            input: Input::None,
            prompts: Vec::new(),
            lists: Vec::new(),
            sent: Vec::new(),
            ran: HashMap::new(),
            open: Vec::new(),
            log_is_broken: false,
            count: 0,
            client_is_gone: false,
        }
    }

    fn step(&mut self, line: &[u8]) {
        let Some((step, rest)) = line.split_first() else {
            return;
        };
        let digit = |at: usize| rest.get(at).map_or(0, |byte| usize::from(byte & 15));
        match step {
            // Raw lines.
            b'C' => {
                let line = self.filled(rest);
                self.client_sends(line);
            }
            b'U' => {
                let line = self.filled(rest);
                self.upstream_sends(line);
            }
            // The handshake: revision, then `n` for no elicitation or `u` for that of URLs only.
            b'h' => self.shake_hands(REVISIONS[digit(0) % REVISIONS.len()], rest.get(1)),
            // A call: tool, id, and what is special about it.
            b'c' => {
                let line = self.call(rest);
                self.client_sends(line);
            }
            // A batch of calls, three bytes each.
            b'b' => {
                let calls: Vec<Vec<u8>> = rest.chunks(3).take(8).map(|c| self.call(c)).collect();
                self.client_sends([&b"["[..], &calls.join(&b","[..]), b"]"].concat());
            }
            // The client answers a prompt: yes, no, or that it could not.
            b'y' => self.answer(digit(0), YES),
            b'n' => self.answer(digit(0), r#""result":{"action":"decline"}"#),
            b'e' => self.answer(digit(0), r#""error":{"code":-32603,"message":"no window"}"#),
            // The upstream says yes in the client's place.
            b'w' => {
                let line = self.response_to_prompt(digit(0), YES);
                self.upstream_sends(line);
            }
            b'x' => {
                let line = format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{}}}}}"#,
                    digit(0)
                );
                self.client_sends(line.into_bytes());
            }
            // The upstream answers our list, or what the client asked.
            b'l' => self.answer_list(digit(0)),
            b'r' => {
                if let Some(id) = self.open.pop() {
                    let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
                    self.upstream_sends(line.into_bytes());
                }
            }
            b'v' => self.upstream_sends(
                br#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#.to_vec(),
            ),
            b't' => self.advance(WAITS[digit(0) % WAITS.len()]),
            b'T' => self.tick(),
            // Time passes, and the timers are late.
            b's' => self.set_clock(self.now.elapsed + WAITS[digit(0) % WAITS.len()]),
            b'd' => {
                self.gate.client_drained();
                self.prompts
                    .iter_mut()
                    .for_each(|prompt| prompt.delivered = true);
            }
            b'L' => self.log_is_broken = !self.log_is_broken,
            b'o' => {
                let (head, tail) = rest.split_at(rest.len() / 2);
                self.gate.overlong_from_client(head, tail, self.now);
                self.carry_out();
            }
            b'O' => {
                let (head, tail) = rest.split_at(rest.len() / 2);
                self.gate.overlong_from_upstream(head, tail);
                self.carry_out();
            }
            b'k' => {
                self.client_is_gone = true;
                self.gate.client_closed(self.now);
                self.carry_out();
            }
            b'j' => {
                self.gate.upstream_closing("it closes", self.now);
                self.carry_out();
            }
            b'K' => {
                self.gate.upstream_closed("it is gone", self.now);
                self.carry_out();
            }
            _ => {}
        }
    }

    fn end(&mut self) {
        self.gate.client_closed(self.now);
        self.carry_out();
        self.gate.upstream_closed("it is gone", self.now);
        self.carry_out();
        // A wait for the list may still run out; after that nothing waits.
        self.advance(Duration::from_secs(10));
        assert_eq!(self.gate.poll_timeout(), None, "something waits for nobody");
        assert!(!self.gate.wants_drained());
    }

    // ---- what the peers do

    fn filled(&self, line: &[u8]) -> Vec<u8> {
        let newest = |back: usize| {
            let at = self.prompts.len().checked_sub(back);
            at.map_or("", |at| self.prompts[at].id.as_str())
        };
        let mut out = Vec::new();
        let mut rest = line;
        while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
            out.extend_from_slice(&rest[..at]);
            let id = match rest.get(at + 1) {
                Some(b'P') => newest(1),
                Some(b'O') => newest(2),
                Some(b'L') => self.lists.last().map_or("", String::as_str),
                _ => "$",
            };
            out.extend_from_slice(id.as_bytes());
            let taken = if id == "$" { 1 } else { 2 };
            rest = rest.get(at + taken..).unwrap_or_default();
        }
        out.extend_from_slice(rest);
        out
    }

    fn call(&mut self, details: &[u8]) -> Vec<u8> {
        self.count += 1;
        let mut details = details.iter();
        let tool = details
            .next()
            .map_or(0, |byte| usize::from(*byte) % TOOLS.len());
        let id = match details.next() {
            Some(digit @ b'0'..=b'9') => char::from(*digit).to_string(),
            _ => format!("\"u{}\"", self.count),
        };
        let special = details.next();
        let mark = match special {
            Some(b'i') => "same.".to_owned(),
            _ => format!("t{}.", self.count),
        };
        let more = match special {
            Some(b't') => r#","task":{"ttl":5}"#,
            Some(b'p') => r#","_meta":{"progressToken":7}"#,
            Some(b's') => r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#,
            _ => "",
        };
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{}","arguments":{{"m":"{mark}"}}{more}}}}}"#,
            TOOLS[tool]
        )
        .into_bytes()
    }

    fn shake_hands(&mut self, revision: &str, capabilities: Option<&u8>) {
        let capabilities = match capabilities {
            Some(b'n') => "{}",
            Some(b'u') => r#"{"elicitation":{"url":{}}}"#,
            _ => r#"{"elicitation":{}}"#,
        };
        let line = format!(
            r#"{{"jsonrpc":"2.0","id":"init","method":"initialize","params":{{"protocolVersion":"{revision}","capabilities":{capabilities}}}}}"#
        );
        self.client_sends(line.into_bytes());
        let line = format!(
            r#"{{"jsonrpc":"2.0","id":"init","result":{{"protocolVersion":"{revision}","capabilities":{{"tools":{{}}}}}}}}"#
        );
        self.upstream_sends(line.into_bytes());
        let line = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        self.client_sends(line.to_vec());
    }

    fn response_to_prompt(&self, back: usize, members: &str) -> Vec<u8> {
        let at = self.prompts.len().saturating_sub(1 + back);
        let id = self
            .prompts
            .get(at)
            .map_or("none", |prompt| prompt.id.as_str());
        format!(r#"{{"jsonrpc":"2.0","id":"{id}",{members}}}"#).into_bytes()
    }

    fn answer(&mut self, back: usize, members: &str) {
        let line = self.response_to_prompt(back, members);
        self.client_sends(line);
    }

    fn answer_list(&mut self, variant: usize) {
        let Some(id) = self.lists.pop() else {
            return;
        };
        self.count += 1;
        let changed = format!(
            r#"{{"tools":[{{"name":"delete_user","description":"number {}"}},{{"name":"add_note","title":"{}"}}]}}"#,
            self.count, self.count
        );
        let result = match variant {
            1 => {
                r#"{"tools":[{"name":"delete_user","annotations":{"readOnlyHint":true,"destructiveHint":false}},{"name":"add_note","annotations":{"readOnlyHint":true}}]}"#
            }
            2 => r#"{"tools":[]}"#,
            3 => r#"{"tools":{}}"#,
            4 => r#"{"tools":[{"name":"ponder"}],"nextCursor":"n"}"#,
            5 => {
                r#"{"tools":[{"name":"add_note","annotations":{"readOnlyHint":true}},{"name":"add_note"}]}"#
            }
            6 => r#"{"tools":[{"name":"add_note"}],"ttlMs":0}"#,
            7 => changed.as_str(),
            _ => {
                r#"{"tools":[{"name":"free"},{"name":"delete_user","description":"Deletes."},{"name":"add_note"},{"name":"never"},{"name":"read_note","annotations":{"readOnlyHint":true}},{"name":"ponder"}]}"#
            }
        };
        let line = format!(r#"{{"jsonrpc":"2.0","id":"{id}","result":{result}}}"#);
        self.upstream_sends(line.into_bytes());
    }

    fn client_sends(&mut self, line: Vec<u8>) {
        self.note_answers(&line);
        self.sent.push((line.clone(), self.now.elapsed));
        self.gate.from_client(&line, self.now);
        self.input = Input::Client(line);
        self.carry_out();
    }

    fn upstream_sends(&mut self, line: Vec<u8>) {
        self.gate.from_upstream(&line, self.now);
        self.input = Input::Upstream(line);
        self.carry_out();
    }

    fn advance(&mut self, by: Duration) {
        let end = self.now.elapsed + by;
        while let Some(due) = self.gate.poll_timeout().filter(|due| *due <= end) {
            self.set_clock(due.max(self.now.elapsed));
            self.tick();
            let next = self.gate.poll_timeout();
            assert!(
                next.is_none_or(|next| next > self.now.elapsed),
                "a timer that is over stays due"
            );
        }
        self.set_clock(end);
    }

    fn set_clock(&mut self, elapsed: Duration) {
        let passed = elapsed.saturating_sub(self.now.elapsed);
        self.now.elapsed = elapsed;
        self.now.unix_ms += i64::try_from(passed.as_millis()).unwrap_or(0);
    }

    fn tick(&mut self) {
        self.gate.tick(self.now);
        self.carry_out();
    }

    // ---- what the relay does

    fn carry_out(&mut self) {
        while let Some(output) = self.gate.poll_output() {
            match output {
                Output::ToClient(payload) => {
                    let own = matches!(payload, Payload::Text(_));
                    let line = match (payload, &self.input) {
                        (Payload::Text(text), _) => text.into_bytes(),
                        (Payload::Frame, Input::Upstream(line)) => line.clone(),
                        (Payload::Frame, _) => panic!("there is no line for the client"),
                    };
                    self.client_gets(&line, own);
                }
                Output::Progress(text) => assert!(text.contains("notifications/progress")),
                Output::ToUpstream(permitted) => {
                    let line = self.for_upstream(permitted.get());
                    let seen = calls(&line);
                    assert!(seen.is_empty(), "{seen:?} past the log: {}", lossy(&line));
                    self.upstream_gets(&line);
                }
                Output::Release {
                    payload,
                    ticket,
                    line: _,
                } => {
                    let line = self.for_upstream(payload.get());
                    let may_run_unrecorded =
                        self.settings.audit_best_effort && ticket.needed_no_approval();
                    if self.log_is_broken && !may_run_unrecorded {
                        self.gate.not_recorded(&ticket, self.now);
                        self.use_up(&line);
                    } else {
                        self.upstream_runs(&line);
                        self.upstream_gets(&line);
                    }
                }
                Output::Record(_) | Output::Warn(_) | Output::CloseUpstream => {}
            }
        }
        self.input = Input::None;
    }

    fn for_upstream(&self, payload: &Payload) -> Vec<u8> {
        match (payload, &self.input) {
            (Payload::Text(text), _) => text.clone().into_bytes(),
            (Payload::Frame, Input::Client(line)) => line.clone(),
            (Payload::Frame, _) => panic!("there is no line for the upstream"),
        }
    }

    // ---- what must hold

    /// Notes the answers that a line holds, as a reader that minds equal keys sees them.
    fn note_answers(&mut self, line: &[u8]) {
        let Ok(text) = std::str::from_utf8(line) else {
            return;
        };
        let messages = items(text).unwrap_or_else(|| vec![text]);
        for message in messages {
            let Some(members) = members(message).filter(|members| !has_equal_keys(members)) else {
                continue;
            };
            let Some(id) = only(&members, "id").and_then(string) else {
                continue;
            };
            let result = only(&members, "result");
            let has = |key| only(&members, key).is_some();
            let elapsed = self.now.elapsed;
            let limit = self.settings.timeout;
            let open = self.prompts.iter_mut().find(|prompt| prompt.id == id);
            let Some(prompt) = open.filter(|prompt| prompt.state == State::Open) else {
                continue;
            };
            let is_in_time = limit.is_none_or(|limit| elapsed - prompt.sent < limit);
            if !has("error") && !has("method") && result.is_some_and(is_yes) {
                // One that comes late may be met by the timer first.
                if is_in_time {
                    prompt.state = State::Yes(elapsed);
                }
            } else if members.len() == 3
                && has("jsonrpc")
                && (has("result") || has("error"))
                && line.len() < 1000
                && is_in_time
            {
                prompt.state = State::Over;
            }
        }
    }

    fn client_gets(&mut self, line: &[u8], own: bool) {
        let text = std::str::from_utf8(line).expect("the client gets text");
        let in_input = match &self.input {
            Input::Upstream(input) => holds(input, line) > 0,
            Input::Client(_) | Input::None => false,
        };
        // What the upstream asks is no prompt of ours, in a batch or out of it.
        if !own || in_input {
            return;
        }
        assert!(!self.client_is_gone || !text.contains("elicitation/create"));
        let members = members(text).expect("what is ours is an object");
        let method = only(&members, "method").and_then(string);
        let params = only(&members, "params").and_then(self::members);
        match (method.as_deref(), params) {
            (Some("elicitation/create"), Some(params)) => {
                let id = only(&members, "id").and_then(string);
                let message = only(&params, "message").and_then(string);
                self.prompts.push(Prompt {
                    id: id.expect("a prompt has an id"),
                    message: message.expect("a prompt has a message"),
                    sent: self.now.elapsed,
                    delivered: false,
                    state: State::Open,
                    used: false,
                });
            }
            (Some("notifications/cancelled"), Some(params)) => {
                let id = only(&params, "requestId").and_then(string);
                let prompt = self
                    .prompts
                    .iter_mut()
                    .find(|prompt| Some(&prompt.id) == id.as_ref());
                let prompt = prompt.expect("a prompt is withdrawn");
                let ran_out = (self.settings.timeout)
                    .is_some_and(|limit| self.now.elapsed - prompt.sent >= limit);
                let silence_is_yes = self.settings.timeout_action == TimeoutAction::Approve;
                prompt.state = match prompt.delivered && ran_out && silence_is_yes {
                    true => State::Silence,
                    false => State::Over,
                };
            }
            _ => {}
        }
    }

    fn upstream_gets(&mut self, line: &[u8]) {
        let input = match &self.input {
            Input::Client(line) | Input::Upstream(line) => line.as_slice(),
            Input::None => &[],
        };
        for prompt in self.prompts.iter().filter(|p| p.state == State::Open) {
            let id = prompt.id.as_bytes();
            // What the client tells of it, in a call that was held since, is its own business.
            let is_told = || self.sent.iter().any(|(sent, _)| holds(sent, id) > 0);
            let leaks = holds(line, id) > 0 && holds(input, id) == 0 && !is_told();
            assert!(!leaks, "the upstream learns the id of a prompt");
        }
        let text = String::from_utf8_lossy(line);
        let Some(members) = members(&text) else {
            return;
        };
        let method = only(&members, "method").and_then(string);
        let Some(id) = only(&members, "id") else {
            return;
        };
        let names_one = id.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit());
        if method.as_deref() == Some("initialize") && names_one {
            // What was asked before is over, and a yes to it lets nothing run any more.
            let over = |prompt: &mut Prompt| prompt.state = State::Over;
            self.prompts.iter_mut().for_each(over);
        }
        if method.as_deref() == Some("tools/list") && holds(input, line) == 0 {
            self.lists.extend(string(id));
        } else if method.is_some() && id.len() < 64 {
            self.open.push(id.to_owned());
        }
    }

    fn upstream_runs(&mut self, line: &[u8]) {
        let call = self.only_call(line);
        let sent: usize = self.sent.iter().map(|(sent, _)| holds(sent, line)).sum();
        let ran = self.ran.entry(line.to_vec()).or_default();
        *ran += 1;
        assert!(*ran <= sent, "{ran} runs of {}", lossy(line));
        let Some(name) = call.names.first() else {
            panic!("a call without a name: {}", lossy(line));
        };
        assert!(name != "never", "a denied tool runs");
        if self.is_gated(name) {
            assert!(self.use_up(line), "nobody said yes to {}", lossy(line));
        }
    }

    fn only_call(&self, line: &[u8]) -> Call {
        let mut calls = calls(line);
        let call = calls.pop().filter(|call| call.is_plain && calls.is_empty());
        call.unwrap_or_else(|| panic!("readers differ about {}", lossy(line)))
    }

    fn is_gated(&self, name: &str) -> bool {
        match self.mode {
            Mode::Destructive => name.starts_with("delete_"),
            // An entry allows a name in any case, where that is ASCII.
            Mode::All | Mode::Annotated | Mode::None => !name.eq_ignore_ascii_case("free"),
        }
    }

    /// Whether there are the approvals that a call needs; they are used up.
    fn use_up(&mut self, line: &[u8]) -> bool {
        let call = self.only_call(line);
        let ttl = self.settings.approval_ttl;
        // An approval covers calls that come within its lifetime; one that it was given for
        // may wait longer for the list.
        let covers = |at: Duration| {
            let mut sent = self.sent.iter().filter(|(sent, _)| holds(sent, line) > 0);
            sent.any(|(_, sent)| sent.saturating_sub(at) <= ttl)
        };
        let shows = |prompt: &Prompt| {
            let words = |text: &String| {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
                text.len() > 20 || !text.bytes().all(plain) || prompt.message.contains(text)
            };
            call.names.iter().all(words) && call.marks.iter().all(words)
        };
        let is_high = call.names.iter().any(|name| name.starts_with("delete_"));
        let needed = match self.settings.double_confirm && is_high {
            true => 2,
            false => 1,
        };
        let found: Vec<&mut Prompt> = self
            .prompts
            .iter_mut()
            .filter(|prompt| match prompt.state {
                State::Yes(at) => !prompt.used || covers(at),
                State::Silence => needed == 1,
                State::Open | State::Over => false,
            })
            .filter(|prompt| shows(prompt))
            .collect();
        if found.len() < needed {
            return false;
        }
        for prompt in found.into_iter().take(needed) {
            prompt.used = true;
            if ttl.is_zero() {
                prompt.state = State::Over;
            }
        }
        true
    }
}

/// How often `part` stands in `whole`.
fn holds(whole: &[u8], part: &[u8]) -> usize {
    match part.len() {
        0 => 0,
        length => whole.windows(length).filter(|at| *at == part).count(),
    }
}

fn lossy(line: &[u8]) -> String {
    String::from_utf8_lossy(line).into_owned()
}

const YES: &str = r#""result":{"action":"accept","content":{"approved":true}}"#;
const WAITS: [Duration; 10] = [
    Duration::from_millis(1),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(4_999),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(119),
    Duration::from_secs(120),
    Duration::from_secs(3600),
];
