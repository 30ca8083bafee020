//! The items that one engine carries in this process, and the codes of their buttons.
//!
//! The courier, the tasks that publish and the reader of the replies use it from different threads. Does no I/O.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::approval::item::{Choice, Item};
use crate::engines::http::Task;
use crate::engines::{Answer, CarriedVerdict};
use crate::gate::{Failure, FailureKind};
use crate::sys::clock::random_hex;

/// How many items one engine carries at once.
const MAX_CARRIED: usize = 256;
/// How many bytes the calls may have that are being sent at once, except that one call always fits.
const MAX_SENDING: usize = 64 * 1024 * 1024;
/// How many random bytes a code has.
const CODE: usize = 16;

/// What one engine carries.
#[derive(Default)]
pub(super) struct Carried(Mutex<State>);

#[derive(Default)]
struct State {
    open: HashMap<String, Waiting>,
    /// What each code stands for. Only hashes are kept, so that the time of a lookup says nothing about a code.
    codes: HashMap<blake3::Hash, (String, Choice)>,
    /// Reads the replies while there are codes.
    reader: Option<Reader>,
}

struct Waiting {
    /// Kept without a verdict if the message has no buttons: the item stays open, and is decided elsewhere.
    answer: Answer,
    /// How many bytes are being sent.
    sending: usize,
    /// Publishes the item. Cancelled when this is dropped.
    task: Option<Task>,
}

struct Reader {
    /// Cancelled when this is dropped.
    _task: Task,
    reading: watch::Receiver<Reading>,
}

/// Whether replies arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Not yet, or not at the moment.
    Connecting,
    /// They do.
    Ready,
    /// The server refuses to let us read them.
    Refused,
}

/// The codes of one item's buttons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Codes {
    pub(super) approve: String,
    pub(super) deny: String,
}

impl Codes {
    /// Returns codes that stand for nothing, to measure a message with buttons.
    pub(super) fn of_full_length() -> Codes {
        let code = "0".repeat(2 * CODE);
        Codes {
            approve: code.clone(),
            deny: code,
        }
    }
}

impl Carried {
    /// Adds an item.
    ///
    /// # Errors
    /// If there are too many. Returns the answer.
    pub(super) fn insert(&self, item: &Item, answer: Answer) -> Result<(), (Answer, Failure)> {
        let mut state = self.held();
        let sending: usize = state.open.values().map(|waiting| waiting.sending).sum();
        let is_full = sending > 0 && sending.saturating_add(item.call.len()) > MAX_SENDING;
        if state.open.len() >= MAX_CARRIED || is_full {
            let failure = Failure {
                kind: FailureKind::RateLimited,
                why: format!("{} of its questions are already open", state.open.len()),
            };
            return Err((answer, failure));
        }
        // The codes of an item that is asked about again are void.
        state.revoke(&item.id);
        let waiting = Waiting {
            answer,
            sending: item.call.len(),
            task: None,
        };
        state.open.insert(item.id.clone(), waiting);
        Ok(())
    }

    /// Keeps the task of an item. Cancels it if the item is not carried any more.
    pub(super) fn runs(&self, item: &str, task: Task) {
        if let Some(waiting) = self.held().open.get_mut(item) {
            waiting.task = Some(task);
        }
    }

    /// The service has the item.
    pub(super) fn is_sent(&self, item: &str) {
        if let Some(waiting) = self.held().open.get_mut(item) {
            waiting.sending = 0;
        }
    }

    /// Makes the codes of an item's buttons, and starts to read the replies with `start`, unless that is being done.
    /// The receiver says whether replies arrive.
    ///
    /// # Errors
    /// If the reader cannot be started, if there is no randomness, or if nobody waits for the item any more.
    pub(super) fn offer(
        &self,
        item: &str,
        start: impl FnOnce(watch::Sender<Reading>) -> Result<Task, Failure>,
    ) -> Result<(Codes, watch::Receiver<Reading>), Failure> {
        let random = || {
            random_hex(CODE).map_err(|error| {
                Failure::unreachable(format!("the system has no randomness: {error}"))
            })
        };
        let codes = Codes {
            approve: random()?,
            deny: random()?,
        };
        let mut state = self.held();
        if !state.open.contains_key(item) {
            return Err(Failure::unreachable("nobody waits for an answer any more"));
        }
        let reading = match &state.reader {
            Some(reader) => reader.reading.clone(),
            None => {
                let (sender, reading) = watch::channel(Reading::Connecting);
                let _task = start(sender)?;
                let receiver = reading.clone();
                state.reader = Some(Reader { _task, reading });
                receiver
            }
        };
        for (code, choice) in [
            (&codes.approve, Choice::Approve),
            (&codes.deny, Choice::Deny),
        ] {
            let hash = blake3::hash(code.as_bytes());
            state.codes.insert(hash, (item.to_owned(), choice));
        }
        Ok((codes, reading))
    }

    /// Voids the codes of an item. The item stays open.
    pub(super) fn revoke(&self, item: &str) {
        self.held().revoke(item);
    }

    /// Sends the verdict that a code stands for. The code and the other one of its item are void after that. Returns
    /// false for any other text.
    pub(super) fn decide(&self, code: &str, approver: &str) -> bool {
        let mut state = self.held();
        let found = state.codes.get(&blake3::hash(code.as_bytes()));
        let Some((item, choice)) = found.cloned() else {
            return false;
        };
        let ended = state.end(&item);
        drop(state);
        if let Some(Waiting { answer, .. }) = ended {
            answer.send(Ok(CarriedVerdict {
                fields: None,
                choice,
                reason: None,
                approver: Some(approver.to_owned()),
            }));
        }
        true
    }

    /// Reports that an item cannot be asked about, unless somebody has decided.
    pub(super) fn fail(&self, item: &str, failure: Failure) {
        let ended = self.held().end(item);
        if let Some(Waiting { answer, .. }) = ended {
            answer.send(Err(failure));
        }
    }

    /// Forgets an item, and cancels what is being done about it.
    pub(super) fn withdraw(&self, item: &str) {
        let ended = self.held().end(item);
        drop(ended);
    }

    /// Forgets all items.
    pub(super) fn clear(&self) {
        let all = std::mem::take(&mut *self.held());
        drop(all);
    }

    fn held(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&mut self, item: &str) -> Option<Waiting> {
        self.revoke(item);
        self.open.remove(item)
    }

    fn revoke(&mut self, item: &str) {
        self.codes.retain(|_, (of, _)| of != item);
        if self.codes.is_empty() {
            self.reader = None;
        }
    }
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::engines::HttpRuntime;
    use crate::engines::for_test::{Results, item};

    fn carrying(carried: &Carried, id: &str) -> Results {
        let (sender, results) = channel();
        let answer = Answer::new(move |answer| {
            // The test may have ended already.
            let _ = sender.send(answer);
        });
        carried.insert(&item(id), answer).unwrap();
        results
    }

    fn offer(carried: &Carried, runtime: &HttpRuntime, id: &str) -> Codes {
        let start = |reading: watch::Sender<Reading>| {
            runtime.spawn(async move {
                reading.send_replace(Reading::Ready);
                std::future::pending().await
            })
        };
        carried.offer(&item(id).id, start).unwrap().0
    }

    #[test]
    fn a_code_counts_once_and_only_for_its_item_and_choice() {
        let (carried, runtime) = (Carried::default(), HttpRuntime::default());
        let (first, second) = (carrying(&carried, "a"), carrying(&carried, "b"));
        let codes = [
            offer(&carried, &runtime, "a"),
            offer(&carried, &runtime, "b"),
        ];
        let [a, b] = &codes;
        for other in [
            "",
            "approve",
            &item("a").id,
            a.approve.get(1..).unwrap(),
            &format!("{} ", a.approve),
        ] {
            assert!(!carried.decide(other, "ntfy:x"), "{other}");
        }
        assert!(carried.decide(&a.approve, "ntfy:x"));
        let verdict = first.recv().unwrap().unwrap();
        assert_eq!(verdict.choice, Choice::Approve);
        assert_eq!(verdict.approver.as_deref(), Some("ntfy:x"));
        for void in [&a.approve, &a.deny] {
            assert!(!carried.decide(void, "ntfy:x"));
        }
        assert!(second.try_recv().is_err());
        assert!(carried.decide(&b.deny, "ntfy:x"));
        assert_eq!(second.recv().unwrap().unwrap().choice, Choice::Deny);
    }

    #[test]
    fn the_codes_of_a_question_that_is_over_or_asked_again_are_void() {
        let (carried, runtime) = (Carried::default(), HttpRuntime::default());
        let results = carrying(&carried, "a");
        let codes = offer(&carried, &runtime, "a");
        carried.withdraw(&item("a").id);
        assert!(!carried.decide(&codes.approve, "x"));
        assert!(results.recv().is_err(), "no verdict, and nobody waits");
        let again = carrying(&carried, "a");
        assert!(!carried.decide(&codes.approve, "x"));
        let before = offer(&carried, &runtime, "a");
        carried.revoke(&item("a").id);
        assert!(!carried.decide(&before.approve, "x"));
        assert!(again.try_recv().is_err(), "it stays open");
    }

    #[test]
    fn replies_are_read_only_while_there_are_codes() {
        let (carried, runtime) = (Carried::default(), HttpRuntime::default());
        let _both = [carrying(&carried, "a"), carrying(&carried, "b")];
        assert!(carried.held().reader.is_none());
        let codes = offer(&carried, &runtime, "a");
        assert!(carried.held().reader.is_some());
        carried.decide(&codes.deny, "x");
        assert!(carried.held().reader.is_none());
        let gone = carried.offer(&item("a").id, |_| runtime.spawn(async {}));
        assert!(gone.is_err(), "nobody waits for it any more");
    }

    #[test]
    fn the_number_of_open_questions_is_bounded() {
        let carried = Carried::default();
        let all: Vec<_> = (0..MAX_CARRIED)
            .map(|n| carrying(&carried, &format!("{n:x}f")))
            .collect();
        let refused = carried.insert(&item("fff"), Answer::new(|_| ()));
        assert_eq!(refused.unwrap_err().1.kind, FailureKind::RateLimited);
        drop(all);
    }
}
