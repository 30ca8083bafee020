//! Approvals of 2026-07-28: a call is answered by a question, and its retry brings the answer.
//!
//! What a call is asked about as is decided in `deciding`; what an approved call's answer may
//! be, and which retry is the same call, is decided here.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::ErrorCode;

use super::deciding::{MAX_HELD_BYTES, with_params};
use super::from_client::TOO_MANY;
use super::handshake::{CannotAsk, offers_forms};
use super::held::{Approved, Era, Failed, Held, Stage, Verdict, Via};
use super::open_states::{ENTRY, Outstanding};
use super::output::{Output, Payload};
use super::recording::{Call, Finding};
use super::refusal::Refusal;
use super::state::{Gate, Now, Peer};
use crate::approval::digest::CallDigest;
use crate::approval::prompt::Round;
use crate::approval::request_state::{MAX_UPSTREAM_STATE, RequestState};
use crate::audit::record::{Forwarded, Outcome};
use crate::mcp::elicit::{Answer, read_answer};
use crate::mcp::json::Value;
use crate::mcp::message::RequestId;
use crate::mcp::mrtr::{self, InputRequired, Responses};
use crate::mcp::revision::STATELESS;
use crate::mcp::tool::CallToolRequestParams;
use crate::policy::Risk;

/// How often an upstream may answer one approved call with a question of its own.
const MAX_ROUNDS: u32 = 10;
/// How long a state is good at most, also where a human's time has no limit.
const LONGEST: Duration = Duration::from_secs(60 * 60);

impl Gate {
    /// Answers a call, already taken out, with the question whether it may run.
    pub(super) fn ask_by_result(
        &mut self,
        held: Held,
        params: &CallToolRequestParams<'_>,
        now: Now,
    ) {
        if self.client == Peer::Gone {
            let refusal = Refusal::CannotAsk(CannotAsk::ClientGone);
            return self.tell_refused(&held, &Failed::new(Outcome::Denied, refusal), now);
        }
        let (round, yeses_needed) = self.first_round(&held);
        let deadline = self.state_deadline(now);
        self.ask_until(held, params, round, yeses_needed, deadline, now);
    }

    fn ask_until(
        &mut self,
        held: Held,
        params: &CallToolRequestParams<'_>,
        round: Round,
        yeses_needed: u32,
        deadline: Duration,
        now: Now,
    ) {
        if !offers_forms_now(params) {
            let refusal = Refusal::CannotAsk(CannotAsk::NoCapability);
            return self.tell_refused(&held, &Failed::new(Outcome::Denied, refusal), now);
        }
        // A state that is not ours belongs to nothing that we know of.
        let brings = |key| params.get(key).is_some();
        if brings(mrtr::REQUEST_STATE) || brings(mrtr::INPUT_RESPONSES) {
            let failed = Failed::new(Outcome::Denied, Refusal::UnknownState);
            return self.tell_refused(&held, &failed, now);
        }
        let Some(asked_as) = &held.asked_as else {
            return self.refuse_unread(&held, now);
        };
        let message = self.message(params, asked_as, round);
        let state = RequestState {
            nonce: self.ids.next_hex(),
            call: asked_as.digest.to_string(),
            expires_ms: millis(deadline),
            upstream: None,
        };
        let sealed = self.sealer.seal(&state);
        let question = mrtr::question(&held.id, &message, &sealed);
        let outstanding = Outstanding::Question { held, yeses_needed };
        self.open_states.insert(&state.nonce, deadline, outstanding);
        self.send_to_client(question);
    }

    /// A call that brings a state of ours.
    pub(super) fn retry_from_client(
        &mut self,
        text: &str,
        call: &Call<'_>,
        state: &RequestState,
        now: Now,
    ) {
        // INVARIANT 2: what was asked about is the call without what a retry adds.
        let bare = mrtr::retry_for_upstream(text, None, Responses::Strip);
        let asked_as = self
            .open_states
            .get(&state.nonce)
            .and_then(Outstanding::asked_as);
        let (Some(bare), Some(asked_as)) = (bare, asked_as) else {
            return self.refuse_state(call, &Refusal::SpentState, now);
        };
        let digest = with_params(&bare, |params| {
            CallDigest::of(&self.settings.server, params, asked_as.definition.as_ref())
        });
        // What is not a part of the call, such as white space, may have grown.
        let kept = self.held_bytes + self.open_states.bytes() + text.len();
        if kept > MAX_HELD_BYTES {
            let (id, name) = (call.id.clone(), &call.params.name);
            return self.refuse_call(now, Some(id), Some(name), TOO_MANY);
        }
        let is_same = digest == Some(asked_as.digest) && call.era == Era::Stateless;
        if !is_same || !state.is_good_for(&asked_as.digest, now.elapsed) {
            return self.refuse_state(call, &Refusal::UnknownState, now);
        }
        if let Err(malformed) = check_fields(call.params) {
            return self.refuse_malformed(call.id, Some(&call.params.name), malformed, now);
        }
        // From here on the state is spent, whatever becomes of the call.
        match self.open_states.take(&state.nonce) {
            None => self.refuse_state(call, &Refusal::SpentState, now),
            Some((deadline, Outstanding::Question { held, yeses_needed })) => {
                let held = Held {
                    id: call.id.clone(),
                    text: bare.into(),
                    // What the first request asked to hear of is over with it.
                    progress: None,
                    ..held
                };
                self.answered_by_retry(held, call.params, yeses_needed, deadline, now);
            }
            Some((_, Outstanding::Round(approved))) => {
                self.next_round(text, call, approved, state.upstream.as_deref(), now);
            }
        }
    }

    /// A retry brings the answer to our question, or should.
    fn answered_by_retry(
        &mut self,
        held: Held,
        retry: &CallToolRequestParams<'_>,
        yeses_needed: u32,
        deadline: Duration,
        now: Now,
    ) {
        let answer = retry.get(mrtr::INPUT_RESPONSES);
        let answer = answer.and_then(|answers| answers.get(mrtr::QUESTION));
        let Some(answer) = answer else {
            // SPEC: "the server SHOULD respond with a new `InputRequiredResult` requesting the
            // missing information again". The human's time does not begin anew.
            let round = match self.first_round(&held) {
                (_, at_first) if yeses_needed < at_first => Round::Second,
                (round, _) => round,
            };
            return self.ask_again(held, round, yeses_needed, deadline, now);
        };
        let mut text = String::new();
        answer.write_canonical(&mut text);
        match read_answer(Some(&text), None) {
            Answer::Approved { reason } if yeses_needed <= 1 => {
                let verdict = Verdict {
                    outcome: Outcome::Approved,
                    reason: reason.unwrap_or_else(|| "approved".to_owned()),
                    via: Via::elicitation(true),
                };
                let dedupe = held.asked_as.as_ref().and_then(|asked_as| asked_as.dedupe);
                if let Some(dedupe) = dedupe {
                    self.cache.insert(dedupe, now.elapsed);
                }
                let key = self.keep(held);
                self.confirm(key, &verdict, now);
            }
            Answer::Approved { .. } => {
                let deadline = self.state_deadline(now);
                self.ask_again(held, Round::Second, yeses_needed - 1, deadline, now);
            }
            Answer::Refused { reason, how } => {
                let failed = Failed::denied(reason, how, Via::elicitation(true));
                self.tell_refused(&held, &failed, now);
            }
            // Not from a result; were it one, it would be no yes.
            Answer::Failed { message } => {
                let failed = Failed::new(Outcome::Error, Refusal::ClientError(message));
                self.tell_refused(&held, &failed, now);
            }
        }
    }

    /// Asks once more, in the request that brought no sufficient answer.
    fn ask_again(
        &mut self,
        held: Held,
        round: Round,
        yeses_needed: u32,
        deadline: Duration,
        now: Now,
    ) {
        if !self.is_as_shown(&held) {
            // INVARIANT 2: what is shown now is what a yes is for.
            let key = self.keep(held);
            return self.ask_anew(key, now);
        }
        let text = Arc::clone(&held.text);
        let _ = with_params(&text, |params| {
            self.ask_until(held, params, round, yeses_needed, deadline, now);
        });
    }

    /// A retry answers the upstream's question about an approved call: it goes on, once.
    fn next_round(
        &mut self,
        text: &str,
        call: &Call<'_>,
        approved: Approved,
        state: Option<&str>,
        now: Now,
    ) {
        let Some(text) = mrtr::retry_for_upstream(text, state, Responses::Keep) else {
            return self.refuse_state(call, &Refusal::UnknownState, now);
        };
        let verdict = Verdict {
            outcome: Outcome::Approved,
            reason: format!("round {} of an approved call", approved.round + 1),
            via: approved.via,
        };
        let key = self.keep(Held {
            id: call.id.clone(),
            tool: approved.tool,
            text: text.into(),
            era: Era::Stateless,
            arrived: call.arrived,
            stage: Stage::List,
            progress: None,
            asked_as: Some(approved.asked_as),
            changes: 0,
            round: approved.round,
        });
        self.confirm(key, &verdict, now);
    }

    /// The upstream answers an approved call. Where the answer is a question, its state is
    /// wrapped in ours, so that the retry neither asks a human again nor escapes the gate.
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
            // How long the upstream's question may take is not the operator's business.
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
            call: approved.asked_as.digest.to_string(),
            expires_ms: millis(deadline),
            upstream,
        };
        let sealed = self.sealer.seal(&state);
        let Some(text) = mrtr::with_state(id, result, &sealed) else {
            return;
        };
        let outstanding = Outstanding::Round(approved);
        self.open_states.insert(&state.nonce, deadline, outstanding);
        self.send_to_client(text);
    }

    /// Time has passed: questions that no retry answered are over.
    pub(super) fn tick_rounds(&mut self, now: Now) {
        while let Some(outstanding) = self.open_states.take_expired(now.elapsed) {
            let failed = Failed::new(Outcome::Timeout, Refusal::TimedOut);
            self.end_unanswered(&outstanding, &failed, now);
        }
    }

    /// No retry can come any more.
    pub(super) fn end_rounds(&mut self, failed: &Failed, now: Now) {
        while let Some(outstanding) = self.open_states.take_expired(Duration::MAX) {
            self.end_unanswered(&outstanding, failed, now);
        }
    }

    /// Its request has been answered long ago, so that only the log hears of it.
    fn end_unanswered(&mut self, outstanding: &Outstanding, failed: &Failed, now: Now) {
        match outstanding {
            Outstanding::Question { held, .. } => self.record_refused(held, failed, now),
            // The call has run, and has its line.
            Outstanding::Round(_) => {}
        }
    }

    /// Refuses a call that its own revision does not allow, or that is of one we do not know.
    pub(super) fn refuse_malformed(
        &mut self,
        id: &RequestId,
        name: Option<&str>,
        malformed: Malformed,
        now: Now,
    ) {
        let (code, why, data) = match malformed {
            Malformed::Fields => (
                ErrorCode::INVALID_PARAMS,
                "`_meta` lacks a `io.modelcontextprotocol/protocolVersion` that is a string, or a \
                 `io.modelcontextprotocol/clientCapabilities` that is an object",
                None,
            ),
            // SPEC: the error "MUST" list what is supported, and the client "SHOULD select a
            // mutually supported version […] and retry".
            Malformed::Version(requested) => (
                ErrorCode::UNSUPPORTED_PROTOCOL_VERSION,
                "a human can be asked about this call in protocol version 2026-07-28 only",
                Some(serde_json::json!({
                    "supported": [STATELESS],
                    "requested": requested,
                })),
            ),
        };
        self.record_unheld(now, name.unwrap_or_default(), Outcome::Error, why, Some(id));
        let message = format!("the call was not run: {why}");
        self.send_error_with(Some(id), code, message, data);
    }

    fn refuse_state(&mut self, call: &Call<'_>, refusal: &Refusal, now: Now) {
        let reason = refusal.log_reason();
        let finding = Finding {
            outcome: Outcome::Denied,
            risk: Risk::High,
            reason: &reason,
            policy_reason: None,
            forwarded: Forwarded::No,
            digest: None,
            via: None,
        };
        self.refuse(call, &finding, refusal, None, now);
    }

    fn state_deadline(&self, now: Now) -> Duration {
        let time = self.settings.timeout.unwrap_or(LONGEST).min(LONGEST);
        now.elapsed.saturating_add(time)
    }
}

/// Why no human is asked about a stateless call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// It lacks what its revision demands.
    Fields,
    /// It is of a revision that we do not know; holds its name.
    Version(String),
}

/// Checks the fields that each stateless request must have.
///
/// SPEC 2026-07-28: "A request missing any required field is malformed; the server MUST reject
/// it".
pub(super) fn check_fields(params: &CallToolRequestParams<'_>) -> Result<(), Malformed> {
    let version = params.protocol_version().and_then(Value::as_str);
    match version {
        Some(version) if version == STATELESS => {}
        Some(version) => return Err(Malformed::Version(version.chars().take(64).collect())),
        None => return Err(Malformed::Fields),
    }
    match params.client_capabilities() {
        Some(Value::Object(_)) => Ok(()),
        Some(_) | None => Err(Malformed::Fields),
    }
}

/// Whether the client can show a form for this request.
///
/// SPEC 2026-07-28: "Servers MUST NOT send an `inputRequests` that the client has not declared
/// support for in its capabilities", and those count for their request only.
fn offers_forms_now(params: &CallToolRequestParams<'_>) -> bool {
    params.client_capabilities().is_some_and(offers_forms)
}

fn millis(time: Duration) -> u64 {
    // Rounded up: the open state's own deadline is exact.
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
