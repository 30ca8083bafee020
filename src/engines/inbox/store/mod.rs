//! Where questions wait for humans, and verdicts for proxies.
//!
//! Three traits: [`ApprovalRequests`] and [`Liveness`] are what a store of many machines implements; [`Logins`] to the
//! page stay on this one. Only [`open()`] knows which implementation there is.

#[cfg(test)]
pub(crate) mod conformance;
mod open;
mod sqlite;

use std::fmt;
use std::os::fd::BorrowedFd;
use std::time::Duration;

pub use self::open::{Store, may_resume, open};
pub use crate::approval::item::Closed;
use crate::approval::item::{Choice, Item, Verdict};
pub use crate::sys::state_dir::{ErrorKind, Place, StoreError};

/// The longest reason that a verdict may have, in bytes; longer ones are cut.
pub const MAX_REASON: usize = 4 * 1024;
/// How many items may wait at once, over all proxies.
pub const MAX_WAITING: usize = 10_000;
/// How much of the history is kept, in items.
pub const MAX_HISTORY: usize = 10_000;
/// For how long history is kept, in milliseconds: 30 days.
pub const HISTORY_MS: i64 = 30 * 24 * 60 * 60 * 1_000;
/// How many tokens of one kind are remembered.
pub const MAX_TOKENS: usize = 1_000;

/// What people are told about the call of an entry that waits no more.
pub const AS_IN_THE_LOG: &str = "Secrets in the call were replaced, and long values shortened, as in \
    the audit log.";

/// What people are told about an entry that [was disregarded](Entry::was_disregarded).
pub const DISREGARDED: &str = "A verdict was given that does not count: it was not made with the \
    passphrase that was set when this call's proxy started. If it was yours, start the agent's client \
    again. If it was not, somebody else has tried to decide.";

/// Questions and verdicts that many proxies share.
///
/// A proxy takes a [`Lease`] before it asks, and keeps it: what is asked without one is closed by the next
/// [`sweep`](ApprovalRequests::sweep), unless another proxy may [resume](ApprovalRequests::resume) it. Once an item
/// waits no more, its entry has its call as the audit log would.
///
/// Every change is durable when the method has returned, and seen by every other opener of the same store. Times are
/// milliseconds since 1970, UTC; no method reads a clock to judge one. An implementation is used by one thread at a
/// time, and its methods block.
pub trait ApprovalRequests: Send {
    /// Puts an item of a proxy's into the inbox, to wait. Forgets a little of what a [`sweep`](ApprovalRequests::sweep)
    /// would forget: where nobody serves a page, nobody sweeps.
    ///
    /// # Errors
    /// As every method of this trait: [`StoreError`]. `Full` also where [`MAX_WAITING`] wait.
    fn ask(&mut self, item: &Item, proxy: &str) -> Result<(), StoreError>;

    /// The call has been refused for now, and the item goes on waiting, until `until_ms`.
    fn park(&mut self, id: &str, until_ms: i64) -> Result<(), StoreError>;

    /// An item that still waits does so no more: nobody decided. Of one that somebody has decided about,
    /// nobody wants the verdict.
    fn close(&mut self, id: &str, how: Closed, now_ms: i64) -> Result<(), StoreError>;

    /// Closes an item as withdrawn if it still waits. False, and nothing has changed, if it does not: then somebody may
    /// have decided, and that verdict is still there to be taken.
    fn withdraw(&mut self, id: &str, now_ms: i64) -> Result<bool, StoreError>;

    /// Decides about an item. Of several verdicts, at once or later, the first counts.
    fn decide(&mut self, id: &str, verdict: &SignedVerdict) -> Result<Decided, StoreError>;

    /// A verdict did not count: the item waits again, if its time is not over, and its entry says so.
    fn reopen(&mut self, id: &str) -> Result<(), StoreError>;

    /// The verdicts about a proxy's items that it has not taken yet. Each is handed out once.
    fn take_verdicts(&mut self, proxy: &str) -> Result<Vec<(String, SignedVerdict)>, StoreError>;

    /// The verdicts that a proxy has taken count: what was kept in case they do not is forgotten. Those
    /// that do not count have been [reopened](ApprovalRequests::reopen) by now.
    fn settle(&mut self, proxy: &str) -> Result<(), StoreError>;

    /// From now on, another proxy may [resume](ApprovalRequests::resume) the item with this key, once its owner has left it or
    /// has died. Only where it is this proxy's and parked, or was decided so and its verdict is not
    /// [settled](ApprovalRequests::settle); returns whether it is.
    fn mark(&mut self, id: &str, proxy: &str, key: &str) -> Result<bool, StoreError>;

    /// Makes an item this proxy's own that was [marked](ApprovalRequests::mark) with this key, whose owner has left it or has
    /// died, and whose parked time is not over. It stays marked: until it is [taken up](ApprovalRequests::take_up), this
    /// proxy may leave it or die in its turn. Its verdict, if there is one, is for this proxy to take, as it was given.
    /// Of several such items, one that is decided comes first, then the newest.
    fn resume(
        &mut self,
        key: &str,
        proxy: &str,
        now_ms: i64,
    ) -> Result<Option<Resumed>, StoreError>;

    /// A call waits for the marked item from now on, and no proxy can resume it any more. False if it was not this
    /// proxy's, or not marked: then its verdict may let nothing run.
    fn take_up(&mut self, id: &str, proxy: &str) -> Result<bool, StoreError>;

    /// This proxy gives the item up. If it is marked, it waits for another proxy until its parked time is over, with
    /// its verdict, if there is one; otherwise it is [closed](ApprovalRequests::close) as withdrawn. An item of another proxy's
    /// stays as it is.
    fn leave(&mut self, id: &str, proxy: &str, now_ms: i64) -> Result<(), StoreError>;

    /// Keeps what people decided through other channels, for the history. Their calls are kept as those of
    /// items that wait no more. An item that was withdrawn for it becomes its row; whatever else is kept already
    /// stays as it is.
    fn record(&mut self, decided: &[Elsewhere]) -> Result<(), StoreError>;

    /// Whether another opener has changed anything since this one was last told so, or since it was opened. Waits
    /// until that is so, but for no longer than `longest`, and no longer than until `interrupt` is readable. Once a
    /// change is made, it takes a few hundredths of a second at most until this is over. With no time to wait it is
    /// cheap.
    ///
    /// It may say so although nothing has changed that anybody could see.
    fn changed(
        &mut self,
        longest: Duration,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> Result<bool, StoreError>;

    /// Items that wait, oldest first, at most `limit`; and how many there are.
    fn waiting(&mut self, limit: usize) -> Result<(Vec<Entry>, usize), StoreError>;

    /// Items that wait no more, newest first, at most `limit`.
    fn history(&mut self, filter: &Filter, limit: usize) -> Result<Vec<Entry>, StoreError>;

    /// One item.
    fn find(&mut self, id: &str) -> Result<Option<Entry>, StoreError>;

    /// Items whose id begins so, at most `limit`: those that wait before the others.
    fn find_by_beginning(
        &mut self,
        beginning: &str,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError>;

    /// Closes what waits for proxies that have died and that no other may resume, and what is past its time; forgets
    /// history that is older than [`HISTORY_MS`], or beyond the newest [`MAX_HISTORY`] items. To be called now and then by whoever serves the page.
    fn sweep(&mut self, now_ms: i64) -> Result<(), StoreError>;

    /// Sees to it that this is still the store that everybody else uses, and that it can be read.
    ///
    /// # Errors
    /// `Unusable` or `Unreachable` if it is gone, or another one is in its place; `Damaged` if it cannot be read any more.
    fn check(&mut self) -> Result<(), StoreError>;

    /// Sees to it that what was forgotten or replaced is nowhere in the store's files any more. Others are not waited
    /// for; false if one of them is in the way, so that it is to be tried again.
    fn scrub(&mut self) -> Result<bool, StoreError>;
}

/// Who lives. What waits for a proxy that has died is closed, or left to another one.
pub trait Liveness: Send {
    /// Says that a proxy lives, until the lease is dropped or the process ends, however it does.
    ///
    /// A proxy is called by 1 to 64 ASCII letters, digits, `-` and `_`.
    ///
    /// # Errors
    /// `Locked` if a proxy of that name lives; `Unusable` if it may not be called so; else as every [`StoreError`].
    fn lease(&mut self, proxy: &str) -> Result<Lease, StoreError>;
}

/// A proxy's sign of life.
pub struct Lease {
    /// Ends the lease when it is dropped.
    _held: Box<dyn Send>,
}

impl Lease {
    /// A lease that lasts for as long as `held` does.
    pub(in crate::engines::inbox) fn new(held: impl Send + 'static) -> Lease {
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

/// Who may log in to the page of this machine, and who has. Tokens are known by their hashes only.
pub trait Logins: Send {
    /// Remembers a token by its hash, until its time is over. Of more than [`MAX_TOKENS`] of a kind, those that end first
    /// are forgotten.
    ///
    /// # Errors
    /// As every method of this trait: [`StoreError`].
    fn add_token(&mut self, kind: Token, hash: &[u8; 32], until_ms: i64) -> Result<(), StoreError>;

    /// Whether there is such a token that is still good.
    fn has_token(&mut self, kind: Token, hash: &[u8; 32], now_ms: i64) -> Result<bool, StoreError>;

    /// The same, and there is none from then on: of several who ask, one is told yes.
    fn take_token(&mut self, kind: Token, hash: &[u8; 32], now_ms: i64)
    -> Result<bool, StoreError>;

    /// Remembers with a token the name of the approver who will have it.
    fn set_approver(&mut self, kind: Token, hash: &[u8; 32], name: &str) -> Result<(), StoreError>;

    /// The name that was remembered with a token; `None` also where there is no such token. Whoever may
    /// write to the store may have written it.
    fn approver(&mut self, kind: Token, hash: &[u8; 32]) -> Result<Option<String>, StoreError>;

    /// Forgets the tokens whose time is over.
    fn forget_old(&mut self, now_ms: i64) -> Result<(), StoreError>;
}

/// An item that a proxy has [resumed](ApprovalRequests::resume).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed {
    /// Its id.
    pub id: String,
    /// When it was asked.
    pub asked_ms: i64,
    /// When the human's time was over before it was parked.
    pub expires_ms: Option<i64>,
    /// Until when it is parked.
    pub parked_until_ms: i64,
}

/// A verdict, with what proves that it was made with the passphrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedVerdict {
    /// The verdict.
    pub verdict: Verdict,
    /// An Ed25519 signature, where there is a passphrase.
    pub signature: Option<Vec<u8>>,
    /// The engine that it came through, by its name in the audit log; `None` for the inbox.
    pub engine: Option<String>,
}

/// What a person decided about a call through another channel than the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// The call, as it would have been shown.
    pub item: Item,
    /// What was decided.
    pub verdict: Verdict,
    /// The channel's name in the audit log.
    pub engine: String,
}

/// A reason as stores keep it and signatures cover it: cut before [`MAX_REASON`] if it is longer.
#[must_use]
pub fn cut_reason(reason: &str) -> &str {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    reason.get(..end).unwrap_or_default()
}

/// What tokens are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// To log in with, once.
    Login,
    /// A browser that has logged in.
    Session,
}

/// What became of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    /// It counts.
    Recorded,
    /// The item waits no more.
    TooLate(State),
    /// There is no such item.
    Unknown,
}

/// Where an item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A call waits for the verdict.
    Waiting,
    /// The call has been refused for now; once approved, it may be made again.
    Parked,
    /// Somebody decided.
    Decided(Choice),
    /// Nobody did.
    Closed(Closed),
}

impl State {
    /// Whether a verdict can still be given.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, State::Waiting | State::Parked)
    }

    /// The word used in the store, on the page and on the command line.
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

/// An item and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What was asked. Once it waits no more, secrets in its call are replaced and long values
    /// shortened, as in the audit log.
    pub item: Item,
    /// Where it stands.
    pub state: State,
    /// What was decided.
    pub verdict: Option<Verdict>,
    /// The channel that the verdict came through, by its name in the audit log; `None` for the inbox.
    pub engine: Option<String>,
    /// Until when a parked item waits.
    pub parked_until_ms: Option<i64>,
    /// When it ceased to wait.
    pub closed_ms: Option<i64>,
    /// The last verdict about it did not count: its proxy knows of a passphrase, and the verdict was
    /// not made with that one.
    pub was_disregarded: bool,
}

/// Which of the history is wanted; empty is all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The word of a [`State`].
    pub state: Option<String>,
    /// A server's exact name.
    pub server: Option<String>,
    /// Text that the tool's name contains, in any case.
    pub tool: Option<String>,
    /// Only what was asked before this moment.
    pub before_ms: Option<i64>,
}
