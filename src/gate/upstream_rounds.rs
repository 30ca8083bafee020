//! Handles the upstream's questions about approved stateless calls, and the retries that answer them.
//!
//! Wraps the upstream's state in ours, so that such a retry neither asks a person again nor escapes the gate.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::ask::LONGEST;
use super::calls::TOO_MANY;
use super::held::{Approved, ENTRY};
use super::output::{Output, Payload};
use super::prompts::millis;
use super::state::{Gate, Now};
use crate::approval::request_state::{MAX_UPSTREAM_STATE, RequestState};
use crate::mcp::ErrorCode;
use crate::mcp::message::RequestId;
use crate::mcp::mrtr::{self, InputRequired};

/// How often an upstream may answer one approved call with a question of its own.
const MAX_ROUNDS: u32 = 10;

/// The approved calls with a further round to come, by the nonce of their state. A state is good while it is listed
/// here. The first retry that brings it takes it out: INVARIANT 2, one approval, one execution.
///
/// `Gate::is_full` limits their number.
#[derive(Debug, Default)]
pub(super) struct UpstreamRounds {
    open: BTreeMap<Arc<str>, (Duration, Approved)>,
    deadlines: BTreeSet<(Duration, Arc<str>)>,
}

impl UpstreamRounds {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Returns how much memory they take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.open.len() * ENTRY
    }

    /// Returns when the next one expires.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    fn insert(&mut self, nonce: &str, deadline: Duration, approved: Approved) {
        let nonce: Arc<str> = nonce.into();
        self.deadlines.insert((deadline, Arc::clone(&nonce)));
        self.open.insert(nonce, (deadline, approved));
    }

    pub(super) fn get(&self, nonce: &str) -> Option<&Approved> {
        self.open.get(nonce).map(|(_, approved)| approved)
    }

    pub(super) fn take(&mut self, nonce: &str) -> Option<Approved> {
        let (nonce, (deadline, approved)) = self.open.remove_entry(nonce)?;
        self.deadlines.remove(&(deadline, nonce));
        Some(approved)
    }

    /// Forgets those that have expired. Their calls have run, and have their records.
    pub(super) fn expire(&mut self, now: Duration) {
        while let Some((deadline, nonce)) = self.deadlines.first()
            && *deadline <= now
        {
            let nonce = Arc::clone(nonce);
            self.take(&nonce);
        }
    }
}

impl Gate {
    /// Handles the upstream's answer to an approved call. If it is a question, wraps its state in ours.
    pub(super) fn answer_to_approved(
        &mut self,
        id: &RequestId,
        result: Option<&str>,
        payload: Payload,
        mut approved: Approved,
        now: Now,
    ) {
        let question = result.and_then(|text| Some((text, mrtr::read_result(text)?)));
        let Some((result, InputRequired { state })) = question else {
            return self.put(Output::ToClient(payload));
        };
        let why = if approved.round >= MAX_ROUNDS {
            "the server asked for input more than 10 times about one approved call"
        } else if self.is_full(ENTRY) {
            TOO_MANY
        } else if state
            .as_ref()
            .is_some_and(|state| state.len() > MAX_UPSTREAM_STATE)
        {
            "the server's `requestState` is larger than 1 MiB"
        } else {
            // The operator's time limit does not apply to the upstream's questions.
            let deadline = now.elapsed.saturating_add(LONGEST);
            approved.round += 1;
            return self.pass_on_question(id, result, state, approved, deadline);
        };
        self.record_event(now, "refused", &[("reason", why)]);
        self.send_error(Some(id), ErrorCode::INTERNAL_ERROR, why.to_owned());
    }

    fn pass_on_question(
        &mut self,
        id: &RequestId,
        result: &str,
        upstream: Option<String>,
        approved: Approved,
        deadline: Duration,
    ) {
        let state = RequestState {
            nonce: self.ids.next_hex(),
            call: approved.subject.digest.to_string(),
            expires_ms: millis(deadline),
            upstream,
        };
        let sealed = self.sealer.seal(&state);
        let Some(text) = mrtr::with_state(id, result, &sealed) else {
            return;
        };
        self.upstream_rounds
            .insert(&state.nonce, deadline, approved);
        self.send_to_client(text);
    }
}
