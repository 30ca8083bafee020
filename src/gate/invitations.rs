//! Invites clients that open URLs to the inbox item that a call waits for.
//!
//! SPEC 2025-11-25, "URL Mode Elicitation Requests"; `ask` handles what differs in 2026-07-28. Consent to open a page
//! is not an approval: the verdict still comes from the inbox.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ask::Event;
use super::held::AskKey;
use super::output::{Output, Payload};
use super::prompts::page_message;
use super::state::{Gate, Now, PeerState};
use crate::mcp::elicit::{Consent, complete_notification, read_consent, url_request};
use crate::mcp::error::cancelled_notification;
use crate::mcp::message::RequestId;

/// The open invitations.
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
    /// Returns the item that our request with this id invites to, if it is still unanswered.
    pub(super) fn item_of(&self, id: &RequestId) -> Option<&String> {
        self.by_id.get(id)
    }
}

impl Gate {
    /// Invites the client's user to an item's page, if the client opens URLs.
    pub(super) fn invite(&mut self, item: &str, url: &str, tool: &str, now: Now) {
        if self.invitations.by_item.contains_key(item) || !self.handshake.offers_urls() {
            return;
        }
        let id = self.ids.next();
        let request = url_request(&id, item, url, &page_message(tool));
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

    /// Handles the client's answer to an invitation. Consent lets nothing run. A decline is a no, unless it came before
    /// a person can have read the invitation. Returns the question that was declined.
    pub(super) fn answer_invitation(
        &mut self,
        id: &RequestId,
        result: Option<&str>,
        now: Now,
    ) -> Option<(AskKey, Event)> {
        let item = self.invitations.by_id.remove(id)?;
        self.retired_prompts.add(id.clone());
        let sent = self.invitations.by_item.get(&item).map(|it| it.sent);
        let took = now.elapsed.saturating_sub(sent.unwrap_or_default());
        let consent = read_consent(result);
        if consent == Consent::Accepted {
            if let Some(invitation) = self.invitations.by_item.get_mut(&item) {
                invitation.is_accepted = true;
            }
            return None;
        }
        // Dismissed or not understood: the item stays open, and the person can find it without the client.
        self.invitations.by_item.remove(&item);
        let is_said = consent == Consent::Declined && !self.settings.is_instant(took);
        let key = self.asks.of_item(&item).filter(|_| is_said)?;
        Some((key, Event::PageDeclined { took }))
    }

    /// Ends an item's invitation: the item is closed, or no longer belongs to this call.
    pub(super) fn end_invitation(&mut self, item: &str) {
        let Some(invitation) = self.invitations.by_item.remove(item) else {
            return;
        };
        let is_open = self.client == PeerState::Open;
        if invitation.is_accepted {
            if is_open {
                self.send_to_client(complete_notification(item));
            }
            return;
        }
        self.invitations.by_id.remove(&invitation.id);
        if is_open {
            let why = "the item is no longer waiting";
            self.send_to_client(cancelled_notification(&invitation.id, why));
        }
        self.retired_prompts.add(invitation.id);
    }
}
