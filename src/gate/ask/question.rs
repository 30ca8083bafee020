//! A question that an agent asks by itself: may it act? No call waits for the answer.
//!
//! The same state machine as for calls decides whom to ask and which verdict counts. The caller shows the answer to the
//! agent, and keeps the question across restarts.

use std::sync::Arc;
use std::time::Duration;

use super::{Ask, Effect, Event, StepContext, Subject};
use crate::approval::form::accepts;
use crate::approval::item::{Assurance, Choice, Verdict};
use crate::approval::request::ApprovalRequest;
use crate::evidence::record::Outcome;
use crate::gate::handshake::{CannotAsk, Offers};
use crate::gate::held::{Era, Held, HeldKey, WaitsFor};
use crate::gate::ids::RequestIds;
use crate::gate::output::{FromEngine, Resume, ResumeKey, Resumption, ToEngine};
use crate::gate::refusal::Refusal;
use crate::gate::settings::{Engine, OnFailure, Patience, Settings};
use crate::gate::state::{Now, unix_ms};
use crate::gate::verdict::Failed;
use crate::mcp::message::RequestId;
use crate::policy::{Action, Decision, Mode, Reason};

/// A question in progress. It asks out of band only.
#[derive(Debug)]
pub struct Question {
    ask: Ask,
    request: Arc<ApprovalRequest>,
    settings: Settings,
    ids: RequestIds,
    /// With this key, a later process finds the question again; `None` if none may.
    key: Option<ResumeKey>,
    /// Whether the question of an earlier process is looked for.
    is_looking: bool,
    /// When people's time is up in all, on the clock of [`Now::elapsed`]; `None` if there is no limit.
    ends: Option<Duration>,
    /// When the last verdict was given, in milliseconds since 1970.
    decided_ms: i64,
    /// Its answers to the form.
    fields: Option<String>,
}

/// Something to do for a question.
#[derive(Debug, PartialEq, Eq)]
pub enum QuestionOutput {
    /// Send to the out-of-band engines.
    ToEngine(ToEngine),
    /// A verdict does not count; the question stays open. Says why.
    Disregarded(&'static str),
    /// The question is over. Nothing follows.
    Ended(QuestionEnd),
}

/// How a question ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuestionEnd {
    /// A person decided.
    Decided {
        /// Approve or deny.
        choice: Choice,
        /// The person's reason.
        reason: Option<String>,
        /// Who decided, as in the records.
        approver: Option<String>,
        /// The engine's name.
        engine: &'static str,
        /// How certain it is that a person decided.
        assurance: Assurance,
        /// When, in milliseconds since 1970.
        decided_ms: i64,
        /// The answers to the form, a JSON object; `None` if there is no form, and for a no.
        fields: Option<String>,
    },
    /// Nobody decided in time.
    Expired,
    /// Nobody can be asked, or can answer any more. Says why.
    Failed(String),
}

/// The only one that waits for the answer.
const WAITER: HeldKey = 1;
/// How long a verdict that is there already may take to arrive.
const DELIVERY: Duration = Duration::from_secs(60);
/// Identifies the only lookup.
const LOOKUP: u64 = 1;

impl Question {
    /// Creates a question. `settings` has the engines, without the client's prompt, and how long people have in all;
    /// `seed` is 32 random bytes. With a `key`, a later process may find the question again.
    #[must_use]
    pub fn new(
        request: Arc<ApprovalRequest>,
        settings: Settings,
        key: Option<ResumeKey>,
        seed: [u8; 32],
        now: Now,
    ) -> Question {
        let subject = Subject {
            tool: Arc::clone(&request.tool),
            decision: Decision {
                action: Action::Ask,
                risk: request.risk,
                reason: Reason::Mode(Mode::All),
            },
            definition: None,
            is_list_known: false,
            digest: request.digest,
            dedupe: None,
        };
        let held = Held {
            id: RequestId::Integer(1),
            tool: Arc::clone(&request.tool),
            call: request.call.clone(),
            era: Era::Legacy,
            arrived: now.elapsed,
            waits_for: WaitsFor::ToolList,
            progress: None,
            subject: None,
            changes: 0,
            round: 0,
            has_looked_up: false,
        };
        // As for calls, engines that cannot reach the required assurance are not asked.
        let mut channels = settings.channels.clone();
        channels.retain(|channel| {
            channel.engine != Engine::Elicitation && settings.counts(channel.reach)
        });
        let settings = Settings {
            channels,
            // One yes answers one question.
            double_confirm: false,
            ..settings
        };
        let ask = Ask::new(
            WAITER,
            &held,
            Arc::new(subject),
            Offers::default(),
            &settings,
        );
        Question {
            ask,
            request,
            is_looking: false,
            ends: settings
                .timeout
                .map(|timeout| now.elapsed.saturating_add(timeout)),
            settings,
            ids: RequestIds::new(seed),
            key,
            decided_ms: 0,
            fields: None,
        }
    }

    /// Starts asking.
    pub fn begin(&mut self, now: Now) -> Vec<QuestionOutput> {
        self.step(Event::Begin, now)
    }

    /// Looks for the question of an earlier process. [`Question::from_engine`] takes what is found. Without a key, starts
    /// asking.
    pub fn find(&mut self, now: Now) -> Vec<QuestionOutput> {
        let Some(key) = self.key else {
            return self.begin(now);
        };
        self.is_looking = true;
        vec![QuestionOutput::ToEngine(ToEngine::Resume(Resume::Find {
            lookup: LOOKUP,
            key,
            request: Arc::clone(&self.request),
        }))]
    }

    /// Handles a message from an engine.
    pub fn from_engine(&mut self, message: FromEngine, now: Now) -> Vec<QuestionOutput> {
        match message {
            FromEngine::Verdict { verdict, .. } if !self.settings.counts(verdict.assurance) => {
                vec![QuestionOutput::Disregarded(
                    "its assurance is below `requireAssurance`",
                )]
            }
            FromEngine::Verdict { verdict, .. } if !self.is_filled_in(&verdict) => {
                vec![QuestionOutput::Disregarded(
                    "its answers do not fit the form",
                )]
            }
            FromEngine::Verdict {
                engine,
                item,
                verdict,
            } => {
                let is_ours = [self.ask.item(), self.ask.replaced_item()].contains(&Some(&*item));
                match is_ours {
                    true => self.decided((engine, verdict), now),
                    false => Vec::new(),
                }
            }
            FromEngine::Disregarded { why, .. } => vec![QuestionOutput::Disregarded(why)],
            FromEngine::Failed {
                engine, failure, ..
            } => self.step(Event::EngineFailed { engine, failure }, now),
            FromEngine::Resume(Resumption::Found { parked, .. })
                if std::mem::take(&mut self.is_looking) =>
            {
                match parked {
                    Some(parked) => {
                        let left = parked.until_ms.saturating_sub(now.unix_ms);
                        let left = Duration::from_millis(u64::try_from(left).unwrap_or_default());
                        let until = now.elapsed.saturating_add(left);
                        let until = match parked.is_decided {
                            // In time, however late we are.
                            true => until.max(now.elapsed.saturating_add(DELIVERY)),
                            false => self.ends.map_or(until, |ends| until.min(ends)),
                        };
                        self.ask.resume(parked.id, 0, until);
                        self.ask.wait_again(WAITER, until, &self.settings);
                        Vec::new()
                    }
                    // Nobody decided in time, and nobody is disturbed now.
                    None if self.ends.is_some_and(|ends| ends <= now.elapsed) => {
                        vec![QuestionOutput::Ended(QuestionEnd::Expired)]
                    }
                    // Nobody had asked yet, or the item was lost.
                    None => self.begin(now),
                }
            }
            FromEngine::Listed { .. } | FromEngine::Resume(_) => Vec::new(),
        }
    }

    /// INVARIANT: a yes whose answers do not fit the form is no yes.
    fn is_filled_in(&self, verdict: &Verdict) -> bool {
        verdict.choice == Choice::Deny
            || accepts(self.request.form.as_deref(), verdict.fields.as_deref())
    }

    fn decided(
        &mut self,
        (engine, verdict): (crate::gate::EngineId, Verdict),
        now: Now,
    ) -> Vec<QuestionOutput> {
        self.decided_ms = verdict.decided_ms;
        self.fields = verdict.fields.clone();
        self.step(Event::Decided { engine, verdict }, now)
    }

    /// Notes that time has passed. Call it when [`Question::next_time`] has come.
    pub fn tick(&mut self, now: Now) -> Vec<QuestionOutput> {
        self.step(Event::Tick, now)
    }

    /// Returns when time has to be noted, on the clock of [`Now::elapsed`].
    #[must_use]
    pub fn next_time(&self) -> Option<Duration> {
        self.ask.next_time()
    }

    /// Withdraws the question. It ends without [`QuestionOutput::Ended`].
    pub fn cancel(&mut self, now: Now) -> Vec<QuestionOutput> {
        let failed = Failed::new(Outcome::Cancelled, Refusal::Cancelled);
        let mut outputs = self.step(Event::Ended(failed), now);
        outputs.retain(|output| !matches!(output, QuestionOutput::Ended(_)));
        outputs
    }

    /// Lets no later process find the question any more. Its end must be kept elsewhere before.
    pub fn settle(&self) -> Option<QuestionOutput> {
        self.key?;
        let item = self.ask.item()?.to_owned();
        Some(QuestionOutput::ToEngine(ToEngine::Resume(Resume::TakeUp {
            item,
        })))
    }

    /// Returns the id of its item in the inbox, once there is one.
    #[must_use]
    pub fn item(&self) -> Option<&str> {
        self.ask.item()
    }

    /// Gives no engine more time than there is in all, and asks nobody new once that is over.
    fn limit_time(&mut self, now: Now) {
        let Some(ends) = self.ends else {
            return;
        };
        let left = ends.saturating_sub(now.elapsed);
        self.settings.timeout = Some(left);
        for channel in &mut self.settings.channels {
            if let Patience::Own(own) = channel.patience {
                channel.patience = Patience::Own(Some(own.unwrap_or(left).min(left)));
            }
            if left.is_zero() {
                channel.on_timeout = OnFailure::Deny;
            }
        }
    }

    fn step(&mut self, event: Event, now: Now) -> Vec<QuestionOutput> {
        self.limit_time(now);
        let mut context = StepContext {
            settings: &self.settings,
            ids: &mut self.ids,
            now: now.elapsed,
            can_prompt: Err(CannotAsk::NoCapability),
            is_anonymous: false,
            has_client: true,
            client_is_heard: true,
            list_is_settled: true,
            definition: None,
            out: Vec::new(),
        };
        let effects = self.ask.step(event, &mut context);
        let mut outputs = Vec::new();
        for effect in effects {
            self.carry_out(effect, now, &mut outputs);
        }
        outputs
    }

    fn carry_out(&self, effect: Effect, now: Now, outputs: &mut Vec<QuestionOutput>) {
        let mut to_engine = |message| outputs.push(QuestionOutput::ToEngine(message));
        match effect {
            Effect::AskEngine {
                engine,
                item,
                replaces,
                until,
                opens_browser,
            } => {
                // The engines' times may add up to more than there is.
                let until = match (until, self.ends) {
                    (Some(until), Some(ends)) => Some(until.min(ends)),
                    (until, ends) => until.or(ends),
                };
                let expires_ms = until.map(|until| unix_ms(until, now));
                let id = item.clone();
                to_engine(ToEngine::Ask {
                    engine,
                    item: Box::new(self.request.item(item, now.unix_ms, expires_ms)),
                    replaces,
                    opens_browser,
                });
                let Some(key) = self.key else {
                    return;
                };
                // So it outlives this process: no call waits for it.
                let item = id.clone();
                let until_ms = expires_ms.unwrap_or(i64::MAX);
                to_engine(ToEngine::Park { item, until_ms });
                to_engine(ToEngine::Resume(Resume::Mark { item: id, key }));
            }
            Effect::JoinEngine { engine, item } => to_engine(ToEngine::Join { engine, item }),
            Effect::OpenBrowser { item } => to_engine(ToEngine::OpenBrowser { item }),
            Effect::Close { item, how } => to_engine(ToEngine::Close { item, how }),
            Effect::Release { approval, .. } => {
                let via = approval.via.clone();
                let Some(assurance) = via.assurance else {
                    let why = "nobody approved it".to_owned();
                    return outputs.push(QuestionOutput::Ended(QuestionEnd::Failed(why)));
                };
                outputs.push(QuestionOutput::Ended(QuestionEnd::Decided {
                    choice: Choice::Approve,
                    reason: approval.reason_given().map(str::to_owned),
                    approver: via.approver.as_deref().map(str::to_owned),
                    engine: via.engine,
                    assurance,
                    decided_ms: self.decided_ms,
                    fields: self.fields.clone(),
                }));
            }
            Effect::Refuse { failed, .. } => {
                outputs.push(QuestionOutput::Ended(self.end_of(failed)));
            }
            // Nothing of this happens to a question without a client, a call or a tool list.
            Effect::Prompt { .. }
            | Effect::SendToPage { .. }
            | Effect::Invite { .. }
            | Effect::Withdraw { .. }
            | Effect::Park { .. }
            | Effect::LeaveForLater { .. }
            | Effect::Split { .. }
            | Effect::FirstYes { .. }
            | Effect::RecordVerdict { .. }
            | Effect::Cover { .. }
            | Effect::WantList
            | Effect::RecordRefused { .. }
            | Effect::Reask { .. } => {}
        }
    }

    fn end_of(&self, failed: Failed) -> QuestionEnd {
        let assured = failed
            .via
            .as_ref()
            .and_then(|via| Some((via, via.assurance?)));
        match (&failed.refusal, assured) {
            (Refusal::Denied { reason }, Some((via, assurance))) => QuestionEnd::Decided {
                choice: Choice::Deny,
                reason: reason.clone(),
                approver: via.approver.as_deref().map(str::to_owned),
                engine: via.engine,
                assurance,
                decided_ms: self.decided_ms,
                fields: None,
            },
            (Refusal::TimedOut, _) => QuestionEnd::Expired,
            _ => QuestionEnd::Failed(failed.log_text()),
        }
    }
}

impl Ask {
    /// Waits again for the answer to a question that an earlier process asked: its engines have it until `until`.
    fn wait_again(&mut self, waiter: HeldKey, until: Duration, settings: &Settings) {
        self.claim = super::Claim::Calls(vec![waiter]);
        // A verdict that was given in time, while nobody waited, needs time to arrive.
        let until = until.saturating_add(super::GRACE);
        self.deadline = Some(until);
        let asked = 0..settings.channels.len();
        self.asked = asked
            .map(|at| super::AskedEngine {
                at,
                until: Some(until),
                state: super::AskedState::Open,
            })
            .collect();
    }
}

#[cfg(test)]
mod tests;
