//! Points in time as plain data, and time spans as text.

use std::time::Duration;

/// The current time, passed as an argument because pure code reads no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Time since some fixed moment; never goes back.
    pub elapsed: Duration,
    /// Milliseconds since 1970, UTC, for the audit log.
    pub unix_ms: i64,
}

/// Returns a number of milliseconds as text, rounded down: `59 s`, `2 min`, `1 h 5 min`, `3 days`. A negative span
/// counts as zero.
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

/// Like [`span`], for a narrow column: a single unit, the smaller one for longer: `119 s`, `119 min`, `47 h`, `3 d`.
#[must_use]
pub fn short_span(ms: i64) -> String {
    let seconds = ms.max(0) / 1_000;
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_rounded_down_and_never_negative() {
        for (seconds, long, short) in [
            (-5, "0 s", "0 s"),
            (59, "59 s", "59 s"),
            (119, "1 min", "119 s"),
            (3_600, "1 h 0 min", "60 min"),
            (7_199, "1 h 59 min", "119 min"),
            (86_399, "23 h 59 min", "23 h"),
            (259_200, "3 days", "3 d"),
        ] {
            assert_eq!(
                (&*span(seconds * 1_000), &*short_span(seconds * 1_000)),
                (long, short)
            );
        }
    }
}
