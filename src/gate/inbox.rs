//! The inbox as a channel: questions become items, verdicts come back, and questions may be parked.
//!
//! Where items wait and who may decide about them is not known here.

use std::time::Duration;

use super::deciding::with_params;
use super::handshake::{CannotAsk, client_name, offers_forms};
use super::held::{
    self, AskedAs, Failed, Held, HeldKey, Prompt, Question, QuestionKey, Stage, Via,
};
use super::output::{FromInbox, Output, ToInbox};
use super::parking::{Answered, Parked};
use super::refusal::Refusal;
use super::settings::{Engine, TimeoutAction};
use super::state::{Gate, Now, Peer};
use crate::approval::cache::DedupeKey;
use crate::approval::digest::other_params;
use crate::approval::item::{Choice, Closed, Item, Verdict};
use crate::approval::prompt::{Round, hint_words};
use crate::audit::record::Outcome;
use crate::mcp::json::{raw_member, write_string};
use crate::mcp::tool::CallToolRequestParams;

/// How long after an item's time a verdict that was in time may take to arrive.
const GRACE: Duration = Duration::from_millis(500);
/// The largest call that is put into the inbox, in bytes: what is larger nobody reads.
const MAX_CALL: usize = 4 * 1024 * 1024;
/// The longest description that is.
const MAX_DESCRIPTION: usize = 64 * 1024;

impl Gate {
    /// The inbox tells something.
    pub fn from_inbox(&mut self, told: FromInbox, now: Now) {
        match told {
            FromInbox::Verdict { item, verdict } => self.verdict_from_inbox(&item, verdict, now),
            FromInbox::Posted { item, url } => self.invite(&item, &url, now),
            FromInbox::Failed { item, why } => {
                self.end_invitation(&item);
                if let Some(key) = self.question_by_item.remove(&item) {
                    if let Some(question) = self.questions.get_mut(&key) {
                        question.prompt = Prompt::Nowhere;
                    }
                    self.channel_broke(key, Refusal::InboxError(why), now);
                } else {
                    self.parking.remove(&item);
                }
            }
        }
        self.close_if_done();
    }

    fn verdict_from_inbox(&mut self, item: &str, verdict: Verdict, now: Now) {
        let via = Via::inbox(Some(verdict.assurance));
        self.end_invitation(item);
        let Some(key) = self.question_by_item.remove(item) else {
            return self.verdict_about_parked(item, verdict, via, now);
        };
        if let Some(question) = self.questions.get_mut(&key) {
            // INVARIANT 2: one verdict.
            question.prompt = Prompt::Nowhere;
        }
        match verdict.choice {
            Choice::Approve => self.approved(key, verdict.reason, verdict.cover, via, now),
            Choice::Deny => {
                let failed = Failed::denied(verdict.reason, "denied", via);
                self.refuse_question(key, &failed, now);
            }
        }
    }

    /// Nobody waits just now; what was said is kept for the same call.
    fn verdict_about_parked(&mut self, item: &str, verdict: Verdict, via: Via, now: Now) {
        let Some(parked) = self.parking.get_mut(item) else {
            return self.warn("a verdict of the inbox came too late and counts as none".into());
        };
        let call = format!("sha256:{}", parked.digest);
        let reason = verdict.reason.clone().unwrap_or_default();
        let members = [
            ("item", item),
            ("call", &*call),
            ("choice", verdict.choice.as_str()),
            ("assurance", verdict.assurance.as_str()),
            ("reason", &*reason),
        ];
        match verdict.choice {
            Choice::Approve if parked.yeses_needed <= 1 => {
                let yes = held::Verdict {
                    outcome: Outcome::Approved,
                    reason: verdict.reason.unwrap_or_else(|| "approved".to_owned()),
                    via,
                };
                let until = now.elapsed.saturating_add(verdict.cover);
                parked.answer = Some(Answered::Yes(yes, until));
            }
            // The second question is put when the call comes again.
            Choice::Approve => {
                if let Some(mut parked) = self.parking.remove(item) {
                    parked.yeses_needed -= 1;
                    parked.round = Round::Second;
                    parked.is_posted = false;
                    let fresh = self.ids.next_hex();
                    self.parking.insert(fresh, parked);
                }
            }
            Choice::Deny => {
                let reason = verdict.reason;
                parked.answer = Some(Answered::No { reason, via });
            }
        }
        self.record_event(now, "parked_verdict", &members);
    }

    pub(super) fn can_post(&self) -> Result<(), CannotAsk> {
        match self.client {
            Peer::Gone => Err(CannotAsk::ClientGone),
            Peer::Open => Ok(()),
        }
    }

    /// Whether a stateless call is asked about by its result: where a prompt in the client comes
    /// first, or there is nothing else.
    pub(super) fn asks_by_result(&self, params: &CallToolRequestParams<'_>) -> bool {
        let offers = params.client_capabilities().is_some_and(offers_forms);
        let mut engines = self.settings.channels.iter().map(|channel| channel.engine);
        let first = engines.find(|engine| match engine {
            Engine::Elicitation => offers,
            Engine::Inbox => true,
        });
        // Without a channel, it says what is missing.
        first != Some(Engine::Inbox)
    }

    /// Puts a question into the inbox.
    pub(super) fn post_item(&mut self, key: QuestionKey, now: Now) {
        let id = self.ids.next_hex();
        let Some(question) = self.questions.get_mut(&key) else {
            return;
        };
        let (round, first) = (question.round, question.calls.first().copied());
        // What is decided at the last moment has to get here.
        let deadline = question.deadline;
        question.deadline = deadline.map(|deadline| deadline.saturating_add(GRACE));
        // What is to be parked when the call's time is over must not have expired by then.
        let stays = self.parks() && !self.goes_on_after(key);
        let more = if stays {
            self.settings.park_for
        } else {
            Duration::ZERO
        };
        let until = deadline.map(|deadline| deadline.saturating_add(more));
        let item = first.and_then(|call| self.item(call, &id, round.question(), until, now));
        let Some(item) = item else {
            let why = "the call is larger than 4 MiB, which nobody could read".to_owned();
            return self.channel_broke(key, Refusal::InboxError(why), now);
        };
        if let Some(question) = self.questions.get_mut(&key) {
            question.prompt = Prompt::Inbox { item: id.clone() };
        }
        self.question_by_item.insert(id, key);
        self.put(Output::ToInbox(ToInbox::Ask(Box::new(item))));
    }

    /// A held call as the inbox shows it; `None` if it is too large.
    fn item(
        &self,
        key: HeldKey,
        id: &str,
        question: &str,
        until: Option<Duration>,
        now: Now,
    ) -> Option<Item> {
        let held = self.held.get(&key)?;
        let asked_as = held.asked_as.as_ref()?;
        let tool = self.catalogue.tool(&held.tool);
        let annotations = tool.and_then(|tool| tool.annotations.as_ref()?.as_ref());
        let hints = self.policy.hints(&held.tool, annotations);
        let description = tool.and_then(|tool| tool.description.as_deref());
        let (call, client) = with_params(&held.text, |params| {
            let client = params.client_info().and_then(client_name);
            (shown_call(&held.text, params), client)
        })?;
        if call.len() > MAX_CALL {
            return None;
        }
        Some(Item {
            id: id.to_owned(),
            server: self.settings.server.clone(),
            tool: held.tool.clone(),
            risk: asked_as.decision.risk,
            why: asked_as.decision.reason.text().into_owned(),
            question: question.to_owned(),
            description: description.map(|text| shortened(text, MAX_DESCRIPTION)),
            hints: hint_words(&hints),
            call,
            digest: asked_as.digest.to_string(),
            client: client.or_else(|| self.handshake.client().map(str::to_owned)),
            asked_ms: now.unix_ms,
            expires_ms: until.map(|until| unix_ms(until, now)),
        })
    }

    /// The key of a held call that no other call has.
    pub(super) fn exact_key(&self, key: HeldKey) -> Option<DedupeKey> {
        let held = self.held.get(&key)?;
        self.exact_key_of(held)
    }

    fn exact_key_of(&self, held: &Held) -> Option<DedupeKey> {
        let definition = held.asked_as.as_ref()?.definition;
        with_params(&held.text, |params| {
            DedupeKey::exact(&self.settings.server, params, definition.as_ref())
        })
    }

    pub(super) fn parks(&self) -> bool {
        self.settings.timeout_action == TimeoutAction::Park
    }

    fn inbox_channel(&self) -> Option<usize> {
        let mut channels = self.settings.channels.iter();
        channels.position(|channel| channel.engine == Engine::Inbox)
    }

    /// The human's time is over, and the question stays open: its calls are refused for now. False
    /// where there is no inbox to leave it in.
    pub(super) fn park(&mut self, key: QuestionKey, outcome: Outcome, now: Now) -> bool {
        let Some(channel) = self.inbox_channel() else {
            return false;
        };
        let until = self
            .questions
            .get(&key)
            .and_then(|question| question.parked_until);
        if until.is_some_and(|until| until <= now.elapsed) {
            // It has been parked for as long as it may be.
            return false;
        }
        let is_posted = |question: &Question| matches!(question.prompt, Prompt::Inbox { .. });
        if !self.questions.get(&key).is_some_and(is_posted) {
            self.withdraw(key, "nobody answered in time", Closed::Expired);
            if let Some(question) = self.questions.get_mut(&key) {
                question.channel = channel;
                question.deadline = None;
            }
            self.post_item(key, now);
        }
        let Some(item) = self.leave_parked(key, now) else {
            // It could not be posted, and is refused for that.
            return true;
        };
        let failed = Failed::new(outcome, Refusal::Parked(item)).via(Some(Via::inbox(None)));
        self.refuse_question(key, &failed, now);
        true
    }

    /// The client takes back a call whose question can stay open without it. The call is not among
    /// the held ones any more. False where the question has to be left.
    pub(super) fn park_cancelled(&mut self, held: &Held, call: HeldKey, now: Now) -> bool {
        let Stage::Human(key) = held.stage else {
            return false;
        };
        let is_last = |question: &Question| {
            question.calls == [call] && matches!(question.prompt, Prompt::Inbox { .. })
        };
        if !self.parks() || !self.questions.get(&key).is_some_and(is_last) {
            return false;
        }
        let exact = self.exact_key_of(held);
        let item = exact.and_then(|exact| self.leave_parked_as(key, exact, now));
        self.questions.remove(&key);
        item.is_some()
    }

    /// Leaves a posted question in the inbox without its calls; returns its item.
    fn leave_parked(&mut self, key: QuestionKey, now: Now) -> Option<String> {
        let first = self.questions.get(&key)?.calls.first().copied()?;
        let exact = self.exact_key(first)?;
        self.leave_parked_as(key, exact, now)
    }

    fn leave_parked_as(&mut self, key: QuestionKey, exact: DedupeKey, now: Now) -> Option<String> {
        let until = now.elapsed.saturating_add(self.settings.park_for);
        let question = self.questions.get_mut(&key)?;
        let Prompt::Inbox { item } = std::mem::replace(&mut question.prompt, Prompt::Nowhere)
        else {
            return None;
        };
        let until = question.parked_until.unwrap_or(until);
        let parked = Parked {
            digest: question.shown.digest,
            exact,
            answer: None,
            yeses_needed: question.yeses_needed,
            round: question.round,
            channel: question.channel,
            is_posted: true,
            until,
        };
        self.question_by_item.remove(&item);
        self.end_invitation(&item);
        let given_way = self.parking.insert(item.clone(), parked);
        if let Some(item) = given_way {
            let how = Closed::Expired;
            self.put(Output::ToInbox(ToInbox::Close { item, how }));
        }
        let until_ms = unix_ms(until, now);
        self.put(Output::ToInbox(ToInbox::Park {
            item: item.clone(),
            until_ms,
        }));
        Some(item)
    }

    /// The question about a held call that was parked, if there is one.
    pub(super) fn take_parked(
        &mut self,
        asked_as: &AskedAs,
        params: &CallToolRequestParams<'_>,
    ) -> Option<(String, Parked)> {
        if self.parking.is_empty() {
            return None;
        }
        let definition = asked_as.definition.as_ref();
        let exact = DedupeKey::exact(&self.settings.server, params, definition);
        self.parking.take(&asked_as.digest, &exact)
    }

    /// A call waits again for a question that was parked.
    pub(super) fn wait_for_parked(
        &mut self,
        key: QuestionKey,
        item: String,
        parked: &Parked,
        now: Now,
    ) {
        let channel = self.settings.channels.get(parked.channel).copied();
        let deadline = channel.and_then(|channel| self.human_deadline(channel, now));
        // Nobody can answer a parked item once its time is over.
        let deadline = match parked.is_posted {
            true => Some(deadline.map_or(parked.until, |deadline| deadline.min(parked.until))),
            false => deadline,
        };
        let Some(question) = self.questions.get_mut(&key) else {
            return;
        };
        question.channel = parked.channel;
        question.deadline = deadline;
        question.yeses_needed = parked.yeses_needed;
        question.round = parked.round;
        question.parked_until = Some(parked.until);
        if parked.is_posted {
            question.prompt = Prompt::Inbox { item: item.clone() };
            self.question_by_item.insert(item, key);
        } else {
            self.post_item(key, now);
        }
    }

    /// Time has passed: parked questions that nobody answered, or whose call has not come again.
    pub(super) fn tick_parked(&mut self, now: Now) {
        while let Some(item) = self.parking.take_expired(now.elapsed) {
            let how = Closed::Expired;
            self.put(Output::ToInbox(ToInbox::Close { item, how }));
        }
    }

    /// Nobody can make the calls again.
    pub(super) fn abandon_parked(&mut self) {
        while let Some(item) = self.parking.take_expired(Duration::MAX) {
            let how = Closed::Withdrawn;
            self.put(Output::ToInbox(ToInbox::Close { item, how }));
        }
    }
}

/// The moment `at`, in milliseconds since 1970.
fn unix_ms(at: Duration, now: Now) -> i64 {
    let left = at.saturating_sub(now.elapsed);
    let left = i64::try_from(left.as_millis()).unwrap_or(i64::MAX);
    now.unix_ms.saturating_add(left)
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
