//! Handles stateless calls that bring a state of ours: finds the question, or the round, that each
//! belongs to.
//!
//! `ask` decides what an answer means for a question.

use std::sync::Arc;

use super::ask::{Arrival, Event};
use super::calls::{MAX_HELD_BYTES, TOO_MANY};
use super::deciding::progress_of;
use super::handshake::Offers;
use super::held::{AskKey, Era, Held, Subject, WaitsFor};
use super::prompts::{answer_to_us, check_fields};
use super::recording::{Call, RecordDetails};
use super::refusal::Refusal;
use super::state::{Gate, Now};
use super::verdict::Approval;
use crate::approval::digest::CallDigest;
use crate::approval::request_state::RequestState;
use crate::evidence::record::{Forwarded, Outcome};
use crate::mcp::mrtr::{self, Responses};
use crate::mcp::tool::KeptCall;
use crate::policy::{Risk, RuleCode};

impl Gate {
    /// Handles a call that brings a state of ours.
    pub(super) fn retry_from_client(
        &mut self,
        text: &str,
        call: &Call<'_>,
        state: &RequestState,
        now: Now,
    ) {
        // INVARIANT 2: what was asked about is the call without what a retry adds.
        let bare = mrtr::retry_for_upstream(text, None, Responses::Strip);
        let bare = bare.and_then(|text| KeptCall::read(&text));
        let ask = self.asks.of_nonce(&state.nonce).map(|(key, _)| key);
        let subject = self.subject_of_state(ask, &state.nonce);
        let (Some(bare), Some(subject)) = (bare, subject) else {
            return self.refuse_state(call, &Refusal::SpentState, now);
        };
        // Text that is not part of the call, such as white space, may have grown.
        if self.kept_bytes() + bare.bytes() > MAX_HELD_BYTES {
            let (id, name) = (call.id.clone(), &call.params.name);
            return self.refuse_call(now, Some(id), Some(name), TOO_MANY);
        }
        let digest = CallDigest::of(&self.settings.server, &bare.params(), subject.of_tool());
        let is_same = digest == subject.digest && call.era == Era::Stateless;
        let is_same = is_same && ask.is_none_or(|ask| self.may_retry(ask, &bare));
        if !is_same || !state.is_valid_for(&subject.digest, now.elapsed) {
            return self.refuse_state(call, &Refusal::UnknownState, now);
        }
        if let Err(malformed) = check_fields(call.params) {
            return self.refuse_malformed(call.id, Some(&call.params.name), malformed, now);
        }
        // From here on the state is spent, whatever happens to the call.
        match ask {
            Some(ask) => self.retry_of_question(ask, bare, call, now),
            None => self.next_round(text, call, state, now),
        }
    }

    /// Returns the subject of the question, or of the round, that a state belongs to.
    fn subject_of_state(&self, ask: Option<AskKey>, nonce: &str) -> Option<Arc<Subject>> {
        match ask {
            Some(ask) => self.asks.get(ask).map(|ask| Arc::clone(&ask.subject)),
            None => {
                let approved = self.upstream_rounds.get(nonce)?;
                Some(Arc::clone(&approved.subject))
            }
        }
    }

    /// Returns true if a retry comes from the client that an inbox item names: a verdict there can
    /// cover that client's further calls.
    fn may_retry(&self, ask: AskKey, bare: &KeptCall) -> bool {
        self.asks.get(ask).is_some_and(|ask| {
            let call = ask.answered_call().map(|(_, held)| &held.call);
            ask.is_asked_by_prompt() || call.is_some_and(|call| call.is_of_same_client(bare))
        })
    }

    /// Handles the retry of a call that was answered with a question, with or without the answer.
    fn retry_of_question(&mut self, key: AskKey, bare: KeptCall, retry: &Call<'_>, now: Now) {
        let Some((_, before)) = self.asks.get(key).and_then(|ask| ask.answered_call()) else {
            return;
        };
        let is_same_client = before.call.is_of_same_client(&bare);
        let held = Held {
            id: retry.id.clone(),
            tool: before.tool.clone(),
            call: bare,
            era: before.era,
            arrived: before.arrived,
            waits_for: WaitsFor::Ask(key),
            // The progress token of the first request ended with that request.
            progress: progress_of(retry.params, now),
            subject: before.subject.clone(),
            changes: before.changes,
            round: before.round,
            has_looked_up: false,
        };
        let arrival = Arrival {
            call: self.keep(held),
            answer: answer_to_us(retry.params),
            offers: Offers::of(retry.params.client_capabilities()),
            is_same_client,
        };
        self.step(key, Event::CallArrived(arrival), now);
    }

    /// Handles a retry that answers the upstream's question about an approved call: lets it go on,
    /// once.
    fn next_round(&mut self, text: &str, call: &Call<'_>, state: &RequestState, now: Now) {
        let Some(approved) = self.upstream_rounds.take(&state.nonce) else {
            return self.refuse_state(call, &Refusal::SpentState, now);
        };
        let text = mrtr::retry_for_upstream(text, state.upstream.as_deref(), Responses::Keep);
        let Some(kept) = text.and_then(|text| KeptCall::read(&text)) else {
            return self.refuse_state(call, &Refusal::UnknownState, now);
        };
        let approval = Approval {
            reason: format!("round {} of an approved call", approved.round + 1).into(),
            is_in_history: true,
            ..Approval::given(None, approved.approval.via)
        };
        let key = self.keep(Held {
            id: call.id.clone(),
            tool: approved.subject.tool.clone(),
            call: kept,
            era: Era::Stateless,
            arrived: call.arrived,
            waits_for: WaitsFor::ToolList,
            progress: None,
            subject: Some(Arc::clone(&approved.subject)),
            changes: 0,
            round: approved.round,
            has_looked_up: false,
        });
        let offers = Offers::of(call.params.client_capabilities());
        self.begin(
            key,
            approved.subject,
            offers,
            Event::Approved(approval),
            now,
        );
    }

    fn refuse_state(&mut self, call: &Call<'_>, refusal: &Refusal, now: Now) {
        let reason = refusal.log_reason();
        let details = RecordDetails {
            outcome: Outcome::Denied,
            risk: Risk::High,
            // Its state is the cause, whatever the policy says about the tool.
            rule: RuleCode::Default,
            reason: &reason,
            policy_reason: None,
            forwarded: Forwarded::No,
            digest: None,
            via: None,
        };
        self.refuse(call, &details, refusal, None, now);
    }
}
