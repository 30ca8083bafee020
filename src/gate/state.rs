//! The gate itself: its state, its life, and the small steps that all transitions share.
//!
//! The transitions stand in the modules that it is handed to; `ARCHITECTURE.md` has the map.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use foldhash::fast::RandomState;
use rmcp::model::ErrorCode;

use super::catalogue::{Catalogue, ListRequest};
use super::handshake::{Handshake, SLOW};
use super::held::{Approved, Delivery, Era, Failed, Held, HeldKey, Prompt, Question, QuestionKey};
use super::ids::{HeldIds, RequestIds, RetiredIds};
use super::inbox::HistoryRate;
use super::invitations::Invitations;
use super::open_states::OpenStates;
use super::output::{Output, Payload, Ticket};
use super::parking::Parking;
use super::permit::Permitted;
use super::refusal::{Refusal, refused_result};
use super::settings::Settings;
use crate::approval::cache::ApprovalCache;
use crate::approval::display::in_backticks;
use crate::approval::request_state::Sealer;
use crate::audit::record::{Fate, Line, Origin, Outcome, Timestamp};
use crate::mcp::error::{error_response, error_response_with, progress_notification};
use crate::mcp::message::RequestId;
use crate::policy::Policy;

/// What time it is, as an argument: the gate reads no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since some fixed moment; never goes back.
    pub elapsed: Duration,
    /// Milliseconds since 1970, UTC, for the audit log.
    pub unix_ms: i64,
}

/// The moment `at`, in milliseconds since 1970.
pub(super) fn unix_ms(at: Duration, now: Now) -> i64 {
    let left = at.saturating_sub(now.elapsed);
    let left = i64::try_from(left.as_millis()).unwrap_or(i64::MAX);
    now.unix_ms.saturating_add(left)
}

/// What is expected of the upstream.
#[derive(Debug)]
pub(super) enum InFlight {
    /// An answer, whatever it is.
    Any,
    /// The answer to an approved call. In 2026-07-28 it may be a question.
    Approved(Box<Approved>),
    /// The answer to the client's `initialize`.
    Initialize,
    /// The answer to the client's `tools/list`.
    List(Box<ListRequest>),
}

impl InFlight {
    /// Whether the answer is the client's, whatever it is.
    pub(super) fn is_any(&self) -> bool {
        match self {
            InFlight::Any => true,
            InFlight::Approved(approved) => approved.era == Era::Legacy,
            InFlight::Initialize | InFlight::List(_) => false,
        }
    }
}

/// The gate of one client session with one upstream.
///
/// Lines go in by [`Gate::from_client`] and [`Gate::from_upstream`], the time by
/// [`Gate::tick`], and what is to be done comes out of [`Gate::poll_output`], in order, after
/// every call.
#[derive(Debug)]
pub struct Gate {
    pub(super) settings: Settings,
    pub(super) policy: Policy,
    /// Names this run, and its server, in the audit log.
    pub(super) origin: Origin,
    /// The moment of the newest audit line.
    pub(super) time: Timestamp,
    pub(super) ids: RequestIds,
    pub(super) handshake: Handshake,
    pub(super) catalogue: Catalogue,
    pub(super) cache: ApprovalCache,
    pub(super) held: BTreeMap<HeldKey, Held>,
    pub(super) held_by_id: HeldIds,
    pub(super) questions: BTreeMap<QuestionKey, Question>,
    pub(super) question_by_prompt: BTreeMap<RequestId, QuestionKey>,
    pub(super) question_by_item: BTreeMap<String, QuestionKey>,
    pub(super) invitations: Invitations,
    /// Questions whose calls have been refused for now.
    pub(super) parking: Parking,
    /// The states of 2026-07-28 that are out, and what they stand for.
    pub(super) open_states: OpenStates,
    pub(super) sealer: Sealer,
    /// What the upstream still owes the client.
    pub(super) in_flight: HashMap<RequestId, InFlight, RandomState>,
    /// Ids of the client's under which the upstream may still answer another request.
    pub(super) ambiguous: RetiredIds,
    /// Prompts that the client may still answer, too late. A late answer is swallowed: the
    /// upstream has never heard of it.
    pub(super) retired_prompts: RetiredIds,
    /// How many answers were recorded for which no request was open.
    pub(super) unasked: u32,
    pub(super) next_key: u64,
    /// The size of all held calls together.
    pub(super) held_bytes: usize,
    pub(super) client: Peer,
    /// Whether the client's answers reach us.
    pub(super) client_heard: bool,
    pub(super) upstream: Peer,
    /// What goes to the inbox's history.
    pub(super) history: HistoryRate,
    /// Whether the upstream may hand a call back that it has not taken.
    pub(super) may_return_calls: bool,
    /// Whether `CloseUpstream` has been put out.
    closing: bool,
    outputs: VecDeque<Output>,
    /// What the newest decision line said.
    pub(super) fate: Fate,
    /// Memory of lines that were written, for the next ones.
    pub(super) line_memory: Vec<String>,
}

/// How many written lines lend their memory to the next ones, and how large it may be each:
/// one batch of small calls.
const LENT_LINES: usize = 64;
const MAX_LENT: usize = 2 * 1024;

/// Whether a side can still be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    Open,
    Gone,
}

impl Gate {
    /// A gate for one session. `seed` is 256 random bits that nobody else knows; `session`
    /// names the session in the audit log.
    #[must_use]
    pub fn new(mut settings: Settings, policy: Policy, session: &str, seed: [u8; 32]) -> Gate {
        let sealer = Sealer::new(&seed, &settings.server);
        // Nobody is asked whose answer would not count.
        let mut channels = std::mem::take(&mut settings.channels);
        channels.retain(|channel| settings.counts(channel.reach));
        settings.channels = channels;
        Gate {
            cache: ApprovalCache::new(settings.approval_ttl),
            origin: Origin::new(session, &settings.server).redacting(settings.redaction.clone()),
            settings,
            policy,
            time: Timestamp::new(0),
            ids: RequestIds::new(seed),
            handshake: Handshake::default(),
            catalogue: Catalogue::new(),
            held: BTreeMap::new(),
            held_by_id: HeldIds::default(),
            questions: BTreeMap::new(),
            question_by_prompt: BTreeMap::new(),
            question_by_item: BTreeMap::new(),
            invitations: Invitations::default(),
            parking: Parking::default(),
            open_states: OpenStates::default(),
            sealer,
            in_flight: HashMap::default(),
            ambiguous: RetiredIds::default(),
            retired_prompts: RetiredIds::default(),
            unasked: 0,
            next_key: 0,
            held_bytes: 0,
            client: Peer::Open,
            client_heard: true,
            upstream: Peer::Open,
            history: HistoryRate::default(),
            may_return_calls: false,
            closing: false,
            outputs: VecDeque::new(),
            fate: Fate::default(),
            line_memory: Vec::new(),
        }
    }

    /// The next thing to do. [`Payload::Frame`] stands for the line of the last call.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Gate::tick`] is due, as [`Now::elapsed`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let questions = self.questions.values().flat_map(|question| {
            let backoff = match &question.prompt {
                Prompt::Backoff { until, .. } => Some(*until),
                Prompt::Open { .. } | Prompt::Inbox { .. } | Prompt::Nowhere => None,
            };
            [question.deadline, backoff]
        });
        let progress = self.held.values().map(|held| {
            let progress = held.progress.as_ref();
            progress.map(|progress| progress.next)
        });
        let times = questions
            .chain(progress)
            .chain([
                self.list_timer(),
                self.open_states.next_deadline(),
                self.parking.next_deadline(),
                self.handshake.slow_at(),
            ])
            .flatten();
        times.min()
    }

    /// The time has come that [`Gate::poll_timeout`] named.
    pub fn tick(&mut self, now: Now) {
        if self.handshake.is_newly_slow(now.elapsed) {
            self.warn(format!(
                "the server {} has not answered `initialize` after {} s; waiting on",
                in_backticks(&self.settings.server),
                SLOW.as_secs()
            ));
        }
        self.tick_list(now);
        self.resume_waiting(now);
        self.tick_questions(now);
        self.tick_rounds(now);
        self.tick_parked(now);
        self.tick_progress(now);
        self.close_if_done();
    }

    /// Whether a call waits that the upstream has not seen.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether a human is being asked.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        !self.questions.is_empty()
    }

    /// Whether the client waits for the answer to its `initialize`.
    #[must_use]
    pub fn awaits_initialize(&self) -> bool {
        self.handshake.is_unanswered()
    }

    /// Whether the client waits for anything.
    #[must_use]
    pub fn owes_answers(&self) -> bool {
        !self.in_flight.is_empty() || self.is_holding()
    }

    /// The server's name in the configuration.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.settings.server
    }

    /// The id of the call that a request of ours asks about; of several, of the first.
    #[must_use]
    pub fn asked_about(&self, prompt: &RequestId) -> Option<&RequestId> {
        let invited = self.invitations.item_of(prompt);
        let invited = invited.and_then(|item| self.question_by_item.get(item));
        let question = self.question_by_prompt.get(prompt).or(invited)?;
        let question = self.questions.get(question)?;
        let held = self.held.get(question.calls.first()?)?;
        Some(&held.id)
    }

    /// Whether [`Gate::client_drained`] wants to be called once the client has been handed
    /// everything.
    #[must_use]
    pub fn wants_drained(&self) -> bool {
        self.questions.values().any(|question| {
            matches!(
                question.prompt,
                Prompt::Open {
                    delivery: Delivery::Queued(_),
                    ..
                }
            )
        })
    }

    /// Says whether what the client sends is being read. While it is not, because the upstream
    /// takes nothing, an answer may be on its way: silence is then not taken for one.
    pub fn set_client_heard(&mut self, heard: bool) {
        self.client_heard = heard;
    }

    /// Everything put out for the client so far is in its pipe.
    pub fn client_drained(&mut self, now: Now) {
        for question in self.questions.values_mut() {
            if let Prompt::Open { delivery, .. } = &mut question.prompt
                && let Delivery::Queued(_) = delivery
            {
                *delivery = Delivery::Delivered(now.elapsed);
            }
        }
    }

    /// A line has been written: its memory may be used again.
    pub fn reuse(&mut self, line: Line) {
        let memory = line.into_memory();
        if self.line_memory.len() < LENT_LINES && memory.capacity() <= MAX_LENT {
            self.line_memory.push(memory);
        }
    }

    /// The line of a released call could not be written, so the call was not sent: the client
    /// is told, and the log, once it can be written again.
    pub fn not_recorded(&mut self, ticket: &Ticket, now: Now) {
        self.in_flight.remove(&ticket.id);
        let why = "the audit record could not be written, so the call was not sent";
        self.record_unheld(now, &ticket.tool, Outcome::Error, why, Some(&ticket.id));
        let refusal = Refusal::NotRecorded;
        let explanation = ticket.explanation.as_deref();
        let result = refused_result(&ticket.id, &ticket.tool, ticket.era, &refusal, explanation);
        self.send_to_client(result);
    }

    /// The client has closed: nobody can be asked any more. Calls that wait for the tool list
    /// are still decided; when nothing waits, the upstream is to be closed.
    pub fn client_closed(&mut self, now: Now) {
        self.client = Peer::Gone;
        let asked: Vec<QuestionKey> = self.questions.keys().copied().collect();
        for key in asked {
            self.abandon_question(key, Refusal::Cancelled, now);
        }
        let failed = Failed::new(Outcome::Cancelled, Refusal::Cancelled);
        self.end_rounds(&failed, now);
        self.abandon_parked(|_| true);
        self.resume_waiting(now);
        self.close_if_done();
    }

    /// The upstream takes no more: calls that wait for a decision can never run. What it has
    /// been sent may still be answered, until [`Gate::upstream_closed`].
    pub fn upstream_closing(&mut self, how: &str, now: Now) {
        self.upstream = Peer::Gone;
        let held: Vec<HeldKey> = self.held.keys().copied().collect();
        for key in held {
            self.fail_held(key, how, now);
        }
        let failed = Failed::new(Outcome::Error, Refusal::Cancelled).logged(how);
        self.end_rounds(&failed, now);
        self.abandon_parked(|_| true);
    }

    /// The upstream has gone; `how` says so in words. Everything that waits is answered.
    pub fn upstream_closed(&mut self, how: &str, now: Now) {
        self.upstream_closing(how, now);
        let mut ids: Vec<RequestId> = std::mem::take(&mut self.in_flight).into_keys().collect();
        ids.sort();
        for id in ids {
            self.send_error(Some(&id), ErrorCode::INTERNAL_ERROR, how.to_owned());
        }
    }

    /// Records that the session begins; `members` describe it.
    pub fn record_open(&mut self, now: Now, members: &[(&str, &str)]) {
        self.record_event(now, "open", members);
    }

    /// Records that the session ends, and how.
    pub fn record_close(&mut self, now: Now, how: &str) {
        self.record_event(now, "close", &[("reason", how)]);
    }

    /// The line that says how many lines are missing before it: the log could not be written,
    /// and more was decided than could be kept.
    #[must_use]
    pub fn lost_line(&mut self, now: Now, count: &str) -> Line {
        self.time.set(now.unix_ms);
        Line::event(&self.time, &self.origin, "lost", &[("lines", count)])
    }

    pub(super) fn put(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn send_to_client(&mut self, text: String) {
        self.put(Output::ToClient(Payload::Text(text)));
    }

    pub(super) fn send_error(&mut self, id: Option<&RequestId>, code: ErrorCode, message: String) {
        self.send_to_client(error_response(id, code, message));
    }

    pub(super) fn send_error_with(
        &mut self,
        id: Option<&RequestId>,
        code: ErrorCode,
        message: String,
        data: Option<serde_json::Value>,
    ) {
        self.send_to_client(error_response_with(id, code, message, data));
    }

    /// Passes on what is no tool call.
    pub(super) fn relay_to_upstream(&mut self, payload: Payload) {
        self.put(Output::ToUpstream(Permitted::new(payload)));
    }

    pub(super) fn warn(&mut self, text: String) {
        self.put(Output::Warn(text));
    }

    /// Records something that is no decision.
    pub(super) fn record_event(&mut self, now: Now, event: &str, members: &[(&str, &str)]) {
        self.time.set(now.unix_ms);
        let line = Line::event(&self.time, &self.origin, event, members);
        self.put(Output::Record(line));
    }

    /// Whether a live request of ours, to either side, has this id.
    ///
    /// INVARIANT 6: a peer's request under it is refused. With two requests under one id, the
    /// answer to the peer's could be taken for the answer to ours.
    pub(super) fn is_ours(&self, id: &RequestId) -> bool {
        self.catalogue.is_asked(id)
            || self.question_by_prompt.contains_key(id)
            || self.invitations.item_of(id).is_some()
    }

    /// Keeps clients patient that asked to hear of progress.
    pub(super) fn tick_progress(&mut self, now: Now) {
        let mut notifications = Vec::new();
        for held in self.held.values_mut() {
            if let Some(progress) = &mut held.progress
                && progress.next <= now.elapsed
            {
                let value = progress.advance(now.elapsed);
                let text = "waiting for a human's approval";
                notifications.push(progress_notification(&progress.token, value, text));
            }
        }
        for notification in notifications {
            self.put(Output::Progress(notification));
        }
    }

    pub(super) fn fresh_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    pub(super) fn close_if_done(&mut self) {
        if self.client == Peer::Gone && self.held.is_empty() && !self.closing {
            self.closing = true;
            self.put(Output::CloseUpstream);
        }
    }
}
