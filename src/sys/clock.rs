//! The only place that reads the time or makes random bytes.
//!
//! Everything pure gets both as arguments.

use std::time::SystemTime;

use tokio::time::Instant;

use super::time::Now;

/// Reads the time since it was made, and the wall clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts to count.
    #[must_use]
    pub fn start() -> Clock {
        Clock {
            start: Instant::now(),
        }
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Now {
        Now {
            elapsed: self.start.elapsed(),
            unix_ms: unix_ms(),
        }
    }

    /// The time since it was made.
    #[must_use]
    pub fn elapsed(&self) -> std::time::Duration {
        self.start.elapsed()
    }

    /// The moment at which [`Now::elapsed`] will be this.
    #[must_use]
    pub fn at(&self, elapsed: std::time::Duration) -> Instant {
        let latest = self.start + std::time::Duration::from_secs(60 * 60 * 24 * 365);
        self.start.checked_add(elapsed).unwrap_or(latest)
    }
}

/// Milliseconds since 1970. A wall clock before 1970 counts as 1970.
#[must_use]
pub fn unix_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    let wall = SystemTime::now();
    let since_1970 = wall
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}

/// 256 bits from the operating system's random number generator.
///
/// # Errors
/// Where the system has none to give; nothing may go on without.
pub fn random_seed() -> Result<[u8; 32], getrandom::Error> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    Ok(seed)
}

/// A name that nobody can guess: the hexadecimal digits of so many random bytes, at most 32.
///
/// # Errors
/// As [`random_seed`].
pub fn random_hex(bytes: usize) -> Result<String, getrandom::Error> {
    let seed = random_seed()?;
    Ok(seed
        .iter()
        .take(bytes)
        .map(|byte| format!("{byte:02x}"))
        .collect())
}
