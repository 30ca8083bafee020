//! The ends of a call: released or refused, each with its line in the log.
//!
//! Which end a call comes to is decided in `deciding` and `asking`.

use std::time::Duration;

use rmcp::model::ErrorCode;

use super::deciding::with_params;
use super::held::{Era, Failed, Held, HeldKey, Via};
use super::output::{NeededApproval, Output, Payload, Ticket};
use super::permit::Permitted;
use super::refusal::{Explanation, Refusal, refused_result};
use super::state::{Gate, InFlight, Now};
use crate::approval::digest::CallDigest;
use crate::approval::item::{Assurance, Choice};
use crate::audit::record::{Decided, Forwarded, Line, Outcome};
use crate::mcp::message::RequestId;
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
    pub(super) via: Option<Via>,
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
            approver: None,
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
        via: Via,
        now: Now,
    ) {
        let call = call.map(|digest| format!("sha256:{digest}"));
        let key = self.settings.key_behind(via.assurance).map(str::to_owned);
        let members = [
            ("call", call.as_deref()),
            ("reason", reason),
            ("engine", Some(via.engine)),
            ("assurance", via.assurance.map(Assurance::as_str)),
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
        let Failed {
            outcome,
            refusal,
            via,
            log,
        } = failed;
        let asked_as = held.asked_as.as_ref();
        let unasked = Decision {
            action: Action::Ask,
            risk: Risk::High,
            reason: Reason::ListUnknown,
        };
        let decision = asked_as.map_or(&unasked, |asked_as| &asked_as.decision);
        let reason = log.clone().unwrap_or_else(|| refusal.log_reason());
        let policy_reason = asked_as.map(|asked_as| asked_as.decision.reason.text());
        let finding = Finding {
            outcome: *outcome,
            risk: decision.risk,
            rule: decision.reason.code(),
            reason: &reason,
            policy_reason: policy_reason.as_deref(),
            forwarded: Forwarded::No,
            digest: asked_as.map(|asked_as| asked_as.digest),
            via: *via,
        };
        let read = with_params(&held.text, |params| {
            let call = Call {
                id: &held.id,
                params,
                era: held.era,
                arrived: held.arrived,
            };
            match told {
                Told::Yes => self.refuse(&call, &finding, refusal, Some(decision), now),
                Told::No => {
                    let line = self.line(&call, &finding, now);
                    self.put(Output::Record(line));
                }
            }
        });
        if read.is_none() {
            return self.refuse_unread(held, now);
        }
        if let (Some(asked_as), Some(via), Outcome::Denied) = (asked_as, via, outcome) {
            let words = if let Refusal::Denied { reason } = refusal {
                reason.as_deref()
            } else {
                // Something else than the person's no, in the log's words.
                Some(&*reason)
            };
            self.tell_history(held, asked_as, (Choice::Deny, words), *via, now);
        }
    }

    /// A held call that cannot be read again, which cannot be: refused all the same.
    pub(super) fn refuse_unread(&mut self, held: &Held, now: Now) {
        let why = "the call cannot be read";
        self.refuse_call(now, Some(held.id.clone()), Some(&held.tool), why);
    }

    /// A held call cannot go on through nobody's decision: recorded as an error, answered with
    /// one.
    pub(super) fn fail_held(&mut self, key: HeldKey, why: &str, now: Now) {
        let Some(held) = self.take_held(key) else {
            return;
        };
        self.leave_question(&held, key);
        let failed = Failed::new(Outcome::Error, Refusal::Cancelled).logged(why);
        self.record_refused(&held, &failed, now);
        let code = ErrorCode::INTERNAL_ERROR;
        self.send_error(Some(&held.id), code, format!("the call was not run: {why}"));
    }
}

/// Whether the client hears of a refusal.
enum Told {
    Yes,
    No,
}
