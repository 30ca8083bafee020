//! Questions about held calls: creates them, and carries out their effects.
//!
//! `ask` decides what happens to a question; `prompts` and `items` deliver it.

use std::sync::Arc;
use std::time::Duration;

use super::ask::{Arrival, Ask, Effect, Event, StepContext};
use super::handshake::Offers;
use super::held::{Approved, AskKey, Era, Held, HeldKey, Subject, WaitsFor};
use super::output::{NeededApproval, Output, Payload, Resume, ToEngine};
use super::prompts::{brings_a_state, check_fields};
use super::recording::{Call, RecordDetails};
use super::refusal::Refusal;
use super::settings::Client;
use super::state::{Gate, InFlight, Now, PeerState};
use super::verdict::{Approval, Failed};
use crate::approval::cache::DedupeKey;
use crate::approval::digest::CallDigest;
use crate::approval::item::Choice;
use crate::approval::request::ApprovalRequest;
use crate::evidence::record::{Forwarded, Outcome};
use crate::mcp::error::cancelled_notification;
use crate::mcp::tool::CallToolRequestParams;
use crate::policy::{Action, Decision};

/// How often a tool may change under one call before the call is refused.
const MAX_CHANGES: u32 = 3;

/// What the effects of a question need, even if the question is already over.
struct AskSnapshot {
    key: AskKey,
    subject: Arc<Subject>,
    request: Option<Arc<ApprovalRequest>>,
    /// Its item in the inbox, open or not.
    item: Option<String>,
    /// How old the newest verdict about it was when it arrived.
    verdict_age: Duration,
}

impl AskSnapshot {
    /// Returns the parts of its row in the inbox's history.
    fn row(&self) -> Option<(&Arc<ApprovalRequest>, Option<&str>)> {
        Some((self.request.as_ref()?, self.item.as_deref()))
    }
}

impl Gate {
    /// Asks about a held call, unless an earlier approval covers it.
    pub(super) fn ask_about(
        &mut self,
        key: HeldKey,
        params: &CallToolRequestParams<'_>,
        decision: Decision,
        now: Now,
    ) {
        if self.settings.dry_run {
            return self.with_taken(key, |gate, call, text| {
                let would = "would be asked about";
                gate.release_dry(call, &decision, would, Payload::Text(text), now);
            });
        }
        let Some(tool) = self.held.get(&key).map(|held| Arc::clone(&held.tool)) else {
            return;
        };
        let subject = Arc::new(self.subject(tool, params, decision));
        let Some(held) = self.held.get_mut(&key) else {
            return;
        };
        if held.era == Era::Stateless
            && let Err(malformed) = check_fields(params)
        {
            let Some(held) = self.take_held(key) else {
                return;
            };
            return self.refuse_malformed(&held.id, Some(&held.tool), malformed, now);
        }
        held.subject = Some(Arc::clone(&subject));
        let offers = Offers::of(params.client_capabilities());
        let parked = self.parked_about(key, &subject, now);
        // A person's last word counts: a denial comes first, even if an earlier yes covers the call.
        if self.refuse_denied(key, offers, &subject, parked, now) {
            return;
        }
        if self.is_covered(params, &subject, now) {
            let cached = Event::Approved(Approval::cached());
            return self.begin(key, subject, offers, cached, now);
        }
        let shared = |gate: &Gate| gate.asks.find(|ask| ask.is_shared_by(&subject, offers));
        let shared = parked.or_else(|| subject.dedupe.and_then(|_| shared(self)));
        let is_new = parked.is_some() || shared.is_none();
        if is_new && self.look_up(key, parked, &subject, offers, now) {
            return;
        }
        match shared {
            Some(ask) => {
                let arrival = Arrival {
                    call: key,
                    answer: None,
                    offers,
                    is_same_client: true,
                };
                self.set_waits_for(key, WaitsFor::Ask(ask));
                self.step(ask, Event::CallArrived(arrival), now);
            }
            None => self.begin(key, subject, offers, Event::Begin, now),
        }
    }

    /// Returns what a question about the call is about.
    fn subject(
        &self,
        tool: Arc<str>,
        params: &CallToolRequestParams<'_>,
        decision: Decision,
    ) -> Subject {
        let definition = self.definition_of(&params.name).cloned();
        let of_tool = definition.as_ref().map(|definition| &definition.digest);
        Subject {
            tool,
            digest: CallDigest::of(&self.settings.server, params, of_tool),
            dedupe: self.cache.is_on().then(|| {
                DedupeKey::of(
                    &self.settings.dedupe_fields,
                    &self.settings.dedupe_arg_keys,
                    &self.settings.server,
                    params,
                    decision.risk,
                    of_tool,
                )
            }),
            is_list_known: !self.catalogue.is_unknown(),
            decision,
            definition,
        }
    }

    /// Returns true if an earlier approval covers the call: by the operator's TTL, or because a person approved the
    /// same call for a while.
    fn is_covered(&self, params: &CallToolRequestParams<'_>, subject: &Subject, now: Now) -> bool {
        if self.cache.is_empty() {
            return false;
        }
        let by_ttl = subject.dedupe;
        let exact = DedupeKey::exact(&self.settings.server, params, subject.of_tool());
        let mut keys = by_ttl.into_iter().chain([exact]);
        keys.any(|key| self.cache.covers(&key, now.elapsed))
    }

    /// Returns the parked question about the same call of the same client. INVARIANT 2: what was shown is that call.
    fn parked_about(&self, key: HeldKey, subject: &Subject, now: Now) -> Option<AskKey> {
        let held = self.held.get(&key)?;
        self.asks.find_parked(now.elapsed, |ask| {
            let request = ask.request.as_ref();
            ask.subject.digest == subject.digest
                && ask.subject.is_list_known == subject.is_list_known
                && request.is_some_and(|request| request.call.is_of_same_client(&held.call))
        })
    }

    /// Refuses a call without asking if a person denied it recently and nobody has lifted that. Returns true if it did.
    fn refuse_denied(
        &mut self,
        key: HeldKey,
        offers: Offers,
        subject: &Arc<Subject>,
        parked: Option<AskKey>,
        now: Now,
    ) -> bool {
        let memory = self.settings.deny_memory;
        let Some(at) = self.denials.find(&subject.digest, now.elapsed, memory) else {
            return false;
        };
        let parked = parked.and_then(|ask| self.asks.get(ask));
        if parked.is_some_and(Ask::has_lifted_denial) {
            self.denials.lift(&subject.digest);
            return false;
        }
        if parked.is_some_and(Ask::has_answer) {
            // This answer is a denial; the call will get it.
            return false;
        }
        let until = at.saturating_add(memory);
        let parked = parked.filter(|ask| ask.can_lift_denial());
        let Some(item) = parked.and_then(|ask| ask.open_item().map(str::to_owned)) else {
            let denied = Event::DeniedBefore { at, until };
            self.begin(key, Arc::clone(subject), offers, denied, now);
            return true;
        };
        // An item that can lift the denial is already open.
        if let Some(held) = self.take_held(key) {
            let failed = Failed::denied_before((at, until), now.elapsed, Some(item));
            self.refuse_held(&held, &failed, now);
        }
        true
    }

    /// Remembers that a person denied a call, if the operator chose that.
    fn remember_denied(&mut self, subject: &Subject, failed: &Failed, now: Now) {
        let memory = self.settings.deny_memory;
        if matches!(failed.refusal, Refusal::Denied { .. }) && !memory.is_zero() {
            (self.denials).insert_new(subject.digest, now.elapsed, memory);
        }
    }

    /// Starts a question about a held call.
    pub(super) fn begin(
        &mut self,
        key: HeldKey,
        subject: Arc<Subject>,
        offers: Offers,
        event: Event,
        now: Now,
    ) {
        let Some(held) = self.held.get(&key) else {
            return;
        };
        let ask = Ask::new(key, held, subject, offers, &self.settings);
        self.begin_with(key, ask, event, now);
    }

    fn begin_with(&mut self, call: HeldKey, ask: Ask, event: Event, now: Now) {
        let key = self.fresh_key();
        self.set_waits_for(call, WaitsFor::Ask(key));
        self.asks.insert(key, ask);
        if let Event::DeniedBefore { .. } = event {
            // Built now: when the question is shown, no call waits for it any more.
            self.request_of(key, None);
        }
        self.step(key, event, now);
    }

    /// Applies an event to a question, and carries out the effects.
    pub(super) fn step(&mut self, key: AskKey, event: Event, now: Now) {
        let Some(ask) = self.asks.get_mut(key) else {
            return;
        };
        let mut context = StepContext {
            settings: &self.settings,
            ids: &mut self.ids,
            now: now.elapsed,
            can_prompt: self.handshake.elicitation_format().map(drop),
            is_anonymous: self.settings.client == Client::Anonymous,
            has_client: self.client == PeerState::Open,
            client_is_heard: self.client_heard,
            list_is_settled: self.catalogue.is_settled(now.elapsed),
            definition: self
                .catalogue
                .tool(&ask.subject.tool)
                .map(|tool| &tool.definition),
            out: std::mem::take(&mut self.effects),
        };
        let mut effects = ask.step(event, &mut context);
        let snapshot = AskSnapshot {
            key,
            subject: Arc::clone(&ask.subject),
            request: ask.request.clone(),
            item: ask.item().map(str::to_owned),
            verdict_age: ask.verdict_age(),
        };
        self.asks.stepped(key);
        for effect in effects.drain(..) {
            self.perform(&snapshot, effect, now);
        }
        self.effects = effects;
    }

    fn perform(&mut self, snapshot: &AskSnapshot, effect: Effect, now: Now) {
        let key = snapshot.key;
        match effect {
            Effect::Prompt { id: Some(id) } => {
                if self.send_prompt(key, id) {
                    self.step(key, Event::Cut, now);
                }
            }
            Effect::Prompt { id: None } => self.answer_with_question(key, now),
            Effect::SendToPage { call, url } => self.answer_with_page(key, call, url, now),
            Effect::Invite { item, url } => {
                self.invite(&item, &url, &snapshot.subject.tool, now);
            }
            Effect::AskEngine {
                engine,
                item,
                replaces,
                until,
                opens_browser,
            } => {
                if let Some(replaced) = &replaces {
                    self.end_invitation(replaced);
                }
                self.put_item(key, (engine, item), replaces, (until, opens_browser), now);
                self.prepare_to_mark(key, now);
            }
            Effect::JoinEngine { engine, item } => {
                self.put(Output::ToEngine(ToEngine::Join { engine, item }));
            }
            Effect::OpenBrowser { item } => {
                self.put(Output::ToEngine(ToEngine::OpenBrowser { item }));
            }
            Effect::Withdraw { id, why } => {
                if self.client == PeerState::Open {
                    self.send_to_client(cancelled_notification(&id, &why));
                }
                self.retired_prompts.add(id);
            }
            Effect::Close { item, how } => self.close_item(item, how),
            Effect::Park { item, until } => {
                if let Some(item) = item {
                    self.park_item(item, until, now);
                }
                self.mark_parked(key, now);
                self.make_room_for_parked(key, now);
            }
            Effect::LeaveForLater { item } => {
                self.put(Output::ToEngine(ToEngine::Resume(Resume::Leave { item })));
            }
            Effect::Split { asks } => {
                for ask in asks {
                    if let Some(call) = ask.calls().first().copied() {
                        self.begin_with(call, ask, Event::Begin, now);
                    }
                }
            }
            Effect::FirstYes { reason, via } => {
                let digest = Some(snapshot.subject.digest);
                self.record_first_yes(digest, reason.as_deref(), &via, now);
            }
            Effect::RecordVerdict {
                engine,
                item,
                verdict,
            } => {
                self.record_parked_verdict((engine, &item), &snapshot.subject, &verdict, now);
                let memory = self.settings.deny_memory;
                if verdict.choice == Choice::Deny && !memory.is_zero() {
                    (self.denials).insert(snapshot.subject.digest, now.elapsed, memory);
                }
            }
            Effect::Cover { at, cover } => self.cover(snapshot, at, cover, now),
            Effect::WantList => self.want_list_for(key, now),
            Effect::Release { calls, approval } => {
                for call in calls {
                    self.release_approved(call, snapshot, &approval, now);
                }
            }
            Effect::Refuse { calls, failed } => {
                for call in calls {
                    if let Some(held) = self.take_held(call) {
                        self.refuse_held(&held, &failed, now);
                        self.remember_denied(&snapshot.subject, &failed, now);
                        self.add_refusal_to_history(&held, snapshot, &failed, now);
                    }
                }
            }
            Effect::RecordRefused { call, failed } => {
                self.record_refused(&call, &failed, now);
                self.remember_denied(&snapshot.subject, &failed, now);
                self.add_refusal_to_history(&call, snapshot, &failed, now);
            }
            Effect::Reask { calls } => {
                for call in calls {
                    self.reask(call, now);
                }
            }
        }
    }

    /// Withdraws the oldest parked questions until there is room for `last`. They are not left for later sessions:
    /// there they could fill the inbox of all of the user's proxies.
    pub(super) fn make_room_for_parked(&mut self, last: AskKey, now: Now) {
        while let Some(oldest) = self.asks.one_too_many(last) {
            self.asks.set_resumable(oldest, false);
            let failed = Failed::new(Outcome::Timeout, Refusal::TimedOut);
            self.step(oldest, Event::Ended(failed), now);
        }
    }

    /// Answers a question's call with the question. The call then no longer waits.
    fn answer_with_question(&mut self, key: AskKey, now: Now) {
        let call = self.asks.get(key).and_then(|ask| ask.calls().first());
        let Some(held) = call.copied().and_then(|call| self.take_held(call)) else {
            return;
        };
        if brings_a_state(&held.call.params()) {
            // The state is not ours, so it belongs to no question.
            self.asks.remove(key);
            let failed = Failed::new(Outcome::Denied, Refusal::UnknownState);
            return self.refuse_held(&held, &failed, now);
        }
        if let Some((sent, is_cut)) = self.send_question(key, held, now) {
            self.step(key, sent, now);
            if is_cut {
                self.step(key, Event::Cut, now);
            }
        }
    }

    /// Answers a call with the URL of its item's page.
    fn answer_with_page(&mut self, key: AskKey, call: HeldKey, url: String, now: Now) {
        // The call brings a state of its own. If we sent ours, the client would return ours in its place.
        let held = self.held.get(&call);
        if held.is_none_or(|held| brings_a_state(&held.call.params())) {
            return;
        }
        let Some(held) = self.take_held(call) else {
            return;
        };
        if let Some(sent) = self.send_page(key, held, url, now) {
            self.step(key, sent, now);
        }
    }

    fn want_list_for(&mut self, key: AskKey, now: Now) {
        let call = self.asks.get(key).and_then(|ask| ask.calls().first());
        if let Some(call) = call.copied() {
            self.want_list_for_call(call, now);
        }
    }

    /// Lets a yes received `at` cover later calls, as the operator and the person chose.
    ///
    /// INVARIANT 2: the time counts from when the yes was given, which may be before this session began.
    fn cover(&mut self, snapshot: &AskSnapshot, at: Duration, cover: Duration, now: Now) {
        let end = |time: Duration| at.saturating_add(time.saturating_sub(snapshot.verdict_age));
        if let Some(dedupe) = snapshot.subject.dedupe {
            let until = end(self.settings.approval_ttl);
            self.cache.insert_until(dedupe, until, now.elapsed);
        }
        let until = end(cover);
        // Only if needed: the key is a digest of the whole call.
        if now.elapsed < until
            && let Some(request) = &snapshot.request
        {
            let params = request.call.params();
            let exact =
                DedupeKey::exact(&self.settings.server, &params, snapshot.subject.of_tool());
            self.cache.insert_until(exact, until, now.elapsed);
        }
    }

    /// Releases an approved call.
    fn release_approved(
        &mut self,
        key: HeldKey,
        snapshot: &AskSnapshot,
        approval: &Approval,
        now: Now,
    ) {
        let Some(held) = self.take_held(key) else {
            return;
        };
        let subject = &snapshot.subject;
        let is_for_history = !approval.is_in_history && approval.via.assurance.is_some();
        let expected = match held.era {
            // Nothing needs to be remembered, unless the call may come back.
            Era::Legacy if !self.may_return_calls => InFlight::Any,
            // INVARIANT 2: the answer may belong to another request with this id, so it opens no further round of this
            // call.
            Era::Stateless if self.ambiguous.contains_any(&held.id) => InFlight::Any,
            // The answer may be a question from the upstream.
            Era::Legacy | Era::Stateless => InFlight::Approved(Box::new(Approved {
                era: held.era,
                subject: Arc::clone(subject),
                approval: Approval {
                    is_in_history: true,
                    ..approval.clone()
                },
                round: held.round,
            })),
        };
        let policy_reason = subject.decision.reason.text();
        let details = RecordDetails {
            outcome: approval.outcome,
            risk: subject.decision.risk,
            rule: subject.decision.reason.code(),
            reason: &approval.reason,
            policy_reason: Some(&policy_reason),
            forwarded: Forwarded::Yes,
            digest: Some(subject.digest),
            via: Some(&approval.via),
        };
        let call = Call {
            id: &held.id,
            params: &held.call.params(),
            era: held.era,
            arrived: held.arrived,
        };
        let payload = Payload::Text(held.call.text().to_owned());
        self.release(&call, &details, payload, NeededApproval::Yes, expected, now);
        if is_for_history && let Some(row) = snapshot.row() {
            let verdict = (Choice::Approve, approval.reason_given());
            self.add_to_history(&held, row, verdict, &approval.via, now);
        }
    }

    fn add_refusal_to_history(
        &mut self,
        held: &Held,
        snapshot: &AskSnapshot,
        failed: &Failed,
        now: Now,
    ) {
        let (Some(row), Some(via), Outcome::Denied) = (snapshot.row(), &failed.via, failed.outcome)
        else {
            return;
        };
        let log_text;
        let reason = if let Refusal::Denied { reason } = &failed.refusal {
            reason.as_deref()
        } else {
            // This is not a person's no, so use the log's text.
            log_text = failed.log_text();
            Some(&*log_text)
        };
        self.add_to_history(held, row, (Choice::Deny, reason), via, now);
    }

    /// Asks again about a call whose tool is no longer what was shown.
    fn reask(&mut self, key: HeldKey, now: Now) {
        let Some(held) = self.held.get_mut(&key) else {
            return;
        };
        held.changes += 1;
        let refusal = match held.changes {
            // It has run in part, with data from the upstream that nobody was shown.
            _ if held.round > 0 => Some(Refusal::ChangedBetweenRounds),
            changes if changes > MAX_CHANGES => Some(Refusal::KeepsChanging),
            _ => None,
        };
        let name = held.tool.clone();
        let before = held
            .subject
            .as_ref()
            .map(|subject| subject.decision.clone());
        if let Some(refusal) = refusal {
            let Some(held) = self.take_held(key) else {
                return;
            };
            return self.refuse_held(&held, &Failed::new(Outcome::Error, refusal), now);
        }
        // A server that declares its tool harmless while a person is being asked is not believed.
        let decision = self.decide(&name, now);
        let decision = decision.filter(|decision| decision.action == Action::Ask);
        match decision.or(before) {
            Some(decision) => self.ask_about_held(key, decision, now),
            None => self.fail_held(key, "the call was never asked about", now),
        }
    }

    /// Does the same as [`Gate::ask_about`], for a call that has waited.
    pub(super) fn ask_about_held(&mut self, key: HeldKey, decision: Decision, now: Now) {
        if let Some(call) = self.held.get(&key).map(|held| held.call.clone()) {
            self.ask_about(key, &call.params(), decision, now);
        }
    }

    /// Tells its question that a call, already taken out, no longer waits.
    pub(super) fn leave_question(&mut self, held: &Held, call: HeldKey, may_park: bool, now: Now) {
        if let WaitsFor::Ask(key) = held.waits_for {
            self.step(key, Event::CallLeft { call, may_park }, now);
        }
    }

    /// Fails a held call that cannot go on for technical reasons: records an error and answers with one.
    pub(super) fn fail_held(&mut self, key: HeldKey, why: &str, now: Now) {
        let Some(held) = self.take_held(key) else {
            return;
        };
        self.leave_question(&held, key, false, now);
        self.fail_with_error(&held, why, now);
    }
}
