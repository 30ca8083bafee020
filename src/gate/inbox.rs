//! The inbox as a channel: questions become items, and verdicts come back.
//!
//! Where items wait and who may decide about them is not known here; what becomes of an item that
//! no call waits for any more, is decided in `unattended`.

use std::sync::Arc;
use std::time::Duration;

use super::deciding::with_params;
use super::handshake::{CannotAsk, client_name, client_title};
use super::held::{AskedAs, Failed, Held, HeldKey, Prompt, QuestionKey, Via};
use super::output::{FromInbox, Output, ToInbox};
use super::refusal::Refusal;
use super::settings::Engine;
use super::state::{Gate, Now, Peer, unix_ms};
use crate::approval::cache::DedupeKey;
use crate::approval::digest::other_params;
use crate::approval::item::{Choice, Closed, Item, Verdict};
use crate::approval::prompt::{Round, hint_words};
use crate::mcp::json::{raw_member, write_string};
use crate::mcp::tool::CallToolRequestParams;
use crate::policy::Reason;

/// How long after an item's time a verdict that was in time may take to arrive.
pub(super) const GRACE: Duration = Duration::from_millis(500);
/// The largest call that is put into the inbox, in bytes: what is larger nobody reads.
pub(super) const MAX_CALL: usize = 4 * 1024 * 1024;
/// The longest description that is.
const MAX_DESCRIPTION: usize = 64 * 1024;

impl Gate {
    /// The inbox tells something.
    pub fn from_inbox(&mut self, told: FromInbox, now: Now) {
        match told {
            FromInbox::Verdict { item, verdict } if !self.settings.counts(verdict.assurance) => {
                let members = [
                    ("item", &*item),
                    ("choice", verdict.choice.as_str()),
                    ("reason", "its assurance is below `requireAssurance`"),
                ];
                self.record_event(now, "disregarded_verdict", &members);
            }
            FromInbox::Verdict { item, verdict } => self.verdict_from_inbox(&item, verdict, now),
            // What it says of how it was made is not to be believed.
            FromInbox::Disregarded { item, verdict } => {
                let members = [
                    ("item", &*item),
                    ("choice", verdict.choice.as_str()),
                    ("reason", "it was not made with the passphrase"),
                ];
                self.record_event(now, "disregarded_verdict", &members);
            }
            FromInbox::Posted { item, url } => self.item_has_page(&item, url, now),
            FromInbox::Failed { item, why } => {
                self.end_invitation(&item);
                if self.also_lost(&item) {
                    // The client's prompt is out, and is enough.
                } else if let Some(key) = self.question_by_item.remove(&item) {
                    if let Some(question) = self.questions.get_mut(&key) {
                        question.prompt = Prompt::Nowhere;
                    }
                    self.channel_broke(key, Refusal::InboxError(why), now);
                } else {
                    self.unattended_lost(&item, why);
                }
            }
        }
        self.close_if_done();
    }

    fn verdict_from_inbox(&mut self, item: &str, verdict: Verdict, now: Now) {
        let via = Via::verdict(&verdict);
        self.end_invitation(item);
        let Some(key) = self.question_by_item.remove(item) else {
            return self.verdict_about_unattended(item, verdict, via, now);
        };
        // INVARIANT 2: one verdict.
        self.decided_in_inbox(key);
        match verdict.choice {
            Choice::Approve => self.approved(key, verdict.reason, verdict.cover, via, now),
            Choice::Deny => {
                let failed = Failed::denied(verdict.reason, "denied", via);
                self.refuse_question(key, &failed, now);
            }
        }
    }

    pub(super) fn can_post(&self) -> Result<(), CannotAsk> {
        match self.client {
            Peer::Gone => Err(CannotAsk::ClientGone),
            Peer::Open => Ok(()),
        }
    }

    /// Puts a question into the inbox, or on to the next channel.
    pub(super) fn post_item(&mut self, key: QuestionKey, now: Now) {
        if !self.try_to_post(key, now) {
            self.channel_broke(key, Refusal::TooLargeToShow, now);
        }
    }

    /// Puts a question into the inbox. False, and nothing has changed, if it is too large for that.
    pub(super) fn try_to_post(&mut self, key: QuestionKey, now: Now) -> bool {
        let id = self.ids.next_hex();
        let Some(question) = self.questions.get(&key) else {
            return false;
        };
        let (round, first) = (question.round, question.calls.first().copied());
        // What is decided at the last moment has to get here.
        let deadline = question.deadline;
        let with_grace = deadline.map(|deadline| deadline.saturating_add(GRACE));
        let until = self.item_deadline(deadline, question.parked_until);
        let held = first.and_then(|call| self.held.get(&call));
        let item = held.and_then(|held| self.item(held, &id, round.question(), until, now));
        let Some(item) = item else {
            return false;
        };
        if let Some(question) = self.questions.get_mut(&key) {
            question.prompt = Prompt::Inbox { item: id.clone() };
            question.deadline = with_grace;
        }
        self.question_by_item.insert(id, key);
        self.put(Output::ToInbox(ToInbox::Ask(Box::new(item))));
        true
    }

    /// Nobody waits for an item any more.
    pub(super) fn close_item(&mut self, item: String, how: Closed) {
        self.put(Output::ToInbox(ToInbox::Close { item, how }));
    }

    /// Until when the inbox takes a verdict about an item whose call waits until `deadline`. What may
    /// be parked then must not have expired; what is not, is closed.
    pub(super) fn item_deadline(
        &self,
        deadline: Option<Duration>,
        parked_until: Option<Duration>,
    ) -> Option<Duration> {
        let more = match self.stays_open(parked_until) {
            true => self.settings.park_for,
            false => Duration::ZERO,
        };
        deadline.map(|deadline| deadline.saturating_add(more))
    }

    /// A call as the inbox shows it; `None` if it is too large.
    pub(super) fn item(
        &self,
        held: &Held,
        id: &str,
        question: &str,
        until: Option<Duration>,
        now: Now,
    ) -> Option<Item> {
        let asked_as = held.asked_as.as_ref()?;
        let mut item = self.item_without_call(&held.tool, asked_as, id, now);
        question.clone_into(&mut item.question);
        item.expires_ms = until.map(|until| unix_ms(until, now));
        add_call(&mut item, &held.text)?;
        (item.call.len() <= MAX_CALL).then_some(item)
    }

    /// What a call is shown with, but for what has to be read from its text.
    fn item_without_call(&self, tool: &str, asked_as: &AskedAs, id: &str, now: Now) -> Item {
        let hints = self.policy.hints(tool, asked_as.annotations());
        let description = asked_as.description();
        Item {
            id: id.to_owned(),
            server: self.settings.server.clone(),
            tool: tool.to_owned(),
            risk: asked_as.decision.risk,
            why: why(asked_as),
            question: Round::First.question().to_owned(),
            title: asked_as.title().map(str::to_owned),
            description: description.map(|text| shortened(text, MAX_DESCRIPTION)),
            hints: hint_words(&hints),
            call: String::new(),
            digest: asked_as.digest.to_string(),
            client: self.handshake.client().map(str::to_owned),
            client_title: self.handshake.client_title().map(str::to_owned),
            asked_ms: now.unix_ms,
            expires_ms: None,
        }
    }

    /// Tells the inbox what a person decided elsewhere, for its history. The call has been released or
    /// refused by then, and nothing waits for this.
    pub(super) fn tell_history(
        &mut self,
        held: &Held,
        asked_as: &AskedAs,
        (choice, reason): (Choice, Option<&str>),
        via: Via,
        now: Now,
    ) {
        let mut channels = self.settings.channels.iter();
        let has_inbox = channels.any(|channel| channel.engine == Engine::Inbox);
        let Some(assurance) = via.assurance.filter(|_| has_inbox) else {
            return;
        };
        // The inbox knows of its own verdicts.
        if via.engine == Via::INBOX.engine {
            return;
        }
        match self.history.room(now.elapsed) {
            Room::Some => {}
            Room::None => return,
            Room::NoMore => {
                return self.warn(
                    "the inbox's history misses decisions that came faster than people decide; \
                     the audit log has them all"
                        .into(),
                );
            }
        }
        let id = self.ids.next_hex();
        let mut item = self.item_without_call(&held.tool, asked_as, &id, now);
        let waited = now.elapsed.saturating_sub(held.arrived);
        let waited = i64::try_from(waited.as_millis()).unwrap_or(i64::MAX);
        item.asked_ms = now.unix_ms.saturating_sub(waited);
        let verdict = Verdict {
            choice,
            reason: reason.map(str::to_owned),
            cover: via.covers,
            assurance,
            approver: None,
            decided_ms: now.unix_ms,
        };
        let told = DecidedCall {
            item,
            text: Arc::clone(&held.text),
            verdict,
            engine: via.engine,
        };
        self.put(Output::ToInbox(ToInbox::Decided(Box::new(told))));
    }

    /// The key of a held call that no other call has.
    pub(super) fn exact_key(&self, key: HeldKey) -> Option<DedupeKey> {
        let held = self.held.get(&key)?;
        self.exact_key_of(held)
    }

    pub(super) fn exact_key_of(&self, held: &Held) -> Option<DedupeKey> {
        let asked_as = held.asked_as.as_ref()?;
        with_params(&held.text, |params| {
            DedupeKey::exact(&self.settings.server, params, asked_as.of_tool())
        })
    }
}

/// A call that a person decided about through another channel than the inbox.
///
/// Its text is not read before the inbox's own thread does: a call must not wait for its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecidedCall {
    /// What it is shown with, without the call.
    item: Item,
    /// The client's message.
    text: Arc<str>,
    verdict: Verdict,
    engine: &'static str,
}

impl DecidedCall {
    /// What it takes, in bytes, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len() + self.item.description.as_ref().map_or(0, String::len)
    }

    /// What is kept of it; `None` where its text cannot be read.
    #[must_use]
    pub fn read(self) -> Option<(Item, Verdict, &'static str)> {
        let DecidedCall {
            mut item,
            text,
            verdict,
            engine,
        } = self;
        add_call(&mut item, &text)?;
        Some((item, verdict, engine))
    }
}

/// Adds to an item what the call's message says: the call, and the client of a request that names its own.
fn add_call(item: &mut Item, text: &str) -> Option<()> {
    with_params(text, |params| {
        item.call = shown_call(text, params);
        if let Some(info) = params.client_info() {
            if let Some(name) = client_name(info) {
                item.client = Some(name);
            }
            item.client_title = client_title(info);
        }
    })
}

/// The call as JSON: its name, its arguments as the client wrote them, and every other parameter
/// that a yes is bound to.
fn shown_call(line: &str, params: &CallToolRequestParams<'_>) -> String {
    let mut out = String::from(r#"{"name":"#);
    write_string(&params.name, &mut out);
    if let Some(arguments) = raw_member(line, &["params", "arguments"]) {
        out.push_str(r#","arguments":"#);
        out.push_str(arguments);
    }
    for (key, value) in other_params(params) {
        out.push(',');
        write_string(&key.decode(), &mut out);
        out.push(':');
        value.write_canonical(&mut out);
    }
    out.push('}');
    out
}

/// Why a call is asked about, in words. If the server does not list the tool, or its
/// list is not known, that is always said: the
/// tool's name is then only the client's word.
fn why(asked_as: &AskedAs) -> String {
    let reason = &asked_as.decision.reason;
    let mut why = reason.text().into_owned();
    let is_said = matches!(reason, Reason::Unlisted | Reason::ListUnknown);
    if asked_as.definition.is_none() && !is_said {
        let what_is_known = match asked_as.is_list_known {
            true => Reason::Unlisted,
            false => Reason::ListUnknown,
        };
        why.push_str("; ");
        why.push_str(&what_is_known.text());
    }
    why
}

fn shortened(text: &str, max: usize) -> String {
    let end = (0..=max.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    let kept = text.get(..end.unwrap_or(0)).unwrap_or_default();
    match kept.len() == text.len() {
        true => text.to_owned(),
        false => format!("{kept} … (shortened)"),
    }
}

/// How many decisions may go to the inbox's history within a second. It keeps no more on their way.
const HISTORY_A_SECOND: u32 = 200;

/// Counts what goes to the inbox's history, so that a flood of decisions costs nothing but itself.
#[derive(Debug, Default)]
pub(super) struct HistoryRate {
    began: Duration,
    count: u32,
    has_warned: bool,
}

/// Whether a decision may go there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Some,
    None,
    /// None, for the first time.
    NoMore,
}

impl HistoryRate {
    fn room(&mut self, now: Duration) -> Room {
        if self.count == 0 || now.saturating_sub(self.began) >= Duration::from_secs(1) {
            (self.began, self.count) = (now, 0);
        }
        if self.count < HISTORY_A_SECOND {
            self.count += 1;
            return Room::Some;
        }
        match std::mem::replace(&mut self.has_warned, true) {
            true => Room::None,
            false => Room::NoMore,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_decisions_is_told_of_once_and_the_next_second_has_room_again() {
        let mut rate = HistoryRate::default();
        let at = Duration::from_millis;
        for _ in 0..HISTORY_A_SECOND {
            assert_eq!(rate.room(at(5_000)), Room::Some);
        }
        assert_eq!(rate.room(at(5_500)), Room::NoMore);
        assert_eq!(rate.room(at(5_999)), Room::None);
        assert_eq!(rate.room(at(6_000)), Room::Some);
    }
}
