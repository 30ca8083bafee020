//! The store, where questions wait for people and verdicts wait for proxies.
//!
//! A store may be shared by many machines: it implements [`ApprovalRequests`] and [`Liveness`]. [`Logins`] to the page,
//! and the [`Devices`] paired with it, stay on this machine. Only [`open()`] knows the implementation.

mod approvals;
#[cfg(test)]
pub(crate) mod conformance;
mod devices;
mod open;
mod sqlite;

use std::fmt;
use std::os::fd::BorrowedFd;
use std::time::Duration;

pub use self::approvals::{Added, Approvals, KEPT_MS, MAX_OWNERS, MAX_PENDING, StoredApproval};
pub use self::devices::{DEVICE_MS, Device, Devices, MAX_DEVICES, MAX_WRONG_CODES, Offer, Paired};
pub use self::open::{Store, check, may_resume, open};
pub use crate::approval::item::Closed;
use crate::approval::item::{Choice, Item, Verdict};
pub use crate::sys::state_dir::{ErrorKind, Place, StoreError};

/// The longest reason that a verdict may have, in bytes; longer ones are cut.
pub const MAX_REASON: usize = 4 * 1024;
/// How many items may wait at once, for all proxies together.
pub const MAX_WAITING: usize = 10_000;
/// How much of the history is kept, in items.
pub const MAX_HISTORY: usize = 10_000;
/// How long history is kept, in milliseconds: 30 days.
pub const HISTORY_MS: i64 = 30 * 24 * 60 * 60 * 1_000;
/// How many keys may stand for one item.
pub const MAX_KEYS: usize = 64;
/// How many tokens of one kind are remembered.
pub const MAX_TOKENS: usize = 1_000;

/// The note about the call of an entry that no longer waits.
pub const AS_IN_THE_LOG: &str = "Secrets in the call were replaced and long values shortened, as in \
    the audit log.";

/// The note about an entry with a [disregarded](Entry::was_disregarded) verdict.
pub const DISREGARDED: &str = "A verdict on this call did not count: it was not made with the \
    passphrase that was set when this call's proxy started. If it was yours, restart the agent's \
    client. If it was not, somebody else has tried to decide.";

/// Questions and verdicts that many proxies share.
///
/// A proxy takes a [`Lease`] before it asks, and keeps it. The next [`sweep`](ApprovalRequests::sweep) closes the items
/// of proxies without a lease, unless another proxy may [resume](ApprovalRequests::resume) them. Once an item no longer
/// waits, its entry contains the call only as the audit log would.
///
/// When a method returns, its change is durable, and every other user of the same store sees it. Times are milliseconds
/// since 1970, UTC; no method compares them with a clock. One thread at a time uses an implementation, and its methods
/// block.
pub trait ApprovalRequests: Send {
    /// Adds an item of a proxy to the inbox, as waiting. Also does a small part of a
    /// [`sweep`](ApprovalRequests::sweep), because nobody sweeps while no process serves a page.
    ///
    /// # Errors
    /// Like every method of this trait: [`StoreError`]. Also `Full` if [`MAX_WAITING`] items wait.
    fn ask(&mut self, item: &Item, proxy: &str) -> Result<(), StoreError>;

    /// Parks an item: its call has been refused for now, and it waits until `until_ms`.
    fn park(&mut self, id: &str, until_ms: i64) -> Result<(), StoreError>;

    /// Closes an item that still waits, without a decision. If somebody has decided already, discards that verdict.
    fn close(&mut self, id: &str, how: Closed, now_ms: i64) -> Result<(), StoreError>;

    /// Closes an item as withdrawn if it still waits. Otherwise changes nothing and returns false: somebody may have
    /// decided, and that verdict can still be taken.
    fn withdraw(&mut self, id: &str, now_ms: i64) -> Result<bool, StoreError>;

    /// Records a verdict about an item. The first verdict counts; later ones do not.
    fn decide(&mut self, id: &str, verdict: &SignedVerdict) -> Result<Decided, StoreError>;

    /// Reopens an item because its verdict did not count. It waits again unless it has expired, and its entry says that
    /// a verdict was disregarded.
    fn reopen(&mut self, id: &str) -> Result<(), StoreError>;

    /// Returns the verdicts about a proxy's items that it has not taken yet. Returns each only once.
    fn take_verdicts(&mut self, proxy: &str) -> Result<Vec<(String, SignedVerdict)>, StoreError>;

    /// Confirms the verdicts that a proxy has taken, and forgets what was kept in case they did not count. The proxy
    /// must [reopen](ApprovalRequests::reopen) first those that do not count.
    fn settle(&mut self, proxy: &str) -> Result<(), StoreError>;

    /// Lets another proxy [resume](ApprovalRequests::resume) the item with this key, once its owner has left it or has
    /// died. The item must be this proxy's, and parked, or decided while parked with a verdict that is not
    /// [settled](ApprovalRequests::settle). Returns false if it is not.
    fn mark(&mut self, id: &str, proxy: &str, key: &str) -> Result<bool, StoreError>;

    /// Makes this proxy the owner of an item that was [marked](ApprovalRequests::mark) with this key, if its owner has
    /// left it or has died, and its parked time is not over; a decided item whose key begins with [`LASTING`] has
    /// longer. The item stays marked: until it is [taken up](ApprovalRequests::take_up), this proxy too may leave it or
    /// die. This proxy can take its verdict, if there is one, as it was given. Prefers a decided item, then the newest
    /// one.
    fn resume(
        &mut self,
        key: &str,
        proxy: &str,
        now_ms: i64,
    ) -> Result<Option<Resumed>, StoreError>;

    /// Takes up a marked item: from now on a call of this proxy waits for it, and no proxy can resume it. Returns false
    /// if it was not this proxy's, or not marked: then its verdict must not let anything run.
    fn take_up(&mut self, id: &str, proxy: &str) -> Result<bool, StoreError>;

    /// Ends this proxy's ownership of the item. A marked item, and its verdict if there is one, waits for another proxy
    /// until its parked time is over; any other item is [closed](ApprovalRequests::close) as withdrawn. Ignores items
    /// of other proxies.
    fn leave(&mut self, id: &str, proxy: &str, now_ms: i64) -> Result<(), StoreError>;

    /// Adds decisions made through other engines to the history, with their calls as for any item that no longer waits.
    /// If the store already has the item as withdrawn, updates that row; any other existing row stays unchanged.
    fn record(&mut self, decided: &[Elsewhere]) -> Result<(), StoreError>;

    /// Remembers which item a key of an engine's message stands for, as long as the item's row exists. Ignores unknown
    /// items, and keys beyond [`MAX_KEYS`] of an item.
    fn remember(&mut self, key: &str, what: &Remembered) -> Result<(), StoreError>;

    /// Returns what a key stands for. Any program that can write to the store may have written it.
    fn recall(&mut self, key: &str) -> Result<Option<Remembered>, StoreError>;

    /// Returns true if another user of the store has changed it since the last call that returned true, or since it was
    /// opened. Waits for a change, at most `longest`, or until `interrupt` is readable. Returns at most a few
    /// hundredths of a second after a change. Cheap if `longest` is zero.
    ///
    /// May return true although nothing visible has changed.
    fn changed(
        &mut self,
        longest: Duration,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> Result<bool, StoreError>;

    /// Returns the waiting items, oldest first, at most `limit`, and how many there are in all.
    fn waiting(&mut self, limit: usize) -> Result<(Vec<Entry>, usize), StoreError>;

    /// Returns the items that no longer wait, newest first, at most `limit`.
    fn history(&mut self, filter: &Filter, limit: usize) -> Result<Vec<Entry>, StoreError>;

    /// Returns one item.
    fn find(&mut self, id: &str) -> Result<Option<Entry>, StoreError>;

    /// Returns the items whose id begins with `beginning`, at most `limit`. Waiting items come first.
    fn find_by_beginning(
        &mut self,
        beginning: &str,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError>;

    /// Closes expired items, and items of dead proxies that no other proxy may resume. Forgets history older than
    /// [`HISTORY_MS`] or beyond the newest [`MAX_HISTORY`] items. The process that serves the page calls it regularly.
    fn sweep(&mut self, now_ms: i64) -> Result<(), StoreError>;

    /// Checks that this is still the store that everybody else uses, and that it can be read.
    ///
    /// # Errors
    /// `Unusable` or `Unreachable` if it is gone or was replaced; `Damaged` if it can no longer be read.
    fn check(&mut self) -> Result<(), StoreError>;

    /// Removes forgotten and replaced data from the store's files. Does not wait for other users of the store: returns
    /// false if one of them is in the way. Then try again later.
    fn scrub(&mut self) -> Result<bool, StoreError>;
}

/// Knows which proxies are alive. The items of a dead proxy are closed, or left to another one.
pub trait Liveness: Send {
    /// Registers a proxy as alive until the lease is dropped or the process ends in any way.
    ///
    /// A proxy's name has 1 to 64 ASCII letters, digits, `-` and `_`.
    ///
    /// # Errors
    /// `Locked` if a proxy of that name is alive; `Unusable` if the name is not valid; else any [`StoreError`].
    fn lease(&mut self, proxy: &str) -> Result<Lease, StoreError>;

    /// Like [`lease`](Liveness::lease), but does not wait: returns `None` if a proxy of that name is alive.
    ///
    /// # Errors
    /// `Unusable` if the name is not valid; else any [`StoreError`].
    fn try_lease(&mut self, proxy: &str) -> Result<Option<Lease>, StoreError>;
}

/// Shows that a proxy is alive.
pub struct Lease {
    /// Ends the lease when it is dropped.
    _held: Box<dyn Send + Sync>,
}

impl Lease {
    /// Creates a lease that lasts until `held` is dropped.
    pub(in crate::engines::inbox) fn new(held: impl Send + Sync + 'static) -> Lease {
        Lease {
            _held: Box::new(held),
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").finish_non_exhaustive()
    }
}

/// The tokens for logging in to the page of this machine, and its sessions. Keeps only the tokens' hashes.
pub trait Logins: Send {
    /// Adds a token until `until_ms`. If there are more than [`MAX_TOKENS`] of a kind, forgets those that expire first.
    ///
    /// # Errors
    /// Like every method of this trait: [`StoreError`].
    fn add_token(&mut self, kind: Token, hash: &[u8; 32], until_ms: i64) -> Result<(), StoreError>;

    /// Returns true if the token exists and has not expired.
    fn has_token(&mut self, kind: Token, hash: &[u8; 32], now_ms: i64) -> Result<bool, StoreError>;

    /// Like [`has_token`](Logins::has_token), and removes the token. Returns true to only one of several callers.
    fn take_token(&mut self, kind: Token, hash: &[u8; 32], now_ms: i64)
    -> Result<bool, StoreError>;

    /// Stores an approver's name with a token.
    fn set_approver(&mut self, kind: Token, hash: &[u8; 32], name: &str) -> Result<(), StoreError>;

    /// Returns the approver's name of a token; `None` also if there is no such token. Do not trust it: any program that
    /// can write to the store may have written it.
    fn approver(&mut self, kind: Token, hash: &[u8; 32]) -> Result<Option<String>, StoreError>;

    /// Forgets the expired tokens, codes and devices.
    fn forget_old(&mut self, now_ms: i64) -> Result<(), StoreError>;
}

/// An item that a proxy has [resumed](ApprovalRequests::resume).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed {
    /// Its id.
    pub id: String,
    /// When it was asked.
    pub asked_ms: i64,
    /// The deadline for the person before it was parked.
    pub expires_ms: Option<i64>,
    /// The end of its parked time.
    pub parked_until_ms: i64,
    /// Whether somebody has decided about it.
    pub is_decided: bool,
}

/// The beginning of keys whose items can be [resumed](ApprovalRequests::resume) for [`KEPT_MS`] after their time, if
/// somebody decided in time: an agent's process may run again only days later.
pub const LASTING: &str = "approval:";

/// A verdict with its signature, if it was made with the passphrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedVerdict {
    /// The verdict.
    pub verdict: Verdict,
    /// An Ed25519 signature, if there is a passphrase.
    pub signature: Option<Vec<u8>>,
    /// The name in the audit log of the engine that it came through; `None` for the inbox.
    pub engine: Option<String>,
}

/// A decision of a person through another engine than the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// The call as the inbox would have shown it.
    pub item: Item,
    /// The verdict.
    pub verdict: Verdict,
    /// The engine's name in the audit log.
    pub engine: String,
}

/// What a key of an engine's message stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The item's id.
    pub item: String,
    /// The engine's name in the process that asked.
    pub engine: String,
}

/// Cuts a reason at [`MAX_REASON`]. Stores keep the cut reason, and signatures cover it.
#[must_use]
pub fn cut_reason(reason: &str) -> &str {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    reason.get(..end).unwrap_or_default()
}

/// The kinds of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// Logs a browser in, once.
    Login,
    /// Belongs to a browser that has logged in.
    Session,
}

/// The result of recording a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    /// It counts.
    Recorded,
    /// The item no longer waits.
    TooLate(State),
    /// There is no such item.
    Unknown,
}

/// The state of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A call waits for the verdict.
    Waiting,
    /// The call has been refused for now; once approved, it may be made again.
    Parked,
    /// Somebody decided.
    Decided(Choice),
    /// It was closed without a decision.
    Closed(Closed),
}

impl State {
    /// Returns true if the item can still be decided.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, State::Waiting | State::Parked)
    }

    /// Returns the word for the state in the store, on the page and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Parked => "parked",
            State::Decided(Choice::Approve) => "approved",
            State::Decided(Choice::Deny) => "denied",
            State::Closed(Closed::Expired) => "expired",
            State::Closed(Closed::Withdrawn) => "withdrawn",
        }
    }
}

/// An item and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The item. Once it no longer waits, secrets in its call are replaced and long values shortened,
    /// as in the audit log.
    pub item: Item,
    /// Its state.
    pub state: State,
    /// The verdict, if somebody decided.
    pub verdict: Option<Verdict>,
    /// The name in the audit log of the engine that the verdict came through; `None` for the inbox.
    pub engine: Option<String>,
    /// The end of a parked item's time.
    pub parked_until_ms: Option<i64>,
    /// When it stopped waiting.
    pub closed_ms: Option<i64>,
    /// The last verdict about it did not count: its proxy knows of a passphrase, and the verdict was
    /// not made with it.
    pub was_disregarded: bool,
}

/// Selects items of the history. The default selects all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The word of a [`State`].
    pub state: Option<String>,
    /// A server's exact name.
    pub server: Option<String>,
    /// Text in the tool's name, case-insensitive.
    pub tool: Option<String>,
    /// Only items asked before this time.
    pub before_ms: Option<i64>,
}
