//! The courier trait: an engine that carries approval requests to people and brings verdicts back.
//!
//! Every question outside of the client is stored first, so that the inbox shows it. The worker then hands it to the
//! engine's courier and receives the verdict. If several verdicts arrive, the store accepts the first.

use std::fmt::Debug;

use crate::approval::item::{Choice, Item};
use crate::gate::Failure;

/// Carries approval requests to people, and verdicts back.
///
/// The worker's thread calls every method, so none may block. A courier does slow work on a bounded number of its own
/// threads.
pub trait Courier: Send {
    /// Shows a request to people and sends the result to `answer`. Sends nothing if nobody decides before the item
    /// expires.
    fn carry(&mut self, item: &Item, answer: Answer);

    /// Withdraws an item because nobody waits for its verdict any more: it was decided elsewhere, withdrawn, or has
    /// expired. Ignores an item that was never carried.
    fn withdraw(&mut self, item: &str);
}

/// The configuration of a courier.
pub trait CourierSettings: Debug + Send + Sync {
    /// Creates the courier. Does not start anything yet.
    fn courier(&self) -> Box<dyn Courier>;

    /// Returns true if its cards link to the page, or its answers come there: then the process that asks serves it.
    fn needs_page(&self) -> bool {
        false
    }
}

/// A verdict as a courier reports it.
///
/// A courier does not claim an assurance: that depends on its engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarriedVerdict {
    /// Approve or deny.
    pub choice: Choice,
    /// The person's reason.
    pub reason: Option<String>,
    /// Who decided, according to the service, the program, or the person.
    pub approver: Option<String>,
}

/// Where a courier sends the result of one item. It can send only once.
pub struct Answer(Box<dyn FnOnce(Result<CarriedVerdict, Failure>) + Send>);

impl Answer {
    /// Creates an answer that calls `deliver`, possibly on another thread.
    pub(super) fn new(
        deliver: impl FnOnce(Result<CarriedVerdict, Failure>) + Send + 'static,
    ) -> Answer {
        Answer(Box::new(deliver))
    }

    /// Sends the verdict, or the reason why there is none.
    pub fn send(self, answer: Result<CarriedVerdict, Failure>) {
        (self.0)(answer);
    }
}

impl Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}
