//! Approvals of 2026-07-28: a call is answered by a question, and its retry brings the answer.
//!
//! What a call is asked about as is decided in `deciding`; what an approved call's answer may
//! be, and which retry is the same call, is decided here.

mod inbox;

use std::time::Duration;

use rmcp::model::ErrorCode;

use super::deciding::{MAX_HELD_BYTES, progress_of};
use super::from_client::TOO_MANY;
use super::handshake::{CannotAsk, Offers};
use super::held::{
    APPROVED, Approved, AskedAs, ENTRY, Era, Failed, Grant, Held, QuestionKey, Stage, Via,
};
use super::instant::ClientNo;
use super::open_states::{Asked, Outstanding, Posted};
use super::output::{Output, Payload};
use super::recording::{Call, Finding};
use super::refusal::Refusal;
use super::settings::{Engine, OnFailure};
use super::state::{Gate, Now};
use super::unattended::Answered;
use crate::approval::cache::DedupeKey;
use crate::approval::digest::CallDigest;
use crate::approval::item::Closed;
use crate::approval::prompt::Round;
use crate::approval::request_state::{MAX_UPSTREAM_STATE, RequestState};
use crate::audit::record::{Forwarded, Outcome};
use crate::mcp::elicit::{Answer, read_answer};
use crate::mcp::json::Value;
use crate::mcp::message::RequestId;
use crate::mcp::mrtr::{self, InputRequired, Responses};
use crate::mcp::revision::STATELESS;
use crate::mcp::tool::{CallToolRequestParams, KeptCall};
use crate::policy::{Risk, RuleCode};

/// How often an upstream may answer one approved call with a question of its own.
const MAX_ROUNDS: u32 = 10;
/// How long a state is good at most, also where a human's time has no limit.
const LONGEST: Duration = Duration::from_secs(60 * 60);

impl Gate {
    /// Answers the calls of a question with the question. They then wait no more.
    pub(super) fn ask_by_result(&mut self, key: QuestionKey, now: Now) {
        let Some(question) = self.questions.remove(&key) else {
            return;
        };
        let deadline = state_deadline(question.deadline, now);
        for call in question.calls {
            let Some(held) = self.take_held(call) else {
                continue;
            };
            let asked = Asked {
                held,
                round: question.round,
                yeses_needed: question.yeses_needed,
                channel: question.channel,
                sent: now.elapsed,
                expires: self.state_expires(question.channel, deadline, now),
            };
            if brings_a_state(&asked.held.call.params()) {
                // A state that is not ours belongs to nothing that we know of.
                let failed = Failed::new(Outcome::Denied, Refusal::UnknownState);
                self.tell_refused(&asked.held, &failed, now);
                continue;
            }
            self.ask_until(asked, &question.message.text, deadline, now);
        }
    }

    fn ask_until(&mut self, asked: Asked, message: &str, deadline: Duration, now: Now) {
        let held = &asked.held;
        let Some(asked_as) = &held.asked_as else {
            return;
        };
        let state = RequestState {
            nonce: self.ids.next_hex(),
            call: asked_as.digest.to_string(),
            expires_ms: millis(asked.expires),
            upstream: None,
        };
        let sealed = self.sealer.seal(&state);
        let question = mrtr::question(&held.id, message, &sealed);
        let sent = now.elapsed;
        let outstanding = Outstanding::Asked(Asked { sent, ..asked });
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
        let bare = bare.and_then(|text| KeptCall::read(&text));
        let asked_as = self
            .open_states
            .get(&state.nonce)
            .and_then(Outstanding::asked_as);
        let (Some(bare), Some(asked_as)) = (bare, asked_as) else {
            return self.refuse_state(call, &Refusal::SpentState, now);
        };
        let digest = CallDigest::of(&self.settings.server, &bare.params(), asked_as.of_tool());
        // What is not a part of the call, such as white space, may have grown.
        let kept = self.held_bytes + self.open_states.bytes() + bare.bytes();
        if kept > MAX_HELD_BYTES {
            let (id, name) = (call.id.clone(), &call.params.name);
            return self.refuse_call(now, Some(id), Some(name), TOO_MANY);
        }
        let is_same = digest == asked_as.digest && call.era == Era::Stateless;
        let is_same = is_same && self.may_come_back(&state.nonce, &bare);
        if !is_same || !state.is_good_for(&asked_as.digest, now.elapsed) {
            return self.refuse_state(call, &Refusal::UnknownState, now);
        }
        if let Err(malformed) = check_fields(call.params) {
            return self.refuse_malformed(call.id, Some(&call.params.name), malformed, now);
        }
        // From here on the state is spent, whatever becomes of the call.
        match self.open_states.take(&state.nonce) {
            None => self.refuse_state(call, &Refusal::SpentState, now),
            Some((deadline, Outstanding::Asked(asked))) => {
                let held = retried(asked.held, call, bare, now);
                let asked = Asked { held, ..asked };
                self.answered_by_retry(asked, call.params, deadline, now);
            }
            Some((_, Outstanding::Posted(posted))) => {
                let held = retried(posted.held, call, bare, now);
                self.posted_retried(Posted { held, ..*posted }, call.params, now);
            }
            Some((_, Outstanding::Round(approved))) => {
                self.next_round(text, call, approved, state.upstream.as_deref(), now);
            }
        }
    }

    /// Whether a retry is the client's whom an item of the inbox names: a verdict there can cover
    /// that client's further calls.
    fn may_come_back(&self, nonce: &str, bare: &KeptCall) -> bool {
        match self.open_states.get(nonce) {
            Some(Outstanding::Posted(posted)) => {
                let asked_as = posted.held.asked_as.as_ref();
                let of_tool = asked_as.and_then(AskedAs::of_tool);
                let exact = DedupeKey::exact(&self.settings.server, &bare.params(), of_tool);
                Some(exact) == self.exact_key_of(&posted.held)
            }
            Some(Outstanding::Asked(_) | Outstanding::Round(_)) | None => true,
        }
    }

    /// A retry brings the answer to our question, or should.
    fn answered_by_retry(
        &mut self,
        asked: Asked,
        retry: &CallToolRequestParams<'_>,
        deadline: Duration,
        now: Now,
    ) {
        let Some(answer) = answer_to_us(retry) else {
            // SPEC: "the server SHOULD respond with a new `InputRequiredResult` requesting the
            // missing information again". The human's time does not begin anew.
            return self.ask_again(asked, retry, deadline, now);
        };
        let took = now.elapsed.saturating_sub(asked.sent);
        match read_answer(Some(&answer), None) {
            Answer::Approved { reason } if asked.yeses_needed <= 1 => {
                let grant = Grant {
                    outcome: Outcome::Approved,
                    reason: reason.unwrap_or_else(|| APPROVED.to_owned()),
                    via: Via::elicitation(took),
                    is_in_history: false,
                };
                let key = self.keep(asked.held);
                self.cover(key, now.elapsed, Duration::ZERO, now);
                self.confirm(key, &grant, now);
            }
            Answer::Approved { reason } => {
                let digest = asked.held.asked_as.as_ref().map(|asked_as| asked_as.digest);
                self.record_first_yes(digest, reason.as_deref(), Via::elicitation(took), now);
                let channel = self.settings.channels.get(asked.channel).copied();
                let time = channel.and_then(|channel| self.human_deadline(channel, now));
                let deadline = state_deadline(time, now);
                let asked = Asked {
                    round: Round::Second,
                    yeses_needed: asked.yeses_needed - 1,
                    expires: self.state_expires(asked.channel, deadline, now),
                    ..asked
                };
                self.ask_again(asked, retry, deadline, now);
            }
            Answer::Refused { reason, how } => {
                self.refused_by_retry(&asked, ClientNo { reason, how, took }, now);
            }
            Answer::Invalid(fault) => {
                let refusal = Refusal::InvalidAnswer(fault);
                self.channel_broke_for_retry(asked, refusal, now);
            }
            // Not from a result; were it one, it would be no yes.
            Answer::Failed { message } => {
                let failed = Failed::new(Outcome::Error, Refusal::ClientError(message));
                self.tell_refused(&asked.held, &failed, now);
            }
        }
    }

    /// The client failed to ask, and says so in a retry: its call waits for the next channel.
    fn channel_broke_for_retry(&mut self, asked: Asked, refusal: Refusal, now: Now) {
        let call = asked.held.call.clone();
        let key = self.keep(asked.held);
        let question = self.new_question(key, &call.params(), asked.round, asked.yeses_needed);
        let Some(question_key) = question else {
            return;
        };
        if let Some(question) = self.questions.get_mut(&question_key) {
            question.channel = asked.channel;
        }
        self.channel_broke(question_key, refusal, now);
    }

    /// Asks once more, in the request that brought no sufficient answer.
    fn ask_again(
        &mut self,
        asked: Asked,
        retry: &CallToolRequestParams<'_>,
        deadline: Duration,
        now: Now,
    ) {
        if !self.is_as_shown(&asked.held) {
            // INVARIANT 2: what is shown now is what a yes is for.
            let key = self.keep(asked.held);
            return self.ask_anew(key, now);
        }
        // Capabilities count for their request only.
        if !Offers::of(retry.client_capabilities()).forms {
            let refusal = Refusal::CannotAsk(CannotAsk::NoCapability);
            let failed = Failed::new(Outcome::Denied, refusal);
            return self.tell_refused(&asked.held, &failed, now);
        }
        let Some(asked_as) = &asked.held.asked_as else {
            return;
        };
        let params = asked.held.call.params();
        let message = self.message(&asked.held, &params, asked_as, asked.round);
        self.ask_until(asked, &message.text, deadline, now);
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
        let text = mrtr::retry_for_upstream(text, state, Responses::Keep);
        let Some(kept) = text.and_then(|text| KeptCall::read(&text)) else {
            return self.refuse_state(call, &Refusal::UnknownState, now);
        };
        let grant = Grant {
            outcome: Outcome::Approved,
            reason: format!("round {} of an approved call", approved.round + 1),
            via: approved.grant.via,
            is_in_history: true,
        };
        let key = self.keep(Held {
            id: call.id.clone(),
            tool: approved.tool,
            call: kept,
            era: Era::Stateless,
            arrived: call.arrived,
            stage: Stage::List,
            progress: None,
            asked_as: Some(approved.asked_as),
            changes: 0,
            round: approved.round,
        });
        self.confirm(key, &grant, now);
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

    /// Time has passed: questions that no retry answered.
    pub(super) fn tick_rounds(&mut self, now: Now) {
        while let Some((nonce, outstanding)) = self.open_states.take_expired(now.elapsed) {
            match outstanding {
                Outstanding::Asked(asked) => self.asked_ran_out(&nonce, asked, now),
                Outstanding::Posted(posted) => self.posted_ran_out(*posted, now),
                // The call has run, and has its line.
                Outstanding::Round(_) => {}
            }
        }
    }

    /// No retry can come any more. Requests have been answered long ago, so that only the log and
    /// the inbox hear of it.
    pub(super) fn end_rounds(&mut self, failed: &Failed, now: Now) {
        while let Some((_, outstanding)) = self.open_states.take_expired(Duration::MAX) {
            match outstanding {
                Outstanding::Asked(asked) => self.record_refused(&asked.held, failed, now),
                Outstanding::Posted(posted) => {
                    let Posted {
                        held, item, left, ..
                    } = *posted;
                    if left.is_posted {
                        self.close_item(item, Closed::Withdrawn);
                    }
                    let failed = match &left.answer {
                        Some(Answered::No(denied)) => denied,
                        Some(Answered::Yes { .. } | Answered::Broke(_)) | None => failed,
                    };
                    self.record_refused(&held, failed, now);
                }
                Outstanding::Round(_) => {}
            }
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
            // Its state is at fault, whatever the policy says of the tool.
            rule: RuleCode::Default,
            reason: &reason,
            policy_reason: None,
            forwarded: Forwarded::No,
            digest: None,
            via: None,
        };
        self.refuse(call, &finding, refusal, None, now);
    }

    /// From when on a state is good for nothing: its question may go on from the client to the inbox.
    fn state_expires(&self, channel: usize, deadline: Duration, now: Now) -> Duration {
        let asked = self.settings.channels.get(channel);
        let goes_on = asked.is_some_and(|it| it.on_timeout == OnFailure::Fallback)
            && self.channel_behind(channel, Engine::Inbox).is_some();
        match goes_on {
            true => now.elapsed.saturating_add(LONGEST),
            false => deadline,
        }
    }
}

/// When a human's time is over, as a state can tell.
fn state_deadline(time: Option<Duration>, now: Now) -> Duration {
    let longest = now.elapsed.saturating_add(LONGEST);
    time.unwrap_or(longest).min(longest)
}

/// A call that is made again, without what it brings for us.
fn retried(held: Held, call: &Call<'_>, bare: KeptCall, now: Now) -> Held {
    Held {
        id: call.id.clone(),
        call: bare,
        // What the first request asked to hear of is over with it.
        progress: progress_of(call.params, now),
        ..held
    }
}

/// What a retry brings for our question, as JSON.
fn answer_to_us(retry: &CallToolRequestParams<'_>) -> Option<String> {
    let answer = retry.get(mrtr::INPUT_RESPONSES)?.get(mrtr::QUESTION)?;
    let mut text = String::new();
    answer.write_canonical(&mut text);
    Some(text)
}

/// Whether a call brings what only a retry brings.
fn brings_a_state(params: &CallToolRequestParams<'_>) -> bool {
    [mrtr::REQUEST_STATE, mrtr::INPUT_RESPONSES]
        .iter()
        .any(|key| params.get(key).is_some())
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

fn millis(time: Duration) -> u64 {
    // Rounded up: the open state's own deadline is exact.
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
