//! The items that one webhook carries in this process, and the callbacks that have counted.
//!
//! The courier, its tasks and the page use it from different threads.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Answer;
use crate::approval::item::Item;
use crate::engines::CarriedVerdict;
use crate::engines::callback::Delivery;
use crate::engines::http::Task;
use crate::gate::{Failure, FailureKind};

/// How many items one webhook carries at once.
const MAX_CARRIED: usize = 256;
/// How many bytes the calls may have that are being sent at once, except that one call always fits.
const MAX_SENDING: usize = 64 * 1024 * 1024;
/// How many callbacks that have counted are remembered. Their items are closed, so none could count again anyway.
const MAX_COUNTED: usize = 4_096;
/// How many items are remembered that are no longer carried.
const MAX_OVER: usize = 4_096;

/// What one webhook carries.
#[derive(Default)]
pub(super) struct Carried {
    items: Mutex<Items>,
    /// The ids of callbacks that have counted, oldest first.
    counted: Mutex<VecDeque<(String, i64)>>,
}

#[derive(Default)]
struct Items {
    open: HashMap<String, Waiting>,
    /// The ids of items that were carried, oldest first. For a moment, the store still has them as open: a second answer
    /// must not count in that moment.
    over: VecDeque<String>,
}

impl Items {
    /// Removes an item that is carried.
    fn end(&mut self, item: &str) -> Option<Waiting> {
        let waiting = self.open.remove(item)?;
        if self.over.len() >= MAX_OVER {
            self.over.pop_front();
        }
        self.over.push_back(item.to_owned());
        Some(waiting)
    }
}

struct Waiting {
    fingerprint: String,
    answer: Answer,
    /// How many bytes are being sent.
    sending: usize,
    /// Sends the item and polls. Cancelled when this is dropped.
    task: Option<Task>,
}

impl Carried {
    /// Adds an item.
    ///
    /// # Errors
    /// If there are too many. Returns the answer.
    pub(super) fn insert(&self, item: &Item, answer: Answer) -> Result<(), (Answer, Failure)> {
        let mut items = held(&self.items);
        let sending: usize = items.open.values().map(|waiting| waiting.sending).sum();
        let is_full = sending > 0 && sending.saturating_add(item.call.len()) > MAX_SENDING;
        if items.open.len() >= MAX_CARRIED || is_full {
            let failure = Failure {
                kind: FailureKind::RateLimited,
                why: format!("{} of its questions are already open", items.open.len()),
            };
            return Err((answer, failure));
        }
        let waiting = Waiting {
            fingerprint: item.fingerprint(),
            answer,
            sending: item.call.len(),
            task: None,
        };
        items.over.retain(|over| *over != item.id);
        items.open.insert(item.id.clone(), waiting);
        Ok(())
    }

    /// Keeps the task of an item. Cancels it if the item is not carried any more.
    pub(super) fn runs(&self, item: &str, task: Task) {
        if let Some(waiting) = held(&self.items).open.get_mut(item) {
            waiting.task = Some(task);
        }
    }

    /// The service has the item.
    pub(super) fn is_sent(&self, item: &str) {
        if let Some(waiting) = held(&self.items).open.get_mut(item) {
            waiting.sending = 0;
        }
    }

    /// Sends the result, unless somebody else was faster.
    pub(super) fn settle(&self, item: &str, result: Result<CarriedVerdict, Failure>) {
        let waiting = held(&self.items).end(item);
        if let Some(Waiting { answer, .. }) = waiting {
            answer.send(result);
        }
    }

    /// Sends the verdict of a callback.
    pub(super) fn deliver(
        &self,
        item: &str,
        fingerprint: &str,
        verdict: CarriedVerdict,
    ) -> Delivery {
        let mut items = held(&self.items);
        match items.open.get(item) {
            None if items.over.iter().any(|over| over == item) => {
                return Delivery::Refused("this request was decided or withdrawn already");
            }
            None => return Delivery::Elsewhere,
            // INVARIANT 2: what was sent, whatever the store says.
            Some(waiting) if waiting.fingerprint != fingerprint => {
                return Delivery::Refused("`fingerprint` is not that of the request");
            }
            Some(_) => {}
        }
        let waiting = items.end(item);
        drop(items);
        if let Some(Waiting { answer, .. }) = waiting {
            answer.send(Ok(verdict));
        }
        Delivery::Delivered
    }

    /// Forgets an item, and cancels what is being done about it.
    pub(super) fn withdraw(&self, item: &str) {
        let withdrawn = held(&self.items).end(item);
        drop(withdrawn);
    }

    /// Forgets all items.
    pub(super) fn clear(&self) {
        let all = std::mem::take(&mut held(&self.items).open);
        drop(all);
    }

    /// Returns true if the callback with this id has counted.
    pub(super) fn has_counted(&self, callback: &str) -> bool {
        held(&self.counted).iter().any(|(id, _)| id == callback)
    }

    /// Remembers that a callback has counted. `sent_s` is in seconds since 1970.
    pub(super) fn count(&self, callback: &str, sent_s: i64) {
        use crate::engines::standard_webhooks::TOLERANCE_S;
        let mut counted = held(&self.counted);
        // An id that is older than twice the tolerance can no longer be in a message that is accepted.
        counted.retain(|(_, known_s)| sent_s.saturating_sub(*known_s) <= 2 * TOLERANCE_S);
        if counted.len() >= MAX_COUNTED {
            counted.pop_front();
        }
        counted.push_back((callback.to_owned(), sent_s));
    }
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").finish_non_exhaustive()
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
