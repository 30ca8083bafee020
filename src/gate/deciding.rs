//! What becomes of a tool call: passed, held, refused, or released.
//!
//! How a human is asked stands in `asking`.

use std::sync::Arc;

use super::ask::{Ask, Event};
use super::calls::TOO_MANY;
use super::from_client::ID_IN_USE;
use super::held::{AskKey, Era, Held, HeldKey, Progress, Stage};
use super::list_meta::stateless_meta;
use super::output::{NeededApproval, Payload};
use super::recording::{Call, Finding};
use super::refusal::Refusal;
use super::state::{Gate, InFlight, Now};
use crate::evidence::record::{Forwarded, Outcome};
use crate::mcp::json::Value;
use crate::mcp::message::Id;
use crate::mcp::mrtr::REQUEST_STATE;
use crate::mcp::tool::{CallError, CallToolRequestParams, KeptCall};
use crate::policy::{Action, Decision, Listing, Risk, RuleCode};

impl Gate {
    /// A `tools/call` from the client: its text, its id and whether its envelope is plain, and
    /// its parameters, if they can be read.
    pub(super) fn call_from_client(
        &mut self,
        text: &str,
        (id, is_plain): (&Id, bool),
        params: Result<CallToolRequestParams<'_>, CallError>,
        payload: Payload,
        now: Now,
    ) {
        // INVARIANT 4: what fails to parse strictly as a call but could be one is refused.
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
                return self.refuse_call(now, None, None, "its id is no string or number");
            }
            Id::Absent => {
                self.record_event(now, "refused", &[("reason", "a tools/call without an id")]);
                // SPEC, JSON-RPC 2.0: a notification is never answered.
                return self.warn("a tools/call without an id was not passed on".into());
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
            return self.refuse_call(now, Some(id.clone()), name, "it is too large to be kept");
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

    /// Time has passed for the questions.
    pub(super) fn tick_asks(&mut self, now: Now) {
        for key in self.asks.due(now.elapsed) {
            self.step(key, Event::Later, now);
        }
    }

    fn pass(&mut self, call: &Call<'_>, decision: &Decision, payload: Payload, now: Now) {
        let finding = Finding {
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
            &finding,
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
        let finding = Finding {
            outcome: Outcome::Blocked,
            risk: decision.risk,
            rule: decision.reason.code(),
            reason: &reason,
            policy_reason: None,
            forwarded: Forwarded::No,
            digest: None,
            via: None,
        };
        self.refuse(call, &finding, &Refusal::Blocked, Some(decision), now);
    }

    /// Keeps a call back.
    fn hold(&mut self, kept: KeptCall, call: &Call<'_>, now: Now) -> HeldKey {
        self.keep(Held {
            id: call.id.clone(),
            tool: Arc::from(&*call.params.name),
            call: kept,
            era: call.era,
            arrived: call.arrived,
            stage: Stage::List,
            progress: progress_of(call.params, now),
            subject: None,
            changes: 0,
            round: 0,
            has_looked_up: false,
        })
    }

    /// Keeps a call back until the tool list is settled, or refuses it where the list cannot
    /// be asked for.
    fn hold_for_list(&mut self, kept: KeptCall, call: &Call<'_>, payload: Payload, now: Now) {
        let in_time = match call.era {
            Era::Stateless => true,
            Era::Legacy => {
                self.handshake.works();
                self.handshake.is_complete() || self.handshake.is_under_way()
            }
        };
        if !in_time && self.settings.dry_run {
            let decision = self.policy.decide(&call.params.name, Listing::Unknown);
            let would = "came before the handshake; would be refused";
            return self.release_dry(call, &decision, would, payload, now);
        }
        if !in_time {
            let finding = Finding {
                outcome: Outcome::Denied,
                risk: Risk::High,
                rule: RuleCode::ListUnknown,
                reason: &Refusal::BeforeHandshake.log_reason(),
                policy_reason: None,
                forwarded: Forwarded::No,
                digest: None,
                via: None,
            };
            return self.refuse(call, &finding, &Refusal::BeforeHandshake, None, now);
        }
        self.hold(kept, call, now);
        self.want_list(call.era, stateless_meta(call.params), now);
    }

    /// Moves on every call that waits for the list, in order of arrival.
    pub(super) fn resume_waiting(&mut self, now: Now) {
        let waiting = self.held.iter().filter_map(|(key, held)| match held.stage {
            Stage::List => Some((*key, None)),
            Stage::LookedUp => None,
            Stage::Asked(ask) => {
                let is_approved = self.asks.get(ask).is_some_and(Ask::is_approved);
                is_approved.then_some((*key, Some(ask)))
            }
        });
        let waiting: Vec<(HeldKey, Option<AskKey>)> = waiting.collect();
        for (key, ask) in waiting {
            match ask {
                _ if !self.catalogue.is_settled(now.elapsed) => self.want_list_for_call(key, now),
                Some(ask) => self.step(ask, Event::Later, now),
                None => self.resume(key, now),
            }
        }
    }

    /// Decides about a call for which the list had to be known.
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

/// What a client wants to hear while its call waits.
pub(super) fn progress_of(params: &CallToolRequestParams<'_>, now: Now) -> Option<Progress> {
    params.progress_token().map(|token| {
        let mut text = String::new();
        token.write_canonical(&mut text);
        Progress::new(text, now.elapsed)
    })
}
