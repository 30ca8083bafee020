//! Questions whose items stay in the inbox while no call waits for them, and what becomes of a
//! verdict until one does.
//!
//! Which call may come for it is decided in `parking` and in `rounds`.

use std::time::Duration;

use super::held::{APPROVED, Failed, Grant, HeldKey, Prompt, Question, QuestionKey, Via};
use super::refusal::Refusal;
use super::state::{Gate, Now};
use crate::approval::digest::CallDigest;
use crate::approval::item::{self, Choice};
use crate::approval::prompt::Round;
use crate::audit::record::Outcome;
use crate::mcp::tool::CallToolRequestParams;

/// A question without a call.
#[derive(Debug)]
pub(super) struct Unattended {
    /// What became of it, once something has.
    pub(super) answer: Option<Answered>,
    /// How many more yeses are needed, this question's included.
    pub(super) yeses_needed: u32,
    pub(super) round: Round,
    /// Which channel of the chain the inbox is.
    pub(super) channel: usize,
    /// Whether its item waits for a verdict. If not, and there is no answer, it is the second of two
    /// questions, whose item is put into the inbox once a call comes.
    pub(super) is_posted: bool,
}

/// What became of a question that no call waited for.
#[derive(Debug, Clone)]
pub(super) enum Answered {
    /// A human said yes.
    Yes {
        grant: Grant,
        /// When; what an approval covers beside its call counts from here.
        at: Duration,
        /// For how long it covers the very same call, too.
        cover: Duration,
    },
    /// A human said no.
    No(Failed),
    /// The inbox has lost the item; says why.
    Broke(String),
}

/// Until when a human can answer a question that a call has come for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Until {
    /// As [`Question::deadline`], for an item that is in the inbox.
    pub(super) deadline: Option<Duration>,
    /// As [`Question::parked_until`].
    pub(super) parked_until: Option<Duration>,
}

impl Unattended {
    fn of(question: &Question) -> Unattended {
        Unattended {
            answer: None,
            yeses_needed: question.yeses_needed,
            round: question.round,
            channel: question.channel,
            is_posted: true,
        }
    }

    /// INVARIANT 2: the first verdict counts, and no other.
    fn decide(&mut self, verdict: item::Verdict, via: Via, now: Duration) {
        self.is_posted = false;
        match verdict.choice {
            Choice::Approve if self.yeses_needed > 1 => {
                self.yeses_needed -= 1;
                self.round = Round::Second;
            }
            Choice::Approve => {
                self.answer = Some(Answered::Yes {
                    grant: Grant {
                        outcome: Outcome::Approved,
                        reason: verdict.reason.unwrap_or_else(|| APPROVED.to_owned()),
                        via,
                        is_in_history: false,
                    },
                    at: now,
                    cover: verdict.cover,
                });
            }
            Choice::Deny => {
                let denied = Failed::denied(verdict.reason, "denied", via);
                self.answer = Some(Answered::No(denied));
            }
        }
    }
}

impl Gate {
    /// Takes a posted question from its calls: its item stays. `None`, and nothing has changed,
    /// where it is not posted.
    pub(super) fn leave_unattended(&mut self, key: QuestionKey) -> Option<(String, Unattended)> {
        let question = self.questions.get_mut(&key)?;
        let Prompt::Inbox { item } = &question.prompt else {
            return None;
        };
        let item = item.clone();
        question.prompt = Prompt::Nowhere;
        let left = Unattended::of(question);
        self.question_by_item.remove(&item);
        self.end_invitation(&item);
        Some((item, left))
    }

    /// The question whose item waits for a verdict that no call waits for.
    fn unattended(&mut self, item: &str) -> Option<(CallDigest, &mut Unattended)> {
        let parked = self.parking.get_mut(item);
        let found = parked.map(|parked| (parked.digest, &mut parked.left));
        let found = found.or_else(|| self.open_states.unattended(item));
        found.filter(|(_, left)| left.is_posted)
    }

    /// A human decided, and nobody waits just now: what was said is kept for the call that comes.
    pub(super) fn verdict_about_unattended(
        &mut self,
        item: &str,
        verdict: item::Verdict,
        via: Via,
        now: Now,
    ) {
        let Some((digest, left)) = self.unattended(item) else {
            return self.warn("a verdict of the inbox came too late and counts as none".into());
        };
        let call = format!("sha256:{digest}");
        let reason = verdict.reason.clone().unwrap_or_default();
        let mut members = vec![
            ("item", item),
            ("call", &*call),
            ("choice", verdict.choice.as_str()),
            ("assurance", verdict.assurance.as_str()),
            ("reason", &*reason),
        ];
        left.decide(verdict, via, now.elapsed);
        let key = self.settings.key_behind(via.assurance).map(str::to_owned);
        members.extend(key.iter().map(|key| ("inbox_key", &**key)));
        self.record_event(now, "parked_verdict", &members);
    }

    /// The inbox has lost an item that nobody waits for just now. A retry is told; whoever makes a
    /// parked call again is asked again.
    pub(super) fn unattended_lost(&mut self, item: &str, why: String) {
        if self.parking.remove(item).is_none()
            && let Some((_, left)) = self.unattended(item)
        {
            left.is_posted = false;
            left.answer = Some(Answered::Broke(why));
        }
    }

    /// A held call comes for a question that waited without one: it gets the answer that there is,
    /// or waits for it.
    pub(super) fn attend(
        &mut self,
        key: HeldKey,
        params: &CallToolRequestParams<'_>,
        item: String,
        left: Unattended,
        until: Until,
        now: Now,
    ) {
        let broke = match left.answer {
            Some(Answered::Yes { grant, at, cover }) => {
                self.cover(key, at, cover, now);
                return self.confirm(key, &grant, now);
            }
            Some(Answered::No(denied)) => {
                let Some(held) = self.take_held(key) else {
                    return;
                };
                return self.tell_refused(&held, &denied, now);
            }
            Some(Answered::Broke(why)) => Some(why),
            None => None,
        };
        let is_as_shown = self.held.get(&key).is_some_and(|it| self.is_as_shown(it));
        if !left.is_posted && !is_as_shown {
            // INVARIANT 2: the second yes is one to what the first was one to.
            return self.ask_anew(key, now);
        }
        let Some(question_key) = self.new_question(key, params, left.round, left.yeses_needed)
        else {
            return;
        };
        let channel = self.settings.channels.get(left.channel).copied();
        let anew = channel.and_then(|channel| self.human_deadline(channel, now));
        let Some(question) = self.questions.get_mut(&question_key) else {
            return;
        };
        question.channel = left.channel;
        question.parked_until = until.parked_until;
        if let Some(why) = broke {
            self.channel_broke(question_key, Refusal::InboxError(why), now);
        } else if left.is_posted {
            question.deadline = until.deadline;
            question.prompt = Prompt::Inbox { item: item.clone() };
            self.question_by_item.insert(item, question_key);
        } else {
            question.deadline = anew;
            self.post_item(question_key, now);
        }
    }

    /// A yes, given `at`, covers what the operator and the human said it would beside its call.
    pub(super) fn cover(&mut self, key: HeldKey, at: Duration, cover: Duration, now: Now) {
        let asked_as = self.held.get(&key).and_then(|held| held.asked_as.as_ref());
        if let Some(dedupe) = asked_as.and_then(|asked_as| asked_as.dedupe) {
            self.cache.insert(dedupe, at);
        }
        let until = at.saturating_add(cover);
        // Only where it is wanted: the key is a digest of the whole call.
        if now.elapsed < until
            && let Some(exact) = self.exact_key(key)
        {
            self.cache.insert_until(exact, until, now.elapsed);
        }
    }
}
