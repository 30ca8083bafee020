//! Receives the updates of a bot by long polling. Among the processes that share a store, one does so for each token.
//!
//! Written from <https://core.telegram.org/bots/api#getupdates>. `updates` decides what an update means.
//!
//! An update is confirmed with the next poll, and only after its verdict was written. If this process is killed before
//! that, the next one to poll gets the update again.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::Shared;
use super::bot::Refusal;
use super::types::RawUpdate;
use super::updates;
use crate::engines::http::Task;
use crate::engines::rows::Elected;
use crate::gate::{Failure, FailureKind};

/// How long the server holds a poll back if there is nothing to receive.
const POLL_TIME: Duration = Duration::from_secs(25);
/// The most updates of one answer.
const MAX_UPDATES: u32 = 20;
/// How long polling goes on after the last question, so that late presses are answered.
const LINGER: Duration = Duration::from_secs(5);
/// How long the store may take to accept a verdict before its update is confirmed all the same: if the process is alive,
/// it still has the verdict.
const WRITE_TIME: Duration = Duration::from_secs(3);
/// How long the last confirmation may take.
const CONFIRM_TIME: Duration = Duration::from_secs(2);
/// The pauses after failed polls.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The pause after a poll that another program ended. Polling at once would end that program's poll, and so on.
const CONFLICT_PAUSE: Duration = Duration::from_secs(5);
/// The pause before a process that receives for others tries a refused token again.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// How often an update is tried whose verdict cannot be written.
const MOST_TRIES: u32 = 5;

/// What is said in the messages of questions that can no longer be answered here.
const CANNOT_RECEIVE: &str = "Answers to this question cannot be received any more.";

/// The updates that are asked for.
pub(super) fn wanted_updates() -> Value {
    json!(["message", "callback_query"])
}

/// Starts the poller of this process, unless it runs.
///
/// # Errors
/// If it cannot be started.
pub(super) fn start(shared: &Arc<Shared>) -> Result<(), Failure> {
    let spawn = || -> Result<Task, Failure> {
        let poller = Poller::new(shared);
        shared.runtime.spawn(poller.run())
    };
    shared.carried.poll(spawn)
}

struct Poller {
    shared: Arc<Shared>,
    /// Confirms everything before it.
    offset: Option<i64>,
    /// The update that could not be handled, and how often it was tried.
    stuck: (i64, u32),
    pause: Duration,
    /// Whether the present trouble was reported. Once is enough.
    has_warned: bool,
}

/// Why this process does not poll any more.
enum Stop {
    /// There is nothing to receive.
    Idle,
    /// A process that signs wants to poll.
    Preempted,
    /// It will never work.
    Refused(Failure),
}

impl Poller {
    fn new(shared: &Arc<Shared>) -> Poller {
        Poller {
            shared: Arc::clone(shared),
            offset: None,
            stuck: (0, 0),
            pause: FIRST_PAUSE,
            has_warned: false,
        }
    }

    async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let credential = shared.credential();
        loop {
            let elected = tokio::select! {
                elected = shared.rows.elect(&credential) => elected,
                // Nothing was polled, so nothing can be late.
                () = shared.carried.idle(Duration::ZERO) => match shared.carried.ends_polling() {
                    true => return,
                    false => continue,
                },
            };
            // Another process may have polled in the meantime.
            self.offset = None;
            let stop = self.receive(&elected).await;
            self.confirm().await;
            drop(elected);
            match stop {
                Stop::Preempted => {}
                Stop::Idle => {
                    if shared.carried.ends_polling() {
                        return;
                    }
                }
                Stop::Refused(failure) => {
                    shared.carried.fail_all(&failure, CANNOT_RECEIVE);
                    if shared.carried.ends_polling() {
                        return;
                    }
                    self.warn(&failure.why);
                    sleep(REFUSED_PAUSE).await;
                }
            }
        }
    }

    /// Polls until there is a reason to stop.
    async fn receive(&mut self, elected: &Elected) -> Stop {
        let shared = Arc::clone(&self.shared);
        let preempted = elected.preempted();
        let idle = shared.carried.idle(LINGER);
        tokio::pin!(preempted, idle);
        loop {
            // A poll that is cancelled confirms nothing that was not handled.
            let stop = tokio::select! {
                () = &mut preempted => Some(Stop::Preempted),
                // Not made anew for each poll: in a busy chat, polls may be short.
                () = &mut idle => Some(Stop::Idle),
                polled = self.poll(POLL_TIME) => self.take(polled).await,
            };
            if let Some(stop) = stop {
                return stop;
            }
        }
    }

    async fn poll(&self, patience: Duration) -> Result<Vec<Value>, Refusal> {
        let mut parameters = json!({
            "timeout": patience.as_secs(),
            "limit": MAX_UPDATES,
            "allowed_updates": wanted_updates(),
        });
        if let (Some(offset), Some(members)) = (self.offset, parameters.as_object_mut()) {
            members.insert("offset".to_owned(), offset.into());
        }
        let bot = &self.shared.bot;
        bot.once("getUpdates", &parameters, patience).await
    }

    /// Handles the result of a poll.
    async fn take(&mut self, polled: Result<Vec<Value>, Refusal>) -> Option<Stop> {
        match polled {
            Ok(updates) => {
                self.pause = FIRST_PAUSE;
                self.has_warned = false;
                let handled = self.handle(updates).await;
                // The next poll confirms the updates.
                let written = self.shared.carried.all_written();
                let _ = timeout(WRITE_TIME, written).await;
                if let Err(failure) = handled {
                    self.warn(&failure.why);
                    sleep(self.next_pause()).await;
                }
                None
            }
            Err(refusal) => self.recover(refusal).await,
        }
    }

    /// Handles updates in their order.
    ///
    /// # Errors
    /// If a verdict could not be written. That update and those after it are received again.
    async fn handle(&mut self, updates: Vec<Value>) -> Result<(), Failure> {
        let mut answers = updates::Answers::new(&self.shared);
        for RawUpdate { id, update } in updates.into_iter().filter_map(RawUpdate::read) {
            let handled = match update {
                Some(update) => updates::handle(&self.shared, update, &mut answers).await,
                None => Ok(()),
            };
            if let Err(failure) = handled {
                self.stuck = match self.stuck {
                    (stuck, tries) if stuck == id => (id, tries + 1),
                    _ => (id, 1),
                };
                if self.stuck.1 < MOST_TRIES {
                    answers.all_sent().await;
                    return Err(failure);
                }
                self.warn(&failure.why);
            }
            self.offset = Some(id.saturating_add(1));
        }
        answers.all_sent().await;
        Ok(())
    }

    /// Waits as a failed poll requires. Returns why to stop, if waiting does not help.
    async fn recover(&mut self, refusal: Refusal) -> Option<Stop> {
        let Refusal {
            failure,
            status,
            retry_after,
            description,
        } = refusal;
        let pause = match status {
            Some(StatusCode::CONFLICT) if description.contains("webhook") => {
                return Some(Stop::Refused(Failure {
                    kind: FailureKind::Misconfigured,
                    why: format!(
                        "{}; another program has set a webhook for this bot, so make a bot of its own for \
                         approval-proxy, or delete the webhook",
                        failure.why
                    ),
                }));
            }
            Some(StatusCode::CONFLICT) => {
                self.warn(&format!(
                    "{}; another program polls this bot, and some answers may go there; give each program and \
                     each machine a bot of its own",
                    failure.why
                ));
                CONFLICT_PAUSE.max(self.next_pause())
            }
            Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) => {
                return Some(Stop::Refused(failure));
            }
            Some(_) | None => {
                let pause = self.next_pause();
                self.warn(&failure.why);
                retry_after.unwrap_or(pause)
            }
        };
        sleep(pause).await;
        None
    }

    fn next_pause(&mut self) -> Duration {
        let next = (self.pause * 2).min(LONGEST_PAUSE);
        std::mem::replace(&mut self.pause, next)
    }

    fn warn(&mut self, why: &str) {
        if !std::mem::replace(&mut self.has_warned, true) {
            let engine = self.shared.engine.name();
            tracing::warn!("the engine `{engine}` cannot receive answers at the moment: {why}");
        }
    }

    /// Confirms the updates that were handled. What comes back is not confirmed, so it is not lost.
    async fn confirm(&mut self) {
        if self.offset.is_some() {
            let confirmed = timeout(CONFIRM_TIME, self.poll(Duration::ZERO)).await;
            if !matches!(confirmed, Ok(Ok(_))) {
                tracing::debug!("the last updates were not confirmed and will come again");
            }
            self.offset = None;
        }
    }
}
