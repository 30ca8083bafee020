//! The courier trait: an engine that carries approval requests to people and brings verdicts back.
//!
//! Every question outside of the client is stored first, so that the inbox shows it. The worker then hands it to the
//! engine's courier and receives the verdict. If several verdicts arrive, the store accepts the first.

use std::ffi::OsString;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::callback::Callback;
use super::http::{HttpRuntime, TransportSettings};
use super::rows::Rows;
use crate::approval::item::{Choice, Closed, Item};
use crate::approval::render::Show;
use crate::evidence::redact::Redaction;
use crate::gate::{EngineId, Failure};

/// Carries approval requests to people, and verdicts back.
///
/// The worker's thread calls every method, so none may block. A courier does slow work on a bounded number of its own
/// threads.
pub trait Courier: Send {
    /// Shows a request to people and sends the result to `answer`. Sends nothing if nobody decides before the item
    /// expires.
    fn carry(&mut self, item: &Item, answer: Answer);

    /// Withdraws an item because nobody waits for its verdict any more: `ending` says why. Ignores an item that was
    /// never carried.
    fn withdraw(&mut self, item: &str, ending: &Ending);

    /// Tells people that a verdict about an item did not count, and that the item still waits. `approver` is who gave it,
    /// by its own account; `why` says why, as a part of a sentence.
    fn disregarded(&mut self, item: &str, approver: Option<&str>, why: &str) {
        let _ = (item, approver, why);
    }
}

/// Why nobody waits for the verdict about an item any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Somebody decided.
    Decided {
        /// Approve or deny.
        choice: Choice,
        /// The person's reason.
        reason: Option<String>,
        /// Who decided, as in the records.
        approver: Option<String>,
        /// The name of the engine that the verdict came through.
        engine: EngineId,
    },
    /// Nobody decided.
    Closed(Closed),
}

/// The configuration of a courier.
pub trait CourierSettings: Debug + Send + Sync {
    /// Creates the courier. Starts and connects nothing.
    fn courier(&self, context: &CourierContext) -> Box<dyn Courier>;

    /// Returns true if its cards link to the page, or if it awaits callbacks. Then the process that asks serves the
    /// page.
    fn needs_page(&self, context: &CourierContext) -> bool {
        let _ = context;
        false
    }

    /// Returns what receives POSTs to `/callback/NAME`; `None` if this engine has no such route.
    fn callback(&self, context: &CourierContext) -> Option<Arc<dyn Callback>> {
        let _ = context;
        None
    }

    /// Returns true if this person may decide here. `approver` is the name as in the records, such as
    /// `slack:U024BE7LH`. Asked about verdicts that another process received.
    fn recognizes(&self, approver: &str) -> bool {
        let _ = approver;
        true
    }

    /// Returns the same engine for this recipient alone: a channel, a person or an address. Where it is a person, only
    /// that person may decide, and only if the operator has named them. `None` if the engine cannot reach it.
    fn addressed(&self, recipient: &str) -> Option<Arc<dyn CourierSettings>> {
        let _ = recipient;
        None
    }

    /// Returns true if verdicts about this process's questions may reach another process, because the service allows one
    /// connection per credential.
    fn shares_connection(&self) -> bool {
        false
    }

    /// Receives the verdicts about other processes' questions until the returned value is dropped; `None` if this engine
    /// shares no connection.
    fn receive(&self, context: &CourierContext) -> Option<Box<dyn Send>> {
        let _ = context;
        None
    }

    /// Checks whether the engine can be reached and accepts its credentials, without asking anybody. Blocks, but not
    /// longer than `deadline`. Returns what it found as a sentence.
    ///
    /// # Errors
    /// If a question would fail now.
    fn test(&self, context: &CourierContext, deadline: Duration) -> Result<String, Failure>;
}

/// What a courier gets from its process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CourierContext {
    /// The engine's own name.
    pub name: EngineId,
    /// How much of the arguments the engine may send.
    pub show: Show,
    /// The engine's time for one question; `None` if only the item's own limit applies.
    pub timeout: Option<Duration>,
    /// The settings that all engines share for sending.
    pub transport: Arc<TransportSettings>,
    /// What counts as a secret in arguments.
    pub redaction: Redaction,
    /// Variables that secret options expand. Child processes must not inherit them.
    pub withheld: Arc<[OsString]>,
    /// The thread and the HTTP clients that all couriers of the process share.
    pub runtime: Arc<HttpRuntime>,
    /// Where the items' own pages are.
    pub page: PageLinks,
    /// The items of all processes that share the store.
    pub rows: Rows,
}

/// The address of the inbox's page, once it is known. All clones share it.
#[derive(Debug, Clone)]
pub struct PageLinks {
    address: Arc<watch::Sender<Option<String>>>,
    is_fixed: bool,
}

/// How long to wait for the address, if a card is useless without it.
const PAGE_TIME: Duration = Duration::from_secs(3);

impl Default for PageLinks {
    fn default() -> PageLinks {
        PageLinks {
            address: Arc::new(watch::Sender::new(None)),
            is_fixed: false,
        }
    }
}

impl PageLinks {
    /// Creates links with this address, which ends with `/`: the `pageUrl` of the configuration.
    #[must_use]
    pub fn fixed(address: String) -> PageLinks {
        PageLinks {
            address: Arc::new(watch::Sender::new(Some(address))),
            is_fixed: true,
        }
    }

    /// Sets the address of the local page, which ends with `/`. Changes nothing if the address is fixed.
    pub fn set(&self, address: String) {
        if !self.is_fixed {
            self.address.send_replace(Some(address));
        }
    }

    /// Returns the URL of an item's page, if it is known. Opening it requires a login.
    #[must_use]
    pub fn of(&self, item: &str) -> Option<String> {
        let address = self.address.borrow();
        let address = address.as_ref()?;
        Some(format!("{address}item/{item}"))
    }

    /// Like [`PageLinks::of`], but waits a moment if the page is just being opened.
    pub async fn soon(&self, item: &str) -> Option<String> {
        let mut known = self.address.subscribe();
        // Cannot fail: `self` holds the sender.
        let _ = timeout(PAGE_TIME, known.wait_for(Option::is_some)).await;
        self.of(item)
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
    /// The answers to the item's form, a JSON object; `None` if it has none, and for a no.
    pub fields: Option<String>,
}

/// Where a courier sends the result of one item. It can send only once.
pub struct Answer(Box<dyn FnOnce(Result<CarriedVerdict, Failure>) + Send>);

impl Answer {
    /// Creates an answer that calls `deliver`, possibly on another thread.
    #[must_use]
    pub fn new(deliver: impl FnOnce(Result<CarriedVerdict, Failure>) + Send + 'static) -> Answer {
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
