//! The only module that reads the time or makes random bytes.
//!
//! Pure code gets both as arguments.

use std::time::SystemTime;

use tokio::time::Instant;

use super::time::Now;

/// Measures the time since it was started, and reads the wall clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts the clock at zero.
    #[must_use]
    pub fn start() -> Clock {
        Clock {
            start: Instant::now(),
        }
    }

    /// Returns the current time.
    #[must_use]
    pub fn now(&self) -> Now {
        Now {
            elapsed: self.start.elapsed(),
            unix_ms: unix_ms(),
        }
    }

    /// Returns the time since the start.
    #[must_use]
    pub fn elapsed(&self) -> std::time::Duration {
        self.start.elapsed()
    }

    /// Returns the instant at which [`Now::elapsed`] will have this value.
    #[must_use]
    pub fn at(&self, elapsed: std::time::Duration) -> Instant {
        let latest = self.start + std::time::Duration::from_secs(60 * 60 * 24 * 365);
        self.start.checked_add(elapsed).unwrap_or(latest)
    }
}

/// Returns milliseconds since 1970. A wall clock before 1970 counts as 1970.
#[must_use]
pub fn unix_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    let wall = SystemTime::now();
    let since_1970 = wall
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}

/// Returns 256 bits from the operating system's random number generator.
///
/// # Errors
/// If the system cannot provide any. The caller must not continue without them.
pub fn random_seed() -> Result<[u8; 32], getrandom::Error> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    Ok(seed)
}

/// Returns an unguessable name: `bytes` random bytes as hexadecimal digits. At most 32 bytes.
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
