//! Decides what happens to a tool call: passed, held, refused or released.
//!
//! `asking` asks people.

use std::sync::Arc;

use super::ask::{Ask, Event};
use super::calls::TOO_MANY;
use super::from_client::ID_IN_USE;
use super::held::{AskKey, Era, Held, HeldKey, Progress, WaitsFor};
use super::list_meta::stateless_meta;
use super::output::{NeededApproval, Payload};
use super::recording::{Call, RecordDetails};
use super::refusal::Refusal;
use super::state::{Gate, InFlight, Now};
use crate::evidence::record::{Forwarded, Outcome};
use crate::mcp::json::Value;
use crate::mcp::message::Id;
use crate::mcp::mrtr::REQUEST_STATE;
use crate::mcp::tool::{CallError, CallToolRequestParams, KeptCall};
use crate::policy::{Action, Decision, Listing, Risk, RuleCode};

impl Gate {
    /// Handles a `tools/call` from the client: its text, its id, whether its envelope is plain, and
    /// its parameters, if they can be read.
    pub(super) fn call_from_client(
        &mut self,
        text: &str,
        (id, is_plain): (&Id, bool),
        params: Result<CallToolRequestParams<'_>, CallError>,
        payload: Payload,
        now: Now,
    ) {
        // INVARIANT 4: a message that may be a call but does not parse strictly as one is refused.
        let id = match id {
            Id::Some(id) if id.is_too_long() => {
                return self.refuse_call(now, None, None, "its id is longer than 1,024 bytes");
            }
            Id::Some(id) if id.is_usable() => id,
            Id::Some(id) => {
                return self.refuse_call(
                    now,
                    Some(id.clone()),
                    None,
                    "its id is not a whole number",
                );
            }
            Id::Unusable => {
                return self.refuse_call(
                    now,
                    None,
                    None,
                    "its id is neither a string nor a number",
                );
            }
            Id::Absent => {
                self.record_event(now, "refused", &[("reason", "a tools/call without an id")]);
                // SPEC, JSON-RPC 2.0: a notification is never answered.
                return self.warn("a `tools/call` without an id was dropped".into());
            }
        };
        let params = match params {
            Ok(params) => params,
            Err(error) => return self.refuse_call(now, Some(id.clone()), None, &error.to_string()),
        };
        let name = Some(&*params.name);
        if !is_plain {
            let why = "its envelope is not plain JSON-RPC 2.0";
            return self.refuse_call(now, Some(id.clone()), name, why);
        }
        if self.held_by_id.contains_key(id) || self.in_flight.contains_key(id) || self.is_ours(id) {
            return self.refuse_call(now, Some(id.clone()), name, ID_IN_USE);
        }
        if self.in_flight.len() >= self.settings.max_pending {
            return self.refuse_call(now, Some(id.clone()), name, TOO_MANY);
        }
        self.tick_asks(now);
        let era = match params.protocol_version() {
            Some(_) => Era::Stateless,
            None => Era::Legacy,
        };
        let call = Call {
            id,
            params: &params,
            era,
            arrived: now.elapsed,
        };
        if let Some(Value::String(state)) = params.get(REQUEST_STATE)
            && let Some(state) = self.sealer.open(&state.decode())
        {
            return self.retry_from_client(text, &call, &state, now);
        }
        let decision = self.decide(&params.name, now);
        match decision {
            Some(decision) if decision.action == Action::Pass => {
                return self.pass(&call, &decision, payload, now);
            }
            Some(decision) if decision.action == Action::Block => {
                return self.block(&call, &decision, payload, now);
            }
            Some(_) | None => {}
        }
        let Some(kept) = KeptCall::new(text, &params) else {
            return self.refuse_call(now, Some(id.clone()), name, "it is too large to hold");
        };
        if self.is_full(kept.bytes()) {
            return self.refuse_call(now, Some(id.clone()), name, TOO_MANY);
        }
        match decision {
            Some(decision) => {
                let key = self.hold(kept, &call, now);
                self.ask_about(key, call.params, decision, now);
            }
            None => self.hold_for_list(kept, &call, payload, now),
        }
    }

    /// Handles questions whose time has come.
    pub(super) fn tick_asks(&mut self, now: Now) {
        for key in self.asks.due(now.elapsed) {
            self.step(key, Event::Tick, now);
        }
    }

    fn pass(&mut self, call: &Call<'_>, decision: &Decision, payload: Payload, now: Now) {
        let details = RecordDetails {
            outcome: Outcome::Passed,
            risk: decision.risk,
            rule: decision.reason.code(),
            reason: &decision.reason.text(),
            policy_reason: None,
            forwarded: Forwarded::Yes,
            digest: None,
            via: None,
        };
        self.release(
            call,
            &details,
            payload,
            NeededApproval::No,
            InFlight::Any,
            now,
        );
    }

    fn block(&mut self, call: &Call<'_>, decision: &Decision, payload: Payload, now: Now) {
        if self.settings.dry_run {
            return self.release_dry(call, decision, "would be blocked", payload, now);
        }
        let reason = decision.reason.text();
        let details = RecordDetails {
            outcome: Outcome::Blocked,
            risk: decision.risk,
            rule: decision.reason.code(),
            reason: &reason,
            policy_reason: None,
            forwarded: Forwarded::No,
            digest: None,
            via: None,
        };
        self.refuse(call, &details, &Refusal::Blocked, Some(decision), now);
    }

    /// Holds a call back.
    fn hold(&mut self, kept: KeptCall, call: &Call<'_>, now: Now) -> HeldKey {
        self.keep(Held {
            id: call.id.clone(),
            tool: Arc::from(&*call.params.name),
            call: kept,
            era: call.era,
            arrived: call.arrived,
            waits_for: WaitsFor::ToolList,
            progress: progress_of(call.params, now),
            subject: None,
            changes: 0,
            round: 0,
            has_looked_up: false,
        })
    }

    /// Holds a call back until the tool list is settled, or refuses it if the list cannot be
    /// requested.
    fn hold_for_list(&mut self, kept: KeptCall, call: &Call<'_>, payload: Payload, now: Now) {
        let in_time = match call.era {
            Era::Stateless => true,
            Era::Legacy => {
                self.handshake.request_sent();
                self.handshake.is_complete() || self.handshake.is_under_way()
            }
        };
        if !in_time && self.settings.dry_run {
            let decision = self.policy.decide(&call.params.name, Listing::Unknown);
            let would = "came before the handshake; would be refused";
            return self.release_dry(call, &decision, would, payload, now);
        }
        if !in_time {
            let details = RecordDetails {
                outcome: Outcome::Denied,
                risk: Risk::High,
                rule: RuleCode::ListUnknown,
                reason: &Refusal::BeforeHandshake.log_reason(),
                policy_reason: None,
                forwarded: Forwarded::No,
                digest: None,
                via: None,
            };
            return self.refuse(call, &details, &Refusal::BeforeHandshake, None, now);
        }
        self.hold(kept, call, now);
        self.want_list(call.era, stateless_meta(call.params), now);
    }

    /// Continues every call that waits for the list, in order of arrival.
    pub(super) fn resume_waiting(&mut self, now: Now) {
        let waiting = self
            .held
            .iter()
            .filter_map(|(key, held)| match held.waits_for {
                WaitsFor::ToolList => Some((*key, None)),
                WaitsFor::Lookup => None,
                WaitsFor::Ask(ask) => {
                    let is_approved = self.asks.get(ask).is_some_and(Ask::is_approved);
                    is_approved.then_some((*key, Some(ask)))
                }
            });
        let waiting: Vec<(HeldKey, Option<AskKey>)> = waiting.collect();
        for (key, ask) in waiting {
            match ask {
                _ if !self.catalogue.is_settled(now.elapsed) => self.want_list_for_call(key, now),
                Some(ask) => self.step(ask, Event::Tick, now),
                None => self.resume(key, now),
            }
        }
    }

    /// Decides about a call that needed the list.
    fn resume(&mut self, key: HeldKey, now: Now) {
        let Some(name) = self.held.get(&key).map(|held| held.tool.clone()) else {
            return;
        };
        let Some(decision) = self.decide(&name, now) else {
            return;
        };
        match decision.action {
            Action::Ask => self.ask_about_held(key, decision, now),
            Action::Pass => self.with_taken(key, |gate, call, text| {
                gate.pass(call, &decision, Payload::Text(text), now);
            }),
            Action::Block => self.with_taken(key, |gate, call, text| {
                gate.block(call, &decision, Payload::Text(text), now);
            }),
        }
    }
}

/// Returns the progress notifications that a client asked for with its call.
pub(super) fn progress_of(params: &CallToolRequestParams<'_>, now: Now) -> Option<Progress> {
    params.progress_token().map(|token| {
        let mut text = String::new();
        token.write_canonical(&mut text);
        Progress::new(text, now.elapsed)
    })
}
