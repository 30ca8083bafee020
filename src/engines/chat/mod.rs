//! What the engines for chat services share: the items that one carries, and the words for what became of them.
//!
//! Knows no service. How messages look and how clicks arrive is up to each engine.

mod carried;
mod plain;
mod words;

pub(super) use self::carried::{Carried, Ended, Standing};
pub(super) use self::plain::PlainQuestion;
pub(super) use self::words::{
    ELSEWHERE, NOT_APPROVER, NOT_SHOWN, NOT_THIS, Outcome, disregarded, has_failed, outcome,
    too_late, was_in_state,
};
