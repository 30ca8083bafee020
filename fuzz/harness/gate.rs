//! The whole gate: no gated call reaches the upstream without a yes to the prompt that shows it.
//!
//! The bytes are a script: options on the first line, then a step a line, a letter and its
//! details; see [`World::step`]. In raw lines `$P` is the newest prompt's id, `$O` that of the
//! one before, `$L` that of our newest `tools/list`, `$S` the newest state, and `$Q` the one
//! before.

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
/// Faster than this, nobody has read a question.
const INSTANT: Duration = Duration::from_millis(250);

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
    /// Since when the client has it, as far as the gate knows.
    got: Duration,
    delivered: bool,
    state: State,
    /// Whether its yes has let a call run.
    used: bool,
    /// The item's id, where the inbox was asked and not the client.
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

/// What a refusal may claim of the client's answers in one line.
#[derive(Default)]
struct Claims {
    /// A person may have said no.
    denied: bool,
    /// A no came faster than a person can read.
    instant: bool,
}

impl Claims {
    /// A question was answered so, after so long.
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
    /// The same for calls of 2026-07-28.
    rounds: Rounds,
    /// What the newest line of the client's lets a refusal claim.
    claims: Claims,
    /// The ids of our `tools/list`, oldest first.
    lists: Vec<String>,
    /// All that the client has sent, and when.
    sent: Vec<(Vec<u8>, Duration)>,
    /// The calls that the upstream got, and how often each.
    ran: HashMap<Vec<u8>, usize>,
    /// The ids of what the upstream got last, as JSON.
    open: Vec<String>,
    /// Until when items are parked, and which of them outlive their sessions.
    parked: HashMap<String, i64>,
    marked: Vec<Marked>,
    /// What the inbox was asked for and has not answered.
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
        // There, one yes lets one call run.
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
            // A call of 2026-07-28: tool, id, and what is special about it.
            b'm' => {
                let line = self.modern_call(rest);
                self.client_sends(line);
            }
            // Such a call again: whose state, what answer, id, and what is different.
            b'a' => self.retry(digit(0), &rest[rest.len().min(1)..]),
            // The same in a batch, three bytes each.
            b'B' => self.retry_together(rest),
            // The same with a forged state: whose, and how it is forged.
            b'f' => self.forge(digit(0), digit(1)),
            // The upstream asks something in answer to what it got last.
            b'q' => self.ask_back(digit(0)),
            // The client answers a prompt: yes, no, or that it could not.
            b'y' => self.answer(digit(0), YES),
            b'n' => self.answer(digit(0), r#""result":{"action":"decline"}"#),
            b'e' => self.answer(digit(0), r#""error":{"code":-32603,"message":"no window"}"#),
            // Or neither: it dismisses it, or fills in nothing.
            b'z' => self.answer(digit(0), r#""result":{"action":"cancel"}"#),
            b'g' => self.answer(digit(0), r#""result":{"action":"accept","content":{}}"#),
            // Somebody says yes in the inbox, to a newer or an older item.
            b'i' => self.approve_item(digit(0)),
            // The inbox is late with what it is asked, or no more.
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
        // A wait for the list may still run out; after that nothing waits.
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
        // It may have been decided about before.
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
            ToEngine::Ask { item, .. } => self.prompts.push(Prompt {
                // No client knows it by that.
                id: format!("item {}", item.id),
                message: item.call,
                sent: self.now.elapsed,
                got: self.now.elapsed,
                delivered: false,
                state: State::Open,
                used: false,
                item: Some(item.id),
            }),
            ToEngine::OpenBrowser { .. } => {}
            ToEngine::Close { item, .. } => {
                // Nor does a yes to it count that no call has come for.
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
        // Whose session has left it hears of it when it is resumed.
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
