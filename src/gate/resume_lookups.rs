//! Lets parked questions outlive their session: computes what a later session must have in common with this one, and
//! asks the inbox for questions that earlier sessions left.
//!
//! `resumption` handles the inbox's answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::ask::Ask;
use super::handshake::Offers;
use super::held::{AskKey, HeldKey, Subject, WaitsFor};
use super::output::{Output, Resume, ResumeKey, ToEngine};
use super::settings::TimeoutAction;
use super::state::{Gate, Now, PeerState};
use crate::approval::request::{ApprovalRequest, QuestionKind};
use crate::mcp::message::RequestId;
use crate::mcp::roots;

/// How long a call waits for the inbox, and for the client's roots, before people are asked about it.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the inbox's answer "nothing was left" counts.
const NONE_FOR: Duration = Duration::from_secs(1);

/// The calls that wait to learn whether a question about them was parked before.
#[derive(Debug, Default)]
pub(super) struct ResumeLookups {
    by_call: BTreeMap<HeldKey, ResumeLookup>,
    /// When the inbox last said that no session has left a question.
    none_at: Option<Duration>,
}

/// What one call waits for, and until when.
#[derive(Debug)]
pub(super) struct ResumeLookup {
    pub(super) until: Duration,
    pub(super) step: LookupStep,
}

/// What a call waits for.
#[derive(Debug)]
pub(super) enum LookupStep {
    /// The answer whether any session has left a question.
    IsAny(Box<Ask>),
    /// The client's roots.
    Roots(Box<Ask>),
    /// A question that an earlier session left.
    Item(Box<Ask>),
    /// Confirmation that no other session can have the question that is parked here.
    TakeUp { ask: AskKey, item: String },
}

impl ResumeLookups {
    pub(super) fn insert(&mut self, call: HeldKey, lookup: ResumeLookup) {
        self.by_call.insert(call, lookup);
    }

    pub(super) fn take(&mut self, call: HeldKey) -> Option<ResumeLookup> {
        self.by_call.remove(&call)
    }

    /// Returns the calls with a matching lookup, in order of arrival.
    pub(super) fn calls(&self, is_it: impl Fn(&ResumeLookup) -> bool) -> Vec<HeldKey> {
        let found = self.by_call.iter().filter(|(_, lookup)| is_it(lookup));
        found.map(|(call, _)| *call).collect()
    }

    /// Returns true if a call is already waiting for this item to be taken up.
    fn is_taking_up(&self, taken: &str) -> bool {
        let mut steps = self.by_call.values().map(|lookup| &lookup.step);
        steps.any(|step| matches!(step, LookupStep::TakeUp { item, .. } if item == taken))
    }

    /// Returns when the next call has waited long enough.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.by_call.values().map(|lookup| lookup.until).min()
    }

    /// Notes that no session has left a question.
    pub(super) fn found_none(&mut self, now: Duration) {
        self.none_at = Some(now);
    }
}

/// The client's roots, as far as they are known.
#[derive(Debug, Default)]
pub(super) enum Roots {
    /// Not asked for yet.
    #[default]
    Unknown,
    /// Our request is open.
    Asked {
        id: RequestId,
        /// The call that waits for the answer, if one does.
        call: Option<HeldKey>,
        /// Until when calls wait for it.
        until: Duration,
    },
    /// Known; a digest of them.
    Known([u8; 32]),
    /// The client did not give them.
    Withheld,
}

impl Roots {
    pub(super) fn is_asked(&self, asked: &RequestId) -> bool {
        matches!(self, Roots::Asked { id, .. } if id == asked)
    }
}

/// What is known of the roots for a question's key.
enum RootsOf {
    /// The client does not declare roots.
    NotDeclared,
    Known([u8; 32]),
    /// They can be asked for, or have been.
    NotYet,
    /// They will never be known.
    Never,
}

impl Gate {
    /// Lets a call wait before anybody is asked about it, if necessary: until the inbox says what earlier sessions
    /// left, or, if the question is parked here, until no other session can have its answer. Returns true if the call
    /// waits.
    pub(super) fn look_up(
        &mut self,
        call: HeldKey,
        parked: Option<AskKey>,
        subject: &Arc<Subject>,
        offers: Offers,
        now: Now,
    ) -> bool {
        if !self.settings.resumes_parked || self.client == PeerState::Gone {
            return false;
        }
        let Some((step, request)) = (match parked {
            Some(parked) => self.take_up_step(parked),
            None => self.first_step(call, subject, offers, now),
        }) else {
            return false;
        };
        if let Some(held) = self.held.get_mut(&call) {
            (held.waits_for, held.has_looked_up) = (WaitsFor::Lookup, true);
        }
        let until = now.elapsed.saturating_add(PATIENCE);
        let is_told = match &step {
            LookupStep::TakeUp { item, .. } => self.resume_lookups.is_taking_up(item),
            LookupStep::IsAny(_) | LookupStep::Roots(_) | LookupStep::Item(_) => false,
        };
        self.resume_lookups
            .insert(call, ResumeLookup { until, step });
        if !is_told {
            self.put(Output::ToEngine(ToEngine::Resume(request)));
        }
        true
    }

    fn take_up_step(&self, ask: AskKey) -> Option<(LookupStep, Resume)> {
        let parked = self.asks.get(ask).filter(|ask| ask.is_resumable())?;
        let item = parked.item()?.to_owned();
        let step = LookupStep::TakeUp {
            ask,
            item: item.clone(),
        };
        Some((step, Resume::TakeUp { item }))
    }

    fn first_step(
        &self,
        call: HeldKey,
        subject: &Arc<Subject>,
        offers: Offers,
        now: Now,
    ) -> Option<(LookupStep, Resume)> {
        let held = self.held.get(&call).filter(|held| !held.has_looked_up)?;
        let is_none = |at: Duration| now.elapsed < at.saturating_add(NONE_FOR);
        if self.resume_lookups.none_at.is_some_and(is_none) {
            return None;
        }
        let ask = Ask::new(call, held, Arc::clone(subject), offers, &self.settings);
        Some((LookupStep::IsAny(Box::new(ask)), Resume::IsAny))
    }

    /// Asks the inbox for a question that an earlier session left about a call. Returns false if there can be none that
    /// this session may resume; then the call does not wait.
    pub(super) fn look_for_parked(
        &mut self,
        call: HeldKey,
        mut ask: Box<Ask>,
        until: Duration,
        now: Now,
    ) -> bool {
        let Some(held) = self.held.get(&call) else {
            return false;
        };
        let request = Arc::new(self.request(&ask, &held.call));
        let key = match self.roots_of(&ask, &request) {
            RootsOf::NotYet => {
                self.want_roots(Some(call), now);
                let step = LookupStep::Roots(ask);
                self.resume_lookups
                    .insert(call, ResumeLookup { until, step });
                return matches!(self.roots, Roots::Asked { until, .. } if now.elapsed < until);
            }
            RootsOf::Never => None,
            RootsOf::NotDeclared => key_of(&request, None),
            RootsOf::Known(roots) => key_of(&request, Some(&roots)),
        };
        let Some(key) = key else {
            return false;
        };
        ask.request = Some(Arc::clone(&request));
        let step = LookupStep::Item(ask);
        self.resume_lookups
            .insert(call, ResumeLookup { until, step });
        let find = Resume::Find {
            lookup: call,
            key,
            request,
        };
        self.put(Output::ToEngine(ToEngine::Resume(find)));
        true
    }

    /// Marks a parked question so that a later session can resume it, if its whole key is known.
    pub(super) fn mark_parked(&mut self, key: AskKey, now: Now) {
        let Some(ask) = self.asks.get(key).filter(|ask| ask.is_parked()) else {
            return;
        };
        // Lifting a denial concerns a call that only this session remembers.
        let is_for_later =
            self.settings.resumes_parked && !ask.can_lift_denial() && !ask.is_resumable();
        let (Some(item), Some(request)) = (ask.open_item(), &ask.request) else {
            return;
        };
        // A later session looks for its own first question, so one with another text would not be found.
        let is_first = match request.round {
            QuestionKind::First | QuestionKind::FirstOfTwo => true,
            QuestionKind::Second
            | QuestionKind::Changed
            | QuestionKind::DeniedBefore
            | QuestionKind::Advisory => false,
        };
        if !is_for_later || !is_first {
            return;
        }
        let marked = match self.roots_of(ask, request) {
            RootsOf::NotYet => return self.want_roots(None, now),
            RootsOf::Never => None,
            RootsOf::NotDeclared => key_of(request, None),
            RootsOf::Known(roots) => key_of(request, Some(&roots)),
        };
        if let Some(marked) = marked {
            let mark = Resume::Mark {
                item: item.to_owned(),
                key: marked,
            };
            self.asks.set_resumable(key, true);
            self.put(Output::ToEngine(ToEngine::Resume(mark)));
        }
    }

    /// Asks for the client's roots when a question goes to the inbox, where it may be parked. While its call waits,
    /// this works over HTTP, too.
    pub(super) fn prepare_to_mark(&mut self, key: AskKey, now: Now) {
        if !self.settings.resumes_parked || self.settings.timeout_action != TimeoutAction::Park {
            return;
        }
        let Some(ask) = self.asks.get(key) else {
            return;
        };
        let request = ask.request.as_ref();
        if request.is_some_and(|request| matches!(self.roots_of(ask, request), RootsOf::NotYet)) {
            self.want_roots(ask.calls().first().copied(), now);
        }
    }

    /// Returns what is known of the roots of the question's client.
    fn roots_of(&self, ask: &Ask, request: &ApprovalRequest) -> RootsOf {
        // A question is resumed only if everything about it is known.
        if ask.subject.definition.is_none() || request.client.is_none() {
            return RootsOf::Never;
        }
        let params = request.call.params();
        if params.protocol_version().is_some() {
            // Stateless clients cannot be sent requests.
            return match roots::are_declared(params.client_capabilities()) {
                true => RootsOf::Never,
                false => RootsOf::NotDeclared,
            };
        }
        match &self.roots {
            _ if !self.handshake.declares_roots() => RootsOf::NotDeclared,
            Roots::Unknown | Roots::Asked { .. } => RootsOf::NotYet,
            Roots::Known(roots) => RootsOf::Known(*roots),
            Roots::Withheld => RootsOf::Never,
        }
    }

    /// Asks the client for its roots, unless that was done before.
    pub(super) fn want_roots(&mut self, call: Option<HeldKey>, now: Now) {
        let can_ask = self.handshake.is_complete() && self.client == PeerState::Open;
        if !can_ask || !matches!(self.roots, Roots::Unknown) {
            return;
        }
        let id = self.ids.next();
        let request = roots::list_request(&id);
        self.roots = Roots::Asked {
            id,
            call,
            until: now.elapsed.saturating_add(PATIENCE),
        };
        self.send_to_client(request);
    }

    /// Forgets what was known of the client's roots.
    pub(super) fn forget_roots(&mut self) {
        if let Roots::Asked { id, .. } = std::mem::take(&mut self.roots) {
            self.retired_prompts.add(id);
        }
    }
}

/// Returns what a session must have in common with this one to resume the question, or `None` if any part is unknown.
///
/// The call's digest covers the tool's definition, and the item's fingerprint covers everything that people are shown.
/// So only what they decided about can run.
fn key_of(request: &ApprovalRequest, roots: Option<&[u8; 32]>) -> Option<ResumeKey> {
    let client = request.client.as_deref()?;
    let shown = request.item(String::new(), 0, None).fingerprint();
    let digest = request.digest.to_string();
    let parts: [&[u8]; 4] = [
        client.as_bytes(),
        digest.as_bytes(),
        shown.as_bytes(),
        roots.map_or(&[], |roots| roots.as_slice()),
    ];
    Some(ResumeKey(digest_of(parts)))
}

/// Returns the SHA-256 of the parts, each after its length.
pub(super) fn digest_of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        hasher.update(length.to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}
