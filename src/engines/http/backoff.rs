//! How long to wait before a failed exchange is tried again.
//!
//! Pure: the caller brings the time and the randomness.

use std::time::Duration;

use chrono::DateTime;

use crate::gate::Retry;

/// The longest wait that a service can ask for, if the question itself has no limit.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// Returns the pause before the further try with this number, from 1. `jitter` is from 0 to 1; the pause is between
/// half of the backoff and all of it, so that many proxies do not try again at the same moment.
pub(in crate::engines) fn pause(retry: &Retry, further: u32, jitter: f64) -> Duration {
    if retry.initial_backoff.is_zero() {
        return Duration::ZERO;
    }
    let exponent = i32::try_from(further.saturating_sub(1)).unwrap_or(i32::MAX);
    let grown = retry.initial_backoff.as_secs_f64() * retry.multiplier.max(1.0).powi(exponent);
    let backoff = Duration::try_from_secs_f64(grown).unwrap_or(Duration::MAX);
    backoff
        .min(retry.max_backoff)
        .mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

/// Reads the value of a `Retry-After` header: seconds, or a date. `None` if it is neither.
///
/// RFC 9110, section 10.2.3.
pub(in crate::engines) fn retry_after(value: &str, now_ms: i64) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(LONGEST_WAIT));
    }
    let date = DateTime::parse_from_rfc2822(value).ok()?;
    let left = date.timestamp_millis().saturating_sub(now_ms);
    Some(Duration::from_millis(u64::try_from(left).unwrap_or(0)).min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_maximum_and_vary() {
        let retry = Retry {
            attempts: 9,
            initial_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(5),
            multiplier: 2.0,
        };
        let pauses: Vec<u64> = (1..=5).map(|n| pause(&retry, n, 1.0).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 5, 5]);
        assert_eq!(pause(&retry, 1, 0.0), Duration::from_millis(500));
        assert_eq!(pause(&retry, u32::MAX, 1.0), Duration::from_secs(5));
        let none = Retry {
            initial_backoff: Duration::ZERO,
            ..retry
        };
        assert_eq!(pause(&none, u32::MAX, 1.0), Duration::ZERO);
    }

    #[test]
    fn retry_after_is_a_number_of_seconds_or_a_date() {
        let now_ms = 1_445_412_480_000;
        let seconds = |value| retry_after(value, now_ms).map(|wait| wait.as_secs());
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("Wed, 21 Oct 2015 07:28:30 GMT"), Some(30));
        assert_eq!(seconds("Wed, 21 Oct 2015 07:27:00 GMT"), Some(0));
        assert_eq!(seconds("99999999999999999999999"), Some(3600));
        for neither in ["", "-1", "1.5", "soon", "+3", "2015-10-21"] {
            assert_eq!(seconds(neither), None, "{neither:?}");
        }
    }
}
