//! A small account of what the client was shown and has answered in the words of 2026-07-28,
//! and what may therefore run.
//!
//! It is told what each line means before the gate sees it, and then reads what the gate did,
//! one event after the other. Written from DESIGN's and CONTRACT's sentences; it knows nothing
//! of the gate's inside, and opens no state.

mod claims;
mod events;
mod lists;
mod questions;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde_json::Value;

use super::steps::{Meta, Setup};
use crate::gate::tests::properties::oracle::{Answer, Answered};
use crate::gate::tests::properties::reading::{Shown, What, meaning};
use crate::gate::tests::properties::steps::{Ending, Setup as Rules};
use crate::mcp::message::RequestId;
use lists::Lists;

/// DESIGN: "ten rounds at most".
const MAX_ROUNDS: u32 = 10;
/// DESIGN: "its own expiry (at most an hour […])".
const LONGEST: Duration = Duration::from_secs(3600);

/// Which way of the protocol a call is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Era {
    Legacy,
    Modern,
}

/// A `tools/call` as the client means it.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) id: Value,
    pub(super) text: String,
    pub(super) what: What,
    pub(super) era: Era,
    pub(super) client: u8,
    pub(super) meta: Meta,
    pub(super) token: Option<u64>,
    pub(super) brings: Option<Brings>,
}

/// What a call brings beside what it is.
#[derive(Debug, Clone)]
pub(super) struct Brings {
    /// Whatever its `requestState` is, if it is a text.
    pub(super) state: Option<String>,
    /// What its answers say to a question of ours; `None` is nothing.
    pub(super) answer: Option<Answer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Waits,
    /// Answered by a question of ours.
    Asked,
    Forwarded,
    /// It would have gone on, but its line could not be written.
    Unrecorded,
    Refused,
    /// Taken back by the client, so never answered.
    Cancelled,
}

/// A `tools/call` that can be read.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) told: Told,
    pub(super) end: End,
    id: String,
    step: u32,
    /// The state that it has brought and that is for it.
    brought: Option<usize>,
    /// The yeses that were given to exactly this, one after the other.
    yeses: Vec<Shown>,
    /// A human has said no, or it brings what belongs to nothing.
    unfit: bool,
    /// What the newest question about it was answered with.
    answered: Option<Answered>,
    /// As what it was approved, once it runs: the tool's description.
    approved_as: Option<Option<String>>,
    /// The upstream may still answer another request under its id.
    is_ambiguous: bool,
    /// How it must end in this step.
    expected: Option<End>,
    was_unrecorded: bool,
    /// Decision lines, those left out that promised what the log then did not take.
    lines: u32,
}

/// A `requestState` that the client was given.
#[derive(Debug)]
pub(super) struct State {
    pub(super) text: String,
    /// The request whose answer it came in.
    pub(super) request: usize,
    pub(super) kind: Kind,
    pub(super) used: bool,
    sent: Duration,
    until: Duration,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// Of ours.
    Question {
        shown: Shown,
        /// The yeses before.
        yeses: Vec<Shown>,
        /// Who was asked.
        clients: Vec<u8>,
    },
    /// Of the upstream's, about a call that runs.
    Round {
        count: u32,
        description: Option<String>,
        upstream: Option<String>,
    },
}

/// A yes that covers identical calls for a while.
#[derive(Debug)]
struct Approval {
    request: usize,
    yeses: Vec<Shown>,
    clients: Vec<u8>,
    at: Duration,
}

/// A prompt about a legacy call.
#[derive(Debug)]
pub(super) struct Prompt {
    pub(super) id: Value,
    request: usize,
    shown: Shown,
    open: bool,
    sent: Duration,
    until: Option<Duration>,
}

/// What the upstream owes the client.
#[derive(Debug)]
pub(super) struct Owed {
    pub(super) id: Value,
    /// The call, where it is one.
    call: Option<usize>,
}

/// What the client must get because of what the upstream sent.
#[derive(Debug)]
enum ForClient {
    Relayed(String),
    /// A question about an approved call, with another state.
    Wrapped {
        call: usize,
        result: Value,
        state: Option<String>,
    },
}

pub(super) struct Oracle {
    setup: Setup,
    rules: Rules,
    now: Duration,
    step: u32,
    pub(super) requests: Vec<Request>,
    pub(super) states: Vec<State>,
    pub(super) prompts: Vec<Prompt>,
    approvals: Vec<Approval>,
    pub(super) lists: Lists,
    pub(super) owed: BTreeMap<String, Owed>,
    to_upstream: VecDeque<String>,
    to_client: VecDeque<ForClient>,
    /// The ids of what cannot be read, or has no room.
    refusals: VecDeque<Value>,
    /// The ids of answers to nothing, of which the log must speak.
    unasked: VecDeque<String>,
    /// The client takes the call back that waits under this id.
    cancels: Option<String>,
    our_ids: BTreeSet<String>,
    /// Ids under which the upstream may still answer a request that the client took back.
    ambiguous: BTreeSet<String>,
    client_gone: bool,
    /// A line says that a first yes was given, and no second question has followed it.
    first_yes: bool,
    upstream_gone: bool,
    /// Timers may fire later than they should.
    is_late: bool,
    /// What was seen, so that a run that exercised nothing can be noticed.
    pub(super) seen: BTreeMap<&'static str, u32>,
}

impl Oracle {
    pub(super) fn new(setup: &Setup) -> Oracle {
        Oracle {
            setup: setup.clone(),
            rules: rules(setup),
            now: Duration::ZERO,
            step: 0,
            requests: Vec::new(),
            states: Vec::new(),
            prompts: Vec::new(),
            approvals: Vec::new(),
            lists: Lists::default(),
            owed: BTreeMap::new(),
            to_upstream: VecDeque::new(),
            to_client: VecDeque::new(),
            refusals: VecDeque::new(),
            unasked: VecDeque::new(),
            cancels: None,
            our_ids: BTreeSet::new(),
            ambiguous: BTreeSet::new(),
            client_gone: false,
            first_yes: false,
            upstream_gone: false,
            is_late: false,
            seen: BTreeMap::new(),
        }
    }

    pub(super) fn is_at(&mut self, now: Duration) {
        self.now = now;
        self.lists.is_at(now);
    }

    // ---- what it is told

    /// A request that is no call, or a notification, from the client.
    pub(super) fn relays_to_upstream(&mut self, text: String) {
        self.to_upstream.push_back(text);
    }

    /// Whether a request that is no call goes on.
    pub(super) fn requests(&mut self, id: &Value, text: String) -> bool {
        let goes_on = self.owed.len() < self.setup.max_pending;
        if goes_on {
            let owed = Owed {
                id: id.clone(),
                call: None,
            };
            self.owed.insert(meaning(id), owed);
            self.to_upstream.push_back(text);
        } else {
            self.refusals.push_back(id.clone());
        }
        goes_on
    }

    /// A call that readers could read differently.
    pub(super) fn refuses(&mut self, id: Value) {
        self.refusals.push_back(id);
    }

    pub(super) fn cancels(&mut self, id: &Value, text: String) {
        let id = meaning(id);
        if self.waiting(&id).is_some() {
            self.cancels = Some(id);
            return;
        }
        if self.owed.remove(&id).is_some() {
            self.ambiguous.insert(id);
        }
        self.to_upstream.push_back(text);
    }

    /// The client introduces itself anew.
    pub(super) fn begins_session(&mut self) {
        self.lists.session_begins();
        self.approvals.clear();
        for request in &mut self.requests {
            // Nothing that was said in the old session lets a call run.
            if request.end == End::Waits && request.told.era == Era::Legacy {
                request.yeses.clear();
            }
        }
        self.prompts
            .iter_mut()
            .for_each(|prompt| prompt.open = false);
    }

    pub(super) fn relays_to_client(&mut self, text: String) {
        self.to_client.push_back(ForClient::Relayed(text));
    }

    /// The upstream answers a request: with a result that is a question, or with something else.
    pub(super) fn upstream_answers(&mut self, id: &Value, mut text: String, asks: Option<Value>) {
        let written = format!(r#""id":{id}"#);
        let mut id = meaning(id);
        if let Some(meant) = self.meant_by(&id) {
            // The client reads the id that it has given.
            text = text.replacen(&written, &format!(r#""id":{meant}"#), 1);
            id = meant;
            self.note("an id as text");
        }
        if !self.owed.contains_key(&id) && !self.ambiguous.contains(&id) {
            self.unasked.push_back(id.clone());
        }
        if self.waiting(&id).is_some() {
            // It has not seen the call; the client never hears of it.
            return;
        }
        if !self.owed.contains_key(&id) && self.is_like_one_that_waits(&id) {
            return;
        }
        let owed = self.owed.remove(&id);
        let call = owed.and_then(|owed| owed.call);
        let call = call.filter(|call| {
            let request = &self.requests[*call];
            let is_round = request.told.era == Era::Modern && request.approved_as.is_some();
            is_round && !request.is_ambiguous
        });
        match (call, asks) {
            (Some(call), Some(mut result)) => {
                let state = result.as_object_mut().unwrap().remove("requestState");
                let state = state.map(|state| state.as_str().unwrap().to_owned());
                self.to_client.push_back(ForClient::Wrapped {
                    call,
                    result,
                    state,
                });
            }
            _ => self.relays_to_client(text),
        }
    }

    /// Time has passed, and no timer has fired.
    pub(super) fn is_late(&mut self) {
        self.is_late = true;
    }

    pub(super) fn loses_client(&mut self) {
        self.client_gone = true;
    }

    pub(super) fn loses_upstream(&mut self) {
        self.upstream_gone = true;
    }

    /// `ticked`: all timers have fired.
    pub(super) fn ends_step(&mut self, ticked: bool) {
        assert!(self.to_upstream.is_empty(), "lost: {:?}", self.to_upstream);
        assert!(self.to_client.is_empty(), "lost: {:?}", self.to_client);
        assert!(self.refusals.is_empty(), "unrefused: {:?}", self.refusals);
        assert!(self.unasked.is_empty(), "unrecorded: {:?}", self.unasked);
        assert_eq!(self.cancels, None, "never taken back");
        for request in &mut self.requests {
            assert_ne!(request.end, End::Unrecorded, "never told: {request:?}");
            if let Some(expected) = request.expected.take() {
                let is_so = request.end == expected
                    || (expected == End::Forwarded && request.was_unrecorded);
                assert!(is_so, "should be {expected:?}: {request:?}");
            }
        }
        for state in &self.states {
            // CONTRACT 6: "an ask that nobody answers gets its `timeout` line when it expires,
            // in both eras".
            let waits = matches!(state.kind, Kind::Question { .. }) && !state.used;
            assert!(
                !(ticked && waits && state.until <= self.now),
                "no line for {state:?}"
            );
        }
        self.is_late &= !ticked;
        self.step += 1;
    }

    /// Everything has closed and all timers have run.
    pub(super) fn ends(&self) {
        for request in &self.requests {
            let lines = match request.end {
                End::Asked => 0,
                End::Forwarded | End::Refused | End::Cancelled => 1,
                End::Waits | End::Unrecorded => panic!("never ended: {request:?}"),
            };
            assert_eq!(request.lines, lines, "decision lines of {request:?}");
        }
        let is_open = |state: &&State| matches!(state.kind, Kind::Question { .. }) && !state.used;
        let open: Vec<&State> = self.states.iter().filter(is_open).collect();
        assert!(open.is_empty(), "never ended: {open:?}");
        assert!(self.owed.is_empty(), "never answered: {:?}", self.owed);
    }

    // ---- what it knows

    /// The call that waits under an id, for the list or for a human.
    fn waiting(&self, id: &str) -> Option<usize> {
        let mut requests = self.requests.iter();
        requests.position(|request| request.id == id && request.end == End::Waits)
    }

    /// Whether some client could take an id for that of a call that waits.
    fn is_like_one_that_waits(&self, id: &str) -> bool {
        let read = |id: &str| RequestId::from_json(id).unwrap();
        let mut requests = self.requests.iter();
        requests.any(|held| held.end == End::Waits && read(id).passes_for(&read(&held.id)))
    }

    /// The request that is owed an answer and differs from this id in its quotes alone, where no
    /// request has exactly this id and no call that waits could be taken for it.
    fn meant_by(&self, id: &str) -> Option<String> {
        let number = |text: &str| text.parse::<i64>().is_ok_and(|n| n.to_string() == text);
        let text = id.strip_prefix('"').and_then(|id| id.strip_suffix('"'));
        let meant = match text {
            Some(text) if number(text) => text.to_owned(),
            None if number(id) => format!("\"{id}\""),
            Some(_) | None => return None,
        };
        let is_other = self.owed.contains_key(id) || self.is_like_one_that_waits(id);
        (self.owed.contains_key(&meant) && !is_other).then_some(meant)
    }

    fn is_in_use(&self, id: &str) -> bool {
        self.owed.contains_key(id) || self.waiting(id).is_some()
    }

    /// Whether there may be no room for one more call to wait or be asked about.
    fn may_be_full(&self) -> bool {
        let waiting = self.requests.iter();
        let waiting = waiting.filter(|request| request.end == End::Waits).count();
        let out = self.states.iter().filter(|state| !state.used).count();
        waiting + out >= self.setup.max_pending
    }

    /// When a question that is asked now ends.
    fn limit(&self) -> Duration {
        let limit = self.setup.timeout_secs.map(Duration::from_secs);
        self.now + limit.unwrap_or(LONGEST).min(LONGEST)
    }

    fn note(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }
}

/// The same rules in the words of the reading of policy that both eras share.
fn rules(setup: &Setup) -> Rules {
    Rules {
        mode: u8::from(setup.all),
        allow: 0,
        deny: 0,
        timeout_secs: setup.timeout_secs,
        approve_on_timeout: false,
        ttl_secs: setup.ttl_secs,
        double_confirm: setup.double_confirm,
        dry_run: false,
        best_effort: setup.best_effort,
        retries: 0,
        explain: false,
        shaken: setup.legacy,
        eager: setup.eager,
        ending: Ending::Client,
    }
}
