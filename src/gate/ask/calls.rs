//! Handles calls that arrive for a question: identical ones, stateless retries, and calls whose question was parked.

use super::*;

impl Ask {
    /// Notes that the call was answered with the question.
    pub(super) fn sent(
        &mut self,
        nonce: String,
        call: Held,
        asked: AskedFor,
        context: &StepContext<'_>,
    ) {
        if asked == AskedFor::Answer {
            self.prompt = PromptState::Open {
                id: None,
                delivery: Delivery::Delivered(context.now),
            };
        }
        let longest = context.now.saturating_add(LONGEST);
        self.deadline = Some(self.deadline.unwrap_or(longest).min(longest));
        self.claim = Claim::State(State {
            nonce: nonce.into(),
            call: Arc::new(call),
            sent: context.now,
            expires: self.state_expires(context.settings, context.now),
            asked,
        });
    }

    /// Sends a client that opens URLs to the item's page, in the way of its protocol.
    ///
    /// SPEC 2026-07-28, "URL Mode Elicitation Requests". Several calls that share a question wait without a page: each
    /// would be sent to the same one.
    pub(super) fn has_page(&mut self, page: String, context: &mut StepContext<'_>) {
        // A prompt is already open, or there is nobody to send.
        if self.prompt != PromptState::Closed || !context.has_client {
            return;
        }
        match (&mut self.claim, self.era, &self.item) {
            (Claim::Calls(_), Era::Legacy, Some(item)) => context.out.push(Effect::Invite {
                item: item.id.clone(),
                url: page,
            }),
            (Claim::Calls(calls), Era::Stateless, Some(_)) if self.offers.urls => {
                if let &[call] = &calls[..] {
                    context.out.push(Effect::SendToPage { call, url: page });
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

    /// Handles another arrival of the call: to share the question, with the state of the call that was answered with
    /// it, or because the question was parked.
    pub(super) fn call_arrived(&mut self, arrival: Arrival, context: &mut StepContext<'_>) {
        match std::mem::replace(&mut self.claim, Claim::Nobody) {
            Claim::Calls(mut calls) => {
                calls.push(arrival.call);
                self.claim = Claim::Calls(calls);
            }
            Claim::State(state) => {
                self.claim = Claim::Calls(vec![arrival.call]);
                self.offers = arrival.offers;
                if !arrival.is_same_client {
                    // INVARIANT 2: what was shown names another client.
                    self.close_item(Closed::Withdrawn, context);
                    self.request = None;
                }
                self.retry_arrived(state, &arrival, context);
            }
            Claim::Parked { until } => {
                self.claim = Claim::Calls(vec![arrival.call]);
                self.offers = arrival.offers;
                let channel = context.channel(self.engine);
                let deadline = channel.and_then(|channel| context.time_at(channel));
                // Nobody can answer a parked item after its deadline.
                let deadline = Some(deadline.map_or(until, |deadline| deadline.min(until)));
                self.deadline = deadline;
                self.asked = vec![AskedEngine {
                    at: self.engine,
                    until: deadline,
                    state: AskedState::Open,
                }];
                self.parked_until = Some(until);
                // From now on a call waits for it, as for any other question.
                self.lifts_denial = false;
                let waits = self.answer.is_none() && self.open_item().is_some();
                self.answer_or_wait(context);
                if waits {
                    // If an earlier session parked the question, this session has not opened a browser yet.
                    self.open_browser(context);
                }
            }
            Claim::Nobody => {}
        }
    }

    /// Handles a retry that brings the state. It should also bring the answer to our question.
    fn retry_arrived(&mut self, state: State, arrival: &Arrival, context: &mut StepContext<'_>) {
        let answer = arrival.answer.as_deref();
        if let PromptState::Open { .. } = self.prompt {
            return match answer {
                Some(answer) => self.answered(read_answer(Some(answer), None), context),
                None => self.ask_again(context),
            };
        }
        // The question is in the inbox. Consent to open a page is not a yes. Neither is a yes to a form that has timed
        // out. A no counts if a person can have given it.
        let denied = match (state.asked, answer) {
            (AskedFor::Page(url), None) if arrival.offers.urls && self.open_item().is_some() => {
                // SPEC: "the server SHOULD respond with a new `InputRequiredResult` requesting the missing
                // information again".
                let call = arrival.call;
                return context.out.push(Effect::SendToPage { call, url });
            }
            (_, None) => None,
            (AskedFor::Page(_), Some(answer)) => match read_consent(Some(answer)) {
                Consent::Declined => Some((None, "declined")),
                // Dismissed or not understood: the person can still find the item without the client.
                Consent::Accepted | Consent::None => None,
            },
            (AskedFor::Answer, Some(answer)) => match read_answer(Some(answer), None) {
                Answer::Refused { reason, how } if how.is_explicit() => {
                    Some((reason, how.as_str()))
                }
                Answer::Refused { .. }
                | Answer::Approved { .. }
                | Answer::Invalid(_)
                | Answer::Failed { .. } => None,
            },
        };
        let took = context.now.saturating_sub(state.sent);
        if let Some((reason, how)) = denied.filter(|_| !context.settings.is_instant(took)) {
            self.close_item(Closed::Withdrawn, context);
            let failed = Failed::denied(reason, how, Via::elicitation(took));
            return self.refuse(failed, context);
        }
        self.answer_or_wait(context);
    }

    /// Asks again in the request that brought no answer. The person's time does not start again.
    ///
    /// SPEC: "the server SHOULD respond with a new `InputRequiredResult` requesting the missing information again".
    fn ask_again(&mut self, context: &mut StepContext<'_>) {
        self.prompt = PromptState::Closed;
        if !self.subject.is_as_shown(context.definition) {
            return self.reask(context);
        }
        // Capabilities count only for their own request. As for a new question, others can be asked, or are already.
        if !self.offers.forms {
            let client = context.position(Engine::Elicitation);
            let client = client.unwrap_or(self.engine);
            if let Some(asked) = self.asked.iter_mut().find(|asked| asked.at == client) {
                asked.state = AskedState::Failed;
            }
            self.silent_at = None;
            let cannot = Refusal::CannotAsk(CannotAsk::NoCapability);
            let failed = Failed::new(Outcome::Denied, cannot);
            self.put_from(client + 1, Some(failed), context);
            if self.is_awaited() && self.answer.is_none() {
                self.set_deadline();
            }
            return;
        }
        self.put_to_client(context);
    }

    /// Gives a call that arrived for a waiting question the answer, if there is one, or lets it wait.
    fn answer_or_wait(&mut self, context: &mut StepContext<'_>) {
        match self.answer.take() {
            Some(Resolution::Yes {
                approval,
                at,
                cover,
            }) => self.approve_and_cover(approval, (at, cover), context),
            Some(Resolution::No(failed)) => self.refuse(failed, context),
            Some(Resolution::EngineFailed(failure)) => {
                let refusal = self.out_of_band_refusal(failure, context);
                self.engine_failed(self.engine, refusal, context);
            }
            // That was the first of two yeses.
            None if self.open_item().is_none() => self.ask_second(context),
            None => {}
        }
    }
}
