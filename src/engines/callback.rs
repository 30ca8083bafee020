//! Callbacks: POSTs to `/callback/NAME` with which a service answers later.
//!
//! The page receives them and asks the store whether the item is still open; the engine checks who sent them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use axum::http::HeaderMap;

use super::courier::CarriedVerdict;
use crate::approval::item::Item;

/// Checks the callbacks of one engine, and takes the verdicts about items that it carries in this process.
pub trait Callback: Debug + Send + Sync {
    /// Checks the sender and reads the answer. `now_ms` is in milliseconds since 1970, UTC.
    ///
    /// # Errors
    /// [`BadCallback`].
    fn read(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now_ms: i64,
    ) -> Result<CallbackAnswer, BadCallback>;

    /// Gives the verdict to the courier that carries the item in this process.
    ///
    /// The caller has checked that the store has `item` as open, and with the fingerprint of the answer.
    fn deliver(&self, answer: &CallbackAnswer, item: &Item) -> Delivery;

    /// Remembers that the callback has counted, so that it cannot count again.
    fn has_counted(&self, answer: &CallbackAnswer);
}

/// The content of a callback whose sender is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackAnswer {
    /// The id of this callback.
    pub message: String,
    /// The id of the item.
    pub item: String,
    /// The fingerprint of what the service was shown.
    pub fingerprint: String,
    /// The verdict.
    pub verdict: CarriedVerdict,
    /// When the callback was sent, in seconds since 1970, UTC.
    pub sent_s: i64,
}

/// What has become of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The courier has it.
    Delivered,
    /// No courier of this process carries the item. The verdict may count in the process that asked.
    Elsewhere,
    /// It must not count, for this reason.
    Refused(&'static str),
}

/// Why a callback does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCallback {
    /// It is not known who sent it.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The sender is known, but the content is no answer.
    #[error("{0}")]
    Malformed(&'static str),
    /// The same callback has counted already.
    #[error("this callback has counted already")]
    Replayed,
}

/// The callbacks of all engines of a process, by the engines' names.
#[derive(Debug, Default)]
pub struct Callbacks(BTreeMap<String, Arc<dyn Callback>>);

impl Callbacks {
    /// Returns the engine's callback; `None` if there is no such engine, or if it takes none.
    #[must_use]
    pub fn of(&self, engine: &str) -> Option<&Arc<dyn Callback>> {
        self.0.get(engine)
    }
}

impl FromIterator<(String, Arc<dyn Callback>)> for Callbacks {
    fn from_iter<I: IntoIterator<Item = (String, Arc<dyn Callback>)>>(callbacks: I) -> Callbacks {
        Callbacks(callbacks.into_iter().collect())
    }
}
