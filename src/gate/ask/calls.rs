//! Calls that come for a question: the same ones, retries of 2026-07-28, and those whose question was parked.

use super::*;

impl Ask {
    /// The call has been answered with the question.
    pub(super) fn sent(&mut self, nonce: String, call: Held, asked: AskedFor, world: &World<'_>) {
        if asked == AskedFor::Answer {
            self.prompt = PromptState::Open {
                id: None,
                delivery: Delivery::Delivered(world.now),
            };
        }
        let longest = world.now.saturating_add(LONGEST);
        self.deadline = Some(self.deadline.unwrap_or(longest).min(longest));
        self.claim = Claim::State(State {
            nonce: nonce.into(),
            call: Arc::new(call),
            sent: world.now,
            expires: self.state_expires(world.settings, world.now),
            asked,
        });
    }

    /// The item has a page. A client that opens URLs is sent there, in the way of its era.
    ///
    /// SPEC 2026-07-28, "URL Mode Elicitation Requests". Several calls that share a question wait without: each
    /// would be sent to the same page.
    pub(super) fn has_page(&mut self, page: String, world: &mut World<'_>) {
        // A prompt of ours is out already, or nobody is there to be sent.
        if self.prompt != PromptState::Closed || !world.has_client {
            return;
        }
        match (&mut self.claim, self.era, &self.item) {
            (Claim::Calls(_), Era::Legacy, Some(item)) => world.out.push(Effect::Invite {
                item: item.id.clone(),
                url: page,
            }),
            (Claim::Calls(calls), Era::Stateless, Some(_)) if self.offers.urls => {
                if let &[call] = &calls[..] {
                    world.out.push(Effect::SendToPage { call, url: page });
                }
            }
            (Claim::State(state), ..) => {
                if let AskedFor::Page(url) = &mut state.asked {
                    *url = page;
                }
            }
            (Claim::Calls(_) | Claim::Parked { .. } | Claim::Nobody, ..) => {}
        }
    }

    /// The same call comes: to share the question, with the state of the call that was answered with it, or because
    /// the question was parked.
    pub(super) fn call_came(&mut self, came: Came, world: &mut World<'_>) {
        match std::mem::replace(&mut self.claim, Claim::Nobody) {
            Claim::Calls(mut calls) => {
                calls.push(came.call);
                self.claim = Claim::Calls(calls);
            }
            Claim::State(state) => {
                self.claim = Claim::Calls(vec![came.call]);
                self.offers = came.offers;
                if !came.is_same_client {
                    // INVARIANT 2: what was shown names another client.
                    self.close_item(Closed::Withdrawn, world);
                    self.request = None;
                }
                self.state_came(state, &came, world);
            }
            Claim::Parked { until } => {
                self.claim = Claim::Calls(vec![came.call]);
                self.offers = came.offers;
                let channel = world.channel(self.engine);
                let deadline = channel.and_then(|channel| world.time_at(channel));
                // Nobody can answer a parked item once its time is over.
                self.deadline = Some(deadline.map_or(until, |deadline| deadline.min(until)));
                self.parked_until = Some(until);
                // A call waits for it from now on, as for any other.
                self.lifts = false;
                let waits = self.answer.is_none() && self.open_item().is_some();
                self.attend(world);
                if waits {
                    // Where an earlier session has parked it, this one has opened none.
                    self.open_browser(world);
                }
            }
            Claim::Nobody => {}
        }
    }

    /// A retry brings the state, and the answer to our question, or should.
    fn state_came(&mut self, state: State, came: &Came, world: &mut World<'_>) {
        let answer = came.answer.as_deref();
        if let PromptState::Open { .. } = self.prompt {
            return match answer {
                Some(answer) => self.answered(read_answer(Some(answer), None), world),
                None => self.ask_again(world),
            };
        }
        // The question is in the inbox. Consent to open a page is no yes, and a yes to a form that has run out is
        // none either; a no is one, if a person can have given it.
        let denied = match (state.asked, answer) {
            (AskedFor::Page(url), None) if came.offers.urls && self.open_item().is_some() => {
                // SPEC: "the server SHOULD respond with a new `InputRequiredResult` requesting the missing
                // information again".
                let call = came.call;
                return world.out.push(Effect::SendToPage { call, url });
            }
            (_, None) => None,
            (AskedFor::Page(_), Some(answer)) => match read_consent(Some(answer)) {
                Consent::Declined => Some((None, "declined")),
                // Dismissed, or not understood: the item can be found without the client.
                Consent::Accepted | Consent::None => None,
            },
            (AskedFor::Answer, Some(answer)) => match read_answer(Some(answer), None) {
                Answer::Refused { reason, how } if how.is_explicit() => Some((reason, how.as_str())),
                Answer::Refused { .. }
                | Answer::Approved { .. }
                | Answer::Invalid(_)
                | Answer::Failed { .. } => None,
            },
        };
        let took = world.now.saturating_sub(state.sent);
        if let Some((reason, how)) = denied.filter(|_| !world.settings.is_instant(took)) {
            self.close_item(Closed::Withdrawn, world);
            let failed = Failed::denied(reason, how, Via::elicitation(took));
            return self.refuse(failed, world);
        }
        self.attend(world);
    }

    /// Asks once more, in the request that brought no answer. The person's time does not begin anew.
    ///
    /// SPEC: "the server SHOULD respond with a new `InputRequiredResult` requesting the missing information again".
    fn ask_again(&mut self, world: &mut World<'_>) {
        self.prompt = PromptState::Closed;
        if !self.subject.is_as_shown(world.definition) {
            return self.ask_anew(world);
        }
        // Capabilities count for their request only.
        if !self.offers.forms {
            let refusal = Refusal::CannotAsk(CannotAsk::NoCapability);
            return self.refuse(Failed::new(Outcome::Denied, refusal), world);
        }
        self.put_to_client(world);
    }

    /// A call has come for a question that waited without one: it gets the answer that there is, or waits for it.
    fn attend(&mut self, world: &mut World<'_>) {
        match self.answer.take() {
            Some(Verdicted::Yes {
                approval,
                at,
                cover,
            }) => self.approve_and_cover(approval, (at, cover), world),
            Some(Verdicted::No(failed)) => self.refuse(failed, world),
            Some(Verdicted::Lost(failure)) => self.engine_is_lost(failure, world),
            // It was the first of two.
            None if self.open_item().is_none() => self.ask_second(world),
            None => {}
        }
    }
}
