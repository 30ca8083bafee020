//! The gate itself: its state, and small steps that all transitions share.
//!
//! The transitions are in the other modules; `ARCHITECTURE.md` has the map.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use foldhash::fast::RandomState;

use super::ask::{Ask, Effect};
use super::asks::Asks;
use super::catalogue::{Catalogue, ListRequest};
use super::denials::Denials;
use super::handshake::Handshake;
use super::held::{Approved, Era, Held, HeldKey};
use super::ids::{HeldIds, RequestIds, RetiredIds};
use super::invitations::Invitations;
use super::items::HistoryRate;
use super::output::{Output, Payload};
use super::permit::Permitted;
use super::resume_lookups::{ResumeLookups, Roots};
use super::settings::{EngineId, Settings};
use super::upstream_rounds::UpstreamRounds;
use crate::approval::cache::ApprovalCache;
use crate::approval::request_state::Sealer;
use crate::evidence::record::{Line, Origin, OutcomeText, Timestamp};
use crate::mcp::ErrorCode;
use crate::mcp::error::{error_response, error_response_with};
use crate::mcp::message::RequestId;
use crate::policy::Policy;
pub use crate::sys::time::Now;

/// Converts the moment `at` to milliseconds since 1970.
pub(super) fn unix_ms(at: Duration, now: Now) -> i64 {
    let left = at.saturating_sub(now.elapsed);
    let left = i64::try_from(left.as_millis()).unwrap_or(i64::MAX);
    now.unix_ms.saturating_add(left)
}

/// A request that the upstream has not answered.
#[derive(Debug)]
pub(super) enum InFlight {
    /// Any answer is passed on.
    Any,
    /// An approved call. A stateless one may be answered with a question.
    Approved(Box<Approved>),
    /// The client's `initialize`.
    Initialize,
    /// The client's `tools/list`.
    List(Box<ListRequest>),
}

impl InFlight {
    /// Returns true if the request may be a call.
    pub(super) fn is_call(&self) -> bool {
        matches!(self, InFlight::Any | InFlight::Approved(_))
    }

    /// Returns true if any answer is passed on as it is.
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
/// Feed lines to [`Gate::from_client`] and [`Gate::from_upstream`], and the time to [`Gate::tick`]. After every call,
/// carry out what [`Gate::poll_output`] returns, in order.
#[derive(Debug)]
pub struct Gate {
    pub(super) settings: Settings,
    pub(super) policy: Policy,
    /// Identifies this run and its server in the audit log.
    pub(super) origin: Origin,
    /// The time of the newest record.
    pub(super) time: Timestamp,
    pub(super) ids: RequestIds,
    pub(super) handshake: Handshake,
    pub(super) catalogue: Catalogue,
    pub(super) cache: ApprovalCache,
    pub(super) denials: Denials,
    pub(super) held: BTreeMap<HeldKey, Held>,
    pub(super) held_by_id: HeldIds,
    pub(super) asks: Asks,
    pub(super) invitations: Invitations,
    pub(super) resume_lookups: ResumeLookups,
    pub(super) roots: Roots,
    pub(super) upstream_rounds: UpstreamRounds,
    pub(super) sealer: Sealer,
    /// The client's requests that the upstream has not answered.
    pub(super) in_flight: HashMap<RequestId, InFlight, RandomState>,
    /// Client ids under which the upstream may still answer another request.
    pub(super) ambiguous: RetiredIds,
    /// Prompts that the client may still answer, too late. Late answers are dropped: the upstream does not know the
    /// prompts.
    pub(super) retired_prompts: RetiredIds,
    /// How many answers without an open request were recorded.
    pub(super) unasked: u32,
    pub(super) next_key: u64,
    /// The memory that all held calls take, in bytes.
    pub(super) held_bytes: usize,
    pub(super) client: PeerState,
    /// Whether the client's answers reach us.
    pub(super) client_heard: bool,
    pub(super) upstream: PeerState,
    /// The rate of decisions that go to the inbox's history.
    pub(super) history: HistoryRate,
    /// Whether the upstream may return a call that it has not taken.
    pub(super) may_return_calls: bool,
    /// Whether `CloseUpstream` was put out.
    closing: bool,
    outputs: VecDeque<Output>,
    /// Reused memory for the effects of a step.
    pub(super) effects: Vec<Effect>,
    /// What the newest decision record said.
    /// The engines whose failure was reported on stderr, and that have brought no verdict since.
    pub(super) failing: Vec<EngineId>,
    pub(super) outcome_text: OutcomeText,
    /// Memory of written lines, to reuse.
    pub(super) line_memory: Vec<String>,
}

/// How many written lines are kept for reuse, and how large each may be. Enough for one batch of small calls.
const LENT_LINES: usize = 64;
const MAX_LENT: usize = 2 * 1024;

/// Whether a side is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PeerState {
    Open,
    Gone,
}

impl Gate {
    /// Creates a gate for one session. `seed` is 256 random bits that nobody else knows; `session` identifies the
    /// session in the audit log.
    #[must_use]
    pub fn new(mut settings: Settings, policy: Policy, session: &str, seed: [u8; 32]) -> Gate {
        let sealer = Sealer::new(&seed, &settings.server);
        // Engines whose verdicts would not count are not asked.
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
            denials: Denials::default(),
            held: BTreeMap::new(),
            held_by_id: HeldIds::default(),
            asks: Asks::default(),
            invitations: Invitations::default(),
            resume_lookups: ResumeLookups::default(),
            roots: Roots::default(),
            upstream_rounds: UpstreamRounds::default(),
            sealer,
            in_flight: HashMap::default(),
            ambiguous: RetiredIds::default(),
            retired_prompts: RetiredIds::default(),
            unasked: 0,
            next_key: 0,
            held_bytes: 0,
            client: PeerState::Open,
            client_heard: true,
            upstream: PeerState::Open,
            history: HistoryRate::default(),
            may_return_calls: false,
            closing: false,
            outputs: VecDeque::new(),
            effects: Vec::new(),
            failing: Vec::new(),
            outcome_text: OutcomeText::default(),
            line_memory: Vec::new(),
        }
    }

    /// Returns the next thing to do. [`Payload::Frame`] stands for the line of the last call.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns true if the gate holds a call back.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Returns true if the gate holds back the call with this id.
    #[must_use]
    pub fn is_held(&self, call: &RequestId) -> bool {
        self.held_by_id.contains_key(call)
    }

    /// Returns true if a person is being asked.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        self.asks.any(Ask::is_awaited)
    }

    /// Returns true if the client waits for the answer to its `initialize`.
    #[must_use]
    pub fn awaits_initialize(&self) -> bool {
        self.handshake.is_unanswered()
    }

    /// Returns true if the client waits for any answer.
    #[must_use]
    pub fn has_unanswered_requests(&self) -> bool {
        !self.in_flight.is_empty() || self.is_holding()
    }

    /// Returns the server's name in the configuration.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.settings.server
    }

    /// Returns the id of the call that our request asks about; of several, the first.
    #[must_use]
    pub fn asked_about(&self, prompt: &RequestId) -> Option<&RequestId> {
        if let Roots::Asked { id, call, .. } = &self.roots
            && id == prompt
        {
            return Some(&self.held.get(call.as_ref()?)?.id);
        }
        let invited = || self.asks.of_item(self.invitations.item_of(prompt)?);
        let ask = self.asks.of_prompt(prompt).or_else(invited)?;
        let call = self.asks.get(ask)?.calls().first()?;
        Some(&self.held.get(call)?.id)
    }

    /// Returns true if [`Gate::client_drained`] must be called once everything has been written to the client.
    #[must_use]
    pub fn wants_drained(&self) -> bool {
        self.asks.any(Ask::is_queued)
    }

    /// Sets whether the client's input is being read. While it is not, because the upstream accepts nothing, an answer
    /// may be on its way, so silence does not count as one.
    pub fn set_client_heard(&mut self, heard: bool) {
        self.client_heard = heard;
    }

    /// Takes back a written line to reuse its memory.
    pub fn reuse(&mut self, line: Line) {
        let memory = line.into_memory();
        if self.line_memory.len() < LENT_LINES && memory.capacity() <= MAX_LENT {
            self.line_memory.push(memory);
        }
    }

    /// Records that the session begins. `members` describe it.
    pub fn record_open(&mut self, now: Now, members: &[(&str, &str)]) {
        self.record_event(now, "open", members);
    }

    /// Records that the session ends, and how.
    pub fn record_close(&mut self, now: Now, how: &str) {
        self.record_event(now, "close", &[("reason", how)]);
    }

    /// Returns the record that says how many records are missing before it: the log could not be written, and there
    /// were too many to keep.
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

    /// Passes on a message that is not a tool call.
    pub(super) fn relay_to_upstream(&mut self, payload: Payload) {
        self.put(Output::ToUpstream(Permitted::new(payload)));
    }

    pub(super) fn warn(&mut self, text: String) {
        self.put(Output::Warn(text));
    }

    /// Records an event that is not a decision.
    pub(super) fn record_event(&mut self, now: Now, event: &str, members: &[(&str, &str)]) {
        self.time.set(now.unix_ms);
        let line = Line::event(&self.time, &self.origin, event, members);
        self.put(Output::Record(line));
    }

    /// Returns true if an open request of ours, to either side, has this id.
    ///
    /// INVARIANT 6: a peer's request with this id is refused. If two requests shared an id, the answer to the peer's
    /// could be taken for the answer to ours.
    pub(super) fn is_ours(&self, id: &RequestId) -> bool {
        self.catalogue.is_asked(id)
            || self.asks.of_prompt(id).is_some()
            || self.invitations.item_of(id).is_some()
            || self.roots.is_asked(id)
    }

    pub(super) fn fresh_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    pub(super) fn close_if_done(&mut self) {
        if self.client == PeerState::Gone && self.held.is_empty() && !self.closing {
            self.closing = true;
            self.put(Output::CloseUpstream);
        }
    }
}
