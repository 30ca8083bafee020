//! The ends of a call: released or refused, each with its line in the log.
//!
//! Which end a call comes to is decided in `deciding` and `ask`.

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

/// A call that is being looked at, wherever its text is kept.
pub(super) struct Call<'a> {
    pub(super) id: &'a RequestId,
    pub(super) params: &'a CallToolRequestParams<'a>,
    pub(super) era: Era,
    pub(super) arrived: Duration,
}

/// What the log says of a call beside what it is.
pub(super) struct Finding<'a> {
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
    /// Dry run: says what would happen, and lets the call through.
    pub(super) fn release_dry(
        &mut self,
        call: &Call<'_>,
        decision: &Decision,
        would: &str,
        payload: Payload,
        now: Now,
    ) {
        let finding = Finding {
            outcome: Outcome::DryRun,
            risk: decision.risk,
            rule: decision.reason.code(),
            reason: &format!("{would}: {}", decision.reason),
            policy_reason: None,
            forwarded: Forwarded::Yes,
            digest: None,
            via: None,
        };
        // Nobody is asked, but the log is what a dry run is for: best effort is not enough.
        let approval = NeededApproval::DryRun;
        self.release(call, &finding, payload, approval, InFlight::Any, now);
    }

    /// INVARIANT 1: the one way by which a call leaves the gate, always with its line.
    pub(super) fn release(
        &mut self,
        call: &Call<'_>,
        finding: &Finding<'_>,
        payload: Payload,
        approval: NeededApproval,
        expected: InFlight,
        now: Now,
    ) {
        self.in_flight.insert(call.id.clone(), expected);
        let line = self.line(call, finding, now);
        self.put(Output::Release {
            line,
            payload: Permitted::new(payload),
            ticket: Ticket {
                id: call.id.clone(),
                tool: call.params.name.to_string(),
                era: call.era,
                approval,
                explanation: self.explanation(
                    finding.risk,
                    finding.rule,
                    finding.policy_reason.unwrap_or(finding.reason),
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

    /// Records a refusal and tells the client.
    pub(super) fn refuse(
        &mut self,
        call: &Call<'_>,
        finding: &Finding<'_>,
        refusal: &Refusal,
        decision: Option<&Decision>,
        now: Now,
    ) {
        let line = self.line(call, finding, now);
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

    fn line(&mut self, call: &Call<'_>, finding: &Finding<'_>, now: Now) -> Line {
        self.time.set(now.unix_ms);
        let memory = self.line_memory.pop().unwrap_or_default();
        let record = Decided {
            time: &self.time,
            origin: &self.origin,
            tool: &call.params.name,
            args: call.params.arguments(),
            outcome: finding.outcome,
            risk: finding.risk,
            rule: finding.rule,
            reason: finding.reason,
            policy_reason: finding.policy_reason,
            mode: self.policy.mode(),
            dry_run: self.settings.dry_run,
            forwarded: finding.forwarded,
            duration: now.elapsed.saturating_sub(call.arrived),
            request_id: Some(call.id),
            call: finding.digest,
            engine: finding.via.map(|via| via.engine),
            assurance: finding.via.and_then(|via| via.assurance),
            approver: finding.via.and_then(|via| via.approver.as_deref()),
            inbox_key: finding
                .via
                .and_then(|via| self.settings.key_behind(via.assurance)),
            covers: finding.via.map_or(Duration::ZERO, |via| via.covers),
            answered: finding.via.and_then(|via| via.answered),
        };
        Line::decided(&record, &mut self.fate, memory)
    }

    /// Records the first of two yeses: the second may never come, or be a no.
    pub(super) fn record_first_yes(
        &mut self,
        call: Option<CallDigest>,
        reason: Option<&str>,
        via: &Via,
        now: Now,
    ) {
        let call = call.map(|digest| format!("sha256:{digest}"));
        let key = self.settings.key_behind(via.assurance).map(str::to_owned);
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

    /// Records a call that was refused before it could be held, so without its arguments.
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
            // No rule of the policy was asked.
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
        let line = Line::decided(&record, &mut self.fate, String::new());
        self.put(Output::Record(line));
    }

    /// Records and tells that a held call, already taken out, is refused.
    pub(super) fn tell_refused(&mut self, held: &Held, failed: &Failed, now: Now) {
        self.finish_refused(held, failed, Told::Yes, now);
    }

    /// Records that a held call, already taken out, is refused; the client is not told.
    pub(super) fn record_refused(&mut self, held: &Held, failed: &Failed, now: Now) {
        self.finish_refused(held, failed, Told::No, now);
    }

    fn finish_refused(&mut self, held: &Held, failed: &Failed, told: Told, now: Now) {
        let subject = held.subject.as_deref();
        let unasked = Decision {
            action: Action::Ask,
            risk: Risk::High,
            reason: Reason::ListUnknown,
        };
        let decision = subject.map_or(&unasked, |subject| &subject.decision);
        let reason = failed.words();
        let policy_reason = subject.map(|subject| subject.decision.reason.text());
        let finding = Finding {
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
        match told {
            Told::Yes => self.refuse(&call, &finding, &failed.refusal, Some(decision), now),
            Told::No => {
                let line = self.line(&call, &finding, now);
                self.put(Output::Record(line));
            }
        }
    }

    /// Records and tells that a held call, already taken out, cannot go on through nobody's decision.
    pub(super) fn tell_failed(&mut self, held: &Held, why: &str, now: Now) {
        let failed = Failed::new(Outcome::Error, Refusal::Cancelled).logged(why);
        self.record_refused(held, &failed, now);
        let code = ErrorCode::INTERNAL_ERROR;
        self.send_error(Some(&held.id), code, format!("the call was not run: {why}"));
    }

    /// Records what a person decided about a question that no call waits for just now.
    pub(super) fn record_kept_verdict(
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
        // Of the inbox, it always was so.
        let is_other = engine != EngineId::INBOX;
        members.extend(is_other.then_some(("engine", engine.name())));
        members.extend(verdict.approver.as_deref().map(|name| ("approver", name)));
        let key = self.settings.key_behind(Some(verdict.assurance));
        let key = key.map(str::to_owned);
        members.extend(key.iter().map(|key| ("inbox_key", &**key)));
        self.record_event(now, "parked_verdict", &members);
    }

    /// Refuses a call that cannot be read safely or may not be sent: to its id, if it has one.
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
}

/// Whether the client hears of a refusal.
enum Told {
    Yes,
    No,
}
