//! A question in progress: where it is open, who waits for it, and what has come of it.
//!
//! One state machine for both eras, without access to the gate: an event and the world go in, effects come out.
//! The gate carries them out, in order (`asking`). INVARIANTS 2 and 3 of a question are all here:
//! one yes of two in [`Ask::said_yes`], time in [`Ask::time_is_up`], "is it still what was shown" in
//! [`Ask::release`], what a yes covers in [`Effect::Cover`].

mod answers;
mod calls;
mod ends;
mod engines;
#[cfg(test)]
mod tests;

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

/// How long after an item's time a verdict that was in time may take to arrive.
pub(super) const GRACE: Duration = Duration::from_millis(500);
/// The largest call that is put into the inbox, in bytes: what is larger nobody reads.
pub(super) const MAX_CALL: usize = 4 * 1024 * 1024;
/// How long a client may be silent before a browser is opened for the item beside its prompt.
const URGENT: Duration = Duration::from_secs(30);
/// How long the state of a call that was answered with a question is good at most, also where a person's time
/// has no limit.
pub(super) const LONGEST: Duration = Duration::from_secs(60 * 60);

/// A question in progress.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    /// What it is about; a yes is one to exactly this.
    pub(super) subject: Arc<Subject>,
    pub(super) era: Era,
    /// Whether the inbox shows calls as large as this one.
    fits_inbox: bool,
    /// How a stateless request's client can ask, which counts for that request only; nothing in a
    /// session.
    pub(super) offers: Offers,
    /// What people are shown, once it has been shown anywhere.
    pub(super) request: Option<Arc<ApprovalRequest>>,
    /// Which of the call's questions is asked.
    pub(super) round: QuestionKind,
    /// How many more yeses are needed, that question's included.
    yeses_needed: u32,
    /// Which engine of the operator's list it has come to.
    engine: usize,
    prompt: PromptState,
    item: Option<Item>,
    /// When the client has been silent for so long that the inbox shows the question, too, or that a browser is
    /// opened for it.
    silent_at: Option<Duration>,
    /// When the person's time is over; of a call that was answered with a question, when its state is.
    deadline: Option<Duration>,
    /// Until when the question may be parked, where it was parked before.
    parked_until: Option<Duration>,
    retries_left: u32,
    pause: Duration,
    claim: Claim,
    /// Whether it is about lifting an earlier denial.
    lifts: bool,
    /// Whether a later session may resume it, should this one end while it is parked.
    is_resumable: bool,
    /// What has come of it, until whoever waits for it can have that.
    answer: Option<Verdicted>,
    /// How old the newest verdict was when this session heard of it.
    verdict_age: Duration,
}

/// The question in the client.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PromptState {
    /// It is not open.
    Closed,
    /// It is out: under this id, or as the answer to the call.
    Open {
        id: Option<RequestId>,
        delivery: Delivery,
    },
    /// The client could not show it; it goes out again then.
    Pause { until: Duration, error: String },
}

/// Whether the client can have seen a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    /// Some of it is still in our own queue, since this moment.
    Queued(Duration),
    /// All of it was handed to the client's pipe, at this moment.
    Delivered(Duration),
}

impl Delivery {
    /// Since when the client can have had the prompt, as far as we know.
    fn since(self) -> Duration {
        let (Delivery::Queued(at) | Delivery::Delivered(at)) = self;
        at
    }
}

/// The question in the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    id: String,
    /// Whether a verdict about it still counts.
    is_open: bool,
    /// Whether a browser may be opened for it.
    opens_browser: bool,
    /// Whether an earlier session has parked it, so that its verdict may be an old one.
    is_resumed: bool,
}

/// Who waits for the answer.
#[derive(Debug, Clone)]
enum Claim {
    /// These calls; at least one.
    Calls(Vec<HeldKey>),
    /// A call that was answered with a question: whoever brings its state makes it again.
    State(State),
    /// Whoever makes the same call before that moment.
    Parked { until: Duration },
    /// Nobody: it is over.
    Nobody,
}

/// A call that was answered with a question.
#[derive(Debug, Clone)]
struct State {
    nonce: Arc<str>,
    call: Arc<Held>,
    /// When the client was sent the question.
    sent: Duration,
    /// From when on its state is good for nothing, wherever the question has got to by then.
    expires: Duration,
    asked: AskedFor,
}

/// What the client's user was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AskedFor {
    /// Whether the call may run.
    Answer,
    /// To open the item's page, which is here.
    Page(String),
}

/// What has come of a question.
#[derive(Debug, Clone)]
enum Verdicted {
    Yes {
        approval: Approval,
        /// When; what it covers beside its call counts from here.
        at: Duration,
        /// For how long it covers the very same call, too.
        cover: Duration,
    },
    No(Failed),
    /// The engine could bring none.
    Lost(Failure),
}

/// What happens to a question.
#[derive(Debug)]
pub(super) enum Event {
    /// It is to be asked, from the engine on that it has come to.
    Begin,
    /// Something else than an answer to it lets its calls run.
    Approved(Approval),
    /// A person denied the very same call at that moment, which counts until then.
    DeniedBefore { at: Duration, until: Duration },
    /// The client's prompt cannot show all of the call.
    Cut,
    /// The client has answered its prompt.
    Answered(Answer),
    /// The client's user, sent to the item's page, declined after so long.
    PageDeclined { took: Duration },
    /// The call has been answered with a question, under this state.
    Sent {
        nonce: String,
        call: Held,
        asked: AskedFor,
    },
    /// A person has decided about the item, through this engine.
    Decided { engine: EngineId, verdict: Verdict },
    /// The engine that has the item cannot bring a verdict.
    Lost(Failure),
    /// The item has a page.
    HasPage(String),
    /// The same call comes: another one, one that brings the state, or one made again.
    CallCame(Came),
    /// A call waits no more. It may be parked, if the client took it back.
    CallLeft { call: HeldKey, may_park: bool },
    /// Time has passed, or the list has become known.
    Later,
    /// Nobody can answer, or be answered, any more.
    Ended(Failed),
}

/// The same call, come again.
#[derive(Debug)]
pub(super) struct Came {
    pub(super) call: HeldKey,
    /// The answer to our question that it brings, as JSON.
    pub(super) answer: Option<String>,
    /// How its client can ask.
    pub(super) offers: Offers,
    /// Whether its client is, as far as it says, the one whose call was asked about.
    pub(super) is_same_client: bool,
}

/// Why a question is taken back whose call is not asked about any more.
const GONE: &str = "the call does not wait any more";
/// The most that one event leads to.
const MOST_EFFECTS: usize = 6;

/// What is to be done for a question, in this order.
#[derive(Debug)]
pub(super) enum Effect {
    /// Send the prompt to the client under this id; without one, answer the call with the question.
    Prompt { id: Option<RequestId> },
    /// Answer the call with where the page is.
    SendToPage { call: HeldKey, url: String },
    /// Invite the client's user to the item's page.
    Invite { item: String, url: String },
    /// Put the question into the inbox; verdicts count until then. No browser is opened for it while the client
    /// shows a prompt.
    AskEngine {
        engine: EngineId,
        item: String,
        until: Option<Duration>,
        opens_browser: bool,
    },
    /// The client is silent: open a browser for the item.
    OpenBrowser { item: String },
    /// Take the prompt back.
    Withdraw { id: RequestId, why: String },
    /// Take the item back.
    Close { item: String, how: Closed },
    /// The question stays until then without a call, and so does its item, if that is open.
    Park {
        item: Option<String>,
        until: Duration,
    },
    /// This session is over: the question is there for a later one.
    LeaveForLater { item: String },
    /// Put these questions, one for each call that shared this one so far.
    Apart { asks: Vec<Ask> },
    /// Record the first of two yeses.
    FirstYes { reason: Option<String>, via: Via },
    /// Record a verdict that no call waits for.
    Kept {
        engine: EngineId,
        item: String,
        verdict: Verdict,
    },
    /// A yes of this moment covers what the operator, and for so long the person, said it would.
    Cover { at: Duration, cover: Duration },
    /// The tool list has to be known.
    WantList,
    /// Let the calls run.
    Release {
        calls: Vec<HeldKey>,
        approval: Approval,
    },
    /// Refuse the calls.
    Refuse { calls: Vec<HeldKey>, failed: Failed },
    /// Record that a call is refused that has been answered with a question.
    RecordRefused { call: Arc<Held>, failed: Failed },
    /// The tool is not what was shown: ask about the calls as they are now.
    AskAnew { calls: Vec<HeldKey> },
}

/// What a step may look at.
pub(super) struct World<'a> {
    pub(super) settings: &'a Settings,
    pub(super) ids: &'a mut RequestIds,
    pub(super) now: Duration,
    /// Whether the client can show a prompt in a session.
    pub(super) can_prompt: Result<(), CannotAsk>,
    /// Whether nothing tells the client from any other process that can connect.
    pub(super) is_anonymous: bool,
    /// Whether the client is still there.
    pub(super) has_client: bool,
    /// Whether the client's answers reach us.
    pub(super) client_is_heard: bool,
    /// Whether decisions may go by the tool list.
    pub(super) list_is_settled: bool,
    /// The tool as it is listed now, as far as is known.
    pub(super) definition: Option<&'a Arc<Definition>>,
    /// What is to be done.
    pub(super) out: Vec<Effect>,
}

impl World<'_> {
    fn channel(&self, at: usize) -> Option<Channel> {
        self.settings.channels.get(at).copied()
    }

    /// When a person's time at an engine is over.
    fn time_at(&self, channel: Channel) -> Option<Duration> {
        let timeout = match channel.patience {
            Patience::AsForAll => self.settings.timeout,
            Patience::Own(timeout) => timeout,
        };
        Some(self.now.saturating_add(timeout?))
    }

    fn needs_two(&self, risk: Risk) -> bool {
        self.settings.double_confirm && risk == Risk::High
    }
}

impl Ask {
    /// A question about a held call, which is put nowhere yet.
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
            prompt: PromptState::Closed,
            item: None,
            silent_at: None,
            deadline: None,
            parked_until: None,
            retries_left: 0,
            pause: Duration::ZERO,
            claim: Claim::Calls(vec![key]),
            lifts: false,
            is_resumable: false,
            answer: None,
            verdict_age: Duration::ZERO,
        }
    }

    /// The same question for one call of several that shared it so far.
    fn apart(&self, call: HeldKey) -> Ask {
        Ask {
            claim: Claim::Calls(vec![call]),
            prompt: PromptState::Closed,
            item: None,
            silent_at: None,
            ..self.clone()
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.claim, Claim::Nobody)
    }

    /// Whether people are asked on behalf of calls that wait now.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(self.claim, Claim::Calls(_))
    }

    pub(super) fn is_parked(&self) -> bool {
        matches!(self.claim, Claim::Parked { .. })
    }

    /// Whether something lets its calls run, and only the tool list has to be known for it.
    pub(super) fn is_approved(&self) -> bool {
        self.is_awaited() && matches!(self.answer, Some(Verdicted::Yes { .. }))
    }

    /// Whether a later session may resume it, should this one end.
    pub(super) fn is_resumable(&self) -> bool {
        self.is_parked() && self.is_resumable
    }

    pub(super) fn set_resumable(&mut self, is_resumable: bool) {
        self.is_resumable = is_resumable;
    }

    /// An earlier session parked the question, as this item, which is open until then.
    pub(super) fn resume(&mut self, item: String, engine: usize, until: Duration) {
        self.engine = engine;
        self.item = Some(Item {
            id: item,
            is_open: true,
            opens_browser: false,
            is_resumed: true,
        });
        self.claim = Claim::Parked { until };
        self.is_resumable = true;
    }

    /// Whether a verdict about its item may have been given long before this session hears of it.
    pub(super) fn has_resumed_item(&self) -> bool {
        self.item.as_ref().is_some_and(|item| item.is_resumed)
    }

    /// How old the newest verdict was when this session heard of it: what a yes covers counts from when it was given.
    pub(super) fn verdict_age(&self) -> Duration {
        self.verdict_age
    }

    pub(super) fn set_verdict_age(&mut self, age: Duration) {
        self.verdict_age = age;
    }

    pub(super) fn has_answer(&self) -> bool {
        self.answer.is_some()
    }

    /// Whether people have been asked to lift an earlier denial.
    pub(super) fn may_lift(&self) -> bool {
        self.lifts
    }

    /// Whether a person has lifted an earlier denial of its call, or has said the first of two yeses to that.
    pub(super) fn has_lifted(&self) -> bool {
        match &self.answer {
            Some(answer) => matches!(answer, Verdicted::Yes { .. }),
            None => self.lifts && self.open_item().is_none(),
        }
    }

    /// What is kept for it of calls that wait no more, in bytes.
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

    /// The calls that wait for it.
    pub(super) fn calls(&self) -> &[HeldKey] {
        match &self.claim {
            Claim::Calls(calls) => calls,
            Claim::State(_) | Claim::Parked { .. } | Claim::Nobody => &[],
        }
    }

    /// The call that was answered with it, and the nonce of its state.
    pub(super) fn answered_call(&self) -> Option<(&Arc<str>, &Arc<Held>)> {
        match &self.claim {
            Claim::State(state) => Some((&state.nonce, &state.call)),
            Claim::Calls(_) | Claim::Parked { .. } | Claim::Nobody => None,
        }
    }

    /// From when on the state is good for nothing, of a call that is about to be answered with the question.
    ///
    /// Its question may go on from the client to the inbox.
    pub(super) fn state_expires(&self, settings: &Settings, now: Duration) -> Duration {
        let longest = now.saturating_add(LONGEST);
        let asks_in_client = self.prompt != PromptState::Closed;
        let channel = settings.channels.get(self.engine);
        let goes_on = channel.is_some_and(|asked| asked.on_timeout == OnFailure::Fallback);
        match asks_in_client && goes_on && self.out_of_band_behind(settings).is_some() {
            true => longest,
            false => self.deadline.unwrap_or(longest).min(longest),
        }
    }

    /// The request of ours that carries it to the client.
    pub(super) fn prompt_id(&self) -> Option<&RequestId> {
        match &self.prompt {
            PromptState::Open { id, .. } => id.as_ref(),
            PromptState::Closed | PromptState::Pause { .. } => None,
        }
    }

    /// Whether the client's user is asked for the answer.
    pub(super) fn is_asked_by_prompt(&self) -> bool {
        matches!(self.prompt, PromptState::Open { .. })
    }

    /// Its newest item in the inbox, whether a verdict about it still counts or not.
    pub(super) fn item(&self) -> Option<&str> {
        self.item.as_ref().map(|item| &*item.id)
    }

    /// Its item in the inbox about which a verdict counts.
    pub(super) fn open_item(&self) -> Option<&str> {
        let item = self.item.as_ref().filter(|item| item.is_open)?;
        Some(&item.id)
    }

    /// Whether a prompt waits to be handed to the client.
    pub(super) fn is_queued(&self) -> bool {
        matches!(
            self.prompt,
            PromptState::Open {
                delivery: Delivery::Queued(_),
                ..
            }
        )
    }

    /// When [`Event::Later`] is due.
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
        let times = [self.deadline, pause, parked, silent];
        times.into_iter().flatten().min()
    }

    /// Whether a call that is asked about as `subject` can share it: it would be shown in the same way, and a yes
    /// would cover both.
    ///
    /// INVARIANT 2: only a call that is shown in full by a prompt may share it, however little the operator's
    /// dedupe fields look at.
    pub(super) fn is_shared_by(&self, subject: &Subject, offers: Offers) -> bool {
        self.is_awaited()
            && self.answer.is_none()
            && subject.dedupe.is_some()
            && self.subject.digest == subject.digest
            && self.subject.dedupe == subject.dedupe
            && self.offers == offers
    }

    /// What happens to the question when `event` does. Each event is an event for every question; most mean
    /// nothing to most.
    pub(super) fn step(&mut self, event: Event, world: &mut World<'_>) -> Vec<Effect> {
        match event {
            Event::Begin => {
                if self.is_new() {
                    self.put_from(self.engine, None, world);
                }
            }
            Event::Approved(approval) => self.approve(approval, world),
            Event::DeniedBefore { at, until } => self.denied_before(at, until, world),
            Event::Cut => self.post_beside(world),
            Event::Answered(answer) => self.answered(answer, world),
            Event::PageDeclined { took } => {
                if self.is_awaited() && self.open_item().is_some() {
                    let failed = Failed::denied(None, "declined", Via::elicitation(took));
                    self.close(&failed.refusal.log_reason(), Closed::Withdrawn, world);
                    self.refuse(failed, world);
                }
            }
            Event::Sent { nonce, call, asked } => self.sent(nonce, call, asked, world),
            Event::Decided { engine, verdict } => self.decided(engine, verdict, world),
            Event::Lost(failure) => self.lost(failure, world),
            Event::HasPage(url) => self.has_page(url, world),
            Event::CallCame(came) => self.call_came(came, world),
            Event::CallLeft { call, may_park } => self.call_left(call, may_park, world),
            Event::Later => self.later(world),
            Event::Ended(failed) => self.ended(failed, world),
        }
        debug_assert!(world.out.len() <= MOST_EFFECTS, "{:?}", world.out);
        std::mem::take(&mut world.out)
    }

    /// The client has been handed what was put out for it.
    pub(super) fn delivered(&mut self, now: Duration) {
        if let PromptState::Open { delivery, .. } = &mut self.prompt
            && let Delivery::Queued(_) = delivery
        {
            *delivery = Delivery::Delivered(now);
        }
    }

    /// Whether it has been put nowhere yet.
    fn is_new(&self) -> bool {
        self.is_awaited()
            && self.prompt == PromptState::Closed
            && self.item.is_none()
            && self.answer.is_none()
    }
}
