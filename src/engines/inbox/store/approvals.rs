//! Approvals that agents asked for by themselves, from the request to the outcome.

use super::StoreError;

/// How many approvals of one agent may be pending at once.
pub const MAX_PENDING: usize = 1_000;
/// How many owners are returned at once.
pub const MAX_OWNERS: usize = 1_000;
/// How long an approval that has ended is kept, in milliseconds: 30 days.
pub const KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1_000;

/// An approval as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredApproval {
    /// Its id, which nobody can guess.
    pub id: String,
    /// The agent that asked. Nobody else may see it.
    pub owner: String,
    /// The agent's key for asking only once.
    pub idempotency_key: Option<String>,
    /// What was asked, as JSON.
    pub body: String,
    /// When it was asked, in milliseconds since 1970, UTC.
    pub asked_ms: i64,
    /// When it expires.
    pub expires_ms: i64,
    /// How it ended, as JSON; `None` while it is pending.
    pub outcome: Option<String>,
}

/// What became of a new approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added {
    /// It is stored.
    New,
    /// The agent has used its key before: for this one.
    Known(StoredApproval),
    /// [`MAX_PENDING`] are pending.
    TooMany,
}

/// The approvals of all agents.
///
/// When a method returns, its change is durable, and every other user of the same store sees it.
pub trait Approvals: Send {
    /// Adds a pending approval, unless the agent has used its key before or has too many pending.
    ///
    /// # Errors
    /// Like every method of this trait: [`StoreError`].
    fn add(&mut self, approval: &StoredApproval) -> Result<Added, StoreError>;

    /// Returns an approval of an agent.
    fn find(&mut self, id: &str, owner: &str) -> Result<Option<StoredApproval>, StoreError>;

    /// Ends a pending approval. Returns false if it had ended before: the first end counts.
    fn end(&mut self, id: &str, outcome: &str) -> Result<bool, StoreError>;

    /// Returns the pending approvals of an agent, the oldest first.
    fn pending(&mut self, owner: &str) -> Result<Vec<StoredApproval>, StoreError>;

    /// Returns the agents with pending approvals whose names begin with `beginning`, at most [`MAX_OWNERS`].
    fn owners_of_pending(&mut self, beginning: &str) -> Result<Vec<String>, StoreError>;

    /// Forgets approvals that ended or expired long ago.
    fn forget_old(&mut self, now_ms: i64) -> Result<(), StoreError>;
}
