//! Moments as plain data, and spans of time in words.

use std::time::Duration;

/// What time it is, as an argument: what is pure reads no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since some fixed moment; never goes back.
    pub elapsed: Duration,
    /// Milliseconds since 1970, UTC, for the audit log.
    pub unix_ms: i64,
}

/// So many milliseconds in words, rounded down: `59 s`, `2 min`, `1 h 5 min`, `3 days`. A negative span is none.
#[must_use]
pub fn span(ms: i64) -> String {
    let seconds = ms.max(0) / 1_000;
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}
