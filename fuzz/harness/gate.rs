//! Fuzzes the whole gate: no gated call reaches the upstream without a yes to the prompt that shows
//! it.
//!
//! The input is a script: options on the first line, then one step per line, a letter and its
//! details; see [`World::step`]. In raw lines, `$P` is the newest prompt's id, `$O` the previous
//! prompt's id, `$L` the id of our newest `tools/list`, `$S` the newest state, and `$Q` the
//! previous state.

mod holding;
mod modern;
mod peers;
mod rounds;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use approval_proxy::approval::item::{Assurance, Choice, Verdict};
use approval_proxy::gate::{
    Channel, Engine, EngineId, FromEngine, Gate, Now, Output, ParkedItem, Payload, Resume,
    ResumeKey, Resumption, Settings, TimeoutAction, ToEngine,
};
use approval_proxy::policy::{Mode, Policy, Rules};

use super::readers::{calls, members, only, string};
use rounds::Rounds;

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
/// Nobody reads a question faster than this.
const INSTANT: Duration = Duration::from_millis(250);

/// Runs the script.
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
    /// Approved at this time.
    Yes(Duration),
    /// Timed out, and the operator treats silence as a yes.
    Silence,
    /// Answered otherwise, withdrawn, or its yes was used.
    Over,
}

struct Prompt {
    id: String,
    message: String,
    sent: Duration,
    /// When the client received it, as far as the gate knows.
    got: Duration,
    delivered: bool,
    state: State,
    /// Whether its yes has let a call run.
    used: bool,
    /// The item's id, if the inbox was asked instead of the client.
    item: Option<String>,
}

/// An item that outlives its session.
struct Marked {
    item: String,
    key: ResumeKey,
    until_ms: i64,
    /// Whether its session has left it.
    is_left: bool,
}

/// What a refusal may claim about the client's answers in the current line.
#[derive(Default)]
struct Claims {
    /// That a person said no.
    denied: bool,
    /// That a no came faster than a person can read.
    instant: bool,
}

impl Claims {
    /// Adds an answer that arrived after `took`.
    fn add(&mut self, result: &str, took: Duration) {
        let Some(members) = members(result) else {
            return;
        };
        let action = only(&members, "action").and_then(string);
        let is_said = match action.as_deref() {
            Some("decline") => true,
            Some("accept") => {
                let content = only(&members, "content").and_then(self::members);
                content.is_some_and(|content| only(&content, "approved") == Some("false"))
            }
            _ => false,
        };
        let is_no = is_said || action.as_deref() == Some("cancel");
        self.denied |= is_said && took >= INSTANT;
        self.instant |= is_no && took < INSTANT;
    }
}

/// The line that the gate is processing.
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
    /// The same for stateless calls.
    rounds: Rounds,
    /// What the client's newest line allows a refusal to claim.
    claims: Claims,
    /// The ids of our `tools/list` requests, oldest first.
    lists: Vec<String>,
    /// Everything that the client has sent, and when.
    sent: Vec<(Vec<u8>, Duration)>,
    /// The calls that the upstream received, and how often.
    ran: HashMap<Vec<u8>, usize>,
    /// The ids of the upstream's unanswered requests as JSON, newest last.
    open: Vec<String>,
    /// When parked items expire, and which of them outlive their sessions.
    parked: HashMap<String, i64>,
    marked: Vec<Marked>,
    /// The inbox's unanswered requests.
    asked: VecDeque<Resume>,
    /// Whether the inbox answers late.
    inbox_is_slow: bool,
    log_is_broken: bool,
    count: usize,
    client_is_gone: bool,
}

impl World {
    fn new(options: &[u8]) -> World {
        let has = |option| options.contains(&option);
        let mut settings = Settings {
            server: "db".into(),
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
        // With these settings, one yes lets one call run.
        if has(b'I') && !has(b'D') && !has(b'T') {
            settings.channels.push(Channel::new(Engine::INBOX));
        }
        if has(b'Z') {
            settings.timeout_action = TimeoutAction::Park;
            settings.resumes_parked = true;
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
            rounds: Rounds::default(),
            claims: Claims::default(),
            lists: Vec::new(),
            sent: Vec::new(),
            ran: HashMap::new(),
            open: Vec::new(),
            parked: HashMap::new(),
            marked: Vec::new(),
            asked: VecDeque::new(),
            inbox_is_slow: false,
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
            // The handshake: revision, then `n` for no elicitation or `u` for URL mode only.
            b'h' => self.shake_hands(REVISIONS[digit(0) % REVISIONS.len()], rest.get(1)),
            // A call: tool, id, and variant.
            b'c' => {
                let line = self.call(rest);
                self.client_sends(line);
            }
            // A batch of calls, three bytes each.
            b'b' => {
                let calls: Vec<Vec<u8>> = rest.chunks(3).take(8).map(|c| self.call(c)).collect();
                self.client_sends([&b"["[..], &calls.join(&b","[..]), b"]"].concat());
            }
            // A stateless call: tool, id, and variant.
            b'm' => {
                let line = self.modern_call(rest);
                self.client_sends(line);
            }
            // A retry of a stateless call: which state, which answer, id, and variant.
            b'a' => self.retry(digit(0), &rest[rest.len().min(1)..]),
            // A batch of retries, three bytes each.
            b'B' => self.retry_together(rest),
            // A retry with a forged state: which state, and how it is forged.
            b'f' => self.forge(digit(0), digit(1)),
            // The upstream answers its newest request with a question.
            b'q' => self.ask_back(digit(0)),
            // The client answers a prompt: yes, no, or that it could not ask.
            b'y' => self.answer(digit(0), YES),
            b'n' => self.answer(digit(0), r#""result":{"action":"decline"}"#),
            b'e' => self.answer(digit(0), r#""error":{"code":-32603,"message":"no window"}"#),
            // Or neither: the form is dismissed, or submitted empty.
            b'z' => self.answer(digit(0), r#""result":{"action":"cancel"}"#),
            b'g' => self.answer(digit(0), r#""result":{"action":"accept","content":{}}"#),
            // A person approves an item in the inbox, the newest or an older one.
            b'i' => self.approve_item(digit(0)),
            // The inbox starts or stops answering late.
            b'H' => {
                self.inbox_is_slow = !self.inbox_is_slow;
                self.inbox_answers();
            }
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
            // The upstream answers our `tools/list`, or a request of the client.
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
            // Time passes, and the timers fire late.
            b's' => self.set_clock(self.now.elapsed + WAITS[digit(0) % WAITS.len()]),
            b'd' => {
                self.gate.client_drained(self.now);
                for prompt in &mut self.prompts {
                    if !std::mem::replace(&mut prompt.delivered, true) {
                        prompt.got = self.now.elapsed;
                    }
                }
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
        // A wait for the tool list may still time out; after that, nothing is pending.
        self.advance(Duration::from_secs(10));
        assert_eq!(self.gate.poll_timeout(), None, "something waits for nobody");
        assert!(!self.gate.wants_drained());
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
                Output::ToEngine(told) => self.inbox_gets(told),
                Output::Record(_) | Output::Warn(_) | Output::CloseUpstream => {}
            }
        }
        self.input = Input::None;
        self.inbox_answers();
    }

    // ---- the inbox

    fn inbox_answers(&mut self) {
        if self.inbox_is_slow {
            return;
        }
        let Some(asked) = self.asked.pop_front() else {
            return;
        };
        let (told, item) = match asked {
            Resume::IsAny => (Some(Resumption::IsAny(!self.marked.is_empty())), None),
            Resume::Mark { item, key } => {
                let until_ms = self.parked[&item];
                let is_left = false;
                self.marked.push(Marked {
                    item,
                    key,
                    until_ms,
                    is_left,
                });
                (None, None)
            }
            Resume::Find { lookup, key, .. } => {
                let now = self.now.unix_ms;
                let mut marked = self.marked.iter_mut();
                let found = marked.find(|it| it.is_left && it.key == key && now < it.until_ms);
                let parked = found.map(|found| {
                    found.is_left = false;
                    ParkedItem {
                        id: found.item.clone(),
                        until_ms: found.until_ms,
                        is_decided: false,
                    }
                });
                let item = parked.as_ref().map(|parked| parked.id.clone());
                (Some(Resumption::Found { lookup, parked }), item)
            }
            Resume::TakeUp { item } => {
                let mut marked = self.marked.iter();
                let at = marked.position(|marked| marked.item == item && !marked.is_left);
                at.map(|at| self.marked.remove(at));
                let is_done = at.is_some();
                (Some(Resumption::TakenUp { item, is_done }), None)
            }
            Resume::Leave { item } => {
                let mut marked = self.marked.iter_mut();
                match marked.find(|marked| marked.item == item) {
                    Some(marked) => marked.is_left = true,
                    None => self.item_ends(&item),
                }
                (None, None)
            }
        };
        if let Some(told) = told {
            self.gate.from_engine(FromEngine::Resume(told), self.now);
        }
        // It may have been decided before.
        let mut prompts = self.prompts.iter();
        let known = prompts.find(|prompt| item.is_some() && prompt.item == item);
        if let (Some(item), Some(State::Yes(_))) = (item, known.map(|prompt| prompt.state)) {
            self.tell_yes(item);
        }
        self.carry_out();
    }

    fn item_ends(&mut self, item: &str) {
        let mut prompts = self.prompts.iter_mut();
        let closed = prompts.find(|prompt| prompt.item.as_deref() == Some(item));
        closed.expect("an item is closed").state = State::Over;
        self.marked.retain(|marked| marked.item != item);
    }

    fn inbox_gets(&mut self, told: ToEngine) {
        match told {
            ToEngine::Ask { item, replaces, .. } => {
                if let Some(replaced) = replaces {
                    self.item_ends(&replaced);
                }
                self.prompts.push(Prompt {
                    // No client knows this id.
                    id: format!("item {}", item.id),
                    message: item.call,
                    sent: self.now.elapsed,
                    got: self.now.elapsed,
                    delivered: false,
                    state: State::Open,
                    used: false,
                    item: Some(item.id),
                });
            }
            ToEngine::Join { .. } | ToEngine::OpenBrowser { .. } => {}
            ToEngine::Close { item, .. } => {
                // A yes to it does not count either, if no call has come for it.
                self.item_ends(&item);
            }
            ToEngine::Park { item, until_ms } => {
                self.parked.insert(item, until_ms);
            }
            ToEngine::Decided(_) => {}
            ToEngine::Resume(asked) => self.asked.push_back(asked),
        }
    }

    fn approve_item(&mut self, back: usize) {
        let items = self.prompts.iter_mut().rev();
        let mut items = items.filter(|prompt| prompt.item.is_some());
        let Some(prompt) = items.nth(back) else {
            return;
        };
        if prompt.state == State::Open {
            prompt.state = State::Yes(self.now.elapsed);
        }
        let item = prompt.item.clone().expect("it is one");
        // If its session has left it, the gate learns the verdict when the item is resumed.
        if !self
            .marked
            .iter()
            .any(|marked| marked.is_left && marked.item == item)
        {
            self.tell_yes(item);
            self.carry_out();
        }
    }

    fn tell_yes(&mut self, item: String) {
        let verdict = Verdict {
            fields: None,
            choice: Choice::Approve,
            reason: None,
            cover: Duration::ZERO,
            assurance: Assurance::InboxSession,
            approver: None,
            decided_ms: self.now.unix_ms,
        };
        let told = FromEngine::Verdict {
            engine: EngineId::INBOX,
            item,
            verdict,
        };
        self.gate.from_engine(told, self.now);
    }

    fn for_upstream(&self, payload: &Payload) -> Vec<u8> {
        match (payload, &self.input) {
            (Payload::Text(text), _) => text.clone().into_bytes(),
            (Payload::Frame, Input::Client(line)) => line.clone(),
            (Payload::Frame, _) => panic!("there is no line for the upstream"),
        }
    }
}

/// Counts the occurrences of `part` in `whole`.
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
