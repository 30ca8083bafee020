//! The gate itself: its state, and the small steps that all transitions share.
//!
//! The transitions stand in the modules that it is handed to; docs/architecture/gate.md has the map.

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
use super::settings::Settings;
use super::upstream_rounds::UpstreamRounds;
use crate::approval::cache::ApprovalCache;
use crate::approval::request_state::Sealer;
use crate::evidence::record::{Fate, Line, Origin, Timestamp};
use crate::mcp::ErrorCode;
use crate::mcp::error::{error_response, error_response_with};
use crate::mcp::message::RequestId;
use crate::policy::Policy;
pub use crate::sys::time::Now;

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
    /// Whether it can be the answer to a call.
    pub(super) fn is_call(&self) -> bool {
        matches!(self, InFlight::Any | InFlight::Approved(_))
    }

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
    pub(super) denials: Denials,
    pub(super) held: BTreeMap<HeldKey, Held>,
    pub(super) held_by_id: HeldIds,
    pub(super) asks: Asks,
    pub(super) invitations: Invitations,
    pub(super) resume_lookups: ResumeLookups,
    pub(super) roots: Roots,
    pub(super) upstream_rounds: UpstreamRounds,
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
    pub(super) client: PeerState,
    /// Whether the client's answers reach us.
    pub(super) client_heard: bool,
    pub(super) upstream: PeerState,
    /// What goes to the inbox's history.
    pub(super) history: HistoryRate,
    /// Whether the upstream may hand a call back that it has not taken.
    pub(super) may_return_calls: bool,
    /// Whether `CloseUpstream` has been put out.
    closing: bool,
    outputs: VecDeque<Output>,
    /// Memory for the effects of the next step.
    pub(super) effects: Vec<Effect>,
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
pub(super) enum PeerState {
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
            fate: Fate::default(),
            line_memory: Vec::new(),
        }
    }

    /// The next thing to do. [`Payload::Frame`] stands for the line of the last call.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether a call waits that the upstream has not seen.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether the call with this id waits, and the upstream has not seen it.
    #[must_use]
    pub fn is_held(&self, call: &RequestId) -> bool {
        self.held_by_id.contains_key(call)
    }

    /// Whether a human is being asked.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        self.asks.any(Ask::is_awaited)
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

    /// Whether [`Gate::client_drained`] wants to be called once the client has been handed
    /// everything.
    #[must_use]
    pub fn wants_drained(&self) -> bool {
        self.asks.any(Ask::is_queued)
    }

    /// Says whether what the client sends is being read. While it is not, because the upstream
    /// takes nothing, an answer may be on its way: silence is then not taken for one.
    pub fn set_client_heard(&mut self, heard: bool) {
        self.client_heard = heard;
    }

    /// A line has been written: its memory may be used again.
    pub fn reuse(&mut self, line: Line) {
        let memory = line.into_memory();
        if self.line_memory.len() < LENT_LINES && memory.capacity() <= MAX_LENT {
            self.line_memory.push(memory);
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
