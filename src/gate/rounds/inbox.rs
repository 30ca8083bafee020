//! Calls of 2026-07-28 whose requests have been answered and whose questions are in the inbox.
//!
//! Clients that open URLs are sent there, questions of clients that did not answer in time go there,
//! and a retry gets what a human decided there, or waits for it. What a verdict leads to stands in
//! `unattended`.

use std::time::Duration;

use super::{LONGEST, answer_to_us, brings_a_state, millis};
use crate::approval::item::Closed;
use crate::approval::request_state::RequestState;
use crate::audit::record::Outcome;
use crate::gate::handshake::Offers;
use crate::gate::held::{Failed, Held, QuestionKey, Via};
use crate::gate::inbox::GRACE;
use crate::gate::invitations::message;
use crate::gate::open_states::{Asked, AskedBy, Outstanding, Posted};
use crate::gate::output::{Output, ToInbox};
use crate::gate::parking::Parked;
use crate::gate::refusal::Refusal;
use crate::gate::settings::{Engine, OnFailure};
use crate::gate::state::{Gate, Now};
use crate::gate::unattended::{Answered, Unattended, Until};
use crate::mcp::elicit::{Answer, Consent, read_answer, read_consent};
use crate::mcp::mrtr;
use crate::mcp::tool::CallToolRequestParams;

impl Gate {
    /// A question's item has a page. Its call, if its client opens URLs, is answered with where that
    /// is; the retry then waits for the verdict.
    ///
    /// SPEC 2026-07-28, "URL Mode Elicitation Requests". Several calls that share a question wait
    /// without: each would be sent to the same page.
    pub(in crate::gate) fn invite_by_result(&mut self, key: QuestionKey, url: String, now: Now) {
        let Some(question) = self.questions.get(&key) else {
            return;
        };
        let &[call] = &question.calls[..] else {
            return;
        };
        let (deadline, parked_until) = (question.deadline, question.parked_until);
        if !question.shown.offers.urls {
            return;
        }
        // A retry would bring our state in place of the one that the call has.
        let held = self.held.get(&call);
        if held.is_none_or(|held| brings_a_state(&held.call.params())) {
            return;
        }
        let Some((item, left)) = self.leave_unattended(key) else {
            return;
        };
        self.questions.remove(&key);
        let Some(held) = self.take_held(call) else {
            return;
        };
        self.record_event(now, "invited", &[("item", &item)]);
        let posted = Posted {
            held,
            item,
            url: None,
            asked_by: AskedBy::Url,
            sent: now.elapsed,
            left,
            deadline,
            parked_until,
        };
        self.send_to_page(posted, url, now);
    }

    /// Answers a call with where the page of its item is.
    fn send_to_page(&mut self, posted: Posted, url: String, now: Now) {
        let Some(asked_as) = &posted.held.asked_as else {
            return;
        };
        let longest = now.elapsed.saturating_add(LONGEST);
        let deadline = posted.deadline.unwrap_or(longest).min(longest);
        let state = RequestState {
            nonce: self.ids.next_hex(),
            call: asked_as.digest.to_string(),
            expires_ms: millis(deadline),
            upstream: None,
        };
        let sealed = self.sealer.seal(&state);
        let held = &posted.held;
        let result = mrtr::invitation(&held.id, &url, &message(&held.tool), &sealed);
        let (url, sent) = (Some(url), now.elapsed);
        let outstanding = Outstanding::Posted(Box::new(Posted {
            url,
            sent,
            ..posted
        }));
        self.open_states.insert(&state.nonce, deadline, outstanding);
        self.send_to_client(result);
    }

    /// A retry comes for a question that is in the inbox. Consent to open a page is no yes, and a
    /// yes to a form that has run out is none either; a no is one, if a person can have given it.
    pub(super) fn posted_retried(
        &mut self,
        mut posted: Posted,
        retry: &CallToolRequestParams<'_>,
        now: Now,
    ) {
        let answer = answer_to_us(retry);
        let took = now.elapsed.saturating_sub(posted.sent);
        let denied = match (posted.asked_by, answer.as_deref()) {
            // SPEC: "the server SHOULD respond with a new `InputRequiredResult` requesting the
            // missing information again".
            (AskedBy::Url, None) if offers_urls(retry) && posted.left.is_posted => {
                if let Some(url) = posted.url.take() {
                    return self.send_to_page(posted, url, now);
                }
                None
            }
            (_, None) => None,
            (AskedBy::Url, Some(answer)) => match read_consent(Some(answer)) {
                Consent::Declined => Some((None, "declined")),
                // Dismissed, or not understood: the item can be found without the client.
                Consent::Accepted | Consent::None => None,
            },
            (AskedBy::Form, Some(answer)) => match read_answer(Some(answer), None) {
                Answer::Refused { reason, how } if how.is_said() => Some((reason, how.words())),
                Answer::Refused { .. }
                | Answer::Approved { .. }
                | Answer::Invalid(_)
                | Answer::Failed { .. } => None,
            },
        };
        let denied = denied.filter(|_| !self.settings.is_instant(took));
        let Posted {
            held,
            item,
            left,
            deadline,
            parked_until,
            ..
        } = posted;
        if let Some((reason, how)) = denied {
            if left.is_posted {
                self.close_item(item, Closed::Withdrawn);
            }
            let failed = Failed::denied(reason, how, Via::elicitation(took));
            return self.tell_refused(&held, &failed, now);
        }
        let until = Until {
            deadline,
            parked_until,
        };
        let call = held.call.clone();
        let key = self.keep(held);
        self.attend(key, &call.params(), item, left, until, now);
    }

    /// Nobody has answered the client's form in time: the question goes on to the inbox, stays open
    /// there without the call, or is over.
    pub(super) fn asked_ran_out(&mut self, nonce: &str, asked: Asked, now: Now) {
        let channel = self.settings.channels.get(asked.channel);
        let goes_on = channel.is_some_and(|it| it.on_timeout == OnFailure::Fallback);
        // A state that is good for nothing any more can bring nobody back.
        let goes_on = goes_on && now.elapsed < asked.expires;
        let next = goes_on.then(|| self.channel_behind(asked.channel, Engine::Inbox));
        if let Some((at, channel)) = next.flatten() {
            let deadline = self.human_deadline(channel, now);
            let deadline = deadline.unwrap_or(asked.expires).min(asked.expires);
            let until = self.item_deadline(Some(deadline), None);
            if let Some((item, left)) = self.post_asked(&asked, at, until, now) {
                let deadline = deadline.saturating_add(GRACE).min(asked.expires);
                let posted = Posted {
                    held: asked.held,
                    item,
                    url: None,
                    asked_by: AskedBy::Form,
                    sent: asked.sent,
                    left,
                    deadline: Some(deadline),
                    parked_until: None,
                };
                let outstanding = Outstanding::Posted(Box::new(posted));
                return self.open_states.insert(nonce, deadline, outstanding);
            }
        } else if self.stays_open(None)
            && let Some((item, left)) = self.post_asked_open(&asked, now)
        {
            return self.park_answered(&asked.held, item, left, None, now);
        }
        let failed = Failed::new(Outcome::Timeout, Refusal::TimedOut);
        self.record_refused(&asked.held, &failed, now);
    }

    /// Leaves what the client's user was asked open in the inbox, while its call is refused for now;
    /// returns the item. `None` where there is no inbox, or it is too large for that.
    pub(in crate::gate) fn leave_asked_in_inbox(
        &mut self,
        asked: &Asked,
        now: Now,
    ) -> Option<String> {
        let (item, left) = self.post_asked_open(asked, now)?;
        self.park_held(&asked.held, item.clone(), left, None, now);
        Some(item)
    }

    /// Puts what the client's user was asked into the inbox, for as long as questions are parked.
    fn post_asked_open(&mut self, asked: &Asked, now: Now) -> Option<(String, Unattended)> {
        let channel = self.inbox_channel()?;
        let until = now.elapsed.saturating_add(self.settings.park_for);
        self.post_asked(asked, channel, Some(until), now)
    }

    /// Puts what the client's user was asked into the inbox; `None` if it is too large for that.
    fn post_asked(
        &mut self,
        asked: &Asked,
        channel: usize,
        until: Option<Duration>,
        now: Now,
    ) -> Option<(String, Unattended)> {
        let id = self.ids.next_hex();
        let item = self.item(&asked.held, &id, asked.round.question(), until, now)?;
        self.put(Output::ToInbox(ToInbox::Ask(Box::new(item))));
        let left = Unattended {
            answer: None,
            yeses_needed: asked.yeses_needed,
            round: asked.round,
            channel,
            is_posted: true,
        };
        Some((id, left))
    }

    /// No retry has come in time for what was, or was not, decided in the inbox.
    pub(super) fn posted_ran_out(&mut self, posted: Posted, now: Now) {
        let Posted {
            held,
            item,
            left,
            parked_until,
            ..
        } = posted;
        let timed_out = Failed::new(Outcome::Timeout, Refusal::TimedOut);
        let has_time = parked_until.is_none_or(|until| now.elapsed < until);
        let failed = match &left.answer {
            Some(Answered::No(denied)) => denied.clone(),
            Some(Answered::Broke(why)) => {
                let refusal = Refusal::InboxError(why.clone());
                Failed::new(Outcome::Error, refusal).via(Some(Via::INBOX))
            }
            Some(Answered::Yes { .. }) | None if self.stays_open(parked_until) && has_time => {
                return self.park_answered(&held, item, left, parked_until, now);
            }
            Some(Answered::Yes { grant, .. }) => timed_out
                .via(Some(grant.via))
                .logged("a human approved it, but the client did not make the call again in time"),
            None => timed_out.via(Some(Via::INBOX)),
        };
        if left.is_posted {
            self.close_item(item, Closed::Expired);
        }
        self.record_refused(&held, &failed, now);
    }

    /// Parks a question whose call has been answered: only the log hears of it.
    fn park_answered(
        &mut self,
        held: &Held,
        item: String,
        left: Unattended,
        parked_until: Option<Duration>,
        now: Now,
    ) {
        let parked = Refusal::Parked(item.clone());
        let parked = Failed::new(Outcome::Timeout, parked).via(Some(Via::INBOX));
        let failed = match left.is_posted {
            true => parked,
            false => parked.logged(&format!(
                "a human decided, but the client did not make the call again in time; parked as {item}"
            )),
        };
        self.park_held(held, item, left, parked_until, now);
        self.record_refused(held, &failed, now);
    }

    /// Keeps the question about a call, already taken out, for the same call.
    fn park_held(
        &mut self,
        held: &Held,
        item: String,
        left: Unattended,
        parked_until: Option<Duration>,
        now: Now,
    ) {
        let digest = held.asked_as.as_ref().map(|asked_as| asked_as.digest);
        if let (Some(digest), Some(exact)) = (digest, self.exact_key_of(held)) {
            let parked = Parked {
                era: held.era,
                digest,
                exact,
                left,
                until: self.parked_until(parked_until, now),
            };
            self.park_unattended(item, parked, now);
        }
    }
}

/// Whether the client can be sent to a URL for this request.
fn offers_urls(params: &CallToolRequestParams<'_>) -> bool {
    Offers::of(params.client_capabilities()).urls
}
