//! What the engine does about a press of a button, and about a reply to a question.
//!
//! A press counts only from an approver, only with a button that was sent with exactly this question, and only while the
//! question is open. Every press is answered, so that nobody waits for a sign that never comes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Shared;
use super::carried::{Denial, Face, Found, Given, Place, Target};
use super::press::{Action, Buttons, no_buttons};
use super::text::MAX_ANSWER;
use super::types::{CallbackQuery, Incoming, Message, Update, User};
use crate::approval::item::Choice;
use crate::engines::CarriedVerdict;
use crate::engines::http::Task;
use crate::engines::inbox::store::{Decided, State};
use crate::gate::Failure;
use crate::sys::clock::unix_ms;

/// How long a denial waits for its reason.
const REASON_TIME: Duration = Duration::from_secs(60);
/// How long before the end of a question a denial stops waiting.
const MARGIN: Duration = Duration::from_secs(1);
/// How long the answer to a press may take to be sent.
const ANSWER_TIME: Duration = Duration::from_secs(5);

const NOT_AN_APPROVER: &str = "You are not an approver of this question.";
const NOT_WAITING: &str = "This question is not waiting here.";
const NOT_SHOWN: &str = "This does not count: the question is not the one that was shown here.";
const OVER: &str = "This question has been answered already.";
const DENIED: &str = "This has been denied already.";
const TIMED_OUT: &str = "This question is not waiting any more.";
const APPROVED: &str = "Approved.";
const DENIED_NOW: &str = "Denied.";
const ELSEWHERE: &str = "Your answer is on its way to the process that asked, which decides whether it counts. The \
    message shows how it ended.";
const REASON: &str = "Reply to the question with your reason. Without a reply, it is denied in a minute at the latest.";
const BUSY: &str = "The answer could not be written. Please try again, or use the approval inbox.";

/// The answers to presses that are being sent.
pub(super) struct Answers {
    shared: Arc<Shared>,
    sending: JoinSet<()>,
}

/// What a person is told.
struct Said {
    text: &'static str,
    /// Shown until it is dismissed.
    is_alert: bool,
}

impl Said {
    fn note(text: &'static str) -> Said {
        let is_alert = false;
        Said { text, is_alert }
    }

    fn alert(text: &'static str) -> Said {
        let is_alert = true;
        Said { text, is_alert }
    }
}

impl Answers {
    pub(super) fn new(shared: &Arc<Shared>) -> Answers {
        Answers {
            shared: Arc::clone(shared),
            sending: JoinSet::new(),
        }
    }

    /// Sends the answer to a press, without waiting for it.
    fn send(&mut self, query: String, said: &Said) {
        debug_assert!(said.text.chars().count() <= MAX_ANSWER);
        let body =
            json!({"callback_query_id": query, "text": said.text, "show_alert": said.is_alert});
        self.call("answerCallbackQuery", body);
    }

    /// Calls a method once. Its failure has no consequence: the person sees less, and no more.
    fn call(&mut self, method: &'static str, body: Value) {
        let shared = Arc::clone(&self.shared);
        self.sending.spawn(async move {
            let sent = shared.bot.once::<Value>(method, &body, Duration::ZERO);
            match tokio::time::timeout(ANSWER_TIME, sent).await {
                Ok(Ok(_)) => {}
                Ok(Err(refusal)) => tracing::debug!("{method}: {}", refusal.failure.why),
                Err(_) => tracing::debug!("{method}: no answer"),
            }
        });
    }

    /// Waits until everything was sent.
    pub(super) async fn all_sent(&mut self) {
        while self.sending.join_next().await.is_some() {}
    }
}

/// Handles an update.
///
/// # Errors
/// If a verdict could not be written. Then the update was not answered, and must come again.
pub(super) async fn handle(
    shared: &Arc<Shared>,
    update: Update,
    answers: &mut Answers,
) -> Result<(), Failure> {
    if let Some(query) = update.callback_query {
        let id = query.id.clone();
        match press(shared, query, answers).await {
            Ok(said) => answers.send(id, &said),
            Err(failure) => {
                answers.send(id, &Said::alert(BUSY));
                return Err(failure);
            }
        }
    }
    match update.message {
        Some(message) => reply(shared, message).await,
        None => Ok(()),
    }
}

async fn press(
    shared: &Arc<Shared>,
    query: CallbackQuery,
    answers: &mut Answers,
) -> Result<Said, Failure> {
    // INVARIANT 8: before anything else.
    if !shared.is_approver(query.from.id) {
        return Ok(Said::alert(NOT_AN_APPROVER));
    }
    let Some((action, buttons)) = query.data.as_deref().and_then(Buttons::read) else {
        return Ok(Said::alert(NOT_WAITING));
    };
    let press = Press {
        shared,
        who: query.from,
        message: query.message,
        action,
        buttons,
    };
    match shared.carried.find(&press.buttons) {
        Some(found) => press.on_own(found).await,
        None => press.on_other(answers).await,
    }
}

/// A press by an approver.
struct Press<'a> {
    shared: &'a Arc<Shared>,
    who: User,
    message: Option<Message>,
    action: Action,
    buttons: Buttons,
}

impl Press<'_> {
    /// A press about a question of this process.
    async fn on_own(self, found: Found) -> Result<Said, Failure> {
        let carried = &self.shared.carried;
        if found.is_decided {
            return Ok(Said::alert(OVER));
        }
        // Without buttons, nobody can have pressed one that we sent.
        if !found.is_approvable {
            return Ok(Said::alert(NOT_SHOWN));
        }
        let is_denied = carried.is_denied(&found.item);
        match self.action {
            Action::Approve if is_denied => Ok(Said::alert(DENIED)),
            Action::Approve => {
                let verdict = verdict(Choice::Approve, None, &self.who);
                Ok(match carried.give(&found.item, verdict, &self.who) {
                    Given::Given => Said::note(APPROVED),
                    Given::TooLate => Said::alert(OVER),
                })
            }
            Action::Deny | Action::DenyNow => {
                let left = time_left(found.until, found.expires_ms);
                self.deny(Target::Own(found.item), left).await
            }
        }
    }

    /// A press about a question of another process, or about none.
    async fn on_other(self, answers: &mut Answers) -> Result<Said, Failure> {
        let rows = &self.shared.rows;
        let key = self.shared.key(&self.buttons);
        let Some(recalled) = rows.recall(&key).await? else {
            return Ok(Said::alert(NOT_WAITING));
        };
        let Some(row) = rows.find(&recalled.item).await? else {
            return Ok(Said::alert(NOT_WAITING));
        };
        if !row.state.is_open() {
            // The process that asked may have ended before it could.
            if let Some(message) = self.message {
                answers.call("editMessageReplyMarkup", markup(message, no_buttons()));
            }
            return Ok(Said::alert(over(row.state)));
        }
        // INVARIANT 2: the store cannot point a button at another call.
        if !self.buttons.are_of(&row.item.fingerprint()) {
            return Ok(Said::alert(NOT_SHOWN));
        }
        let place = self.message.map(Place::from);
        let is_denied = place.is_some_and(|place| self.shared.carried.denied_by(place).is_some());
        let left = time_left(None, row.item.expires_ms);
        let target = Target::Other {
            item: Arc::new(row.item),
            engine: recalled.engine.into(),
        };
        match self.action {
            Action::Approve if is_denied => Ok(Said::alert(DENIED)),
            Action::Approve => {
                let verdict = verdict(Choice::Approve, None, &self.who);
                decide(self.shared, &target, verdict, &self.who).await
            }
            Action::Deny | Action::DenyNow => {
                if self.action == Action::Deny
                    && let Some(message) = self.message
                {
                    let body = markup(message, self.buttons.of_denial());
                    answers.call("editMessageReplyMarkup", body);
                }
                self.deny(target, left).await
            }
        }
    }

    /// Denies, or waits for the reason.
    async fn deny(self, target: Target, left: Duration) -> Result<Said, Failure> {
        let (shared, carried) = (self.shared, &self.shared.carried);
        let Some(place) = self.message.map(Place::from) else {
            let verdict = verdict(Choice::Deny, None, &self.who);
            return decide(shared, &target, verdict, &self.who).await;
        };
        let waiting = carried.denied_by(place);
        if waiting.is_some() && self.action == Action::Deny {
            return Ok(Said::alert(REASON));
        }
        if let Some(denial) = carried.take_denial(place) {
            return finish(shared, denial, None).await;
        }
        let reason = carried.take_reply(place, self.who.id);
        let denial = Denial {
            who: self.who,
            target,
            timer: None,
        };
        let wait = REASON_TIME.min(left.saturating_sub(MARGIN));
        if reason.is_some() || self.action == Action::DenyNow || wait.is_zero() {
            return finish(shared, denial, reason).await;
        }
        if let Target::Own(item) = &denial.target {
            carried.show(item, |_| Face::AskingReason);
        }
        if let Err(denial) = carried.wait_for_reason(place, denial) {
            return finish(shared, *denial, None).await;
        }
        let at_end = Arc::clone(shared);
        let timer = Task::beside(async move {
            sleep(wait).await;
            let Some(mut denial) = at_end.carried.take_denial(place) else {
                return;
            };
            if let Some(timer) = denial.timer.take() {
                // That is this task.
                timer.detach();
            }
            if let Err(failure) = finish(&at_end, denial, None).await {
                at_end.warn(&failure);
            }
        });
        carried.times(place, timer);
        Ok(Said::alert(REASON))
    }
}

/// Handles a message of a person: the reason of a denial, if it is a reply to a question.
async fn reply(shared: &Arc<Shared>, message: Incoming) -> Result<(), Failure> {
    let (Some(from), Some(question)) = (message.from, message.reply_to_message) else {
        return Ok(());
    };
    let text = message.text.or(message.caption).unwrap_or_default();
    let text = text.trim();
    if !shared.is_approver(from.id) || text.is_empty() {
        return Ok(());
    }
    let place = Place::from(question);
    if shared.carried.denied_by(place) != Some(from.id) {
        shared.carried.keep_reply(place, from.id, text);
        return Ok(());
    }
    match shared.carried.take_denial(place) {
        Some(denial) => finish(shared, denial, Some(text.to_owned()))
            .await
            .map(drop),
        None => Ok(()),
    }
}

/// Gives the verdict of a denial.
async fn finish(
    shared: &Arc<Shared>,
    denial: Denial,
    reason: Option<String>,
) -> Result<Said, Failure> {
    let verdict = verdict(Choice::Deny, reason, &denial.who);
    decide(shared, &denial.target, verdict, &denial.who).await
}

/// Gives a verdict, to this process or through the store.
async fn decide(
    shared: &Arc<Shared>,
    target: &Target,
    verdict: CarriedVerdict,
    who: &User,
) -> Result<Said, Failure> {
    let choice = verdict.choice;
    match target {
        Target::Own(item) => Ok(match (shared.carried.give(item, verdict, who), choice) {
            (Given::TooLate, _) => Said::alert(OVER),
            (Given::Given, Choice::Approve) => Said::note(APPROVED),
            (Given::Given, Choice::Deny) => Said::note(DENIED_NOW),
        }),
        Target::Other { item, engine } => {
            let decided = shared.rows.decide(item, engine, verdict).await?;
            Ok(match decided {
                Decided::Recorded => Said::note(ELSEWHERE),
                Decided::TooLate(state) => Said::alert(over(state)),
                Decided::Unknown => Said::alert(NOT_WAITING),
            })
        }
    }
}

fn verdict(choice: Choice, reason: Option<String>, who: &User) -> CarriedVerdict {
    CarriedVerdict {
        fields: None,
        choice,
        reason,
        approver: Some(who.approver()),
    }
}

/// Returns what is said about a question that is not open.
fn over(state: State) -> &'static str {
    match state {
        State::Decided(_) => OVER,
        State::Closed(_) | State::Waiting | State::Parked => TIMED_OUT,
    }
}

fn markup(message: Message, buttons: Value) -> Value {
    json!({
        "chat_id": message.chat.id,
        "message_id": message.message_id,
        "reply_markup": buttons,
    })
}

/// Returns how long a question stays open. An engine whose own time is up may still be answered.
fn time_left(until: Option<Instant>, expires_ms: Option<i64>) -> Duration {
    let until = until.map(|until| until.saturating_duration_since(Instant::now()));
    let until = until.filter(|left| !left.is_zero());
    let expires = expires_ms.map(|expires_ms| {
        let left = expires_ms.saturating_sub(unix_ms());
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    });
    let limits = [until, expires].into_iter().flatten();
    limits.min().unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests;
