//! A question in progress: where it is open, who waits for it, and what has come of it.
//!
//! One state machine for both eras, without access to the gate: an event and the world go in, effects come out.
//! The gate carries them out, in order (`asking`). INVARIANTS 2 and 3 of a question are all here:
//! one yes of two in [`Ask::said_yes`], time in [`Ask::time_is_up`], "is it still what was shown" in
//! [`Ask::release`], what a yes covers in [`Effect::Cover`].

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use super::catalogue::Definition;
use super::handshake::{CannotAsk, Offers};
use super::held::{Era, Held, HeldKey, Subject};
use super::ids::RequestIds;
use super::refusal::Refusal;
use super::settings::{Channel, Engine, OnFailure, Patience, Retry, Settings, TimeoutAction};
use super::verdict::{Approval, ClientNo, Failed, Via};
use crate::approval::item::{Choice, Closed, Verdict};
use crate::approval::request::{ApprovalRequest, Round};
use crate::audit::record::Outcome;
use crate::mcp::elicit::{Answer, Consent, read_answer, read_consent};
use crate::mcp::message::RequestId;
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
    pub(super) round: Round,
    /// How many more yeses are needed, that question's included.
    yeses_needed: u32,
    /// Which engine of the operator's list it has come to.
    engine: usize,
    prompt: Prompt,
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
    /// What has come of it, until whoever waits for it can have that.
    answer: Option<Verdicted>,
}

/// The question in the client.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Prompt {
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
    /// The inbox has lost the item; says why.
    Lost(String),
}

/// What happens to a question.
#[derive(Debug)]
pub(super) enum Event {
    /// It is to be asked, from the engine on that it has come to.
    Begin,
    /// Something else than an answer to it lets its calls run.
    Approved(Approval),
    /// The client has been handed what was put out for it.
    Delivered,
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
    /// A person has decided in the inbox.
    Decided(Verdict),
    /// The inbox has lost the item; says why.
    Lost(String),
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
    Post {
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
    /// The item stays open until then without a call.
    Park { item: String, until: Duration },
    /// Ask about each of these calls, which shared the question so far, with a question of its own.
    Apart { calls: Vec<HeldKey> },
    /// Record the first of two yeses.
    FirstYes { reason: Option<String>, via: Via },
    /// Record a verdict that no call waits for.
    Kept { item: String, verdict: Verdict },
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
                _ if held.changes > 0 => Round::Changed,
                true => Round::FirstOfTwo,
                false => Round::First,
            },
            yeses_needed: if twice { 2 } else { 1 },
            engine: 0,
            prompt: Prompt::Closed,
            item: None,
            silent_at: None,
            deadline: None,
            parked_until: None,
            retries_left: 0,
            pause: Duration::ZERO,
            claim: Claim::Calls(vec![key]),
            answer: None,
        }
    }

    /// The same question for one call of several that shared it so far.
    pub(super) fn apart(&self, call: HeldKey) -> Ask {
        Ask {
            claim: Claim::Calls(vec![call]),
            prompt: Prompt::Closed,
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

    pub(super) fn has_answer(&self) -> bool {
        self.answer.is_some()
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
        let asks_in_client = self.prompt != Prompt::Closed;
        let channel = settings.channels.get(self.engine);
        let goes_on = channel.is_some_and(|asked| asked.on_timeout == OnFailure::Fallback);
        match asks_in_client && goes_on && self.inbox_behind(settings).is_some() {
            true => longest,
            false => self.deadline.unwrap_or(longest).min(longest),
        }
    }

    /// The request of ours that carries it to the client.
    pub(super) fn prompt_id(&self) -> Option<&RequestId> {
        match &self.prompt {
            Prompt::Open { id, .. } => id.as_ref(),
            Prompt::Closed | Prompt::Pause { .. } => None,
        }
    }

    /// Whether the client's user is asked for the answer.
    pub(super) fn is_asked_by_prompt(&self) -> bool {
        matches!(self.prompt, Prompt::Open { .. })
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
            Prompt::Open {
                delivery: Delivery::Queued(_),
                ..
            }
        )
    }

    /// When [`Event::Later`] is due.
    pub(super) fn next_time(&self) -> Option<Duration> {
        let pause = match &self.prompt {
            Prompt::Pause { until, .. } => Some(*until),
            Prompt::Open { .. } | Prompt::Closed => None,
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
        let mut out = Vec::with_capacity(MOST_EFFECTS);
        match event {
            Event::Begin => {
                if self.is_new() {
                    self.put_from(self.engine, None, world, &mut out);
                }
            }
            Event::Approved(approval) => self.approve(approval, world, &mut out),
            Event::Delivered => {
                if let Prompt::Open { delivery, .. } = &mut self.prompt
                    && let Delivery::Queued(_) = delivery
                {
                    *delivery = Delivery::Delivered(world.now);
                }
            }
            Event::Cut => self.post_beside(world, &mut out),
            Event::Answered(answer) => self.answered(answer, world, &mut out),
            Event::PageDeclined { took } => {
                if self.is_awaited() && self.open_item().is_some() {
                    let failed = Failed::denied(None, "declined", Via::elicitation(took));
                    self.close(&failed.refusal.log_reason(), Closed::Withdrawn, &mut out);
                    self.refuse(failed, &mut out);
                }
            }
            Event::Sent { nonce, call, asked } => self.sent(nonce, call, asked, world),
            Event::Decided(verdict) => self.decided(verdict, world, &mut out),
            Event::Lost(why) => self.lost(why, world, &mut out),
            Event::HasPage(url) => self.has_page(url, world, &mut out),
            Event::CallCame(came) => self.call_came(came, world, &mut out),
            Event::CallLeft { call, may_park } => self.call_left(call, may_park, world, &mut out),
            Event::Later => self.later(world, &mut out),
            Event::Ended(failed) => self.ended(failed, &mut out),
        }
        out
    }

    /// Whether it has been put nowhere yet.
    fn is_new(&self) -> bool {
        self.is_awaited()
            && self.prompt == Prompt::Closed
            && self.item.is_none()
            && self.answer.is_none()
    }

    // Engines

    /// Puts the question to the first engine from `from` on that can have it. Where there is none, its calls are
    /// refused for what the engine before has `failed` with, or for the first thing that is missing.
    fn put_from(
        &mut self,
        from: usize,
        failed: Option<Failed>,
        world: &mut World<'_>,
        out: &mut Vec<Effect>,
    ) {
        let mut failed = failed;
        for at in from..world.settings.channels.len() {
            let Some(channel) = world.channel(at) else {
                break;
            };
            if let Err(cannot) = self.can_be_put_to(channel.engine, world) {
                let refusal = Refusal::CannotAsk(cannot);
                failed.get_or_insert(Failed::new(Outcome::Denied, refusal));
                continue;
            }
            self.engine = at;
            self.retries_left = world.settings.retry.attempts;
            self.pause = world.settings.retry.initial_backoff;
            return self.put(world.time_at(channel), world, out);
        }
        let none = || Failed::new(Outcome::Denied, Refusal::CannotAsk(CannotAsk::NoChannel));
        self.close("it cannot be asked", Closed::Withdrawn, out);
        self.refuse(failed.unwrap_or_else(none), out);
    }

    fn can_be_put_to(&self, engine: Engine, world: &World<'_>) -> Result<(), CannotAsk> {
        match engine {
            _ if !world.has_client => Err(CannotAsk::ClientGone),
            Engine::Inbox => Ok(()),
            Engine::Elicitation if world.is_anonymous => Err(CannotAsk::Anonymous),
            Engine::Elicitation => match self.era {
                Era::Legacy => world.can_prompt.clone(),
                // SPEC 2026-07-28: "Servers MUST NOT send an `inputRequests` that the client has not declared
                // support for in its capabilities", and those count for their request only.
                Era::Stateless if self.offers.forms => Ok(()),
                Era::Stateless => Err(CannotAsk::NoCapability),
            },
        }
    }

    /// Puts the question to the engine that it has come to; a person has time there until `deadline`.
    fn put(&mut self, deadline: Option<Duration>, world: &mut World<'_>, out: &mut Vec<Effect>) {
        self.deadline = deadline;
        let Some(channel) = world.channel(self.engine) else {
            return;
        };
        if let Err(cannot) = self.can_be_put_to(channel.engine, world) {
            let failed = Failed::new(Outcome::Denied, Refusal::CannotAsk(cannot));
            return self.put_from(self.engine + 1, Some(failed), world, out);
        }
        match channel.engine {
            Engine::Elicitation => self.put_to_client(world, out),
            Engine::Inbox if self.fits_inbox => {
                let until = self.item_until(deadline, world);
                self.post(until, world, out);
                // What is decided at the last moment has to get here.
                self.deadline = deadline.map(|deadline| deadline.saturating_add(GRACE));
            }
            Engine::Inbox => self.engine_failed(Refusal::TooLargeToShow, world, out),
        }
    }

    fn put_to_client(&mut self, world: &mut World<'_>, out: &mut Vec<Effect>) {
        let id = match self.era {
            Era::Legacy => Some(world.ids.next()),
            Era::Stateless => None,
        };
        self.prompt = Prompt::Open {
            id: id.clone(),
            delivery: Delivery::Queued(world.now),
        };
        let after = world.settings.also_inbox_after;
        let is_listed = !after.is_zero() && self.may_be_beside(world.settings);
        self.silent_at = is_listed.then(|| world.now.saturating_add(after));
        let is_result = id.is_none();
        out.push(Effect::Prompt { id });
        if is_result {
            let longest = world.now.saturating_add(LONGEST);
            self.deadline = Some(self.deadline.unwrap_or(longest).min(longest));
            // Each call is answered by itself.
            if let Claim::Calls(calls) = &mut self.claim {
                let others: Vec<HeldKey> = calls.drain(1.min(calls.len())..).collect();
                if !others.is_empty() {
                    out.push(Effect::Apart { calls: others });
                }
            }
        }
    }

    /// Puts the question into the inbox under a new name. Verdicts count until then.
    fn post(&mut self, until: Option<Duration>, world: &mut World<'_>, out: &mut Vec<Effect>) {
        self.close_item(Closed::Withdrawn, out);
        let item = world.ids.next_hex();
        self.item = Some(Item {
            id: item.clone(),
            is_open: true,
        });
        out.push(Effect::Post {
            item,
            until,
            opens_browser: self.prompt == Prompt::Closed,
        });
    }

    /// Shows the question in the inbox beside the client's prompt, which cannot show all of the call, or shows it to
    /// nobody. Whichever is answered first counts.
    fn post_beside(&mut self, world: &mut World<'_>, out: &mut Vec<Effect>) {
        let is_out = matches!(self.prompt, Prompt::Open { .. });
        if is_out && self.open_item().is_none() && self.may_be_beside(world.settings) {
            let until = self.item_until(self.deadline, world);
            self.post(until, world, out);
        }
    }

    /// Whether the inbox can show the question as well while the client's prompt is out.
    pub(super) fn may_be_beside(&self, settings: &Settings) -> bool {
        self.fits_inbox && inbox(settings).is_some()
    }

    /// The client has been silent for a while: the inbox lists the question, and later a browser is opened for it.
    fn client_is_silent(&mut self, world: &mut World<'_>, out: &mut Vec<Effect>) {
        self.silent_at = None;
        let Prompt::Open { delivery, .. } = self.prompt else {
            return;
        };
        let urgent_at = delivery.since().saturating_add(URGENT);
        if self.open_item().is_none() {
            self.post_beside(world, out);
        }
        match self.open_item() {
            Some(_) if world.now < urgent_at => self.silent_at = Some(urgent_at),
            Some(item) => out.push(Effect::OpenBrowser {
                item: item.to_owned(),
            }),
            None => {}
        }
    }

    /// Until when the inbox takes a verdict, where a person has time until `deadline`. What may be parked then
    /// must not have expired; what is not, is closed.
    fn item_until(&self, deadline: Option<Duration>, world: &World<'_>) -> Option<Duration> {
        let more = match self.stays_open(world) {
            true => world.settings.park_for,
            false => Duration::ZERO,
        };
        deadline.map(|deadline| deadline.saturating_add(more))
    }

    /// Whether the question stays open in the inbox when its time is over: because the operator chose that, or
    /// because it was left there before.
    fn stays_open(&self, world: &World<'_>) -> bool {
        world.settings.timeout_action == TimeoutAction::Park || self.parked_until.is_some()
    }

    /// The engine is broken: the next one is asked, if the operator says so.
    fn engine_failed(&mut self, refusal: Refusal, world: &mut World<'_>, out: &mut Vec<Effect>) {
        let channel = world.channel(self.engine);
        let then = channel.map_or(OnFailure::Deny, |channel| channel.on_transport_error);
        let mut failed = Failed::new(Outcome::Error, refusal);
        failed.via = self.nobody(world);
        match then {
            OnFailure::Fallback => self.put_from(self.engine + 1, Some(failed), world, out),
            OnFailure::Deny => {
                self.close("the question cannot be asked", Closed::Withdrawn, out);
                self.refuse(failed, out);
            }
        }
    }

    /// How the engine is called where nobody has answered.
    fn nobody(&self, world: &World<'_>) -> Option<Via> {
        Some(match world.channel(self.engine)?.engine {
            Engine::Elicitation => Via::ELICITATION,
            Engine::Inbox => Via::INBOX,
        })
    }

    fn inbox_behind(&self, settings: &Settings) -> Option<(usize, Channel)> {
        let channels = settings.channels.iter().copied().enumerate();
        let mut behind = channels.skip(self.engine.saturating_add(1));
        behind.find(|(_, channel)| channel.engine == Engine::Inbox)
    }

    // Answers

    /// The client has answered. INVARIANT 2: one answer; a second one finds no open prompt.
    fn answered(&mut self, answer: Answer, world: &mut World<'_>, out: &mut Vec<Effect>) {
        let Prompt::Open { delivery, .. } = self.prompt else {
            return;
        };
        if !self.is_awaited() {
            return;
        }
        let took = world.now.saturating_sub(delivery.since());
        self.prompt = Prompt::Closed;
        match answer {
            Answer::Approved { reason } => {
                self.close_item(Closed::Withdrawn, out);
                let via = Via::elicitation(took);
                self.said_yes(reason, Duration::ZERO, via, world, out);
            }
            Answer::Refused { reason, how } => {
                let no = ClientNo { reason, how, took };
                if !world.settings.is_instant(took) {
                    self.close_item(Closed::Withdrawn, out);
                }
                self.client_said_no(no, world, out);
            }
            // CONTRACT 1: no retry; "an answer is an answer".
            Answer::Invalid(fault) => {
                self.engine_failed(Refusal::InvalidAnswer(fault), world, out);
            }
            // A stateless client reports no errors: were this one, it would be no yes.
            Answer::Failed { message } if self.retries_left > 0 && self.era == Era::Legacy => {
                self.retries_left -= 1;
                self.prompt = Prompt::Pause {
                    until: world.now.saturating_add(self.pause),
                    error: message,
                };
                self.pause = next_pause(self.pause, &world.settings.retry);
            }
            Answer::Failed { message } => {
                self.engine_failed(Refusal::ClientError(message), world, out);
            }
        }
    }

    /// The client answered with a no. One that nobody can have given refuses the calls, too, but leaves the
    /// question open in the inbox, if there is one.
    fn client_said_no(&mut self, no: ClientNo, world: &mut World<'_>, out: &mut Vec<Effect>) {
        let is_instant = world.settings.is_instant(no.took);
        if !is_instant {
            return self.refuse(no.of_person(), out);
        }
        if !self.park(|item| no.clone().of_nobody(Some(item)), world, out) {
            self.refuse(no.of_nobody(None), out);
        }
    }

    /// A person said yes: it is one of two, or lets the calls run. `cover` is for how long the very same call is
    /// approved, too.
    fn said_yes(
        &mut self,
        reason: Option<String>,
        cover: Duration,
        via: Via,
        world: &mut World<'_>,
        out: &mut Vec<Effect>,
    ) {
        if self.yeses_needed > 1 {
            self.yeses_needed -= 1;
            self.round = Round::Second;
            if self.is_awaited() {
                out.push(Effect::FirstYes { reason, via });
                self.parked_until = None;
                self.ask_second(world, out);
            }
            return;
        }
        let (approval, at) = (Approval::given(reason, via), world.now);
        if self.is_awaited() {
            out.push(Effect::Cover { at, cover });
            return self.approve(approval, world, out);
        }
        self.answer = Some(Verdicted::Yes {
            approval,
            at,
            cover,
        });
    }

    /// Something lets the calls run that wait.
    fn approve(&mut self, approval: Approval, world: &World<'_>, out: &mut Vec<Effect>) {
        self.deadline = None;
        self.silent_at = None;
        self.answer = Some(Verdicted::Yes {
            approval,
            at: world.now,
            cover: Duration::ZERO,
        });
        self.release(world, out);
    }

    /// Asks for the second of two yeses, at the engine that brought the first. INVARIANT 2: it is one to what the
    /// first was one to.
    fn ask_second(&mut self, world: &mut World<'_>, out: &mut Vec<Effect>) {
        if !self.subject.is_as_shown(world.definition) {
            return self.ask_anew(out);
        }
        let channel = world.channel(self.engine);
        let deadline = channel.and_then(|channel| world.time_at(channel));
        self.put(deadline, world, out);
    }

    /// Lets the calls run that wait for a question which was answered with a yes. INVARIANT 2: only if the tool is
    /// still what was shown; otherwise it is asked about again. INVARIANT 3: whatever said so must assure enough,
    /// and somebody must be there to get the result.
    fn release(&mut self, world: &World<'_>, out: &mut Vec<Effect>) {
        let Some(Verdicted::Yes { approval, .. }) = &self.answer else {
            return;
        };
        if !is_sure_enough(approval.via, world.settings) {
            let failed = Failed::new(Outcome::Denied, Refusal::TooWeak).via(approval.via);
            return self.refuse(failed, out);
        }
        if !world.has_client {
            let failed = Failed::new(Outcome::Cancelled, Refusal::Cancelled);
            return self.refuse(failed, out);
        }
        if !world.list_is_settled {
            return out.push(Effect::WantList);
        }
        if !self.subject.is_as_shown(world.definition) {
            return self.ask_anew(out);
        }
        let approval = approval.clone();
        self.close(GONE, Closed::Withdrawn, out);
        if let Claim::Calls(calls) = std::mem::replace(&mut self.claim, Claim::Nobody) {
            out.push(Effect::Release { calls, approval });
        }
    }

    fn ask_anew(&mut self, out: &mut Vec<Effect>) {
        self.close("the server has changed the tool", Closed::Withdrawn, out);
        if let Claim::Calls(calls) = std::mem::replace(&mut self.claim, Claim::Nobody) {
            out.push(Effect::AskAnew { calls });
        }
    }

    /// A person has decided in the inbox. INVARIANT 2: the first verdict counts, and no other; a late answer of the
    /// client's counts for nothing.
    fn decided(&mut self, verdict: Verdict, world: &mut World<'_>, out: &mut Vec<Effect>) {
        let Some(item) = self.item.as_mut().filter(|item| item.is_open) else {
            return;
        };
        item.is_open = false;
        let id = item.id.clone();
        self.withdraw_prompt("a person has decided in the approval inbox", out);
        let via = Via::verdict(&verdict);
        if !self.is_awaited() {
            let verdict = verdict.clone();
            out.push(Effect::Kept { item: id, verdict });
        }
        match verdict.choice {
            Choice::Approve => self.said_yes(verdict.reason, verdict.cover, via, world, out),
            Choice::Deny => {
                let failed = Failed::denied(verdict.reason, "denied", via);
                match self.is_awaited() {
                    true => self.refuse(failed, out),
                    false => self.answer = Some(Verdicted::No(failed)),
                }
            }
        }
    }

    /// The inbox has lost the item. A prompt that is out in the client is enough; whoever brings the state is told;
    /// whoever makes a parked call again is asked again.
    fn lost(&mut self, why: String, world: &mut World<'_>, out: &mut Vec<Effect>) {
        if self.open_item().is_none() {
            return;
        }
        self.item = None;
        if self.prompt != Prompt::Closed {
            return;
        }
        match &self.claim {
            Claim::Calls(_) => self.engine_failed(Refusal::InboxError(why), world, out),
            Claim::State(_) => self.answer = Some(Verdicted::Lost(why)),
            Claim::Parked { .. } | Claim::Nobody => self.claim = Claim::Nobody,
        }
    }

    // Calls that were answered with a question

    /// The call has been answered with the question.
    fn sent(&mut self, nonce: String, call: Held, asked: AskedFor, world: &World<'_>) {
        if asked == AskedFor::Answer {
            self.prompt = Prompt::Open {
                id: None,
                delivery: Delivery::Delivered(world.now),
            };
        }
        let longest = world.now.saturating_add(LONGEST);
        self.deadline = Some(self.deadline.unwrap_or(longest).min(longest));
        self.claim = Claim::State(State {
            nonce: nonce.into(),
            call: Arc::new(call),
            sent: world.now,
            expires: self.state_expires(world.settings, world.now),
            asked,
        });
    }

    /// The item has a page. A client that opens URLs is sent there, in the way of its era.
    ///
    /// SPEC 2026-07-28, "URL Mode Elicitation Requests". Several calls that share a question wait without: each
    /// would be sent to the same page.
    fn has_page(&mut self, page: String, world: &World<'_>, out: &mut Vec<Effect>) {
        // A prompt of ours is out already, or nobody is there to be sent.
        if self.prompt != Prompt::Closed || !world.has_client {
            return;
        }
        match (&mut self.claim, self.era, &self.item) {
            (Claim::Calls(_), Era::Legacy, Some(item)) => out.push(Effect::Invite {
                item: item.id.clone(),
                url: page,
            }),
            (Claim::Calls(calls), Era::Stateless, Some(_)) if self.offers.urls => {
                if let &[call] = &calls[..] {
                    out.push(Effect::SendToPage { call, url: page });
                }
            }
            (Claim::State(state), ..) => {
                if let AskedFor::Page(url) = &mut state.asked {
                    *url = page;
                }
            }
            (Claim::Calls(_) | Claim::Parked { .. } | Claim::Nobody, ..) => {}
        }
    }

    /// The same call comes: to share the question, with the state of the call that was answered with it, or because
    /// the question was parked.
    fn call_came(&mut self, came: Came, world: &mut World<'_>, out: &mut Vec<Effect>) {
        match std::mem::replace(&mut self.claim, Claim::Nobody) {
            Claim::Calls(mut calls) => {
                calls.push(came.call);
                self.claim = Claim::Calls(calls);
            }
            Claim::State(state) => {
                self.claim = Claim::Calls(vec![came.call]);
                self.offers = came.offers;
                self.state_came(state, &came, world, out);
            }
            Claim::Parked { until } => {
                self.claim = Claim::Calls(vec![came.call]);
                self.offers = came.offers;
                let channel = world.channel(self.engine);
                let deadline = channel.and_then(|channel| world.time_at(channel));
                // Nobody can answer a parked item once its time is over.
                self.deadline = Some(deadline.map_or(until, |deadline| deadline.min(until)));
                self.parked_until = Some(until);
                self.attend(world, out);
            }
            Claim::Nobody => {}
        }
    }

    /// A retry brings the state, and the answer to our question, or should.
    fn state_came(
        &mut self,
        state: State,
        came: &Came,
        world: &mut World<'_>,
        out: &mut Vec<Effect>,
    ) {
        let answer = came.answer.as_deref();
        if let Prompt::Open { .. } = self.prompt {
            return match answer {
                Some(answer) => self.answered(read_answer(Some(answer), None), world, out),
                None => self.ask_again(world, out),
            };
        }
        // The question is in the inbox. Consent to open a page is no yes, and a yes to a form that has run out is
        // none either; a no is one, if a person can have given it.
        let denied = match (state.asked, answer) {
            (AskedFor::Page(url), None) if came.offers.urls && self.open_item().is_some() => {
                // SPEC: "the server SHOULD respond with a new `InputRequiredResult` requesting the missing
                // information again".
                let call = came.call;
                return out.push(Effect::SendToPage { call, url });
            }
            (_, None) => None,
            (AskedFor::Page(_), Some(answer)) => match read_consent(Some(answer)) {
                Consent::Declined => Some((None, "declined")),
                // Dismissed, or not understood: the item can be found without the client.
                Consent::Accepted | Consent::None => None,
            },
            (AskedFor::Answer, Some(answer)) => match read_answer(Some(answer), None) {
                Answer::Refused { reason, how } if how.is_said() => Some((reason, how.words())),
                Answer::Refused { .. }
                | Answer::Approved { .. }
                | Answer::Invalid(_)
                | Answer::Failed { .. } => None,
            },
        };
        let took = world.now.saturating_sub(state.sent);
        if let Some((reason, how)) = denied.filter(|_| !world.settings.is_instant(took)) {
            self.close_item(Closed::Withdrawn, out);
            let failed = Failed::denied(reason, how, Via::elicitation(took));
            return self.refuse(failed, out);
        }
        self.attend(world, out);
    }

    /// Asks once more, in the request that brought no answer. The person's time does not begin anew.
    ///
    /// SPEC: "the server SHOULD respond with a new `InputRequiredResult` requesting the missing information again".
    fn ask_again(&mut self, world: &mut World<'_>, out: &mut Vec<Effect>) {
        self.prompt = Prompt::Closed;
        if !self.subject.is_as_shown(world.definition) {
            return self.ask_anew(out);
        }
        // Capabilities count for their request only.
        if !self.offers.forms {
            let refusal = Refusal::CannotAsk(CannotAsk::NoCapability);
            return self.refuse(Failed::new(Outcome::Denied, refusal), out);
        }
        self.put_to_client(world, out);
    }

    /// A call has come for a question that waited without one: it gets the answer that there is, or waits for it.
    fn attend(&mut self, world: &mut World<'_>, out: &mut Vec<Effect>) {
        match self.answer.take() {
            Some(Verdicted::Yes {
                approval,
                at,
                cover,
            }) => {
                out.push(Effect::Cover { at, cover });
                self.approve(approval, world, out);
            }
            Some(Verdicted::No(failed)) => self.refuse(failed, out),
            Some(Verdicted::Lost(why)) => {
                self.engine_failed(Refusal::InboxError(why), world, out);
            }
            // It was the first of two.
            None if self.open_item().is_none() => self.ask_second(world, out),
            None => {}
        }
    }

    // Ends

    /// A call waits no more. The last one takes the question with it, unless that can stay open without it.
    fn call_left(
        &mut self,
        call: HeldKey,
        may_park: bool,
        world: &mut World<'_>,
        out: &mut Vec<Effect>,
    ) {
        let Claim::Calls(calls) = &mut self.claim else {
            return;
        };
        calls.retain(|other| *other != call);
        if !calls.is_empty() {
            return;
        }
        self.claim = Claim::Nobody;
        let may_stay = may_park && self.prompt == Prompt::Closed && self.stays_open(world);
        if may_stay && let Some(item) = self.open_item().map(str::to_owned) {
            let until = self.may_be_parked_until(world);
            return self.leave(item, until, out);
        }
        self.close(GONE, Closed::Withdrawn, out);
    }

    fn later(&mut self, world: &mut World<'_>, out: &mut Vec<Effect>) {
        let is_due = |at: Option<Duration>| at.is_some_and(|at| at <= world.now);
        match &self.claim {
            Claim::Calls(_) if self.is_approved() => self.release(world, out),
            Claim::Calls(_) | Claim::State(_) if is_due(self.deadline) => {
                self.time_is_up(world, out);
            }
            Claim::Calls(_) | Claim::State(_)
                if self.is_asked_by_prompt() && is_due(self.silent_at) =>
            {
                self.client_is_silent(world, out);
            }
            Claim::Calls(_) => {
                if let Prompt::Pause { until, .. } = &self.prompt
                    && *until <= world.now
                {
                    self.put(self.deadline, world, out);
                }
            }
            // It was not answered, or its call has not come again.
            Claim::Parked { until } if *until <= world.now => self.unpark(Closed::Expired, out),
            Claim::State(_) | Claim::Parked { .. } | Claim::Nobody => {}
        }
    }

    /// The person's time is over.
    fn time_is_up(&mut self, world: &mut World<'_>, out: &mut Vec<Effect>) {
        let mut timed_out = Failed::new(Outcome::Timeout, Refusal::TimedOut);
        timed_out.via = self.nobody(world);
        match &self.claim {
            Claim::Calls(_) => self.time_of_calls_is_up(timed_out, world, out),
            Claim::State(state) => {
                let expires = state.expires;
                self.time_of_state_is_up(timed_out, expires, world, out);
            }
            Claim::Parked { .. } | Claim::Nobody => {}
        }
    }

    fn time_of_calls_is_up(
        &mut self,
        timed_out: Failed,
        world: &mut World<'_>,
        out: &mut Vec<Effect>,
    ) {
        const WHY: &str = "nobody answered in time";
        let channel = world.channel(self.engine);
        let goes_on = channel.is_some_and(|channel| channel.on_timeout == OnFailure::Fallback)
            && self.engine + 1 < world.settings.channels.len();
        match &self.prompt {
            Prompt::Pause { error, .. } => {
                let refusal = Refusal::ClientError(error.clone());
                self.engine_failed(refusal, world, out);
            }
            Prompt::Open { .. } | Prompt::Closed if goes_on => {
                self.close(WHY, Closed::Expired, out);
                self.put_from(self.engine + 1, Some(timed_out), world, out);
            }
            // INVARIANT 3: only a prompt that the client can have seen may run out into a yes, and only where the
            // operator chose that.
            Prompt::Open {
                delivery: Delivery::Delivered(_),
                ..
            } if self.takes_silence_for_a_yes(world) => {
                self.close(WHY, Closed::Expired, out);
                self.approve(Approval::silence(), world, out);
            }
            Prompt::Open { .. } | Prompt::Closed => {
                let parked =
                    |item| Failed::new(Outcome::Timeout, Refusal::Parked(item)).via(Via::INBOX);
                if self.stays_open(world) && self.park(parked, world, out) {
                    return;
                }
                self.close(WHY, Closed::Expired, out);
                self.refuse(timed_out, out);
            }
        }
    }

    /// Whether the operator chose that silence is a yes to this question.
    ///
    /// Not so where two yeses are asked for, be it the first or the second that does not come: an operator who
    /// wants them from a person who pays attention gets none from one who does not. Nor where assurance is
    /// required, since silence assures nothing; nor while an answer may be on its way unread.
    fn takes_silence_for_a_yes(&self, world: &World<'_>) -> bool {
        world.settings.timeout_action == TimeoutAction::Approve
            && world.client_is_heard
            && world.settings.require_assurance.is_none()
            && !world.needs_two(self.subject.decision.risk)
    }

    /// No retry has come in time. The request has been answered long ago, so that only the log hears of it.
    fn time_of_state_is_up(
        &mut self,
        timed_out: Failed,
        expires: Duration,
        world: &mut World<'_>,
        out: &mut Vec<Effect>,
    ) {
        if let Prompt::Open { .. } = self.prompt {
            self.prompt = Prompt::Closed;
            if self.moves_to_inbox(expires, world, out) {
                return;
            }
            let parked =
                |item| Failed::new(Outcome::Timeout, Refusal::Parked(item)).via(Via::INBOX);
            if self.stays_open(world) && self.park(parked, world, out) {
                return;
            }
            self.close_item(Closed::Expired, out);
            let failed = Failed {
                via: None,
                ..timed_out
            };
            return self.refuse(failed, out);
        }
        let has_time = self.parked_until.is_none_or(|until| world.now < until);
        let failed = match &self.answer {
            Some(Verdicted::No(denied)) => denied.clone(),
            Some(Verdicted::Lost(why)) => {
                let refusal = Refusal::InboxError(why.clone());
                Failed::new(Outcome::Error, refusal).via(Via::INBOX)
            }
            Some(Verdicted::Yes { .. }) | None if self.stays_open(world) && has_time => {
                return self.park_answered(world, out);
            }
            Some(Verdicted::Yes { approval, .. }) => {
                Failed::new(Outcome::Timeout, Refusal::TimedOut)
                    .via(approval.via)
                    .logged(
                        "a human approved it, but the client did not make the call again in time",
                    )
            }
            None => Failed::new(Outcome::Timeout, Refusal::TimedOut).via(Via::INBOX),
        };
        self.close_item(Closed::Expired, out);
        self.refuse(failed, out);
    }

    /// Nobody has answered the client's form in time: the question goes on to the inbox, if the operator says so
    /// and its state is good for long enough to bring somebody back.
    fn moves_to_inbox(
        &mut self,
        expires: Duration,
        world: &mut World<'_>,
        out: &mut Vec<Effect>,
    ) -> bool {
        let channel = world.channel(self.engine);
        let goes_on = channel.is_some_and(|channel| channel.on_timeout == OnFailure::Fallback);
        let next = self.inbox_behind(world.settings);
        let Some((at, channel)) = next.filter(|_| goes_on && world.now < expires) else {
            return false;
        };
        if !self.fits_inbox {
            return false;
        }
        let deadline = world.time_at(channel).unwrap_or(expires).min(expires);
        self.engine = at;
        let until = self.item_until(Some(deadline), world);
        self.post(until, world, out);
        self.deadline = Some(deadline.saturating_add(GRACE).min(expires));
        true
    }

    /// Refuses the calls for now and leaves the question open in the inbox. False, and nothing has changed but that
    /// the client is not asked any more, where there is no inbox, or the question does not fit or was there long
    /// enough.
    fn park(
        &mut self,
        failed: impl FnOnce(String) -> Failed,
        world: &mut World<'_>,
        out: &mut Vec<Effect>,
    ) -> bool {
        let Some(engine) = inbox(world.settings).filter(|_| self.fits_inbox) else {
            return false;
        };
        let until = self.may_be_parked_until(world);
        if until <= world.now {
            return false;
        }
        self.withdraw_prompt("nobody answered in time", out);
        self.engine = engine;
        if self.open_item().is_none() {
            self.post(Some(until), world, out);
        }
        let Some(item) = self.open_item().map(str::to_owned) else {
            return false;
        };
        self.refuse_calls(failed(item.clone()), out);
        self.leave(item, until, out);
        true
    }

    /// Parks a question about a call that has been answered with it: only the log hears of it.
    fn park_answered(&mut self, world: &World<'_>, out: &mut Vec<Effect>) {
        let until = self.may_be_parked_until(world);
        let item = self.item.as_ref().map(|item| item.id.clone());
        let parked = Failed::new(
            Outcome::Timeout,
            Refusal::Parked(item.clone().unwrap_or_default()),
        );
        let parked = parked.via(Via::INBOX);
        match (self.open_item().is_some(), item) {
            (true, Some(item)) => {
                self.refuse_calls(parked, out);
                self.leave(item, until, out);
            }
            (_, item) => {
                let item = item.unwrap_or_default();
                self.refuse(
                    parked.logged(&format!(
                        "a human decided, but the client did not make the call again in time; parked as {item}"
                    )),
                    out,
                );
                self.deadline = None;
                self.claim = Claim::Parked { until };
            }
        }
    }

    /// Leaves the open item in the inbox without a call.
    fn leave(&mut self, item: String, until: Duration, out: &mut Vec<Effect>) {
        self.deadline = None;
        self.silent_at = None;
        self.claim = Claim::Parked { until };
        out.push(Effect::Park { item, until });
    }

    /// Until when the question may be parked: as long as the operator says, counted from when it first was.
    fn may_be_parked_until(&self, world: &World<'_>) -> Duration {
        let until = world.now.saturating_add(world.settings.park_for);
        self.parked_until.unwrap_or(until)
    }

    /// A parked question is over, answered or not: the inbox shows it no more as one that may still run.
    fn unpark(&mut self, how: Closed, out: &mut Vec<Effect>) {
        self.claim = Claim::Nobody;
        if let Some(item) = self.item.take() {
            out.push(Effect::Close { item: item.id, how });
        }
    }

    /// Nobody can answer, or be answered, any more.
    fn ended(&mut self, failed: Failed, out: &mut Vec<Effect>) {
        if self.is_parked() {
            return self.unpark(Closed::Withdrawn, out);
        }
        self.close(&failed.refusal.log_reason(), Closed::Withdrawn, out);
        let failed = match self.answer.take() {
            // What a person said of a call counts, although the client did not fetch it.
            Some(Verdicted::No(denied)) => denied,
            Some(Verdicted::Yes { .. } | Verdicted::Lost(_)) | None => failed,
        };
        self.refuse(failed, out);
        self.claim = Claim::Nobody;
    }

    /// Takes the question back wherever it is open. A late answer counts for nothing.
    fn close(&mut self, why: &str, how: Closed, out: &mut Vec<Effect>) {
        self.close_item(how, out);
        self.withdraw_prompt(why, out);
    }

    fn close_item(&mut self, how: Closed, out: &mut Vec<Effect>) {
        if let Some(item) = self.item.as_mut().filter(|item| item.is_open) {
            item.is_open = false;
            let item = item.id.clone();
            out.push(Effect::Close { item, how });
        }
    }

    fn withdraw_prompt(&mut self, why: &str, out: &mut Vec<Effect>) {
        if let Prompt::Open { id: Some(id), .. } =
            std::mem::replace(&mut self.prompt, Prompt::Closed)
        {
            let why = why.to_owned();
            out.push(Effect::Withdraw { id, why });
        }
    }

    /// Refuses the calls that wait; the question is over, wherever it is still open.
    fn refuse(&mut self, failed: Failed, out: &mut Vec<Effect>) {
        self.close(GONE, Closed::Withdrawn, out);
        self.refuse_calls(failed, out);
    }

    fn refuse_calls(&mut self, failed: Failed, out: &mut Vec<Effect>) {
        match std::mem::replace(&mut self.claim, Claim::Nobody) {
            Claim::Calls(calls) => out.push(Effect::Refuse { calls, failed }),
            Claim::State(State { call, .. }) => {
                out.push(Effect::RecordRefused { call, failed });
            }
            Claim::Parked { .. } | Claim::Nobody => {}
        }
    }
}

/// Where in the operator's list the inbox stands.
fn inbox(settings: &Settings) -> Option<usize> {
    let mut channels = settings.channels.iter();
    channels.position(|channel| channel.engine == Engine::Inbox)
}

/// Whether what lets a call run has the assurance that the operator requires. What an earlier approval covers has
/// the assurance of that one.
fn is_sure_enough(via: Via, settings: &Settings) -> bool {
    via == Via::CACHE
        || settings.require_assurance.is_none()
        || (via.assurance).is_some_and(|assurance| settings.counts(assurance))
}

/// INVARIANT 3: never a panic for an odd multiplier; the longest pause at most.
fn next_pause(pause: Duration, retry: &Retry) -> Duration {
    let seconds = pause.as_secs_f64() * retry.multiplier;
    Duration::try_from_secs_f64(seconds)
        .unwrap_or(retry.max_backoff)
        .min(retry.max_backoff)
}
