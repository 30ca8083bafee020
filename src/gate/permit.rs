//! The proof that something may go to the upstream.
//!
//! It holds no logic: the gate makes it, the upstream's writer takes nothing else.

/// A value that the gate has let through.
///
/// INVARIANT 1: only `gate` can make one, and it makes one for a tool call only together
/// with the audit line that comes first; see [`Output::Release`](super::Output::Release).
#[derive(Debug, PartialEq, Eq)]
pub struct Permitted<T>(T);

impl<T> Permitted<T> {
    pub(super) fn new(value: T) -> Permitted<T> {
        Permitted(value)
    }

    /// The same permission for another form of what was let through.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Permitted<U> {
        Permitted(change(self.0))
    }

    /// A look at what was let through.
    pub fn get(&self) -> &T {
        &self.0
    }
}
