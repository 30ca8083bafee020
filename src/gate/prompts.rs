//! Delivers questions in the client: `elicitation/create` in a session, the answer to the call in 2026-07-28.
//!
//! `ask` decides which question is asked when.

use std::sync::Arc;
use std::time::Duration;

use super::ask::{Ask, AskedFor, Event};
use super::handshake::{client_name, client_title};
use super::held::{AskKey, Era, Held};
use super::output::{Output, Payload};
use super::state::{Gate, Now};
use crate::approval::prompt::hints_text;
use crate::approval::request::ApprovalRequest;
use crate::approval::request_state::RequestState;
use crate::mcp::elicit::create_request;
use crate::mcp::json::Value;
use crate::mcp::message::RequestId;
use crate::mcp::mrtr;
use crate::mcp::revision::STATELESS;
use crate::mcp::tool::{CallToolRequestParams, KeptCall};

impl Gate {
    /// Sends a question's prompt under this id. Returns true if the prompt cannot show the whole call.
    pub(super) fn send_prompt(&mut self, key: AskKey, id: RequestId) -> bool {
        let (Ok(format), Some(request)) = (
            self.handshake.elicitation_format(),
            self.request_of(key, None),
        ) else {
            return false;
        };
        let ask = self.asks.get(key);
        let inbox_shows_all = ask.is_some_and(|ask| ask.can_list_in_inbox_too(&self.settings));
        let message = request.message(inbox_shows_all);
        let request = create_request(&id, &message.text, format);
        self.put(Output::ToClient(Payload::Text(request)));
        message.is_cut
    }

    /// Answers a call, already taken out, with its question. Also returns whether the prompt cannot show the whole
    /// call.
    pub(super) fn send_question(
        &mut self,
        key: AskKey,
        held: Held,
        now: Now,
    ) -> Option<(Event, bool)> {
        let inbox_shows_all = self.asks.get(key)?.can_list_in_inbox_too(&self.settings);
        let message = self
            .request_of(key, Some(&held.call))?
            .message(inbox_shows_all);
        let (nonce, sealed) = self.seal_state(key, now)?;
        let question = mrtr::question(&held.id, &message.text, &sealed);
        self.send_to_client(question);
        let sent = Event::Sent {
            nonce,
            call: held,
            asked: AskedFor::Answer,
        };
        Some((sent, message.is_cut))
    }

    /// Answers a call, already taken out, with the URL of its item's page.
    pub(super) fn send_page(
        &mut self,
        key: AskKey,
        held: Held,
        url: String,
        now: Now,
    ) -> Option<Event> {
        let (nonce, sealed) = self.seal_state(key, now)?;
        if let Some(item) = self.asks.get(key)?.open_item().map(str::to_owned) {
            self.record_event(now, "invited", &[("item", &item)]);
        }
        let result = mrtr::invitation(&held.id, &url, &page_message(&held.tool), &sealed);
        self.send_to_client(result);
        Some(Event::Sent {
            nonce,
            call: held,
            asked: AskedFor::Page(url),
        })
    }

    /// Returns a fresh nonce, and the sealed state that contains it.
    fn seal_state(&mut self, key: AskKey, now: Now) -> Option<(String, String)> {
        let ask = self.asks.get(key)?;
        let expires = ask.state_expires(&self.settings, now.elapsed);
        let state = RequestState {
            nonce: self.ids.next_hex(),
            call: ask.subject.digest.to_string(),
            expires_ms: millis(expires),
            upstream: None,
        };
        let sealed = self.sealer.seal(&state);
        Some((state.nonce, sealed))
    }

    /// Returns what people are shown of a question. It is built once, and again for the second of two questions. `call`
    /// is the call, if it was already taken out.
    pub(super) fn request_of(
        &mut self,
        key: AskKey,
        call: Option<&KeptCall>,
    ) -> Option<Arc<ApprovalRequest>> {
        let ask = self.asks.get(key)?;
        let request = match &ask.request {
            Some(request) if request.round == ask.round => return Some(Arc::clone(request)),
            Some(request) => ApprovalRequest {
                round: ask.round,
                ..(**request).clone()
            },
            None => {
                let first = || ask.calls().first().and_then(|key| self.held.get(key));
                let call = call.or_else(|| first().map(|held| &held.call))?;
                self.request(ask, call)
            }
        };
        let request = Arc::new(request);
        self.asks.set_request(key, Arc::clone(&request));
        Some(request)
    }

    /// Builds what people are shown. INVARIANT 2: it shows the tool's definition that the call is asked about, whatever
    /// the upstream says by now.
    pub(super) fn request(&self, ask: &Ask, call: &KeptCall) -> ApprovalRequest {
        let subject = &ask.subject;
        let definition = subject.definition.as_deref();
        let hints = self.policy.hints(&subject.tool, subject.annotations());
        // A stateless request names its client itself.
        let params = (ask.era == Era::Stateless).then(|| call.params());
        let info = params.as_ref().and_then(|params| params.client_info());
        let client = info.and_then(client_name);
        ApprovalRequest {
            form: None,
            server: Arc::clone(&self.settings.server),
            tool: Arc::clone(&subject.tool),
            is_listed: definition.is_some(),
            risk: subject.decision.risk,
            why: subject.why(),
            round: ask.round,
            title: definition.and_then(|it| it.title.clone()),
            description: definition.and_then(|it| it.description.clone()),
            hints: hints_text(&hints),
            digest: subject.digest,
            client: client.or_else(|| self.handshake.client().cloned()),
            client_title: match info {
                Some(info) => client_title(info),
                None => self.handshake.client_title().map(str::to_owned),
            },
            covers: self.settings.approval_ttl,
            call: call.clone(),
        }
    }
}

/// Returns the text that sends a client's user to an item's page.
pub(super) fn page_message(tool: &str) -> String {
    format!(
        "A call to tool {} is waiting for your approval. Review it and decide in the approval inbox \
         on this machine.",
        crate::approval::display::code_span(tool, 200)
    )
}

/// Returns a retry's answer to our question, as JSON.
pub(super) fn answer_to_us(retry: &CallToolRequestParams<'_>) -> Option<String> {
    let answer = retry.get(mrtr::INPUT_RESPONSES)?.get(mrtr::QUESTION)?;
    let mut text = String::new();
    answer.write_canonical(&mut text);
    Some(text)
}

/// Returns true if a call has members that only a retry has.
pub(super) fn brings_a_state(params: &CallToolRequestParams<'_>) -> bool {
    [mrtr::REQUEST_STATE, mrtr::INPUT_RESPONSES]
        .iter()
        .any(|key| params.get(key).is_some())
}

/// Why no person is asked about a stateless call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// It lacks a field that its revision requires.
    Fields,
    /// It uses an unknown revision, with this name.
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

/// Converts a moment to milliseconds for a state.
pub(super) fn millis(time: Duration) -> u64 {
    // Rounded up: the question's own deadline is exact.
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
