//! Ends calls: releases or refuses them, each with its record.
//!
//! `deciding` and `ask` decide which.

use std::time::Duration;

use super::held::{Era, Held, Subject};
use super::output::{NeededApproval, Output, Payload, Ticket};
use super::permit::Permitted;
use super::prompts::Malformed;
use super::refusal::{Explanation, Refusal, refused_result};
use super::settings::EngineId;
use super::state::{Gate, InFlight, Now};
use super::verdict::{Failed, Via};
use crate::approval::digest::CallDigest;
use crate::approval::item::{Assurance, Verdict};
use crate::evidence::record::{Decided, Forwarded, Line, Outcome};
use crate::mcp::ErrorCode;
use crate::mcp::message::RequestId;
use crate::mcp::revision::STATELESS;
use crate::mcp::tool::CallToolRequestParams;
use crate::policy::{Action, Decision, Reason, Risk, RuleCode};

/// A call being handled, wherever its text is kept.
pub(super) struct Call<'a> {
    pub(super) id: &'a RequestId,
    pub(super) params: &'a CallToolRequestParams<'a>,
    pub(super) era: Era,
    pub(super) arrived: Duration,
}

/// What a record says of a call, besides the call itself.
pub(super) struct RecordDetails<'a> {
    pub(super) outcome: Outcome,
    pub(super) risk: Risk,
    pub(super) rule: RuleCode,
    pub(super) reason: &'a str,
    pub(super) policy_reason: Option<&'a str>,
    pub(super) forwarded: Forwarded,
    pub(super) digest: Option<CallDigest>,
    pub(super) via: Option<&'a Via>,
}

impl Gate {
    /// Dry run: records what would happen, and lets the call through.
    pub(super) fn release_dry(
        &mut self,
        call: &Call<'_>,
        decision: &Decision,
        would: &str,
        payload: Payload,
        now: Now,
    ) {
        let details = RecordDetails {
            outcome: Outcome::DryRun,
            risk: decision.risk,
            rule: decision.reason.code(),
            reason: &format!("{would}: {}", decision.reason),
            policy_reason: None,
            forwarded: Forwarded::Yes,
            digest: None,
            via: None,
        };
        // Nobody is asked, but the log is the purpose of a dry run, so best effort is not enough.
        let approval = NeededApproval::DryRun;
        self.release(call, &details, payload, approval, InFlight::Any, now);
    }

    /// Releases a call with its record. INVARIANT 1: a call can leave the gate no other way.
    pub(super) fn release(
        &mut self,
        call: &Call<'_>,
        details: &RecordDetails<'_>,
        payload: Payload,
        approval: NeededApproval,
        expected: InFlight,
        now: Now,
    ) {
        self.in_flight.insert(call.id.clone(), expected);
        let line = self.line(call, details, now);
        self.put(Output::Release {
            line,
            payload: Permitted::new(payload),
            ticket: Ticket {
                id: call.id.clone(),
                tool: call.params.name.to_string(),
                era: call.era,
                approval,
                explanation: self.explanation(
                    details.risk,
                    details.rule,
                    details.policy_reason.unwrap_or(details.reason),
                ),
            },
        });
    }

    fn explanation(&self, risk: Risk, rule: RuleCode, why: &str) -> Option<Box<Explanation>> {
        self.settings.explain.then(|| {
            Box::new(Explanation {
                risk,
                mode: self.policy.mode(),
                rule,
                why: why.to_owned(),
            })
        })
    }

    /// Records a refusal and answers the client.
    pub(super) fn refuse(
        &mut self,
        call: &Call<'_>,
        details: &RecordDetails<'_>,
        refusal: &Refusal,
        decision: Option<&Decision>,
        now: Now,
    ) {
        let line = self.line(call, details, now);
        self.put(Output::Record(line));
        let explanation = decision.and_then(|decision| {
            let why = decision.reason.text();
            self.explanation(decision.risk, decision.reason.code(), &why)
        });
        let result = refused_result(
            call.id,
            &call.params.name,
            call.era,
            refusal,
            explanation.as_deref(),
        );
        self.send_to_client(result);
    }

    fn line(&mut self, call: &Call<'_>, details: &RecordDetails<'_>, now: Now) -> Line {
        self.time.set(now.unix_ms);
        let memory = self.line_memory.pop().unwrap_or_default();
        let record = Decided {
            time: &self.time,
            origin: &self.origin,
            tool: &call.params.name,
            args: call.params.arguments(),
            outcome: details.outcome,
            risk: details.risk,
            rule: details.rule,
            reason: details.reason,
            policy_reason: details.policy_reason,
            mode: self.policy.mode(),
            dry_run: self.settings.dry_run,
            forwarded: details.forwarded,
            duration: now.elapsed.saturating_sub(call.arrived),
            request_id: Some(call.id),
            call: details.digest,
            engine: details.via.map(|via| via.engine),
            assurance: details.via.and_then(|via| via.assurance),
            approver: details.via.and_then(|via| via.approver.as_deref()),
            inbox_key: details
                .via
                .and_then(|via| self.settings.signing_key(via.assurance)),
            covers: details.via.map_or(Duration::ZERO, |via| via.covers),
            answered: details.via.and_then(|via| via.answered),
        };
        Line::decided(&record, &mut self.outcome_text, memory)
    }

    /// Records the first of two yeses. The second may never come, or be a no.
    pub(super) fn record_first_yes(
        &mut self,
        call: Option<CallDigest>,
        reason: Option<&str>,
        via: &Via,
        now: Now,
    ) {
        let call = call.map(|digest| format!("sha256:{digest}"));
        let key = self.settings.signing_key(via.assurance).map(str::to_owned);
        let members = [
            ("call", call.as_deref()),
            ("reason", reason),
            ("engine", Some(via.engine)),
            ("assurance", via.assurance.map(Assurance::as_str)),
            ("approver", via.approver.as_deref()),
            ("inbox_key", key.as_deref()),
        ];
        let members: Vec<(&str, &str)> = members
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect();
        self.record_event(now, "first_approval", &members);
    }

    /// Records a call that was refused before it could be held, without its arguments.
    pub(super) fn record_unheld(
        &mut self,
        now: Now,
        tool: &str,
        outcome: Outcome,
        reason: &str,
        id: Option<&RequestId>,
    ) {
        self.time.set(now.unix_ms);
        let record = Decided {
            time: &self.time,
            origin: &self.origin,
            tool,
            args: None,
            outcome,
            risk: Risk::High,
            // No rule of the policy was applied.
            rule: RuleCode::Default,
            reason,
            policy_reason: None,
            mode: self.policy.mode(),
            dry_run: self.settings.dry_run,
            forwarded: Forwarded::No,
            duration: Duration::ZERO,
            request_id: id,
            call: None,
            engine: None,
            assurance: None,
            approver: None,
            inbox_key: None,
            covers: Duration::ZERO,
            answered: None,
        };
        let line = Line::decided(&record, &mut self.outcome_text, String::new());
        self.put(Output::Record(line));
    }

    /// Refuses a held call, already taken out: records it and answers the client.
    pub(super) fn refuse_held(&mut self, held: &Held, failed: &Failed, now: Now) {
        self.finish_refused(held, failed, Reply::Send, now);
    }

    /// Records that a held call, already taken out, is refused, without answering the client.
    pub(super) fn record_refused(&mut self, held: &Held, failed: &Failed, now: Now) {
        self.finish_refused(held, failed, Reply::Omit, now);
    }

    fn finish_refused(&mut self, held: &Held, failed: &Failed, reply: Reply, now: Now) {
        let subject = held.subject.as_deref();
        let unasked = Decision {
            action: Action::Ask,
            risk: Risk::High,
            reason: Reason::ListUnknown,
        };
        let decision = subject.map_or(&unasked, |subject| &subject.decision);
        let reason = failed.log_text();
        let policy_reason = subject.map(|subject| subject.decision.reason.text());
        let details = RecordDetails {
            outcome: failed.outcome,
            risk: decision.risk,
            rule: decision.reason.code(),
            reason: &reason,
            policy_reason: policy_reason.as_deref(),
            forwarded: Forwarded::No,
            digest: subject.map(|subject| subject.digest),
            via: failed.via.as_ref(),
        };
        let call = Call {
            id: &held.id,
            params: &held.call.params(),
            era: held.era,
            arrived: held.arrived,
        };
        match reply {
            Reply::Send => self.refuse(&call, &details, &failed.refusal, Some(decision), now),
            Reply::Omit => {
                let line = self.line(&call, &details, now);
                self.put(Output::Record(line));
            }
        }
    }

    /// Records a technical failure of a held call, already taken out, and answers with an error.
    pub(super) fn fail_with_error(&mut self, held: &Held, why: &str, now: Now) {
        let failed = Failed::new(Outcome::Error, Refusal::Cancelled).with_log_text(why);
        self.record_refused(held, &failed, now);
        let code = ErrorCode::INTERNAL_ERROR;
        self.send_error(Some(&held.id), code, format!("the call was not run: {why}"));
    }

    /// Records a verdict about a question that no call waits for at the moment.
    pub(super) fn record_parked_verdict(
        &mut self,
        (engine, item): (EngineId, &str),
        subject: &Subject,
        verdict: &Verdict,
        now: Now,
    ) {
        let call = format!("sha256:{}", subject.digest);
        let mut members = vec![
            ("item", item),
            ("call", &*call),
            ("choice", verdict.choice.as_str()),
            ("assurance", verdict.assurance.as_str()),
            ("reason", verdict.reason.as_deref().unwrap_or_default()),
        ];
        // The inbox is the default, so its name is left out.
        let is_other = engine != EngineId::INBOX;
        members.extend(is_other.then_some(("engine", engine.name())));
        members.extend(verdict.approver.as_deref().map(|name| ("approver", name)));
        let key = self.settings.signing_key(Some(verdict.assurance));
        let key = key.map(str::to_owned);
        members.extend(key.iter().map(|key| ("inbox_key", &**key)));
        self.record_event(now, "parked_verdict", &members);
    }

    /// Refuses a call that cannot be read safely or may not be sent. Answers to its id, if it has one.
    pub(super) fn refuse_call(
        &mut self,
        now: Now,
        id: Option<RequestId>,
        tool: Option<&str>,
        why: &str,
    ) {
        match tool {
            Some(tool) => self.record_unheld(now, tool, Outcome::Error, why, id.as_ref()),
            None => self.record_event(now, "refused", &[("reason", why)]),
        }
        let message = format!("approval-proxy did not pass this call on: {why}");
        self.send_error(id.as_ref(), ErrorCode::INVALID_REQUEST, message);
    }

    /// Refuses a call that its own revision does not allow, or whose revision is unknown.
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
                "`_meta` must have `io.modelcontextprotocol/protocolVersion`, a string, and \
                 `io.modelcontextprotocol/clientCapabilities`, an object",
                None,
            ),
            // SPEC: the error "MUST" list what is supported, and the client "SHOULD select a
            // mutually supported version […] and retry".
            Malformed::Version(requested) => (
                ErrorCode::UNSUPPORTED_PROTOCOL_VERSION,
                "a person can be asked about this call in protocol version 2026-07-28 only",
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
}

/// Whether the client gets an answer.
enum Reply {
    Send,
    Omit,
}
