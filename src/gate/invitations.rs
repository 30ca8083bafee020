//! Clients that open URLs are shown the way to the item of the inbox that a call waits for.
//!
//! SPEC 2025-11-25, "URL Mode Elicitation Requests"; what differs in 2026-07-28 stands in
//! `rounds::inbox`. Consent to open a page is no approval: the verdict comes from the inbox all the
//! same.

use std::collections::BTreeMap;
use std::time::Duration;

use super::held::{Era, Failed, Via};
use super::output::{Output, Payload};
use super::state::{Gate, Now, Peer};
use crate::approval::display::code_span;
use crate::mcp::elicit::{Consent, complete_notification, read_consent, url_request};
use crate::mcp::error::cancelled_notification;
use crate::mcp::message::RequestId;

/// The invitations that are out.
#[derive(Debug, Default)]
pub(super) struct Invitations {
    by_item: BTreeMap<String, Invitation>,
    by_id: BTreeMap<RequestId, String>,
}

#[derive(Debug)]
struct Invitation {
    id: RequestId,
    sent: Duration,
    is_accepted: bool,
}

impl Invitations {
    /// The item that a request of ours, still unanswered, invites to.
    pub(super) fn item_of(&self, id: &RequestId) -> Option<&String> {
        self.by_id.get(id)
    }
}

impl Gate {
    /// An item has a page now. A client that opens URLs is sent there, in the way of its era.
    pub(super) fn item_has_page(&mut self, item: &str, url: String, now: Now) {
        let Some(key) = self.question_by_item.get(item).copied() else {
            return self.open_states.set_url(item, url);
        };
        if self.is_also(key) {
            // A prompt of ours is out already.
            return;
        }
        let first = self.first_call(key);
        let first = first.map(|held| (held.era, held.tool.clone()));
        match first.filter(|_| self.client == Peer::Open) {
            Some((Era::Legacy, tool)) => self.invite(item, &url, &tool, now),
            Some((Era::Stateless, _)) => self.invite_by_result(key, url, now),
            None => {}
        }
    }

    fn invite(&mut self, item: &str, url: &str, tool: &str, now: Now) {
        if self.invitations.by_item.contains_key(item) || !self.handshake.offers_urls() {
            return;
        }
        let id = self.ids.next();
        let request = url_request(&id, item, url, &message(tool));
        let invitation = Invitation {
            id: id.clone(),
            sent: now.elapsed,
            is_accepted: false,
        };
        self.invitations.by_item.insert(item.to_owned(), invitation);
        self.invitations.by_id.insert(id, item.to_owned());
        self.put(Output::ToClient(Payload::Text(request)));
        let members = [("item", item)];
        self.record_event(now, "invited", &members);
    }

    /// The client answers an invitation. Consent lets nothing run; a user who declines says no, and
    /// a client that declines before its user can have read it says nothing.
    pub(super) fn answer_invitation(&mut self, id: &RequestId, result: Option<&str>, now: Now) {
        let Some(item) = self.invitations.by_id.remove(id) else {
            return;
        };
        self.retired_prompts.add(id.clone());
        let sent = self.invitations.by_item.get(&item).map(|it| it.sent);
        let took = now.elapsed.saturating_sub(sent.unwrap_or_default());
        match read_consent(result) {
            Consent::Accepted => {
                if let Some(invitation) = self.invitations.by_item.get_mut(&item) {
                    invitation.is_accepted = true;
                }
            }
            Consent::Declined if !self.settings.is_instant(took) => {
                self.invitations.by_item.remove(&item);
                if let Some(key) = self.question_by_item.get(&item).copied() {
                    self.withdraw(key, "declined", crate::approval::item::Closed::Withdrawn);
                    let failed = Failed::denied(None, "declined", Via::elicitation(took));
                    self.refuse_question(key, &failed, now);
                }
            }
            // Dismissed, or not understood: the item waits on, and can be found without the client.
            Consent::Declined | Consent::None => {
                self.invitations.by_item.remove(&item);
            }
        }
    }

    /// An item waits no more, or not for this call.
    pub(super) fn end_invitation(&mut self, item: &str) {
        let Some(invitation) = self.invitations.by_item.remove(item) else {
            return;
        };
        let is_open = self.client == Peer::Open;
        if invitation.is_accepted {
            if is_open {
                self.send_to_client(complete_notification(item));
            }
            return;
        }
        self.invitations.by_id.remove(&invitation.id);
        if is_open {
            let why = "the item waits no more";
            self.send_to_client(cancelled_notification(&invitation.id, why));
        }
        self.retired_prompts.add(invitation.id);
    }
}

/// What a client's user is told of the page.
pub(super) fn message(tool: &str) -> String {
    format!(
        "The call of tool {} waits for your approval. See what it would do, and decide, in the \
         approval inbox on this machine.",
        code_span(tool, 200)
    )
}
