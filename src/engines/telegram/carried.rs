//! The questions that one engine carries in this process, the replies of people, and the denials that wait for a reason.
//!
//! The courier, the tasks of the questions and the poller use it from different threads. It does no I/O and decides
//! nothing about people.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::press::Buttons;
use super::types::{Message, User};
use crate::approval::item::Item;
use crate::engines::http::Task;
use crate::engines::{Answer, CarriedVerdict};
use crate::gate::{Failure, FailureKind};

/// How many questions one engine carries at once.
const MAX_CARRIED: usize = 256;
/// How many bytes the calls may have that are being sent at once, except that one call always fits.
const MAX_SENDING: usize = 64 * 1024 * 1024;
/// How many replies are kept for a denial that may follow.
const MAX_REPLIES: usize = 256;
/// How many denials may wait for a reason.
const MAX_DENIALS: usize = 256;
/// The longest reply that is kept, in characters. That is the longest message of a person.
const MAX_REPLY: usize = 4_096;

/// What one engine carries.
pub(super) struct Carried {
    state: Mutex<State>,
    /// Its value changes with the state.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    open: HashMap<String, Open>,
    /// The tasks that still edit a message.
    running: usize,
    /// How many receive verdicts about other processes' questions.
    receivers: usize,
    /// Receives updates. Cancelled when this is dropped.
    poller: Option<Task>,
    /// What people replied to messages, oldest first.
    replies: VecDeque<(Place, i64, String)>,
    denials: HashMap<Place, Denial>,
}

/// A message, wherever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place {
    chat: i64,
    message: i64,
}

impl From<Message> for Place {
    fn from(message: Message) -> Place {
        Place {
            chat: message.chat.id,
            message: message.message_id,
        }
    }
}

/// What a question's message shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Face {
    /// The buttons, if the question has any.
    Asking,
    /// That a reason is awaited.
    AskingReason,
    /// How it ended.
    Over(String),
}

/// What the task of a question has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) face: Face,
    /// How many notes were written, and the last one.
    pub(super) notes: (u32, String),
}

/// A question that is open.
struct Open {
    fingerprint: String,
    buttons: Buttons,
    /// `None` once a verdict was given. The store has not accepted it yet.
    answer: Option<Answer>,
    /// Who gave it.
    who: Option<User>,
    /// Whether the message has buttons.
    is_approvable: bool,
    /// How many bytes are being sent.
    sending: usize,
    /// When the engine's time is up.
    until: Option<Instant>,
    expires_ms: Option<i64>,
    wanted: watch::Sender<Wanted>,
}

/// What the person who denied wants to be recorded, once the reason is known.
pub(super) struct Denial {
    pub(super) who: User,
    pub(super) target: Target,
    /// Ends the wait. Cancelled when this is dropped.
    pub(super) timer: Option<Task>,
}

/// A question that somebody decides about.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// One of ours: its id.
    Own(String),
    /// One of another process, and the engine's name there.
    Other { item: Arc<Item>, engine: Arc<str> },
}

impl Target {
    fn is_own(&self, item: &str) -> bool {
        matches!(self, Target::Own(own) if own == item)
    }
}

/// One of our questions, as a press finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) item: String,
    /// Whether a verdict was given already.
    pub(super) is_decided: bool,
    /// Whether it can be decided here.
    pub(super) is_approvable: bool,
    pub(super) until: Option<Instant>,
    pub(super) expires_ms: Option<i64>,
}

/// What became of a verdict about one of our questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    /// It is on its way to the store.
    Given,
    /// Somebody was faster.
    TooLate,
}

impl Default for Carried {
    fn default() -> Carried {
        Carried {
            state: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }
}

impl Carried {
    /// Adds a question. Returns what its task has to follow.
    ///
    /// # Errors
    /// If there are too many. Returns the answer.
    pub(super) fn insert(
        &self,
        item: &Item,
        answer: Answer,
        until: Option<Instant>,
    ) -> Result<(Buttons, watch::Receiver<Wanted>), (Answer, Failure)> {
        let fingerprint = item.fingerprint();
        let buttons = match Buttons::new(&fingerprint) {
            Ok(buttons) => buttons,
            Err(error) => {
                let why = format!("the system has no randomness: {error}");
                return Err((answer, Failure::unreachable(why)));
            }
        };
        let mut state = self.held();
        let sending: usize = state.open.values().map(|open| open.sending).sum();
        let is_full = sending > 0 && sending.saturating_add(item.call.len()) > MAX_SENDING;
        if state.open.len() >= MAX_CARRIED || is_full {
            let failure = Failure {
                kind: FailureKind::RateLimited,
                why: format!("{} of its questions are already open", state.open.len()),
            };
            return Err((answer, failure));
        }
        let (wanted, receiver) = watch::channel(Wanted {
            face: Face::Asking,
            notes: (0, String::new()),
        });
        let open = Open {
            fingerprint,
            buttons: buttons.clone(),
            answer: Some(answer),
            who: None,
            is_approvable: false,
            sending: item.call.len(),
            until,
            expires_ms: item.expires_ms,
            wanted,
        };
        state.open.insert(item.id.clone(), open);
        drop(state);
        self.changed();
        Ok((buttons, receiver))
    }

    /// The message of a question is about to be sent, with or without buttons.
    pub(super) fn shows(&self, item: &str, is_approvable: bool) {
        if let Some(open) = self.held().open.get_mut(item) {
            open.is_approvable = is_approvable;
        }
    }

    /// The service has the question.
    pub(super) fn is_sent(&self, item: &str) {
        if let Some(open) = self.held().open.get_mut(item) {
            open.sending = 0;
        }
    }

    /// Returns our question with these buttons, if they stood below what was asked.
    pub(super) fn find(&self, buttons: &Buttons) -> Option<Found> {
        let state = self.held();
        let mut open = state.open.iter();
        let (item, open) = open.find(|(_, open)| open.buttons.token == buttons.token)?;
        // INVARIANT 2: what was sent, whatever the store says.
        buttons.are_of(&open.fingerprint).then(|| Found {
            item: item.clone(),
            is_decided: open.answer.is_none(),
            is_approvable: open.is_approvable,
            until: open.until,
            expires_ms: open.expires_ms,
        })
    }

    /// Gives a verdict about one of our questions.
    pub(super) fn give(&self, item: &str, verdict: CarriedVerdict, who: &User) -> Given {
        let mut state = self.held();
        let answer = state.open.get_mut(item).and_then(|open| {
            let answer = open.answer.take()?;
            open.who = Some(who.clone());
            Some(answer)
        });
        state
            .denials
            .retain(|_, denial| !denial.target.is_own(item));
        drop(state);
        match answer {
            None => Given::TooLate,
            Some(answer) => {
                answer.send(Ok(verdict));
                Given::Given
            }
        }
    }

    /// Reports that a question cannot be asked or answered here, unless it was decided.
    pub(super) fn fail(&self, item: &str, failure: Failure) {
        let open = self.take(item);
        if let Some(answer) = open.and_then(|open| open.answer) {
            answer.send(Err(failure));
        }
    }

    /// Reports that no verdict can be received any more.
    pub(super) fn fail_all(&self, failure: &Failure, face: &str) {
        let items: Vec<String> = self.held().open.keys().cloned().collect();
        for item in items {
            self.show(&item, |_| Face::Over(face.to_owned()));
            self.fail(&item, failure.clone());
        }
    }

    /// Forgets a question. `outcome` is given who decided here, and returns what its message shows from now on.
    pub(super) fn end(&self, item: &str, outcome: impl FnOnce(Option<&User>) -> String) {
        if let Some(open) = self.take(item) {
            let outcome = outcome(open.who.as_ref());
            open.wanted
                .send_modify(|wanted| wanted.face = Face::Over(outcome));
        }
    }

    /// Forgets all questions, and shows that they do not wait any more.
    pub(super) fn end_all(&self, outcome: &str) {
        let items: Vec<String> = self.held().open.keys().cloned().collect();
        for item in items {
            self.end(&item, |_| outcome.to_owned());
        }
    }

    /// Changes what the message of a question shows.
    pub(super) fn show(&self, item: &str, face: impl FnOnce(&Face) -> Face) {
        if let Some(open) = self.held().open.get(item) {
            open.wanted
                .send_modify(|wanted| wanted.face = face(&wanted.face));
        }
    }

    /// Adds a note to the message of a question.
    pub(super) fn note(&self, item: &str, note: &str) {
        if let Some(open) = self.held().open.get(item) {
            open.wanted.send_modify(|wanted| {
                wanted.face = Face::Asking;
                wanted.notes = (wanted.notes.0.wrapping_add(1), note.to_owned());
            });
        }
    }

    fn take(&self, item: &str) -> Option<Open> {
        let mut state = self.held();
        state
            .denials
            .retain(|_, denial| !denial.target.is_own(item));
        let open = state.open.remove(item);
        drop(state);
        self.changed();
        open
    }

    /// Keeps what somebody replied to a message, for a denial that may follow.
    pub(super) fn keep_reply(&self, place: Place, user: i64, text: &str) {
        let mut state = self.held();
        state
            .replies
            .retain(|(at, by, _)| (*at, *by) != (place, user));
        if state.replies.len() >= MAX_REPLIES {
            state.replies.pop_front();
        }
        let text: String = text.chars().take(MAX_REPLY).collect();
        state.replies.push_back((place, user, text));
    }

    /// Takes what somebody replied to a message.
    pub(super) fn take_reply(&self, place: Place, user: i64) -> Option<String> {
        let mut state = self.held();
        let mut replies = state.replies.iter();
        let at = replies.position(|(at, by, _)| (*at, *by) == (place, user))?;
        state.replies.remove(at).map(|(_, _, text)| text)
    }

    /// Lets a denial wait for its reason.
    ///
    /// # Errors
    /// If there is no room for it. Returns the denial.
    pub(super) fn wait_for_reason(&self, place: Place, denial: Denial) -> Result<(), Box<Denial>> {
        let mut state = self.held();
        if state.denials.len() >= MAX_DENIALS {
            return Err(Box::new(denial));
        }
        state.denials.insert(place, denial);
        drop(state);
        self.changed();
        Ok(())
    }

    /// Keeps the timer of a denial. Cancels it if the denial does not wait any more.
    pub(super) fn times(&self, place: Place, timer: Task) {
        if let Some(denial) = self.held().denials.get_mut(&place) {
            denial.timer = Some(timer);
        }
    }

    /// Returns who has denied at this message, if the reason is still awaited.
    pub(super) fn denied_by(&self, place: Place) -> Option<i64> {
        let state = self.held();
        state.denials.get(&place).map(|denial| denial.who.id)
    }

    /// Returns true if a denial of this question of ours waits for its reason, at whichever message.
    pub(super) fn is_denied(&self, item: &str) -> bool {
        let state = self.held();
        let mut denials = state.denials.values();
        denials.any(|denial| denial.target.is_own(item))
    }

    /// Takes the denial at this message.
    pub(super) fn take_denial(&self, place: Place) -> Option<Denial> {
        let denial = self.held().denials.remove(&place);
        self.changed();
        denial
    }

    /// A task of a question begins.
    pub(super) fn begins(self: &Arc<Carried>) -> RunningTask {
        self.held().running += 1;
        RunningTask(Arc::clone(self))
    }

    /// Returns true if a task may still edit a message.
    pub(super) fn is_running(&self) -> bool {
        self.held().running > 0
    }

    /// Waits until no task edits a message any more.
    pub(super) async fn all_done(&self) {
        self.until(|state| state.running == 0).await;
    }

    /// Waits until the store has accepted the verdicts that were given, or refused them.
    pub(super) async fn all_written(&self) {
        let is_open = |open: &Open| open.answer.is_some();
        self.until(|state| state.open.values().all(is_open)).await;
    }

    /// Waits until no question of ours is open, and nobody receives for others, for as long as `linger`.
    pub(super) async fn idle(&self, linger: Duration) {
        loop {
            self.until(|state| !state.is_needed()).await;
            let again = self.until(State::is_needed);
            if tokio::time::timeout(linger, again).await.is_err() {
                return;
            }
        }
    }

    /// Starts the poller with `start`, unless one runs.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn poll(
        &self,
        start: impl FnOnce() -> Result<Task, Failure>,
    ) -> Result<(), Failure> {
        let mut state = self.held();
        if state.poller.is_none() {
            state.poller = Some(start()?);
        }
        Ok(())
    }

    /// The poller ends, unless there is something to receive again. Returns true if it may end.
    pub(super) fn ends_polling(&self) -> bool {
        let mut state = self.held();
        if state.is_needed() {
            return false;
        }
        if let Some(poller) = state.poller.take() {
            poller.detach();
        }
        true
    }

    /// Cancels the poller, unless somebody receives for others.
    pub(super) fn cancel_polling(&self) {
        let mut state = self.held();
        if state.receivers == 0 {
            state.denials.clear();
            state.poller = None;
        }
    }

    /// One more receives verdicts about other processes' questions, or one less.
    pub(super) fn receives(&self, change: Receiving) {
        let mut state = self.held();
        state.receivers = match change {
            Receiving::Begins => state.receivers.saturating_add(1),
            Receiving::Ends => state.receivers.saturating_sub(1),
        };
        drop(state);
        self.changed();
    }

    async fn until(&self, is_so: impl Fn(&State) -> bool) {
        let mut changes = self.changes.subscribe();
        loop {
            if is_so(&self.held()) {
                return;
            }
            // Cannot fail: `self` holds the sender.
            let _ = changes.changed().await;
        }
    }

    fn changed(&self) {
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn held(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_needed(&self) -> bool {
        !self.open.is_empty() || self.receivers > 0 || !self.denials.is_empty()
    }
}

/// Whether somebody begins or ends to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receiving {
    Begins,
    Ends,
}

/// Counts as a running task until it is dropped.
pub(super) struct RunningTask(Arc<Carried>);

impl Drop for RunningTask {
    fn drop(&mut self) {
        let mut state = self.0.held();
        state.running = state.running.saturating_sub(1);
        drop(state);
        self.0.changed();
    }
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
