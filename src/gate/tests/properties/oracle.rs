//! A small account of what was sent and answered, and what may therefore happen.
//!
//! It is told what each step means before the gate sees it, and then reads what the gate did,
//! one event after the other. It knows nothing of the gate's inside.

mod answers;
mod events;
mod yeses;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde_json::Value;

use super::reading::{ByName, Listing, Shown, What, by_name, meaning, passes};
use super::steps::Setup;
pub(super) use answers::{Answer, Answered, expect_no_claim};

/// A call that the client made and that can be read.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) text: String,
    pub(super) id: String,
    pub(super) what: What,
    pub(super) token: Option<String>,
    pub(super) end: End,
    step: u32,
    /// Decision lines, those left out that promised what the log then did not take.
    lines: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Waits,
    Forwarded,
    /// It would have gone on, but its line could not be written.
    Unrecorded,
    Refused,
    /// Taken back by the client, so never answered.
    Cancelled,
}

/// A prompt that the client got.
#[derive(Debug)]
pub(super) struct Prompt {
    pub(super) id: Value,
    pub(super) open: bool,
    delivered: bool,
    shown: Shown,
    message: String,
    /// When the human's time began.
    since: Duration,
    /// Since when the client has it, or is sent it.
    got: Duration,
    answered_in_step: Option<u32>,
    /// What was answered then, while it was open.
    answered: Option<Answered>,
    /// The client could not show it, so it may come again.
    failed: bool,
}

/// A yes that a human gave in this session.
#[derive(Debug, Clone)]
struct Yes {
    shown: Shown,
    at: Duration,
    /// Nobody answered, and the operator lets silence count.
    silent: bool,
    /// The use that it is spent on, if it is.
    spent_on: Option<usize>,
}

/// Something that must happen because of what the client sent, in this order.
#[derive(Debug)]
enum Expected {
    Relayed(String),
    /// It is refused while a call waits under its id.
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
pub(super) enum Passage {
    Now,
    NowOrLater,
}

/// What a line that is refused leads to, beside a line in the log.
#[derive(Debug, Clone)]
pub(super) enum Refusal {
    Unlogged(Value),
    Answered(Value),
    Unanswered,
}

/// A `tools/list` of the gate's own.
#[derive(Debug)]
pub(super) struct OwnList {
    pub(super) id: Value,
    pub(super) open: bool,
    /// Nothing can have made the gate give up on it.
    pub(super) surely_live: bool,
    pages: Listing,
    changes: u32,
    /// The same page under another id. The first answer to either counts.
    twin: Option<usize>,
}

/// The audit line that the next event must fit.
#[derive(Debug)]
enum LastLine {
    None,
    Forwards(usize, Value, bool),
    /// With the answer that has led to it.
    Refuses(usize, Option<Answered>),
    Unreadable,
}

pub(super) struct Oracle {
    setup: Setup,
    now: Duration,
    step: u32,
    pub(super) calls: Vec<Call>,
    pub(super) prompts: Vec<Prompt>,
    yeses: Vec<Yes>,
    /// What yeses were spent on, each with those that it can have been.
    uses: Vec<Vec<usize>>,
    pub(super) lists: Vec<OwnList>,
    /// Whatever the gate can take for the list since it last changed; `None` is a failed one.
    readings: Vec<Option<Listing>>,
    /// The only reading is one that the gate has surely taken.
    settled: bool,
    changes: u32,
    /// How many of the readings are older than a change in this step.
    outdated: usize,
    changed_in_step: bool,
    /// The server has answered one of the gate's own requests in this session; until then a
    /// request may go out once more, under a number.
    is_proven: bool,
    /// It has done so in this step.
    is_answered: bool,
    /// What the upstream owes the client: methods by id.
    pub(super) owed: BTreeMap<String, (Value, String)>,
    to_upstream: VecDeque<Expected>,
    to_client: VecDeque<String>,
    refusals: VecDeque<Refusal>,
    /// Answers to nothing: ids, and whether the log surely speaks of them.
    unasked: Vec<(String, bool)>,
    /// Errors that the upstream must get for requests under ids of ours.
    refused_upstream: Vec<Value>,
    last_line: LastLine,
    our_ids: BTreeSet<String>,
    passed_in_step: Option<usize>,
    /// Time has passed in this step.
    waited: bool,
    upstream_gone: bool,
    client_heard: bool,
    /// A line says that a first yes was given, and no second question has followed it.
    first_yes: bool,
    /// An answer in this step must lead to a refusal.
    must_refuse: bool,
    /// What was seen, so that a run that exercised nothing can be noticed.
    pub(super) forwarded: BTreeMap<String, u32>,
}

impl Oracle {
    pub(super) fn new(setup: Setup) -> Oracle {
        Oracle {
            setup,
            now: Duration::ZERO,
            step: 0,
            calls: Vec::new(),
            prompts: Vec::new(),
            yeses: Vec::new(),
            uses: Vec::new(),
            lists: Vec::new(),
            readings: Vec::new(),
            settled: false,
            changes: 0,
            outdated: 0,
            changed_in_step: false,
            is_proven: false,
            is_answered: false,
            owed: BTreeMap::new(),
            to_upstream: VecDeque::new(),
            to_client: VecDeque::new(),
            refusals: VecDeque::new(),
            unasked: Vec::new(),
            refused_upstream: Vec::new(),
            last_line: LastLine::None,
            our_ids: BTreeSet::new(),
            passed_in_step: None,
            waited: false,
            upstream_gone: false,
            client_heard: true,
            first_yes: false,
            must_refuse: false,
            forwarded: BTreeMap::new(),
        }
    }

    pub(super) fn relays_to_upstream(&mut self, text: String) {
        self.to_upstream.push_back(Expected::Relayed(text));
    }

    pub(super) fn requests(&mut self, id: Value, method: &str, text: String) {
        let method = method.to_owned();
        self.settled &= method != "initialize";
        self.to_upstream
            .push_back(Expected::Request { id, method, text });
    }

    pub(super) fn relays_to_client(&mut self, text: String) {
        self.to_client.push_back(text);
    }

    pub(super) fn refuses(&mut self, refusal: Refusal) {
        self.refusals.push_back(refusal);
    }

    /// The upstream answers what it was not sent. `surely`: it cannot be a late answer.
    pub(super) fn answers_unasked(&mut self, id: String, surely: bool) {
        self.unasked.push((id, surely));
    }

    fn sees_unasked(&mut self, line: &Value) {
        let id = meaning(&line["request_id"]);
        let at = self.unasked.iter().position(|(other, _)| *other == id);
        self.unasked
            .remove(at.unwrap_or_else(|| panic!("it was asked: {line}")));
    }

    pub(super) fn refuses_upstream(&mut self, id: Value) {
        self.refused_upstream.push(id);
    }

    pub(super) fn cancels(&mut self, id: &Value, text: String) {
        let id = meaning(id);
        self.to_upstream.push_back(Expected::Cancel { id, text });
    }

    pub(super) fn calls(
        &mut self,
        id: &Value,
        what: What,
        token: Option<String>,
        text: String,
        writable: bool,
    ) {
        let id = meaning(id);
        let listing = self.readings.last().and_then(Option::as_ref);
        let passes = passes(&self.setup, listing, &what.tool);
        let goes_on =
            (passes && (writable || self.setup.best_effort)) || (self.setup.dry_run && writable);
        let is_decided = self.settled || by_name(&self.setup, &what.tool) != ByName::Depends;
        let passage = if goes_on && is_decided && !self.is_in_use(&id) {
            Passage::Now
        } else {
            Passage::NowOrLater
        };
        self.to_upstream
            .push_back(Expected::Call(self.calls.len(), passage));
        self.calls.push(Call {
            text,
            id,
            what,
            token,
            end: End::Waits,
            step: self.step,
            lines: 0,
        });
    }

    /// `alone`: in a line of its own, so that nothing else can end the call before.
    pub(super) fn answers(&mut self, prompt: usize, answer: Answer, alone: bool) {
        let prompt = &mut self.prompts[prompt];
        if !std::mem::replace(&mut prompt.open, false) {
            return;
        }
        prompt.answered_in_step = Some(self.step);
        let took = self.now - prompt.got;
        prompt.answered = Some(Answered { answer, took });
        self.must_refuse |= alone && answer.refuses();
        let shown = prompt.shown.clone();
        match answer {
            Answer::Yes => self.yeses.push(Yes {
                shown,
                at: self.now,
                silent: false,
                spent_on: None,
            }),
            Answer::Declined | Answer::Dismissed | Answer::Invalid => {}
            Answer::Failed => prompt.failed = true,
        }
    }

    pub(super) fn delivers_prompts(&mut self) {
        for prompt in &mut self.prompts {
            if !std::mem::replace(&mut prompt.delivered, true) {
                prompt.got = self.now;
            }
        }
    }

    pub(super) fn hears_client(&mut self, heard: bool) {
        self.client_heard = heard;
    }

    /// The client is listed tools: ours is read again if that says something else.
    pub(super) fn lists_to_client(&mut self) {
        self.settled = false;
    }

    pub(super) fn list_changes(&mut self) {
        self.changes += 1;
        self.settled = false;
        // What was released before it in the same step stays right.
        self.outdated = self.readings.len();
        self.changed_in_step = true;
        // One that no call waits for is given up.
        for list in &mut self.lists {
            list.surely_live = false;
        }
    }

    pub(super) fn list_page(&mut self, at: usize, page: Option<Listing>, last: bool) {
        let list = &mut self.lists[at];
        if !std::mem::replace(&mut list.open, false) {
            return;
        }
        self.is_answered = true;
        let twin = list.twin;
        if let Some(twin) = twin {
            self.lists[twin].open = false;
        }
        let list = &mut self.lists[at];
        let Some(page) = page else {
            self.readings.push(None);
            self.settled = false;
            return;
        };
        for (name, definitions) in page {
            let all = list.pages.entry(name).or_default();
            for definition in definitions {
                if !all.contains(&definition) {
                    all.push(definition);
                }
            }
        }
        if let Some(twin) = twin {
            self.lists[twin].pages = self.lists[at].pages.clone();
        }
        let list = &self.lists[at];
        if last && list.changes == self.changes {
            self.settled = list.surely_live && self.readings.is_empty();
            self.readings.push(Some(list.pages.clone()));
        }
    }

    pub(super) fn is_at(&mut self, now: Duration) {
        self.now = now;
    }

    /// Time passes: lists are given up.
    pub(super) fn waits(&mut self) {
        if self.lists.iter().any(|list| list.open) || !self.settled {
            self.readings.push(None);
        }
        self.waited = true;
    }

    pub(super) fn loses_upstream(&mut self) {
        self.upstream_gone = true;
    }

    /// The client introduces itself, for the first time or anew: what was asked before is over,
    /// and a yes to it, also one that comes behind in the same batch, lets nothing run.
    fn session_begins(&mut self) {
        self.is_proven = false;
        for prompt in &self.prompts {
            assert!(!prompt.open, "open in another session: {prompt:?}");
        }
        for at in 0..self.calls.len() {
            if self.calls[at].end == End::Waits {
                self.expect_never_asked(at);
            }
        }
        self.yeses.clear();
        self.uses.clear();
    }

    pub(super) fn loses_client(&mut self) {
        for prompt in &mut self.prompts {
            prompt.open = false;
        }
    }

    /// Ids of the gate's own requests that surely wait for their answers.
    pub(super) fn live_ids(&self) -> impl Iterator<Item = &Value> {
        let lists = self.lists.iter();
        let lists = lists.filter(|list| list.open && list.surely_live);
        let prompts = self.prompts.iter().filter(|prompt| prompt.open);
        lists
            .map(|list| &list.id)
            .chain(prompts.map(|prompt| &prompt.id))
    }

    pub(super) fn ends_step(&mut self) {
        self.expect_no_line("the step ends");
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
        for prompt in self.prompts.iter().filter(|prompt| prompt.open) {
            let waits = |call: &Call| call.end == End::Waits && call.what == prompt.shown.what;
            assert!(self.calls.iter().any(waits), "never withdrawn: {prompt:?}");
        }
        self.readings.drain(..std::mem::take(&mut self.outdated));
        self.changed_in_step = false;
        self.is_proven |= std::mem::take(&mut self.is_answered);
        if std::mem::take(&mut self.waited) {
            for list in &mut self.lists {
                list.surely_live = false;
            }
        }
        self.passed_in_step = None;
        self.step += 1;
    }

    /// Everything has closed and all timers have run.
    pub(super) fn ends(&self) {
        for call in &self.calls {
            assert!(
                matches!(call.end, End::Forwarded | End::Refused | End::Cancelled),
                "never ended: {call:?}"
            );
            assert_eq!(call.lines, 1, "one decision line each: {call:?}");
        }
        assert!(self.owed.is_empty(), "never answered: {:?}", self.owed);
    }

    /// Whether a call of an earlier step waits under this id.
    pub(super) fn is_held(&self, id: &str) -> bool {
        let mut calls = self.calls.iter();
        calls.any(|call| call.id == id && call.end == End::Waits && call.step < self.step)
    }

    fn is_in_use(&self, id: &str) -> bool {
        let mut calls = self.calls.iter();
        self.owed.contains_key(id)
            || self.live_ids().any(|live| meaning(live) == id)
            || calls.any(|call| {
                call.id == id
                    && call.step < self.step
                    && matches!(call.end, End::Waits | End::Unrecorded)
            })
    }
}
