//! A question whose prompt in the client could not show the whole call: the inbox, which shows all of it,
//! shows it as well. Whichever of the two is answered first counts.
//!
//! In revision 2026-07-28 a prompt ends the request that it is about, and nothing is open beside it.

use super::held::{Era, Held, Prompt, QuestionKey};
use super::inbox::MAX_CALL;
use super::output::{Output, ToInbox};
use super::settings::Engine;
use super::state::{Gate, Now, Peer};
use crate::approval::item::Closed;
use crate::mcp::error::cancelled_notification;

impl Gate {
    /// Whether a prompt that cannot show all of this call may say that the inbox does.
    pub(super) fn is_shown_also(&self, held: &Held) -> bool {
        let mut channels = self.settings.channels.iter();
        held.era == Era::Legacy
            && held.call.text().len() <= MAX_CALL
            && channels.any(|channel| channel.engine == Engine::Inbox)
    }

    /// Shows a question in the inbox, too, whose prompt in the client is out.
    pub(super) fn post_also(&mut self, key: QuestionKey, now: Now) {
        let id = self.ids.next_hex();
        let Some(question) = self.questions.get(&key) else {
            return;
        };
        let (round, until) = (
            question.round,
            self.item_deadline(question.deadline, question.parked_until),
        );
        let held = self.first_call(key).filter(|held| self.is_shown_also(held));
        let item = held.and_then(|held| self.item(held, &id, round.question(), until, now));
        let (Some(item), Some(question)) = (item, self.questions.get_mut(&key)) else {
            return;
        };
        question.also = Some(id.clone());
        self.question_by_item.insert(id, key);
        self.put(Output::ToInbox(ToInbox::Ask(Box::new(item))));
    }

    /// The inbox need not show a question any more beside the client's prompt.
    pub(super) fn close_also(&mut self, key: QuestionKey, how: Closed) {
        let question = self.questions.get_mut(&key);
        if let Some(item) = question.and_then(|question| question.also.take()) {
            self.question_by_item.remove(&item);
            self.close_item(item, how);
        }
    }

    /// Whether the inbox shows a question beside the client's prompt.
    pub(super) fn is_also(&self, key: QuestionKey) -> bool {
        self.questions
            .get(&key)
            .is_some_and(|question| question.also.is_some())
    }

    /// The inbox has lost an item. True where the client's prompt is out beside it, and asks on.
    pub(super) fn also_lost(&mut self, item: &str) -> bool {
        let key = self.question_by_item.get(item).copied();
        let Some(key) = key.filter(|key| self.is_also(*key)) else {
            return false;
        };
        self.question_by_item.remove(item);
        if let Some(question) = self.questions.get_mut(&key) {
            question.also = None;
        }
        true
    }

    /// A person has decided in the inbox: what else is open of the question is withdrawn.
    ///
    /// INVARIANT 2: a late answer of the client's counts for nothing.
    pub(super) fn decided_in_inbox(&mut self, key: QuestionKey) {
        let Some(question) = self.questions.get_mut(&key) else {
            return;
        };
        question.also = None;
        if let Prompt::Open { id, .. } = std::mem::replace(&mut question.prompt, Prompt::Nowhere) {
            self.question_by_prompt.remove(&id);
            if self.client == Peer::Open {
                let why = "a person has decided in the approval inbox";
                self.send_to_client(cancelled_notification(&id, why));
            }
            self.retired_prompts.add(id);
        }
    }
}
