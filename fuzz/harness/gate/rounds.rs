//! Stateless approvals (2026-07-28): the states that the client was given, and the requests that returned them.
//!
//! It does not decrypt states; it recognizes them by their text.

use std::collections::HashMap;
use std::time::Duration;

use super::super::envelope::is_yes;
use super::super::readers::{Call, has_equal_keys, items, members, only, string};
use super::{Claims, Input, World};

/// The key of the gate's own question.
const QUESTION: &str = "approval-proxy";
/// How the second of two questions begins.
const SECOND: &str = "Second confirmation";
const MAX_ROUNDS: usize = 10;
/// Maximum lifetime of a state.
const LONGEST: Duration = Duration::from_secs(3600);

/// A `requestState` that the client was given.
pub(super) struct State {
    pub(super) text: String,
    /// The call that it belongs to, as [`World::modern_call`] wrote it.
    pub(super) draft: Option<Draft>,
    kind: Kind,
    sent: Duration,
    used: bool,
}

enum Kind {
    /// The gate's question, with the text that the person read.
    Question { message: String, yes: Option<Yes> },
    /// The upstream's question.
    Round {
        number: usize,
        upstream: Option<String>,
    },
}

struct Yes {
    at: Duration,
    /// The line that carried it.
    line: usize,
    /// Whether it may let identical calls run too.
    covers: bool,
}

/// The parts of a call.
#[derive(Clone)]
pub(super) struct Draft {
    pub(super) tool: usize,
    pub(super) mark: String,
    pub(super) task: bool,
    pub(super) client: &'static str,
}

/// A stateless call that the client has sent.
struct Message {
    bare: Bare,
    state: Option<String>,
    answers: Option<String>,
    sent: Duration,
    ran: bool,
}

/// A call without what a retry adds, with values as written.
#[derive(PartialEq, Eq)]
struct Bare {
    envelope: Vec<(String, String)>,
    params: Vec<(String, String)>,
}

#[derive(Default)]
pub(super) struct Rounds {
    pub(super) states: Vec<State>,
    messages: Vec<Message>,
    /// The newest drafts, by id as JSON.
    pub(super) drafts: HashMap<String, Draft>,
    /// How many rounds the approved call that runs under an id has had.
    running: HashMap<String, usize>,
}

impl State {
    /// Returns the yes to it, if its question shows this call.
    fn yes_to(&self, call: &Call) -> Option<&Yes> {
        match &self.kind {
            Kind::Question { message, yes } => yes.as_ref().filter(|_| shows(message, call)),
            Kind::Round { .. } => None,
        }
    }
}

impl Message {
    /// Reads a call as a reader that rejects equal keys.
    fn read(text: &str, sent: Duration) -> Option<Message> {
        let all = members(text).filter(|all| !has_equal_keys(all))?;
        let method = only(&all, "method").and_then(string)?;
        let params = members(only(&all, "params")?).filter(|params| !has_equal_keys(params))?;
        if method != "tools/call" || !is_modern(&params) {
            return None;
        }
        let is_added = |key: &str| matches!(key, "requestState" | "inputResponses");
        let owned = |(key, value): &(String, &str)| (key.clone(), (*value).to_owned());
        Some(Message {
            bare: Bare {
                envelope: all
                    .iter()
                    .filter(|(key, _)| key != "params")
                    .map(owned)
                    .collect(),
                params: params
                    .iter()
                    .filter(|(key, _)| !is_added(key))
                    .map(owned)
                    .collect(),
            },
            state: only(&params, "requestState").map(str::to_owned),
            answers: only(&params, "inputResponses").map(str::to_owned),
            sent,
            ran: false,
        })
    }

    fn state_text(&self) -> Option<String> {
        self.state.as_deref().and_then(string)
    }

    fn says_yes(&self) -> bool {
        self.answer().is_some_and(is_yes)
    }

    /// Returns true if it answers our question, asked `took` ago, with a person's no.
    fn says_no(&self, took: Duration) -> bool {
        let mut claims = Claims::default();
        claims.add(self.answer().unwrap_or_default(), took);
        claims.denied
    }

    /// Returns its answer to our question.
    fn answer(&self) -> Option<&str> {
        let answers = self.answers.as_deref().and_then(members)?;
        only(&answers, QUESTION)
    }

    fn answers_us(&self) -> bool {
        let answers = self.answers.as_deref().and_then(members);
        answers.is_some_and(|answers| answers.iter().any(|(key, _)| key == QUESTION))
    }

    fn adds_nothing(&self) -> bool {
        self.state.is_none() && self.answers.is_none()
    }
}

fn is_modern(params: &[(String, &str)]) -> bool {
    let meta = only(params, "_meta").and_then(members);
    meta.is_some_and(|meta| only(&meta, "io.modelcontextprotocol/protocolVersion").is_some())
}

impl Rounds {
    /// Approvals of one client session cover nothing in the next one, which begins with the newest line.
    pub(super) fn forget_what_is_covered(&mut self, lines: usize) {
        for state in &mut self.states {
            if let Kind::Question { yes: Some(yes), .. } = &mut state.kind
                && yes.line < lines
            {
                yes.covers = false;
            }
        }
    }
}

/// Normalizes an id by its value.
fn meaning(id: &str) -> String {
    match (string(id), id.parse::<f64>()) {
        (Some(text), _) => format!("t{text}"),
        (None, Ok(number)) => format!("n{number}"),
        (None, Err(_)) => id.to_owned(),
    }
}

impl World {
    /// Notes the stateless calls that the client sends, and the approvals in them.
    pub(super) fn note_calls(&mut self, line: &[u8]) {
        let Ok(text) = std::str::from_utf8(line) else {
            return;
        };
        let now = self.now.elapsed;
        let number = self.sent.len() + 1;
        for message in items(text).unwrap_or_else(|| vec![text]) {
            let Some(message) = Message::read(message, now) else {
                continue;
            };
            let state = message.state_text();
            let calls = super::super::readers::calls(message_text(&message).as_bytes());
            let limit = self.state_limit();
            let asked = self.rounds.states.iter().find(|one| {
                matches!(one.kind, Kind::Question { .. }) && Some(&one.text) == state.as_ref()
            });
            if let (Some(asked), Some(answer)) = (asked, message.answer()) {
                self.claims.add(answer, now.saturating_sub(asked.sent));
            }
            let mut states = self.rounds.states.iter_mut();
            if let Some(state) = states.find(|one| Some(&one.text) == state.as_ref())
                && message.says_yes()
                && now - state.sent < limit
                && let Kind::Question { message, yes } = &mut state.kind
                && calls.iter().all(|call| shows(message, call))
            {
                yes.get_or_insert(Yes {
                    at: now,
                    line: number,
                    covers: true,
                });
            }
            self.rounds.messages.push(message);
        }
    }

    fn state_limit(&self) -> Duration {
        self.settings.timeout.unwrap_or(LONGEST).min(LONGEST)
    }

    /// Notes an answer of the gate itself, which may give the client a state.
    pub(super) fn note_state(&mut self, id: &str, result: &str) {
        let Some(result) = members(result) else {
            return;
        };
        let is = |kind: &str| only(&result, "resultType").and_then(string).as_deref() == Some(kind);
        let state = only(&result, "requestState").and_then(string);
        let Some(text) = state.filter(|_| is("input_required")) else {
            assert!(!is("input_required"), "a question without a state");
            return;
        };
        let is_new = self.rounds.states.iter().all(|state| state.text != text);
        assert!(is_new, "the same state twice");
        let kind = match self.asked_by_upstream(id) {
            Some(upstream) => {
                // There is no count for a call that mode `destructive` held only because the tool list was missing.
                let before = self.rounds.running.remove(&meaning(id));
                let number = before.unwrap_or(0) + 1;
                assert!(number <= MAX_ROUNDS, "round {number}");
                Kind::Round { number, upstream }
            }
            None => {
                assert!(!self.client_is_gone, "nobody is there to be asked");
                let requests = only(&result, "inputRequests").and_then(members);
                let requests = requests.expect("a question asks");
                let question = only(&requests, QUESTION).and_then(members);
                let params = question.and_then(|question| members(only(&question, "params")?));
                let message = params.and_then(|params| string(only(&params, "message")?));
                Kind::Question {
                    message: message.expect("a question has a message"),
                    yes: None,
                }
            }
        };
        self.rounds.states.push(State {
            text,
            draft: self.rounds.drafts.get(id).cloned(),
            kind,
            sent: self.now.elapsed,
            used: false,
        });
    }

    /// Returns the upstream's state, if the upstream's line answers this request with a question.
    fn asked_by_upstream(&self, id: &str) -> Option<Option<String>> {
        let Input::Upstream(line) = &self.input else {
            return None;
        };
        let text = std::str::from_utf8(line).ok()?;
        let mut messages = items(text).unwrap_or_else(|| vec![text]).into_iter();
        messages.find_map(|message| {
            let all = members(message)?;
            let is_it = only(&all, "id").is_some_and(|one| meaning(one) == meaning(id));
            let result = members(only(&all, "result")?)?;
            let kind = only(&result, "resultType").and_then(string);
            let asks = kind.as_deref() == Some("input_required");
            (is_it && asks).then(|| only(&result, "requestState").and_then(string))
        })
    }

    /// Returns true if a line is a stateless call that the gate rewrites.
    pub(super) fn is_rewritten(&self, line: &[u8]) -> bool {
        let text = std::str::from_utf8(line).unwrap_or_default();
        let is_modern = Message::read(text, Duration::ZERO).is_some();
        is_modern
            && self
                .sent
                .iter()
                .all(|(sent, _)| super::holds(sent, line) == 0)
    }

    /// Returns whether a stateless call has permission to run, and uses it up. `None` for a legacy call.
    pub(super) fn use_up_modern(&mut self, line: &[u8], call: &Call) -> Option<bool> {
        let got = Message::read(std::str::from_utf8(line).ok()?, Duration::ZERO)?;
        let number = (0..self.rounds.messages.len()).find_map(|at| {
            let message = &self.rounds.messages[at];
            let is_it = !message.ran && message.bare == got.bare;
            let number = is_it.then(|| self.permission(at, &got, call)).flatten()?;
            Some((at, number))
        });
        let Some((at, number)) = number else {
            return Some(false);
        };
        self.rounds.messages[at].ran = true;
        let id = got.bare.envelope.iter().find(|(key, _)| key == "id");
        let id = id.map(|(_, id)| meaning(id)).unwrap_or_default();
        self.rounds.running.insert(id, number);
        Some(true)
    }

    /// Returns the number of its round, if this message permits what the upstream received.
    fn permission(&mut self, at: usize, got: &Message, call: &Call) -> Option<usize> {
        let message = &self.rounds.messages[at];
        let (text, sent) = (message.state_text(), message.sent);
        let mut states = self.rounds.states.iter();
        let brought = states.position(|one| Some(&one.text) == text.as_ref());
        let is_covered = self.is_covered(sent, brought, call);
        let Some(brought) = brought else {
            let is_approved = message.adds_nothing() && (is_covered || self.use_up_item(call));
            return is_approved.then_some(0);
        };
        let state = &self.rounds.states[brought];
        let (number, limit, is_approved) = match &state.kind {
            Kind::Round { number, upstream } => {
                let is_theirs = got.state_text() == *upstream && message.answers == got.answers;
                (is_theirs.then_some(*number)?, LONGEST, true)
            }
            Kind::Question { message: shown, .. } => {
                let is_yes = message.says_yes() && self.is_last_yes(brought, call);
                // If the tool has changed, it may match an earlier approval.
                let may_be_covered = message.says_yes() || !message.answers_us();
                let is_approved = is_yes || (may_be_covered && is_covered);
                // A person may have approved it in the inbox, if the question moved there or is listed there too. Only
                // a person's no undoes that.
                let asks_on = !message.says_no(sent.saturating_sub(state.sent));
                let is_good = is_approved || asks_on;
                let is_good = is_good && got.adds_nothing() && shows(shown, call);
                (is_good.then_some(0)?, self.state_limit(), is_approved)
            }
        };
        let is_fresh = !state.used && sent - state.sent < limit;
        self.rounds.states[brought].used |= is_fresh;
        let is_good = is_fresh && (is_approved || self.use_up_item(call));
        is_good.then_some(number)
    }

    /// Returns true if a person approved this call in the inbox, and uses up the approval.
    fn use_up_item(&mut self, call: &Call) -> bool {
        let mut prompts = self.prompts.iter_mut();
        let found = prompts.find(|prompt| {
            let is_yes = matches!(prompt.state, super::State::Yes(_));
            is_yes && prompt.item.is_some() && shows(&prompt.message, call)
        });
        found.is_some_and(|item| {
            item.state = super::State::Over;
            true
        })
    }

    /// Returns true if an approval from another state covers an identical call.
    fn is_covered(&self, sent: Duration, but: Option<usize>, call: &Call) -> bool {
        let ttl = self.settings.approval_ttl;
        let covers = |at: usize| {
            let yes = self.rounds.states[at].yes_to(call);
            let covers = |yes: &Yes| yes.covers && sent.saturating_sub(yes.at) <= ttl;
            yes.is_some_and(covers) && self.is_last_yes(at, call)
        };
        let mut states = 0..self.rounds.states.len();
        !ttl.is_zero() && states.any(|at| Some(at) != but && covers(at))
    }

    /// Returns true if no further yes is needed after a yes to this question.
    fn is_last_yes(&self, at: usize, call: &Call) -> bool {
        let is_high = call.names.iter().any(|name| name.starts_with("delete_"));
        let states = &self.rounds.states;
        let is_second = || match &states[at].kind {
            Kind::Question { message, .. } => {
                let mut before = states[..at].iter();
                message.starts_with(SECOND) && before.any(|one| one.yes_to(call).is_some())
            }
            Kind::Round { .. } => false,
        };
        !(self.settings.double_confirm && is_high) || is_second()
    }

    /// Checks that no call carries one of the gate's states to the upstream.
    pub(super) fn expect_no_state(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let params = members(&text).and_then(|all| members(only(&all, "params")?));
        for (key, value) in params.iter().flatten() {
            let brought = string(value).filter(|_| key == "requestState");
            let mut states = self.rounds.states.iter();
            let is_ours = states.any(|state| Some(&state.text) == brought.as_ref());
            assert!(!is_ours, "the upstream gets a state: {text}");
        }
    }
}

/// Returns a message's call as text, for the readers.
fn message_text(message: &Message) -> String {
    let write = |members: &[(String, String)]| {
        let members: Vec<String> = members
            .iter()
            .map(|(key, value)| format!("{}:{value}", serde_json::Value::from(key.as_str())))
            .collect();
        members.join(",")
    };
    let (envelope, params) = (&message.bare.envelope, &message.bare.params);
    format!("{{{},\"params\":{{{}}}}}", write(envelope), write(params))
}

/// Returns true if a prompt shows the name and the mark of a call, as far as they are plain words.
pub(super) fn shows(message: &str, call: &Call) -> bool {
    let words = |text: &String| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
        text.len() > 20 || !text.bytes().all(plain) || message.contains(text)
    };
    call.names.iter().all(words) && call.marks.iter().all(words)
}
