//! Handles lines from the upstream.
//!
//! Passes everything on as it is, except answers to the gate's own requests.

use std::collections::hash_map::Entry;

use super::catalogue::Answer;
use super::from_client::ID_IN_USE;
use super::held::Era;
use super::output::{Output, Payload};
use super::state::{Gate, InFlight, Now};
use crate::approval::display::quoted_text;
use crate::mcp::ErrorCode;
use crate::mcp::error::error_response;
use crate::mcp::json::line_text;
use crate::mcp::message::{
    Id, Kind, Line, Message, RequestId, id_at_the_ends, peek_result_id, read_line, read_message,
    with_id,
};
use crate::mcp::tool;

impl Gate {
    /// Handles a line from the upstream, without its newline.
    pub fn from_upstream(&mut self, line: &[u8], now: Now) {
        // Most results are passed on by their id alone. While a call is held they are read in full: with a second id
        // after the first, a result could pass for the held call's.
        if self.held.is_empty()
            && let Some(id) = peek_result_id(line)
            && !self.catalogue.is_asked(&id)
            && !self.catalogue.is_retired(&id)
        {
            match self.in_flight.entry(id) {
                Entry::Occupied(entry) if entry.get().is_any() => {
                    entry.remove();
                    return self.put(Output::ToClient(Payload::Frame));
                }
                Entry::Occupied(_) => {}
                Entry::Vacant(entry) => {
                    let id = entry.into_key();
                    if self.request_meant_by(&id).is_none() {
                        self.record_unasked(&id, now);
                        self.put(Output::ToClient(Payload::Frame));
                        return self.ask_with_number_id(now);
                    }
                }
            }
        }
        if let Err(why) = self.read_from_upstream(line, now) {
            self.unreadable_from_upstream(line, &why, now);
        }
    }

    /// Handles what the upstream sent after its last newline. It may be incomplete, so it is read whole or not at all.
    pub fn rest_from_upstream(&mut self, line: &[u8], now: Now) {
        if let Err(why) = self.read_from_upstream(line, now) {
            self.noise(line, &why);
        }
    }

    /// Handles a line that only more lenient readers can read. If it looks like the result of a pending request, the
    /// client gets it, as it would without us. If it contains a `requestState`, that is not one of ours. While a call
    /// is held, the line could contain that call's id as a second one, so the request fails instead.
    fn unreadable_from_upstream(&mut self, line: &[u8], why: &str, now: Now) {
        let id = peek_result_id(line).filter(|id| !self.is_ours(id));
        let expected = id.and_then(|id| self.in_flight.remove_entry(&id));
        match expected {
            Some((_, InFlight::List(asked))) if self.held.is_empty() => {
                self.put(Output::ToClient(Payload::Frame));
                // The client may be able to read more of it than we can.
                self.catalogue
                    .compare_client_listing(&asked, Some(""), now.elapsed);
                self.report_list_notices();
            }
            Some((_, InFlight::Any | InFlight::Approved(_))) if self.held.is_empty() => {
                self.put(Output::ToClient(Payload::Frame));
            }
            Some((id, _)) => {
                let message = format!("the server's answer cannot be read: {why}");
                self.send_error(Some(&id), ErrorCode::INTERNAL_ERROR, message);
                self.noise(line, why);
            }
            None => self.noise(line, why),
        }
    }

    /// Reads and handles a whole line, or returns why it cannot be read.
    fn read_from_upstream(&mut self, line: &[u8], now: Now) -> Result<(), String> {
        let text = line_text(line).map_err(|error| error.to_string())?;
        match read_line(text) {
            Ok(Line::Blank) => {}
            Ok(Line::Message(message)) => {
                self.message_from_upstream(text, &message, Payload::Frame, now);
            }
            // INVARIANT 4: a batch could contain the answer to one of our requests.
            Ok(Line::Batch(entries)) => {
                let mut unreadable = None;
                for entry in entries {
                    match read_message(entry) {
                        Ok(message) => {
                            let payload = Payload::Text(entry.to_owned());
                            self.message_from_upstream(entry, &message, payload, now);
                        }
                        Err(found) => unreadable = Some((entry, found.error)),
                    }
                }
                // One warning, however many there are.
                if let Some((entry, error)) = unreadable {
                    self.noise(entry.as_bytes(), &error.to_string());
                }
            }
            Err(unreadable) => return Err(unreadable.error.to_string()),
        }
        self.close_if_done();
        Ok(())
    }

    /// Handles a line from the upstream that is longer than the limit. Only its two ends were kept.
    pub fn overlong_from_upstream(&mut self, head: &[u8], tail: &[u8]) {
        let reason = "the server's message is larger than --max-message-size";
        let id = id_at_the_ends(head, tail);
        match id.map(|id| self.request_meant_by(&id).unwrap_or(id)) {
            Some(id) if self.in_flight.remove(&id).is_some() => {
                self.send_error(Some(&id), ErrorCode::INTERNAL_ERROR, reason.to_owned());
            }
            _ => {}
        }
        self.warn(format!("{reason}; it was dropped"));
    }

    fn message_from_upstream(
        &mut self,
        text: &str,
        message: &Message<'_>,
        payload: Payload,
        now: Now,
    ) {
        match (&message.kind, &message.id) {
            (Kind::Call { .. }, Id::Some(id)) if self.is_ours(id) => {
                let error =
                    error_response(Some(id), ErrorCode::INVALID_REQUEST, ID_IN_USE.to_owned());
                self.relay_to_upstream(Payload::Text(error));
            }
            (Kind::Call { method, .. }, id) => {
                if method == tool::LIST_CHANGED && *id == Id::Absent {
                    self.catalogue.list_changed();
                }
                self.put(Output::ToClient(payload));
            }
            (Kind::Response { result, error }, id) => {
                let answer = (*result, *error);
                let meant = id.as_ref().and_then(|id| self.request_meant_by(id));
                let renamed = meant.and_then(|id| Some((with_id(text, &id)?, id)));
                match renamed {
                    Some((line, id)) => {
                        let payload = Payload::Text(line);
                        self.response_from_upstream(Some(&id), answer, payload, now);
                    }
                    None => self.response_from_upstream(id.as_ref(), answer, payload, now),
                }
            }
        }
    }

    fn response_from_upstream(
        &mut self,
        id: Option<&RequestId>,
        (result, error): (Option<&str>, Option<&str>),
        payload: Payload,
        now: Now,
    ) {
        let Some(id) = id else {
            self.response_without_id(payload);
            return self.ask_with_number_id(now);
        };
        if self.catalogue.is_asked(id) {
            let answer = match (result, error) {
                (Some(result), None) => Answer::Result(result),
                (_, error) => Answer::Error(error),
            };
            if self.list_answered(id, answer, now) {
                self.resume_waiting(now);
            }
            return;
        }
        if self.catalogue.is_retired(id) {
            return;
        }
        if self.may_be_confused_with_held(id) {
            self.record_unasked(id, now);
            // The upstream has not seen the call, so the client must not take this for its result.
            let shown = quoted_text(&id.to_string(), ID_SHOWN);
            return self.warn(format!(
                "the server answered request {shown}, which was not sent to it; the answer was dropped"
            ));
        }
        match self.in_flight.remove(id) {
            None => {
                self.record_unasked(id, now);
                self.put(Output::ToClient(payload));
                self.ask_with_number_id(now);
            }
            Some(InFlight::List(asked)) => {
                self.put(Output::ToClient(payload));
                self.catalogue
                    .compare_client_listing(&asked, result, now.elapsed);
                self.report_list_notices();
            }
            Some(InFlight::Approved(approved)) if approved.era == Era::Stateless => {
                self.answer_to_approved(id, result, payload, *approved, now);
            }
            Some(InFlight::Any | InFlight::Approved(_)) => self.put(Output::ToClient(payload)),
            Some(InFlight::Initialize) => {
                if self.handshake.is_asked(id) {
                    self.handshake.answered(result);
                }
                self.put(Output::ToClient(payload));
                self.resume_waiting(now);
            }
        }
    }

    /// Handles a response whose id is missing, or is neither a string nor a number. Some clients take `true` for 1,
    /// `null` for 0 and `[5]` for 5, so no such response is passed on while a call is held.
    fn response_without_id(&mut self, payload: Payload) {
        if self.held.is_empty() {
            return self.put(Output::ToClient(payload));
        }
        self.warn(
            "the server sent an answer without a usable id while a call waits; it was dropped"
                .into(),
        );
    }

    /// Returns the one request that an answer under this id can be for, if no request has exactly this id: some servers
    /// turn numbers into text, or text into numbers. The client gets the answer under the id that it used.
    ///
    /// INVARIANT 6: never a held call. The server has not seen it. An answer that a client could take for the held
    /// call's is not renamed but dropped, like any other such answer.
    fn request_meant_by(&self, id: &RequestId) -> Option<RequestId> {
        let is_exact = self.in_flight.contains_key(id)
            || self.catalogue.is_asked(id)
            || self.catalogue.is_retired(id);
        let twin = id.twin().filter(|_| !is_exact)?;
        let is_meant = self.in_flight.contains_key(&twin) || self.catalogue.is_asked(&twin);
        (is_meant && !self.held_by_id.may_be_confused_with(id)).then_some(twin)
    }

    /// Returns true if the client could take an answer under this id for that of a held call.
    fn may_be_confused_with_held(&self, id: &RequestId) -> bool {
        if self.held_by_id.contains_key(id) {
            return true;
        }
        // The client does not confuse an id with a held one if it exactly matches another request.
        !self.in_flight.contains_key(id) && self.held_by_id.may_be_confused_with(id)
    }

    /// Warns about a line that is not a message, and drops it.
    fn noise(&mut self, line: &[u8], why: &str) {
        let start = line.get(..NOISE_SHOWN).unwrap_or(line);
        let shown = quoted_text(&String::from_utf8_lossy(start), NOISE_SHOWN);
        self.warn(format!(
            "the server wrote a line to stdout that is not an MCP message ({why}): {shown}"
        ));
    }
}

/// How much of a line that is not a message is shown to the operator.
const NOISE_SHOWN: usize = 200;
/// How much of an id is shown.
const ID_SHOWN: usize = 100;
