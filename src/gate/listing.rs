//! Reads the upstream's tool list: when to ask, and under which ids.
//!
//! `catalogue` keeps the list.

use std::sync::Arc;
use std::time::Duration;

use super::catalogue::{Answer, Definition, Next};
use super::held::{Era, HeldKey};
use super::list_meta::stateless_meta;
use super::output::Payload;
use super::state::{Gate, Now, PeerState};
use crate::mcp::message::RequestId;
use crate::policy::{Decision, Listing};

impl Gate {
    /// Requests the list for a waiting call, as soon as the protocol allows.
    pub(super) fn want_list(&mut self, era: Era, meta: Option<String>, now: Now) {
        self.catalogue.want(now.elapsed);
        let may_ask = match era {
            Era::Stateless => true,
            Era::Legacy => self.handshake.is_complete(),
        };
        if may_ask && self.upstream == PeerState::Open && self.catalogue.is_to_be_asked_for() {
            self.catalogue.start(meta, now.elapsed);
            self.ask_for_list(None, now);
        }
    }

    /// Requests the tool list on behalf of a held call.
    pub(super) fn want_list_for_call(&mut self, key: HeldKey, now: Now) {
        if let Some(held) = self.held.get(&key) {
            let (era, meta) = (held.era, stateless_meta(&held.call.params()));
            self.want_list(era, meta, now);
        }
    }

    /// Handles the upstream's answer to our request. Returns true if the list is now settled.
    pub(super) fn list_answered(&mut self, id: &RequestId, answer: Answer<'_>, now: Now) -> bool {
        let (next, cursor) = self.catalogue.answered(id, answer, now.elapsed);
        self.report_list_notices();
        if next == Next::Ask {
            self.ask_for_list(cursor.as_deref(), now);
        }
        next == Next::Settled
    }

    /// Returns when [`Gate::tick_list`] is due. The list is not read if nobody could use it.
    pub(super) fn list_timer(&self) -> Option<Duration> {
        let step = self.catalogue.next_step().filter(|_| self.may_read_on());
        self.catalogue.deadline().into_iter().chain(step).min()
    }

    /// Stops waiting, asks again, or asks with a number as the id, if that is due.
    pub(super) fn tick_list(&mut self, now: Now) {
        self.catalogue.expire(now.elapsed);
        self.report_list_notices();
        if !self.may_read_on() {
            return;
        }
        if self.catalogue.is_number_id_due(now.elapsed) {
            self.ask_with_number_id(now);
        }
        let Some(meta) = self.catalogue.take_retry(now.elapsed) else {
            return;
        };
        if meta.is_some() || self.handshake.is_complete() {
            self.catalogue.start(meta, now.elapsed);
            self.ask_for_list(None, now);
        } else {
            // There is no session to ask in. The first call of the next one asks.
            self.catalogue.list_changed();
        }
    }

    /// Repeats the open request once with a number as its id. The server may not understand text
    /// ids: it is silent, or its answers match no request.
    pub(super) fn ask_with_number_id(&mut self, now: Now) {
        if !self.catalogue.is_unsure_of_text_ids() || !self.may_read_on() {
            return;
        }
        let id = self.fresh_number_id();
        if let Some(request) = self.catalogue.request_with_number_id(id, now.elapsed) {
            self.relay_to_upstream(Payload::Text(request));
        }
    }

    /// Returns the policy's decision, if it needs no list or the list is settled.
    pub(super) fn decide(&mut self, name: &str, now: Now) -> Option<Decision> {
        if !self.catalogue.is_settled(now.elapsed) {
            return self.policy.decide_by_name(name);
        }
        if self.catalogue.is_unknown() {
            return Some(self.policy.decide(name, Listing::Unknown));
        }
        let Some(tool) = self.catalogue.tool_mut(name) else {
            return Some(self.policy.decide(name, Listing::Unlisted));
        };
        if let Some(decision) = &tool.decision {
            return Some(decision.clone());
        }
        let listing = Listing::Listed(tool.definition.annotations.as_ref());
        let decision = self.policy.decide(name, listing);
        tool.decision = Some(decision.clone());
        Some(decision)
    }

    /// Returns a tool's current definition, as far as it is known.
    pub(super) fn definition_of(&self, name: &str) -> Option<&Arc<Definition>> {
        self.catalogue.tool(name).map(|tool| &tool.definition)
    }

    /// Warns the operator about the list.
    pub(super) fn report_list_notices(&mut self) {
        for notice in self.catalogue.take_notices() {
            self.warn(notice);
        }
    }

    fn ask_for_list(&mut self, cursor: Option<&str>, now: Now) {
        let id = match self.catalogue.wants_number_id() {
            true => self.fresh_number_id(),
            false => self.ids.next(),
        };
        let request = self.catalogue.request(id, cursor, now.elapsed);
        self.relay_to_upstream(Payload::Text(request));
    }

    /// Returns a number as an id. INVARIANT 6: no request of the client that may still be answered
    /// has this number.
    fn fresh_number_id(&mut self) -> RequestId {
        loop {
            let id = self.ids.next_number();
            let is_used = self.in_flight.contains_key(&id)
                || self.held_by_id.contains_key(&id)
                || self.ambiguous.contains_any(&id)
                || self.catalogue.is_retired(&id)
                || self.is_ours(&id);
            if !is_used {
                return id;
            }
        }
    }

    fn may_read_on(&self) -> bool {
        self.client == PeerState::Open && self.upstream == PeerState::Open
    }
}
