//! What an engine has to do that carries approval requests to people and brings verdicts back.
//!
//! Every question outside of the client is an item of the store first, which the inbox shows. The worker hands it to
//! the courier of its engine, and is told the verdict. Of several verdicts, by whatever way, the store takes one.

use std::fmt::Debug;

use crate::approval::item::{Choice, Item};
use crate::gate::Failure;

/// Carries approval requests to people, and verdicts back.
///
/// It is told everything on the worker's thread, and must not keep that waiting: what takes time is done on threads of
/// its own, whose number it bounds.
pub trait Courier: Send {
    /// Shows a request to people. What comes of it goes to `answer`; nothing, if nobody decides before the item's
    /// time is over.
    fn carry(&mut self, item: &Item, answer: Answer);

    /// Nobody waits for a verdict about the item any more: it was decided elsewhere, taken back, or its time is over.
    /// An item that was never carried is none.
    fn withdraw(&mut self, item: &str);
}

/// A courier as it is configured.
pub trait CourierSettings: Debug + Send + Sync {
    /// Starts nothing yet.
    fn courier(&self) -> Box<dyn Courier>;
}

/// What a person said, as far as a courier can tell.
///
/// How sure it is that a person said it is not for a courier to claim: that depends on its engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarriedVerdict {
    /// Yes or no.
    pub choice: Choice,
    /// In the person's own words.
    pub reason: Option<String>,
    /// Who decided, as the service, the program, or they themselves say.
    pub approver: Option<String>,
}

/// Where a courier brings what comes of one item. The first answer counts.
pub struct Answer(Box<dyn FnOnce(Result<CarriedVerdict, Failure>) + Send>);

impl Answer {
    /// Hands the answer to `tell`, which may be called on any thread.
    pub(super) fn new(
        tell: impl FnOnce(Result<CarriedVerdict, Failure>) + Send + 'static,
    ) -> Answer {
        Answer(Box::new(tell))
    }

    /// Brings it.
    pub fn bring(self, answer: Result<CarriedVerdict, Failure>) {
        (self.0)(answer);
    }
}

impl Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}
