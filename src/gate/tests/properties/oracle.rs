//! A small model of calls, questions, yeses, lists and records, legacy and stateless, and of what
//! may therefore happen.
//!
//! It learns what each line means before the gate sees it, and then checks what the gate did, one
//! event after the other. It is written from the sentences of docs/reference. It does not know the
//! gate's internals, and opens no state.
//!
//! The ways in which a question reaches the client and its answer comes back differ: `prompts` has
//! the legacy requests, `states` the stateless results and retries.

mod answers;
mod events;
mod lists;
mod prompts;
mod runs;
mod states;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde_json::Value;

use super::reading::{ByName, Shown, What, by_name, meaning, passes};
use super::steps::{Era, Setup, Words};
use crate::mcp::message::RequestId;
pub(super) use answers::{Answer, Answered};
use lists::Lists;
pub(super) use prompts::Prompt;
use prompts::Yes;
use states::Approval;
pub(super) use states::{Brings, Kind, State};

/// A `tools/call` as the client means it.
#[derive(Debug, Clone)]
pub(super) struct IntendedCall {
    pub(super) id: Value,
    pub(super) text: String,
    pub(super) what: What,
    pub(super) words: Words,
    pub(super) token: Option<String>,
    pub(super) brings: Option<Brings>,
}

impl IntendedCall {
    pub(super) fn era(&self) -> Era {
        match self.words {
            Words::Legacy => Era::Legacy,
            Words::Stateless { .. } => Era::Stateless,
        }
    }
}

/// A `tools/call` that can be read.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) intended: IntendedCall,
    pub(super) id: String,
    pub(super) end: End,
    step: u32,
    /// The state that it brought and that belongs to it.
    brought: Option<usize>,
    /// The yeses given to the states of this call, in order.
    yeses: Vec<Shown>,
    /// It brings a no, or something that belongs to no question.
    unfit: bool,
    /// Its answer to the question whose state it brings.
    answered: Option<Answered>,
    /// The tool's description that it was approved with, once it runs.
    approved_as: Option<Option<String>>,
    /// The upstream may still answer another request with this id.
    is_ambiguous: bool,
    /// How it must end in this step.
    expected: Option<End>,
    was_unrecorded: bool,
    /// Decision records, without those of releases that the log then rejected.
    lines: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Waits,
    /// Answered by a question of ours.
    Asked,
    Forwarded,
    /// It would have been forwarded, but its record could not be written.
    Unrecorded,
    Refused,
    /// Cancelled by the client, so never answered.
    Cancelled,
}

/// A request that the upstream has not answered.
#[derive(Debug, Clone)]
pub(super) struct Unanswered {
    pub(super) id: Value,
    pub(super) method: String,
    /// The call, if it is one.
    pub(super) call: Option<usize>,
}

/// Something that must happen because of what the client sent, in this order.
#[derive(Debug)]
enum Expected {
    Relayed(String),
    /// It is refused while a call with its id waits, and if there is no room.
    Request {
        id: Value,
        method: String,
        text: String,
    },
    /// It may have to wait instead.
    Call(usize, Passage),
    Cancel {
        id: String,
        text: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passage {
    Now,
    NowOrLater,
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

/// What a refused line leads to, besides a record.
#[derive(Debug, Clone)]
pub(super) enum Refusal {
    Unlogged(Value),
    Answered(Value),
    Unanswered,
}

pub(super) struct Oracle {
    setup: Setup,
    now: Duration,
    step: u32,
    pub(super) calls: Vec<Call>,
    pub(super) prompts: Vec<Prompt>,
    pub(super) states: Vec<State>,
    /// The yeses to prompts in this session.
    yeses: Vec<Yes>,
    /// The uses of yeses, each with the yeses that could explain it.
    uses: Vec<Vec<usize>>,
    /// The yeses to states that cover identical calls for a while.
    approvals: Vec<Approval>,
    pub(super) lists: Lists,
    pub(super) unanswered: BTreeMap<String, Unanswered>,
    to_upstream: VecDeque<Expected>,
    to_client: VecDeque<ForClient>,
    refusals: VecDeque<Refusal>,
    /// Answers without a request: their ids, and whether the log certainly mentions them.
    unasked: Vec<(String, bool)>,
    /// Errors that the upstream must get for requests with our ids.
    refused_upstream: Vec<Value>,
    our_ids: BTreeSet<String>,
    /// Ids with which the upstream may still answer an earlier request.
    ambiguous: BTreeSet<String>,
    passed_in_step: Option<usize>,
    /// Calls in this step that took room until their record failed.
    unrecorded: usize,
    client_gone: bool,
    client_heard: bool,
    upstream_gone: bool,
    /// Time has passed in this step.
    waited: bool,
    /// Timers may fire later than they should.
    is_late: bool,
    /// A record says that a first yes was given, and no second question has followed it.
    first_yes: bool,
    /// An answer in this step must lead to a refusal.
    must_refuse: bool,
    /// What was seen, so that a run that exercised nothing can be noticed.
    pub(super) seen: BTreeMap<&'static str, u32>,
}

impl Oracle {
    pub(super) fn new(setup: &Setup) -> Oracle {
        Oracle {
            setup: setup.clone(),
            now: Duration::ZERO,
            step: 0,
            calls: Vec::new(),
            prompts: Vec::new(),
            states: Vec::new(),
            yeses: Vec::new(),
            uses: Vec::new(),
            approvals: Vec::new(),
            lists: Lists::default(),
            unanswered: BTreeMap::new(),
            to_upstream: VecDeque::new(),
            to_client: VecDeque::new(),
            refusals: VecDeque::new(),
            unasked: Vec::new(),
            refused_upstream: Vec::new(),
            our_ids: BTreeSet::new(),
            ambiguous: BTreeSet::new(),
            passed_in_step: None,
            unrecorded: 0,
            client_gone: false,
            client_heard: true,
            upstream_gone: false,
            waited: false,
            is_late: false,
            first_yes: false,
            must_refuse: false,
            seen: BTreeMap::new(),
        }
    }

    pub(super) fn is_at(&mut self, now: Duration) {
        self.now = now;
        self.lists.is_at(now);
    }

    // ---- the client's messages

    pub(super) fn relays_to_upstream(&mut self, text: String) {
        self.to_upstream.push_back(Expected::Relayed(text));
    }

    /// A request that is not a call.
    pub(super) fn requests(&mut self, id: Value, method: &str, text: String) {
        let method = method.to_owned();
        self.lists.settled &= method != "initialize";
        self.to_upstream
            .push_back(Expected::Request { id, method, text });
    }

    pub(super) fn refuses(&mut self, refusal: Refusal) {
        self.refusals.push_back(refusal);
    }

    pub(super) fn cancels(&mut self, id: &Value, text: String) {
        let id = meaning(id);
        self.to_upstream.push_back(Expected::Cancel { id, text });
    }

    /// The client calls a tool. `alone`: in a line of its own, so the current state is the state it
    /// meets.
    pub(super) fn calls(&mut self, intended: IntendedCall, alone: bool, writable: bool) {
        let id = meaning(&intended.id);
        let expected = if alone && !self.client_gone && !self.upstream_gone {
            self.expected(&intended)
        } else {
            None
        };
        let passage = self.passage(&intended, &id, writable);
        self.to_upstream
            .push_back(Expected::Call(self.calls.len(), passage));
        self.calls.push(Call {
            id,
            end: End::Waits,
            step: self.step,
            brought: None,
            yeses: Vec::new(),
            unfit: intended.brings.is_some(),
            answered: None,
            approved_as: None,
            is_ambiguous: false,
            expected,
            was_unrecorded: false,
            lines: 0,
            intended,
        });
        self.claim(self.calls.len() - 1);
    }

    fn passage(&self, intended: &IntendedCall, id: &str, writable: bool) -> Passage {
        let (setup, tool) = (&self.setup, &intended.what.tool);
        let passes = passes(setup, self.lists.newest(), tool);
        let goes_on = (passes && (writable || setup.best_effort)) || (setup.dry_run && writable);
        let is_decided = self.lists.settled || by_name(setup, tool) != ByName::Depends;
        let has_room = setup.max_pending == 4096 && intended.brings.is_none();
        if goes_on && is_decided && has_room && !self.is_in_use(id) {
            Passage::Now
        } else {
            Passage::NowOrLater
        }
    }

    // ---- the upstream's messages

    pub(super) fn relays_to_client(&mut self, text: String) {
        self.to_client.push_back(ForClient::Relayed(text));
    }

    /// The upstream answers a request that it was not sent. `surely`: it cannot be a late answer.
    pub(super) fn answers_unasked(&mut self, id: String, surely: bool) {
        self.unasked.push((id, surely));
    }

    pub(super) fn refuses_upstream(&mut self, id: Value) {
        self.refused_upstream.push(id);
    }

    /// The upstream answers with some id: with a result that is a question, or with something else.
    pub(super) fn upstream_answers(&mut self, id: &Value, mut text: String, asks: Option<Value>) {
        let written = format!(r#""id":{id}"#);
        let mut id = meaning(id);
        if let Some(meant) = self.request_meant_by(&id) {
            // The client reads the id that it used.
            text = text.replacen(&written, &format!(r#""id":{meant}"#), 1);
            id = meant;
            self.note("an id as text");
        }
        if !self.unanswered.contains_key(&id) && !self.ambiguous.contains(&id) {
            self.unasked.push((id.clone(), true));
        }
        if !self.unanswered.contains_key(&id) && self.is_like_one_that_waits(&id) {
            // The upstream has not seen the call, so the client never gets this.
            return;
        }
        let call = self
            .unanswered
            .remove(&id)
            .and_then(|unanswered| unanswered.call);
        let call = call.filter(|call| {
            let call = &self.calls[*call];
            call.intended.era() == Era::Stateless
                && call.approved_as.is_some()
                && !call.is_ambiguous
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

    // ---- other events

    pub(super) fn hears_client(&mut self, heard: bool) {
        self.client_heard = heard;
    }

    /// Time passes: lists are given up. `ticks`: timers fire in time.
    pub(super) fn waits(&mut self, ticks: bool) {
        self.lists.waits();
        self.waited = true;
        self.is_late |= !ticks;
    }

    pub(super) fn loses_upstream(&mut self) {
        self.upstream_gone = true;
    }

    pub(super) fn loses_client(&mut self) {
        self.client_gone = true;
        for prompt in &mut self.prompts {
            prompt.open = false;
        }
    }

    /// The client begins a session, the first or another one. Questions of the earlier session are
    /// over. A yes to one of them, even later in the same batch, lets nothing run.
    fn session_begins(&mut self) {
        for prompt in &self.prompts {
            assert!(!prompt.open, "open in another session: {prompt:?}");
        }
        for at in 0..self.calls.len() {
            let call = &self.calls[at];
            if call.end == End::Waits && call.intended.era() == Era::Legacy {
                self.expect_never_asked(at);
            }
        }
        self.yeses.clear();
        self.uses.clear();
        // Approvals by later calls in the same line belong to no session.
        let behind = self.to_upstream.iter().find_map(|expected| match expected {
            Expected::Call(at, _) => Some(*at),
            _ => None,
        });
        let behind = behind.unwrap_or(usize::MAX);
        self.approvals.retain(|approval| approval.call >= behind);
        self.lists.session_begins();
    }

    /// `ticked`: all timers have fired.
    pub(super) fn ends_step(&mut self, ticked: bool) {
        assert!(!self.must_refuse, "a no refuses nothing");
        for expected in self.to_upstream.drain(..) {
            match expected {
                Expected::Call(_, Passage::NowOrLater) => {}
                lost => panic!("the upstream never got {lost:?}"),
            }
        }
        assert!(
            self.to_client.is_empty(),
            "the client never got {:?}",
            self.to_client
        );
        assert!(
            self.refusals.is_empty() && self.refused_upstream.is_empty(),
            "never refused: {:?} {:?}",
            self.refusals,
            self.refused_upstream
        );
        let unasked = std::mem::take(&mut self.unasked);
        assert!(
            !unasked.iter().any(|(_, surely)| *surely),
            "never recorded: {unasked:?}"
        );
        for call in &mut self.calls {
            assert_ne!(call.end, End::Unrecorded, "never told: {call:?}");
            if let Some(expected) = call.expected.take() {
                let is_so =
                    call.end == expected || (expected == End::Forwarded && call.was_unrecorded);
                assert!(is_so, "should be {expected:?}: {call:?}");
            }
        }
        self.expect_open_questions(ticked);
        self.is_late &= !ticked;
        self.lists.ends_step();
        self.waited = false;
        self.passed_in_step = None;
        self.unrecorded = 0;
        self.step += 1;
    }

    /// Every question is about a waiting call, and is not open longer than allowed.
    fn expect_open_questions(&self, ticked: bool) {
        for prompt in self.prompts.iter().filter(|prompt| prompt.open) {
            assert!(
                self.is_about_one_that_waits(prompt),
                "never withdrawn: {prompt:?}"
            );
        }
        for state in self.states.iter().filter(|state| state.is_open()) {
            // contract.md, "Audit log": "an ask that nobody answers gets its `timeout` line when it
            // expires, legacy or stateless."
            let is_over = ticked && state.until <= self.now;
            assert!(!is_over, "no line for {state:?}");
        }
    }

    /// Everything has closed and all timers have run.
    pub(super) fn ends(&self) {
        for call in &self.calls {
            let lines = match call.end {
                End::Asked => 0,
                End::Forwarded | End::Refused | End::Cancelled => 1,
                End::Waits | End::Unrecorded => panic!("never ended: {call:?}"),
            };
            assert_eq!(call.lines, lines, "decision lines of {call:?}");
        }
        let open: Vec<&State> = self.states.iter().filter(|state| state.is_open()).collect();
        assert!(open.is_empty(), "never ended: {open:?}");
        assert!(
            self.unanswered.is_empty(),
            "never answered: {:?}",
            self.unanswered
        );
    }

    // ---- its knowledge

    /// Ids of the gate's own requests that certainly wait for their answers.
    pub(super) fn live_ids(&self) -> impl Iterator<Item = &Value> {
        let prompts = self.prompts.iter().filter(|prompt| prompt.open);
        self.lists
            .live_ids()
            .chain(prompts.map(|prompt| &prompt.id))
    }

    /// The call with this id that waits for the list or for a person.
    fn waiting(&self, id: &str) -> Option<usize> {
        let mut calls = self.calls.iter();
        calls.position(|call| call.id == id && call.end == End::Waits)
    }

    /// Returns true if a call of an earlier step waits with this id.
    fn is_held(&self, id: &str) -> bool {
        let mut calls = self.calls.iter();
        calls.any(|call| call.id == id && call.end == End::Waits && call.step < self.step)
    }

    /// The request that an answer with this id is for.
    pub(super) fn unanswered_with(&self, id: &Value) -> Option<&Unanswered> {
        let id = meaning(id);
        self.unanswered
            .get(&self.request_meant_by(&id).unwrap_or(id))
    }

    fn is_in_use(&self, id: &str) -> bool {
        let is_refused_now =
            |call: &Call| call.id == id && call.end == End::Unrecorded && call.step < self.step;
        self.unanswered.contains_key(id)
            || self.is_held(id)
            || self.calls.iter().any(is_refused_now)
            || self.live_ids().any(|live| meaning(live) == id)
    }

    /// Returns true if some client could take an id for that of a waiting call.
    fn is_like_one_that_waits(&self, id: &str) -> bool {
        let read = |id: &str| RequestId::from_json(id).unwrap();
        let mut calls = self.calls.iter();
        calls.any(|held| held.end == End::Waits && read(id).may_be_confused_with(&read(&held.id)))
    }

    /// The unanswered request that differs from this id only in its quotes, if no request has
    /// exactly this id and no waiting call could be meant.
    fn request_meant_by(&self, id: &str) -> Option<String> {
        let number = |text: &str| text.parse::<i64>().is_ok_and(|n| n.to_string() == text);
        let text = id.strip_prefix('"').and_then(|id| id.strip_suffix('"'));
        let meant = match text {
            Some(text) if number(text) => text.to_owned(),
            None if number(id) => format!("\"{id}\""),
            Some(_) | None => return None,
        };
        let is_other = self.unanswered.contains_key(id) || self.is_like_one_that_waits(id);
        (self.unanswered.contains_key(&meant) && !is_other).then_some(meant)
    }

    /// Returns true if there may be no room for one more call to wait or be asked about.
    fn may_be_full(&self) -> bool {
        let waiting = self.calls.iter();
        let waiting = waiting.filter(|call| call.end == End::Waits).count();
        let out = self.states.iter().filter(|state| !state.used).count();
        waiting + out >= self.setup.max_pending
    }

    fn note(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }
}
