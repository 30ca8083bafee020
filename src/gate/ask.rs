//! A question in progress: where it is open, which calls wait for it, and how it was resolved.
//!
//! One state machine for legacy and stateless, without access to the gate: an event and a [`StepContext`] go in,
//! effects come out. `asking` carries the effects out, in order. A question's part of INVARIANTS 2 and 3 is here: the
//! first of two yeses in [`Ask::said_yes`], deadlines in [`Ask::time_is_up`], "is the tool still what was shown" in
//! [`Ask::release`], what a yes covers in [`Effect::Cover`].

mod answers;
mod calls;
mod ends;
mod engines;
mod question;
#[cfg(test)]
mod tests;

pub use question::{Question, QuestionEnd, QuestionOutput};

use std::sync::Arc;
use std::time::Duration;

use super::catalogue::Definition;
use super::handshake::{CannotAsk, Offers};
use super::held::{Era, Held, HeldKey, Subject};
use super::ids::RequestIds;
use super::output::Failure;
use super::refusal::Refusal;
use super::settings::{
    Channel, Engine, EngineId, OnFailure, Patience, Retry, Settings, TimeoutAction,
};
use super::verdict::{Approval, ClientNo, Failed, Via};
use crate::approval::item::{Choice, Closed, Verdict};
use crate::approval::request::{ApprovalRequest, QuestionKind};
use crate::evidence::record::Outcome;
use crate::mcp::elicit::{Answer, Consent, read_answer, read_consent};
use crate::mcp::message::RequestId;
use crate::mcp::tool::KeptCall;
use crate::policy::Risk;

/// How long after an item's deadline a verdict that was given in time may take to arrive.
pub(super) const GRACE: Duration = Duration::from_millis(500);
/// How late an engine may be asked without getting its whole time.
const LATE: Duration = Duration::from_secs(1);
/// The largest call that goes into the inbox, in bytes. Nobody reads a larger one.
pub(super) const MAX_CALL: usize = 4 * 1024 * 1024;
/// How long a client may be silent before a browser opens for the item that is listed beside its prompt.
const URGENT: Duration = Duration::from_secs(30);
/// The longest lifetime of the state of a call that was answered with a question, even if people have no time limit.
pub(super) const LONGEST: Duration = Duration::from_secs(60 * 60);

/// A question in progress.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    /// What the question is about. An approval is bound to exactly this.
    pub(super) subject: Arc<Subject>,
    pub(super) era: Era,
    /// Whether the inbox shows calls as large as this one.
    fits_inbox: bool,
    /// How the client of a stateless request can ask. This counts for that request only; empty in a session.
    pub(super) offers: Offers,
    /// What people are shown, once it has been shown anywhere.
    pub(super) request: Option<Arc<ApprovalRequest>>,
    /// Which of the call's questions this is.
    pub(super) round: QuestionKind,
    /// How many more yeses are needed, including the current question's.
    yeses_needed: u32,
    /// The index, in the operator's list, of the engine that was asked last or that brought the last yes.
    engine: usize,
    /// The engines that were asked this question.
    asked: Vec<AskedEngine>,
    /// Since when engines join by their `after`; `None` if none joins any more.
    began: Option<Duration>,
    /// When the next engine joins, or the time at one of them is up.
    engines_at: Option<Duration>,
    prompt: PromptState,
    item: Option<Item>,
    /// When to act if the client is still silent: the first time, list the question in the inbox too; the second time,
    /// open a browser for it.
    silent_at: Option<Duration>,
    /// When the person's time is up. For a call that was answered with a question: when its state expires.
    deadline: Option<Duration>,
    /// Until when the question may stay parked, if it was parked before.
    parked_until: Option<Duration>,
    retries_left: u32,
    pause: Duration,
    claim: Claim,
    /// Whether the question is whether to lift an earlier denial.
    lifts_denial: bool,
    /// Whether a later session may resume the question if this session ends while it is parked.
    is_resumable: bool,
    /// How the question was resolved, until a call collects the result.
    answer: Option<Resolution>,
    /// How old the newest verdict was when this session received it.
    verdict_age: Duration,
}

/// The question in the client.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PromptState {
    /// Not open.
    Closed,
    /// Sent to the client: under this id, or as the answer to the call.
    Open {
        id: Option<RequestId>,
        delivery: Delivery,
    },
    /// The client could not show the prompt. It is sent again at `until`.
    Pause { until: Duration, error: String },
}

/// Whether the client can have seen a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    /// Part of it is still in our own queue, since this moment.
    Queued(Duration),
    /// All of it was written to the client's pipe, at this moment.
    Delivered(Duration),
}

impl Delivery {
    /// Returns the earliest moment at which the client can have had the prompt, as far as we know.
    fn since(self) -> Duration {
        let (Delivery::Queued(at) | Delivery::Delivered(at)) = self;
        at
    }
}

/// An engine that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct AskedEngine {
    /// Its index in the operator's list.
    at: usize,
    /// When a person's time here is up.
    until: Option<Duration>,
    state: AskedState,
}

/// What became of the question at one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AskedState {
    /// A person has time to answer.
    Open,
    /// The time is up. A verdict that an out-of-band engine brings later counts for as long as the question is open.
    TimedOut,
    /// It brings no verdict.
    Failed,
}

/// The question as a row of the store, which all out-of-band engines share. The first verdict about it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    id: String,
    /// Whether a verdict about it still counts.
    is_open: bool,
    /// Until when the store accepts a verdict.
    until: Option<Duration>,
    /// The item in whose place it came. A verdict about that one may be on its way.
    replaces: Option<String>,
    /// Whether the inbox was asked to show it.
    is_in_inbox: bool,
    /// Whether a browser may be opened for it.
    opens_browser: bool,
    /// Whether an earlier session parked it, so that its verdict may be old.
    is_resumed: bool,
}

/// Who waits for the answer.
#[derive(Debug, Clone)]
enum Claim {
    /// These calls; at least one.
    Calls(Vec<HeldKey>),
    /// A call that was answered with a question. A retry with its state continues it.
    State(State),
    /// The same call, if it is made again before that moment.
    Parked { until: Duration },
    /// Nobody: the question is over.
    Nobody,
}

/// A call that was answered with a question.
#[derive(Debug, Clone)]
struct State {
    nonce: Arc<str>,
    call: Arc<Held>,
    /// When the question was sent to the client.
    sent: Duration,
    /// When its state expires, wherever the question is by then.
    expires: Duration,
    asked: AskedFor,
}

/// What the client's user was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AskedFor {
    /// To decide whether the call may run.
    Answer,
    /// To open the item's page at this URL.
    Page(String),
}

/// How a question was resolved.
#[derive(Debug, Clone)]
enum Resolution {
    Yes {
        approval: Approval,
        /// When it was given. The time that it covers other calls counts from here.
        at: Duration,
        /// For how long it also covers the same call.
        cover: Duration,
    },
    No(Failed),
    /// The engine failed to bring a verdict.
    EngineFailed(Failure),
}

/// Something that happens to a question.
#[derive(Debug)]
pub(super) enum Event {
    /// Start asking, from the current engine on.
    Begin,
    /// Let the calls run without an answer to this question, because they were approved earlier.
    Approved(Approval),
    /// A person denied the same call at `at`. The denial counts until `until`.
    DeniedBefore { at: Duration, until: Duration },
    /// The client's prompt cannot show all of the call.
    Cut,
    /// The client answered its prompt.
    Answered(Answer),
    /// The client's user was sent to the item's page and declined after this time.
    PageDeclined { took: Duration },
    /// The call was answered with a question, under this state.
    Sent {
        nonce: String,
        call: Held,
        asked: AskedFor,
    },
    /// A person decided about the item, through this engine.
    Decided { engine: EngineId, verdict: Verdict },
    /// An engine failed to bring a verdict about the item; without one, the item itself is lost.
    EngineFailed {
        engine: Option<EngineId>,
        failure: Failure,
    },
    /// The item has a page.
    HasPage(String),
    /// The same call arrived: a second one, one that brings the state, or one made again.
    CallArrived(Arrival),
    /// A call no longer waits. The question may be parked if the client cancelled the call.
    CallLeft { call: HeldKey, may_park: bool },
    /// Time has passed, or the tool list has become known.
    Tick,
    /// Nobody can answer any more, or be answered.
    Ended(Failed),
}

/// The same call, made again.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) call: HeldKey,
    /// Its answer to our question, as JSON.
    pub(super) answer: Option<String>,
    /// How its client can ask.
    pub(super) offers: Offers,
    /// Whether its client claims to be the one whose call the question is about.
    pub(super) is_same_client: bool,
}

/// Why a question is withdrawn when its call is no longer asked about.
const GONE: &str = "the call is no longer waiting";
/// The most effects that one event may have, apart from one for each engine.
const MOST_EFFECTS: usize = 6;

/// Something to do for a question. Effects are carried out in order.
#[derive(Debug)]
pub(super) enum Effect {
    /// Send the prompt to the client under this id. Without an id, answer the call with the question.
    Prompt { id: Option<RequestId> },
    /// Answer the call with the page's URL.
    SendToPage { call: HeldKey, url: String },
    /// Invite the client's user to the item's page.
    Invite { item: String, url: String },
    /// Hand the question to the engine. Verdicts count until `until`. No browser opens while the client shows a prompt.
    AskEngine {
        engine: EngineId,
        item: String,
        replaces: Option<String>,
        until: Option<Duration>,
        opens_browser: bool,
    },
    /// Hand the item, which others show already, to this engine too.
    JoinEngine { engine: EngineId, item: String },
    /// Open a browser for the item: the client is silent.
    OpenBrowser { item: String },
    /// Withdraw the prompt.
    Withdraw { id: RequestId, why: String },
    /// Close the item.
    Close { item: String, how: Closed },
    /// Keep the question, and its item if that is open, without a call until then.
    Park {
        item: Option<String>,
        until: Duration,
    },
    /// Leave the question for a later session: this one is over.
    LeaveForLater { item: String },
    /// Ask these questions, one for each call that shared this one.
    Split { asks: Vec<Ask> },
    /// Record the first of two yeses.
    FirstYes { reason: Option<String>, via: Via },
    /// Record a verdict that no call is waiting for.
    RecordVerdict {
        engine: EngineId,
        item: String,
        verdict: Verdict,
    },
    /// Let a yes given at `at` cover later calls: as the operator configured, and for `cover` as the person chose.
    Cover { at: Duration, cover: Duration },
    /// Get the tool list.
    WantList,
    /// Let the calls run.
    Release {
        calls: Vec<HeldKey>,
        approval: Approval,
    },
    /// Refuse the calls.
    Refuse { calls: Vec<HeldKey>, failed: Failed },
    /// Record the refusal of a call that was already answered with a question.
    RecordRefused { call: Arc<Held>, failed: Failed },
    /// Ask again about the calls: the tool is no longer what was shown.
    Reask { calls: Vec<HeldKey> },
}

/// What a step may read, and where it puts its effects.
pub(super) struct StepContext<'a> {
    pub(super) settings: &'a Settings,
    pub(super) ids: &'a mut RequestIds,
    pub(super) now: Duration,
    /// Whether the client can show a prompt in a session.
    pub(super) can_prompt: Result<(), CannotAsk>,
    /// Whether the client cannot be told from any other process that can connect.
    pub(super) is_anonymous: bool,
    /// Whether the client is still there.
    pub(super) has_client: bool,
    /// Whether the client's answers reach us.
    pub(super) client_is_heard: bool,
    /// Whether the tool list is settled enough to decide by.
    pub(super) list_is_settled: bool,
    /// The tool's current definition, as far as it is known.
    pub(super) definition: Option<&'a Arc<Definition>>,
    /// The effects of this step.
    pub(super) out: Vec<Effect>,
}

impl StepContext<'_> {
    fn channel(&self, at: usize) -> Option<Channel> {
        self.settings.channels.get(at).copied()
    }

    /// Returns the position of an engine in the operator's list.
    fn position(&self, engine: Engine) -> Option<usize> {
        let mut channels = self.settings.channels.iter();
        channels.position(|channel| channel.engine == engine)
    }

    /// Returns when a person's time at an engine is up, if it starts now.
    fn time_at(&self, channel: Channel) -> Option<Duration> {
        let timeout = match channel.patience {
            Patience::Default => self.settings.timeout,
            Patience::Own(timeout) => timeout,
        };
        Some(self.now.saturating_add(timeout?))
    }

    /// Returns when a person's time at an engine is up that was to be asked at `due`. Counts from then if we are only a
    /// little late, so that the time that other engines were told still holds.
    fn time_since(&self, due: Duration, channel: Channel) -> Option<Duration> {
        let late = self.now.saturating_sub(due);
        let counted = if late <= LATE { late } else { Duration::ZERO };
        Some(self.time_at(channel)?.saturating_sub(counted))
    }

    fn needs_two(&self, risk: Risk) -> bool {
        self.settings.double_confirm && risk == Risk::High
    }
}

impl Ask {
    /// Creates a question about a held call. It is not asked anywhere yet.
    pub(super) fn new(
        key: HeldKey,
        held: &Held,
        subject: Arc<Subject>,
        offers: Offers,
        settings: &Settings,
    ) -> Ask {
        let twice = settings.double_confirm && subject.decision.risk == Risk::High;
        Ask {
            subject,
            era: held.era,
            fits_inbox: held.call.text().len() <= MAX_CALL,
            offers,
            request: None,
            round: match twice {
                _ if held.changes > 0 => QuestionKind::Changed,
                true => QuestionKind::FirstOfTwo,
                false => QuestionKind::First,
            },
            yeses_needed: if twice { 2 } else { 1 },
            engine: 0,
            asked: Vec::new(),
            began: None,
            engines_at: None,
            prompt: PromptState::Closed,
            item: None,
            silent_at: None,
            deadline: None,
            parked_until: None,
            retries_left: 0,
            pause: Duration::ZERO,
            claim: Claim::Calls(vec![key]),
            lifts_denial: false,
            is_resumable: false,
            answer: None,
            verdict_age: Duration::ZERO,
        }
    }

    /// Returns the same question for one of the calls that shared it.
    fn split_off(&self, call: HeldKey) -> Ask {
        Ask {
            claim: Claim::Calls(vec![call]),
            asked: Vec::new(),
            began: None,
            engines_at: None,
            prompt: PromptState::Closed,
            item: None,
            silent_at: None,
            ..self.clone()
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.claim, Claim::Nobody)
    }

    /// Returns true if calls are waiting for the answer.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(self.claim, Claim::Calls(_))
    }

    pub(super) fn is_parked(&self) -> bool {
        matches!(self.claim, Claim::Parked { .. })
    }

    /// Returns true if its calls are approved and only wait for the tool list.
    pub(super) fn is_approved(&self) -> bool {
        self.is_awaited() && matches!(self.answer, Some(Resolution::Yes { .. }))
    }

    /// Returns true if a later session may resume the question when this one ends.
    pub(super) fn is_resumable(&self) -> bool {
        self.is_parked() && self.is_resumable
    }

    pub(super) fn set_resumable(&mut self, is_resumable: bool) {
        self.is_resumable = is_resumable;
    }

    /// Takes over a question that an earlier session parked as this item, which is open until `until`.
    pub(super) fn resume(&mut self, item: String, engine: usize, until: Duration) {
        self.engine = engine;
        self.item = Some(Item {
            id: item,
            is_open: true,
            until: Some(until),
            replaces: None,
            is_in_inbox: true,
            opens_browser: false,
            is_resumed: true,
        });
        self.claim = Claim::Parked { until };
        self.is_resumable = true;
    }

    /// Returns true if a verdict about its item may be much older than its arrival in this session.
    pub(super) fn has_resumed_item(&self) -> bool {
        self.item.as_ref().is_some_and(|item| item.is_resumed)
    }

    /// Returns how old the newest verdict was when this session received it. What a yes covers counts from when it was
    /// given.
    pub(super) fn verdict_age(&self) -> Duration {
        self.verdict_age
    }

    pub(super) fn set_verdict_age(&mut self, age: Duration) {
        self.verdict_age = age;
    }

    pub(super) fn has_answer(&self) -> bool {
        self.answer.is_some()
    }

    /// Returns true if the question asks people to lift an earlier denial.
    pub(super) fn can_lift_denial(&self) -> bool {
        self.lifts_denial
    }

    /// Returns true if a person has lifted an earlier denial of the call, or has given the first of two yeses to that.
    pub(super) fn has_lifted_denial(&self) -> bool {
        match &self.answer {
            Some(answer) => matches!(answer, Resolution::Yes { .. }),
            None => self.lifts_denial && self.open_item().is_none(),
        }
    }

    /// Returns how much memory it keeps for calls that no longer wait, in bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        let shown = self.request.as_ref().map(|request| &request.call);
        match &self.claim {
            Claim::Calls(_) | Claim::Nobody => 0,
            Claim::Parked { .. } => shown.map_or(0, KeptCall::bytes),
            Claim::State(State { call, .. }) => {
                let others = shown.filter(|shown| !shown.is_copy_of(&call.call));
                call.bytes() + others.map_or(0, KeptCall::bytes)
            }
        }
    }

    /// Returns the calls that wait for it.
    pub(super) fn calls(&self) -> &[HeldKey] {
        match &self.claim {
            Claim::Calls(calls) => calls,
            Claim::State(_) | Claim::Parked { .. } | Claim::Nobody => &[],
        }
    }

    /// Returns the call that was answered with the question, and the nonce of its state.
    pub(super) fn answered_call(&self) -> Option<(&Arc<str>, &Arc<Held>)> {
        match &self.claim {
            Claim::State(state) => Some((&state.nonce, &state.call)),
            Claim::Calls(_) | Claim::Parked { .. } | Claim::Nobody => None,
        }
    }

    /// Returns when the state expires, for a call that is about to be answered with the question.
    ///
    /// Later than the form's deadline if the question can fall back to the inbox.
    pub(super) fn state_expires(&self, settings: &Settings, now: Duration) -> Duration {
        let longest = now.saturating_add(LONGEST);
        let asks_in_client = self.prompt != PromptState::Closed;
        let mut channels = settings.channels.iter();
        let channel = channels.find(|channel| channel.engine == Engine::Elicitation);
        let falls_back = channel.is_some_and(|asked| asked.on_timeout == OnFailure::Fallback);
        // Those behind the client.
        let has_others = channels.next().is_some();
        match asks_in_client && falls_back && has_others {
            true => longest,
            false => self.deadline.unwrap_or(longest).min(longest),
        }
    }

    /// Returns the id of our request that carries the question to the client.
    pub(super) fn prompt_id(&self) -> Option<&RequestId> {
        match &self.prompt {
            PromptState::Open { id, .. } => id.as_ref(),
            PromptState::Closed | PromptState::Pause { .. } => None,
        }
    }

    /// Returns true if the client's user is being asked for the answer.
    pub(super) fn is_asked_by_prompt(&self) -> bool {
        matches!(self.prompt, PromptState::Open { .. })
    }

    /// Returns its newest item in the inbox, whether or not a verdict about it still counts.
    pub(super) fn item(&self) -> Option<&str> {
        self.item.as_ref().map(|item| &*item.id)
    }

    /// Returns its item in the inbox, if a verdict about it still counts.
    pub(super) fn open_item(&self) -> Option<&str> {
        let item = self.item.as_ref().filter(|item| item.is_open)?;
        Some(&item.id)
    }

    /// Returns the item in whose place its open item came.
    pub(super) fn replaced_item(&self) -> Option<&str> {
        let item = self.item.as_ref().filter(|item| item.is_open)?;
        item.replaces.as_deref()
    }

    /// Returns true if a prompt has not been fully written to the client.
    pub(super) fn is_queued(&self) -> bool {
        matches!(
            self.prompt,
            PromptState::Open {
                delivery: Delivery::Queued(_),
                ..
            }
        )
    }

    /// Returns when [`Event::Tick`] is due.
    pub(super) fn next_time(&self) -> Option<Duration> {
        let pause = match &self.prompt {
            PromptState::Pause { until, .. } => Some(*until),
            PromptState::Open { .. } | PromptState::Closed => None,
        };
        let parked = match &self.claim {
            Claim::Parked { until } => Some(*until),
            Claim::Calls(_) | Claim::State(_) | Claim::Nobody => None,
        };
        let silent = self.silent_at.filter(|_| self.is_asked_by_prompt());
        let engines = self.engines_at.filter(|_| parked.is_none());
        let times = [self.deadline, pause, parked, silent, engines];
        times.into_iter().flatten().min()
    }

    /// Returns true if a call with this `subject` can share the question: it would be shown in the same way, and a yes
    /// would cover both.
    ///
    /// INVARIANT 2: only a call that a prompt shows in full may share it, however few fields the operator's dedupe key
    /// has.
    pub(super) fn is_shared_by(&self, subject: &Subject, offers: Offers) -> bool {
        self.is_awaited()
            && self.answer.is_none()
            && subject.dedupe.is_some()
            && self.subject.digest == subject.digest
            && self.subject.dedupe == subject.dedupe
            && self.offers == offers
    }

    /// Applies `event` to the question. Every state accepts every event; most events change nothing.
    pub(super) fn step(&mut self, event: Event, context: &mut StepContext<'_>) -> Vec<Effect> {
        match event {
            Event::Begin => {
                if self.is_new() {
                    self.began = Some(context.now);
                    self.put_from(self.engine, None, context);
                    self.join_due(context);
                }
            }
            Event::Approved(approval) => self.approve(approval, context),
            Event::DeniedBefore { at, until } => self.denied_before(at, until, context),
            Event::Cut => self.list_in_inbox_too(context),
            Event::Answered(answer) => self.answered(answer, context),
            Event::PageDeclined { took } => {
                if self.is_awaited() && self.open_item().is_some() {
                    let failed = Failed::denied(None, "declined", Via::elicitation(took));
                    self.close(&failed.refusal.log_reason(), Closed::Withdrawn, context);
                    self.refuse(failed, context);
                }
            }
            Event::Sent { nonce, call, asked } => self.sent(nonce, call, asked, context),
            Event::Decided { engine, verdict } => self.decided(engine, verdict, context),
            Event::EngineFailed { engine, failure } => self.item_failed(engine, failure, context),
            Event::HasPage(url) => self.has_page(url, context),
            Event::CallArrived(arrival) => self.call_arrived(arrival, context),
            Event::CallLeft { call, may_park } => self.call_left(call, may_park, context),
            Event::Tick => self.tick(context),
            Event::Ended(failed) => self.ended(failed, context),
        }
        self.engines_at = self.next_engine_time(context);
        debug_assert!(
            context.out.len() <= MOST_EFFECTS + context.settings.channels.len(),
            "{:?}",
            context.out
        );
        std::mem::take(&mut context.out)
    }

    /// Notes that everything put out for the client has been written to its pipe.
    pub(super) fn delivered(&mut self, now: Duration) {
        if let PromptState::Open { delivery, .. } = &mut self.prompt
            && let Delivery::Queued(_) = delivery
        {
            *delivery = Delivery::Delivered(now);
        }
    }

    /// Returns true if the question has not been asked anywhere yet.
    fn is_new(&self) -> bool {
        self.is_awaited()
            && self.prompt == PromptState::Closed
            && self.item.is_none()
            && self.answer.is_none()
    }
}
