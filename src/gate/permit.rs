//! A proof that a value may go to the upstream.
//!
//! Only the gate creates it, and the upstream's writer accepts nothing else.

/// A value that the gate let through.
///
/// INVARIANT 1: only `gate` can create one. For a tool call it does so only together with the
/// record that is written first; see [`Output::Release`](super::Output::Release).
#[derive(Debug, PartialEq, Eq)]
pub struct Permitted<T>(T);

impl<T> Permitted<T> {
    pub(super) fn new(value: T) -> Permitted<T> {
        Permitted(value)
    }

    /// Converts what was let through to another form.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Permitted<U> {
        Permitted(change(self.0))
    }

    /// Returns what was let through.
    pub fn get(&self) -> &T {
        &self.0
    }
}
