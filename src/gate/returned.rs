//! Handles the restart of a server behind HTTP: what was known of it no longer counts, and calls that it certainly did
//! not take come back.
//!
//! `http` detects the restart. A returned call has not run, so it is decided again, by what the server says now.

use std::sync::Arc;

use super::ask::Event;
use super::calls::TOO_MANY;
use super::handshake::Offers;
use super::held::{Approved, Held, WaitsFor};
use super::output::Payload;
use super::state::{Gate, InFlight, Now, PeerState};
use crate::approval::digest::CallDigest;
use crate::mcp::ErrorCode;
use crate::mcp::message::{Id, Kind, RequestId, read_message};
use crate::mcp::tool::{CallToolRequestParams, KeptCall};

impl Gate {
    /// Allows the upstream to return calls that it has not taken: see [`Gate::call_returned`].
    pub fn expect_returned_calls(&mut self) {
        self.may_return_calls = true;
    }

    /// Notes that the upstream lost its session and a new one began. Its tools may have changed.
    pub fn upstream_restarted(&mut self, why: &str, now: Now) {
        self.record_event(now, "restarted", &[("reason", why)]);
        self.warn(format!(
            "the server lost the session, and a new one has begun: {why}"
        ));
        self.catalogue.list_changed();
    }

    /// Handles a released call that comes back as it was sent, because the upstream certainly did not take it. If it
    /// may go again, it is decided again and gets a record of its own. An approval still counts if the tool is what was
    /// shown.
    pub fn call_returned(&mut self, line: &str, why: &str, may_go_again: bool, now: Now) {
        let Ok(message) = read_message(line) else {
            return;
        };
        let Id::Some(id) = &message.id else {
            return;
        };
        // The client cancelled the call, so it needs no answer.
        let Some(expected) = self.in_flight.remove(id) else {
            return;
        };
        let Kind::Call { params, tree, .. } = message.kind else {
            return;
        };
        let params = CallToolRequestParams::read(params, tree);
        self.record_returned(id, why, now);
        if !may_go_again || self.client == PeerState::Gone || self.upstream == PeerState::Gone {
            return self.not_taken(id, why);
        }
        match (expected, params) {
            (InFlight::Approved(approved), Ok(params)) if approved.may_be_confirmed() => {
                self.confirm_again(line, id, *approved, &params, now);
            }
            (InFlight::Any | InFlight::Approved(_), params) => {
                let envelope = (&message.id, message.is_plain);
                let payload = Payload::Text(line.to_owned());
                self.call_from_client(line, envelope, params, payload, now);
            }
            (InFlight::Initialize | InFlight::List(_), _) => self.not_taken(id, why),
        }
    }

    /// INVARIANT 2: an approved call goes again only if it and its tool are still what was shown.
    fn confirm_again(
        &mut self,
        line: &str,
        id: &RequestId,
        approved: Approved,
        params: &CallToolRequestParams<'_>,
        now: Now,
    ) {
        let Approved {
            era,
            subject,
            approval,
            round,
        } = approved;
        let digest = CallDigest::of(&self.settings.server, params, subject.of_tool());
        if digest != subject.digest {
            return self.not_taken(id, "it is not the call that was approved");
        }
        if round > 0 {
            // Its first part ran in the lost session.
            return self.not_taken(id, "the server restarted in the middle of it");
        }
        let Some(call) = KeptCall::new(line, params) else {
            return self.not_taken(id, "it is too large to hold");
        };
        if self.is_full(call.bytes()) {
            return self.not_taken(id, TOO_MANY);
        }
        let key = self.keep(Held {
            id: id.clone(),
            tool: subject.tool.clone(),
            call,
            era,
            arrived: now.elapsed,
            waits_for: WaitsFor::ToolList,
            progress: None,
            subject: Some(Arc::clone(&subject)),
            changes: 0,
            round,
            has_looked_up: false,
        });
        let offers = Offers::of(params.client_capabilities());
        self.begin(key, subject, offers, Event::Approved(approval), now);
    }

    fn not_taken(&mut self, id: &RequestId, why: &str) {
        let why = format!("the call was not run: {why}");
        self.send_error(Some(id), ErrorCode::INTERNAL_ERROR, why);
    }

    /// Records that a call was not taken. The call's own record, with the same `request_id`, says `forwarded`.
    fn record_returned(&mut self, id: &RequestId, why: &str, now: Now) {
        let id = id.to_string();
        let members = [("request_id", id.as_str()), ("reason", why)];
        self.record_event(now, "returned", &members);
    }
}

impl Approved {
    /// Returns true if the yes can be checked against the tool's current definition. If the list was not known, nobody
    /// was shown the tool, so the call is decided from the beginning. A call that has run in part is never decided
    /// again.
    fn may_be_confirmed(&self) -> bool {
        self.subject.is_list_known || self.round > 0
    }
}
