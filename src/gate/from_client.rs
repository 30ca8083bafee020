//! Handles lines from the client.
//!
//! `deciding` handles tool calls.

use super::ask::Event;
use super::calls::TOO_MANY;
use super::catalogue::ListRequest;
use super::held::HeldKey;
use super::output::Payload;
use super::refusal::Refusal;
use super::state::{Gate, InFlight, Now};
use super::verdict::Failed;
use crate::approval::cache::ApprovalCache;
use crate::evidence::record::Outcome;
use crate::mcp::ErrorCode;
use crate::mcp::elicit::read_answer;
use crate::mcp::first_request::FirstRequest;
use crate::mcp::json::{Value, line_text};
use crate::mcp::lenient::fold;
use crate::mcp::message::{
    Id, Kind, Line, Message, MessageError, RequestId, Unreadable, id_at_the_ends, read_line,
    read_message,
};
use crate::mcp::roots;
use crate::mcp::tool::{self, CallToolRequestParams};

impl Gate {
    /// Handles a line from the client, without its newline.
    pub fn from_client(&mut self, line: &[u8], now: Now) {
        let read = line_text(line)
            .map_err(|error| Unreadable {
                id: None,
                error: error.into(),
            })
            .and_then(|text| Ok((text, read_line(text)?)));
        match read {
            Err(unreadable) => self.refuse_unreadable(&unreadable, now),
            Ok((_, Line::Blank)) => {}
            Ok((text, Line::Message(message))) => {
                self.message_from_client(text, message, Payload::Frame, now);
            }
            Ok((_, Line::Batch(entries))) => self.batch_from_client(&entries, now),
        }
        self.close_if_done();
    }

    /// Answers a request with the error `why`, because there is no server.
    pub fn request_without_upstream(&mut self, request: &FirstRequest, why: &str, now: Now) {
        if request.method == tool::CALL {
            self.record_event(now, "refused", &[("reason", why)]);
        }
        self.send_error(Some(&request.id), ErrorCode::INTERNAL_ERROR, why.to_owned());
    }

    /// Handles a line from the client that is longer than the limit. Only its two ends were kept.
    pub fn overlong_from_client(&mut self, head: &[u8], tail: &[u8], now: Now) {
        let id = id_at_the_ends(head, tail);
        let reason = "the message is larger than --max-message-size";
        self.record_event(now, "refused", &[("reason", reason)]);
        self.send_error(id.as_ref(), ErrorCode::INVALID_REQUEST, reason.to_owned());
    }

    /// Handles a batch. INVARIANT 4: entry by entry, so that no call hides among other entries.
    fn batch_from_client(&mut self, entries: &[&str], now: Now) {
        if entries.is_empty() {
            let message = "a batch must not be empty".to_owned();
            self.record_event(now, "refused", &[("reason", &message)]);
            self.send_error(None, ErrorCode::INVALID_REQUEST, message);
            return;
        }
        for entry in entries {
            match read_message(entry) {
                Ok(message) => {
                    let payload = Payload::Text((*entry).to_owned());
                    self.message_from_client(entry, message, payload, now);
                }
                Err(unreadable) => self.refuse_unreadable(&unreadable, now),
            }
        }
    }

    /// Refuses a message that cannot be read, or that two readers could read differently.
    fn refuse_unreadable(&mut self, unreadable: &Unreadable, now: Now) {
        let code = match unreadable.error {
            MessageError::Json(_) => ErrorCode::PARSE_ERROR,
            MessageError::NotAnObject
            | MessageError::FoldedKey(_)
            | MessageError::NoKind
            | MessageError::TwoKinds
            | MessageError::TooManyMembers
            | MessageError::TooManyEntries
            | MessageError::MethodNotAString => ErrorCode::INVALID_REQUEST,
        };
        let message = format!(
            "approval-proxy cannot read this message safely: {}",
            unreadable.error
        );
        self.record_event(now, "refused", &[("reason", &message)]);
        self.send_error(unreadable.id.as_ref(), code, message);
    }

    fn message_from_client(
        &mut self,
        text: &str,
        message: Message<'_>,
        payload: Payload,
        now: Now,
    ) {
        match message.kind {
            Kind::Call {
                method,
                params,
                tree,
            } => match &*method {
                tool::CALL => {
                    let params = CallToolRequestParams::read(params, tree);
                    let envelope = (&message.id, message.is_plain);
                    self.call_from_client(text, envelope, params, payload, now);
                }
                // INVARIANT 4: a method that some reader could take for `tools/call` is not treated
                // as another method.
                other if could_be_call(other) => {
                    let message =
                        "the method is not `tools/call`, but some servers could take it for that";
                    self.refuse_call(now, id_of_call(text), None, message);
                }
                other => self.other_from_client(other, &message.id, params, payload, now),
            },
            Kind::Response { result, error } => {
                self.response_from_client(&message.id, result, error, payload, now);
            }
        }
    }

    /// Handles a request that is not a tool call, or a notification.
    fn other_from_client(
        &mut self,
        method: &str,
        id: &Id,
        params: Option<&str>,
        payload: Payload,
        now: Now,
    ) {
        match (method, id) {
            ("notifications/initialized", Id::Absent) => {
                self.handshake.initialized();
                self.relay_to_upstream(payload);
                self.resume_waiting(now);
            }
            (roots::LIST_CHANGED, Id::Absent) => {
                self.forget_roots();
                self.relay_to_upstream(payload);
            }
            ("notifications/cancelled", Id::Absent) => self.cancelled(params, payload, now),
            (_, Id::Some(id)) => self.request_from_client(method, id, params, payload, now),
            // SPEC: requests with `id: null` do not exist. The upstream decides what to do with
            // one.
            (_, Id::Absent | Id::Unusable) => self.relay_to_upstream(payload),
        }
    }

    fn request_from_client(
        &mut self,
        method: &str,
        id: &RequestId,
        params: Option<&str>,
        payload: Payload,
        now: Now,
    ) {
        // The id is remembered, so its length must be limited.
        if id.is_too_long() {
            let why = "the id of this request is longer than 1,024 bytes";
            return self.send_error(Some(id), ErrorCode::INVALID_REQUEST, why.to_owned());
        }
        // If a held call had the same id, nobody could tell whose answer is whose.
        if self.is_ours(id) || self.held_by_id.contains_key(id) {
            return self.send_error(Some(id), ErrorCode::INVALID_REQUEST, ID_IN_USE.to_owned());
        }
        if self.in_flight.len() >= self.settings.max_pending {
            return self.send_error(Some(id), ErrorCode::INTERNAL_ERROR, TOO_MANY.to_owned());
        }
        let expected = match method {
            "initialize" => {
                self.begin_session(id, params, now);
                InFlight::Initialize
            }
            tool::LIST => InFlight::List(Box::new(ListRequest::read(params))),
            _ => InFlight::Any,
        };
        if method != "initialize" && method != "ping" {
            self.handshake.request_sent();
        }
        if self.in_flight.insert(id.clone(), expected).is_some() {
            self.ambiguous.add(id.clone());
        }
        self.relay_to_upstream(payload);
    }

    /// Begins a session of the client: the first, or another one.
    fn begin_session(&mut self, id: &RequestId, params: Option<&str>, now: Now) {
        self.handshake.initialize(id, params, now.elapsed);
        // What was listed before may not hold for this client.
        self.catalogue.session_begins();
        // Approvals of an earlier session do not cover calls of this one.
        self.cache = ApprovalCache::new(self.settings.approval_ttl);
        self.abandon_session(now);
    }

    fn cancelled(&mut self, params: Option<&str>, payload: Payload, now: Now) {
        let id = params
            .and_then(|text| Value::parse(text).ok())
            .and_then(|params| RequestId::read(params.get("requestId")?));
        if let Some(id) = id {
            if let Some(key) = self.held_by_id.get(&id).copied() {
                // The upstream has never seen the call.
                return self.cancel_held(key, now);
            }
            // SPEC: the receiver SHOULD NOT answer a cancelled request. A late answer is passed on
            // all the same.
            if self.in_flight.remove(&id).is_some() {
                self.ambiguous.add(id);
            }
        }
        self.relay_to_upstream(payload);
    }

    fn response_from_client(
        &mut self,
        id: &Id,
        result: Option<&str>,
        error: Option<&str>,
        payload: Payload,
        now: Now,
    ) {
        // INVARIANT 6: an answer counts only here, from the side that was asked.
        if let Some(id) = id.as_ref() {
            // An answer at or after the deadline is late, even if it is read before the tick.
            self.tick_asks(now);
            if let Some(key) = self.asks.of_prompt(id) {
                self.retired_prompts.add(id.clone());
                return self.step(key, Event::Answered(read_answer(result, error)), now);
            }
            if self.invitations.item_of(id).is_some() {
                if let Some((key, event)) = self.answer_invitation(id, result, now) {
                    self.step(key, event, now);
                }
                return;
            }
            if self.roots.is_asked(id) {
                self.retired_prompts.add(id.clone());
                return self.roots_answered(result, now);
            }
            if self.retired_prompts.contains(id) {
                return self.warn("an answer to a prompt came too late and was ignored".into());
            }
        }
        self.relay_to_upstream(payload);
    }

    /// Handles the client's cancellation of a held call.
    ///
    /// SPEC: "Receivers of cancellation notifications SHOULD […] not send a response for the
    /// cancelled request".
    fn cancel_held(&mut self, key: HeldKey, now: Now) {
        let Some(held) = self.take_held(key) else {
            return;
        };
        self.resume_lookups.take(key);
        self.leave_question(&held, key, true, now);
        let failed = Failed::new(Outcome::Cancelled, Refusal::Cancelled);
        self.record_refused(&held, &failed.with_log_text("cancelled by the client"), now);
    }
}

pub(super) const ID_IN_USE: &str = "another request with this id is still waiting";

/// Returns true if a reader that is lenient about names or slashes could take a method for
/// `tools/call`.
fn could_be_call(method: &str) -> bool {
    let folded = fold(method);
    let parts: Vec<&str> = folded.split('/').filter(|part| !part.is_empty()).collect();
    parts.join("/") == tool::CALL
}

fn id_of_call(text: &str) -> Option<RequestId> {
    read_message(text).ok()?.id.as_ref().cloned()
}
